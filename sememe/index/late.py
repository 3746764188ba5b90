"""An index over texts that have a vector for every token, in at most 40 bytes a token and 512 a text.

A query's fixed-dimensional encoding finds texts in one scan of one row a text; of those, the centroids of their tokens
find the candidates, whose tokens are decoded, and max-sim over all of them decides: no token stands for another, none
is masked by zeros. The index is a folder of NumPy arrays, mapped into memory; texts are deleted by a mask. This file
knows ids and vectors, not texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from sememe.errors import InputError
from sememe.index.arrays import Indexed, mapped, saved
from sememe.index.tokens import Codec, fixed, train
from sememe.types import Ids, Scores, Vectors
from sememe.vectors import maxsim

ARRAYS = ("ids", "starts", "nearest", "packed", "encodings", "scales", "dead")
CALIBRATION = ("centroids", "bounds", "levels", "axes")
CANDIDATES = 100
"""Texts, at the least, whose tokens are decoded for a search."""

SHARE = 10
"""Candidates for every hit that is asked for."""

FIRST = 10
"""Texts that their encodings find, for every candidate."""

BLOCK = 65_536


class LateIndex(Indexed):
    """Texts by their tokens. `starts (n + 1,)` delimits each text's part of the tokens."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ARRAYS)
        arrays = self._arrays
        self._starts, self._scales = arrays["starts"], arrays["scales"]
        self._nearest, self._packed, self._encodings = arrays["nearest"], arrays["packed"], arrays["encodings"]
        self._codec = Codec(**{name: np.array(array) for name, array in mapped(folder, CALIBRATION).items()})
        self._fixed = fixed(len(self._codec.axes))

    def search(self, query: Vectors, k: int, *, candidates: int | None = None) -> tuple[Ids, Scores]:
        """The k ids whose stored tokens have the greatest max-sim with a query (tokens, dim), and that.

        `candidates` texts are compared token by token, by itself ten times k. Equal scores are ordered by ascending
        id. Raises InputError for a query of other dimensions.
        """
        dim = len(self._codec.axes)
        if query.ndim != 2 or query.shape[1] != dim:
            raise InputError(f"the query has shape {query.shape}, the index holds tokens of {dim} dimensions")
        count = max(k, candidates or max(CANDIDATES, SHARE * k))
        rows, along = self._by_encodings(query, FIRST * count), query @ self._codec.axes
        if len(rows) > count:
            tokens, starts = self._tokens(rows)
            table = np.ascontiguousarray((along @ self._codec.centroids.T).T)
            coarse = np.maximum.reduceat(table[self._nearest[tokens]], starts[:-1], axis=0).sum(1)
            rows = rows[np.sort(np.argpartition(-coarse, count)[:count])]
        tokens, starts = self._tokens(rows)
        scores = maxsim(along, self._codec.decode(self._nearest[tokens], self._packed[tokens]), starts)
        order = np.lexsort((self._ids[rows], -scores))[:k]
        return self._ids[rows][order], scores[order]

    def _by_encodings(self, query: Vectors, count: int) -> Ids:
        """Rows of live texts that have tokens, the best by their encodings, in order."""
        alive = np.flatnonzero(~self._dead & (np.diff(self._starts) > 0))
        if len(alive) <= count:
            return alive
        asked = self._fixed.query(query)
        starts = range(0, len(self._ids), BLOCK)
        near = np.concatenate([self._encodings[i : i + BLOCK].astype(np.float32) @ asked for i in starts])
        near *= self._scales
        return np.sort(alive[np.argpartition(-near[alive], count)[:count]])

    def _tokens(self, rows: Ids) -> tuple[Ids, Ids]:
        """Where the tokens of some texts are, and where each text's begin among them: (n + 1,)."""
        parts = [np.arange(self._starts[row], self._starts[row + 1]) for row in rows]
        tokens = np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return tokens, starts


def build(folder: Path, ids: Ids, texts: Sequence[Vectors], *, codec: Codec | None = None) -> LateIndex:
    """Write an index of these texts, (tokens, dim) each, into an empty folder, and open it.

    Without a `codec` one is trained on them. Raises InputError when there is nothing to train on.
    """
    tokens = np.concatenate(texts) if len(texts) else np.zeros((0, 0), np.float32)
    if codec is None and not len(tokens):
        raise InputError("there is no token to calibrate the index with; give texts, or the codec of another index")
    codec = codec or train(tokens)
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    nearest, packed = codec.encode(tokens.reshape(-1, len(codec.axes)))
    one = fixed(len(codec.axes))
    encodings = np.zeros((len(texts), one.dim), np.int8)
    scales = np.zeros(len(texts), np.float32)
    for row, (start, stop) in enumerate(pairwise(starts.tolist())):
        encoding = one.text(tokens[start:stop])
        scales[row] = np.abs(encoding).max() / 127
        encodings[row] = np.round(encoding / scales[row]) if scales[row] > 0 else 0
    saved(folder, {name: getattr(codec, name) for name in CALIBRATION})
    saved(
        folder,
        {
            "ids": ids, "starts": starts, "nearest": nearest, "packed": packed, "encodings": encodings,
            "scales": scales, "dead": np.zeros(len(ids), dtype=bool),
        },
    )  # fmt: skip
    return LateIndex(folder)
