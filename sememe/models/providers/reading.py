"""Past an SDK that would look at every input and every number by itself, which takes longer than the provider does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

from sememe.models.providers.wire import Input
from sememe.types import Vectors

Loads: TypeAlias = Callable[[bytes], Any]
"""A fast reader of JSON: orjson's."""

Take: TypeAlias = Callable[[Any], tuple[Vectors, object]]
"""From the JSON of an answer its vectors, and what the SDK is given in its place."""

Spread: TypeAlias = Callable[[Any, Sequence[Input]], object]
"""From the JSON of a request for the first input that for all."""


def json_of(response: Any, loads: Loads) -> Any:
    """The JSON of a response. Raises ValueError when it has none; NaN, which JSON has not, is read all the same."""
    try:
        return loads(response.content)
    except ValueError:
        return response.json()


class PastSDK:
    """Stands between an SDK and its client (`change` and `read` of `lanes.client`).

    The SDK makes the request for one input, and is given an answer without vectors; the bodies that travel hold all
    inputs and all vectors, which are kept for the thread that asked.
    """

    def __init__(self, library: ModuleType, loads: Loads, *, take: Take, spread: Spread) -> None:
        self._library = library
        self._loads = loads
        self._take = take
        self._spread = spread
        self._here = threading.local()

    @property
    def vectors(self) -> Vectors:
        """Those of the last answer to this thread: (n, dim) float32."""
        found: Vectors = self._here.vectors
        return found

    @contextmanager
    def instead(self, inputs: Sequence[Input] | None) -> Iterator[None]:
        """While this thread asks: all inputs, of which the SDK is given the first; None leaves its request alone."""
        self._here.inputs = inputs
        try:
            yield
        finally:
            self._here.inputs = None

    def change(self, request: Any) -> Any:
        """The request for all inputs in the place of that for the first."""
        if not self._here.inputs:
            return request
        body = self._spread(self._loads(request.content), self._here.inputs)
        headers = [(name, value) for name, value in request.headers.items() if name != "content-length"]
        return self._library.Request(
            request.method, request.url, headers=headers, json=body, extensions=request.extensions
        )

    def read(self, response: Any) -> Any:
        """The response without its vectors; one that tells of an error stays as it is."""
        if not response.is_success:
            return response
        self._here.vectors, rest = self._take(json_of(response, self._loads))
        return self._library.Response(200, json=rest, request=response.request)
