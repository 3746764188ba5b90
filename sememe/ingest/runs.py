"""Runs: who is writing, and what to do about those that were killed.

A run holds a lock on a file of its own for as long as its process lives. A run that never finished and whose lock
can be taken is dead: its staged documents are cleared, its vectors are kept for the run that goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sememe.errors import ReadOnly
from sememe.store import SQLiteStore

LOCKS = "locks"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is going on. `resumed` tells that it clears up after a killed one."""

    id: int
    resumed: bool


def lock_file(folder: Path, name: str) -> FileLock:
    """A lock between processes, named within a collection."""
    locks = folder / LOCKS
    try:
        locks.mkdir(exist_ok=True)
    except OSError as error:
        raise ReadOnly(f"{locks} cannot be made ({error.strerror}); a collection that is written needs it") from error
    return FileLock(locks / name)


@contextlib.contextmanager
def running(store: SQLiteStore, command: str) -> Iterator[Run]:
    """A run of a command, from clearing dead ones to its own end.

    The caller finishes it with `finish`; one that is left by an error is cleared here.
    """
    with lock_file(store.folder, "runs.lock"):
        # Under one lock, so that nobody takes a run for dead between its row and its lock.
        with store.transaction() as transaction:
            number = transaction.start_run(command)
        own = lock_file(store.folder, f"run-{number}.lock")
        own.acquire()
        resumed = _clear_dead(store, number)
    with own:
        try:
            yield Run(id=number, resumed=resumed)
        except BaseException:
            with store.transaction() as transaction:
                transaction.abandon_run(number)
            raise
        finally:
            own.release(force=True)
            _unlink(own)


def finish(store: SQLiteStore, run: Run, summary: dict[str, object], *, failed: bool) -> None:
    """End a run: vectors that dead runs or failed documents left, and nobody used, go now."""
    with store.transaction() as transaction:
        transaction.finish_run(run.id, summary)
        if run.resumed or failed:
            transaction.drop_orphans()


def _clear_dead(store: SQLiteStore, current: int) -> bool:
    with store.snapshot() as snapshot:
        unfinished = [run for run in snapshot.unfinished_runs() if run != current]
    cleared = False
    for run in unfinished:
        lock = lock_file(store.folder, f"run-{run}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            try:
                with store.transaction() as transaction:
                    transaction.abandon_run(run)
                cleared = True
            finally:
                lock.release()
                _unlink(lock)
    return cleared


def _unlink(lock: FileLock) -> None:
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()
