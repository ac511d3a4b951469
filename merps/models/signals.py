"""Predictions from the signals alone: the model named bandpower."""

from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.regressed import RegressedModel
from merps.models.regression import fit_regressor
from merps.models.rows import (
    has_features,
    in_order,
    labeled,
    require_same_features,
)
from merps.samples import Samples
from merps.shapes import Features, Rows, SampleTargets


class SignalModel(RegressedModel):
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

    median_: Float64[np.ndarray, "2"]
    feature_names_: tuple[str, ...]

    def __init__(self, regressor=None):
        self.regressor = regressor

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
        self._fit(in_order(labeled(samples)))
        return self

    def _fit(self, samples: Samples) -> tuple[Features, Rows]:
        """Fit on the rows that have features; return all features, and these rows."""
        there = has_features(samples)
        self.feature_names_ = samples.feature_names
        self.median_ = np.median(samples.require_targets(), axis=0)
        rows = np.flatnonzero(there if there.any() else ~there)
        known = samples if len(rows) == len(samples) else samples.take(rows)
        self.regressor_ = fit_regressor(self.regressor, known.features, known)
        return samples.features, rows

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
