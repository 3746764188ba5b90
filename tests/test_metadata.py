"""Metadata from files, sidecars, the command line and functions: what wins, what it costs, and types kept apart."""

from __future__ import annotations

import datetime
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import sememe
from sememe.cli import application
from sememe.cli.filling import meta_of
from sememe.errors import InputError, NotFound
from sememe.index.words import likely_languages
from sememe.ingest.about import Given
from sememe.sources import frontmatter, markdown
from sememe.space import CANARY_TEXTS
from sememe.store.records import Outside

GERMAN = (
    "Die Sitzung wurde von dem Vorsitzenden eröffnet, und er hat die Mitglieder begrüßt. Es ist nicht bekannt, wie "
    "lange sie noch dauern wird, aber alle sind mit dem Ergebnis zufrieden."
)
ENGLISH = (
    "The meeting was opened by the chair, and he has greeted all who were there. It is not known when it will end."
)


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a", "b", "c"):
        write(folder / f"{name}.txt", f"text of {name}")
    return folder


@pytest.fixture
def collection(tmp_path: Path, fake: FakeEmbedder) -> sememe.Collection:
    return sememe.open(tmp_path / ".sememe", model=fake)


def write(path: Path, text: str, *, age: float = 60) -> None:
    """A file that was last written `age` seconds ago: a fresher one might still change within its time stamp."""
    path.write_text(text, encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))


def describe(path: Path, fields: object, *, age: float = 50) -> None:
    write(path.with_name(f"{path.name}.metadata.json"), json.dumps(fields), age=age)


def metadata(collection: sememe.Collection, key: str = "docs/a.txt") -> dict[str, Any]:
    return dict(collection.get(key).document.metadata)


def remarks(collection: sememe.Collection) -> dict[str, tuple[str, ...]]:
    return {row.key: row.remarks for row in collection.ledger() if row.remarks}


def found(collection: sememe.Collection, where: dict[str, Any]) -> set[str]:
    return {hit.document for hit in collection.search("text", k=100, where=where)}


def test_a_file_says_when_it_was_written_how_large_it_is_and_its_suffix(
    collection: sememe.Collection, folder: Path
) -> None:
    os.utime(folder / "a.txt", (1_700_000_000, 1_700_000_000))
    collection.sync(folder)
    fields = metadata(collection)
    assert (fields["modified"], fields["bytes"], fields["suffix"]) == ("2023-11-14T22:13:20+00:00", 9, ".txt")
    assert found(collection, {"modified": {"$lt": datetime.date(2024, 1, 1)}}) == {"docs/a.txt"}


def test_a_touched_file_has_the_new_time_and_is_not_embedded(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder
) -> None:
    collection.sync(folder)
    calls = fake.calls
    os.utime(folder / "a.txt", (1_700_000_000, 1_700_000_000))
    assert collection.sync(folder).unchanged == 3
    assert fake.calls == calls
    assert metadata(collection)["modified"].startswith("2023-11-14")
    assert found(collection, {"modified": {"$lt": datetime.date(2024, 1, 1)}}) == {"docs/a.txt"}


def test_the_call_wins_over_the_sidecar_and_the_sidecar_over_the_file(
    collection: sememe.Collection, folder: Path
) -> None:
    describe(folder / "a.txt", {"suffix": "sidecar", "year": 1999, "team": "x"})
    collection.add_files(folder, metadata={"year": 2024})
    fields = metadata(collection)
    assert (fields["suffix"], fields["year"], fields["team"]) == ("sidecar", 2024, "x")
    assert "docs/a.txt.metadata.json" not in {row.key for row in collection.ledger()}


def test_a_function_says_something_of_each_file_and_its_dates_become_strings(
    collection: sememe.Collection, folder: Path
) -> None:
    collection.add_files(folder, metadata=lambda p: {"stem": p.stem, "day": datetime.date(2024, 5, 1)})
    assert (metadata(collection)["stem"], metadata(collection)["day"]) == ("a", "2024-05-01")
    assert collection.report().fields["day"] == "date"


