"""Filters that run forward alone; those that run both ways are in test_filters.py."""

import naive
import numpy as np
import pytest
from scipy.signal import group_delay, sosfilt, sosfilt_zi, sosfreqz

from merps.errors import InputError
from merps.preprocessing.chain import (
    filter_forward,
    filter_pieces,
    filter_pieces_forward,
    resampling_delay_s,
)
from merps.preprocessing.designs import anti_alias, group_delay_s, rational
from merps.preprocessing.filters import design_band_pass, design_notch

FNIRS_HZ = 1000 / 21
RATES = [(200, 200), (1000, 200), (160, 200), (FNIRS_HZ, 10), (10, 47.5)]
BAND = {"low_hz": 0.5, "high_hz": 45.0, "order": 4, "pad_s": 5.0}
EEG = design_band_pass(rate_hz=200, **BAND)
NOTCH = design_notch(rate_hz=200, line_hz=50.0, width_hz=2.0, pad_s=2.0)
FNIRS = design_band_pass(rate_hz=10, low_hz=None, high_hz=0.5, order=4, pad_s=20.0)


def run(pieces, *, rate_hz=200, to_hz=200, keep_hz=None, filters=(), dtype=float):
    options = {"rate_hz": rate_hz, "to_hz": to_hz, "keep_hz": keep_hz, "dtype": dtype}
    return filter_pieces_forward(pieces, filters=filters, **options)


