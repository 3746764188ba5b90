"""What takes long, done in a thread of its own while the collection is written and searched.

Indexes that lag serve all the same: what they have not seen is compared one by one. So the one call of a thousand after
which large files are to be written anew does not wait for them; closing the collection does. Knows threads and what
became of them, not what they do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

from sememe.errors import SememeError
from sememe.store import SQLiteStore

_CALLED: WeakSet[SQLiteStore] = WeakSet()
_FAILED: WeakSet[SQLiteStore] = WeakSet()
_WORKING: WeakKeyDictionary[SQLiteStore, threading.Thread] = WeakKeyDictionary()


def called_before(store: SQLiteStore) -> bool:
    """Whether this was asked of a store before: a process that writes once has nothing else to do meanwhile."""
    before = store in _CALLED
    _CALLED.add(store)
    return before


def started(store: SQLiteStore, work: Callable[[], object]) -> bool:
    """Begin `work` in a thread that closing the store waits for, unless one is at it.

    False when the last one failed: then it should be done here, where somebody is told why.
    """
    thread = _WORKING.get(store)
    if thread is not None and thread.is_alive():
        return True
    if store in _FAILED:
        _FAILED.discard(store)
        return False
    # Not a daemon: the end of a process waits for it too, as its libraries would not outlive the interpreter.
    thread = _WORKING[store] = threading.Thread(target=_done, args=(store, work), name="sememe-behind")
    store.awaits(thread)
    thread.start()
    return True


def _done(store: SQLiteStore, work: Callable[[], object]) -> None:
    _FAILED.add(store)
    with contextlib.suppress(SememeError):
        work()
        _FAILED.discard(store)
