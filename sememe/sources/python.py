"""Python source → blocks: classes, functions and methods as headings, the source byte for byte.

The syntax tree tells the lines; the text is never taken from it. What is not valid Python, or too long to hold, is
read as plain text with a remark. Functions inside functions stay part of them: they mean little on their own.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from sememe.types import Block

LONGEST = 2 * 1024 * 1024
"""Characters; a syntax tree takes up to 60 times the memory of its source."""
PIECE = 64 * 1024
DEEPEST = 6

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_TITLE = re.compile(r"""\A(?:\s|#[^\r\n]*)*[rRuU]?("{3}|'{3}|"|')\s*([^\r\n]*?)\s*(?:\1|[\r\n])""")
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_WORDS = {ast.ClassDef: "class", ast.FunctionDef: "def", ast.AsyncFunctionDef: "async def"}
# The filters of warnings belong to the process: while one thread has them changed, no other may save and restore.
_parsing = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Mark:
    """A line (from 0) where a definition begins, its name standing on line `named`; or one behind the end of it."""

    line: int
    level: int
    title: str = ""
    named: int = 0

    @property
    def order(self) -> tuple[int, bool, int]:
        """Ends before beginnings, inner ends before outer ones."""
        return self.line, bool(self.title), -self.level


def blocks(pieces: Iterable[str], remarks: list[str]) -> Iterator[Block]:
    """The module as headings and body blocks of bounded size."""
    taken: list[str] = []
    size = 0
    iterator = iter(pieces)
    for piece in iterator:
        taken.append(piece)
        size += len(piece)
        if size > LONGEST:
            remarks.append(f"read as plain text: longer than {LONGEST} characters")
            yield from map(Block, chain(taken, iterator))
            return
    source = "".join(taken)
    try:
        marks = _marks(_parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # ValueError: null characters; the last two: nested deeper than the parser goes.
        remarks.append(f"read as plain text: not valid Python {_where(error)}")
        marks = []
    yield from _cut(_LINE.findall(source), marks)


def title(head: str) -> str:
    """The first line of the docstring of a module that begins with `head`."""
    match = _TITLE.match(head)
    return match[2].strip().removesuffix(".") if match else ""


def _where(error: Exception) -> str:
    return f"(line {error.lineno}: {error.msg})" if isinstance(error, SyntaxError) else f"({error})"


def _parse(source: str) -> ast.Module:
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _marks(module: ast.Module) -> list[_Mark]:
    """Where definitions begin and end, in order."""
    marks: list[_Mark] = []
    pending: list[tuple[ast.AST, int]] = [(module, 1)]
    while pending:
        above, level = pending.pop()
        for node in ast.iter_child_nodes(above):
            if isinstance(node, _DEFINITIONS):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                named = f"{_WORDS[type(node)]} {node.name}"
                marks.append(_Mark(first - 1, min(level, DEEPEST), named, node.lineno - 1))
                marks.append(_Mark(node.end_lineno or node.lineno, min(level, DEEPEST)))
                if isinstance(node, ast.ClassDef):
                    pending.append((node, level + 1))
            elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
                pending.append((node, level))
    return sorted(marks, key=lambda mark: mark.order)


def _cut(lines: list[str], marks: list[_Mark]) -> Iterator[Block]:
    """The lines as blocks. Code behind a definition gets a heading without text or title, which ends its reach."""
    at = 0
    ended = 0
    for mark in [*marks, _Mark(len(lines), 1)]:
        first = _with_comments(lines, at, mark, after=bool(ended)) if mark.title else mark.line
        if ended and any(line.strip() and not line.lstrip().startswith("#") for line in lines[at:first]):
            yield Block("", ended)
        yield from _body(lines[at:first])
        at = max(at, first)
        ended = 0 if mark.title else mark.level
        if mark.title:
            yield Block("".join(lines[at : mark.named + 1]), mark.level, mark.title)
            at = mark.named + 1


def _with_comments(lines: list[str], least: int, mark: _Mark, *, after: bool) -> int:
    """The line where the comments above a definition begin, as deep as the definition itself.

    Behind another definition blank lines may lie between: what follows is what a banner is about.
    """
    indent = re.match(r"[ \t]*", lines[mark.line])
    comment = f"{indent[0] if indent else ''}#"
    first = at = mark.line
    while at > least and (lines[at - 1].startswith(comment) or (after and not lines[at - 1].strip())):
        at -= 1
        first = at if lines[at].strip() else first
    return first


def _body(lines: list[str]) -> Iterator[Block]:
    text = "".join(lines)
    return (Block(text[start : start + PIECE]) for start in range(0, len(text), PIECE))
