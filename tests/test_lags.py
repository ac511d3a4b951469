import json
from dataclasses import replace

import numpy as np
import pytest
from mixed import Windows
from sklearn.base import BaseEstimator
from tables import make_samples, scrambled, shuffled
from windowed import make_windowed, unlabeled

from merps.errors import DataError, InputError
from merps.evaluation.protocol import evaluate, learned_facts
from merps.models.lags import LagSearch, refine_lag, shift_samples
from merps.models.persistence import DESCRIPTION, WEIGHTS, load_model, save_model
from merps.models.priors import ConstantPrior
from merps.models.regression import RidgeRegressor
from merps.models.signals import SignalModel
from merps.samples import Block
from merps.splits import folds
from merps.store.files import sealed

LAGS = (0, -3, -2, -1, 1, 2, 3)
QUICK = SignalModel(RidgeRegressor(alphas=(0.1, 10.0), n_folds=3))
CARD = {"terms": "CC BY-NC-SA 4.0"}


def make_lagged(rng, *, eeg_s, fnirs_s, n_people=5, lengths=(20, 16, 18), gaps=0.0):
    """Ratings told by EEG and fNIRS of seconds that lie some seconds before them."""
    samples = make_samples(rng, n_people=n_people, lengths=lengths, n_features=5)
    cause = rng.normal(size=(len(samples) + 20, 2))  # one for each modality
    here = np.arange(len(samples)) + 10
    features = 0.3 * rng.normal(size=(len(samples), 5))
    features[:, :2] += cause[here + eeg_s, :1]
    features[:, 2:4] += cause[here + fnirs_s, 1:]
    told = 25 * cause[here] @ np.array([[1.0, 1.0], [1.0, -1.0]])
    samples = replace(
        samples,
        features=features.astype(np.float32),
        feature_names=("eeg/a/1", "eeg/b/1", "fnirs/HbO/1/mean", "fnirs/x", "other"),
        targets=np.clip(128 + told, 1, 255),
    )
    return samples.take(np.flatnonzero(rng.random(len(samples)) >= gaps))


def naive_source(samples, row, lag_s):
    """The row of the same trial that is nearest to a second, the earlier of two."""
    wanted = samples.seconds[row] - lag_s
    own = [
        other
        for other in range(len(samples))
        if samples.people[other] == samples.people[row]
        and samples.stimuli[other] == samples.stimuli[row]
    ]
    second = samples.seconds
    return min(own, key=lambda other: (abs(second[other] - wanted), second[other]))


# Shifting


@pytest.mark.parametrize("lags", [(2, -3), (-1, 4), (0, 1), (30, -30)])
@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_signals_come_from_the_nearest_second_of_the_trial(rng, lags, gaps):
    whole = make_windowed(rng, n_people=2)
    rows = rng.permutation(len(whole))[: round((1 - gaps) * len(whole))]
    names = ("eeg/alpha/Fz", "fnirs/HbO/a/mean", "eeg/beta/Fz", "other")
    wide = rng.normal(size=(len(rows), 8)).astype(np.float32)
    wide[rng.random(wide.shape) < 0.1] = np.nan
    samples = whole.take(rows)
    samples = replace(samples, features=wide[:, ::2], feature_names=names)
    joint = samples.blocks["eeg_windows"]
    samples = replace(samples, blocks={**samples.blocks, "joint_covariances": joint})
    shifted = shift_samples(samples, eeg_s=lags[0], fnirs_s=lags[1])
    eeg, fnirs = (
        np.array([naive_source(samples, row, lag) for row in range(len(samples))])
        for lag in lags
    )
    np.testing.assert_array_equal(
        shifted.features[:, [0, 2]], samples.features[eeg][:, [0, 2]]
    )
    np.testing.assert_array_equal(shifted.features[:, 1], samples.features[fnirs, 1])
    np.testing.assert_array_equal(shifted.features[:, 3], samples.features[:, 3])
    for name, block in samples.blocks.items():
        source = fnirs if name.startswith("fnirs") else eeg
        np.testing.assert_array_equal(shifted.blocks[name].rows, block.rows[source])
        assert shifted.blocks[name].source is block.source
    assert shifted.ids == samples.ids
    np.testing.assert_array_equal(shifted.targets, samples.targets)


