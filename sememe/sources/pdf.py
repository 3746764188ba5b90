"""PDF → its text page by page, with the outline's headings, without running heads and feet.

Read by pypdfium2 (Apache-2.0 or BSD-3-Clause; PDFium is what Chrome reads PDF with): 250 pages a
second. PDFium must not be called from two threads at once, so every call is made under one lock. What a page does
not say — which lines make a paragraph — is guessed from the length of lines; tables stay lines.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sememe.errors import MissingExtra, ReadError
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.zipped import begun, reading, refused
from sememe.types import Block, Document

if TYPE_CHECKING:
    import pypdfium2

READER = "pdf/1"
WHAT = "PDF"
MEDIA_TYPE = "application/pdf"
LARGEST_MEMBER = 512 << 20
"""Bytes of a PDF inside of another file, which has to be held; one on disk is read from there."""
MOST_PAGES = 100_000
MOST_BOOKMARKS = 20_000
LONGEST_PAGE = 4_000_000
SAMPLED = 48
"""Pages, in pairs, that are looked at for running heads and feet."""
RUNNING = 0.4
"""The share of sampled pages from which a first or last line runs: left and right pages may have their own."""

_PASSWORD = 4
_pdfium = threading.Lock()
_CONTROL = re.compile("[\0-\x01\x03-\x08\x0b-\x1f\ufffe\uffff\xad]")
_DIVIDED = "\x02"
"""What PDFium gives for a hyphen at the end of a line, which it joins with the next."""
_HYPHEN = re.compile(r"(?<=\w)\x02(?=[^\W\d_])")
_LEADERS = re.compile(r"(?: ?\.){5,}")
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.I)
_LETTERS = re.compile(r"[\W_]+")
_NUMBERING = re.compile(r"^(?:chapter|appendix|part|section)?\W*(?:[\dA-Z]+(?:\.\d+)*\.?)\s+", re.I)
_TIME = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?")
_ENDS = tuple(".!?:;”\"')")


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A PDF. Metadata: title, author, language, created, modified, pages, as far as the file tells.

    Raises MissingExtra where pypdfium2 is not installed.
    """
    try:
        pages = _Pages(source)
    except ReadError as error:
        return refused(source, error)
    try:
        metadata = pages.metadata()
    finally:
        pages.close()
    document = Document(key, (), READER, metadata.get("title", ""), MEDIA_TYPE, metadata)
    document.blocks = _blocks(source, document)
    return begun(source, document)


class _Pages:
    """An open PDF. Every method calls PDFium under the lock."""

    def __init__(self, source: Source) -> None:
        try:
            import pypdfium2
        except ImportError as error:
            raise MissingExtra("pdf", f"reading {source.name}") from error
        self._name = source.name
        self._error = pypdfium2.PdfiumError
        with reading(source, WHAT), source.open() as file:
            if b"%PDF-" not in file.read(1024):
                raise ReadError(f"{source.name} is no PDF: it does not begin like one")
            file.seek(0)
            if source.path is None and source.size > LARGEST_MEMBER:
                raise ReadError(f"{source.name} has {source.size} bytes; inside of a file, {LARGEST_MEMBER} are read")
            data = source.path or file.read(LARGEST_MEMBER)
        with _pdfium:
            try:
                self._pdf = pypdfium2.PdfDocument(data)
            except self._error as error:
                raise ReadError(_refusal(source.name, error)) from error
            self.count = min(len(self._pdf), MOST_PAGES)

    def close(self) -> None:
        """Give the file free."""
        with _pdfium:
            self._pdf.close()

    def text(self, number: int) -> str | None:
        """The text of a page (from 0); None when the page is damaged."""
        with _pdfium:
            try:
                page = self._pdf[number]
            except self._error:
                return None
            try:
                text_page = page.get_textpage()
                try:
                    return str(text_page.get_text_bounded())[:LONGEST_PAGE]
                finally:
                    text_page.close()
            except self._error:
                return None
            finally:
                page.close()

    def metadata(self) -> dict[str, Any]:
        """What the file says of itself."""
        with _pdfium:
            try:
                found = self._pdf.get_metadata_dict(skip_empty=True)
            except self._error:
                found = {}
            language = _language(self._pdf)
        named = {"title": found.get("Title", ""), "author": found.get("Author", ""), "language": language}
        named |= {"created": _time(found.get("CreationDate", "")), "modified": _time(found.get("ModDate", ""))}
        cleaned = {key: " ".join(_CONTROL.sub("", value).split())[:500] for key, value in named.items()}
        return {key: value for key, value in cleaned.items() if value} | {"pages": self.count}

    def outline(self) -> dict[int, list[tuple[int, str]]]:
        """The bookmarks (level from 1, title) by the page (from 0) they lead to."""
        found: dict[int, list[tuple[int, str]]] = defaultdict(list)
        with _pdfium:
            try:
                for position, bookmark in enumerate(self._pdf.get_toc(max_depth=6)):
                    target = bookmark.get_dest()
                    page = target.get_index() if target else None
                    title = " ".join(_CONTROL.sub("", bookmark.get_title()).split())
                    if page is not None and title and len(title) < 500:
                        found[page].append((bookmark.level + 1, title))
                    if position >= MOST_BOOKMARKS:
                        break
            except self._error:
                pass  # an outline that leads nowhere costs its headings
        return found


