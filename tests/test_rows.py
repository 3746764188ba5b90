"""Reading rows: what CSV, JSON, Parquet and SQLite files hold, which columns are text, and what bad ones give."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import re
import sqlite3
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import documents_of, exhausted, file_of, parts_of, read, source_of, text_of

from sememe.errors import ReadError
from sememe.sources import jsonrows, tables
from sememe.sources.files import read_source
from sememe.sources.rows import Names, clean, word_count
from sememe.sources.source import Part, Parts, ReadOptions, Refused, Source, Unreadable
from sememe.types import Document

PROSE = "The kettle whistles softly while the rain falls outside"
ORDERS = (
    "id,title,note,price,paid,day\n"
    f'7,Kettle,"{PROSE}, again",12.50,true,2024-05-01\n'
    '9,Lamp,"A lamp that bends\nover the desk at night",8,false,2024-06-02\n'
)
ANIMALS = "name,legs,zip\nspider,8,01234\nhen,2,90210\nsnake,0,00100\n"


# CSV and TSV


def test_a_row_becomes_a_document_with_typed_metadata() -> None:
    found = documents_of(read("orders.csv", ORDERS))
    assert list(found) == ["7", "9"]
    kettle = found["7"]
    assert kettle.title == "Kettle"
    assert kettle.metadata == {"price": 12.5, "paid": True, "day": "2024-05-01"}
    assert text_of(kettle) == f"Kettle\n\n{PROSE}, again"


def test_a_quoted_cell_may_span_lines() -> None:
    assert "bends\nover the desk" in text_of(documents_of(read("orders.csv", ORDERS))["9"])


def test_every_block_names_its_row() -> None:
    assert [block.place for block in documents_of(read("orders.csv", ORDERS))["9"].blocks] == ["row 9", "row 9"]


def test_the_title_is_a_heading_so_that_every_chunk_repeats_it() -> None:
    first = next(iter(documents_of(read("orders.csv", ORDERS))["7"].blocks))
    assert (first.level, first.title) == (1, "Kettle")


def test_columns_that_are_named_are_taken() -> None:
    options = ReadOptions(text=("day", "note"), title="id", id="title")
    found = documents_of(read("orders.csv", ORDERS, options))
    assert list(found) == ["Kettle", "Lamp"]
    assert text_of(found["Kettle"]).startswith("7\n\nday: 2024-05-01\n\nnote: The kettle")


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    refused = read("orders.csv", ORDERS, ReadOptions(text=("body",)))
    assert isinstance(refused, Refused)
    assert "'body'" in refused.reason
    assert "note" in refused.reason


def test_a_table_without_prose_is_one_document_whose_heading_names_the_columns() -> None:
    table = read("animals.csv", ANIMALS)
    assert isinstance(table, Document)
    blocks = list(table.blocks)
    assert (blocks[0].level, blocks[0].title) == (1, "name | legs | zip")
    assert [(block.text, block.place) for block in blocks[1:3]] == [
        ("spider | 8 | 01234\n\n", "row 1"), ("hen | 2 | 90210\n\n", "row 2"),
    ]  # fmt: skip


def test_the_rows_of_a_wide_table_name_their_cells() -> None:
    columns = [f"measurement {number}" for number in range(30)]
    table = read("wide.csv", ",".join(columns) + "\n" + ",".join(map(str, range(30))) + "\n")
    assert text_of(table).startswith("measurement 0: 0; measurement 1: 1; ")


def test_numbers_with_leading_zeros_stay_names() -> None:
    content = f"code,text\n007,{PROSE}\n"
    assert documents_of(read("a.csv", content))["1"].metadata == {"code": "007"}


def test_a_value_that_is_not_of_its_columns_type_stays_a_string() -> None:
    rows = "".join(f"{number},{PROSE}\n" for number in range(300))
    found = documents_of(read("a.csv", f"n,text\n{rows}many,{PROSE}\n"))
    assert found["300"].metadata == {"n": 299}
    assert found["301"].metadata == {"n": "many"}


def test_rows_without_an_id_are_numbered() -> None:
    assert list(documents_of(read("a.csv", f"text\n{PROSE}\n{PROSE}\n"))) == ["1", "2"]


def test_an_id_that_comes_again_further_down_gets_its_rows_number() -> None:
    rows = "".join(f"{number},{PROSE}\n" for number in range(250))
    names = [part.name for part in parts_of(read("a.csv", f"id,text\n{rows}3,{PROSE}\n"))]
    assert names[-1] == "3#251"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_rows(delimiter: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "text", "n"], [1, f"{PROSE}, {PROSE}", 2], [2, PROSE, 3]])
    found = documents_of(read("a.csv", file.getvalue()))
    assert [document.metadata for document in found.values()] == [{"n": 2}, {"n": 3}]


def test_quotes_that_do_not_quote_are_text() -> None:
    content = "".join(f'{number}\t"{PROSE} {number}\t{number * 2}\n' for number in range(1, 6))
    found = documents_of(read("a.tsv", f"id\ttext\tn\n{content}"))
    assert text_of(found["3"]) == f'"{PROSE} 3'
    assert found["3"].metadata == {"n": 6}


def test_quotes_escaped_by_a_backslash_are_understood() -> None:
    rows = "".join(f'{number},"the \\"old, tall\\" tree {PROSE}",x\n' for number in range(1, 5))
    assert text_of(documents_of(read("a.csv", f"id,text,kind\n{rows}"))["2"]) == f'the "old, tall" tree {PROSE}'


def test_a_file_without_header_has_numbered_columns() -> None:
    found = documents_of(read("a.csv", f"1,{PROSE},2020-01-01\n2,{PROSE},2020-01-02\n"))
    assert [document.metadata for document in found.values()] == [
        {"column 1": 1, "column 3": "2020-01-01"}, {"column 1": 2, "column 3": "2020-01-02"},
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_is_told(encoding: str) -> None:
    rows = "".join(f"{number},Die Bäume blühen früh im Jahr über den Straßen\n" for number in range(20))
    found = documents_of(read("a.csv", f"nr,text\n{rows}".encode(encoding)))
    assert text_of(found["1"]) == "Die Bäume blühen früh im Jahr über den Straßen"
    assert found["1"].metadata == {"nr": 0}


def test_rows_of_another_width_are_read_and_remarked() -> None:
    result = read("a.csv", f"id,text,n\n1,{PROSE},1\n2,{PROSE}\n3,{PROSE},3,4,5\n")
    found = documents_of(result)
    assert found["3"].metadata == {"n": 3, "column 4": "4", "column 5": "5"}
    assert found["2"].remarks == ["it has 2 cells, the table 3 columns"]
    assert isinstance(result, Parts)
    assert result.remarks == ["2 rows have not 3 cells, the first is row 2"]


def test_a_row_without_text_says_so() -> None:
    assert parts_of(read("a.csv", f"n,text\n1,{PROSE}\n2,\n"))[1] == Unreadable("2", "no text in text")


def test_a_row_that_changes_has_another_digest_and_others_have_not() -> None:
    before, after = (
        {part.name: part.digest for part in parts_of(read("a.csv", content)) if isinstance(part, Part)}
        for content in (ORDERS, ORDERS.replace("12.50", "13.50"))
    )
    assert before["7"] != after["7"]
    assert before["9"] == after["9"]


def test_two_million_columns_are_refused_with_their_number_in_bounded_memory() -> None:
    source = source_of("a.csv", ",".join(["c"] * 2_000_000) + "\n1,2\n")
    tracemalloc.start()
    refused = read_source(source, "KEY")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(refused, Refused)
    assert "2000000 columns" in refused.reason
    assert peak < 10 * source.size, "a string a cell would be thirty times as much"


def test_a_row_of_two_million_cells_is_cut_to_the_most_columns_and_said_to_be_odd() -> None:
    wide = ",".join(["1", "The tap drips in the kitchen again and again.", *["c"] * 2_000_000])
    found = read("a.csv", f"id,body\n0,The gardener prunes roses early in every year.\n{wide}\n")
    documents = documents_of(found)
    assert list(documents) == ["0", "1"]
    assert len(documents["1"].metadata) < 10_000
    assert "2000002 cells" in documents["1"].remarks[0]


def test_a_quote_that_is_never_closed_ends_the_file_and_keeps_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_ROW", 100_000)
    monkeypatch.setattr(tables, "SAMPLE", 1000)
    rows = [f"{number},{PROSE}\n" for number in range(3000)]
    content = f'id,text\n{"".join(rows[:1000])}1000,"{"".join(rows[1000:])}'
    result = read("a.csv", content)
    assert isinstance(result, Parts)
    names: list[str] = []
    with pytest.raises(ReadError, match=r"row 1001 .* not closed"):
        names += (part.name for part in result.parts)
    assert names == [str(number) for number in range(1000)]


def test_null_bytes_behind_the_beginning_are_characters() -> None:
    rows = "".join(f"{number},{PROSE}\n" for number in range(3000))
    found = documents_of(read("a.csv", f"id,text\n{rows}last,a\0b {PROSE}\n"))
    assert text_of(found["last"]) == f"a\0b {PROSE}"


class Endless(io.RawIOBase):
    """A table of so many bytes that is nowhere."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self._line = f"17,{PROSE}\n".encode()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        start = self._at % len(self._line)
        repeated = self._line * (wanted // len(self._line) + 2)
        buffer[:wanted] = repeated[start : start + wanted]
        self._at += wanted
        return wanted


def test_a_long_table_is_read_in_bounded_memory() -> None:
    size = 3_000_000

    def open_() -> BinaryIO:
        return io.BufferedReader(Endless(size))

    result = tables.read(Source("a.csv", size, open_), "KEY", ReadOptions())
    assert isinstance(result, Parts)
    tracemalloc.start()
    count = sum(1 for _ in result.parts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == -(-size // len(Endless(0)._line))
    assert peak < 1_500_000


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=20))
def test_what_a_csv_writer_wrote_is_what_is_read(rows: list[list[str]]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([["id_", "text", "other"], *([f"x{PROSE}{a}", b, c] for a, b, c in rows)])
    options = ReadOptions(text=("id_", "text", "other"))
    content = file.getvalue().encode()
    texts = [
        text_of(document) for document in documents_of(tables.read(source_of("a.csv", content), "K", options)).values()
    ]
    assert len(texts) == len(rows)
    for text, row in zip(texts, rows, strict=True):
        assert f"id_: x{PROSE}{row[0]}" in text
        assert all(not cell.strip() or cell in text for cell in row)


# JSON


def test_lines_of_json_are_rows_and_nested_metadata_stays_nested() -> None:
    lines = [{"id": "a", "text": PROSE, "by": {"name": "Ann", "tags": ["x", 2]}}, {"id": "b", "text": PROSE}]
    found = documents_of(read("a.jsonl", "\n".join(map(json.dumps, lines))))
    assert list(found) == ["a", "b"]
    assert found["a"].metadata == {"by": {"name": "Ann", "tags": ["x", 2]}}


def test_a_broken_line_is_unreadable_and_the_rest_goes_on() -> None:
    lines = [json.dumps({"text": PROSE}), '{"text": ', "[1]", json.dumps({"text": PROSE})]
    parts = parts_of(read("a.jsonl", "\n".join(lines)))
    assert [type(part) for part in parts] == [Part, Unreadable, Unreadable, Part]
    assert [part.name for part in parts] == ["1", "2", "3", "4"]
    assert isinstance(parts[1], Unreadable)
    assert parts[1].status == "failed"


@pytest.mark.parametrize("surround", ["{rows}", '{{"count": 2, "info": {{"a": [1]}}, "items": {rows}, "end": 1}}'])
def test_a_list_of_objects_is_rows_also_inside_of_an_object(surround: str) -> None:
    rows = json.dumps([{"id": number, "text": f"{PROSE} {number}"} for number in range(5)], indent=1)
    found = documents_of(read("a.json", surround.format(rows=rows)))
    assert text_of(found["3"]) == f"{PROSE} 3"


def test_the_list_to_read_can_be_named() -> None:
    content = json.dumps({"a": [{"text": PROSE}], "b": [{"text": f"{PROSE} b"}]})
    assert [text_of(one) for one in documents_of(read("a.json", content, ReadOptions(table="b"))).values()] == [
        f"{PROSE} b"
    ]


def test_a_configuration_stays_the_text_it_is() -> None:
    content = json.dumps({"name": "app", "scripts": {"test": "run it"}, "files": [{"path": "x"}]}, indent=2)
    document = read("package.json", content)
    assert isinstance(document, Document)
    assert text_of(document) == content


def test_a_log_in_json_lines_stays_the_text_it_is() -> None:
    content = '{"level": "info", "n": 1}\n{"level": "warn", "n": 2}\n'
    assert text_of(read("a.jsonl", content)) == content


def test_an_object_of_prose_is_one_document_with_its_paths_as_headings() -> None:
    content = {"title": "Tea", "year": 2020, "parts": {"leaves": [PROSE, f"{PROSE} twice"], "water": PROSE, "n": 1}}
    document = read("tea.json", json.dumps(content))
    assert isinstance(document, Document)
    assert (document.title, document.metadata) == ("Tea", {"title": "Tea", "year": 2020})
    blocks = list(document.blocks)
    assert [block.title for block in blocks if block.level] == ["parts", "leaves", "water"]
    assert [block.place for block in blocks if not block.level] == ["parts.leaves[0]", "parts.leaves[1]", "parts.water"]


def test_a_long_list_is_read_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrows, "LONGEST_VALUE", 100_000)
    rows = [{"id": str(number), "text": f"{PROSE} {'é' * (number % 50)} {number}"} for number in range(4000)]
    found = documents_of(read("a.json", json.dumps(rows, ensure_ascii=False)))
    assert [text_of(found[str(row["id"])]) for row in rows] == [row["text"] for row in rows]


def test_a_list_that_breaks_off_keeps_what_came_before() -> None:
    rows = [{"id": str(number), "text": PROSE} for number in range(400)]
    result = read("a.json", json.dumps(rows)[:-20])
    assert isinstance(result, Parts)
    names: list[str] = []
    with pytest.raises(ReadError, match=r"a\.json is not JSON to its end"):
        names += (part.name for part in result.parts)
    assert names == [str(number) for number in range(399)]


def test_values_that_json_cannot_hold_twice_are_left_out_or_replaced() -> None:
    content = '{"text": "' + PROSE + ' \\ud800", "a": NaN, "b": 1e999, "c": "\\udfff"}\n'
    document = documents_of(read("a.jsonl", content))["1"]
    assert text_of(document) == f"{PROSE} \ufffd"
    assert document.metadata == {"c": "\ufffd"}


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "[1" + "0" * 10_000 + "]", '"', "[,", "{]", "[1 2]"]
)
def test_json_that_is_none_is_text(content: str) -> None:
    document = read("a.json", content)
    assert isinstance(document, Document)
    assert text_of(document) == content


