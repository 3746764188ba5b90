"""Inputs on their way to vectors: which have one, which were refused, and what ended it.

What a vector is when it is stored is decided here: float32, the weights of words, or the codes of tokens. This file
knows embedders and no store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from sememe.errors import Incomplete, ModelError, SememeError
from sememe.index import sparse, tokens
from sememe.index.tokens import Codec
from sememe.space import Encoder, Representer, Space
from sememe.types import Embedded, Long, Represented, SparseVector, Vectors
from sememe.vectors import normalise

Row: TypeAlias = tuple[bytes, int, int, bytes]
"""An input's digest, its tokens, how many of them the model read, and what is stored of it."""

Make: TypeAlias = Callable[[Sequence[str]], Embedded | Represented]


@dataclass(frozen=True, slots=True)
class Target:
    """A space of a collection, and the model that makes its vectors; one call at a time.

    The embedder's own space may differ by the file of the same model. The vectors of tokens are stored by a `codec`.
    """

    space: Space
    embedder: Encoder
    codec: Codec | None = None
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


class Computed:
    """Vectors made for one window, by the digest of their input.

    `refused` says why an input has none; `stop` is the error for which the rest of the window has none either.
    """

    def __init__(self, target: Target, long: Long = "truncate") -> None:
        self.target = target
        self._embed_texts = _making(target.embedder, long)
        self.keys: list[bytes] = []
        self.refused: dict[bytes, str] = {}
        self.stop: SememeError | None = None
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, texts: dict[bytes, str]) -> None:
        """Embed those of the texts that were not embedded for this window before."""
        done = {*self.keys, *self.refused}
        new = [key for key in texts if key not in done]
        if not new:
            return
        with self.target.one_at_a_time:
            # Not every embedder can be called from two threads.
            new, made = self._embed(new, [texts[key] for key in new])
        counts = zip(made.tokens.tolist(), made.kept.tolist(), strict=True)
        self._rows += [(k, *c, blob) for k, c, blob in zip(new, counts, self._stored(made), strict=True)]
        self.keys.extend(new)

    def _stored(self, made: Embedded | Represented) -> list[bytes]:
        """What is stored of each text. Raises ModelError."""
        model = self.target.embedder.space
        if isinstance(made, Represented):
            parts = [value.values if isinstance(value, SparseVector) else value for value in made.values]
            self._refuse_infinite(model, parts)
            return [self._coded(value) for value in made.values]
        self._refuse_infinite(model, [made.vectors])
        # Where scores are cosines every vector is scaled once, here, and never again.
        scaled = self.target.space.metric == "cosine" and not model.normalised
        return [row.astype("<f4").tobytes() for row in (normalise(made.vectors) if scaled else made.vectors)]

    def _coded(self, value: SparseVector | Vectors) -> bytes:
        if isinstance(value, SparseVector):
            return sparse.to_bytes(value)
        assert self.target.codec is not None
        return tokens.to_stored(self.target.codec, value)

    @staticmethod
    def _refuse_infinite(model: Space, parts: Iterable[Vectors]) -> None:
        if not all(np.isfinite(part).all() for part in parts):
            # One such vector would outrank or hide others in every search that follows.
            raise ModelError(
                f"{model.model} gave values that are not finite numbers; nothing of this window was stored: check the "
                f"model's files, or use precision f32"
            )

    def _embed(self, keys: list[bytes], texts: list[str]) -> tuple[list[bytes], Embedded | Represented]:
        """The keys whose texts have a vector, and those; what became of the others is noted."""
        try:
            return keys, self._embed_texts(texts)
        except Incomplete as error:
            self.refused.update({keys[i]: reason for i, reason in error.refused.items()})
            self.stop = error.stop
            made = list(error.made)
        return [keys[i] for i in made], self._embed_texts([texts[i] for i in made])

    def rows(self) -> list[Row]:
        """All of them as they are stored, in the order of `keys`."""
        return self._rows


def _making(encoder: Encoder, long: Long) -> Make:
    """How documents become vectors. Words and tokens are those that the model reads, whatever is said of long texts."""
    if isinstance(encoder, Representer):
        return encoder.represent
    # Not needed by a search, which imports this file for `Target`.
    from sememe.models.long import document_embedding

    return document_embedding(encoder, long)
