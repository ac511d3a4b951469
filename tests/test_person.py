from concurrent.futures import ThreadPoolExecutor

import broken
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from test_mer_ps import read

from merps.datasets.mer_ps import TrialFailure, open_dataset
from merps.errors import DataError, InputError

PARTS = ("eeg", "fnirs")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return broken.make_folder(tmp_path_factory.mktemp("good") / "data set")


def recordings(trial):
    """Every signal of a trial by name."""
    found = {part: getattr(trial, part) for part in PARTS}
    found |= {f"rest {part}": getattr(trial.baseline, part) for part in PARTS}
    return {name: recording for name, recording in found.items() if recording}


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, TrialFailure):
        assert actual == expected
        return
    facts = ("person", "stimulus", "notes")
    for name in facts:
        assert getattr(actual, name) == getattr(expected, name)
    np.testing.assert_array_equal(actual.targets, expected.targets)
    assert recordings(actual).keys() == recordings(expected).keys()
    for name, recording in recordings(expected).items():
        other = recordings(actual)[name]
        np.testing.assert_array_equal(other.signal, recording.signal, strict=True)
        assert (other.rate_hz, other.start_s) == (recording.rate_hz, recording.start_s)
        assert (other.mask is None) == (recording.mask is None)
        assert other.mask is None or (other.mask == recording.mask).all()


def changed(good, tmp_path, name, edit, *, compress=False):
    """Return a copy of the good folder with one file of test_2 edited."""
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    path = broken.file_of(root, name)
    arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    edit(arrays)
    savemat(path, arrays, do_compression=compress)
    return root


@pytest.mark.parametrize("name", broken.MUTATIONS)
def test_threads_find_what_reading_in_order_finds(good, tmp_path, name):
    root = broken.break_copy(good, tmp_path / "folder", name)
    try:
        dataset = open_dataset(root)
    except DataError:
        assert not broken.GOOD_PEOPLE[name]
        return
    for person in dataset.people:
        expected = list(dataset.trials(person))
        with dataset.open_person(person) as opened, ThreadPoolExecutor(2) as pool:
            assert list(opened.failures) == expected[: len(opened.failures)]
            assert opened.silent() == []
            last_first = list(pool.map(opened.read, opened.plans[::-1]))
            items = [item for group in last_first[::-1] for item in group]
            items = [*opened.failures, *items, *opened.silent()]
        assert len(items) == len(expected)
        for actual, one in zip(items, expected, strict=True):
            assert_same(actual, one)


def test_signals_are_shown_where_they_lie_and_may_be_released(good):
    dataset = open_dataset(good)
    expected, _ = read(good)
    with dataset.open_person("test_2") as opened:
        for plan in opened.plans:
            (trial,), (again,) = opened.read(plan), opened.read(plan)
            for name, recording in recordings(trial).items():
                assert not recording.signal.flags.writeable
                assert recording.signal.flags.f_contiguous
                other = recordings(again)[name].signal
                assert np.shares_memory(recording.signal, other)
            opened.release(plan)
            opened.release(plan)
            assert_same(trial, expected[plan.stimulus])
    assert_same(trial, expected["V03"])  # also when the files are closed
    with pytest.raises(InputError, match="is closed"):
        opened.release(plan)


