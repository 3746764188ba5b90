"""JSON and JSON lines → rows, a document, or text.

JSON lines are rows if most of the first lines are objects with a column of text. JSON is rows if it is a list of
objects with a column of text, or an object that holds such a list; it is one document if prose makes up at least half
of it: each string of six words or more under its path as headings, everything else metadata. What is neither, a
configuration or a log, is read as the lines of text it is. A list of any length is read element by element. Knows
JSON; what columns mean is decided in `rows`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from sememe.errors import ReadError
from sememe.sources import text
from sememe.sources.decode import Encoding, decode, detect
from sememe.sources.opened import opened, place_of, refused
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
    reader_name,
    word_count,
)
from sememe.sources.source import Part, Parts, Read, ReadOptions, Source, Unreadable
from sememe.sources.walk import Refused
from sememe.types import Block, Document

READER = "json/1"
LINES_READER = "jsonl/1"
MEDIA_TYPE = "application/json"
LONGEST_VALUE = 16_000_000
"""Characters of a row, or of a file that is not rows."""
SAMPLE = 4_000_000
"""Characters of rows from which the columns are told."""
LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")

_SPACE = re.compile(r"[ \t\r\n]*")


class _Broken(ValueError):
    """What cannot be understood as JSON, in words."""


_decoder = json.JSONDecoder(parse_constant=lambda name: None)  # noqa: ARG005 - NaN and its kin are no value


def read(source: Source, key: str, options: ReadOptions) -> Document | Parts | Refused:
    """The rows as documents, or one document."""
    with opened(source) as file:
        encoding = detect(file, cookie=False)
        if encoding is None:
            return refused(source, "binary file (no known encoding makes it text)")
        if source.name.lower().endswith(LINE_SUFFIXES):
            found = _line_rows(source, file, encoding, options)
        else:
            found = _json_rows(source, file, encoding, options) or _prose(source, key, file, encoding)
    if found is not None:
        return found
    asked = options.text or options.title or options.id
    return refused(source, "it holds no rows of JSON, so no columns") if asked else _as_text(source, key, encoding)


# Rows, one a line


def _line_rows(source: Source, file: BinaryIO, encoding: Encoding, options: ReadOptions) -> Parts | Refused | None:
    sample = list(islice(_sampled(_lines(file, encoding)), SAMPLE_ROWS))
    rows = [row for _, row in sample if isinstance(row, dict)]
    if len(rows) * 2 < len(sample) or not rows:
        return None
    return _found(source, encoding, rows, options, lambda: _line_elements(source, encoding), reader=LINES_READER)


def _sampled(lines: Iterator[str]) -> Iterator[tuple[int, Any]]:
    length = 0
    for number, line in enumerate(lines, start=1):
        length += len(line)
        if line.strip():
            yield number, _parsed(line)
        if length > SAMPLE:
            return


def _line_elements(source: Source, encoding: Encoding) -> Iterator[tuple[int, Any]]:
    with opened(source) as file:
        carried = False
        for number, line in enumerate(_lines(file, encoding), start=1):
            if len(line) >= LONGEST_VALUE:
                raise ReadError(
                    f"{source.name} line {number} has more than {LONGEST_VALUE} characters; what follows is not read"
                )
            if line.strip() and not carried:
                yield number, _parsed(line)


def _lines(file: BinaryIO, encoding: Encoding) -> Iterator[str]:
    file.seek(encoding.mark)
    lines = io.TextIOWrapper(file, encoding.codec, errors="replace", newline="\n")
    try:
        while line := lines.readline(LONGEST_VALUE):
            yield line
    finally:
        lines.detach()


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
    """The first list of objects with text: the file itself, or a value of the object that the file is."""
    stream = _Stream(decode(file, encoding, []))
    try:
        tables = ["" for _ in range(stream.take("["))] or stream.keys()
        for table in tables:
            if (table and not stream.take("[")) or (options.table and table != options.table):
                stream.value()
                continue
            rows = [_as_row(row) for row in islice(stream.elements(most=SAMPLE), SAMPLE_ROWS)]
            objects = [row for row in rows if isinstance(row, dict)]
            if len(objects) * 2 >= len(rows) and objects:
                found = _found(source, encoding, objects, options, lambda t=table: _elements(source, encoding, t))  # type: ignore[misc]
                if found is not None:
                    return found
            if not table:
                return None
            for _ in stream.elements():
                pass
    except _Broken:
        return None
    return None


def _elements(source: Source, encoding: Encoding, table: str) -> Iterator[tuple[int, Any]]:
    with opened(source) as file:
        stream = _Stream(decode(file, encoding, []))
        try:
            if table:
                for key in stream.keys():
                    if key == table:
                        break
                    stream.value()
            stream.take("[")
            for number, element in enumerate(stream.elements(), start=1):
                yield number, _as_row(element)
        except _Broken as error:
            raise ReadError(f"{source.name} is not JSON to its end: {error}; what follows is not read") from error


def _as_row(value: Any) -> Any:
    """A row; a string that stands alone is a row of one text."""
    return {"text": value} if isinstance(value, str) else value


class _Stream:
    """JSON in pieces: lists and objects of any length are walked, their elements decoded one at a time."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0

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
        """The value that comes next. Raises _Broken when there is none, or it is too long."""
        self.take(" ")
        while True:
            reason, found, end = "it ends too early", None, len(self._text)
            try:
                found, end = _decoder.raw_decode(self._text, self._at)
                reason = ""
            except json.JSONDecodeError as error:
                reason = f"{error.msg} behind {self._text[self._at : self._at + 40]!r}"
            except (ValueError, RecursionError) as error:
                raise _Broken(str(error)) from error
            # A number at the end of what is there may go on.
            if (not reason and end < len(self._text)) or not self._more():
                break
        if reason:
            raise _Broken(reason)
        self._at = end
        return found

    def _more(self) -> bool:
        """Read as much again as is waiting; False at the end of the file, and where a value is too long."""
        waiting = len(self._text) - self._at
        if waiting > LONGEST_VALUE:
            raise _Broken(f"a value has more than {LONGEST_VALUE} characters")
        taken = [self._text[self._at :]]
        added = 0
        while added <= waiting and (piece := next(self._pieces, "")):
            taken.append(piece)
            added += len(piece)
        self._text, self._at = "".join(taken), 0
        return added > 0

    def elements(self, most: int = 0) -> Iterator[Any]:
        """The elements of the list that was begun, up to its end; with `most`, of about so many characters."""
        read = 0
        if self.take("]"):
            return
        while not most or read < most:
            before = self._at
            yield self.value()
            read += max(self._at - before, 1)
            if self.take("]"):
                return
            if not self.take(","):
                raise _Broken(f"a comma is missing in front of {self._text[self._at : self._at + 40]!r}")

    def keys(self) -> Iterator[str]:
        """The keys of the object that begins here; between two of them the value has to be taken."""
        if not self.take("{") or self.take("}"):
            return
        while True:
            key = self.value()
            if not isinstance(key, str) or not self.take(":"):
                raise _Broken(f"{key!r} is no key")
            yield key
            if self.take("}"):
                return
            if not self.take(","):
                raise _Broken(f"a comma is missing behind the value of {key!r}")


