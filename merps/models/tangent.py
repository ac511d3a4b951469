"""Steps of a scikit-learn pipeline that take covariance matrices."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.features.directions import leading_of_bands, rank_tolerance
from merps.features.recentering import (
    Recentering,
    mean_precision,
    recentered_matrices,
    recentered_tangents,
    recentering_at,
    turn_to_mean,
    vector_dtype,
)
from merps.shapes import native

#: Means that matrices can be recentered at.
METRICS = ("euclid", "riemann", "logeuclid")
METHODS = ("exact", "fast")


class SpatialReduction(TransformerMixin, BaseEstimator):
    """Reduce covariance matrices to the directions with the most power.

    Matrices C become ``W' C W``, where the columns of W are the leading eigenvectors of
    the mean of the training matrices, for each band its own. There are never more of
    them than the mean has rank: of 64 channels that are referred to their average, or
    of which one was interpolated, 63 are left at most. ``None`` asks for as many as
    that, and so do numbers beyond it.

    Parameters
    ----------
    n_components : int or None
        Number of directions.

    Attributes
    ----------
    directions_ : ndarray of float64, shape (band, channel, component)
        W.
    n_components_ : int
        Directions of each band: what was asked for, or the lowest rank of a band.
    """

    def __init__(self, n_components=16):
        self.n_components = n_components

    def fit(self, X: object, y: object = None) -> "SpatialReduction":
        """Learn the directions of each band; labels are not looked at.

        Parameters
        ----------
        X : ndarray of float, shape (sample, [band,] channel, channel)
            Covariance matrices; those with NaN are passed over.
        y : object, optional
            Not used.

        Returns
        -------
        SpatialReduction
            This estimator.

        Raises
        ------
        InputError
            If matrices are not square, or all have NaN or no power.
        """
        x_sbcc = _require_matrices(X)
        self.directions_ = leading_of_bands(
            _mean_of_present(x_sbcc),
            n_components=self.n_components,
            tolerance=rank_tolerance(x_sbcc.shape[-1], x_sbcc.dtype),
        )
        self.n_components_ = self.directions_.shape[2]
        return self

    def transform(self, X: object) -> Float[np.ndarray, "..."]:
        """Reduce matrices.

        Parameters
        ----------
        X : ndarray of float, shape (sample, [band,] channel, channel)
            As many channels and bands as fitted on.

        Returns
        -------
        ndarray, shape (sample, [band,] component, component)
            Of the precision of `X`; NaN where a matrix has NaN.

        Raises
        ------
        InputError
            If bands or channels are others than those fitted on.
        """
        check_is_fitted(self)
        x_sbcc = _require_like(_require_matrices(X), self.directions_)
        w_bcn = self.directions_.astype(x_sbcc.dtype)
        reduced = w_bcn.swapaxes(1, 2) @ x_sbcc @ w_bcn
        return reduced if np.ndim(X) == 4 else reduced[:, 0]

    def __sklearn_tags__(self):
        return _matrix_tags(super().__sklearn_tags__())


class TangentSpace(TransformerMixin, BaseEstimator):
    """Map covariance matrices to vectors that a linear regression can take.

    A vector is the upper triangle of ``log(M^-1/2 X M^-1/2)``, its elements off the
    diagonal times the square root of 2, one band after the other. M is the mean of the
    training matrices; where groups are told, such as the person of each matrix, it is
    the mean of each group, or a reference that is handed in, such as the covariance
    at rest. Recentering each person undoes how sources are mixed in that person up to
    a rotation. With the groups' own means it is transductive: it looks at unlabeled
    matrices of the group that is predicted, as many as there are at that time.

    Without shrinkage and groups the vectors are those of pyRiemann's ``TangentSpace``
    (of ``metric={"mean": metric, "map": "riemann"}``). With shrinkage s, matrices first
    become ``(1 - s) X + s tr(E^-1 X) / n E``, with E their arithmetic mean or the
    reference. So windows shorter than the number of channels have a logarithm too, and
    mixing still changes nothing.

    Parameters
    ----------
    metric : {"riemann", "logeuclid", "euclid"}
        What kind of mean.
    method : {"exact", "fast"}
        Eigenvalues in float64, or a polynomial in float32, good to 2e-4.
    shrinkage : float
        s, from 0 to less than 1.
    jobs : int
        Number of threads; the result does not depend on it.

    Attributes
    ----------
    means_ : ndarray of float64, shape (band, channel, channel)
        Arithmetic means of the training matrices.
    turns_ : ndarray of float64, shape (band, channel, channel)
        What leads from them to the means of the metric, as `turn_to_mean` says.
    """

    def __init__(self, metric="riemann", method="exact", shrinkage=0.0, jobs=1):
        self.metric = metric
        self.method = method
        self.shrinkage = shrinkage
        self.jobs = jobs

    def fit(self, X: object, y: object = None) -> "TangentSpace":
        """Learn the mean of each band; labels are not looked at.

        Parameters
        ----------
        X : ndarray of float, shape (sample, [band,] channel, channel)
            Covariance matrices; those with NaN are passed over.
        y : object, optional
            Not used.

        Returns
        -------
        TangentSpace
            This estimator.

        Raises
        ------
        InputError
            If an option is not known, or matrices are not square, all have NaN, or are
            not positive definite where they have to be.
        """
        require_options(
            metric=self.metric, method=self.method, shrinkage=self.shrinkage
        )
        x_sbcc = _require_matrices(X)
        self.means_ = _mean_of_present(x_sbcc)
        self.turns_ = self._turns(x_sbcc, self.means_)
        return self

    def transform(
        self,
        X: object,
        *,
        groups: Shaped[np.ndarray, " sample"] | None = None,
        references: Mapping[Any, Float[np.ndarray, "..."]] | None = None,
    ) -> Float[np.ndarray, "sample feature"]:
        """Map matrices to tangent vectors.

        Parameters
        ----------
        X : ndarray of float, shape (sample, [band,] channel, channel)
            As many channels and bands as fitted on.
        groups : ndarray, shape (sample,), optional
            What is recentered together, such as the person of each matrix.
        references : mapping of group to ndarray, optional
            Where to recenter a group, each of shape ([band,] channel, channel); a
            group that is not in it is recentered at its own mean.

        Returns
        -------
        ndarray of float64, or float32 if fast, shape (sample, feature)
            NaN where a matrix has NaN or no power.

        Raises
        ------
        InputError
            If bands or channels are others than those fitted on, references come
            without groups, or matrices are not positive definite.
        """
        check_is_fitted(self)
        if references is not None and groups is None:
            raise InputError("references need groups, which say whose each one is")
        x_sbcc = _require_like(_require_matrices(X), self.means_)
        (n_samples, n_bands, n), dtype = x_sbcc.shape[:3], vector_dtype(self.method)
        vectors_sbf = np.full((n_samples, n_bands, n * (n + 1) // 2), np.nan, dtype)
        if groups is None:
            turns = None if self.metric == "euclid" else self.turns_
            parts = [(np.arange(n_samples), self.means_, turns)]
        elif len(groups) != n_samples:
            raise InputError(f"{len(groups)} groups for {n_samples} matrices")
        else:
            parts = self._groups(x_sbcc, np.asarray(groups), references or {})
        for rows, mean_bcc, turn_bcc in parts:
            for band in range(n_bands):
                recentering = _recentering_of_whole(mean_bcc[band], x_sbcc.dtype)
                if turn_bcc is not None:
                    recentering = recentering._replace(turn=turn_bcc[band])
                vectors_sbf[rows, band] = recentered_tangents(
                    x_sbcc[rows, band].__getitem__,
                    len(rows),
                    recentering,
                    shrinkage=self.shrinkage,
                    method=self.method,
                    jobs=self.jobs,
                )
        return vectors_sbf.reshape(n_samples, -1)

    def _groups(
        self,
        x_sbcc: Float[np.ndarray, "sample band channel channel"],
        groups: Shaped[np.ndarray, " sample"],
        references: Mapping[Any, Float[np.ndarray, "..."]],
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield the rows of each group, its references and how to turn from there."""
        for name in np.unique(groups):
            rows = np.flatnonzero(groups == name)
            x_gbcc = x_sbcc[rows]
            if name in references:
                given = np.asarray(references[name], dtype=np.float64)
                yield rows, given.reshape(self.means_.shape), None
            elif _is_present(x_gbcc).any():
                mean_bcc = _mean_of_present(x_gbcc)
                is_turned = self.metric != "euclid"
                turns = self._turns(x_gbcc, mean_bcc) if is_turned else None
                yield rows, mean_bcc, turns

    def _turns(
        self,
        x_sbcc: Float[np.ndarray, "sample band channel channel"],
        mean_bcc: Float64[np.ndarray, "band channel channel"],
    ) -> Float64[np.ndarray, "band channel channel"]:
        """Find what leads from arithmetic means to those of the metric."""
        if self.metric == "euclid":
            return np.tile(np.eye(mean_bcc.shape[-1]), (len(mean_bcc), 1, 1))
        present, turns = _is_present(x_sbcc), []
        method = mean_precision(self.metric, self.method)
        for band, mean_cc in enumerate(mean_bcc):
            x_scc = x_sbcc[present, band]
            white_scc = recentered_matrices(
                x_scc.__getitem__,
                len(x_scc),
                _recentering_of_whole(mean_cc, x_scc.dtype),
                shrinkage=self.shrinkage,
                method=method,
                jobs=self.jobs,
            )
            options = {"metric": self.metric, "method": method, "jobs": self.jobs}
            turns.append(turn_to_mean(white_scc, mean_cc, **options))
        return np.stack(turns)

    def __sklearn_tags__(self):
        return _matrix_tags(super().__sklearn_tags__())


