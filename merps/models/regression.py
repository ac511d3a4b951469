"""Linear regression from features with gaps, judged by the absolute error."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from merps.errors import InputError
from merps.models.held_out import Plan
from merps.models.ridge_path import (
    RidgePath,
    column_moments,
    linear_predictions,
    standardize,
)
from merps.models.rows import crossed_groups, inner_folds
from merps.samples import Samples
from merps.shapes import Features, Rows

_FEWEST_ROWS = 2

#: From nearly unpenalized to so strong that only the median is left.
ALPHAS = (
    *(1e-2, 3e-2, 1e-1, 3e-1, 1e0, 3e0, 1e1, 3e1),
    *(1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5),
)


class RidgeRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Fit a ridge regression whose penalty is chosen by held-out absolute error.

    Columns are standardized by their training mean and standard deviation; a missing
    number (NaN) then counts as 0, the mean. The slopes minimize

        mean((y - b - z w)^2) + alpha |w|^2

    so that a penalty means the same for any number of rows. Each target gets the
    penalty with the smallest mean absolute error on held-out folds of `groups`; of
    equals the strongest. Two groupings, people and stimuli say, are held out both at
    once: where only people are, weak penalties win by recognizing the stimuli that
    others were seen with, and fail on stimuli that are new. Standardization uses all
    training rows and no target, and is not repeated inside the folds. At last the
    intercept is moved to where the median of the training residuals is zero: of all
    intercepts that one has the smallest absolute error, and an infinite penalty
    leaves exactly the training median.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from.
    n_folds : int
        Number of folds to choose on; fewer where there are fewer groups, and at most
        three of each of two groupings, which are nine pairs.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (feature,)
        What columns are standardized by.
    coef_ : ndarray of float64, shape (feature,) or (target, feature)
        Slopes per standardized column.
    intercept_ : ndarray of float64, shape () or (target,)
        Prediction at the mean of all columns.
    alpha_ : ndarray of float64, shape () or (target,)
        Chosen penalties.
    inner_mae_ : ndarray of float64, shape () or (target,)
        Their held-out absolute error.
    """

    contains: ClassVar[str] = "regression weights and moments of the training features"

    mean_: Float64[np.ndarray, " feature"]
    scale_: Float64[np.ndarray, " feature"]
    coef_: Float64[np.ndarray, "*target feature"]
    intercept_: Float64[np.ndarray, "*target"]
    alpha_: Float64[np.ndarray, "*target"]
    inner_mae_: Float64[np.ndarray, "*target"]
    n_features_in_: int

    def __init__(self, alphas=ALPHAS, n_folds=5):
        self.alphas = alphas
        self.n_folds = n_folds

    def fit(self, X: object, y: object, groups: object = None) -> "RidgeRegressor":
        """Choose the penalties and fit on all rows.

        Parameters
        ----------
        X : array-like of float32 or float64, shape (sample, feature)
            NaN means missing.
        y : array-like of float, shape (sample,) or (sample, target)
            Targets without NaN.
        groups : array-like of shape (sample,) or (sample, 2), optional
            Rows of one group are held out together, and with two groupings are
            predicted from rows that share neither; without groups, contiguous
            blocks of rows are held out.

        Returns
        -------
        RidgeRegressor
            This estimator.

        Raises
        ------
        InputError
            If there is only one group, or a penalty is not positive.
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            multi_output=True,
            y_numeric=True,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2,
        )
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        folds = inner_folds(
            None if groups is None else np.asarray(groups),
            n_samples=len(X),
            n_folds=self.n_folds,
        )
        self.mean_, self.scale_ = column_moments(X)
        path = RidgePath(standardize(X, self.mean_, self.scale_), folds, self.alphas)
        error = _held_out_error(path, targets)
        best, columns = error.argmin(axis=0), np.arange(targets.shape[1])
        slopes = path.slopes(targets, held_out=None)[0][best, :, columns].T
        slopes = self._refine(path, targets, slopes, path.alphas[best])
        shape = y.shape[1:]
        self.coef_ = np.ascontiguousarray(path.rotate_back(slopes).T)
        self.coef_ = self.coef_.reshape(*shape, X.shape[1])
        self.intercept_ = np.median(targets - path.fitted(slopes), axis=0)
        self.intercept_ = self.intercept_.reshape(shape)
        self.alpha_ = path.alphas[best].reshape(shape)
        self.inner_mae_ = error[best, columns].reshape(shape)
        return self

    def predict(self, X: object) -> Float64[np.ndarray, "..."]:
        """Predict each row.

        Parameters
        ----------
        X : array-like of float, shape (sample, feature)
            NaN means missing.

        Returns
        -------
        ndarray of float64, shape (sample,) or (sample, target)
            Predictions, with as many axes as the targets had.
        """
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            reset=False,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
        )
        slopes = self.coef_.reshape(-1, X.shape[1])
        products = linear_predictions(X, self.mean_, self.scale_, slopes)
        return products.reshape(len(X), *self.intercept_.shape) + self.intercept_

    def hold_out(
        self, X: Features, rows: Rows, plans: Sequence[Plan]
    ) -> list[Float64[np.ndarray, "sample target"]]:
        """Tell what features add to rows where other folds alone are learned from.

        Columns are standardized as when this estimator was fitted, and the penalties
        are those it has chosen; slopes are those of the least-squares path.

        Parameters
        ----------
        X : ndarray, shape (sample, feature)
            NaN means missing.
        rows : ndarray of int, shape (row,)
            Those that this estimator was fitted on; the others take no part.
        plans : sequence of Plan
            Which samples are held out together, and what the others are to learn.

        Returns
        -------
        list of ndarray of float64, shape (sample, target)
            By plan the predictions of each row less the median that its fold has
            learned; 0 where a fold leaves nothing to learn from.
        """
        z = standardize(X[rows], self.mean_, self.scale_)
        alphas, place = np.unique(-self.alpha_, return_inverse=True)  # as paths have it
        answers = []
        for folds, targets in plans:
            added = np.zeros((len(X), len(place)))
            path = RidgePath(z, folds[rows], (-alphas).tolist())
            for fold, cell in enumerate(_cells(folds[rows])):
                target = targets[_cells(folds).index(cell)][rows]
                train, test = path.learned(fold), path.tested(fold)
                if not len(train):
                    continue
                slopes, center = path.slopes(target, held_out=fold)
                slopes = slopes[place, :, np.arange(len(place))].T[None]
                known = target[train]
                unexplained = known - path.products(slopes, center, train)[0]
                shift = np.median(unexplained, axis=0) - np.median(known, axis=0)
                added[rows[test]] = path.products(slopes, center, test)[0] + shift
            answers.append(added)
        return answers

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If the number of features is not that of the slopes.
        """
        if self.n_features_in_ != len(self.mean_):
            raise InputError("n_features_in_ is not the number of slopes")

    def _refine(
        self,
        path: RidgePath,
        targets: Float64[np.ndarray, "sample target"],
        slopes: Float64[np.ndarray, "feature target"],
        alphas: Float64[np.ndarray, " target"],
    ) -> Float64[np.ndarray, "feature target"]:
        """Return the slopes as they are; a robust loss starts from them."""
        return slopes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class HuberRegressor(RidgeRegressor):
    """Fit a ridge regression in which far residuals pull with constant force.

    The penalty is chosen by the least-squares path of `RidgeRegressor`. From its
    slopes, iteratively reweighted least squares minimizes

        mean(huber(y - b - z w)) + alpha |w|^2 / 2

    where huber(r) is r^2 / 2 up to delta and grows linearly beyond; delta is 1.345
    times the scale of the least-squares residuals, 1.4826 times their median
    absolute deviation. The intercept is then moved as in `RidgeRegressor`.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from.
    n_folds : int
        Number of folds to choose on; fewer where there are fewer groups.
    max_iter : int
        Largest number of reweighted fits.
    tol : float
        Stop once no slope moves by more than this share of the residuals' scale.

    Attributes
    ----------
    mean_, scale_ : ndarray of float64, shape (feature,)
        What columns are standardized by.
    coef_ : ndarray of float64, shape (feature,) or (target, feature)
        Slopes per standardized column.
    intercept_ : ndarray of float64, shape () or (target,)
        Prediction at the mean of all columns.
    alpha_ : ndarray of float64, shape () or (target,)
        Chosen penalties.
    inner_mae_ : ndarray of float64, shape () or (target,)
        Held-out absolute error of the least-squares path at them.
    n_iter_ : int
        Most reweighted fits that a target took.

    References
    ----------
    P. J. Huber, Robust estimation of a location parameter, Annals of Mathematical
    Statistics 35, 1964.
    """

    n_iter_: int

    def __init__(self, alphas=ALPHAS, n_folds=5, max_iter=10, tol=1e-3):
        super().__init__(alphas, n_folds)
        self.max_iter = max_iter
        self.tol = tol

    def _refine(
        self,
        path: RidgePath,
        targets: Float64[np.ndarray, "sample target"],
        slopes: Float64[np.ndarray, "feature target"],
        alphas: Float64[np.ndarray, " target"],
    ) -> Float64[np.ndarray, "feature target"]:
        """Reweight one target after the other."""
        refined, counts = np.empty_like(slopes), [1]
        for k, alpha in enumerate(alphas):
            refined[:, k], count = _huber_slopes(
                path, targets[:, k], slopes[:, k], alpha, self.max_iter, self.tol
            )
            counts.append(count)
        self.n_iter_ = max(counts)
        return refined


