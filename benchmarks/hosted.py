"""What the base of hosted models adds to the wire: 10,000 texts through each provider's SDK to a local stand-in.

Usage: python benchmarks/hosted.py [PROVIDER...] [--texts N] [--rounds N] [--quick]

The stand-in (tests/providers_server.py, in a process of its own) works on eight requests at a time and lets others
wait. A request takes it 100 ms and 5 ms for each input, its own work included: at most 1,600 texts a second, which is
some nine million tokens of these a minute. Its answers are bytes that were put together in the round before the first
that counts, so that it takes little of the processors it shares with us. Vectors have the dimensions that the model has
by default; numbers are written with the digits that a float32 needs.

"ideal" is what the stand-in's eight lanes need for the requests, had they work at every moment. "bare" is a client
that does nothing of its own: it sends the very same bodies, encoded before its clock starts, through eight threads over
eight open connections to the same stand-in, receives every answer to its last byte, and looks at none. "overhead" is
what sememe takes beyond that, from a list of texts to an array of vectors: counting, batching, the SDK, encoding,
parsing, checking, scaling. Both run in turns, and the overhead is the median of those of the rounds. "busy" is the
share of the time in which a lane of the stand-in had work. "cpu" are seconds of this process, all threads, "bare cpu"
the same of the bare client. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import harness
import httpx2
import numpy as np

from sememe.models.providers import load_hosted
from sememe.settings import Hosted, Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import providers_server as stand_ins

LANES = 8
A_REQUEST, AN_INPUT = 0.1, 0.005
NAMES = (
    "openai:text-embedding-3-small", "cohere:embed-v4.0", "google:gemini-embedding-001",
    "google:gemini-embedding-001,dimensions=768",
    "jina:jina-embeddings-v5-text-small", "voyage:voyage-4-large", "mistral:mistral-embed", "ollama:nomic-embed-text",
    "tei:bge-m3,dimensions=1024",
)  # fmt: skip
ROWS, MARK = 64, "@"
"""Vectors of each length that the stand-in has in store, and what stands for one in an answer."""

WORDS = """the tap under the kitchen sink drips because its washer is worn, so the water is turned off, the handle
taken out and a new one of the same size put in before the council can vote on what it costs"""


class Timed(stand_ins.Handler):
    """A stand-in that takes its time by the size of a request, and whose answers cost it nothing to make."""

    answers: dict[tuple[str, int, int], bytes] = {}  # noqa: RUF012 - shared by all connections on purpose
    lanes = threading.Semaphore(LANES)

    def _answer(
        self, it: stand_ins.StandIn, seen: stand_ins.Seen, what: str, body: dict[str, Any], fault: object
    ) -> None:
        del it, fault
        with self.lanes:
            done = time.monotonic() + A_REQUEST + AN_INPUT * len(seen.inputs)
            answer = self._made(seen, what, body)
            time.sleep(max(0.0, done - time.monotonic()))
        seen.status = 200
        self._send_bytes(200, answer, {})

    def _made(self, seen: stand_ins.Seen, what: str, body: dict[str, Any]) -> bytes:
        """The bytes of an answer to so many texts; they are put together once, in the round that warms up."""
        dim, packed, n = stand_ins.dimensions_of(body, seen.path), stand_ins.is_packed(body), len(seen.inputs)
        with self.stand_in.lock:
            if (seen.path, dim, n) not in self.answers:
                made = [stand_ins.hashed(f"text {i}", dim) for i in range(ROWS)]
                rows = [json.dumps(stand_ins.b64(row) if packed else short(row)) for row in made]
                whole = stand_ins.answer_body(seen.dialect, what, body, [MARK] * n, 100 * n)
                marks = json.dumps(whole).split(f'"{MARK}"')
                parts = [text for i, mark in enumerate(marks) for text in (mark, rows[i % ROWS])]
                self.answers[seen.path, dim, n] = "".join(parts[:-1]).encode()
            return self.answers[seen.path, dim, n]

    def do_GET(self) -> None:  # noqa: N802 - the name that the standard library calls
        """The requests so far, and forget them."""
        with self.stand_in.lock:
            taken, self.stand_in.seen[:] = list(self.stand_in.seen), []
        kept = ("authorization", "x-goog-api-key", "content-type")
        found = [
            [seen.path, {k: v for k, v in seen.headers.items() if k.lower() in kept}, seen.body, len(seen.inputs)]
            for seen in taken
        ]
        self._send(200, json.dumps(found), {})


def short(row: np.ndarray) -> list[float]:
    """The numbers of a vector with as many digits as a float32 has."""
    return [float(str(number)) for number in row]


def serve() -> None:
    """The stand-in's side: print the address, answer until the end."""
    stand_in = stand_ins.StandIn()
    server = stand_ins.Server(("127.0.0.1", 0), type("Bound", (Timed,), {"stand_in": stand_in}))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of hosted models over the wire.")
    parser.add_argument("providers", nargs="*", help="only these; no result is kept")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2,000 texts, one round, no result is kept")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    n, rounds = (2_000, 1) if options.quick else (options.texts, options.rounds)
    names = [name for name in NAMES if not options.providers or name.partition(":")[0] in options.providers]
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        found = {name: measured(name, url, n, rounds) for name in names}
    finally:
        server.terminate()
        server.wait()
    harness.table(
        [["model", "requests", "ideal", "bare", "sememe", "overhead", "busy", "cpu", "bare cpu"]]
        + [
            [name, str(f["requests"]), f"{f['ideal']:.2f} s", f"{f['bare']:.2f} s", f"{f['seconds']:.2f} s",
             f"{f['overhead']:+.1%}", f"{f['busy']:.1%}", f"{f['cpu']:.2f} s",
             f"{f['bare_cpu']:.2f} s"]
            for name, f in found.items()
        ]
    )  # fmt: skip
    sdks = harness.versions(["openai", "cohere", "google-genai", "voyageai", "mistralai", "httpx2"])
    harness.finish(
        "hosted",
        {"texts": n, "rounds": rounds, "lanes": LANES, "a_request": A_REQUEST, "an_input": AN_INPUT,
         "versions": sdks, "models": found},
        keep=not (options.quick or options.providers),
    )  # fmt: skip


