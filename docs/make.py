"""Writes docs/commands.md from the command line itself: `make docs`. A test tells when it is not current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption
from typer.main import get_command

from sememe.cli import __doc__ as about
from sememe.cli import application

PAGE = Path(__file__).with_name("commands.md")
HEAD = "# Commands\n\n<!-- written by docs/make.py from the command line itself: make docs -->\n"


def page() -> str:
    """The whole page."""
    root: Any = get_command(application())
    context = typer.Context(root, info_name="sememe")
    parts = [HEAD, " ".join(str(about).split("\n\n")[1].split()), ""]
    for name in root.list_commands(context):
        parts += section(root.get_command(context, name), f"sememe {name}", context)
    return "\n".join(parts)


def section(command: Any, path: str, above: Any) -> list[str]:
    """A command, or a group of commands one after the other."""
    context = typer.Context(command, info_name=path.rpartition(" ")[2], parent=above)
    if hasattr(command, "list_commands"):
        return [
            line for name in command.list_commands(context)
            for line in section(command.get_command(context, name), f"{path} {name}", context)
        ]  # fmt: skip
    named = [p for p in command.params if not isinstance(p, TyperOption)]
    options = [p for p in command.params if isinstance(p, TyperOption) and not p.hidden]
    shown = "".join(f" {metavar(p)}" for p in named)
    rows = [(f"`{metavar(p)}`", getattr(p, "help", "")) for p in named] + [(option_text(p), p.help) for p in options]
    table = ["| | |", "|---|---|", *(f"| {left} | {cell(right)} |" for left, right in rows), ""] if rows else []
    return [f"## {path}", "", cell(command.help), "", f"`{path}{shown}`", "", *table]


def metavar(parameter: Any) -> str:
    """What stands for a value."""
    if isinstance(parameter, TyperOption):
        kinds = {"int": "NUMBER", "float": "NUMBER", "path": "PATH"}
        return str(parameter.metavar or kinds.get(parameter.type.name.partition(" ")[0], "TEXT"))
    name = str(parameter.metavar or (parameter.name or "").upper())
    return name if name.endswith("...") or parameter.nargs == 1 else f"{name}..."


def option_text(option: Any) -> str:
    """The names of an option, what it takes, its environment name and its default."""
    names = ", ".join(f"`{name}`" for name in sorted([*option.opts, *option.secondary_opts], key=len, reverse=True))
    takes = "" if option.is_flag else f" {metavar(option)}"
    default = option.default
    plain = default not in (None, False, "", ()) and not callable(default)
    said = ", ".join(str(extra) for extra in (option.envvar, f"unless said: {default}" if plain else None) if extra)
    return cell(f"{names}{takes}{f' ({said})' if said else ''}")


def cell(text: str | None) -> str:
    """Text on one line of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
