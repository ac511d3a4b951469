"""Nets on a CUDA card: what they learn, that they repeat themselves, and go on.

Nothing here is measured against a clock, and the tables are tiny.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook
from windowed import TINY, make_windowed, unlabeled

import merps
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.persistence import load_model, save_model
from merps.models.training import _Training
from merps.options import ConvolutionalConfig

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"
)

JOINED = {
    "net_options": TINY,
    "fnirs_net": "ShallowFBCSPNet",
    "fnirs_options": {**TINY, "filter_time_length": 3, "pool_time_length": 4},
    "embedding": 3,
}
KINDS = {
    "one": {"net_options": {**TINY, "drop_prob": 0.5}},
    "sequence": {"net_options": TINY, "sequence_s": 4, "embedding": 3, "loss": "ccc"},
    "joined": JOINED,
    "graph": {"net": "GraphCrossAttention", "net_options": {"width": 8, "heads": 2}},
}
# Points on the scale 1..255: convolutions of a card keep 10 bits of a product.
CPU_TOLERANCE = 0.5
LAYERS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear)
every_kind = pytest.mark.parametrize("kind", KINDS)
with_and_without_amp = pytest.mark.parametrize("amp", [False, True], ids=["", "amp"])


@pytest.fixture
def rng():
    return np.random.default_rng(20260722)


def make(kind, **options):
    shared = {"epochs": 3, "batch_size": 16, "threads": 1, "device": "cuda"}
    return ConvolutionalRegressor(**{**shared, **KINDS[kind], **options})


def assert_same_models(actual, expected):
    assert actual.weights_.keys() == expected.weights_.keys()
    for name, array in expected.weights_.items():
        assert actual.weights_[name].tobytes() == array.tobytes(), name
    np.testing.assert_array_equal(actual.history_, expected.history_)


@with_and_without_amp
@pytest.mark.parametrize("kind", ["joined", "graph"])
def test_a_planted_effect_is_found_in_new_people(rng, kind, amp):
    samples = make_windowed(rng, n_people=8, lengths=(30, 25), effect=1.0)
    is_test = np.isin(samples.people, ["test_2", "test_7"])
    model = make(kind, epochs=10, patience=10, learning_rate=1e-2, amp=amp)
    model.fit(samples.take(np.flatnonzero(~is_test)))
    test = samples.take(np.flatnonzero(is_test))
    predicted = model.predict(unlabeled(test))
    found = [np.corrcoef(predicted[:, k], test.targets[:, k])[0, 1] for k in range(2)]
    assert min(found) > 0.5
    assert np.isfinite(model.history_).all()


@with_and_without_amp
@every_kind
def test_the_same_card_gives_the_same_bytes(rng, kind, amp):
    samples = make_windowed(rng, effect=1.0)
    first, second = (make(kind, amp=amp).fit(samples) for _ in range(2))
    assert_same_models(second, first)
    predicted = first.predict(unlabeled(samples))
    np.testing.assert_array_equal(second.predict(unlabeled(samples)), predicted)
    assert np.ptp(predicted, axis=0).min() > 0
    other = make(kind, amp=amp, seed=1).fit(samples)
    assert any((other.weights_[k] != v).any() for k, v in first.weights_.items())


FIT = """
import sys
import numpy as np
sys.path[:0] = sys.argv[2:]
from safetensors.numpy import save_file
from test_cuda import make
from windowed import make_windowed
samples = make_windowed(np.random.default_rng(3), effect=1.0)
save_file(make("joined", amp=True).fit(samples).weights_, sys.argv[1])
"""


def test_another_process_gives_the_same_bytes(tmp_path):
    roots = [str(Path(__file__).parent), str(Path(merps.__file__).parents[1])]
    for name in ("first", "second"):
        command = [sys.executable, "-c", FIT, str(tmp_path / name), *roots]
        subprocess.run(command, check=True)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@with_and_without_amp
@every_kind
def test_half_precision_is_used_where_it_is_asked_for(rng, kind, amp, monkeypatch):
    seen, step = [], _Training.step

    def watched(self, batch, targets):
        parts = [*self.net.parameters(), *batch.windows.values(), targets]
        assert all(part.is_cuda for part in parts)
        assert {p.dtype for p in self.net.parameters()} == {torch.float32}
        assert self.scaler.is_enabled() == amp
        step(self, batch, targets)

    def look(layer, _, output):
        if layer.training and isinstance(layer, LAYERS):
            seen.append(output.dtype)

    monkeypatch.setattr(_Training, "step", watched)
    hook = register_module_forward_hook(look)
    try:
        make(kind, amp=amp, epochs=1).fit(make_windowed(rng))
    finally:
        hook.remove()
    assert set(seen) == {torch.float16 if amp else torch.float32}


class KilledError(Exception):
    pass


@with_and_without_amp
@every_kind
def test_killed_and_resumed_is_the_same(rng, tmp_path, monkeypatch, kind, amp):
    samples = make_windowed(rng)
    whole = make(kind, amp=amp).fit(samples)
    step = _Training.step
    for n_steps in (0, 1, 2, 3):
        left = iter(range(n_steps))

        def killed(self, batch, targets, left=left):
            if next(left, None) is None:
                raise KilledError
            step(self, batch, targets)

        with monkeypatch.context() as patch:
            patch.setattr(_Training, "step", killed)
            with pytest.raises(KilledError):
                make(kind, amp=amp).fit(samples, checkpoints=tmp_path, checkpoint_s=0)
    assert any(tmp_path.glob("*.safetensors"))
    resumed = make(kind, amp=amp).fit(samples, checkpoints=tmp_path, checkpoint_s=0)
    assert_same_models(resumed, whole)


@with_and_without_amp
@every_kind
def test_the_processor_predicts_what_the_card_does(rng, tmp_path, kind, amp):
    samples = make_windowed(rng, effect=1.0)
    model = make(kind, amp=amp).fit(samples)
    on_card = model.predict(unlabeled(samples))
    save_model(model, tmp_path, card={"terms": "made up"})
    loaded, _ = load_model(tmp_path)
    assert loaded.device == "cpu"  # where it was trained is not kept
    on_cpu = loaded.predict(unlabeled(samples))
    assert np.abs(on_cpu - on_card).max() < CPU_TOLERANCE
    loaded.set_params(device="cuda")
    np.testing.assert_array_equal(loaded.predict(unlabeled(samples)), on_card)


def test_a_missing_modality_leaves_the_other(rng):
    samples = make_windowed(rng, effect=1.0)
    model = make("joined").fit(samples)
    only_eeg = {"eeg_windows": samples.blocks["eeg_windows"]}
    assert np.isfinite(model.predict(replace(samples, blocks=only_eeg))).all()


def test_settings_of_torch_come_back(rng):
    state = torch.cuda.get_rng_state()
    attention = torch.backends.cuda.mem_efficient_sdp_enabled()
    make("graph").fit(make_windowed(rng))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert torch.backends.cuda.mem_efficient_sdp_enabled() == attention
    assert not torch.are_deterministic_algorithms_enabled()


def test_processes_share_the_card_and_change_nothing(tmp_path):
    merps.simulate_dataset(tmp_path / "data", people=2, video_s=(9, 10, 11), seed=5)
    merps.preprocess_dataset(tmp_path / "data", tmp_path / "store")
    net = ConvolutionalConfig(device="cuda", epochs=2, batch_size=16)
    config = merps.Config()
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"convolutional": net}),
            "evaluate": config.evaluate.model_copy(update={"bootstrap": 0}),
        }
    )
    one, two = (
        merps.evaluate_model(
            tmp_path / "store",
            models=["convolutional"],
            protocols=["people"],
            config=config,
            jobs=jobs,
        )
        for jobs in (1, 2)
    )
    expected = one.results[0].predictions["convolutional"]
    np.testing.assert_array_equal(two.results[0].predictions["convolutional"], expected)
