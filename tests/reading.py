"""What tests of readers share: sources of bytes and files, and everything that comes out of one."""

from __future__ import annotations

import io
from pathlib import Path

from sememe.sources.files import NO_CHOICE, read_source
from sememe.sources.source import Part, Parts, Read, ReadOptions, Refused, Source, Unreadable
from sememe.types import Document


def source_of(name: str, content: bytes | str) -> Source:
    """Bytes under a name, as a member of a file has them."""
    data = content.encode() if isinstance(content, str) else content
    return Source(name, len(data), lambda: io.BytesIO(data))


def file_of(path: Path) -> Source:
    """A file on disk."""
    return Source(path.name, path.stat().st_size, lambda: path.open("rb"), path)


def read(name: str, content: bytes | str, options: ReadOptions = NO_CHOICE) -> Read:
    """What the reader for this name and content makes of it."""
    return read_source(source_of(name, content), "KEY", options)


def text_of(document: Read) -> str:
    """The text of a document."""
    assert isinstance(document, Document)
    return "".join(block.text for block in document.blocks)


def parts_of(result: Read) -> list[Part | Unreadable]:
    """The parts of a file, as they come."""
    assert isinstance(result, Parts), result
    return list(result.parts)


def documents_of(result: Read) -> dict[str, Document]:
    """The documents of the parts by name."""
    opened = {part.name: part.open(f"KEY!/{part.name}") for part in parts_of(result) if isinstance(part, Part)}
    return {name: document for name, document in opened.items() if isinstance(document, Document)}


def exhausted(result: Read) -> int:
    """Read everything there is, parts of parts too, and count the characters."""
    if isinstance(result, Refused):
        return 0
    if isinstance(result, Document):
        return sum(len(block.text) for block in result.blocks)
    return sum(exhausted(part.open(f"KEY!/{part.name}")) for part in result.parts if isinstance(part, Part))
