"""Providers without an SDK that we need: Jina, Ollama, and Hugging Face's text-embeddings-inference (TEI)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sememe.errors import MissingExtra
from sememe.models.providers.lanes import Lane, client
from sememe.models.providers.names import Hosting
from sememe.models.providers.reading import json_of
from sememe.models.providers.wire import (
    GARBLED,
    Access,
    Answer,
    Input,
    Ranked,
    Trouble,
    in_order,
    ranked,
    refused_with,
    rows,
    trouble_of,
)
from sememe.types import Role


class HTTPWire:
    """JSON over HTTP with a bearer key, for providers that have no SDK. Never retries, follows no redirect."""

    def __init__(self, hosting: Hosting, access: Access, lane: Lane) -> None:
        try:
            import httpx2
            import orjson
        except ImportError:
            raise MissingExtra(hosting.provider.extra, hosting.name) from None
        headers = {"User-Agent": "sememe"}
        if access.key:
            headers["Authorization"] = f"Bearer {access.key}"
        self._client = client(httpx2, lane, timeout=access.timeout, url=access.url or "", headers=headers)
        self._loads = orjson.loads
        self._http_error = httpx2.HTTPError
        self._status_error = httpx2.HTTPStatusError
        self.hosting = hosting

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What `post` raises, and what reading an answer may."""
        return (self._http_error, *GARBLED)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a request, from its JSON. Options that are None are not sent."""
        sent = {name: value for name, value in body.items() if value is not None}
        response = self._client.post(path, json=sent)
        if not response.is_success:
            raise self._status_error(response.text, request=response.request, response=response)
        return json_of(response, self._loads)

    def trouble(self, error: Exception) -> Trouble:
        """What went wrong, from the status if there was one."""
        response = getattr(error, "response", None)
        if isinstance(error, self._status_error) and response is not None:
            return refused_with(response.status_code, response.text, response.headers)
        return trouble_of(error, self._http_error)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()


class JinaWire(HTTPWire):
    """`POST /embeddings` and `/rerank`. The task "retrieval" has one adapter a role, and so has "code"."""

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """Texts, or pictures in base64."""
        answer = self.post("/embeddings", self._body(inputs, role))
        return Answer(rows(in_order(answer["data"], "embedding")), answer.get("usage", {}).get("total_tokens"))

    def embed_together(self, chunks: Sequence[str], role: Role) -> Answer:
        """Late chunking: the model reads all chunks as one text, and pools its token states for each of them."""
        answer = self.post("/embeddings", {**self._body(chunks, role), "late_chunking": True})
        return Answer(rows(in_order(answer["data"], "embedding")), answer.get("usage", {}).get("total_tokens"))

    def _body(self, inputs: Sequence[Input], role: Role) -> dict[str, object]:
        mixed = "image" in self.hosting.model.modalities
        return {
            "model": self.hosting.model.name, "task": self._task(role), "dimensions": self.hosting.dimensions,
            "input": [_named(one) for one in inputs] if mixed else list(inputs),
            "embedding_type": "base64", "normalized": True, "truncate": False,
        }  # fmt: skip

    def _task(self, role: Role) -> str | None:
        task = self.hosting.model.task
        if self.hosting.model.name.startswith("jina-clip"):
            return "retrieval.query" if role == "query" else None
        if task in ("retrieval", "code"):
            return f"{task}.{'query' if role == 'query' else 'passage'}"
        return task

    def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Relevance as the model gives it."""
        body = {
            "model": self.hosting.model.name, "query": query, "documents": list(documents),
            "return_documents": False, "top_n": len(documents),
        }  # fmt: skip
        answer = self.post("/rerank", body)
        pairs = [(result["index"], result["relevance_score"]) for result in answer["results"]]
        return ranked(pairs, len(documents), answer.get("usage", {}).get("total_tokens"))


class OllamaWire(HTTPWire):
    """`POST /api/embed`. A text that is too long is refused, never cut."""

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """There are no roles: a query and a document of one text have one vector."""
        del role
        hosting = self.hosting
        body = {
            "model": hosting.model.name, "input": list(inputs), "truncate": False, "dimensions": hosting.dimensions
        }  # fmt: skip
        answer = self.post("/api/embed", body)
        return Answer(rows(answer["embeddings"]), answer.get("prompt_eval_count"))


class TEIWire(HTTPWire):
    """`POST /embed` and `/rerank`. A server has one model, so that the name is only ours."""

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """There are no roles: a query and a document of one text have one vector."""
        del role
        dimensions = self.hosting.dimensions
        answer = self.post(
            "/embed", {"inputs": list(inputs), "normalize": True, "truncate": False, "dimensions": dimensions}
        )
        return Answer(rows(answer))

    def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Relevance between 0 and 1."""
        answer = self.post("/rerank", {"query": query, "texts": list(documents), "raw_scores": False})
        return ranked([(result["index"], result["score"]) for result in answer], len(documents), None)


def _named(given: Input) -> dict[str, str]:
    return {"text": given} if isinstance(given, str) else {"image": base64.b64encode(given).decode()}


PLAIN: dict[str, Callable[[Hosting, Access, Lane], JinaWire | OllamaWire | TEIWire]] = {
    "jina": JinaWire,
    "ollama": OllamaWire,
    "tei": TEIWire,
}
