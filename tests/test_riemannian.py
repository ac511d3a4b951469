import logging
from dataclasses import replace

import numpy as np
import pytest
from mixed import (
    held_out_correlation,
    make_mixed,
    stored,
    with_rows,
    with_values,
)
from sklearn.base import clone

import merps
from merps.errors import InputError
from merps.models.persistence import save_model
from merps.models.recentered import Groups, TangentMap, find_turns, group_tangents
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.models.tangent import TangentSpace

CARD = {"terms": "CC BY-NC-SA 4.0"}
EVERY = ("eeg", "eeg_delays", "fnirs", "joint")
COVARIANCES, REST = "eeg_covariances", "eeg_rest_covariances"
OPTIONS = {"width_s": 5.0}


def test_sources_are_found_however_they_are_mixed(rng):
    samples = make_mixed(rng, effect=1.0, strength=0.6)
    found = {
        reference: held_out_correlation(
            RiemannianRegressor(reference=reference, **OPTIONS), samples
        )
        for reference in ("person_rest", "person", "training")
    }
    power = held_out_correlation(SignalModel(), samples)
    assert found["person_rest"] > 0.8
    assert found["person_rest"] > power + 0.1
    assert found["person_rest"] > found["training"] + 0.1


def test_nothing_is_found_where_nothing_is(rng):
    samples = make_mixed(rng, n_people=8, lengths=(60, 60))
    for reference in ("person_rest", "person"):
        model = RiemannianRegressor(reference=reference, **OPTIONS)
        assert abs(held_out_correlation(model, samples, n_test=4)) < 0.25


def whole(source):
    """All matrices of a source, (row, band, channel, channel)."""
    rows = np.arange(len(source))
    x = [source.matrices(rows, band) for band in range(len(source.bands))]
    return np.stack(x, axis=1).astype(np.float64)


def test_mixing_a_person_symmetrically_changes_no_prediction(rng):
    samples = make_mixed(rng, effect=1.0)
    model = RiemannianRegressor(method="exact", **OPTIONS).fit(samples)
    own = samples.people == "test_2"
    random = rng.normal(size=(5, 5))
    predicted = []
    for change in (np.eye(5), random @ random.T / 5 + 0.5 * np.eye(5)):
        windows = whole(samples.blocks[COVARIANCES].source)
        windows[own] = change @ windows[own] @ change
        rests = whole(samples.blocks[REST].source)
        rests[1] = change @ change  # of sources that were mixed in no other way
        blocks = {
            COVARIANCES: replace(samples.blocks[COVARIANCES], source=stored(windows)),
            REST: replace(samples.blocks[REST], source=stored(rests)),
        }
        predicted.append(model.predict(replace(samples, blocks=blocks)))
    np.testing.assert_allclose(predicted[1], predicted[0], atol=0.05)
    others = model.predict(samples)[~own]
    np.testing.assert_array_equal(predicted[1][~own], others)


@pytest.mark.parametrize("metric", ["euclid", "riemann", "logeuclid"])
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_tangents_equal_those_of_the_transformer(rng, metric, method):
    samples = make_mixed(rng, n_people=2, lengths=(9, 8))
    block = samples.blocks[COVARIANCES]
    source, person = block.source, np.repeat([0, 1], 17)
    x = np.stack([source.matrices(block.rows, band) for band in range(2)], axis=1)
    groups = Groups(source, block.rows, person, 2)
    references = np.stack(
        [x[person == g].mean(axis=0, dtype=np.float64) for g in range(2)]
    )
    eye = np.stack([np.eye(5)] * 2)
    tangents = TangentMap(eye, references, 0.1, metric, method, 1)
    actual = group_tangents(
        groups,
        tangents,
        lambda g: None if metric == "euclid" else find_turns(groups, tangents, g),
    )
    space = TangentSpace(metric, method, 0.1).fit(x)
    expected = space.transform(x, groups=person)
    np.testing.assert_allclose(
        actual, expected, atol=1e-10 if method == "exact" else 1e-4
    )


def test_methods_agree(rng):
    samples = make_mixed(rng, effect=1.0, n_people=4)
    for options in (
        {},
        {"reference": "training", "metric": "riemann"},
        {"reference": "person", "metric": "logeuclid"},
        {"n_components": 3},
    ):
        fast, exact = (
            RiemannianRegressor(method=method, **options, **OPTIONS)
            .fit(samples)
            .predict(samples)
            for method in ("fast", "exact")
        )
        assert exact.std() > 5
        np.testing.assert_allclose(fast, exact, atol=0.5)


