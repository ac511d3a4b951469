"""A Riemannian regression that leaves people out, as a lab would write it and by merps.

Both start from the same filtered recordings in memory: five bands, OAS covariances of
4 s a second, 16 components and tangent space at the mean of the training people, ridge
regression with one penalty; models are asked about people whom they were not fitted on.
The peer is SciPy, pyRiemann and scikit-learn with one BLAS thread, its faster setting.
Covariances do not depend on folds, and both sides compute them once. merps works
on as many folds at a time as it has threads, as `merps evaluate` does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from merps.engine import run_tasks
from merps.features.triangles import StoredMatrices, trial_covariances
from merps.models.regression import RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.samples import Block, Samples
from merps.splits import Fold, folds
from merps.store import Store
from merps.windows import WindowGrid

WINDOW_S, ORDER, PAD_S, N_COMPONENTS, ALPHA = 4.0, 4, 5.0, 16, 10.0
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
GRID = WindowGrid(window_s=WINDOW_S, step_s=1.0, lag_s=0.0, lookahead_s=0.0)


class Signals(NamedTuple):
    """Filtered EEG by trial, where its windows begin, and one row a second."""

    trials: list[np.ndarray]
    starts: list[np.ndarray]
    rate_hz: float
    samples: Samples
    folds: list[Fold]


def read_signals(store: Store) -> Signals:
    """Read everything before the clock starts."""
    trials, starts, columns = [], [], {"people": [], "stimuli": [], "seconds": []}
    targets = []
    for person in store.people:
        with store.person(person) as stored:
            for trial in stored.trials():
                n_seconds = len(trial.targets)
                trials.append(np.array(trial.eeg.signal))
                starts.append(GRID.starts(trial.eeg, n_seconds))
                columns["people"] += [person] * n_seconds
                columns["stimuli"] += [trial.stimulus] * n_seconds
                columns["seconds"] += range(n_seconds)
                targets.append(trial.targets)
                rate_hz = trial.eeg.rate_hz
    samples = Samples(
        **{name: np.array(values) for name, values in columns.items()},
        features=np.empty((sum(map(len, targets)), 0), np.float32),
        feature_names=(),
        targets=np.concatenate(targets).astype(np.float64),
    )
    parts = folds("people", samples.people, samples.stimuli, seed=0, emotions=None)
    return Signals(trials, starts, rate_hz, samples, parts)


def merps_evaluation(signals: Signals, jobs: int) -> np.ndarray:
    """Predict every person by models fitted on others."""

    def measure(number: int) -> np.ndarray:
        return trial_covariances(
            signals.trials[number],
            signals.starts[number],
            length_samples=GRID.length(signals.rate_hz),
            rate_hz=signals.rate_hz,
            bands=BANDS,
            order=ORDER,
            pad_s=PAD_S,
            estimator="oas",
        )

    values = np.concatenate(_in_threads(measure, range(len(signals.trials)), jobs))
    channels = [str(c) for c in range(len(signals.trials[0]))]
    source = StoredMatrices(values, channels=channels, bands=list(BANDS))
    block = Block(source, np.arange(len(values)))
    rows = replace(signals.samples, blocks={"eeg_covariances": block})

    def fit_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = RiemannianRegressor(
            n_components=N_COMPONENTS,
            reference="training",
            metric="euclid",
            method="fast",
            shrinkage=0.0,
            width_s=0.0,
            regressor=RidgeRegressor(alphas=(ALPHA,), n_folds=2),
        )
        return model.fit(rows.take(train)).predict(rows.take(test))

    return _each_fold(signals, fit_predict, jobs)


def peer_evaluation(signals: Signals) -> np.ndarray:
    """Do the same with SciPy, pyRiemann and scikit-learn."""
    matrices = np.concatenate(
        [
            _peer_covariances(signal, starts, signals.rate_hz)
            for signal, starts in zip(signals.trials, signals.starts, strict=True)
        ]
    )
    targets = signals.samples.targets

    def fit_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        from pyriemann.tangentspace import TangentSpace
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        parts = []
        for band in range(matrices.shape[1]):
            learned = matrices[train, band]
            vectors = np.linalg.eigh(learned.mean(axis=0))[1][:, -N_COMPONENTS:]
            space = TangentSpace(metric={"mean": "euclid", "map": "riemann"})
            space.fit(vectors.T @ learned @ vectors)
            reduced = vectors.T @ matrices[:, band] @ vectors
            parts.append(
                (space.transform(reduced[train]), space.transform(reduced[test]))
            )
        learned, asked = (np.hstack(side) for side in zip(*parts, strict=True))
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=ALPHA * len(train)))
        return ridge.fit(learned, targets[train]).predict(asked)

    return _each_fold(signals, fit_predict, jobs=1)


def disagreement(signals: Signals, actual: np.ndarray, expected: np.ndarray) -> float:
    """Compare how predictions move; merps' intercept is a median, the peer's a mean."""
    actual, expected = actual.copy(), expected.copy()
    for fold in signals.folds:
        for predictions in (actual, expected):
            predictions[fold.test] -= predictions[fold.test].mean(axis=0)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def _each_fold(signals: Signals, fit_predict: Callable, jobs: int) -> np.ndarray:
    """Put together what is predicted for the people of each fold."""
    predictions = np.empty((len(signals.samples), 2))
    found = _in_threads(lambda f: fit_predict(f.train, f.test), signals.folds, jobs)
    for fold, predicted in zip(signals.folds, found, strict=True):
        predictions[fold.test] = predicted
    return predictions


def _in_threads(function: Callable, tasks: Sequence, jobs: int) -> list:
    """Return what a function gives for each task."""
    values = []
    for outcome in run_tasks(function, tasks, jobs=jobs):
        if outcome.error is not None:
            raise outcome.error
        values.append(outcome.value)
    return values


def _peer_covariances(
    signal: np.ndarray, starts: np.ndarray, rate_hz: float
) -> np.ndarray:
    """Filter each band, cut windows, estimate covariances."""
    from pyriemann.geometry.covariance import covariances
    from scipy.signal import butter, sosfiltfilt

    length, bands = GRID.length(rate_hz), []
    for edges_hz in BANDS.values():
        sos = butter(ORDER, edges_hz, "bandpass", fs=rate_hz, output="sos")
        band = sosfiltfilt(sos, signal, padlen=int(PAD_S * rate_hz))
        windows = np.stack([band[:, start : start + length] for start in starts])
        bands.append(covariances(windows, estimator="oas"))
    return np.stack(bands, axis=1)
