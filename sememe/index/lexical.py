"""The lexical index: BM25 over the words of chunks, in the files of tantivy, with a tail of rows in memory.

`lexical-<generation>/` is a tantivy index. A commit syncs its data files and its folder and then switches to them
with `meta.json`; one document in it is no chunk but a stamp, which holds the last change that was seen. Titles and
headings are words that occur more often, in one field with the body (Robertson, Zaragoza and Taylor 2004, "Simple
BM25 extension to multiple weighted fields"): a term saturates once, lengths compare, and a query reads one list a
term. Queries are built from terms and never parsed by tantivy. Files are compared with the checksums that tantivy
wrote into them before they are mapped; damage that shows later raises LexicalDamaged. This file knows no truth and
no model.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sememe import failpoints
from sememe.errors import StoreBusy, StoreError, StoreFull
from sememe.index.segments import verify
from sememe.index.slab import sync_folder
from sememe.index.tail import NO_IDS, NO_SCORES, Statistics, Tail, best, idf, limited
from sememe.index.words import Asked, Entry, Forms, Places, analysed_entry, asked
from sememe.types import Ids, Scores

if TYPE_CHECKING:
    from tantivy import Document, Index, IndexWriter, Query, Schema, Searcher

__all__ = ["NAME", "Entry", "LexicalDamaged", "LexicalIndex", "Tail", "remove_others", "write"]

NAME = "lexical"
"""What the truth calls this index: its writer and its readers have to agree."""

VERSION = 1
"""Goes up when texts are analysed otherwise: files of another version are not opened, and are made again."""

FEW_ENTRIES = 2_000
FEW_BYTES = 15_000_000
"""The least memory that tantivy gives a thread, enough for few entries."""
THREAD_BYTES = 40_000_000
"""Per thread when there are more: a segment is written whenever it is full."""
MOST_THREADS = 4
"""Analysing is done on the caller's thread, and feeds no more than these."""

FEW_ALLOWED = 2_000
"""Allowed ids that are looked up like terms, in 14 µs each; more are filtered from what is found, in 1 µs a row."""

FETCHED = 4_096
"""What is fetched, if k is less, to find all rows that score like the kth: of more, the first in the files count."""
STEPS = [1_024 * 4**step for step in range(12)]
"""What is fetched when the first rows were not enough: the same for every k, which then finds the same among ties."""

PREFIXED = ("text", "plain")
"""The fields where prefixes are looked for: terms, and words that are not terms as they were typed."""
STAMP = "\x01"
"""The one term of the stamp: its explanation holds the statistics of the index."""


class LexicalDamaged(StoreError):
    """The files of the lexical index are not what was written: delete them, and they are made again."""


# --- writing ----------------------------------------------------------------------------


def write(
    folder: Path,
    generation: str | None,
    *,
    added: Iterable[Entry],
    deleted: Sequence[int],
    seq: int,
    threads: int,
) -> str:
    """Apply changes in one commit, which holds `seq` too, and return the generation; None begins a new one.

    Deletions come first; an entry replaces what its chunk had before, so the same changes may be applied again.
    Nothing changes when this raises. About 20 ms for few entries: batch them. Raises StoreBusy while another writer
    is at it, LexicalDamaged when the generation cannot be used, StoreFull, and what `added` raises.
    """
    begun = generation is None
    generation = generation or os.urandom(8).hex()
    path = folder / f"{NAME}-{generation}"
    rows = iter(added)
    try:
        batch = list(islice(rows, FEW_ENTRIES))
        with _told(path):
            index, top = _begun(path) if begun else _continued(path)
        with _writing(path, index, threads if len(batch) == FEW_ENTRIES else 0) as writer:
            with _told(path):
                # What is above the highest chunk that was ever added cannot be there.
                for chunk in (chunk for chunk in deleted if top is not None and chunk <= top):
                    writer.delete_documents_by_term("chunk", chunk)
            while batch:
                # The caller's rows are read, and may fail, outside of what tantivy is blamed for.
                documents = [(entry.chunk, _document(entry)) for entry in batch]
                with _told(path):
                    top = _replaced(writer, documents, top)
                batch = list(islice(rows, FEW_ENTRIES))
            failpoints.reach("lexical entries added")
            with _told(path):
                writer.delete_documents_by_term("kind", STAMP)
                writer.add_document(_stamp(seq, top))
                writer.commit()
                failpoints.reach("lexical committed")
    except BaseException:
        if begun:
            # Nobody would ever look for a folder of this name.
            shutil.rmtree(path, ignore_errors=True)
        raise
    # tantivy syncs its folder before it puts the new meta.json there, and not after.
    for renamed in (path, folder):
        sync_folder(renamed)
    return generation


