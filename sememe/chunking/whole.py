"""No cutting at all: a document is one chunk, and what the model cannot read of it is reported as truncated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sememe.types import Block, Chunk, TokenCounter

WHOLE = "whole/1"


def whole(blocks: Iterable[Block], counter: TokenCounter, *, reserved: int = 0) -> Iterator[Chunk]:
    """The document's text without the white space around it, as one chunk; none when there is no text."""
    text = "".join(block.text for block in blocks)
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    if start < end:
        inner = text[start:end]
        yield Chunk(position=0, start=start, end=end, text=inner, headings=(), tokens=reserved + counter.count(inner))
