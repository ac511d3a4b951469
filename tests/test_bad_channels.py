import numpy as np
import pytest

from merps.errors import InputError
from merps.preprocessing.bad_channels import find_bad_channels

OPTIONS = {
    "rate_hz": 200.0,
    "window_s": 1.0,
    "max_missing": 0.2,
    "min_correlation": 0.4,
    "max_uncorrelated": 0.1,
    "max_noise_z": 5.0,
    "max_amplitude_z": 5.0,
}


@pytest.fixture
def head_ct(rng):
    """Sixteen channels that share sources, each with a little of its own."""
    mixing = rng.normal(size=(16, 4))
    sources = rng.normal(size=(4, 6000)).cumsum(axis=1)
    sources -= np.linspace(0, 1, 6000) * sources[:, -1:]
    return mixing @ sources + 0.3 * rng.normal(size=(16, 6000))


def test_each_fault_is_found_and_good_channels_stay_good(head_ct, rng):
    clean = find_bad_channels(head_ct, **OPTIONS)
    assert not clean.bad.any()
    head_ct[1] = 7.0
    head_ct[3, :2000] = np.nan
    head_ct[5] = rng.normal(size=6000).cumsum()
    head_ct[7] += 5 * rng.normal(size=6000)
    head_ct[9] *= 60
    head_ct[11, 100:300] = np.nan
    found = find_bad_channels(head_ct, **OPTIONS)
    assert np.flatnonzero(found.bad).tolist() == [1, 3, 5, 7, 9]
    assert found.flat[1] == 1
    assert found.missing[3] == pytest.approx(1 / 3)
    assert found.uncorrelated[5] > 0.3
    assert found.noise_z[7] > 5
    assert found.amplitude_z[9] > 5
    order = np.arange(16)[::-1]
    turned = find_bad_channels(1e-6 * head_ct[order], **OPTIONS)
    np.testing.assert_array_equal(turned.bad[order], found.bad)
    np.testing.assert_allclose(turned.noise_z[order], found.noise_z, rtol=1e-6)


def test_slow_recordings_and_single_channels_have_less_to_compare(head_ct):
    slow = find_bad_channels(head_ct[:, ::2], **OPTIONS | {"rate_hz": 98.0})
    assert (slow.noise_z == 0).all()
    alone = find_bad_channels(head_ct[:1], **OPTIONS)
    assert not alone.bad.any()
    gone = find_bad_channels(np.full((3, 600), np.nan), **OPTIONS)
    assert gone.bad.all()
    same = find_bad_channels(np.tile(head_ct[:1], (4, 1)), **OPTIONS)
    assert not same.bad.any()


def test_channels_far_apart_are_not_all_bad(rng):
    apart_ct = rng.normal(size=(8, 6000)).cumsum(axis=1)
    apart_ct[2] = 1.5
    lenient = {"max_amplitude_z": 99.0, "max_noise_z": 99.0}
    found = find_bad_channels(apart_ct, **OPTIONS | lenient)
    assert (found.uncorrelated[[0, 1, 3, 4, 5, 6, 7]] > 0.1).sum() > 4
    assert np.flatnonzero(found.bad).tolist() == [2]


def test_bad_options_are_refused(head_ct):
    for change in ({"window_s": 0.001}, {"window_s": 99.0}, {"rate_hz": 1.0}):
        with pytest.raises(InputError, match="must span at least two and at most 6000"):
            find_bad_channels(head_ct, **OPTIONS | change)
