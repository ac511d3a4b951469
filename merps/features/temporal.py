"""Smoothing of per-second numbers along the time of each trial."""

import numpy as np
from jaxtyping import Float, Int

from merps.errors import InputError


def smooth_in_time(
    values: Float[np.ndarray, "sample feature"],
    trials: Int[np.ndarray, " sample"],
    seconds: Int[np.ndarray, " sample"],
    *,
    width_s: float,
) -> Float[np.ndarray, "sample feature"]:
    """Average each column over neighboring seconds of the same trial.

    A row of second t becomes the mean of the rows of its trial whose seconds lie
    within ``width_s / 2`` of t, both ends included: 7 averages seven seconds, 1 and
    less leave the values alone. Rows may come in any order and seconds may be absent.
    This is an offline estimate, which looks half its width ahead; `smooth_past` does
    not.

    Parameters
    ----------
    values : ndarray of float, shape (sample, feature)
        NaN means missing, and takes no part in a mean.
    trials : ndarray of int, shape (sample,)
        Number of the trial that each row belongs to.
    seconds : ndarray of int, shape (sample,)
        Second of each row inside its trial.
    width_s : float
        Width of the average in seconds.

    Returns
    -------
    ndarray of float, shape (sample, feature)
        Unit and dtype of `values`, from sums in float64; NaN where all neighbors are
        missing.

    Raises
    ------
    InputError
        If the width is negative.
    """
    _require_width(width_s)
    smooth = np.empty(values.shape, dtype=values.dtype)
    for rows in _by_trial(trials, seconds):
        own = seconds[rows]
        first = np.searchsorted(own, own - width_s / 2, side="left")
        stop = np.searchsorted(own, own + width_s / 2, side="right")
        smooth[rows] = _average_spans(values[rows], first, stop)
    return smooth


def smooth_past(
    values: Float[np.ndarray, "sample feature"],
    trials: Int[np.ndarray, " sample"],
    seconds: Int[np.ndarray, " sample"],
    *,
    width_s: float,
) -> Float[np.ndarray, "sample feature"]:
    """Average each column over the seconds of the same trial that lead up to its own.

    A row of second t becomes the mean of the rows of its trial whose seconds lie in
    ``(t - width_s, t]``: 7 averages seven seconds, of which the last is t; 1 and less
    leave the values alone. Late by half the width, and blind to what comes.

    Parameters
    ----------
    values : ndarray of float, shape (sample, feature)
        NaN means missing, and takes no part in a mean.
    trials : ndarray of int, shape (sample,)
        Number of the trial that each row belongs to.
    seconds : ndarray of int, shape (sample,)
        Second of each row inside its trial.
    width_s : float
        Width of the average in seconds.

    Returns
    -------
    ndarray of float, shape (sample, feature)
        As from `smooth_in_time`.

    Raises
    ------
    InputError
        If the width is negative.
    """
    _require_width(width_s)
    smooth = np.empty(values.shape, dtype=values.dtype)
    for rows in _by_trial(trials, seconds):
        own = seconds[rows]
        first = np.searchsorted(own, own - max(width_s, 1), side="right")
        stop = np.searchsorted(own, own, side="right")
        smooth[rows] = _average_spans(values[rows], first, stop)
    return smooth


def _require_width(width_s: float) -> None:
    """Raise if a width is negative."""
    if not width_s >= 0:
        raise InputError(f"width_s must not be negative, got {width_s:g}")


def _by_trial(
    trials: Int[np.ndarray, " sample"], seconds: Int[np.ndarray, " sample"]
) -> list[Int[np.ndarray, " row"]]:
    """Return the rows of each trial, sorted by second."""
    order = np.lexsort((seconds, trials))
    return np.split(order, np.flatnonzero(np.diff(trials[order])) + 1)


def _average_spans(
    x_sf: Float[np.ndarray, "sample feature"],
    first: Int[np.ndarray, " sample"],
    stop: Int[np.ndarray, " sample"],
) -> Float[np.ndarray, "sample feature"]:
    """Average the rows from `first` to `stop` for each row of one trial."""
    present_sf = ~np.isnan(x_sf)
    count_sf = np.zeros((len(x_sf) + 1, x_sf.shape[1]))
    total_sf = np.zeros_like(count_sf)
    np.cumsum(present_sf, axis=0, out=count_sf[1:])
    np.cumsum(np.where(present_sf, x_sf, 0), axis=0, out=total_sf[1:])
    count_sf = count_sf[stop] - count_sf[first]
    total_sf = total_sf[stop] - total_sf[first]
    return total_sf / np.where(count_sf > 0, count_sf, np.nan)
