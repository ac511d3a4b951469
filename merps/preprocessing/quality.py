"""First look at each channel: what is missing, flat, clipped or full of line noise."""

import numpy as np
from jaxtyping import Float64

from merps.errors import InputError
from merps.recording import Quality
from merps.shapes import Signal

#: Names of the columns of `measure_quality`.
MEASURES = ("missing", "flat", "clipped", "line_noise", "peak_to_peak")
#: Fewest equal samples in a row that count as clipped.
_CLIPPED_RUN = 3
#: Segment of the line noise spectrum, in seconds, and how far from the line, in hertz,
#: its band ends and its neighbors lie; a Hann peak of 2 s reaches 1 Hz on each side.
_SEGMENT_S = 2.0
_LINE_HZ = 1.0
_NEIGHBORS_HZ = (2.0, 4.0)


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
      beside it on both sides; about 1 where there is none. From Hann-windowed 2 s
      segments with half overlap, without those that have missing samples.
    - ``peak_to_peak``: median range of a window, in the unit of the signal.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time) or (kind, channel, time)
        Any unit; NaN marks samples that are missing.
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
    if signal.shape[-1] == 0:
        raise InputError(f"signal of shape {signal.shape} has no samples")
    rows = signal.reshape(-1, signal.shape[-1])
    values = np.empty((len(rows), len(MEASURES)), dtype=np.float32)
    for row, measured in zip(rows, values, strict=True):
        x_t = row.astype(np.float64)
        ranges = _window_ranges(x_t, min(length, len(x_t)))
        measured[:] = (
            np.isnan(x_t).mean(),
            (ranges <= flat_range).mean() if ranges.size else np.nan,
            _clipped_share(x_t),
            _line_noise(x_t, rate_hz, line_hz),
            np.median(ranges) if ranges.size else np.nan,
        )
    return Quality(MEASURES, values.reshape(*signal.shape[:-1], len(MEASURES)))


def _window_ranges(
    x_t: Float64[np.ndarray, " time"], length: int
) -> Float64[np.ndarray, " window"]:
    """Return the range of each window that has at least half of its samples."""
    x_wt = x_t[: len(x_t) // length * length].reshape(-1, length)
    x_wt = x_wt[2 * np.isnan(x_wt).sum(axis=1) <= length]
    return np.fmax.reduce(x_wt, axis=1) - np.fmin.reduce(x_wt, axis=1)


def _clipped_share(x_t: Float64[np.ndarray, " time"]) -> float:
    """Return the share of present samples in long runs at either extreme."""
    n_present = np.count_nonzero(~np.isnan(x_t))
    if n_present == 0:
        return np.nan
    n_clipped = 0
    for extreme in {np.fmax.reduce(x_t), np.fmin.reduce(x_t)}:  # one if constant
        edges = np.diff(x_t == extreme, prepend=False, append=False).nonzero()[0]
        lengths = edges[1::2] - edges[::2]
        n_clipped += lengths[lengths >= _CLIPPED_RUN].sum()
    return n_clipped / n_present


def _line_noise(
    x_t: Float64[np.ndarray, " time"], rate_hz: float, line_hz: float
) -> float:
    """Return the power at the line frequency over the power beside it."""
    length = round(_SEGMENT_S * rate_hz)
    near_hz, far_hz = _NEIGHBORS_HZ
    if not far_hz < line_hz < rate_hz / 2 - far_hz or len(x_t) < length:
        return np.nan
    x_wt = np.lib.stride_tricks.sliding_window_view(x_t, length)[:: length // 2]
    x_wt = x_wt[~np.isnan(x_wt).any(axis=1)]
    if len(x_wt) == 0:
        return np.nan
    x_wt = x_wt - x_wt[:, :1]  # exact zeros where the signal is constant
    x_wt -= x_wt.mean(axis=1, keepdims=True)
    power_f = (np.abs(np.fft.rfft(x_wt * np.hanning(length))) ** 2).mean(axis=0)
    distance_f = np.abs(np.fft.rfftfreq(length, 1 / rate_hz) - line_hz)
    beside = power_f[(distance_f >= near_hz) & (distance_f <= far_hz)].mean()
    return power_f[distance_f <= _LINE_HZ].mean() / beside if beside > 0 else np.nan
