"""OpenDocument texts, presentations and spreadsheets (odt, odp, ods) → headings, paragraphs, lists, tables, slides.

Read as a stream of XML (OASIS OpenDocument 1.3): odfpy holds it as a tree of objects, and knows no bound. Deleted
text, running heads and the table of contents are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sememe.errors import ReadError
from sememe.sources import office
from sememe.sources.flow import Flow
from sememe.sources.grid import Table
from sememe.sources.source import ReadOptions, Source
from sememe.sources.walk import Refused
from sememe.sources.xml import Event, Skipped
from sememe.sources.zipped import Archive, begun, reading, refused
from sememe.types import Block, Document

WHAT = "OpenDocument file"
MEDIA_TYPE = "application/vnd.oasis.opendocument."
MOST_REPEATED = 100
"""Times that one row or cell is written, however often the file says it is repeated."""
MOST_COLUMNS = 16_384
LONGEST_CELL = 32_767

_KINDS = {"text": "text", "presentation": "presentation", "spreadsheet": "spreadsheet",
          "text-template": "text", "presentation-template": "presentation", "spreadsheet-template": "spreadsheet",
          "text-master": "text", "text-web": "text"}  # fmt: skip
_READERS = {"text": "odt/1", "presentation": "odp/1", "spreadsheet": "ods/1"}
_PROPERTIES = {"title": "title", "initial-creator": "author", "creator": "author", "language": "language",
               "creation-date": "created", "date": "modified"}  # fmt: skip
_SKIPPED = frozenset({"tracked-changes", "table-of-content", "forms", "ruby-text", "header", "footer", "date-time"})


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:
    """A text, a presentation, or a spreadsheet (`options.table`: one sheet of it).

    Metadata: title, author, language, created, modified, as far as the file tells.
    """
    try:
        with reading(source, WHAT), Archive(source, WHAT) as archive:
            full, kind = _kind(archive, source.name)
            metadata = _properties(archive, source.name)
            archive.open("content.xml")
    except ReadError as error:
        return refused(source, error)
    wanted = options.table if kind == "spreadsheet" else ""
    document = Document(key, (), _READERS[kind], metadata.get("title", ""), MEDIA_TYPE + full, metadata)
    document.blocks = _blocks(source, document, kind, wanted)
    return document if kind == "spreadsheet" else begun(source, document)


def _kind(archive: Archive, what: str) -> tuple[str, str]:
    """What the file says it is, and which of the three that comes to. Raises ReadError when it is encrypted."""
    if "META-INF/manifest.xml" in archive:
        for kind, tag, _ in office.part(archive, "META-INF/manifest.xml", what):
            if kind == "<" and tag == "encryption-data":
                raise ReadError(f"{what} is encrypted; save it without a password")
    full = archive.read("mimetype", 200).decode("ascii", "replace").strip() if "mimetype" in archive else ""
    full = full.removeprefix(MEDIA_TYPE)
    if full not in _KINDS:
        raise ReadError(
            f"{what} is a ZIP archive of type {full or 'unknown'!r}; of OpenDocument, {', '.join(_KINDS)} are read"
        )
    return full, _KINDS[full]


def _properties(archive: Archive, what: str) -> dict[str, Any]:
    if "meta.xml" not in archive:
        return {}
    named: dict[str, str] = {}
    key = ""
    for kind, tag, _ in office.part(archive, "meta.xml", what):
        if kind == "<":
            key = _PROPERTIES.get(tag, "")
            key = "" if key in named and tag != "initial-creator" else key
            if tag == "initial-creator":
                named.pop("author", None)
        elif kind == ">":
            key = ""
        elif key:
            named[key] = named.get(key, "") + tag
    return office.cleaned(named)


def _blocks(source: Source, document: Document, kind: str, wanted: str) -> Iterator[Block]:
    with reading(source, WHAT), Archive(source, WHAT) as archive:
        found = office.part(archive, "content.xml", source.name)
        if kind == "spreadsheet":
            yield from _sheets(found, wanted, document)
            return
        body = _Body(is_slides=kind == "presentation")
        yield from body.blocks(found)
        if body.left_out:
            document.remarks.append("the table of contents is left out")


class _Body:
    """The state between two tags of a text or a presentation."""

    def __init__(self, *, is_slides: bool) -> None:
        self.left_out = False
        self._is_slides = is_slides
        self._flow = Flow()
        self._skipped = Skipped()
        self._paragraphs = 0
        self._lists = 0
        self._bullet = ""
        self._levels: list[int] = []
        self._headers = 0
        self._span = 1
        self._links: list[tuple[tuple[int, int], str]] = []
        self._number = 1
        self._is_title = False
        self._title = ""
        self._slide: list[Block] = []

    def blocks(self, found: Iterable[Event]) -> Iterator[Block]:
        """The blocks of the content."""
        for kind, tag, attributes in found:
            if self._skipped.holds(kind, tag):
                continue
            if kind == "":
                if self._paragraphs:
                    self._flow.write(tag.replace("\n", " "))
            elif kind == "<":
                self._start(tag, attributes)
            else:
                self._end(tag)
                if not self._is_slides:
                    yield from self._flow.take()
                elif tag == "page":
                    yield from self._end_slide()
        self._flow.end()
        yield from self._flow.take()

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in ("p", "h"):
            self._start_paragraph(tag, attributes)
        elif tag in _SKIPPED:
            self._skipped.begin(tag)
            self.left_out = self.left_out or tag == "table-of-content"
        elif tag == "s":
            self._flow.write(" " * min(_number(attributes.get("c", "1")), 100))
        elif tag in ("tab", "line-break"):
            self._flow.write("\t" if tag == "tab" else "\n")
        elif tag == "a":
            self._links.append((self._flow.mark(), attributes.get("href", "")))
        elif tag == "soft-page-break" and not self._is_slides:
            self._number += 1
            self._flow.place = f"page {self._number}"
        elif tag == "list":
            self._lists += 1
        elif tag == "list-item":
            self._bullet = "  " * min(self._lists - 1, 8) + "- "
        elif tag in ("note-body", "annotation"):
            self._flow.write(" (" if self._paragraphs else "")
        elif tag == "creator" or tag == "date":  # of an annotation
            self._skipped.begin(tag)
        elif tag == "page":
            self._flow.place = f"slide {self._number}"
            self._number += 1
        elif tag == "frame":
            self._is_title = attributes.get("class") == "title"
        elif tag == "notes":
            self._flow.end_paragraph()
            self._slide += self._flow.take()
        else:
            self._start_table(tag)

    def _start_paragraph(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._paragraphs and not self._flow.text().endswith("("):  # a note or a text box inside of a paragraph
            self._flow.write(" ")
        self._paragraphs += 1
        self._levels.append(max(1, _number(attributes.get("outline-level", "1"))) if tag == "h" else 0)

    def _start_table(self, tag: str) -> None:
        if tag == "table":
            self._flow.start_table()
            self._headers = 0
        elif tag == "table-header-rows":
            self._headers += 1
        elif tag in ("table-cell", "covered-table-cell"):
            self._flow.start_cell()

    def _end(self, tag: str) -> None:
        if tag in ("p", "h"):
            self._end_paragraph()
        elif tag == "a" and self._links:
            mark, address = self._links.pop()
            self._flow.link(mark, address)
        elif tag == "list":
            self._lists -= 1
            self._bullet = ""
        elif tag in ("note-body", "annotation") and self._paragraphs:
            self._flow.write(")")
        elif tag == "notes":
            self._end_notes()
        elif tag in ("table-cell", "covered-table-cell"):
            self._flow.end_cell()
        elif tag == "table-row":
            self._flow.end_row(header=self._headers > 0)
        elif tag == "table-header-rows":
            self._headers -= 1
        elif tag == "table":
            self._flow.end_table()

    def _end_paragraph(self) -> None:
        self._paragraphs -= 1
        level = self._levels.pop()
        if self._paragraphs:
            return
        if self._is_slides and self._is_title:
            self._title = f"{self._title} {self._flow.text()}".strip()
            self._flow.forget()
            return
        bullet = self._bullet if self._lists and not self._flow.is_in_table else ""
        if self._flow.end_paragraph(level=level, bullet=bullet) and bullet:
            self._bullet = " " * len(bullet)

    def _end_notes(self) -> None:
        self._flow.end_paragraph()
        notes = self._flow.take()
        if any(block.text.strip() for block in notes):
            self._slide += [Block("Notes:\n\n", place=self._flow.place), *notes]

    def _end_slide(self) -> Iterator[Block]:
        self._flow.end()
        self._slide += self._flow.take()
        title = " ".join(self._title.split())
        yield Block(f"{title}\n\n" if title else "", 1, title, self._flow.place)
        yield from self._slide
        self._slide, self._title, self._is_title = [], "", False


def _sheets(found: Iterable[Event], wanted: str, document: Document) -> Iterator[Block]:
    """Every sheet as a heading and its tables, or the one that is wanted."""
    events = iter(found)
    seen: list[str] = []
    for kind, tag, attributes in events:
        if kind == "<" and tag == "table":
            name = attributes.get("name", f"Sheet {len(seen) + 1}")
            seen.append(name)
            blocks = _sheet(events, name, document)
            if wanted in ("", name):
                yield from blocks
            else:
                for _ in blocks:
                    pass
    if wanted and wanted not in seen:
        raise ReadError(f"{document.key} has no sheet {wanted!r}; it has {', '.join(seen) or 'none'}")


def _sheet(events: Iterator[Event], name: str, document: Document) -> Iterator[Block]:
    place = f"sheet {name}"
    yield Block(f"{name}\n\n", 1, name, place)
    table = Table(place, guess=True, numbered=True)
    number = 1
    for row, repeated in _rows(events):
        if any(row):
            for offset in range(min(repeated, MOST_REPEATED)):
                yield from table.add(row, number=number + offset)
            if repeated > MOST_REPEATED:
                document.remarks.append(
                    f"row {number} of sheet {name} is repeated {repeated} times; {MOST_REPEATED} are read"
                )
        else:
            yield from table.end()
            table = Table(place, guess=True, numbered=True)
        number += repeated
    yield from table.end()


def _rows(events: Iterator[Event]) -> Iterator[tuple[list[str], int]]:
    """The rows of the table that is open, each with the times it is repeated."""
    row: list[str] = []
    empty = depth = paragraphs = skipped = 0
    repeated, cell, text = 1, dict[str, str](), list[str]()
    for kind, tag, attributes in events:
        if tag in ("annotation", "tracked-changes", "shapes") and kind:
            skipped += 1 if kind == "<" else -1
        elif skipped:
            continue
        elif kind == "":
            if paragraphs:
                text.append(tag)
        elif tag == "p":
            paragraphs += 1 if kind == "<" else -1
            text.append(" ")
        elif kind == "<" and tag in ("s", "tab", "line-break"):
            text.append(" ")
        elif tag == "table":  # inside of a cell, or the end
            depth += 1 if kind == "<" else -1
            if depth < 0:
                return
        elif depth:
            continue
        elif kind == "<" and tag == "table-row":
            row, empty, repeated = [], 0, _number(attributes.get("number-rows-repeated", "1"))
        elif kind == "<" and tag in ("table-cell", "covered-table-cell"):
            cell, text = dict(attributes), []
        elif tag in ("table-cell", "covered-table-cell"):
            shown, times = _shown(cell, text), _number(cell.get("number-columns-repeated", "1"))
            if not shown or len(row) + empty >= MOST_COLUMNS:
                empty += times
            else:
                row += [""] * empty + [shown] * min(times, MOST_REPEATED)
                empty = 0
        elif tag == "table-row":
            yield row, max(1, repeated)


def _shown(cell: Mapping[str, str], text: list[str]) -> str:
    """A cell as it is shown, but for dates, which are given as ISO 8601."""
    if cell.get("value-type") == "date" and cell.get("date-value"):
        return cell["date-value"].removesuffix("T00:00:00")
    shown = " ".join("".join(text).split())
    return (shown or cell.get("string-value") or cell.get("value", ""))[:LONGEST_CELL]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 1
