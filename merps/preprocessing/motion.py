"""Motion in fNIRS: how much of it there is, where it is, and splines to take it out."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy.lib.stride_tricks import sliding_window_view

from merps.errors import InputError

#: Stretches over which the means beside a border are taken, in seconds: the shortest
#: and the longest span that counts, and a tenth of what is longer still.
_SHORT_S, _LONG_S = 0.3, 3.0
#: A cubic spline needs as many samples.
_FEWEST = 5


def find_end_steps(
    density: Float[np.ndarray, "*row time"], *, max_step: float
) -> Bool[np.ndarray, " time"]:
    """Mark the first and the last sample where a device settles or stops.

    Such a sample is off in most rows at once: the median over rows of its step to its
    neighbor, over the row's median step, is more than `max_step`.

    Parameters
    ----------
    density : ndarray of float, shape (..., time)
        Changes of optical density; NaN marks samples that are missing.
    max_step : float
        Largest step in typical ones; hearts and motion stay far below 20.

    Returns
    -------
    ndarray of bool, shape (time,)
        True at most at both ends.

    Raises
    ------
    InputError
        If `max_step` is not positive.
    """
    if not max_step > 0:
        raise InputError(f"max_step must be positive, got {max_step:g}")
    n_times = density.shape[-1]
    found_t = np.zeros(n_times, dtype=bool)
    step_rt = np.abs(np.diff(density.reshape(-1, n_times), axis=-1))
    step_rt = step_rt[~np.isnan(step_rt).any(axis=-1)]
    if n_times < _FEWEST or not len(step_rt):
        return found_t
    typical_r = np.median(step_rt, axis=-1)
    for end in (0, -1):
        found_t[end] = np.median(step_rt[:, end] - max_step * typical_r) > 0
    return found_t


def hold_ends(
    signal: Float[np.ndarray, "*row time"], steps: Bool[np.ndarray, " time"]
) -> Float[np.ndarray, "*row time"]:
    """Give the first and the last sample the value of their neighbors.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit.
    steps : ndarray of bool, shape (time,)
        As from `find_end_steps`; what lies between the ends does not count.

    Returns
    -------
    ndarray of float, shape (..., time)
        A copy in the unit of `signal`.
    """
    held = signal.copy()
    for end, beside in ((0, 1), (-1, -2)):
        if steps[end]:
            held[..., end] = signal[..., beside]
    return held


def find_motion(
    density: Float[np.ndarray, "*row time"],
    *,
    rate_hz: float,
    window_s: float,
    mask_s: float,
    deviations: float,
    max_change: float,
) -> Bool[np.ndarray, "*row time"]:
    """Mark the samples during which a row moves more than tissue does.

    A row moves where it changes within `window_s` by more than `max_change`, or by more
    than `deviations` times the standard deviation of its steps from sample to sample;
    `mask_s` before and after that is marked, too.

    Parameters
    ----------
    density : ndarray of float, shape (..., time)
        Changes of optical density; NaN marks samples that are missing, which count for
        nothing.
    rate_hz : float
        Sampling rate in hertz.
    window_s, mask_s : float
        How long a change may take, and how far around it samples are marked, in
        seconds, rounded to whole samples, of which the first is at least one.
    deviations : float
        Largest change in standard deviations of the steps.
    max_change : float
        Largest change in the unit of `density`.

    Returns
    -------
    ndarray of bool, shape (..., time)
        True where there is motion.

    Raises
    ------
    InputError
        If a rate, window or threshold is not positive or the mask is negative.

    References
    ----------
    T. J. Huppert et al., HomER: a review of time-series analysis methods for
    near-infrared spectroscopy of the brain, Applied Optics 48(10), 2009.
    """
    if not (rate_hz > 0 and window_s > 0 and deviations > 0 and max_change > 0):
        raise InputError(
            f"rate_hz={rate_hz:g}, window_s={window_s:g}, deviations={deviations:g} "
            f"and max_change={max_change:g} must be positive"
        )
    if not mask_s >= 0:
        raise InputError(f"mask_s must not be negative, got {mask_s:g}")
    n_times = density.shape[-1]
    reach = min(max(round(window_s * rate_hz), 1), n_times - 1)
    n_around = round(mask_s * rate_hz)
    if reach < 1:
        return np.zeros(density.shape, dtype=bool)
    step_rt = np.diff(density, axis=-1)
    spread_r = _spread(step_rt)
    limit_r = np.fmin(deviations * spread_r, max_change)
    marked = np.zeros(density.shape, dtype=bool)
    for lag in range(1, reach + 1):
        change_rt = np.abs(density[..., lag:] - density[..., :-lag])
        moves_rt = change_rt > limit_r[..., None]
        for first in range(lag + 1):  # all samples that the change goes over
            marked[..., first : n_times - lag + first] |= moves_rt
    if n_around:
        count = np.cumsum(marked, axis=-1)
        count = np.concatenate([np.zeros_like(count[..., :1]), count], axis=-1)
        at = np.arange(n_times)
        stop = np.minimum(at + n_around + 1, n_times)
        marked = count[..., stop] > count[..., np.maximum(at - n_around, 0)]
    return marked


def spline_motion(
    density: Float[np.ndarray, "*row time"],
    motion: Bool[np.ndarray, "*row time"],
    *,
    rate_hz: float,
    smoothness: float,
) -> Float64[np.ndarray, "*row time"]:
    """Take motion out by splines, and join what is left.

    Each stretch of motion loses a cubic smoothing spline, the ``f`` that minimizes
    ``p sum (x - f)**2 + (1 - p) int f''**2`` with p = `smoothness` and time in seconds.
    Then each stretch, of motion or not, is shifted so that its mean near its start
    meets that near the end of the one before it, which takes shifts of the baseline
    out. The means are over a stretch as a whole if it is shorter than 0.3 s, over 0.3 s
    if it is shorter than 3 s, and over a tenth of it if it is longer. At the end, the
    mean of each row is what it was.

    Parameters
    ----------
    density : ndarray of float, shape (..., time)
        Changes of optical density; without NaN.
    motion : ndarray of bool, shape (..., time)
        Where there is motion, as from `find_motion`.
    rate_hz : float
        Sampling rate in hertz.
    smoothness : float
        Between 0, where a straight line is taken out, and 1, where all is; the paper
        has 0.99.

    Returns
    -------
    ndarray of float64, shape (..., time)
        Unit of `density`; rows without motion as they were.

    Raises
    ------
    InputError
        If `smoothness` is not between 0 and 1, the rate is not positive, or a sample
        is not finite.

    References
    ----------
    F. Scholkmann, S. Spichtig, T. Muehlemann, M. Wolf, How to detect and reduce
    movement artifacts in near-infrared imaging using moving standard deviation and
    spline interpolation, Physiological Measurement 31(5), 2010.
    """
    if not (0 < smoothness < 1 and rate_hz > 0):
        raise InputError(
            f"smoothness={smoothness:g} must lie between 0 and 1 and "
            f"rate_hz={rate_hz:g} above 0"
        )
    if not np.isfinite(density).all():
        raise InputError(
            "density has missing or infinite samples; mark them as NaN and call "
            "merps.preprocessing.repair.fill_gaps first"
        )
    mended = density.astype(np.float64)
    for index in map(tuple, np.argwhere(motion.any(axis=-1))):
        row_t = mended[index]
        former = row_t.mean()
        for stretch in _stretches(motion[index]):
            if motion[index][stretch.start]:
                row_t[stretch] -= _smooth(row_t[stretch], rate_hz, smoothness)
        _join_stretches(row_t, list(_stretches(motion[index])), rate_hz)
        row_t += former - row_t.mean()
    return mended


def motion_ratio(
    density: Float[np.ndarray, "*row time"], *, rate_hz: float
) -> Float64[np.ndarray, " *row"]:
    """Measure how far a row's largest change is from its usual ones.

    The largest change within one second over the median one: about 3 for a signal that
    goes on alike, and large for one with spikes or shifts, whatever the unit.

    Parameters
    ----------
    density : ndarray of float, shape (..., time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz.

    Returns
    -------
    ndarray of float64, shape (...,)
        Without unit; NaN where a row has less than two seconds or its median change is
        zero.
    """
    length = max(round(rate_hz), 1)
    n_windows = (density.shape[-1] - 1) // length
    if n_windows < 2:
        return np.full(density.shape[:-1], np.nan)
    # Each begins with the last sample of the one before, so that no step is missed.
    x_rwt = sliding_window_view(density, length + 1, axis=-1)[..., ::length, :]
    range_rw = np.sort(np.ptp(x_rwt, axis=-1).astype(np.float64), axis=-1)  # NaN last
    n_seen = np.sum(~np.isnan(range_rw), axis=-1)
    middle = [np.maximum(n_seen - 1, 0) // 2, n_seen // 2, np.maximum(n_seen - 1, 0)]
    low, high, largest = (
        np.take_along_axis(range_rw, np.minimum(at, n_windows - 1)[..., None], -1)
        for at in middle
    )
    median = (low + high)[..., 0] / 2
    usable = (n_seen > 1) & (median > 0)
    return np.divide(
        largest[..., 0], median, out=np.full(median.shape, np.nan), where=usable
    )


def _spread(step_rt: Float[np.ndarray, "*row step"]) -> Float64[np.ndarray, " *row"]:
    """Return the standard deviation of the present steps; NaN where there are none."""
    present = ~np.isnan(step_rt)
    count = present.sum(axis=-1)
    over = np.maximum(count, 1)
    mean_r = np.sum(step_rt, axis=-1, where=present, dtype=np.float64) / over
    rest_rt = step_rt - mean_r[..., None]
    power_r = np.sum(rest_rt**2, axis=-1, where=present, dtype=np.float64) / over
    return np.where(count > 0, np.sqrt(power_r), np.nan)


def _stretches(motion_t: Bool[np.ndarray, " time"]) -> Iterator[slice]:
    """Yield the stretches with and without motion, in turn."""
    borders = np.flatnonzero(np.diff(motion_t)) + 1
    edges = [0, *borders.tolist(), len(motion_t)]
    for first, stop in itertools.pairwise(edges):
        yield slice(first, stop)


def _smooth(
    x_t: Float64[np.ndarray, " time"], rate_hz: float, smoothness: float
) -> Float64[np.ndarray, " time"]:
    """Return the smoothing spline of a stretch; its mean if that is too short."""
    from scipy.interpolate import make_smoothing_spline

    if len(x_t) < _FEWEST:
        return np.full(len(x_t), x_t.mean())
    times_s = np.arange(len(x_t)) / rate_hz
    roughness = (1 - smoothness) / smoothness
    return make_smoothing_spline(times_s, x_t, lam=roughness)(times_s)


def _join_stretches(
    x_t: Float64[np.ndarray, " time"], stretches: list[slice], rate_hz: float
) -> None:
    """Shift each stretch to where the one before it ended, in place."""
    for before, after in itertools.pairwise(stretches):
        end = x_t[before][-_n_beside(before, rate_hz) :].mean()
        start = x_t[after][: _n_beside(after, rate_hz)].mean()
        x_t[after] += end - start


def _n_beside(stretch: slice, rate_hz: float) -> int:
    """Return how many samples of a stretch tell its level beside a border."""
    length = stretch.stop - stretch.start
    if length < _SHORT_S * rate_hz:
        return length
    if length < _LONG_S * rate_hz:
        return max(int(_SHORT_S * rate_hz), 1)
    return max(length // 10, 1)