def test_shift_by_nothing_changes_nothing(rng):
    samples = make_lagged(rng, eeg_s=0, fnirs_s=0, gaps=0.2)
    same = shift_samples(samples, eeg_s=0, fnirs_s=0)
    np.testing.assert_array_equal(same.features, samples.features)
    neither = replace(samples, feature_names=tuple("abcde"))
    moved = shift_samples(neither, eeg_s=3, fnirs_s=3)
    np.testing.assert_array_equal(moved.features, samples.features)
    empty = samples.take(np.arange(0))
    assert len(shift_samples(empty, eeg_s=1, fnirs_s=1)) == 0


def test_shift_there_and_back_is_the_same_inside_a_trial(rng):
    samples = make_lagged(rng, eeg_s=0, fnirs_s=0, lengths=(20,))
    there = shift_samples(samples, eeg_s=4, fnirs_s=-2)
    back = shift_samples(there, eeg_s=-4, fnirs_s=2)
    inside = (samples.seconds >= 4) & (samples.seconds < 16)
    np.testing.assert_array_equal(back.features[inside], samples.features[inside])


def test_shift_leaves_its_argument_and_the_order_of_rows_alone(rng):
    samples = make_lagged(rng, eeg_s=0, fnirs_s=0, gaps=0.3)
    before = samples.features.copy()
    expected = shift_samples(samples, eeg_s=2, fnirs_s=-3)
    np.testing.assert_array_equal(samples.features, before)
    order = rng.permutation(len(samples))
    actual = shift_samples(samples.take(order), eeg_s=2, fnirs_s=-3)
    np.testing.assert_array_equal(actual.features, expected.features[order])


# Search


@pytest.mark.parametrize(
    ("eeg_s", "fnirs_s", "gaps"), [(2, -3, 0.0), (-1, 3, 0.0), (2, -3, 0.2), (0, 0, 0)]
)
def test_planted_lags_are_found(rng, eeg_s, fnirs_s, gaps):
    samples = make_lagged(rng, eeg_s=eeg_s, fnirs_s=fnirs_s, gaps=float(gaps))
    search = LagSearch(QUICK, LAGS, LAGS).fit(samples)
    assert (search.eeg_lag_s_, search.fnirs_lag_s_) == (eeg_s, fnirs_s)
    for lag_s, curve in ((eeg_s, search.eeg_curve_), (fnirs_s, search.fnirs_curve_)):
        assert curve.shape == (len(LAGS), 2)
        assert (curve.argmin(axis=0) == LAGS.index(lag_s)).all()
    best = search.fnirs_curve_[LAGS.index(fnirs_s)]
    np.testing.assert_array_equal(search.inner_mae_, best)


def test_the_model_is_the_one_of_the_chosen_lags(rng):
    samples = make_lagged(rng, eeg_s=1, fnirs_s=-1)
    new = samples.people == "test_5"
    train = samples.take(np.flatnonzero(~new))
    test = unlabeled(samples.take(np.flatnonzero(new)))
    search = LagSearch(QUICK, (0, 1), (0, -1)).fit(train)
    lags = {"eeg_s": 1, "fnirs_s": -1}
    alone = SignalModel(QUICK.regressor).fit(shift_samples(train, **lags))
    expected = alone.predict(shift_samples(test, **lags))
    np.testing.assert_array_equal(search.predict(test), expected)
    np.testing.assert_array_equal(search.alpha_, alone.alpha_)
    assert search.feature_names_ == samples.feature_names


class Told(BaseEstimator):
    """Counts its fits and tells the inner errors it was given."""

    fits = 0

    def __init__(self, errors=(1.0,)):
        self.errors = errors

    def fit(self, samples):
        self.inner_mae_ = np.full(2, self.errors[Told.fits % len(self.errors)])
        Told.fits += 1
        return self


@pytest.mark.parametrize(
    ("names", "lags", "n_fits"),
    [
        (("eeg/a", "fnirs/a"), ((0, 1, 2), (0, 1)), 4),
        (("eeg/a", "fnirs/a"), ((3,), (-2,)), 1),
        (("eeg/a", "eeg/b"), ((0, 1, 2), (0, 1)), 3),
        (("fnirs/a", "fnirs/b"), ((0, 1, 2), (0, 1)), 2),
        (("other", "another"), ((1, 2), (1, 2)), 1),
    ],
)
def test_only_what_is_there_is_searched(rng, names, lags, n_fits):
    samples = replace(make_samples(rng, n_features=2), feature_names=names)
    before = Told.fits
    search = LagSearch(Told(), *lags).fit(samples)
    assert Told.fits - before == n_fits
    for own, candidates in zip(("eeg", "fnirs"), lags, strict=True):
        there = any(name.startswith(own) for name in names)
        assert len(getattr(search, f"{own}_curve_")) == len(candidates) * there
        nearest = min(candidates, key=abs) if there else 0
        assert getattr(search, f"{own}_lag_s_") == nearest


