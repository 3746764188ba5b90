"""E-mail → documents: one message (eml, a file of a Maildir), or a mailbox of them (mbox), with attachments.

The subject is the title and a heading, the text is text/plain where there is one, else HTML through its own reader;
sender, receivers, date and the ids are metadata. Attachments are parts that whatever reads their format reads. A
mailbox is walked line by line, each message parsed for itself and named by its Message-ID, so that its name stays
when others come and go (RFC 4155, RFC 5322). Knows mail; knows nothing of the formats of attachments.
"""

from __future__ import annotations

import codecs
import email
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from sememe.sources.decode import decode, detect
from sememe.sources.files import read_source
from sememe.sources.formats import BY_MEDIA_TYPE, BY_NAME, of_suffix
from sememe.sources.rows import Names, clean, name_of
from sememe.sources.source import Part, Parts, Read, ReadOptions, Refused, Source, Unreadable
from sememe.types import Block, Document

MESSAGE = BY_NAME["eml"]
MAILBOX = BY_NAME["mbox"]
LARGEST_MESSAGE = 64 * 1024 * 1024
MOST_PARTS = 1000
DEEPEST = 20
PIECE = 48 * 1024
LINE = 64 * 1024

_SEPARATOR = re.compile(rb"From (?:\S+|\"[^\"]*\"\S*)? ?.*\d\d?:\d\d.*\d{4}\D*$|From - ?\r?\n$")
_HEAD = re.compile(rb".*?\n\r?\n", re.DOTALL)
_BLANK = (b"\n", b"\r\n", b"\r")
# An address without quotes, comments and routes, as most are: the library takes each apart letter by letter.
_ADDRESS = r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_PERSON = re.compile(rf"(?:([A-Za-z0-9]+(?: [A-Za-z0-9]+)*) )?<({_ADDRESS})>|({_ADDRESS})")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_SPACE = re.compile(r"\s+")
# What the standard library raises on headers and bodies that no standard foresaw.
_BUGS = (LookupError, ValueError, TypeError, AttributeError, AssertionError, RecursionError)


def read(source: Source, key: str, options: ReadOptions) -> Document | Parts | Refused:
    """The message as a document, with its attachments as parts; the messages of a mailbox as parts."""
    path = source.path or Path(source.name)
    with source.open() as file:
        first = file.readline(LINE)
        while first in _BLANK:
            first = file.readline(LINE)
        if first.startswith(b"From "):
            return Parts(MAILBOX.reader(options), MAILBOX.media_type, _messages(source, options))
        if source.size > LARGEST_MESSAGE:
            return Refused(path, f"a message of {source.size} bytes; at most {LARGEST_MESSAGE} are read")
        file.seek(0)
        content = file.read(LARGEST_MESSAGE)
    message = _parsed(content)
    if not message.keys():
        return Refused(path, "no message: it has no headers")
    parts = _Message(message, source.depth, options)
    if not parts.attached:
        return parts.document(key, MESSAGE.reader(options), "")
    return Parts(MESSAGE.reader(options), MESSAGE.media_type, _one(parts, content, options))


def _one(message: _Message, content: bytes, options: ReadOptions) -> Iterator[Part | Unreadable]:
    """A message that has attachments, as a part beside them."""
    names = Names()
    name, reader = names.unique("message", 1), MESSAGE.reader(options)
    yield Part(name, hashlib.sha256(content).digest(), lambda key: message.document(key, reader, ""))
    yield from message.attachments(names, "")


# A mailbox


def _messages(source: Source, options: ReadOptions) -> Iterator[Part | Unreadable]:
    """The messages in order, each followed by its attachments."""
    names = Names()
    with source.open() as file:
        for number, (start, size) in enumerate(_spans(file), start=1):
            if size > LARGEST_MESSAGE:
                reason = f"a message of {size} bytes; at most {LARGEST_MESSAGE} are read"
                yield Unreadable(names.unique(str(number), number), reason)
                continue
            behind = file.tell()
            file.seek(start)
            content = _QUOTED_FROM.sub(rb"\1", file.read(size))
            file.seek(behind)
            message = _Message(_parsed(content), source.depth, options)
            name = names.unique(name_of(message.header("message-id").strip("<>"), number), number)
            digest = hashlib.sha256(content).digest()
            yield Part(name, digest, _opener(message, MAILBOX.reader(options), f"message {number}"))
            yield from message.attachments(names, f"{name}/")


def _opener(message: _Message, reader: str, place: str) -> Callable[[str], Read]:
    return lambda key: message.document(key, reader, place)


