"""Runs: who is writing, and what to do about those that were killed.

A run holds a lock on a file of its own for as long as its process lives. A run that never finished and whose lock
can be taken is dead: its staged documents are cleared, its vectors are kept for the run that goes on.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from sememe import failpoints
from sememe.errors import ReadOnly, StoreBusy, StoreError, StoreFull
from sememe.store import SQLiteStore

LOCKS = "locks"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is going on."""

    id: int


def take_lock(folder: Path, name: str, *, wait: bool) -> BaseFileLock | None:
    """A lock between processes, named within a collection and held; None when another has it and we do not wait.

    Raises StoreFull or ReadOnly when its file cannot be made.
    """
    lock = FileLock(folder / LOCKS / name)
    try:
        (folder / LOCKS).mkdir(exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else ReadOnly
        raise kind(
            f"{folder / LOCKS / name} cannot be made ({error.strerror}), and a collection that is written needs it; "
            f"make room, or check the permissions of its folder"
        ) from error
    return lock


@contextlib.contextmanager
def running(store: SQLiteStore, command: str) -> Iterator[Run]:
    """A run of a command, from clearing dead ones to its own end.

    The caller finishes it with `finish`; one that is left by an error is cleared here. Raises ReadOnly.
    """
    store.require_writable()
    beginning = take_lock(store.folder, "runs.lock", wait=True)
    try:
        # Under one lock, so that nobody takes a run for dead between its row and its lock.
        _clear_dead(store)
        # Before anything of the run is stored there is nothing that a power cut could take with it.
        with store.transaction(durable=False) as transaction:
            number = transaction.start_run(command)
        own = take_lock(store.folder, _lock_name(number), wait=True)
        failpoints.reach("run locked")
    finally:
        _release(beginning)
    try:
        yield Run(id=number)
    except BaseException:
        # Where even this cannot be written, the next run clears it.
        with contextlib.suppress(StoreError), store.transaction() as transaction:
            transaction.abandon_run(number)
        raise
    finally:
        _release(own, remove=True)


@contextlib.contextmanager
def alone(store: SQLiteStore, purpose: str) -> Iterator[None]:
    """Nobody adds meanwhile: dead runs are cleared, and new ones wait. Raises StoreBusy while one is going on."""
    store.require_writable()
    beginning = take_lock(store.folder, "runs.lock", wait=True)
    try:
        _clear_dead(store)
        with store.snapshot() as snapshot:
            going_on = len(snapshot.unfinished_runs())
        if going_on:
            raise StoreBusy(
                f"{going_on} other {'process is' if going_on == 1 else 'processes are'} adding to {store.folder}; "
                f"{purpose} when that is done"
            )
        yield
    finally:
        _release(beginning)


def finish(store: SQLiteStore, run: Run, summary: dict[str, object]) -> None:
    """End a run: vectors that dead runs or failed documents left, and that nobody used or waits for, go now; those that
    a document waits for which fails in one version after another do not grow.

    A run that ended and is not known to have, after a power cut, is cleared by the next one, which finds nothing.
    """
    with store.transaction(durable=False) as transaction:
        transaction.finish_run(run.id, summary)
        if transaction.may_have_orphans():
            transaction.drop_orphans()
        else:
            transaction.thin_orphans()


def _clear_dead(store: SQLiteStore) -> None:
    with store.snapshot() as snapshot:
        unfinished = {_lock_name(run): run for run in snapshot.unfinished_runs()}
    # One that was killed at its very end has left a lock alone.
    left = {path.name for path in (store.folder / LOCKS).glob(_lock_name("*"))}
    for name in sorted(left | unfinished.keys()):
        lock = take_lock(store.folder, name, wait=False)
        if lock is None:
            continue
        try:
            if name in unfinished:
                with store.transaction() as transaction:
                    transaction.abandon_run(unfinished[name])
                failpoints.reach("dead run cleared")
        finally:
            _release(lock, remove=True)


def _lock_name(run: int | str) -> str:
    return f"run-{run}.lock"


def _release(lock: BaseFileLock | None, *, remove: bool = False) -> None:
    if lock is not None:
        lock.release(force=True)
        if remove:
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
