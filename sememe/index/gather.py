"""Gathering the values of documents into the arrays that `sememe.index.columns` answers from.

Documents are walked once; what is kept of each value is a few bytes and, once for every different string, its text.
Then every field is sorted in turn into one image: arrays of little-endian numbers, aligned to 8 bytes, and JSON that
says where they lie. This file knows how an image is made, not how it is asked.
"""

from __future__ import annotations

import json
import operator
import os
import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe.filters import BUILT_INS, MAX_DEPTH, instant, kind_of, whole

MAX_PATHS = 10_000
"""Paths that came first are indexed; a filter on another one has to be answered row by row."""

RUN_WORDS = 65_536
"""Different strings of a field that are held as Python objects until they are packed."""

PLAIN = frozenset({str, int, float, bool, type(None)})
KIND_OF = {
    "null": "null", "boolean": "boolean", "integer": "number", "float": "number", "huge": "number",
    "string": "string", "date": "date", "object": "object", "list": "list", "other": "other",
}  # fmt: skip
"""The names of columns, and the kinds that a filter knows. Columns "whole" and "lacking" are no kinds of value."""

Documents: TypeAlias = Iterable[tuple[Mapping[str, Any], Sequence[int] | npt.NDArray[np.int64] | range]]
Numbers: TypeAlias = npt.NDArray[np.int64]
Spec: TypeAlias = dict[str, Any]

COMPLEMENT = str.maketrans("0123456789abcdef", "fedcba9876543210")
SIZE_RANGE = 1 << 32
SMALL = 1 << 16
"""Codes below this take at most two bytes."""


def utf8(text: str) -> bytes:
    """The bytes of a string, whose order is that of its code points; lone surrogates have bytes too."""
    return text.encode("utf-8", "surrogatepass")


def sortable(number: int) -> str:
    """A whole number of any size as a string, so that the order of strings is that of numbers."""
    digits = f"{abs(number):x}"
    if number >= 0:
        return f"1{len(digits):08x}{digits}"
    return f"0{SIZE_RANGE - len(digits):08x}{digits.translate(COMPLEMENT)}"


def unsortable(text: str) -> int:
    """The number that `sortable` made the string of."""
    return int(text[9:], 16) if text[0] == "1" else -int(text[9:].translate(COMPLEMENT), 16)


def digest(canonical: str, salt: bytes) -> int:
    """64 bits of the canonical JSON of an object or list, which stand for it when it is compared as a whole.

    The salt is drawn anew for every image, so that nobody can prepare two that are taken for one.
    """
    return int.from_bytes(blake2b(canonical.encode(), digest_size=8, key=salt).digest(), "little", signed=True)


def ascending(words: list[bytes]) -> tuple[list[bytes], Numbers]:
    """The different words in order, and the place of each of the given ones (n,) among them."""
    # Words often come in an order, which sorting uses and a set would lose.
    order = sorted(range(len(words)), key=words.__getitem__)
    words = [words[i] for i in order]
    new = [True, *map(operator.ne, words[1:], words)]
    ranks = np.empty(len(words), np.int64)
    ranks[order] = np.cumsum(new) - 1
    return list(compress(words, new)), ranks


def distinct_numbers(numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Numbers]:
    """The different numbers in order, and the place of each of the given ones (n,) among them."""
    values = np.unique(numbers)
    if len(values) < SMALL:
        return values, np.searchsorted(values, numbers)
    values, places = np.unique(numbers, return_inverse=True)
    return values, places


def image_of(rows: int, documents: Documents) -> memoryview:
    """The image of the columns of rows [0, rows). Raises ValueError for a row outside or of two documents."""
    root, walk = Gathered(""), Walk(os.urandom(16))
    taken, lengths = array("q"), array("q")
    for metadata, own in documents:
        if len(own):
            walk.object(root, metadata, len(lengths))
            taken.extend(own.tolist() if isinstance(own, np.ndarray) else own)
            lengths.append(len(own))
    units = units_of(rows, np.asarray(taken, np.int64), np.asarray(lengths, np.int64))
    image = Image(units)
    paths = {path: spec for path, spec in ((place.path, image.path(place)) for place in root.below()) if spec}
    return image.closed({
        "salt": walk.salt.hex(), "complete": not walk.refused,
        "rows": rows, "units": units.number, "documents": units.documents,
        "lengths": None if units.number == rows else image.add(units.lengths.astype("<u4")), "paths": paths,
    })  # fmt: skip


