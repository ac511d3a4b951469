from dataclasses import replace

import numpy as np
import pytest
from recorded import make_intensity, write_edf, write_fnirs
from written import Xdf, write_brainvision

import merps
from merps.config import load_config
from merps.dataset_options import DatasetConfig, FilesConfig
from merps.datasets.lab import open_lab
from merps.errors import ConfigError, DataError
from merps.inspection import check_dataset
from merps.options import Config
from merps.recording import Trial
from merps.store import Store

NAMES = ["Fp1", "Cz", "O2"]
KINDS = ["760nm", "850nm"]


def described(*paths, **options):
    files = tuple(FilesConfig(path=path) for path in paths)
    return Config(dataset=DatasetConfig(files=files, **options))


def section(config):
    return config.dataset.model_dump(mode="json")


def read_all(root, config):
    """All trials and failures of a folder."""
    dataset = open_lab(root, section(config))
    trials, failures = [], []
    for person in dataset.people:
        with dataset.open_person(person) as opened:
            failures += opened.failures
            for plan in opened.plans:
                for item in opened.read(plan):
                    (trials if isinstance(item, Trial) else failures).append(item)
                opened.release(plan)
    return trials, [failure.message for failure in failures]


def write_ratings(path, n, *, low=1.0, high=255.0, rate_hz=1.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.arange(int(n * rate_hz)) / rate_hz
    values = np.clip(
        (low + high) / 2
        + (high - low) / 20 * rng.normal(size=(len(rows), 2)).cumsum(0),
        low,
        high,
    )
    lines = [f"{t},{v:.6f},{a:.6f}" for t, (v, a) in zip(rows, values, strict=True)]
    path.write_text("\n".join(["time,valence,arousal", *lines]))


@pytest.fixture
def folder(rng, tmp_path):
    """Two people, two stimuli of 9 s, EEG and fNIRS in files of their own, ratings."""
    for person in ("anna", "ben"):
        for film in ("x", "y"):
            eeg = 50 * rng.normal(size=(3, 900))
            write_edf(tmp_path / f"{person}_{film}.edf", eeg, NAMES, rate_hz=100)
            light = make_intensity(rng, n_times=90)
            write_fnirs(tmp_path / f"{person}_{film}.snirf", light)
            write_ratings(tmp_path / f"{person}_{film}.csv", 9, seed=len(film))
    return tmp_path


def rated(**options):
    return described(
        "{person}_{stimulus}.edf",
        "{person}_{stimulus}.snirf",
        targets={"path": "{person}_{stimulus}.csv", **options},
    )


def test_files_become_trials(folder):
    trials, failures = read_all(folder, rated())
    assert failures == []
    assert [(t.person, t.stimulus) for t in trials] == [
        *(("anna", "V01"), ("anna", "V02"), ("ben", "V01"), ("ben", "V02"))
    ]
    for trial in trials:
        assert trial.eeg.signal.shape == (3, 900)
        assert trial.eeg.unit == "uV"
        assert 20 < trial.eeg.signal.std() < 80
        assert trial.fnirs.kinds == ("760nm", "850nm")
        assert trial.fnirs.distances_m == pytest.approx([0.03] * 3, rel=1e-5)
        assert trial.targets.shape == (9, 2)


def test_the_whole_job(folder, tmp_path):
    config = rated()
    kinds = {"kinds": tuple(KINDS)}
    fnirs = config.preprocess.fnirs.model_copy(update=kinds)
    config = config.model_copy(
        update={
            "preprocess": config.preprocess.model_copy(update={"fnirs": fnirs}),
            "features": config.features.model_copy(update=kinds),
            "model": config.model.model_copy(
                update={"inner_folds": 3, "alphas": (100.0,)}
            ),
        }
    )
    store, run = tmp_path / "store", tmp_path / "run"
    done = merps.preprocess_dataset(folder, store, config=config)
    assert (done.done, done.failed) == (("anna", "ben"), ())
    again = merps.preprocess_dataset(folder, store, config=config)
    assert again.skipped == ("anna", "ben")
    with Store.open(store).person("anna") as stored:
        trial = stored.trial("V01")
        assert trial.eeg.rate_hz == 200
        assert trial.eeg.signal.shape == (3, 1800)
        assert trial.fnirs.distances_m == pytest.approx([0.03] * 3, rel=1e-5)
        assert trial.fnirs.optodes.shape == (3, 2, 3)
    merps.fit_model(store, run, model="video_time", config=config)
    for name in ("anna_x.csv", "anna_y.csv", "ben_x.csv", "ben_y.csv"):
        (folder / name).unlink()  # nobody rated: there is still something to predict
    predicted = merps.predict_dataset(
        run, folder, tmp_path / "predictions.csv", config=config
    )
    assert len(predicted.ids) == 4 * 9
    assert predicted.ids[0] == "anna_V01_T000"
    assert np.isfinite(predicted.values).all()


def test_options_that_cut_trials_count_for_what_is_kept(folder, tmp_path):
    config = described("{person}_{stimulus}.edf")
    merps.preprocess_dataset(folder, tmp_path / "store", config=config)
    placed = described("{person}_{stimulus}.edf", montage="colin27_1005")
    done = merps.preprocess_dataset(folder, tmp_path / "store", config=placed)
    assert done.done == ("anna", "ben")
    with Store.open(tmp_path / "store").person("ben") as stored:
        assert np.isfinite(stored.trial("V02").eeg.positions).all()


@pytest.mark.parametrize("modality", ["edf", "snirf"])
def test_one_modality_without_ratings(folder, modality):
    trials, failures = read_all(
        folder, described(f"{{person}}_{{stimulus}}.{modality}")
    )
    assert failures == []
    assert all(t.targets is None for t in trials)
    assert {t.eeg is None for t in trials} == {modality == "snirf"}


def test_a_file_without_stimulus(folder):
    (folder / "solo").mkdir()
    (folder / "anna_x.edf").rename(folder / "solo" / "carla.edf")
    trials, failures = read_all(folder, described("solo/{person}.edf"))
    assert failures == []
    assert [(t.person, t.stimulus) for t in trials] == [("carla", "V01")]


def test_ratings_on_another_scale(folder):
    for path in folder.glob("*.csv"):
        write_ratings(path, 9, low=-1, high=1, rate_hz=20)
    trials, failures = read_all(folder, rated())
    assert all("expected ratings in 1 to 255" in message for message in failures)
    assert len(failures) == 4
    assert [trial.targets for trial in trials] == [None] * 4  # signals are still good
    trials, failures = read_all(folder, rated(scale=(-1.0, 1.0)))
    assert failures == []
    assert all(t.targets.min() >= 1 and t.targets.max() <= 255 for t in trials)


def test_a_small_scale_is_suspected(folder):
    for path in folder.glob("*.csv"):
        write_ratings(path, 9, low=1, high=9)
    problems = check_dataset(folder, config=rated()).problems
    (found,) = [p for p in problems if p.severity == "warning"]
    assert "state its range as dataset.targets.scale" in found.message


@pytest.mark.parametrize(("seconds", "is_read"), [(8, True), (10, True), (7, False)])
def test_lengths_may_differ_by_a_second(rng, folder, seconds, is_read):
    eeg = 50 * rng.normal(size=(3, 100 * seconds))
    write_edf(folder / "ben_y.edf", eeg, NAMES, rate_hz=100)
    trials, failures = read_all(folder, rated())
    assert (len(trials), len(failures)) == ((4, 0) if is_read else (3, 1))
    if is_read:
        assert any(f"eeg lasts {seconds}.00 s" in note for note in trials[3].notes)
        assert trials[3].eeg.n_times == 100 * min(seconds, 9)
    else:
        assert "expected 9.00 s of eeg from onset on, by its ratings" in failures[0]


# Annotations


@pytest.fixture
def marked(rng, tmp_path):
    """One recording of 40 s with a ramp, in which stimuli begin at marks."""
    ramp = np.tile(np.arange(8000.0), (2, 1))
    marks = [(1001, "happy"), (3002, "sad"), (5001, "happy"), (7001, "other")]
    write_brainvision(tmp_path / "P1.vhdr", ramp, ["Cz", "VEOG"], marks=marks)
    return tmp_path


def at_marks(**options):
    stimuli = {"V01": "Stimulus/happy", "V02": "Stimulus/sad"}
    stimuli |= {"V07": "Stimulus/happy#2"}
    return described("{person}.vhdr", onsets="annotations", stimuli=stimuli, **options)


def test_stimuli_begin_at_annotations(marked):
    trials, failures = read_all(marked, at_marks(duration_s=8.0, rest_s=2.0))
    assert failures == []
    assert [t.stimulus for t in trials] == ["V01", "V02", "V07"]
    for trial, first in zip(trials, (1000, 3001, 5000), strict=True):
        np.testing.assert_allclose(trial.eeg.signal[0], first + np.arange(1600))
        assert trial.eeg.start_s == pytest.approx(0, abs=1e-9)
        rest = trial.baseline.eeg
        np.testing.assert_allclose(rest.signal[0], first - 400 + np.arange(400))
        assert rest.start_s == pytest.approx(-2)
        assert trial.eeg.types == ("eeg", "eog")
        assert any(a.onset_s == pytest.approx(0) for a in trial.eeg.annotations)


def test_without_a_length_a_stimulus_ends_at_the_next(marked):
    trials, _ = read_all(marked, at_marks())
    # BrainVision gives each mark the length of one sample, which is no stimulus.
    assert [t.eeg.n_times for t in trials] == [2001, 1999, 3000]


def test_ratings_count_from_the_annotation(marked):
    write_ratings(marked / "P1_Stimulus-sad.csv", 9)
    targets = {"path": "{person}_Stimulus-sad.csv"}
    config = described(
        "{person}.vhdr",
        onsets="annotations",
        stimuli={"V02": "Stimulus/sad"},
        targets=targets,
    )
    (trial,), failures = read_all(marked, config)
    assert failures == []
    assert trial.targets.shape == (9, 2)
    assert trial.eeg.n_times == 1800
    np.testing.assert_allclose(trial.eeg.signal[0, 0], 3001)


def test_labels_that_are_not_there(marked):
    config = described("*.vhdr", onsets="annotations", stimuli={"V01": "none"})
    config = replace_person(config, "P1")
    trials, (message,) = read_all(marked, config)
    assert trials == []
    assert "found Stimulus/happy, Stimulus/sad" in message


def replace_person(config, person):
    files = tuple(f.model_copy(update={"person": person}) for f in config.dataset.files)
    dataset = config.dataset.model_copy(update={"files": files})
    return config.model_copy(update={"dataset": dataset})


def test_annotations_need_names(marked):
    with pytest.raises(ConfigError, match=r"dataset\.stimuli is empty"):
        open_lab(marked, section(described("{person}.vhdr", onsets="annotations")))


def test_only_eeg_is_kept(marked, tmp_path):
    config = at_marks(duration_s=8.0)
    merps.preprocess_dataset(marked, tmp_path / "store", config=config)
    with Store.open(tmp_path / "store").person("P1") as stored:
        assert stored.trial("V01").eeg.channels == ("Cz",)


# XDF: both modalities and their gaps


def test_a_gap_stays_missing_in_the_store(rng, tmp_path):
    xdf = Xdf()
    times_s = 100 + np.arange(1200) / 100
    times_s[400:] += 2.0
    rows = [{"label": name, "type": "EEG", "unit": "uV"} for name in NAMES]
    xdf.header(1, name="amp", kind="EEG", n_channels=3, rate_hz=100, channels=rows)
    xdf.samples(1, times_s, 50 * rng.normal(size=(1200, 3)))
    (tmp_path / "data").mkdir()
    xdf.write(tmp_path / "data" / "P1.xdf")
    config = described("{person}.xdf")
    merps.preprocess_dataset(tmp_path / "data", tmp_path / "store", config=config)
    with Store.open(tmp_path / "store").person("P1") as stored:
        signal = stored.trial("V01").eeg.signal
    missing = np.isnan(signal[0])
    assert missing.sum() / 200 == pytest.approx(2, abs=0.02)
    assert missing[810:1190].all()


# What is wrong is told


def test_one_bad_file_costs_one_trial(folder, tmp_path):
    path = folder / "anna_x.edf"
    path.write_bytes(path.read_bytes()[:-100])
    trials, failures = read_all(folder, described("{person}_{stimulus}.edf"))
    assert len(trials) == 3
    assert "100 shorter" in failures[0]
    done = merps.preprocess_dataset(
        folder, tmp_path / "store", config=described("{person}_{stimulus}.edf")
    )
    assert done.done == ("anna", "ben")
    assert [person for person, _ in done.failed] == ["anna"]


def test_two_files_of_one_stimulus(folder):
    (folder / "anna_x.bdf").write_bytes(b"")
    (folder / "anna_x.bdf").unlink()
    (folder / "again").mkdir()
    (folder / "anna_x.edf").rename(folder / "again" / "anna_y.edf")
    _, failures = read_all(folder, described("**/{person}_{stimulus}.edf"))
    (message,) = failures
    assert "EEG of 'y' is in anna_y.edf already" in message


def test_check_names_every_problem(folder):
    (folder / "note_of_nobody.edf").write_bytes(b"")
    (folder / "ben_x.csv").write_text("nothing")
    config = rated()
    files = (*config.dataset.files, FilesConfig(path="{person}-none.bdf"))
    dataset = config.dataset.model_copy(update={"files": files})
    result = check_dataset(
        folder, config=config.model_copy(update={"dataset": dataset})
    )
    told = [(p.severity, p.message) for p in result.problems]
    assert ("warning", "no recording fits '{person}-none.bdf'") in told
    assert any(s == "error" and "expected columns time" in m for s, m in told)
    assert any(s == "error" and "cannot be read" in m for s, m in told)
    assert ("note", "V01 is of_nobody, V02 is x, V03 is y") in told
    assert (result.people, result.trials) == (3, 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (described("{person}.bdf"), "expected recordings that the dataset section"),
        (described("anna_x.edf"), "does not say whose anna_x.edf is"),
        (described(), "dataset.files is empty"),
    ],
)
def test_sections_that_describe_nothing(folder, config, message):
    with pytest.raises((ConfigError, DataError), match=message):
        read_all(folder, config)


