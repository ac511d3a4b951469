"""How much of several models to add to a prior, and nothing that chance explains."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import stdtrit

from merps.scores import HIGHEST, LOWEST

_FEWEST_GROUPS = 3
_LEAST_STEP = 1e-3  # of the error of the prior: what lessens it by less is not worth it


class Choice(NamedTuple):
    """What is added to a prior, and what that was good for on rows held out.

    Parameters
    ----------
    gains : ndarray of float64, shape (model,)
        How much of each model; all zero where the prior alone answers.
    place : int
        Which smoothing.
    mae, prior_mae : float
        Absolute error as chosen and of the prior.
    """

    gains: Float64[np.ndarray, " model"]
    place: int
    mae: float
    prior_mae: float


def choose_gains(
    prior: Float64[np.ndarray, " sample"],
    course: Float64[np.ndarray, " sample"],
    added: Float64[np.ndarray, "width model sample"],
    target: Float64[np.ndarray, " sample"],
    groups: Int[np.ndarray, " sample"],
    *,
    gains: Sequence[float],
    confidence: float,
) -> Choice:
    """Choose how much of each model to add to a prior, by the absolute error.

    From nothing, the one gain is changed that lessens the error most, among all models
    and `gains`, until no change lessens it by a thousandth; so what a second model
    adds is only what the first does not know. The width with the smallest error wins.
    All of it is then held against nothing: unless the improvement passes a one-sided
    t-test over groups, nothing is added, since the best of many gains
    looks better by chance alone.

    All that is done around the course that other people have rated. Of a new stimulus
    that course will not be known, and the prior is a constant; yet ratings then differ
    from the prior mostly by what all people share, which is as large as it is alien to
    what one person's signals say, and of 15 stimuli it hides all but the strongest
    effects. What survives must lessen the mean error around the prior as well.

    Parameters
    ----------
    prior, course : ndarray of float64, shape (sample,)
        What the prior says of rows held out, and what other people have rated; the
        same for known stimuli.
    added : ndarray of float64, shape (width, model, sample)
        What each model, smoothed by each width, adds.
    target : ndarray of float64, shape (sample,)
        The ratings.
    groups : ndarray of int, shape (sample,)
        Numbers from 0 of the person of each row, or of what else is independent.
    gains : sequence of float
        Ascending, the first is zero.
    confidence : float
        Of the one-sided t-test over groups, such as 0.99.

    Returns
    -------
    Choice
        The gains.
    """
    found = [_descend(course, own, target, gains) for own in added]
    place = int(np.argmin([error for _, error in found]))
    chosen = found[place][0]
    total = chosen @ added[place]
    better = np.abs(course - target) - np.abs(fused(course, total) - target)
    prior_mae = float(np.abs(prior - target).mean())
    mae = float(np.abs(fused(prior, total) - target).mean())
    if not (_surely_positive(better, groups, confidence) and mae < prior_mae):
        return Choice(np.zeros_like(chosen), place, prior_mae, prior_mae)
    return Choice(chosen, place, mae, prior_mae)


def fused(
    prior: Float64[np.ndarray, "*shape"], added: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Add to a prior, and stay on the scale.

    Parameters
    ----------
    prior, added : ndarray of float64, any shape
        Ratings from 1 to 255, and by how much to move them.

    Returns
    -------
    ndarray of float64, of that shape
        From 1 to 255.
    """
    return np.clip(prior + added, LOWEST, HIGHEST)


def _descend(
    course: Float64[np.ndarray, " sample"],
    added: Float64[np.ndarray, "model sample"],
    target: Float64[np.ndarray, " sample"],
    gains: Sequence[float],
) -> tuple[Float64[np.ndarray, " model"], float]:
    """Change one gain at a time for as long as that lessens the error."""
    chosen = np.zeros(len(added))
    error = float(np.abs(course - target).mean())
    step = _LEAST_STEP * error
    while True:
        best, least = None, error - step
        for model, own in enumerate(added):
            others = chosen @ added - chosen[model] * own
            for gain in gains:
                moved = fused(course, others + gain * own)
                moved_error = float(np.abs(moved - target).mean())
                if moved_error < least:
                    best, least = (model, gain), moved_error
        if best is None:
            return chosen, error
        chosen[best[0]], error = best[1], least


def _surely_positive(
    better: Float64[np.ndarray, " sample"],
    groups: Int[np.ndarray, " sample"],
    confidence: float,
) -> bool:
    """Tell whether the mean over groups of an improvement passes a t-test."""
    counts = np.bincount(groups)
    there = counts > 0
    if there.sum() < _FEWEST_GROUPS:
        return False
    mean_g = np.bincount(groups, weights=better)[there] / counts[there]
    standard_error = mean_g.std(ddof=1) / np.sqrt(len(mean_g))
    needed = stdtrit(len(mean_g) - 1, confidence) * standard_error
    return bool(mean_g.mean() > needed)
