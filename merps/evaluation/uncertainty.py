"""How sure scores are: intervals by resampling people and videos, not seconds."""

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


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """A difference with its interval and the two-sided p-value that it is zero."""

    p: float


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
    sums_ps2 = _sums_by_person(moment_quantities(predictions, targets), people)
    draws_rp = draw_groups(len(sums_ps2), n_resamples, np.random.default_rng(seed))
    n_people, n_sums, _ = sums_ps2.shape
    drawn = (draws_rp @ sums_ps2.reshape(n_people, -1)).reshape(-1, n_sums, 2)
    replicates = metrics_of_sums(drawn)
    return {name: interval_of(value[name], replicates[name]) for name in value}


def compare_models(
    predictions: Real[np.ndarray, "sample 2"],
    reference: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    people: np.ndarray,
    stimuli: np.ndarray,
    *,
    n_resamples: int,
    seed: int,
) -> dict[str, Difference]:
    """Estimate by how much two sets of predictions differ, for other people and videos.

    People and stimuli are drawn with replacement, independently of each other, and a
    sample counts as often as its person times as often as its stimulus was drawn. Both
    sets are scored on the same draws. With fewer than about ten people or videos the
    intervals are too narrow. With d* the differences of the draws, the p-value is

        2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (1 + draws), at most 1,

    so that it falls below 0.05 about where the interval leaves zero out.

    Parameters
    ----------
    predictions, reference : ndarray, shape (sample, 2)
        Two predictions of the same samples.
    targets : ndarray, shape (sample, 2)
        What the people said.
    people, stimuli : ndarray of str, shape (sample,)
        Whose sample it is, and during which stimulus.
    n_resamples : int
        Number of bootstrap replicates; those that draw no sample at all, as can be
        where people saw different stimuli, are left out.
    seed : int
        Decides the draws.

    Returns
    -------
    dict of Difference
        By the names of `score`: that of `predictions` minus that of `reference`.

    Raises
    ------
    InputError
        If there are fewer than two people or stimuli, or a number is NaN or infinite.

    References
    ----------
    A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007.
    """
    first, second = score(predictions, targets), score(reference, targets)
    n_stimuli, columns = _encode(stimuli, "stimulus", "stimuli")
    n_people, rows = _encode(people, "person", "people")
    rng = np.random.default_rng(seed)
    draws_rp = draw_groups(n_people, n_resamples, rng)
    draws_rv = draw_groups(n_stimuli, n_resamples, rng)

    def replicate(
        made: Real[np.ndarray, "sample 2"],
    ) -> dict[str, Float64[np.ndarray, " draw"]]:
        cells = rows * n_stimuli + columns
        sums = _sums(moment_quantities(made, targets), cells, n_people * n_stimuli)
        by_stimulus = (draws_rp @ sums.reshape(n_people, -1)).reshape(
            len(draws_rp), n_stimuli, -1
        )
        drawn = np.einsum("rv,rvs->rs", draws_rv, by_stimulus)
        drawn = drawn.reshape(len(draws_rp), -1, 2)
        return metrics_of_sums(drawn[drawn[:, 0, 0] > 0])

    ours, theirs = replicate(predictions), replicate(reference)
    return {
        name: _difference(first[name] - second[name], ours[name] - theirs[name])
        for name in first
    }


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
    sums_ps2 = _sums_by_person(np.stack([np.ones_like(error), error]), people)
    draws_rp = draw_groups(len(sums_ps2), n_resamples, np.random.default_rng(seed))
    count, total = np.einsum("rp,psk->srk", draws_rp, sums_ps2)
    valence, arousal = (total / count).T
    replicates = {
        "mae": (valence + arousal) / 2,
        "mae_valence": valence,
        "mae_arousal": arousal,
    }
    return {
        name: interval_of(first[name] - second[name], values)
        for name, values in replicates.items()
    }