def test_a_montage_that_is_none(folder):
    config = described("{person}_{stimulus}.edf", montage="flat")
    _, failures = read_all(folder, config)
    assert "no montage 'flat'; MNE has" in failures[0]


def test_a_link_that_leaves_the_folder_is_left_out(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "carla_x.edf"
    other.write_bytes((folder / "anna_x.edf").read_bytes())
    (folder / "carla_x.edf").symlink_to(other)
    dataset = open_lab(folder, section(described("{person}_{stimulus}.edf")))
    assert dataset.people == ("anna", "ben")


def test_a_folder_of_ones_own_is_told_about_init(folder, tmp_path):
    with pytest.raises(DataError, match="merps init"):
        merps.preprocess_dataset(folder, tmp_path / "store")


def test_unknown_options_are_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "dataset:\n  files: [{path: 'a', modalty: eeg}]\n  stimuli: {X: a}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "modalty" in str(caught.value)
    assert "stimuli" in str(caught.value)


def test_ids_that_are_asked_for(folder):
    ids = [f"anna_V01_T{t:03d}" for t in range(10)]
    (folder / "sample_ids.csv").write_text("\n".join(["sample_id", *ids]))
    dataset = open_lab(folder, section(described("{person}_{stimulus}.edf")))
    assert dataset.sample_ids() == ids
    assert dataset.seconds == {"anna": {"V01": 10}}
    assert replace(dataset, role="train") == dataset


def test_one_name_for_two_stimuli_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("dataset:\n  stimuli: {V01: a, V02: a}\n")
    with pytest.raises(ConfigError, match="stimuli names a twice"):
        load_config(path)
