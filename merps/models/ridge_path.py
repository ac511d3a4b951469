"""All penalties and all held-out folds of a ridge regression from one Gram a fold."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int

from merps.errors import InputError
from merps.models.rows import divisions

_ROWS_AT_ONCE = 4096
_FEW_ALPHAS = 2  # so few are solved for faster one by one


class RidgePath:
    """Ridge slopes for every penalty, with any one fold of the rows held out.

    The slopes of the rows T minimize, for each target and each penalty alpha,

        sum over T of (y - mean(y) - (z - mean(z)) w)^2 / n + alpha |w|^2

    with means and n over T. Each row is multiplied out once, in float64, into the
    Gram matrices of all folds that learn from it; one eigendecomposition of a Gram
    then serves all penalties. Where there are fewer rows than columns the columns
    are first rotated into the space of the rows, which changes nothing in the
    predictions.

    Where each row has two numbers, of a fold of people and of a fold of stimuli, say,
    each pair of them is a fold of its own. It learns from the rows that have neither
    of its numbers: tests then share neither a person nor a stimulus with what they
    are predicted from. Rows that have one of its numbers take no part.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (sample, feature)
        Standardized columns without NaN.
    folds : ndarray of int64, shape (sample,) or (sample, 2)
        Number of the fold that each row belongs to, or both its numbers.
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
        folds: Int[np.ndarray, "sample ..."],
        alphas: Sequence[float],
    ) -> None:
        self.alphas = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        if self.alphas.size == 0 or not (self.alphas > 0).all():
            raise InputError(f"alphas must be positive numbers, got {tuple(alphas)}")
        self._divisions = divisions(folds)
        self.n_folds = len(self._divisions)
        self.basis = _row_space(z) if z.shape[0] < z.shape[1] else None
        self.z = z if self.basis is None else z @ self.basis
        n_features = self.z.shape[1]
        # What each fold learns from and, at last, all rows.
        self._sums = np.zeros((self.n_folds + 1, n_features))
        self._grams = np.zeros((self.n_folds + 1, n_features, n_features))
        cells = np.unique(folds.reshape(len(folds), -1), axis=0)
        for fold, cell in enumerate(cells):
            total, gram = np.zeros(n_features), np.zeros((n_features, n_features))
            for rows in _blocks(self.tested(fold)):
                block = self.z[rows].astype(np.float64)
                total += block.sum(axis=0)
                gram += block.T @ block
            learning = np.flatnonzero((cells != cell).all(axis=1))
            for other in (*learning, -1):
                self._sums[other] += total
                self._grams[other] += gram

    def tested(self, fold: int) -> Int[np.ndarray, " row"]:
        """Return the rows that a fold is tested on.

        Parameters
        ----------
        fold : int
            Its number.

        Returns
        -------
        ndarray of int64, shape (row,)
            Rows with its number, or both of them.
        """
        return self._divisions[fold][1]

    def learned(self, fold: int | None) -> Int[np.ndarray, " row"]:
        """Return the rows that a fold is predicted from.

        Parameters
        ----------
        fold : int or None
            Its number; None for none.

        Returns
        -------
        ndarray of int64, shape (row,)
            Rows without its number, or without both; all rows for None. With two
            numbers there may be none.
        """
        if fold is None:
            return np.arange(len(self.z))
        return self._divisions[fold][0]

    def slopes(
        self, targets: Float64[np.ndarray, "sample target"], *, held_out: int | None
    ) -> tuple[
        Float64[np.ndarray, "alpha feature target"], Float64[np.ndarray, " feature"]
    ]:
        """Solve for the rows outside one fold, or for all rows.

        Parameters
        ----------
        targets : ndarray of float64, shape (sample, target)
            What to regress on; only rows that the fold learns from are looked at.
        held_out : int or None
            The fold to leave out; None for none.

        Returns
        -------
        ndarray of float64, shape (alpha, feature, target)
            Slopes, in the order of `alphas`, which is descending.
        ndarray of float64, shape (feature,)
            Mean of the columns over the rows solved for.
        """
        rows, place = self.learned(held_out), -1 if held_out is None else held_out
        n_rows = len(rows)
        center = self._sums[place] / n_rows
        gram = self._grams[place] / n_rows - np.outer(center, center)
        around = targets[rows] - targets[rows].mean(axis=0)
        moment = np.zeros((len(center), targets.shape[1]))
        for block in _blocks(np.arange(n_rows)):
            moment += self.z[rows[block]].T.astype(np.float64) @ around[block]
        if len(self.alphas) <= _FEW_ALPHAS:
            solved = [
                np.linalg.solve(gram + alpha * np.eye(len(gram)), moment / n_rows)
                for alpha in self.alphas
            ]
            return np.stack(solved), center
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
