"""Functions of symmetric matrices by their eigenvalues, many at once."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.features.tiles import map_tiles

#: Matrices worked on at once; with fewer, threads wait for each other.
TILE_MATRICES = 32


def matrix_log(
    matrices: Float[np.ndarray, "*batch channel channel"], *, jobs: int = 1
) -> Float64[np.ndarray, "*batch channel channel"]:
    """Compute the logarithm of positive definite matrices.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (..., channel, channel)
        Symmetric and positive definite.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (..., channel, channel)
        Symmetric; natural logarithm.

    Raises
    ------
    InputError
        If a matrix is not positive definite or has missing elements.
    """
    return _apply(np.log, matrices, positive=True, jobs=jobs)


def matrix_sqrt(
    matrices: Float[np.ndarray, "*batch channel channel"], *, jobs: int = 1
) -> Float64[np.ndarray, "*batch channel channel"]:
    """Compute the square root of positive definite matrices.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (..., channel, channel)
        Symmetric and positive definite.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (..., channel, channel)
        Symmetric and positive definite.

    Raises
    ------
    InputError
        If a matrix is not positive definite or has missing elements.
    """
    return _apply(np.sqrt, matrices, positive=True, jobs=jobs)


def matrix_inverse_sqrt(
    matrices: Float[np.ndarray, "*batch channel channel"], *, jobs: int = 1
) -> Float64[np.ndarray, "*batch channel channel"]:
    """Compute the inverse square root of positive definite matrices.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (..., channel, channel)
        Symmetric and positive definite.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (..., channel, channel)
        Symmetric and positive definite.

    Raises
    ------
    InputError
        If a matrix is not positive definite or has missing elements.
    """
    return _apply(lambda value: value**-0.5, matrices, positive=True, jobs=jobs)


def matrix_exp(
    matrices: Float[np.ndarray, "*batch channel channel"], *, jobs: int = 1
) -> Float64[np.ndarray, "*batch channel channel"]:
    """Compute the exponential of symmetric matrices.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (..., channel, channel)
        Symmetric.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (..., channel, channel)
        Symmetric and positive definite.

    Raises
    ------
    InputError
        If a matrix has missing elements.
    """
    return _apply(np.exp, matrices, positive=False, jobs=jobs)


def log_determinants(
    matrices: Float[np.ndarray, "window channel channel"], *, name: str, jobs: int
) -> Float64[np.ndarray, " window"]:
    """Compute the logarithm of determinants, and check that there is one.

    Parameters
    ----------
    matrices : ndarray of float32 or float64, shape (window, channel, channel)
        Symmetric and positive definite.
    name : str
        What a message calls the matrices.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (window,)
        Natural logarithm.

    Raises
    ------
    InputError
        If there is no matrix, if one has missing elements, or if its smallest
        eigenvalue is not positive beyond rounding, as `numpy.linalg.matrix_rank` sees
        it in the dtype of `matrices`.
    """
    n_windows, n_channels, _ = matrices.shape
    if n_windows == 0 or n_channels == 0:
        raise InputError(f"{name} of shape {matrices.shape} are empty")
    out = np.empty(n_windows)

    def check(tile: slice) -> None:
        out[tile] = tile_log_determinants(
            matrices[tile].astype(np.float64), matrices.dtype, name, tile.start
        )

    map_tiles(check, n_windows, tile_rows=TILE_MATRICES, jobs=jobs)
    return out


def tile_log_determinants(
    x_wcc: Float64[np.ndarray, "window channel channel"],
    dtype: np.dtype,
    name: str,
    first: int,
) -> Float64[np.ndarray, " window"]:
    """Do what `log_determinants` does, in the calling thread.

    Parameters
    ----------
    x_wcc : ndarray of float64, shape (window, channel, channel)
        A tile of matrices.
    dtype : dtype
        The precision that they had.
    name : str
        What a message calls them.
    first : int
        Number of the first of them.

    Returns
    -------
    ndarray of float64, shape (window,)
        Natural logarithm.

    Raises
    ------
    InputError
        If one has missing elements or is not positive definite.
    """
    _require_finite(x_wcc, name, first)
    try:
        root_wc = np.linalg.cholesky(x_wcc).diagonal(axis1=1, axis2=2)
    except np.linalg.LinAlgError:
        root_wc = np.zeros((len(x_wcc), 1))
    # A small pivot is the cheap sign of a small eigenvalue.
    limit = x_wcc.shape[1] * np.finfo(dtype).eps
    largest_w = np.trace(x_wcc, axis1=1, axis2=2)
    if np.any(root_wc.min(axis=1) ** 2 <= limit * largest_w):
        values_wc = np.linalg.eigvalsh(x_wcc)
        _require_positive(values_wc, dtype, name, first)
        return np.log(values_wc).sum(axis=1)
    return 2 * np.log(root_wc).sum(axis=1)


def combine(
    values_wc: Float64[np.ndarray, "window channel"],
    vectors_wcc: Float64[np.ndarray, "window channel channel"],
) -> Float64[np.ndarray, "window channel channel"]:
    """Put matrices together from eigenvalues and eigenvectors.

    Parameters
    ----------
    values_wc : ndarray of float64, shape (window, channel)
        Eigenvalues.
    vectors_wcc : ndarray of float64, shape (window, channel, channel)
        Eigenvectors, in columns.

    Returns
    -------
    ndarray of float64, shape (window, channel, channel)
        Symmetric matrices.
    """
    return (vectors_wcc * values_wc[:, None]) @ vectors_wcc.swapaxes(1, 2)


def _apply(
    function: Callable,
    matrices: Float[np.ndarray, "*batch channel channel"],
    *,
    positive: bool,
    jobs: int,
) -> Float64[np.ndarray, "*batch channel channel"]:
    """Apply a function to the eigenvalues of matrices."""
    x_wcc = matrices.reshape(-1, *matrices.shape[-2:])
    out_wcc = np.empty(x_wcc.shape)

    def apply(tile: slice) -> None:
        part_wcc = x_wcc[tile].astype(np.float64)
        _require_finite(part_wcc, "matrices", tile.start)
        values_wc, vectors_wcc = np.linalg.eigh(part_wcc)
        if positive:
            _require_positive(values_wc, matrices.dtype, "matrices", tile.start)
        out_wcc[tile] = combine(function(values_wc), vectors_wcc)

    map_tiles(apply, len(x_wcc), tile_rows=TILE_MATRICES, jobs=jobs)
    return out_wcc.reshape(matrices.shape)


def _require_finite(
    x_wcc: Float64[np.ndarray, "window channel channel"], name: str, first: int
) -> None:
    """Raise if a matrix has an element that is missing or infinite."""
    bad_w = ~np.isfinite(x_wcc).all(axis=(1, 2))
    if bad_w.any():
        raise InputError(
            f"{name}[{first + int(bad_w.argmax())}] has missing or infinite elements; "
            "leave out windows with missing samples"
        )


def _require_positive(
    values_wc: Float64[np.ndarray, "window channel"],
    dtype: np.dtype,
    name: str,
    first: int,
) -> None:
    """Raise if the smallest eigenvalue is not positive beyond rounding."""
    limit = values_wc.shape[1] * np.finfo(dtype).eps
    bad_w = values_wc[:, 0] <= limit * values_wc[:, -1]
    if bad_w.any():
        w = int(bad_w.argmax())
        raise InputError(
            f"{name}[{first + w}] is not positive definite in {dtype}: its smallest "
            f"eigenvalue is {values_wc[w, 0]:.3g}, its largest {values_wc[w, -1]:.3g}; "
            'shrink it (estimator "oas" or "ledoit_wolf"), or leave out channels that '
            "follow from others, as after average reference"
        )
