import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.features.temporal import smooth_in_time, smooth_past


@given(
    n_samples=st.integers(0, 60),
    width_s=st.sampled_from([0, 1, 1.9, 2, 5, 7, 100]),
    p_missing=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 2**16),
)
def test_smoothing_equals_naive(n_samples, width_s, p_missing, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_samples, 3)) + 10
    values[rng.random(values.shape) < p_missing] = np.nan
    trials = rng.integers(0, 3, size=n_samples)  # in any order, seconds absent or twice
    seconds = rng.integers(0, 30, size=n_samples)
    actual = smooth_in_time(values, trials, seconds, width_s=width_s)
    expected = naive.smooth_in_time(values, trials, seconds, width_s)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    actual = smooth_past(values, trials, seconds, width_s=width_s)
    expected = naive.smooth_past(values, trials, seconds, width_s)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_row_order_does_not_matter_and_dtype_stays(rng):
    values = rng.normal(size=(200, 4)).astype(np.float32)
    trials = np.repeat(np.arange(4), 50)
    seconds = np.tile(np.arange(50), 4)
    expected = smooth_in_time(values, trials, seconds, width_s=7)
    assert expected.dtype == np.float32
    order = rng.permutation(200)
    actual = smooth_in_time(values[order], trials[order], seconds[order], width_s=7)
    np.testing.assert_array_equal(actual, expected[order])


def test_constants_stay_and_trials_do_not_mix():
    values = np.repeat([[3.0], [-8.0]], 20, axis=0)
    trials = np.repeat([5, 2], 20)
    seconds = np.tile(np.arange(20), 2)
    smooth = smooth_in_time(values, trials, seconds, width_s=9)
    np.testing.assert_allclose(smooth, values, rtol=1e-12)


def test_narrow_widths_leave_values_alone(rng):
    values = rng.normal(size=(30, 2))
    trials, seconds = np.zeros(30, int), np.arange(30)
    for width_s in (0, 1):
        same = smooth_in_time(values, trials, seconds, width_s=width_s)
        np.testing.assert_allclose(same, values, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="width_s must not be negative"):
        smooth_in_time(values, trials, seconds, width_s=-1)