# SQLite


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "shop.db")
    opened.executescript(
        """
        CREATE TABLE goods (code TEXT PRIMARY KEY, title TEXT, about TEXT, price REAL, picture BLOB);
        CREATE TABLE sales (goods TEXT, n INTEGER);
        CREATE VIEW seen AS SELECT * FROM goods;
        CREATE TABLE notes (body TEXT);
        """
    )
    opened.executemany(
        "INSERT INTO goods VALUES (?, ?, ?, ?, ?)",
        [("k1", "Kettle", PROSE, 9.5, b"\x00"), ("l/2", "Lamp", PROSE, 4, None)],
    )
    opened.execute("INSERT INTO sales VALUES ('k1', 3)")
    opened.execute("INSERT INTO notes (rowid, body) VALUES (42, ?)", (PROSE,))
    opened.commit()
    yield opened
    opened.close()


def test_every_table_of_a_database_is_read(database: sqlite3.Connection, tmp_path: Path) -> None:
    result = read_source(file_of(tmp_path / "shop.db"), "KEY")
    found = documents_of(result)
    assert list(found) == ["goods/k1", "goods/l/2", "notes/42", "sales"]
    assert found["goods/k1"].metadata == {"price": 9.5}
    assert text_of(found["goods/k1"]) == f"Kettle\n\n{PROSE}"
    assert text_of(found["sales"]) == "goods | n\n\nk1 | 3\n\n"
    assert isinstance(result, Parts)
    assert result.remarks == ["blobs left out: goods.picture"]


