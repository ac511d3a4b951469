import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.preprocessing.retiming import retime, simple_rate
from merps.preprocessing.synchrony import Clock, fit_clock, fit_label_grid
from merps.recording import Annotation, Recording

OPTIONS = {"max_drift_ppm": 1000.0, "max_offset_s": None, "tolerance_s": 0.05}
FNIRS_HZ = 10.0


def device_times(reference_s, offset_s, slope_ppm):
    """Return what a device's clock shows at times of the reference."""
    return (reference_s - offset_s) / (1 + 1e-6 * slope_ppm)


@given(
    slope_ppm=st.floats(-500, 500),
    offset_s=st.floats(-300, 300),
    n_events=st.integers(5, 40),
    seed=st.integers(0, 2**16),
)
def test_a_clock_is_found_whatever_events_are_missing_or_extra(
    slope_ppm, offset_s, n_events, seed
):
    """Row 18: 5 and more shared events, offset to 2 ms and slope to 5 ppm."""
    rng = np.random.default_rng(seed)
    shared_s = np.sort(np.append(rng.uniform(0, 900, n_events - 2), [0, 900]))
    n_extra = n_events // 5
    reference_s = np.append(shared_s, rng.uniform(0, 900, n_extra))
    device_s = device_times(shared_s, offset_s, slope_ppm)
    device_s = np.append(device_s, rng.uniform(*device_s[[0, -1]], n_extra))
    # An EEG at 1000 Hz sees each event up to half a millisecond late or early.
    device_s[:n_events] += rng.uniform(-5e-4, 5e-4, n_events)
    order, other = rng.permutation(len(reference_s)), rng.permutation(len(device_s))
    clock = fit_clock(reference_s[order], device_s[other], **OPTIONS)
    assert clock.n_events >= n_events
    assert clock.slope_ppm == pytest.approx(slope_ppm, abs=5)
    found_s = clock.to_reference(
        device_times(np.linspace(0, 900, 7), offset_s, slope_ppm)
    )
    np.testing.assert_allclose(found_s, np.linspace(0, 900, 7), atol=2e-3)
    assert clock.residual_ms < 50


@given(slope_ppm=st.floats(0, 500), seed=st.integers(0, 2**16))
def test_events_on_a_slow_grid_tell_the_offset_to_half_a_sample(slope_ppm, seed):
    """Row 18 for fNIRS whose events are known to a sample only: no exact slope then."""
    rng = np.random.default_rng(seed)
    reference_s = np.sort(np.append(rng.uniform(0, 900, 10), [0, 900]))
    device_s = device_times(reference_s, 7.3, slope_ppm)
    rounded_s = np.round(device_s * FNIRS_HZ) / FNIRS_HZ
    options = OPTIONS | {"tolerance_s": 0.15, "resolution_s": 1 / FNIRS_HZ}
    clock = fit_clock(reference_s, rounded_s, **options)
    assert clock.n_events >= 10  # of events within one sample, one matches
    found_s = clock.to_reference(device_s)
    wrong_s = found_s - reference_s  # at the very ends, once in fifty, 20 % more
    assert np.sqrt(np.mean(wrong_s**2)) < 0.5 / FNIRS_HZ
    assert np.abs(wrong_s).max() < 1 / FNIRS_HZ
    assert abs(clock.slope_ppm - slope_ppm) < 6 * clock.slope_error_ppm
    assert clock.slope_error_ppm > 5


def test_a_clock_is_the_line_of_least_squares_and_tells_its_error(rng):
    reference_s = np.sort(rng.uniform(0, 600, 30))
    device_s = device_times(reference_s, 4.0, 80)
    exact = fit_clock(reference_s, device_s, **OPTIONS)
    assert (exact.offset_s, exact.slope_ppm) == pytest.approx((4, 80), abs=1e-6)
    assert exact.residual_ms < 1e-6
    errors = []
    for _ in range(200):
        noisy_s = device_s + rng.normal(0, 2e-3, 30)
        clock = fit_clock(reference_s, noisy_s, **OPTIONS)
        slope, offset_s = np.polyfit(noisy_s, reference_s, 1)
        assert clock.slope_ppm == pytest.approx(1e6 * (slope - 1), abs=3)
        assert clock.offset_s == pytest.approx(offset_s, abs=1e-3)
        errors.append(
            [
                1e3 * (clock.offset_s - 4) / clock.offset_error_ms,
                (clock.slope_ppm - 80) / clock.slope_error_ppm,
            ]
        )
        assert clock.residual_ms == pytest.approx(2, rel=0.5)
    # Standard errors are of the size of the errors made.
    np.testing.assert_allclose(np.std(errors, axis=0), 1, atol=0.35)


def test_late_events_inside_the_tolerance_count_little():
    reference_s = np.array([3.0, 40, 95, 170, 222, 300, 410, 555, 600, 790])
    device_s = device_times(reference_s, -20, 137)
    device_s[[2, 7]] += [0.04, -0.03]
    clock = fit_clock(reference_s, device_s, **OPTIONS)
    assert clock.slope_ppm == pytest.approx(137, abs=1e-3)
    assert clock.offset_s == pytest.approx(-20, abs=1e-6)
    assert clock.n_events == 10


