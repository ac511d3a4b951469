"""One file per person: published once, mapped for reading."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from merps.errors import DataError, InputError, SpaceError, mismatch
from merps.recording import Trial
from merps.store.files import (
    REBUILD_ONE,
    canonical,
    link_once,
    read_sealed,
    replace_file,
    sealed,
    sync_folder,
    temporary,
    writing,
)
from merps.store.images import Image
from merps.store.layout import StoredTrial, build_image, read_layout

logger = logging.getLogger(__name__)

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ATTEMPTS = 5


def unit_path(store: Path, person: str, key: str) -> Path:
    """Return where one person's signals are kept.

    Parameters
    ----------
    store : Path
        The store's folder.
    person : str
        Name of the person.
    key : str
        What `merps.store.person_key` returned.

    Returns
    -------
    Path
        ``STORE/people/<person>-<first 12 digits of the key>.h5``.

    Raises
    ------
    InputError
        If the name cannot be part of a file name.
    """
    if not _NAME.fullmatch(person):
        raise InputError(
            f"person {person[:80]!r}: a name has 1 to 64 letters, digits, _ and -"
        )
    return Path(store) / "people" / f"{person}-{key[:12]}.h5"


def publish_person(
    store: Path,
    person: str,
    key: str,
    trials: Sequence[Trial],
    *,
    sidecar: Mapping[str, Any],
) -> Path:
    """Write one person's trials, whole or not at all, and never over a good file.

    The file is written to a private name from the arrays as they lie in memory, synced,
    and linked to its final name after the JSON file beside it, which holds the digest
    of the whole file.
    Equal trials give equal bytes. A good file that is already there is kept, since
    another process made the same; a damaged one is moved to ``<name>.damaged``.

    Parameters
    ----------
    store : Path
        The store's folder.
    person : str
        Name of the person.
    key : str
        What `merps.store.person_key` returned.
    trials : sequence of Trial
        At least one, each of another stimulus; targets are kept as float32.
    sidecar : mapping
        Facts to keep beside the signals, as plain JSON values without NaN.

    Returns
    -------
    Path
        The published file.

    Raises
    ------
    InputError
        If the trials are of another person, share a stimulus, or are none.
    SpaceError
        If the file cannot be written; nothing of it is left behind.
    """
    path = unit_path(store, person, key)
    _require_one_person(person, trials)
    canonical(sidecar)  # refused, if at all, before anything is written
    image = build_image(trials)
    facts = {
        **sidecar,
        "format": FORMAT,
        "unit": path.stem,
        "person": person,
        "key": key,
        "stimuli": sorted(trial.stimulus for trial in trials),
        "bytes": image.n_bytes,
    }
    with writing(path, needed_bytes=image.n_bytes):
        for _ in range(_ATTEMPTS):
            if path.exists():
                if has_person(store, person, key):
                    return path
                _set_aside(path)
            try:
                _publish(path, image, facts)
            except FileExistsError:  # another process won, or left a damaged file
                continue
            except FileNotFoundError:
                # Another machine may take our unfinished file for a leftover.
                if not path.parent.is_dir():
                    raise
                continue
            return path
    raise SpaceError(
        f"{path}: another process undid each of {_ATTEMPTS} attempts to write this; "
        "stop the other run and start again"
    )


def has_person(store: Path, person: str, key: str) -> bool:
    """Say whether one person's file is there and whole; reads all of it.

    Parameters
    ----------
    store : Path
        The store's folder.
    person : str
        Name of the person.
    key : str
        What `merps.store.person_key` returned.

    Returns
    -------
    bool
        False also for a damaged file, which is then logged as a warning.
    """
    path = unit_path(store, person, key)
    if not path.exists():
        return False
    try:
        facts, _ = _read_verified(path)
    except DataError as error:
        logger.warning("%s", error)
        return False
    return facts["key"] == key


class StoredPerson:
    """One person's trials, mapped from a verified file.

    Signals are read-only views of the map. They outlive this object: the map goes when
    the last view does.

    Parameters
    ----------
    path : Path
        The file, as `unit_path` names it.

    Raises
    ------
    DataError
        If the file or the JSON file beside it is missing or damaged in any bit.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._sidecar, self._image = _read_verified(self._path)
        try:
            self._layout = read_layout(self._path)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise mismatch(
                self._path,
                expected="the layout of a merps store",
                found=f"another one ({error})",
                remedy=REBUILD_ONE,
            ) from error

    def __enter__(self) -> "StoredPerson":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def person(self) -> str:
        """Name of the person."""
        return self._sidecar["person"]

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the stimuli, sorted."""
        return tuple(self._layout)

    @property
    def sidecar(self) -> dict[str, Any]:
        """Facts kept beside the signals."""
        return dict(self._sidecar)

    def trial(self, stimulus: str) -> Trial:
        """Return what happened during one stimulus.

        Parameters
        ----------
        stimulus : str
            One of `stimuli`.

        Returns
        -------
        Trial
            Signals and quality as read-only views, targets as float64.

        Raises
        ------
        InputError
            If there is no such stimulus, or this object is closed.
        """
        if self._image is None:
            raise InputError(f"{self._path} has been closed; open the person again")
        stored = self._layout.get(stimulus)
        if not isinstance(stored, StoredTrial):
            raise InputError(
                f"{self._path.name} has no stimulus {stimulus!r}; "
                f"it has {', '.join(self.stimuli)}"
            )
        return stored.restore(self._image, person=self.person, stimulus=stimulus)

    def trials(self) -> Iterator[Trial]:
        """Return every trial, one at a time, in the order of `stimuli`.

        Yields
        ------
        Trial
            As `trial` returns it.
        """
        for stimulus in self.stimuli:
            yield self.trial(stimulus)

    def close(self) -> None:
        """Let go of the map; views that are still in use keep it."""
        self._image = None


def _require_one_person(person: str, trials: Sequence[Trial]) -> None:
    """Check names and number of the trials of one file."""
    if not trials:
        raise InputError(f"{person}: there is no trial to store")
    names = [trial.stimulus for trial in trials]
    strangers = {trial.person for trial in trials} - {person}
    if strangers:
        raise InputError(
            f"{person}: trials of {', '.join(sorted(strangers))} among them"
        )
    if len(set(names)) != len(names):
        raise InputError(f"{person}: two trials of one stimulus among {names}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(f"{person}: stimulus {name[:80]!r} cannot be a name")


def _publish(path: Path, image: Image, facts: Mapping[str, Any]) -> None:
    """Put the facts, then the signals under their final names, and sync."""
    digest = xxhash.xxh3_128()

    def digested() -> Iterator[Any]:
        for piece in image.pieces():
            digest.update(piece)
            yield piece

    with temporary(path, digested()) as ready:
        whole = sealed({**facts, "digest": digest.hexdigest()})
        replace_file(path.with_suffix(".json"), whole)
        try:
            link_once(ready, path)
        except FileExistsError:
            raise
        except OSError:
            path.with_suffix(".json").unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _set_aside(path: Path) -> None:
    """Move a damaged file out of the way; another process may have done so."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return
    logger.warning("%s: moved to %s and rebuilt", path, aside.name)


def _read_verified(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Map a file whose every bit is as it was published; read-only bytes."""

    def damaged(expected: str, found: str) -> DataError:
        return mismatch(path, expected=expected, found=found, remedy=REBUILD_ONE)

    facts = read_sealed(path.with_suffix(".json"), remedy=REBUILD_ONE)
    if facts.get("format") != FORMAT:
        raise damaged(f"store format {FORMAT}", f"format {facts.get('format')!r}")
    if facts.get("unit") != path.stem:
        raise damaged(f"the facts of {path.stem}", f"those of {facts.get('unit')}")
    try:
        image = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise damaged(
            "a file of signals", f"none that can be read ({error})"
        ) from error
    if image.size != facts["bytes"]:
        raise damaged(f"{facts['bytes']} bytes", f"{image.size}")
    digest = xxhash.xxh3_128_hexdigest(image)
    if digest != facts["digest"]:
        raise damaged(f"digest {facts['digest']}", digest)
    return facts, image
