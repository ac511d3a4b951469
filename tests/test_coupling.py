import numpy as np
import pytest
from test_optics import mne_recording

from merps.errors import InputError
from merps.preprocessing.coupling import (
    heart_beat,
    peak_power,
    scalp_coupling_index,
    windowed_coupling,
)

RATE_HZ = 10.0  # of `mne_recording`
BAND = {"rate_hz": RATE_HZ, "low_hz": 0.7, "high_hz": 1.5}


@pytest.fixture
def density_lct(rng):
    """A pulse at 1.1 Hz that is lost in noise by degrees, from channel to channel."""
    times_s = np.arange(1205) / RATE_HZ
    pulse_t = np.sin(2 * np.pi * 1.1 * times_s + 0.2 * rng.normal(size=1205).cumsum())
    noise_lct = rng.normal(size=(2, 4, 1205))
    return 0.01 * (pulse_t + np.array([0.1, 1, 10, 100])[:, None] * noise_lct)


def by_channel(scores, n_wavelengths=2):
    """One of the equal values that MNE gives to the wavelengths of a pair."""
    return scores.reshape(-1, n_wavelengths, *scores.shape[1:])[:, 0]


def test_the_index_equals_mne(density_lct, rng):
    from mne.preprocessing import nirs

    raw = mne_recording(density_lct, (690, 830), "fnirs_od")
    expected = by_channel(nirs.scalp_coupling_index(raw))
    actual = scalp_coupling_index(density_lct, **BAND)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    assert (np.diff(actual) < 0).all()
    assert actual[0] > 0.9
    third_lct = np.concatenate([density_lct, rng.normal(size=(1, 4, 1205))])
    raw = mne_recording(third_lct, (690, 780, 830), "fnirs_od")
    expected = by_channel(nirs.scalp_coupling_index(raw), 3)
    actual = scalp_coupling_index(third_lct, **BAND)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_windows_equal_mne_nirs(density_lct):
    import mne_nirs.preprocessing as peer

    raw = mne_recording(density_lct, (690, 830), "fnirs_od")
    _, expected, _ = peer.scalp_coupling_index_windowed(raw, time_window=10)
    actual = windowed_coupling(density_lct, window_s=10, **BAND)
    assert actual.shape == (4, 12)
    np.testing.assert_allclose(actual, by_channel(expected), atol=1e-12)
    _, expected, _ = peer.peak_power(raw, time_window=10)
    actual = peak_power(density_lct, window_s=10, **BAND)
    np.testing.assert_allclose(actual, by_channel(expected), rtol=1e-9)
    assert np.median(actual[0]) > 5 * np.median(actual[3])


def test_measures_keep_to_units_offsets_order_and_layout(density_lct):
    moved_lct = np.asfortranarray(density_lct[:, ::-1] * 1e6 + 3e5)
    for measure in (
        scalp_coupling_index,
        lambda x, **band: windowed_coupling(x, window_s=10, **band),
        lambda x, **band: peak_power(x, window_s=10, **band),
    ):
        expected = measure(density_lct, **BAND)
        np.testing.assert_allclose(measure(moved_lct, **BAND)[::-1], expected, 1e-6)
        swapped = measure(density_lct[::-1], **BAND)
        # The window of the periodogram is not quite symmetric.
        np.testing.assert_allclose(swapped, expected, rtol=0.05)
        alone = measure(density_lct[:, 2:3].astype(np.float32), **BAND)
        np.testing.assert_allclose(alone, expected[2:3], rtol=1e-4)


def test_what_has_no_pulse_is_not_coupled(density_lct):
    density_lct[0, 0] = 0.3
    density_lct[1, 1] = np.nan
    density_lct[1, 2, 100:130] = np.nan
    index = scalp_coupling_index(density_lct, **BAND)
    assert index[0] == 0
    assert np.isnan(index).tolist() == [False, True, False, False]
    windows = windowed_coupling(density_lct, window_s=20, **BAND)
    assert (windows[0] == 0).all()
    assert np.isnan(windows[1]).all()
    assert np.isfinite(windows[2:]).all()
    power = peak_power(density_lct, window_s=20, **BAND)
    assert (power[0] == 0).all()
    assert np.isnan(power[1]).all()


def test_a_short_signal_is_one_window(density_lct):
    short_lct = density_lct[..., :60]
    windows = windowed_coupling(short_lct, window_s=10, **BAND)
    assert windows.shape == peak_power(short_lct, window_s=10, **BAND).shape == (4, 1)
    index = scalp_coupling_index(short_lct, **BAND)
    np.testing.assert_allclose(windows[:, 0], index, rtol=1e-9)


def test_coupling_refuses_what_it_cannot_compare(density_lct):
    with pytest.raises(InputError, match="density has 1; give at least two"):
        heart_beat(density_lct[:1], **BAND)
    with pytest.raises(InputError, match=r"below 1.2 Hz at rate_hz=3"):
        heart_beat(density_lct, **BAND | {"rate_hz": 3.0})
    with pytest.raises(InputError, match="must span at least two of 1205 samples"):
        peak_power(density_lct, window_s=0.1, **BAND)
    density_lct[0, 0, 0] = np.inf
    with pytest.raises(InputError, match="infinite samples"):
        heart_beat(density_lct, **BAND)
