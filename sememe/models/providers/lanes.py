"""Lanes: how many requests are under way at once, at what pace, and when none may go.

Only the exchange over the wire takes a lane. What an SDK does before and after it, making bodies and reading answers,
is done by threads that hold none, while others wait for the provider. An answer is read when the next request is sent
and no other answer is coming in: all need the interpreter, and a lane that waits for it is a lane that asks nothing.
This file knows seconds and HTTP clients; it does not know what the requests are about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from types import ModuleType
from typing import Any, TypeAlias

Coming: TypeAlias = Callable[[int], AbstractContextManager[None]]
"""What is held while the body of an answer comes in."""

Lane: TypeAlias = Callable[[], AbstractContextManager[Coming]]
"""Gives a lane for the time of one exchange. Raises Interrupted when nothing may be sent any more."""

WORKERS_A_LANE = 2
"""Threads for each lane, so that one makes a body or reads an answer while another waits for the provider."""

LONGEST_PAUSE = 0.05
"""Seconds at most for which an answer that is here waits for those that are coming in."""

NO_ACCESS = frozenset({401, 402, 403})
"""Answers that no other request will get anything after: the key, the account or what they may do."""

HANDOVER = 0.002
"""Seconds for which it waits for the request that has its lane now to be sent."""


class Interrupted(ConnectionError):
    """The gate was stopped, or the request not wanted any more, before it was sent."""


class Gate:
    """When the next request may go: `lanes` at once, at most so many a minute, and not while the provider asked us to
    stay away."""

    def __init__(self, lanes: int, requests_per_minute: int, tokens_per_minute: int) -> None:
        self._lanes = threading.Semaphore(lanes)
        self._a_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._a_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = 0.0
        self._closed_until = 0.0
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._answers = threading.Condition()
        self._coming = 0
        self._waiting = 0
        self.stopped = threading.Event()

    def enter(self, tokens: int, wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait for one's turn. `wanted` tells this thread's `lane` whether the request still has to be sent."""
        self._thread.wanted = wanted
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + max(self._a_request, tokens * self._a_token)
        self.stopped.wait(max(0.0, turn - time.monotonic()))

    @contextmanager
    def lane(self) -> Iterator[Coming]:
        """A lane, when one is free and the provider does not want us to stay away. Raises Interrupted when stopped."""
        with self._lock:
            self._waiting += 1
        with self._lanes:
            with self._lock:
                self._waiting -= 1
            while (left := self._closed_until - time.monotonic()) > 0 and not self.stopped.wait(left):
                pass
            if self.stopped.is_set() or not self._thread.wanted():
                raise Interrupted("it was interrupted")
            try:
                yield self._answer_coming
            except BaseException:
                self._shut()
                raise
            handed_over = self._waiting > 0
        if handed_over:
            time.sleep(HANDOVER)
        with self._answers:
            self._answers.wait_for(lambda: not self._coming, LONGEST_PAUSE)

    @contextmanager
    def _answer_coming(self, status: int) -> Iterator[None]:
        if status in NO_ACCESS:
            self._shut()
        with self._answers:
            self._coming += 1
        try:
            yield
        finally:
            with self._answers:
                self._coming -= 1
                self._answers.notify_all()

    def _shut(self) -> None:
        """Give whoever learns what went wrong the time to stop the gate before the next request is sent."""
        self.close(LONGEST_PAUSE)

    def close(self, seconds: float) -> None:
        """Let nobody through for so long."""
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)


def client(
    library: ModuleType, lane: Lane, *, timeout: float, url: str = "", headers: Mapping[str, str] | None = None,
    change: Callable[[Any], Any] | None = None, read: Callable[[Any], Any] | None = None,
) -> Any:  # fmt: skip
    """A client of httpx or of httpx2 whose every exchange takes a lane; it follows no redirect.

    `change` may put another request in the place of each before it takes a lane, `read` another response when the lane
    is free again.
    """

    class Laned(library.Client):  # type: ignore[misc, name-defined]
        def send(
            self, request: Any, *, stream: bool = False, auth: Any = library.USE_CLIENT_DEFAULT,
            follow_redirects: Any = library.USE_CLIENT_DEFAULT,
        ) -> Any:  # fmt: skip
            if change is not None:
                request = change(request)
            with lane() as coming:
                response = super().send(request, stream=True, auth=auth, follow_redirects=follow_redirects)
                if not stream:
                    with coming(response.status_code), closing(response):
                        response.read()
            return response if read is None else read(response)

    limits = library.Limits(max_connections=None, max_keepalive_connections=64)
    return Laned(base_url=url, headers=headers, timeout=timeout, limits=limits)
