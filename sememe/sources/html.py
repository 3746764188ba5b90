"""HTML → the page's main text: headings, paragraphs, lists, tables and links, without navigation and the like.

What is left out is marked as such by the page: elements and roles for navigation, names that say so where most of
the text is links, and what lies outside of a `main` or `article` that holds most of the text. A page without such
marks is kept whole: a menu too many is a lesser evil than a lost paragraph. No library: the ones that judge text by
its statistics lose parts of articles, and a stream of tags is read in bounded memory, whatever its nesting.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sememe.sources import markup
from sememe.sources.decode import Encoding, decode, detect
from sememe.sources.flow import Flow
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.walk import failure
from sememe.sources.zipped import begun, reading
from sememe.types import Block, Document

READER = "html/1"
MOST_HELD = 16 << 20
"""Characters of text that are held to find the main part; of a longer page all but sure navigation is kept."""
HEAD = 256 * 1024
DEEPEST = 512
MAIN_SHARE = 0.4
"""The share of a page's text that `main` or the one `article` must hold to be taken for all of it."""
MENU_SHARE = 0.5
"""The share of links from which an element whose name says navigation is believed."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN = _words(
    "script style template noscript svg canvas iframe object embed audio video map title select textarea datalist "
    "annotation rp noembed noframes"
)
_VOID = _words("area base br col embed hr img input link meta param source track wbr")
_BLOCKS = _words(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer "
    "form header hgroup html li main nav ol p pre search section summary ul h1 h2 h3 h4 h5 h6 caption legend"
)
_CONTAINERS = (_BLOCKS - {"p"}) | _words("table thead tbody tfoot tr td th a")
_TABLE = _words("table thead tbody tfoot tr td th")
_CLOSES = {"li": ("li", ("ul", "ol")), "dt": ("dd", ("dl",)), "dd": ("dt", ("dl",)), "tr": ("tr", ("table",)),
           "td": ("td", ("tr", "table")), "th": ("td", ("tr", "table"))}  # fmt: skip
_SURE_ROLES = frozenset({"navigation", "search", "contentinfo", "banner"})
_MENU_NAMES = _words(
    "banner breadcrumb breadcrumbs cookie-banner footer header localtoc masthead menu menubar nav navbar navbox "
    "navfooter navheader navigation navigation_bar page-footer page-header pagination related rst-versions share "
    "sharing side sidebar sidebar-drawer site-footer site-header skip-link skiplink skip social sphinxsidebar "
    "toc-drawer tocbar topbar toolbar vector-menu wy-nav-side wy-side-nav-search"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_META_KEYS = {
    "author": "author", "article:author": "author", "dc.creator": "author", "dcterms.creator": "author",
    "article:published_time": "created", "dc.date": "created", "dcterms.created": "created", "date": "created",
    "article:modified_time": "modified", "dcterms.modified": "modified", "last-modified": "modified",
    "og:updated_time": "modified", "og:title": "og:title", "dc.language": "language", "content-language": "language",
}  # fmt: skip


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A page as one document. Metadata: title, author, language, created, modified, as far as the page tells."""
    remarks: list[str] = []
    try:
        with source.open() as file:
            encoding = encoding_of(file)
            if encoding is None:
                return Refused(source.path or Path(source.name), "binary file (no known encoding makes it text)")
            head = next(_whole(decode(file, encoding, []), HEAD), "")
    except OSError as error:
        return failure(source.path or Path(source.name), "the file cannot be read", error)
    if not head.strip():
        return Refused(source.path or Path(source.name), "empty file" if not head else "no text")
    metadata = head_of(head)
    if encoding.codec != "utf-8":
        metadata["encoding"] = encoding.codec
    remarks += [encoding.remark] if encoding.remark else []
    document = Document(
        key, (), READER, title=metadata.get("title", ""), media_type="text/html", metadata=metadata, remarks=remarks
    )
    document.blocks = _blocks(source, encoding, document)
    return begun(source, document)


