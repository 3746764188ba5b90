"""The truth of a collection that somebody has open, for as long as a question to it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sememe.collection import Collection
from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory


@contextmanager
def opened(collection: Collection) -> Iterator[SQLiteStore]:
    """Its store, to read and to write."""
    store = SQLiteStore(collection.path)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def moment(collection: Collection) -> Iterator[Inventory]:
    """One moment of it, to read."""
    with opened(collection) as store, store.snapshot() as snapshot:
        yield snapshot
