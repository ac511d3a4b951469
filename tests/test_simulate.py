import csv
import json

import numpy as np
import pytest
from scipy.io import loadmat, whosmat
from simulated import KEYS, VIDEO_S, digests, names_in, write

from merps.datasets.arrays import EEG_CHANNELS, FNIRS_CHANNELS, fnirs_length
from merps.datasets.mer_ps import open_dataset
from merps.datasets.simulate.world import World
from merps.inspection import check_dataset
from merps.predictions import read_targets
from merps.readers.mat5 import MatFile

PERSON_FILES = (
    "EEG_videos.mat",
    "EEG_baselines.mat",
    "fNIRS_videos.mat",
    "fNIRS_baselines.mat",
)
SIDE_FILES = (
    "README.md",
    "simulation.json",
    "oracle.json",
    "oracle_fusion.json",
    "Targeted_emotions.txt",
    "fNIRS_coordinates.csv",
    "fNIRS_reservations.csv",
)


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return {
        "trainval": write(root / "trainval", people=3, jobs=2),
        "leaderboard": write(root / "new", layout="leaderboard", eeg_rate_hz=1000.0),
    }


@pytest.fixture(params=["trainval", "leaderboard"])
def simulation(made, request):
    return made[request.param]


@pytest.fixture
def known(made):
    return made["trainval"]


@pytest.fixture
def new(made):
    return made["leaderboard"]


def rate_of(simulation):
    return 1000 if simulation.people[0].startswith("predict") else 200


# The folder


def test_people_are_named_as_in_the_release(known, new):
    assert known.people == ("test_1", "test_2", "test_3")
    assert new.people == ("predict1", "predict2")


def test_files_are_those_of_the_release_and_no_others(known, new):
    for simulation in (known, new):
        expected = set(SIDE_FILES)
        for name in simulation.people:
            expected |= {f"data/{name}/{file}" for file in PERSON_FILES}
            expected.add(f"annotations/{name}_label.mat")
        if simulation is new:
            expected |= {"sample_ids.csv", "targets.csv"}
        else:
            expected |= {"Metadata.csv", "SAM_score.csv", "PANAS_score.csv"}
        assert names_in(simulation.path) == expected
        assert [p.name for p in simulation.path.parent.glob(".*")] == []


def shape_of(name, video, rate_hz):
    n_seconds = VIDEO_S[video]
    return {
        "EEG_videos.mat": (64, n_seconds * rate_hz),
        "EEG_baselines.mat": (64, 5 * rate_hz),
        "fNIRS_videos.mat": (6, 51, fnirs_length(n_seconds)),
        "fNIRS_baselines.mat": (6, 51, 238),
    }.get(name, (2, n_seconds))


def test_variables_have_the_keys_shapes_and_type_of_the_release(simulation):
    for path in simulation.path.rglob("*.mat"):
        assert path.read_bytes().startswith(b"MATLAB 5.0 MAT-file")
        expected = [
            (key, shape_of(path.name, video, rate_of(simulation)), "double")
            for video, key in enumerate(KEYS)
        ]
        assert whosmat(path) == expected


def test_both_readers_find_the_same_numbers(simulation):
    for path in simulation.path.rglob("*.mat"):
        content = loadmat(path)
        with MatFile(path) as file:
            assert tuple(file.variables) == KEYS
            assert file.skipped == {}
            for key in KEYS:
                array = file.read(key)
                assert array.dtype == content[key].dtype == np.float64
                np.testing.assert_array_equal(array, content[key])
                assert np.isfinite(array).all()


def test_the_check_finds_no_problem(simulation):
    result = check_dataset(simulation.path)
    assert result.problems == ()
    assert (result.people, result.trials) == (
        len(simulation.people),
        3 * len(simulation.people),
    )


def test_the_reader_gives_complete_trials(simulation):
    dataset = open_dataset(simulation.path)
    assert dataset.people == simulation.people
    for name in dataset.people:
        trials = list(dataset.trials(name))
        assert [trial.stimulus for trial in trials] == ["V01", "V02", "V03"]
        for trial in trials:
            assert trial.notes == ()
            assert trial.eeg.rate_hz == rate_of(simulation)
            assert trial.eeg.channels == EEG_CHANNELS
            assert trial.fnirs.channels == FNIRS_CHANNELS
            assert trial.baseline.eeg.duration_s == 5
            assert trial.baseline.fnirs.duration_s == pytest.approx(5, abs=0.03)


