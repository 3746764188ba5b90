"""Parquet files → rows, one batch of a row group after another, with the types that the file declares.

Dates and times become ISO 8601 strings, lists and structs stay lists and objects, binary columns are left out. A file
without a column of text is one document. Knows Parquet through pyarrow, the extra `parquet`; what columns mean is
decided in `rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sememe.errors import ReadError
from sememe.sources.formats import BY_NAME
from sememe.sources.rows import SAMPLE_ROWS, Row, RowReader, clean, layout_of, missing_columns, refused, table_blocks
from sememe.sources.source import Part, Parts, ReadOptions, Refused, Source, Unreadable
from sememe.types import Document

FORMAT = BY_NAME["parquet"]
BATCH_ROWS = 1024
MOST_COLUMNS = 10_000
LARGEST_COLUMN = 1 << 30
"""Bytes of one column in one row group, uncompressed: pyarrow may hold as much."""


def read(source: Source, key: str, options: ReadOptions) -> Document | Parts | Refused:
    """The rows as documents, or one document."""
    pyarrow, _ = _libraries()
    try:
        with source.open() as file:
            return _read(source, key, file, options)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        return refused(source, f"not a sound Parquet file: {_first_line(error)}")


def _read(source: Source, key: str, file: Any, options: ReadOptions) -> Document | Parts | Refused:
    _, parquet = _libraries()
    with parquet.ParquetFile(file) as table:
        columns, left_out, reason = _columns(table)
        reason = reason or missing_columns(columns, options)
        if reason:
            return refused(source, reason)
        sample = list(islice(_rows(table, columns), SAMPLE_ROWS))
    if not sample:
        return refused(source, "a table without rows")
    remarks = [f"binary columns left out: {', '.join(left_out)}"] if left_out else []
    layout = layout_of(sample, options)
    reader, media_type = FORMAT.reader(options), FORMAT.media_type
    if layout is None:
        return Document(
            key, table_blocks(columns, _stream(source, columns)), reader, media_type=media_type, remarks=remarks
        )
    rows = RowReader(FORMAT.name, layout, options)
    return Parts(reader, media_type, _parts(source, columns, rows), remarks=remarks)


def _libraries() -> tuple[Any, Any]:
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet


def _columns(table: Any) -> tuple[list[str], list[str], str]:
    """The columns to read, those to leave out, and why the file cannot be read, if it cannot."""
    pyarrow, _ = _libraries()
    if len(table.schema_arrow) > MOST_COLUMNS:
        return [], [], f"it has {len(table.schema_arrow)} columns; at most {MOST_COLUMNS} are read"
    binary = [field.name for field in table.schema_arrow if _is_binary(pyarrow, field.type)]
    for group in map(table.metadata.row_group, range(table.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, size = column.path_in_schema, column.total_uncompressed_size
            if size > LARGEST_COLUMN and name.split(".")[0] not in binary:
                return [], [], f"column {name} of a row group has {size} bytes; at most {LARGEST_COLUMN} are read"
    names = list(dict.fromkeys(field.name for field in table.schema_arrow if field.name not in binary))
    return names, binary, "" if names else "every column is binary"


def _is_binary(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _rows(table: Any, columns: list[str]) -> Iterator[Row]:
    for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
        for row in batch.to_pylist():
            yield {column: clean(value) for column, value in row.items() if value is not None}


def _stream(source: Source, columns: list[str]) -> Iterator[Row]:
    pyarrow, parquet = _libraries()
    try:
        with source.open() as file, parquet.ParquetFile(file) as table:
            yield from _rows(table, columns)
    except (pyarrow.ArrowException, ValueError, OSError, OverflowError) as error:
        raise ReadError(f"{source.name} cannot be read to its end: {_first_line(error)}") from error


def _parts(source: Source, columns: list[str], reader: RowReader) -> Iterator[Part | Unreadable]:
    for number, row in enumerate(_stream(source, columns), start=1):
        yield reader.part(row, number)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
