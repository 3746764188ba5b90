"""Files and folders → the files to read, in a stable order, and what cannot be read, with the reason.

Knows names and `stat`, never what is inside a file.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sememe.errors import InputError
from sememe.sources.source import Refused as Refused

UNWANTED_FOLDERS = frozenset({"__pycache__", "node_modules"})

_TEMPORARY = re.compile(r".*~|#.*#|~\$.*|.*\.(?:sw[a-px]|tmp|part|crdownload)|4913", re.IGNORECASE | re.DOTALL)
"""What editors, office programs and downloads keep beside a file while it is written."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")

_Identity: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file, and what was known of it when it was found: bytes, when it was written, its inode."""

    path: Path
    size: int
    mtime_ns: int
    inode: int = 0

    @classmethod
    def at(cls, path: Path, found: os.stat_result) -> Found:
        """The file at a path, by its `stat`."""
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)


def key_of(path: Path) -> str:
    """The path as text that can be printed and stored: bytes that are not UTF-8 become backslash escapes."""
    text = _ESCAPED_BYTE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(path))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def left_out_by(name: str, *, hidden: bool = False) -> str:
    """The rule by which a name in a folder is left out, empty when it is not; with `hidden` hidden ones are not."""
    if name.startswith(".") and not hidden:
        return "hidden"
    if name in UNWANTED_FOLDERS:
        return name
    return "temporary" if _TEMPORARY.fullmatch(name) else ""


def failure(path: Path, what: str, error: OSError) -> Refused:
    """The refusal that tells of an operating system's error, worth trying again."""
    return Refused(path, f"{what}: {error.strerror or error}", retryable=True, status="failed")


def walk(
    paths: Iterable[str | os.PathLike[str]],
    *,
    hidden: bool = False,
    exclude: Collection[Path] = (),
    left_out: Counter[str] | None = None,
    marker: str = "",
) -> Iterator[Found | Refused]:
    """The files at and under `paths`: each path in its turn, each folder sorted by name, each file once.

    Names that begin with a dot (unless `hidden`), folders of generated files and editors' temporary files are left
    out below a path, and counted by rule in `left_out`. `exclude` holds resolved folders that are never
    entered, and so is a folder that holds a file named `marker`. Links below a path are followed last, so that a file
    or folder has its own name and not that of a link to it.
    Raises InputError, before anything is yielded, when a path does not exist.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        if not os.path.lexists(root):
            raise InputError(f"there is no file or folder {key_of(root)}; check the spelling")
    walker = _Walker(hidden, frozenset(exclude), Counter() if left_out is None else left_out, marker=marker)
    return walker.walk(roots)


class _Walker:
    """What one walk has seen so far. A file or folder is known by its device and inode."""

    def __init__(self, hidden: bool, exclude: frozenset[Path], left_out: Counter[str], *, marker: str = "") -> None:
        self._hidden = hidden
        self._marker = marker
        self._excluded = {_identity(found) for found in map(_stat_or_none, exclude) if found}
        self._left_out = left_out
        self._files: set[_Identity | str] = set()
        self._folders: set[_Identity] = set()
        self._links: deque[tuple[Path, list[_Identity]]] = deque()

    def walk(self, roots: list[Path]) -> Iterator[Found | Refused]:
        for root in roots:
            yield from self._under(root, [])
        while self._links:
            yield from self._under(*self._links.popleft())

    def _under(self, root: Path, above: list[_Identity]) -> Iterator[Found | Refused]:
        """Depth first, without recursion: a folder may be deeper than Python's stack."""
        levels: list[Iterator[Path]] = [iter((root,))]
        while levels:
            path = next(levels[-1], None)
            if path is None:
                levels.pop()
                if levels:
                    above.pop()
                continue
            if len(levels) > 1 and path.is_symlink():
                self._links.append((path, list(above)))
                continue
            entries = self._look_at(path, above)
            if isinstance(entries, Found | Refused):
                yield entries
            elif entries is not None:
                levels.append(iter(entries[1]))
                above.append(entries[0])

    def _look_at(self, path: Path, above: list[_Identity]) -> Found | Refused | tuple[_Identity, list[Path]] | None:
        """What is at `path`: a folder gives its identity and entries, something seen before gives None."""
        try:
            found = path.stat()
        except OSError as error:
            return _without_stat(path, error)
        if stat.S_ISDIR(found.st_mode):
            return self._enter(path, found, above)
        if not stat.S_ISREG(found.st_mode):
            return Refused(path, f"not a file but {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}")
        # Two names of one inode are two files to their owner, unless a link led to the same name twice.
        same = _identity(found) if found.st_nlink == 1 else os.path.realpath(path)
        if same in self._files:
            return None
        self._files.add(same)
        return Found.at(path, found)

    def _enter(
        self, path: Path, found: os.stat_result, above: list[_Identity]
    ) -> Refused | tuple[_Identity, list[Path]] | None:
        same = _identity(found)
        if same in self._excluded:
            return None
        if self._marker and (path / self._marker).is_file():
            self._left_out["collection"] += 1
            return None
        if same in above:
            return Refused(path, f"a link that leads back into {key_of(path.resolve())}, a folder around it")
        if same in self._folders:
            return None
        self._folders.add(same)
        try:
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if self._wants(entry))
        except OSError as error:
            return failure(path, "the folder cannot be read", error)
        return same, [path / name for name in names]

    def _wants(self, entry: os.DirEntry[str]) -> bool:
        rule = left_out_by(entry.name, hidden=self._hidden)
        if rule:
            self._left_out[rule] += 1
        return not rule


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _stat_or_none(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _without_stat(path: Path, error: OSError) -> Refused:
    if path.is_symlink():
        what = "a link into a circle of links" if error.errno == errno.ELOOP else "a link to nothing"
        return Refused(path, f"{what}: {key_of(path.readlink())}")
    return failure(path, "it cannot be looked at", error)
