"""What this installation is, and whether a collection is sound from end to end.

Everything is read: the database by SQLite's own check, every text and vector against its checksum, every derived
file against the truth. Nothing is written.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Literal

import numpy as np

from sememe.errors import SememeError
from sememe.index import columns, faiss, lexical
from sememe.index.represented import NAMES, TokenRows, open_rows
from sememe.index.segments import MANAGED, unmanaged
from sememe.index.slab import NAME as VECTORS
from sememe.index.slab import Slab
from sememe.index.tokens import from_bytes
from sememe.models.compiled import cpu_capabilities
from sememe.settings import Settings, cores, from_environment
from sememe.space import Held
from sememe.store import SQLiteStore
from sememe.store.connection import FIXED_SQLITE, file_system, sqlite_version
from sememe.store.inventory import Inventory
from sememe.store.reading import Snapshot
from sememe.types import IndexRecord

LIBRARIES = ("openvino", "faiss-cpu", "tantivy", "apsw", "tokenizers", "safetensors", "numpy", "huggingface-hub")
BATCH = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis: a fact, something that was checked and is sound, or trouble and what to do."""

    kind: Literal["fact", "sound", "trouble"]
    name: str
    text: str


def examine(collection: Path | None, *, settings: Settings | None = None) -> list[Finding]:
    """Look at the installation, and at the collection in a folder if one is given."""
    settings = settings or from_environment()
    findings = list(_installation(settings))
    if collection is not None:
        try:
            findings += _collection(collection.expanduser().absolute())
        except SememeError as error:
            findings.append(Finding("trouble", "collection", str(error)))
    return findings


