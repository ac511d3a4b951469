"""Arrays of MATLAB 5 files, found and read with every declared size checked first."""

import itertools
import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Num

from merps.errors import mismatch
from merps.readers.mat5_streams import (
    DEFLATE_RATIO,
    DamageError,
    InflatedStream,
    PlainStream,
)

HEADER_BYTES = 128
TEXT, VERSION = b"MATLAB 5.0 MAT-file", 0x0100  # in the header
NUMERIC_CLASSES = (
    *("double", "single", "int8", "uint8", "int16", "uint16"),
    *("int32", "uint32", "int64", "uint64"),
)
MAX_AXES = 32
MAX_VARIABLES = 65_536

_MATRIX, _COMPRESSED = 14, 15
_INT8, _UINT8, _INT32, _UINT32, _UTF8 = 1, 2, 5, 6, 16
STORAGE_TYPES = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_NUMERIC = dict(enumerate(NUMERIC_CLASSES, start=6))
_OPAQUE = 17
_OTHER = {
    **{1: "a cell array", 2: "a structure", 3: "an object", 4: "text (char)"},
    **{5: "a sparse matrix", 16: "a function handle", _OPAQUE: "an opaque object"},
}
_LOGICAL, _COMPLEX = 0x02, 0x08
#: MATLAB keeps what functions and objects refer to in an array without a name.
_NAMELESS = "__function_workspace__"

_MAX_NAME_BYTES = 255
_HEAD_BYTES = 1024  # holds the longest head that MAX_AXES and _MAX_NAME_BYTES allow
_HEAD_INPUT_BYTES = 2**16  # compressed, all that a head may take
# Pages of the file that were read count as memory of the process until let go.
_DROP_PAGES = getattr(mmap, "MADV_DONTNEED", None)
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Variable:
    """An array of real numbers in a MATLAB file.

    Parameters
    ----------
    name : str
        Its name in the file.
    shape : tuple of int
        Its shape in MATLAB.
    matlab_class : str
        Such as ``double`` or ``int16``.
    n_bytes : int
        Memory it takes when read.
    """

    name: str
    shape: tuple[int, ...]
    matlab_class: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a MATLAB file holds.

    Parameters
    ----------
    variables : dict of Variable
        Arrays that can be read, by name.
    skipped : dict of str
        What the others are, by name.
    broken : dict of str
        Why something cannot be read, by name, or by place where that is unknown.
    """

    variables: dict[str, Variable] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.variables or name in self.skipped or name in self.broken


@dataclass(frozen=True, slots=True)
class _Head:
    """What an array element says of itself; offsets count from its own tag."""

    name: str
    class_code: int
    flags: int
    shape: tuple[int, ...]
    data_tag: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the numbers of one variable lie, and how they are stored."""

    start: int  # of the array element, or of what is compressed, in the file
    end: int
    compressed: bool
    n_before: int  # bytes of the array element before, of, and after its numbers
    storage: np.dtype
    count: int
    n_after: int


