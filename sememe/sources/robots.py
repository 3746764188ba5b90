"""robots.txt: which addresses of a host may be fetched, and how long to wait between two (RFC 9309).

The longest rule that matches decides, and of two as long the one that allows. The standard library's parser takes the
first rule and knows no wildcards. Knows one file's text; fetches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

LARGEST = 500 * 1024
"""Bytes that a crawler has to read at least; what is behind them is not looked at."""
LONGEST_RULE = 2000
MOST_WILDCARDS = 20
"""More would make a pattern slow to match."""


@dataclass(slots=True)
class Robots:
    """The rules for one agent: (pattern as written, whether it allows), and the seconds between two requests."""

    rules: list[tuple[str, bool]] = field(default_factory=list)
    delay: float = 0.0

    def allows(self, path: str) -> bool:
        """Whether the path (with its query) may be fetched."""
        path = _normal(path)
        best, allowed = -1, True
        for pattern, allows in self.rules:
            better = len(pattern) > best or (len(pattern) == best and allows)
            if better and _matches(pattern, path):
                best, allowed = len(pattern), allows
        return allowed


def robots_of(text: str, agent: str) -> Robots:
    """The rules that hold for `agent` (a product's name), those for everybody where it is not named."""
    named, everybody = Robots(), Robots()
    found = False
    groups: set[str] = set()
    open_group = True
    for line in text.splitlines():
        name, colon, value = line.partition("#")[0].partition(":")
        name, value = name.strip().casefold(), value.strip()
        if not colon:
            continue
        if name == "user-agent":
            groups = groups if open_group else set()
            groups.add(value.partition("/")[0].casefold())
            open_group = True
            found = found or agent.casefold() in groups
            continue
        if name in ("allow", "disallow", "crawl-delay"):
            open_group = False
        for rules, group in ((named, agent.casefold()), (everybody, "*")):
            if group in groups:
                _add(rules, name, value)
    return named if found else everybody


def _add(rules: Robots, name: str, value: str) -> None:
    if name in ("allow", "disallow") and value and len(value) <= LONGEST_RULE and value.count("*") <= MOST_WILDCARDS:
        rules.rules.append((_normal(value), name == "allow"))
    elif name == "crawl-delay" and re.fullmatch(r"\d{1,5}(\.\d{1,3})?", value):
        rules.delay = float(value)


def _normal(path: str) -> str:
    """A path with every escape that is not needed undone, so that two ways to write it are one."""
    return quote(unquote(path), safe="/*$?=&;:@!'()+,~%")


def _matches(pattern: str, path: str) -> bool:
    """Whether the path begins as the pattern says: `*` stands for anything, `$` at its end for the end."""
    ends = pattern.endswith("$")
    pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(pieces[0]):
        return False
    at = len(pieces[0])
    for piece in pieces[1:-1]:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    if len(pieces) == 1:
        return not ends or at == len(path)
    last = pieces[-1]
    return path.endswith(last) and len(path) - len(last) >= at if ends else path.find(last, at) >= 0
