"""The one careful base of all hosted models: texts in, vectors of one space out, whoever makes them.

The way of a call: clean and check the texts, cut them into requests by number and by tokens, send those through a
bounded number of lanes, check every answer, and put each vector at the place of its text. A request that is refused
is halved until the text that was meant is alone; that one is told by its place, all others get their vectors. What
was paid for in a call that could not be finished is kept, so that asking again for it costs nothing.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np

from sememe.errors import CostLimit, Incomplete, InputError, ModelError, ProviderError, SememeError
from sememe.models.providers import names
from sememe.models.providers.batches import batches
from sememe.models.providers.calling import LONGEST_WAIT, Budget, Caller, Usage, dollars
from sememe.models.providers.connecting import connect
from sememe.models.providers.counting import BYTES_A_PIECE, EstimatedCounter
from sememe.models.providers.lanes import WORKERS_A_LANE, Gate
from sememe.models.providers.names import Hosting
from sememe.models.providers.wire import Answer, Billed, ContextWire, Input, Trouble, Wire
from sememe.models.tokens import SURROGATES
from sememe.settings import Settings
from sememe.space import CANARY_TEXTS, Space, prompted
from sememe.types import Embedded, Progress, Role, Vectors
from sememe.vectors import normalise, similarity, truncate

B = TypeVar("B", bound=Billed)

SPECIAL_TOKENS = 4
"""What a provider may put around an input."""

CHUNK_TOKENS = 512
"""What a chunk holds at most, in counted pieces, however much the model reads: a page, which one vector can mean."""

REASON_LENGTH = 300
EMPTY = "it is empty, and an empty text has no meaning to embed"
KEPT = 100_000
"""Vectors at most that are kept of calls which could not be finished."""

IMAGE_TOKENS = 2048
"""What a picture is taken to cost, for limits and budgets."""


@dataclass(slots=True)
class _Job:
    """One call: its inputs, and what has become of each so far.

    `tokens` are those that we counted, `made` those that were billed, by the places that have a row in `vectors`.
    """

    inputs: list[Input]
    role: Role
    progress: Progress | None = None
    together: bool = False
    tokens: list[int] = field(init=False)
    made: dict[int, int] = field(default_factory=dict)
    vectors: Vectors | None = None
    refused: dict[int, str] = field(default_factory=dict)
    stop: SememeError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.tokens = [0] * len(self.inputs)

    def put(self, places: Sequence[int], vectors: Vectors, billed: Sequence[int]) -> None:
        """Note the vectors of the inputs at `places`, and what they cost; the first say how long a vector is."""
        if self.vectors is None:
            self.vectors = np.empty((len(self.inputs), vectors.shape[1]), dtype=np.float32)
        self.vectors[places] = vectors
        self.made.update(zip(places, billed, strict=True))


class Hosted:
    """What embedding and ranking share: the connection, made when it is first needed, and what it costs."""

    def __init__(self, hosting: Hosting, settings: Settings) -> None:
        self._hosting = hosting
        self._settings = settings
        self._budget = Budget(hosting.model.price, settings.hosted.max_cost)
        self._lock = threading.RLock()
        self._caller: Caller | None = None
        self._key = ""
        self._told = 0
        self._closing: weakref.finalize[..., object] | None = None
        self._process = os.getpid()
        most = settings.hosted.max_cost
        if most is not None and not 0 <= most < math.inf:
            raise InputError(f"the cost limit is {most}; give an amount of dollars, from 0 on, or leave it out")
        if most is not None and hosting.model.price is None:
            raise InputError(
                f"the price of {hosting.name} is not known, so that a cost limit cannot be kept; leave it out, or see "
                f"whose prices are known with: sememe model list --hosted"
            )

    @property
    def usage(self) -> Usage:
        """What was asked and billed so far by this object."""
        return self._budget.usage

    def cost(self, tokens: int) -> float | None:
        """What so many tokens cost, in dollars; None when the price is not known."""
        price = self._hosting.model.price
        return None if price is None else tokens * price / 1e6

    def bill(self) -> tuple[int, float | None]:
        """The tokens billed since the last bill, and what they cost."""
        with self._lock:
            tokens, self._told = self.usage.tokens - self._told, self.usage.tokens
        return tokens, self.cost(tokens)

    def close(self) -> None:
        """Let the connections go; the next call makes new ones."""
        with self._lock:
            if self._closing is not None:
                self._closing()
            self._caller = self._closing = None

    def interrupt(self) -> None:
        """End the calls that are under way, as soon as the requests that were sent are answered."""
        with self._lock:
            if self._caller is not None:
                self._caller.gate.stopped.set()

    def _connected(self) -> Caller:
        if os.getpid() != self._process:
            raise ModelError(
                f"{self._hosting.name} was loaded in process {self._process} and cannot be used in its fork "
                f"{os.getpid()}; load it there, or start processes with the spawn method"
            )
        with self._lock:
            if self._caller is None:
                hosted = self._settings.hosted
                found = names.access(self._hosting, hosted)
                if self._settings.offline and not _is_local(found.url):
                    raise InputError(
                        f"{self._hosting.name} is on the network, and SEMEME_OFFLINE or HF_HUB_OFFLINE forbids to go "
                        f"there; unset it, or use a local model"
                    )
                self._key = found.key
                gate = Gate(hosted.concurrency, hosted.requests_per_minute, hosted.tokens_per_minute)
                wire = connect(self._hosting, found, gate.lane)
                self._closing = weakref.finalize(self, wire.close)
                self._caller = Caller(wire, hosted, self._budget, gate=gate)
            return self._caller

    def _asked(
        self, send: Callable[[Wire], B], tokens: int, *, wanted: Callable[[], bool] = lambda: True
    ) -> B | Trouble | None:
        """What a request of at most so many tokens gave, and its bill settled; None when it could exceed the budget."""
        caller = self._connected()
        if not self._budget.reserve(tokens):
            return None
        billed = 0
        try:
            outcome = caller.call(send, tokens, wanted=wanted)
            if not isinstance(outcome, Trouble):
                billed = outcome.tokens if outcome.tokens is not None else tokens
        finally:
            self._budget.settle(tokens, billed)
        return outcome

    def _failure(self, trouble: Trouble) -> SememeError:
        """The sentence for a trouble that ends a call. No key is ever in it."""
        name, reason, model = self._hosting.name, self._shown(trouble.reason), self._hosting.model
        later = "go on later: run it again"
        asked = f", come back in {trouble.wait:,.0f} s" if trouble.wait else ""
        kind = "quota" if trouble.wait is not None and trouble.wait > LONGEST_WAIT else trouble.kind
        sentence = {
            "key": f"{name} refused the key in {names.key_names(self._hosting)} ({reason}); check the key",
            "model": f"{model.provider} has no {model.name} ({reason}){names.close_names(self._hosting)}; "
            f"see what there is with: sememe hosted",
            "quota": f"{name} takes no more for now ({reason}{asked}): a quota is used up; {later}",
            "busy": f"{name} was busy at {self._settings.hosted.attempts} attempts ({reason}); {later}",
            "down": f"{name} was not to be had{self._where()} in {self._settings.hosted.attempts} attempts ({reason}); "
            f"{later}",
            "refused": f"{name} refuses every request ({reason}); check the name, its options and the key",
            "garbled": f"{name} gave an answer that cannot be used ({reason}); check its address and options",
        }
        return ProviderError(sentence[kind])

    def _where(self) -> str:
        """The host that was asked, for a message, unless the name says it."""
        url = names.access(self._hosting, self._settings.hosted).url
        return f" at {urlsplit(url).netloc.rpartition('@')[2]}" if url and not self._hosting.url else ""

    def _shown(self, reason: str) -> str:
        """What a provider says, without the key that it may repeat, and then short."""
        text = reason.replace(self._key, "[key]") if self._key else reason
        return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}…"


class HostedEmbedder(Hosted):
    """A model behind an address. Safe to call from several threads; nothing is connected before the first call."""

    precision = "f32"

    def __init__(self, hosting: Hosting, settings: Settings) -> None:
        super().__init__(hosting, settings)
        self._counter = EstimatedCounter()
        self._prompts = dict(hosting.model.prompts)
        self._dim = hosting.dimensions or (hosting.model.dims[0] if hosting.model.dims else 0)
        self._paid: dict[tuple[Role, Input], tuple[Vectors, int]] = {}
        self._answered = False
        self._pool: ThreadPoolExecutor | None = None

    @property
    def space(self) -> Space:
        """What makes this model's vectors comparable. There is no digest: three canaries stand for it."""
        model = self._hosting.model
        return Space(
            model=self._hosting.name, digest="", dim=self.dim, pooling="hosted", normalised=True, metric="cosine",
            max_tokens=model.tokens, prompts=tuple(sorted(model.prompts)), modalities=model.modalities,
        )  # fmt: skip

    @property
    def dim(self) -> int:
        """The length of a vector; where nobody knows it, it is found by asking."""
        if not self._dim:
            self.ready()
        return self._dim

    @property
    def max_tokens(self) -> int:
        """What the model reads of one input, in its own tokens."""
        return self._hosting.model.tokens

    @property
    def chunk_tokens(self) -> int:
        """What a chunk may hold in counted pieces, `reserved` among them: never more than the model reads."""
        return min(CHUNK_TOKENS, self.max_tokens // BYTES_A_PIECE)

    @property
    def counter(self) -> EstimatedCounter:
        """A count from above, for cutting."""
        return self._counter

    @property
    def reserved(self) -> int:
        """What every document carries besides its text."""
        return SPECIAL_TOKENS + self._counter.count(self.prompt("document"))

    def prompt(self, role: str) -> str:
        """What we put before a text of a role; input types and tasks are the provider's own."""
        return self._prompts.get(role, "")

    def ready(self) -> None:
        """Raise now what the first call would: no SDK, no key, a wrong one, no such model. Embeds the canaries."""
        made = self._job(list(CANARY_TEXTS), "document", None)
        self._finish(made)
        self._keep_paid(made)

    def encode(
        self, texts: str | Iterable[str], *, prompt: str | None = None, role: Role = "document",
        truncate_dim: int | None = None, progress: Progress | None = None,
    ) -> Vectors:  # fmt: skip
        """Vectors of the texts: (n, dim) float32, or (dim,) for a single string.

        `prompt` is put before every text instead of the model's own. Raises Incomplete when an input is refused.
        """
        single = isinstance(texts, str)
        given: list[str] = [texts] if isinstance(texts, str) else list(texts)
        if truncate_dim is not None and not 1 <= truncate_dim <= self.dim:
            raise InputError(f"truncate_dim is {truncate_dim}, {self._hosting.name} has {self.dim} dimensions")
        prefix = self.prompt(role) if prompt is None else prompt
        vectors = self._embed(given, prefix, role, progress).vectors
        if truncate_dim is not None:
            vectors = truncate(vectors, truncate_dim)
        return vectors[0] if single else vectors

    def encode_query(self, texts: str | Iterable[str], *, truncate_dim: int | None = None) -> Vectors:
        """As `encode`, as queries."""
        return self.encode(texts, role="query", truncate_dim=truncate_dim)

    def encode_document(self, texts: str | Iterable[str], *, truncate_dim: int | None = None) -> Vectors:
        """As `encode`, as documents."""
        return self.encode(texts, role="document", truncate_dim=truncate_dim)

    def encode_image(self, images: bytes | Sequence[bytes]) -> Vectors:
        """Vectors of pictures (PNG, JPEG, GIF, WebP): (n, dim) float32, or (dim,) for one.

        Raises InputError when the model reads no pictures, Incomplete when one is refused.
        """
        if "image" not in self._hosting.model.modalities:
            raise InputError(f"{self._hosting.name} reads no pictures; see which models do with: sememe hosted")
        single = isinstance(images, bytes)
        made = self._job([images] if isinstance(images, bytes) else list(images), "document", None)
        self._finish(made)
        vectors = self._stacked(made)
        return vectors[0] if single else vectors

    def encode_together(self, chunks: Sequence[str]) -> Vectors:
        """Vectors of the chunks of one document, each in the light of the others: (n, dim) float32.

        Late chunking at Jina, context models at Voyage. A document that is longer than the model reads is divided.
        Raises InputError when the model cannot, Incomplete when a chunk is refused.
        """
        if not self._hosting.model.contextual:
            raise InputError(
                f"{self._hosting.name} cannot embed chunks together; jina-embeddings-v3 and v4 and "
                f"voyage-context-3 and -4 can"
            )
        job = _Job(list(chunks), "document", together=True)
        job.refused = {i: EMPTY for i, chunk in enumerate(chunks) if not chunk.strip()}
        if job.inputs and not job.refused:
            self._run(job, list(range(len(job.inputs))))
        self._finish(job)
        return self._stacked(job)

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Cosine of every row of a with every row of b: (n, m) float32."""
        return similarity(a, b)

    def embed(self, texts: Sequence[str], *, role: Role = "document", progress: Progress | None = None) -> Embedded:
        """Vectors in the order of `texts`, with the counts that a ledger needs.

        Raises Incomplete when some have none: because the provider refuses them, or because it stopped to answer,
        or because the next request might cost more than is allowed.
        """
        return self._embed(texts, self.prompt(role), role, progress)

    def _embed(self, texts: Sequence[str], prefix: str, role: Role, progress: Progress | None) -> Embedded:
        clean, replaced = [], []
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {i} is a {type(text).__name__}, not a string")
            found, count = (text, 0) if text.isascii() else SURROGATES.subn("\ufffd", text)
            clean.append(prompted(prefix, found) if found.strip() else "")
            replaced.append(count)
        job = self._job(clean, role, progress)
        self._finish(job)
        n = len(texts)
        tokens = np.array([job.made[i] for i in range(n)], dtype=np.int64)
        kept = np.minimum(tokens, self.max_tokens) if self._hosting.model.cuts else tokens.copy()
        return Embedded(
            vectors=self._stacked(job), tokens=tokens, kept=kept, replaced=np.array(replaced, dtype=np.int64)
        )

    def _stacked(self, job: _Job) -> Vectors:
        return np.zeros((0, self.dim), dtype=np.float32) if job.vectors is None else job.vectors

    def _job(self, inputs: Sequence[Input], role: Role, progress: Progress | None) -> _Job:
        """Embed what can be embedded; what was paid for before and not handed over is taken from there."""
        job = _Job(list(inputs), role, progress)
        self._take_paid(job)
        job.refused = {i: EMPTY for i, given in enumerate(inputs) if not given}
        todo = [i for i in range(len(inputs)) if i not in job.made and i not in job.refused]
        if todo:
            self._run(job, todo)
        return job

    def _take_paid(self, job: _Job) -> None:
        """Hand out what an unfinished call has paid for."""
        with self._lock:
            for i, given in enumerate(job.inputs if self._paid else ()):
                if (job.role, given) in self._paid:
                    vector, billed = self._paid[job.role, given]
                    job.put([i], vector[None], [billed])
            for i in job.made:
                self._paid.pop((job.role, job.inputs[i]), None)

    def _keep_paid(self, job: _Job) -> None:
        """Keep what was made for a call that cannot be finished."""
        with self._lock:
            if len(self._paid) > KEPT:
                self._paid.clear()
            if job.vectors is not None:
                # Copies: a row of the whole would keep all of it.
                self._paid |= {(job.role, job.inputs[i]): (job.vectors[i].copy(), n) for i, n in job.made.items()}

    def _run(self, job: _Job, todo: list[int]) -> None:
        """Send the inputs at the places `todo` through the lanes."""
        self._connected().gate.stopped.clear()
        model, provider, lanes = self._hosting.model, self._hosting.provider, self._settings.hosted.concurrency
        counted = self._counted(job, todo)
        if job.together:
            parts = batches(counted, len(todo), items=provider.items, most=model.tokens, alone=model.tokens)
        else:
            most = model.request_tokens or provider.tokens
            parts = batches(counted, len(todo), items=provider.items, most=most, alone=model.tokens, lanes=lanes)
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS_A_LANE * lanes, thread_name_prefix="sememe-hosted")
        running: list[Future[None]] = []
        room = threading.Semaphore(WORKERS_A_LANE * lanes)
        try:
            for part in parts:
                # To count further ahead would keep those from the processor that are under way.
                room.acquire()
                running.append(self._pool.submit(self._batch, job, [todo[i] for i in part]))
                running[-1].add_done_callback(lambda _: room.release())
            for future in running:
                future.result()
        except BaseException:
            self.interrupt()
            raise

    def _counted(self, job: _Job, todo: list[int]) -> Iterator[int]:
        """The tokens of the inputs with what goes around them, counted while the first requests are under way."""
        for i in todo:
            given = job.inputs[i]
            job.tokens[i] = self._counter.count(given) if isinstance(given, str) else IMAGE_TOKENS
            yield job.tokens[i] + SPECIAL_TOKENS

    def _batch(self, job: _Job, places: list[int]) -> None:
        """Send one request; when it is refused, its halves, down to the input that was meant."""
        if job.stop is None and self._connected().gate.stopped.is_set():
            job.stop = ProviderError(f"{self._hosting.name} was interrupted; what was embedded is kept: run it again")
        if job.stop is not None:
            return
        inputs = [job.inputs[i] for i in places]
        counted = [job.tokens[i] for i in places]
        outcome = self._send(inputs, job, sum(counted) + SPECIAL_TOKENS * len(places))
        if isinstance(outcome, Answer):
            self._place(job, places, counted, outcome)
        elif isinstance(outcome, SememeError):
            job.stop = job.stop or outcome
        elif outcome.kind != "refused" or self._refuses_all(inputs):
            job.stop = job.stop or self._failure(outcome)
        elif len(places) == 1:
            with job.lock:
                job.refused[places[0]] = f"{self._hosting.provider.name} refused it: {self._shown(outcome.reason)}"
        else:
            self._batch(job, places[: len(places) // 2])
            self._batch(job, places[len(places) // 2 :])

    def _send(self, inputs: list[Input], job: _Job, tokens: int) -> Answer | Trouble | CostLimit:
        """One request, within the budget, its answer checked: as many vectors as inputs, of the right length."""

        def send(wire: Wire) -> Answer:
            if job.together and isinstance(wire, ContextWire):
                return wire.embed_together([str(chunk) for chunk in inputs], job.role)
            return wire.embed(inputs, job.role)

        outcome = self._asked(send, tokens, wanted=lambda: job.stop is None)
        if outcome is None:
            spent, most = self.usage.dollars, self._settings.hosted.max_cost or 0.0
            return CostLimit(
                f"{self._hosting.name} cost ${dollars(spent)} so far, and the next request could exceed the limit of "
                f"${dollars(most)}; what was embedded is kept: run it again with a higher --max-cost to go on"
            )
        if isinstance(outcome, Trouble):
            return outcome
        return self._checked(outcome, len(inputs))

    def _checked(self, answer: Answer, n: int) -> Answer | Trouble:
        shape = answer.vectors.shape
        if len(shape) != 2 or shape[0] != n or not shape[1]:
            return Trouble("garbled", f"{shape[0] if shape else 0} vectors for {n} inputs")
        with self._lock:
            self._answered = True
            self._dim = self._dim or shape[1]
        if shape[1] != self._dim:
            return Trouble("garbled", f"vectors of {shape[1]} dimensions, {self._dim} were asked for")
        return answer

    def _refuses_all(self, inputs: list[Input]) -> bool:
        """Whether it is the request that is refused, not an input: told, before any success, by a harmless text."""
        if self._answered:
            return False
        if inputs == [CANARY_TEXTS[0]]:
            return True
        return not isinstance(self._send([CANARY_TEXTS[0]], _Job([], "document"), 64), Answer)

    def _place(self, job: _Job, places: list[int], counted: list[int], answer: Answer) -> None:
        """Hand out the rows of an answer. One that is not finite, or zero, is no meaning of anything."""
        largest = np.abs(answer.vectors).max(axis=1)
        good = np.isfinite(largest) & (largest > 0)
        unit, billed = normalise(answer.vectors[good]), _shares(counted, answer.tokens)
        kept = np.flatnonzero(good).tolist()
        with job.lock:
            job.put([places[row] for row in kept], unit, [billed[row] for row in kept])
            for row in np.flatnonzero(~good).tolist():
                job.refused[places[row]] = f"{self._hosting.provider.name} gave no vector of finite numbers for it"
            done = len(job.made) + len(job.refused)
        if job.progress is not None:
            job.progress(done, len(job.inputs))

    def _finish(self, job: _Job) -> None:
        """Raise Incomplete, and keep what was paid for, unless every input has its vector."""
        if len(job.made) == len(job.inputs):
            return
        self._keep_paid(job)
        if job.stop is not None:
            message = str(job.stop)
        else:
            first = min(job.refused)
            message = (
                f"{self._hosting.name} gave no vector for {len(job.refused)} of {len(job.inputs)} inputs; number "
                f"{first}, counted from 0: {job.refused[first]}; leave it out or change it"
            )
        raise Incomplete(message, refused=job.refused, made=sorted(job.made), stop=job.stop)


def _shares(counted: list[int], total: int | None) -> list[int]:
    """What each input of a request was billed, if only the sum is known: in proportion to what we counted."""
    if total is None:
        return counted
    whole = max(sum(counted), 1)
    before, shares = 0, []
    for upto in np.cumsum(counted).tolist():
        share = round(total * upto / whole)
        shares.append(share - before)
        before = share
    return shares


def _is_local(url: str | None) -> bool:
    return bool(url) and urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
