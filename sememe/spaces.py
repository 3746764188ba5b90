"""Further spaces of a collection: several vectors a chunk, each by another model.

A further space has a name and is searched by it. It is made by embedding the texts that are stored, with no source
read again, and from then on whatever is added gets a vector in it too. In a sparse space that is the weights of words,
in a late one the vectors of tokens, stored by a codec that is made for it.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sememe.collection import Collection
from sememe.errors import InputError, ModelError, NotFound, SpaceMismatch, meant, one_of
from sememe.index.tokens import to_bytes, train
from sememe.ingest import derived
from sememe.ingest.backfill import Filled, backfill, batches, sample
from sememe.ingest.computed import Target
from sememe.ingest.runs import alone
from sememe.models.providers.base import HostedEmbedder
from sememe.space import UNTRAINED, Encoder, Held, Representer, canaries_of, codec_digest, kind_of
from sememe.store import SQLiteStore
from sememe.types import KINDS, Progress, SpaceKind

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SpaceReport:
    """A space and what is in it: inputs with a vector, those of which the model did not read all, those without one."""

    name: str
    kind: SpaceKind
    id: str
    model: str
    pooling: str
    codec: str
    dim: int
    metric: str
    vectors: int
    truncated: int
    lacking: int

    def as_dict(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Planned:
    """What a backfill would embed: inputs, their tokens, those that are longer than the model reads, and what a hosted
    model would cost at most in dollars."""

    inputs: int
    tokens: int
    truncated: int
    dollars: float | None

    def as_dict(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def spaces(collection: Collection) -> list[SpaceReport]:
    """The further spaces of a collection, by name."""
    with _store_of(collection) as store, store.snapshot() as snapshot:
        return [
            SpaceReport(
                held.name, held.kind, held.space.id, held.model, held.space.pooling, held.space.codec, held.space.dim,
                "max-sim" if held.kind == "late" else held.space.metric,
                *snapshot.count_vectors(held), 0 if held.complete else snapshot.count_lacking(held.key),
            )
            for held in snapshot.further()
        ]  # fmt: skip


def add_space(
    collection: Collection, name: str, model: str | Path | Encoder | None = None, *, kind: SpaceKind | None = None,
    progress: Progress | None = None,
) -> Filled:  # fmt: skip
    """Give a collection a further space, or complete one that is there: embed every input that has no vector in it.

    `model` is what `sememe.open` takes, or a sparse or late encoder; it is not needed where the space is there. `kind`
    is what its files say, unless it is given: "late" takes the states of the tokens of a model for whole texts. The
    next run goes on where one was interrupted. Raises InputError for a name or a model that cannot be used, NotFound
    for an empty collection or a new space without a model, ModelError for a model of another kind, and SpaceMismatch
    when the name is that of another model's space.
    """
    with _store_of(collection) as store:
        target = _known(collection, name, model, kind)
        if target is None:
            embedder = _loaded(collection, name, model, kind)
            store.require_writable()
            _make(store, Held(embedder.space, name, kind_of(embedder), _called(model, embedder)), embedder)
            target = collection.further.use(collection.further.held(name), embedder)
        held = collection.further.held(name)
        filled = backfill(store, held, target, progress=progress)
    if isinstance(target.embedder, HostedEmbedder):
        filled.billed_tokens, filled.dollars = target.embedder.bill()
    return filled


def _make(store: SQLiteStore, held: Held, encoder: Encoder) -> None:
    """Write down a new space, with the codec that its tokens are stored by; it is trained on those of some texts."""
    codec = b""
    if isinstance(encoder, Representer) and held.kind == "late":
        made = [value for value in encoder.represent(sample(store)).values if isinstance(value, np.ndarray)]
        vectors = np.concatenate(made) if made else np.zeros((0, held.space.dim), np.float32)
        if not len(vectors) or not np.isfinite(vectors).all():
            raise ModelError(
                f"{held.space.model} gave no tokens, or values that are not finite numbers; no space was made: check "
                f"the model's files"
            )
        codec = to_bytes(train(vectors))
        held = replace(held, space=replace(held.space, codec=codec_digest(codec)))
    canaries = canaries_of(encoder)
    if not np.isfinite(canaries).all() or not canaries.any():
        raise ModelError(
            f"{held.space.model} gave nothing for known texts, or values that are not finite numbers; no space was "
            f"made: check the model's files"
        )
    with store.transaction() as transaction:
        transaction.name_space(held, canaries, codec)


def preview_space(
    collection: Collection, name: str, model: str | Path | Encoder | None = None, *, kind: SpaceKind | None = None
) -> Planned:
    """What `add_space` would do. Nothing is written. Raises as it does."""
    with _store_of(collection) as store:
        known = _known(collection, name, model, kind)
        embedder = _loaded(collection, name, model, kind) if known is None else known.embedder
        lengths = [
            embedder.counter.count(text) + embedder.reserved
            for texts in batches(store, embedder.space.id if known is None else known.space.id)
            for text in texts.values()
        ]
    limit = embedder.space.max_tokens
    tokens = sum(min(length, limit) for length in lengths)
    dollars = embedder.cost(tokens) if isinstance(embedder, HostedEmbedder) else None
    return Planned(len(lengths), tokens, sum(length > limit for length in lengths), dollars)


def drop_space(collection: Collection, name: str) -> int:
    """Take a further space out, with all of its vectors and files; returns how many vectors went.

    Raises NotFound when there is none of that name, and StoreBusy while others add.
    """
    known = [report.name for report in spaces(collection)]
    dropped = 0
    with _store_of(collection) as store, alone(store, "drop the space"):
        if _checked(name) in known:
            held = collection.further.held(name)
            with store.transaction() as transaction:
                dropped = transaction.drop_space(held)
        # Those too that were dropped before, by a process that was killed then.
        derived.remove_dropped(store)
    if name not in known:
        there = f"it has {', '.join(known)}" if known else "it has none beside its own"
        raise NotFound(f"{collection.path} has no space {name!r} to drop; {there}{meant(name, known)}")
    return dropped


@contextlib.contextmanager
def _store_of(collection: Collection) -> Iterator[SQLiteStore]:
    store = SQLiteStore(collection.path)
    try:
        yield store
    finally:
        store.close()


def _known(
    collection: Collection, name: str, model: str | Path | Encoder | None, kind: SpaceKind | None
) -> Target | None:
    """The space of a name with its model, which must be the one that is named, if one is; None when there is none."""
    _checked(name)
    if collection.space is None:
        raise NotFound(f"{collection.path} is empty, so there is nothing to embed; add to it first")
    if name not in {report.name for report in spaces(collection)}:
        return None
    held = collection.further.held(name)
    if kind not in (None, held.kind):
        raise InputError(
            f"space {name!r} of {collection.path} is {held.kind}, and {kind} was asked for; leave that out"
        )
    if model is None or held.model == str(model):
        return collection.further.target(held)
    embedder = _as_encoder(collection, model, held.kind)
    try:
        target = collection.further.use(held, embedder)
    except SpaceMismatch as error:
        if embedder.space.model == held.space.model:
            raise
        raise SpaceMismatch(
            f"space {name!r} of {collection.path} holds the vectors of {held.space.model}, and {embedder.space.model} "
            f"makes others; give those a space of another name, or drop this one first: sememe space drop {name}"
        ) from error
    with _store_of(collection) as store, store.transaction() as transaction:
        transaction.call_model(held, _called(model, embedder))
    return target


def _loaded(collection: Collection, name: str, model: str | Path | Encoder | None, kind: SpaceKind | None) -> Encoder:
    """The model of a space that is not there yet. Raises InputError when its space is there under another name."""
    if model is None:
        raise NotFound(f"{collection.path} has no space {name!r}; to make it name its model with --model")
    embedder = _as_encoder(collection, model, kind)
    own = collection.space
    if own is not None and embedder.space.id == own.id:
        raise InputError(f"{own.model} makes the vectors that {collection.path} has already; name another model")
    with _store_of(collection) as store, store.snapshot() as snapshot:
        further = snapshot.further()
    for held in further:
        # Whatever codec tokens are stored by.
        if replace(held.space, codec="").id == embedder.space.id:
            raise InputError(
                f"{collection.path} has the vectors of {embedder.space.model} in space {held.name!r}; search that "
                f"one, or drop it first: sememe space drop {held.name}"
            )
    if UNTRAINED in embedder.space.pooling:
        # Said of a new space; every search of it says so itself.
        warnings.warn(f"{embedder.space.model}: it was not trained for late interaction", UserWarning, stacklevel=3)
    return embedder


def _as_encoder(collection: Collection, model: str | Path | Encoder, kind: SpaceKind | None) -> Encoder:
    if isinstance(model, str | Path):
        return collection.further.load(model, kind)
    return model


def _called(model: str | Path | Encoder | None, embedder: Encoder) -> str:
    """What to load the model by the next time: a folder by its whole path."""
    if isinstance(model, str | Path) and Path(model).expanduser().is_dir():
        return str(Path(model).expanduser().absolute())
    return model if isinstance(model, str) else embedder.space.model


def checked_kind(kind: str | None) -> SpaceKind | None:
    """A kind of space, or none. Raises InputError."""
    found = next((known for known in KINDS if known == kind), None)
    if kind is not None and found is None:
        raise InputError(f"the kind is {kind!r}; {one_of(kind, KINDS)}")
    return found


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a space; use up to 64 letters, digits, dots, dashes and underscores"
        )
    return name
