"""HTML text → tags and texts, as lenient as a browser's tokenizer, in bounded memory and linear time.

The standard library's parser holds back text without bound and scans it again with every piece; one regular
expression over bounded pieces does neither. Knows the syntax of HTML, no element but
those whose content is no markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

LONGEST = 256 * 1024
"""Characters of a tag, comment or the like; of a longer one the beginning is taken for the whole."""

Token: TypeAlias = tuple[str, str, str]
"""("<", tag, source of the attributes), (">", tag, "") or ("", text, "")."""

_TOKEN = re.compile(
    r"""(?s)
    <!--(?:>|->|.*?--!?>)                                       # a comment
    | <(?:!(?!--)|\?|/(?![a-zA-Z]))[^>]*>                           # a document type, a processing instruction
    | </(?P<end>[a-zA-Z][^\s/>]*+)[^>]*>
    | <(?P<start>[a-zA-Z][^\s/>]*+)(?P<attributes>
        (?:[^>"'=]++|=\s*+(?:"[^"]{0,8192}"|'[^']{0,8192}')|["'=])*+)>
    | (?P<text>[^<]+|<(?![a-zA-Z/!?]))
    """,
    re.X,
)
_ATTRIBUTE = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_ANY_TAG = re.compile(r"<[^>]*>")
_DATA = re.compile(r";base64,[A-Za-z0-9+/=%\s]{64,}")
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
_ESCAPABLE = frozenset({"textarea", "title"})
_COMMENT = "--"


def tokens(pieces: Iterable[str]) -> Iterator[Token]:
    """The tags and texts of a document that comes in pieces; comments and declarations are left out."""
    rest, raw = "", ""
    for piece in pieces:
        text = _DATA.sub(";base64,", rest + piece)
        at, raw, found = _scan(text, raw, final=False)
        yield from found
        if len(text) - at > LONGEST:  # a tag or a comment without an end
            at = len(text)
        rest = text[at:]
    yield from _scan(rest, raw, final=True)[2]


def attributes(source: str) -> dict[str, str]:
    """The attributes of a tag, by their names in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(source):
        value = match[2] or match[3] or match[4] or ""
        found.setdefault(match[1].lower(), html.unescape(value) if "&" in value else value)
    return found


def _scan(text: str, raw: str, *, final: bool) -> tuple[int, str, list[Token]]:
    """The tokens that are complete in `text`, how far they go, and the element without markup that is open."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        if raw:
            at, raw = _skip_raw(text, at, raw, found)
            if raw:
                return at, raw, found
        match = _TOKEN.match(text, at)
        if match is None:
            if text.startswith("<!--", at):
                raw = _COMMENT
                continue
            if final:  # a tag without an end
                found.append(("", _ANY_TAG.sub(" ", text[at:]), ""))
                at = len(text)
            break
        if match.end() == len(text) and match["text"] and not final:
            at = _hold_back(match, found)
            break
        at = match.end()
        raw = _add(match, found)
    return at, raw, found


def _add(match: re.Match[str], found: list[Token]) -> str:
    """Append what was matched; give the name of the element whose content is no markup, if one begins."""
    kind = match.lastgroup
    if kind == "text":
        text = match["text"]
        found.append(("", html.unescape(text) if "&" in text else text, ""))
    elif kind == "end":
        found.append((">", match["end"].lower(), ""))
    elif kind == "attributes":
        tag = match["start"].lower()
        found.append(("<", tag, match["attributes"]))
        if match["attributes"].endswith("/"):  # XHTML's way to close it
            found.append((">", tag, ""))
        elif tag in _RAW:
            return tag
    return ""


def _hold_back(match: re.Match[str], found: list[Token]) -> int:
    """Text at the end of a piece, but for a reference that may go on in the next one; where that begins."""
    text = match["text"]
    cut = text.rfind("&", max(0, len(text) - 40))
    ready = text[:cut] if cut >= 0 and ";" not in text[cut:] else text
    if ready == "<":
        return match.start()
    if ready:
        found.append(("", html.unescape(ready) if "&" in ready else ready, ""))
    return match.start() + len(ready)


def _skip_raw(text: str, at: int, raw: str, found: list[Token]) -> tuple[int, str]:
    """Pass over the content of an element without markup, up to its end tag, or over a comment."""
    end = re.compile("-->" if raw is _COMMENT else rf"</{raw}(?=[\s/>])", re.I).search(text, at)
    stop = end.start() if end else max(at, len(text) - len(raw) - 3)
    content = text[at:stop]
    if raw is _COMMENT:
        stop = end.end() if end else stop
    elif content:
        found.append(("", html.unescape(content) if raw in _ESCAPABLE else content, ""))
    return stop, "" if end else raw
