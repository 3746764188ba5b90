"""Filters over metadata: from a Mongo-style mapping to a tree of conditions, and the oracle that answers row by row.

A path names a field: `author.name` goes into objects, and through lists of objects. A list matches when one of its
elements does, or when it is equal as a whole; two operators may be met by two elements. Values are compared within a
type only: numbers by value whatever their size, strings by code point and case, booleans apart from numbers. A date
compares by instant with strings in ISO 8601: those without a zone are UTC, a bare day is its first instant, anything
finer than a microsecond is cut off. `$contains` asks for a part of a string or for an element of a list, `$prefix`
for the beginning of a string. Where MongoDB's query language has an answer it is the answer here too, except that
positions in a list are no fields, the order of an object's keys does not matter, and `$not` may stand beside fields.
This file knows no index and no collection.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sememe.errors import InputError
from sememe.types import Metadata

Filter: TypeAlias = Mapping[str, Any]
"""What a person writes: {"year": {"$gte": 2020}, "$or": [...]}."""

BUILT_INS = ("@key", "@title", "@media_type", "@added")
"""Fields of every document that are not metadata. Whoever asks puts them beside it, `@added` as a date-time string."""

MAX_DEPTH = 64
"""Levels of nesting in a filter or in a value compared as a whole, and names in a path."""
MAX_VALUES = 100_000
MAX_CONDITIONS = 1_000
LARGEST = 10**4000
"""Of a whole number: Python itself refuses to print one of more than 4,300 digits."""

LOGIC = ("$and", "$or", "$nor", "$not")
ORDERED = ("$gt", "$gte", "$lt", "$lte")
OPERATORS = (
    "$eq", "$ne", *ORDERED, "$in", "$nin", "$exists", "$contains", "$prefix", "$all", "$size", "$not",
)  # fmt: skip

Kind: TypeAlias = Literal["null", "boolean", "number", "string", "date", "object", "list", "other"]
Operator: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte", "$contains", "$prefix", "$size"]


class Operand(NamedTuple):
    """A value of a filter. A date is held in microseconds since 1970 UTC, an object or list as canonical JSON."""

    kind: Kind
    value: Any

    @property
    def text(self) -> str:
        """As JSON."""
        if self.kind == "date":
            return _json({"$date": iso(self.value)})
        return str(self.value) if self.kind in ("object", "list") else _json(self.value)


# --- the tree ----------------------------------------------------------------------------------------------
# The `text` of a condition is itself as a filter in canonical JSON, which parses back to it. Conditions are equal when
# their texts are, so that 1 and True, which Python holds to be equal, stay apart.


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; without parts it holds for every row."""

    parts: tuple[Condition, ...] = field(compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _listed("$and", self.parts) if self.parts else "{}")


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds; without parts it holds for no row."""

    parts: tuple[Condition, ...] = field(compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _listed("$or", self.parts) if self.parts else '{"$nor":[{}]}')


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition = field(compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _listed("$nor", (self.part,)))


@dataclass(frozen=True, slots=True)
class Equals:
    """A value of the field, or an element of a list there, equals one of the operands. Missing equals null."""

    path: str = field(compare=False)
    operands: tuple[Operand, ...] = field(compare=False)
    keys: frozenset[Operand] = field(init=False, compare=False, repr=False)
    kinds: frozenset[Kind] = field(init=False, compare=False, repr=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = ",".join(operand.text for operand in self.operands)
        values = f'"$eq":{values}' if len(self.operands) == 1 else f'"$in":[{values}]'
        object.__setattr__(self, "keys", frozenset(self.operands))
        object.__setattr__(self, "kinds", frozenset(operand.kind for operand in self.operands))
        object.__setattr__(self, "text", f"{{{_json(self.path)}:{{{values}}}}}")


@dataclass(frozen=True, slots=True)
class Compare:
    """The field and the operand stand in the relation that the operator names."""

    path: str = field(compare=False)
    operator: Operator = field(compare=False)
    operand: Operand = field(compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f'{{{_json(self.path)}:{{"{self.operator}":{self.operand.text}}}}}')


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value, and be it null."""

    path: str = field(compare=False)
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f'{{{_json(self.path)}:{{"$exists":true}}}}')


Condition: TypeAlias = And | Or | Not | Equals | Compare | Exists
Leaf: TypeAlias = Equals | Compare | Exists

EVERYTHING: Final = And(())
NOTHING: Final = Or(())


