import struct
from pathlib import Path

import mne
import numpy as np
import pytest
from recorded import make_intensity, write_eeg, write_fnirs

from merps.errors import DataError, SpaceError
from merps.readers.neuro import open_neuro, read_eeg, read_hemoglobin

SHARED = Path(__file__).parents[2] / "shared" / "data"


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def read_raw(path):
    return mne.io.read_raw(path, preload=True, verbose="error")


# EEG


def test_eeg_comes_in_volts_with_its_names(rng, tmp_path):
    signal = 2e-5 * rng.normal(size=(3, 480))
    path = write_eeg(tmp_path / "a_raw.fif", signal, ["Fc5.", "EEG Cz", "O2"])
    recording = read_eeg(path)
    np.testing.assert_allclose(recording.signal, signal, rtol=1e-6)
    assert recording.channels == ("Fc5", "Cz", "O2")
    assert recording.rate_hz == 160
    assert (recording.quantity, recording.unit) == ("voltage", "V")
    assert recording.duration_s == 3


def test_other_channels_stay_behind(rng, tmp_path):
    signal = rng.normal(size=(4, 160))
    kinds = ["eog", "eeg", "stim", "eeg"]
    path = write_eeg(tmp_path / "a_raw.fif", signal, "ABCD", kinds=kinds)
    recording = read_eeg(path)
    assert recording.channels == ("B", "D")
    np.testing.assert_allclose(recording.signal, signal[[1, 3]], rtol=1e-6)


def test_one_channel_and_one_sample(tmp_path):
    recording = read_eeg(write_eeg(tmp_path / "a_raw.fif", np.ones((1, 1)), ["Cz"]))
    assert recording.signal.shape == (1, 1)


def test_a_recording_without_eeg_is_refused(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 9)), "AB", kinds="ecg")
    with pytest.raises(DataError, match="expected EEG channels, found ecg") as caught:
        read_eeg(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "a_raw.fif", "a.snirf", "a.txt"])
@pytest.mark.parametrize("content", [b"", b"nothing that MNE reads" * 50])
@pytest.mark.parametrize("read", [read_eeg, read_hemoglobin])
def test_other_files_give_one_message(tmp_path, name, content, read):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a recording") as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400


@pytest.mark.parametrize("read", [read_eeg, read_hemoglobin])
def test_an_absent_file_gives_the_same_message(tmp_path, read):
    with pytest.raises(DataError, match="cannot be read as a recording"):
        read(tmp_path / "absent.edf")


def test_a_file_that_is_cut_off(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(8, 4000)), "ABCDEFGH")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match="cannot be read as a recording"):
        read_eeg(path)


def test_lack_of_memory_is_no_fault_of_the_file(monkeypatch, tmp_path):
    def run_out(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(mne.io, "read_raw", run_out)
    with pytest.raises(SpaceError, match=r"a\.edf: no memory .* run fewer jobs"):
        read_eeg(tmp_path / "a.edf")


def test_a_run_of_eegmmidb():
    path = shared("eeg-eegmmidb-64ch/S001R03.edf")
    recording = read_eeg(path)
    assert recording.signal.shape == (64, 20_000)
    assert recording.rate_hz == 160
    assert {"Fc5", "Cz", "Oz", "Fp1"} <= set(recording.channels)
    assert not any("." in name for name in recording.channels)
    assert 1e-5 < recording.signal.std() < 1e-3  # volts


@pytest.mark.parametrize("label", ["boundary", "BAD boundary", "New Segment/"])
def test_breaks_are_told(rng, tmp_path, label):
    info = mne.create_info(["Cz", "Pz"], 100.0, "eeg", verbose="error")
    raw = mne.io.RawArray(rng.normal(size=(2, 500)), info, verbose="error")
    marks = ["New Segment/", label, "happy"]
    raw.set_annotations(mne.Annotations([0.0, 2.0, 3.0], [0.0] * 3, marks))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    (stream,) = open_neuro(tmp_path / "a_raw.fif")
    assert "breaks in it: 1, and its time runs on across them" in stream.notes


def test_types_that_mne_does_not_know_give_one_message(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 50)), ["Cz", "Pz"])
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack(">iii", 203, 30, 96)) + 16  # of the first channel
    data[at + 8 : at + 12] = struct.pack(">i", 99)  # after its numbers comes its type
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a_raw\.fif: cannot be read"):
        open_neuro(path)


# FNIRS


