"""Golden sets: queries whose answers are known, kept in the collection and made from several origins.

A judgement names a document, or characters of one: a chunk that shares at least half of them (or of itself) answers
the query, so a set survives cutting the same text anew. Where a judgement came from is kept with it, because it says
how easy the query is.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sememe.chunking import order_of
from sememe.chunking.boundaries import unit_starts
from sememe.collection import Collection
from sememe.errors import InputError, NotFound, meant
from sememe.evaluate.datasets import Dataset, Unit, json_lines, lines_of, query_id, usable
from sememe.evaluate.truth import moment, opened
from sememe.store.golden import WHOLE, Judgement
from sememe.store.inventory import Inventory
from sememe.store.records import StoredChunk
from sememe.types import CHUNK_PREFIX

EASE = {
    "heading": "easy: the words of a heading path are part of what is embedded for its chunk",
    "sentence": "very easy: the query is a piece of its chunk; what misses here has a fault",
    "hand": "as hard as whoever wrote it made it",
    "model": "easier than people's: a language model asked after it had read the chunk",
    "clicks": "biased: people click what was shown, so what was never shown was never judged",
}
"""What each origin says of a set."""

SHORTEST, LONGEST = 5, 40
"""Words of a sentence that is asked for."""

_OWN_HEADING = re.compile(r"#{1,6}\s+(?P<title>[^\n]*?)\s*#*\s*(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of making or importing: judgements written, and what was left out, in words.

    `failed` are the chunks that a language model asked nothing about, and why.
    """

    name: str
    queries: int
    judgements: int
    remarks: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SetRow:
    """A golden set in few words: `origins` counts its queries by origin."""

    name: str
    unit: Unit
    queries: int
    judgements: int
    origins: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Item:
    """A query that a chunk gave, and the characters that answer it."""

    query: str
    key: str
    start: int
    end: int


def sets(collection: Collection) -> list[SetRow]:
    """The golden sets of a collection, by name."""
    with moment(collection.path) as snapshot:
        found = snapshot.judgements()
    rows = []
    for name in dict.fromkeys(judgement.name for judgement in found):
        own = [judgement for judgement in found if judgement.name == name]
        origin = {judgement.query: judgement.origin for judgement in own}
        rows.append(SetRow(name, _unit(own[0]), len(origin), len(own), dict(Counter(origin.values()))))
    return rows


def texts(collection: Collection, path: Path | None, name: str | None) -> list[str]:
    """The queries in a file, one on a line, or those of a golden set; none where neither is named.

    Raises InputError when both are named, or the file has none.
    """
    if path is not None and name is not None:
        raise InputError(f"the file {path} and the set {name} both say what to ask; leave one out")
    if name is not None:
        return list(dataset(collection, name).queries.values())
    found = [] if path is None else [line.strip() for _, line in lines_of(path)]
    if path is not None and not found:
        raise InputError(f"{path} holds no query; write one on a line")
    return found


def judgements(collection: Collection, name: str) -> list[Judgement]:
    """Everything in a set. Raises NotFound when there is no such set."""
    with moment(collection.path) as snapshot:
        return _of_set(snapshot, name, collection.path)


def dataset(collection: Collection, name: str) -> Dataset:
    """A golden set as queries and judgements; characters become the chunks that hold them now."""
    with moment(collection.path) as snapshot:
        found = _of_set(snapshot, name, collection.path)
        unit = _unit(found[0])
        rows = [
            (query_id(judgement.query), one, judgement.grade)
            for judgement in found
            for one in ([judgement.key] if unit == "document" else _chunks_at(snapshot, judgement))
        ]
    origins = {query_id(judgement.query): judgement.origin for judgement in found}
    queries = {query_id(judgement.query): judgement.query for judgement in found}
    remarks = [f"{EASE.get(origin.partition(' ')[0], origin)} ({origin})" for origin in dict.fromkeys(origins.values())]
    return usable(name, queries.items(), dict.fromkeys(rows), unit=unit, origins=origins, remarks=remarks)


def add(collection: Collection, query: str, names: Sequence[str], *, name: str = "hand", grade: int = 1) -> Counts:
    """Judge by hand: documents (by key) or chunks ("chunk:12") that answer a query. Raises NotFound, InputError."""
    if not query.strip():
        raise InputError("the query is empty; say what one would look for")
    if grade < 0:
        raise InputError(f"the grade is {grade}; give 0 for what does not answer the query, 1 or more for what does")
    with moment(collection.path) as snapshot:
        made = [
            _by_name(snapshot, collection, Judgement(name, query, one, WHOLE, WHOLE, grade, "hand")) for one in names
        ]
    return put(collection, name, made)


