"""Texts that are longer than a model reads: cut to its limit, or read in windows whose vectors are averaged, or the
chunks of a document embedded together, each in the light of the others.

This file knows counting tokens and calling an encoder; it knows no network. What each way is worth: docs/long.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from sememe.errors import InputError
from sememe.space import Embedder
from sememe.types import Embedded, Ids, Long, TokenCounter, Vectors
from sememe.vectors import normalise

LATE_TOKENS = 256
"""What a chunk holds at most where its context comes from the chunks beside it."""

REPEATED = 8
"""A window repeats an eighth of the one before it, so that no sentence is read in two halves only."""

Embed: TypeAlias = Callable[[Sequence[str]], Embedded]


@runtime_checkable
class EmbedsTogether(Protocol):
    """An embedder that can give the chunks of a document vectors that know of each other."""

    def encode_together(self, chunks: Sequence[str]) -> Vectors:
        """Vectors of the chunks of one document, in their order: (n, dim) float32."""


class InContext(str):
    """A chunk's input among those that it is embedded with: itself, their texts, and its place among them."""

    __slots__ = ("among", "place")

    def __new__(cls, among: tuple[str, ...], place: int) -> InContext:
        """The text is that at the place."""
        made = super().__new__(cls, among[place])
        made.among, made.place = among, place
        return made

    among: tuple[str, ...]
    place: int


def document_embedding(embedder: Embedder, long: Long) -> Embed:
    """How documents are embedded where long ones are treated so.

    Raises InputError or ModelError for an embedder that cannot.
    """
    if long == "windows":
        room = embedder.space.max_tokens - embedder.reserved
        embed: Embed = partial(embedder.embed, role="document")
        return partial(in_windows, embed, counter=embedder.counter, room=room, unit=embedder.space.normalised)
    if long == "late":
        if not isinstance(embedder, EmbedsTogether):
            raise InputError(f"{embedder.space.model} cannot embed chunks together; use windows, or truncate")
        embedder.encode_together(())
        return partial(_together, embedder, embedder)
    return partial(embedder.embed, role="document")


def in_windows(embed: Embed, texts: Sequence[str], *, counter: TokenCounter, room: int, unit: bool) -> Embedded:
    """Texts embedded by `embed`, those of more than `room` tokens as the mean of their windows, weighted by tokens.

    `unit` scales a mean to unit length again. What was cut is counted as it was read: in windows, all of it.
    """
    if room < REPEATED:
        raise InputError(f"{room} tokens are left of the model's limit for a window; use a shorter prompt")
    if not texts:
        return embed(texts)
    pieces: list[str] = []
    ends: list[int] = []
    for text in checked(texts):
        # No token is shorter than a character.
        spans = windows(text, counter, room) if len(text) > room else [(0, len(text))]
        pieces += [text[start:end] for start, end in spans]
        ends.append(len(pieces))
    made = embed(pieces)
    firsts = np.array([0, *ends[:-1]], dtype=np.int64)
    several = np.diff([0, *ends]) > 1
    vectors = made.vectors[firsts]
    for row in np.flatnonzero(several):
        part = slice(firsts[row], ends[row])
        vectors[row] = np.average(made.vectors[part], axis=0, weights=made.kept[part])
    if unit:
        vectors[several] = normalise(vectors[several])
    tokens, kept, replaced = (np.add.reduceat(one, firsts) for one in (made.tokens, made.kept, made.replaced))
    return Embedded(vectors, tokens, kept, replaced)


def checked(texts: Sequence[str]) -> Sequence[str]:
    """The same texts. Raises InputError when one is no string, naming its position."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {i} is a {type(text).__name__}, not a string")
    return texts


def windows(text: str, counter: TokenCounter, room: int) -> Iterator[tuple[int, int]]:
    """The spans of characters that a text is read in, each at most `room` tokens, cut between words where it can be.

    Each repeats an eighth of the one before.
    """
    spans = counter.offsets(text)
    if len(spans) <= room:
        yield 0, len(text)
        return
    # A piece may have a token more by itself than it had within its text.
    size = max(room - 2, REPEATED - 2)
    first = 0
    while first + size < len(spans):
        last = _word(text, spans[:, 0], first + size, first + size // 2)
        yield (0 if first == 0 else int(spans[first, 0])), int(spans[last, 0])
        first = _word(text, spans[:, 0], max(last - size // REPEATED, first + 1), first + 1)
    yield int(spans[first, 0]), len(text)


def _word(text: str, starts: Ids, token: int, least: int) -> int:
    """The last token up to the given one that begins a word, or the given one if none does from `least` on."""
    for candidate in range(token, least - 1, -1):
        if starts[candidate] == 0 or text[starts[candidate] - 1].isspace() or text[starts[candidate]].isspace():
            return candidate
    return token


def _together(embedder: Embedder, together: EmbedsTogether, texts: Sequence[str]) -> Embedded:
    """Every text in the light of those that it is among; one that is among none is embedded by itself."""
    n = len(texts)
    vectors = np.zeros((n, embedder.space.dim), dtype=np.float32)
    tokens = np.array([embedder.counter.count(text) + embedder.reserved for text in texts], dtype=np.int64)
    for among, group in groupby(range(n), key=lambda i: getattr(texts[i], "among", (texts[i],))):
        rows = list(group)
        made = together.encode_together(among)
        vectors[rows] = made[[getattr(texts[i], "place", 0) for i in rows]]
    return Embedded(vectors, tokens, np.minimum(tokens, embedder.space.max_tokens), np.zeros(n, dtype=np.int64))


def contexts(inputs: Sequence[str], counts: Sequence[int], most: int) -> list[InContext]:
    """Consecutive inputs of one document in groups of at most `most` tokens, at least one each."""
    found: list[InContext] = []
    start = total = 0
    for i, count in enumerate(counts):
        if i > start and total + count > most:
            found += [InContext(tuple(inputs[start:i]), place) for place in range(i - start)]
            start, total = i, 0
        total += count
    return found + [InContext(tuple(inputs[start:]), place) for place in range(len(inputs) - start)]
