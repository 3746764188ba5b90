"""The indexes that are made after the slab: quantised neighbours and filter columns over its rows, and words.

Each is made where it pays: a small collection is scanned. All of it happens under the lock that `derived` holds, and
each index is switched to by itself, so a kill between two of them leaves the later ones as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sememe import failpoints
from sememe.index import columns, faiss, funnel, lexical
from sememe.index.entries import entry_of
from sememe.index.slab import NAME as VECTORS
from sememe.index.slab import Rows, Slab
from sememe.memory import give_back
from sememe.settings import cores
from sememe.space import Held
from sememe.store import SQLiteStore
from sememe.types import IndexRecord, Progress

UNINDEXED_ROWS = 8_192
UNINDEXED_SHARE = 1 / 64
"""Rows that neighbours and columns may lag behind the slab: they are scanned, in about a millisecond."""

MIN_COLUMN_ROWS = 1_024
NO_BITS = np.empty(0, bool)


@dataclass(frozen=True, slots=True)
class Work:
    """What `derived.Effort` says of it: start anew, on how many threads, and whom to tell."""

    rebuild: bool
    threads: int
    progress: Callable[[str], Progress | None] | None

    def told(self, name: str) -> Progress | None:
        """Whom to tell how far the making of `name` is."""
        return self.progress(name) if self.progress is not None else None


def make(store: SQLiteStore, spaces: Sequence[Held], work: Work) -> None:
    """Bring every index but the slabs to where it should be."""
    for held in spaces:
        with store.snapshot() as snapshot:
            base = snapshot.index_record(held.index(VECTORS))
        rows = None
        if base is not None:
            rows = Slab(held.folder(store.folder), base.generation, held.space.dim).map(base.rows)
        if base is not None and rows is not None:
            over = _Over(store, held, base, rows)
            _neighbours(over, work)
            _columns(over, work)
            _funnel(over, work)
    _words(store, work)


def lag(store: SQLiteStore, held: Held, base: IndexRecord) -> bool:
    """Whether an index over the slab is to be made again, while the one there is serves. What waits counts as rows."""
    with store.snapshot() as snapshot:
        records = [snapshot.index_record(held.index(name)) for name in (faiss.NAME, columns.NAME)]
        rows = base.rows + snapshot.seq() - base.seq
    return any(
        record is not None and record.base == base.generation and rows - record.rows > _allowed(record.rows)
        for record in records
    )


def _allowed(seen: int) -> int:
    """Rows by which an index of so many may lag."""
    return max(UNINDEXED_ROWS, int(seen * UNINDEXED_SHARE))


@dataclass(frozen=True, slots=True)
class _Over:
    """The rows of one space that indexes are made over."""

    store: SQLiteStore
    held: Held
    base: IndexRecord
    rows: Rows

    @property
    def folder(self) -> Path:
        """Where the files of this space are."""
        return self.held.folder(self.store.folder)

    def record(self, name: str) -> IndexRecord | None:
        """What the truth knows of an index over these rows."""
        with self.store.snapshot() as snapshot:
            return snapshot.index_record(self.held.index(name))

    def lags(self, record: IndexRecord | None, least: int) -> bool:
        """Whether so many rows are not in an index that it should be made again."""
        seen = record.rows if record is not None and record.base == self.base.generation else 0
        return self.base.rows - seen > (_allowed(seen) if seen else least - 1)

    def switch(self, name: str, generation: str, checksum: int, details: str) -> None:
        """Let the truth know of new files."""
        record = IndexRecord(
            generation=generation, seq=self.base.seq, rows=self.base.rows, dead=NO_BITS, checksum=checksum,
            base=self.base.generation, details=details,
        )  # fmt: skip
        failpoints.reach("layer written")
        with self.store.transaction() as transaction:
            transaction.set_index(self.held.index(name), record)
        failpoints.reach("layer switched")


def _neighbours(over: _Over, work: Work) -> None:
    record = None if work.rebuild else over.record(faiss.NAME)
    former = _sound(over, record)
    current = record if former is not None and record is not None and record.base == over.base.generation else None
    if not over.lags(current, faiss.MIN_ROWS):
        faiss.remove_others(over.folder, None if current is None else current.generation)
        return
    generation, details = _written(over, record, former, work)
    over.switch(faiss.NAME, generation, details.checksum, details.to_json())
    faiss.remove_others(over.folder, generation)
    give_back()


def _sound(over: _Over, record: IndexRecord | None) -> faiss.Details | None:
    """What the truth keeps of an index whose file is what was written."""
    if record is None:
        return None
    details = faiss.Details.from_json(record.details)
    opened = faiss.NeighbourIndex.open(over.folder, record.generation, details, dim=over.held.space.dim)
    return None if opened is None or details.metric != over.held.space.metric else details


def _written(
    over: _Over, record: IndexRecord | None, former: faiss.Details | None, work: Work
) -> tuple[str, faiss.Details]:
    """A new file: of the former one while its cells serve, as nothing takes longer than to learn them."""
    vectors, alive, threads = over.rows.scanned(), ~over.base.dead, cores(work.threads)
    metric, made = over.held.space.metric, None
    if record is not None and former is not None:
        same_rows = record.base == over.base.generation
        if not same_rows or over.base.rows < 2 * former.trained:
            made = (faiss.extend if same_rows else faiss.refill)(
                over.folder, record.generation, former, vectors=vectors, live=alive, metric=metric, threads=threads
            )
    return made or faiss.build(
        over.folder, vectors, alive, metric=metric, threads=threads, progress=work.told("neighbours")
    )


def _columns(over: _Over, work: Work) -> None:
    with over.store.snapshot() as snapshot:
        record = None if work.rebuild else over.record(columns.NAME)
        if record is not None and columns.Columns.read(over.folder, record.generation, record.checksum) is None:
            record = None
        if not over.lags(record, MIN_COLUMN_ROWS):
            columns.remove_others(over.folder, None if record is None else record.generation)
            return
        made = columns.Columns.build(over.base.rows, snapshot.metadata_by_row(over.rows.ids))
    generation, checksum = made.write(over.folder)
    over.switch(columns.NAME, generation, checksum, "{}")
    columns.remove_others(over.folder, generation)


def _funnel(over: _Over, work: Work) -> None:
    """Measure what a funnel finds of these vectors; no file is made. A table stays true while rows are added."""
    alive = ~over.base.dead
    if work.rebuild and funnel.MIN_ROWS <= np.count_nonzero(alive) <= funnel.MOST_ROWS:
        table = funnel.measure(over.rows, alive, metric=over.held.space.metric, progress=work.told("funnel"))
        over.switch(funnel.NAME, over.base.generation, 0, funnel.to_json(table))


def _words(store: SQLiteStore, work: Work) -> None:
    with store.snapshot() as snapshot:
        record = None if work.rebuild else snapshot.index_record(lexical.NAME)
        if record is not None and lexical.LexicalIndex.open(store.folder, record.generation) is None:
            record = None
        seq = snapshot.seq()
        net = None if record is None else snapshot.net_changes(record.seq)
        if net is None:
            record, net = None, (snapshot.live_chunks(), [])
        if record is None or net[0] or net[1]:
            generation = lexical.write(
                store.folder, None if record is None else record.generation,
                added=map(entry_of, snapshot.passages(net[0])), deleted=net[1], seq=seq, threads=cores(work.threads),
            )  # fmt: skip
        else:
            generation = record.generation
    if record is None or record.seq != seq:
        failpoints.reach("lexical written")
        with store.transaction() as transaction:
            transaction.set_index(lexical.NAME, IndexRecord(generation, seq, 0, NO_BITS))
        failpoints.reach("lexical switched")
    lexical.remove_others(store.folder, generation)