def require_options(*, metric: str, method: str, shrinkage: float) -> None:
    """Refuse options of a tangent space that mean nothing.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    method : str
        One of `METHODS`.
    shrinkage : float
        From 0 to less than 1.

    Raises
    ------
    InputError
        If one is out of its range.
    """
    for name, value, known in (
        ("metric", metric, METRICS),
        ("method", method, METHODS),
    ):
        if value not in known:
            raise InputError(f"{name}={value!r} is none of {', '.join(known)}")
    if not 0 <= shrinkage < 1:
        raise InputError(f"shrinkage must lie in [0, 1), got {shrinkage}")


def _require_matrices(x: object) -> Float[np.ndarray, "sample band channel channel"]:
    """Return matrices with an axis of bands, or say what they lack."""
    array = native(np.asarray(x))
    if array.ndim not in (3, 4) or array.shape[-1] != array.shape[-2]:
        raise InputError(
            f"expected matrices of shape (sample, [band,] channel, channel), got "
            f"{array.shape}"
        )
    return array[:, None] if array.ndim == 3 else array


def _require_like(
    x_sbcc: Float[np.ndarray, "sample band channel channel"],
    fitted: Float64[np.ndarray, "_ _ _"],
) -> Float[np.ndarray, "sample band channel channel"]:
    """Refuse bands or channels other than those fitted on."""
    if x_sbcc.shape[1:3] != fitted.shape[:2]:
        raise InputError(
            f"matrices have {x_sbcc.shape[1]} bands and {x_sbcc.shape[2]} channels, "
            f"but {fitted.shape[0]} and {fitted.shape[1]} were fitted on"
        )
    return x_sbcc


