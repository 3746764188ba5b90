"""Forgetting: documents, chunks or whatever matches a filter, from everything that a collection keeps of them.

One transaction takes them out of the truth and notes, in digests, that a forget is under way; what follows can be
killed at any moment and is finished by the next run: the derived files are made anew, the database is written anew
and its log emptied, named backups are rewritten, and every file is searched for what was forgotten. Only when
nothing is found is there a receipt. This file knows what to forget; `traces` how to search, `cuts` how a chunk
leaves its document, `manifest` what a backup is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sememe import failpoints
from sememe.collection import Collection
from sememe.errors import InputError, NotFound, StoreError
from sememe.filters import Filter, matches, parse
from sememe.ingest import derived
from sememe.ingest.fields import scalars
from sememe.ingest.items import keys_of
from sememe.ingest.runs import alone
from sememe.keeping import cuts, manifest
from sememe.keeping.traces import MARK, Collected, Search, strings_in
from sememe.store import SQLiteStore
from sememe.store.golden import Judgement
from sememe.store.inventory import Inventory
from sememe.store.records import KEY_BYTES, ForgetRow, Layers, StoredChunk, StoredContainer, StoredDocument, key_digest
from sememe.store.writing import Transaction
from sememe.types import CHUNK_PREFIX, PART, LedgerRow, Progress

BATCH = 500
Receipt = dict[str, Any]
Told = Callable[[str], Progress | None]


@dataclass(slots=True)
class Chosen:
    """What is to be forgotten: whole documents, single chunks by document, files of many documents by key, and
    inputs that gave no document."""

    documents: dict[int, StoredDocument] = field(default_factory=dict)
    chunks: dict[int, list[StoredChunk]] = field(default_factory=dict)
    owners: dict[int, StoredDocument] = field(default_factory=dict)
    containers: dict[str, StoredContainer] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)

    def input(self, key: str) -> None:
        """Choose one that gave no document, once."""
        self.inputs += [key] if key not in self.inputs else []

    @property
    def keys(self) -> list[str]:
        """The keys of all that goes as a whole."""
        return [*(document.key for document in self.documents.values()), *self.containers, *self.inputs]


def preview(collection: Collection, names: Sequence[str] = (), *, where: Filter | None = None) -> list[dict[str, Any]]:
    """What `forget` would take, by key. Nothing is written. Raises as `forget` does."""
    store = SQLiteStore(collection.path)
    try:
        with store.snapshot() as snapshot:
            chosen = _chosen(snapshot, collection.path, names, where)
            rows = [
                {"kind": "document", "id": d.key, "chunks": d.chunks, "characters": d.characters}
                for d in chosen.documents.values()
            ]
            rows += [
                {"kind": "chunk", "id": f"{CHUNK_PREFIX}{c.id}", "document": chosen.owners[number].key,
                 "characters": c.end - c.start}
                for number, found in chosen.chunks.items() for c in found
            ]  # fmt: skip
            rows += [{"kind": "container", "id": key} for key in chosen.containers]
            return rows + [{"kind": "input", "id": key} for key in chosen.inputs]
    finally:
        store.close()


def forget(
    collection: Collection, names: Sequence[str] = (), *, where: Filter | None = None, keep_key: bool = False,
    progress: Told | None = None,
) -> list[Receipt]:  # fmt: skip
    """Remove documents (by key), chunks ("chunk:12") or what matches a filter, and prove it; returns the receipts.

    A forget that was interrupted is finished first, also when nothing is named. Raises NotFound when a name is not
    there or nothing matches, StoreBusy when others add or read an older moment, and StoreError when something of
    what was forgotten is still found in a file: then nothing is claimed, and the next run goes on.
    """
    store = SQLiteStore(collection.path)
    try:
        store.require_writable()
        with manifest.backing_up(store), alone(store, "forget"):
            with store.snapshot() as snapshot:
                left = snapshot.forgets(under_way=True)
            receipts = [finish(store, row, progress) for row in left]
            if names or where is not None:
                receipts.append(finish(store, _take_out(store, collection, names, where, keep_key), progress))
            return receipts
    finally:
        store.close()


def receipts(collection: Collection) -> list[Receipt]:
    """The receipts of everything that was forgotten, oldest first."""
    store = SQLiteStore(collection.path)
    try:
        with store.snapshot() as snapshot:
            return [json.loads(row.receipt) for row in snapshot.forgets() if row.finished is not None]
    finally:
        store.close()


# --- what ------------------------------------------------------------------------------------------------------


def _chosen(snapshot: Inventory, folder: Path, names: Sequence[str], where: Filter | None) -> Chosen:
    if not names and where is None:
        raise InputError("nothing was named to forget; give keys, chunks or a filter")
    chosen = Chosen()
    for name in names:
        number = name.removeprefix(CHUNK_PREFIX)
        if number != name and number.isdecimal():
            _choose_chunk(snapshot, chosen, folder, int(number))
        else:
            _choose_key(snapshot, chosen, folder, name)
    if where is not None:
        _choose_matching(snapshot, chosen, where)
    for owner in list(chosen.chunks):
        if owner in chosen.documents or len(chosen.chunks[owner]) == chosen.owners[owner].chunks:
            chosen.documents.setdefault(owner, chosen.owners[owner])
            del chosen.chunks[owner]
    _choose_emptied(snapshot, chosen)
    if not chosen.documents and not chosen.chunks and not chosen.inputs:
        raise NotFound(f"nothing in {folder} matches the filter; nothing was forgotten")
    return chosen


def _choose_chunk(snapshot: Inventory, chosen: Chosen, folder: Path, number: int) -> None:
    chunk = snapshot.chunks([number]).get(number)
    if chunk is None:
        raise NotFound(f"'{CHUNK_PREFIX}{number}' is not a chunk of {folder}; nothing was forgotten")
    chosen.owners[chunk.document] = snapshot.documents([chunk.document])[chunk.document]
    there = chosen.chunks.setdefault(chunk.document, [])
    there += [] if chunk in there else [chunk]


def _choose_key(snapshot: Inventory, chosen: Chosen, folder: Path, name: str) -> None:
    keys = keys_of(name, folder.parent)
    for key in keys:
        document = snapshot.document(key)
        if document is not None:
            chosen.documents[document.id] = document
        held = _choose_container(snapshot, chosen, key)
        if document is not None or held:
            return
        if snapshot.in_ledger(key):
            chosen.input(key)
            return
    # What is there goes before what was: a deleted key may be the name, within a folder, of a live one.
    for key in keys:
        if snapshot.removed(key) is not None:
            chosen.input(key)
            return
    raise NotFound(f"{name!r} is not a document of {folder}; nothing was forgotten")


def _choose_container(snapshot: Inventory, chosen: Chosen, key: str) -> bool:
    """A file of many documents with all that is in it; False when there is none of that key."""
    within = key + PART
    found = {box.key: box for box in snapshot.containers() if box.key == key or box.key.startswith(within)}
    if key not in found:
        return False
    parts = snapshot.parts_of(key)
    for start in range(0, len(parts), BATCH):
        chosen.documents.update(snapshot.documents(parts[start : start + BATCH]))
    chosen.containers.update(found)
    named = {*chosen.keys}
    chosen.inputs += [
        row.key for row in snapshot.ledger(under=within) if row.origin == "part" and row.key not in named
    ]  # fmt: skip
    return True


def _choose_emptied(snapshot: Inventory, chosen: Chosen) -> None:
    """Files of many documents of which all are chosen: what is said of them was said of those."""
    boxes = dict.fromkeys(box for document in chosen.documents.values() for box in _around(document.key))
    for box in boxes:
        if box not in chosen.containers and chosen.documents.keys() >= set(snapshot.parts_of(box)):
            _choose_container(snapshot, chosen, box)


def _around(key: str) -> list[str]:
    """The files of many documents that a key lies in, outermost first."""
    return [key[: found.start()] for found in re.finditer(PART, key)]


def _choose_matching(snapshot: Inventory, chosen: Chosen, where: Filter) -> None:
    condition = parse(where)
    numbers = snapshot.live_documents()
    for start in range(0, len(numbers), BATCH):
        about = snapshot.metadata_of(numbers[start : start + BATCH])
        found = [number for number, fields in about.items() if matches(condition, fields)]
        chosen.documents.update(snapshot.documents(found))


# --- out of the truth ------------------------------------------------------------------------------------------


def _take_out(
    store: SQLiteStore, collection: Collection, names: Sequence[str], where: Filter | None, keep_key: bool
) -> ForgetRow:
    salt = os.urandom(16)
    collected = Collected(salt)
    with store.snapshot() as snapshot:
        chosen = _chosen(snapshot, store.folder, names, where)
        stored = snapshot.space()
        assert stored is not None or not chosen.documents
        dim = stored[0].dim if stored else 0
        ledger = {row.key: row for row in snapshot.ledger()}
        what = [_collect_document(snapshot, document, dim, collected) for document in chosen.documents.values()]
        made = [
            cuts.cut_out(snapshot, chosen.owners[number], {chunk.id for chunk in found})
            for number, found in chosen.chunks.items()
        ]
        for cut in made:
            what += cuts.collect(snapshot, cut, collected, dim=dim)
        what += [_collect_container(box, collected) for box in chosen.containers.values()]
        what += [{"kind": "input", "key_sha256": digest_of(key)} for key in chosen.inputs]
        fields = snapshot.fields()
        judged = _judged(snapshot, set(chosen.keys), made)
    # Of a file of many documents that goes as a whole only its own key stays.
    kept = {key for key in chosen.keys if keep_key and chosen.containers.keys().isdisjoint(_around(key))}
    for key in chosen.keys:
        _collect_input(ledger.get(key), key, collected, keep_key=key in kept)
    again = cuts.embed_again(made, lambda: collection.embedder, stored[0].metric if stored else "cosine")
    targets: list[dict[str, Any]] = [{"document": digest_of(key)} for key in chosen.keys]
    targets += [{"document": digest_of(cut.document.key), "chunks": cut.inputs} for cut in made]
    with store.transaction() as transaction:
        for number in chosen.documents:
            transaction.remove(number)
        _take_out_keys(transaction, chosen.keys, chosen.containers)
        transaction.drop_judgements(judged)
        transaction.record([_left_of(ledger[key]) for key in sorted(kept & ledger.keys())], 0)
        for cut in made:
            cuts.carry_out(
                transaction, cut, again, space=stored[0].id if stored else "", row=ledger.get(cut.document.key)
            )
        for path in _drop_fields(transaction, fields):
            # One without a dot stands in the metadata as it is.
            collected.text(path if "." in path else "")
        transaction.drop_orphans()
        transaction.drop_indexes()
        receipt = _begun(store, what, collected, keep_key=keep_key)
        number = transaction.begin_forget(
            salt=salt, marks=collected.marks().tobytes(), targets=json.dumps(targets), receipt=json.dumps(receipt)
        )
        failpoints.reach("forget taken out")
    with store.snapshot() as snapshot:
        return next(row for row in snapshot.forgets(under_way=True) if row.id == number)


def _collect_document(
    snapshot: Inventory, document: StoredDocument, dim: int, collected: Collected
) -> dict[str, Any]:  # fmt: skip
    digest = hashlib.sha256()
    layers = snapshot.layers(document.id)
    outside = layers.to_json()
    said = [document.title, json.dumps(document.metadata), *strings_in(document.metadata)]
    said += [outside, *strings_in(json.loads(outside))] if outside else []
    said += [place for _, place in snapshot.places(document.id)]
    for text in dict.fromkeys(said):
        collected.text(text)
    for _, part in snapshot.text_parts(document.id):
        collected.text(part)
        digest.update(part.encode())
    headings: set[str] = set()
    for chunk in snapshot.moved(document.id, dim):
        collected.vector(chunk.vector)
        headings.update(chunk.headings)
    for held in snapshot.further():
        for beside in snapshot.beside(document.id, held):
            collected.vector(beside.vector)
    for heading in headings:
        collected.text(heading)
    return {
        "kind": "document", "key_sha256": digest_of(document.key), "text_sha256": digest.hexdigest(),
        "characters": document.characters, "chunks": document.chunks,
    }  # fmt: skip


def _collect_input(row: LedgerRow | None, key: str, collected: Collected, *, keep_key: bool) -> None:
    if not keep_key:
        collected.text(key)
    for text in (row.reason, *row.remarks) if row is not None else ():
        collected.text(text)


def _collect_container(box: StoredContainer, collected: Collected) -> dict[str, Any]:
    said = Layers({}, "", box.outside).to_json()
    for text in dict.fromkeys([said, *strings_in(json.loads(said))] if said else ()):
        collected.text(text)
    return {"kind": "container", "key_sha256": digest_of(box.key), "documents": box.documents}


def _left_of(row: LedgerRow) -> LedgerRow:
    return LedgerRow(key=row.key, status="skipped", reason="it was forgotten", origin=row.origin)


def _take_out_keys(transaction: Transaction, keys: Sequence[str], containers: Iterable[str]) -> None:
    """Inputs leave the ledger, and files of many documents go; those around them are read again the next time.

    That they were there is remembered no more.
    """
    boxes = list(containers)
    for box in boxes:
        transaction.remove_container(box)
    transaction.strike(keys)
    transaction.drop_removals(map(key_digest, (*keys, *boxes)))
    transaction.unsettle(box for key in keys for box in _around(key))


def _judged(snapshot: Inventory, keys: set[str], made: Sequence[cuts.Cut]) -> list[Judgement]:
    """The judgements on what goes. A document that is only cut keeps those on the whole of it."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for cut in made:
        spans.setdefault(cut.document.key, []).extend(cut.spans)
    return [
        judgement for judgement in snapshot.judgements()
        if judgement.key in keys
        or any(judgement.start < end and start < judgement.end for start, end in spans.get(judgement.key, ()))
    ]  # fmt: skip


