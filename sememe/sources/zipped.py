"""ZIP archives that documents come in: their members as streams of bounded size, all damage as one error.

Knows ZIP, and what a bomb looks like. Knows nothing of what the members mean.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

from sememe.errors import ReadError
from sememe.sources.source import Refused, Source
from sememe.types import Block, Document

LARGEST = 1 << 30
"""Bytes of a member, unpacked; what reads them keeps a bounded part of them at a time."""
MOST_MEMBERS = 65_536
HARMLESS = 64 << 20
"""Up to here no ratio makes a bomb: real tables are packed 1:100."""
STEEPEST = 200
MOST_BEFORE_TITLE = 32
"""Blocks in which a first heading is looked for."""

_ENCRYPTED = 1
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, KeyError,
    IndexError, OverflowError,
)  # fmt: skip


@contextmanager
def reading(source: Source, what: str) -> Iterator[None]:
    """Makes a ReadError of everything that a damaged file makes a parser raise. `what` names the format."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # bz2 tells of bad data so
            raise ReadError(f"{source.name} is no sound {what}: {error}") from error
        reason = error.strerror or str(error)
        raise ReadError(f"{source.name} cannot be read to its end: {reason}; try again", retryable=True) from error
    except _DAMAGE as error:
        raise ReadError(f"{source.name} is no sound {what}: {_one_line(error)}") from error


def refused(source: Source, reason: str | ReadError) -> Refused:
    """The refusal of a source that is damaged, encrypted or too large; `reason` may be what was raised."""
    retryable = isinstance(reason, ReadError) and reason.retryable
    return Refused(source.path or Path(source.name), str(reason), retryable=retryable, status="failed")


def begun(source: Source, document: Document) -> Document | Refused:
    """The document, read up to its first heading, which is its title if it says no other; or what is wrong there."""
    blocks = iter(document.blocks)
    taken: list[Block] = []
    try:
        for block in blocks:
            taken.append(block)
            document.title = document.title or block.title
            if document.title or len(taken) >= MOST_BEFORE_TITLE:
                break
    except ReadError as error:
        return refused(source, error)
    document.blocks = chain(taken, blocks)
    return document


class Archive:
    """An open ZIP file. Use it as a context; raises ReadError for what is none, encrypted, or a bomb."""

    def __init__(self, source: Source, what: str) -> None:
        self._source = source
        self._what = what
        self._file = source.open()
        try:
            self._check_kind()
            with reading(source, what):
                self._zip = zipfile.ZipFile(self._file)
            self._members = {info.filename.lower(): info for info in self._zip.infolist()}
            if len(self._members) > MOST_MEMBERS:
                raise ReadError(f"{source.name} has {len(self._members)} members; a {what} has {MOST_MEMBERS} at most")
        except BaseException:
            self._file.close()
            raise

    def _check_kind(self) -> None:
        if self._file.read(8) == _OLE:
            raise ReadError(
                f"{self._source.name} is encrypted or in the format of before 2007; open it with its password, and "
                f"save it as a {self._what}"
            )
        self._file.seek(0)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._members

    def open(self, name: str) -> Member:
        """A member as a stream. Names are told apart without case, as Open Packaging does."""
        info = self._members.get(name.lower())
        if info is None:
            raise ReadError(f"{self._source.name} is no sound {self._what}: it has no {name}")
        if info.flag_bits & _ENCRYPTED:
            raise ReadError(f"{self._source.name} is encrypted; save it without a password")
        steep = info.file_size > HARMLESS and info.file_size > STEEPEST * info.compress_size
        if info.file_size > LARGEST or steep:
            raise ReadError(
                f"{self._source.name} unpacks {name} from {info.compress_size} to {info.file_size} bytes; "
                f"up to {LARGEST} bytes and 1:{STEEPEST} are read"
            )
        return Member(self._zip.open(info), info.file_size)

    def read(self, name: str, most: int = 16 << 20) -> bytes:
        """A small member as a whole. Raises ReadError when it is longer than `most` bytes."""
        with self.open(name) as member:
            content = member.read(most + 1)
            if len(content) > most:
                raise ReadError(f"{self._source.name} has a {name} of more than {most} bytes; it is read up to there")
            return content


class Member:
    """A stream that ends where the archive's directory says, whatever its packed bytes would give."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def __enter__(self) -> Member:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
