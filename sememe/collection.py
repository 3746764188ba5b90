"""The one facade: a folder with everything that sememe keeps about a set of documents.

It opens the store, checks the space, loads the model when it is first needed, and hands every call to the room
that does the work. It holds no arithmetic and no SQL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sememe.errors import InputError, NotFound, SpaceMismatch, one_of
from sememe.filters import Filter, parse
from sememe.ingest.further import Further
from sememe.models import load_encoder, load_model, load_reranker
from sememe.models.cards import DEFAULT_MODEL
from sememe.models.tokens import SURROGATES
from sememe.search.plan import Plan
from sememe.search.query import Mode, Query, Route, checked
from sememe.search.represented import checked_beside
from sememe.search.run import NO_CHUNKS, Hits, Models, Way, answer
from sememe.search.view import View
from sememe.settings import DEFAULT_FOLDER, Settings, from_environment
from sememe.space import CANARY_TEXTS, Embedder, Held, Space, check, check_unchanged
from sememe.store import SQLiteStore
from sememe.store.records import StoredChunk, StoredDocument, Totals
from sememe.store.sqlite import is_there
from sememe.types import CHUNK_PREFIX, METRICS, Ids, LedgerRow, Long, Metric, Progress, Reranker, Vectors

if TYPE_CHECKING:
    # What only writing needs is imported where it is used: the answer to a search comes .1 s sooner.
    from sememe.ingest.about import Describe, Given
    from sememe.ingest.cutting import CutOptions
    from sememe.ingest.pages import Pages
    from sememe.ingest.pipeline import OnProgress, Summary
    from sememe.ingest.sync import Choices, OnInput, Scope
    from sememe.models.errand import FetchProgress
    from sememe.models.providers.base import HostedEmbedder
    from sememe.sources import ReadOptions


@dataclass(frozen=True, slots=True)
class Record:
    """A stored document with its text and its chunks."""

    document: StoredDocument
    text: str
    chunks: tuple[StoredChunk, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a collection holds, every input that did not end as it should, and the type of every metadata field."""

    totals: Totals
    troubles: tuple[LedgerRow, ...]
    fields: Mapping[str, str]


def open(
    path: str | Path = DEFAULT_FOLDER,
    *,
    model: str | Path | Embedder | None = None,
    metric: Metric | None = None,
    settings: Settings | None = None,
    create: bool = True,
    fetch_progress: FetchProgress | None = None,
) -> Collection:
    """Open the collection in the folder `path`, or make it.

    `model` is a known name, a folder with a model's files, or an object that embeds; without it, the model that
    the collection was made with, or the default one. `metric` is how its vectors are compared: "cosine" (they are
    scaled to unit length when they are stored), "dot" or "euclidean"; without it, as the model wants it. Without
    `settings` the environment is read. Raises NotFound when there is no collection and `create` is false,
    SpaceMismatch when the model makes other vectors, or the metric is another one, than those that are stored, and
    StoreError or its kin when the folder cannot be used.
    """
    settings = settings or from_environment()
    if metric is not None and metric not in METRICS:
        raise InputError(f"the metric is {metric!r}; {one_of(metric, METRICS)}")
    folder = _checked_folder(path)
    if create and not is_there(folder) and not isinstance(model, Embedder):
        # Before anything is written: a model that cannot be had must not leave an empty collection behind.
        model = load_model(model or DEFAULT_MODEL, settings=settings, progress=fetch_progress)
        if (hosted := _hosted(model)) is not None:
            hosted.ready()
    store = SQLiteStore(folder, create=create)
    collection = Collection(store, model, metric=metric, settings=settings, fetch_progress=fetch_progress)
    try:
        collection._check_named()
    except BaseException:
        collection.close()
        raise
    return collection


def _hosted(embedder: object) -> HostedEmbedder | None:
    """The embedder, if somebody else runs it."""
    from sememe.models.providers.base import HostedEmbedder

    return embedder if isinstance(embedder, HostedEmbedder) else None


