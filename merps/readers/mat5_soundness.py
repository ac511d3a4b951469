"""Whether a MATLAB 5 file is built as it should be, before a C parser trusts it."""

import math
import mmap
import struct
from pathlib import Path

from merps.errors import mismatch
from merps.readers.mat5_elements import (
    HEADER_BYTES,
    MAX_AXES,
    MAX_VARIABLES,
    STORAGE_TYPES,
)
from merps.readers.mat5_streams import (
    DEFLATE_RATIO,
    DamageError,
    InflatedStream,
    PlainStream,
)

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _TEXT, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMBERS = range(6, 16)
_NAMES = (1, 2, 16)
#: Types of text: numbers of one or two bytes, and UTF-8, UTF-16 and UTF-32.
_LETTERS = (1, 2, 3, 4, 16, 17, 18)
_COMPLEX = 0x08
_DEEPEST = 64
_PIECE_BYTES = 2**20
_MAX_BYTES = 8 * 2**30


def require_sound(path: Path) -> None:
    """Refuse a MATLAB 5 file with elements that cannot be what they declare.

    SciPy, which MNE reads such files with, crashes on some of them. Files of MATLAB 7.3
    are HDF5, and not looked at.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DataError
        If the file is none of MATLAB, or an element in it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if head.startswith(b"MATLAB 7."):
            return
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(head[124:])
        if order is None or 0 in head[:4]:  # SciPy takes zeros for version 4
            raise mismatch(
                path,
                expected="a MATLAB file of version 5 or 7.3",
                found="another header",
                remedy="save it from EEGLAB again",
            )
        source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        _check_file(source, order)
    except DamageError as error:
        raise mismatch(
            path,
            expected="a whole MATLAB file",
            found=f"damage: {error}",
            remedy="copy or download the file again",
        ) from error


def _check_file(source: mmap.mmap, order: str) -> None:
    """Walk over the elements of a file."""
    at, size = HEADER_BYTES, len(source)
    for _ in range(MAX_VARIABLES):
        if at == size:
            return
        if at + 8 > size:
            raise DamageError(f"{size - at} bytes at its end are no element")
        code, n_bytes = struct.unpack_from(f"{order}II", source, at)
        if at + 8 + n_bytes > size:
            raise DamageError(f"it ends {at + 8 + n_bytes - size} bytes too early")
        stop = at + 8 + n_bytes
        if code == _COMPRESSED:
            stream = InflatedStream(source, at + 8, stop)
            room = min(_MAX_BYTES, DEFLATE_RATIO * n_bytes)
            code, n_bytes = struct.unpack(f"{order}II", stream.take(8))
            _require_matrix(code, n_bytes, room)
            _Walk(stream, order).check_array(n_bytes, 0)
            stream.finish(0)
        else:
            _require_matrix(code, n_bytes, _MAX_BYTES)
            _Walk(PlainStream(source, at + 8, stop), order).check_array(n_bytes, 0)
        at = stop
    raise DamageError("it has too many elements")


def _require_matrix(code: int, n_bytes: int, room: int) -> None:
    """Refuse an element that is no array, or larger than there is room for."""
    if code != _MATRIX:
        raise DamageError(f"element type {code} where an array should be")
    if n_bytes > room:
        raise DamageError(f"an array of {n_bytes} bytes in {room}")


class _Walk:
    """A walk over the parts of one element and of all that lies in it."""

    def __init__(self, stream: PlainStream | InflatedStream, order: str) -> None:
        self._stream, self._order = stream, order

    def check_array(self, n_bytes: int, depth: int) -> None:
        """Check an array whose tag was read, with all arrays in it."""
        if n_bytes == 0:  # how an empty array may be written
            return
        if depth > _DEEPEST:
            raise DamageError(f"arrays in arrays, more than {_DEEPEST} deep")
        left, word = self._take(n_bytes, (6,), "array flags", 8)
        if len(word) != 8:
            raise DamageError(f"array flags of {len(word)} bytes")
        (flags,) = struct.unpack_from(f"{self._order}I", word)
        kind = flags & 0xFF
        if kind == _OPAQUE:
            for _ in range(3):
                left, _ = self._take(left, _NAMES, "names", 4096)
            left = self._check_children(left, 1, depth)
            self._skip(left)
            return
        left, axes = self._take(left, (5, 6), "dimensions", 4 * MAX_AXES)
        if len(axes) % 4 or len(axes) < 8:
            raise DamageError(f"dimensions of {len(axes)} bytes")
        shape = struct.unpack(f"{self._order}{len(axes) // 4}i", axes)
        if min(shape) < 0:
            raise DamageError(f"dimensions {shape}")
        left, _ = self._take(left, _NAMES, "name", 4096)
        count = math.prod(shape)
        if kind in _NUMBERS or kind == _TEXT:
            codes = tuple(STORAGE_TYPES) if kind in _NUMBERS else _LETTERS
            left = self._check_values(left, codes, count, kind)
            if kind in _NUMBERS and flags >> 8 & _COMPLEX:
                left = self._check_values(left, codes, count, kind)
        elif kind == _SPARSE:
            parts = 4 if flags >> 8 & _COMPLEX else 3
            for _ in range(parts):
                left = self._check_values(left, tuple(STORAGE_TYPES), None, kind)
        elif kind in (_CELL, _FUNCTION):
            left = self._check_children(left, count if kind == _CELL else 1, depth)
        elif kind in (_STRUCT, _OBJECT):
            left = self._check_fields(left, count, kind, depth)
        else:
            raise DamageError(f"there is no array class {kind}")
        if left >= 8:
            raise DamageError(f"{left} bytes after the end of an array")
        self._skip(left)

    def _check_fields(self, left: int, count: int, kind: int, depth: int) -> int:
        """Check the fields of structures; return what is left."""
        if kind == _OBJECT:
            left, _ = self._take(left, _NAMES, "class name", 4096)
        left, word = self._take(left, (5,), "length of field names", 4)
        width = struct.unpack(f"{self._order}i", word)[0] if len(word) == 4 else 0
        left, names = self._take(left, _NAMES, "field names", _PIECE_BYTES)
        if width < 1 or len(names) % width:
            raise DamageError(f"field names of {width} in {len(names)} bytes")
        return self._check_children(left, count * (len(names) // width), depth)

    def _check_children(self, left: int, count: int, depth: int) -> int:
        """Check arrays that follow each other; return what is left."""
        if 8 * count > left:
            raise DamageError(f"{count} arrays in {left} bytes")
        for _ in range(count):
            if left < 8:
                raise DamageError("an array that is not there")
            code, n_bytes = struct.unpack(f"{self._order}II", self._stream.take(8))
            _require_matrix(code, n_bytes, left - 8)
            self.check_array(n_bytes, depth + 1)
            left -= 8 + n_bytes
        return left

    def _check_values(
        self, left: int, codes: tuple[int, ...], count: int | None, kind: int
    ) -> int:
        """Check numbers or letters; return what is left."""
        code, n_bytes, left = self._tag(left)
        if code not in codes:
            raise DamageError(f"values of unknown type {code}")
        width = 1 if kind == _TEXT else int(STORAGE_TYPES[code][1])
        if kind != _TEXT and count is not None and n_bytes != count * width:
            raise DamageError(f"{count} numbers of {width} bytes in {n_bytes}")
        if kind == _TEXT and count and n_bytes > 4 * count:
            raise DamageError(f"{count} letters in {n_bytes} bytes")
        return self._pass(n_bytes, left)

    def _take(
        self, left: int, codes: tuple[int, ...], what: str, limit: int
    ) -> tuple[int, bytes]:
        """Read one small part; return what is left, and its bytes."""
        code, n_bytes, left = self._tag(left)
        if code not in codes or n_bytes > min(limit, left):
            raise DamageError(f"{what} of type {code} and {n_bytes} bytes")
        padding = min(self._padding, left - n_bytes)
        found = bytes(self._stream.take(n_bytes))
        self._skip(padding)
        return left - n_bytes - padding, found

    def _tag(self, left: int) -> tuple[int, int, int]:
        """Read type and length of a part; return them, and what is left."""
        if left < 8:
            raise DamageError("a part that is not there")
        first = bytes(self._stream.take(4))
        (code,) = struct.unpack(f"{self._order}I", first)
        if code >> 16 == 0:
            (n_bytes,) = struct.unpack(f"{self._order}I", self._stream.take(4))
            self._padding = -n_bytes % 8
            return code, n_bytes, left - 8
        code, n_bytes = code & 0xFFFF, code >> 16
        if n_bytes > 4:
            raise DamageError(f"a part that declares {n_bytes} bytes in four")
        self._padding = 4 - n_bytes
        return code, n_bytes, left - 4

    def _pass(self, n_bytes: int, left: int) -> int:
        """Pass over a part and its padding; return what is left."""
        if n_bytes > left:
            raise DamageError(f"a part of {n_bytes} bytes in {left}")
        n_bytes += min(self._padding, left - n_bytes)
        self._skip(n_bytes)
        return left - n_bytes

    def _skip(self, n_bytes: int) -> None:
        """Pass over bytes."""
        for start in range(0, n_bytes, _PIECE_BYTES):
            self._stream.take(min(_PIECE_BYTES, n_bytes - start))
