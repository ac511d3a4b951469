import gzip
import json
import shutil
import sys

import mne
import numpy as np
import pytest
from recorded import make_intensity, write_edf, write_fnirs
from test_lab import section
from test_proposal import from_folder_to_store
from written import shared

from merps.dataset_options import DatasetConfig
from merps.datasets.lab import open_lab
from merps.errors import InputError
from merps.options import Config
from merps.recording import Trial

mne_bids = pytest.importorskip("mne_bids")

NAMES = ["Fp1", "Cz", "O2", "VEOG"]
QUIET = {"verbose": "error"}


def add(root, raw, suffix, **entities):
    path = mne_bids.BIDSPath(root=root, datatype=suffix, suffix=suffix, **entities)
    mne_bids.write_raw_bids(raw, path, overwrite=True, **QUIET)
    return mne_bids.BIDSPath(root=root, datatype=suffix, suffix=suffix, **entities)


@pytest.fixture
def root(rng, tmp_path):
    """One subject, two sessions of EEG and fNIRS of 9 s, as mne-bids writes them."""
    folder = tmp_path / "bids"
    for session in ("a", "b"):
        names = {"subject": "01", "session": session, "task": "film"}
        eeg = write_edf(
            tmp_path / "x.edf", 50 * rng.normal(size=(4, 900)), NAMES, rate_hz=100
        )
        raw = mne.io.read_raw_edf(eeg, **QUIET)
        raw.set_channel_types({"VEOG": "eog"}, **QUIET)
        raw.info["bads"] = ["O2"]
        raw.info["line_freq"] = 50
        raw.set_annotations(mne.Annotations([2.0], [6.0], ["joy"]))
        add(folder, raw, "eeg", **names)
        light = write_fnirs(tmp_path / "x.snirf", make_intensity(rng, n_times=90))
        raw = mne.io.read_raw_snirf(light, **QUIET)
        raw.set_annotations(mne.Annotations([2.0], [6.0], ["joy"]))
        add(folder, raw, "nirs", **names)
    return folder


def trials_of(root, **options):
    dataset = open_lab(root, section(Config(dataset=DatasetConfig(**options))))
    found = []
    for person in dataset.people:
        with dataset.open_person(person) as opened:
            assert opened.failures == ()
            for plan in opened.plans:
                found += opened.read(plan)
    assert all(isinstance(item, Trial) for item in found)
    return found


