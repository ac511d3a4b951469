"""Means, distances and tangent vectors of positive definite matrices."""

import logging
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Int

from merps.errors import InputError
from merps.features.logarithm import (
    FAST_ERROR,
    prepare_whitened_log,
    require_comparable,
)
from merps.features.matrices import (
    TILE_MATRICES,
    log_determinants,
    matrix_exp,
    matrix_inverse_sqrt,
    matrix_log,
    matrix_sqrt,
)
from merps.features.tiles import map_tiles

logger = logging.getLogger(__name__)

#: Gradient that the fast method may leave, alone and on the way to the exact mean, and
#: the error of its last logarithms.
_FAST_GOAL, _WARM_GOAL, _WARM_ERROR = 5e-4, 2.5e-5, 1e-5
#: Below it, a gradient that grows has met the rounding of float32.
_FLOOR = 5e-5
#: What a step is trusted to leave of the gradient at best.
_BEST_STEP = 0.1
#: Shortest and longest step in parts of the gradient; the curvature is at least 1.
_STEPS = (0.1, 1.0)
_TINY = np.finfo(np.float64).tiny


def riemannian_mean(
    matrices: Float[np.ndarray, "window channel channel"],
    *,
    weights: Float[np.ndarray, " window"] | None = None,
    method: str = "exact",
    tolerance: float = 1e-6,
    max_iterations: int = 50,
    jobs: int = 1,
) -> Float64[np.ndarray, "channel channel"]:
    """Find the mean with the least squared affine-invariant distances.

    Descends along ``J = sum_w weight_w log(M^-1/2 X_w M^-1/2)``, from the weighted
    arithmetic mean on, until a step can be expected to leave a J whose norm is at most
    the tolerance: with the fast logarithm as far as that goes, and then, for the exact
    method, with the exact one.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite, in any unit.
    weights : ndarray of float, shape (window,), optional
        Not negative; scaled to sum to 1. Equal without.
    method : {"exact", "fast"}, optional
        "exact" ends with eigenvalues in float64; "fast" stays with a polynomial in
        float32, and its mean is good to about 1e-4.
    tolerance : float, optional
        Frobenius norm of J, about the relative error of the mean, that ends the
        descent; the fast method ends at 5e-4 already.
    max_iterations : int, optional
        Most steps; a mean that has not converged is logged.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (channel, channel)
        Unit of `matrices`.

    Raises
    ------
    InputError
        If there is no matrix, if one is not positive definite or has missing elements,
        or if weights or options are out of range.

    References
    ----------
    P. T. Fletcher, C. Lu, S. M. Pizer, S. Joshi, Principal geodesic analysis for the
    study of nonlinear statistics of shape, IEEE Transactions on Medical Imaging, 2004.

    J. Barzilai, J. M. Borwein, Two-point step size gradient methods, IMA Journal of
    Numerical Analysis, 1988.
    """
    _require_known(method)
    if not tolerance > 0 or max_iterations < 1:
        raise InputError(
            "tolerance must be positive and max_iterations at least 1, got "
            f"{tolerance:g} and {max_iterations}"
        )
    log_det_w = log_determinants(matrices, name="matrices", jobs=jobs)
    weight_w = _normalize(weights, len(matrices))
    mean_cc = np.tensordot(weight_w, matrices.astype(np.float64), 1)
    # The exact mean, too, is found with fast logarithms, and then made exact.
    logarithms = "fast"
    goal, finest = (
        (max(tolerance, _FAST_GOAL), FAST_ERROR)
        if method == "fast"
        else (max(tolerance, _WARM_GOAL), _WARM_ERROR)
    )
    step, former_cc, norm_before = 1.0, None, np.inf
    for _ in range(max_iterations):
        # Far from the mean a rough logarithm points the same way.
        error = float(np.clip(1e-3 * norm_before, finest, 2e-2))
        error = error if logarithms == "fast" else 0.0
        log_tile = prepare_whitened_log(
            matrices, mean_cc, log_det_w, method=logarithms, error=error
        )

        def add_tile(
            tile: slice, log_tile: Callable = log_tile
        ) -> Float64[np.ndarray, "c c"]:
            return np.tensordot(weight_w[tile], log_tile(tile), 1)

        gradient_cc = _sum_tiles(add_tile, len(matrices), jobs)
        if former_cc is not None:  # eq. 6 of Barzilai and Borwein 1988
            turn_cc = former_cc - gradient_cc
            step *= np.sum(former_cc * turn_cc) / max(np.sum(turn_cc**2), _TINY)
            step = float(np.clip(step, *_STEPS))
        former_cc = gradient_cc
        mean_cc = _move(mean_cc, step * gradient_cc)
        norm = np.linalg.norm(gradient_cc)
        left = max(norm * max(norm / norm_before, _BEST_STEP), error)
        if left <= goal or (logarithms == "fast" and norm_before <= norm <= _FLOOR):
            if logarithms == method:
                break
            logarithms, goal = "exact", tolerance
        norm_before = max(norm, _TINY)
    else:
        logger.warning(
            "the %s Riemannian mean has a gradient of %.2g after %d steps, "
            "above the tolerance of %.2g",
            *(method, norm, max_iterations, goal),
        )
    return mean_cc


