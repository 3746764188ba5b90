"""The README does what it says: its Python example runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sememe.cli import application
from sememe.models.encoder import TextEncoder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs_and_finds_the_plumber(tmp_path: Path, model: TextEncoder) -> None:
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "tap  The plumber replaced a dripping faucet." in done.stdout


def test_every_shell_command_has_the_options_it_is_shown_with() -> None:
    shown = [
        line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines() if line[:7] == "sememe "
    ]
    assert len(shown) >= 8
    groups = {group.name for group in application().registered_groups}
    for _, command, *arguments in shown:
        path = [command, arguments[0]] if command in groups and arguments else [command]
        done = subprocess.run(
            [sys.executable, "-m", "sememe.cli", *path, "--help"], capture_output=True, text=True, check=True
        )
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in done.stdout


def test_every_link_to_a_file_leads_to_one() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_make_target_that_is_named_exists() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)", text)) - {"anything"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_tables_are_those_of_the_recorded_figures() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], check=False)
    assert done.returncode == 0, "run: python benchmarks/tables.py"
