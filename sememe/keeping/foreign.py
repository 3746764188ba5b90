"""Vectors that others keep, as rows: an array or a FAISS index with lines of JSON beside, Chroma, LanceDB, llm.

A row is an id, a text, a vector and what else was stored with it, or the reason why it cannot be used. What the
vectors are, nobody but the user knows; `adopting` asks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sememe.errors import InputError, MissingExtra
from sememe.keeping.lines import read_array
from sememe.types import Metadata, Vectors

Kind = Literal["npy", "faiss", "chroma", "lance", "llm"]
BATCH = 1000
SQLITE_MAGIC = b"SQLite format 3\0"
TEXTS, IDS = ("text", "content", "document", "chunk", "page_content"), ("id", "_id", "key", "uuid")


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a row are its text, its id and its vector; found by the usual names where they are not said."""

    text: str | None = None
    id: str | None = None
    vector: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `trouble` says why it cannot be used; its vector is None then."""

    id: str | None
    text: str
    vector: Vectors | None
    metadata: Metadata = field(default_factory=dict)
    title: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that come one after the other, how many there are, and their dimensions.

    `coded`: the vectors are made again from shorter codes, more or less like those that were put in.
    """

    name: str
    rows: Iterator[Row]
    count: int
    dim: int
    coded: bool = False


def kind_of(path: Path) -> Kind | None:
    """What a path is, None when it is nothing of others that we read."""
    if path.is_dir():
        if (path / "chroma.sqlite3").exists():
            return "chroma"
        return "lance" if path.suffix == ".lance" or any(path.glob("*.lance")) else None
    if path.suffix == ".npy":
        return "npy"
    if path.suffix in (".faiss", ".index"):
        return "faiss"
    if path.is_file():
        with path.open("rb") as file:
            return "llm" if file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC else None
    return None


def open_source(
    path: Path, kind: Kind, *, texts: Path | None = None, name: str | None = None, fields: Fields | None = None
) -> Source:
    """The rows of a source. `texts` are the lines beside an array or an index, `name` is a table or collection.

    Raises InputError when it cannot be read, and MissingExtra when a library for it is missing.
    """
    fields = fields or Fields()
    if kind in ("npy", "faiss"):
        if texts is None:
            raise InputError(f"{path} holds vectors alone; name the file with their texts with --texts FILE.jsonl")
        return (_npy if kind == "npy" else _faiss)(path, texts, fields)
    opener = {"chroma": _chroma, "lance": _lance, "llm": _llm}[kind]
    return opener(path, name, fields)


# --- an array or an index, with lines of JSON ----------------------------------------------------------------


def _npy(path: Path, texts: Path, fields: Fields) -> Source:
    vectors = read_array(path)
    rows = _with_lines(path, texts, len(vectors), lambda start, end: vectors[start:end], fields)
    return Source(path.name, rows, *vectors.shape)


def _faiss(path: Path, texts: Path, fields: Fields) -> Source:
    import faiss

    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as a FAISS index ({_first_line(error)}); check the file") from error
    ids: Sequence[int] | None = None
    # What lies inside of an index is freed with it, so that it has to live as long as the rows are read.
    owner = index
    if isinstance(index, faiss.IndexIDMap):
        ids = faiss.vector_to_array(index.id_map).tolist()
        index = faiss.downcast_index(index.index)
    try:
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
        if index.ntotal:
            index.reconstruct_n(0, 1)
    except (RuntimeError, AttributeError) as error:
        raise InputError(
            f"{path} ({type(index).__name__}) keeps codes that no vector can be made of again ({_first_line(error)}); "
            f"import the vectors it was made of, as an .npy"
        ) from error

    def vectors(start: int, end: int) -> Any:
        return index.reconstruct_n(start, end - start) if owner is not None else None

    rows = _with_lines(path, texts, index.ntotal, vectors, fields, ids)
    whole = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    coded = not isinstance(whole, faiss.IndexFlat | faiss.IndexIVFFlat)
    return Source(path.name, rows, index.ntotal, index.d, coded)


