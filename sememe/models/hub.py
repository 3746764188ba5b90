"""The hub: files of a card at its pinned commit, and a model by its name alone, at the newest one.

Of a model by name the files that a loader reads are kept in the hub client's own cache.

What was fetched once is taken from the cache and opens no socket. Weights that arrive are compared with the digest that
the hub itself has for them. This file knows the hub's client; what the files mean is read by `folder`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sememe.errors import DigestMismatch, FetchError
from sememe.models.cards import CardFile, HubPlace
from sememe.models.errand import Errand, FetchProgress, first_line, opened
from sememe.settings import Settings

PROBE_SECONDS = 4.0
"""How long the hub may take to answer at all before the next place is asked."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
WEIGHTS = ("*.safetensors", "*/model.safetensors")
EXPORTS = ("onnx/model.onnx", "model.onnx", "onnx/*.onnx_data", "onnx/*.data")
SETTINGS = (
    "*.json",
    "artifact.metadata",
    "*/config.json",
    "*/tokenizer.json",
    "*/sentence_bert_config.json",
    "*/tokenizer_config.json",
)


def snapshot(name: str, *, settings: Settings, progress: FetchProgress | None = None) -> tuple[Path, str]:
    """The local folder of a hub model, and its commit. Raises FetchError or DigestMismatch."""
    cached = _cached(name)
    if cached is not None:
        return cached, cached.name
    if settings.offline:
        raise FetchError(
            f"{name} is not in the hub's cache and the settings say offline (see SEMEME_OFFLINE and HF_HUB_OFFLINE); "
            "go online once, or give the path of a folder with its files"
        )
    try:
        return _download(name, progress)
    except FetchError as error:
        raise FetchError(
            f"{name}: the hub did not deliver it ({error}). Next: check the name, connect to a network that reaches "
            "the hub, or give the path of a folder with its files"
        ) from error


def _cached(name: str) -> Path | None:
    """The folder of the commit that the hub's client has under "main", if all that a loader reads is in it."""
    from huggingface_hub import try_to_load_from_cache

    with hub_refusals():
        found = [try_to_load_from_cache(name, file) for file in ("config.json", "tokenizer.json", "modules.json")]
    config, tokenizer, modules = (Path(path).parent if isinstance(path, str) else None for path in found)
    folder = tokenizer or modules or config
    if folder is None:
        return None
    return folder if any(folder.rglob("*.safetensors")) or any(folder.rglob("*.onnx")) else None


def _download(name: str, progress: FetchProgress | None) -> tuple[Path, str]:
    from huggingface_hub import HfApi, hf_hub_download

    with hub_refusals():
        about = HfApi().model_info(name, files_metadata=True, timeout=PROBE_SECONDS)
        commit = str(about.sha)
        # The weights last: what is in the cache with weights is whole.
        for file in _wanted(about.siblings or []):
            path = hf_hub_download(name, file.rfilename, revision=commit)
            _check(name, file, Path(path))
            if progress is not None:
                progress(f"{file.rfilename} of {name}", file.size or 0, file.size)
        # Asked by its branch once, the client remembers which commit that is.
        config = hf_hub_download(name, "config.json" if _has(about, "config.json") else "modules.json")
    return Path(config).parent, commit


def _has(about: Any, file: str) -> bool:
    return any(sibling.rfilename == file for sibling in about.siblings or [])


def _wanted(siblings: list[Any]) -> Iterator[Any]:
    """The files to fetch: settings first, then weights, or an exported graph where there are none."""
    names = {sibling.rfilename for sibling in siblings}

    def those(patterns: tuple[str, ...]) -> list[Any]:
        return [one for one in siblings if any(_matches(one.rfilename, pattern) for pattern in patterns)]

    yield from those(SETTINGS)
    yield from those(WEIGHTS if any(_matches(name, "*.safetensors") for name in names) else EXPORTS)


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


def _check(name: str, file: Any, path: Path) -> None:
    """Large files have a digest at the hub: what arrived must have it."""
    promised = getattr(file.lfs, "sha256", None) if file.lfs else None
    if promised is None:
        return
    with path.open("rb") as source:
        found = hashlib.file_digest(source, "sha256").hexdigest()
    if found != promised:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DigestMismatch(
            f"{file.rfilename} of {name} has sha256 {found}, the hub promises {promised}; it was removed: fetch "
            "it again"
        )


def from_cache(errand: Errand, place: HubPlace, missing: list[CardFile]) -> None:
    """Take what the hub's own client has downloaded before. Opens no socket."""
    from huggingface_hub import try_to_load_from_cache

    for file in missing:
        try:
            path = try_to_load_from_cache(place.repo, file.name, revision=place.revision)
        except OSError as error:
            raise FetchError(f"it cannot be read ({first_line(error)})") from error
        if not isinstance(path, str):
            raise FetchError(f"{file.name} is not in it")
        with opened(Path(path)) as source:
            errand.store(file, source, path)


def from_hub(errand: Errand, place: HubPlace, missing: list[CardFile]) -> None:
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
            with opened(_hub_download(errand, place, file, staging)) as source:
                errand.store(file, source, str(place))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _hub_download(errand: Errand, place: HubPlace, file: CardFile, staging: Path) -> Path:
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
        raise FetchError(first_line(error)) from error


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
