import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from mixed import make_mixed
from safetensors.numpy import load, save
from sklearn.pipeline import Pipeline
from tables import make_samples, scrambled
from windowed import TINY, make_windowed, unlabeled

from merps.errors import DataError, InputError, SpaceError
from merps.models.blend import FixedBlend
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.fusion import ResidualFusion
from merps.models.lags import LagSearch
from merps.models.persistence import (
    DESCRIPTION,
    MODELS,
    WEIGHTS,
    describe_saved,
    load_model,
    save_model,
)
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior
from merps.models.regression import HuberRegressor, RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.splits import folds
from merps.store.files import sealed

CARD = {"terms": "CC BY-NC-SA 4.0", "people": ["test_1"], "seed": 7}
EVERY = [
    ConstantPrior(),
    VideoPrior(),
    VideoTimePrior(smoothing_s=3),
    SignalModel(),
    SignalModel(HuberRegressor(alphas=(1, 10.0), max_iter=3)),
    ResidualFusion(n_folds=3),
    LagSearch(ResidualFusion(n_folds=3)),
    FixedBlend({"b": SignalModel(), "a": SignalModel(HuberRegressor())}),
]
every_model = pytest.mark.parametrize(
    "model",
    EVERY,
    ids="constant video video_time ridge huber fusion lags blend".split(),
)


def content(folder):
    return {name: (folder / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)}


def rewrite(folder, change=None, tensors=None):
    """Write a changed model whose digests agree, as somebody hostile would."""
    import hashlib

    description = json.loads((folder / DESCRIPTION).read_bytes())
    arrays = load((folder / WEIGHTS).read_bytes())
    if tensors:
        tensors(arrays)
        data = save(arrays)
        (folder / WEIGHTS).write_bytes(data)
        description["weights"]["sha256"] = hashlib.sha256(data).hexdigest()
    if change:
        change(description)
    (folder / DESCRIPTION).write_bytes(sealed(description))


@every_model
def test_round_trip_is_exact(tmp_path, rng, model):
    samples = make_samples(rng, effect=1.0, missing=0.1)
    model.fit(samples)
    save_model(model, tmp_path / "a", card=CARD)
    loaded, card = load_model(tmp_path / "a")
    assert card == CARD
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))
    save_model(loaded, tmp_path / "b", card=card)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        DESCRIPTION,
        WEIGHTS,
    ]


@every_model
def test_test_rows_leave_no_trace(tmp_path, rng, model):
    samples = make_samples(rng, effect=1.0)
    fold = folds("both", samples.people, samples.stimuli, seed=0)[4]
    other = scrambled(samples, fold.test, rng)
    for name, table in (("a", samples), ("b", other)):
        save_model(model.fit(table.take(fold.train)), tmp_path / name, card=CARD)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    save_model(model.fit(other), tmp_path / "c", card=CARD)
    assert content(tmp_path / "c") != content(tmp_path / "a")


def test_regressors_round_trip(tmp_path, rng):
    x, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    for number, regressor in enumerate((RidgeRegressor(), HuberRegressor())):
        save_model(regressor.fit(x, y), tmp_path / str(number), card=CARD)
        loaded, _ = load_model(tmp_path / str(number))
        np.testing.assert_array_equal(loaded.predict(x), regressor.predict(x))


def test_file_says_what_it_contains(tmp_path, rng):
    save_model(ResidualFusion().fit(make_samples(rng)), tmp_path, card=CARD)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    assert description["terms"] == CARD["terms"]
    assert any("per-second label medians" in text for text in description["contains"])
    classes, contains = describe_saved(tmp_path)
    assert classes == ("bandpower", "fusion", "ridge", "video_time")
    assert list(contains) == description["contains"]


