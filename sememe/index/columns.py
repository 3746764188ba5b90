"""Filter columns: for every field of the metadata its values, sorted, with the rows that hold them.

What a filter asks becomes a slice of sorted values, found by binary search, and a slice becomes a mask of rows: by
comparing one small code a row where that is the smaller file, else through lists of rows. Answers are those that
`filters.matches` gives row by row. Columns are a value: they are built from documents, never changed, and are one
file, `columns-<generation>.bin`: a head of 64 bytes, the arrays, and JSON that says where they lie. Which generation
is current, and its checksum, are written in the truth and nowhere here.

A *unit* is a run of rows of one document, or a row of none; rows of one unit have the same metadata, so everything
is answered by unit and spread over the rows at the end. A path has two places: what lies at its end, and the
elements of lists that lie there. This file knows what conditions mean and nothing of vectors or texts.
"""

from __future__ import annotations

import bisect
import contextlib
import difflib
import json
import math
import mmap
import os
import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe import failpoints
from sememe.filters import And, Compare, Condition, Equals, Exists, Kind, Leaf, Not, Operand, Or, iso, leaves
from sememe.index.gather import KIND_OF, MAX_PATHS, Documents, Spec, digest, image_of, sortable, unsortable, utf8
from sememe.index.slab import sync_folder

NAME = "columns"
"""What the truth calls this index."""

MAGIC = b"sememe columns 1"
HEAD = struct.Struct("<16s16sQ24x")
"""Magic, generation, length of what follows."""

Mask: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.int64]
Place: TypeAlias = Mapping[str, "_Column"]

INTEGERS = np.iinfo(np.int64)
SCALARS = ("null", "boolean", "integer", "float", "huge", "string", "other")
EXISTING = (*SCALARS, "object", "list")
"""The columns whose rows, together, are those that have a value at a path."""
NUMBERS = ("integer", "float", "huge")
PLAIN_COLUMNS = ("null", "boolean", *NUMBERS, "string")
LONG_RUN = 16
"""Units a code, on average, that are sooner copied code by code than picked one by one."""
FEW_RUNS = 8
"""Runs of neighbouring codes that are sooner compared one by one than looked up in a table."""


class NotIndexed(LookupError):
    """The filter names a path that is not indexed, because there are too many: ask `filters.matches` row by row."""


# --- questions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    """Strings in UTF-8 in ascending order, each followed by a byte that no UTF-8 has; `hashes` sorted, with codes."""

    blob: memoryview
    offsets: npt.NDArray[np.unsignedinteger[Any]]
    hashes: npt.NDArray[np.uint32]
    order: npt.NDArray[np.uint32]

    def __getitem__(self, code: int) -> bytes:
        return bytes(self.blob[self.offsets.item(code) : self.offsets.item(code + 1) - 1])

    def __len__(self) -> int:
        return len(self.hashes)

    def before(self, word: bytes, *, equal: bool) -> int:
        """How many words are less, or also those that are equal."""
        cut = bisect.bisect_right if equal else bisect.bisect_left
        return cut(range(len(self)), word, key=self.__getitem__)

    def find(self, words: Sequence[bytes]) -> Codes:
        """The codes of those words that are there."""
        hashes = np.fromiter(map(zlib.crc32, words), np.uint32, len(words))
        first = np.searchsorted(self.hashes, hashes, "left")
        last = np.searchsorted(self.hashes, hashes, "right")
        hits = np.flatnonzero(first < last)
        found = set()
        for word, start, stop in zip(hits.tolist(), first[hits].tolist(), last[hits].tolist(), strict=True):
            for place in range(start, stop):
                code = self.order.item(place)
                if self[code] == words[word]:
                    found.add(code)
        return np.array(sorted(found), dtype=np.int64)

    def containing(self, part: bytes) -> Codes:
        """The codes of the words that have the part in them."""
        if not part:
            return np.arange(len(self))
        starts = (match.start() for match in re.finditer(re.escape(part), self.blob))
        return np.unique(np.searchsorted(self.offsets, np.fromiter(starts, np.int64), "right") - 1)