def conjunction(parts: Iterable[Condition]) -> Condition:
    """All parts, flattened, each once, in the order of their texts."""
    return _joined(And, parts, decisive=NOTHING)


def disjunction(parts: Iterable[Condition]) -> Condition:
    """Any of the parts, flattened, each once, in the order of their texts."""
    return _joined(Or, parts, decisive=EVERYTHING)


def _joined(join: type[And] | type[Or], parts: Iterable[Condition], *, decisive: Condition) -> Condition:
    flat = {inner for part in parts for inner in (part.parts if isinstance(part, join) else (part,))}
    if decisive in flat:
        return decisive
    return flat.pop() if len(flat) == 1 else join(tuple(sorted(flat, key=lambda part: part.text)))


def negation(part: Condition) -> Condition:
    """The opposite, without a double no."""
    if part in (EVERYTHING, NOTHING):
        return NOTHING if part == EVERYTHING else EVERYTHING
    return part.part if isinstance(part, Not) else Not(part)


def equality(path: str, operands: Sequence[Operand]) -> Condition:
    """The field equals one of the operands; each is kept once, and none means nothing."""
    return Equals(path, tuple(sorted(set(operands)))) if operands else NOTHING


def _listed(operator: str, parts: Iterable[Condition]) -> str:
    return f'{{"{operator}":[{",".join(part.text for part in parts)}]}}'


def leaves(condition: Condition) -> Iterator[Leaf]:
    """The conditions on single fields, from left to right."""
    if isinstance(condition, And | Or):
        for part in condition.parts:
            yield from leaves(part)
    elif isinstance(condition, Not):
        yield from leaves(condition.part)
    else:
        yield condition


def fields(condition: Condition) -> frozenset[str]:
    """The paths that the condition looks at."""
    return frozenset(leaf.path for leaf in leaves(condition))


# --- from a mapping to the tree ----------------------------------------------------------------------------


def parse(raw: Filter) -> Condition:
    """The condition that a filter states. Raises InputError, naming the field or operator and what it may be."""
    condition = _filter(raw, "the filter", 1)
    number = sum(1 for _ in leaves(condition))
    if number > MAX_CONDITIONS:
        raise InputError(
            f"the filter has {number:,} conditions, at most {MAX_CONDITIONS:,} are allowed; "
            f"many values of one field belong into one $in"
        )
    return condition


def _filter(raw: object, where: str, depth: int) -> Condition:
    if not isinstance(raw, Mapping):
        raise InputError(f"{where} is {_shown(raw)}; give a mapping such as {{'year': {{'$gte': 2020}}}}")
    if depth > MAX_DEPTH:
        raise InputError(f"the filter is nested more than {MAX_DEPTH} levels deep; write it flatter")
    return conjunction([_entry(name, operand, where, depth) for name, operand in raw.items()])


def _entry(name: object, operand: object, where: str, depth: int) -> Condition:
    if not isinstance(name, str):
        raise InputError(f"{where} has the key {_shown(name)}; field names and operators are strings")
    if name == "$not":
        return negation(_filter(operand, "$not", depth + 1))
    if name in LOGIC:
        if not isinstance(operand, list | tuple) or not operand:
            raise InputError(f"{name} is {_shown(operand)}; give a list of at least one filter")
        parts = [_filter(part, f"item {i} of {name}", depth + 1) for i, part in enumerate(operand)]
        joined = conjunction(parts) if name == "$and" else disjunction(parts)
        return negation(joined) if name == "$nor" else joined
    if name in OPERATORS:
        raise InputError(f"{name} stands outside of a field; write {{'year': {{{name!r}: ...}}}}")
    if name.startswith("$"):
        raise InputError(_unknown(name, LOGIC, "beside fields"))
    return _field(_checked_path(name), operand, depth)


def _checked_path(path: str) -> str:
    parts = path.split(".")
    if path.startswith("@") and path not in BUILT_INS:
        raise InputError(f"the filter names the field {path!r}; the fields with an @ are {', '.join(BUILT_INS)}")
    if len(parts) > MAX_DEPTH:
        raise InputError(f"the field {_shown(path)} has {len(parts)} names, at most {MAX_DEPTH} are allowed")
    for part in parts:
        if part.startswith("$"):
            raise InputError(f"the field {_shown(path)} has the name {_shown(part)} in it; names begin without a $")
    return path


def _field(path: str, raw: object, depth: int) -> Condition:
    if not isinstance(raw, Mapping) or "$date" in raw or not any(map(_is_operator, raw)):
        return equality(path, [_operand(path, "$eq", raw)])
    if depth >= MAX_DEPTH:
        raise InputError(f"the filter is nested more than {MAX_DEPTH} levels deep; write it flatter")
    return conjunction([_condition(path, _checked_operator(path, name), raw[name], depth) for name in raw])


