"""How much of an XDF file is whole."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"XDF:"
_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class WholePart:
    """The part of a file up to its last whole chunk.

    Parameters
    ----------
    n_bytes, size : int
        Length of that part, and of the file.
    is_xdf : bool
        Whether it begins as XDF does.
    """

    n_bytes: int
    size: int
    is_xdf: bool

    @property
    def note(self) -> str | None:
        """What is lost; None if the file is whole."""
        lost = self.size - self.n_bytes
        if not lost:
            return None
        return (
            f"the file is cut off or damaged: {lost} of {self.size} bytes "
            f"({100 * lost / self.size:.2g} %) after its last good chunk are lost"
        )


def measure_whole_part(path: Path) -> WholePart:
    """Walk over the chunks of a file without reading them.

    Parameters
    ----------
    path : Path
        An XDF file, not compressed.

    Returns
    -------
    WholePart
        Where the last chunk ends that lies in the file as a whole and claims no more
        samples than it has room for.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return WholePart(0, size, False)
        end = len(_MAGIC)
        while (stop := _chunk_end(file, size)) is not None:
            end = stop
            file.seek(end)
    return WholePart(end, size, True)


def _chunk_end(file: BinaryIO, size: int) -> int | None:
    """Return where the chunk at this place ends; None if it is none, or not whole."""
    length = _variable_int(file)
    if length is None or length < 2:
        return None
    stop = file.tell() + length
    if stop > size:
        return None
    (tag,) = struct.unpack("<H", file.read(2))
    if tag == _SAMPLES:
        file.seek(4, 1)
        n_samples = _variable_int(file)
        # A sample takes two bytes at least: a flag for its time, and a value.
        if n_samples is None or 2 * n_samples > stop - file.tell():
            return None
    return stop


def _variable_int(file: BinaryIO) -> int | None:
    """Read a number of 1, 4 or 8 bytes, whose width comes first."""
    width = file.read(1)
    if width not in (b"\x01", b"\x04", b"\x08"):
        return None
    digits = file.read(width[0])
    return int.from_bytes(digits, "little") if len(digits) == width[0] else None