def test_classes_are_named_however_deep_they_lie(tmp_path, rng):
    model = LagSearch(SignalModel(HuberRegressor(alphas=(1,), max_iter=1)))
    save_model(model.fit(make_samples(rng)), tmp_path, card=CARD)
    assert describe_saved(tmp_path)[0] == ("bandpower", "huber", "lags")
    rewrite(tmp_path, lambda description: description.pop("contains"))
    with pytest.raises(DataError, match="expected a model as merps writes it"):
        describe_saved(tmp_path)


@pytest.fixture
def saved(tmp_path, rng):
    model = ResidualFusion(n_folds=3).fit(make_samples(rng, effect=1.0))
    save_model(model, tmp_path, card=CARD)
    return tmp_path


COEF = "models_.bandpower.regressor_.coef_"


def test_a_fusion_of_several_models_round_trips(tmp_path, rng):
    samples = make_mixed(rng, n_people=4, lengths=(8,) * 4, effect=1.0)
    features = rng.normal(size=(len(samples), 2)).astype(np.float32)
    samples = replace(samples, features=features, feature_names=("a", "b"))
    parts = {"riemannian": RiemannianRegressor(), "bandpower": SignalModel()}
    model = ResidualFusion(parts, n_folds=3).fit(samples)
    model.gain_known_ = rng.uniform(size=(2, 2))
    save_model(model, tmp_path / "a", card=CARD)
    loaded, _ = load_model(tmp_path / "a")
    assert loaded.needs == model.needs
    assert loaded.facts == model.facts
    assert repr(loaded.models["riemannian"]) == repr(parts["riemannian"])
    for table in (samples, replace(samples, blocks={})):
        expected = model.predict(table)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(loaded.predict(table), expected)
    save_model(loaded, tmp_path / "b", card=CARD)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def put(*path, value):
    """Make a change of one entry of the description."""

    def change(description):
        for key in path[:-1]:
            description = description[key]
        description[path[-1]] = value

    return change


