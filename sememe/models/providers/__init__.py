"""Hosted models: every provider through one careful base (`base`), with what is known of them as data (`catalogue`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sememe.models.providers.names import is_hosted, parse
from sememe.settings import Settings

if TYPE_CHECKING:
    from sememe.models.providers.base import HostedEmbedder


def load_hosted(name: str, settings: Settings) -> HostedEmbedder:
    """The embedder behind a name such as "openai:text-embedding-3-small". Nothing is connected yet.

    Raises InputError for a name that cannot be one.
    """
    from sememe.models.providers.base import HostedEmbedder

    return HostedEmbedder(parse(name), settings)


__all__ = ["is_hosted", "load_hosted"]
