"""HDF5 files put together from libhdf5's metadata and arrays that it never touches."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from merps.errors import InputError

_PAGE_BYTES = 4096
_PIECE_BYTES = 2**20  # stays in the cache between digest and write


class Image:
    """An HDF5 file that is laid out first and written in order, by us, later.

    libhdf5 decides where everything lies and writes its metadata into memory; it never
    sees the arrays, nor a disk, since it crashes when one is full. The arrays stay
    where they are until their turn comes, so that no copy of the file is ever held.
    Every array is contiguous and starts on a page, so that a map of the file serves as
    the array. The same calls give the same bytes. ::

        with Image() as image:
            group = image.file.create_group("V01")
            eeg = image.reserve(group, "eeg", [signal], signal.shape, signal.dtype)
            eeg.attrs["rate_hz"] = 200.0
        with open(path, "xb") as file:
            file.writelines(image.pieces())
    """

    def __init__(self) -> None:
        import h5py

        self._metadata = _Pages()
        self._arrays: list[tuple[int, Any, Iterable[np.ndarray]]] = []
        #: The file while it is laid out; groups and attributes are made as ever.
        self.file = h5py.File(
            self._metadata,
            "w",
            libver=("v110", "v110"),
            alignment_threshold=1,
            alignment_interval=_PAGE_BYTES,
        )

    def __enter__(self) -> "Image":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @property
    def n_bytes(self) -> int:
        """Size of the file, known once it is laid out."""
        return self._metadata.n_bytes

    def reserve(
        self,
        group: Any,
        name: str,
        blocks: Iterable[np.ndarray],
        shape: tuple[int, ...],
        dtype: Any,
    ) -> Any:
        """Make a contiguous dataset whose content is written with the file.

        Parameters
        ----------
        group : h5py.Group
            Where to make it.
        name : str
            Its name there, in ASCII.
        blocks : iterable of ndarray
            Arrays that make up the content one after the other, in C order; taken
            anew each time the file is written, and not copied where C-contiguous.
        shape : tuple of int
            Shape of the whole.
        dtype : numpy.dtype
            Type of every block.

        Returns
        -------
        h5py.Dataset
            To be given attributes; its data must not be touched.
        """
        import h5py

        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)
        space = h5py.h5s.create_simple(shape)
        kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
        dataset = h5py.Dataset(
            h5py.h5d.create(group.id, name.encode("ascii"), kind, space, plan)
        )
        if dataset.size:
            offset = dataset.id.get_offset()
            whole = np.broadcast_to(np.empty((), dtype), shape)
            self._arrays.append((offset, whole, blocks))
        return dataset

    def pieces(self) -> Iterator[Any]:
        """Return the file's bytes from first to last, once it is laid out.

        Yields
        ------
        bytes-like
            At most 1 MB.

        Raises
        ------
        InputError
            If blocks do not fill the dataset that they are for.
        """
        position = 0
        for offset, whole, blocks in sorted(self._arrays, key=lambda entry: entry[0]):
            yield from self._metadata.pieces(position, offset)
            yield from _content(whole, blocks)
            position = offset + whole.nbytes
        yield from self._metadata.pieces(position, self.n_bytes)


def _content(whole: np.ndarray, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the bytes of blocks that make up an array like `whole`."""
    n_missing = whole.nbytes
    for block in blocks:
        n_missing -= block.nbytes
        if block.dtype != whole.dtype or n_missing < 0:
            break
        content = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
        for start in range(0, content.size, _PIECE_BYTES):
            yield content[start : start + _PIECE_BYTES]
    else:
        if not n_missing:
            return
    raise InputError(f"blocks do not make up {whole.dtype} of shape {whole.shape}")


class _Pages:
    """A file in memory of which only those pages take room that were written."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._pages: dict[int, bytearray] = {}
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self.n_bytes)
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def write(self, data: Any) -> int:
        """Take bytes at the place."""
        data = bytes(data)
        taken = 0
        for page, span in _spans(self._position, self._position + len(data)):
            n_bytes = span.stop - span.start
            content = self._pages.setdefault(page, bytearray(_PAGE_BYTES))
            content[span] = data[taken : taken + n_bytes]
            taken += n_bytes
        self._position += taken
        self.n_bytes = max(self.n_bytes, self._position)
        return taken

    def read(self, n_bytes: int) -> bytes:
        """Return bytes from the place on, zeros where none were written."""
        start, self._position = self._position, self._position + n_bytes
        return b"".join(self.pieces(start, self._position))

    def truncate(self, size: int | None = None) -> int:
        """Set the size; libhdf5 never cuts off what it wrote."""
        self.n_bytes = self._position if size is None else size
        return self.n_bytes

    def flush(self) -> None:
        """Do nothing."""

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of a span, page by page."""
        for page, span in _spans(start, stop):
            yield bytes(self._pages.get(page, bytes(_PAGE_BYTES))[span])


def _spans(start: int, stop: int) -> Iterator[tuple[int, slice]]:
    """Cut a span of the file into pages and the span inside each."""
    while start < stop:
        page, first = divmod(start, _PAGE_BYTES)
        last = min(_PAGE_BYTES, first + stop - start)
        yield page, slice(first, last)
        start += last - first
