"""First look at each channel: what is missing, flat, clipped or full of line noise."""

import functools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped

from merps.errors import InputError
from merps.kernels.scanning import count_clipped, scan_windows, subtract_first
from merps.recording import Quality
from merps.shapes import Signal, native

#: Names of the columns of `measure_quality`.
MEASURES = ("missing", "flat", "clipped", "line_noise", "peak_to_peak")
#: Fewest equal samples in a row that count as clipped.
_CLIPPED_RUN = 3
#: Segment of the line noise spectrum, in seconds, and how far from the line, in hertz,
#: its band ends and its neighbors lie; a Hann peak of 2 s reaches 1 Hz on each side.
_SEGMENT_S = 2.0
_LINE_HZ = 1.0
_NEIGHBORS_HZ = (2.0, 4.0)
#: Most segments that the line noise is measured in, whatever the length.
_SEGMENTS = 16
#: Rows turned at once where time is not the slowest axis in memory: one cache line.
_BLOCK_ROWS = 8


def measure_quality(
    signal: Signal,
    *,
    rate_hz: float,
    line_hz: float,
    window_s: float,
    flat_range: float,
) -> Quality:
    """Measure the quality of each channel before any filter touches it.

    Ranges are taken in windows that follow each other without overlap; what is left at
    the end is not looked at, a signal shorter than one window is one window, and
    windows with less than half of their samples do not count.

    - ``missing``: share of samples that are NaN.
    - ``flat``: share of windows whose range is at most `flat_range`.
    - ``clipped``: share of the present samples that sit at the channel's largest or
      smallest value in runs of three or more; 1 for a constant channel.
    - ``line_noise``: mean power within 1 Hz of `line_hz`, over the mean power 2 to 4 Hz
      beside it on both sides; about 1 where there is none. From at most 16
      Hann-windowed segments of 2 s, spread evenly over the signal without overlap,
      without those that have missing samples; in float32, from a segment's first
      sample on.
    - ``peak_to_peak``: median range of a window, in the unit of the signal.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time) or (kind, channel, time)
        Any unit; NaN marks samples that are missing. Quickest in Fortran order, as
        MATLAB keeps arrays; other layouts are copied, a few channels at a time.
    rate_hz : float
        Sampling rate in hertz.
    line_hz : float
        Frequency of the power line in hertz.
    window_s : float
        Length of a window in seconds, rounded to the nearest sample.
    flat_range : float
        Range up to which a window is flat, in the unit of `signal`.

    Returns
    -------
    Quality
        Float32 values of shape (channel, measure) or (kind, channel, measure); NaN
        where a measure cannot be taken: a channel without samples, and line noise where
        the sampling rate is too low, the signal too short or the neighbors without
        power.

    Raises
    ------
    InputError
        If a window is shorter than two samples, if `flat_range` is negative, or if the
        signal has no samples.
    """
    length = round(window_s * rate_hz)
    if length < 2:
        raise InputError(
            f"window_s={window_s:g} must span at least two samples, "
            f"{2 / rate_hz:g} s at rate_hz={rate_hz:g}"
        )
    if not flat_range >= 0:
        raise InputError(f"flat_range must not be negative, got {flat_range:g}")
    if signal.size == 0:
        raise InputError(f"signal of shape {signal.shape} has no samples")
    n_times = signal.shape[-1]
    tables = []
    for block_tr in _blocks(signal.T):
        seen = _look_at_windows(block_tr, min(length, n_times), flat_range)
        seen["line_noise"] = _line_noise(block_tr, rate_hz, line_hz)
        tables.append([seen[name] for name in MEASURES])
    values = np.concatenate(tables, axis=1, dtype=np.float32)
    return Quality(MEASURES, values.reshape(-1, *signal.shape[-2::-1]).T)


def _blocks(
    turned: Float[np.ndarray, "time channel *kind"],
) -> Iterator[Float[np.ndarray, "time row"]]:
    """Yield rows in time-major memory: all where they lie, or copies of a few."""
    n_times, *shape = turned.shape
    n_rows = math.prod(shape)
    if turned.flags.c_contiguous:
        yield native(turned.reshape(n_times, n_rows))
        return
    for first in range(0, n_rows, _BLOCK_ROWS):
        rows = np.arange(first, min(first + _BLOCK_ROWS, n_rows))
        few_tr = turned[:, *np.unravel_index(rows, shape)]
        yield native(np.ascontiguousarray(few_tr))


