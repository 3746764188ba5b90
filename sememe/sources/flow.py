"""Words, paragraphs, lists, headings and tables as they come from a format's parser → blocks.

What Word, OpenDocument, HTML and slides have in common, so that their text looks the same. Knows no format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sememe.sources.grid import Table
from sememe.types import Block

LONGEST = 32 * 1024
"""Characters of a paragraph that are held; a longer one goes on in the next block."""
LONGEST_HEADING = 500
LONGEST_CELL = 1000
"""A table with a longer cell, with a heading or with another table in a cell lays out a page: its text is read on."""
LONGEST_ADDRESS = 200

_ADDRESS = re.compile(r"(?:https?|ftp|mailto):\S", re.I)
_SPACE = re.compile(r"[ \t\r\f\v\xa0]+")


@dataclass(slots=True)
class _Open:
    """A table with the row that is being read. `is_layout`: its cells are read as text."""

    table: Table
    row: list[str] = field(default_factory=list)
    is_layout: bool = False
    cell: list[str] | None = None


class Flow:
    """Collects what a parser finds; `take` gives the blocks that are complete.

    `place` goes into every block. With `collapse`, white space in text means one space.
    """

    def __init__(self, *, collapse: bool = False) -> None:
        self.place = ""
        self.title = ""
        self._collapse = collapse
        self._blocks: list[Block] = []
        self._words: list[str] = []
        self._size = 0
        self._written = 0
        self._tight = False
        self._tables: list[_Open] = []

    def take(self) -> list[Block]:
        """The blocks since the last call."""
        blocks, self._blocks = self._blocks, []
        return blocks

    @property
    def is_in_table(self) -> bool:
        """Whether text now goes into a cell."""
        return bool(self._tables) and self._tables[-1].cell is not None

    def write(self, text: str) -> None:
        """Add to the open paragraph."""
        self._words.append(text)
        self._size += len(text)
        if self._size > LONGEST:
            self._leave_table()
            self._emit("".join(self._words) if not self._collapse else _collapsed("".join(self._words)) + " ")
            self._reset()

    def mark(self) -> tuple[int, int]:
        """The place in the open paragraph, for `link`."""
        return self._written, len(self._words)

    def link(self, mark: tuple[int, int], address: str, *, in_heading: bool = False) -> None:
        """Make what was written since `mark` a link, if its address means something outside of the document.

        A sign that leads to where it stands, as beside headings, is left out.
        """
        if mark[0] != self._written:
            return
        text = "".join(self._words[mark[1] :])
        shown = text.strip()
        if address.startswith("#") and not any(map(str.isalnum, shown)):
            self._words[mark[1] :] = []
        elif in_heading or not shown or "\n" in shown or len(address) > LONGEST_ADDRESS or not _ADDRESS.match(address):
            return
        elif shown in address:
            self._words[mark[1] :] = [text.replace(shown, address)]
        else:
            self._words[mark[1] :] = [text.replace(shown, f"[{shown}]({address})")]

    def end_paragraph(self, *, level: int = 0, bullet: str = "", verbatim: bool = False) -> bool:
        """Close the paragraph: a heading of `level`, an item after `bullet`, or plain. False if there was no text."""
        raw = "".join(self._words)
        self._reset()
        text = raw.strip("\r\n") if verbatim else self._cleaned(raw)
        if not text or text.isspace():
            return False
        cell = self._tables[-1].cell if self._tables else None
        if cell is not None and not level and len(text) + sum(map(len, cell)) <= LONGEST_CELL:
            cell.append(text)
            return True
        if cell is not None or level:
            self._leave_table()
        if level and len(text) <= LONGEST_HEADING:
            self._heading(text, level)
        elif bullet:
            self._emit(f"{bullet}{text}\n", item=True)
        else:
            self._emit(f"{text}\n\n")
        return True

    def _heading(self, text: str, level: int) -> None:
        title = " ".join(text.split())
        self.title = self.title or title
        self._separate()
        self._blocks.append(Block(f"{text}\n\n", max(1, min(level, 6)), title, self.place))

    def text(self) -> str:
        """The open paragraph so far."""
        return self._cleaned("".join(self._words))

    def forget(self) -> None:
        """Leave out the open paragraph."""
        self._reset()

    def section(self, level: int, title: str = "") -> None:
        """A heading that stands nowhere in the text: what follows is under `title`, or under none of its level."""
        self.end_paragraph()
        self._separate()
        self._blocks.append(Block("", level, title, self.place))

    def start_table(self, *, guess: bool = False) -> None:
        """Rows follow. Inside of a table, the outer one turns out to be layout."""
        self.end_paragraph()
        self._leave_table()
        self._separate()
        self._tables.append(_Open(Table(self.place, guess=guess)))

    def start_cell(self) -> None:
        """Text from here on is a cell of the innermost table."""
        self.end_paragraph()
        if self._tables and not self._tables[-1].is_layout:
            self._tables[-1].cell = []

    def end_cell(self, span: int = 1) -> None:
        """The cell is complete; it is `span` columns wide."""
        self.end_paragraph()
        if self._tables and self._tables[-1].cell is not None:
            opened = self._tables[-1]
            opened.row.append(" ".join(opened.cell or ()))
            opened.row.extend([""] * (max(1, min(span, 100)) - 1))
            opened.cell = None

    def end_row(self, *, header: bool = False) -> None:
        """The row is complete."""
        if self._tables:
            opened = self._tables[-1]
            self._blocks.extend(opened.table.add(opened.row, header=header))
            opened.row = []

    def end_table(self) -> None:
        """The innermost table is complete."""
        if self._tables:
            self.end_cell()
            self.end_row()
            self._blocks.extend(self._tables.pop().table.end())

    def end(self) -> None:
        """Nothing follows."""
        self.end_paragraph()
        while self._tables:
            self.end_table()

    def _leave_table(self) -> None:
        """What comes is too much for a cell: the tables around it are layout, and give out what they hold."""
        for opened in self._tables:
            if opened.is_layout:
                continue
            opened.is_layout = True
            self._blocks.extend(opened.table.end())
            for text in [*opened.row, *(opened.cell or ())]:
                if text:
                    self._emit(f"{text}\n\n")
            opened.row, opened.cell = [], None

    def _reset(self) -> None:
        self._words, self._size = [], 0
        self._written += 1

    def _cleaned(self, text: str) -> str:
        if self._collapse:
            return _collapsed(text)
        return text.strip()

    def _separate(self) -> None:
        if self._tight:
            self._blocks.append(Block("\n", place=self.place))
            self._tight = False

    def _emit(self, text: str, *, item: bool = False) -> None:
        if not item:
            self._separate()
        self._tight = item
        self._blocks.append(Block(text, place=self.place))


def _collapsed(text: str) -> str:
    """White space as one space, but for line ends, which are meant: a parser writes "\\n" for a break alone."""
    if "\n" not in text:
        return _SPACE.sub(" ", text).strip()
    return "\n".join(line for line in (_SPACE.sub(" ", line).strip() for line in text.split("\n")) if line)
