import json
from dataclasses import replace

import numpy as np
import pytest
from pairs import lateness_s, write_pair
from test_lab import described, read_all
from test_proposal import from_folder_to_store, run

from merps.dataset_options import SynchronyConfig
from merps.datasets.clocks import Tie, join_events, pair_up, tie
from merps.preprocessing.synchrony import Clock
from merps.readers.streams import Stream
from merps.recording import Annotation, Recording

EEG_MS, FNIRS_MS = 2.0, 50.0  # row 18: 2 ms, and half a sample of the fNIRS at 10 Hz
OPTIONS = SynchronyConfig().model_dump(exclude={"by"})


def at_events(stimuli):
    """Stimuli of 20 s that begin at events of two tied files."""
    return described(
        *("{person}.vhdr", "{person}.snirf"),
        onsets="annotations",
        stimuli=stimuli,
        duration_s=20.0,
        synchrony=SynchronyConfig(),
    )


def fnirs_lateness_ms(trial, onset_s):
    """How late the stored fNIRS is, over its first and last part and the whole."""
    times_s = trial.fnirs.times_s + onset_s
    n = len(times_s)
    parts = slice(300, n // 3), slice(2 * n // 3, n - 300), slice(300, n - 300)
    signal = trial.fnirs.signal[0, 0]
    return 1e3 * np.array([lateness_s(signal[p], times_s[p]) for p in parts])


# From a folder to a store, in three commands


@pytest.mark.parametrize(
    "planted",
    [
        {},  # 137 ppm, 7.431 s, the EEG calls its events Stimulus/...
        {"labels": ("S  1", "S  2"), "their_labels": ("1", "2"), "offset_s": -63.2},
        {"their_labels": ("trigger", "trigger"), "slope_ppm": -137.0},
        {"slope_ppm": 0.0, "offset_s": 0.0},
        {"files": ("{}/eeg.vhdr", "{}/nirs.snirf"), "offset_s": 211.5},
    ],
)
def test_two_files_become_one_recording(rng, tmp_path, planted):
    folder = tmp_path / "data"
    pair = write_pair(folder, "S01", rng, **planted)
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert any("ppm" in text and "residual" in text for text in told["findings"])
    assert told["warnings"] == []
    assert written["dataset"]["synchrony"]["tolerance_s"] == 0.05
    with store.person("S01") as stored:
        (trial,) = stored.trials()
    assert trial.clock["offset_s"] == pytest.approx(pair.offset_s, abs=2e-3)
    assert trial.clock["slope_ppm"] == pytest.approx(pair.slope_ppm, abs=5)
    assert trial.clock["n_events"] >= 6
    assert trial.clock["residual_ms"] < 2  # the EEG has samples of 2 ms
    later_s = pair.to_reference(0.5)
    onset_s = 0 if later_s < 1 else np.ceil(later_s)
    assert np.abs(fnirs_lateness_ms(trial, onset_s)).max() < EEG_MS
    assert trial.fnirs.start_s < 0.1 or later_s == pytest.approx(0.5, abs=2e-3)
    ends_s = [r.start_s + r.duration_s for r in (trial.eeg, trial.fnirs)]
    assert ends_s == pytest.approx([min(ends_s)] * 2, abs=0.2)
    assert any("ppm" in note for note in trial.notes)


def test_events_known_to_a_sample_are_good_to_half_a_sample(rng, tmp_path):
    folder = tmp_path / "data"
    write_pair(folder, "S01", rng, grid_s=0.1, n_events=40, offset_s=3.0, seconds=1200)
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert written["dataset"]["synchrony"]["tolerance_s"] == 0.15
    with store.person("S01") as stored:
        (trial,) = stored.trials()
    # The device tells of an event by the sample before it, on average 50 ms early.
    late_ms = fnirs_lateness_ms(trial, 4.0) - 50
    assert np.abs(late_ms).max() < FNIRS_MS
    assert told["warnings"] == []


def test_stimuli_begin_where_the_eeg_says(rng, tmp_path):
    pair = write_pair(tmp_path, "S01", rng, labels=tuple("abcdefg"), n_events=7)
    stimuli = {f"V{k:02d}": f"Stimulus/{name}" for k, name in enumerate("abcdefg", 1)}
    trials, failures = read_all(tmp_path, at_events(stimuli))
    assert failures == []
    assert [t.stimulus for t in trials] == ["V01", "V02", "V04", "V05", "V06", "V07"]
    for trial in trials:
        at_s = round(pair.events_s[int(trial.stimulus[1:]) - 1] * 500) / 500
        density = -np.log(trial.fnirs.signal[0, 0])
        late_s = lateness_s(density, trial.fnirs.times_s + at_s)
        assert abs(late_s) < 1e-3 * EEG_MS
        assert trial.fnirs.rate_hz == pytest.approx(10 / (1 + 137e-6), rel=5e-6)
        assert (trial.eeg.n_times, trial.eeg.start_s) == (10_000, pytest.approx(0))
        assert trial.baseline.fnirs.duration_s == pytest.approx(5, abs=0.11)


def test_stimuli_may_be_named_as_the_fnirs_has_them(rng, tmp_path):
    pair = write_pair(
        tmp_path, "S01", rng, labels=("1",), their_labels=tuple("abcdefg"), n_events=7
    )
    stimuli = {f"V{k:02d}": name for k, name in enumerate("abcdefg", 1)}
    trials, failures = read_all(tmp_path, at_events(stimuli))
    assert failures == []
    # V03 is absent from the EEG, V06 from the fNIRS, which alone has names.
    assert [t.stimulus for t in trials] == ["V01", "V02", "V03", "V04", "V05", "V07"]
    for trial in trials:
        at_s = pair.events_s[int(trial.stimulus[1:]) - 1]
        times_s = 40 * (trial.eeg.times_s + at_s)
        late_s = lateness_s(trial.eeg.signal[0], times_s) / 40
        assert abs(late_s) < 0.003  # the wave is 40 times as fast there


def test_one_long_fnirs_and_an_eeg_for_each_block(rng, tmp_path):
    pair = write_pair(tmp_path, "S01", rng, n_events=24, missing=(), theirs_missing=())
    text = (tmp_path / "S01.vmrk").read_text()
    assert text.count("Stimulus,") == 26
    (tmp_path / "S01_b.vhdr").write_text(
        (tmp_path / "S01.vhdr").read_text().replace("S01.", "S01_b.")
    )
    begin, samples = 150_000, np.fromfile(tmp_path / "S01.eeg", "<f4").reshape(-1, 2)
    samples[begin:].tofile(tmp_path / "S01_b.eeg")
    samples[:begin].tofile(tmp_path / "S01.eeg")
    head, *lines = text.split("Mk")
    halves = [head], [head.replace("S01.", "S01_b.")]
    for line in lines:
        parts = line.split(",")
        late = int(parts[2]) > begin
        parts[2] = str(int(parts[2]) - begin * late)
        halves[late].append(",".join(parts))
    for name, own in zip(("S01", "S01_b"), halves, strict=True):
        marks = [f"{k}={m.split('=', 1)[1]}" for k, m in enumerate(own[1:], 1)]
        (tmp_path / f"{name}.vmrk").write_text("Mk".join([own[0], *marks]))
    (tmp_path / "S01.vhdr").rename(tmp_path / "S01_a.vhdr")
    config = described(
        *("{person}_{stimulus}.vhdr", "{person}.snirf"), synchrony=SynchronyConfig()
    )
    trials, failures = read_all(tmp_path, config)
    assert failures == []
    assert [t.clock["slope_ppm"] for t in trials] == pytest.approx([137, 137], abs=5)
    for trial, skipped_s in zip(trials, (8.0, 300.0), strict=True):
        density = -np.log(trial.fnirs.signal[0, 0])
        late_s = lateness_s(density, trial.fnirs.times_s + skipped_s)
        assert abs(late_s) < 1e-3 * EEG_MS
    assert pair.offset_s == pytest.approx(trials[0].clock["offset_s"], abs=2e-3)


def test_ratings_count_from_the_start_of_the_eeg(rng, tmp_path):
    write_pair(tmp_path, "S01", rng, seconds=300)  # the fNIRS covers 7.93 to 287.97 s
    rows = [f"{t},{1 + t % 9},{5}" for t in range(300)]
    (tmp_path / "S01.csv").write_text("\n".join(["time,valence,arousal", *rows]))
    config = described(
        *("{person}.vhdr", "{person}.snirf"),
        targets={"path": "{person}.csv", "scale": (1.0, 9.0)},
        synchrony=SynchronyConfig(),
    )
    (trial,), failures = read_all(tmp_path, config)
    assert failures == []
    expected = 1 + (np.arange(8, 288) % 9) * 254 / 8
    np.testing.assert_allclose(trial.targets[:, 0], expected)


@pytest.mark.parametrize("later_s", [-0.0012, 0.0012])
def test_recordings_of_one_clock_lose_nothing(rng, tmp_path, later_s):
    options = {"slope_ppm": 0.0, "offset_s": later_s - 0.5, "seconds": 120}
    write_pair(tmp_path, "S01", rng, **options)
    rows = [f"{t},{1 + t % 9},{5}" for t in range(100)]
    (tmp_path / "S01.csv").write_text("\n".join(["time,valence,arousal", *rows]))
    paths = "{person}.vhdr", "{person}.snirf"
    targets = {"path": "{person}.csv", "scale": (1.0, 9.0)}
    config = described(*paths, targets=targets, synchrony=SynchronyConfig())
    (trial,), failures = read_all(tmp_path, config)
    assert failures == []
    assert trial.targets.shape == (100, 2)
    assert (trial.eeg.start_s, trial.eeg.n_times) == (0, 50_000)
    assert trial.fnirs.n_times in (999, 1000, 1001)
    assert trial.fnirs.start_s < 0.1


def test_ratings_of_something_shorter_are_refused(rng, tmp_path):
    write_pair(tmp_path, "S01", rng, seconds=200)
    rows = [f"{t},{1 + t % 9},{5}" for t in range(60)]
    (tmp_path / "S01.csv").write_text("\n".join(["time,valence,arousal", *rows]))
    config = described(
        *("{person}.vhdr", "{person}.snirf"),
        targets={"path": "{person}.csv", "scale": (1.0, 9.0)},
        synchrony=SynchronyConfig(),
    )
    trials, (message,) = read_all(tmp_path, config)
    assert trials == []
    assert "expected 52.00 s of eeg from onset on, by its ratings" in message


def test_tables_that_are_called_after_events_make_stimuli(rng, tmp_path):
    folder, pair_of = tmp_path / "data", {}
    for person in ("S01", "S02"):
        pair_of[person] = write_pair(
            folder,
            person,
            rng,
            labels=("joy", "fear", "calm"),
            n_events=3,
            missing=(),
            theirs_missing=(),
            seconds=400,
        )
        for name in ("joy", "calm"):
            rows = [f"{t},{1 + t % 9},{5}" for t in range(20)]
            table = "\n".join(["time,valence,arousal", *rows])
            (folder / f"{person}_{name}.csv").write_text(table)
    _, written, store = from_folder_to_store(folder, tmp_path)
    assert written["dataset"]["onsets"] == "annotations"
    assert written["dataset"]["stimuli"] == {"V01": "calm", "V02": "joy"}
    for person, pair in pair_of.items():
        with store.person(person) as stored:
            assert stored.stimuli == ("V01", "V02")
            for name, at_s in (("V02", pair.events_s[0]), ("V01", pair.events_s[2])):
                trial = stored.trial(name)
                assert trial.targets.shape == (20, 2)
                assert trial.eeg.duration_s - trial.eeg.start_s > 20
                signal, times_s = trial.fnirs.signal[0, 0], trial.fnirs.times_s
                inner = (times_s > 0) & (times_s < 18)
                late_s = lateness_s(signal[inner], times_s[inner] + at_s)
                assert abs(late_s) < 0.05


def test_check_refuses_events_that_do_not_match(rng, tmp_path):
    folder, other = tmp_path / "data", tmp_path / "other"
    write_pair(folder, "S01", rng)
    write_pair(other, "S01", rng)  # another session
    (other / "S01.snirf").rename(folder / "S02.snirf")
    for end in ("vhdr", "vmrk", "eeg"):
        text = (folder / f"S01.{end}").read_bytes().replace(b"S01.", b"S02.")
        (folder / f"S02.{end}").write_bytes(text)
    out = tmp_path / "lab.yaml"
    first = run("init", folder, "--out", out, "--json")
    warnings = json.loads(first.stdout)["warnings"]
    assert len([text for text in warnings if "S02.vhdr and S02.snirf" in text]) == 1
    result = run("check", folder, "--config", out, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    (error,) = [p for p in told["problems"] if p["severity"] == "error"]
    assert error["where"] == "S02"
    assert "S02.snirf beside S02.vhdr: expected events that tell" in error["message"]
    assert "events, " in error["message"]
    assert "match within 0.05 s" in error["message"]
    assert told["trials"] == 2
    done = run("preprocess", folder, "--config", out, "--out", tmp_path / "s", "--json")
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)["failed"]) == 1


