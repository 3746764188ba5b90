"""The indexes as one moment of the truth has them.

A `View` keeps the mapped files between searches and brings them to the snapshot of each: rows that the files have not
seen are loaded into the tail, deleted ones are masked. It never writes a file. What is missing or damaged is left
out, and the truth itself is searched: slower, never wrongly.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sememe.errors import NotFound
from sememe.filters import Condition, matches
from sememe.index import columns, faiss, funnel, slab
from sememe.index.exact import Allowed, ExactIndex, Mask, in_memory, over_slab
from sememe.index.funnel import Funnel, Measured
from sememe.index.slab import Rows, Slab
from sememe.search.calibrate import SAMPLE
from sememe.search.represented import Lookup, Represented
from sememe.space import Held
from sememe.store.reading import Snapshot
from sememe.types import Ids, IndexRecord, Metric, Vectors

if TYPE_CHECKING:
    from sememe.search.words import Words

KEPT_FILTERS = 32
"""Masks that are remembered: one of a million rows is a megabyte."""

Stamps = Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The quantised index over the first rows of the slab."""

    index: faiss.NeighbourIndex
    details: faiss.Details


@dataclass(slots=True)
class Files:
    """What was made of the files of one set of stamps; `masks` by the filter's text, over the columns' rows."""

    stamps: Stamps
    rows: Rows
    neighbours: Neighbours | None
    columns: columns.Columns | None
    funnel: Funnel | None = None
    measured: tuple[Measured, ...] = ()
    masks: OrderedDict[Condition, Mask] = field(default_factory=OrderedDict)
    sample: tuple[int, Vectors] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Every index at one `seq`. A value: a later moment is another one.

    `nears` are the spaces that a search looks in for what is near.
    """

    files: Files
    seq: int
    exact: ExactIndex
    alive: Mask | None = None
    nears: tuple[Near, ...] = ()

    @classmethod
    def of(cls, files: Files, seq: int, exact: ExactIndex) -> Moment:
        """A moment; `alive (rows,)` are the slab's rows that are not dead, None when all of them live."""
        return cls(files, seq, exact, ~exact.dead if exact.dead.any() else None)

    @property
    def covered(self) -> int:
        """How many rows of the slab the quantised index knows."""
        found = self.files.neighbours
        return found.details.rows if found is not None else 0


@dataclass(frozen=True, slots=True)
class Near:
    """A space that is searched, at one moment, and what the query became in it: a `vector (dim,)` of the string
    `input`, or words or tokens `beside` the collection's own vectors."""

    name: str
    held: Held
    moment: Moment
    input: str | None = None
    vector: Vectors | None = None
    beside: Lookup | None = None

    def allowed(self, moment: Moment, allowed: Allowed | None) -> Allowed | None:
        """The rows here of what a filter lets through at the moment of another space."""
        if allowed is None or self.moment.exact is moment.exact:
            return allowed
        exact, ids = self.moment.exact, row_ids(moment, allowed)
        return Allowed(slab=~exact.dead & np.isin(exact.rows.ids, ids), tail=np.isin(exact.tail_ids, ids))


def row_ids(moment: Moment, allowed: Allowed) -> Ids:
    """The ids of the rows that a filter lets through, ascending."""
    exact = moment.exact
    return np.sort(np.concatenate([exact.rows.ids[allowed.slab], exact.tail_ids[allowed.tail]]))


