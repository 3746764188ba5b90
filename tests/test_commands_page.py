"""The reference of commands is that of the command line as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from sememe.cli import application

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_current(make: ModuleType) -> None:
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert written == make.page(), "a command has changed: run `make docs` and commit docs/commands.md"


def test_every_command_and_option_is_on_the_page(make: ModuleType) -> None:
    page = make.page()
    for name, command in get_command(application()).commands.items():  # type: ignore[attr-defined]
        assert f"## sememe {name}" in page
        for parameter in command.params:
            for option in [name for name in parameter.opts if name.startswith("--")]:
                assert f"`{option}`" in page
