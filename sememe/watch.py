"""Keeping a collection in step with a folder while its files change: one pass for every burst of changes.

A change is waited out until nothing has happened for a moment, so that a thousand files are one pass and an editor's
temporary files are gone before anybody looks. What no pass would take in (hidden names, temporary files, the
collection itself) wakes nobody. This file knows when to look; what a pass does is `Collection.sync`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sememe.errors import InputError, SememeError
from sememe.ingest.pipeline import Summary
from sememe.sources.walk import Found, key_of, left_out_by, walk
from sememe.store.sqlite import FILE_NAME

QUIET_SECONDS = 0.4
"""Without a change for so long, a burst is over."""
LONGEST_BURST = 10.0
"""A burst that goes on is looked at all the same, after so many seconds."""
POLL_SECONDS = 1.0
"""How often a folder is looked at where nobody tells of changes."""
LOOK_SECONDS = 0.25
"""How often it is asked whether a watched folder is still the same one."""

Sync = Callable[[], Summary]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder, the folder of the collection, which is no part of it, and whether hidden names count."""

    folder: Path
    exclude: Path
    hidden: bool = False

    def matters(self, path: str) -> bool:
        """Whether a pass could take in, or miss, what is at a path."""
        where = Path(path)
        if where.is_relative_to(self.exclude) or not where.is_relative_to(self.folder):
            return False
        return not any(left_out_by(part, hidden=self.hidden) for part in where.relative_to(self.folder).parts)

    def identity(self) -> tuple[int, int] | None:
        """What tells the folder from another one of its name; None while it is gone."""
        try:
            found = self.folder.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def fingerprint(self) -> bytes:
        """What changes when a file comes, goes or is written."""
        digest = hashlib.sha256()
        try:
            for found in walk([self.folder], hidden=self.hidden, exclude={self.exclude}, marker=FILE_NAME):
                at = (found.size, found.mtime_ns, found.inode) if isinstance(found, Found) else ()
                digest.update(repr((os.fspath(found.path), at)).encode("utf-8", "surrogateescape"))
        except InputError:
            return b""  # it is gone
        return digest.digest()


def notifier() -> str:
    """Who tells of changes: the operating system through "watchfiles", or "polling" where that is not installed."""
    return "watchfiles" if find_spec("watchfiles") is not None else "polling"


def watch(watched: Watched, sync: Sync, *, say: Say, using: str | None = None) -> Iterator[Summary]:
    """A pass at once and one after every burst of changes, for ever; ends with KeyboardInterrupt.

    The first pass raises what `sync` raises. Later errors are said, and the next change tries again. While the folder
    is gone nothing is deleted, unless `sync` allows an empty one: it is waited for.
    """
    bursts = _notified(watched, say) if (using or notifier()) == "watchfiles" else _polled(watched)
    first = True
    for there in bursts:
        if not there:
            say(f"{key_of(watched.folder)} is gone; waiting for it to come back")
        try:
            yield sync()
        except SememeError as error:
            if first:
                raise
            if there:
                say(str(error))
        first = False


def _notified(watched: Watched, say: Say) -> Iterator[bool]:
    """One item a burst, by the operating system's events: whether the folder is there."""
    while True:
        identity = watched.identity()
        if identity is None:
            yield from _until_back(watched)
            continue
        try:
            yield from _events(watched, identity)
        except OSError as error:
            if watched.identity() == identity:
                say(f"the system tells of no more changes ({error}); looking every {POLL_SECONDS:g} s instead")
                yield from _polled(watched)


def _events(watched: Watched, identity: tuple[int, int]) -> Iterator[bool]:
    """The bursts of one folder, until another one has its name. The first item comes when the watch stands."""
    from watchfiles import watch as events

    started = False
    for changes in events(
        watched.folder, watch_filter=lambda _, path: watched.matters(path), debounce=int(1000 * LONGEST_BURST),
        step=int(1000 * QUIET_SECONDS), rust_timeout=int(1000 * LOOK_SECONDS), yield_on_timeout=True,
        ignore_permission_denied=True,
    ):  # fmt: skip
        if watched.identity() != identity:
            return
        if changes or not started:
            started = True
            yield True


def _polled(watched: Watched) -> Iterator[bool]:
    """The same by looking: a burst is over when two looks in a row see the same."""
    before: bytes | None = None
    while True:
        now = watched.fingerprint()
        if now != before:
            started = time.monotonic()
            while before is not None and time.monotonic() - started < LONGEST_BURST:
                time.sleep(QUIET_SECONDS)
                later = watched.fingerprint()
                if later == now:
                    break
                now = later
            if now or before is None:
                yield True
            else:
                yield from _until_back(watched)
                continue
            before = now
        time.sleep(POLL_SECONDS)


def _until_back(watched: Watched) -> Iterator[bool]:
    """One item that tells that the folder is gone, and an end when it is there again."""
    yield False
    while watched.identity() is None:
        time.sleep(POLL_SECONDS)
