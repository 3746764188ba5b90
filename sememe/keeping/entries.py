"""The stream that an export is made of and an import takes: plain values, one at a time, whatever the file format.

An entry is a dict with a `kind`: one "space" (the space, its canaries, the further spaces, the types of fields,
golden sets, counts), a "container" for every file that holds many documents, then for every document a "document", its
"text" parts, its "place"s in the source, its "chunk"s with `vector` as bytes of little-endian float32, what is "beside"
them in further spaces as a `blob`, and its "input", the ledger row that ends it; then the "input"s that gave no
document, and an "end". Texts and vectors carry a CRC-32.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from sememe.errors import InputError
from sememe.index.tokens import from_bytes
from sememe.space import Held, Space, codec_digest
from sememe.store.golden import Judgement
from sememe.store.inventory import Inventory
from sememe.store.records import NOTHING, Layers, Outside, StoredContainer, StoredDocument
from sememe.types import LedgerRow, Recipe, Vectors

FORMAT = 1
BATCH = 500

Entry = dict[str, Any]


def entries(snapshot: Inventory) -> Iterator[Entry]:
    """Everything that a collection holds at one moment. Raises InputError when it is empty."""
    stored = snapshot.space()
    if stored is None:
        raise InputError("the collection is empty, so there is nothing to export; add to it first")
    space, canaries = stored
    totals, further = snapshot.totals(), snapshot.further()
    yield {
        "kind": "space", "format": FORMAT, "space": json.loads(space.to_json()), "id": space.id,
        "canaries": base64.b64encode(canaries.astype("<f4").tobytes()).decode(), "seq": snapshot.seq(),
        "documents": totals.documents, "chunks": totals.chunks, "inputs": sum(totals.statuses.values()),
        "golden": [asdict(judgement) for judgement in snapshot.judgements()], "fields": snapshot.fields(),
        "further": [_further(held, snapshot.canaries(held), snapshot.codec(held)) for held in further],
    }  # fmt: skip
    for box in snapshot.containers():
        yield _container(box)
    ledger = {row.key: row for row in snapshot.ledger()}
    numbers = snapshot.live_documents()
    for start in range(0, len(numbers), BATCH):
        for number, document in snapshot.documents(numbers[start : start + BATCH]).items():
            yield _document(document, snapshot.layers(number), snapshot.count_places(number))
            for first, text in snapshot.text_parts(number):
                yield {"kind": "text", "start": first, "text": text, "crc": zlib.crc32(text.encode())}
            for first, place in snapshot.places(number):
                yield {"kind": "place", "start": first, "place": place}
            for c in snapshot.moved(number, space.dim):
                yield {
                    "kind": "chunk", "position": c.position, "start": c.start, "end": c.end,
                    "headings": list(c.headings), "input": c.input.hex(), "tokens": c.tokens, "kept": c.kept,
                    "crc": zlib.crc32(c.vector), "vector": c.vector,
                }  # fmt: skip
            for held in further:
                for b in snapshot.beside(number, held):
                    yield {
                        "kind": "beside", "space": held.name, "position": b.position, "input": b.input.hex(),
                        "tokens": b.tokens, "kept": b.kept, "crc": zlib.crc32(b.vector), "blob": b.vector,
                    }  # fmt: skip
            yield _input(ledger.pop(document.key, LedgerRow(document.key, "embedded", chunks=document.chunks)))
    for row in ledger.values():
        yield _input(row)
    yield {"kind": "end"}


def _further(held: Held, canaries: Vectors, codec: bytes) -> Entry:
    return {
        "name": held.name, "kind": held.kind, "model": held.model, "id": held.space.id,
        "space": json.loads(held.space.to_json()),
        "canaries": base64.b64encode(canaries.astype("<f4").tobytes()).decode(),
        "codec": base64.b64encode(codec).decode(),
    }  # fmt: skip


def further_of(entry: Entry, where: str) -> list[tuple[Held, Vectors, bytes]]:
    """The further spaces of a "space" entry with their canaries and codecs; exports of before have none.

    Raises InputError.
    """
    found = []
    for said in entry.get("further", []):
        space, canaries = space_of({**said, "kind": "space", "format": FORMAT}, where)
        try:
            codec = base64.b64decode(said.get("codec", ""))
            if codec or said["kind"] == "late":
                from_bytes(codec)
        except (TypeError, ValueError, EOFError) as error:
            raise InputError(f"{where} holds a codec that cannot be read ({error}); export it again") from error
        if (codec_digest(codec) if codec else "") != space.codec:
            raise InputError(f"{where} holds another codec than space {said['name']!r} names; export it again")
        found.append((Held(space, str(said["name"]), said["kind"], str(said["model"])), canaries, codec))
    return found


def _container(box: StoredContainer) -> Entry:
    return {
        "kind": "container", "id": box.key, "digest": box.digest.hex(), "size": box.size, "mtime_ns": box.mtime_ns,
        "recipe": asdict(box.recipe), "documents": box.documents, "settled": box.settled, "added": box.added,
        "outside": asdict(box.outside),
    }  # fmt: skip


def _document(document: StoredDocument, layers: Layers, places: int) -> Entry:
    stamp = document.stamp
    return {
        "kind": "document", "id": document.key, "origin": stamp.origin, "digest": stamp.digest.hex(),
        "size": stamp.size, "mtime_ns": stamp.mtime_ns, "title": document.title, "media_type": document.media_type,
        "metadata": document.metadata, "recipe": asdict(document.recipe), "precision": document.precision,
        "characters": document.characters, "chunks": document.chunks, "added": document.added,
        "layers": asdict(layers) if layers.outside != NOTHING else None, "places": places,
    }  # fmt: skip


def _input(row: LedgerRow) -> Entry:
    fields = asdict(row)
    return {"kind": "input", "id": fields.pop("key"), **fields}


def ledger_row(entry: Entry) -> LedgerRow:
    """The ledger row of an "input". Raises KeyError, TypeError or ValueError when it is none."""
    return LedgerRow(
        key=str(entry["id"]), status=entry["status"], reason=str(entry["reason"]), retryable=bool(entry["retryable"]),
        chunks=int(entry["chunks"]), tokens=int(entry["tokens"]),
        truncated=tuple((int(p), int(t), int(k)) for p, t, k in entry["truncated"]),
        remarks=tuple(map(str, entry["remarks"])), origin=entry["origin"],
    )  # fmt: skip


def layers_of(entry: Entry) -> Layers:
    """The layers of a "document"; exports of before had only what they come to. Raises as `ledger_row` does."""
    layers = entry.get("layers")
    if layers is None:
        return Layers(entry["metadata"], entry["title"], NOTHING)
    return Layers(dict(layers["own"]), str(layers["title"]), _outside(layers["outside"]))


def container_of(entry: Entry) -> StoredContainer:
    """The file of many documents of a "container". Raises as `ledger_row` does."""
    return StoredContainer(
        key=str(entry["id"]), digest=bytes.fromhex(entry["digest"]), size=whole(entry["size"]),
        mtime_ns=whole(entry["mtime_ns"]), recipe=Recipe(**entry["recipe"]), documents=int(entry["documents"]),
        settled=bool(entry["settled"]), added=float(entry["added"]), outside=_outside(entry["outside"]),
    )  # fmt: skip


def whole(value: Any) -> int | None:
    """A whole number or none. Raises TypeError or ValueError."""
    return None if value is None else int(value)


def fields_of(entry: Entry) -> dict[str, str]:
    """The types of fields in a "space" entry, by path; exports of before have none, and what is no type is left out."""
    types = entry.get("fields")
    known = types.items() if isinstance(types, dict) else ()
    return {path: kind for path, kind in known if kind in ("boolean", "number", "string", "date")}


def golden_of(entry: Entry, where: str) -> list[Judgement]:
    """The golden sets of a "space" entry; exports of before have none. Raises InputError."""
    try:
        return [
            Judgement(
                name=str(one["name"]), query=str(one["query"]), key=str(one["key"]), start=int(one["start"]),
                end=int(one["end"]), grade=int(one["grade"]), origin=str(one["origin"]),
            )
            for one in entry.get("golden", [])
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} has golden sets that cannot be read ({error!r}); export it again") from error


def _outside(said: Entry) -> Outside:
    stamp = said["stamp"]
    return Outside(
        dict(said["sidecar"]), None if stamp is None else (int(stamp[0]), int(stamp[1])), dict(said["given"])
    )


def space_of(entry: Entry, where: str) -> tuple[Space, Vectors]:
    """The space of a "space" entry and its canaries (3, dim). Raises InputError."""
    try:
        if entry["kind"] != "space" or entry["format"] != FORMAT:
            raise ValueError(f"{entry['kind']} of format {entry.get('format')}, not a space of format {FORMAT}")
        space = Space.from_json(json.dumps(entry["space"]))
        canaries = np.frombuffer(base64.b64decode(entry["canaries"]), dtype="<f4").reshape(-1, space.dim)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} does not begin with the space of its vectors ({error}); export it again") from error
    if space.id != entry.get("id"):
        raise InputError(f"{where} names its space {entry.get('id')}, but its fields give {space.id}; export it again")
    return space, canaries.astype(np.float32)
