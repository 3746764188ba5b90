"""How a provider is asked: with patience, at a pace, within a budget.

A request is sent again when the provider is busy, unreachable, or its answer broke off: after the time that it asks
for, else after a random part of a time that doubles. While it is busy nobody else asks either. What a request gave is
never asked for again. This file knows seconds and dollars; it does not know what the requests are about.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sememe.models.providers.lanes import Gate, Interrupted
from sememe.models.providers.wire import Trouble, Wire
from sememe.settings import Hosted

T = TypeVar("T")
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 120.0
"""Seconds that we stay away when asked to; when asked for more, we stop and say so."""

SMALL_CHANGE = 1e-5
"""Dollars of which six decimals show less than two digits."""

AGAIN = frozenset({"busy", "down", "garbled"})


@dataclass(slots=True)
class Usage:
    """What was asked and billed so far. `tokens` are the provider's where it says them, else ours."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0
    dollars: float = 0.0


def dollars(amount: float) -> str:
    """An amount with six decimals, and of a smaller one as many as its first two digits take."""
    places = 6 if amount == 0 or abs(amount) >= SMALL_CHANGE else 1 - math.floor(math.log10(abs(amount)))
    return f"{amount:.{places}f}"


class Budget:
    """Money, counted before it is spent: what the requests under way may cost at most is set aside."""

    def __init__(self, price: float | None, most: float | None) -> None:
        self.usage = Usage()
        self._price = (price or 0.0) / 1e6
        self._most = most
        self._aside = 0.0
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> bool:
        """Set aside what a request costs at most; False when that could exceed the budget."""
        cost = tokens * self._price
        with self._lock:
            if self._most is not None and self.usage.dollars + self._aside + cost > self._most:
                return False
            self._aside += cost
            return True

    def settle(self, reserved: int, billed: int) -> None:
        """Exchange what was set aside for what was billed."""
        with self._lock:
            self._aside -= reserved * self._price
            self.usage.tokens += billed
            self.usage.dollars += billed * self._price

    def count(self, *, retry: bool) -> None:
        """Note that a request is sent."""
        with self._lock:
            self.usage.requests += 1
            self.usage.retries += retry


class Caller:
    """Sends requests over one wire until they are answered, or there is no use in going on."""

    def __init__(self, wire: Wire, hosted: Hosted, budget: Budget, *, gate: Gate) -> None:
        self._wire = wire
        self._hosted = hosted
        self._budget = budget
        self.gate = gate

    def call(self, send: Callable[[Wire], T], tokens: int, *, wanted: Callable[[], bool] = lambda: True) -> T | Trouble:
        """The answer, or the trouble that remained after the last attempt, or after which it was not `wanted`."""
        attempt = 0
        while True:
            self.gate.enter(tokens, wanted)
            if self.gate.stopped.is_set():
                return Trouble("down", "it was interrupted")
            self._budget.count(retry=attempt > 0)
            trouble: Trouble
            try:
                return send(self._wire)
            except Interrupted as error:
                return Trouble("down", str(error))
            except self._wire.errors as error:
                trouble = self._wire.trouble(error)
            attempt += 1
            wait = self._wait(trouble, attempt)
            if trouble.kind not in AGAIN or attempt >= self._hosted.attempts or wait > LONGEST_WAIT:
                return trouble
            if trouble.kind == "busy":
                self.gate.close(wait)
            if self.gate.stopped.wait(wait):
                return trouble

    def _wait(self, trouble: Trouble, attempt: int) -> float:
        """Seconds until the next attempt: what was asked for and a little more, else a random part of the backoff."""
        backoff = min(LONGEST_BACKOFF, self._hosted.backoff * 2.0 ** (attempt - 1))
        if trouble.wait is not None:
            return trouble.wait + backoff * random.uniform(0, 0.25)
        return backoff * random.uniform(0.5, 1)
