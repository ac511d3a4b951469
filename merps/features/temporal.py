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
    This is an offline estimate, which looks half its width ahead.

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
    if not width_s >= 0:
        raise InputError(f"width_s must not be negative, got {width_s:g}")
    order = np.lexsort((seconds, trials))
    borders = np.flatnonzero(np.diff(trials[order])) + 1
    smooth = np.empty(values.shape, dtype=values.dtype)
    for rows in np.split(order, borders):
        smooth[rows] = _average_near(values[rows], seconds[rows], width_s / 2)
    return smooth


def _average_near(
    x_sf: Float[np.ndarray, "sample feature"],
    seconds: Int[np.ndarray, " sample"],
    reach_s: float,
) -> Float[np.ndarray, "sample feature"]:
    """Average the rows within reach of each row of one trial, sorted by second."""
    first = np.searchsorted(seconds, seconds - reach_s, side="left")
    stop = np.searchsorted(seconds, seconds + reach_s, side="right")
    present_sf = ~np.isnan(x_sf)
    count_sf = np.zeros((len(x_sf) + 1, x_sf.shape[1]))
    total_sf = np.zeros_like(count_sf)
    np.cumsum(present_sf, axis=0, out=count_sf[1:])
    np.cumsum(np.where(present_sf, x_sf, 0), axis=0, out=total_sf[1:])
    count_sf = count_sf[stop] - count_sf[first]
    total_sf = total_sf[stop] - total_sf[first]
    return total_sf / np.where(count_sf > 0, count_sf, np.nan)
