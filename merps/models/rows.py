"""What every model asks about the rows of a table of samples."""

import numpy as np
from jaxtyping import Bool, Int

from merps.errors import InputError
from merps.samples import Samples

_ENOUGH_PEOPLE = 3


def labeled(samples: Samples) -> Samples:
    """Keep the rows whose labels are both there.

    Parameters
    ----------
    samples : Samples
        Rows with targets; NaN marks a missing label.

    Returns
    -------
    Samples
        The same table where nothing is missing.

    Raises
    ------
    InputError
        If there are no targets or all are missing.
    """
    there = np.isfinite(samples.require_targets()).all(axis=1)
    if not there.any():
        raise InputError("no row has labels to learn from")
    return samples if there.all() else samples.take(np.flatnonzero(there))


def in_order(samples: Samples) -> Samples:
    """Sort rows by person, stimulus and second, so that sums do not depend on order.

    Parameters
    ----------
    samples : Samples
        Rows in any order.

    Returns
    -------
    Samples
        The same table where it is sorted already.
    """
    keys = (samples.seconds, encode(samples.stimuli)[1], encode(samples.people)[1])
    order = np.lexsort(keys)
    sorted_already = np.array_equal(order, np.arange(len(order)))
    return samples if sorted_already else samples.take(order)


def inner_groups(samples: Samples) -> Int[np.ndarray, " sample"] | None:
    """Group what is held out together when a model is tuned on its training rows.

    Parameters
    ----------
    samples : Samples
        Training rows.

    Returns
    -------
    ndarray of int64, shape (sample,), or None
        The person where there are at least three people, else the stimulus, else
        the person; None where there is one of each.
    """
    people, person = encode(samples.people)
    stimuli, stimulus = encode(samples.stimuli)
    if len(people) >= _ENOUGH_PEOPLE:
        return person
    if len(stimuli) > 1:
        return stimulus
    return person if len(people) > 1 else None


def has_features(samples: Samples) -> Bool[np.ndarray, " sample"]:
    """Mark the rows that have at least one feature.

    Parameters
    ----------
    samples : Samples
        Rows with at least one feature column.

    Returns
    -------
    ndarray of bool, shape (sample,)
        False where all features are NaN.

    Raises
    ------
    InputError
        If there are no feature columns, or a feature is infinite.
    """
    if not samples.feature_names:
        raise InputError(
            "these samples have no features; compute some, or choose a model without "
            "signals: constant, video or video_time"
        )
    infinite = np.isinf(samples.features).any(axis=0)
    if infinite.any():
        raise InputError(
            f"feature {samples.feature_names[infinite.argmax()]} is infinite in some "
            "rows; mark missing features with NaN"
        )
    return ~np.isnan(samples.features).all(axis=1)


def require_same_features(samples: Samples, names: tuple[str, ...]) -> None:
    """Refuse rows whose features are not those of the training rows.

    Parameters
    ----------
    samples : Samples
        Rows to predict.
    names : tuple of str
        Columns of the training rows.

    Raises
    ------
    InputError
        If a column is missing, new or in another place.
    """
    if samples.feature_names == names:
        return
    odd = sorted(set(samples.feature_names) ^ set(names))
    which = f"{odd[0]!r} is only in one of them" if odd else "their order differs"
    raise InputError(
        f"{len(samples.feature_names)} features to predict from, {len(names)} fitted "
        f"on: {which}; compute both with the same configuration"
    )


def encode(names: np.ndarray) -> tuple[tuple[str, ...], Int[np.ndarray, " sample"]]:
    """Replace names by their place in ascending order.

    Parameters
    ----------
    names : ndarray of str, shape (sample,)
        Fastest where equal names follow each other.

    Returns
    -------
    tuple of str
        The distinct names, ascending.
    ndarray of int64, shape (sample,)
        Which of them each row has.
    """
    heads = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    distinct, codes = np.unique(names[heads], return_inverse=True)
    lengths = np.diff(heads, append=len(names))
    return tuple(distinct.tolist()), np.repeat(codes, lengths)