class View:
    """The indexes of a collection, current as of the snapshot that they are asked for."""

    def __init__(self, folder: Path, dim: int, metric: Metric, *, name: str = "", threads: int = 0) -> None:
        """Of the collection in `folder`, by its own space, or a further one by its `name`. `threads` 0 is one for every
        core."""
        self._threads = threads
        self._collection = folder
        self._name = name
        self._dim = dim
        self._metric: Metric = metric
        self._lock = threading.Lock()
        self._own: Held | None = None
        self._moment: Moment | None = None
        self._damaged: set[str] = set()
        self._beside: dict[str, Represented] = {}
        self._metadata: dict[int, Mapping[str, Any]] = {}

    @property
    def collection(self) -> Path:
        """The folder of the collection."""
        return self._collection

    @cached_property
    def words(self) -> Words:
        """The lexical index, loaded by the first search for words."""
        from sememe.search.words import Words

        return Words(self._collection)

    def beside(self, held: Held) -> Represented | None:
        """A space of words or of tokens of the same collection, None for one of vectors."""
        if held.kind == "dense":
            return None
        with self._lock:
            return self._beside.setdefault(held.name, Represented(self._collection, held.name))

    def at(self, snapshot: Snapshot) -> Moment:
        """The indexes at the moment of the snapshot."""
        with self._lock:
            held = self.held(snapshot)
            found = snapshot.index_stamps()
            stamps = {name: found[held.index(name)] for name in LAYERS if held.index(name) in found}
            stamps[FILLED] = held.details, 0
            seq = snapshot.seq()
            moment = self._moment
            if moment is None or moment.files.stamps != stamps or moment.seq > seq:
                moment = self._from_files(snapshot, held, stamps)
            if moment.seq < seq:
                changes = snapshot.changes(moment.seq, self._dim, space=held.key)
                exact = self._in_memory(snapshot, held) if changes is None else moment.exact.changed(changes)
                moment = Moment.of(moment.files, seq, exact)
            if self._moment is None or self._moment.seq <= seq:
                # A snapshot that is older than the last one gets its own indexes, and leaves the newer ones in place.
                self._moment = moment
            return moment

    def distrust(self) -> None:
        """Use the current vector file no more: it is not what was written."""
        with self._lock:
            if self._moment is not None:
                self._damaged.add(self._moment.files.stamps[slab.NAME][0])
            self._moment = None

    def allowed(self, snapshot: Snapshot, moment: Moment, condition: Condition) -> Allowed:
        """The live rows that a filter lets through."""
        exact, files = moment.exact, moment.files
        mask = np.zeros(len(exact.rows), dtype=bool)
        known = 0
        if files.columns is not None:
            # NotIndexed: a collection of more fields than are kept; every row is asked then.
            with contextlib.suppress(columns.NotIndexed):
                mask[: files.columns.rows] = self._mask(files, files.columns, condition)
                known = files.columns.rows
        mask &= ~exact.dead
        later = np.flatnonzero(~exact.dead[known:]) + known
        unknown = [*exact.rows.ids[later].tolist(), *exact.tail_ids.tolist()]
        found = self._matching(snapshot, unknown, condition)
        mask[later] = found[: len(later)]
        return Allowed(slab=mask, tail=found[len(later) :])

    def sample(self, moment: Moment) -> Vectors:
        """Vectors that stand for all: (m, dim), SAMPLE at most; of a large one they stay as long as its files."""
        kept = moment.files.sample
        if kept is None or (kept[0] != moment.seq and len(moment.files.rows) < SAMPLE):
            kept = moment.files.sample = moment.seq, moment.exact.sample(SAMPLE)
        return kept[1]

    def _mask(self, files: Files, known: columns.Columns, condition: Condition) -> Mask:
        with self._lock:
            mask = files.masks.pop(condition, None)
        if mask is None:
            mask = known.select(condition)
        with self._lock:
            files.masks[condition] = mask
            if len(files.masks) > KEPT_FILTERS:
                files.masks.popitem(last=False)
        return mask

    def _matching(self, snapshot: Snapshot, chunks: list[int], condition: Condition) -> Mask:
        """Which of the chunks match, by their documents' metadata, row by row."""
        with self._lock:
            kept = self._metadata
        missing = [chunk for chunk in chunks if chunk not in kept]
        if missing:
            owners = snapshot.documents_of(missing)
            about = snapshot.metadata_of(owners.values())
            kept = {chunk: kept[chunk] for chunk in chunks if chunk in kept}
            kept |= {chunk: about[document] for chunk, document in owners.items()}
            with self._lock:
                self._metadata = kept
        return np.fromiter((matches(condition, kept[chunk]) for chunk in chunks), dtype=bool, count=len(chunks))

    def held(self, snapshot: Snapshot) -> Held:
        """The space that is searched, as the snapshot has it. Raises NotFound when it was dropped."""
        if self._own is not None:
            return self._own
        found = snapshot.held(self._name)
        if found is None:
            raise NotFound(f"{self._collection} has no space {self._name!r}; see those it has with: sememe space")
        if not self._name:
            # Written once and never changed.
            self._own = found
        return found

    def _from_files(self, snapshot: Snapshot, held: Held, stamps: Stamps) -> Moment:
        record = snapshot.index_record(held.index(slab.NAME))
        rows = self._rows(held, record)
        if record is None or rows is None:
            exact = self._in_memory(snapshot, held)
            return Moment.of(Files(stamps, exact.rows, None, None), snapshot.seq(), exact)
        earlier = self._moment
        if earlier is not None and earlier.files.stamps.get(slab.NAME, ("", 0))[0] == record.generation:
            rows.knows(earlier.files.rows)
        neighbours = self._neighbours(snapshot, held, record)
        if neighbours is not None:
            rows.read_at_random()
        files = Files(
            stamps, rows, neighbours, self._columns(snapshot, held, record), Funnel(rows, self._metric),
            self._measured(snapshot, held, record),
        )  # fmt: skip
        return Moment.of(files, record.seq, over_slab(rows, record, metric=self._metric))

    def _rows(self, held: Held, record: IndexRecord | None) -> Rows | None:
        if record is None or record.generation in self._damaged or record.details != held.details:
            return None
        rows = Slab(held.folder(self._collection), record.generation, self._dim).map(record.rows)
        return rows if rows is not None and rows.checksum() == record.checksum else None

    def _neighbours(self, snapshot: Snapshot, held: Held, base: IndexRecord) -> Neighbours | None:
        record, earlier = snapshot.index_record(held.index(faiss.NAME)), self._moment
        if record is None or record.base != base.generation:
            return None
        if earlier is not None and earlier.files.stamps.get(faiss.NAME) == (record.generation, record.seq):
            return earlier.files.neighbours
        details, folder = faiss.Details.from_json(record.details), held.folder(self._collection)
        index = faiss.NeighbourIndex.open(folder, record.generation, details, dim=self._dim, threads=self._threads)
        return None if index is None else Neighbours(index, details)

    def _columns(self, snapshot: Snapshot, held: Held, base: IndexRecord) -> columns.Columns | None:
        record, earlier = snapshot.index_record(held.index(columns.NAME)), self._moment
        if record is None or record.base != base.generation:
            return None
        if earlier is not None and earlier.files.stamps.get(columns.NAME) == (record.generation, record.seq):
            return earlier.files.columns
        return columns.Columns.read(held.folder(self._collection), record.generation, record.checksum)

    def _measured(self, snapshot: Snapshot, held: Held, base: IndexRecord) -> tuple[Measured, ...]:
        record = snapshot.index_record(held.index(funnel.NAME))
        return () if record is None or record.base != base.generation else tuple(funnel.from_json(record.details))

    def _in_memory(self, snapshot: Snapshot, held: Held) -> ExactIndex:
        """The truth itself, while there are no usable files: until the next write or `optimize` makes them."""
        found = snapshot.vectors(snapshot.live_chunks(), self._dim, space=held.key)
        return in_memory(*found, metric=self._metric)


FILLED = "filled"
"""Lookup the stamps of files: what changes when vectors came that no change tells of."""

LAYERS = (slab.NAME, faiss.NAME, columns.NAME, funnel.NAME)
