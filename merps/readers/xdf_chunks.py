"""How much of an XDF file is whole."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"XDF:"
_HEADER, _SAMPLES = 2, 3
#: Bytes of one value; of text, those of its length.
_WIDTHS = {
    **{b"double64": 8, b"float32": 4, b"string": 2},
    **{b"int8": 1, b"int16": 2, b"int32": 4, b"int64": 8},
}
_COUNT = re.compile(rb"<channel_count>\s*(\d{1,18})\s*<")
_FORMAT = re.compile(rb"<channel_format>\s*(\w+)\s*<")


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
        end, sample_bytes = len(_MAGIC), {}
        while (stop := _chunk_end(file, size, sample_bytes)) is not None:
            end = stop
            file.seek(end)
    return WholePart(end, size, True)


def _chunk_end(file: BinaryIO, size: int, sample_bytes: dict[bytes, int]) -> int | None:
    """Return where the chunk at this place ends; None if it is none, or not whole."""
    length = _variable_int(file)
    if length is None or length < 2:
        return None
    stop = file.tell() + length
    if stop > size:
        return None
    (tag,) = struct.unpack("<H", file.read(2))
    if tag == _HEADER:
        stream, text = file.read(4), file.read(max(0, length - 6))
        count, form = _COUNT.search(text), _FORMAT.search(text)
        if count and form:  # one more byte is a flag for the time
            width = _WIDTHS.get(form[1], 1)
            sample_bytes[stream] = 1 + width * int(count[1])
    elif tag == _SAMPLES:
        stream, n_samples = file.read(4), _variable_int(file)
        least = sample_bytes.get(stream, 2)
        if n_samples is None or least * n_samples > stop - file.tell():
            return None
    return stop


def _variable_int(file: BinaryIO) -> int | None:
    """Read a number of 1, 4 or 8 bytes, whose width comes first."""
    width = file.read(1)
    if width not in (b"\x01", b"\x04", b"\x08"):
        return None
    digits = file.read(width[0])
    return int.from_bytes(digits, "little") if len(digits) == width[0] else None