def _spans(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where messages begin, behind their "From " lines, and how long they are.

    A separator stands at the beginning or behind a blank line and has a time and a year, as far as the first one has.
    """
    strict: bool | None = None
    blank, begin, at = True, -1, 0
    whole = True
    file.seek(0)
    while line := file.readline(LINE):
        begins = whole and blank and line.startswith(b"From ")
        if begins and strict is None:
            strict = _SEPARATOR.match(line) is not None
        if begins and (not strict or _SEPARATOR.match(line)):
            if begin >= 0:
                yield begin, at - begin
                file.seek(at + len(line))
            begin = at + len(line)
        blank = whole and line in _BLANK
        whole = line.endswith(b"\n")
        at += len(line)
    if begin >= 0:
        yield begin, at - begin


# A message


def _parsed(content: bytes) -> Message:
    """The message. The parser takes anything; where it does fail, the whole is the body of one without headers.

    It goes line by line, so it is spared the body of a message that has no parts.
    """
    try:
        head = _HEAD.match(content)
        message = email.message_from_bytes(head[0] if head else content)
        if head is None:
            return message
        if message.get_payload() or message.get_content_maintype() in ("multipart", "message"):
            return email.message_from_bytes(content)
        message.set_payload(content[head.end() :].decode("ascii", "surrogateescape"))
        return message
    except _BUGS:
        message = Message()
        message.set_payload(content.decode("utf-8", "replace"))
        return message


class _Message:
    """A message taken apart: what is read as its text, what is attached, and what to say of the rest."""

    def __init__(self, message: Message, depth: int, options: ReadOptions) -> None:
        self._message = message
        self._headers: dict[str, str] = {}
        for name, value in message.raw_items():
            self._headers.setdefault(name.lower(), str(value))
        self._depth = depth
        self._options = options
        self._remarks: list[str] = []
        self._pictures = 0
        self.attached: list[Message] = []
        self._texts = self._collect(message, 0)
        if self._pictures:
            self._remarks.append(f"pictures in the text left out: {self._pictures}")

    def header(self, name: str) -> str:
        """A header in one line, its encoded words decoded."""
        return _decoded(self._raw(name))

    def _raw(self, name: str) -> str:
        """A header as it was written; bytes beyond ASCII are UTF-8 if they can be, else Windows-1252."""
        value = self._headers.get(name, "")
        if value.isascii():
            return value
        content = value.encode("utf-8", "surrogateescape")
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content.decode("cp1252", "replace")

    def document(self, key: str, reader: str, place: str) -> Document | Refused:
        """The message without its attachments."""
        remarks = list(self._remarks)
        title = self.header("subject")
        texts = [(part, text) for part in self._texts if (text := _text(part, remarks)).strip()]
        if not title and not texts:
            return Refused(Path(key), "no text")
        blocks = self._blocks(title, texts, place, key)
        return Document(
            key=key, blocks=blocks, reader=reader, title=title or place or "message",
            media_type=MESSAGE.media_type, metadata=self._metadata(), remarks=remarks,
        )  # fmt: skip

    def _collect(self, part: Message, depth: int, *, related: bool = False) -> list[Message]:
        """The parts that are the text, in order; others are put aside."""
        kind = part.get_content_type()
        children = part.get_payload()
        if depth and (kind == "message/rfc822" or part.get_content_disposition() == "attachment"):
            self.attached.append(part)
        elif isinstance(children, list) and depth < DEEPEST:
            inner = [
                self._collect(child, depth + 1, related=related or (kind == "multipart/related" and number > 0))
                for number, child in enumerate(children[:MOST_PARTS])
                if isinstance(child, Message)
            ]
            if len(children) > MOST_PARTS:
                self._remarks.append(f"{len(children)} parts; the first {MOST_PARTS} are read")
            return _best(inner) if kind == "multipart/alternative" else [text for texts in inner for text in texts]
        elif (kind in ("text/plain", "text/html") and not _file_name(part)) or kind.startswith("multipart/"):
            return [part]
        elif kind.startswith("image/") and (related or part.get("content-id")):
            self._pictures += 1
        elif kind not in ("application/pgp-signature", "application/pkcs7-signature", "application/pgp-encrypted"):
            self.attached.append(part)
        return []

    def _blocks(self, title: str, texts: list[tuple[Message, str]], place: str, key: str) -> Iterator[Block]:
        if title:
            yield Block(f"{title}\n\n", 1, title, place)
        for part, text in texts:
            if part.get_content_type() == "text/html":
                yield from self._html(text, place, key)
            else:
                text = text if text.endswith("\n") else f"{text}\n"
                yield from (Block(text[at : at + PIECE], place=place) for at in range(0, len(text), PIECE))

    def _html(self, text: str, place: str, key: str) -> Iterator[Block]:
        """What the reader of HTML makes of it, one level below the subject."""
        content = codecs.BOM_UTF8 + text.encode("utf-8", "replace")
        page = Source("message.html", len(content), lambda: io.BytesIO(content), depth=self._depth + 1)
        found = read_source(page, key)
        if isinstance(found, Document):
            for block in found.blocks:
                yield Block(block.text, min(block.level + 1, 6) if block.level else 0, block.title, place)

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "from": ", ".join(self._people("from")),
            "to": self._people("to"),
            "cc": self._people("cc"),
            "date": _date(self._raw("date")),
        }
        for name in ("message-id", "in-reply-to", "list-id"):
            found[name] = self.header(name).strip("<>") if name != "list-id" else _list_id(self.header(name))
        return {name: clean(value) for name, value in found.items() if value}

    def _people(self, name: str) -> list[str]:
        value = self._raw(name)
        if not value:
            return []
        try:
            pairs = _plain_addresses(value) or getaddresses([value])
        except _BUGS:
            return [self.header(name)]
        named = [(_decoded(person), _decoded(address)) for person, address in pairs if person or address]
        return [f"{person} <{address}>" if person and address else person or address for person, address in named]

    def attachments(self, names: Names, prefix: str) -> Iterator[Part | Unreadable]:
        """What is attached, each as a part that the reader of its format reads."""
        for number, part in enumerate(self.attached, start=1):
            shown = _file_name(part) or f"part {number}"
            name = names.unique(prefix + name_of(shown, number), number)
            content = _bytes(part)
            if not content:
                yield Unreadable(name, "empty file")
                continue
            yield Part(name, hashlib.sha256(content).digest(), self._reads(_with_suffix(shown, part), content))

    def _reads(self, name: str, content: bytes) -> Callable[[str], Read]:
        source = Source(name, len(content), lambda: io.BytesIO(content), depth=self._depth + 1)
        return lambda key: read_source(source, key, self._options)


def _best(alternatives: list[list[Message]]) -> list[Message]:
    """Of several ways to say the same, the plain text if it says anything, else the last that does."""
    spoken = [texts for texts in alternatives if any(_bytes(text).strip() for text in texts)]
    plain = (texts for texts in spoken if all(text.get_content_type() == "text/plain" for text in texts))
    return next(plain, spoken[-1] if spoken else [])


def _bytes(part: Message) -> bytes:
    """A part's content, its transfer encoding undone as far as it goes."""
    inner = part.get_payload()
    try:
        if isinstance(inner, list):
            return b"\r\n".join(child.as_bytes() for child in inner if isinstance(child, Message))
        content = part.get_payload(decode=True)
    except _BUGS:
        content = str(inner).encode("utf-8", "surrogateescape" if isinstance(inner, str) else "replace")
    return content if isinstance(content, bytes) else b""


def _text(part: Message, remarks: list[str]) -> str:
    """The text of a part in the charset it names, or in the one that its bytes are in."""
    content = _bytes(part)
    try:
        name = part.get_content_charset("") or ""
        codec = codecs.lookup(name).name if name else "ascii"
        return str(clean(content.decode(codec)))
    except _BUGS:
        file = io.BytesIO(content)
        encoding = detect(file, cookie=False)
        if name and (encoding is None or encoding.codec != "utf-8"):
            remarks.append(f"text that is not in its charset {name!r}")
        if encoding is None:
            return content.decode("ascii", "replace")
        return str(clean("".join(decode(file, encoding, remarks))))


def _decoded(value: str) -> str:
    """Encoded words (RFC 2047) as text, in one line."""
    if not value:
        return ""
    try:
        value = "".join(
            piece.decode(charset or "ascii", "replace") if isinstance(piece, bytes) else piece
            for piece, charset in decode_header(_SPACE.sub(" ", value))
        ) if "=?" in value else value  # fmt: skip
    except (*_BUGS, HeaderParseError):
        pass  # as it was written, then
    return str(clean(_SPACE.sub(" ", value).strip()))


def _plain_addresses(value: str) -> list[tuple[str, str]]:
    """Names and addresses of a list that needs no parser; none where it does."""
    found = [_PERSON.fullmatch(one) for one in value.split(", ")]
    return [(one[1] or "", one[2] or one[3]) for one in found if one] if all(found) else []


def _date(value: str) -> str:
    try:
        return parsedate_to_datetime(value).isoformat()
    except _BUGS:
        return ""


def _list_id(value: str) -> str:
    """What is in the angle brackets (RFC 2919)."""
    return value.rpartition("<")[2].partition(">")[0].strip()


def _file_name(part: Message) -> str:
    """The name that a part says it has as a file, without folders."""
    try:
        name = _decoded(part.get_filename() or "")
    except _BUGS:
        return ""
    return re.split(r"[/\\]", name)[-1].strip()


def _with_suffix(name: str, part: Message) -> str:
    """The name, with the suffix of its media type if its own tells nothing."""
    form = BY_MEDIA_TYPE.get(part.get_content_type())
    if of_suffix(name) is not None or form is None or not form.suffixes:
        return name
    return name + form.suffixes.split()[0]
