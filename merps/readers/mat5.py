"""MATLAB files: list the arrays, read one at a time, write them one at a time."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num

from merps.errors import DataError, InputError, SpaceError, mismatch
from merps.readers.mat5_elements import (
    HEADER_BYTES,
    TEXT,
    VERSION,
    Mat5Source,
    Variable,
)
from merps.readers.mat5_streams import DamageError
from merps.readers.mat5_writer import write_mat5
from merps.readers.mat73 import Mat73Source

__all__ = ["MatFile", "Variable", "write_mat5"]

_TEXT_V73 = b"MATLAB 7.3 MAT-file"
_ORDERS = {b"IM": "<", b"MI": ">"}
_REMEDY_DAMAGED = "copy or download the file again"
_KINDS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file without the header of MATLAB 7.3",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array file",
    b"version https://git-lfs": "a Git LFS pointer to a file that was not downloaded",
    **{b"\x80%c" % n: "a Python pickle, which is never loaded" for n in range(2, 6)},
}


class MatFile:
    """The arrays of real numbers in one MATLAB file, version 5 or 7.3.

    Listing reads the head of each variable and no more. `read` brings one variable into
    memory, checked against its declared size before memory is taken; `view` shows it
    where it lies in the file if it can. Several threads may read at once. Use it in a
    ``with`` block; arrays stay valid after it.

    Parameters
    ----------
    path : Path
        The file; it must not be changed while it is open or shown, as it is mapped
        into memory.
    max_bytes : int
        A variable that takes more memory than this is not read.

    Attributes
    ----------
    variables : dict of Variable
        Arrays that can be read, by name, in the order of the file (version 7.3: by
        the alphabet).
    skipped : dict of str
        What the other variables are, such as text or a structure, by name.
    damage : str or None
        What of the file cannot be read and why, as one message; None if it is whole.
        A file that was cut exactly between two variables looks whole.

    Raises
    ------
    DataError
        If there is no such file, if it is no MATLAB file of these versions, or if two
        variables have the same name.
    """

    def __init__(self, path: Path, *, max_bytes: int = 8 * 2**30) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._source = _open_source(path)
        contents = self._source.contents
        self.variables: dict[str, Variable] = contents.variables
        self.skipped: dict[str, str] = contents.skipped
        self._broken = contents.broken
        self.damage: str | None = None
        if self._broken:
            error = mismatch(
                path,
                expected="a whole file",
                found=self._describe_damage(),
                remedy=_REMEDY_DAMAGED,
            )
            self.damage = str(error)

    def __enter__(self) -> "MatFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def read(self, name: str) -> Num[np.ndarray, "..."]:
        """Read one variable.

        Parameters
        ----------
        name : str
            Its name in `variables`.

        Returns
        -------
        ndarray
            A new array of MATLAB's shape in Fortran order, as MATLAB keeps it. Its
            dtype is that of the MATLAB class, also where MATLAB narrowed whole
            numbers to save space: float64 for ``double``.

        Raises
        ------
        DataError
            If the variable is absent, damaged, not of real numbers, or too large.
        SpaceError
            If there is not enough memory for it.
        InputError
            If the file was closed.
        """
        source, variable, where = self._find(name)
        array = _describe_array(variable)
        try:
            out = np.empty(variable.shape, variable.matlab_class, order="F")
            source.fill(variable, out)
        except DamageError as error:
            raise mismatch(
                where, expected=array, found=str(error), remedy=_REMEDY_DAMAGED
            ) from error
        except MemoryError as error:
            raise SpaceError(
                f"{where}: no memory for {array}; run fewer jobs at once"
            ) from error
        return out

    def view(self, name: str) -> Num[np.ndarray, "..."]:
        """Show one variable where it lies in the file, or read it.

        Parameters
        ----------
        name : str
            Its name in `variables`.

        Returns
        -------
        ndarray
            What `read` returns. If the variable is uncompressed and stored aligned,
            in native byte order and in the type of its class, the array is not a copy
            but the mapped file itself, read-only; it stays valid after `close`.

        Raises
        ------
        DataError
            If the variable is absent, damaged, not of real numbers, or too large.
        SpaceError
            If it has to be read, and there is not enough memory for it.
        InputError
            If the file was closed.
        """
        source, variable, _ = self._find(name)
        array = source.view(variable)
        return self.read(name) if array is None else array

    def release(self, name: str) -> None:
        """Let go of the memory in which the system keeps a variable mapped.

        Views of it stay valid: whoever looks at one again maps it again.

        Parameters
        ----------
        name : str
            Its name in `variables`.

        Raises
        ------
        DataError
            If the variable is absent, not of real numbers, or too large.
        InputError
            If the file was closed.
        """
        source, variable, _ = self._find(name)
        source.release(variable)

    def _find(self, name: str) -> tuple[Mat5Source | Mat73Source, Variable, str]:
        """Return the open file, a variable that may be read, and how to call it."""
        source = self._source
        if source is None:
            raise InputError(f"{self.path} is closed; read inside the with block")
        where = f"{self.path}, variable {name}"
        variable = self.variables.get(name)
        if variable is None:
            raise self._explain_absence(where, name)
        if variable.n_bytes > self._max_bytes:
            raise mismatch(
                where,
                expected=f"at most {self._max_bytes} bytes",
                found=_describe_array(variable),
                remedy="split the variable, or raise max_bytes if it is to be trusted",
            )
        return source, variable, where

    def _explain_absence(self, where: str, name: str) -> DataError:
        """Say why a variable cannot be read."""
        if name in self.skipped:
            return mismatch(
                where,
                expected="an array of real numbers",
                found=self.skipped[name],
                remedy="save it from MATLAB as double or single",
            )
        if name in self._broken:
            return mismatch(
                where,
                expected="a whole variable",
                found=self._broken[name],
                remedy=_REMEDY_DAMAGED,
            )
        found = _shorten([*self.variables, *self.skipped], ", ") or "no variables"
        remedy = "check the name, and that the file was copied whole"
        if self._broken:
            found = f"{found} and damage ({self._describe_damage()})"
            remedy = _REMEDY_DAMAGED
        return mismatch(where, expected="it in the file", found=found, remedy=remedy)

    def _describe_damage(self) -> str:
        """Say what cannot be read and why."""
        reasons = [f"{name}: {reason}" for name, reason in self._broken.items()]
        return _shorten(reasons, "; ")


def _open_source(path: Path) -> Mat5Source | Mat73Source:
    """Open a file by what its header says."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "something that is no file"
            raise _not_matlab(path, found)
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        if header.startswith(_TEXT_V73):
            return Mat73Source(path)
        order = _ORDERS.get(header[126:])
        version = VERSION.to_bytes(2, "little" if order == "<" else "big")
        if header.startswith(TEXT) and order and header[124:126] == version:
            return Mat5Source(path, order)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be opened ({error}); check the path and its permissions"
        ) from error
    raise _not_matlab(path, _describe(header))


