"""The command line in a process of its own, with an embedder by hashing, and less of the machine where a test asks.

The environment says what: RUN_DELAY seconds for each text, RUN_WINDOW tokens a window, RUN_FILE_SIZE the largest
file that may be written, RUN_PAGES the most pages of the database, RUN_UNPRIVILEGED that permissions hold for root,
RUN_NOTIFIER who tells of changes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from fakes import FakeEmbedder

import sememe.collection
import sememe.watch
from sememe.cli import main
from sememe.ingest import cutting
from sememe.keeping import adopting
from sememe.store import connection

CAPABILITY_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_capabilities() -> None:
    """Give up what lets root pass over permissions. Others have nothing to give up."""
    if os.geteuid() == 0:
        header, none = _Header(CAPABILITY_VERSION, 0), (_Sets * 2)()
        if ctypes.CDLL(None).capset(ctypes.byref(header), none) != 0:
            raise OSError("capset was refused")


def limit_pages(pages: int) -> None:
    """Let SQLite say that the disk is full when the database has so many pages."""
    unlimited = connection.connect

    def limited(path: Path, *, writable: bool) -> Any:
        opened = unlimited(path, writable=writable)
        opened.pragma("max_page_count", pages)
        return opened

    connection.connect = limited


def prepare(environ: dict[str, str]) -> None:
    """Do what the environment says."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    embedder = FakeEmbedder(delay=float(environ.get("RUN_DELAY", "0")))
    sememe.collection.load_model = adopting.load_model = lambda *_, **__: embedder
    cutting.WINDOW_TOKENS = int(environ.get("RUN_WINDOW", cutting.WINDOW_TOKENS))
    if "RUN_NOTIFIER" in environ:
        sememe.watch.notifier = lambda: environ["RUN_NOTIFIER"]
    if "RUN_FILE_SIZE" in environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(environ["RUN_FILE_SIZE"]),) * 2)
    if "RUN_PAGES" in environ:
        limit_pages(int(environ["RUN_PAGES"]))
    if "RUN_UNPRIVILEGED" in environ:
        drop_capabilities()


if __name__ == "__main__":
    prepare(dict(os.environ))
    sys.argv[0] = "sememe"
    main()