def _checked_folder(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or not str(path).strip():
        raise InputError(f"the path of the collection is {path!r}; name a folder")
    folder = Path(path).expanduser().absolute()
    if SURROGATES.search(str(folder)):
        raise InputError(f"the path {str(folder)!r} is not valid UTF-8; give the folder of the collection another name")
    return folder


class Collection:
    """Documents, their vectors, and what can be asked of them. Use `sememe.open` to get one.

    Safe to use from several threads; another process may read and write the same folder meanwhile.
    """

    def __init__(
        self, store: SQLiteStore, model: str | Path | Embedder | None, *, settings: Settings,
        metric: Metric | None = None, fetch_progress: FetchProgress | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._model = model
        self._metric = metric
        self._settings = settings
        self._fetch_progress = fetch_progress
        self._embedder: Embedder | None = None
        self._unchanged = False
        self._views: dict[tuple[str, str], View] = {}
        self.further = Further(store, partial(load_encoder, settings=settings, progress=fetch_progress))
        self._rerankers: dict[str, Reranker] = {}
        self._space: Space | None = None
        self._recall: float | None = None
        self._lock = threading.RLock()

    @property
    def path(self) -> Path:
        """The folder of the collection."""
        return self._store.folder

    @property
    def space(self) -> Space | None:
        """What makes the stored vectors comparable; None before the first document."""
        if self._space is None:
            with self._store.snapshot() as snapshot:
                stored = snapshot.space()
                self._recall = snapshot.usual_recall()
            # Written once and never changed.
            self._space = stored[0] if stored else None
        return self._space

    @property
    def embedder(self) -> Embedder:
        """The model, loaded on first use. Raises SpaceMismatch when it does not fit what is stored."""
        with self._lock:
            if self._embedder is None:
                embedder = self._load()
                self._check(embedder)
                self._embedder = embedder
            return self._embedder

    def _check_named(self) -> None:
        """Raise SpaceMismatch at once if a model or metric was named that does not fit what is stored."""
        stored = self.space
        if stored is not None and self._metric not in (None, stored.metric):
            raise SpaceMismatch(
                f"{self.path} compares its vectors by {stored.metric}, and {self._metric} was asked for; open it "
                f"without a metric, or make a new collection for {self._metric}"
            )
        if self._model is not None and stored is not None and stored.model != self._model:
            self.embedder  # noqa: B018 - loading it is what checks it

    def add(
        self, records: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]], *, chunk: bool | Long = True,
        progress: OnProgress | None = None,
    ) -> Summary:  # fmt: skip
        """Add texts, or records with `text` and optionally `id`, `title`, `metadata` and `media_type`.

        A record whose id is there replaces it; one that has not changed costs nothing. With `chunk` false every
        text is one chunk, and what the model cannot read of it is reported as truncated; "windows" reads all of it
        and stores the mean; "late" cuts, and embeds the chunks of a document together. Raises InputError for a
        record that cannot be used, naming its position; those before it are stored.
        """
        from sememe.ingest import sync
        from sememe.ingest.items import given_items

        single = isinstance(records, str | Mapping)
        items = given_items([records] if single else records)  # type: ignore[list-item]
        return self._billed(sync.add(
            self._store, self._prepared(), items, options=self._options(chunk),
            further=self.further.targets(), progress=progress, threads=self._settings.threads,
        ))  # fmt: skip

    def add_files(
        self, paths: str | Path | Sequence[str | Path], *, chunk: bool | Long = True, hidden: bool = False,
        checksum: bool = False, tracked: bool = False, read: ReadOptions | None = None,
        metadata: Describe | Given | None = None, progress: OnProgress | None = None,
    ) -> Summary:  # fmt: skip
        """Add files, and what lies in folders. Hidden names are passed over unless `hidden`.

        With `tracked` only what Git tracks. `read` says which columns of rows are text, title and id. A file that
        holds many documents gives each of them, under the key FILE!/NAME. A file whose size and time are those of the
        last time is not read again unless `checksum`. `metadata` is said of every file, or is a function from a
        file's path to what is said of it; it wins over what the file and its sidecar `NAME.metadata.json` say, and
        stays until another call gives the field again (None takes it away). Raises InputError when a path does not
        exist; every file that cannot be used ends in the ledger.
        """
        from sememe.ingest import sync

        scope = self._scope(paths, hidden=hidden, tracked=tracked, read=read, metadata=metadata)
        return self._billed(sync.add_files(
            self._store, self._prepared(), scope, options=self._options(chunk, scope.read), checksum=checksum,
            further=self.further.targets(), progress=progress, threads=self._settings.threads,
        ))  # fmt: skip

    def sync(
        self, folder: str | Path, *, chunk: bool | Long = True, hidden: bool = False, checksum: bool = False,
        allow_empty: bool = False, tracked: bool = False, read: ReadOptions | None = None,
        metadata: Describe | Given | None = None, progress: OnProgress | None = None,
    ) -> Summary:  # fmt: skip
        """Make the collection agree with a folder: add what is new or changed, delete what is gone.

        Options as of `add_files`. Raises InputError when the folder does not exist, or when nothing would be left of
        what was stored from it and `allow_empty` is false: an unmounted disk looks just like that.
        """
        from sememe.ingest import sync

        scope = self._scope(folder, hidden=hidden, tracked=tracked, read=read, metadata=metadata)
        return self._billed(sync.sync_folder(
            self._store, self._prepared(), scope, options=self._options(chunk, scope.read), checksum=checksum,
            allow_empty=allow_empty, further=self.further.targets(), progress=progress, threads=self._settings.threads,
        ))  # fmt: skip

    def delete(self, keys: str | Iterable[str]) -> int:
        """Delete documents by key; returns how many. Raises NotFound, and deletes none, when one is not there."""
        from sememe.ingest import sync

        wanted = [keys] if isinstance(keys, str) else list(dict.fromkeys(map(str, keys)))
        return sync.delete(self._store, list(dict.fromkeys(map(self._key, wanted))))

    def get(self, key: str) -> Record:
        """A document by key, or the document of a chunk by the chunk's id. Raises NotFound."""
        with self._store.snapshot() as snapshot:
            chunk = None
            number = str(key).removeprefix(CHUNK_PREFIX)
            if number != key and number.isdecimal():
                chunk = snapshot.chunks([int(number)]).get(int(number))
                document = snapshot.documents([chunk.document]).get(chunk.document) if chunk else None
            else:
                document = snapshot.document(self._key(str(key), missing_ok=True))
            if document is None:
                stored = self._key(str(key), missing_ok=True)
                raise NotFound(f"{key!r} {snapshot.absence(stored, self.path)}")
            if chunk is not None:
                return Record(document, chunk.text, (chunk,))
            return Record(document, snapshot.text(document.id), tuple(snapshot.chunks_of(document.id)))

    def search(
        self, query: str | Vectors | Query, *, k: int = 10, where: Filter | None = None, mode: Mode = "vector",
        alpha: float | None = None, recall: float | None = None, route: Route | None = None,
    ) -> Hits:  # fmt: skip
        """The k chunks nearest in meaning to a text, or to a vector of this space; best first.

        A `Query` says all of it in one value, and more: further parts with weights, what is stored, the shape of the
        answer. It goes alone.

        `where` is a Mongo-style filter over metadata: `{"year": {"$gte": 2020}}`. `mode` "lexical" compares words
        (BM25), "hybrid" fuses both: by the surprise of scores, or with `alpha` (1: meaning alone) by weighted scores.
        `recall` is the share of the true neighbours that will do (.99, unless `sememe optimize --recall` said another
        one), 1 for all of them. `route` says by which way: `Route(space="fine")` looks in the further space of that
        name, `Route(space=("@own", "fine"))` in several, `Route(rerank="owner/name")` lets a model that reads the query
        with each text put the best in order.

        Fewer than k when fewer match, and `notes` of the result then say so; its `plan` is the plan that ran.
        Raises InputError when the query is empty, has another dimension or values that are not finite, the filter
        cannot be understood, or another value cannot be used.
        """
        if isinstance(query, Query):
            if (k, where, mode, alpha, recall, route) != (10, None, "vector", None, None, None):
                raise InputError("a Query says its own k, where, mode, alpha, recall and route; give them there")
            return self._answer(query)
        condition = None if where is None else parse(where)
        text, vector = (query, None) if isinstance(query, str) else (None, query)
        return self._answer(Query(
            text=text, vector=vector, k=k, where=condition, mode=mode, alpha=alpha, recall=recall,
            route=route or Route(),
        ))  # fmt: skip

    def similar(self, name: str, *, k: int = 10, where: Filter | None = None, recall: float | None = None) -> Hits:
        """The k chunks nearest to a stored one, or to a document (the mean of its chunks); it is left out itself.

        Raises NotFound when there is no such document or chunk, and InputError as `search` does.
        """
        from sememe.search.parts import Part, Stored

        self._stored_space()
        condition = None if where is None else parse(where)
        return self._answer(Query(parts=(Part(Stored(name)),), k=k, where=condition, recall=recall))

    def _answer(self, query: Query) -> Hits:
        if self.space is None:
            checked(query, self.embedder.space.dim)
            return Hits([], Plan(()), notes=(NO_CHUNKS,))
        query, view, models = self._ready(query)
        return answer(query, store=self._store, view=view, models=models)

    def _ready(self, query: Query) -> tuple[Query, View, Models]:
        """The query as it is run, and with what."""
        spaces = [self.further.held(name) for name in query.route.spaces]
        query = checked_beside(checked(query, spaces[0].space.dim), spaces[0])
        query = replace(query, recall=self._recall if query.recall is None else query.recall)
        ways = tuple(self._way(query, held) for held in spaces)
        if query.parts:
            from sememe.search.forms import resolved

            query = resolved(query, find=self.get, store=self._store, held=spaces[0], embedder=ways[0].encoder)
        # Over several spaces filters go over that of which every chunk has a vector.
        view = ways[0].view if len(ways) == 1 else self._index(Held(self._stored_space()))
        return query, view, Models(ways, self._reranker(query.route.rerank))

    def _way(self, query: Query, held: Held) -> Way:
        view, own = self._index(held), not held.name
        encoder = None if not query.needs_model else self._verified() if own else self.further.target(held).embedder
        return Way(held.space, view, encoder, view.beside(held))

    def _reranker(self, named: str | Path | Reranker | None) -> Reranker | None:
        """A model that ranks, loaded on first use."""
        if not isinstance(named, str | Path):
            return named
        with self._lock:
            if (key := str(named)) not in self._rerankers:
                self._rerankers[key] = load_reranker(named, settings=self._settings, progress=self._fetch_progress)
            return self._rerankers[key]

    def _stored_space(self) -> Space:
        space = self.space
        if space is None:
            raise NotFound(f"{self.path} is empty; add to it first")
        return space

    def vectors(self) -> tuple[Ids, Vectors]:
        """Every chunk's number and vector: ids (n,), vectors (n, dim), in the order they came."""
        with self._store.snapshot() as snapshot:
            stored = snapshot.space()
            dim = stored[0].dim if stored else 0
            return snapshot.vectors(snapshot.live_chunks(), dim)

    def report(self) -> Report:
        """What is stored, every input that was truncated, skipped or failed, or left a remark, and the fields."""
        with self._store.snapshot() as snapshot:
            rows = tuple(row for row in snapshot.ledger() if row.status != "embedded" or row.remarks)
            return Report(snapshot.totals(), rows, snapshot.fields())

    def ledger(self) -> Iterator[LedgerRow]:
        """How every input ended, by key."""
        with self._store.snapshot() as snapshot:
            rows = list(snapshot.ledger())
        return iter(rows)

    def optimize(self, *, progress: Callable[[str], Progress | None] | None = None) -> None:
        """Write the derived files anew from the truth. They may be deleted at any time.

        `progress` is called with the name of an index, and gives what is then called with how far it is.
        """
        from sememe.ingest import derived

        effort = derived.Effort(rebuild=True, wait=True, threads=self._settings.threads, progress=progress)
        derived.catch_up(self._store, effort)

    def close(self) -> None:
        """Close the files. The collection cannot be used afterwards."""
        self._store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self) -> Embedder:
        stored = self.space
        model = self._model
        if model is None:
            model = stored.model if stored else DEFAULT_MODEL
        if isinstance(model, str | Path):
            try:
                return load_model(model, settings=self._settings, progress=self._fetch_progress)
            except NotFound as error:
                if stored is None or self._model is not None:
                    raise
                raise NotFound(
                    f"{self.path} was made with {stored.model}, which is not a known model; name the folder of its "
                    f"files with model=... (--model FOLDER)"
                ) from error
        return model

    def _check(self, embedder: Embedder) -> None:
        with self._store.snapshot() as snapshot:
            stored = snapshot.space()
        if stored is not None:
            check(stored[0], stored[1], embedder, offered=self._space_of(embedder, stored[0]), where=str(self.path))

    def _space_of(self, embedder: Embedder, stored: Space | None) -> Space:
        """The space of this model's vectors here: how they are compared is the collection's own choice."""
        metric = self._metric or (stored.metric if stored is not None else embedder.space.metric)
        return replace(embedder.space, metric=metric)

    def _verified(self) -> Embedder:
        """The model, and once the proof that it is still the one that was stored with, where a name proves nothing."""
        embedder = self.embedder
        with self._lock:
            if not self._unchanged:
                with self._store.snapshot() as snapshot:
                    stored = snapshot.space()
                if stored is not None:
                    check_unchanged(stored[0], stored[1], embedder, where=str(self.path))
                self._unchanged = True
        return embedder

    def _prepared(self) -> Embedder:
        """The model, with its space written down if it is the collection's first."""
        if self.space is not None:
            return self._verified()
        embedder = self.embedder
        canaries = embedder.embed(CANARY_TEXTS, role="document").vectors
        with self._store.transaction() as transaction:
            transaction.set_space(self._space_of(embedder, None), canaries)
        self._check(embedder)
        return embedder

    def _billed(self, summary: Summary) -> Summary:
        """The summary of a run, with what its vectors cost where somebody else makes them."""
        bills = [hosted.bill() for hosted in map(_hosted, [self._embedder, *self.further.embedders()]) if hosted]
        if bills:
            summary.billed_tokens = sum(tokens for tokens, _ in bills)
            dollars = [cost for _, cost in bills if cost is not None]
            summary.dollars = sum(dollars) if len(dollars) == len(bills) else None
        return summary

    def _options(self, chunk: bool | Long, read: ReadOptions | None = None) -> CutOptions:
        return options_for(self.embedder, chunk=chunk, read=read)

    def _scope(
        self, paths: str | Path | Sequence[str | Path], *, hidden: bool, tracked: bool, read: ReadOptions | None,
        metadata: Describe | Given | None,
    ) -> Scope:  # fmt: skip
        from sememe.ingest.about import given
        from sememe.ingest.sync import Scope
        from sememe.sources.files import NO_CHOICE

        return Scope(
            self._paths(paths), base=self.path.parent, exclude=self.path, hidden=hidden, tracked=tracked,
            read=read or NO_CHOICE, given=given(metadata),
        )  # fmt: skip

    def _index(self, held: Held) -> View:
        held = held if held.kind == "dense" else Held(self._stored_space())
        with self._lock:
            if (called := (held.name, held.key)) not in self._views:
                dim, metric = held.space.dim, held.space.metric
                self._views[called] = View(self.path, dim, metric, name=held.name, threads=self._settings.threads)
            return self._views[called]

    def _paths(self, paths: str | Path | Sequence[str | Path]) -> list[Path]:
        if not (given := [paths] if isinstance(paths, str | Path) else list(paths)) or "" in given:
            raise InputError("no path was given, or an empty one; name at least one file or folder")
        return [Path(path).expanduser() for path in given]

    def _key(self, key: str, *, missing_ok: bool = False) -> str:
        """The key as it is stored: as given, or as the path of a file; of what is there before what was."""
        from sememe.ingest.items import keys_of

        keys = keys_of(key, self.path.parent)
        with self._store.snapshot() as snapshot:
            for is_there in (snapshot.document, snapshot.in_ledger, snapshot.removed):
                if found := next(filter(is_there, keys), None):
                    return found
        if missing_ok:
            return key
        raise NotFound(f"{key!r} is not a document of {self.path}; see what there is with: sememe report --all")


