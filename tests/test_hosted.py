"""Every provider's own SDK, for real, against a server that speaks its documented protocol and has its bad days."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from providers_server import (
    INPUT_TOKENS,
    KEY,
    LIMITS,
    NAMES,
    TRAP,
    Fault,
    StandIn,
    hashed,
    retry_date,
    serving,
    tokens_of,
)

import sememe
from sememe.errors import (
    CostLimit,
    Incomplete,
    InputError,
    MissingExtra,
    ModelError,
    NotFound,
    ProviderError,
    SememeError,
)
from sememe.models.encoder import TextEncoder
from sememe.models.providers.base import HostedEmbedder
from sememe.models.providers.catalogue import MODELS, PROVIDERS
from sememe.models.providers.rerank import load_reranker
from sememe.settings import Hosted, Settings
from sememe.types import Vectors
from sememe.vectors import normalise

EVERY = pytest.mark.parametrize("provider", NAMES)
Load = Callable[..., HostedEmbedder]


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A server of one's own: what an earlier test gave up is still being answered, and billed there."""
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def load(server: StandIn) -> Load:
    """Loads a model of a provider, or any name, with settings of hosted models by keyword."""

    def loaded(provider: str, **changes: object) -> HostedEmbedder:
        hosted = Hosted(environ=server.environ(), backoff=0.01, timeout=5, concurrency=4)
        name = NAMES.get(provider, provider)
        model = sememe.load_model(name, settings=Settings(hosted=replace(hosted, **changes)))  # type: ignore[arg-type]
        assert isinstance(model, HostedEmbedder)
        return model

    return loaded


def texts(n: int) -> list[str]:
    """Texts that all differ."""
    return [f"the text of number {i}" for i in range(n)]


def expected(given: list[str], dim: int) -> Vectors:
    """What the server makes of texts, at unit length."""
    return normalise(np.stack([hashed(text, dim) for text in given]))


def refusal_of(call: Callable[[], object]) -> SememeError:
    """The error of a call, after a look at its chain: no exception of an SDK is behind it, no key in any of it."""
    with pytest.raises(SememeError) as caught:
        call()
    error: BaseException | None = caught.value
    while error is not None:
        assert type(error).__module__.startswith("sememe."), f"{type(error)} is raw"
        assert KEY not in f"{error} {error!r} {error.__dict__}"
        assert "\n" not in str(error)
        error = error.__cause__ or error.__context__
    return caught.value


# --- the right vectors, in the right order, within the limits -------------------------------------------------


@EVERY
def test_every_text_gets_its_own_vector_in_order(provider: str, load: Load) -> None:
    model = load(provider)
    given = texts(300)
    made = model.encode(given)
    assert made.shape == (300, model.dim)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected(given, model.dim), atol=1e-6)
    np.testing.assert_allclose(model.encode(given[7]), made[7], atol=1e-6)


@EVERY
def test_no_request_exceeds_the_providers_limits_and_none_is_smaller_than_it_must_be(
    provider: str, load: Load, server: StandIn
) -> None:
    items, tokens = LIMITS[provider]
    model = load(provider, concurrency=1)
    model.encode(texts(2 * items + 1))
    sizes = [len(inputs) for inputs in server.requests()]
    assert max(sizes) <= items
    if tokens is None:
        assert sorted(sizes, reverse=True) == [items, items, 1]
    long = [f"{i} " + "word " * 700 for i in range(80)]
    server.seen.clear()
    model.encode(long)
    sums = [sum(map(tokens_of, inputs)) for inputs in server.requests()]
    assert all(seen.status == 200 for seen in server.seen)
    assert tokens is None or max(sums) <= tokens


@EVERY
def test_each_role_is_told_as_the_provider_wants_it(provider: str, load: Load, server: StandIn) -> None:
    model = load(provider)
    model.encode_document(["a tap"])
    model.encode_query(["a tap"])
    bodies = [str(seen.body) for seen in server.seen]
    told = {
        "cohere": ("search_document", "search_query"), "google": ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"),
        "jina": ("retrieval.passage", "retrieval.query"), "voyage": ("'document'", "'query'"),
    }.get(provider)  # fmt: skip
    if told is None:
        assert bodies[0] == bodies[1]
    else:
        assert [(told[0] in body, told[1] in body) for body in bodies] == [(True, False), (False, True)]