@pytest.mark.parametrize("missing", [(), (7,)])
def test_regular_events_are_taken_with_a_warning(tmp_path, missing):
    class Regular:  # events every 20 s, and nothing random
        def uniform(self, low, high, n=None):
            return low + 20.0 * np.arange(n) if n else 5.0

        def normal(self, size):
            return np.zeros(size)

    folder = tmp_path / "data"
    options = {"missing": (), "theirs_missing": missing, "extra": 0, "n_events": 20}
    write_pair(folder, "S01", Regular(), seconds=500, labels=("x",), **options)
    told, written, store = from_folder_to_store(folder, tmp_path)
    assert written["dataset"]["synchrony"]["max_offset_s"] == 9
    assert any("are so regular" in text for text in told["warnings"])
    with store.person("S01") as stored:
        (trial,) = stored.trials()
    assert trial.clock["offset_s"] == pytest.approx(7.431, abs=2e-3)


# Their parts


def marks(times_s, labels):
    recording = Recording(
        np.zeros((1, 9000)), 10.0, 0.0, ("a",), quantity="voltage", unit="V"
    )
    notes = tuple(
        Annotation(float(t), 0.0, label)
        for t, label in zip(times_s, labels, strict=True)
    )
    return replace(recording, annotations=notes)


def test_names_are_asked_before_times(rng):
    times_s = 30.0 * np.arange(12)  # regular: only names tell which is which
    eeg = marks(times_s, [f"Stimulus/S {k:3d}" for k in range(12)])
    fnirs = marks(times_s[3:] - 61, [f"{k}" for k in range(3, 12)])
    found = tie(eeg, fnirs, OPTIONS)
    assert found.clock.offset_s == pytest.approx(61)
    assert (found.clock.n_events, found.n_eeg, found.n_fnirs) == (9, 12, 9)


