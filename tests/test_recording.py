from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.recording import Annotation, Baseline, Recording, Trial


def record(signal, **changes):
    n_kinds = signal.shape[0] if signal.ndim == 3 else 0
    facts = {
        "rate_hz": 200.0,
        "start_s": 0.0,
        "channels": tuple(f"C{c}" for c in range(signal.shape[-2])),
        "quantity": "voltage",
        "unit": "uV",
        "kinds": tuple(f"kind {k}" for k in range(n_kinds)),
    }
    return Recording(signal, **(facts | changes))


@given(
    n_times=st.integers(0, 50),
    rate_hz=st.sampled_from([200.0, 1000.0, 1000 / 21, 0.5]),
    start_s=st.sampled_from([0.0, -5.0, 0.3]),
)
def test_time_axis(n_times, rate_hz, start_s):
    recording = record(np.zeros((1, n_times)), rate_hz=rate_hz, start_s=start_s)
    assert recording.n_times == n_times
    assert recording.duration_s == n_times / rate_hz
    expected = [start_s + k / rate_hz for k in range(n_times)]
    np.testing.assert_array_equal(recording.times_s, expected)


def test_time_axis_does_not_drift():
    recording = record(np.zeros((1, 200_001)), rate_hz=1000 / 21)
    assert recording.times_s[-1] == pytest.approx(4200.0, abs=1e-9)


def test_signals_are_kept_as_they_are(rng):
    signal = rng.normal(size=(20, 6))[::2].T  # neither contiguous nor complete
    signal[2, 3] = np.nan
    assert record(signal).signal is signal


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((3, 5), {"channels": ("A", "B")}, "2 channel names for 3 channels"),
        ((2, 3, 5), {"channels": ("A", "B")}, "2 channel names for 3 channels"),
        ((2, 3, 5), {"kinds": ("HbO",)}, "1 kind names for 2 kinds"),
        ((3, 5), {"kinds": ("HbO",)}, "1 kind names for 0 kinds"),
        ((3, 5), {"rate_hz": 0.0}, "rate_hz must be positive, got 0"),
        ((3, 5), {"rate_hz": -1.0}, "rate_hz must be positive, got -1"),
        ((3, 5), {"rate_hz": np.nan}, "rate_hz must be positive, got nan"),
    ],
)
def test_names_and_axes_must_agree(shape, changes, message):
    with pytest.raises(InputError, match=message):
        record(np.zeros(shape), **changes)


def test_another_signal_keeps_the_facts(rng):
    recording = record(
        rng.normal(size=(2, 9)),
        start_s=-5.0,
        mask=np.array([True, False]),
        positions=rng.normal(size=(2, 3)),
        annotations=(Annotation(1.0, 0.5, "blink"),),
    )
    signal = rng.normal(size=(2, 4)).astype(np.float32)
    other = recording.with_signal(signal)
    assert other.signal is signal
    for name in ("rate_hz", "start_s", "channels", "quantity", "unit", "kinds"):
        assert getattr(other, name) == getattr(recording, name)
    for name in ("mask", "positions", "annotations"):
        assert getattr(other, name) is getattr(recording, name)
    assert recording.n_times == 9


def test_another_signal_may_have_another_time_axis():
    recording = record(np.zeros((2, 9)), start_s=-5.0)
    moved = recording.with_signal(np.zeros((2, 3)), rate_hz=10.0, start_s=0.0)
    assert (moved.rate_hz, moved.start_s) == (10.0, 0.0)


def test_another_signal_must_have_the_same_channels():
    with pytest.raises(InputError, match="2 channel names for 1 channels"):
        record(np.zeros((2, 9))).with_signal(np.zeros((1, 9)))


def test_require_returns_the_record_or_names_both_quantities():
    recording = record(np.zeros((1, 5)))
    assert recording.require("voltage") is recording
    with pytest.raises(InputError, match="expected concentration, got voltage"):
        recording.require("concentration")


def test_a_record_with_several_quantities_is_none_of_them():
    recording = record(np.zeros((2, 1, 5)), quantity=("concentration", "absorbance"))
    with pytest.raises(InputError, match=r"got \('concentration', 'absorbance'\)"):
        recording.require("concentration")


def test_records_cannot_be_changed():
    recording = record(np.zeros((1, 5)))
    with pytest.raises(FrozenInstanceError):
        recording.rate_hz = 1.0


def test_trials_may_lack_everything_and_share_nothing():
    first, second = Trial("test_1", "V01"), Trial("test_1", "V02")
    assert first.eeg is first.fnirs is first.targets is None
    assert first.baseline == Baseline(eeg=None, fnirs=None)
    assert first.quality == {}
    assert first.quality is not second.quality
