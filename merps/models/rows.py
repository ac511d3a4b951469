"""What every model asks about the rows of a table of samples."""

import numpy as np
from jaxtyping import Bool, Int
from sklearn.model_selection import GroupKFold

from merps.errors import InputError
from merps.samples import Samples

_ENOUGH = 3
_CROSSED_FOLDS = 3


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
    order = order_of(samples)
    sorted_already = np.array_equal(order, np.arange(len(order)))
    return samples if sorted_already else samples.take(order)


def order_of(samples: Samples) -> Int[np.ndarray, " sample"]:
    """Return what sorts rows by person, stimulus and second.

    Parameters
    ----------
    samples : Samples
        Rows in any order.

    Returns
    -------
    ndarray of int64, shape (sample,)
        Row numbers.
    """
    keys = (samples.seconds, encode(samples.stimuli)[1], encode(samples.people)[1])
    return np.lexsort(keys)


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
    if len(people) >= _ENOUGH:
        return person
    if len(stimuli) > 1:
        return stimulus
    return person if len(people) > 1 else None


def crossed_groups(samples: Samples) -> Int[np.ndarray, "sample ..."] | None:
    """Group what is held out together when a model should work for new stimuli, too.

    A model that is tuned on people who watch known stimuli is rewarded for
    recognizing the stimuli, which is of no use with other ones. With fewer than three
    people or stimuli crossing would leave a single one to learn from, which shows
    nothing of how they differ; then one grouping alone is held out.

    Parameters
    ----------
    samples : Samples
        Training rows.

    Returns
    -------
    ndarray of int64, shape (sample, 2) or (sample,), or None
        Person and stimulus where there are at least three of each, else what
        `inner_groups` gives.
    """
    people, person = encode(samples.people)
    stimuli, stimulus = encode(samples.stimuli)
    if min(len(people), len(stimuli)) >= _ENOUGH:
        return np.stack([person, stimulus], axis=1)
    return inner_groups(samples)


def inner_folds(
    groups: np.ndarray | None, *, n_samples: int, n_folds: int
) -> Int[np.ndarray, "sample ..."]:
    """Assign rows to the folds that penalties are chosen on.

    Two groupings, people and stimuli say, are divided into three folds each, and
    every pair of them is tested on rows that share neither. So each row is tested
    once: fewer pairs, such as those on a diagonal, choose with much more chance. More
    than three folds would leave more than 4/9 of the rows to learn from, but the
    number of fits grows with its square.

    Parameters
    ----------
    groups : ndarray of shape (sample,) or (sample, 2), or None
        Rows of one group stay together; None makes contiguous blocks of rows.
    n_samples, n_folds : int
        Number of rows, and of folds where there are as many groups; of two
        groupings at most three.

    Returns
    -------
    ndarray of int64, shape (sample,) or (sample, 2)
        From 0 without gaps; does not depend on the order of the rows where there
        are groups.

    Raises
    ------
    InputError
        If there are fewer than two folds or two groups.
    """
    if n_folds < 2:
        raise InputError(f"n_folds={n_folds} must be at least 2 to hold a fold out")
    if groups is None:
        return np.arange(n_samples) * min(n_folds, n_samples) // n_samples
    if len(groups) != n_samples:
        raise InputError(f"{len(groups)} groups for {n_samples} rows")
    groupings = groups.reshape(n_samples, -1).T
    if len(groupings) > 2:
        raise InputError(f"{len(groupings)} groupings are too many; give at most two")
    if len(groupings) == 2:
        n_folds = min(n_folds, _CROSSED_FOLDS)
    sizes = [len(np.unique(grouping)) for grouping in groupings]
    if min(sizes) < 2:
        raise InputError("one group cannot be held out of itself; pass groups=None")
    folds = np.empty(groupings.shape, dtype=np.int64)
    for own, grouping, size in zip(folds, groupings, sizes, strict=True):
        splitter = GroupKFold(min(n_folds, size))
        for fold, (_, test) in enumerate(splitter.split(own, groups=grouping)):
            own[test] = fold
    return np.ascontiguousarray(folds.T).reshape(groups.shape)


def divisions(
    folds: Int[np.ndarray, "sample ..."],
) -> list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]:
    """List what each fold learns from and what it is tested on.

    Parameters
    ----------
    folds : ndarray of int64, shape (sample,) or (sample, 2)
        As of `inner_folds`. Of two numbers each pair is a fold of its own: it learns
        from the rows that have neither, and those with one of them take no part.

    Returns
    -------
    list of (ndarray of int64, ndarray of int64)
        Rows to learn from, of which a pair may leave none, and rows to be tested on;
        in the ascending order of the numbers.
    """
    folds = folds.reshape(len(folds), -1)
    return [
        (
            np.flatnonzero((folds != cell).all(axis=1)),
            np.flatnonzero((folds == cell).all(axis=1)),
        )
        for cell in np.unique(folds, axis=0)
    ]


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
