import tracemalloc
from fractions import Fraction

import naive
import numpy as np
import pytest
from scipy.signal import (
    butter,
    iirnotch,
    sosfilt,
    sosfilt_zi,
    sosfiltfilt,
    sosfreqz,
    tf2sos,
)

from merps.errors import InputError
from merps.preprocessing.chain import filter_pieces
from merps.preprocessing.designs import (
    anti_alias,
    butterworth,
    notch_section,
    steady_state,
)
from merps.preprocessing.filters import (
    band_pass,
    design_band_pass,
    design_notch,
    notch,
    resample,
)

FNIRS_HZ = 1000 / 21
EEG = {"rate_hz": 200.0, "low_hz": 0.5, "high_hz": 45.0, "order": 4, "pad_s": 5.0}
RATES = [(200, 200), (1000, 200), (160, 200), (500, 200), (FNIRS_HZ, 10), (10, 47.5)]


def sine(rate_hz, frequency_hz, duration_s=20.0):
    return np.sin(2 * np.pi * frequency_hz * np.arange(duration_s * rate_hz) / rate_hz)


def forward_backward(sos, x_t, n_pad):
    """Filter by hand: odd reflection, steady start, forward, backward."""
    before, after = (
        2 * x_t[0] - x_t[n_pad:0:-1],
        2 * x_t[-1] - x_t[-2 : -n_pad - 2 : -1],
    )
    y_t, zi = np.concatenate([before, x_t, after]), sosfilt_zi(sos)
    for _ in range(2):
        y_t = sosfilt(sos, y_t, zi=zi * y_t[0])[0][::-1]
    return y_t[n_pad : n_pad + len(x_t)]


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "kind"),
    [(0.5, 45.0, "bandpass"), (0.5, None, "highpass"), (None, 45.0, "lowpass")],
)
def test_band_pass_equals_scipy_and_the_recipe(rng, low_hz, high_hz, kind):
    x_ct = rng.normal(size=(11, 3000)).cumsum(axis=1)
    edges = [edge for edge in (low_hz, high_hz) if edge is not None]
    sos = butter(4, np.squeeze(edges), kind, fs=200, output="sos")
    options = EEG | {"low_hz": low_hz, "high_hz": high_hz}
    actual = band_pass(x_ct, **options)
    expected = sosfiltfilt(sos, x_ct, padtype="odd", padlen=1000)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * scale)
    by_hand = forward_backward(sos, x_ct[4], 1000)
    np.testing.assert_allclose(actual[4], by_hand, rtol=0, atol=1e-9 * scale)
    single = band_pass(x_ct.astype(np.float32), **options)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-4 * scale)


def test_band_pass_equals_mne_in_the_interior(rng):
    mne_filter = pytest.importorskip("mne.filter")
    x_ct = rng.normal(size=(2, 12_000))
    expected = mne_filter.filter_data(
        x_ct.copy(),
        200.0,
        0.5,
        45.0,
        method="iir",
        iir_params={"order": 4, "ftype": "butter", "output": "sos"},
        phase="zero",
        verbose="error",
    )
    inside = slice(3000, -3000)
    actual = band_pass(x_ct, **EEG)
    np.testing.assert_allclose(actual[:, inside], expected[:, inside], atol=1e-9)


def test_notch_equals_scipy_and_removes_only_the_line(rng):
    x_ct = rng.normal(size=(2, 4000))
    options = {"rate_hz": 200.0, "line_hz": 50.0, "width_hz": 2.0, "pad_s": 5.0}
    sos = tf2sos(*iirnotch(50.0, 25.0, fs=200.0))
    expected = sosfiltfilt(sos, x_ct, padtype="odd", padlen=1000)
    np.testing.assert_allclose(notch(x_ct, **options), expected, rtol=0, atol=1e-9)
    inside = slice(800, -800)
    assert np.abs(notch(sine(200, 50), **options)[inside]).max() < 1e-3
    kept = sine(200, 40)
    np.testing.assert_allclose(notch(kept, **options)[inside], kept[inside], atol=0.01)
    half = notch(sine(200, 51), **options)[inside]  # 6 dB at the edge of the width
    assert np.ptp(half) / 2 == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(
    ("frequency_hz", "gain"), [(0.05, 0), (0.5, 0.5), (10, 1), (45, 0.5), (90, 0)]
)
def test_band_pass_has_its_gain_and_no_delay(frequency_hz, gain):
    x_t = sine(200, frequency_hz, 80)
    y_t = band_pass(x_t, **EEG)
    inside = slice(4000, -4000)
    np.testing.assert_allclose(y_t[inside], gain * x_t[inside], atol=0.005)


