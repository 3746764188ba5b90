"""Asking a collection every query of a dataset, the way that its users ask it, and keeping what came.

A `Run` is a value: the judgements, and for every query the ranking with the hits that made it. Every measure can be
taken from it later, and it can be written to a file and compared with another one. Searches go through
`Collection.search` one by one, so that what is measured is what people get, the time of a query included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sememe.collection import Collection
from sememe.errors import InputError
from sememe.evaluate.datasets import Dataset, Unit, read_run
from sememe.evaluate.metrics import Measure
from sememe.evaluate.truth import moment
from sememe.filters import Filter, parse
from sememe.search.query import Mode, Query, Route, checked
from sememe.search.shape import DAY, Boost, Shape
from sememe.types import CHUNK_PREFIX, Hit, Progress

FORMAT = 1
SNIPPET = 160
WIDEN = 4
"""How many times as many chunks are asked for when those found are of too few documents."""

USUAL = Route()


@dataclass(frozen=True, slots=True)
class Setting:
    """How to search: what a `Query` takes beside the text and the number of hits. `str` says it as it is typed."""

    mode: Mode = "vector"
    alpha: float | None = None
    recall: float | None = None
    where: Filter | None = None
    route: Route = USUAL
    shape: Shape | None = None

    def __str__(self) -> str:
        named = (("alpha", self.alpha), ("recall", self.recall), *_of_route(self.route), *_of_shape(self.shape))
        said = [f"{name}={value}" for name, value in named if value is not None]
        said += [] if self.where is None else [f"where={json.dumps(self.where, ensure_ascii=False)}"]
        return " ".join([f"mode={self.mode}", *said])

    def check(self) -> None:
        """Raise InputError if no search can be made of it."""
        checked(self.query("any", 1), 1)

    def query(self, text: str, k: int) -> Query:
        """To ask for k chunks."""
        where = None if self.where is None else parse(self.where)
        return Query(
            text=text, k=k, mode=self.mode, alpha=self.alpha, recall=self.recall, where=where, route=self.route,
            shape=self.shape,
        )  # fmt: skip


def _of_route(route: Route) -> Iterator[tuple[str, object]]:
    """What is not as it would be anyway, by the names of the options of a search."""
    yield "fusion", route.fusion
    for name in (route.space,) if isinstance(route.space, str) else route.space:
        yield "space", name or None
    yield "funnel", route.funnel or None
    yield "rerank", None if route.rerank is None else f"{route.ranked_by}:{route.read}"
    yield "instruction", route.instruction
    yield "threshold-expected", route.expected


def _of_shape(shape: Shape | None) -> Iterator[tuple[str, object]]:
    if shape is None:
        return
    for boost in shape.boosts:
        if isinstance(boost, Boost):
            yield "boost", f"{boost.field}:{boost.weight}"
        else:
            weight = "" if boost.weight is None else f":{boost.weight}"
            yield "recency", f"{boost.field}:{boost.half_life / DAY}d{weight}"
    yield "threshold", shape.threshold
    yield "dedupe", "yes" if shape.dedupe else None
    yield "group-by", shape.group_by or None
    yield "per-group", shape.per_group if shape.per_group > 1 else None
    yield "mmr", shape.mmr


@dataclass(frozen=True, slots=True)
class Place:
    """What stands on one rank: the id that is judged, and the chunk for which it stands there."""

    id: str
    chunk: str = ""
    score: float = 0.0
    text: str = ""
    stages: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: its grades by id, what was found, best first, and how long that took, in milliseconds."""

    text: str
    grades: Mapping[str, int]
    places: tuple[Place, ...]
    milliseconds: float = 0.0
    origin: str = ""

    @property
    def ranking(self) -> list[str]:
        """The ids, best first."""
        return [place.id for place in self.places]

    @property
    def first(self) -> int | None:
        """The rank of the first relevant hit, from 1."""
        return next((rank for rank, one in enumerate(self.ranking, 1) if self.grades.get(one, 0) > 0), None)


@dataclass(frozen=True, slots=True)
class Run:
    """Every query of a dataset asked in one setting, `depth` hits each; `remarks` are what should be known of it."""

    dataset: str
    setting: str
    depth: int
    unit: Unit
    asked: Mapping[str, Asked]
    remarks: tuple[str, ...] = ()

    def values(self, measure: Measure) -> dict[str, float]:
        """The measure of every query. Raises InputError when it looks further than the run did."""
        if measure.cutoff is not None and measure.cutoff > self.depth:
            raise InputError(
                f"{measure} looks at {measure.cutoff} hits, and the run of {self.setting} on {self.dataset} has "
                f"{self.depth} a query; run it again with --k {measure.cutoff}"
            )
        return {key: measure.of(one.ranking, one.grades) for key, one in self.asked.items()}

    def milliseconds(self, *shares: float) -> list[float]:
        """The times of the searches, as percentiles."""
        times = [one.milliseconds for one in self.asked.values()]
        return [float(value) for value in np.quantile(times, shares)]


