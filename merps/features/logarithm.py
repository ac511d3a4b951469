"""Logarithms of matrices as a reference sees them: exact, or fast in float32."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from merps.errors import InputError
from merps.features.matrices import combine, log_determinants, matrix_inverse_sqrt
from merps.features.tiles import Scratch

logger = logging.getLogger(__name__)

#: Error of the fast logarithm's eigenvalues inside the interval of its polynomial.
FAST_ERROR = 5e-5
#: Highest degree that is still faster than eigenvalues.
_MAX_DEGREE = 256
#: Matrices whose eigenvalues tell where the polynomial has to hold, and the margin.
_SAMPLED, _MARGIN = 16, 1.5
#: Error of a trace that is let pass, in those of one eigenvalue.
_TRACE_ERROR = 20


def prepare_whitened_log(
    matrices: Float[np.ndarray, "window channel channel"],
    reference: Float[np.ndarray, "channel channel"],
    log_det_w: Float64[np.ndarray, " window"],
    *,
    method: str,
    error: float = FAST_ERROR,
) -> Callable[[slice], np.ndarray]:
    """Prepare the logarithms of ``R^-1/2 X R^-1/2``.

    Parameters
    ----------
    matrices : ndarray of float, shape (window, channel, channel)
        Positive definite matrices X.
    reference : ndarray of float, shape (channel, channel)
        Positive definite matrix R.
    log_det_w : ndarray of float64, shape (window,)
        Logarithms of the determinants of `matrices`.
    method : {"exact", "fast"}
        The fast logarithm has to have the trace that the determinant asks for; where it
        has not, eigenvalues lie outside the polynomial's interval, and the exact one
        takes its place.
    error : float, optional
        Largest error of an eigenvalue of the fast logarithm.

    Returns
    -------
    callable
        Takes a slice of windows and returns their logarithms, float32 if fast; good
        until the same thread calls it again.

    Raises
    ------
    InputError
        If the reference is not positive definite.
    """
    white_cc = matrix_inverse_sqrt(reference)
    scratch = Scratch()

    def whiten(rows: slice | np.ndarray) -> Float64[np.ndarray, "window c c"]:
        x_wcc = matrices[rows]
        white_wcc, half_wcc = scratch.take("white", (2, *x_wcc.shape), np.float64)
        white_wcc[...] = x_wcc
        flat_rc, half_rc = (a.reshape(-1, a.shape[-1]) for a in (white_wcc, half_wcc))
        np.matmul(flat_rc, white_cc, out=half_rc)
        return np.matmul(white_cc, half_wcc, out=white_wcc)

    if method == "exact":
        return lambda rows: exact_logarithms(whiten(rows))

    n_sampled = min(_SAMPLED, len(matrices))
    sample = np.linspace(0, len(matrices) - 1, n_sampled).astype(np.int64)
    trace_w = log_det_w - log_determinants(reference[None], name="reference", jobs=1)
    level_w = trace_w / len(reference)
    log = FastLogarithm(whiten(sample), error=error, scratch=scratch)
    return lambda rows: log(whiten(rows), level_w[rows])


class FastLogarithm:
    """Logarithms of matrices like those of a sample, by one polynomial in float32.

    Parameters
    ----------
    sample : ndarray of float64, shape (window, channel, channel)
        Positive definite matrices, which tell where eigenvalues are to be expected.
    scratch : Scratch
        Memory that holds a result until it is used again.
    error : float, optional
        Largest error of an eigenvalue of a logarithm.
    """

    def __init__(
        self,
        sample: Float64[np.ndarray, "window channel channel"],
        *,
        scratch: Scratch,
        error: float = FAST_ERROR,
    ) -> None:
        self._error, self._scratch = error, scratch
        # With unit determinants windows of any power share one interval of eigenvalues.
        values_wc = np.linalg.eigvalsh(sample)
        np.maximum(values_wc, np.finfo(np.float32).tiny, out=values_wc)
        values_wc /= np.exp(np.log(values_wc).mean(axis=1, keepdims=True))
        low, high = values_wc.min(initial=np.inf), values_wc.max(initial=0.0)
        self._polynomial = (
            fit_log_polynomial(low=low / _MARGIN, high=high * _MARGIN, error=error)
            if len(sample)
            else None
        )

    def __call__(
        self,
        matrices: Float64[np.ndarray, "window channel channel"],
        level_w: Float64[np.ndarray, " window"],
    ) -> Float32[np.ndarray, "window channel channel"]:
        """Compute logarithms, those outside the polynomial's interval exactly.

        Parameters
        ----------
        matrices : ndarray of float64, shape (window, channel, channel)
            Positive definite.
        level_w : ndarray of float64, shape (window,)
            Logarithm of the determinant of each, over the number of channels, which
            tells the trace that its logarithm has to have.

        Returns
        -------
        ndarray of float32, shape (window, channel, channel)
            Good until the same thread calls it again.
        """
        if self._polynomial is None:
            return exact_logarithms(matrices).astype(np.float32)
        unit_wcc = self._scratch.take("unit", matrices.shape, np.float32)
        np.multiply(matrices, np.exp(-level_w)[:, None, None], out=unit_wcc)
        with np.errstate(over="ignore", invalid="ignore"):
            log_wcc = apply_log_polynomial(
                self._polynomial, unit_wcc, scratch=self._scratch
            )
            error_w = np.trace(log_wcc, axis1=1, axis2=2)
        diagonal = np.arange(matrices.shape[1])
        log_wcc[:, diagonal, diagonal] += level_w[:, None].astype(np.float32)
        wrong_w = ~(np.abs(error_w) <= _TRACE_ERROR * self._error)
        if wrong_w.any():
            logger.debug("%d matrices need their eigenvalues", np.sum(wrong_w))
            log_wcc[wrong_w] = exact_logarithms(matrices[wrong_w])
        return log_wcc


def exact_logarithms(
    matrices: Float64[np.ndarray, "window channel channel"],
) -> Float64[np.ndarray, "window channel channel"]:
    """Compute logarithms by eigenvalues.

    Parameters
    ----------
    matrices : ndarray of float64, shape (window, channel, channel)
        Positive definite.

    Returns
    -------
    ndarray of float64, shape (window, channel, channel)
        Symmetric.

    Raises
    ------
    InputError
        If rounding has left an eigenvalue that has no logarithm.
    """
    values_wc, vectors_wcc = np.linalg.eigh(matrices)
    require_comparable(values_wc)
    return combine(np.log(values_wc), vectors_wcc)


def require_comparable(values_wc: Float64[np.ndarray, "window channel"]) -> None:
    """Raise if rounding has left an eigenvalue that has no logarithm.

    Parameters
    ----------
    values_wc : ndarray of float64, shape (window, channel)
        Eigenvalues of ``R^-1/2 X R^-1/2``.

    Raises
    ------
    InputError
        If one is not positive.
    """
    if not (values_wc > 0).all():
        raise InputError(
            "matrices and their reference are too close to singular to be compared; "
            'shrink them (estimator "oas" or "ledoit_wolf")'
        )


class LogPolynomial(NamedTuple):
    """A Chebyshev series of the logarithm, cut into blocks of equal length.

    Parameters
    ----------
    low, high : float
        Ends of the interval of eigenvalues in which it holds.
    coefficients : ndarray of float32, shape (block, term)
        Of ``T[block * n_terms](x) * T[term](x)``, where x runs from -1 to 1.
    """

    low: float
    high: float
    coefficients: Float32[np.ndarray, "block term"]


def fit_log_polynomial(
    *, low: float, high: float, error: float = FAST_ERROR
) -> LogPolynomial | None:
    """Expand the logarithm on an interval in Chebyshev polynomials.

    With ``q = (sqrt(high) - sqrt(low)) / (sqrt(high) + sqrt(low))`` the series is
    ``log((sqrt(low) + sqrt(high))**2 / 4) - 2 sum((-q)**k / k T[k])``.

    Parameters
    ----------
    low, high : float
        Ends of the interval, both positive.
    error : float, optional
        Largest error inside the interval.

    Returns
    -------
    LogPolynomial, optional
        None if the interval is too wide for the highest degree.
    """
    root_low, root_high = np.sqrt(low), np.sqrt(high)
    q = (root_high - root_low) / (root_high + root_low)
    degrees = np.arange(1, _MAX_DEGREE + 1)
    tail = 2 * q ** (degrees + 1) / ((degrees + 1) * (1 - q))
    good = np.flatnonzero(tail <= error)
    if len(good) == 0:
        return None
    degree = int(degrees[good[0]])
    n_terms = int(np.ceil(np.sqrt(degree + 1)))
    n_blocks = -(-(degree + 1) // n_terms)
    degrees = np.arange(1, n_blocks * n_terms)
    series = np.append(2 * np.log((root_low + root_high) / 2), -2 * (-q) ** degrees)
    series[1:] /= degrees
    block_bt = series.reshape(n_blocks, n_terms)
    # T[a + k] = 2 T[a] T[k] - T[a - k] turns the series into products.
    for b in range(n_blocks - 1, 0, -1):
        block_bt[b - 1, 1:] -= block_bt[b, :0:-1]
        block_bt[b, 1:] *= 2
    return LogPolynomial(low, high, block_bt.astype(np.float32))


def apply_log_polynomial(
    polynomial: LogPolynomial,
    matrices: Float32[np.ndarray, "window channel channel"],
    *,
    scratch: Scratch,
) -> Float32[np.ndarray, "window channel channel"]:
    """Evaluate the polynomial by the scheme of Paterson and Stockmeyer.

    Parameters
    ----------
    polynomial : LogPolynomial
        Its interval should hold all eigenvalues: beyond it the result is nonsense.
    matrices : ndarray of float32, shape (window, channel, channel)
        Symmetric.
    scratch : Scratch
        Memory that holds the result until it is used again.

    Returns
    -------
    ndarray of float32, shape (window, channel, channel)
        Logarithms.

    References
    ----------
    M. S. Paterson, L. J. Stockmeyer, On the number of nonscalar multiplications
    necessary to evaluate polynomials, SIAM Journal on Computing, 1973.
    """
    low, high, coefficients_bt = polynomial
    n_blocks, n_terms = coefficients_bt.shape
    n_channels = matrices.shape[1]
    diagonal = np.arange(n_channels)
    # First to last power are the Chebyshev polynomials T[1] to T[n_terms].
    power_twcc = scratch.take("power", (n_terms, *matrices.shape), np.float32)
    x_wcc = np.multiply(matrices, np.float32(2 / (high - low)), out=power_twcc[0])
    x_wcc[:, diagonal, diagonal] -= np.float32((high + low) / (high - low))
    double_wcc = scratch.take("double", matrices.shape, np.float32)
    np.multiply(x_wcc, 2, out=double_wcc)
    for t in range(1, n_terms):
        np.matmul(double_wcc, power_twcc[t - 1], out=power_twcc[t])
        if t == 1:
            power_twcc[t][:, diagonal, diagonal] -= 1
        else:
            power_twcc[t] -= power_twcc[t - 2]
    flat_tx = power_twcc[:-1].reshape(n_terms - 1, matrices.size)
    block_bwcc = scratch.take("block", (n_blocks, *matrices.shape), np.float32)
    np.matmul(coefficients_bt[:, 1:], flat_tx, out=block_bwcc.reshape(n_blocks, -1))
    block_bwcc[:, :, diagonal, diagonal] += coefficients_bt[:, 0, None, None]
    # Clenshaw's rule, with matrices for coefficients.
    step_wcc, work_wcc = power_twcc[-1], x_wcc
    np.multiply(step_wcc, 2, out=double_wcc)
    for b in range(n_blocks - 2, -1, -1):
        factor_wcc = double_wcc if b else step_wcc
        block_bwcc[b] += np.matmul(factor_wcc, block_bwcc[b + 1], out=work_wcc)
        if b + 2 < n_blocks:
            block_bwcc[b] -= block_bwcc[b + 2]
    return block_bwcc[0]
