"""The tail of the lexical index: rows that its files have not seen, scored in memory by the same arithmetic.

The arithmetic is tantivy's BM25 (Robertson and others 1994, with the idf that never is negative): k1 = 1.2, b = 0.75,
lengths rounded down to one byte. Frequencies count files and tail together; the average length is that of the files
as soon as they hold a row. This file knows no tantivy and no file.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sememe.index.words import Asked, Entry, Places, analysed_entry, asked
from sememe.types import Ids, Scores

K1 = 1.2
B = 0.75

MOST_TERMS = 32
"""Terms of a query that are looked up, the rarest ones: the others hardly change a ranking, and cost the most."""

PLAIN = "\x01"
"""Before words that are kept as typed, for prefixes. No term begins with it, and it sorts before all of them."""

AFTER_ALL = "\U0010ffff"
NO_IDS = np.empty(0, np.int64)
NO_SCORES = np.empty(0, np.float32)

Rows = npt.NDArray[np.int64]


def _rounded_lengths() -> npt.NDArray[np.int64]:
    """The lengths that a byte can say, 256 ascending ones: exact to 40, then four significant bits."""
    lengths = list(range(24))
    for code in range(256 - 24):
        mantissa, exponent = code & 7, (code >> 3) - 1
        lengths.append(24 + (mantissa if exponent < 0 else (mantissa | 8) << exponent))
    return np.array(lengths, np.int64)


LENGTHS = _rounded_lengths()


def idf(rows: float, frequency: float) -> float:
    """The weight of a term that `frequency` of `rows` hold."""
    return math.log(1 + (rows - frequency + 0.5) / (frequency + 0.5))


def best(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The k best, best first, equal scores by ascending id: (m,), (m,)."""
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def limited(question: Asked, frequency: Callable[[str], int]) -> Asked:
    """The question with the rarest MOST_TERMS of the terms that any row holds, in the order of the query."""
    held = {term: count for term in question.weights if (count := frequency(term))}
    rarest = set(sorted(held, key=held.__getitem__)[:MOST_TERMS])
    return replace(question, weights={term: question.weights[term] for term in held if term in rarest})


