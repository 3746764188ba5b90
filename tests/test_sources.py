"""Reading: which files are found, what is text, in which encoding, and how formats become blocks."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sememe.errors import InputError, ReadError
from sememe.sources import Found, Refused, key_of, read_file, read_text, walk
from sememe.types import Block, Document

SITE_PACKAGES = Path(pytest.__file__).parents[1]


def put(folder: Path, name: str, content: bytes | str = "text") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(found: Iterator[Found | Refused], folder: Path) -> list[str]:
    return [str(one.path.relative_to(folder)) for one in found if isinstance(one, Found)]


def refusals(found: Iterator[Found | Refused]) -> list[Refused]:
    return [one for one in found if isinstance(one, Refused)]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions do not hold for root: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


# Walking


def test_files_come_sorted_by_name_folder_by_folder(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt", "a.txt", "c/d/e.txt", "Z.txt"):
        put(tmp_path, name)
    assert names(walk([tmp_path]), tmp_path) == ["Z.txt", "a/10.txt", "a/2.txt", "a.txt", "b.txt", "c/d/e.txt"]


def test_a_found_file_carries_its_size_and_time(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "12345")
    (found,) = walk([path])
    assert isinstance(found, Found)
    assert (found.path, found.size, found.mtime_ns) == (path, 5, path.stat().st_mtime_ns)


def test_hidden_names_and_folders_of_generated_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in (".git/config", ".env", "__pycache__/a.pyc", "web/node_modules/x.js", "web/.cache", "kept.txt"):
        put(tmp_path, name)
    left_out: Counter[str] = Counter()
    assert names(walk([tmp_path], left_out=left_out), tmp_path) == ["kept.txt"]
    assert left_out == {"hidden": 3, "__pycache__": 1, "node_modules": 1}
    assert names(walk([tmp_path], hidden=True), tmp_path) == [".env", ".git/config", "kept.txt", "web/.cache"]


def test_what_is_named_is_read_even_if_a_rule_would_leave_it_out(tmp_path: Path) -> None:
    file, folder = put(tmp_path, ".env"), put(tmp_path, ".notes/a.txt").parent
    assert names(walk([file, folder]), tmp_path) == [".env", ".notes/a.txt"]


def test_an_excluded_folder_is_never_entered(tmp_path: Path) -> None:
    put(tmp_path, "docs/index/data.txt")
    put(tmp_path, "docs/a.txt")
    (tmp_path / "docs/link").symlink_to("index")
    excluded = {(tmp_path / "docs/index").resolve()}
    assert names(walk([tmp_path], exclude=excluded), tmp_path) == ["docs/a.txt"]


def test_a_file_reached_in_several_ways_comes_once(tmp_path: Path) -> None:
    file = put(tmp_path, "docs/a.txt")
    (tmp_path / "docs/b.txt").symlink_to("a.txt")
    (tmp_path / "also").symlink_to("docs")
    found = walk([file, tmp_path, tmp_path / "docs", tmp_path / "docs/../docs/a.txt"])
    assert [one.path.name for one in found] == ["a.txt"]


def test_two_names_of_one_inode_are_two_files(tmp_path: Path) -> None:
    os.link(put(tmp_path, "a.txt"), tmp_path / "b.txt")
    assert names(walk([tmp_path, tmp_path / "a.txt"]), tmp_path) == ["a.txt", "b.txt"]


def test_linked_folders_are_followed_and_a_loop_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.txt")
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "far").symlink_to(tmp_path / "elsewhere")
    (root / "inner/back").symlink_to(root)
    found = list(walk([root]))
    assert names(iter(found), root) == ["far/a.txt"]
    (loop,) = refusals(iter(found))
    assert (loop.path, loop.status) == (root / "inner/back", "skipped")
    assert str(root) in loop.reason


def test_what_is_no_file_is_refused_with_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    os.mkfifo("pipe")
    Path("broken").symlink_to("nowhere")
    Path("itself").symlink_to("itself")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        refused = refusals(walk([".", "/dev/null"]))
    assert [(str(one.path), one.status, one.retryable) for one in refused] == [
        (name, "skipped", False) for name in ("pipe", "socket", "/dev/null", "broken", "itself")
    ]
    reasons = " | ".join(one.reason for one in refused)
    for kind in ("link to nothing: nowhere", "into a circle of links: itself", "a named pipe", "a socket", "a device"):
        assert kind in reasons


def test_a_folder_that_cannot_be_read_fails_and_the_rest_is_found(open_folder: Path) -> None:
    put(open_folder, "a/secret.txt").parent.chmod(0)
    put(open_folder, "b.txt")
    with as_nobody():
        found = list(walk([open_folder]))
    (open_folder / "a").chmod(0o755)
    assert names(iter(found), open_folder) == ["b.txt"]
    (refused,) = refusals(iter(found))
    assert (refused.status, refused.retryable) == ("failed", True)
    assert refused.reason == "the folder cannot be read: Permission denied"


def test_a_missing_path_is_an_error_before_anything_is_walked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file or folder .*mising\.txt"):
        walk([put(tmp_path, "a.txt"), tmp_path / "mising.txt"])
    with pytest.raises(InputError, match=r"\\ud800"):
        walk(["\ud800"])


def test_a_name_that_is_not_utf8_is_found_and_its_key_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("text")
    (found,) = walk([tmp_path])
    assert key_of(found.path).endswith("/caf\\xe9.txt")
    document = read_file(found, key_of(found.path)) if isinstance(found, Found) else None
    assert isinstance(document, Document)
    assert document.title == "caf\\xe9"
    document.metadata["path"].encode()


def test_a_folder_deeper_than_the_stack_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        for _ in range(1100):
            Path("d").mkdir()
            monkeypatch.chdir("d")  # the whole path is too long for some calls
        Path("end.txt").write_text("text")
        monkeypatch.chdir(tmp_path)
        (found,) = walk(["d"])
    finally:  # pytest's own clean-up is recursive
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert isinstance(found, Found)
    assert len(found.path.parts) == 1101


# Opening


def document(path: Path) -> Document:
    (found,) = walk([path])
    assert isinstance(found, Found)
    opened = read_file(found, "key")
    assert isinstance(opened, Document), opened
    return opened


def refusal(path: Path) -> Refused:
    (found,) = walk([path])
    assert isinstance(found, Found)
    refused = read_file(found, "key")
    assert isinstance(refused, Refused)
    return refused


def text_of(opened: Document) -> str:
    blocks = list(opened.blocks)
    assert all(len(block.text) <= 64 * 1024 for block in blocks)
    return "".join(block.text for block in blocks)


def zip_bytes(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    return (folder / "made.zip").read_bytes()


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("a.txt", lambda _: b"\x89PNG\r\n\x1a\n....", "PNG image"),
        ("a", lambda _: b"\xff\xd8\xff\xe0..JFIF", "JPEG image"),
        ("a", lambda _: b"GIF89a......", "GIF image"),
        ("a.jar", zip_bytes, "Java archive"),
        ("a.7z", lambda _: b"7z\xbc\xaf\x27\x1c....", "7z archive"),
        ("python", lambda _: Path(sys.executable).resolve().read_bytes()[:9000], "ELF program"),
        ("a.webp", lambda _: b"RIFF\x10\x00\x00\x00WEBPVP8 ", "WebP image"),
        ("a.mp4", lambda _: b"\x00\x00\x00\x20ftypisom", "MP4 video"),
        ("a.mp3", lambda _: b"ID3\x04\x00\x00", "MP3 audio"),
    ],
)  # fmt: skip
def test_a_binary_file_is_skipped_by_the_name_of_its_kind(
    tmp_path: Path, name: str, make: Callable[[Path], bytes], kind: str
) -> None:
    refused = refusal(put(tmp_path, name, make(tmp_path)))
    picture = ": pictures are not read by add and sync" if kind.endswith(" image") else ""
    assert (refused.reason, refused.status, refused.retryable) == (f"binary file ({kind}){picture}", "skipped", False)


@pytest.mark.parametrize("content", [b"text\x00text", b"\x01\x02\x03\x04" * 20, bytes(range(256)) * 4])
def test_null_bytes_and_control_characters_make_a_file_binary(tmp_path: Path, content: bytes) -> None:
    assert refusal(put(tmp_path, "a.txt", content)).reason.startswith("binary file")


def test_bytes_that_no_encoding_makes_text_are_refused(tmp_path: Path) -> None:
    noise = bytes(byte | 0x80 for byte in os.urandom(4000))
    refused = refusal(put(tmp_path, "a.bin", noise))
    assert "no known encoding" in refused.reason


def test_empty_and_blank_files_are_skipped(tmp_path: Path) -> None:
    assert refusal(put(tmp_path, "a.txt", "")).reason == "empty file"
    assert refusal(put(tmp_path, "b.txt", " \n\t\r\n" * 40_000)).reason == "no text"
    assert refusal(put(tmp_path, "c.txt", b"\xef\xbb\xbf")).reason == "no text"


def test_text_far_behind_white_space_is_found(tmp_path: Path) -> None:
    content = "\n" * 200_000 + "here"
    assert text_of(document(put(tmp_path, "a.txt", content))) == content


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("a.txt", "text", "text/1"),
        ("README", "text", "text/1"),
        ("a.unheard-of", "text", "text/1"),
        ("a.MD", "text", "markdown/2"),
        ("a.pyi", "x: int", "python/2"),
        ("script", "#!/usr/bin/env python3\nprint(1)\n", "python/2"),
        ("a.rs", "fn main() {}", "lines/1"),
    ],
)  # fmt: skip
def test_the_suffix_chooses_the_reader_and_what_is_inside_decides_without_one(
    tmp_path: Path, name: str, content: str, reader: str
) -> None:
    assert document(put(tmp_path, name, content)).reader == reader


def test_a_file_that_cannot_be_opened_fails_and_may_be_tried_again(open_folder: Path) -> None:
    path = put(open_folder, "a.txt")
    (found,) = walk([path])
    assert isinstance(found, Found)
    path.chmod(0)
    with as_nobody():
        denied = read_file(found, "key")
    path.unlink()
    for refused, reason in ((denied, "Permission denied"), (read_file(found, "key"), "No such file or directory")):
        assert isinstance(refused, Refused)
        assert refused.reason == f"the file cannot be read: {reason}"
        assert (refused.status, refused.retryable) == ("failed", True)


def test_a_file_that_changes_or_vanishes_while_it_is_read_raises_a_retryable_error(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "text " * 50_000)
    before, during, gone = document(path), document(path), document(path)
    blocks = iter(during.blocks)
    next(blocks)
    put(tmp_path, "a.txt", "other text " * 50_000)
    for changed in (blocks, before.blocks):
        with pytest.raises(ReadError, match=r"a\.txt changed while it was read") as caught:
            list(changed)
        assert caught.value.retryable
    path.unlink()
    with pytest.raises(ReadError, match=r"a\.txt cannot be read to its end: No such file") as caught:
        list(gone.blocks)
    assert caught.value.retryable


# Decoding

FRENCH = "Le café est très bon à l'été, où ça coûte cher.\r\n"


@pytest.mark.parametrize("mark_and_codec", [("utf-8-sig", None), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")])
def test_a_byte_order_mark_decides_and_is_no_text(tmp_path: Path, mark_and_codec: tuple[str, str | None]) -> None:
    codec, told = mark_and_codec
    opened = document(put(tmp_path, "a.txt", (FRENCH * 3000).encode(codec)))
    assert text_of(opened) == FRENCH * 3000
    assert opened.metadata.get("encoding") == told
    assert opened.remarks == []


def test_big_endian_utf16_with_its_mark_is_text(tmp_path: Path) -> None:
    assert text_of(document(put(tmp_path, "a.txt", b"\xfe\xff" + FRENCH.encode("utf-16-be")))) == FRENCH


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.json"])
def test_utf8_keeps_every_character_and_line_end(tmp_path: Path, name: str) -> None:
    content = "Zeile\r\nnext\rlast\n\n\x0c\x85\u2028 日本語 👨‍👩‍👧 \ufeff\ufffd" * 5000
    opened = document(put(tmp_path, name, content))
    assert text_of(opened) == content
    assert opened.remarks == []
    assert "encoding" not in opened.metadata


@pytest.mark.parametrize("before", [0, 65_530, 65_535, 200_000])
def test_a_few_bad_bytes_in_utf8_are_replaced_counted_and_placed(tmp_path: Path, before: int) -> None:
    good = "é" * 50
    content = b"a" * before + good.encode() + b"\xff" + b" \x80\x81 " + good.encode()
    opened = document(put(tmp_path, "a.txt", content))
    assert text_of(opened) == "a" * before + good + "\ufffd \ufffd\ufffd " + good
    assert opened.remarks == [f"3 invalid bytes replaced, first at byte {before + 100}"]


def test_a_sequence_cut_off_at_the_end_is_replaced(tmp_path: Path) -> None:
    opened = document(put(tmp_path, "a.txt", "日本語".encode() * 10 + "日".encode()[:2]))
    assert text_of(opened) == "日本語" * 10 + "\ufffd"
    assert opened.remarks == ["2 invalid bytes replaced, first at byte 90"]


def test_plain_english_with_damage_is_utf8(tmp_path: Path) -> None:
    opened = document(put(tmp_path, "a.txt", b"Plain text in English. " * 100 + b"\xff\xfe" + b" The end."))
    assert text_of(opened).endswith("\ufffd\ufffd The end.")


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (FRENCH, "cp1252"),
        ("Jürgen Müller", "cp1252"),
        ("“Curly quotes” and an em—dash in plain English", "cp1252"),
        ("El niño está aquí. ¿Qué pasa? ¡Olé!", "latin-1"),
        ("Größe und Übermut tun selten gut.", "latin-1"),
        ("Привет, как дела? Это обычный русский текст для проверки.", "cp1251"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
        ("Καλημέρα κόσμε, αυτό είναι ένα κείμενο.", "cp1253"),
        ("これは日本語のテキストです。今日は天気がいいですね。", "shift_jis"),
        ("这是一个中文文本的例子，我们来测试编码检测。", "gb18030"),
        ("안녕하세요. 이것은 한국어 텍스트입니다.", "euc_kr"),
    ],
)  # fmt: skip
def test_legacy_encodings_are_recognised(tmp_path: Path, text: str, codec: str) -> None:
    opened = document(put(tmp_path, "a.txt", text.encode(codec)))
    assert text_of(opened) == text
    assert "encoding" in opened.metadata


def test_a_legacy_encoding_that_shows_only_far_into_the_file_is_recognised(tmp_path: Path) -> None:
    content = "plain English\n" * 20_000 + FRENCH
    opened = document(put(tmp_path, "a.txt", content.encode("cp1252")))
    assert text_of(opened) == content
    assert opened.metadata["encoding"] == "cp1252"


def test_a_python_coding_cookie_is_followed(tmp_path: Path) -> None:
    source = "#!/usr/bin/python\n# -*- coding: koi8-r -*-\nname = 'Привет'\n"
    opened = document(put(tmp_path, "a.py", source.encode("koi8-r")))
    assert text_of(opened) == source
    assert opened.metadata["encoding"] == "koi8-r"


@given(data=st.binary(max_size=300).filter(lambda data: b"\0" not in data))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_text_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = put(tmp_path_factory.getbasetemp() / "any", "a.txt", data)
    (found,) = walk([path])
    assert isinstance(found, Found)
    opened = read_file(found, "key")
    if isinstance(opened, Refused):
        assert opened.reason
    else:
        text_of(opened).encode()


# Strings


def test_a_string_becomes_a_document_and_lone_surrogates_are_replaced() -> None:
    opened = read_text("a\ud800b\udfffc", "key", metadata={"year": 2020})
    assert text_of(opened) == "a\ufffdb\ufffdc"
    assert (opened.key, opened.media_type, opened.reader) == ("key", "text/plain", "text/1")
    assert opened.metadata == {"year": 2020}
    assert opened.remarks == ["2 lone surrogates replaced"]


def test_a_string_of_markdown_has_headings_and_a_title() -> None:
    opened = read_text("# Hello *you*\n\ntext", "key", media_type="text/markdown")
    assert opened.title == "Hello you"
    assert [block.level for block in opened.blocks] == [1, 0]


def test_an_unknown_media_type_is_refused() -> None:
    with pytest.raises(InputError, match="'image/png' of 'key' is not read; use text/markdown"):
        read_text("x", "key", media_type="image/png")


# Markdown


def markdown(text: str, size: int = 10_000) -> list[Block]:
    from sememe.sources.markdown import blocks

    return list(blocks((text[start : start + size] for start in range(0, len(text), size)), []))


def headings(blocks: list[Block]) -> list[tuple[int, str]]:
    return [(block.level, block.title) for block in blocks if block.level]


def reference_headings(text: str) -> list[tuple[int, str]]:
    """What markdown-it-py finds on the document's own level, without the YAML header, which it does not know."""
    text = re.sub(r"\A---\r?\n(?=[A-Za-z_]).*?^---\r?\n", "", text, count=1, flags=re.S | re.M)
    tokens = MarkdownIt("commonmark").parse(text)
    found = []
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0:
            parts = tokens[index + 1].children or []
            kinds = {"softbreak": " ", "hardbreak": " ", "html_inline": ""}
            title = "".join(kinds.get(part.type, part.content) for part in parts)
            found.append((int(token.tag[1]), " ".join(title.split())))
    return found


