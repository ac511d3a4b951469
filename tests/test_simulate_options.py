"""Options of `simulate_dataset`, where it writes, and what failures leave behind."""

import json
import logging
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from recorded import make_intensity, write_eeg, write_fnirs
from scipy.io import loadmat
from simulated import digests, names_in, write

from merps.datasets import simulate
from merps.datasets.arrays import EEG_CHANNELS
from merps.errors import DataError, InputError, LockedError, SpaceError
from merps.inspection import check_dataset
from merps.store import files

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": 0}, "people must be between 1 and 999, got 0"),
        ({"people": 1000}, "people must be between 1 and 999, got 1000"),
        ({"eeg_rate_hz": 250.0}, "eeg_rate_hz must be 200 or 1000, got 250"),
        ({"coupling": -0.1}, "coupling must be between 0 and 10, got -0.1"),
        ({"coupling": float("nan")}, "coupling must be between 0 and 10, got nan"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"layout": "test"}, "layout must be trainval or leaderboard, got 'test'"),
        ({"video_s": ()}, r"1 to 99 videos .* got \[\]"),
        ({"video_s": (6,) * 100}, "1 to 99 videos"),
        ({"video_s": (6, 3)}, r"4 to 999 whole seconds each, got \[6, 3\]"),
        ({"video_s": (6, 1000)}, "4 to 999 whole seconds"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"eeg_backgrounds": ["absent.edf"]}, "absent.edf: no such file"),
        ({"fnirs_backgrounds": ["absent.edf"]}, "absent.edf: no such file"),
    ],
)
def test_options_that_make_no_data(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


# Where it goes


def test_progress_hears_of_each_person(tmp_path):
    heard = []

    class Listener:
        def expect(self, total):
            heard.append(total)

        def done(self, unit):
            heard.append(unit)

    write(tmp_path / "out", people=3, jobs=2, video_s=[4], progress=Listener())
    assert heard == [3, "test_1", "test_2", "test_3"]


def test_an_empty_folder_is_filled(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder)
    write(link, people=1, video_s=[4])
    assert link.is_symlink()
    assert check_dataset(folder).problems == ()

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    write(".", people=1, video_s=[4])
    assert digests(Path.cwd()) == digests(folder)
    assert Path.cwd() == here


def test_parents_are_made(tmp_path):
    write(tmp_path / "a" / "b", people=1, video_s=[4])
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_not_touched(tmp_path, kind):
    out = tmp_path / "out"
    precious = out if kind == "file" else out / "precious"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("mine")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        write(out)
    assert names_in(tmp_path) == {str(precious.relative_to(tmp_path))}
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "error", [DataError("broken"), ValueError("bug"), KeyboardInterrupt()]
)
def test_a_failure_midway_leaves_nothing(tmp_path, monkeypatch, jobs, there, error):
    begun = []

    def fail_at_second(root, world, person, name, **others):
        begun.append(name)
        (root / "data" / name).mkdir(parents=True)
        if person == 1:
            raise error

    monkeypatch.setattr(simulate, "write_person", fail_at_second)
    out = tmp_path / "out"
    if there:
        out.mkdir()
    with pytest.raises(type(error)):
        write(out, people=40, jobs=jobs)
    assert len(begun) < 20  # the others were not begun
    assert [str(p) for p in tmp_path.rglob("*")] == [str(out)] * there


def test_a_failure_at_the_end_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise InputError("no")

    monkeypatch.setattr(simulate, "score_oracle", fail)
    with pytest.raises(InputError, match="no"):
        write(tmp_path / "out", people=1, video_s=[4])
    assert list(tmp_path.iterdir()) == []


def test_another_run_or_its_remains_are_not_touched(tmp_path):
    remains = tmp_path / ".out.partial"
    remains.mkdir()
    (remains / "x").touch()
    with pytest.raises(LockedError, match=re.escape(f"{remains} exists")):
        write(tmp_path / "out")
    assert names_in(tmp_path) == {".out.partial/x"}


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free_bytes", lambda path: 10**6)
    with pytest.raises(SpaceError, match=r"needs about .* only 1\.0 MB are free"):
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_need_is_estimated_well(tmp_path, monkeypatch):
    needs = []
    monkeypatch.setattr(simulate, "require_space", lambda path, n: needs.append(n))
    for compress in (True, False):
        root = write(tmp_path / str(compress), people=1, compress=compress).path
        size = sum((root / name).stat().st_size for name in names_in(root))
        assert 0.7 * needs[-1] < size < 1.2 * needs[-1]


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulate, "write_side_files", fail)
    with pytest.raises(
        SpaceError, match=r"cannot be written \(No space left on device\)"
    ):
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpaceError, match="cannot be written"):
        write(tmp_path / "file" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SpaceError, match="Permission denied"):
        write(tmp_path / "out")


def test_trials_do_not_pile_up_in_memory(tmp_path):
    def peak(n_videos):
        tracemalloc.start()
        write(tmp_path / str(n_videos), people=1, video_s=(15,) * n_videos)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is loaded once
    growth = (peak(8) - peak(2)) / 6
    rest, trial = (4 * 64 * 200 * n_seconds for n_seconds in (5, 20))
    assert growth < 1.2 * rest < trial / 3


# Real signals as the background


def spread(root, name="EEG_videos.mat", person="test_1"):
    return loadmat(root / "data" / person / name)["video_3"].std(axis=-1)


def test_recordings_as_background(rng, tmp_path):
    size_uv = rng.uniform(5, 50, size=64)
    signal = 1e-6 * size_uv[:, None] * rng.normal(size=(64, 4000))
    eeg = write_eeg(tmp_path / "a_raw.fif", signal, EEG_CHANNELS)
    write_fnirs(tmp_path / "b.snirf", make_intensity(rng))
    simulation = write(
        tmp_path / "out",
        people=1,
        coupling=0.0,
        eeg_backgrounds=[eeg],
        fnirs_backgrounds=[str(tmp_path / "*.snirf")],
    )
    assert check_dataset(simulation.path).problems == ()
    np.testing.assert_allclose(spread(simulation.path), size_uv, rtol=0.2)
    options = json.loads((simulation.path / "simulation.json").read_text())
    assert options["eeg_backgrounds"] == ["a_raw.fif"]
    assert options["fnirs_backgrounds"] == ["b.snirf"]


def test_real_recordings_as_background(tmp_path, caplog):
    folders = [SHARED / "eeg-eegmmidb-64ch", SHARED / "fnirs-homer3-51ch"]
    if not all(folder.exists() for folder in folders):
        pytest.skip(f"recordings are not in {SHARED}")
    with caplog.at_level(logging.WARNING):
        simulation = write(
            tmp_path / "out",
            people=1,
            eeg_backgrounds=[folders[0]],
            fnirs_backgrounds=[folders[1]],
        )
    assert "subjA_run01_group-nirs1.snirf" in caplog.text
    assert check_dataset(simulation.path).problems == ()
    assert 10 < np.median(spread(simulation.path)) < 100
    options = json.loads((simulation.path / "simulation.json").read_text())
    assert len(options["eeg_backgrounds"]) == 5
    assert len(options["fnirs_backgrounds"]) == 2