def rate(root, session, rate_hz=10.0, n=90, start_s=0.0):
    stem = root / f"sub-01/ses-{session}/eeg/sub-01_ses-{session}_task-film"
    table = f"{stem}_recording-joystick_physio"
    lines = [f"0\t{50 + k}\t{200 - k}" for k in range(n)]
    with gzip.open(f"{table}.tsv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    facts = {"Columns": ["trigger", "valence", "arousal"]}
    facts |= {"SamplingFrequency": rate_hz, "StartTime": start_s}
    with open(f"{table}.json", "w") as file:
        json.dump(facts, file)


def test_both_modalities_are_joined(root):
    one, two = trials_of(root, layout="bids")
    assert (one.person, one.stimulus, two.stimulus) == ("sub-01", "V01", "V02")
    for trial in (one, two):
        assert trial.eeg.signal.shape == (4, 900)
        assert trial.eeg.types == ("eeg", "eeg", "eeg", "eog")  # of channels.tsv
        assert trial.eeg.mask.tolist() == [False, False, True, False]
        assert np.isnan(trial.eeg.signal[2]).all()
        assert trial.fnirs.signal.shape == (2, 3, 90)
        assert trial.targets is None
        assert [a.label for a in trial.eeg.annotations] == ["joy"]
        assert [a.label for a in trial.fnirs.annotations] == ["joy"]


def test_stimuli_begin_at_events(root):
    shutil.rmtree(root / "sub-01" / "ses-b")  # where the same stimulus comes again
    (trial,) = trials_of(
        root, layout="bids", onsets="annotations", stimuli={"V03": "joy"}, task="film"
    )
    assert trial.stimulus == "V03"
    assert trial.eeg.n_times == 600
    assert trial.fnirs.n_times == 60
    assert trial.baseline.eeg.n_times == 200


def test_ratings_of_a_continuous_recording(root):
    rate(root, "a")
    one, two = trials_of(root, layout="bids")
    assert two.targets is None
    np.testing.assert_allclose(one.targets[:, 0], 54.5 + 10 * np.arange(9))
    np.testing.assert_allclose(one.targets.sum(axis=1), 250)


def test_ratings_that_begin_before_the_stimulus(root):
    shutil.rmtree(root / "sub-01" / "ses-b")
    rate(root, "a")
    (trial,) = trials_of(
        root, layout="bids", onsets="annotations", stimuli={"V01": "joy"}
    )
    np.testing.assert_allclose(trial.targets[:, 0], 74.5 + 10 * np.arange(6))


def test_ratings_among_the_events(root):
    for suffix in ("eeg", "nirs"):
        path = root / f"sub-01/ses-a/{suffix}/sub-01_ses-a_task-film_events.tsv"
        rows = [f"{t}\t0\trating\t{100 + t}\t{50}" for t in range(9)]
        path.write_text(
            "onset\tduration\ttrial_type\tvalence\tarousal\n" + "\n".join(rows)
        )
    one, _ = trials_of(root, layout="bids")
    np.testing.assert_allclose(one.targets[:, 0], 100 + np.arange(9))


def test_ratings_in_a_plain_table(root):
    rows = [f"{t},{5 + t / 10},{4}" for t in range(9)]
    path = root / "sub-01/ses-b/rated.csv"
    path.write_text("time,valence,arousal\n" + "\n".join(rows))
    targets = {"path": "{person}/ses-{session}/rated.csv", "scale": (1.0, 9.0)}
    one, two = trials_of(root, layout="bids", targets=targets)
    assert one.targets is None
    np.testing.assert_allclose(two.targets[0], [128, 1 + 254 * 3 / 8])


def began(root, session, **times):
    rows = [
        f"{suffix}/sub-01_ses-{session}_task-film_{suffix}.{ending}\t{times[suffix]}"
        for suffix, ending in (("eeg", "edf"), ("nirs", "snirf"))
    ]
    path = root / f"sub-01/ses-{session}/sub-01_ses-{session}_scans.tsv"
    path.write_text("\n".join(["filename\tacq_time", *rows]))


def test_scans_tell_which_recording_began_later(root):
    rate(root, "a")
    began(root, "a", eeg="2020-02-03T04:05:06", nirs="2020-02-03T04:05:07.500000")
    began(root, "b", eeg="2020-02-03T04:05:06", nirs="2020-02-03T04:05:06")
    one, two = trials_of(root, layout="bids")
    (note,) = [note for note in one.notes if "scans.tsv" in note]
    assert "starts 1.5000 s after that of the EEG" in note
    assert one.eeg.annotations[0].onset_s == pytest.approx(0)  # at 2 s of both files
    assert one.fnirs.annotations[0].onset_s == pytest.approx(1.5)
    assert (one.eeg.n_times, one.fnirs.n_times) == (700, 70)
    np.testing.assert_allclose(one.targets[:, 0], 74.5 + 10 * np.arange(7))
    assert not any("scans.tsv" in note for note in two.notes)
    assert two.eeg.n_times == 900


def test_events_of_both_tie_their_clocks(root, tmp_path):
    for path in root.rglob("*_events.tsv"):
        onsets_s = np.array([0.6, 1.9, 4.0, 7.7]) - 0.4 * (path.parent.name == "nirs")
        rows = [f"{t:.3f}\t0\tx" for t in onsets_s]
        path.write_text("\n".join(["onset\tduration\ttrial_type", *rows]))
    _, written, store = from_folder_to_store(root, tmp_path)
    assert written["dataset"]["synchrony"]["tolerance_s"] == 0.05
    with store.person("sub-01") as stored:
        for trial in stored.trials():
            assert trial.clock["offset_s"] == pytest.approx(0.4, abs=5e-3)
            assert trial.fnirs.start_s == pytest.approx(0.4, abs=5e-3)
            assert trial.eeg.start_s == 0


@pytest.mark.parametrize("eeg", ["n/a", "soon", "1999-01-01T00:00:00"])
def test_scans_that_tell_nothing(root, eeg):
    began(root, "a", eeg=eeg, nirs="2020-02-03T04:05:06Z")
    one, _ = trials_of(root, layout="bids")
    assert one.eeg.n_times == 900


def test_events_that_lie_above_hold_for_all(root):
    for path in root.rglob("*_events.tsv"):
        path.unlink()
    table = "onset\tduration\ttrial_type\n{}\t6\tjoy"
    (root / "task-film_events.tsv").write_text(table.format(1))
    near = root / "sub-01/ses-b/sub-01_ses-b_events.tsv"
    near.write_text(table.format(3))
    other = root / "sub-01/ses-b/sub-01_ses-b_task-else_events.tsv"
    other.write_text(table.format(4))
    one, two = trials_of(root, layout="bids")
    for trial, onset_s in ((one, 1), (two, 3)):
        for recording in (trial.eeg, trial.fnirs):
            assert [a.onset_s for a in recording.annotations] == pytest.approx(
                [onset_s]
            )
    dataset = open_lab(root, section(Config(dataset=DatasetConfig(layout="bids"))))
    assert {root / "task-film_events.tsv", near} <= {*dataset.input_files("sub-01")}
    assert other not in dataset.input_files("sub-01")


def test_facts_about_ratings_may_lie_above(root):
    rate(root, "a")
    for path in root.rglob("*_physio.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({"StartTime": 0.0}))
        facts["StartTime"] = 100.0  # the nearer file wins
        (root / "task-film_recording-joystick_physio.json").write_text(
            json.dumps(facts)
        )
    one, _ = trials_of(root, layout="bids")
    np.testing.assert_allclose(one.targets[:, 0], 54.5 + 10 * np.arange(9))


def test_from_bids_to_the_store(root, tmp_path):
    rate(root, "a")
    told, written, store = from_folder_to_store(root, tmp_path)
    assert written["dataset"]["layout"] == "bids"
    assert written["dataset"]["stimuli"] == {
        "V01": "ses-a_task-film",
        "V02": "ses-b_task-film",
    }
    assert any("ratings beside" in text for text in told["findings"])
    with store.person("sub-01") as stored:
        assert stored.trial("V01").targets.shape == (9, 2)
        assert stored.trial("V01").eeg.channels == ("Fp1", "Cz", "O2")


def test_without_mne_bids_the_message_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_bids", None)
    with pytest.raises(InputError, match=r"pip install 'merps\[bids\]'"):
        trials_of(root, layout="bids")


def test_a_tree_of_real_recordings(tmp_path):
    folder = tmp_path / "bids"
    raw = mne.io.read_raw_edf(shared("eeg-eegmmidb-64ch/S001R03.edf"), **QUIET)
    raw.info["line_freq"] = 60
    add(folder, raw, "eeg", subject="01", task="fists")
    raw = mne.io.read_raw_snirf(shared("fnirs-homer3-51ch/subjA_run02.snirf"), **QUIET)
    add(folder, raw, "nirs", subject="02", task="tapping")
    _, _, store = from_folder_to_store(folder, tmp_path)
    assert store.people == ("sub-01", "sub-02")
    with store.person("sub-02") as stored:
        (trial,) = stored.trials()
        assert trial.fnirs.signal.shape[:2] == (3, 51)
        assert sum(d < 0.01 for d in trial.fnirs.distances_m) > 0
