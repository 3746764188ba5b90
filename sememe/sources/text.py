"""Plain text: body blocks only, the pieces as they come. Knows no format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sememe.types import Block


def blocks(pieces: Iterable[str], remarks: list[str]) -> Iterator[Block]:  # noqa: ARG001 - every reader's signature
    """One block a piece."""
    return (Block(piece) for piece in pieces)


def title(head: str) -> str:  # noqa: ARG001
    """Plain text has no title."""
    return ""