def test_the_newer_model_of_google_gets_one_content_an_input_with_its_prompt(load: Load, server: StandIn) -> None:
    model = load("google:gemini-embedding-2,dimensions=128")
    assert len(model.encode_query(["tea", "coffee", "milk"])) == 3
    assert server.seen[-1].inputs == [f"task: search result | query: {word}" for word in ("tea", "coffee", "milk")]
    model.encode_document(["tea"])
    assert server.seen[-1].inputs == ["title: none | text: tea"]
    assert "taskType" not in str(server.seen[-1].body)


def test_vectors_whose_indices_come_in_another_order_are_put_in_order(load: Load, server: StandIn) -> None:
    for provider in ("openai", "jina", "mistral"):
        model = load(provider)
        server.faults.append(Fault("shuffle"))
        np.testing.assert_allclose(model.encode(texts(9)), expected(texts(9), model.dim), atol=1e-6)


@EVERY
def test_a_text_that_is_too_long_is_never_cut_in_silence(provider: str, load: Load, server: StandIn) -> None:
    model = load(provider)
    long = "word " * (INPUT_TOKENS + 1000)
    if provider == "google":
        made = model.embed([long, "short"])
        assert made.kept[0] == model.max_tokens < made.tokens[0]
        assert made.kept[1] == made.tokens[1]
        return
    error = refusal_of(lambda: model.embed([*texts(40), long, *texts(3)]))
    assert isinstance(error, Incomplete)
    assert list(error.refused) == [40]
    assert "8192 tokens" in error.refused[40]


@EVERY
def test_one_bad_text_costs_the_others_nothing_and_is_told_by_its_place(
    provider: str, load: Load, server: StandIn
) -> None:
    model = load(provider)
    given = [*texts(20), f"please {TRAP}", *texts(50)[20:], "   ", ""]
    error = refusal_of(lambda: model.embed(given))
    assert isinstance(error, Incomplete)
    assert error.stop is None
    assert sorted(error.refused) == [20, 51, 52]
    assert "flagged by a filter" in error.refused[20]
    assert "empty" in error.refused[51]
    assert "20" in str(error)
    before = len(server.seen)
    made = model.embed([given[i] for i in error.made])
    assert len(server.seen) == before, "what was paid for was asked for again"
    np.testing.assert_allclose(made.vectors, expected(texts(50), model.dim), atol=1e-6)
    assert set(server.billed.values()) == {1}


def test_the_bill_of_a_request_is_shared_out_among_its_texts(load: Load) -> None:
    given = ["one", "one two three four", "a, b and c: d", "x" * 50]
    made = load("openai").embed(given)
    assert made.tokens.sum() == sum(map(tokens_of, given))
    assert (made.tokens == made.kept).all()


def test_lone_surrogates_are_replaced_and_counted(load: Load, server: StandIn) -> None:
    made = load("openai").embed(["a \ud800 b \udfff", "plain"])
    assert made.replaced.tolist() == [2, 0]
    assert server.seen[-1].inputs[0] == "a \ufffd b \ufffd"


def test_one_prompt_is_put_before_every_text_instead_of_the_models_own(load: Load, server: StandIn) -> None:
    load("google:gemini-embedding-2").encode(["tea"], prompt="task: clustering | query: ")
    assert server.seen[-1].inputs == ["task: clustering | query: tea"]


def test_truncated_dimensions_are_scaled_to_unit_length_again(load: Load) -> None:
    made = load("openai").encode(texts(3), truncate_dim=16)
    np.testing.assert_allclose(made, normalise(expected(texts(3), 64)[:, :16]), atol=1e-6)


def test_a_real_model_behind_every_wire_keeps_its_meaning(load: Load, server: StandIn, model: TextEncoder) -> None:
    def padded(text: str, dim: int) -> Vectors:
        vector = model.encode(text)
        return np.pad(vector, (0, max(0, dim - len(vector))))[:dim]

    server.embed = padded
    given = ["The plumber replaced a dripping faucet.", "Parliament passed the budget after a long night."]
    for provider in NAMES:
        hosted = load(provider)
        scores = hosted.similarity(hosted.encode_query(["fixing a leaky tap"]), hosted.encode_document(given))
        assert scores[0, 0] > scores[0, 1] + 0.1, provider
        want = normalise(np.stack([padded(text, hosted.dim) for text in given]))
        np.testing.assert_allclose(hosted.encode_document(given), want, atol=1e-5)


# --- bad days ---------------------------------------------------------------------------------------------------

