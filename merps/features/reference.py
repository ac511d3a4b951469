"""Features of one person relative to that person's own rest, or own whole session."""

import numpy as np
from jaxtyping import Float, Float64, Shaped

from merps.errors import InputError


def subtract_rest(
    features: Float[np.ndarray, "sample feature"],
    rest: Float[np.ndarray, "rest feature"],
) -> Float[np.ndarray, "sample feature"]:
    """Subtract the mean of a person's rest from that person's features.

    Uses no labels and nothing of other people; what it takes from the person was
    recorded before the stimulus.

    Parameters
    ----------
    features : ndarray of float, shape (sample, feature)
        Rows of one person, or of one trial; NaN means missing.
    rest : ndarray of float, shape (rest, feature)
        The same features of windows at rest; NaN means missing.

    Returns
    -------
    ndarray of float, shape (sample, feature)
        Unit and dtype of `features`; NaN in columns that rest never saw.

    Raises
    ------
    InputError
        If there is no row of rest.
    """
    if len(rest) == 0:
        raise InputError("rest has no rows; leave the reference out for this person")
    return (features - _present_mean(rest)).astype(features.dtype)


def standardize_within_person(
    features: Float[np.ndarray, "sample feature"],
    people: Shaped[np.ndarray, " sample"],
) -> Float[np.ndarray, "sample feature"]:
    """Scale each person's columns to mean 0 and standard deviation 1.

    Transductive: mean and deviation of a person come from all of that person's rows,
    test rows included, without labels. A result that used it must say so, and it
    cannot run while a recording still goes on.

    Parameters
    ----------
    features : ndarray of float, shape (sample, feature)
        NaN means missing, and takes no part in means and deviations.
    people : ndarray, shape (sample,)
        Who each row belongs to.

    Returns
    -------
    ndarray of float, shape (sample, feature)
        Without unit, in the dtype of `features`; NaN where they are NaN, 0 where a
        column does not change within a person. Population deviation.
    """
    scaled = np.empty(features.shape, dtype=features.dtype)
    names, person = np.unique(people, return_inverse=True)
    for number in range(len(names)):
        rows = np.flatnonzero(person == number)
        x_sf = features[rows].astype(np.float64)
        constant_f = np.fmax.reduce(x_sf) == np.fmin.reduce(x_sf)
        x_sf -= _present_mean(x_sf)
        deviation_f = np.sqrt(_present_mean(x_sf**2))
        x_sf[:, constant_f] *= 0  # NaN stays NaN
        scaled[rows] = x_sf / np.where(constant_f, 1, deviation_f)
    return scaled


def _present_mean(
    x_sf: Float[np.ndarray, "sample feature"],
) -> Float64[np.ndarray, " feature"]:
    """Return the mean of what is present in each column; NaN where nothing is."""
    count_f = np.count_nonzero(~np.isnan(x_sf), axis=0)
    total_f = np.nansum(x_sf, axis=0, dtype=np.float64)
    return total_f / np.where(count_f > 0, count_f, np.nan)
