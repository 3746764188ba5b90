"""Cohere's embeddings (v3, v4, v5) and rerankers, through version 2 of its interface and its SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sememe.errors import MissingExtra
from sememe.models.providers.lanes import Lane, client
from sememe.models.providers.names import Hosting
from sememe.models.providers.wire import (
    GARBLED,
    Access,
    Answer,
    Input,
    Ranked,
    Trouble,
    data_uri,
    ranked,
    refused_with,
    rows,
    trouble_of,
)
from sememe.types import Role

INPUT_TYPES = {"document": "search_document", "query": "search_query"}


class CohereWire:
    """`POST /v2/embed` and `/v2/rerank`. An input that is too long is refused, never cut (`truncate` NONE)."""

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import cohere
            import httpx
            from cohere.core.api_error import ApiError
        except ImportError:
            raise MissingExtra("cohere", hosting.name) from None
        self._hosting = hosting
        self._api_error = ApiError
        self._http_error = httpx.HTTPError
        self._http = client(httpx, lane, timeout=access.timeout)
        self._client: Any = cohere.ClientV2(
            api_key=access.key, base_url=access.url, timeout=access.timeout, max_retries=0, httpx_client=self._http,
            log_warning_experimental_features=False,
        )  # fmt: skip

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._api_error, self._http_error, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Texts with the input type of their role, or pictures.

        Vectors are asked for in base64, since the SDK takes ten times as long over lists of numbers as the rest does.
        """
        options: dict[str, Any] = {"input_type": INPUT_TYPES[role], "truncate": "NONE"}
        if self._hosting.dimensions is not None:
            options["output_dimension"] = self._hosting.dimensions
        uris = [data_uri(image) for image in inputs if isinstance(image, bytes)]
        if not uris:
            options["texts"] = list(inputs)
        elif "-v3" in self._hosting.model.name:
            options |= {"images": uris, "input_type": "image"}
            del options["truncate"]
        else:
            options["inputs"] = [{"content": [{"type": "image_url", "image_url": {"url": uri}}]} for uri in uris]
        answer = self._client.embed(model=self._hosting.model.name, embedding_types=["base64"], **options)
        return Answer(rows(answer.embeddings.base64 or answer.embeddings.float_ or []), _billed(answer, "input_tokens"))

    def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Relevance between 0 and 1."""
        answer = self._client.rerank(model=self._hosting.model.name, query=query, documents=list(documents))
        pairs = [(result.index, result.relevance_score) for result in answer.results]
        return ranked(pairs, len(documents), _billed(answer, "input_tokens"))

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means."""
        if isinstance(error, self._api_error) and error.status_code is not None and error.status_code >= 300:
            return refused_with(error.status_code, error.body, error.headers)
        return trouble_of(error, self._http_error)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()


def _billed(answer: Any, unit: str) -> int | None:
    units = getattr(getattr(answer, "meta", None), "billed_units", None)
    tokens = getattr(units, unit, None)
    return None if tokens is None else int(tokens)
