"""Level, trend and spread of slow signals, window by window."""

import numpy as np
from jaxtyping import Float, Int

from merps.errors import InputError
from merps.features.tiles import map_tiles
from merps.kernels.waveform import sum_spans
from merps.shapes import native

#: Names along the last axis of `summarize_hemodynamics`.
SUMMARIES = ("mean", "slope", "sd")
#: Windows that one thread summarizes at a time.
_TILE_WINDOWS = 64


def summarize_hemodynamics(
    windows: Float[np.ndarray, "window kind channel time"], *, rate_hz: float
) -> Float[np.ndarray, "window kind channel 3"]:
    """Summarize each window by its mean, slope and standard deviation.

    Parameters
    ----------
    windows : ndarray of float, shape (window, kind, channel, time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz.

    Returns
    -------
    ndarray of float, shape (window, kind, channel, 3)
        In the order of `SUMMARIES`: mean, in the unit of `windows`; slope of the line
        of least squares, in that unit per second; standard deviation around the mean
        (population), trend included. In the dtype of `windows`, from sums in float64;
        NaN where a window has a missing sample.

    Raises
    ------
    InputError
        If windows have fewer than two samples, or the rate is not positive.
    """
    n_times = windows.shape[-1]
    if n_times < 2 or not rate_hz > 0:
        raise InputError(
            f"a slope needs two samples and a positive rate, got {n_times} samples at "
            f"rate_hz={rate_hz:g}; take longer windows"
        )
    time_t = (np.arange(n_times) - (n_times - 1) / 2) / rate_hz
    weights_t = time_t / np.sum(time_t**2)
    summary = np.empty((*windows.shape[:-1], len(SUMMARIES)), dtype=windows.dtype)
    for x_kct, out in zip(windows, summary, strict=True):
        mean_kc = x_kct.mean(axis=-1, dtype=np.float64)
        rest_kct = x_kct - mean_kc[..., None]
        out[..., 0] = mean_kc
        out[..., 1] = (rest_kct * weights_t).sum(axis=-1)
        out[..., 2] = np.sqrt((rest_kct**2).mean(axis=-1))
    return summary


def summarize_spans(
    signal: Float[np.ndarray, "kind channel time"],
    starts: Int[np.ndarray, " window"],
    *,
    length_samples: int,
    rate_hz: float,
    jobs: int = 1,
) -> Float[np.ndarray, "window kind channel 3"]:
    """Summarize spans of one signal, without cutting windows first.

    Parameters
    ----------
    signal : ndarray of float, shape (kind, channel, time)
        Any unit; NaN marks samples that are missing. Quickest in Fortran order.
    starts : ndarray of int, shape (window,)
        First sample of each span; the whole span lies inside the signal.
    length_samples : int
        Number of samples in a span.
    rate_hz : float
        Sampling rate in hertz.
    jobs : int
        Threads that share the spans; their number changes no bit of the result.

    Returns
    -------
    ndarray of float, shape (window, kind, channel, 3)
        As `summarize_hemodynamics` of the windows; float64 where `signal` is not
        float32.

    Raises
    ------
    InputError
        If spans have fewer than two samples or leave the signal, or the rate is not
        positive.
    """
    n_kinds, n_channels, n_times = signal.shape
    length = length_samples
    if length < 2 or not rate_hz > 0:
        raise InputError(
            f"a slope needs two samples and a positive rate, got {length} samples at "
            f"rate_hz={rate_hz:g}; take longer spans"
        )
    if starts.size and not 0 <= starts.min() <= starts.max() <= n_times - length:
        raise InputError(
            f"spans of {length} samples from {starts.min()} to {starts.max()} leave "
            f"the signal of {n_times} samples"
        )
    x_tr = native(np.ascontiguousarray(signal.T).reshape(n_times, n_channels * n_kinds))
    start_w = starts.astype(np.int64)
    level_wr = x_tr[start_w].astype(np.float64)
    summary_wmr = np.empty((len(starts), len(SUMMARIES), x_tr.shape[1]))

    def summarize(tile: slice) -> None:
        sums_wmr = summary_wmr[tile]
        sum_spans(x_tr, level_wr[tile], start_w[tile], length, sums_wmr)

    map_tiles(summarize, len(starts), tile_rows=_TILE_WINDOWS, jobs=jobs)
    mean_wr, slope_wr, square_wr = summary_wmr.transpose(1, 0, 2)
    mean_wr /= length
    # The places 1 / rate_hz apart have a sum of squares of n (n^2 - 1) / 12.
    slope_wr *= 12 * rate_hz / (length * (length**2 - 1))
    variance_wr = np.maximum(square_wr / length - mean_wr**2, 0)
    square_wr[...] = np.sqrt(variance_wr)
    mean_wr += level_wr
    summary_wmck = summary_wmr.reshape(*summary_wmr.shape[:2], n_channels, n_kinds)
    return summary_wmck.transpose(0, 3, 2, 1).astype(x_tr.dtype)
