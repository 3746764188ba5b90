"""The YAML between two lines of hyphens at the head of a document → metadata, as JSON holds it.

Read by YAML's grammar (version 1.1, through PyYAML's composer, which makes no objects), with the scalars of 1.2: only
`true` and `false` are booleans, so that `lang: no` is Norwegian, and dates stay strings. What is not YAML is read line
by line. Knows text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DEEPEST = 8
MOST_VALUES = 1_000
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,2})?")
_PAIR = re.compile(r"([^\s#:'\"\[{-][^:]*?)[ \t]*:(?:[ \t]+(.*?))?[ \t]*$")


class _Unread(ValueError):
    """What is YAML and is no metadata all the same."""


def fields(text: str, remarks: list[str]) -> dict[str, Any]:
    """The metadata in the lines between the hyphens; what could not be read of them is said in `remarks`.

    A field that filters could not ask for, by an empty name or one with a full stop, `$` or `@`, is left out.
    """
    import yaml

    try:
        found = _value(yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        if not isinstance(found, dict):
            raise _Unread("no names with values")
    except (yaml.YAMLError, _Unread, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 2}: {getattr(error, 'problem', None)}" if mark is not None else str(error)
        found = dict(_pairs(text))
        remarks.append(
            f"front matter: it is not YAML that can be metadata ({place}); {len(found)} plain lines were read"
        )
    unfit = [name for name in found if not name or name[0] in "$@" or "." in name]
    remarks += [f"front matter: the field {name!r} was left out: filters could not ask for it" for name in unfit]
    if "lang" in found:
        found.setdefault("language", found["lang"])
    return {name: value for name, value in found.items() if name not in unfit}


def _value(node: Any) -> Any:
    """The value of a node of PyYAML's tree, of bounded depth and size: an alias may multiply what it stands for."""
    left = MOST_VALUES

    def of(node: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise _Unread(f"more than {MOST_VALUES} values" if left < 0 else f"nested deeper than {DEEPEST} levels")
        kind = getattr(node, "id", "")
        if kind == "mapping":
            return {_name(key): of(value, depth + 1) for key, value in node.value}
        if kind == "sequence":
            return [of(item, depth + 1) for item in node.value]
        return None if node is None else _scalar(node.value, plain=not node.style)

    return of(node, 0)


def _name(node: Any) -> str:
    if getattr(node, "id", "") != "scalar":
        raise _Unread("a name that is a list or an object")
    return str(_scalar(node.value, plain=False))


def _scalar(text: str, *, plain: bool) -> Any:
    if not plain:
        return text.encode("utf-8", "replace").decode()  # an escape may stand for half a character
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _pairs(text: str) -> Iterator[tuple[str, Any]]:
    """Lines `name: value` of the outermost level, of which YAML may make nothing: `title: Go: the language`."""
    for line in text.splitlines():
        match = _PAIR.match(line)
        value = (match[2] or "") if match else ""
        if match is None or value[:1] in ("|", ">", "&", "*", "!", "[", "{", ""):
            continue
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        yield match[1], value[1:-1] if quoted else _scalar(value, plain=True)
