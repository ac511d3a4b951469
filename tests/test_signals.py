import numpy as np
import pytest
from tables import make_samples, shuffled

from merps.errors import InputError
from merps.models.regression import HuberRegressor, RidgeRegressor
from merps.models.rows import crossed_groups, inner_groups
from merps.models.signals import SignalModel
from merps.samples import Samples
from merps.scores import score


def blanked(samples, rows):
    features = samples.features.copy()
    features[rows] = np.nan
    return Samples(
        people=samples.people,
        stimuli=samples.stimuli,
        seconds=samples.seconds,
        features=features,
        feature_names=samples.feature_names,
        targets=samples.targets,
    )


@pytest.mark.parametrize("regressor", [None, HuberRegressor()])
def test_planted_effect_is_found(rng, regressor):
    samples = make_samples(rng, lengths=(12,) * 10, effect=3.0, missing=0.05)
    new = samples.people == "test_6"
    test = samples.take(np.flatnonzero(new))
    model = SignalModel(regressor).fit(samples.take(np.flatnonzero(~new)))
    constant = np.tile(model.median_, (len(test), 1))
    assert score(model.predict(test), test.targets)["pearson"] > 0.1
    better = score(constant, test.targets)["mae"]
    assert score(model.predict(test), test.targets)["mae"] < better


def test_people_and_stimuli_are_held_out_together(rng):
    samples = make_samples(rng, n_people=4, effect=1.0)
    both = np.stack([samples.people, samples.stimuli], axis=1)
    expected = RidgeRegressor().fit(samples.features, samples.targets, groups=both)
    actual = SignalModel().fit(samples)
    np.testing.assert_array_equal(actual.regressor_.coef_, expected.coef_)
    np.testing.assert_array_equal(actual.inner_mae_, expected.inner_mae_)


@pytest.mark.parametrize(("n_people", "n_stimuli"), [(3, 3), (4, 5)])
def test_groups_are_crossed_where_there_are_three_of_each(rng, n_people, n_stimuli):
    samples = make_samples(rng, n_people=n_people, lengths=(4,) * n_stimuli)
    groups = crossed_groups(samples)
    assert len(np.unique(groups, axis=0)) == n_people * n_stimuli
    for column, names in zip(groups.T, (samples.people, samples.stimuli), strict=True):
        np.testing.assert_array_equal(np.unique(names)[column], names)


@pytest.mark.parametrize(("n_people", "n_stimuli"), [(2, 5), (5, 2), (2, 2), (1, 1)])
def test_groups_are_not_crossed_where_one_would_be_left(rng, n_people, n_stimuli):
    samples = make_samples(rng, n_people=n_people, lengths=(4,) * n_stimuli)
    expected = inner_groups(samples)
    assert expected is None or expected.ndim == 1
    np.testing.assert_equal(crossed_groups(samples), expected)


def test_groups_are_people_where_stimuli_are_few(rng):
    samples = make_samples(rng, n_people=4, lengths=(30, 25), effect=1.0)
    expected = RidgeRegressor().fit(
        samples.features, samples.targets, groups=samples.people
    )
    actual = SignalModel().fit(samples)
    np.testing.assert_array_equal(actual.regressor_.coef_, expected.coef_)
    np.testing.assert_array_equal(actual.alpha_, expected.alpha_)


def test_groups_are_stimuli_where_people_are_few(rng):
    samples = make_samples(rng, n_people=2, effect=1.0)
    expected = RidgeRegressor().fit(
        samples.features, samples.targets, groups=samples.stimuli
    )
    actual = SignalModel().fit(samples).regressor_
    np.testing.assert_array_equal(actual.inner_mae_, expected.inner_mae_)


@pytest.mark.parametrize(("n_people", "lengths"), [(1, (30,)), (1, (9, 9)), (2, (30,))])
def test_one_of_a_kind_still_fits(rng, n_people, lengths):
    samples = make_samples(rng, n_people=n_people, lengths=lengths)
    assert np.isfinite(SignalModel().fit(samples).predict(samples)).all()


def test_rows_without_features_are_the_median_and_teach_nothing(rng):
    samples = make_samples(rng, effect=1.0)
    rows = np.flatnonzero(rng.random(len(samples)) < 0.3)
    rest = np.setdiff1d(np.arange(len(samples)), rows)
    model = SignalModel().fit(blanked(samples, rows))
    predicted = model.predict(blanked(samples, rows))
    median = np.median(samples.targets, axis=0)
    np.testing.assert_array_equal(predicted[rows], np.tile(median, (len(rows), 1)))
    expected = SignalModel().fit(samples.take(rest)).predict(samples)
    np.testing.assert_allclose(predicted[rest], expected[rest], rtol=1e-12)


def test_no_features_anywhere_is_the_median(rng):
    samples = blanked(make_samples(rng), slice(None))
    expected = np.tile(np.median(samples.targets, axis=0), (len(samples), 1))
    np.testing.assert_array_equal(SignalModel().fit(samples).predict(samples), expected)


def test_order_of_rows_does_not_matter(rng):
    samples = make_samples(rng, effect=1.0, missing=0.1)
    expected = SignalModel().fit(samples).predict(samples)
    actual = SignalModel().fit(shuffled(samples, rng)).predict(samples)
    np.testing.assert_array_equal(actual, expected)


def test_other_features_are_refused(rng):
    samples = make_samples(rng, n_features=4)
    model = SignalModel().fit(samples)
    with pytest.raises(InputError, match="3 features to predict from, 4 fitted on"):
        model.predict(make_samples(rng, n_features=3))
    with pytest.raises(InputError, match="have no features; compute some"):
        SignalModel().fit(make_samples(rng, n_features=0))
    samples.features[3, 2] = -np.inf
    with pytest.raises(InputError, match="feature f2 is infinite"):
        SignalModel().fit(samples)


def test_a_single_row_is_too_little(rng):
    samples = make_samples(rng).take(np.arange(1))
    with pytest.raises(InputError, match="1 labeled row"):
        SignalModel().fit(samples)
