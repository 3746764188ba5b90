"""Cutting a list of inputs into requests: by number and by tokens, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SMALLEST = 16
"""Inputs below which a request is not divided only to keep more lanes busy."""

WAVES, LARGE = 4, 128
"""Requests for each lane into which those of more than so many inputs are divided: while some are read and made, others
are answered."""


def batches(
    tokens: Iterable[int], n: int, *, items: int, most: int | None, alone: int, lanes: int = 1
) -> Iterator[range]:
    """Ranges of at most `items` inputs and `most` tokens in all; an input that alone has more is a request.

    `tokens` are those of the `n` inputs, and read no further than the next range needs. An input of more than `alone`
    tokens goes by itself, so that its refusal costs no other. Over `lanes` lanes the inputs are shared out evenly.
    """
    items = min(items, _share(n, items, lanes))
    start = total = last = 0
    for i, count in enumerate(tokens):
        full = i - start == items or (most is not None and total + count > most)
        if i > start and (full or count > alone or last > alone):
            yield range(start, i)
            start, total = i, 0
        total, last = total + count, count
    if n > start:
        yield range(start, n)


def _share(n: int, items: int, lanes: int) -> int:
    """Inputs of a request, so that all lanes have work, as often and for as long as the others."""
    requests = max(-(-n // items), min(lanes, -(-n // SMALLEST)), min(WAVES * lanes, -(-n // LARGE)))
    if requests > lanes:
        requests = -(-requests // lanes) * lanes
    return -(-n // requests) if lanes > 1 and requests else items
