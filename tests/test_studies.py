"""The studies in docs run on data in the format of theirs, and say what is wrong."""

import gzip
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import recorded

STUDIES = Path(__file__).parents[1] / "docs" / "studies"
SUBJECTS = ("01", "02")
N_WINDOWS = 19


@pytest.fixture(autouse=True)
def studies_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))


def load(name):
    return importlib.import_module(name)


def write_nback(path, blocks, levels, *, columns=None):
    """Cut blocks, (time, signal), into windows of 10 samples every 3."""
    columns = columns or load("nback")._COLUMNS
    lines, chunk = [",".join(columns)], 0
    for x_tc, level in zip(blocks, levels, strict=True):
        for start in range(0, len(x_tc) - 9, 3):
            own = x_tc[start : start + 10].tolist()
            lines += [",".join(map(repr, [*row, level, chunk])) for row in own]
            chunk += 1
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def make_blocks(rng):
    """Random walks, in which the first signal rises with the level."""
    n_times = 10 + 3 * (N_WINDOWS - 1)
    walk = np.cumsum(rng.normal(size=(8, n_times, 8)), axis=1)
    walk[..., 0] += np.array(load("nback").ORDER)[:, None] * np.arange(n_times)
    return walk


@pytest.fixture
def nback_data(tmp_path, rng):
    order = load("nback").ORDER
    for subject in SUBJECTS:
        write_nback(tmp_path / f"sub_{subject}.csv.gz", make_blocks(rng), order)
    return tmp_path


def numbers(lines):
    """Return MAE and Pearson of each row."""
    return {
        line[:3]: tuple(float(cell.split()[0]) for cell in line[3:6:2])
        for line in lines
    }


def test_windows_give_back_the_series_they_were_cut_from(tmp_path, rng):
    nback, path = load("nback"), tmp_path / "sub_01.csv.gz"
    blocks = make_blocks(rng)
    write_nback(path, blocks, nback.ORDER)
    np.testing.assert_array_equal(nback.read_blocks(path), blocks)
    first = nback.trials("S01", nback.read_blocks(path))[0].fnirs
    np.testing.assert_array_equal(first.signal[0, 0], blocks[0, :, 0])  # AB_I_O
    np.testing.assert_array_equal(first.signal[1, 3], blocks[0, :, 7])  # CD_PHI_DO


def test_time_tells_the_label_until_blocks_are_held_out(nback_data):
    found = numbers(load("nback").run(nback_data, subjects=SUBJECTS, jobs=1))
    for model in ("block position", "position and second", "time since start"):
        mae, pearson = found["recorded", "people", model]
        assert mae < 0.1
        assert pearson > 0.95
    constant = found["recorded", "both", "constant"]
    assert found["recorded", "both", "block position"] == constant
    assert found["recorded", "both", "time since start"][0] > constant[0] - 0.2
    assert found["recorded", "both", "signals"][1] > 0.7
    assert found["recorded", "halves", "signals"][1] > 0.3
    assert found["recorded", "halves", "constant"] == (1.0, 0.0)


def write_eegmat(folder, rng, subjects, *, seconds=9):
    """Write EEG of 1, 10, 100 ... microvolts and an ECG that is far larger."""
    names = [f"EEG {name}" for name in load("eegmat").CHANNELS]
    for k, subject in enumerate(subjects):
        signal = rng.normal(size=(len(names) + 2, 500 * seconds))
        signal[:-2] *= 10.0**k
        signal[-2:] *= 10_000
        recorded.write_edf(
            folder / f"Subject{subject}_2.edf",
            signal,
            [*names, "EEG A2-A1", "ECG ECG"],
            rate_hz=500,
        )


def test_a_background_is_the_own_eeg_of_one_person(tmp_path, rng):
    eegmat = load("eegmat")
    write_eegmat(tmp_path, rng, SUBJECTS)
    for k, subject in enumerate(SUBJECTS):
        found = eegmat.background(tmp_path / f"Subject{subject}_2.edf")
        drawn = found.draw(rng, 2000, 200.0)
        assert drawn.shape == (19, 2000)
        assert 0.5 * 10**k < drawn.std(axis=1).min()
        assert drawn.std(axis=1).max() < 2 * 10**k


def test_the_planted_coupling_is_scored_beside_the_oracle(tmp_path, rng, monkeypatch):
    eegmat = load("eegmat")
    monkeypatch.setattr(eegmat, "PROTOCOLS", ("people",))
    write_eegmat(tmp_path, rng, SUBJECTS)
    lines = eegmat.run(tmp_path, subjects=SUBJECTS, video_s=(20, 22, 24), jobs=1)
    found = numbers(lines)
    models = {"constant", "video", "video_time", "bandpower", "riemannian", "oracle"}
    assert {name[2] for name in found} == models
    assert len(found) == len(models) * 2
    blind, seeing = (found[f"coupling {k}", "people", "oracle"] for k in (0, 1))
    assert seeing[0] < blind[0]


@pytest.mark.parametrize(
    ("name", "file"), [("nback", "sub_01.csv.gz"), ("eegmat", "Subject00_2.edf")]
)
def test_absent_data_end_in_one_line(name, file, tmp_path, monkeypatch, capsys):
    module = load(name)
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        load("study").main(module.__doc__, module.run, "folder")
    assert end.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / file}: expected" in line


def test_other_tables_are_refused(tmp_path, rng):
    nback, path = load("nback"), tmp_path / "sub_01.csv.gz"
    write_nback(path, make_blocks(rng), sorted(nback.ORDER))
    with pytest.raises(nback.DataError, match="blocks of the levels"):
        nback.read_blocks(path)
    columns = ("X", *nback._COLUMNS[1:])
    write_nback(path, make_blocks(rng), nback.ORDER, columns=columns)
    with pytest.raises(nback.DataError, match="columns AB_I_O"):
        nback.read_blocks(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(nback.DataError, match="a gzipped table"):
        nback.read_blocks(path)


def test_channels_that_are_not_there_are_named(tmp_path, rng):
    eegmat, path = load("eegmat"), tmp_path / "Subject00_2.edf"
    names = [f"EEG {name}" for name in eegmat.CHANNELS if name != "Cz"]
    recorded.write_edf(path, rng.normal(size=(18, 1000)), names, rate_hz=500)
    with pytest.raises(load("nback").DataError, match="none named Cz"):
        eegmat.background(path)