def test_band_pass_ignores_offsets_layout_and_neighbors(rng):
    x_kct = rng.normal(size=(2, 9, 500))
    expected = band_pass(x_kct, **EEG)
    np.testing.assert_allclose(band_pass(x_kct + 5000, **EEG), expected, atol=1e-8)
    for other in (np.asfortranarray(x_kct), np.repeat(x_kct, 2, axis=2)[..., ::2]):
        np.testing.assert_array_equal(band_pass(other, **EEG), expected)
    np.testing.assert_array_equal(band_pass(x_kct[1, 7], **EEG), expected[1, 7])
    np.testing.assert_array_equal(band_pass(x_kct[:, ::-1], **EEG), expected[:, ::-1])


def test_padding_is_at_most_the_signal(rng):
    x_t = rng.normal(size=30)
    longest = band_pass(x_t, **EEG | {"pad_s": 29 / 200})
    np.testing.assert_array_equal(band_pass(x_t, **EEG), longest)
    assert band_pass(x_t[:1], **EEG).shape == (1,)


def test_arguments_stay_untouched(rng):
    x_ct = rng.normal(size=(2, 400))
    before = x_ct.copy()
    band_pass(x_ct, **EEG)
    notch(x_ct, rate_hz=200.0, line_hz=50.0, width_hz=2.0, pad_s=1.0)
    for to_hz in (200, 50):
        resample(x_ct, rate_hz=200, to_hz=to_hz, keep_hz=None)[:] = 0
    np.testing.assert_array_equal(x_ct, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low_hz": None, "high_hz": None}, "both None"),
        ({"high_hz": 100.0}, "high_hz=100 must lie above 0 and below 100, the Nyquist"),
        ({"low_hz": 0.0}, "low_hz=0 must lie above 0"),
        ({"low_hz": 50.0}, "low_hz=50 must be less than high_hz=45"),
        ({"low_hz": 45.0}, "low_hz=45 must be less than high_hz=45"),
        ({"order": 0}, "order must be at least 1"),
        ({"pad_s": -1.0}, "pad_s must not be negative"),
        ({"rate_hz": 0.0}, "rate_hz must be positive"),
    ],
)
def test_band_pass_refuses_bad_options(change, message):
    with pytest.raises(InputError, match=message):
        band_pass(np.zeros(100), **EEG | change)


@pytest.mark.parametrize(
    ("bad", "message"), [(np.nan, "fill_gaps"), (np.inf, "infinite")]
)
def test_every_filter_refuses_what_is_not_finite(bad, message):
    x_ct = np.zeros((2, 100))
    x_ct[1, 50] = bad
    with pytest.raises(InputError, match=message):
        band_pass(x_ct, **EEG)
    with pytest.raises(InputError, match=message):
        notch(x_ct, rate_hz=200.0, line_hz=50.0, width_hz=2.0, pad_s=1.0)
    with pytest.raises(InputError, match=message):
        resample(x_ct, rate_hz=200, to_hz=10, keep_hz=None)
    with pytest.raises(InputError, match="empty"):
        resample(x_ct[:, :0], rate_hz=200, to_hz=10, keep_hz=None)


def test_notch_refuses_bad_options():
    options = {"rate_hz": 200.0, "line_hz": 50.0, "width_hz": 2.0, "pad_s": 1.0}
    with pytest.raises(InputError, match="line_hz=150 must lie"):
        notch(np.zeros(100), **options | {"line_hz": 150.0})
    with pytest.raises(InputError, match="width_hz=0 must lie between"):
        notch(np.zeros(100), **options | {"width_hz": 0.0})


