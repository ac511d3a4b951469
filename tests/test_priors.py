import naive
import numpy as np
import pytest
from tables import make_samples, shuffled

from merps.errors import InputError
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior
from merps.samples import Samples


def of(samples, stimulus):
    return np.flatnonzero(samples.stimuli == stimulus)


def test_constant_is_the_median(rng):
    samples = make_samples(rng)
    expected = np.tile(np.median(samples.targets, axis=0), (len(samples), 1))
    np.testing.assert_array_equal(
        ConstantPrior().fit(samples).predict(samples), expected
    )


def test_video_is_the_median_of_the_video(rng):
    samples = shuffled(make_samples(rng), rng)
    predicted = VideoPrior().fit(samples).predict(samples)
    for stimulus in np.unique(samples.stimuli):
        rows = of(samples, stimulus)
        expected = np.tile(np.median(samples.targets[rows], axis=0), (len(rows), 1))
        np.testing.assert_array_equal(predicted[rows], expected)


@pytest.mark.parametrize("smoothing_s", [1, 3, 7, 101])
@pytest.mark.parametrize("n_people", [1, 4, 5])
def test_video_time_equals_naive(rng, smoothing_s, n_people):
    samples = shuffled(make_samples(rng, n_people=n_people), rng)
    predicted = VideoTimePrior(smoothing_s).fit(samples).predict(samples)
    for stimulus in np.unique(samples.stimuli):
        rows = of(samples, stimulus)
        seconds = samples.seconds[rows]
        course = naive.video_time_course(seconds, samples.targets[rows], smoothing_s)
        np.testing.assert_allclose(predicted[rows], course[seconds], rtol=1e-14)


@pytest.mark.parametrize("n_people", [1, 2, 5, 20])
def test_shrinkage_equals_naive(rng, n_people):
    samples = shuffled(make_samples(rng, n_people=n_people), rng)
    plain, shrunk = (VideoTimePrior(shrunk=own).fit(samples) for own in (False, True))
    share = naive.shrinkage(samples.stimuli, samples.seconds, samples.targets)
    np.testing.assert_allclose(shrunk.shrinkage_, share, rtol=1e-12)
    assert (share > 0).all() == (n_people > 1)
    before, after = (prior.predict(samples) for prior in (plain, shrunk))
    expected = before + share * (shrunk.median_ - before)
    np.testing.assert_allclose(after, expected, rtol=1e-14)
    assert not plain.shrinkage_.any()


def test_shrinkage_is_what_chance_explains(rng):
    samples = make_samples(rng, n_people=20, lengths=(200,) * 5)
    alone = samples.with_targets(rng.normal(128, 20, size=(len(samples), 2)))
    assert (VideoTimePrior(shrunk=True).fit(alone).shrinkage_ > 0.9).all()
    course = 100 + 50 * np.sin(samples.seconds / 7)
    agreed = samples.with_targets(np.stack([course, course], axis=1))
    assert (VideoTimePrior(shrunk=True).fit(agreed).shrinkage_ < 1e-12).all()


@pytest.mark.parametrize("n_people", [4, 20])
def test_shrunk_courses_are_nearer_to_other_people(n_people):
    """Without a signal; over many draws, since each one is small."""
    gained = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        people, seconds = np.divmod(np.arange((n_people + 40) * 60), 60)
        course = 128 + 40 * rng.normal(size=(60, 2))
        targets = np.clip(
            course[seconds] + 40 * rng.normal(size=(len(people), 2)), 1, 255
        )
        samples = Samples(
            people=np.array([f"S{p:03d}" for p in people]),
            stimuli=np.full(len(people), "V01"),
            seconds=seconds,
            features=np.empty((len(people), 0)),
            feature_names=(),
            targets=targets,
        )
        train = samples.take(np.flatnonzero(people < n_people))
        test = samples.take(np.flatnonzero(people >= n_people))
        errors = [
            np.abs(
                VideoTimePrior(1, own).fit(train).predict(test) - test.targets
            ).mean()
            for own in (False, True)
        ]
        gained.append(errors[0] - errors[1])
    assert np.mean(gained) > 2 * np.std(gained) / np.sqrt(len(gained))


@pytest.mark.parametrize("prior", [VideoPrior(), VideoTimePrior()])
def test_new_video_gets_the_constant(rng, prior):
    samples = make_samples(rng)
    new = samples.stimuli == "V03"
    train, test = samples.take(np.flatnonzero(~new)), samples.take(np.flatnonzero(new))
    expected = ConstantPrior().fit(train).predict(test)
    np.testing.assert_array_equal(prior.fit(train).predict(test), expected)


def test_late_seconds_take_the_last_one(rng):
    samples = make_samples(rng, lengths=(20, 9))
    early = samples.take(np.flatnonzero(samples.seconds < 6))
    predicted = VideoTimePrior().fit(early).predict(samples)
    for stimulus in ("V01", "V02"):
        rows = of(samples, stimulus)
        last = predicted[rows[samples.seconds[rows] == 5]][0]
        late = predicted[rows[samples.seconds[rows] >= 5]]
        np.testing.assert_array_equal(late, np.tile(last, (len(late), 1)))


def test_unrated_seconds_are_interpolated(rng):
    samples = make_samples(rng, n_people=1, lengths=(10,))
    line = np.stack([10.0 + samples.seconds, 50.0 - samples.seconds], axis=1)
    samples = samples.with_targets(line)
    gap = samples.take(np.array([0, 1, 5, 6, 9]))
    np.testing.assert_allclose(VideoTimePrior(1).fit(gap).predict(samples), line)


@pytest.mark.parametrize("prior", [ConstantPrior(), VideoPrior(), VideoTimePrior()])
def test_missing_labels_are_passed_over(rng, prior):
    samples = make_samples(rng)
    gone = rng.random(len(samples)) < 0.2
    targets = np.where(gone[:, None], [[np.nan, 7.0]], samples.targets)
    expected = prior.fit(samples.take(np.flatnonzero(~gone))).predict(samples)
    actual = prior.fit(samples.with_targets(targets)).predict(samples)
    np.testing.assert_array_equal(actual, expected)
    with pytest.raises(InputError, match="no row has labels"):
        prior.fit(samples.with_targets(np.full_like(targets, np.nan)))


def test_smoothing_must_be_centered(rng):
    with pytest.raises(InputError, match="smoothing_s=4 must be odd"):
        VideoTimePrior(smoothing_s=4).fit(make_samples(rng))


@pytest.mark.parametrize("prior", [ConstantPrior(), VideoPrior(), VideoTimePrior()])
def test_no_rows_give_no_predictions(rng, prior):
    samples = make_samples(rng)
    none = samples.take(np.arange(0))
    assert prior.fit(samples).predict(none).shape == (0, 2)
