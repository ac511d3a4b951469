"""Simulated EEG and fNIRS: a background, and in it the sources that were planted."""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64

from merps.datasets.arrays import FNIRS_RATE_HZ, fnirs_length
from merps.datasets.simulate.noise import band, shaped_noise, smooth_patterns
from merps.datasets.simulate.world import ANNOTATION_LAG_S, REST_S, SOURCES, World

# Log-power swing of a planted source per standard unit of its course, and its strength:
# standard deviation over that of the background in the same band (EEG), or over that
# of the background's slow oscillations (fNIRS), at the channel that sees it best.
_DEPTH = 0.9
_EEG_STRENGTH = 0.6
_FNIRS_STRENGTH = 0.6
# How far a person's mixing strays from the common one; 1 would be as large as it.
_PERTURBATION = 0.7
_HBR_SHARE = -0.35

# Weights of the maker's three-wavelength scheme (780, 805, 830 nm): HbO and HbR from
# changes of absorbance. Its pseudo-inverse makes absorbances that it maps back.
_UNMIX_PL = np.array([[-1.4887, 0.5970, 1.4847], [1.8545, -0.2394, -1.0947]])


@runtime_checkable
class Background(Protocol):
    """Where the activity comes from that carries no information."""

    def draw(
        self, rng: np.random.Generator, n_times: int, rate_hz: float
    ) -> Float32[np.ndarray, "*kind channel time"]:
        """Return a stretch of background."""
        ...


class PlantedEeg:
    """One person's EEG: a background with the planted sources mixed in.

    Parameters
    ----------
    world : World
        Whose sources.
    person : int
        Number of the person.
    background : Background
        Everything else, in microvolts.
    positions : ndarray, shape (channel, 3)
        Electrode positions on a head of unit radius.
    """

    def __init__(
        self,
        world: World,
        person: int,
        background: Background,
        positions: Float[np.ndarray, "channel 3"],
    ) -> None:
        self._world, self._person, self._background = world, person, background
        mixing = _mix(world.rng(1), world.person_rng(person, 4), positions)
        rate_hz = 200.0
        probe = background.draw(world.person_rng(person, 5), int(60 * rate_hz), rate_hz)
        size = [
            np.median(_band_deviation(probe, rate_hz=rate_hz, low_hz=low, high_hz=high))
            for *_, (low, high) in SOURCES
        ]
        self._mixing = (_EEG_STRENGTH * np.array(size) * mixing).astype(np.float32)

    def trial(self, video: int, rate_hz: float) -> Float32[np.ndarray, "channel time"]:
        """Return rest and video in microvolts, time 0 at sample ``REST_S * rate_hz``.

        Parameters
        ----------
        video : int
            Number of the video.
        rate_hz : float
            Sampling rate in hertz.

        Returns
        -------
        ndarray of float32, shape (channel, time)
            Rest and video in one stretch.
        """
        world, person = self._world, self._person
        n_times = round((REST_S + world.video_s[video]) * rate_hz)
        x_ct = self._background.draw(
            world.person_rng(person, 6, video), n_times, rate_hz
        )
        if world.coupling == 0:
            return x_ct
        times_s = np.arange(n_times) / rate_hz - REST_S
        swing = _DEPTH / 2 * _in_brain_time(world.courses(person, video), times_s)
        rng = world.person_rng(person, 7, video)
        carriers = [
            shaped_noise(rng, 1, n_times, rate_hz=rate_hz, gain=band(*edges))[0]
            for *_, edges in SOURCES
        ]
        return x_ct + self._mixing @ (carriers * np.exp(swing, dtype=np.float32))


