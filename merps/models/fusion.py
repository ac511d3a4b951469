"""What signals add to the video-time prior, as far as held-out people confirm it."""

import logging
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import stdtrit
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.priors import VideoTimePrior
from merps.models.regression import ALPHAS
from merps.models.ridge_path import (
    RidgePath,
    column_moments,
    linear_predictions,
    standardize,
)
from merps.models.rows import (
    has_features,
    in_order,
    inner_folds,
    inner_groups,
    labeled,
    require_same_features,
)
from merps.samples import Samples
from merps.scores import HIGHEST, LOWEST
from merps.shapes import SampleTargets

logger = logging.getLogger(__name__)

GAINS = tuple(tenth / 10 for tenth in range(13))
_CONFIDENCE = 0.99
_FEWEST_GROUPS = 3
_MOST_RESIDUAL_BLOCKS = 24


class ResidualFusion(BaseEstimator):
    """Add to a video-time prior a shrunken ridge regression of what it leaves over.

    The prediction of each dimension is

        clip(prior + gain * z w, 1, 255)

    with standardized features z (missing: 0), slopes w of a ridge regression on the
    prior's residuals, and a gain that may be zero. A row without features is the
    prior.

    Groups are people where there are at least three, else stimuli. The residuals
    that are regressed on are cross-fitted: each group's prior comes from the other
    groups. Penalty and gain are chosen on inner folds of groups; there, prior and
    residuals are made anew without the held-out groups. The chosen pair has the
    smallest absolute error; a gain above zero is kept only if its improvement over
    the prior passes a one-sided t-test over groups at the 1 % level, since the best of
    many pairs looks better than the prior by chance alone. With people as groups all
    of this is decided on known stimuli; for a stimulus that training has not seen, the
    prior is the training median, and the same slopes and gains are added to that.

    Parameters
    ----------
    smoothing_s : int
        Passed to `VideoTimePrior`.
    alphas : sequence of float
        Penalties to choose from, as of `RidgeRegressor`.
    gains : sequence of float
        Gains to choose from; zero always is.
    n_folds : int
        Number of inner folds; fewer where there are fewer groups.

    Attributes
    ----------
    prior_ : VideoTimePrior
        Fitted on all training rows.
    mean_, scale_ : ndarray of float64, shape (feature,)
        What columns are standardized by.
    coef_ : ndarray of float64, shape (2, feature)
        Slopes per standardized column.
    gain_, alpha_ : ndarray of float64, shape (2,)
        The chosen pair of each dimension.
    inner_mae_, prior_inner_mae_ : ndarray of float64, shape (2,)
        Absolute error on the inner folds, meaned over groups, of the fusion as
        chosen and of the prior; NaN where there were too few groups to choose on.
    feature_names_ : tuple of str
        Columns of the training rows.
    """

    contains: ClassVar[str] = "regression weights and moments of the training features"

    prior_: VideoTimePrior
    mean_: Float64[np.ndarray, " feature"]
    scale_: Float64[np.ndarray, " feature"]
    coef_: Float64[np.ndarray, "2 feature"]
    gain_: Float64[np.ndarray, "2"]
    alpha_: Float64[np.ndarray, "2"]
    inner_mae_: Float64[np.ndarray, "2"]
    prior_inner_mae_: Float64[np.ndarray, "2"]
    feature_names_: tuple[str, ...]

    def __init__(self, smoothing_s=7, alphas=ALPHAS, gains=GAINS, n_folds=5):
        self.smoothing_s = smoothing_s
        self.alphas = alphas
        self.gains = gains
        self.n_folds = n_folds

    def fit(self, samples: Samples) -> "ResidualFusion":
        """Learn prior, residual slopes and gains.

        Parameters
        ----------
        samples : Samples
            Training rows with targets; those with a missing label are passed over.

        Returns
        -------
        ResidualFusion
            This estimator.

        Raises
        ------
        InputError
            If there are no labels or no feature columns, a feature is infinite, a
            gain is negative, or there are fewer than 3 folds.
        """
        gains = np.unique([0.0, *self.gains])
        if gains[0] < 0:
            raise InputError(f"gains must not be negative, got {gains[0]:g}")
        if self.n_folds < _FEWEST_GROUPS:
            raise InputError(
                f"n_folds must be at least {_FEWEST_GROUPS}, got {self.n_folds}: the "
                "prior is cross-fitted inside what an inner fold leaves over"
            )
        samples = in_order(labeled(samples))
        has_features(samples)
        self.feature_names_ = samples.feature_names
        labels = _without_features(samples)
        self.prior_ = VideoTimePrior(self.smoothing_s).fit(labels)
        self.mean_, self.scale_ = column_moments(samples.features)
        groups = inner_groups(samples)
        if groups is None or groups.max() + 1 < _FEWEST_GROUPS:
            logger.warning("too few people and stimuli to fit a gain; it stays zero")
            self._set_to_prior()
            return self
        folds = inner_folds(groups, n_samples=len(samples), n_folds=self.n_folds)
        z = standardize(samples.features, self.mean_, self.scale_)
        path = RidgePath(z, folds, self.alphas)
        prior, added = self._held_out(path, labels, groups)
        residuals = self._cross_fitted_residuals(labels, groups)
        slopes, _ = path.slopes(residuals, held_out=None)
        chosen = [
            _choose(prior[:, k], added[:, :, k], labels.targets[:, k], groups, gains)
            for k in range(2)
        ]
        place, gain, error, prior_error = map(np.array, zip(*chosen, strict=True))
        self.gain_, self.alpha_ = gain, path.alphas[place]
        self.inner_mae_, self.prior_inner_mae_ = error, prior_error
        best = np.stack([slopes[place[k], :, k] for k in range(2)], axis=1)
        self.coef_ = np.ascontiguousarray(path.rotate_back(best).T)
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its stimulus, its second and its features.

        Parameters
        ----------
        samples : Samples
            Rows with the features that were fitted on.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.

        Raises
        ------
        InputError
            If the features are not those of the training rows.
        """
        check_is_fitted(self)
        require_same_features(samples, self.feature_names_)
        predicted = self.prior_.predict(samples)
        there = np.flatnonzero(has_features(samples))
        added = linear_predictions(
            samples.features[there], self.mean_, self.scale_, self.coef_
        )
        predicted[there] = _fused(predicted[there], self.gain_ * added)
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If the slopes are not as many as the names of the features.
        """
        self.prior_.check_state()
        if len(self.feature_names_) != len(self.mean_):
            raise InputError("feature_names_ and the slopes differ in number")

    def _set_to_prior(self) -> None:
        """Let the signals add nothing."""
        self.gain_, self.alpha_ = np.zeros(2), np.full(2, float(max(self.alphas)))
        self.coef_ = np.zeros((2, len(self.mean_)))
        self.inner_mae_, self.prior_inner_mae_ = np.full((2, 2), np.nan)

    def _held_out(
        self, path: RidgePath, labels: Samples, groups: Int[np.ndarray, " sample"]
    ) -> tuple[SampleTargets, Float64[np.ndarray, "alpha sample 2"]]:
        """Predict prior and residual of each inner fold from the other folds alone."""
        prior = np.empty((len(labels), 2))
        added = np.empty((len(path.alphas), len(labels), 2))
        residuals = np.zeros((len(labels), 2))
        for fold in range(path.n_folds):
            train, test = path.learned(fold), path.tested(fold)
            known = labels.take(train)
            fitted = VideoTimePrior(self.smoothing_s).fit(known)
            prior[test] = fitted.predict(labels.take(test))
            residuals[train] = self._cross_fitted_residuals(known, groups[train])
            slopes, center = path.slopes(residuals, held_out=fold)
            added[:, test] = path.products(slopes, center, test)
        return prior, added

    def _cross_fitted_residuals(
        self, labels: Samples, groups: Int[np.ndarray, " sample"]
    ) -> SampleTargets:
        """Subtract from each row the prior that is fitted without its group."""
        blocks = inner_folds(
            groups, n_samples=len(labels), n_folds=_MOST_RESIDUAL_BLOCKS
        )
        residuals = labels.require_targets().copy()
        for block in range(blocks.max() + 1):
            own = np.flatnonzero(blocks == block)
            others = labels.take(np.flatnonzero(blocks != block))
            prior = VideoTimePrior(self.smoothing_s).fit(others)
            residuals[own] -= prior.predict(labels.take(own))
        return residuals


