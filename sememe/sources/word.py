"""Word documents (docx) → headings, paragraphs, lists, tables, notes and comments, in the order of the text.

Read as a stream of XML: python-docx holds a tree of objects, and knows no text boxes. Deleted text, running
heads and the table of contents are left out. Pages are those that Word has noted where it last laid the text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from sememe.errors import ReadError
from sememe.sources import office
from sememe.sources.flow import Flow
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.xml import Event, Skipped
from sememe.sources.zipped import Archive, begun, reading, refused
from sememe.types import Block, Document

READER = "docx/1"
WHAT = "Word document"
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_HEADING = re.compile(r"heading ([1-9])")
_CONTENTS = re.compile(r"toc (?:[1-9]|heading)")
_SKIPPED = frozenset({"Fallback", "instrText", "delText", "moveFrom", "pPrChange", "rPrChange", "del"})
_OFF = frozenset({"0", "false", "off", "none"})
_NOTES = {"footnotes": "footnote", "endnotes": "endnote", "comments": "comment"}
_DEEPEST_STYLE = 20


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A Word document. Metadata: title, author, language, created, modified, as far as the file tells."""
    try:
        with reading(source, WHAT), Archive(source, WHAT) as archive:
            metadata = office.properties(archive, source.name)
            archive.open(office.main_part(archive, source.name))
    except ReadError as error:
        return refused(source, error)
    document = Document(key, (), READER, metadata.get("title", ""), MEDIA_TYPE, metadata)
    document.blocks = _blocks(source, document)
    return begun(source, document)


def _blocks(source: Source, document: Document) -> Iterator[Block]:
    with reading(source, WHAT), Archive(source, WHAT) as archive:
        name = office.main_part(archive, source.name)
        relations = office.relations(archive, name, source.name)
        kinds = {relation.kind: relation.target for relation in relations.values() if not relation.is_outside}
        has_styles = kinds.get("styles", "") in archive
        styles = _styles(office.part(archive, kinds["styles"], source.name)) if has_styles else {}
        links = {key: relation.target for key, relation in relations.items() if relation.is_outside}
        body = _Body(styles, links)
        yield from body.blocks(office.part(archive, name, source.name))
        if body.left_out:
            document.remarks.append("the table of contents is left out")
        for kind, called in _NOTES.items():
            if kinds.get(kind, "") in archive:
                notes = _Body(styles, {}, note=called)
                yield from notes.blocks(office.part(archive, kinds[kind], source.name))


def _styles(found: Iterable[Event]) -> dict[str, int]:
    """The outline level of every style that is a heading (1 is the highest), -1 for those of a table of contents."""
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    current = ""
    for kind, tag, attributes in found:
        if kind != "<":
            continue
        value = attributes.get("val", "")
        if tag == "style":
            current = attributes.get("styleId", "")
        elif tag == "name" and (match := _HEADING.fullmatch(value.lower())):
            levels[current] = int(match[1])
        elif tag == "name" and value.lower() == "title":
            levels[current] = 1
        elif tag == "name" and _CONTENTS.fullmatch(value.lower()):
            levels[current] = -1
        elif tag == "basedOn":
            based[current] = value
        elif tag == "outlineLvl" and levels.get(current) != -1 and value.isdecimal():
            levels[current] = int(value) + 1 if int(value) < 9 else 0
    for style in based:
        above, steps = style, 0
        while above not in levels and above in based and steps < _DEEPEST_STYLE:
            above, steps = based[above], steps + 1
        levels.setdefault(style, levels.get(above, 0))
    return levels


class _Paragraph:
    """What is known of a paragraph that is open."""

    __slots__ = ("is_item", "level", "outline")

    def __init__(self) -> None:
        self.level = 0
        self.outline = 0
        self.is_item = False


