"""The rows of a space of words or of tokens: in files of one generation, or in memory.

`inverted-<generation>/` holds for every word the rows that have it, `tokens-<generation>/` the codes of every token and
a checksum of every text. Files are written once under a name that was never used before; which
rows are dead, and the checksum of the files, is written in the truth. Codes are compared with the checksum of their
text before they are first used, everything else when the files are opened; what is damaged is never wrong: the truth
is searched until it is built again.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe import failpoints
from sememe.errors import StoreDamaged
from sememe.index import sparse
from sememe.index.arrays import Growing, crc_of, joined_crc, mapped, saved
from sememe.index.late import Codes, Lists
from sememe.index.slab import RowsDamaged, sync_folder
from sememe.index.sparse import Postings, postings
from sememe.index.tokens import Codec, from_stored
from sememe.types import Ids, IndexRecord, Scores, SpaceKind, SparseVector, Vectors

NAMES: Mapping[SpaceKind, str] = {"sparse": "inverted", "late": "tokens"}
"""What the truth calls the index of a space, by its kind: writers and readers have to agree."""

WORD_ARRAYS = ("ids", "starts", "rows", "weights")
CODE_ARRAYS = ("nearest", "packed")
SUMMED_ARRAYS = ("ids", "starts", "sums", "nearest")

Mask: TypeAlias = npt.NDArray[np.bool_]
Asked: TypeAlias = SparseVector | Vectors
"""What a query became: the weights of its words, or the vectors (tokens, dim) of its tokens."""

Blobs: TypeAlias = tuple[Ids, list[bytes]]


@dataclass(frozen=True, slots=True)
class WordRows:
    """Rows by the words they have: ids (n,)."""

    ids: Ids
    postings: Postings

    @classmethod
    def of(cls, ids: Ids, blobs: Iterable[bytes]) -> WordRows:
        """Rows in memory, of what is stored."""
        return cls(ids, postings([sparse.from_bytes(blob) for blob in blobs]))

    def best(self, asked: SparseVector, k: int, alive: Mask) -> tuple[Ids, Scores]:
        """The k live rows with the greatest inner products above 0, best first, equal ones by ascending id."""
        return sparse.best(self.ids, self.postings.scores(asked, len(self.ids)), k, alive=alive)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Texts by their tokens: ids (n,), codes, and in files the `sums` of all."""

    ids: Ids
    codes: Codes
    sums: npt.NDArray[np.uint32] | None = None
    _sound: Mask = field(init=False)
    _lists: Lists = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lists", Lists(self.codes))
        object.__setattr__(self, "_sound", np.full(len(self.ids), self.sums is None))

    @classmethod
    def of(cls, ids: Ids, blobs: Iterable[bytes], codec: Codec) -> TokenRows:
        """Rows in memory, of what is stored: all of them are compared."""
        parts = [from_stored(codec, blob) for blob in blobs]
        starts = np.concatenate([[0], np.cumsum([len(nearest) for nearest, _ in parts])]).astype(np.int64)
        nearest = np.concatenate([np.zeros(0, np.uint16), *(part for part, _ in parts)])
        packed = np.concatenate([np.zeros((0, codec.bytes - 2), np.uint8), *(part for _, part in parts)])
        return cls(ids, Codes(codec, starts, nearest, packed))

    def best(self, asked: Vectors, k: int, alive: Mask, *, exact: bool = False) -> tuple[Ids, Scores]:
        """The k live texts with the greatest max-sim, best first, equal ones by ascending id.

        Unless `exact`, centroids choose the candidates that are compared, of texts in files. Raises RowsDamaged.
        """
        rows = np.flatnonzero(alive & (np.diff(self.codes.starts) > 0)).astype(np.int64)
        if not exact and self.sums is not None:
            rows = self._lists.nearest(asked, rows, self.codes.candidates(k))
        self.check(rows)
        scores = self.codes.maxsim(asked, rows)
        order = np.lexsort((self.ids[rows], -scores))[:k]
        return self.ids[rows][order], scores[order]

    def check(self, rows: Ids) -> None:
        """Compare the codes of texts with their sums, unless that was done before. Raises RowsDamaged."""
        for row in rows[~self._sound[rows]].tolist():
            assert self.sums is not None
            if zlib.crc32(self.stored(row)) != self.sums[row]:
                raise RowsDamaged(f"text {row} of the token file is not what was written; run: sememe optimize")
            self._sound[row] = True

    def stored(self, row: int) -> bytes:
        """The tokens of a text as the truth stores them."""
        part = slice(self.codes.starts[row], self.codes.starts[row + 1])
        return self.codes.nearest[part].astype("<u2").tobytes() + self.codes.packed[part].tobytes()


