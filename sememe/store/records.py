"""The values that go into and come out of the truth. They know no SQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sememe.types import Metadata, Origin, Recipe


@dataclass(frozen=True, slots=True)
class SourceStamp:
    """What tells whether a source has changed: `digest` of its bytes; size and time for files only."""

    origin: Origin
    digest: bytes
    size: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """What is said of a document from outside of it: by the file beside it, and by whoever added it.

    `stamp` is the size and time of the file beside it. A value that is None takes the field away.
    """

    sidecar: Metadata = field(default_factory=dict)
    stamp: tuple[int, int] | None = None
    given: Metadata = field(default_factory=dict)

    def over(self, own: Metadata) -> dict[str, Any]:
        """The document's metadata: its own, over that its sidecar's, over that what was given."""
        said = {**self.sidecar, **self.given}
        return {name: value for name, value in {**own, **said}.items() if name not in said or value is not None}

    def title_over(self, own: str) -> str:
        """The document's title: its own, unless one is said from outside."""
        said = self.over({}).get("title")
        return said if isinstance(said, str) and said.strip() else own


NOTHING = Outside()
"""Most documents have only what is their own."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Metadata and title of a document before anything from outside, and that."""

    own: Metadata
    title: str
    outside: Outside

    @property
    def metadata(self) -> dict[str, Any]:
        """What the document's metadata is altogether."""
        return self.outside.over(self.own)

    def to_json(self) -> str:
        """Empty when nothing comes from outside: the document's metadata is its own then."""
        return "" if self.outside == NOTHING else json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, *, metadata: Metadata, title: str) -> Layers:
        """The inverse of `to_json`, for a document with this metadata and title."""
        raw: dict[str, Any] = json.loads(text) if text else {"own": metadata, "title": title}
        return cls(raw["own"], raw["title"], outside_of(text))


def outside_of(text: str) -> Outside:
    """What `Layers.to_json` has written of the outside, whatever else is there."""
    if not text:
        return NOTHING
    said = json.loads(text)["outside"]
    stamp = said["stamp"]
    return Outside(said["sidecar"], None if stamp is None else (stamp[0], stamp[1]), said["given"])


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document about to be written. `metadata` and `title` are its own, before what is said from `outside`."""

    key: str
    stamp: SourceStamp
    recipe: Recipe
    precision: str
    title: str = ""
    media_type: str = "text/plain"
    metadata: Metadata = field(default_factory=dict)
    outside: Outside = NOTHING


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What a sync needs to know of a document that is there, or of a file that holds many.

    Of such a file `documents` says how many; it is None for a document. One that is not `settled` has to be read
    again although it did not change: it was not read to its end, or a part of it may be readable now.
    """

    id: int
    key: str
    stamp: SourceStamp
    recipe: Recipe
    added: float
    documents: int | None = None
    settled: bool = True
    outside: Outside = NOTHING


@dataclass(frozen=True, slots=True)
class StoredContainer:
    """All that is remembered of a file of many documents: its stamp, how it was read, how many of them are stored.

    `digest` is empty while it is read for the first time, and `added` is in seconds since 1970.
    """

    key: str
    digest: bytes
    size: int | None
    mtime_ns: int | None
    recipe: Recipe
    documents: int
    settled: bool
    added: float
    outside: Outside


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk about to be written; `vector` is the id of a row that exists."""

    position: int
    start: int
    end: int
    headings: tuple[str, ...]
    vector: int


@dataclass(frozen=True, slots=True)
class WholeDocument:
    """A document about to be written at once; `texts` are its pieces, each with the character it starts at, `places`
    where in its source the text from a character on was."""

    about: NewDocument
    characters: int
    texts: Sequence[tuple[int, str]]
    chunks: Sequence[NewChunk]
    places: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class CachedVector:
    """An input that was embedded before."""

    id: int
    tokens: int
    kept: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk with its text, as it is read back."""

    id: int
    document: int
    position: int
    start: int
    end: int
    headings: tuple[str, ...]
    text: str
    tokens: int
    kept: int
    place: str = ""


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk with its text, and what a hit says of its document."""

    id: int
    position: int
    start: int
    end: int
    headings: tuple[str, ...]
    text: str
    key: str
    title: str
    metadata: Metadata
    place: str


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document without its text, as it is read back."""

    id: int
    key: str
    title: str
    media_type: str
    metadata: Metadata
    recipe: Recipe
    precision: str
    stamp: SourceStamp
    characters: int
    chunks: int
    added: float


@dataclass(frozen=True, slots=True)
class Totals:
    """What a collection holds, and how its inputs ended."""

    documents: int
    chunks: int
    tokens: int
    characters: int
    statuses: dict[str, int]
    last_run: dict[str, object]


@dataclass(frozen=True, slots=True)
class Moved:
    """A chunk as it is carried elsewhere: its place, the digest of its input, and its vector's bytes (float32)."""

    id: int
    position: int
    start: int
    end: int
    headings: tuple[str, ...]
    input: bytes
    tokens: int
    kept: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class Beside:
    """The vector of a chunk in a further space, as it is carried elsewhere: as it is stored."""

    position: int
    input: bytes
    tokens: int
    kept: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class BackupRow:
    """A backup that was taken: where, of which change, when (seconds since 1970), and the digest of its files."""

    path: str
    seq: int
    at: float
    digest: str


@dataclass(frozen=True, slots=True)
class ForgetRow:
    """A forget that is under way (`finished` is None) or done. `marks` and `targets` hold digests only."""

    id: int
    started: float
    finished: float | None
    salt: bytes
    marks: bytes
    targets: str
    receipt: str


KEY_BYTES = 16


def key_digest(key: str) -> bytes:
    """What is kept of a key that is no more, enough to know it again: the first half of its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[:KEY_BYTES]
