from functools import partial

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merps.errors import InputError
from merps.features.covariance import (
    covariances,
    filter_bank_covariances,
    shrink_ledoit_wolf,
    shrink_oas,
    window_covariances,
)
from merps.kernels.moments import add_scatter
from merps.preprocessing.filters import band_pass

pytestmark = pytest.mark.loops

ESTIMATORS = {"scm": "scm", "oas": "oas", "ledoit_wolf": "lwf"}
BANDS = {"low": (4.0, 10.0), "high": (10.0, 30.0)}


def cut(x_ct, starts, length):
    """Cut windows from a signal that is mirrored at its ends."""
    return naive.gather_windows(x_ct, starts, length)


def close(actual, expected, tolerance):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def test_add_scatter_equals_naive(rng):
    scatter_bcc = rng.normal(size=(7, 3, 3))
    first, stop = np.array([0, 2, 2, 6]), np.array([3, 4, 7, 7])
    shift_wpc = rng.normal(size=(4, 5, 3))
    expected = naive.add_scatter(scatter_bcc, first, stop, shift_wpc)
    for dtype, tolerance in ((np.float64, 1e-14), (np.float32, 1e-6)):
        out = np.empty((4, 3, 3), dtype=dtype), np.empty((4, 3))
        arrays = scatter_bcc.astype(dtype), first, stop, shift_wpc.astype(dtype)
        add_scatter(*arrays, *out)
        for actual, wanted in zip(out, expected, strict=True):
            close(actual, wanted, tolerance)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(max_examples=30, deadline=None)
