"""Run contestants side by side: one process each, in turns, with medians, ratios and one JSON document.

Every contestant is a worker in a Python of its own, so that dependencies may differ and peak memory is
its own. A worker reads one JSON line per request from stdin and answers with one on stdout. This file
knows nothing of models; it needs the standard library only, because every worker imports it from its own
environment.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DEFAULT_CACHE = ROOT / ".cache" / "benchmarks"
PEERS = ROOT / ".venv-peers"
INDEX_PEERS = ROOT / ".venv-index-peers"
EMBED_ANYTHING = ROOT / ".venv-embed-anything"
FORMAT_PEERS = ROOT / ".venv-format-peers"
PLAID = ROOT / ".venv-plaid"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")

Operation = Callable[[Any], Any]


class Worker:
    """A contestant in its own process."""

    def __init__(self, name: str, python: str, arguments: Sequence[str]) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [python, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def call(self, operation: str, argument: Any = None) -> Any:
        """Ask for one operation and wait for its answer. Raises RuntimeError when the worker died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, argument]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self._process.wait()} during {operation!r}")
        return json.loads(line)

    def close(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(operations: Mapping[str, Operation]) -> None:
    """The worker's side: answer requests until stdin ends. A failure ends it; whatever is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        operation, argument = json.loads(line)
        answers.write(json.dumps(operations[operation](argument)) + "\n")
        answers.flush()


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds on the clock and seconds of CPU (all threads) that `work` takes."""
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    seconds, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "cpu": now.ru_utime + now.ru_stime - usage.ru_utime - usage.ru_stime}


def peak_megabytes() -> float:
    """The largest resident size of this process.

    VmHWM where there is a /proc: ru_maxrss starts from the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def rounds(workers: Sequence[Worker], operation: str, argument: Any, count: int) -> list[dict[str, Any]]:
    """`count` rounds in which every worker runs once; the order rotates, so that no place favours anybody."""
    done = []
    for number in range(count):
        answers: dict[str, Any] = {"load": os.getloadavg()[0]}
        for place in range(len(workers)):
            worker = workers[(place + number) % len(workers)]
            answers[worker.name] = worker.call(operation, argument)
        done.append(answers)
    return done


def ratios(measured: Sequence[Mapping[str, Any]], ours: str, peer: str, field: str) -> dict[str, float]:
    """How many times more `peer` took than `ours` in the same round: median, smallest and largest.

    `fastest` compares the best round of each: what else runs on the machine can only slow a round down.
    """
    found = [one[peer][field] / one[ours][field] for one in measured]
    fastest = min(one[peer][field] for one in measured) / min(one[ours][field] for one in measured)
    return {"median": statistics.median(found), "min": min(found), "max": max(found), "fastest": fastest}


def median(measured: Sequence[Mapping[str, Any]], name: str, field: str) -> float:
    """The median of one contestant's figure over all rounds."""
    return float(statistics.median(one[name][field] for one in measured))


def peers_python() -> str:
    """The Python of the peers: SEMEME_PEERS_PYTHON, or .venv-peers, made from peers.txt when missing."""
    return os.environ.get("SEMEME_PEERS_PYTHON") or _environment(PEERS, "peers.txt")


def index_peers_python() -> str:
    """The Python of the other indexes: SEMEME_INDEX_PEERS_PYTHON, or .venv-index-peers, from index-peers.txt."""
    return os.environ.get("SEMEME_INDEX_PEERS_PYTHON") or _environment(INDEX_PEERS, "index-peers.txt")


def embed_anything_python() -> str:
    """SEMEME_EMBED_ANYTHING_PYTHON, or .venv-embed-anything: it wants another onnxruntime than the peers."""
    return os.environ.get("SEMEME_EMBED_ANYTHING_PYTHON") or _environment(EMBED_ANYTHING, "embed-anything.txt")


def format_peers_python() -> str:
    """The Python of other readers: SEMEME_FORMAT_PEERS_PYTHON, or .venv-format-peers, from format-peers.txt."""
    return os.environ.get("SEMEME_FORMAT_PEERS_PYTHON") or _environment(FORMAT_PEERS, "format-peers.txt")


def plaid_python() -> str:
    """The Python of fast-plaid: SEMEME_PLAID_PYTHON, or .venv-plaid: it wants another torch than the peers."""
    return os.environ.get("SEMEME_PLAID_PYTHON") or _environment(PLAID, "plaid.txt")


def _environment(folder: Path, requirements: str) -> str:
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = str(ROOT / "benchmarks" / requirements)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", wanted], check=True)
        ready.touch()
    return str(python)


def versions(names: Sequence[str]) -> dict[str, str]:
    """The installed versions of the named distributions, where they are installed."""
    present = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in names if name in present}


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to judge a figure."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    return {
        "cpu": facts.get("model name", platform.processor() or platform.machine()),
        "model": f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}",
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of which is the heading: text to the left, the rest to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *rest]))
    print()


def finish(name: str, result: Mapping[str, Any], *, keep: bool = True) -> None:
    """Print the result with machine and date on one last line; `keep` writes results/NAME.json as well."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"benchmark": name, "date": date, "machine": machine(), **result}
    if keep:
        RESULTS.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps(document, ensure_ascii=False))
