"""L1: what was recorded from people who are held out leaves no trace in a model."""

import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from merps.config import load_config
from merps.models.persistence import DESCRIPTION, WEIGHTS
from merps.pipeline import evaluate_model, fit_model, preprocess_dataset

QUICK = [
    "model.inner_folds=3",
    "model.alphas=[100]",
    "model.gains=[0.5]",
    "model.convolutional.epochs=1",
    "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
]
HELD_OUT = "test_4"


def spoil(path, rng, *, lowest=None):
    """Replace every variable of a MATLAB file by noise of the same shape."""
    arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    for name, array in arrays.items():
        if lowest is None:
            arrays[name] = 50 * rng.normal(size=array.shape)
        else:
            arrays[name] = rng.integers(lowest, 256, size=array.shape).astype(float)
    savemat(path, arrays)


@pytest.fixture(scope="module")
def spoiled(simulated, store, tmp_path_factory):
    """The store that comes out when the held-out person's data are noise."""
    root = tmp_path_factory.mktemp("spoiled")
    shutil.copytree(simulated, root / "data")
    shutil.copytree(store, root / "store")
    rng = np.random.default_rng(7)
    for path in (root / "data" / "data" / HELD_OUT).glob("*.mat"):
        spoil(path, rng)
    spoil(root / "data" / "annotations" / f"{HELD_OUT}_label.mat", rng, lowest=1)
    result = preprocess_dataset(root / "data", root / "store")
    assert (result.done, result.failed) == ((HELD_OUT,), ())
    return root / "store"


def model_files(run):
    return [(run / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)]


@pytest.mark.parametrize(
    "model", ["fusion", "bandpower", "riemannian", "convolutional"]
)
def test_held_out_people_leave_the_model_as_it_is(store, spoiled, tmp_path, model):
    def fit(path, name, **options):
        config = load_config(None, QUICK)
        fit_model(path, tmp_path / name, model=model, config=config, **options)

    fit(store, "a", hold_out=[HELD_OUT])
    fit(spoiled, "b", hold_out=[HELD_OUT], jobs=1)
    assert model_files(tmp_path / "a") == model_files(tmp_path / "b")
    # The same noise does show where this person is learned from.
    fit(store, "c")
    fit(spoiled, "d")
    assert model_files(tmp_path / "c")[1] != model_files(tmp_path / "d")[1]


def test_no_fold_learns_from_the_person_it_is_tested_on(store, spoiled):
    config = load_config(None, [*QUICK, "evaluate.bootstrap=0"])
    evaluations = [
        evaluate_model(path, models=["fusion"], protocols=["people"], config=config)
        for path in (store, spoiled)
    ]
    person = evaluations[0].samples.people == HELD_OUT
    clean, noisy = (evaluation.results[0] for evaluation in evaluations)
    assert clean.manifest == noisy.manifest
    for rung in ("constant", "video", "video_time"):
        changed = clean.predictions[rung] != noisy.predictions[rung]
        assert not changed[person].any()
        assert changed[~person].any()
    clean, noisy = (result.facts["fusion"] for result in (clean, noisy))
    assert clean[HELD_OUT] == noisy[HELD_OUT]
    assert clean["test_1"] != noisy["test_1"]