def test_trials_keep_arrays_of_their_own(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    trials, _ = read(root)
    expected, _ = read(good)
    path = broken.file_of(root, "EEG_videos")
    path.write_bytes(bytes(path.stat().st_size))
    for stimulus, trial in trials.items():
        assert_same(trial, expected[stimulus])
        for recording in recordings(trial).values():
            recording.signal[...] = 0
            assert recording.signal.flags.f_contiguous


@pytest.mark.parametrize("compress", [False, True])
def test_marking_samples_leaves_the_file_and_the_other_parts_alone(
    good, tmp_path, compress
):
    def spoil(arrays):
        arrays["video_1"][3, :7] = np.inf
        arrays["video_1"][4, 9] = -np.inf
        arrays["video_2"][:, 5] = np.nan

    root = changed(good, tmp_path, "EEG_videos", spoil, compress=compress)
    before = broken.file_of(root, "EEG_videos").read_bytes()
    saved = loadmat(broken.file_of(root, "EEG_videos"))
    with open_dataset(root).open_person("test_2") as opened:
        (first,), (second,), _ = map(opened.read, opened.plans)
    assert first.notes == ("8 infinite samples of eeg are missing",)
    assert second.notes == ()
    kept = np.isfinite(saved["video_1"])
    np.testing.assert_array_equal(first.eeg.signal[kept], saved["video_1"][kept])
    assert np.isnan(first.eeg.signal[~kept]).all()
    assert first.eeg.signal.flags.f_contiguous
    np.testing.assert_array_equal(second.eeg.signal, saved["video_2"])
    assert second.eeg.signal.flags.writeable == compress  # nothing to mark, no copy
    assert not first.fnirs.signal.flags.writeable
    assert broken.file_of(root, "EEG_videos").read_bytes() == before


def test_huge_samples_are_finite(good, tmp_path):
    def spoil(arrays):
        arrays["video_1"][:] = 1e308  # their sum is not
        arrays["video_2"][:, ::2], arrays["video_2"][:, 1::2] = -1e308, 1e308
        arrays["video_3"] = np.full_like(arrays["video_3"], 3e38, dtype=np.float32)

    root = changed(good, tmp_path, "EEG_videos", spoil)
    saved = loadmat(broken.file_of(root, "EEG_videos"))
    trials, failures = read(root)
    assert failures == []
    for number, trial in enumerate(trials.values(), 1):
        assert trial.notes == ()
        np.testing.assert_array_equal(
            trial.eeg.signal, saved[f"video_{number}"], strict=True
        )


def test_infinite_samples_of_a_missing_channel_are_not_counted(good, tmp_path):
    def spoil(arrays):
        arrays["video_1"][:, 50] = np.inf
        arrays["video_2"][:, :50] = np.nan  # only the missing channel has samples

    root = changed(good, tmp_path, "fNIRS_videos", spoil)
    broken.edit_lines(
        root / "fNIRS_reservations.csv", lambda lines: [*lines[:2], lines[2][:-1] + "0"]
    )
    with open_dataset(root).open_person("test_2") as opened:
        (first,), (second,), _ = map(opened.read, opened.plans)
        (failure,) = opened.silent()
    assert first.notes == ()
    assert np.isnan(first.fnirs.signal[:, 50]).all()
    assert np.isfinite(first.fnirs.signal[:, :50]).all()
    assert second.fnirs is None
    assert failure.stimulus == "V02"
    assert "fNIRS_videos.mat: expected finite samples" in failure.message


def test_an_unknown_person_is_refused_at_once(good):
    with pytest.raises(InputError, match=r"no person 'test_9' in .* test_1, test_2"):
        open_dataset(good).open_person("test_9")


def test_a_trial_without_a_signal_left_gives_only_its_failures(good, tmp_path):
    def spoil(arrays):
        for array in arrays.values():
            array[:] = np.nan

    root = changed(good, tmp_path, "EEG_videos", spoil)
    for name in ("fNIRS_videos", "fNIRS_baselines"):
        broken.file_of(root, name).unlink()
    with open_dataset(root).open_person("test_2") as opened:
        assert [opened.read(plan) for plan in opened.plans] == [[], [], []]
        (failure,) = opened.silent()
    assert failure.stimulus is None
    assert "none in V01, V02, V03" in failure.message
    assert list(open_dataset(root).trials("test_2")) == [failure]


def test_a_person_who_was_not_opened_has_no_plans_to_give(good):
    dataset = open_dataset(good)
    with pytest.raises(InputError, match="open the person in a with block first"):
        _ = dataset.open_person(dataset.people[0]).plans
