import csv
import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import h5py
import numpy as np
import pytest
import stored
from stored import ORIGIN, make_store, make_trials
from test_cli import content_of, merps

from merps.config import load_config
from merps.errors import DataError, InputError, SpaceError
from merps.export import export_windows
from merps.store import files
from merps.store.images import Image
from merps.windows import WindowGrid, gather_windows, labeled_seconds

CONFIG = load_config(
    None, ["windows.window_s=2", "windows.lag_s=0.5", "fnirs_windows.window_s=3"]
)
GRIDS = {"eeg": WindowGrid(2.0, 1.0, 0.5, 0.0), "fnirs": WindowGrid(3.0, 1.0, 0.0, 0.0)}
NAMES = [f"{p}-{m}" for p in ("test_2", "test_10") for m in ("eeg", "fnirs")]


@pytest.fixture(scope="module")
def trials():
    return make_trials(np.random.default_rng(4))


@pytest.fixture(scope="module")
def store(trials, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("export") / "store", trials).path


def expected_tensors(trials):
    tensors = {}
    for person, own in trials.items():
        for modality, grid in GRIDS.items():
            tensors[f"{person}-{modality}"] = np.concatenate(
                [
                    gather_windows(recording, grid, n_windows=labeled_seconds(trial))
                    for trial in own
                    if (recording := getattr(trial, modality)) is not None
                ]
            ).astype(np.float32)
    return tensors


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def identities(folder):
    """What changes where a file is written again."""
    status = {path.name: path.stat() for path in folder.glob("*-*")}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in status.items()}


# What is in the files


def test_arrays_equal_the_windows_of_the_recordings(store, trials, tmp_path):
    done = export_windows(store, tmp_path / "out", config=CONFIG)
    expected = expected_tensors(trials)
    assert sorted(expected) == sorted(NAMES)
    for name, tensor in expected.items():
        path = tmp_path / "out" / f"{name}.npy"
        found = np.load(path, mmap_mode="r")
        np.testing.assert_array_equal(found, tensor)
        assert np.isnan(found).any()
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
    sizes = [(tmp_path / "out" / f"{name}.npy").stat().st_size for name in NAMES]
    assert (done.files, done.skipped, done.bytes) == (4, 0, sum(sizes))
    assert done.windows == sum(map(len, expected.values()))


def test_blocks_of_an_image_can_be_taken_anew(store, trials, tmp_path, monkeypatch):
    taken = []
    reserve = Image.reserve

    def look(image, group, name, blocks, *rest):
        taken.append([np.concatenate([b.copy() for b in blocks]) for _ in range(2)])
        return reserve(image, group, name, blocks, *rest)

    monkeypatch.setattr(Image, "reserve", look)
    out = tmp_path / "out"
    export_windows(store, out, file_format="hdf5", config=CONFIG, jobs=1)
    assert len(taken) == len(NAMES)
    tensors = expected_tensors(trials)
    for (first, second), name in zip(taken, tensors, strict=True):
        np.testing.assert_array_equal(first, tensors[name])
        np.testing.assert_array_equal(second, first)


def test_hdf5_files_hold_the_same_and_say_what_it_is(store, trials, tmp_path):
    out = tmp_path / "out"
    export_windows(store, out, file_format="hdf5", config=CONFIG)
    for name, tensor in expected_tensors(trials).items():
        person, modality = name.split("-")
        own = [t for t in trials[person] if getattr(t, modality) is not None]
        with h5py.File(out / f"{name}.h5") as file:
            np.testing.assert_array_equal(file["windows"][:], tensor)
            np.testing.assert_array_equal(file["windows"][2, ..., 3], tensor[2, ..., 3])
            assert file["windows"].chunks is None
            stimuli = [t.stimulus for t in own for _ in range(labeled_seconds(t))]
            assert file["stimuli"].asstr()[:].tolist() == stimuli
            assert len(file["seconds"]) == len(file["targets"]) == len(tensor)
            np.testing.assert_array_equal(file["targets"][:5], own[0].targets[:5])
            facts = file["windows"].attrs
            recording = getattr(own[0], modality)
            assert tuple(facts["channels"]) == recording.channels
            assert tuple(facts["kinds"]) == recording.kinds
            assert facts["rate_hz"] == recording.rate_hz
            assert facts["window_s"] == GRIDS[modality].window_s
            assert file.attrs["terms"] == ORIGIN["terms"]
            assert file.attrs["person"] == person


