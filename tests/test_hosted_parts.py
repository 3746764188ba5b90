"""The parts of the hosted models' base by themselves: names, counts from above, batches, patience, money."""

from __future__ import annotations

import json
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_server import retry_date

from sememe.errors import InputError, NotFound
from sememe.models.encoder import TextEncoder
from sememe.models.providers import is_hosted, lanes
from sememe.models.providers.batches import batches
from sememe.models.providers.calling import Budget, dollars
from sememe.models.providers.catalogue import MODELS
from sememe.models.providers.counting import BYTES_A_PIECE, EstimatedCounter
from sememe.models.providers.lanes import LONGEST_PAUSE, Gate, Interrupted
from sememe.models.providers.names import access, key_name, parse
from sememe.models.providers.reading import json_of
from sememe.models.providers.wire import in_order, ranked, refused_with, retry_after, rows, said
from sememe.settings import HOSTED_NAMES, Hosted, from_environment

COUNTER = EstimatedCounter()
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_infinity=False)
    | st.text(st.sampled_from('ab1,[]{}" \\')) | st.lists(st.floats(width=32, allow_infinity=False)),
    lambda node: st.lists(node) | st.dictionaries(st.text("ab[]1", max_size=3), node),
)  # fmt: skip

# --- names ------------------------------------------------------------------------------------------------------