def test_a_slope_that_events_do_not_tell_is_none(rng):
    times_s = np.array([2.0, 9, 15, 31])
    eeg = marks(times_s, "abcd")
    fnirs = marks(times_s - 3 + rng.normal(0, 0.01, 4), "abcd")
    clock = tie(eeg, fnirs, OPTIONS).clock
    assert clock.slope_ppm == 0
    assert clock.offset_s == pytest.approx(3, abs=0.02)
    two = tie(marks(times_s[:2], "ab"), marks(times_s[:2] - 3.004, "ab"), OPTIONS)
    assert two.clock.slope_ppm == 0
    assert two.clock.offset_s == pytest.approx(3.004)


def test_only_wanted_events_count(rng):
    times_s = np.sort(rng.uniform(0, 600, 9))
    eeg = marks(np.append(times_s, [5, 6]), [*("x" * 9), "y", "y"])
    found = tie(eeg, marks(times_s, "x" * 9), {**OPTIONS, "events": ["x"]})
    assert (found.n_eeg, found.n_fnirs) == (9, 9)
    assert "starts 0.0000 s after" in found.describe()
    assert "by 9 events (of 9 in the EEG and 9 in the fNIRS)" in found.describe()


def test_events_of_both_are_joined():
    eeg = marks([10.0, 50.0], ["a", "b"])
    fnirs = marks([10.02, 30.0, 50.01, 70.0], ["one", "c", "two", "a"])
    joined = join_events(eeg, fnirs, {"a", "b", "c"}, tolerance_s=0.05)
    # The second a is not taken over, since it would change what a#2 is.
    assert [(m.onset_s, m.label) for m in joined] == [(10, "a"), (30, "c"), (50, "b")]
    joined = join_events(eeg, fnirs, {"one", "two"}, tolerance_s=0.05)
    assert [(m.onset_s, m.label) for m in joined] == [(10, "one"), (50, "two")]


