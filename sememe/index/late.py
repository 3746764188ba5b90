"""An index over texts that have a vector for every token, in at most 40 bytes a token and 512 a text.

A query's fixed-dimensional encoding finds texts in one scan of one row a text; of those, the centroids of their tokens
find the candidates, whose tokens are decoded, and max-sim over all of them decides: no token stands for another, none
is masked by zeros. The index is a folder of NumPy arrays, mapped into memory; texts are deleted by a mask. This file
knows ids and vectors, not texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sememe.errors import InputError
from sememe.index.arrays import Indexed, mapped, saved
from sememe.index.tokens import Codec, Fixed, fixed, train
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


@dataclass(frozen=True, slots=True)
class Codes:
    """Texts by the codes of their tokens: `starts (n + 1,)` delimits each text's part of `nearest (t,) uint16` and
    `packed (t, bytes of the levels) uint8`."""

    codec: Codec
    starts: Ids
    nearest: npt.NDArray[np.uint16]
    packed: npt.NDArray[np.uint8]

    def maxsim(self, query: Vectors, rows: Ids) -> Scores:
        """The max-sim of a query (tokens, dim) with the stored tokens of texts (m,): (m,)."""
        along = query @ self.codec.axes
        ends = np.cumsum(np.diff(self.starts)[rows])
        found = []
        for part in np.split(rows, np.flatnonzero(np.diff(ends // BLOCK)) + 1) if len(rows) else ():
            tokens, starts = self.tokens_of(part)
            found.append(maxsim(along, self.codec.decode(self.nearest[tokens], self.packed[tokens]), starts))
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def tokens_of(self, rows: Ids) -> tuple[Ids, Ids]:
        """Where the tokens of some texts are, and where each text's begin among them: (n + 1,)."""
        begins, counts = self.starts[rows], np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return np.repeat(begins - starts[:-1], counts) + np.arange(starts[-1]), starts

    def nearer(self, query: Vectors, rows: Ids, count: int) -> Ids:
        """Those of the texts, `count` at most, that are nearest by the centroids of their tokens; all of them have
        some."""
        if len(rows) <= count:
            return rows
        tokens, starts = self.tokens_of(rows)
        table = np.ascontiguousarray((query @ self.codec.axes @ self.codec.centroids.T).T)
        coarse = np.maximum.reduceat(table[self.nearest[tokens]], starts[:-1], axis=0).sum(1)
        chosen: Ids = rows[np.sort(np.argpartition(-coarse, count)[:count])]
        return chosen


@dataclass(frozen=True, slots=True)
class Encodings:
    """One row of numbers a text, by which a scan finds those that may be near: `rows (n, dim) int8` times `scales`."""

    fixed: Fixed
    rows: npt.NDArray[np.int8]
    scales: Vectors

    def nearest(self, query: Vectors, among: Ids, count: int) -> Ids:
        """Those of the texts, `count` at most, whose encodings are nearest to that of a query (tokens, dim)."""
        if len(among) <= count:
            return among
        asked = self.fixed.query(query)
        starts = range(0, len(self.rows), BLOCK)
        near = np.concatenate([self.rows[i : i + BLOCK].astype(np.float32) @ asked for i in starts])
        near *= self.scales
        chosen: Ids = np.sort(among[np.argpartition(-near[among], count)[:count]])
        return chosen


def encoded(one: Fixed, tokens: Vectors) -> tuple[npt.NDArray[np.int8], float]:
    """The encoding of a text (tokens, dim) in eight bits, and what they are to be multiplied by."""
    encoding = one.text(tokens)
    scale = float(np.abs(encoding).max()) / 127
    return (np.round(encoding / scale) if scale > 0 else encoding).astype(np.int8), scale


def candidates_for(k: int) -> int:
    """Texts whose tokens are decoded to find k."""
    return max(CANDIDATES, SHARE * k)


class LateIndex(Indexed):
    """Texts by their tokens, with encodings that find them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ARRAYS)
        arrays = self._arrays
        codec = Codec(**{name: np.array(array) for name, array in mapped(folder, CALIBRATION).items()})
        self._codes = Codes(codec, arrays["starts"], arrays["nearest"], arrays["packed"])
        self._encodings = Encodings(fixed(len(codec.axes)), arrays["encodings"], arrays["scales"])

    def search(self, query: Vectors, k: int, *, candidates: int | None = None) -> tuple[Ids, Scores]:
        """The k ids whose stored tokens have the greatest max-sim with a query (tokens, dim), and that.

        `candidates` texts are compared token by token, by itself ten times k. Equal scores are ordered by ascending
        id. Raises InputError for a query of other dimensions.
        """
        dim = len(self._codes.codec.axes)
        if query.ndim != 2 or query.shape[1] != dim:
            raise InputError(f"the query has shape {query.shape}, the index holds tokens of {dim} dimensions")
        count = max(k, candidates or candidates_for(k))
        alive = np.flatnonzero(~self._dead & (np.diff(self._codes.starts) > 0))
        rows = self._codes.nearer(query, self._encodings.nearest(query, alive, FIRST * count), count)
        scores = self._codes.maxsim(query, rows)
        order = np.lexsort((self._ids[rows], -scores))[:k]
        return self._ids[rows][order], scores[order]


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
        encodings[row], scales[row] = encoded(one, tokens[start:stop])
    saved(folder, {name: getattr(codec, name) for name in CALIBRATION})
    saved(
        folder,
        {
            "ids": ids, "starts": starts, "nearest": nearest, "packed": packed, "encodings": encodings,
            "scales": scales, "dead": np.zeros(len(ids), dtype=bool),
        },
    )  # fmt: skip
    return LateIndex(folder)
