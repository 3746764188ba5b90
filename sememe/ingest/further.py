"""The further spaces of a store with their models, each loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from sememe.errors import NotFound, meant
from sememe.index.tokens import from_bytes
from sememe.ingest.computed import Target
from sememe.space import Encoder, Held, check_further
from sememe.store import SQLiteStore
from sememe.types import SpaceKind


class Further:
    """Names to spaces, and spaces to what makes their vectors. `load` gives the model of a name or a folder, of a kind
    that is asked for, or of what its files say."""

    def __init__(self, store: SQLiteStore, load: Callable[[str | Path, SpaceKind | None], Encoder]) -> None:
        self.load = load
        self._store = store
        self._targets: dict[str, Target] = {}
        self._lock = threading.RLock()

    def held(self, name: str) -> Held:
        """The further space of a name, or with "" the collection's own. Raises NotFound."""
        with self._store.snapshot() as snapshot:
            found = snapshot.held(name)
            if found is None:
                others = [held.name for held in snapshot.further()]
                known = f"only {', '.join(others)}{meant(name, others)}" if others else "and no other"
                raise NotFound(
                    f"{self._store.folder} has no space {name!r}, {known}; make it with: sememe space add {name} "
                    f"--model MODEL"
                )
            return found

    def target(self, held: Held) -> Target:
        """A further space with its model. Raises SpaceMismatch when that makes other vectors now."""
        with self._lock:
            return self._targets.get(held.key) or self.use(held, self._loaded(held))

    def _loaded(self, held: Held) -> Encoder:
        try:
            return self.load(held.model, held.kind)
        except NotFound as error:
            raise NotFound(
                f"space {held.name!r} of {self._store.folder} was made with {held.model}, which is not to be found "
                f"({error}); say where it is now: sememe space add {held.name} --model FOLDER"
            ) from error

    def use(self, held: Held, embedder: Encoder) -> Target:
        """From now on take this model for a further space. Raises SpaceMismatch when it makes other vectors."""
        with self._store.snapshot() as snapshot:
            canaries = snapshot.canaries(held)
            codec = snapshot.codec(held)
        check_further(held.space, canaries, embedder, name=held.name, where=str(self._store.folder))
        with self._lock:
            target = self._targets[held.key] = Target(held.space, embedder, from_bytes(codec) if codec else None)
        return target

    def targets(self) -> list[Target]:
        """Every further space with its model: what is added gets a vector in each."""
        with self._store.snapshot() as snapshot:
            further = snapshot.further()
        return [self.target(held) for held in further]

    def embedders(self) -> list[Encoder]:
        """The models that were loaded."""
        return [target.embedder for target in self._targets.values()]