def test_predictions_depend_on_neither_order_nor_other_people_nor_threads(rng):
    samples = make_mixed(rng, effect=1.0)
    model = RiemannianRegressor(jobs=1, **OPTIONS).fit(samples)
    expected = model.predict(samples)
    order = rng.permutation(len(samples))
    np.testing.assert_array_equal(model.predict(samples.take(order)), expected[order])
    shuffled = clone(model).fit(samples.take(order))
    np.testing.assert_array_equal(shuffled.predict(samples), expected)
    own = np.flatnonzero(samples.people == "test_3")
    np.testing.assert_allclose(
        model.predict(samples.take(own)), expected[own], rtol=1e-9
    )
    several = model.set_params(jobs=2).predict(samples)
    np.testing.assert_array_equal(several, expected)
    assert model.predict(samples.take(order[:0])).shape == (0, 2)


def test_labels_and_signals_of_test_rows_leave_no_trace(rng, tmp_path):
    samples = make_mixed(rng, effect=1.0)
    test = np.flatnonzero(samples.people == "test_6")
    train = np.flatnonzero(samples.people != "test_6")
    targets = samples.targets.copy()
    targets[test] = 1

    def spoil(values):
        values[test] *= 3

    other = with_values(samples.with_targets(targets), COVARIANCES, spoil)
    for name, table in (("a", samples), ("b", other)):
        model = RiemannianRegressor(**OPTIONS).fit(table.take(train))
        save_model(model, tmp_path / name, card=CARD)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_people_without_a_rest_take_their_own_mean(rng, caplog):
    samples = make_mixed(rng, effect=1.0)
    model = RiemannianRegressor(**OPTIONS).fit(samples)
    expected = model.predict(samples)
    own = samples.people == "test_2"
    rows = np.where(own, -1, samples.blocks[REST].rows)
    caplog.clear()
    without = model.predict(with_rows(samples, REST, rows))
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "1 people have no rest" in caplog.text
    np.testing.assert_array_equal(without[~own], expected[~own])
    person = clone(model).set_params(reference="person")
    for name in ("regressor_", "median_", "layout_", "means_"):
        setattr(person, name, getattr(model, name))
    for name in ("directions_", "centers_", "turns_"):
        setattr(person, name, getattr(model, name))
    np.testing.assert_allclose(without[own], person.predict(samples)[own], rtol=1e-6)
    assert np.abs(without - expected)[own].max() > 0.1

    def flatten(values):
        values[1] = 0

    flat = model.predict(with_values(samples, REST, flatten))
    np.testing.assert_array_equal(flat, without)
    blocks = {COVARIANCES: samples.blocks[COVARIANCES]}
    np.testing.assert_allclose(
        model.predict(replace(samples, blocks=blocks)),
        person.predict(samples),
        rtol=1e-6,
    )


def drop_channel(values, rows, channel, n_channels=5):
    first, second = np.triu_indices(n_channels)
    gone = np.flatnonzero((first == channel) | (second == channel))
    values[np.ix_(rows, np.arange(values.shape[1]), gone)] = np.nan


def test_a_missing_channel_costs_neither_person_nor_window(rng):
    samples = make_mixed(rng, effect=1.0, n_channels=7)
    model = RiemannianRegressor(**OPTIONS).fit(samples)
    expected = model.predict(samples)
    own = np.flatnonzero(samples.people == "test_4")
    gone = with_values(samples, COVARIANCES, lambda v: drop_channel(v, own, 5, 7))
    both = with_values(gone, REST, lambda v: drop_channel(v, [3], 5, 7))
    for table in (gone, both):
        predicted = model.predict(table)
        others = np.setdiff1d(np.arange(len(samples)), own)
        np.testing.assert_array_equal(predicted[others], expected[others])
        assert np.isfinite(predicted).all()
        for k in range(2):
            assert np.corrcoef(predicted[own, k], expected[own, k])[0, 1] > 0.6
        assert held_out_correlation(RiemannianRegressor(**OPTIONS), table) > 0.7
    part = with_values(samples, COVARIANCES, lambda v: drop_channel(v, own[::3], 5, 7))
    assert np.isfinite(RiemannianRegressor(**OPTIONS).fit(part).predict(part)).all()
    # A channel that nobody has is no channel.
    rows = np.arange(len(samples))
    nobody = with_values(samples, COVARIANCES, lambda v: drop_channel(v, rows, 5, 7))
    for options in ({}, {"reference": "training", "metric": "riemann"}):
        fitted = RiemannianRegressor(**options, **OPTIONS).fit(nobody)
        assert fitted.directions_["eeg"].shape == (2, 7, 6)
        assert np.isfinite(fitted.predict(nobody)).all()


