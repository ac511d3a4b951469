"""Whether predictions know which trial they are made for, by permuting trials."""

import numpy as np
from jaxtyping import Float64, Int, Real

from merps.errors import InputError
from merps.evaluation.uncertainty import metrics_of_sums, moment_quantities

# Whether a larger value of a metric is a better one.
_LARGER_IS_BETTER = {"mae": False, "ccc": True, "pearson": True}


def permutation_test(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    people: np.ndarray,
    stimuli: np.ndarray,
    *,
    n_permutations: int,
    seed: int,
) -> dict[str, float]:
    """Test whether predictions fit their own trials better than others of the person.

    The null hypothesis is that, within a person, it does not matter which trial a
    prediction was made for. Nothing is fitted anew: the predicted courses of a person's
    trials are dealt out to the same person's trials at random, and all is scored again,
    pooled over samples. Trials differ in length, so a course of m seconds that meets a
    trial of n seconds is stretched: second t gets what was predicted for second
    floor(t m / n). What a person has as an offset in all trials is in every permutation
    and counts for nothing, and so does a constant. A prediction that knows the stimulus
    passes the test without any signal; under protocols with known stimuli it is no
    evidence of physiology.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `merps.scores.score`; rows of a trial in the order of its seconds.
    people, stimuli : ndarray of str, shape (sample,)
        Whose sample it is, and during which stimulus.
    n_permutations : int
        How often trials are dealt out.
    seed : int
        Decides how.

    Returns
    -------
    dict of float
        One-sided p-values of ``mae``, ``ccc`` and ``pearson``: the share of
        permutations that score at least as well, the predictions as they are counted
        as one of them.

    Raises
    ------
    InputError
        If nobody has two trials, or a number is NaN or infinite.
    """
    if n_permutations < 1:
        raise InputError(f"n_permutations={n_permutations} must be at least 1")
    rows = _rows_of_trials(people, stimuli)
    if all(len(own) < 2 for own in rows):
        raise InputError("nobody has two trials, so that none can be permuted")
    rng = np.random.default_rng(seed)
    total = 0.0
    for own in rows:
        sums_dts = _crossed_sums(predictions, targets, own)
        n_trials = len(own)
        kept = np.arange(n_trials)
        dealt_rt = np.vstack(
            [kept, rng.permuted(np.tile(kept, (n_permutations, 1)), axis=1)]
        )
        total = total + sums_dts[dealt_rt, kept].sum(axis=1)
    metrics = metrics_of_sums(total)
    p_values = {}
    for name, larger in _LARGER_IS_BETTER.items():
        values = metrics[name] if larger else -metrics[name]
        as_good = np.sum(values[1:] >= values[0] - 1e-9)
        p_values[name] = (1 + int(as_good)) / (1 + n_permutations)
    return p_values


def _rows_of_trials(
    people: np.ndarray, stimuli: np.ndarray
) -> list[list[Int[np.ndarray, " _"]]]:
    """Return the rows of each trial, by person."""
    return [
        [
            np.flatnonzero((people == person) & (stimuli == stimulus))
            for stimulus in np.unique(stimuli[people == person])
        ]
        for person in np.unique(people)
    ]


def _crossed_sums(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    trials: list[Int[np.ndarray, " _"]],
) -> Float64[np.ndarray, "dealt trial quantity 2"]:
    """Sum what is scored where each trial of a person gets the course of each."""

    def total(dealt: Int[np.ndarray, " _"], own: Int[np.ndarray, " _"]) -> np.ndarray:
        course = predictions[dealt[np.arange(len(own)) * len(dealt) // len(own)]]
        return moment_quantities(course, targets[own]).sum(axis=1)

    return np.array([[total(dealt, own) for own in trials] for dealt in trials])
