"""OpenAI's embeddings through its SDK, and those of every server that speaks the same wire."""

from __future__ import annotations

from collections.abc import Sequence

from sememe.errors import MissingExtra
from sememe.models.providers.names import Hosting
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

    def __init__(self, hosting: Hosting, access: Access) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", hosting.name) from None
        self._sdk = openai
        self._hosting = hosting
        self._client = openai.OpenAI(
            # A server of one's own may want no key; the SDK wants one all the same.
            api_key=access.key or "none", base_url=access.url, timeout=access.timeout, max_retries=0,
        )  # fmt: skip

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._sdk.OpenAIError, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Vectors come as base64 of float32 from servers that can, else as numbers."""
        del role
        dimensions = self._hosting.dimensions
        answer = self._client.embeddings.create(
            input=[str(text) for text in inputs], model=self._hosting.model.name, encoding_format="base64",
            dimensions=dimensions if dimensions is not None else self._sdk.omit,
        )  # fmt: skip
        data = [{"index": getattr(item, "index", None), "embedding": item.embedding} for item in answer.data]
        usage = getattr(answer, "usage", None)
        return Answer(rows(in_order(data, "embedding")), usage.total_tokens if usage else None)

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means."""
        if isinstance(error, self._sdk.APIStatusError):
            return refused_with(error.status_code, error.body or error.message, error.response.headers)
        return trouble_of(error, self._sdk.APIConnectionError)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()
