import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import periodogram, welch

from merps.errors import InputError
from merps.features.spectral import (
    band_power,
    differential_entropy,
    log_band_power,
    sliding_band_power,
)

BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
WHOLE = {"whole": (0.0, 100.0)}


@pytest.fixture
def noise_wct(rng):
    return rng.normal(size=(5, 3, 800))


def test_a_sine_has_half_its_squared_amplitude(rng):
    times_s = np.arange(800) / 200
    for frequency_hz in (5.0, 6.13, 10.6, 20.0, 37.7):
        phases = rng.uniform(0, 2 * np.pi, size=(4, 2, 1))
        x_wct = 3 * np.sin(2 * np.pi * frequency_hz * times_s + phases)
        power = band_power(x_wct, rate_hz=200, bands=BANDS)
        inside = [low <= frequency_hz < high for low, high in BANDS.values()]
        np.testing.assert_allclose(power[..., inside], 4.5, rtol=0.02)
        assert power[..., np.logical_not(inside)].max() < 0.02


def test_white_noise_has_its_share_in_each_band(rng):
    x_wct = 2 * rng.normal(size=(400, 2, 800)).astype(np.float32)
    power = band_power(x_wct, rate_hz=200, bands=BANDS).mean(axis=(0, 1))
    shares = [4 * (high - low) / 100 for low, high in BANDS.values()]
    np.testing.assert_allclose(power, shares, rtol=0.05)


@pytest.mark.parametrize("n_times", [200, 799, 800])
def test_band_power_equals_scipy(rng, n_times):
    x_wct = rng.normal(size=(3, 2, n_times)) + 50
    density = periodogram(x_wct, fs=200, window="hann")
    single = welch(x_wct, fs=200, nperseg=n_times, window="hann")
    for frequencies, density_wcf in (density, single):
        for dtype in (np.float64, np.float32):
            power = band_power(x_wct.astype(dtype), rate_hz=200, bands=BANDS)
            assert power.dtype == dtype
            for b, (low, high) in enumerate(BANDS.values()):
                chosen = (frequencies >= low) & (frequencies < high)
                expected = density_wcf[..., chosen].sum(axis=-1) * 200 / n_times
                np.testing.assert_allclose(power[..., b], expected, rtol=1e-5)


@given(n_times=st.integers(8, 33), seed=st.integers(0, 2**16))
def test_band_power_equals_naive(n_times, seed):
    x_t = np.random.default_rng(seed).normal(size=n_times)
    bands = {"low": (0.0, 4.1), "high": (4.1, 8.0), "all": (0.0, 8.0)}
    actual = band_power(x_t[None, None], rate_hz=16, bands=bands)[0, 0]
    expected = [naive.band_power(x_t, 16, *edges) for edges in bands.values()]
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-15)


def test_bands_are_half_open_and_add_up(noise_wct):
    parts = {"a": (0.0, 10.0), "b": (10.0, 20.25), "c": (20.25, 100.0)}
    power = band_power(noise_wct, rate_hz=200, bands=parts).sum(axis=-1)
    whole = band_power(noise_wct, rate_hz=200, bands=WHOLE)[..., 0]
    np.testing.assert_allclose(power, whole, rtol=1e-12)


def test_edges_meet_frequencies_in_spite_of_rounding(rng):
    # 1.4 s at 1000 Hz: the frequency of 7 periods is computed as a little under 5 Hz.
    periods = np.arange(7, 28, 7)
    x_wct = np.sin(2 * np.pi * periods[:, None, None] * np.arange(1400) / 1400)
    bands = {"a": (4.0, 5.0), "b": (5.0, 10.0), "c": (10.0, 15.0), "d": (15.0, 20.0)}
    power = band_power(x_wct, rate_hz=1000, bands=bands)[:, 0]
    # Hann spreads a line over three frequencies: 1/6, 2/3 and 1/6 of its power.
    below, above = np.eye(3, 4) / 12, np.eye(3, 4, k=1) * 5 / 12
    np.testing.assert_allclose(power, below + above, atol=1e-12)


def test_band_power_ignores_offsets_and_scales_with_the_square(noise_wct):
    expected = band_power(noise_wct, rate_hz=200, bands=BANDS)
    moved = band_power(noise_wct * 1e-6 + 3, rate_hz=200, bands=BANDS)
    np.testing.assert_allclose(moved, expected * 1e-12, rtol=1e-6)
    reordered = band_power(noise_wct[::-1, ::-1], rate_hz=200, bands=BANDS)
    np.testing.assert_array_equal(reordered, expected[::-1, ::-1])
    views = np.asfortranarray(noise_wct)
    np.testing.assert_allclose(
        band_power(views, rate_hz=200, bands=BANDS), expected, rtol=1e-12
    )


