import json

import numpy as np
import pytest
import yaml
from recorded import make_intensity, write_edf, write_fnirs
from test_lab import NAMES, write_ratings
from typer.testing import CliRunner
from written import Xdf, shared, write_snirf

import merps
from merps.cli.commands import app
from merps.errors import DataError, InputError
from merps.store import Store


def run(*arguments):
    """Run a command that must not look like a fault of ours."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert "internal error" not in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    return result


def from_folder_to_store(root, tmp_path):
    """Go the way of a lab; return what init said, the YAML, and the store."""
    out, store = tmp_path / "lab.yaml", tmp_path / "store"
    first = run("init", root, "--out", out, "--json")
    assert first.exit_code == 0, first.stderr
    second = run("check", root, "--config", out, "--json")
    problems = json.loads(second.stdout)["problems"]
    assert second.exit_code == 0, problems
    third = run("preprocess", root, "--config", out, "--out", store, "--json")
    assert third.exit_code == 0, third.stderr
    assert json.loads(third.stdout)["failed"] == []
    return json.loads(first.stdout), yaml.safe_load(out.read_text()), Store.open(store)


@pytest.fixture
def root(rng, tmp_path):
    """Two people, EEG and fNIRS of 9 s in files of their own, ratings of 1 to 9."""
    folder = tmp_path / "data"
    for person in ("VP1", "VP2"):
        (folder / person).mkdir(parents=True)
        for film in ("happy", "sad"):
            stem = folder / person / f"{person}_{film}"
            eeg = 50 * rng.normal(size=(3, 900))
            write_edf(stem.with_suffix(".edf"), eeg, NAMES, rate_hz=100)
            write_fnirs(stem.with_suffix(".snirf"), make_intensity(rng, n_times=90))
            write_ratings(stem.with_suffix(".csv"), 9, low=1, high=9)
    return folder


def test_from_a_folder_to_windows_without_python(root, tmp_path):
    told, written, store = from_folder_to_store(root, tmp_path)
    assert (told["files"], told["people"]) == (8, 2)
    dataset = written["dataset"]
    assert [entry["path"] for entry in dataset["files"]] == [
        "{person}/{person}_{stimulus}.edf",
        "{person}/{person}_{stimulus}.snirf",
    ]
    assert dataset["stimuli"] == {"V01": "happy", "V02": "sad"}
    assert dataset["targets"]["path"] == "{person}/{person}_{stimulus}.csv"
    assert dataset["targets"]["scale"] in ([1, 9], [1, 7], [0, 10])
    assert any("scale of the ratings is a guess" in text for text in told["warnings"])
    assert store.people == ("VP1", "VP2")
    with store.person("VP1") as stored:
        trial = stored.trial("V02")
        assert trial.targets.shape == (9, 2)
        assert trial.targets.min() >= 1
        assert trial.eeg.signal.shape == (3, 1800)
        assert trial.fnirs.kinds == ("HbO", "HbR", "HbT")
    out = tmp_path / "windows"
    done = run("export", store.path, "--out", out, "--config", tmp_path / "lab.yaml")
    assert done.exit_code == 0, done.stderr
    assert np.load(out / "VP1-eeg.npy").shape == (18, 3, 800)


def test_the_file_says_what_was_found(root, tmp_path):
    out = tmp_path / "lab.yaml"
    result = run("init", root, "--out", out)
    assert "8 recordings of 2 people" in result.stdout
    for text in ("EEG: 3 channels at 100 Hz, in 4 files", "# Found:", "2 channels"):
        assert (text in out.read_text()) == (text != "2 channels")
    assert "merps check" in result.stdout
    again = run("init", root, "--out", out)
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_a_wrong_length_unit_is_written_with_a_warning(rng, tmp_path):
    def shrink(group):
        for name in ("sourcePos3D", "detectorPos3D"):
            group[f"probe/{name}"][...] /= 10

    folder = tmp_path / "data"
    folder.mkdir()
    light = rng.uniform(1, 2, size=(100, 4))
    write_snirf(folder / "P1.snirf", light, [(1, 1), (2, 2)], change=shrink)
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert written["dataset"]["length_unit"] == "cm"
    assert any("make sure of it" in text for text in told["warnings"])
    assert "# WARNING" in (tmp_path / "lab.yaml").read_text()
    with store.person("P1") as stored:
        (trial,) = stored.trials()
        assert trial.fnirs.distances_m == pytest.approx((0.03, 0.03))


def test_one_xdf_file(rng, tmp_path):
    xdf = Xdf()
    rows = [{"label": name, "type": "EEG", "unit": "uV"} for name in NAMES]
    xdf.header(1, name="amp", kind="EEG", n_channels=3, rate_hz=100, channels=rows)
    xdf.samples(1, 9 + np.arange(1000) / 100, 50 * rng.normal(size=(1000, 3)))
    folder = tmp_path / "data"
    folder.mkdir()
    xdf.write(folder / "pilot recording.xdf")
    told, _, store = from_folder_to_store(folder, tmp_path)
    assert told["people"] == 1
    assert store.people == ("pilot-recording",)


@pytest.mark.parametrize("odd", ["one wavelength", "optical density", "HbO"])
def test_fnirs_of_another_kind_costs_its_own_trials_at_most(rng, tmp_path, odd):
    folder, pairs = tmp_path / "data", [(1, 1), (2, 2)]
    folder.mkdir()
    write_snirf(folder / "P2.snirf", rng.uniform(1, 2, size=(200, 4)), pairs)
    columns = {"one wavelength": 2, "optical density": 4, "HbO": 2}[odd]
    label = {"one wavelength": None, "optical density": "dOD", "HbO": "HbO"}[odd]
    measurements = [
        {"sourceIndex": s, "detectorIndex": s, "wavelengthIndex": 1 + w}
        | ({"dataType": 99999, "dataTypeLabel": label} if label else {"dataType": 1})
        for w in range(columns // 2)
        for s in (1, 2)
    ]
    light = rng.uniform(1, 2, size=(200, columns))
    write_snirf(folder / "P1.snirf", light, pairs, measurements=measurements)
    out, store = tmp_path / "lab.yaml", tmp_path / "store"
    warnings = json.loads(run("init", folder, "--out", out, "--json").stdout)
    assert len(warnings["warnings"]) == (odd != "optical density")
    done = run("preprocess", folder, "--config", out, "--out", store, "--json")
    failed = json.loads(done.stdout)["failed"]
    assert Store.open(store).people == ("P1", "P2")[odd != "optical density" :]
    assert [f["person"] for f in failed] == ["P1"] * (odd != "optical density")
    if failed:
        assert failed[0]["message"].startswith("P1 V01: ")
        assert done.exit_code == 1


def test_labels_are_offered_as_stimuli(rng, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    light = rng.uniform(1, 2, size=(100, 4))
    stimuli = [("film: 'a'\n", [[1.0, 1.0, 1.0], [4.0, 1.0, 1.0]])]
    write_snirf(folder / "P1.snirf", light, [(1, 1), (2, 2)], stimuli=stimuli)
    from_folder_to_store(folder, tmp_path)
    assert "film: 'a' (2)" in (tmp_path / "lab.yaml").read_text()


@pytest.mark.parametrize(
    "names",
    [
        ["\u00e4.edf", "\u00f6.edf", "\u00fc.edf"],
        ["Anna M\u00fcller.edf", "Ben O'Neil.edf"],
        ["{person}.edf", "a{b}*c.edf", "{x.edf"],
        ["a: b #c.edf", "- 'q'.edf", "new\nline.edf"],
        ["x" * 120 + "1.edf", "x" * 120 + "2.edf"],
        ["d 1/[a] (1).edf", "d 2/[a] (1).edf"],
        ["2021-05-03_10h.edf", "2021-05-04_09h.edf", "2021-06-04_11h.edf"],
        ["P1/s1/x.edf", "P1/s2/x.edf", "P2/s1/x.edf"],
    ],
)
def test_any_names_give_a_configuration_that_check_accepts(rng, tmp_path, names):
    folder = tmp_path / "data"
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_edf(path, 50 * rng.normal(size=(3, 200)), NAMES, rate_hz=100)
    out = tmp_path / "lab.yaml"
    result = run("init", folder, "--out", out)
    assert result.exit_code == 0, result.stderr
    result = run("check", folder, "--config", out, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0, told
    assert told["trials"] == len(names), (out.read_text(), told)


def test_mer_ps_takes_no_description(noise, tmp_path):
    proposal = merps.init_config(noise, tmp_path / "a.yaml")
    assert proposal.people == 2
    assert yaml.safe_load(proposal.text) == {"dataset": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected recordings .* found none"),
        ({"a.txt": b"x"}, "found none"),
        ({"a.edf": b"x"}, "found 1 that cannot be read: a.edf: "),
    ],
)
def test_folders_without_recordings(tmp_path, content, message):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        merps.init_config(folder, tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()


def test_places_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        merps.init_config(tmp_path / "none", tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(InputError, match="is there already"):
        merps.init_config(tmp_path, tmp_path / "a.yaml")


# Real folders


def test_the_folder_of_eegmmidb(tmp_path):
    _, written, store = from_folder_to_store(shared("eeg-eegmmidb-64ch"), tmp_path)
    assert list(written["dataset"]["stimuli"].values()) == [
        "03",
        "04",
        "05",
        "06",
        "07",
    ]
    with store.person("S001") as stored:
        eeg = stored.trial("V01").eeg
        assert eeg.signal.shape == (64, 25_000)
        assert np.isfinite(eeg.positions).all()


def test_the_folder_of_homer3(tmp_path):
    _, _, store = from_folder_to_store(shared("fnirs-homer3-51ch"), tmp_path)
    with store.person("subjA") as stored:
        assert len(stored.stimuli) == 3
        fnirs = stored.trial("V01").fnirs
        assert fnirs.signal.shape[:2] == (3, 51)
        assert fnirs.rate_hz == 10
        assert fnirs.duration_s == pytest.approx(391, abs=1)


def test_the_folder_of_finger_tapping(tmp_path):
    _, _, store = from_folder_to_store(shared("xdf-fnirs-tapping"), tmp_path)
    (person,) = store.people
    with store.person(person) as stored:
        (trial,) = stored.trials()
        assert trial.fnirs.duration_s == pytest.approx(1104, abs=1)
