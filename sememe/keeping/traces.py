"""Searching files for pieces of what was forgotten, by digests alone.

A *mark* stands for a piece of bytes: a 32-bit hash of its beginning, which a scan computes for every byte of a file
in a few passes of NumPy (the multi-pattern search of Karp and Rabin 1987, with a multiply-shift hash), its length,
and a keyed BLAKE2b digest that decides. Whoever holds the marks can find the pieces and cannot read them. This file
knows bytes and files; what is worth searching for, others say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

PIECE = 24
"""Bytes of a piece: long enough to occur nowhere by chance, and six numbers of a vector."""
SHORT = 8
"""Bytes of the shortest text that is searched for, as a whole."""
DENSE_BYTES = 100_000
SPARSE_STRIDE = 1_000
"""Beyond so many bytes of a text one piece in 1,000 bytes is searched for: eight in a page of the database."""
READ_BYTES = 1 << 20

MARK = np.dtype([("hash", "<u4"), ("length", "<u4"), ("low", "<u8"), ("high", "<u8")])
FACTORS = tuple(np.uint64(f) for f in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
UPPER = np.uint64(32)
TABLE_SHIFT = np.uint32(12)

Marks = npt.NDArray[np.void]


@dataclass(slots=True)
class Collected:
    """Marks on their way: `too_short` counts the texts that are too short, or too plain, to be told from others."""

    salt: bytes
    too_short: int = 0
    _made: dict[bytes, tuple[int, int, int, int]] = field(default_factory=dict)

    def text(self, text: str) -> None:
        """A text, as it stands in UTF-8 and in UTF-16 of both byte orders."""
        if text.strip() and not self._bytes(text.encode("utf-8", "surrogatepass")):
            self.too_short += 1
        for encoding in ("utf-16-le", "utf-16-be"):
            self._bytes(text.encode(encoding, "surrogatepass"))

    def vector(self, vector: bytes) -> None:
        """A vector's bytes, and slices of them."""
        self._bytes(vector)

    def _bytes(self, data: bytes) -> int:
        stride = PIECE if len(data) <= DENSE_BYTES else SPARSE_STRIDE
        if len(data) < PIECE:
            pieces = [data] if len(data) >= SHORT else []
        else:
            pieces = [data[i : i + PIECE] for i in range(0, len(data) - PIECE + 1, stride)] + [data[-PIECE:]]
        made = [piece for piece in pieces if len(set(piece)) >= (6 if len(piece) == PIECE else 4)]
        for piece in made:
            digest = _digest(piece, self.salt)
            if digest not in self._made:
                low, high = np.frombuffer(digest, "<u8").tolist()
                self._made[digest] = (_hash_of(piece), len(piece), low, high)
        return len(made)

    def marks(self) -> Marks:
        """All of them, in no order that tells anything: sorted by hash."""
        return np.sort(np.array(list(self._made.values()), dtype=MARK), order=["length", "hash"])


@dataclass(slots=True)
class Search:
    """A search for marks through files and values. `found` holds the marks (their digests) and where they were;
    `files` and `size` (bytes) count what was read."""

    marks: Marks
    salt: bytes
    files: int = 0
    size: int = 0
    found: dict[bytes, list[str]] = field(default_factory=dict)
    _tables: list[tuple[int, npt.NDArray[np.bool_], npt.NDArray[np.uint32]]] = field(default_factory=list)
    _wanted: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for window, part in ((PIECE, self.marks["length"] == PIECE), (SHORT, self.marks["length"] < PIECE)):
            hashes = np.unique(self.marks["hash"][part]).astype(np.uint32)
            table = np.zeros(1 << (32 - int(TABLE_SHIFT)), dtype=bool)
            table[hashes >> TABLE_SHIFT] = True
            if len(hashes):
                self._tables.append((window, table, hashes))
        for mark in self.marks:
            self._wanted[_digest_of(mark)] = int(mark["length"])

    def digests(self) -> list[bytes]:
        """That of every mark, in their order."""
        return [_digest_of(mark) for mark in self.marks]

    def folder(self, folder: Path) -> None:
        """Search every file below a folder. Words of a lexical index are not looked for one by one: it holds stems."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.file(path, short="lexical-" not in path.relative_to(folder).as_posix())

    def file(self, path: Path, *, short: bool = True) -> None:
        """Search a file."""
        self.files += 1
        with path.open("rb") as file:
            before = b""
            while block := file.read(READ_BYTES):
                self.size += len(block)
                self.value(before + block, str(path), short=short)
                before = (before + block)[-(PIECE - 1) :]

    def value(self, data: bytes, where: str, *, short: bool = True) -> None:
        """Search a run of bytes."""
        padded = data + bytes(PIECE)
        for window, table, hashes in self._tables:
            if window == PIECE or short:
                for place in _candidates(padded, window, table, hashes):
                    self._confirm(data, place, window, where)

    def _confirm(self, data: bytes, place: int, window: int, where: str) -> None:
        for length in (PIECE,) if window == PIECE else range(SHORT, PIECE):
            piece = data[place : place + length]
            if len(piece) == length:
                digest = _digest(piece, self.salt)
                if self._wanted.get(digest) == length:
                    places = self.found.setdefault(digest, [])
                    places += [] if where in places else [where]


def _candidates(
    padded: bytes, window: int, table: npt.NDArray[np.bool_], hashes: npt.NDArray[np.uint32]
) -> Iterator[int]:
    """The places in the data where a window has the hash of a mark."""
    words = window // SHORT
    for offset in range(SHORT):
        count = (len(padded) - offset) // SHORT
        view = np.frombuffer(padded, "<u8", count=count, offset=offset)
        hashed = _hashes([view[i : count - words + 1 + i] for i in range(words)])
        places = np.flatnonzero(table[hashed >> TABLE_SHIFT])
        places = places[np.isin(hashed[places], hashes)]
        yield from (places * SHORT + offset).tolist()


def _hashes(words: list[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint32]:
    """The hashes of windows of one or three 64-bit words: products and sums modulo 2**64, of which the upper half."""
    total = words[0] * FACTORS[0]
    for word, factor in zip(words[1:], FACTORS[1:], strict=False):
        total = (total ^ (total >> UPPER)) + word * factor
        total *= FACTORS[0]
    result: npt.NDArray[np.uint32] = (total >> UPPER).astype(np.uint32)
    return result


def _hash_of(piece: bytes) -> int:
    window = PIECE if len(piece) == PIECE else SHORT
    view = np.frombuffer(piece[:window], "<u8")
    return int(_hashes([view[i : i + 1] for i in range(len(view))])[0])


def _digest(piece: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(piece, digest_size=16, key=salt).digest()


def _digest_of(mark: np.void) -> bytes:
    return int(mark["low"]).to_bytes(8, "little") + int(mark["high"]).to_bytes(8, "little")


def strings_in(value: object) -> Iterable[str]:
    """Every string in a value of JSON, names and values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from strings_in(name)
            yield from strings_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings_in(inner)
