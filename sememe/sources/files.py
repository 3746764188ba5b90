"""A file, a member of one, or a string → a Document or Parts: which reader, and what to say when there is none.

Knows the table of formats, encodings and the errors of reading. Knows nothing of how a format is read.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

from sememe.errors import InputError, ReadError
from sememe.sources import formats
from sememe.sources.decode import Encoding, decode, detect
from sememe.sources.formats import Format
from sememe.sources.sniff import SAMPLE
from sememe.sources.source import Read, ReadOptions, Source
from sememe.sources.walk import Found, Refused, failure, key_of
from sememe.types import Document, Metadata

PIECE = 64 * 1024
NO_CHOICE = ReadOptions()

_STRINGS = {form.media_type: form for form in reversed(formats.FORMATS) if form.plain}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_Piece = TypeVar("_Piece")


@dataclass(slots=True)
class _File:
    """A file on disk that must stay the one that was looked at first. A small one is read once and held."""

    path: Path
    first: os.stat_result | None = None
    content: bytes | None = None

    def open(self) -> BinaryIO:
        if self.content is not None:
            return io.BytesIO(self.content)
        file = self.path.open("rb")
        now = os.fstat(file.fileno())
        if self.first is None:
            self.first = now
        elif _state(now) != _state(self.first):
            file.close()
            raise self._changed(now)
        if now.st_size > SAMPLE:
            return file
        with file:
            self.content = file.read()
        return io.BytesIO(self.content)

    def whole(self, pieces: Iterable[_Piece]) -> Iterator[_Piece]:
        """The same pieces, and a ReadError where the file cannot be read to its end or is another one by then."""
        try:
            yield from pieces
            now = self.path.stat()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReadError(
                f"{key_of(self.path)} cannot be read to its end: {reason}; try again", retryable=True
            ) from error
        if self.first is not None and _state(now) != _state(self.first):
            raise self._changed(now)

    def _changed(self, now: os.stat_result) -> ReadError:
        before = self.first.st_size if self.first is not None else 0
        return ReadError(
            f"{key_of(self.path)} changed while it was read: it had {before} bytes and has {now.st_size}; try again",
            retryable=True,
        )


def read_file(found: Found, key: str, options: ReadOptions = NO_CHOICE) -> Read:
    """Open a file that `walk` found as the document `key`, or as many, or tell why it gives none.

    The file is opened again when the document's blocks are iterated; a ReadError, worth trying again, is raised
    from there when it cannot be read to its end or has changed since.
    """
    file = _File(found.path)
    source = Source(found.path.name, found.size, file.open, path=found.path)
    result = read_source(source, key, options)
    if isinstance(result, Refused):
        return result
    result.metadata = {"path": key_of(found.path), **result.metadata}
    if isinstance(result, Document):
        result.blocks = file.whole(result.blocks)
    else:
        result.parts = file.whole(result.parts)
    return result


def read_source(source: Source, key: str, options: ReadOptions = NO_CHOICE) -> Read:
    """Read bytes by what their name and beginning say they are; members of archives and mails come here too."""
    path = source.path or Path(source.name)
    try:
        with source.open() as file:
            head = file.read(SAMPLE)
            if not head:
                return Refused(path, "empty file")
            form = formats.recognise(source, head)
            if isinstance(form, str):
                return Refused(path, form)
            if form.plain:
                return _read_plain(file, form, source, key)
        if form.missing:
            return Refused(path, form.missing, retryable=True, status="failed")
        result: Read = importlib.import_module(f"sememe.sources.{form.module}").read(source, key, options)
    except OSError as error:
        return failure(path, "the file cannot be read", error)
    except ReadError as error:
        return Refused(path, str(error), retryable=error.retryable, status="failed")
    if isinstance(result, Refused):
        return result
    result.reader = form.reader(options)
    if isinstance(result, Document) and not result.title:
        result.title = _stem(source.name)
    return result


def _read_plain(file: BinaryIO, form: Format, source: Source, key: str) -> Document | Refused:
    path = source.path or Path(source.name)
    encoding = detect(file, cookie=form.cookie)
    if encoding is None:
        return Refused(path, "binary file (no known encoding makes it text)")
    pieces = decode(file, encoding, [])
    opening = next((piece for piece in pieces if not piece.isspace()), "")
    if not opening:
        return Refused(path, "no text")
    reader = importlib.import_module(f"sememe.sources.{form.module}")
    remarks = [encoding.remark] if encoding.remark else []
    metadata = reader.metadata(opening, remarks) if form.front else {}
    return Document(
        key=key,
        blocks=reader.blocks(_pieces(source, encoding, remarks), remarks),
        reader=form.reader(NO_CHOICE),
        title=reader.title(opening) or _stem(source.name),
        media_type=form.media_type,
        metadata=metadata if encoding.codec == "utf-8" else {**metadata, "encoding": encoding.codec},
        remarks=remarks,
    )


def read_text(
    content: str,
    key: str,
    *,
    media_type: str = "text/plain",
    title: str = "",
    metadata: Metadata | None = None,
) -> Document:
    """A string as the document `key`; lone surrogates, which no encoding knows, become U+FFFD.

    `media_type` chooses the reader: text/plain, text/markdown or text/x-python. Raises InputError for another one.
    """
    form = _STRINGS.get(media_type)
    if form is None:
        raise InputError(f"media type {media_type!r} of {key!r} is not read; use {', '.join(sorted(_STRINGS))}")
    content, replaced = _LONE_SURROGATE.subn("\ufffd", content)
    remarks = [f"{replaced} lone surrogate{'s' * (replaced > 1)} replaced"] if replaced else []
    pieces = (content[start : start + PIECE] for start in range(0, len(content), PIECE))
    reader = importlib.import_module(f"sememe.sources.{form.module}")
    own = reader.metadata(content[:PIECE], remarks) if form.front else {}
    return Document(
        key=key,
        blocks=reader.blocks(pieces, remarks),
        reader=form.reader(NO_CHOICE),
        title=title or reader.title(content[:PIECE]),
        media_type=media_type,
        metadata={**own, **(metadata or {})},
        remarks=remarks,
    )


def _pieces(source: Source, encoding: Encoding, remarks: list[str]) -> Iterator[str]:
    with source.open() as file:
        yield from decode(file, encoding, remarks)


def _stem(name: str) -> str:
    stem = PurePath(name).stem
    return stem if stem.isascii() else key_of(Path(stem))


def _state(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
