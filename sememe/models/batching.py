"""Which texts run together, and their ids in one table. Knows numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sememe.types import Ids


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[Ids]:
    """Positions grouped so that rows x longest <= batch_tokens, longest first; at least one row each."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def padded(ids: Sequence[list[int]], rows: Ids) -> dict[str, Any]:
    """The chosen texts' ids in one table, and their lengths; a text without a token is one that nobody pools."""
    lengths = np.array([len(ids[row]) for row in rows], dtype=np.int32)
    table = np.zeros((len(rows), max(1, int(lengths.max()))), dtype=np.int32)
    for i, row in enumerate(rows):
        table[i, : lengths[i]] = ids[row]
    return {"input_ids": table, "lengths": lengths}
