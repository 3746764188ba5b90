"""SQLite files → rows of every table that a person made, opened so that nothing is written, not even a lock.

A row is named by its table and its primary key of one column, else its rowid. Blobs are left out, and so are views
and virtual tables; a collection of sememe is no source. A table without a column of text is one document. Knows
SQLite; what columns mean is decided in `rows`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from sememe.errors import ReadError
from sememe.sources.formats import BY_NAME
from sememe.sources.rows import (
    SAMPLE_ROWS,
    Row,
    RowReader,
    layout_of,
    missing_columns,
    name_of,
    refused,
    table_blocks,
)
from sememe.sources.source import Part, Parts, Read, ReadOptions, Refused, Source, Unreadable
from sememe.types import Block, Document

FORMAT = BY_NAME["sqlite"]
LARGEST_ROW = 64_000_000
"""Bytes; SQLite itself refuses a longer one."""
COLLECTION = 0x73656D65
"""The application id in the header of a collection's file."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table, its columns in order, the one that names its rows, and what numbers them."""

    name: str
    columns: tuple[str, ...]
    key: str
    has_rowid: bool


def read(source: Source, key: str, options: ReadOptions) -> Parts | Refused:  # noqa: ARG001 - as every reader
    """The rows of all tables, or of the one that `options.table` names, as documents."""
    try:
        with _database(source) as database:
            if database.pragma("application_id") == COLLECTION:
                return refused(source, "a collection of sememe; it is opened with --collection, not added")
            tables = _tables(database)
            remarks = _remarks(source, database, tables)
    except apsw.Error as error:
        return refused(source, f"not a sound SQLite database: {error}")
    names = [table.name for table in tables]
    if options.table and options.table not in names:
        return refused(source, f"there is no table {options.table!r}; it has {', '.join(names) or 'none'}")
    wanted = [table for table in tables if options.table in ("", table.name)]
    if not wanted:
        return refused(source, "no tables")
    return Parts(FORMAT.reader(options), FORMAT.media_type, _parts(source, wanted, options), remarks=remarks)


@contextmanager
def _database(source: Source) -> Iterator[apsw.Connection]:
    """The file, or a temporary copy of a member of one, without any way to change it or to be harmed by its schema."""
    with tempfile.TemporaryDirectory(prefix="sememe-") as folder:
        path = source.path
        if path is None:
            path = Path(folder) / "copy"
            with source.open() as file, path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        name = f"file:{urllib.parse.quote(str(path.absolute()).encode('utf-8', 'surrogateescape'))}?immutable=1"
        database = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            database.limit(apsw.SQLITE_LIMIT_LENGTH, LARGEST_ROW)
            database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            for setting in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON"):
                database.execute(f"PRAGMA {setting}")
            yield database
        finally:
            database.close(True)


def _tables(database: apsw.Connection) -> list[_Table]:
    """The tables by name, without those of SQLite and its extensions."""
    found = []
    for _, name, kind, _, without_rowid, _ in sorted(
        database.execute("PRAGMA main.table_list"), key=lambda row: row[1]
    ):
        if kind != "table" or name.startswith("sqlite_"):
            continue
        columns = list(database.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden != 1", (name,)))
        keys = [column for column, order in columns if order]
        names = tuple(column for column, _ in columns)
        hides = {"rowid", "_rowid_", "oid"} & {column.casefold() for column in names}
        found.append(_Table(name, names, keys[0] if len(keys) == 1 else "", not without_rowid and not hides))
    return found


def _remarks(source: Source, database: apsw.Connection, tables: list[_Table]) -> list[str]:
    remarks = []
    for table in tables:
        kinds = ", ".join(f"typeof({_quoted(column)})" for column in table.columns)
        rows = list(database.execute(f"SELECT {kinds} FROM {_quoted(table.name)} LIMIT {SAMPLE_ROWS}"))
        blobs = [column for at, column in enumerate(table.columns) if any(row[at] == "blob" for row in rows)]
        if blobs:
            remarks.append(f"blobs left out: {table.name}.{', '.join(blobs)}")
    log = source.path.with_name(f"{source.path.name}-wal") if source.path else None
    if log is not None and log.exists() and log.stat().st_size:
        remarks.append(f"what its program has not moved out of {log.name} yet is not read")
    return remarks


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(database: apsw.Connection, table: _Table, limit: int = -1) -> Iterator[tuple[int, Row]]:
    """Rows with their rowids, or their numbers where there are none. Text that is not valid has U+FFFD in it."""
    cells = ", ".join(
        f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) WHEN 'blob' THEN NULL ELSE {name} END"
        for name in map(_quoted, table.columns)
    )
    encoding = str(database.pragma("encoding"))
    rowid = "rowid" if table.has_rowid else "0"
    found = database.execute(f"SELECT {rowid}, {cells} FROM {_quoted(table.name)} LIMIT {limit}")
    for number, (rowid_, *values) in enumerate(found, start=1):
        texts = (value.decode(encoding, "replace") if isinstance(value, bytes) else value for value in values)
        row = {column: value for column, value in zip(table.columns, texts, strict=True) if value is not None}
        yield rowid_ if table.has_rowid else number, row


def _parts(source: Source, tables: list[_Table], options: ReadOptions) -> Iterator[Part | Unreadable]:
    try:
        with _database(source) as database:
            for table in tables:
                yield from _parts_of(source, database, table, options)
    except apsw.Error as error:
        raise ReadError(f"{source.name} cannot be read to its end: {error}; check it with its own program") from error


def _parts_of(
    source: Source, database: apsw.Connection, table: _Table, options: ReadOptions
) -> Iterator[Part | Unreadable]:
    name = name_of(table.name, 1)
    missing = missing_columns(table.columns, options)
    if missing:
        yield Unreadable(name, missing)
        return
    sample = [row for _, row in _rows(database, table, SAMPLE_ROWS)]
    if not sample:
        yield Unreadable(name, "a table without rows")
        return
    layout = layout_of(sample, options, id=table.key)
    if layout is None:
        yield _whole(source, database, table, FORMAT.reader(options))
        return
    reader = RowReader(FORMAT.name, layout, options, prefix=f"{name}/")
    for number, row in _rows(database, table):
        yield reader.part(row, number)


def _whole(source: Source, database: apsw.Connection, table: _Table, reader: str) -> Part:
    """A table without prose as one document."""
    name = name_of(table.name, 1)
    digest = hashlib.sha256(json.dumps([reader, table.name, table.columns]).encode())
    for _, row in _rows(database, table):
        digest.update(json.dumps(row).encode())

    def open_(key: str) -> Read:
        return Document(key=key, blocks=_blocks(source, table), reader=reader, title=name, media_type=FORMAT.media_type)

    return Part(name, digest.digest(), open_)


def _blocks(source: Source, table: _Table) -> Iterator[Block]:
    try:
        with _database(source) as database:
            yield from table_blocks(table.columns, (row for _, row in _rows(database, table)))
    except apsw.Error as error:
        raise ReadError(f"{source.name} cannot be read to its end: {error}; check it with its own program") from error
