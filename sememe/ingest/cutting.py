"""From items to windows: read, cut and collect until there is enough to embed at once.

A window holds whole documents and pieces of long ones, so memory is bounded however long a document is. This file
knows sources and chunking; it knows no model but its token counter, and nothing of the store.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from sememe.chunking import CHUNKER, DEFAULT_OVERLAP, WHOLE, cut, order_of, whole
from sememe.errors import InputError, ReadError
from sememe.index.words import likely_languages
from sememe.ingest.items import Item, part_key
from sememe.models.long import InContext, contexts
from sememe.sources import Part, Parts, Refused, Unreadable
from sememe.sources.files import NO_CHOICE
from sememe.sources.formats import current
from sememe.sources.source import ReadOptions
from sememe.store.records import NOTHING, KnownDocument, Outside, SourceStamp
from sememe.types import Block, Chunk, Document, LedgerRow, Long, Origin, Recipe, TokenCounter

WINDOW_CHARACTERS = 8_000_000
WINDOW_TOKENS = 65_536
"""Six seconds of embedding on two cores: half of what a kill can cost, and enough to sort by length in."""

FIRST_WINDOW_TOKENS = 8_192
WINDOW_GROWTH = 4
"""The first window is small, so that even an impatient person gets on; at the end of each a core waits for the other,
so that there are few: twice as many of 4,096 and twice the one before took 3 % longer for 4,000 small files."""

TEXT_PART = 65_536
DEEPEST = 5
"""Files of many documents within one another: a mail in a mailbox in an archive, and room for two more."""
SAMPLED_CHUNKS = 4
"""Chunks from the beginning of a document that tell its language."""

_LANGUAGE_CODE = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9_-]+)?$")

Known: TypeAlias = Callable[[str], KnownDocument | None]
"""What is stored under a key."""

Moved: TypeAlias = Mapping[bytes, Outside]
"""What was given of files that are not there any more, by the digest of their bytes."""

RACY_NS = 2_000_000_000
"""A file written less than two seconds before it was indexed may change again within its time stamp's grain."""


@dataclass(frozen=True, slots=True)
class CutOptions:
    """How documents are cut: the model's limit, what every input spends, and the overlap, all in tokens.

    `read` is what was chosen of reading them. `languages` are those that the model knows, as ISO 639-1 codes; none
    when that is not known. `long` is what becomes of what the model cannot read at once; `context` is how many tokens
    of chunks are embedded together where it is "late".
    """

    counter: TokenCounter
    max_tokens: int
    reserved: int
    overlap: int = DEFAULT_OVERLAP
    chunk: bool = True
    read: ReadOptions = NO_CHOICE
    languages: tuple[str, ...] = ()
    long: Long = "truncate"
    context: int = 0

    def recipe(self, reader: str) -> Recipe:
        """What is stored with a document, to tell whether it has to be cut again."""
        long = "" if self.long == "truncate" else f"+{self.long}"
        return Recipe(
            reader=reader,
            chunker=(CHUNKER if self.chunk else WHOLE) + long,
            max_tokens=self.max_tokens,
            overlap=self.overlap if self.chunk else 0,
        )

    def sources(self, chunks: list[Chunk]) -> list[str]:
        """The strings that consecutive chunks of one document are embedded from."""
        inputs = [chunk.input for chunk in chunks]
        if self.long != "late":
            return inputs
        return list(contexts(inputs, [chunk.tokens for chunk in chunks], self.context))


