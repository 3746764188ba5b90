"""Cuts a stream of blocks into chunks along the document's structure.

A section is a heading, the headings right below it, and the text up to the next heading. Chunks never cross a
section; inside one they are filled up to the budget and cut at the best boundary in their upper half. Blocks are
consumed as they come: what is held is one window of text, whatever the length of the document, and where windows
begin follows from the text alone, so that nothing depends on how the text was split into blocks. A few words without
a heading of their own, or a ruled line, are no section: they join the chunk before them, or else the one behind.

Knows text and a `TokenCounter`. Knows nothing of files, formats, models or stores.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from sememe.chunking.boundaries import LOOK_AHEAD, PROSE, Kind, cut_at, unit_starts
from sememe.errors import InputError
from sememe.types import Block, Chunk, TokenCounter, embedded_input

CHUNKER = "structure/2"
DEFAULT_OVERLAP = 24
SMALLEST_ROOM = 16
"""Tokens below which a chunk cannot hold a heading and a few characters of any script."""
CHARACTERS_PER_TOKEN = 10
"""Caps what tokens do not: white space costs none, a run without white space may cost one at any length."""
SCRAP = 40
"""Letters and digits below which a text says too little by itself: about eight words."""
WINDOW = 32 * 1024
PIECE = 64 * 1024

_INK = re.compile(r"\S")
_SIGNS = re.compile(r"[\W_]+")
# White space that every additive tokenizer cuts at. Python knows more (form feed, U+001C to U+001F): BERT's
# normalizer drops those, so that the words beside them grow together.
_GAP = frozenset("\t\n\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000") | set(map(chr, range(0x2000, 0x200B)))


def cut(
    blocks: Iterable[Block],
    counter: TokenCounter,
    *,
    max_tokens: int,
    reserved: int = 0,
    overlap: int = DEFAULT_OVERLAP,
    order: tuple[Kind, ...] = PROSE,
) -> Iterator[Chunk]:
    """Cut a document into chunks of at most `max_tokens` tokens each, lazily.

    `max_tokens` is what the model reads at once; `reserved` of them belong to special tokens and the prompt. A
    chunk that continues a section repeats up to `overlap` tokens of whole sentences (or lines) of the one before.
    `order` says which boundaries to cut at first (see `order_of`). Raises InputError when nothing could fit.
    """
    room = max_tokens - reserved
    if room < SMALLEST_ROOM:
        raise InputError(
            f"max_tokens is {max_tokens}, {reserved} of them reserved for special tokens and the prompt; "
            f"set it to {reserved + SMALLEST_ROOM} or more"
        )
    if overlap < 0:
        raise InputError(f"overlap is {overlap}; set it to 0 or more tokens")
    cutter = _Cutter(counter, room, reserved, min(overlap, room // 4), order)
    return cutter.chunks(blocks)


@dataclass(frozen=True, slots=True)
class _Heading:
    """A heading and where its first visible character stands in the document."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A chunk that was just cut, and what tells whether it may join the one before.

    `blank` is the white space between them, None where the chunk continues a section; `headed` tells whether it
    begins with a heading of its own, `empty` whether it is the document's end and nothing but headings.
    """

    chunk: Chunk
    blank: str | None
    headed: bool
    empty: bool = False

    @property
    def is_scrap(self) -> bool:
        return not self.headed and len(_SIGNS.sub("", self.chunk.text)) < SCRAP


class _Outline:
    """The headings above a place in the document, fitted into a share of the room."""

    def __init__(self, counter: TokenCounter, most: int) -> None:
        self._counter = counter
        self._most = most
        self._path: list[_Heading] = []
        self._ahead: deque[_Heading] = deque()
        self._fitted: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}

    def add(self, heading: _Heading) -> None:
        self._ahead.append(heading)

    def begins(self, start: int) -> bool:
        """Whether a heading with a title stands at `start`."""
        return any(heading.start == start and heading.title for heading in self._ahead)

    def above(self, start: int, end: int) -> tuple[tuple[str, ...], int]:
        """The titles before `start` that govern all of `[start, end)`, and the tokens of their line."""
        while self._ahead and self._ahead[0].start < start:
            heading = self._ahead.popleft()
            self._path = [above for above in self._path if above.level < heading.level]
            self._path.append(heading)
        inside = [heading.level for heading in self._ahead if heading.start < end]
        lowest = min(inside, default=7)
        titles = tuple(heading.title for heading in self._path if heading.title and heading.level < lowest)
        if titles not in self._fitted:
            self._fitted = {titles: self._fit(titles)}
        return self._fitted[titles]

    def _fit(self, titles: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """Drop outer titles, then shorten the innermost, until the line is within its share."""
        fitted = tuple(" ".join(title.split()) for title in titles)
        while len(fitted) > 1 and not self._fits(fitted):
            fitted = fitted[1:]
        while fitted and not self._fits(fitted):
            shorter = fitted[0].rstrip("…")[: CHARACTERS_PER_TOKEN * self._most]
            shorter = shorter[: len(shorter) * 3 // 4].rstrip()
            fitted = (shorter + "…",) if shorter else ()
        return fitted, self._tokens(fitted)

    def _fits(self, titles: tuple[str, ...]) -> bool:
        line = embedded_input(titles, "")
        return len(line) <= CHARACTERS_PER_TOKEN * self._most and self._tokens(titles) <= self._most

    def _tokens(self, titles: tuple[str, ...]) -> int:
        return self._counter.count(embedded_input(titles, "")) if titles else 0


class _Window:
    """A run of text, where its tokens begin, and whether its section ends with it."""

    def __init__(self, text: str, counter: TokenCounter, *, last: bool) -> None:
        self.text = text
        self.last = last
        self._starts = np.ascontiguousarray(counter.offsets(text)[:, 0])
        self.rest = _rest(text) if last else len(text)

    def ink(self, start: int) -> int | None:
        """The first place from `start` that is not white space."""
        found = _INK.search(self.text, start)
        return found.start() if found else None

    def tokens(self, start: int, end: int) -> int:
        """The number of tokens that begin in `[start, end)`."""
        first, behind = np.searchsorted(self._starts, (start, end))
        return int(behind - first)

    def after(self, start: int, tokens: int) -> int:
        """The place behind the first `tokens` tokens from `start`: where the next one begins, or the end."""
        index = int(np.searchsorted(self._starts, start)) + tokens
        return int(self._starts[index]) if index < len(self._starts) else len(self.text)

    def before(self, end: int, tokens: int) -> int:
        """The place where the last `tokens` tokens before `end` begin."""
        index = int(np.searchsorted(self._starts, end)) - tokens
        return int(self._starts[index]) if index > 0 else 0

    def middle(self, start: int, end: int) -> int:
        """The place with half of the tokens of `[start, end)` before it."""
        tokens = self.tokens(start, end)
        return self.after(start, tokens // 2) if tokens > 1 else start + (end - start) // 2

    def is_apart(self, start: int, end: int) -> bool:
        """Whether a gap (or the text's own end) lies on both sides of `[start, end)`."""
        text = self.text
        return (start == 0 or text[start - 1] in _GAP) and (end == len(text) or text[end] in _GAP)


class _Cutter:
    """The state of one document. Places are relative to `_base`, where in the document the held text begins.

    The next chunk begins at `_start`; the last one ended at `_done`, which is further by the overlap. `_blank`
    is the white space behind the last chunk while nothing but white space has followed, None within a section.
    """

    def __init__(self, counter: TokenCounter, room: int, reserved: int, overlap: int, order: tuple[Kind, ...]) -> None:
        self._counter = counter
        self._room = room
        self._reserved = reserved
        self._overlap = overlap
        self._order = order
        self._outline = _Outline(counter, room // 3)
        self._reach = CHARACTERS_PER_TOKEN * room + LOOK_AHEAD
        self._window = max(WINDOW, 8 * self._reach)
        self._held: list[str] = []
        self._size = 0
        self._base = 0
        self._start = 0
        self._done = 0
        self._blank: str | None = ""
        self._body = False

    def chunks(self, blocks: Iterable[Block]) -> Iterator[Chunk]:
        """All chunks of the document. One is held back, for what says too little by itself to join it."""
        position = 0
        last: _Fresh | None = None
        for fresh in self._sections(blocks):
            joined = self._join(last, fresh) if last is not None else None
            if last is not None and joined is None:
                yield replace(last.chunk, position=position)
                position += 1
            last = fresh if joined is None else joined
        if last is not None:
            yield replace(last.chunk, position=position)

    def _sections(self, blocks: Iterable[Block]) -> Iterator[_Fresh]:
        for block in _bounded(blocks):
            if block.level and self._body:
                yield from self._cut(final=True)
                self._body = False
            self._take(block)
            yield from self._cut(final=False)
        rest = list(self._cut(final=True))
        alone = len(rest) == 1 and not self._body
        yield from (replace(fresh, empty=alone) for fresh in rest)

    def _join(self, last: _Fresh, fresh: _Fresh) -> _Fresh | None:
        """Both as one, if one of them is too little alone, nothing else lies between them, and the model can read it.

        Headings of the first have to govern the second too, but for mere headings at a document's end.
        """
        before, chunk, blank = last.chunk, fresh.chunk, fresh.blank
        governed = chunk.headings[: len(before.headings)] == before.headings
        if blank is None or not (fresh.empty or (governed and (last.is_scrap or fresh.is_scrap))):
            return None
        text = before.text + blank + chunk.text
        if before.end + len(blank) != chunk.start or len(text) > CHARACTERS_PER_TOKEN * self._room:
            return None
        tokens = self._counter.count(embedded_input(before.headings, text))
        if tokens > self._room:
            return None
        return replace(last, chunk=replace(before, end=chunk.end, text=text, tokens=tokens + self._reserved))

    def _take(self, block: Block) -> None:
        """Hold the block's text, but no white space in front of everything held."""
        text = block.text.lstrip() if self._size == 0 else block.text
        if self._blank is not None and len(self._blank) <= self._reach:
            self._blank += block.text[: len(block.text) - len(text)]
        if self._size == 0:
            self._base += len(block.text) - len(text)
        if block.level:
            indent = len(text) - len(text.lstrip())
            self._outline.add(_Heading(self._base + self._size + indent, block.level, block.title))
        elif not self._body:
            self._body = bool(text) and not text.isspace()
        if text:
            self._held.append(text)
            self._size += len(text)

    def _cut(self, *, final: bool) -> Iterator[_Fresh]:
        """Cut what is held as far as it is certain; all of it when the section ends here."""
        while self._size >= self._window or (final and self._size):
            text = "".join(self._held)
            last = final and self._size <= self._window
            yield from self._cut_window(_Window(text[: self._window], self._counter, last=last))
            used = self._size if last else self._start
            self._held = [text[used:]]
            self._size -= used
            self._base += used
            self._done = 0 if last else self._done - used
            self._start = 0

    def _cut_window(self, window: _Window) -> Iterator[_Fresh]:
        """Move `_start` through the window until what follows it needs text from behind the window."""
        while True:
            fresh = window.ink(self._done)
            if fresh is None:
                if window.last:
                    self._blank = window.text[self._done :]
                elif self._start == 0:
                    self._start = self._done = len(window.text)
                return
            if self._start == self._done:
                self._start = self._done = fresh
            if not window.last and self._start + self._reach >= len(window.text):
                return
            chunk, headed = self._chunk(window, fresh)
            blank, self._blank = self._blank, None
            self._done = chunk.end - self._base
            self._start = self._next_start(window, self._start, self._done)
            yield _Fresh(chunk, blank, headed)

    def _chunk(self, window: _Window, fresh: int) -> tuple[Chunk, bool]:
        """The chunk from `_start`, which has to reach beyond `fresh`, the first place not in a chunk yet; and whether
        it begins with a heading."""
        while True:
            start = self._base + self._start
            titles, line = self._outline.above(start, start + self._reach)
            end, tokens = self._fill(window, fresh, titles, line)
            if end > fresh:
                break
            self._start = self._done = fresh  # the repeated sentences left no room for anything new
        text = window.text[self._start : end]
        chunk = Chunk(0, start, start + len(text), text, titles, tokens + self._reserved)
        return chunk, self._outline.begins(start)

    def _fill(self, window: _Window, fresh: int, titles: tuple[str, ...], line: int) -> tuple[int, int]:
        """Where the chunk from `_start` ends, and the tokens of its input."""
        text, start = window.text, self._start
        budget = self._room - line
        high = min(window.after(start, budget), start + CHARACTERS_PER_TOKEN * budget)
        while True:
            high = max(high, start + 1)
            if window.last and high == len(text):
                place = high
            else:
                low = max(window.middle(start, high), fresh)
                high = min(high, window.rest) if window.rest > low else high
                place = cut_at(text, start, low=low, high=high, order=self._order)
            end = start + len(text[start:place].rstrip())
            tokens = self._measure(window, start, end, titles, line)
            if tokens <= self._room or end == start + 1:
                return end, tokens
            high = start + self._shorten(text[start:end], tokens - self._room)

    def _measure(self, window: _Window, start: int, end: int, titles: tuple[str, ...], line: int) -> int:
        """The tokens of a chunk's input. Between two gaps the window's own are exact, else we count again."""
        text = window.text[start:end]
        if not self._counter.additive:
            return self._counter.count(embedded_input(titles, text))
        if window.is_apart(start, end):
            return line + window.tokens(start, end)
        return line + self._counter.count(text)

    def _shorten(self, text: str, excess: int) -> int:
        """A length of `text` with about `excess` tokens less; always less than before, and never 0."""
        starts = self._counter.offsets(text)[:, 0]
        kept = len(starts) - excess
        length = int(starts[kept]) if 0 < kept < len(starts) else 0
        return length if 0 < length < len(text) else len(text) // 2

    def _next_start(self, window: _Window, start: int, end: int) -> int:
        """Where the sentences at the end of `[start, end)` begin that the next chunk repeats; else `end`."""
        if not self._overlap:
            return end
        earliest = max(window.before(end, self._overlap), end - CHARACTERS_PER_TOKEN * self._overlap)
        for place in unit_starts(window.text, start, end, order=self._order):
            ink = window.ink(place)
            if ink is not None and earliest <= ink < end:
                return ink
        return end


def _rest(text: str) -> int:
    """The last place where a text can be cut so that what is left of it is no scrap; its end where there is none."""
    said = 0
    for place in range(len(text) - 1, 0, -1):
        said += text[place].isalnum()
        if said == SCRAP:
            return place
    return len(text)


def _bounded(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same blocks, none longer than a piece, so that cutting never copies a long text again and again."""
    for block in blocks:
        if len(block.text) <= PIECE:
            yield block
            continue
        yield Block(block.text[:PIECE], block.level, block.title)
        for start in range(PIECE, len(block.text), PIECE):
            yield Block(block.text[start : start + PIECE])