def test_data_of_less_than_full_rank(rng):
    samples = make_mixed(rng, effect=1.0, n_channels=6)
    center = np.eye(6) - 1 / 6
    source = samples.blocks[COVARIANCES].source
    rests = samples.blocks[REST].source

    def referred(kept):
        return stored(center @ whole(kept) @ center)

    blocks = {
        COVARIANCES: replace(samples.blocks[COVARIANCES], source=referred(source)),
        REST: replace(samples.blocks[REST], source=referred(rests)),
    }
    referred_samples = replace(samples, blocks=blocks)
    model = RiemannianRegressor(n_components=None, **OPTIONS).fit(referred_samples)
    assert model.directions_["eeg"].shape == (2, 6, 5)
    assert held_out_correlation(model, referred_samples) > 0.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 2)])
def test_one_channel_or_one_band(rng, shape):
    n_channels, n_bands = shape
    samples = make_mixed(rng, n_channels=n_channels, n_bands=n_bands, effect=1.0)
    predicted = RiemannianRegressor().fit(samples).predict(samples)
    assert predicted.std(axis=0).min() > 0


def test_rows_without_signals_are_predicted_as_the_median(rng):
    samples = make_mixed(rng, effect=1.0)
    trial = (samples.people == "test_1") & (samples.stimuli == "V02")
    second = np.flatnonzero((samples.people == "test_5") & (samples.seconds == 3))
    rows = samples.blocks[COVARIANCES].rows.copy()
    rows[trial] = -1
    rows[second] = -1
    part = with_rows(samples, COVARIANCES, rows)
    model = RiemannianRegressor(**OPTIONS).fit(part)
    predicted = model.predict(part)
    np.testing.assert_array_equal(predicted[trial], np.tile(model.median_, (30, 1)))
    assert (predicted[second] != model.median_).all()  # neighbors have signals
    targets = samples.targets.copy()
    targets[trial] = np.nan
    some = clone(model).fit(samples.with_targets(targets))
    kept = clone(model).fit(samples.take(np.flatnonzero(~trial)))
    np.testing.assert_array_equal(some.predict(samples), kept.predict(samples))


@pytest.mark.parametrize("metric", ["riemann", "logeuclid"])
@pytest.mark.parametrize("rank", [0, 3, None])
def test_people_without_such_a_mean_stay_at_the_euclidean_one(
    rng, caplog, metric, rank
):
    samples = make_mixed(rng, effect=1.0)
    own = samples.people == "test_4"

    def weaken(values):
        if rank is None:
            values[own] = np.nan
        else:
            first, second = np.triu_indices(5)
            values[np.ix_(own, [0, 1], (first >= rank) | (second >= rank))] = 0

    options = {"reference": "person", "metric": metric, **OPTIONS}
    model = RiemannianRegressor(**options).fit(samples)
    expected = model.predict(samples)
    caplog.clear()
    weak = with_values(samples, COVARIANCES, weaken)
    predicted = model.predict(weak)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert f"1 people have no {metric} mean" in caplog.text
    assert np.isfinite(predicted).all()
    np.testing.assert_array_equal(predicted[~own], expected[~own])
    euclid = clone(model).set_params(metric="euclid")
    vars(euclid).update({k: v for k, v in vars(model).items() if k.endswith("_")})
    np.testing.assert_array_equal(predicted[own], euclid.predict(weak)[own])


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ()}, "must be some of eeg, eeg_delays, fnirs, joint"),
        ({"inputs": ("eeg", "eeg")}, "each once"),
        ({"inputs": ("ecg",)}, "must be some of"),
        ({"reference": "mean"}, "reference='mean' is none of person_rest"),
        ({"metric": "angle"}, "metric='angle' is none of"),
        ({"shrinkage": 1.0}, "shrinkage must lie in"),
        ({"inputs": ("eeg_delays",), "delays": (0,)}, "must be positive"),
        ({"inputs": ("fnirs",)}, "have no fnirs_windows"),
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"width_s": -1}, "width_s must not be negative"),
    ],
)
def test_options_that_mean_nothing_are_refused(rng, options, message):
    samples = make_mixed(rng, n_people=2, lengths=(4, 4))
    with pytest.raises(InputError, match=message):
        RiemannianRegressor(**options).fit(samples)


def test_the_model_is_on_the_menu_and_tells_what_it_chose(rng, caplog):
    caplog.set_level(logging.WARNING)
    model = merps.RiemannianRegressor(n_components=2).fit(make_mixed(rng, effect=1.0))
    assert model.alpha_.shape == model.inner_mae_.shape == (2,)
    assert clone(model).get_params() == model.get_params()
    assert caplog.text == ""
