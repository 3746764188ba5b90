"""Archives → their members, each read as what it is: ZIP, tar, and files packed by gzip, bzip2 or xz.

A member is unpacked into memory, a large one into a temporary file without a name of its own, one at a time; nothing
is ever written where a member's name would have it. Limits hold whatever an archive claims of itself, so that a
small file cannot become an endless one. Knows how archives are laid out, and nothing of what is in their members.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from sememe.errors import ReadError
from sememe.sources.files import read_source
from sememe.sources.source import Part, Parts, Read, ReadOptions, Refused, Source, Unreadable
from sememe.sources.walk import left_out_by

MOST_MEMBERS = 100_000
MOST_BYTES = 8 << 30
MOST_MEMBER_BYTES = 2 << 30
MOST_TIMES = 200
"""How many times its own size an archive may unpack to; deflate reaches 1032 with nothing but one byte repeated."""
HARMLESS_BYTES = 64 << 20
"""What an archive may unpack to whatever its size."""
MOST_DIRECTORY_BYTES = 64 << 20
MOST_XZ_MEMORY = 256 << 20
IN_MEMORY = 8 << 20
PIECE = 1 << 18

_DAMAGES = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, ValueError,
    NotImplementedError,  # a version of the format that zipfile does not know
)  # fmt: skip
_TAR_NAMES = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


def read(source: Source, key: str, options: ReadOptions) -> Read:  # noqa: ARG001 - every reader's signature
    """The members of an archive; Refused where it cannot even be opened."""
    path = source.path or Path(source.name)
    with source.open() as file:
        head = file.read(4)
    try:
        if head[:2] == b"PK":
            return _zip(source, path, options)
        stream = _STREAMS.get(head[:2], _plain)
        with source.open() as file:
            tar = stream is _plain or source.name.lower().endswith(_TAR_NAMES) or _is_tar(stream(file))
    except _DAMAGES as error:
        return Refused(path, f"the archive cannot be read: {_said(error)}", status="failed")
    members = _tar(source, stream, options) if tar else _packed(source, stream, options)
    return Parts("", "application/x-tar" if tar else _PACKED_TYPES[head[:2]], _whole(source, members))


def _whole(source: Source, members: Iterator[Part | Unreadable]) -> Iterator[Part | Unreadable]:
    """The members, and a ReadError where the archive breaks off."""
    try:
        yield from members
    except (*_DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ReadError(f"the archive {source.name} breaks off: {_said(error)}; get it again") from error


def _said(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


@dataclass(slots=True)
class _Limits:
    """What has been unpacked of an archive so far; shared by no other."""

    source: Source
    unpacked: int = 0
    members: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def count(self, size: int) -> None:
        """Add bytes that were unpacked. Raises ReadError when it is too much."""
        self.unpacked += size
        most = min(MOST_BYTES, max(HARMLESS_BYTES, MOST_TIMES * self.source.size))
        if self.unpacked > most:
            raise ReadError(
                f"the archive {self.source.name} has {self.source.size:,} bytes and unpacks to more than {most:,}; "
                f"if that is meant, unpack it and add the files"
            )

    def name(self, name: str) -> str:
        """A member's name, told from others of the same name. Raises ReadError when there are too many members."""
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise ReadError(
                f"the archive {self.source.name} has more than {MOST_MEMBERS:,} members; unpack it and add the files"
            )
        self.names[name] += 1
        return name if self.names[name] == 1 else f"{name}#{self.names[name]}"


def _passed_over(name: str) -> bool:
    """Whether a walk through a folder would leave the name out."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part != ".." and (left_out_by(part) or part == "__MACOSX") for part in parts)


class _Spool:
    """Bytes on their way to be read: in memory while they are few, then in a temporary file."""

    def __init__(self) -> None:
        self._memory = io.BytesIO()
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self.size += len(data)
        if self._file is None and self.size > IN_MEMORY:
            self._file = tempfile.NamedTemporaryFile(prefix="sememe-")  # noqa: SIM115 - closed by close
            self._file.write(self._memory.getbuffer())
            self._memory = io.BytesIO()
        (self._file or self._memory).write(data)

    def source(self, name: str, depth: int) -> Source:
        """What was written, under a name; to be read until it is closed."""
        if self._file is None:
            content = self._memory.getvalue()
            return Source(name, self.size, lambda: cast("BinaryIO", io.BytesIO(content)), depth=depth)
        self._file.flush()
        path = Path(self._file.name)
        return Source(name, self.size, lambda: path.open("rb"), path=path, depth=depth)

    def close(self) -> None:
        """Remove the file, if there is one."""
        if self._file is not None:
            self._file.close()


def _part(stream: IO[bytes], name: str, limits: _Limits, options: ReadOptions) -> Iterator[Part | Unreadable]:
    """A member that is unpacked, and that can be read until the next one is asked for."""
    digest = hashlib.sha256()
    with closing(_Spool()) as spool:
        while data := stream.read(PIECE):
            limits.count(len(data))
            digest.update(data)
            spool.write(data)
            if spool.size > MOST_MEMBER_BYTES:
                yield Unreadable(name, f"it unpacks to more than {MOST_MEMBER_BYTES:,} bytes")
                return
        member = spool.source(name, limits.source.depth + 1)
        yield Part(name, digest.digest(), lambda key: _read_member(member, key, options))


def _read_member(member: Source, key: str, options: ReadOptions) -> Read:
    result = read_source(member, key, options)
    if not isinstance(result, Refused):
        result.metadata = {"member": member.name, **result.metadata}
    return result


def _zip(source: Source, path: Path, options: ReadOptions) -> Parts | Refused:
    with source.open() as file:
        size = _directory_size(file, source.size)
        if size > MOST_DIRECTORY_BYTES:
            reason = f"its directory of {size:,} bytes is larger than {MOST_DIRECTORY_BYTES:,}; unpack it"
            return Refused(path, reason, status="failed")
        with zipfile.ZipFile(file):
            pass
    return Parts("", "application/zip", _whole(source, _zip_members(source, options)))


def _directory_size(file: BinaryIO, size: int) -> int:
    """How long the directory of a ZIP archive says it is (APPNOTE 4.3.16); 0 where there is none."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return 0
    long = int.from_bytes(tail[at + 12 : at + 16], "little")
    record = tail.rfind(b"PK\x06\x06", 0, at)
    return int.from_bytes(tail[record + 40 : record + 48], "little") if long == 0xFFFFFFFF and record >= 0 else long


