import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from windowed import TINY, Source, make_windowed, unlabeled, with_block

import merps
from merps.errors import SpaceError
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.losses import LOSSES
from merps.models.training import _Training
from merps.scores import score

OPTIONS = {
    "net_options": {**TINY, "drop_prob": 0.5},
    "batch_size": 16,
    "epochs": 3,
    "threads": 1,
}


class KilledError(Exception):
    pass


def make(**options):
    return ConvolutionalRegressor(**{**OPTIONS, **options})


def assert_same_models(actual, expected):
    assert actual.weights_.keys() == expected.weights_.keys()
    for name, array in expected.weights_.items():
        assert actual.weights_[name].tobytes() == array.tobytes(), name
    np.testing.assert_array_equal(actual.history_, expected.history_)


def kill_after(monkeypatch, n_steps):
    """Raise in place of a training step, once, as a kill would come."""
    step, count = _Training.step, iter(range(n_steps))

    def watched(self, batch, targets):
        if next(count, None) is None:
            raise KilledError
        step(self, batch, targets)

    monkeypatch.setattr(_Training, "step", watched)


# Losses


@pytest.mark.parametrize("shift", [0, 20])
def test_concordance_loss_is_one_less_the_score(rng, shift):
    targets = rng.integers(60, 200, size=(50, 2))
    predicted = targets // 2 + rng.integers(0, 60, size=(50, 2)) + shift
    scaled = (torch.tensor((x - 128) / 127) for x in (predicted, targets))
    loss = float(LOSSES["ccc"](*scaled))
    assert loss == pytest.approx(1 - score(predicted, targets)["ccc"], abs=1e-12)


def test_losses_of_perfect_and_constant_answers():
    targets = torch.tensor([[0.5, -0.5], [-0.1, 0.3], [0.0, 0.9]])
    for name in ("l1", "huber", "ccc"):
        loss = LOSSES[name]
        assert float(loss(targets, targets)) == pytest.approx(0, abs=1e-6)
        constant = torch.zeros(3, 2, requires_grad=True)
        loss(constant, targets).backward()
        assert constant.grad.isfinite().all()
    assert float(LOSSES["ccc"](torch.zeros(3, 2), targets)) == 1
    off = targets + torch.tensor([0.05, 1.0])
    expected = (0.05**2 / 2 + 0.1 * (1 - 0.05)) / 2
    assert float(LOSSES["huber"](off, targets)) == pytest.approx(expected, rel=1e-5)


# Early stopping


def test_the_best_state_is_kept_and_training_ends(rng, monkeypatch, caplog):
    samples = make_windowed(rng, fnirs=False)
    states, end_epoch = [], _Training.end_epoch
    losses = iter([0.5, 0.3, 0.4, 0.35, 0.9])

    def watched(self, loss):
        assert np.isfinite(loss)
        states.append({k: v.clone() for k, v in self.net.state_dict().items()})
        end_epoch(self, next(losses))

    monkeypatch.setattr(_Training, "end_epoch", watched)
    with caplog.at_level(logging.INFO):
        model = make(epochs=9, patience=2).fit(samples)
    assert len(states) == len(model.history_) == 4
    np.testing.assert_array_equal(model.history_[:, 1], [0.5, 0.3, 0.4, 0.35])
    for name, array in model.weights_.items():
        np.testing.assert_array_equal(array, states[1][name].numpy())
    lines = [r.getMessage() for r in caplog.records if "windows/s" in r.getMessage()]
    assert len(lines) == 4
    assert "best in epoch 2" in lines[-1]
    assert "of the time waiting" in lines[-1]


def test_people_are_held_out_and_stimuli_where_there_are_few(rng, monkeypatch):
    for n_people, column in ((5, "people"), (2, "stimuli")):
        samples = make_windowed(rng, n_people=n_people, fnirs=False)
        learned, step = [], _Training.step

        def watched(self, batch, targets, learned=learned, step=step):
            learned.extend(batch.rows)
            step(self, batch, targets)

        with monkeypatch.context() as patch:
            patch.setattr(_Training, "step", watched)
            make(epochs=2).fit(samples)
        names = getattr(samples, column)
        apart = set(names) - set(names[learned])
        assert len(apart) == 1
        seen = np.flatnonzero(names != apart.pop())
        np.testing.assert_array_equal(np.sort(learned), np.repeat(seen, 2))


def test_nobody_to_hold_out_means_all_epochs(rng):
    samples = make_windowed(rng, n_people=1, lengths=(12,), fnirs=False)
    model = make(patience=1).fit(samples)
    assert model.history_.shape == (3, 2)
    assert np.isnan(model.history_[:, 1]).all()
    assert np.isnan(make(held_out=0.0).fit(make_windowed(rng)).history_[:, 1]).all()


# Seeds, threads and resuming


