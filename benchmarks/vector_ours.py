"""sememe as a contestant of `vector_peers`: everything that depends on how a collection is made and asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vector_peers import DIM, Answer, Columns, Setting, Vectors, Where


class Rows:
    """A stub `Embedder`: the text "row 17" has the vector of row 17, any other text one of its own."""

    precision, reserved, additive = "f32", 0, True

    def __init__(self, vectors: Vectors) -> None:
        from sememe.space import Space

        self.space = Space(
            model="rows", digest="0" * 64, dim=DIM, pooling="mean", normalised=True, metric="cosine", max_tokens=64
        )
        self.counter = self
        self._vectors = vectors

    def embed(self, texts: Sequence[str], *, role: str = "document", progress: Any = None) -> Any:
        """The vectors (n, dim) of the rows that the texts name, whatever they are for."""
        from sememe.types import Embedded

        del role, progress
        vectors = np.stack([self._vector(text) for text in texts])
        tokens = np.full(len(texts), 2, dtype=np.int64)
        return Embedded(vectors=vectors, tokens=tokens, kept=tokens, replaced=np.zeros(len(texts), dtype=np.int64))

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """The spans of the words, for the cutter: (n, 2)."""
        return np.array([word.span() for word in re.finditer(r"\S+", text)], dtype=np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        """The number of words."""
        return len(text.split())

    def _vector(self, text: str) -> Vectors:
        if text.startswith("row "):
            return np.asarray(self._vectors[int(text[4:])], dtype=np.float32)
        unit = np.zeros(DIM, np.float32)
        unit[len(text) % DIM] = 1.0
        return unit


class Sememe:
    """sememe through its public door: texts with ids and metadata go in, hits with text and metadata come out.

    With `bare`, over the same folder, the index alone: ids and scores, as the peers answer, nothing read from SQL.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self.curve, self._bare = sememe_settings(), bare

    def build(self, vectors: Vectors, columns: Columns, folder: Path) -> None:
        import sememe

        with sememe.open(folder / "sememe", model=Rows(vectors)) as collection:
            collection.add(
                (
                    {"id": str(i), "text": f"row {i}", "metadata": {name: int(c[i]) for name, c in columns.items()}}
                    for i in range(len(vectors))
                ),
                chunk=False,
            )
            collection.optimize()

    def open(self, folder: Path) -> None:
        import sememe

        self._collection = sememe.open(folder / "sememe", model=Rows(np.zeros((0, DIM), np.float32)))
        self._held = self._collection.further.held("")

    def use(self, setting: Setting) -> None:
        self._options = dict(setting)

    def search(self, query: Vectors, k: int, where: Where | None = None) -> Answer:
        if self._bare:
            return self._index_alone(query, k)
        given = {"where": {where[0]: {"$gte": where[1], "$lt": where[2]}}} if where else {}
        hits = self._collection.search(query, k=k, **given, **self._options)
        return [int(hit.document) for hit in hits], [hit.score for hit in hits]

    def _index_alone(self, query: Vectors, k: int) -> Answer:
        """What the plan's search finds, without texts; the chunks of documents added in order are numbered from 1."""
        from sememe.search import plan, run
        from sememe.search.query import Query
        from sememe.search.view import Near

        asked = Query(vector=query, k=k, **self._options)
        with self._collection._store.snapshot() as snapshot:
            moment = self._collection._index(self._held).at(snapshot)
            near = Near("", self._held, moment, vector=query)
            made = plan.plan(asked, replace(moment, nears=(near,)), allowed=None, terms=())
            (ids, scores), _ = run._nearest(made.steps[0], near, None)
        return (ids - 1).tolist(), scores.tolist()


def sememe_settings() -> list[Setting]:
    """The points of sememe's curve: what `Sememe.use` passes on to every search."""
    return [{"recall": share} for share in (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)]
