"""EEG channels that saw something else than the others."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.errors import InputError
from merps.preprocessing.filters import band_pass
from merps.preprocessing.repair import fill_gaps

#: What correlations are taken of, and where noise of muscles and contacts begins.
_BAND_HZ = (1.0, 45.0)
_ORDER = 4
_PAD_S = 2.0
#: Standard deviations of a normal distribution in one median absolute deviation.
_DEVIATIONS = 1.4826
#: Correlations that a window has with other channels: this share of them is lower than
#: the one that counts, so that one other bad channel cannot make a channel good.
_QUANTILE = 0.98


@dataclass(frozen=True, slots=True)
class ChannelFaults:
    """What speaks against each channel.

    Parameters
    ----------
    missing, flat : ndarray of float64, shape (channel,)
        Share of samples that are missing, and of windows that do not move.
    uncorrelated : ndarray of float64, shape (channel,)
        Share of windows in which no other channel goes along.
    noise_z, amplitude_z : ndarray of float64, shape (channel,)
        Noise above 45 Hz over the signal below, and deviation of the signal, both in
        robust standard deviations from the median channel.
    bad : ndarray of bool, shape (channel,)
        Any of these beyond its limit.
    """

    missing: Float64[np.ndarray, " channel"]
    flat: Float64[np.ndarray, " channel"]
    uncorrelated: Float64[np.ndarray, " channel"]
    noise_z: Float64[np.ndarray, " channel"]
    amplitude_z: Float64[np.ndarray, " channel"]
    bad: Bool[np.ndarray, " channel"]


def find_bad_channels(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    window_s: float,
    max_missing: float,
    min_correlation: float,
    max_uncorrelated: float,
    max_noise_z: float,
    max_amplitude_z: float,
) -> ChannelFaults:
    """Find channels that are missing, flat, alone, noisy or too strong.

    As the PREP pipeline does but for its last step, the prediction of each channel from
    others: in windows that follow each other, the 98th percentile of a channel's
    absolute correlations with other channels (from 1 to 45 Hz) must reach
    `min_correlation`; the median absolute deviation above 45 Hz over that below, and
    that of the signal as a whole, are compared between channels. Channels that are
    missing or flat are not compared with. Where more than half of the channels go along
    with no other, they are too far apart to be told by that, and none is bad for it.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz; above 2 Hz. At less than about 100 Hz there is no noise
        to look at, and `noise_z` is 0.
    window_s : float
        Length of a window in seconds.
    max_missing : float
        Share of samples that may be missing, and of windows that may be flat.
    min_correlation : float
        Correlation that a good channel has with another one.
    max_uncorrelated : float
        Share of windows in which it may have less.
    max_noise_z, max_amplitude_z : float
        Limits in robust standard deviations; of the amplitude on both sides.

    Returns
    -------
    ChannelFaults
        What was found, and which channels are bad.

    Raises
    ------
    InputError
        If a window has less than two samples, the signal is shorter than one, or the
        rate is too low.

    References
    ----------
    N. Bigdely-Shamlo et al., The PREP pipeline: standardized preprocessing for
    large-scale EEG analysis, Frontiers in Neuroinformatics 9:16, 2015.
    """
    n_channels, n_times = signal.shape
    length = round(window_s * rate_hz)
    if length < 2 or n_times < length or rate_hz <= 2 * _BAND_HZ[0]:
        raise InputError(
            f"window_s={window_s:g} at rate_hz={rate_hz:g} must span at least two and "
            f"at most {n_times} samples, sampled above {2 * _BAND_HZ[0]:g} Hz"
        )
    missing_c = np.isnan(signal).mean(axis=-1)
    n_windows = n_times // length
    windows_cwt = signal[:, : n_windows * length].reshape(n_channels, n_windows, length)
    flat_c = (np.ptp(windows_cwt, axis=-1) == 0).mean(axis=-1)
    bad_c = (missing_c > max_missing) | (flat_c > max_missing)
    seen = ~bad_c
    uncorrelated_c, noise_c, amplitude_c = np.zeros((3, n_channels))
    if seen.any():
        slow_ct, fast_ct = _split(fill_gaps(signal[seen].astype(np.float64)), rate_hz)
        amplitude_c[seen] = _robust_z(_deviation(slow_ct))
        if fast_ct is not None:
            below_c = _deviation(slow_ct)
            ratio_c = _deviation(fast_ct) / np.where(below_c > 0, below_c, np.nan)
            noise_c[seen] = _robust_z(ratio_c)
        uncorrelated_c[seen] = _uncorrelated(slow_ct, length, min_correlation)
    alone_c = uncorrelated_c > max_uncorrelated
    if alone_c.sum() <= seen.sum() / 2:
        bad_c |= alone_c
    bad_c |= noise_c > max_noise_z
    bad_c |= np.abs(amplitude_c) > max_amplitude_z
    return ChannelFaults(missing_c, flat_c, uncorrelated_c, noise_c, amplitude_c, bad_c)


def _split(
    signal: Float64[np.ndarray, "channel time"], rate_hz: float
) -> tuple[
    Float64[np.ndarray, "channel time"], Float64[np.ndarray, "channel time"] | None
]:
    """Return what lies between 1 and 45 Hz, and what lies above if that exists."""
    low_hz, high_hz = _BAND_HZ
    options = {"rate_hz": rate_hz, "order": _ORDER, "pad_s": _PAD_S}
    has_noise = rate_hz > 2.2 * high_hz
    slow_ct = band_pass(
        signal, low_hz=low_hz, high_hz=high_hz if has_noise else None, **options
    )
    if not has_noise:
        return slow_ct, None
    return slow_ct, band_pass(signal, low_hz=high_hz, high_hz=None, **options)


def _deviation(
    x_ct: Float64[np.ndarray, "channel time"],
) -> Float64[np.ndarray, " channel"]:
    """Return the median absolute deviation of each channel."""
    middle_c = np.median(x_ct, axis=-1, keepdims=True)
    return _DEVIATIONS * np.median(np.abs(x_ct - middle_c), axis=-1)


def _robust_z(
    value_c: Float64[np.ndarray, " channel"],
) -> Float64[np.ndarray, " channel"]:
    """Return how far values are from the median one; 0 where none differs."""
    middle = np.nanmedian(value_c)
    spread = _DEVIATIONS * np.nanmedian(np.abs(value_c - middle))
    if not spread > 0:
        return np.zeros(len(value_c))
    return np.nan_to_num((value_c - middle) / spread)


def _uncorrelated(
    x_ct: Float64[np.ndarray, "channel time"], length: int, least: float
) -> Float64[np.ndarray, " channel"]:
    """Return the share of windows in which no other channel goes along."""
    n_channels, n_times = x_ct.shape
    if n_channels < 2:
        return np.zeros(n_channels)
    n_windows = n_times // length
    x_wct = x_ct[:, : n_windows * length].reshape(n_channels, n_windows, length)
    x_wct = x_wct.swapaxes(0, 1)
    x_wct = x_wct - x_wct.mean(axis=-1, keepdims=True)
    spread_wc = np.sqrt(np.sum(x_wct**2, axis=-1, keepdims=True))
    x_wct = x_wct / np.where(spread_wc > 0, spread_wc, 1)
    correlation_wcc = np.abs(x_wct @ x_wct.swapaxes(1, 2))
    others = ~np.eye(n_channels, dtype=bool)
    correlation_wco = correlation_wcc[:, others].reshape(n_windows, n_channels, -1)
    best_wc = np.quantile(correlation_wco, _QUANTILE, axis=-1)
    return (best_wc < least).mean(axis=0)
