import mne
import numpy as np
import pytest
from recorded import make_intensity, write_fnirs

import merps
from merps.errors import InputError
from merps.recording import Annotation, Recording

KINDS = ["eeg", "eeg", "eog", "ecg", "stim"]


@pytest.fixture
def raw(rng):
    info = mne.create_info(["Cz", "Fp1", "VEOG", "ECG", "STI"], 250.0, KINDS)
    info.set_montage("colin27_1005", on_missing="ignore", verbose="error")
    found = mne.io.RawArray(1e-5 * rng.normal(size=(5, 1000)), info, verbose="error")
    found.set_annotations(mne.Annotations([0.5, 2.0], [1.0, 0.0], ["a", "b"]))
    return found


def test_what_mne_says_survives_the_way_there_and_back(raw):
    raw.info["bads"] = ["Fp1"]
    recording = merps.from_mne(raw)
    assert recording.types == ("eeg", "eeg", "eog", "ecg")
    assert recording.unit == "V"
    back = recording.to_mne()
    assert back.ch_names == raw.ch_names[:4]
    assert back.get_channel_types() == KINDS[:4]
    assert back.info["sfreq"] == 250
    assert back.info["bads"] == ["Fp1"]
    data = back.get_data()
    np.testing.assert_array_equal(data[[0, 2, 3]], raw.get_data()[[0, 2, 3]])
    assert np.isnan(data[1]).all()  # what is bad is missing
    for one, other in zip(back.info["chs"], raw.info["chs"], strict=False):
        np.testing.assert_allclose(one["loc"][:3], other["loc"][:3])
    for name in ("onset", "duration", "description"):
        np.testing.assert_array_equal(
            getattr(back.annotations, name), getattr(raw.annotations, name)
        )


def test_the_same_record_comes_back_from_mne(raw):
    recording = merps.from_mne(raw)
    again = merps.from_mne(recording.to_mne())
    for name in ("channels", "types", "rate_hz", "quantity", "unit", "annotations"):
        assert getattr(again, name) == getattr(recording, name)
    np.testing.assert_array_equal(again.signal, recording.signal)
    np.testing.assert_array_equal(again.positions, recording.positions)


@pytest.mark.parametrize("dated", [True, False])
def test_times_count_from_the_first_sample(raw, dated):
    if dated:
        raw.set_meas_date(1e9)
    recording = merps.from_mne(raw.copy().crop(0.2))
    assert recording.start_s == 0
    assert [a.onset_s for a in recording.annotations] == pytest.approx([0.3, 1.8])


@pytest.mark.parametrize(("unit", "factor"), [("V", 1), ("mV", 1e-3), ("uV", 1e-6)])
def test_units_become_volts(rng, unit, factor):
    signal = rng.normal(size=(2, 100))
    recording = Recording(signal, 100.0, -1.0, ("Cz", "O1"), "voltage", unit)
    np.testing.assert_allclose(recording.to_mne().get_data(), factor * signal)


def test_annotations_follow_the_start():
    recording = Recording(
        np.zeros((1, 200)),
        100.0,
        -0.5,
        ("Cz",),
        "voltage",
        "V",
        annotations=(Annotation(0.25, 0.5, "x"),),
    )
    assert recording.to_mne().annotations.onset.tolist() == [0.75]


@pytest.fixture
def fnirs(rng, tmp_path):
    path = write_fnirs(tmp_path / "a.snirf", make_intensity(rng))
    return mne.io.read_raw_snirf(path, preload=True, verbose="error")


@pytest.mark.parametrize("stage", ["intensity", "optical density", "concentration"])
def test_fnirs_survives_the_way_there_and_back(fnirs, stage):
    if stage != "intensity":
        fnirs = mne.preprocessing.nirs.optical_density(fnirs, verbose="error")
    if stage == "concentration":
        fnirs = mne.preprocessing.nirs.beer_lambert_law(fnirs, ppf=6.0)
    recording = merps.from_mne(fnirs)
    assert set(recording.quantity) == {stage}
    assert recording.channels == ("S1_D1", "S2_D2", "S3_D3")
    np.testing.assert_allclose(recording.distances_m, 0.03, rtol=1e-6)
    back = recording.to_mne()
    assert set(back.ch_names) == set(fnirs.ch_names)
    np.testing.assert_allclose(
        back.get_data(picks=fnirs.ch_names), fnirs.get_data(), rtol=1e-12
    )
    assert set(back.get_channel_types()) == set(fnirs.get_channel_types())
    np.testing.assert_allclose(
        mne.preprocessing.nirs.source_detector_distances(back.info), 0.03, rtol=1e-6
    )
    if stage == "intensity":  # MNE goes on with it
        mne.preprocessing.nirs.optical_density(back, verbose="error")


def test_both_modalities_in_one_object(rng, raw, fnirs):
    info = mne.create_info(
        [*raw.ch_names, *fnirs.ch_names],
        250.0,
        [*KINDS, *["fnirs_cw_amplitude"] * 6],
    )
    for channel, other in zip(info["chs"][5:], fnirs.info["chs"], strict=True):
        channel["loc"][:] = other["loc"]
    both = mne.io.RawArray(rng.normal(size=(11, 400)), info, verbose="error")
    with pytest.raises(InputError, match=r"holds eeg and fnirs .* pass modality"):
        merps.from_mne(both)
    assert merps.from_mne(both, modality="eeg").channels[0] == "Cz"
    assert merps.from_mne(both, modality="fnirs").kinds == ("760nm", "850nm")
    with pytest.raises(InputError, match="holds no fnirs"):
        merps.from_mne(raw, modality="fnirs")
    with pytest.raises(InputError, match="neither EEG nor fNIRS"):
        merps.from_mne(raw.copy().pick("stim"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"quantity": "voltage", "unit": "a.u."}, "MNE wants voltages in volts"),
        (
            {"quantity": ("concentration",), "unit": ("a.u.",), "kinds": ("HbO",)},
            "mol/L",
        ),
        (
            {"quantity": ("absorbance",), "unit": ("1",), "kinds": ("Abs780",)},
            "no channel",
        ),
    ],
)
def test_what_mne_has_no_word_for(facts, message):
    shape = (1, 1, 10) if "kinds" in facts else (1, 10)
    recording = Recording(np.zeros(shape), 10.0, 0.0, ("A",), **facts)
    with pytest.raises(InputError, match=message):
        recording.to_mne()


def test_total_hemoglobin_stays_behind():
    units = ("umol/L",) * 3
    recording = Recording(
        np.ones((3, 1, 10)),
        10.0,
        0.0,
        ("S1_D1",),
        ("concentration",) * 3,
        units,
        kinds=("HbO", "HbR", "HbT"),
    )
    raw = recording.to_mne()
    assert raw.ch_names == ["S1_D1 hbo", "S1_D1 hbr"]
    np.testing.assert_allclose(raw.get_data(), 1e-6)
