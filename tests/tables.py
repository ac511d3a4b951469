"""Tables of samples with known effects, for tests of models and protocols."""

import numpy as np

from merps.samples import Samples


def make_samples(
    rng,
    *,
    n_people=6,
    lengths=(20, 25, 18, 22, 16),
    n_features=6,
    effect=0.0,
    missing=0.0,
):
    """Ratings around a shared course; the first two features tell the deviation."""
    offsets = np.cumsum([0, *lengths])
    course = np.concatenate(
        [
            128
            + 35 * rng.normal(size=2)
            + np.cumsum(2 * rng.normal(size=(n, 2)), axis=0)
            for n in lengths
        ]
    )
    deviation = 12 * rng.normal(size=(n_people, offsets[-1], 2))
    features = rng.normal(size=(n_people, offsets[-1], n_features))
    n_telling = min(2, n_features)
    features[..., :n_telling] += effect * deviation[..., :n_telling] / 12
    features = features.reshape(n_people * offsets[-1], n_features).astype(np.float32)
    features[rng.random(features.shape) < missing] = np.nan
    stimuli = np.concatenate([[f"V{k + 1:02d}"] * n for k, n in enumerate(lengths)])
    return Samples(
        people=np.repeat([f"test_{p + 1}" for p in range(n_people)], offsets[-1]),
        stimuli=np.tile(stimuli, n_people),
        seconds=np.tile(np.concatenate([np.arange(n) for n in lengths]), n_people),
        features=features,
        feature_names=tuple(f"f{k}" for k in range(n_features)),
        targets=np.clip(np.rint(course + deviation), 1, 255).reshape(-1, 2),
    )


def shuffled(samples, rng):
    """The same rows in another order."""
    return samples.take(rng.permutation(len(samples)))


def scrambled(samples, rows, rng):
    """Noise in place of the features and labels of some rows."""
    features, targets = samples.features.copy(), samples.targets.copy()
    features[rows] = rng.normal(size=features[rows].shape)
    targets[rows] = rng.integers(1, 256, size=targets[rows].shape)
    return Samples(
        people=samples.people,
        stimuli=samples.stimuli,
        seconds=samples.seconds,
        features=features,
        feature_names=samples.feature_names,
        targets=targets,
    )
