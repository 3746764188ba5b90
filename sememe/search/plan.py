"""From a question to a plan to hits: the plan is a value that can be printed, and what runs is the plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sememe.errors import InputError
from sememe.search.view import View
from sememe.space import Embedder
from sememe.store import SQLiteStore
from sememe.store.reading import Snapshot
from sememe.store.records import StoredChunk, StoredDocument
from sememe.types import CHUNK_PREFIX, Hit, Vectors
from sememe.vectors import normalise

SCORE_KIND = "cosine"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a text, or a vector of the collection's space; `k` hits at most."""

    text: str | None = None
    vector: Vectors | None = None
    k: int = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a search, in order: the exact string that is embedded (None for a vector), then the scan."""

    input: str | None
    k: int
    index: str = "exact"


def checked(query: Query, dim: int) -> Query:
    """The query, if it can be answered. Raises InputError naming what is wrong."""
    if not isinstance(query.k, int) or isinstance(query.k, bool):
        raise InputError(f"k is {query.k!r}; give a whole number")
    if query.k < 1:
        raise InputError(f"k is {query.k}; ask for at least 1 hit")
    if (query.text is None) == (query.vector is None):
        raise InputError("a query has either a text or a vector")
    if query.text is not None and not query.text.strip():
        raise InputError("the query is empty; say what you are looking for")
    if query.vector is not None:
        try:
            vector = np.asarray(query.vector, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"the query is a {type(query.vector).__name__}; give a string or a vector") from error
        if vector.shape != (dim,):
            raise InputError(f"the query vector has shape {vector.shape}, the collection has ({dim},)")
        if not np.isfinite(vector).all():
            raise InputError("the query vector has values that are not finite numbers")
        if not vector.any():
            raise InputError("the query vector holds only zeros, which point nowhere; embed a text for one")
    return query


def plan(query: Query, prompt: str) -> Plan:
    """How the query will be answered. `prompt` is what the model wants before a query's text."""
    return Plan(input=None if query.text is None else prompt + query.text, k=query.k)


def run(plan: Plan, query: Query, *, store: SQLiteStore, view: View, embedder: Embedder) -> list[Hit]:
    """Answer: best first, at most k, and only chunks that exist at this moment."""
    if query.text is not None:
        vector = embedder.embed([query.text], role="query").vectors
    else:
        vector = np.asarray(query.vector, dtype=np.float32)[None, :]
    vector = normalise(vector)
    with store.snapshot() as snapshot:
        index = view.at(snapshot)
        ids, scores = index.search(vector, plan.k)
        return _hits(snapshot, ids[0].tolist(), scores[0].tolist())


def _hits(snapshot: Snapshot, ids: list[int], scores: list[float]) -> list[Hit]:
    chunks = snapshot.chunks(ids)
    documents = snapshot.documents(chunk.document for chunk in chunks.values())
    return [
        _hit(chunks[i], documents[chunks[i].document], score)
        for i, score in zip(ids, scores, strict=True)
        if i in chunks
    ]


def _hit(chunk: StoredChunk, document: StoredDocument, score: float) -> Hit:
    return Hit(
        id=f"{CHUNK_PREFIX}{chunk.id}",
        score=score,
        kind=SCORE_KIND,
        text=chunk.text,
        document=document.key,
        title=document.title,
        headings=chunk.headings,
        span=(chunk.start, chunk.end),
        position=chunk.position,
        metadata=document.metadata,
    )