def test_one_table_of_a_database_can_be_named(database: sqlite3.Connection, tmp_path: Path) -> None:
    source = file_of(tmp_path / "shop.db")
    assert list(documents_of(read_source(source, "KEY", ReadOptions(table="notes")))) == ["notes/42"]
    refused = read_source(source, "KEY", ReadOptions(table="people"))
    assert isinstance(refused, Refused)
    assert "'people'; it has goods, notes, sales" in refused.reason


def test_reading_a_database_leaves_nothing_beside_it(database: sqlite3.Connection, tmp_path: Path) -> None:
    before = (tmp_path / "shop.db").read_bytes()
    exhausted(read_source(file_of(tmp_path / "shop.db"), "KEY"))
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]
    assert (tmp_path / "shop.db").read_bytes() == before


def test_a_database_inside_of_a_file_is_read_from_a_copy(database: sqlite3.Connection, tmp_path: Path) -> None:
    assert len(documents_of(read("shop.db", (tmp_path / "shop.db").read_bytes()))) == 4


def test_what_waits_in_the_log_of_a_database_is_remarked(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("INSERT INTO sales VALUES ('l/2', 4)")
    database.commit()
    result = read_source(file_of(tmp_path / "shop.db"), "KEY")
    assert isinstance(result, Parts)
    assert any("shop.db-wal" in remark for remark in result.remarks)


def test_text_that_is_not_utf8_in_a_database_is_replaced(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.execute("INSERT INTO notes (body) VALUES (CAST(? AS TEXT))", (PROSE.encode() + b" caf\xe9",))
    database.commit()
    found = documents_of(read_source(file_of(tmp_path / "shop.db"), "KEY"))
    assert text_of(found["notes/43"]) == f"{PROSE} caf\ufffd"


def test_a_collection_is_not_taken_for_a_database(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.execute(f"PRAGMA application_id = {0x73656D65}")
    database.commit()
    refused = read_source(file_of(tmp_path / "shop.db"), "KEY")
    assert isinstance(refused, Refused)
    assert "a collection of sememe" in refused.reason


@pytest.mark.parametrize("cut", [100, 3000, 5000])
def test_a_damaged_database_is_said_to_be(database: sqlite3.Connection, tmp_path: Path, cut: int) -> None:
    damaged = (tmp_path / "shop.db").read_bytes()[:cut]
    said = "not a sound SQLite database|cannot be read to its end|a table without rows"
    try:
        result = read("shop.db", damaged)
        parts = [] if isinstance(result, Refused) else parts_of(result)
        reasons = [one.reason for one in (result, *parts) if isinstance(one, Refused | Unreadable)]
    except ReadError as error:
        reasons = [str(error)]
    assert any(re.search(said, reason) for reason in reasons), reasons


# Parquet


def parquet_of(columns: dict[str, Any], path: Path, **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_types_of_parquet_become_metadata(tmp_path: Path) -> None:
    path = parquet_of(
        {
            "id": [1, 2],
            "text": [PROSE, PROSE],
            "day": [datetime.date(2024, 5, 1), None],
            "when": [datetime.datetime(2024, 5, 1, 12, 30, tzinfo=datetime.UTC)] * 2,
            "price": [Decimal("9.50"), Decimal("3")],
            "tags": [["a", "b"], []],
            "by": [{"name": "Ann"}, {"name": "Bob"}],
            "picture": [b"\x00", b"\x01"],
        },
        tmp_path / "a.parquet",
    )
    result = read_source(file_of(path), "KEY")
    found = documents_of(result)
    assert list(found) == ["1", "2"]
    assert found["1"].metadata == {
        "day": "2024-05-01", "when": "2024-05-01T12:30:00+00:00", "price": 9.5, "tags": ["a", "b"],
        "by": {"name": "Ann"},
    }  # fmt: skip
    assert isinstance(result, Parts)
    assert result.remarks == ["binary columns left out: picture"]


def test_row_groups_of_parquet_are_read_one_after_another(tmp_path: Path) -> None:
    path = parquet_of({"text": [f"{PROSE} {n}" for n in range(5000)]}, tmp_path / "a.parquet", row_group_size=300)
    found = documents_of(read_source(file_of(path), "KEY"))
    assert [text_of(document) for document in found.values()] == [f"{PROSE} {n}" for n in range(5000)]


def test_parquet_without_prose_is_one_table(tmp_path: Path) -> None:
    path = parquet_of({"a": [1, 2], "b": ["x", "y"]}, tmp_path / "a.parquet")
    assert text_of(read_source(file_of(path), "KEY")) == "a | b\n\n1 | x\n\n2 | y\n\n"


def test_damaged_parquet_is_said_to_be(tmp_path: Path) -> None:
    content = parquet_of({"text": [PROSE] * 1000}, tmp_path / "a.parquet").read_bytes()
    for damaged in (content[:200], content[: len(content) // 2], b"PAR1\0" + content[8:-8]):
        refused = read("a.parquet", damaged)
        assert isinstance(refused, Refused)
        assert "not a sound Parquet file" in refused.reason


# What holds for all of them


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".db", ".parquet"])
@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300) | st.text(alphabet='[]{},:"\n\\0a \t', max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(suffix: str, content: bytes) -> None:
    begins = {".db": b"SQLite format 3\x00", ".parquet": b"PAR1\x00"}.get(suffix, b"")
    with contextlib.suppress(ReadError):
        exhausted(read(f"a{suffix}", begins + content))


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary() | st.dates(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_clean_values_are_json(value: Any) -> None:
    json.dumps(clean(value), allow_nan=False).encode()
    assert clean(clean(value)) == clean(value)


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=50))
def test_names_are_unique(given: list[str]) -> None:
    names = Names()
    unique = [names.unique(name, number) for number, name in enumerate(given)]
    assert len(set(unique)) == len(given)
    assert all(found.startswith(name) for found, name in zip(unique, given, strict=True))


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("a quick brown fox jumps over", 6),
        ("猫が庭で静かに眠っている午後です", 6),
        ("Быстрая рыжая лиса прыгает через пса", 6),
    ],
)
def test_prose_is_told_in_every_script(text: str, least: int) -> None:
    assert word_count(text) >= least


@pytest.mark.parametrize(
    "text", ["https://example.org/a/b-c_d?e=f", "3 4 5 6 7 8 9", "a1b2-c3d4-e5f6", "", "one,two,three"]
)
def test_what_is_no_prose_has_few_words(text: str) -> None:
    assert word_count(text) < 6
