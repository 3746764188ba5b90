"""How near the searches of a collection come to comparing every vector, and how long they take.

Stored chunks, drawn at random, and people's own queries are searched twice on the way that every search takes: as the
collection does it, and with `recall=1`, which compares all vectors. The table that the index measured of itself when
it was made says what to expect; this says what comes of it, also under filters that let few chunks through.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sememe.collection import Collection, use_recall
from sememe.errors import InputError
from sememe.evaluate.truth import moment
from sememe.filters import Filter
from sememe.index import faiss
from sememe.index.faiss import STORED_MISSES, Details
from sememe.search.plan import Neighbours
from sememe.search.run import Hits
from sememe.store.inventory import Inventory
from sememe.types import CHUNK_PREFIX, Progress, Vectors

SHARES = (0.5, 0.1, 0.01, 0.001)
"""Of the chunks, that filters are looked for to let through."""

NEAR_ENOUGH = 1.5
"""A filter serves for a share when it lets through no more than half as much again, and no less than two thirds."""

MOST_DOCUMENTS = 20_000
"""Documents whose metadata is counted; of a larger collection an even sample."""

MOST_VALUES = 1_000
"""Values of one field that are told apart; a field of more is no one's filter by equality."""

TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of one kind of queries under one filter.

    `recall` is the mean share of the true neighbours found, `worst` that of the worst query; times in milliseconds,
    without embedding. `share` of the chunks match the filter; `exact` tells that every vector was compared anyway.
    """

    queries: str
    count: int
    where: Filter | None
    share: float
    recall: float
    worst: float
    p50: float
    p95: float
    p99: float
    exact_p50: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `aim` settled on: searches that say nothing ask for `asked`, and then `found` of the neighbours are found.

    `how` says in words what that means for the index.
    """

    wanted: float
    asked: float
    found: float
    queries: str
    count: int
    p50: float
    how: str


def probe(
    collection: Collection, texts: Sequence[str] = (), *, k: int = 10, sample: int = 200, recall: float | None = None,
    filters: bool = True, progress: Progress | None = None,
) -> list[Probed]:  # fmt: skip
    """Probe with stored chunks, and with `texts` when there are any; without a filter, and with those of `wheres`.

    Raises InputError when the collection holds fewer than two chunks, or a number cannot be used.
    """
    kinds = _queries(collection, texts, k=k, sample=sample)
    chosen: list[tuple[Filter | None, float]] = [(None, 1.0), *(wheres(collection) if filters else [])]
    found = []
    for number, (where, share) in enumerate(chosen):
        for name, queries in kinds.items():
            found.append(_probed(collection, name, queries, k=k, recall=recall, where=where, share=share))
        if progress is not None:
            progress(number + 1, len(chosen))
    return found


def aim(
    collection: Collection, wanted: float, texts: Sequence[str] = (), *, k: int = 10, sample: int = 200,
    progress: Progress | None = None,
) -> Chosen:  # fmt: skip
    """Let searches that say nothing find the share `wanted` of the true neighbours, as cheaply as the index can.

    What is asked for is raised, setting by setting of the index's table, until so much is found of people's own
    queries, if `texts` are given, else of stored chunks. Raises InputError as `probe` does.
    """
    if not 0 < wanted <= 1:
        raise InputError(f"the recall is {wanted!r}; give a share above 0, 1 to compare every vector")
    name, queries = list(_queries(collection, texts, k=k, sample=sample).items())[-1]
    table = _details(collection)
    steps = _steps(table, wanted)
    for number, asked in enumerate(steps, start=1):
        found = _probed(collection, name, queries, k=k, recall=asked, where=None, share=1.0)
        if progress is not None:
            progress(number, len(steps))
        if found.recall >= wanted:
            break
    use_recall(collection, asked)
    return Chosen(wanted, asked, found.recall, name, found.count, found.p50, _how(table, asked))


def _steps(table: Details | None, wanted: float) -> list[float]:
    """What to ask for, one after the other: the share that is wanted, what every better setting promises, all."""
    if table is None or wanted == 1:
        return [wanted]
    promised = {1 - (1 - setting.recall) / STORED_MISSES for setting in table.table}
    return [wanted, *sorted(share for share in promised if wanted < share < 1), 1.0]


def _how(table: Details | None, asked: float) -> str:
    if table is None:
        return "there is no index of neighbours yet, so every vector is compared"
    if asked == 1:
        return "no setting of the index finds so many, so every vector is compared"
    setting = faiss.choose(table, recall=asked)
    return f"{table.kind}: {setting.probes:,} of {table.cells:,} cells, {setting.candidates:,} candidates"


def _details(collection: Collection) -> Details | None:
    """What the truth keeps of the index of neighbours."""
    with moment(collection.path) as snapshot:
        record = snapshot.index_record(faiss.NAME)
        return None if record is None else Details.from_json(record.details)


# --- asking ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asker:
    """A vector to look for, and the chunk it is of, which is no answer."""

    vector: Vectors
    chunk: str | None = None


