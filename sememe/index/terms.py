"""What the words of a query give to one row: the same arithmetic that ranked it, term by term, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sememe.index.tail import Statistics, Tail
from sememe.index.words import Asked, Entry, analysed_entry, located

Question = tuple[Asked, Statistics, dict[str, float]]
"""What a query is looked up by, what its terms weigh, and what its prefixes do."""


@dataclass(frozen=True, slots=True)
class TermPart:
    """A term that a query looks up: how many rows hold it, and its part of the row's BM25 score, 0 if it is not there.

    `spans` are the words of the row's text that it stands for, (start, end) in characters; a title or a heading may
    hold it besides.
    """

    term: str
    rows: int
    score: float
    spans: tuple[tuple[int, int], ...]


def term_parts(entry: Entry, question: Question) -> list[TermPart]:
    """Every term, phrase and prefix of a query with its part in one row, the greatest first."""
    wanted, statistics, prefixes = question
    row = Tail().changed([entry])
    language, _ = analysed_entry(entry)
    where = list(located(entry.body, language))

    def part(name: str, rows: int, alone: Asked, held: frozenset[str]) -> TermPart:
        _, scores = row.matches(alone, statistics, prefixes)
        spans = tuple((start, end) for start, end, terms in where if not held.isdisjoint(terms))
        return TermPart(name, rows, float(scores.sum()), spans if len(scores) else ())

    parts = [part(*each) for each in _alone(wanted, statistics)]
    for prefix in wanted.prefixes:
        alone = Asked({}, (), frozenset(), (prefix,))
        spans = tuple((start, end) for start, end, terms in where if any(term.startswith(prefix) for term in terms))
        parts.append(TermPart(f"{prefix}*", 0, float(row.matches(alone, statistics, prefixes)[1].sum()), spans))
    return sorted(parts, key=lambda one: -one.score)


def _alone(wanted: Asked, statistics: Statistics) -> Iterator[tuple[str, int, Asked, frozenset[str]]]:
    """Each free term and each required phrase as a question of its own."""
    for term, times in wanted.weights.items():
        yield term, statistics.frequency(term), Asked({term: times}, (), frozenset(), ()), frozenset((term,))
    for forms in wanted.required:
        terms = frozenset(term for places in forms for _, term in places)
        shown = " ".join(term for _, term in min(forms))
        yield f'"{shown}"', min(map(statistics.frequency, terms)), Asked({}, (forms,), frozenset(), ()), terms


def refused(entry: Entry, question: Question) -> bool:
    """Whether the words of the query pass over a row: none of them is in it, or an excluded one is, or one that is
    required is not.
    """
    wanted, statistics, prefixes = question
    return not len(Tail().changed([entry]).matches(wanted, statistics, prefixes)[0])
