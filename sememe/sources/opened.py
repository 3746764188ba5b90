"""A source while it is read: what the system says of it, or its changing meanwhile, becomes a ReadError.

Knows files and the errors of reading them. Knows no format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sememe.errors import ReadError
from sememe.sources.source import Source
from sememe.sources.walk import Refused, key_of
from sememe.types import Metadata


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The source's bytes. Raises ReadError, worth trying again, when they cannot be read or change meanwhile."""
    try:
        before = _state(source)
        with source.open() as file:
            yield file
        after = _state(source)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReadError(f"{key_of(Path(source.name))} cannot be read to its end: {reason}; try again", retryable=True) from error
    if before != after:
        raise ReadError(
            f"{key_of(Path(source.name))} changed while it was read: it had {before[0]} bytes and has {after[0]}; try again",
            retryable=True,
        )


def refused(source: Source, reason: str) -> Refused:
    """That this source gives no document, which is no fault of the moment."""
    return Refused(source.path or Path(source.name), reason)


def place_of(source: Source) -> Metadata:
    """What metadata says of where a file is; nothing of a member of one."""
    return {"path": key_of(source.path)} if source.path is not None else {}


def _state(source: Source) -> tuple[int, ...]:
    if source.path is None:
        return ()
    found = os.stat(source.path)  # noqa: PTH116 - the house reads stat of a path that may be anything
    return found.st_size, found.st_mtime_ns, found.st_ino