def _checked_operator(path: str, name: object) -> str:
    if not isinstance(name, str) or not name.startswith("$"):
        raise InputError(
            f"the field {path!r} has {_shown(name)} beside operators; give operators only, or write "
            f"'{path}.{name}' for a field inside of it"
        )
    if name in LOGIC and name != "$not":
        raise InputError(f"{name} stands inside of the field {path!r}; write it beside fields: {{{name!r}: [...]}}")
    if name not in OPERATORS:
        raise InputError(_unknown(name, OPERATORS, f"in the field {path!r}"))
    if path == "@added" and name in ("$contains", "$prefix", "$size"):
        raise InputError(f"{name} of '@added' makes no sense, it is a date; use $eq, $in, {', '.join(ORDERED)}")
    return name


def _condition(path: str, name: str, raw: object, depth: int) -> Condition:
    """What one operator says of the field."""
    if name in ("$eq", "$ne", "$in", "$nin"):
        single = name in ("$eq", "$ne")
        condition = equality(path, [_operand(path, name, raw)] if single else _operands(path, name, raw))
        return negation(condition) if name in ("$ne", "$nin") else condition
    if name == "$all":
        operands = _operands(path, name, raw)
        return conjunction(equality(path, [operand]) for operand in operands) if operands else NOTHING
    if name == "$exists":
        if not isinstance(raw, bool):
            raise InputError(f"$exists of {path!r} is {_shown(raw)}; give True or False")
        return Exists(path) if raw else negation(Exists(path))
    if name == "$not":
        if not isinstance(raw, Mapping) or not raw or "$date" in raw or not all(map(_is_operator, raw)):
            raise InputError(f"$not of {path!r} is {_shown(raw)}; give operators such as {{'$gt': 5}}, or use $ne")
        return negation(_field(path, raw, depth + 1))
    return _relation(path, name, raw)


def _relation(path: str, name: str, raw: object) -> Compare:
    operand = _operand(path, name, raw)
    if name == "$prefix" and operand.kind != "string":
        raise InputError(f"$prefix of {path!r} is {_shown(raw)}; give a string")
    if name == "$size" and not (operand.kind == "number" and isinstance(raw, int) and raw >= 0):
        raise InputError(f"$size of {path!r} is {_shown(raw)}; give a whole number from 0")
    if name in ORDERED and operand.kind in ("null", "object", "list"):
        raise InputError(f"{name} of {path!r} is {_shown(raw)}; give a number, a string, a boolean or a date")
    return Compare(path, name, operand)  # type: ignore[arg-type]


def _is_operator(name: object) -> bool:
    return isinstance(name, str) and name.startswith("$")


def _operands(path: str, name: str, raw: object) -> list[Operand]:
    if not isinstance(raw, list | tuple):
        raise InputError(f"{name} of {path!r} is {_shown(raw)}; give a list of values")
    if len(raw) > MAX_VALUES:
        raise InputError(f"{name} of {path!r} has {len(raw):,} values, at most {MAX_VALUES:,} are allowed")
    return [_operand(path, name, value) for value in raw]


def _operand(path: str, name: str, raw: object) -> Operand:
    """The value that is compared. `@added` is compared with dates alone, so there a string is read as one."""
    moment: date | str | None = raw if isinstance(raw, date) else None
    if isinstance(raw, Mapping) and "$date" in raw:
        moment = raw["$date"] if len(raw) == 1 and isinstance(raw["$date"], str) else ""
    elif path == "@added" and raw is not None:
        moment = moment or (raw if isinstance(raw, str) else "")
    if moment is not None:
        return Operand("date", _checked_instant(moment, f"{name} of {path!r} is {_shown(raw)}"))
    kind = kind_of(raw)
    if kind == "other" or (isinstance(raw, int | float) and not -LARGEST <= raw <= LARGEST):
        raise InputError(
            f"{name} of {path!r} is {_shown(raw)}; give null, a boolean, a finite number, a string, a date, a list or "
            f"an object"
        )
    if kind not in ("object", "list"):
        return Operand(kind, _plain(raw, 1))
    text = whole(raw)
    if text is None or _has_dollar(raw):
        raise InputError(
            f"{name} of {path!r} is {_shown(raw)}; an object or list is compared as a whole, and may hold only "
            f"what JSON can, no names with a $, and {MAX_DEPTH} levels"
        )
    return Operand(kind, text)


