"""Names to models: `load_model` finds the card, fetches its files by digest and builds the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sememe.models.cards import DEFAULT_MODEL, find_card
from sememe.models.fetch import FetchProgress, fetch
from sememe.models.folder import card_from_folder
from sememe.settings import Settings, from_environment

if TYPE_CHECKING:
    from sememe.models.encoder import TextEncoder


def load_model(
    name: str | Path = DEFAULT_MODEL, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> TextEncoder:
    """The encoder of a known name, or of a folder with a model's files.

    Fetches what is not yet in the cache, verified by digest; with a full cache nothing leaves the machine.
    Without `settings` the environment is read. Raises NotFound, FetchError, DigestMismatch or ModelError.
    """
    from sememe.models.encoder import TextEncoder

    settings = settings or from_environment()
    folder = Path(name).expanduser()
    if isinstance(name, Path) or "\\" in name or folder.is_dir():
        card = card_from_folder(folder)
        return TextEncoder(card, fetch(card, settings=settings, progress=progress, folder=folder), settings=settings)
    card = find_card(name)
    return TextEncoder(card, fetch(card, settings=settings, progress=progress), settings=settings)