def log_euclidean_mean(
    matrices: Float[np.ndarray, "window channel channel"],
    *,
    weights: Float[np.ndarray, " window"] | None = None,
    jobs: int = 1,
) -> Float64[np.ndarray, "channel channel"]:
    """Compute the mean of logarithms, ``exp(sum_w weight_w log(X_w))``.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite, in any unit.
    weights : ndarray of float, shape (window,), optional
        Not negative; scaled to sum to 1. Equal without.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (channel, channel)
        Unit of `matrices`.

    Raises
    ------
    InputError
        If there is no matrix, if one is not positive definite or has missing elements,
        or if weights are out of range.

    References
    ----------
    V. Arsigny, P. Fillard, X. Pennec, N. Ayache, Geometric means in a novel vector
    space structure on symmetric positive-definite matrices, SIAM Journal on Matrix
    Analysis and Applications, 2007.
    """
    if len(matrices) == 0:
        raise InputError(f"matrices of shape {matrices.shape} are empty")
    weight_w = _normalize(weights, len(matrices))
    return matrix_exp(np.tensordot(weight_w, matrix_log(matrices, jobs=jobs), 1))


def tangent_vectors(
    matrices: Float[np.ndarray, "window channel channel"],
    reference: Float[np.ndarray, "channel channel"],
    *,
    method: str = "exact",
    jobs: int = 1,
) -> Float[np.ndarray, "window feature"]:
    """Map matrices to the tangent space at a reference.

    The upper triangle, row by row, of ``log(R^-1/2 X R^-1/2)``, with elements off the
    diagonal times the square root of 2, so that the length of a vector is the
    affine-invariant distance from the reference.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite, in any unit.
    reference : ndarray of float32 or float64, shape (channel, channel)
        Symmetric and positive definite, in the unit of `matrices`, such as their mean.
    method : {"exact", "fast"}, optional
        "exact" takes eigenvalues in float64; "fast" takes a polynomial in float32, good
        to 2e-4 of the length, and falls back on eigenvalues where that would not hold.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, or float32 if fast, shape (window, feature)
        Without unit; ``channel * (channel + 1) / 2`` features.

    Raises
    ------
    InputError
        If there is no matrix, or if one, or the reference, is not positive definite or
        has missing elements.

    References
    ----------
    A. Barachant, S. Bonnet, M. Congedo, C. Jutten, Multiclass brain-computer interface
    classification by Riemannian geometry, IEEE Transactions on Biomedical Engineering,
    2012.
    """
    _require_known(method)
    log_det_w = log_determinants(matrices, name="matrices", jobs=jobs)
    log_tile = prepare_whitened_log(matrices, reference, log_det_w, method=method)
    flat, scale_f = _triangle(matrices.shape[1])
    dtype = np.float64 if method == "exact" else np.float32
    out_wf = np.empty((len(matrices), len(flat)), dtype=dtype)

    def fill(tile: slice) -> None:
        log_wcc = log_tile(tile)
        picked_wf = log_wcc.reshape(len(log_wcc), -1).take(flat, axis=1)
        np.multiply(picked_wf, scale_f.astype(dtype), out=out_wf[tile])

    map_tiles(fill, len(matrices), tile_rows=TILE_MATRICES, jobs=jobs)
    return out_wf


