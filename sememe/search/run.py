"""From a query to hits, by way of a plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sememe.errors import InputError
from sememe.filters import Condition
from sememe.index import columns, faiss
from sememe.index.exact import Allowed
from sememe.index.represented import Asked
from sememe.index.slab import RowsDamaged
from sememe.search import plan as planning
from sememe.search.calibrate import LEAST
from sememe.search.fuse import Ranking, ordered, reciprocal_ranks, weighted
from sememe.search.judge import Judge
from sememe.search.plan import (
    BM25,
    FAR_POOL,
    LATE,
    LOOKED_AT,
    RERANK,
    Calibrate,
    Fetch,
    Fuse,
    Narrow,
    Nearest,
    Neighbours,
    Plan,
    Rerank,
    Tokens,
    Weights,
    Words,
    near_of,
    part_of,
)
from sememe.search.query import OWN, Query, Route
from sememe.search.represented import Lookup, Represented, asked_of, words_of
from sememe.search.view import Moment, Near, View, row_ids
from sememe.space import (
    UNTRAINED,
    Embedder,
    Encoder,
    Held,
    Instructable,
    Representer,
    Space,
    instructed,
    prompted,
)
from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory
from sememe.store.reading import Snapshot
from sememe.store.records import FoundChunk
from sememe.types import CHUNK_PREFIX, Hit, Ids, Reranker, Stage, Term, Vectors, embedded_input
from sememe.vectors import normalise

if TYPE_CHECKING:
    # What only some queries ask for is imported where it is used.
    from sememe.search.around import Facet
    from sememe.search.arrange import Arranger


NO_CHUNKS = "the collection holds no chunk; add to it with: sememe add PATH"


class Hits(list[Hit]):
    """The answer, best first, with the plan that ran and what should be said about it.

    `matched` counts the chunks that the filter lets through, None without one. Where a shape was asked for, `facets`
    are the values of fields, and `next` is the cursor of the page after these, for `Shape.after`; empty without one.
    """

    def __init__(
        self, hits: list[Hit], plan: Plan, *, matched: int | None = None, notes: tuple[str, ...] = (),
        facets: Mapping[str, list[Facet]] = MappingProxyType({}), next: str = "",
    ) -> None:  # fmt: skip
        super().__init__(hits)
        self.plan = plan
        self.matched = matched
        self.notes = notes
        self.facets = facets
        self.next = next


@dataclass(slots=True)
class Found:
    """What the steps have come to so far: one ranking a part, all of them fused, the order of all,
    and the best in it.

    `shares` says by id how many of all random chunks would score as high, where that is known. Of a filter the best
    may have been found so `late` in a space of this name that wider cells and more candidates hold better ones.
    """

    rankings: dict[str, Ranking] = field(default_factory=dict)
    best: list[tuple[int, float]] = field(default_factory=list)
    kind: str = ""
    fused: list[tuple[int, float]] = field(default_factory=list)
    shares: dict[int, float] = field(default_factory=dict)
    ordered: list[tuple[int, float]] = field(default_factory=list)
    late: str | None = None

    def choose(self) -> None:
        """Where nothing was fused, the order is that of the one ranking."""
        if not self.kind:
            ((self.kind, (numbers, scores)),) = self.rankings.items()
            self.best = list(zip(numbers.tolist(), scores.tolist(), strict=True))

    def settle(self, exclude: frozenset[int], most: float) -> None:
        """Leave out what is excluded, and what more than a share of random chunks would score as high as."""
        self.choose()
        self.ordered = [pair for pair in self.best if pair[0] not in exclude and self.shares.get(pair[0], 0.0) <= most]


@dataclass(frozen=True, slots=True)
class Way:
    """A space that a search looks in: its vectors, or what is `beside` those of the collection; and the model for the
    query, where something has to be embedded."""

    space: Space
    view: View
    encoder: Encoder | None = None
    beside: Represented | None = None


@dataclass(frozen=True, slots=True)
class Models:
    """What a search needs: the spaces that it looks in, and a model that ranks."""

    ways: tuple[Way, ...]
    reranker: Reranker | None = None


def answer(query: Query, *, store: SQLiteStore, view: View, models: Models) -> Hits:
    """Best first, at most k, and only chunks that exist at this moment. `view` is of the space that filters go over."""
    asked = became(query, models)
    with store.snapshot() as snapshot:
        try:
            return _answer(query, snapshot, view, moment_of(view, snapshot, models, asked=asked), models.reranker)
        except RowsDamaged:
            # The truth has every vector: this search and the next ones read it from there.
            distrust(view, models)
            return _answer(query, snapshot, view, moment_of(view, snapshot, models, asked=asked), models.reranker)


@dataclass(frozen=True, slots=True)
class Became:
    """What a query became in a space: a vector of a string, or words or tokens."""

    input: str | None
    vector: Vectors | None
    asked: Asked | None


def became(query: Query, models: Models) -> list[Became]:
    """What a query becomes in every space, by its model."""
    return [Became(*_embedded(query, way.space, way.encoder), asked_of(query, way.encoder)) for way in models.ways]


def moment_of(view: View, snapshot: Inventory, models: Models, *, asked: Sequence[Became]) -> Moment:
    """Every index at the moment of the snapshot, with the spaces that are searched."""
    moment = view.at(snapshot)
    nears = []
    for way, one in zip(models.ways, asked, strict=True):
        at = moment if way.view is view else way.view.at(snapshot)
        beside = None if way.beside is None or one.asked is None else way.beside.at(snapshot, one.asked)
        held = way.view.held(snapshot) if beside is None else beside.held
        name = held.name or (OWN if len(models.ways) > 1 else "")
        nears.append(Near(name, held, at, one.input, one.vector, beside))
    return replace(moment, nears=tuple(nears))


def distrust(view: View, models: Models) -> None:
    """Use the files that were searched no more: they are not what was written."""
    view.distrust()
    for way in models.ways:
        way.view.distrust()
        if way.beside is not None:
            way.beside.distrust()


def _embedded(query: Query, space: Space, embedder: Encoder | None) -> tuple[str | None, Vectors | None]:
    """The exact string that was embedded, and the vector (dim,) to look for; none in a space of words or tokens."""
    if query.mode == "lexical":
        return None, None
    text, vector = None, query.vector
    if isinstance(embedder, Representer) and query.text is not None:
        return dict(space.prompts).get("query", "") + query.text, None
    if vector is None and query.text is not None:
        assert isinstance(embedder, Embedder)
        prompt, vector = _asked(query.text, query.route, space, embedder)
        text = prompted(prompt, query.text)
    assert vector is not None
    return text, normalise(vector) if space.metric == "cosine" else vector


def _asked(text: str, route: Route, space: Space, embedder: Embedder) -> tuple[str, Vectors]:
    """The prompt before a query, and the vector (dim,) of both.

    An instruction is told where the prompt has a place for it. Raises InputError when it has none, and no reranker is
    there to be told either.
    """
    prompt, instruction = dict(space.prompts).get("query", ""), route.instruction
    if instruction is None or (route.rerank is not None and instructed(prompt, instruction) is None):
        return prompt, embedder.embed([text], role="query").vectors[0]
    if not isinstance(embedder, Instructable):
        raise InputError(f"{space.model} takes no instruction; leave it out, or put it into the query")
    return embedder.instructed(instruction), embedder.encode_query(text, instruction=instruction)


def _answer(query: Query, snapshot: Snapshot, view: View, moment: Moment, reranker: Reranker | None) -> Hits:
    search = searched(query, snapshot=snapshot, view=view, moment=moment, reranker=reranker)
    arranger = search.arranger
    hits = _hits(snapshot, search.found, len(moment.exact), {} if arranger is None else arranger.terms)
    matched = None if query.where is None or search.allowed is None else search.allowed.count
    told = () if query.sought is None else query.sought.notes
    notes = (*told, *_depth_notes(query.route, search.plan), *_notes(query, matched, moment, snapshot))
    if not hits and (reason := _nothing(query, search)):
        notes = (reason, *notes)
    if arranger is None or query.shape is None:
        return Hits(hits, search.plan, matched=matched, notes=notes)
    from sememe.search.around import Among, facets_of, with_context

    among = _everything(moment) if search.allowed is None else search.allowed
    return Hits(
        with_context(hits, snapshot, query.shape.context) if query.shape.context else hits, search.plan,
        matched=matched, notes=(*arranger.notes(), *notes),
        facets=facets_of(
            query.shape.facets, snapshot, among=Among.of(moment, among), hits=hits,
            ids=lambda: row_ids(moment, among).tolist(),
        ), next=arranger.next(search.found.best),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Searched:
    """A search that ran, and what it looked at."""

    plan: Plan
    found: Found
    moment: Moment
    allowed: Allowed | None
    arranger: Arranger | None


def searched(query: Query, *, snapshot: Snapshot, view: View, moment: Moment, reranker: Reranker | None) -> Searched:
    """Plan and run, again with more candidates where too few are left of them."""
    allowed = None if query.where is None else view.allowed(snapshot, moment, query.where)
    terms = () if query.mode == "vector" or query.text is None else view.words.terms(snapshot, query.text)
    arranger = None
    if query.shape is not None:
        from sememe.search.arrange import Arranger

        arranger = Arranger.of(query, query.shape, snapshot=snapshot, view=view)
        allowed = arranger.begin(moment, allowed)
    wide: frozenset[str] = frozenset()
    while True:
        plan = planning.plan(query, moment, allowed=allowed, terms=terms, arranger=arranger, wide=wide)
        found = run(
            plan, query, allowed=allowed, moment=moment, view=view, snapshot=snapshot, reranker=reranker,
            arranger=arranger,
        )  # fmt: skip
        if found.late is not None:
            wide |= {found.late}
        elif arranger is None or not arranger.widened():
            return Searched(plan, found, moment, allowed, arranger)


def run(
    plan: Plan, query: Query, *, allowed: Allowed | None, moment: Moment, view: View, snapshot: Snapshot,
    reranker: Reranker | None = None, arranger: Arranger | None = None,
) -> Found:  # fmt: skip
    """Do what the plan says, step by step."""
    found, judge = Found(), Judge(plan, query, allowed, moment, view, snapshot, _nearest)
    for step in plan.steps:
        if isinstance(step, Nearest):
            near = near_of(step, moment)
            ranking, late = _nearest(step, near, near.allowed(moment, allowed))
            found.rankings[part_of(step, moment)] = ranking
            if late:
                # They are looked for again, so nothing is made of these: a hosted model would bill it.
                found.late = step.space
                return found
        elif isinstance(step, Words) and query.text is not None:
            ids = None if allowed is None else row_ids(moment, allowed)
            found.rankings[BM25] = view.words.search(snapshot, query.text, k=step.depth, allowed=ids, whole=step.whole)
        elif isinstance(step, Fuse):
            _fuse(step, found, judge)
        elif isinstance(step, Calibrate):
            found.shares = found.shares or judge.shares(found.rankings, BM25)
        elif isinstance(step, Rerank) and reranker is not None:
            _rerank(step, query, found, snapshot, reranker)
        elif isinstance(step, Fetch):
            most = math.inf if query.route.expected is None else query.route.expected / max(len(moment.exact), 1)
            found.settle(query.exclude, most)
            if arranger is not None:
                found.ordered = arranger.run(plan.steps, found.ordered, found.kind)
            found.best = found.ordered[0 if arranger is None else arranger.skip :][: step.k]
    return found


def _fuse(step: Fuse, found: Found, judge: Judge) -> None:
    rankings = tuple(found.rankings.values())
    if step.kind == "evidence":
        scores, found.shares = judge.fused(*rankings)
    elif step.alpha is None:
        scores = reciprocal_ranks(rankings)
    else:
        scores = weighted(rankings, (step.alpha, 1.0 - step.alpha))
    found.kind, found.best = step.kind, ordered(scores)
    found.fused = found.best


def _rerank(step: Rerank, query: Query, found: Found, snapshot: Snapshot, reranker: Reranker) -> None:
    """Put the best into the order of a model that reads each with the query; equal scores by ascending id."""
    found.choose()
    chunks = snapshot.found([number for number, _ in found.best[: step.depth]])
    numbers = np.array(sorted(chunks), dtype=np.int64)
    texts = [embedded_input(chunks[number].headings, chunks[number].text) for number in numbers.tolist()]
    assert query.text is not None
    scores = reranker.rerank(query.text, texts, instruction=step.instruction)
    order = np.argsort(-scores, kind="stable")
    found.kind, found.rankings[RERANK] = RERANK, (numbers[order], scores[order])
    found.best = list(zip(numbers[order].tolist(), scores[order].tolist(), strict=True))


def _nearest(step: Nearest, near: Near, allowed: Allowed | None) -> tuple[Ranking, bool]:
    """What is near in one space, of the rows that are allowed there, and whether it was found late."""
    vector, moment, beside = near.vector, near.moment, near.beside
    if isinstance(step, Weights | Tokens):
        assert beside is not None
        ids = None if allowed is None else row_ids(moment, allowed)
        exact = isinstance(step, Tokens) and step.candidates is None
        return beside.kept.best(beside.asked, step.depth, allowed=ids, exact=exact), False
    assert vector is not None
    queries = np.ascontiguousarray(vector[None])
    known, funnel = moment.files.neighbours, moment.files.funnel
    alive = allowed.slab if allowed is not None else moment.alive
    start, rows = 0, None
    if isinstance(step, Narrow) and funnel is not None:
        start, rows = len(moment.exact.rows), funnel.candidates(vector, step.stages, alive)
    elif isinstance(step, Neighbours) and known is not None:
        setting = faiss.Setting(step.probes, step.candidates, recall=0.0, milliseconds=0.0)
        start, rows = step.rows, known.index.candidates(
            vector, setting=setting, count=step.candidates, cells=step.scanned,
            allowed=None if alive is None else alive[: step.rows],
        )  # fmt: skip
    ids, scores = moment.exact.search(queries, step.depth, start=start, also=rows, allowed=allowed)
    late = isinstance(step, Neighbours) and rows is not None and _late(step, rows, ids[0], moment)
    return (ids[0], scores[0]), late


def _late(step: Neighbours, candidates: Ids, best: Ids, moment: Moment) -> bool:
    """Whether, under a filter, one of the best stands far behind among the candidates (m,), which are nearest first,
    and there may be more of them; without one, whether the cells held too few."""
    if not step.filtered:
        return len(best) < min(step.depth, len(moment.exact))
    if step.candidates >= FAR_POOL or len(candidates) < step.candidates:
        return False
    behind = candidates[int(len(candidates) * LATE) :]
    return bool(np.isin(best[:LOOKED_AT], moment.exact.rows.ids[behind]).any())


def _everything(moment: Moment) -> Allowed:
    """All rows that may be returned."""
    return Allowed(slab=~moment.exact.dead, tail=np.ones(len(moment.exact.tail_ids), bool))


def _notes(query: Query, matched: int | None, moment: Moment, snapshot: Snapshot) -> tuple[str, ...]:
    """What should be said aloud: that fewer match than were asked for, and why, or that not all were looked at."""
    notes = [_lacking_note(near.held, snapshot) for near in moment.nears if not near.held.complete]
    notes += [note for near in moment.nears for note in _beside_notes(near.beside)]
    judged = query.route.calibrated or query.route.expected is not None
    if judged and len(moment.exact) < LEAST:
        notes.append(f"{len(moment.exact):,} chunks are too few to judge scores by (from {LEAST} on): none was")
    if query.route.fusion == "evidence" and len(moment.exact) < LEAST:
        notes.append(f"{len(moment.exact):,} chunks are too few for evidence (from {LEAST} on): fused by ranks")
    if matched is None or query.where is None or matched >= query.k:
        return tuple(notes)
    if matched:
        return *notes, f"only {matched:,} of {len(moment.exact):,} chunks match the filter"
    return *notes, "no chunk matches the filter", *_field_notes(query.where, moment, snapshot)


def _nothing(query: Query, search: Searched) -> str:
    """Which step left nothing to show, with the best that there was; empty where a note says it anyway."""
    found, chunks = search.found, len(search.moment.exact)
    came = {number for ids, _ in found.rankings.values() for number in ids.tolist()}
    if not chunks:
        return NO_CHUNKS
    if search.allowed is not None and not search.allowed.count:
        return ""
    if not came:
        step = next((step for step in search.plan.steps if isinstance(step, Words)), None)
        if step is None or not step.terms:
            return "" if step is None else "the query has no word that can be looked up; say it in other words"
        return f"no chunk that may be found has a word of the query ({' '.join(step.terms)})"
    if came <= query.exclude:
        return "there is no other chunk than what was asked for"
    if not (found.ordered if search.arranger is None else search.arranger.considered):
        least = min(found.shares.get(number, 0.0) for number in came - query.exclude)
        return (
            f"{least * chunks:.2g} random chunks would be expected to score as high as the best, and "
            f"{query.route.expected:g} at most were asked for"
        )
    return "" if search.arranger is None else search.arranger.nothing()


def _depth_notes(route: Route, plan: Plan) -> list[str]:
    """That a reranker read more than it was told to."""
    read = next((step.depth for step in plan.steps if isinstance(step, Rerank)), 0)
    if route.depth is None or route.depth >= read:
        return []
    return [f"the reranker read the best {read:,}, not {route.depth:,}: all that are asked for are put in order"]


def _lacking_note(held: Held, snapshot: Snapshot) -> str:
    return (
        f"{snapshot.count_lacking(held.key):,} inputs have no vector in space {held.name!r} and were not looked at; "
        f"embed them with: sememe space add {held.name}"
    )


def _beside_notes(beside: Lookup | None) -> list[str]:
    if beside is not None and not words_of(beside.asked):
        return [f"the query has no word that space {beside.held.name!r} knows; say it in other words"]
    if beside is not None and UNTRAINED in beside.held.space.pooling:
        return [f"{beside.held.space.model} was not trained for late interaction; its ranking may be poor"]
    return []


def _field_notes(where: Condition, moment: Moment, snapshot: Snapshot) -> list[str]:
    known = moment.files.columns
    ids = moment.exact.ids[0 if known is None else known.rows :]
    newer = columns.notes(where, columns.Columns.build(len(ids), snapshot.metadata_by_row(ids)).facts())
    # What a field holds in newer rows alone is no reason to say that it is not there.
    return newer if known is None or (len(ids) and not newer) else columns.notes(where, known.facts())


def _hits(
    snapshot: Snapshot, found: Found, chunks_there: int, terms: Mapping[int, tuple[Term, ...]]
) -> list[Hit]:  # fmt: skip
    chunks = snapshot.found([number for number, _ in found.best])
    places = {
        name: {
            number: (rank, score)
            for rank, (number, score) in enumerate(zip(ids.tolist(), scores.tolist(), strict=True), 1)
        }
        for name, (ids, scores) in found.rankings.items()
    }
    hits = []
    for number, score in found.best:
        if number in chunks:
            stages = tuple(Stage(name, *at[number]) for name, at in places.items() if number in at)
            share = found.shares.get(number)
            expected = None if share is None else share * chunks_there
            hit = _hit(chunks[number], score, found.kind, stages, expected)
            hits.append(replace(hit, terms=terms[number]) if number in terms else hit)
    return hits


def _hit(chunk: FoundChunk, score: float, kind: str, stages: tuple[Stage, ...], expected: float | None) -> Hit:
    return Hit(
        id=f"{CHUNK_PREFIX}{chunk.id}",
        score=score,
        kind=kind,
        text=chunk.text,
        document=chunk.key,
        title=chunk.title,
        headings=chunk.headings,
        span=(chunk.start, chunk.end),
        position=chunk.position,
        metadata=chunk.metadata,
        stages=stages,
        place=chunk.place,
        expected=expected,
    )
