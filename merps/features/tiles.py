"""Runs array work in threads over fixed tiles, so that their number changes no bit."""

import functools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from merps.engine import require_jobs

Value = TypeVar("Value")


def map_tiles(
    function: Callable[[slice], Value], n_rows: int, *, tile_rows: int, jobs: int
) -> list[Value]:
    """Call a function with one slice of rows after the other.

    Linear algebra is held to one thread a tile.

    Parameters
    ----------
    function : callable
        Takes a slice of rows; may write into rows of an array that are its own.
    n_rows : int
        Number of rows that the slices cut up.
    tile_rows : int
        Number of rows in a slice; the last one may hold fewer.
    jobs : int
        How many slices are worked on at a time; 1 stays in the calling thread.

    Returns
    -------
    list
        What the function returned, in the order of the rows.

    Raises
    ------
    InputError
        If `jobs` is not positive.
    """
    require_jobs(jobs)
    tiles = [
        slice(first, min(first + tile_rows, n_rows))
        for first in range(0, n_rows, tile_rows)
    ]
    # OpenMP keeps its limit per thread, so each worker sets its own.
    with _one_thread, _limit("openmp"):
        if jobs == 1 or len(tiles) <= 1:
            return [function(tile) for tile in tiles]
        n_threads = min(jobs, len(tiles))
        with ThreadPoolExecutor(
            n_threads, initializer=_limit, initargs=("openmp",)
        ) as pool:
            return list(pool.map(function, tiles))


class Scratch(threading.local):
    """Memory that a thread uses again: fresh one costs as much as the sums in it."""

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def take(
        self, name: str, shape: tuple[int, ...], dtype: type | np.dtype
    ) -> np.ndarray:
        """Return an array with any content; one of the same name loses its own.

        Parameters
        ----------
        name : str
            What the array is for.
        shape : tuple of int
            Its shape.
        dtype : dtype
            Its type, always the same for a name.

        Returns
        -------
        ndarray
            C-contiguous.
        """
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, dtype)
        return self._kept[name][:size].reshape(shape)


class _OneThread:
    """Holds linear algebra to one thread from its first user to its last.

    threadpoolctl listens to one thread alone until that one leaves a with statement of
    its own. So both calls stand in one, and any thread may be the last user.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_users == 0:
                with _limit("none"):
                    self._limit = _limit("blas")
            self._n_users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                with _limit("none"):
                    self._limit.restore_original_limits()


#: The limit is one of the whole process, whoever asks for it.
_one_thread = _OneThread()


def _limit(kind: str) -> Any:
    """Hold libraries of one kind to one thread."""
    return _find_libraries().select(user_api=kind).limit(limits=1)


@functools.cache
def _find_libraries() -> Any:
    """Look once for the libraries that NumPy has loaded, which takes a while."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