PASSING = {
    "busy, seconds": lambda: Fault(status=429, headers={"Retry-After": "0.2"}),
    "busy, a date": lambda: Fault(status=429, headers={"Retry-After": retry_date(1)}),
    "busy, no word when": lambda: Fault(status=429),
    "an error of the server": lambda: Fault(status=500),
    "overloaded": lambda: Fault(status=503, message="overloaded"),
    "a dropped connection": lambda: Fault("drop"),
    "a truncated body": lambda: Fault("truncate"),
    "a page of a proxy": lambda: Fault("prose"),
}


@EVERY
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_for_and_nothing_is_billed_twice(
    provider: str, fault: str, load: Load, server: StandIn
) -> None:
    model = load(provider, concurrency=2)
    server.faults.append(PASSING[fault]())
    started = time.monotonic()
    given = texts(40)
    made = model.encode(given)
    np.testing.assert_allclose(made, expected(given, model.dim), atol=1e-6)
    assert server.billed == dict.fromkeys(given, 1)
    assert model.usage.retries == 1, "the SDK retried too, or nobody did"
    assert len(server.seen) == model.usage.requests
    if fault == "busy, seconds":
        assert time.monotonic() - started >= 0.2


@EVERY
def test_an_answer_that_does_not_come_is_given_up_and_asked_for_again(
    provider: str, load: Load, server: StandIn
) -> None:
    model = load(provider, timeout=0.5)
    model.ready()
    server.faults.append(Fault("slow", seconds=4))
    started = time.monotonic()
    assert len(model.encode(texts(2))) == 2
    assert 0.4 < time.monotonic() - started < 3.5
    assert model.usage.retries == 1


@EVERY
def test_who_stays_away_too_long_is_told_of_in_one_sentence(provider: str, load: Load, server: StandIn) -> None:
    model = load(provider, attempts=3)
    server.faults.extend(Fault(status=503, message="closed for today") for _ in range(3))
    error = refusal_of(lambda: model.encode(["tea"]))
    assert "3 attempts" in str(error)
    assert "again" in str(error)
    assert len(server.seen) == 3


def test_who_asks_for_more_patience_than_we_have_is_not_waited_for(load: Load, server: StandIn) -> None:
    server.faults.append(Fault(status=429, message="daily limit", headers={"Retry-After": "7200"}))
    started = time.monotonic()
    error = refusal_of(lambda: load("openai").encode(["tea"]))
    assert "7,200 s" in str(error)
    assert time.monotonic() - started < 5


def test_vectors_without_any_number_are_no_answer(load: Load, server: StandIn) -> None:
    server.key, server.embed = "none", lambda text, dim: hashed(text, dim)[:0]
    model = load(f"openai:bge-m3@{server.url}/v1")
    assert "cannot be used" in str(refusal_of(lambda: model.encode(["tea"])))


def test_an_exhausted_account_is_not_asked_again(load: Load, server: StandIn) -> None:
    server.faults.append(Fault(status=429, message="You exceeded your current quota, please check your plan"))
    assert "quota" in str(refusal_of(lambda: load("openai").encode(["tea"])))
    assert len(server.seen) == 1


@EVERY
@pytest.mark.parametrize("fault", ["short", "wide"])
def test_a_wrong_number_of_vectors_or_dimensions_is_no_answer(
    provider: str, fault: str, load: Load, server: StandIn
) -> None:
    model = load(provider)
    server.faults.append(Fault(fault))
    error = str(refusal_of(lambda: model.encode(texts(5))))
    counts = ("4 vectors for 5 inputs",) if fault == "short" else (f"{model.dim + 1} dimensions", f"{model.dim} were")
    assert all(count in error for count in counts), error
    assert len(server.seen) == 1, "it was paid for twice"


@EVERY
@pytest.mark.parametrize("fault", ["nan", "null"])
def test_a_vector_that_is_not_of_numbers_is_refused_alone(
    provider: str, fault: str, load: Load, server: StandIn
) -> None:
    packed = provider in ("openai", "cohere", "jina", "voyage")
    if packed and fault == "null":
        pytest.skip("vectors in base64 have no null")
    model = load(provider)
    server.faults.append(Fault(fault))
    error = refusal_of(lambda: model.embed(texts(5)))
    assert isinstance(error, Incomplete)
    assert list(error.refused) == [0]
    np.testing.assert_allclose(model.encode(texts(5)[1:]), expected(texts(5)[1:], model.dim), atol=1e-6)
    assert len(server.seen) == 1


