"""Exporting a collection and importing it into another: everything that the truth holds, and nothing that is derived.

An export is made of one moment. An import goes in windows, each one transaction; a document shows when it is whole,
and one that is there already costs nothing, so an interrupted import goes on when it is run again.
"""

from __future__ import annotations

import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sememe import failpoints
from sememe.collection import Collection
from sememe.errors import InputError, SpaceMismatch, StoreFull
from sememe.index.represented import is_whole
from sememe.index.slab import sync_folder
from sememe.index.tokens import Codec, from_bytes
from sememe.ingest import derived
from sememe.ingest.fields import REMARK, FieldCheck, remarks_of
from sememe.ingest.pipeline import Summary
from sememe.ingest.runs import Run, finish, running
from sememe.keeping import lines, parquet
from sememe.keeping.entries import (
    Entry,
    container_of,
    entries,
    fields_of,
    further_of,
    golden_of,
    layers_of,
    ledger_row,
    space_of,
    whole,
)
from sememe.keeping.manifest import partial_of
from sememe.space import CANARY_COSINE, Held, Space, differences
from sememe.store import SQLiteStore
from sememe.store.records import NewChunk, NewDocument, SourceStamp, StoredContainer
from sememe.store.sqlite import is_there
from sememe.store.writing import Transaction
from sememe.types import CHUNK_PREFIX, PART, Embedded, LedgerRow, Metadata, Progress, Recipe, Vectors

Form = Literal["file", "folder", "parquet"]
UNIT = 0.01
"""How far the length of a vector may be from 1 where scores are cosines."""
WINDOW_CHUNKS = 4096
WINDOW_CHARACTERS = 16_000_000
ADDED_AT_ONCE = 16_384
"""Chunks between two visits of the indexes during a long import."""


DOCUMENT_FIELDS: dict[str, type] = {
    "id": str, "origin": str, "digest": str, "title": str, "media_type": str, "metadata": dict, "recipe": dict,
    "precision": str, "characters": int, "chunks": int,
}  # fmt: skip
PLACE_FIELDS: dict[str, type] = {"start": int, "place": str}
TEXT_FIELDS: dict[str, type] = {"start": int, "text": str, "crc": int}
BESIDE_FIELDS: dict[str, type] = {"position": int, "input": str, "tokens": int, "kept": int, "blob": bytes}
CHUNK_FIELDS: dict[str, type] = {
    "position": int, "start": int, "end": int, "headings": list, "input": str, "tokens": int, "kept": int,
    "vector": bytes,
}  # fmt: skip


# --- out -------------------------------------------------------------------------------------------------------


