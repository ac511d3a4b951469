import gc
import json
import weakref
from itertools import permutations

import broken
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat

from merps.datasets.arrays import (
    EEG_CHANNELS,
    FNIRS_CHANNELS,
    align,
    eeg_axes,
    fnirs_axes,
    fnirs_length,
    label_axes,
)
from merps.datasets.mer_ps import TrialFailure, open_dataset
from merps.errors import DataError, InputError
from merps.recording import Trial

#: Seconds of the 15 videos, and the REFED lengths that are published.
SECONDS = (135, 137, 90, 79, 135, 93, 122, 107, 70, 60, 61, 63, 111, 103, 170)
RATES_HZ = (200, 1000)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return broken.make_folder(tmp_path_factory.mktemp("good") / "data set")


def arrays_of(root, name, person="test_2"):
    return loadmat(broken.file_of(root, name, person))


def read(root, person="test_2"):
    """Return a person's trials by stimulus, and the failures."""
    items = list(open_dataset(root).trials(person))
    trials = {item.stimulus: item for item in items if isinstance(item, Trial)}
    return trials, [item for item in items if isinstance(item, TrialFailure)]


def lengths(**given_lengths):
    absent = dict.fromkeys(("n_eeg", "n_fnirs", "n_labels", "n_ids", "n_baseline"))
    return absent | given_lengths


# Lengths and rates


def test_fnirs_lengths_are_the_published_ones():
    assert fnirs_length(134) == 6381
    assert fnirs_length(63) == 3001


@given(
    seconds=st.sampled_from(SECONDS),
    rate_hz=st.sampled_from(RATES_HZ),
    eeg_off_s=st.floats(-1, 1),
    fnirs_off_s=st.floats(-1, 1),
    teller=st.sampled_from(["n_labels", "n_ids"]),
)
def test_rate_and_length_survive_a_second_of_jitter(
    seconds, rate_hz, eeg_off_s, fnirs_off_s, teller
):
    n_eeg = seconds * rate_hz + int(eeg_off_s * rate_hz)
    n_fnirs = fnirs_length(seconds) + int(fnirs_off_s * 1000 / 21)
    found = align("x", **lengths(n_eeg=n_eeg, n_fnirs=n_fnirs, **{teller: seconds}))
    assert found.seconds == seconds
    assert found.eeg_rate_hz == rate_hz
    assert found.n_eeg == seconds * rate_hz
    assert found.n_fnirs == fnirs_length(seconds)
    noted = (n_eeg != found.n_eeg) + (abs(n_fnirs - found.n_fnirs) > 1)
    assert len(found.notes) == noted


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("seconds", SECONDS)
def test_rate_is_told_by_fnirs_or_baseline_where_nothing_else_is(seconds, rate_hz):
    n_eeg = seconds * rate_hz
    by_fnirs = align("x", **lengths(n_eeg=n_eeg, n_fnirs=fnirs_length(seconds)))
    by_baseline = align("x", **lengths(n_eeg=n_eeg, n_baseline=5 * rate_hz))
    for found in (by_fnirs, by_baseline):
        assert (found.seconds, found.eeg_rate_hz) == (seconds, rate_hz)
        assert found.notes == ()
    alone = align("x", **lengths(n_fnirs=fnirs_length(seconds)))
    assert (alone.seconds, alone.eeg_rate_hz) == (seconds, None)


def test_without_labels_the_shorter_signal_decides():
    found = align("x", **lengths(n_eeg=134 * 200 - 30, n_fnirs=fnirs_length(134)))
    assert found.seconds == 133
    assert found.notes == (
        "EEG lasts 133.85 s and was cut to 133 s",
        "fNIRS lasts 134.00 s and was cut to 133 s",
    )


@pytest.mark.parametrize(
    ("given_lengths", "message"),
    [
        ({"n_eeg": 134 * 250, "n_labels": 134}, r"\(250 Hz if it lasts 134 s\)"),
        ({"n_eeg": 134 * 200 + 201 + 10, "n_labels": 134}, "EEG of 134 s"),
        ({"n_fnirs": fnirs_length(136), "n_labels": 134}, "fNIRS of 134 s"),
        ({"n_eeg": 136 * 200, "n_fnirs": fnirs_length(134)}, "by the fNIRS"),
        ({"n_eeg": 136 * 200}, "found EEG alone"),
        ({"n_fnirs": 20}, "at least 1 s"),
    ],
)
def test_lengths_that_disagree_are_refused(given_lengths, message):
    with pytest.raises(DataError, match=message):
        align("x", **lengths(**given_lengths))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_axes_are_found_in_any_order(order, rng):
    array = rng.normal(size=(6, 51, 70))
    stored = array.transpose(order)
    axes = fnirs_axes("x", stored.shape)
    np.testing.assert_array_equal(stored.transpose(axes), array)


