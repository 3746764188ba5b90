"""Hosted rerankers: a query and documents in, one score a document out, through the same careful base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sememe.errors import CostLimit, InputError, ModelError
from sememe.models.providers.base import SPECIAL_TOKENS, Hosted
from sememe.models.providers.batches import batches
from sememe.models.providers.counting import EstimatedCounter
from sememe.models.providers.names import parse
from sememe.models.providers.wire import Ranked, RankingWire, Wire
from sememe.settings import Settings, from_environment
from sememe.types import Scores

DOCUMENTS = 1000
"""Documents of one request: what every provider takes."""

INSTRUCTED = frozenset({"voyage"})
"""Providers whose rerankers read instructions, as a part of the query."""


class HostedReranker(Hosted):
    """A model behind an address that scores documents for a query."""

    def rerank(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """How well each text answers the query: (n,) float32, between 0 and 1, higher is better, in their order.

        Raises InputError for an empty query or text, and for an instruction to a model that takes none; ProviderError
        when the provider gives no scores, and CostLimit when they could cost more than is allowed.
        """
        if not query.strip():
            raise InputError("the query is empty; say what the texts are ranked for")
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        if empty:
            raise InputError(f"text {empty[0]} is empty, which no reranker takes; leave it out")
        if instruction is not None:
            if self._hosting.provider.name not in INSTRUCTED:
                raise InputError(f"{self._hosting.name} takes no instruction; leave it out")
            query = f"{instruction}\n{query}"
        count, asked = EstimatedCounter().count, EstimatedCounter().count(query)
        tokens = [asked + count(text) + SPECIAL_TOKENS for text in texts]
        parts = batches(tokens, len(tokens), items=DOCUMENTS, most=None, alone=max(tokens, default=0))
        made = [self._scored(query, [texts[i] for i in part], sum(tokens[i] for i in part)) for part in parts]
        return np.concatenate(made) if made else np.zeros(0, dtype=np.float32)

    def _scored(self, query: str, documents: list[str], tokens: int) -> Scores:
        """One request."""

        def send(wire: Wire) -> Ranked:
            if not isinstance(wire, RankingWire):
                raise ModelError(f"{self._hosting.provider.name} has no rerankers; see who has with: sememe hosted")
            return wire.rerank(query, documents)

        outcome = self._asked(send, tokens)
        if outcome is None:
            raise CostLimit(f"ranking with {self._hosting.name} could cost more than was allowed; raise the limit")
        if isinstance(outcome, Ranked):
            return outcome.scores
        raise self._failure(outcome)


def load_reranker(name: str, *, settings: Settings | None = None) -> HostedReranker:
    """The reranker behind a name such as "voyage:rerank-2.5". Nothing is connected yet.

    Without `settings` the environment is read. Raises InputError for a name that cannot be one, and NotFound for a
    model that makes vectors.
    """
    return HostedReranker(parse(name, rerank=True), settings or from_environment())
