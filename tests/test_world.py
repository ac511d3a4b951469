import numpy as np
import pytest
from sklearn.linear_model import Ridge

from merps.datasets.simulate.oracle import score_oracle, score_oracle_fusion
from merps.datasets.simulate.world import SOURCES, VIDEO_SECONDS, World, smooth_noise
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior
from merps.samples import Samples
from merps.scores import score
from merps.splits import folds

SHORT = (6, 7, 8, 30)
PEOPLE = [f"test_{k}" for k in range(1, 25)]


def ratings(world, people=PEOPLE):
    """A table of labels, without signals."""
    trials = [
        (name, stimulus, world.targets(p, v))
        for p, name in enumerate(people)
        for v, stimulus in enumerate(world.stimuli)
    ]
    lengths = [len(targets) for *_, targets in trials]
    n_samples = sum(lengths)
    return Samples(
        people=np.repeat([name for name, *_ in trials], lengths),
        stimuli=np.repeat([stimulus for _, stimulus, _ in trials], lengths),
        seconds=np.concatenate([np.arange(n) for n in lengths]),
        features=np.empty((n_samples, 0)),
        feature_names=(),
        targets=np.concatenate([targets for *_, targets in trials]),
    )


def held_out_mae(samples, model, seed):
    predictions = np.empty_like(samples.targets)
    for fold in folds("people", samples.people, samples.stimuli, seed=seed):
        model.fit(samples.take(fold.train))
        predictions[fold.test] = model.predict(samples.take(fold.test))
    return score(predictions, samples.targets)["mae"]


# The published ladder and the oracle


@pytest.mark.parametrize("seed", range(5))
def test_priors_score_as_published(seed):
    samples = ratings(World(seed, 0.0))
    assert len(samples) == 24 * 1536
    constant = held_out_mae(samples, ConstantPrior(), seed)
    video = held_out_mae(samples, VideoPrior(), seed)
    video_time = held_out_mae(samples, VideoTimePrior(), seed)
    assert 44 <= constant <= 49
    assert 31 <= video <= 36
    assert 26 <= video_time <= 31


def oracle_pearson(coupling, protocol):
    scores = [
        score_oracle(
            World(seed, coupling), PEOPLE, seed=0, width_s=15.0, protocols=[protocol]
        )
        for seed in range(3)
    ]
    return np.mean([result[protocol]["pearson"] for result in scores])


def test_oracle_finds_what_is_planted():
    assert oracle_pearson(1.0, "both") == pytest.approx(0.5, abs=0.06)


def test_oracle_finds_nothing_where_nothing_is_planted():
    # A little below zero: a training mean leans away from the rows that it lacks.
    assert -0.2 < oracle_pearson(0.0, "both") < 0.05


def test_oracle_knows_more_the_stronger_the_coupling():
    people = PEOPLE[:6]
    pearson = [
        score_oracle(
            World(1, coupling), people, seed=0, width_s=15.0, protocols=["people"]
        )["people"]["pearson"]
        for coupling in (0.0, 0.5, 1.0, 4.0)
    ]
    assert pearson == sorted(pearson)
    assert pearson[-1] > 0.4


def test_oracle_leaves_out_protocols_that_need_more():
    def protocols(n_people, video_s):
        world = World(0, 1.0, video_s=video_s)
        return list(score_oracle(world, PEOPLE[:n_people], seed=0, width_s=5.0))

    assert protocols(2, SHORT) == ["people", "videos", "both", "within"]
    assert protocols(1, SHORT) == ["videos", "within"]
    assert protocols(2, SHORT[:1]) == ["people"]
    assert protocols(1, SHORT[:1]) == []


@pytest.mark.parametrize("protocol", ["people", "both"])
def test_the_oracle_of_fusion_is_the_prior_and_a_ridge_of_what_it_leaves(protocol):
    world, people = World(3, 1.0, video_s=(30, 40, 50, 20, 25, 30)), PEOPLE[:5]
    samples = ratings(world, people)
    pairs = [(p, v) for p in range(5) for v in range(6)]
    courses = np.concatenate([world.courses(p, v).T for p, v in pairs])
    predictions = np.empty_like(samples.targets)
    emotions = world.emotions
    for fold in folds(
        protocol, samples.people, samples.stimuli, seed=1, emotions=emotions
    ):
        train, test = samples.take(fold.train), samples.take(fold.test)
        residuals = train.targets.copy()
        for name in set(train.people):
            own = np.flatnonzero(train.people == name)
            others = train.take(np.flatnonzero(train.people != name))
            residuals[own] -= VideoTimePrior().fit(others).predict(train.take(own))
        ridge = Ridge().fit(courses[fold.train], residuals)
        prior = VideoTimePrior().fit(train).predict(test)
        moved = prior + ridge.predict(courses[fold.test])
        predictions[fold.test] = np.clip(moved, 1, 255)
    found = score_oracle_fusion(world, people, seed=1, width_s=0, protocols=[protocol])
    expected = score(predictions, samples.targets)
    assert found[protocol] == pytest.approx(expected, rel=1e-9)


# Ratings