@EVERY
def test_a_wrong_key_and_a_missing_one_are_one_clear_line(provider: str, load: Load, server: StandIn) -> None:
    [found] = [one for one in PROVIDERS if one.name == provider]
    name, server.open = found.keys[0], ()
    none = {given: value for given, value in server.environ().items() if given not in found.keys}
    error = str(refusal_of(lambda: load(provider, environ=none).encode(["tea"])))
    assert (f"set {name}" in error and not server.seen) or (found.open and f"refused the key in {name}" in error)
    wrong = none | {name: "sk-expired-1234567890"}
    error = str(refusal_of(lambda: load(provider, environ=wrong).encode(["tea"])))
    assert f"refused the key in {name}" in error
    assert "sk-expired" not in error


@EVERY
def test_a_key_that_expires_on_the_way_ends_the_call_and_keeps_what_was_made(
    provider: str, load: Load, server: StandIn
) -> None:
    model = load(provider, concurrency=1)
    given = texts(2 * LIMITS[provider][0] + 40)
    server.faults.extend([Fault("slow"), Fault(status=401, message=f"token {KEY} expired")])
    error = refusal_of(lambda: model.embed(given))
    assert isinstance(error, Incomplete)
    assert isinstance(error.stop, ProviderError)
    assert "check the key" in str(error)
    assert len(error.made) == len(server.seen[0].inputs)
    assert len(server.seen) == 2, "the rest was sent all the same"
    model.encode(given)
    assert server.billed == dict.fromkeys(given, 1)


@EVERY
def test_a_model_that_does_not_exist_is_named_with_those_that_do(provider: str, load: Load, server: StandIn) -> None:
    if provider == "tei":
        pytest.skip("such a server has one model and no names")
    known = {"openai": "text-embedding-3-smal", "voyage": "voyage-4-larg"}.get(provider, "no-such-model")
    error = str(refusal_of(lambda: load(f"{provider}:{known}").encode(texts(200))))
    assert known in error
    assert "sememe hosted" in error
    assert len(server.seen) <= 8
    if provider == "openai":
        assert "openai:text-embedding-3-small" in error


def test_a_request_that_is_refused_for_itself_is_not_blamed_on_every_text(load: Load, server: StandIn) -> None:
    server.faults.extend(Fault(status=400, message="dimensions are not supported") for _ in range(40))
    error = refusal_of(lambda: load("openai", concurrency=1).embed(texts(30)))
    assert isinstance(error, Incomplete)
    assert not error.refused
    assert "refuses every request" in str(error)
    assert len(server.seen) == 2


