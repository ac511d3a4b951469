import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from merps.errors import InputError
from merps.features.tiles import Scratch, _find_libraries, map_tiles

SECONDS = 20


def blas_threads():
    """Numbers of threads of the libraries of linear algebra."""
    libraries = threadpool_info()
    return {lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    """Two threads for linear algebra, whatever was loaded by other tests."""
    _find_libraries.cache_clear()
    with ThreadPoolExecutor(1) as pool:  # which ends: in this one it would count alone
        limits = pool.submit(threadpool_limits, 2, user_api="blas").result()
    assert blas_threads() == {2}
    yield
    with ThreadPoolExecutor(1) as pool:
        pool.submit(limits.restore_original_limits).result()
    _find_libraries.cache_clear()


def test_scratch_is_used_again_by_its_thread_alone():
    scratch = Scratch()
    large = scratch.take("a", (4, 3), np.float64)
    assert np.shares_memory(scratch.take("a", (2, 3), np.float64), large)
    assert not np.shares_memory(scratch.take("b", (2, 3), np.float64), large)
    assert scratch.take("a", (5, 3), np.float64).shape == (5, 3)
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(scratch.take, "a", (5, 3), np.float64).result()
    assert not np.shares_memory(scratch.take("a", (5, 3), np.float64), theirs)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("n_rows", [0, 1, 10, 12])
def test_tiles_cover_the_rows_in_order(jobs, n_rows):
    rows = np.arange(n_rows)
    tiles = map_tiles(rows.__getitem__, n_rows, tile_rows=4, jobs=jobs)
    lengths = {0: [], 1: [1], 10: [4, 4, 2], 12: [4, 4, 4]}
    assert [len(tile) for tile in tiles] == lengths[n_rows]
    np.testing.assert_array_equal(np.concatenate([rows[:0], *tiles]), rows)


@pytest.mark.parametrize("jobs", [1, 2])
def test_linear_algebra_has_one_thread_a_tile(two_threads, jobs):
    seen = map_tiles(lambda _: blas_threads(), 3, tile_rows=1, jobs=jobs)
    assert seen == [{1}] * 3
    assert blas_threads() == {2}
    with pytest.raises(ZeroDivisionError):
        map_tiles(lambda _: 1 / 0, 3, tile_rows=1, jobs=jobs)
    assert blas_threads() == {2}


def test_the_limit_holds_from_the_first_user_to_the_last(two_threads):
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first(_):
        first_in.set()
        assert second_in.wait(SECONDS)

    def second(_):
        second_in.set()
        assert first_out.wait(SECONDS)
        return blas_threads()

    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(map_tiles, first, 1, tile_rows=1, jobs=1)
        assert first_in.wait(SECONDS)
        late = pool.submit(map_tiles, second, 1, tile_rows=1, jobs=1)
        early.result(SECONDS)
        first_out.set()
        assert late.result(SECONDS) == [{1}]
        assert blas_threads() == {2}  # though both threads are still alive
    assert blas_threads() == {2}


def test_no_jobs_are_refused():
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        map_tiles(str, 3, tile_rows=1, jobs=0)
