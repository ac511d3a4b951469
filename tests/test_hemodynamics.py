import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.features.hemodynamics import (
    SUMMARIES,
    summarize_hemodynamics,
    summarize_spans,
)


@given(n_times=st.integers(2, 50), seed=st.integers(0, 2**16))
def test_summaries_equal_naive(n_times, seed):
    rng = np.random.default_rng(seed)
    x_wkct = rng.normal(size=(2, 2, 3, n_times)) + 4
    actual = summarize_hemodynamics(x_wkct, rate_hz=10)
    expected = np.apply_along_axis(naive.summarize_hemodynamics, -1, x_wkct, 10)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


def test_summaries_of_a_line_are_its_own(rng):
    slopes = rng.normal(size=(4, 3, 5, 1))
    times_s = np.arange(48) * 21 / 1000
    x_wkct = 100 + slopes * times_s
    summary = summarize_hemodynamics(x_wkct, rate_hz=1000 / 21)
    assert SUMMARIES == ("mean", "slope", "sd")
    expected_mean = 100 + slopes[..., 0] * times_s.mean()
    np.testing.assert_allclose(summary[..., 0], expected_mean, rtol=1e-12)
    np.testing.assert_allclose(summary[..., 1], slopes[..., 0], rtol=1e-9)
    expected_sd = np.abs(slopes[..., 0]) * times_s.std()
    np.testing.assert_allclose(summary[..., 2], expected_sd, rtol=1e-9)


def test_an_offset_moves_only_the_mean_even_in_float32(rng):
    x_wkct = rng.normal(size=(3, 2, 4, 40))
    expected = summarize_hemodynamics(x_wkct, rate_hz=10)
    expected[..., 0] += 512
    moved = (x_wkct + 512).astype(np.float32)
    summary = summarize_hemodynamics(moved, rate_hz=10)
    assert summary.dtype == np.float32
    np.testing.assert_allclose(summary, expected, rtol=1e-4, atol=1e-4)
    strided = np.asfortranarray(moved)
    np.testing.assert_allclose(
        summarize_hemodynamics(strided, rate_hz=10), summary, rtol=1e-5, atol=1e-6
    )


def test_nan_stays_in_its_channel_and_window(rng):
    x_wkct = rng.normal(size=(3, 2, 4, 40))
    expected = summarize_hemodynamics(x_wkct, rate_hz=10)
    x_wkct[1, 0, 2, 17] = np.nan
    actual = summarize_hemodynamics(x_wkct, rate_hz=10)
    assert np.isnan(actual[1, 0, 2]).all()
    actual[1, 0, 2] = expected[1, 0, 2]
    np.testing.assert_array_equal(actual, expected)
    assert summarize_hemodynamics(x_wkct[:0], rate_hz=10).shape == (0, 2, 4, 3)


def test_one_sample_has_no_slope():
    with pytest.raises(InputError, match="got 1 samples at rate_hz=10; take longer"):
        summarize_hemodynamics(np.zeros((1, 1, 1, 1)), rate_hz=10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spans_are_summarized_like_windows(rng, dtype):
    x_kct = (rng.normal(size=(2, 5, 3000)) + 4).astype(dtype)
    x_kct[1, 2, 1000] = np.nan
    starts = np.sort(rng.integers(0, 3000 - 190 + 1, size=150))
    starts[-1] = 3000 - 190
    x_wkct = np.stack([x_kct[..., s : s + 190] for s in starts])
    expected = summarize_hemodynamics(x_wkct, rate_hz=47.6)
    options = {"length_samples": 190, "rate_hz": 47.6}
    for view in (
        x_kct,
        np.asfortranarray(x_kct),
        np.repeat(x_kct, 2, axis=2)[..., ::2],
    ):
        for jobs in (1, 2):
            found = summarize_spans(view, starts, **options, jobs=jobs)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    one = summarize_spans(x_kct[:1, :1], starts[:1], **options)
    np.testing.assert_allclose(one, expected[:1, :1, :1], rtol=2e-5, atol=1e-6)
    none = summarize_spans(x_kct, starts[:0], **options, jobs=2)
    assert none.shape == (0, 2, 5, 3)
    swapped = x_kct.astype(x_kct.dtype.newbyteorder())
    np.testing.assert_allclose(
        summarize_spans(swapped, starts, **options), expected, rtol=2e-5, atol=1e-6
    )


def test_spans_that_leave_the_signal_are_refused():
    x_kct = np.zeros((1, 1, 100))
    with pytest.raises(InputError, match="from 0 to 91 leave the signal of 100"):
        summarize_spans(x_kct, np.array([0, 91]), length_samples=10, rate_hz=10)
    with pytest.raises(InputError, match="got 1 samples at rate_hz=10; take longer"):
        summarize_spans(x_kct, np.array([0]), length_samples=1, rate_hz=10)