def test_a_name_holds_options_and_an_address() -> None:
    found = parse("openai:text-embedding-3-large,dimensions=256,tokens=100@http://localhost:8080/v1/")
    assert (found.model.name, found.dimensions, found.model.tokens) == ("text-embedding-3-large", 256, 100)
    assert found.url == "http://localhost:8080/v1"
    assert parse("jina:jina-embeddings-v3,task=text-matching").model.task == "text-matching"
    assert parse("tei:BAAI/bge-m3@https://models.example").model.name == "BAAI/bge-m3"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai:", "PROVIDER:MODEL"),
        ("openai:a b", "PROVIDER:MODEL"),
        ("openai:x@ftp://host", "PROVIDER:MODEL"),
        ("openai:x,size=3", "size=3"),
        ("openai:x,dimensions=0", "dimensions=0"),
        ("openai:x,dimensions=ten", "dimensions=ten"),
        ("openai:x,dimensions=3,dimensions=4", "once each"),
        ("openai:x,task=code", "only models of jina"),
        ("openai:text-embedding-3-small,dimensions=1537", "1 to 1536"),
        ("openai:text-embedding-ada-002,dimensions=512", "has 1536"),
        ("voyage:voyage-4,dimensions=300", "256, 512, 1024, 2048"),
        ("openai:x@http://user:secret@host/v1", "leave out keys"),
        ("openai:x@http://host/v1?key=secret", "leave out keys"),
        ("openai:x@http://[host/v1", "no address"),
        ("openai:x@http://host:99999/v1", "no address"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_what_can(name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(name)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value).replace(name, "")


def test_other_names_are_not_taken_for_hosted_ones() -> None:
    for name in ("all-MiniLM-L6-v2", "c:\\models", "models/openai", "openai", "sentence-transformers/x"):
        assert not is_hosted(name)
    assert all(is_hosted(f"{model.provider}:{model.name}") for model in MODELS)


def test_a_reranker_is_no_embedder_and_the_other_way_round() -> None:
    with pytest.raises(NotFound, match="ranks documents"):
        parse("cohere:rerank-v3.5")
    with pytest.raises(NotFound, match="makes vectors"):
        parse("cohere:embed-v4.0", rerank=True)


def test_the_key_of_a_provider_is_for_its_own_address_and_the_environments() -> None:
    hosted = Hosted(environ={"OPENAI_API_KEY": "mine", "SEMEME_KEY_HOST_8080": "theirs"})
    assert access(parse("openai:x"), hosted).key == "mine"
    assert access(parse("openai:x@http://host:8080/v1"), hosted).key == "theirs"
    assert access(parse("openai:x@http://other:8080/v1"), hosted).key == ""
    assert key_name("http://my-host.example:80/v1") == "SEMEME_KEY_MY_HOST_EXAMPLE_80"


def test_a_key_with_a_line_break_is_told_without_showing_it() -> None:
    with pytest.raises(InputError) as caught:
        access(parse("openai:x"), Hosted(environ={"OPENAI_API_KEY": "abc\ndef"}))
    assert "abc" not in str(caught.value)


def test_an_address_in_the_environment_that_is_none_is_told_by_its_name() -> None:
    for url in ("http://[host", "http://", "ftp://host", "http://host:port"):
        with pytest.raises(InputError, match="OLLAMA_HOST"):
            access(parse("ollama:x"), Hosted(environ={"OLLAMA_HOST": url}))
    assert access(parse("ollama:x"), Hosted(environ={"OLLAMA_HOST": "box:11434/"})).url == "http://box:11434"


def test_the_environment_gives_keys_addresses_and_a_pace_and_nothing_else() -> None:
    environ = {
        "OPENAI_API_KEY": " key \n", "AWS_SECRET": "other", "SEMEME_KEY_HOST": "k", "SEMEME_CONCURRENCY": "3",
        "SEMEME_TIMEOUT": "7", "SEMEME_REQUESTS_PER_MINUTE": "90",
    }  # fmt: skip
    hosted = from_environment(environ).hosted
    assert hosted.environ == {"OPENAI_API_KEY": "key", "SEMEME_KEY_HOST": "k"}
    assert (hosted.concurrency, hosted.timeout, hosted.requests_per_minute) == (3, 7.0, 90)
    assert "key" not in repr(hosted).replace("keys", "")
    with pytest.raises(InputError, match="SEMEME_CONCURRENCY"):
        from_environment({"SEMEME_CONCURRENCY": "none"})


def test_every_environment_name_of_the_catalogue_is_read() -> None:
    from sememe.models.providers.catalogue import PROVIDERS

    wanted = {name for provider in PROVIDERS for name in (*provider.keys, provider.url_name)}
    assert wanted == set(HOSTED_NAMES)


# --- tokens from above --------------------------------------------------------------------------------------------


@given(ANY_TEXT)
def test_a_text_never_has_more_than_four_bytes_for_each_piece(text: str) -> None:
    assert len(text.encode()) <= BYTES_A_PIECE * COUNTER.count(text)


@given(ANY_TEXT)
def test_the_spans_of_the_pieces_are_as_many_as_are_counted_and_cover_the_text(text: str) -> None:
    spans = COUNTER.offsets(text)
    assert len(spans) == COUNTER.count(text)
    assert (np.diff(spans[:, 0]) >= 0).all()
    covered = {place for start, end in spans.tolist() for place in range(start, end)}
    assert covered == set(range(len(text)))


@given(ANY_TEXT, ANY_TEXT)
def test_a_longer_text_never_counts_less(first: str, second: str) -> None:
    assert COUNTER.count(first) <= COUNTER.count(first + second) + 1


def test_prose_and_code_count_from_above_and_not_by_much(model: TextEncoder) -> None:
    from pathlib import Path

    for file in ("README.md", "sememe/collection.py", "docs/way-of-the-data.md"):
        text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
        real = model.counter.count(text)
        assert real <= COUNTER.count(text) <= 2.2 * real, file


# --- batches ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 50), max_size=200), st.integers(1, 40), st.none() | st.integers(1, 100),
    st.integers(5, 60), st.integers(1, 8),
)  # fmt: skip
def test_batches_cover_every_input_once_in_order_within_the_limits(
    tokens: list[int], items: int, most: int | None, alone: int, lanes: int
) -> None:
    parts = list(batches(tokens, len(tokens), items=items, most=most, alone=alone, lanes=lanes))
    assert [i for part in parts for i in part] == list(range(len(tokens)))
    for part in parts:
        sizes = [tokens[i] for i in part]
        assert 1 <= len(part) <= items
        assert most is None or sum(sizes) <= most or len(part) == 1
        assert len(part) == 1 or max(sizes) <= alone