def _first_line(error: Exception) -> str:
    """faiss says where in its source it failed before it says why."""
    return str(error).strip().splitlines()[-1].split(": ")[-1][:120]


def _with_lines(
    path: Path, texts: Path, count: int, vectors: Callable[[int, int], Any], fields: Fields,
    ids: Sequence[int] | None = None,
) -> Iterator[Row]:  # fmt: skip
    try:
        with texts.open("rb") as file:
            there = sum(1 for line in file if line.strip())
    except OSError as error:
        raise InputError(f"{texts} cannot be read ({error.strerror}); check the path") from error
    if there != count:
        raise InputError(f"{path} holds {count:,} vectors and {texts} {there:,} lines; one line belongs to one vector")
    return _zipped(texts, count, vectors, fields, ids)


def _zipped(
    texts: Path, count: int, vectors: Callable[[int, int], Any], fields: Fields, ids: Sequence[int] | None
) -> Iterator[Row]:
    with texts.open("rb") as file:
        lines = (line for line in file if line.strip())
        for start in range(0, count, BATCH):
            batch = np.asarray(vectors(start, min(start + BATCH, count)), dtype=np.float32)
            for i, vector in enumerate(batch, start=start):
                given = None if ids is None else ids[i]
                try:
                    found = json.loads(next(lines))
                except (ValueError, RecursionError) as error:
                    yield Row(None, "", None, trouble=f"its line is not JSON in UTF-8 ({error})")
                    continue
                yield _row({"text": found} if isinstance(found, str) else found, vector, fields, given)


def _row(found: object, vector: Vectors | None, fields: Fields, given: int | None = None) -> Row:
    """A row of names and values: those that are neither id, text, title nor metadata are metadata too."""
    if not isinstance(found, Mapping):
        return Row(None, "", None, trouble=f"it is a {type(found).__name__}, not an object with a text")
    rest = dict(found)
    text = _taken(rest, (fields.text,) if fields.text else TEXTS)
    key = _taken(rest, (fields.id,) if fields.id else IDS)
    title = rest.pop("title", None)
    inner = rest.pop("metadata", None)
    metadata = plain(
        {**rest, **(inner if isinstance(inner, Mapping) else {} if inner is None else {"metadata": inner})}
    )
    name = None if key is None else str(key)
    if given is not None and name is not None and name != str(given):
        return Row(name, "", None, trouble=f"its line has id {name}, the index {given}: they do not belong together")
    if text is not None and not isinstance(text, str):
        return Row(name, "", None, trouble=f"its text is a {type(text).__name__}, not a string")
    return Row(name if given is None else str(given), text or "", vector, metadata, str(title or ""))


