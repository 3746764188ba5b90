"""A stand-in for every provider of hosted models: one small threaded server that speaks their documented protocols.

What it answers is made by `embed`: hashes of the texts by default, a real local model where a test asks for one. It
holds the documented limits, keeps every request, bills what it answered with 200, and does the faults that a test
queues: `server.faults.append(Fault(...))` is for the next request, one each.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

KEY = "sk-stand-in-7f3a9c55e0b14d"
DIMS = {
    "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "embed-v4.0": 1536, "embed-v5.0-pro": 2048,
    "embed-v5.0-fast": 2048, "embed-english-v3.0": 1024, "gemini-embedding-001": 3072, "gemini-embedding-2": 3072,
    "jina-embeddings-v5-text-small": 1024, "jina-embeddings-v3": 1024, "jina-clip-v2": 1024, "mistral-embed": 1024,
    "codestral-embed": 1536,
    "voyage-4-large": 1024, "voyage-4": 1024, "voyage-4-lite": 1024, "voyage-3.5": 1024, "voyage-context-3": 1024,
    "voyage-multimodal-3": 1024, "tei": 384, "bge-m3": 1024, "nomic-embed-text": 768,
}  # fmt: skip
LIMITS = {"openai": (2048, 300_000), "cohere": (96, None), "google": (100, None), "jina": (512, None),
          "voyage": (1000, 120_000), "mistral": (512, 16_384), "ollama": (64, None), "tei": (32, 16_384)}  # fmt: skip
NAMES = {
    "openai": "openai:text-embedding-3-small,dimensions=64",
    "cohere": "cohere:embed-v4.0,dimensions=256",
    "google": "google:gemini-embedding-001,dimensions=128",
    "jina": "jina:jina-embeddings-v5-text-small,dimensions=64",
    "voyage": "voyage:voyage-4-large,dimensions=256",
    "mistral": "mistral:mistral-embed",
    "ollama": "ollama:nomic-embed-text,dimensions=64",
    "tei": "tei:bge,dimensions=64",
}
"""A model of each provider, with few dimensions where it can."""

INPUT_TOKENS = 8192
TRAP = "ignore this sentence"
"""A text with this in it is refused, as a provider's filter would."""


@dataclass
class Fault:
    """What to do instead of answering: a status with headers and a message, or something worse by its name.

    `kind` is "status", "drop" (no answer), "truncate" (half of the body), "short" (one vector too few), "wide"
    (a dimension too many), "nan" (the first vector), "null", "slow" (`seconds`), "shuffle" (indices out of order),
    "prose" (no JSON).
    """

    kind: str = "status"
    status: int = 500
    message: str = "try again"
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Seen:
    """One request: who spoke, the inputs, the whole body, and the status and body of the answer."""

    dialect: str
    path: str
    inputs: list[str]
    body: dict[str, Any]
    headers: dict[str, str]
    status: int = 0
    answer: Any = None


def retry_date(seconds: float) -> str:
    """A moment from now as HTTP writes dates."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def tokens_of(text: str) -> int:
    """What this server bills for a text."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def hashed(text: str, dim: int) -> np.ndarray:
    """A vector of a text, the same for ever; not of unit length, as those of some providers are not."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StandIn:
    """The server's memory: what it does, and what it has seen."""

    def __init__(self) -> None:
        self.embed: Callable[[str, int], np.ndarray] = hashed
        self.write: Callable[[str], object] = lambda text: f"What of {text.split()[0]}?"
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.billed: Counter[str] = Counter()
        self.billed_tokens = 0
        self.key = KEY
        self.open: tuple[str, ...] = ("ollama", "tei")
        self.delay = 0.0
        self.busy = 0
        self.most_busy = 0
        self.dims: int | None = None
        self.lock = threading.Lock()
        self.url = ""

    def environ(self) -> dict[str, str]:
        """What the environment says of every provider when they are all here."""
        found = {
            "OPENAI_BASE_URL": f"{self.url}/v1", "CO_API_URL": self.url, "GOOGLE_GEMINI_BASE_URL": self.url,
            "JINA_BASE_URL": f"{self.url}/jina/v1", "VOYAGE_BASE_URL": f"{self.url}/voyage/v1",
            "MISTRAL_BASE_URL": f"{self.url}/mistral", "OLLAMA_HOST": self.url, "TEI_BASE_URL": self.url,
        }  # fmt: skip
        names = ("OPENAI", "CO", "GEMINI", "JINA", "VOYAGE", "MISTRAL", "OLLAMA", "TEI")
        return found | {f"{name}_API_KEY": self.key for name in names}

    def requests(self) -> list[list[str]]:
        """The inputs of every request that was answered with vectors."""
        return [seen.inputs for seen in self.seen if seen.status == 200]


