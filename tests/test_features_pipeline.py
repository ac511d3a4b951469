import shutil

import broken
import naive
import numpy as np
import pytest
from scipy.io import loadmat

from merps.config import load_config
from merps.errors import DataError, InputError
from merps.options import Config
from merps.pipeline import extract_samples, preprocess_dataset
from merps.pipeline.features import align_features
from merps.store import Store

PLAIN = (
    "features.width_s=0",
    "features.reference=none",
    "features.fnirs_reference=none",
)


def extract(store, *overrides, **options):
    return extract_samples(
        Store.open(store), config=load_config(None, overrides), **options
    )


def trial_of(store, person, stimulus):
    with Store.open(store).person(person) as stored:
        return stored.trial(stimulus)


def rows_of(samples, person, stimulus):
    return np.flatnonzero((samples.people == person) & (samples.stimuli == stimulus))


def column(samples, name):
    return samples.features[:, samples.feature_names.index(name)]


def span(recording, stop_s, length_s):
    """Samples of the given seconds, as far as they are there."""
    times = recording.start_s + np.arange(recording.n_times) / recording.rate_hz
    inside = (times > stop_s - length_s - 1e-6) & (times < stop_s - 1e-6)
    return recording.signal[..., inside]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """People without EEG, without fNIRS, with gaps, and with a rest that jumps."""
    root = tmp_path_factory.mktemp("odd")
    people = tuple(f"test_{k}" for k in (1, 2, 3, 10))
    broken.make_folder(root / "data", people=people)
    broken.file_of(root / "data", "EEG_videos", "test_1").unlink()
    broken.file_of(root / "data", "fNIRS_videos", "test_2").unlink()

    def spoil(arrays):
        arrays["video_1"][7] = np.nan
        arrays["video_2"][8, 300:310] = np.nan

    broken.edit_mat(broken.file_of(root / "data", "EEG_videos", "test_3"), spoil)

    def lift(arrays):
        for key in SECONDS:
            arrays[key] = arrays[key] + 1000

    broken.edit_mat(broken.file_of(root / "data", "EEG_baselines", "test_10"), lift)
    preprocess_dataset(root / "data", root / "store")
    return root


SECONDS = broken.SECONDS


# Rows


def test_rows_are_the_labeled_seconds(simulated, samples):
    expected = []
    for person in ("test_1", "test_2", "test_3", "test_4"):
        labels = loadmat(simulated / "annotations" / f"{person}_label.mat")
        for k in range(1, 4):
            for t, (valence, arousal) in enumerate(labels[f"video_{k}"].T):
                expected.append((person, f"V{k:02d}", t, valence, arousal))
    people, stimuli, seconds, valence, arousal = zip(*expected, strict=True)
    assert samples.people.tolist() == list(people)
    assert samples.stimuli.tolist() == list(stimuli)
    assert samples.seconds.tolist() == list(seconds)
    np.testing.assert_array_equal(samples.targets.T, [valence, arousal])
    assert samples.features.dtype == np.float32
    assert len(samples.feature_names) == 64 * 5 + 2 * 51 * 2


@pytest.mark.parametrize("lag_s", [0, 2])
def test_features_are_those_of_the_window_of_their_second(store, lag_s):
    samples = extract(store, *PLAIN, f"windows.lag_s={lag_s}")
    trial = trial_of(store, "test_3", "V03")
    rows = rows_of(samples, "test_3", "V03")
    for second in (0, 3, 9):  # the first one looks into the rest
        x_ct = span(trial.eeg, second + 1 - lag_s, 4)
        assert x_ct.shape[1] == 800
        for band, edges in (("alpha", (8, 13)), ("gamma", (30, 45))):
            channel = trial.eeg.channels[17]
            made = column(samples, f"eeg/{band}/{channel}")[rows[second]]
            power = naive.band_power(x_ct[17].astype(float), 200.0, *edges)
            assert made == pytest.approx(np.log(power), abs=1e-4)
    sound = np.flatnonzero(~trial.fnirs.mask)[-1]
    name = trial.fnirs.channels[sound]
    x_t = trial.fnirs.signal[1, sound]
    assert trial.fnirs.kinds[1] == "HbR"
    for second in (0, 4, 9):
        start = round((second + 1 - 4 - trial.fnirs.start_s) * 10)
        mean, slope, _ = naive.summarize_hemodynamics(x_t[start : start + 40], 10.0)
        level = column(samples, f"fnirs/HbR/{name}/mean")[rows[second]]
        trend = column(samples, f"fnirs/HbR/{name}/slope")[rows[second]]
        assert (level, trend) == pytest.approx((mean, slope), rel=1e-3, abs=1e-6)


def test_smoothing_stays_inside_a_trial(store):
    plain = extract(store, *PLAIN, people=["test_2"])
    smooth = extract(store, *PLAIN[1:], "features.width_s=5", people=["test_2"])
    values = plain.features[:, [0, 400]].astype(float)
    expected = naive.smooth_in_time(values, plain.trials, plain.seconds, 5)
    np.testing.assert_allclose(smooth.features[:, [0, 400]], expected, rtol=1e-4)


