"""The challenge's score and its companions, on rounded and clipped predictions."""

import numpy as np
from jaxtyping import Float64, Int, Real

from merps.errors import InputError

DIMENSIONS = ("valence", "arousal")
LOWEST, HIGHEST = 1, 255

# What rounding makes of a constant on the scale 1..255 stays far below this.
_ROUNDING_VARIANCE = 1e-9


def finalize(
    predictions: Real[np.ndarray, "sample 2"],
) -> Int[np.ndarray, "sample 2"]:
    """Round to integers, half to even, and clip to 1..255.

    Parameters
    ----------
    predictions : ndarray, shape (sample, 2)
        Valence and arousal; every number must be finite.

    Returns
    -------
    ndarray of int64, shape (sample, 2)
        What ``predictions.csv`` holds and what is scored.

    Raises
    ------
    InputError
        If a number is NaN or infinite.
    """
    _require_finite("predictions", predictions)
    return np.clip(np.rint(predictions), LOWEST, HIGHEST).astype(np.int64)


def score(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
) -> dict[str, float]:
    """Score predictions by the official rule, pooled over samples.

    The main score ``mae`` is the mean over samples of (abs(dV) + abs(dA)) / 2.
    The concordance correlation ``ccc`` uses population variances; it and
    ``pearson`` are the mean of the two dimensions, and 0 where predictions or
    targets are constant.

    Parameters
    ----------
    predictions : ndarray, shape (sample, 2)
        Valence and arousal; rounded and clipped here, as `finalize` does.
    targets : ndarray, shape (sample, 2)
        What the people said, scale 1..255.

    Returns
    -------
    dict of float
        ``mae``, ``mse``, ``rmse``, ``ccc``, ``pearson``; of mae, ccc and pearson also
        ``_valence`` and ``_arousal``.

    Raises
    ------
    InputError
        If there is no sample, or a number is NaN or infinite.

    References
    ----------
    L. I. Lin, A concordance correlation coefficient to evaluate reproducibility,
    Biometrics 45, 1989.
    """
    whole = np.zeros(len(targets), dtype=np.int64)
    metrics = _scores_of_groups(predictions, targets, whole)
    return {name: float(value[0]) for name, value in metrics.items()}


def per_trial(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    trials: Int[np.ndarray, " sample"],
) -> dict[str, float]:
    """Score each trial by itself and return the mean over trials.

    Parameters
    ----------
    predictions, targets : ndarray, shape (sample, 2)
        As for `score`.
    trials : ndarray of int, shape (sample,)
        Number of the trial of each sample; any integers.

    Returns
    -------
    dict of float
        The names of `score`.

    Raises
    ------
    InputError
        If there is no sample, or a number is NaN or infinite.
    """
    groups = np.unique(trials, return_inverse=True)[1]
    metrics = _scores_of_groups(predictions, targets, groups)
    return {name: float(value.mean()) for name, value in metrics.items()}


def metrics_of_moments(
    moments: dict[str, Float64[np.ndarray, "group 2"]],
) -> dict[str, Float64[np.ndarray, " group"]]:
    """Turn moments of groups of samples into the metrics of `score`.

    Parameters
    ----------
    moments : dict of ndarray of float64, shape (group, 2)
        Means over a group's samples: ``absolute`` and ``square`` of the error;
        ``variance_p``, ``variance_t`` and ``covariance`` of predictions and targets
        (population); ``shift``, the difference of their means.

    Returns
    -------
    dict of ndarray of float64, shape (group,)
        One entry per metric.
    """
    variance_p, variance_t = moments["variance_p"], moments["variance_t"]
    covariance = moments["covariance"]
    varies = (variance_p > _ROUNDING_VARIANCE) & (variance_t > _ROUNDING_VARIANCE)
    spread = np.where(varies, variance_p + variance_t + moments["shift"] ** 2, 1.0)
    product = np.where(varies, variance_p * variance_t, 1.0)
    by_dimension = {
        "mae": moments["absolute"],
        "ccc": np.where(varies, 2 * covariance / spread, 0.0),
        "pearson": np.where(varies, covariance / np.sqrt(product), 0.0),
    }
    mse = moments["square"].mean(axis=1)
    metrics = {"mse": mse, "rmse": np.sqrt(mse)}
    for name, values in by_dimension.items():
        metrics[name] = values.mean(axis=1)
        for column, dimension in enumerate(DIMENSIONS):
            metrics[f"{name}_{dimension}"] = values[:, column]
    return metrics


def _scores_of_groups(
    predictions: Real[np.ndarray, "sample 2"],
    targets: Real[np.ndarray, "sample 2"],
    groups: Int[np.ndarray, " sample"],
) -> dict[str, Float64[np.ndarray, " group"]]:
    """Score each group of samples; groups are numbered from 0 without gaps."""
    if len(targets) == 0:
        raise InputError("there is no sample to score")
    _require_finite("targets", targets)
    predicted = finalize(predictions).astype(np.float64)
    counts = np.bincount(groups)[:, None]

    def mean(values: Float64[np.ndarray, "sample 2"]) -> Float64[np.ndarray, "group 2"]:
        return (
            np.stack([np.bincount(groups, column) for column in values.T], 1) / counts
        )

    mean_p, mean_t = mean(predicted), mean(targets.astype(np.float64))
    around_p, around_t = predicted - mean_p[groups], targets - mean_t[groups]
    error = predicted - targets
    return metrics_of_moments(
        {
            "absolute": mean(np.abs(error)),
            "square": mean(error**2),
            "variance_p": mean(around_p**2),
            "variance_t": mean(around_t**2),
            "covariance": mean(around_p * around_t),
            "shift": mean_p - mean_t,
        }
    )


def _require_finite(name: str, values: Real[np.ndarray, "sample 2"]) -> None:
    """Refuse NaN and infinity, telling how many rows hold them."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise InputError(
            f"{name}: {bad.sum()} of {len(values)} rows are not finite, the first is "
            f"row {bad.argmax()}; leave such rows out before scoring"
        )
