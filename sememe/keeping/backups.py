"""Backups: a folder with the database as it was at one change, its derived files if wanted, and what they are.

`backup.json` names the change, the moment and the SHA-256 of every file; restoring compares them. The collection
knows its backups by name, so that what is forgotten there can be taken out of them too. A lock keeps a backup and a
forget apart: a copy must not be taken of pages that are about to be written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sememe import failpoints
from sememe.collection import Collection
from sememe.errors import DigestMismatch, InputError, NotFound, StoreError, StoreFull
from sememe.index.slab import sync_folder
from sememe.ingest.runs import alone, take_lock
from sememe.keeping.manifest import (
    MANIFEST,
    Backup,
    aside_of,
    backing_up,
    described,
    name_in,
    partial_of,
    put_back,
    read,
    remove,
    write_manifest,
)
from sememe.store import SQLiteStore
from sememe.store.records import BackupRow
from sememe.store.sqlite import FILE_NAME, is_there
from sememe.types import Progress

READ_BYTES = 1 << 20
_NOTHING: tuple[list[float], list[BackupRow]] = ([], [])


def backup(
    collection: Collection, target: str | Path, *, indexes: bool = False, overwrite: bool = False,
    progress: Progress | None = None,
) -> Backup:  # fmt: skip
    """Copy a collection as it is at one change into the folder `target`, while others read and write.

    With `indexes` the derived files too, which are otherwise made anew after a restore. Raises InputError when the
    target is there and `overwrite` is false, or is no backup, and StoreFull.
    """
    path = Path(target).expanduser().absolute()
    _refuse_target(path, collection.path, overwrite)
    store = SQLiteStore(collection.path)
    try:
        with backing_up(store):
            known = _named(store, path)
            if store.writable:
                # Before anything is copied: what a kill leaves there can then be found and forgotten too.
                name_in(store, BackupRow(str(path), 0, time.time(), ""))
            with _cleared(store, path, known):
                made = _written(store, path, indexes=indexes, progress=progress)
            if store.writable:
                name_in(store, BackupRow(str(path), made.seq, made.at, made.digest))
            return made
    except OSError as error:
        raise StoreFull(f"{path} cannot be written ({error.strerror}); make room, or name another folder") from error
    finally:
        store.close()


def restore(
    source: str | Path, folder: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> tuple[Backup, str]:  # fmt: skip
    """Make the collection in `folder` from a backup; returns what it holds, and a warning or "".

    Every file is compared with its digest on the way. Raises NotFound when there is no backup, DigestMismatch when a
    file is not what was written, InputError when a collection is there and `overwrite` is false, StoreBusy when
    another process is adding to it.
    """
    source, folder = Path(source).expanduser().absolute(), Path(folder).expanduser().absolute()
    with contextlib.suppress(OSError):
        put_back(source)
    found = read(source)
    replaced = aside_of(folder)
    put_back(folder)
    there = is_there(folder)
    if there and not overwrite:
        raise InputError(f"{folder} holds a collection; restore to another folder, or say to overwrite (--overwrite)")
    if not there and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no collection; name another folder")
    partial = partial_of(folder)
    try:
        remove(partial)
        _copied(source, partial, found, progress)
        with _quiet(folder) if there else contextlib.nullcontext(_NOTHING) as (forgets, known):
            if folder.exists():
                remove(replaced)
                folder.rename(replaced)
                failpoints.reach("collection set aside")
            partial.rename(folder)
            sync_folder(folder.parent)
            failpoints.reach("collection restored")
    except OSError as error:
        raise StoreFull(f"{folder} cannot be written ({error.strerror}); make room, or name another folder") from error
    remove(replaced)
    store = SQLiteStore(folder)
    try:
        for row in known:
            name_in(store, row)
        name_in(store, BackupRow(str(source), found.seq, found.at, found.digest))
    finally:
        store.close()
    later = sum(moment > found.at for moment in forgets)
    if not later:
        return found, ""
    return found, f"{later} forgets were made after this backup; what they took out may be back: forget it again"


def drop(collection: Collection, target: str | Path) -> None:
    """Know a backup no more that is gone for good.

    Raises NotFound when none of that path is known, and InputError while it is there: what is forgotten would not be
    taken out of it.
    """
    path = Path(target).expanduser().absolute()
    store = SQLiteStore(collection.path)
    try:
        if _named(store, path) is None:
            raise NotFound(f"{collection.path} knows of no backup at {path}; see those it knows with: sememe backup")
        if left := next(filter(Path.exists, (path, partial_of(path), aside_of(path))), None):
            raise InputError(f"{left} is there, and what is forgotten is taken out of it; remove the folder first")
        with store.transaction() as transaction:
            transaction.drop_backup(str(path))
    finally:
        store.close()


def backups(collection: Collection) -> list[BackupRow]:
    """The backups that were taken of a collection, oldest first."""
    store = SQLiteStore(collection.path)
    try:
        with store.snapshot() as snapshot:
            return snapshot.backups()
    finally:
        store.close()


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[tuple[list[float], list[BackupRow]]]:
    """While nobody adds to a collection: when it forgot something, and its backups."""
    store = SQLiteStore(folder)
    try:
        with alone(store, "restore"):
            with store.snapshot() as snapshot:
                found = [row.started for row in snapshot.forgets()], snapshot.backups()
            # Before the folder is moved: closing takes the log away by its name, which will be another one's.
            store.close()
            yield found
    finally:
        store.close()


def _named(store: SQLiteStore, path: Path) -> BackupRow | None:
    """What is known of a backup by its path."""
    with store.snapshot() as snapshot:
        return next((row for row in snapshot.backups() if row.path == str(path)), None)


@contextlib.contextmanager
def _cleared(store: SQLiteStore, path: Path, known: BackupRow | None) -> Iterator[None]:
    """Where a copy cannot be written, nothing of it stays, and what is known is what was `known` before."""
    try:
        yield
    except (OSError, StoreError):
        with contextlib.suppress(OSError, StoreError):
            remove(partial_of(path))
            put_back(path)
            with store.transaction() as transaction:
                transaction.drop_backup(str(path))
                if known is not None:
                    transaction.name_backup(known)
        raise


def _refuse_target(path: Path, collection: Path, overwrite: bool) -> None:
    if path == collection or collection in path.parents:
        raise InputError(f"{path} lies in the collection that is to be backed up; name a folder outside of it")
    put_back(path)
    if not path.exists():
        return
    if not (path / MANIFEST).exists():
        raise InputError(f"{path} is there and is no backup; name another folder")
    if not overwrite:
        raise InputError(f"{path} holds a backup; name another folder, or say to overwrite (--overwrite)")


def _written(store: SQLiteStore, path: Path, *, indexes: bool, progress: Progress | None) -> Backup:
    partial = partial_of(path)
    remove(partial)
    partial.mkdir(parents=True)
    # While it is held nobody switches to other files, or removes those that the copy of the truth names.
    lock = take_lock(store.folder, "index.lock", wait=True) if indexes and store.writable else None
    try:
        store.copy_to(partial / FILE_NAME, progress=progress)
        failpoints.reach("database copied")
        if indexes:
            with store.snapshot() as snapshot:
                generations = [generation for generation, _ in snapshot.index_stamps().values()]
            for generation in generations:
                for file in store.folder.rglob(f"*-{generation}*"):
                    target = partial / file.relative_to(store.folder)
                    target.parent.mkdir(exist_ok=True)
                    copy = shutil.copytree if file.is_dir() else shutil.copyfile
                    copy(file, target)
    finally:
        if lock is not None:
            lock.release()
    made = described(partial, None, time.time())
    write_manifest(partial, made)
    replaced = aside_of(path)
    if path.exists():
        remove(replaced)
        path.rename(replaced)
        failpoints.reach("backup set aside")
    partial.rename(path)
    sync_folder(path.parent)
    failpoints.reach("backup in place")
    remove(replaced)
    return made


def _copied(source: Path, target: Path, found: Backup, progress: Progress | None) -> None:
    """Copy every file, and compare its digest on the way."""
    done = 0
    for name, (digest, _) in found.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        hashed = hashlib.sha256()
        try:
            with (source / name).open("rb") as file, (target / name).open("xb") as out:
                while block := file.read(READ_BYTES):
                    hashed.update(block)
                    out.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, found.bytes)
                out.flush()
                os.fsync(out.fileno())
        except FileNotFoundError as error:
            raise StoreError(f"{source / name} is missing, but {MANIFEST} lists it; use another backup") from error
        if hashed.hexdigest() != digest:
            remove(target)
            raise DigestMismatch(
                f"{source / name} has digest {hashed.hexdigest()}, but {digest} was written; nothing was restored: "
                f"use another backup"
            )


def as_dict(made: Backup) -> dict[str, Any]:
    """For printing: the counts, the digest and the size."""
    return {
        "seq": made.seq, "at": made.at, "space": made.space, "documents": made.documents, "chunks": made.chunks,
        "files": len(made.files), "bytes": made.bytes, "digest": made.digest,
    }  # fmt: skip
