"""OpenAI's embeddings through its SDK, and those of every server that speaks the same wire."""

from __future__ import annotations

from collections.abc import Sequence

from sememe.errors import MissingExtra
from sememe.models.providers.lanes import Lane, client
from sememe.models.providers.names import Hosting
from sememe.models.providers.reading import json_of
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
from sememe.types import Role


class OpenAIWire:
    """`POST /embeddings`. There are no roles: a query and a document of one text have one vector."""

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import httpx2
            import openai
            import orjson
        except ImportError:
            raise MissingExtra("openai", hosting.name) from None
        self._sdk = openai
        self._response = httpx2.Response
        self._loads = orjson.loads
        self._hosting = hosting
        self._client = openai.OpenAI(
            # A server of one's own may want no key; the SDK wants one all the same.
            api_key=access.key or "none", base_url=access.url, timeout=access.timeout, max_retries=0,
            http_client=client(httpx2, lane, timeout=access.timeout),
        )  # fmt: skip

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._sdk.OpenAIError, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Vectors come as base64 of float32 from servers that can, else as numbers."""
        del role
        body: dict[str, object] = {"input": list(inputs), "model": self._hosting.model.name}
        body["encoding_format"] = "base64"
        if self._hosting.dimensions is not None:
            body["dimensions"] = self._hosting.dimensions
        # The method for embeddings would go through every input and every item of the answer by its types.
        answer = json_of(self._client.post("/embeddings", cast_to=self._response, body=body), self._loads)
        usage = answer.get("usage") or {}
        return Answer(rows(in_order(answer["data"], "embedding")), usage.get("total_tokens"))

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means."""
        if isinstance(error, self._sdk.APIStatusError):
            return refused_with(error.status_code, error.body or error.message, error.response.headers)
        return trouble_of(error, self._sdk.APIConnectionError)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()
