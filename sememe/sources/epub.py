"""EPUB books → their chapters in reading order, each with its headings (EPUB 2 and 3).

The chapters are pages of HTML, and read as those. Books whose text is encrypted are refused; fonts may be. Knows the
package and its order; nothing of HTML.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from sememe.errors import ReadError
from sememe.sources import html, markup, office
from sememe.sources.decode import Encoding, decode
from sememe.sources.source import ReadOptions, Refused, Source
from sememe.sources.zipped import Archive, begun, reading, refused
from sememe.types import Block, Document

READER = "epub/1"
WHAT = "EPUB book"
MEDIA_TYPE = "application/epub+zip"
LONGEST_CHAPTER = 64 << 20

_FONTS = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})
_PAGES = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document"})
_PROPERTIES = {"title": "title", "creator": "author", "language": "language"}


@dataclass(slots=True)
class _Book:
    """What the package says: the chapters in order (members), the contents page, and what the book is."""

    chapters: list[str] = field(default_factory=list)
    contents: str = ""
    navigation: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def read(source: Source, key: str, options: ReadOptions) -> Document | Refused:  # noqa: ARG001 - every reader's signature
    """A book. Metadata: title, author, language, created (published), modified, as far as the package tells."""
    try:
        with reading(source, WHAT), Archive(source, WHAT) as archive:
            _check_free(archive, source.name)
            book = _package(archive, source.name)
    except ReadError as error:
        return refused(source, error)
    document = Document(key, (), READER, book.metadata.get("title", ""), MEDIA_TYPE, book.metadata)
    document.blocks = _blocks(source, document, book)
    return begun(source, document)


def _check_free(archive: Archive, what: str) -> None:
    """Raises ReadError when anything but fonts is encrypted."""
    if "META-INF/encryption.xml" not in archive:
        return
    for kind, tag, attributes in office.part(archive, "META-INF/encryption.xml", what):
        if kind == "<" and tag == "EncryptionMethod" and attributes.get("Algorithm", "") not in _FONTS:
            raise ReadError(f"{what} is encrypted (DRM); give a copy without protection")


def _package(archive: Archive, what: str) -> _Book:
    """The package document, which the container names."""
    name = ""
    for kind, tag, attributes in office.part(archive, "META-INF/container.xml", what):
        if kind == "<" and tag == "rootfile":
            name = name or attributes.get("full-path", "")
    if not name:
        raise ReadError(f"{what} is no sound {WHAT}: its container names no package")
    book, items, named = _Book(), dict[str, str](), dict[str, str]()
    order: list[str] = []
    key = ""
    for kind, tag, attributes in office.part(archive, name, what):
        if kind == "":
            named[key] = named.get(key, "") + tag
        elif kind == ">":
            key = ""
        elif tag == "item":
            _put_item(book, items, attributes, name)
        elif tag == "itemref":
            order.append(attributes.get("idref", ""))
        else:
            key = _property(tag, attributes)
            key = "" if key in named else key
    named.pop("", None)
    book.metadata = office.cleaned(named)
    book.chapters = list(dict.fromkeys(items[one] for one in order if items.get(one, "") in archive))
    if not book.chapters:
        raise ReadError(f"{what} is no sound {WHAT}: its package lists no chapter that it holds")
    return book


def _put_item(book: _Book, items: dict[str, str], attributes: Any, package: str) -> None:
    member = _member(package, attributes.get("href", ""))
    if attributes.get("media-type", "") in _PAGES:
        items[attributes.get("id", "")] = member
        if "nav" in attributes.get("properties", "").split():
            book.contents = member
    elif attributes.get("media-type", "") == "application/x-dtbncx+xml":
        book.navigation = member


def _property(tag: str, attributes: Any) -> str:
    if tag == "date":
        return "modified" if attributes.get("event") == "modification" else "created"
    if tag == "meta" and attributes.get("property") == "dcterms:modified":
        return "modified"
    return _PROPERTIES.get(tag, "")


def _member(base: str, address: str) -> str:
    """The member that an address in the member `base` means."""
    path = unquote(urlsplit(address).path)
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), path)).lstrip("/")


def _blocks(source: Source, document: Document, book: _Book) -> Iterator[Block]:
    with reading(source, WHAT), Archive(source, WHAT) as archive:
        titles = _titles(archive, book, source.name)
        for number, name in enumerate(book.chapters, start=1):
            if name == book.contents:
                document.remarks.append("the table of contents is left out")
                continue
            content = io.BytesIO(archive.read(name, LONGEST_CHAPTER))
            encoding = html.encoding_of(content) or Encoding("utf-8")
            chapter = list(html.main_text(decode(content, encoding, document.remarks), document.remarks, whole=True))
            place = f"chapter {number}"
            if chapter and not any(block.level for block in chapter):
                yield Block("", 1, titles.get(name, ""), place)
            for block in chapter:
                yield Block(block.text, block.level, block.title, place)


def _titles(archive: Archive, book: _Book, what: str) -> dict[str, str]:
    """What the table of contents calls the chapters, by member."""
    titles: dict[str, str] = {}
    if book.contents in archive:
        content = archive.read(book.contents, LONGEST_CHAPTER).decode("utf-8", "replace")
        member, words = "", list[str]()
        for kind, tag, rest in markup.tokens((content,)):
            if kind == "" and member:
                words.append(tag)
            elif kind == "<" and tag == "a":
                member, words = _member(book.contents, markup.attributes(rest).get("href", "")), []
            elif kind == ">" and tag == "a" and member:
                titles.setdefault(member, " ".join("".join(words).split())[:500])
                member = ""
    elif book.navigation in archive:
        text, in_text = "", False
        for kind, tag, attributes in office.part(archive, book.navigation, what):
            if tag == "text" and kind:
                in_text = kind == "<"
                text = "" if in_text else text
            elif kind == "" and in_text:
                text += tag
            elif kind == "<" and tag == "content":
                titles.setdefault(_member(book.navigation, attributes.get("src", "")), " ".join(text.split())[:500])
    return titles
