"""Zero-phase filters and rational resampling along time."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError

#: Rows filtered at once, which bounds temporary memory for signals of any size.
_BLOCK_ROWS = 8
#: `resample` keeps what lies below this part of the lower Nyquist frequency.
_PASS_BAND = 0.8
#: Ripple and stop-band attenuation that the resampling filter is designed for.
_ATTENUATION_DB = 80.0
#: Largest denominator of a resampling factor, and the error it may leave in a rate.
_MAX_DENOMINATOR = 10_000
_MAX_RATE_ERROR = 1e-6


def band_pass(
    signal: Float[np.ndarray, "*row time"],
    *,
    rate_hz: float,
    low_hz: float | None,
    high_hz: float | None,
    order: int,
    pad_s: float,
) -> Float[np.ndarray, "*row time"]:
    """Filter each row with a zero-phase Butterworth filter.

    The filter runs forward and backward, so it delays nothing, looks ahead, and
    attenuates twice as many decibels as one pass: 6 dB at each edge.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    low_hz, high_hz : float or None
        Edges of the pass-band in hertz; without the lower edge the filter is a
        low-pass, without the upper edge a high-pass.
    order : int
        Order of the Butterworth prototype of one pass.
    pad_s : float
        Length of the odd reflection on both ends, in seconds; at most the signal's
        length less one sample is used.

    Returns
    -------
    ndarray of float, shape (..., time)
        Unit and dtype of `signal`; computed in float64.

    Raises
    ------
    InputError
        If the edges do not lie in order between zero and the Nyquist frequency, if
        both are None, or if the signal is empty or not finite.
    """
    _require_finite(signal)
    if low_hz is None and high_hz is None:
        raise InputError("low_hz and high_hz are both None; give at least one edge")
    for name, edge in (("low_hz", low_hz), ("high_hz", high_hz)):
        _require_below_nyquist(name, edge, rate_hz=rate_hz)
    if low_hz is not None and high_hz is not None and low_hz >= high_hz:
        raise InputError(f"low_hz={low_hz:g} must be less than high_hz={high_hz:g}")
    if order < 1:
        raise InputError(f"order must be at least 1, got {order}")
    from scipy.signal import butter

    if high_hz is None:
        kind, edges_hz = "highpass", low_hz
    elif low_hz is None:
        kind, edges_hz = "lowpass", high_hz
    else:
        kind, edges_hz = "bandpass", (low_hz, high_hz)
    sections = butter(order, edges_hz, kind, fs=rate_hz, output="sos")
    return _filter_both_ways(signal, sections, _pad_samples(signal, rate_hz, pad_s))


def notch(
    signal: Float[np.ndarray, "*row time"],
    *,
    rate_hz: float,
    line_hz: float,
    width_hz: float,
    pad_s: float,
) -> Float[np.ndarray, "*row time"]:
    """Remove one frequency from each row with a zero-phase notch filter.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    line_hz : float
        Frequency to remove, in hertz.
    width_hz : float
        Width of the notch in hertz, between the points where one pass attenuates by
        3 dB and both passes by 6 dB.
    pad_s : float
        Length of the odd reflection on both ends, in seconds; at most the signal's
        length less one sample is used.

    Returns
    -------
    ndarray of float, shape (..., time)
        Unit and dtype of `signal`; computed in float64.

    Raises
    ------
    InputError
        If the notch does not lie between zero and the Nyquist frequency, or if the
        signal is empty or not finite.
    """
    _require_finite(signal)
    _require_below_nyquist("line_hz", line_hz, rate_hz=rate_hz)
    if not 0 < width_hz < line_hz:
        raise InputError(
            f"width_hz={width_hz:g} must lie between 0 and line_hz={line_hz:g}"
        )
    from scipy.signal import iirnotch, tf2sos

    sections = tf2sos(*iirnotch(line_hz, line_hz / width_hz, fs=rate_hz))
    return _filter_both_ways(signal, sections, _pad_samples(signal, rate_hz, pad_s))


def resample(
    signal: Float[np.ndarray, "*row time"], *, rate_hz: float, to_hz: float
) -> Float[np.ndarray, "*row new_time"]:
    """Change the sampling rate of each row by a rational factor, without delay.

    Sample 0 of the result lies at the time of sample 0 of the signal. A linear-phase
    Kaiser-windowed filter guards against aliases: measured in parts of the lower of
    the two Nyquist frequencies, it keeps what lies below 0.8 to better than 0.1 %,
    removes what lies above 1 by more than 60 dB, and falls off in between. The signal
    is continued on both ends by odd reflection, so that an offset leaves no transient.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    to_hz : float
        Sampling rate of the result in hertz; ``to_hz / rate_hz`` is taken as the
        nearest fraction with a denominator of at most 10,000.

    Returns
    -------
    ndarray of float, shape (..., new_time)
        ``ceil(time * to_hz / rate_hz)`` samples in unit and dtype of `signal`; computed
        in float64; a copy where the rates are equal.

    Raises
    ------
    InputError
        If a rate is not positive, if no fraction meets the ratio to within 1e-6, or if
        the signal is empty or not finite.
    """
    _require_finite(signal)
    factor = _rational(rate_hz=rate_hz, to_hz=to_hz)
    if factor == 1:
        return signal.copy(order="C")
    up, down = factor.as_integer_ratio()
    taps = _anti_alias(up, down)
    n_new = -(-signal.shape[-1] * up // down)
    return _by_block(lambda rows: _change_rate(rows, taps, up, down), signal, n_new)


def _require_finite(signal: Float[np.ndarray, "*row time"]) -> None:
    """Raise if a filter would spread a missing or infinite sample."""
    if signal.size == 0:
        raise InputError(f"signal of shape {signal.shape} is empty")
    low, high = signal.min(), signal.max()
    if np.isnan(low):
        raise InputError(
            "signal has NaN samples, which a filter would spread over the whole row; "
            "call merps.preprocessing.repair.fill_gaps first"
        )
    if np.isinf(low) or np.isinf(high):
        raise InputError(
            "signal has infinite samples; mark them as NaN and call "
            "merps.preprocessing.repair.fill_gaps first"
        )


def _require_below_nyquist(
    name: str, frequency_hz: float | None, *, rate_hz: float
) -> None:
    """Raise if a frequency cannot be told apart at this sampling rate."""
    if not rate_hz > 0:
        raise InputError(f"rate_hz must be positive, got {rate_hz:g}")
    if frequency_hz is not None and not 0 < frequency_hz < rate_hz / 2:
        raise InputError(
            f"{name}={frequency_hz:g} must lie above 0 and below {rate_hz / 2:g}, the "
            f"Nyquist frequency at rate_hz={rate_hz:g}; change {name}, or leave this "
            "filter out if the signal holds nothing to remove there"
        )


def _pad_samples(
    signal: Float[np.ndarray, "*row time"], rate_hz: float, pad_s: float
) -> int:
    """Return how many samples the signal is reflected by on each end."""
    if not pad_s >= 0:
        raise InputError(f"pad_s must not be negative, got {pad_s:g}")
    return min(round(pad_s * rate_hz), signal.shape[-1] - 1)


def _by_block(
    transform: Callable, signal: Float[np.ndarray, "*row time"], n_times: int
) -> Float[np.ndarray, "*row new_time"]:
    """Transform a few rows at a time in float64; keep the dtype of the signal."""
    rows = signal.reshape(-1, signal.shape[-1])
    out = np.empty((len(rows), n_times), dtype=signal.dtype)
    for first in range(0, len(rows), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        out[block] = transform(rows[block].astype(np.float64, order="C"))
    return out.reshape(*signal.shape[:-1], n_times)


def _filter_both_ways(
    signal: Float[np.ndarray, "*row time"],
    sections: Float64[np.ndarray, "section 6"],
    n_pad: int,
) -> Float[np.ndarray, "*row time"]:
    """Run second-order sections forward and backward over each row."""
    from scipy.signal import sosfiltfilt

    def transform(rows):
        return sosfiltfilt(sections, rows, padtype="odd", padlen=n_pad)

    return _by_block(transform, signal, signal.shape[-1])


def _rational(*, rate_hz: float, to_hz: float) -> Fraction:
    """Return the resampling factor as a fraction of small numbers."""
    if not (rate_hz > 0 and to_hz > 0):
        raise InputError(
            f"rates must be positive, got rate_hz={rate_hz:g} and to_hz={to_hz:g}"
        )
    ratio = to_hz / rate_hz
    factor = Fraction(ratio).limit_denominator(_MAX_DENOMINATOR)
    if abs(float(factor) - ratio) > _MAX_RATE_ERROR * ratio:
        raise InputError(
            f"to_hz={to_hz!r} over rate_hz={rate_hz!r} is no fraction with a "
            f"denominator up to {_MAX_DENOMINATOR}, so the time axis would drift; "
            "choose a rate in a simpler ratio"
        )
    return factor


def _anti_alias(up: int, down: int) -> Float64[np.ndarray, " tap"]:
    """Design the linear-phase low-pass of `resample`, an odd number of taps."""
    from scipy.signal import firwin, kaiserord

    # In parts of the Nyquist frequency of the rate in between, up * rate_hz.
    nyquist = 1 / max(up, down)
    n_taps, beta = kaiserord(_ATTENUATION_DB, (1 - _PASS_BAND) * nyquist)
    taps = firwin(n_taps | 1, (1 + _PASS_BAND) / 2 * nyquist, window=("kaiser", beta))
    # Each output sample uses one phase of the taps; with unit sums offsets stay exact.
    phase = np.arange(len(taps)) % up
    return taps / np.bincount(phase, weights=taps)[phase]


def _change_rate(
    rows: Float64[np.ndarray, "row time"],
    taps: Float64[np.ndarray, " tap"],
    up: int,
    down: int,
) -> Float64[np.ndarray, "row new_time"]:
    """Interpolate by `up`, filter and keep each `down`-th sample, without delay."""
    from scipy.signal import upfirdn

    half = len(taps) // 2
    n_pad = -(-half // up)
    delay = n_pad * up + half
    lead = -delay % down  # so that the delay is a whole number of output samples
    padded = np.pad(rows, ((0, 0), (n_pad, n_pad)), mode="reflect", reflect_type="odd")
    out = upfirdn(np.pad(taps, (lead, 0)), padded, up, down)
    first = (delay + lead) // down
    return out[:, first : first - (-rows.shape[1] * up // down)]