def test_ratings_are_whole_numbers_on_the_scale():
    world = World(0, 0.0)
    for video, n_seconds in enumerate(VIDEO_SECONDS):
        targets = world.targets(3, video)
        assert targets.shape == (n_seconds, 2)
        assert targets.min() >= 1
        assert targets.max() <= 255
        np.testing.assert_array_equal(targets, np.rint(targets))
        np.testing.assert_array_equal(targets[0], 128)  # the joystick starts there


def test_ratings_are_the_shared_course_and_the_deviation():
    world = World(2, 1.0, video_s=SHORT)
    for video in range(len(SHORT)):
        course = world.shared[video] + world.deviation(0, video)
        inside = (course > 1) & (course < 255)
        assert inside.mean() > 0.5
        error = np.abs(world.targets(0, video) - course)
        assert error[inside].max() <= 0.5


def test_videos_are_in_the_quadrant_of_their_emotion():
    world = World(0, 0.0)
    means = np.array([course[20:].mean(axis=0) - 128 for course in world.shared])
    kinds = np.array(list(world.emotions.values()))
    assert (means[kinds == "happy"] > 0).all()
    assert (means[kinds == "sad"] < 0).all()
    assert np.abs(means[kinds == "neutral"]).max() < 30


def test_more_videos_than_known_start_over():
    emotions = World(0, 0.0, video_s=(6,) * 17).emotions
    assert emotions["V16"] == emotions["V01"]
    assert emotions["V17"] == emotions["V02"]


def test_layouts_share_videos_and_differ_in_people():
    known = World(5, 1.0, "trainval", SHORT)
    new = World(5, 1.0, "leaderboard", SHORT)
    for video in range(len(SHORT)):
        np.testing.assert_array_equal(known.shared[video], new.shared[video])
        assert not np.array_equal(known.deviation(0, video), new.deviation(0, video))
        assert not np.array_equal(known.courses(0, video), new.courses(0, video))
    np.testing.assert_array_equal(known.rng(1).random(3), new.rng(1).random(3))


def test_people_and_seeds_differ_and_repeat():
    def deviation(seed, person):
        return World(seed, 1.0, video_s=SHORT).deviation(person, 3)

    np.testing.assert_array_equal(deviation(0, 0), deviation(0, 0))
    assert not np.allclose(deviation(0, 0), deviation(0, 1), atol=1)
    assert not np.allclose(deviation(0, 0), deviation(1, 0), atol=1)
    shared = [World(seed, 1.0, video_s=SHORT).shared[3] for seed in (0, 1)]
    assert not np.allclose(*shared, atol=1)


def test_no_two_streams_are_the_same():
    world = World(0, 1.0)
    streams = [world.rng(*s) for s in [(0, 0), (0, 1), (1,), (2,)]]
    streams += [
        world.person_rng(person, *s)
        for person in range(3)
        for s in [(0,), (1, 0), (1, 1), (2, 0), (3,), (4,), (6, 0), (6, 1), (7, 0)]
    ]
    firsts = [rng.integers(2**63) for rng in streams]
    assert len(set(firsts)) == len(firsts)


# Sources


def test_without_coupling_sources_do_not_know_the_ratings():
    world = World(0, 0.0)
    courses, deviations = [], []
    for person in range(24):
        for video in range(15):
            courses.append(world.courses(person, video))
            deviations.append(world.deviation(person, video).T)
    joined = np.concatenate([np.hstack(courses), np.hstack(deviations)])
    across = np.corrcoef(joined)[: len(SOURCES), len(SOURCES) :]
    np.testing.assert_allclose(across, 0, atol=0.1)


def test_coupling_is_linear_in_the_deviation():
    none, one, three = (
        World(4, coupling, video_s=SHORT).courses(1, 3) for coupling in (0, 1, 3)
    )
    np.testing.assert_allclose(three - none, 3 * (one - none), atol=1e-12)
    deviation = World(4, 1.0, video_s=SHORT).deviation(1, 3)
    for row, (_, dimension, sign, _) in zip(one - none, SOURCES, strict=True):
        ratio = row[1:] / deviation[1:, dimension]
        np.testing.assert_allclose(ratio, ratio[0])
        assert np.sign(ratio[0]) == sign


def test_sources_are_at_rest_at_onset():
    world = World(0, 2.0, video_s=SHORT)
    np.testing.assert_array_equal(world.courses(0, 1)[:, 0], 0)
    np.testing.assert_array_equal(world.deviation(0, 1)[0], 0)


def test_sources_wander_by_themselves():
    world = World(0, 0.0)
    rows = np.hstack([world.courses(p, 0)[:, 20:] for p in range(24)])
    np.testing.assert_allclose(np.corrcoef(rows), np.eye(len(SOURCES)), atol=0.4)
    assert rows.std(axis=1).min() > 0.2


@pytest.mark.parametrize("correlation_s", [1.0, 12.0])
def test_smooth_noise(rng, correlation_s):
    x = smooth_noise(rng, (30, 2, 400), correlation_s)
    assert x.shape == (30, 2, 400)
    assert np.mean(x**2) == pytest.approx(1, abs=0.2)
    # A Gaussian kernel of this width: exp(-lag^2 / 4 width^2).
    lag = round(correlation_s)
    expected = np.exp(-((lag / correlation_s) ** 2) / 4)
    actual = np.mean(x[..., lag:] * x[..., :-lag]) / np.mean(x**2)
    assert actual == pytest.approx(expected, abs=0.05)
