"""Covariance matrices of windows that share the sums of what they overlap on."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int

from merps.errors import InputError
from merps.features.bands import filter_bands, turn_signal
from merps.features.moments import Order, WindowMoments, sum_stack, sum_windows
from merps.features.tiles import Scratch, map_tiles
from merps.preprocessing.filters import design_band_pass
from merps.recording import Phase
from merps.shapes import native

#: Sample covariance, or its shrinkage towards a multiple of the identity.
_ESTIMATORS = ("scm", "oas", "ledoit_wolf")
#: Windows worked on at once; neighbors inside a tile share their sums.
_TILE_WINDOWS = 64


def covariances(
    windows: Float[np.ndarray, "window channel time"],
    *,
    estimator: str,
    jobs: int = 1,
) -> Float[np.ndarray, "window channel channel"]:
    """Estimate the covariance matrix of each window.

    The mean of each channel is removed, window by window, and sums are divided by the
    number of samples. The shrunk estimates are those of scikit-learn and pyRiemann.

    Parameters
    ----------
    windows : ndarray of float32 or float64, shape (window, channel, time)
        Any unit; NaN marks samples that are missing. Other types become float64.
    estimator : {"scm", "oas", "ledoit_wolf"}
        Sample covariance matrix, `shrink_oas` or `shrink_ledoit_wolf` of it.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray, shape (window, channel, channel)
        Unit of `windows` squared, and their dtype; all NaN where a window has a
        missing sample.

    Raises
    ------
    InputError
        If windows have no samples or infinite ones, if the estimator is not known, or
        if `jobs` is not positive.
    """
    _require_known(estimator)
    n_windows, n_channels, n_times = windows.shape
    if n_times < 1:
        raise InputError("windows have no samples; take longer ones")
    windows = native(windows)
    out = np.empty((n_windows, n_channels, n_channels), dtype=windows.dtype)

    scratch = Scratch()

    def estimate(tile: slice) -> None:
        moments = sum_stack(windows[tile], order=_highest(estimator), scratch=scratch)
        _finish(moments, n_times, estimator, out[tile])

    map_tiles(estimate, n_windows, tile_rows=_TILE_WINDOWS, jobs=jobs)
    return out


def window_covariances(
    signal: Float[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    *,
    length_samples: int,
    estimator: str,
    jobs: int = 1,
) -> Float[np.ndarray, "window channel channel"]:
    """Estimate the covariance matrix of windows of a continuous signal.

    The same matrices as `covariances` of the windows. The signal is cut wherever a
    window begins or ends, each piece is summed once, and a window adds up its pieces,
    each about its own mean; so windows that overlap cost little more than the signal.

    Parameters
    ----------
    signal : ndarray of float32 or float64, shape (channel, time)
        Any unit and memory order; NaN marks samples that are missing. Other types
        become float64.
    starts : ndarray of int, shape (window,)
        First sample of each window, in any order, as `WindowGrid.starts` gives them.
        Where a window leaves the signal, the signal is mirrored at its ends as in
        `gather_windows`.
    length_samples : int
        Number of samples in a window.
    estimator : {"scm", "oas", "ledoit_wolf"}
        Sample covariance matrix, `shrink_oas` or `shrink_ledoit_wolf` of it.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray, shape (window, channel, channel)
        Unit of `signal` squared, and its dtype; all NaN where a window has a missing
        sample.

    Raises
    ------
    InputError
        If the signal is empty or has infinite samples, if windows are shorter than one
        sample, if the estimator is not known, or if `jobs` is not positive.
    """
    signal, n_channels = native(signal), len(signal)
    out = np.empty((len(starts), n_channels, n_channels), dtype=signal.dtype)
    _fill_windows(signal, starts, length_samples, estimator, jobs, out)
    return out


def filter_bank_covariances(
    signal: Float[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    *,
    length_samples: int,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
    order: int,
    pad_s: float,
    estimator: str,
    phase: Phase = "zero",
    jobs: int = 1,
) -> Float[np.ndarray, "window band channel channel"]:
    """Estimate the covariance matrix of windows in each frequency band.

    The whole signal is filtered with a zero-phase Butterworth filter, band by band, and
    then cut by `window_covariances`. Each thread holds one filtered copy of the signal.
    In float32 an offset costs no precision, and bands too slow for it (below about
    1 Hz at 200 Hz) are filtered in float64.

    Parameters
    ----------
    signal : ndarray of float32 or float64, shape (channel, time)
        Any unit; without NaN. Other types become float64.
    starts : ndarray of int, shape (window,)
        First sample of each window, as for `window_covariances`.
    length_samples : int
        Number of samples in a window.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.
    order : int
        Order of the Butterworth prototype of one pass, as for `band_pass`.
    pad_s : float
        Length of the reflection on both ends in seconds, as for `band_pass`.
    estimator : {"scm", "oas", "ledoit_wolf"}
        Sample covariance matrix, `shrink_oas` or `shrink_ledoit_wolf` of it.
    phase : {"zero", "causal"}, optional
        Causal filters run forward alone.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray, shape (window, band, channel, channel)
        Unit of `signal` squared, and its dtype; bands in the order of `bands`, the
        matrices of each together in memory.

    Raises
    ------
    InputError
        As `window_covariances`, and as `band_pass` for a signal with NaN or for bands
        that do not fit the rate.
    """
    _require_known(estimator)
    signal, n_channels = native(signal), len(signal)
    shape = (len(bands), len(starts), n_channels, n_channels)
    out = np.empty(shape, dtype=signal.dtype)
    options = {"rate_hz": rate_hz, "order": order, "pad_s": pad_s}
    filters = [
        design_band_pass(low_hz=low_hz, high_hz=high_hz, **options)
        for low_hz, high_hz in bands.values()
    ]
    signal_tc = turn_signal(signal, phase=phase, jobs=jobs)
    shared = {"rate_hz": rate_hz, "phase": phase, "jobs": jobs}
    filtered = filter_bands(signal_tc, filters, **shared)
    for x_tc, out_wcc in zip(filtered, out, strict=True):
        _fill_windows(x_tc.T, starts, length_samples, estimator, jobs, out_wcc)
    return out.swapaxes(0, 1)


def shrink_oas(
    matrices: Float[np.ndarray, "window channel channel"], *, n_samples: int
) -> Float[np.ndarray, "window channel channel"]:
    """Shrink sample covariance matrices by the oracle approximating rule.

    ``(1 - r) S + r tr(S) / c I``, where, as in scikit-learn, ``r`` is
    ``(|S|^2 + tr(S)^2) / ((n_samples + 1) (|S|^2 - tr(S)^2 / c))``, at most 1, with
    the Frobenius norm and c channels.

    Parameters
    ----------
    matrices : ndarray of float, shape (window, channel, channel)
        Sample covariance matrices, their mean removed; NaN stays NaN.
    n_samples : int
        Number of samples that each was computed from.

    Returns
    -------
    ndarray of float, shape (window, channel, channel)
        Unit and dtype of `matrices`.

    References
    ----------
    Y. Chen, A. Wiesel, Y. C. Eldar, A. O. Hero, Shrinkage algorithms for MMSE
    covariance estimation, IEEE Transactions on Signal Processing, 2010.
    """
    norm_w, trace_w = _measure(matrices)
    share_w = _oas_share(norm_w, trace_w, n_samples, matrices.shape[1])
    out = np.empty_like(matrices)
    _shrink(matrices, share_w, trace_w, 1.0, out)
    return out


def shrink_ledoit_wolf(
    matrices: Float[np.ndarray, "window channel channel"],
    fourth_moments: Float64[np.ndarray, " window"],
    *,
    n_samples: int,
) -> Float[np.ndarray, "window channel channel"]:
    """Shrink sample covariance matrices by the rule of Ledoit and Wolf.

    ``(1 - r) S + r tr(S) / c I``, where ``r`` is ``(m - |S|^2) / n_samples`` over
    ``|S|^2 - tr(S)^2 / c``, at most 1, with the Frobenius norm, c channels and m the
    mean of ``|x|^4`` over the samples x.

    Parameters
    ----------
    matrices : ndarray of float, shape (window, channel, channel)
        Sample covariance matrices, their mean removed; NaN stays NaN.
    fourth_moments : ndarray of float64, shape (window,)
        Mean of ``|x|^4`` in each window, where ``|x|^2`` sums the squares of all
        channels at one moment, their means removed.
    n_samples : int
        Number of samples that each was computed from.

    Returns
    -------
    ndarray of float, shape (window, channel, channel)
        Unit and dtype of `matrices`.

    References
    ----------
    O. Ledoit, M. Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, Journal of Multivariate Analysis, 2004.
    """
    norm_w, trace_w = _measure(matrices)
    n_channels = matrices.shape[1]
    share_w = _ledoit_wolf_share(norm_w, trace_w, fourth_moments, n_samples, n_channels)
    out = np.empty_like(matrices)
    _shrink(matrices, share_w, trace_w, 1.0, out)
    return out


def _require_known(estimator: str) -> None:
    """Raise if there is no such estimator."""
    if estimator not in _ESTIMATORS:
        raise InputError(f"estimator must be one of {_ESTIMATORS}, got {estimator!r}")


def _fill_windows(
    signal: Float[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    length: int,
    estimator: str,
    jobs: int,
    out_wcc: Float[np.ndarray, "window channel channel"],
) -> None:
    """Write the covariance matrix of each window of a signal."""
    _require_known(estimator)
    n_times = signal.shape[1]
    if n_times < 1:
        raise InputError("signal has no samples to cut windows from")
    if length < 1:
        raise InputError(f"length_samples must be at least 1, got {length}")
    if len(starts) == 0:
        return
    before = max(0, -int(starts.min()))
    after = max(0, int(starts.max()) + length - n_times)
    if before or after:
        signal = np.pad(signal, ((0, 0), (before, after)), mode="symmetric")
    order = np.argsort(starts, kind="stable")
    sorted_starts = starts[order] + before
    options = {"length": length, "order": _highest(estimator), "scratch": Scratch()}

    def estimate(tile: slice) -> None:
        moments = sum_windows(signal, sorted_starts[tile], **options)
        _finish(moments, length, estimator, out_wcc[tile])

    map_tiles(estimate, len(starts), tile_rows=_TILE_WINDOWS, jobs=jobs)
    if np.any(order[1:] < order[:-1]):
        out_wcc[order] = out_wcc.copy()


def _highest(estimator: str) -> Order:
    """Return the highest power of samples that an estimator needs."""
    return 4 if estimator == "ledoit_wolf" else 2


def _finish(
    moments: WindowMoments,
    n_samples: int,
    estimator: str,
    out_wcc: Float[np.ndarray, "window channel channel"],
) -> None:
    """Turn sums into covariance matrices; NaN where a sample is missing."""
    n = n_samples
    trace_w = np.trace(moments.scatter, axis1=1, axis2=2, dtype=np.float64) / n
    norm_w = moments.norm / n**2
    if estimator == "scm":
        share_w = np.zeros(len(trace_w))
    elif estimator == "oas":
        share_w = _oas_share(norm_w, trace_w, n, out_wcc.shape[1])
    else:
        fourth_w = moments.fourth / n
        share_w = _ledoit_wolf_share(norm_w, trace_w, fourth_w, n, out_wcc.shape[1])
    _shrink(moments.scatter, share_w, trace_w, 1 / n, out_wcc)
    out_wcc[moments.missing] = np.nan


def _measure(
    matrices: Float[np.ndarray, "window channel channel"],
) -> tuple[Float64[np.ndarray, " window"], Float64[np.ndarray, " window"]]:
    """Return squared norms and traces; float64 holds the squares of any float32."""
    norm_w = np.einsum("wij,wij->w", matrices, matrices, dtype=np.float64)
    return norm_w, np.trace(matrices, axis1=1, axis2=2, dtype=np.float64)


def _oas_share(
    norm_w: Float64[np.ndarray, " window"],
    trace_w: Float64[np.ndarray, " window"],
    n_samples: int,
    n_channels: int,
) -> Float64[np.ndarray, " window"]:
    """Return how far to shrink by the oracle approximating rule."""
    noise_w = (norm_w + trace_w**2) / (n_samples + 1)
    return _share(noise_w, norm_w - trace_w**2 / n_channels)


def _ledoit_wolf_share(
    norm_w: Float64[np.ndarray, " window"],
    trace_w: Float64[np.ndarray, " window"],
    fourth_w: Float64[np.ndarray, " window"],
    n_samples: int,
    n_channels: int,
) -> Float64[np.ndarray, " window"]:
    """Return how far to shrink by the rule of Ledoit and Wolf."""
    noise_w = (fourth_w - norm_w) / n_samples
    return _share(noise_w, norm_w - trace_w**2 / n_channels)


def _share(
    noise_w: Float64[np.ndarray, " window"], spread_w: Float64[np.ndarray, " window"]
) -> Float64[np.ndarray, " window"]:
    """Divide, up to 1; a multiple of the identity, as one channel is, gets 1."""
    share_w = noise_w / np.where(spread_w > 0, spread_w, 1)
    return np.where(spread_w > 0, np.minimum(share_w, 1), 1)


def _shrink(
    matrices: Float[np.ndarray, "window channel channel"],
    share_w: Float64[np.ndarray, " window"],
    trace_w: Float64[np.ndarray, " window"],
    scale: float,
    out_wcc: Float[np.ndarray, "window channel channel"],
) -> None:
    """Write scaled matrices shrunk towards the multiple of the identity."""
    kept_w = ((1 - share_w) * scale).astype(out_wcc.dtype)
    np.multiply(matrices, kept_w[:, None, None], out=out_wcc)
    diagonal = np.arange(out_wcc.shape[1])
    level_w = (share_w * trace_w / len(diagonal)).astype(out_wcc.dtype)
    out_wcc[:, diagonal, diagonal] += level_w[:, None]
