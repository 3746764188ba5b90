"""Reading mail: what of a message is its text, what is attached, and how a mailbox is told apart."""

from __future__ import annotations

import contextlib
import sysconfig
import tracemalloc
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import documents_of, exhausted, file_of, parts_of, read, source_of, text_of

from sememe.errors import ReadError
from sememe.sources import mail
from sememe.sources.files import read_source
from sememe.sources.source import Part, Parts, ReadOptions, Refused, Unreadable
from sememe.types import Document

HEADERS = (
    "From: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>\nTo: Ann <ann@example.org>, bob@example.org\n"
    "Subject: =?utf-8?b?R3LDvMOfZQ==?= from\n the garden\nDate: Thu, 2 May 2024 10:30:00 +0200\n"
    "Message-ID: <1@example.org>\nList-Id: Gardeners <garden.example.org>\n"
)
REAL = Path(sysconfig.get_paths()["stdlib"]) / "test" / "test_email" / "data"


def message(subject: str = "Roses", body: str = "They bloom.\n") -> EmailMessage:
    made = EmailMessage()
    made["From"] = "Ann <ann@example.org>"
    made["Subject"] = subject
    made.set_content(body)
    return made


def mailbox(*messages: str) -> str:
    return "".join(f"From ann@example.org Thu May  2 10:30:00 2024\n{one}\n\n" for one in messages)


def mailed(number: int, body: str = "They bloom.") -> str:
    return f"Message-ID: <{number}@example.org>\nFrom: ann@example.org\nSubject: Letter {number}\n\n{body}"


# One message


def test_headers_become_title_and_typed_metadata() -> None:
    document = read("a.eml", HEADERS + "\nHello\n")
    assert isinstance(document, Document)
    assert document.title == "Grüße from the garden"
    assert document.metadata == {
        "from": "Zoë <zoe@example.org>", "to": ["Ann <ann@example.org>", "bob@example.org"],
        "date": "2024-05-02T10:30:00+02:00", "message-id": "1@example.org", "list-id": "garden.example.org",
    }  # fmt: skip


def test_the_subject_is_the_heading_above_the_text() -> None:
    document = read("a.eml", HEADERS + "\nHello\n")
    assert text_of(document) == "Grüße from the garden\n\nHello\n"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=utf-8", b"caf=C3=A9"),
        ("Content-Transfer-Encoding: base64\nContent-Type: text/plain; charset=iso-8859-1", b"Y2Fm6Q=="),
        ("Content-Transfer-Encoding: base64\nContent-Type: text/plain; charset=utf-16", b"//5jAGEAZgDpAA=="),
        ("Content-Type: text/plain; charset=nonsense-9", "café".encode()),
        ("Content-Type: text/plain; charset=us-ascii", "café".encode()),
        ("Content-Type: text/plain", "café".encode()),
    ],
)
def test_transfer_encodings_and_charsets_are_undone(header: str, body: bytes) -> None:
    assert "café" in text_of(read("a.eml", f"Subject: x\n{header}\n\n".encode() + body))


def test_headers_of_raw_bytes_are_read() -> None:
    document = read("a.eml", "Subject: café\nFrom: Zoë <z@x.org>\n\nHello".encode("cp1252"))
    assert isinstance(document, Document)
    assert document.title == "café"
    assert document.metadata["from"] == "Zoë <z@x.org>"


def test_plain_text_is_preferred_to_html() -> None:
    made = message()
    made.add_alternative("<p>They <b>really</b> bloom.</p>", subtype="html")
    assert text_of(read("a.eml", made.as_bytes())) == "Roses\n\nThey bloom.\n"


def test_html_is_read_where_the_plain_text_says_nothing() -> None:
    made = message(body="\n")
    made.add_alternative("<html><body><p>They really bloom.</p></body></html>", subtype="html")
    assert "They really bloom." in text_of(read("a.eml", made.as_bytes()))


