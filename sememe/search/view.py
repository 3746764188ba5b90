"""The index as one moment of the truth has it.

A `View` keeps the mapped slab between searches and brings it to the snapshot of each: rows that the slab has not
seen are loaded into the tail, deleted ones are masked. It never writes a file.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from sememe.index.exact import ExactIndex, in_memory, over_slab
from sememe.index.slab import Slab
from sememe.store.reading import Snapshot
from sememe.types import IndexRecord

NAME = "vectors"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an index was made from: the slab's files and stamp, and the last change that is in it."""

    base: tuple[str, int] | None
    seq: int
    index: ExactIndex


class View:
    """The exact index of a collection, current as of the snapshot that it is given."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._lock = threading.Lock()
        self._seen: _Seen | None = None

    def at(self, snapshot: Snapshot) -> ExactIndex:
        """The index at the moment of the snapshot."""
        with self._lock:
            record = snapshot.index_record(NAME)
            base = None if record is None else (record.generation, record.seq)
            seq = snapshot.seq()
            seen = self._seen
            if seen is None or seen.base != base or seen.seq > seq:
                seen = self._from_slab(snapshot, record, base)
            if seen.seq < seq:
                changes = snapshot.changes(seen.seq, self._dim)
                seen = _Seen(base, changes.seq, seen.index.changed(changes))
            self._seen = seen
            return seen.index

    def _from_slab(self, snapshot: Snapshot, record: IndexRecord | None, base: tuple[str, int] | None) -> _Seen:
        mapped = None
        if record is not None:
            mapped = Slab(self._folder, record.generation, self._dim).map(record.rows)
        if record is None or mapped is None:
            # No usable files: the truth itself is searched, until the next write or `optimize` makes them again.
            return _Seen(base, snapshot.seq(), in_memory(*snapshot.vectors(snapshot.live_chunks(), self._dim)))
        return _Seen(base, record.seq, over_slab(*mapped, record))
