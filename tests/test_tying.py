import re

import numpy as np
import pytest
from pairs import write_pair
from test_proposal import from_folder_to_store
from written import Xdf

from merps.datasets.looking import Look, open_one
from merps.datasets.tying import match_people, propose_synchrony


def look_at(folder):
    look = Look(folder)
    for path in sorted(folder.iterdir()):
        if path.suffix in {".vhdr", ".snirf", ".xdf"}:
            open_one(look, path.name, path)
    return look


def owners_of(look, person=lambda name: name.partition(".")[0]):
    return {n: {"person": person(n), "stimulus": "recording"} for n in look.streams}


def test_pairs_are_told_and_written_down(rng, tmp_path):
    for person in ("S01", "S02"):
        write_pair(tmp_path, person, rng, seconds=300)
    look = look_at(tmp_path)
    lines = propose_synchrony(look, owners_of(look))
    assert lines[0].startswith("  synchrony:")
    assert [text.partition(":")[0] for text in look.findings] == [
        *("S01.vhdr and S01.snirf", "S02.vhdr and S02.snirf")
    ]
    assert look.warnings == []


@pytest.mark.parametrize("n_events", [0, 2])
def test_too_few_events_are_told(rng, tmp_path, n_events):
    options = {"missing": (), "theirs_missing": (), "extra": 0}
    write_pair(tmp_path, "S01", rng, n_events=n_events, seconds=120, **options)
    look = look_at(tmp_path)
    assert propose_synchrony(look, owners_of(look)) == []
    (text,) = look.findings
    assert "too few events of both to tie their clocks by" in text


def test_a_rate_that_is_rounded_is_told(rng, tmp_path):
    write_pair(tmp_path, "S01", rng, slope_ppm=-1600.0)  # 3.9 Hz for 3.90625 Hz
    look = look_at(tmp_path)
    lines = propose_synchrony(look, owners_of(look))
    assert "    max_drift_ppm: 10000" in lines
    assert re.search(r"runs (1599|160[01])\.\d ppm fast", look.findings[0])
    assert any("states a rounded rate" in text for text in look.warnings)


def test_most_pairs_decide(rng, tmp_path):
    few = {"missing": (), "theirs_missing": (), "extra": 0, "n_events": 2}
    write_pair(tmp_path, "S01", rng, seconds=120)
    write_pair(tmp_path, "S02", rng, seconds=120, **few)
    look = look_at(tmp_path)
    assert propose_synchrony(look, owners_of(look)) != []
    assert "in 1 pairs of EEG and fNIRS files, too few" in look.warnings[0]
    write_pair(tmp_path, "S03", rng, seconds=120, **few)
    look = look_at(tmp_path)
    assert propose_synchrony(look, owners_of(look)) == []
    assert "most pairs" in look.warnings[-1]


def test_people_who_lack_a_device_are_left_alone(rng, tmp_path):
    for person in ("S01", "S02", "S03"):
        write_pair(tmp_path, person, rng, seconds=300)
    (tmp_path / "S02.snirf").unlink()
    (tmp_path / "S03.vhdr").unlink()
    look = look_at(tmp_path)
    propose_synchrony(look, owners_of(look))
    assert len(look.findings) == 1
    assert match_people(look, owners_of(look), tuple(look.streams)) == {}


def test_files_without_a_name_in_common_are_matched_by_events(rng, tmp_path):
    folder = tmp_path / "data"
    write_pair(folder, "session", rng, seconds=300)
    (folder / "session.snirf").rename(folder / "2021-05-04_001.snirf")
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert any("shares the events of session.vhdr" in t for t in told["warnings"])
    assert {f["person"] for f in written["dataset"]["files"]} == {"session"}
    with store.person("session") as stored:
        (trial,) = stored.trials()
    assert trial.clock["slope_ppm"] == pytest.approx(137, abs=10)


def test_paths_that_name_people_are_believed(rng, tmp_path):
    write_pair(tmp_path, "S01", rng, seconds=300)
    (tmp_path / "S01.snirf").rename(tmp_path / "S02.snirf")
    look = look_at(tmp_path)
    assert match_people(look, owners_of(look), ()) == {}
    unsure = tuple(look.streams)
    assert match_people(look, owners_of(look), unsure) == {"S02.snirf": "S01"}
    write_pair(tmp_path, "S03", np.random.default_rng(9), seconds=300)
    for end in ("vhdr", "vmrk", "eeg"):  # a third file that has the same events
        content = (tmp_path / f"S01.{end}").read_bytes()
        (tmp_path / f"S04.{end}").write_bytes(content)
    look = look_at(tmp_path)
    assert match_people(look, owners_of(look), tuple(look.streams)) == {}


def test_both_in_one_file_are_on_one_clock(rng, tmp_path):
    folder, xdf = tmp_path / "data", Xdf()
    folder.mkdir()
    times_s, n_times = 9 + np.arange(6000) / 100, 600
    rows = [{"label": n, "type": "EEG", "unit": "uV"} for n in ("Cz", "Pz")]
    xdf.header(1, name="amp", kind="EEG", n_channels=2, rate_hz=100, channels=rows)
    xdf.samples(1, times_s, 50 * rng.normal(size=(6000, 2)))
    names = [f"S1_D1 {nm}" for nm in (760, 850)]
    rows = [{"label": n, "type": "NIRS"} for n in names]
    xdf.header(2, name="nirs", kind="NIRS", n_channels=2, rate_hz=10, channels=rows)
    xdf.samples(2, 9 + np.arange(n_times) / 10, rng.uniform(1, 2, (n_times, 2)))
    xdf.header(3, name="marks", kind="Markers", n_channels=1, rate_hz=0, form="string")
    xdf.marks(3, 9 + np.array([3.0, 11, 26, 31, 52]), "abcde")
    xdf.write(folder / "P1.xdf")
    _, written, store = from_folder_to_store(folder, tmp_path)
    assert "synchrony" not in written["dataset"]
    with store.person("P1") as stored:
        (trial,) = stored.trials()
    assert trial.clock == {}
    assert trial.eeg is not None
    assert trial.fnirs is not None
