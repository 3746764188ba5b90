"""What commands do around the one call: open the collection, show progress, read a filter."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from sememe import collection as collections
from sememe.cli.show import printable
from sememe.collection import Collection
from sememe.errors import InputError
from sememe.ingest.about import checked
from sememe.ingest.pages import Pages
from sememe.ingest.pipeline import IngestProgress
from sememe.settings import from_environment
from sememe.sources import key_of
from sememe.sources.web import WebOptions, is_address
from sememe.types import Metric

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


def refuse_missing(paths: list[Path], *, or_else: str = "") -> None:
    """Before a collection is made for nothing. `or_else` is what else than a misspelling it may be."""
    for path in paths:
        if not os.path.lexists(path.expanduser()):
            raise InputError(f"there is no file or folder {printable(key_of(path))}; check the spelling{or_else}")


def wanted_of(names: list[str], sitemap: bool, options: WebOptions) -> list[Path] | Pages:
    """The paths or pages of a command line. Raises InputError for both at once, and for what is not there."""
    addresses = [name for name in names if is_address(name)]
    if addresses and len(addresses) < len(names):
        other = next(name for name in names if not is_address(name))
        raise InputError(f"{addresses[0]} is an address and {printable(other)} is a path; add them one after the other")
    if addresses:
        return Pages(addresses, sitemap, options).checked()
    if sitemap:
        raise InputError(f"--sitemap goes with an address, and {printable(names[0])} is a path; leave it out")
    paths = [Path(name) for name in names]
    refuse_missing(paths)
    return paths


def where_of(text: str | None) -> dict[str, Any] | None:
    """The filter of a command line."""
    if text is None:
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"--where {text!r} is not JSON ({error.msg} at character {error.pos}); write it like "
            f"""'{{"year": {{"$gte": 2020}}}}'"""
        ) from error
    return found


def meta_of(pairs: list[str] | None) -> dict[str, Any]:
    """The metadata of a command line: values in JSON, and what is no JSON is a string. `a.b=1` goes into an object."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--meta {pair!r} has no value; write it like --meta year=2024")
        *outer, last = name.split(".")
        place: Any = found
        for step in outer:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or last in place:
            raise InputError(
                f"--meta {pair!r} gives {name!r} a second value; give a field once, or a list: "
                f"""'{name}=["a", "b"]'"""
            )
        place[last] = _value_of(text, pair)
    return checked(found, "--meta gives")


def _value_of(text: str, pair: str) -> object:
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        if text[:1] in ("{", "[", '"') or text in ("NaN", "Infinity", "-Infinity"):
            raise InputError(f"--meta {pair!r} is not JSON ({error}); write a string without signs, or JSON") from error
        return text


def _refused(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


class Shown:
    """Progress on stderr: bars on a terminal, a line now and then elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._said = time.monotonic()

    def ingest(self, at: IngestProgress) -> None:
        """How far adding is: in bytes where they are known, else in inputs."""
        done, total = (at.bytes_done, at.bytes_total) if at.bytes_total else (at.inputs, None)
        self._show(f"{at.chunks:,} chunks of {at.inputs:,} inputs", "ingest", done, total)

    def named(self, name: str) -> Callable[[int, int | None], None]:
        """How far the making of something is, by its name."""
        return lambda done, total: self._show(name, name, done, total)

    def fetch(self, label: str, done: int, total: int | None) -> None:
        """How far a download is, in bytes."""
        self._show(label, label, done, total)

    def _show(self, text: str, name: str, done: int, total: int | None) -> None:
        if self._bars is None:
            if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                self._said = time.monotonic()
                typer.echo(f"{text}{f', {done / total:.0%}' if total else ''}", err=True)
            return
        if name not in self._tasks:
            self._bars.start()
            self._tasks[name] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total, description=text)

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def progress_shown() -> Iterator[Shown]:
    """Progress on stderr, gone when the block ends."""
    bars = None
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        bars = Progress(
            BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), Remaining(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
    shown = Shown(bars)
    try:
        yield shown
    finally:
        shown.stop()


@contextmanager
def opened_at(
    path: Path, model: str | None, *, create: bool, progress: Shown | None = None, metric: str | None = None,
    max_cost: float | None = None,
) -> Iterator[Collection]:  # fmt: skip
    """The collection of this command, closed when the block ends."""
    settings = from_environment()
    if max_cost is not None:
        settings = replace(settings, hosted=replace(settings.hosted, max_cost=max_cost))
    opened = collections.open(
        path, model=model, metric=cast("Metric | None", metric), create=create,
        fetch_progress=progress.fetch if progress else None, settings=settings,
    )  # fmt: skip
    with opened:
        yield opened