def _taken(row: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row.pop(name)
    return None


def plain(value: Any) -> Any:
    """A value as JSON can hold it: moments as text, numbers that are none as null, bytes by their length."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | bool) or value is None else str(value)


# --- Chroma --------------------------------------------------------------------------------------------------


def _chroma(path: Path, name: str | None, _: Fields) -> Source:
    """A persistent folder, through Chroma's own library: part of its files is pickled, which we do not read."""
    try:
        chromadb = import_module("chromadb")
    except ImportError as error:
        raise MissingExtra("chroma", f"{path} is a folder of Chroma; reading it") from error
    client = chromadb.PersistentClient(str(path), settings=chromadb.Settings(anonymized_telemetry=False))
    try:
        chosen = _one_of(path, "collections", [found.name for found in client.list_collections()], name)
        collection = client.get_collection(chosen, embedding_function=None)
        count = collection.count()
        first = collection.get(limit=1, include=["embeddings"])["embeddings"]
    except chromadb.errors.ChromaError as error:
        raise InputError(f"{path} cannot be read by Chroma ({error}); check the folder") from error
    return Source(chosen, _chroma_rows(collection, count), count, len(first[0]) if count else 0)


def _chroma_rows(collection: Any, count: int) -> Iterator[Row]:
    for start in range(0, count, BATCH):
        found = collection.get(limit=BATCH, offset=start, include=["embeddings", "documents", "metadatas"])
        parts = (found["ids"], found["embeddings"], found["documents"], found["metadatas"])
        for key, vector, text, metadata in zip(*parts, strict=True):
            yield Row(key, text or "", np.asarray(vector, dtype=np.float32), plain(metadata or {}))


# --- LanceDB -------------------------------------------------------------------------------------------------


def _lance(path: Path, name: str | None, fields: Fields) -> Source:
    try:
        lance, arrow = import_module("lance"), import_module("pyarrow")
    except ImportError as error:
        raise MissingExtra("lance", f"{path} is a table of LanceDB; reading it") from error
    if path.suffix != ".lance":
        tables = sorted(found.stem for found in path.glob("*.lance"))
        path = path / f"{_one_of(path, 'tables', tables, name)}.lance"
    try:
        table = lance.dataset(str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table of LanceDB ({error}); check the folder") from error
    lists = [f.name for f in table.schema if arrow.types.is_fixed_size_list(f.type)]
    column = _one_of(path, "columns of vectors", lists, fields.vector, option="--vector-field")
    return Source(
        path.stem, _lance_rows(table, column, fields), table.count_rows(), table.schema.field(column).type.list_size
    )


def _lance_rows(table: Any, column: str, fields: Fields) -> Iterator[Row]:
    for batch in table.to_batches(batch_size=BATCH):
        place = batch.schema.get_field_index(column)
        whole = batch.column(place)
        # `flatten` leaves out the values of rows that have none.
        vectors = iter(whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, whole.type.list_size))
        there = whole.is_valid().to_pylist()
        for row, valid in zip(batch.remove_column(place).to_pylist(), there, strict=True):
            yield _row(row, np.asarray(next(vectors), dtype=np.float32) if valid else None, fields)


# --- llm -----------------------------------------------------------------------------------------------------


def _llm(path: Path, name: str | None, _: Fields) -> Source:
    """The database of the command `llm embed`: vectors are little-endian float32 (llm.datasette.io, "storage")."""
    import apsw

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows = connection.execute("SELECT name, id FROM collections").fetchall()
        found = {str(name): int(number or 0) for name, number in rows}
        chosen = _one_of(path, "collections", sorted(found), name)
        ((count, size),) = connection.execute(
            "SELECT count(*), coalesce(max(length(embedding)), 0) FROM embeddings WHERE collection_id = ?",
            (found[chosen],),
        )
    except apsw.Error as error:
        raise InputError(f"{path} is no database of llm's embeddings ({error}); check the file") from error
    return Source(chosen, _llm_rows(connection, found[chosen]), count, size // 4)


def _llm_rows(connection: Any, collection: int) -> Iterator[Row]:
    for key, blob, content, metadata in connection.execute(
        "SELECT id, embedding, content, metadata FROM embeddings WHERE collection_id = ? ORDER BY id", (collection,)
    ):
        vector = np.frombuffer(blob, dtype="<f4") if blob is not None and len(blob) % 4 == 0 else None
        try:
            fields = json.loads(metadata) if metadata else {}
        except ValueError:
            fields = {"metadata": metadata}
        yield Row(str(key), content or "", vector, plain(fields if isinstance(fields, dict) else {"metadata": fields}))


def _one_of(path: Path, what: str, found: list[str], name: str | None, *, option: str = "--name") -> str:
    if name is not None and name in found:
        return name
    if name is None and len(found) == 1:
        return found[0]
    listed = f"its {what} are {', '.join(found[:8])}" if found else f"it has no {what}"
    raise InputError(
        f"{path}: {listed}" + (f", and {name!r} is none of them" if name else "") + f"; say which: {option}"
    )
