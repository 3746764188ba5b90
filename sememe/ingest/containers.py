"""Files that hold many documents: what is remembered of one that was read, and how what is gone from it goes.

Such a file is remembered after its last part, so one that was killed in the middle is read again, and its parts that
are stored are passed over by their digests. Large deletions are done in batches of their own transactions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from sememe import failpoints
from sememe.ingest.cutting import Container
from sememe.ingest.runs import Run
from sememe.store import SQLiteStore
from sememe.store.writing import Transaction
from sememe.types import LedgerRow

BATCH = 500


def finish(store: SQLiteStore, finished: Iterable[Container], run: Run) -> tuple[int, list[LedgerRow]]:
    """Take out what is gone from files that were read, and remember them.

    Returns how many documents went, and the ledger rows of the files.
    """
    finished = list(finished)
    removed = 0
    for container in finished:
        if container.failure is None and not container.fresh:
            removed += _drop_left(store, container, run)
    with store.transaction() as transaction:
        rows = []
        for container in finished:
            rows.append(_remember(transaction, container, run))
            transaction.record(rows[-1:], run.id)  # before a file around it looks whether all is settled
        failpoints.reach("container remembered")
    return removed, rows


def remove(store: SQLiteStore, key: str) -> int:
    """Take out a file's documents and all that is known of it but its own ledger row; returns how many went."""
    removed = 0
    while True:
        with store.transaction() as transaction:
            went = transaction.remove_container(key, most=BATCH)
            failpoints.reach("parts removed")
        removed += went
        if went < BATCH:
            return removed


def _drop_left(store: SQLiteStore, container: Container, run: Run) -> int:
    with store.snapshot() as snapshot:
        left, boxes = snapshot.left_parts(container.item.key, run.id)
    gone = np.setdiff1d(np.array(left, dtype=np.int64), np.array(container.unchanged, dtype=np.int64))
    for start in range(0, len(gone), BATCH):
        with store.transaction() as transaction:
            transaction.remove_parts(gone[start : start + BATCH].tolist())
            failpoints.reach("parts removed")
    return len(gone) + sum(remove(store, key) for key in boxes)


def _remember(transaction: Transaction, container: Container, run: Run) -> LedgerRow:
    key = container.item.key
    if container.failure is not None:
        kept = "; what was stored of it is kept" if container.parts else ""
        return replace(container.failure, reason=container.failure.reason + kept)
    old = transaction.live_id(key)
    if old is not None:
        transaction.remove(old)
    transaction.strike_left(key, run.id)
    documents = transaction.set_container(key, container.stamp, container.recipe, run=run.id, outside=container.outside)
    row = LedgerRow(key, "embedded", remarks=tuple(container.content.remarks), origin=container.item.origin)
    if not documents:
        return replace(row, status="skipped", reason=f"no document in {_counted(container.parts, 'part')}")
    more = f" in {_counted(container.parts, 'part')}" if container.parts != documents else ""
    return replace(row, reason=f"{_counted(documents, 'document')}{more}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
