"""What filters mean, row by row, and how malformed ones are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sememe.errors import InputError
from sememe.filters import Compare, Condition, describe, fields, instant, iso, leaves, matches, parse

PAPER = {
    "year": 2021, "author": {"name": "Ann", "born": 1970}, "tags": ["search", "vectors", 7], "score": 0.5,
    "published": "2021-03-04", "draft": False, "editor": None, "empty": [],
    "reviews": [{"by": "Bob", "stars": 4}, {"by": "Cleo", "stars": 2, "late": True}], "@key": "papers/one.md",
    "@title": "One", "@media_type": "text/markdown", "@added": "2024-05-01T10:00:00+00:00",
}  # fmt: skip


def holds(raw: Mapping[str, Any], metadata: Mapping[str, Any] = PAPER) -> bool:
    """Whether a filter lets a document through."""
    return matches(parse(raw), metadata)


# --- what is asked, as properties --------------------------------------------------------------------------

NAMES = ["a", "b", "c", "ä"]
DATES = [
    "2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T02:00:00+02:00", "2024-05-01T00:00:00.000001", "0001-01-01",
    "9999-12-31T23:59:59", "2024-02-30", "1969-12-31 23:59", "0001-01-01T00:00+14:00",
]  # fmt: skip
INTEGERS = st.sampled_from([0, 1, 2, -1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, -(2**63) - 1, 2**70, -(2**70)])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.5, -0.5, 2.0**53, 2.0**63, -(2.0**63), 1e300, -1e300, 5e-324])
TEXTS = st.sampled_from(["", "a", "ab", "aba", "b", "B", "é", "e\u0301", "\U0001f600", "\ud800", "\x00", "1", *DATES])
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS, st.sampled_from([float("inf"), float("nan")]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from([*NAMES, "@title", "@other", "a.b", "$a"]), VALUES, max_size=4)


def is_operand(value: Any) -> bool:
    """Whether a filter may compare with the value."""
    try:
        parse({"a": {"$in": [value]}})
    except InputError:
        return False
    return True


def insides(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """The paths of a value's fields with what lies there, and elements of lists with the path of their list."""
    if isinstance(value, Mapping):
        below = [pair for name, inner in value.items() for pair in insides(inner, f"{path}.{name}".lstrip("."))]
    elif isinstance(value, list):
        below = [pair for inner in value for pair in insides(inner, path)]
    else:
        below = []
    return [(path, value), *below] if path else below


MOMENTS = st.sampled_from(DATES[:5]).map(lambda text: {"$date": text})
OPERANDS = st.one_of(VALUES, MOMENTS).filter(is_operand)
ORDERED = st.one_of(st.booleans(), INTEGERS, FLOATS, TEXTS, MOMENTS)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(".".join) | st.just("@title")


