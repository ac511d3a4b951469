"""How sure the scores are: intervals by resampling people, not seconds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Real

from merps.errors import InputError
from merps.scores import finalize, metrics_of_moments, score

_CENTER = 128.0  # sums around the middle of the scale lose no digits
_PERCENT = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the 2.5th and 97.5th percentile of its bootstrap replicates."""

    value: float
    low: float
    high: float


def bootstrap_people(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    people: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Estimate 95 % percentile intervals of every metric of `score`.

    People are drawn with replacement, each with all of their samples; seconds of one
    person are far from independent.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `merps.scores.score`.
    people : ndarray of str, shape (sample,)
        Whose sample it is.
    n_resamples : int
        Number of bootstrap replicates.
    seed : int
        Decides the draws.

    Returns
    -------
    dict of Interval
        By the names of `score`; ``value`` is that of `score`.

    Raises
    ------
    InputError
        If there are fewer than two people, or a number is NaN or infinite.
    """
    value = score(predictions, targets)
    p, t = finalize(predictions) - _CENTER, targets - _CENTER
    sums_ps2 = _sums_by_person(
        [np.ones_like(p), np.abs(p - t), (p - t) ** 2, p, t, p * p, t * t, p * t],
        people,
    )
    draws_rp = _draws(len(sums_ps2), n_resamples, seed)
    n_people, n_sums, _ = sums_ps2.shape
    drawn = (draws_rp @ sums_ps2.reshape(n_people, -1)).reshape(-1, n_sums, 2)
    count, absolute, square, p, t, pp, tt, pt = np.moveaxis(drawn, 1, 0)
    p, t = p / count, t / count
    replicates = metrics_of_moments(
        {
            "absolute": absolute / count,
            "square": square / count,
            "variance_p": pp / count - p * p,
            "variance_t": tt / count - t * t,
            "covariance": pt / count - p * t,
            "shift": p - t,
        }
    )
    return {name: _interval(value[name], replicates[name]) for name in value}


def paired_difference(
    predictions: Real[np.ndarray, "sample 2"],
    reference: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    people: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Estimate by how much the absolute error of two sets of predictions differs.

    Parameters
    ----------
    predictions, reference : ndarray, shape (sample, 2)
        Two predictions of the same samples.
    targets : ndarray, shape (sample, 2)
        What the people said.
    people : ndarray of str, shape (sample,)
        Whose sample it is.
    n_resamples : int
        Number of bootstrap replicates.
    seed : int
        Decides the draws.

    Returns
    -------
    dict of Interval
        ``mae``, ``mae_valence`` and ``mae_arousal`` of `predictions` minus those of
        `reference`; below zero `predictions` are better.

    Raises
    ------
    InputError
        If there are fewer than two people, or a number is NaN or infinite.
    """
    first, second = score(predictions, targets), score(reference, targets)
    error = np.abs(finalize(predictions) - targets)
    error = error - np.abs(finalize(reference) - targets)
    sums_ps2 = _sums_by_person([np.ones_like(error), error], people)
    draws_rp = _draws(len(sums_ps2), n_resamples, seed)
    count, total = np.einsum("rp,psk->srk", draws_rp, sums_ps2)
    valence, arousal = (total / count).T
    replicates = {
        "mae": (valence + arousal) / 2,
        "mae_valence": valence,
        "mae_arousal": arousal,
    }
    return {
        name: _interval(first[name] - second[name], values)
        for name, values in replicates.items()
    }


def _sums_by_person(
    quantities: list[Float64[np.ndarray, "sample 2"]], people: np.ndarray
) -> Float64[np.ndarray, "person quantity 2"]:
    """Sum each quantity over the samples of each person."""
    names, codes = np.unique(people, return_inverse=True)
    if len(names) < 2:
        raise InputError(
            "one person has no spread between people; intervals need at least two"
        )
    columns = [
        [np.bincount(codes, weights=column) for column in quantity.T]
        for quantity in quantities
    ]
    return np.array(columns).transpose(2, 0, 1)


def _draws(
    n_people: int, n_resamples: int, seed: int
) -> Int[np.ndarray, "draw person"]:
    """Count how often each person is drawn in each replicate."""
    if n_resamples < 1:
        raise InputError(f"n_resamples={n_resamples} must be at least 1")
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_people, np.full(n_people, 1 / n_people), size=n_resamples)


def _interval(value: float, replicates: Float64[np.ndarray, " draw"]) -> Interval:
    """Take the central 95 % of the replicates."""
    low, high = np.percentile(replicates, _PERCENT)
    return Interval(float(value), float(low), float(high))