DIALECTS = (
    (r"/jina/v1/(embeddings|rerank)", "jina"), (r"/voyage/v1/(\w+)", "voyage"),
    (r"/mistral/v1/(embeddings)", "mistral"), (r"/v1/(embeddings|chat/completions)", "openai"),
    (r"/v2/(embed|rerank)", "cohere"),
    (r"/v1\w*/models/.*:(batchEmbedContents)", "google"), (r"/api/(embed)", "ollama"), (r"/(embed|rerank)", "tei"),
)  # fmt: skip


def texts_in(dialect: str, what: str, body: dict[str, Any]) -> list[str]:
    """The inputs of a request; a picture is its data URI or base64."""
    if what == "chat/completions":
        return [message["content"] for message in body["messages"] if message["role"] == "user"]
    if what == "rerank":
        return list(body["texts" if dialect == "tei" else "documents"])
    if dialect == "google":
        return ["".join(_part(p) for p in r["content"]["parts"]) for r in body["requests"]]
    if what == "contextualizedembeddings":
        return [chunk for document in body["inputs"] for chunk in document]
    if what == "multimodalembeddings" or ("inputs" in body and dialect == "cohere"):
        return [_content(one["content"]) for one in body["inputs"]]
    given = body.get("images") or body.get("texts") or body.get("input") or body.get("inputs") or []
    return [one if isinstance(one, str) else one.get("text") or one["image"] for one in given]


def _part(part: dict[str, Any]) -> str:
    blob = part.get("inline_data") or part.get("inlineData")
    return f"data:{blob.get('mime_type') or blob.get('mimeType')}" if blob else str(part["text"])


def _content(parts: list[dict[str, Any]]) -> str:
    return "".join(p.get("text") or p.get("image_base64") or p["image_url"]["url"] for p in parts)


def check(dialect: str, model: str, texts: Sequence[str], what: str) -> None:
    """Hold the documented limits."""
    items, tokens = LIMITS[dialect]
    if what != "rerank" and len(texts) > items:
        raise Refusal(413 if dialect == "tei" else 400, f"at most {items} inputs, got {len(texts)}")
    if any(not text for text in texts):
        raise Refusal(400, "input cannot be an empty string")
    long = [i for i, text in enumerate(texts) if tokens_of(text) > INPUT_TOKENS]
    if long and dialect != "google":
        raise Refusal(400, f"input {long[0]} has more than the maximum of {INPUT_TOKENS} tokens")
    if tokens is not None and sum(map(tokens_of, texts)) > tokens:
        raise Refusal(400, f"at most {tokens} tokens in a request")
    if any(TRAP in text for text in texts):
        raise Refusal(400, "the input was flagged by a filter")
    if what not in ("rerank", "chat/completions") and dialect != "tei" and model not in DIMS:
        raise Refusal(404, f"the model {model} does not exist")


