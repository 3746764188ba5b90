"""The runs that change a collection: add, add files, sync a folder, delete; and the preview of the first three.

Each is one run with a beginning, an end and a summary; whatever happens between, what was committed stays.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sememe.errors import InputError, NotFound, StoreFull
from sememe.ingest import behind, containers, derived
from sememe.ingest.about import NOTHING_GIVEN, SIDECAR_SUFFIX, Given, sidecars_of
from sememe.ingest.computed import Target
from sememe.ingest.cutting import Container, CutOptions, Window, Windows, refusal
from sememe.ingest.fields import FieldCheck
from sememe.ingest.items import Item, file_item, file_key
from sememe.ingest.pipeline import IngestProgress, OnProgress, Pipeline, Summary, ahead, looked_up
from sememe.ingest.runs import Run, finish, running
from sememe.sources import Found, ReadOptions, Refused, walk
from sememe.sources.files import NO_CHOICE
from sememe.sources.git import tracked
from sememe.space import Embedder
from sememe.store import SQLiteStore
from sememe.store.records import KnownDocument, Outside
from sememe.store.sqlite import FILE_NAME
from sememe.types import PART, LedgerRow, Long

CATCH_UP_EVERY = 16_384
"""Chunks between two visits of the slab during a long run: bounds the tail that searches scan beside it."""

CATCH_UP_EARLY = 1_024
"""Chunks of a run whose indexes are made while its last window is embedded, else that time comes at the end; but not of
more than `CATCH_UP_EVERY`, which takes longer than the window, and a kill meanwhile would cost that."""

OnInput = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person may choose of a preview: to cut or not, to sync (`deleting`) or to add, and how to look."""

    chunk: bool | Long = True
    hidden: bool = False
    checksum: bool = False
    deleting: bool = False
    allow_empty: bool = False
    tracked: bool = False
    read: ReadOptions = NO_CHOICE


@dataclass(frozen=True, slots=True)
class Scope:
    """Which files a run is about: `paths`, without the folder `exclude`; keys are relative to `base`.

    With `tracked` only those that Git tracks. `read` is what was chosen of reading them.
    """

    paths: list[Path]
    base: Path
    exclude: Path
    hidden: bool = False
    tracked: bool = False
    read: ReadOptions = NO_CHOICE
    given: Given = NOTHING_GIVEN
    passed_over: Counter[str] = field(default_factory=Counter)

    def items(self) -> Inputs:
        """Every file, and every name that is no readable file; what a rule leaves out is counted in `passed_over`.

        Raises InputError for a path that does not exist.
        """
        self.passed_over.clear()
        exclude = {self.exclude.resolve()}
        paths = self.paths
        if self.tracked:
            paths = tracked(paths, hidden=self.hidden, left_out=self.passed_over)
        return Inputs(self, walk(
            paths, hidden=self.hidden, exclude=exclude, left_out=self.passed_over, marker=FILE_NAME
        ))  # fmt: skip


class Inputs:
    """What a walk found, in some 250 bytes each: an `Item` is made whenever it is asked for."""

    def __init__(self, scope: Scope, found: Iterable[Found | Refused]) -> None:
        self._scope = scope
        self._found = [
            one if isinstance(one, Refused) else (str(one.path), one.size, one.mtime_ns) for one in found
        ]  # fmt: skip
        self._sidecars = self._beside()
        self._descriptions = {file.path for file in self._sidecars.values()}

    def __iter__(self) -> Iterator[Item | LedgerRow]:
        scope = self._scope
        for one in self._found:
            if isinstance(one, Refused):
                yield refusal(file_key(one.path, scope.base), "file", one)
                continue
            file = Found(Path(one[0]), *one[1:])
            if file.path not in self._descriptions:
                yield file_item(
                    file, scope.base, scope.read, sidecar=self._sidecars.get(file.path), given=scope.given
                )  # fmt: skip

    def _beside(self) -> dict[Path, Found]:
        files = [one for one in self._found if not isinstance(one, Refused)]
        named = {str(path) for path in self._scope.paths}
        described = {path.removesuffix(SIDECAR_SUFFIX) for path, *_ in files if path.endswith(SIDECAR_SUFFIX)}
        few = [
            Found(Path(path), *stamp) for path, *stamp in files
            if path in described or path in named or path.endswith(SIDECAR_SUFFIX)
        ]  # fmt: skip
        return sidecars_of(few, self._scope.paths)


