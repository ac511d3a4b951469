import numpy as np
import pytest
from windowed import Source

from merps.errors import InputError
from merps.models.alignment import (
    Scaling,
    pack_scalings,
    standardize_groups,
    unpack_scalings,
    whiten_groups,
)
from merps.samples import Block


def block_of(windows, rows=None):
    rows = np.arange(len(windows)) if rows is None else rows
    return Block(Source(np.asarray(windows, np.float32)), rows)


def applied(scaling, windows, groups):
    x_wct = windows - scaling.mean[groups][..., None]
    x_wct = np.where(np.isnan(x_wct), 0, x_wct)
    if scaling.gain.ndim == 3:
        return scaling.gain[groups] @ x_wct
    return scaling.gain[groups][..., None] * x_wct


def mixed(rng, n_windows=150, n_channels=5, rank=5):
    """Windows of two groups, each with a mixture and offsets of its own."""
    groups = rng.integers(0, 2, n_windows)
    mixing = rng.normal(size=(2, n_channels, rank))
    x_wct = mixing[groups] @ rng.normal(size=(n_windows, rank, 40))
    return x_wct + 30 * rng.normal(size=(2, n_channels, 1))[groups], groups


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_channels_of_each_group_get_mean_zero_and_variance_one(rng, missing):
    windows, groups = mixed(rng)
    windows[rng.random(windows.shape) < missing] = np.nan
    scaling = standardize_groups(block_of(windows), groups, n_groups=2)
    for group in range(2):
        own = np.concatenate(windows[groups == group], axis=1)
        np.testing.assert_allclose(scaling.mean[group], np.nanmean(own, 1), rtol=1e-5)
        np.testing.assert_allclose(
            scaling.gain[group], 1 / np.nanstd(own, axis=1), rtol=1e-5
        )


def test_kinds_are_folded_and_missing_rows_passed_over(rng):
    windows = rng.normal(size=(6, 2, 3, 20)).astype(np.float32)
    rows = np.array([5, -1, 2, 0, -1])
    scaling = standardize_groups(block_of(windows, rows), np.zeros(5, int), n_groups=1)
    own = np.concatenate(windows[[5, 2, 0]].reshape(3, 6, 20), axis=1)
    np.testing.assert_allclose(scaling.mean[0], own.mean(1), atol=1e-6)


def test_flat_absent_and_unseen_channels_are_silenced(rng):
    windows = rng.normal(size=(4, 3, 20)) + 1e4
    windows[:, 0], windows[:, 1] = 12.3, np.nan
    for measure in (standardize_groups, whiten_groups):
        scaling = measure(block_of(windows), np.zeros(4, int), n_groups=2)
        assert np.isfinite(scaling.mean).all()
        assert np.isfinite(scaling.gain).all()
        scaled = applied(scaling, windows.astype(np.float32), np.zeros(4, int))
        np.testing.assert_allclose(scaled[:, :2], 0, atol=1e-3)
        assert np.std(scaled[:, 2]) == pytest.approx(1, rel=1e-3)
        assert not scaling.gain[1].any()
    assert standardize_groups(block_of(windows), np.zeros(4, int), n_groups=1).gain[
        0, :2
    ].tolist() == [0, 0]


@pytest.mark.parametrize("rank", [5, 3])
def test_mean_covariance_becomes_the_identity_of_its_space(rng, rank):
    windows, groups = mixed(rng, rank=rank)
    windows[:, 0] *= 100  # one channel in another unit
    scaling = whiten_groups(block_of(windows), groups, n_groups=2)
    scaled = applied(scaling, windows, groups)
    for group in range(2):
        own = scaled[groups == group]
        covariance = np.mean([x @ x.T / x.shape[1] for x in own], axis=0)
        np.testing.assert_allclose(covariance @ covariance, covariance, atol=1e-2)
        assert np.trace(covariance) == pytest.approx(rank, rel=1e-3)
        gain = scaling.gain[group]
        np.testing.assert_allclose(gain, gain.T, atol=1e-4 * np.abs(gain).max())


def test_whitening_forgets_invertible_mixing_but_for_a_rotation(rng):
    windows, groups = mixed(rng)
    groups[:] = 0
    other = rng.normal(size=(5, 5)) @ windows
    first, second = (
        applied(whiten_groups(block_of(x), groups, n_groups=1), x, groups)
        for x in (windows, other)
    )
    lengths = [np.linalg.norm(x, axis=1) for x in (first, second)]
    np.testing.assert_allclose(*lengths, rtol=1e-2, atol=1e-2)


def test_packed_scalings_come_back(rng):
    scaling = Scaling(*rng.normal(size=(2, 1, 3)).astype(np.float32))
    packed = pack_scalings({"eeg": scaling})
    assert unpack_scalings(packed, {"eeg": 3}) == {"eeg": scaling}
    with pytest.raises(InputError, match="differ in eeg_gain"):
        unpack_scalings(packed, {})
    with pytest.raises(InputError, match=r"eeg_gain is float32 \(1, 3\), and \(1, 4\)"):
        unpack_scalings(packed, {"eeg": 4})
