"""A Git work tree → the files that are tracked in it, as Git itself lists them. Knows nothing of what is in them."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sememe.errors import InputError
from sememe.sources.walk import key_of, left_out_by


def tracked(paths: Iterable[Path], *, hidden: bool = False, left_out: Counter[str] | None = None) -> list[Path]:
    """The tracked files at and under `paths` that are there, also those of submodules, in Git's order.

    Names that a walk would leave out are left out, and counted by rule in `left_out`. Raises InputError where Git is
    not installed or a path is in no work tree.
    """
    counts = Counter() if left_out is None else left_out
    return [path for root in paths for path in _under(root, hidden, counts)]


def _under(root: Path, hidden: bool, counts: Counter[str]) -> Iterator[Path]:
    folder, wanted = (root, ".") if root.is_dir() else (root.parent, root.name)
    for name in _listed(folder, wanted):
        rule = next(filter(None, (left_out_by(part, hidden=hidden) for part in Path(name).parts)), "")
        path = folder / name
        if rule and name != wanted:
            counts[rule] += 1
        elif os.path.lexists(path) and not path.is_dir():
            # One that is deleted but still tracked is not there; a folder is a link to one, and tracked itself.
            yield path


def _listed(folder: Path, wanted: str) -> list[str]:
    command = ["git", "-C", str(folder), "--literal-pathspecs", "ls-files", "-z", "--recurse-submodules", "--", wanted]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError("git is not installed, and it knows which files are tracked; leave out --tracked") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise InputError(f"git lists no tracked files of {key_of(folder)} ({said}); leave out --tracked")
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
