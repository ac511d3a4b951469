"""The repair of the EEG as the options run it."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import merps
from merps.config import load_config
from merps.errors import DataError, InputError
from merps.pipeline.eeg_repair import mend_eeg
from merps.pipeline.trials import preprocess_trial
from merps.recording import Baseline, Recording, Trial
from merps.store import Store

SHARED = Path(__file__).parents[2] / "shared" / "data"
NAMES = tuple(
    "FP1 FP2 F7 F3 FZ F4 F8 T7 C3 CZ C4 T8 P7 P3 PZ P4 P8 O1 O2 M1 M2 CB1".split()
)
RATE_HZ = 200.0


def config(*overrides):
    return load_config(None, [f"preprocess.eeg.{o}" for o in overrides]).preprocess


def column(quality, name):
    return quality.values[:, quality.measures.index(name)]


@pytest.fixture
def eeg(rng):
    """Sources that channels share, mains, and blinks at the front."""
    times_s = np.arange(6000) / RATE_HZ
    mixing = rng.normal(size=(22, 5)) + 1
    sources = rng.normal(size=(5, 6000)).cumsum(axis=1)
    sources -= sources.mean(axis=1, keepdims=True)
    x_ct = mixing @ sources + rng.normal(size=(22, 6000))
    x_ct += 8 * np.sin(2 * np.pi * 50 * times_s)
    blinks = sum(np.exp(-(((times_s - on) / 0.1) ** 2)) for on in range(2, 30, 4))
    x_ct[[0, 1]] += 200 * blinks
    x_ct[[3, 4, 5]] += 60 * blinks
    facts = (RATE_HZ, 0.0, NAMES, "voltage", "uV")
    return Recording(x_ct, *facts)


def test_nothing_is_done_unless_asked_for(eeg):
    mended = mend_eeg(eeg, eeg, config().eeg, is_joined=True)
    assert mended.recording is mended.rest is mended.measured is eeg
    assert (mended.columns, mended.notes) == ({}, ())


def test_each_step_changes_its_number(eeg, rng):
    eeg.signal[6] = 5 * rng.normal(size=6000).cumsum()
    eeg.signal[21] = 5 * rng.normal(size=6000).cumsum()
    eeg.signal[9, 100:150] = np.nan
    options = config(
        *("line_fit={}", "bad_channels={}", "blinks.channels=[FP1, FP2]"),
        "reference=average",
    )
    made = preprocess_trial(Trial("p", "V01", eeg=eeg), options)
    quality = made.quality["eeg"]
    seen = [row for row, name in enumerate(NAMES) if name not in ("F8", "CB1")]
    line, after = (column(quality, n)[seen] for n in ("line_noise", "line_noise_after"))
    assert (line > 10).all()
    assert (after < 4).all()
    assert column(quality, "bad").nonzero()[0].tolist() == [6, 21]
    assert (
        column(quality, "uncorrelated")[6]
        > 0.1
        > column(quality, "uncorrelated_after")[6]
    )
    blink, after = (column(quality, n) for n in ("blink", "blink_after"))
    assert np.isnan(blink[[0, 1]]).all()  # the eyes themselves
    assert (blink[3:6] > 0.3).all()
    assert (after[3:6] < 0.01).all()
    common, after = (column(quality, n)[seen] for n in ("common", "common_after"))
    assert np.median(common) > 0.5 > np.median(after)
    assert made.notes == (
        "EEG channels F8 are bad and interpolated",
        "EEG channels CB1 are bad and missing",
    )
    x_ct = made.eeg.signal
    assert np.isnan(x_ct[21]).all()
    assert np.isnan(x_ct[9]).sum() == 50
    assert not np.isnan(x_ct[6]).any()
    whole = x_ct[:19, 200:]
    np.testing.assert_allclose(x_ct[:21, 200:].mean(axis=0), 0, atol=0.01 * whole.std())


def test_a_notch_tells_what_it_leaves(eeg):
    options = config("notch={}", "band_pass=null")
    quality = preprocess_trial(Trial("p", "V01", eeg=eeg), options).quality["eeg"]
    before, after = (column(quality, n) for n in ("line_noise", "line_noise_after"))
    assert (before > 10).all()
    assert (after < 1).all()


@pytest.mark.parametrize("reference", ["average", "mastoids", "infinity"])
def test_references_do_not_depend_on_the_one_recorded_with(eeg, reference):
    moved = replace(eeg, signal=eeg.signal - eeg.signal[9])
    section = config(f"reference={reference}").eeg
    one, other = (
        mend_eeg(x, None, section, is_joined=False).recording.signal
        for x in (eeg, moved)
    )
    np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one - one[0], eeg.signal - eeg.signal[0], atol=1e-9)


def test_rest_is_mended_with_the_trial(eeg):
    rest = eeg.with_signal(eeg.signal[:, :1000], start_s=-5.0)
    trial = eeg.with_signal(eeg.signal[:, 1000:])
    section = config("reference=average", "line_fit={}").eeg
    whole = mend_eeg(eeg, None, section, is_joined=False).recording.signal
    parts = mend_eeg(trial, rest, section, is_joined=True)
    joined = np.concatenate([parts.rest.signal, parts.recording.signal], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-9)
    apart = mend_eeg(trial, rest, section, is_joined=False)
    inner = slice(400, 600)
    np.testing.assert_allclose(
        apart.rest.signal[:, inner], parts.rest.signal[:, inner], atol=3
    )
    made = preprocess_trial(
        Trial("p", "V01", eeg=trial, baseline=Baseline(eeg=rest)),
        config("reference=average"),
    )
    assert made.eeg.start_s == -5


def test_a_gap_of_all_channels_stays_one_in_channels_that_are_interpolated(eeg, rng):
    eeg.signal[6] = 5 * rng.normal(size=6000).cumsum()
    eeg.signal[:, 2000:2400] = np.nan
    eeg.signal[9, 100:150] = np.nan  # one channel alone is no gap
    section = config("bad_channels={}", "reference=average").eeg
    mended = mend_eeg(eeg, None, section, is_joined=False)
    assert f"EEG channels {NAMES[6]} are bad and interpolated" in mended.notes
    missing = np.isnan(mended.recording.signal)
    assert missing[:, 2000:2400].all()
    assert not missing[6, :2000].any()
    assert not missing[6, 2400:].any()
    assert missing[9, 100:150].all()


def test_eyes_are_known_by_type_and_stay(eeg):
    types = ("eog", "eog") + ("eeg",) * 19 + ("misc",)
    typed = replace(eeg, types=types)
    mended = mend_eeg(
        typed, None, config("blinks={}", "reference=average").eeg, is_joined=False
    )
    kept = [0, 1, 21]
    np.testing.assert_array_equal(mended.recording.signal[kept], eeg.signal[kept])
    named = config("blinks.channels=[FP1, FP2]").eeg
    same = mend_eeg(eeg, None, named, is_joined=False).recording.signal
    weights = np.ptp(same[2:21] - eeg.signal[2:21], axis=1)
    assert (weights[1:4] > 50).all()


def test_units_do_not_matter(eeg):
    volts = replace(eeg, signal=1e-6 * eeg.signal, unit="V")
    options = config("bad_channels={}", "reference=average", "line_fit={}")
    one, other = (
        preprocess_trial(Trial("p", "V01", eeg=x), options) for x in (eeg, volts)
    )
    np.testing.assert_allclose(
        1e6 * other.eeg.signal, one.eeg.signal, rtol=1e-3, atol=1e-3
    )
    flat = column(other.quality["eeg"], "flat")
    assert (flat == 0).all()
    np.testing.assert_array_equal(flat, column(one.quality["eeg"], "flat"))


def test_what_does_not_fit_the_recording_is_refused(eeg):
    def run(*overrides, recording=eeg):
        return mend_eeg(recording, None, config(*overrides).eeg, is_joined=False)

    with pytest.raises(InputError, match="but none is known; name some in"):
        run("blinks={}")
    with pytest.raises(InputError, match="FPX are not recorded; name some in"):
        run("blinks.channels=[FPX]")
    with pytest.raises(InputError, match=r"the EEG is in 'a.u.'; expected one of V"):
        run("components={}", recording=replace(eeg, unit="a.u."))
    eeg.signal[19] = 0
    with pytest.raises(DataError, match="mastoids, one of which is bad or missing"):
        run("reference=mastoids", "bad_channels={}")


# Models after channels depend on each other


def test_riemannian_models_take_signals_of_lower_rank(noise, tmp_path):
    overrides = ["preprocess.eeg.reference=average", "preprocess.eeg.bad_channels={}"]
    overrides.append("preprocess.eeg.bad_channels.min_correlation=0")
    overrides.append("preprocess.eeg.bad_channels.max_noise_z=2.2")
    options = load_config(None, overrides)
    merps.preprocess_dataset(noise, tmp_path / "store", config=options)
    with Store.open(tmp_path / "store").person("test_1") as stored:
        trial = stored.trial("V01")
    assert any("interpolated" in note for note in trial.notes)
    assert np.linalg.matrix_rank(trial.eeg.signal[:, 200:], tol=1e-2) < 64
    merps.fit_model(
        tmp_path / "store", tmp_path / "run", model="riemannian", config=options
    )
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert weights
    assert all(np.isfinite(array).all() for array in weights.values())


# Recordings


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mne_icalabel") is None, reason="merps[ica] is not there"
)
def test_blinks_of_a_recording_are_taken_out_by_either_way():
    import mne

    path = SHARED / "eeg-eegmmidb-64ch" / "S001R03.edf"
    if not path.exists():
        pytest.skip("needs the recording eeg-eegmmidb-64ch")
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error").crop(0, 40)
    names = tuple(name.strip(".").upper() for name in raw.ch_names)
    eeg = Recording(raw.get_data(), raw.info["sfreq"], 0.0, names, "voltage", "V")
    front = names.index("AF3")
    for overrides, before_name in (
        (("blinks.channels=[FP1, FP2]",), "blink"),
        (("components={n_components: 10, min_probability: 0.7}",), "components"),
    ):
        options = config(*overrides, "quality.line_hz=60", "to_hz=160")
        made = preprocess_trial(Trial("p", "V01", eeg=eeg), options)
        quality = made.quality["eeg"]
        before = column(quality, before_name)[front]
        after = column(quality, f"{before_name}_after")[front]
        assert before > 0.3
        assert after < 0.1
    assert "eye blink" in made.notes[-1]