@dataclass(slots=True)
class Piece:
    """A part of one document: new text, new chunks, what each is embedded from and the digest of that.

    `last` ends the document.
    """

    item: Item
    document: Document
    stamp: SourceStamp
    texts: list[tuple[int, str]] = field(default_factory=list)
    places: list[tuple[int, str]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    characters: int = 0
    first: bool = False
    last: bool = False
    failure: LedgerRow | None = None
    outside: Outside = NOTHING


@dataclass(frozen=True, slots=True)
class Described:
    """A stored document whose text has not changed, or a file of many, with what is said of it now."""

    known: KnownDocument
    item: Item
    outside: Outside


@dataclass(slots=True)
class Container:
    """A file of many documents, once it was read to its end or could not be.

    `parts` counts what came, `replaced` those of them that had another document before, and `unchanged` are the ids of
    those whose documents are stored as they are. It is `fresh` when nothing of it was known.
    """

    item: Item
    stamp: SourceStamp
    recipe: Recipe
    fresh: bool
    content: Parts
    outside: Outside
    parts: int = 0
    replaced: int = 0
    unchanged: array[int] = field(default_factory=lambda: array("q"))
    failure: LedgerRow | None = None


@dataclass(slots=True)
class Window:
    """What is embedded and stored together.

    Files of many documents are in `begun` when their first part may come, in `containers` when their last one is in
    this window or an earlier one, in `seen` if they lie in another one and have not changed. `described` have other
    metadata than is stored, `cleared` are keys that the ledger has nothing more to say of.
    """

    pieces: list[Piece] = field(default_factory=list)
    refused: list[LedgerRow] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    touched: list[tuple[KnownDocument, SourceStamp]] = field(default_factory=list)
    described: list[Described] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    begun: list[Container] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    finished_bytes: int = 0
    chunk_count: int = 0
    tokens: int = 0
    characters: int = 0


class Windows:
    """Iterates over items once and yields windows. `known` tells what is stored already, `known_part` of parts."""

    def __init__(
        self, items: Iterable[Item | LedgerRow], known: Known, options: CutOptions, *, size: int,
        known_part: Known = lambda _: None, keep_text: bool = True, checksum: bool = False, moved: Moved | None = None,
    ) -> None:  # fmt: skip
        self._items = items
        self._known = known
        self._known_part = known_part
        self._inside: list[Container] = []
        self._options = options
        self._size = size
        self._keep_text = keep_text
        self._checksum = checksum
        self._moved = moved or {}
        self._window = Window()
        self._tokens = FIRST_WINDOW_TOKENS

    def __iter__(self) -> Iterator[Window]:
        try:
            yield from self._windows()
        except InputError:
            # A record that cannot be used ends everything, but not what came before it.
            yield self._take()
            raise
        yield self._take()

    def _windows(self) -> Iterator[Window]:
        for item in self._items:
            if isinstance(item, LedgerRow):
                self._window.refused.append(item)
                continue
            if not self._same_stamp(item):
                yield from self._read(item)
            self._window.finished_bytes += item.size or 0
            if self._full():
                yield self._take()

    def _full(self) -> bool:
        window = self._window
        rest = len(window.refused) + len(window.unchanged)
        return (
            window.chunk_count >= self._size
            or window.tokens >= self._tokens
            or window.characters >= WINDOW_CHARACTERS
            or rest >= 10 * self._size
        )

    def _take(self) -> Window:
        window, self._window = self._window, Window()
        self._tokens = min(WINDOW_GROWTH * self._tokens, WINDOW_TOKENS)
        return window

    def _same_stamp(self, item: Item) -> bool:
        """Whether size and time say that the file is what is stored. Cheap; not asked of given texts."""
        known = self._known(item.key)
        if known is None or item.mtime_ns is None or self._checksum or not self._same_recipe(known):
            return False
        stamp = known.stamp
        settled = item.mtime_ns + RACY_NS < known.added * 1e9
        if settled and (stamp.size, stamp.mtime_ns) == (item.size, item.mtime_ns):
            self._window.unchanged.append(item.key)
            self._describe(item, known, touched=False)
            return True
        return False

    def _same_recipe(self, known: KnownDocument) -> bool:
        if not known.settled:
            return False
        named = "" if known.stamp.origin == "given" else known.key
        return known.recipe == self._options.recipe(current(named, known.recipe.reader, self._options.read))

    def _read(self, item: Item) -> Iterator[Window]:
        known = self._stored(item)
        try:
            digest = item.digest()
            stamp = SourceStamp(origin=item.origin, digest=digest, size=item.size, mtime_ns=item.mtime_ns)
            if known is not None and known.stamp.digest == digest and self._same_recipe(known):
                self._pass(item, known, stamp)
                return
            if self._inside and known is not None and known.documents is None:
                self._inside[-1].replaced += 1
            opened = item.open()
        except (OSError, ReadError) as error:
            self._window.refused.append(_unreadable(item, error))
            return
        if isinstance(opened, Refused):
            self._window.refused.append(refusal(item.key, item.origin, opened))
            self._outside(item, known, digest)  # what is wrong with its sidecar is said all the same
        elif isinstance(opened, Parts) and len(self._inside) >= DEEPEST:
            reason = f"it lies in {DEEPEST} files, one within the other, and holds more; unpack the outer ones"
            self._window.refused.append(LedgerRow(item.key, "skipped", reason, origin=item.origin))
        else:
            if self._inside:
                opened.metadata = {**self._inside[-1].content.metadata, **opened.metadata}
            outside = self._outside(item, known, digest)
            if isinstance(opened, Parts):
                yield from self._parts(item, opened, stamp, outside)
            else:
                yield from self._cut(item, opened, stamp, outside)

    def _stored(self, item: Item) -> KnownDocument | None:
        if not self._inside:
            return self._known(item.key)
        return None if self._inside[-1].fresh else self._known_part(item.key)

    def _pass(self, item: Item, known: KnownDocument, stamp: SourceStamp) -> None:
        """Leave what is stored as it is."""
        self._window.unchanged.append(item.key)
        if self._inside and known.documents is None:
            self._inside[-1].unchanged.append(known.id)
        elif self._inside:
            self._window.seen.append(item.key)
        touched = not self._inside and (known.stamp.size, known.stamp.mtime_ns) != (item.size, item.mtime_ns)
        if touched:
            self._window.touched.append((known, stamp))
        self._describe(item, known, touched=touched)

    def _parts(self, item: Item, content: Parts, stamp: SourceStamp, outside: Outside) -> Iterator[Window]:
        """Read the parts of a file one by one; none is held when the next one comes."""
        fresh = self._inside[-1].fresh if self._inside else False
        fresh = fresh or self._known_part(item.key) is None
        container = Container(item, stamp, self._options.recipe(content.reader), fresh, content, outside)
        self._window.begun.append(container)
        self._inside.append(container)
        try:
            for part in content.parts:
                container.parts += 1
                yield from self._part(item.key, part)
                if self._full():
                    yield self._take()
        except (OSError, ReadError) as error:
            container.failure = _unreadable(item, error)
        self._inside.pop()
        self._window.containers.append(container)

    def _part(self, owner: str, part: Part | Unreadable) -> Iterator[Window]:
        key = part_key(owner, part.name)
        if isinstance(part, Part):
            digest = part.digest
            yield from self._read(Item(key, "part", digest=lambda: digest, open=partial(part.open, key)))
        else:
            row = LedgerRow(key, part.status, part.reason, retryable=part.retryable, origin="part")
            self._window.refused.append(row)

    def _outside(self, item: Item, known: KnownDocument | None, digest: bytes = b"") -> Outside:
        """What is said of an item from outside; that of before where the sidecar cannot be read, which is noted."""
        if self._inside:
            return self._inside[0].outside
        before = known.outside if known is not None else self._moved.get(digest, NOTHING)
        if item.about is None:
            return before
        settled_before = 0.0 if known is None or self._checksum else known.added - RACY_NS / 1e9
        try:
            outside = item.about.outside(before, settled_before=settled_before)
        except ReadError as error:
            said = f"{error}; it describes {item.key}, which goes without" + (" what is new" if before.sidecar else "")
            self._window.refused.append(LedgerRow(item.sidecar_key, "failed", said, retryable=True))
            return before
        if item.sidecar_key and outside.stamp != before.stamp:
            self._window.cleared.append(item.sidecar_key)
        return outside

    def _describe(self, item: Item, known: KnownDocument, *, touched: bool) -> None:
        """Note a document of which something else is said than is stored; its text is not looked at."""
        outside = self._outside(item, known)
        if touched or outside != known.outside:
            self._window.described.append(Described(known, item, outside))

    def _cut(self, item: Item, document: Document, stamp: SourceStamp, outside: Outside) -> Iterator[Window]:
        piece = Piece(item, document, stamp, first=True, outside=outside)
        self._window.pieces.append(piece)
        text = _Tee(document.blocks, keep=self._keep_text)
        sample: list[str] = []
        try:
            for chunk in self._chunks(text, document):
                if len(sample) < SAMPLED_CHUNKS:
                    sample.append(chunk.text)
                piece.chunks.append(chunk)
                self._window.chunk_count += 1
                self._window.tokens += chunk.tokens
                if self._full() or text.pending >= WINDOW_CHARACTERS:
                    piece.texts, piece.places, piece.characters = text.take(), text.take_places(), text.characters
                    self._trace(piece)
                    yield self._take()
                    piece = Piece(item, document, stamp, outside=outside)
                    self._window.pieces.append(piece)
        except (OSError, ReadError) as error:
            piece.failure = _unreadable(item, error)
        document.remarks += foreign(sample, outside.over(document.metadata).get("language"), self._options.languages)
        piece.texts, piece.places, piece.characters, piece.last = text.take(), text.take_places(), text.characters, True
        self._trace(piece)
        self._window.characters += sum(len(part) for _, part in piece.texts)

    def _trace(self, piece: Piece) -> None:
        piece.sources = self._options.sources(piece.chunks)
        piece.inputs = [input_digest(source, self._options.long) for source in piece.sources]

    def _chunks(self, blocks: Iterable[Block], document: Document) -> Iterator[Chunk]:
        options = self._options
        if not options.chunk:
            return whole(blocks, options.counter, reserved=options.reserved)
        return cut(
            blocks, options.counter, max_tokens=options.max_tokens, overlap=options.overlap,
            reserved=options.reserved, order=order_of(document.reader),
        )  # fmt: skip


class _Tee:
    """Blocks on their way to be cut, copied into parts of bounded size on their way to be stored."""

    def __init__(self, blocks: Iterable[Block], *, keep: bool) -> None:
        self._blocks = blocks
        self._keep = keep
        self._parts: list[tuple[int, str]] = []
        self._open: list[str] = []
        self._open_length = 0
        self._place = ""
        self._places: list[tuple[int, str]] = []
        self.characters = 0
        self.pending = 0

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            if block.place != self._place and block.text:
                self._place = block.place
                self._places.append((self.characters, block.place))
            self.characters += len(block.text)
            if self._keep:
                self._open.append(block.text)
                self._open_length += len(block.text)
                self.pending += len(block.text)
                if self._open_length >= TEXT_PART:
                    self._close()
            yield block

    def _close(self) -> None:
        if self._open_length:
            self._parts.append((self.characters - self._open_length, "".join(self._open)))
        self._open, self._open_length = [], 0

    def take(self) -> list[tuple[int, str]]:
        """The parts since the last call, each with the character it starts at."""
        self._close()
        parts, self._parts, self.pending = self._parts, [], 0
        return parts

    def take_places(self) -> list[tuple[int, str]]:
        """The places since the last call, each with the character it starts at."""
        places, self._places = self._places, []
        return places


def input_digest(text: str, long: Long = "truncate") -> bytes:
    """Sixteen bytes that stand for the exact string which is embedded, and what its vector depends on besides."""
    if isinstance(text, InContext):
        text = "\0".join((*text.among, str(text.place)))
    how = "" if long == "truncate" else f"{long}\0"
    return hashlib.sha256((how + text).encode("utf-8", "surrogatepass")).digest()[:16]


def foreign(sample: Iterable[str], declared: object, known: tuple[str, ...]) -> list[str]:
    """A remark on a document in a language that the model does not know: as it says of itself, else as it looks."""
    if not known or "multilingual" in known:
        return []
    code = _LANGUAGE_CODE.match(declared.lower()) if isinstance(declared, str) else None
    languages = (code[1],) if code else likely_languages("\n".join(sample))
    if not languages or not {_language(one) for one in known}.isdisjoint(languages):
        return []
    said = "says that it is" if code else "seems to be"
    return [
        f"language: the text {said} in {languages[0]!r}, and the model knows {', '.join(known)}: searches by meaning "
        f"will miss it; take a model that knows the language, or search with --mode lexical"
    ]


def _language(code: str) -> str:
    return code.lower().replace("_", "-").partition("-")[0]


def refusal(key: str, origin: Origin, refused: Refused) -> LedgerRow:
    """The ledger row of a source that gave no document."""
    return LedgerRow(key=key, status=refused.status, reason=refused.reason, retryable=refused.retryable, origin=origin)


def _unreadable(item: Item, error: OSError | ReadError) -> LedgerRow:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    retryable = error.retryable if isinstance(error, ReadError) else True
    return LedgerRow(key=item.key, status="failed", reason=reason, retryable=retryable, origin=item.origin)
