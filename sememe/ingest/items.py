"""What may be added: files under paths, and texts from Python. Each becomes an `Item` with a key and a stamp.

The key of a file is its path relative to the folder that holds the collection, so that a project can be moved or
shared together with its `.sememe`; a file outside of it has its absolute path. This file reads bytes to tell
whether they changed; what they mean is for the readers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sememe.errors import InputError
from sememe.ingest.about import NOTHING_GIVEN, About, Given, file_fields
from sememe.sources import Found, Read, ReadOptions, read_file, read_text
from sememe.sources.files import NO_CHOICE
from sememe.types import CHUNK_PREFIX, PART, Origin

ALLOWED_FIELDS = frozenset({"id", "text", "title", "metadata", "media_type"})


@dataclass(frozen=True, slots=True)
class Item:
    """One input. `digest` and `open` are called only when the item may have changed.

    `about` is where its metadata comes from besides its text; None for given texts, which bring their own.
    `sidecar_key` names the file beside it in the ledger, if there is one.
    """

    key: str
    origin: Origin
    digest: Callable[[], bytes]
    open: Callable[[], Read]
    size: int | None = None
    mtime_ns: int | None = None
    about: About | None = None
    sidecar_key: str = ""


def file_key(path: Path, base: Path) -> str:
    """The key of a file for a collection that lies in `base`: relative inside of it, absolute elsewhere."""
    # Without "..", or one file would be stored under the name of every way to it. Strings, because every file of a
    # folder comes through here.
    absolute, folder = os.path.abspath(path), os.path.abspath(base)  # noqa: PTH100 - Path.resolve follows links
    key = Path(absolute).as_posix() if os.sep != "/" else absolute
    within = folder if folder.endswith(os.sep) else folder + os.sep
    if absolute == folder:
        key = "."
    elif absolute.startswith(within):
        key = key[len(within) :]
    return _without_part(key)


def keys_of(name: str, base: Path) -> tuple[str, ...]:
    """The keys that a name may stand for: itself, then that of the file of that path."""
    return tuple(dict.fromkeys((name.encode("utf-8", "backslashreplace").decode(), file_key(Path(name), base))))


def part_key(owner: str, name: str) -> str:
    """The key of a document in the file `owner`, which names of parts cannot be mistaken for one in a file in it."""
    return f"{owner}{PART}{_without_part(name.encode('utf-8', 'backslashreplace').decode())}"


def _without_part(name: str) -> str:
    # A byte that is not UTF-8 becomes an escape, so a backslash in a name has to be told from one.
    escaped = name.replace("\\", "\\\\").replace(PART, "!\\/")
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_item(
    found: Found, base: Path, options: ReadOptions = NO_CHOICE, *, sidecar: Found | None = None,
    given: Given = NOTHING_GIVEN,
) -> Item:  # fmt: skip
    """A file that a walk came upon, the file beside it, and what the call says of it."""
    key = file_key(found.path, base)
    return Item(
        key=key,
        origin="file",
        digest=lambda: _file_digest(found.path),
        open=lambda: read_file(found, key, options),
        size=found.size,
        mtime_ns=found.mtime_ns,
        about=About(found.path, file_fields(found), sidecar, given),
        sidecar_key="" if sidecar is None else file_key(sidecar.path, base),
    )


def given_items(records: Iterable[str | Mapping[str, Any]]) -> Iterator[Item]:
    """Texts and records from Python. A record has `text`, and may have `id`, `title`, `metadata`, `media_type`.

    A text without an id gets one from its content, so adding it twice stores it once. Raises InputError for
    anything else, naming its position.
    """
    for position, record in enumerate(records):
        yield _given_item(position, {"text": record} if isinstance(record, str) else record)


def _given_item(position: int, record: Mapping[str, Any]) -> Item:
    if not isinstance(record, Mapping):
        raise InputError(f"record {position} is a {type(record).__name__}; give a string or a dict with id and text")
    unknown = set(record) - ALLOWED_FIELDS
    if unknown:
        raise InputError(
            f"record {position} has unknown fields {sorted(map(str, unknown))}; known are {sorted(ALLOWED_FIELDS)}, "
            f"anything else goes into metadata"
        )
    text = record.get("text")
    if not isinstance(text, str):
        raise InputError(f"record {position} has a text of type {type(text).__name__}; give a string")
    metadata = _checked_metadata(position, record.get("metadata") or {})
    # A lone surrogate, which no encoding knows, is a text's own matter; in a title it becomes a question mark.
    title = str(record.get("title") or "").encode("utf-8", "replace").decode()
    media_type = str(record.get("media_type") or "text/plain")
    content = json.dumps([text, title, media_type, metadata], sort_keys=True).encode()
    digest = hashlib.sha256(content).digest()
    key = _checked_key(position, record.get("id"), digest)
    return Item(
        key=key,
        origin="given",
        digest=lambda: digest,
        open=lambda: read_text(text, key, title=title, media_type=media_type, metadata=metadata),
    )


def _checked_key(position: int, given: object, digest: bytes) -> str:
    if given is None:
        return f"text-{digest.hex()[:16]}"
    if not isinstance(given, str | int) or isinstance(given, bool) or not str(given).strip():
        raise InputError(f"record {position} has id {given!r}; give a string that is not blank, or a whole number")
    key = str(given).encode("utf-8", "backslashreplace").decode()
    if key.startswith(CHUNK_PREFIX):
        raise InputError(f"record {position} has id {key!r}; ids that begin with {CHUNK_PREFIX!r} are those of chunks")
    return key


def _checked_metadata(position: int, metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InputError(f"record {position} has metadata of type {type(metadata).__name__}; give a dict")
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"record {position} has metadata that JSON cannot hold: {error}") from error
    return result


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
