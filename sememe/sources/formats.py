"""The one table of formats: by which name, type or first bytes a file is known, and which reader reads it.

A row names its reader's module, which is imported when its first file comes, and what must be installed for it.
This file knows what formats look like from the outside; how one is read is its reader's own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Final

from sememe.sources.sniff import binary_kind
from sememe.sources.source import ReadOptions, Source


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table.

    `name` and `version` are the reader's, stored with every document: a new version reads all of them again.
    `module` lies in `sememe.sources`; a `plain` one turns decoded pieces of text into blocks, any other has `read`.
    `begins` matches the first bytes: of a `binary` format always, of a text only where the suffix says nothing.
    `member` is a file in a ZIP archive and how it begins, for the formats that are one. `needs` is the module that
    is missing where `extra` is not installed. `place` is what its places are called. `columns`: whether a person's
    choice of columns and tables changes what is read. `cookie`: whether a comment may name its encoding (PEP 263).
    `front`: whether lines at its head may say metadata of it.
    """

    name: str
    title: str
    module: str
    suffixes: str
    media_types: str
    version: int = 1
    plain: bool = False
    binary: bool = False
    begins: bytes = b""
    member: tuple[str, bytes] = ("", b"")
    extra: str = ""
    needs: str = ""
    place: str = ""
    columns: bool = False
    cookie: bool = False
    front: bool = False

    @property
    def media_type(self) -> str:
        """The first of its media types."""
        return self.media_types.split()[0]

    def reader(self, options: ReadOptions) -> str:
        """What a document is stored with: "csv/1", and with it what was chosen that changes its text."""
        chosen = {name: value for name, value in asdict(options).items() if value} if self.columns else {}
        return f"{self.name}/{self.version}{' ' + json.dumps(chosen) if chosen else ''}"

    @property
    def missing(self) -> str:
        """What is said when its extra is not installed; empty when it is."""
        if not self.needs or importlib.util.find_spec(self.needs) is not None:
            return ""
        return f"{self.title} needs the extra: pip install 'sememe[{self.extra}]'"


LINE_SUFFIXES = (
    ".bat .c .cc .cfg .clj .cmake .conf .cpp .cs .css .cxx .dart .diff .ex .exs .go .h .hpp .hs .ini .java .jl "
    ".js .jsx .kt .less .log .lua .m .ml .mjs .nix .patch .php .pl .properties .proto .ps1 .r .rb .rs .sass .scala "
    ".scss .sh .sql .svelte .swift .tf .toml .ts .tsx .vim .vue .xml .yaml .yml .zig"
)
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
_HTML = rb"(?i)\s*(?:<\?xml[^>]*>\s*)?(?:<!--[^>]*-->\s*)?<(?:!doctype\s+html|html)[\s>]"
_MBOX = rb"From \S+ [^\n]*\d{4}\r?\n[A-Za-z-]+:"
_MAIL = rb"(?:Return-Path|Received|Delivered-To|Message-ID|MIME-Version): "