def test_headings_of_real_files_are_those_of_a_markdown_parser() -> None:
    files = sorted(SITE_PACKAGES.rglob("*.md"))
    total = 0
    for file in files:
        text = file.read_text(encoding="utf-8")
        expected = reference_headings(text)
        assert headings(markdown(text)) == expected, file
        assert markdown(text, size=17)[:1] == markdown(text)[:1] or headings(markdown(text, size=17)) == expected
        total += len(expected)
    assert total > 50


TRICKY = """Setext with
two lines
=========

Second `#` *level*
---

## closed ## ##
#hashtag
####### seven
 # one space
    # code
```py
# in a fence
~~~
```
~~~~
# in another
~~~
~~~~
<!-- a comment
# in a comment
-->
# after a comment
<div>
# in html
</div>

## after html
- item
  # in a list
---
- item
lazy
===
> # in a quote
> text
lazy
---
[ref]: http://example.com
---
* * *
text
    # continued
---
1. one

   # in an item
2. two
## [link](http://a.b/c_(d)) and ![image](x.png) \\# ` # ` <b>x</b> &amp; snake_case __bold__
#
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_headings_of_a_tricky_document_are_those_of_a_markdown_parser(newline: str) -> None:
    text = TRICKY.replace("\n", newline)
    found = markdown(text)
    assert headings(found) == reference_headings(TRICKY)
    assert len(headings(found)) > 8
    for size in (1, 2, 7):
        assert headings(markdown(text, size)) == headings(found)


LINES = st.sampled_from(
    [*dict.fromkeys(TRICKY.splitlines()), "", "", "text", "- a", "  b", "```", "<!--", "-->", "<pre>"]
)


@given(lines=st.lists(LINES, max_size=12), size=st.integers(1, 50))
@settings(max_examples=400, deadline=None)
def test_the_blocks_of_any_markdown_join_to_its_text(lines: list[str], size: int) -> None:
    text = "\n".join(lines)
    assert "".join(block.text for block in markdown(text, size)) == text
    assert headings(markdown(text, size)) == headings(markdown(text))


def test_front_matter_is_body_and_gives_the_title(tmp_path: Path) -> None:
    text = '---\ntitle: "From: the header"\ntags: [a]\n---\n\n# Heading\n'
    opened = document(put(tmp_path, "a.md", text))
    assert opened.title == "From: the header"
    assert [block.level for block in opened.blocks] == [0, 1]


def test_a_rule_at_the_beginning_is_no_front_matter() -> None:
    assert headings(markdown("---\n\n# A\n\n---\n\n# B\n")) == [(1, "A"), (1, "B")]


def test_the_title_is_the_first_heading_of_level_one_or_the_name_of_the_file(tmp_path: Path) -> None:
    assert document(put(tmp_path, "a.md", "## Two\n\n# One\n")).title == "One"
    assert document(put(tmp_path, "notes on x.md", "## Two\n")).title == "notes on x"
    assert document(put(tmp_path, "plain.txt", "# One\n")).title == "plain"


def test_a_line_without_end_stays_bounded_and_exact() -> None:
    text = "# " + "x" * 300_000 + "\n# Heading\n" + "y" * 100_000
    blocks = markdown(text)
    assert "".join(block.text for block in blocks) == text
    assert headings(blocks) == [(1, "Heading")]
    assert max(len(block.text) for block in blocks) <= 70_000


# Python

SOURCE = '''"""What this module does.