def _queries(collection: Collection, texts: Sequence[str], *, k: int, sample: int) -> dict[str, list[_Asker]]:
    for name, value in (("k", k), ("sample", sample)):
        if value < 1:
            raise InputError(f"{name} is {value}; give at least 1")
    ids, vectors = _drawn(collection, sample)
    kinds = {
        "stored chunks": [
            _Asker(vector, f"{CHUNK_PREFIX}{number}") for number, vector in zip(ids, vectors, strict=True)
        ]
    }
    asked = [text for text in dict.fromkeys(texts) if text.strip()]
    if asked:
        embedded = collection.embedder.embed(asked, role="query").vectors
        kinds["queries"] = [_Asker(vector) for vector in embedded]
    return kinds


def _drawn(collection: Collection, count: int) -> tuple[list[int], Vectors]:
    """Chunks at random, always the same ones, and their vectors; those without a direction are left out."""
    with moment(collection.path) as snapshot:
        chunks, stored = snapshot.live_chunks(), snapshot.space()
        if len(chunks) < 2 or stored is None:
            raise InputError(f"{collection.path} holds {len(chunks)} chunks; there is nothing to probe below 2")
        drawn = np.sort(np.random.default_rng(0).choice(chunks, size=min(count, len(chunks)), replace=False))
        ids, vectors = snapshot.vectors(drawn.tolist(), stored[0].dim)
    pointing = vectors.any(axis=1)
    if not pointing.any():
        raise InputError(f"the chunks of {collection.path} have vectors of zeros; embed them with another model")
    return ids[pointing].tolist(), vectors[pointing]


def _probed(
    collection: Collection, name: str, queries: Sequence[_Asker], *, k: int, recall: float | None,
    where: Filter | None, share: float,
) -> Probed:  # fmt: skip
    shares, times, exact_times, scanned = [], [], [], True
    _ask(collection, queries[0], k=k, recall=recall, where=where)
    for query in queries:
        begun = time.perf_counter()
        found = _ask(collection, query, k=k, recall=recall, where=where)
        between = time.perf_counter()
        truth = _ask(collection, query, k=k, recall=1.0, where=where)
        times.append(1000 * (between - begun))
        exact_times.append(1000 * (time.perf_counter() - between))
        shares.append(_share(_scores(found, query, k), _scores(truth, query, k)))
        scanned &= not any(isinstance(step, Neighbours) for step in found.plan.steps)
    p50, p95, p99 = (float(value) for value in np.quantile(times, [0.5, 0.95, 0.99]))
    return Probed(
        queries=name, count=len(queries), where=where, share=share, recall=float(np.mean(shares)), worst=min(shares),
        p50=p50, p95=p95, p99=p99, exact_p50=float(np.median(exact_times)), exact=scanned,
    )  # fmt: skip


def _ask(collection: Collection, query: _Asker, *, k: int, recall: float | None, where: Filter | None) -> Hits:
    return collection.search(query.vector, k=k + (query.chunk is not None), recall=recall, where=where)


def _scores(hits: Hits, query: _Asker, k: int) -> list[float]:
    return [hit.score for hit in hits if hit.id != query.chunk][:k]


def _share(found: Sequence[float], truth: Sequence[float]) -> float:
    """Of the true neighbours, how many were found: by score, because equal ones are as good as each other."""
    if not truth:
        return 1.0
    least = truth[-1] - TIE * max(1.0, abs(truth[-1]))
    return sum(score >= least for score in found) / len(truth)


# --- filters ---------------------------------------------------------------------------------------------------


def wheres(collection: Collection) -> list[tuple[Filter, float]]:
    """Filters over the collection's own metadata, and the share of chunks that each lets through, the widest first.

    For each of SHARES the nearest that a value of some field gives; where none comes near, a range of keys.
    """
    with moment(collection.path) as snapshot:
        candidates, keys = _counted(snapshot)
    found: list[tuple[Filter, float]] = []
    for share in SHARES:
        near = [one for one in candidates if 1 / NEAR_ENOUGH <= one[1] / share <= NEAR_ENOUGH and one not in found]
        if near:
            found.append(min(near, key=lambda one: abs(math.log(one[1] / share))))
        elif share * len(keys) >= 1:
            last = keys[math.ceil(share * len(keys)) - 1]
            there = sum(key <= last for key in keys) / len(keys)
            if there <= NEAR_ENOUGH * share:
                found.append(({"@key": {"$lte": last}}, there))
    return sorted(found, key=lambda one: -one[1])


def _counted(snapshot: Inventory) -> tuple[list[tuple[Filter, float]], list[str]]:
    """Filters by equality with their shares, and the key of every counted chunk, in order."""
    numbers = snapshot.live_documents()
    numbers = numbers[:: max(1, -(-len(numbers) // MOST_DOCUMENTS))]
    documents = snapshot.documents(numbers)
    about = snapshot.metadata_of(numbers)
    counts: dict[str, Counter[str | float | bool]] = {path: Counter() for path in snapshot.fields()}
    for number, document in documents.items():
        for path in counts:
            value = about[number].get(path)
            if isinstance(value, str | int | float) and len(counts[path]) <= MOST_VALUES:
                counts[path][value] += document.chunks
    total = sum(document.chunks for document in documents.values())
    candidates: list[tuple[Filter, float]] = [
        ({path: value}, count / total)
        for path, values in counts.items() if len(values) <= MOST_VALUES
        for value, count in values.items() if count < total
    ]  # fmt: skip
    return candidates, sorted(document.key for document in documents.values() for _ in range(document.chunks))