TEXT: Final = Format("text", "Plain text", "text", ".txt .text", "text/plain", plain=True)
FORMATS: tuple[Format, ...] = (
    TEXT,
    Format("lines", "Source code, settings, logs", "text", LINE_SUFFIXES, "text/plain", plain=True),
    Format("markdown", "Markdown", "markdown", ".md .markdown .mdown .mkd", "text/markdown", 2, plain=True,
           front=True),
    Format("python", "Python", "python", ".py .pyi .pyw", "text/x-python", 2, plain=True, cookie=True),
    Format("html", "HTML", "html", ".html .htm .xhtml", "text/html application/xhtml+xml", begins=_HTML),
    Format("rst", "reStructuredText", "rst", ".rst .rest", "text/x-rst", plain=True),
    Format("pdf", "PDF", "pdf", ".pdf", "application/pdf", binary=True, begins=rb"(?s).{0,1000}?%PDF-",
           extra="pdf", needs="pypdfium2", place="page"),
    Format("docx", "Word", "word", ".docx .docm .dotx", f"{_OFFICE}.wordprocessingml.document", binary=True,
           member=("word/document.xml", b""), place="page"),
    Format("pptx", "PowerPoint", "slides", ".pptx .pptm .ppsx", f"{_OFFICE}.presentationml.presentation", binary=True,
           member=("ppt/presentation.xml", b""), place="slide"),
    Format("xlsx", "Excel", "sheets", ".xlsx .xlsm .xltx", f"{_OFFICE}.spreadsheetml.sheet", binary=True,
           member=("xl/workbook.xml", b""), place="row", columns=True),
    Format("odt", "OpenDocument text", "opendocument", ".odt .ott", f"{_OPEN}.text", binary=True,
           member=("mimetype", f"{_OPEN}.text".encode()), place="page"),
    Format("ods", "OpenDocument spreadsheet", "opendocument", ".ods .ots", f"{_OPEN}.spreadsheet", binary=True,
           member=("mimetype", f"{_OPEN}.spreadsheet".encode()), place="row",
           columns=True),
    Format("odp", "OpenDocument presentation", "opendocument", ".odp .otp", f"{_OPEN}.presentation", binary=True,
           member=("mimetype", f"{_OPEN}.presentation".encode()), place="slide"),
    Format("epub", "EPUB", "epub", ".epub", "application/epub+zip", binary=True,
           member=("mimetype", b"application/epub+zip"), place="chapter"),
    Format("notebook", "Jupyter notebook", "notebook", ".ipynb", "application/x-ipynb+json", place="cell"),
    Format("json", "JSON", "jsonrows", ".json", "application/json", place="item", columns=True),
    Format("jsonl", "JSON lines", "jsonrows", ".jsonl .ndjson", "application/jsonl application/x-ndjson", place="row",
           columns=True),
    Format("csv", "CSV, TSV", "tables", ".csv .tsv", "text/csv text/tab-separated-values", place="row", columns=True),
    Format("parquet", "Parquet", "parquet", ".parquet", "application/vnd.apache.parquet", binary=True, begins=b"PAR1",
           extra="parquet", needs="pyarrow", place="row", columns=True),
    Format("sqlite", "SQLite", "sqlitedb", ".sqlite .sqlite3 .db", "application/vnd.sqlite3", binary=True,
           begins=b"SQLite format 3\x00", place="row", columns=True),
    Format("eml", "E-mail", "mail", ".eml", "message/rfc822", begins=_MAIL, place="part"),
    Format("mbox", "Mailbox", "mail", ".mbox", "application/mbox", begins=_MBOX, place="message"),
    Format("zip", "ZIP archive", "archive", ".zip .whl", "application/zip", binary=True,
           begins=rb"PK\x03\x04|PK\x05\x06", place="member"),
    Format("tar", "tar archive", "archive", ".tar", "application/x-tar", binary=True, begins=rb"(?s).{257}ustar",
           place="member"),
    Format("packed", "gzip, bzip2, xz (also of tar)", "archive", ".gz .tgz .bz2 .tbz2 .xz .txz",
           "application/gzip application/x-bzip2 application/x-xz", binary=True,
           begins=rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ\x00", place="member"),
)  # fmt: skip

BY_NAME: Mapping[str, Format] = {form.name: form for form in FORMATS}
BY_SUFFIX: Mapping[str, Format] = {suffix: form for form in FORMATS for suffix in form.suffixes.split()}
BY_MEDIA_TYPE: Mapping[str, Format] = {kind: form for form in reversed(FORMATS) for kind in form.media_types.split()}
_BEGINNINGS = {form.name: re.compile(form.begins) for form in FORMATS if form.begins}
_IN_ZIP = tuple(form for form in FORMATS if form.member[0])
_PYTHON_SCRIPT = re.compile(rb"#![^\n]*\bpython")
_CLOSED_ZIPS = frozenset({".jar", ".npz", ".apk", ".xlsb"})
"""ZIP archives of what is no text: their members are not looked at."""


def of_suffix(name: str) -> Format | None:
    """The format that a file's name tells."""
    return BY_SUFFIX.get(PurePath(name).suffix.lower())


def recognise(source: Source, head: bytes) -> Format | str:
    """The format of a source by its first bytes and its name, or what is said of a binary one that is not read."""
    suffix = PurePath(source.name).suffix.lower()
    named = of_suffix(source.name)
    kind = binary_kind(head, suffix)
    if kind is None:
        return _text(named, head)
    found = next((form for form in FORMATS if form.binary and _begins(form, head)), None)
    if found is not None and found.name == "zip" and named is not None and named.binary and named.member[0]:
        found = named
    elif found is not None and found.name == "zip":
        found = None if suffix in _CLOSED_ZIPS else _zipped(source) or found
    if found is None and named is not None and named.binary and not named.begins:
        kind = f"{kind}, no {named.title}" if kind else f"no {named.title}"
    return found or _not_read(kind)


def _not_read(kind: str) -> str:
    """What is said of a binary file of a kind that no reader is for."""
    said = f"binary file ({kind})" if kind else "binary file"
    return f"{said}: pictures are not read by add and sync" if kind.endswith(" image") else said


def current(key: str, reader: str, options: ReadOptions) -> str:
    """The reader that a stored file would have today, as far as its key and the reader it had can tell."""
    form = BY_NAME.get(reader.partition("/")[0])
    named = of_suffix(key)
    if form is not None and form.plain and named is not None and not named.binary:
        form = named if form.name in ("text", "lines") else form
    return form.reader(options) if form is not None else ""


def _text(named: Format | None, head: bytes) -> Format:
    if named is not None and named is not TEXT and not named.binary:
        return named
    if _PYTHON_SCRIPT.match(head):
        return BY_NAME["python"]
    if named is not None:
        return TEXT
    return next((form for form in FORMATS if not form.binary and _begins(form, head)), TEXT)


def _begins(form: Format, head: bytes) -> bool:
    return form.name in _BEGINNINGS and _BEGINNINGS[form.name].match(head) is not None


def _zipped(source: Source) -> Format | None:
    """The format that is written into a ZIP archive, None for an archive like any other."""
    try:
        with source.open() as file, zipfile.ZipFile(file) as box:
            names = set(box.namelist())
            for form in _IN_ZIP:
                name, beginning = form.member
                if name in names and (not beginning or _start(box, name, len(beginning)) == beginning):
                    return form
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError):
        return None  # whoever reads it as an archive says what is wrong with it
    return None


def _start(box: zipfile.ZipFile, name: str, size: int) -> bytes:
    with box.open(name) as member:
        return member.read(size)
