"""The scores of a search as shares of random chunks: what fuses its parts, and what its hits state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sememe.index.exact import Allowed
from sememe.search.calibrate import (
    NO_BODY,
    TOP,
    WORDS_STEP,
    Body,
    Shares,
    Tail,
    agreeing,
    body_of,
    counted,
    evidence,
    fused_tail,
    sampled_tail,
    tail_of,
    tied,
)
from sememe.search.fuse import Ranking
from sememe.search.plan import Calibrate, Narrow, Nearest, Neighbours, Plan, Scan, best_of_all, top_of
from sememe.search.query import Query
from sememe.search.view import Moment, Near, View
from sememe.store.reading import Snapshot
from sememe.types import Ids, Scores
from sememe.vectors import products, scores_of


@dataclass(frozen=True, slots=True)
class Judge:
    """What it takes to judge the scores of one query: its plan, the rows that are `allowed`, and the `search` of run
    for what is near, where others than the best of all were looked for."""

    plan: Plan
    query: Query
    allowed: Allowed | None
    moment: Moment
    view: View
    snapshot: Snapshot
    search: Callable[[Nearest, Near, Allowed | None], tuple[Ranking, bool]]

    def fused(self, meaning: Ranking, words: Ranking) -> tuple[dict[int, float], dict[int, float]]:
        """The evidence of everything that is in one of two rankings, and, where the plan states it, its share of random
        chunks, both by id.

        What only one part has found is scored by the other one too.
        """
        ids = np.union1d(meaning[0], words[0])
        parts = sampled_tail(self._sample_scores()), self._words_body()
        together = self._evidence(ids, parts, meaning, words)
        if not any(isinstance(step, Calibrate) for step in self.plan.steps):
            return _by_id(ids, together), {}
        nearest, told = self._best_near(meaning), self._best_told(words)
        best = np.union1d(nearest[0], told[0])
        if np.isin(best, ids).all():
            top = together[np.searchsorted(ids, best)]
        else:
            top = self._evidence(best, parts, nearest, told)
        shares = fused_tail(np.sort(top)[::-1][:TOP].astype(np.float32), len(self.moment.exact)).shares(together)
        return _by_id(ids, together), _by_id(ids, shares)

    def shares(self, rankings: Mapping[str, Ranking], words: str) -> dict[int, float]:
        """The share of random chunks that would score as high, by id; `words` names the ranking by words."""
        parts = dict(rankings)
        lexical = parts.pop(words, None)
        if not parts:
            assert lexical is not None
            return _by_id(lexical[0], self._told_tail(self._best_told(lexical)[1], lexical[1]).shares(lexical[1]))
        (meaning,) = parts.values()
        if lexical is not None:
            return self.fused(meaning, lexical)[1]
        top = self._best_near(meaning)[1]
        return _by_id(meaning[0], self._tail(top).shares(meaning[1])) if len(top) else {}

    def _evidence(self, ids: Ids, parts: tuple[Tail, Body], meaning: Ranking, words: Ranking) -> Shares:
        near, told = parts
        return evidence(near.shares(self._nearness(ids, meaning)), told.shares(self._word_scores(ids, words)))

    def _best_near(self, ranking: Ranking) -> Ranking:
        """The TOP of all by meaning: of the ranking, where it is of all."""
        near = self.moment.nears[0]
        step = next(step for step in self.plan.steps if isinstance(step, Scan | Neighbours | Narrow))
        # More hits take more candidates, and the best of those may be others.
        whole = isinstance(step, Scan) or (isinstance(step, Neighbours) and step.depth == top_of(self.query))
        if self.allowed is None and whole:
            return self._random(ranking)
        return self._random(self.search(best_of_all(self.query, near), near, None)[0])

    def _best_told(self, ranking: Ranking) -> Ranking:
        """The TOP of all by words: of the ranking, where it is of all."""
        if self.allowed is None:
            return self._random(ranking)
        assert self.query.text is not None
        return self._random(self.view.words.search(self.snapshot, self.query.text, k=top_of(self.query), allowed=None))

    def _random(self, ranking: Ranking) -> Ranking:
        """The best of a ranking, without what the query is made of."""
        kept = ~np.isin(ranking[0], list(self.query.exclude))
        return ranking[0][kept][:TOP], ranking[1][kept][:TOP]

    def _tail(self, top: Scores) -> Tail:
        """Of the scores of vectors."""
        return tail_of(top, body_of(self._sample_scores()), len(self.moment.exact))

    def _sample_scores(self) -> Scores:
        vector, sample = self.moment.nears[0].vector, self.view.sample(self.moment)
        assert vector is not None
        if self.moment.exact.metric == "euclidean":
            scores: Scores = scores_of(vector[None], sample, metric="euclidean")[0]
            return scores
        return products(sample, vector)

    def _told_tail(self, top: Scores, scores: Scores) -> Tail:
        """Of the scores of words. They are counted out only where some are less than the best of all."""
        chunks = len(self.moment.exact)
        if len(top) and scores.min(initial=top[-1]) >= top[-1] and not tied(top):
            return tail_of(top, NO_BODY, chunks, step=WORDS_STEP)
        return tail_of(top, agreeing(self._words_body(), top, chunks), chunks, step=WORDS_STEP)

    def _words_body(self) -> Body:
        assert self.query.text is not None
        return words_body(self.view, self.snapshot, self.query.text)

    def _nearness(self, ids: Ids, ranking: Ranking) -> Scores:
        scores = _known(ids, ranking)
        missing = np.flatnonzero(np.isnan(scores))
        if len(missing):
            vector = self.moment.nears[0].vector
            assert vector is not None
            # What has no vector in this space is near nothing.
            scores[missing] = self.moment.exact.scores_at(vector, ids[missing])
        return scores

    def _word_scores(self, ids: Ids, ranking: Ranking) -> Scores:
        scores = _known(ids, ranking)
        missing = np.flatnonzero(np.isnan(scores))
        if len(missing):
            assert self.query.text is not None
            found = self.view.words.search(self.snapshot, self.query.text, k=len(missing), allowed=ids[missing])
            scores[np.searchsorted(ids, found[0])] = found[1]
        return np.nan_to_num(scores, nan=0.0)


def words_body(view: View, snapshot: Snapshot, text: str) -> Body:
    """The share of chunks above each score by BM25 for a text, its terms counted as if they were independent."""
    wanted, statistics, prefixes = view.words.question(snapshot, text)
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


def _known(ids: Ids, ranking: Ranking) -> Scores:
    """The scores of the ids, ascending, that a ranking holds; NaN of the others."""
    scores = np.full(len(ids), np.nan, np.float32)
    scores[np.searchsorted(ids, ranking[0])] = ranking[1]
    return scores


def _by_id(ids: Ids, values: Shares) -> dict[int, float]:
    return dict(zip(ids.tolist(), values.tolist(), strict=True))
