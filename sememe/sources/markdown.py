"""Markdown → blocks: the headings of the document's own level, and the text between them, byte for byte.

A scanner of lines after CommonMark's block rules, because a parser would need the whole document and give back
another text. Headings inside quotes and lists are part of those, and left to the text. Knows nothing of inline
marks but how to leave them out of a title.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from sememe.sources import frontmatter
from sememe.types import Block

LONGEST_LINE = 4096
"""A longer line is body text in slices, and a longer paragraph is no underlined heading: memory stays bounded."""
LONGEST_FRONT_MATTER = 32 * 1024
FULL = 48 * 1024
"""From here on a block is handed out; what one more line can add leaves it below 64 KiB."""

_LINE_END = re.compile(r"\r\n?|\n")
_ATX = re.compile(r"(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r"(=+|-+)[ \t]*$")
_RULE = re.compile(r"([-_*])(?:[ \t]*\1){2,}[ \t]*$")
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_ITEM = re.compile(r"([-+*]|(\d{1,9})[.)])([ \t]+|$)")
_NESTED = re.compile(r"(?:(?:>|[-+*]|\d{1,9}[.)])[ \t]+)+")
_DEFINITION = re.compile(r"\[[^\[\]]+\]:")
_FRONT_KEY = re.compile(r"[A-Za-z_][\w .-]*:(?:\s|$)")
_FRONT_COMMENT = re.compile(r"[ \t]*(?:#|$)")

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_ESCAPE = re.compile(r"(\\)([!-/:-@\[-`{-~])")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_ADDRESS = re.compile(r"<((?:https?|mailto):[^<>\s]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->")
_STARS = re.compile(r"(\*\*\*|\*\*|\*)(?=\S)(.+?)(?<=\S)\1")
_UNDERSCORES = re.compile(r"(?<!\w)(___|__|_)(?=\S)(.+?)(?<=\S)\1(?!\w)")

_ATTRIBUTE = r"""[ \t]+[a-zA-Z_:][\w.:-]*(?:[ \t]*=[ \t]*(?:[^\s"'=<>`]+|'[^']*'|"[^"]*"))?"""
_BLOCK_TAGS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_BLANK = re.compile(r"[ \t]*$")
# What begins a block of HTML, what ends it, and whether it may follow a line of a paragraph (CommonMark 4.6).
_HTML: tuple[tuple[re.Pattern[str], re.Pattern[str], bool], ...] = (
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:\s|>|$)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
        True,
    ),
    (re.compile(r"<!--"), re.compile(r"-->"), True),
    (re.compile(r"<\?"), re.compile(r"\?>"), True),
    (re.compile(r"<![A-Za-z]"), re.compile(r">"), True),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>"), True),
    (re.compile(rf"</?(?:{_BLOCK_TAGS})(?:\s|/?>|$)", re.I), _BLANK, True),
    (re.compile(rf"(?:<[a-zA-Z][\w-]*(?:{_ATTRIBUTE})*[ \t]*/?>|</[a-zA-Z][\w-]*[ \t]*>)[ \t]*$"), _BLANK, False),
)


def blocks(pieces: Iterable[str], remarks: list[str]) -> Iterator[Block]:  # noqa: ARG001 - every reader's signature
    """The document as headings and body blocks of bounded size."""
    return _Scanner().blocks(lines(pieces))


def title(head: str) -> str:
    """The title of a document that begins with `head`: that of its front matter, else its first heading of level 1."""
    scanner = _Scanner()
    first = next((block.title for block in scanner.blocks(lines((head,))) if block.level == 1), "")
    given = frontmatter.fields(scanner.front, []).get("title") if scanner.front else None
    return str(given) if isinstance(given, str | int | float) and str(given).strip() else first


def metadata(head: str, remarks: list[str]) -> dict[str, Any]:
    """What the front matter of a document that begins with `head` says of it; what could not be read is remarked."""
    scanner = _Scanner()
    next(scanner.blocks(lines((head,))), None)
    return frontmatter.fields(scanner.front, remarks) if scanner.front else {}


def plain(marked: str) -> str:
    """A heading's source without the marks that a reader does not see."""
    marked = marked.replace("\0", "")
    code: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        code.append(match[2])
        return f"\0{len(code) - 1}\0"

    text = _CODE.sub(put_aside, marked)  # nothing in code is a mark
    text = _ESCAPE.sub(put_aside, text)
    for _ in range(2):  # an image inside a link
        text = _LINK.sub(r"\1", text)
    text = _TAG.sub("", _ADDRESS.sub(r"\1", text))
    text = html.unescape(_UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", text)))
    text = re.sub("\0([0-9]+)\0", lambda match: code[int(match[1])], text)
    return " ".join(text.split())


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """The text in lines with their ends; a line longer than LONGEST_LINE comes in slices of that length."""
    rest = ""
    for piece in pieces:
        text, at = rest + piece, 0
        for match in _LINE_END.finditer(text):
            if match.end() == len(text) and text.endswith("\r"):
                break  # its line feed may come with the next piece
            yield from _slices(text[at : match.end()])
            at = match.end()
        rest = text[at:]
        whole = len(rest) // LONGEST_LINE * LONGEST_LINE
        yield from _slices(rest[:whole])
        rest = rest[whole:]
    yield from _slices(rest)


def _slices(line: str) -> Iterator[str]:
    return (line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE))


class _Scanner:
    """Which block is open, line by line.

    `_paragraph` holds the lines that an underline would make a heading. `_runs_on` tells that a line of mere text
    would continue what is open without becoming a heading: text in a list or quote, or a paragraph too long to hold.
    `_list` is the column where the text of the open list item begins; lines from there on belong to it.
    """

    def __init__(self) -> None:
        self.front = ""
        self._body: list[str] = []
        self._size = 0
        self._paragraph: list[str] = []
        self._runs_on = False
        self._list = 0
        self._fence = ""
        self._html: re.Pattern[str] | None = None

    def blocks(self, found: Iterator[str]) -> Iterator[Block]:
        """Headings as they are found, and what lies between them."""
        broken = False
        for line in self._front_matter(found):
            whole = line.endswith(("\n", "\r")) or len(line) < LONGEST_LINE
            heading = self._scan(line) if whole and not broken else None
            if not whole or broken:  # part of a line too long to be looked at: text
                self._other(line, runs_on=not (self._fence or self._html), inside=self._list)
            broken = not line.endswith(("\n", "\r"))
            if heading or self._size >= FULL:
                yield from self._flush()
            if heading:
                yield heading
        self._end_paragraph()
        yield from self._flush()

    def _front_matter(self, lines: Iterator[str]) -> Iterator[str]:
        """All lines but those of a YAML header, which are body. A rule that begins a document is none."""
        taken = list(islice(lines, 1))
        if taken and taken[0].rstrip() == "---":
            size, begun = 0, False
            for line in lines:
                taken.append(line)
                size += len(line)
                if begun and line.rstrip() in ("---", "..."):
                    self.front = "".join(taken[1:-1])
                    for kept in taken:
                        self._keep(kept)
                    taken = []
                    break
                begun = begun or _FRONT_KEY.match(line) is not None
                if size >= LONGEST_FRONT_MATTER or not (begun or _FRONT_COMMENT.match(line)):
                    break
        return chain(taken, lines)

    def _keep(self, line: str) -> None:
        self._body.append(line)
        self._size += len(line)

    def _flush(self) -> Iterator[Block]:
        if self._body:
            yield Block("".join(self._body))
            self._body, self._size = [], 0

    def _end_paragraph(self) -> None:
        for line in self._paragraph:
            self._keep(line)
        self._paragraph = []

    def _other(self, line: str, *, runs_on: bool = False, inside: int = 0) -> None:
        """The line is no heading; it ends a paragraph, and belongs to the list item at column `inside`, if any."""
        self._end_paragraph()
        self._keep(line)
        self._runs_on = runs_on
        self._list = inside

    def _scan(self, line: str) -> Block | None:
        """Give the heading that this line is or completes; else keep the line."""
        text = line.rstrip("\r\n")
        content = text.lstrip(" \t")
        indent = len(text[: len(text) - len(content)].expandtabs(4))
        if self._fence or self._html:
            self._continue(line, content, indent)
        elif not content:
            self._other(line, inside=self._list)
        elif self._list and indent >= self._list:
            self._other(line, runs_on=_is_text(content), inside=self._list)
        elif indent >= 4:
            if self._paragraph or self._runs_on:
                self._add_text(line)
            else:
                self._other(line)
        else:
            heading = self._heading(line, content)
            if heading is None:
                self._start(line, content, indent)
            return heading
        return None

    def _continue(self, line: str, content: str, indent: int) -> None:
        """A line in a fence or in HTML, which may be their last."""
        self._keep(line)
        if self._fence:
            bare = content.rstrip(" \t")
            if indent < 4 and bare.startswith(self._fence) and not bare.strip(self._fence[0]):
                self._fence = ""
        elif self._html and self._html.search(content) and (self._html is not _BLANK or not content):
            self._html = None

    def _heading(self, line: str, content: str) -> Block | None:
        match = _ATX.match(content)
        if match:
            self._end_paragraph()
            block = Block(line, len(match[1]), plain(match[2] or ""))
        elif self._paragraph and _UNDERLINE.match(content):
            above = " ".join(part.strip() for part in self._paragraph)
            block = Block("".join([*self._paragraph, line]), 1 if content[0] == "=" else 2, plain(above))
            self._paragraph = []
        else:
            return None
        self._runs_on = False
        self._list = 0
        return block

    def _start(self, line: str, content: str, indent: int) -> None:
        """The line is no heading: whatever else it starts or continues."""
        item = _ITEM.match(content)
        if _RULE.match(content):
            self._other(line)
        elif fence := _FENCE.match(content):
            self._other(line)
            self._fence = fence[1] or fence[2]
        elif content[0] == ">":
            self._other(line, runs_on=_is_text(content[1:].strip()))
        elif self._starts_html(content):
            self._other(line)
        elif item and not (self._paragraph and (not content[item.end() :] or item[2] not in (None, "1"))):
            inner = content[item.end() :]
            spaces = len(item[3].expandtabs(4))
            offset = spaces if inner and spaces < 5 else 1
            self._other(line, runs_on=_is_text(inner), inside=indent + len(item[1]) + offset)
        elif not self._paragraph and not self._runs_on and _DEFINITION.match(content):
            self._other(line)
        else:
            self._add_text(line)

    def _starts_html(self, content: str) -> bool:
        if content[0] != "<":
            return False
        for first, last, interrupts in _HTML:
            if first.match(content) and (interrupts or not (self._paragraph or self._runs_on)):
                self._html = None if last is not _BLANK and last.search(content) else last
                return True
        return False

    def _add_text(self, line: str) -> None:
        """A line of a paragraph: one that is open, or a new one."""
        if self._runs_on:
            self._keep(line)
            return
        self._list = 0
        self._paragraph.append(line)
        if sum(map(len, self._paragraph)) > LONGEST_LINE:
            self._end_paragraph()
            self._runs_on = True


def _is_text(content: str) -> bool:
    """Whether the inside of a list item or quote is text that the next line could run on from."""
    inner = _NESTED.sub("", content, count=1)
    return bool(inner) and not (_ATX.match(inner) or _FENCE.match(inner) or _RULE.match(inner))