def remove(collection: Collection, name: str, query: str | None = None) -> int:
    """Take a query, or everything, out of a set; returns how many judgements went. Raises NotFound."""
    found = judgements(collection, name)
    gone = [judgement for judgement in found if query in (None, judgement.query)]
    if not gone:
        raise NotFound(f"the set {name!r} has no query {query!r}; see what it has with: sememe eval golden list {name}")
    with opened(collection.path) as store, store.transaction() as transaction:
        transaction.drop_judgements(gone)
    return len(gone)


def import_clicks(collection: Collection, path: Path, *, name: str = "clicks", least: int = 1) -> Counts:
    """Take lines of {"query": …, "id": …}: what was clicked at least so many times answers the query.

    A clicked chunk stands for its document. Raises InputError for a line that is none, naming its number; nothing is
    stored then.
    """
    clicks = Counter[tuple[str, str]]()
    for number, entry in json_lines(path):
        query, one = entry.get("query"), entry.get("id")
        if not isinstance(query, str) or not query.strip() or not isinstance(one, str):
            raise InputError(f'line {number} of {path} is no click; write one like {{"query": "…", "id": "…"}}')
        clicks[query.strip(), one] += 1
    made: list[Judgement] = []
    gone = 0
    with moment(collection.path) as snapshot:
        for (query, one), count in clicks.items():
            key = _document_of(snapshot, one)
            gone += key is None
            if key is not None and count >= least:
                made.append(Judgement(name, query, key, WHOLE, WHOLE, 1, "clicks"))
    remarks = (f"{gone:,} of {len(clicks):,} pairs name what is not in {collection.path}, and are left out",) * (
        gone > 0
    )
    if not made:
        raise InputError(f"{path} holds no click that can be used ({'; '.join(remarks) or 'it is empty'})")
    return put(collection, name, made, remarks=remarks)


def make(collection: Collection, origin: str, *, name: str = "", count: int = 100) -> Counts:
    """Make a set of `count` queries from "headings" or "sentences" of the collection. The same text gives the same set.

    Raises InputError when there is nothing to make it of.
    """
    if origin not in MAKERS:
        raise InputError(f"a set is made from {' or '.join(MAKERS)}, and {origin!r} is neither")
    if count < 1:
        raise InputError(f"the set is to have {count} queries; ask for at least 1")
    with moment(collection.path) as snapshot:
        items = list(MAKERS[origin](snapshot))
    owners = defaultdict(set)
    for item in items:
        owners[item.query.casefold()].add(item.key)
    chosen = [query for query, keys in owners.items() if len(keys) == 1]
    chosen = sorted(chosen, key=lambda text: hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())[:count]
    if not chosen:
        raise InputError(f"{collection.path} has no {origin} to ask for; add documents that have some")
    wanted, label = set(chosen), origin.removesuffix("s")
    made = [
        Judgement(name or origin, item.query, item.key, item.start, item.end, 1, label)
        for item in items if item.query.casefold() in wanted
    ]  # fmt: skip
    fewer = (f"only {len(chosen):,} {origin} could be asked for",) * (len(chosen) < count)
    return put(collection, name or origin, made, remarks=fewer)


def corpus(collection: Collection, unit: Unit) -> Iterator[tuple[str, str, str]]:
    """Everything that could answer: id, title and text of every document, or chunk."""
    with moment(collection.path) as snapshot:
        for number in snapshot.live_documents():
            document = snapshot.documents([number])[number]
            if unit == "document":
                yield document.key, document.title, snapshot.text(number)
            else:
                yield from (
                    (f"{CHUNK_PREFIX}{chunk.id}", " > ".join(chunk.headings), chunk.text)
                    for chunk in snapshot.chunks_of(number)
                )


# --- what chunks give ------------------------------------------------------------------------------------------


def chunks_of(snapshot: Inventory) -> Iterator[tuple[str, str, StoredChunk]]:
    """Every chunk with the key of its document and its reader's name."""
    for number in snapshot.live_documents():
        document = snapshot.documents([number])[number]
        for chunk in snapshot.chunks_of(number):
            yield document.key, document.recipe.reader, chunk


