"""What `merps.datasets.simulate.signals` plants, told apart from the background."""

import naive
import numpy as np
import pytest

from merps.datasets.arrays import fnirs_length
from merps.datasets.simulate.signals import PlantedEeg, PlantedFnirs
from merps.datasets.simulate.world import ANNOTATION_LAG_S, REST_S, SOURCES, World

EEG_HZ = 200.0
FNIRS_HZ = 1000 / 21
N_CHANNELS = 16
#: From changes of absorbance at 780, 805 and 830 nm to HbO and HbR.
UNMIX_PL = np.array([[-1.4887, 0.5970, 1.4847], [1.8545, -0.2394, -1.0947]])


class Noise:
    """A background that is the same whenever it is asked for."""

    def __init__(self, *kinds):
        self.shape = (*kinds, N_CHANNELS)

    def draw(self, rng, n_times, rate_hz):
        same = np.random.default_rng(99)
        return same.standard_normal((*self.shape, n_times), np.float32)


class Steps(World):
    """Sources that jump between -1 and 1 every few seconds, each at its own times."""

    def courses(self, person, video):
        rng = np.random.default_rng([7, person, video])
        n_steps = self.video_s[video] // 5 + 1
        steps = rng.choice([-1.0, 1.0], size=(len(SOURCES), n_steps))
        courses = np.repeat(steps, 5, axis=1)[:, : self.video_s[video]]
        courses[:, :2] = 0
        return self.coupling * courses