def options_for(embedder: Embedder, *, chunk: bool | Long, read: ReadOptions | None = None) -> CutOptions:
    """How documents are cut for a model: to what it reads, by its own tokenizer. Raises InputError if it cannot be."""
    from sememe.ingest.cutting import CutOptions
    from sememe.models.long import LATE_TOKENS, document_embedding
    from sememe.sources.files import NO_CHOICE

    if (hosted := _hosted(embedder)) is not None:
        limit = hosted.chunk_tokens if chunk else hosted.max_tokens
    else:
        limit = embedder.space.max_tokens
    long: Long = "truncate" if isinstance(chunk, bool) else chunk
    if long == "late":
        document_embedding(embedder, long)
        limit = min(limit, LATE_TOKENS, embedder.space.max_tokens // 2)
    return CutOptions(
        counter=embedder.counter, max_tokens=limit, reserved=embedder.reserved,
        chunk=chunk in (True, "truncate", "late"), read=read or NO_CHOICE,
        languages=getattr(embedder, "languages", ()), long=long, context=embedder.space.max_tokens - embedder.reserved,
    )  # fmt: skip


def ready(collection: Collection, query: Query) -> tuple[Query, SQLiteStore, View, Models]:
    """A query as a search runs it, and with what, for who looks closer. Raises as `search`, and NotFound."""
    collection._stored_space()
    query, view, models = collection._ready(query)
    return query, collection._store, view, models


def use_recall(collection: Collection, recall: float) -> None:
    """From now on let searches that say no `recall` ask for this one. Who has the collection open goes on as before."""
    with collection._store.transaction() as transaction:
        transaction.set_usual_recall(recall)
    collection._recall = recall


def add_pages(
    collection: Collection, pages: Pages, *, chunk: bool | Long = True, read: ReadOptions | None = None,
    metadata: Describe | Given | None = None, progress: OnProgress | None = None,
) -> Summary:  # fmt: skip
    """Add pages of the web. A page that its server says has not changed costs one question.

    `metadata` is that of `Collection.add_files`; a function is given the address. Raises InputError for what is no
    address; every page that cannot be used ends in the ledger.
    """
    from sememe.ingest import sync
    from sememe.ingest.about import given

    said = given(metadata)
    embedder, options = collection._prepared(), collection._options(chunk, read)
    items = pages.checked().items(collection._store, options.read, said)
    return collection._billed(sync.add(
        collection._store, embedder, items, options=options, strict=said.strict, progress=progress,
        further=collection.further.targets(), threads=collection._settings.threads,
    ))  # fmt: skip


def preview(
    paths: str | Path | Sequence[str | Path] | Pages, *, path: str | Path = DEFAULT_FOLDER,
    model: str | Path | Embedder | None = None, settings: Settings | None = None,
    choices: Choices | None = None, inputs: OnInput | None = None, progress: OnProgress | None = None,
) -> Summary:  # fmt: skip
    """What `add_files` (or `add_pages`, or with `choices.deleting` `sync`) would do; nothing is written.

    `inputs` is called with the key and the exact string of every chunk that would be embedded.
    """
    from sememe.ingest import sync
    from sememe.ingest.pages import Pages

    settings = settings or from_environment()
    folder = Path(path).expanduser().absolute()
    store = SQLiteStore(folder) if is_there(folder) else None
    try:
        if store is not None:
            collection = Collection(store, model, settings=settings)
            embedder = collection.embedder
        else:
            chosen = model if model is not None else DEFAULT_MODEL
            embedder = load_model(chosen, settings=settings) if isinstance(chosen, str | Path) else chosen
        choices = choices or sync.Choices()
        if isinstance(paths, Pages):
            options = options_for(embedder, chunk=choices.chunk, read=choices.read)
            items = paths.checked().items(store, options.read)
            return sync.previewed(store, items, options, inputs=inputs, progress=progress)
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        files = [Path(p).expanduser() for p in given]
        scope = sync.Scope(
            files, base=folder.parent, exclude=folder, hidden=choices.hidden, tracked=choices.tracked,
            read=choices.read,
        )  # fmt: skip
        options = options_for(embedder, chunk=choices.chunk, read=choices.read)
        summary = sync.preview(store, scope, options, choices=choices, inputs=inputs, progress=progress)
        if (hosted := _hosted(embedder)) is not None:
            summary.dollars = hosted.cost(summary.tokens)
        return summary
    finally:
        if store is not None:
            store.close()


__all__ = [
    "DEFAULT_FOLDER",
    "Collection",
    "Record",
    "Report",
    "SpaceMismatch",
    "add_pages",
    "open",
    "preview",
    "use_recall",
]
