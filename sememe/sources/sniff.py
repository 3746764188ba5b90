"""The first bytes of a file → what kind of binary file it is, if it is one.

Knows signatures and the look of text in bytes. Knows nothing of paths or encodings beyond byte order marks.
"""

from __future__ import annotations

import codecs

SAMPLE = 64 * 1024
MOST_CONTROLS = 0.05
"""Above this share of control characters a file is no text."""

BYTE_ORDER_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Signatures that no text begins with.
_CERTAIN: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF87a", "GIF image"),
    (b"GIF89a", "GIF image"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"\x7fELF", "ELF program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"\xca\xfe\xba\xbe", "Mach-O program or Java class"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document"),
    (b"\x00asm", "WebAssembly module"),
    (b"\xff\xfb", "MP3 audio"),
    (b"ID3\x03", "MP3 audio"),
    (b"ID3\x04", "MP3 audio"),
    (b"OggS\x00", "Ogg audio or video"),
    (b"fLaC\x00", "FLAC audio"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"II*\x00", "TIFF image"),
    (b"MM\x00*", "TIFF image"),
    (b"\x93NUMPY", "NumPy array"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"\x00\x01\x00\x00", "font"),
    (b"OTTO\x00", "font"),
)

# Signatures that only name what other signs have shown to be binary.
_PROBABLE: tuple[tuple[bytes, str], ...] = (
    (b"MZ", "Windows program"),
    (b"BM", "BMP image"),
    (b"BZh", "bzip2 archive"),
    (b"ID3", "MP3 audio"),
    (b"PAR1", "Parquet table"),
    (b"ARROW1", "Arrow table"),
    (b"\x00\x00\x01\x00", "icon"),
)

_ZIP_NAMES = {
    ".docx": "Word document",
    ".xlsx": "Excel workbook",
    ".pptx": "PowerPoint presentation",
    ".odt": "OpenDocument text",
    ".ods": "OpenDocument spreadsheet",
    ".odp": "OpenDocument presentation",
    ".epub": "EPUB book",
    ".jar": "Java archive",
    ".whl": "Python wheel",
    ".npz": "NumPy archive",
}

# Backspace, tab, line feed, form feed, carriage return and escape occur in logs and manual pages.
_CONTROLS = bytes(set(range(0x20)) - set(b"\b\t\n\f\r\x1b") | {0x7F})


def binary_kind(head: bytes, suffix: str = "") -> str | None:
    """What a file with these first bytes is, "" when it is binary of an unknown kind, None when it may be text."""
    if any(head.startswith(mark) for mark, _ in BYTE_ORDER_MARKS):
        return None
    kind = _named(head, _CERTAIN) or _in_a_box(head)
    if kind == "ZIP archive":
        return _ZIP_NAMES.get(suffix, kind)
    if kind:
        return kind
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if 0 in head or controls > MOST_CONTROLS * len(head):
        return _named(head, _PROBABLE) or ("tar archive" if head[257:262] == b"ustar" else "")
    return None


_ANY = tuple(signature for signature, _ in (*_CERTAIN, *_PROBABLE))


def _named(head: bytes, signatures: tuple[tuple[bytes, str], ...]) -> str:
    if not head.startswith(_ANY):
        return ""
    return next((kind for signature, kind in signatures if head.startswith(signature)), "")


def _in_a_box(head: bytes) -> str:
    """Formats whose name stands behind a length."""
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP image", b"WAVE": "WAV audio", b"AVI ": "AVI video"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        brands = {b"heic": "HEIC image", b"avif": "AVIF image", b"M4A ": "M4A audio", b"qt  ": "QuickTime video"}
        return brands.get(head[8:12], "MP4 video")
    return ""
