"""The scores of a search as shares of random chunks: what fuses its parts, and what its hits state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sememe.search.calibrate import Counted, Shares, Tail, counted, evidence, joint, tail_of
from sememe.search.fuse import Ranking
from sememe.search.view import Moment, View
from sememe.store.reading import Snapshot
from sememe.types import Ids, Scores, Vectors
from sememe.vectors import products, scores_of


@dataclass(frozen=True, slots=True)
class Judge:
    """What it takes to judge the scores of one query: its vector (dim,), its words, or both."""

    vector: Vectors | None
    text: str | None
    moment: Moment
    view: View
    snapshot: Snapshot

    def fused(self, meaning: Ranking, words: Ranking) -> tuple[dict[int, float], dict[int, float]]:
        """The evidence of everything that is in one of two rankings, and its share of random chunks, both by id.

        What only one part has found is scored by the other one too.
        """
        ids = np.union1d(meaning[0], words[0])
        near = self._tail().shares(self._nearness(ids, meaning))
        told = self._counted().shares(self._word_scores(ids, words))
        together = evidence(near, told)
        return _by_id(ids, together), _by_id(ids, joint(together))

    def shares(self, rankings: Mapping[str, Ranking], words: str) -> dict[int, float]:
        """The share of random chunks that would score as high, by id; `words` names the ranking by words."""
        parts = dict(rankings)
        lexical = parts.pop(words, None)
        if not parts:
            assert lexical is not None
            return _by_id(lexical[0], self._counted().shares(lexical[1]))
        (meaning,) = parts.values()
        if lexical is not None:
            return self.fused(meaning, lexical)[1]
        return _by_id(meaning[0], self._tail().shares(meaning[1]))

    def _tail(self) -> Tail:
        assert self.vector is not None
        sample, chunks = self.view.sample(self.moment), len(self.moment.exact)
        if self.moment.exact.metric == "euclidean":
            return tail_of(scores_of(self.vector[None], sample, metric="euclidean")[0], chunks)
        return tail_of(products(sample, self.vector), chunks)

    def _counted(self) -> Counted:
        assert self.text is not None
        wanted, statistics, prefixes = self.view.words.question(self.snapshot, self.text)
        rows = max(statistics.rows, 1)
        weighed = [(times * statistics.idf(term), statistics.frequency(term) / rows)
                   for term, times in wanted.weights.items()]  # fmt: skip
        for forms in wanted.required:
            terms = {term for places in forms for _, term in places}
            rarest = min(map(statistics.frequency, terms), default=0)
            weighed.append((sum(map(statistics.idf, terms)), rarest / rows))
        # A prefix weighs what a term does that is in as many chunks: idf = log(1 + (1 - share) / share), nearly.
        weighed += [(weight, float(np.exp(-weight))) for weight in prefixes.values()]
        return counted(weighed)

    def _nearness(self, ids: Ids, ranking: Ranking) -> Scores:
        scores = _known(ids, ranking)
        missing = np.flatnonzero(np.isnan(scores))
        if len(missing):
            assert self.vector is not None
            # What has no vector in this space is near nothing.
            scores[missing] = self.moment.exact.scores_at(self.vector, ids[missing])
        return scores

    def _word_scores(self, ids: Ids, ranking: Ranking) -> Scores:
        scores = _known(ids, ranking)
        missing = np.flatnonzero(np.isnan(scores))
        if len(missing):
            assert self.text is not None
            found = self.view.words.search(self.snapshot, self.text, k=len(missing), allowed=ids[missing])
            scores[np.searchsorted(ids, found[0])] = found[1]
        return np.nan_to_num(scores, nan=0.0)


def _known(ids: Ids, ranking: Ranking) -> Scores:
    """The scores of the ids, ascending, that a ranking holds; NaN of the others."""
    scores = np.full(len(ids), np.nan, np.float32)
    scores[np.searchsorted(ids, ranking[0])] = ranking[1]
    return scores


def _by_id(ids: Ids, values: Shares) -> dict[int, float]:
    return dict(zip(ids.tolist(), values.tolist(), strict=True))
