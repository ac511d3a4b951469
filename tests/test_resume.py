"""Evaluations that are interrupted, killed and damaged, and end as if nothing was."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import merps
from merps.config import load_config
from merps.errors import DataError, InputError
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.lags import LagSearch
from merps.models.signals import SignalModel
from merps.models.training import _Training
from merps.pipeline import evaluate_model, fit_model
from merps.pipeline.errands import (
    Contender,
    Errand,
    plan_tasks,
    read_seconds,
    run_errand,
    trains_nets,
)
from merps.pipeline.folds import _describe
from merps.predictions import read_predictions
from merps.scores import finalize

QUICK = [
    *("model.inner_folds=3", "model.alphas=[10, 1000]", "model.gains=[0, 0.5]"),
    "evaluate.bootstrap=50",
]
TINY_NET = [
    *("model.convolutional.epochs=2", "model.convolutional.batch_size=16"),
    "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
]


class KilledError(Exception):
    pass


def run(store, path, *, models=("bandpower",), protocols=("people", "both"), **options):
    settings = [*QUICK, *TINY_NET, *options.pop("settings", ())]
    return evaluate_model(
        store,
        path,
        models=models,
        protocols=protocols,
        config=load_config(None, settings),
        **options,
    )


def outputs(path):
    """Every file but those of single folds."""
    files = [p for p in path.rglob("*") if p.is_file() and "folds" not in p.parts]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def folds(path):
    """When each fold was written, by name of its file."""
    files = (path / "folds").glob("*.safetensors")
    return {p.name: p.stat().st_mtime_ns for p in files}


@pytest.fixture(scope="module")
def whole(noise_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    evaluation = run(noise_store, path)
    assert evaluation.n_reused == 0
    assert evaluation.n_folds == len(folds(path)) == (2 + 2 * 3) * 4
    return path


def count_fits(monkeypatch, stop_after=None):
    """Count fits of a model, and end the process, as it were, after some."""
    fitted, fit = [], SignalModel.fit

    def watched(self, samples):
        if len(fitted) == stop_after:
            raise KilledError
        fitted.append(len(samples))
        return fit(self, samples)

    monkeypatch.setattr(SignalModel, "fit", watched)
    return fitted


def test_files_are_those_that_are_promised(whole):
    names = {name for name in outputs(whole) if "/" not in name}
    assert names == {
        *("run.json", "config.yaml", "metrics.jsonl", ".gitignore"),
        *("comparison.json", "comparison.csv", "spread.csv", "calibration.csv"),
    }
    manifest = json.loads((whole / "folds" / "manifest.json").read_text())["folds"]
    card = json.loads((whole / "run.json").read_text())
    for protocol, part in card["folds"].items():
        assert list(manifest[protocol].values()) == part["folds"]


def test_folds_done_are_not_done_again(noise_store, whole, monkeypatch, caplog):
    before, expected = folds(whole), outputs(whole)
    fitted = count_fits(monkeypatch)
    monkeypatch.setattr(merps.pipeline.folds, "attach_blocks", None)  # not needed
    with caplog.at_level("INFO", logger="merps"):
        evaluation = run(noise_store, whole)
    assert fitted == []
    assert evaluation.n_reused == evaluation.n_folds == len(before)
    assert f"folds done before: {len(before)} of {len(before)}" in caplog.messages
    assert folds(whole) == before
    assert outputs(whole) == expected


@pytest.mark.parametrize("n_fits", [0, 3])
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_goes_on(
    noise_store, whole, tmp_path, monkeypatch, n_fits, jobs
):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        count_fits(patch, stop_after=n_fits)
        with pytest.raises(KilledError):
            run(noise_store, path, jobs=jobs)
    left = folds(path)
    assert len([name for name in left if "bandpower" in name]) == n_fits
    with pytest.raises(InputError, match="holds a run of merps evaluate, not of merps"):
        fit_model(noise_store, path, model="constant")
    assert (path / "folds" / "manifest.json").exists()
    assert not (path / "run.json").exists()
    for name in ("x.json", "folds/x.safetensors"):
        (path / f"{name}.999999999.0a1b2c3d.tmp").touch()
    fitted = count_fits(monkeypatch)
    evaluation = run(noise_store, path, jobs=jobs)
    assert evaluation.n_reused == len(left)
    assert len(fitted) == (2 + 2 * 3) - n_fits
    assert left.items() <= folds(path).items()
    assert outputs(path) == outputs(whole)
    assert not list(path.rglob("*.tmp"))


def test_what_is_damaged_is_done_again(noise_store, whole, tmp_path, caplog):
    path = tmp_path / "run"
    run(noise_store, path)
    before = folds(path)
    files = sorted((path / "folds").glob("*.safetensors"))
    gone, cut, flipped = files[1], files[9], files[17]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-3])
    data = bytearray(flipped.read_bytes())
    data[-5] ^= 1
    flipped.write_bytes(data)
    evaluation = run(noise_store, path)
    assert evaluation.n_reused == evaluation.n_folds - 3
    again = folds(path)
    assert {n for n in again if again[n] != before[n]} == {
        file.name for file in (gone, cut, flipped)
    }
    assert str(cut) in caplog.text
    assert str(flipped) in caplog.text
    assert outputs(path) == outputs(whole)


def test_other_options_and_models_keep_what_they_do_not_touch(noise_store, tmp_path):
    path = tmp_path / "run"
    run(noise_store, path, protocols=["people"])
    n_folds, n_rungs = 2 * 4, 2 * 3
    for options, n_reused in (
        ({"settings": ["model.alphas=[1]"]}, n_rungs),
        ({"settings": ["model.alphas=[1]", "evaluate.bootstrap=0"]}, n_folds),
        ({"settings": ["features.width_s=0"]}, 0),
        ({}, 0),
        ({"protocols": ["people", "videos"]}, n_folds),
        ({"models": []}, n_rungs),
        ({}, n_folds),  # which models stand beside it matters not
    ):
        evaluation = run(noise_store, path, **{"protocols": ["people"]} | options)
        assert evaluation.n_reused == n_reused, options


def test_a_model_that_fails_is_named_with_its_fold(noise_store, tmp_path, monkeypatch):
    def fail(self, samples):
        raise InputError("no luck")

    monkeypatch.setattr(SignalModel, "fit", fail)
    with pytest.raises(
        InputError, match="protocol people, fold test_1, bandpower: no luck"
    ):
        run(noise_store, tmp_path / "run")
    assert len(folds(tmp_path / "run")) >= 3  # the rungs before it are kept


NET = {"models": ["convolutional"], "protocols": ["people"]}


@pytest.fixture(scope="module")
def whole_net(noise_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "run"
    run(noise_store, path, jobs=1, **NET)
    return path


def test_nets_in_processes_are_those_of_one(noise_store, whole_net, tmp_path):
    path = tmp_path / "run"
    run(noise_store, path, jobs=2, **NET)
    assert outputs(path) == outputs(whole_net)
    for name in folds(whole_net):
        one, other = (place / "folds" / name for place in (path, whole_net))
        assert one.read_bytes() == other.read_bytes()
    assert not (path / "checkpoints").exists()


def test_a_net_goes_on_inside_its_fold(
    noise_store, whole_net, tmp_path, monkeypatch, caplog
):
    path, step, left = tmp_path / "run", _Training.step, iter(range(9))

    def killed(self, batch, targets):
        if self.epoch == 1 and next(left, None) is not None:
            raise KilledError
        step(self, batch, targets)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "step", killed)
        for _ in range(3):
            with pytest.raises(KilledError):
                run(noise_store, path, jobs=1, **NET)
    (folder,) = (path / "checkpoints").iterdir()
    assert folder.name == "people.convolutional.test_1"
    with caplog.at_level("INFO", logger="merps"):
        evaluation = run(noise_store, path, jobs=1, **NET)
    assert sum("resumed at epoch" in message for message in caplog.messages) == 1
    assert evaluation.n_reused == 3
    assert outputs(path) == outputs(whole_net)


def test_a_net_inside_a_model_is_found():
    net = ConvolutionalRegressor()
    assert trains_nets(net)
    assert trains_nets(LagSearch(LagSearch(net)))
    assert not trains_nets(LagSearch(SignalModel()))


def test_a_process_can_do_any_fold(noise_store, whole):
    config = load_config(None, QUICK)
    store = merps.Store.open(noise_store)
    seconds = read_seconds(store, config)
    (task, *_) = plan_tasks(store, seconds, ["bandpower"], ["both"], seed=0)
    errand = Errand(
        store=noise_store,
        config=config,
        contender=Contender("bandpower", "bandpower", config.model, 0, "zero"),
        protocol="both",
        fold=task.fold.name,
        entry=task.entry,
        checkpoints=None,
    )
    made = finalize(run_errand(errand).predictions)
    ids, values = read_predictions(whole / "predictions" / "both" / "bandpower.csv")
    assert ids == seconds.ids
    np.testing.assert_array_equal(values[task.fold.test], made)
    changed = {**task.entry, "n_test": 1}
    with pytest.raises(DataError, match="has changed while it is used"):
        run_errand(errand._replace(entry=changed))


def test_weights_that_training_starts_from_are_known_by_what_is_in_them(tmp_path):
    path = tmp_path / "weights.safetensors"

    def described():
        section = load_config(None, [f"model.convolutional.pretrained={path}"]).model
        return _describe(Contender("net", "convolutional", section, 0, "zero"))

    with pytest.raises(InputError, match=r"weights\.safetensors cannot be read"):
        described()
    path.write_bytes(b"a")
    first = described()
    assert str(path) not in json.dumps(first)
    assert first["versions"].keys() == {"torch", "braindecode"}
    path.write_bytes(b"b")
    assert described() != first


# In processes of their own, killed as by a power cut


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(store, tmp_path):
    settings = [part for setting in QUICK for part in ("--set", setting)]

    def start(path):
        command = [sys.executable, "-c", "from merps.cli import main; main()"]
        command += ["evaluate", str(store), "--out", str(path), *settings]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, start_new_session=True, **quiet)

    assert start(tmp_path / "whole").wait() == 0
    most = len(folds(tmp_path / "whole")) // 13  # new folds in one life
    chance, path, seen = random.Random(5), tmp_path / "run", {}
    for number in range(10):
        process = start(path)
        if number % 5 == 4:  # before there is a new fold
            time.sleep(chance.uniform(0, 3))
        else:
            wanted = len(seen) + chance.randint(1, most)
            while process.poll() is None and len(folds(path)) < wanted:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.05))
        assert process.poll() is None, "it was done before it was killed ten times"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = folds(path)
        assert seen.items() <= now.items()  # what was done is not done again
        assert not (path / "run.json").exists()
        seen = now
    assert start(path).wait() == 0
    assert seen.items() <= folds(path).items()
    assert folds(path).keys() == folds(tmp_path / "whole").keys()
    assert outputs(path) == outputs(tmp_path / "whole")
    assert not list(path.rglob("*.tmp"))
