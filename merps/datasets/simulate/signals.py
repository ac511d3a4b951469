"""Simulated EEG and fNIRS: a background, and in it the sources that were planted."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.signal import fftconvolve

from merps.datasets.simulate.world import (
    ANNOTATION_LAG_S,
    REST_S,
    SOURCES,
    World,
)

FNIRS_RATE_HZ = 1000 / 21

# Log-power swing of a planted source per standard unit of its course, and its strength:
# standard deviation over that of the background in the same band (EEG), or over that
# of the background's slow oscillations (fNIRS), at the channel that sees it best.
_DEPTH = 0.9
_EEG_STRENGTH = 0.5
_FNIRS_STRENGTH = 0.5
# How far a person's mixing strays from the common one; 1 would be as large as it.
_PERTURBATION = 0.7
_HBR_SHARE = -0.35

# Weights of the maker's three-wavelength scheme (780, 805, 830 nm): HbO and HbR from
# changes of absorbance. Its pseudo-inverse makes absorbances that it maps back.
_UNMIX_PL = np.array([[-1.4887, 0.5970, 1.4847], [1.8545, -0.2394, -1.0947]])


class Background(Protocol):
    """Where the activity comes from that carries no information."""

    def draw(
        self, rng: np.random.Generator, n_times: int, rate_hz: float
    ) -> Float32[np.ndarray, "*kind channel time"]:
        """Return a stretch of background."""
        ...


def shaped_noise(
    rng: np.random.Generator,
    n_rows: int,
    n_times: int,
    *,
    rate_hz: float,
    gain: object,
) -> Float32[np.ndarray, "row time"]:
    """Draw Gaussian noise with a given amplitude spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the noise comes from.
    n_rows, n_times : int
        Shape of the result.
    rate_hz : float
        Sampling rate in hertz.
    gain : callable
        Amplitude at each frequency in hertz; rows are scaled to unit variance.

    Returns
    -------
    ndarray of float32, shape (row, time)
        Rows of unit expected variance.
    """
    n_fft = _fast_length(n_times)
    frequencies_hz = np.fft.rfftfreq(n_fft, 1 / rate_hz).astype(np.float32)
    amplitude = np.asarray(gain(frequencies_hz), np.float32)
    amplitude *= n_fft / np.sqrt(2 * np.sum(amplitude**2))
    white = rng.standard_normal((n_rows, 2 * len(amplitude)), np.float32)
    spectrum = white.view(np.complex64) * (amplitude / np.float32(np.sqrt(2)))
    return _inverse_fft(spectrum, n_fft)[:, :n_times]


def band(low_hz: float, high_hz: float) -> object:
    """Return a gain that passes one band with soft edges, for `shaped_noise`."""
    center_hz, half_hz = (low_hz + high_hz) / 2, (high_hz - low_hz) / 2
    return lambda f: np.exp(-0.5 * (np.abs(f - center_hz) / half_hz / 0.75) ** 6)


def band_deviation(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
) -> Float64[np.ndarray, " channel"]:
    """Return the standard deviation of each channel inside one band."""
    spectrum = np.abs(np.fft.rfft(signal - signal.mean(axis=1, keepdims=True))) ** 2
    frequencies_hz = np.fft.rfftfreq(signal.shape[1], 1 / rate_hz)
    inside = (frequencies_hz >= low_hz) & (frequencies_hz < high_hz)
    return np.sqrt(2 * spectrum[:, inside].sum(axis=1)) / signal.shape[1]


def smooth_patterns(
    rng: np.random.Generator, positions: Float[np.ndarray, "channel 3"], n_patterns: int
) -> Float32[np.ndarray, "channel pattern"]:
    """Draw topographies that are smooth over the head; their largest weight is 1."""
    centers = positions[rng.integers(len(positions), size=n_patterns)]
    centers = centers + 0.3 * rng.normal(size=centers.shape)
    squared = np.sum((positions[:, None] - centers) ** 2, axis=2)
    weights = np.exp(-squared / (2 * 0.45**2)) - 0.25 * np.exp(-squared / 2)
    weights *= rng.choice([-1.0, 1.0], size=n_patterns)
    return (weights / np.abs(weights).max(axis=0)).astype(np.float32)


class SyntheticEeg:
    """EEG background of one person: 1/f activity, alpha, blinks and line noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws what stays the same in all recordings of the person.
    positions : ndarray, shape (channel, 3)
        Electrode positions on a head of unit radius, x right and y front.
    """

    def __init__(
        self, rng: np.random.Generator, positions: Float[np.ndarray, "channel 3"]
    ) -> None:
        n_channels = len(positions)
        self._mixing = smooth_patterns(rng, positions, 80)
        self._gain = np.exp(0.15 * rng.normal(size=(n_channels, 1))).astype(np.float32)
        back = np.array([0.0, -0.8, 0.6])
        seen = np.exp(-np.sum((positions - back) ** 2, axis=1) / 0.8)
        self._alpha = (seen[:, None] * [[1.0, 0.6]]).astype(np.float32)
        self._alpha += 0.1 * smooth_patterns(rng, positions, 2)
        self._alpha_hz = rng.uniform(9.0, 11.0)
        eyes = np.array([0.0, 1.1, -0.1])
        self._blink = np.exp(-np.sum((positions - eyes) ** 2, axis=1) / 0.25)
        self._blink = self._blink.astype(np.float32)[:, None]
        self._line = np.abs(smooth_patterns(rng, positions, 1)) + np.float32(0.2)

    def draw(
        self, rng: np.random.Generator, n_times: int, rate_hz: float
    ) -> Float32[np.ndarray, "channel time"]:
        """Return a stretch of background in microvolts."""
        times_s = np.arange(n_times) / rate_hz
        pink = shaped_noise(
            rng,
            self._mixing.shape[1],
            n_times,
            rate_hz=rate_hz,
            gain=lambda f: np.where(f < 0.5, 0, 1 / np.maximum(f, 0.5) ** 0.75),
        )
        x_ct = np.float32(6.0) * (self._mixing @ pink)
        alpha = shaped_noise(
            rng,
            2,
            n_times,
            rate_hz=rate_hz,
            gain=band(self._alpha_hz - 1, self._alpha_hz + 1),
        )
        waxing = shaped_noise(rng, 2, n_times, rate_hz=rate_hz, gain=lambda f: f < 0.2)
        x_ct += self._alpha @ (np.float32(6.0) * alpha * np.exp(0.5 * waxing))
        x_ct += self._blink * _blinks(rng, times_s)
        phase = rng.uniform(0, 2 * np.pi)
        x_ct += self._line * np.sin(2 * np.pi * 50 * times_s + phase, dtype=np.float32)
        x_ct += rng.standard_normal(x_ct.shape, np.float32)
        return self._gain * x_ct


class SyntheticFnirs:
    """FNIRS background of one person: drift, heart, breathing and Mayer waves.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws what stays the same in all recordings of the person.
    n_channels : int
        Number of channels.
    """

    def __init__(self, rng: np.random.Generator, n_channels: int) -> None:
        self._weights = np.exp(0.2 * rng.normal(size=(n_channels, 4, 1)))
        self._heart_hz = rng.uniform(1.0, 1.3)
        self._breath_hz = rng.uniform(0.2, 0.3)

    def draw(
        self, rng: np.random.Generator, n_times: int, rate_hz: float
    ) -> Float32[np.ndarray, "2 channel time"]:
        """Return a stretch of HbO and HbR in the unit of the files."""
        waves = (
            (0.5, lambda f: np.where(f < 0.01, 1, 0.01 / np.maximum(f, 0.01)) ** 1.0),
            (0.25, band(0.08, 0.12)),
            (0.12, band(self._breath_hz - 0.02, self._breath_hz + 0.02)),
            (0.25, band(self._heart_hz - 0.05, self._heart_hz + 0.05)),
        )
        n_channels = len(self._weights)
        hbo = np.zeros((n_channels, n_times), np.float32)
        hbr = np.zeros_like(hbo)
        for k, (size, gain) in enumerate(waves):
            shared = shaped_noise(rng, 1, n_times, rate_hz=rate_hz, gain=gain)
            local = shaped_noise(rng, n_channels, n_times, rate_hz=rate_hz, gain=gain)
            wave = size * self._weights[:, k] * (0.75 * shared + 0.66 * local)
            hbo += wave
            hbr += (-0.4 if k == 0 else 0.3) * wave
        x_pct = np.stack([hbo, hbr])
        x_pct += np.float32(0.05) * rng.standard_normal(x_pct.shape, np.float32)
        return x_pct


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
        common = smooth_patterns(world.rng(1), positions, len(SOURCES))
        own_rng = world.person_rng(person, 4)
        own = smooth_patterns(own_rng, positions, len(SOURCES))
        mixing = (common + _PERTURBATION * own) / np.hypot(1, _PERTURBATION)
        rate_hz = 200.0
        probe = background.draw(world.person_rng(person, 5), int(60 * rate_hz), rate_hz)
        within = [
            np.median(band_deviation(probe, rate_hz=rate_hz, low_hz=low, high_hz=high))
            for *_, (low, high) in SOURCES
        ]
        self._mixing = (_EEG_STRENGTH * np.array(within) * mixing).astype(np.float32)

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
        common = smooth_patterns(world.rng(2), positions, len(SOURCES))
        own_rng = world.person_rng(person, 8)
        own = smooth_patterns(own_rng, positions, len(SOURCES))
        mixing = (common + _PERTURBATION * own) / np.hypot(1, _PERTURBATION)
        rate_hz = 10.0
        probe = background.draw(
            world.person_rng(person, 9), int(200 * rate_hz), rate_hz
        )
        slow = band_deviation(probe[0], rate_hz=rate_hz, low_hz=0.01, high_hz=0.5)
        self._mixing = (_FNIRS_STRENGTH * np.median(slow) * mixing).astype(np.float32)
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
        n_times = self.n_rest + int(world.video_s[video] * FNIRS_RATE_HZ) + 1
        rng = world.person_rng(person, 11, video)
        x_pct = self._background.draw(rng, n_times, FNIRS_RATE_HZ)
        if world.coupling != 0:
            reach_s = 40
            early_s = np.arange(-reach_s, 0, 1 / FNIRS_RATE_HZ) - REST_S
            times_s = np.arange(n_times) / FNIRS_RATE_HZ - REST_S
            course = _in_brain_time(
                world.courses(person, video), np.concatenate([early_s, times_s])
            )
            response = fftconvolve(
                course, _hemodynamic_response()[None], axes=1, mode="full"
            )[:, len(early_s) : len(early_s) + n_times]
            hbo = self._mixing @ response.astype(np.float32)
            x_pct = x_pct + np.stack([hbo, np.float32(_HBR_SHARE) * hbo])
        x_pct[:, self._bad] = rng.standard_normal(
            (2, len(self._bad), n_times), np.float32
        )
        absorbance = np.einsum("lp,pct->lct", np.linalg.pinv(_UNMIX_PL), x_pct)
        absorbance = np.clip(self._offset + 0.2 * absorbance, 0.6, 4.5)
        total = x_pct.sum(axis=0, keepdims=True)
        return np.concatenate([x_pct, total, absorbance.astype(np.float32)])

    @property
    def n_rest(self) -> int:
        """Number of samples before stimulus onset."""
        return int(REST_S * FNIRS_RATE_HZ)


def _in_brain_time(
    courses: Float64[np.ndarray, "source second"], times_s: Float64[np.ndarray, " time"]
) -> Float32[np.ndarray, "source time"]:
    """Move courses from the seconds that report them to when the brain ran them."""
    reported_s = np.arange(courses.shape[1]) + 0.5 - ANNOTATION_LAG_S
    rows = [np.interp(times_s, reported_s, row, left=0.0) for row in courses]
    return np.array(rows, np.float32)


def _hemodynamic_response() -> Float64[np.ndarray, " time"]:
    """Return a double-gamma response of unit area that peaks after about 5 s."""
    times_s = np.arange(0, 32, 1 / FNIRS_RATE_HZ)
    peak = times_s**5 * np.exp(-times_s) / 120
    undershoot = times_s**15 * np.exp(-times_s) / 1.307674368e12
    response = peak - undershoot / 6
    return response / response.sum()


def _blinks(
    rng: np.random.Generator, times_s: Float64[np.ndarray, " time"]
) -> Float32[np.ndarray, " time"]:
    """Draw blinks of about 100 microvolts, one every four seconds or so."""
    trace = np.zeros(len(times_s), np.float32)
    rate_hz = 1 / (times_s[1] - times_s[0])
    shape = np.hanning(round(0.35 * rate_hz)).astype(np.float32)
    for _ in range(rng.poisson(times_s[-1] / 4)):
        start = rng.integers(max(1, len(trace) - len(shape)))
        trace[start : start + len(shape)] += rng.uniform(60, 140) * shape
    return trace


def _fast_length(n_times: int) -> int:
    """Return an even length at least as long that the FFT does quickly."""
    from scipy.fft import next_fast_len

    n_fft = next_fast_len(n_times, real=True)
    while n_fft % 2:
        n_fft = next_fast_len(n_fft + 1, real=True)
    return n_fft


def _inverse_fft(spectrum: np.ndarray, n_fft: int) -> Float32[np.ndarray, "row time"]:
    """Return the real signal of a half spectrum, in single precision."""
    from scipy.fft import irfft

    return irfft(spectrum, n_fft, axis=1, overwrite_x=True)
