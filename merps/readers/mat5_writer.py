"""MATLAB 5 files written one array at a time."""

import io
import os
import secrets
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float

from merps.errors import InputError, SpaceError
from merps.readers.mat5_elements import HEADER_BYTES, TEXT, VERSION

_MAX_WRITTEN_BYTES = 2**31 - 2**10
_PIECE_BYTES = 2**20


def write_mat5(
    path: Path,
    variables: Iterable[tuple[str, Float[np.ndarray, "..."]]],
    *,
    compress: bool,
    level: int = 1,
) -> None:
    """Write arrays to a MATLAB 5 file, holding one of them at a time.

    Equal arrays give equal bytes. The file appears under its name when it is complete,
    in place of one that was there before.

    Parameters
    ----------
    path : Path
        The file to write.
    variables : iterable of (str, ndarray of float32 or float64)
        Names and arrays; vectors become rows.
    compress : bool
        Whether variables are compressed, as ``save -v7`` does.
    level : int
        Effort of the compression, 1 (fast) to 9 (small).

    Raises
    ------
    InputError
        If a name comes twice or is none that MATLAB allows, if an array is of another
        type or of 2 GiB or more, or if there is no such level.
    SpaceError
        If the file cannot be written.
    """
    if not 1 <= level <= 9:
        raise InputError(f"level must be 1 to 9, got {level}")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    names: set[str] = set()
    try:
        with _writing(path):
            file = temporary.open("xb")
        with file:
            with _writing(path):
                file.write(_header())
            for name, array in variables:
                if name in names:
                    raise InputError(f"{path}: variable {name} comes twice")
                names.add(name)
                element = _encode(name, array)
                with _writing(path):
                    if compress:
                        _append_compressed(file, element, level)
                    else:
                        file.write(element)
            with _writing(path):
                file.flush()
        with _writing(path):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say which file could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise SpaceError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free space or choose another folder"
        ) from error


def _header() -> bytes:
    """Return the first bytes of a file, without the date that MATLAB puts there."""
    text = (TEXT + b", written by merps").ljust(116)
    marks = (VERSION, int.from_bytes(b"MI", "big"))
    return text + bytes(8) + b"".join(mark.to_bytes(2, sys.byteorder) for mark in marks)


def _encode(name: str, array: Float[np.ndarray, "..."]) -> memoryview:
    """Return one array as SciPy writes it, without the header."""
    from scipy.io import savemat

    if not (name.isascii() and name.isidentifier() and name[0] != "_"):
        raise InputError(f"MATLAB allows no variable called {name!r}")
    if len(name) > 63:
        raise InputError(f"MATLAB allows names of 63 signs, got {name!r}")
    if array.dtype not in (np.float32, np.float64) or array.nbytes > _MAX_WRITTEN_BYTES:
        raise InputError(
            f"variable {name} must be float32 or float64 and smaller than 2 GiB, "
            f"got {array.nbytes} bytes of {array.dtype}"
        )
    stream = io.BytesIO()
    savemat(stream, {name: array}, format="5", oned_as="row")
    return stream.getbuffer()[HEADER_BYTES:]


def _append_compressed(file: BinaryIO, element: memoryview, level: int) -> None:
    """Write one element through zlib, and its length once that is known."""
    start = file.tell()
    file.write(bytes(8))
    compressor = zlib.compressobj(level)
    for at in range(0, len(element), _PIECE_BYTES):
        file.write(compressor.compress(element[at : at + _PIECE_BYTES]))
    file.write(compressor.flush())
    end = file.tell()
    file.seek(start)
    for number in (15, end - start - 8):  # miCOMPRESSED, and its length
        file.write(number.to_bytes(4, sys.byteorder))
    file.seek(end)
