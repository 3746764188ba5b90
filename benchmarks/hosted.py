"""What the base of hosted models adds to the wire: 10,000 texts through each provider's SDK to a local stand-in.

Usage: python benchmarks/hosted.py [--texts N] [--quick]

The stand-in (tests/providers_server.py, in a process of its own) takes 100 ms for a request and 5 ms for each input,
and works on eight requests at a time. "Bare" sends the very same bodies through the same number of threads and reads
the answers without looking at them. Overhead is what sememe takes beyond that: counting, batching, the SDK, parsing,
checking. "Lanes busy" is the share of the stand-in's lanes that had work. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
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

from sememe.models.providers import load_hosted
from sememe.settings import Hosted, Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import providers_server as stand_ins

LANES = 8
A_REQUEST, AN_INPUT = 0.1, 0.005
NAMES = (
    "openai:text-embedding-3-small,dimensions=512", "cohere:embed-v4.0,dimensions=512",
    "google:gemini-embedding-001,dimensions=512", "jina:jina-embeddings-v5-text-small,dimensions=512",
    "voyage:voyage-4-large,dimensions=512", "mistral:mistral-embed", "ollama:nomic-embed-text,dimensions=512",
    "tei:bge,dimensions=512",
)  # fmt: skip


class Timed(stand_ins.Handler):
    """A stand-in that takes its time by the size of a request, and whose answers cost it nothing to make."""

    answers: dict[tuple[str, str, int], bytes] = {}  # noqa: RUF012 - shared by all connections on purpose
    lanes = threading.Semaphore(LANES)
    bodies: list[tuple[str, dict[str, str], dict[str, Any]]] = []  # noqa: RUF012

    def _answer(
        self, it: stand_ins.StandIn, seen: stand_ins.Seen, what: str, body: dict[str, Any], fault: object
    ) -> None:
        del it, fault
        with self.lanes:
            time.sleep(A_REQUEST + AN_INPUT * len(seen.inputs))
        key = (seen.dialect, what, len(seen.inputs))
        if key not in self.answers:
            first = (body.get("requests") or [{}])[0]
            dim = body.get("dimensions") or body.get("output_dimension") or first.get("outputDimensionality") or 1024
            packed = stand_ins.is_packed(body)
            row = stand_ins.hashed("a text", dim)
            vectors = [stand_ins.b64(row) if packed else row.tolist()] * len(seen.inputs)
            self.answers[key] = json.dumps(
                stand_ins.answer_body(seen.dialect, what, body, vectors, 7 * len(vectors))
            ).encode()
        seen.status = 200
        self._send(200, self.answers[key].decode(), {})

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


def serve() -> None:
    """The stand-in's side: print the address, answer until the end."""
    stand_in = stand_ins.StandIn()
    server = stand_ins.Server(("127.0.0.1", 0), type("Bound", (Timed,), {"stand_in": stand_in}))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of hosted models over the wire.")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2,000 texts, one round, no result is kept")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    n, rounds = (2_000, 1) if options.quick else (options.texts, options.rounds)
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        found = [measured(name, url, n, rounds) for name in NAMES]
    finally:
        server.terminate()
        server.wait()
    harness.table(
        [["provider", "requests", "bare", "sememe", "overhead", "lanes busy", "cpu"]]
        + [
            [f["provider"], str(f["requests"]), f"{f['bare']:.2f} s", f"{f['seconds']:.2f} s", f"{f['overhead']:+.1%}",
             f"{f['busy']:.0%}", f"{f['cpu']:.2f} s"]
            for f in found
        ]
    )  # fmt: skip
    harness.finish("hosted", {"texts": n, "rounds": rounds, "lanes": LANES, "found": found}, keep=not options.quick)


def measured(name: str, url: str, n: int, rounds: int) -> dict[str, Any]:
    """One provider: the bare wire and sememe in turns, medians."""
    stand_in = stand_ins.StandIn()
    stand_in.url = url
    model = load_hosted(name, Settings(hosted=Hosted(environ=stand_in.environ(), concurrency=LANES)))
    texts = [f"A line of {i} words or so that says what package number {i % 997} is good for." for i in range(n)]
    control = httpx2.Client(base_url=url, timeout=60)
    model.embed(texts[: LANES * 32])
    control.get("/")
    ours, bare, cpu = [], [], []
    for _ in range(rounds):
        timing = harness.timed(lambda: model.embed(texts))
        ours.append(timing["seconds"])
        cpu.append(timing["cpu"])
        requests = control.get("/").json()
        bare.append(replayed(url, requests))
        control.get("/")
    work = sum(A_REQUEST + AN_INPUT * inputs for *_, inputs in requests)
    seconds, wire = statistics.median(ours), statistics.median(bare)
    return {
        "provider": name.partition(":")[0], "requests": len(requests), "seconds": seconds, "bare": wire,
        "overhead": seconds / wire - 1, "busy": work / (LANES * seconds), "cpu": statistics.median(cpu),
    }  # fmt: skip


def replayed(url: str, requests: list[list[Any]]) -> float:
    """Seconds for the same bodies through as many threads, answers read and dropped."""
    prepared = [(path, headers, json.dumps(body).encode()) for path, headers, body, _ in requests]
    limits = httpx2.Limits(max_connections=LANES, max_keepalive_connections=LANES)
    with httpx2.Client(base_url=url, timeout=60, limits=limits) as client, ThreadPoolExecutor(LANES) as pool:

        def send(request: tuple[str, dict[str, str], bytes]) -> int:
            path, headers, body = request
            return len(client.post(path, headers=headers, content=body).content)

        list(pool.map(send, prepared[:LANES]))
        started = time.perf_counter()
        list(pool.map(send, prepared))
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
