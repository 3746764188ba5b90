"""What a provider's file gives back, and how it says what went wrong.

A provider's file turns texts into one request and one answer into rows. It never retries, waits, counts or raises on
purpose: whatever its SDK raises becomes a `Trouble`, and `calling` decides what to do about it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from sememe.types import Role, Scores, Vectors

Kind = Literal["refused", "key", "model", "quota", "busy", "down", "garbled"]
Input: TypeAlias = str | bytes
"""A text, or the bytes of a picture."""

GARBLED = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What code raises that reads an answer which is not what was promised."""

QUOTA = ("insufficient_quota", "exceeded your current quota", "billing", "insufficient balance")
BAD_KEY = ("api_key_invalid", "api key not valid", "invalid api key", "invalid_api_key", "api key expired")
MOST_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """Where a provider is and the key that opens it; `key` is never shown."""

    key: str = field(repr=False)
    url: str | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request gave nothing. `wait` is how many seconds the provider asked us to stay away."""

    kind: Kind
    reason: str
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gave: `vectors (n, dim) float32` in the order of its inputs, and the tokens billed, if said."""

    vectors: Vectors
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one rerank request gave: `scores (n,) float32` in the order of the documents, and the tokens billed."""

    scores: Scores
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a language model wrote, and the tokens billed."""

    text: str
    tokens: int | None = None


class Billed(Protocol):
    """What a request gave, whatever it was."""

    @property
    def tokens(self) -> int | None:
        """The tokens billed, None where the provider does not say."""


class Wire(Protocol):
    """One provider's way of being asked. `errors` are the exceptions that its calls may raise."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Every kind of exception that a call may raise."""

    def embed(self, inputs: Sequence[Input], role: Role) -> Answer:
        """One request for all of the inputs."""

    def trouble(self, error: Exception) -> Trouble:
        """What an exception of `errors` means."""

    def close(self) -> None:
        """Let the connections go."""


@runtime_checkable
class ContextWire(Wire, Protocol):
    """That of a provider whose models can read the chunks of a document together."""

    def embed_together(self, chunks: Sequence[str], role: Role) -> Answer:
        """One request for all chunks of one document, each embedded in the light of the others."""


@runtime_checkable
class RankingWire(Wire, Protocol):
    """That of a provider with rerankers."""

    def rerank(self, query: str, documents: Sequence[str]) -> Ranked:
        """One request that scores all of the documents."""


@runtime_checkable
class WritingWire(Wire, Protocol):
    """That of a provider with language models."""

    def write(self, instruction: str, text: str) -> Written:
        """One request: what the model writes to a text, as instructed."""


def rows(embeddings: Iterable[str | Sequence[float]]) -> Vectors:
    """Embeddings in base64 (float32, little-endian) or as lists of numbers: (n, dim) float32.

    Raises ValueError when they are of unequal length.
    """
    made = [
        np.frombuffer(binascii.a2b_base64(one), dtype="<f4") if isinstance(one, str) else np.asarray(one, np.float32)
        for one in embeddings
    ]
    return np.ascontiguousarray(np.stack(made), dtype=np.float32) if made else np.zeros((0, 0), np.float32)


def in_order(data: Sequence[Mapping[str, Any]], value: str) -> list[Any]:
    """`value` of every item, by its `index` where the items have one. Raises ValueError when indices are missing."""
    if not all(isinstance(item.get("index"), int) for item in data):
        return [item[value] for item in data]
    ordered = {int(item["index"]): item[value] for item in data}
    if sorted(ordered) != list(range(len(data))):
        raise ValueError(f"its indices are not 0 to {len(data) - 1}")
    return [ordered[index] for index in range(len(data))]


def ranked(pairs: Iterable[tuple[int, float]], n: int, tokens: int | None) -> Ranked:
    """Scores by the documents' places. Raises ValueError when one of `n` is missing."""
    scores = np.full(n, np.nan, dtype=np.float32)
    for index, score in pairs:
        scores[index] = score
    if not np.isfinite(scores).all():
        raise ValueError(f"it scored {int(np.isfinite(scores).sum())} of {n} documents")
    return Ranked(scores, tokens)


def refused_with(status: int, reason: object, headers: Mapping[str, str] | None = None) -> Trouble:
    """The trouble behind an HTTP status and what the provider says to it."""
    text = said(reason)
    lowered = text.lower()
    wait = retry_after(headers or {})
    kind: Kind = "down"
    if status in (401, 403, 407, 498) or any(word in lowered for word in BAD_KEY):
        kind = "key"
    elif status == 402 or (status == 429 and any(word in lowered for word in QUOTA)):
        kind = "quota"
    elif status == 404:
        kind = "model"
    elif status == 429:
        kind = "busy"
    elif 400 <= status < 500 and status not in (408, 409, 425, 499):
        kind = "refused"
    return Trouble(kind, f"{status}: {text}" if text else str(status), wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110)."""
    found = {name.lower(): value for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(found[name]) * unit
        except (KeyError, ValueError):
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(found["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None


def said(reason: object) -> str:
    """What a provider says, on one line; the message alone where it is wrapped in JSON."""
    return " ".join(str(_message(reason))[:MOST_CHARACTERS].split())


def _message(reason: object) -> object:
    """The sentence within the error bodies of all providers: {"error": {"message"}}, {"detail"}, {"message"}, …"""
    if isinstance(reason, str) and reason.lstrip().startswith(("{", "[")):
        try:
            return _message(json.loads(reason))
        except ValueError:
            return reason
    if isinstance(reason, list) and len(reason) == 1:
        return _message(reason[0])
    if isinstance(reason, Mapping):
        for name in ("error", "detail", "message", "msg"):
            if reason.get(name):
                return _message(reason[name])
    return "" if reason is None else reason


def data_uri(image: bytes) -> str:
    """A picture as a data URI; its kind is told by its first bytes. Raises ValueError for another kind."""
    for start, kind in ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp")):
        if image.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    raise ValueError("a picture is neither PNG, JPEG, GIF nor WebP")


def trouble_of(error: Exception, *unreachable: type[Exception]) -> Trouble:
    """The trouble behind an exception without a status: nobody was reached, or the answer was not what was promised."""
    name = type(error).__name__
    text = said(str(error)) or name
    if isinstance(error, unreachable):
        return Trouble("down", text if name in text else f"{name}: {text}")
    return Trouble("garbled", f"{name}: {text}")
