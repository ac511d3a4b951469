"""Resampling and filters in one go, on pieces of a signal where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.kernels.filtering import filter_rows
from merps.preprocessing.designs import anti_alias, rational, steady_state
from merps.preprocessing.resampling import resample_pieces
from merps.shapes import native

#: Rows of a signal that is not time-major in memory are filtered this many at once,
#: which bounds temporary memory.
_BLOCK_ROWS = 16
#: Samples of all rows that are turned at once, from time-major to C order.
_BLOCK_TIMES = 256
#: Pass-band and stop-band of a change of rate, in parts of the lower Nyquist frequency.
_PASS_BAND, _STOP_BAND = 0.8, 1.0


@dataclass(frozen=True, slots=True)
class ZeroPhaseFilter:
    """A recursive filter that runs forward and backward.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Second-order sections of one pass, rows of b0, b1, b2, 1, a1, a2.
    pad_s : float
        Length of the odd reflection on both ends, in seconds.
    """

    sections: Float64[np.ndarray, "section 6"]
    pad_s: float


def filter_pieces(
    pieces: Sequence[Float[np.ndarray, "*row _"]],
    *,
    rate_hz: float,
    to_hz: float,
    keep_hz: float | None,
    filters: Sequence[ZeroPhaseFilter],
    dtype: type | np.dtype | str,
) -> Float[np.ndarray, "*row new_time"]:
    """Resample and filter pieces of one signal as if they were joined.

    Nothing is joined in memory, and pieces whose memory runs over channels first (as
    MATLAB's does) are filtered where they lie.

    Parameters
    ----------
    pieces : sequence of ndarray of float, shape (..., time)
        Stretches of the same rows that follow each other; without NaN, which is not
        checked.
    rate_hz, to_hz : float
        Sampling rates of the pieces and of the result, in hertz.
    keep_hz : float or None
        As in `resample`.
    filters : sequence of ZeroPhaseFilter
        Run one after the other at the new rate.
    dtype : dtype
        Float type of the result; computed in float64.

    Returns
    -------
    ndarray of float, shape (..., new_time)
        One C-contiguous array.

    Raises
    ------
    InputError
        If the rates have no simple ratio, or `keep_hz` is not below both Nyquist
        frequencies.
    """
    factor = rational(rate_hz=rate_hz, to_hz=to_hz)
    taps = _design_taps(factor, rate_hz=rate_hz, keep_hz=keep_hz)
    n_times = sum(piece.shape[-1] for piece in pieces)
    n_new = -(-n_times * factor.numerator // factor.denominator)
    passes = [
        (chosen.sections, min(round(chosen.pad_s * to_hz), n_new - 1))
        for chosen in filters
    ]
    n_pad = max((n for _, n in passes), default=0)
    rows = pieces[0].shape[:-1]
    out = np.empty((*rows, n_new), dtype)

    def run(x_tc: list[Float[np.ndarray, "_ channel"]]) -> Float64[np.ndarray, "..."]:
        padded_tc = np.empty((n_pad + n_new + n_pad, x_tc[0].shape[1]))
        inner_tc = padded_tc[n_pad : n_pad + n_new]
        resample_pieces(x_tc, taps, factor, out=inner_tc)
        for sections, n in passes:
            filter_both_ways(sections, padded_tc[n_pad - n : n_pad + n_new + n], n)
        return inner_tc

    if all(piece.T.flags.c_contiguous for piece in pieces):
        y_tc = run([native(piece.T.reshape(piece.shape[-1], -1)) for piece in pieces])
        y_t = y_tc.reshape(n_new, *rows[::-1])
        for first in range(0, n_new, _BLOCK_TIMES):  # both sides stay in the cache
            block = slice(first, first + _BLOCK_TIMES)
            out[..., block] = y_t[block].T
        return out
    flat = [piece.reshape(-1, piece.shape[-1]) for piece in pieces]
    flat_out = out.reshape(-1, n_new)
    for first in range(0, len(flat_out), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        y_tc = run([native(np.ascontiguousarray(x_ct[block].T)) for x_ct in flat])
        flat_out[block] = y_tc.T
    return out


def filter_both_ways(
    sections: Float64[np.ndarray, "section 6"],
    padded_tc: Float[np.ndarray, "time channel"],
    n_pad: int,
    *,
    part: int = 0,
    parts: int = 1,
) -> None:
    """Run sections forward and backward over time-major memory, in place.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Rows of b0, b1, b2, 1, a1, a2.
    padded_tc : ndarray of float32 or float64, shape (time, channel)
        C-contiguous, with `n_pad` rows to spare before and after the signal, which are
        filled with its odd reflection; filtered in its own precision.
    n_pad : int
        Length of the reflection, less than that of the signal.
    part, parts : int, optional
        Which of so many equal parts of the channels to filter.
    """
    n_times = len(padded_tc)
    padded_tgc = padded_tc.reshape(n_times, parts, -1)
    x_tc = padded_tgc[:, part]
    for edge, sign in ((n_pad, 1), (n_times - n_pad - 1, -1)):
        away = np.arange(1, n_pad + 1) * sign
        x_tc[edge - away] = 2 * x_tc[edge] - x_tc[edge + away]
    early_s, late_s = steady_state(sections).T
    sections = sections.astype(x_tc.dtype)
    for first, step in ((0, 1), (n_times - 1, -1)):
        early_sc = np.outer(early_s, x_tc[first]).astype(x_tc.dtype)
        late_sc = np.outer(late_s, x_tc[first]).astype(x_tc.dtype)
        rows = (first, step, n_times)
        filter_rows(sections, *rows, part, early_sc, late_sc, padded_tgc)


def _design_taps(
    factor: Fraction, *, rate_hz: float, keep_hz: float | None
) -> Float64[np.ndarray, " tap"]:
    """Design the filter of a change of rate."""
    nyquist_hz = rate_hz * min(1, float(factor)) / 2
    if keep_hz is None:
        return anti_alias(factor, pass_band=_PASS_BAND, stop_band=_STOP_BAND)
    if not 0 < keep_hz < nyquist_hz:
        raise InputError(
            f"keep_hz={keep_hz:g} must lie above 0 and below {nyquist_hz:g}, the lower "
            "of the Nyquist frequencies before and after"
        )
    kept = keep_hz / nyquist_hz
    return anti_alias(factor, pass_band=kept, stop_band=2 - kept)