@pytest.mark.parametrize("take", [band_power, log_band_power, differential_entropy])
def test_nan_stays_in_its_channel_and_window(noise_wct, take):
    expected = take(noise_wct, rate_hz=200, bands=BANDS)
    broken = noise_wct.copy()
    for place in (0, 123, 799):
        broken[3, 1, :] = noise_wct[3, 1]
        broken[3, 1, place] = np.nan
        actual = take(broken, rate_hz=200, bands=BANDS)
        assert np.isnan(actual[3, 1]).all()
        actual[3, 1] = expected[3, 1]
        np.testing.assert_array_equal(actual, expected)
    assert take(noise_wct[:0], rate_hz=200, bands=BANDS).shape == (0, 3, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
def test_a_dead_channel_has_no_power_and_no_logarithm(dtype, value):
    dead = np.full((1, 1, 800), value, dtype=dtype)
    assert (band_power(dead, rate_hz=200, bands=BANDS) == 0).all()
    assert np.isnan(log_band_power(dead, rate_hz=200, bands=BANDS)).all()
    assert np.isnan(differential_entropy(dead, rate_hz=200, bands=BANDS)).all()


def test_logarithms_are_those_of_the_power(noise_wct):
    power = band_power(noise_wct, rate_hz=200, bands=BANDS)
    log_power = log_band_power(noise_wct, rate_hz=200, bands=BANDS)
    np.testing.assert_allclose(np.exp(log_power), power, rtol=1e-12)
    entropy = differential_entropy(noise_wct, rate_hz=200, bands=BANDS)
    expected = 0.5 * np.log(2 * np.pi * np.e * power)
    np.testing.assert_allclose(entropy, expected, rtol=1e-12)
    single = noise_wct.astype(np.float32)
    assert differential_entropy(single, rate_hz=200, bands=BANDS).dtype == np.float32


def test_entropy_of_white_noise_is_that_of_a_gaussian(rng):
    from scipy.stats import norm

    x_wct = 3 * rng.normal(size=(300, 1, 800))
    entropy = differential_entropy(x_wct, rate_hz=200, bands=WHOLE).mean()
    assert entropy == pytest.approx(norm(scale=3).entropy(), abs=0.01)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((8.0, 8.0), "must rise"),
        ((-1.0, 8.0), "must rise and lie between 0"),
        ((30.0, 101.0), "Nyquist frequency, 100 Hz at rate_hz=200"),
        ((8.05, 8.2), "holds no frequency of a window of 800 samples.* 0.25 Hz"),
    ],
)
def test_bands_that_cannot_be_are_refused(noise_wct, edges, message):
    with pytest.raises(InputError, match=message):
        band_power(noise_wct, rate_hz=200, bands={"odd": edges})
    with pytest.raises(InputError, match="windows of 1 samples"):
        band_power(noise_wct[..., :1], rate_hz=200, bands=WHOLE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_sliding_band_power_is_that_of_a_periodogram(rng, dtype, steps):
    x_ct = rng.normal(size=(3, 8050)) * 5 + 30
    x_ct[1, 6111] = np.nan
    length = 200 * steps
    starts = range(0, 8050 - length + 1, 200)
    x_wct = np.stack([x_ct[:, start : start + length] for start in starts])
    frequencies, density_wcf = periodogram(x_wct, fs=200, window="boxcar")
    bands = {"slow": (0.0, 3.0), **BANDS}
    expected = np.stack(
        [
            density_wcf[..., (frequencies >= low) & (frequencies < high)].sum(axis=-1)
            for low, high in bands.values()
        ],
        axis=-1,
    )
    options = {"rate_hz": 200, "bands": bands, "step_samples": 200, "steps": steps}
    tolerance = {"rtol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9}
    for view in (x_ct, np.asfortranarray(x_ct), np.repeat(x_ct, 2, axis=1)[:, ::2]):
        power = sliding_band_power(view.astype(dtype), **options)
        assert power.dtype == dtype
        np.testing.assert_allclose(power, expected * 200 / length, **tolerance)
        threaded = sliding_band_power(view.astype(dtype), **options, jobs=2)
        np.testing.assert_array_equal(threaded, power)
    alone = sliding_band_power(x_ct[:1, :length], **options)
    np.testing.assert_allclose(alone, expected[:1, :1] * 200 / length, rtol=1e-9)


def test_sliding_band_power_refuses_short_signals():
    options = {"rate_hz": 200, "bands": BANDS, "step_samples": 200, "steps": 4}
    with pytest.raises(InputError, match=r"has 799 samples, but .* needs 800"):
        sliding_band_power(np.zeros((1, 799)), **options)


def test_sliding_band_power_of_no_bands_is_empty_as_that_of_windows(rng):
    x_ct = rng.normal(size=(3, 1000)).astype(np.float32)
    power = sliding_band_power(x_ct, rate_hz=200, bands={}, step_samples=200, steps=2)
    windows = np.stack([x_ct[:, s : s + 400] for s in range(0, 601, 200)])
    expected = band_power(windows, rate_hz=200, bands={})
    assert power.shape == expected.shape == (4, 3, 0)
    assert power.dtype == expected.dtype


def test_an_offset_behind_a_missing_first_sample_costs_no_precision(rng):
    x_ct = rng.normal(size=(3, 2000)).astype(np.float32) + np.float32(2**18)
    options = {"rate_hz": 200, "bands": BANDS, "step_samples": 200, "steps": 2}
    expected = sliding_band_power(x_ct, **options)
    x_ct[:2, :3] = np.nan
    x_ct[2] = np.nan
    actual = sliding_band_power(x_ct, **options)
    assert np.isnan(actual[0]).all()
    assert np.isnan(actual[:, 2]).all()
    np.testing.assert_allclose(actual[1:, :2], expected[1:, :2], rtol=1e-4)


def test_sliding_band_power_takes_other_types(rng):
    x_ct = rng.normal(size=(2, 1000)).astype(np.float32)
    options = {"rate_hz": 200, "bands": BANDS, "step_samples": 200, "steps": 2}
    expected = sliding_band_power(x_ct, **options)
    swapped = sliding_band_power(x_ct.astype(">f4"), **options)
    np.testing.assert_allclose(swapped, expected, rtol=1e-4)


@pytest.mark.parametrize("function", [band_power, differential_entropy])
@pytest.mark.parametrize("dtype", [">f8", ">f4", np.float16])
def test_other_types_become_float64(rng, function, dtype):
    x_wct = rng.normal(size=(2, 3, 400)).astype(dtype)
    options = {"rate_hz": 200, "bands": BANDS}
    actual = function(x_wct, **options)
    np.testing.assert_array_equal(actual, function(x_wct.astype(np.float64), **options))
    assert actual.dtype == np.float64
