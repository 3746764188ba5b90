"""Excel workbooks (xlsx) → a section a sheet, its rows in groups under the repeated header.

Read as a stream of XML, of which only the shared texts are held. Values are those that
were last computed; dates become ISO 8601; a blank row ends a table, and the next row may be the header of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sememe.errors import ReadError
from sememe.sources import office
from sememe.sources.grid import Table
from sememe.sources.source import ReadOptions, Source
from sememe.sources.walk import Refused
from sememe.sources.xml import Event
from sememe.sources.zipped import Archive, reading, refused
from sememe.types import Block, Document

READER = "xlsx/1"
WHAT = "Excel workbook"
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_SHARED = 256 << 20
"""Characters of texts that cells share; they must be held, because any cell may name any of them."""
MOST_COLUMNS = 16_384
LONGEST_CELL = 32_767

_DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_NO_DATE = re.compile(r'"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|_.|\*.', re.I)
_DAY_0 = datetime(1899, 12, 30)
_DAYS_TO_1904 = 1462
_COLUMN = re.compile(r"([A-Z]{1,3})(\d*)")


@dataclass(frozen=True, slots=True)
class _Sheet:
    name: str
    target: str
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What turns stored values into text: shared texts, which styles are dates or times, and the first day."""

    shared: Sequence[str]
    dates: frozenset[int]
    from_1904: bool


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:
    """A workbook, or the sheet that `options.table` names. Metadata: title, author, language, created, modified."""
    try:
        with reading(source, WHAT), Archive(source, WHAT) as archive:
            metadata = office.properties(archive, source.name)
            sheets, _ = _sheets(archive, source.name)
    except ReadError as error:
        return refused(source, error)
    names = [sheet.name for sheet in sheets]
    if options.table and options.table not in names:
        return refused(source, f"{source.name} has no sheet {options.table!r}; it has {', '.join(names) or 'none'}")
    document = Document(key, (), READER, metadata.get("title", ""), MEDIA_TYPE, metadata)
    document.blocks = _blocks(source, document, options.table)
    return document


def _sheets(archive: Archive, what: str) -> tuple[list[_Sheet], bool]:
    """The sheets in their order, and whether days are counted from 1904."""
    name = office.main_part(archive, what)
    relations = office.relations(archive, name, what)
    found: list[_Sheet] = []
    from_1904 = False
    for kind, tag, attributes in office.part(archive, name, what):
        if kind == "<" and tag == "sheet":
            relation = relations.get(attributes.get("r:id", ""))
            if relation is not None and relation.kind == "worksheet" and relation.target in archive:
                hidden = attributes.get("state", "visible") != "visible"
                found.append(_Sheet(attributes.get("name", ""), relation.target, hidden))
        elif kind == "<" and tag == "workbookPr":
            from_1904 = attributes.get("date1904") in ("1", "true")
    return found, from_1904


def _blocks(source: Source, document: Document, wanted: str) -> Iterator[Block]:
    with reading(source, WHAT), Archive(source, WHAT) as archive:
        sheets, from_1904 = _sheets(archive, source.name)
        relations = office.relations(archive, office.main_part(archive, source.name), source.name).values()
        kinds = {relation.kind: relation.target for relation in relations}
        shared: list[str] = []
        dates: frozenset[int] = frozenset()
        if kinds.get("sharedstrings", "") in archive:
            shared = _shared(office.part(archive, kinds["sharedstrings"], source.name), source.name)
        if kinds.get("styles", "") in archive:
            dates = _dates(office.part(archive, kinds["styles"], source.name))
        meaning = _Meaning(shared, dates, from_1904)
        for sheet in sheets:
            if wanted in ("", sheet.name):
                if sheet.is_hidden:
                    document.remarks.append(f"sheet {sheet.name} is hidden; it is read all the same")
                yield from _sheet(office.part(archive, sheet.target, source.name), sheet.name, meaning)


def _shared(found: Iterable[Event], what: str) -> list[str]:
    texts: list[str] = []
    parts: list[str] = []
    size = 0
    in_text = in_phonetic = False
    for kind, tag, _ in found:
        if kind == "":
            if in_text and not in_phonetic:
                parts.append(tag)
        elif tag == "t":
            in_text = kind == "<"
        elif tag == "rPh":
            in_phonetic = kind == "<"
        elif tag == "si" and kind == ">":
            texts.append("".join(parts))
            size += len(texts[-1]) + 64
            parts = []
            if size > MOST_SHARED:
                raise ReadError(f"{what} shares texts of more than {MOST_SHARED} bytes, which is more than is held")
    return texts


