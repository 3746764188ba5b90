"""The slab: vectors in a flat file, mapped into memory, with the chunk id of every row beside them.

`vectors-<generation>.slab` is a page of header and then rows of dim little-endian float32;
`vectors-<generation>.ids` is one int64 a row. Files only grow, rows are never rewritten once the truth counts them,
and a replaced generation gets a new name, so a mapped file never changes under a reader. How many rows are valid,
which are dead, and the checksum of all are written in the truth and nowhere here. A header that belongs to another
generation or dimension, a file that is too short, or rows with another checksum make the slab unusable, never wrong:
it is then built again.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sememe import failpoints
from sememe.types import Ids, IndexRecord, Vectors

NAME = "vectors"
"""What the truth calls this index: its writer and its readers have to agree."""

HEADER_BYTES = 4096
CHECKSUM_RANGE = 1 << 32
MAGIC = b"sememe slab 1\n\0\0"
HEADER = struct.Struct("<16s16sI")


@dataclass(frozen=True, slots=True)
class Slab:
    """The two files of one generation."""

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

    def map(self, rows: int) -> tuple[Ids, Vectors] | None:
        """The first `rows` rows, mapped: ids (rows,) and vectors (rows, dim). None when the files do not hold them."""
        if rows == 0:
            return np.empty(0, np.int64), np.empty((0, self.dim), np.float32)
        try:
            with self.vectors_file.open("rb") as file:
                if file.read(HEADER.size) != self._header():
                    return None
            ids = np.memmap(self.ids_file, dtype="<i8", mode="r", shape=(rows,))
            vectors = np.memmap(self.vectors_file, dtype="<f4", mode="r", offset=HEADER_BYTES, shape=(rows, self.dim))
        except (OSError, ValueError):
            # Missing, or shorter than the truth says: memmap raises ValueError for that.
            return None
        return np.asarray(ids), np.asarray(vectors)

    def append(self, rows: int, batches: Iterator[tuple[Ids, Vectors]]) -> Ids:
        """Write batches after the first `rows` rows and sync both files; returns the ids that were written.

        What lies beyond `rows` was left by a killed writer and is overwritten: no reader has mapped it.
        """
        written: list[Ids] = []
        with _open_to_write(self.vectors_file) as vectors_out, _open_to_write(self.ids_file) as ids_out:
            if rows == 0:
                vectors_out.write(self._header().ljust(HEADER_BYTES, b"\0"))
            vectors_out.seek(HEADER_BYTES + rows * self.dim * 4)
            ids_out.seek(rows * 8)
            for ids, vectors in batches:
                vectors_out.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
                ids_out.write(np.ascontiguousarray(ids, dtype="<i8").tobytes())
                written.append(ids)
                failpoints.reach("slab rows written")
            for out in (vectors_out, ids_out):
                out.flush()
                os.fsync(out.fileno())
        failpoints.reach("slab synced")
        sync_folder(self.folder)
        return np.concatenate(written) if written else np.empty(0, np.int64)

    def remove(self) -> None:
        """Delete both files, if they are there and nobody holds them."""
        for path in (self.vectors_file, self.ids_file):
            with contextlib.suppress(OSError):
                path.unlink()

    def _header(self) -> bytes:
        return HEADER.pack(MAGIC, self.generation.encode(), self.dim)


def new_slab(folder: Path, dim: int) -> Slab:
    """A slab of a generation that was never used before. Nothing is written yet."""
    return Slab(folder=folder, generation=os.urandom(8).hex(), dim=dim)


def checksum(ids: Ids, vectors: Vectors) -> int:
    """The sum of rows read as 32-bit words, modulo 2**32: ids (n,), vectors (n, dim).

    Sums of parts add up to that of the whole, and it runs at the speed of memory, three times that of a CRC: it is
    taken over all rows when a collection is opened for searching.
    """
    words = (np.ascontiguousarray(ids, dtype="<i8"), np.ascontiguousarray(vectors, dtype="<f4"))
    return sum(int(np.add.reduce(part.view("<u4"), axis=None, dtype=np.uint32)) for part in words) % CHECKSUM_RANGE


@dataclass(slots=True)
class Verified:
    """The first rows of a generation, which had the truth's checksum: they are not read for it again."""

    generation: str = ""
    rows: int = 0
    checksum: int = 0

    def admits(self, record: IndexRecord, ids: Ids, vectors: Vectors) -> bool:
        """Whether mapped rows are those that were written: ids (record.rows,), vectors (record.rows, dim)."""
        if self.generation != record.generation or self.rows > record.rows:
            self.generation, self.rows, self.checksum = record.generation, 0, 0
        total = (self.checksum + checksum(ids[self.rows :], vectors[self.rows :])) % CHECKSUM_RANGE
        if total != record.checksum:
            return False
        self.rows, self.checksum = record.rows, total
        return True


def remove_others(folder: Path, keep: str) -> None:
    """Delete the files of every generation but `keep`. One that is still mapped elsewhere may refuse; it is left."""
    for path in folder.glob("vectors-*.*"):
        if path.suffix in (".slab", ".ids") and path.stem != f"vectors-{keep}":
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
