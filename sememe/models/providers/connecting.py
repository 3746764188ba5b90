"""From a provider's name to its file: the one place that knows them all. An SDK is imported when it is asked for."""

from __future__ import annotations

from sememe.models.providers.lanes import Lane
from sememe.models.providers.names import Hosting
from sememe.models.providers.wire import Access, Wire


def connect(hosting: Hosting, access: Access, lane: Lane) -> Wire:
    """The wire of a provider. Raises MissingExtra when its SDK is not installed; nothing is sent.

    `lane` is taken for every exchange.
    """
    provider = hosting.provider.name
    if provider == "openai":
        from sememe.models.providers.openai import OpenAIWire

        return OpenAIWire(hosting, access, lane)
    if provider == "cohere":
        from sememe.models.providers.cohere import CohereWire

        return CohereWire(hosting, access, lane)
    if provider == "google":
        from sememe.models.providers.google import GoogleWire

        return GoogleWire(hosting, access, lane)
    if provider == "voyage":
        from sememe.models.providers.voyage import VoyageWire

        return VoyageWire(hosting, access, lane)
    if provider == "mistral":
        from sememe.models.providers.mistral import MistralWire

        return MistralWire(hosting, access, lane)
    from sememe.models.providers.plain import PLAIN

    return PLAIN[provider](hosting, access, lane)
