"""Backgrounds made from noise: what EEG and fNIRS look like when they say nothing."""

import numpy as np
from jaxtyping import Float, Float32

from merps.datasets.simulate.noise import band, shaped_noise, smooth_patterns


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
        """Draw a stretch of background.

        Parameters
        ----------
        rng : numpy.random.Generator
            Makes this stretch differ from others.
        n_times : int
            Number of samples.
        rate_hz : float
            Their rate in hertz.

        Returns
        -------
        ndarray of float32, shape (channel, time)
            Microvolts.
        """
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
        x_ct += self._blink * _blinks(rng, n_times, rate_hz)
        phase = rng.uniform(0, 2 * np.pi)
        line = np.sin(2 * np.pi * 50 / rate_hz * np.arange(n_times) + phase)
        x_ct += self._line * line.astype(np.float32)
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
        """Draw a stretch of background.

        Parameters
        ----------
        rng : numpy.random.Generator
            Makes this stretch differ from others.
        n_times : int
            Number of samples.
        rate_hz : float
            Their rate in hertz.

        Returns
        -------
        ndarray of float32, shape (2, channel, time)
            HbO and HbR in the unit of the files.
        """
        waves = (
            (0.5, lambda f: 0.01 / np.maximum(f, 0.01)),
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


def _blinks(
    rng: np.random.Generator, n_times: int, rate_hz: float
) -> Float32[np.ndarray, " time"]:
    """Draw blinks of about 100 microvolts, one every four seconds or so."""
    trace = np.zeros(n_times, np.float32)
    shape = np.hanning(round(0.35 * rate_hz)).astype(np.float32)
    for _ in range(rng.poisson(n_times / rate_hz / 4)):
        start = rng.integers(n_times - len(shape))
        trace[start : start + len(shape)] += rng.uniform(60, 140) * shape
    return trace
