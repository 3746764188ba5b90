"""Static embeddings: a text's vector is the mean of its tokens' rows in a table (model2vec, StaticEmbedding).

Reads both spellings of the table; a mapping from tokens to rows and a factor for each token are folded into it.
This file knows NumPy and a card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sememe.errors import ModelError
from sememe.models.batching import NOTHING, Told
from sememe.models.cards import Card
from sememe.models.weights import Tensors
from sememe.types import Ids, Vectors
from sememe.vectors import normalise


class StaticEngine:
    """A table of token vectors (rows, dim) float32."""

    precision = "f32"

    def __init__(self, table: Vectors, *, normalise: bool) -> None:
        self._table = table
        self._normalise = normalise

    def run(self, ids: Sequence[list[int]], batch_tokens: int, told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """The mean of each text's rows; a text without a token is all zeros."""
        del batch_tokens, told
        vectors = np.zeros((len(ids), self._table.shape[1]), dtype=np.float32)
        for i, row in enumerate(ids):
            if row:
                vectors[i] = self._table[row].mean(0)
        yield np.arange(len(ids)), normalise(vectors) if self._normalise else vectors


def load(card: Card, files: Mapping[str, Path]) -> StaticEngine:
    """The table of a card. Raises ModelError when the file holds none, or it does not fit the tokenizer's rows."""
    source = card.weight_files(files)
    tensors = Tensors(source)
    table = tensors.get("embedding.weight" if "embedding.weight" in tensors else "embeddings", None, card.dim)
    if "mapping" in tensors:
        rows = tensors.integers("mapping")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(table):
            raise ModelError(f"{source[0]}: mapping points outside of the {len(table)} rows of the table")
        table = table[rows]
    if "weights" in tensors:
        table = table * tensors.get("weights", len(table))[:, None]
    return StaticEngine(table, normalise=card.normalize)