def _drop_quotes(store: SQLiteStore, row: ForgetRow) -> None:
    """Take out of golden sets the queries that say what was forgotten, and what no document that stays says too."""
    search = Search(np.frombuffer(row.marks, dtype=MARK), row.salt)
    with store.snapshot() as snapshot:
        judgements = snapshot.judgements()
    for query in {judgement.query for judgement in judgements}:
        search.value(query.encode(), query)
    shared = _held_by_others(store, search)
    quoting = {query for digest, queries in search.found.items() if digest not in shared for query in queries}
    with store.transaction() as transaction:
        transaction.drop_judgements(judgement for judgement in judgements if judgement.query in quoting)


def _drop_fields(transaction: Transaction, fields: Iterable[str]) -> list[str]:
    """Forget the types of fields that no document has any more; returns their paths."""
    held = {path for metadata in transaction.metadata(but="") for path, _, _ in scalars(metadata)}
    gone = [path for path in fields if path not in held]
    transaction.drop_fields(gone)
    return gone


def _begun(store: SQLiteStore, what: list[dict[str, Any]], collected: Collected, *, keep_key: bool) -> Receipt:
    return {
        "receipt": os.urandom(8).hex(), "sememe": metadata.version("sememe"), "collection": str(store.folder),
        "started": _now(), "forgotten": what, "key_kept": keep_key, "too_short_to_search": collected.too_short,
    }  # fmt: skip


