"""Tokens where the tokenizer is the provider's secret: a count from above, by the text alone.

A piece is at most four bytes of UTF-8: a syllable of four small letters, three with the blank or the capital before
them, a digit, a mark, a little white space. A letter of two bytes counts as one piece, of three as two, of four as
three. Real tokenizers make fewer of prose and code; what they may make at worst, one token a byte, is four times as
many. So a text of n pieces never has more than 4 n tokens, and that is what chunks are cut to.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

BYTES_A_PIECE = 4

_PIECE = re.compile(
    r"[a-z]{4}"
    r"|[ A-Z]?[a-z]{1,3}"
    r"| [A-Z][a-z]{0,2}"
    r"|[A-Z]{1,2}"
    r"| ?[!-~]"
    r"|[\x00-\x20\x7f]{1,4}"
    r"|[^\x00-\x7f]"
)


class EstimatedCounter:
    """A `TokenCounter` that counts from above, for models whose tokenizer is not here."""

    @property
    def additive(self) -> bool:
        """Never: a piece may begin with the blank before it."""
        return False

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """The character spans of the pieces of `text`: (n, 2), ascending; a wide character has several."""
        spans = []
        for match in _PIECE.finditer(text):
            spans += [match.span()] * _pieces(match[0])
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        """The number of pieces of `text`: at least a quarter of its bytes."""
        found = _PIECE.findall(text)
        return len(found) if text.isascii() else sum(map(_pieces, found))


def _pieces(piece: str) -> int:
    code = ord(piece[0])
    return 1 if code < 0x800 else 2 if code < 0x10000 else 3