def _look_at_windows(
    x_tr: Float[np.ndarray, "time row"], length: int, flat_range: float
) -> dict[str, Float64[np.ndarray, " row"]]:
    """Return what the extremes and gaps of windows tell about each row."""
    n_times, n_rows = x_tr.shape
    n_full = n_times // length
    shape = -(-n_times // length), n_rows  # the last window may be shorter
    low_wr, high_wr = np.empty(shape), np.empty(shape)
    missing_wr = np.empty(shape, dtype=np.int64)
    scan_windows(x_tr, length, low_wr, high_wr, missing_wr)
    low_r, high_r = low_wr.min(axis=0), high_wr.max(axis=0)
    clipped_r = np.empty(n_rows, dtype=np.int64)
    extremes = low_wr, high_wr, _CLIPPED_RUN, low_r, high_r
    count_clipped(x_tr, length, *extremes, clipped_r)
    n_missing_r = missing_wr.sum(axis=0)
    counts_wr = 2 * missing_wr[:n_full] <= length
    n_windows_r = counts_wr.sum(axis=0)
    range_wr = np.where(counts_wr, high_wr[:n_full] - low_wr[:n_full], np.nan)
    range_wr.sort(axis=0)  # NaN last
    middle_2r = np.stack([(n_windows_r - 1) // 2, n_windows_r // 2])
    return {
        "missing": n_missing_r / n_times,
        "flat": _share(np.sum(range_wr <= flat_range, axis=0), n_windows_r),
        "clipped": _share(clipped_r, n_times - n_missing_r),
        "peak_to_peak": np.take_along_axis(range_wr, middle_2r, axis=0).mean(axis=0),
    }


def _line_noise(
    x_tr: Float[np.ndarray, "time row"], rate_hz: float, line_hz: float
) -> Float64[np.ndarray, " row"]:
    """Return the power at the line frequency over the power beside it."""
    n_times, n_rows = x_tr.shape
    length = round(_SEGMENT_S * rate_hz)
    far_hz = _NEIGHBORS_HZ[1]
    if not far_hz < line_hz < rate_hz / 2 - far_hz or n_times < length:
        return np.full(n_rows, np.nan)
    waves_ft, n_at_line = _waves(length, rate_hz, line_hz)
    power_pfr = np.zeros((2, len(waves_ft) // 2, n_rows))  # of cosines and of sines
    rest_tr = np.empty((length, n_rows), dtype=np.float32)
    n_segments = min(_SEGMENTS, n_times // length)
    for start in np.arange(n_segments) * (n_times - length) // max(n_segments - 1, 1):
        # From the first sample on: exact zeros where the signal is constant, and no
        # offset that float32 would have to carry.
        subtract_first(x_tr[start : start + length], rest_tr)
        waves_now_fr = (waves_ft @ rest_tr).astype(np.float64)
        waves_now_fr[np.isnan(waves_now_fr)] = 0
        power_pfr += waves_now_fr.reshape(power_pfr.shape) ** 2
    line_r, beside_r = np.split(power_pfr.sum(axis=0), [n_at_line])
    return _share(line_r.mean(axis=0), beside_r.mean(axis=0))


@functools.lru_cache(maxsize=4)
def _waves(
    length: int, rate_hz: float, line_hz: float
) -> tuple[Float32[np.ndarray, "wave time"], int]:
    """Return Hann-windowed cosines, then sines, and how many of each are at the line.

    Those beside the line follow.
    """
    near_hz, far_hz = _NEIGHBORS_HZ
    distance_f = np.abs(np.fft.rfftfreq(length, 1 / rate_hz) - line_hz)
    at_line = np.flatnonzero(distance_f <= _LINE_HZ)
    beside = np.flatnonzero((distance_f >= near_hz) & (distance_f <= far_hz))
    turns_ft = np.outer(np.concatenate([at_line, beside]), np.arange(length)) % length
    turn_t = np.exp(-2j * np.pi / length * np.arange(length))
    waves_ft = np.hanning(length) * turn_t[turns_ft]
    waves_ft -= waves_ft.mean(axis=1, keepdims=True)  # takes the signal's mean out
    waves_ft = np.concatenate([waves_ft.real, waves_ft.imag], dtype=np.float32)
    return waves_ft, len(at_line)


def _share(
    part: Shaped[np.ndarray, " row"], whole: Shaped[np.ndarray, " row"]
) -> Float64[np.ndarray, " row"]:
    """Divide, with NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