def digest_of(key: str) -> str:
    """The SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- out of the files ------------------------------------------------------------------------------------------


def finish(store: SQLiteStore, row: ForgetRow, progress: Told | None) -> Receipt:
    """Everything after the transaction, from wherever it was interrupted; returns the receipt."""
    _drop_quotes(store, row)
    derived.catch_up(store, derived.Effort(rebuild=True, wait=True, progress=progress))
    failpoints.reach("forget indexes made anew")
    store.compact()
    with store.snapshot() as snapshot:
        known = snapshot.backups()
        stored = snapshot.space()
    rewritten = [manifest.without(store, backup, lambda inner: _take_out_again(inner, store, row)) for backup in known]
    failpoints.reach("forget backups rewritten")
    search = Search(np.frombuffer(row.marks, dtype=MARK), row.salt)
    for folder in [store.folder, *(Path(state["path"]) for state in rewritten if state["state"] == "rewritten")]:
        search.folder(folder)
    shared = _held_by_others(store, search)
    left = {digest: places for digest, places in search.found.items() if digest not in shared}
    if left:
        files = sorted({place for places in left.values() for place in places})
        raise StoreError(
            f"{len(left)} of {len(search.marks)} pieces of what was to be forgotten are still found, in "
            f"{', '.join(files[:3])}{' and others' if len(files) > 3 else ''}; remove what keeps them there and run: "
            f"sememe forget --finish"
        )
    receipt = {
        **json.loads(row.receipt), "finished": _now(), "pieces_searched": len(search.marks),
        "pieces_held_by_others": len(shared), "files_searched": search.files, "bytes_searched": search.size,
        "backups": rewritten, "space": stored[0].id if stored else None,
    }  # fmt: skip
    with store.transaction() as transaction:
        transaction.finish_forget(row.id, json.dumps(receipt))
    failpoints.reach("forget finished")
    return receipt


def _held_by_others(store: SQLiteStore, search: Search) -> set[bytes]:
    """Those of the found marks that stand in documents which nobody wants to forget: a licence, a common title."""
    if not search.found:
        return set()
    wanted = np.array([bool(search.found.get(digest)) for digest in search.digests()])
    among = Search(search.marks[wanted], search.salt)
    with store.snapshot() as snapshot:
        for value in snapshot.contents():
            among.value(value, "others")
    return set(among.found)


def _take_out_again(store: SQLiteStore, main: SQLiteStore, row: ForgetRow) -> None:
    """The same removal in a copy of the collection, which may hold older versions of the documents."""
    targets: list[dict[str, Any]] = json.loads(row.targets)
    whole = {target["document"] for target in targets if "chunks" not in target}
    parts = {target["document"]: set(target["chunks"]) for target in targets if "chunks" in target}
    with store.snapshot() as snapshot:
        stored = snapshot.space()
        numbers = snapshot.live_documents()
        found: list[int] = []
        made: list[cuts.Cut] = []
        for start in range(0, len(numbers), BATCH):
            for number, document in snapshot.documents(numbers[start : start + BATCH]).items():
                digest = digest_of(document.key)
                if digest in whole:
                    found.append(number)
                elif digest in parts and stored is not None:
                    made += cuts.by_inputs(snapshot, document, parts[digest], dim=stored[0].dim)
        ledger = {row.key: row for row in snapshot.ledger()}
        struck = [key for key in ledger if digest_of(key) in whole]
        boxes = [box.key for box in snapshot.containers() if digest_of(box.key) in whole]
        fields = snapshot.fields()
        keys = {judgement.key for judgement in snapshot.judgements()}
        judged = _judged(snapshot, {key for key in keys if digest_of(key) in whole}, made)
    again = cuts.look_up(main, made)
    with store.transaction() as transaction:
        for number in found:
            transaction.remove(number)
        _take_out_keys(transaction, struck, boxes)
        transaction.drop_removals(bytes.fromhex(digest)[:KEY_BYTES] for digest in whole)
        transaction.drop_judgements(judged)
        for cut in made:
            cuts.carry_out(
                transaction, cut, again, space=stored[0].id if stored else "", row=ledger.get(cut.document.key)
            )
        _drop_fields(transaction, fields)
        transaction.drop_orphans()
        transaction.drop_indexes()
    _drop_quotes(store, row)