@EVERY
def test_a_provider_whose_extra_is_not_installed_names_it(
    provider: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("openai", "cohere", "google", "voyageai", "mistralai.client", "httpx2"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'sememe\[{provider}\]'"):
        load(provider).encode(["tea"])


def test_nobody_listening_is_one_sentence(load: Load, server: StandIn) -> None:
    nobody = {**server.environ(), "OLLAMA_HOST": f"http://user:{KEY}@127.0.0.1:9"}
    error = str(refusal_of(lambda: load("ollama", environ=nobody, attempts=2).encode("tea")))
    assert "ollama:nomic-embed-text,dimensions=64 was not to be had at 127.0.0.1:9 in 2 attempts" in error
    name = "ollama:nomic-embed-text@http://127.0.0.1:9"
    assert f"{name} was not to be had in 2 attempts" in str(refusal_of(lambda: load(name, attempts=2).encode("tea")))


def test_offline_nothing_is_asked_of_the_network(load: Load, server: StandIn) -> None:
    away = {**server.environ(), "OPENAI_BASE_URL": "http://models.example/v1"}
    settings = Settings(offline=True, hosted=Hosted(environ=away))
    error = str(refusal_of(lambda: sememe.load_model(NAMES["openai"], settings=settings).encode(["tea"])))
    assert "SEMEME_OFFLINE" in error


# --- pace, concurrency, money -----------------------------------------------------------------------------------


@EVERY
def test_the_lanes_are_all_used_and_never_exceeded(provider: str, load: Load, server: StandIn) -> None:
    server.delay = 0.05
    load(provider, concurrency=4).encode(texts(300))
    assert server.most_busy == 4


def test_a_busy_provider_is_left_alone_by_all_lanes(load: Load, server: StandIn) -> None:
    model = load("openai", concurrency=4)
    server.faults.append(Fault(status=429, headers={"Retry-After": "0.3"}))
    arrivals: list[float] = []
    server.embed = lambda text, dim: (arrivals.append(time.monotonic()), hashed(text, dim))[1]
    model.encode(texts(16))
    started = time.monotonic()
    server.faults.append(Fault(status=429, headers={"Retry-After": "0.3"}))
    arrivals.clear()
    threads = [threading.Thread(target=model.encode, args=([f"one of {i}"],)) for i in range(4)]
    threads[0].start()
    time.sleep(0.1)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(arrivals) - started >= 0.3


def test_a_pace_is_kept(load: Load, server: StandIn) -> None:
    model = load("cohere", requests_per_minute=600, concurrency=4)
    started = time.monotonic()
    model.encode(texts(96 * 4))
    assert time.monotonic() - started >= 0.3
    model = load("cohere", tokens_per_minute=60_000, concurrency=4)
    started = time.monotonic()
    model.encode(texts(40))
    assert time.monotonic() - started >= 0.2


def test_usage_is_what_the_provider_billed_and_costs_what_it_says(load: Load, server: StandIn) -> None:
    model = load("voyage")
    model.encode(texts(50))
    assert model.usage.tokens == server.billed_tokens
    assert model.usage.dollars == pytest.approx(server.billed_tokens * 0.12e-6)
    assert model.bill() == (server.billed_tokens, pytest.approx(model.usage.dollars))
    assert model.bill()[0] == 0


def test_a_cost_limit_is_never_exceeded_and_what_was_paid_for_is_kept(load: Load, server: StandIn) -> None:
    limit = 0.12e-6 * 2000
    model = load("cohere", max_cost=limit, concurrency=1)
    error = refusal_of(lambda: model.embed(texts(500)))
    assert isinstance(error, Incomplete)
    assert isinstance(error.stop, CostLimit)
    assert 0 < len(error.made) < 500
    assert server.billed_tokens * 0.12e-6 <= limit
    assert "--max-cost" in str(error)


def test_a_cost_limit_needs_a_price(load: Load) -> None:
    assert "price" in str(refusal_of(lambda: load("ollama", max_cost=1.0)))


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_a_cost_limit_is_an_amount_of_money(load: Load, limit: float) -> None:
    assert "from 0 on" in str(refusal_of(lambda: load("openai", max_cost=limit)))


# --- keys -------------------------------------------------------------------------------------------------------


@EVERY
def test_no_key_reaches_a_log_or_an_error_at_any_level(
    provider: str, load: Load, server: StandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    model = load(provider)
    for fault in (Fault(status=429), Fault("drop"), Fault("truncate"), Fault(status=500, message=f"no {KEY}")):
        server.faults.append(fault)
        model.encode(["tea"])
    server.faults.extend(Fault(status=422, message=f"{'x' * 295}{KEY} is odd") for _ in range(2))
    error = refusal_of(lambda: load(provider).encode(["tea"]))
    shown = "".join([caplog.text, *capfd.readouterr(), repr(model), repr(Settings(hosted=Hosted({"A": KEY})))])
    assert KEY not in shown
    assert not any(KEY[:length] in f"{error}" for length in range(8, len(KEY)))


def test_a_providers_key_never_goes_to_an_address_that_came_with_a_name(server: StandIn, load: Load) -> None:
    stranger = f"openai:text-embedding-3-small@{server.url}/v1"
    refusal_of(lambda: load(stranger).encode(["tea"]))
    assert KEY not in str([seen.headers for seen in server.seen])
    host = server.url.removeprefix("http://").upper().replace(".", "_").replace(":", "_")
    own = {**server.environ(), f"SEMEME_KEY_{host}": KEY}
    assert load(stranger, environ=own).encode(["tea"]).shape == (1, 1536)


def test_a_server_of_ones_own_needs_no_catalogue(server: StandIn, load: Load) -> None:
    model = load(f"openai:bge-m3,tokens=4096@{server.url}/v1", environ={})
    server.key = "none"
    assert model.dim == 1024
    assert model.max_tokens == 4096
    assert model.encode(["tea"]).shape == (1, 1024)
    assert model.cost(1000) is None


# --- pictures, chunks in context, rerankers ----------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))


@pytest.mark.parametrize(
    ("name", "dim"),
    [("cohere:embed-v4.0", 1536), ("cohere:embed-english-v3.0", 1024), ("jina:jina-clip-v2", 1024),
     ("google:gemini-embedding-2", 3072), ("voyage:voyage-multimodal-3", 1024)],
)  # fmt: skip
def test_a_picture_has_a_vector_in_the_space_of_texts(name: str, dim: int, load: Load, server: StandIn) -> None:
    model = load(name)
    made = model.encode_image([PNG])
    assert made.shape == (1, dim)
    assert model.encode_image(PNG).shape == (dim,)
    assert model.encode(["a picture of tea"]).shape == (1, dim)
    sent = str(server.seen[0].body)
    assert "image" in sent
    assert "iVBORw0KGgo" in sent


def test_what_is_no_picture_and_who_reads_none_are_told(load: Load) -> None:
    assert "reads no pictures" in str(refusal_of(lambda: load("openai").encode_image([PNG])))
    assert "neither PNG" in str(refusal_of(lambda: load("cohere:embed-v4.0").encode_image([b"not a picture"])))


@pytest.mark.parametrize("name", ["jina:jina-embeddings-v3", "voyage:voyage-context-3"])
def test_the_chunks_of_a_document_are_sent_together(name: str, load: Load, server: StandIn) -> None:
    model = load(name)
    chunks = texts(5)
    np.testing.assert_allclose(model.encode_together(chunks), expected(chunks, model.dim), atol=1e-6)
    [seen] = server.seen
    assert seen.body["late_chunking"] is True if "late_chunking" in seen.body else seen.body["inputs"] == [chunks]
    assert "cannot embed chunks together" in str(refusal_of(lambda: load("openai").encode_together(chunks)))


@pytest.mark.parametrize(
    "name", ["cohere:rerank-v4.0-fast", "voyage:rerank-2.5", "jina:jina-reranker-v3", "tei:bge-reranker"]
)
def test_a_reranker_scores_documents_in_their_order(name: str, server: StandIn) -> None:
    settings = Settings(hosted=Hosted(environ=server.environ(), backoff=0.01))
    server.faults.append(Fault(status=429))
    reranker = load_reranker(name, settings=settings)
    scores = reranker.rerank("a leaky tap", ["the budget passed", "a leaky tap", "a tap"])
    np.testing.assert_allclose(scores, [0, 1, 2 / 3], atol=1e-6)
    assert reranker.usage.retries == 1
    assert reranker.rerank("tea", []).shape == (0,)
    if name.startswith("voyage"):
        asked = reranker.rerank("a tap", ["a leaky tap", "say so: a tap"], instruction="say so:")
        assert asked[1] > asked[0]
    else:
        with pytest.raises(InputError, match="takes no instruction"):
            reranker.rerank("a tap", ["a leaky tap"], instruction="say so:")
    with pytest.raises(InputError, match="text 1 is empty"):
        reranker.rerank("tea", ["a", " "])


def test_who_cannot_rank_and_what_is_no_reranker_are_told(server: StandIn) -> None:
    settings = Settings(hosted=Hosted(environ=server.environ()))
    with pytest.raises(ModelError, match="no rerankers"):
        load_reranker("mistral:some-model", settings=settings).rerank("tea", ["a"])
    with pytest.raises(NotFound, match="makes vectors"):
        load_reranker("voyage:voyage-4", settings=settings)
    with pytest.raises(NotFound, match="ranks documents"):
        sememe.load_model("voyage:rerank-2.5", settings=settings)


def test_a_key_that_the_reranker_refuses_is_not_shown(server: StandIn) -> None:
    settings = Settings(hosted=Hosted(environ={**server.environ(), "VOYAGE_API_KEY": "sk-expired-1234567890"}))
    error = refusal_of(lambda: load_reranker("voyage:rerank-2.5", settings=settings).rerank("tea", ["a"]))
    assert "sk-expired" not in str(error)


def test_every_model_of_the_catalogue_can_be_loaded_and_has_honest_figures() -> None:
    providers = {provider.name for provider in PROVIDERS}
    assert {model.provider for model in MODELS} <= providers
    assert len({(model.provider, model.name) for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert model.tokens >= 512
        if model.kind == "embed":
            loaded = sememe.load_model(f"{model.provider}:{model.name}", settings=Settings())
            assert isinstance(loaded, HostedEmbedder)
            assert loaded.dim == model.dims[0]
            assert 4 * loaded.chunk_tokens <= model.tokens
            assert loaded.space.id == sememe.load_model(f"{model.provider}:{model.name}", settings=Settings()).space.id
