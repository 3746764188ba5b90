"""Which texts run together, and their ids in one table. Knows numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from sememe.types import Ids

Told: TypeAlias = Mapping[str, Ids]
"""Numbers (n,) of each text by the name of the input that a model has for them."""

NOTHING: Told = {}

FINEST = 16
"""A length is a multiple of a step, and at most so many times the step, which is a power of two from 2 on."""


def rounded(length: int, most: int) -> int:
    """The length that a text of so many tokens is padded to, one of few: a token or an eighth more, up to `most`."""
    step = 2
    while length > FINEST * step:
        step *= 2
    return max(length, min(-(-length // step) * step, most))


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[Ids]:
    """Positions grouped so that rows x longest <= batch_tokens, longest first; at least one row each."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def padded(ids: Sequence[list[int]], rows: Ids, told: Told = NOTHING, *, width: int = 1) -> dict[str, Any]:
    """The chosen texts' ids in one table of `width` at least, their lengths, and what else is told of them.

    A text without a token is one that nobody pools. Lengths that are told are those of what the others may see.
    """
    lengths = np.array([len(ids[row]) for row in rows], dtype=np.int32)
    table = np.zeros((len(rows), max(width, int(lengths.max()))), dtype=np.int32)
    for i, row in enumerate(rows):
        table[i, : lengths[i]] = ids[row]
    return {"input_ids": table, "lengths": lengths} | {n: v[rows].astype(np.int32) for n, v in told.items()}
