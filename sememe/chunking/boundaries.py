"""Where a text may be cut: paragraphs, sentences, lines, words, characters.

Knows strings alone: no tokens, no chunks. A place to cut is an offset: what is left of it ends one slice, what
is right of it begins the next. Sentences, words and characters are those of Unicode (UAX 29).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Kind = Literal["paragraph", "sentence", "line", "word"]

PROSE: tuple[Kind, ...] = ("paragraph", "sentence", "line", "word")
LINES: tuple[Kind, ...] = ("paragraph", "line", "word")
"""For code, tables and logs: a full stop means nothing there, the end of a line does."""

LINE_READERS = frozenset({"python", "lines", "json"})
LOOK_AHEAD = 64
"""Characters right of a cut that may be looked at to judge it."""

_NEWLINE = r"(?>\r\n|[\r\n\u2028\u2029])"
_BLANK_LINE = re.compile(rf"{_NEWLINE}[^\S\r\n\u2028\u2029]*{_NEWLINE}")
_LINE_END = re.compile(_NEWLINE)
_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "paragraph": _BLANK_LINE,
    "line": _LINE_END,
    "word": re.compile(r"\s+"),
}
# A line end is only wrapping before a word or number in the same column or up to three further, or a closing bracket;
# before a bullet, a numbered item or a deeper indent it ends something.
_WRAP = re.compile(r"(?<![\r\n])(\r\n|\r|\n)(?=[ ]{0,3}[\"'(\[“‘«*_`]{0,3}(?:[^\W\d_]|\d++(?![.)]\s))|[ \t]*[)\]}])")


def order_of(reader: str) -> tuple[Kind, ...]:
    """Which kinds of boundary come first in text from `reader` (a name such as "python/1")."""
    return LINES if reader.partition("/")[0] in LINE_READERS else PROSE


def cut_at(text: str, start: int, *, low: int, high: int, order: tuple[Kind, ...]) -> int:
    """The best place in `(low, high]` to cut text that began at `start`: the last of the first kind found.

    Without any, a boundary of words or characters that needs no white space; `high` itself as the last resort.
    """
    if low < high:
        for kind in order:
            place = _last(kind, text, start, low, high)
            if place is not None:
                return place
    return _last_character(text, start, low, high)


def unit_starts(text: str, start: int, end: int, *, order: tuple[Kind, ...]) -> list[int]:
    """Where the sentences (or lines, where `order` knows no sentences) inside `text[start:end]` begin."""
    places = _sentences(text, start, end) if "sentence" in order else _line_starts(text, start, end)
    return [place for place in places if place < end]


def _last(kind: Kind, text: str, start: int, low: int, high: int) -> int | None:
    if kind == "sentence":
        return max((place for place in _sentences(text, start, high) if place > low), default=None)
    if kind == "word" and text[high : high + 1].isspace():
        return high
    return _last_match(_PATTERNS[kind], text, low, high)


def _last_match(pattern: re.Pattern[str], text: str, low: int, high: int) -> int | None:
    place = None
    for match in pattern.finditer(text, low + 1, high):
        place = match.start()
    return place


def _last_character(text: str, start: int, low: int, high: int) -> int:
    """Between two words if that is possible above `low`, else between two characters as a reader sees them."""
    import apsw.unicode

    piece = text[start : high + LOOK_AHEAD]
    words = _last_break(piece, apsw.unicode.word_next_break, high - start)
    if words is not None and start + words > low:
        return start + words
    characters = _last_break(piece, apsw.unicode.grapheme_next_break, high - start)
    return high if characters is None else start + characters


def _last_break(piece: str, next_break: Callable[[str, int], int], high: int) -> int | None:
    place, found = next_break(piece, 0), None
    while place <= high:
        found = place
        if place == len(piece):
            break
        place = next_break(piece, place)
    return found


def _sentences(text: str, start: int, high: int) -> list[int]:
    """The places in `(start, high]` where a sentence begins, wrapped lines read as one."""
    import apsw.unicode

    piece = _WRAP.sub(lambda end: " " * len(end[0]), text[start : high + LOOK_AHEAD])
    places: list[int] = []
    place = apsw.unicode.sentence_next_break(piece, 0)
    while place < len(piece) and start + place <= high:
        # In "page.cgi?id=1" nothing ends: only scripts without spaces go on right behind their full stop.
        if piece[place - 1].isspace() or not piece[place - 1].isascii():
            places.append(start + place)
        place = apsw.unicode.sentence_next_break(piece, place)
    return places


def _line_starts(text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in _LINE_END.finditer(text, start, end)]
