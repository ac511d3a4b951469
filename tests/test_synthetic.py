import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import skew

from merps.datasets.simulate.synthetic import SyntheticEeg, SyntheticFnirs

FNIRS_HZ = 1000 / 21
#: Electrodes by where they lie, on a head of unit radius, x right and y front.
HEAD = {
    "front": (0.0, 0.98, 0.2),
    "left": (-0.9, 0.1, 0.43),
    "top": (0.0, 0.0, 1.0),
    "right": (0.9, 0.1, 0.43),
    "back": (0.0, -0.9, 0.43),
}
FRONT, BACK = 0, 4


def eeg_of(seed):
    rng = np.random.default_rng(seed)
    more = rng.normal(size=(20, 3)) * [1, 1, 0.5]
    positions = np.concatenate([list(HEAD.values()), more])
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    return SyntheticEeg(np.random.default_rng(seed), positions)


@pytest.fixture(scope="module", params=[200.0, 1000.0])
def eeg(request):
    return eeg_of(3).draw(
        np.random.default_rng(1), round(100 * request.param), request.param
    ), request.param


def spectrum_of(x_ct, rate_hz, window_s):
    return welch(x_ct, rate_hz, nperseg=round(window_s * rate_hz))


def between(frequencies_hz, low_hz, high_hz):
    return (frequencies_hz >= low_hz) & (frequencies_hz <= high_hz)


def test_eeg_falls_like_one_over_f(eeg):
    frequencies_hz, power = spectrum_of(*eeg, 4)
    fitted = between(frequencies_hz, 2, 6) | between(frequencies_hz, 15, 40)
    slope, _ = np.polyfit(
        np.log(frequencies_hz[fitted]), np.log(power.mean(axis=0)[fitted]), 1
    )
    assert -2 < slope < -1


def test_eeg_has_alpha_that_is_largest_at_the_back(eeg):
    frequencies_hz, power = spectrum_of(*eeg, 4)
    alpha = power[:, between(frequencies_hz, 9, 11)].mean(axis=1)
    beside = power[:, between(frequencies_hz, 6, 7) | between(frequencies_hz, 14, 15)]
    excess = alpha / beside.mean(axis=1)
    assert excess[BACK] > 2
    assert excess[BACK] > 2 * excess[FRONT]


def test_eeg_has_line_noise(eeg):
    frequencies_hz, power = spectrum_of(*eeg, 100)
    line = power[:, between(frequencies_hz, 49.98, 50.02)].max(axis=1)
    beside = power[:, between(frequencies_hz, 46, 48) | between(frequencies_hz, 52, 54)]
    assert (line > 3 * beside.mean(axis=1)).all()


def test_eeg_has_blinks_in_front(eeg):
    lean = skew(eeg[0], axis=1)  # blinks go up and are seldom
    assert lean[FRONT] > 0.3
    assert abs(lean[BACK]) < 0.15


def test_eeg_is_of_plausible_size(eeg):
    assert 3 < np.median(eeg[0].std(axis=1)) < 40
    assert eeg[0].dtype == np.float32


def test_a_person_is_the_same_in_all_stretches_and_unlike_others():
    covariances = [
        np.log(
            np.diag(np.cov(eeg_of(person).draw(np.random.default_rng(k), 4000, 200)))
        )
        for person, k in ((3, 1), (3, 2), (4, 1))
    ]
    own = np.abs(covariances[0] - covariances[1]).mean()
    other = np.abs(covariances[0] - covariances[2]).mean()
    assert own < 0.5 * other


def test_stretches_come_from_the_generator():
    for source, n_times in ((eeg_of(3), 400), (fnirs_of(3), 100)):
        first, same, other = (
            source.draw(np.random.default_rng(seed), n_times, 50.0)
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, other)


def fnirs_of(seed):
    return SyntheticFnirs(np.random.default_rng(seed), 51)


@pytest.fixture(scope="module")
def fnirs():
    n_times = round(400 * FNIRS_HZ)
    return fnirs_of(3).draw(np.random.default_rng(1), n_times, FNIRS_HZ)


@pytest.mark.parametrize(
    ("name", "low_hz", "high_hz", "quiet_hz"),
    [
        ("heart", 1.0, 1.3, (0.6, 0.85)),
        ("breathing", 0.2, 0.3, (0.4, 0.6)),
        ("Mayer", 0.09, 0.11, (0.14, 0.16)),
    ],
)
def test_fnirs_has_waves(fnirs, name, low_hz, high_hz, quiet_hz):
    for x_ct in fnirs:
        frequencies_hz, power = spectrum_of(x_ct, FNIRS_HZ, 80)
        peak = power[:, between(frequencies_hz, low_hz, high_hz)].max(axis=1)
        quiet = power[:, between(frequencies_hz, *quiet_hz)].mean(axis=1)
        assert (peak > 5 * quiet).all(), name


def test_fnirs_drifts(fnirs):
    frequencies_hz, power = spectrum_of(fnirs[0], FNIRS_HZ, 200)
    slow = power[:, between(frequencies_hz, 0.004, 0.011)].mean()
    assert slow > 5 * power[:, between(frequencies_hz, 0.04, 0.06)].mean()


def test_drift_moves_hbo_and_hbr_apart_and_waves_move_them_together(fnirs):
    def correlation(low_hz, high_hz):
        spectrum = np.fft.rfft(fnirs)
        frequencies_hz = np.fft.rfftfreq(fnirs.shape[-1], 1 / FNIRS_HZ)
        hbo, hbr = spectrum * between(frequencies_hz, low_hz, high_hz)
        across = np.real(np.sum(hbo * hbr.conj(), axis=1))
        return across / np.sqrt(
            np.sum(np.abs(hbo) ** 2, axis=1) * np.sum(np.abs(hbr) ** 2, axis=1)
        )

    assert correlation(0.002, 0.02).max() < -0.8
    assert correlation(0.95, 1.35).min() > 0.8


def test_short_stretches_are_whole(rng):
    for n_times in (10, 200):
        x_pct = fnirs_of(3).draw(rng, n_times, FNIRS_HZ)
        assert x_pct.shape == (2, 51, n_times)
        assert np.isfinite(x_pct).all()


def test_fnirs_is_within_the_observed_range(fnirs):
    assert np.abs(fnirs).max() < 5
