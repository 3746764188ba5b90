"""Why a chunk is found, or is not: where it stands at each step of the plan that ran, and which words put it there.

Lexical terms have their own parts of the score, and so have the tokens of a query where texts have a vector for each of
theirs. One vector a text has none, so what a word means to it is measured: the text is embedded again without the word,
and the score falls (leave-one-out; Li, Monroe and Jurafsky 2016, arXiv:1612.08220). This file searches like `run` and
decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sememe.errors import NotFound
from sememe.filters import MISSING, And, Condition, Not, describe, fields, matches, reach
from sememe.index.entries import entry_of
from sememe.index.exact import Allowed
from sememe.index.slab import RowsDamaged
from sememe.index.sparse import from_bytes, word_parts
from sememe.index.terms import TermPart, refused, term_parts
from sememe.index.tokens import TokenPart, from_stored, token_parts
from sememe.index.tokens import from_bytes as codec_from_bytes
from sememe.search.arrange import Arranger
from sememe.search.fuse import Ranking
from sememe.search.plan import (
    BM25,
    RERANK,
    Fetch,
    Fuse,
    Narrow,
    Nearest,
    Plan,
    Rerank,
    Step,
    Words,
    near_of,
    part_of,
)
from sememe.search.query import Query
from sememe.search.run import Found, Models, became, distrust, moment_of, searched
from sememe.search.view import Moment, Near, View, row_ids
from sememe.space import Embedder, Encoder, Space
from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory
from sememe.store.records import FoundChunk
from sememe.types import (
    CHUNK_PREFIX,
    Ids,
    PieceEncoder,
    SparseEncoder,
    SparseVector,
    Term,
    Vectors,
    embedded_input,
)
from sememe.vectors import normalise, scores_of

MOST_WORDS = 64
"""Words that are left out one by one; of longer texts the sentences are, and then the words of those that count."""

MOST_SENTENCES = 64

_WORD = re.compile(r"\w+(?:[.'’\-]\w+)*")
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?…。！？]+(?=\s|$)|(?=\n|$))")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a chunk stands in one part of a search: its rank, from 1, and its score.

    That of one that goes on is its rank in what the part found, else among all that may be returned. `kept` are how
    many go on, and `passed` whether this chunk is one of them. `rank` and `score` are None where it is not ranked.
    """

    name: str
    rank: int | None
    score: float | None
    kept: int
    passed: bool


