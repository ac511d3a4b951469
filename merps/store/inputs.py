"""What a preprocessed person depends on: the bytes of the inputs and the options."""

import hashlib
import logging
import mmap
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from merps.errors import DataError, InputError
from merps.store.files import canonical, read_sealed, replace_file, sealed, writing

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
# A file touched this recently can change again without its times telling.
_SETTLED_NS = 2 * 10**9


def person_key(
    input_digests: Mapping[str, str],
    config: Mapping[str, Any],
    step_version: int | str,
) -> str:
    """Name the result of preprocessing one person by all that decides it.

    Parameters
    ----------
    input_digests : mapping of str to str
        Digest of each input file by its path under the data root.
    config : mapping
        The options that matter, as plain values.
    step_version : int or str
        Raised by us whenever the same inputs and options give other numbers.

    Returns
    -------
    str
        64 hexadecimal digits, the sha256 of the canonical JSON of all three.

    Raises
    ------
    InputError
        If an option has no JSON form.
    """
    parts = {
        "inputs": dict(input_digests),
        "config": dict(config),
        "step": str(step_version),
    }
    return hashlib.sha256(canonical(parts)).hexdigest()


class FileDigests:
    """Digests of input files, taken on first sight and kept while a file is untouched.

    A digest is reused while size, modification time, change time and inode agree; the
    change time cannot be set back by a program, so a file edited in place under its
    old times is read again.

    Parameters
    ----------
    store : Path
        The store's folder; the digests are kept in its ``inputs.json``.
    root : Path
        Root of the data; files are named by their path under it.
    """

    def __init__(self, store: Path, *, root: Path) -> None:
        self._path = Path(store) / "inputs.json"
        self._root = Path(root).resolve()
        self._lock = threading.Lock()
        self._changed = False
        self._known: dict[str, list] = {}
        if self._path.exists():
            try:
                files = read_sealed(self._path, remedy="it is taken anew")["files"]
                self._known = dict(files)
            except (DataError, KeyError, TypeError, ValueError) as error:
                logger.warning("digests of the inputs are taken anew: %s", error)

    def __enter__(self) -> "FileDigests":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def digest(self, path: Path) -> str:
        """Return the digest of one file, reading it only if it may have changed.

        Parameters
        ----------
        path : Path
            A file under the data root.

        Returns
        -------
        str
            32 hexadecimal digits, the 128-bit XXH3 hash of the content.

        Raises
        ------
        DataError
            If the file cannot be read, or changes while it is read.
        InputError
            If it lies outside the data root.
        """
        name = self._name(path)
        try:
            before = _identity(os.stat(path))
            with self._lock:
                known = self._known.get(name)
            if known is not None and known[1:] == before:
                return known[0]
            digest = _digest_file(path)
            after = _identity(os.stat(path))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}); check the file and its "
                "permissions"
            ) from error
        if after != before:
            raise DataError(
                f"{path}: changed while it was read; wait until nothing writes to it "
                "and run again"
            )
        if time.time_ns() - max(before[1], before[2]) > _SETTLED_NS:
            with self._lock:
                self._known[name] = [digest, *before]
                self._changed = True
        return digest

    def digests(self, paths: Iterable[Path]) -> dict[str, str]:
        """Return the digests of several files by their path under the data root.

        Parameters
        ----------
        paths : iterable of Path
            Files under the data root.

        Returns
        -------
        dict of str to str
            Digest by relative path, as `person_key` wants it.
        """
        return {self._name(path): self.digest(path) for path in paths}

    def save(self) -> None:
        """Keep the digests for the next run.

        Raises
        ------
        SpaceError
            If the store cannot be written.
        """
        with self._lock:
            if not self._changed:
                return
            data = sealed({"files": self._known})
            with writing(self._path, needed_bytes=len(data)):
                replace_file(self._path, data)
            self._changed = False

    def _name(self, path: Path) -> str:
        """Path under the data root, with slashes."""
        resolved = Path(path).resolve()
        if not resolved.is_relative_to(self._root):
            raise InputError(f"{path} lies outside the data folder {self._root}")
        return resolved.relative_to(self._root).as_posix()


def _identity(status: os.stat_result) -> list[int]:
    """Return what changes when a file does."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _digest_file(path: Path) -> str:
    """128-bit XXH3 hash of a file's content."""
    digest = xxhash.xxh3_128()
    # Whole pages: copies to memory just off the pages of the file are slow. A map of
    # the file would be faster, and kill the process where someone truncates the file.
    buffer = memoryview(mmap.mmap(-1, _CHUNK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while n_read := file.readinto(buffer):
            digest.update(buffer[:n_read])
    return digest.hexdigest()
