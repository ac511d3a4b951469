import json
import logging
import shutil
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from types import SimpleNamespace

import broken
import numpy as np
import pytest
from scipy.io import loadmat
from scipy.signal import butter, iirnotch, sosfiltfilt, tf2sos

from merps.config import load_config
from merps.datasets.mer_ps import open_dataset
from merps.errors import DataError, InputError, SpaceError
from merps.options import PreprocessConfig
from merps.pipeline import preprocess_dataset, preprocess_trial
from merps.pipeline.trials import preprocess_plan
from merps.preprocessing.filters import resample
from merps.recording import Baseline, Recording, Trial
from merps.store import Store
from merps.store.layout import build_image
from merps.windows import WindowGrid, gather_windows

FNIRS_HZ = 1000 / 21
RAW = PreprocessConfig().model_copy(
    update={
        "eeg": PreprocessConfig().eeg.model_copy(update={"band_pass": None}),
        "fnirs": PreprocessConfig().fnirs.model_copy(update={"band_pass": None}),
    }
)


@pytest.fixture
def copy(noise, tmp_path):
    return shutil.copytree(noise, tmp_path / "copy")


def files_of(store):
    """Bytes and modification time of every file, but for caches and locks."""
    return {
        str(path.relative_to(store)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in ("inputs.json", ".lock")
    }


def bytes_of(store):
    return {name: content for name, (content, _) in files_of(store).items()}


def stored_trial(store, person, stimulus):
    with Store.open(store).person(person) as stored:
        return stored.trial(stimulus)


def eeg(signal, rate_hz=200.0, start_s=0.0):
    names = tuple(f"E{c}" for c in range(len(signal)))
    return Recording(signal, rate_hz, start_s, names, "voltage", "uV")


def fnirs(signal, start_s=0.0, kinds=("HbO", "HbR", "HbT")):
    names = tuple(f"ch-{c}" for c in range(signal.shape[1]))
    quantity = ("concentration",) * len(kinds)
    unit = ("a.u.",) * len(kinds)
    return Recording(signal, FNIRS_HZ, start_s, names, quantity, unit, kinds)


def by_hand(signal, rate_hz, low_hz, high_hz, pad_s):
    kind = "lowpass" if low_hz is None else "bandpass"
    edges = high_hz if low_hz is None else (low_hz, high_hz)
    sections = butter(4, edges, kind, fs=rate_hz, output="sos")
    n_pad = min(round(pad_s * rate_hz), signal.shape[-1] - 1)
    return sosfiltfilt(sections, signal, padtype="odd", padlen=n_pad)


# What is stored


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-4), ("float64", 1e-9)])
def test_a_stored_trial_is_what_scipy_makes_of_it(noise, tmp_path, precision, rtol):
    config = load_config(None, [f"preprocess.precision={precision}"])
    preprocess_dataset(noise, tmp_path / "store", config=config)
    trial = stored_trial(tmp_path / "store", "test_2", "V03")
    files = {name: loadmat(broken.file_of(noise, name)) for name in broken.FILES}

    def whole(modality):
        parts = (f"{modality}_baselines", f"{modality}_videos")
        return np.concatenate([files[p]["video_3"] for p in parts], axis=-1)

    expected = by_hand(whole("EEG"), 200.0, 0.5, 45.0, 5.0)
    assert trial.eeg.signal.dtype == precision
    assert (trial.eeg.rate_hz, trial.eeg.start_s) == (200, -5)
    atol = rtol * expected.std()
    np.testing.assert_allclose(trial.eeg.signal, expected, rtol=rtol, atol=atol)

    slow = resample(whole("fNIRS")[:3], rate_hz=FNIRS_HZ, to_hz=10.0, keep_hz=0.55)
    expected = by_hand(slow, 10.0, None, 0.5, 20.0)
    assert trial.fnirs.kinds == ("HbO", "HbR", "HbT")
    assert trial.fnirs.start_s == pytest.approx(-238 / FNIRS_HZ)
    atol = rtol * expected.std()
    np.testing.assert_allclose(trial.fnirs.signal, expected, rtol=rtol, atol=atol)
    labels = loadmat(broken.file_of(noise, "labels"))["video_3"]
    np.testing.assert_array_equal(trial.targets, labels.T)


