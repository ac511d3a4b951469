"""Covariances, Riemannian means, tangent spaces, and an evaluation that uses them.

The first rows take one person at 200 Hz. The signal joins the 15 videos of a simulated
person, 64 channels; windows of 4 s begin every second. pyRiemann runs with one BLAS
thread, its faster setting by far. The peer's covariances take minutes, so it gets the
first part of the signal, and its time is scaled by the number of windows, in which it
is linear.

The last row leaves people out, one of four in turn by default (`--people 24` takes the
whole data set, some seven minutes for the peer); `people_evaluation.py` says
what both sides do.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import numpy as np
from people_evaluation import (
    BANDS,
    disagreement,
    merps_evaluation,
    peer_evaluation,
    read_signals,
)

from merps.datasets.mer_ps import open_dataset
from merps.features.covariance import filter_bank_covariances
from merps.features.manifold import riemannian_mean, tangent_vectors
from merps.pipeline import preprocess_dataset
from merps.store import Store

RATE_HZ, WINDOW_S, N_CHANNELS, ORDER, PAD_S = 200.0, 4, 64, 4, 5.0
LENGTH = int(WINDOW_S * RATE_HZ)
DTYPES = {"float32": 1e-4, "float64": 5e-7}
METHODS = {"fast": 2e-4, "exact": 1e-6}


def read_signal(options, n_windows: int) -> np.ndarray:
    """Join the videos of a simulated person."""
    folder = harness.simulated(options, people=1, eeg_rate_hz=200, compress=False)
    dataset = open_dataset(folder)
    trials = dataset.trials(dataset.people[0])
    signal = np.concatenate([trial.eeg.signal for trial in trials], axis=1)
    return cut(signal, n_windows)


def peer_covariances(signal: np.ndarray) -> np.ndarray:
    """Filter with SciPy, cut windows, estimate with pyRiemann."""
    from pyriemann.geometry.covariance import covariances
    from scipy.signal import butter, sosfiltfilt

    bands = []
    for edges_hz in BANDS.values():
        sos = butter(ORDER, edges_hz, "bandpass", fs=RATE_HZ, output="sos")
        band = sosfiltfilt(sos, signal, padlen=int(PAD_S * RATE_HZ))
        windows = np.lib.stride_tricks.sliding_window_view(band, LENGTH, axis=1)
        windows = windows[:, :: int(RATE_HZ)].swapaxes(0, 1)
        bands.append(covariances(windows, estimator="oas"))
    return np.stack(bands, axis=1)


def merps_covariances(signal: np.ndarray, jobs: int) -> np.ndarray:
    """Do the same from shared sums."""
    starts = np.arange(0, signal.shape[1] - LENGTH + 1, int(RATE_HZ))
    return filter_bank_covariances(
        signal,
        starts,
        length_samples=LENGTH,
        rate_hz=RATE_HZ,
        bands=BANDS,
        order=ORDER,
        pad_s=PAD_S,
        estimator="oas",
        jobs=jobs,
    )


def peer_means(matrices: np.ndarray) -> list[np.ndarray]:
    """Find the mean of each band."""
    from pyriemann.geometry.mean import mean_riemann

    return [mean_riemann(matrices[:, b]) for b in range(len(BANDS))]


def merps_means(matrices: np.ndarray, method: str, jobs: int) -> list[np.ndarray]:
    """Find the mean of each band."""
    options = {"method": method, "jobs": jobs}
    return [riemannian_mean(matrices[:, b], **options) for b in range(len(BANDS))]


def peer_tangent(matrices: np.ndarray) -> np.ndarray:
    """Fit and transform each band."""
    from pyriemann.tangentspace import TangentSpace

    bands = range(len(BANDS))
    return np.hstack([TangentSpace().fit_transform(matrices[:, b]) for b in bands])


def merps_tangent(matrices: np.ndarray, method: str, jobs: int) -> np.ndarray:
    """Find the mean of each band, and map to its tangent space."""
    options = {"method": method, "jobs": jobs}
    means = merps_means(matrices, method, jobs)
    bands = [
        tangent_vectors(matrices[:, b], mean, **options) for b, mean in enumerate(means)
    ]
    return np.hstack(bands)


def rows(options) -> Iterator[harness.Row]:
    """Compare covariances in two precisions, and means and tangent spaces in two."""
    n_windows, n_peer = (60, 40) if options.quick else (1491, 120)
    signal = read_signal(options, n_windows)
    with harness.threads(1):
        yield from covariance_rows(options, signal, n_peer)
        yield from manifold_rows(options, signal, n_peer if options.quick else 200)
        yield evaluation_row(options)


def covariance_rows(options, signal: np.ndarray, n_peer: int) -> Iterator[harness.Row]:
    """Compare the covariances of the whole signal with a scaled part of the peer's."""
    n_windows = signal.shape[1] // int(RATE_HZ) - WINDOW_S + 1
    part = cut(signal, n_peer)
    scale = n_windows / n_peer
    for name, tolerance in DTYPES.items():
        given = signal.astype(name)
        for jobs in sorted({1, options.threads}):
            pair = harness.compare(
                lambda: peer_covariances(part),
                lambda given=given, jobs=jobs: merps_covariances(given, jobs),
                runs=options.runs,
            )
            checked = merps_covariances(part.astype(name), jobs)
            yield harness.Row(
                f"5 x {n_windows} OAS covariances, {name}, {jobs} thr.",
                f"SciPy + pyRiemann, 1 thr., {n_peer} windows scaled",
                pair.peer_s * scale,
                pair.merps_s,
                goal=f"G7 {name}" if jobs == options.threads else None,
                pairs=[(theirs * scale, ours) for theirs, ours in pair.pairs],
                error=worst(checked, pair.peer, axes=(2, 3)),
                tolerance=tolerance,
            )


