"""A change of rate by any ratio, where that of two clocks is no simple one."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from merps.errors import InputError
from merps.preprocessing.designs import rational
from merps.preprocessing.filters import resample

#: Largest denominator of the simple part of a ratio, which leaves less than 1 %.
_MAX_DENOMINATOR = 100
#: Half the length of the interpolation, in samples, and the shape of its window.
_HALF = 24
_BETA = 8.0
#: Samples that are interpolated at a time.
_TILE_TIMES = 1024


def retime(
    signal: Float[np.ndarray, "*row time"], *, rate_hz: float, to_hz: float
) -> Float[np.ndarray, "*row new_time"]:
    """Change the sampling rate of each row by any ratio, without delay.

    The nearest simple ratio is taken by `merps.preprocessing.filters.resample`; what is
    left, less than 1 %, by interpolation with a Kaiser-windowed sinc of 48 samples,
    which keeps what lies below 0.8 of the Nyquist frequency to 0.1 %. Sample 0 of the
    result lies at the time of sample 0 of the signal.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz, to_hz : float
        Sampling rates before and after, in hertz.

    Returns
    -------
    ndarray of float, shape (..., new_time)
        Unit and dtype of `signal`, computed in float64; every sample that lies within
        one sampling interval of those of the signal.

    Raises
    ------
    InputError
        As `merps.preprocessing.filters.resample`.
    """
    near_hz = simple_rate(rate_hz=rate_hz, to_hz=to_hz)
    near = stretch(signal, rate_hz=rate_hz, to_hz=near_hz)
    return resample(near, rate_hz=near_hz, to_hz=to_hz, keep_hz=None)


def stretch(
    signal: Float[np.ndarray, "*row time"], *, rate_hz: float, to_hz: float
) -> Float[np.ndarray, "*row new_time"]:
    """Change the sampling rate of each row by a little, without delay or filter.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz, to_hz : float
        Sampling rates before and after, in hertz, about the same.

    Returns
    -------
    ndarray of float, shape (..., new_time)
        As from `retime`.
    """
    n_new = int(np.ceil(round(signal.shape[-1] * to_hz / rate_hz, 6)))
    return _interpolate(signal, rate_hz / to_hz, n_new)


def is_simple(*, rate_hz: float, to_hz: float) -> bool:
    """Tell whether `merps.preprocessing.filters.resample` takes a pair of rates.

    Parameters
    ----------
    rate_hz, to_hz : float
        Sampling rates before and after, in hertz.

    Returns
    -------
    bool
        False where their ratio is no fraction of small numbers.
    """
    try:
        rational(rate_hz=rate_hz, to_hz=to_hz)
    except InputError:
        return False
    return True


def simple_rate(*, rate_hz: float, to_hz: float) -> float:
    """Return the rate in a simple ratio to another that is nearest to a given one.

    Parameters
    ----------
    rate_hz, to_hz : float
        The given rate and the other, in hertz.

    Returns
    -------
    float
        Hertz; within 1 % of `rate_hz`.

    Raises
    ------
    InputError
        If a rate is not positive, or more than 100 times the other.
    """
    if not (rate_hz > 0 and to_hz > 0):
        raise InputError(
            f"rates must be positive, got rate_hz={rate_hz:g} and to_hz={to_hz:g}"
        )
    ratio = Fraction(rate_hz / to_hz).limit_denominator(_MAX_DENOMINATOR)
    near_hz = to_hz * ratio.numerator / ratio.denominator
    if not abs(near_hz / rate_hz - 1) < 0.01:
        raise InputError(
            f"to_hz={to_hz:g} is too far from rate_hz={rate_hz:g}; choose a rate up to "
            f"{_MAX_DENOMINATOR} times as high"
        )
    return near_hz


def _interpolate(
    signal: Float[np.ndarray, "*row time"], step: float, n_new: int
) -> Float[np.ndarray, "*row new_time"]:
    """Take samples that are `step` samples apart, continued by odd reflection."""
    n_pad = min(_HALF + 1, signal.shape[-1] - 1)
    edges = [(0, 0)] * (signal.ndim - 1)
    padded = np.pad(
        signal, [*edges, (n_pad, n_pad)], mode="reflect", reflect_type="odd"
    )
    rest = _HALF + 1 - n_pad
    padded = np.pad(padded, [*edges, (rest, rest)], mode="edge")
    out = np.empty((*signal.shape[:-1], n_new), dtype=signal.dtype)
    offsets = np.arange(1 - _HALF, _HALF + 1)
    at_t = np.arange(n_new) * step
    before_t = np.floor(at_t).astype(np.int64)
    # Between samples that are skipped or taken twice, memory is read in one piece.
    breaks = np.flatnonzero(np.diff(before_t) != 1) + 1
    edges = np.union1d(breaks, np.arange(0, n_new, _TILE_TIMES))
    for first, stop in pairwise([*edges.tolist(), n_new]):
        away_kt = offsets[:, None] - (at_t - before_t)[first:stop]
        weight_kt = np.sinc(away_kt) * np.i0(
            _BETA * np.sqrt(np.maximum(1 - (away_kt / _HALF) ** 2, 0))
        )
        weight_kt /= weight_kt.sum(axis=0)  # offsets stay exact
        total = np.zeros((*signal.shape[:-1], stop - first))
        for offset, weight_t in zip(offsets, weight_kt, strict=True):
            start = before_t[first] + offset + _HALF + 1
            total += weight_t * padded[..., start : start + stop - first]
        out[..., first:stop] = total
    return out
