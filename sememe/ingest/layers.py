"""The indexes that are made after the slab: quantised neighbours and filter columns over its rows, and words.

Each is made where it pays: a small collection is scanned. All of it happens under the lock that `derived` holds, and
each index is switched to by itself, so a kill between two of them leaves the later ones as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sememe import failpoints
from sememe.index import columns, faiss, lexical
from sememe.index.entries import entry_of
from sememe.index.slab import NAME as VECTORS
from sememe.index.slab import Rows, Slab
from sememe.settings import cores
from sememe.space import Space
from sememe.store import SQLiteStore
from sememe.types import IndexRecord, Progress

FOLLOWERS = (VECTORS, lexical.NAME)
"""The indexes that read the changes themselves."""

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


def make(store: SQLiteStore, space: Space, work: Work) -> None:
    """Bring every index but the slab to where it should be."""
    with store.snapshot() as snapshot:
        base = snapshot.index_record(VECTORS)
    if base is not None:
        rows = Slab(store.folder, base.generation, space.dim).map(base.rows)
        if rows is not None:
            _neighbours(store, space, base, rows, work)
            _columns(store, base, rows, work)
    _words(store, work)


def _lags(record: IndexRecord | None, base: IndexRecord, least: int) -> bool:
    """Whether so many rows are not in an index that it should be made again."""
    seen = record.rows if record is not None and record.base == base.generation else 0
    allowed = max(UNINDEXED_ROWS, int(seen * UNINDEXED_SHARE)) if seen else least - 1
    return base.rows - seen > allowed


def _neighbours(store: SQLiteStore, space: Space, base: IndexRecord, rows: Rows, work: Work) -> None:
    with store.snapshot() as snapshot:
        record = None if work.rebuild else snapshot.index_record(faiss.NAME)
    current = None
    if record is not None and record.base == base.generation:
        current = faiss.Details.from_json(record.details)
        if faiss.NeighbourIndex.open(store.folder, record.generation, current, dim=space.dim) is None:
            record = current = None
    alive = ~base.dead
    if not _lags(record, base, faiss.MIN_ROWS):
        faiss.remove_others(store.folder, None if record is None else record.generation)
        return
    vectors, threads = rows.scanned(), cores(work.threads)
    if record is not None and current is not None and base.rows < 2 * current.trained:
        generation, details = faiss.extend(
            store.folder, record.generation, current, vectors=vectors, live=alive, metric=space.metric, threads=threads
        )
    else:
        generation, details = faiss.build(
            store.folder, vectors, alive, metric=space.metric, threads=threads, progress=work.told("neighbours")
        )
    _switch(store, faiss.NAME, base, generation, details.checksum, details.to_json())
    faiss.remove_others(store.folder, generation)


def _columns(store: SQLiteStore, base: IndexRecord, rows: Rows, work: Work) -> None:
    with store.snapshot() as snapshot:
        record = None if work.rebuild else snapshot.index_record(columns.NAME)
        if record is not None and columns.Columns.read(store.folder, record.generation, record.checksum) is None:
            record = None
        if not _lags(record, base, MIN_COLUMN_ROWS):
            columns.remove_others(store.folder, None if record is None else record.generation)
            return
        made = columns.Columns.build(base.rows, snapshot.metadata_by_row(rows.ids))
    generation, checksum = made.write(store.folder)
    _switch(store, columns.NAME, base, generation, checksum, "{}")
    columns.remove_others(store.folder, generation)


def _switch(store: SQLiteStore, name: str, base: IndexRecord, generation: str, checksum: int, details: str) -> None:
    record = IndexRecord(
        generation=generation, seq=base.seq, rows=base.rows, dead=NO_BITS, checksum=checksum, base=base.generation,
        details=details,
    )  # fmt: skip
    failpoints.reach("layer written")
    with store.transaction() as transaction:
        transaction.set_index(name, record)
    failpoints.reach("layer switched")


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
