"""An index over texts that have a vector for every token, in 36 bytes a token, 17 a text, and what decodes them.

The centroids of their tokens find the candidates, whose tokens are decoded, and max-sim over all of them decides: no
token stands for another, none is masked by zeros. The index is a folder of NumPy arrays, mapped into memory; texts are
deleted by a mask. This file knows ids and vectors, not texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sememe.errors import InputError
from sememe.index.arrays import Indexed, mapped, saved
from sememe.index.tokens import Codec, from_eight_bits, in_eight_bits, train
from sememe.types import Ids, Scores, Vectors
from sememe.vectors import maxsim

ARRAYS = ("ids", "starts", "nearest", "packed", "dead")
CALIBRATION = ("centroids", "books", "axes", "steps")
DECODED = 24_000
"""Tokens that a search decodes: more candidates of short texts than of long ones are compared in the same time."""

SHARE = 5
"""Candidates, at the least, for every hit that is asked for."""

PROBES = 32
"""Centroids whose texts a token of the query looks through."""

BLOCK = 4096
"""Tokens that are decoded at once: more of them fall out of the caches."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Texts by the codes of their tokens: `starts (n + 1,)` delimits each text's part of `nearest (t,) uint16` and
    `packed (t, bytes of the levels) uint8`."""

    codec: Codec
    starts: Ids
    nearest: npt.NDArray[np.uint16]
    packed: npt.NDArray[np.uint8]

    def candidates(self, k: int) -> int:
        """Texts whose tokens are decoded to find k."""
        return max(SHARE * k, DECODED * (len(self.starts) - 1) // max(1, int(self.starts[-1])))

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


class Lists:
    """In which texts each centroid stands for a token: finds those that may be near.

    Made of the codes when they are first needed, and kept in memory, at most four bytes a token.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    @cached_property
    def _inverted(self) -> tuple[npt.NDArray[np.int32], list[int]]:
        """The texts of all lists, and where each list begins among them: (c + 1,)."""
        codes = self._codes
        order = np.argsort(codes.nearest, kind="stable")
        centroids = codes.nearest[order].astype(np.int32)
        texts = np.repeat(np.arange(len(codes.starts) - 1, dtype=np.int32), np.diff(codes.starts))[order]
        # A text is in the list of a centroid once, however many of its tokens are there.
        first = (np.diff(centroids, prepend=-1) != 0) | (np.diff(texts, prepend=-1) != 0)
        starts = np.searchsorted(centroids[first], np.arange(len(codes.codec.centroids) + 1))
        return texts[first], starts.tolist()

    def nearest(self, query: Vectors, among: Ids, count: int) -> Ids:
        """Those of the texts, `count` at most, that are nearest to a query (tokens, dim) by the centroids of their
        tokens: each token of the query looks through the lists of the PROBES centroids nearest to it, and takes the
        farthest of these for what is in none of them."""
        if len(among) <= count:
            return among
        texts, starts = self._inverted
        products = query @ self._codes.codec.axes @ self._codes.codec.centroids.T
        probes = min(PROBES, products.shape[1])
        near = np.zeros(len(self._codes.starts) - 1, np.float32)
        for row in products:
            chosen = np.argpartition(-row, probes - 1)[:probes]
            best = np.full(len(near), row[chosen[-1]], np.float32)
            # The nearest centroid comes last, and stays.
            for centroid in chosen[np.argsort(row[chosen])].tolist():
                best[texts[starts[centroid] : starts[centroid + 1]]] = row[centroid]
            near += best
        found: Ids = np.sort(among[np.argpartition(-near[among], count)[:count]])
        return found


class LateIndex(Indexed):
    """Texts by their tokens, with the lists of their centroids that find them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ARRAYS)
        arrays = self._arrays
        codec = from_eight_bits(*mapped(folder, CALIBRATION).values())
        self._codes = Codes(codec, arrays["starts"], arrays["nearest"], arrays["packed"])
        self._lists = Lists(self._codes)

    def search(self, query: Vectors, k: int, *, candidates: int | None = None) -> tuple[Ids, Scores]:
        """The k ids whose stored tokens have the greatest max-sim with a query (tokens, dim), and that.

        `candidates` texts are compared token by token, by itself those of some 24,000 tokens, or five times k. Equal
        scores are ordered by ascending id. Raises InputError for a query of other dimensions.
        """
        dim = len(self._codes.codec.axes)
        if query.ndim != 2 or query.shape[1] != dim:
            raise InputError(f"the query has shape {query.shape}, the index holds tokens of {dim} dimensions")
        count = max(k, candidates or self._codes.candidates(k))
        alive = np.flatnonzero(~self._dead & (np.diff(self._codes.starts) > 0))
        rows = self._lists.nearest(query, alive, count)
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
    saved(folder, dict(zip(CALIBRATION, in_eight_bits(codec), strict=True)))
    saved(
        folder,
        {"ids": ids, "starts": starts, "nearest": nearest, "packed": packed, "dead": np.zeros(len(ids), dtype=bool)},
    )
    return LateIndex(folder)