def _dates(found: Iterable[Event]) -> frozenset[int]:
    """The cell styles that show a number as a date or a time."""
    codes: dict[str, bool] = {}
    dates: set[int] = set()
    in_styles, style = False, 0
    for kind, tag, attributes in found:
        if tag == "cellXfs":
            in_styles = kind == "<"
        elif kind == "<" and tag == "numFmt":
            bare = _NO_DATE.sub("", attributes.get("formatCode", "")).lower()
            codes[attributes.get("numFmtId", "")] = any(letter in bare for letter in "ymdhs")
        elif kind == "<" and tag == "xf" and in_styles:
            number = attributes.get("numFmtId", "")
            builtin = number.isdecimal() and int(number) in _DATE_FORMATS
            if codes.get(number, builtin):
                dates.add(style)
            style += 1
    return frozenset(dates)


def _sheet(found: Iterable[Event], name: str, meaning: _Meaning) -> Iterator[Block]:
    """A sheet as a heading and its tables."""
    place = f"sheet {name}"
    yield Block(f"{name}\n\n", 1, name, place)
    table = Table(place, guess=True, numbered=True)
    last = 0
    for number, row in _rows(found, meaning):
        if number > last + 1:
            yield from table.end()
            table = Table(place, guess=True, numbered=True)
        if any(row):
            yield from table.add(row, number=number)
            last = number
    yield from table.end()


def _rows(found: Iterable[Event], meaning: _Meaning) -> Iterator[tuple[int, list[str]]]:
    """The rows that have cells, with their numbers."""
    row: list[str] = []
    number = column = 0
    cell: Mapping[str, str] = {}
    value: list[str] = []
    in_value = in_phonetic = False
    for kind, tag, attributes in found:
        if kind == "":
            if in_value and not in_phonetic:
                value.append(tag)
        elif tag in ("v", "t"):
            in_value = kind == "<"
        elif tag == "rPh":
            in_phonetic = kind == "<"
        elif tag == "c" and kind == "<":
            cell, value = attributes, []
            column = _column(attributes.get("r", ""), len(row))
        elif tag == "c":
            shown = _shown("".join(value), cell, meaning) if value else ""
            if shown and len(row) <= column < MOST_COLUMNS:
                row.extend([""] * (column - len(row)))
                row.append(shown[:LONGEST_CELL])
        elif tag == "row" and kind == "<":
            given = attributes.get("r", "")
            number = int(given) if given.isdecimal() and len(given) < 9 else number + 1
            row = []
        elif tag == "row":
            yield number, row


def _column(reference: str, following: int) -> int:
    """The column (from 0) of a cell, by its reference such as "AB12"; without one, the next."""
    match = _COLUMN.fullmatch(reference)
    if not match:
        return following
    column = 0
    for letter in match[1]:
        column = 26 * column + ord(letter) - 64
    return column - 1


def _shown(value: str, cell: Mapping[str, str], meaning: _Meaning) -> str:
    kind = cell.get("t", "n")
    if kind == "s":
        index = int(value) if value.isdecimal() and len(value) < 10 else len(meaning.shared)
        return meaning.shared[index] if index < len(meaning.shared) else ""
    if kind == "b":
        return "TRUE" if value.strip() == "1" else "FALSE"
    if kind == "d":
        return value.removesuffix("T00:00:00")
    if kind != "n":
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    style = cell.get("s", "")
    if style.isdecimal() and int(style) in meaning.dates:
        return _date(number, from_1904=meaning.from_1904) or value
    return f"{number:.15g}" if abs(number) < 1e15 else value


def _date(days: float, *, from_1904: bool) -> str:
    """A day number as ISO 8601: a date, a time of day where it is below one day, or both; "" if it is none."""
    if not 0 <= days < 2_958_466:
        return ""
    days += _DAYS_TO_1904 if from_1904 else 0
    moment = _DAY_0 + timedelta(seconds=round(days * 86_400))
    if not from_1904 and days < 61:  # 1900 counts as a leap year
        moment += timedelta(days=1)
    if days < 1:
        return moment.time().isoformat()
    return moment.date().isoformat() if moment.time() == datetime.min.time() else moment.isoformat()
