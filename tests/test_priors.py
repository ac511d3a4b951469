import naive
import numpy as np
import pytest
from tables import make_samples, shuffled

from merps.errors import InputError
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior


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