def test_few_inputs_are_shared_out_among_the_lanes_but_not_into_crumbs() -> None:
    assert [len(p) for p in batches([1] * 400, 400, items=2048, most=None, alone=9, lanes=4)] == [100] * 4
    assert [len(p) for p in batches([1] * 20, 20, items=2048, most=None, alone=9, lanes=4)] == [10, 10]


def test_many_inputs_are_divided_so_that_all_lanes_have_as_much_as_often() -> None:
    assert len(list(batches([1] * 10_000, 10_000, items=2048, most=None, alone=9, lanes=8))) == 32
    sizes = [len(part) for part in batches([1] * 10_000, 10_000, items=96, most=None, alone=9, lanes=8)]
    assert len(sizes) % 8 == 0
    assert max(sizes) == 90


# --- what a provider says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"Retry-After": "-4"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_the_time_to_stay_away_is_read_from_seconds_and_dates(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_in_the_future_is_as_many_seconds_away() -> None:
    found = retry_after({"Retry-After": retry_date(90)})
    assert found is not None
    assert 88 <= found <= 91


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "no", "key"), (403, "no", "key"), (498, "no", "key"), (400, "API key not valid. Pass one.", "key"),
        (400, "too long", "refused"), (413, "too large", "refused"), (422, "odd", "refused"), (404, "gone", "model"),
        (402, "pay", "quota"), (429, "slow down", "busy"), (429, {"error": {"code": "insufficient_quota",
         "message": "You exceeded your current quota"}}, "quota"), (500, "", "down"), (503, "", "down"),
        (408, "", "down"), (409, "", "down"), (529, "overloaded", "down"),
    ],
)  # fmt: skip
def test_a_status_means_one_of_few_things(status: int, reason: object, kind: str) -> None:
    assert refused_with(status, reason).kind == kind


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long", "type": "x"}}, '{"error": {"message": "too long"}}', {"detail": "too long"},
        {"detail": [{"msg": "too long", "loc": ["a"]}]}, {"id": "x", "message": "too\n long"}, {"error": "too long"},
        "too long", '[{"error": {"message": "too long"}}]',
    ],
)  # fmt: skip
def test_the_sentence_is_found_in_every_providers_error(body: object) -> None:
    assert said(body) == "too long"


def test_what_is_no_json_and_what_is_nothing_are_said_as_they_are() -> None:
    assert said("{not json") == "{not json"
    assert said(None) == ""
    assert len(said("x" * 10**6)) <= 10_000


def plain(node: object) -> object:
    """What was read, with arrays as lists, and numbers as those of float32, which vectors are of."""
    if isinstance(node, dict):
        return {name: plain(value) for name, value in node.items()}
    if isinstance(node, list | np.ndarray):
        return [plain(value) for value in node]
    with np.errstate(over="ignore"):
        return str(np.float32(node)) if isinstance(node, int | float | np.floating) else node


@given(ANY_JSON, st.sampled_from([None, 2]))
def test_an_answer_is_read_as_the_standard_library_reads_it_whatever_is_in_it(node: object, indent: int | None) -> None:
    body = json.dumps(node, indent=indent)
    response = SimpleNamespace(content=body.encode(), json=lambda: json.loads(body))
    assert plain(json_of(response, orjson.loads)) == plain(json.loads(body))


def test_lists_of_numbers_come_as_arrays_and_lists_with_others_as_they_are() -> None:
    body = b'{"data": [{"index": 1, "e": [0.25, -1e-05, 3, 1e300]}, {"index": 0, "e": [1.0, null]}], "none": []}'
    found = json_of(SimpleNamespace(content=body), orjson.loads)
    vector = found["data"][0].pop("e")
    assert vector.dtype == np.float32
    assert vector.tolist() == [0.25, np.float32(-1e-05), 3, math.inf]
    assert found == {"data": [{"index": 1}, {"index": 0, "e": [1.0, None]}], "none": []}