@dataclass(frozen=True, slots=True)
class Statistics:
    """What scores depend on: how many rows there are, their average length, and how many rows hold a term."""

    rows: int
    average_length: float
    frequency: Callable[[str], int]

    def idf(self, term: str) -> float:
        """The weight of a term."""
        return idf(self.rows, self.frequency(term))


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows that were analysed together. `terms` are sorted; term i occurs in `rows[starts[i]:starts[i + 1]]`, sorted,
    at `places`. `lengths` count terms, `alive` is false for rows that were deleted since.
    """

    ids: Ids
    lengths: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_]
    languages: frozenset[str]
    terms: list[str]
    starts: Rows
    rows: Rows
    places: Rows

    def span(self, first: str, after: str) -> slice:
        """The occurrences of all terms from `first` to before `after`."""
        return slice(int(self.starts[bisect_left(self.terms, first)]), int(self.starts[bisect_left(self.terms, after)]))

    def counts(self, term: str) -> tuple[Rows, Rows]:
        """The live rows that hold a term, ascending, and how often."""
        return self._counted(self.rows[self.span(term, term + "\0")])

    def phrase(self, places: Places) -> tuple[Rows, Rows]:
        """The live rows that hold a phrase, ascending, and how often."""
        found: Rows | None = None
        for offset, term in places:
            span = self.span(term, term + "\0")
            starts = self.rows[span] << 32 | (self.places[span] - offset + places[-1][0])
            found = starts if found is None else np.intersect1d(found, starts)
        return self._counted(NO_IDS if found is None else found >> 32)

    def beginning(self, prefix: str) -> Rows:
        """The live rows that hold a word that begins so."""
        spans = [self.span(start + prefix, start + prefix + AFTER_ALL) for start in ("", PLAIN)]
        found = np.unique(np.concatenate([self.rows[span] for span in spans]))
        alive: Rows = found[self.alive[found]]
        return alive

    def without(self, gone: Ids) -> _Block:
        """The block, without rows of these ids."""
        held = np.isin(self.ids, gone)
        return replace(self, alive=self.alive & ~held) if held.any() else self

    def joined(self, other: _Block) -> _Block:
        """Both blocks as one, the dead rows left out."""
        terms = sorted({*self.terms, *other.terms})
        numbers = {term: number for number, term in enumerate(terms)}
        parts, offset = [], 0
        for block in (self, other):
            kept = block.alive[block.rows]
            own = np.array([numbers[term] for term in block.terms], np.int64)
            row_numbers = np.cumsum(block.alive) - 1 + offset
            offset += int(block.alive.sum())
            parts.append(
                (np.repeat(own, np.diff(block.starts))[kept], row_numbers[block.rows[kept]], block.places[kept])
            )
        occurrences = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return _block(
            np.concatenate([self.ids[self.alive], other.ids[other.alive]]),
            np.concatenate([self.lengths[self.alive], other.lengths[other.alive]]),
            self.languages | other.languages,
            terms,
            (occurrences[0], occurrences[1], occurrences[2]),
        )

    def _counted(self, rows: Rows) -> tuple[Rows, Rows]:
        rows = rows[self.alive[rows]]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        return rows[first], np.diff(first, append=len(rows))


def _block(
    ids: Ids,
    lengths: npt.NDArray[np.int64],
    languages: frozenset[str],
    terms: list[str],
    occurrences: tuple[Rows, Rows, Rows],
) -> _Block:
    """A block of occurrences (number of the term, row, place) in any order."""
    numbers, rows, places = occurrences
    order = np.lexsort((places, rows, numbers))
    starts = np.searchsorted(numbers[order], np.arange(len(terms) + 1))
    return _Block(ids, lengths, np.ones(len(ids), bool), languages, terms, starts, rows[order], places[order])


def _analysed_block(entries: Iterable[Entry]) -> _Block:
    ids, lengths, languages = list[int](), list[int](), set[str]()
    vocabulary: dict[str, int] = {}
    numbers, rows, places = list[int](), list[int](), list[int]()
    for row, entry in enumerate(entries):
        language, parts = analysed_entry(entry)
        place = 0
        for forms in parts:
            positions = forms.positions()
            numbers += [vocabulary.setdefault(term, len(vocabulary)) for term in forms.terms]
            places += [place + position for position in positions]
            numbers += [vocabulary.setdefault(PLAIN + word, len(vocabulary)) for word in forms.plain]
            places += [-1] * len(forms.plain)
            # A gap, so that no phrase reaches from one part into the next.
            place += positions[-1] + 2
        rows += [row] * (len(numbers) - len(rows))
        ids.append(entry.chunk)
        lengths.append(sum(len(forms.terms) for forms in parts))
        languages.add(language)
    terms = sorted(vocabulary)
    rank = np.empty(len(terms), np.int64)
    rank[[vocabulary[term] for term in terms]] = np.arange(len(terms))
    occurrences = (rank[np.array(numbers, np.int64)], np.array(rows, np.int64), np.array(places, np.int64))
    return _block(np.array(ids, np.int64), np.array(lengths, np.int64), frozenset(languages), terms, occurrences)


@dataclass(frozen=True, slots=True)
class Tail:
    """Rows in memory, searched like those in the files. A value: what changes it makes another one."""

    blocks: tuple[_Block, ...] = ()

    def __len__(self) -> int:
        return sum(int(block.alive.sum()) for block in self.blocks)

    @property
    def ids(self) -> Ids:
        """The chunks in it, in no order."""
        return np.concatenate([NO_IDS, *(block.ids[block.alive] for block in self.blocks)])

    @property
    def languages(self) -> frozenset[str]:
        """The codes that its rows were analysed under."""
        return frozenset[str]().union(*(block.languages for block in self.blocks))

    def changed(self, added: Iterable[Entry], deleted: Collection[int] = ()) -> Tail:
        """The tail with these rows and without those. A chunk that is there already is replaced.

        About 30 µs a row that is added; the cost of the rows that are there is shared by as many additions.
        """
        # The last entry of a chunk counts, as it does in the files.
        entries = list({entry.chunk: entry for entry in added}.values())
        gone = np.array([*deleted, *(entry.chunk for entry in entries)], np.int64)
        blocks = [block.without(gone) for block in self.blocks]
        if entries:
            blocks.append(_analysed_block(entries))
        while len(blocks) > 1 and len(blocks[-2].ids) < 2 * len(blocks[-1].ids):
            blocks[-2:] = [blocks[-2].joined(blocks[-1])]
        return Tail(tuple(block for block in blocks if block.alive.any()))

    def statistics(self) -> Statistics:
        """Those of the tail by itself."""
        rows = len(self)
        total = sum(int(block.lengths[block.alive].sum()) for block in self.blocks)
        return Statistics(rows, total / rows if total else 1.0, self.frequency)

    def frequency(self, term: str) -> int:
        """How many rows hold a term."""
        return sum(len(block.counts(term)[0]) for block in self.blocks)

    def beginning(self, prefix: str) -> int:
        """How many rows hold a word that begins so."""
        return sum(len(block.beginning(prefix)) for block in self.blocks)

    def search(self, query: str, *, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """The k best rows of the tail by itself, as `LexicalIndex.search` gives them."""
        ids, scores = self.matches(*self.weighed(query))
        if allowed is not None:
            kept = np.isin(ids, allowed)
            ids, scores = ids[kept], scores[kept]
        return best(ids, scores, k)

    def weighed(self, query: str) -> tuple[Asked, Statistics, dict[str, float]]:
        """What a query is looked up by in the tail by itself, what its terms weigh, and what its prefixes do."""
        question, statistics = limited(asked(query, self.languages), self.frequency), self.statistics()
        return question, statistics, {
            prefix: idf(statistics.rows, self.beginning(prefix)) for prefix in question.prefixes
        }  # fmt: skip

    def matches(self, question: Asked, statistics: Statistics, prefixes: dict[str, float]) -> tuple[Ids, Scores]:
        """All rows that match, in no order, and their scores: (m,), (m,). `prefixes` are scored as given."""
        found = [_matches(block, question, statistics, prefixes) for block in self.blocks]
        return (
            np.concatenate([NO_IDS, *(ids for ids, _ in found)]),
            np.concatenate([NO_SCORES, *(scores for _, scores in found)]),
        )


def _matches(block: _Block, question: Asked, statistics: Statistics, prefixes: dict[str, float]) -> tuple[Ids, Scores]:
    rounded = LENGTHS[np.searchsorted(LENGTHS, block.lengths, side="right") - 1]
    norms = K1 * (1 - B + B * rounded / statistics.average_length)
    scores = np.zeros(len(block.ids))
    matched = np.zeros(len(block.ids), bool)

    def add(rows: Rows, counts: Rows, weight: float) -> None:
        scores[rows] += weight * (K1 + 1) * counts / (counts + norms[rows])
        matched[rows] = True

    for term, times in question.weights.items():
        add(*block.counts(term), times * statistics.idf(term))
    for prefix in question.prefixes:
        rows = block.beginning(prefix)
        scores[rows] += prefixes[prefix]
        matched[rows] = True
    required = np.ones(len(block.ids), bool)
    for forms in question.required:
        held = np.zeros(len(block.ids), bool)
        for places in forms:
            rows, counts = block.phrase(places)
            add(rows, counts, sum(statistics.idf(term) for _, term in places))
            held[rows] = True
        required &= held
    for places in question.excluded:
        required[block.phrase(places)[0]] = False
    kept = matched & required
    return block.ids[kept], scores[kept].astype(np.float32)
