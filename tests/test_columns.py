"""Filter columns against the oracle that goes row by row, and their file against damage."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_filters import OBJECTS, PAPER, filters, is_orderable

from sememe import failpoints
from sememe.errors import InputError
from sememe.filters import matches, parse, whole
from sememe.index.columns import Columns, NotIndexed, notes, remove_others
from sememe.search.diversify import elements, typed

Documents: TypeAlias = list[tuple[Mapping[str, Any], Sequence[int] | range]]

OTHER = {"year": 1999, "author": {"name": "Bob"}, "tags": "vectors", "published": "1999-12-31T23:00-01:00", "score": 2}


@st.composite
def collections(draw: st.DrawFn) -> tuple[int, Documents]:
    """Documents with rows here and there, rows of nobody, and documents without rows."""
    documents = draw(st.lists(OBJECTS, max_size=5))
    owners = draw(st.lists(st.integers(-1, len(documents) - 1), max_size=10))
    own = [[row for row, owner in enumerate(owners) if owner == i] for i in range(len(documents))]
    return len(owners), list(zip(documents, own, strict=True))


@st.composite
def asked(draw: st.DrawFn) -> tuple[int, Documents, dict[str, Any]]:
    """A collection, and a filter for it."""
    rows, documents = draw(collections())
    return rows, documents, draw(filters([metadata for metadata, _ in documents]))


def row_by_row(rows: int, documents: Documents, raw: Mapping[str, Any]) -> list[bool]:
    """What must be selected."""
    condition = parse(raw)
    found: list[Mapping[str, Any]] = [{}] * rows
    for metadata, own in documents:
        for row in own:
            found[row] = metadata
    return [matches(condition, metadata) for metadata in found]


def selected(documents: Sequence[Mapping[str, Any]], raw: Mapping[str, Any]) -> list[int]:
    """The rows that columns select of documents of one row each; the oracle has to agree."""
    placed: Documents = [(metadata, range(row, row + 1)) for row, metadata in enumerate(documents)]
    found = Columns.build(len(placed), placed).select(parse(raw))
    assert found.tolist() == row_by_row(len(placed), placed, raw)
    return np.flatnonzero(found).tolist()


# --- the same answers as row by row ------------------------------------------------------------------------


@settings(deadline=None)
@given(asked())
def test_columns_select_exactly_the_rows_that_match(case: tuple[int, Documents, dict[str, Any]]) -> None:
    rows, documents, raw = case
    built = Columns.build(rows, documents)
    assert built.select(parse(raw)).tolist() == row_by_row(rows, documents, raw)
    assert built.count(parse(raw)) == sum(row_by_row(rows, documents, raw))


@settings(deadline=None)
@given(collections(), st.data())
def test_tallies_are_those_of_going_row_by_row(case: tuple[int, Documents], data: st.DataObject) -> None:
    rows, documents = case
    built = Columns.build(rows, documents)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    for path in built.facts().fields:
        counted: Counter[tuple[str, Any]] = Counter()
        for metadata, own in documents:
            values = {typed(whole(v) if isinstance(v, list | dict) else v) for v in elements(metadata, path)}
            counted.update({value: int(mask[list(own)].sum()) for value in values})
        found = built.tally(path, mask)
        if found is not None:
            told: Counter[tuple[str, Any]] = Counter()
            for value, count in found:
                told[typed(value)] += count
            assert told == counted


def test_plain_values_and_lists_of_them_are_tallied_and_objects_are_not() -> None:
    rows: list[dict[str, Any]] = [
        {"price": 1, "tags": ["a", "b", "a"], "flag": True, "author": {"name": "Ada"}, "mixed": [1, [2]]},
        {"price": 2**70, "tags": "a", "flag": 1, "author": {"name": "Bob"}, "both": [1, 1.0]},
        {"price": 1.0, "tags": None, "author": {"name": "Ada"}},
    ]
    built = Columns.build(6, [(metadata, range(2 * row, 2 * row + 2)) for row, metadata in enumerate(rows)])
    everything = np.ones(6, bool)
    assert sorted(built.tally("price", everything) or ()) == [(1, 2), (1.0, 2), (2**70, 2)]
    assert sorted(map(str, built.tally("tags", everything) or ())) == [
        "('a', 2)", "('a', 2)", "('b', 2)", "(None, 2)",
    ]  # fmt: skip
    assert dict(built.tally("author.name", np.arange(6) < 4) or ()) == {"Ada": 2, "Bob": 2}
    assert sorted(map(repr, built.tally("flag", everything) or ())) == ["(1, 2)", "(True, 2)"]
    assert [built.tally(path, everything) for path in ("author", "mixed", "both")] == [None, None, None]
    assert built.tally("price", np.zeros(6, bool)) == built.tally("nowhere", everything) == []


PLAIN: list[Any] = [
    None, True, False, 0, 1, 2, -1, 1.0, 1.5, 2**53, 2.0**53, 2**53 + 1, 2**63, -(2**63), 2**70, 2.0**70, -(2**70), "",
    "a", "ab", "b", "aba", "é", "2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T12:00:00+02:00", "2024-04-30T22:00",
]  # fmt: skip


def some_value(chance: random.Random, depth: int = 0) -> Any:
    """A value of few kinds, so that many are equal; objects and lists within each other."""
    kind = chance.random()
    if depth < 3 and kind < 0.2:
        return [some_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if depth < 3 and kind < 0.4:
        return {name: some_value(chance, depth + 1) for name in "abc" if chance.random() < 0.6}
    return chance.choice(PLAIN)


def some_filter(chance: random.Random) -> dict[str, Any]:
    """A condition that often holds for objects of such values."""
    path = ".".join(chance.choice("aab") for _ in range(chance.choice((1, 1, 1, 2, 2, 3))))
    value = some_value(chance, 2)
    values = [value, *(some_value(chance, 2) for _ in range(chance.randrange(4)))]
    if isinstance(value, str) and value.startswith("2024") and chance.random() < 0.6:
        value = {"$date": value}
    plain = value if is_orderable(value) else chance.choice(PLAIN[1:])
    text = str(chance.choice(PLAIN[17:]))
    operator, operand = chance.choice((
        ("$eq", value), ("$ne", value), ("$in", values), ("$nin", values), ("$all", values[: chance.randrange(3)]),
        ("$gt", plain), ("$gte", plain), ("$lt", plain), ("$lte", plain), ("$eq", None), ("$contains", value),
        ("$contains", text[:2]), ("$prefix", text[:2]), ("$size", chance.randrange(4)), ("$exists", True),
    ))  # fmt: skip
    return {path: {operator: operand}}


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_about_many_equal_values_is_that_of_the_oracle(seed: int) -> None:
    chance = random.Random(seed)
    metadata = [{name: some_value(chance) for name in "ab" if chance.random() < 0.8} for _ in range(60)]
    rows = list(range(80))
    chance.shuffle(rows)
    documents: Documents = [(about, [rows.pop() for _ in range(chance.choice((1, 1, 2)))]) for about in metadata[:40]]
    built = Columns.build(80, documents)
    asked_for = [some_filter(chance) for _ in range(150)]
    answers = [built.select(parse(raw)).tolist() for raw in asked_for]
    assert answers == [row_by_row(80, documents, raw) for raw in asked_for]
    assert sum(0 < sum(answer) < 80 for answer in answers) > 50


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of many examples."""
    return tmp_path_factory.mktemp("columns")