# --- which rows are one ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Units:
    """Runs of rows of one document, and single rows of none: `lengths (number,)` in rows, in the order of the rows.

    The units of document d are `own[first[d] : first[d + 1]]`.
    """

    number: int
    documents: int
    lengths: Numbers
    first: Numbers
    own: Numbers

    def spread(self, codes: Numbers, documents: Numbers) -> tuple[Numbers, Numbers]:
        """Codes (n,) and the documents (n,) that hold them, as codes and units."""
        if len(self.own) == self.documents:
            return codes, self.own[documents]
        counts = (self.first[1:] - self.first[:-1])[documents]
        before = np.cumsum(counts) - counts
        held = self.own[np.repeat(self.first[documents] - before, counts) + np.arange(counts.sum())]
        return np.repeat(codes, counts), held


def units_of(rows: int, taken: Numbers, lengths: Numbers) -> Units:
    """The units of documents that took so many rows each, in the order of `taken`."""
    if len(taken) and not 0 <= taken.min() <= taken.max() < rows:
        raise ValueError(f"documents have rows from {taken.min()} to {taken.max()}; there are rows 0 to {rows - 1}")
    owner = np.full(rows, -1, np.int64)
    owner[taken] = np.repeat(np.arange(len(lengths)), lengths)
    if np.count_nonzero(owner >= 0) != len(taken):
        raise ValueError(f"documents have {len(taken)} rows, of which {np.count_nonzero(owner >= 0)} are different")
    begins = np.ones(rows, dtype=bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (owner[1:] < 0)
    starts = np.flatnonzero(begins)
    of_unit = owner[starts]
    owned = np.flatnonzero(of_unit >= 0)
    own = owned[np.argsort(of_unit[owned], kind="stable")]
    first = np.concatenate([[0], np.cumsum(np.bincount(of_unit[owned], minlength=len(lengths)))])
    return Units(len(starts), len(lengths), np.diff(starts, append=rows), first, own)


# --- walking documents -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Values:
    """Numbers, and the document of each."""

    values: array[Any]
    documents: array[int] = field(default_factory=lambda: array("I"))

    def add(self, value: float, document: int) -> None:
        """Keep one."""
        self.values.append(value)
        self.documents.append(document)

    def adder(self) -> Callable[[Any, int], None]:
        """`add` as a function that looks nothing up: it is called for every value of a collection."""
        keep, keep_document = self.values.append, self.documents.append

        def add(value: float, document: int) -> None:
            keep(value)
            keep_document(document)

        return add


@dataclass(slots=True)
class Texts:
    """Strings as codes, and the document of each. Every 65,536 different ones are packed, and may come again."""

    codes: array[int] = field(default_factory=lambda: array("I"))
    documents: array[int] = field(default_factory=lambda: array("I"))
    recent: dict[str, int] = field(default_factory=dict)
    packed: list[bytes] = field(default_factory=list)
    known: int = 0

    def add(self, text: str, document: int) -> None:
        """Keep one."""
        code = self.recent.get(text)
        if code is None:
            if len(self.recent) == RUN_WORDS:
                self._pack()
            code = self.recent[text] = self.known
            self.known += 1
        self.codes.append(code)
        self.documents.append(document)

    def words(self) -> list[bytes]:
        """The strings in UTF-8, by code."""
        self._pack()
        return [word for run in self.packed for word in run.split(b"\xff")]

    def _pack(self) -> None:
        if self.recent:
            self.packed.append(b"\xff".join(map(utf8, self.recent)))
            self.recent = {}


class Gathered(dict[type, Callable[[Any, int], None]]):
    """What was gathered at a path. As a mapping: for a type of Python, what to do with a value and its document."""

    def __init__(self, path: str, depth: int = 0) -> None:
        super().__init__()
        self.path = path
        self.depth = depth
        self.names: dict[str, Gathered] = {}
        self.columns: dict[str, Values | Texts] = {}
        self.elements: Gathered | None = None

    def __missing__(self, of: type) -> Callable[[Any, int], None]:
        add = self[of] = self._adder(of)
        return add

    def _adder(self, of: type) -> Callable[[Any, int], None]:
        if issubclass(of, bool):
            return self.numbers("boolean", "b").adder()
        if issubclass(of, str):
            return self.texts("string").add
        if issubclass(of, int):
            return self._integers()
        if issubclass(of, float):
            return self._floats()
        return partial(self._mark, "null" if of is type(None) else "other")

    def _integers(self) -> Callable[[int, int], None]:
        numbers = self.numbers("integer", "q")
        keep, keep_document = numbers.values.append, numbers.documents.append

        def add_or_else(value: int, document: int) -> None:
            try:
                keep(value)
            except OverflowError:
                self.texts("huge").add(sortable(value), document)
            else:
                keep_document(document)

        return add_or_else

    def _floats(self) -> Callable[[float, int], None]:
        add = self.numbers("float", "d").adder()

        def add_or_else(value: float, document: int) -> None:
            if value == value:
                add(value, document)
            else:
                self.mark("other", document)

        return add_or_else

    def _mark(self, name: str, _: object, document: int) -> None:
        self.mark(name, document)

    def numbers(self, name: str, typecode: str) -> Values:
        """The numbers of one type."""
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = Values(array(typecode))
        assert isinstance(found, Values)
        return found

    def texts(self, name: str) -> Texts:
        """The strings of one type."""
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = Texts()
        assert isinstance(found, Texts)
        return found

    def mark(self, name: str, document: int) -> None:
        """A value of a type that has no values."""
        self.numbers(name, "b").add(0, document)

    def container(self, value: Any, document: int, salt: bytes) -> None:
        """An object or list as a whole."""
        canonical = whole(value)
        if canonical is not None:
            self.numbers("whole", "q").add(digest(canonical, salt), document)
        if canonical[0] == "{" if canonical else kind_of(value) == "object":
            self.mark("object", document)
        else:
            self.numbers("list", "q").add(len(value), document)

    def below(self) -> Iterator[Gathered]:
        """All fields whose paths begin with this one's."""
        for inner in self.names.values():
            yield inner
            yield from inner.below()


class Walk:
    """Takes documents apart, value by value."""

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self.paths = 0
        self.refused = False
        self._counts: tuple[Counter[str], dict[str, tuple[Gathered, str, int]]] | None = None

    def object(self, at: Gathered, value: Mapping[str, Any], document: int) -> None:
        """The fields of an object that lies at a path."""
        names, counted = at.names, self._counts is not None
        if self._counts is not None:
            self._counts[0][at.path] += 1
        for name, inner in value.items():
            child = names.get(name)
            if child is None:
                child = self._admitted(at, name)
                if child is None:
                    continue
            if counted:
                self._count(child, at.path)
            if type(inner) in PLAIN:
                child[type(inner)](inner, document)
            else:
                self._nested(child, inner, document)

    def _admitted(self, at: Gathered, name: str) -> Gathered | None:
        """A field seen for the first time; None for one that no filter can name, or when there are too many."""
        if not isinstance(name, str) or "." in name or name.startswith("$") or at.depth >= MAX_DEPTH:
            return None
        if at.depth == 0 and name.startswith("@") and name not in BUILT_INS:
            return None
        if self.paths >= MAX_PATHS:
            self.refused = True
            return None
        self.paths += 1
        child = at.names[name] = Gathered(f"{at.path}.{name}" if at.depth else name, at.depth + 1)
        return child

    def _nested(self, at: Gathered, value: Any, document: int) -> None:
        kind = kind_of(value)
        if kind not in ("object", "list"):
            at[type(value)](value, document)
            return
        at.container(value, document, self.salt)
        if kind == "object":
            self.object(at, value, document)
        elif value:
            self._list(at, value, document)

    def _list(self, at: Gathered, values: Sequence[Any], document: int) -> None:
        """The elements of a list that lies at a path, and the fields of the objects among them."""
        elements = at.elements
        if elements is None:
            elements = at.elements = Gathered(at.path, at.depth)
        if PLAIN.issuperset(map(type, values)):
            for element in values:
                elements[type(element)](element, document)
            return
        objects = [element for element in values if kind_of(element) == "object"]
        outermost = len(objects) > 1 and self._counts is None
        if outermost:
            self._counts = Counter(), {}
        for element in objects:
            self.object(at, element, document)
        if outermost:
            self._mark_lacking(document)
        for element in values:
            if kind_of(element) in ("object", "list"):
                elements.container(element, document, self.salt)
            else:
                elements[type(element)](element, document)

    def _count(self, at: Gathered, parent: str) -> None:
        assert self._counts is not None
        _, named = self._counts
        named[at.path] = at, parent, 1 + (named[at.path][2] if at.path in named else 0)

    def _mark_lacking(self, document: int) -> None:
        """Of the objects at one path some have a name and some have not: from the latter it leads nowhere."""
        assert self._counts is not None
        objects, named = self._counts
        for at, parent, times in named.values():
            if times < objects[parent]:
                at.mark("lacking", document)
        self._counts = None


# --- the image ---------------------------------------------------------------------------------------------


class Image:
    """Arrays one after the other."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._bytes = bytearray()

    def add(self, values: npt.NDArray[Any]) -> list[Any]:
        """Append an array; returns where it lies: offset, length, type."""
        kind = values.dtype.newbyteorder("<")
        spec = [len(self._bytes), len(values), kind.str]
        self._bytes += np.ascontiguousarray(values, dtype=kind).view(np.uint8).data
        self._bytes += b"\0" * (-len(self._bytes) % 8)
        return spec

    def path(self, gathered: Gathered) -> Spec:
        """Append all columns of a path. What was gathered is given up, to make room."""
        kinds: dict[str, npt.NDArray[np.bool_]] = {}
        having = np.zeros(self._units.documents, dtype=bool)
        places: dict[str, Spec] = {"values": {}, "elements": {}}
        for place, at in (("values", gathered), ("elements", gathered.elements)):
            while at is not None and at.columns:
                name, values = at.columns.popitem()
                for column, spec, documents in self._columns(name, values) if values.documents else ():
                    places[place][column] = spec
                    if column in KIND_OF:
                        marked = kinds.setdefault(KIND_OF[column], np.zeros_like(having))
                        marked[documents] = True
                        having |= marked
        counts = {kind: int(np.count_nonzero(marked)) for kind, marked in sorted(kinds.items())}
        return {"documents": int(np.count_nonzero(having)), "kinds": counts, **places} if counts else {}

    def closed(self, head: Spec) -> memoryview:
        """The image, with what is known of it and the offset of that at the end."""
        start = len(self._bytes)
        self._bytes += json.dumps(head, separators=(",", ":")).encode()
        self._bytes += b" " * (-len(self._bytes) % 8) + struct.pack("<Q", start)
        return memoryview(self._bytes).toreadonly()

    def _columns(self, name: str, gathered: Values | Texts) -> Iterator[tuple[str, Spec, Numbers]]:
        documents = np.array(gathered.documents, np.int64)
        if isinstance(gathered, Texts):
            words, ranks = ascending(gathered.words())
            codes = ranks[np.array(gathered.codes, np.int64)]
            yield name, self._column(codes, documents, len(words), words=self._words(words)), documents
            if name == "string":
                yield from self._dates(words, codes, documents)
            return
        values, codes = distinct_numbers(np.array(gathered.values))
        if name in ("null", "object", "other", "lacking"):
            yield name, self._column(codes, documents, 1), documents
        else:
            kept = self.add(values if values.dtype == np.float64 else values.astype(np.int64))
            yield name, self._column(codes, documents, len(values), values=kept), documents

    def _dates(self, words: list[bytes], codes: Numbers, documents: Numbers) -> Iterator[tuple[str, Spec, Numbers]]:
        """The strings that are dates, once more by their instants."""
        # Most strings are told apart from dates by two characters.
        moments = [instant(w.decode("utf-8", "replace")) if w[4:5] == w[7:8] == b"-" else None for w in words]
        dated = np.array([moment is not None for moment in moments], dtype=bool)[codes]
        if dated.any():
            all_moments = np.array([moment or 0 for moment in moments], dtype=np.int64)
            values, codes = distinct_numbers(all_moments[codes[dated]])
            spec = self._column(codes, documents[dated], len(values), values=self.add(values))
            yield "date", spec, documents[dated]

    def _words(self, words: list[bytes]) -> list[Any]:
        ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)) + 1)])
        hashes = np.fromiter(map(zlib.crc32, words), np.uint32, len(words))
        order = np.argsort(hashes, kind="stable")
        blob = np.frombuffer(b"\xff".join([*words, b""]), np.uint8)
        offsets = ends.astype(np.uint32 if ends[-1] < SIZE_RANGE else np.uint64)
        return [self.add(blob), self.add(offsets), self.add(hashes[order]), self.add(order.astype(np.uint32))]

    def _column(
        self,
        codes: Numbers,
        documents: Numbers,
        distinct: int,
        *,
        values: list[Any] | None = None,
        words: list[Any] | None = None,
    ) -> Spec:
        """Append what says which units hold which codes, in the form that takes less room."""
        codes, held = self._units.spread(codes, documents)
        once = np.zeros(self._units.number, dtype=bool)
        once[held] = True
        having = int(np.count_nonzero(once))
        spec: Spec = dict.fromkeys(("codes", "starts", "held")) | {
            "distinct": distinct, "values": values, "words": words, "everywhere": having == self._units.number,
        }  # fmt: skip
        kind = np.dtype(np.uint8 if distinct < 1 << 8 else np.uint16)
        if having == len(held) and distinct < SMALL and kind.itemsize * self._units.number <= 4 * len(held):
            dense = np.full(self._units.number, distinct, kind)
            dense[held] = codes
            spec["codes"] = self.add(dense)
            return spec
        # Sorted by code and then by unit; a value that a list holds twice is one entry.
        pairs = np.unique(codes * self._units.number + held)
        codes = pairs // self._units.number
        held = pairs - codes * self._units.number
        if len(held) != distinct:
            starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=distinct))])
            spec["starts"] = self.add(starts.astype(np.uint32 if len(held) < SIZE_RANGE else np.uint64))
        spec["held"] = self.add(held.astype(np.uint32))
        return spec