def test_an_attachment_is_a_part_that_its_own_reader_reads() -> None:
    made = message()
    made.add_attachment(b"# Pruning\n\nCut in March.", maintype="text", subtype="markdown", filename="notes.md")
    made.add_attachment(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", filename="rose.png")
    result = read("a.eml", made.as_bytes(policy=SMTP))
    assert [part.name for part in parts_of(result)] == ["message", "notes.md", "rose.png"]
    found = documents_of(read("a.eml", made.as_bytes()))
    assert text_of(found["message"]) == "Roses\n\nThey bloom.\n"
    assert found["notes.md"].title == "Pruning"
    assert "rose.png" not in found


def test_a_forwarded_message_is_a_message() -> None:
    made = message("Fwd")
    made.add_attachment(message("Tulips", "They sleep.\n"))
    part = parts_of(read("a.eml", made.as_bytes()))[1]
    assert isinstance(part, Part)
    inner = part.open("KEY!/part 1")
    assert isinstance(inner, Document)
    assert inner.title == "Tulips"


def test_the_name_of_an_attachment_keeps_no_folder() -> None:
    made = message()
    made.add_attachment(b"text", maintype="text", subtype="plain", filename="../../etc/passwd")
    assert parts_of(read("a.eml", made.as_bytes()))[1].name == "passwd"


def test_two_attachments_of_one_name_have_two_names() -> None:
    made = message()
    for text in (b"one", b"two"):
        made.add_attachment(text, maintype="text", subtype="plain", filename="a.txt")
    assert [part.name for part in parts_of(read("a.eml", made.as_bytes()))] == ["message", "a.txt", "a.txt#2"]


def test_pictures_in_the_text_are_left_out_with_a_remark() -> None:
    made = message()
    made.add_related(b"\x89PNG", maintype="image", subtype="png", cid="<rose>")
    document = read("a.eml", made.as_bytes())
    assert isinstance(document, Document)
    assert document.remarks == ["pictures in the text left out: 1"]


def test_a_file_of_a_maildir_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "1714638600.M1P2.host:2,S"
    path.write_text("Return-Path: <ann@example.org>\nSubject: Roses\n\nThey bloom.\n")
    document = read_source(file_of(path), "KEY")
    assert isinstance(document, Document)
    assert (document.title, document.reader) == ("Roses", "eml/1")


def test_a_message_without_headers_is_refused() -> None:
    assert isinstance(read("a.eml", "\nHello there\n"), Refused)


def test_a_message_that_is_too_large_is_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LARGEST_MESSAGE", 1000)
    refused = read("a.eml", HEADERS + "\n" + "x" * 2000)
    assert isinstance(refused, Refused)
    assert "at most 1000" in refused.reason


# Mailboxes


def test_the_messages_of_a_mailbox_are_named_by_their_ids() -> None:
    found = documents_of(read("a.mbox", mailbox(*map(mailed, range(3)))))
    assert list(found) == ["0@example.org", "1@example.org", "2@example.org"]
    assert [document.title for document in found.values()] == ["Letter 0", "Letter 1", "Letter 2"]
    assert [block.place for block in found["1@example.org"].blocks] == ["message 2", "message 2"]


def test_a_message_that_is_appended_changes_no_other() -> None:
    def known(count: int) -> list[tuple[str, bytes]]:
        parts = parts_of(read("a.mbox", mailbox(*map(mailed, range(count)))))
        return [(part.name, part.digest) for part in parts if isinstance(part, Part)]

    assert known(4)[:3] == known(3)


def test_messages_without_an_id_are_numbered_and_copies_are_told_apart() -> None:
    content = mailbox(mailed(1), mailed(1), "Subject: no id\n\nHello")
    assert [part.name for part in parts_of(read("a.mbox", content))] == ["1@example.org", "1@example.org#2", "3"]


def test_a_line_of_text_that_begins_with_from_does_not_end_a_message() -> None:
    body = (
        "Dear all,\n\nFrom here on it is easy.\n\n>From there too.\nFrom x Thu May  2 10:30:00 2024\nnot after a blank"
    )
    found = documents_of(read("a.mbox", mailbox(mailed(1, body), mailed(2))))
    assert list(found) == ["1@example.org", "2@example.org"]
    text = text_of(found["1@example.org"])
    assert "From here on it is easy.\n\nFrom there too." in text


def test_attachments_of_a_mailbox_lie_under_their_message() -> None:
    made = message()
    made["Message-ID"] = "<7@example.org>"
    made.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="data.csv")
    names = [part.name for part in parts_of(read("a.mbox", mailbox(made.as_string())))]
    assert names == ["7@example.org", "7@example.org/data.csv"]


def test_a_mailbox_is_told_without_its_suffix() -> None:
    assert len(documents_of(read("inbox", mailbox(mailed(1), mailed(2))))) == 2


def test_a_message_too_large_for_a_mailbox_is_named_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LARGEST_MESSAGE", 1000)
    parts = parts_of(read("a.mbox", mailbox(mailed(1), mailed(2, "x" * 5000), mailed(3))))
    assert [type(part) for part in parts] == [Part, Unreadable, Part]


