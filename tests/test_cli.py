"""The command line as a person types it: real processes, the real model, what they print and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sememe.models.encoder import TextEncoder

GUIDE = "# House\n\nAbout houses.\n\n## Water\n\nThe plumber replaced a dripping faucet in the kitchen.\n"
LAW = "Parliament passed the budget after a long night of debate."


def sememe(
    *arguments: str | Path, cwd: Path, status: int = 0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line; fail the test when it ends with another status."""
    command = [sys.executable, "-m", "sememe.cli", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}, timeout=120
    )
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    """Every line of the output as JSON."""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: TextEncoder) -> Path:
    """A folder with documents and a collection of them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "docs").mkdir()
    (folder / "docs" / "house.md").write_text(GUIDE)
    (folder / "docs" / "law.txt").write_text(LAW)
    (folder / "docs" / "empty.txt").write_text("")
    sememe("add", "docs", cwd=folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "project"))


def test_search_prints_the_nearest_chunk_first(made: Path) -> None:
    first = sememe("search", "fixing a leaky tap", cwd=made).stdout.splitlines()
    assert "docs/house.md > House" in first[0]
    assert "dripping faucet" in "".join(first[1:4])


def test_search_as_json_is_one_document_a_line(made: Path) -> None:
    hits = lines(sememe("search", "fixing a leaky tap", "--json", "-k", "2", cwd=made))
    assert len(hits) == 2
    assert hits[0]["document"] == "docs/house.md"
    assert {"id", "score", "text", "document", "span", "metadata", "kind"} <= set(hits[0])


def test_show_input_prints_the_exact_strings(made: Path) -> None:
    shown = sememe("search", "fixing a leaky tap", "--show-input", "-k", "1", cwd=made).stdout
    assert shown.startswith("query  fixing a leaky tap\n")
    assert "    House\n    ## Water\n" in shown
    previewed = sememe("add", "docs", "--show-input", "--dry-run", "--collection", "other", cwd=made).stdout
    assert "--- docs/house.md\nHouse\n## Water\n\nThe plumber" in previewed


def test_a_dry_run_counts_and_writes_nothing(made: Path) -> None:
    done = sememe("add", "docs", "--dry-run", "--json", "--collection", "fresh", cwd=made)
    (summary,) = lines(done)
    assert (summary["documents"], summary["chunks"], summary["skipped"]) == (2, 3, 1)
    assert not (made / "fresh").exists()


def test_what_a_dry_run_counts_is_what_an_add_does(project: Path) -> None:
    (project / "more.md").write_text(GUIDE * 40)
    (planned,) = lines(sememe("add", "more.md", "--dry-run", "--json", cwd=project))
    (done,) = lines(sememe("add", "more.md", "--json", cwd=project))
    assert [planned[name] for name in ("documents", "chunks", "tokens")] == [
        done[name] for name in ("documents", "chunks", "tokens")
    ]


def test_sync_deletes_what_is_gone(project: Path) -> None:
    (project / "docs" / "law.txt").unlink()
    (planned,) = lines(sememe("sync", "docs", "--dry-run", "--json", cwd=project))
    assert planned["deleted"] == 1
    (summary,) = lines(sememe("sync", "docs", "--json", cwd=project))
    assert summary["deleted"] == 1
    assert len(lines(sememe("search", "law", "--json", cwd=project))) == 2


def test_get_prints_the_text_as_it_was_read(made: Path) -> None:
    assert sememe("get", "docs/house.md", cwd=made).stdout == GUIDE
    (record,) = lines(sememe("get", "docs/house.md", "--json", cwd=made))
    assert record["text"] == GUIDE
    hit = lines(sememe("search", "tap", "--json", "-k", "1", cwd=made))[0]
    assert sememe("get", str(hit["id"]), cwd=made).stdout.strip() == hit["text"]


def test_delete_takes_the_path_from_any_folder(project: Path) -> None:
    collection = project / ".sememe"
    sememe("delete", "house.md", "--collection", collection, cwd=project / "docs")
    assert lines(sememe("search", "tap", "--json", cwd=project))[0]["document"] == "docs/law.txt"


def test_report_lists_what_did_not_end_as_it_should(made: Path) -> None:
    shown = sememe("report", cwd=made).stdout
    assert re.search(r"^documents +2$", shown, re.MULTILINE)
    assert "skipped    docs/empty.txt: empty file" in shown
    totals, *rows = lines(sememe("report", "--json", "--all", cwd=made))
    assert (totals["documents"], len(rows)) == (2, 3)


def test_strict_ends_with_status_3_when_an_input_was_not_embedded(made: Path) -> None:
    sememe("report", "--strict", cwd=made, status=3)


def test_space_shows_what_the_vectors_are(made: Path) -> None:
    (space,) = lines(sememe("space", "--json", cwd=made))
    assert (space["model"], space["dim"], space["pooling"]) == ("all-MiniLM-L6-v2", 384, "mean")
    assert "all-MiniLM-L6-v2" in sememe("space", cwd=made).stdout


def test_optimize_writes_the_derived_files_anew(project: Path) -> None:
    before = {path.name for path in (project / ".sememe").glob("vectors-*.slab")}
    sememe("optimize", cwd=project)
    assert {path.name for path in (project / ".sememe").glob("vectors-*.slab")}.isdisjoint(before)


def test_the_collection_is_named_by_the_environment(made: Path, tmp_path: Path) -> None:
    done = sememe("search", "tap", "--json", cwd=tmp_path, env={"SEMEME_COLLECTION": str(made / ".sememe")})
    assert lines(done)[0]["document"] == "docs/house.md"


def test_another_model_is_refused_with_both_names(made: Path, make_model_folder: Callable[..., Path]) -> None:
    folder = make_model_folder("another")
    error = sememe("search", "tap", "--model", folder, cwd=made, status=1).stderr
    assert error.count("\n") == 1
    for part in ("all-MiniLM-L6-v2", "another", "dim 384 against 32", "--model all-MiniLM-L6-v2"):
        assert part in error


def test_an_unknown_model_is_named_with_the_known_ones(made: Path, tmp_path: Path) -> None:
    error = sememe("add", made / "docs", "--model", "all-minilm-l6", cwd=tmp_path, status=1).stderr
    assert "all-MiniLM-L6-v2" in error


@pytest.mark.parametrize("command", ["search", "get", "delete", "report", "space", "optimize"])
def test_without_a_collection_the_next_step_is_said(command: str, tmp_path: Path) -> None:
    arguments = {"search": ["words"], "get": ["a"], "delete": ["a"]}.get(command, [])
    error = sememe(command, *arguments, cwd=tmp_path, status=1).stderr
    assert error == f"sememe: there is no collection at {tmp_path / '.sememe'}; make one with: sememe add PATH\n"
    assert not (tmp_path / ".sememe").exists()


def test_wrong_usage_ends_with_status_2(tmp_path: Path) -> None:
    assert "Missing argument" in sememe("search", cwd=tmp_path, status=2).stderr
    assert "No such option" in sememe("search", "x", "--nope", cwd=tmp_path, status=2).stderr
    assert "No such command" in sememe("serch", "x", cwd=tmp_path, status=2).stderr


def in_shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of Bash in which `sememe` is the command line."""
    line = f'sememe() {{ "{sys.executable}" -m sememe.cli "$@"; }}; set -o pipefail; {command}'
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_a_reader_that_goes_away_is_no_error(made: Path) -> None:
    for command in ("search tap --json", "report", "--help"):
        done = in_shell(f"sememe {command} | true", made)
        assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one_clear_line(made: Path) -> None:
    done = in_shell("sememe report > /dev/full", made)
    assert done.returncode == 1
    assert done.stderr == (
        "sememe: the output, or a file beside it, cannot be written (No space left on device); nothing that was stored "
        "is lost: make room and run it again\n"
    )