class Mat5Source:
    """The arrays of one memory-mapped file; several threads may read at once."""

    def __init__(self, path: Path, order: str) -> None:
        self.contents = Contents()
        self._path = path
        self._order = order
        self._places: dict[str, _Place] = {}
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._list()

    def fill(self, variable: Variable, out: Num[np.ndarray, "..."]) -> None:
        """Write a variable into an array of its shape and class in Fortran order."""
        place = self._places[variable.name]
        stream = self._stream(place.start, place.end, compressed=place.compressed)
        stream.take(place.n_before)
        flat = out.reshape(-1, order="F")
        step = _PIECE_BYTES // place.storage.itemsize
        passed = place.start
        for start in range(0, place.count, step):
            target = flat[start : start + step]
            if place.storage == out.dtype:
                stream.fill(target.view(np.uint8))
            else:
                piece = stream.take(target.size * place.storage.itemsize)
                _store(np.frombuffer(piece, place.storage), target)
            self._drop(passed, stream.at)
            passed = stream.at
        stream.finish(place.n_after)
        self._drop(passed, place.end)

    def view(self, variable: Variable) -> Num[np.ndarray, "..."] | None:
        """Return a variable as it lies in the file, or None where it has to be read."""
        place = self._places[variable.name]
        at = place.start + place.n_before
        if (
            place.compressed
            or place.storage != np.dtype(variable.matlab_class)
            or at % place.storage.alignment
        ):
            return None
        return np.ndarray(
            variable.shape, place.storage, buffer=self._map, offset=at, order="F"
        )

    def release(self, variable: Variable) -> None:
        """Let go of the pages that hold a variable."""
        place = self._places[variable.name]
        self._drop(place.start, place.end)

    def close(self) -> None:
        """Let go of the map, which lives on while a thread or a view needs it."""
        del self._map

    def _drop(self, start: int, end: int) -> None:
        """Let go of the pages that hold some bytes; whoever needs them gets them."""
        if _DROP_PAGES is not None and start < end:
            start -= start % mmap.PAGESIZE
            self._map.madvise(_DROP_PAGES, start, end - start)

    def _stream(
        self, start: int, end: int, *, compressed: bool
    ) -> PlainStream | InflatedStream:
        """Read an element from its start on."""
        return (InflatedStream if compressed else PlainStream)(self._map, start, end)

    def _list(self) -> None:
        """Walk over the elements of the file and sort them into the contents."""
        at, size = HEADER_BYTES, len(self._map)
        for n_elements in itertools.count():
            at = self._skip_padding(at)
            if at == size:
                return
            code, n_bytes = self._tag(at)
            too_many = n_elements == MAX_VARIABLES
            if too_many or code not in (_MATRIX, _COMPRESSED):
                break
            self._add(at, at + 8 + n_bytes, compressed=code == _COMPRESSED)
            at = min(at + 8 + n_bytes, size)
        self.contents.broken[f"everything from byte {at}"] = (
            "there are too many elements" if too_many else "no array begins there"
        )

    def _tag(self, at: int) -> tuple[int, int]:
        """Read type and length of the element at a byte of the file; type 0 if cut."""
        if at + 8 > len(self._map):
            return 0, 0
        return struct.unpack_from(f"{self._order}II", self._map, at)

    def _skip_padding(self, at: int) -> int:
        """Step over the zeros with which some writers align what follows."""
        aligned = min(_align(at), len(self._map))
        if self._tag(at)[0] in (_MATRIX, _COMPRESSED) or any(self._map[at:aligned]):
            return at
        return aligned if aligned == _align(at) else at

    def _add(self, start: int, end: int, *, compressed: bool) -> None:
        """Sort one element into the contents by what its head says."""
        contents, size = self.contents, len(self._map)
        name = f"the element at byte {start}"
        body = start + 8 if compressed else start
        try:
            stop = min(end, size, body + _HEAD_INPUT_BYTES)
            opening = self._stream(body, stop, compressed=compressed).up_to(_HEAD_BYTES)
            head = _parse_head(opening, self._order)
            if head.name in contents:
                raise mismatch(
                    f"{self._path}, variable {head.name}",
                    expected="each name once",
                    found=f"it again at byte {start}",
                    remedy="save the file again with distinct names",
                )
            name = head.name
            if end > size:
                raise DamageError(f"the file ends {end - size} bytes too early")
            if reason := _reason_to_skip(head):
                contents.skipped[name] = reason
                return
            place = _locate(opening, head, self._order, body, end, compressed)
            matlab_class = _NUMERIC[head.class_code]
            n_bytes = place.count * np.dtype(matlab_class).itemsize
            self._places[name] = place
            contents.variables[name] = Variable(name, head.shape, matlab_class, n_bytes)
        except DamageError as error:
            contents.broken[name] = str(error)