def main_text(pieces: Iterable[str], remarks: list[str], *, whole: bool = False) -> Iterator[Block]:
    """The blocks of a page that comes in pieces. With `whole` there is no main part: all but navigation is text."""
    page = _Page()
    held: list[tuple[Block, _Region]] | None = []
    size = 0
    for token in markup.tokens(pieces):
        page.put(token)
        if not page.found:
            continue
        found, page.found = page.found, []
        if held is None:
            yield from (block for block, region in found if not region.is_sure)
            continue
        held += found
        size += sum(len(block.text) for block, _ in found)
        if size > MOST_HELD:
            remarks.append(f"its main part was not looked for: it has more than {MOST_HELD} characters")
            yield from (block for block, region in held if not region.is_sure)
            held = None
    page.end()
    if held is None:
        yield from (block for block, region in page.found if not region.is_sure)
    else:
        yield from _chosen([*held, *page.found], whole=whole)


def head_of(text: str) -> dict[str, Any]:
    """What the head of a page says of it: title, author, language, created, modified."""
    found: dict[str, str] = {}
    inside = False
    for kind, tag, rest in markup.tokens((text,)):
        if kind == "<" and tag == "html":
            named = markup.attributes(rest)
            found.setdefault("language", named.get("lang") or named.get("xml:lang") or "")
        elif kind == "<" and tag == "meta":
            named = markup.attributes(rest)
            name = (named.get("property") or named.get("name") or named.get("http-equiv") or "").lower()
            if name in _META_KEYS:
                found[_META_KEYS[name]] = found.get(_META_KEYS[name]) or " ".join(named.get("content", "").split())
        elif kind == "<" and tag == "title" and "title" not in found:
            inside = True
        elif kind == "" and inside:
            found["title"] = f"{found.get('title', '')}{tag}"
        elif (kind == ">" and tag in ("title", "head")) or (kind == "<" and tag == "body"):
            inside = False
            if tag != "title":
                break
    return _checked(found)


def _checked(found: dict[str, str]) -> dict[str, Any]:
    title = " ".join(found.get("title", "").split()) or found.get("og:title", "")
    language = _LANGUAGE.fullmatch(found.get("language", "").strip())
    checked = {"title": title[:500], "author": found.get("author", "")[:500]}
    checked["language"] = language[0].replace("_", "-") if language else ""
    for name in ("created", "modified"):
        date = _DATE.match(found.get(name, ""))
        checked[name] = date[0].replace(" ", "T") if date else ""
    return {name: value for name, value in checked.items() if value}


def encoding_of(file: BinaryIO) -> Encoding | None:
    """As of any text; but where that is a guess, what the page says of itself."""
    encoding = detect(file, cookie=False)
    if encoding is not None and (encoding.mark or (encoding.codec == "utf-8" and not encoding.remark)):
        return encoding
    file.seek(0)
    named = _META_CHARSET.search(file.read(4096))
    try:
        codec = codecs.lookup(named[1].decode("ascii", "replace")).name if named else ""
        "".encode(codec)
    except LookupError:
        return encoding
    if codec in ("", "utf-8") or codec.startswith(("utf-16", "utf-32")):
        return encoding
    return Encoding("cp1252" if codec in ("iso8859-1", "ascii") else codec)


def _blocks(source: Source, encoding: Encoding, document: Document) -> Iterator[Block]:
    with reading(source, "HTML page"), source.open() as file:
        yield from main_text(decode(file, encoding, document.remarks), document.remarks)


def _whole(pieces: Iterator[str], most: int) -> Iterator[str]:
    """The pieces joined, up to about `most` characters."""
    taken: list[str] = []
    for piece in pieces:
        taken.append(piece)
        if sum(map(len, taken)) >= most:
            break
    yield "".join(taken)


@dataclass(slots=True, eq=False)
class _Region:
    """A part of the page: inside which element it lies, and how much of its text is links."""

    above: _Region | None = None
    is_sure: bool = False
    is_menu: bool = False
    main: int = 0
    article: int = 0
    size: int = 0
    linked: int = 0

    def count(self, size: int, linked: int) -> None:
        """Add to this region and all around it."""
        region: _Region | None = self
        while region is not None:
            region.size += size
            region.linked += linked
            region = region.above

    @property
    def is_kept(self) -> bool:
        """Whether it is text to read and not a way to other pages."""
        region: _Region | None = self
        while region is not None:
            if region.is_sure or (region.is_menu and region.linked >= MENU_SHARE * region.size):
                return False
            region = region.above
        return True


