"""The best scores that planted sources allow: ridge regressions on their courses."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int

from merps.datasets.simulate.world import World
from merps.errors import InputError
from merps.features.temporal import smooth_in_time
from merps.scores import HIGHEST, LOWEST, score
from merps.shapes import SampleTargets
from merps.splits import PROTOCOLS, folds

_PRIOR_S = 7.0  # what the video-time prior is smoothed over

_Train: TypeAlias = Int[np.ndarray, " train"]
_Test: TypeAlias = Int[np.ndarray, " test"]
_Predicted: TypeAlias = Float64[np.ndarray, "test 2"]


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
    table = _tabulate(world, people, width_s)

    def predict(train: _Train, test: _Test) -> _Predicted:
        return _regress(table, table.targets[train], train, test)

    return _score_folds(table, world, people, predict, seed, protocols)


def score_oracle_fusion(
    world: World,
    people: Sequence[str],
    *,
    seed: int,
    width_s: float,
    protocols: Sequence[str] = PROTOCOLS,
) -> dict[str, dict[str, float]]:
    """Score the video-time prior with what the planted courses say of the rest.

    The prior is the median of each second of each video over the training people,
    smoothed over 7 s inside the video; for other videos it is the training median. The
    regression is fitted on residuals, each person's from the prior of the others, and
    the sum of both stays on the scale.

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
    table = _tabulate(world, people, width_s)

    def predict(train: _Train, test: _Test) -> _Predicted:
        prior = _prior(table, train, test)
        added = _regress(table, _residuals(table, train), train, test)
        return np.clip(prior + added, LOWEST, HIGHEST)

    return _score_folds(table, world, people, predict, seed, protocols)


class _Table(NamedTuple):
    """One row for each second of each person and video."""

    person: Int[np.ndarray, " sample"]
    video: Int[np.ndarray, " sample"]
    second: Int[np.ndarray, " sample"]
    courses: Float64[np.ndarray, "sample source"]
    targets: SampleTargets


def _tabulate(world: World, people: Sequence[str], width_s: float) -> _Table:
    """Put what all people feel and rate into one table."""
    n_people, videos = len(people), range(len(world.stimuli))
    person = np.repeat(np.arange(n_people), sum(world.video_s))
    video = np.tile(np.repeat(videos, world.video_s), n_people)
    second = np.tile(np.concatenate([np.arange(n) for n in world.video_s]), n_people)
    trials = [(p, v) for p in range(n_people) for v in videos]
    courses = np.concatenate([world.courses(p, v).T for p, v in trials])
    return _Table(
        person,
        video,
        second,
        smooth_in_time(courses, person * len(videos) + video, second, width_s=width_s),
        np.concatenate([world.targets(p, v) for p, v in trials]),
    )


def _score_folds(
    table: _Table,
    world: World,
    people: Sequence[str],
    predict: Callable[[_Train, _Test], _Predicted],
    seed: int,
    protocols: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Score what is predicted from the training rows for the test rows of each fold."""
    names, stimuli = np.array(people)[table.person], np.array(world.stimuli)
    results = {}
    for protocol in protocols:
        try:
            split = folds(
                protocol,
                names,
                stimuli[table.video],
                seed=seed,
                emotions=world.emotions,
            )
        except InputError:
            continue  # too few people or videos for this one
        predictions = np.empty_like(table.targets)
        for fold in split:
            predictions[fold.test] = predict(fold.train, fold.test)
        results[protocol] = score(predictions, table.targets)
    return results


def _regress(
    table: _Table, targets: Float64[np.ndarray, "train 2"], train: _Train, test: _Test
) -> _Predicted:
    """Fit a ridge regression on the courses of some rows and predict others."""
    from sklearn.linear_model import Ridge

    return Ridge().fit(table.courses[train], targets).predict(table.courses[test])


def _prior(table: _Table, train: _Train, test: _Test) -> _Predicted:
    """Return the medians of other people in the same seconds, or the median of all."""
    prior = np.tile(np.median(table.targets[train], axis=0), (len(test), 1))
    for video in np.intersect1d(table.video[train], table.video[test]):
        known = train[table.video[train] == video]
        n_people = len(np.unique(table.person[known]))
        medians = np.median(table.targets[known].reshape(n_people, -1, 2), axis=0)
        course = smooth_in_time(
            medians,
            np.zeros(len(medians), dtype=np.int64),
            np.arange(len(medians)),
            width_s=_PRIOR_S,
        )
        asked = table.video[test] == video
        prior[asked] = course[table.second[test[asked]]]
    return prior


def _residuals(table: _Table, train: _Train) -> Float64[np.ndarray, "train 2"]:
    """Subtract from each person's ratings the prior of the others."""
    residuals = table.targets[train] - np.median(table.targets[train], axis=0)
    people = np.unique(table.person[train])
    for person in people if len(people) > 1 else ():
        own = table.person[train] == person
        prior = _prior(table, train[~own], train[own])
        residuals[own] = table.targets[train[own]] - prior
    return residuals
