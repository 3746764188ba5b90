"""Stand-ins that follow the real contracts and need no model: an embedder by hashing, a tokenizer by white space.

Import it as `from fakes import FakeEmbedder`; the folder of the tests is on the path of every test.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence

import numpy as np

from sememe.space import Space
from sememe.types import Embedded, Ids, Progress, Role, Vectors

DIM = 16
RESERVED = 2
"""What every input carries besides its words, as a pair of special tokens would."""

_WORD = re.compile(r"\S+")


class WordCounter:
    """A `TokenCounter` whose tokens are the words between white space."""

    additive = True

    def offsets(self, text: str) -> Ids:
        """The character spans of the words: (n, 2)."""
        spans = [match.span() for match in _WORD.finditer(text)]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        """The number of words."""
        return len(_WORD.findall(text))


class FakeEmbedder:
    """An `Embedder`: the same text gives the same unit vector, in every process and for ever; other texts, others.

    A query and a document of one text have one vector, so a text is its own best answer, with cosine 1. `texts` are
    all that were ever embedded, in order, and `calls` how often that happened; each text takes `delay` seconds.
    """

    precision = "f32"
    reserved = RESERVED

    def __init__(
        self, *, dim: int = DIM, max_tokens: int = 64, delay: float = 0.0, model: str = "fake", digest: str = "0" * 64
    ) -> None:
        self.space = Space(
            model=model, digest=digest, dim=dim, pooling="mean", normalised=True, metric="cosine",
            max_tokens=max_tokens,
        )  # fmt: skip
        self.counter = WordCounter()
        self.delay = delay
        self.calls = 0
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`; words beyond the limit are not read."""
        self.calls += 1
        self.texts.extend(texts)
        if self.delay:
            time.sleep(self.delay * len(texts))
        most = self.space.max_tokens - self.reserved
        tokens = np.array([self.counter.count(text) for text in texts], dtype=np.int64)
        vectors = np.zeros((len(texts), self.space.dim), dtype=np.float32)
        for i, text in enumerate(texts):
            vectors[i] = vector_of(_first_words(text, most), self.space.dim, self.space.digest)
        if progress is not None:
            progress(len(texts), len(texts))
        return Embedded(
            vectors=vectors, tokens=tokens + self.reserved, kept=np.minimum(tokens, most) + self.reserved,
            replaced=np.zeros(len(texts), dtype=np.int64),
        )  # fmt: skip


def vector_of(text: str, dim: int = DIM, digest: str = "0" * 64) -> Vectors:
    """The unit vector (dim,) of a text: nearly at right angles to that of any other text, as hashes have it."""
    seed = hashlib.sha256(f"{digest}\n{text}".encode("utf-8", "surrogatepass")).digest()
    values = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32)).standard_normal(dim)
    unit: Vectors = (values / np.linalg.norm(values)).astype(np.float32)
    return unit


def _first_words(text: str, most: int) -> str:
    spans = list(_WORD.finditer(text))
    return text if len(spans) <= most else text[: spans[most - 1].end()]
