"""Hosted language models: an instruction and a text in, a text out, through the same careful base."""

from __future__ import annotations

from sememe.errors import CostLimit, InputError, ModelError
from sememe.models.providers.base import SPECIAL_TOKENS, Hosted
from sememe.models.providers.counting import EstimatedCounter
from sememe.models.providers.names import parse
from sememe.models.providers.wire import Trouble, Wire, WritingWire, Written
from sememe.settings import Settings, from_environment

ITS_OWN = frozenset({"refused", "garbled"})
"""Troubles of one text, which say nothing of the next one."""


class HostedWriter(Hosted):
    """A model behind an address that writes. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """PROVIDER:MODEL, without the address."""
        return f"{self._hosting.provider.name}:{self._hosting.model.name}"

    @property
    def lanes(self) -> int:
        """How many requests may be under way at once."""
        return self._settings.hosted.concurrency

    def write(self, instruction: str, text: str) -> Written | Trouble:
        """What the model writes; a Trouble when it refuses this text, or answers it with what is no text.

        Raises ProviderError when the next text would fare no better, CostLimit when it could cost too much.
        """

        def send(wire: Wire) -> Written:
            if not isinstance(wire, WritingWire):
                raise ModelError(f"{self._hosting.name} makes vectors alone; name one that writes as openai:NAME")
            return wire.write(instruction, text)

        count = EstimatedCounter().count
        tokens = count(instruction) + count(text) + SPECIAL_TOKENS
        outcome = self._asked(send, tokens)
        if outcome is None:
            raise CostLimit(f"asking {self._hosting.name} could cost more than was allowed; raise the limit")
        if isinstance(outcome, Trouble) and outcome.kind not in ITS_OWN:
            raise self._failure(outcome)
        return Trouble(outcome.kind, self._shown(outcome.reason)) if isinstance(outcome, Trouble) else outcome


def load_writer(name: str, *, settings: Settings | None = None) -> HostedWriter:
    """The model behind "openai:NAME", "openai:NAME@URL", or "URL/NAME" of a server that speaks OpenAI's wire.

    Nothing is connected yet. Without `settings` the environment is read. Raises InputError for what is no name.
    """
    if name.startswith(("http://", "https://")):
        base, mark, model = name.partition("/v1/")
        url, model = (f"{base}/v1", model) if mark else (base.rpartition("/")[0], base.rpartition("/")[2])
        if "://" not in url or not model:
            raise InputError(f"{name!r} is an address without a model; write it like http://localhost:8080/v1/NAME")
        name = f"openai:{model}@{url}"
    return HostedWriter(parse(name), settings or from_environment())
