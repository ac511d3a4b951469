"""All penalties and all held-out folds of a ridge regression from one Gram a fold."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int
from sklearn.model_selection import GroupKFold

from merps.errors import InputError

_ROWS_AT_ONCE = 4096


class RidgePath:
    """Ridge slopes for every penalty, with any one fold of the rows held out.

    The slopes of the rows T minimize, for each target and each penalty alpha,

        sum over T of (y - mean(y) - (z - mean(z)) w)^2 / n + alpha |w|^2

    with means and n over T. One Gram matrix a fold is summed in float64; leaving a
    fold out subtracts its Gram, and one eigendecomposition then serves all
    penalties. Where there are fewer rows than columns the columns are first rotated
    into the space of the rows, which changes nothing in the predictions.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (sample, feature)
        Standardized columns without NaN.
    folds : ndarray of int64, shape (sample,)
        Number of the fold that each row belongs to, from 0 without gaps.
    alphas : sequence of float
        Penalties, each positive.

    Raises
    ------
    InputError
        If a penalty is not positive.
    """

    def __init__(
        self,
        z: Float[np.ndarray, "sample feature"],
        folds: Int[np.ndarray, " sample"],
        alphas: Sequence[float],
    ) -> None:
        self.alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        if self.alphas.size == 0 or not (self.alphas > 0).all():
            raise InputError(f"alphas must be positive numbers, got {tuple(alphas)}")
        self.folds = folds
        self.n_folds = int(folds.max()) + 1
        self.basis = _row_space(z) if z.shape[0] < z.shape[1] else None
        self.z = z if self.basis is None else z @ self.basis
        n_features = self.z.shape[1]
        self._counts = np.bincount(folds, minlength=self.n_folds)
        self._sums = np.zeros((self.n_folds, n_features))
        self._grams = np.zeros((self.n_folds, n_features, n_features))
        for fold in range(self.n_folds):
            for rows in _blocks(np.flatnonzero(folds == fold)):
                block = self.z[rows].astype(np.float64)
                self._sums[fold] += block.sum(axis=0)
                self._grams[fold] += block.T @ block

    def slopes(
        self, targets: Float64[np.ndarray, "sample target"], *, held_out: int | None
    ) -> tuple[
        Float64[np.ndarray, "alpha feature target"], Float64[np.ndarray, " feature"]
    ]:
        """Solve for the rows outside one fold, or for all rows.

        Parameters
        ----------
        targets : ndarray of float64, shape (sample, target)
            What to regress on; rows of the held-out fold are not looked at.
        held_out : int or None
            The fold to leave out; None for none.

        Returns
        -------
        ndarray of float64, shape (alpha, feature, target)
            Slopes, in the order of `alphas`, which is descending.
        ndarray of float64, shape (feature,)
            Mean of the columns over the rows solved for.
        """
        kept = np.arange(self.n_folds) != (-1 if held_out is None else held_out)
        rows = np.flatnonzero(kept[self.folds])
        n_rows = self._counts[kept].sum()
        center = self._sums[kept].sum(axis=0) / n_rows
        gram = self._grams[kept].sum(axis=0) / n_rows - np.outer(center, center)
        around = targets[rows] - targets[rows].mean(axis=0)
        moment = np.zeros((len(center), targets.shape[1]))
        for block in _blocks(np.arange(len(rows))):
            moment += self.z[rows[block]].T.astype(np.float64) @ around[block]
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values, 0.0)  # rounding alone makes them negative
        shrunk = (vectors.T @ moment / n_rows)[None] / (
            values[None, :, None] + self.alphas[:, None, None]
        )
        return vectors @ shrunk, center

    def products(
        self,
        slopes: Float64[np.ndarray, "alpha feature target"],
        center: Float64[np.ndarray, " feature"],
        rows: Int[np.ndarray, " row"],
    ) -> Float64[np.ndarray, "alpha row target"]:
        """Multiply centered rows with slopes.

        Parameters
        ----------
        slopes : ndarray of float64, shape (alpha, feature, target)
            From `slopes`.
        center : ndarray of float64, shape (feature,)
            From `slopes`.
        rows : ndarray of int, shape (row,)
            Row numbers.

        Returns
        -------
        ndarray of float64, shape (alpha, row, target)
            What the signals add to the mean.
        """
        n_alphas, n_features, n_targets = slopes.shape
        flat = slopes.transpose(1, 0, 2).reshape(n_features, n_alphas * n_targets)
        out = np.empty((len(rows), n_alphas * n_targets))
        for block in _blocks(np.arange(len(rows))):
            out[block] = (self.z[rows[block]] - center) @ flat
        return out.reshape(len(rows), n_alphas, n_targets).transpose(1, 0, 2)

    def fitted(
        self, slopes: Float64[np.ndarray, "feature target"]
    ) -> Float64[np.ndarray, "sample target"]:
        """Multiply all rows, as they are, with slopes.

        Parameters
        ----------
        slopes : ndarray of float64, shape (feature, target)
            One set a target.

        Returns
        -------
        ndarray of float64, shape (sample, target)
            Without an intercept.
        """
        uncentered = np.zeros(len(slopes))
        return self.products(slopes[None], uncentered, np.arange(len(self.z)))[0]

    def weighted_slopes(
        self,
        target: Float64[np.ndarray, " sample"],
        weight: Float64[np.ndarray, " sample"],
        *,
        alpha: float,
    ) -> tuple[Float64[np.ndarray, " feature"], float]:
        """Solve for one target and one penalty with a weight on each row.

        The slopes w and the intercept b minimize the sum over rows of
        weight (y - b - z w)^2 / n + alpha |w|^2, with n the number of rows.

        Parameters
        ----------
        target, weight : ndarray of float64, shape (sample,)
            What to regress on, and how much each row counts.
        alpha : float
            Penalty.

        Returns
        -------
        ndarray of float64, shape (feature,)
            Slopes.
        float
            Intercept.
        """
        n_rows, n_features = self.z.shape
        gram = np.zeros((n_features, n_features))
        total, moment = np.zeros((2, n_features))
        weight = weight / n_rows
        center = weight @ target / weight.sum()
        around = weight * (target - center)
        for rows in _blocks(np.arange(n_rows)):
            block = self.z[rows].astype(np.float64)
            weighted = weight[rows, None] * block
            gram += block.T @ weighted
            total += weighted.sum(axis=0)
            moment += around[rows] @ block
        gram -= np.outer(total, total) / weight.sum()
        gram[np.diag_indices(n_features)] += alpha
        slopes = np.linalg.solve(gram, moment)
        return slopes, float(center - total @ slopes / weight.sum())

    def rotate_back(
        self, slopes: Float64[np.ndarray, "feature target"]
    ) -> Float64[np.ndarray, "column target"]:
        """Express slopes in the columns that came in.

        Parameters
        ----------
        slopes : ndarray of float64, shape (feature, target)
            In the columns of `z` as this path holds them.

        Returns
        -------
        ndarray of float64, shape (column, target)
            One row per original column.
        """
        return slopes if self.basis is None else self.basis @ slopes


def inner_folds(
    groups: np.ndarray | None, *, n_samples: int, n_folds: int
) -> Int[np.ndarray, " sample"]:
    """Assign rows to the folds that penalties are chosen on.

    Parameters
    ----------
    groups : ndarray of shape (sample,) or None
        Rows of one group stay together; None makes contiguous blocks of rows.
    n_samples, n_folds : int
        Number of rows, and of folds where there are as many groups.

    Returns
    -------
    ndarray of int64, shape (sample,)
        From 0 without gaps; does not depend on the order of the rows where there
        are groups.

    Raises
    ------
    InputError
        If there are fewer than two folds or two groups.
    """
    if n_folds < 2:
        raise InputError(f"n_folds={n_folds} must be at least 2 to hold a fold out")
    if groups is None:
        return np.arange(n_samples) * min(n_folds, n_samples) // n_samples
    if len(groups) != n_samples:
        raise InputError(f"{len(groups)} groups for {n_samples} rows")
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise InputError("one group cannot be held out of itself; pass groups=None")
    folds = np.empty(n_samples, dtype=np.int64)
    splitter = GroupKFold(min(n_folds, n_groups))
    for fold, (_, test) in enumerate(splitter.split(folds, groups=groups)):
        folds[test] = fold
    return folds


def column_moments(
    x: Float[np.ndarray, "sample feature"],
) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
    """Measure the mean and the standard deviation of columns, passing over NaN.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (sample, feature)
        NaN means missing.

    Returns
    -------
    mean : ndarray of float64, shape (feature,)
        0 where a column has no value at all.
    scale : ndarray of float64, shape (feature,)
        Population standard deviation; 1 where a column does not vary.
    """
    n_features = x.shape[1]
    count, total, square = np.zeros((3, n_features))
    for rows in _blocks(np.arange(len(x))):
        block = x[rows].astype(np.float64)
        missing = np.isnan(block)
        block[missing] = 0.0
        count += len(block) - missing.sum(axis=0)
        total += block.sum(axis=0)
    count = np.maximum(count, 1)
    mean = total / count
    for rows in _blocks(np.arange(len(x))):
        around = x[rows] - mean
        around[np.isnan(around)] = 0.0
        square += np.einsum("sf,sf->f", around, around)
    scale = np.sqrt(square / count)
    scale[scale <= 8 * np.finfo(x.dtype).eps * np.abs(mean)] = 1.0  # rounding alone
    scale[scale == 0] = 1.0
    return mean, scale


def standardize(
    x: Float[np.ndarray, "sample feature"],
    mean: Float64[np.ndarray, " feature"],
    scale: Float64[np.ndarray, " feature"],
) -> Float[np.ndarray, "sample feature"]:
    """Center and scale columns; what is missing becomes the mean, 0.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (sample, feature)
        NaN means missing.
    mean, scale : ndarray of float64, shape (feature,)
        From `column_moments`.

    Returns
    -------
    ndarray, shape (sample, feature)
        Of the precision of `x`, without NaN.
    """
    z = np.empty_like(x, order="C")
    for rows in _blocks(np.arange(len(x))):
        block = (x[rows] - mean) / scale
        block[np.isnan(block)] = 0.0
        z[rows] = block
    return z


def linear_predictions(
    x: Float[np.ndarray, "sample feature"],
    mean: Float64[np.ndarray, " feature"],
    scale: Float64[np.ndarray, " feature"],
    slopes: Float64[np.ndarray, "target feature"],
) -> Float64[np.ndarray, "sample target"]:
    """Standardize rows and multiply them with slopes.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (sample, feature)
        NaN means missing and adds nothing.
    mean, scale : ndarray of float64, shape (feature,)
        From `column_moments`.
    slopes : ndarray of float64, shape (target, feature)
        Per standardized column.

    Returns
    -------
    ndarray of float64, shape (sample, target)
        Without an intercept.
    """
    predicted = np.empty((len(x), len(slopes)))
    for rows in _blocks(np.arange(len(x))):
        block = (x[rows] - mean) / scale
        block[np.isnan(block)] = 0.0
        predicted[rows] = block @ slopes.T
    return predicted


def _row_space(z: Float[np.ndarray, "sample feature"]) -> Float64[np.ndarray, "..."]:
    """Return an orthonormal basis of the rows, one column a direction."""
    _, values, directions = np.linalg.svd(z.astype(np.float64), full_matrices=False)
    kept = values > values[0] * np.finfo(z.dtype).eps * max(z.shape)
    kept[0] = True  # a path needs one column even where all rows are zero
    return np.ascontiguousarray(directions[kept].T)


def _blocks(rows: Int[np.ndarray, " row"]) -> Iterator[Int[np.ndarray, " block"]]:
    """Cut row numbers into pieces whose float64 copies stay small."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
