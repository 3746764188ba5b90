"""Google's embeddings through the google-genai SDK, with a key of the Gemini interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
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
    data_uri,
    refused_with,
    rows,
    trouble_of,
)
from sememe.types import Role, Vectors

TASKS = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}


class GoogleWire:
    """`POST /models/MODEL:batchEmbedContents`, one Content for every input.

    Strings would be taken for the parts of a single input by the newer models, and n texts would give one vector.
    gemini-embedding-001 is told the task; later models read it from a prefix of the text, which is in the catalogue.
    """

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import httpx2
            import orjson
            from google import genai
        except ImportError:
            raise MissingExtra("google", hosting.name) from None
        self._sdk = genai
        self._hosting = hosting
        self._past = PastSDK(httpx2, orjson.loads, take=_vectors, spread=_of_all)
        self._http_error = httpx2.HTTPError
        self._http = client(httpx2, lane, timeout=access.timeout, change=self._past.change, read=self._past.read)
        options = genai.types.HttpOptions(
            base_url=access.url, timeout=int(access.timeout * 1000), httpx_client=self._http
        )
        # Held for as long as it is used: one that is let go closes its connection.
        self._client = genai.Client(api_key=access.key, vertexai=False, http_options=options)
        self._config = {
            role: genai.types.EmbedContentConfig(
                task_type=task if hosting.model.name == "gemini-embedding-001" else None,
                output_dimensionality=hosting.dimensions,
            )
            for role, task in TASKS.items()
        }

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""
        return (self._sdk.errors.APIError, self._http_error, *GARBLED)

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Texts, or pictures; the answer does not say what was billed.

        The SDK takes longer over a hundred texts than over all else: it makes the request for one of them.
        """
        alike = inputs if all(isinstance(one, str) for one in inputs) else None
        contents: list[Any] = [{"role": "user", "parts": [_part(one)]} for one in (inputs[:1] if alike else inputs)]
        with self._past.instead(alike):
            self._client.models.embed_content(
                model=self._hosting.model.name, contents=contents, config=self._config[role]
            )
        return Answer(self._past.vectors)

    def trouble(self, error: Exception) -> Trouble:
        """What an exception means. A busy server says in the error's details when to come back."""
        if isinstance(error, self._sdk.errors.APIError):
            headers = getattr(error.response, "headers", None) or {}
            trouble = refused_with(error.code or 500, f"{error.status or ''} {error.message or ''}", headers)
            delay = re.search(r"'retryDelay': '(\d+(?:\.\d+)?)s'", str(error.details))
            return replace(trouble, wait=float(delay[1])) if delay and trouble.wait is None else trouble
        return trouble_of(error, self._http_error)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()
        self._http.close()


def _part(given: Input) -> dict[str, object]:
    if isinstance(given, str):
        return {"text": given}
    kind = data_uri(given)[len("data:") :].partition(";")[0]
    return {"inline_data": {"data": given, "mime_type": kind}}


def _of_all(body: Any, texts: Sequence[Input]) -> object:
    """The body of a request for the first text, with requests like it for all."""
    [first] = body["requests"]
    content = first["content"]
    return {**body, "requests": [{**first, "content": {**content, "parts": [{"text": text}]}} for text in texts]}


def _vectors(answer: Any) -> tuple[Vectors, object]:
    return rows([found["values"] for found in answer["embeddings"]]), {}
