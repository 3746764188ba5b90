"""Keeping the derived indexes up with the truth. Adding and optimising do this; a search never does.

Whoever holds the lock does the work, others go on: what an index has not seen is searched from the tail. The truth
is switched to new rows or files in one transaction after they are synced, so a kill at any moment leaves either the
old state or the new one. This file keeps the slab, which every other index but the lexical one lies over;
`layers` makes those. A further space has a slab of its own, in a folder that bears the space's id.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from sememe import failpoints
from sememe.errors import StoreFull
from sememe.index import lexical
from sememe.index.slab import (
    CHECKSUM_RANGE,
    NAME,
    Rows,
    RowsDamaged,
    Slab,
    checksum,
    new_slab,
    remove_others,
    row_sums,
)
from sememe.ingest import behind, layers, represented
from sememe.ingest.runs import take_lock
from sememe.memory import give_back
from sememe.settings import cores
from sememe.space import SPACE_FOLDER, Held
from sememe.store import SQLiteStore
from sememe.store.reading import Snapshot
from sememe.types import Changes, Ids, IndexRecord, Progress, Vectors

BATCH = 2048
DEAD_SHARE = 0.25
"""A slab with more dead rows than this is written anew."""

BEHIND_ROWS = 16_384
"""Rows of which large files are written anew in a thread: of 26,000, for .9 s, beside a busy searcher for 1.6."""

READ_THROUGH = 65_536
"""Rows that the first catch-up of a process compares with their checksums, 40 ms. Searches and `doctor` compare all."""

TAIL = 256
"""Changes that may wait: a search compares so few in less time than a commit of the files takes."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: `rebuild` starts every file anew, `full` makes all indexes and not only the slab.

    `wait` for another process that is at it; what takes long is done `behind`, in a thread of its own; `threads` 0
    means every core. `progress` is called with the name of what is being made.
    """

    rebuild: bool = False
    full: bool = True
    wait: bool = False
    behind: bool = False
    threads: int = 0
    progress: Callable[[str], Progress | None] | None = None


def catch_up(store: SQLiteStore, effort: Effort | None = None) -> bool:
    """Bring the indexes to the last change; False when another process is at it, or there is too little to do.

    Raises ReadOnly, or StoreFull when the files cannot grow; the truth is complete all the same.
    """
    effort = effort or Effort()
    store.require_writable()
    lock = take_lock(store.folder, "index.lock", wait=effort.wait)
    if lock is None:
        return False
    try:
        return _catch_up(store, effort)
    except OSError as error:
        raise StoreFull(
            f"the index files in {store.folder} cannot grow ({error.strerror}); everything is stored and can be "
            f"found, only slower: make room and run: sememe optimize"
        ) from error
    finally:
        lock.release()


def _catch_up(store: SQLiteStore, effort: Effort) -> bool:
    with store.snapshot() as snapshot:
        spaces = [held for held in snapshot.spaces() if held.kind == "dense"]
        others = [held for held in snapshot.spaces() if held.kind != "dense"]
        if not spaces:
            return False
        stamps = snapshot.index_stamps()
        followers = [lexical.NAME, *(held.index(NAME) for held in spaces)]
        waiting = snapshot.seq() - min(stamps.get(name, ("", -TAIL))[1] for name in followers)
        sound = [usable_record(snapshot, store.folder, held, known=_known(store, held)) for held in spaces]
    remove_dropped(store)
    for held in others:
        represented.keep(store, held, rebuild=effort.rebuild)
    if waiting < TAIL and not effort.rebuild and None not in sound:
        return False
    if effort.behind and None not in sound and _takes_long(store, zip(spaces, sound, strict=True)):
        # Half of the cores are left to what goes on meanwhile.
        rest = replace(effort, behind=False, wait=True, threads=max(1, cores(effort.threads) // 2))
        if behind.started(store, partial(catch_up, store, rest)):
            return False
    for held in spaces:
        _slab(store, held, rebuild=effort.rebuild)
    if effort.full:
        layers.make(store, spaces, layers.Work(effort.rebuild, effort.threads, effort.progress))
    give_back()
    return True


def _takes_long(store: SQLiteStore, spaces: Iterable[tuple[Held, IndexRecord | None]]) -> bool:
    """Whether large files are to be written anew, while those there are serve."""
    found = [(held, record) for held, record in spaces if record is not None and record.rows >= BEHIND_ROWS]
    return any(_is_sparse(record) or layers.lag(store, held, record) for held, record in found)


def _is_sparse(record: IndexRecord) -> bool:
    """Whether so many rows are dead that the slab is to be written anew."""
    return int(np.count_nonzero(record.dead)) > DEAD_SHARE * max(record.rows, 1000)


def remove_dropped(store: SQLiteStore) -> None:
    """Delete the files of spaces that were dropped. What is still mapped elsewhere may refuse; it is left."""
    with store.snapshot() as snapshot:
        known = {held.folder(store.folder).name for held in snapshot.further()}
    for path in store.folder.glob(f"{SPACE_FOLDER}*"):
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)


def _slab(store: SQLiteStore, held: Held, *, rebuild: bool) -> None:
    folder = held.folder(store.folder)
    with store.snapshot() as snapshot:
        record = None if rebuild else usable_record(snapshot, store.folder, held, known=_known(store, held))
        if record is not None and _is_sparse(record):
            record = None
        if record is not None and record.seq == snapshot.seq():
            remove_others(folder, record.generation)
            return
        changes = None if record is None else snapshot.changes(record.seq, held.space.dim, space=held.key)
        if record is None or changes is None:
            # As the snapshot has it: what came meanwhile makes the record one of before.
            slab, record = _written_anew(snapshot, store.folder, snapshot.held(held.name) or held)
        else:
            slab, record = _appended(Slab(folder, record.generation, held.space.dim), record, changes)
    with store.transaction() as transaction:
        transaction.set_index(held.index(NAME), record)
    failpoints.reach("slab switched")
    remove_others(folder, slab.generation)


@dataclass(slots=True)
class _Known:
    """The rows that a store's earlier catch-ups have read: to delete one document must not take a look at all."""

    generation: str = ""
    rows: Rows | None = None