@dataclass(slots=True)
class _Element:
    """An element that is open: what it changed and must change back. `item` is the list item or cell it lies in."""

    tag: str
    item: _Element | None = None
    region: _Region | None = None
    hides: bool = False
    bullet: str = ""
    count: int = 0
    span: int = 1
    mark: tuple[int, int] | None = None
    address: str = ""
    is_header: bool = False


class _Page:
    """The state between two tags. `found` are the blocks that are complete, each with its region."""

    def __init__(self) -> None:
        self.found: list[tuple[Block, _Region]] = []
        self._flow = Flow(collapse=True)
        self._stack: list[_Element] = []
        self._too_deep = 0
        self._hidden: list[str] = []
        self._region = _Region()
        self._mains = self._articles = 0
        self._pre = self._linked = self._level = 0

    def put(self, token: markup.Token) -> None:
        """Read one tag or text."""
        kind, name, rest = token
        if self._hidden:
            self._pass_over(kind, name)
        elif kind == "":
            self._text(name)
        elif kind == "<":
            self._start(name, rest)
        else:
            self._end(name)

    def end(self) -> None:
        """Nothing follows."""
        while self._stack:
            self._close(self._stack.pop())
        self._flow.end()
        self._give()

    def _pass_over(self, kind: str, name: str) -> None:
        """Inside of what is never shown; only elements of the same name are counted."""
        if kind == "<" and name == self._hidden[0]:
            self._hidden.append(name)
        elif kind == ">" and name == self._hidden[0]:
            self._hidden.pop()
        elif name in _CONTAINERS and self._hidden[0] not in _HIDDEN:  # it was never closed
            self._hidden.clear()
            self.put((kind, name, ""))

    def _text(self, text: str) -> None:
        if not self._pre:
            text = text.replace("\n", " ")
        if text and (self._pre or not text.isspace() or not text.isascii()):
            visible = len(text) if self._pre else len(text.strip())
            self._region.count(visible, visible if self._linked else 0)
            self._flow.write(text)
        elif text:
            self._flow.write(" ")

    def _start(self, tag: str, rest: str) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        elif tag == "br":
            self._flow.write("\n")
        elif tag == "hr":
            self._flow.end_paragraph()
        elif tag == "img":
            self._image(rest)
        elif tag in _VOID:
            return
        elif tag in _CONTAINERS:
            self._open(tag, rest)
        elif tag == "p":
            self._end_paragraph()
        elif "aria-hidden" in rest and markup.attributes(rest).get("aria-hidden") == "true":
            self._hidden.append(tag)

    def _image(self, rest: str) -> None:
        alt = " ".join(markup.attributes(rest).get("alt", "").split()) if "alt" in rest else ""
        if len(alt) > 1:
            self._text(f" {alt} ")

    def _open(self, tag: str, rest: str) -> None:
        self._close_implied(tag)
        if tag != "a":
            self._end_paragraph()
        elif self._linked:
            self._end("a")
        if len(self._stack) >= DEEPEST:
            self._too_deep += tag != "a"
            return
        named = markup.attributes(rest) if rest else {}
        element = _Element(tag)
        if tag == "a":
            element.mark, element.address = self._flow.mark(), named.get("href", "").strip()
            self._linked += 1
        elif tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        else:
            self._enter(element, named)
        element.item = element if tag in ("li", "td", "th") else self._item()
        self._stack.append(element)

    def _item(self) -> _Element | None:
        return self._stack[-1].item if self._stack else None

    def _enter(self, element: _Element, named: dict[str, str]) -> None:
        tag = element.tag
        region = self._region_of(tag, named)
        if region is not None:
            self._give()
            element.region, self._region = self._region, region
        if tag == "pre":
            self._pre += 1
        elif tag == "table":
            self._flow.start_table()
        elif tag in ("td", "th"):
            self._flow.start_cell()
            span = named.get("colspan", "")
            element.span = int(span) if span.isdecimal() and len(span) < 4 else 1
            self._note_cell(tag)
        elif tag == "tr":
            element.is_header = True
        elif tag == "li":
            element.bullet = self._bullet()

    def _note_cell(self, tag: str) -> None:
        """A row is a header as long as all of its cells are."""
        for element in reversed(self._stack):
            if element.tag == "tr":
                element.is_header = element.is_header and tag == "th"
                element.count += 1
                return

    def _bullet(self) -> str:
        lists = [element for element in self._stack if element.tag in ("ul", "ol")]
        if not lists:
            return "- "
        lists[-1].count += 1
        mark = f"{lists[-1].count}. " if lists[-1].tag == "ol" else "- "
        return "  " * min(len(lists) - 1, 8) + mark

    def _region_of(self, tag: str, named: dict[str, str]) -> _Region | None:
        """The region that an element begins, if it begins one."""
        here = self._region
        if tag == "main" or named.get("role") == "main":
            self._mains += 1
            return _Region(here, main=self._mains, article=here.article)
        if tag == "article":
            self._articles += not here.article
            return _Region(here, main=here.main, article=here.article or self._articles)
        if tag in ("html", "body") or not (named or tag in ("nav", "footer", "aside", "header", "search")):
            return None
        inside = bool(here.main or here.article)
        sure = tag in ("nav", "search") or named.get("role") in _SURE_ROLES or (tag == "footer" and not inside)
        words = f"{named.get('class', '')} {named.get('id', '')}".lower().split() if named else ()
        menu = not _MENU_NAMES.isdisjoint(words) or tag in ("aside", "footer")
        menu = (menu or tag == "header") and not (tag == "header" and inside)
        return _Region(here, sure or here.is_sure, menu, here.main, here.article) if sure or menu else None

    def _close_implied(self, tag: str) -> None:
        """Elements whose end tag may be left out end where the next of their kind begins."""
        closes, bounds = _CLOSES.get(tag, ("", ()))
        if not closes:
            return
        for element in reversed(self._stack):
            if element.tag in bounds:
                return
            if element.tag == tag or element.tag == closes or (closes == "td" and element.tag == "th"):
                self._end(element.tag)
                return

    def _end(self, tag: str) -> None:
        if tag == "p":
            self._end_paragraph()
            return
        if tag not in _CONTAINERS:
            return
        if self._too_deep and tag != "a":
            self._too_deep -= 1
            self._end_paragraph()
            return
        if not self._is_open(tag):
            return
        while self._stack:
            element = self._stack.pop()
            self._close(element)
            if element.tag == tag:
                return

    def _is_open(self, tag: str) -> bool:
        """Whether an end tag has an element to end. What is not of tables ends nothing outside of its cell."""
        for element in reversed(self._stack):
            if element.tag == tag:
                return True
            if element.tag in ("td", "th") and tag not in _TABLE:
                return False
        return False

    def _close(self, element: _Element) -> None:
        tag = element.tag
        if tag == "a":
            self._linked -= 1
            if element.mark and element.address:
                self._flow.link(element.mark, element.address, in_heading=self._level > 0)
            return
        if tag in _HEADINGS:
            self._end_paragraph()
            self._level = 0
            return
        self._stack.append(element)  # its last paragraph is still its own
        self._end_paragraph()
        self._stack.pop()
        if tag == "pre":
            self._pre -= 1
        elif tag in ("td", "th"):
            self._flow.end_cell(element.span)
        elif tag == "tr":
            self._flow.end_row(header=element.is_header and element.count > 0)
        elif tag == "table":
            self._flow.end_table()
        if element.region is not None:
            self._give()
            self._region = element.region

    def _end_paragraph(self) -> None:
        bullet = ""
        item = self._item()
        if item is not None and item.tag == "li" and not self._level:
            bullet = item.bullet
        written = self._flow.end_paragraph(level=self._level, bullet=bullet, verbatim=self._pre > 0)
        if written and bullet and item is not None:
            item.bullet = " " * len(item.bullet)  # what follows in the item is indented below its first line
        self._give()

    def _give(self) -> None:
        for block in self._flow.take():
            self.found.append((block, self._region))


def _chosen(found: list[tuple[Block, _Region]], *, whole: bool) -> Iterator[Block]:
    """The blocks of the main part, or of everything that is not navigation, or of everything."""
    kept = [(block, region) for block, region in found if region.is_kept]
    total = sum(len(block.text) for block, _ in kept)
    if not whole:
        for name in ("main", "article"):
            ones = {getattr(region, name) for _, region in kept} - {0}
            inside = [(block, region) for block, region in kept if getattr(region, name)]
            if len(ones) == 1 and sum(len(block.text) for block, _ in inside) >= MAIN_SHARE * total:
                kept = inside
                break
    if not any(block.text.strip() for block, _ in kept):
        kept = found
    return (block for block, _ in kept)
