"""One contract for words in files, in the tail and in both, with a naive BM25 as the oracle; analysis; and damage."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sememe import failpoints
from sememe.errors import StoreBusy
from sememe.index import lexical, segments
from sememe.index.lexical import Entry, LexicalDamaged, LexicalIndex, Tail, remove_others, write
from sememe.index.tail import MOST_TERMS
from sememe.index.words import analysed_entry, asked, stemmer_language, words
from sememe.types import Ids, Scores

ROOT = Path(__file__).resolve().parents[1]
NOUNS = (
    "apple", "river", "stone", "window", "garden", "letter", "market", "engine", "bridge", "forest", "signal", "saddle",
    "copper", "harbor", "planet",
)  # fmt: skip

Search = Callable[..., tuple[Ids, Scores]]


def entry(chunk: int, body: str, *, title: str = "", headings: tuple[str, ...] = (), language: str = "en") -> Entry:
    """A chunk in English."""
    return Entry(chunk, title, headings, body, language)


def some_entries(number: int, *, seed: int = 0, first: int = 1) -> list[Entry]:
    """Entries of a few words each, frequent ones and rare ones, some of them alike."""
    rng = np.random.default_rng(seed)
    odds = 1 / np.arange(1, len(NOUNS) + 1)
    bodies = [" ".join(rng.choice(NOUNS, rng.integers(1, 12), p=odds / odds.sum())) for _ in range(number)]
    return [entry(first + i, body, title="apple letter" if i % 7 == 0 else "") for i, body in enumerate(bodies)]


def made(folder: Path, entries: Sequence[Entry]) -> LexicalIndex:
    """An index of the entries, in files of its own."""
    return opened(folder, write(folder, None, added=entries, deleted=[], seq=1, threads=2))


def opened(folder: Path, generation: str) -> LexicalIndex:
    """The index, which must be sound."""
    index = LexicalIndex.open(folder, generation)
    assert index is not None
    return index


def found(search: Search, query: str, *, k: int = 100) -> list[int]:
    """The chunks that are found, best first."""
    return search(query, k=k)[0].tolist()


def oracle(query: str, entries: Sequence[Entry], *, measured: Sequence[Entry] | None = None) -> dict[int, float]:
    """BM25 written down as it is defined. The average length is that of `measured`, the rows in files, and the stamp
    of a file counts as a row of one term."""
    terms = {e.chunk: [term for part in analysed_entry(e)[1] for term in part.terms] for e in entries}
    stamp = int(measured is not None)
    lengths = [len(terms[e.chunk]) for e in (entries if measured is None else measured)]
    average = (sum(lengths) + stamp) / (len(lengths) + stamp)
    number = len(entries) + stamp
    scores: Counter[int] = Counter()
    for term, times in asked(query, {"en"}).weights.items():
        frequency = sum(term in held for held in terms.values())
        weight = math.log(1 + (number - frequency + 0.5) / (frequency + 0.5))
        for chunk, held in terms.items():
            if term in held:
                count = held.count(term)
                scores[chunk] += times * weight * 2.2 * count / (count + 1.2 * (0.25 + 0.75 * len(held) / average))
    return dict(scores)


def assert_like_the_oracle(search: Search, query: str, expected: dict[int, float], k: int) -> None:
    """The same scores as the oracle's, best first, and equal ones by ascending id."""
    ids, scores = search(query, k=k)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert len(ids) == len(set(ids.tolist())) == min(k, len(expected))
    np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:k], rtol=1e-5)
    np.testing.assert_allclose(scores, [expected[i] for i in ids.tolist()], rtol=1e-5)
    assert np.array_equal(np.lexsort((ids, -scores)), np.arange(len(ids)))


# --- one contract for rows in files, in the tail, and in both ---------------------------------------------


