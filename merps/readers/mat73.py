"""Arrays of MATLAB 7.3 files, which are HDF5; links to other places stay unfollowed."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8
from zlib_ng import zlib_ng

from merps.errors import MerpsError, mismatch
from merps.readers.mat5_elements import (
    MAX_AXES,
    MAX_VARIABLES,
    NUMERIC_CLASSES,
    Contents,
    Variable,
)
from merps.readers.mat5_streams import DEFLATE_RATIO, DamageError

if TYPE_CHECKING:
    import h5py

_DEFLATE, _SHUFFLE = 1, 2  # numbers of the HDF5 filters that MATLAB uses
_OTHER = {
    "char": "text (char)",
    "logical": "a logical array",
    "cell": "a cell array",
    "struct": "a structure",
    "function_handle": "a function handle",
}
_SLACK_BYTES = 2**20


class Mat73Source:
    """The arrays of one HDF5 file; several threads may read at once."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.contents = Contents()
        self._n_file_bytes = path.stat().st_size
        try:
            with _reported():
                self._file = h5py.File(path, "r", locking=False)
                names = list(self._file)[:MAX_VARIABLES]
        except DamageError as error:
            raise mismatch(
                path,
                expected="a whole HDF5 file behind the header of MATLAB 7.3",
                found=str(error),
                remedy="copy or download the file again",
            ) from error
        for name in names:
            if not isinstance(name, str) or not name.isprintable():  # bytes: no UTF-8
                self.contents.broken[repr(name)] = "its name cannot be printed"
                continue
            if name.startswith("#"):  # where MATLAB keeps the parts of other variables
                continue
            try:
                with _reported():
                    self._add(name)
            except (DamageError, MemoryError) as error:
                self.contents.broken[name] = str(error) or "it declares too much"

    def fill(self, variable: Variable, out: Num[np.ndarray, "..."]) -> None:
        """Write a variable into an array of its shape and class in Fortran order."""
        if out.size == 0:
            return
        with _reported():
            dataset = self._file[variable.name]
            if dataset.chunks is None:
                dataset.read_direct(out.T)
            else:
                _read_chunks(dataset, out.T)

    def view(self, variable: Variable) -> None:
        """Return nothing: HDF5 hands out copies only."""

    def release(self, variable: Variable) -> None:
        """Do nothing: the file is not mapped."""

    def close(self) -> None:
        """Close the file."""
        with _reported():
            self._file.close()

    def _add(self, name: str) -> None:
        """Sort one variable into the contents by what it says of itself."""
        import h5py

        if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
            self.contents.skipped[name] = "a link to another place, never followed"
            return
        item = self._file[name]
        matlab_class = item.attrs.get("MATLAB_class", b"")
        if isinstance(matlab_class, bytes):
            matlab_class = matlab_class.decode("latin-1")
        if reason := _reason_to_skip(item, str(matlab_class)):
            self.contents.skipped[name] = reason
            return
        matlab_class = str(matlab_class) or _class_of(item.dtype)
        if item.attrs.get("MATLAB_empty", 0):
            shape = _empty_shape(item)
        else:
            shape = item.shape[::-1]
            _check_storage(item, np.dtype(matlab_class), self._n_file_bytes)
        n_bytes = math.prod(shape) * np.dtype(matlab_class).itemsize
        self.contents.variables[name] = Variable(name, shape, matlab_class, n_bytes)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into our own error."""
    try:
        yield
    except (MerpsError, MemoryError):
        raise
    except Exception as error:  # a C library on foreign bytes raises almost anything
        raise DamageError(f"HDF5 says: {str(error)[:200]}") from error


def _class_of(dtype: np.dtype) -> str | None:
    """Return the MATLAB class of a type, for writers that leave it out."""
    native = dtype.newbyteorder("=")
    return next((name for name in NUMERIC_CLASSES if np.dtype(name) == native), None)


def _reason_to_skip(
    item: "h5py.Group | h5py.Dataset | h5py.Datatype", matlab_class: str
) -> str | None:
    """Say what an item is if it is no array of real numbers in this file."""
    import h5py

    if "MATLAB_sparse" in item.attrs:
        return "a sparse matrix"
    if not isinstance(item, h5py.Dataset):
        return _OTHER.get(matlab_class, "a structure")
    if matlab_class in _OTHER:
        return _OTHER[matlab_class]
    if item.shape is None:
        return "a variable without data"
    if item.dtype.names:
        return "complex numbers"
    if matlab_class not in NUMERIC_CLASSES and (
        matlab_class or _class_of(item.dtype) is None
    ):
        return f"an object of class {matlab_class!r} and type {item.dtype}"
    if item.is_virtual or item.external:
        return "numbers that lie in other files, never followed"
    if not set(_filters(item)) <= {_DEFLATE, _SHUFFLE}:
        return "numbers behind an HDF5 filter that MATLAB does not use"
    return None


def _filters(dataset: "h5py.Dataset") -> list[int]:
    """Return the numbers of the filters a dataset was written through, in order."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _empty_shape(dataset: "h5py.Dataset") -> tuple[int, ...]:
    """Read the shape that MATLAB stores in place of an array without elements."""
    if dataset.size is None or dataset.size > MAX_AXES or dataset.chunks:
        raise DamageError("it is marked as empty but holds something")
    shape = tuple(int(n) for n in np.ravel(dataset[()]))
    n_elements = math.prod(n or 1 for n in shape)
    if min(shape, default=1) != 0 or n_elements > np.iinfo(np.int64).max // 8:
        raise DamageError(f"it is marked as empty but has the shape {shape}")
    return shape


