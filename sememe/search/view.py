"""The index as one moment of the truth has it.

A `View` keeps the mapped slab between searches and brings it to the snapshot of each: rows that the slab has not
seen are loaded into the tail, deleted ones are masked. It never writes a file.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from sememe.index.exact import ExactIndex, in_memory, over_slab
from sememe.index.slab import NAME, Slab, Verified
from sememe.store.reading import Snapshot


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
        self._verified = Verified()

    def at(self, snapshot: Snapshot) -> ExactIndex:
        """The index at the moment of the snapshot."""
        with self._lock:
            base = snapshot.index_stamp(NAME)
            seq = snapshot.seq()
            seen = self._seen
            if seen is None or seen.base != base or seen.seq > seq:
                seen = self._from_slab(snapshot)
            if seen.seq < seq:
                changes = snapshot.changes(seen.seq, self._dim)
                index = self._in_memory(snapshot) if changes is None else seen.index.changed(changes)
                seen = _Seen(base, seq, index)
            if self._seen is None or self._seen.seq <= seq:
                # A snapshot that is older than the last one gets its own index, and leaves the newer one in place.
                self._seen = seen
            return seen.index

    def _from_slab(self, snapshot: Snapshot) -> _Seen:
        record = snapshot.index_record(NAME)
        if record is not None:
            mapped = Slab(self._folder, record.generation, self._dim).map(record.rows)
            if mapped is not None and self._verified.admits(record, *mapped):
                return _Seen((record.generation, record.seq), record.seq, over_slab(*mapped, record))
        return _Seen(snapshot.index_stamp(NAME), snapshot.seq(), self._in_memory(snapshot))

    def _in_memory(self, snapshot: Snapshot) -> ExactIndex:
        """The truth itself, while there are no usable files: until the next write or `optimize` makes them."""
        return in_memory(*snapshot.vectors(snapshot.live_chunks(), self._dim))