def test_index_has_a_line_for_each_window(store, trials, tmp_path):
    out = tmp_path / "out"
    export_windows(store, out, config=CONFIG)
    with open(out / "index.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    targets = {
        (t.person, t.stimulus): t.targets for own in trials.values() for t in own
    }
    seen = []
    for line in lines:
        rated = targets[line["person"], line["stimulus"]]
        if rated is None:
            assert (line["valence"], line["arousal"]) == ("", "")
        else:
            now = rated[int(line["second"])]
            assert (float(line["valence"]), float(line["arousal"])) == tuple(now)
        seen.append((line["file"], int(line["row"])))
    assert seen == [
        (f"{name}.npy", row)
        for name in NAMES
        for row in range(len(np.load(out / f"{name}.npy")))
    ]


def test_terms_stand_beside_the_data_in_a_private_folder(store, tmp_path):
    out = tmp_path / "deep" / "out"
    export_windows(store, out, config=CONFIG)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert (out / ".gitignore").read_text() == "*\n"
    for text in (ORIGIN["terms"], "eval-only", "mer-ps", "index.csv"):
        assert text in (out / "README.txt").read_text()
    card = json.loads((out / "export.json").read_text())
    assert {name: card[name] for name in ORIGIN} == ORIGIN
    assert card["windows"]["fnirs"]["window_s"] == 3.0
    facts = card["files"]["test_2-fnirs.npy"]
    assert facts["shape"] == list(np.load(out / "test_2-fnirs.npy").shape)
    assert facts["channels"] == ["a", "b", "c", "d"]
    assert (facts["kinds"], facts["unit"]) == (["HbO", "Abs780"], ["a.u.", "1"])


@pytest.mark.parametrize("file_format", ["npy", "hdf5"])
def test_bytes_do_not_depend_on_jobs_or_size_of_blocks(
    store, tmp_path, file_format, monkeypatch
):
    options = {"file_format": file_format, "config": CONFIG}
    export_windows(store, tmp_path / "a", jobs=1, **options)
    monkeypatch.setattr("merps.export._CHUNK_BYTES", 1)  # one window at a time
    export_windows(store, tmp_path / "b", jobs=2, **options)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_double_precision_one_channel_and_one_window_become_files(tmp_path, rng):
    trial = stored.make_trial(rng, "p1", "V01", 1, channels=1, dtype="f8")
    small = make_store(tmp_path / "store", {"p1": [trial]})
    export_windows(small.path, tmp_path / "out", config=CONFIG)
    found = np.load(tmp_path / "out" / "p1-eeg.npy")
    assert found.shape == (1, 1, 40)
    expected = gather_windows(trial.eeg, GRIDS["eeg"], n_windows=1)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_one_modality_may_be_chosen_or_be_all_there_is(store, tmp_path, rng):
    done = export_windows(store, tmp_path / "out", modalities=["fnirs"], config=CONFIG)
    assert done.files == 2
    assert {p.name for p in (tmp_path / "out").glob("*.npy")} == {
        "test_2-fnirs.npy",
        "test_10-fnirs.npy",
    }
    trial = stored.make_trial(rng, "p1", "V01", 3, ("fnirs",))
    lone = make_store(tmp_path / "store", {"p1": [trial]})
    assert export_windows(lone.path, tmp_path / "lone", config=CONFIG).files == 1
    with pytest.raises(InputError, match="not one window of fnirs signals to export"):
        export_windows(lone.path, tmp_path / "no", modalities=["fnirs"], config=CONFIG)
    assert not (tmp_path / "no").exists()


