"""The arithmetic of texts that have a vector for every token: fewer of them, in fewer bytes.

Pooling merges a text's nearest vectors (Clavié et al. 2024, arXiv:2409.14683). A `Codec` stores a vector as its nearest
centroid (PLAID; Santhanam et al. 2022, arXiv:2205.09707) and, for each of up to 34 parts of what is left, the nearest
of 256 (product quantisation; Jégou et al. 2011). This file knows NumPy and no files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sememe.types import Ids, Piece, Vectors
from sememe.vectors import normalise

MOST_PARTS, LEAST_WIDTH, WIDEST = 34, 4, 204
"""A token is cut into 34 parts at most, of four dimensions each at the least, a byte a part. Wider vectors than 204
dimensions are projected on as many of their principal axes: more of them take room and tell no more."""

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
    """Centroids (c, d), for each of m parts of what is left of a token the 256 to choose from: books (m, 256, d / m),
    and the axes (dim, d) that both are along.

    Tokens are of unit length, along the axes that are kept too once they are decoded.
    """

    centroids: Vectors
    books: Vectors
    axes: Vectors

    @property
    def bytes(self) -> int:
        """What one token takes: two for its centroid, and one for each part."""
        return 2 + len(self.books)

    def encode(self, tokens: Vectors) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """The centroid of each row (n,), and which of its book each part of the rest is nearest to: (n, bytes - 2)."""
        projected = tokens @ self.axes
        nearest = _nearest(projected, self.centroids)
        parts = np.split(projected - self.centroids[nearest], len(self.books), axis=1)
        chosen = [_nearest(part, book) for part, book in zip(parts, self.books, strict=True)]
        return nearest.astype(np.uint16), np.stack(chosen, axis=1).astype(np.uint8)

    def decode(self, nearest: npt.NDArray[np.uint16], packed: npt.NDArray[np.uint8]) -> Vectors:
        """The rows (n, d) along the axes, of unit length; a query is to be projected on them."""
        books, size, width = self.books.shape
        # `take` needs half the time of an index in brackets.
        parts = np.take(self.books.reshape(-1, width), packed + size * np.arange(books), axis=0)
        decoded: Vectors = parts.reshape(len(packed), books * width)
        decoded += np.take(self.centroids, nearest, axis=0)
        decoded /= np.sqrt(np.maximum(np.einsum("nd,nd->n", decoded, decoded), SHORTEST))[:, None]
        return decoded


@dataclass(frozen=True, slots=True)
class TokenPart:
    """A token of a query with its part of the max-sim: the product with the token of a text that is nearest to it.

    Both as the vocabulary writes them; `span` are the characters [start, end) of the text that the found one stands
    for, None where it is in none of them: in the headings, or one that the model adds by itself.
    """

    asked: str
    found: str
    score: float
    span: tuple[int, int] | None


def token_parts(products: Vectors, asked: Sequence[Piece], pieces: Sequence[Piece], *, before: int) -> list[TokenPart]:
    """The parts of a max-sim by the tokens of the query, from the products (q, t) of all tokens; the text begins
    `before` characters behind that of its `pieces`."""
    found = []
    for token, row in zip(asked, products, strict=True):
        nearest = int(row.argmax())
        piece = pieces[nearest]
        span = (max(piece.start - before, 0), piece.end - before) if piece.end > before else None
        found.append(TokenPart(token.token, piece.token, float(row[nearest]), span))
    return found


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
    """The codec itself: its arrays in eight bits one after the other, and the step of each."""
    out = io.BytesIO()
    for array in in_eight_bits(codec):
        np.save(out, array, allow_pickle=False)
    return out.getvalue()


def from_bytes(data: bytes) -> Codec:
    """The inverse of `to_bytes`; also of codecs of before. Raises ValueError."""
    file = io.BytesIO(data)
    centroids, second, third, fourth = (np.load(file, allow_pickle=False) for _ in range(4))
    if second.ndim == 1:
        # The bounds between two or four levels, which are the same for every dimension, the levels, and the axes.
        return Codec(centroids, _books_of(third, centroids.shape[1]), fourth)
    return from_eight_bits(centroids, second, third, fourth)


def in_eight_bits(codec: Codec) -> list[npt.NDArray[Any]]:
    """Its arrays as int8, of what `train` made without a loss, and what they are to be multiplied by (3,)."""
    arrays = (codec.centroids, codec.books, codec.axes)
    steps = np.array([np.abs(array).max() / 127 or 1 for array in arrays], "<f4")
    return [*(np.round(array / step).astype(np.int8) for array, step in zip(arrays, steps, strict=True)), steps]


def from_eight_bits(*arrays: npt.NDArray[Any]) -> Codec:
    """The inverse of `in_eight_bits`."""
    return Codec(*(array * step for array, step in zip(arrays[:3], arrays[3].astype(np.float32), strict=True)))


def _books_of(levels: Vectors, dim: int) -> Vectors:
    """The books of a codec that has one level of a few for each dimension, as many of them as fill a byte."""
    shifts = np.arange(0, 8, len(levels).bit_length() - 1, dtype=np.uint8)
    book = levels[np.arange(256)[:, None] >> shifts & len(levels) - 1]
    return np.broadcast_to(book, (dim // len(shifts), *book.shape)).copy()


def train(tokens: Vectors, *, seed: int = 0) -> Codec:
    """A codec for vectors like these (n, dim), n at least 1."""
    rng = np.random.default_rng(seed)
    sample = tokens[np.sort(rng.choice(len(tokens), min(SAMPLE, len(tokens)), replace=False))]
    kept = _principal(sample)[1][:, :WIDEST]
    sample = sample @ kept
    count = min(MOST_CENTROIDS, max(1, int(CENTROIDS_PER_ROOT * len(tokens) ** 0.5)))
    centroids = _means(sample, count, rng)
    left = sample - centroids[_nearest(sample, centroids)]
    axes, books = _axes(left)
    parts: list[Vectors] = np.split(left @ axes, books, axis=1)
    # Of fewer than 256 rows some come again, so that a byte is never one of no part.
    found = [np.resize(_means(part, 256, rng), (256, part.shape[1])) for part in parts]
    # As it is stored, so that what it writes now it will read.
    return from_eight_bits(*in_eight_bits(Codec(centroids @ axes, np.stack(found), kept @ axes)))


def _means(rows: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """The means of `count` clusters, of as many as there are rows if these are fewer (k-means; Lloyd 1982)."""
    means: Vectors = rows[np.sort(rng.choice(len(rows), min(count, len(rows)), replace=False))].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(rows, means)
        sizes = np.bincount(nearest, minlength=len(means))
        filled = sizes > 0
        sums = np.add.reduceat(rows[np.argsort(nearest, kind="stable")], (np.cumsum(sizes) - sizes)[filled], axis=0)
        means[filled] = sums / sizes[filled, None]
    return means


def _axes(left: Vectors) -> tuple[Vectors, int]:
    """The principal axes of what is left of tokens, and how many parts they are shared out among, so that the variances
    of each part have about the same product (optimised product quantisation; Ge et al. 2013)."""
    dim = left.shape[1]
    parts = min(MOST_PARTS, -(-dim // LEAST_WIDTH))
    width = -(-dim // parts)
    variances, axes = _principal(left)
    # Where parts times width are more than there are, axes of zeros fill up.
    axes = np.pad(axes, ((0, 0), (0, parts * width - dim)))
    logs = np.log(np.maximum(variances, variances[0] * 1e-9 + 1e-30))
    shared: list[list[int]] = [[] for _ in range(parts)]
    products = np.zeros(parts)
    for axis in range(parts * width):
        least = min((part for part in range(parts) if len(shared[part]) < width), key=products.__getitem__)
        shared[least].append(axis)
        products[least] += logs[min(axis, dim - 1)] - logs[-1]
    return np.ascontiguousarray(axes[:, np.concatenate(shared)]), parts


def _principal(rows: Vectors) -> tuple[npt.NDArray[np.float64], Vectors]:
    """The second moments of rows along their principal axes, and these (d, d), the greatest first."""
    moments, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return moments[::-1], axes[:, ::-1].astype(np.float32)


def _nearest(rows: Vectors, centroids: Vectors) -> Ids:
    """The centroid nearest to each row."""
    halves = (centroids**2).sum(1) / 2
    nearest = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        nearest[block] = (rows[block] @ centroids.T - halves).argmax(1)
    return nearest