def test_a_long_mailbox_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    path.write_text(mailbox(*(mailed(number, "They bloom. " * 400) for number in range(1500))))
    result = read_source(file_of(path), "KEY")
    assert isinstance(result, Parts)
    tracemalloc.start()
    count = sum(1 for _ in result.parts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, path.stat().st_size > 7_000_000) == (1500, True)
    assert peak < 2_000_000


BODIES = st.lists(st.text(alphabet="ab \n>From:"), max_size=8)


@settings(deadline=None, max_examples=100)
@given(BODIES)
def test_a_mailbox_has_the_messages_that_were_put_in(bodies: list[str]) -> None:
    quoted = [
        "\n".join(f">{line}" if line.lstrip(">").startswith("From ") else line for line in body.split("\n"))
        for body in bodies
    ]
    content = mailbox(*(mailed(number, body) for number, body in enumerate(quoted)))
    if not bodies:
        return
    found = documents_of(mail.read(source_of("a.mbox", content), "KEY", ReadOptions()))
    assert list(found) == [f"{number}@example.org" for number in range(len(bodies))]
    for document, body in zip(found.values(), bodies, strict=True):
        assert body.strip() in text_of(document)


# Anything at all


@pytest.mark.skipif(not REAL.is_dir(), reason="this Python comes without its own tests")
def test_every_message_of_pythons_own_tests_is_read() -> None:
    files = sorted(REAL.glob("msg_*.txt"))
    results = [mail.read(file_of(path), "KEY", ReadOptions()) for path in files]
    assert len(files) > 40
    assert sum(exhausted(result) > 0 for result in results) >= len(files) - 4


LINES = st.sampled_from(
    [
        b"Subject: x", b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: multipart/alternative", b"--b",
        b"--b--", b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: base64", b"", b"===", b"=?utf-8?b?/?=",
        b"Content-Disposition: attachment; filename*=utf-9''%ff", b"Content-Transfer-Encoding: x-uuencode", b"begin 6",
        b"From: =?x?q?=", b"To: (((", b"Date: 99", b"Content-Type: text/html; charset=\xff", b"From a 1:1 2024",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    st.lists(LINES | st.binary(max_size=40), max_size=25),
    st.sampled_from([b"", b"From a@b Thu May  2 10:30:00 2024\n"]),
)
def test_any_lines_are_read_or_refused(lines: list[bytes], begin: bytes) -> None:
    with contextlib.suppress(ReadError):
        exhausted(mail.read(source_of("a.eml", begin + b"\n".join(lines)), "KEY", ReadOptions()))


PEOPLE = st.sampled_from(
    ["a@b.c", "Ann Lee <a@b.c>", "<a@b>", "J. Doe <j@d>", '"Lee, Ann" <a@b.c>', "a@b (note)", "group: a@b, c@d;", "me"]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(PEOPLE, max_size=4), st.sampled_from([", ", ",", ",\n "]))
def test_people_are_those_that_the_standard_library_finds(people: list[str], between: str) -> None:
    content = f"Subject: x\nTo: {between.join(people)}\n\nHello".encode()
    found = mail.read(source_of("a.eml", content), "KEY", ReadOptions())
    assert isinstance(found, Document)
    pairs = getaddresses([between.join(people)])
    expected = [f"{name} <{address}>" if name and address else name or address for name, address in pairs]
    assert found.metadata.get("to", []) == [one for one in expected if one]


@settings(deadline=None, max_examples=200)
@given(st.lists(LINES | st.binary(max_size=40), max_size=25), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_body_without_parts_is_what_the_standard_library_makes_of_it(lines: list[bytes], end: bytes) -> None:
    content = b"Subject: x" + end + end.join(lines)
    expected = message_from_bytes(content)
    found = mail.read(source_of("a.eml", content), "KEY", ReadOptions())
    if isinstance(found, Document) and expected.get_content_type() == "text/plain":
        payload = expected.get_payload(decode=True)
        assert isinstance(payload, bytes)
        with contextlib.suppress(UnicodeDecodeError):
            # A body of nothing but line ends is no text: there is no block of it.
            assert payload.decode("ascii") in text_of(found) or not payload.strip()


def test_parts_within_parts_end(recursion: Callable[[int], bytes]) -> None:
    assert exhausted(mail.read(source_of("a.eml", recursion(200)), "KEY", ReadOptions())) >= 0


@pytest.fixture
def recursion() -> Callable[[int], bytes]:
    def nested(depth: int) -> bytes:
        head = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(depth))
        return f"Subject: deep\n{head}\nHello".encode()

    return nested
