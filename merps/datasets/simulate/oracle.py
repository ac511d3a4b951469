"""The best score that planted sources allow: a ridge regression on their courses."""

from collections.abc import Sequence

import numpy as np

from merps.datasets.simulate.world import World
from merps.errors import InputError
from merps.features.temporal import smooth_in_time
from merps.scores import score
from merps.splits import PROTOCOLS, folds


def score_oracle(
    world: World,
    people: Sequence[str],
    *,
    seed: int,
    width_s: float,
    protocols: Sequence[str] = PROTOCOLS,
) -> dict[str, dict[str, float]]:
    """Score a ridge regression that sees what moves each planted source.

    Parameters
    ----------
    world : World
        Whose courses and ratings.
    people : sequence of str
        Names of the people, in order.
    seed : int
        Seed of the folds.
    width_s : float
        Width of the smoothing of the courses in seconds.
    protocols : sequence of str
        Which ways to hold out; those that need more people or videos are left out.

    Returns
    -------
    dict of dict of float
        Metrics as from `merps.scores.score`, by protocol.
    """
    from sklearn.linear_model import Ridge

    names, stimuli, seconds, courses, targets = [], [], [], [], []
    for p, name in enumerate(people):
        for v, stimulus in enumerate(world.stimuli):
            n_seconds = world.video_s[v]
            names += [name] * n_seconds
            stimuli += [stimulus] * n_seconds
            seconds.append(np.arange(n_seconds))
            courses.append(world.courses(p, v).T)
            targets.append(world.targets(p, v))
    person, stimulus = np.array(names), np.array(stimuli)
    trials = np.unique(np.char.add(person, stimulus), return_inverse=True)[1]
    x_tf = smooth_in_time(
        np.concatenate(courses), trials, np.concatenate(seconds), width_s=width_s
    )
    y_tk = np.concatenate(targets)
    results = {}
    for protocol in protocols:
        try:
            split = folds(
                protocol, person, stimulus, seed=seed, emotions=world.emotions
            )
        except InputError:
            continue  # too few people or videos for this one
        predictions = np.empty_like(y_tk)
        for fold in split:
            ridge = Ridge().fit(x_tf[fold.train], y_tk[fold.train])
            predictions[fold.test] = ridge.predict(x_tf[fold.test])
        results[protocol] = score(predictions, y_tk)
    return results
