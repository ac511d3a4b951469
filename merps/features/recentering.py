"""What brings covariance matrices around the identity: reduced, completed, whitened."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.features.directions import regress_missing
from merps.features.logarithm import (
    FastLogarithm,
    LogPolynomial,
    apply_log_polynomial,
    exact_logarithms,
    fit_log_polynomial,
)
from merps.features.manifold import log_euclidean_mean, riemannian_mean
from merps.features.matrices import (
    matrix_inverse_sqrt,
    matrix_sqrt,
    tile_log_determinants,
)
from merps.features.tiles import Scratch, map_tiles
from merps.features.triangles import pick_triangles
from merps.shapes import Rows

#: What rounding may add to the bounds of eigenvalues, in parts of them.
_ROUNDING = 0.02
#: Matrices worked on at once.
_TILE_WINDOWS = 128
#: Matrices whose eigenvalues tell where those of all others will lie.
_SAMPLED = 256


class Recentering(NamedTuple):
    """What turns matrices X into ``A' X A + Q``, which lie around the identity.

    Parameters
    ----------
    projection : ndarray of float64, shape (channel, component)
        A; zero for a channel that is missing.
    offset : ndarray of float64, shape (component, component)
        Q, what stands in for channels that are missing and for directions in which the
        reference has no power.
    turn : ndarray of float64, shape (component, component), optional
        U, applied as ``U X U'`` once matrices are shrunk: moves another mean than the
        reference to the identity.
    """

    projection: Float64[np.ndarray, "channel component"]
    offset: Float64[np.ndarray, "component component"]
    turn: Float64[np.ndarray, "component component"] | None = None


def recentering_at(
    reference: Float64[np.ndarray, "channel channel"],
    *,
    directions: Float64[np.ndarray, "channel component"],
    missing: Bool[np.ndarray, " channel"],
    tolerance: float,
) -> Recentering:
    """Prepare what makes a reference the identity, seen in some directions W.

    With ``K = (W' R W)^-1/2`` and missing channels completed by `regress_missing` at
    the reference, ``A = T' W K`` and ``Q = K W' D W K``. So a missing channel adds
    nothing to the logarithm of a matrix. Neither does a direction in which the
    reference has no power: K leaves it out, and Q is one there.

    Parameters
    ----------
    reference : ndarray of float64, shape (channel, channel)
        R, complete but for channels that have no direction.
    directions : ndarray of float64, shape (channel, component)
        W.
    missing : ndarray of bool, shape (channel,)
        Channels that the matrices to come lack.
    tolerance : float
        Part of the largest eigenvalue below which there is no power.

    Returns
    -------
    Recentering
        Without a turn.
    """
    weights_cc, residual_cc = regress_missing(reference, missing, tolerance=tolerance)
    reduced_nn = directions.T @ np.nan_to_num(reference) @ directions
    values_n, vectors_nn = np.linalg.eigh(reduced_nn)
    kept_n = values_n > tolerance * max(values_n[-1], 0.0)
    gain_n = np.where(kept_n, values_n, 1.0) ** -0.5 * kept_n
    white_nn = (vectors_nn * gain_n) @ vectors_nn.T
    offset_nn = white_nn @ (directions.T @ residual_cc @ directions) @ white_nn
    dropped_nx = vectors_nn[:, ~kept_n]
    return Recentering(
        weights_cc.T @ directions @ white_nn, offset_nn + dropped_nx @ dropped_nx.T
    )


def turn_to_mean(
    matrices: Float[np.ndarray, "window component component"],
    reference: Float64[np.ndarray, "component component"],
    *,
    metric: str,
    method: str,
    jobs: int,
) -> Float64[np.ndarray, "component component"]:
    """Find what turns matrices that a reference has whitened to another mean of theirs.

    With that mean M, not whitened, ``U = M^-1/2 R^1/2``: matrices that R has whitened
    become what M would have made of them.

    Parameters
    ----------
    matrices : ndarray of float, shape (window, component, component)
        Positive definite matrices as the reference sees them.
    reference : ndarray of float64, shape (component, component)
        R, positive definite.
    metric : {"riemann", "logeuclid"}
        What kind of mean.
    method : {"exact", "fast"}
        As for `riemannian_mean`.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (component, component)
        U.

    Raises
    ------
    InputError
        If a matrix or the reference is not positive definite.
    """
    root_nn = matrix_sqrt(reference)
    if metric == "riemann":  # sees no difference whether matrices are whitened
        mean_nn = (
            root_nn @ riemannian_mean(matrices, method=method, jobs=jobs) @ root_nn
        )
    else:
        mean_nn = log_euclidean_mean(root_nn @ matrices @ root_nn, jobs=jobs)
    return matrix_inverse_sqrt(mean_nn) @ root_nn


def recentered_matrices(
    take: Callable[[slice | Rows], Float[np.ndarray, "window channel channel"]],
    n_windows: int,
    recentering: Recentering,
    *,
    shrinkage: float,
    method: str,
    jobs: int,
) -> Float[np.ndarray, "window component component"]:
    """Recenter matrices and shrink them towards the identity, but do not turn them.

    Parameters
    ----------
    take : callable
        Returns the matrices of a slice or of some numbers of windows, symmetric,
        without NaN but for windows that are missing.
    n_windows : int
        How many there are.
    recentering : Recentering
        What to do.
    shrinkage : float
        s: matrices X become ``(1 - s) X + s tr(X) / n I``.
    method : {"exact", "fast"}
        In float64 or in float32.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, or float32 if fast, shape (window, component, component)
        NaN where a matrix is missing or has no power.
    """
    n, dtype = recentering.projection.shape[1], vector_dtype(method)
    out_wnn = np.empty((n_windows, n, n), dtype=dtype)
    scratch = Scratch()

    def fill(tile: slice) -> None:
        unit_wnn, level_w = _recenter(
            take(tile), recentering, shrinkage, scratch, dtype
        )
        np.multiply(unit_wnn, level_w.astype(dtype)[:, None, None], out=out_wnn[tile])

    map_tiles(fill, n_windows, tile_rows=_TILE_WINDOWS, jobs=jobs)
    return out_wnn


def recentered_tangents(
    take: Callable[[slice | Rows], Float[np.ndarray, "window channel channel"]],
    n_windows: int,
    recentering: Recentering,
    *,
    shrinkage: float,
    method: str,
    jobs: int,
) -> Float[np.ndarray, "window feature"]:
    """Recenter and turn matrices, and map them to the tangent space at the identity.

    Shrinkage bounds the eigenvalues of a matrix of n components by s and n times their
    mean. So, where nothing is turned, the fast method takes one polynomial for all
    matrices that ever come: what it makes of one does not depend on others, and its
    error is bounded.

    Parameters
    ----------
    take : callable
        As for `recentered_matrices`.
    n_windows : int
        How many matrices there are.
    recentering : Recentering
        What to do.
    shrinkage : float
        As for `recentered_matrices`; 0 asks for matrices that are positive definite.
    method : {"exact", "fast"}
        Eigenvalues in float64, or a polynomial in float32.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, or float32 if fast, shape (window, feature)
        As `tangent_vectors`; NaN where a matrix is missing or has no power.

    Raises
    ------
    InputError
        If a matrix is not positive definite.
    """
    n, scratch = recentering.projection.shape[1], Scratch()
    out_wf = np.full((n_windows, n * (n + 1) // 2), np.nan, vector_dtype(method))
    options = (recentering, shrinkage, scratch)
    bounded = method == "fast" and shrinkage > 0 and recentering.turn is None
    polynomial = _bounded_polynomial(n, shrinkage) if bounded else None
    logarithm = None
    if polynomial is None and method == "fast" and n_windows:
        spread_w = np.linspace(0, n_windows - 1, min(n_windows, _SAMPLED))
        _, sample_wnn, _ = _present(take(spread_w.astype(np.int64)), *options, method)
        logarithm = FastLogarithm(sample_wnn, scratch=scratch)

    def fill(tile: slice) -> None:
        if polynomial is not None:
            unit_wnn, level_w = _recenter(take(tile), *options, np.float32)
            log_wnn = apply_log_polynomial(polynomial, unit_wnn, scratch=scratch)
            out_wf[tile] = _vectors(log_wnn, level_w)
            return
        there_w, unit_wnn, level_w = _present(take(tile), *options, method)
        trace_w = tile_log_determinants(
            unit_wnn, unit_wnn.dtype, "matrices", tile.start
        )
        if logarithm is None:
            log_wnn = exact_logarithms(unit_wnn)
        else:
            log_wnn = logarithm(unit_wnn, trace_w / n)
        out_wf[tile][there_w] = _vectors(log_wnn, level_w)

    map_tiles(fill, n_windows, tile_rows=_TILE_WINDOWS, jobs=jobs)
    return out_wf


def mean_precision(metric: str, method: str) -> str:
    """Return the method that a mean of recentered matrices needs.

    Parameters
    ----------
    metric : {"riemann", "logeuclid"}
        What kind of mean.
    method : {"exact", "fast"}
        What was asked for.

    Returns
    -------
    str
        ``exact`` for the log-Euclidean mean, which is that of matrices as they were:
        float32 would lose their small eigenvalues.
    """
    return "exact" if metric == "logeuclid" else method


def vector_dtype(method: str) -> type:
    """Return the precision of tangent vectors.

    Parameters
    ----------
    method : {"exact", "fast"}
        How logarithms are computed.

    Returns
    -------
    type
        numpy.float64 or numpy.float32.
    """
    return np.float64 if method == "exact" else np.float32


def _recenter(
    x_wcc: Float[np.ndarray, "window channel channel"],
    recentering: Recentering,
    shrinkage: float,
    scratch: Scratch,
    dtype: type,
) -> tuple[
    Float[np.ndarray, "window component component"], Float64[np.ndarray, " window"]
]:
    """Return matrices over the mean of their eigenvalues, and that mean."""
    (n_windows, n_channels, _), n = x_wcc.shape, recentering.projection.shape[1]
    projection_cn = recentering.projection.astype(dtype)
    if x_wcc.dtype != dtype or not x_wcc.flags.c_contiguous:
        given_wcc, x_wcc = x_wcc, scratch.take("given", x_wcc.shape, dtype)
        x_wcc[...] = given_wcc
    half_wcn = scratch.take("half", (n_windows, n_channels, n), dtype)
    np.matmul(x_wcc.reshape(-1, n_channels), projection_cn, out=half_wcn.reshape(-1, n))
    white_wnn = scratch.take("recentered", (n_windows, n, n), dtype)
    np.matmul(projection_cn.T, half_wcn, out=white_wnn)
    white_wnn += recentering.offset.astype(dtype)
    level_w = np.trace(white_wnn, axis1=1, axis2=2, dtype=np.float64) / n
    level_w[~(level_w > 0)] = np.nan
    white_wnn *= ((1 - shrinkage) / level_w).astype(dtype)[:, None, None]
    diagonal = np.arange(n)
    white_wnn[:, diagonal, diagonal] += shrinkage
    return white_wnn, level_w


def _present(
    x_wcc: Float[np.ndarray, "window channel channel"],
    recentering: Recentering,
    shrinkage: float,
    scratch: Scratch,
    method: str,
) -> tuple[
    Bool[np.ndarray, " window"],
    Float64[np.ndarray, "there component component"],
    Float64[np.ndarray, " there"],
]:
    """Tell which matrices have power; recenter, shrink, level and turn those."""
    dtype = np.float64 if method == "exact" else x_wcc.dtype.type
    unit_wnn, level_w = _recenter(x_wcc, recentering, shrinkage, scratch, dtype)
    unit_wnn = unit_wnn.astype(np.float64, copy=False)
    there_w = np.isfinite(level_w)
    if not there_w.all():
        unit_wnn, level_w = unit_wnn[there_w], level_w[there_w]
    if recentering.turn is not None:
        unit_wnn = recentering.turn @ unit_wnn @ recentering.turn.T
    return there_w, unit_wnn, level_w


def _vectors(
    log_wnn: Float[np.ndarray, "window component component"],
    level_w: Float64[np.ndarray, " window"],
) -> Float[np.ndarray, "window feature"]:
    """Put the level back into logarithms, in place, and take their triangles."""
    diagonal = np.arange(log_wnn.shape[1])
    log_wnn[:, diagonal, diagonal] += np.log(level_w).astype(log_wnn.dtype)[:, None]
    return pick_triangles(log_wnn, scale=float(np.sqrt(2)))


@functools.cache
def _bounded_polynomial(n: int, shrinkage: float) -> LogPolynomial | None:
    """Expand the logarithm where eigenvalues can lie whose mean is one."""
    low, high = shrinkage, shrinkage + n * (1 - shrinkage)
    return fit_log_polynomial(low=low * (1 - _ROUNDING), high=high * (1 + _ROUNDING))
