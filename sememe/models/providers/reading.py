"""Vectors that come as digits: read fast, and past an SDK that would look at every number by itself, which takes
longer than the provider does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

from sememe.types import Vectors

Loads: TypeAlias = Callable[[bytes], Any]
"""A fast reader of JSON: orjson's."""

Take: TypeAlias = Callable[[Any], tuple[Vectors, object]]
"""From the JSON of an answer its vectors, and what the SDK is given in its place."""


def json_of(response: Any, loads: Loads) -> Any:
    """The JSON of a response. Raises ValueError when it has none; NaN, which JSON has not, is read all the same."""
    try:
        return loads(response.content)
    except ValueError:
        return response.json()


class PastSDK:
    """Reads the answers of a client (`read` of `lanes.client`), and keeps the vectors for the thread that asked."""

    def __init__(self, library: ModuleType, loads: Loads, take: Take) -> None:
        self._response = library.Response
        self._loads = loads
        self._take = take
        self._found = threading.local()

    @property
    def vectors(self) -> Vectors:
        """Those of the last answer to this thread: (n, dim) float32."""
        found: Vectors = self._found.vectors
        return found

    def __call__(self, response: Any) -> Any:
        """The response without its vectors; one that tells of an error stays as it is."""
        if not response.is_success:
            return response
        self._found.vectors, rest = self._take(json_of(response, self._loads))
        return self._response(200, json=rest, request=response.request)
