import numpy as np
import pytest
from recorded import write_edf
from written import shared, write_brainvision, write_set

from merps.readers.naming import (
    clean_name,
    clean_names,
    distinct_names,
    type_by_name,
)
from merps.readers.neuro import open_neuro


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        *(("Fc5.", "Fc5"), ("Cz..", "Cz"), ("EEG Fp1", "Fp1"), ("EEG Cz-REF", "Cz")),
        *(("ECG ECG", "ECG"), ("Fp1-LE", "Fp1"), ("A2-A1", "A2-A1"), ("...", "...")),
        *(("EEG", "EEG"), (" O2 ", "O2"), ("C3-A2", "C3-A2")),
    ],
)
def test_names_without_decoration(name, clean):
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    ("names", "distinct"),
    [
        (["Cz", "Pz"], ("Cz", "Pz")),
        (["Cz", "Pz", "Cz"], ("Cz-0", "Pz", "Cz-1")),
        (["Cz", "Cz", "Cz-0"], ("Cz-1", "Cz-2", "Cz-0")),
        ([], ()),
    ],
)
def test_names_that_come_twice_get_numbers(names, distinct):
    assert distinct_names(names) == distinct


def test_names_that_would_become_one_are_left():
    names = clean_names(["Cz", "EEG Cz", "Fp1."])
    assert names == ("Cz", "EEG Cz", "Fp1")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("ECG ECG", "ecg"), ("EKG1", "ecg"), ("ECG", "ecg"), ("VEOG", "eog")),
        *(("EOG-L", "eog"), ("HEOGR", "eog"), ("EMG chin", "emg"), ("Status", "stim")),
        *(("STI 014", "stim"), ("TRIG1", "stim"), ("A2-A1", "misc"), ("M1-M2", "misc")),
        *(("Resp", "misc"), ("GSR1", "misc"), ("Fp1", "eeg"), ("EEG T8", "eeg")),
        *(
            ("A1", "eeg"),
            ("P3", "eeg"),
            ("Cz", "eeg"),
            ("C3-A2", "eeg"),
            ("E12", "eeg"),
        ),
        *(("TP9", "eeg"), ("EXG1", "eeg"), ("Pz..", "eeg"), ("Temple", "misc")),
    ],
)
def test_types_by_name(name, kind):
    assert type_by_name(name, "eeg") == kind


def test_what_a_file_states_is_not_corrected():
    assert type_by_name("ECG", "misc") == "misc"
    assert type_by_name("Fp1", "eog") == "eog"


def test_an_ecg_that_the_file_calls_eeg(rng, tmp_path):
    names = ["EEG Fp1", "EEG Cz..", "EEG A2-A1", "ECG ECG"]
    signal = 50 * rng.normal(size=(4, 400))
    (stream,) = open_neuro(write_edf(tmp_path / "a.edf", signal, names, rate_hz=100))
    recording = stream.load()
    assert recording.channels == ("Fp1", "Cz", "ECG")
    assert recording.types == ("eeg", "eeg", "ecg")
    np.testing.assert_allclose(1e6 * recording.signal, signal[[0, 1, 3]], atol=0.01)
    assert stream.notes == (
        "by their names, EEG A2-A1 is misc, ECG ECG is ecg; the file calls them eeg",
    )


def test_brainvision(rng, tmp_path):
    signal = 50 * rng.normal(size=(3, 400))
    path = write_brainvision(
        tmp_path / "a.vhdr", signal, ["Cz", "Fp1", "VEOG"], marks=[(101, "S  1")]
    )
    (stream,) = open_neuro(path)
    recording = stream.load()
    np.testing.assert_allclose(1e6 * recording.signal, signal, rtol=1e-5)
    assert recording.types == ("eeg", "eeg", "eog")
    (mark,) = recording.annotations
    assert (mark.onset_s, mark.label) == (0.5, "Stimulus/S  1")


def test_eeglab(rng, tmp_path):
    signal = 50 * rng.normal(size=(2, 400))
    (stream,) = open_neuro(write_set(tmp_path / "a.set", signal, ["Cz", "Fp1"]))
    np.testing.assert_allclose(1e6 * stream.load().signal, signal, rtol=1e-6)
    assert stream.header.channels == ("Cz", "Fp1")


def test_real_eeglab():
    folder = shared("eeg-bids-set-15ch")
    (stream,) = open_neuro(folder / "sub-S1_ses-01_task-Experiment_run-01_eeg.set")
    assert stream.header.signal.shape == (15, 15_360)
    assert stream.header.rate_hz == 256
    assert len(stream.header.annotations) == 55
    assert np.isfinite(stream.header.positions).all()


def test_real_mental_arithmetic():
    (stream,) = open_neuro(shared("eeg-eegmat-20ch/Subject00_2.edf"))
    assert len(stream.header.channels) == 20
    assert stream.header.types.count("ecg") == 1
    assert "A2-A1" not in stream.header.channels
    assert stream.header.duration_s == 62