def _checked_instant(value: date | str, given: str) -> int:
    if isinstance(value, str):
        moment = instant(value)
    else:
        moment = _micros(value if isinstance(value, datetime) else datetime(value.year, value.month, value.day))
    if moment is None or not _FIRST <= moment <= _LAST:
        raise InputError(
            f"{given}; a date is a string like '2024-05-01' or '2024-05-01T10:00:00+02:00' in the years 1 to 9999, "
            f"without a zone it is UTC"
        )
    return moment


def _has_dollar(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(str(name).startswith("$") or _has_dollar(inner) for name, inner in value.items())
    return isinstance(value, list | tuple) and any(map(_has_dollar, value))


def _unknown(name: str, known: Sequence[str], place: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"there is no operator {_shown(name)} {place}; {guess}known are {', '.join(known)}"


def _shown(value: object) -> str:
    return "a huge number" if isinstance(value, int) and abs(value) > LARGEST else _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


# --- values ------------------------------------------------------------------------------------------------

_KINDS: Mapping[type, Kind] = {
    str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", dict: "object", list: "list",
}  # fmt: skip


_CLASSES: Sequence[tuple[Kind, tuple[type, ...]]] = (
    ("string", (str,)), ("number", (int, float)), ("object", (Mapping,)), ("list", (list, tuple)),
)  # fmt: skip


def kind_of(value: object) -> Kind:
    """The type of a value of metadata, as JSON knows types; "other" for what JSON cannot hold."""
    if type(value) in _KINDS:
        return _KINDS[type(value)]
    kinds: list[Kind] = [kind for kind, classes in _CLASSES if isinstance(value, classes)]
    return kinds[0] if kinds else "other"


_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?:Z|[+-][0-2]\d(?::?[0-5]\d)?)?)?",
    re.ASCII,
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant(text: str) -> int | None:
    """Microseconds since 1970 UTC of a date or date-time in ISO 8601; None for any other string."""
    if _ISO.fullmatch(text) is None:
        return None
    try:
        return _micros(datetime.fromisoformat(text))
    except ValueError:
        return None


def _micros(moment: datetime) -> int:
    # Not the difference from 1970: the first and last day of the calendar may lie outside of it in UTC.
    seconds = (moment.toordinal() - _EPOCH_DAY) * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second
    micros = seconds * 1_000_000 + moment.microsecond
    offset = moment.utcoffset()
    return micros if offset is None else micros - offset // _MICROSECOND


_FIRST = instant("0001-01-01") or 0
_LAST = instant("9999-12-31T23:59:59.999999") or 0


def iso(moment: int) -> str:
    """The instant as a string in UTC; the first or last there is, for one beyond the years 1 to 9999."""
    return (_EPOCH + timedelta(microseconds=min(max(moment, _FIRST), _LAST))).isoformat()


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def whole(value: object) -> str | None:
    """Canonical JSON of an object or list: sorted keys, 1.0 as 1. None when JSON cannot hold it, or it is too deep."""
    try:
        return _json(_plain(value, 1))
    except ValueError:
        return None


_TEXT, _EXACT = frozenset({str}), frozenset({str, int, bool, type(None)})


def _is_canonical(value: Any) -> bool:
    """Whether nothing in an object or list has to be changed: most are of this kind."""
    if type(value) is dict:
        return _TEXT.issuperset(map(type, value)) and _EXACT.issuperset(map(type, value.values()))
    return type(value) is list and _EXACT.issuperset(map(type, value))


def _plain(value: Any, depth: int) -> Any:
    kind = kind_of(value)
    if kind in ("object", "list"):
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        if _is_canonical(value):
            return value
        if kind == "list":
            return [_plain(inner, depth + 1) for inner in value]
        if not all(isinstance(name, str) for name in value):
            raise ValueError("a key that is no string")
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if kind == "other":
        raise ValueError("no JSON")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


# --- the oracle --------------------------------------------------------------------------------------------

MISSING: Final[Any] = object()
"""Where a path leads to nothing."""


def reach(value: Any, names: Sequence[str]) -> list[Any]:
    """What lies at the end of a path: a list is a value at its end, and on the way stands for its objects.

    MISSING is among it for every object that lacks the name, and for a plain value that has no names in it. Other
    elements of a list on the way lead nowhere, not even to MISSING.
    """
    for position, name in enumerate(names):
        kind = kind_of(value)
        if kind == "list":
            objects = [element for element in value if kind_of(element) == "object"]
            return [found for element in objects for found in reach(element, names[position:])]
        value = value.get(name, MISSING) if kind == "object" else MISSING
        if value is MISSING:
            break
    return [value]