def test_the_notch_and_no_band_pass_are_options(rng):
    config = load_config(
        None, ["preprocess.eeg.band_pass=null", "preprocess.eeg.notch={}"]
    )
    x_ct = rng.normal(size=(2, 2000))
    made = preprocess_trial(Trial("p", "V01", eeg=eeg(x_ct)), config.preprocess)
    sections = tf2sos(*iirnotch(50.0, 25.0, fs=200.0))
    expected = sosfiltfilt(sections, x_ct, padtype="odd", padlen=400)
    np.testing.assert_allclose(made.eeg.signal, expected, rtol=1e-4, atol=1e-5)


def test_thousand_hertz_end_at_two_hundred_with_the_same_slow_wave(tmp_path):
    root = broken.make_folder(tmp_path / "fast", people=("test_1",), rate_hz=1000)
    times_s = np.arange(13_000) / 1000 - 5
    wave = np.tile(np.sin(2 * np.pi * 7 * times_s), (64, 1))
    for name, part in (
        ("EEG_baselines", wave[:, :5000]),
        ("EEG_videos", wave[:, 5000:]),
    ):
        broken.edit_mat(
            broken.file_of(root, name, "test_1"),
            lambda arrays, part=part: arrays.update(video_3=part),
        )
    assert preprocess_dataset(root, tmp_path / "store").failed == ()
    made = stored_trial(tmp_path / "store", "test_1", "V03").eeg
    assert (made.rate_hz, made.start_s, made.n_times) == (200, -5, 2600)
    inner = slice(400, 1800)
    expected = np.sin(2 * np.pi * 7 * made.times_s[inner])
    np.testing.assert_allclose(made.signal[5, inner], expected, atol=2e-3)


def test_fnirs_keep_their_time_axis():
    n_rest, n_times = 238, round(60 * FNIRS_HZ)
    times_s = (np.arange(n_rest + n_times) - n_rest) / FNIRS_HZ
    wave = np.tile(np.sin(2 * np.pi * 0.1 * times_s), (3, 2, 1))
    rest = fnirs(wave[..., :n_rest], start_s=-n_rest / FNIRS_HZ)
    trial = Trial(
        "p", "V01", fnirs=fnirs(wave[..., n_rest:]), baseline=Baseline(fnirs=rest)
    )
    made = preprocess_trial(trial, PreprocessConfig()).fnirs
    inner = (made.times_s > 5) & (made.times_s < 50)
    expected = np.sin(2 * np.pi * 0.1 * made.times_s[inner])
    np.testing.assert_allclose(made.signal[1, 1, inner], expected, atol=5e-3)


@pytest.mark.parametrize("rest_s", [0, 5])
@pytest.mark.parametrize("rate_hz", [200.0, 1000.0, FNIRS_HZ])
def test_impulses_at_label_seconds_stay_in_their_rows(rate_hz, rest_s):
    """A1: 170 s, impulses in the middle of every seventh second, no drift."""
    seconds = np.arange(3, 168, 7)
    n_rest, n_times = floor(rest_s * rate_hz), floor(170 * rate_hz) + 1
    x_t = np.random.default_rng(0).normal(0, 1e-3, n_rest + n_times)
    x_t[n_rest + np.rint((seconds + 0.5) * rate_hz).astype(int)] += 1
    wrap = fnirs if rate_hz == FNIRS_HZ else eeg
    shape = (3, 1, -1) if rate_hz == FNIRS_HZ else (1, -1)
    signal = np.broadcast_to(x_t, (3, 1, len(x_t))) if wrap is fnirs else x_t[None]
    signal = signal.reshape(shape)
    options = {} if wrap is fnirs else {"rate_hz": rate_hz}
    recording = wrap(signal[..., n_rest:], **options)
    rest = wrap(signal[..., :n_rest], start_s=-n_rest / rate_hz, **options)
    part = "fnirs" if wrap is fnirs else "eeg"
    baseline = Baseline(**{part: rest}) if rest_s else Baseline()
    trial = Trial("p", "V01", **{part: recording}, baseline=baseline)
    for config in (PreprocessConfig(), RAW):
        made = getattr(preprocess_trial(trial, config), part)
        assert made.start_s == pytest.approx(-n_rest / rate_hz)
        grid = WindowGrid(window_s=1.0, step_s=1.0, lag_s=0.0, lookahead_s=0.0)
        windows = gather_windows(made, grid, n_windows=170)
        row = windows.reshape(170, -1, windows.shape[-1])[:, 0]
        largest = np.sort(row.max(axis=1).argsort()[-len(seconds) :])
        np.testing.assert_array_equal(largest, seconds)
        # Inside each row the peak keeps its place: half a sample before and after.
        starts = grid.starts(made, 170)[seconds]
        peaks_s = made.start_s + (starts + row[seconds].argmax(axis=1)) / made.rate_hz
        slack_s = 0.5 / made.rate_hz + 0.5 / rate_hz
        assert np.abs(peaks_s - seconds - 0.5).max() <= slack_s + 1e-9