More of it.
"""

import os

LIMIT = 1


# Says what it is.
@decorated(
    1,
)
class Outer(Base):
    """Docs."""

    x = 1

    async def first(
        self,
    ) -> int:
        def inner():
            return 1
        return 1

    y = 2

    class Inner:
        def deep(self): ...


if os.name == "nt":
    def on_windows():
        pass

AFTER = 2
'''


def python(source: str) -> tuple[list[Block], list[str]]:
    opened = read_text(source, "key", media_type="text/x-python")
    return list(opened.blocks), opened.remarks


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_classes_and_functions_are_headings_and_the_source_stays_exact(newline: str) -> None:
    source = SOURCE.replace("\n", newline)
    blocks, remarks = python(source)
    assert "".join(block.text for block in blocks) == source
    assert headings(blocks) == [
        (1, "class Outer"),
        (2, "async def first"),
        (2, ""),
        (2, "class Inner"),
        (3, "def deep"),
        (1, ""),
        (1, "def on_windows"),
        (1, ""),
    ]
    outer = next(block for block in blocks if block.title == "class Outer")
    assert outer.text.splitlines()[0] == "# Says what it is."
    assert outer.text.splitlines()[-1] == "class Outer(Base):"
    assert remarks == []


def test_the_title_of_a_module_is_the_first_line_of_its_docstring(tmp_path: Path) -> None:
    assert document(put(tmp_path, "a.py", SOURCE)).title == "What this module does"
    assert document(put(tmp_path, "b.py", "x = 1\n")).title == "b"


@pytest.mark.parametrize(
    ("source", "why"), [("def broken(:\n", "line 1"), ("x = '\0'\n", "null"), ("(" * 5000, "not valid")]
)
def test_what_is_not_valid_python_is_plain_text_with_a_remark(source: str, why: str) -> None:
    blocks, remarks = python(source)
    assert "".join(block.text for block in blocks) == source
    assert headings(blocks) == []
    assert remarks[0].startswith("read as plain text: not valid Python")
    assert why in remarks[0]


def test_python_too_long_to_hold_is_streamed_as_plain_text() -> None:
    source = "def f():\n    return 1\n" * 120_000
    blocks, remarks = python(source)
    assert "".join(block.text for block in blocks) == source
    assert headings(blocks) == []
    assert remarks == ["read as plain text: longer than 2097152 characters"]


def test_a_doubtful_escape_in_read_source_warns_nobody() -> None:
    assert python("x = '\\d'\n")[1] == []


def test_headings_are_never_deeper_than_six() -> None:
    source = "".join(f"{'    ' * depth}class C{depth}:\n" for depth in range(9)) + "    " * 9 + "pass\n"
    assert [level for level, _ in headings(python(source)[0])] == [1, 2, 3, 4, 5, 6, 6, 6, 6]


def test_every_real_module_is_read_exactly() -> None:
    files = sorted((SITE_PACKAGES / "_pytest").rglob("*.py")) + sorted((SITE_PACKAGES / "rich").glob("*.py"))
    for file in files:
        source = file.read_bytes().decode()
        blocks, remarks = python(source)
        assert "".join(block.text for block in blocks) == source, file
        assert remarks == [], file
    assert len(files) > 100
