"""Keeping the slab up with the truth. Adding and optimising do this; a search never does.

Whoever holds the lock does the work, others go on: what the slab has not seen is searched from the tail. The
truth is switched to new rows or files in one transaction after they are synced, so a kill at any moment leaves
either the old state or the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import Timeout

from sememe import failpoints
from sememe.errors import StoreFull
from sememe.index.slab import Slab, new_slab, remove_others
from sememe.ingest.runs import lock_file
from sememe.store import SQLiteStore
from sememe.store.reading import Snapshot
from sememe.types import Changes, Ids, IndexRecord, Vectors

NAME = "vectors"
BATCH = 8192
DEAD_SHARE = 0.25
"""A slab with more dead rows than this is written anew."""


def catch_up(store: SQLiteStore, *, rebuild: bool = False, wait: bool = False) -> bool:
    """Bring the slab to the last change; False when another process is at it. `rebuild` starts a new one.

    Raises StoreFull when the files cannot grow; the truth is complete all the same.
    """
    lock = lock_file(store.folder, "index.lock")
    try:
        with lock.acquire(timeout=-1 if wait else 0):
            _catch_up(store, rebuild)
    except Timeout:
        return False
    except OSError as error:
        raise StoreFull(
            f"the vector files in {store.folder} cannot grow ({error.strerror}); everything is stored and can be "
            f"found, only slower: free some space and run: sememe optimize"
        ) from error
    return True


def _catch_up(store: SQLiteStore, rebuild: bool) -> None:
    with store.snapshot() as snapshot:
        stored = snapshot.space()
        if stored is None:
            return
        dim = stored[0].dim
        record = None if rebuild else usable_record(snapshot, store.folder, dim)
        if record is not None and record.dead.sum() > DEAD_SHARE * max(record.rows, 1000):
            record = None
        if record is not None and record.seq == snapshot.seq():
            return
        changes = None if record is None else snapshot.changes(record.seq, dim)
        if record is None or changes is None:
            slab, record = _written_anew(snapshot, store.folder, dim)
        else:
            slab, record = _appended(Slab(store.folder, record.generation, dim), record, changes)
    with store.transaction() as transaction:
        transaction.set_index(NAME, record)
    failpoints.reach("slab switched")
    remove_others(store.folder, slab.generation)


def usable_record(snapshot: Snapshot, folder: Path, dim: int) -> IndexRecord | None:
    """The truth's record of the slab, if its files hold what it says."""
    record = snapshot.index_record(NAME)
    if record is None or Slab(folder, record.generation, dim).map(record.rows) is None:
        return None
    return record


def _written_anew(snapshot: Snapshot, folder: Path, dim: int) -> tuple[Slab, IndexRecord]:
    slab = new_slab(folder, dim)
    chunks = snapshot.live_chunks()

    def batches() -> Iterator[tuple[Ids, Vectors]]:
        for start in range(0, len(chunks), BATCH):
            yield snapshot.vectors(chunks[start : start + BATCH], dim)

    ids = slab.append(0, batches())
    dead = np.zeros(len(ids), dtype=bool)
    return slab, IndexRecord(generation=slab.generation, seq=snapshot.seq(), rows=len(ids), dead=dead)


def _appended(slab: Slab, record: IndexRecord, changes: Changes) -> tuple[Slab, IndexRecord]:
    mapped = slab.map(record.rows)
    ids = mapped[0] if mapped is not None else np.empty(0, np.int64)
    dead = record.dead | np.isin(ids, changes.deleted)
    new = slab.append(record.rows, iter([(changes.added, changes.vectors)]))
    dead = np.concatenate([dead, np.zeros(len(new), dtype=bool)])
    return slab, IndexRecord(generation=record.generation, seq=changes.seq, rows=record.rows + len(new), dead=dead)
