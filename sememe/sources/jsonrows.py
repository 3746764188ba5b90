"""JSON and JSON lines → rows, a document, or text.

JSON lines are rows if most of the first lines are objects with a column of text. JSON is rows if it is a list of
objects with a column of text (or of strings of prose), or an object of which at least half is such a list. It is one
document if at least half of it is prose: each string of six words or more under its path, the rest metadata. What is
none of these, a configuration or a log, is read as the lines of text that it is. A list of any length is read element
by element. Knows JSON; what columns mean is decided in `rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import Any, BinaryIO

from sememe.errors import ReadError
from sememe.sources import text
from sememe.sources.decode import Encoding, decode, detect, lines_of
from sememe.sources.formats import BY_NAME
from sememe.sources.rows import (
    DEEPEST,
    PIECE,
    SAMPLE_ROWS,
    WORDS,
    Row,
    RowReader,
    clean,
    layout_of,
    missing_columns,
    refused,
    word_count,
)
from sememe.sources.source import Part, Parts, ReadOptions, Refused, Source, Unreadable
from sememe.types import Block, Document

FORMAT = BY_NAME["json"]
ROWS = BY_NAME["jsonl"]
"""What rows are stored as, whichever of the two files they come from: their text is prose, a JSON file is lines."""
LONGEST_VALUE = 16_000_000
"""Characters of a row, or of a file that is not rows."""
SAMPLE = 4_000_000
"""Characters of rows from which the columns are told."""
LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class _Broken:
    """What cannot be understood as JSON, and why."""

    reason: str


_decoder = json.JSONDecoder(parse_constant=lambda name: None)  # noqa: ARG005 - NaN and its kin are no value


def read(source: Source, key: str, options: ReadOptions) -> Document | Parts | Refused:
    """The rows as documents, or one document."""
    with source.open() as file:
        encoding = detect(file, cookie=False)
        if encoding is None:
            return refused(source, "binary file (no known encoding makes it text)")
        found: Document | Parts | Refused | None
        if source.name.lower().endswith(LINE_SUFFIXES):
            found = _line_rows(source, file, encoding, options)
        else:
            found = _json_rows(source, file, encoding, options) or _prose(key, file, encoding, options)
    if found is not None:
        return found
    if options.text or options.title or options.id or options.table:
        return refused(source, "it holds no rows of JSON, so no columns")
    remarks = [encoding.remark] if encoding.remark else []
    pieces = _pieces(source, encoding, remarks)
    return Document(
        key, text.blocks(pieces, remarks), FORMAT.reader(options), media_type=FORMAT.media_type, remarks=remarks
    )


# Rows, one a line


def _line_rows(source: Source, file: BinaryIO, encoding: Encoding, options: ReadOptions) -> Parts | Refused | None:
    sample = list(islice(_sampled(lines_of(file, encoding, longest=LONGEST_VALUE, newline="\n")), SAMPLE_ROWS))
    rows = [row for _, row in sample if isinstance(row, dict)]
    if len(rows) * 2 < len(sample) or not rows:
        return None
    return _found(source, encoding, rows, options, lambda: _line_elements(source, encoding))


def _sampled(lines: Iterator[str]) -> Iterator[tuple[int, Any]]:
    length = 0
    for number, line in enumerate(lines, start=1):
        length += len(line)
        if line.strip():
            yield number, _parsed(line)
        if length > SAMPLE:
            return


def _line_elements(source: Source, encoding: Encoding) -> Iterator[tuple[int, Any]]:
    with source.open() as file:
        for number, line in enumerate(lines_of(file, encoding, longest=LONGEST_VALUE, newline="\n"), start=1):
            if len(line) >= LONGEST_VALUE:
                raise ReadError(
                    f"{source.name} line {number} has more than {LONGEST_VALUE} characters; what follows is not read"
                )
            if line.strip():
                yield number, _parsed(line)


def _parsed(line: str) -> Any:
    """The value of a line, or why there is none."""
    try:
        return _decoder.decode(line.strip("\x1e\ufeff \t\r\n"))
    except json.JSONDecodeError as error:
        return _Broken(f"not valid JSON ({error.msg} at character {error.pos})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested too deep
        return _Broken(f"not readable JSON ({error})")


# Rows of a list


def _json_rows(source: Source, file: BinaryIO, encoding: Encoding, options: ReadOptions) -> Parts | Refused | None:
    """The rows of the list that the file is, or of the first list with text in the object that it is."""
    stream = _Stream(decode(file, encoding, []))
    try:
        if stream.take("["):
            return _list_rows(source, stream, encoding, options, "")
        for table in stream.names():
            if options.table not in ("", table) or not stream.take("["):
                stream.value()
                continue
            found = _list_rows(source, stream, encoding, options, table)
            if found is not None:
                return found if options.table or stream.read * 2 >= source.size else None
            for _ in stream.elements():
                pass
    except ReadError:
        return None
    return None


def _list_rows(
    source: Source, stream: _Stream, encoding: Encoding, options: ReadOptions, table: str
) -> Parts | Refused | None:
    """Rows of the list that has begun if the first ones are objects with text."""
    stream.read = 0
    first = list(islice(stream.elements(most=SAMPLE), SAMPLE_ROWS))
    objects = [row for row in map(_as_row, first) if isinstance(row, dict)]
    strings = sum(isinstance(row, str) for row in first)
    if len(objects) * 2 < len(first) or not objects or (table and strings):
        return None
    found = _found(source, encoding, objects, options, lambda: _elements(source, encoding, table))
    if found is not None and len(first) == SAMPLE_ROWS:
        stream.read = source.size  # long enough for whatever surrounds it
    return found


def _elements(source: Source, encoding: Encoding, table: str) -> Iterator[tuple[int, Any]]:
    with source.open() as file:
        stream = _Stream(decode(file, encoding, []))
        try:
            if table:
                for key in stream.names():
                    if key == table:
                        break
                    stream.value()
            stream.take("[")
            for number, element in enumerate(stream.elements(), start=1):
                yield number, _as_row(element)
        except ReadError as error:
            raise ReadError(f"{source.name} is not JSON to its end: {error}; what follows is not read") from error


def _as_row(value: Any) -> Any:
    """A row; a string that stands alone is a row of one column."""
    return {"string": value} if isinstance(value, str) else value


class _Stream:
    """JSON in pieces: lists and objects of any length are walked, their elements decoded one at a time."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self.read = 0
        """Characters of values so far, as near as is needed."""

    def take(self, character: str) -> bool:
        """Whether this character comes next; then it is gone."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                break
            self._text, self._at = next(self._pieces, ""), 0
            if not self._text:
                return False
        found = self._text[self._at] == character
        self._at += found
        return found

    def value(self) -> Any:
        """The value that comes next. Raises ReadError when there is none, or it is too long."""
        self.take(" ")
        while True:
            reason, found, end = "it ends too early", None, len(self._text)
            try:
                found, end = _decoder.raw_decode(self._text, self._at)
                reason = ""
            except json.JSONDecodeError as error:
                reason = f"{error.msg} behind {self._text[self._at : self._at + 40]!r}"
            except (ValueError, RecursionError) as error:
                raise ReadError(str(error)) from error
            # A number at the end of what is there may go on.
            if (not reason and end < len(self._text)) or not self._more():
                break
        if reason:
            raise ReadError(reason)
        self.read += end - self._at
        self._at = end
        return found

    def _more(self) -> bool:
        """Read as much again as is waiting; False at the end of the file, and where a value is too long."""
        waiting = len(self._text) - self._at
        if waiting > LONGEST_VALUE:
            raise ReadError(f"a value has more than {LONGEST_VALUE} characters")
        taken = [self._text[self._at :]]
        added = 0
        while added <= waiting and (piece := next(self._pieces, "")):
            taken.append(piece)
            added += len(piece)
        self._text, self._at = "".join(taken), 0
        return added > 0

    def elements(self, most: int = 0) -> Iterator[Any]:
        """The elements of the list that was begun, up to its end; with `most`, of about so many characters."""
        begun = self.read
        if self.take("]"):
            return
        while not most or self.read - begun < most:
            yield self.value()
            if self.take("]"):
                return
            if not self.take(","):
                raise ReadError(f"a comma is missing in front of {self._text[self._at : self._at + 40]!r}")

    def names(self) -> Iterator[str]:
        """The keys of the object that begins here; between two of them the value has to be taken."""
        if not self.take("{") or self.take("}"):
            return
        while True:
            key = self.value()
            if not isinstance(key, str) or not self.take(":"):
                raise ReadError(f"{key!r} is no key")
            yield key
            if self.take("}"):
                return
            if not self.take(","):
                raise ReadError(f"a comma is missing behind the value of {key!r}")


# What both have in common


def _found(
    source: Source, encoding: Encoding, sample: Sequence[Row], options: ReadOptions,
    elements: Callable[[], Iterator[tuple[int, Any]]],
) -> Parts | Refused | None:  # fmt: skip
    missing = missing_columns(dict.fromkeys(column for row in sample for column in row), options)
    if missing:
        return refused(source, missing)
    layout = layout_of(sample, options)
    if layout is None:
        return None
    remarks = [encoding.remark] if encoding.remark else []
    rows = RowReader(ROWS.name, layout, options)
    return Parts(ROWS.reader(options), ROWS.media_type, _parts(elements(), rows), remarks=remarks)


def _parts(elements: Iterable[tuple[int, Any]], reader: RowReader) -> Iterator[Part | Unreadable]:
    for number, row in elements:
        if isinstance(row, _Broken):
            yield Unreadable(str(number), row.reason, status="failed")
        elif isinstance(row, dict):
            yield reader.part(row, number)
        else:
            yield Unreadable(str(number), f"not an object but {_kind(row)}")


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


# One document


def _prose(key: str, file: BinaryIO, encoding: Encoding, options: ReadOptions) -> Document | None:
    """The document that an object or list is if at least half of it is prose."""
    if options.text or options.table:
        return None
    content = ""
    for piece in decode(file, encoding, []):
        content += piece
        if len(content) > LONGEST_VALUE:
            return None
    value = _parsed(content)
    if not isinstance(value, dict | list):
        return None
    prose = list(_strings(value, ()))
    if sum(len(string) for _, string in prose) * 2 < len(content):
        return None
    named = value if isinstance(value, dict) else {}
    titles = (named.get(name) for name in ("title", "name"))
    return Document(
        key=key,
        blocks=_blocks(prose),
        reader=FORMAT.reader(options),
        title=clean(next((title for title in titles if isinstance(title, str)), "")),
        media_type=FORMAT.media_type,
        metadata=clean({name: inner for name, inner in named.items() if not _holds_prose(inner)}),
        remarks=[encoding.remark] if encoding.remark else [],
    )


def _strings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The strings of six words or more, each with its path."""
    if isinstance(value, str) and word_count(value) >= WORDS:
        yield path, value
    elif len(path) < DEEPEST and isinstance(value, dict):
        yield from chain.from_iterable(_strings(inner, (*path, name)) for name, inner in value.items())
    elif len(path) < DEEPEST and isinstance(value, list):
        yield from chain.from_iterable(_strings(inner, (*path, f"[{n}]")) for n, inner in enumerate(value))


def _holds_prose(value: Any) -> bool:
    return next(_strings(value, ()), None) is not None


def _blocks(prose: Iterable[tuple[tuple[str, ...], str]]) -> Iterator[Block]:
    """The names on the way to each string as headings, as far as they differ from those of the one before."""
    above: list[str] = []
    for path, string in prose:
        place = clean(".".join(path)).replace(".[", "[")
        names = [clean(name) for name in path if not name.startswith("[")][:6]
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(above, names, strict=False)))
        for level, name in enumerate(names[kept:], start=kept + 1):
            yield Block(f"{name}\n\n", level, name, place)
        above = names
        string = f"{clean(string)}\n\n"
        for start in range(0, len(string), PIECE):
            yield Block(string[start : start + PIECE], place=place)


def _pieces(source: Source, encoding: Encoding, remarks: list[str]) -> Iterator[str]:
    with source.open() as file:
        yield from decode(file, encoding, remarks)