@pytest.fixture(params=["files", "tail", "half and half", "files of several commits"])
def searching(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Sequence[Entry]], Search]:
    """Makes rows searchable in one of the ways in which they can be."""

    def make(entries: Sequence[Entry]) -> Search:
        if request.param == "tail":
            return Tail().changed(entries).search
        if request.param == "files":
            return made(tmp_path, entries).search
        if request.param == "half and half":
            index, tail = made(tmp_path, entries[::2]), Tail()
            for one in entries[1::2]:
                tail = tail.changed([one])

            def search(query: str, *, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
                return index.search(query, k=k, allowed=allowed, tail=tail)

            return search
        generation = None
        for start in range(0, len(entries), max(1, len(entries) // 4)):
            part = entries[start : start + max(1, len(entries) // 4)]
            generation = write(tmp_path, generation, added=part, deleted=[], seq=start, threads=1)
        return opened(tmp_path, generation or write(tmp_path, None, added=[], deleted=[], seq=0, threads=1)).search

    return make


def test_rows_are_ranked_by_bm25_wherever_they_are(tmp_path: Path) -> None:
    entries = some_entries(120)
    in_files, in_tail = entries[:70], entries[70:]
    index, tail = made(tmp_path, in_files), Tail().changed(in_tail)

    def both(query: str, *, k: int) -> tuple[Ids, Scores]:
        return index.search(query, k=k, tail=tail)

    for query in ("apple", "river stone", "saddle planet apple letters", "stone stone window", "unknown apple"):
        for k in (1, 5, 40, 1000):
            assert_like_the_oracle(index.search, query, oracle(query, in_files, measured=in_files), k)
            assert_like_the_oracle(tail.search, query, oracle(query, in_tail), k)
            assert_like_the_oracle(both, query, oracle(query, entries, measured=in_files), k)


def test_a_larger_k_extends_a_smaller_one(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching(some_entries(300, seed=1))
    for query in ("apple", "river stone", "stone window apple garden"):
        everything = found(search, query, k=1000)
        assert len(everything) > 100
        for k in (1, 2, 7, 50, 100):
            assert found(search, query, k=k) == everything[:k]


def test_only_allowed_chunks_are_returned_few_or_many(searching: Callable[[Sequence[Entry]], Search]) -> None:
    entries = some_entries(5000, seed=2)
    search = searching(entries)
    everything, scores = search("river stone planet", k=5000)
    for number in (0, 1, 30, 1990, 2100, 4000):
        allowed = np.sort(np.random.default_rng(number).choice(5000, number, replace=False) + 1).astype(np.int64)
        kept = np.isin(everything, allowed)
        for k in (5, 100, 5000):
            ids, got = search("river stone planet", k=k, allowed=allowed)
            assert ids.tolist() == everything[kept][:k].tolist()
            np.testing.assert_allclose(got, scores[kept][:k], rtol=1e-5)


def test_a_phrase_in_quotes_is_required_in_its_order(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching(
        [
            entry(1, "the old stone bridge"), entry(2, "a bridge of stone"), entry(3, "stone bridges and old stones"),
            entry(4, "old", title="stone", headings=("bridge", "old stone")),
        ]
    )  # fmt: skip
    assert sorted(found(search, "stone bridge")) == [1, 2, 3, 4]
    assert sorted(found(search, '"stone bridge"')) == [1, 3]
    assert sorted(found(search, "“stone bridge”")) == [1, 3]
    assert found(search, '"stone bridge" "the old"') == [1]
    assert found(search, 'bridges "old stones"')[0] in (1, 3, 4)
    assert sorted(found(search, '"bridge stone"')) == []
    assert sorted(found(search, '"stone bridge')) == [1, 2, 3, 4], "a quote that does not close is none"
    assert found(search, '"stone bridge" -"the old"') == [3]


def test_a_phrase_does_not_reach_from_one_part_into_the_next(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching([entry(1, "body words", title="the title", headings=("first part", "second part"))])
    assert found(search, '"second part"') == [1]
    for across in ('"title the"', '"title first"', '"part second"', '"part body"'):
        assert found(search, across) == []


def test_words_are_excluded_only_when_they_stand_by_themselves(
    searching: Callable[[Sequence[Entry]], Search],
) -> None:
    search = searching([entry(1, "stone bridge"), entry(2, "stone wall"), entry(3, "ls -la stone")])
    assert sorted(found(search, "stone -wall")) == [1, 3]
    assert sorted(found(search, "stone -walls")) == [1, 3]
    assert sorted(found(search, "stone-wall")) == [1, 2, 3]
    assert sorted(found(search, "stone -la")) == [1, 2, 3]
    assert found(search, "-wall") == []


def test_the_beginning_of_a_word_finds_it_as_typed_and_by_its_stem(
    searching: Callable[[Sequence[Entry]], Search],
) -> None:
    search = searching(
        [entry(1, "organization"), entry(2, "organs"), entry(3, "Running late"), entry(4, "runner"), entry(5, "Übung")]
    )
    assert sorted(found(search, "organ*")) == [1, 2]
    assert found(search, "organiz*") == [1]
    assert found(search, "runnin*") == [3]
    assert sorted(found(search, "runn*")) == [3, 4]
    assert found(search, "übu*") == found(search, "ubu*") == [5]
    assert found(search, "zz* qqq") == []
    assert found(search, "* ** -*") == []


def test_titles_and_headings_count_more_than_the_body(searching: Callable[[Sequence[Entry]], Search]) -> None:
    filler = "one two three four five six seven eight"
    search = searching(
        [
            entry(1, f"stone {filler} nine ten"), entry(2, f"{filler} nine", title="stone"),
            entry(3, f"{filler} nine", headings=("stone",)), entry(4, f"{filler} nine ten eleven"),
        ]
    )  # fmt: skip
    assert sorted(found(search, "stone")[:2]) == [2, 3]
    assert found(search, "stone")[2:] == [1]


def test_words_are_stemmed_by_the_language_of_their_text(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching(
        [
            entry(1, "the houses were painted"), entry(2, "die Häuser wurden gestrichen", language="de"),
            entry(3, "les chevaux étaient fatigués", language="fr"), entry(4, "старые книги", language="ru"),
            entry(5, "trzy domy", language="pl"), entry(6, "Die Katzen und die Hunde sind nicht zu Hause", language=""),
        ]
    )  # fmt: skip
    assert found(search, "house painting") == [1]
    assert found(search, "haus")[0] == 2
    assert found(search, "cheval fatigué") == [3]
    assert found(search, "книга") == [4]
    assert found(search, "domy") == [5]
    assert found(search, "katze") == [6]


def test_accents_and_case_make_no_difference_either_way(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching(
        [entry(1, "a café"), entry(2, "a CAFE"), entry(3, "my résumé"), entry(4, "a resume"), entry(5, "Straße")]
    )
    for query in ("café", "cafe", "CAFÉ", "cafe\N{COMBINING ACUTE ACCENT}s"):
        assert sorted(found(search, query)) == [1, 2], query
    for query in ("resume", "résumé", "resumes"):
        assert sorted(found(search, query)) == [3, 4], query
    assert found(search, '"my resume"') == found(search, '"my résumé"') == [3]
    assert found(search, "strasse") == [5]


def test_chinese_japanese_korean_and_thai_are_found_by_any_part(
    searching: Callable[[Sequence[Entry]], Search],
) -> None:
    search = searching(
        [
            entry(1, "東京都庁に行く"),
            entry(2, "京都の寺"),
            entry(3, "我们在北京学习"),
            entry(4, "한국어 검색"),
            entry(5, "ภาษาไทย"),
        ]
    )
    assert found(search, "東京") == [1]
    assert found(search, "京都")[0] in (1, 2)
    assert sorted(found(search, '"京都"')) == [1, 2]
    assert found(search, '"東京都"') == [1]
    assert sorted(found(search, "京")) == [1, 2, 3]
    assert found(search, "習 庁") == [1], "the simplified character is another one"
    assert found(search, "习") == [3]
    assert found(search, "검색을") == [4]
    assert found(search, "ไทย") == [5]


def test_identifiers_are_found_by_part_and_whole(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching(
        [
            entry(1, "call getUserName() here"), entry(2, "snake_case"), entry(3, "os.path.join(a, b)"),
            entry(4, "written in C++ and C#"), entry(5, "HTTPServer, e-mail"), entry(6, "the dog's don't l'homme"),
        ]
    )  # fmt: skip
    for query in ("getUserName", "getusername", "get_user_name", "user", '"user name"', '"call getUserName"'):
        assert found(search, query)[0] == 1, query
    assert found(search, '"call get user name here"') == [1]
    for query in ("snake_case", "snake", "snakeCase", "cases"):
        assert found(search, query) == [2], query
    for query in ("os.path.join", "path", "path.join", '"path join"'):
        assert found(search, query) == [3], query
    assert found(search, "c++") == found(search, "c#") == found(search, "C") == [4]
    for query in ("http", "servers", "email", "e-mail"):
        assert found(search, query) == [5], query
    for query in ("dog", "dogs", "don't", "homme"):
        assert found(search, query) == [6], query


HOSTILE = [
    "", " ", '"', '""', "-", "*", "c++ AND (foo: [a TO b] ~2 ^3 \\ \"x", "title:apple", "NOT apple OR", "apple^1e999",
    "\ud800", "apple\ud800stone", "\0", "👩‍👩‍👧 🙂", "the of and", "+++---", "a" * 100_000, "apple " * 20_000,
    '"' + "apple " * 20_000 + '"', '"apple" ' * 10_000, "apple* " * 5_000, "-apple " * 5_000, "\x01", '"\x01"',
    "'''", ". _ ' -", "ａｐｐｌｅ", "﷽", "İıſ", "字" * 50_000, '"字"', "字*", "\N{COMBINING ACUTE ACCENT}" * 99,
]  # fmt: skip


def test_any_text_is_a_query(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching([*some_entries(30), entry(99, "ap* [a TO b]")])
    for query in HOSTILE:
        ids, scores = search(query, k=10)
        assert len(ids) == len(scores) <= 10, query[:20]
        assert np.isfinite(scores).all(), query[:20]


def test_fullwidth_letters_and_syntax_of_others_are_words(searching: Callable[[Sequence[Entry]], Search]) -> None:
    search = searching([entry(1, "apple"), entry(2, "title or body and not")])
    assert found(search, "ａｐｐｌｅ") == [1]
    assert sorted(found(search, "body:apple^3 AND")) == [1, 2]


def test_a_long_query_is_answered_by_its_rarest_terms(searching: Callable[[Sequence[Entry]], Search]) -> None:
    letters = "abcdefghij"
    codes = [f"q{x}{y}q" for x in letters for y in letters]
    search = searching([entry(i, f"{code} common") for i, code in enumerate(codes)])
    query = " ".join(["common", *codes])
    assert sorted(found(search, query)) == list(range(MOST_TERMS))


@settings(deadline=None)
@given(query=st.text(max_size=60))
def test_whatever_is_typed_is_analysed_to_terms_that_can_be_looked_up(query: str) -> None:
    for term in asked(query, {"en", "de", "xx"}).terms():
        assert term
        assert not set(term) & set(" \t\n\0\x01")
        term.encode()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=40), max_size=9))
def test_files_and_tail_give_the_same_answer_to_any_text(tmp_path: Path, texts: list[str]) -> None:
    folder = tmp_path / os.urandom(4).hex()
    folder.mkdir()
    entries = [entry(i, text, title=text[:9]) for i, text in enumerate(texts)]
    index, tail = made(folder, entries[::2]), Tail().changed(entries)
    for text in texts:
        ids = tail.search(text, k=9)[0]
        assert sorted(ids) == sorted(index.search(text, k=9, tail=Tail().changed(entries[1::2]))[0])
        assert sorted(ids) == sorted(index.search(text, k=9, tail=tail)[0])
        assert np.isin(index.search(text, k=9)[0], ids).all()
    shutil.rmtree(folder)


@settings(deadline=None)
@given(text=st.text(alphabet=st.characters(categories=("L", "N")), min_size=1, max_size=20))
def test_a_text_without_syntax_finds_itself(text: str) -> None:
    tail = Tail().changed([entry(7, text)])
    assert found(tail.search, text) == ([7] if words(text) else [])
    assert found(tail.search, f'"{text}"') == ([7] if words(text) else [])


def test_the_terms_of_a_query_can_be_shown(tmp_path: Path) -> None:
    index = made(tmp_path, [entry(1, "houses"), entry(2, "Häuser", language="de")])
    assert index.terms('houses "old bridges" -walls run*')[:1] == ["hous"]
    assert {"old", "bridg", "run*"} <= set(index.terms('houses "old bridges" -walls run*'))
    assert not {"wall", "walls"} & set(index.terms('houses "old bridges" -walls run*'))


def test_a_language_is_told_by_function_words_and_is_english_when_nothing_tells() -> None:
    told = {
        "The cat is on the table and will not move": "en", "Die Katze ist auf dem Tisch und bewegt sich nicht": "de",
        "Le chat est sur la table et ne bouge pas": "fr", "El gato está en la mesa y no se mueve": "es",
        "Il gatto è sul tavolo e non si muove": "it", "O gato está na mesa e não se move": "pt",
        "De kat ligt op de tafel en wil niet bewegen": "nl", "Kissa on pöydällä eikä se liiku, koska se ei voi": "fi",
        "for i in range(10): print(a, b, c, d)": "en", "東京都庁": "en", "": "en",
    }  # fmt: skip
    for text, language in told.items():
        assert stemmer_language("", words(text)) == language, text
    assert [stemmer_language(code, []) for code in ("de-AT", "NB", "pl", "ja")] == ["de", "no", "xx", "en"]


# --- changes -----------------------------------------------------------------------------------------------


def answers(index: LexicalIndex) -> list[tuple[list[int], list[float]]]:
    """What several queries find."""
    results = [index.search(query, k=1000) for query in ("apple", "river stone", '"apple letter"', "sad*")]
    return [(ids.tolist(), scores.round(4).tolist()) for ids, scores in results]


def test_what_was_added_and_deleted_again_is_not_found(tmp_path: Path) -> None:
    entries = some_entries(40)
    generation = write(tmp_path, None, added=entries, deleted=[], seq=1, threads=1)
    write(tmp_path, generation, added=[], deleted=[e.chunk for e in entries], seq=2, threads=1)
    index = opened(tmp_path, generation)
    assert index.seq == 2
    assert answers(index) == [([], [])] * 4
    tail = Tail().changed(entries).changed([], [e.chunk for e in entries])
    assert len(tail) == 0
    assert found(tail.search, "apple river") == []


def test_the_order_of_additions_makes_no_difference(tmp_path: Path) -> None:
    entries = some_entries(60)
    assert answers(made(tmp_path, entries)) == answers(made(tmp_path, entries[::-1]))
    assert found(Tail().changed(entries).search, "apple river") == found(
        Tail().changed(entries[::-1]).search, "apple river"
    )


def test_applying_the_same_changes_again_changes_nothing(tmp_path: Path) -> None:
    generation = write(tmp_path, None, added=some_entries(50), deleted=[], seq=1, threads=2)
    found_after = []
    for _ in range(3):
        added = [entry(20, "saddle river"), *some_entries(10, seed=9, first=51)]
        write(tmp_path, generation, added=added, deleted=[3, 4, 900], seq=2, threads=2)
        index = opened(tmp_path, generation)
        found_after.append([sorted(ids) for ids, _ in answers(index)])
        assert index.searcher.num_docs == 50 + 10 - 2 + 1
    assert found_after[0] == found_after[1] == found_after[2]
    assert 20 in found_after[0][3]


def test_a_chunk_that_is_added_twice_has_its_last_words(tmp_path: Path) -> None:
    twice = [entry(1, "apple"), entry(2, "river"), entry(1, "stone")]
    for search in (made(tmp_path, twice).search, Tail().changed(twice).search):
        assert found(search, "apple") == []
        assert found(search, "river stone") == [1, 2]


def test_rows_of_the_tail_and_dead_ones_hide_those_of_the_files(tmp_path: Path) -> None:
    index = made(tmp_path, some_entries(50))
    everything = found(index.search, "apple")
    tail = Tail().changed([entry(everything[0], "nothing of it")])
    ids, _ = index.search("apple", k=5, tail=tail, dead={everything[1], 10_000})
    assert ids.tolist() == everything[2:7]


def test_a_tail_is_a_value_that_changes_make_anew() -> None:
    first = Tail().changed(some_entries(30))
    second = first.changed([entry(500, "apple saddle")], [1, 2])
    assert 500 not in found(first.search, "apple")
    assert 500 in found(second.search, "apple")
    assert sorted(second.ids) == [*range(3, 31), 500]
    assert len(first) == 30


@given(
    st.lists(st.tuples(st.lists(st.integers(1, 12), max_size=4), st.lists(st.integers(1, 12), max_size=3)), max_size=8)
)
def test_a_tail_of_many_changes_is_like_one_that_was_made_at_once(changes: list[tuple[list[int], list[int]]]) -> None:
    pool = some_entries(12, seed=4)
    tail, live = Tail(), dict[int, Entry]()
    for added, deleted in changes:
        tail = tail.changed([pool[i - 1] for i in added], deleted)
        live = {i: e for i, e in live.items() if i not in deleted} | {i: pool[i - 1] for i in added}
    once = Tail().changed(live.values())
    for query in ("apple river", '"apple letter"', "sad*"):
        for ours, theirs in zip(tail.search(query, k=20), once.search(query, k=20), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_many_small_commits_leave_a_bounded_number_of_files(tmp_path: Path) -> None:
    generation = None
    for i in range(24):
        generation = write(tmp_path, generation, added=[entry(i, "apple")], deleted=[i - 3], seq=i, threads=1)
        assert len(list((tmp_path / f"lexical-{generation}").iterdir())) < 70
    index = opened(tmp_path, str(generation))
    assert (index.seq, index.search("apple", k=99)[0].tolist()) == (23, [21, 22, 23])


def test_other_generations_are_removed(tmp_path: Path) -> None:
    kept, other = (made(tmp_path, some_entries(5)).path for _ in range(2))
    (tmp_path / "lexical-notes.txt").write_text("not ours")
    remove_others(tmp_path, kept.name.removeprefix("lexical-"))
    assert kept.exists()
    assert not other.exists()
    assert (tmp_path / "lexical-notes.txt").exists()
    remove_others(tmp_path, None)
    assert not kept.exists()


# --- processes, kills and damage ---------------------------------------------------------------------------


def test_a_reader_sees_a_commit_of_another_process_when_it_reloads(tmp_path: Path) -> None:
    index = made(tmp_path, [entry(1, "apple")])
    generation = index.path.name.removeprefix("lexical-")
    run(f"""
        write(folder, {generation!r}, added=[Entry(2, "", (), "apple", "en")], deleted=[1], seq=7, threads=1)
    """, tmp_path)  # fmt: skip
    assert (found(index.search, "apple"), index.seq) == ([1], 1)
    assert (found(index.reload().search, "apple"), index.reload().seq) == ([2], 7)


def test_a_searcher_stays_valid_while_a_writer_goes_on(tmp_path: Path) -> None:
    index = made(tmp_path, some_entries(200))
    generation = index.path.name.removeprefix("lexical-")
    before = answers(index)
    for i in range(9):
        added, deleted = some_entries(20, seed=i, first=1000 + 20 * i), list(range(1, 201))
        write(tmp_path, generation, added=added, deleted=deleted, seq=i, threads=1)
        assert answers(index) == before
    assert answers(index.reload()) != before


def test_an_index_can_be_opened_at_any_moment_of_a_writer(tmp_path: Path) -> None:
    generation = write(tmp_path, None, added=some_entries(20), deleted=[], seq=0, threads=1)

    def commits() -> None:
        for i in range(12):
            write(tmp_path, generation, added=[entry(100 + i, "apple")], deleted=[i], seq=i + 1, threads=1)

    writer = threading.Thread(target=commits)
    writer.start()
    seen = [opened(tmp_path, generation).seq]
    index = opened(tmp_path, generation)
    while writer.is_alive():
        seen += [opened(tmp_path, generation).seq, index.reload().seq]
    writer.join()
    assert seen == sorted(seen)
    assert index.reload().seq == 12


@pytest.mark.parametrize("place", ["lexical entries added", "lexical committed"])
def test_a_killed_writer_leaves_one_state_or_the_other(tmp_path: Path, place: str) -> None:
    generation = write(tmp_path, None, added=some_entries(20), deleted=[], seq=1, threads=1)
    before = answers(opened(tmp_path, generation))
    code = f"""
        failpoints.hook = lambda name: os.kill(os.getpid(), 9) if name == {place!r} else None
        write(folder, {generation!r}, added=[Entry(99, "", (), "apple", "en")], deleted=[1], seq=2, threads=1)
    """
    assert run(code, tmp_path, expected=-signal.SIGKILL) == ""
    index = opened(tmp_path, generation)
    if place == "lexical committed":
        assert index.seq == 2
        assert 99 in found(index.search, "apple")
    else:
        assert (answers(index), index.seq) == (before, 1)
    write(tmp_path, generation, added=[entry(99, "apple")], deleted=[1], seq=2, threads=1)
    index = opened(tmp_path, generation)
    assert index.seq == 2
    assert found(index.search, "apple").count(99) == 1


def test_rows_that_fail_to_be_read_leave_the_former_state_and_no_lock(tmp_path: Path) -> None:
    generation = write(tmp_path, None, added=some_entries(20), deleted=[], seq=1, threads=1)
    before = answers(opened(tmp_path, generation))

    def rows() -> Iterator[Entry]:
        yield from some_entries(lexical.FEW_ENTRIES + 5, first=100)
        raise ValueError("the truth is damaged")

    for name in (generation, None):
        with pytest.raises(ValueError, match="the truth is damaged") as kept:
            write(tmp_path, name, added=rows(), deleted=[1], seq=2, threads=2)
    assert answers(opened(tmp_path, generation)) == before
    assert [path.name for path in tmp_path.iterdir()] == [f"lexical-{generation}"]
    write(tmp_path, generation, added=[], deleted=[], seq=3, threads=1)
    assert kept.value.args


def test_a_second_writer_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = write(tmp_path, None, added=[], deleted=[], seq=1, threads=1)

    def second(name: str) -> None:
        if name == "lexical entries added":
            monkeypatch.setattr(failpoints, "hook", None)
            with pytest.raises(StoreBusy, match="another process is writing"):
                write(tmp_path, generation, added=[], deleted=[], seq=3, threads=1)

    monkeypatch.setattr(failpoints, "hook", second)
    write(tmp_path, generation, added=[], deleted=[], seq=2, threads=1)
    assert failpoints.hook is None
    assert opened(tmp_path, generation).seq == 2


def test_files_of_another_version_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "VERSION", 0)
    generation = write(tmp_path, None, added=some_entries(3), deleted=[], seq=1, threads=1)
    monkeypatch.undo()
    assert LexicalIndex.open(tmp_path, generation) is None
    assert LexicalIndex.open(tmp_path, "0123") is None
    with pytest.raises(LexicalDamaged):
        write(tmp_path, generation, added=[], deleted=[], seq=2, threads=1)


DAMAGE = """
    import shutil
    from sememe.errors import StoreError
    outcomes = []
    for path in sorted((folder / "lexical-" "{generation}").iterdir()):
        size = path.stat().st_size
        for kind in ("emptied", "cut", "one byte less", "overwritten", "one bit", "longer", "deleted"):
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder / "lexical-{generation}", copy / "lexical-copied")
            file = copy / "lexical-copied" / path.name
            data = bytearray(file.read_bytes())
            if kind == "deleted":
                file.unlink()
            elif size == 0:
                continue
            else:
                if kind == "emptied": data = b""
                if kind == "cut": data = data[: size // 2]
                if kind == "one byte less": data = data[:-1]
                if kind == "overwritten": data[size // 4 : size // 2] = os.urandom(size // 2 - size // 4)
                if kind == "one bit": data[size // 3] ^= 4
                if kind == "longer": data += b"more"
                file.write_bytes(data)
            segments._VERIFIED.clear()
            index = LexicalIndex.open(copy, "copied")
            try:
                outcome = "none" if index is None else str(index.search("apple river", k=5)[0].tolist())
            except LexicalDamaged:
                outcome = "damaged"
            try:
                write(copy, "copied", added=[Entry(77, "", (), "apple", "en")], deleted=[2], seq=9, threads=1)
            except StoreError:
                pass
            outcomes.append((path.suffix or path.name, kind, outcome))
    print(json.dumps(outcomes))
"""


def test_damaged_files_are_noticed_and_never_crash_the_process(tmp_path: Path) -> None:
    generation = write(tmp_path, None, added=some_entries(50), deleted=[], seq=1, threads=1)
    write(tmp_path, generation, added=[], deleted=[1], seq=2, threads=1)
    right = str(found(opened(tmp_path, generation).search, "apple river", k=5))
    outcomes = json.loads(run(DAMAGE.replace("{generation}", generation), tmp_path))
    data = [outcome for suffix, _, outcome in outcomes if suffix in {*segments.SUFFIXES, ".del"}]
    assert len(data) >= 7 * 7
    assert set(data) <= {"none", "damaged"}
    assert {outcome for _, _, outcome in outcomes} <= {"none", "damaged", right}


@pytest.mark.parametrize("name", ["max_doc", "num_deleted_docs", "opstamp", "segment_id"])
def test_a_wrong_number_in_the_list_of_segments_is_noticed(tmp_path: Path, name: str) -> None:
    generation = write(tmp_path, None, added=some_entries(50), deleted=[], seq=1, threads=1)
    path = opened(tmp_path, write(tmp_path, generation, added=[], deleted=[1], seq=2, threads=1)).path / "meta.json"
    text = path.read_text()
    changed = re.sub(rf'("{name}": "?\w*)(\w)', lambda m: m[1] + ("3" if m[2] != "3" else "4"), text, count=1)
    assert changed != text
    path.write_text(changed)
    assert LexicalIndex.open(tmp_path, generation) is None


def test_files_that_are_damaged_while_they_are_mapped_are_noticed_or_harmless(tmp_path: Path) -> None:
    generation = write(tmp_path, None, added=some_entries(50), deleted=[], seq=1, threads=1)
    code = f"""
        index = LexicalIndex.open(folder, {generation!r})
        for path in index.path.glob("*.*"):
            if path.suffix in segments.SUFFIXES:
                with path.open("r+b") as file:
                    file.write(b"\\xff" * path.stat().st_size)
        for query in ("apple", "apple river", '"apple letter"', "app*", "stone -river"):
            try:
                index.search(query, k=5)
            except LexicalDamaged:
                print("damaged")
    """
    assert "damaged" in run(code, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of a folder are POSIX's")
def test_a_folder_that_cannot_be_written_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = made(tmp_path, some_entries(50))
    before = {path.name: path.read_bytes() for path in index.path.iterdir()}
    # The tests may run as root, whom permissions do not stop.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert answers(opened(tmp_path, index.path.name.removeprefix("lexical-"))) == answers(index)
    assert {path.name: path.read_bytes() for path in index.path.iterdir()} == before


def run(code: str, folder: Path, *, expected: int = 0) -> str:
    """What code prints in a process of its own."""
    start = """
        import json, os
        from pathlib import Path
        from sememe import failpoints
        from sememe.index import lexical, segments
        from sememe.index.lexical import Entry, LexicalDamaged, LexicalIndex, write
    """
    text = textwrap.dedent(start) + f"folder = Path({str(folder)!r})\n" + textwrap.dedent(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == expected, done.stderr
    return done.stdout


def test_words_that_never_come_again_are_forgotten_and_have_the_same_terms_when_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(first: int, count: int) -> int:
        for number in range(first, first + count):
            analysed_entry(entry(number, f"walking word{number}ing"))
        return tracemalloc.get_traced_memory()[0]

    monkeypatch.setattr("sememe.index.words.CACHED_WORDS", few := 512)
    before = analysed_entry(entry(0, "walking word0ing"))
    tracemalloc.start()
    levels = [read(step * few, few) for step in range(8)]
    tracemalloc.stop()
    assert max(levels[4:]) < 1.3 * max(levels[:4])
    assert analysed_entry(entry(0, "walking word0ing")) == before