def export(
    collection: Collection, target: str | Path, *, form: Form | None = None, overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write a collection as it is now: one `.jsonl` file, a folder of lines with an `.npy`, or a folder of Parquet.

    Without `form` the name says it: one that ends in ".jsonl" is a file, in ".parquet" Parquet, any other a folder.
    Raises InputError when the target is there and `overwrite` is false, and StoreFull.
    """
    path = Path(target).expanduser().absolute()
    chosen = form or {".jsonl": "file", ".parquet": "parquet"}.get(path.suffix, "folder")
    writers: dict[str, Callable[[Path, Iterator[Entry]], Iterator[Entry]]] = {
        "file": lines.write_file, "folder": lines.write_folder, "parquet": parquet.write
    }  # fmt: skip
    _refuse_target(path, collection.path, overwrite)
    partial = partial_of(path)
    counts = dict.fromkeys(("document", "chunk", "input"), 0)
    store = SQLiteStore(collection.path)
    try:
        _remove(partial)
        with store.snapshot() as snapshot:
            total = snapshot.totals().chunks
            for entry in writers[chosen](partial, entries(snapshot)):
                if entry["kind"] in counts:
                    counts[entry["kind"]] += 1
                if progress is not None and entry["kind"] == "chunk":
                    progress(counts["chunk"], total)
        _remove(path)
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        if not path.parent.exists():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}; make it first") from error
        raise StoreFull(f"{path} cannot be written ({error.strerror}); make room, or name another place") from error
    finally:
        _remove(partial)
        store.close()
    return {f"{kind}s": count for kind, count in counts.items()}


def _refuse_target(path: Path, collection: Path, overwrite: bool) -> None:
    if path == collection or collection in path.parents:
        raise InputError(f"{path} lies in the collection that is to be exported; name a place outside of it")
    ours = path.is_file() or (path / lines.SPACE).exists()
    if path.exists() and not (overwrite and ours):
        what = "say to overwrite (--overwrite), or name another place" if ours else "name another place"
        raise InputError(f"{path} is there already; {what}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- in --------------------------------------------------------------------------------------------------------


def read(source: Path) -> Iterator[Entry]:
    """The entries of an export of any form. Raises InputError when it is none."""
    if source.is_file():
        return lines.read_file(source)
    if (source / lines.LINES).exists():
        return lines.read_folder(source)
    if (source / parquet.DOCUMENTS).exists():
        return parquet.read(source)
    if source.exists():
        raise InputError(f"{source} is no export; say what it is with --from")
    raise InputError(f"there is no {source}; check the path")


def import_(
    folder: str | Path, stream: Iterator[Entry], *, where: str = "the export", threads: int = 0,
    progress: Progress | None = None,
) -> Summary:  # fmt: skip
    """Take the entries of an export into the collection in `folder`, which is made if there is none.

    A document whose key is there is replaced; one that is the same is passed over; a golden set whose name is there
    stays as it is. One that is damaged ends in the
    ledger as failed, and the rest goes on. Raises SpaceMismatch when the vectors are of another space than those
    that are there, and InputError where the entries end before their end; what came before is stored.
    """
    folder = Path(folder).expanduser().absolute()
    first = next(stream, None)
    if first is None:
        raise InputError(f"{where} is empty; there is nothing to import")
    space, canaries = space_of(first, where)
    golden = golden_of(first, where)
    refuse_other_space(folder, space, canaries)
    store = SQLiteStore(folder, create=True)
    try:
        with store.snapshot() as snapshot:
            sets = {judgement.name for judgement in snapshot.judgements()}
        with store.transaction() as transaction:
            transaction.set_space(space, canaries)
            for held, its_canaries, codec in further_of(first, where):
                transaction.name_space(held, its_canaries, codec)
            transaction.judge(one for one in golden if one.name not in sets)
            types = fields_of(first)
            there = transaction.field_types(types)
            transaction.set_fields({path: kind for path, kind in types.items() if path not in there})
        with store.snapshot() as snapshot:
            stored = snapshot.space()
            named = {held.name: held for held, _, _ in further_of(first, where)}
            same = [held for held in snapshot.further() if held.key == named.get(held.name, held).space.id]
            codecs = {held.name: from_bytes(body) if (body := snapshot.codec(held)) else None for held in same}
        assert stored is not None
        with running(store, "import") as run:
            taken = _Import(
                store, stored[0], run, threads, progress, total=first.get("chunks"),
                further={held.name: (held, codecs[held.name]) for held in same if held.name in named},
            )  # fmt: skip
            began = time.monotonic()
            taken.take(stream, where)
            taken.summary.seconds = time.monotonic() - began
            taken.summary.mistyped = len(taken.fields.found)
            with store.transaction() as transaction:
                for held, _ in taken.further.values():
                    transaction.fill(held)
                    transaction.complete(held)
            left_out = sorted(named.keys() - taken.further.keys())
            if left_out:
                taken.summary.warning = (
                    f"the vectors of space {', '.join(left_out)} were left out: the collection has others by that "
                    f"name, or these by another"
                )
            finish(store, run, taken.summary.as_dict())
        try:
            derived.catch_up(store, derived.Effort(threads=threads))
        except StoreFull as error:
            taken.summary.warning = str(error)
        return taken.summary
    finally:
        store.close()


def refuse_other_space(folder: Path, space: Space, canaries: Vectors) -> None:
    """Raise SpaceMismatch unless the vectors may meet those of the collection in a folder, if there is one."""
    if not is_there(folder):
        return
    store = SQLiteStore(folder)
    try:
        with store.snapshot() as snapshot:
            stored = snapshot.space()
    finally:
        store.close()
    if stored is None or stored[0].id == space.id:
        return
    differing = differences(stored[0], space)
    same_model = replace(space, model=stored[0].model, digest=stored[0].digest).id == stored[0].id
    if same_model and _agree(stored[1], canaries):
        return
    raise SpaceMismatch(
        f"{folder} holds vectors of space {stored[0].id} ({stored[0].model}), and space {space.id} ({space.model}) is "
        f"to be imported: {'; '.join(differing)}. Import it into a new collection (--collection FOLDER)"
    )


def _agree(stored: Vectors, offered: Vectors) -> bool:
    """Whether two models gave the canary texts the same vectors: then they are two files of one model."""
    if stored.shape != offered.shape or not len(stored):
        return False
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(offered, axis=1)
    return bool(np.all((lengths > 0) & (np.einsum("nd,nd->n", stored, offered) >= CANARY_COSINE * lengths)))


@dataclass(slots=True)
class _Open:
    """The document that is being read: its entry, its staged row, and what came of it so far."""

    entry: Entry
    id: int | None = None
    same: bool = False
    characters: int = 0
    chunks: int = 0
    places: int = 0
    metadata: Metadata = field(default_factory=dict)
    trouble: str = ""


class _Damaged(Exception):
    """An entry that cannot be used; the message says why."""


def _check(entry: Entry, fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        if not isinstance(entry[name], kind):
            raise _Damaged(f"the {name} of a {entry['kind']} is a {type(entry[name]).__name__}, not a {kind.__name__}")


@dataclass(slots=True)
class _Import:
    store: SQLiteStore
    space: Space
    run: Run
    threads: int
    progress: Progress | None
    total: int | None = None
    further: dict[str, tuple[Held, Codec | None]] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)
    fields: FieldCheck = field(default_factory=FieldCheck)
    _settled: set[str] = field(default_factory=set)
    _window: list[Entry] = field(default_factory=list)
    _open: _Open | None = None
    _chunks: int = 0
    _characters: int = 0
    _done: int = 0
    _since: int = 0

    def take(self, stream: Iterator[Entry], where: str) -> None:
        """Store everything up to the end."""
        try:
            for entry in stream:
                if entry["kind"] == "end":
                    self._flush()
                    self._settle()
                    return
                self._window.append(entry)
                self._chunks += entry["kind"] == "chunk"
                # Counted before it is checked: a damaged line may hold anything.
                self._characters += len(str(entry.get("text", ""))) if entry["kind"] == "text" else 100
                if self._chunks >= WINDOW_CHUNKS or self._characters >= WINDOW_CHARACTERS:
                    self._flush()
        except InputError:
            self._flush()
            raise
        self._flush()
        raise InputError(f"{where} ends before its end: it was not written whole; what it holds is stored")

    def _flush(self) -> None:
        """One window: one transaction."""
        counts = Summary()
        with self.store.transaction() as transaction:
            start = 0
            while start < len(self._window):
                start = self._step(transaction, start, counts)
            failpoints.reach("import window stored")
        for name in ("documents", "unchanged", "chunks", "tokens", "truncated", "skipped", "failed", "troubles"):
            setattr(self.summary, name, getattr(self.summary, name) + getattr(counts, name))
        self._done += self._chunks
        self._since += self._chunks
        self._window, self._chunks, self._characters = [], 0, 0
        if self.progress is not None:
            self.progress(self._done, self.total)
        if self._since >= ADDED_AT_ONCE:
            self._since = 0
            derived.catch_up(self.store, derived.Effort(full=False, threads=self.threads))

    def _settle(self) -> None:
        """Files of many documents that are here as they were there need not be read again."""
        with self.store.transaction() as transaction:
            for key in sorted(self._settled):
                transaction.settle(key)

    def _step(self, transaction: Transaction, start: int, counts: Summary) -> int:
        """Store the entry at `start`, and the chunks right behind it; returns where to go on."""
        entry = self._window[start]
        end = start + 1
        try:
            if entry["kind"] == "document":
                self._begin(transaction, entry)
            elif entry["kind"] == "text":
                self._text(transaction, entry)
            elif entry["kind"] == "place":
                self._place(transaction, entry)
            elif entry["kind"] == "container":
                self._container(transaction, container_of(entry))
            elif entry["kind"] == "chunk":
                while end < len(self._window) and self._window[end]["kind"] == "chunk":
                    end += 1
                self._add_chunks(transaction, self._window[start:end])
            elif entry["kind"] == "beside":
                self._beside(transaction, entry)
            elif entry["kind"] == "input":
                self._input(transaction, entry, counts)
        except (_Damaged, KeyError, TypeError, ValueError) as error:
            if self._open is not None and not self._open.trouble:
                text = str(error) if isinstance(error, _Damaged) else f"{type(error).__name__}: {error}"
                self._open.trouble = f"its export is damaged: {text}"
        return end

    def _begin(self, transaction: Transaction, entry: Entry) -> None:
        self._drop_open(transaction)
        self._open = opened = _Open(entry)
        _check(entry, DOCUMENT_FIELDS)
        if not entry["id"].strip() or entry["id"].startswith(CHUNK_PREFIX):
            raise _Damaged(f"{entry['id']!r} can be no key of a document")
        size, mtime_ns = whole(entry["size"]), whole(entry["mtime_ns"])
        stamp = SourceStamp(entry["origin"], bytes.fromhex(entry["digest"]), size, mtime_ns)
        layers = layers_of(entry)
        if layers.metadata != entry["metadata"]:
            raise _Damaged("its metadata is not what its layers come to")
        opened.metadata = layers.metadata
        document = NewDocument(
            key=entry["id"], stamp=stamp, recipe=Recipe(**entry["recipe"]), precision=entry["precision"],
            title=layers.title, media_type=entry["media_type"], metadata=layers.own, outside=layers.outside,
        )  # fmt: skip
        with self.store.snapshot() as snapshot:
            there = snapshot.document(document.key)
            opened.same = there is not None and (
                (there.stamp, there.recipe, there.characters, there.chunks, snapshot.layers(there.id))
                == (stamp, document.recipe, entry["characters"], entry["chunks"], layers)
            ) and snapshot.count_places(there.id) == entry.get("places", 0)  # fmt: skip
        if not opened.same:
            opened.id = transaction.stage(document, self.run.id)

    def _container(self, transaction: Transaction, container: StoredContainer) -> None:
        # Settled when all that is in it is stored: an import that is killed leaves it to be read again.
        transaction.put_container(replace(container, settled=False), self.run.id)
        if container.settled:
            self._settled.add(container.key)

    def _drop_open(self, transaction: Transaction) -> None:
        """A document whose "input" is missing was not written whole."""
        if self._open is not None and self._open.id is not None:
            transaction.discard(self._open.id)
        self._open = None

    def _text(self, transaction: Transaction, entry: Entry) -> None:
        opened = self._open
        if opened is None or opened.id is None or opened.trouble:
            return
        _check(entry, TEXT_FIELDS)
        if entry["start"] != opened.characters or zlib.crc32(entry["text"].encode()) != entry["crc"]:
            raise _Damaged(f"its text from character {opened.characters} on is not what was written")
        transaction.add_texts(opened.id, [(entry["start"], entry["text"])])
        opened.characters += len(entry["text"])

    def _place(self, transaction: Transaction, entry: Entry) -> None:
        opened = self._open
        if opened is None or opened.id is None or opened.trouble:
            return
        _check(entry, PLACE_FIELDS)
        transaction.add_places(opened.id, [(entry["start"], entry["place"])])
        opened.places += 1

    def _add_chunks(self, transaction: Transaction, found: list[Entry]) -> None:
        opened = self._open
        if opened is None or opened.id is None or opened.trouble:
            return
        for entry in found:
            _check(entry, CHUNK_FIELDS)
            if not 0 <= entry["start"] <= entry["end"] <= opened.entry["characters"]:
                raise _Damaged(
                    f"chunk {entry['position']} spans {entry['start']} to {entry['end']} of "
                    f"{opened.entry['characters']} characters"
                )
        vectors = np.stack([self._vector(entry) for entry in found])
        inputs = [bytes.fromhex(entry["input"]) for entry in found]
        tokens = np.array([entry["tokens"] for entry in found], dtype=np.int64)
        kept = np.array([entry["kept"] for entry in found], dtype=np.int64)
        transaction.add_vectors(self.space.id, inputs, Embedded(vectors, tokens, kept, np.zeros_like(kept)))
        rows = transaction.cached(self.space.id, inputs)
        transaction.add_chunks(
            opened.id,
            [
                NewChunk(entry["position"], entry["start"], entry["end"], tuple(entry["headings"]), rows[key].id)
                for entry, key in zip(found, inputs, strict=True)
            ],
        )
        opened.chunks += len(found)

    def _beside(self, transaction: Transaction, entry: Entry) -> None:
        """The vector of a chunk in a further space. One that is damaged is lacking then, and can be made again."""
        if entry["space"] not in self.further or self._open is None or self._open.trouble:
            return
        held, codec = self.further[entry["space"]]
        _check(entry, BESIDE_FIELDS)
        blob, dim = entry["blob"], held.space.dim
        whole = len(blob) == 4 * dim if held.kind == "dense" else is_whole(blob, dim, codec)
        if zlib.crc32(blob) == entry["crc"] and whole:
            row = bytes.fromhex(entry["input"]), entry["tokens"], entry["kept"], blob
            transaction.add_blobs(held.key, [row])

    def _vector(self, entry: Entry) -> Vectors:
        blob = entry["vector"]
        if len(blob) != 4 * self.space.dim or zlib.crc32(blob) != entry["crc"]:
            raise _Damaged(f"the vector of chunk {entry['position']} is not what was written")
        vector = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        if not np.isfinite(vector).all():
            raise _Damaged(f"the vector of chunk {entry['position']} has values that are not finite numbers")
        if self.space.metric == "cosine" and abs(float(np.linalg.norm(vector)) - 1) > UNIT:
            raise _Damaged(f"the vector of chunk {entry['position']} has length {np.linalg.norm(vector):.3g}, not 1")
        return vector

    def _input(self, transaction: Transaction, entry: Entry, counts: Summary) -> None:
        row = ledger_row(entry)
        opened, self._open = self._open, None
        if opened is None or opened.entry["id"] != row.key:
            self._open = opened
            self._drop_open(transaction)
            self._record(transaction, row, counts)
            return
        if opened.same:
            counts.unchanged += 1
            transaction.record([self._remarked(transaction, row, opened)], self.run.id)
            return
        self._count(opened)
        if opened.trouble or opened.id is None:
            if opened.id is not None:
                transaction.discard(opened.id)
            # A file that it lies in is to be read again.
            self._settled.difference_update(row.key[: found.start()] for found in re.finditer(PART, row.key))
            self._record(transaction, LedgerRow(row.key, "failed", opened.trouble, origin=row.origin), counts)
            return
        if transaction.is_container(row.key):
            transaction.remove_container(row.key)
        transaction.publish(opened.id, characters=opened.characters, added=opened.entry["added"])
        counts.documents += 1
        self._record(transaction, self._remarked(transaction, row, opened), counts)

    def _count(self, opened: _Open) -> None:
        """Note trouble where something of a document is missing. Exports of before do not say how many places."""
        entry = opened.entry
        wanted = entry.get("characters"), entry.get("chunks"), entry.get("places", 0)
        if not opened.trouble and (opened.characters, opened.chunks, opened.places) != wanted:
            opened.trouble = (
                f"its export is damaged: {opened.characters} of {wanted[0]} characters, {opened.chunks} of "
                f"{wanted[1]} chunks and {opened.places} of {wanted[2]} places are there"
            )

    def _remarked(self, transaction: Transaction, row: LedgerRow, opened: _Open) -> LedgerRow:
        """The row with what is to be said here of the document's fields: they may have other types than there."""
        said = remarks_of(self.fields.judge(transaction, row.key, opened.metadata))
        kept = [remark for remark in row.remarks if not remark.startswith(REMARK)]
        return replace(row, remarks=(*kept, *said))

    def _record(self, transaction: Transaction, row: LedgerRow, counts: Summary) -> None:
        transaction.record([row], self.run.id)
        counts.chunks += row.chunks
        counts.tokens += row.tokens
        counts.truncated += row.status == "truncated"
        counts.skipped += row.status == "skipped"
        counts.failed += row.status == "failed"
        if row.status != "embedded":
            counts.troubles.append(row)
