"""Connections to the truth: opened by the rules that keep it safe, errors said in our words.

The rules: WAL with synchronous=FULL, BEGIN IMMEDIATE for every write, secure_delete, a bundled SQLite without the
WAL-reset bug, no network file systems, `immutable` where nothing can be written. This file knows pragmas and
files; it does not know the tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import apsw

from sememe import failpoints
from sememe.errors import ReadOnly, SchemaError, StoreBusy, StoreDamaged, StoreError, StoreFull
from sememe.store.schema import APPLICATION_ID, MIGRATIONS, PAGE_SIZE, VERSION

BUSY_MILLISECONDS = 30_000
NO_ROOM = frozenset(
    {
        apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC, apsw.SQLITE_IOERR_TRUNCATE,
        apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP,
    }
)  # fmt: skip
"""What SQLite says when a file cannot grow for another reason than a full disk: a quota, a limit on file sizes."""

WHAT_TO_DO = "keep a copy, then restore a backup or add the sources to a new collection"
MEMORY_MAP_BYTES = 1 << 36
FIXED_SQLITE = (3, 51, 3)
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "davfs"}
)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: one sentence with the file and the next step."""
    try:
        yield
    except apsw.BusyError as error:
        raise StoreBusy(
            f"{path} has been locked by another process for {BUSY_MILLISECONDS // 1000} s; try again when it is done"
        ) from error
    except apsw.FullError as error:
        raise StoreFull(
            f"{path} cannot grow: the disk or its quota is full; what was stored before is kept: make room and run "
            f"it again"
        ) from error
    except apsw.ConnectionClosedError as error:
        raise StoreError(f"{path} was closed meanwhile; open the collection again") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        # Our statements are what they are: where one cannot be understood, the tables are not ours any more.
        raise StoreDamaged(f"{path} is damaged or is not a database ({error}); {WHAT_TO_DO}") from error
    except apsw.ReadOnlyError as error:
        raise ReadOnly(f"{path} cannot be written; check the permissions of its folder") from error
    except apsw.CantOpenError as error:
        raise StoreError(f"{path} cannot be opened; {_why_not_opened(path)}") from error
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) not in NO_ROOM and not out_of_space(path):
            raise StoreError(f"{path} cannot be read or written ({error}); check the disk and its mount") from error
        raise StoreFull(
            f"{path} cannot grow: the disk is full, or a quota or a limit on file sizes is reached; what was stored "
            f"before is kept: make room and run it again"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreDamaged(f"{path} holds a text that is not what was written ({error}); {WHAT_TO_DO}") from error


def _why_not_opened(path: Path) -> str:
    if path.is_dir():
        return "it is a folder; name another collection"
    if _log_of(path).exists() and not os.access(path.parent, os.W_OK):
        return (
            "a process was killed while it wrote, and what it left in the log cannot be read where nothing can be "
            "written; copy the folder to a place where it can"
        )
    return "check that its folder exists and that you may read and write it"


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def out_of_space(path: Path) -> bool:
    """Whether the file system of `path` has less than a megabyte left."""
    with contextlib.suppress(OSError, AttributeError):
        return os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize < 1 << 20
    return False


def connect(path: Path, *, writable: bool) -> apsw.Connection:
    """A connection with our pragmas. A file that is not ours, or newer than we are, is refused untouched.

    Raises StoreError and its kin.
    """
    with translated(path):
        if writable:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            connection = apsw.Connection(str(path), flags=flags)
        else:
            connection = apsw.Connection(_read_only_uri(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            _prepare(connection, path, writable)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: apsw.Connection, path: Path, writable: bool) -> None:
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    # Nothing is changed in the file, nor folded back into it by closing, before it is known to be ours.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    for name, value in _pragmas(writable).items():
        connection.pragma(name, value)
    check_version(connection, path)
    if writable:
        connection.pragma("journal_mode", "WAL")
        failpoints.reach("database opened")
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def _pragmas(writable: bool) -> dict[str, int | str]:
    common: dict[str, int | str] = {
        "foreign_keys": 1,
        "temp_store": "MEMORY",
        "cache_size": -32768,
        "cell_size_check": 1,
    }
    if sqlite_version() >= FIXED_SQLITE:
        common["mmap_size"] = MEMORY_MAP_BYTES
    if not writable:
        return common
    return {"page_size": PAGE_SIZE, "synchronous": "FULL", "secure_delete": 1, **common}


def sqlite_version() -> tuple[int, ...]:
    """The version of the bundled SQLite."""
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


def _read_only_uri(path: Path) -> str:
    """A URI that opens the file where it cannot be written: immutable when no log is left beside it."""
    log = _log_of(path)
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    return f"file:{urllib.parse.quote(str(path.resolve()))}?{mode}"


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the file to the current schema in one transaction; an unknown or newer file is refused untouched."""
    with translated(path), immediate(connection):
        version = check_version(connection, path)
        for number, (_, statements) in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.execute(statements)
            connection.pragma("user_version", number)
            failpoints.reach("schema step taken")
        if version == 0:
            connection.pragma("application_id", APPLICATION_ID)


def check_version(connection: apsw.Connection, path: Path) -> int:
    """The schema version of the file, 0 when it is empty. Raises SchemaError or StoreDamaged."""
    with translated(path):
        # In this order: another process may make the schema, in one transaction, between two of the reads.
        if connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
            return 0
        application = connection.pragma("application_id")
        version = connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise StoreDamaged(
            f"{path} is a database of another program (application id {application}); name another folder"
        )
    if not isinstance(version, int) or version > VERSION:
        raise SchemaError(
            f"{path} has schema {version}, this sememe knows {VERSION}: a newer version wrote it; upgrade sememe"
        )
    return version


@contextlib.contextmanager
def immediate(connection: apsw.Connection, *, durable: bool = True) -> Iterator[None]:
    """A write transaction: locked from its first moment, all or nothing, and `durable` once it is committed.

    A deferred one that turns from reading to writing fails at once whatever the busy time-out says.
    """
    try:
        if not durable:
            connection.execute("PRAGMA synchronous = NORMAL")
        with _locked(connection):
            yield
    finally:
        if not durable:
            connection.execute("PRAGMA synchronous = FULL")


@contextlib.contextmanager
def _locked(connection: apsw.Connection) -> Iterator[None]:
    try:
        # Inside, because an interrupt may come right after it, and would leave it open.
        connection.execute("BEGIN IMMEDIATE")
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoints.reach("before commit")
    try:
        connection.execute("COMMIT")
    except apsw.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoints.reach("after commit")


def refuse_network_file_system(folder: Path) -> None:
    """Raise StoreError when the folder is on a network file system, where SQLite's locks cannot be trusted."""
    kind = file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{folder} is on a network file system ({kind}), where two writers can destroy a database; "
            f"put the collection on a local disk"
        )


def file_system(folder: Path) -> str:
    """The kind of file system that holds the folder, "" where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return ""
    wanted = str(folder.resolve())
    best, kind = "", ""
    with contextlib.suppress(OSError), Path("/proc/self/mountinfo").open(encoding="utf-8") as mounts:
        for line in mounts:
            fields, _, tail = line.partition(" - ")
            # White space in a path is written in octal.
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
            inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, tail.split()[0]
    return kind
