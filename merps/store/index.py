"""The store as a whole: which configuration it was made with and who is in it."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from merps.errors import DataError, InputError, LockedError, mismatch
from merps.recording import Phase
from merps.samples import natural_order
from merps.store.files import (
    canonical,
    read_sealed,
    remove_leftovers,
    replace_file,
    sealed,
    sync_folder,
    update_lock,
    writing,
)
from merps.store.units import FORMAT, StoredPerson, unit_path

logger = logging.getLogger(__name__)

_INDEX = "store.json"
_OURS = {_INDEX, f"{_INDEX}.damaged", ".gitignore", ".lock", "people", "inputs.json"}
_REMEDY = "run merps preprocess again; it keeps every person that is whole"
_MARGIN_BYTES = 65_536


class Store:
    """A folder of preprocessed people; made by `create`, read by `open`.

    Parameters
    ----------
    path : Path
        The folder.
    contents : mapping
        What its ``store.json`` says.
    """

    def __init__(self, path: Path, contents: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._contents = dict(contents)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open a store for reading.

        Parameters
        ----------
        path : Path
            Its folder.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        DataError
            If the folder is no store, or its ``store.json`` is damaged.
        """
        index = Path(path) / _INDEX
        if not index.is_file():
            raise mismatch(
                path,
                expected=f"a store with {_INDEX}",
                found="no such file" if Path(path).is_dir() else "no such folder",
                remedy=f"make it with: merps preprocess DATA --out {path}",
            )
        return cls(path, _read(index))

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        config: Mapping[str, Any],
        source: str,
        role: str,
        terms: str,
    ) -> "Store":
        """Make a store, or open one to be filled further.

        A new folder is private to the user and ignored by git. If the configuration
        is another one than before, nobody is in the store until recorded again; the
        files of the former configuration stay. Unfinished files of processes that are
        gone are removed.

        Parameters
        ----------
        path : Path
            The folder; may be absent, empty, or a store of the same source.
        config : mapping
            The options that the signals are made with, as plain values.
        source : str
            Key of the data source in the manifest.
        role : str
            What the data may be used for, ``train`` or ``eval-only``.
        terms : str
            Licence and conditions of the data.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        InputError
            If the folder holds other things, or data of another source, role or terms.
        SpaceError
            If the folder cannot be written.
        """
        path = Path(path)
        _require_own_folder(path)
        origin = {"source": source, "role": role, "terms": terms}
        fresh = {
            "format": FORMAT,
            "config": dict(config),
            "config_digest": _digest(config),
            **origin,
            "people": {},
        }
        with writing(path, needed_bytes=_MARGIN_BYTES):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / "people").mkdir(mode=0o700, exist_ok=True)
            if not (path / ".gitignore").exists():
                replace_file(path / ".gitignore", b"*\n")
            remove_leftovers(path)
            with update_lock(path):
                former = _read_or_set_aside(path / _INDEX)
                if former is not None:
                    _require_same_origin(path, former, origin)
                    if former["config_digest"] == fresh["config_digest"]:
                        return cls(path, former)
                    logger.info("%s: another configuration, everyone anew", path)
                replace_file(path / _INDEX, sealed(fresh))
                sync_folder(path.parent)
        return cls(path, _read(path / _INDEX))

    @property
    def config(self) -> dict[str, Any]:
        """Options that the signals were made with."""
        return dict(self._contents["config"])

    @property
    def phase(self) -> Phase:
        """Whether its signals were filtered both ways in time, or forward alone."""
        return self.config.get("phase", "zero")

    @property
    def config_digest(self) -> str:
        """Digest of `config`."""
        return self._contents["config_digest"]

    @property
    def source(self) -> str:
        """Key of the data source in the manifest."""
        return self._contents["source"]

    @property
    def role(self) -> str:
        """What the data may be used for."""
        return self._contents["role"]

    @property
    def terms(self) -> str:
        """Licence and conditions of the data."""
        return self._contents["terms"]

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the people, numbers in them sorted as numbers."""
        return tuple(sorted(self._contents["people"], key=natural_order))

    def person(self, name: str) -> StoredPerson:
        """Open one person's trials.

        Parameters
        ----------
        name : str
            One of `people`.

        Returns
        -------
        StoredPerson
            A context manager around the mapped file.

        Raises
        ------
        InputError
            If there is no such person.
        DataError
            If the file is missing or damaged.
        """
        unit = self._contents["people"].get(name)
        if unit is None:
            raise InputError(
                f"{self.path} has no person {name!r}; it has {', '.join(self.people)}"
            )
        return StoredPerson(self.path / "people" / f"{unit}.h5")

    def record(self, person: str, key: str) -> None:
        """Say which published file is the current one of a person.

        Parameters
        ----------
        person : str
            Name of the person.
        key : str
            Key that `merps.store.publish_person` was given.

        Raises
        ------
        LockedError
            If another process has given the store another configuration.
        DataError
            If ``store.json`` is gone or damaged.
        SpaceError
            If the folder cannot be written.
        """
        unit = unit_path(self.path, person, key).stem
        index = self.path / _INDEX
        with writing(index, needed_bytes=_MARGIN_BYTES), update_lock(self.path):
            contents = _read(index)
            if contents["config_digest"] != self.config_digest:
                raise LockedError(
                    f"{self.path}: another process fills this store with another "
                    "configuration; stop one of the two, or give it its own folder"
                )
            if contents["people"].get(person) != unit:
                contents["people"][person] = unit
                replace_file(index, sealed(contents))
            self._contents = contents


def _read(index: Path) -> dict[str, Any]:
    """Read ``store.json``."""
    contents = read_sealed(index, remedy=_REMEDY)
    if contents.get("format") != FORMAT:
        raise mismatch(
            index,
            expected=f"store format {FORMAT}",
            found=f"format {contents.get('format')!r}",
            remedy="rebuild it with merps preprocess into another folder",
        )
    return contents


def _read_or_set_aside(index: Path) -> dict[str, Any] | None:
    """Read ``store.json`` if it is there and whole; a damaged one is moved away."""
    if not index.exists():
        return None
    try:
        read_sealed(index, remedy=_REMEDY)
    except DataError as error:
        logger.warning("%s: list of people made anew (%s)", index, error)
        os.replace(index, index.with_name(f"{index.name}.damaged"))
        return None
    return _read(index)


def _require_own_folder(path: Path) -> None:
    """Refuse a file, and a folder that holds other things than a store."""
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file; choose a folder for the store")
    strangers = [
        entry.name
        for entry in path.iterdir()
        if entry.name not in _OURS and not entry.name.endswith(".tmp")
    ]
    if strangers and not (path / _INDEX).exists():
        raise InputError(
            f"{path} is not empty and not a store (it holds {min(strangers)!r}); "
            "choose a new folder"
        )


def _require_same_origin(
    path: Path, former: Mapping[str, Any], origin: Mapping[str, str]
) -> None:
    """Keep data of different sources and terms apart."""
    for name, value in origin.items():
        if former[name] != value:
            raise InputError(
                f"{path} holds data whose {name} is {former[name]!r}, and this is "
                f"{value!r}; choose another folder for the store"
            )


def _digest(config: Mapping[str, Any]) -> str:
    """Digest of a configuration."""
    return xxhash.xxh3_128_hexdigest(canonical(config))
