import numpy as np
import pytest

from merps.datasets.simulate.noise import band, shaped_noise, smooth_patterns

GAINS = {
    "white": lambda f: np.ones_like(f),
    "offset": lambda f: f == 0,
    "falling": lambda f: 1 / np.maximum(f, 0.5),
    "slow": lambda f: f < 0.2,
    "narrow": band(0.98, 1.02),
}


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("n_times", [1, 501, 12_000])
def test_mean_square_is_one(rng, name, n_times):
    n_rows = 60 if n_times == 12_000 and name != "offset" else 3000
    if n_times == 501:
        n_rows = 1000
    x = shaped_noise(rng, n_rows, n_times, rate_hz=10.0, gain=GAINS[name])
    assert x.shape == (n_rows, n_times)
    assert x.dtype == np.float32
    assert np.mean(np.square(x, dtype=np.float64)) == pytest.approx(1, abs=0.15)


def test_rows_follow_no_other(rng):
    x = shaped_noise(rng, 4, 20_000, rate_hz=10.0, gain=GAINS["white"])
    np.testing.assert_allclose(np.corrcoef(x), np.eye(4), atol=0.04)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(4.0, 8.0), (0.08, 0.12)])
@pytest.mark.parametrize("n_s", [9, 300])
def test_power_stays_in_the_band(rng, low_hz, high_hz, n_s):
    gain = band(low_hz, high_hz)
    x = shaped_noise(rng, 20, 50 * n_s, rate_hz=50.0, gain=gain)
    assert np.isfinite(x).all()
    spectrum = np.abs(np.fft.rfft(x * np.hanning(x.shape[1]))) ** 2
    frequencies_hz = np.fft.rfftfreq(x.shape[1], 1 / 50)
    resolution_hz = 2 / n_s
    inside = (frequencies_hz > low_hz - resolution_hz) & (
        frequencies_hz < high_hz + resolution_hz
    )
    assert spectrum[:, inside].sum() > 0.98 * spectrum.sum()


def test_gain_of_a_band():
    gain = band(8.0, 13.0)
    np.testing.assert_allclose(gain(np.array([8.0, 13.0])), 0.06, atol=0.001)
    assert gain(np.array([10.5]))[0] == 1
    assert gain(np.linspace(9.25, 11.75, 50)).min() > 0.95
    assert gain(np.array([0.0, 6.0, 15.0])).max() < 1e-6


def test_noise_comes_from_the_generator():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return shaped_noise(rng, 2, 64, rate_hz=10.0, gain=GAINS["falling"])

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_patterns_are_smooth_and_of_one_size(rng):
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    positions = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    patterns = smooth_patterns(rng, positions, 40)
    assert patterns.shape == (90, 40)
    np.testing.assert_allclose(np.abs(patterns).max(axis=0), 1, rtol=1e-6)
    steps = np.abs(np.diff(patterns, axis=0)).max()
    assert steps < 0.35  # neighbors are 4 degrees apart
    largest = patterns[np.abs(patterns).argmax(axis=0), np.arange(40)]
    assert 5 < np.sum(largest > 0) < 35
