"""Noise of a given spectrum, and patterns that are smooth over the head."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float32

#: Amplitude at each of some frequencies in hertz, in any unit.
Gain: TypeAlias = Callable[[Float32[np.ndarray, " frequency"]], np.ndarray]

# Shorter stretches are cut from one of this length, so that narrow bands hold at least
# one of its frequencies.
_SHORTEST_S = 60


def shaped_noise(
    rng: np.random.Generator,
    n_rows: int,
    n_times: int,
    *,
    rate_hz: float,
    gain: Gain,
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
        Returns the amplitude at an array of frequencies in hertz; 0 Hz is an offset
        that differs from row to row.

    Returns
    -------
    ndarray of float32, shape (row, time)
        Rows whose expected mean square is 1.
    """
    from scipy.fft import irfft

    n_fft = _fast_length(max(n_times, round(_SHORTEST_S * rate_hz)))
    frequencies_hz = np.fft.rfftfreq(n_fft, 1 / rate_hz).astype(np.float32)
    amplitude = np.asarray(gain(frequencies_hz), np.float32)
    # 0 Hz has no negative twin and no imaginary part: a quarter of the others' power.
    power = 2 * np.sum(amplitude**2) - 1.5 * amplitude[0] ** 2
    amplitude *= n_fft / np.sqrt(power)
    white = rng.standard_normal((n_rows, 2 * len(amplitude)), np.float32)
    spectrum = white.view(np.complex64) * (amplitude / np.float32(np.sqrt(2)))
    return irfft(spectrum, n_fft, axis=1, overwrite_x=True)[:, :n_times]


def band(low_hz: float, high_hz: float) -> Gain:
    """Make a gain that passes one band with soft edges.

    Parameters
    ----------
    low_hz, high_hz : float
        Edges in hertz; the gain is 0.06 there and near 1 in the middle half.

    Returns
    -------
    callable
        For `shaped_noise`.
    """
    center_hz, half_hz = (low_hz + high_hz) / 2, (high_hz - low_hz) / 2
    return lambda f: np.exp(-0.5 * (np.abs(f - center_hz) / half_hz / 0.75) ** 6)


def smooth_patterns(
    rng: np.random.Generator, positions: Float[np.ndarray, "channel 3"], n_patterns: int
) -> Float32[np.ndarray, "channel pattern"]:
    """Draw topographies that are smooth over the head.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses centers and signs.
    positions : ndarray, shape (channel, 3)
        Where the channels are, on a head of about unit radius.
    n_patterns : int
        How many topographies.

    Returns
    -------
    ndarray of float32, shape (channel, pattern)
        Weights; the largest of each pattern is 1 or -1.
    """
    centers = positions[rng.integers(len(positions), size=n_patterns)]
    centers = centers + 0.3 * rng.normal(size=centers.shape)
    squared = np.sum((positions[:, None] - centers) ** 2, axis=2)
    weights = np.exp(-squared / (2 * 0.45**2)) - 0.25 * np.exp(-squared / 2)
    weights *= rng.choice([-1.0, 1.0], size=n_patterns)
    return (weights / np.abs(weights).max(axis=0)).astype(np.float32)


def _fast_length(n_times: int) -> int:
    """Return an even length at least as long that the FFT does quickly."""
    from scipy.fft import next_fast_len

    return 2 * next_fast_len(-(-n_times // 2), real=True)