def _zip_members(source: Source, options: ReadOptions) -> Iterator[Part | Unreadable]:
    limits = _Limits(source)
    with source.open() as file, zipfile.ZipFile(file) as box:
        for info in box.infolist():
            if info.is_dir() or _passed_over(info.filename):
                continue
            name = limits.name(info.filename)
            if info.flag_bits & 1:
                yield Unreadable(name, "it is encrypted; unpack it and add the file")
                continue
            try:
                with box.open(info) as stream:
                    yield from _part(stream, name, limits, options)
            except NotImplementedError:
                yield Unreadable(name, f"it is packed by a method that is not read ({info.compress_type})")
            except _DAMAGES as error:
                yield Unreadable(name, f"it cannot be unpacked: {_said(error)}", status="failed")


def _tar(source: Source, stream: Callable[[BinaryIO], IO[bytes]], options: ReadOptions) -> Iterator[Part | Unreadable]:
    limits = _Limits(source)
    with source.open() as file:
        counted = _Counted(stream(file), limits)
        with tarfile.open(fileobj=cast("BinaryIO", counted), mode="r|") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or it would remember every one
                counted.expect(info.size)
                if info.isdir() or _passed_over(info.name):
                    continue
                name = limits.name(info.name)
                content = tar.extractfile(info) if info.isreg() else None
                if content is None:
                    yield Unreadable(name, "a link in an archive" if info.islnk() or info.issym() else "no file")
                    continue
                yield from _part(content, name, _Limits(source), options)
        while stream is not _plain and counted.read(PIECE):
            pass  # a checksum stands behind it all
        if stream is _plain and source.size % tarfile.BLOCKSIZE:
            raise ReadError(f"the archive {source.name} breaks off in the middle of a block; get it again")


class _Counted:
    """A stream that a tar archive is read from: counts what is unpacked, and bounds what is no member's content."""

    def __init__(self, stream: IO[bytes], limits: _Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._left = MOST_DIRECTORY_BYTES

    def expect(self, size: int) -> None:
        """A member of `size` bytes comes, and behind it a header, which is small in every honest archive."""
        self._left = size + MOST_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises ReadError beyond the limits."""
        data = self._stream.read(size)
        self._limits.count(len(data))
        self._left -= len(data)
        if self._left < 0:
            raise ReadError(f"the archive {self._limits.source.name} has a header of more bytes than it may")
        return data


def _packed(
    source: Source, stream: Callable[[BinaryIO], IO[bytes]], options: ReadOptions
) -> Iterator[Part | Unreadable]:
    name = PurePosixPath(source.name).name
    inner = name[: -len(PurePosixPath(name).suffix)] if PurePosixPath(name).suffix in _PACKED_SUFFIXES else name
    with source.open() as file:
        yield from _part(stream(file), inner or name, _Limits(source), options)


def _is_tar(stream: IO[bytes]) -> bool:
    return stream.read(512)[257:262] == b"ustar"


def _plain(file: BinaryIO) -> IO[bytes]:
    return file


def _gzip(file: BinaryIO) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file))


def _bzip2(file: BinaryIO) -> IO[bytes]:
    return cast("IO[bytes]", bz2.BZ2File(file))


def _xz(file: BinaryIO) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Xz(file)))


class _Xz(io.RawIOBase):
    """An xz file, unpacked with bounded memory: its dictionary may be said to need four gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._box = lzma.LZMADecompressor(memlimit=MOST_XZ_MEMORY)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill the buffer as far as the next bytes reach; 0 at the end."""
        view = memoryview(buffer)
        while True:
            rest = b""
            if self._box.eof:
                rest = self._box.unused_data.lstrip(b"\0") or self._file.read(PIECE)
                if not rest:
                    return 0
                self._box = lzma.LZMADecompressor(memlimit=MOST_XZ_MEMORY)
            elif self._box.needs_input:
                rest = self._file.read(PIECE)
                if not rest:
                    raise EOFError("it ends before the end-of-stream marker was reached")
            data = self._box.decompress(rest, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


_STREAMS: dict[bytes, Callable[[BinaryIO], IO[bytes]]] = {b"\x1f\x8b": _gzip, b"BZ": _bzip2, b"\xfd7": _xz}
_PACKED_TYPES = {b"\x1f\x8b": "application/gzip", b"BZ": "application/x-bzip2", b"\xfd7": "application/x-xz"}
_PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz"})