def test_roles_and_source(known, new):
    first, second = open_dataset(known.path), open_dataset(new.path)
    assert (first.layout, second.layout) == ("trainval", "leaderboard")
    assert (first.role, second.role) == ("train", "eval-only")
    assert first.source == second.source == "simulated"


def test_rest_runs_into_the_video_without_a_jump(simulation):
    folder = simulation.path / "data" / simulation.people[0]
    for modality in ("EEG", "fNIRS"):
        rests = loadmat(folder / f"{modality}_baselines.mat")
        videos = loadmat(folder / f"{modality}_videos.mat")
        for key in KEYS:
            step = np.abs(videos[key][..., 0] - rests[key][..., -1])
            typical = np.abs(np.diff(videos[key])).mean()
            assert np.median(step) < 3 * typical


def test_labels_are_those_of_the_world(known):
    world = World(5, 1.0, "trainval", VIDEO_S)
    for person, name in enumerate(known.people):
        labels = loadmat(known.path / "annotations" / f"{name}_label.mat")
        for video, key in enumerate(KEYS):
            expected = world.targets(person, video).T
            np.testing.assert_array_equal(labels[key], expected)
            assert labels[key].min() >= 1
            assert labels[key].max() <= 255


def test_layouts_share_videos_and_differ_in_people(known, new):
    emotions = [(s.path / "Targeted_emotions.txt").read_bytes() for s in (known, new)]
    assert emotions[0] == emotions[1]
    assert emotions[0].splitlines()[0] == b"V01\tNeutral"
    labels = [
        loadmat(s.path / "annotations" / f"{s.people[0]}_label.mat")["video_3"]
        for s in (known, new)
    ]
    assert not np.array_equal(*labels)


# Side files


def test_unusable_channels_are_marked_and_masked(known):
    header, *rows = table(known.path / "fNIRS_reservations.csv")
    assert header == ["sub_id", *(f"ch-{k}" for k in range(1, 52))]
    assert [row[0] for row in rows] == list(known.people)
    dataset = open_dataset(known.path)
    n_bad = 0
    for name, *usable in rows:
        bad = np.array(usable) == "0"
        assert set(usable) <= {"0", "1"}
        n_bad += bad.sum()
        (trial, *_) = dataset.trials(name)
        masked = np.zeros(51, bool) if trial.fnirs.mask is None else trial.fnirs.mask
        np.testing.assert_array_equal(masked, bad)
    assert n_bad > 0  # this seed has some


def test_unusable_channels_see_no_light(known):
    for name, *usable in table(known.path / "fNIRS_reservations.csv")[1:]:
        content = loadmat(known.path / "data" / name / "fNIRS_videos.mat")["video_3"]
        hbo = content[0]
        following = np.sum(hbo[:, 1:] * hbo[:, :-1], axis=1) / np.sum(hbo**2, axis=1)
        np.testing.assert_array_equal(following < 0.3, np.array(usable) == "0")


def test_values_are_in_the_observed_ranges(simulation):
    for name in simulation.people:
        folder = simulation.path / "data" / name
        for video in loadmat(folder / "fNIRS_videos.mat", variable_names=KEYS).values():
            if isinstance(video, np.ndarray):
                assert np.abs(video[:2]).max() < 5
                assert np.abs(video[2]).max() < 4
                np.testing.assert_allclose(video[2], video[0] + video[1], atol=1e-6)
                assert 0.6 - 1e-6 <= video[3:].min()
                assert video[3:].max() <= 4.5
        eeg = loadmat(folder / "EEG_videos.mat")["video_1"]
        assert 2 < np.median(eeg.std(axis=1)) < 60


def test_ids_and_targets_are_those_of_the_labels(new):
    ids, values = read_targets(new.path / "targets.csv")
    asked = [row[0] for row in table(new.path / "sample_ids.csv")]
    assert asked == ["sample_id", *ids]
    assert ids[0] == "predict1_V01_T000"
    assert ids[-1] == "predict2_V03_T007"
    labels = [
        loadmat(new.path / "annotations" / f"{name}_label.mat")[key].T
        for name in new.people
        for key in KEYS
    ]
    np.testing.assert_array_equal(values, np.concatenate(labels))