def matches(condition: Condition, metadata: Metadata) -> bool:
    """Whether the condition holds for a document with this metadata."""
    if isinstance(condition, And):
        return all(matches(part, metadata) for part in condition.parts)
    if isinstance(condition, Or):
        return any(matches(part, metadata) for part in condition.parts)
    if isinstance(condition, Not):
        return not matches(condition.part, metadata)
    path = condition.path
    found = reach(metadata, path.split(".")) if "." in path else (metadata.get(path, MISSING),)
    for value in found:
        if isinstance(condition, Equals):
            holds = _is_one_of(value, condition)
        else:
            holds = _compares(value, condition) if isinstance(condition, Compare) else value is not MISSING
        if holds:
            return True
    return False


def _is_one_of(value: Any, condition: Equals) -> bool:
    kind: Kind = "null" if value is MISSING else kind_of(value)
    if _is_equal(value, kind, condition.keys, condition.kinds):
        return True
    return kind == "list" and _holds(value, condition.keys, condition.kinds)


def _holds(values: Sequence[Any], operands: Collection[Operand], kinds: Collection[Kind]) -> bool:
    return any(_is_equal(value, kind_of(value), operands, kinds) for value in values)


def _is_equal(value: Any, kind: Kind, operands: Collection[Operand], kinds: Collection[Kind]) -> bool:
    """Whether the value itself, not an element of it, is among the operands."""
    if kind == "string" and "date" in kinds and ("date", instant(value)) in operands:
        return True
    if kind not in kinds:
        return False
    if kind in ("object", "list"):
        return (kind, whole(value)) in operands
    return kind == "null" or (kind, value) in operands


def _compares(value: Any, condition: Compare) -> bool:
    operator, operand = condition.operator, condition.operand
    kind: Kind = "other" if value is MISSING else kind_of(value)
    if operator == "$contains":
        if kind == "list":
            return _holds(value, (operand,), (operand.kind,))
        return kind == operand.kind == "string" and operand.value in value
    if operator == "$size":
        return kind == "list" and len(value) == operand.value
    if kind == "list":
        return any(_is_ordered(element, kind_of(element), condition) for element in value)
    return _is_ordered(value, kind, condition)


def _is_ordered(value: Any, kind: Kind, condition: Compare) -> bool:
    operator, operand = condition.operator, condition.operand
    if operand.kind == "date" and kind == "string":
        value = instant(value)
        if value is None:
            return False
    elif kind != operand.kind:
        return False
    if operator == "$prefix":
        return bool(value.startswith(operand.value))
    if operator in ("$gt", "$gte"):
        return bool(value > operand.value or (operator == "$gte" and value == operand.value))
    return bool(value < operand.value or (operator == "$lte" and value == operand.value))


# --- for people --------------------------------------------------------------------------------------------

_SIGNS = {
    "$gt": ">", "$gte": "≥", "$lt": "<", "$lte": "≤", "$contains": "contains", "$prefix": "begins with",
    "$size": "is a list of length",
}  # fmt: skip


def describe(condition: Condition) -> str:
    """The condition in a few words, for a plan."""
    if isinstance(condition, And | Or):
        if not condition.parts:
            return "everything" if isinstance(condition, And) else "nothing"
        parts = (f"({describe(part)})" if isinstance(part, And | Or) else describe(part) for part in condition.parts)
        return (" and " if isinstance(condition, And) else " or ").join(parts)
    if isinstance(condition, Not):
        return f"not ({describe(condition.part)})"
    if isinstance(condition, Exists):
        return f"{condition.path} exists"
    if isinstance(condition, Compare):
        return f"{condition.path} {_SIGNS[condition.operator]} {_worded(condition.operand)}"
    shown = ", ".join(_worded(operand) for operand in condition.operands[:3])
    if len(condition.operands) == 1:
        return f"{condition.path} = {shown}"
    more = len(condition.operands) - 3
    return f"{condition.path} is one of {shown}" + (f" and {more:,} more" if more > 0 else "")


def _worded(operand: Operand) -> str:
    text = iso(operand.value) if operand.kind == "date" else operand.text
    if "\\u" in text and (plain := json.dumps(json.loads(text), ensure_ascii=False)).isprintable():
        text = plain
    return text if len(text) <= 60 else f"{text[:57]}..."
