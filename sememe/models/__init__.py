"""Names to models: `load_model` finds the card, fetches its files by digest and builds the encoder; `load_reranker`
does the same for models that score texts for a query, `load_sparse` and `load_late` for those with other vectors.

A name that begins with a provider's, "openai:text-embedding-3-small", is a model that somebody else runs.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sememe.errors import FetchError, ModelError, NotFound, meant
from sememe.models.cards import CARDS, DEFAULT_MODEL, Card, find_card
from sememe.settings import Precision, Settings, from_environment, known_precision
from sememe.space import UNTRAINED
from sememe.types import SpaceKind

if TYPE_CHECKING:
    from sememe.models.encoder import TextEncoder
    from sememe.models.errand import FetchProgress
    from sememe.models.late import LocalLateEncoder
    from sememe.models.providers.base import HostedEmbedder
    from sememe.models.providers.rerank import HostedReranker
    from sememe.models.reranker import LocalReranker
    from sememe.models.sparse import LocalSparseEncoder
    from sememe.space import Encoder


def load_model(
    name: str | Path = DEFAULT_MODEL, *, settings: Settings | None = None, precision: Precision | None = None,
    progress: FetchProgress | None = None,
) -> TextEncoder | HostedEmbedder:  # fmt: skip
    """The encoder of a known name, a hub model, a folder with a model's files, or a hosted model ("openai:NAME").

    Fetches what is not yet in the cache, verified by digest; with a full cache nothing leaves the machine. What a
    person should know of the model (a licence, a use it is no good for) is a `UserWarning`.
    Without `settings` the environment is read; `precision` goes before what they say. Raises NotFound, FetchError,
    DigestMismatch, ModelError, or InputError for an unknown precision.
    """
    from sememe.models.encoder import TextEncoder
    from sememe.models.fetch import fetch

    settings = settings or from_environment()
    if precision is not None:
        settings = replace(settings, precision=known_precision(precision, "precision"))
    if isinstance(name, str) and ":" in name:
        from sememe.models.providers import is_hosted, load_hosted

        if is_hosted(name):
            return load_hosted(name, settings)
    card, folder = card_of(name, settings=settings, progress=progress)
    for remark in card.remarks:
        warnings.warn(f"{card.name}: {remark}", UserWarning, stacklevel=2)
    files = fetch(card, settings=settings, progress=progress, folder=folder)
    if card.query is None:
        return TextEncoder(card, files, settings=settings)
    from sememe.models.routed import RoutedEncoder

    asking = fetch(card.query, settings=settings, progress=progress, folder=folder)
    return RoutedEncoder(card, files, settings=settings, query=TextEncoder(card.query, asking, settings=settings))


def load_reranker(
    name: str | Path, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> LocalReranker | HostedReranker:
    """The reranker in a folder, of the hub ("owner/name"), or of a provider ("voyage:rerank-2.5").

    Raises as `load_model`; ModelError for a model that was not trained to rank.
    """
    from sememe.models.providers import is_hosted
    from sememe.models.reranker import open_reranker

    settings = settings or from_environment()
    if isinstance(name, str) and is_hosted(name):
        from sememe.models.providers.rerank import load_reranker as load_hosted_reranker

        return load_hosted_reranker(name, settings=settings)
    if isinstance(name, str) and _embeds(name):
        raise ModelError(
            f"{name} makes vectors of texts and is no reranker; give the folder of a cross-encoder, a name of the hub "
            "such as cross-encoder/ms-marco-MiniLM-L6-v2, or a hosted one such as voyage:rerank-2.5"
        )
    folder, named, commit = _folder_of(name, settings=settings, progress=progress)
    return open_reranker(folder, name=named, revision=commit, settings=settings)


def load_sparse(
    name: str | Path, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> LocalSparseEncoder:
    """The sparse encoder (SPLADE) in a folder, or of the hub. Raises as `load_model`."""
    from sememe.models.sparse import open_sparse

    settings = settings or from_environment()
    if _makes_one(name):
        raise ModelError(
            f"{name} makes one dense vector a text, and no weights of words; give the folder of a sparse encoder "
            f"(SPLADE), or make a space of this model's kind (--kind dense)"
        )
    folder, named, commit = _folder_of(name, settings=settings, progress=progress)
    return open_sparse(folder, name=named, revision=commit, settings=settings)


def load_late(
    name: str | Path = DEFAULT_MODEL, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> LocalLateEncoder:
    """The late-interaction encoder (ColBERT) in a folder, or of the hub.

    Of a model that makes one vector a text the states of its tokens are taken, and a warning says that it was not
    trained for that. Raises as `load_model`.
    """
    encoder = _late(name, settings=settings or from_environment(), progress=progress)
    if UNTRAINED in encoder.space.pooling:
        warnings.warn(f"{encoder.name}: it was not trained for late interaction", UserWarning, stacklevel=2)
    return encoder


def _late(name: str | Path, *, settings: Settings, progress: FetchProgress | None) -> LocalLateEncoder:
    from sememe.models.fetch import fetch
    from sememe.models.late import STATES, LocalLateEncoder, is_late, open_late, untrained

    if _is_served(name):
        raise ModelError(
            f"{name} gives one dense vector a text, and no states of its tokens; give a model whose files are here, or "
            f"make a space of this model's kind (--kind dense)"
        )
    if not (isinstance(name, str) and _has_card(name)):
        folder, named, commit = _folder_of(name, settings=settings, progress=progress)
        if is_late(folder):
            return open_late(folder, name=named, revision=commit, settings=settings)
    card, place = card_of(name, settings=settings, progress=progress)
    files = fetch(card, settings=settings, progress=progress, folder=place)
    return LocalLateEncoder(untrained(card), files, settings=settings, reading=STATES)


def load_encoder(
    name: str | Path, kind: SpaceKind | None = None, *, settings: Settings | None = None,
    progress: FetchProgress | None = None,
) -> Encoder:  # fmt: skip
    """A model of the `kind` that is asked for, or of that which its files say: what further spaces are made by.

    That a model was not trained for its kind is told by its space, and is no warning here. Raises as `load_model`;
    ModelError for a model of another kind.
    """
    settings = settings or from_environment()
    kind = kind or _kind_of(name, settings=settings, progress=progress)
    if kind == "sparse":
        return load_sparse(name, settings=settings, progress=progress)
    if kind == "late":
        return _late(name, settings=settings, progress=progress)
    return load_model(name, settings=settings, progress=progress)


def _kind_of(name: str | Path, *, settings: Settings, progress: FetchProgress | None) -> SpaceKind:
    """What the files of a folder or of a model of the hub are for; names that are known are all dense.

    Raises ModelError for a reranker.
    """
    from sememe.models.catalogue import profile_of
    from sememe.models.folder import is_reranker
    from sememe.models.hub import NAME
    from sememe.models.late import is_late
    from sememe.models.sparse import is_sparse

    folder = Path(name).expanduser()
    if not folder.is_dir():
        if isinstance(name, Path) or _has_card(name) or profile_of(name) or not NAME.fullmatch(name):
            return "dense"
        folder = _folder_of(name, settings=settings, progress=progress)[0]
    if is_reranker(folder):
        raise ModelError(
            f"{name} is a reranker, which reads a query and a text together and makes no vectors; name it in a search "
            f"(--rerank {name}), or take the mean of its states all the same (--kind dense)"
        )
    return "sparse" if is_sparse(folder) else "late" if is_late(folder) else "dense"


def _has_card(name: str) -> bool:
    return any(name.lower() in (card.name.lower(), *card.aliases) for card in CARDS)


def _embeds(name: str) -> bool:
    """Whether a name, which no folder here has, is that of a model that is known to make vectors."""
    from sememe.models.catalogue import profile_of

    return not Path(name).expanduser().is_dir() and (_has_card(name) or profile_of(name) is not None)


def _is_served(name: str | Path) -> bool:
    """Whether a name is that of a model which somebody else runs."""
    from sememe.models.providers.names import is_hosted

    return isinstance(name, str) and is_hosted(name)


def _makes_one(name: str | Path) -> bool:
    """Whether a name, which no folder here has, is known to stand for a model that makes one vector a text."""
    return _is_served(name) or (isinstance(name, str) and _embeds(name))


def _refuse_nameless(name: str | Path) -> None:
    # An empty path would be this very folder.
    if isinstance(name, str) and not name.strip():
        raise NotFound("the model has no name; give one (sememe model list shows many), or the folder of its files")


def _folder_of(name: str | Path, *, settings: Settings, progress: FetchProgress | None) -> tuple[Path, str, str]:
    """The folder that a name stands for, the model's name, and its commit on the hub, empty for a folder."""
    from sememe.models.hub import NAME, snapshot

    _refuse_nameless(name)
    folder = Path(name).expanduser()
    if isinstance(name, Path) or "\\" in name or folder.is_dir():
        return folder, folder.resolve().name, ""
    if not NAME.fullmatch(name):
        raise NotFound(f"no model is named {name!r}; give the path of its folder, or a name of the hub as owner/name")
    path, commit = snapshot(name, settings=settings, progress=progress)
    return path, name, commit