# References


def test_rest_of_the_person_is_subtracted_from_band_power(store):
    plain = extract(store, *PLAIN, people=["test_1"])
    referred = extract(store, PLAIN[0], PLAIN[2], people=["test_1"])
    shift = plain.features - referred.features
    is_eeg = np.array([name.startswith("eeg") for name in plain.feature_names])
    np.testing.assert_array_equal(np.nan_to_num(shift[:, ~is_eeg]), 0)
    assert np.ptp(shift[:, is_eeg], axis=0).max() < 1e-5  # one for all trials
    rests = []
    for k in range(1, 4):
        trial = trial_of(store, "test_1", f"V{k:02d}")
        for stop_s in (-1, 0):  # two windows of 4 s fit into 5 s
            x_t = span(trial.eeg, stop_s, 4)[30].astype(float)
            rests.append(np.log(naive.band_power(x_t, 200.0, 8, 13)))
    name = f"eeg/alpha/{trial.eeg.channels[30]}"
    made = shift[0, plain.feature_names.index(name)]
    assert made == pytest.approx(np.mean(rests), abs=1e-4)


def test_rest_of_the_trial_is_subtracted_from_levels_and_nothing_else(store):
    plain = extract(store, *PLAIN, people=["test_1"])
    referred = extract(store, *PLAIN[:2], people=["test_1"])
    shift = plain.features - referred.features
    is_level = np.array([name.endswith("/mean") for name in plain.feature_names])
    sound = np.isfinite(plain.features).all(axis=0)
    np.testing.assert_array_equal(shift[:, ~is_level & sound], 0)
    trial = trial_of(store, "test_1", "V02")
    channel = np.flatnonzero(~trial.fnirs.mask)[0]
    x_t = trial.fnirs.signal[0, channel].astype(float)
    rest = (x_t[:40].mean() + x_t[10:50].mean()) / 2
    name = f"fnirs/HbO/{trial.fnirs.channels[channel]}/mean"
    made = shift[rows_of(plain, "test_1", "V02"), plain.feature_names.index(name)]
    np.testing.assert_allclose(made, rest, rtol=1e-3, atol=1e-6)


def test_levels_do_not_depend_on_where_zero_is(copied):
    """An offset of a whole recording is gone after the rest is subtracted."""
    before = extract(copied / "store", "features.width_s=0")
    for name in ("fNIRS_videos", "fNIRS_baselines"):
        broken.edit_mat(
            broken.file_of(copied / "data", name),
            lambda arrays: arrays.update(video_1=arrays["video_1"] + 7),
        )
    preprocess_dataset(copied / "data", copied / "store")
    after = extract(copied / "store", "features.width_s=0")
    np.testing.assert_allclose(after.features, before.features, atol=2e-4)


@pytest.fixture
def copied(tmp_path):
    broken.make_folder(tmp_path / "data")
    preprocess_dataset(tmp_path / "data", tmp_path / "store")
    return tmp_path


def test_standardized_people_have_mean_zero(store):
    both = ("features.reference=person", "features.fnirs_reference=person")
    samples = extract(store, PLAIN[0], *both)
    for person in ("test_1", "test_4"):
        own = samples.features[samples.people == person]
        own = own[:, np.isfinite(own).all(axis=0)]
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(own.std(axis=0), 1, atol=1e-3)


def test_rest_that_is_kept_apart_is_used_as_well(odd):
    apart, _ = (trial_of(odd / "store", p, "V01") for p in ("test_10", "test_3"))
    assert apart.baseline.eeg is not None
    plain = extract(odd / "store", *PLAIN, people=["test_10"])
    referred = extract(odd / "store", PLAIN[0], PLAIN[2], people=["test_10"])
    logs = [
        np.log(naive.band_power(x_t.astype(float), 200.0, 8, 13))
        for stimulus in ("V01", "V02", "V03")
        for rest in [
            trial_of(odd / "store", "test_10", stimulus).baseline.eeg.signal[3]
        ]
        for x_t in (rest[:800], rest[200:])
    ]
    name = f"eeg/alpha/{apart.eeg.channels[3]}"
    made = (column(plain, name) - column(referred, name))[0]
    assert made == pytest.approx(np.mean(logs), abs=1e-4)


def test_without_rest_the_mean_of_the_person_is_taken_and_told(tmp_path, caplog):
    broken.make_folder(tmp_path / "data", people=("test_1",))
    for name in ("EEG_baselines", "fNIRS_baselines"):
        broken.file_of(tmp_path / "data", name, "test_1").unlink()
    preprocess_dataset(tmp_path / "data", tmp_path / "store")
    caplog.clear()
    samples = extract(tmp_path / "store", PLAIN[0])
    np.testing.assert_allclose(samples.features.mean(axis=0), 0, atol=1e-4)
    assert [m.split(": ")[0] for m in caplog.messages] == ["test_1", "test_1"]
    assert all("transductive" in message for message in caplog.messages)


# What is missing


