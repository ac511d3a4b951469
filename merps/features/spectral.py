"""Power of frequency bands, window by window."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from merps.errors import InputError
from merps.features.sliding import count_windows
from merps.features.tiles import map_tiles
from merps.shapes import native

#: Windows that one thread slides over at a time.
_TILE_WINDOWS = 32


def band_power(
    windows: Float[np.ndarray, "window channel time"],
    *,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
) -> Float[np.ndarray, "window channel band"]:
    """Measure the power of frequency bands in each window.

    The one-sided density of a Hann-windowed (periodic) periodogram of the whole window,
    its mean removed, is summed over the frequencies of the half-open band ``[low,
    high)``: a sine of amplitude a inside a band adds ``a**2 / 2``, and the bands of a
    whole spectrum add up to the variance on average, less the Nyquist frequency, which
    no band holds.

    Parameters
    ----------
    windows : ndarray of float, shape (window, channel, time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.

    Returns
    -------
    ndarray of float, shape (window, channel, band)
        Unit of `windows` squared; computed in float32 where that is their dtype, else
        in float64; bands in the order of `bands`; NaN where a channel of a window has
        a missing sample.

    Raises
    ------
    InputError
        If a band does not lie between zero and the Nyquist frequency, if it is too
        narrow to hold a frequency of the window, or if windows have less than two
        samples.
    """
    windows = native(windows)
    n_windows, n_channels, n_times = windows.shape
    if n_times < 2:
        raise InputError(
            f"windows of {n_times} samples have no spectrum; take longer ones"
        )
    bins = [
        _bins(name, *edges, n_times=n_times, rate_hz=rate_hz)
        for name, edges in bands.items()
    ]
    # The periodic Hann window; scaled so that squares of the spectrum are power.
    taper_t = 0.5 - 0.5 * np.cos(2 * np.pi / n_times * np.arange(n_times))
    taper_t *= 1 / np.sqrt(n_times * np.sum(taper_t**2))
    taper_t = taper_t.astype(windows.dtype)
    power_wcb = np.empty((n_windows, n_channels, len(bins)), dtype=windows.dtype)
    for x_ct, power_cb in zip(windows, power_wcb, strict=True):
        _sum_bands(x_ct, taper_t, bins, power_cb)
    return power_wcb


def sliding_band_power(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
    step_samples: int,
    steps: int,
    jobs: int = 1,
) -> Float[np.ndarray, "window channel band"]:
    """Measure the power of frequency bands in windows that slide over a signal.

    Window w covers `steps` steps from sample ``w * step_samples`` on. As `band_power`,
    but without taper: the spectrum of a window is then the sum of the spectra of its
    steps, which overlapping windows share. A strong slow wave leaks into all bands.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing. Quickest in Fortran order.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.
    step_samples : int
        Samples from one window to the next.
    steps : int
        Length of a window in steps.
    jobs : int
        Threads that share the windows; their number changes no bit of the result.

    Returns
    -------
    ndarray of float, shape (window, channel, band)
        Unit of `signal` squared; computed in float32 where that is its dtype, else in
        float64; bands in the order of `bands`; NaN where a channel of a window has a
        missing sample.

    Raises
    ------
    InputError
        As `band_power`, or if not even one window fits into the signal.
    """
    n_windows = count_windows(signal.shape[-1], step_samples=step_samples, steps=steps)
    n_times = step_samples * steps
    bins = [
        _bins(name, *edges, n_times=n_times, rate_hz=rate_hz)
        for name, edges in bands.items()
    ]
    x_tc = native(np.ascontiguousarray(signal.T))
    dtype, n_channels = x_tc.dtype, x_tc.shape[1]
    if not bins:
        return np.empty((n_windows, n_channels, 0), dtype=dtype)
    level_c = _first_samples(x_tc)  # keeps offsets out of float32 sums
    # A step is folded about its middle: cosines see its even part, and sines its odd
    # part. The phase at the middle depends on the place of the step in its window.
    first = max(min(chosen.start for chosen in bins), 1)  # the mean is no power
    numbers_f = np.arange(first, max(chosen.stop for chosen in bins))
    n_half = (step_samples + 1) // 2
    place_t = np.arange(n_half) - (step_samples - 1) / 2
    angle_ft = 2 * np.pi / n_times * numbers_f[:, None] * place_t
    cosine_ft, sine_ft = np.cos(angle_ft).astype(dtype), np.sin(angle_ft).astype(dtype)
    if step_samples % 2:
        cosine_ft[:, -1] /= 2  # the sample in the middle is its own mirror image
    turns_sf = np.arange(steps)[:, None] * numbers_f % steps / steps
    phase_sf = np.exp(2j * np.pi * turns_sf).astype(np.result_type(dtype, np.complex64))
    in_band_bf = np.array([[c.start <= f < c.stop for f in numbers_f] for c in bins])
    weights_bf = (in_band_bf * (2 / n_times**2)).astype(dtype)
    power_wbc = np.empty((n_windows, len(bins), n_channels), dtype=dtype)

    def measure(tile: slice) -> None:
        spectra_sfc = np.empty((steps, len(numbers_f), n_channels), phase_sf.dtype)
        for b in range(tile.start, tile.stop + steps - 1):
            step_tc = x_tc[b * step_samples : (b + 1) * step_samples] - level_c
            ahead_tc, back_tc = step_tc[:n_half], step_tc[::-1][:n_half]
            spectrum_fc = spectra_sfc[b % steps]  # of the last steps
            spectrum_fc.real = cosine_ft @ (ahead_tc + back_tc)
            spectrum_fc.imag = sine_ft @ (ahead_tc - back_tc)
            spectrum_fc *= phase_sf[b % steps][:, None]
            if b >= tile.start + steps - 1:
                total_fc = sum(spectra_sfc[1:], start=spectra_sfc[0])
                parts_bc = weights_bf @ total_fc.view(dtype) ** 2
                power_wbc[b - steps + 1] = parts_bc[:, ::2] + parts_bc[:, 1::2]

    map_tiles(measure, n_windows, tile_rows=_TILE_WINDOWS, jobs=jobs)
    return power_wbc.transpose(0, 2, 1)


def log_band_power(
    windows: Float[np.ndarray, "window channel time"],
    *,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
) -> Float[np.ndarray, "window channel band"]:
    """Measure the natural logarithm of the power of frequency bands.

    Parameters
    ----------
    windows : ndarray of float, shape (window, channel, time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.

    Returns
    -------
    ndarray of float, shape (window, channel, band)
        Logarithm of `band_power`; NaN also where a band has no power at all, which is
        a dead channel and not a very small number.

    Raises
    ------
    InputError
        As `band_power`.
    """
    power_wcb = band_power(windows, rate_hz=rate_hz, bands=bands)
    power_wcb[power_wcb == 0] = np.nan
    return np.log(power_wcb)


def differential_entropy(
    windows: Float[np.ndarray, "window channel time"],
    *,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
) -> Float[np.ndarray, "window channel band"]:
    """Measure the differential entropy of frequency bands.

    Assumes that the signal inside a band is Gaussian, with the band power P as its
    variance: ``0.5 * ln(2 * pi * e * P)``, in nats.

    Parameters
    ----------
    windows : ndarray of float, shape (window, channel, time)
        Any unit; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.

    Returns
    -------
    ndarray of float, shape (window, channel, band)
        In nats; shifts by a constant with the unit of `windows`; NaN as in
        `log_band_power`.

    Raises
    ------
    InputError
        As `band_power`.

    References
    ----------
    L.-C. Shi, Y.-Y. Jiao, B.-L. Lu, Differential entropy feature for EEG-based
    vigilance estimation, EMBC 2013.

    R.-N. Duan, J.-Y. Zhu, B.-L. Lu, Differential entropy feature for EEG-based emotion
    classification, IEEE/EMBS NER 2013.
    """
    log_power_wcb = log_band_power(windows, rate_hz=rate_hz, bands=bands)
    entropy_wcb = 0.5 * (np.log(2 * np.pi * np.e) + log_power_wcb)
    return entropy_wcb.astype(log_power_wcb.dtype)


def _bins(
    name: str, low_hz: float, high_hz: float, *, n_times: int, rate_hz: float
) -> slice:
    """Return the frequencies of a window that lie in a band."""
    if not 0 <= low_hz < high_hz <= rate_hz / 2:
        raise InputError(
            f"band {name!r} from {low_hz:g} to {high_hz:g} Hz must rise and lie "
            f"between 0 and the Nyquist frequency, {rate_hz / 2:g} Hz at "
            f"rate_hz={rate_hz:g}"
        )
    frequencies = np.fft.rfftfreq(n_times, 1 / rate_hz)
    # An edge that should meet a frequency must not miss it by a rounding error.
    edges = np.array([low_hz, high_hz]) - 1e-9 * rate_hz
    first, stop = (int(edge) for edge in np.searchsorted(frequencies, edges))
    if first == stop:
        raise InputError(
            f"band {name!r} from {low_hz:g} to {high_hz:g} Hz holds no frequency of a "
            f"window of {n_times} samples, which resolves {rate_hz / n_times:g} Hz; "
            "take longer windows or a wider band"
        )
    return slice(first, stop)


def _first_samples(
    x_tc: Float[np.ndarray, "time channel"],
) -> Float[np.ndarray, " channel"]:
    """Return the first finite sample of each channel, and 0 where there is none."""
    first_c = x_tc[0].copy()
    for c in np.flatnonzero(~np.isfinite(first_c)):
        present_t = np.flatnonzero(np.isfinite(x_tc[:, c]))
        first_c[c] = x_tc[present_t[0], c] if len(present_t) else 0
    return first_c


def _sum_bands(
    x_ct: Float[np.ndarray, "channel time"],
    taper_t: Float[np.ndarray, " time"],
    bins: list[slice],
    out_power_cb: Float[np.ndarray, "channel band"],
) -> None:
    """Write the power of each band of one window."""
    x_ct = x_ct - x_ct[:, :1]  # exact zeros where the signal is constant
    x_ct -= x_ct.mean(axis=1, keepdims=True)
    spectrum_cf = np.fft.rfft(x_ct * taper_t)
    power_cf = 2 * (spectrum_cf.real**2 + spectrum_cf.imag**2)
    power_cf[:, 0] /= 2  # zero has no mirror image; Nyquist is in no band
    for b, chosen in enumerate(bins):
        out_power_cb[:, b] = power_cf[:, chosen].sum(axis=1)
