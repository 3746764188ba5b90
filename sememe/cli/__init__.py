"""The command line: one function a command, which parses, calls the library once and prints.

Results go to stdout (`--json`: one JSON document a line), progress and messages to stderr. Exit status: 0 done,
1 refused or failed with one sentence on stderr, 2 wrong usage, 3 `--strict` and an input was not embedded whole,
130 interrupted, 143 terminated. Libraries for the terminal are imported where they are used, so that a search
starts fast.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from sememe.cli.asking import get, search, similar
from sememe.cli.explaining import explain, why_not
from sememe.cli.filling import add, delete, sync
from sememe.cli.hosted import hosted
from sememe.cli.keeping import backup, export, forget, import_, restore
from sememe.cli.models import analogy, rerank
from sememe.cli.models import app as model_app
from sememe.cli.spaces import app as space_app
from sememe.cli.tending import doctor, optimize, report
from sememe.errors import SememeError

__all__ = ["app", "main"]

app = typer.Typer(
    name="sememe", add_completion=True, pretty_exceptions_enable=False,
    help="Search your documents by meaning.", rich_markup_mode=None,
)  # fmt: skip
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
) -> None:
    """Search your documents by meaning."""


app.callback()(every_command)
COMMANDS = (
    *(add, sync, delete, search, explain, similar, get, report, optimize, doctor),
    *(export, backup, restore, forget, hosted, analogy, rerank),
)
for command in COMMANDS:
    app.command()(command)
app.command("import")(import_)
app.command("why-not")(why_not)
app.add_typer(model_app, name="model")
app.add_typer(space_app, name="space")


def main() -> None:
    """Run the command line; end the process with a status that means something."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as end:
        status = end.code
    except BrokenPipeError:
        # The reader has gone (`sememe search … | head`): nothing to say, and no second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except SememeError as error:
        typer.echo(f"sememe: {error}", err=True)
        status = 1
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "sememe"
        typer.echo(f"sememe: {error.format_message().rstrip('.')}; see: {command} --help", err=True)
        status = WRONG_USAGE
    except Exception as error:
        status = _unexpected(error)
    if status in STOPPED:
        typer.echo(f"sememe: {STOPPED[status]}; what was stored stays: run the same command again to go on", err=True)
    sys.exit(status)


def _terminate(number: int, _frame: object) -> None:
    """Stop as Ctrl-C does: what is being written is given up, what was written stays."""
    raise SystemExit(128 + number)


def _unexpected(error: Exception) -> int:
    if os.environ.get("SEMEME_DEBUG"):
        raise error
    name = type(error).__name__
    typer.echo(
        f"sememe: something went wrong that should not have ({name}: {error}). Nothing that was stored is lost; "
        f"run it again with SEMEME_DEBUG=1 to see where, and please report it",
        err=True,
    )
    return 1