def card_of(name: str | Path, *, settings: Settings, progress: FetchProgress | None = None) -> tuple[Card, Path | None]:
    """The card that a name or a folder stands for, and the folder that holds its files, if there is one already.

    A model of the hub is fetched to read its files. Raises as `load_model`.
    """
    _refuse_nameless(name)
    folder = Path(name).expanduser()
    if isinstance(name, Path) or "\\" in name or folder.is_dir():
        from sememe.models.folder import card_from_folder

        return card_from_folder(folder), folder
    try:
        return find_card(name), None
    except NotFound as unknown:
        return _from_hub(name, unknown, settings=settings, progress=progress)


def _from_hub(name: str, unknown: NotFound, *, settings: Settings, progress: FetchProgress | None) -> tuple[Card, Path]:
    """The card of a model that the catalogue or the hub knows by its name; `unknown` is raised if it cannot be one."""
    from sememe.models.catalogue import profile_of, profiles
    from sememe.models.folder import card_from_folder
    from sememe.models.hub import NAME, snapshot

    profile = profile_of(name)
    if profile is None and not NAME.fullmatch(name):
        raise NotFound(f"{unknown}{meant(name, (known.rpartition('/')[2] for known in profiles()))}") from unknown
    hub_name = profile.name if profile else name
    try:
        folder, commit = snapshot(hub_name, settings=settings, progress=progress)
    except FetchError as error:
        raise FetchError(f"{error}{meant(name, () if profile else profiles())}") from error
    return card_from_folder(folder, name=hub_name, revision=commit), folder
