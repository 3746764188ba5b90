"""Rows → documents: which columns are text, which name a row, and which are metadata.

The rule where nobody says: a column is text if at least half of its values in the sample have six words or more; if
none is, a column that is called text, body, content, description, summary, abstract, message or comment and holds
strings. A column called title, name, headline or subject is the title; one called id, key, uuid or guid, with
another value in every row of the sample, names the row; the others are metadata. Without any text the rows make one
document, a table. Knows columns and values; knows nothing of the formats that they come from.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from sememe.sources.formats import BY_NAME
from sememe.sources.source import Part, Read, ReadOptions, Refused, Source, Unreadable
from sememe.types import Block, Document

Row: TypeAlias = Mapping[str, Any]

SAMPLE_ROWS = 200
WORDS = 6
PIECE = 48 * 1024
LONGEST_NAME = 200
LONGEST_HEADER = 160
"""Characters; the columns of a wider table are named in each of its rows."""
DEEPEST = 32

TITLES = ("title", "headline", "subject", "name")
IDS = ("id", "_id", "uuid", "guid", "key")
TEXTS = ("text", "body", "content", "description", "summary", "abstract", "message", "comment")

_WORD = re.compile(r"""(?<!\S)["'(\[“‘]*[^\W\d_][\w'’-]*[.,;:!?)\]"'”’]*(?!\S)""")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a table are; those that are not named are metadata."""

    text: tuple[str, ...]
    title: str = ""
    id: str = ""


def layout_of(sample: Sequence[Row], options: ReadOptions, *, id: str = "") -> Layout | None:
    """The layout of rows like these, or None when no column is text. `id` is the column that is known to be unique."""
    columns = list(dict.fromkeys(column for row in sample for column in row))
    values = {column: [row[column] for row in sample if row.get(column) not in (None, "")] for column in columns}
    title = options.title or _named(columns, TITLES, lambda column: _are_strings(values[column]))
    name = options.id or id or _named(columns, IDS, lambda column: _are_names(values[column], len(sample)))
    free = [column for column in columns if column not in (title, name)]
    text = options.text or tuple(column for column in free if _is_prose(values[column]))
    if not text:
        text = tuple(column for column in free if column.casefold() in TEXTS and _are_strings(values[column]))[:1]
    if not text and title and _is_prose(values.get(title, [])):
        text, title = (title,), ""
    return Layout(text, title, name) if text else None


def missing_columns(columns: Iterable[str], options: ReadOptions) -> str:
    """Why these options cannot be followed, or nothing: the columns that are named and not there."""
    there = list(columns)
    missing = [column for column in (*options.text, options.title, options.id) if column and column not in there]
    if not missing:
        return ""
    shown = ", ".join(there[:20]) + (" …" if len(there) > 20 else "")
    return f"there is no column {' or '.join(map(repr, missing))}; it has {shown}"


def word_count(text: str) -> int:
    """Words of letters; in scripts without spaces, two characters count as one."""
    text = text[:4000]
    return sum(1 for _ in _WORD.finditer(text)) + sum(1 for _ in _UNSPACED.finditer(text)) // 2


def _named(columns: Sequence[str], names: Sequence[str], fits: Callable[[str], bool]) -> str:
    by_name = {column.casefold().strip(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name and fits(by_name[name])), "")


def _are_strings(values: Sequence[object]) -> bool:
    return bool(values) and sum(isinstance(value, str) for value in values) * 2 >= len(values)


def _are_names(values: Sequence[object], rows: int) -> bool:
    simple = [value for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
    return (
        len(simple) == rows and len(set(map(str, simple))) == rows and all(len(str(v)) <= LONGEST_NAME for v in simple)
    )


def _is_prose(values: Sequence[object]) -> bool:
    prose = sum(isinstance(value, str) and word_count(value) >= WORDS for value in values)
    return bool(values) and prose * 2 >= len(values)


def clean(value: Any, depth: int = 0) -> Any:
    """A value as JSON can hold it: dates in ISO 8601, no NaN, no lone surrogates, no bytes."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return clean(int(value) if value.is_finite() and value == value.to_integral_value() else float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    if depth >= DEEPEST:
        return clean(str(value))
    if isinstance(value, Mapping):
        return {clean(str(name)): clean(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [clean(inner, depth + 1) for inner in value]
    return clean(str(value))


class Names:
    """Tells names that were there before, in bounded memory: what does not fit goes to a temporary file."""

    def __init__(self) -> None:
        self._database = apsw.Connection("")
        self._database.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000; BEGIN")
        self._database.execute("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID")

    def unique(self, name: str, number: int) -> str:
        """The name, with the row's number if another row had it."""
        while self._seen(name):
            name = f"{name}#{number}"
        return name

    def _seen(self, name: str) -> bool:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:10]
        self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,))
        return not self._database.changes()