_KNOWN: WeakKeyDictionary[SQLiteStore, dict[str, _Known]] = WeakKeyDictionary()


def _known(store: SQLiteStore, held: Held) -> _Known:
    return _KNOWN.setdefault(store, {}).setdefault(held.key, _Known())


def usable_record(snapshot: Snapshot, folder: Path, held: Held, *, known: _Known | None = None) -> IndexRecord | None:
    """The truth's record of a slab, if its files hold what it says: ids, and the vectors of the first rows."""
    record = snapshot.index_record(held.index(NAME))
    if record is None or record.details != held.details:
        return None
    rows = Slab(held.folder(folder), record.generation, held.space.dim).map(record.rows)
    if rows is None or rows.checksum() != record.checksum:
        return None
    if known is not None:
        if known.rows is not None and known.generation == record.generation:
            rows.knows(known.rows)
        known.generation, known.rows = record.generation, rows
    try:
        rows.check(0, min(len(rows), READ_THROUGH))
    except RowsDamaged:
        return None
    return record


def _written_anew(snapshot: Snapshot, collection: Path, held: Held) -> tuple[Slab, IndexRecord]:
    folder = held.folder(collection)
    folder.mkdir(exist_ok=True)
    slab = new_slab(folder, held.space.dim)
    chunks = snapshot.live_chunks()
    total = 0

    def batches() -> Iterator[tuple[Ids, Vectors]]:
        nonlocal total
        for start in range(0, len(chunks), BATCH):
            ids, vectors = snapshot.vectors(chunks[start : start + BATCH], held.space.dim, space=held.key)
            total += checksum(ids, row_sums(vectors))
            yield ids, vectors

    try:
        ids = slab.append(0, batches())
    except BaseException:
        # Nobody would ever look for a file of this name, and the disk may be full already.
        slab.remove()
        raise
    return slab, IndexRecord(
        generation=slab.generation, seq=snapshot.seq(), rows=len(ids), dead=np.zeros(len(ids), dtype=bool),
        checksum=total % CHECKSUM_RANGE, details=held.details,
    )  # fmt: skip


def _appended(slab: Slab, record: IndexRecord, changes: Changes) -> tuple[Slab, IndexRecord]:
    mapped = slab.map(record.rows)
    dead = record.dead
    if mapped is not None and len(changes.deleted):
        dead = dead | np.isin(mapped.ids, changes.deleted)
    new = slab.append(record.rows, iter([(changes.added, changes.vectors)]))
    return slab, replace(
        record, seq=changes.seq, rows=record.rows + len(new), dead=np.concatenate([dead, np.zeros(len(new), bool)]),
        checksum=(record.checksum + checksum(changes.added, row_sums(changes.vectors))) % CHECKSUM_RANGE,
    )  # fmt: skip