def manifold_rows(options, signal: np.ndarray, n_windows: int) -> Iterator[harness.Row]:
    """Compare means, and means with tangent vectors."""
    matrices = merps_covariances(cut(signal, n_windows), options.threads)
    cases = [
        (peer_tangent, merps_tangent, "tangent fit + transform", (1,), jobs)
        for jobs in sorted({1, options.threads})
    ]
    cases.append((peer_means, merps_means, "Riemannian means", (1, 2), options.threads))
    for method, tolerance in METHODS.items():
        for peer, merps, what, axes, jobs in cases:
            pair = harness.compare(
                lambda peer=peer: peer(matrices),
                lambda m=method, merps=merps, jobs=jobs: merps(matrices, m, jobs),
                runs=options.runs,
            )
            is_goal = peer is peer_tangent and jobs == options.threads
            yield harness.Row(
                f"5 x {n_windows} {what}, {method}, {jobs} thr.",
                "pyRiemann, 1 thr.",
                pair.peer_s,
                pair.merps_s,
                goal=f"G8 {method}" if is_goal else None,
                pairs=pair.pairs,
                error=worst(np.array(pair.merps), np.array(pair.peer), axes=axes),
                tolerance=tolerance,
            )


def evaluation_row(options) -> harness.Row:
    """Compare an evaluation that leaves people out, on recordings in memory."""
    n_people = 3 if options.quick else options.people or 4
    data = harness.simulated(
        options, people=n_people, eeg_rate_hz=200, compress=n_people > 4
    )
    with tempfile.TemporaryDirectory(dir=options.data, prefix="riemann-") as scratch:
        store = Path(scratch) / "store"
        preprocess_dataset(data, store)
        signals = read_signals(Store.open(store))
    pair = harness.compare(
        lambda: peer_evaluation(signals),
        lambda: merps_evaluation(signals, options.threads),
        runs=1 if n_people > 4 else options.runs,
        warm_up=n_people <= 4,
    )
    return harness.Row(
        f"people, {n_people} in {len(signals.folds)} folds, "
        f"{len(signals.samples)} windows, {options.threads} thr.",
        "SciPy + pyRiemann + scikit-learn, 1 thr.",
        pair.peer_s,
        pair.merps_s,
        goal="people",
        pairs=pair.pairs,
        error=disagreement(signals, pair.merps, pair.peer),
        tolerance=1e-2,
    )


def cut(signal: np.ndarray, n_windows: int) -> np.ndarray:
    """Return the part of a signal that has so many windows."""
    return signal[:, : int((n_windows + WINDOW_S - 1) * RATE_HZ)]


def worst(actual: np.ndarray, expected: np.ndarray, *, axes: tuple) -> float:
    """Return the largest relative error of a matrix, or a vector, in its norm."""
    error = np.sqrt(np.sum((actual - expected) ** 2, axis=axes))
    return float(np.max(error / np.sqrt(np.sum(expected**2, axis=axes))))


if __name__ == "__main__":
    harness.main(__doc__, rows)
