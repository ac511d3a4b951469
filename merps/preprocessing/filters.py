"""Zero-phase filters and rational resampling along time."""

import numpy as np
from jaxtyping import Float

from merps.errors import InputError
from merps.preprocessing.chain import ZeroPhaseFilter, filter_pieces
from merps.preprocessing.designs import butterworth, notch_section


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
    chosen = design_band_pass(
        rate_hz=rate_hz, low_hz=low_hz, high_hz=high_hz, order=order, pad_s=pad_s
    )
    return _filter_whole(signal, chosen, rate_hz)


def design_band_pass(
    *,
    rate_hz: float,
    low_hz: float | None,
    high_hz: float | None,
    order: int,
    pad_s: float,
) -> ZeroPhaseFilter:
    """Design the filter of `band_pass`.

    Parameters
    ----------
    rate_hz : float
        Sampling rate in hertz.
    low_hz, high_hz : float or None
        Edges of the pass-band in hertz, at least one of them.
    order : int
        Order of the Butterworth prototype of one pass.
    pad_s : float
        Length of the odd reflection on both ends, in seconds.

    Returns
    -------
    ZeroPhaseFilter
        What `filter_pieces` takes.

    Raises
    ------
    InputError
        If the edges do not lie in order between zero and the Nyquist frequency, or if
        both are None.
    """
    if low_hz is None and high_hz is None:
        raise InputError("low_hz and high_hz are both None; give at least one edge")
    for name, edge in (("low_hz", low_hz), ("high_hz", high_hz)):
        _require_below_nyquist(name, edge, rate_hz=rate_hz)
    if low_hz is not None and high_hz is not None and low_hz >= high_hz:
        raise InputError(f"low_hz={low_hz:g} must be less than high_hz={high_hz:g}")
    if order < 1:
        raise InputError(f"order must be at least 1, got {order}")
    sections = butterworth(rate_hz=rate_hz, low_hz=low_hz, high_hz=high_hz, order=order)
    return ZeroPhaseFilter(sections, _require_length(pad_s))


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
    chosen = design_notch(
        rate_hz=rate_hz, line_hz=line_hz, width_hz=width_hz, pad_s=pad_s
    )
    return _filter_whole(signal, chosen, rate_hz)


def design_notch(
    *, rate_hz: float, line_hz: float, width_hz: float, pad_s: float
) -> ZeroPhaseFilter:
    """Design the filter of `notch`.

    Parameters
    ----------
    rate_hz : float
        Sampling rate in hertz.
    line_hz : float
        Frequency to remove, in hertz.
    width_hz : float
        Width between the points where one pass attenuates by 3 dB, in hertz.
    pad_s : float
        Length of the odd reflection on both ends, in seconds.

    Returns
    -------
    ZeroPhaseFilter
        What `filter_pieces` takes.

    Raises
    ------
    InputError
        If the notch does not lie between zero and the Nyquist frequency.
    """
    _require_below_nyquist("line_hz", line_hz, rate_hz=rate_hz)
    if not 0 < width_hz < line_hz:
        raise InputError(
            f"width_hz={width_hz:g} must lie between 0 and line_hz={line_hz:g}"
        )
    sections = notch_section(rate_hz=rate_hz, line_hz=line_hz, width_hz=width_hz)
    return ZeroPhaseFilter(sections, _require_length(pad_s))


def resample(
    signal: Float[np.ndarray, "*row time"],
    *,
    rate_hz: float,
    to_hz: float,
    keep_hz: float | None,
) -> Float[np.ndarray, "*row new_time"]:
    """Change the sampling rate of each row by a rational factor, without delay.

    Sample 0 of the result lies at the time of sample 0 of the signal. A linear-phase
    Kaiser-windowed filter guards against aliases: measured in parts of the lower of
    the two Nyquist frequencies, it keeps what lies below 0.8 to better than 0.1 %,
    removes what lies above 1 by more than 60 dB, and falls off in between. Where a
    later filter leaves only what lies below `keep_hz`, a shorter and faster filter
    does: it keeps that as well, and removes what would be folded back onto it. The
    signal is continued on both ends by odd reflection, so that an offset leaves no
    transient.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    to_hz : float
        Sampling rate of the result in hertz; ``to_hz / rate_hz`` is taken as the
        nearest fraction with a denominator of at most 10,000.
    keep_hz : float or None
        Up to where the signal must come through unchanged and free of aliases, below
        the lower Nyquist frequency; None keeps as much as the result can hold.

    Returns
    -------
    ndarray of float, shape (..., new_time)
        ``ceil(time * to_hz / rate_hz)`` samples in unit and dtype of `signal`; computed
        in float64; a copy where the rates are equal.

    Raises
    ------
    InputError
        If a rate is not positive, if no fraction meets the ratio to within 1e-6, if
        `keep_hz` is not below both Nyquist frequencies, or if the signal is empty or
        not finite.
    """
    _require_finite(signal)
    return filter_pieces(
        [signal],
        rate_hz=rate_hz,
        to_hz=to_hz,
        keep_hz=keep_hz,
        filters=(),
        dtype=signal.dtype,
    )


def _filter_whole(
    signal: Float[np.ndarray, "*row time"], chosen: ZeroPhaseFilter, rate_hz: float
) -> Float[np.ndarray, "*row time"]:
    """Run one filter over a signal at its own rate."""
    return filter_pieces(
        [signal],
        rate_hz=rate_hz,
        to_hz=rate_hz,
        keep_hz=None,
        filters=[chosen],
        dtype=signal.dtype,
    )


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


def _require_length(pad_s: float) -> float:
    """Raise if a reflection has a negative length."""
    if not pad_s >= 0:
        raise InputError(f"pad_s must not be negative, got {pad_s:g}")
    return pad_s
