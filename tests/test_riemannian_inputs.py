from dataclasses import replace

import numpy as np
import pytest
from mixed import JOINT, held_out_correlation, make_mixed, with_rows, with_windows
from sklearn.base import clone

from merps.errors import DataError, InputError
from merps.models.persistence import load_model, save_model
from merps.models.regression import HuberRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.samples import Block

CARD = {"terms": "CC BY-NC-SA 4.0"}
EVERY = ("eeg", "eeg_delays", "fnirs", "joint")
COVARIANCES, REST = "eeg_covariances", "eeg_rest_covariances"
OPTIONS = {"width_s": 5.0}


@pytest.fixture(scope="module")
def windowed():
    rng = np.random.default_rng(11)
    return with_windows(rng, make_mixed(rng, effect=0.0), effect=1.0)


@pytest.mark.parametrize("name", EVERY[1:])
@pytest.mark.parametrize("reference", ["person_rest", "training"])
def test_sources_are_found_in_windows(windowed, name, reference):
    model = RiemannianRegressor((name,), reference=reference, **OPTIONS)
    found = held_out_correlation(model, windowed)
    assert found > (0.3 if name == "joint" or reference == "training" else 0.5)


def test_inputs_add_up_and_may_be_missing(windowed, caplog):
    model = RiemannianRegressor(EVERY, **OPTIONS).fit(windowed)
    assert caplog.text == ""
    predicted = model.predict(windowed)
    blocks = dict(windowed.blocks)
    rows = np.full(len(windowed), -1)
    del blocks["fnirs_windows"]
    absent = model.predict(replace(windowed, blocks=blocks))
    empty = model.predict(with_rows(windowed, "fnirs_windows", rows))
    np.testing.assert_array_equal(absent, empty)
    assert np.abs(absent - predicted).max() > 1
    nothing = model.predict(replace(windowed, blocks={}))
    np.testing.assert_array_equal(nothing, np.tile(model.median_, (len(windowed), 1)))
    half = with_rows(
        windowed,
        "joint_windows",
        np.where(
            windowed.people == "test_1", -1, windowed.blocks["joint_windows"].rows
        ),
    )
    assert np.isfinite(clone(model).fit(half).predict(half)).all()


def test_joint_windows_are_reduced_by_modality(windowed):
    model = RiemannianRegressor(("joint",), n_components=2, **OPTIONS).fit(windowed)
    (directions,) = model.directions_["joint"]
    assert directions.shape == (5, 4)
    is_eeg = np.array([name.startswith("eeg/") for name in JOINT])
    np.testing.assert_array_equal(directions[~is_eeg, :2], 0)
    np.testing.assert_array_equal(directions[is_eeg, 2:], 0)
    (mean,) = model.means_["joint"]
    reduced = directions.T @ mean @ directions
    np.testing.assert_allclose(reduced.diagonal(), 1, rtol=1e-9)


def test_missing_samples_of_windows_are_told_from_other_channels(windowed):
    model = RiemannianRegressor(("eeg_delays",), **OPTIONS).fit(windowed)
    block = windowed.blocks["eeg_windows"]
    windows = block.source.windows.copy()
    own = np.flatnonzero(windowed.people == "test_2")
    windows[own, 3] = np.nan
    windows[own[4], 1, 7] = np.nan
    windows[own[9]] = np.nan
    source = type(block.source)(windows, block.source.format)
    blocks = {**windowed.blocks, "eeg_windows": Block(source, block.rows)}
    part = replace(windowed, blocks=blocks)
    predicted, expected = model.predict(part), model.predict(windowed)
    assert np.isfinite(predicted).all()
    assert np.isnan(windows[own, 3]).all()  # arguments stay as they are
    others = np.setdiff1d(np.arange(len(part)), own)
    np.testing.assert_array_equal(predicted[others], expected[others])
    assert np.corrcoef(predicted[own, 0], expected[own, 0])[0, 1] > 0.5
    assert np.isfinite(clone(model).fit(part).predict(part)).all()


# Files


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": EVERY, "n_components": 3},
        {"inputs": ("eeg", "joint"), "reference": "training", "metric": "riemann"},
        {"regressor": HuberRegressor(alphas=(1.0, 10.0)), "method": "exact"},
    ],
    ids=["default", "every", "training", "huber"],
)
def test_round_trip_is_exact(tmp_path, windowed, options):
    model = RiemannianRegressor(**options, **OPTIONS, jobs=2).fit(windowed)
    save_model(model, tmp_path / "a", card=CARD)
    loaded, _ = load_model(tmp_path / "a")
    assert loaded.jobs == 1
    np.testing.assert_array_equal(loaded.predict(windowed), model.predict(windowed))
    save_model(loaded, tmp_path / "b", card=CARD)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.centers_.pop("eeg"), "not those of the inputs"),
        (lambda m: m.turns_.update(eeg=np.zeros((2, 5, 5))), "not those of the inputs"),
        (lambda m: m.centers_.update(eeg=np.zeros((2, 4, 4))), "is not float64 of"),
        (
            lambda m: m.directions_.update(eeg=np.zeros((2, 5, 5), np.float32)),
            "is not float64 of",
        ),
        (lambda m: m.directions_.update(eeg=np.zeros((2, 5, 4))), "the slopes are not"),
        (lambda m: m.set_params(reference="best"), "reference='best' is none of"),
    ],
)
def test_wrong_states_are_refused(tmp_path, rng, spoil, message):
    model = RiemannianRegressor().fit(make_mixed(rng, n_people=3, lengths=(5, 6)))
    model.check_state()
    spoil(model)
    save_model(model, tmp_path, card=CARD)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path)


def test_other_signals_than_those_fitted_on_are_refused(rng, windowed):
    samples = make_mixed(rng, n_people=3, lengths=(4, 4))
    model = RiemannianRegressor().fit(samples)
    with pytest.raises(InputError, match="'eeg channel c4' is only in one of them"):
        model.predict(make_mixed(rng, n_people=3, lengths=(4, 4), n_channels=4))
    with pytest.raises(InputError, match="'eeg band fast' is only in one"):
        model.predict(make_mixed(rng, n_people=3, lengths=(4, 4), n_bands=1))
    rests = make_mixed(rng, n_people=3, lengths=(4, 4), n_channels=4).blocks[REST]
    with pytest.raises(InputError, match="'eeg channel c4' is only in one of them"):
        model.predict(replace(samples, blocks={**samples.blocks, REST: rests}))
    fnirs = RiemannianRegressor(("fnirs",)).fit(windowed)
    eeg = windowed.blocks["eeg_windows"]
    with pytest.raises(InputError, match="fnirs signals are others"):
        fnirs.predict(replace(windowed, blocks={"fnirs_windows": eeg}))
    with pytest.raises(InputError, match="does not tell channels and bands"):
        model.fit(replace(windowed, blocks={COVARIANCES: eeg}))
    with pytest.raises(InputError, match="a delay of 59 samples leaves too little"):
        RiemannianRegressor(("eeg_delays",), delays=(59,)).fit(windowed)
    none = with_rows(samples, COVARIANCES, np.full(len(samples), -1))
    with pytest.raises(InputError, match="no labeled row has eeg signals"):
        model.fit(none)
    with pytest.raises(InputError, match="1 labeled rows with signals are too few"):
        RiemannianRegressor().fit(samples.take(np.arange(1)))