@pytest.mark.parametrize(
    ("find", "shape"),
    [
        (eeg_axes, (63, 1000)),
        (eeg_axes, (64, 0)),
        (eeg_axes, (64, 10, 10)),
        (eeg_axes, (64,)),
        (fnirs_axes, (51, 51, 6)),
        (fnirs_axes, (51, 6, 6)),
        (fnirs_axes, (6, 51)),
        (label_axes, (2, 2)),
        (label_axes, (3, 9)),
        (label_axes, (2, 0)),
    ],
)
def test_axes_that_cannot_be_told_are_refused(find, shape):
    with pytest.raises(DataError, match=r"x: expected .*shape"):
        find("x", shape)


def test_axes_that_are_right_stay():
    assert eeg_axes("x", (64, 64)) == (0, 1)
    assert fnirs_axes("x", (6, 51, 51)) == (0, 1, 2)
    assert label_axes("x", (1, 2)) == (1, 0)


# Trials


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_trials_hold_what_was_saved(tmp_path, rate_hz):
    root = broken.make_folder(tmp_path, people=("test_7",), rate_hz=rate_hz)
    trials, failures = read(root, "test_7")
    assert failures == []
    assert list(trials) == ["V01", "V02", "V03"]
    saved = {
        name: arrays_of(root, name, "test_7") for name in (*broken.FILES, "labels")
    }
    for number, trial in enumerate(trials.values(), 1):
        key = f"video_{number}"
        for recording, name in (
            (trial.eeg, "EEG_videos"),
            (trial.fnirs, "fNIRS_videos"),
            (trial.baseline.eeg, "EEG_baselines"),
            (trial.baseline.fnirs, "fNIRS_baselines"),
        ):
            np.testing.assert_array_equal(recording.signal, saved[name][key])
            assert recording.signal.dtype == np.float64
            assert recording.signal.flags.f_contiguous
        np.testing.assert_array_equal(trial.targets, saved["labels"][key].T)
        assert trial.notes == ()
        assert trial.eeg.rate_hz == rate_hz
        assert trial.eeg.start_s == trial.fnirs.start_s == 0
        assert trial.baseline.eeg.start_s == -5
        assert trial.baseline.fnirs.start_s == pytest.approx(-238 * 0.021)
        assert trial.baseline.fnirs.times_s[-1] == pytest.approx(-0.021)
        assert trial.fnirs.rate_hz == pytest.approx(47.6190476)
        assert trial.eeg.channels == EEG_CHANNELS
        assert trial.fnirs.channels == FNIRS_CHANNELS
        assert trial.eeg.unit == "uV"
        assert trial.fnirs.quantity[2:4] == ("concentration", "absorbance")


def test_channel_names_are_those_of_the_sources():
    assert len(set(EEG_CHANNELS)) == 64
    assert [EEG_CHANNELS[i] for i in (0, 31, 32, 63)] == ["FP1", "T8", "M1", "CB2"]
    assert FNIRS_CHANNELS[::50] == ("ch-1", "ch-51")


@pytest.mark.parametrize("name", ["EEG_videos", "fNIRS_videos", "labels"])
def test_turning_arrays_round_changes_nothing(good, tmp_path, name):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    before, _ = read(root)

    def turn(arrays):
        for key in arrays:
            arrays[key] = arrays[key].T

    broken.edit_mat(broken.file_of(root, name), turn)
    after, failures = read(root)
    assert failures == []
    for stimulus, trial in after.items():
        for part in ("eeg", "fnirs"):
            np.testing.assert_array_equal(
                getattr(trial, part).signal, getattr(before[stimulus], part).signal
            )
        np.testing.assert_array_equal(trial.targets, before[stimulus].targets)
        noted = [] if name == "labels" else [f"{name.split('_')[0]} was transposed"]
        assert [note.split(",")[0] for note in trial.notes] == noted