def test_people_may_lack_a_modality(odd):
    samples = extract(odd / "store", "features.width_s=0")
    is_eeg = np.array([name.startswith("eeg") for name in samples.feature_names])
    assert list(dict.fromkeys(samples.people)) == [f"test_{k}" for k in (1, 2, 3, 10)]
    missing = np.isnan(samples.features)
    for person, lost in (("test_1", is_eeg), ("test_2", ~is_eeg)):
        own = missing[samples.people == person]
        assert own[:, lost].all()
        assert not own[:, ~lost].any()
    assert not missing[samples.people == "test_10"].any()


def test_missing_samples_cost_their_windows_only(odd):
    samples = extract(odd / "store", "features.width_s=0", "features.reference=none")
    channels = trial_of(odd / "store", "test_3", "V01").eeg.channels
    for stimulus, c, seconds in (("V01", 7, range(6)), ("V02", 8, range(1, 5))):
        rows = rows_of(samples, "test_3", stimulus)
        bad = f"/{channels[c]}"
        for name in samples.feature_names:
            lost = np.flatnonzero(np.isnan(column(samples, name)[rows])).tolist()
            assert lost == (list(seconds) if name.endswith(bad) else []), name


def test_people_come_in_any_order(odd):
    names = ["test_10", "test_2", "test_3", "test_1"]
    forth = extract(odd / "store", people=names)
    back = extract(odd / "store", people=names[::-1], jobs=1)
    assert forth.feature_names == back.feature_names
    order, other = np.argsort(forth.ids), np.argsort(back.ids)
    assert sorted(forth.ids) == sorted(back.ids)
    np.testing.assert_array_equal(forth.features[order], back.features[other])
    alone = extract(odd / "store", people=["test_3"])
    np.testing.assert_array_equal(
        alone.features, forth.features[forth.people == "test_3"]
    )


def test_seconds_that_are_asked_for_are_answered(tmp_path):
    broken.make_folder(tmp_path / "data", people=("p1",), labels=False)
    preprocess_dataset(tmp_path / "data", tmp_path / "store")
    plain = extract(tmp_path / "store")
    assert np.isnan(plain.targets).all()
    assert np.bincount(plain.trials).tolist() == [6, 7, 8]
    more = extract(tmp_path / "store", asked={"p1": {"V01": 7, "V02": 3}})
    assert np.bincount(more.trials).tolist() == [7, 7, 8]
    assert np.isfinite(more.features[6]).all()  # the end is mirrored


# Options


def test_one_modality_can_be_left_out(store):
    eeg = extract(store, "features.kinds=[]", people=["test_1"])
    assert {name.split("/")[0] for name in eeg.feature_names} == {"eeg"}
    config = Config().model_copy(
        update={"features": Config().features.model_copy(update={"bands": {}})}
    )
    fnirs = extract_samples(Store.open(store), config=config, people=["test_1"])
    assert {name.split("/")[0] for name in fnirs.feature_names} == {"fnirs"}
    nothing = extract_samples(
        Store.open(store),
        config=config.model_copy(
            update={"features": config.features.model_copy(update={"kinds": ()})}
        ),
        people=["test_1"],
    )
    assert nothing.features.shape == (30, 0)


def test_options_that_do_not_fit_the_store_are_refused(store):
    with pytest.raises(
        InputError, match="asks for Abs780, but the store holds HbO, Hb"
    ):
        extract(store, "features.kinds=[HbO, Abs780]")
    with pytest.raises(
        InputError, match="holds no frequency of a window of 40 samples"
    ):
        extract(store, "windows.window_s=0.2")
    with pytest.raises(InputError, match="has no person 'nobody'"):
        extract(store, people=["nobody"])
    with pytest.raises(InputError, match="there are no people"):
        extract(store, people=[])


def test_other_montages_are_refused(odd, tmp_path, monkeypatch):
    from merps.pipeline import features

    one, two = (extract(odd / "store", people=[p]) for p in ("test_3", "test_10"))
    names = list(two.feature_names)
    names[2] = "eeg/alpha/other"
    strange = align_features(two, names)
    with pytest.raises(
        DataError, match=r"only some have eeg/alpha/\w+, eeg/alpha/other"
    ):
        features._stack([one, strange])
    turned = align_features(two, two.feature_names[::-1])
    with pytest.raises(DataError, match="only some have them in this order"):
        features._stack([one, turned])


def test_aligned_features_are_found_by_name(samples):
    names = ("fnirs/HbO/ch-3/mean", "nothing", "eeg/alpha/FP1")
    aligned = align_features(samples, names)
    assert aligned.feature_names == names
    np.testing.assert_array_equal(aligned.features[:, 0], column(samples, names[0]))
    assert np.isnan(aligned.features[:, 1]).all()
    np.testing.assert_array_equal(aligned.features[:, 2], column(samples, names[2]))


def test_a_damaged_store_is_refused(odd, tmp_path):
    path = shutil.copytree(odd / "store", tmp_path / "store")
    (unit,) = path.glob("people/test_3-*.h5")
    unit.write_bytes(unit.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_3-\w+.h5: expected \d+ bytes"):
        extract(path)