# What both have in common


def _found(
    source: Source, encoding: Encoding, sample: list[Row], options: ReadOptions,
    elements: Callable[[], Iterator[tuple[int, Any]]], *, reader: str = READER,
) -> Parts | Refused | None:  # fmt: skip
    columns = dict.fromkeys(column for row in sample for column in row)
    missing = missing_columns(columns, options)
    if missing:
        return refused(source, missing)
    layout = layout_of(sample, options)
    if layout is None:
        return None
    rows = RowReader(reader, MEDIA_TYPE, layout, options)
    remarks = [encoding.remark] if encoding.remark else []
    return Parts(reader, MEDIA_TYPE, _parts(elements(), rows), place_of(source), remarks)


def _parts(elements: Iterable[tuple[int, Any]], reader: RowReader) -> Iterator[Part | Unreadable]:
    for number, row in elements:
        if isinstance(row, _Broken):
            yield Unreadable(str(number), str(row), status="failed")
        elif isinstance(row, dict):
            yield reader.part(row, number)
        else:
            yield Unreadable(str(number), f"not an object but {_kind(row)}")


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


# One document


def _prose(source: Source, key: str, file: BinaryIO, encoding: Encoding) -> Document | None:
    """The document that an object is if at least half of it is prose."""
    pieces = decode(file, encoding, [])
    content = ""
    for piece in pieces:
        content += piece
        if len(content) > LONGEST_VALUE:
            return None
    value = _parsed(content)
    if not isinstance(value, dict | list):
        return None
    prose = list(_strings(value, ()))
    if sum(len(string) for _, string in prose) * 2 < len(content):
        return None
    title = next((found for name in ("title", "name") if isinstance(value, dict) and isinstance(found := value.get(name), str)), "")
    metadata = clean({name: inner for name, inner in value.items() if not _holds_prose(inner)}) if isinstance(value, dict) else {}
    return Document(
        key=key, blocks=_blocks(prose), reader=READER, title=title or Path(source.name).stem,
        media_type=MEDIA_TYPE, metadata={**place_of(source), **metadata},
        remarks=[encoding.remark] if encoding.remark else [],
    )  # fmt: skip


def _strings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The strings of six words or more, each with its path."""
    if isinstance(value, str) and word_count(value) >= WORDS:
        yield path, value
    elif len(path) < DEEPEST and isinstance(value, dict):
        yield from chain.from_iterable(_strings(inner, (*path, str(name))) for name, inner in value.items())
    elif len(path) < DEEPEST and isinstance(value, list):
        yield from chain.from_iterable(_strings(inner, (*path, str(n))) for n, inner in enumerate(value))


def _holds_prose(value: Any) -> bool:
    return next(_strings(value, ()), None) is not None


def _blocks(prose: list[tuple[tuple[str, ...], str]]) -> Iterator[Block]:
    above: tuple[str, ...] = ()
    for path, string in prose:
        names = tuple(clean(name) for name in path if not name.isdecimal())[:6]
        kept = next((n for n, pair in enumerate(zip(above, names, strict=False)) if pair[0] != pair[1]), min(len(above), len(names)))
        for level, name in enumerate(names[kept:], start=kept + 1):
            yield Block(f"{name}\n\n", level, name, ".".join(names[:level]))
        above = names
        string = clean(string) + "\n\n"
        for start in range(0, len(string), PIECE):
            yield Block(string[start : start + PIECE], place=clean(".".join(path)))


# Text


def _as_text(source: Source, key: str, encoding: Encoding) -> Document:
    """The lines of a file that is no rows and no prose, as they are."""
    remarks = [encoding.remark] if encoding.remark else []
    return Document(
        key=key, blocks=text.blocks(_pieces(source, encoding, remarks), remarks), reader="lines/1",
        title=Path(source.name).stem, media_type="text/plain", metadata=place_of(source), remarks=remarks,
    )  # fmt: skip


def _pieces(source: Source, encoding: Encoding, remarks: list[str]) -> Iterator[str]:
    with opened(source) as file:
        yield from decode(file, encoding, remarks)