def test_signals_are_cut_to_the_labels_or_stay_short(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")

    def edit(arrays):
        arrays["video_1"] = np.pad(arrays["video_1"], ((0, 0), (0, 90)))
        arrays["video_2"] = arrays["video_2"][:, :-90]

    before, _ = read(root)
    broken.edit_mat(broken.file_of(root, "EEG_videos"), edit)
    after, failures = read(root)
    assert failures == []
    np.testing.assert_array_equal(after["V01"].eeg.signal, before["V01"].eeg.signal)
    np.testing.assert_array_equal(
        after["V02"].eeg.signal, before["V02"].eeg.signal[:, :-90]
    )
    assert after["V01"].notes == ("EEG lasts 6.45 s and was cut to 6 s",)
    assert after["V02"].notes == ("EEG lasts only 6.55 s of 7 s",)
    assert [len(after[stimulus].targets) for stimulus in after] == [6, 7, 8]


def test_missing_channels_are_masked_and_nothing_else(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "missing_file")

    def lose(lines):
        fields = lines[2].split(",")
        fields[3], fields[51] = "0", "0.0"
        return [*lines[:2], ",".join(fields)]

    broken.edit_lines(root / "fNIRS_reservations.csv", lose)
    trials, failures = read(root)
    assert failures == []
    saved = arrays_of(root, "fNIRS_videos")["video_1"]
    for recording in (trials["V01"].fnirs, trials["V01"].baseline.fnirs):
        np.testing.assert_array_equal(np.flatnonzero(recording.mask), [2, 50])
        np.testing.assert_array_equal(
            np.isnan(recording.signal).all(axis=(0, 2)), recording.mask
        )
    kept = ~trials["V01"].fnirs.mask
    np.testing.assert_array_equal(trials["V01"].fnirs.signal[:, kept], saved[:, kept])
    assert trials["V01"].eeg is None
    assert trials["V01"].baseline.eeg is None
    assert not read(root, "test_1")[0]["V01"].fnirs.mask.any()


@pytest.mark.parametrize(
    ("change", "good_trials", "message"),
    [
        (lambda lines: lines[:2], None, "no row for test_2"),
        (
            lambda lines: [*lines, lines[1].replace("test_1", "x")],
            (),
            "not in data/: 'x'",
        ),
        (
            lambda lines: [*lines, lines[2][:-1] + "0"],
            [50],
            "line 4: test_2 comes more than once; channels are missing if any row says",
        ),
        (lambda lines: [*lines[:2], lines[2].replace("test_2", "2")], (), None),
    ],
)
def test_reservations_are_matched_to_people(
    good, tmp_path, change, good_trials, message
):
    root = broken.break_copy(good, tmp_path / "folder", "missing_file")
    broken.edit_lines(root / "fNIRS_reservations.csv", change)
    dataset = open_dataset(root)
    mask = dataset.masks.get("test_2")
    if good_trials is None:
        assert mask is None
    else:
        np.testing.assert_array_equal(np.flatnonzero(mask), good_trials)
    messages = [problem.message for problem in dataset.problems]
    assert len(messages) == (message is not None)
    assert message is None or message in messages[0]


def test_infinite_samples_are_missing(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")

    def spoil(arrays):
        arrays["video_1"][3, :7] = np.inf
        arrays["video_1"][4, 9] = -np.inf

    broken.edit_mat(broken.file_of(root, "EEG_videos"), spoil)
    trial = read(root)[0]["V01"]
    assert trial.notes == ("8 infinite samples of eeg are missing",)
    assert np.isnan(trial.eeg.signal).sum() == 8
    assert not np.isinf(trial.eeg.signal).any()


def test_a_silent_video_fails_and_the_rest_comes(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    broken.edit_mat(
        broken.file_of(root, "fNIRS_videos"),
        lambda arrays: arrays["video_2"].fill(np.nan),
    )
    trials, failures = read(root)
    assert [(f.person, f.stimulus) for f in failures] == [("test_2", "V02")]
    assert trials["V02"].fnirs is None
    assert trials["V02"].eeg is not None
    assert trials["V03"].fnirs is not None


def test_a_cut_file_still_gives_what_it_holds(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "truncated_mat")
    trials, failures = read(root)
    assert len(failures) == 1
    assert [trial.eeg is not None for trial in trials.values()] == [True, False, False]
    assert all(trial.fnirs is not None for trial in trials.values())


def test_wrong_labels_leave_the_signals(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "label_out_of_range")
    trials, failures = read(root)
    assert [failure.stimulus for failure in failures] == ["V02"]
    assert [trial.targets is None for trial in trials.values()] == [False, True, False]


def test_whole_number_arrays_become_floats(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    broken.edit_mat(
        broken.file_of(root, "EEG_videos"),
        lambda arrays: arrays.update(video_1=arrays["video_1"].astype(np.int16)),
    )
    trial = read(root)[0]["V01"]
    assert trial.eeg.signal.dtype == np.float64
    saved = arrays_of(root, "EEG_videos")["video_1"]
    np.testing.assert_array_equal(trial.eeg.signal, saved)


def test_trials_do_not_pile_up_in_memory(good):
    trials = open_dataset(good).trials("test_1")
    first = weakref.ref(next(trials).eeg.signal)
    gc.collect()
    assert first() is None
    assert next(trials).stimulus == "V02"


# Folders


def test_layouts_roles_and_sources(tmp_path):
    def facts(name, people, **options):
        folder = tmp_path / name
        root = broken.make_folder(folder, people=people, simulated=False, **options)
        dataset = open_dataset(root)
        assert [p for p in dataset.problems if p.severity != "note"] == []
        return dataset.layout, dataset.role, dataset.source

    assert facts("a", ("test_1",)) == ("trainval", "train", "mer-ps-trainval")
    assert facts("b", ("predict1",), ids=True, targets=True) == (
        *("leaderboard", "eval-only", "mer-ps-leaderboard"),
    )
    assert facts("c", ("1", "2")) == ("refed", "train", "refed")
    assert facts("d", ("sub-01",), reservations=False) == ("refed", "train", "refed")
    assert facts("e", ("predict1",), labels=False, ids=True, reservations=False) == (
        *("input", "eval-only", "mer-ps-leaderboard"),
    )
    assert facts("f", ("anna",)) == ("trainval", "train", "unlisted")
    terms = open_dataset(tmp_path / "b").terms
    assert "active leaderboard" in terms


def test_trials_without_labels_take_their_length_from_the_ids(tmp_path):
    root = broken.make_folder(
        tmp_path, people=("predict1",), labels=False, ids=True, simulated=False
    )
    broken.edit_lines(root / "sample_ids.csv", lambda lines: lines[:-1])
    trials, failures = read(root, "predict1")
    assert failures == []
    assert [trial.targets for trial in trials.values()] == [None] * 3
    assert [trial.eeg.duration_s for trial in trials.values()] == [6, 7, 7]
    assert trials["V01"].notes == ()
    ids = open_dataset(root).sample_ids()
    assert len(ids) == 20
    assert ids[-1] == "predict1_V03_T006"


def test_without_labels_and_ids_there_are_still_trials(tmp_path):
    root = broken.make_folder(tmp_path / "x", labels=False, reservations=False)
    dataset = open_dataset(root)
    assert dataset.sample_ids() is None
    assert [problem.severity for problem in dataset.problems] == ["note"]
    assert {name: trial.notes for name, trial in read(root)[0].items()} == {
        "V01": (),
        "V02": (),
        "V03": (),
    }


def test_simulated_data_say_so_and_keep_their_role(tmp_path):
    train = open_dataset(broken.make_folder(tmp_path / "a"))
    assert (train.source, train.role) == ("simulated", "train")
    assert "may be shared" in train.terms
    root = broken.make_folder(tmp_path / "b", people=("predict1",))
    assert open_dataset(root).role == "eval-only"
    (root / "simulation.json").write_text(json.dumps({"source": "simulated"}))
    dataset = open_dataset(root)
    assert dataset.source == "mer-ps-leaderboard"
    assert "it lacks coupling, layout, seed" in dataset.problems[0].message
    for text in ("3", '["source", "layout", "seed", "coupling"]'):
        (root / "simulation.json").write_text(text)
        message = open_dataset(root).problems[0].message
        assert "it lacks coupling, layout, seed, source" in message
    (root / "simulation.json").write_text("{")
    assert "simulation.json" in open_dataset(root).problems[0].where


def test_the_folder_above_or_a_link_to_it_will_do(good, tmp_path):
    assert open_dataset(good.parent).root == good.resolve()
    link = tmp_path / "link"
    link.symlink_to(good)
    dataset = open_dataset(link)
    assert dataset.root == good.resolve()
    assert dataset.problems == ()
    assert len([*dataset.trials("test_1")]) == 3


def test_two_releases_are_not_mixed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "data").mkdir(parents=True)
    with pytest.raises(
        DataError, match="found 2 that do: a, b; pass the folder of one"
    ):
        open_dataset(tmp_path)


def test_a_label_folder_outside_is_refused(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "duplicate_reservations")
    (root / "annotations").rename(tmp_path / "elsewhere")
    (root / "annotations").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a link that leaves it"):
        open_dataset(root)


def test_links_in_a_circle_are_refused(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "missing_file")
    broken.file_of(root, "EEG_videos").symlink_to(broken.file_of(root, "EEG_videos"))
    (failure,) = read(root)[1]
    assert "EEG_videos.mat" in failure.message


def test_input_files_are_those_that_are_read(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "missing_file")
    dataset = open_dataset(root)
    names = [str(path.relative_to(root)) for path in dataset.input_files("test_2")]
    assert names == [
        "data/test_2/fNIRS_videos.mat",
        "data/test_2/EEG_baselines.mat",
        "data/test_2/fNIRS_baselines.mat",
        "annotations/test_2_label.mat",
        "fNIRS_reservations.csv",
    ]
    linked = broken.break_copy(good, tmp_path / "linked", "file_link_out_of_folder")
    files = open_dataset(linked).input_files("test_2")
    assert linked / "data/test_2/EEG_videos.mat" not in files
    for verb in (
        dataset.input_files,
        dataset.survey,
        lambda x: next(dataset.trials(x)),
    ):
        with pytest.raises(
            InputError, match=r"no person 'test_9' in .* test_1, test_2"
        ):
            verb("test_9")
