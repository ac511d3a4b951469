"""Where predictions are right and wrong: by level, by person and by video."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real

from merps.scores import DIMENSIONS, HIGHEST, LOWEST, finalize, score

# Levels are told apart in bands of 32 points, eight on the scale 1..255.
_BAND = 32
# What rounding makes of a constant on the scale 1..255 stays far below this.
_ROUNDING_VARIANCE = 1e-9


def pearson_added(
    predictions: Real[np.ndarray, "sample 2"],
    constants: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
) -> dict[str, float]:
    """Correlate what predictions add to a constant with what was missing to it.

    The training median of each fold is a constant inside the fold, but not over folds:
    where high ratings are held out it is low, so that pooled over folds it correlates
    negatively with the ratings, and every model that leans on it inherits that. Here
    it is subtracted on both sides, so that it has a correlation of zero itself:

        pearson(prediction - constant, target - constant)

    Parameters
    ----------
    predictions : ndarray, shape (sample, 2)
        Out-of-fold predictions; rounded and clipped here, as `finalize` does.
    constants : ndarray, shape (sample, 2)
        What the constant of the sample's fold is; likewise.
    targets : ndarray, shape (sample, 2)
        What the people said.

    Returns
    -------
    dict of float
        ``pearson_added``, the mean of ``pearson_added_valence`` and
        ``pearson_added_arousal``; 0 where nothing is added.

    Raises
    ------
    InputError
        If a number is NaN or infinite.
    """
    constant = finalize(constants).astype(np.float64)
    added, missing = finalize(predictions) - constant, targets - constant
    values = [
        _pearson(one, other) for one, other in zip(added.T, missing.T, strict=True)
    ]
    found = {"pearson_added": float(np.mean(values))}
    for dimension, value in zip(DIMENSIONS, values, strict=True):
        found[f"pearson_added_{dimension}"] = value
    return found


@dataclass(frozen=True, slots=True)
class Level:
    """What people said where predictions lay in one band of the scale."""

    low: int
    high: int
    count: int
    mean_prediction: float
    mean_target: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How predicted levels of one dimension compare with what people said.

    Parameters
    ----------
    slope, intercept : float
        Of the regression of targets on predictions by least squares; 1 and 0 are
        perfect, a slope below 1 means that predictions are too extreme; NaN where
        predictions are constant.
    bias : float
        Mean of predictions minus targets.
    levels : tuple of Level
        Bands of 32 points from low to high; those without predictions are left out.
    """

    slope: float
    intercept: float
    bias: float
    levels: tuple[Level, ...]


def calibrate(
    predictions: Real[np.ndarray, "sample 2"], targets: Real[np.ndarray, "sample 2"]
) -> dict[str, Calibration]:
    """Compare predicted levels with what people said, pooled over samples.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `merps.scores.score`.

    Returns
    -------
    dict of Calibration
        By dimension, ``valence`` and ``arousal``.

    Raises
    ------
    InputError
        If a prediction is NaN or infinite.
    """
    made = finalize(predictions)
    columns = zip(DIMENSIONS, made.T, targets.T, strict=True)
    return {name: _calibration(p, t) for name, p, t in columns}


@dataclass(frozen=True, slots=True)
class Spread:
    """How an error is spread over people or videos.

    Parameters
    ----------
    errors : dict of float
        Mean absolute error by name, the best first.
    quartiles : tuple of float
        The lower quartile, the median and the upper one of these.
    """

    errors: dict[str, float]
    quartiles: tuple[float, float, float]

    @property
    def worst(self) -> str:
        """Name of the largest error."""
        return list(self.errors)[-1]


def spread_of(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    names: np.ndarray,
) -> Spread:
    """Score each person, or each video, by itself.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `merps.scores.score`.
    names : ndarray of str, shape (sample,)
        The person, or the video, of each sample.

    Returns
    -------
    Spread
        Errors by name, and their quartiles.

    Raises
    ------
    InputError
        If there is no sample, or a number is NaN or infinite.
    """
    errors = {
        str(name): score(predictions[names == name], targets[names == name])["mae"]
        for name in np.unique(names)
    }
    ordered = dict(sorted(errors.items(), key=lambda item: (item[1], item[0])))
    low, middle, high = np.percentile(list(ordered.values()), [25, 50, 75])
    return Spread(ordered, (float(low), float(middle), float(high)))


def _calibration(
    predicted: Real[np.ndarray, " sample"], target: Real[np.ndarray, " sample"]
) -> Calibration:
    """Calibrate one dimension."""
    mean_p, mean_t = predicted.mean(), target.mean()
    variance = np.mean((predicted - mean_p) ** 2)
    slope = np.nan
    if variance > _ROUNDING_VARIANCE:
        slope = np.mean((predicted - mean_p) * (target - mean_t)) / variance
    levels = []
    for low in range(LOWEST, HIGHEST + 1, _BAND):
        high = min(low + _BAND - 1, HIGHEST)
        there = (predicted >= low) & (predicted <= high)
        if there.any():
            means = float(predicted[there].mean()), float(target[there].mean())
            levels.append(Level(low, high, int(there.sum()), *means))
    return Calibration(
        slope=float(slope),
        intercept=float(mean_t - slope * mean_p),
        bias=float(mean_p - mean_t),
        levels=tuple(levels),
    )


def _pearson(
    one: Float64[np.ndarray, " sample"], other: Float64[np.ndarray, " sample"]
) -> float:
    """Correlate two columns; 0 where one is constant."""
    one, other = one - one.mean(), other - other.mean()
    product = np.mean(one**2) * np.mean(other**2)
    if product < _ROUNDING_VARIANCE**2:
        return 0.0
    return float(np.mean(one * other) / np.sqrt(product))