def _align(at: int) -> int:
    """Round up to the next multiple of eight."""
    return -(-at // 8) * 8


def _parse_tag(head: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Read type and length of a part, where it starts, and where the next one does."""
    if at + 8 > len(head):
        raise DamageError("its head is cut")
    code, n_bytes = struct.unpack_from(f"{order}II", head, at)
    if code >> 16 == 0:
        return code, n_bytes, at + 8, at + 8 + _align(n_bytes)
    code, n_bytes = code & 0xFFFF, code >> 16
    if n_bytes > 4:
        raise DamageError(f"a part of its head declares {n_bytes} bytes in four")
    return code, n_bytes, at + 4, at + 8


def _parse_part(
    head: bytes, at: int, order: str, what: str, codes: tuple[int, ...], limit: int
) -> tuple[bytes, int]:
    """Read one part of a head, and where the next one starts."""
    code, n_bytes, start, after = _parse_tag(head, at, order)
    if code not in codes or n_bytes > limit:
        raise DamageError(f"its {what} are of type {code} and {n_bytes} bytes")
    if start + n_bytes > len(head):
        raise DamageError("its head is cut")
    return head[start : start + n_bytes], after


def _parse_head(head: bytes, order: str) -> _Head:
    """Read name, class and shape of an array element."""
    code, n_bytes, at, _ = _parse_tag(head, 0, order)
    if code != _MATRIX:
        raise DamageError(f"it holds element type {code} where an array should be")
    word, at = _parse_part(head, at, order, "array flags", (_UINT32,), 8)
    if len(word) != 8:
        raise DamageError(f"its array flags are {len(word)} bytes")
    (flags,) = struct.unpack_from(f"{order}I", word)
    class_code, flags = flags & 0xFF, flags >> 8 & 0xFF
    if class_code not in _NUMERIC and class_code not in _OTHER:
        raise DamageError(f"there is no array class {class_code}")
    shape = ()
    if class_code != _OPAQUE:
        axes, at = _parse_part(
            head, at, order, "dimensions", (_INT32, _UINT32), 4 * MAX_AXES
        )
        shape = struct.unpack(f"{order}{len(axes) // 4}i", axes[: len(axes) // 4 * 4])
        if len(axes) % 4 or len(shape) < 2 or min(shape) < 0:
            raise DamageError(f"its dimensions are {shape} in {len(axes)} bytes")
    text, at = _parse_part(
        head, at, order, "name", (_INT8, _UINT8, _UTF8), _MAX_NAME_BYTES
    )
    name = text.rstrip(b"\0").decode("latin-1") or _NAMELESS
    if not name.isprintable():
        raise DamageError(f"its name {name!r} has signs that cannot be printed")
    return _Head(name, class_code, flags, shape, at, n_bytes + 8)


def _reason_to_skip(head: _Head) -> str | None:
    """Say what an array is if it is none of real numbers."""
    if head.class_code in _OTHER:
        return _OTHER[head.class_code]
    if head.name == _NAMELESS:
        return "data that MATLAB keeps for functions and objects"
    if head.flags & _LOGICAL:
        return "a logical array"
    if head.flags & _COMPLEX:
        return "complex numbers"
    return None


def _locate(
    opening: bytes, head: _Head, order: str, start: int, end: int, compressed: bool
) -> _Place:
    """Find the numbers of an array, or say why its declared sizes cannot be."""
    if compressed and head.n_bytes > DEFLATE_RATIO * (end - start):
        raise DamageError(
            f"it declares {head.n_bytes} bytes, more than {end - start} "
            "compressed bytes can hold"
        )
    code, n_bytes, at, after = _parse_tag(opening, head.data_tag, order)
    if code not in STORAGE_TYPES:
        raise DamageError(f"its numbers are stored as unknown type {code}")
    storage = np.dtype(order + STORAGE_TYPES[code])
    count = math.prod(head.shape)
    if n_bytes != count * storage.itemsize:
        raise DamageError(
            f"its shape {head.shape} needs {count * storage.itemsize} bytes, "
            f"but it declares {n_bytes}"
        )
    n_after = head.n_bytes - at - n_bytes
    if not 0 <= n_after < 8 and after != head.n_bytes:
        raise DamageError(
            f"its parts take {at + n_bytes} bytes, but it declares {head.n_bytes}"
        )
    if math.prod(n or 1 for n in head.shape) > np.iinfo(np.int64).max // 8:
        raise DamageError(f"no array has the shape {head.shape}")
    return _Place(start, end, compressed, at, storage, count, n_after)


def _store(values: Num[np.ndarray, " n"], out: Num[np.ndarray, " n"]) -> None:
    """Copy numbers into another type; those that do not fit are never wrapped."""
    with np.errstate(invalid="ignore", over="ignore"):
        out[:] = values
    if np.can_cast(values.dtype, out.dtype, "safe"):
        return
    if not np.array_equal(out, values, equal_nan=True):
        raise DamageError(f"it holds numbers that are no {out.dtype}")
