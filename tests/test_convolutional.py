import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from windowed import EEG, TINY, make_windowed, unlabeled, with_block

from merps.errors import DataError, InputError, SpaceError
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.determinism import torch_settings
from merps.samples import Block

JOINED = {
    "net_options": TINY,
    "fnirs_net": "ShallowFBCSPNet",
    "fnirs_options": {**TINY, "filter_time_length": 3, "pool_time_length": 4},
    "embedding": 3,
}
KINDS = {
    "one": {"net_options": TINY},
    "sequence": {"net_options": TINY, "sequence_s": 4, "embedding": 3},
    "joined": JOINED,
    "joined sequence": {**JOINED, "sequence_s": 3, "alignment": "none"},
    "whitened": {**JOINED, "alignment": "whiten"},
    "fnirs": {"net": None, **{k: v for k, v in JOINED.items() if "fnirs" in k}},
    "graph": {"net": "GraphCrossAttention", "net_options": {"width": 8, "heads": 2}},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind="one", **options):
    return ConvolutionalRegressor(
        **{"epochs": 2, "batch_size": 16, "threads": 1, **KINDS[kind], **options}
    )


@every_kind
def test_the_same_rows_in_any_order_give_the_same_answers(rng, kind):
    samples = make_windowed(rng, effect=1.0)
    order = rng.permutation(len(samples))
    model = make(kind).fit(samples)
    predicted = model.predict(unlabeled(samples))
    other = make(kind).fit(samples.take(order))
    np.testing.assert_array_equal(other.predict(samples.take(order)), predicted[order])
    assert all((other.weights_[k] == v).all() for k, v in model.weights_.items())
    assert np.ptp(predicted, axis=0).min() > 0
    assert model.history_.shape == (2, 2)
    assert np.isfinite(model.history_).all()


def test_settings_of_torch_come_back(rng):
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()
    make(threads=n_threads + 1).fit(make_windowed(rng))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_half_precision_is_close_to_the_whole_one(rng):
    samples = make_windowed(rng, effect=1.0)
    whole, half = (make(amp=amp, epochs=1).fit(samples) for amp in (False, True))
    assert {array.dtype for array in half.weights_.values()} == {
        array.dtype for array in whole.weights_.values()
    }
    np.testing.assert_allclose(half.history_, whole.history_, rtol=0.05)
    assert any((half.weights_[k] != v).any() for k, v in whole.weights_.items())


def test_a_device_without_memory_is_told_as_such():
    def fill():
        with torch_settings(device="cpu", threads=1, seed=0):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(SpaceError, match="device=cpu has not enough memory; run with"):
        fill()


@pytest.mark.parametrize("effect", [1.0, 0.0])
@pytest.mark.parametrize("kind", ["joined", "graph"])
def test_a_planted_effect_is_found_in_new_people_and_noise_is_not(rng, kind, effect):
    samples = make_windowed(rng, n_people=8, lengths=(30, 25), effect=effect)
    is_test = np.isin(samples.people, ["test_2", "test_7"])
    model = make(kind, epochs=10, patience=10, learning_rate=1e-2)
    model.fit(samples.take(np.flatnonzero(~is_test)))
    test = samples.take(np.flatnonzero(is_test))
    predicted = model.predict(unlabeled(test))
    found = [np.corrcoef(predicted[:, k], test.targets[:, k])[0, 1] for k in range(2)]
    if effect:
        assert min(found) > 0.5
    else:
        assert max(map(abs, found)) < 0.3


def test_labels_of_others_do_not_matter_and_gains_of_a_person_neither(rng):
    samples = make_windowed(rng, effect=1.0, fnirs=False)
    model = make().fit(samples)
    predicted = model.predict(unlabeled(samples))
    np.testing.assert_array_equal(model.predict(samples), predicted)
    eeg = samples.blocks["eeg_windows"].source.windows.copy()
    eeg[samples.people == "test_2"] *= np.array([[4], [0.5], [2]], np.float32)
    scaled = with_block(samples, "eeg_windows", windows=eeg)
    np.testing.assert_array_equal(model.predict(scaled), predicted)  # powers of two
    unscaled = make(alignment="none").fit(samples)
    assert (unscaled.predict(scaled) != unscaled.predict(samples)).any()


def test_the_scale_of_training_rows_is_kept(rng):
    samples = make_windowed(rng, effect=1.0, fnirs=False)
    model = make(alignment="none").fit(samples)
    few = np.arange(5)
    np.testing.assert_allclose(
        model.predict(samples.take(few)), model.predict(samples)[few], atol=1e-3
    )


# Missing windows


@pytest.mark.parametrize("kind", ["joined", "joined sequence", "graph"])
def test_a_missing_modality_leaves_the_other(rng, kind):
    samples = make_windowed(rng, effect=1.0)
    gone = {"eeg_windows": [3, 4], "fnirs_windows": [4, 9]}
    for name, rows in gone.items():
        kept = samples.blocks[name].rows.copy()
        kept[rows] = -1
        samples = with_block(samples, name, rows=kept)
    model = make(kind).fit(samples)
    predicted = model.predict(unlabeled(samples))
    assert np.isfinite(predicted).all()
    np.testing.assert_array_equal(predicted[4], model.median_)
    assert (predicted[[3, 9]] != model.median_).all()
    # A window without a sample is the same as none.
    for name, rows in gone.items():
        block = samples.blocks[name]
        windows = block.source.windows.copy()
        windows[rows] = np.nan
        all_rows = np.arange(len(samples))
        samples = with_block(samples, name, rows=all_rows, windows=windows)
    np.testing.assert_array_equal(model.predict(samples), predicted)
    only_eeg = replace(samples, blocks={"eeg_windows": samples.blocks["eeg_windows"]})
    assert np.isfinite(model.predict(only_eeg)).all()


