import threading

import numpy as np
import pytest
import stored
from stored import GRID, make_store, make_trials

from merps.batches import WindowSet
from merps.errors import DataError, InputError
from merps.store import Store
from merps.windows import WindowGrid, gather_windows, labeled_seconds

RULE = WindowGrid(**GRID)


@pytest.fixture(scope="module")
def trials():
    return make_trials(np.random.default_rng(3))


@pytest.fixture(scope="module")
def opened(trials, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("batches") / "store", trials)


def expected_windows(trials, modality, people=("test_2", "test_10")):
    return np.concatenate(
        [
            gather_windows(recording, RULE, n_windows=labeled_seconds(trial))
            for person in people
            for trial in trials[person]
            if (recording := getattr(trial, modality)) is not None
        ]
    )


def threads_of_batches():
    return [t for t in threading.enumerate() if t.name.startswith("merps-batches")]


# Which windows there are


def test_index_tells_whose_window_it_is_and_leaves_absent_signals_out(opened, trials):
    windows = WindowSet(opened, RULE, modality="eeg")
    assert len(windows) == 6 + 1 + 3 + 7
    assert windows.people.tolist() == ["test_2"] * 10 + ["test_10"] * 7
    assert windows.stimuli.tolist() == ["V01"] * 6 + ["V02"] + ["V03"] * 3 + ["V02"] * 7
    assert windows.seconds.tolist() == [*range(6), 0, *range(3), *range(7)]
    first, second, _ = trials["test_2"]
    np.testing.assert_array_equal(windows.targets[:6], first.targets)
    np.testing.assert_array_equal(windows.targets[6:7], second.targets)
    assert np.isnan(windows.targets[7:10]).all()
    np.testing.assert_array_equal(windows.targets[10:], trials["test_10"][1].targets)
    fnirs = WindowSet(opened, RULE, modality="fnirs")
    assert fnirs.stimuli.tolist() == ["V01"] * 6 + ["V03"] * 3 + ["V01"] * 5 + (
        ["V02"] * 7
    )
    assert fnirs.format.kinds == ("HbO", "Abs780")
    assert fnirs.format.unit == ("a.u.", "1")
    assert fnirs.format.shape == (2, 4, 10)
    one = WindowSet(opened, RULE, modality="eeg", people=["test_10"])
    assert set(one.people) == {"test_10"}


# Gathering


@pytest.mark.parametrize("modality", ["eeg", "fnirs"])
def test_gather_equals_the_windows_of_each_trial(opened, trials, modality, rng):
    windows = WindowSet(opened, RULE, modality=modality)
    expected = expected_windows(trials, modality)
    everything = windows.gather(np.arange(len(windows)))
    np.testing.assert_array_equal(everything, expected)
    assert np.isnan(everything).any()
    assert everything.dtype == np.float32
    rows = rng.integers(len(windows), size=40)  # any order, some twice
    np.testing.assert_array_equal(windows.gather(rows), expected[rows])
    assert windows.gather(rows[:0]).shape == (0, *windows.format.shape)


