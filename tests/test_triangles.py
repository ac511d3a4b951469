import numpy as np
import pytest
from scipy.signal import butter, sosfilt

import merps
from merps.errors import InputError
from merps.features.covariance import covariances, filter_bank_covariances
from merps.features.triangles import (
    StoredMatrices,
    pick_triangles,
    trial_covariances,
    unpack_triangles,
)

RATE = 100.0
OPTIONS = {
    "length_samples": 150,
    "rate_hz": RATE,
    "bands": {"alpha": (8.0, 13.0), "beta": (13.0, 30.0)},
    "order": 4,
    "pad_s": 1.0,
    "estimator": "oas",
}
STARTS = np.array([-40, 0, 100, 100, 333, 520])


@pytest.fixture
def signal(rng):
    return rng.normal(size=(5, 600)).astype(np.float32)


def whole(triangles, n_channels):
    return np.stack([unpack_triangles(part, n_channels) for part in triangles])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_the_triangles_of_filter_bank_covariances(signal, dtype):
    x = signal.astype(dtype)
    expected = filter_bank_covariances(x, STARTS, **OPTIONS)
    rows = trial_covariances(x, STARTS, **OPTIONS)
    assert rows.shape == (6, 2, 15)
    assert rows.dtype == np.float32
    first, second = np.triu_indices(5)
    np.testing.assert_array_equal(rows, expected[..., first, second].astype(np.float32))
    np.testing.assert_array_equal(whole(rows, 5), expected.astype(np.float32))
    view = np.repeat(x, 2, axis=0)[::2]
    np.testing.assert_array_equal(trial_covariances(view, STARTS, **OPTIONS), rows)
    plain = {**OPTIONS, "estimator": "scm"}
    one = trial_covariances(x[:1], STARTS[:1], **plain)
    expected = trial_covariances(x, STARTS[:1], **plain)[:, :, :1]
    np.testing.assert_allclose(one, expected, rtol=1e-4)
    several = trial_covariances(x, STARTS, **OPTIONS, jobs=2)
    np.testing.assert_array_equal(several, rows)
    assert trial_covariances(x, STARTS[:0], **OPTIONS).shape == (0, 2, 15)


def test_a_bad_channel_costs_nothing_but_itself(signal):
    there = [0, 1, 3, 4]
    expected = filter_bank_covariances(signal[there], STARTS, **OPTIONS)
    signal[2] = np.nan
    matrices = whole(trial_covariances(signal, STARTS, **OPTIONS), 5)
    np.testing.assert_array_equal(matrices[..., there, :][..., there], expected)
    assert np.isnan(matrices[:, :, 2]).all()
    assert np.isnan(matrices[..., 2]).all()
    signal[:] = np.nan
    assert np.isnan(trial_covariances(signal, STARTS, **OPTIONS)).all()


def test_a_gap_costs_the_windows_that_touch_it(signal):
    full = whole(trial_covariances(signal, STARTS, **OPTIONS), 5)
    signal[1, 20:24] = np.nan  # also in the mirrored start
    signal[3, 590] = np.nan  # also in the mirrored end
    matrices = whole(trial_covariances(signal, STARTS, **OPTIONS), 5)
    missing = np.isnan(matrices.diagonal(axis1=2, axis2=3)).any(axis=1)
    expected = np.zeros((6, 5), dtype=bool)
    expected[[0, 1], 1] = expected[5, 3] = True
    np.testing.assert_array_equal(missing, expected)
    for window in range(6):
        there = np.ix_([0, 1], ~missing[window], ~missing[window])
        far = np.isin(window, [2, 3])
        tolerance = 2e-2 if far else 0.2  # a bridged gap rings a little
        np.testing.assert_allclose(
            matrices[window][there], full[window][there], atol=tolerance
        )
    signal[1, :] = signal[1, 0]
    signal[1, 300:] = np.nan
    late = trial_covariances(signal, np.array([310]), **OPTIONS)
    assert np.isnan(unpack_triangles(late[:, 0], 5)[:, 1]).all()


def test_causal_matrices_are_of_forward_filters(signal):
    x = signal.astype(np.float64) + 100
    starts = STARTS[1:]
    rows = trial_covariances(x, starts, phase="causal", **OPTIONS)
    for band, (low_hz, high_hz) in enumerate(OPTIONS["bands"].values()):
        sos = butter(4, (low_hz, high_hz), "bandpass", fs=RATE, output="sos")
        y = sosfilt(sos, x - x[:, :1])
        y = np.pad(y, ((0, 0), (0, 150)), mode="symmetric")
        windows = np.stack([y[:, s : s + 150] for s in starts])
        expected = covariances(windows, estimator="oas")
        actual = unpack_triangles(rows[:, band], 5)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("jobs", [1, 2])
def test_causal_matrices_know_nothing_later(signal, rng, jobs):
    options = {"phase": "causal", "jobs": jobs, **OPTIONS}
    signal[1, :70] = np.nan
    signal[2, 200:220] = np.nan
    starts = np.arange(-200, 450, 50)
    whole = trial_covariances(signal, starts, **options)
    assert np.isnan(whole[starts < 0]).all()
    assert np.isfinite(whole[starts >= 0]).any(axis=(1, 2)).all()
    for stop in (150, 210, 400):
        other = signal.copy()
        other[:, stop:] = 1e3 * rng.normal(size=other[:, stop:].shape)
        other[0, stop + 20 :] = np.nan
        known = starts + 150 <= stop
        changed = trial_covariances(other, starts, **options)
        np.testing.assert_array_equal(changed[known], whole[known])
        assert not np.array_equal(changed, whole, equal_nan=True)


def test_matrices_are_stored_and_handed_out(rng):
    x = rng.normal(size=(7, 2, 3, 3)).astype(np.float32)
    x = x + x.swapaxes(2, 3)
    values = pick_triangles(x.reshape(-1, 3, 3), scale=1.0).reshape(7, 2, 6)
    values[4, 1, [1, 3, 4]] = np.nan
    stored = StoredMatrices(values, channels=["a", "b", "c"], bands=["low", "high"])
    rows = np.array([5, 0, 5])
    np.testing.assert_array_equal(stored.gather(rows), values[rows])
    for band in range(2):
        np.testing.assert_array_equal(stored.matrices(rows, band), x[rows, band])
    missing = stored.missing(np.array([4, 0]))
    np.testing.assert_array_equal(missing, [[False, True, False], [False] * 3])
    assert stored.matrices(rows[:0], 0).shape == (0, 3, 3)
    assert len(stored) == 7
    assert isinstance(stored, merps.StoredMatrices)
    with pytest.raises(InputError, match=r"last two axes must be \(1, 6\)"):
        StoredMatrices(values, channels=["a", "b", "c"], bands=["low"])


def test_tangent_vectors_weigh_what_is_off_the_diagonal(rng):
    x = rng.normal(size=(2, 3, 3))
    x = x + x.swapaxes(1, 2)
    picked = pick_triangles(x, scale=np.sqrt(2))
    np.testing.assert_allclose((picked**2).sum(axis=1), (x**2).sum(axis=(1, 2)))
    np.testing.assert_array_equal(picked[:, [0, 3, 5]], x.diagonal(axis1=1, axis2=2))