def test_answers_that_lie_about_their_order_or_shape_are_no_answers() -> None:
    with pytest.raises(ValueError, match="indices"):
        in_order([{"index": 0, "e": 1}, {"index": 0, "e": 2}], "e")
    with pytest.raises(ValueError, match="shape"):
        rows([[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match="1 of 2 documents"):
        ranked([(1, 0.5)], 2, None)
    with pytest.raises(IndexError):
        ranked([(7, 0.5)], 2, None)


# --- money and pace -----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), max_size=50), st.floats(0, 0.01))
def test_what_was_billed_never_exceeds_the_budget(requests: list[tuple[int, float]], most: float) -> None:
    budget = Budget(1.0, most)
    under_way: list[tuple[int, int]] = []
    for tokens, share in requests:
        if budget.reserve(tokens):
            under_way.append((tokens, math.floor(tokens * share)))
        if len(under_way) > 3:
            budget.settle(*under_way.pop(0))
    for reserved, billed in under_way:
        budget.settle(reserved, billed)
    assert budget.usage.dollars <= most + 1e-12


def test_a_gate_that_is_stopped_sends_those_who_wait_home_at_once() -> None:
    gate = Gate(1, 0, 0)
    gate.close(60)
    sent_home = threading.Event()

    def ask() -> None:
        gate.enter(1)
        try:
            with gate.lane():
                pass
        except Interrupted:
            sent_home.set()

    threading.Thread(target=ask).start()
    assert not sent_home.wait(0.05)
    gate.stopped.set()
    assert sent_home.wait(2)


def test_a_request_that_is_not_wanted_any_more_is_not_sent() -> None:
    gate = Gate(1, 0, 0)
    gate.enter(1, lambda: False)
    with pytest.raises(Interrupted), gate.lane():
        pytest.fail("it had a lane")


@pytest.mark.parametrize("comes_in", [True, False])
def test_an_answer_is_read_when_no_other_is_coming_in_and_waits_no_longer_than_a_moment(comes_in: bool) -> None:
    gate = Gate(2, 0, 0)
    came, left = threading.Event(), []

    def slow() -> None:
        gate.enter(1)
        with gate.lane() as coming, coming(200):
            came.set()
            assert done.wait(5)
            left.append("slow")

    done = threading.Event()
    other = threading.Thread(target=slow)
    other.start()
    assert came.wait(5)
    gate.enter(1)
    with gate.lane():
        if comes_in:
            threading.Timer(LONGEST_PAUSE / 5, done.set).start()
    left.append("fast")
    done.set()
    other.join(5)
    assert left == (["slow", "fast"] if comes_in else ["fast", "slow"])


@pytest.mark.parametrize(
    ("amount", "said"), [(0.0, "0.000000"), (0.25, "0.250000"), (-12.5, "-12.500000"), (4.2e-9, "0.0000000042")]
)
def test_an_amount_of_money_shows_two_digits_however_small_it_is(amount: float, said: str) -> None:
    assert dollars(amount) == said


def test_an_answer_is_read_when_the_request_that_waited_for_its_lane_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "HANDOVER", 0.2)
    gate, order, wants = Gate(1, 0, 0), [], threading.Event()

    def next_request() -> None:
        gate.enter(1)
        wants.set()
        with gate.lane():
            order.append("sent")

    other = threading.Thread(target=next_request)
    gate.enter(1)
    with gate.lane():
        other.start()
        assert wants.wait(5)
        time.sleep(0.05)
    order.append("read")
    other.join(5)
    assert order == ["sent", "read"]


def test_an_answer_waits_for_no_request_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "HANDOVER", 60)
    gate = Gate(1, 0, 0)
    gate.enter(1)
    start = time.monotonic()
    with gate.lane():
        pass
    assert time.monotonic() - start < 5
