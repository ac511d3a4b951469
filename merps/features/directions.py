"""Directions of power in a covariance matrix, and channels told from the others."""

import logging

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.errors import InputError

logger = logging.getLogger(__name__)


def rank_tolerance(n_channels: int, dtype: np.dtype) -> float:
    """Return below which part of the largest an eigenvalue is taken for rounding.

    Parameters
    ----------
    n_channels : int
        Rows of a matrix.
    dtype : dtype
        Precision that the matrix was computed in.

    Returns
    -------
    float
        As `numpy.linalg.matrix_rank` takes it.
    """
    return n_channels * float(np.finfo(dtype).eps)


def leading_directions(
    mean: Float[np.ndarray, "channel channel"],
    *,
    n_components: int | None,
    tolerance: float,
) -> Float64[np.ndarray, "channel component"]:
    """Find the directions in which a mean covariance matrix has the most power.

    Parameters
    ----------
    mean : ndarray of float, shape (channel, channel)
        Symmetric; NaN in the rows and columns of channels that were never there.
    n_components : int or None
        How many; at most as many as the matrix has rank, and all of those for None.
    tolerance : float
        Part of the largest eigenvalue below which there is no power.

    Returns
    -------
    ndarray of float64, shape (channel, component)
        Orthonormal, by falling power; the largest element of each is positive.

    Raises
    ------
    InputError
        If there is no power at all, or no component is asked for.
    """
    if n_components is not None and n_components < 1:
        raise InputError(f"n_components must be at least 1, got {n_components}")
    known = np.flatnonzero(np.isfinite(mean.diagonal()))
    block_cc = np.nan_to_num(mean[np.ix_(known, known)].astype(np.float64))
    values_c, vectors_cc = np.linalg.eigh(block_cc)
    top = values_c[-1] if len(known) else 0.0
    if not top > 0:
        raise InputError(
            "the mean covariance matrix has no power in any channel; there is nothing "
            "to learn directions from"
        )
    rank = int(np.count_nonzero(values_c > tolerance * top))
    n_kept = rank if n_components is None else min(n_components, rank)
    if n_components is not None and n_kept < n_components:
        logger.info("%d directions asked for, but the rank is %d", n_components, rank)
    leading_cn = vectors_cc[:, : -n_kept - 1 : -1]
    largest_n = leading_cn[np.abs(leading_cn).argmax(axis=0), np.arange(n_kept)]
    directions_cn = np.zeros((len(mean), n_kept))
    directions_cn[known] = leading_cn * np.sign(largest_n)
    return directions_cn


def leading_of_bands(
    mean: Float[np.ndarray, "band channel channel"],
    *,
    n_components: int | None,
    tolerance: float,
) -> Float64[np.ndarray, "band channel component"]:
    """Find the leading directions of each band, as many as the least rank.

    Parameters
    ----------
    mean : ndarray of float, shape (band, channel, channel)
        As for `leading_directions`.
    n_components : int or None
        How many; all there are for None.
    tolerance : float
        Part of the largest eigenvalue of a band below which there is no power.

    Returns
    -------
    ndarray of float64, shape (band, channel, component)
        See `leading_directions`.

    Raises
    ------
    InputError
        If a band has no power.
    """
    found = [
        leading_directions(mean_cc, n_components=n_components, tolerance=tolerance)
        for mean_cc in mean
    ]
    n_kept = min(directions_cn.shape[1] for directions_cn in found)
    return np.stack([directions_cn[:, :n_kept] for directions_cn in found])


def regress_missing(
    reference: Float64[np.ndarray, "channel channel"],
    missing: Bool[np.ndarray, " channel"],
    *,
    tolerance: float,
) -> tuple[
    Float64[np.ndarray, "channel channel"], Float64[np.ndarray, "channel channel"]
]:
    """Predict missing channels from the others, as a reference relates them.

    Parameters
    ----------
    reference : ndarray of float64, shape (channel, channel)
        Covariance matrix; NaN in the rows and columns of channels it does not know.
    missing : ndarray of bool, shape (channel,)
        Which channels are missing.
    tolerance : float
        Part of the largest eigenvalue below which there is no power.

    Returns
    -------
    weights : ndarray of float64, shape (channel, channel)
        T: present channels become themselves, missing ones what regression makes of
        them; columns of missing channels are zero.
    residual : ndarray of float64, shape (channel, channel)
        D: covariance of what regression leaves, zero but for missing channels.
    """
    reference_cc = np.nan_to_num(reference)
    there, gone = np.flatnonzero(~missing), np.flatnonzero(missing)
    weights_cc = np.diag(np.where(missing, 0.0, 1.0))
    residual_cc = np.zeros_like(reference_cc)
    if len(gone):
        present_cc = reference_cc[np.ix_(there, there)]
        shared_cc = reference_cc[np.ix_(gone, there)]
        inverse_cc = np.linalg.pinv(present_cc, rcond=tolerance, hermitian=True)
        weights_cc[np.ix_(gone, there)] = shared_cc @ inverse_cc
        left_cc = (
            reference_cc[np.ix_(gone, gone)] - shared_cc @ inverse_cc @ shared_cc.T
        )
        values_c, vectors_cc = np.linalg.eigh(left_cc)
        left_cc = (vectors_cc * np.maximum(values_c, 0)) @ vectors_cc.T
        residual_cc[np.ix_(gone, gone)] = left_cc
    return weights_cc, residual_cc


def complete_matrix(
    matrix: Float64[np.ndarray, "channel channel"],
    reference: Float64[np.ndarray, "channel channel"],
    *,
    tolerance: float,
) -> Float64[np.ndarray, "channel channel"]:
    """Fill the rows and columns of missing channels from a reference.

    Missing channels get the covariance they are expected to have if they depend on the
    others as in the reference, brought to the power of the matrix: the completion of
    largest entropy. It is positive definite if matrix and reference are.

    Parameters
    ----------
    matrix : ndarray of float64, shape (channel, channel)
        Covariance matrix; NaN in the rows and columns of missing channels.
    reference : ndarray of float64, shape (channel, channel)
        Covariance matrix of others; NaN in those of channels it does not know.
    tolerance : float
        Part of the largest eigenvalue below which there is no power.

    Returns
    -------
    ndarray of float64, shape (channel, channel)
        Zero for channels that neither knows.
    """
    missing = np.isnan(matrix.diagonal())
    weights_cc, residual_cc = regress_missing(reference, missing, tolerance=tolerance)
    known = ~missing & np.isfinite(reference.diagonal())
    power = reference.diagonal()[known].sum()
    scale = matrix.diagonal()[known].sum() / power if power > 0 else 1.0
    return weights_cc @ np.nan_to_num(matrix) @ weights_cc.T + scale * residual_cc