def name_of(value: object, number: int) -> str:
    """What a part is called after its id: in one line, not too long, and never empty."""
    name = _UNFIT.sub(" ", str(value)).strip() if value not in (None, "") else ""
    if len(name) > LONGEST_NAME:
        return hashlib.sha256(name.encode()).hexdigest()[:32]
    return name or str(number)


@dataclass(slots=True)
class RowReader:
    """Makes parts of rows. `form` is the name of their format."""

    form: str
    layout: Layout
    options: ReadOptions
    prefix: str = ""
    """Before the names of all rows: a table's name and a slash, where a file has several."""
    names: Names = field(default_factory=Names)
    reader: str = ""

    def __post_init__(self) -> None:
        self.reader = BY_NAME[self.form].reader(self.options)

    def part(self, row: Row, number: int, remarks: Sequence[str] = ()) -> Part | Unreadable:
        """The row as a part; one without text is unreadable, with the reason."""
        layout, name = self.layout, self.prefix + str(number)
        if layout.id:
            name = self.names.unique(self.prefix + name_of(row.get(layout.id), number), number)
        if not any(_shown(row.get(column)) for column in (*layout.text, layout.title)):
            return Unreadable(name, f"no text in {', '.join(layout.text)}")
        whole = [self.reader, layout.text, layout.title, layout.id, row, remarks]
        content = json.dumps(whole, ensure_ascii=True, default=_plain, skipkeys=True)
        return Part(name, hashlib.sha256(content.encode()).digest(), lambda key: self._open(key, row, name, remarks))

    def _open(self, key: str, row: Row, name: str, remarks: Sequence[str]) -> Read:
        layout = self.layout
        used = {*layout.text, layout.title, layout.id}
        return Document(
            key=key,
            blocks=row_blocks(row, layout, place=f"row {name}"),
            reader=self.reader,
            title=" ".join(_shown(row.get(layout.title)).split()) or name,
            media_type=BY_NAME[self.form].media_type,
            metadata={
                clean(column): cleaned
                for column, value in row.items()
                if column not in used and (cleaned := clean(value)) not in (None, "")
            },
            remarks=list(remarks),
        )


def row_blocks(row: Row, layout: Layout, *, place: str) -> Iterator[Block]:
    """The title as a heading, then each text; where there are several texts, each after its column's name."""
    title = _shown(row.get(layout.title)) if layout.title else ""
    if title:
        yield Block(f"{title}\n\n", 1, " ".join(title.split())[:PIECE], place)
    texts = [(column, _shown(row.get(column))) for column in layout.text]
    for column, text in texts:
        if not text:
            continue
        where = f"{place}, {clean(column)}" if len(texts) > 1 else place
        text = f"{clean(column)}: {text}\n\n" if len(texts) > 1 else text
        for start in range(0, len(text), PIECE):
            yield Block(text[start : start + PIECE], place=where)


def table_blocks(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[Block]:
    """Rows as paragraphs of a line. The columns' names stand above, and every chunk repeats them, or in each line."""
    names = [_line(column) for column in columns]
    header = " | ".join(names)
    named = len(header) > LONGEST_HEADER
    if not named:
        yield Block(f"{header}\n\n", 1, header)
    for number, row in enumerate(rows, start=1):
        cells = [_line(row.get(column)) for column in columns]
        if named:
            line = "; ".join(f"{name}: {cell}" for name, cell in zip(names, cells, strict=True) if cell)
        else:
            line = " | ".join(cells)
        for start in range(0, len(line) + 2, PIECE):
            yield Block(f"{line}\n\n"[start : start + PIECE], place=f"row {number}")


def refused(source: Source, reason: str) -> Refused:
    """That a source gives no document, which is no fault of the moment."""
    return Refused(source.path or Path(source.name), reason)


def _shown(value: object) -> str:
    """A cell as text: strings as they are, lists line by line, everything else as JSON."""
    value = clean(value)
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, list) and all(isinstance(inner, str) for inner in value):
        return "\n".join(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _line(value: object) -> str:
    return " ".join(_shown(value).split())


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)
