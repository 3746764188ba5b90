"""Cutting: what every chunk of every text promises, and where a reader would have cut."""

from __future__ import annotations

import pydoc_data.topics
import random
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sememe.chunking import LINES, PROSE, cut, order_of
from sememe.chunking.boundaries import unit_starts
from sememe.errors import InputError
from sememe.models.cards import DEFAULT_MODEL, find_card
from sememe.models.fetch import fetch
from sememe.models.tokens import TokenizersCounter
from sememe.settings import from_environment
from sememe.types import Block, Chunk, TokenCounter

SPECIALS = 2
PROSE_TEXT = "\n\n".join(pydoc_data.topics.topics.values())[:200_000]
"""The Python reference: hard-wrapped paragraphs, lists, tables and code."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The default model's own tokenizer."""
    files = fetch(find_card(DEFAULT_MODEL), settings=from_environment())
    return Tokenizer.from_file(str(files["tokenizer.json"]))


@pytest.fixture(scope="module")
def counter(tokenizer: Tokenizer) -> TokenizersCounter:
    """The default model's counter."""
    return TokenizersCounter(tokenizer)


@pytest.fixture(scope="module")
def bytes_counter() -> TokenizersCounter:
    """A byte-level BPE: words swallow the space before them, so cutting changes tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([PROSE_TEXT[:50_000]], trainer)
    return TokenizersCounter(made)


def joined(blocks: list[Block]) -> str:
    return "".join(block.text for block in blocks)


def check(chunks: list[Chunk], text: str, counter: TokenCounter, most: int) -> None:
    """Everything that holds for any text."""
    covered = bytearray(len(text))
    last_start, last_end = -1, -1
    for position, chunk in enumerate(chunks):
        assert chunk.position == position
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text
        assert chunk.text == chunk.text.strip()
        assert chunk.start > last_start
        assert chunk.end > last_end
        assert chunk.tokens == counter.count(chunk.input) + SPECIALS
        assert chunk.tokens <= most or len(chunk.text) == 1
        assert len(chunk.text) <= 10 * most
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
        last_start, last_end = chunk.start, chunk.end
    missed = [character for character, seen in zip(text, covered, strict=True) if not seen]
    assert not "".join(missed).strip()


def cut_list(
    blocks: list[Block] | str, counter: TokenCounter, most: int = 64, overlap: int = 0, **order: object
) -> list[Chunk]:
    given_blocks = [Block(blocks)] if isinstance(blocks, str) else blocks
    kinds = LINES if order.get("lines") else PROSE
    return list(cut(given_blocks, counter, max_tokens=most, reserved=SPECIALS, overlap=overlap, order=kinds))


ATOMS = st.sampled_from(
    [
        "word ", "Hello there. ", "Mr. Smith said 3.5 is ok! ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r",
        " " * 40, "\t",
        "é", "e\u0301", " \u0301", "日本語です。",
        "한국어 ", "שלום ", "مرحبا ", "ﷺ", "👨‍👩‍👧‍👦", "🇩🇪", "\u200b", "\ufeff",
        "\0", "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "a" * 50, "x" * 3000, "." * 80, "[SEP]", "def f():\n",
        "http://a.b/c?d=e&f=g",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(ATOMS, max_size=60).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    st.builds(lambda atom, times: atom * times, ATOMS, st.integers(0, 300)),
)
HEADINGS = st.builds(
    Block,
    st.sampled_from(["# T\n", " ## a long heading here\r\n\r\n", "", "=\n"]),
    st.integers(1, 6),
    st.one_of(st.just(""), st.just("Title"), st.builds("many words ".__mul__, st.integers(1, 40)), st.just("x" * 700)),
)
DOCUMENTS = st.lists(st.one_of(TEXTS.map(Block), HEADINGS), max_size=10)
SIZES = st.sampled_from([18, 24, 64, 240])
PROPERTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(blocks=DOCUMENTS, most=SIZES, overlap=st.sampled_from([0, 8, 24, 500]), lines=st.booleans())
@PROPERTY
def test_any_document_is_covered_by_ordered_slices_within_the_limit(
    counter: TokenizersCounter, blocks: list[Block], most: int, overlap: int, lines: bool
) -> None:
    check(cut_list(blocks, counter, most, overlap, lines=lines), joined(blocks), counter, most)


@given(blocks=DOCUMENTS, most=SIZES)
@PROPERTY
def test_a_tokenizer_that_looks_across_white_space_keeps_the_same_promises(
    bytes_counter: TokenizersCounter, blocks: list[Block], most: int
) -> None:
    assert not bytes_counter.additive
    check(cut_list(blocks, bytes_counter, most, 8), joined(blocks), bytes_counter, most)


@given(blocks=DOCUMENTS, most=SIZES, seed=st.integers(0, 1000))
@PROPERTY
def test_chunks_do_not_depend_on_how_body_text_is_split_into_blocks(
    counter: TokenizersCounter, blocks: list[Block], most: int, seed: int
) -> None:
    assert cut_list(resplit(blocks, seed), counter, most, 8) == cut_list(blocks, counter, most, 8)


def resplit(blocks: list[Block], seed: int) -> list[Block]:
    """The same document with its body text in other blocks, some of them empty."""
    choice = random.Random(seed).choice
    result: list[Block] = []
    for block in blocks:
        if block.level:
            result.append(block)
            continue
        at = 0
        while at < len(block.text):
            size = choice([0, 1, 3, 100, 5000])
            result.append(Block(block.text[at : at + size]))
            at += size
    return result


@given(text=TEXTS, more=TEXTS)
@PROPERTY
def test_tokens_add_up_where_the_default_tokenizer_says_so(counter: TokenizersCounter, text: str, more: str) -> None:
    assert counter.additive
    assert counter.count(f"{text} {more}") == counter.count(text) + counter.count(more)
    assert counter.count(f"{text}\n{more}") == counter.count(text) + counter.count(more)


@given(text=TEXTS)
@PROPERTY
def test_remembered_words_have_the_offsets_that_the_tokenizer_gives(counter: TokenizersCounter, text: str) -> None:
    fresh = counter._tokenizer.encode(text, add_special_tokens=False).offsets
    assert [tuple(span) for span in counter.offsets(text).tolist()] == fresh
    assert [tuple(span) for span in counter.offsets(text).tolist()] == fresh


def test_long_prose_over_many_windows_keeps_every_promise(counter: TokenizersCounter) -> None:
    chunks = cut_list(PROSE_TEXT, counter, 240, 24)
    check(chunks, PROSE_TEXT, counter, 240)
    assert chunks == cut_list(resplit([Block(PROSE_TEXT)], 1), counter, 240, 24)
    assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 180


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "日" * 30_000,
        "a1-" * 30_000,
        "=" * 50_000,
        " x" * 30_000,
        "ab\x1c" * 20_000,
        "word\x0c" * 10_000,
        "\u0301" * 30_000,
    ],
)
def test_text_without_a_place_to_cut_is_cut_all_the_same(counter: TokenizersCounter, text: str) -> None:
    check(cut_list(text, counter, 240, 24), text, counter, 240)


def test_the_windows_that_a_long_section_is_measured_in_leave_no_trace(counter: TokenizersCounter) -> None:
    text = ("The quick brown fox jumps over the lazy dog again. " * 4000).strip()
    chunks = cut_list(text, counter, 240)
    assert len({chunk.text for chunk in chunks[:-1]}) == 1


@pytest.mark.parametrize("text", ["", " ", "\n" * 100_000])
def test_white_space_alone_gives_no_chunk(counter: TokenizersCounter, text: str) -> None:
    assert cut_list(text, counter) == []


def test_a_short_text_is_one_chunk_trimmed_of_white_space(counter: TokenizersCounter) -> None:
    (chunk,) = cut_list(" \n Hello world.\r\n\r\n", counter)
    assert (chunk.start, chunk.end, chunk.text) == (3, 15, "Hello world.")
    assert chunk.tokens == 3 + SPECIALS


def test_words_far_apart_do_not_share_a_chunk_beyond_the_cap_of_characters(counter: TokenizersCounter) -> None:
    text = "left" + " " * 5000 + "right"
    assert [chunk.text for chunk in cut_list(text, counter, 64, 24)] == ["left", "right"]


SENTENCE = "The quick brown fox jumps over the lazy dog in {}. "


def sentences(first: int, count: int) -> str:
    return "".join(SENTENCE.format(first + i) for i in range(count)).strip()


def test_a_paragraph_is_the_first_place_to_cut(counter: TokenizersCounter) -> None:
    text = f"{sentences(0, 3)}\n\n{sentences(3, 6)}"
    assert cut_list(text, counter)[0].text == sentences(0, 3)


def test_a_paragraph_that_leaves_a_chunk_less_than_half_full_is_passed_over(counter: TokenizersCounter) -> None:
    text = f"{sentences(0, 1)}\n\n{sentences(1, 8)}"
    first = cut_list(text, counter)[0]
    assert "\n\n" in first.text
    assert first.text.endswith(".")


def test_without_paragraphs_a_sentence_ends_a_chunk_even_in_wrapped_lines(counter: TokenizersCounter) -> None:
    sentence = "The quick brown fox jumps over the lazy dog again. "
    for newline in ("\n", "\r\n"):
        chunks = cut_list((sentence * 15).strip().replace(" ", newline), counter)
        assert len(chunks) > 2
        assert all(chunk.text.endswith("again.") and chunk.text.startswith("The") for chunk in chunks)


def test_the_lines_of_a_list_without_full_stops_stay_whole(counter: TokenizersCounter) -> None:
    text = "".join(f"- entry number {i} of a list\n" for i in range(40))
    chunks = cut_list(text, counter)
    assert all(chunk.text.startswith("- entry") and chunk.text.endswith("list") for chunk in chunks)


def test_without_sentences_a_word_stays_whole(counter: TokenizersCounter) -> None:
    text = "embedding " * 200
    assert {word for chunk in cut_list(text, counter) for word in chunk.text.split()} == {"embedding"}


def test_without_white_space_a_word_stays_whole_too(counter: TokenizersCounter) -> None:
    chunks = cut_list("alphabet,embedding;tokenizer(paragraph)" * 100, counter)
    words = {word for chunk in chunks for word in re.findall("[a-z]+", chunk.text)}
    assert words == {"alphabet", "embedding", "tokenizer", "paragraph"}


def test_an_emoji_of_many_parts_stays_whole_where_there_is_no_white_space(counter: TokenizersCounter) -> None:
    family = "👨‍👩‍👧‍👦"
    chunks = cut_list(family * 300, counter)
    assert len(chunks) > 1
    assert all(len(chunk.text) % len(family) == 0 and chunk.text.startswith("👨") for chunk in chunks)


def test_chinese_is_cut_behind_its_full_stops(counter: TokenizersCounter) -> None:
    chunks = cut_list("这是一个中文句子。" * 40, counter)
    assert len(chunks) > 3
    assert all(chunk.text.endswith("。") for chunk in chunks)


def test_in_code_a_line_ends_a_chunk_and_a_sentence_does_not(counter: TokenizersCounter) -> None:
    code = "".join(f"    total_{i} = compute(total_{i})  # Adds. Then stores\n" for i in range(30))
    chunks = cut_list(code, counter, lines=True)
    assert len(chunks) > 3
    assert all(chunk.text.startswith("total_") and chunk.text.endswith("stores") for chunk in chunks)


def test_the_reader_of_a_document_decides_what_is_cut_first() -> None:
    assert order_of("python/1") == order_of("lines/1") == LINES
    assert order_of("text/1") == order_of("markdown/1") == PROSE


def test_a_continuation_repeats_the_last_sentence_within_the_overlap(counter: TokenizersCounter) -> None:
    chunks = cut_list(sentences(0, 20), counter, 64, 15)
    for before, after in pairwise(chunks):
        repeated = before.text[after.start - before.start :]
        assert repeated.startswith("The quick")
        assert 0 < counter.count(repeated) <= 15
        assert after.start > before.start


def test_no_sentence_is_repeated_that_exceeds_the_overlap(counter: TokenizersCounter) -> None:
    chunks = cut_list(sentences(0, 20), counter, 64, 5)
    assert len(chunks) > 2
    assert all(before.end < after.start for before, after in pairwise(chunks))


def test_code_repeats_whole_lines(counter: TokenizersCounter) -> None:
    code = "".join(f"value_{i} = {i}\n" for i in range(60))
    chunks = cut_list(code, counter, 64, 12, lines=True)
    assert all(chunk.text.startswith("value_") for chunk in chunks)
    assert all(before.end > after.start for before, after in pairwise(chunks))


def heading(level: int, title: str) -> Block:
    return Block(f"{'#' * level} {title}\n\n", level, title)


def test_headings_above_a_slice_are_its_path_and_its_own_are_in_its_text(counter: TokenizersCounter) -> None:
    blocks = [
        heading(1, "Guide"), Block("Welcome.\n\n"),
        heading(2, "Install"), Block("Run it.\n\n"),
        heading(3, "Linux"), Block("Use the wheel.\n\n"),
        heading(2, "Usage"), Block(sentences(0, 8)),
    ]  # fmt: skip
    chunks = cut_list(blocks, counter)
    check(chunks, joined(blocks), counter, 64)
    assert [(chunk.headings, chunk.text.splitlines()[0]) for chunk in chunks[:4]] == [
        ((), "# Guide"),
        (("Guide",), "## Install"),
        (("Guide", "Install"), "### Linux"),
        (("Guide",), "## Usage"),
    ]
    assert [chunk.headings for chunk in chunks[4:]] == [("Guide", "Usage")]
    assert chunks[4].input.startswith("Guide > Usage\nThe quick")


def test_headings_without_text_join_what_follows(counter: TokenizersCounter) -> None:
    before = Block("What stands before the first heading of all of them.\n")
    blocks = [before, heading(1, "A"), heading(2, "B"), Block(" \n"), heading(3, "C"), Block("Text.")]
    chunks = cut_list(blocks, counter)
    assert [chunk.text for chunk in chunks] == [before.text.strip(), "# A\n\n## B\n\n \n### C\n\nText."]
    assert chunks[1].headings == ()


def test_a_path_names_only_headings_that_govern_the_whole_slice(counter: TokenizersCounter) -> None:
    blocks = [heading(1, "Old"), Block("Text.\n"), heading(2, "Empty"), heading(1, "New"), Block("More.")]
    assert [chunk.headings for chunk in cut_list(blocks, counter)] == [(), ()]


def test_a_last_heading_without_text_joins_the_chunk_before(counter: TokenizersCounter) -> None:
    blocks = [heading(1, "A"), Block("Text.\n\n \n"), heading(2, "End")]
    assert [chunk.text for chunk in cut_list(blocks, counter)] == ["# A\n\nText.\n\n \n## End"]


def test_a_last_heading_stands_alone_where_the_chunk_before_is_full(counter: TokenizersCounter) -> None:
    blocks = [Block("word " * 60), heading(1, "One two three four five")]
    assert [chunk.text[:5] for chunk in cut_list(blocks, counter)] == ["word ", "# One"]


def test_a_document_of_headings_alone_is_packed_into_full_chunks(counter: TokenizersCounter) -> None:
    blocks = [heading(2, f"Chapter {i}") for i in range(5000)]
    chunks = cut_list(blocks, counter, 240, 24)
    check(chunks, joined(blocks), counter, 240)
    assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 150


def test_a_heading_without_title_ends_the_reach_of_the_one_before(counter: TokenizersCounter) -> None:
    code = 'REGISTRY["a rather long name of a function, and more"] = f\n'
    blocks = [Block("def f():\n", 1, "def f"), Block("    return 1\n\n"), Block("", 1), Block(code)]
    assert [(chunk.headings, chunk.text) for chunk in cut_list(blocks, counter)] == [
        ((), "def f():\n    return 1"),
        ((), code.strip()),
    ]


def test_a_few_words_behind_a_definition_join_it(counter: TokenizersCounter) -> None:
    blocks = [Block("def f():\n", 1, "def f"), Block("    return 1\n\n"), Block("", 1), Block("g = f\n")]
    assert [chunk.text for chunk in cut_list(blocks, counter)] == ["def f():\n    return 1\n\ng = f"]


def test_a_few_words_join_no_chunk_whose_headings_do_not_govern_them(counter: TokenizersCounter) -> None:
    body = Block("    first = 1\n" * 20)
    blocks = [
        Block("def f():\n", 1, "def f"), body, Block("", 1), Block("g = f\n\n"), Block("def h():\n", 1, "def h"),
        Block("    return 2\n"),
    ]  # fmt: skip
    chunks = cut_list(blocks, counter, lines=True)
    check(chunks, joined(blocks), counter, 64)
    assert chunks[-2].headings == ("def f",)
    assert (chunks[-1].headings, chunks[-1].text) == ((), "g = f\n\ndef h():\n    return 2")


def test_words_before_the_first_heading_join_it_if_they_are_few(counter: TokenizersCounter) -> None:
    blocks = [Block("---\n\n"), heading(1, "A"), Block("Text.\n")]
    assert [chunk.text for chunk in cut_list(blocks, counter)] == ["---\n\n# A\n\nText."]


# A line of signs has a token each: one that leaves room for no sentence beside it stays alone.
@pytest.mark.parametrize("last", ["-" * 30, "The end.", "=" * 12 + "\n" + "=" * 12])
def test_no_chunk_is_a_ruled_line_or_a_few_words_at_the_end_of_a_long_text(
    counter: TokenizersCounter, last: str
) -> None:
    for count in range(10, 40):
        text = f"{sentences(0, count)}\n\n{last}"
        chunks = cut_list(text, counter, 96)
        check(chunks, text, counter, 96)
        assert all(sum(map(str.isalnum, chunk.text)) >= 40 for chunk in chunks)


def test_wrapped_lines_of_a_list_and_addresses_are_no_ends_of_sentences() -> None:
    text = (
        "- an item that goes on\n  in its second line\n- see http://a.b/page.cgi?id=1 and\n(as said) 3 more\n"
        "call(\n    1,\n)\nThe end. A last one"
    )
    starts = unit_starts(text, 0, len(text), order=PROSE)
    assert [text[start:].lstrip()[:9] for start in starts] == ["- see htt", "1,\n)\nThe ", "A last on"]


def test_a_path_takes_a_third_at_most_and_loses_its_outermost_headings_first(counter: TokenizersCounter) -> None:
    titles = [f"level {i} has a rather long title" for i in range(1, 7)]
    blocks = [*(heading(i + 1, title) for i, title in enumerate(titles)), Block(sentences(0, 20))]
    last = cut_list(blocks, counter)[-1]
    assert last.headings == tuple(titles[-len(last.headings) :])
    assert 1 <= len(last.headings) < 6
    assert counter.count(" > ".join(last.headings)) <= 64 // 3


def test_an_indented_heading_that_begins_a_chunk_is_not_in_its_path(counter: TokenizersCounter) -> None:
    blocks = [Block(f"# {'Long ' * 50}\n\n", 1, "Long"), Block("   ## Sub\n", 2, "Sub"), Block("word " * 20)]
    chunks = cut_list(blocks, counter)
    assert chunks[1].text.startswith("## Sub")
    assert chunks[1].headings == ("Long",)


def test_a_very_long_title_is_shortened_in_the_path(counter: TokenizersCounter) -> None:
    last = cut_list([heading(1, "endless title " * 100), Block(sentences(0, 20))], counter)[-1]
    (title,) = last.headings
    assert title.startswith("endless title")
    assert title.endswith("…")
    assert counter.count(title) <= 64 // 3


def test_a_limit_that_leaves_no_room_is_refused_before_anything_is_read(counter: TokenizersCounter) -> None:
    with pytest.raises(InputError, match=r"max_tokens is 10, 2 of them reserved .* set it to 18 or more"):
        cut([], counter, max_tokens=10, reserved=2)
    with pytest.raises(InputError, match="overlap is -1"):
        cut([], counter, max_tokens=100, overlap=-1)


def test_chunks_come_before_the_document_has_been_read_to_its_end(counter: TokenizersCounter) -> None:
    taken = 0

    def endless() -> Iterator[Block]:
        nonlocal taken
        while True:
            taken += 1
            yield Block(PROSE_TEXT[:8192])

    chunks = cut(endless(), counter, max_tokens=240)
    for _ in range(100):
        next(chunks)
    assert taken * 8192 < 100 * 2400 + 200_000


def test_memory_does_not_grow_with_the_length_of_a_document(counter: TokenizersCounter) -> None:
    def peak(pieces: int) -> int:
        tracemalloc.start()
        for _ in cut((Block(PROSE_TEXT[:50_000]) for _ in range(pieces)), counter, max_tokens=240):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)
    assert peak(40) < 1.5 * peak(4)