def test_memory_does_not_grow_with_the_number_of_windows(tmp_path, rng):
    # In a process of its own, without the checks of types, which take memory.
    code = """
        import sys, tracemalloc
        from merps.export import export_windows
        tracemalloc.start()
        done = export_windows(sys.argv[1], sys.argv[2])
        print(done.windows, done.bytes, tracemalloc.get_traced_memory()[1])
    """
    told = {}
    for seconds in (100, 1000):
        trial = stored.make_trial(rng, "p1", "V01", seconds, ("fnirs",), channels=32)
        path = make_store(tmp_path / f"store{seconds}", {"p1": [trial]}).path
        command = [sys.executable, "-c", dedent(code), path, tmp_path / f"o{seconds}"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        told[seconds] = [int(number) for number in result.stdout.split()]
    windows, n_bytes, peak = told[1000]
    assert n_bytes - told[100][1] == 900 * 32 * 80 * 4
    assert windows == 1000
    # What grows is the index alone, some hundred bytes a window.
    assert peak - told[100][2] < 900 * 500


# Doing it again


@pytest.mark.parametrize("file_format", ["npy", "hdf5"])
def test_finished_files_are_kept_and_others_made(store, tmp_path, file_format):
    out = tmp_path / "out"
    options = {"file_format": file_format, "config": CONFIG}
    export_windows(store, out, **options)
    before, former = content(out), identities(out)
    again = export_windows(store, out, **options)
    assert (again.files, again.skipped) == (4, 4)
    assert again.bytes == sum(path.stat().st_size for path in out.glob("*-*"))
    assert identities(out) == former
    gone, cut, *_ = sorted(former)
    (out / gone).unlink()
    (out / cut).write_bytes(before[cut][:-1])
    (out / "index.csv").unlink()
    again = export_windows(store, out, **options)
    assert again.skipped == 2
    assert content(out) == before
    kept = identities(out)
    assert {n for n in former if kept[n] == former[n]} == former.keys() - {gone, cut}


def test_a_person_preprocessed_anew_is_written_anew(tmp_path, rng):
    trials, out = make_trials(rng), tmp_path / "out"
    make_store(tmp_path / "store", trials)
    export_windows(tmp_path / "store", out, config=CONFIG)
    trials["test_2"] = [stored.make_trial(rng, "test_2", "V01", 4)]
    make_store(tmp_path / "store", {"test_2": trials["test_2"]}, key="1" * 32)
    assert export_windows(tmp_path / "store", out, config=CONFIG).skipped == 2
    for name, tensor in expected_tensors(trials).items():
        np.testing.assert_array_equal(np.load(out / f"{name}.npy"), tensor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, r"windows was .*'window_s': 2.0.*, and is .*4.0"),
        ({"file_format": "hdf5"}, "file_format was npy, and is hdf5 now"),
        ({"modalities": ["eeg"]}, "windows was .*; choose another folder"),
    ],
)
def test_an_export_with_other_options_is_not_mixed_in(store, tmp_path, change, message):
    export_windows(store, tmp_path / "out", config=CONFIG)
    before = content(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        export_windows(store, tmp_path / "out", **({"config": CONFIG} | change))
    assert content(tmp_path / "out") == before


# What goes wrong


def test_folders_that_hold_other_things_are_refused(store, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"no export \(it holds 'thesis.txt'\)"):
        export_windows(store, tmp_path / "mine", config=CONFIG)
    assert content(tmp_path / "mine") == {"thesis.txt": b"years of work"}
    with pytest.raises(InputError, match="is a file; choose a folder"):
        export_windows(store, tmp_path / "mine" / "thesis.txt", config=CONFIG)
    with pytest.raises(InputError, match="is not empty and no export"):
        export_windows(store, store, config=CONFIG)
    with pytest.raises(DataError, match=r"no such folder; make it with"):
        export_windows(tmp_path / "nothing", tmp_path / "out", config=CONFIG)
    export_windows(store, tmp_path / "out", config=CONFIG)
    (tmp_path / "out" / "export.json").write_text("{}")
    with pytest.raises(DataError, match="remove the folder and export again"):
        export_windows(store, tmp_path / "out", config=CONFIG)


def test_a_damaged_person_stops_it_before_anything_is_written(tmp_path, rng):
    damaged = make_store(tmp_path / "store", make_trials(rng))
    stored.damage(damaged, "test_10")
    with pytest.raises(DataError, match=r"test_10-0+\.h5: expected digest"):
        export_windows(damaged.path, tmp_path / "out", config=CONFIG)
    assert not (tmp_path / "out").exists()


def test_space_is_asked_for_before_anything_is_written(store, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free_bytes", lambda path: 1000)
    with pytest.raises(SpaceError, match=r"needs about 0\.\d MB, and only 0\.0 MB"):
        export_windows(store, tmp_path / "out", config=CONFIG)
    assert not (tmp_path / "out").exists()


class _Broken:
    """Makes one of the calls that end a write fail; nothing is really synced."""

    def __init__(self, monkeypatch, failing):
        self.left = failing
        self._replace = os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, handle):
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def replace(self, source, target):
        self.fsync(None)
        self._replace(source, target)


def test_an_error_at_any_call_leaves_whole_files_and_can_be_resumed(
    store, tmp_path, monkeypatch
):
    options = {"config": CONFIG, "jobs": 1, "modalities": ["eeg"]}
    with monkeypatch.context() as patch:
        counter = _Broken(patch, 0)
        export_windows(store, tmp_path / "good", **options)
    good = content(tmp_path / "good")
    assert -counter.left > 20
    for failing in range(1, 1 - counter.left):
        out = tmp_path / str(failing)
        with monkeypatch.context() as patch:
            _Broken(patch, failing)
            with pytest.raises(SpaceError, match="No space left on device"):
                export_windows(store, out, **options)
            found = content(out)
            assert found.keys() <= good.keys()
            for name in found.keys() - {"export.json"}:
                assert found[name] == good[name]
            if any(name.endswith(".npy") for name in found):
                assert {"README.txt", ".gitignore", "export.json"} <= found.keys()
            export_windows(store, out, **options)
        assert content(out) == good


def test_unknown_choices_are_refused(store, tmp_path):
    result = merps("export", store, "--out", tmp_path / "o", "--format", "mat")
    assert result.exit_code == 2
    assert "no file format 'mat'; there are npy, hdf5" in result.stderr
    result = merps("export", store, "--out", tmp_path / "o", "--modality", "gsr")
    assert result.exit_code == 2
    assert "no modality 'gsr'; there are eeg, fnirs" in result.stderr
    assert not (tmp_path / "o").exists()


# The command


def test_the_command_writes_files_and_tells_how_many(store, trials, tmp_path):
    arguments = ["export", store, "--out", tmp_path / "out", "--modality", "eeg"]
    arguments += ["--set", "windows.window_s=2", "--set", "windows.lag_s=0.5"]
    result = merps(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    told = content_of(result)
    assert {name: told[name] for name in ("files", "windows", "skipped")} == {
        "files": 2,
        "windows": 17,
        "skipped": 0,
    }
    paths = list(Path(tmp_path / "out").glob("*.npy"))
    assert told["bytes"] == sum(path.stat().st_size for path in paths)
    tensor = expected_tensors(trials)["test_10-eeg"]
    found = np.load(tmp_path / "out" / "test_10-eeg.npy")
    np.testing.assert_array_equal(found, tensor)
    result = merps(*arguments)
    assert "17 windows in 2 files, 2 of them there before" in result.stdout
