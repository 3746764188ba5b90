"""Voyage's embeddings (text, code, context, multimodal) and rerankers through its SDK."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sememe.errors import MissingExtra
from sememe.models.providers.lanes import Lane
from sememe.models.providers.names import Hosting
from sememe.models.providers.wire import (
    GARBLED,
    Access,
    Answer,
    Input,
    Ranked,
    Trouble,
    data_uri,
    in_order,
    ranked,
    refused_with,
    rows,
    trouble_of,
)
from sememe.types import Role


class VoyageWire:
    """`POST /embeddings`, `/contextualizedembeddings`, `/multimodalembeddings` and `/rerank`.

    The provider puts its own prompt before a text by its role. An input that is too long is refused, never cut.
    """

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import requests
            import voyageai
            from voyageai.api_resources.api_requestor import APIRequestor
        except ImportError:
            raise MissingExtra("voyage", hosting.name) from None
        # The SDK's log repeats what a server says, and some servers repeat the key that they refuse.
        logging.getLogger("voyage").setLevel(logging.WARNING)
        self._hosting = hosting
        self._lane = lane
        self._error = voyageai.error
        self._http_error = requests.RequestException
        self._timeout = access.timeout
        self._requestor: Any = APIRequestor(access.key, access.url)  # type: ignore[no-untyped-call]
        self._client: Any = voyageai.Client(  # type: ignore[attr-defined]
            api_key=access.key, max_retries=0, timeout=access.timeout, base_url=access.url
        )

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._error.VoyageError, self._http_error, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Texts or pictures; for a context model every text is a document by itself."""
        name, dimensions = self._hosting.model.name, self._hosting.dimensions
        if "-multimodal-" in name:
            contents = [{"content": [_part(one)]} for one in inputs]
            with self._lane():
                answer = self._client.multimodal_embed(
                    contents, model=name, input_type=role, truncation=False, output_dimension=dimensions
                )
            return Answer(rows(answer.embeddings), answer.total_tokens)
        if "-context-" in name:
            return self._in_context([[str(text)] for text in inputs], role)
        body = {
            "input": list(inputs), "model": name, "input_type": role, "truncation": False,
            "output_dimension": dimensions, "encoding_format": "base64",
        }  # fmt: skip
        with self._lane():
            # The client's own method would make an object of every item, and a list of numbers of its base64.
            answer = self._requestor.request("post", "/embeddings", body, request_timeout=self._timeout).data
        return Answer(rows(in_order(answer["data"], "embedding")), answer["usage"]["total_tokens"])

    def embed_together(self, chunks: Sequence[str], role: Role) -> Answer:
        """The chunks as those of one document."""
        return self._in_context([list(chunks)], role)

    def _in_context(self, documents: list[list[str]], role: Role) -> Answer:
        name, dimensions = self._hosting.model.name, self._hosting.dimensions
        with self._lane():
            answer = self._client.contextualized_embed(
                documents, model=name, input_type=role, output_dimension=dimensions
            )
        results = sorted(answer.results, key=lambda result: int(result.index))
        return Answer(rows([vector for result in results for vector in result.embeddings]), answer.total_tokens)

    def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Relevance between 0 and 1."""
        with self._lane():
            answer = self._client.rerank(query, list(documents), model=self._hosting.model.name, truncation=False)
        pairs = [(result.index, result.relevance_score) for result in answer.results]
        return ranked(pairs, len(documents), answer.total_tokens)

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means."""
        status = getattr(error, "http_status", None)
        if isinstance(error, self._error.VoyageError) and status is not None and status >= 300:
            body = error.json_body if error.json_body is not None else error.http_body or error.user_message
            return refused_with(status, body, error.headers)
        return trouble_of(error, self._error.APIConnectionError, self._error.Timeout, self._http_error)

    def close(self) -> None:
        """Nothing: the SDK keeps a session for each thread, which goes with the thread."""


def _part(given: Input) -> dict[str, str]:
    if isinstance(given, str):
        return {"type": "text", "text": given}
    return {"type": "image_base64", "image_base64": data_uri(given)}