def run(
    collection: Collection, dataset: Dataset, setting: Setting, *, k: int = 10, progress: Progress | None = None
) -> Run:  # fmt: skip
    """Ask every query for its k best documents, or chunks.

    A document stands where its best chunk stands. Raises InputError when the setting cannot be used, k is below 1, or
    no document that is judged relevant is in the collection.
    """
    if k < 1:
        raise InputError(f"k is {k}; a run keeps at least 1 hit a query")
    setting.check()
    remarks = (*dataset.remarks, *_missing(collection, dataset))
    asked = {}
    for number, (key, text) in enumerate(dataset.queries.items(), start=1):
        begun = time.perf_counter()
        places = _documents(collection, text, setting, k) if dataset.unit == "document" else None
        if places is None:
            places = [_place(hit, hit.id) for hit in collection.search(setting.query(text, k))]
        spent = 1000 * (time.perf_counter() - begun)
        asked[key] = Asked(text, dataset.grades[key], tuple(places), round(spent, 4), dataset.origins.get(key, ""))
        if progress is not None:
            progress(number, len(dataset.queries))
    return Run(dataset.name, str(setting), k, dataset.unit, asked, remarks)


def _documents(collection: Collection, query: str, setting: Setting, k: int) -> list[Place]:
    wanted = k
    while True:
        hits = collection.search(setting.query(query, wanted))
        best: dict[str, Hit] = {}
        for hit in hits:
            best.setdefault(hit.document, hit)
        if len(best) >= k or len(hits) < wanted:
            return [_place(hit, key) for key, hit in list(best.items())[:k]]
        wanted *= WIDEN


def _place(hit: Hit, key: str) -> Place:
    stages = tuple((stage.name, stage.rank, stage.score) for stage in hit.stages)
    return Place(key, hit.id, hit.score, " ".join(hit.text.split())[:SNIPPET], stages)


def _missing(collection: Collection, dataset: Dataset) -> list[str]:
    """What is judged relevant and is not there, which counts as not found. Raises InputError when no document is."""
    wanted = {key for found in dataset.grades.values() for key, grade in found.items() if grade > 0}
    with moment(collection.path) as snapshot:
        if dataset.unit == "document":
            there = sum(snapshot.document(key) is not None for key in wanted)
        else:
            numbers = [key.removeprefix(CHUNK_PREFIX) for key in wanted]
            there = len(snapshot.documents_of([int(number) for number in numbers if number.isdecimal()]))
    # A golden set of here whose chunks are gone names characters instead: those have not been found.
    foreign = dataset.unit == "document" or all(key.startswith(CHUNK_PREFIX) for key in wanted)
    if not there and foreign:
        add = ", or add them (--add adds the corpus of a BEIR folder)" if dataset.unit == "document" else ""
        raise InputError(
            f"none of the {len(wanted):,} {dataset.unit}s that {dataset.name} judges relevant is in {collection.path}, "
            f"such as {min(wanted)!r}; name the collection that they are in{add}"
        )
    gone = len(wanted) - there
    return [f"{gone:,} of {len(wanted):,} relevant {dataset.unit}s are not in {collection.path}"] if gone else []


def of_rankings(rankings: Mapping[str, Sequence[str]], dataset: Dataset, *, name: str) -> Run:
    """A run that another program made: a query that it does not have found nothing."""
    others = len(rankings.keys() - dataset.queries.keys())
    remarks = [*dataset.remarks, *([f"{others:,} queries of {name} are not judged"] if others else [])]
    asked = {
        key: Asked(
            text, dataset.grades[key], tuple(map(Place, rankings.get(key, ()))), 0.0, dataset.origins.get(key, "")
        )
        for key, text in dataset.queries.items()
    }
    depth = max(map(len, rankings.values()), default=0)
    return Run(dataset.name, name, depth, dataset.unit, asked, tuple(remarks))


# --- files -----------------------------------------------------------------------------------------------------


def save(run: Run, path: Path) -> None:
    """Write a run as one JSON document."""
    path.write_text(json.dumps({"run": FORMAT, **asdict(run)}, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path, dataset: Dataset | None = None) -> Run:
    """Read a saved run, or with a dataset a TREC run. Raises InputError when the file is neither."""
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or error) if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"{path} cannot be read as a run ({why}); write one with: sememe eval run --save") from error
    if text.lstrip()[:1] == "{":
        return _from_json(text, path)
    try:
        rankings = read_run(path)
    except InputError as error:
        raise InputError(
            f"{path} is neither a saved run nor a TREC run ({error}); write one with: sememe eval run --save"
        ) from error
    if not rankings:
        raise InputError(f"{path} is empty and no run; write one with: sememe eval run --save")
    if dataset is None:
        raise InputError(f"{path} is a TREC run and holds no judgements; name the set or folder that has them")
    return of_rankings(rankings, dataset, name=path.name)


def _from_json(text: str, path: Path) -> Run:
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw.pop("run") != FORMAT:
            raise ValueError(f"it is of another version than {FORMAT}")
        asked = {key: _asked(one) for key, one in raw.pop("asked").items()}
        made = Run(**{**raw, "asked": asked, "remarks": tuple(raw["remarks"])})
        for one in asked.values():
            Measure("ndcg").of(one.ranking, one.grades)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is no saved run ({why}); write one with: sememe eval run --save") from error
    return made


def _asked(raw: dict[str, Any]) -> Asked:
    places = tuple(
        replace(Place(**place), stages=tuple((str(n), int(r), float(s)) for n, r, s in place["stages"]))
        for place in raw["places"]
    )
    return Asked(**{**raw, "places": places})
