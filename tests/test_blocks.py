import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from merps.config import load_config
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.lags import LagSearch
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.options import Config
from merps.pipeline.blocks import attach_blocks, needed_blocks
from merps.samples import samples_of_ids
from merps.store import Store
from merps.windows import WindowGrid, gather_windows

ALL = ("eeg_windows", "fnirs_windows", "joint_windows", "eeg_covariances")
CONFIG = Config()


@pytest.fixture(scope="module")
def linked(store, samples):
    return attach_blocks(samples, Store.open(store), ALL, config=CONFIG)


def trials_of(store):
    opened = Store.open(store)
    for person in opened.people:
        with opened.person(person) as stored:
            yield from stored.trials()


def rows_of(samples, trial):
    own = samples.people == trial.person
    return np.flatnonzero(own & (samples.stimuli == trial.stimulus))


@pytest.mark.parametrize("modality", ["eeg", "fnirs"])
def test_windows_are_those_of_their_seconds(store, linked, modality):
    block = linked.require_block(f"{modality}_windows")
    grid = WindowGrid(step_s=1.0, **CONFIG.windows.model_dump())
    for trial in itertools.islice(trials_of(store), 4):
        rows = rows_of(linked, trial)
        expected = gather_windows(
            getattr(trial, modality),
            grid,
            n_windows=int(linked.seconds[rows].max()) + 1,
        )
        found = block.source.gather(block.rows[rows])
        np.testing.assert_array_equal(found, expected[linked.seconds[rows]])


def test_matrices_are_the_covariances_of_filtered_windows(store, linked):
    block = linked.require_block("eeg_covariances")
    grid = WindowGrid(step_s=1.0, **CONFIG.windows.model_dump())
    trial = next(trials_of(store))
    rows = rows_of(linked, trial)[3:6]
    edges_hz = CONFIG.features.bands["alpha"]
    sos = butter(4, edges_hz, "bandpass", fs=trial.eeg.rate_hz, output="sos")
    signal = trial.eeg.signal.astype(float)
    filtered = sosfiltfilt(sos, signal, padlen=int(5 * trial.eeg.rate_hz))
    windows = gather_windows(trial.eeg.with_signal(filtered), grid, n_windows=6)
    expected = [
        np.cov(window, bias=True)[np.triu_indices(len(window))]
        for window in windows[3:6]
    ]
    found = block.source.gather(block.rows[rows])
    alpha = block.source.bands.index("alpha")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[:, alpha], expected, atol=1e-4 * scale)
    assert block.source.channels == trial.eeg.channels


def test_rests_are_one_matrix_a_person(linked):
    block = linked.require_block("eeg_rest_covariances")
    for person in np.unique(linked.people):
        own = block.rows[linked.people == person]
        assert own[0] >= 0
        assert (own == own[0]).all()
    assert len(np.unique(block.rows)) == len(np.unique(linked.people))


def test_rows_may_come_in_any_order_and_be_unknown(store, samples, linked, rng):
    order = rng.permutation(len(samples))
    shuffled = attach_blocks(
        samples.take(order), Store.open(store), ALL, config=CONFIG, jobs=1
    )
    for name, block in linked.blocks.items():
        picked = order[:5]
        np.testing.assert_array_equal(
            shuffled.blocks[name].source.gather(shuffled.blocks[name].rows[:5]),
            block.source.gather(block.rows[picked]),
        )
    ids = ["nobody_V01_T000", samples.ids[0], "test_1_V99_T000"]
    asked = attach_blocks(samples_of_ids(ids), Store.open(store), ALL, config=CONFIG)
    for name, block in asked.blocks.items():
        of_person = name == "eeg_rest_covariances"  # whatever was shown
        np.testing.assert_array_equal(block.rows >= 0, [False, True, of_person])


def test_what_nobody_has_is_left_out(store, samples, monkeypatch):
    from merps.store.units import StoredPerson

    read = StoredPerson.trials

    def deaf(person):
        return [replace(trial, fnirs=None) for trial in read(person)]

    monkeypatch.setattr(StoredPerson, "trials", deaf)
    linked = attach_blocks(samples, Store.open(store), ALL, config=CONFIG)
    assert set(linked.blocks) == {
        "eeg_windows",
        "eeg_covariances",
        "eeg_rest_covariances",
    }


def test_models_name_what_they_need():
    assert needed_blocks(SignalModel()) == ()
    assert needed_blocks(ConvolutionalRegressor()) == ("eeg_windows",)
    both = ConvolutionalRegressor(fnirs_net="ShallowFBCSPNet")
    assert needed_blocks(both) == ("eeg_windows", "fnirs_windows")
    matrices = ("eeg_covariances", "eeg_rest_covariances")
    assert needed_blocks(LagSearch(RiemannianRegressor())) == matrices
    joint = RiemannianRegressor(inputs=("joint",))
    assert needed_blocks(joint) == ("joint_windows",)


def test_options_of_filters_reach_the_matrices(store, samples, linked):
    wide = load_config(None, ["features.filter_bank.order=2"])
    other = attach_blocks(samples, Store.open(store), ["eeg_covariances"], config=wide)
    block, changed = linked.blocks["eeg_covariances"], other.blocks["eeg_covariances"]
    assert not np.array_equal(block.source.values, changed.source.values)