def test_a_changed_sidecar_is_stored_and_found_without_one_call_of_the_encoder(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder
) -> None:
    describe(folder / "a.txt", {"year": 1999})
    collection.sync(folder)
    calls = fake.calls
    describe(folder / "a.txt", {"year": 2024}, age=30)
    summary = collection.sync(folder)
    assert (summary.described, summary.unchanged, summary.documents, summary.embedded) == (1, 3, 0, 0)
    assert fake.calls == calls
    assert found(collection, {"year": 2024}) == {"docs/a.txt"}
    assert found(collection, {"year": 1999}) == set()
    (folder / "a.txt.metadata.json").unlink()
    assert collection.sync(folder).described == 1
    assert "year" not in metadata(collection)
    assert len(set(fake.texts)) == len({"text", "text of a", "text of b", "text of c"} | set(CANARY_TEXTS))


def test_what_the_filter_columns_hold_follows_the_metadata(tmp_path: Path, folder: Path, fake: FakeEmbedder) -> None:
    write(folder / "a.txt", "\n\n".join(f"paragraph {i} " + "word " * 50 for i in range(1200)))
    with sememe.open(tmp_path / ".sememe", model=fake) as collection:
        collection.sync(folder, metadata={"year": 1999})
        collection.optimize()
        calls = fake.calls
        collection.sync(folder, metadata={"year": 2024})
        assert len(collection.search("text", k=9, where={"year": 2024})) == 9
        assert not collection.search("text", k=9, where={"year": 1999})
        assert fake.calls == calls + 2, "the two queries"


def test_a_sync_of_an_unchanged_folder_with_sidecars_opens_no_file(
    collection: sememe.Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(folder / "a.txt", {"year": 2024})
    collection.sync(folder, metadata={"team": "x"})
    opened: list[str] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or original(self, *a, **k))
    again = collection.sync(folder, metadata={"team": "x"})
    assert (again.unchanged, again.described) == (3, 0)
    assert not [name for name in opened if name.endswith((".txt", ".json"))]


def test_what_a_call_gave_stays_through_later_calls_changes_and_renames(
    collection: sememe.Collection, folder: Path
) -> None:
    collection.sync(folder, metadata={"team": "x", "year": 2024})
    write(folder / "a.txt", "another text", age=40)
    (folder / "b.txt").rename(folder / "d.txt")
    collection.sync(folder, metadata={"year": 2025})
    for key in ("docs/a.txt", "docs/c.txt", "docs/d.txt"):
        assert (metadata(collection, key)["team"], metadata(collection, key)["year"]) == ("x", 2025)
    collection.sync(folder, metadata={"team": None})
    assert "team" not in metadata(collection)