def _check_storage(dataset: "h5py.Dataset", dtype: np.dtype, n_file_bytes: int) -> None:
    """Say why the numbers a dataset declares cannot be in the file."""
    import h5py

    native = dataset.dtype.newbyteorder("=")
    plain = h5py.h5t.py_create(dataset.dtype)
    if native != dtype or dataset.id.get_type() != plain:
        raise DamageError(f"its numbers are stored as {dataset.dtype}, not {dtype}")
    n_bytes = math.prod(dataset.shape) * dtype.itemsize
    n_stored = dataset.id.get_storage_size()
    if n_stored > n_file_bytes:
        raise DamageError(f"it declares {n_stored} bytes in a file of {n_file_bytes}")
    if dataset.chunks is None:
        if n_stored != n_bytes:
            raise DamageError(f"it declares {n_bytes} bytes and stores {n_stored}")
        return
    filters = _filters(dataset)
    if len(set(filters)) != len(filters):
        raise DamageError("its numbers were compressed more than once")
    n_chunk_bytes = math.prod(dataset.chunks) * dtype.itemsize
    if n_chunk_bytes > n_bytes + _SLACK_BYTES:
        raise DamageError(f"it declares chunks of {n_chunk_bytes} bytes")
    sides = zip(dataset.shape, dataset.chunks, strict=True)
    n_chunks = math.prod(-(-n // chunk) for n, chunk in sides)
    if dataset.id.get_num_chunks() != n_chunks:
        raise DamageError(
            f"{dataset.id.get_num_chunks()} of its {n_chunks} chunks are in the file"
        )
    ratio = DEFLATE_RATIO if _DEFLATE in filters else 1
    if n_chunks * n_chunk_bytes > ratio * n_stored:
        raise DamageError(
            f"it declares {n_chunks * n_chunk_bytes} bytes, more than {n_stored} "
            "stored bytes can hold"
        )


def _read_chunks(dataset: "h5py.Dataset", out: Num[np.ndarray, "..."]) -> None:
    """Inflate each chunk into its place, for HDF5 itself would inflate a bomb."""
    shape, chunks, filters = dataset.shape, dataset.chunks, _filters(dataset)
    n_bytes = math.prod(chunks) * out.itemsize
    for corner in itertools.product(*map(range, itertools.repeat(0), shape, chunks)):
        n_stored = dataset.id.get_chunk_info_by_coord(corner).size
        if n_stored > 2 * n_bytes + _SLACK_BYTES:
            raise DamageError(f"a chunk of {n_bytes} bytes is stored in {n_stored}")
        mask, raw = dataset.id.read_direct_chunk(corner)
        for i, number in reversed(list(enumerate(filters))):
            if mask >> i & 1:  # this chunk did not go through this filter
                continue
            if number == _DEFLATE:
                raw = _inflate(raw, n_bytes)
            else:
                bytes_ = np.frombuffer(raw, np.uint8)
                raw = _unshuffle(bytes_, out.itemsize).tobytes()
        if len(raw) != n_bytes:
            raise DamageError(f"a chunk of {n_bytes} bytes holds {len(raw)}")
        block = np.frombuffer(raw, dataset.dtype).reshape(chunks)
        inside = tuple(slice(n - at) for n, at in zip(shape, corner, strict=True))
        ends = (slice(at, at + n) for at, n in zip(corner, chunks, strict=True))
        out[tuple(ends)] = block[inside]


def _inflate(raw: bytes, n_bytes: int) -> bytes:
    """Inflate one chunk to exactly the bytes it must have."""
    stream = zlib_ng.decompressobj()
    try:
        inflated = stream.decompress(raw, n_bytes + 1)
    except zlib_ng.error as error:
        raise DamageError(f"its compressed data are damaged ({error})") from error
    if len(inflated) != n_bytes or not stream.eof:
        raise DamageError(f"a chunk does not inflate to its {n_bytes} bytes")
    return inflated


def _unshuffle(bytes_: UInt8[np.ndarray, " n"], width: int) -> UInt8[np.ndarray, " n"]:
    """Bring the bytes of each number together again."""
    n_whole = len(bytes_) // width * width
    whole = bytes_[:n_whole].reshape(width, -1).T.ravel()
    return np.concatenate([whole, bytes_[n_whole:]])