def _refusal(name: str, error: pypdfium2.PdfiumError) -> str:
    if getattr(error, "err_code", None) == _PASSWORD:
        return f"{name} is encrypted; save it without a password"
    return f"{name} is no sound PDF: {' '.join(str(error).split())}"


def _language(pdf: pypdfium2.PdfDocument) -> str:
    """The language that the catalogue names; "" without one. Called under the lock."""
    import ctypes

    import pypdfium2.raw

    size = pypdfium2.raw.FPDFCatalog_GetLanguage(pdf, None, 0)
    if not 2 < size < 200:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    pypdfium2.raw.FPDFCatalog_GetLanguage(pdf, buffer, size)
    return bytes(buffer).decode("utf-16-le", "replace").partition("\0")[0]


def _time(stamp: str) -> str:
    """A date of PDF (ISO 32000-1, 7.9.4) as ISO 8601; "" if it is none."""
    match = _TIME.match(stamp)
    if not match:
        return ""
    date = f"{match[1]}-{match[2] or '01'}-{match[3] or '01'}"
    if not match[4]:
        return date
    zone = "Z" if match[7] else f"{match[8]}:{match[9] or '00'}" if match[8] else ""
    return f"{date}T{match[4]}:{match[5]}:{match[6] or '00'}{zone}"


def _blocks(source: Source, document: Document) -> Iterator[Block]:
    pages = _Pages(source)
    try:
        running = _running(pages, document.remarks)
        outline = pages.outline()
        report = _Report()
        joint = ""
        for number in range(pages.count):
            text = pages.text(number)
            lines = _lines(text or "", running)
            report.note(number + 1, is_damaged=text is None, has_text=bool(lines))
            if lines:
                place = f"page {number + 1}"
                body, following = _paragraphs(lines)
                if joint:
                    yield Block(joint, place=place)
                yield from _with_headings(body, outline.get(number, []), place)
                joint = following
        document.remarks += report.remarks()
        if report.damaged and len(report.damaged) == pages.count:
            raise ReadError(f"{source.name} is no sound PDF: none of its {pages.count} pages can be opened")
    finally:
        pages.close()


@dataclass(slots=True)
class _Report:
    """The pages that gave nothing."""

    damaged: list[int]
    empty: list[int]

    def __init__(self) -> None:
        self.damaged, self.empty = [], []

    def note(self, page: int, *, is_damaged: bool, has_text: bool) -> None:
        """Count a page (from 1)."""
        if is_damaged:
            self.damaged.append(page)
        elif not has_text:
            self.empty.append(page)

    def remarks(self) -> Iterator[str]:
        """One line for each kind."""
        for pages, what, more in ((self.empty, "has no text (an image?)", "have no text (images?)"),
                                  (self.damaged, "is damaged and left out", "are damaged and left out")):  # fmt: skip
            if pages:
                yield f"{'pages' if len(pages) > 1 else 'page'} {_ranges(pages)} {more if len(pages) > 1 else what}"


