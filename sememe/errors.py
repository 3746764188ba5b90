"""Every exception that sememe raises on purpose, and what is said where a name is not known.

SememeError                     base; `str(error)` is one sentence for a person, and says what to do next
├── InputError                  what was passed in cannot be used (a path, an option, a filter)
│   ├── NotFound                the named document, chunk, collection or model does not exist
│   └── ReadError               a source could not be read or decoded; `retryable` tells whether to try again
├── SpaceMismatch               vectors of two spaces were about to meet
├── ModelError                  a model cannot be loaded
│   ├── DigestMismatch          a file arrived with other bytes than its card promises
│   ├── FetchError              no place delivered the file
│   └── ProviderError           a hosted model cannot be reached, refuses us, or answers what cannot be used
│       └── Incomplete          some inputs of a call have no vector; it tells which, and which have one
├── CostLimit                   the next request to a hosted model could cost more than was allowed
├── StoreError                  the truth cannot be opened, read or written
│   ├── StoreDamaged            the file is not a sound database
│   ├── SchemaError             the file was written by another version
│   ├── StoreBusy               another process holds the lock for longer than we wait
│   ├── StoreFull               the disk, or a limit on it, is full
│   └── ReadOnly                the collection cannot be written
└── MissingExtra                an optional library is needed; `extra` names it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class SememeError(Exception):
    """Base of all errors that sememe raises on purpose."""


class InputError(SememeError):
    """What was passed in cannot be used."""


class NotFound(InputError):
    """The named document, chunk, collection or model does not exist."""


class ReadError(InputError):
    """A source could not be read or decoded."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class SpaceMismatch(SememeError):
    """Vectors of two different spaces were about to meet."""


class ModelError(SememeError):
    """A model cannot be loaded."""


class DigestMismatch(ModelError):
    """A file arrived with other bytes than its card promises."""


class FetchError(ModelError):
    """No place delivered a model's file."""


class ProviderError(ModelError):
    """A hosted model cannot be reached, refuses us, or answers what cannot be used."""


class Incomplete(ProviderError):
    """Some inputs of a call have no vector.

    `refused` says why by position; `made` are the positions that have a vector: to ask for those again costs
    nothing. `stop` is what kept the rest from being asked for, None when everything was.
    """

    def __init__(
        self, message: str, *, refused: Mapping[int, str], made: Sequence[int], stop: SememeError | None = None
    ) -> None:
        super().__init__(message)
        self.refused = refused
        self.made = made
        self.stop = stop


class CostLimit(SememeError):
    """The next request to a hosted model could cost more than was allowed."""


class StoreError(SememeError):
    """The truth cannot be opened, read or written."""


class StoreDamaged(StoreError):
    """The file is not a sound database."""


class SchemaError(StoreError):
    """The file was written by another version of sememe."""


class StoreBusy(StoreError):
    """Another process holds the write lock for longer than we wait."""


class StoreFull(StoreError):
    """The disk, or a limit on it, is full."""


class ReadOnly(StoreError):
    """The collection cannot be written."""


class MissingExtra(SememeError):
    """An optional library is needed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'sememe[{extra}]'")
        self.extra = extra


def meant(name: str, known: Iterable[str]) -> str:
    """Which of the known names was meant, to stand behind them in a message; empty where none is near."""
    from difflib import get_close_matches

    names = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), names, n=1)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


def one_of(given: object, known: Iterable[str]) -> str:
    """The next step where a value is none of those that are known."""
    names = list(known)
    return f"use one of {', '.join(names)}{meant(str(given), names)}"
