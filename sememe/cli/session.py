"""What commands do around the one call: open the collection, show progress, read a filter, keep a place to write to."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

from sememe import collection as collections
from sememe.cli.show import counted, printable
from sememe.collection import Collection
from sememe.errors import InputError
from sememe.settings import from_environment
from sememe.types import Metric

if TYPE_CHECKING:
    from rich.progress import Progress

    from sememe.ingest.pipeline import IngestProgress

SECONDS_BETWEEN_LINES = 10.0
INTERRUPTED = 130
T = TypeVar("T")


def where_of(text: str | None) -> dict[str, Any] | None:
    """The filter of a command line."""
    if text is None:
        return None
    try:
        found: dict[str, Any] = json.loads(text, object_pairs_hook=no_twice)
    except RecursionError as error:
        raise InputError("--where is nested too deeply; write it with fewer levels") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"--where {text!r} is not JSON ({error.msg} at character {error.pos}); write it like "
            f"""'{{"year": {{"$gte": 2020}}}}'"""
        ) from error
    except ValueError as error:
        raise InputError("--where holds a number of more than 4,300 digits; write it with fewer") from error
    if found is None:
        raise InputError("--where null is no filter; write {} for every document, or leave it out")
    return found


def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises InputError for a name that is in it twice, of which only the last would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice!r} stands twice in one object of JSON, and only the last would count; say it once")
    return found


def refuse_targets(*targets: Path | None, overwrite: bool) -> None:
    """Before the work that is to be kept in these files: raise InputError for what is there, unless to `overwrite` it,
    for a file that is named twice, for a place that cannot be written, and where there is nothing to overwrite."""
    named = [target.expanduser() for target in targets if target is not None]
    if overwrite and not named:
        raise InputError("--overwrite is said, but no file to write is named; name one, or leave it out")
    for path in named:
        if named.count(path) > 1:
            raise InputError(f"{printable(str(path))} is named for two outputs; name a file for each")
        refuse_present(path, overwrite=overwrite)
        _refuse_unwritable(path)


def _refuse_unwritable(path: Path) -> None:
    there = os.path.lexists(path)
    if there and not (path.is_file() or path.is_dir()):
        return  # a device, a pipe that would wait for its reader, or a link to what is not there yet
    written(path, lambda: path.open("ab").close())
    if not there:
        path.unlink()


def refuse_present(path: Path, *, overwrite: bool) -> None:
    """Raise InputError for a file, or a folder that is not empty, unless it is to be overwritten."""
    there = written(path, lambda: any(path.iterdir()) if path.is_dir() else path.is_file())
    if there and not overwrite:
        raise InputError(
            f"{printable(str(path))} is there already; name another place, or say to overwrite (--overwrite)"
        )


def written(path: Path, write: Callable[[], T]) -> T:
    """What `write` gives. Raises InputError when a file at `path` cannot be written."""
    try:
        return write()
    except OSError as error:
        raise InputError(
            f"{printable(str(path))} cannot be written ({error.strerror or error}); name another place"
        ) from error


class Shown:
    """Progress on stderr: bars on a terminal, a line now and then elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self.begin()

    def begin(self) -> None:
        """Whatever is said now is said of what begins here."""
        self._said = time.monotonic()

    def ingest(self, at: IngestProgress) -> None:
        """How far adding is: in bytes where they are known, else in inputs."""
        done, total = (at.bytes_done, at.bytes_total) if at.bytes_total else (at.inputs, None)
        self._show(f"{counted(at.chunks, 'chunks')} of {counted(at.inputs, 'inputs')}", "ingest", done, total)

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
def stop_told(shown: Shown) -> Iterator[None]:
    """Of Ctrl-C say at once that what is under way comes to its end first; a second one does not wait for it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # it is ignored, as in a job of the background
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, _end)
        shown.stop()
        os.write(
            2, b"sememe: stopping; what is being embedded is stored first, and Ctrl-C again does not wait for it\n"
        )
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    """As a kill would; the next run clears what this one leaves."""
    os.write(2, b"sememe: interrupted at once; what was stored stays: run the same command again to go on\n")
    os._exit(INTERRUPTED)


@contextmanager
def opened_at(
    path: Path, model: str | None, *, create: bool, progress: Shown | None = None, metric: str | None = None,
    max_cost: float | None = None,
) -> Iterator[Collection]:  # fmt: skip
    """The collection of this command, closed when the block ends."""
    settings = from_environment()
    if max_cost is not None:
        settings = replace(settings, hosted=replace(settings.hosted, max_cost=max_cost))
    with warnings.catch_warnings():
        # A line without the place in the source that says it.
        warnings.showwarning = lambda message, *_: typer.echo(f"Note: {message}.", err=True)
        opened = collections.open(
            path, model=model, metric=cast("Metric | None", metric), create=create,
            fetch_progress=progress.fetch if progress else None, settings=settings,
        )  # fmt: skip
        with opened:
            yield opened
