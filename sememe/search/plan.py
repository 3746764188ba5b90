"""From a query to a plan: a value that can be printed, and what runs is the plan.

A plan is made when the query's vector is known and its filter has been counted, so nothing is left to be decided
while it runs. This file chooses; `run` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sememe.errors import InputError
from sememe.filters import describe
from sememe.index import faiss
from sememe.index.exact import Allowed, Mask
from sememe.index.funnel import BITS, MIN_ROWS, MOST_ROWS, Stage, choose, parse
from sememe.search.calibrate import LEAST, SAMPLE, TOP, WORDS_WEIGHT
from sememe.search.fuse import RRF_K
from sememe.search.query import Fusion, Query
from sememe.search.represented import Lookup, words_of
from sememe.search.view import Moment, Near
from sememe.search.view import Neighbours as Known
from sememe.space import UNTRAINED
from sememe.types import Metric, Vectors

if TYPE_CHECKING:
    from sememe.search.arrange import Arranger, Arranging, Beside
    from sememe.search.parts import Combine

BM25, RERANK = "bm25", "rerank"
"""What scores are called that are no metric of a space."""

DEFAULT_RECALL = 0.99
AUTO = "auto"
"""A funnel as it was measured to find enough."""

HYBRID_DEPTH = 100
"""Hits of each part that are fused, at least: beyond it a rank adds less than 1/160 to a score."""

POOL = 128
POOL_PER_HIT = 4
"""Rows that are rescored exactly, at least: the same for up to 32 hits, so that more hits extend fewer."""

HELD_PER_HIT = 8
"""Rows that have to lie in the scanned cells, at least: the table was measured for 10 hits. Where half of all must be,
all are compared."""

SUBSET_ROWS = 16_384
"""So few rows are compared one by one whatever the index: it takes about 4 ms, and misses nothing."""

WANTED_MATCHES = 16_000
"""Rows that match a filter and have to lie in the scanned cells: topics of 2 to 5 % of the rows need so many for a
recall of .99, measured at half a million real vectors."""


FAR, FAR_CELLS, FAR_SHARE = 1.1, 8, 0.6
"""Times the cells that matches spread evenly would take: then they lie away from the query, at distances that differ
less than the codes can tell. Eight times the cells, up to a share of all, and a large pool are needed: .86 became .98
at 600,000 real vectors, .87 and .95 became .99 at a million synthetic ones: what is far has no neighbours at all."""

LATE, LOOKED_AT = 0.25, 10
"""A share of the candidates: where one of so many best stands behind it, there may be better ones that are none.
Matches that are far from a query and yet spread evenly are told so: 92 % of those queries of a million synthetic
vectors whose recall was below 1, and 4 to 22 % of other queries that are filtered by half."""

NEARLY_ALL = 0.9
"""A share of the cells that matches spread evenly would never take, where they take fewer."""

FILTERED_POOL, ALL_CELLS_POOL, FAR_POOL = 800, 3_200, 9_600


@dataclass(frozen=True, slots=True)
class Embed:
    """The exact string that is embedded."""

    input: str

    def __str__(self) -> str:
        return f"embed    {self.input!r}"


@dataclass(frozen=True, slots=True)
class Filter:
    """What the filter says, and how many chunks match it of how many there are."""

    where: str
    matches: int
    of: int

    def __str__(self) -> str:
        return f"filter   {self.where}: {self.matches:,} of {self.of:,} chunks match"


@dataclass(frozen=True, slots=True)
class Scan:
    """Every vector that may be returned is compared exactly."""

    rows: int
    depth: int
    metric: Metric
    space: str = ""

    def __str__(self) -> str:
        return f"scan     all {self.rows:,} vectors{_within(self.space)} exactly by {self.metric}, keep {self.depth}"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The quantised index names candidates, which are compared exactly, and so is everything it has not seen.

    `scanned` are the `probes` cells themselves.
    """

    index: str
    rows: int
    probes: int
    cells: int
    candidates: int
    beside: int
    depth: int
    metric: Metric
    filtered: bool
    scanned: faiss.Cells = field(repr=False, compare=False)
    space: str = ""

    def __str__(self) -> str:
        among = " that match" if self.filtered else ""
        beside = f" and {self.beside:,} newer rows" if self.beside else ""
        return (
            f"search   {self.index} over {self.rows:,} vectors{_within(self.space)}, {self.probes:,} of "
            f"{self.cells:,} cells, {self.candidates:,} candidates{among}\n"
            f"rescore  the candidates{beside} exactly by {self.metric}, keep {self.depth}"
        )