def _is_present(
    x_sbcc: Float[np.ndarray, "sample band channel channel"],
) -> Bool[np.ndarray, " sample"]:
    """Mark the samples without NaN in any band."""
    return ~np.isnan(x_sbcc).any(axis=(1, 2, 3))


def _mean_of_present(
    x_sbcc: Float[np.ndarray, "sample band channel channel"],
) -> Float64[np.ndarray, "band channel channel"]:
    """Average the samples without NaN."""
    present = _is_present(x_sbcc)
    if not present.any():
        raise InputError("every matrix has missing elements; there is nothing to fit")
    return x_sbcc.mean(axis=0, dtype=np.float64, where=present[:, None, None, None])


def _recentering_of_whole(
    mean_cc: Float64[np.ndarray, "channel channel"], dtype: np.dtype
) -> Recentering:
    """Prepare recentering of matrices that are neither reduced nor incomplete."""
    n_channels = len(mean_cc)
    return recentering_at(
        mean_cc,
        directions=np.eye(n_channels),
        missing=np.zeros(n_channels, dtype=bool),
        tolerance=rank_tolerance(n_channels, dtype),
    )


def _matrix_tags(tags: Any) -> Any:
    """Tell scikit-learn that samples are matrices and may be missing."""
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = True
    tags.input_tags.allow_nan = True
    return tags
