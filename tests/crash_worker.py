"""What the crash tests kill: a process that changes a collection step by step and says when a step is done.

`python crash_worker.py` reads one plan a line from stdin and forks a child for each, which saves the imports. It
prints the child's process id, and how it ended. The child appends "ack N" to the plan's file when step N has
returned: from then on nothing of that step may be lost.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino  # noqa: F401 - once for all children, which run the models of further spaces
from fakes import FakeEmbedder

import sememe
from sememe import failpoints
from sememe.index import faiss
from sememe.ingest import cutting, derived, layers, represented, sync
from sememe.keeping import backups, forgetting
from sememe.spaces import add_space, drop_space

Plan = Mapping[str, Any]
"""collection; steps; first: the step to begin with; acks: a file; delay: seconds a text; kill_at: which of the
failpoints is the last one that is reached, 0 for none; trace: a file for the names of all that are reached."""


def carry_out(plan: Plan) -> None:
    """Take the steps from the first one on."""
    # Small windows and batches, so that a small collection passes every place that a large one does.
    cutting.FIRST_WINDOW_TOKENS = cutting.WINDOW_TOKENS = 800
    sync.CATCH_UP_EARLY, sync.CATCH_UP_EVERY, derived.BATCH, derived.TAIL = 1, 16, 24, 1
    # Every index, although there is little to put into it.
    faiss.MIN_ROWS, layers.MIN_COLUMN_ROWS, layers.UNINDEXED_ROWS = 24, 4, 12
    # The slab is written anew when 63 rows are dead, and its rows are put in the cells of before.
    derived.DEAD_SHARE, faiss.UNEVEN, faiss.LOST = 0.0625, 9.0, 1.0
    # A new generation of words and of tokens with every change, from several pieces.
    represented.TAIL, represented.TAIL_SHARE, represented.DEAD_SHARE, represented.BATCH = 0, 0.0, 0.0, 2
    failpoints.hook = _hook(plan)
    with sememe.open(plan["collection"], model=FakeEmbedder(delay=plan["delay"])) as collection:
        for number, (verb, argument) in enumerate(plan["steps"]):
            if number >= plan["first"]:
                take_step(collection, verb, argument)
                _append(plan["acks"], f"ack {number}")


def take_step(collection: sememe.Collection, verb: str, argument: Any) -> None:
    """One change of the files, or one command."""
    if verb == "write":
        for name, text in argument.items():
            _write(Path(name), text)
    elif verb == "files":
        collection.add_files(argument)
    elif verb == "sync":
        collection.sync(argument)
    elif verb == "given":
        collection.add(argument)
    elif verb == "delete":
        collection.delete(argument)
    elif verb == "space":
        add_space(collection, *argument)
    elif verb == "drop":
        drop_space(collection, argument)
    elif verb == "optimize":
        collection.optimize()
    elif verb == "backup":
        backups.backup(collection, argument, indexes=True)
    elif verb == "forget":
        forgetting.forget(collection, argument)
    else:
        raise ValueError(verb)


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _hook(plan: Plan) -> Any:
    count = 0

    def reached(name: str) -> None:
        nonlocal count
        count += 1
        if plan["trace"]:
            _append(plan["trace"], name)
        if count == plan["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _append(path: str, line: str) -> None:
    """One write: a line is there whole or not at all, whenever the process is killed."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def _end_with(plan: Plan) -> None:
    """Carry out a plan and end this process, whatever happens: the loop of plans is the parent's."""
    status = 1
    try:
        carry_out(plan)
        status = 0
    except BaseException:  # noqa: BLE001 - it ends here, whatever it is
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Serve plans until stdin ends."""
    for line in sys.stdin:
        plan = json.loads(line)
        child = os.fork()
        if child == 0:
            _end_with(plan)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
