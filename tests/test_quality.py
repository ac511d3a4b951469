import tracemalloc

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merps.errors import InputError
from merps.kernels.scanning import count_clipped, scan_windows, subtract_first
from merps.preprocessing.quality import MEASURES, measure_quality

pytestmark = pytest.mark.loops
OPTIONS = {"rate_hz": 200.0, "line_hz": 50.0, "window_s": 1.0, "flat_range": 0.5}


@given(
    n_times=st.integers(1, 40),
    length=st.integers(2, 9),
    p_missing=st.sampled_from([0.0, 0.1, 0.8]),
    levels=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)  # the first call compiles
def test_kernels_equal_naive(n_times, length, p_missing, levels, dtype, seed):
    rng = np.random.default_rng(seed)
    x_tc = rng.integers(0, levels, size=(n_times, 3)).astype(dtype)
    x_tc[rng.random(x_tc.shape) < p_missing] = np.nan
    x_tc = x_tc[:, : rng.integers(1, 4)].copy()
    expected = naive.scan_windows(x_tc, length)
    low_wc, high_wc, missing_wc = (np.empty_like(e) for e in expected)
    scan_windows(x_tc, length, low_wc, high_wc, missing_wc)
    for found, right in zip((low_wc, high_wc, missing_wc), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    count_c = np.empty(x_tc.shape[1], dtype=np.int64)
    extremes = low_wc, high_wc, 3, low_wc.min(axis=0), high_wc.max(axis=0)
    count_clipped(x_tc, length, *extremes, count_c)
    np.testing.assert_array_equal(count_c, naive.count_clipped(x_tc))
    rest_tc = np.empty(x_tc.shape, dtype=np.float32)
    subtract_first(x_tc, rest_tc)
    np.testing.assert_array_equal(rest_tc, naive.subtract_first(x_tc))


def table(signal, **changes):
    quality = measure_quality(signal, **OPTIONS | changes)
    assert quality.measures == MEASURES
    assert quality.values.dtype == np.float32
    return {name: quality.values[..., i] for i, name in enumerate(MEASURES)}


@given(
    n_times=st.integers(1, 60),
    p_missing=st.sampled_from([0.0, 0.1, 0.6]),
    levels=st.integers(1, 6),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)
def test_measures_equal_naive(n_times, p_missing, levels, seed):
    rng = np.random.default_rng(seed)
    x_ct = rng.integers(0, levels, size=(3, n_times)).astype(np.float64)
    x_ct[rng.random(x_ct.shape) < p_missing] = np.nan
    x_ct[:, 0] = 0  # at least one sample
    found = table(x_ct, rate_hz=5.0, flat_range=2.0)
    for c, x_t in enumerate(x_ct):
        ranges = naive.window_ranges(x_t, min(5, n_times))
        flat = np.mean([r <= 2 for r in ranges]) if ranges else np.nan
        middle = np.median(ranges) if ranges else np.nan
        assert found["missing"][c] == pytest.approx(naive.missing_share(x_t))
        assert found["clipped"][c] == pytest.approx(naive.clipped_share(x_t))
        assert found["flat"][c] == pytest.approx(flat, nan_ok=True)
        assert found["peak_to_peak"][c] == pytest.approx(middle, nan_ok=True)


def test_clean_noise_is_clean_and_each_fault_shows_in_its_measure(rng):
    x_ct = rng.normal(size=(6, 12_000)) * 10
    times_s = np.arange(12_000) / 200
    x_ct[1, 3000:6000] = np.nan
    x_ct[2, :6000] = 4.0
    x_ct[3] = x_ct[3].clip(-10, 10)
    x_ct[4] += 20 * np.sin(2 * np.pi * 50 * times_s)
    x_ct[5] *= 7
    found = table(x_ct)
    np.testing.assert_allclose(found["missing"], [0, 0.25, 0, 0, 0, 0])
    np.testing.assert_allclose(found["flat"], [0, 0, 0.5, 0, 0, 0])
    np.testing.assert_array_less(found["clipped"][[0, 1, 2, 4, 5]], 1e-9)
    assert 0.01 < found["clipped"][3] < 0.35
    np.testing.assert_allclose(found["line_noise"][[0, 1, 2, 3, 5]], 1, atol=0.7)
    # A sine of power 200 in 5 bins of 1.5 * 0.5 Hz noise bandwidth, over noise of
    # density 1 per Hz: 200 / 2.5 Hz + 1.
    assert found["line_noise"][4] == pytest.approx(81, rel=0.25)
    assert found["peak_to_peak"][5] / found["peak_to_peak"][0] == pytest.approx(7, 0.1)


@pytest.mark.parametrize("n_times", [216, 1000, 3400, 12_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_line_noise_equals_naive(rng, n_times, dtype):
    x_ct = rng.normal(size=(4, n_times)).astype(dtype) + 30
    x_ct[1, n_times // 3] = np.nan
    x_ct[2, ::200] = np.nan
    x_ct[3, : n_times // 2] = 7.7
    actual = table(x_ct, rate_hz=108.1)["line_noise"]
    expected = [naive.line_noise(x_t.astype(np.float64), 108.1, 50) for x_t in x_ct]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert np.isnan(actual).tolist() == [False, n_times == 216, True, False]


def test_measures_keep_to_units_order_and_layout(rng):
    x_ct = rng.normal(size=(5, 3000))
    x_ct[1, 200:900] = np.nan
    expected = measure_quality(x_ct, **OPTIONS).values
    scaled = measure_quality(x_ct * 1e6 + 3e7, **OPTIONS | {"flat_range": 5e5}).values
    expected_scaled = expected * np.array([1, 1, 1, 1, 1e6])
    np.testing.assert_allclose(scaled, expected_scaled, rtol=1e-5)
    # Sums of another number of channels may be taken in another order.
    same = {"rtol": 1e-6}
    reverse = measure_quality(np.asfortranarray(x_ct[::-1]), **OPTIONS).values
    np.testing.assert_allclose(reverse, expected[::-1], **same)
    x_kct = np.stack([np.tile(x_ct, (4, 1)), np.tile(x_ct, (4, 1)) * 2])
    kinds = measure_quality(x_kct, **OPTIONS).values
    assert kinds.shape == (2, 20, len(MEASURES))
    np.testing.assert_allclose(kinds[0], np.tile(expected, (4, 1)), **same)
    doubled = expected * np.array([1, 1, 1, 1, 2])
    np.testing.assert_allclose(kinds[1, :5], doubled, **same)
    for view in (np.asfortranarray(x_kct)[:, 3:9], np.asfortranarray(x_kct[:, 3:9])):
        found = measure_quality(view, **OPTIONS).values
        np.testing.assert_allclose(found, kinds[:, 3:9], **same)
    every_other = measure_quality(x_ct[:, ::2], **OPTIONS | {"rate_hz": 120.0}).values
    alone = measure_quality(x_ct[:, ::2].copy(), **OPTIONS | {"rate_hz": 120.0}).values
    np.testing.assert_array_equal(every_other, alone)


def test_what_cannot_be_measured_is_nan(rng):
    x_ct = np.stack([np.full(2000, np.nan), np.zeros(2000), np.full(2000, 0.1)])
    found = table(x_ct)
    assert found["missing"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found["flat"], [np.nan, 1, 1])
    np.testing.assert_array_equal(found["clipped"], [np.nan, 1, 1])
    np.testing.assert_array_equal(found["peak_to_peak"], [np.nan, 0, 0])
    assert np.isnan(found["line_noise"]).all()
    noise = rng.normal(size=(1, 2000))
    for rate_hz in (10, 1000 / 21, 100, 108):
        assert np.isnan(table(noise, rate_hz=rate_hz)["line_noise"]).all()
    assert np.isfinite(table(noise, rate_hz=108.1)["line_noise"]).all()
    assert np.isnan(table(noise[:, :399])["line_noise"]).all()


def test_quality_refuses_bad_options():
    with pytest.raises(InputError, match=r"window_s=0.005 .* 0.01 s at rate_hz=200"):
        table(np.zeros((1, 100)), window_s=0.005)
    with pytest.raises(InputError, match="flat_range must not be negative"):
        table(np.zeros((1, 100)), flat_range=-1.0)
    with pytest.raises(InputError, match="no samples"):
        table(np.zeros((1, 0)))


def test_other_layouts_are_copied_a_few_channels_at_a_time(rng):
    x_kct = rng.normal(size=(2, 64, 2000))
    expected = measure_quality(np.asfortranarray(x_kct), **OPTIONS).values
    measure_quality(x_kct, **OPTIONS)  # compiled, if need be
    for view in (
        x_kct,
        x_kct.transpose(1, 0, 2),
        x_kct.swapaxes(1, 2).copy().swapaxes(1, 2),
    ):
        tracemalloc.start()
        values = measure_quality(view, **OPTIONS).values
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < x_kct.nbytes / 2
        values = values if view.shape == x_kct.shape else values.transpose(1, 0, 2)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
