import json
import struct

import mne
import numpy as np
import pytest
from recorded import write_eeg
from test_lab import described, read_all
from test_proposal import run
from written import shared

import merps
from merps.errors import DataError
from merps.readers.naming import clean_names


def test_fif_with_both_modalities_in_one_file(rng, tmp_path):
    names = ["Cz", "S1_D1 hbo", "S1_D1 hbr", "STI"]
    kinds = ["eeg", "hbo", "hbr", "stim"]
    signal = 1e-6 * rng.normal(size=(4, 500))
    path = write_eeg(tmp_path / "a_raw.fif", signal, names, kinds=kinds, rate_hz=100.0)
    eeg, fnirs = merps.open_recording(path)
    assert (eeg.modality, fnirs.modality) == ("eeg", "fnirs")
    np.testing.assert_allclose(eeg.load().signal, signal[:1], rtol=1e-6)
    np.testing.assert_allclose(fnirs.load().signal[:, 0], signal[1:3], rtol=1e-6)
    (trial,), failures = read_all(tmp_path, described("{person}_raw.fif"))
    assert failures == []
    assert (trial.eeg.unit, trial.fnirs.unit) == ("uV", ("mol/L", "mol/L"))
    np.testing.assert_allclose(trial.fnirs.signal[:, 0], signal[1:3], rtol=1e-6)


def test_bdf(rng, tmp_path):
    n_channels, n_times = 2, 300
    counts = rng.integers(-8_000, 8_000, size=(n_channels, n_times))

    def pad(width, *values):
        return "".join(str(value).ljust(width) for value in values)

    head = pad(80, "X X X X", "Startdate X X X X") + pad(8, "01.01.11", "00.00.00", 768)
    head += pad(44, "24BIT") + pad(8, 3, 1) + pad(4, n_channels)
    head += pad(16, "A1", "Status1") + pad(80, "", "")
    for field in ("uV", -262144, 262143, -8388608, 8388607):
        head += pad(8, field, field)
    head += pad(80, "", "") + pad(8, 100, 100) + pad(32, "", "")
    records = counts.reshape(n_channels, 3, 100).swapaxes(0, 1).ravel()
    body = b"".join(struct.pack("<i", v)[:3] for v in records.tolist())
    path = tmp_path / "a.bdf"
    path.write_bytes(b"\xffBIOSEMI" + head.encode("ascii") + body)
    (stream,) = merps.open_recording(path)
    recording = stream.load()
    assert recording.channels == ("A1",)  # the other one holds triggers
    volts = 524_287e-6 * (counts[:1] + 8_388_608) / 16_777_215 - 262_144e-6
    np.testing.assert_allclose(recording.signal, volts, rtol=1e-6)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="3 shorter"):
        merps.open_recording(path)


@pytest.mark.parametrize("name", ["a.npy", "a.csv.gz", "a"])
def test_files_of_other_kinds(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="no such file"):
        merps.open_recording(path)
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"expected a recording \(\.edf, .*convert it"):
        merps.open_recording(path)


def test_every_recording_we_have_is_read_or_refused_with_one_message():
    found = {}
    for path in sorted(shared(".").rglob("*.*")):
        if not path.is_file() or path.suffix == ".md":
            continue
        try:
            streams = merps.open_recording(path)
            assert all(np.isfinite(s.load().signal).any() for s in streams)
            found[path.name] = "read"
        except DataError as error:
            found[path.name] = str(error)
    assert not any("\n" in text for text in found.values())
    refused = {name for name, text in found.items() if text != "read"}
    assert {
        name for name in refused if name.endswith(("snirf", "xdf", "edf", "set"))
    } == {
        *("015_AgePie_20211112_1.snirf", "2IA_v1.snirf", "empty_streams.xdf"),
    }
    assert sum(text == "read" for text in found.values()) >= 22


@pytest.mark.parametrize(
    "folder",
    [
        *("eeg-bids-set-15ch", "eeg-eegmat-20ch", "eeg-eegmmidb-64ch"),
        *("fnirs-artinis-8ch", "fnirs-homer3-51ch", "fnirs-snirf-samples-9ch"),
    ],
)
def test_what_mne_reads_of_real_files_is_what_we_read(folder):
    n_compared = 0
    for path in sorted(shared(folder).glob("*.*")):
        if path.suffix not in {".edf", ".set", ".snirf"} or "nirs1" in path.name:
            continue  # MNE knows no group nirs1
        unit = "cm" if "artinis" in folder else None
        (stream,) = merps.open_recording(path, length_unit=unit)
        recording = stream.load()
        raw = mne.io.read_raw(path, preload=True, verbose="error")
        assert recording.rate_hz == pytest.approx(raw.info["sfreq"], rel=1e-9)
        names = list(recording.channels)
        if recording.kinds:
            lengths = [kind.removesuffix("nm") for kind in recording.kinds]
            rows = [[f"{name} {nm}" for name in names] for nm in lengths]
            expected = np.stack([raw.get_data(picks=row) for row in rows])
        else:
            cleaned = clean_names(raw.ch_names)
            expected = raw.get_data()[[cleaned.index(name) for name in names]]
        np.testing.assert_array_equal(recording.signal, expected)
        marks = raw.annotations
        times = (marks.onset - raw.first_time).tolist(), marks.duration.tolist()
        found = set(zip(*times, marks.description.tolist(), strict=True))
        own = {(a.onset_s, a.duration_s, a.label) for a in recording.annotations}
        assert len(own) == len(found)
        for one, other in zip(sorted(own), sorted(found), strict=True):
            assert one[:2] == pytest.approx(other[:2], abs=1e-6)  # MNE rounds
            assert one[2] == other[2]
        n_compared += 1
    assert n_compared


def test_a_table_tells_the_columns_of_a_real_xdf(tmp_path):
    folder = shared("xdf-fnirs-tapping")
    (facts,) = folder.glob("*.json")
    (recording,) = folder.glob("*.xdf")
    rows = [
        f"{row['location_label']}\tNIRSCWAMPLITUDE\t{row['source']}\t{row['detector']}"
        f"\t{row['wavelength']}"
        for row in json.loads(facts.read_text())["ChMontage"]
    ]
    header = "name\ttype\tsource\tdetector\twavelength_nominal"
    (tmp_path / "channels.tsv").write_text("\n".join([header, *rows]))
    (tmp_path / "P1.xdf").write_bytes(recording.read_bytes())
    (trial,), failures = read_all(
        tmp_path, described("{person}.xdf", channels="channels.tsv")
    )
    assert failures == []
    assert trial.fnirs.kinds == ("760nm", "850nm")
    assert len(trial.fnirs.channels) == 18  # motion sensors are no light
    assert np.isfinite(trial.fnirs.signal).all()
    assert len(trial.fnirs.annotations) == 36


def test_real_mental_arithmetic_from_folder_to_windows(tmp_path):
    folder = shared("eeg-eegmat-20ch")
    out = tmp_path / "lab.yaml"
    assert run("init", folder, "--out", out).exit_code == 0
    result = run("check", folder, "--config", out, "--json")
    assert json.loads(result.stdout)["people"] == 8
    assert json.loads(result.stdout)["trials"] == 9