def moment_quantities(
    predictions: Real[np.ndarray, "sample 2"], targets: Real[np.ndarray, "sample 2"]
) -> Float64[np.ndarray, "quantity sample 2"]:
    """Return what is summed over samples to score them.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `merps.scores.score`.

    Returns
    -------
    ndarray of float64, shape (8, sample, 2)
        For `metrics_of_sums`; the first is one for each sample.

    Raises
    ------
    InputError
        If a prediction is NaN or infinite.
    """
    p, t = finalize(predictions) - _CENTER, targets - _CENTER
    one = np.ones_like(p)
    return np.stack([one, np.abs(p - t), (p - t) ** 2, p, t, p * p, t * t, p * t])


def metrics_of_sums(
    sums: Float64[np.ndarray, "group quantity 2"],
) -> dict[str, Float64[np.ndarray, " group"]]:
    """Turn sums over samples into the metrics of `merps.scores.score`.

    Parameters
    ----------
    sums : ndarray of float64, shape (group, 8, 2)
        Of `moment_quantities`, over the samples of each group.

    Returns
    -------
    dict of ndarray of float64, shape (group,)
        One entry per metric.
    """
    count, absolute, square, p, t, pp, tt, pt = np.moveaxis(sums, 1, 0)
    p, t = p / count, t / count
    return metrics_of_moments(
        {
            "absolute": absolute / count,
            "square": square / count,
            "variance_p": pp / count - p * p,
            "variance_t": tt / count - t * t,
            "covariance": pt / count - p * t,
            "shift": p - t,
        }
    )


def draw_groups(
    n_groups: int, n_resamples: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw group"]:
    """Count how often each group is drawn in each replicate of a bootstrap.

    Parameters
    ----------
    n_groups, n_resamples : int
        Groups, which are drawn with replacement, and replicates.
    rng : numpy.random.Generator
        Decides the draws.

    Returns
    -------
    ndarray of int64, shape (draw, group)
        Each row sums to the number of groups.

    Raises
    ------
    InputError
        If there is no replicate.
    """
    if n_resamples < 1:
        raise InputError(f"n_resamples={n_resamples} must be at least 1")
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)


def interval_of(value: float, replicates: Float64[np.ndarray, " draw"]) -> Interval:
    """Take the central 95 % of bootstrap replicates.

    Parameters
    ----------
    value : float
        Of all groups, each once.
    replicates : ndarray of float64, shape (draw,)
        The same of drawn groups.

    Returns
    -------
    Interval
        The value between the 2.5th and the 97.5th percentile of the replicates.
    """
    low, high = np.percentile(replicates, _PERCENT)
    return Interval(float(value), float(low), float(high))


def _encode(
    names: np.ndarray, one: str, many: str
) -> tuple[int, Int[np.ndarray, " sample"]]:
    """Give each name a number, and refuse to resample a single one."""
    found, codes = np.unique(names, return_inverse=True)
    if len(found) < 2:
        raise InputError(
            f"one {one} has no spread between {many}; intervals need at least two"
        )
    return len(found), codes


def _sums(
    quantities: Float64[np.ndarray, "quantity sample 2"],
    groups: Int[np.ndarray, " sample"],
    n_groups: int,
) -> Float64[np.ndarray, "group quantity 2"]:
    """Sum each quantity over the samples of each group."""
    columns = [
        [np.bincount(groups, weights=column, minlength=n_groups) for column in q.T]
        for q in quantities
    ]
    return np.array(columns).transpose(2, 0, 1)


def _sums_by_person(
    quantities: Float64[np.ndarray, "quantity sample 2"], people: np.ndarray
) -> Float64[np.ndarray, "person quantity 2"]:
    """Sum each quantity over the samples of each person."""
    n_people, codes = _encode(people, "person", "people")
    return _sums(quantities, codes, n_people)


def _difference(value: float, replicates: Float64[np.ndarray, " draw"]) -> Difference:
    """Take the central 95 % of the replicates, and how many lie beyond zero."""
    rarer = min(np.sum(replicates <= 0), np.sum(replicates >= 0))
    p = min(1.0, 2 * (1 + int(rarer)) / (1 + len(replicates)))
    interval = interval_of(value, replicates)
    return Difference(interval.value, interval.low, interval.high, p)
