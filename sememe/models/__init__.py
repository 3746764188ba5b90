"""Names to models: `load_model` finds the card, fetches its files by digest and builds the encoder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sememe.errors import NotFound
from sememe.models.cards import DEFAULT_MODEL, Card, find_card
from sememe.models.catalogue import profile_of
from sememe.models.fetch import FetchProgress, fetch
from sememe.models.folder import card_from_folder
from sememe.models.hub import NAME, snapshot
from sememe.settings import Settings, from_environment

if TYPE_CHECKING:
    from sememe.models.encoder import TextEncoder


def load_model(
    name: str | Path = DEFAULT_MODEL, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> TextEncoder:
    """The encoder of a known name, of a hub model, or of a folder with a model's files.

    Fetches what is not yet in the cache, verified by digest; with a full cache nothing leaves the machine. What a
    person should know of the model (a licence, a use it is no good for) is a `UserWarning`.
    Without `settings` the environment is read. Raises NotFound, FetchError, DigestMismatch or ModelError.
    """
    from sememe.models.encoder import TextEncoder

    settings = settings or from_environment()
    card, folder = card_of(name, settings=settings, progress=progress)
    for remark in card.remarks:
        warnings.warn(f"{card.name}: {remark}", UserWarning, stacklevel=2)
    return TextEncoder(card, fetch(card, settings=settings, progress=progress, folder=folder), settings=settings)


def card_of(name: str | Path, *, settings: Settings, progress: FetchProgress | None = None) -> tuple[Card, Path | None]:
    """The card that a name or a folder stands for, and the folder that holds its files, if there is one already.

    A model of the hub is fetched to read its files. Raises as `load_model`.
    """
    folder = Path(name).expanduser()
    if isinstance(name, Path) or "\\" in name or folder.is_dir():
        return card_from_folder(folder), folder
    profile = profile_of(name)
    try:
        return find_card(name), None
    except NotFound:
        if profile is None and not NAME.fullmatch(name):
            raise
    hub_name = profile.name if profile else name
    folder, commit = snapshot(hub_name, settings=settings, progress=progress)
    return card_from_folder(folder, name=hub_name, revision=commit), folder
