"""Keeping the indexes of spaces of words and of tokens up with the truth, under the lock that `derived` holds.

A generation is written once and replaced as a whole, of tokens by copying what lives: that is done when the rows that
a search has to read from the truth are more than a share of it, or its dead ones are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from sememe import failpoints
from sememe.index.represented import NAMES, TokenRows, open_rows, remove_others, stands, write_tokens, write_words
from sememe.index.represented import Written as Files
from sememe.index.slab import RowsDamaged
from sememe.index.tokens import Codec, from_bytes
from sememe.space import Held
from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory
from sememe.types import Ids, IndexRecord

TAIL = 256
TAIL_SHARE = 1 / 16
"""Changes that may wait, at the least and of the rows: they are compared one by one."""

DEAD_SHARE = 0.25
BATCH = 1024

READ_THROUGH = 1 << 26
"""Bytes of an index that the first look of a process compares with its checksum, 30 ms. Of a larger one it takes the
lengths alone; searches and `doctor` compare all."""

_KNOWN: WeakKeyDictionary[SQLiteStore, dict[str, str]] = WeakKeyDictionary()
"""The generations that a store's earlier looks found sound, by the name of the index: to add one document must not take
a look at all."""


def keep(store: SQLiteStore, held: Held, *, rebuild: bool) -> None:
    """Bring the index of a space to the last change, if that is worth it. Raises OSError when the disk is full."""
    folder, name = held.folder(store.folder), held.index(NAMES[held.kind])
    known = _KNOWN.setdefault(store, {})
    with store.snapshot() as snapshot:
        record = None if rebuild else snapshot.index_record(name)
        read = 0 if record is not None and known.get(name) == record.generation else READ_THROUGH
        if record is not None and _will_do(snapshot, held, record) and stands(folder, held.kind, record, read=read):
            known[name] = record.generation
            remove_others(folder, held.kind, record.generation)
            return
        # As the snapshot has it: what came meanwhile makes the record one of before.
        held = snapshot.held(held.name) or held
        made = _written(snapshot, held, folder, record)
        seq = snapshot.seq()
    failpoints.reach("space written")
    with store.transaction() as transaction:
        transaction.set_index(name, IndexRecord(
            made.generation, seq, made.rows, np.zeros(made.rows, bool), made.checksum, details=held.details,
        ))  # fmt: skip
    known[name] = made.generation
    failpoints.reach("space switched")
    remove_others(folder, held.kind, made.generation)


def _will_do(snapshot: Inventory, held: Held, record: IndexRecord) -> bool:
    """Whether little has changed since the files of a record were written."""
    net = snapshot.net_changes(record.seq)
    if record.details != held.details or net is None or len(net[0]) > max(TAIL, TAIL_SHARE * record.rows):
        return False
    return len(net[1]) <= DEAD_SHARE * max(record.rows, 1000)


def _written(snapshot: Inventory, held: Held, folder: Path, record: IndexRecord | None) -> Files:
    chunks, codec = snapshot.live_chunks(), codec_of(snapshot, held)
    if codec is None:
        ids, blobs = snapshot.stored(chunks, held)
        return write_words(folder, ids, blobs)
    if record is not None:
        known = open_rows(folder, record, codec)
        if isinstance(known, TokenRows):
            alive = np.isin(known.ids, chunks)
            new = np.setdiff1d(chunks, known.ids[alive]).tolist()
            try:
                return write_tokens(folder, codec, _parts(snapshot, held, new), kept=(known, alive))
            except RowsDamaged:
                # The truth has every token: all of them are read from there.
                pass
    return write_tokens(folder, codec, _parts(snapshot, held, chunks))


def _parts(snapshot: Inventory, held: Held, chunks: Sequence[int]) -> Iterator[tuple[Ids, list[bytes]]]:
    for start in range(0, len(chunks), BATCH):
        yield snapshot.stored(chunks[start : start + BATCH], held)


def codec_of(snapshot: Inventory, held: Held) -> Codec | None:
    """What the tokens of a space are stored by, None for a space of words."""
    return from_bytes(snapshot.codec(held)) if held.kind == "late" else None
