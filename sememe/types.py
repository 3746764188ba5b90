"""The values that travel through the house, and the seams between its rooms.

This file knows nothing of models, databases or indexes. Arrays have one shape everywhere: `ids (n,) int64`,
`vectors (n, dim) float32 C-contiguous`, `scores (q, k) float32`, higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
Ids: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.float32]
Metadata: TypeAlias = Mapping[str, Any]

Role = Literal["document", "query"]
Metric = Literal["cosine", "dot", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "euclidean")
Long = Literal["truncate", "windows", "late"]
LONG: tuple[Long, ...] = ("truncate", "windows", "late")
SpaceKind = Literal["dense", "sparse", "late"]
KINDS: tuple[SpaceKind, ...] = ("dense", "sparse", "late")
Origin = Literal["file", "given", "part"]
Status = Literal["embedded", "truncated", "skipped", "failed"]
STATUSES: tuple[Status, ...] = ("embedded", "truncated", "skipped", "failed")

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with what is done and, where it is known, what there is to do."""


CHUNK_PREFIX = "chunk:"
"""Before the number of a chunk in its id; no document may have such a key."""

PART = "!/"
"""Between the key of a file that holds many documents and the name of one of them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A run of a document's text. The texts of all blocks, joined, are the document's text.

    `level` 1 to 6 makes the block a heading (its `title` is what a reader sees, without marks); 0 is body text.
    A heading governs everything up to the next heading of its own or a smaller level. `place` says in a reader's
    words where in the source the block was, if that is more than a position in the text: "page 3", "row 7".
    """

    text: str
    level: int = 0
    title: str = ""
    place: str = ""


@dataclass(slots=True)
class Document:
    """A source that was opened for reading. `blocks` can be iterated once and is bounded in memory.

    `remarks` may grow while `blocks` is read: what was replaced or left out, in plain words.
    """

    key: str
    blocks: Iterable[Block]
    reader: str
    title: str = ""
    media_type: str = "text/plain"
    metadata: Metadata = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice `[start, end)` of a document's text, counted in characters.

    `headings` are the titles above the slice that are not inside it; `position` counts the chunks of the document
    from 0, so the neighbours are `position - 1` and `position + 1`. `tokens` counts what the model reads: the
    slice, its headings, the prompt and the special tokens.
    """

    position: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    tokens: int

    @property
    def input(self) -> str:
        """The exact string that is embedded, but for the prompt, which belongs to the model."""
        return embedded_input(self.headings, self.text)


def embedded_input(headings: Sequence[str], text: str) -> str:
    """The heading path on a line of its own, then the slice. Without headings, the slice alone."""
    return f"{' > '.join(headings)}\n{text}" if headings else text


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a document was read and cut. Stored with it, and compared to decide whether to cut it again."""

    reader: str
    chunker: str
    max_tokens: int
    overlap: int


class TokenCounter(Protocol):
    """What cutting needs to know of a tokenizer. Special tokens are never counted here."""

    @property
    def additive(self) -> bool:
        """Whether cutting at white space never changes the tokens on either side."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """The character spans of the tokens of `text`: (n, 2), ascending."""

    def count(self, text: str) -> int:
        """The number of tokens of `text`."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a model made of n texts.

    `vectors (n, dim) float32`; `tokens (n,) int64` each input's length with special tokens and prompt; `kept (n,)`
    how many of them the model read; `replaced (n,)` how many lone surrogates became U+FFFD.
    """

    vectors: Vectors
    tokens: Ids
    kept: Ids
    replaced: Ids


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A text as a few weighted words of a vocabulary: `indices (m,) int32`, ascending, and `values (m,) float32`."""

    indices: npt.NDArray[np.int32]
    values: Vectors


@dataclass(frozen=True, slots=True)
class Represented:
    """What a model made of n texts that gives more than one vector each: the weights of its words, or the vectors
    (tokens, dim) of its tokens. Counts as of `Embedded`."""

    values: list[SparseVector] | list[Vectors]
    tokens: Ids
    kept: Ids
    replaced: Ids


