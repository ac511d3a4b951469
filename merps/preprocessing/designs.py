"""Coefficients of the filters: Butterworth and notch sections, anti-alias taps."""

from fractions import Fraction

import numpy as np
from jaxtyping import Complex128, Float64

from merps.errors import InputError

#: Ripple and stop-band attenuation that the resampling filter is designed for.
_ATTENUATION_DB = 80.0
#: Largest denominator of a resampling factor, and the error it may leave in a rate.
_MAX_DENOMINATOR = 10_000
_MAX_RATE_ERROR = 1e-6
#: Imaginary part below which a pole is real.
_REAL = 1e-12


def butterworth(
    *, rate_hz: float, low_hz: float | None, high_hz: float | None, order: int
) -> Float64[np.ndarray, "section 6"]:
    """Design a Butterworth filter as second-order sections.

    The analog prototype is transformed to the band and to digital by the bilinear
    transform with pre-warped edges, as `scipy.signal.butter` does. Every section has
    unit gain where the whole filter has: at zero, at the Nyquist frequency, or in the
    middle of the band.

    Parameters
    ----------
    rate_hz : float
        Sampling rate in hertz.
    low_hz, high_hz : float or None
        Edges of the pass-band in hertz, at least one of them; without the lower edge
        the filter is a low-pass, without the upper edge a high-pass.
    order : int
        Order of the prototype; a band-pass has twice as many poles.

    Returns
    -------
    ndarray of float64, shape (section, 6)
        Rows of b0, b1, b2, 1, a1, a2.

    References
    ----------
    Oppenheim and Schafer 2010, Discrete-Time Signal Processing, section 7.2.
    """
    angles = np.pi * (np.arange(order) + 0.5) / order
    poles = -np.sin(angles) + 1j * np.cos(angles)
    edges = [np.tan(np.pi * edge / rate_hz) for edge in (low_hz, high_hz) if edge]
    if low_hz is None:
        poles, zeros, flat = edges[0] * poles, (-1.0, -1.0), 1.0
    elif high_hz is None:
        poles, zeros, flat = edges[0] / poles, (1.0, 1.0), -1.0
    else:
        half = (edges[1] - edges[0]) / 2 * poles
        spread = np.sqrt(half**2 - edges[0] * edges[1])
        poles = np.concatenate([half + spread, half - spread])
        middle = np.sqrt(edges[0] * edges[1])
        zeros, flat = (1.0, -1.0), (1 + 1j * middle) / (1 - 1j * middle)
    poles = (1 + poles) / (1 - poles)
    return np.array([_section(pair, zeros, flat) for pair in _pair(poles)])


def notch_section(
    *, rate_hz: float, line_hz: float, width_hz: float
) -> Float64[np.ndarray, "1 6"]:
    """Design a notch as one second-order section.

    Parameters
    ----------
    rate_hz : float
        Sampling rate in hertz.
    line_hz : float
        Frequency with zero gain, in hertz.
    width_hz : float
        Width between the points that are attenuated by 3 dB, in hertz.

    Returns
    -------
    ndarray of float64, shape (1, 6)
        One row of b0, b1, b2, 1, a1, a2; gain 1 at zero.

    References
    ----------
    Orfanidis 1996, Introduction to Signal Processing, section 11.3.
    """
    damping = np.tan(np.pi * width_hz / rate_hz)
    cosine = np.cos(2 * np.pi * line_hz / rate_hz)
    gain = 1 / (1 + damping)
    return np.array(
        [[gain, -2 * gain * cosine, gain, 1, -2 * gain * cosine, 2 * gain - 1]]
    )


def steady_state(
    sections: Float64[np.ndarray, "section 6"],
) -> Float64[np.ndarray, "section 2"]:
    """Return the state in which a filter leaves a constant of 1 as it would forever.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Rows of b0, b1, b2, 1, a1, a2.

    Returns
    -------
    ndarray of float64, shape (section, 2)
        Delays of the transposed direct form II, as `scipy.signal.sosfilt_zi`.
    """
    states, level = [], 1.0
    for b0, b1, b2, _, a1, a2 in sections:
        gain = (b0 + b1 + b2) / (1 + a1 + a2)
        late = b2 - a2 * gain
        states.append((level * (b1 - a1 * gain + late), level * late))
        level *= gain
    return np.array(states)


