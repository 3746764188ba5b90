"""PowerPoint presentations (pptx) → a section a slide: its title, texts, tables, diagrams, and the speaker's notes.

Read as a stream of XML, one slide held at a time. What stands on every slide (date, number, footer) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sememe.errors import ReadError
from sememe.sources import office
from sememe.sources.flow import Flow
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.xml import Event
from sememe.sources.zipped import Archive, begun, reading, refused
from sememe.types import Block, Document

READER = "pptx/1"
WHAT = "PowerPoint presentation"
MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

_TITLES = frozenset({"title", "ctrTitle"})
_ON_EVERY_SLIDE = frozenset({"dt", "sldNum", "ftr", "hdr"})


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A presentation. Metadata: title, author, language, created, modified, as far as the file tells."""
    try:
        with reading(source, WHAT), Archive(source, WHAT) as archive:
            metadata = office.properties(archive, source.name)
            _slides(archive, source.name)
    except ReadError as error:
        return refused(source, error)
    document = Document(key, (), READER, metadata.get("title", ""), MEDIA_TYPE, metadata)
    document.blocks = _blocks(source)
    return begun(source, document)


def _slides(archive: Archive, what: str) -> list[str]:
    """The members of the slides, in their order."""
    name = office.main_part(archive, what)
    relations = office.relations(archive, name, what)
    order = [
        relations[attributes["r:id"]].target
        for kind, tag, attributes in office.part(archive, name, what)
        if kind == "<" and tag == "sldId" and attributes.get("r:id") in relations
    ]
    return [target for target in order if target in archive]


def _blocks(source: Source) -> Iterator[Block]:
    with reading(source, WHAT), Archive(source, WHAT) as archive:
        for number, name in enumerate(_slides(archive, source.name), start=1):
            slide = _Slide(f"slide {number}")
            related = office.relations(archive, name, source.name)
            links = {key: relation.target for key, relation in related.items() if relation.is_outside}
            slide.put(office.part(archive, name, source.name), links)
            for relation in related.values():
                if relation.kind == "diagramdata" and relation.target in archive:
                    slide.put(office.part(archive, relation.target, source.name), {})
            for relation in related.values():
                if relation.kind == "notesslide" and relation.target in archive:
                    slide.put(office.part(archive, relation.target, source.name), {}, is_notes=True)
            yield from slide.blocks()


class _Slide:
    """The texts of one slide. Its title comes first, wherever it stands in the file."""

    def __init__(self, place: str) -> None:
        self.title = ""
        self._flow = Flow()
        self._flow.place = place
        self._found: list[Block] = []
        self._links: Mapping[str, str] = {}
        self._reset()

    def _reset(self) -> None:
        self._holder = ""
        self._is_notes = False
        self._in_text = False
        self._level = 0
        self._rows = 0
        self._has_header = False
        self._mark: tuple[int, int] | None = None
        self._address = ""

    def put(self, found: Iterable[Event], links: Mapping[str, str], *, is_notes: bool = False) -> None:
        """Read a part that belongs to the slide."""
        self._reset()
        self._links, self._is_notes = links, is_notes
        for kind, tag, attributes in found:
            if kind == "":
                if self._in_text:
                    self._flow.write(tag)
            elif kind == "<":
                self._start(tag, attributes)
            else:
                self._end(tag)
        self._flow.end()
        blocks = self._flow.take()
        if is_notes and blocks:
            self._found.append(Block("Notes:\n\n", place=self._flow.place))
        self._found += blocks

    def blocks(self) -> Iterator[Block]:
        """The title as a heading, and what stands below it."""
        text = f"{self.title}\n\n" if self.title else ""
        yield Block(text, 1, " ".join(self.title.split()), self._flow.place)
        yield from self._found

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "t":
            self._in_text = True
            self._mark = self._flow.mark()
        elif tag == "ph":
            self._holder = attributes.get("type", "body")
        elif tag == "sp":
            self._holder = ""
        elif tag == "pPr":
            level = attributes.get("lvl", "")
            self._level = min(int(level), 8) if level.isdecimal() else 0
        elif tag == "hlinkClick":
            self._address = self._links.get(attributes.get("r:id", ""), "")
        elif tag == "br":
            self._flow.write("\n")
        elif tag == "tbl":
            self._flow.start_table()
            self._rows, self._has_header = 0, False
        elif tag == "tblPr":
            self._has_header = attributes.get("firstRow") in ("1", "true")
        elif tag == "tc":
            self._flow.start_cell()  # the cells that a wide one covers are written out after it

    def _end(self, tag: str) -> None:
        if tag == "t":
            self._in_text = False
            if self._address and self._mark:
                self._flow.link(self._mark, self._address)
            self._address = ""
        elif tag == "p":
            self._end_paragraph()
        elif tag == "tc":
            self._flow.end_cell()
        elif tag == "tr":
            self._flow.end_row(header=self._has_header and self._rows == 0)
            self._rows += 1
        elif tag == "tbl":
            self._flow.end_table()

    def _end_paragraph(self) -> None:
        level, self._level = self._level, 0
        left_out = self._holder in _ON_EVERY_SLIDE or (self._is_notes and self._holder != "body")
        if left_out:
            self._flow.forget()
        elif self._holder in _TITLES and not self._is_notes:
            self.title = f"{self.title}\n{self._flow.text()}".strip()
            self._flow.forget()
        else:
            self._flow.end_paragraph(bullet="" if self._flow.is_in_table or not level else "  " * (level - 1) + "- ")
