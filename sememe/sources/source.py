"""What a reader is given, and what it gives back when a file holds many documents.

A reader is a module with `read(source, key, options) -> Document | Parts | Refused`. It knows one format; it knows
nothing of folders, chunks, models or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from sememe.types import Document, Metadata


@dataclass(frozen=True, slots=True)
class Refused:
    """A source that gave no document. "skipped" is no fault; "failed" may succeed later if `retryable`."""

    path: Path
    reason: str
    retryable: bool = False
    status: Literal["skipped", "failed"] = "skipped"


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes under a name: a file, or a member of one.

    `open` may be called more than once, and every call gives a seekable file at its beginning. `path` is the file
    on disk where there is one, for libraries that read nothing else. `depth` counts the files that it lies in.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]
    path: Path | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person may say of reading. Empty values leave the choice to the reader.

    Of rows (CSV, JSON lines, Parquet, SQLite): `text` are the columns that are embedded, `title` and `id` those that
    name a row; every other column is metadata. `table` is the one table, sheet or key to read. What changes a
    document's text is said in its reader's name, so that it is read again when it changes: `Format.reader` of the
    table of formats makes that name, and `read_source` gives it to whatever a reader hands back.
    """

    text: tuple[str, ...] = ()
    title: str = ""
    id: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the documents of a file that holds many: a row, a message, a member.

    `name` is unique in the file and, as far as the format allows, the same the next time: the document's key is
    `KEY!/NAME`. `digest` is the SHA-256 of all that the document is made from: a part whose digest is stored is not
    opened. `open(key)` reads it; it may hold parts of its own.
    """

    name: str
    digest: bytes
    open: Callable[[str], Read]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part that gives no document, with the reason; `status` and `retryable` as in the ledger."""

    name: str
    reason: str
    status: Literal["skipped", "failed"] = "skipped"
    retryable: bool = False


@dataclass(slots=True)
class Parts:
    """A file that holds many documents. `parts` can be iterated once, lazily, and is bounded in memory.

    A ReadError from it ends the file: what came before stays, and what is not reached is kept as it was stored.
    """

    reader: str
    media_type: str
    parts: Iterable[Part | Unreadable]
    metadata: Metadata = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


Read: TypeAlias = Document | Parts | Refused