def test_a_title_from_outside_is_the_title_of_the_document_until_it_goes(
    collection: sememe.Collection, folder: Path
) -> None:
    describe(folder / "a.txt", {"title": "Annual report"})
    collection.sync(folder)
    assert collection.get("docs/a.txt").document.title == "Annual report"
    (folder / "a.txt.metadata.json").unlink()
    collection.sync(folder)
    assert collection.get("docs/a.txt").document.title == "a"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "one object"),
        ('{"a": NaN}', "NaN"),
        ('{"$a": 1}', "$a"),
        ("\xff", "not JSON"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_in_the_ledger_and_what_was_stored_stays(
    collection: sememe.Collection, folder: Path, content: str, said: str
) -> None:
    describe(folder / "a.txt", {"year": 2024})
    collection.sync(folder)
    (folder / "a.txt.metadata.json").write_bytes(content.encode("latin-1"))
    for _ in range(2):
        assert collection.sync(folder).failed == 1
        (row,) = [row for row in collection.report().troubles if row.status == "failed"]
        assert row.key == "docs/a.txt.metadata.json"
        assert said in row.reason
        assert metadata(collection)["year"] == 2024
    describe(folder / "a.txt", {"year": 2025}, age=20)
    assert collection.sync(folder).failed == 0
    assert not collection.report().troubles
    assert metadata(collection)["year"] == 2025


def test_a_sidecar_without_a_file_beside_it_is_a_document(collection: sememe.Collection, folder: Path) -> None:
    describe(folder / "gone.txt", {"year": 2024})
    assert collection.sync(folder).documents == 4


def test_a_file_that_is_named_by_itself_has_its_sidecar_too(collection: sememe.Collection, folder: Path) -> None:
    describe(folder / "a.txt", {"year": 2024})
    collection.add_files(folder / "a.txt")
    assert metadata(collection)["year"] == 2024


def test_the_documents_in_an_archive_have_what_is_said_of_it_without_reading_it_again(
    collection: sememe.Collection, folder: Path, fake: FakeEmbedder
) -> None:
    box = folder / "box.zip"
    with zipfile.ZipFile(box, "w") as file:
        for i in range(5):
            file.writestr(f"{i}.txt", f"words of member {i}")
    os.utime(box, (1_700_000_000, 1_700_000_000))
    describe(box, {"year": 1999})
    collection.sync(folder)
    parts = {hit.document for hit in collection.search("words", k=100, where={"year": 1999})}
    calls = len(fake.texts)
    describe(box, {"year": 2024}, age=30)
    assert collection.sync(folder).described == 5
    assert found(collection, {"year": 2024}) == parts
    assert len([text for text in fake.texts[calls:] if text.startswith("words of member")]) == 0


def test_a_field_of_another_type_is_remarked_on_once_and_the_remark_goes_with_its_cause(
    collection: sememe.Collection, folder: Path
) -> None:
    for name, year in (("a", 2023), ("b", 2024), ("c", "n.d.")):
        describe(folder / f"{name}.txt", {"year": year, "tags": [1, 2]})
    assert collection.sync(folder).mistyped == 1
    assert remarks(collection) == {
        "docs/c.txt": ("metadata: year is a string here ('n.d.'), and a number in this collection",)
    }
    assert collection.report().fields["year"] == "number"
    describe(folder / "c.txt", {"year": 2025}, age=20)
    assert collection.sync(folder).mistyped == 0
    assert remarks(collection) == {}


def test_a_type_that_nobody_holds_any_more_gives_way(collection: sememe.Collection, folder: Path) -> None:
    describe(folder / "a.txt", {"year": "n.d."})
    describe(folder / "b.txt", {"year": 2024})
    assert collection.sync(folder).mistyped == 1
    describe(folder / "a.txt", {"year": 2023}, age=20)
    assert collection.sync(folder).mistyped == 0
    assert remarks(collection) == {}
    assert collection.report().fields["year"] == "number"


def test_strict_refuses_a_field_of_another_type_and_keeps_the_version_before(
    collection: sememe.Collection, folder: Path
) -> None:
    describe(folder / "a.txt", {"year": 2023})
    describe(folder / "b.txt", {"year": 2024})
    collection.sync(folder)
    describe(folder / "b.txt", {"year": "n.d."}, age=20)
    write(folder / "d.txt", "new")
    describe(folder / "d.txt", {"year": "unknown"})
    summary = collection.sync(folder, metadata=Given({}, strict=True))
    assert summary.failed == 2
    rows = {row.key: row.reason for row in collection.report().troubles}
    assert "year is a string here ('n.d.'), and a number" in rows["docs/b.txt"]
    assert metadata(collection, "docs/b.txt")["year"] == 2024
    with pytest.raises(NotFound):
        collection.get("docs/d.txt").document  # noqa: B018


def test_given_records_are_typed_too(collection: sememe.Collection) -> None:
    collection.add([{"id": "1", "text": "x", "metadata": {"n": 1, "day": "2024-01-01", "o": {"p": True}}}])
    summary = collection.add([{"id": "2", "text": "y", "metadata": {"n": "one", "day": "someday", "o": {"p": 1}}}])
    assert summary.mistyped == 1
    assert collection.report().fields == {"day": "date", "n": "number", "o.p": "boolean"}
    assert len(remarks(collection)["2"]) == 3


@pytest.mark.parametrize("bad", [3, "text", [1], {"x": float("nan")}, {"x": {1, 2}}, {"": 1}, {"a.b": 1}, {"@key": 1}])
def test_metadata_that_cannot_be_used_is_refused(collection: sememe.Collection, folder: Path, bad: Any) -> None:
    with pytest.raises(InputError):
        collection.sync(folder, metadata=bad)
    if isinstance(bad, dict):
        with pytest.raises(InputError, match=r"a\.txt"):
            collection.sync(folder, metadata=lambda path: bad)


def test_the_command_line_types_its_values() -> None:
    pairs = [
        "i=3",
        "f=2.5",
        "b=true",
        "d=2024-05-01",
        "s=two words",
        'q="7"',
        'l=["a", 1]',
        "o.p=1",
        "o.q=x",
        "z=007",
    ]
    assert meta_of(pairs) == {
        "i": 3, "f": 2.5, "b": True, "d": "2024-05-01", "s": "two words", "q": "7", "l": ["a", 1],
        "o": {"p": 1, "q": "x"}, "z": "007",
    }  # fmt: skip


@pytest.mark.parametrize("pair", [["year"], ["=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a={"], ["a=NaN"], ["$a=1"]])
def test_a_pair_that_cannot_be_used_is_refused(pair: list[str]) -> None:
    with pytest.raises(InputError):
        meta_of(pair)


def test_the_command_takes_metadata_and_lists_the_fields(
    collection: sememe.Collection, folder: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeEmbedder
) -> None:
    monkeypatch.setattr("sememe.collection.load_model", lambda *_, **__: fake)
    monkeypatch.chdir(folder.parent)
    runner = CliRunner()
    done = runner.invoke(application(), ["add", "docs", "--meta", "year=2024", "--json"])
    assert done.exit_code == 0, done.output
    listed = runner.invoke(application(), ["report", "--fields", "--json"])
    assert {"field": "year", "type": "number"} in [json.loads(line) for line in listed.stdout.splitlines()]
    strict = runner.invoke(application(), ["sync", "docs", "--meta", "year=soon", "--strict"])
    assert strict.exit_code == 3
    assert metadata(collection)["year"] == 2024


class EnglishOnly(FakeEmbedder):
    """An embedder whose card names its language."""

    languages = ("en",)


def test_a_document_in_a_language_that_the_model_does_not_know_leaves_one_remark(tmp_path: Path, folder: Path) -> None:
    write(folder / "a.txt", "\n\n".join([GERMAN] * 20))
    write(folder / "b.txt", ENGLISH)
    write(folder / "c.txt", "こんにちは、世界。これは日本語の文章です。")
    write(folder / "d.txt", "x = 3; y = die(der, das)")
    write(folder / "e.txt", "bref")
    describe(folder / "e.txt", {"language": "fr-CA"})
    with sememe.open(tmp_path / ".sememe", model=EnglishOnly()) as collection:
        collection.sync(folder)
        said = remarks(collection)
    assert {key: len(lines) for key, lines in said.items()} == {"docs/a.txt": 1, "docs/c.txt": 1, "docs/e.txt": 1}
    assert "'de'" in said["docs/a.txt"][0]
    assert "says that it is in 'fr'" in said["docs/e.txt"][0]


def test_a_model_that_does_not_say_its_languages_is_not_remarked_on(
    collection: sememe.Collection, folder: Path
) -> None:
    write(folder / "a.txt", GERMAN)
    collection.sync(folder)
    assert remarks(collection) == {}


def test_the_default_model_says_its_languages(model: Any) -> None:
    assert model.languages == ("en",)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GERMAN, "de"), (ENGLISH, "en"), ("", None), ("def f(x): return x", None),
        ("Это предложение на русском языке.", "ru"), ("Αυτό είναι ένα κείμενο.", "el"), ("这是一个句子。", "zh"),
        ("La reunión fue abierta por el presidente, y no se sabe cuándo va a terminar ni con qué resultado.", "es"),
        ("La réunion a été ouverte par le président, et on ne sait pas quand elle va finir avec les autres.", "fr"),
    ],
)  # fmt: skip
def test_languages_are_told_where_they_are_plain_to_see(text: str, language: str | None) -> None:
    assert likely_languages(text)[:1] == (() if language is None else (language,))


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
FIELDS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(FIELDS, FIELDS, FIELDS)
@settings(max_examples=200, deadline=None)
def test_a_later_layer_wins_and_none_takes_away(
    own: dict[str, Any], side: dict[str, Any], said: dict[str, Any]
) -> None:
    merged = Outside(sidecar=side, given=said).over(own)
    for name in "abc":
        layers = [layer for layer in (said, side) if name in layer]
        if layers and layers[0][name] is None:
            assert name not in merged
        elif layers or name in own:
            assert merged[name] == (layers[0] if layers else own)[name]
        else:
            assert name not in merged