@dataclass(frozen=True, slots=True)
class Narrow:
    """A funnel: every vector is compared by something short, what is left by more, and at last exactly."""

    stages: tuple[Stage, ...]
    rows: int
    beside: int
    depth: int
    metric: Metric
    space: str = ""

    def __str__(self) -> str:
        lines, rows = [], f"{self.rows:,} vectors{_within(self.space)}"
        for stage in self.stages:
            by = "sign bits" if stage.by == BITS else f"{stage.by} dimensions"
            lines.append(f"funnel   {rows} by {by}, keep {stage.keep:,}")
            rows = "those"
        beside = f" and {self.beside:,} newer rows" if self.beside else ""
        return "\n".join([*lines, f"rescore  those{beside} exactly by {self.metric}, keep {self.depth}"])


@dataclass(frozen=True, slots=True)
class Weights:
    """The words of the query are looked up in an inverted index: inner products, every row that has one is compared."""

    words: int
    rows: int
    depth: int
    space: str

    score = "dot"

    def __str__(self) -> str:
        return (
            f"weights  {self.words:,} words of the query in {self.rows:,} texts{_within(self.space)}, inner products, "
            f"keep {self.depth}"
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """Max-sim of the tokens of the query with those of texts: of `candidates` and what is newer, with None of all."""

    tokens: int
    rows: int
    candidates: int | None
    beside: int
    depth: int
    space: str
    untrained: bool

    score = "maxsim"

    def __str__(self) -> str:
        texts = f"{self.rows:,} texts{_within(self.space)}{', untrained for it' if self.untrained else ''}"
        if self.candidates is None:
            return f"maxsim   {self.tokens:,} tokens of the query with those of all {texts}, keep {self.depth}"
        newer = f" and {self.beside:,} newer texts" if self.beside else ""
        return (
            f"tokens   {self.tokens:,} tokens of the query in {texts}: their centroids name "
            f"{self.candidates:,}\n"
            f"maxsim   the candidates{newer} token by token, keep {self.depth}"
        )


@dataclass(frozen=True, slots=True)
class Words:
    """BM25 over the words of titles, headings and text. Behind the first `whole` the scores alone are wanted."""

    terms: tuple[str, ...]
    depth: int
    whole: int

    def __str__(self) -> str:
        return f"words    BM25 for {' '.join(self.terms) or '(no word that can be looked up)'}, keep {self.depth}"


@dataclass(frozen=True, slots=True)
class Fuse:
    """One ranking of several: by ranks, or of two by how surprising their scores are, or with `alpha` by scores."""

    alpha: float | None
    fusion: Fusion = "evidence"

    @property
    def kind(self) -> str:
        """What the scores are called that come out of it."""
        return self.fusion if self.alpha is None else "weighted"

    def __str__(self) -> str:
        if self.kind == "evidence":
            return f"fuse     surprise of meaning + {WORDS_WEIGHT:g} x surprise of words, as -log10 of random chunks"
        if self.alpha is None:
            return f"fuse     reciprocal ranks, k = {RRF_K}"
        return f"fuse     {self.alpha:g} x meaning + {1 - self.alpha:g} x words, scores stretched to 0..1"


@dataclass(frozen=True, slots=True)
class Calibrate:
    """Of every hit the number of random chunks that would be expected to score as high, `expected` at most."""

    sample: int
    chunks: int
    expected: float | None

    def __str__(self) -> str:
        most = "" if self.expected is None else f", pass over more than {self.expected:g}"
        top = f"the best {min(TOP, self.chunks):,} of all"
        return f"judge    by {top} and {self.sample:,} random chunks of {self.chunks:,}{most}"


@dataclass(frozen=True, slots=True)
class Rerank:
    """A model reads the query with each of the best, and puts them in order."""

    model: str
    depth: int
    instruction: str | None = None

    def __str__(self) -> str:
        told = f", told {self.instruction!r}" if self.instruction else ""
        return f"rerank   the best {self.depth} by {self.model}{told}"


@dataclass(frozen=True, slots=True)
class Fetch:
    """The texts of the best."""

    k: int

    def __str__(self) -> str:
        return f"fetch    the best {self.k}"


Nearest: TypeAlias = Scan | Neighbours | Narrow | Weights | Tokens
"""Looks for what is near in a space."""

Step: TypeAlias = "Embed | Combine | Filter | Nearest | Words | Fuse | Calibrate | Rerank | Arranging | Fetch | Beside"


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a search in order. `str` prints it, a step a line."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))

    def as_dicts(self) -> list[dict[str, Any]]:
        """The steps for JSON, each with its name."""
        return [
            {"step": type(step).__name__.lower()} | {f.name: getattr(step, f.name) for f in fields(step) if f.repr}
            for step in self.steps
        ]


def near_of(step: Nearest, moment: Moment) -> Near:
    """The space that a step looks in."""
    return next(near for near in moment.nears if near.name == step.space)


def part_of(step: Nearest, moment: Moment) -> str:
    """What the ranking of a step is called: as its scores are, and by its space where there are several."""
    score = step.score if isinstance(step, Weights | Tokens) else step.metric
    return score if len(moment.nears) == 1 else f"{step.space}:{score}"


def plan(
    query: Query, moment: Moment, *, allowed: Allowed | None, terms: tuple[str, ...], arranger: Arranger | None = None,
    wide: frozenset[str] = frozenset(),
) -> Plan:  # fmt: skip
    """How the query will be answered: `allowed` is what its filter lets through, and `arranger` makes of the best what
    was asked for. In the spaces that are `wide` what a filter lets through is taken for far from the query."""
    route, nears = query.route, moment.nears
    # Too few chunks have no tail to judge by, a space of words or of tokens has no sample of vectors, and how surprised
    # two models are by one text is no evidence of two.
    judged = len(moment.exact) >= LEAST and len(nears) == 1 and nears[0].beside is None
    fuse = Fuse(query.alpha, (route.fusion or "evidence") if judged else "rrf")
    stated = (route.calibrated or route.expected is not None) and len(moment.exact) >= LEAST
    least = top_of(query) if fuse.kind == "evidence" else HYBRID_DEPTH
    wanted = query.k if arranger is None else arranger.page.k
    k = max(wanted + len(query.exclude), route.read)
    # Where scores are judged the best of all are known from the search itself.
    depth = max(k, min(2 * k, 10 * HYBRID_DEPTH), least) if query.is_fused else max(k, top_of(query)) if stated else k
    if arranger is not None:
        depth = max(depth, arranger.pool + len(query.exclude))
    steps: list[Step] = [Embed(text) for text in dict.fromkeys(near.input for near in nears) if text is not None]
    if query.sought is not None:
        steps.append(query.sought.step)
    if allowed is not None and query.where is not None:
        steps.append(Filter(describe(query.where), allowed.count, len(moment.exact)))
    for near in nears:
        steps += _nearest(query, near, near.allowed(moment, allowed), depth, near.name in wide)
    if query.mode != "vector":
        steps.append(Words(terms, depth, whole=depth if query.is_fused or arranger is not None else k))
    if query.is_fused:
        steps.append(fuse)
    if stated:
        steps.append(Calibrate(min(SAMPLE, len(moment.exact)), len(moment.exact), route.expected))
    if route.rerank is not None:
        steps.append(Rerank(route.ranked_by, k, route.instruction))
    if arranger is None:
        return Plan((*steps, Fetch(query.k)))
    rankings = len(nears) + (query.mode == "hybrid")
    return Plan((*steps, *arranger.steps(_kind_of(steps), rankings), Fetch(query.k), *arranger.beside()))


def _kind_of(steps: Sequence[Step]) -> str:
    """What the scores are called that come out of the last step."""
    for step in reversed(steps):
        if isinstance(step, Rerank):
            return RERANK
        if isinstance(step, Fuse):
            return step.kind
        if isinstance(step, Scan | Neighbours | Narrow):
            return step.metric
        if isinstance(step, Weights | Tokens):
            return step.score
    return BM25


def _nearest(query: Query, near: Near, allowed: Allowed | None, depth: int, wide: bool) -> list[Step]:
    """How one space is looked into; not at all where the query became nothing in it."""
    if near.beside is not None:
        return [_represented(query, near.beside, allowed, depth)]
    if near.vector is None:
        return []
    if query.route.funnel and len(near.moment.exact.rows):
        return [_narrow(query, near, allowed, depth)]
    return [_dense(query, near, near.vector, allowed, depth, wide)]


def top_of(query: Query) -> int:
    """How many are looked for, so that the TOP of all are left when what the query is made of is taken out."""
    return TOP + len(query.exclude)


def best_of_all(query: Query, near: Near) -> Scan | Neighbours:
    """How the TOP of all vectors are looked for, whatever is left out of the answer, and however long that is."""
    assert near.vector is not None
    return _dense(query, near, near.vector, None, top_of(query), wide=False)


def _dense(
    query: Query, near: Near, vector: Vectors, allowed: Allowed | None, depth: int, wide: bool
) -> Scan | Neighbours:
    moment = near.moment
    exact, known = moment.exact, moment.files.neighbours
    rows = len(exact) if allowed is None else allowed.count
    few = wide if allowed is None else rows <= SUBSET_ROWS
    if known is None or query.recall == 1 or few or 2 * HELD_PER_HIT * depth > rows:
        return Scan(rows, depth, exact.metric, near.name)
    setting = known.index.setting_for(DEFAULT_RECALL if query.recall is None else query.recall)
    probes, pool = setting.probes, max(setting.candidates, POOL)
    if allowed is not None:
        probes, pool = _filtered(known, vector, allowed.slab[: known.details.rows], depth, probes, wide)
    else:
        probes = max(probes, -(-known.details.cells * HELD_PER_HIT * depth // rows))
    if allowed is not None or probes > setting.probes:
        setting = faiss.Setting(probes, pool, recall=0.0, milliseconds=0.0)
    scanned = known.index.cells_near(vector, setting)
    return Neighbours(
        index=known.details.kind, rows=known.details.rows, probes=len(scanned.numbers), cells=known.details.cells,
        candidates=max(pool, POOL_PER_HIT * depth), depth=depth, metric=exact.metric,
        beside=_beside(moment, allowed), filtered=allowed is not None, scanned=scanned, space=near.name,
    )  # fmt: skip


def _represented(query: Query, beside: Lookup, allowed: Allowed | None, depth: int) -> Weights | Tokens:
    kept, space = beside.kept, beside.held
    rows = len(kept) if allowed is None else min(len(kept), allowed.count)
    if space.kind == "sparse":
        return Weights(words_of(beside.asked), rows, depth, space.name)
    return Tokens(
        words_of(beside.asked), rows, beside.candidates(rows, depth, query.recall),
        beside=len(kept.ids), depth=depth, space=space.name, untrained=UNTRAINED in space.space.pooling,
    )  # fmt: skip


def _narrow(query: Query, near: Near, allowed: Allowed | None, depth: int) -> Narrow:
    """The stages that were asked for, or the one that was measured to find enough; each keeps `depth` at least."""
    exact, files = near.moment.exact, near.moment.files
    if query.route.funnel == AUTO:
        if not files.measured:
            raise InputError(
                f"no funnel was measured here; run: sememe optimize, which does so for {MIN_ROWS:,} to {MOST_ROWS:,} "
                f"vectors, or say its stages: bits:500,full"
            )
        stages: tuple[Stage, ...] = (choose(files.measured, DEFAULT_RECALL if query.recall is None else query.recall),)
    else:
        stages = parse(query.route.funnel, exact.rows.vectors.shape[1])
    rows = len(exact.rows) if allowed is None else int(np.count_nonzero(allowed.slab))
    beside = exact.tail_ids if allowed is None else np.flatnonzero(allowed.tail)
    return Narrow(
        tuple(Stage(stage.by, max(stage.keep, depth)) for stage in stages), rows=rows, beside=len(beside), depth=depth,
        metric=exact.metric, space=near.name,
    )  # fmt: skip


def _within(space: str) -> str:
    return f" of space {space!r}" if space else ""


def _filtered(
    known: Known, vector: Vectors, matching: Mask, depth: int, probes: int, wide: bool
) -> tuple[int, int]:  # fmt: skip
    """Cells to scan and rows to rescore so that a filter costs no results, wherever its matches lie."""
    cells, matches = known.details.cells, int(np.count_nonzero(matching))
    wanted = max(WANTED_MATCHES, HELD_PER_HIT * depth)
    needed = known.index.probes_for(vector, matching, wanted)
    evenly = cells * wanted / max(matches, 1)
    if wide or needed > min(FAR * evenly, max(NEARLY_ALL * cells, evenly)):
        most = max(min(FAR_CELLS * needed, int(FAR_SHARE * cells)), needed, 2 * probes)
        return min(most, cells), FAR_POOL
    probes = max(min(2 * probes, cells), needed)
    return probes, ALL_CELLS_POOL if probes == cells else FILTERED_POOL


def _beside(moment: Moment, allowed: Allowed | None) -> int:
    """Rows that the quantised index has not seen and that may be returned."""
    if allowed is not None:
        return int(np.count_nonzero(allowed.slab[moment.covered :])) + int(np.count_nonzero(allowed.tail))
    newer = moment.exact.dead[moment.covered :]
    return len(newer) - int(np.count_nonzero(newer)) + len(moment.exact.tail_ids)