def test_seed_decides_and_jobs_do_not(rng):
    from concurrent.futures import ThreadPoolExecutor

    samples = make_windowed(rng, fnirs=False)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make().fit, samples) for _ in range(2)]
    first, second = (job.result() for job in jobs)
    assert_same_models(second, first)
    other = make(seed=1).fit(samples)
    assert any((other.weights_[k] != v).any() for k, v in first.weights_.items())


@pytest.mark.parametrize("kind", ["one", "amp", "sequence", "graph"])
def test_killed_and_resumed_is_the_same(rng, tmp_path, monkeypatch, kind):
    samples = make_windowed(rng)
    options = {
        "one": {},
        "amp": {"amp": True},
        "sequence": {"sequence_s": 3, "embedding": 2, "loss": "ccc"},
        "graph": {"net": "GraphCrossAttention", "net_options": {"width": 4}},
    }[kind]
    whole = make(**options).fit(samples)
    for n_steps in (0, 1, 2, 1, 3, 2):
        with monkeypatch.context() as patch:
            kill_after(patch, n_steps)
            with pytest.raises(KilledError):
                make(**options).fit(samples, checkpoints=tmp_path, checkpoint_s=0)
    assert newest(tmp_path, "json").stem == "00000010"  # 9 steps, 1 epoch
    model = make(**options).fit(samples, checkpoints=tmp_path, checkpoint_s=0)
    assert_same_models(model, whole)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 4
    again = make(**options).fit(samples, checkpoints=tmp_path)  # nothing left to do
    assert_same_models(again, whole)
    assert {path.name for path in tmp_path.iterdir()} == names
    np.testing.assert_array_equal(
        again.predict(unlabeled(samples)), whole.predict(samples)
    )


def newest(folder, suffix):
    return max(folder.glob(f"*.{suffix}"))


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_checkpoint_falls_back(rng, tmp_path, monkeypatch, caplog, suffix):
    samples = make_windowed(rng, fnirs=False)
    whole = make().fit(samples)
    with monkeypatch.context() as patch:
        kill_after(patch, 7)
        with pytest.raises(KilledError):
            make().fit(samples, checkpoints=tmp_path, checkpoint_s=0)
    path = newest(tmp_path, suffix)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert_same_models(make().fit(samples, checkpoints=tmp_path), whole)
    assert "an older checkpoint is used" in caplog.text
    for path in tmp_path.glob(f"*.{suffix}"):
        path.write_bytes(b"nothing")
    assert_same_models(make().fit(samples, checkpoints=tmp_path), whole)


def test_checkpoints_of_another_training_are_not_used(rng, tmp_path, caplog):
    samples = make_windowed(rng, fnirs=False)
    windows = samples.blocks["eeg_windows"].source.windows
    others = [
        (make(seed=1), samples),
        (make(), samples.take(np.arange(90))),
        (make(), samples.with_targets(256 - samples.targets)),
        (make(), with_block(samples, "eeg_windows", windows=windows * 1.1)),
    ]
    for model, table in others:
        make(epochs=1).fit(samples, checkpoints=tmp_path)
        caplog.clear()
        model.fit(table, checkpoints=tmp_path)
        assert "training starts anew" in caplog.text
        fresh = make(**model.get_params()).fit(table)
        assert_same_models(model, fresh)


def test_checkpoints_that_cannot_be_written_are_an_error(rng, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpaceError, match="checkpoints cannot be written"):
        make().fit(make_windowed(rng), checkpoints=tmp_path / "file")


SLOW_FIT = """
import sys, time, numpy as np
from pathlib import Path
sys.path[:0] = sys.argv[2:4]
from test_training import SlowSource, make
from windowed import make_windowed, with_block
samples = make_windowed(np.random.default_rng(4), fnirs=False)
samples.blocks["eeg_windows"].source.__class__ = SlowSource
model = make(epochs=20, patience=20)
model.fit(samples, checkpoints=Path(sys.argv[1]), checkpoint_s=0)
"""


class SlowSource(Source):
    """Windows that take a while, so that a kill hits training."""

    def gather(self, rows):
        time.sleep(0.05)
        return super().gather(rows)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path, rng):
    samples = make_windowed(np.random.default_rng(4), fnirs=False)
    whole = make(epochs=20, patience=20).fit(samples)
    roots = [str(Path(__file__).parent), str(Path(merps.__file__).parents[1])]
    command = [sys.executable, "-W", "ignore", "-c", SLOW_FIT, str(tmp_path), *roots]
    n_killed, seen = 0, []
    while n_killed < 20:
        process = subprocess.Popen(command)
        before = sorted(tmp_path.glob("*.json"))
        while sorted(tmp_path.glob("*.json")) == before and process.poll() is None:
            time.sleep(0.01)  # until it has got on
        time.sleep(float(rng.uniform(0, 0.4)))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        n_killed += 1
        seen.append(newest(tmp_path, "json").stem)
    assert n_killed == 20
    assert len(set(seen)) == 20
    model = make(epochs=20, patience=20).fit(samples, checkpoints=tmp_path)
    assert_same_models(model, whole)