def add(
    store: SQLiteStore, embedder: Embedder, items: Iterable[Item | LedgerRow], *, options: CutOptions,
    strict: bool = False, further: Sequence[Target] = (), progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Add items whose number nobody knows yet."""
    with running(store, "add") as run:
        pipeline = _pipeline(store, embedder, options, run, progress, further=further, threads=threads, strict=strict)
        pipeline.ingest(items, looked_up(store), checksum=False)
        return _finished(store, run, pipeline, threads)


def add_files(
    store: SQLiteStore, embedder: Embedder, scope: Scope, *, options: CutOptions, checksum: bool = False,
    further: Sequence[Target] = (), progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Add the files of a scope."""
    items = scope.items()
    with running(store, "add") as run:
        pipeline = _of_scope(
            scope, items, _pipeline(
                store, embedder, options, run, progress, further=further, threads=threads, strict=scope.given.strict
            ),
        )  # fmt: skip
        pipeline.ingest(items, _known(store).get, checksum=checksum)
        return _finished(store, run, pipeline, threads)


def sync_folder(
    store: SQLiteStore, embedder: Embedder, scope: Scope, *, options: CutOptions, checksum: bool = False,
    allow_empty: bool = False, further: Sequence[Target] = (), progress: OnProgress | None = None, threads: int = 0,
) -> Summary:  # fmt: skip
    """Make the store agree with a folder."""
    folder, items = _folder_and_items(scope, allow_empty)
    known = _known(store)
    gone = _gone(store, scope, folder, items, known)
    _refuse_to_empty(folder, items, gone, known, allow_empty)
    with running(store, "sync") as run:
        pipeline = _of_scope(
            scope, items, _pipeline(
                store, embedder, options, run, progress, further=further, threads=threads, strict=scope.given.strict
            ),
        )  # fmt: skip
        pipeline.sought = frozenset(known[key].stamp.digest for key in gone if key in known)
        moved = _given_of(known[key] for key in gone if key in known)
        pipeline.ingest(items, known.get, checksum=checksum, moved=moved)
        went = _delete_gone(store, gone)
        pipeline.summary.deleted += sum(went.values())
        of_known = [(known[key].stamp.digest, count) for key, count in went.items() if key in known]
        _rename(pipeline.summary, of_known, pipeline.seen_digests)
        return _finished(store, run, pipeline, threads)


def _rename(summary: Summary, gone: Iterable[tuple[bytes, int]], came: Collection[bytes]) -> None:
    """Count what is gone, by the digest of its file, and came under another name: that is one event to its owner."""
    renamed = sum(count for digest, count in gone if digest in came)
    summary.renamed += renamed
    summary.documents -= renamed
    summary.deleted -= renamed


def delete(store: SQLiteStore, keys: list[str]) -> int:
    """Delete documents by key, all or none. Raises NotFound when one is not there.

    A file that holds many goes with all of them, after the others, in as many transactions as it takes.
    """
    several = []
    with store.transaction() as transaction:
        had_orphans = transaction.may_have_orphans()
        for key in keys:
            found = transaction.live_id(key)
            if found is not None:
                transaction.remove(found)
            elif transaction.is_container(key):
                several.append(key)
            elif not transaction.strike([key]):
                with store.snapshot() as snapshot:
                    raise NotFound(f"{key!r} {snapshot.absence(key, store.folder)}; nothing was deleted")
            transaction.strike([key])
            # The next sync shall find it again, as it does a file.
            transaction.unsettle(key[: at.start()] for at in re.finditer(PART, key))
        if transaction.may_have_orphans() and not had_orphans:
            # The last document went for which vectors were kept.
            transaction.drop_orphans()
    for key in several:
        containers.remove(store, key)
    with contextlib.suppress(StoreFull):
        # They are gone all the same: searches leave out what the vector files still hold of them.
        derived.catch_up(store, derived.Effort(behind=behind.called_before(store)))
    return len(keys)


def preview(
    store: SQLiteStore | None, scope: Scope, options: CutOptions, *, choices: Choices,
    inputs: OnInput | None = None, progress: OnProgress | None = None,
) -> Summary:  # fmt: skip
    """Read and cut, and count; nothing is embedded or written."""
    known = _known(store) if store is not None else {}
    summary = Summary(dry_run=True)
    gone: list[KnownDocument] = []
    if choices.deleting:
        folder, items = _folder_and_items(scope, choices.allow_empty)
        keys = _gone(store, scope, folder, items, known) if store is not None else []
        _refuse_to_empty(folder, items, keys, known, choices.allow_empty)
        gone = [known[key] for key in keys if key in known]
        summary.deleted = sum(map(_count_of, gone))
    else:
        items = scope.items()
    summary.passed_over = scope.passed_over.total()
    came: set[bytes] = set()
    previewed(
        store, items, options, summary=summary, checksum=choices.checksum, total=_total(items), inputs=inputs,
        progress=progress, came=came,
    )  # fmt: skip
    _rename(summary, [(one.stamp.digest, _count_of(one)) for one in gone], came)
    return summary


def previewed(
    store: SQLiteStore | None, items: Iterable[Item | LedgerRow], options: CutOptions, *,
    summary: Summary | None = None, checksum: bool = False, total: int | None = None, inputs: OnInput | None = None,
    progress: OnProgress | None = None, came: set[bytes] | None = None,
) -> Summary:  # fmt: skip
    """Read and cut these items, and count them into `summary`; the digests of what is new go into `came`."""
    summary = summary or Summary(dry_run=True)
    done = 0
    known = looked_up(store) if store is not None else lambda _: None
    windows = Windows(
        items, known, options, size=2048, known_part=known, keep_text=False, checksum=checksum,
    )  # fmt: skip
    for window in ahead(iter(windows)):
        _count_window(summary, window, None if options.long == "windows" else options.max_tokens)
        if came is not None:
            came.update(piece.stamp.digest for piece in window.pieces)
            came.update(container.stamp.digest for container in window.containers)
        summary.deleted += sum(_left(store, container) for container in window.containers if store is not None)
        for piece in window.pieces if inputs is not None else []:
            for chunk in piece.chunks:
                inputs(piece.item.key, chunk.input)  # type: ignore[misc]
        done += window.finished_bytes
        if progress is not None:
            progress(IngestProgress(summary.documents + summary.unchanged, done, total, summary.chunks))
    return summary


def _left(store: SQLiteStore, container: Container) -> int:
    """How many documents of a file are gone from it; those in a file in it are not looked for."""
    if container.fresh or container.failure is not None:
        return 0
    with store.snapshot() as snapshot:
        stored, _ = snapshot.left_parts(container.item.key, run=-1)
    return len(stored) - len(container.unchanged) - container.replaced


def _count_of(known: KnownDocument) -> int:
    return 1 if known.documents is None else known.documents


def _count_window(summary: Summary, window: Window, limit: int | None) -> None:
    """Add what a window would come to, were it embedded and stored; without a limit nothing is truncated."""
    summary.unchanged += len(window.unchanged)
    refused = [*window.refused, *(one.failure for one in window.containers if one.failure is not None)]
    summary.skipped += sum(row.status == "skipped" for row in refused)
    summary.failed += sum(row.status == "failed" for row in refused)
    summary.troubles += refused
    for piece in window.pieces:
        summary.documents += piece.last
        summary.chunks += len(piece.chunks)
        summary.tokens += sum(min(chunk.tokens, limit or chunk.tokens) for chunk in piece.chunks)
        long = [chunk for chunk in piece.chunks if limit is not None and chunk.tokens > limit]
        summary.truncated += bool(long)
        summary.troubles += [
            LedgerRow(piece.item.key, "truncated", f"it has {chunk.tokens} tokens, the model reads {limit}")
            for chunk in long[:1]
        ]


def _of_scope(scope: Scope, items: Iterable[Item | LedgerRow], pipeline: Pipeline) -> Pipeline:
    """The pipeline, with what is known of its items before they are read."""
    pipeline.bytes_total = _total(items)
    pipeline.summary.passed_over = scope.passed_over.total()
    return pipeline


def _pipeline(
    store: SQLiteStore, embedder: Embedder, options: CutOptions, run: Run, progress: OnProgress | None, *,
    further: Sequence[Target], threads: int, strict: bool = False,
) -> Pipeline:  # fmt: skip
    with store.snapshot() as snapshot:
        stored = snapshot.space()
    pipeline = Pipeline(
        store=store, own=Target(stored[0] if stored else embedder.space, embedder), options=options, run=run,
        further=further, on_progress=progress, fields=FieldCheck(strict),
        remember=lambda read: containers.finish(store, read, run),
    )  # fmt: skip
    seen = 0

    def written() -> None:
        nonlocal seen
        if pipeline.summary.chunks - seen >= CATCH_UP_EVERY:
            seen = pipeline.summary.chunks
            _catch_up(store, pipeline.summary, derived.Effort(full=False))

    def ending() -> None:
        if CATCH_UP_EARLY <= pipeline.summary.chunks <= CATCH_UP_EVERY:
            _catch_up(store, pipeline.summary, derived.Effort(threads=threads))

    pipeline.written, pipeline.ending = written, ending
    return pipeline


def _finished(store: SQLiteStore, run: Run, pipeline: Pipeline, threads: int) -> Summary:
    summary = pipeline.summary
    summary.mistyped = pipeline.fields.settle(store)
    finish(store, run, summary.as_dict())
    _catch_up(store, summary, derived.Effort(threads=threads, behind=behind.called_before(store)))
    return summary


def _catch_up(store: SQLiteStore, summary: Summary, effort: derived.Effort) -> None:
    """Bring the indexes up; that their files cannot grow costs no document."""
    try:
        derived.catch_up(store, effort)
    except StoreFull as error:
        summary.warning = str(error)


def _known(store: SQLiteStore) -> dict[str, KnownDocument]:
    with store.snapshot() as snapshot:
        return snapshot.known()


def _total(items: Iterable[Item | LedgerRow]) -> int:
    return sum(item.size or 0 for item in items if isinstance(item, Item))


def _folder_and_items(scope: Scope, allow_empty: bool) -> tuple[Path, Iterable[Item | LedgerRow]]:
    """The one folder of a sync and what is in it; with `allow_empty` it may be gone altogether."""
    if allow_empty and len(scope.paths) == 1 and not scope.paths[0].exists():
        return scope.paths[0], []
    return _one_folder(scope), scope.items()


def _refuse_to_empty(
    folder: Path,
    items: Iterable[Item | LedgerRow],
    gone: list[str],
    known: dict[str, KnownDocument],
    allow_empty: bool,
) -> None:
    stored = sum(_count_of(known[key]) for key in gone if key in known)
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


def _gone(
    store: SQLiteStore, scope: Scope, folder: Path, items: Iterable[Item | LedgerRow], known: Iterable[str]
) -> list[str]:
    """Keys of files under the folder that are known or in the ledger, and are not there now."""
    under = _under(file_key(folder, scope.base))
    present, sidecars, blocked = set[str](), set[str](), ["\0"]
    for item in items:
        present.add(item.key)
        if isinstance(item, LedgerRow):
            blocked += [_under(item.key)] if item.retryable else []
        elif item.sidecar_key:
            # A file beside another is no document; the ledger has it while it cannot be read.
            sidecars.add(item.sidecar_key)
    with store.snapshot() as snapshot:
        stored = [key for key in known if key.startswith(under)]
        noted = [
            row.key for row in snapshot.ledger(statuses=("skipped", "failed"), under=under)
            if row.origin == "file" and row.key not in sidecars
        ]  # fmt: skip
    relative = [key for key in dict.fromkeys([*stored, *noted]) if under or not Path(key).is_absolute()]
    # What lies in a folder that could not be read is not known to be gone.
    return [key for key in relative if key not in present and not key.startswith(tuple(blocked))]


def _under(folder: str) -> str:
    """What the keys of all files in a folder begin with, by the folder's own key."""
    return "" if folder == "." else f"{folder.rstrip('/')}/"


def _given_of(documents: Iterable[KnownDocument]) -> dict[bytes, Outside]:
    """What was given of documents by the digest of their bytes: a renamed file keeps it."""
    return {known.stamp.digest: Outside(given=known.outside.given) for known in documents if known.outside.given}


def _delete_gone(store: SQLiteStore, gone: list[str]) -> dict[str, int]:
    """How many documents went with each of the keys."""
    went = {}
    for part in _parts(gone, 500):
        several = []
        with store.transaction() as transaction:
            for key in part:
                found = transaction.live_id(key)
                if found is not None:
                    transaction.remove(found)
                    transaction.strike([key])
                    went[key] = 1
                elif transaction.is_container(key):
                    several.append(key)
        went |= {key: containers.remove(store, key) for key in several}
        with store.transaction() as transaction:
            transaction.strike(part)
    return went


def _parts(keys: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
