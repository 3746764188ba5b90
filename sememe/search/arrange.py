"""The steps of a plan between the best and those that are shown. Each takes candidates and gives candidates."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sememe.errors import InputError, meant
from sememe.filters import BUILT_INS
from sememe.index.exact import Allowed
from sememe.search import diversify, pages
from sememe.search.diversify import BLOCK, Best
from sememe.search.fuse import RRF_K
from sememe.search.pages import Page
from sememe.search.query import Query
from sememe.search.shape import DAY, DOCUMENT, Boost, Context, Recency, Shape
from sememe.search.view import Moment, View
from sememe.space import Held
from sememe.store.reading import Snapshot
from sememe.types import Metadata, Term, Vectors
from sememe.vectors import normalise

BOOSTED = 1_000
"""Candidates that are boosted at most: what is further down stays there."""

WIDER = 4
"""Times the candidates when too few are left of them."""

USUAL_WEIGHT = {"cosine": 0.1, "rerank": 0.1, "weighted": 0.1, "rrf": 0.1 / (RRF_K + 1), "evidence": 1.0}
"""Of recency, by the kind of score: a tenth of the greatest there can be, of one ranking; and of evidence, in powers of
ten, one. The others have no greatest, and no unit that means the same everywhere."""

COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class Boosting:
    """Terms of the metadata are added to the scores of the best."""

    terms: tuple[str, ...]
    boosts: tuple[Boost | Recency, ...] = field(repr=False)
    most: int = BOOSTED

    name = "boosted"
    refusal = ""

    def __str__(self) -> str:
        return f"boost    the best {self.most:,} at most: score + {' + '.join(self.terms)}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Hits of a lower score go."""

    score: float

    name = "threshold"

    @property
    def refusal(self) -> str:
        """Why it leaves a candidate out."""
        return f"its score is below the threshold {self.score:g}"

    def __str__(self) -> str:
        return f"cut      scores below {self.score:g}"


@dataclass(frozen=True, slots=True)
class Resume:
    """What the pages before have shown comes first, as it was shown, and is passed over in the end."""

    shown: int
    seq: int

    name = "resumed"
    refusal = ""

    def __str__(self) -> str:
        return f"resume   behind {self.shown:,} hits that were shown, as of change {self.seq:,}"


@dataclass(frozen=True, slots=True)
class Distinct:
    """Hits that say nearly what a better one says go."""

    cosine: float = diversify.NEAR

    name = "dedupe"

    @property
    def refusal(self) -> str:
        """Why it leaves a candidate out."""
        return f"a better hit has a cosine of {self.cosine:g} or more to it"

    def __str__(self) -> str:
        return f"dedupe   leave out a cosine of {self.cosine:g} or more to a better one"


@dataclass(frozen=True, slots=True)
class Group:
    """The best of every group."""

    by: str
    most: int

    name = "group"

    @property
    def refusal(self) -> str:
        """Why it leaves a candidate out."""
        return f"{self.most} better hits have the same {self.by}"

    def __str__(self) -> str:
        return f"group    by {self.by}, keep the best {self.most} of each"


@dataclass(frozen=True, slots=True)
class Diversify:
    """Maximal marginal relevance. With `stretch` the scores are taken as 0 to 1 first."""

    share: float
    stretch: bool

    name = "mmr"
    refusal = ""

    def __str__(self) -> str:
        score = f"score stretched to 0..1 over {BLOCK}" if self.stretch else "score"
        return f"mmr      {self.share:g} x {score} - {1 - self.share:g} x cosine to the nearest before it"


@dataclass(frozen=True, slots=True)
class Skip:
    """The pages before are passed over, as they are now."""

    hits: int

    name = "skip"
    refusal = ""

    def __str__(self) -> str:
        return f"skip     the best {self.hits:,}"


@dataclass(frozen=True, slots=True)
class Around:
    """The text around every hit."""

    context: Context

    def __str__(self) -> str:
        what = "the section" if self.context == "section" else f"{self.context} chunks on each side"
        return f"context  {what} of each"


@dataclass(frozen=True, slots=True)
class Count:
    """The values of fields are counted among all that may be found, and among the hits."""

    fields: tuple[str, ...]
    among: int

    def __str__(self) -> str:
        return (
            f"count    values of {', '.join(self.fields)} in all {self.among:,} chunks that may be found, and in hits"
        )


Arranging: TypeAlias = Boosting | AtLeast | Resume | Distinct | Group | Diversify | Skip
Beside: TypeAlias = Around | Count


def _term_text(boost: Boost | Recency) -> str:
    if isinstance(boost, Boost):
        return f"{boost.weight:g} x ln(1 + {boost.field})"
    return f"{boost.weight or 0:g} x 1/2 per {boost.half_life / DAY:g} days since {boost.field}"


