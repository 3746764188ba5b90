"""Tables → blocks: rows in groups, the header on top of every group, so that a piece of a table can be read alone.

Knows rows of strings. Knows nothing of the formats they come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sememe.types import Block

GROUP = 480
"""Characters of a group: it fits into a chunk of a small model, and ends in a blank line, where chunks are cut."""
WIDE = 200
"""A longer header is not repeated as a line: every row is written as lines of `name: value`."""
MOST_GAPS = 64
"""Cells of a row without a header; in a longer one, the empty cells are left out."""
PIECE = 64 * 1024

_NUMBER = re.compile(r"[-+(]?[\d.,:/ %€$£-]+\)?")


class Table:
    """A table that is being read. Rows go in; blocks come out when a group is full, and at the end.

    `place` says where the table is, and `numbered` that rows have numbers which belong into the place. With `guess`
    the first row is the header if it looks like one.
    """

    def __init__(self, place: str = "", *, guess: bool = False, numbered: bool = False) -> None:
        self._place = place
        self._guess = guess
        self._numbered = numbered
        self._header: list[str] = []
        self._header_number = 0
        self._used = False
        self._lines: list[str] = []
        self._size = 0
        self._first = 0
        self._last = 0

    def add(self, cells: Sequence[str], *, header: bool = False, number: int = 0) -> Iterator[Block]:
        """Put a row in. A header counts above the first row only, and may have several rows."""
        row = [" ".join(cell.split()) for cell in cells]
        while row and not row[-1]:
            row.pop()
        if not row:
            return
        above = not self._used and not self._lines
        if above and (header or (self._guess and not self._header and _looks_like_header(row))):
            self._put_on_top(row, number)
            return
        line = self._line(row)
        if self._lines and self._size + len(line) > GROUP:
            yield from self._group()
        self._first = self._first if self._lines else number
        self._last = number
        self._lines.append(line)
        self._size += len(line)
        if self._is_wide:
            yield from self._group()

    def end(self) -> Iterator[Block]:
        """What is left; of a table that is only a header, the header."""
        if self._header and not self._used and not self._lines:
            self._first = self._last = self._header_number
            self._lines, self._header = [" | ".join(self._header) + "\n"], []
        yield from self._group()

    @property
    def _is_wide(self) -> bool:
        return sum(len(name) + 3 for name in self._header) > WIDE

    def _put_on_top(self, row: list[str], number: int) -> None:
        width = max(len(row), len(self._header))
        above, below = (names + [""] * (width - len(names)) for names in (self._header, row))
        self._header = [f"{one} {two}".strip() for one, two in zip(above, below, strict=True)]
        self._header_number = number

    def _line(self, row: list[str]) -> str:
        if self._is_wide:
            names = self._header + [""] * (len(row) - len(self._header))
            pairs = [(name, cell) for name, cell in zip(names, row, strict=False) if cell]
            return "".join(f"{name}: {cell}\n" if name else f"{cell}\n" for name, cell in pairs)
        if len(row) > MOST_GAPS and not self._header:
            row = [cell for cell in row if cell]
        return " | ".join(row) + "\n"

    def _group(self) -> Iterator[Block]:
        if not self._lines:
            return
        top = " | ".join(self._header) + "\n" if self._header and not self._is_wide else ""
        text, place = top + "".join(self._lines) + "\n", self._where()
        self._lines, self._size, self._used = [], len(top), True
        for start in range(0, len(text), PIECE):
            yield Block(text[start : start + PIECE], place=place)

    def _where(self) -> str:
        if not self._numbered:
            return self._place
        rows = f"row {self._first}" if self._first == self._last else f"rows {self._first}-{self._last}"
        return f"{self._place}, {rows}" if self._place else rows


def _looks_like_header(row: list[str]) -> bool:
    """Whether a first row holds names: two or more, each filled, short and its own, none a number or a date."""
    if len(row) < 2 or len(set(row)) < len(row):
        return False
    return all(cell and len(cell) <= 60 and not _NUMBER.fullmatch(cell) for cell in row)
