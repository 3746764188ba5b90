"""Exports as lines of JSON: one file with vectors in base64, or a folder with the vectors in an `.npy` beside.

Both are written under another name and renamed when they are whole.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from sememe.errors import InputError
from sememe.keeping.entries import Entry

BYTES = frozenset({"vector", "blob"})
"""Fields that stand in base64."""

LINES, VECTORS, SPACE = "entries.jsonl", "vectors.npy", "space.json"


def write_file(path: Path, stream: Iterator[Entry]) -> Iterator[Entry]:
    """Write the entries of a stream to one file, passing them on."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for entry in stream:
            file.write(_line(entry))
            yield entry
        _sync(file)


def write_folder(folder: Path, stream: Iterator[Entry]) -> Iterator[Entry]:
    """Write the entries of a stream to a folder: `vectors.npy` holds the vectors in the order of the chunks."""
    folder.mkdir(parents=True)
    first = next(stream)
    (folder / SPACE).write_text(_line(first), encoding="utf-8")
    yield first
    header = {"descr": "<f4", "fortran_order": False, "shape": (first["chunks"], first["space"]["dim"])}
    with (folder / LINES).open("w", encoding="utf-8", newline="\n") as lines, (folder / VECTORS).open("wb") as vectors:
        np.lib.format.write_array_header_1_0(vectors, header)
        for entry in stream:
            if "vector" in entry:
                vectors.write(entry["vector"])
            lines.write(_line({name: value for name, value in entry.items() if name != "vector"}))
            yield entry
        _sync(lines)
        _sync(vectors)


def read_file(path: Path) -> Iterator[Entry]:
    """The entries of one file. Raises InputError at a line that is none."""
    return _entries(path)


def read_folder(folder: Path) -> Iterator[Entry]:
    """The entries of a folder. Raises InputError when a file is missing, or holds another number of vectors."""
    first = next(_entries(folder / SPACE))
    yield first
    vectors = read_array(folder / VECTORS)
    row = 0
    for entry in _entries(folder / LINES):
        if entry["kind"] == "chunk":
            entry["vector"] = vectors[row].astype("<f4").tobytes() if row < len(vectors) else b""
            row += 1
        yield entry
    if row != len(vectors):
        raise InputError(
            f"{folder / VECTORS} holds {len(vectors):,} vectors and {LINES} {row:,} chunks; export it again"
        )


def read_array(path: Path) -> Any:
    """An `.npy` of vectors (n, dim), mapped. Raises InputError."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array of vectors ({error}); check the file") from error
    if found.ndim != 2 or found.dtype.kind != "f":
        raise InputError(f"{path} holds {found.dtype} of shape {found.shape}; vectors are numbers of shape (n, dim)")
    return found


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a file, one a line, each with the number of its line. Raises InputError."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    found = json.loads(line)
                    if not isinstance(found, dict):
                        raise InputError(f"line {number} of {path} is no JSON object; what came before it is stored")
                    yield number, found
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f"line {max(number, 1)} of {path} is not JSON in UTF-8 ({error}); what came before it is stored: repair it "
            f"and import again"
        ) from error


def _entries(path: Path) -> Iterator[Entry]:
    for number, entry in json_lines(path):
        if not isinstance(entry.get("kind"), str):
            raise InputError(f"line {number} of {path} is no entry of an export; say what it is with --from")
        for name in BYTES.intersection(entry):
            try:
                entry[name] = base64.b64decode(entry[name], validate=True)
            except (TypeError, ValueError):
                # It will not agree with its checksum, and the document is refused by itself.
                entry[name] = b""
        yield entry


def _line(fields: Entry) -> str:
    coded = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in fields.items()
    }
    return json.dumps(coded, ensure_ascii=False) + "\n"


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
