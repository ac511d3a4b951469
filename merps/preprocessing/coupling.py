"""How well optodes are coupled to the scalp, told by the heart beat in their light."""

from itertools import combinations

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.preprocessing.repair import fill_gaps
from merps.preprocessing.silence import quiet_mne

#: How far the cardiac band's edges fall off, in hertz.
TRANSITION_HZ = 0.3


def scalp_coupling_index(
    density: Float[np.ndarray, "wavelength channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
) -> Float64[np.ndarray, " channel"]:
    """Correlate the heart beat of each channel between its wavelengths.

    The wavelengths of one channel see the same pulse only where both optodes touch the
    scalp. All are band-passed (FIR filter of MNE-Python, linear phase without delay),
    and the index is the least of the correlations of any two of them.

    Parameters
    ----------
    density : ndarray of float, shape (wavelength, channel, time)
        Changes of optical density, or anything linear in it; NaN marks samples that
        are missing, which straight lines bridge.
    rate_hz : float
        Sampling rate in hertz.
    low_hz, high_hz : float
        Edges of the band in which hearts beat, in hertz.

    Returns
    -------
    ndarray of float64, shape (channel,)
        Between -1 and 1; from about 0.8 on, coupling is good. 0 where a wavelength does
        not change, NaN where one has no samples.

    Raises
    ------
    InputError
        If there is one wavelength only, if the band does not lie below the Nyquist
        frequency, or if a sample is infinite.

    References
    ----------
    L. Pollonini et al., Auditory cortex activation to natural speech and simulated
    cochlear implant speech measured with functional near-infrared spectroscopy,
    Hearing Research 309, 2014.
    """
    beat_lct = heart_beat(density, rate_hz=rate_hz, low_hz=low_hz, high_hz=high_hz)
    return _least_correlation(beat_lct[:, :, None])[:, 0]


def windowed_coupling(
    density: Float[np.ndarray, "wavelength channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
    window_s: float,
) -> Float64[np.ndarray, "channel window"]:
    """Take the scalp coupling index in windows that follow each other.

    Parameters
    ----------
    density : ndarray of float, shape (wavelength, channel, time)
        As for `scalp_coupling_index`; filtered as a whole.
    rate_hz, low_hz, high_hz : float
        As for `scalp_coupling_index`.
    window_s : float
        Length of a window in seconds, rounded up to whole samples; what is left at the
        end is not looked at, and a shorter signal is one window.

    Returns
    -------
    ndarray of float64, shape (channel, window)
        As from `scalp_coupling_index`.

    Raises
    ------
    InputError
        As `scalp_coupling_index`, or if a window has less than two samples.

    References
    ----------
    S. Montero Hernandez and L. Pollonini, NIRSplot: a tool for quality assessment of
    fNIRS scans, Biophotonics Congress: Optics and the Brain, 2020.
    """
    beat_lct = heart_beat(density, rate_hz=rate_hz, low_hz=low_hz, high_hz=high_hz)
    return _least_correlation(_cut(beat_lct, rate_hz, window_s))


def peak_power(
    density: Float[np.ndarray, "wavelength channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
    window_s: float,
) -> Float64[np.ndarray, "channel window"]:
    """Measure how regular the heart beat is that a channel's wavelengths share.

    In each window, the cross-correlation of two wavelengths, each over its standard
    deviation (population), is divided by the number of samples; of the periodogram of
    that (Hamming window, without its mean) the largest value counts, and of all pairs
    of wavelengths the least.

    Parameters
    ----------
    density : ndarray of float, shape (wavelength, channel, time)
        As for `scalp_coupling_index`; filtered as a whole.
    rate_hz, low_hz, high_hz : float
        As for `scalp_coupling_index`.
    window_s : float
        As for `windowed_coupling`.

    Returns
    -------
    ndarray of float64, shape (channel, window)
        Power density in 1/Hz; from about 0.1 on, coupling is good. NaN where a
        wavelength has no samples.

    Raises
    ------
    InputError
        As `windowed_coupling`.

    References
    ----------
    L. Pollonini, H. Bortfeld, J. S. Oghalai, PHOEBE: a method for real time mapping of
    optodes-scalp coupling in functional near-infrared spectroscopy, Biomedical Optics
    Express 7(12), 2016.
    """
    from scipy.signal import periodogram

    beat_lct = heart_beat(density, rate_hz=rate_hz, low_hz=low_hz, high_hz=high_hz)
    beat_lcwt = _cut(beat_lct, rate_hz, window_s)
    n_times = beat_lcwt.shape[-1]
    spread_lcw = beat_lcwt.std(axis=-1, keepdims=True)
    beat_lcwt = beat_lcwt / np.where(spread_lcw == 0, 1, spread_lcw)
    spectrum_lcwf = np.fft.rfft(beat_lcwt, 2 * n_times, axis=-1)
    peaks = []
    for one, other in combinations(spectrum_lcwf, 2):
        lags_cwt = np.fft.irfft(one * other.conj(), 2 * n_times, axis=-1)
        lags_cwt = np.roll(lags_cwt, n_times - 1, axis=-1)[..., : 2 * n_times - 1]
        _, power_cwf = periodogram(lags_cwt / n_times, fs=rate_hz, window="hamming")
        peaks.append(power_cwf.max(axis=-1))
    return np.min(peaks, axis=0)


def heart_beat(
    density: Float[np.ndarray, "wavelength channel time"],
    *,
    rate_hz: float,
    low_hz: float,
    high_hz: float,
) -> Float64[np.ndarray, "wavelength channel time"]:
    """Band-pass optical density to what the heart does.

    Parameters
    ----------
    density : ndarray of float, shape (wavelength, channel, time)
        As for `scalp_coupling_index`.
    rate_hz, low_hz, high_hz : float
        As for `scalp_coupling_index`.

    Returns
    -------
    ndarray of float64, shape (wavelength, channel, time)
        In the unit of `density`; NaN in rows without samples.

    Raises
    ------
    InputError
        As `scalp_coupling_index`.
    """
    from mne.filter import filter_data

    if len(density) < 2:
        raise InputError(
            f"coupling compares wavelengths, but density has {len(density)}; give at "
            "least two"
        )
    if not 0 < low_hz < high_hz < rate_hz / 2 - TRANSITION_HZ:
        raise InputError(
            f"low_hz={low_hz:g} and high_hz={high_hz:g} must rise and lie below "
            f"{rate_hz / 2 - TRANSITION_HZ:g} Hz at rate_hz={rate_hz:g}"
        )
    if np.isinf(density).any():
        raise InputError("density has infinite samples; mark them as NaN")
    with quiet_mne():
        beat_lct = filter_data(
            fill_gaps(density.astype(np.float64, order="C")),
            rate_hz,
            low_hz,
            high_hz,
            l_trans_bandwidth=min(TRANSITION_HZ, low_hz),
            h_trans_bandwidth=TRANSITION_HZ,
        )
    beat_lct[np.isnan(density).all(axis=-1)] = np.nan
    steady_lc = np.nanmax(density, axis=-1, initial=-np.inf) == np.nanmin(
        density, axis=-1, initial=np.inf
    )
    beat_lct[steady_lc] = 0
    return beat_lct


def _cut(
    beat_lct: Float64[np.ndarray, "wavelength channel time"],
    rate_hz: float,
    window_s: float,
) -> Float64[np.ndarray, "wavelength channel window length"]:
    """Cut windows that follow each other."""
    *rows, n_times = beat_lct.shape
    length = min(int(np.ceil(window_s * rate_hz)), n_times)
    if length < 2:
        raise InputError(
            f"window_s={window_s:g} must span at least two of {n_times} samples at "
            f"rate_hz={rate_hz:g}"
        )
    n_windows = n_times // length
    return beat_lct[..., : n_windows * length].reshape(*rows, n_windows, length)


def _least_correlation(
    beat_lcwt: Float64[np.ndarray, "wavelength channel window length"],
) -> Float64[np.ndarray, "channel window"]:
    """Return the least correlation of two wavelengths; 0 where one is steady."""
    rest_lcwt = beat_lcwt - beat_lcwt.mean(axis=-1, keepdims=True)
    spread_lcw = np.sqrt(np.sum(rest_lcwt**2, axis=-1))
    least = []
    for one, other in combinations(range(len(rest_lcwt)), 2):
        shared_cw = np.sum(rest_lcwt[one] * rest_lcwt[other], axis=-1)
        scale_cw = spread_lcw[one] * spread_lcw[other]
        least.append(shared_cw / np.where(scale_cw == 0, 1, scale_cw))
    return np.min(least, axis=0)
