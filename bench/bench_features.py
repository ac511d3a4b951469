"""Features of windows, from the files of one person: EEG powers, Hjorth, fNIRS.

The peer is what a lab writes with SciPy and NumPy, on one thread: a trial's variables
read by loadmat, EEG averaged from 1000 down to 200 Hz, then one window after the other.
Windows are 4 s long and end with each second.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    data = harness.simulated(options, people=1, eeg_rate_hz=1000, compress=False)
    for n_threads in sorted({1, options.threads}):
        with harness.threads(1):
            pair = harness.compare(
                lambda: peer_person(data),
                lambda n_threads=n_threads: merps_person(data, n_threads),
                runs=options.runs,
            )
        yield harness.Row(
            f"read, features of {len(pair.merps[0])} s, {n_threads} "
            f"thread{'s' * (n_threads > 1)}",
            "SciPy, 1 thread",
            *(pair.peer_s, pair.merps_s),
            error=max(map(deviation, pair.merps, pair.peer)),
            tolerance=1e-3,
            goal="G6" if n_threads == options.threads else None,
            pairs=pair.pairs,
        )


def peer_person(data: Path) -> list[np.ndarray]:
    """Read one trial after the other and compute its features."""
    from scipy.io import loadmat

    (person,) = peers.people_of(data)
    folder = data / "data" / person
    found = []
    for video in peers.videos_of(data, person):
        eeg, nirs = (
            loadmat(folder / f"{name}_videos.mat", variable_names=[video])[video]
            for name in ("EEG", "fNIRS")
        )
        found.append(peer_features(eeg, nirs[: peers.N_KINDS]))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def merps_person(data: Path, n_threads: int) -> list[np.ndarray]:
    """Compute features of signals where they lie in the files, a trial a thread."""
    from merps.datasets.mer_ps import open_dataset

    dataset = open_dataset(data)
    with (
        dataset.open_person(dataset.people[0]) as opened,
        ThreadPoolExecutor(n_threads) as pool,
    ):

        def features(plan):
            (trial,) = opened.read(plan)
            nirs = trial.fnirs.signal[: peers.N_KINDS]
            found = merps_features(trial.eeg.signal, nirs)
            opened.release(plan)
            return found

        found = list(pool.map(features, opened.plans))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


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
        whole = np.isfinite(flat).all(axis=1)
        slope = np.full(len(flat), np.nan)
        slope[whole] = np.polyfit(times_s, flat[whole].T, 1)[0]
        slope = slope.reshape(window.shape[:-1])
        slow.append(np.stack([window.mean(-1), slope, window.std(-1)], axis=-1))
    return np.array(power), np.array(hjorth), np.array(slow)


def merps_features(eeg, nirs):
    """Compute the same through functions that share what windows have in common."""
    from merps.features.hemodynamics import summarize_spans
    from merps.features.spectral import sliding_band_power
    from merps.features.waveform import average_samples, sliding_hjorth

    eeg = average_samples(eeg, factor=1000 // _EEG_HZ)
    steps = {"step_samples": _EEG_HZ, "steps": _WINDOW_S}
    power = sliding_band_power(eeg, rate_hz=_EEG_HZ, bands=_BANDS, **steps)
    hjorth = sliding_hjorth(eeg, **steps)
    starts, length = fnirs_starts(nirs.shape[-1])
    rate_hz = peers.FNIRS_FROM_HZ
    spans = {"length_samples": length, "rate_hz": rate_hz}
    return power, hjorth, summarize_spans(nirs, starts, **spans)


def deviation(actual, expected):
    """Return the largest difference in standard deviations of each feature."""
    missing = np.isnan(expected)
    if not np.array_equal(np.isnan(actual), missing):
        return np.inf
    scale = expected.std(axis=0, where=~missing, keepdims=True)
    error = np.abs(actual - expected) / scale
    return float(np.max(error, where=~missing, initial=0.0))


if __name__ == "__main__":
    harness.main(__doc__, rows)
