"""Filters, resampling and motion repair on arrays in memory, one call a recording.

Every row filters the same two recordings. Peers use one thread, since they have no
other way; merps is given one, and then one a recording.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import agreement
import harness
import numpy as np
import peers

_BAND = {"low_hz": 0.5, "high_hz": 45.0, "order": 4}
_NOTCH = {"line_hz": 50.0, "width_hz": 2.0}
_PAD_S = 5.0


@dataclass(frozen=True)
class Case:
    """One thing to do to a signal, by merps and by a peer."""

    what: str
    peer_name: str
    merps: Callable
    peer: Callable
    signals: Sequence[np.ndarray]
    error: Callable | None = None
    tolerance: float = 0.0
    goal: str | None = None


def rows(options) -> Iterator[harness.Row]:
    """Run every case with one and with more threads."""
    with harness.threads(1):
        for case in cases(60 if options.quick else 120, options.quick):
            yield from measure(case, options)


def measure(case: Case, options) -> Iterator[harness.Row]:
    """Compare merps on 1 thread and on several with the peer on 1."""
    for n_threads in sorted({1, options.threads}):

        def merps(n_threads=n_threads):
            with ThreadPoolExecutor(n_threads) as pool:
                return list(pool.map(case.merps, case.signals))

        pair = harness.compare(
            lambda: [case.peer(signal) for signal in case.signals],
            merps,
            runs=options.runs,
        )
        error = None
        if case.error is not None:
            error = max(map(case.error, pair.merps, pair.peer))
        yield harness.Row(
            f"{case.what}, {n_threads} thread{'s' * (n_threads > 1)}",
            case.peer_name,
            *(pair.peer_s, pair.merps_s),
            error=error,
            tolerance=case.tolerance,
            goal=case.goal if n_threads == options.threads else None,
            pairs=pair.pairs,
        )


def cases(seconds: int, quick: bool) -> Iterator[Case]:
    """List what is compared, on 64 channels of EEG and 51 of HbO and HbR."""
    from merps.preprocessing import filters, repair

    rng = np.random.default_rng(0)
    fast = recordings(rng, 64, seconds, 1000.0)
    slow = recordings(rng, 64, seconds, 200.0)
    nirs = recordings(rng, 102, 60 if quick else 768, peers.FNIRS_FROM_HZ)

    def band_pass(x):
        return filters.band_pass(x, rate_hz=200.0, pad_s=_PAD_S, **_BAND)

    def notch(x):
        return filters.notch(x, rate_hz=200.0, pad_s=_PAD_S, **_NOTCH)

    def to_200(x):
        return filters.resample(x, rate_hz=1000.0, to_hz=200.0, keep_hz=None)

    def to_10(x):
        rates = {"rate_hz": peers.FNIRS_FROM_HZ, "to_hz": peers.FNIRS_HZ}
        return filters.resample(x, keep_hz=None, **rates)

    exact = {"error": harness.relative_error, "tolerance": 1e-9}
    yield Case("band-pass", "SciPy", band_pass, scipy_band_pass, slow, **exact)
    yield Case("band-pass", "MNE, IIR", band_pass, mne_iir, slow)
    yield Case("band-pass", "MNE, FIR", band_pass, mne_fir, slow)
    yield Case("notch", "SciPy", notch, scipy_notch, slow, **exact)

    def kept(actual, expected):
        return agreement.band_error(actual, expected, 200.0, 80.0)

    def kept_slow(actual, expected):
        return agreement.band_error(actual, expected, peers.FNIRS_HZ, 4.0)

    near = {"error": kept, "tolerance": agreement.TOLERANCE}
    what = "1000 to 200 Hz"
    yield Case(what, "SciPy, resample_poly", to_200, scipy_to_200, fast, **near)
    yield Case(what, "MNE, polyphase", to_200, mne_polyphase, fast)
    yield Case(what, "MNE, FFT", to_200, mne_fft, fast)
    near["error"] = kept_slow
    yield Case(
        "47.6 to 10 Hz", "SciPy, resample_poly", to_10, scipy_to_10, nirs, **near
    )

    if hasattr(repair, "tddr"):

        def tddr(x):
            return repair.tddr(x, rate_hz=peers.FNIRS_FROM_HZ)

        exact["tolerance"] = 1e-10
        yield Case("TDDR", "MNE", tddr, mne_tddr, nirs, goal="G9", **exact)


def recordings(
    rng: np.random.Generator, n_rows: int, seconds: float, rate_hz: float
) -> list[np.ndarray]:
    """Make two recordings with drift, in the memory order of MATLAB."""
    n_times = round(seconds * rate_hz)
    made = []
    for _ in range(2):
        x_tc = rng.normal(size=(n_times, n_rows))
        x_tc += np.cumsum(rng.normal(size=(n_times, n_rows)), axis=0) * 0.03
        made.append(x_tc.T)
    return made


def scipy_band_pass(x_ct):
    from scipy.signal import butter, sosfiltfilt

    edges = (_BAND["low_hz"], _BAND["high_hz"])
    sections = butter(_BAND["order"], edges, "bandpass", fs=200.0, output="sos")
    return sosfiltfilt(sections, x_ct, axis=1, padlen=round(_PAD_S * 200))


def scipy_notch(x_ct):
    from scipy.signal import iirnotch, sosfiltfilt, tf2sos

    line_hz, width_hz = _NOTCH["line_hz"], _NOTCH["width_hz"]
    sections = tf2sos(*iirnotch(line_hz, line_hz / width_hz, fs=200.0))
    return sosfiltfilt(sections, x_ct, axis=1, padlen=round(_PAD_S * 200))


def mne_iir(x_ct):
    import mne

    butterworth = {"order": _BAND["order"], "ftype": "butter", "output": "sos"}
    low_hz, high_hz = _BAND["low_hz"], _BAND["high_hz"]
    return mne.filter.filter_data(
        *(x_ct, 200.0, low_hz, high_hz),
        method="iir",
        iir_params=butterworth,
        verbose="error",
    )


def mne_fir(x_ct):
    import mne

    low_hz, high_hz = _BAND["low_hz"], _BAND["high_hz"]
    return mne.filter.filter_data(x_ct, 200.0, low_hz, high_hz, verbose="error")


def scipy_to_200(x_ct):
    return _resample_poly(x_ct, Fraction(1, 5))


def scipy_to_10(x_ct):
    return _resample_poly(x_ct, Fraction(21, 100))


def _resample_poly(x_ct, factor):
    from scipy.signal import resample_poly

    taps = peers.anti_alias(factor)
    return resample_poly(x_ct, *factor.as_integer_ratio(), axis=1, window=taps)


def mne_polyphase(x_ct):
    import mne

    return mne.filter.resample(x_ct, down=5, method="polyphase", verbose="error")


def mne_fft(x_ct):
    import mne

    return mne.filter.resample(x_ct, down=5, verbose="error")


def mne_tddr(x_ct):
    import mne

    kinds = ["hbo", "hbr"] * (len(x_ct) // 2)
    names = [f"S{k // 2}_D1 {kind}" for k, kind in enumerate(kinds)]
    info = mne.create_info(names, peers.FNIRS_FROM_HZ, kinds, verbose="error")
    raw = mne.io.RawArray(x_ct, info, verbose="error")
    repair = mne.preprocessing.nirs.temporal_derivative_distribution_repair
    return repair(raw, verbose="error").get_data()


if __name__ == "__main__":
    harness.main(__doc__, rows)
