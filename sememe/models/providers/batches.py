"""Cutting a list of inputs into requests: by number and by tokens, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SMALLEST = 16
"""Inputs below which a request is not divided only to keep more connections busy."""


def batches(tokens: Sequence[int], *, items: int, most: int | None, alone: int, lanes: int = 1) -> Iterator[range]:
    """Ranges of at most `items` inputs and `most` tokens in all; an input that alone has more is a request.

    An input of more than `alone` tokens goes by itself, so that its refusal costs no other. Where fewer requests
    than `lanes` would do, they are made smaller, so that all lanes have work.
    """
    items = max(1, min(items, max(SMALLEST, -(-len(tokens) // lanes))))
    start = total = 0
    for i, count in enumerate(tokens):
        full = i - start == items or (most is not None and total + count > most)
        if i > start and (full or count > alone or tokens[i - 1] > alone):
            yield range(start, i)
            start, total = i, 0
        total += count
    if len(tokens) > start:
        yield range(start, len(tokens))
