"""Past an SDK that would look at every input and every number by itself, which takes longer than the provider does."""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from sememe.models.providers.wire import Input
from sememe.types import Vectors

Loads: TypeAlias = Callable[[bytes], Any]
"""A fast reader of JSON: orjson's."""

Take: TypeAlias = Callable[[Any], tuple[Vectors, object]]
"""From the JSON of an answer its vectors, and what the SDK is given in its place."""

Spread: TypeAlias = Callable[[Any, Sequence[Input]], object]
"""From the JSON of a request for the first input that for all."""


def json_of(response: Any, loads: Loads) -> Any:
    """The JSON of a response, its lists of numbers as arrays: (n,) float32.

    Raises ValueError when it has none; NaN, which JSON has not, is read all the same.
    """
    try:
        return _by_lists(response.content, loads)
    except ValueError:
        return response.json()


def _by_lists(body: bytes, loads: Loads) -> Any:
    """JSON whose lists of numbers are read one by one, each an array before the next is read.

    300,000 numbers at once are as many objects, which no cache holds, and no other thread has the interpreter until
    the last is made. A string that seems to hold a list makes this raise ValueError: it is cut in two.
    """
    mark = secrets.token_hex(8)
    lists: dict[str, Any] = {}
    rest: list[bytes] = []
    *pieces, end = body.split(b"]")
    for piece in pieces:
        before, bracket, numbers = piece.rpartition(b"[")
        if not bracket or b'"' in numbers or not numbers.strip():
            rest += [piece, b"]"]
        else:
            name = f"{mark} {len(lists)}"
            lists[name] = _array(loads(b"[%b]" % numbers))
            rest += [before, f'"{name}"'.encode()]
    return _filled(loads(b"".join((*rest, end))), lists)


def _array(numbers: list[Any]) -> Any:
    """The numbers as an array, in half of the time that numpy takes for a list; as they are when some are none."""
    try:
        return np.frombuffer(struct.pack(f"{len(numbers)}f", *numbers), np.float32)
    except struct.error:
        return numbers


def _filled(node: Any, lists: Mapping[str, Any]) -> Any:
    """What was read without its lists of numbers, with those at their places."""
    if isinstance(node, dict):
        return {name: _filled(value, lists) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, lists) for value in node]
    return lists.get(node, node) if isinstance(node, str) else node


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
