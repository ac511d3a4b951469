"""Resampling and filters in one go, on pieces of a signal where they lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.kernels.filtering import filter_rows
from merps.preprocessing.designs import anti_alias, rational, steady_state
from merps.preprocessing.resampling import resample_behind, resample_pieces
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
    """A recursive filter that runs forward and backward, or forward alone.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Second-order sections of one pass, rows of b0, b1, b2, 1, a1, a2.
    pad_s : float
        Length of the odd reflection on both ends, in seconds; a filter that runs
        forward alone needs none.
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
    n_new = _new_length(pieces, factor)
    passes = [
        (chosen.sections, min(round(chosen.pad_s * to_hz), n_new - 1))
        for chosen in filters
    ]
    n_pad = max((n for _, n in passes), default=0)

    def run(x_tc: list[Float[np.ndarray, "_ channel"]]) -> Float64[np.ndarray, "..."]:
        padded_tc = np.empty((n_pad + n_new + n_pad, x_tc[0].shape[1]))
        inner_tc = padded_tc[n_pad : n_pad + n_new]
        resample_pieces(x_tc, taps, factor, out=inner_tc)
        for sections, n in passes:
            filter_both_ways(sections, padded_tc[n_pad - n : n_pad + n_new + n], n)
        return inner_tc

    return _run_over(pieces, run, n_new, dtype)


def filter_pieces_forward(
    pieces: Sequence[Float[np.ndarray, "*row _"]],
    *,
    rate_hz: float,
    to_hz: float,
    keep_hz: float | None,
    filters: Sequence[ZeroPhaseFilter],
    dtype: type | np.dtype | str,
) -> Float[np.ndarray, "*row new_time"]:
    """Resample and filter pieces of one signal without a look at what comes later.

    The same filters as in `filter_pieces` run once, forward, so that they attenuate
    half as many decibels, and delay: the change of rate by half the length of its
    linear-phase filter, recursive filters by their group delay. Before the first
    sample, the signal is taken to have been constant.

    Parameters
    ----------
    pieces : sequence of ndarray of float, shape (..., time)
        As for `filter_pieces`.
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
        One C-contiguous array; sample n depends on no sample later than
        ``n / to_hz``.

    Raises
    ------
    InputError
        As `filter_pieces`.
    """
    factor = rational(rate_hz=rate_hz, to_hz=to_hz)
    taps = _design_taps(factor, rate_hz=rate_hz, keep_hz=keep_hz)
    n_new = _new_length(pieces, factor)

    def run(x_tc: list[Float[np.ndarray, "_ channel"]]) -> Float64[np.ndarray, "..."]:
        y_tc = np.empty((n_new, x_tc[0].shape[1]))
        resample_behind(x_tc, taps, factor, out=y_tc)
        for chosen in filters:
            filter_forward(chosen.sections, y_tc)
        return y_tc

    return _run_over(pieces, run, n_new, dtype)


def resampling_delay_s(*, rate_hz: float, to_hz: float, keep_hz: float | None) -> float:
    """Return by how much the change of rate in `filter_pieces_forward` delays.

    Parameters
    ----------
    rate_hz, to_hz : float
        Sampling rates before and after, in hertz.
    keep_hz : float or None
        As in `resample`.

    Returns
    -------
    float
        In seconds, for every frequency.

    Raises
    ------
    InputError
        As `filter_pieces`.
    """
    factor = rational(rate_hz=rate_hz, to_hz=to_hz)
    if factor == 1:
        return 0.0
    taps = _design_taps(factor, rate_hz=rate_hz, keep_hz=keep_hz)
    return len(taps) // 2 / (factor.numerator * rate_hz)


def _new_length(pieces: Sequence[Float[np.ndarray, "*row _"]], factor: Fraction) -> int:
    """Return the number of samples at the new rate."""
    n_times = sum(piece.shape[-1] for piece in pieces)
    return -(-n_times * factor.numerator // factor.denominator)


def _run_over(
    pieces: Sequence[Float[np.ndarray, "*row _"]],
    run: Callable[[list[np.ndarray]], np.ndarray],
    n_new: int,
    dtype: type | np.dtype | str,
) -> Float[np.ndarray, "*row new_time"]:
    """Bring pieces into time-major memory, run over them, and turn the result."""
    rows = pieces[0].shape[:-1]
    out = np.empty((*rows, n_new), dtype)
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
    for first, step in ((0, 1), (n_times - 1, -1)):
        _filter_one_way(sections, padded_tgc, part, first, step)


def filter_forward(
    sections: Float64[np.ndarray, "section 6"],
    x_tc: Float[np.ndarray, "time channel"],
    *,
    part: int = 0,
    parts: int = 1,
) -> None:
    """Run sections forward over time-major memory, in place.

    They start as if the first sample had lasted forever, so that an offset leaves no
    transient.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Rows of b0, b1, b2, 1, a1, a2.
    x_tc : ndarray of float32 or float64, shape (time, channel)
        C-contiguous; filtered in its own precision.
    part, parts : int, optional
        Which of so many equal parts of the channels to filter.
    """
    _filter_one_way(sections, x_tc.reshape(len(x_tc), parts, -1), part, 0, 1)


def _filter_one_way(
    sections: Float64[np.ndarray, "section 6"],
    x_tgc: Float[np.ndarray, "time group channel"],
    part: int,
    first: int,
    step: int,
) -> None:
    """Run sections over a part of the channels, from a steady state at `first`."""
    dtype = x_tgc.dtype
    early_s, late_s = steady_state(sections).T
    early_sc = np.outer(early_s, x_tgc[first, part]).astype(dtype)
    late_sc = np.outer(late_s, x_tgc[first, part]).astype(dtype)
    rows = (first, step, len(x_tgc))
    filter_rows(sections.astype(dtype), *rows, part, early_sc, late_sc, x_tgc)


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
