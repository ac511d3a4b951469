import builtins
import importlib.util

import numpy as np
import pytest

from merps.errors import InputError
from merps.preprocessing.artifacts import (
    artifact_weights,
    fit_line_noise,
    regress_out,
    remove_components,
)
from merps.preprocessing.electrodes import place_electrodes
from merps.preprocessing.filters import band_pass

RATE_HZ = 250.0
LINE = {"rate_hz": RATE_HZ, "line_hz": 50.0, "window_s": 4.0, "p_value": 0.05}
NAMES = "FP1 FP2 F7 F3 FZ F4 F8 T7 C3 CZ C4 T8 P7 P3 PZ P4 P8 O1 O2".split()


def power_at(x_ct, frequency_hz):
    """Mean power within half a hertz, after a Hann window."""
    spectrum = np.abs(np.fft.rfft(x_ct * np.hanning(x_ct.shape[-1]), axis=-1)) ** 2
    at = np.abs(np.fft.rfftfreq(x_ct.shape[-1], 1 / RATE_HZ) - frequency_hz) < 0.5
    return spectrum[..., at].mean(axis=-1)


# Line noise


def test_mains_are_taken_out_and_what_is_beside_stays(rng):
    times_s = np.arange(5000) / RATE_HZ
    clean_ct = rng.normal(size=(3, 5000))
    mains_ct = clean_ct.copy()
    for harmonic, strength in ((50, 3.0), (100, 1.0)):
        mains_ct[:2] += strength * np.sin(2 * np.pi * harmonic * times_s + 0.4)
    found_ct = fit_line_noise(mains_ct, **LINE)
    for frequency in (50, 100):
        before, after, without = (
            power_at(x, frequency)[:2] for x in (mains_ct, found_ct, clean_ct)
        )
        assert (before > 20 * without).all()
        assert (after < 2 * without).all()
    for frequency in (47, 53, 97):
        ratio = power_at(found_ct, frequency) / power_at(clean_ct, frequency)
        np.testing.assert_allclose(ratio, 1, atol=0.1)
    inner = slice(500, 4500)
    np.testing.assert_allclose(
        found_ct[2, inner].std(), clean_ct[2, inner].std(), rtol=0.05
    )
    scaled = fit_line_noise(1e-6 * mains_ct[::-1], **LINE)
    np.testing.assert_allclose(1e6 * scaled[::-1], found_ct, rtol=1e-6, atol=1e-6)


def test_line_noise_refuses_what_it_cannot_fit(rng):
    x_ct = rng.normal(size=(1, 2000))
    with pytest.raises(InputError, match="line_hz=200 must lie between 0 and 125"):
        fit_line_noise(x_ct, **LINE | {"line_hz": 200.0})
    with pytest.raises(InputError, match="window_s=9 must span from 2 to the 2000"):
        fit_line_noise(x_ct, **LINE | {"window_s": 9.0})
    x_ct[0, 0] = np.nan
    with pytest.raises(InputError, match=r"call .*fill_gaps first"):
        fit_line_noise(x_ct, **LINE)


# Blinks


