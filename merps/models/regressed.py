"""What models have in common that end in one regressor."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator

from merps.models.held_out import Plan
from merps.models.regression import RidgeRegressor
from merps.samples import Samples
from merps.shapes import SampleTargets


class RegressedModel(BaseEstimator):
    """Turn samples into columns, for which no label is needed, and regress on them.

    What inherits from it has a method ``_fit(samples)``, which fits on sorted rows and
    returns the columns of all and which rows were learned from.

    Attributes
    ----------
    regressor_ : RidgeRegressor
        The fitted regressor.
    """

    regressor_: RidgeRegressor

    @property
    def alpha_(self) -> Float64[np.ndarray, "2"]:
        """Penalty chosen for each dimension."""
        return self.regressor_.alpha_

    @property
    def inner_mae_(self) -> Float64[np.ndarray, "2"]:
        """Held-out absolute error of each dimension at that penalty."""
        return self.regressor_.inner_mae_

    def fit_held_out(
        self, samples: Samples, plans: Sequence[Plan]
    ) -> list[SampleTargets]:
        """Fit, and tell what signals add to rows held out.

        Columns and penalties are learned once, from all rows; only the slopes are
        learned anew for every fold.

        Parameters
        ----------
        samples : Samples
            Rows with all targets, sorted as by `in_order`.
        plans : sequence of Plan
            Which rows are held out together, and what the others are to learn.

        Returns
        -------
        list of ndarray of float64, shape (sample, 2)
            As the function `merps.models.held_out.fit_held_out` returns it.
        """
        columns, rows = self._fit(samples)
        return self.regressor_.hold_out(columns, rows, plans)