def fit_regressor(
    template: RidgeRegressor | None,
    features: Features,
    samples: Samples,
) -> RidgeRegressor:
    """Fit a fresh regressor on features of labeled rows, for new people and stimuli.

    Parameters
    ----------
    template : RidgeRegressor, optional
        What to fit a copy of; None stands for ``RidgeRegressor()``.
    features : ndarray, shape (sample, feature)
        NaN means missing.
    samples : Samples
        The rows, with targets; people and stimuli are held out as `crossed_groups`
        says.

    Returns
    -------
    RidgeRegressor
        The fitted copy.

    Raises
    ------
    InputError
        If there are fewer than two rows.
    """
    if len(samples) < _FEWEST_ROWS:
        raise InputError(
            f"{len(samples)} labeled rows with signals are too few to learn from; "
            f"{_FEWEST_ROWS} are the least"
        )
    regressor = RidgeRegressor() if template is None else clone(template)
    targets, groups = samples.require_targets(), crossed_groups(samples)
    return regressor.fit(features, targets, groups=groups)


def _cells(folds: Int[np.ndarray, "sample ..."]) -> list[list[int]]:
    """List the folds in the order of `divisions`."""
    return np.unique(folds.reshape(len(folds), -1), axis=0).tolist()


def _held_out_error(
    path: RidgePath, targets: Float64[np.ndarray, "sample target"]
) -> Float64[np.ndarray, "alpha target"]:
    """Measure the held-out absolute error of every penalty."""
    total, n_tested = np.zeros((len(path.alphas), targets.shape[1])), 0
    for fold in range(path.n_folds):
        train, test = path.learned(fold), path.tested(fold)
        if not len(train):
            continue  # people who did not see all stimuli may leave none to learn from
        slopes, center = path.slopes(targets, held_out=fold)
        known = targets[train] - path.products(slopes, center, train)
        location = np.median(known, axis=1, keepdims=True)
        unknown = targets[test] - path.products(slopes, center, test)
        total += np.abs(unknown - location).sum(axis=1)
        n_tested += len(test)
    return total / n_tested


def _huber_slopes(
    path: RidgePath,
    target: Float64[np.ndarray, " sample"],
    slopes: Float64[np.ndarray, " feature"],
    alpha: float,
    max_iter: int,
    tol: float,
) -> tuple[Float64[np.ndarray, " feature"], int]:
    """Minimize the penalized Huber loss from a warm start, at a fixed scale."""
    residuals = target - path.fitted(slopes[:, None])[:, 0]
    residuals -= np.median(residuals)
    scale = 1.4826 * np.median(np.abs(residuals))
    delta = 1.345 * scale
    if delta == 0:  # half of the rows are met exactly: none can be called far
        return slopes, 1
    moved, count = np.inf, 0
    while count < max_iter and moved > tol * scale:
        weight = delta / np.maximum(np.abs(residuals), delta)
        previous = slopes
        slopes, location = path.weighted_slopes(target, weight, alpha=alpha)
        residuals = target - path.fitted(slopes[:, None])[:, 0] - location
        moved, count = np.abs(slopes - previous).max(), count + 1
    return slopes, count