@dataclass(slots=True)
class Arranger:
    """Makes of the best what a shape asks for, over one snapshot.

    `pool` candidates are asked for, of `there` that may be found; where too few of them are left, there will be more.
    `skip` of them were on the pages before. `terms` holds what the boosted scores are the sum of, `considered` the
    candidates, `trail` what every step left of them, and `highest` the greatest score that a threshold was held to.
    """

    shape: Shape
    query: Query
    snapshot: Snapshot
    held: Held
    page: Page
    there: int
    pool: int = 0
    terms: dict[int, tuple[Term, ...]] = field(default_factory=dict)
    trail: list[tuple[Arranging, Best]] = field(default_factory=list)
    considered: frozenset[int] = frozenset()
    dropped: int = 0
    highest: float = 0.0
    skip: int = 0
    cut: bool = False

    @classmethod
    def of(cls, query: Query, shape: Shape, *, snapshot: Snapshot, view: View) -> Arranger:
        """For a query. Raises InputError for a cursor that is not of it, and for fields that are not what is needed."""
        _refuse_fields(shape, snapshot.fields())
        if shape.after:
            page = pages.opened(query, shape.after, view.collection)
        else:
            page = pages.first(query, shape, collection=view.collection, snapshot=snapshot, now=time.time())
        return cls(shape, query, snapshot, view.held(snapshot), page, there=0)

    def begin(self, moment: Moment, allowed: Allowed | None) -> Allowed | None:
        """The rows that may be returned: on later pages none that came after the first one."""
        if self.shape.after:
            allowed = pages.older(moment, allowed, page=self.page, snapshot=self.snapshot)
        self.there = len(moment.exact) if allowed is None else allowed.count
        self.skip = len(self.page.shown) if self.shape.after else self.query.k * (self.shape.page - 1)
        self.pool = self._first_pool()
        return allowed

    # --- how many candidates -------------------------------------------------------------------

    @property
    def _wanted(self) -> int:
        """Hits to come to, those of the pages before that are still there included."""
        return self.query.k + self.skip

    @property
    def _closed(self) -> bool:
        """Whether other candidates would have other scores, so that later pages keep to those of the first."""
        return self.query.is_fused or self.query.route.rerank is not None

    def _first_pool(self) -> int:
        if self._closed and self.page.pool:
            return self.page.pool
        if self.query.route.rerank is not None:
            return self._wanted
        selects = self.shape.dedupe or self.shape.group_by or self.shape.mmr is not None
        # More candidates would be fused into another order.
        boosts = self.shape.boosts and not self.query.is_fused
        return max(self._needed, BOOSTED if boosts else BLOCK if selects else 0)

    @property
    def _needed(self) -> int:
        """Candidates that have to be left: for maximal marginal relevance whole blocks."""
        return self._wanted if self.shape.mmr is None else -(-self._wanted // BLOCK) * BLOCK

    @property
    def _left(self) -> int:
        return len(self.trail[-1][1]) if self.trail else len(self.considered)

    @property
    def _exhausted(self) -> bool:
        """Whether there is nothing further down, or only what is too low."""
        return self.cut or len(self.considered) < self.pool or self.pool >= self.there

    def widened(self) -> bool:
        """Whether it takes more candidates; then `pool` says how many."""
        fixed = self.query.route.rerank is not None or (self._closed and self.page.pool)
        if fixed or self._exhausted or self._left >= self._needed:
            return False
        self.pool *= WIDER
        return True

    def next(self, best: Best) -> str:
        """The cursor of the page after these hits, empty when there is none."""
        more = self._left > self._wanted or (self._left == self._wanted and not self._closed and not self._exhausted)
        if not more:
            return ""
        before = tuple(n for n, _ in self.trail[-1][1][: self.skip]) if self.skip else ()
        shown = (*(self.page.shown if self.shape.after else before), *(number for number, _ in best))
        return replace(self.page, pool=self.pool, shown=shown).cursor

    def notes(self) -> tuple[str, ...]:
        """What should be said aloud of what was left out."""
        found = []
        if self.dropped:
            found.append(f"{self.dropped:,} of {len(self.considered):,} candidates say nearly what a better one says")
        ended = self._left <= self._wanted if self.shape.after else self._left < self._wanted
        if self._closed and ended and 0 < len(self.considered) < self.there:
            found.append(f"the answer ends with the {len(self.considered):,} candidates that were fused or reranked")
        return tuple(found)

    def nothing(self) -> str:
        """Why none of the candidates is shown, where there are some."""
        if not self._left:
            return f"no hit scores {self.shape.threshold:g} or more: the best has {self.highest:.4g}"
        if self.shape.after:
            return "no hit is left behind that page"
        return f"page {self.shape.page:,} begins behind hit {self.skip:,}, and there are {self._left:,}"

    # --- the steps -----------------------------------------------------------------------------

    def steps(self, kind: str, rankings: int) -> list[Arranging]:
        """What the shape asks for, in its order, over scores of a kind, made of so many rankings."""
        shape = self.shape
        steps: list[Arranging] = []
        if shape.boosts:
            boosts = tuple(_weighed(boost, kind, rankings if kind == "rrf" else 1) for boost in shape.boosts)
            steps.append(Boosting(tuple(map(_term_text, boosts)), boosts))
        if shape.threshold is not None:
            steps.append(AtLeast(shape.threshold))
        if shape.after:
            steps.append(Resume(len(self.page.shown), self.page.seq))
        if shape.dedupe:
            steps.append(Distinct())
        if shape.group_by:
            steps.append(Group(shape.group_by, shape.per_group))
        if shape.mmr is not None:
            steps.append(Diversify(shape.mmr, kind != COSINE))
        if shape.page > 1:
            steps.append(Skip(self.query.k * (shape.page - 1)))
        return steps

    def beside(self) -> list[Beside]:
        """What comes beside the hits."""
        context: list[Beside] = [Around(self.shape.context)] if self.shape.context else []
        return [*context, Count(self.shape.facets, self.there)] if self.shape.facets else context

    def run(self, steps: Iterable[object], best: Best, kind: str) -> Best:
        """The candidates after all those of a plan's steps that arrange; `kind` is what their scores are called."""
        self.considered, self.trail = frozenset(number for number, _ in best), []
        self.skip, self.dropped, self.cut = 0, 0, False
        for step in steps:
            if isinstance(step, Arranging):
                best = self._run(step, best, kind)
                self.trail.append((step, best))
        return best

    def _run(self, step: Arranging, best: Best, kind: str) -> Best:
        numbers = [number for number, _ in best]
        if isinstance(step, Boosting):
            return self._boosted(step, best, kind)
        if isinstance(step, AtLeast):
            kept = [pair for pair in best if pair[1] >= step.score]
            self.cut = len(kept) < len(best)
            self.highest = max((score for _, score in best), default=0.0)
            return kept
        if isinstance(step, Resume):
            shown = {number: place for place, number in enumerate(self.page.shown)}
            self.skip = sum(number in shown for number in numbers)
            return sorted(best, key=lambda pair: shown.get(pair[0], len(shown)))
        if isinstance(step, Distinct):
            kept = diversify.distinct(best, self._vectors(numbers))
            self.dropped = len(best) - len(kept)
            return kept
        if isinstance(step, Group):
            return diversify.grouped(best, self._keys(numbers, step.by), step.most)
        if isinstance(step, Diversify):
            vectors = self._vectors(numbers)
            return diversify.mmr(best, vectors, step.share, stretch=step.stretch, chosen=self.skip)
        self.skip = step.hits
        return best

    def _boosted(self, step: Boosting, best: Best, kind: str) -> Best:
        first = best[: step.most]
        about = self._metadata([number for number, _ in first])
        for number, score in first:
            self.terms[number] = (Term(kind, score), *(
                Term(boost.name, (boost.weight or 0.0) * diversify.given_by(boost, about[number], self.page.asked))
                for boost in step.boosts
            ))  # fmt: skip
        added = defaultdict(float, {n: sum(term.value for term in self.terms[n][1:]) for n, _ in first})
        return [*diversify.boosted(first, added), *best[step.most :]]

    def _keys(self, numbers: Sequence[int], by: str) -> dict[int, Hashable]:
        if by == DOCUMENT:
            return dict(self.snapshot.documents_of(numbers))
        return {number: diversify.value_of(about, by) for number, about in self._metadata(numbers).items()}

    def _metadata(self, numbers: Sequence[int]) -> dict[int, Metadata]:
        owners = self.snapshot.documents_of(numbers)
        about = self.snapshot.metadata_of(owners.values())
        return {number: about[document] for number, document in owners.items()}

    def _vectors(self, numbers: Sequence[int]) -> dict[int, Vectors]:
        """Vectors of unit length, by number."""
        ids, vectors = self.snapshot.vectors(numbers, self.held.space.dim, space=self.held.key)
        return dict(zip(ids.tolist(), normalise(vectors), strict=True))


def _weighed(boost: Boost | Recency, kind: str, rankings: int) -> Boost | Recency:
    """A boost with a weight."""
    if boost.weight is not None:
        return boost
    if kind not in USUAL_WEIGHT:
        raise InputError(f"{boost.name!r} has no weight, and a score by {kind} has no greatest; say one, in its units")
    return replace(boost, weight=rankings * USUAL_WEIGHT[kind])


def _refuse_fields(shape: Shape, types: dict[str, str]) -> None:
    """Raise InputError for a field that no document has, or that holds something else than is needed."""
    known = types | dict.fromkeys(BUILT_INS, "string") | {"@added": "date"}
    for path in (*shape.facets, *([shape.group_by] if shape.group_by not in ("", DOCUMENT) else [])):
        if path not in known and not any(name.startswith(f"{path}.") for name in known):
            raise InputError(_unknown(path, known))
    for boost in shape.boosts:
        needed = "number" if isinstance(boost, Boost) else "date"
        if boost.field not in known:
            raise InputError(_unknown(boost.field, known))
        if known[boost.field] != needed:
            raise InputError(
                f"{boost.name!r} needs a field of {needed}s, but {boost.field!r} is a {known[boost.field]}; see the "
                f"fields with: sememe report --fields"
            )


def _unknown(path: str, known: dict[str, str]) -> str:
    return f"no document has a field {path!r}{meant(path, known)}; see the fields with: sememe report --fields"