def test_steady_light_is_no_change(tmp_path):
    intensity = np.tile([[[2e4]], [[7e5]]], (1, 3, 300))
    recording = read_hemoglobin(write_fnirs(tmp_path / "a.snirf", intensity))
    np.testing.assert_allclose(recording.signal, 0, atol=1e-12)


def test_names_and_facts(rng, tmp_path):
    path = write_fnirs(tmp_path / "a.snirf", make_intensity(rng))
    recording = read_hemoglobin(path)
    assert recording.signal.shape == (2, 3, 400)
    assert recording.kinds == ("HbO", "HbR")
    assert recording.channels == ("S1_D1", "S2_D2", "S3_D3")
    assert recording.quantity == ("concentration", "concentration")
    assert recording.unit == ("mol/L", "mol/L")
    assert recording.rate_hz == pytest.approx(10)
    assert 1e-8 < recording.signal.std() < 1e-3


def test_the_gain_of_the_detector_does_not_matter(rng, tmp_path):
    intensity = make_intensity(rng)
    gain = rng.uniform(0.1, 10, size=(2, 3, 1))
    one, other = (
        read_hemoglobin(write_fnirs(tmp_path / f"{k}.snirf", x)).signal
        for k, x in enumerate((intensity, gain * intensity))
    )
    np.testing.assert_allclose(one, other, atol=1e-4 * one.std())


def test_channels_keep_their_order(rng, tmp_path):
    intensity = make_intensity(rng)
    one, other = (
        read_hemoglobin(write_fnirs(tmp_path / f"{k}.snirf", x)).signal
        for k, x in enumerate((intensity, intensity[:, ::-1]))
    )
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-9)


def test_less_light_means_more_blood_of_the_kind_that_absorbs_it(tmp_path):
    step = np.repeat([1.0, 0.9], 150)  # the second half is darker
    for darker, kind in ((1, 0), (0, 1)):  # 850 nm: HbO; 760 nm: HbR
        intensity = np.ones((2, 1, 300))
        intensity[darker] = step
        path = write_fnirs(tmp_path / f"{darker}.snirf", intensity)
        change = np.diff(read_hemoglobin(path).signal[:, 0, [0, -1]])[:, 0]
        assert change[kind] > 0 > change[1 - kind]


def save_hemoglobin(path, signal_ct, names):
    kinds = [name.rsplit(" ", 1)[1] for name in names]
    return write_eeg(path, signal_ct, names, kinds=kinds, rate_hz=10.0)


def test_concentrations_are_taken_as_they_are(rng, tmp_path):
    names = ["S1_D1 hbo", "S1_D1 hbr", "S2_D1 hbo", "S2_D1 hbr"]
    signal = 1e-6 * rng.normal(size=(4, 50))
    recording = read_hemoglobin(save_hemoglobin(tmp_path / "a_raw.fif", signal, names))
    expected = np.stack([signal[::2], signal[1::2]])
    np.testing.assert_allclose(recording.signal, expected, rtol=1e-6)
    assert recording.channels == ("S1_D1", "S2_D1")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["S1_D1 hbo", "S2_D1 hbo"], "expected fNIRS that turns into HbO and HbR"),
        (
            ["S1_D1 hbo", "S2_D1 hbo", "S1_D1 hbr"],
            "HbO of S1_D1, S2_D1 and HbR of S1_D1",
        ),
        (
            ["S1_D1 hbo", "S2_D1 hbo", "S2_D1 hbr", "S1_D1 hbr"],
            "HbO of S1_D1, S2_D1 and HbR of S2_D1, S1_D1",
        ),
    ],
)
def test_half_a_channel_is_refused(rng, tmp_path, names, message):
    signal = 1e-6 * rng.normal(size=(len(names), 50))
    path = save_hemoglobin(tmp_path / "a_raw.fif", signal, names)
    with pytest.raises(DataError, match=message) as caught:
        read_hemoglobin(path)
    assert str(path) in str(caught.value)


def test_eeg_is_no_fnirs(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 50)), "AB")
    with pytest.raises(DataError, match="found eeg"):
        read_hemoglobin(path)


def test_a_run_of_homer3():
    recording = read_hemoglobin(shared("fnirs-homer3-51ch/subjA_run01.snirf"))
    assert recording.signal.shape == (2, 51, 1955)
    assert recording.rate_hz == pytest.approx(5, abs=0.001)
    assert np.isfinite(recording.signal).all()
