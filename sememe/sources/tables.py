"""CSV and TSV → rows: the dialect, the header and the types of the columns, decided from the first rows.

The dialect is the one that cuts the sample into rows of one width. The first row is a header if its cells are
different, short, no numbers or dates, and not values of their columns further down. A column of numbers or booleans
is one as far as the sample goes; numbers with leading zeros are names, and dates stay strings. Knows delimiters and
cells; what columns mean is decided in `rows`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from sememe.errors import ReadError
from sememe.sources.decode import Encoding, detect, lines_of
from sememe.sources.formats import BY_NAME
from sememe.sources.rows import (
    SAMPLE_ROWS,
    Row,
    RowReader,
    layout_of,
    missing_columns,
    refused,
    table_blocks,
    word_count,
)
from sememe.sources.source import Part, Parts, ReadOptions, Refused, Source, Unreadable
from sememe.types import Document

FORMAT = "csv"
SAMPLE = 256 * 1024
"""Characters from which the dialect and the columns are told."""
LONGEST_ROW = 32_000_000
"""Characters: a quote that is never closed would take the rest of the file."""
MOST_COLUMNS = 10_000
LONGEST_COLUMN_NAME = 64

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_BOOLEANS = {"true": True, "false": False}

Convert = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How lines become cells."""

    delimiter: str
    quoting: bool = True
    escape: str | None = None

    def rows(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """The rows of these lines. Raises csv.Error for a cell that is too long, and goes on behind it."""
        # The limit is one for the whole process, and its default is shorter than many a document.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
        return csv.reader(
            lines, delimiter=self.delimiter, quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
            escapechar=self.escape,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Table:
    """What the sample says of a file."""

    encoding: Encoding
    dialect: Dialect
    columns: list[str]
    converts: list[Convert]
    has_header: bool
    sample: list[Row]

    @property
    def media_type(self) -> str:
        return "text/tab-separated-values" if self.dialect.delimiter == "\t" else "text/csv"

    def row(self, cells: Sequence[str]) -> dict[str, Any]:
        """The row as column → value; cells beyond the last column are named by their number."""
        named = {
            column: convert(cell)
            for column, convert, cell in zip(self.columns, self.converts, cells, strict=False)
            if cell
        }
        for number, cell in enumerate(cells[len(self.columns) : MOST_COLUMNS], start=len(self.columns) + 1):
            if cell:
                named[f"column {number}"] = cell
        return named


def read(source: Source, key: str, options: ReadOptions) -> Document | Parts | Refused:
    """The rows as documents; one document where no column is text, because such rows mean something only together."""
    with source.open() as file:
        table = _examined(source, file, options)
    if isinstance(table, Refused):
        return table
    layout = layout_of(table.sample, options)
    reader, media_type = BY_NAME[FORMAT].reader(options), table.media_type
    remarks = [table.encoding.remark] if table.encoding.remark else []
    metadata = {} if table.encoding.codec == "utf-8" else {"encoding": table.encoding.codec}
    if layout is not None:
        rows = RowReader(FORMAT, layout, options)
        return Parts(reader, media_type, _parts(source, table, rows, remarks), metadata, remarks)
    blocks = table_blocks(table.columns, _whole_rows(source, table, remarks))
    return Document(key=key, blocks=blocks, reader=reader, media_type=media_type, metadata=metadata, remarks=remarks)


def _examined(source: Source, file: BinaryIO, options: ReadOptions) -> _Table | Refused:
    """The dialect, header and types of the file, from its first rows."""
    encoding = detect(file, cookie=False)
    if encoding is None:
        return refused(source, "binary file (no known encoding makes it text)")
    lines, whole = _sample(file, encoding)
    if not any(line.strip() for line in lines):
        return refused(source, "no text")
    if not lines[0].endswith(("\n", "\r")) and not whole:
        return refused(source, f"its first line has more than {LONGEST_ROW} characters; it is no table of rows")
    dialect = _dialect(lines, whole, source.name)
    width = lines[0].count(dialect.delimiter) + 1
    if width > MOST_COLUMNS:
        return refused(source, f"it has {width} columns; at most {MOST_COLUMNS} are read")
    rows = _rows_of(dialect, lines, whole)[: SAMPLE_ROWS + 1]
    has_header = _has_header(rows)
    columns = _column_names(rows[0]) if has_header else [f"column {n + 1}" for n in range(max(map(len, rows)))]
    missing = missing_columns(columns, options)
    if missing:
        return refused(source, missing)
    values = rows[1:] if has_header else rows
    converts = [_convert([row[at] for row in values if at < len(row) and row[at]]) for at in range(len(columns))]
    table = _Table(encoding, dialect, columns, converts, has_header, [])
    table.sample.extend(table.row(cells) for cells in values)
    return table


def _sample(file: BinaryIO, encoding: Encoding) -> tuple[list[str], bool]:
    """The first lines, blank ones at the beginning left out, and whether they are all there are."""
    lines: list[str] = []
    length = 0
    for line in lines_of(file, encoding, longest=LONGEST_ROW, newline=""):
        if lines or line.strip():
            lines.append(line)
            length += len(line)
        if length >= SAMPLE:
            return lines, False
    return lines, True


def _dialect(lines: list[str], whole: bool, name: str) -> Dialect:
    """The dialect whose rows are most alike in width."""
    order = "\t,;|" if name.lower().endswith((".tsv", ".tab")) else ",\t;|"
    head = [line[:SAMPLE] for line in lines]
    best, found = 0.0, Dialect(order[0])
    for delimiter in order:
        if delimiter not in lines[0]:
            continue
        for dialect in (Dialect(delimiter), Dialect(delimiter, escape="\\"), Dialect(delimiter, quoting=False)):
            widths = Counter(len(row) for row in _rows_of(dialect, head, whole))
            width, count = widths.most_common(1)[0] if widths else (1, 0)
            alike = count / widths.total() if width > 1 else 0.0
            if alike > best + 0.01:
                best, found = alike, dialect
    return found


def _rows_of(dialect: Dialect, lines: list[str], whole: bool) -> list[list[str]]:
    """The rows of a sample, without the last one if it may go on behind it."""
    rows: list[list[str]] = []
    reader = dialect.rows(iter(lines))
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            continue
        if row is None:
            return rows if whole or len(rows) < 2 else rows[:-1]
        if row:
            rows.append(row)


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns."""
    first = [cell.strip() for cell in rows[0]]
    named = [cell for cell in first if cell]
    if not named or len(set(named)) < len(named) or len(first) - len(named) > 1:
        return False
    if any(len(cell) > LONGEST_COLUMN_NAME or word_count(cell) > 8 or _is_value(cell) for cell in named):
        return False
    return not any(cell and cell == row[at].strip() for row in rows[1:] for at, cell in enumerate(first[: len(row)]))


def _is_value(cell: str) -> bool:
    return bool(_FLOAT.fullmatch(cell) or _DATE.match(cell)) or cell.casefold() in _BOOLEANS


def _column_names(cells: list[str]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = " ".join(cell.split()) or f"column {number}"
        names.append(name if name not in names[-100:] else f"{name} {number}")
    return names


def _convert(values: list[str]) -> Convert:
    """What makes values of a column's cells: numbers or booleans if all of the sample are, else the strings."""
    if values and all(map(_NUMBER.fullmatch, values)):
        return lambda cell: int(cell) if _NUMBER.fullmatch(cell) else cell
    if values and all(map(_FLOAT.fullmatch, values)):
        return lambda cell: float(cell) if _FLOAT.fullmatch(cell) else cell
    if values and all(value.casefold() in _BOOLEANS for value in values):
        return lambda cell: _BOOLEANS.get(cell.casefold(), cell)
    return str


class _Bounded:
    """Lines for one row after another; a row that takes too many characters ends the file."""

    def __init__(self, lines: Iterator[str], name: str) -> None:
        self._lines = lines
        self._name = name
        self.row = 0
        self.length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.length += len(line)
        if self.length > LONGEST_ROW:
            raise ReadError(
                f"{self._name} row {self.row + 1} has more than {LONGEST_ROW} characters, perhaps behind a quote that "
                f"is not closed; what follows is not read: correct it and add it again"
            )
        return line


def _cells(source: Source, table: _Table) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The rows behind the header with their numbers from 1; an error where one cannot be told."""
    with source.open() as file:
        lines = _Bounded(lines_of(file, table.encoding, longest=LONGEST_ROW, newline=""), source.name)
        reader = table.dialect.rows(lines)
        skip = table.has_header
        while True:
            cells: list[str] | csv.Error | None
            try:
                cells = next(reader, None)
            except csv.Error as error:
                cells = error
            lines.length = 0
            if cells is None:
                return
            if isinstance(cells, list) and not any(cells):
                continue
            if skip:
                skip = False
                continue
            lines.row += 1
            yield lines.row, cells


def _whole_rows(source: Source, table: _Table, remarks: list[str]) -> Iterator[Row]:
    """The rows that can be told; how many cannot, or are of another width, is remarked at the end."""
    odd: list[int] = []
    broken = count = 0
    for number, cells in _cells(source, table):
        if isinstance(cells, csv.Error):
            broken += 1
            continue
        if len(cells) != len(table.columns):
            count += 1
            odd = odd or [number]
        yield table.row(cells)
    if odd:
        remarks.append(f"{_rows(count)} not {len(table.columns)} cells, the first is row {odd[0]}")
    if broken:
        remarks.append(f"{broken} rows cannot be read")


def _rows(number: int) -> str:
    return "1 row has" if number == 1 else f"{number} rows have"


def _parts(source: Source, table: _Table, reader: RowReader, remarks: list[str]) -> Iterator[Part | Unreadable]:
    width = len(table.columns)
    odd = first = 0
    for number, cells in _cells(source, table):
        if isinstance(cells, csv.Error):
            yield Unreadable(str(number), f"the row cannot be read: {cells}", status="failed")
            continue
        if len(cells) == width:
            yield reader.part(table.row(cells), number)
            continue
        odd, first = odd + 1, first or number
        yield reader.part(table.row(cells), number, [f"it has {len(cells)} cells, the table {width} columns"])
    if odd:
        remarks.append(f"{_rows(odd)} not {width} cells, the first is row {first}")