def test_two_events_make_a_line_without_errors():
    clock = fit_clock(np.array([10.0, 110.0]), np.array([5.0, 104.99]), **OPTIONS)
    assert clock.slope_ppm == pytest.approx(100, abs=0.1)
    assert clock.residual_ms < 1e-6
    assert np.isnan([clock.offset_error_ms, clock.slope_error_ppm]).all()


def test_a_slope_beyond_its_limit_is_refused(rng):
    reference_s = np.sort(rng.uniform(0, 300, 12))
    device_s = device_times(reference_s, 1.0, 1600)
    wide = OPTIONS | {"tolerance_s": 0.2}
    with pytest.raises(
        InputError, match="slope of 1600 ppm, beyond max_drift_ppm=1000"
    ):
        fit_clock(reference_s, device_s, **wide)
    clock = fit_clock(reference_s, device_s, **wide | {"max_drift_ppm": 2000.0})
    assert clock.slope_ppm == pytest.approx(1600)


def test_names_tell_regular_events_apart():
    reference_s = np.arange(20.0) * 5
    device_s = device_times(reference_s[1:], 2.0, 60)
    with pytest.raises(InputError, match=r"19 events match at .* the offset cannot be"):
        fit_clock(reference_s, device_s, **OPTIONS)
    bounded = OPTIONS | {"max_offset_s": 2.5}
    assert fit_clock(reference_s, device_s, **bounded).slope_ppm == pytest.approx(60)
    names = [f"stimulus {k}" for k in range(20)]
    clock = fit_clock(
        reference_s,
        device_s,
        reference_labels=names,
        device_labels=names[1:],
        **OPTIONS,
    )
    assert clock.offset_s == pytest.approx(2, abs=1e-9)
    assert clock.n_events == 19


def test_clocks_that_share_nothing_are_refused(rng):
    one, other = rng.uniform(0, 900, (2, 40))
    with pytest.raises(
        InputError, match=r"of 40 and 40 events, \d match within 0.05 s"
    ):
        fit_clock(one, other, **OPTIONS)
    with pytest.raises(InputError, match="of 1 and 40 events, 0 match"):
        fit_clock(one[:1], other, **OPTIONS)
    with pytest.raises(InputError, match="of 0 and 0 events, 0 match"):
        fit_clock(one[:0], one[:0], **OPTIONS)
    with pytest.raises(InputError, match="2 must, so pass events"):
        fit_clock(np.array([1.0, 2.0]), np.array([1.0, 5.0]), **OPTIONS)
    with pytest.raises(InputError, match="tolerance_s=0 must be positive"):
        fit_clock(one, one, **OPTIONS | {"tolerance_s": 0.0})
    with pytest.raises(InputError, match="name the events of both devices"):
        fit_clock(one, one, reference_labels=["a"] * 40, **OPTIONS)
    with pytest.raises(InputError, match="40 names for 40 events, 39 of which"):
        fit_clock(one, np.append(one[1:], np.nan), **OPTIONS)


# What is done about it


def make_pair(rng, slope_ppm, offset_s):
    """An EEG and fNIRS of one slow wave and shared events, by two clocks."""
    events_s = np.sort(rng.uniform(5, 590, 9))
    n_eeg, n_fnirs = 600 * 200, int(590 * FNIRS_HZ)

    def wave(reference_s):
        return np.sin(2 * np.pi * 0.31 * reference_s) + 0.3 * np.sin(reference_s * 0.17)

    def events(times_s):
        return tuple(Annotation(float(t), 0.5, "onset") for t in times_s)

    clock = Clock(offset_s, slope_ppm, 0.0, 0)
    eeg = Recording(
        wave(np.arange(n_eeg) / 200)[None],
        *(200.0, 0.0, ("Cz",), "voltage", "V"),
        annotations=events(events_s),
    )
    seen_s = clock.to_reference(np.arange(n_fnirs) / FNIRS_HZ)
    fnirs = Recording(
        wave(seen_s)[None, None],
        *(FNIRS_HZ, 0.0, ("S1_D1",), ("concentration",), ("mol/L",), ("HbO",)),
        annotations=events(device_times(events_s, offset_s, slope_ppm)),
    )
    return eeg, fnirs, wave


