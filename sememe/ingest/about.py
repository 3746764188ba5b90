"""Metadata from outside of a document: the file beside it, and what whoever adds it says.

The sidecar of `report.pdf` is `report.pdf.metadata.json`, a JSON object. What is said later wins over what is said
earlier: the file system, the document itself, its sidecar, `metadata=` of the call. What a call gave stays until
another call gives that field; None takes it away. This file knows paths and JSON, and nothing of texts or models.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sememe.errors import InputError, ReadError
from sememe.filters import MAX_DEPTH
from sememe.sources.walk import Found, key_of
from sememe.store.records import NOTHING, Outside
from sememe.types import Metadata

SIDECAR_SUFFIX = ".metadata.json"
"""After the whole name of a file: what Amazon's Kendra and Bedrock expect, so many folders have them already."""

LARGEST_SIDECAR = 1 << 20

Describe: TypeAlias = Metadata | Callable[[Any], Metadata | None]
"""Metadata for all inputs of a call, or a function from a file's path, or a page's address, to that of one."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a call says of every input: `values`, and over them what `each` returns for its path or address.

    With `strict` a document is refused when one of its fields is of another type than in the rest of the collection.
    """

    values: Metadata
    each: Callable[[Any], Metadata | None] | None = None
    strict: bool = False

    def of(self, place: Path | str) -> dict[str, Any]:
        """What is said of a file or a page. Raises InputError for what JSON cannot hold."""
        found = dict(self.values)
        if self.each is not None:
            name = place if isinstance(place, str) else key_of(place)
            found |= checked(self.each(place) or {}, f"the metadata function gave for {name}")
        return found


NOTHING_GIVEN = Given({})


def given(metadata: Describe | Given | None) -> Given:
    """What `metadata=` of a call means. Raises InputError for anything but a mapping or a function."""
    if metadata is None:
        return NOTHING_GIVEN
    if isinstance(metadata, Given):
        return metadata
    if callable(metadata):
        return Given({}, metadata)
    return Given(checked(metadata, "metadata was given as"))


def checked(metadata: object, what: str) -> dict[str, Any]:
    """A mapping as JSON holds it: names are strings, dates are strings in ISO 8601. Raises InputError."""
    if not isinstance(metadata, Mapping):
        raise InputError(f"{what} {metadata!r}, of type {type(metadata).__name__}; a dict is needed")
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False, default=_date))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} metadata that JSON cannot hold: {error}") from error
    _refuse_names(result, what)
    return result


def _refuse_names(metadata: Mapping[str, Any], what: str) -> None:
    for name in metadata:
        if not name or name[0] in "$@" or "." in name:
            raise InputError(
                f"{what} a field named {name!r}; a name is not empty, begins with neither $ nor @, and has no full "
                f"stop: filters could not ask for it"
            )


def _date(value: object) -> str:
    iso = getattr(value, "isoformat", None)
    if not callable(iso):
        raise TypeError(f"a value of type {type(value).__name__}")
    return str(iso())


@dataclass(frozen=True, slots=True)
class About:
    """Where a file's or page's metadata comes from, besides its own text. `place` is its path or address."""

    place: Path | str
    file: Metadata
    sidecar: Found | None
    given: Given

    def outside(self, known: Outside, *, settled_before: float = 0.0) -> Outside:
        """What is said of the file from outside now, when `known` was said of it before.

        A sidecar of the size and time of before is not read again, if it was written before the instant
        `settled_before` (seconds since 1970). Raises ReadError when it cannot be read, and InputError as `Given.of`.
        """
        said = {**known.given, **self.given.of(self.place)}
        if self.sidecar is None:
            return NOTHING if not said else Outside(given=said)
        stamp = (self.sidecar.size, self.sidecar.mtime_ns)
        if stamp == known.stamp and self.sidecar.mtime_ns < settled_before * 1e9:
            return known if said == known.given else replace(known, given=said)
        return Outside(sidecar=read_sidecar(self.sidecar.path), stamp=stamp, given=said)


def file_fields(found: Found) -> dict[str, Any]:
    """What the file system says of a file: when it was last written (UTC), its bytes, its suffix."""
    written = datetime.fromtimestamp(found.mtime_ns // 1_000_000_000, UTC)
    suffix = {"suffix": found.path.suffix.lower()} if found.path.suffix else {}
    return {"modified": written.isoformat(), "bytes": found.size, **suffix}


def read_sidecar(path: Path) -> dict[str, Any]:
    """The metadata in a sidecar file. Raises ReadError when it is no JSON object, or cannot be read."""
    name = key_of(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_SIDECAR + 1)
    except OSError as error:
        raise ReadError(f"it cannot be read: {error.strerror or error}", retryable=True) from error
    if len(content) > LARGEST_SIDECAR:
        raise ReadError(f"it is larger than {LARGEST_SIDECAR:,} bytes, too much for the metadata of one document")
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ReadError(f'it holds a {type(found).__name__}; write one object: {{"year": 2024}}')
    if _deeper(found, MAX_DEPTH):
        raise ReadError(f"it nests deeper than {MAX_DEPTH} levels")
    try:
        _refuse_names(found, f"{name} has")
    except InputError as error:
        raise ReadError(str(error)) from error
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number that JSON knows")


def _deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)


def sidecars_of(found: list[Found], named: Iterable[Path]) -> dict[Path, Found]:
    """The sidecars of the files of a walk, by the path of the file that each describes.

    Beside a file that was `named` itself the walk has not looked. A file of such a name with nothing beside it is a
    document like any other.
    """
    files = {file.path: file for file in found}
    result = {}
    for path, file in files.items():
        described = path.with_name(path.name.removesuffix(SIDECAR_SUFFIX) or path.name)
        if described != path and described in files:
            result[described] = file
    for path in files.keys() & set(named) - result.keys():
        sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
        with contextlib.suppress(OSError):
            if sidecar.is_file():
                result[path] = Found.at(sidecar, sidecar.stat())
    return result
