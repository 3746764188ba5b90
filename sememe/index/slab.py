"""The slab: vectors in a flat file, mapped into memory, with the chunk id and the checksum of every row beside them.

`vectors-<generation>.slab` is a page of header and then rows of dim little-endian float32;
`vectors-<generation>.ids` is one int64 a row, `vectors-<generation>.sums` one uint32 a row. Files only grow, rows are
never rewritten once the truth counts them, and a replaced generation gets a new name, so a mapped file never changes
under a reader. How many rows are valid, which are dead, and the checksum of all are written in the truth and nowhere
here. A header that belongs to another generation or dimension, a file that is too short, or ids and sums with another
checksum make the slab unusable; a row is compared with its sum before it is first used. What is damaged is never
wrong: it is built again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sememe import failpoints
from sememe.errors import StoreDamaged
from sememe.types import Ids, Vectors

NAME = "vectors"
"""What the truth calls this index: its writer and its readers have to agree."""

HEADER_BYTES = 4096
CHECKSUM_RANGE = 1 << 32
MAGIC = b"sememe slab 2\n\0\0"
SUFFIXES = (".slab", ".ids", ".sums")
CHECK_ROWS = 1_024
"""Rows that are compared with their sums at a time: as many as a core keeps near, 1.5 MB of 384 dimensions."""

HEADER = struct.Struct("<16s16sI")


@dataclass(frozen=True, slots=True)
class Slab:
    """The three files of one generation."""

    folder: Path
    generation: str
    dim: int

    @property
    def vectors_file(self) -> Path:
        """Header, then rows."""
        return self.folder / f"vectors-{self.generation}.slab"

    @property
    def ids_file(self) -> Path:
        """The chunk id of every row."""
        return self.folder / f"vectors-{self.generation}.ids"

    @property
    def sums_file(self) -> Path:
        """The checksum of every row."""
        return self.folder / f"vectors-{self.generation}.sums"

    def map(self, rows: int) -> Rows | None:
        """The first `rows` rows, mapped. None when the files do not hold them."""
        if rows == 0:
            return Rows(np.empty(0, np.int64), np.empty((0, self.dim), np.float32), np.empty(0, np.uint32))
        try:
            with self.vectors_file.open("rb") as file:
                if file.read(HEADER.size) != self._header():
                    return None
            ids = np.memmap(self.ids_file, dtype="<i8", mode="r", shape=(rows,))
            sums = np.memmap(self.sums_file, dtype="<u4", mode="r", shape=(rows,))
            vectors = np.memmap(self.vectors_file, dtype="<f4", mode="r", offset=HEADER_BYTES, shape=(rows, self.dim))
        except (OSError, ValueError):
            # Missing, or shorter than the truth says: memmap raises ValueError for that.
            return None
        return Rows(np.asarray(ids), np.asarray(vectors), np.asarray(sums))

    def append(self, rows: int, batches: Iterator[tuple[Ids, Vectors]]) -> Ids:
        """Write batches after the first `rows` rows and sync the files; returns the ids that were written.

        What lies beyond `rows` was left by a killed writer and is overwritten: no reader has mapped it.
        """
        written: list[Ids] = []
        with (
            _open_to_write(self.vectors_file) as vectors_out,
            _open_to_write(self.ids_file) as ids_out,
            _open_to_write(self.sums_file) as sums_out,
        ):
            if rows == 0:
                vectors_out.write(self._header().ljust(HEADER_BYTES, b"\0"))
            vectors_out.seek(HEADER_BYTES + rows * self.dim * 4)
            ids_out.seek(rows * 8)
            sums_out.seek(rows * 4)
            for ids, vectors in batches:
                vectors_out.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
                ids_out.write(np.ascontiguousarray(ids, dtype="<i8").tobytes())
                sums_out.write(row_sums(vectors).astype("<u4").tobytes())
                written.append(ids)
                failpoints.reach("slab rows written")
            for out in (vectors_out, ids_out, sums_out):
                out.flush()
                os.fsync(out.fileno())
        failpoints.reach("slab synced")
        sync_folder(self.folder)
        return np.concatenate(written) if written else np.empty(0, np.int64)

    def remove(self) -> None:
        """Delete the files, if they are there and nobody holds them."""
        for path in (self.vectors_file, self.ids_file, self.sums_file):
            with contextlib.suppress(OSError):
                path.unlink()

    def _header(self) -> bytes:
        return HEADER.pack(MAGIC, self.generation.encode(), self.dim)


def new_slab(folder: Path, dim: int) -> Slab:
    """A slab of a generation that was never used before. Nothing is written yet."""
    return Slab(folder=folder, generation=os.urandom(8).hex(), dim=dim)


def row_sums(vectors: Vectors) -> npt.NDArray[np.uint32]:
    """The checksum of every row: its 32-bit words added up, modulo 2**32. (n, dim) to (n,)."""
    words = np.ascontiguousarray(vectors, dtype="<f4").view("<u4")
    sums: npt.NDArray[np.uint32] = np.add.reduce(words, axis=1, dtype=np.uint32)
    return sums


def checksum(ids: Ids, sums: npt.NDArray[np.uint32]) -> int:
    """The sum of ids and row sums read as 32-bit words, modulo 2**32: ids (n,), sums (n,).

    Sums of parts add up to that of the whole, and it runs at the speed of memory: 4 ms for a million rows.
    """
    words = (np.ascontiguousarray(ids, dtype="<i8").view("<u4"), sums)
    return sum(int(np.add.reduce(part, axis=None, dtype=np.uint32)) for part in words) % CHECKSUM_RANGE


@dataclass(slots=True)
class Rows:
    """Mapped rows: ids (n,), vectors (n, dim), sums (n,). Every row is compared with its sum before its first use."""

    ids: Ids
    vectors: Vectors
    sums: npt.NDArray[np.uint32]
    _sound: npt.NDArray[np.bool_] = field(init=False)
    _all_sound: bool = False
    _order: Ids | None = None

    def __post_init__(self) -> None:
        self._sound = np.zeros(len(self.ids), dtype=bool)

    def __len__(self) -> int:
        return len(self.ids)

    def checksum(self) -> int:
        """That of all ids and sums, to compare with the truth's."""
        return checksum(self.ids, self.sums)

    def find(self, ids: Ids) -> Ids:
        """The rows of some ids (m,): (m,), -1 for those that are in none. Put in order once: 3 ms for a million."""
        if self._order is None:
            self._order = np.argsort(self.ids, kind="stable")
        return found_at(self.ids, self._order, ids)

    def take(self, rows: Ids) -> Vectors:
        """The vectors of some rows (m,): (m, dim), in their order. Raises RowsDamaged."""
        vectors: Vectors = self.vectors[rows]
        if not self._all_sound:
            new = ~self._sound[rows]
            if new.any():
                self._compare(rows[new], vectors[new])
        return vectors

    def check_at(self, rows: Ids) -> None:
        """Compare some rows (m,) with their sums, unless that was done before. Raises RowsDamaged."""
        if not self._all_sound:
            new = rows[~self._sound[rows]]
            self._compare(new, self.vectors[new])

    def scanned(self, start: int = 0) -> Vectors:
        """All vectors from row `start` on, each sound: the first time costs a pass over them. Raises RowsDamaged."""
        self.check(start, len(self))
        self._all_sound |= start == 0
        return self.vectors[start:]

    def check(self, start: int, stop: int) -> None:
        """Compare the rows `[start, stop)` with their sums, unless that was done before. Raises RowsDamaged."""
        for first in range(start, 0 if self._all_sound else stop, CHECK_ROWS):
            part = np.flatnonzero(~self._sound[first : min(first + CHECK_ROWS, stop)]) + first
            if len(part):
                self._compare(part, self.vectors[part])

    def knows(self, other: Rows) -> None:
        """Take over what is known of the same rows from an earlier mapping."""
        rows = min(len(self), len(other))
        self._sound[:rows] = other._sound[:rows] | other._all_sound

    def read_at_random(self) -> None:
        """Tell the system not to read ahead: single rows are wanted. Read-ahead costs 700 ms for 100 cold rows."""
        base: object = self.vectors
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            base.madvise(mmap.MADV_RANDOM)

    def _compare(self, rows: Ids, vectors: Vectors) -> None:
        wrong = rows[row_sums(vectors) != self.sums[rows]]
        if len(wrong):
            raise RowsDamaged(f"row {int(wrong[0])} of the vector file is not what was written; run: sememe optimize")
        self._sound[rows] = True


def found_at(held: Ids, order: Ids, ids: Ids) -> Ids:
    """Where ids (m,) stand among those that are `held` (n,) in this `order` (n,): (m,), -1 for what is not there."""
    if not len(held):
        return np.full(len(ids), -1, np.int64)
    at = order[np.minimum(np.searchsorted(held, ids, sorter=order), len(held) - 1)]
    places: Ids = np.where(held[at] == ids, at, -1)
    return places


class RowsDamaged(StoreDamaged):
    """A row of the slab has changed since it was written. The truth has the vector; the slab is built again."""


def remove_others(folder: Path, keep: str) -> None:
    """Delete the files of every generation but `keep`. One that is still mapped elsewhere may refuse; it is left."""
    for path in folder.glob("vectors-*.*"):
        if path.suffix in SUFFIXES and path.stem != f"vectors-{keep}":
            with contextlib.suppress(OSError):
                path.unlink()
                failpoints.reach("old slab file removed")


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open_to_write(path: Path):  # type: ignore[no-untyped-def]
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+b")
