"""Giving every chunk a vector in a further space, from the texts that are stored: no source is read again.

A batch is one transaction, so whatever ends a run, what was embedded is stored, and the next run goes on behind it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from sememe.errors import SememeError
from sememe.ingest import derived
from sememe.ingest.computed import Computed, Target
from sememe.ingest.runs import finish, running
from sememe.space import Held, Interruptible
from sememe.store import SQLiteStore
from sememe.types import Progress, embedded_input

BATCH = 256
"""Inputs of one transaction: some seconds of long texts, and enough to sort by length."""


SAMPLE = 4096
SAMPLE_CHARACTERS = 1 << 18
"""Inputs that a codec is trained on, at most, and their characters: about the 65,536 tokens that are read for it."""


@dataclass(slots=True)
class Filled:
    """What a backfill did: inputs `embedded`, those of them that were `truncated`, those that the model `refused`, with
    the `reason` of the first. `complete` says that every chunk has a vector now."""

    embedded: int = 0
    truncated: int = 0
    refused: int = 0
    tokens: int = 0
    seconds: float = 0.0
    complete: bool = False
    reason: str = ""
    billed_tokens: int = 0
    dollars: float | None = None

    def as_dict(self) -> dict[str, object]:
        """The counts by name, seconds rounded to milliseconds."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def backfill(
    store: SQLiteStore, held: Held, target: Target, *, progress: Progress | None = None, threads: int = 0
) -> Filled:
    """Embed every input of the collection that has no vector in a further space.

    An interrupted run leaves what it made, and so does one that is stopped by its model (the error goes on).
    """
    filled, began = Filled(), time.monotonic()
    with running(store, "space add") as run:
        with store.snapshot() as snapshot:
            total = snapshot.count_lacking(held.key)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sememe-embed") as pool:
            for texts in batches(store, held.key):
                _fill(store, held, target, texts, pool, filled)
                if progress is not None:
                    progress(filled.embedded + filled.refused, total)
        with store.transaction() as transaction:
            filled.complete = transaction.complete(held)
        filled.seconds = time.monotonic() - began
        finish(store, run, filled.as_dict())
    derived.catch_up(store, derived.Effort(threads=threads, wait=True))
    return filled


def batches(store: SQLiteStore, space: str) -> Iterator[dict[bytes, str]]:
    """What has no vector in a space, by its id: texts by the digest of the input; also what others add meanwhile."""
    last = 0
    while True:
        with store.snapshot() as snapshot:
            found = snapshot.lacking(space, last, BATCH)
            of_chunk = {chunk: key for _, key, chunk in found}
            texts = {
                of_chunk[passage.chunk]: embedded_input(passage.headings, passage.text)
                for passage in snapshot.passages(sorted(of_chunk))
            }
        if not found:
            return
        last = found[-1][0]
        yield texts


def sample(store: SQLiteStore) -> list[str]:
    """Inputs of the collection, spread over all of it: what a codec is trained on, as many of them as suffice."""
    with store.snapshot() as snapshot:
        chunks = snapshot.live_chunks()
        chosen = np.unique(np.linspace(0, len(chunks) - 1, min(SAMPLE, len(chunks))).astype(int))
        found = [
            embedded_input(passage.headings, passage.text)
            for passage in snapshot.passages([chunks[i] for i in chosen.tolist()])
        ]
    return found[:: max(1, -(-sum(map(len, found)) // SAMPLE_CHARACTERS))]


def _fill(
    store: SQLiteStore, held: Held, target: Target, texts: dict[bytes, str], pool: ThreadPoolExecutor, filled: Filled
) -> None:
    computed = Computed(target)
    done = pool.submit(computed.add, texts)
    try:
        done.result()
    except SememeError:
        raise
    except BaseException:
        # Interrupted: what is being embedded is waited for and stored, what costs money is stopped.
        if isinstance(target.embedder, Interruptible):
            target.embedder.interrupt()
        with contextlib.suppress(SememeError):
            done.result()
            _keep(store, held, computed, filled)
        raise
    _keep(store, held, computed, filled)
    if computed.stop is not None:
        raise computed.stop


def _keep(store: SQLiteStore, held: Held, computed: Computed, filled: Filled) -> None:
    if computed:
        rows = computed.rows()
        with store.transaction() as transaction:
            transaction.add_blobs(held.space.id, rows)
            transaction.fill(held)
        filled.embedded += len(rows)
        filled.tokens += sum(kept for _, _, kept, _ in rows)
        filled.truncated += sum(kept < tokens for _, tokens, kept, _ in rows)
    filled.refused += len(computed.refused)
    filled.reason = filled.reason or next(iter(computed.refused.values()), "")
