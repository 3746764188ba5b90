"""The command line: one function a command, which parses, calls the library once and prints.

Results go to stdout (`--json`: one JSON document a line), progress and messages to stderr. Exit status: 0 done,
1 refused or failed with one sentence on stderr, 2 wrong usage, 3 `--strict` and an input was not embedded whole,
4 `eval gate` and a measure is too low, 130 interrupted, 143 terminated. An input that is skipped or fails ends
nothing: it is in the summary and the ledger.

Libraries for the terminal are imported where they are used, so that a search starts fast.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from sememe.errors import SememeError

__all__ = ["application", "main"]

COMMANDS = {
    "filling": ("add", "sync", "delete"),
    "asking": ("search", "similar", "get"),
    "explaining": ("explain", "why-not"),
    "tending": ("report", "optimize", "doctor"),
    "spaces": ("space",),
    "keeping": ("export", "import", "backup", "restore", "forget"),
    "models": ("model", "analogy", "rerank"),
    "evaluating": ("eval",),
    "hosted": ("hosted",),
}
"""The commands of each file of this room. Only the file of the command that was typed is loaded."""

WRONG_USAGE = 2
INTERRUPTED = 130
STOPPED = {INTERRUPTED: "interrupted", 143: "terminated"}


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sememe {version('sememe')}")
        raise typer.Exit


def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option("--precision", help="What a local model computes in: auto, f32, bf16 or int8.")
    ] = None,
) -> None:
    """Search your documents by meaning."""
    del version
    if precision is not None:
        from sememe.settings import known_precision

        os.environ["SEMEME_PRECISION"] = known_precision(precision, "--precision")


def application(wanted: str | None = None) -> typer.Typer:
    """The command line with all its commands, or with the one that is wanted alone, which is made sooner."""
    app = typer.Typer(
        name="sememe", add_completion=True, pretty_exceptions_enable=False,
        help="Search your documents by meaning.", rich_markup_mode=None,
    )  # fmt: skip
    app.callback()(every_command)
    alone = any(wanted in names for names in COMMANDS.values())
    for file, names in COMMANDS.items():
        for name in names:
            if alone and name != wanted:
                continue
            module = import_module(f"sememe.cli.{file}")
            made = getattr(module, f"{name}_" if iskeyword(name) else name.replace("-", "_"))
            if isinstance(made, typer.Typer):
                app.add_typer(made, name=name)
            else:
                app.command(name, cls=getattr(module, "PARSERS", {}).get(name))(made)
    return app


def main() -> None:
    """Run the command line; end the process with a status that means something."""
    _open_closed()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = sys.argv[1:] or ["--help"]
        status = application(arguments[0])(args=arguments, standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.__context__, BrokenPipeError):
            # The reader has gone (`sememe search … | head`): nothing to say, though typer calls it 1.
            status = 0
    except Exception as error:
        status = INTERRUPTED if _is_interrupt(error) else _say(error)
    if status in STOPPED:
        typer.echo(f"sememe: {STOPPED[status]}; what was stored stays: run the same command again to go on", err=True)
    _end(status)


def _open_closed() -> None:
    """Give streams that were closed (`>&-`) a place, so that no file of a collection gets their numbers, and an end."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))


def _end(status: int) -> NoReturn:
    """End at once: everything is closed, and to take the libraries of models down costs 0.04 s."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def _terminate(number: int, _frame: object) -> None:
    """Stop as Ctrl-C does: what is being written is given up, what was written stays."""
    raise SystemExit(128 + number)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a library that it interrupts while it is loaded raises one of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say(error: Exception) -> int:
    """Say an error in one sentence; the status that goes with it."""
    if isinstance(error, SememeError):
        typer.echo(f"sememe: {error}", err=True)
        return 1
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        if context is not None and error.message == context.get_help():
            # A group without a command of it: typer's message is the help.
            typer.echo(error.message, err=True)
            return WRONG_USAGE
        command = context.command_path if context else "sememe"
        typer.echo(f"sememe: {error.format_message().rstrip('.')}; see: {command} --help", err=True)
        return WRONG_USAGE
    if os.environ.get("SEMEME_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        what = str(error.filename) if error.filename is not None else "the output, or a file beside it,"
        typer.echo(
            f"sememe: {what} cannot be written ({error.strerror}); nothing that was stored is lost: make room and run "
            f"it again",
            err=True,
        )
        return 1
    name = type(error).__name__
    typer.echo(
        f"sememe: something went wrong that should not have ({name}: {error}). Nothing that was stored is lost; "
        f"run it again with SEMEME_DEBUG=1 to see where, and please report it",
        err=True,
    )
    return 1
