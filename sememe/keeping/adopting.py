"""Taking in vectors that others made: only into the space that the user names, and tried where the model is at hand.

Rows become the entries of an export, a document with one chunk each, so that one import writes them all. A vector
serves as the cache of its text only after the model itself has given the same for some of the texts; otherwise it is
stored under a digest of text and vector together, which no text will ever ask for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import InputError, SememeError, SpaceMismatch, one_of
from sememe.ingest.cutting import TEXT_PART, input_digest
from sememe.keeping.entries import FORMAT, Entry
from sememe.keeping.foreign import Row, Source
from sememe.models import load_model
from sememe.models.tokens import SURROGATES
from sememe.settings import Settings
from sememe.space import CANARY_COSINE, CANARY_TEXTS, Embedder, Space
from sememe.types import CHUNK_PREFIX, METRICS, LedgerRow, Metric, Recipe, Vectors
from sememe.vectors import normalise

TRIED = 8
LOOKED_AT = 256
"""Rows from which those to try are taken."""


@dataclass(slots=True)
class Adopted:
    """The named space of foreign vectors, its canaries (3, dim) or none, and the model where it is at hand."""

    space: Space
    canaries: Vectors
    embedder: Embedder | None
    cosine: float | None = None
    seen: set[bytes] = field(default_factory=set)


def by_model(model: str | Embedder, *, metric: Metric | None, settings: Settings) -> Adopted:
    """The space of a model, which is loaded. Raises ModelError and its kin."""
    embedder = load_model(model, settings=settings) if isinstance(model, str) else model
    space = replace(embedder.space, metric=_metric(metric) or embedder.space.metric)
    return Adopted(space, embedder.embed(CANARY_TEXTS, role="document").vectors, embedder)


def by_file(path: Path, *, metric: Metric | None, settings: Settings) -> Adopted:
    """The space in a file: what `sememe space --json` prints, or the `space.json` of an export. Raises InputError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        coded = raw.get("canaries", "")
        fields = dict(raw.get("space", raw))
        fields.pop("id", None)
        if isinstance(fields.get("prompts"), dict):
            fields["prompts"] = list(fields["prompts"].items())
        space = Space.from_json(json.dumps(fields))
        canaries = np.frombuffer(base64.b64decode(coded), dtype="<f4").reshape(-1, space.dim).astype(np.float32)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} describes no space ({error}); make one with: sememe space --json") from error
    embedder: Embedder | None
    try:
        # What is not in the cache is not at hand: nothing is fetched for a comparison.
        embedder = load_model(space.model, settings=replace(settings, offline=True))
    except SememeError:
        embedder = None
    return Adopted(replace(space, metric=_metric(metric) or space.metric), canaries, embedder)


def _metric(metric: str | None) -> Metric | None:
    if metric is not None and metric not in METRICS:
        raise InputError(f"the metric is {metric!r}; {one_of(metric, METRICS)}")
    return metric


def entries(source: Source, adopted: Adopted) -> Iterator[Entry]:
    """The rows of a source as the entries of an export.

    Raises SpaceMismatch, before anything is given, when the dimensions differ or the model gives other vectors for
    the texts of the first rows; the message says the cosine.
    """
    space = adopted.space
    if source.count and source.dim != space.dim:
        raise SpaceMismatch(
            f"{source.name} holds vectors of {source.dim} dimensions, and {space.model} makes {space.dim}; name the "
            f"model that made them"
        )
    first = list(islice(source.rows, LOOKED_AT))
    adopted.cosine = _tried(source.name, first, adopted)
    if source.coded and adopted.cosine is None:
        raise InputError(
            f"{source.name} keeps codes, of which vectors are made that are only like those that were put in, and "
            f"without {space.model} nobody can say how like; name a model that is at hand (--model), or import an .npy"
        )
    return _entries(source, chain(first, source.rows), adopted)


def _entries(source: Source, rows: Iterator[Row], adopted: Adopted) -> Iterator[Entry]:
    space = adopted.space
    yield {
        "kind": "space", "format": FORMAT, "space": json.loads(space.to_json()), "id": space.id,
        "canaries": base64.b64encode(adopted.canaries.astype("<f4").tobytes()).decode(), "seq": 0,
        "documents": source.count, "chunks": source.count, "inputs": source.count,
    }  # fmt: skip
    for number, row in enumerate(rows, start=1):
        yield from _one(row, f"row {number} of {source.name}", adopted)
    yield {"kind": "end"}