@dataclass(frozen=True, slots=True)
class Heat:
    """By how much the score of the vector falls when the span [start, end) of the text is left out."""

    start: int
    end: int
    drop: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A chunk and a query. `rank` is that of the answer, None where it is not in it; then `fell` says where it fell
    out, and why. `terms` are the words of the query with their parts of the BM25 score; `heat` the words of the text
    that the vector's score hangs on, by their places, empty where it was not asked for. `tokens` are those of the
    query, in their order, with their parts of the max-sim. `score` is what a boosted score is the sum of. `terms_of`
    and `tokens_of` name the spaces that these are of, "" for BM25 and where there are none.
    """

    query: str
    id: str
    document: str
    title: str
    headings: tuple[str, ...]
    text: str
    plan: Plan
    rank: int | None
    k: int
    fell: str
    standings: tuple[Standing, ...]
    terms: tuple[TermPart, ...]
    heat: tuple[Heat, ...]
    score: tuple[Term, ...] = ()
    tokens: tuple[TokenPart, ...] = ()
    terms_of: str = ""
    tokens_of: str = ""

    def hottest(self, count: int) -> list[Heat]:
        """The spans without which the score falls most, the greatest fall first; those that raise it are none."""
        return sorted((one for one in self.heat if one.drop > 0), key=lambda one: (-one.drop, one.start))[:count]

    def nearest(self, count: int) -> list[tuple[int, int]]:
        """The spans of the tokens that add most to the max-sim, to that of one or of several tokens of the query."""
        added: dict[tuple[int, int], float] = {}
        for part in self.tokens:
            if part.span is not None:
                added[part.span] = added.get(part.span, 0.0) + part.score
        return sorted(added, key=lambda span: (-added[span], span))[:count]


@dataclass(frozen=True, slots=True)
class _Search:
    """One search as it ran, and what it looked at."""

    query: Query
    plan: Plan
    found: Found
    allowed: Allowed | None
    moment: Moment
    arranger: Arranger | None
    view: View
    snapshot: Inventory


def explained(
    query: Query, numbers: Sequence[int], *, store: SQLiteStore, view: View, models: Models, heat: bool = True
) -> Explanation:
    """Explain the chunk that does best among `numbers`. Raises NotFound when none of them is there any more."""
    asked = became(query, models)
    with store.snapshot() as snapshot:
        try:
            search = _searched(query, snapshot, view, moment_of(view, snapshot, models, asked=asked), models)
            number, standings = _best_of(search, numbers)
        except RowsDamaged:
            distrust(view, models)
            search = _searched(query, snapshot, view, moment_of(view, snapshot, models, asked=asked), models)
            number, standings = _best_of(search, numbers)
        chunk = snapshot.found([number])[number]
        terms, silent = _terms(search, number)
        looked = list(zip(search.moment.nears, models.ways, strict=True))
        weights = ((near.name, _weights(search, chunk, near, way.encoder)) for near, way in looked)
        terms_of, terms = next((found for found in weights if found[1]), ("", terms))
        parts = ((near.name, _tokens(search, chunk, near, way.encoder)) for near, way in looked)
        tokens_of, tokens = next((found for found in parts if found[1]), ("", ()))
        where = _refusals(search, number)
    ranks = {found: rank for rank, (found, _) in enumerate(search.found.best, start=1)}
    rank = ranks.get(number)
    dense = [(near.vector, way) for near, way in looked if heat and near.vector is not None]
    measured = next((_heat(query, chunk, vector, way.space, way.encoder) for vector, way in dense), ())
    return Explanation(
        query=query.sought.step.sum if query.sought else query.text or "", id=f"{CHUNK_PREFIX}{number}",
        document=chunk.key, title=chunk.title, headings=chunk.headings, text=chunk.text, plan=search.plan, rank=rank,
        k=query.k,
        fell="" if rank is not None else _left_out(search, number) or _fell(search, standings, where, silent),
        standings=standings, terms=terms, heat=measured, tokens=tokens,
        score=() if search.arranger is None else search.arranger.terms.get(number, ()), terms_of=terms_of,
        tokens_of=tokens_of,
    )  # fmt: skip


def _searched(query: Query, snapshot: Inventory, view: View, moment: Moment, models: Models) -> _Search:
    ran = searched(query, snapshot=snapshot, view=view, moment=moment, reranker=models.reranker)
    return _Search(query, ran.plan, ran.found, ran.allowed, ran.moment, ran.arranger, view, snapshot)


# --- where it stands -----------------------------------------------------------------------


def _best_of(search: _Search, numbers: Sequence[int]) -> tuple[int, tuple[Standing, ...]]:
    """The one of several chunks that came furthest: in the answer, else nearest to it."""
    order = {number: rank for rank, (number, _) in enumerate(search.found.ordered)}
    in_order = sorted((number for number in numbers if number in order), key=order.__getitem__)
    judged = {number: tuple(_standings(search, number)) for number in in_order[:1] or numbers}
    there = [number for number, standings in judged.items() if standings]
    if not there:
        raise NotFound("what was to be explained has no vector in this space, or went while it was looked up")
    best = min(there, key=lambda number: (min(one.rank or len(order) + 10**9 for one in judged[number]), number))
    return best, judged[best]


def _standings(search: _Search, number: int) -> Iterator[Standing]:
    rankings = search.found.rankings
    for step in search.plan.steps:
        if isinstance(step, Nearest):
            name, near = part_of(step, search.moment), near_of(step, search.moment)
            kept = _in_part(name, rankings[name], number, step.depth)
            # Only of what was not kept the place among all has to be looked for.
            place = None if kept.passed else _among_near(near, near.allowed(search.moment, search.allowed), number)
            if place is None and not kept.passed and len(search.moment.nears) == 1 and near.beside is None:
                return
            yield kept if place is None else Standing(name, *place, kept=step.depth, passed=False)
        elif isinstance(step, Words):
            kept = _in_part(BM25, rankings[BM25], number, step.depth)
            yield kept if kept.passed else Standing(BM25, *_among_words(search, number), step.depth, passed=False)
        elif isinstance(step, Fuse):
            best = search.found.fused
            yield _place(step.kind, [found for found, _ in best], [score for _, score in best], number, len(best))
        elif isinstance(step, Rerank):
            yield _in_part(RERANK, rankings[RERANK], number, step.depth)
    arranged = search.arranger is not None and number in search.arranger.considered
    for step, best in search.arranger.trail if arranged and search.arranger is not None else ():
        left = [found for found, _ in best]
        yield _place(step.name, left, [score for _, score in best], number, len(best))
        if number not in left:
            return


def _in_part(name: str, ranking: Ranking, number: int, kept: int) -> Standing:
    return _place(name, ranking[0].tolist(), ranking[1].tolist(), number, kept)


def _place(name: str, ids: Sequence[int], scores: Sequence[float], number: int, kept: int) -> Standing:
    if number not in ids:
        return Standing(name, None, None, kept, passed=False)
    at = ids.index(number)
    return Standing(name, at + 1, scores[at], kept, passed=True)


def _among_near(near: Near, allowed: Allowed | None, number: int) -> tuple[int | None, float | None] | None:
    """The rank and the score in one space among all that may be returned, and this chunk."""
    if near.beside is not None:
        return near.beside.standing(number, None if allowed is None else row_ids(near.moment, allowed))
    return None if near.vector is None else near.moment.exact.standing(near.vector, number, allowed=allowed)


def _among_words(search: _Search, number: int) -> tuple[int | None, float | None]:
    """The rank and the score by BM25 in the ranking of all that may be returned, and of this chunk."""
    assert search.query.text is not None
    allowed: Ids | None = None
    if search.allowed is not None:
        allowed = np.union1d(row_ids(search.moment, search.allowed), [number])
    ids, scores = search.view.words.search(
        search.snapshot, search.query.text, k=max(1, len(search.moment.exact)), allowed=allowed
    )
    at = np.flatnonzero(ids == number)
    return (int(at[0]) + 1, float(scores[at[0]])) if len(at) else (None, None)


# --- where it fell out ---------------------------------------------------------------------


def _refusals(search: _Search, number: int) -> list[str]:
    """Which conditions of the filter refuse the document of a chunk, and what it has instead."""
    if search.query.where is None:
        return []
    document = search.snapshot.documents_of([number])[number]
    metadata = search.snapshot.metadata_of([document])[document]
    return list(_refusing(search.query.where, metadata))


def _refusing(condition: Condition, metadata: dict[str, object]) -> Iterator[str]:
    if matches(condition, metadata):
        return
    if isinstance(condition, And):
        for part in condition.parts:
            yield from _refusing(part, metadata)
        return
    inner = condition.part if isinstance(condition, Not) else condition
    held = {path: reach(metadata, path.split(".")) for path in sorted(fields(inner))}
    has = ", ".join(
        f"{path} is {', '.join('missing' if value is MISSING else repr(value) for value in values) or 'missing'}"
        for path, values in held.items()
    )
    yield f"{describe(condition)} ({has})"


def _left_out(search: _Search, number: int) -> str:
    """Why what is among the best is not shown all the same; empty where nothing keeps it from that."""
    if number in search.query.exclude:
        return "the query is made of it, and nothing is found by itself"
    most, there = search.query.route.expected, len(search.moment.exact)
    expected = search.found.shares.get(number, 0.0) * there
    if most is not None and expected > most:
        return f"{expected:.2g} random chunks would be expected to score as high, and {most:g} at most were asked for"
    if search.arranger is None or number not in search.arranger.considered:
        return ""
    trail = ((step, {found for found, _ in best}) for step, best in search.arranger.trail)
    return next((step.refusal for step, left in trail if number not in left), "")


def _fell(search: _Search, standings: tuple[Standing, ...], where: list[str], silent: bool) -> str:
    """The first step that it did not come through, in a sentence."""
    if where:
        return f"the filter refuses it: {'; '.join(where)}"
    parts = [one for one in standings if one.name not in ("evidence", "rrf", "weighted", RERANK)]
    if not any(one.passed for one in parts):
        return "; ".join(_missed(one, search, silent) for one in parts)
    last = standings[-1]
    if not last.passed:
        before = standings[-2]
        return f"{last.name} reads the best {last.kept:,}, and by {before.name} its rank is {before.rank:,}"
    fetched = next(step.k for step in search.plan.steps if isinstance(step, Fetch))
    return f"its rank by {last.name} is {last.rank:,}, and {fetched:,} hits were asked for"


def _missed(standing: Standing, search: _Search, silent: bool) -> str:
    if standing.rank is None:
        reason = "none of the words is in it, or one that is required is not, or one that is excluded is"
        return f"{standing.name} does not find it: {reason}" if silent else f"{standing.name} does not find it"
    if standing.rank > standing.kept:
        return f"its rank by {standing.name} is {standing.rank:,}, and {standing.kept:,} are kept"
    looked = (step for step in search.plan.steps if isinstance(step, Nearest))
    step = next(step for step in looked if part_of(step, search.moment) == standing.name)
    return (
        f"its rank by {standing.name} is {standing.rank:,} of {standing.kept:,} that are kept, but the "
        f"{_named(step)} did not name it as a candidate; search with recall 1"
    )


def _named(step: Step) -> str:
    return "funnel" if isinstance(step, Narrow) else "index"


# --- the words that made it ----------------------------------------------------------------


def _terms(search: _Search, number: int) -> tuple[tuple[TermPart, ...], bool]:
    """The parts of the words of the query, and whether they pass over the chunk."""
    if search.query.text is None or search.query.mode == "vector":
        return (), False
    question = search.view.words.question(search.snapshot, search.query.text)
    entry = entry_of(next(search.snapshot.passages([number])))
    return tuple(term_parts(entry, question)), refused(entry, question)


def _weights(search: _Search, chunk: FoundChunk, near: Near, encoder: Encoder | None) -> tuple[TermPart, ...]:
    """The words of a sparse space that made its score, most of them no words of the query itself; none elsewhere."""
    beside = near.beside
    if beside is None or not isinstance(encoder, SparseEncoder) or not isinstance(beside.asked, SparseVector):
        return ()
    _, blobs = search.snapshot.stored([chunk.id], beside.held)
    text = from_bytes(blobs[0]) if blobs else SparseVector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    parts = word_parts(beside.asked, text, chunk.text, named=encoder.words, rows=beside.frequency)
    return tuple(parts)


def _tokens(search: _Search, chunk: FoundChunk, near: Near, encoder: Encoder | None) -> tuple[TokenPart, ...]:
    """What each token of the query finds in the tokens that are stored; nothing where the model cannot name them."""
    beside, text = near.beside, search.query.text
    if beside is None or isinstance(beside.asked, SparseVector):
        return ()
    if text is None or not isinstance(encoder, PieceEncoder):
        return ()
    _, blobs = search.snapshot.stored([chunk.id], beside.held)
    codec = codec_from_bytes(search.snapshot.codec(beside.held))
    tokens = codec.decode(*from_stored(codec, b"".join(blobs)))
    whole = embedded_input(chunk.headings, chunk.text)
    asked, pieces = encoder.pieces(text, role="query"), encoder.pieces(whole)
    if not len(tokens) or (len(beside.asked), len(tokens)) != (len(asked), len(pieces)):
        return ()
    products = beside.asked @ codec.axes @ tokens.T
    return tuple(token_parts(products, asked, pieces, before=len(whole) - len(chunk.text)))


def _heat(query: Query, chunk: FoundChunk, vector: Vectors, space: Space, embedder: Encoder | None) -> tuple[Heat, ...]:
    """What the words of a chunk mean to its score: (start, end, fall), by their places."""
    if not isinstance(embedder, Embedder) or query.text is None:
        return ()

    def falls(spans: list[tuple[int, int]]) -> list[Heat]:
        texts = [chunk.text, *(chunk.text[:start] + chunk.text[end:] for start, end in spans)]
        inputs = [embedded_input(chunk.headings, text) for text in texts]
        made = embedder.embed(inputs, role="document").vectors
        scores = scores_of(
            vector[None], normalise(made) if space.metric == "cosine" else made, metric=space.metric
        )[0]  # fmt: skip
        return [Heat(*span, float(scores[0] - score)) for span, score in zip(spans, scores[1:], strict=True)]

    words = [match.span() for match in _WORD.finditer(chunk.text)]
    if len(words) > MOST_WORDS:
        sentences = [match.span() for match in _SENTENCE.finditer(chunk.text)]
        # Texts without sentences, such as tables, are taken by their longest ones.
        sentences = sorted(sentences, key=lambda span: span[0] - span[1])[:MOST_SENTENCES]
        words = _words_within(falls(sentences), words)
    return tuple(sorted(falls(words), key=lambda one: one.start)) if words else ()


def _words_within(sentences: list[Heat], words: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The words of the sentences that mean most, MOST_WORDS at most."""
    chosen: list[tuple[int, int]] = []
    for sentence in sorted(sentences, key=lambda one: -one.drop):
        chosen += [span for span in words if sentence.start <= span[0] and span[1] <= sentence.end]
        if len(chosen) >= MOST_WORDS:
            break
    return (chosen or words)[:MOST_WORDS]