def _headings(snapshot: Inventory) -> Iterator[_Item]:
    """The heading path of every chunk, its own heading included where the text shows one."""
    for key, _, chunk in chunks_of(snapshot):
        own = _OWN_HEADING.match(chunk.text)
        path = [*chunk.headings, *([own["title"]] if own else [])]
        query = " ".join(" ".join(path).split())
        if len(query.split()) > 1:
            yield _Item(query, key, chunk.start, chunk.end)


def _sentences(snapshot: Inventory) -> Iterator[_Item]:
    """One sentence of every chunk of prose: the first that is neither short nor long."""
    for key, reader, chunk in chunks_of(snapshot):
        order = order_of(reader)
        if "sentence" not in order:
            continue
        bounds = [0, *unit_starts(chunk.text, 0, len(chunk.text), order=order), len(chunk.text)]
        for start, end in pairwise(bounds):
            query = " ".join(chunk.text[start:end].split())
            if SHORTEST <= len(query.split()) <= LONGEST and query[-1:] in ".!?":
                yield _Item(query, key, chunk.start + start, chunk.start + end)
                break


MAKERS = {"headings": _headings, "sentences": _sentences}


# --- keys, chunks, the truth -----------------------------------------------------------------------------------


def _chunks_at(snapshot: Inventory, judgement: Judgement) -> list[str]:
    """The ids of the chunks that share at least half of the characters, or of themselves; else one that none has."""
    document = snapshot.document(judgement.key)
    found = []
    for chunk in snapshot.chunks_of(document.id) if document is not None else ():
        shared = min(chunk.end, judgement.end) - max(chunk.start, judgement.start)
        if 2 * shared >= min(chunk.end - chunk.start, judgement.end - judgement.start):
            found.append(f"{CHUNK_PREFIX}{chunk.id}")
    return found or [f"{judgement.key}:{judgement.start}-{judgement.end}"]


def _by_name(snapshot: Inventory, collection: Collection, judgement: Judgement) -> Judgement:
    """The same with the characters of the chunk, where its key is one's id."""
    chunk = _chunk(snapshot, judgement.key)
    if chunk is not None:
        key = snapshot.documents([chunk.document])[chunk.document].key
        return Judgement(
            judgement.name, judgement.query, key, chunk.start, chunk.end, judgement.grade, judgement.origin
        )  # fmt: skip
    if snapshot.document(judgement.key) is None:
        raise NotFound(
            f"{judgement.key!r} is neither a document nor a chunk of {collection.path}; search for it, or add it"
        )
    return judgement


def _chunk(snapshot: Inventory, name: str) -> StoredChunk | None:
    number = name.removeprefix(CHUNK_PREFIX)
    return snapshot.chunks([int(number)]).get(int(number)) if number != name and number.isdecimal() else None


def _document_of(snapshot: Inventory, name: str) -> str | None:
    chunk = _chunk(snapshot, name)
    if chunk is not None:
        return snapshot.documents([chunk.document])[chunk.document].key
    return name if snapshot.document(name) is not None else None


def put(
    collection: Collection, name: str, made: Sequence[Judgement], *, remarks: tuple[str, ...] = (),
    failed: tuple[tuple[str, str], ...] = (),
) -> Counts:  # fmt: skip
    """Add judgements to a set. Raises InputError for a name that is none, and for a set of the other unit."""
    refuse_mixed(collection, name, {_unit(judgement) for judgement in made})
    with opened(collection.path) as store, store.transaction() as transaction:
        transaction.judge(made)
    return Counts(name, len({judgement.query for judgement in made}), len(made), remarks, failed)


def refuse_mixed(collection: Collection, name: str, units: set[Unit]) -> None:
    """Raise InputError for a name that is none, and where a set would judge documents and chunks."""
    if not name.strip() or not name.isprintable():
        raise InputError(f"the set is called {name!r}; give it a name of letters")
    with opened(collection.path) as store, store.snapshot() as snapshot:
        units = units | {_unit(judgement) for judgement in snapshot.judgements(name)[:1]}
    if len(units) > 1:
        raise InputError(f"a set judges documents or chunks, and {name!r} would judge both; name another set")


def _unit(judgement: Judgement) -> Unit:
    return "document" if judgement.start == WHOLE else "chunk"


def _of_set(snapshot: Inventory, name: str, where: Path) -> list[Judgement]:
    found = snapshot.judgements(name)
    if not found:
        known = list(dict.fromkeys(judgement.name for judgement in snapshot.judgements()))
        raise NotFound(
            f"{where} has no golden set {name!r}; "
            + (f"it has {', '.join(known)}{meant(name, known)}" if known else "make one with: sememe eval golden make")
        )
    return found
