"""Names to models: `load_model` finds the card, fetches its files by digest and builds the encoder.

A name that begins with a provider's, "openai:text-embedding-3-small", is a model that somebody else runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sememe.models.cards import DEFAULT_MODEL, card_from_folder, find_card
from sememe.models.fetch import FetchProgress, fetch
from sememe.models.providers import is_hosted, load_hosted
from sememe.settings import Settings, from_environment

if TYPE_CHECKING:
    from sememe.models.encoder import TextEncoder
    from sememe.models.providers.base import HostedEmbedder


def load_model(
    name: str | Path = DEFAULT_MODEL, *, settings: Settings | None = None, progress: FetchProgress | None = None
) -> TextEncoder | HostedEmbedder:
    """The encoder of a known name, of a folder with a model's files, or of a hosted model ("openai:NAME").

    Fetches what is not yet in the cache, verified by digest; with a full cache nothing leaves the machine.
    Without `settings` the environment is read. Raises NotFound, FetchError, DigestMismatch or ModelError.
    """
    from sememe.models.encoder import TextEncoder

    settings = settings or from_environment()
    if isinstance(name, str) and is_hosted(name):
        return load_hosted(name, settings)
    folder = Path(name).expanduser()
    if isinstance(name, Path) or "\\" in name or folder.is_dir():
        card = card_from_folder(folder)
        return TextEncoder(card, fetch(card, settings=settings, progress=progress, folder=folder), settings=settings)
    card = find_card(name)
    return TextEncoder(card, fetch(card, settings=settings, progress=progress), settings=settings)
