"""One filling of the cache: what a place delivers is accepted by digest, or refused with both digests shown.

This file knows the cache and bytes; the places are known to `hub` and `wheels`, and asked by `fetch`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from sememe.errors import DigestMismatch, FetchError
from sememe.failpoints import reach
from sememe.models.cards import Card, CardFile
from sememe.settings import Settings

BLOCK = 1 << 20


class FetchProgress(Protocol):
    """Told what is being fetched, how many bytes are there, and of how many, where that is known."""

    def __call__(self, label: str, done: int, total: int | None) -> None: ...


def cached_path(file: CardFile, settings: Settings) -> Path:
    """Where the cache keeps a file, whether it is there or not."""
    return settings.home / "models" / file.sha256[:2] / file.sha256 / file.name


def missing_of(files: list[CardFile], settings: Settings) -> list[CardFile]:
    """The files that the cache does not have."""
    return [file for file in files if not _is_cached(cached_path(file, settings), file.size)]


def _is_cached(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class Errand:
    """One filling of the cache, while its lock is held. `workroom` is a folder for what is not finished."""

    card: Card
    settings: Settings
    progress: FetchProgress | None
    workroom: Path

    def report(self, label: str, done: int, total: int | None) -> None:
        """Tell whoever wants to know how far a transfer is, in bytes."""
        if self.progress is not None:
            self.progress(label, done, total)

    def store(self, file: CardFile, source: BinaryIO, place: str) -> None:
        """Copy a file into the cache if its bytes are right; else leave nothing and raise DigestMismatch."""
        target = cached_path(file, self.settings)
        # The same name every time, so that a killed process leaves at most one of these.
        staged = self.workroom / f"{file.name.replace('/', '--')}.new"
        try:
            with staged.open("wb") as sink:
                match(file, place, digest(source, partial(_write, sink, file.size)))
                sink.flush()
                os.fsync(sink.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            reach("model file written")
            staged.replace(target)
            reach("model file in cache")
        finally:
            staged.unlink(missing_ok=True)


def opened(path: Path) -> BinaryIO:
    """Open what a place delivered. Raises FetchError when it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise FetchError(f"{path} cannot be read ({error.strerror or error})") from error


def digest(source: BinaryIO, keep: Callable[[bytes, int], None] | None = None) -> tuple[str, int]:
    """Digest and size of all that a source holds; `keep` gets each block and how many bytes came before."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        if keep is not None:
            keep(block, size)
        size += len(block)
    return digest.hexdigest(), size


def _write(sink: BinaryIO, limit: int, block: bytes, before: int) -> None:
    # A source that is longer than promised is read to its end for the message, but does not fill the disk.
    sink.write(block[: max(limit - before, 0)])


def match(file: CardFile, place: str, found: tuple[str, int]) -> None:
    """Raise DigestMismatch unless `found`, digest and size, is what the card promises."""
    sha256, size = found
    if (sha256, size) != (file.sha256, file.size):
        raise DigestMismatch(
            f"{file.name} from {place} has sha256 {sha256} ({size} bytes), expected {file.sha256} "
            f"({file.size} bytes); it was not used: take the file from another place"
        )


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a sentence; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