def _not_matlab(path: Path, found: str) -> DataError:
    """Say what a file is instead."""
    return mismatch(
        path,
        expected="a MATLAB file of version 5 or 7.3",
        found=found,
        remedy="name another file, or save it in MATLAB with the option -v7",
    )


def _describe_array(variable: Variable) -> str:
    """Say what a variable is."""
    axes = " x ".join(map(str, variable.shape))
    return f"{axes} {variable.matlab_class} in {variable.n_bytes} bytes"


def _describe(header: bytes) -> str:
    """Guess what a file is from its first bytes."""
    if not header:
        return "an empty file"
    if header.startswith(TEXT):
        if len(header) < HEADER_BYTES:
            return f"a header of MATLAB 5 cut after {len(header)} bytes"
        return f"a header of MATLAB 5 with unknown version marks {header[124:]!r}"
    for start, kind in _KINDS.items():
        if header.startswith(start):
            return kind
    text = header[:40].decode("utf-8", "replace").rstrip("\ufffd")
    if text and all(sign.isprintable() or sign.isspace() for sign in text):
        return f"text that begins with {text!r}"
    return f"unknown data that begin with the bytes {header[:8].hex(' ')}"


def _shorten(texts: Sequence[str], separator: str) -> str:
    """Join the first few texts and count the others."""
    shown = separator.join(text[:200] for text in texts[:20])
    more = len(texts) - 20
    return shown if more <= 0 else f"{shown}{separator}and {more} more"
