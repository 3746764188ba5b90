"""Keeping the indexes of spaces of words and of tokens up with the truth, under the lock that `derived` holds.

A generation is written once and replaced as a whole, of tokens by copying what lives: that is done when the rows that
a search has to read from the truth are more than a share of it, or its dead ones are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sememe import failpoints
from sememe.index.represented import NAMES, TokenRows, open_rows, remove_others, write_tokens, write_words
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


def keep(store: SQLiteStore, held: Held, *, rebuild: bool) -> None:
    """Bring the index of a space to the last change, if that is worth it. Raises OSError when the disk is full."""
    folder = held.folder(store.folder)
    with store.snapshot() as snapshot:
        record = None if rebuild else snapshot.index_record(held.index(NAMES[held.kind]))
        if record is not None and _will_do(snapshot, held, folder, record):
            remove_others(folder, held.kind, record.generation)
            return
        # As the snapshot has it: what came meanwhile makes the record one of before.
        held = snapshot.held(held.name) or held
        made = _written(snapshot, held, folder, record)
        seq = snapshot.seq()
    failpoints.reach("space written")
    with store.transaction() as transaction:
        transaction.set_index(held.index(NAMES[held.kind]), IndexRecord(
            made.generation, seq, made.rows, np.zeros(made.rows, bool), made.checksum, details=held.details,
        ))  # fmt: skip
    failpoints.reach("space switched")
    remove_others(folder, held.kind, made.generation)


def _will_do(snapshot: Inventory, held: Held, folder: Path, record: IndexRecord) -> bool:
    """Whether the files hold what the record says, and little has changed since."""
    net = snapshot.net_changes(record.seq)
    if record.details != held.details or net is None or len(net[0]) > max(TAIL, TAIL_SHARE * record.rows):
        return False
    if len(net[1]) > DEAD_SHARE * max(record.rows, 1000):
        return False
    return open_rows(folder, record, codec_of(snapshot, held)) is not None


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
