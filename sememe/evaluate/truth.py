"""The truth of a collection that somebody has open, for as long as a question to it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory


@contextmanager
def opened(folder: Path) -> Iterator[SQLiteStore]:
    """Its store, to read and to write."""
    store = SQLiteStore(folder)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def moment(folder: Path) -> Iterator[Inventory]:
    """One moment of it, to read."""
    with opened(folder) as store, store.snapshot() as snapshot:
        yield snapshot