@settings(max_examples=50, deadline=None)
@given(case=asked())
def test_columns_that_were_written_and_read_select_the_same(
    module_folder: Path, case: tuple[int, Documents, dict[str, Any]]
) -> None:
    rows, documents, raw = case
    built = Columns.build(rows, documents)
    generation, checksum = built.write(module_folder)
    read = Columns.read(module_folder, generation, checksum)
    assert read is not None
    assert read.rows == rows
    assert read.select(parse(raw)).tolist() == row_by_row(rows, documents, raw)
    assert read.facts() == built.facts()


@settings(max_examples=50, deadline=None)
@given(asked(), st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(case: tuple[int, Documents, dict[str, Any]], chance: Any) -> None:
    rows, documents, raw = case
    shuffled = list(documents)
    chance.shuffle(shuffled)
    one, other = Columns.build(rows, documents), Columns.build(rows, shuffled)
    assert one.select(parse(raw)).tolist() == other.select(parse(raw)).tolist()
    assert one.facts() == other.facts()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_conditions_are_sets_of_rows(data: st.DataObject) -> None:
    rows, documents = data.draw(collections())
    made = filters([metadata for metadata, _ in documents])
    built, one, other = Columns.build(rows, documents), data.draw(made), data.draw(made)

    def select(raw: dict[str, Any]) -> list[bool]:
        found: list[bool] = built.select(parse(raw)).tolist()
        return found

    a, b = np.array(select(one), bool), np.array(select(other), bool)
    assert select({"$and": [one, other]}) == (a & b).tolist()
    assert select({"$or": [one, other]}) == (a | b).tolist()
    assert select({"$nor": [one, other]}) == (~(a | b)).tolist()
    assert select({"$not": one}) == (~a).tolist()
    assert select({"$not": {"$not": one}}) == a.tolist()
    assert a.tolist() == select(one), "an answer is not changed by later questions"


@pytest.mark.parametrize(
    ("raw", "rows"),
    [
        ({}, [0, 1, 2]),
        ({"year": {"$gte": 2000}}, [0]),
        ({"year": {"$ne": 2021}}, [1, 2]),
        ({"year": None}, [2]),
        ({"score": {"$gt": 0.25, "$lte": 2}}, [0, 1]),
        ({"score": {"$in": [2.0, 3]}}, [1]),
        ({"tags": "vectors"}, [0, 1]),
        ({"tags": {"$contains": "vectors"}}, [0, 1]),
        ({"tags": {"$contains": "vec"}}, [1]),
        ({"tags": {"$prefix": "vec"}}, [0, 1]),
        ({"tags": ["search", "vectors", 7]}, [0]),
        ({"author.name": {"$in": ["Bob", "Ann", "Eve"]}}, [0, 1]),
        ({"author": {"name": "Bob"}}, [1]),
        ({"author.born": None}, [1, 2]),
        ({"reviews.late": None}, [0, 1, 2]),
        ({"reviews.late": {"$exists": True}}, [0]),
        ({"published": date(2000, 1, 1)}, [1]),
        ({"published": {"$gte": date(2000, 1, 1)}}, [0, 1]),
        ({"published": {"$gte": "2000"}}, [0]),
        ({"empty": {"$size": 0}}, [0]),
        ({"draft": False}, [0]),
        ({"nowhere.at.all": {"$exists": False}}, [0, 1, 2]),
    ],
    ids=str,
)
def test_three_documents_are_told_apart(raw: dict[str, Any], rows: list[int]) -> None:
    assert selected([PAPER, OTHER, {}], raw) == rows


def test_a_part_is_not_found_across_the_border_of_two_strings() -> None:
    assert selected([{"s": "a"}, {"s": "aa"}, {"s": "ab"}, {"s": "ba"}], {"s": {"$contains": "aa"}}) == [1]


def test_every_string_has_the_empty_one_in_it() -> None:
    documents: list[dict[str, Any]] = [{"s": ""}, {"s": "a"}, {"s": 1}, {"s": ["a"]}, {"s": [""]}, {}]
    assert selected(documents, {"s": {"$contains": ""}}) == [0, 1, 4]
    assert selected(documents, {"s": {"$prefix": ""}}) == [0, 1, 3, 4]


def test_strings_are_held_apart_by_case_accent_and_length() -> None:
    words = ["", "a", "A", "á", "a\u0301", "a\x00", "日本", "\U0001f600", "\ud800", "a" * 5000]
    for row, word in enumerate(words):
        assert selected([{"s": word} for word in words], {"s": word}) == [row]


def test_strings_with_the_same_hash_are_held_apart() -> None:
    assert selected([{"s": "plumless"}, {"s": "other"}], {"s": "buckeroo"}) == []
    assert selected([{"s": "plumless"}, {"s": "buckeroo"}], {"s": {"$in": ["buckeroo", "x"]}}) == [1]


def test_integers_are_exact_on_both_sides_of_every_border() -> None:
    numbers = [
        n for border in (2**53, 2**63, 2**64, 2**1023) for n in (border - 1, border, border + 1, -border, 1 - border)
    ]
    documents = [{"n": n} for n in numbers] + [{"n": float(2**53)}, {"n": 1e300}, {"n": -1e300}, {"n": 0.5}]
    for operand in (*numbers, 2.0**53, 2.0**64, -(2.0**1023), 10**400, -(10**400), 0.75):
        equal = [row for row, document in enumerate(documents) if document["n"] == operand]
        less = [row for row, document in enumerate(documents) if document["n"] < operand]
        assert selected(documents, {"n": operand}) == equal
        assert selected(documents, {"n": {"$lt": operand}}) == less
        assert selected(documents, {"n": {"$lte": operand}}) == sorted(less + equal)


@pytest.mark.parametrize("distinct", [200, 255, 256, 3000, 65_535, 65_536])
def test_fields_with_few_and_with_many_values_are_answered_alike(distinct: int) -> None:
    rows = 70_000
    values = np.random.default_rng(distinct).permutation(np.arange(rows) % distinct)
    documents: Documents = [({"n": n, "s": f"{n:05d}"}, range(i, i + 1)) for i, n in enumerate(values.tolist())]
    built = Columns.build(rows, documents)
    several = np.random.default_rng(1).choice(distinct, 100).tolist()
    for raw, expected in (
        ({"n": {"$gte": distinct - 3}}, values >= distinct - 3),
        ({"n": {"$lt": distinct // 2}}, values < distinct // 2),
        ({"n": {"$in": several}}, np.isin(values, several)),
        ({"s": {"$in": [f"{n:05d}" for n in several]}}, np.isin(values, several)),
        ({"s": {"$gt": f"{distinct // 3:05d}"}}, values > distinct // 3),
        ({"s": {"$prefix": "0001"}}, (values >= 10) & (values < 20)),
        ({"s": {"$contains": "77"}}, np.char.find(np.char.zfill(values.astype(str), 5), "77") >= 0),
        ({"n": {"$exists": True}}, values >= 0),
    ):
        assert np.array_equal(built.select(parse(raw)), expected), raw


def test_strings_that_come_again_after_many_others_are_one_value() -> None:
    rows = 150_000
    documents: Documents = [({"s": f"{i % 70_000}"}, range(i, i + 1)) for i in range(rows)]
    built = Columns.build(rows, documents)
    assert np.flatnonzero(built.select(parse({"s": "69999"}))).tolist() == [69_999, 139_999]
    assert built.facts().fields["s"].distinct == 70_000


def test_chunks_of_a_document_answer_together_wherever_their_rows_are() -> None:
    documents: Documents = [({"n": 1}, range(2, 5)), ({"n": 2}, [0, 6, 1]), ({"n": 3}, np.array([7]))]
    built = Columns.build(9, documents)
    assert np.flatnonzero(built.select(parse({"n": 1}))).tolist() == [2, 3, 4]
    assert np.flatnonzero(built.select(parse({"n": 2}))).tolist() == [0, 1, 6]
    assert np.flatnonzero(built.select(parse({"n": {"$ne": 2}}))).tolist() == [2, 3, 4, 5, 7, 8]
    assert built.facts().documents == 3
    assert built.facts().fields["n"].documents == 3


def test_rows_of_no_document_are_answered_as_empty_ones() -> None:
    built = Columns.build(3, [({"n": 1}, [1])])
    assert built.select(parse({"n": None})).tolist() == [True, False, True]
    assert built.select(parse({"n": {"$exists": True}})).tolist() == [False, True, False]


def test_an_empty_collection_has_no_rows_to_select(tmp_path: Path) -> None:
    read = Columns.read(tmp_path, *Columns.build(0, []).write(tmp_path))
    assert read is not None
    assert read.select(parse({"$or": [{"n": 1}, {"n": None}]})).tolist() == []
    assert read.facts().fields == {}


@pytest.mark.parametrize("own", [[3], [-1], [0, 3]])
def test_a_row_that_does_not_exist_is_refused(own: list[int]) -> None:
    with pytest.raises(ValueError, match="rows 0 to 2"):
        Columns.build(3, [({}, own)])


def test_a_row_of_two_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows, of which 1 are different"):
        Columns.build(3, [({}, [1]), ({}, [1])])


def test_paths_beyond_the_limit_are_not_answered_and_the_others_are() -> None:
    documents: Documents = [
        ({"first": 1}, [0]), ({f"n{i}": i for i in range(10_000)}, [1]), ({"first": 1, "n9999": 1}, [2]),
    ]  # fmt: skip
    built = Columns.build(3, documents)
    assert built.select(parse({"first": 1})).tolist() == [True, False, True]
    assert built.select(parse({"n9998": 9998})).tolist() == [False, True, False]
    for raw in ({"n9999": 1}, {"n9999": None}, {"never": {"$exists": False}}, {"first.n": None}):
        with pytest.raises(NotIndexed, match="10,000"):
            built.select(parse(raw))
    assert notes(parse({"n9999": 1}), built.facts()) == []


def test_names_that_no_filter_can_ask_for_take_no_room() -> None:
    odd = {"a.b": 1, "$c": 2, "@d": 3, "a": {"b": 4, "c.d": 5}}
    assert set(Columns.build(1, [(odd, [0])]).facts().fields) == {"a", "a.b"}
    assert selected([odd], {"a.b": 1}) == []
    assert selected([odd], {"a.b": 4}) == [0]


def test_objects_nested_deeper_than_any_path_are_left_alone() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(200):
        deep = {"x": deep}
    assert selected([deep, {"x": 1}], {"x": {"$exists": True}}) == [0, 1]
    assert selected([deep, {"x": 1}], {".".join("x" * 64): {"$exists": True}}) == [0]
    assert selected([deep, {"x": 1}], {".".join("x" * 64): None}) == [1]


def test_threads_may_ask_at_once() -> None:
    documents: Documents = [({f"f{i % 50}": i, "s": str(i)}, range(i, i + 1)) for i in range(2000)]
    built, wrong = Columns.build(2000, documents), []

    def ask(start: int) -> None:
        for i in range(start, start + 400):
            number = i % 2000
            found = built.select(parse({f"f{number % 50}": number, "s": {"$contains": str(number)}}))
            if np.flatnonzero(found).tolist() != [number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 1, 700, 1300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- what is said aloud ------------------------------------------------------------------------------------


def facts_of(*documents: Mapping[str, Any]) -> Any:
    """Facts of documents with a row each."""
    return Columns.build(len(documents), [(metadata, [row]) for row, metadata in enumerate(documents)]).facts()


def test_facts_count_documents_kinds_and_values() -> None:
    known = facts_of(PAPER, OTHER, {"year": "2021", "n": [2**70, 0.5, -(2**70)]}, {})
    assert known.documents == 4
    year = known.fields["year"]
    assert (year.documents, year.kinds, year.distinct) == (3, {"number": 2, "string": 1}, 3)
    assert year.extremes == {"number": (1999, 2021), "string": ("2021", "2021")}
    tags = known.fields["tags"]
    assert (tags.documents, tags.kinds) == (2, {"list": 1, "number": 1, "string": 2})
    assert known.fields["published"].extremes["date"] == ("2000-01-01T00:00:00+00:00", "2021-03-04T00:00:00+00:00")
    assert known.fields["n"].extremes["number"] == (-(2**70), 2**70)
    assert known.fields["author"].kinds == {"object": 2}
    assert known.fields["reviews.by"].documents == 1


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"yaer": 2021},
            ["no document has a field 'yaer'; there are: year, author, author.born, author.name, draft, editor, empty, "
             "published, reviews, reviews.by and 4 more"],
        ),
        (
            {"$not": {"author.nam": None}},
            ["no document has a field 'author.nam'; there are: author.name, author.born, author, draft, editor, empty, "
             "published, reviews, reviews.by, reviews.late and 4 more"],
        ),
        ({"year": "2021"}, ["'year' holds numbers, and is compared with a string"]),
        ({"year": {"$gte": date(2021, 1, 1)}}, ["'year' holds numbers, and is compared with a date"]),
        ({"tags": {"$gt": True}}, ["'tags' holds lists and numbers and strings, and is compared with a boolean"]),
        ({"@title": date(2021, 1, 1)}, ["'@title' holds strings, none of them a date, and is compared with a date"]),
        ({"author": "Ann"}, ["'author' holds objects, and is compared with a string"]),
        ({"year": {"$size": 1}}, ["'year' holds numbers, and is compared with a list"]),
        ({"year": {"$in": [1, "2021"]}}, []),
        ({"year": {"$ne": None}}, []),
        ({"published": {"$lt": date(1, 1, 1)}}, []),
        ({"tags": {"$contains": "nothing"}}, []),
        ({"year": {"$exists": False}}, []),
        ({}, []),
    ],
    ids=str,
)  # fmt: skip
def test_notes_name_fields_that_are_not_there_and_types_that_never_match(raw: dict[str, Any], said: list[str]) -> None:
    assert notes(parse(raw), facts_of(PAPER, OTHER)) == said


def test_a_note_lists_ten_fields_at_most_and_says_each_thing_once() -> None:
    known = facts_of({f"field{i}": i for i in range(15)})
    (note,) = notes(parse({"$or": [{"filed": 1}, {"filed": 2}, {"filed": None}]}), known)
    assert note.count("field") == 11
    assert note.endswith("and 5 more")


def test_a_note_does_not_offer_fields_where_there_are_none() -> None:
    assert notes(parse({"year": 1}), facts_of({"@key": "a"})) == ["no document has a field 'year', or any other"]


# --- the file ----------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, str, int]:
    """A folder with the columns of 3,000 rows, their generation and checksum."""
    documents: Documents = [({**PAPER, "n": i, "s": f"text {i}"}, range(3 * i, 3 * i + 3)) for i in range(1000)]
    generation, checksum = Columns.build(3000, documents).write(tmp_path)
    return tmp_path, generation, checksum


def test_a_file_is_named_by_its_generation_and_is_all_there_is(written: tuple[Path, str, int]) -> None:
    folder, generation, checksum = written
    assert [path.name for path in folder.iterdir()] == [f"columns-{generation}.bin"]
    read = Columns.read(folder, generation, checksum)
    assert read is not None
    assert read.size == next(folder.iterdir()).stat().st_size
    assert read.count(parse({"n": {"$lt": 10}})) == 30


def damage_by(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    """A change of a file's bytes."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return damage


def flip(at: int) -> Callable[[bytearray], None]:
    """Turns a bit around."""

    def change(content: bytearray) -> None:
        content[at] ^= 1

    return change


def swap_pages(content: bytearray) -> None:
    """Two pages change places."""
    content[64:4160], content[4160:8256] = content[4160:8256], content[64:4160]


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        damage_by(bytearray.clear),
        damage_by(lambda content: content.__delitem__(slice(20, None))),
        damage_by(lambda content: content.__delitem__(slice(64, None))),
        damage_by(lambda content: content.__delitem__(slice(-1, None))),
        damage_by(lambda content: content.__delitem__(slice(-8, None))),
        damage_by(lambda content: content.extend(bytes(8))),
        *(damage_by(flip(at)) for at in (0, 20, 33, 63, 64, 5000, -1, -9, -300)),
        damage_by(swap_pages),
    ],
)
def test_a_missing_or_damaged_file_is_not_read(written: tuple[Path, str, int], damage: Callable[[Path], None]) -> None:
    folder, generation, checksum = written
    damage(folder / f"columns-{generation}.bin")
    assert Columns.read(folder, generation, checksum) is None


def test_a_file_of_another_generation_or_checksum_is_not_read(written: tuple[Path, str, int]) -> None:
    folder, generation, checksum = written
    (folder / f"columns-{generation}.bin").rename(folder / "columns-0123456789abcdef.bin")
    assert Columns.read(folder, "0123456789abcdef", checksum) is None
    assert Columns.read(folder, generation, checksum) is None


def test_a_wrong_checksum_is_not_read(written: tuple[Path, str, int]) -> None:
    folder, generation, checksum = written
    assert Columns.read(folder, generation, checksum ^ 1) is None


def test_every_write_is_a_new_generation_and_only_the_kept_one_stays(written: tuple[Path, str, int]) -> None:
    folder, generation, checksum = written
    (folder / "vectors-0.ids").write_bytes(b"")
    newer, _ = Columns.build(1, [({}, [0])]).write(folder)
    assert newer != generation
    remove_others(folder, generation)
    assert sorted(path.name for path in folder.iterdir()) == [f"columns-{generation}.bin", "vectors-0.ids"]
    assert Columns.read(folder, generation, checksum) is not None
    remove_others(folder, None)
    assert [path.name for path in folder.iterdir()] == ["vectors-0.ids"]


def test_columns_are_readable_after_their_file_is_removed(written: tuple[Path, str, int]) -> None:
    folder, generation, checksum = written
    read = Columns.read(folder, generation, checksum)
    assert read is not None
    remove_others(folder, None)
    assert read.count(parse({"s": "text 7"})) == 3


def test_a_file_that_cannot_grow_is_not_left_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    built = Columns.build(1000, [({"s": f"text {i}"}, [i]) for i in range(1000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            built.write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_crash_can_be_asked_for_when_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[tuple[str, int]] = []
    built = Columns.build(1, [({"n": 1}, [0])])
    monkeypatch.setattr(failpoints, "hook", lambda name: reached.append((name, len(list(tmp_path.iterdir())))))
    built.write(tmp_path)
    remove_others(tmp_path, None)
    assert reached == [("columns written", 1), ("old columns file removed", 0)]


def test_a_filter_that_is_refused_never_reaches_the_columns() -> None:
    with pytest.raises(InputError):
        selected([PAPER], {"year": {"$gt": [1]}})
