"""Named places where a crash would hurt most.

Every commit, file switch and stamp calls `reach(name)`. Nothing happens there unless a test has set `hook`; the
crash tests set it to a function that kills the process on the nth call.
"""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Tell the hook, if there is one, that the place `name` was reached."""
    if hook is not None:
        hook(name)
