from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import make_intensity, write_edf, write_fnirs
from test_lab import NAMES, described, read_all
from test_proposal import from_folder_to_store

from merps.dataset_options import FilesConfig
from merps.datasets.lab_records import LabFile
from merps.datasets.rests import REST_GAP_S, as_rest_of, choose_rest, require_alike
from merps.errors import DataError
from merps.readers.streams import Stream
from merps.recording import Recording


@pytest.fixture
def folder(rng, tmp_path):
    """Two people, two films of 9 s, and a rest of 20 s in files of their own."""
    root = tmp_path / "data"
    root.mkdir()
    for person in ("S01", "S02"):
        for name, seconds in (("V01", 9), ("V02", 9), ("rest", 20)):
            eeg = 50 * rng.normal(size=(3, 100 * seconds))
            write_edf(root / f"{person}_{name}.edf", eeg, NAMES, rate_hz=100)
            light = make_intensity(rng, n_times=10 * seconds)
            write_fnirs(root / f"{person}_{name}.snirf", light)
    return root


def with_rest(*paths, rest="{person}_rest.edf"):
    config = described(rest, *paths)
    files = (config.dataset.files[0].model_copy(update={"rest": True}),)
    files += config.dataset.files[1:]
    dataset = config.dataset.model_copy(update={"files": files})
    return config.model_copy(update={"dataset": dataset})


def test_rests_become_baselines_in_three_commands(folder, tmp_path):
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert [f.get("rest", False) for f in written["dataset"]["files"]] == [
        *(True, True, False, False)
    ]
    assert written["dataset"]["stimuli"] == {"V01": "01", "V02": "02"}
    assert (told["people"], store.people) == (2, ("S01", "S02"))
    with store.person("S01") as stored:
        for trial in stored.trials():
            assert trial.eeg.start_s == trial.fnirs.start_s == 0
            rests = trial.baseline.eeg, trial.baseline.fnirs
            assert [r.duration_s for r in rests] == pytest.approx([20, 20])
            assert [r.rate_hz for r in rests] == [200, 10]
            for rest in rests:
                assert rest.start_s == pytest.approx(-REST_GAP_S - 20)


def test_a_rest_is_what_its_file_holds_and_never_joined(folder):
    config = with_rest("{person}_{stimulus}.edf")
    trials, failures = read_all(folder, config)
    assert failures == []
    assert [t.stimulus for t in trials] == ["V01", "V02"] * 2
    same = [t.baseline.eeg.signal for t in trials[:2]]
    np.testing.assert_array_equal(*same)
    assert same[0].shape == (3, 2000)
    plain, _ = read_all(folder, described("{person}_V{stimulus}.edf"))
    assert all(trial.baseline.eeg is None for trial in plain)


def test_a_rest_at_another_rate_is_told_once(rng, folder):
    write_edf(
        folder / "S02_rest.edf", 50 * rng.normal(size=(3, 4000)), NAMES, rate_hz=200
    )
    trials, failures = read_all(folder, with_rest("{person}_{stimulus}.edf"))
    (message,) = failures
    assert "S02 eeg: expected a rest at 100 Hz, as the trial, found 200 Hz" in message
    assert [t.baseline.eeg is None for t in trials] == [False, False, True, True]


def test_the_rest_of_the_session_is_taken(rng, tmp_path):
    for session in ("a", "b"):
        for name, seconds in (("x", 9), ("rest", 12 if session == "a" else 15)):
            eeg = 50 * rng.normal(size=(3, 100 * seconds))
            path = tmp_path / f"P1_{session}_{name}.edf"
            write_edf(path, eeg, NAMES, rate_hz=100)
    config = with_rest(
        "{person}_{session}_{stimulus}.edf", rest="{person}_{session}_rest.edf"
    )
    trials, failures = read_all(tmp_path, config)
    assert failures == []
    assert [t.baseline.eeg.duration_s for t in trials] == [12, 15]


def test_files_may_be_called_rest_without_being_one():
    assert FilesConfig(path="{person}_rest.edf").rest is False


def make(channels=("a", "b"), **facts):
    signal = np.arange(10.0) + 100 * np.arange(len(channels))[:, None]
    recording = Recording(signal, 100.0, 0.0, tuple(channels), "voltage", unit="uV")
    return replace(recording, **facts)


def test_channels_are_put_in_order():
    rest = as_rest_of(make("cba"), make("ac"))
    assert rest.channels == ("a", "c")
    assert rest.signal[:, 0].tolist() == [200, 0]
    drifting = as_rest_of(make("ab"), make("ab", rate_hz=99.99))
    assert drifting.rate_hz == 99.99
    assert drifting.start_s + drifting.duration_s == pytest.approx(-REST_GAP_S)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (make("a"), "expected a rest with b, found none"),
        (make(unit="V"), "expected a rest of unit uV, found V"),
        (make(rate_hz=50.0), "expected a rest at 100 Hz, as the trial, found 50 Hz"),
    ],
)
def test_rests_that_are_unlike_the_trial(rest, message):
    with pytest.raises(DataError, match=f"P1 eeg: {message}"):
        require_alike(rest, make(), "P1 eeg")


def test_without_a_rest_there_is_none():
    notes = []
    assert choose_rest((), None, notes) is None
    assert notes == []


def test_the_rest_of_another_session_is_none():
    of_b, of_any = (
        (
            LabFile(Path("rest.edf"), "P1", "rest", {"session": name}),
            Stream("eeg", make(), make),
        )
        for name in ("b", "")
    )
    notes = []
    assert choose_rest([of_any, of_b], "b", notes) is of_b[1]
    assert choose_rest([of_b, of_any], "a", notes) is of_any[1]
    assert notes == []
    assert choose_rest([of_b], "a", notes) is None
    assert notes == ["no rest is of session a"]
    assert choose_rest([of_b], None, notes) is of_b[1]