class PlantedFnirs:
    """One person's fNIRS: a background with hemodynamic responses mixed in.

    Parameters
    ----------
    world : World
        Whose sources.
    person : int
        Number of the person.
    background : Background
        HbO and HbR without them.
    positions : ndarray, shape (channel, 3)
        Where the channels are.
    bad : sequence of int
        Channels that see no light and carry noise alone.
    """

    def __init__(
        self,
        world: World,
        person: int,
        background: Background,
        positions: Float[np.ndarray, "channel 3"],
        bad: Sequence[int],
    ) -> None:
        self._world, self._person, self._background = world, person, background
        self._bad = list(bad)
        mixing = _mix(world.rng(2), world.person_rng(person, 8), positions)
        rate_hz = 10.0
        probe = background.draw(
            world.person_rng(person, 9), int(200 * rate_hz), rate_hz
        )
        size = np.median(
            _band_deviation(probe[0], rate_hz=rate_hz, low_hz=0.01, high_hz=0.5)
        )
        self._mixing = (_FNIRS_STRENGTH * size * mixing).astype(np.float32)
        self._offset = world.person_rng(person, 10).uniform(
            1.8, 3.2, size=(3, len(positions), 1)
        )

    def trial(self, video: int) -> Float32[np.ndarray, "6 channel time"]:
        """Return rest and video at 1000/21 Hz: HbO, HbR, HbT and three absorbances.

        Parameters
        ----------
        video : int
            Number of the video.

        Returns
        -------
        ndarray of float32, shape (6, channel, time)
            Rest (`n_rest` samples) and video in one stretch.
        """
        world, person = self._world, self._person
        n_times = self.n_rest + fnirs_length(world.video_s[video])
        rng = world.person_rng(person, 11, video)
        x_pct = self._background.draw(rng, n_times, FNIRS_RATE_HZ)
        if world.coupling != 0:
            times_s = (np.arange(n_times) - self.n_rest) / FNIRS_RATE_HZ
            courses = _in_brain_time(world.courses(person, video), times_s)
            hbo = self._mixing @ _respond(courses)
            x_pct = x_pct + np.stack([hbo, np.float32(_HBR_SHARE) * hbo])
        dark = rng.standard_normal((2, len(self._bad), n_times), np.float32)
        x_pct[:, self._bad] = np.float32(0.5) * dark
        absorbance = np.einsum("lp,pct->lct", np.linalg.pinv(_UNMIX_PL), x_pct)
        absorbance = np.clip(self._offset + 0.2 * absorbance, 0.6, 4.5)
        total = x_pct.sum(axis=0, keepdims=True)
        return np.concatenate([x_pct, total, absorbance.astype(np.float32)])

    @property
    def n_rest(self) -> int:
        """Number of samples before stimulus onset."""
        return int(REST_S * FNIRS_RATE_HZ)


def _mix(
    common_rng: np.random.Generator,
    own_rng: np.random.Generator,
    positions: Float[np.ndarray, "channel 3"],
) -> Float64[np.ndarray, "channel source"]:
    """Draw a mixing matrix that all people share, and one person's departure."""
    common = smooth_patterns(common_rng, positions, len(SOURCES))
    own = smooth_patterns(own_rng, positions, len(SOURCES))
    return (common + _PERTURBATION * own) / np.hypot(1, _PERTURBATION)


def _in_brain_time(
    courses: Float64[np.ndarray, "source second"], times_s: Float64[np.ndarray, " time"]
) -> Float32[np.ndarray, "source time"]:
    """Move courses from the seconds that report them to when the brain ran them."""
    reported_s = np.arange(courses.shape[1]) + 0.5 - ANNOTATION_LAG_S
    rows = [np.interp(times_s, reported_s, row, left=0.0) for row in courses]
    return np.array(rows, np.float32)


def _respond(
    courses: Float32[np.ndarray, "source time"],
) -> Float32[np.ndarray, "source time"]:
    """Turn courses that start at 0 into the hemodynamic responses to them."""
    from scipy.signal import oaconvolve

    times_s = np.arange(0, 32, 1 / FNIRS_RATE_HZ)
    # The usual double gamma: highest at 5 s, lowest at 16 s; here of unit area.
    peak, undershoot = (
        times_s**k * np.exp(-times_s) / math.factorial(k) for k in (5, 15)
    )
    response = peak - undershoot / 6
    response /= response.sum()
    convolved = oaconvolve(courses, response[None], axes=1)
    return convolved[:, : courses.shape[1]].astype(np.float32)


def _band_deviation(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
) -> Float64[np.ndarray, " channel"]:
    """Return the standard deviation of each channel inside one band."""
    spectrum = np.abs(np.fft.rfft(signal.astype(np.float64))) ** 2
    frequencies_hz = np.fft.rfftfreq(signal.shape[1], 1 / rate_hz)
    inside = (frequencies_hz >= low_hz) & (frequencies_hz < high_hz)
    return np.sqrt(2 * spectrum[:, inside].sum(axis=1)) / signal.shape[1]