Rows: TypeAlias = WordRows | TokenRows


def in_memory(ids: Ids, blobs: list[bytes], codec: Codec | None) -> Rows:
    """Rows that are in no file: with a codec of tokens, without of words."""
    return WordRows.of(ids, blobs) if codec is None else TokenRows.of(ids, blobs, codec)


def open_rows(folder: Path, record: IndexRecord, codec: Codec | None) -> Rows | None:
    """The rows in the files of a record; None when they are missing or not what was written."""
    arrays = _arrays(folder, "sparse" if codec is None else "late", record)
    if arrays is None:
        return None
    if codec is None:
        return WordRows(arrays["ids"], Postings(arrays["starts"], arrays["rows"], arrays["weights"]))
    return TokenRows(arrays["ids"], Codes(codec, arrays["starts"], arrays["nearest"], arrays["packed"]), arrays["sums"])


def stands(folder: Path, kind: SpaceKind, record: IndexRecord, *, read: int) -> bool:
    """Whether the files of a record are there and as long as it says; those of `read` bytes at most are compared with
    its checksum too."""
    return _arrays(folder, kind, record, read=read) is not None


def _arrays(
    folder: Path, kind: SpaceKind, record: IndexRecord, *, read: float = math.inf
) -> dict[str, npt.NDArray[Any]] | None:
    entries, summed = (WORD_ARRAYS[2:], WORD_ARRAYS) if kind == "sparse" else (CODE_ARRAYS, SUMMED_ARRAYS)
    try:
        arrays = mapped(_folder(folder, kind, record.generation), {*entries, *summed})
    except StoreDamaged:
        return None
    ends = arrays["starts"][-1:].tolist()
    if len(arrays["ids"]) != record.rows or any([len(arrays[name])] != ends for name in entries):
        return None
    compared = {name: arrays[name] for name in summed}
    if sum(array.nbytes for array in compared.values()) <= read and crc_of(compared) != record.checksum:
        return None
    return arrays


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: its generation, how many rows it has, and its checksum."""

    generation: str
    rows: int
    checksum: int


def is_whole(blob: bytes, dim: int, codec: Codec | None) -> bool:
    """Whether bytes can be what is stored of a text: weights of words of a vocabulary of `dim`, or codes of a codec."""
    if codec is not None:
        return len(blob) % codec.bytes == 0 and bool((from_stored(codec, blob)[0] < len(codec.centroids)).all())
    if len(blob) % 8:
        return False
    vector = sparse.from_bytes(blob)
    ascending = (np.diff(vector.indices, prepend=-1, append=dim) > 0).all()
    return bool(ascending and np.isfinite(vector.values).all())


def write_words(folder: Path, ids: Ids, blobs: Iterable[bytes]) -> Written:
    """Write an inverted index of stored rows."""
    generation = os.urandom(8).hex()
    inner = _folder(folder, "sparse", generation)
    made = WordRows.of(ids, blobs)
    arrays: dict[str, npt.NDArray[Any]] = {
        "ids": ids, "starts": made.postings.starts, "rows": made.postings.rows, "weights": made.postings.weights,
    }  # fmt: skip
    with _whole_or_not(inner):
        saved(inner, arrays)
    return Written(generation, len(ids), crc_of(arrays))


def write_tokens(
    folder: Path, codec: Codec, parts: Iterator[Blobs], *, kept: tuple[TokenRows, Mask] | None = None
) -> Written:
    """Write the texts that are `kept` of an earlier generation and then stored ones, in bounded memory."""
    generation = os.urandom(8).hex()
    inner = _folder(folder, "late", generation)
    with _whole_or_not(inner):
        inner.mkdir(parents=True)
        with contextlib.closing(_TokenWriter(inner, codec)) as writer:
            if kept is not None:
                writer.copy(*kept)
            for ids, blobs in parts:
                writer.add(ids, blobs)
                failpoints.reach("token rows written")
            checksum = writer.finish()
    return Written(generation, writer.rows, checksum)


class _TokenWriter:
    """The arrays of a generation of tokens, growing side by side."""

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._codec = codec
        self._arrays = {
            "ids": Growing(folder, "ids", "<i8"), "starts": Growing(folder, "starts", "<i8"),
            "sums": Growing(folder, "sums", "<u4"), "nearest": Growing(folder, "nearest", "<u2"),
            "packed": Growing(folder, "packed", "u1", width=codec.bytes - 2),
        }  # fmt: skip
        self._arrays["starts"].append(np.zeros(1, np.int64))
        self.rows = self._tokens = 0

    def add(self, ids: Ids, blobs: list[bytes]) -> None:
        """Texts as they are stored."""
        made = TokenRows.of(ids, blobs, self._codec)
        self._append(ids, made.codes, np.array([zlib.crc32(blob) for blob in blobs], np.uint32))

    def copy(self, texts: TokenRows, alive: Mask) -> None:
        """Those texts of another generation that live, each as it is there. Raises RowsDamaged."""
        assert texts.sums is not None
        for start in range(0, len(texts.ids), COPIED):
            rows = np.flatnonzero(alive[start : start + COPIED]) + start
            texts.check(rows)
            tokens, starts = texts.codes.tokens_of(rows)
            codes = Codes(self._codec, starts, texts.codes.nearest[tokens], texts.codes.packed[tokens])
            self._append(texts.ids[rows], codes, texts.sums[rows])

    def _append(self, ids: Ids, codes: Codes, sums: npt.NDArray[np.uint32]) -> None:
        arrays: dict[str, npt.NDArray[Any]] = {
            "ids": ids, "nearest": codes.nearest, "packed": codes.packed, "sums": sums,
        }  # fmt: skip
        for name, rows in arrays.items():
            self._arrays[name].append(rows)
        self._arrays["starts"].append(codes.starts[1:] + self._tokens)
        self._tokens += int(codes.starts[-1])
        self.rows += len(ids)

    def close(self) -> None:
        """Close the files, whatever is in them."""
        for array in self._arrays.values():
            array.close()

    def finish(self) -> int:
        """The checksum of what was written, once the disk has it."""
        for array in self._arrays.values():
            array.finish()
        return joined_crc({name: self._arrays[name].crc for name in SUMMED_ARRAYS})


COPIED = 1024
"""Texts that are copied at once: about 7 MB of tokens."""


@contextlib.contextmanager
def _whole_or_not(inner: Path) -> Iterator[None]:
    """Nobody would ever look for a folder of this name, and the disk may be full already."""
    try:
        yield
    except BaseException:
        shutil.rmtree(inner, ignore_errors=True)
        raise
    sync_folder(inner)
    sync_folder(inner.parent)


def remove_others(folder: Path, kind: SpaceKind, keep: str) -> None:
    """Delete the files of every generation but `keep`. What is still mapped elsewhere may refuse; it is left."""
    for path in folder.glob(f"{NAMES[kind]}-*"):
        if path.name != f"{NAMES[kind]}-{keep}":
            shutil.rmtree(path, ignore_errors=True)
            failpoints.reach("old files of a space removed")


def _folder(folder: Path, kind: SpaceKind, generation: str) -> Path:
    return folder / f"{NAMES[kind]}-{generation}"
