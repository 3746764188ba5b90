"""The truth in one SQLite file: `transaction` writes, `snapshot` reads, both safe beside other processes.

One connection writes, under a lock; every snapshot that is open has a connection of its own, which the next one
uses again. A process that was forked must open the store again: SQLite's locks do not survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw

from sememe import failpoints
from sememe.errors import InputError, NotFound, ReadOnly, StoreBusy, StoreDamaged, StoreError, StoreFull
from sememe.store import connection as connections
from sememe.store.inventory import Inventory
from sememe.store.schema import VERSION
from sememe.store.writing import Transaction
from sememe.types import Progress

FILE_NAME = "truth.db"


def is_there(folder: Path) -> bool:
    """Whether a folder holds a store; a folder that may not be looked into counts as holding none."""
    return os.path.exists(folder / FILE_NAME)  # noqa: PTH110 - Path.exists raises PermissionError before Python 3.12


class SQLiteStore:
    """The truth of one collection, in `folder/truth.db`."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Open the store, and make or migrate it where that is allowed.

        Raises NotFound when there is none and `create` is false, ReadOnly when one must be made where nothing can
        be written, and StoreError or its kin when the file cannot be used.
        """
        self.folder = folder
        self.path = folder / FILE_NAME
        self._writing = threading.RLock()
        self._pool = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._local = threading.local()
        self._closed = False
        self._awaited: list[threading.Thread] = []
        self._process = os.getpid()
        self._writer: apsw.Connection | None = None
        self._refusal: StoreError = ReadOnly(f"{self.path} cannot be written; check the permissions of its folder")
        self._make_folder(create)
        self.writable = _can_write(folder, self.path)
        if not self.path.exists() and not self.writable:
            raise ReadOnly(f"{folder} cannot be written, so no collection can be made there; name another folder")
        self._refuse_emptied()
        connections.refuse_network_file_system(folder)
        if self.writable:
            self._open_to_write()
        if not self.writable:
            with self._reading() as reader:
                self._refuse_old(reader)

    def _open_to_write(self) -> None:
        there = self.path.exists() and self.path.stat().st_size > 0
        try:
            self._writer = connections.connect(self.path, writable=True)
            self._prepare(self._writer)
        except StoreFull as error:
            if not there:
                raise
            # Not even the log's index fits on the disk: what is stored can still be read.
            self._refusal, self._writer, self.writable = error, None, False

    def _make_folder(self, create: bool) -> None:
        try:
            if self.path.exists():
                return
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(f"{self.folder} is a file, and a collection is a folder; name another one")
            if not create:
                raise self._nothing()
            self.folder.mkdir(parents=True, exist_ok=True)
            failpoints.reach("folder made")
        except OSError as error:
            what = "made" if create else "looked into"
            raise ReadOnly(
                f"{self.folder} cannot be {what} ({error.strerror}); check its permissions or name another folder"
            ) from error

    def _nothing(self) -> NotFound:
        """There is no collection here, or none any more."""
        if left := self._derived():
            return NotFound(
                f"{self.path} is missing, but {left[0]} beside it shows that a collection was here; restore a backup "
                f"to another folder (sememe restore BACKUP -c FOLDER), or start anew with: sememe add PATH"
            )
        return NotFound(f"there is no collection at {self.folder}; make one with: sememe add PATH")

    def _derived(self) -> list[str]:
        """The files that are made only beside a database that is not empty."""
        there = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [path.name for path in there if path.suffix in (".slab", ".ids")]

    def _refuse_emptied(self) -> None:
        """Raise StoreDamaged for a file without a byte beside others that say it had some.

        Alone it is what a process leaves that is killed while it makes a collection.
        """
        if not self.path.exists() or self.path.stat().st_size:
            return
        left = self._derived()
        log = self.path.with_name(f"{FILE_NAME}-wal")
        if log.exists() and log.stat().st_size:
            left.append(log.name)
        if left:
            raise StoreDamaged(
                f"{self.path} is empty, but {left[0]} beside it shows that it was not; {connections.WHAT_TO_DO}"
            )

    def _prepare(self, connection: apsw.Connection) -> None:
        try:
            if connections.check_version(connection, self.path) != VERSION:
                connections.migrate(connection, self.path)
        except StoreError:
            connection.close()
            raise

    def _refuse_old(self, connection: apsw.Connection) -> None:
        version = connections.check_version(connection, self.path)
        if version != VERSION:
            raise ReadOnly(
                f"{self.path} has schema {version} and must be brought to {VERSION}, but it cannot be written; "
                f"copy the folder to a place where it can"
            )

    def _refuse_unusable(self) -> None:
        if os.getpid() != self._process:
            raise StoreError(
                f"{self.path} was opened in process {self._process} and cannot be used in its fork {os.getpid()}; "
                f"open it there"
            )
        if self._closed:
            raise StoreError(f"{self.path} was closed; open the collection again")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A connection for one reader at a time: one that is idle, or a new one."""
        self._refuse_unusable()
        with self._pool:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = self._new_reader()
        try:
            yield reader
        finally:
            with self._pool:
                # One that reads an immutable file would never notice that somebody else has written it.
                keep = self.writable and not self._closed and not reader.in_transaction
                if keep:
                    self._idle.append(reader)
            if not keep:
                reader.close()

    def _new_reader(self) -> apsw.Connection:
        """A reading connection; beside the writer it may write the log's index, and nothing else."""
        reader = connections.connect(self.path, writable=self.writable)
        reader.pragma("query_only", 1)
        return reader

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Inventory]:
        """One moment of the truth. Nested calls of a thread share the outer moment."""
        self._refuse_unusable()
        outer: Inventory | None = getattr(self._local, "snapshot", None)
        if outer is not None:
            yield outer
            return
        with connections.translated(self.path), self._reading() as reader:
            reader.execute("BEGIN")
            self._local.snapshot = Inventory(reader)
            try:
                yield self._local.snapshot
            finally:
                self._local.snapshot = None
                if reader.in_transaction:
                    reader.execute("COMMIT")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Transaction]:
        """All or nothing. Raises ReadOnly, StoreBusy or StoreFull; what was there before stays.

        One that is not `durable` may be undone by a power cut until the next that is, which saves a wait for the disk.
        """
        self._refuse_unusable()
        self.require_writable()
        assert self._writer is not None
        begun = connections.immediate(self._writer, durable=durable)
        with self._writing, connections.translated(self.path), begun:
            transaction = Transaction(self._writer)
            yield transaction
            transaction.end()

    def require_writable(self) -> None:
        """Raise ReadOnly where nothing can be written, StoreFull where it could not be when it was opened."""
        if not self.writable:
            raise self._refusal

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong: an empty list when the file is sound."""
        with connections.translated(self.path), self._reading() as reader:
            found = [row[0] for row in reader.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def copy_to(self, path: Path, *, progress: Progress | None = None) -> None:
        """Copy the database as it is at one moment into a new file, while others write.

        SQLite's backup of all pages in one step: a read transaction, which no writer waits for. Raises StoreFull.
        """
        with connections.translated(path), self._reading() as reader, _closing(apsw.Connection(str(path))) as target:
            with target.backup("main", reader, "main") as backup:
                backup.step(-1)
            target.pragma("journal_mode", "DELETE")
            if progress is not None:
                progress(1, 1)

    def compact(self) -> None:
        """Write the file anew without what was deleted, and empty the log: nothing deleted is left in either.

        `secure_delete` writes zeros over what is deleted, but not over what a page held before its rows were moved
        to another page. Raises StoreBusy when another process reads an older moment for too long, and StoreFull.
        """
        self._refuse_unusable()
        self.require_writable()
        assert self._writer is not None
        writer = self._writer
        with self._writing, connections.translated(self.path):
            # In memory, where temporary files go otherwise, a large database would not fit.
            writer.pragma("temp_store", "FILE")
            try:
                writer.execute("VACUUM")
            finally:
                writer.pragma("temp_store", "MEMORY")
            failpoints.reach("compacted")
            self._drop_idle()
            ((busy, *_),) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise StoreBusy(
                f"{self.path} is read by another process at a moment before its last change, so its log cannot be "
                f"emptied; close it there and run this again"
            )
        failpoints.reach("log emptied")

    def _drop_idle(self) -> None:
        with self._pool:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def awaits(self, thread: threading.Thread) -> None:
        """Let closing wait for a thread that works with this store."""
        self._awaited = [other for other in self._awaited if other.is_alive()] + [thread]

    def close(self) -> None:
        """Close every connection; the last one of a collection folds the log back into the file.

        A transaction of another thread is waited for, and its open snapshots go on to their end; so is every thread
        that is awaited. In a fork nothing happens: the files belong to the parent.
        """
        if os.getpid() != self._process:
            return
        for thread in self._awaited:
            thread.join()
        with self._writing:
            with self._pool:
                self._closed = True
                idle, self._idle = self._idle, []
            failpoints.reach("before closing")
            for connection in [*idle, *([self._writer] if self._writer else [])]:
                connection.close()
            failpoints.reach("closed")


@contextlib.contextmanager
def _closing(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    try:
        yield connection
    finally:
        connection.close()


def _can_write(folder: Path, file: Path) -> bool:
    return os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))