class _Body:
    """The state between two tags of a document's body, or of its notes."""

    def __init__(self, styles: Mapping[str, int], links: Mapping[str, str], *, note: str = "") -> None:
        self.left_out = False
        self._styles = styles
        self._links = links
        self._note = note
        self._flow = Flow()
        self._paragraphs: list[_Paragraph] = []
        self._marks: list[tuple[tuple[int, int], str]] = []
        self._skipped = Skipped()
        self._page = 1
        self._span = 1
        self._is_header = False
        self._in_text = False

    def blocks(self, found: Iterable[Event]) -> Iterator[Block]:
        """The blocks of a part."""
        for kind, tag, attributes in found:
            if self._skipped.holds(kind, tag):
                continue
            if kind == "":
                if self._in_text:
                    self._flow.write(tag)
            elif kind == "<":
                self._start(tag, attributes)
            else:
                self._end(tag)
                yield from self._flow.take()
        self._flow.end()
        yield from self._flow.take()

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "t":
            self._in_text = True
        elif tag == "p":
            self._paragraphs.append(_Paragraph())
        elif tag in _SKIPPED:
            self._skipped.begin(tag)
        elif tag in ("tab", "ptab") and not attributes.get("pos"):
            self._flow.write("\t")
        elif tag in ("br", "cr"):
            self._flow.write("\n")
        elif tag == "noBreakHyphen":
            self._flow.write("-")
        elif tag == "lastRenderedPageBreak":
            self._page += 1
            self._flow.place = f"page {self._page}"
        elif tag == "hyperlink":
            self._marks.append((self._flow.mark(), self._links.get(attributes.get("r:id", ""), "")))
        elif tag == "txbxContent":
            self._flow.end_paragraph()
        elif tag in ("footnote", "endnote", "comment") and self._note:
            self._start_note(attributes)
        elif tag in _TABLE:
            self._start_table(tag, attributes)
        elif self._paragraphs:
            self._describe(self._paragraphs[-1], tag, attributes.get("val", ""))

    def _start_note(self, attributes: Mapping[str, str]) -> None:
        if attributes.get("type", "normal") != "normal":  # the line above the notes
            self._skipped.begin(self._note)
            return
        self._flow.place = f"{self._note} {attributes.get('id', '')}".strip()
        author = attributes.get("author", "")
        self._flow.write(f"{author}: " if author else "")

    def _start_table(self, tag: str, attributes: Mapping[str, str]) -> None:
        value = attributes.get("val", "")
        if tag == "tbl":
            self._flow.start_table()
        elif tag == "tr":
            self._is_header = False
        elif tag == "tc":
            self._flow.start_cell()
            self._span = 1
        elif tag == "gridSpan":
            self._span = int(value) if value.isdecimal() and len(value) < 4 else 1
        elif tag in ("tblHeader", "cnfStyle"):
            first = attributes.get("firstRow") or value[:1] if tag == "cnfStyle" else value or "1"
            self._is_header = self._is_header or first not in _OFF

    def _describe(self, paragraph: _Paragraph, tag: str, value: str) -> None:
        if tag == "pStyle":
            paragraph.level = self._styles.get(value, 0)
        elif tag == "outlineLvl":
            paragraph.outline = int(value) + 1 if value.isdecimal() and int(value) < 9 else 0
        elif tag == "numId":
            paragraph.is_item = value != "0"

    def _end(self, tag: str) -> None:
        if tag == "t":
            self._in_text = False
        elif tag == "p" and self._paragraphs:
            self._end_paragraph(self._paragraphs.pop())
        elif tag == "hyperlink" and self._marks:
            mark, address = self._marks.pop()
            self._flow.link(mark, address)
        elif tag == "tc":
            self._flow.end_cell(self._span)
        elif tag == "tr":
            self._flow.end_row(header=self._is_header)
        elif tag == "tbl":
            self._flow.end_table()

    def _end_paragraph(self, paragraph: _Paragraph) -> None:
        level = paragraph.level or paragraph.outline
        if level < 0:
            self.left_out = True
            self._flow.forget()
        elif self._flow.is_in_table:
            self._flow.end_paragraph()
        else:
            self._flow.end_paragraph(level=level, bullet="- " if paragraph.is_item else "")


_TABLE = frozenset({"tbl", "tr", "tc", "gridSpan", "tblHeader", "cnfStyle"})