def test_gather_writes_into_the_array_it_is_given(opened, trials):
    windows = WindowSet(opened, RULE, modality="eeg")
    rows = np.array([12, 0, 5])
    expected = expected_windows(trials, "eeg")[rows]
    for out in (np.zeros((3, 3, 40)), np.zeros((6, 3, 80), np.float32)[::2, :, ::2]):
        assert windows.gather(rows, out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_signals_of_double_precision_become_single(tmp_path, rng, channels):
    trials = make_trials(rng, dtype="f8", channels=channels)
    windows = WindowSet(make_store(tmp_path / "s", trials), RULE, modality="eeg")
    found = windows.gather(np.arange(len(windows)))
    assert found.dtype == np.float32
    expected = expected_windows(trials, "eeg")
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert found.shape[1] == channels


def test_files_are_opened_once_when_first_needed(opened, monkeypatch):
    asked, person = [], Store.person
    windows = WindowSet(opened, RULE, modality="eeg")
    monkeypatch.setattr(
        Store, "person", lambda self, name: asked.append(name) or person(self, name)
    )
    windows.gather(np.array([11, 12]))
    assert asked == ["test_10"]
    for _ in windows.batches(batch_size=4, rng=None):
        pass
    assert asked == ["test_10", "test_2"]
    windows.close()
    windows.gather(np.array([0]))
    assert asked == ["test_10", "test_2", "test_2"]


def test_threads_may_gather_at_the_same_time(opened, trials):
    windows = WindowSet(opened, RULE, modality="eeg")
    rows = np.arange(len(windows))
    found = {}

    def work(name):
        found[name] = windows.gather(rows)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in found.values():
        np.testing.assert_array_equal(own, expected_windows(trials, "eeg"))
    assert len(found) == 8


# Batches


@pytest.mark.parametrize("batch_size", [1, 4, 17, 100])
def test_batches_hold_each_window_once_with_its_target(opened, trials, batch_size):
    windows = WindowSet(opened, RULE, modality="eeg")
    expected = expected_windows(trials, "eeg")
    for rng in (None, np.random.default_rng(0)):
        batches = list(windows.batches(batch_size=batch_size, rng=rng))
        rows = np.concatenate([batch.rows for batch in batches])
        assert sorted(rows) == list(range(len(windows)))
        if rng is None:
            assert list(rows) == sorted(rows)
        assert {len(batch.rows) for batch in batches[:-1]} <= {batch_size}
        for batch in batches:
            np.testing.assert_array_equal(batch.windows, expected[batch.rows])
            np.testing.assert_array_equal(batch.targets, windows.targets[batch.rows])
            assert batch.windows.flags.writeable


def test_seed_decides_the_order_and_each_round_has_another(opened):
    windows = WindowSet(opened, RULE, modality="fnirs")

    def order(rng):
        batches = windows.batches(batch_size=5, rng=rng)
        return [int(row) for batch in batches for row in batch.rows]

    rng, twin = np.random.default_rng(8), np.random.default_rng(8)
    first, second = order(rng), order(rng)
    assert [first, second] == [order(twin), order(twin)]
    assert first != second


def test_batches_of_some_rows_are_of_those_rows(opened):
    windows = WindowSet(opened, RULE, modality="eeg")
    rows = np.flatnonzero(~np.isnan(windows.targets).any(axis=1))
    batches = windows.batches(batch_size=4, rng=np.random.default_rng(0), rows=rows)
    assert sorted(row for batch in batches for row in batch.rows) == rows.tolist()
    assert list(windows.batches(batch_size=4, rng=None, rows=rows[:0])) == []


def test_next_batch_is_gathered_while_one_is_worked_on(opened, monkeypatch):
    windows = WindowSet(opened, RULE, modality="eeg")
    gather, started = windows.gather, []
    second = threading.Event()

    def watched(rows, out=None):
        started.append(threading.current_thread())
        if len(started) == 2:
            second.set()
        return gather(rows, out)

    monkeypatch.setattr(windows, "gather", watched)
    batches = windows.batches(batch_size=2, rng=None)
    assert not started  # nothing runs before the first batch is asked for
    next(batches)
    assert second.wait(10)
    batches.close()
    assert len(started) == 2  # and no more than one ahead
    assert threading.current_thread() not in started


def test_stopping_early_or_failing_leaves_no_thread(opened):
    windows = WindowSet(opened, RULE, modality="eeg")
    batches = windows.batches(batch_size=2, rng=None)
    next(batches)
    assert threads_of_batches()
    batches.close()
    assert not threads_of_batches()

    def train():
        for _ in windows.batches(batch_size=2, rng=None):
            raise RuntimeError("out of ideas")

    with pytest.raises(RuntimeError, match="out of ideas"):
        train()
    assert not threads_of_batches()


def test_a_file_damaged_since_is_an_error_of_the_caller(tmp_path, rng):
    damaged = make_store(tmp_path / "store", make_trials(rng))
    windows = WindowSet(damaged, RULE, modality="eeg")
    stored.damage(damaged, "test_10")
    batches = windows.batches(batch_size=5, rng=None)
    next(batches)
    with pytest.raises(DataError, match=r"test_10-0+\.h5: expected digest"):
        list(batches)
    assert not threads_of_batches()
    with pytest.raises(DataError, match="expected digest"):
        WindowSet(damaged, RULE, modality="fnirs")


# What is refused


def test_unknown_names_and_no_windows_are_refused(opened, tmp_path, rng):
    with pytest.raises(InputError, match="no modality 'gsr'; there are eeg, fnirs"):
        WindowSet(opened, RULE, modality="gsr")
    with pytest.raises(InputError, match="has no person 'test_3'"):
        WindowSet(opened, RULE, modality="eeg", people=["test_3"])
    with pytest.raises(InputError, match=r"not one window of eeg .* of 0 people"):
        WindowSet(opened, RULE, modality="eeg", people=[])
    lone = stored.make_trial(rng, "test_1", "V01", 3, ("fnirs",))
    single = make_store(tmp_path / "s", {"test_1": [lone]})
    with pytest.raises(InputError, match="not one window of fnirs signals"):
        WindowSet(single, RULE, modality="fnirs")


def test_people_of_different_montages_are_refused_together(tmp_path, rng):
    trials = make_trials(rng)
    trials["test_1"] = [stored.make_trial(rng, "test_1", "V01", 3, channels=2)]
    mixed = make_store(tmp_path / "store", trials)
    with pytest.raises(DataError, match=r"test_2, V01: eeg channels is .*E2.*, and"):
        WindowSet(mixed, RULE, modality="eeg")
    assert len(WindowSet(mixed, RULE, modality="eeg", people=["test_1"])) == 3


def test_rows_and_arrays_that_do_not_fit_are_refused(opened):
    windows = WindowSet(opened, RULE, modality="eeg")
    with pytest.raises(InputError, match=r"rows must lie in 0\.\.16, got -1\.\.3"):
        windows.gather(np.array([3, -1]))
    with pytest.raises(InputError, match=r"got 17\.\.17"):
        windows.batches(batch_size=1, rng=None, rows=np.array([17]))
    with pytest.raises(InputError, match=r"shape \(2, 3, 40\), got \(2, 3, 41\)"):
        windows.gather(np.array([0, 1]), np.empty((2, 3, 41)))
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        windows.batches(batch_size=0, rng=None)
