import logging
from dataclasses import replace

import numpy as np
import pytest
from stored import make_store, make_trial

from merps.config import load_config
from merps.errors import ConfigError, InputError
from merps.options import Config
from merps.pipeline import make_model
from merps.pipeline.causality import filter_delays_s, require_phase
from merps.pipeline.features import extract_samples

CAUSAL = load_config("causal")


def test_the_preset_makes_every_model():
    for name in ("constant", "bandpower", "riemannian", "convolutional", "fusion"):
        make_model(name, CAUSAL.model, phase="causal")
    for name in ("filter_bank", "shallow"):
        make_model(name, CAUSAL.model, phase="causal")
    riemannian = make_model("riemannian", CAUSAL.model, phase="causal")
    assert riemannian.phase == CAUSAL.preprocess.phase == "causal"
    assert make_model("riemannian").phase == Config().preprocess.phase == "zero"


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        ("riemannian", ["reference=person"], "reference=person takes .*training"),
        ("riemannian", ["reference=person_rest"], "reference=person_rest takes"),
        ("riemannian", ["inputs=[eeg, joint]"], "joint holds fNIRS of later seconds"),
        ("convolutional", ["alignment=person"], "alignment=person takes .*none"),
        ("convolutional", ["alignment=whiten"], "alignment=whiten takes"),
        ("convolutional", ["sequence_s=5"], r"sequence_s=5 decodes .*causal: 1"),
    ],
)
def test_models_that_look_ahead_are_refused(model, overrides, message):
    overrides = [f"model.{model}.{text}" for text in overrides]
    section = load_config("causal", overrides).model
    with pytest.raises(InputError, match=message):
        make_model(model, section, phase="causal")
    make_model(model, section)


def test_all_that_looks_ahead_is_told_at_once():
    section = load_config(
        None,
        [
            "model.lags={eeg_s: [0, 2], fnirs_s: [-2, 0]}",
            "model.riemannian.inputs=[joint]",
        ],
    ).model
    with pytest.raises(
        InputError, match=r"lag of -2 s .*person_rest .*joint"
    ) as caught:
        make_model("riemannian", section, phase="causal")
    assert "preset causal" in str(caught.value)
    with pytest.raises(InputError, match="lag of -2 s"):
        make_model("bandpower", section, phase="causal")
    require_phase(make_model("riemannian", section), "zero")
    late = load_config(None, ["model.lags.eeg_s=[0, 2]"]).model
    make_model("bandpower", late, phase="causal")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features.reference=person_rest"], "features.reference=person_rest takes"),
        (["features.fnirs_reference=person"], "features.fnirs_reference=person takes"),
        (["fnirs_windows.window_s=0.25"], "fnirs_windows.window_s is no whole number"),
        (["preprocess.eeg.blinks={}"], "preprocess.eeg.blinks looks at the whole"),
        (
            ["preprocess.fnirs.motion=tddr"],
            "preprocess.fnirs.motion looks at the whole",
        ),
        (["dataset.synchrony={}"], "dataset.synchrony looks at events of the whole"),
    ],
)
def test_features_that_look_ahead_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config("causal", overrides)
    load_config(None, overrides)


def test_delays_of_the_filters_are_told():
    assert filter_delays_s(Config()) == {}
    delays = filter_delays_s(CAUSAL)
    assert delays["eeg"].keys() == CAUSAL.features.bands.keys()
    told_ms = [round(1000 * late_s) for late_s in delays["eeg"].values()]
    assert told_ms == [42, 14, 10, 10, 16]  # as docs/reliability.md has it
    assert delays["fnirs"]["slow"] == pytest.approx(1.107, abs=0.001)
    notched = load_config("causal", ["preprocess.eeg.notch.line_hz=50"])
    assert filter_delays_s(notched)["eeg"]["gamma"] > delays["eeg"]["gamma"]
    bare = [f"preprocess.{m}.band_pass=null" for m in ("eeg", "fnirs")]
    bare.append("preprocess.fnirs.to_hz=10")
    delays = filter_delays_s(load_config("causal", bare))
    assert set(delays["eeg"].values()) == {0}
    assert delays["fnirs"]["slow"] == pytest.approx(2.51)  # of the change of rate


def test_a_trial_without_a_rest_before_it_has_no_features(tmp_path, rng, caplog):
    config = load_config(
        "causal",
        [
            "features.bands={slow: [1, 8]}",
            "features.kinds=[HbO]",
            "windows.window_s=2",
            "fnirs_windows.window_s=2",
            "features.width_s=1",
        ],
    )
    rested = make_trial(rng, "test_1", "V01", 6)
    rested = replace(rested, fnirs=replace(rested.fnirs, start_s=-2.0))
    bare = make_trial(rng, "test_1", "V02", 6)
    bare = replace(bare, eeg=replace(bare.eeg, start_s=0.0))
    for trial in (rested, bare):
        for signal in (trial.eeg.signal, trial.fnirs.signal):
            signal[np.isnan(signal)] = 1
    store = make_store(tmp_path, {"test_1": [rested, bare]})
    with caplog.at_level(logging.WARNING):
        samples = extract_samples(store, config=config)
    missing = np.isnan(samples.features).all(axis=1)
    np.testing.assert_array_equal(missing, samples.stimuli == "V02")
    assert caplog.text.count("1 trials have no rest") == 2
    assert samples.taken == ()
    options = config.model_copy(
        update={
            "features": config.features.model_copy(
                update={"reference": "none", "fnirs_reference": "none"}
            )
        }
    )
    samples = extract_samples(store, config=options)
    early = (samples.stimuli == "V02") & (samples.seconds < 1)
    assert np.isnan(samples.features[early]).all()  # would begin before the signal
    assert np.isfinite(samples.features[~early]).all()