PART = ("model", "fitted", "models_", "bandpower")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model", "class", value="os.system"), "no class of merps: 'os.system'"),
        (put("model", "class", value=["fusion"]), "as merps writes it"),
        (put("model", value=None), "as merps writes it"),
        (put("model", "parameters", "hook", value=1), "other parameters"),
        (put("model", "fitted", "predict_", value=1), "unknown attribute 'predict_'"),
        (put(*PART, "fitted", "feature_names_", value="f0"), "wrong type or shape"),
        (put(*PART, "fitted", "feature_names_", value=["f0"]), "not of shape"),
        (put("model", "fitted", "models_", value={}), "differ in number"),
        (put("model", "fitted", "models_", value=["x"]), "as merps writes it"),
        (put(*PART, "class", value="os.system"), "no class of merps: 'os.system'"),
        (put(*PART, "fitted", value={}), "regressor_"),
        (
            put("model", "fitted", "prior_", "class", value="video"),
            "unknown attr|param",
        ),
        (put("model", "fitted", value={}), "prior_"),
        (put("format", value=2), "expected format 1, found 2"),
    ],
)
def test_wrong_descriptions_are_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(DataError, match=message):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("gain_known_"), "gain_known_ is missing"),
        (lambda t: t.update(extra=np.zeros(2)), "also 'extra'"),
        (lambda t: t.update(gain_new_=np.zeros((1, 2), "f4")), "gain_new_ is of the"),
        (lambda t: t.update(gain_new_=np.zeros((1, 3))), "gain_new_ is of the wrong"),
        (lambda t: t.update(gain_new_=np.zeros((2, 2))), "gain_new_ is of the wrong"),
        (lambda t: t.update({COEF: np.zeros((2, 5))}), "coef_ is of the wrong"),
        (lambda t: t["prior_.starts_"].__iadd__(1), "starts_ does not divide"),
    ],
)
def test_wrong_tensors_are_refused(saved, change, message):
    rewrite(saved, tensors=change)
    with pytest.raises(DataError, match=message):
        load_model(saved)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_damaged_files_are_refused(saved, rng, name):
    data = (saved / name).read_bytes()
    for offset in rng.integers(0, len(data), size=60):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << int(rng.integers(8))
        (saved / name).write_bytes(damaged)
        with pytest.raises(DataError):
            load_model(saved)
    for size in (0, 1, 8, len(data) // 2, len(data) - 1):
        (saved / name).write_bytes(data[:size])
        with pytest.raises(DataError):
            load_model(saved)
    (saved / name).unlink()
    with pytest.raises(DataError, match="No such file"):
        load_model(saved)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_renamed_pickles_are_not_executed(saved, name):
    canary = saved / "canary"
    data = pickle.dumps(Canary(str(canary)))
    (saved / name).write_bytes(data)
    if name == WEIGHTS:
        import hashlib

        digest = hashlib.sha256(data).hexdigest()
        rewrite_digest = json.loads((saved / DESCRIPTION).read_bytes())
        rewrite_digest["weights"]["sha256"] = digest
        (saved / DESCRIPTION).write_bytes(sealed(rewrite_digest))
    with pytest.raises(DataError):
        load_model(saved)
    assert not canary.exists()
    pickle.loads(data)  # the canary does sing
    assert canary.exists()


def test_what_cannot_be_saved_is_refused(tmp_path, rng):
    samples = make_samples(rng)
    with pytest.raises(InputError, match="terms"):
        save_model(ConstantPrior().fit(samples), tmp_path, card={})
    with pytest.raises(InputError, match="not fitted"):
        save_model(ConstantPrior(), tmp_path, card=CARD)
    with pytest.raises(InputError, match="a Pipeline cannot be saved"):
        save_model(Pipeline([("ridge", RidgeRegressor())]), tmp_path, card=CARD)
    with pytest.raises(InputError, match="JSON"):
        save_model(ConstantPrior().fit(samples), tmp_path, card={**CARD, "x": {1}})
    (tmp_path / "file").touch()
    with pytest.raises(SpaceError, match="cannot be written"):
        save_model(ConstantPrior().fit(samples), tmp_path / "file", card=CARD)


def test_every_class_declares_what_it_fits(rng):
    samples = make_samples(rng)
    for kind in MODELS.values():
        model = kind()
        if isinstance(model, RidgeRegressor):
            model.fit(samples.features, samples.targets)
        elif isinstance(model, ConvolutionalRegressor):
            model.set_params(epochs=1, net_options=TINY).fit(make_windowed(rng))
        elif isinstance(model, RiemannianRegressor):
            model.fit(make_mixed(rng, n_people=3, lengths=(4, 5)))
        else:
            model.fit(samples)
        declared = set(kind.__annotations__)
        for base in kind.__mro__:
            declared |= set(getattr(base, "__annotations__", {}))
        assert {key for key in vars(model) if key.endswith("_")} <= declared


# Nets

NETS = {
    "one": {},
    "none": {"alignment": "none", "sequence_s": 3, "embedding": 2},
    "joined": {
        "fnirs_net": "ShallowFBCSPNet",
        "fnirs_options": {**TINY},
        "embedding": 2,
    },
    "graph": {"net": "GraphCrossAttention", "net_options": {"width": 4, "heads": 2}},
}
NETS["joined"]["fnirs_options"] |= {"filter_time_length": 3, "pool_time_length": 4}


def fit_net(samples, **options):
    options = {"net_options": TINY, "epochs": 1, "threads": 1, **options}
    return ConvolutionalRegressor(**options).fit(samples)


@pytest.mark.parametrize("options", NETS.values(), ids=NETS)
def test_nets_round_trip_exactly(tmp_path, rng, options):
    samples = make_windowed(rng)
    model = fit_net(samples, **options)
    save_model(model, tmp_path / "a", card=CARD)
    loaded, _ = load_model(tmp_path / "a")
    np.testing.assert_array_equal(
        loaded.predict(unlabeled(samples)), model.predict(samples)
    )
    assert loaded.get_params() == model.get_params()
    save_model(loaded, tmp_path / "b", card=CARD)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_nets_predict_the_same_in_a_new_process(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from windowed import make_windowed\n"
        "from merps.models.persistence import load_model\n"
        "assert 'torch' not in sys.modules\n"
        "model, _ = load_model(Path(sys.argv[1]))\n"
        "samples = make_windowed(np.random.default_rng(3))\n"
        "np.save(Path(sys.argv[1]) / 'answer.npy', model.predict(samples))\n"
    )
    samples = make_windowed(np.random.default_rng(3))
    model = fit_net(samples, **NETS["joined"])
    save_model(model, tmp_path, card=CARD)
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", code, str(tmp_path), here]
    subprocess.run(command, check=True, timeout=120)
    answer = np.load(tmp_path / "answer.npy")
    np.testing.assert_array_equal(answer, model.predict(samples))


def test_what_belongs_to_a_machine_is_not_kept(tmp_path, rng):
    samples = make_windowed(rng, fnirs=False)
    first = fit_net(samples)
    weights = {k.removeprefix("branches.eeg."): v for k, v in first.weights_.items()}
    path = tmp_path / "secret-place.safetensors"
    path.write_bytes(save(weights))
    model = fit_net(samples, pretrained=path)
    save_model(model, tmp_path / "model", card=CARD)
    path.unlink()
    loaded, _ = load_model(tmp_path / "model")
    assert loaded.pretrained is None
    assert b"secret-place" not in content(tmp_path / "model")[DESCRIPTION]
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))


