"""Keeping the slab up with the truth. Adding and optimising do this; a search never does.

Whoever holds the lock does the work, others go on: what the slab has not seen is searched from the tail. The
truth is switched to new rows or files in one transaction after they are synced, so a kill at any moment leaves
either the old state or the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from sememe import failpoints
from sememe.errors import StoreFull
from sememe.index.slab import CHECKSUM_RANGE, NAME, Slab, Verified, checksum, new_slab, remove_others
from sememe.ingest.runs import take_lock
from sememe.store import SQLiteStore
from sememe.store.reading import Snapshot
from sememe.types import Changes, Ids, IndexRecord, Vectors

BATCH = 8192
DEAD_SHARE = 0.25
"""A slab with more dead rows than this is written anew."""

_VERIFIED: WeakKeyDictionary[SQLiteStore, Verified] = WeakKeyDictionary()
"""What a store's earlier catch-ups have read: to delete one document must not take a look at every row."""


def catch_up(store: SQLiteStore, *, rebuild: bool = False, wait: bool = False) -> bool:
    """Bring the slab to the last change; False when another process is at it. `rebuild` starts a new one.

    Raises ReadOnly, or StoreFull when the files cannot grow; the truth is complete all the same.
    """
    store.require_writable()
    lock = take_lock(store.folder, "index.lock", wait=wait)
    if lock is None:
        return False
    try:
        _catch_up(store, rebuild)
    except OSError as error:
        raise StoreFull(
            f"the vector files in {store.folder} cannot grow ({error.strerror}); everything is stored and can be "
            f"found, only slower: make room and run: sememe optimize"
        ) from error
    finally:
        lock.release()
    return True


def _catch_up(store: SQLiteStore, rebuild: bool) -> None:
    with store.snapshot() as snapshot:
        stored = snapshot.space()
        if stored is None:
            return
        dim = stored[0].dim
        verified = _VERIFIED.setdefault(store, Verified())
        record = None if rebuild else usable_record(snapshot, store.folder, dim, verified=verified)
        if record is not None and record.dead.sum() > DEAD_SHARE * max(record.rows, 1000):
            record = None
        if record is not None and record.seq == snapshot.seq():
            remove_others(store.folder, record.generation)
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


def usable_record(
    snapshot: Snapshot, folder: Path, dim: int, *, verified: Verified | None = None
) -> IndexRecord | None:
    """The truth's record of the slab, if its files hold what it says."""
    record = snapshot.index_record(NAME)
    mapped = None if record is None else Slab(folder, record.generation, dim).map(record.rows)
    if record is None or mapped is None or not (verified or Verified()).admits(record, *mapped):
        return None
    return record


def _written_anew(snapshot: Snapshot, folder: Path, dim: int) -> tuple[Slab, IndexRecord]:
    slab = new_slab(folder, dim)
    chunks = snapshot.live_chunks()
    total = 0

    def batches() -> Iterator[tuple[Ids, Vectors]]:
        nonlocal total
        for start in range(0, len(chunks), BATCH):
            ids, vectors = snapshot.vectors(chunks[start : start + BATCH], dim)
            total += checksum(ids, vectors)
            yield ids, vectors

    try:
        ids = slab.append(0, batches())
    except BaseException:
        # Nobody would ever look for a file of this name, and the disk may be full already.
        slab.remove()
        raise
    return slab, IndexRecord(
        generation=slab.generation, seq=snapshot.seq(), rows=len(ids), dead=np.zeros(len(ids), dtype=bool),
        checksum=total % CHECKSUM_RANGE,
    )  # fmt: skip


def _appended(slab: Slab, record: IndexRecord, changes: Changes) -> tuple[Slab, IndexRecord]:
    mapped = slab.map(record.rows)
    ids = mapped[0] if mapped is not None else np.empty(0, np.int64)
    dead = record.dead | np.isin(ids, changes.deleted)
    new = slab.append(record.rows, iter([(changes.added, changes.vectors)]))
    dead = np.concatenate([dead, np.zeros(len(new), dtype=bool)])
    return slab, IndexRecord(
        generation=record.generation, seq=changes.seq, rows=record.rows + len(new), dead=dead,
        checksum=(record.checksum + checksum(changes.added, changes.vectors)) % CHECKSUM_RANGE,
    )  # fmt: skip