def group_delay_s(
    sections: Float64[np.ndarray, "section 6"], *, rate_hz: float, at_hz: float
) -> float:
    """Return by how much one pass of a filter delays what changes about a frequency.

    The derivative of the phase: ``-dp/dw`` of the response at w, which for a
    polynomial ``b0 + b1 / z + b2 / z^2`` is the real part of
    ``(b1 / z + 2 b2 / z^2)`` over the polynomial.

    Parameters
    ----------
    sections : ndarray of float64, shape (section, 6)
        Rows of b0, b1, b2, 1, a1, a2.
    rate_hz : float
        Sampling rate in hertz.
    at_hz : float
        The frequency, in hertz, where no section has a gain of zero.

    Returns
    -------
    float
        In seconds.

    References
    ----------
    Oppenheim and Schafer 2010, Discrete-Time Signal Processing, section 5.1.
    """
    back = np.exp(-2j * np.pi * at_hz / rate_hz) ** np.arange(3)
    terms = sections.reshape(-1, 2, 3) * back
    ramps = (terms * np.arange(3)).sum(axis=-1) / terms.sum(axis=-1)
    return float((ramps[:, 0] - ramps[:, 1]).real.sum()) / rate_hz


def rational(*, rate_hz: float, to_hz: float) -> Fraction:
    """Return a resampling factor as a fraction of small numbers.

    Parameters
    ----------
    rate_hz, to_hz : float
        Sampling rates before and after, in hertz.

    Returns
    -------
    Fraction
        The fraction nearest to ``to_hz / rate_hz``.

    Raises
    ------
    InputError
        If a rate is not positive, or no fraction with a denominator of at most 10,000
        meets the ratio to within 1e-6.
    """
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


def anti_alias(
    factor: Fraction, *, pass_band: float, stop_band: float
) -> Float64[np.ndarray, " tap"]:
    """Design the linear-phase low-pass of a change of rate.

    Parameters
    ----------
    factor : Fraction
        Rate after over rate before.
    pass_band, stop_band : float
        Where the pass-band ends and the stop-band begins, in parts of the lower of the
        two Nyquist frequencies.

    Returns
    -------
    ndarray of float64, shape (tap,)
        An odd number of taps at the rate ``up`` times the one before.
    """
    up, down = factor.as_integer_ratio()
    # In parts of the Nyquist frequency of the rate in between.
    nyquist = 1 / max(up, down)
    cutoff = (pass_band + stop_band) / 2 * nyquist
    # Kaiser's formulas, as in Oppenheim and Schafer 2010, eq. 7.75 and 7.76.
    width = np.pi * (stop_band - pass_band) * nyquist
    half = int(np.ceil((_ATTENUATION_DB - 7.95) / (2.285 * width) / 2))
    times = np.arange(-half, half + 1)
    beta = 0.1102 * (_ATTENUATION_DB - 8.7)
    taps = np.sinc(cutoff * times) * np.kaiser(2 * half + 1, beta)
    # Each output sample uses one phase of the taps; with unit sums offsets stay exact.
    phase = np.arange(len(taps)) % up
    return taps / np.bincount(phase, weights=taps)[phase]


def _pair(
    poles: Complex128[np.ndarray, " pole"],
) -> list[tuple[complex, complex]]:
    """Return conjugate or real poles two by two; a single one goes with zero."""
    pairs = [(pole, pole.conjugate()) for pole in poles if pole.imag > _REAL]
    real = sorted(pole.real for pole in poles if abs(pole.imag) <= _REAL)
    pairs += zip(real[::2], [*real[1::2], 0.0], strict=False)
    return pairs


def _section(
    poles: tuple[complex, complex], zeros: tuple[float, float], flat: complex
) -> tuple[float, ...]:
    """Return the row of one pair of poles, with unit gain at the point `flat`."""
    b1, b2 = -sum(zeros), zeros[0] * zeros[1]
    a1, a2 = -(poles[0] + poles[1]).real, (poles[0] * poles[1]).real
    if poles[1] == 0:  # a single pole has a single zero
        b1, b2 = -zeros[0], 0.0
    response = (1 + b1 / flat + b2 / flat**2) / (1 + a1 / flat + a2 / flat**2)
    gain = 1 / abs(response)
    return gain, gain * b1, gain * b2, 1.0, a1, a2