def error_body(dialect: str, status: int, message: str) -> dict[str, Any]:
    """An error as the provider writes it."""
    if dialect == "google":
        return {"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}
    if dialect == "openai":
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    if dialect in ("voyage", "jina", "mistral"):
        return {"detail": message}
    return {"id": "x", "message": message} if dialect == "cohere" else {"error": message, "error_type": "Validation"}


def b64(vector: np.ndarray) -> str:
    """A vector as base64 of float32, little-endian."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def is_packed(body: dict[str, Any]) -> bool:
    """Whether vectors are asked for in base64."""
    asked = (body.get("encoding_format"), body.get("embedding_type"), *body.get("embedding_types", ()))
    return "base64" in asked


def model_of(body: dict[str, Any], path: str) -> str:
    """The model that a request is for."""
    return body.get("model") or path.partition("models/")[2].partition(":")[0]


def dimensions_of(body: dict[str, Any], path: str) -> int:
    """The length of the vectors that a request asks for, or that its model has."""
    first = (body.get("requests") or [{}])[0]
    asked = body.get("dimensions") or body.get("output_dimension") or first.get("outputDimensionality")
    return int(asked or DIMS.get(model_of(body, path), DIMS["tei"]))


def answer_body(dialect: str, what: str, body: dict[str, Any], vectors: list[Any], tokens: int) -> Any:
    """The answer to an embedding request."""
    if dialect == "google":
        return {"embeddings": [{"values": vector} for vector in vectors]}
    if dialect == "cohere":
        kind = body["embedding_types"][0]
        billed = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}}
        return {"id": "x", "response_type": "embeddings_by_type", "embeddings": {kind: vectors}, "meta": billed}
    if dialect == "ollama":
        return {"model": body["model"], "embeddings": vectors, "prompt_eval_count": tokens}
    if dialect == "tei":
        return vectors
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "text_tokens": tokens,
        "image_pixels": 0,
        "video_pixels": 0,
    }
    if what == "contextualizedembeddings":
        left = iter(vectors)
        documents = [
            {"index": i, "data": [{"index": j, "embedding": next(left)} for j in range(len(chunks))]}
            for i, chunks in enumerate(body["inputs"])
        ]
        return {"object": "list", "data": documents, "model": body["model"], "usage": usage}
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return {"id": "x", "object": "list", "data": data, "model": body["model"], "usage": usage}


def rerank_body(dialect: str, body: dict[str, Any], texts: list[str]) -> Any:
    """Documents with their share of the query's words, best first, as every provider writes it."""
    asked = set(body["query"].split())
    scores = [len(asked & set(text.split())) / len(asked) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: -scores[i])
    if dialect == "tei":
        return [{"index": i, "score": scores[i]} for i in order]
    pairs = [{"index": i, "relevance_score": scores[i]} for i in order]
    tokens = {"total_tokens": sum(map(tokens_of, texts))}
    return {"object": "list", "data": pairs, "usage": tokens} if dialect == "voyage" else {
        "id": "x", "results": pairs, "usage": tokens
    }  # fmt: skip


def chat_body(model: str, written: object) -> Any:
    """A text as OpenAI writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": written}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was seen is kept."""

    def do_POST(self) -> None:
        """Answer, or do the next fault."""
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))
        dialect, what = next(
            (name, found[1])
            for pattern, name in DIALECTS
            if (found := re.fullmatch(pattern, self.path.partition("?")[0]))
        )
        it = self.stand_in
        seen = Seen(dialect, self.path, texts_in(dialect, what, body), body, dict(self.headers.items()))
        with it.lock:
            it.seen.append(seen)
            it.busy += 1
            it.most_busy = max(it.most_busy, it.busy)
            fault = it.faults.popleft() if it.faults else None
        try:
            if it.delay:
                time.sleep(it.delay)
            self._answer(it, seen, what, body, fault)
        finally:
            with it.lock:
                it.busy -= 1

    def _answer(self, it: StandIn, seen: Seen, what: str, body: dict[str, Any], fault: Fault | None) -> None:
        dialect = seen.dialect
        kind = fault.kind if fault else ""
        if kind == "drop":
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        try:
            if fault and kind == "status":
                raise Refusal(fault.status, fault.message)
            self._check_key(it, dialect)
            model = model_of(body, self.path)
            check(dialect, model, seen.inputs, what)
        except Refusal as refusal:
            seen.status = refusal.status
            headers = fault.headers if fault else {}
            self._send(refusal.status, json.dumps(error_body(dialect, refusal.status, str(refusal))), headers)
            return
        if what == "rerank":
            seen.status = 200
            seen.answer = rerank_body(dialect, body, seen.inputs)
            self._send(200, json.dumps(seen.answer), {})
            return
        if what == "chat/completions":
            seen.status = 200
            self._send(200, json.dumps(chat_body(body["model"], it.write(seen.inputs[0]))), {})
            return
        self._send_vectors(it, seen, what, body, kind)

    def _send_vectors(self, it: StandIn, seen: Seen, what: str, body: dict[str, Any], kind: str) -> None:
        dim = it.dims or dimensions_of(body, self.path)
        made = [it.embed(text, dim) for text in seen.inputs]
        if kind == "short":
            made = made[:-1]
        if kind == "wide":
            made = [np.append(vector, np.float32(1)) for vector in made]
        if kind in ("nan", "null"):
            made[0] = np.full_like(made[0], np.nan)
        packed = is_packed(body)
        vectors = [b64(vector) if packed else vector.tolist() for vector in made]
        tokens = sum(map(tokens_of, seen.inputs))
        answer = answer_body(seen.dialect, what, body, vectors, tokens)
        if kind == "shuffle":
            answer["data"].reverse()
        seen.answer = answer
        text = "<html>busy</html>" if kind == "prose" else json.dumps(answer)
        if kind == "null":
            text = text.replace("NaN", "null")
        seen.status = 0 if kind in ("truncate", "prose") else 200
        if kind not in ("truncate", "prose"):
            with it.lock:
                it.billed.update(seen.inputs)
                it.billed_tokens += tokens
        self._send(200, text, {}, half=kind == "truncate")

    def _check_key(self, it: StandIn, dialect: str) -> None:
        given = self.headers.get("x-goog-api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
        if dialect not in it.open and given != it.key:
            raise Refusal(400 if dialect == "google" else 401, f"API key not valid: {given}")

    def _send(self, status: int, text: str, headers: Mapping[str, str], *, half: bool = False) -> None:
        self._send_bytes(status, text.encode(), headers, half=half)

    def _send_bytes(self, status: int, data: bytes, headers: Mapping[str, str], *, half: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """A thread a connection, and no word about clients that hang up."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def serving() -> Iterator[StandIn]:
    """A stand-in on a free port of this machine, for as long as the block runs."""
    stand_in = StandIn()
    handler = type("Bound", (Handler,), {"stand_in": stand_in})
    server = Server(("127.0.0.1", 0), handler)
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
