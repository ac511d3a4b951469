"""Predictions from the signals alone: the model named bandpower."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.held_out import Plan
from merps.models.regression import RidgeRegressor, fit_regressor
from merps.models.rows import (
    has_features,
    in_order,
    labeled,
    require_same_features,
)
from merps.samples import Samples
from merps.shapes import Rows, SampleTargets


class SignalModel(BaseEstimator):
    """Regress valence and arousal on the features of the signals.

    Penalties are chosen on held-out people who watch held-out stimuli where there are
    at least three of each: on known stimuli, too weak a penalty wins by recognizing
    them. Else they are chosen on held-out people where there are at least three, else
    on held-out stimuli. A row without any feature is not learned from, and is predicted
    as the training median.

    Parameters
    ----------
    regressor : RidgeRegressor, optional
        What learns; None stands for ``RidgeRegressor()``.

    Attributes
    ----------
    regressor_ : RidgeRegressor
        The fitted regressor.
    median_ : ndarray of float64, shape (2,)
        Training median.
    feature_names_ : tuple of str
        Columns of the training rows.
    """

    contains: ClassVar[str] = "the medians of all training labels"

    regressor_: RidgeRegressor
    median_: Float64[np.ndarray, "2"]
    feature_names_: tuple[str, ...]

    def __init__(self, regressor=None):
        self.regressor = regressor

    @property
    def alpha_(self) -> Float64[np.ndarray, "2"]:
        """Penalty chosen for each dimension."""
        return self.regressor_.alpha_

    @property
    def inner_mae_(self) -> Float64[np.ndarray, "2"]:
        """Held-out absolute error of each dimension at that penalty."""
        return self.regressor_.inner_mae_

    def fit(self, samples: Samples) -> "SignalModel":
        """Learn from features and labels.

        Parameters
        ----------
        samples : Samples
            Training rows with targets; those with a missing label are passed over.

        Returns
        -------
        SignalModel
            This estimator.

        Raises
        ------
        InputError
            If there are no feature columns, or fewer than two rows with labels.
        """
        self._learn(in_order(labeled(samples)))
        return self

    def fit_held_out(
        self, samples: Samples, plans: Sequence[Plan]
    ) -> list[SampleTargets]:
        """Fit, and tell what signals add to rows held out; see `fit_held_out`.

        Parameters
        ----------
        samples : Samples
            Rows with all targets, sorted as by `in_order`.
        plans : sequence of Plan
            Which rows are held out together, and what the others are to learn.

        Returns
        -------
        list of ndarray of float64, shape (sample, 2)
            By plan; 0 for rows without features.
        """
        rows = self._learn(samples)
        return self.regressor_.hold_out(samples.features, rows, plans)

    def _learn(self, samples: Samples) -> Rows:
        """Fit on the rows that have features, and return which these are."""
        there = has_features(samples)
        self.feature_names_ = samples.feature_names
        self.median_ = np.median(samples.require_targets(), axis=0)
        rows = np.flatnonzero(there if there.any() else ~there)
        if len(rows) < len(samples):
            samples = samples.take(rows)
        self.regressor_ = fit_regressor(self.regressor, samples.features, samples)
        return rows

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its features.

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
        predicted = np.tile(self.median_, (len(samples), 1))
        there = np.flatnonzero(has_features(samples))
        if len(there):
            predicted[there] = self.regressor_.predict(samples.features[there])
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If the regressor has another number of features or targets.
        """
        self.regressor_.check_state()
        shape = (2, len(self.feature_names_))
        if self.regressor_.coef_.shape != shape:
            raise InputError(f"the slopes are not of shape {shape}")