@pytest.mark.parametrize("filters", [[EEG], [FNIRS], [EEG, NOTCH]])
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_forward_filters_equal_scipy(rng, filters, dtype, error):
    x_ct = rng.normal(size=(5, 3000)).cumsum(axis=1) + 1000
    expected = x_ct
    for chosen in filters:
        zi = sosfilt_zi(chosen.sections)[:, None] * expected[:, 0][:, None]
        expected = sosfilt(chosen.sections, expected, zi=zi)[0]
    actual = run([x_ct], filters=filters, dtype=dtype)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=error * scale)
    x_tc = np.ascontiguousarray(x_ct[:4].T)
    for chosen in filters:
        for part in range(2):
            filter_forward(chosen.sections, x_tc, part=part, parts=2)
    np.testing.assert_allclose(x_tc.T, expected[:4], rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("keep", [None, 0.3])
@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_forward_resampling_equals_naive(rng, rate_hz, to_hz, keep):
    x_ct = rng.normal(size=(2, 150)) + 7
    factor = rational(rate_hz=rate_hz, to_hz=to_hz)
    keep_hz = keep and keep * min(rate_hz, to_hz) / 2
    actual = run([x_ct], rate_hz=rate_hz, to_hz=to_hz, keep_hz=keep_hz)
    bands = (0.8, 1.0) if keep is None else (keep, 2 - keep)
    taps = anti_alias(factor, pass_band=bands[0], stop_band=bands[1])
    if factor == 1:
        taps = np.ones(1)
    expected = [
        naive.resample_behind(x_t, taps, *factor.as_integer_ratio()) for x_t in x_ct
    ]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_pieces_layouts_and_types_change_no_bit(rng, rate_hz, to_hz):
    x_kct = rng.normal(size=(2, 9, 700))
    filters = [EEG] if to_hz == 200 else [FNIRS] if to_hz == 10 else []
    options = {"rate_hz": rate_hz, "to_hz": to_hz, "filters": filters}
    expected = run([x_kct], **options)
    turned = np.asfortranarray(x_kct)
    cuts = [
        [turned],
        np.split(turned, [1, 3, 350], axis=-1),
        np.split(x_kct, 7, axis=-1),
    ]
    for pieces in cuts:
        np.testing.assert_array_equal(run(pieces, **options), expected)
    np.testing.assert_array_equal(run([x_kct[1, 3]], **options), expected[1, 3])


@pytest.mark.parametrize("keep_hz", [None, 3.0])
@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_no_output_knows_a_later_sample(rng, rate_hz, to_hz, keep_hz):
    x_ct = rng.normal(size=(3, 600))
    filters = [EEG] if to_hz == 200 else [FNIRS] if to_hz == 10 else []
    options = {"rate_hz": rate_hz, "to_hz": to_hz, "keep_hz": keep_hz}
    whole = run([x_ct], filters=filters, **options)
    for n in (1, 2, 150, 421):
        other = x_ct.copy()
        other[:, n:] = 1e6 * rng.normal(size=other[:, n:].shape)
        changed = run([other], filters=filters, **options)
        known = np.arange(whole.shape[1]) / to_hz < n / rate_hz - 1e-9
        assert changed[:, known].tobytes() == whole[:, known].tobytes()
        assert (changed[:, ~known] != whole[:, ~known]).any()
    both_ways = filter_pieces([x_ct], filters=filters, dtype=float, **options)
    other_ways = filter_pieces([other], filters=filters, dtype=float, **options)
    same = both_ways[:, known] == other_ways[:, known]
    assert same.all() == (rate_hz == to_hz and not filters)


def test_an_offset_leaves_no_transient():
    x_ct = np.full((2, 400), 5000.0)
    assert np.abs(run([x_ct], filters=[EEG])).max() < 1e-6
    out = run([x_ct], rate_hz=FNIRS_HZ, to_hz=10, keep_hz=0.55, filters=[FNIRS])
    np.testing.assert_allclose(out, 5000, rtol=1e-9)


@pytest.mark.parametrize("at_hz", [0.7, 2.5, 6.0, 10.5, 21.5, 37.5])
def test_group_delay_equals_scipy_and_the_delay_of_a_packet(at_hz):
    expected = sum(
        group_delay((row[:3], row[3:]), w=[at_hz], fs=200)[1][0] for row in EEG.sections
    )
    actual = group_delay_s(EEG.sections, rate_hz=200, at_hz=at_hz)
    assert actual == pytest.approx(expected / 200, rel=1e-9)
    times_s = np.arange(60 * 200) / 200
    width_s = 6 / at_hz
    envelope = np.exp(-0.5 * ((times_s - 30) / width_s) ** 2)
    packet = run([envelope * np.cos(2 * np.pi * at_hz * times_s)], filters=[EEG])
    late_s = packet**2 @ times_s / np.sum(packet**2) - 30
    assert late_s == pytest.approx(actual, abs=0.1 * actual)


def test_a_low_pass_delays_what_is_slow():
    actual = group_delay_s(FNIRS.sections, rate_hz=10, at_hz=0)
    phase = np.unwrap(np.angle(sosfreqz(FNIRS.sections, [0, 1e-3], fs=10)[1]))
    assert actual == pytest.approx(-np.diff(phase)[0] / (2 * np.pi * 1e-3), rel=1e-3)
    ramp = np.arange(1000) / 10
    out = run([ramp], rate_hz=10, to_hz=10, filters=[FNIRS])
    assert ramp[-1] - out[-1] == pytest.approx(actual, rel=1e-6)


@pytest.mark.parametrize(("rate_hz", "to_hz"), RATES)
def test_a_change_of_rate_delays_as_told(rate_hz, to_hz):
    late_s = resampling_delay_s(rate_hz=rate_hz, to_hz=to_hz, keep_hz=None)
    ramp = np.arange(3000) / rate_hz
    out = run([ramp], rate_hz=rate_hz, to_hz=to_hz)
    n = len(out) - 1
    assert n / to_hz - out[n] == pytest.approx(late_s, abs=1e-4)
    assert (late_s == 0) == (rate_hz == to_hz)


def test_bad_rates_are_refused(rng):
    with pytest.raises(InputError, match="keep_hz=5 must lie"):
        run([rng.normal(size=(1, 50))], rate_hz=20, to_hz=10, keep_hz=5)
    with pytest.raises(InputError, match="keep_hz=5 must lie"):
        resampling_delay_s(rate_hz=20, to_hz=10, keep_hz=5)