def test_repeated_events_count_from_before_the_eeg_was_started():
    eeg = replace(marks([50.0], ["a"]), start_s=20.0)
    fnirs = marks([10.0, 30.0, 50.01], ["a", "a", "a"])
    joined = join_events(eeg, fnirs, {"a", "a#2"}, tolerance_s=0.05)
    assert [m.onset_s for m in joined] == [10, 50]  # the EEG would have seen that at 30
    joined = join_events(eeg, fnirs, {"a"}, tolerance_s=0.05)
    assert [m.onset_s for m in joined] == [50]


def test_recordings_go_together_by_name_or_where_one_is_alone():
    assert pair_up("ab", "bc", str) == [("b", "b")]
    assert pair_up("a", "bc", str) == [("a", "b"), ("a", "c")]
    assert pair_up("ab", "c", str) == [("a", "c"), ("b", "c")]
    assert pair_up("ab", "cd", str) == []
    assert pair_up("", "cd", str) == []
    for names in (
        ("recording", "a x"),
        ("a", "a x"),
        ("task-x_run-1", "task-x"),
    ):
        assert len(pair_up(names[:1], names[1:], str)) == 1
        assert len(pair_up(names[1:], names[:1], str)) == 1
    for names in (("a x", "b x"), ("happy", "sad")):  # the partner of each is absent
        assert pair_up(names[:1], names[1:], str) == []


