"""Exports as Parquet: a folder of tables and `space.json`, each row numbered by its document.

`documents.parquet` holds a row a document with its ledger row beside it, `texts.parquet` the parts of its text,
`places.parquet` where in its source they were, `chunks.parquet` a row a chunk with `vector` as a list of `dim` float32,
`beside.parquet` their vectors in further spaces, `inputs.parquet` what gave no document, `containers.parquet` the files
that hold many documents. Through pyarrow, which the extra `parquet` brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import InputError, MissingExtra
from sememe.keeping.entries import Entry

DOCUMENTS, TEXTS, CHUNKS, INPUTS = "documents.parquet", "texts.parquet", "chunks.parquet", "inputs.parquet"
CONTAINERS, PLACES, BESIDE = "containers.parquet", "places.parquet", "beside.parquet"
"""Exports of before have none of these."""
SPACE = "space.json"
ROWS = 2048
JSON_FIELDS = frozenset({"metadata", "recipe", "headings", "truncated", "remarks", "layers", "outside"})
"""Fields whose shape differs from row to row, as JSON."""


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtra("parquet", "reading and writing Parquet") from error


def _schemas(pa: Any, dim: int) -> dict[str, Any]:
    text, whole = pa.string(), pa.int64()
    ledger = {
        "status": text, "reason": text, "retryable": pa.bool_(), "chunks": whole, "tokens": whole, "truncated": text,
        "remarks": text, "origin": text,
    }  # fmt: skip
    fields = {
        DOCUMENTS: {
            "document": whole, "id": text, "origin": text, "digest": text, "size": whole, "mtime_ns": whole,
            "title": text, "media_type": text, "metadata": text, "recipe": text, "precision": text,
            "characters": whole, "chunks": whole, "added": pa.float64(), "layers": text, "places": whole,
            **{f"input_{name}": kind for name, kind in ledger.items()},
        },
        TEXTS: {"document": whole, "start": whole, "text": text, "crc": whole},
        CHUNKS: {
            "document": whole, "position": whole, "start": whole, "end": whole, "headings": text, "input": text,
            "tokens": whole, "kept": whole, "crc": whole, "vector": pa.list_(pa.float32(), dim),
        },
        BESIDE: {
            "document": whole, "space": text, "position": whole, "input": text, "tokens": whole, "kept": whole,
            "crc": whole, "blob": pa.binary(),
        },
        PLACES: {"document": whole, "start": whole, "place": text},
        INPUTS: {"id": text, **ledger},
        CONTAINERS: {
            "id": text, "digest": text, "size": whole, "mtime_ns": whole, "recipe": text, "documents": whole,
            "settled": pa.bool_(), "added": pa.float64(), "outside": text,
        },
    }  # fmt: skip
    return {name: pa.schema(list(columns.items())) for name, columns in fields.items()}


class _Table:
    """Rows on their way into one file, some thousands at a time."""

    def __init__(self, pa: Any, writer: Any, schema: Any) -> None:
        self._pa, self._writer, self._schema = pa, writer, schema
        self._rows: list[Entry] = []

    def add(self, row: Entry) -> None:
        self._rows.append({k: json.dumps(v) if k in JSON_FIELDS else v for k, v in _flat(row).items()})
        if len(self._rows) >= ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = [self._column(field) for field in self._schema]
            self._writer.write_table(self._pa.Table.from_arrays(columns, schema=self._schema))
            self._rows = []

    def _column(self, field: Any) -> Any:
        if field.name == "vector":
            flat = np.frombuffer(b"".join(row["vector"] for row in self._rows), dtype="<f4")
            return self._pa.FixedSizeListArray.from_arrays(self._pa.array(flat), field.type.list_size)
        return self._pa.array([row[field.name] for row in self._rows], type=field.type)


def _flat(row: Entry) -> Entry:
    return {name.removeprefix("input_") if name == "input_id" else name: value for name, value in row.items()}


def write(folder: Path, stream: Iterator[Entry]) -> Iterator[Entry]:
    """Write the entries of a stream to a folder, passing them on. Raises MissingExtra."""
    pa, pq = _pyarrow()
    folder.mkdir(parents=True)
    first = next(stream)
    (folder / SPACE).write_text(json.dumps(first) + "\n", encoding="utf-8")
    yield first
    with ExitStack() as open_files:
        tables = {
            name: _Table(
                pa, open_files.enter_context(pq.ParquetWriter(folder / name, schema, compression="zstd")), schema
            )
            for name, schema in _schemas(pa, first["space"]["dim"]).items()
        }
        numbered = {"text": TEXTS, "place": PLACES, "chunk": CHUNKS, "beside": BESIDE}
        document: Entry | None = None
        number = -1
        for entry in stream:
            fields = {name: value for name, value in entry.items() if name != "kind"}
            if entry["kind"] == "document":
                number, document = number + 1, fields
            elif entry["kind"] in numbered:
                tables[numbered[entry["kind"]]].add({"document": number, **fields})
            elif entry["kind"] == "container":
                tables[CONTAINERS].add(fields)
            elif entry["kind"] == "input" and document is not None and document["id"] == fields["id"]:
                inner = {f"input_{k}": json.dumps(v) if k in JSON_FIELDS else v for k, v in fields.items() if k != "id"}
                tables[DOCUMENTS].add({"document": number, **document, **inner})
                document = None
            elif entry["kind"] == "input":
                tables[INPUTS].add(fields)
            yield entry
        for table in tables.values():
            table.flush()


def read(folder: Path) -> Iterator[Entry]:
    """The entries of a folder, in the order in which they were written. Raises InputError and MissingExtra."""
    pa, pq = _pyarrow()
    try:
        yield json.loads((folder / SPACE).read_text(encoding="utf-8"))
        with ExitStack() as open_files:
            files = {
                name: open_files.enter_context(pq.ParquetFile(folder / name))
                for name in (DOCUMENTS, TEXTS, PLACES, CHUNKS, BESIDE, INPUTS, CONTAINERS)
                if name in (DOCUMENTS, TEXTS, CHUNKS, INPUTS) or (folder / name).exists()
            }
            for row in _rows(files.get(CONTAINERS)):
                yield {"kind": "container", **row}
            texts, chunks = _Peeked(_rows(files[TEXTS])), _Peeked(_chunk_rows(files[CHUNKS]))
            places, beside = _Peeked(_rows(files.get(PLACES))), _Peeked(_rows(files.get(BESIDE)))
            for row in _rows(files[DOCUMENTS]):
                ledger = {k.removeprefix("input_"): row.pop(k) for k in list(row) if k.startswith("input_")}
                number = row.pop("document")
                yield {"kind": "document", **row}
                for part in texts.of(number):
                    yield {"kind": "text", **part}
                for place in places.of(number):
                    yield {"kind": "place", **place}
                for chunk in chunks.of(number):
                    yield {"kind": "chunk", **chunk}
                for other in beside.of(number):
                    yield {"kind": "beside", **other}
                yield {"kind": "input", "id": row["id"], **_unpacked(ledger)}
            for row in _rows(files[INPUTS]):
                yield {"kind": "input", **row}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(
            f"{folder} cannot be read as an export in Parquet ({error}); what came before is stored: export it again"
        ) from error
    yield {"kind": "end"}


class _Peeked:
    """Rows that come sorted by document, taken document by document."""

    def __init__(self, rows: Iterator[Entry]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, document: int) -> Iterator[Entry]:
        while self._next is not None and self._next["document"] == document:
            row, self._next = self._next, next(self._rows, None)
            row.pop("document")
            yield row


def _unpacked(row: Entry) -> Entry:
    return {k: json.loads(v) if k in JSON_FIELDS else v for k, v in row.items()}


def _rows(file: Any | None) -> Iterator[Entry]:
    for batch in () if file is None else file.iter_batches(batch_size=ROWS):
        for row in batch.to_pylist():
            yield _unpacked(row)


def _chunk_rows(file: Any) -> Iterator[Entry]:
    """Chunks, whose vectors are taken as bytes: a list of Python floats would be twenty times as large."""
    for batch in file.iter_batches(batch_size=ROWS):
        place = batch.schema.get_field_index("vector")
        column = batch.column(place)
        vectors = column.flatten().to_numpy(zero_copy_only=False).astype("<f4").reshape(len(column), -1)
        for row, vector in zip(batch.remove_column(place).to_pylist(), vectors, strict=True):
            yield {**_unpacked(row), "vector": vector.tobytes()}