def test_137_ppm_between_eeg_and_fnirs_are_found_and_undone(rng):
    eeg, fnirs, wave = make_pair(rng, slope_ppm=137, offset_s=3.217)
    onsets = [
        np.array([a.onset_s for a in recording.annotations])
        for recording in (eeg, fnirs)
    ]
    clock = fit_clock(*onsets, **OPTIONS)
    assert clock.slope_ppm == pytest.approx(137, abs=1e-3)
    assert clock.offset_s == pytest.approx(3.217, abs=1e-6)
    moved = clock.move(fnirs)
    assert moved.signal is fnirs.signal
    assert moved.start_s == pytest.approx(3.217)
    assert moved.rate_hz == pytest.approx(FNIRS_HZ / 1.000137)
    np.testing.assert_allclose(moved.signal[0, 0], wave(moved.times_s), atol=1e-6)
    for one, other in zip(moved.annotations, eeg.annotations, strict=True):
        assert one.onset_s == pytest.approx(other.onset_s)
        assert one.duration_s == pytest.approx(0.5, rel=2e-4)
    # Resampled, the rate is the nominal one, and after ten minutes all is in place:
    # without that, the wave would be 82 ms off.
    steady = retime(moved.signal, rate_hz=moved.rate_hz, to_hz=FNIRS_HZ)
    times_s = moved.start_s + np.arange(steady.shape[-1]) / FNIRS_HZ
    np.testing.assert_allclose(steady[0, 0], wave(times_s), atol=2e-3)
    late = wave(times_s - (times_s - 3.217) * 137e-6)
    assert np.abs(late - wave(times_s)).max() > 0.1


@pytest.mark.parametrize(
    ("rate_hz", "to_hz"),
    [
        (9.999829, 10.0),
        (9.132, 10.0),
        (5.00025, 10.0),
        (999.863, 200.0),
        (200.0, 200.0),
    ],
)
def test_any_ratio_keeps_a_wave_in_its_place(rate_hz, to_hz):
    seconds = 40
    times_s = np.arange(int(seconds * rate_hz)) / rate_hz
    for share in (0.05, 0.5, 0.75):
        wave_hz = share * min(rate_hz, to_hz) / 2
        x_t = np.sin(2 * np.pi * wave_hz * times_s + 0.3) + 5
        y_t = retime(np.stack([x_t, -x_t]), rate_hz=rate_hz, to_hz=to_hz)[0]
        new_s = np.arange(len(y_t)) / to_hz
        assert abs(len(y_t) - len(x_t) * to_hz / rate_hz) <= 2
        inner = slice(int(12 * to_hz), int(28 * to_hz))
        expected = np.sin(2 * np.pi * wave_hz * new_s + 0.3) + 5
        np.testing.assert_allclose(y_t[inner], expected[inner], atol=2e-3)
    flat = retime(np.full((1, 300), 7.5, np.float32), rate_hz=rate_hz, to_hz=to_hz)
    assert flat.dtype == np.float32
    np.testing.assert_allclose(flat, 7.5, rtol=1e-6)


def test_retiming_takes_short_signals_and_simple_rates():
    assert retime(np.ones((2, 1)), rate_hz=9.99, to_hz=10.0).shape == (2, 2)
    ramp = retime(np.arange(6.0), rate_hz=10.001, to_hz=10.0)
    np.testing.assert_allclose(ramp, np.arange(len(ramp)) * 1.0001, atol=1e-3)
    assert simple_rate(rate_hz=9.9998, to_hz=10) == 10
    assert simple_rate(rate_hz=1000 / 21, to_hz=10) == pytest.approx(1000 / 21)
    with pytest.raises(InputError, match="too far from rate_hz=1"):
        retime(np.ones((1, 9)), rate_hz=1.0, to_hz=1000.0)
    with pytest.raises(InputError, match="rates must be positive"):
        retime(np.ones((1, 9)), rate_hz=0.0, to_hz=10.0)


# The label grid


def test_labels_tell_the_rate_of_a_clock():
    label_s = np.array([135.0, 79, 170, 60, 93, 122, 107, 61])
    surplus_s = 0.021  # one sample more than the labels need, in each trial
    durations_s = label_s / (1 + 137e-6) + surplus_s
    clock = fit_label_grid(durations_s, label_s)
    assert clock.slope_ppm == pytest.approx(137, abs=1e-3)
    assert (clock.offset_s, clock.n_events) == (0, 8)
    exact = fit_label_grid(np.array([100.0]), np.array([100.5]))
    assert exact.slope_ppm == pytest.approx(5000)
    assert exact.slope_error_ppm == pytest.approx(10_000)
    same = fit_label_grid(np.array([100.0, 100.0]), np.array([100.0, 101.0]))
    assert same.slope_ppm == pytest.approx(5000)
    assert same.residual_ms == pytest.approx(500)
    for durations in ([], [0.0], [-1.0, 5.0]):
        with pytest.raises(InputError, match="tell no rate"):
            fit_label_grid(np.array(durations), np.ones(len(durations)))


def test_the_error_of_a_rate_by_labels_is_what_whole_seconds_leave():
    """Trials end up to a second after their last label."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        label_s = rng.integers(40, 180, 15).astype(float)
        durations_s = (label_s + rng.uniform(0, 1, 15)) / 1.02
        clock = fit_label_grid(durations_s, label_s)
        found.append((clock.slope_ppm - 20_000, clock.slope_error_ppm))
    misses, errors = np.array(found).T
    assert abs(misses.mean()) < 3 * misses.std() / 10
    assert misses.std() == pytest.approx(np.median(errors), rel=0.35)
