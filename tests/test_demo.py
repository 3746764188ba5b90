"""The demo's corpus is what it should be, and its questions share no word with what answers them.

Whether the searches find the right documents is what the demo itself shows; this file needs no model.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import snowballstemmer

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo"
QUERIES = [json.loads(line) for line in (DEMO / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
STOP_WORDS = {
    *("a", "an", "the", "this", "that", "these", "those"),
    *(
        "i",
        "me",
        "my",
        "we",
        "us",
        "our",
        "you",
        "your",
        "it",
        "its",
        "he",
        "him",
        "his",
        "she",
        "her",
        "they",
    ),
    *("them", "their", "who", "whom", "whose", "which", "what", "when", "where", "why", "how"),
    *(
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "into",
        "of",
        "off",
        "out",
        "over",
        "to",
        "up",
        "with",
        "without",
    ),
    *("about", "after", "before", "between", "through", "during", "until", "than", "as", "like"),
    *("am", "is", "are", "was", "were", "be", "been", "being", "do", "does", "did", "has", "have", "had"),
    *("can", "could", "will", "would", "shall", "should", "may", "might", "must"),
    *("and", "or", "nor", "but", "so", "if", "because", "while", "not", "no"),
}
"""English words that carry grammar and no topic."""


def load_corpus() -> types.ModuleType:
    """The demo's script as a module."""
    spec = importlib.util.spec_from_file_location("demo_corpus", DEMO / "corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = load_corpus()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of the running interpreter."""
    path = tmp_path_factory.mktemp("demo") / "stdlib"
    corpus.write(path)
    return path


def stems(text: str) -> set[str]:
    """The stems of all words that are not stop words; `TextWrapper` is also `text` and `wrapper`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    words = set(re.findall(r"[a-z0-9]+", f"{text} {parted}".lower()))
    return set(snowballstemmer.stemmer("english").stemWords(sorted(words - STOP_WORDS)))


def test_there_are_twenty_questions_about_twenty_documents() -> None:
    assert len(QUERIES) == 20
    assert all(set(row) == {"query", "document"} for row in QUERIES)
    assert len({row["query"] for row in QUERIES}) == len({row["document"] for row in QUERIES}) == 20


@pytest.mark.parametrize("row", QUERIES, ids=[row["document"] for row in QUERIES])
def test_a_question_shares_no_stem_with_the_document_that_answers_it(row: dict[str, str], folder: Path) -> None:
    document = folder / row["document"]
    asked, answered = stems(row["query"]), stems(f"{document.name}\n{document.read_text(encoding='utf-8')}")
    assert len(asked) >= 2, f"{row['query']!r} says nothing but {asked}"
    assert len(answered) >= 20
    assert not asked & answered


def test_stems_are_found_in_names_inflections_and_compound_identifiers() -> None:
    assert stems("The TextWrapper was wrapping_lines of it") == {
        "textwrapp",
        "text",
        "wrapper",
        "wrap",
        "line",
    }


def test_the_corpus_is_large_enough_to_search_and_small_enough_to_embed_in_a_minute(folder: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir()]
    headings = sum(len(re.findall(r"(?m)^#+ ", text)) for text in texts)
    assert 150 <= len(texts) <= 400
    assert headings >= 2000
    assert 500_000 <= sum(map(len, texts)) <= 900_000


def test_every_file_is_one_document_with_one_title_and_no_other_markup(folder: Path) -> None:
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.match(r"# \S", text), path.name
        assert len(re.findall(r"(?m)^ {0,3}# ", text)) == 1, path.name
        assert not re.search(r"(?m)^ {0,3}(```|~~~)", text), path.name


def test_two_interpreters_write_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        command = [sys.executable, "-W", "error", str(DEMO / "corpus.py"), str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        written.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) > 100


def test_modules_with_source_are_never_imported(tmp_path: Path) -> None:
    code = """
import sys, corpus
known = set(sys.modules)
corpus.write(corpus.Path(sys.argv[1]))
new = [sys.modules[name] for name in set(sys.modules) - known]
print(*(module.__name__ for module in new if (getattr(module, "__file__", "") or "").endswith(".py")))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=DEMO, check=True, capture_output=True, text=True)
    imported = {name.partition(".")[0] for name in done.stdout.split() if not name.startswith("_")}
    assert imported == {"pydoc_data"}


def test_a_later_run_leaves_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    (tmp_path / "kept.txt").write_text("not ours", encoding="utf-8")
    corpus.write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert "gone.md" not in names
    assert {"kept.txt", "heapq.md", "math.md", "topic-with.md"} <= names


def test_documentation_is_found_under_conditions_and_below_classes(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text(
        '"""About the module."""\n'
        "if True:\n    def f():\n        '''What f does.'''\n"
        "try:\n    pass\nexcept ImportError:\n    def never(): 'Not shown.'\n"
        "class C:\n    def bare(self): ...\n    def told(self): 'Told.'\n    def _own(self): 'Hidden.'\n",
        encoding="utf-8",
    )
    expected = [(0, "", "About the module."), (2, "f", "What f does."), (2, "C", ""), (3, "told", "Told.")]
    assert corpus.sections_of_source(source) == expected


def test_what_is_said_twice_is_kept_once_and_a_class_stands_above_its_methods() -> None:
    long, other = "Long enough to be worth a place.", "Another thing, just as long as that."
    sections = [
        (0, "", long),
        (2, "A", ""),
        (3, "f", other),
        (2, "B", ""),
        (3, "f", other),
        (3, "g", "Short."),
    ]
    assert corpus.worth_keeping(sections) == [(0, "", long), (2, "A", ""), (3, "f", other)]


def test_markup_inside_documentation_is_made_plain() -> None:
    text = "Usage\n-----\n# a comment\n    # code\n~~~\nend\n===\n"
    assert corpus.plain(text) == "Usage\n\\# a comment\n    # code\n\\~~~\nend"


def test_a_topic_keeps_its_title_and_its_parts() -> None:
    title, sections = corpus.topic_sections("Naming\n******\n\nFirst.\n\nScopes\n======\n\nSecond.\n")
    assert title == "Naming"
    assert [(level, heading, text.strip()) for level, heading, text in sections] == [
        (0, "", "First."),
        (2, "Scopes", "Second."),
    ]


def test_a_rank_counts_documents_and_not_their_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    run = importlib.import_module("run")
    found = ["stdlib/a.md", "stdlib/a.md", "stdlib/a.md", "docs/a.md", "stdlib/b.md", "stdlib/a.md", "stdlib/c.md"]
    ranks = [run.rank_of(found, f"stdlib/{name}.md") for name in "abcd"]
    assert ranks == [1, 3, 4, None]
    question = run.Question("?", "b.md")
    assert [run.Answer(question, rank, "", 0.0).right for rank in ranks] == [True, True, False, False]
    assert [row.query for row in run.read_questions()] == [row["query"] for row in QUERIES]


def test_the_last_line_says_what_to_type_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    run = importlib.import_module("run")
    monkeypatch.setattr(sys, "executable", str(run.ROOT / ".venv" / "bin" / "python"))
    assert run.next_command() == '.venv/bin/sememe search "your own question" --collection .demo/collection'
    assert run.within(run.ROOT, "/elsewhere/x.md") == "/elsewhere/x.md"
