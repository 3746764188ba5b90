"""One vector of all parts of a query.

This file knows how parts become a vector, and nothing of how the vector is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from sememe.errors import InputError, NotFound
from sememe.search.parts import Combine, Part, Sought, Stored, said
from sememe.search.query import Query, checked_vector
from sememe.space import Embedder, Encoder, Held, Space, prompted
from sememe.store import SQLiteStore
from sememe.store.records import StoredChunk
from sememe.types import CHUNK_PREFIX, Role, Vectors
from sememe.vectors import normalise

CANCELLED = 1e-5
"""A combination that is shorter than this, against the sum of its parts' lengths, is rounding error."""

SHOWN = 60
"""Characters of a part that a note repeats."""


class Record(Protocol):
    """What is stored under a name."""

    @property
    def text(self) -> str:
        """The whole text."""

    @property
    def chunks(self) -> Sequence[StoredChunk]:
        """Its chunks."""


Find = Callable[[str], Record]
"""Gives what is stored under a key or id, or raises NotFound."""


def resolved(query: Query, *, find: Find, store: SQLiteStore, held: Held, embedder: Encoder | None) -> Query:
    """The query with the one vector of its parts, and as its text the words of those that do not lead away. Its own
    text and vector are parts that weigh 1.

    What is stored and named is not found itself. Raises InputError when a part cannot be used or all of them cancel
    each other out, and NotFound.
    """
    if held.kind != "dense":
        raise InputError(f"parts of a query are added up as vectors, and space {held.name!r} has none; leave them out")
    own_parts = [Part(what) for what in (query.text, query.vector) if what is not None]
    parts = (*own_parts, *query.parts)
    vectors, inputs, notes, own = _vectors(parts, find, store, held, embedder)
    words = " ".join(part.what for part in parts if isinstance(part.what, str) and part.weight > 0)
    step = Combine(tuple((part.weight, str(part)) for part in parts), inputs)
    return replace(
        query, parts=parts, text=words or None, vector=_whole(parts, vectors, held.space), sought=Sought(step, notes),
        exclude=query.exclude | own,
    )  # fmt: skip


def combined(vectors: Vectors, weights: Sequence[float]) -> Vectors:
    """The weighted sum of the rows of (n, dim): (dim,) float32, summed in float64."""
    total: Vectors = np.einsum("n,nd->d", np.asarray(weights, np.float64), vectors).astype(np.float32)
    return total


def _whole(parts: Sequence[Part], vectors: Vectors, space: Space) -> Vectors:
    """Under cosine only directions count; else lengths do too, and the sum is made a mean of what draws near."""
    weights = [part.weight for part in parts]
    if space.metric == "cosine":
        vectors = normalise(vectors)
    else:
        weights = [weight / (sum(w for w in weights if w > 0) or 1.0) for weight in weights]
    total = combined(vectors, weights)
    most = float(np.abs(weights) @ np.linalg.norm(vectors, axis=1))
    if not most:
        raise InputError("every part of the query weighs 0, so nothing is looked for; give one of them another weight")
    if np.linalg.norm(total) <= CANCELLED * most:
        names = said([(part.weight, str(part)) for part in parts])
        raise InputError(f"the parts of the query cancel each other out ({names}); change a weight, or leave one out")
    return total


def _vectors(
    parts: Sequence[Part], find: Find, store: SQLiteStore, held: Held, embedder: Encoder | None
) -> tuple[Vectors, tuple[str, ...], tuple[str, ...], frozenset[int]]:
    """Of every part its vector; what was embedded; what to say of it; and the chunks that the parts are made of."""
    vectors = np.zeros((len(parts), held.space.dim), np.float32)
    texts: dict[Role, dict[int, str]] = {"query": {}, "document": {}}
    members: dict[int, list[int]] = {}
    for i, part in enumerate(parts):
        if isinstance(part.what, str):
            texts["query"][i] = part.what
        elif isinstance(part.what, Stored):
            chunks, text = _located(part.what, find)
            members[i] = chunks
            texts["document"] |= {} if text is None else {i: text}
        else:
            vectors[i] = checked_vector(part.what, held.space.dim)
    for i, vector in _means({i: m for i, m in members.items() if i not in texts["document"]}, parts, store, held):
        vectors[i] = vector
    inputs: list[str] = []
    notes: list[str] = []
    for role, wanted in texts.items():
        if wanted:
            assert isinstance(embedder, Embedder)
            found = embedder.embed(list(wanted.values()), role=role)
            vectors[list(wanted)] = found.vectors
            inputs += [prompted(dict(held.space.prompts).get(role, ""), text) for text in wanted.values()]
            notes += [_cut_note(parts[i], held.space) for i, whole in
                      zip(wanted, found.kept >= found.tokens, strict=True) if not whole]  # fmt: skip
    return vectors, tuple(inputs), tuple(notes), frozenset(number for own in members.values() for number in own)


def _means(
    members: dict[int, list[int]], parts: Sequence[Part], store: SQLiteStore, held: Held
) -> Iterator[tuple[int, Vectors]]:
    """Of every part the mean of its chunks' vectors."""
    with store.snapshot() as snapshot:
        numbers = sorted({number for own in members.values() for number in own})
        ids, rows = snapshot.vectors(numbers, held.space.dim, space=held.key)
    row_of = dict(zip(ids.tolist(), rows, strict=True))
    for i, own in members.items():
        there = [row_of[number] for number in own if number in row_of]
        if not there:
            raise NotFound(f"{parts[i]} has no vector in this space, or went while it was looked up; search again")
        yield i, np.mean(there, axis=0)


def _located(what: Stored, find: Find) -> tuple[list[int], str | None]:
    """The chunks of what is stored, and of a span its text."""
    record = find(what.name)
    if what.span is None:
        return [chunk.id for chunk in record.chunks], None
    start, end = what.span
    if not 0 <= start < end <= len(record.text):
        raise InputError(
            f"{what} asks for the characters {start:,} to {end:,} of a text of {len(record.text):,}; give a start "
            f"below an end that is in the text"
        )
    text = record.text[start:end]
    if not text.strip():
        raise InputError(f"{what} holds only white space; give a span with words in it")
    # The text of a chunk begins where the chunk does.
    first = record.chunks[0].start if what.name.startswith(CHUNK_PREFIX) and record.chunks else 0
    return [chunk.id for chunk in record.chunks if chunk.start - first < end and start < chunk.end - first], text


def _cut_note(part: Part, space: Space) -> str:
    name = str(part) if len(str(part)) <= SHOWN else f"{str(part)[:SHOWN]}…"
    return f"{name} is longer than the {space.max_tokens} tokens the model reads; its end was left out"
