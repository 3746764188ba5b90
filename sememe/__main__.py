"""`sememe` and `python -m sememe`: the command line, and an end for Ctrl-C while its libraries are loaded."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in a job of the background
        signal.signal(signal.SIGINT, _end)
    from sememe.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _end(_number: int, _frame: object) -> None:
    """A KeyboardInterrupt would come out of a half loaded library, as an error of any kind."""
    os.write(2, b"sememe: interrupted before anything was done\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