def test_closed_streams_change_no_status(made: Path) -> None:
    assert in_shell("sememe report >&-", made).returncode == 0
    assert in_shell("sememe report 2>&-", made).stdout.startswith("documents")
    assert in_shell("sememe get nothing 2>&-", made).returncode == 1
    assert in_shell("sememe nosuch >&- 2>&-", made).returncode == 2
    assert "holds no vector" in in_shell("sememe search --vector - <&-", made).stderr
    assert "something went wrong" not in in_shell("sememe model embed <&-", made).stderr


def test_a_name_with_a_line_break_stays_on_one_line(project: Path) -> None:
    (project / "two\nlines.txt").write_text("a name over two lines")
    sememe("add", "two\nlines.txt", cwd=project)
    shown = sememe("search", "a name over two lines", "-k", "1", cwd=project).stdout
    assert "two\\nlines.txt" in shown.splitlines()[0]


def test_show_input_with_add_needs_a_dry_run(made: Path) -> None:
    assert "--dry-run" in sememe("add", "docs", "--show-input", cwd=made, status=1).stderr


def test_a_dry_run_obeys_whole_and_strict(project: Path) -> None:
    (project / "long.txt").write_text("word " * 1000)
    done = sememe("add", "long.txt", "--whole", "--dry-run", "--strict", "--json", cwd=project, status=3)
    (summary,) = lines(done)
    assert (summary["chunks"], summary["truncated"], summary["tokens"]) == (1, 1, 256)


def test_strict_sees_what_was_truncated_the_last_time(project: Path) -> None:
    (project / "long.txt").write_text("word " * 1000)
    assert "1002 tokens" in sememe("add", "long.txt", "--whole", "--strict", cwd=project, status=3).stderr
    assert "1002 tokens" in sememe("add", "long.txt", "--whole", "--strict", cwd=project, status=3).stderr


def test_a_run_lists_its_own_troubles_only(project: Path) -> None:
    (project / "other").mkdir()
    (project / "other" / "fine.txt").write_text("fine")
    assert "empty.txt" not in sememe("add", "other", cwd=project).stderr


def test_a_command_that_fails_leaves_no_collection_behind(tmp_path: Path) -> None:
    sememe("add", "nowhere", cwd=tmp_path, status=1)
    sememe("sync", "nowhere", cwd=tmp_path, status=1)
    (tmp_path / "a.txt").write_text("words")
    sememe("add", "a.txt", "--model", "nobody", cwd=tmp_path, status=1)
    empty = {"SEMEME_HOME": str(tmp_path / "home"), "SEMEME_OFFLINE": "1"}
    sememe("add", "a.txt", cwd=tmp_path, status=1, env=empty)
    assert not (tmp_path / ".sememe").exists()


def test_a_query_that_is_too_long_is_said_to_be(made: Path) -> None:
    assert "longer than the 254 tokens" in sememe("search", "zebra " * 300, cwd=made).stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert sememe("--version", cwd=tmp_path).stdout.startswith("sememe 0.")