@st.composite
def conditions(draw: st.DrawFn, documents: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A condition on one field, mostly on a field and a value that the documents have."""
    pairs = [pair for document in documents for pair in insides(document)]
    inside = [(path, value) for path, value in pairs if "$" not in path and ("@" not in path or path == "@title")]
    path, value = draw(st.sampled_from([*inside, ("a", 1), ("b.c", None)]))
    if not draw(st.integers(0, 5)):
        path = draw(PATHS)
    operand = value if is_operand(value) else draw(OPERANDS)
    if operand in DATES[:5] and draw(st.booleans()):
        operand = {"$date": operand}
    cut = draw(st.integers(0, 2))
    operators: dict[str, Any] = {
        **dict.fromkeys(("$eq", "$ne"), operand),
        **dict.fromkeys(("$in", "$nin"), [operand, *draw(st.lists(OPERANDS, max_size=2))][cut % 2 :]),
        "$all": [*([operand] if cut else []), *draw(st.lists(st.just(operand), max_size=1))],
        **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), operand if is_orderable(operand) else draw(ORDERED)),
        "$contains": operand[cut:] if isinstance(operand, str) else operand,
        "$prefix": operand[:cut] if isinstance(operand, str) else "a",
        "$size": len(value) if isinstance(value, list) else cut,
        "$exists": bool(cut),
    }
    name = draw(st.sampled_from(sorted(operators)))
    condition = {name: operators[name]}
    return {path: {"$not": condition} if draw(st.booleans()) else condition}


def is_orderable(operand: Any) -> bool:
    """Whether a filter may ask for what is less or greater."""
    return not (operand is None or isinstance(operand, list) or (isinstance(operand, dict) and "$date" not in operand))


def filters(documents: list[Mapping[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on fields of the documents, joined."""
    return st.recursive(
        conditions(documents),
        lambda inner: st.builds(
            lambda name, parts: {name: parts},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        max_leaves=4,
    )


ODD = {
    "a": [2**70, 1e300, "", "\x00", "é", "\ud800", {"b": None, "c": [True, 1.0]}],
    "ä": "2024-05-01",
    "b": {"b": DATES[4]},
}
FILTERS = filters([PAPER, ODD])


@settings(deadline=None)
@given(FILTERS)
def test_a_condition_prints_as_a_filter_that_means_the_same(raw: dict[str, Any]) -> None:
    condition = parse(raw)
    again = parse(json.loads(condition.text))
    assert again == condition
    assert again.text == condition.text
    assert hash(again) == hash(condition)


@settings(deadline=None)
@given(st.lists(FILTERS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_order_and_number_of_parts_do_not_change_the_text(
    parts: list[dict[str, Any]], chance: random.Random
) -> None:
    shuffled = [*parts, parts[0]]
    chance.shuffle(shuffled)
    for name in ("$and", "$or", "$nor"):
        assert parse({name: shuffled}).text == parse({name: parts}).text


@settings(deadline=None)
@given(OBJECTS, st.data())
def test_not_turns_every_answer_around(metadata: dict[str, Any], data: st.DataObject) -> None:
    raw = data.draw(filters([metadata]))
    assert holds({"$not": raw}, metadata) is not holds(raw, metadata)
    assert holds({"$nor": [raw]}, metadata) is not holds(raw, metadata)
    assert parse({"$not": {"$not": raw}}) == parse(raw)


KEYS = st.sampled_from(["a", "a.b", "$and", "$or", "$not", "$gt", "$in", "$date", "$x", "@x"])
JSON = st.recursive(
    SCALARS | st.sampled_from(["$date", "$in"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(JSON)
def test_whatever_is_passed_is_a_condition_or_one_clear_sentence(raw: Any) -> None:
    try:
        condition = parse(raw)
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 500
    else:
        assert isinstance(matches(condition, PAPER), bool)
        assert describe(condition)


# --- what is asked, by example -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"year": 2021},
        {"year": 2021.0},
        {"year": {"$eq": 2021}},
        {"year": {"$gte": 2020, "$lt": 2022}},
        {"year": {"$gt": 2020.5}},
        {"author.name": "Ann"},
        {"author": {"name": "Ann", "born": 1970}},
        {"author": {"born": 1970.0, "name": "Ann"}},
        {"tags": "search"},
        {"tags": 7},
        {"tags": ["search", "vectors", 7]},
        {"tags": {"$contains": "vectors"}},
        {"tags": {"$all": ["vectors", "search"]}},
        {"tags": {"$size": 3}},
        {"tags": {"$in": ["nothing", "search"]}},
        {"tags": {"$nin": ["nothing"]}},
        {"tags": {"$prefix": "vec"}},
        {"empty": []},
        {"empty": {"$size": 0}},
        {"empty": {"$exists": True}},
        {"empty": {"$ne": None}},
        {"reviews.by": "Cleo"},
        {"reviews.stars": {"$lt": 3}},
        {"reviews.late": None},
        {"reviews": {"$size": 2}},
        {"reviews": {"by": "Bob", "stars": 4}},
        {"editor": None},
        {"editor": {"$exists": True}},
        {"publisher": None},
        {"publisher": {"$exists": False}},
        {"publisher.name": None},
        {"year.month": None},
        {"publisher": {"$ne": "x"}},
        {"publisher": {"$nin": ["x"]}},
        {"publisher": {"$not": {"$gt": 5}}},
        {"draft": False},
        {"draft": {"$lt": True}},
        {"@title": {"$prefix": "O"}},
        {"@title": {"$contains": "n"}},
        {"@key": "papers/one.md"},
        {"@added": {"$gte": "2024-05-01", "$lt": "2024-05-02"}},
        {"@added": {"$gt": date(2024, 5, 1)}},
        {"$or": [{"year": 1}, {"author.name": "Ann"}]},
        {"$and": [{"year": 2021}, {}]},
        {"$nor": [{"year": 1}, {"year": 2}]},
        {"$not": {"year": 1}},
        {"year": {"$not": {"$gt": 2030}, "$nin": []}},
    ],
    ids=str,
)
def test_the_paper_is_found(raw: dict[str, Any]) -> None:
    assert holds(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"year": "2021"},
        {"year": True},
        {"year": {"$gte": "2020"}},
        {"year": {"$contains": 2021}},
        {"author": "Ann"},
        {"author": {"name": "Ann"}},
        {"author.name.first": "Ann"},
        {"tags": "SEARCH"},
        {"tags": {"$contains": "vec"}},
        {"tags": ["vectors", "search", 7]},
        {"tags": {"$all": ["search", "nothing"]}},
        {"tags": {"$all": []}},
        {"tags": {"$ne": "search"}},
        {"tags": {"$nin": ["search"]}},
        {"tags.0": "search"},
        {"tags.name": None},
        {"tags.name": {"$exists": True}},
        {"empty": None},
        {"empty.name": None},
        {"year": {"$in": []}},
        {"year": {"$size": 1}},
        {"draft": 0},
        {"draft": {"$lt": 1}},
        {"score": {"$gt": 0.5}},
        {"@title": {"$contains": "o"}},
        {"reviews.stars": {"$gt": 4}},
        {"reviews.by": {"$ne": "Bob"}},
        {"editor": {"$exists": False}},
        {"editor": {"$gte": 0}},
        {"$or": [{"year": 1}, {"year": 2}]},
        {"$nor": [{}]},
        {"$not": {}},
    ],
    ids=str,
)
def test_the_paper_is_not_found(raw: dict[str, Any]) -> None:
    assert not holds(raw)


def test_two_operators_may_be_met_by_two_elements_of_a_list() -> None:
    assert holds({"n": {"$gt": 1, "$lt": 3}}, {"n": [0, 5]})


def test_elements_of_a_list_within_a_list_are_reached_only_as_a_whole() -> None:
    nested = {"n": [[1, 2], 3], "deep": [[{"x": 1}]]}
    assert holds({"n": [1, 2]}, nested)
    assert holds({"n": 3}, nested)
    assert not holds({"n": 1}, nested)
    assert not holds({"deep.x": 1}, nested)


def test_null_matches_where_one_object_of_a_list_lacks_the_name() -> None:
    assert holds({"a.b": None}, {"a": [{"b": 1}, {"c": 2}]})
    assert not holds({"a.b": None}, {"a": [{"b": 1}, 5]})
    assert not holds({"a.b": None}, {"a": []})
    assert holds({"a.b": None}, {"a": 5})


def test_numbers_are_compared_by_value_whatever_their_size() -> None:
    assert not holds({"n": 2**53 + 1}, {"n": 2.0**53})
    assert holds({"n": {"$gt": 2.0**53}}, {"n": 2**53 + 1})
    assert holds({"n": 10**20}, {"n": 1e20})
    assert holds({"n": {"$lt": 10**400}}, {"n": 1.7e308})
    assert not holds({"n": {"$in": [2**64 + 1]}}, {"n": 2**64})


def test_strings_are_compared_by_code_point_and_are_not_normalised() -> None:
    assert holds({"s": {"$gt": "z"}}, {"s": "é"})
    assert not holds({"s": "e\u0301"}, {"s": "é"})
    assert holds({"s": {"$prefix": ""}}, {"s": ""})
    assert holds({"s": {"$contains": "\x00"}}, {"s": "a\x00b"})


TOKYO = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    "given_as",
    [
        date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 9, tzinfo=TOKYO),
        {"$date": "2024-05-01"}, {"$date": "2024-05-01T00:00:00Z"}, {"$date": "2024-05-01T09:00+09:00"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "stored", ["2024-05-01", "2024-05-01T00:00", "2024-05-01 00:00:00.000000Z", "2024-04-30T20:00-04"]
)
def test_one_instant_is_equal_however_it_is_written(given_as: Any, stored: str) -> None:
    assert holds({"d": given_as}, {"d": stored})
    assert holds({"d": {"$in": [given_as]}}, {"d": [stored]})
    assert holds({"d": {"$gte": given_as, "$lte": given_as}}, {"d": stored})
    assert not holds({"d": {"$gt": given_as}}, {"d": stored})


def test_a_day_is_its_first_instant_so_a_day_is_asked_for_as_a_range() -> None:
    noon = {"d": "2024-05-01T12:00Z"}
    assert not holds({"d": date(2024, 5, 1)}, noon)
    assert holds({"d": {"$gte": date(2024, 5, 1), "$lt": date(2024, 5, 2)}}, noon)


@pytest.mark.parametrize(
    "stored", ["2024-02-30", "May 2024", "2024", "20240501", "2024-05-01T25:00", "2024-05-01 ", 1714521600, None, ["x"]]
)
def test_a_date_compares_with_nothing_but_dates(stored: Any) -> None:
    assert not holds({"d": {"$gt": date(1, 1, 1)}}, {"d": stored})
    assert not holds({"d": {"$lte": date(9999, 12, 31)}}, {"d": stored})


def test_a_string_compares_with_a_date_as_a_string() -> None:
    assert holds({"d": {"$gte": "2024"}}, {"d": "2024-05-01"})
    assert not holds({"d": "2024-05-01"}, {"d": "2024-05-01T00:00Z"})


@settings(deadline=None)
@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_instants_are_those_of_the_calendar(moment: datetime) -> None:
    offset = moment.utcoffset() or timedelta()
    assume(offset % timedelta(minutes=1) == timedelta(0))
    naive = moment.replace(tzinfo=None)
    micros = (naive - datetime(1970, 1, 1) - offset) // timedelta(microseconds=1)
    assert instant(moment.isoformat()) == micros
    assert instant(iso(micros)) == micros or not datetime.min <= naive - max(offset, timedelta()) <= datetime.max


class Level(IntEnum):
    HIGH = 3


def test_subclasses_of_plain_types_are_compared_as_those() -> None:
    assert holds({"n": Level.HIGH}, {"n": 3})
    assert holds({"n": 0.5}, {"n": np.float64(0.5)})
    assert holds({"n": (1, 2)}, {"n": [1, 2]})


def test_an_object_whose_names_are_no_strings_equals_nothing() -> None:
    assert not holds({"n": {"1": 2}}, {"n": {1: 2}})
    assert not holds({"n": {"1": {}}}, {"n": {1: {}}})
    with pytest.raises(InputError, match="what JSON can"):
        parse({"n": {1: 2}})


def test_a_value_that_json_cannot_hold_exists_and_equals_nothing() -> None:
    odd = {"n": float("nan"), "d": datetime(2024, 5, 1)}
    assert holds({"n": {"$exists": True}, "d": {"$exists": True}}, odd)
    assert not holds({"$or": [{"n": {"$gte": 0}}, {"n": {"$lt": 0}}, {"d": date(2024, 5, 1)}, {"d": None}]}, odd)


# --- the tree ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": {"$eq": 1.0}}),
        ({"a": 1, "b": 2}, {"$and": [{"b": 2}, {"a": 1}, {}]}),
        ({"a": {"$in": [2, 1, 1]}}, {"a": {"$in": [1, 2]}}),
        ({"a": {"$ne": 1}}, {"a": {"$not": {"$eq": 1}}}),
        ({"a": {"$nin": [1]}}, {"$nor": [{"a": 1}]}),
        ({"a": {"$all": [1, 2]}}, {"$and": [{"a": 2}, {"a": 1}]}),
        ({"a": {"$in": []}}, {"$nor": [{}]}),
        ({"a": {"$nin": []}}, {}),
        ({"a": {"$exists": False}}, {"a": {"$not": {"$exists": True}}}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"$eq": {"y": 2, "x": 1}}}),
        ({"a": date(2024, 5, 1)}, {"a": {"$date": "2024-05-01T02:00+02:00"}}),
        ({"@added": "2024-05-01"}, {"@added": {"$date": "2024-05-01"}}),
        ({"$or": [{"$or": [{"a": 1}, {"b": 1}]}, {"a": 1}]}, {"$or": [{"b": 1}, {"a": 1}]}),
    ],
    ids=str,
)
def test_two_spellings_of_a_filter_are_one_condition(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parse(one) == parse(other)
    assert parse(one).text == parse(other).text
    assert len({parse(one), parse(other)}) == 1


def test_conditions_that_python_would_hold_to_be_equal_are_different() -> None:
    assert len({parse({"a": value}) for value in (1, True, "1", None, [1], [True])}) == 6
    assert parse({"a": {"$gt": 1}}) != parse({"a": {"$gt": True}})


def test_the_fields_of_a_condition_are_its_paths() -> None:
    condition = parse({"year": 1, "$or": [{"author.name": None}, {"tags": {"$not": {"$size": 2}}}], "a": {"$in": []}})
    assert fields(parse({"year": 1, "$or": [{"author.name": None}, {"tags": {"$not": {"$size": 2}}}]})) == {
        "year", "author.name", "tags",
    }  # fmt: skip
    assert not fields(condition)
    assert [type(leaf) for leaf in leaves(parse({"year": {"$gt": 1}}))] == [Compare]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "everything"),
        ({"a": {"$in": []}}, "nothing"),
        ({"year": {"$gte": 2020}, "author": "Ann"}, 'author = "Ann" and year ≥ 2020'),
        ({"$or": [{"a": None}, {"b": {"$exists": False}}]}, "not (b exists) or a = null"),
        ({"a": {"$in": [1, 2, 3, 4, 5]}}, "a is one of 1, 2, 3 and 2 more"),
        ({"d": {"$lt": date(2024, 5, 1)}}, "d < 2024-05-01T00:00:00+00:00"),
        ({"a": 1, "$or": [{"b": {"$size": 2}}, {"c": {"$prefix": "x"}}]},
         '(b is a list of length 2 or c begins with "x") and a = 1'),
    ],
)  # fmt: skip
def test_a_condition_is_described_in_words(raw: dict[str, Any], words: str) -> None:
    assert describe(parse(raw)) == words