@pytest.mark.parametrize("kind", ["one", "sequence"])
def test_seconds_without_any_window_are_the_median(rng, kind):
    samples = make_windowed(rng, fnirs=False)
    rows = samples.blocks["eeg_windows"].rows.copy()
    rows[[0, 5, 6]] = -1
    samples = with_block(samples, "eeg_windows", rows=rows)
    model = make(kind).fit(samples)
    predicted = model.predict(samples)
    np.testing.assert_array_equal(predicted[[0, 5, 6]], np.tile(model.median_, (3, 1)))
    assert (predicted[1] != model.median_).all()
    with pytest.raises(InputError, match="no labeled row has a window"):
        make(kind).fit(with_block(samples, "eeg_windows", rows=np.full(len(rows), -1)))


def test_single_missing_samples_and_channels_do_not_spoil_a_window(rng):
    samples = make_windowed(rng, effect=1.0, fnirs=False)
    windows = samples.blocks["eeg_windows"].source.windows.copy()
    windows[rng.random(windows.shape) < 0.05] = np.nan
    windows[samples.people == "test_1", 2] = np.nan
    samples = with_block(samples, "eeg_windows", windows=windows)
    for alignment in ("none", "person", "whiten"):
        model = make(alignment=alignment).fit(samples)
        predicted = model.predict(samples)
        assert np.isfinite(predicted).all()
        assert (predicted != model.median_).any(axis=1).all()


def test_rows_without_labels_are_passed_over(rng):
    samples = make_windowed(rng, fnirs=False)
    targets = samples.targets.copy()
    targets[::3, 1] = np.nan
    model = make(alignment="none").fit(samples.with_targets(targets))
    known = samples.take(np.flatnonzero(np.isfinite(targets[:, 1])))
    np.testing.assert_array_equal(model.median_, np.median(known.targets, axis=0))
    assert np.isfinite(model.predict(samples)).all()
    with pytest.raises(InputError, match="no row has labels"):
        make().fit(samples.with_targets(np.full_like(targets, np.nan)))


# What is refused


def test_windows_of_another_kind_are_refused(rng):
    samples = make_windowed(rng, fnirs=False)
    model = make().fit(samples)
    block = samples.blocks["eeg_windows"]
    for change in ({"rate_hz": 100.0}, {"channels": ("Fz", "Pz", "Cz")}):
        block.source.format = replace(EEG, **change)
        with pytest.raises(InputError, match=rf"eeg windows have {next(iter(change))}"):
            model.predict(samples)
    nameless = type("Nameless", (), {"gather": block.source.gather})()
    odd = replace(samples, blocks={"eeg_windows": Block(nameless, block.rows)})
    with pytest.raises(InputError, match="a Nameless does not tell"):
        make().fit(odd)
    with pytest.raises(InputError, match="no fnirs_windows, only eeg_windows"):
        make("joined").fit(samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "l2"}, "loss='l2' is none of l1, huber, ccc"),
        ({"alignment": "all"}, "alignment='all' is none of"),
        ({"device": "tpu"}, "device='tpu' is none of cpu, cuda, mps"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"held_out": 1.0}, "held_out must lie in"),
        ({"net": None}, "both absent"),
        ({"net": "GraphCrossAttention", "fnirs_net": "TCN"}, "takes fNIRS itself"),
        ({"learning_rate": 1e30}, "training has diverged"),
    ],
)
def test_wrong_options_are_refused(rng, options, message):
    with pytest.raises(InputError, match=message):
        make(**options).fit(make_windowed(rng, fnirs=False))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_named(rng, device):
    there = {"cuda": torch.cuda, "mps": torch.backends.mps}[device].is_available()
    if there:
        pytest.skip("it is there")
    with pytest.raises(InputError, match=f"device={device} is not there"):
        make(device=device).fit(make_windowed(rng, fnirs=False))


# Pretrained weights


def test_training_starts_from_weights_that_fit(rng, tmp_path, caplog):
    samples = make_windowed(rng, fnirs=False)
    first = make().fit(samples)
    path = tmp_path / "weights.safetensors"
    prefix = "branches.eeg."
    own = {k.removeprefix(prefix): v for k, v in first.weights_.items() if prefix in k}
    own["final_layer.conv_classifier.bias"] = np.zeros(5, np.float32)
    save_file({**own, "other": np.zeros(3)}, path)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1}
    with caplog.at_level("INFO"):
        second = make(pretrained=str(path), **still).fit(samples)
    assert "2 of" in caplog.text
    name = "branches.eeg.conv_time_spat.conv_time.weight"
    np.testing.assert_array_equal(second.weights_[name], first.weights_[name])
    assert (make(**still).fit(samples).weights_[name] != first.weights_[name]).any()
    save_file({"other": np.zeros(3)}, path)
    with pytest.raises(InputError, match="none of its 1 tensors"):
        make(pretrained=path).fit(samples)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("weights.pt", InputError, r"read from \.safetensors files only"),
        ("weights.safetensors", DataError, "expected weights in the safetensors"),
    ],
)
def test_pickles_are_not_opened(rng, tmp_path, name, error, message):
    canary = tmp_path / "canary"
    data = pickle.dumps(Canary(str(canary)))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        make(pretrained=tmp_path / name).fit(make_windowed(rng, fnirs=False))
    assert not canary.exists()
    pickle.loads(data)  # the canary does sing
    assert canary.exists()