@dataclass(frozen=True, slots=True)
class _Column:
    """The values of one type at one place, by code from 0 in ascending order, and the units that hold each.

    Either `codes (units,)` gives every unit's only code, `distinct` where it has none; or `starts (distinct + 1,)`
    cuts `held (entries,)`, the units in the order of their codes. Without `starts` every code has one unit.
    `everywhere` is true when every unit has a code.
    """

    distinct: int
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64] | _Words | None
    codes: npt.NDArray[np.unsignedinteger[Any]] | None
    starts: npt.NDArray[np.uint32] | None
    held: npt.NDArray[np.uint32]
    everywhere: bool

    def mark(self, mask: Mask, first: int, last: int) -> None:
        """Set the units that hold a code in [first, last)."""
        if first >= last:
            return
        if self.everywhere and last - first == self.distinct:
            mask[:] = True
            return
        if self.codes is not None:
            # Codes below the first wrap around to large ones, so one comparison checks both ends.
            mask |= self.codes - self.codes.dtype.type(first) < last - first
            return
        if self.starts is not None:
            first, last = int(self.starts[first]), int(self.starts[last])
        # NumPy is faster by 64-bit positions, the conversion included.
        mask[self.held[first:last].astype(np.int64)] = True

    def mark_each(self, mask: Mask, codes: Codes) -> None:
        """Set the units that hold one of the codes, which are different and ascend."""
        ends = np.flatnonzero(np.diff(codes, prepend=-2, append=self.distinct + 1) != 1)
        if len(ends) <= FEW_RUNS:
            for first, last in pairwise(ends.tolist()):
                self.mark(mask, int(codes[first]), int(codes[last - 1]) + 1)
        elif self.codes is not None:
            wanted = np.zeros(self.distinct + 1, dtype=bool)
            wanted[codes] = True
            mask |= wanted[self.codes.astype(np.int64)]
        elif self.starts is None:
            mask[self.held[codes].astype(np.int64)] = True
        else:
            starts, stops = self.starts[codes].astype(np.int64), self.starts[codes + 1].astype(np.int64)
            lengths = stops - starts
            if lengths.sum() > LONG_RUN * len(codes):
                pieces = [self.held[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
                mask[np.concatenate(pieces).astype(np.int64)] = True
                return
            before = np.cumsum(lengths) - lengths
            entries = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
            mask[self.held[entries].astype(np.int64)] = True

    def tally(self, weights: Codes) -> Codes:
        """The sum over every code of the weights (units,) of the units that hold it: (distinct,)."""
        if self.codes is not None:
            return np.bincount(self.codes, weights, self.distinct + 1)[: self.distinct].astype(np.int64)
        held = weights[self.held]
        if self.starts is None:
            return held
        return np.bincount(np.repeat(np.arange(self.distinct), np.diff(self.starts)), held).astype(np.int64)

    def plain(self, name: str, code: int) -> Any:
        """The value of a code, as it was given, in a column of that name."""
        if isinstance(self.values, _Words):
            text = self.values[code].decode("utf-8", "surrogatepass")
            return unsortable(text) if name == "huge" else text
        if self.values is None:
            return None
        return bool(self.values[code]) if name == "boolean" else self.values.item(code)

    def before(self, value: int | float | str, *, equal: bool) -> int:
        """How many of the values are less, or also those that are equal: exactly, whatever the size of numbers."""
        if isinstance(value, str):
            assert isinstance(self.values, _Words)
            return self.values.before(utf8(value), equal=equal)
        side: Literal["left", "right"] = "right" if equal else "left"
        whole = math.floor(value) if equal else math.ceil(value)
        if isinstance(self.values, _Words):
            return self.values.before(utf8(sortable(whole)), equal=equal)
        assert self.values is not None
        if self.values.dtype == np.float64:
            bound = _nearest(value)
            if bound > value if equal else bound < value:
                bound = math.nextafter(bound, -math.inf if equal else math.inf)
            return int(np.searchsorted(self.values, bound, side))
        if not INTEGERS.min <= whole <= INTEGERS.max:
            return 0 if whole < 0 else self.distinct
        return int(np.searchsorted(self.values, whole, side))

    def find(self, values: Sequence[Any]) -> Codes:
        """The codes of those values that are there."""
        if isinstance(self.values, _Words):
            return self.values.find(values)
        if self.values is None:
            return np.zeros(1, np.int64)
        wanted: npt.NDArray[np.int64] | npt.NDArray[np.float64]
        if self.values.dtype == np.float64:
            wanted = np.array([bound for v in values if (bound := _nearest(v)) == v], dtype=np.float64)
        else:
            wanted = np.array([int(v) for v in values if _is_int64(v)], dtype=np.int64)
        codes = np.minimum(np.searchsorted(self.values, wanted), self.distinct - 1)
        return np.unique(codes[self.values[codes] == wanted])


def _nearest(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_int64(value: float) -> bool:
    return value == math.floor(value) and INTEGERS.min <= value <= INTEGERS.max


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of a path: the documents that have it, and those that have a value of each kind there.

    `kinds` counts elements of lists too, and strings that are dates also as "date". `distinct` counts plain values
    type by type. `extremes` are the least and greatest number, string and date (in ISO 8601).
    """

    path: str
    documents: int
    kinds: Mapping[Kind, int]
    distinct: int
    extremes: Mapping[Kind, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields of a number of documents by path; not all of them where `complete` is false."""

    documents: int
    complete: bool
    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The metadata of rows [0, rows), ready to be asked. Rows of no document are answered as if theirs were empty."""

    rows: int
    _image: memoryview = field(repr=False)
    _head: Spec = field(repr=False)
    _opened: dict[tuple[str, str], Place] = field(default_factory=dict, repr=False)

    @classmethod
    def build(cls, rows: int, documents: Documents) -> Columns:
        """Columns of documents, given as metadata with built-in fields and the rows of the document's chunks.

        Raises ValueError for a row that is outside of [0, rows) or belongs to two documents. At the peak it
        takes 430 MB for a million documents of five plain fields, of which one is a million different paths.
        """
        return cls._over(image_of(rows, documents))

    @classmethod
    def _over(cls, image: memoryview) -> Columns:
        (start,) = struct.unpack_from("<Q", image, len(image) - 8)
        head = json.loads(bytes(image[start:-8]))
        return cls(head["rows"], image, head)

    def write(self, folder: Path) -> tuple[str, int]:
        """Make a file of a new generation and sync it; returns the generation and the checksum.

        Raises OSError, and leaves no file, when there is no room.
        """
        generation = os.urandom(8).hex()
        path = _file(folder, generation)
        head = memoryview(HEAD.pack(MAGIC, generation.encode(), len(self._image)))
        try:
            with path.open("xb") as file:
                file.write(head)
                file.write(self._image)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            # Nobody would ever look for a file of this name, and the disk may be full already.
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        failpoints.reach("columns written")
        sync_folder(folder)
        return generation, _checksum(head, self._image)

    @classmethod
    def read(cls, folder: Path, generation: str, checksum: int) -> Columns | None:
        """The columns of a file, mapped. None when it is missing, or not what was written."""
        try:
            with _file(folder, generation).open("rb") as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            magic, written, length = HEAD.unpack_from(mapped)
        except (OSError, ValueError, struct.error):
            # Missing, empty, or shorter than a head.
            return None
        image = mapped[HEAD.size :]
        fits = len(image) == length and length % 8 == 0 and length > 0
        if (
            not fits
            or (magic, written) != (MAGIC, generation.encode())
            or _checksum(mapped[: HEAD.size], image) != checksum
        ):
            return None
        return cls._over(image)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return HEAD.size + len(self._image)

    def select(self, condition: Condition) -> Mask:
        """Which rows match: (rows,) bool. Raises NotIndexed for a path beyond the first 10,000 of a collection."""
        mask = self._select(condition)
        lengths = self._head["lengths"]
        return mask if lengths is None else np.repeat(mask, self._array(lengths))

    def count(self, condition: Condition) -> int:
        """How many rows match."""
        return int(np.count_nonzero(self.select(condition)))

    def tally(self, path: str, rows: Mask) -> list[tuple[Any, int]] | None:
        """The plain values at a path, of lists their elements, and how many of the `rows (rows,)` have each; one may
        come again, with further rows.

        None where that is not known: of objects, and of lists in lists, only digests are kept, and a row that has a
        value of one kind twice would be counted twice. Raises NotIndexed as `select` does.
        """
        lengths, found = self._head["lengths"], []
        weights: Codes = rows.astype(np.int64)
        if lengths is not None:
            weights = np.add.reduceat(weights, np.cumsum(self._array(lengths), dtype=np.int64) - self._array(lengths))
        seen: dict[str, Mask] = {}
        for place, opaque in (("values", {"object", "other"}), ("elements", {"object", "list", "other"})):
            columns = self._place(path, place)
            if opaque & columns.keys():
                return None
            for name in (name for name in PLAIN_COLUMNS if name in columns):
                units = self._any(columns, (name,))
                before = seen.setdefault(KIND_OF[name], self._nothing())
                if (before & units).any():
                    return None
                before |= units
                counts, column = columns[name].tally(weights), columns[name]
                found += [(column.plain(name, code), counts.item(code)) for code in np.flatnonzero(counts).tolist()]
        return found

    def facts(self) -> Facts:
        """What fields there are, and what they hold."""
        found = {}
        for path, spec in self._head["paths"].items():
            columns = [*self._place(path, "values").items(), *self._place(path, "elements").items()]
            distinct = sum(column.distinct for name, column in columns if name in ("boolean", "string", *NUMBERS))
            extremes = {kind: (least, most) for kind, least, most in _extremes(columns)}
            found[path] = Field(path, spec["documents"], spec["kinds"], distinct, extremes)
        return Facts(self._head["documents"], self._head["complete"], found)

    def _select(self, condition: Condition) -> Mask:
        """Which units match."""
        if isinstance(condition, And | Or):
            masks = (self._select(part) for part in condition.parts)
            first = next(masks, None)
            if first is None:
                return np.full(self._head["units"], isinstance(condition, And))
            for mask in masks:
                (np.logical_and if isinstance(condition, And) else np.logical_or)(first, mask, out=first)
            return first
        if isinstance(condition, Not):
            mask = self._select(condition.part)
            return np.logical_not(mask, out=mask)
        return self._leaf(condition)

    def _leaf(self, leaf: Leaf) -> Mask:
        values, elements = self._place(leaf.path, "values"), self._place(leaf.path, "elements")
        if isinstance(leaf, Exists):
            return self._any(values, EXISTING)
        salt = bytes.fromhex(self._head["salt"])
        if isinstance(leaf, Equals):
            mask = self._missing(leaf.path) if "null" in leaf.kinds else self._nothing()
            for place in (values, elements):
                _mark_equal(mask, place, leaf.operands, salt=salt)
            return mask
        mask = self._nothing()
        if leaf.operator == "$size":
            _mark_found(mask, values, "list", [leaf.operand.value])
        elif leaf.operator == "$contains":
            _mark_equal(mask, elements, (leaf.operand,), salt=salt)
            if leaf.operand.kind == "string" and "string" in values:
                words = values["string"].values
                assert isinstance(words, _Words)
                values["string"].mark_each(mask, words.containing(utf8(leaf.operand.value)))
        else:
            for place in (values, elements):
                _mark_between(mask, place, leaf)
        return mask

    def _missing(self, path: str) -> Mask:
        """Units in which the path leads to nothing from some object: `filters.reach` gives MISSING."""
        parent, dot, _ = path.rpartition(".")
        existing = self._any(self._place(path, "values"), EXISTING)
        if not dot:
            return np.logical_not(existing, out=existing)
        values, elements = self._place(parent, "values"), self._place(parent, "elements")
        lacking = self._any(values, ("object",)) | self._any(elements, ("object",))
        lacking &= ~existing
        lacking |= self._any(values, SCALARS)
        lacking |= self._any(self._place(path, "values"), ("lacking",))
        lacking |= self._missing(parent)
        return lacking

    def _nothing(self) -> Mask:
        return np.zeros(self._head["units"], dtype=bool)

    def _any(self, place: Place, names: Collection[str]) -> Mask:
        """Units that have a value of these types at a place."""
        mask = self._nothing()
        for name in names:
            if name in place:
                place[name].mark(mask, 0, place[name].distinct)
        return mask

    def _place(self, path: str, place: str) -> Place:
        """The columns of a path: of its "values", or of the "elements" of lists there."""
        found = self._opened.get((path, place))
        if found is None:
            specs = self._head["paths"].get(path)
            if specs is None and not self._head["complete"]:
                raise NotIndexed(f"{path!r} is not among the first {MAX_PATHS:,} fields, which are indexed")
            found = {name: self._column(spec) for name, spec in (specs or {}).get(place, {}).items()}
            if specs is not None:
                self._opened[path, place] = found
        return found

    def _column(self, spec: Spec) -> _Column:
        values = self._array(spec["values"])
        if spec["words"]:
            blob, *arrays = spec["words"]
            start, length, _ = blob
            values = _Words(self._image[start : start + length], *map(self._array, arrays))
        codes, starts, held = (self._array(spec[name]) for name in ("codes", "starts", "held"))
        return _Column(spec["distinct"], values, codes, starts, held, spec["everywhere"])

    def _array(self, spec: list[Any] | None) -> Any:
        if spec is None:
            return None
        offset, length, kind = spec
        return np.frombuffer(self._image, dtype=kind, count=length, offset=offset)


def _mark_equal(mask: Mask, place: Place, operands: Sequence[Operand], *, salt: bytes) -> None:
    """Set the units in which a value at the place is among the operands."""
    by_kind: dict[Kind, list[Any]] = {}
    for operand in operands:
        by_kind.setdefault(operand.kind, []).append(operand.value)
    for kind, values in by_kind.items():
        if kind == "string":
            _mark_found(mask, place, kind, [utf8(value) for value in values])
        elif kind in ("object", "list"):
            _mark_found(mask, place, "whole", [digest(value, salt) for value in values])
        elif kind == "number":
            _mark_found(mask, place, "integer", values)
            _mark_found(mask, place, "float", values)
            huge = [value for value in values if value == math.floor(value)]
            _mark_found(mask, place, "huge", [utf8(sortable(int(value))) for value in huge])
        else:
            _mark_found(mask, place, kind, values)


def _mark_found(mask: Mask, place: Place, name: str, values: Sequence[Any]) -> None:
    if name in place:
        place[name].mark_each(mask, place[name].find(values))


def _mark_between(mask: Mask, place: Place, leaf: Compare) -> None:
    """Set the units in which a value at the place stands in the relation to the operand."""
    value = leaf.operand.value
    names = NUMBERS if leaf.operand.kind == "number" else (leaf.operand.kind,)
    for column in (place[name] for name in names if name in place):
        first, last = 0, column.distinct
        if leaf.operator == "$prefix":
            words = column.values
            assert isinstance(words, _Words)
            first, last = (words.before(utf8(value) + end, equal=False) for end in (b"", b"\xff"))
        elif leaf.operator in ("$gt", "$gte"):
            first = column.before(value, equal=leaf.operator == "$gt")
        else:
            last = column.before(value, equal=leaf.operator == "$lte")
        column.mark(mask, first, last)


def _extremes(columns: Iterable[tuple[str, _Column]]) -> Iterator[tuple[Kind, Any, Any]]:
    """The least and greatest number, string and date of the columns of a path."""
    ends: dict[Kind, list[Any]] = {}
    for name, column in columns:
        if name in NUMBERS:
            ends.setdefault("number", []).extend(_ends(column, huge=name == "huge"))
        elif name in ("string", "date"):
            ends.setdefault("string" if name == "string" else "date", []).extend(_ends(column))
    for kind, values in ends.items():
        least, most = min(values), max(values)
        yield (kind, iso(least), iso(most)) if kind == "date" else (kind, least, most)


def _ends(column: _Column, *, huge: bool = False) -> list[Any]:
    values = column.values
    if not isinstance(values, _Words):
        assert values is not None
        return [values[0].item(), values[-1].item()]
    texts = [values[code].decode("utf-8", "surrogatepass") for code in (0, len(values) - 1)]
    return [unsortable(text) for text in texts] if huge else texts


# --- for people --------------------------------------------------------------------------------------------

SHOWN_FIELDS = 10
PLURALS: Mapping[Kind, str] = {
    "boolean": "booleans", "number": "numbers", "string": "strings", "object": "objects", "list": "lists",
    "null": "nulls", "other": "other values",
}  # fmt: skip


def notes(condition: Condition, facts: Facts) -> list[str]:
    """What may be wrong with a filter: fields that no document has, and values of a type that a field never has."""
    found = (_note(leaf, facts) for leaf in leaves(condition))
    return list(dict.fromkeys(note for note in found if note))


def _note(leaf: Leaf, facts: Facts) -> str:
    known = facts.fields.get(leaf.path)
    if known is None:
        return _unknown(leaf.path, facts) if facts.complete else ""
    if isinstance(leaf, Exists):
        return ""
    operands = leaf.operands if isinstance(leaf, Equals) else (leaf.operand,)
    asked = {"list"} if isinstance(leaf, Compare) and leaf.operator == "$size" else {o.kind for o in operands}
    if not asked or "null" in asked or asked & known.kinds.keys():
        return ""
    held = [PLURALS[kind] for kind in known.kinds if kind in PLURALS]
    given = " or ".join(f"a {kind}" if kind != "object" else "an object" for kind in sorted(asked))
    none = ", none of them a date" if asked == {"date"} and "string" in known.kinds else ""
    return f"{leaf.path!r} holds {' and '.join(held)}{none}, and is compared with {given}"


def _unknown(path: str, facts: Facts) -> str:
    names = sorted(name for name in facts.fields if not name.startswith("@"))
    leads = "." in path and path.partition(".")[0] not in facts.fields
    dotted = "; a full stop leads into a field: one with it in its own name cannot be asked for" if leads else ""
    if not names:
        return f"no document has a field {path!r}, or any other{dotted}"
    near = difflib.get_close_matches(path, names, n=SHOWN_FIELDS)
    shown = [*near, *(name for name in names if name not in near)][:SHOWN_FIELDS]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return f"no document has a field {path!r}; there are: {', '.join(shown)}{more}{dotted}"


# --- files -------------------------------------------------------------------------------------------------

PAGE_WORDS = 1024


def remove_others(folder: Path, keep: str | None) -> None:
    """Delete the files of every generation but `keep`. One that is still mapped elsewhere may refuse; it is left."""
    for path in folder.glob("columns-*.bin"):
        if keep is None or path != _file(folder, keep):
            with contextlib.suppress(OSError):
                path.unlink()
                failpoints.reach("old columns file removed")


def _file(folder: Path, generation: str) -> Path:
    return folder / f"columns-{generation}.bin"


def _checksum(*parts: memoryview) -> int:
    """A CRC of the sums of pages: it runs at the speed of memory, and notices pages that changed places."""
    total = 0
    for part in parts:
        words = np.frombuffer(part, "<u4")
        sums = np.add.reduceat(words, np.arange(0, len(words), PAGE_WORDS), dtype=np.uint32)
        total = zlib.crc32(sums.astype("<u4").tobytes(), total)
    return total
