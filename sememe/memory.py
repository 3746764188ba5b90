"""What malloc is told, so that a process that lives long holds what it uses and no more.

Knows glibc's switches, and nothing of what is held; with another C library nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8
"""The option of mallopt(3), as glibc's malloc.h has it."""
ARENAS = 2
"""Every commit has threads of its own, and what they leave in up to eight arenas a core stays with the process: in 900
adds of 20 lines it grew by 180 MB, with two arenas by 38."""


def hold_memory() -> None:
    """Let all threads of this process share two of glibc's arenas, for one that is to run for days."""
    with _unless_another_library():
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give the system what was freed, in milliseconds: after large arrays, which malloc keeps for the next ones."""
    with _unless_another_library():
        ctypes.CDLL(None).malloc_trim(0)


def _unless_another_library() -> contextlib.suppress:
    # TypeError: on Windows a library has to be named.
    return contextlib.suppress(OSError, AttributeError, TypeError)