# --- front matter -------------------------------------------------------------------------------------------


def test_front_matter_is_metadata_of_the_document_itself(collection: sememe.Collection, folder: Path) -> None:
    head = "title: A walk\nauthor: [Ada, Bob]\ndate: 2024-05-01\ntags:\n  - hills\n  - rain\nlang: en\ndraft: false"
    write(folder / "walk.md", f"---\n{head}\nyear: 2024\n---\n\n# Heading\n\nIt rained.\n")
    write(folder / "walk.md.metadata.json", '{"year": 2025}')
    collection.add_files(folder)
    document = collection.get("docs/walk.md").document
    assert document.title == "A walk"
    fields = document.metadata
    assert (fields["author"], fields["tags"], fields["draft"]) == (["Ada", "Bob"], ["hills", "rain"], False)
    assert (fields["date"], fields["language"], fields["year"]) == ("2024-05-01", "en", 2025)
    hits = collection.search("It rained.", where={"tags": "hills", "date": {"$gte": "2024-01-01"}})
    assert {hit.document for hit in hits} == {"docs/walk.md"}


def front(text: str) -> tuple[dict[str, Any], list[str]]:
    remarks: list[str] = []
    return frontmatter.fields(text, remarks), remarks


def test_scalars_of_front_matter_are_what_they_look_like_today() -> None:
    text = "a: no\nb: 'true'\nc: 1.5\nd: ~\ne: |\n  two\n  lines\nf: 12:30:00\ng: {h: [1, x]}\ni: 007\n# said\n"
    assert front(text) == (
        {
            "a": "no",
            "b": "true",
            "c": 1.5,
            "d": None,
            "e": "two\nlines\n",
            "f": "12:30:00",
            "g": {"h": [1, "x"]},
            "i": 7,
        },
        [],
    )


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("title: Go: the language\nyear: 2024\n", {"title": "Go: the language", "year": 2024}, "line 2"),
        ("a: &a [1]\nb: &b [*a, *b]\nc: plain\n", {"c": "plain"}, "deeper than 8"),
        ("a: &a [" + "1," * 300 + "]\nb: [*a, *a, *a, *a]\nc: plain\n", {"c": "plain"}, "more than 1000"),
        ("a: !!python/object/apply:os.system [x]\n", {"a": ["x"]}, ""),
        ("- a\n- b\n", {}, "no names"),
        ("? [1, 2]\n: x\n", {}, "a list or an object"),
        ("a.b: 1\n$c: 2\nd: 3\n", {"d": 3}, "'a.b' was left out"),
        ('a: "\\ud800"\n', {"a": "?"}, None),
        ("a: \x07\n", {"a": "\x07"}, "not YAML"),
    ],
)
def test_what_is_no_metadata_in_front_matter_is_left_with_a_remark(
    text: str, found: dict[str, Any], said: str | None
) -> None:
    fields, remarks = front(text)
    if said is None:  # whether this is YAML depends on which parser is built in
        json.dumps(fields).encode()
        fields["a"].encode()
        return
    assert fields == found
    assert said in " ".join(remarks)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_front_matter_gives_what_json_holds(text: str) -> None:
    fields, _ = front(text)
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields


def test_a_remark_on_front_matter_is_in_the_ledger(collection: sememe.Collection, folder: Path) -> None:
    write(folder / "a.md", "---\ntitle: Go: the language\n---\ntext\n")
    collection.add_files(folder)
    remarks = {row.key: row.remarks for row in collection.report().troubles}["docs/a.md"]
    assert "front matter" in remarks[0]
    assert collection.get("docs/a.md").document.title == "Go: the language"


def test_comments_may_come_first_in_front_matter_and_a_rule_is_none() -> None:
    text = "---\n# For a card\n\nlicense: mit\n---\n# Title\n"
    assert markdown.metadata(text, []) == {"license": "mit"}
    assert "".join(block.text for block in markdown.blocks([text], [])) == text
    assert markdown.metadata("---\n# Title\n\ntext\n\n---\nlicense: mit\n---\n", []) == {}


# --- sidecars of what has not changed -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[1, 2]", "{", "3"])
def test_a_sidecar_that_breaks_is_in_the_ledger_although_its_document_has_not_changed(
    collection: sememe.Collection, folder: Path, text: str
) -> None:
    write(folder / "a.txt.metadata.json", '{"year": 2024}')
    write(folder / "empty.txt", "")
    collection.sync(folder)
    write(folder / "a.txt.metadata.json", text, age=30)
    write(folder / "empty.txt.metadata.json", text)
    for _ in range(2):
        summary = collection.sync(folder)
        assert (summary.unchanged, summary.documents) == (3, 0)
        failed = {row.key for row in collection.report().troubles if row.status == "failed"}
        assert failed == {"docs/a.txt.metadata.json", "docs/empty.txt.metadata.json"}
    write(folder / "a.txt.metadata.json", '{"year": 2025}', age=10)
    write(folder / "empty.txt.metadata.json", "{}", age=10)
    collection.sync(folder)
    assert not [row for row in collection.report().troubles if row.status == "failed"]
