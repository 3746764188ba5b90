"""A model with another network for queries than for documents: two encoders behind one (Router of
sentence-transformers).

This file knows roles. What a text without a role is counts as a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sememe.models.cards import Card
from sememe.models.encoder import TextEncoder
from sememe.settings import Settings
from sememe.types import Embedded, Progress, Role, Vectors


class RoutedEncoder(TextEncoder):
    """The encoder of documents, which hands queries to another one. Limits and tokens are those of documents."""

    def __init__(self, card: Card, files: Mapping[str, Path], *, settings: Settings, query: TextEncoder) -> None:
        super().__init__(card, files, settings=settings)
        self._query = query

    def encode_query(
        self, texts: str | Iterable[str], *, instruction: str | None = None, truncate_dim: int | None = None
    ) -> Vectors:
        """As `encode`, by the network for queries and with its prompt."""
        return self._query.encode_query(texts, instruction=instruction, truncate_dim=truncate_dim)

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`, by the network for their role."""
        if role == "query":
            return self._query.embed(texts, role=role, progress=progress)
        return super().embed(texts, role=role, progress=progress)