@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_resample_keeps_the_time_of_an_impulse(rate_hz, to_hz):
    # On the lower rate's scale the impulses are a narrow, band-limited bump.
    width_s = 0.6 / min(rate_hz, to_hz)
    n_times = round(170 * rate_hz)
    times_s = np.arange(n_times) / rate_hz
    for onset_s in (0, 1, 60, 100.5, 169):
        bump = np.exp(-0.5 * ((times_s - onset_s) / width_s) ** 2)
        new = resample(bump, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
        assert len(new) == np.ceil(round(n_times * to_hz / rate_hz, 6))
        new_s = np.arange(len(new)) / to_hz
        assert abs(new_s[new.argmax()] - onset_s) <= 0.5 / to_hz + 1e-9
        if onset_s in (60, 100.5):  # away from the reflected ends
            assert new @ new_s / new.sum() == pytest.approx(onset_s, abs=1e-3 / to_hz)
    impulse = np.zeros(n_times)
    impulse[n_times // 2] = 1
    new = resample(impulse, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
    centroid_s = new @ np.arange(len(new)) / to_hz / new.sum()
    assert centroid_s == pytest.approx(times_s[n_times // 2], abs=0.01 / to_hz)


@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES[1:])
def test_resample_keeps_sines_below_and_removes_sines_above(rate_hz, to_hz):
    nyquist_hz = min(rate_hz, to_hz) / 2
    duration_s = 300 / nyquist_hz
    for part in (0.01, 0.1, 0.45, 0.79):
        x_t = sine(rate_hz, part * nyquist_hz, duration_s)
        actual = resample(x_t, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
        expected = sine(to_hz, part * nyquist_hz, duration_s + 1)[: len(actual)]
        inside = slice(len(actual) // 4, -len(actual) // 4)
        np.testing.assert_allclose(actual[inside], expected[inside], atol=1e-3)
    for part in (1.01, 1.3, 1.9, 3.3):
        if part * nyquist_hz < rate_hz / 2:
            x_t = sine(rate_hz, part * nyquist_hz, duration_s)
            actual = resample(x_t, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
            inside = slice(len(actual) // 4, -len(actual) // 4)
            assert np.abs(actual[inside]).max() < 1e-3


@pytest.mark.parametrize(("up", "down"), [(1, 5), (21, 100), (2, 5), (5, 4), (100, 21)])
def test_resampling_filter_meets_its_specification(up, down):
    taps = anti_alias(Fraction(up, down), pass_band=0.8, stop_band=1.0)
    np.testing.assert_allclose(taps, taps[::-1], rtol=0, atol=1e-12)  # linear phase
    gain = np.abs(np.fft.rfft(taps, 2**20)) / up
    part = np.linspace(0, max(up, down), len(gain))  # of the lower Nyquist frequency
    assert np.abs(gain[part <= 0.8] - 1).max() < 1e-3
    assert gain[part >= 1].max() < 1e-3


@pytest.mark.parametrize(("up", "down"), [(1, 5), (21, 100), (5, 4)])
@pytest.mark.parametrize("part", [0.05, 0.56])
def test_a_short_resampling_filter_guards_what_it_keeps(up, down, part):
    taps = anti_alias(Fraction(up, down), pass_band=part, stop_band=2 - part)
    full = anti_alias(Fraction(up, down), pass_band=0.8, stop_band=1.0)
    assert len(taps) < len(full) / 3
    gain = np.abs(np.fft.rfft(taps, 2**20)) / up
    place = np.linspace(0, max(up, down), len(gain))
    assert np.abs(gain[place <= part] - 1).max() < 1e-3
    # Whatever folds onto what is kept, from around each multiple of the new rate.
    folded = np.abs(place - 2 * np.round(place / 2)) <= part
    assert gain[folded & (place > 1)].max() < 1e-3


def test_resample_keeps_what_is_asked_for_and_no_alias_of_it():
    options = {"rate_hz": 1000, "to_hz": 200, "keep_hz": 56.0}
    inside = slice(200, -200)
    for frequency_hz in (10, 56):
        actual = resample(sine(1000, frequency_hz), **options)
        expected = sine(200, frequency_hz)
        np.testing.assert_allclose(actual[inside], expected[inside], atol=1e-3)
    for frequency_hz in (150, 244, 356):  # seen as 50, 44 and 44 Hz
        assert (
            np.abs(resample(sine(1000, frequency_hz), **options)[inside]).max() < 1e-3
        )


@pytest.mark.parametrize("keep_hz", [0.0, 100.0, np.nan])
def test_resample_refuses_to_keep_what_cannot_be_kept(keep_hz):
    with pytest.raises(InputError, match=r"keep_hz=.* must lie above 0 and below 100"):
        resample(np.zeros(100), rate_hz=1000, to_hz=200, keep_hz=keep_hz)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    ("low_hz", "high_hz", "kind"),
    [
        (0.5, 45, "bandpass"),
        (0.01, 0.5, "bandpass"),
        (None, 45, "low"),
        (1, None, "high"),
    ],
)
def test_butterworth_equals_scipy(order, low_hz, high_hz, kind):
    edges = [edge for edge in (low_hz, high_hz) if edge]
    theirs = butter(order, np.squeeze(edges), kind, fs=200, output="sos")
    ours = butterworth(rate_hz=200, low_hz=low_hz, high_hz=high_hz, order=order)
    points = np.linspace(0, np.pi, 500)
    expected, actual = (sosfreqz(sos, points)[1] for sos in (theirs, ours))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(steady_state(ours), sosfilt_zi(ours), atol=1e-8)


def test_notch_section_equals_scipy():
    expected = tf2sos(*iirnotch(50.0, 25.0, fs=200.0))
    actual = notch_section(rate_hz=200.0, line_hz=50.0, width_hz=2.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("cuts", [(), (1,), (250,), (3, 5, 640)])
@pytest.mark.parametrize(
    ("rate_hz", "to_hz"), [(1000, 200), (FNIRS_HZ, 10), (200, 200)]
)
def test_pieces_are_filtered_as_if_joined(rng, order, cuts, rate_hz, to_hz):
    whole = rng.normal(size=(3, 2, 700)).cumsum(axis=-1)
    band = design_band_pass(rate_hz=to_hz, low_hz=0.1, high_hz=3, order=2, pad_s=2)
    line = design_notch(rate_hz=to_hz, line_hz=4, width_hz=1, pad_s=1)
    options = {"rate_hz": rate_hz, "to_hz": to_hz, "keep_hz": 4, "dtype": np.float64}
    pieces = [p.copy(order) for p in np.split(whole, cuts, axis=-1)]
    actual = filter_pieces(pieces, filters=[band, line], **options)
    once = resample(whole, rate_hz=rate_hz, to_hz=to_hz, keep_hz=4)
    once = band_pass(once, rate_hz=to_hz, low_hz=0.1, high_hz=3, order=2, pad_s=2)
    once = notch(once, rate_hz=to_hz, line_hz=4, width_hz=1, pad_s=1)
    np.testing.assert_allclose(actual, once, rtol=0, atol=1e-9)
    assert actual.flags.c_contiguous


def test_resample_keeps_alpha_and_45_hz_of_1000_hz_eeg():
    for frequency_hz in (10, 45):
        actual = resample(
            sine(1000, frequency_hz), rate_hz=1000, to_hz=200, keep_hz=None
        )
        expected = sine(200, frequency_hz)
        np.testing.assert_allclose(actual[100:-100], expected[100:-100], atol=1e-3)


@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_resample_leaves_offsets_and_lines_without_transients(rate_hz, to_hz):
    for n_times in (1, 2, 7, 500):
        ones = np.full((2, n_times), 4321.0)
        new = resample(ones, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
        np.testing.assert_allclose(new, 4321.0, rtol=1e-12)
    line = 5000 + 3 * np.arange(500) / rate_hz
    new = resample(line, rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
    expected = 5000 + 3 * np.arange(len(new)) / to_hz
    np.testing.assert_allclose(
        new, expected, rtol=0, atol=1e-3 * 3 / min(rate_hz, to_hz)
    )


@pytest.mark.parametrize(("up", "down"), [(1, 5), (5, 4), (3, 7)])
def test_resample_equals_naive(rng, up, down):
    x_ct = rng.normal(size=(2, 400))
    taps = anti_alias(Fraction(up, down), pass_band=0.8, stop_band=1.0)
    expected = [naive.resample(x_t, taps, up, down) for x_t in x_ct]
    actual = resample(x_ct, rate_hz=down, to_hz=up, keep_hz=None)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)
    single = resample(
        np.asfortranarray(x_ct, np.float32), rate_hz=down, to_hz=up, keep_hz=None
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)


def test_resample_to_the_same_rate_is_a_copy(rng):
    x_ct = rng.normal(size=(2, 50))
    same = resample(x_ct, rate_hz=FNIRS_HZ, to_hz=FNIRS_HZ, keep_hz=None)
    np.testing.assert_array_equal(same, x_ct)
    assert not np.shares_memory(same, x_ct)


def test_resample_there_and_back_is_the_band_limited_signal(rng):
    x_t = band_pass(rng.normal(size=4000), **EEG | {"low_hz": None, "high_hz": 30.0})
    back = resample(
        resample(x_t, rate_hz=200, to_hz=500, keep_hz=None),
        rate_hz=500,
        to_hz=200,
        keep_hz=None,
    )
    np.testing.assert_allclose(back[100:-100], x_t[100:-100], atol=2e-3)


def test_resample_refuses_rates_that_would_drift():
    with pytest.raises(InputError, match="drift"):
        resample(np.zeros(100), rate_hz=1.0, to_hz=np.pi / 1e4, keep_hz=None)
    with pytest.raises(InputError, match="rates must be positive"):
        resample(np.zeros(100), rate_hz=200, to_hz=0, keep_hz=None)


def test_filters_need_little_memory_beside_the_result():
    x_ct = np.zeros((64, 20_000))
    tracemalloc.start()
    resample(x_ct, rate_hz=1000, to_hz=200, keep_hz=None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x_ct.nbytes
