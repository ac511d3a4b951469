import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import h5py
import numpy as np
import pytest

from merps.errors import DataError, InputError, LockedError, MerpsError, SpaceError
from merps.recording import Annotation, Baseline, Quality, Recording, Trial
from merps.store import (
    FileDigests,
    Store,
    StoredPerson,
    files,
    has_person,
    inputs,
    person_key,
    publish_person,
    remove_leftovers,
    require_space,
    unit_path,
    units,
)

KEY = person_key({"data/a.mat": "00"}, {"to_hz": 200.0}, 1)
ORIGIN = {"source": "mer-ps", "role": "train", "terms": "CC BY-NC-SA 4.0"}
SIDECAR = {"notes": ["V03 is absent"], "source": "mer-ps", "unclean": [0.25, None]}


def written(path):
    """What writing changes and reading, which moves the access time, does not."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def make_trials(rng, person="test_1", n_stimuli=3, n_seconds=6):
    return [
        make_trial(rng, person, f"V{number:02d}", n_seconds)
        for number in range(1, n_stimuli + 1)
    ]


def make_trial(rng, person, stimulus, n_seconds):
    def eeg(n_times, start_s):
        signal = rng.normal(size=(4, n_times)).astype(np.float32)
        signal[1] = np.nan
        return Recording(
            signal,
            rate_hz=200.0,
            start_s=start_s,
            channels=("FP1", "Ü", "CB1", "O2"),
            quantity="voltage",
            unit="uV",
            mask=np.array([False, True, False, False]),
            positions=rng.normal(size=(4, 3)),
            annotations=(Annotation(1.5, 0.25, "blink"), Annotation(3.0, 0.0, "ß")),
        )

    def fnirs(n_times, start_s):
        return Recording(
            rng.normal(size=(2, 3, n_times)).astype(np.float32),
            rate_hz=10.0,
            start_s=start_s,
            channels=("ch-1", "ch-2", "ch-3"),
            quantity=("concentration", "absorbance"),
            unit=("a.u.", "1"),
            kinds=("HbO", "Abs780"),
        )

    return Trial(
        person,
        stimulus,
        eeg=eeg(200 * n_seconds, 0.0),
        fnirs=fnirs(10 * n_seconds, -0.05),
        baseline=Baseline(eeg(1000, -5.0), fnirs(50, -5.0)),
        targets=rng.integers(1, 256, size=(n_seconds, 2)).astype(np.float64),
        notes=("label rows were time x 2", "EEG is 1 s longer than the labels"),
        quality={
            "eeg": Quality(("flat", "missing"), rng.random((4, 2), np.float32)),
            "fnirs": Quality(("missing",), rng.random((2, 3, 1), np.float32)),
        },
    )


def bare_trial(stimulus="V01", **parts):
    return Trial("test_1", stimulus, **parts)


def assert_same_recording(actual, expected):
    if expected is None:
        assert actual is None
        return
    np.testing.assert_array_equal(actual.signal, expected.signal)
    assert actual.signal.dtype == expected.signal.dtype
    for name in ("mask", "positions"):
        np.testing.assert_equal(getattr(actual, name), getattr(expected, name))
    for name in "rate_hz start_s channels quantity unit kinds annotations".split():
        assert getattr(actual, name) == getattr(expected, name)


def assert_same_trial(actual, expected):
    assert (actual.person, actual.stimulus) == (expected.person, expected.stimulus)
    assert actual.notes == expected.notes
    assert_same_recording(actual.eeg, expected.eeg)
    assert_same_recording(actual.fnirs, expected.fnirs)
    assert_same_recording(actual.baseline.eeg, expected.baseline.eeg)
    assert_same_recording(actual.baseline.fnirs, expected.baseline.fnirs)
    np.testing.assert_equal(actual.targets, expected.targets)
    assert actual.quality.keys() == expected.quality.keys()
    for name, table in expected.quality.items():
        assert actual.quality[name].measures == table.measures
        np.testing.assert_array_equal(actual.quality[name].values, table.values)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def make_store(path, **changes):
    return Store.create(path, **{"config": {"to_hz": 200.0}, **ORIGIN, **changes})


def publish(store, trials, person="test_1", key=KEY, **changes):
    return publish_person(
        store.path, person, key, trials, **{"sidecar": SIDECAR, **changes}
    )


def names(store):
    return sorted(path.name for path in (store.path / "people").iterdir())


UNIT = f"test_1-{KEY[:12]}"
WHOLE = [f"{UNIT}.h5", f"{UNIT}.json"]


# What is written comes back.


def test_trials_come_back_as_they_were(store, rng):
    trials = make_trials(rng)
    path = publish(store, reversed_list(trials))
    assert path == unit_path(store.path, "test_1", KEY)
    assert names(store) == WHOLE
    store.record("test_1", KEY)
    with Store.open(store.path).person("test_1") as person:
        assert person.person == "test_1"
        assert person.stimuli == ("V01", "V02", "V03")
        for actual, expected in zip(person.trials(), trials, strict=True):
            assert_same_trial(actual, expected)


def reversed_list(items):
    return list(reversed(items))


def test_absent_parts_stay_absent(store, rng):
    full = make_trial(rng, "test_1", "V09", 2)
    empty = replace(full.eeg, signal=np.empty((4, 0), np.float32))
    double = replace(full.eeg, signal=full.eeg.signal.astype(np.float64))
    trials = [
        bare_trial("V01"),
        bare_trial("V02", targets=full.targets),
        bare_trial("V03", eeg=empty),
        bare_trial("V04", eeg=double, notes=("",)),
        bare_trial("V05", fnirs=full.fnirs, targets=np.empty((0, 2))),
        bare_trial("V06", eeg=replace(full.eeg, signal=full.eeg.signal[:, ::2])),
        bare_trial("V07", eeg=one_channel(full.eeg)),
    ]
    with StoredPerson(publish(store, trials)) as person:
        for actual, expected in zip(person.trials(), trials, strict=True):
            assert_same_trial(actual, expected)


def one_channel(recording):
    return Recording(
        recording.signal[:1],
        rate_hz=200,
        start_s=0,
        channels=("FP1",),
        quantity="voltage",
        unit="uV",
    )


def test_many_names_and_annotations_fit(store, rng):
    n_channels = 3000
    recording = Recording(
        rng.normal(size=(n_channels, 3)),
        rate_hz=1000 / 21,
        start_s=0.1,
        channels=tuple(f"a channel with a long name {n}" for n in range(n_channels)),
        quantity="voltage",
        unit="uV",
        positions=rng.normal(size=(n_channels, 3)),
        annotations=tuple(Annotation(n / 7, 0.5, f"event {n}") for n in range(9000)),
    )
    trial = bare_trial(eeg=recording)
    with StoredPerson(publish(store, [trial])) as person:
        assert_same_trial(person.trial("V01"), trial)


def test_signals_are_page_aligned_views_that_cannot_be_written(store, rng):
    with StoredPerson(publish(store, make_trials(rng))) as person:
        for trial in person.trials():
            for signal in (
                trial.eeg.signal,
                trial.fnirs.signal,
                trial.baseline.eeg.signal,
                trial.quality["eeg"].values,
            ):
                assert np.shares_memory(signal, person._image)
                assert signal.ctypes.data % 4096 == 0
                assert signal.flags.c_contiguous
                with pytest.raises(ValueError, match="read-only"):
                    signal[...] = 0


def test_views_outlive_the_person(store, rng):
    trials = make_trials(rng)
    with StoredPerson(publish(store, trials)) as person:
        signal = person.trial("V02").eeg.signal
    np.testing.assert_array_equal(signal, trials[1].eeg.signal)
    with pytest.raises(InputError, match="has been closed"):
        person.trial("V01")


def test_the_file_is_plain_hdf5(store, rng):
    trials = make_trials(rng)
    with h5py.File(publish(store, trials), "r") as file:
        dataset = file["V02/eeg"]
        assert dataset.chunks is None
        assert dataset.dtype == np.float32
        assert dataset.attrs["rate_hz"] == 200.0
        assert list(dataset.attrs["channels"]) == ["FP1", "Ü", "CB1", "O2"]
        assert file["V02/targets"].dtype == np.float32


def test_sidecar_keeps_what_it_is_given(store, rng):
    path = publish(store, make_trials(rng), sidecar={**SIDECAR, "digest": "mine"})
    sidecar = StoredPerson(path).sidecar
    assert {name: sidecar[name] for name in SIDECAR} == SIDECAR
    assert sidecar["key"] == KEY
    assert sidecar["stimuli"] == ["V01", "V02", "V03"]
    assert sidecar["bytes"] == path.stat().st_size
    assert sidecar["digest"] != "mine"


# Equal content, equal bytes.


def test_equal_trials_give_equal_bytes(tmp_path, rng):
    trials = make_trials(rng)
    first = publish(make_store(tmp_path / "a"), trials)
    time.sleep(1.1)  # HDF5 notes times in whole seconds
    second = publish(make_store(tmp_path / "b"), reversed_list(trials))
    assert first.read_bytes() == second.read_bytes()
    assert sidecar_of(first).read_bytes() == sidecar_of(second).read_bytes()


def sidecar_of(path):
    return path.with_suffix(".json")


def test_bytes_hold_nothing_that_was_in_memory_before(tmp_path):
    code = f"""
    import sys, hashlib
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import numpy as np, test_store
    from merps.store.layout import build_image
    trials = test_store.make_trials(np.random.default_rng(1))
    image = b"".join(build_image(trials).pieces())
    print(hashlib.sha256(image).hexdigest())
    """
    digests = {
        subprocess.run(
            [sys.executable, "-c", dedent(code)],
            env={**os.environ, "MALLOC_PERTURB_": filling},
            capture_output=True,
            check=True,
        ).stdout
        for filling in ("0", "85", "170")
    }
    assert len(digests) == 1


def test_file_names_no_folder_or_version(store, rng):
    image = publish(store, make_trials(rng)).read_bytes()
    for word in (str(store.path), "image", h5py.__version__, h5py.version.hdf5_version):
        assert word.encode() not in image


# Damage is always found, and mended.


def test_flipped_bits_are_found(store, rng):
    path = publish(store, make_trials(rng, n_stimuli=1, n_seconds=2))
    chance = random.Random(5)
    for victim, n_flips in ((path, 200), (sidecar_of(path), 60)):
        whole = victim.read_bytes()
        for _ in range(n_flips):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            victim.write_bytes(damaged)
            with pytest.raises(DataError, match="run merps preprocess again") as caught:
                StoredPerson(path)
            assert UNIT in str(caught.value)
        victim.write_bytes(whole)
    assert has_person(store.path, "test_1", KEY)


def test_flipped_bits_of_the_index_are_found(store):
    index = store.path / "store.json"
    whole = index.read_bytes()
    for position in range(0, 8 * len(whole), 5):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        index.write_bytes(damaged)
        with pytest.raises(DataError, match=r"store\.json"):
            Store.open(store.path)


@pytest.mark.parametrize("victim", ["h5", "json"])
@pytest.mark.parametrize("left", [0, 1, 100, 0.5, -1])
def test_truncation_is_found_and_mended(store, rng, victim, left):
    trials = make_trials(rng)
    path = publish(store, trials)
    whole = path.read_bytes()
    target = path.with_suffix(f".{victim}")
    size = target.stat().st_size
    os.truncate(target, int(left * size) if left == 0.5 else left % size)
    with pytest.raises(DataError, match="it rebuilds only this person"):
        StoredPerson(path)
    assert not has_person(store.path, "test_1", KEY)
    assert publish(store, trials) == path
    assert path.read_bytes() == whole
    assert names(store) == [WHOLE[0], f"{UNIT}.h5.damaged", WHOLE[1]]


def test_a_missing_or_strange_sidecar_is_found_and_mended(store, rng):
    trials = make_trials(rng)
    path = publish(store, trials)
    sidecar_of(path).unlink()
    with pytest.raises(DataError, match="no readable file"):
        StoredPerson(path)
    publish(store, trials)
    other = publish(store, make_trials(rng, "test_2"), person="test_2")
    path.write_bytes(other.read_bytes())
    sidecar_of(path).write_bytes(sidecar_of(other).read_bytes())
    with pytest.raises(DataError, match="found those of test_2-"):
        StoredPerson(path)
    publish(store, trials)
    assert has_person(store.path, "test_1", KEY)


def test_another_format_is_refused(store, rng, monkeypatch):
    monkeypatch.setattr(units, "FORMAT", 99)
    path = publish(store, make_trials(rng))
    monkeypatch.undo()
    with pytest.raises(DataError, match="expected store format 1, found format 99"):
        StoredPerson(path)


def test_a_good_file_is_never_written_again(store, rng):
    trials = make_trials(rng)
    path = publish(store, trials)
    before = written(path), written(sidecar_of(path))
    publish(store, trials)
    assert (written(path), written(sidecar_of(path))) == before


def test_a_mapped_file_survives_being_set_aside(store, rng):
    trials = make_trials(rng)
    path = publish(store, trials)
    person = StoredPerson(path)
    sidecar_of(path).unlink()
    publish(store, trials)
    assert_same_trial(person.trial("V03"), trials[2])


# Kills, full disks, races.


class KilledError(BaseException):
    pass


CALLS = ("fsync", "link", "unlink", "replace", "open", "close")


def fail_from_call(monkeypatch, number, error, *, once=False):
    """Let call `number` of the system calls that publishing makes, and later, fail."""
    count = 0

    def guarded(call):
        def run(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == number or (count > number and not once):
                raise error
            return call(*arguments, **keywords)

        return run

    for name in CALLS:
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return lambda: count


def test_a_kill_at_any_call_leaves_all_or_nothing(tmp_path, rng, monkeypatch):
    trials = make_trials(rng, n_stimuli=1, n_seconds=2)
    expected = publish(make_store(tmp_path / "whole"), trials).read_bytes()
    n_visible = 0
    for number in range(1, 100):
        store = make_store(tmp_path / f"kill{number}")
        with monkeypatch.context() as patch:
            n_calls = fail_from_call(patch, number, KilledError())
            try:
                publish(store, trials)
            except KilledError:
                killed = True
            else:
                killed = False
        path = unit_path(store.path, "test_1", KEY)
        if path.exists():
            n_visible += 1
            assert path.read_bytes() == expected
            assert has_person(store.path, "test_1", KEY)
        publish(store, trials)
        assert path.read_bytes() == expected
        age_leftovers(store)
        make_store(store.path)
        assert names(store) == WHOLE
        if not killed:
            break
    assert n_calls() == number - 1 > 8
    assert 1 < n_visible < number


def age_leftovers(store):
    """Make unfinished files look as if they were of a process long gone."""
    for path in (store.path / "people").glob("*.tmp"):
        os.utime(path, (0, 0))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_is_one_space_error(tmp_path, rng, monkeypatch, code):
    trials = make_trials(rng, n_stimuli=1, n_seconds=2)
    error = OSError(code, os.strerror(code))
    for number in range(1, 100):
        store = make_store(tmp_path / f"fail{number}")
        with monkeypatch.context() as patch:
            n_calls = fail_from_call(patch, number, error, once=True)
            try:
                publish(store, trials)
            except SpaceError as caught:
                message = str(caught)
                assert f"{UNIT}.h5: cannot write" in message
                assert "MB free" in message
                assert os.strerror(code) in message
        if not has_person(store.path, "test_1", KEY):
            assert not [name for name in names(store) if name.endswith(".h5")]
        publish(store, trials)
        assert has_person(store.path, "test_1", KEY)
        if n_calls() < number:
            break
    assert number > 8


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_a_full_disk_leaves_nothing_behind(store, rng, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(SpaceError, match="No space left on device"):
            publish(store, make_trials(rng))
    assert names(store) == []


def test_a_real_limit_on_file_size_leaves_nothing_behind(store):
    code = f"""
    import resource, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import numpy as np, test_store
    from merps.store import publish_person
    from merps.errors import SpaceError
    place = {str(store.path)!r}
    trials = test_store.make_trials(np.random.default_rng(1))
    for limit in (100, 5_000, 40_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            publish_person(place, "test_1", test_store.KEY, trials, sidecar={{}})
        except SpaceError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("File too large") == 3
    assert names(store) == []


def test_a_vanished_folder_is_an_error_not_a_loop(store, rng):
    (store.path / "people").rmdir()
    with pytest.raises(SpaceError, match="No such file or directory"):
        publish(store, make_trials(rng))


def test_without_hard_links_files_are_renamed(store, rng, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    trials = make_trials(rng)
    path = publish(store, trials)
    before = written(path)
    publish(store, trials)
    assert written(path) == before
    assert names(store) == WHOLE


def test_an_unfinished_file_taken_by_another_machine_is_written_anew(
    store, rng, monkeypatch
):
    link, n_calls = os.link, 0

    def robbed_once(source, target):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            os.unlink(source)
        link(source, target)

    monkeypatch.setattr(os, "link", robbed_once)
    publish(store, make_trials(rng))
    assert n_calls == 2
    assert names(store) == WHOLE


def test_losing_the_race_keeps_the_winner(store, rng, monkeypatch):
    trials = make_trials(rng)
    link = os.link

    def late(source, target):
        monkeypatch.setattr(os, "link", link)
        publish(store, trials)
        late.winner = Path(target).stat().st_ino
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    path = publish(store, trials)
    assert path.stat().st_ino == late.winner
    assert names(store) == WHOLE


def test_threads_that_publish_the_same_agree(store, rng):
    trials = make_trials(rng)
    start, errors = threading.Barrier(4), []

    def work():
        start.wait()
        try:
            for _ in range(5):
                publish(store, trials)
                store.record("test_1", KEY)
        except MerpsError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(store) == WHOLE
    assert Store.open(store.path).people == ("test_1",)


def test_processes_that_fill_one_store_agree(tmp_path):
    code = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import numpy as np, test_store
    store = test_store.make_store({str(tmp_path / "store")!r})
    for person in ("test_1", "test_2", "test_10"):
        trials = test_store.make_trials(np.random.default_rng(1), person)
        test_store.publish(store, trials, person=person)
        store.record(person, test_store.KEY)
    """
    workers = [
        subprocess.Popen([sys.executable, "-c", dedent(code)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said.decode()
    store = Store.open(tmp_path / "store")
    assert store.people == ("test_1", "test_2", "test_10")
    for name in store.people:
        assert len(list(store.person(name).trials())) == 3
    assert len(names(store)) == 6


def test_leftovers_of_the_dead_are_removed(store):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    people = store.path / "people"
    gone = people / f"x.h5.{dead.pid}.0123abcd.tmp"
    alive = people / f"x.h5.{os.getpid()}.0123abcd.tmp"
    old = people / f"y.h5.{os.getpid()}.0123abcd.tmp"
    foreign = people / "notes.tmp"
    index = store.path / f"store.json.{dead.pid}.0123abcd.tmp"
    for path in (gone, alive, old, foreign, index):
        path.write_bytes(b"x")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(foreign, (two_days_ago, two_days_ago))
    assert remove_leftovers(store.path) == 3
    assert names(store) == sorted([alive.name, foreign.name])
    assert remove_leftovers(store.path) == 0


# The store as a whole.


def test_a_new_store_is_private_and_says_what_it_is(tmp_path):
    path = tmp_path / "deep" / "store"
    store = make_store(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "people").stat().st_mode & 0o777 == 0o700
    assert (path / ".gitignore").read_text() == "*\n"
    for opened in (store, Store.open(path)):
        assert opened.config == {"to_hz": 200.0}
        assert (opened.source, opened.role, opened.terms) == tuple(ORIGIN.values())
        assert opened.people == ()


def test_people_are_those_recorded_in_natural_order(store, rng):
    for person in ("test_10", "test_9", "a"):
        publish(store, make_trials(rng, person), person=person)
        store.record(person, KEY)
    publish(store, make_trials(rng, "unrecorded"), person="unrecorded")
    assert store.people == Store.open(store.path).people == ("a", "test_9", "test_10")
    with pytest.raises(InputError, match="no person 'b'; it has a, test_9, test_10"):
        store.person("b")
    with pytest.raises(InputError, match="no stimulus 'V77'; it has V01, V02, V03"):
        store.person("a").trial("V77")


def test_a_changed_key_is_a_new_file(store, rng):
    trials = make_trials(rng)
    first = publish(store, trials)
    store.record("test_1", KEY)
    other_key = person_key({"data/a.mat": "01"}, {"to_hz": 200.0}, 1)
    second = publish(store, trials[:1], key=other_key)
    store.record("test_1", other_key)
    assert first.exists()
    assert second.exists()
    assert store.person("test_1").stimuli == ("V01",)
    assert not has_person(store.path, "test_1", KEY[:12] + "0" * 52)


def test_the_same_store_is_opened_again(store, rng):
    publish(store, make_trials(rng))
    store.record("test_1", KEY)
    assert make_store(store.path).people == ("test_1",)


def test_another_configuration_starts_with_nobody(store, rng):
    path = publish(store, make_trials(rng))
    store.record("test_1", KEY)
    changed = make_store(store.path, config={"to_hz": 100.0})
    assert changed.people == ()
    assert changed.config == {"to_hz": 100.0}
    assert path.exists()
    with pytest.raises(LockedError, match="another process fills this store"):
        store.record("test_1", KEY)


@pytest.mark.parametrize("name", list(ORIGIN))
def test_data_of_other_origin_stay_out(store, name):
    with pytest.raises(InputError, match=f"whose {name} is .* choose another folder"):
        make_store(store.path, **{name: "other"})


def test_a_damaged_index_is_made_anew(store, rng, caplog):
    publish(store, make_trials(rng))
    store.record("test_1", KEY)
    os.truncate(store.path / "store.json", 30)
    with pytest.raises(DataError, match="keeps every person that is whole"):
        Store.open(store.path)
    again = make_store(store.path)
    assert "made anew" in caplog.text
    assert again.people == ()
    assert has_person(store.path, "test_1", KEY)
    again.record("test_1", KEY)
    assert Store.open(store.path).people == ("test_1",)


def test_folders_that_are_no_store_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"found no such folder; make it with"):
        Store.open(tmp_path / "absent")
    with pytest.raises(DataError, match="found no such file"):
        Store.open(tmp_path)
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(InputError, match=r"not a store \(it holds 'thesis.doc'\)"):
        make_store(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        make_store(tmp_path / "thesis.doc")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_store_of_another_format_is_refused(store):
    index = store.path / "store.json"
    contents = json.loads(index.read_text())
    index.write_bytes(files.sealed({**contents, "format": 2}))
    with pytest.raises(DataError, match="expected store format 1, found format 2"):
        Store.open(store.path)


def test_a_place_that_cannot_be_written_is_a_space_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SpaceError, match="Permission denied"):
        make_store(tmp_path / "store")


def test_space_is_asked_for_in_advance(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 120_000_000})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    require_space(tmp_path / "not" / "yet", 100_000_000)
    with pytest.raises(SpaceError, match=r"needs about 100.0 MB, and only 120.0 MB"):
        require_space(tmp_path / "not" / "yet", 100_010_000)


def test_work_starts_where_free_space_cannot_be_told(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", refuse)
    require_space(tmp_path / "not" / "yet", 10**18)


@pytest.mark.parametrize("person", ["", "a/b", "..", "a" * 65, "x\ny", "ä"])
def test_names_that_are_no_file_names_are_refused(store, rng, person):
    with pytest.raises(InputError, match="a name has 1 to 64 letters"):
        publish(store, [Trial(person, "V01")], person=person)


def test_trials_must_belong_together(store, rng):
    trials = make_trials(rng)
    with pytest.raises(InputError, match="there is no trial to store"):
        publish(store, [])
    with pytest.raises(InputError, match="trials of test_2 among them"):
        publish(store, [*trials, Trial("test_2", "V09")])
    with pytest.raises(InputError, match="two trials of one stimulus"):
        publish(store, [*trials, trials[0]])
    with pytest.raises(InputError, match="cannot be a name"):
        publish(store, [Trial("test_1", "a/b")])
    with pytest.raises(InputError, match="cannot be kept as JSON"):
        publish(store, trials, sidecar={"share": float("nan")})
    assert names(store) == []


# Keys and digests of inputs.


def test_key_depends_on_inputs_options_and_step():
    parts = ({"a": "1", "b": "2"}, {"x": 1.0, "y": {"z": [1, 2]}}, 3)
    key = person_key(*parts)
    assert len(key) == 64
    assert key == person_key({"b": "2", "a": "1"}, {"y": {"z": (1, 2)}, "x": 1.0}, 3)
    others = {
        person_key({"a": "1"}, *parts[1:]),
        person_key({"a": "2", "b": "1"}, *parts[1:]),
        person_key(parts[0], {"x": 1.5, "y": {"z": [1, 2]}}, 3),
        person_key(*parts[:2], 4),
    }
    assert len(others - {key}) == 4


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder, an empty store folder, and the files read so far."""
    root, folder, read = tmp_path / "data", tmp_path / "cache", []
    (root / "deep").mkdir(parents=True)
    folder.mkdir()
    (root / "deep" / "a.mat").write_bytes(b"a" * 5_000_000)
    (root / "b.mat").write_bytes(b"b")
    monkeypatch.setattr(inputs, "_SETTLED_NS", -(10**12))
    digest_file = inputs._digest_file

    def counted(path):
        read.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(inputs, "_digest_file", counted)
    return root, folder, read


def take(data):
    """Digest both files in a new run, and say which of them were read."""
    root, folder, read = data
    read.clear()
    with FileDigests(folder, root=root) as digests:
        found = digests.digests([root / "deep" / "a.mat", root / "b.mat"])
    return found, list(read)


def test_digests_are_those_of_the_content_and_are_reused(data):
    import xxhash

    expected = {
        "deep/a.mat": xxhash.xxh3_128_hexdigest(b"a" * 5_000_000),
        "b.mat": xxhash.xxh3_128_hexdigest(b"b"),
    }
    assert take(data) == (expected, ["a.mat", "b.mat"])
    assert take(data) == (expected, [])


def test_a_change_under_the_old_times_is_seen(data):
    first, _ = take(data)
    path = data[0] / "b.mat"
    before = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"B")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second, read = take(data)
    assert read == ["b.mat"]
    assert second["b.mat"] != first["b.mat"]


def test_a_replaced_file_is_read_again(data):
    first, _ = take(data)
    path = data[0] / "b.mat"
    other = data[0] / "c.mat"
    other.write_bytes(b"b")
    os.replace(other, path)
    assert take(data) == (first, ["b.mat"])


def test_a_file_just_written_is_not_trusted_yet(data, monkeypatch):
    monkeypatch.setattr(inputs, "_SETTLED_NS", 10**12)
    take(data)
    assert take(data)[1] == ["a.mat", "b.mat"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"files": {}}', files.sealed({"files": 3})]
)
def test_a_damaged_cache_is_ignored_with_a_warning(data, content, caplog):
    first, _ = take(data)
    (data[1] / "inputs.json").write_bytes(content)
    assert take(data) == (first, ["a.mat", "b.mat"])
    assert "taken anew" in caplog.text


def test_inputs_that_cannot_be_read_are_named(data):
    root, folder, _ = data
    digests = FileDigests(folder, root=root)
    with pytest.raises(DataError, match=r"gone.mat: cannot be read \(No such file"):
        digests.digest(root / "gone.mat")
    with pytest.raises(InputError, match="lies outside the data folder"):
        digests.digest(folder / "x")


def test_an_input_that_changes_while_it_is_read_is_refused(data, monkeypatch):
    root, folder, _ = data

    def slow(path):
        path.write_bytes(b"longer than before")
        return "0" * 32

    monkeypatch.setattr(inputs, "_digest_file", slow)
    with pytest.raises(DataError, match=r"b.mat: changed while it was read"):
        FileDigests(folder, root=root).digest(root / "b.mat")
