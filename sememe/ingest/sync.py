"""The runs that change a collection: add, add files, sync a folder, delete; and the preview of the first three.

Each is one run with a beginning, an end and a summary; whatever happens between, what was committed stays.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sememe.errors import InputError, NotFound, StoreFull
from sememe.ingest import derived
from sememe.ingest.about import NOTHING_GIVEN, Given, sidecars_of
from sememe.ingest.cutting import CutOptions, Known, Window, Windows, refusal
from sememe.ingest.items import Item, file_item, file_key
from sememe.ingest.pipeline import IngestProgress, OnProgress, Pipeline, Summary, ahead
from sememe.ingest.runs import Run, finish, running
from sememe.sources import Found, Refused, walk
from sememe.space import Embedder
from sememe.store import SQLiteStore
from sememe.store.records import KnownDocument, Outside
from sememe.store.sqlite import FILE_NAME
from sememe.types import LedgerRow

CATCH_UP_EVERY = 16_384
"""Chunks between two visits of the slab during a long run: bounds the tail that searches scan beside it."""

OnInput = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may choose of a preview: to cut or not, to sync (`deleting`) or to add, and how to look."""

    chunk: bool = True
    hidden: bool = False
    checksum: bool = False
    deleting: bool = False
    allow_empty: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Which files a run is about: `paths`, without the folder `exclude`; keys are relative to `base`."""

    paths: list[Path]
    base: Path
    exclude: Path
    hidden: bool = False
    given: Given = NOTHING_GIVEN
    passed_over: Counter[str] = field(default_factory=Counter)

    def items(self) -> list[Item | LedgerRow]:
        """Every file, and every name that is no readable file; what a rule leaves out is counted in `passed_over`.

        Raises InputError for a path that does not exist.
        """
        self.passed_over.clear()
        exclude = {self.exclude.resolve()}
        found = list(walk(self.paths, hidden=self.hidden, exclude=exclude, left_out=self.passed_over, marker=FILE_NAME))
        sidecars = sidecars_of([file for file in found if isinstance(file, Found)], self.paths)
        descriptions = {file.path for file in sidecars.values()}
        return [
            self._refusal(file) if isinstance(file, Refused)
            else file_item(file, self.base, sidecar=sidecars.get(file.path), given=self.given)
            for file in found if file.path not in descriptions
        ]  # fmt: skip

    def _refusal(self, refused: Refused) -> LedgerRow:
        return refusal(file_key(refused.path, self.base), "file", refused)


def add(
    store: SQLiteStore, embedder: Embedder, items: Iterable[Item], *, options: CutOptions,
    progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Add items whose number nobody knows yet."""
    with running(store, "add") as run:
        pipeline = _pipeline(store, embedder, options, run, progress)
        pipeline.ingest(items, _looked_up(store), checksum=False)
        return _finished(store, run, pipeline, threads)