# What is missing


def test_missing_samples_are_missing_again_at_their_times(rng):
    x_ct = rng.normal(size=(4, 8000))
    clean = preprocess_trial(
        Trial("p", "V01", eeg=eeg(x_ct, 1000.0)), PreprocessConfig()
    )
    gappy_ct = x_ct.copy()
    gappy_ct[1] = np.nan
    gappy_ct[2, 3003:3507] = np.nan
    gappy_ct[3, [0, 4999, 7999]] = np.nan
    made = preprocess_trial(
        Trial("p", "V01", eeg=eeg(gappy_ct, 1000.0)), PreprocessConfig()
    )
    missing = np.isnan(made.eeg.signal)
    assert not missing[0].any()
    assert missing[1].all()
    np.testing.assert_array_equal(np.flatnonzero(missing[2]), np.arange(600, 702))
    np.testing.assert_array_equal(np.flatnonzero(missing[3]), [0, 999, 1599])
    np.testing.assert_array_equal(made.eeg.signal[0], clean.eeg.signal[0])
    # Far from a gap it leaves no trace.
    np.testing.assert_allclose(
        made.eeg.signal[2, :300], clean.eeg.signal[2, :300], atol=0.05
    )
    shares = made.quality["eeg"].values[
        :, made.quality["eeg"].measures.index("missing")
    ]
    np.testing.assert_allclose(shares, np.isnan(gappy_ct).mean(axis=1), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the quality of such a row
def test_infinite_samples_are_refused(rng):
    x_ct = rng.normal(size=(2, 4000))
    x_ct[1, 77] = np.inf
    with pytest.raises(InputError, match="signal has infinite samples"):
        preprocess_trial(Trial("p", "V01", eeg=eeg(x_ct)), PreprocessConfig())


def test_a_trial_to_be_mended_is_what_the_reader_makes_of_it(copy):
    def spoil(arrays):
        arrays["video_1"][3, -9:] = np.inf
        arrays["video_1"][4, 9], arrays["video_1"][4, 11] = -np.inf, np.nan
        arrays["video_2"][:] = np.nan
        arrays["video_3"][:, :50], arrays["video_3"][7] = np.nan, np.nan

    broken.edit_mat(broken.file_of(copy, "EEG_videos"), spoil)
    config, made = PreprocessConfig(), []
    for bring in (
        lambda opened, plan: [preprocess_trial(t, config) for t in opened.read(plan)],
        lambda opened, plan: preprocess_plan(opened, plan, config),
    ):
        with open_dataset(copy).open_person("test_2") as opened:
            trials = [trial for plan in opened.plans for trial in bring(opened, plan)]
            (failure,) = opened.silent()
        assert failure.stimulus == "V02"
        assert trials[1].eeg is None
        assert "10 infinite samples of eeg are missing" in trials[0].notes
        made.append(b"".join(map(bytes, build_image(trials).pieces())))
    assert made[0] == made[1]


def test_a_number_of_jobs_that_cannot_be_leaves_no_store(noise, tmp_path):
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        preprocess_dataset(noise, tmp_path / "store", jobs=0)
    assert not (tmp_path / "store").exists()


def test_a_new_sample_is_missing_if_any_old_one_of_its_interval_is(rng):
    n_times = 900
    x_kct = rng.normal(size=(3, 5, n_times))
    x_kct[rng.random(x_kct.shape) < 0.03] = np.nan
    made = preprocess_trial(Trial("p", "V01", fnirs=fnirs(x_kct)), PreprocessConfig())
    per_new = Fraction(100, 21)  # old samples in a new one
    expected = np.stack(
        [
            np.isnan(x_kct[..., floor(k * per_new) : ceil((k + 1) * per_new)]).any(-1)
            for k in range(made.fnirs.n_times)
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(np.isnan(made.fnirs.signal), expected)


def test_nothing_but_nan_goes_in_nothing_but_nan_comes_out():
    x_kct = np.full((3, 2, 400), np.nan)
    made = preprocess_trial(Trial("p", "V01", fnirs=fnirs(x_kct)), PreprocessConfig())
    assert np.isnan(made.fnirs.signal).all()


def test_arguments_are_left_alone(rng):
    x_ct = rng.normal(size=(2, 1600))
    x_ct[0, 5] = np.nan
    before = x_ct.copy()
    preprocess_trial(Trial("p", "V01", eeg=eeg(x_ct)), PreprocessConfig())
    np.testing.assert_array_equal(x_ct, before)


def test_rest_that_jumps_is_kept_apart_and_said(copy, tmp_path):
    def lift(arrays):
        arrays["video_1"] = arrays["video_1"] + 1000

    broken.edit_mat(broken.file_of(copy, "EEG_baselines"), lift)
    preprocess_dataset(copy, tmp_path / "store")
    jumpy = stored_trial(tmp_path / "store", "test_2", "V01")
    assert (jumpy.eeg.start_s, jumpy.eeg.n_times) == (0, 6 * 200)
    assert (jumpy.baseline.eeg.start_s, jumpy.baseline.eeg.n_times) == (-5, 5 * 200)
    assert jumpy.notes == ("the rest before the EEG does not run into it",)
    # Each was filtered by itself: the level is gone, and no step is between them.
    assert np.abs(jumpy.baseline.eeg.signal).max() < 200
    smooth = stored_trial(tmp_path / "store", "test_2", "V02")
    assert smooth.eeg.start_s == -5
    assert smooth.baseline == Baseline()
    assert smooth.notes == ()


def test_what_is_absent_is_noted_and_the_rest_is_stored(copy, tmp_path, caplog):
    broken.edit_mat(broken.file_of(copy, "EEG_videos"), lambda a: a.pop("video_1"))
    broken.edit_mat(broken.file_of(copy, "labels"), lambda a: a.pop("video_2"))
    broken.edit_mat(broken.file_of(copy, "fNIRS_videos"), lambda a: a.pop("video_3"))
    for name in ("EEG_videos", "fNIRS_videos"):
        path = broken.file_of(copy, name, "test_1")
        broken.edit_mat(path, lambda arrays: arrays.pop("video_3"))
    result = preprocess_dataset(copy, tmp_path / "store")
    assert (result.done, result.failed) == (("test_1", "test_2"), ())
    one, two, three = (
        stored_trial(tmp_path / "store", "test_2", v) for v in ("V01", "V02", "V03")
    )
    assert (one.eeg, three.fnirs, two.targets) == (None, None, None)
    there = (one.fnirs, one.targets, two.eeg, two.fnirs, three.eeg, three.targets)
    assert all(part is not None for part in there)
    with Store.open(tmp_path / "store").person("test_1") as stored:
        assert stored.stimuli == ("V01", "V02")
    (line,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert line == (
        "test_2: no EEG, EEG_videos.mat lacks video_1 (V01); no labels, "
        "test_2_label.mat lacks video_2 (V02); no fNIRS, fNIRS_videos.mat lacks "
        "video_3 (V03)"
    )


def test_a_person_without_anything_usable_fails_alone(copy, tmp_path):
    for name in ("EEG_videos", "fNIRS_videos"):
        broken.file_of(copy, name).write_bytes(b"")
    result = preprocess_dataset(copy, tmp_path / "store")
    assert (result.done, [person for person, _ in result.failed]) == (
        ("test_1",),
        ["test_2"],
    )
    assert Store.open(tmp_path / "store").people == ("test_1",)
    for name in ("EEG_videos", "fNIRS_videos"):
        broken.file_of(copy, name, "test_1").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"not one recording.*\n  test_1: .*\n  test_2: "
    ):
        preprocess_dataset(copy, tmp_path / "other")


def test_earlier_signals_that_stay_are_named(copy, tmp_path, caplog):
    preprocess_dataset(copy, tmp_path / "store")
    for name in ("EEG_videos", "fNIRS_videos"):
        broken.file_of(copy, name).write_bytes(b"")
    result = preprocess_dataset(copy, tmp_path / "store")
    assert (result.done, result.skipped) == ((), ("test_1",))
    assert "still holds earlier signals of test_2" in caplog.messages[-1]


def test_failures_are_told_again_by_a_second_run(noise, tmp_path):
    root = broken.break_copy(noise, tmp_path / "broken", "wrong_eeg_shape")
    first = preprocess_dataset(root, tmp_path / "store")
    second = preprocess_dataset(root, tmp_path / "store")
    assert (first.done, second.skipped) == (broken.PEOPLE, broken.PEOPLE)
    assert first.failed == second.failed
    assert first.failed[0][0] == "test_2"


# What is done again


class Counter:
    """Progress that remembers what it was told."""

    def __init__(self):
        self.total, self.units = None, []

    def expect(self, total):
        self.total = total

    def done(self, unit):
        self.units.append(unit)


def test_a_second_run_does_nothing(noise, noise_store):
    before, progress = files_of(noise_store), Counter()
    again = preprocess_dataset(noise, noise_store, progress=progress)
    assert (again.done, again.skipped, again.failed) == ((), broken.PEOPLE, ())
    assert files_of(noise_store) == before
    assert (progress.total, progress.units) == (0, [])


def test_the_number_of_jobs_changes_no_byte(noise, noise_store, tmp_path):
    progress = Counter()
    first = preprocess_dataset(noise, tmp_path / "store", jobs=1, progress=progress)
    assert (first.done, first.skipped, first.failed) == (broken.PEOPLE, (), ())
    assert bytes_of(tmp_path / "store") == bytes_of(noise_store)
    assert (progress.total, progress.units) == (2, ["test_1", "test_2"])


def test_only_what_has_changed_is_done_again(copy, noise_store, tmp_path):
    path = shutil.copytree(noise_store, tmp_path / "store")
    old = bytes_of(path)
    broken.edit_mat(
        broken.file_of(copy, "fNIRS_videos"),
        lambda arrays: arrays.update(video_1=2 * arrays["video_1"]),
    )
    result = preprocess_dataset(copy, path)
    assert (result.done, result.skipped) == (("test_2",), ("test_1",))
    new = bytes_of(path)
    changed = {name for name in new if new[name] != old.get(name)}
    assert {name.split("-")[0] for name in changed} == {"people/test_2", "store.json"}
    assert old.keys() < new.keys()  # a former file is never written over

    config = load_config(None, ["preprocess.eeg.band_pass.low_hz=1"])
    result = preprocess_dataset(copy, path, config=config)
    assert result.done == broken.PEOPLE
    last = bytes_of(path)
    assert {name for name in new if last[name] != new[name]} == {"store.json"}
    assert Store.open(path).config["eeg"]["band_pass"]["low_hz"] == 1


def test_labels_are_an_input_too(copy, noise_store, tmp_path):
    path = shutil.copytree(noise_store, tmp_path / "store")
    broken.edit_mat(
        broken.file_of(copy, "labels", "test_1"),
        lambda arrays: arrays["video_1"].__setitem__((0, 0), 77),
    )
    assert preprocess_dataset(copy, path).done == ("test_1",)
    assert stored_trial(path, "test_1", "V01").targets[0, 0] == 77


def test_a_run_that_ends_before_it_records_is_healed(
    noise, noise_store, tmp_path, monkeypatch
):
    def stop(*_):
        raise SpaceError("stopped")

    path = tmp_path / "store"
    with monkeypatch.context() as context:
        context.setattr(Store, "record", stop)
        with pytest.raises(SpaceError, match="stopped"):
            preprocess_dataset(noise, path, jobs=1)
    assert Store.open(path).people == ()
    assert [p.stem.split("-")[0] for p in path.glob("people/*.h5")] == ["test_1"]
    result = preprocess_dataset(noise, path)
    assert (result.skipped, result.done) == (("test_1",), ("test_2",))
    assert bytes_of(path) == bytes_of(noise_store)


def test_a_damaged_file_is_made_anew(noise, noise_store, tmp_path):
    path = shutil.copytree(noise_store, tmp_path / "store")
    (unit,) = path.glob("people/test_1-*.h5")
    content = bytearray(unit.read_bytes())
    content[len(content) // 2] ^= 1
    unit.write_bytes(content)
    assert preprocess_dataset(noise, path).done == ("test_1",)
    assert bytes_of(path).items() >= bytes_of(noise_store).items()


# What is refused


def test_kinds_that_are_not_there_are_refused(noise, tmp_path):
    config = load_config(None, ["preprocess.fnirs.kinds=[HbO, Oxy]"])
    with pytest.raises(
        InputError, match=r"asks for Oxy; choose from HbO, HbR, HbT, Abs"
    ):
        preprocess_dataset(noise, tmp_path / "store", config=config)


def test_people_of_another_role_are_kept_apart(noise_store, newcomers):
    with pytest.raises(InputError, match="holds data whose role is 'train'"):
        preprocess_dataset(newcomers, noise_store)


def test_a_disk_that_is_too_small_is_told_before_the_work(noise, tmp_path, monkeypatch):
    usage = SimpleNamespace(total=10**6, used=10**6 - 1000, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SpaceError, match="needs about"):
        preprocess_dataset(noise, tmp_path / "store")
    assert not list(tmp_path.glob("store/people/*"))


def test_the_side_car_tells_terms_and_inputs(noise, noise_store):
    with Store.open(noise_store).person("test_1") as stored:
        facts = stored.sidecar
    assert facts["source"] == "simulated"
    assert "may be shared" in facts["terms"]
    assert set(facts["inputs"]) == {
        *(f"data/test_1/{name}.mat" for name in broken.FILES),
        "annotations/test_1_label.mat",
        "fNIRS_reservations.csv",
    }
    content = json.dumps(facts)
    assert str(noise.parent) not in content


def test_the_mask_of_missing_channels_is_kept(copy, tmp_path):
    def lose(lines):
        return [*lines[:-1], lines[-1].replace("1,1,1", "1,0,1", 1)]

    broken.edit_lines(copy / "fNIRS_reservations.csv", lose)
    preprocess_dataset(copy, tmp_path / "store")
    made = stored_trial(tmp_path / "store", "test_2", "V02").fnirs
    assert np.flatnonzero(made.mask).tolist() == [1]
    assert np.isnan(made.signal[:, 1]).all()
    assert np.isfinite(np.delete(made.signal, 1, axis=1)).all()


def test_a_rest_without_its_trial_is_dropped(rng):
    rest = eeg(rng.normal(size=(2, 1000)), start_s=-5.0)
    other = fnirs(rng.normal(size=(3, 2, 400)))
    trial = Trial("p", "V01", fnirs=other, baseline=Baseline(eeg=rest))
    made = preprocess_trial(trial, PreprocessConfig())
    assert (made.eeg, made.baseline.eeg) == (None, None)
    assert replace(made, fnirs=None).quality.keys() == {"fnirs"}