def _choose(
    prior: Float64[np.ndarray, " sample"],
    added: Float64[np.ndarray, "alpha sample"],
    target: Float64[np.ndarray, " sample"],
    groups: Int[np.ndarray, " sample"],
    gains: Float64[np.ndarray, " gain"],
) -> tuple[int, float, float, float]:
    """Return place of the penalty, gain, error and the prior's error, over groups."""
    counts = np.bincount(groups)

    def by_group(error: Float64[np.ndarray, " sample"]) -> np.ndarray:
        return np.bincount(groups, weights=error) / counts

    prior_error = by_group(np.abs(prior - target))
    error_agp = np.array(
        [
            [by_group(np.abs(_fused(prior, gain * row) - target)) for gain in gains]
            for row in added
        ]
    )
    means = error_agp.mean(axis=2)
    place, column = np.unravel_index(means.argmin(), means.shape)
    better_p = prior_error - error_agp[place, column]
    standard_error = better_p.std(ddof=1) / np.sqrt(len(better_p))
    needed = stdtrit(len(better_p) - 1, _CONFIDENCE) * standard_error
    if gains[column] == 0 or not better_p.mean() > needed:
        baseline = float(prior_error.mean())
        return int(place), 0.0, baseline, baseline
    error = float(means[place, column])
    return int(place), float(gains[column]), error, float(prior_error.mean())


def _fused(
    prior: Float64[np.ndarray, "*shape"], added: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Add, and stay on the scale."""
    return np.clip(prior + added, LOWEST, HIGHEST)


def _without_features(samples: Samples) -> Samples:
    """Return the labels alone, which are cheap to divide."""
    return Samples(
        people=samples.people,
        stimuli=samples.stimuli,
        seconds=samples.seconds,
        features=np.empty((len(samples), 0)),
        feature_names=(),
        targets=samples.targets,
    )