@dataclass(frozen=True, slots=True)
class Stage:
    """How a hit came out of one part of a search: the part's name, the rank in it from 1, and the score."""

    name: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a hit's score by its name; the score is the sum of its terms."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The text around a hit: the characters `[start, end)` of its document, the `span`."""

    text: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a query. `score` is named by `kind`: the metric of the space ("cosine", "dot",
    "euclidean": the distance, negated; "dot" too in a space of words, "maxsim" in one of tokens), "bm25", how both
    were fused ("evidence", "rrf", "weighted"), or "rerank";
    higher is better. `expected` is how many random chunks of the collection would be expected to score as high, None
    where that was not asked for.
    `place` is where in its source the chunk was, if that is more than its span: "page 3 – page 4". `terms` are what a
    boosted score is the sum of, and `context` the text around the chunk, where they were asked for.
    """

    id: str
    score: float
    kind: str
    text: str
    document: str
    title: str
    headings: tuple[str, ...]
    span: tuple[int, int]
    position: int
    metadata: Metadata
    stages: tuple[Stage, ...] = ()
    place: str = ""
    expected: float | None = None
    terms: tuple[Term, ...] = ()
    context: Surroundings | None = None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """How one input ended. `truncated` holds (chunk position, tokens, tokens kept) of every cut input; `chunks` of one
    that failed are those that have a vector all the same."""

    key: str
    status: Status
    reason: str = ""
    retryable: bool = False
    chunks: int = 0
    tokens: int = 0
    truncated: tuple[tuple[int, int, int], ...] = ()
    remarks: tuple[str, ...] = ()
    origin: Origin = "file"


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk's text with what its document says of it."""

    chunk: int
    title: str
    headings: tuple[str, ...]
    text: str
    metadata: Metadata


@runtime_checkable
class SparseEncoder(Protocol):
    """Texts in, weights of the words of one vocabulary out; two texts are as near as their inner product."""

    def encode_sparse(self, texts: Sequence[str], *, role: Role = "document") -> list[SparseVector]:
        """One vector a text, in their order."""

    def words(self, index: int) -> str:
        """The word that an index stands for."""


@runtime_checkable
class LateEncoder(Protocol):
    """Texts in, a vector for every token out; near is the sum over a query's tokens of their best products."""

    def encode_tokens(self, texts: Sequence[str], *, role: Role = "document") -> list[Vectors]:
        """For each text (tokens, dim) float32, rows of unit length, in the order of the texts."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A token that has a vector: as the vocabulary writes it, and its characters [start, end) of the text, none of
    what the model adds by itself."""

    token: str
    start: int
    end: int


@runtime_checkable
class PieceEncoder(LateEncoder, Protocol):
    """A late encoder that can say which token each of its vectors is of."""

    def pieces(self, text: str, *, role: Role = "document") -> list[Piece]:
        """One for every vector that `encode_tokens` gives for the text, in their order."""


class Reranker(Protocol):
    """A query and texts in, one score a text out."""

    def rerank(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """How well each text answers the query: (n,) float32 between 0 and 1, higher is better, in their order.

        `instruction` says what the query is asked for, to models that were trained to be told.
        """


class VectorIndex(Protocol):
    """Nearest neighbours over ids and vectors that somebody else owns."""

    def search(self, queries: Vectors, k: int) -> tuple[Ids, Scores]:
        """The k best ids of each query and their scores, (q, min(k, n)) each; equal scores by ascending id."""


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the truth knows of a derived index: which files are current, and what they have seen.

    `rows` of the files are valid, whatever their length; `dead (rows,) bool` marks the deleted ones. `checksum` is
    that of the valid rows, by the index's own arithmetic. An index over the first rows of another one names that
    one's generation as its `base`, and follows no changes by itself; `details` are the index's own.
    """

    generation: str
    seq: int
    rows: int
    dead: npt.NDArray[np.bool_]
    checksum: int = 0
    base: str | None = None
    details: str = "{}"


@dataclass(frozen=True, slots=True)
class Changes:
    """The net effect of what was written after some `seq`, up to and including `seq`.

    `added (n,)` are the ids of live chunks that came, with `vectors (n, dim)`; `deleted (m,)` those that went.
    """

    seq: int
    added: Ids
    vectors: Vectors
    deleted: Ids
