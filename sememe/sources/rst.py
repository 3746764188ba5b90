"""reStructuredText → blocks: the sections as headings, and the text between them, byte for byte.

A scanner of lines after the specification's rules for section titles, as Markdown is read: docutils would need the
whole document and give back another text, and knows none of the directives that Sphinx adds. Directives, tables and
literal blocks are text. Knows nothing of inline marks but how to leave them out of a title.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sememe.sources.markdown import FULL, LONGEST_LINE, lines
from sememe.types import Block

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*$")
_ROLE = re.compile(r":[\w.+-]+(?::[\w.+-]+)*:`")
_TARGET = re.compile(r"`([^`<]*?)\s*<[^`<>]*>`_{0,2}")
_LITERAL = re.compile(r"``(.+?)``")
_MARKED = re.compile(r"(?<![\w`])(\*\*|\*|`|\|)(?=\S)(.+?)(?<=\S)\1_{0,2}(?!\w)")
_ESCAPE = re.compile(r"\\(.)")


def blocks(pieces: Iterable[str], remarks: list[str]) -> Iterator[Block]:  # noqa: ARG001 - every reader's signature
    """The document as headings and body blocks of bounded size."""
    return _Scanner().blocks(lines(pieces))


def title(head: str) -> str:
    """The title of a document that begins with `head`: its first heading, if no text stands before it."""
    for block in _Scanner().blocks(lines((head,))):
        if block.level:
            return block.title
        if any(line and not line[0].isspace() and not line.startswith("..") for line in block.text.split("\n")):
            break
    return ""


def plain(marked: str) -> str:
    """A title's source without the marks that a reader does not see."""
    text = _TARGET.sub(r"\1", _ROLE.sub("`", marked))
    text = _MARKED.sub(r"\2", _LITERAL.sub(r"\1", text))
    return " ".join(_ESCAPE.sub(r"\1", text).split())


class _Scanner:
    """Which line may become a title. `_line` is held until the next tells; `_over` is a line of signs above it."""

    def __init__(self) -> None:
        self._styles: list[str] = []
        self._body: list[str] = []
        self._size = 0
        self._over = ""
        self._line = ""
        self._is_start = True

    def blocks(self, found: Iterator[str]) -> Iterator[Block]:
        """Headings as they are found, and what lies between them."""
        for line in found:
            heading = self._scan(line)
            if heading or self._size >= FULL:
                yield from self._flush()
            if heading:
                yield heading
        self._keep_held()
        yield from self._flush()

    def _scan(self, line: str) -> Block | None:
        """Give the heading that this line completes; else hold or keep the line."""
        text = line.rstrip()
        if self._line and _ADORNMENT.match(text) and self._underlines(text):
            return self._heading(line, text[0])
        signs = bool(_ADORNMENT.match(text)) and len(line) < LONGEST_LINE
        if self._over and not self._line and text and not signs:
            self._line = line
            return None
        is_start = self._is_start and not self._over and not self._line
        self._keep_held()
        self._is_start = not text
        if is_start and signs:
            self._over = line
        elif is_start and text and not text[0].isspace() and len(line) < LONGEST_LINE:
            self._line = line
        else:
            self._keep(line)
        return None

    def _underlines(self, signs: str) -> bool:
        """Whether a line of signs makes the one above it a title: as long as that, and like the line over it."""
        held = self._line.strip() if self._over else self._line.rstrip()
        if self._over and (self._over.rstrip() != signs or len(held) > len(signs)):
            return False
        return len(signs) >= len(held) or (len(signs) >= 4 and len(signs) >= len(held) - 1)

    def _heading(self, line: str, sign: str) -> Block:
        style = sign * (2 if self._over else 1)
        if style not in self._styles:
            self._styles.append(style)
        level = min(self._styles.index(style) + 1, 6)
        block = Block(f"{self._over}{self._line}{line}", level, plain(self._line.strip()))
        self._over = self._line = ""
        self._is_start = True
        return block

    def _keep_held(self) -> None:
        for line in (self._over, self._line):
            if line:
                self._keep(line)
        self._over = self._line = ""

    def _keep(self, line: str) -> None:
        self._body.append(line)
        self._size += len(line)

    def _flush(self) -> Iterator[Block]:
        if self._body:
            yield Block("".join(self._body))
            self._body, self._size = [], 0