def from_tangent(
    vectors: Float[np.ndarray, "window feature"],
    reference: Float[np.ndarray, "channel channel"],
    *,
    jobs: int = 1,
) -> Float64[np.ndarray, "window channel channel"]:
    """Map tangent vectors back to matrices; the inverse of `tangent_vectors`.

    Parameters
    ----------
    vectors : ndarray of float32 or float64, shape (window, feature)
        As `tangent_vectors` returns them.
    reference : ndarray of float32 or float64, shape (channel, channel)
        Where the tangent space touches.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (window, channel, channel)
        Positive definite matrices in the unit of `reference`.

    Raises
    ------
    InputError
        If the number of features is not that of the reference, if the reference is not
        positive definite, or if an element is missing.
    """
    n_channels = len(reference)
    flat, scale_f = _triangle(n_channels)
    if vectors.shape[1] != len(flat):
        raise InputError(
            f"vectors have {vectors.shape[1]} features, but {n_channels} channels of "
            f"the reference make {len(flat)}; use the reference they were mapped at"
        )
    log_wcc = np.empty((len(vectors), n_channels, n_channels))
    rows, columns = np.divmod(flat, n_channels)
    log_wcc[:, rows, columns] = log_wcc[:, columns, rows] = vectors / scale_f
    root_cc = matrix_sqrt(reference)
    return root_cc @ matrix_exp(log_wcc, jobs=jobs) @ root_cc


def riemannian_distance(
    matrices: Float[np.ndarray, "window channel channel"],
    reference: Float[np.ndarray, "channel channel"],
    *,
    jobs: int = 1,
) -> Float64[np.ndarray, " window"]:
    """Measure the affine-invariant distance of matrices from a reference.

    The Frobenius norm of ``log(R^-1/2 X R^-1/2)``, which stays the same when all
    matrices, the reference included, turn from X into A X A^T.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite, in any unit.
    reference : ndarray of float32 or float64, shape (channel, channel)
        Symmetric and positive definite, in the unit of `matrices`.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (window,)
        Without unit.

    Raises
    ------
    InputError
        If there is no matrix, or if one, or the reference, is not positive definite or
        has missing elements, or if rounding leaves their distance undefined.
    """
    log_determinants(matrices, name="matrices", jobs=jobs)
    white_cc = matrix_inverse_sqrt(reference)
    out_w = np.empty(len(matrices))

    def measure(tile: slice) -> None:
        values_wc = np.linalg.eigvalsh(white_cc @ matrices[tile] @ white_cc)
        require_comparable(values_wc)
        out_w[tile] = np.linalg.norm(np.log(values_wc), axis=1)

    map_tiles(measure, len(matrices), tile_rows=TILE_MATRICES, jobs=jobs)
    return out_w


def log_euclidean_distance(
    matrices: Float[np.ndarray, "window channel channel"],
    reference: Float[np.ndarray, "channel channel"],
    *,
    jobs: int = 1,
) -> Float64[np.ndarray, " window"]:
    """Measure the distance between logarithms, ``|log(X) - log(R)|``.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite, in any unit.
    reference : ndarray of float32 or float64, shape (channel, channel)
        Symmetric and positive definite, in the unit of `matrices`.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (window,)
        Frobenius norm, without unit.

    Raises
    ------
    InputError
        If a matrix, or the reference, is not positive definite or has missing elements.
    """
    difference_wcc = matrix_log(matrices, jobs=jobs) - matrix_log(reference)
    return np.linalg.norm(difference_wcc, axis=(1, 2))


def _require_known(method: str) -> None:
    """Raise if there is no such method."""
    if method not in ("exact", "fast"):
        raise InputError(f"method must be 'exact' or 'fast', got {method!r}")


def _normalize(
    weights: Float[np.ndarray, " window"] | None, n_windows: int
) -> Float64[np.ndarray, " window"]:
    """Return weights that sum to 1."""
    if weights is None:
        return np.full(n_windows, 1 / n_windows)
    if len(weights) != n_windows or not (weights >= 0).all() or not weights.sum() > 0:
        raise InputError(
            f"weights must be {n_windows} numbers, one a matrix, none negative or "
            "missing, and not all zero"
        )
    return weights / weights.sum(dtype=np.float64)


def _triangle(
    n_channels: int,
) -> tuple[Int[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
    """Return where the upper triangle lies in a flat matrix, and its factors."""
    rows, columns = np.triu_indices(n_channels)
    return rows * n_channels + columns, np.where(rows == columns, 1.0, np.sqrt(2))


def _sum_tiles(
    function: Callable[[slice], Float64[np.ndarray, "c c"]], n_windows: int, jobs: int
) -> Float64[np.ndarray, "c c"]:
    """Add up what tiles return, in their order."""
    parts = map_tiles(function, n_windows, tile_rows=TILE_MATRICES, jobs=jobs)
    return np.sum(parts, axis=0)


def _move(
    point_cc: Float64[np.ndarray, "c c"], direction_cc: Float64[np.ndarray, "c c"]
) -> Float64[np.ndarray, "c c"]:
    """Follow a whitened direction from a point to the matrix it leads to."""
    root_cc = matrix_sqrt(point_cc)
    return root_cc @ matrix_exp(direction_cc) @ root_cc
