"""Writing files so that a kill, a full disk or a second process leaves no half file."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from merps.errors import InputError, SpaceError, mismatch

logger = logging.getLogger(__name__)

REBUILD_ONE = "run merps preprocess again; it rebuilds only this person"
_SEAL = "seal"
_HEADROOM = 1.2
_DAY_S = 86_400
_LEFTOVER = re.compile(r".+\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")
# What file systems without hard links answer: FAT, some FUSE and network mounts.
_NO_HARD_LINKS = {
    errno.EPERM,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
}


def canonical(value: Mapping[str, Any]) -> bytes:
    """Write a mapping as JSON in the one form that is hashed and stored."""
    try:
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot be kept as JSON: {error}") from error
    return text.encode() + b"\n"


def sealed(value: Mapping[str, Any]) -> bytes:
    """Write a mapping as canonical JSON that carries its own digest."""
    body = {key: item for key, item in value.items() if key != _SEAL}
    seal = xxhash.xxh3_128_hexdigest(canonical(body))
    return canonical({**body, _SEAL: seal})


def read_sealed(path: Path, *, remedy: str) -> dict[str, Any]:
    """Read what `sealed` wrote; any other byte in the file is a `DataError`."""

    def damaged(found: str) -> Exception:
        return mismatch(path, expected="what was written", found=found, remedy=remedy)

    try:
        data = path.read_bytes()
        value = json.loads(data)
    except OSError as error:
        raise damaged(f"no readable file ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise damaged("text that is not JSON") from error
    if not isinstance(value, dict) or _SEAL not in value or sealed(value) != data:
        raise damaged("content that does not fit its digest")
    del value[_SEAL]
    return value


def replace_file(path: Path, data: bytes) -> None:
    """Put a small file in place of an older one, whole or not at all."""
    with temporary(path, [data]) as ready:
        os.replace(ready, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def temporary(path: Path, pieces: Iterable[Any]) -> Iterator[Path]:
    """Write bytes to a private name beside `path`, down to the disk; remove it after.

    The name tells the process, so that `remove_leftovers` knows whose it was.
    """
    private = path.with_name(
        f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp",
    )
    try:
        with open(private, "xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        yield private
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed, or never made
            os.unlink(private)


def link_once(ready: Path, path: Path) -> None:
    """Give a finished file its final name, or raise FileExistsError.

    A hard link never replaces what is there and never swaps a file that others have
    mapped. Where the file system has no hard links the file is renamed instead: then
    two processes that finish in the same instant replace one another's equal file.
    """
    try:
        os.link(ready, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
        os.rename(ready, path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def update_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it dies with the process, and some mounts have none."""
    with open(folder / ".lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("%s: no lock on this file system (%s)", folder, error.strerror)
        yield


@contextlib.contextmanager
def writing(path: Path, *, needed_bytes: int) -> Iterator[None]:
    """Turn a refusal of the operating system into one message for the user."""
    try:
        yield
    except OSError as error:
        free = _free_bytes(path)
        room = "unknown" if free is None else _megabytes(free)
        raise SpaceError(
            f"{path}: cannot write {_megabytes(needed_bytes)} here, {room} free "
            f"({error.strerror or error}); make room or the folder writable, or choose "
            "another one, then run again: finished people are kept"
        ) from error


def require_space(path: Path, needed_bytes: int) -> None:
    """Refuse to start work whose result will not fit on the disk.

    Parameters
    ----------
    path : Path
        Where the result goes; need not exist yet.
    needed_bytes : int
        Estimated size of everything still to be written, in bytes.

    Raises
    ------
    SpaceError
        If less than 1.2 times as much is free.
    """
    free = _free_bytes(path)
    if free is not None and free < _HEADROOM * needed_bytes:
        raise SpaceError(
            f"{path}: the result needs about {_megabytes(needed_bytes)}, and only "
            f"{_megabytes(free)} are free ({_HEADROOM:g} times the size is asked for); "
            "make room or choose another folder"
        )


def remove_leftovers(store: Path) -> int:
    """Remove unfinished files of processes that are gone.

    Parameters
    ----------
    store : Path
        The store's folder.

    Returns
    -------
    int
        How many files were removed.
    """
    n_removed = 0
    for folder in (store, store / "people"):
        for path in folder.glob("*.tmp"):
            match = _LEFTOVER.fullmatch(path.name)
            # Another process may clean up, or finish, at the same time.
            with contextlib.suppress(OSError):
                if match and (not _is_alive(int(match["pid"])) or _is_old(path)):
                    os.unlink(path)
                    n_removed += 1
    if n_removed:
        logger.info("%s: removed %d unfinished files", store, n_removed)
    return n_removed


def _is_old(path: Path) -> bool:
    """Tell whether a file is older than any write takes."""
    return time.time() - path.stat().st_mtime > _DAY_S


def _is_alive(pid: int) -> bool:
    """Tell whether this machine runs a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _free_bytes(path: Path) -> int | None:
    """Free bytes where `path` is or will be; None where that is not known."""
    place = Path(path).absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free
    except OSError:
        return None


def _megabytes(n_bytes: int) -> str:
    """Write a size for the user."""
    return f"{n_bytes / 1e6:.1f} MB"
