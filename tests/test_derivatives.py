import json

import numpy as np
import pytest
from recorded import make_intensity, write_edf, write_fnirs
from test_bids import trials_of
from test_lab import NAMES, described, write_ratings
from typer.testing import CliRunner

import merps
from merps.cli.commands import app
from merps.errors import InputError
from merps.store import Store

pytest.importorskip("pybv")
pytest.importorskip("mne_bids")


@pytest.fixture
def store(rng, tmp_path):
    """One person with EEG, fNIRS and ratings of 9 s, preprocessed."""
    folder = tmp_path / "data"
    folder.mkdir()
    eeg = 50 * rng.normal(size=(3, 900))
    write_edf(folder / "P_1.edf", eeg, NAMES, rate_hz=100)
    write_fnirs(folder / "P_1.snirf", make_intensity(rng, n_times=90))
    write_ratings(folder / "P_1.csv", 9)
    config = described(
        "{person}.edf",
        "{person}.snirf",
        montage="colin27_1005",
        targets={"path": "{person}.csv"},
    )
    fnirs = config.preprocess.fnirs.model_copy(update={"kinds": ("760nm", "850nm")})
    section = config.preprocess.model_copy(update={"fnirs": fnirs})
    config = config.model_copy(update={"preprocess": section})
    merps.preprocess_dataset(folder, tmp_path / "store", config=config)
    return tmp_path / "store"


def test_what_is_written_is_read_back(store, tmp_path):
    out = tmp_path / "bids"
    derived = merps.export_bids(store, out)
    assert (derived.people, derived.files, derived.left_out) == (1, 2, ())
    facts = json.loads((out / "dataset_description.json").read_text())
    assert facts["DatasetType"] == "derivative"
    assert Store.open(store).terms in (out / "README").read_text()
    (trial,) = trials_of(out, layout="bids")
    with Store.open(store).person("P_1") as stored:
        kept = stored.trial("V01")
        assert (trial.person, trial.stimulus) == ("sub-P1", "V01")
        np.testing.assert_allclose(trial.eeg.signal, kept.eeg.signal, rtol=1e-5)
        assert trial.eeg.channels == kept.eeg.channels
        np.testing.assert_allclose(trial.fnirs.signal, kept.fnirs.signal, rtol=1e-5)
        assert trial.fnirs.channels == kept.fnirs.channels
        np.testing.assert_allclose(trial.targets, kept.targets, rtol=1e-6)
    assert [a.label for a in trial.eeg.annotations] == ["V01"]


def test_the_command(store, tmp_path):
    out = tmp_path / "bids"
    arguments = ["export", str(store), "--out", str(out), "--format", "bids", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["files"] == 2
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "is not empty" in again.stderr
    assert [p.name for p in tmp_path.glob("*.tmp")] == []


def test_units_that_are_not_known_stay_behind(noise_store, tmp_path):
    derived = merps.export_bids(noise_store, tmp_path / "bids")
    assert derived.files == 6
    assert len(derived.left_out) == 6
    assert "HbO is in a.u." in derived.left_out[0]


def test_people_whose_names_would_become_one(store, monkeypatch, tmp_path):
    monkeypatch.setattr(Store, "people", ("P_1", "P1"))
    with pytest.raises(InputError, match="two people would get one name"):
        merps.export_bids(store, tmp_path / "bids")
    assert not (tmp_path / "bids").exists()