def measured(name: str, url: str, n: int, rounds: int) -> dict[str, Any]:
    """One provider: sememe and the bare wire in turns, medians."""
    stand_in = stand_ins.StandIn()
    stand_in.url = url
    model = load_hosted(name, Settings(hosted=Hosted(environ=stand_in.environ(), concurrency=LANES)))
    texts = prose(n)
    control = httpx2.Client(base_url=url, timeout=60)
    model.embed(texts)
    control.get("/")
    ours, bare, over, cpu = [], [], [], []
    for _ in range(rounds):
        timing = harness.timed(lambda: model.embed(texts))
        requests = control.get("/").json()
        wire = replayed(url, requests)
        control.get("/")
        ours.append(timing["seconds"])
        bare.append(wire["seconds"])
        over.append(timing["seconds"] / wire["seconds"] - 1)
        cpu.append((timing["cpu"], wire["cpu"]))
    work = sum(A_REQUEST + AN_INPUT * inputs for *_, inputs in requests)
    seconds = statistics.median(ours)
    return {
        "dim": model.dim, "requests": len(requests), "ideal": work / LANES, "seconds": seconds,
        "bare": statistics.median(bare), "overhead": statistics.median(over), "overheads": over,
        "busy": work / (LANES * seconds), "cpu": statistics.median(a for a, _ in cpu),
        "bare_cpu": statistics.median(b for _, b in cpu),
    }  # fmt: skip


def prose(n: int) -> list[str]:
    """Texts of 40 to 120 words that all differ."""
    chance = random.Random(7)
    return [f"Note {i}. {' '.join(chance.choices(WORDS.split(), k=chance.randint(40, 120)))}." for i in range(n)]


def replayed(url: str, requests: list[list[Any]]) -> dict[str, float]:
    """Seconds for the same bodies through as many threads over open connections; answers are received and dropped."""
    prepared = [(path, headers, json.dumps(body).encode()) for path, headers, body, _ in requests]
    limits = httpx2.Limits(max_connections=LANES, max_keepalive_connections=LANES)
    with httpx2.Client(base_url=url, timeout=60, limits=limits) as client, ThreadPoolExecutor(LANES) as pool:

        def send(request: tuple[str, dict[str, str], bytes]) -> int:
            path, headers, body = request
            return len(client.post(path, headers=headers, content=body).content)

        list(pool.map(send, prepared[:LANES]))
        return harness.timed(lambda: list(pool.map(send, prepared)))


if __name__ == "__main__":
    main()
