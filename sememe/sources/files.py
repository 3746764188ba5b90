"""A file or a string → a Document: which reader, which encoding, and what to say when it is no text.

Knows the table of formats and the errors of reading. Knows nothing of how a format is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sememe.errors import InputError, ReadError
from sememe.sources import markdown, python, text
from sememe.sources.decode import Encoding, decode, detect
from sememe.sources.sniff import SAMPLE, binary_kind
from sememe.sources.walk import Found, Refused, failure, key_of
from sememe.types import Block, Document, Metadata

PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Format:
    """A way to read text. `cookie`: whether the text may name its encoding in a comment (PEP 263)."""

    reader: str
    media_type: str
    blocks: Callable[[Iterable[str], list[str]], Iterator[Block]]
    title: Callable[[str], str]
    cookie: bool = False


_TEXT = _Format("text/1", "text/plain", text.blocks, text.title)
_LINES = _Format("lines/1", "text/plain", text.blocks, text.title)
"""Plain text too; but a line means more there than a sentence."""
_MARKDOWN = _Format("markdown/1", "text/markdown", markdown.blocks, markdown.title)
_PYTHON = _Format("python/1", "text/x-python", python.blocks, python.title, cookie=True)

_LINE_SUFFIXES = (
    ".bat .c .cc .cfg .clj .cmake .conf .cpp .cs .css .csv .cxx .dart .diff .ex .exs .go .h .hpp .hs .ini .java .jl "
    ".js .json .jsonl .jsx .kt .less .log .lua .m .ml .mjs .ndjson .nix .patch .php .pl .properties .proto .ps1 .r "
    ".rb .rs .sass .scala .scss .sh .sql .svelte .swift .tf .toml .ts .tsv .tsx .vim .vue .xml .yaml .yml .zig"
)
_SUFFIXES: dict[str, _Format] = {
    **dict.fromkeys(_LINE_SUFFIXES.split(), _LINES),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), _MARKDOWN),
    **dict.fromkeys((".py", ".pyi", ".pyw"), _PYTHON),
}
_MEDIA_TYPES = {form.media_type: form for form in (_MARKDOWN, _PYTHON, _TEXT)}

_PYTHON_SCRIPT = re.compile(rb"#![^\n]*\bpython")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_file(found: Found, key: str) -> Document | Refused:
    """Open a file that `walk` found as the document `key`, or tell why it gives none.

    The file is opened again when the document's blocks are iterated; a ReadError, worth trying again, is raised
    from there when it cannot be read to its end or has changed since.
    """
    path, suffix = found.path, found.path.suffix.lower()
    try:
        with path.open("rb") as file:
            opened = os.fstat(file.fileno())
            head = file.read(SAMPLE)
            kind = binary_kind(head, suffix)
            if not head:
                return Refused(path, "empty file")
            if kind is not None:
                return Refused(path, f"binary file ({kind})" if kind else "binary file")
            form = _SUFFIXES.get(suffix) or (_PYTHON if _PYTHON_SCRIPT.match(head) else _TEXT)
            encoding = detect(file, cookie=form.cookie)
            if encoding is None:
                return Refused(path, "binary file (no known encoding makes it text)")
            pieces = decode(file, encoding, [])
            opening = next((piece for piece in pieces if not piece.isspace()), "")
    except OSError as error:
        return failure(path, "the file cannot be read", error)
    if not opening:
        return Refused(path, "no text")
    metadata = {"path": key_of(path)}
    if encoding.codec != "utf-8":
        metadata["encoding"] = encoding.codec
    remarks = [encoding.remark] if encoding.remark else []
    return Document(
        key=key,
        blocks=form.blocks(_pieces(path, encoding, opened, remarks), remarks),
        reader=form.reader,
        title=form.title(opening) or key_of(Path(path.stem)),
        media_type=form.media_type,
        metadata=metadata,
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
    form = _MEDIA_TYPES.get(media_type)
    if form is None:
        raise InputError(f"media type {media_type!r} of {key!r} is not read; use {', '.join(_MEDIA_TYPES)}")
    content, replaced = _LONE_SURROGATE.subn("\ufffd", content)
    remarks = [f"{replaced} lone surrogate{'s' * (replaced > 1)} replaced"] if replaced else []
    pieces = (content[start : start + PIECE] for start in range(0, len(content), PIECE))
    return Document(
        key=key,
        blocks=form.blocks(pieces, remarks),
        reader=form.reader,
        title=title or form.title(content[:PIECE]),
        media_type=media_type,
        metadata=metadata or {},
        remarks=remarks,
    )


def _pieces(path: Path, encoding: Encoding, opened: os.stat_result, remarks: list[str]) -> Iterator[str]:
    """The text of a file that must still be the one that was looked at."""
    try:
        with path.open("rb") as file:
            _check_same(path, os.fstat(file.fileno()), opened)
            yield from decode(file, encoding, remarks)
            _check_same(path, os.fstat(file.fileno()), opened)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReadError(f"{key_of(path)} cannot be read to its end: {reason}; try again", retryable=True) from error


def _check_same(path: Path, now: os.stat_result, before: os.stat_result) -> None:
    if _state(now) != _state(before):
        raise ReadError(
            f"{key_of(path)} changed while it was read: it had {before.st_size} bytes and has {now.st_size}; try again",
            retryable=True,
        )


def _state(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