def add_files(
    store: SQLiteStore, embedder: Embedder, scope: Scope, *, options: CutOptions, checksum: bool = False,
    progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Add the files of a scope."""
    items = scope.items()
    with running(store, "add") as run:
        pipeline = _pipeline(store, embedder, options, run, progress, total=_total(items))
        pipeline.summary.passed_over = scope.passed_over.total()
        pipeline.ingest(items, _known(store).get, checksum=checksum)
        return _finished(store, run, pipeline, threads)


def sync_folder(
    store: SQLiteStore, embedder: Embedder, scope: Scope, *, options: CutOptions, checksum: bool = False,
    allow_empty: bool = False, progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Make the store agree with a folder."""
    folder, items = _folder_and_items(scope, allow_empty)
    known = _known(store)
    gone = _gone(store, scope, folder, items)
    _refuse_to_empty(folder, items, gone, known, allow_empty)
    with running(store, "sync") as run:
        pipeline = _pipeline(store, embedder, options, run, progress, total=_total(items))
        pipeline.summary.passed_over = scope.passed_over.total()
        pipeline.ingest(
            items, known.get, checksum=checksum, moved=_given_of(known[key] for key in gone if key in known)
        )
        renamed = sum(known[key].stamp.digest in pipeline.seen_digests for key in gone if key in known)
        # A renamed file is one event to its owner, not an addition and a deletion.
        pipeline.summary.renamed = renamed
        pipeline.summary.documents -= renamed
        pipeline.summary.deleted = _delete_gone(store, gone) - renamed
        return _finished(store, run, pipeline, threads)


def delete(store: SQLiteStore, keys: list[str]) -> int:
    """Delete documents by key, all or none. Raises NotFound when one is not there."""
    with store.transaction() as transaction:
        for key in keys:
            found = transaction.live_id(key)
            if found is not None:
                transaction.remove(found)
            elif not transaction.strike([key]):
                raise NotFound(f"{key!r} is not a document of {store.folder}; nothing was deleted")
            transaction.strike([key])
    with contextlib.suppress(StoreFull):
        # They are gone all the same: searches leave out what the vector files still hold of them.
        derived.catch_up(store)
    return len(keys)


def preview(
    store: SQLiteStore | None, scope: Scope, options: CutOptions, *, choices: Choices,
    inputs: OnInput | None = None, progress: OnProgress | None = None,
) -> Summary:  # fmt: skip
    """Read and cut, and count; nothing is embedded or written."""
    known = _known(store) if store is not None else {}
    summary = Summary(dry_run=True)
    if choices.deleting:
        folder, items = _folder_and_items(scope, choices.allow_empty)
        gone = _gone(store, scope, folder, items) if store is not None else []
        _refuse_to_empty(folder, items, gone, known, choices.allow_empty)
        summary.deleted = sum(key in known for key in gone)
    else:
        items = scope.items()
    summary.passed_over = scope.passed_over.total()
    done = 0
    windows = Windows(items, known.get, options, size=2048, keep_text=False, checksum=choices.checksum)
    for window in ahead(iter(windows)):
        _count_window(summary, window, options.max_tokens)
        for piece in window.pieces if inputs is not None else []:
            for chunk in piece.chunks:
                inputs(piece.item.key, chunk.input)  # type: ignore[misc]
        done += window.finished_bytes
        if progress is not None:
            progress(IngestProgress(summary.documents + summary.unchanged, done, _total(items), summary.chunks))
    return summary


def _count_window(summary: Summary, window: Window, limit: int) -> None:
    """Add what a window would come to, were it embedded and stored."""
    summary.unchanged += len(window.unchanged)
    summary.skipped += sum(row.status == "skipped" for row in window.refused)
    summary.failed += sum(row.status == "failed" for row in window.refused)
    summary.troubles += window.refused
    for piece in window.pieces:
        summary.documents += piece.last
        summary.chunks += len(piece.chunks)
        summary.tokens += sum(min(chunk.tokens, limit) for chunk in piece.chunks)
        long = [chunk for chunk in piece.chunks if chunk.tokens > limit]
        summary.truncated += bool(long)
        summary.troubles += [
            LedgerRow(piece.item.key, "truncated", f"it has {chunk.tokens} tokens, the model reads {limit}")
            for chunk in long[:1]
        ]


def _pipeline(
    store: SQLiteStore, embedder: Embedder, options: CutOptions, run: Run, progress: OnProgress | None, *,
    total: int | None = None,
) -> Pipeline:  # fmt: skip
    with store.snapshot() as snapshot:
        stored = snapshot.space()
    pipeline = Pipeline(
        store=store, embedder=embedder, options=options, run=run, space=stored[0] if stored else embedder.space,
        on_progress=progress, bytes_total=total,
    )  # fmt: skip
    seen = 0

    def written() -> None:
        nonlocal seen
        if pipeline.summary.chunks - seen >= CATCH_UP_EVERY:
            seen = pipeline.summary.chunks
            derived.catch_up(store, derived.Effort(full=False))

    pipeline.written = written
    return pipeline


def _finished(store: SQLiteStore, run: Run, pipeline: Pipeline, threads: int) -> Summary:
    summary = pipeline.summary
    summary.mistyped = pipeline.fields.settle(store)
    finish(store, run, summary.as_dict())
    try:
        derived.catch_up(store, derived.Effort(threads=threads))
    except StoreFull as error:
        summary.warning = str(error)
    return summary


def _looked_up(store: SQLiteStore) -> Known:
    """Known documents one at a time: nobody wants all of them read to add one."""

    def look_up(key: str) -> KnownDocument | None:
        with store.snapshot() as snapshot:
            return snapshot.known_document(key)

    return look_up


def _known(store: SQLiteStore) -> dict[str, KnownDocument]:
    with store.snapshot() as snapshot:
        return snapshot.known()


def _total(items: list[Item | LedgerRow]) -> int:
    return sum(item.size or 0 for item in items if isinstance(item, Item))


def _folder_and_items(scope: Scope, allow_empty: bool) -> tuple[Path, list[Item | LedgerRow]]:
    """The one folder of a sync and what is in it; with `allow_empty` it may be gone altogether."""
    if allow_empty and len(scope.paths) == 1 and not scope.paths[0].exists():
        return scope.paths[0], []
    return _one_folder(scope), scope.items()


def _refuse_to_empty(
    folder: Path, items: list[Item | LedgerRow], gone: list[str], known: dict[str, KnownDocument], allow_empty: bool
) -> None:
    stored = sum(key in known for key in gone)
    if stored and not allow_empty and not any(isinstance(item, Item) for item in items):
        raise InputError(
            f"{folder} has no readable file left, and {stored} stored ones would be deleted; if that is what you "
            f"want, say so with --allow-empty (allow_empty=True)"
        )


def _one_folder(scope: Scope) -> Path:
    if len(scope.paths) == 1 and not scope.paths[0].exists():
        raise InputError(f"there is no folder {scope.paths[0]}; check the spelling, or say --allow-empty if it is gone")
    if len(scope.paths) != 1 or not scope.paths[0].is_dir():
        shown = ", ".join(str(path) for path in scope.paths)
        raise InputError(f"{shown} is not a folder; sync takes one folder, add takes files")
    return scope.paths[0]


def _gone(store: SQLiteStore, scope: Scope, folder: Path, items: list[Item | LedgerRow]) -> list[str]:
    """Keys of files under the folder that are stored or in the ledger, and are not there now."""
    under = _under(file_key(folder, scope.base))
    present = {item.key for item in items}
    # A file beside another is no document; the ledger has it while it cannot be read.
    sidecars = {item.sidecar_key for item in items if isinstance(item, Item)}
    blocked = tuple(_under(item.key) for item in items if isinstance(item, LedgerRow) and item.retryable)
    with store.snapshot() as snapshot:
        stored = list(snapshot.known(under=under))
        noted = [
            row.key for row in snapshot.ledger(statuses=("skipped", "failed"), under=under)
            if row.origin == "file" and row.key not in sidecars
        ]  # fmt: skip
    relative = [key for key in dict.fromkeys([*stored, *noted]) if under or not Path(key).is_absolute()]
    # What lies in a folder that could not be read is not known to be gone.
    return [key for key in relative if key not in present and not key.startswith(blocked or ("\0",))]


def _under(folder: str) -> str:
    """What the keys of all files in a folder begin with, by the folder's own key."""
    return "" if folder == "." else f"{folder.rstrip('/')}/"


def _given_of(documents: Iterable[KnownDocument]) -> dict[bytes, Outside]:
    """What was given of documents by the digest of their bytes: a renamed file keeps it."""
    return {known.stamp.digest: Outside(given=known.outside.given) for known in documents if known.outside.given}


def _delete_gone(store: SQLiteStore, gone: list[str]) -> int:
    deleted = 0
    for part in _parts(gone, 500):
        with store.transaction() as transaction:
            for key in part:
                found = transaction.live_id(key)
                if found is not None:
                    transaction.remove(found)
                    deleted += 1
            transaction.strike(part)
    return deleted


def _parts(keys: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
