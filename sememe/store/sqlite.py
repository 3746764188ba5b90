"""The truth in one SQLite file: `transaction` writes, `snapshot` reads, both safe beside other processes.

One connection writes, under a lock; every thread that reads has a connection of its own. A process that was forked
must open the store again: SQLite's locks do not survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw

from sememe.errors import NotFound, ReadOnly, StoreError
from sememe.store import connection as connections
from sememe.store.reading import Snapshot
from sememe.store.schema import VERSION
from sememe.store.writing import Transaction

FILE_NAME = "truth.db"


class SQLiteStore:
    """The truth of one collection, in `folder/truth.db`."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Open the store, and make or migrate it where that is allowed.

        Raises NotFound when there is none and `create` is false, ReadOnly when one must be made where nothing can
        be written, and StoreError or its kin when the file cannot be used.
        """
        self.folder = folder
        self.path = folder / FILE_NAME
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[apsw.Connection] = []
        self._process = os.getpid()
        self._writer: apsw.Connection | None = None
        self._make_folder(create)
        self.writable = _can_write(folder, self.path)
        if not self.path.exists() and not self.writable:
            raise ReadOnly(f"{folder} cannot be written, so no collection can be made there; name another folder")
        connections.refuse_network_file_system(folder)
        if self.writable:
            self._writer = connections.connect(self.path, writable=True)
            self._prepare(self._writer)
        else:
            self._refuse_old(self._reader())

    def _make_folder(self, create: bool) -> None:
        if self.path.exists():
            return
        if not create:
            raise NotFound(f"there is no collection at {self.folder}; make one with: sememe add PATH")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReadOnly(f"{self.folder} cannot be made: {error.strerror}; name another folder") from error

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

    def _reader(self) -> apsw.Connection:
        if os.getpid() != self._process:
            raise StoreError(
                f"{self.path} was opened in process {self._process} and cannot be used in its fork; open it there"
            )
        reader: apsw.Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = connections.connect(self.path, writable=False) if not self.writable else self._second()
            self._local.reader = reader
            with self._lock:
                self._readers.append(reader)
        return reader

    def _second(self) -> apsw.Connection:
        """A reading connection beside the writer: it may write the log's index, and nothing else."""
        reader = connections.connect(self.path, writable=True)
        reader.pragma("query_only", 1)
        return reader

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One moment of the truth. Nested calls of a thread share the outer moment."""
        reader = self._reader()
        with connections.translated(self.path):
            if reader.in_transaction:
                yield Snapshot(reader)
                return
            reader.execute("BEGIN")
            try:
                yield Snapshot(reader)
            finally:
                if reader.in_transaction:
                    reader.execute("COMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing. Raises ReadOnly, StoreBusy or StoreFull; what was there before stays."""
        if self._writer is None:
            raise ReadOnly(f"{self.path} cannot be written; check the permissions of its folder")
        if os.getpid() != self._process:
            raise StoreError(
                f"{self.path} was opened in process {self._process} and cannot be used in its fork; open it there"
            )
        with self._lock, connections.translated(self.path), connections.immediate(self._writer):
            yield Transaction(self._writer)

    def data_version(self) -> int:
        """A number that changes when anybody has written."""
        with connections.translated(self.path):
            return int(self._reader().pragma("data_version") or 0)

    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong: an empty list when the file is sound."""
        with connections.translated(self.path):
            found = [row[0] for row in self._reader().execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close every connection; the last one of a collection folds the log back into the file."""
        with self._lock:
            for connection in [*self._readers, *([self._writer] if self._writer else [])]:
                connection.close()
            self._readers.clear()
            self._writer = None
            self._local = threading.local()


def _can_write(folder: Path, file: Path) -> bool:
    return os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))
