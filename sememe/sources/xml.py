"""XML → a stream of events, hardened: no entity is declared, no depth or token is without bound.

Straight over expat: a document is never held as a tree, and one library less is needed. Names lose their namespace,
because the formats read here use no local name for two things; attributes of relationships keep theirs as "r:".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias
from xml.parsers import expat

from sememe.errors import ReadError

PIECE = 64 * 1024
DEEPEST = 2048
LONGEST_TOKEN = 16 << 20
"""Bytes of a tag or a comment, which expat must hold as a whole."""

Event: TypeAlias = tuple[str, str, Mapping[str, str]]
"""("<", tag, attributes), (">", tag, {}) or ("", text, {})."""

_NONE: Mapping[str, str] = {}


class Stream(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""


class Skipped:
    """An element that is passed over with all that is in it."""

    def __init__(self) -> None:
        self._tag, self._depth = "", 0

    def begin(self, tag: str) -> None:
        """Pass over what comes from here on, to the end of this element, whose start was just read."""
        self._tag, self._depth = tag, 1

    def holds(self, kind: str, tag: str) -> bool:
        """Whether an event is in the element, its end included. Every event must be shown."""
        if not self._depth:
            return False
        if kind and tag == self._tag:
            self._depth += 1 if kind == "<" else -1
        return True


def events(stream: Stream, name: str) -> Iterator[Event]:
    """The elements and texts of a document in order. `name` is what errors call it.

    Raises ReadError when it is not well-formed, declares entities, or is nested too deep.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    found: list[Event] = []
    _listen(parser, found, name)
    fed = 0
    try:
        while data := stream.read(PIECE):
            fed += len(data)
            parser.Parse(data, False)
            if fed - parser.CurrentByteIndex > LONGEST_TOKEN:
                raise ReadError(f"{name} has a tag of more than {LONGEST_TOKEN} bytes, which is more than is read")
            yield from found
            found.clear()
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: encodings that do not exist
        raise ReadError(f"{name} is not well-formed XML: {error}") from error
    yield from found


def _listen(parser: expat.XMLParserType, found: list[Event], name: str) -> None:
    tags: dict[str, str] = {}
    keys: dict[str, str] = {}
    depth = 0

    def short_tag(full: str) -> str:
        return tags.setdefault(full, full.rpartition(" ")[2])

    def short_key(full: str) -> str:
        uri, _, key = full.rpartition(" ")
        return keys.setdefault(full, f"r:{key}" if uri.endswith("/relationships") else key)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ReadError(f"{name} is nested more than {DEEPEST} deep, which is more than is read")
        named = {keys.get(key) or short_key(key): value for key, value in attributes.items()} if attributes else _NONE
        found.append(("<", tags.get(tag) or short_tag(tag), named))

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        found.append((">", tags[tag], _NONE))

    def text(content: str) -> None:
        found.append(("", content, _NONE))

    def entity(*_: object) -> None:
        raise ReadError(f"{name} declares entities, which may be a bomb; save it without a document type definition")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = entity
