"""Features a second: band powers and Hjorth parameters of EEG, summaries of fNIRS.

The peer is what a lab writes with NumPy: one window after the other. Windows are 4 s
long and end with each second; EEG comes at 1000 Hz and is averaged down to 200 Hz.
"""

from collections.abc import Iterator

import harness
import numpy as np
import peers

_BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
_EEG_HZ = 200
_WINDOW_S = 4


def rows(options) -> Iterator[harness.Row]:
    """Compare with the peer on one thread, and on several."""
    signals = recordings(np.random.default_rng(0), 60 if options.quick else 300)
    for n_threads in sorted({1, options.threads}):
        with harness.threads(1):
            pair = harness.compare(
                lambda: peer_features(*signals),
                lambda n_threads=n_threads: merps_features(*signals, jobs=n_threads),
                runs=options.runs,
            )
        yield harness.Row(
            f"features of {len(pair.merps[0])} s, {n_threads} "
            f"thread{'s' * (n_threads > 1)}",
            "NumPy, 1 thread",
            *(pair.peer_s, pair.merps_s),
            error=max(map(deviation, pair.merps, pair.peer)),
            tolerance=1e-3,
            goal="G6" if n_threads == options.threads else None,
            pairs=pair.pairs,
        )


def recordings(rng, seconds):
    """Make EEG and fNIRS in Fortran order, as MATLAB files hold them."""
    white_tc = rng.normal(size=(seconds * 1000, 64))
    eeg_tc = white_tc * 5 + np.cumsum(white_tc, axis=0) * 0.3 + 20
    n_slow = int(seconds * peers.FNIRS_FROM_HZ)
    nirs_tck = rng.normal(size=(n_slow, 51, 3)).cumsum(axis=0) * 1e-2 + 1
    return eeg_tc.T, nirs_tck.T


def fnirs_starts(n_times):
    """Return the first sample of each window, and how long windows are."""
    rate_hz, length = peers.FNIRS_FROM_HZ, int(_WINDOW_S * peers.FNIRS_FROM_HZ)
    n_windows = int((n_times - length) / rate_hz) + 1
    return np.round(np.arange(n_windows) * rate_hz).astype(int), length


def peer_features(eeg, nirs):
    """Compute every feature of one window after the other."""
    eeg = eeg.reshape(len(eeg), -1, 1000 // _EEG_HZ).mean(axis=-1)
    length = _WINDOW_S * _EEG_HZ
    frequencies = np.fft.rfftfreq(length, 1 / _EEG_HZ)
    chosen = [(frequencies >= lo) & (frequencies < hi) for lo, hi in _BANDS.values()]
    power, hjorth, slow = [], [], []
    for start in range(0, eeg.shape[1] - length + 1, _EEG_HZ):
        window = eeg[:, start : start + length]
        window = window - window.mean(axis=1, keepdims=True)
        spectrum = 2 * np.abs(np.fft.rfft(window, axis=1)) ** 2 / length**2
        power.append(np.stack([spectrum[:, f].sum(axis=1) for f in chosen], axis=1))
        step = np.diff(window, axis=1)
        bend = np.diff(step, axis=1)
        activity = window.var(axis=1)
        mobility = np.sqrt(step.var(axis=1) / activity)
        complexity = np.sqrt(bend.var(axis=1) / step.var(axis=1)) / mobility
        hjorth.append(np.stack([activity, mobility, complexity], axis=1))
    starts, length = fnirs_starts(nirs.shape[-1])
    times_s = np.arange(length) / peers.FNIRS_FROM_HZ
    for start in starts:
        window = nirs[..., start : start + length]
        flat = window.reshape(-1, length)
        slope = np.polyfit(times_s, flat.T, 1)[0].reshape(window.shape[:-1])
        slow.append(np.stack([window.mean(-1), slope, window.std(-1)], axis=-1))
    return np.array(power), np.array(hjorth), np.array(slow)


def merps_features(eeg, nirs, *, jobs):
    """Compute the same through functions that share what windows have in common."""
    from merps.features.hemodynamics import summarize_spans
    from merps.features.spectral import sliding_band_power
    from merps.features.waveform import average_samples, sliding_hjorth

    eeg = average_samples(eeg, factor=1000 // _EEG_HZ, jobs=jobs)
    steps = {"step_samples": _EEG_HZ, "steps": _WINDOW_S, "jobs": jobs}
    power = sliding_band_power(eeg, rate_hz=_EEG_HZ, bands=_BANDS, **steps)
    hjorth = sliding_hjorth(eeg, **steps)
    starts, length = fnirs_starts(nirs.shape[-1])
    rate_hz = peers.FNIRS_FROM_HZ
    slow = summarize_spans(nirs, starts, length=length, rate_hz=rate_hz, jobs=jobs)
    return power, hjorth, slow


def deviation(actual, expected):
    """Return the largest difference in standard deviations of each feature."""
    return float(np.max(np.abs(actual - expected) / expected.std(axis=0)))


if __name__ == "__main__":
    harness.main(__doc__, rows)