class Asking(Told):
    """Takes nothing but the blocks it names."""

    def __init__(self, needs=(), errors=(1.0,)):
        super().__init__(errors)
        self.needs = needs


@pytest.mark.parametrize(
    ("needs", "n_lags"),
    [
        (("eeg_windows",), [3, 0]),
        (("joint_windows",), [3, 0]),
        (("fnirs_windows",), [0, 2]),
        (("eeg_windows", "fnirs_windows"), [3, 2]),
        (("eeg_windows", "fnirs_absent"), [3, 0]),
        ((), [3, 2]),
    ],
)
def test_only_what_the_model_takes_is_searched(rng, needs, n_lags):
    names = ("eeg/a", "fnirs/a")
    samples = replace(make_samples(rng, n_features=2), feature_names=names)
    block = Block(Windows(None, None), np.arange(len(samples)))
    names = ("eeg_windows", "joint_windows", "fnirs_windows")
    samples = replace(samples, blocks=dict.fromkeys(names, block))
    search = LagSearch(Asking(needs), (0, 1, 2), (0, 1)).fit(samples)
    assert [len(search.eeg_curve_), len(search.fnirs_curve_)] == n_lags


@pytest.mark.parametrize(
    ("errors", "lag_s"),
    [
        ((1.0, 1.0, 1.0, 1.0), 1),
        ((1.0, 0.5, 0.5, 0.5), 1),
        ((1.0, 0.5, 1.0, 0.5), -2),
        ((0.5, np.nan, 1.0, 2.0), 3),
        ((np.nan, np.nan, np.nan, np.nan), 1),
    ],
)
def test_of_equals_the_lag_nearest_zero_wins(rng, errors, lag_s):
    samples = replace(make_samples(rng, n_features=1), feature_names=("eeg/a",))
    Told.fits = 0
    assert LagSearch(Told(errors), (3, -2, 1, 4)).fit(samples).eeg_lag_s_ == lag_s


def test_order_of_rows_does_not_matter(rng):
    samples = make_lagged(rng, eeg_s=1, fnirs_s=0, gaps=0.1)
    expected = LagSearch(QUICK, (0, 1), (0, -1)).fit(samples)
    actual = LagSearch(QUICK, (0, 1), (0, -1)).fit(shuffled(samples, rng))
    np.testing.assert_array_equal(actual.eeg_curve_, expected.eeg_curve_)
    np.testing.assert_array_equal(actual.predict(samples), expected.predict(samples))


def test_missing_labels_teach_nothing_but_lend_their_signals(rng):
    samples = make_lagged(rng, eeg_s=2, fnirs_s=-3)
    unknown = rng.random(len(samples)) < 0.3
    samples.targets[unknown] = np.nan
    search = LagSearch(QUICK, LAGS, LAGS).fit(samples)
    assert (search.eeg_lag_s_, search.fnirs_lag_s_) == (2, -3)
    rows = np.flatnonzero(~unknown)
    shifted = shift_samples(samples, eeg_s=2, fnirs_s=-3).take(rows)
    expected = SignalModel(QUICK.regressor).fit(shifted).predict(shifted)
    np.testing.assert_allclose(search.predict(samples)[rows], expected, rtol=1e-9)


def test_bad_arguments_are_refused(rng):
    samples = make_lagged(rng, eeg_s=0, fnirs_s=0)
    for lags in ((), (0.5,), (1, 1)):
        with pytest.raises(InputError, match="fnirs_lags_s must be distinct whole"):
            LagSearch(QUICK, (0,), lags).fit(samples)
    with pytest.raises(InputError, match="ConstantPrior has no inner_mae_"):
        LagSearch(ConstantPrior(), (0, 1), (0,)).fit(samples)
    assert LagSearch(ConstantPrior(), (1,), (0,)).fit(samples).eeg_lag_s_ == 1


# Leakage and results


def test_test_rows_do_not_reach_it(rng):
    samples = make_lagged(rng, eeg_s=1, fnirs_s=-1, n_people=4, lengths=(9, 8, 9, 8, 9))
    models = {"lags": lambda: LagSearch(QUICK, (0, 1), (0, -1))}
    fold = folds("both", samples.people, samples.stimuli, seed=0)[3]
    labels = samples.targets.copy()
    labels[fold.test] = rng.integers(1, 256, size=labels[fold.test].shape)
    tables = (samples, samples.with_targets(labels), scrambled(samples, fold.test, rng))
    plain, relabeled, noisy = (
        evaluate(table, models, ["both"], seed=0, jobs=1)[0] for table in tables
    )
    for other in (relabeled, noisy):
        assert other.facts["lags"][fold.name] == plain.facts["lags"][fold.name]
    np.testing.assert_array_equal(
        relabeled.predictions["lags"][fold.test], plain.predictions["lags"][fold.test]
    )


