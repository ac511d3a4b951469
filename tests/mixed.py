"""People who mix the same sources differently, as covariances and as windows."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone

from merps.features.triangles import StoredMatrices
from merps.models.joint import JointWindows
from merps.recording import Recording
from merps.samples import Block, Samples
from merps.windows import WindowFormat, WindowGrid

BANDS = ("slow", "fast")
JOINT = (
    *("eeg/alpha/a", "eeg/alpha/b", "eeg/alpha/c"),
    *("fnirs/HbO/d", "fnirs/HbO/e"),
)


def pack(matrices):
    """Upper triangles, written from the definition."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return matrices[..., rows, columns].astype(np.float32)


def stored(matrices):
    """Matrices (row, band, channel, channel) as a source."""
    names = tuple(f"c{k}" for k in range(matrices.shape[-1]))
    return StoredMatrices(
        pack(matrices), channels=names, bands=BANDS[: matrices.shape[1]]
    )


def mixing(rng, n_channels, strength=0.4):
    """A mixing that is as good as symmetric, so that a rest undoes it."""
    random = strength * rng.normal(size=(n_channels, n_channels))
    values, vectors = np.linalg.eigh(random + random.T)
    turn = 0.05 * rng.normal(size=(n_channels, n_channels))
    return (vectors * np.exp(values)) @ vectors.T @ (np.eye(n_channels) + turn)


def scatter(rng, n_channels, n_rows, n_samples=40):
    """Covariances of samples of independent sources."""
    x_wct = rng.normal(size=(n_rows, n_channels, n_samples))
    return x_wct @ x_wct.swapaxes(1, 2) / n_samples


def make_mixed(
    rng,
    *,
    n_people=6,
    lengths=(30, 30, 30),
    n_channels=5,
    n_bands=2,
    effect=0.0,
    strength=0.4,
):
    """Samples with covariances and rests; two sources follow the labels."""
    n_each = sum(lengths)
    told = np.cumsum(rng.normal(size=(n_people * n_each, 2)), axis=0) * 0.3
    told -= np.repeat(
        [part.mean(axis=0) for part in np.split(told, n_people)], n_each, axis=0
    )
    told /= told.std(axis=0)
    gain = np.ones((len(told), n_channels))
    gain[:, :2] = np.exp(effect * told[:, :n_channels] / 2)
    windows = np.empty((len(told), n_bands, n_channels, n_channels))
    rests = np.empty((n_people, n_bands, n_channels, n_channels))
    for person in range(n_people):
        rows = slice(person * n_each, (person + 1) * n_each)
        for band in range(n_bands):
            mixed = mixing(rng, n_channels, strength)
            inner = scatter(rng, n_channels, n_each)
            inner = gain[rows, :, None] * inner * gain[rows, None]
            windows[rows, band] = mixed @ inner @ mixed.T
            calm = scatter(rng, n_channels, 1, n_samples=2000)[0]
            rests[person, band] = mixed @ calm @ mixed.T
    stimuli = np.repeat([f"V{k + 1:02d}" for k in range(len(lengths))], lengths)
    person = np.repeat(np.arange(n_people), n_each)
    power = np.log(windows.diagonal(axis1=2, axis2=3))
    power -= np.log(rests.diagonal(axis1=2, axis2=3))[person]
    features = power.reshape(len(told), -1).astype(np.float32)
    return Samples(
        people=np.array([f"test_{p + 1}" for p in person]),
        stimuli=np.tile(stimuli, n_people),
        seconds=np.tile(np.concatenate([np.arange(n) for n in lengths]), n_people),
        features=features,
        feature_names=tuple(f"f{k}" for k in range(features.shape[1])),
        targets=np.clip(np.rint(128 + 30 * told), 1, 255),
        blocks={
            "eeg_covariances": Block(stored(windows), np.arange(len(told))),
            "eeg_rest_covariances": Block(stored(rests), person),
        },
    )


def with_rows(samples, name, rows):
    """The same samples with other rows of a block."""
    block = replace(samples.blocks[name], rows=rows)
    return replace(samples, blocks={**samples.blocks, name: block})


def with_values(samples, name, change):
    """The same samples with changed triangles of a block."""
    block = samples.blocks[name]
    source = block.source
    values = source.values.copy()
    change(values)
    source = StoredMatrices(values, channels=source.channels, bands=source.bands)
    block = replace(block, source=source)
    return replace(samples, blocks={**samples.blocks, name: block})


class Windows:
    """Windows in memory."""

    def __init__(self, windows, form):
        self.windows, self.format = windows, form

    def gather(self, rows):
        return self.windows[rows]


def with_windows(rng, samples, *, effect=0.0):
    """The same samples with windows of EEG, fNIRS and both; effects are in sources."""
    told = (samples.targets - 128) / 30
    n, people = len(samples), samples.people
    n_trials = len(np.unique(samples.trials))
    eeg = rng.normal(size=(n, 4, 60))
    eeg[:, :2] *= np.exp(effect * told / 2)[..., None]
    fnirs = rng.normal(size=(n, 6, 40))
    fnirs[:, :2] *= np.exp(effect * told / 2)[..., None]
    for name in np.unique(people):
        rows = people == name
        eeg[rows] = mixing(rng, 4) @ eeg[rows]
        fnirs[rows] = mixing(rng, 6, 0.3) @ fnirs[rows]
    fnirs = fnirs.reshape(n, 2, 3, 40)
    grid = WindowGrid(window_s=10, step_s=1, lag_s=0, lookahead_s=0)
    series, lengths = [], []
    for trial in range(n_trials):
        rows = np.flatnonzero(samples.trials == trial)
        signal = rng.normal(size=(5, 2 * len(rows)))
        signal[:2] *= np.exp(effect * np.repeat(told[rows], 2, axis=0).T / 2)
        series.append(
            Recording(
                signal=signal.astype(np.float32),
                rate_hz=2.0,
                start_s=0.0,
                channels=JOINT,
                quantity=("voltage", "concentration"),
                unit=("log power", "uM"),
            )
        )
        lengths.append(len(rows))
    joint = JointWindows(series, lengths, grid=grid)
    order = np.argsort(samples.trials, kind="stable")
    joint_rows = np.empty(n, dtype=np.int64)
    joint_rows[order] = joint.rows
    eeg_form = WindowFormat(("a", "b", "c", "d"), (), "voltage", "uV", 50.0, 60)
    fnirs_form = WindowFormat(
        ("a", "b", "c"), ("HbO", "HbR"), "concentration", "uM", 10.0, 40
    )
    blocks = {
        "eeg_windows": Block(Windows(eeg.astype(np.float32), eeg_form), np.arange(n)),
        "fnirs_windows": Block(
            Windows(fnirs.astype(np.float32), fnirs_form), np.arange(n)
        ),
        "joint_windows": Block(joint, joint_rows),
    }
    return replace(samples, blocks={**samples.blocks, **blocks})


def held_out_correlation(model, samples, n_test=2):
    """Correlation of predictions for the last people, averaged over both targets."""
    names = np.unique(samples.people)
    test = np.isin(samples.people, names[-n_test:])
    model = clone(model).fit(samples.take(np.flatnonzero(~test)))
    part = samples.take(np.flatnonzero(test))
    predicted = model.predict(replace(part, targets=None))
    pairs = zip(predicted.T, part.targets.T, strict=True)
    return np.mean([np.corrcoef(p, t)[0, 1] for p, t in pairs])
