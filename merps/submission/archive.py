"""Zip files: equal content in equal bytes when written, a stranger's when read."""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from merps.errors import DataError, mismatch
from merps.predictions import raise_together
from merps.store.files import writing

#: The way out of a file that cannot be used.
REMEDY = "write it again with merps submit"

_FILE_MODE = stat.S_IFREG | 0o644
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip file knows no earlier time
_UNIX = 3

_MOST_FILES = 5_000
_MOST_BYTES = 2**31 + 2**27  # the largest model, and source beside it
_MOST_RATIO = 100
_MOST_NAME = 200
_CHUNK_BYTES = 2**20
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DEVICES = {"con", "prn", "aux", "nul"}
_DEVICES |= {f"{name}{digit}" for name in ("com", "lpt") for digit in range(10)}
_ENCRYPTED = 0x41  # plain or strong
_DOS_FOLDER = 0x10
# What reading an edited zip file trips over.
_TRIPPED = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write files as a zip file without times, owners or compression.

    Nothing is compressed, so that the bytes do not depend on the version of zlib.

    Parameters
    ----------
    files : mapping of str to bytes
        Content by name; names have parts separated by ``/``.

    Returns
    -------
    bytes
        The same for the same files, in whatever order they come.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _OLDEST)
            info.create_system = _UNIX
            info.external_attr = _FILE_MODE << 16
            archive.writestr(info, files[name])
    return content.getvalue()


def unpack(path: Path, folder: Path) -> tuple[str, ...]:
    """Unpack a zip file into a folder, or refuse the whole of it.

    Parameters
    ----------
    path : Path
        The file; whoever made it.
    folder : Path
        A private, empty folder. Files in it get the mode 0600, whatever is asked for.

    Returns
    -------
    tuple of str
        Names of the files, relative to the folder.

    Raises
    ------
    DataError
        If it is no zip file, or damaged; if a name leads out of the folder, belongs to
        a device or to something else than a plain file, or comes twice; or if there is
        more in it than in any submission. Then nothing but the folder was written to.
    SpaceError
        If the files cannot be written.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _TRIPPED as error:
        raise _damaged(path, error) from error
    with archive:
        entries = archive.infolist()
        raise_together(path, list(_problems(entries, path.stat().st_size)))
        for entry in entries:
            target = folder / entry.filename
            with writing(folder, needed_bytes=entry.file_size):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with open(os.open(target, flags, 0o600), "wb") as file:
                    file.writelines(_chunks(path, archive, entry))
    return tuple(entry.filename for entry in entries)


def _damaged(path: Path, error: Exception) -> DataError:
    """Say that a file is no zip file that can be read."""
    return mismatch(
        path,
        expected="a whole zip file",
        found=str(error)[:200] or type(error).__name__,
        remedy=REMEDY,
    )


def _problems(entries: Sequence[zipfile.ZipInfo], n_bytes: int) -> Iterator[str]:
    """Say what is wrong with the entries, by what they announce."""
    if len(entries) > _MOST_FILES:
        yield f"expected at most {_MOST_FILES} files, found {len(entries)}"
        return
    total = sum(entry.file_size for entry in entries)
    if total > min(_MOST_BYTES, _MOST_RATIO * n_bytes):
        yield (
            f"expected at most {_MOST_BYTES >> 20} MB, and {_MOST_RATIO} times the "
            f"size of the file, found {total >> 20} MB in {n_bytes} bytes"
        )
    if sum(entry.compress_size for entry in entries) > n_bytes:
        yield "its files overlap"
    seen: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        shown = f"{name[:80]!r}"
        parts = name.split("/")
        yield from (f"{shown} {fault}" for fault in _faults(entry, name, parts))
        key = name.casefold()
        if key in seen:
            yield f"{shown} comes more than once"
        seen.add(key)
        folders |= {"/".join(parts[:k]).casefold() for k in range(1, len(parts))}
    yield from (f"{name[:80]!r} is a file and a folder" for name in seen & folders)


def _faults(entry: zipfile.ZipInfo, name: str, parts: list[str]) -> Iterator[str]:
    """Say what is wrong with one entry."""
    if name.endswith("/") or entry.external_attr & _DOS_FOLDER:
        yield "is a folder; only files are expected"
    elif len(name) > _MOST_NAME or not _NAME.fullmatch(name):
        yield "is no plain name inside the folder"
    elif any(part.split(".")[0].casefold() in _DEVICES for part in parts):
        yield "is the name of a device"
    elif any(part.endswith(".") for part in parts):
        yield "ends with a dot"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        yield "is a link or something else that is no file"
    if entry.flag_bits & _ENCRYPTED:
        yield "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield "is compressed in an unusual way"


def _chunks(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> Iterator[bytes]:
    """Yield the content of one entry, which is as long as it announces."""
    left = entry.file_size
    try:
        with archive.open(entry) as source:
            while chunk := source.read(_CHUNK_BYTES):  # stops at the announced size
                left -= len(chunk)
                yield chunk
        if left:
            raise ValueError(f"another size of {entry.filename} than it announces")
    except _TRIPPED as error:
        raise _damaged(path, error) from error
