"""L3: what is fitted on which rows, and what is taken from who is predicted."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from mixed import make_mixed, with_windows
from stored import make_store, make_trial
from tables import make_samples
from windowed import TINY, make_windowed, unlabeled

from merps.config import load_config
from merps.evaluation.protocol import evaluate
from merps.models import regression
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.fusion import ResidualFusion
from merps.models.lags import LagSearch
from merps.models.regression import HuberRegressor, RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.pipeline.evaluate import transductive_steps
from merps.pipeline.features import extract_samples
from merps.splits import PROTOCOLS, folds

# L3: what is fitted, and what is taken from the person that is predicted


class Spy:
    """A model that remembers which rows it was shown, and when."""

    def __init__(self, model, seen):
        self.model, self.fitted = model, []
        self._seen = seen

    def fit(self, samples):
        self.train = samples
        self._seen.clear()
        self.model.fit(samples)
        self.during_fit = {name: set(rows) for name, rows in self._seen.items()}
        return self

    def predict(self, samples):
        self.test = samples
        assert samples.targets is None
        self._seen.clear()
        predicted = self.model.predict(samples)
        self.during_predict = {name: set(rows) for name, rows in self._seen.items()}
        return predicted


def watch(samples, seen):
    """The same samples; what is asked of a block is remembered under its name."""

    def watched(name, block):
        kind = type(block.source)

        def remember(method):
            def call(self, rows, *others):
                seen.setdefault(name, []).extend(np.asarray(rows).tolist())
                return getattr(kind, method)(self, rows, *others)

            return call

        methods = {"gather", "matrices", "missing"} & set(dir(kind))
        spied = type("Spied", (kind,), {m: remember(m) for m in methods})
        source = copy.copy(block.source)
        source.__class__ = spied
        return replace(block, source=source)

    blocks = {name: watched(name, block) for name, block in samples.blocks.items()}
    return replace(samples, blocks=blocks)


def rows_of(samples, name):
    return set(samples.blocks[name].rows.tolist()) - {-1}


SPIED = {
    "riemannian": lambda: RiemannianRegressor(n_components=2, reference="training"),
    "person_rest": lambda: RiemannianRegressor(n_components=2),
    "person": lambda: RiemannianRegressor(n_components=2, reference="person"),
    "windows": lambda: RiemannianRegressor(("eeg_delays", "fnirs", "joint"), 2),
    "training windows": lambda: RiemannianRegressor(
        ("eeg_delays", "fnirs", "joint"), 2, "training"
    ),
    "convolutional": lambda: ConvolutionalRegressor(
        net_options={**TINY, "filter_time_length": 5}, epochs=1, batch_size=16
    ),
    "lags": lambda: LagSearch(RiemannianRegressor(n_components=2), (0, 2), (0,)),
}


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        *((name, "both") for name in SPIED if name != "convolutional"),
        *(("person_rest", p) for p in ("people", "within")),
        ("convolutional", "people"),
    ],
)
def test_l3_models_are_fitted_on_training_rows_alone(rng, name, protocol):
    """Row L3: fitted on a subset of the training ids; test rows wait for `predict`."""
    seen, spies = {}, []
    plain = with_windows(rng, make_mixed(rng, n_people=3, lengths=(6, 6, 6)))
    samples = watch(plain, seen)

    def make():
        spies.append(Spy(SPIED[name](), seen))
        return spies[-1]

    (result,) = evaluate(samples, {"spied": make}, [protocol], seed=0, jobs=1)
    assert len(spies) == len(result.manifest)
    for spy, entry in zip(spies, result.manifest, strict=True):
        assert set(spy.train.people) == set(entry["train_people"])
        assert set(spy.test.people) == set(entry["test_people"])
        assert not set(spy.train.ids) & set(spy.test.ids)
        assert spy.during_fit
        for block, rows in spy.during_fit.items():
            assert rows - {-1} <= rows_of(spy.train, block)
        for block, rows in spy.during_predict.items():
            assert rows - {-1} <= rows_of(spy.test, block)


@pytest.mark.parametrize("regressor", [RidgeRegressor, HuberRegressor])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_l3_columns_are_scaled_by_training_rows_alone(
    rng, protocol, regressor, monkeypatch
):
    """Row L3: moments of columns and slopes come from rows of the training side."""
    shown = []
    plain = regression.column_moments

    def moments(x):
        shown.append(set(x[:, 0].astype(int).tolist()))
        return plain(x)

    monkeypatch.setattr(regression, "column_moments", moments)
    samples = make_samples(rng, n_people=3, lengths=(6, 5, 7))
    samples.features[:, 0] = np.arange(len(samples))
    models = {
        "bandpower": lambda: SignalModel(regressor(alphas=(1.0, 10.0))),
        "fusion": lambda: ResidualFusion(
            {"bandpower": SignalModel(regressor(alphas=(1.0, 10.0)))}
        ),
    }
    for name, make in models.items():
        for fold in folds(protocol, samples.people, samples.stimuli, seed=0):
            train, test = samples.take(fold.train), samples.take(fold.test)
            shown.clear()
            model = make().fit(train)
            assert shown, name
            assert all(rows <= set(fold.train.tolist()) for rows in shown)
            shown.clear()
            model.predict(replace(test, targets=None))
            assert not shown  # nothing is fitted when predicting


@pytest.mark.parametrize(
    "name", ["riemannian", "person_rest", "person", "windows", "training windows"]
)
def test_l3_what_a_model_takes_from_the_person_is_labelled(rng, name):
    """Row L3: predictions that depend on other trials of the person are told so."""
    samples = with_windows(rng, make_mixed(rng, n_people=3, lengths=(9, 8)))
    mine = samples.people == "test_3"
    model = SPIED[name]().fit(samples.take(np.flatnonzero(~mine)))
    test = replace(samples, targets=None).take(np.flatnonzero(mine))
    first = test.stimuli == "V01"
    whole = model.predict(test)[first]
    alone = model.predict(test.take(np.flatnonzero(first)))
    rests = {"eeg_rest_covariances": None}
    without = {k: v for k, v in test.blocks.items() if k not in rests}
    depends = not np.array_equal(whole, alone) or not np.array_equal(
        whole, model.predict(replace(test, blocks=without))[first]
    )
    config = load_config(
        None, ["features.reference=none", "features.fnirs_reference=none"]
    )
    assert depends == bool(transductive_steps(config, [model]))
    assert depends == (name not in ("riemannian", "training windows"))


@pytest.mark.parametrize("alignment", ["none", "person", "whiten"])
def test_l3_what_a_net_takes_from_the_person_is_labelled(rng, alignment):
    """Row L3: so are nets that scale windows by other trials of the person."""
    samples = make_windowed(rng, n_people=3, lengths=(6, 5), fnirs=False)
    mine = samples.people == "test_3"
    model = ConvolutionalRegressor(net_options=TINY, epochs=1, alignment=alignment)
    model.fit(samples.take(np.flatnonzero(~mine)))
    test = unlabeled(samples.take(np.flatnonzero(mine)))
    first = test.stimuli == "V01"
    whole = model.predict(test)[first]
    alone = model.predict(test.take(np.flatnonzero(first)))
    depends = np.abs(whole - alone).max() > 1e-3
    config = load_config(
        None, ["features.reference=none", "features.fnirs_reference=none"]
    )
    assert depends == bool(transductive_steps(config, [model]))
    assert depends == (alignment != "none")


def rested(trial):
    """The same trial, with 2 s of its fNIRS before the onset."""
    return replace(trial, fnirs=replace(trial.fnirs, start_s=-2.0))


@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize("reference", ["none", "trial_rest", "person_rest", "person"])
def test_l3_what_features_take_from_the_person_is_labelled(tmp_path, reference, rest):
    """Row L3: so are features that are referred to other trials of the person."""
    config = load_config(
        None,
        [
            "features.bands={slow: [1, 8]}",
            "features.kinds=[HbO]",
            *(f"features.{n}={reference}" for n in ("reference", "fnirs_reference")),
            *(f"{n}.window_s=2" for n in ("windows", "fnirs_windows")),
        ],
    )

    def first_trial(folder, seed):
        own = np.random.default_rng(1)
        trials = [make_trial(own, "test_1", "V01", 6)]
        trials.append(make_trial(np.random.default_rng(seed), "test_1", "V02", 6))
        trials = [rested(trial) if rest else trial for trial in trials]
        return extract_samples(make_store(folder, {"test_1": trials}), config=config)

    one, other = (first_trial(tmp_path / f"{seed}", seed) for seed in (2, 3))
    first = one.stimuli == "V01"
    depends = not np.array_equal(one.features[first], other.features[first], True)
    assert depends == bool(transductive_steps(config, samples=one))
    assert depends == (reference[:6] == "person" or (reference != "none" and not rest))
