"""The type of every metadata field, which is one a collection: what a document's metadata holds against what is there.

A path names a field as filters do: into objects, and through lists to their elements. Types are those that filters
tell apart: boolean, number, string and date, which is a string in ISO 8601. A date may come where strings are.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sememe.filters import instant, kind_of
from sememe.store import SQLiteStore
from sememe.store.writing import Transaction
from sememe.types import LedgerRow, Origin

MOST_FIELDS = 1_000
"""Fields of one document that are given a type."""
SHOWN = 5
"""Remarks on one document."""
REMARK = "metadata: "
"""What every remark of this file begins with."""

_SCALARS = ("boolean", "number", "string")


def scalars(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Path, type and value of everything in a document's metadata that is no object or list; null has no type."""
    waiting: list[tuple[str, Any]] = list(reversed(list(metadata.items())))
    while waiting:
        path, value = waiting.pop()
        kind = kind_of(value)
        if kind == "object":
            waiting += [(f"{path}.{name}", inner) for name, inner in reversed(list(value.items()))]
        elif kind == "list":
            waiting += [(path, inner) for inner in reversed(value)]
        elif kind in _SCALARS:
            yield path, "date" if kind == "string" and instant(value) is not None else kind, value


def first_types(values: Iterable[tuple[str, str, Any]]) -> dict[str, str]:
    """The type of every field by the first of its values, as `scalars` gives them."""
    types: dict[str, str] = {}
    for path, kind, _ in values:
        if path not in types and len(types) < MOST_FIELDS:
            types[path] = kind
    return types


def agree(there: str, kind: str) -> bool:
    """Whether a value of a type may come where another type is: a date is a string too."""
    return kind == there or (there, kind) == ("string", "date")


def disagreements(values: Iterable[tuple[str, str, Any]], there: Mapping[str, str]) -> dict[str, str]:
    """What to say of every field whose type is not the one that is there, by path."""
    said: dict[str, str] = {}
    for path, kind, value in values:
        if path in there and path not in said and not agree(there[path], kind):
            said[path] = f"{path} is a {kind} here ({reprlib.repr(value)}), and a {there[path]} in this collection"
    return said


def remarks_of(said: Mapping[str, str]) -> list[str]:
    """The ledger's remarks on fields of another type."""
    more = [f"{REMARK}and {len(said) - SHOWN} more fields of another type"] if len(said) > SHOWN else []
    return [REMARK + text for text in list(said.values())[:SHOWN]] + more


def kinds_by_path(documents: Iterable[Mapping[str, Any]], paths: Iterable[str]) -> dict[str, set[str]]:
    """Which types some fields have in many documents."""
    found: dict[str, set[str]] = {path: set() for path in paths}
    for metadata in documents:
        for path, kind, _ in scalars(metadata):
            if path in found:
                found[path].add(kind)
    return found


@dataclass(slots=True)
class FieldCheck:
    """The check of one run: which documents have a field of another type, by their key and the fields' paths.

    With `strict` such a document is refused. `seen` names the paths of which somebody else still has a value of the
    type that is there.
    """

    strict: bool = False
    found: dict[str, frozenset[str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def judge(self, transaction: Transaction, key: str, metadata: Mapping[str, Any]) -> dict[str, str]:
        """What to say of a document's fields; where nothing is against it, new ones get their type."""
        values = list(scalars(metadata))
        types = first_types(values)
        there = transaction.field_types(types)
        said = disagreements(values, types | there)
        if said and self.strict:
            said = {path: text for path, text in said.items() if self._held(transaction, key, path, there)}
        if said:
            self.found[key] = frozenset(said)
        else:
            self.found.pop(key, None)
        if not (said and self.strict):
            transaction.set_fields({path: kind for path, kind in types.items() if path not in there})
        return said

    def _held(self, transaction: Transaction, key: str, path: str, there: Mapping[str, str]) -> bool:
        """Whether another document holds a field in the type that is there: if not, this one may change it."""
        if path not in there or path in self.seen:
            return True
        for metadata in transaction.metadata(but=key):
            if any(agree(there[path], kind) for at, kind, _ in scalars(metadata) if at == path):
                self.seen.add(path)
                return True
        return False

    def settle(self, store: SQLiteStore) -> int:
        """At a run's end: fields that have one type again, another than before, get it, and their remarks go.

        Returns how many documents of the run still have a field of another type.
        """
        paths = frozenset().union(*self.found.values())
        if not paths:
            return 0
        with store.snapshot() as snapshot:
            there = snapshot.fields()
            kinds = kinds_by_path(snapshot.metadata(), paths)
            rows = [row for row in snapshot.ledger() if any(remark.startswith(REMARK) for remark in row.remarks)]
        settled = {
            path: max(found) for path, found in kinds.items()
            if len(found) == 1 or (found == {"date", "string"} and there[path] != "date")
        }  # fmt: skip
        with store.transaction() as transaction:
            transaction.set_fields(settled)
            for row in rows:
                kept = [remark for remark in row.remarks if _path_of(remark) not in settled]
                if len(kept) < len(row.remarks):
                    transaction.remark(row.key, kept)
        return sum(not paths <= settled.keys() for paths in self.found.values())


def refused_for(said: Mapping[str, str], key: str, origin: Origin) -> LedgerRow:
    """The ledger row of a document that is refused for the types of its fields."""
    reason = f"{next(iter(said.values()))}; correct it, or add it without --strict"
    return LedgerRow(key, "failed", reason, retryable=True, origin=origin)


def _path_of(remark: str) -> str:
    return remark.removeprefix(REMARK).partition(" is a ")[0] if remark.startswith(REMARK) else ""