def test_facts_tell_lags_and_curves(rng):
    class Outer(BaseEstimator):
        def fit(self, samples):
            self.inside_ = LagSearch(QUICK, (0, 2), (0,)).fit(samples)
            return self

    samples = make_lagged(rng, eeg_s=2, fnirs_s=0)
    outer = Outer().fit(samples)
    facts = learned_facts(outer)
    assert facts["eeg_lag_s"] == 2
    assert facts["eeg_lags_s"] == [0, 2]
    assert facts["eeg_curve"] == outer.inside_.eeg_curve_.tolist()
    assert facts["fnirs_lag_s"] == 0
    assert facts["alpha"] == outer.inside_.alpha_.tolist()
    assert facts["inner_mae"] == facts["eeg_curve"][1] == facts["fnirs_curve"][0]
    assert json.loads(json.dumps(facts)) == facts
    silent = learned_facts(LagSearch(ConstantPrior(), (1,), (0,)).fit(samples))
    assert silent["eeg_curve"] == [[None, None]]


# Persistence


@pytest.fixture
def saved(tmp_path, rng):
    samples = make_lagged(rng, eeg_s=2, fnirs_s=-3)
    model = LagSearch(QUICK, (0, 2), (0, -3)).fit(samples)
    save_model(model, tmp_path / "a", card=CARD)
    return tmp_path, model, samples


def test_round_trip_is_exact(saved):
    folder, model, samples = saved
    loaded, _ = load_model(folder / "a")
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))
    assert str(loaded.get_params()) == str(model.get_params())
    assert learned_facts(loaded) == learned_facts(model)
    save_model(loaded, folder / "b", card=CARD)
    for name in (DESCRIPTION, WEIGHTS):
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes()


def test_one_modality_round_trips(tmp_path, rng):
    samples = make_lagged(rng, eeg_s=2, fnirs_s=-3)
    names = ("eeg/a", "eeg/b", "x", "y", "z")
    samples = replace(samples, feature_names=names)
    model = LagSearch(QUICK, (0, 2), (0, -3)).fit(samples)
    save_model(model, tmp_path, card=CARD)
    loaded, _ = load_model(tmp_path)
    assert loaded.fnirs_curve_.shape == (0, 2)
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("eeg_lag_s_", 1, "eeg_lag_s_ and eeg_curve_ do not go together"),
        ("fnirs_lag_s_", 0.5, "fnirs_lag_s_ is of the wrong type"),
        ("fnirs_lag_s_", "2", "fnirs_lag_s_ is of the wrong type"),
    ],
)
def test_wrong_lags_are_refused(saved, key, value, message):
    folder = saved[0] / "a"
    description = json.loads((folder / DESCRIPTION).read_bytes())
    description["model"]["fitted"][key] = value
    (folder / DESCRIPTION).write_bytes(sealed(description))
    with pytest.raises(DataError, match=message):
        load_model(folder)


def test_a_lag_between_candidates_is_the_lowest_point_of_a_parabola(rng):
    for lags_s in ((0, 1, 2, 3, 4), (0.0, 0.5, 2.0, 3.5, 6.0)):
        for true_s in (1.2, 1.9, 2.0, 2.4):
            errors = 30 + 0.7 * (np.array(lags_s) - true_s) ** 2
            order = rng.permutation(len(lags_s))
            found_s = refine_lag([lags_s[k] for k in order], errors[order])
            assert found_s == pytest.approx(true_s)


def test_a_lag_at_the_end_of_the_candidates_stays_there():
    assert refine_lag([0, 2, 4], np.array([1.0, 2.0, 3.0])) == 0
    assert refine_lag([4, 0, 2], np.array([1.0, 3.0, 2.0])) == 4
    assert refine_lag([3], np.array([5.0])) == 3
    assert refine_lag([0, 1, 2], np.ones(3)) == 0
    assert refine_lag([0, 1, 2, 3], np.array([2.0, 1.0, 1.0, 2.0])) == 1.5
    for lags_s, errors in (([], []), ([0, 1], [np.nan, 1])):
        with pytest.raises(InputError, match="no lag can be told"):
            refine_lag(lags_s, np.array(errors, dtype=float))