# --- what is refused ---------------------------------------------------------------------------------------


def shown(value: Any) -> str | None:
    """What a refusal names, as the name of a test."""
    return " ".join(value) if isinstance(value, list) and all(isinstance(part, str) for part in value) else None


def deep(levels: int) -> dict[str, Any]:
    """A filter of so many levels."""
    raw: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        raw = {"$and": [raw]}
    return raw


def deep_list(levels: int) -> list[Any]:
    """A list of so many levels."""
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ([], ["the filter is []", "give a mapping"]),
        ("year > 5", ["'year > 5'", "give a mapping"]),
        (None, ["the filter is None"]),
        ({5: 1}, ["key 5", "strings"]),
        ({"year": {"$gte": 1, 5: 1}}, ["'year'", "5 beside operators"]),
        ({"year": {"$in": 5}}, ["$in of 'year' is 5", "list"]),
        ({"year": {"$nin": "ab"}}, ["$nin of 'year' is 'ab'", "list"]),
        ({"year": {"$all": {}}}, ["$all of 'year'", "list"]),
        ({"year": {"$gte": [1]}}, ["$gte of 'year' is [1]", "a number, a string, a boolean or a date"]),
        ({"year": {"$lt": None}}, ["$lt of 'year' is None"]),
        ({"year": {"$gt": {"a": 1}}}, ["$gt of 'year'"]),
        ({"year": {"$exists": "yes"}}, ["$exists of 'year' is 'yes'", "True or False"]),
        ({"year": {"$exists": 1}}, ["$exists of 'year' is 1"]),
        ({"year": {"$prefix": 5}}, ["$prefix of 'year' is 5", "string"]),
        ({"year": {"$size": -1}}, ["$size of 'year' is -1", "whole number"]),
        ({"year": {"$size": True}}, ["$size of 'year' is True"]),
        ({"year": {"$size": 1.0}}, ["$size of 'year' is 1.0"]),
        ({"year": {"$not": 5}}, ["$not of 'year' is 5", "$ne"]),
        ({"year": {"$not": {}}}, ["$not of 'year' is {}"]),
        ({"year": {"$not": {"x": 1}}}, ["$not of 'year'"]),
        ({"$and": {}}, ["$and is {}", "list"]),
        ({"$and": []}, ["$and is []", "at least one"]),
        ({"$or": []}, ["$or is []"]),
        ({"$nor": []}, ["$nor is []"]),
        ({"$or": [{"a": 1}, 5]}, ["item 1 of $or is 5", "mapping"]),
        ({"$not": 5}, ["$not is 5"]),
        ({"$gte": 5}, ["$gte stands outside of a field"]),
        ({"$nand": [{}]}, ["'$nand'", "did you mean $and?", "$nor"]),
        ({"year": {"$gtt": 5}}, ["'$gtt'", "'year'", "did you mean $gt?", "$prefix"]),
        ({"year": {"$startswith": 5}}, ["'$startswith'", "known are $eq"]),
        ({"year": {"$or": [{"$gt": 5}]}}, ["$or stands inside of the field 'year'"]),
        ({"year": {"$gt": 1, "month": 2}}, ["'month' beside operators", "'year.month'"]),
        ({"year": float("nan")}, ["$eq of 'year' is nan", "finite"]),
        ({"year": {"$lt": float("inf")}}, ["$lt of 'year' is inf", "finite"]),
        ({"year": {"$in": [1, float("nan")]}}, ["$in of 'year' is nan"]),
        ({"year": {"$eq": [1, float("inf")]}}, ["$eq of 'year' is [1, inf]"]),
        ({"year": {"$eq": {"a": {"$b": 1}}}}, ["$eq of 'year'", "no names with a $"]),
        ({"year": {"$in": [{"$gt": 1}]}}, ["$in of 'year'", "no names with a $"]),
        ({"year": {1, 2}}, ["$eq of 'year' is {1, 2}"]),
        ({"year": np.int64(5)}, ["$eq of 'year'", "number"]),
        ({"year": 10**5000}, ["a huge number"]),
        ({"year": {"$date": "soon"}}, ["'soon'", "'2024-05-01'"]),
        ({"year": {"$date": 5}}, ["'$date': 5", "a date is a string"]),
        ({"year": {"$date": "2024-05-01", "$gt": 1}}, ["a date is a string"]),
        ({"year": {"$date": "0001-01-01T00:00+01:00"}}, ["years 1 to 9999"]),
        ({"@added": 5}, ["$eq of '@added' is 5", "a date is a string"]),
        ({"@added": {"$gt": "may"}}, ["$gt of '@added' is 'may'"]),
        ({"@added": {"$prefix": "2024"}}, ["$prefix of '@added'", "it is a date"]),
        ({"@keys": 1}, ["'@keys'", "@key, @title, @media_type, @added"]),
        ({"@title.x": 1}, ["'@title.x'"]),
        ({"a.$b": 1}, ["'a.$b'", "'$b'"]),
        ({"a": {"$in": [0] * 100_001}}, ["100,001", "100,000"]),
        ({"$or": [{"a": {"$gt": i}} for i in range(1001)]}, ["1,001 conditions", "1,000", "$in"]),
        (deep(65), ["64 levels"]),
        ({".".join("a" * 65): 1}, ["65 names", "64"]),
        ({"a": deep_list(65)}, ["64 levels"]),
    ],
    ids=shown,
)  # fmt: skip
def test_a_malformed_filter_is_refused_by_name(raw: Any, named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse(raw)
    for part in named:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "raw",
    [deep(64), {".".join("a" * 64): 1}, {"a": deep_list(64)}, {"a": {"$in": list(range(100_000))}}],
    ids=["filters", "names", "lists", "values"],
)
def test_what_is_just_within_the_limits_is_accepted(raw: dict[str, Any]) -> None:
    condition: Condition = parse(raw)
    assert not matches(condition, {"b": 1})


def test_a_filter_nested_ten_thousand_levels_deep_is_refused_without_being_walked() -> None:
    with pytest.raises(InputError, match="64 levels"):
        parse(deep(10_000))
    with pytest.raises(InputError, match="64 levels"):
        parse({"a": deep_list(900)})
