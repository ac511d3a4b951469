"""D1 and D3: same work, same bytes; D2, on GPUs, is in tests of its own."""

import shutil

import numpy as np
import pytest
from mixed import make_mixed
from scipy.io import loadmat, savemat
from tables import make_samples, shuffled
from threadpoolctl import threadpool_limits
from windowed import TINY, make_windowed, unlabeled

import merps
from merps.config import load_config
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.fusion import ResidualFusion
from merps.models.persistence import DESCRIPTION, WEIGHTS
from merps.models.regression import RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.models.training import _Training

QUICK = load_config(
    None,
    [
        "model.inner_folds=3",
        "model.alphas=[10, 1000]",
        "model.riemannian.n_components=4",
        "model.convolutional.epochs=2",
        "model.convolutional.batch_size=16",
        "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
    ],
)
RUN_FILES = (DESCRIPTION, WEIGHTS, "metrics.jsonl", "run.json", "config.yaml")


def files_of(run):
    return {name: (run / name).read_bytes() for name in RUN_FILES}


@pytest.mark.parametrize("model", ["fusion", "riemannian", "convolutional"])
def test_d1_jobs_and_threads_change_no_byte(store, newcomers, tmp_path, model):
    """Row D1: same seed, jobs 1 and 2, threads of the machine 1 and 2: equal bytes."""
    found = []
    for jobs, threads in ((1, 1), (2, 2), (2, 1)):
        run = tmp_path / f"{jobs}{threads}"
        with threadpool_limits(threads):
            merps.fit_model(store, run, model=model, config=QUICK, jobs=jobs)
            merps.predict_dataset(run, newcomers, run / "p.csv", jobs=jobs)
        found.append({**files_of(run), "p.csv": (run / "p.csv").read_bytes()})
    assert found[0] == found[1] == found[2]


def test_d1_jobs_change_no_byte_of_an_evaluation(noise_store, tmp_path):
    """Row D1: neither do folds that run side by side."""
    config = load_config(None, ["evaluate.bootstrap=20", "model.alphas=[10]"])
    options = {"models": ["bandpower", "riemannian", "fusion"], "config": config}
    for jobs in (1, 2):
        merps.evaluate_model(noise_store, tmp_path / str(jobs), jobs=jobs, **options)
    one, two = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "1", tmp_path / "2")
    )
    assert one == two


def test_d1_the_order_of_variables_in_files_changes_no_prediction(
    run, newcomers, tmp_path
):
    """Row D1: neither does the order that videos are stored in."""
    data = shutil.copytree(newcomers, tmp_path / "data")
    for path in data.glob("data/*/*.mat"):
        arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        savemat(path, dict(reversed(arrays.items())))
    merps.predict_dataset(run, newcomers, tmp_path / "a.csv")
    merps.predict_dataset(run, data, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


MADE = {
    "bandpower": (lambda: SignalModel(RidgeRegressor(alphas=(1, 100))), make_samples),
    "fusion": (
        lambda: ResidualFusion(
            {"bandpower": SignalModel(RidgeRegressor(alphas=(1, 100)))}
        ),
        make_samples,
    ),
    "riemannian": (lambda: RiemannianRegressor(n_components=3), make_mixed),
    "convolutional": (
        lambda: ConvolutionalRegressor(net_options=TINY, epochs=2, threads=1),
        make_windowed,
    ),
}


@pytest.mark.parametrize("model", MADE)
def test_d1_the_order_of_rows_changes_no_byte(rng, model):
    """Row D1: a table that is learned from in another order, and twice."""
    make, make_table = MADE[model]
    samples = make_table(rng, effect=1.0)
    expected = make().fit(samples).predict(unlabeled(samples))
    assert make().fit(samples).predict(unlabeled(samples)).tobytes() == (
        expected.tobytes()
    )
    order = rng.permutation(len(samples))
    again = make().fit(shuffled(samples, rng))
    assert again.predict(unlabeled(samples)).tobytes() == expected.tobytes()
    asked = again.predict(unlabeled(samples).take(order))
    np.testing.assert_allclose(asked, expected[order], rtol=1e-6)


class KilledError(Exception):
    """What ends a fit at once, as a kill does."""


def test_d3_a_fit_that_was_killed_ends_in_the_same_bytes(
    noise_store, tmp_path, monkeypatch
):
    """Row D3: resume = uninterrupted, byte-equal, for `fit` of a net."""
    options = {"model": "convolutional", "config": QUICK}
    merps.fit_model(noise_store, tmp_path / "whole", **options)
    step = _Training.step
    done = []

    def watched(self, batch, targets):
        done.append(1)
        if len(done) in (2, 5):  # in the first epoch, and then in the second
            raise KilledError
        step(self, batch, targets)

    monkeypatch.setattr(_Training, "step", watched)
    for _ in range(2):
        with pytest.raises(KilledError):
            merps.fit_model(noise_store, tmp_path / "run", **options)
        assert not (tmp_path / "run" / "run.json").exists()
    merps.fit_model(noise_store, tmp_path / "run", **options)
    assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")
    assert len(done) == 5 + 2  # the first epoch was not done again
    assert not (tmp_path / "run" / "checkpoints").exists()