def test_blinks_are_taken_out_as_by_mne(rng):
    import mne

    brain_ct = rng.normal(size=(4, 3000))
    eyes_at = 50 * np.maximum(rng.normal(size=(2, 3000)) - 2, 0) + 3
    true_ca = np.array([[0.5, 0.1], [0.3, 0], [0.05, 0.2], [0, 0]])
    x_ct = brain_ct + true_ca @ eyes_at
    weights_ca = artifact_weights(x_ct, eyes_at)
    np.testing.assert_allclose(weights_ca, true_ca, atol=0.02)
    cleaned_ct = regress_out(x_ct, eyes_at, weights_ca)
    info = mne.create_info(6, 100.0, ["eeg"] * 4 + ["eog"] * 2, verbose="error")
    raw = mne.io.RawArray(np.concatenate([x_ct, eyes_at]), info, verbose="error")
    model = mne.preprocessing.EOGRegression(picks="eeg", proj=False).fit(
        raw.set_eeg_reference([], verbose="error")
    )
    np.testing.assert_allclose(weights_ca, model.coef_, rtol=1e-9, atol=1e-12)
    expected_ct = model.apply(raw).get_data()[:4]
    difference = cleaned_ct - expected_ct  # what is done with the mean is a convention
    np.testing.assert_allclose(np.ptp(difference, axis=1), 0, atol=1e-9)
    left = np.corrcoef(np.concatenate([cleaned_ct, eyes_at]))[:4, 4:]
    np.testing.assert_allclose(left, 0, atol=1e-9)
    # Units of either side, and an artifact channel that does not move.
    flat_at = np.concatenate([1e6 * eyes_at, np.full((1, 3000), 7.0)])
    more_ca = artifact_weights(x_ct, flat_at)
    np.testing.assert_allclose(1e6 * more_ca[:, :2], weights_ca, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(more_ca[:, 2], 0, atol=1e-9)


def test_gaps_stay_gaps_when_blinks_are_taken_out(rng):
    x_ct, eyes_at = rng.normal(size=(2, 50)), rng.normal(size=(1, 50))
    weights_ca = artifact_weights(x_ct, eyes_at)
    x_ct[0, 3], eyes_at[0, 8] = np.nan, np.nan
    missing = np.isnan(regress_out(x_ct, eyes_at, weights_ca))
    assert np.argwhere(missing).tolist() == [[0, 3], [0, 8], [1, 8]]
    with pytest.raises(InputError, match="missing or infinite"):
        artifact_weights(x_ct, eyes_at[:, ::-1])


# Independent components


COMPONENTS = {
    "rate_hz": RATE_HZ,
    "unit_v": 1e-6,
    "n_components": 12,
    "remove": ("eye blink",),
    "min_probability": 0.5,
    "seed": 0,
}


@pytest.fixture
def blinking_ct(rng):
    """Sources with alpha waves under many channels, and blinks at the front."""
    places = place_electrodes(NAMES)
    times_s = np.arange(int(20 * RATE_HZ)) / RATE_HZ
    centers = places[rng.choice(19, 10, replace=False)]
    spread = np.exp(-np.sum((places[:, None] - centers) ** 2, axis=-1) / 0.003)
    sources = rng.normal(size=(10, len(times_s))).cumsum(axis=1)
    sources -= sources.mean(axis=1, keepdims=True)
    sources *= 10 / sources.std(axis=1, keepdims=True)
    sources += 8 * np.sin(2 * np.pi * (9 + rng.random((10, 1))) * times_s)
    front = np.exp(-(places[:, 1].max() - places[:, 1]) / 0.02)
    blinks = np.zeros(len(times_s))
    for onset_s in np.arange(1, 19, 1.7):
        blinks += 150 * np.exp(-(((times_s - onset_s) / 0.12) ** 2))
    return spread @ sources + np.outer(front, blinks) + rng.normal(
        size=(19, len(times_s))
    ), blinks


@pytest.mark.skipif(
    importlib.util.find_spec("mne_icalabel") is None, reason="merps[ica] is not there"
)
def test_components_of_blinks_are_taken_out(blinking_ct):
    x_ct, blinks_t = blinking_ct
    places = place_electrodes(NAMES)
    cleaned_ct, components = remove_components(x_ct, positions=places, **COMPONENTS)
    assert components.removed.sum() >= 1
    assert len(components.labels) == len(components.probabilities) == 12
    chosen = np.array(components.labels)[components.removed]
    assert set(chosen) == {"eye blink"}
    band = {
        "rate_hz": RATE_HZ,
        "low_hz": 1.0,
        "high_hz": 45.0,
        "order": 4,
        "pad_s": 1.0,
    }
    was_ct, is_ct = band_pass(x_ct, **band), band_pass(cleaned_ct, **band)
    before, after = (abs(np.corrcoef(x[0], blinks_t)[0, 1]) for x in (was_ct, is_ct))
    assert before > 0.6
    assert after < 0.5 * before
    assert np.corrcoef(was_ct[17], is_ct[17])[0, 1] > 0.9
    nothing, _ = remove_components(
        x_ct, positions=places, **COMPONENTS | {"min_probability": 1.1}
    )
    np.testing.assert_allclose(nothing, x_ct, atol=1e-9 * np.abs(x_ct).max())


def test_labels_need_their_extra(blinking_ct, monkeypatch):
    former = builtins.__import__

    def refuse(name, *rest):
        if name.startswith(("mne_icalabel", "onnxruntime")):
            raise ImportError(name=name)
        return former(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'merps\[ica\]'"):
        remove_components(blinking_ct[0], positions=np.zeros((19, 3)), **COMPONENTS)