def remove_others(folder: Path, keep: str | None) -> None:
    """Delete every generation but `keep`. Files that are mapped elsewhere may refuse; they are left."""
    for path in folder.glob(f"{NAME}-*"):
        if path.name != f"{NAME}-{keep}" and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            failpoints.reach("old lexical index removed")


def _schema() -> Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="whitespace", index_option="position")
    builder.add_text_field("plain", tokenizer_name="whitespace", index_option="basic")
    builder.add_text_field("kind", tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("chunk", indexed=True, fast=True)
    for name in ("seq", "top", "version"):
        builder.add_integer_field(name, fast=True)
    return builder.build()


def _begun(path: Path) -> tuple[Index, int | None]:
    import tantivy

    path.mkdir()
    return tantivy.Index(_schema(), str(path), reuse=False), None


def _continued(path: Path) -> tuple[Index, int | None]:
    found = LexicalIndex.open(path.parent, path.name.removeprefix(f"{NAME}-"))
    if found is None:
        raise LexicalDamaged(f"{path} cannot be read; delete it, and it is made again")
    return found.index, found.top


@contextmanager
def _writing(path: Path, index: Index, threads: int) -> Iterator[IndexWriter]:
    """A writer; its lock is given back, and its merges are waited for, when the block ends. 0 threads: for few rows."""
    count = max(1, min(threads, MOST_THREADS))
    with _told(path):
        writer = index.writer(count * (THREAD_BYTES if threads else FEW_BYTES), count)
    try:
        yield writer
    except BaseException:
        # A writer that a traceback keeps alive would keep the lock.
        with suppress(ValueError, *_panics()):
            writer.rollback()
            writer.wait_merging_threads()
        raise
    with _told(path):
        writer.wait_merging_threads()


def _replaced(writer: IndexWriter, documents: Iterable[tuple[int, Document]], top: int | None) -> int | None:
    """Add documents, each in place of what its chunk had; returns the highest chunk that was ever added."""
    for chunk, document in documents:
        if top is not None and chunk <= top:
            writer.delete_documents_by_term("chunk", chunk)
        else:
            top = chunk
        writer.add_document(document)
    return top


def _document(entry: Entry) -> Document:
    import tantivy

    language, parts = analysed_entry(entry)
    document = tantivy.Document()
    document.add_integer("chunk", entry.chunk)
    document.add_text("kind", language)
    plain = set[str]()
    for forms in parts:
        if forms.sequential:
            document.add_text("text", " ".join(forms.terms))
        else:
            document.add_pre_tokenized_text("text", _placed(forms))
        plain.update(forms.plain)
    if plain:
        document.add_text("plain", " ".join(plain))
    return document


def _placed(forms: Forms) -> Any:
    import tantivy

    places = zip(forms.terms, forms.positions(), strict=True)
    return tantivy.PreTokenizedString("", [tantivy.Token(term, place, 0, 0) for term, place in places])


def _stamp(seq: int, top: int | None) -> Document:
    import tantivy

    document = tantivy.Document()
    document.add_text("kind", STAMP)
    document.add_text("text", STAMP)
    document.add_integer("seq", seq)
    document.add_integer("version", VERSION)
    if top is not None:
        document.add_integer("top", top)
    return document


# --- errors -----------------------------------------------------------------------------


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """tantivy's errors as ours. It raises ValueError for nearly everything, and its panics are BaseExceptions."""
    try:
        yield
    except ValueError as error:
        raise _named(path, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _named(path, error) from error
        raise
    except _panics() as error:
        raise LexicalDamaged(f"{path} cannot be read ({error}); delete it, and it is made again") from error


def _named(path: Path, error: Exception) -> StoreError:
    text = str(error)
    if "LockBusy" in text:
        return StoreBusy(f"another process is writing {path}; try again when it is done")
    if any(mark in text for mark in ("os error 28", "os error 122", "No space left", "Disk quota")):
        return StoreFull(f"{path} cannot grow, the disk is full ({text}); make room and run: sememe optimize")
    return LexicalDamaged(f"{path} cannot be read ({text}); delete it, and it is made again")


def _panics() -> tuple[type[BaseException], ...]:
    """The types of Rust's panics. Each extension makes its own when it first panics, and exports it nowhere."""
    return tuple(kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException")


# --- searching --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LexicalIndex:
    """One commit of a generation, mapped. A value: a writer may go on, and `reload` gives its newest commit.

    `seq` is the last change that is in it; `top` the highest chunk that ever was; `languages` are the codes that its
    texts were analysed under. `rows` and `average_length` are what scores depend on: they count the stamp, and
    deleted rows until their segment is merged.
    """

    path: Path
    index: Index
    searcher: Searcher
    seq: int
    top: int | None
    languages: frozenset[str]
    rows: int
    average_length: float
    _last: list[tuple[str, Tail, _Asking]] = field(default_factory=list, repr=False, compare=False)

    @property
    def deleted(self) -> int:
        """Rows that were deleted or replaced: their words are in the files until a merge, or a new generation."""
        return self.rows - self.searcher.num_docs

    @classmethod
    def open(cls, folder: Path, generation: str) -> LexicalIndex | None:
        """The index, or None when its files are missing, damaged or of another version. Reads new files once."""
        path = folder / f"{NAME}-{generation}"
        try:
            with _told(path):
                verify(path)
                return cls._at(path, _opened(path))
        except (OSError, StoreError):
            return None

    def reload(self) -> LexicalIndex:
        """The same index at its newest commit. Raises LexicalDamaged."""
        with _told(self.path):
            try:
                verify(self.path)
                self.index.reload()
                return self._at(self.path, self.index)
            except OSError as error:
                raise LexicalDamaged(f"{self.path} cannot be read; delete it, and it is made again") from error

    @classmethod
    def _at(cls, path: Path, index: Index) -> LexicalIndex:
        import tantivy

        if index.schema != _schema():
            raise LexicalDamaged(f"{path} has other fields; delete it, and it is made again")
        searcher = index.searcher()
        query = tantivy.Query.term_query(index.schema, "text", STAMP)
        hits = searcher.search(query, 1, count=False).hits
        if not hits:
            raise LexicalDamaged(f"{path} has no stamp; delete it, and it is made again")
        address = hits[0][1]
        seq, top, version = (searcher.fast_field_values(name, [address])[0] for name in ("seq", "top", "version"))
        if version != VERSION or seq is None:
            raise LexicalDamaged(f"{path} is of version {version}, this is {VERSION}; delete it, and it is made again")
        explained = dict(_details(json.loads(query.explain(searcher, address).to_json())))
        return cls(
            path=path, index=index, searcher=searcher, seq=int(seq), top=None if top is None else int(top),
            languages=frozenset(kind for kind, _ in searcher.terms_with_prefix("kind", "")) - {STAMP},
            rows=int(explained["N"]), average_length=explained["avgdl"],
        )  # fmt: skip

    def terms(self, query: str, tail: Tail | None = None) -> list[str]:
        """The terms that a query is looked up by, prefixes with their star; excluded ones are left out."""
        with _told(self.path):
            return self._asking(query, Tail() if tail is None else tail).read.terms()

    def weighed(self, query: str, tail: Tail) -> tuple[Asked, Statistics, dict[str, float]]:
        """What a query is looked up by, what its terms weigh, and what its prefixes do. Raises LexicalDamaged."""
        with _told(self.path):
            asking = self._asking(query, tail)
        return asking.question, asking.statistics, asking.prefixes

    def search(
        self, query: str, *, k: int, allowed: Ids | None = None, tail: Tail | None = None, dead: Collection[int] = (),
        whole: int | None = None,
    ) -> tuple[Ids, Scores]:  # fmt: skip
        """The k best chunks and their BM25 scores, best first, equal scores by ascending id: (m,), (m,), m <= k.

        Of chunks that score as the last of the first `whole` does, by itself of all k, none of a smaller id is missing.
        `allowed`, ascending, are the chunks that may be returned; `dead` those that may not; those of the `tail`
        replace the rows of the files. Any string is a query; one without a word that can be looked up finds nothing.
        Raises LexicalDamaged.
        """
        tail = Tail() if tail is None else tail
        gone = np.union1d(np.array(sorted(dead), np.int64), tail.ids)
        with _told(self.path):
            asking = self._asking(query, tail)
            ids, scores = self._of_files(asking.query(allowed), k, allowed, gone, whole or k)
        tail_ids, tail_scores = tail.matches(asking.question, asking.statistics, asking.prefixes)
        if allowed is not None:
            kept = np.isin(tail_ids, allowed)
            tail_ids, tail_scores = tail_ids[kept], tail_scores[kept]
        return best(np.concatenate([ids, tail_ids]), np.concatenate([scores, tail_scores]), k)

    def _asking(self, query: str, tail: Tail) -> _Asking:
        """What is asked, kept until the next question: the parts of one search ask the same."""
        for text, beside, known in self._last:
            if text == query and beside is tail:
                return known
        made = _Asking(self, asked(query, self.languages | tail.languages), tail)
        self._last[:] = [(query, tail, made)]
        return made

    def _of_files(
        self, query: Query | None, k: int, allowed: Ids | None, gone: Ids, whole: int
    ) -> tuple[Ids, Scores]:  # fmt: skip
        """The k best of what a query finds: more is fetched until the ties of the last of the first `whole` are
        complete, or many."""
        if query is None or k < 1 or (allowed is not None and not len(allowed)):
            return NO_IDS, NO_SCORES
        # One that tells whether there are ties, and what will be passed over.
        limit = k + 1 + min(len(gone), k)
        if allowed is not None:
            limit = len(allowed) + 1 if len(allowed) <= FEW_ALLOWED else int(limit * 1.2 * self.rows / len(allowed)) + 1
        while True:
            limit = min(limit, self.rows)
            ids, scores, last = self._fetched(query, limit)
            kept = ~np.isin(ids, gone)
            if allowed is not None:
                kept &= _holds(allowed, ids)
            ids, scores = ids[kept], scores[kept]
            if last is None or limit == self.rows or (len(ids) >= k and (last < scores[whole - 1] or limit >= FETCHED)):
                return best(ids, scores, k)
            limit = next(step for step in STEPS if step > limit)

    def _fetched(self, query: Query, limit: int) -> tuple[Ids, Scores, float | None]:
        """What ranks first, and the last score if there may be more."""
        hits = self.searcher.search(query, limit, count=False).hits
        if not hits:
            return NO_IDS, NO_SCORES, None
        found = self.searcher.fast_field_values("chunk", [address for _, address in hits])
        if None in found:
            raise ValueError("a row has no chunk")
        scores = np.array([score for score, _ in hits], np.float32)
        return np.array(found, np.int64), scores, float(scores[-1]) if len(hits) == limit else None


def _opened(path: Path) -> Index:
    import tantivy

    if os.access(path, os.W_OK):
        index = tantivy.Index.open(str(path))
        index.config_reader("manual")
        return index
    # tantivy locks a file beside the index while it opens it: links in a folder that can be written serve it.
    with tempfile.TemporaryDirectory() as writable:
        for file in path.iterdir():
            if file.suffix != ".lock":
                (Path(writable) / file.name).symlink_to(file.resolve())
        index = tantivy.Index.open(writable)
        index.config_reader("manual")
        return index


def _details(explanation: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The names, which go up to a comma, and the values in an explanation."""
    yield explanation["description"].partition(",")[0], explanation["value"]
    for detail in explanation.get("details", ()):
        yield from _details(detail)


class _Asking:
    """A question to one commit and a tail: what its terms weigh, and the query that tantivy runs.

    `read` is all that was asked for, `question` what is looked up of it.
    """

    def __init__(self, index: LexicalIndex, read: Asked, tail: Tail) -> None:
        self._index = index
        self._schema = index.index.schema
        self._tail = tail
        self.read = read
        self._in_files: dict[str, int] = {}
        own = tail.statistics()
        self._tail_rows = own.rows
        self.statistics = Statistics(
            index.rows + own.rows, index.average_length if index.rows > 1 else own.average_length, self._frequency
        )
        self.question = limited(read, self._frequency)
        self.prefixes = {prefix: self._prefix_weight(prefix) for prefix in self.question.prefixes}

    def query(self, allowed: Ids | None) -> Query | None:
        """What is run over the files; None when they cannot hold a match."""
        import tantivy

        query = self._whole
        if query is not None and allowed is not None and len(allowed) <= FEW_ALLOWED:
            # One query a chunk takes half the time of a set, which tantivy turns into an automaton.
            chosen = _any([tantivy.Query.term_query(self._schema, "chunk", chunk) for chunk in allowed.tolist()])
            silent = tantivy.Query.const_score_query(chosen, 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, silent)])
        return query

    @cached_property
    def _whole(self) -> Query | None:
        import tantivy

        Occur = tantivy.Occur  # noqa: N806
        clauses = [(Occur.Should, clause) for clause in self._optional()]
        for forms in self.question.required:
            held = [clause for places in forms if (clause := self._phrase(places)) is not None]
            if not held:
                return None
            clauses.append((Occur.Must, held[0] if len(held) == 1 else _any(held)))
        if not clauses:
            return None
        for places in self.question.excluded:
            if (clause := self._phrase(places)) is not None:
                clauses.append((Occur.MustNot, clause))
        return tantivy.Query.boolean_query(clauses)

    def _optional(self) -> Iterator[Query]:
        import tantivy

        for term, times in self.question.weights.items():
            if self._files(term):
                yield self._weighed(self._term(term), (term,), times)
        for prefix in self.question.prefixes:
            yield tantivy.Query.const_score_query(self._beginning(prefix), self.prefixes[prefix])

    def _phrase(self, places: Places) -> Query | None:
        import tantivy

        terms = tuple(term for _, term in places)
        if not all(self._files(term) for term in terms):
            return None
        if len(places) == 1:
            return self._weighed(self._term(terms[0]), terms, 1)
        return self._weighed(tantivy.Query.phrase_query(self._schema, "text", list(places)), terms, 1)

    def _term(self, term: str) -> Query:
        import tantivy

        # Without positions, which scores do not depend on.
        return tantivy.Query.term_query(self._schema, "text", term, "freq")

    def _weighed(self, query: Query, terms: tuple[str, ...], times: int) -> Query:
        """tantivy weighs by the files alone: the tail's rows are made to count by a factor."""
        import tantivy

        if not self._tail_rows and times == 1:
            return query
        by_files = sum(idf(self._index.rows, self._files(term)) for term in terms)
        return tantivy.Query.boost_query(query, times * sum(map(self.statistics.idf, terms)) / by_files)

    def _beginning(self, prefix: str) -> Query:
        import tantivy

        # At distance 0 the automaton accepts what begins with the text.
        return _any([tantivy.Query.fuzzy_term_query(self._schema, name, prefix, 0, prefix=True) for name in PREFIXED])

    def _prefix_weight(self, prefix: str) -> float:
        """Every row that holds such a word scores like one of average length that holds a term of their number."""
        found: Any = self._index.searcher.search(self._beginning(prefix), 1, count=True)
        return idf(self.statistics.rows, found.count + self._tail.beginning(prefix))

    def _files(self, term: str) -> int:
        found = self._in_files.get(term)
        if found is None:
            found = self._in_files[term] = self._index.searcher.doc_freq("text", term)
        return found

    def _frequency(self, term: str) -> int:
        return self._files(term) + (self._tail.frequency(term) if self._tail_rows else 0)


def _any(queries: Sequence[Query]) -> Query:
    import tantivy

    return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in queries])


def _holds(ascending: Ids, ids: Ids) -> npt.NDArray[np.bool_]:
    """Which of the ids are among the ascending ones: (n,)."""
    place = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    held: npt.NDArray[np.bool_] = ascending[place] == ids
    return held
