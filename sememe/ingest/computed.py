"""Inputs on their way to vectors: which have one, which were refused, and what ended it.

This file knows embedders and no store.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np

from sememe.errors import Incomplete, ModelError, SememeError
from sememe.space import Embedder, Space
from sememe.types import Embedded, Long
from sememe.vectors import normalise


@dataclass(frozen=True, slots=True)
class Target:
    """A space of a collection, and the model that makes its vectors; one call at a time.

    The embedder's own space may differ by the file of the same model.
    """

    space: Space
    embedder: Embedder
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


class Computed:
    """Vectors made for one window, by the digest of their input.

    `refused` says why an input has none; `stop` is the error for which the rest of the window has none either.
    """

    def __init__(self, target: Target, long: Long = "truncate") -> None:
        # Not needed by a search, which imports this file for `Target`.
        from sememe.models.long import document_embedding

        self.target = target
        self._embed_texts = document_embedding(target.embedder, long)
        self.keys: list[bytes] = []
        self.refused: dict[bytes, str] = {}
        self.stop: SememeError | None = None
        self._parts: list[Embedded] = []

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
        model = self.target.embedder.space
        if not np.isfinite(made.vectors).all():
            # One such vector would outrank or hide others in every search that follows.
            raise ModelError(
                f"{model.model} gave values that are not finite numbers; nothing of this window was stored: check the "
                f"model's files, or use precision f32"
            )
        if self.target.space.metric == "cosine" and not model.normalised:
            # Where scores are cosines every vector is scaled once, here, and never again.
            made = replace(made, vectors=normalise(made.vectors))
        self._parts.append(made)
        self.keys.extend(new)

    def _embed(self, keys: list[bytes], texts: list[str]) -> tuple[list[bytes], Embedded]:
        """The keys whose texts have a vector, and those; what became of the others is noted."""
        try:
            return keys, self._embed_texts(texts)
        except Incomplete as error:
            self.refused.update({keys[i]: reason for i, reason in error.refused.items()})
            self.stop = error.stop
            made = list(error.made)
        return [keys[i] for i in made], self._embed_texts([texts[i] for i in made])

    def embedded(self) -> Embedded:
        """All of them, in the order of `keys`."""
        parts = self._parts
        return Embedded(
            vectors=np.concatenate([p.vectors for p in parts]), tokens=np.concatenate([p.tokens for p in parts]),
            kept=np.concatenate([p.kept for p in parts]), replaced=np.concatenate([p.replaced for p in parts]),
        )  # fmt: skip
