from dataclasses import replace

import numpy as np
import pytest
from test_synchrony import make_pair

from merps.config import load_config
from merps.errors import DataError
from merps.pipeline.synchronize import synchronize
from merps.pipeline.trials import preprocess_trial
from merps.recording import Baseline, Trial

SECTION = load_config(None, ["preprocess.synchrony={}"]).preprocess


@pytest.fixture
def trial(rng):
    eeg, fnirs, _ = make_pair(rng, slope_ppm=137, offset_s=3.217)
    return Trial("p", "V01", eeg=eeg, fnirs=fnirs)


def test_drift_is_undone_where_it_is_asked_for(trial, rng):
    options = SECTION.model_copy(
        update={
            "fnirs": SECTION.fnirs.model_copy(update={"kinds": ("HbO",)}),
            "precision": "float64",
        }
    )
    wave = make_pair(np.random.default_rng(0), 0, 0)[2]
    made = preprocess_trial(trial, options)
    assert (made.fnirs.rate_hz, made.fnirs.start_s) == (10, pytest.approx(3.217))
    inner = slice(300, -300)
    found, expected = made.fnirs.signal[0, 0], wave(made.fnirs.times_s)
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.03)
    assert made.notes[-1].startswith(
        "the clock of the fNIRS starts 3.2170 s after that of the EEG and runs "
        "137.0 ppm slow, by 9 events with a residual of 0.00 ms"
    )
    plain = preprocess_trial(trial, options.model_copy(update={"synchrony": None}))
    late = plain.fnirs.signal[0, 0][inner] - wave(plain.fnirs.times_s[inner] + 3.217)
    assert np.abs(late).max() > 0.1


def test_rest_moves_along_and_wanted_events_count(trial):
    rest = trial.fnirs.with_signal(trial.fnirs.signal[..., :50], start_s=-5.0)
    trial = replace(trial, baseline=Baseline(fnirs=rest))
    moved = synchronize(trial, SECTION.synchrony)
    assert moved.baseline.fnirs.start_s == pytest.approx(3.217 - 5 * 1.000137)
    assert moved.baseline.fnirs.rate_hz == moved.fnirs.rate_hz
    assert moved.eeg is trial.eeg
    other = SECTION.synchrony.model_copy(update={"events": ("button",)})
    kept = synchronize(trial, other)
    assert kept.fnirs is trial.fnirs
    assert kept.notes[-1].endswith("0 events of the EEG and 0 of the fNIRS")
    alone = replace(trial, eeg=None)
    assert synchronize(alone, SECTION.synchrony) is alone


def test_events_that_do_not_match_fail_the_person(trial, rng):
    onsets_s = rng.uniform(0, 600, len(trial.fnirs.annotations))
    others = tuple(
        replace(annotation, onset_s=float(onset_s))
        for annotation, onset_s in zip(trial.fnirs.annotations, onsets_s, strict=True)
    )
    wrong = replace(trial, fnirs=replace(trial.fnirs, annotations=others))
    with pytest.raises(DataError, match=r"p V01: of 9 and 9 events, \d match within"):
        synchronize(wrong, SECTION.synchrony)