def _ranges(pages: list[int]) -> str:
    """Page numbers as a person lists them: 3, 5-8 and so on, ten of them at most."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:10]]
    return ", ".join(shown) + (" and more" if len(ranges) > 10 else "")


def _running(pages: _Pages, remarks: list[str]) -> frozenset[str]:
    """The first and last lines, numbers apart, that stand on most pages."""
    count = pages.count
    if count < 4:
        return frozenset()
    starts = range(0, count - 1, max(2, 2 * count // SAMPLED))
    sampled = [number for start in starts for number in (start, start + 1)]
    seen: Counter[str] = Counter()
    examples: dict[str, str] = {}
    with_text = 0
    for number in sampled:
        lines = _split(pages.text(number) or "")
        with_text += bool(lines)
        for line in {*lines[:2], *lines[-2:]}:
            examples.setdefault(_general(line), line)
        seen.update({_general(line) for line in (*lines[:2], *lines[-2:])})
    least = max(3, RUNNING * with_text)
    running = frozenset(line for line, times in seen.items() if times >= least and len(line) <= 200)
    if running:
        shown = "; ".join(sorted(repr(examples[line][:60]) for line in running)[:4])
        remarks.append(f"lines that run over the pages are left out, such as {shown}")
    return running


def _general(line: str) -> str:
    return _NUMBER.sub("#", line)


def _split(text: str) -> list[str]:
    """The lines of a page that hold something; a word that was divided at the end of a line is whole."""
    text = _HYPHEN.sub("", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    text = re.sub(f"{_DIVIDED}(?!\\s*$)", "-", _LEADERS.sub(" ...", text))
    return [line for line in (line.rstrip() for line in text.split("\n")) if line]


def _lines(text: str, running: frozenset[str]) -> list[str]:
    """The lines of a page without those that run over the pages."""
    lines = _split(text)
    for _ in range(2):
        if lines and _general(lines[0]) in running:
            lines.pop(0)
        if lines and _general(lines[-1]) in running:
            lines.pop()
    return lines


def _paragraphs(lines: list[str]) -> tuple[list[str], str]:
    """The lines with their ends, a blank line where a paragraph seems to end; and what joins on the next page.

    A paragraph ends with a line that is short for its page and ends like a sentence.
    """
    lengths = sorted(map(len, lines))
    usual = lengths[len(lengths) * 4 // 5]
    short = 0.8 * usual if len(lines) >= 4 and usual >= 40 else 0
    ended = [f"{line}\n\n" if len(line) < short and line.endswith(_ENDS) else f"{line}\n" for line in lines]
    if lines[-1].endswith(_DIVIDED):  # its word goes on over the page
        return [*ended[:-1], lines[-1][:-1]], ""
    return ended, "\n" if lines[-1].endswith(_ENDS) and not ended[-1].endswith("\n\n") else ""


def _with_headings(lines: list[str], bookmarks: Iterable[tuple[int, str]], place: str) -> Iterator[Block]:
    """A page as blocks: a line that is the title of a bookmark is a heading.

    A bookmark that is not found on its page, and is the first of it, governs the page from its beginning.
    """
    at = 0
    for position, (level, title) in enumerate(bookmarks):
        found = _find(lines, at, title)
        if found is None:
            if position == 0:
                yield Block("", level, title, place)
            continue
        first, last = found
        if first > at:
            yield Block("".join(lines[at:first]), place=place)
        yield Block("".join(lines[first:last]).rstrip("\n") + "\n\n", level, title, place)
        at = last
    if at < len(lines):
        yield Block("".join(lines[at:]), place=place)


def _find(lines: list[str], start: int, title: str) -> tuple[int, int] | None:
    """The lines, one to three, that are a title, whatever numbers and signs stand around it."""
    wanted = _bare(title)
    if not wanted:
        return None
    for first in range(start, len(lines)):
        line = _bare(lines[first])
        if not line or not (wanted.startswith(line[-12:]) or wanted in line or line in wanted):
            continue
        for last in range(first + 1, min(first + 4, len(lines) + 1)):
            if _bare(" ".join(lines[first:last])) == wanted:
                return first, last
    return None


def _bare(text: str) -> str:
    """Letters and digits alone, without the number in front."""
    text = " ".join(text.split())
    return _LETTERS.sub("", _NUMBERING.sub("", text) or text).casefold()