def _installation(settings: Settings) -> Iterator[Finding]:
    yield Finding("fact", "sememe", f"{metadata.version('sememe')} on Python {platform.python_version()}")
    yield Finding("fact", "system", f"{platform.platform()}, {os.cpu_count()} cores")
    chosen = "SEMEME_THREADS" if settings.threads else "every core that it may use; SEMEME_THREADS sets another number"
    yield Finding("fact", "threads", f"{cores(settings.threads)} ({chosen}), one for a search")
    for name in LIBRARIES:
        try:
            yield Finding("fact", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("trouble", name, f"it is not installed; install it with: pip install {name}")
    if util.find_spec("openvino") is not None:
        yield Finding("fact", "cpu", f"computes in {', '.join(cpu_capabilities())}; precision {settings.precision}")
    if util.find_spec("faiss") is not None:
        yield Finding("fact", "cpu of faiss", faiss.compiled_for())
    version = ".".join(map(str, sqlite_version()))
    if sqlite_version() >= FIXED_SQLITE:
        yield Finding("sound", "SQLite", f"{version}, bundled; it has the fix of the WAL-reset fault")
    else:
        wanted = ".".join(map(str, FIXED_SQLITE))
        yield Finding("trouble", "SQLite", f"{version} can lose commits when it resets its log; upgrade to {wanted}")
    yield Finding("fact", "models", f"{settings.home}{' (offline)' if settings.offline else ''}")


def _collection(folder: Path) -> Iterator[Finding]:
    store = SQLiteStore(folder)
    try:
        yield Finding("fact", "collection", f"{folder} on {file_system(folder) or 'a file system of unknown kind'}")
        troubles = store.check()
        if troubles:
            yield Finding("trouble", "database", f"{troubles[0]}; restore a backup, or add the sources again")
        else:
            yield Finding("sound", "database", "SQLite's integrity check passed")
        with store.snapshot() as snapshot:
            yield from _contents(snapshot)
            yield from _derived(snapshot, folder)
            yield from _kept(snapshot)
    finally:
        store.close()


def _contents(snapshot: Inventory) -> Iterator[Finding]:
    stored = snapshot.space()
    if stored is None:
        yield Finding("fact", "space", "none yet: the collection is empty")
        return
    space = stored[0]
    yield Finding("fact", "space", f"{space.id}: {space.model}, {space.dim} dimensions, {space.metric}")
    for held in snapshot.spaces():
        yield _vectors(snapshot, held)
    documents = snapshot.live_documents()
    for document in documents:
        snapshot.text(document)
    yield Finding("sound", "texts", f"those of {len(documents):,} documents agree with their checksums")


def _vectors(snapshot: Inventory, held: Held) -> Finding:
    """Every vector of a space is read and compared with its checksum."""
    chunks = snapshot.live_chunks()
    count = 0
    for start in range(0, len(chunks), BATCH):
        part = chunks[start : start + BATCH]
        if held.kind == "dense":
            ids, _ = snapshot.vectors(part, held.space.dim, space=held.key)
        else:
            ids, _ = snapshot.stored(part, held)
        count += len(ids)
    name = f"vectors of {held.name}" if held.name else "vectors"
    if count == len(chunks):
        return Finding("sound", name, f"{count:,} agree with their checksums")
    lacking = f"{len(chunks) - count:,} of {len(chunks):,} chunks have none"
    if held.name:
        return Finding("fact", name, f"{lacking}; embed them with: sememe space add {held.name}")
    return Finding("trouble", name, f"{lacking}; add again")


def _derived(snapshot: Inventory, folder: Path) -> Iterator[Finding]:
    for held in snapshot.spaces():
        yield from (_over_rows if held.kind == "dense" else _represented)(snapshot, held, folder)
    record = snapshot.index_record(lexical.NAME)
    if record is not None:
        words = lexical.LexicalIndex.open(folder, record.generation)
        at = f"as of change {record.seq:,} of {snapshot.seq():,}"
        yield _judged(words is not None, "words", at, there=_there(folder, record))
        if words is not None and (left := unmanaged(words.path)):
            yield Finding(
                "trouble", "words", f"{words.path / MANAGED} does not name {len(left):,} files of the index, which "
                f"would stay for ever; make it anew with: sememe doctor --rebuild",
            )  # fmt: skip


def _represented(snapshot: Inventory, held: Held, collection: Path) -> Iterator[Finding]:
    """The files of a space of words or of tokens: every array and every text is compared with its checksum."""
    name = f"{NAMES[held.kind]} files of {held.name}"
    record = snapshot.index_record(held.index(NAMES[held.kind]))
    if record is None or record.details != held.details:
        yield Finding("fact", name, "none that are up to date; searches read the database")
        return
    codec = from_bytes(snapshot.codec(held)) if held.kind == "late" else None
    rows = open_rows(held.folder(collection), record, codec)
    try:
        if isinstance(rows, TokenRows):
            rows.check(np.arange(len(rows.ids)))
    except SememeError:
        rows = None
    newer = snapshot.seq() - record.seq
    there = _there(held.folder(collection), record)
    yield _judged(rows is not None, name, f"{record.rows:,} rows, {newer:,} changes newer than they", there=there)


def _over_rows(snapshot: Snapshot, held: Held, collection: Path) -> Iterator[Finding]:
    """The files of one space."""
    of, folder = (f" of {held.name}" if held.name else ""), held.folder(collection)
    base = snapshot.index_record(held.index(VECTORS))
    if base is None:
        yield Finding("fact", f"vector files{of}", "none yet; searches read the database")
        return
    rows = Slab(folder, base.generation, held.space.dim).map(base.rows)
    try:
        sound = rows is not None and rows.checksum() == base.checksum and rows.scanned() is not None
    except SememeError:
        sound = False
    newer = snapshot.seq() - base.seq
    at = f"{base.rows:,} rows, {newer:,} changes newer than they"
    yield _judged(sound, f"vector files{of}", at, there=_there(folder, base))
    record = snapshot.index_record(held.index(faiss.NAME))
    if record is not None and record.base == base.generation:
        details = faiss.Details.from_json(record.details)
        index = faiss.NeighbourIndex.open(folder, record.generation, details, dim=held.space.dim)
        at = f"{details.kind} over {details.rows:,} rows"
        yield _judged(index is not None, f"neighbours{of}", at, there=_there(folder, record))
    record = snapshot.index_record(held.index(columns.NAME))
    if record is not None and record.base == base.generation:
        found = columns.Columns.read(folder, record.generation, record.checksum)
        fields = 0 if found is None else len(found.facts().fields)
        at = f"{fields:,} fields of {record.rows:,} rows"
        yield _judged(found is not None, f"columns{of}", at, there=_there(folder, record))


def _kept(snapshot: Inventory) -> Iterator[Finding]:
    for row in snapshot.forgets(under_way=True):
        began = datetime.fromtimestamp(row.started, UTC).isoformat(timespec="seconds")
        yield Finding(
            "trouble", "forget", f"one that began on {began} is not done, and files or backups may still hold what was "
            f"to be forgotten; finish it with: sememe forget --finish",
        )  # fmt: skip
    for backup in snapshot.backups():
        # Facts all of them: its owner may have moved or removed one on purpose.
        if not Path(backup.path).is_dir():
            state = "is not at hand; what is forgotten stays in it" if backup.digest else "was never completed"
            gone = f"if it is gone for good: sememe backup {shlex.quote(backup.path)} --drop"
            yield Finding("fact", "backup", f"{backup.path} {state}; {gone}")
        elif not backup.digest:
            yield Finding("fact", "backup", f"{backup.path} is not known to be complete; take it again")
        else:
            yield Finding("fact", "backup", f"{backup.path}, of change {backup.seq:,}; now it is {snapshot.seq():,}")


def _there(folder: Path, record: IndexRecord) -> bool:
    """Whether any file of a derived index is there; after a restore none is."""
    return any(folder.glob(f"*{record.generation}*"))


def _judged(sound: bool, name: str, text: str, *, there: bool) -> Finding:
    if sound:
        return Finding("sound", name, text)
    if not there:
        return Finding(
            "fact", name, "not made yet: searches are slower, not wrong; make them with: sememe doctor --rebuild"
        )
    return Finding(
        "trouble", name, f"{text}, but the files are incomplete or damaged: searches are slower, not wrong; make them "
        f"anew with: sememe doctor --rebuild",
    )  # fmt: skip