def _tried(name: str, rows: list[Row], adopted: Adopted) -> float | None:
    """The least cosine between given vectors and those that the model makes of their texts; None if none was tried."""
    embedder = adopted.embedder
    if embedder is None:
        return None
    most = embedder.space.max_tokens - embedder.reserved
    usable = [
        row for row in rows
        if row.text.strip() and row.vector is not None and np.isfinite(row.vector).all() and np.any(row.vector)
        and embedder.counter.count(row.text) <= most
    ]  # fmt: skip
    chosen = usable[:: max(len(usable) // TRIED, 1)][:TRIED]
    if not chosen:
        return None
    given = normalise(np.stack([row.vector for row in chosen if row.vector is not None]))
    made = normalise(embedder.embed([row.text for row in chosen], role="document").vectors)
    cosines = np.einsum("nd,nd->n", given, made)
    worst = int(np.argmin(cosines))
    if cosines[worst] < CANARY_COSINE:
        raise SpaceMismatch(
            f"{name} holds other vectors than {embedder.space.model} makes: for {chosen[worst].text[:40]!r} the cosine "
            f"is {cosines[worst]:.4f}, and {CANARY_COSINE} is asked for; name the model that made them"
        )
    return float(cosines[worst])


def _one(row: Row, place: str, adopted: Adopted) -> Iterator[Entry]:
    text = SURROGATES.sub("\N{REPLACEMENT CHARACTER}", row.text)
    key = _key(row, text)
    trouble = row.trouble or _trouble(row, key, adopted)
    if trouble:
        new = row.id is not None and not row.id.startswith(CHUNK_PREFIX) and _digest(key) not in adopted.seen
        yield _input(LedgerRow(key if new and row.id else place, "failed", trouble, origin="given"))
        return
    assert row.vector is not None
    adopted.seen.add(_digest(key))
    vector = normalise(row.vector) if adopted.space.metric == "cosine" else row.vector
    blob = vector.astype("<f4").tobytes()
    tokens, kept = _tokens(text, adopted)
    yield _document(key, row, text, blob, adopted.space)
    for start in range(0, len(text), TEXT_PART):
        part = text[start : start + TEXT_PART]
        yield {"kind": "text", "start": start, "text": part, "crc": zlib.crc32(part.encode())}
    trusted = text and adopted.cosine is not None
    digest = input_digest(text) if trusted else hashlib.sha256(b"given\0" + text.encode() + b"\0" + blob).digest()[:16]
    yield {
        "kind": "chunk", "position": 0, "start": 0, "end": len(text), "headings": [], "input": digest.hex(),
        "tokens": tokens, "kept": kept, "crc": zlib.crc32(blob), "vector": blob,
    }  # fmt: skip
    cut = kept < tokens
    yield _input(
        LedgerRow(
            key, "truncated" if cut else "embedded", f"it has {tokens} tokens, the model reads {kept}" if cut else "",
            chunks=1, tokens=kept, truncated=((0, tokens, kept),) if cut else (), origin="given",
            remarks=() if text else ("no text was stored with its vector",),
        )
    )  # fmt: skip


def _document(key: str, row: Row, text: str, blob: bytes, space: Space) -> Entry:
    metadata = json.loads(SURROGATES.sub("?", json.dumps(row.metadata, ensure_ascii=False)))
    title = SURROGATES.sub("?", row.title)
    content = json.dumps([text, title, metadata], sort_keys=True).encode()
    return {
        "kind": "document", "id": key, "origin": "given", "digest": hashlib.sha256(content + blob).hexdigest(),
        "size": None, "mtime_ns": None, "title": title, "media_type": "text/plain", "metadata": metadata,
        "recipe": asdict(Recipe("imported", "given/1", space.max_tokens, 0)), "precision": "unknown",
        "characters": len(text), "chunks": 1, "added": None,
    }  # fmt: skip


def _key(row: Row, text: str) -> str:
    if row.id is None or not row.id.strip():
        return f"text-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return row.id.encode("utf-8", "backslashreplace").decode()


def _trouble(row: Row, key: str, adopted: Adopted) -> str:
    if key.startswith(CHUNK_PREFIX):
        return f"its id {key!r} begins with {CHUNK_PREFIX!r}, as those of chunks do"
    if _digest(key) in adopted.seen:
        return f"its id {key!r} was there before"
    if row.vector is None or row.vector.shape != (adopted.space.dim,):
        got = "no vector" if row.vector is None else f"a vector of {len(row.vector)} dimensions"
        return f"it has {got}, and {adopted.space.dim} dimensions are asked for"
    if not np.isfinite(row.vector).all():
        return "its vector has values that are not finite numbers"
    if adopted.space.metric == "cosine" and not np.any(row.vector):
        return "its vector has length zero, and no direction to compare"
    return ""


def _tokens(text: str, adopted: Adopted) -> tuple[int, int]:
    """What the model reads of a text; nobody knows without the model."""
    if adopted.embedder is None or not text:
        return 0, 0
    count = adopted.embedder.counter.count(text) + adopted.embedder.reserved
    return count, min(count, adopted.space.max_tokens)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=12).digest()


def _input(row: LedgerRow) -> Entry:
    fields: dict[str, Any] = asdict(row)
    return {"kind": "input", "id": fields.pop("key"), **fields}