@pytest.mark.parametrize("onsets", ["annotations", "file"])
def test_files_of_other_sessions_do_not_become_one_trial(rng, tmp_path, onsets):
    names = ("Stimulus/happy", "Stimulus/sad")
    write_pair(tmp_path, "S01_a", rng, seconds=120, their_labels=names)
    (tmp_path / "S01_a.snirf").rename(tmp_path / "S01_b.snirf")
    is_marked = onsets == "annotations"
    config = described(
        *("{person}_{session}.vhdr", "{person}_{session}.snirf"),
        onsets=onsets,
        stimuli={"V01": names[0]} if is_marked else {},
        duration_s=5.0 if is_marked else None,
        synchrony=SynchronyConfig(),
    )
    trials, failures = read_all(tmp_path, config)
    assert all(trial.eeg is None or trial.fnirs is None for trial in trials)
    assert len(trials) + len(failures) == 2
    if is_marked:
        assert "is on another clock than that of S01_a.vhdr" in failures[0]


def test_one_long_eeg_and_an_fnirs_for_each_half(rng, tmp_path):
    write_pair(tmp_path, "S01", rng, labels=tuple("abcdefg"), n_events=7, missing=())
    content = (tmp_path / "S01.snirf").read_bytes()
    for half in "xy":  # both have the events
        (tmp_path / f"S01_{half}.snirf").write_bytes(content)
    (tmp_path / "S01.snirf").unlink()
    config = described(
        *("{person}.vhdr", "{person}_{session}.snirf"),
        onsets="annotations",
        stimuli={"V01": "Stimulus/a"},
        duration_s=20.0,
        synchrony=SynchronyConfig(),
    )
    trials, failures = read_all(tmp_path, config)
    assert len(trials) == 1
    (message,) = failures  # of the fNIRS, and none of the EEG that goes with both
    assert "fNIRS of 'Stimulus/a' is in S01_x.snirf already" in message


def test_a_clock_moves_header_and_samples(rng):
    whole = replace(marks([1.0], ["x"]), signal=rng.normal(size=(1, 50)))
    stream = Stream("fnirs", whole, lambda: whole)
    moved = Tie(Clock(2.0, 100.0, 0.0, 5), 5, 5).move(stream)
    for recording in (moved.header, moved.load()):
        assert recording.start_s == 2
        assert recording.rate_hz == pytest.approx(10 / 1.0001)
        assert recording.signal is whole.signal
