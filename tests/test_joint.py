from dataclasses import replace

import numpy as np
import pytest

import merps
from merps.errors import DataError, InputError
from merps.models.joint import JointWindows, joint_series
from merps.preprocessing.filters import band_pass
from merps.recording import Recording, Trial
from merps.windows import WindowGrid, gather_windows

OPTIONS = {
    "bands": {"alpha": (8.0, 13.0), "beta": (13.0, 30.0)},
    "kinds": ("HbO", "HbR"),
    "rate_hz": 2.0,
    "response_s": 0.0,
    "order": 4,
    "pad_s": 1.0,
}
GRID = WindowGrid(window_s=5, step_s=1, lag_s=0, lookahead_s=0)


def make_trial(rng, *, n_s=20, eeg_start_s=-3.0, fnirs_start_s=-2.0):
    eeg = Recording(
        signal=rng.normal(size=(3, int(n_s * 100))).astype(np.float32),
        rate_hz=100.0,
        start_s=eeg_start_s,
        channels=("Fz", "Cz", "Pz"),
        quantity="voltage",
        unit="uV",
    )
    fnirs = Recording(
        signal=rng.normal(size=(2, 2, int(n_s * 10))).astype(np.float32),
        rate_hz=10.0,
        start_s=fnirs_start_s,
        channels=("S1_D1", "S2_D1"),
        quantity=("concentration", "concentration"),
        unit=("uM", "uM"),
        kinds=("HbO", "HbR"),
    )
    return Trial("test_1", "V01", eeg=eeg, fnirs=fnirs)


def test_series_are_log_power_and_means_of_bins(rng):
    trial = make_trial(rng)
    series = joint_series(trial, **OPTIONS)
    assert series.channels[:4] == (
        *("eeg/alpha/Fz", "eeg/alpha/Cz", "eeg/alpha/Pz"),
        "eeg/beta/Fz",
    )
    assert series.channels[6:] == (
        *("fnirs/HbO/S1_D1", "fnirs/HbO/S2_D1"),
        *("fnirs/HbR/S1_D1", "fnirs/HbR/S2_D1"),
    )
    assert (series.start_s, series.rate_hz) == (-2.0, 2.0)
    assert series.signal.shape == (10, 38)  # both cover -2 s to 17 s
    assert series.signal.dtype == np.float32
    for row, band in ((1, (8.0, 13.0)), (4, (13.0, 30.0))):
        filtered = band_pass(
            trial.eeg.signal[1],
            rate_hz=100.0,
            low_hz=band[0],
            high_hz=band[1],
            order=4,
            pad_s=1.0,
        ).astype(float)
        for bin_ in (0, 9, 37):
            first = 100 + 50 * bin_
            expected = np.log(np.mean(filtered[first : first + 50] ** 2))
            np.testing.assert_allclose(series.signal[row, bin_], expected, rtol=1e-5)
    blood = trial.fnirs.signal.astype(float)
    for bin_ in (0, 20, 37):
        expected = blood[..., 5 * bin_ : 5 * bin_ + 5].mean(axis=2).ravel()
        np.testing.assert_allclose(series.signal[6:, bin_], expected, rtol=1e-5)


def test_blood_is_looked_at_later(rng):
    trial = make_trial(rng)
    now, later = (
        joint_series(trial, **{**OPTIONS, "response_s": response_s})
        for response_s in (0.0, 4.0)
    )
    assert later.start_s == -3.0  # fNIRS from -6 s on, as seen from its cause
    assert later.n_times == 34  # until 14 s
    np.testing.assert_allclose(later.signal[6:, :32], now.signal[6:, 6:], rtol=1e-5)
    np.testing.assert_array_equal(later.signal[:6, 2:], now.signal[:6, :32])


def test_what_is_missing_stays_missing(rng):
    trial = make_trial(rng)
    whole = joint_series(trial, **OPTIONS).signal
    trial.eeg.signal[1] = np.nan
    trial.eeg.signal[2, 330] = np.nan
    trial.fnirs.signal[1, 0, 12] = np.nan
    series = joint_series(trial, **OPTIONS).signal
    missing = np.isnan(series)
    expected = np.zeros_like(missing)
    expected[[1, 4]] = True
    expected[[2, 5], (330 - 100) // 50] = True
    expected[8, 2] = True
    np.testing.assert_array_equal(missing, expected)
    np.testing.assert_array_equal(series[0], whole[0])
    assert joint_series(replace(trial, eeg=None), **OPTIONS) is None
    assert joint_series(replace(trial, fnirs=None), **OPTIONS) is None
    apart = make_trial(rng, n_s=2, eeg_start_s=0.0, fnirs_start_s=1.8)
    assert joint_series(apart, **OPTIONS) is None
    flat = make_trial(rng)
    flat.eeg.signal[0] = 0
    assert np.isnan(joint_series(flat, **OPTIONS).signal[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("HbT",)}, "no kind 'HbT' of fNIRS; there are HbO, HbR"),
        ({"rate_hz": 11.0}, "must lie between zero and the rates"),
        ({"rate_hz": 0.0}, "must lie between zero and the rates"),
        ({"bands": {"x": (30.0, 60.0)}}, "high_hz"),
    ],
)
def test_options_that_do_not_fit_are_refused(rng, options, message):
    with pytest.raises(InputError, match=message):
        joint_series(make_trial(rng), **{**OPTIONS, **options})


def test_windows_are_those_of_each_trial(rng):
    series = [
        joint_series(make_trial(rng, n_s=n_s, fnirs_start_s=-3.0), **OPTIONS)
        for n_s in (20, 14)
    ]
    windows = JointWindows([series[0], None, series[1]], [17, 4, 11], grid=GRID)
    assert isinstance(windows, merps.JointWindows)
    assert len(windows) == 28
    np.testing.assert_array_equal(windows.rows[:17], np.arange(17))
    np.testing.assert_array_equal(windows.rows[17:21], -1)
    np.testing.assert_array_equal(windows.rows[21:], np.arange(17, 28))
    assert windows.format.shape == (10, 10)
    expected = np.concatenate(
        [
            gather_windows(one, GRID, n_windows=n)
            for one, n in zip(series, (17, 11), strict=True)
        ]
    )
    rows = rng.permutation(28)
    np.testing.assert_array_equal(windows.gather(rows), expected[rows])
    assert windows.gather(rows[:0]).shape == (0, 10, 10)


def test_series_that_do_not_go_together_are_refused(rng):
    series = joint_series(make_trial(rng), **OPTIONS)
    with pytest.raises(InputError, match="0 series for 2 trials"):
        JointWindows([None, None], [3, 4], grid=GRID)
    with pytest.raises(InputError, match="one entry a trial"):
        JointWindows([series], [3, 4], grid=GRID)
    other = joint_series(make_trial(rng), **{**OPTIONS, "kinds": ("HbO",)})
    with pytest.raises(DataError, match="differ in the channels or the rate"):
        JointWindows([series, other], [3, 4], grid=GRID)
