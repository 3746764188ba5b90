"""Bytes → text: which encoding a file is in, and its text as a stream of bounded pieces.

A byte order mark decides; else valid UTF-8; else a coding cookie where the format has one; else what the damage and
charset-normalizer make probable. The whole file is checked for UTF-8 before its first piece is handed out, because
a legacy encoding may show only at the end. Knows bytes, not formats.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sememe.sources.sniff import BYTE_ORDER_MARKS

PIECE = 64 * 1024
GUESSED_FROM = 32 * 1024
HOPELESS = 1000
"""Invalid bytes after which the rest need not be counted, unless valid sequences outweigh them."""
OUTWEIGHS = 4
"""Valid sequences for each invalid byte that make a file damaged UTF-8: in other encodings they are rare chance."""

_NOT_A_LEAD = bytes(range(0xC2))
# Undefined in Windows-1252, or letters of Icelandic: more probably damage in UTF-8 than text in a legacy encoding.
_NO_LETTERS = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")
_HIGH = re.compile(rb"[\x80-\xff]+")
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How to decode a file: a codec, the bytes of its mark to leave out, and what will be replaced."""

    codec: str
    mark: int = 0
    remark: str = ""


@dataclass(slots=True)
class _Damage:
    """What is not UTF-8 in a file: the number of bytes, the place of the first, and some of them."""

    count: int = 0
    first: int = 0
    examples: bytes = b""
    sequences: int = 0
    read: int = 0

    @property
    def is_rare(self) -> bool:
        """Whether this is UTF-8 with a few bad bytes."""
        if self.sequences >= OUTWEIGHS * self.count:
            return True
        return self.count * 100 <= self.read and not _NO_LETTERS.isdisjoint(self.examples)


def detect(file: BinaryIO, *, cookie: bool) -> Encoding | None:
    """The encoding of a text file, or None if it is none that is known. Reads the file, up to its end.

    `cookie` tells whether the format may name its encoding in a comment of its first two lines (PEP 263).
    """
    file.seek(0)
    head = file.read(4)
    for mark, codec in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            damage = _damage(file, len(mark)) if codec == "utf-8" else _Damage()
            return Encoding(codec, len(mark), _remark(damage))
    damage = _damage(file, 0)
    if not damage.count:
        return Encoding("utf-8")
    named = _cookie(file) if cookie else None
    if named:
        return Encoding(named)
    if damage.is_rare:
        return Encoding("utf-8", remark=_remark(damage))
    guessed = _guess(file, damage.first)
    if guessed:
        return Encoding(guessed)
    return Encoding("utf-8", remark=_remark(damage)) if damage.count * 100 <= damage.read else None


def lines_of(file: BinaryIO, encoding: Encoding, *, longest: int, newline: str) -> Iterator[str]:
    """The file's lines with their ends, cut where one has more than `longest` characters; `newline` is as in `open`."""
    file.seek(encoding.mark)
    text = io.TextIOWrapper(file, encoding.codec, errors="replace", newline=newline)
    try:
        while line := text.readline(longest):
            yield line
    finally:
        if not text.closed:  # or it would close the file
            text.detach()


def decode(file: BinaryIO, encoding: Encoding, remarks: list[str]) -> Iterator[str]:
    """The file's text in pieces of at most 64 KiB characters; what cannot be decoded becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding.codec)("replace")
    counted = encoding.codec != "utf-8"  # its damage is known already, and U+FFFD may be meant
    replaced = 0
    file.seek(encoding.mark)
    while data := file.read(PIECE):
        text = decoder.decode(data)
        replaced += text.count("\ufffd") if counted else 0
        if text:
            yield text
    rest = decoder.decode(b"", final=True)
    replaced += rest.count("\ufffd") if counted else 0
    if rest:
        yield rest
    if replaced:
        remarks.append(f"{replaced} characters that are not {encoding.codec} replaced")


def _damage(file: BinaryIO, start: int) -> _Damage:
    """Check that the file is UTF-8 from `start` on, as far as it takes to know."""
    damage = _Damage(read=start)
    file.seek(start)
    carried = b""
    while data := file.read(PIECE):
        carried = _check(carried + data, damage, final=False)
        if damage.count > HOPELESS and damage.sequences < OUTWEIGHS * damage.count:
            return damage
    _check(carried, damage, final=True)
    return damage


def _check(data: bytes, damage: _Damage, *, final: bool) -> bytes:
    """Add what is wrong in `data` to `damage`; give back the bytes of a sequence that has only begun.

    The beginning of that one is counted here and again with its end, which is no matter where thousands count.
    """
    if data.isascii():
        damage.read += len(data)
        return b""
    damage.sequences += len(data.translate(None, _NOT_A_LEAD))
    view, at = memoryview(data), 0
    while True:
        try:
            at += codecs.utf_8_decode(view[at:], "strict", final)[1]
            break
        except UnicodeDecodeError as error:
            if not damage.count:
                damage.first = damage.read + at + error.start
            damage.count += error.end - error.start
            damage.sequences -= data[at + error.start] >= 0xC2
            damage.examples += data[at + error.start : at + error.end] if len(damage.examples) < 64 else b""
            at += error.end
    damage.read += at
    return data[at:]


def _remark(damage: _Damage) -> str:
    if not damage.count:
        return ""
    return f"{damage.count} invalid byte{'s' * (damage.count > 1)} replaced, first at byte {damage.first}"


def _cookie(file: BinaryIO) -> str | None:
    """The codec that a comment in the first two lines names, if there is such a codec of text."""
    file.seek(0)
    for line in (file.readline(400), file.readline(400)):
        match = _COOKIE.match(line)
        if not match:
            continue
        try:
            name = codecs.lookup(match[1].decode("ascii", "replace")).name
            "".encode(name)
        except LookupError:  # unknown, or a codec such as base64 that gives no text
            return None
        return None if name.startswith("utf") else name
    return None


def _guess(file: BinaryIO, first: int) -> str | None:
    """What charset-normalizer takes the text around the first odd byte for, Windows-1252 where it is as probable."""
    import charset_normalizer

    file.seek(max(0, first - GUESSED_FROM // 2))
    sample = file.read(GUESSED_FROM)
    sample = _whole_lines(sample, first > GUESSED_FROM // 2)
    matches = list(charset_normalizer.from_bytes(sample))
    runs = _HIGH.findall(sample)
    if sum(map(len, runs)) < 2 * len(runs):  # odd letters among plain ones: no encoding of two bytes a character
        single = [match for match in matches if not match.multi_byte_usage]
        if matches and not single:
            return "cp1252"
        matches = single
    if not matches:
        return None
    best = matches[0]
    for match in matches:
        as_clean = match.chaos <= best.chaos + 0.1 and match.coherence >= 0.9 * best.coherence
        if as_clean and "cp1252" in match.could_be_from_charset:
            return "cp1252"
    return codecs.lookup(best.encoding).name


def _whole_lines(sample: bytes, cut_in_front: bool) -> bytes:
    """Leave out the broken lines at the ends of a sample, because a broken character would rule out its encoding."""
    start = sample.find(b"\n") + 1 if cut_in_front else 0
    end = sample.rfind(b"\n") + 1 if len(sample) == GUESSED_FROM else len(sample)
    return sample[start:end] if start < end else sample
