"""Mistral's embeddings through its SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sememe.errors import MissingExtra
from sememe.models.providers.lanes import Lane, client
from sememe.models.providers.names import Hosting
from sememe.models.providers.reading import PastSDK
from sememe.models.providers.wire import (
    GARBLED,
    Access,
    Answer,
    Input,
    Trouble,
    in_order,
    refused_with,
    rows,
    trouble_of,
)
from sememe.types import Role, Vectors


class MistralWire:
    """`POST /v1/embeddings`. Vectors come as numbers: the SDK cannot read the base64 that it can ask for."""

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import httpx2
            import orjson
            from mistralai.client import Mistral, errors
            from mistralai.client.types import UNSET
        except ImportError:
            raise MissingExtra("mistral", hosting.name) from None
        self._hosting = hosting
        self._past = PastSDK(httpx2, orjson.loads, take=_vectors, spread=_of_all)
        self._errors = errors
        self._http_error = httpx2.HTTPError
        self._dimensions = UNSET if hosting.dimensions is None else hosting.dimensions
        self._http = client(httpx2, lane, timeout=access.timeout, change=self._past.change, read=self._past.read)
        self._client = Mistral(
            api_key=access.key, server_url=access.url, timeout_ms=int(access.timeout * 1000), retry_config=None,
            client=self._http,
        )  # fmt: skip

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._errors.MistralError, self._errors.NoResponseError, self._http_error, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """There are no roles: a query and a document of one text have one vector."""
        del role
        with self._past.instead(inputs):
            answer = self._client.embeddings.create(
                model=self._hosting.model.name, inputs=[str(inputs[0])], output_dimension=self._dimensions
            )
        return Answer(self._past.vectors, answer.usage.total_tokens)

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means."""
        if isinstance(error, self._errors.MistralError) and error.status_code >= 300:
            return refused_with(error.status_code, error.body, error.headers)
        return trouble_of(error, self._http_error, self._errors.NoResponseError)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()


def _of_all(body: Any, texts: Sequence[Input]) -> object:
    return {**body, "input": list(texts)}


def _vectors(answer: Any) -> tuple[Vectors, object]:
    return rows(in_order(answer["data"], "embedding")), {**answer, "data": []}