@given(
    n_channels=st.integers(1, 4),
    length=st.integers(2, 12),
    starts=st.lists(st.integers(-5, 45), min_size=1, max_size=6),
    seed=st.integers(0, 2**16),
)
def test_any_windows_equal_naive(estimator, n_channels, length, starts, seed):
    rng = np.random.default_rng(seed)
    x_ct = rng.normal(size=(n_channels, 40)).cumsum(axis=1) + 100
    windows = cut(x_ct, starts, length)
    expected = np.array([naive.covariance(x, estimator) for x in windows])
    options = {"length_samples": length, "estimator": estimator}
    actual = window_covariances(x_ct, np.array(starts), **options)
    close(actual, expected, 1e-9)
    close(covariances(windows, estimator=estimator), expected, 1e-9)
    x_ct = x_ct.astype(np.float32)
    single = window_covariances(x_ct, np.array(starts), **options)
    assert single.dtype == np.float32
    windows = cut(x_ct.astype(np.float64), starts, length)  # what float32 could hold
    expected = np.array([naive.covariance(x, estimator) for x in windows])
    close(single, expected, 1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_covariances_equal_pyriemann(rng, estimator):
    from pyriemann.geometry.covariance import covariances as reference

    x_ct = rng.normal(size=(6, 6)) @ rng.normal(size=(6, 400)) + 10
    starts = np.arange(0, 360, 10)
    windows = cut(x_ct, starts, 40)
    expected = reference(windows, estimator=ESTIMATORS[estimator])
    options = {"length_samples": 40, "estimator": estimator}
    close(window_covariances(x_ct, starts, **options), expected, 1e-12)
    close(covariances(windows, estimator=estimator), expected, 1e-12)
    single = window_covariances(x_ct.astype(np.float32), starts, **options)
    close(single, expected, 1e-5)
    np.testing.assert_array_equal(single, single.swapaxes(1, 2))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_offsets_and_units_cost_no_precision(rng, estimator, scale):
    x_ct = rng.normal(size=(3, 200))
    starts = np.arange(0, 160, 10)
    options = {"length_samples": 40, "estimator": estimator}
    expected = window_covariances(x_ct, starts, **options)
    offset = np.array([[1000.0], [-300.0], [0.0]])
    moved = ((x_ct + offset) * scale).astype(np.float32)
    actual = window_covariances(moved, starts, **options) / np.float32(scale) ** 2
    # Rounding the signal itself to float32 at this offset costs 1e-4 of it.
    close(actual, expected, 2e-4)


def test_threads_layout_and_order_change_no_bit(rng):
    x_ct = rng.normal(size=(2, 1200)).astype(np.float32)
    starts = np.arange(-10, 1190, 8)
    options = {"length_samples": 24, "estimator": "oas"}
    expected = window_covariances(x_ct, starts, **options)
    two = window_covariances(x_ct, starts, jobs=2, **options)
    np.testing.assert_array_equal(two, expected)
    shuffled = rng.permutation(len(starts))
    actual = window_covariances(x_ct, starts[shuffled], jobs=2, **options)
    np.testing.assert_array_equal(actual, expected[shuffled])
    for view in (np.asfortranarray(x_ct), np.repeat(x_ct, 2, axis=1)[:, ::2]):
        close(window_covariances(view, starts, **options), expected, 1e-6)
    windows = cut(x_ct, starts, 24)
    first = covariances(windows, estimator="oas")
    np.testing.assert_array_equal(covariances(windows, estimator="oas", jobs=2), first)
    reverse = covariances(windows[::-1, ::-1], estimator="oas")
    close(reverse[::-1, ::-1, ::-1], first, 1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_missing_sample_costs_the_windows_that_hold_it(rng, estimator):
    x_ct = rng.normal(size=(3, 100))
    starts = np.arange(0, 90, 5)
    options = {"length_samples": 10, "estimator": estimator}
    whole = window_covariances(x_ct, starts, **options)
    x_ct[1, 42] = np.nan
    holed = window_covariances(x_ct, starts, **options)
    hit = (starts <= 42) & (42 < starts + 10)
    assert np.isnan(holed[hit]).all()
    np.testing.assert_array_equal(holed[~hit], whole[~hit])
    stack = covariances(cut(x_ct, starts, 10), estimator=estimator)
    assert (np.isnan(stack).all(axis=(1, 2)) == hit).all()


def test_flat_and_identical_channels_need_no_excuse():
    flat = np.zeros((3, 50))
    for estimator in ESTIMATORS:
        actual = covariances(flat[None], estimator=estimator)
        np.testing.assert_array_equal(actual, np.zeros((1, 3, 3)))


def test_shrinking_equals_the_estimators(rng):
    windows = rng.normal(size=(5, 4, 30))
    matrices = covariances(windows, estimator="scm")
    before = matrices.copy()
    close(
        shrink_oas(matrices, n_samples=30), covariances(windows, estimator="oas"), 1e-12
    )
    centered = windows - windows.mean(axis=2, keepdims=True)
    fourth = ((centered**2).sum(axis=1) ** 2).mean(axis=1)
    actual = shrink_ledoit_wolf(matrices, fourth, n_samples=30)
    close(actual, covariances(windows, estimator="ledoit_wolf"), 1e-12)
    np.testing.assert_array_equal(matrices, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_filter_bank_is_filter_then_windows(rng, dtype):
    x_ct = rng.normal(size=(18, 300)).astype(dtype)
    starts = np.array([60, 0, 20])
    options = {"length_samples": 40, "estimator": "oas"}
    filters = {"rate_hz": 100.0, "order": 4, "pad_s": 1.0}
    bank = filters | {"bands": BANDS} | options
    actual = filter_bank_covariances(x_ct, starts, **bank)
    assert actual.shape == (3, 2, 18, 18)
    assert actual.dtype == dtype
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for b, (low_hz, high_hz) in enumerate(BANDS.values()):
        band = band_pass(x_ct, low_hz=low_hz, high_hz=high_hz, **filters)
        close(actual[:, b], window_covariances(band, starts, **options), tolerance)
    for view in (x_ct[:, ::-1][:, ::-1], np.asfortranarray(x_ct)):
        two = filter_bank_covariances(view, starts, **bank, jobs=2)
        close(two, actual, tolerance)
    for jobs in (2, 5):  # fewer than the bands times the parts of the channels, or more
        shared = filter_bank_covariances(x_ct, starts, **bank, jobs=jobs)
        np.testing.assert_array_equal(shared, actual)


@pytest.mark.parametrize("slow", [(0.1, 0.3), (2.0, 6.0)])
def test_filter_bank_keeps_precision_at_offsets_and_low_frequencies(rng, slow):
    x_ct = rng.normal(size=(2, 600)).astype(np.float32)
    options = {"length_samples": 400, "rate_hz": 100.0, "order": 4, "pad_s": 1.0}
    options |= {"bands": {"slow": slow}, "estimator": "scm"}
    starts = np.array([0, 200])
    expected = filter_bank_covariances(x_ct.astype(np.float64), starts, **options)
    close(filter_bank_covariances(x_ct, starts, **options), expected, 1e-4)
    moved = x_ct + np.float32(100)  # costs the signal itself 4e-6
    close(filter_bank_covariances(moved, starts, **options), expected, 2e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_filter_bank_refuses_what_it_would_spread(bad):
    options = {"length_samples": 4, "rate_hz": 100.0, "order": 2, "pad_s": 0.1}
    options |= {"bands": BANDS, "estimator": "scm"}
    x_ct = np.ones((2, 30))
    x_ct[1, 7] = bad
    with pytest.raises(InputError, match="NaN or infinite samples"):
        filter_bank_covariances(x_ct, np.array([0]), **options)
    with pytest.raises(InputError, match=r"signal of shape \(2, 0\) is empty"):
        filter_bank_covariances(x_ct[:, :0], np.array([0]), **options)
    for change, message in (({"jobs": 0}, "jobs"), ({"estimator": "lwf"}, "estimator")):
        with pytest.raises(InputError, match=message):
            filter_bank_covariances(np.ones((2, 30)), np.array([0]), **options | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length_samples": 0}, "length_samples must be at least 1, got 0"),
        ({"estimator": "lwf"}, r"estimator must be one of"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(change, message):
    options = {"length_samples": 4, "estimator": "scm"} | change
    with pytest.raises(InputError, match=message):
        window_covariances(np.ones((2, 20)), np.array([0]), **options)


def test_bad_signals_are_refused_and_no_windows_are_fine():
    options = {"length_samples": 4, "estimator": "scm"}
    with pytest.raises(InputError, match="no samples"):
        window_covariances(np.ones((2, 0)), np.array([0]), **options)
    with pytest.raises(InputError, match="windows have no samples"):
        covariances(np.ones((2, 2, 0)), estimator="scm")
    infinite = np.ones((2, 20))
    infinite[0, 3] = np.inf
    with pytest.raises(InputError, match="infinite"):
        window_covariances(infinite, np.array([0]), **options)
    none = window_covariances(np.ones((2, 20)), np.array([], dtype=int), **options)
    assert none.shape == (0, 2, 2)
    none = covariances(np.ones((0, 2, 20)), estimator="scm", jobs=2)
    assert none.shape == (0, 2, 2)


@pytest.mark.parametrize("dtype", [">f8", ">f4", np.float16])
def test_other_types_become_float64(rng, dtype):
    x_ct = rng.normal(size=(3, 60)).astype(dtype)
    same_ct, starts = x_ct.astype(np.float64), np.arange(0, 40, 10)
    for function, *arrays in (
        (covariances, x_ct[None], same_ct[None]),
        (partial(window_covariances, starts=starts, length_samples=20), x_ct, same_ct),
    ):
        actual, expected = (function(array, estimator="oas") for array in arrays)
        assert actual.dtype == np.float64
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("estimator", ["scm", "oas", "ledoit_wolf"])
def test_squares_of_large_numbers_fit(rng, estimator):
    x_wct = (rng.normal(size=(4, 3, 50)) * 1e9).astype(np.float32)
    x_wct[1:] *= np.float32(1e3)
    expected = covariances(x_wct.astype(np.float64), estimator=estimator)
    actual = covariances(x_wct, estimator=estimator)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * expected.max())
