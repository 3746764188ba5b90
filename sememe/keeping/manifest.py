"""What a backup says of itself, and taking something out of one that is already written.

Every file is listed with its SHA-256. This file knows folders and stores, and no collection.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from sememe import failpoints
from sememe.errors import DigestMismatch, InputError, NotFound
from sememe.index.slab import sync_folder
from sememe.ingest import derived
from sememe.ingest.runs import take_lock
from sememe.store import SQLiteStore
from sememe.store.records import BackupRow
from sememe.store.sqlite import FILE_NAME

MANIFEST = "backup.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself. `files` by their path in it: the SHA-256 in hex, and the bytes."""

    seq: int
    at: float
    space: str | None
    documents: int
    chunks: int
    files: dict[str, tuple[str, int]]

    @property
    def digest(self) -> str:
        """The SHA-256 over the names and digests of all files, in hex."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(size for _, size in self.files.values())


def read(source: Path) -> Backup:
    """What a backup says of itself. Raises NotFound or InputError."""
    try:
        raw = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        if raw["backup"] != FORMAT:
            raise InputError(f"{source} is a backup of form {raw['backup']}, this sememe reads {FORMAT}; upgrade it")
        files = {str(name): (str(digest), int(size)) for name, (digest, size) in raw["files"].items()}
        found = Backup(raw["seq"], raw["at"], raw["space"], raw["documents"], raw["chunks"], files)
    except OSError as error:
        raise NotFound(f"there is no backup at {source} ({error.strerror}); check the path") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source / MANIFEST} is not what was written ({error}); use another backup") from error
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise InputError(
                f"{source / MANIFEST} names the file {name!r}, which lies outside of it; use another backup"
            )
    if raw.get("digest") != found.digest:
        raise DigestMismatch(
            f"{source / MANIFEST} promises digest {raw.get('digest')}, but its files give {found.digest}; use another "
            f"backup"
        )
    return found


def without(store: SQLiteStore, row: BackupRow, edit: Callable[[SQLiteStore], None]) -> dict[str, str]:
    """Change a backup that is at hand, and give it new digests; returns its path and what became of it.

    What a killed backup left is removed. One that is not at hand still holds what it held, and that is said.
    """
    path = Path(row.path)
    put_back(path)
    remove(partial_of(path))
    remove(aside_of(path))
    if not (path / MANIFEST).exists():
        return {
            "path": row.path,
            "state": "never completed" if not row.digest else "not at hand: it holds what it held",
        }
    old = read_unchecked(path)
    inner = SQLiteStore(path)
    try:
        edit(inner)
        if any(name != FILE_NAME for name in old.files):
            derived.catch_up(inner, derived.Effort(rebuild=True, wait=True))
        inner.compact()
    finally:
        inner.close()
    remove(path / "locks")
    made = described(path, old.seq, old.at)
    write_manifest(path, made)
    failpoints.reach("backup rewritten")
    name_in(store, BackupRow(row.path, made.seq, made.at, made.digest))
    return {"path": row.path, "state": "rewritten"}


def read_unchecked(path: Path) -> Backup:
    """What a backup says of itself, also when a killed rewrite left it with other files than it lists."""
    raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    files = {name: (digest, size) for name, (digest, size) in raw["files"].items()}
    return Backup(raw["seq"], raw["at"], raw["space"], raw["documents"], raw["chunks"], files)


@contextlib.contextmanager
def backing_up(store: SQLiteStore) -> Iterator[None]:
    """One at a time, and none while something is forgotten."""
    lock = take_lock(store.folder, "backup.lock", wait=True) if store.writable else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def described(folder: Path, seq: int | None, at: float) -> Backup:
    """What a folder holds: counts from its database, digests of its files."""
    inner = SQLiteStore(folder)
    try:
        with inner.snapshot() as snapshot:
            stored, totals = snapshot.space(), snapshot.totals()
            seq = snapshot.seq() if seq is None else seq
    finally:
        inner.close()
    remove(folder / "locks")
    files = {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST
    }  # fmt: skip
    return Backup(seq, at, stored[0].id if stored else None, totals.documents, totals.chunks, files)


def write_manifest(folder: Path, made: Backup) -> None:
    """List the files of a folder as a backup; replaced in one step."""
    text = json.dumps({"backup": FORMAT, "digest": made.digest, **asdict(made)}, indent=1)
    fresh = folder / f"{MANIFEST}.new"
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / MANIFEST)
    sync_folder(folder)


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def name_in(store: SQLiteStore, row: BackupRow) -> None:
    """Let a collection know of a backup."""
    with store.transaction() as transaction:
        transaction.name_backup(row)


def partial_of(path: Path) -> Path:
    """Where a folder or file is written before it is whole: a name that nobody gives to what is his own."""
    return path.with_name(f"{path.name}.sememe-partial")


def aside_of(path: Path) -> Path:
    """Where a folder waits until that which replaces it is in its place."""
    return path.with_name(f"{path.name}.sememe-replaced")


def put_back(path: Path) -> None:
    """Put a folder back in its place that a kill left set aside, before anything else was there."""
    if aside_of(path).exists() and not path.exists():
        aside_of(path).rename(path)


def remove(path: Path) -> None:
    """Delete a folder, if it is there."""
    if path.exists():
        shutil.rmtree(path)
