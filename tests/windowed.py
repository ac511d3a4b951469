"""Tables of samples with windows in memory, for tests of nets."""

from dataclasses import replace

import numpy as np

from merps.samples import Block, Samples
from merps.windows import WindowFormat

EEG = WindowFormat(("Fz", "Cz", "Pz"), (), "voltage", "uV", 50.0, 60)
FNIRS = WindowFormat(("a", "b"), ("HbO", "HbR"), "concentration", "a.u.", 10.0, 12)
#: Options that make ShallowFBCSPNet tiny.
TINY = {
    "n_filters_time": 3,
    "n_filters_spat": 4,
    "filter_time_length": 7,
    "pool_time_length": 12,
    "pool_time_stride": 6,
}


class Source:
    """Windows in memory; NaN where a sample is missing."""

    def __init__(self, windows, form=EEG):
        self.windows, self.format = windows, form

    def gather(self, rows):
        return self.windows[rows]


def make_windowed(rng, *, n_people=4, lengths=(9, 7, 8), effect=0.0, fnirs=True):
    """Noise whose strength in one channel follows the labels, as told by `effect`.

    Channels of each person have gains of their own.
    """
    n_each = sum(lengths)
    n = n_people * n_each
    targets = np.clip(np.rint(128 + 45 * rng.normal(size=(n, 2))), 1, 255)
    told = (targets - 128) / 45
    eeg = rng.normal(size=(n, *EEG.shape)).astype(np.float32)
    eeg[:, :2] *= np.exp(effect * told / 2)[:, :, None]
    eeg *= np.repeat(rng.uniform(0.5, 20, size=(n_people, 3)), n_each, axis=0)[
        ..., None
    ]
    hemo = rng.normal(size=(n, *FNIRS.shape)).astype(np.float32)
    hemo[:, 0] += (effect * told)[:, :, None]
    stimuli = np.repeat([f"V{k + 1:02d}" for k in range(len(lengths))], lengths)
    blocks = {"eeg_windows": Block(Source(eeg), np.arange(n))}
    if fnirs:
        blocks["fnirs_windows"] = Block(Source(hemo, FNIRS), np.arange(n))
    return Samples(
        people=np.repeat([f"test_{p + 1}" for p in range(n_people)], n_each),
        stimuli=np.tile(stimuli, n_people),
        seconds=np.tile(np.concatenate([np.arange(k) for k in lengths]), n_people),
        features=np.empty((n, 0), np.float32),
        feature_names=(),
        targets=targets,
        blocks=blocks,
    )


def unlabeled(samples):
    return replace(samples, targets=None)


def with_block(samples, name, *, rows=None, windows=None):
    """The same samples with other rows or windows of a block."""
    block = samples.blocks[name]
    source = block.source
    if windows is not None:
        source = Source(windows, source.format)
    block = Block(source, block.rows if rows is None else rows)
    return replace(samples, blocks={**samples.blocks, name: block})
