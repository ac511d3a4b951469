"""Level, trend and spread of slow signals, window by window."""

import numpy as np
from jaxtyping import Float

from merps.errors import InputError

#: Names along the last axis of `summarize_hemodynamics`.
SUMMARIES = ("mean", "slope", "sd")


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