@pytest.fixture(scope="module")
def saved_net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    samples = make_windowed(np.random.default_rng(1))
    save_model(fit_net(samples, **NETS["none"]), folder, card=CARD)
    return {name: (folder / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)}


CONV = "weights_.branches.eeg.conv_time_spat.conv_time.weight"


@pytest.mark.parametrize(
    ("change", "tensors", "message"),
    [
        (None, lambda t: t.pop(CONV), "only the net have branches.eeg.conv_time"),
        (None, lambda t: t.update({"weights_.x": t[CONV]}), "only the weights have x"),
        (None, lambda t: t.update({CONV: t[CONV][:1]}), "wrong type or shape"),
        (None, lambda t: t.update({CONV: t[CONV].astype("f8")}), "wrong type or shape"),
        (None, lambda t: t.pop("scalings_.eeg_mean"), "differ in eeg_mean"),
        (None, lambda t: t.update(extra=np.zeros(2)), "also 'extra'"),
        (put("model", "parameters", "net", value="EEGMiner"), None, "CC BY-NC"),
        (put("model", "parameters", "net", value="system"), None, "no net 'system'"),
        (put("model", "parameters", "net", value=["x"]), None, "as merps writes it"),
        (put("model", "parameters", "threads", value=0), None, "at least 1"),
        (put("model", "parameters", "net_options", value={"hook": 1}), None, "hook"),
        (put("model", "fitted", "eeg_n_times_", value=2), None, "cannot be built"),
        (
            lambda d: d["model"]["parameters"].update(
                net="GraphCrossAttention", net_options={"heads": 0}
            ),
            None,
            "width that heads divide",
        ),
        (put("model", "fitted", "eeg_n_times_", value="2"), None, "wrong type"),
        (put("model", "fitted", "eeg_channels_", value=[]), None, "as merps writes it"),
        (put("model", "fitted", "weights_", value={}), None, "unknown attribute"),
    ],
)
def test_wrong_nets_are_refused(tmp_path, saved_net, change, tensors, message):
    for name, data in saved_net.items():
        (tmp_path / name).write_bytes(data)
    rewrite(tmp_path, change, tensors)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("error", [IndexError, ZeroDivisionError, RuntimeError])
def test_whatever_rebuilding_trips_over_is_one_error(saved, monkeypatch, error):
    def trip(self):
        raise error("tripped")

    monkeypatch.setattr(ResidualFusion, "check_state", trip)
    with pytest.raises(DataError, match=r"model as merps writes it.*tripped"):
        load_model(saved)