def test_questionnaires_have_a_row_for_each_person(known):
    sam = table(known.path / "SAM_score.csv")
    assert sam[0][:3] == ["sub_id", "Video_1_Valence", "Video_1_Arousal"]
    assert len(sam[0]) == 1 + 2 * 3
    for name in ("SAM_score.csv", "PANAS_score.csv", "Metadata.csv"):
        rows = table(known.path / name)
        assert [row[0] for row in rows[1:]] == list(known.people)
        assert {len(row) for row in rows} == {len(rows[0])}
    answers = np.array([row[1:] for row in sam[1:]], dtype=int)
    assert answers.min() >= 1
    assert answers.max() <= 9


def test_channels_have_places(known):
    header, *rows = table(known.path / "fNIRS_coordinates.csv")
    assert header == ["channel", "x", "y", "z"]
    assert [row[0] for row in rows] == list(FNIRS_CHANNELS)
    x, y, _ = np.array([row[1:] for row in rows], dtype=float).T
    assert (x[:17] > 0).all()
    assert (x[17:34] < 0).all()
    assert (y[34:] > 0.05).all()


def test_the_folder_says_what_it_is(known, new):
    for simulation, layout, rate_hz in (
        (known, "trainval", 200),
        (new, "leaderboard", 1000),
    ):
        options = json.loads((simulation.path / "simulation.json").read_text())
        assert options == {
            "source": "simulated",
            "layout": layout,
            "seed": 5,
            "coupling": 1.0,
            "people": len(simulation.people),
            "eeg_rate_hz": rate_hz,
            "video_s": list(VIDEO_S),
            "eeg_backgrounds": [],
            "fnirs_backgrounds": [],
        }
        text = (simulation.path / "README.md").read_text()
        assert "Nobody was recorded" in text
        assert layout in text
        for name in ("oracle", "oracle_fusion"):
            oracle = json.loads((simulation.path / f"{name}.json").read_text())
            assert oracle == getattr(simulation, name)
            assert set(oracle) == {"people", "videos", "both", "within"}


# Seeds and options


def test_same_seed_same_bytes_with_any_number_of_jobs(known, tmp_path):
    again = write(tmp_path / "again", people=3, jobs=1)
    assert digests(again.path) == digests(known.path)
    assert again.oracle == known.oracle


def test_more_people_leave_the_first_ones_alone(known, tmp_path):
    fewer = write(tmp_path / "fewer", people=1)
    for name in names_in(fewer.path / "data"):
        alone = (fewer.path / "data" / name).read_bytes()
        assert alone == (known.path / "data" / name).read_bytes()


def test_another_seed_changes_every_signal_and_label(known, tmp_path):
    other = write(tmp_path / "other", people=1, seed=6)
    first, second = digests(known.path), digests(other.path)
    for name in second:
        if name.endswith(".mat"):
            assert first[name] != second[name]


def test_coupling_changes_signals_and_no_label(known, tmp_path):
    silent = write(tmp_path / "silent", people=1, coupling=0.0)
    first, second = digests(known.path), digests(silent.path)
    assert (
        first["annotations/test_1_label.mat"] == second["annotations/test_1_label.mat"]
    )
    for name in ("EEG_videos.mat", "fNIRS_videos.mat"):
        assert first[f"data/test_1/{name}"] != second[f"data/test_1/{name}"]


def test_compression_changes_no_number(known, tmp_path):
    plain = write(tmp_path / "plain", people=1, compress=False)
    for name in PERSON_FILES:
        paths = [s.path / "data" / "test_1" / name for s in (known, plain)]
        small, large = (path.stat().st_size for path in paths)
        assert small < large
        first, second = map(loadmat, paths)
        for key in KEYS:
            np.testing.assert_array_equal(first[key], second[key])


def test_one_person_and_one_short_video_will_do(tmp_path):
    simulation = write(tmp_path / "least", people=1, video_s=[4])
    assert simulation.oracle == simulation.oracle_fusion == {}
    assert check_dataset(simulation.path).trials == 1
