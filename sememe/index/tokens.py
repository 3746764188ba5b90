"""The arithmetic of texts that have a vector for every token: fewer of them, in fewer bytes, and one stand-in for all.

Pooling merges a text's nearest vectors (Clavié et al. 2024, arXiv:2409.14683). A `Codec` stores a vector as its nearest
centroid and one or two bits a dimension of what is left (PLAID; Santhanam et al. 2022, arXiv:2205.09707). `fixed` makes
of all vectors of a text one, whose inner product with that of a query approximates their max-sim (MUVERA; Dhulipala et
al. 2024, arXiv:2405.19504). This file knows NumPy and no files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sememe.types import Ids, Vectors
from sememe.vectors import normalise

NARROW, WIDEST = 128, 256
"""Up to 128 dimensions have two bits each. Wider vectors are projected on at most 256 of their principal axes, one bit
each: in the same 34 bytes that keeps more of them than two bits of half as many axes do."""

CENTROIDS_PER_ROOT = 4
MOST_CENTROIDS = 4096
SAMPLE = 65_536
ROUNDS = 6
BLOCK = 8192
SHORTEST = np.float32(1e-20)
"""The square of a length below which a decoded token is one of zeros."""


def pooled(tokens: Vectors, factor: float, *, protected: int = 1) -> Vectors:
    """One in `factor` of the vectors (tokens, dim), of unit length: the means of clusters by Ward's rule over cosine
    distances, behind the first `protected` ones, which stay. Equal to sentence-transformers' HierarchicalTokenPooling.
    """
    kept, rest = tokens[:protected], tokens[protected:]
    wanted = max(int(len(rest) // factor), 1)
    if wanted >= len(rest):
        return normalise(tokens)
    labels = _ward(np.clip(1 - rest @ rest.T, 0, 2).astype(np.float64), wanted)
    _, labels = np.unique(labels, return_inverse=True)
    means = np.zeros((labels.max() + 1, tokens.shape[1]), np.float32)
    np.add.at(means, labels, rest)
    return normalise(np.concatenate([kept, means / np.bincount(labels)[:, None]]).astype(np.float32))


def _ward(distances: npt.NDArray[np.float64], wanted: int) -> npt.NDArray[np.int64]:
    """The cluster of each row when the two nearest were merged until `wanted` are left (Lance and Williams 1967)."""
    squares = distances**2
    np.fill_diagonal(squares, np.inf)
    labels, sizes = np.arange(len(squares)), np.ones(len(squares))
    for _ in range(len(squares) - wanted):
        a, b = sorted(divmod(int(squares.argmin()), len(squares)))
        merged = (sizes + sizes[a]) * squares[a] + (sizes + sizes[b]) * squares[b] - sizes * squares[a, b]
        merged /= sizes + sizes[a] + sizes[b]
        merged[[a, b]] = np.inf
        squares[a], squares[:, a] = merged, merged
        squares[b], squares[:, b] = np.inf, np.inf
        sizes[a] += sizes[b]
        labels[labels == b] = a
    return labels


@dataclass(frozen=True, slots=True)
class Codec:
    """Centroids (c, d), the bounds between the two or four levels of a residual, those levels, and the axes (dim, d).

    Tokens are of unit length, along the axes that are kept too once they are decoded.
    """

    centroids: Vectors
    bounds: Vectors
    levels: Vectors
    axes: Vectors

    @property
    def bytes(self) -> int:
        """What one token takes: two for its centroid, and its levels."""
        return 2 + int(self.axes.shape[1]) // len(self._shifts)

    def encode(self, tokens: Vectors) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """The centroid of each row (n,), and the levels of its residual, four or eight to a byte: (n, bytes - 2)."""
        projected = tokens @ self.axes
        nearest = _nearest(projected, self.centroids)
        levels = np.searchsorted(self.bounds, projected - self.centroids[nearest], side="right").astype(np.uint8)
        packed = (levels.reshape(len(tokens), self.bytes - 2, -1) << self._shifts).sum(2, dtype=np.uint8)
        return nearest.astype(np.uint16), packed

    def decode(self, nearest: npt.NDArray[np.uint16], packed: npt.NDArray[np.uint8]) -> Vectors:
        """The rows (n, d) along the axes, of unit length; a query is to be projected on them."""
        of_byte = self.levels[np.arange(256)[:, None] >> self._shifts & len(self.levels) - 1]
        # `take` needs half the time of an index in brackets.
        decoded: Vectors = np.take(of_byte, packed, axis=0).reshape(len(packed), self.axes.shape[1])
        decoded += np.take(self.centroids, nearest, axis=0)
        decoded /= np.sqrt(np.maximum(np.einsum("nd,nd->n", decoded, decoded), SHORTEST))[:, None]
        return decoded

    @property
    def _shifts(self) -> npt.NDArray[np.uint8]:
        """How far each level of a byte is moved in it."""
        return np.arange(0, 8, len(self.levels).bit_length() - 1, dtype=np.uint8)


def to_stored(codec: Codec, tokens: Vectors) -> bytes:
    """The tokens of a text (n, dim) as they are stored: the centroids of all, and then the levels of all."""
    nearest, packed = codec.encode(tokens.reshape(-1, len(codec.axes)))
    return nearest.astype("<u2").tobytes() + packed.tobytes()


def from_stored(codec: Codec, data: bytes) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """The centroid of each token (n,) and the levels of its residual (n, bytes - 2), as `Codec.encode` gives them."""
    count = len(data) // codec.bytes
    packed = np.frombuffer(data, np.uint8, offset=2 * count).reshape(count, codec.bytes - 2)
    return np.frombuffer(data, "<u2", count), packed


def to_bytes(codec: Codec) -> bytes:
    """The codec itself: its four arrays one after the other, each with its shape."""
    out = io.BytesIO()
    for array in (codec.centroids, codec.bounds, codec.levels, codec.axes):
        np.save(out, array.astype("<f4"), allow_pickle=False)
    return out.getvalue()


def from_bytes(data: bytes) -> Codec:
    """The inverse of `to_bytes`. Raises ValueError."""
    file = io.BytesIO(data)
    return Codec(*(np.load(file, allow_pickle=False) for _ in range(4)))


def train(tokens: Vectors, *, seed: int = 0) -> Codec:
    """A codec for vectors like these (n, dim), n at least 1."""
    rng = np.random.default_rng(seed)
    sample = tokens[np.sort(rng.choice(len(tokens), min(SAMPLE, len(tokens)), replace=False))]
    axes = _axes(sample)
    projected = sample @ axes
    count = min(len(sample), MOST_CENTROIDS, max(1, int(CENTROIDS_PER_ROOT * len(tokens) ** 0.5)))
    centroids = projected[np.sort(rng.choice(len(sample), count, replace=False))].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(projected, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, projected)
        counts = np.bincount(nearest, minlength=count)
        centroids[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    left = projected - centroids[_nearest(projected, centroids)]
    bounds = np.quantile(left, (0.25, 0.5, 0.75) if sample.shape[1] <= NARROW else (0.5,)).astype(np.float32)
    return Codec(centroids, bounds, _means(left, bounds), axes)


def _means(left: Vectors, bounds: Vectors) -> Vectors:
    """The mean of what lies between the bounds, for every level; the bound itself where nothing does."""
    level = np.searchsorted(bounds, left, side="right").ravel()
    counts = np.bincount(level, minlength=len(bounds) + 1)
    sums = np.bincount(level, weights=left.ravel(), minlength=len(bounds) + 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.append(bounds, bounds[-1])).astype(np.float32)


def _axes(sample: Vectors) -> Vectors:
    """The axes that vectors are stored along: a multiple of those in a byte, of wide vectors the axes of the greatest
    second moment."""
    dim = sample.shape[1]
    if dim <= NARROW:
        return np.eye(dim, -(-dim // 4) * 4, dtype=np.float32)
    _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    kept = np.ascontiguousarray(vectors[:, : -WIDEST - 1 : -1].astype(np.float32))
    return np.pad(kept, ((0, 0), (0, -kept.shape[1] % 8)))


def _nearest(rows: Vectors, centroids: Vectors) -> Ids:
    """The centroid nearest to each row."""
    halves = (centroids**2).sum(1) / 2
    starts = range(0, len(rows), BLOCK)
    return np.concatenate([(rows[i : i + BLOCK] @ centroids.T - halves).argmax(1) for i in starts]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The random part of fixed-dimensional encodings: planes (r, dim, bits) that cut the space into 2 ** bits cells,
    and projections (r, dim, d) of what lies in a cell."""

    planes: Vectors
    projections: Vectors

    @property
    def dim(self) -> int:
        """The length of an encoding."""
        return int(self.planes.shape[0] * (1 << self.planes.shape[2]) * self.projections.shape[2])

    def query(self, tokens: Vectors) -> Vectors:
        """The encoding (dim,) of a query: in every cell the sum of its tokens."""
        return np.concatenate([self._cells(tokens, i)[0].ravel() for i in range(len(self.planes))])

    def text(self, tokens: Vectors) -> Vectors:
        """The encoding (dim,) of a text: in every cell the mean of its tokens, or the token nearest to an empty one.

        So that each token of a query meets one token, as max-sim has it. Zeros for a text without a token.
        """
        if not len(tokens):
            return np.zeros(self.dim, np.float32)
        return np.concatenate([self._filled(tokens, i).ravel() for i in range(len(self.planes))])

    def _filled(self, tokens: Vectors, i: int) -> Vectors:
        sums, counts, cells, projected = self._cells(tokens, i)
        empty = np.flatnonzero(counts == 0)
        means: Vectors = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        # Cells are as far apart as the bits in which their numbers differ.
        means[empty] = projected[np.bitwise_count(empty[:, None] ^ cells[None, :]).argmin(1)]
        return means

    def _cells(self, tokens: Vectors, i: int) -> tuple[Vectors, Ids, Ids, Vectors]:
        """The sum of each cell, how many tokens it has, the cell of each token, and the tokens projected."""
        bits = self.planes.shape[2]
        cells = (tokens @ self.planes[i] > 0) @ (1 << np.arange(bits))
        projected = tokens @ self.projections[i]
        sums = np.zeros((1 << bits, projected.shape[1]), np.float32)
        np.add.at(sums, cells, projected)
        return sums, np.bincount(cells, minlength=1 << bits), cells, projected


def fixed(dim: int, *, repetitions: int = 8, bits: int = 3, width: int = 8, seed: int = 0) -> Fixed:
    """Encodings of repetitions x 2 ** bits x width numbers, for tokens of `dim` dimensions."""
    rng = np.random.default_rng(seed)
    planes = rng.standard_normal((repetitions, dim, bits)).astype(np.float32)
    signs = rng.choice((-1.0, 1.0), (repetitions, dim, width)) / np.sqrt(width * repetitions)
    return Fixed(planes, signs.astype(np.float32))