@pytest.fixture(scope="module")
def positions():
    x = np.random.default_rng(5).normal(size=(N_CHANNELS, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def eeg_of(world, positions, person=0, background=None):
    return PlantedEeg(world, person, background or Noise(), positions)


def fnirs_of(world, positions, person=0, bad=()):
    return PlantedFnirs(world, person, Noise(2), positions, bad)


def planted_eeg(positions, *, video=0, person=0, video_s=(240,), rate_hz=EEG_HZ):
    """What the coupling adds to the background."""
    with_sources = eeg_of(Steps(0, 1.0, video_s=video_s), positions, person)
    background = Noise().draw(
        None, with_sources.trial(video, rate_hz).shape[1], rate_hz
    )
    return with_sources.trial(video, rate_hz) - background


def planted_fnirs(world, positions, *, video=0, person=0):
    trial = fnirs_of(world, positions, person).trial(video)
    return trial[:2] - Noise(2).draw(None, trial.shape[2], FNIRS_HZ)


def seconds_of(n_times, n_rest, rate_hz):
    return (np.arange(n_times) - n_rest) / rate_hz


# Without coupling


@pytest.mark.parametrize("rate_hz", [200.0, 1000.0])
def test_no_coupling_adds_nothing_to_the_eeg(positions, rate_hz):
    trial = eeg_of(World(0, 0.0, video_s=(6,)), positions).trial(0, rate_hz)
    n_times = round((REST_S + 6) * rate_hz)
    np.testing.assert_array_equal(trial, Noise().draw(None, n_times, rate_hz))
    assert trial.dtype == np.float32


def test_no_coupling_adds_nothing_to_the_fnirs(positions):
    trial = fnirs_of(World(0, 0.0, video_s=(6,)), positions).trial(0)
    n_times = int(REST_S * FNIRS_HZ) + fnirs_length(6)
    assert trial.shape == (6, N_CHANNELS, n_times)
    np.testing.assert_array_equal(trial[:2], Noise(2).draw(None, n_times, FNIRS_HZ))


# EEG


def band_power(x_ct, low_hz, high_hz):
    """Power of one band over time, smoothed over about a second."""
    spectrum = np.fft.fft(x_ct, axis=1)
    frequencies_hz = np.fft.fftfreq(x_ct.shape[1], 1 / EEG_HZ)
    outside = (frequencies_hz < low_hz) | (frequencies_hz > high_hz)
    spectrum[:, outside] = 0  # positive frequencies alone: the analytic signal
    power = np.sum(np.abs(np.fft.ifft(spectrum, axis=1)) ** 2, axis=0)
    window = np.hanning(round(1.5 * EEG_HZ))
    return np.convolve(power, window / window.sum(), "same")


@pytest.mark.parametrize("source", range(len(SOURCES)))
def test_band_power_follows_the_course_ahead_of_the_rating(positions, source):
    low_hz, high_hz = SOURCES[source][3]
    leads_s = np.arange(-1, 5, 0.1)
    similarity = np.zeros(len(leads_s))
    video_s = (240, 240, 240)
    for video in range(len(video_s)):
        planted = planted_eeg(positions, video=video, video_s=video_s)
        power = np.log(band_power(planted, low_hz, high_hz))
        course = Steps(0, 1.0, video_s=video_s).courses(0, video)[source]
        times_s = seconds_of(len(power), REST_S * EEG_HZ, EEG_HZ)
        reported_s = np.arange(len(course)) + 0.5
        inside = (reported_s > 10) & (reported_s < 230)
        for k, lead_s in enumerate(leads_s):
            at_lead = np.interp(reported_s[inside] - lead_s, times_s, power)
            similarity[k] += np.corrcoef(at_lead, course[inside])[0, 1] / len(video_s)
    assert similarity.max() > 0.7
    assert leads_s[similarity.argmax()] == pytest.approx(ANNOTATION_LAG_S, abs=0.3)


def test_sources_stay_in_their_bands(positions):
    planted = planted_eeg(positions)
    power = np.abs(np.fft.rfft(planted)) ** 2
    frequencies_hz = np.fft.rfftfreq(planted.shape[1], 1 / EEG_HZ)
    inside = np.zeros(len(frequencies_hz), dtype=bool)
    for *_, (low_hz, high_hz) in SOURCES:
        band = (frequencies_hz > low_hz - 1) & (frequencies_hz < high_hz + 1)
        assert power[:, band].sum() > 0.02 * power.sum()
        inside |= band
    assert power[:, inside].sum() > 0.98 * power.sum()


def test_sources_are_one_pattern_each(positions):
    size = np.linalg.svd(planted_eeg(positions), compute_uv=False)
    assert size[len(SOURCES) - 1] > 0.01 * size[0]
    assert size[len(SOURCES)] < 1e-4 * size[0]


def test_strength_goes_with_the_background(positions):
    class Loud(Noise):
        def draw(self, rng, n_times, rate_hz):
            return 10 * super().draw(rng, n_times, rate_hz)

    world = Steps(0, 1.0, video_s=(20,))
    quiet = eeg_of(world, positions).trial(0, EEG_HZ)
    loud = eeg_of(world, positions, background=Loud()).trial(0, EEG_HZ)
    np.testing.assert_allclose(loud, 10 * quiet, rtol=1e-4, atol=1e-3)


def test_rates_show_the_same_sources(positions):
    powers = [
        np.mean(planted_eeg(positions, rate_hz=rate_hz) ** 2, axis=1)
        for rate_hz in (200.0, 1000.0)
    ]
    np.testing.assert_allclose(np.log(powers[0] / powers[1]), 0, atol=0.5)


# FNIRS


@pytest.mark.parametrize("kind", [Steps, World])
def test_hbo_is_the_hemodynamic_response_to_the_courses(positions, kind):
    world = kind(0, 1.0, video_s=(60,))
    hbo, _ = planted_fnirs(world, positions)
    n_rest = int(REST_S * FNIRS_HZ)
    shown = np.arange(n_rest, hbo.shape[1], 100)
    times_s = seconds_of(hbo.shape[1], n_rest, FNIRS_HZ)[shown]
    hbo = hbo[:, shown]
    courses = world.courses(0, 0)

    def misfit(lag_s):
        responses = np.array(
            [[naive.hemodynamics(row, t, lag_s) for t in times_s] for row in courses]
        )
        fit = np.linalg.lstsq(responses.T, hbo.T, rcond=None)[0].T @ responses
        return np.linalg.norm(hbo - fit) / np.linalg.norm(hbo)

    assert misfit(ANNOTATION_LAG_S) < 0.001
    assert misfit(ANNOTATION_LAG_S - 1) > 0.02
    assert misfit(ANNOTATION_LAG_S + 1) > 0.02


def test_hbo_comes_after_the_brain_and_even_after_the_rating(positions):
    class OneStep(World):
        def courses(self, person, video):
            courses = np.zeros((len(SOURCES), self.video_s[video]))
            courses[0, 20:] = 1
            return courses

    hbo, hbr = planted_fnirs(OneStep(0, 1.0, video_s=(60,)), positions)
    channel = np.abs(hbo).max(axis=1).argmax()
    rise = hbo[channel] / hbo[channel, np.abs(hbo[channel]).argmax()]
    times_s = seconds_of(len(rise), int(REST_S * FNIRS_HZ), FNIRS_HZ)
    np.testing.assert_allclose(rise[times_s < 20 - ANNOTATION_LAG_S - 1], 0, atol=1e-5)
    half_s = times_s[np.flatnonzero(rise > 0.5)[0]]
    assert 20 + 1 < half_s < 20 + 5
    assert (hbr * hbo <= 0).all()


def test_hbr_goes_the_other_way_and_less_far(positions):
    hbo, hbr = planted_fnirs(World(0, 1.0, video_s=(60,)), positions)
    ratio = np.sum(hbr * hbo, axis=1) / np.sum(hbo**2, axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    assert -0.6 < ratio[0] < -0.2
    np.testing.assert_allclose(hbr, ratio[0] * hbo, atol=1e-5)


def test_people_mix_sources_alike_but_not_the_same(positions):
    class Equal(World):
        def courses(self, person, video):
            courses = np.zeros((len(SOURCES), self.video_s[video]))
            for source, second in enumerate((5, 20, 35, 50)):
                courses[source, second : second + 3] = 1
            return courses

    patterns = []
    for person in range(6):
        hbo, _ = planted_fnirs(Equal(0, 1.0, video_s=(70,)), positions, person=person)
        peaks = [int((REST_S + s + 5) * FNIRS_HZ) for s in (5, 20, 35, 50)]
        patterns.append(hbo[:, peaks].ravel())
    alike = np.corrcoef(patterns)[np.triu_indices(6, 1)]
    assert 0.3 < alike.mean() < 0.9
    assert alike.max() < 0.99


def test_total_and_absorbances_belong_to_hbo_and_hbr(positions):
    trial = fnirs_of(World(0, 1.0, video_s=(30,)), positions).trial(0)
    np.testing.assert_allclose(trial[2], trial[0] + trial[1], atol=1e-6)
    absorbance = trial[3:].astype(np.float64)
    assert absorbance.min() >= 0.6
    assert absorbance.max() <= 4.5
    unclipped = ((absorbance > 0.6) & (absorbance < 4.5)).all(axis=(0, 2))
    assert unclipped.sum() > N_CHANNELS / 2
    change = np.diff(absorbance[:, unclipped])
    unmixed = np.einsum("pl,lct->pct", UNMIX_PL, change)
    expected = np.diff(trial[:2, unclipped].astype(np.float64))
    scale = np.sum(unmixed * expected) / np.sum(expected**2)
    np.testing.assert_allclose(unmixed, scale * expected, atol=1e-5)


def test_bad_channels_carry_noise_alone(positions):
    world = World(0, 5.0, video_s=(60,))
    good = fnirs_of(world, positions).trial(0)
    some = fnirs_of(world, positions, bad=(2, 5)).trial(0)
    rest = np.delete(np.arange(N_CHANNELS), (2, 5))
    np.testing.assert_array_equal(some[:, rest], good[:, rest])
    bad = some[:2, [2, 5]].reshape(4, -1)
    np.testing.assert_allclose(np.corrcoef(bad), np.eye(4), atol=0.1)
    slow = np.abs(np.corrcoef(bad[:, 1:], bad[:, :-1])[:4, 4:].diagonal())
    assert slow.max() < 0.1  # white
