import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.readers.timing import lay_grid, onto_grid


def wave(times_s):
    return np.stack([np.sin(2 * np.pi * 3 * times_s), np.cos(2 * np.pi * times_s)])


@given(
    rate_hz=st.sampled_from([5.0003, 9.132, 100.0, 1000 / 21, 512.0]),
    start_s=st.floats(0, 1e5),
    jitter=st.floats(0, 0.4),
    seed=st.integers(0, 2**16),
)
def test_jitter_leaves_samples_as_they_are(rate_hz, start_s, jitter, seed):
    rng = np.random.default_rng(seed)
    times_s = start_s + np.arange(500) / rate_hz
    stamps = times_s + jitter / rate_hz * rng.uniform(-1, 1, size=500)
    grid = lay_grid(stamps)
    x_tc = rng.normal(size=(500, 3))
    np.testing.assert_array_equal(onto_grid(x_tc, grid), x_tc.T)
    assert grid.rate_hz == pytest.approx(rate_hz, rel=2e-3)
    assert grid.start_s == pytest.approx(start_s, abs=0.2 / rate_hz)
    assert grid.notes == ()


@pytest.mark.parametrize("gap_s", [0.7, 2.3456, 30.0])
def test_a_gap_is_missing_and_both_sides_keep_their_time(gap_s):
    times_s = np.arange(2000) / 100
    times_s[800:] += gap_s
    grid = lay_grid(times_s)
    x_ct = onto_grid(wave(times_s).T, grid)
    at_s = grid.start_s + np.arange(grid.n_times) / grid.rate_hz
    missing = np.isnan(x_ct[0])
    assert grid.rate_hz == pytest.approx(100, rel=1e-9)
    assert abs(missing.sum() - gap_s * 100) <= 1
    inside = (at_s > 7.995) & (at_s < 7.99 + gap_s)
    assert missing[inside].all()
    np.testing.assert_allclose(x_ct[:, ~missing], wave(at_s[~missing]), atol=1e-3)
    assert "in 1 gaps" in grid.notes[0]


def test_a_clock_that_goes_back_loses_what_comes_twice():
    times_s = np.concatenate([np.arange(500), np.arange(400, 900)]) / 100
    grid = lay_grid(times_s)
    x_ct = onto_grid(times_s[:, None], grid)
    assert grid.n_times == 900
    np.testing.assert_allclose(x_ct[0], np.arange(900) / 100, atol=1e-6)
    assert grid.notes[-1] == "100 samples whose time stamps go back are left out"


@pytest.mark.parametrize(
    ("times_s", "found"),
    [
        *(([], "0 finite time stamps of 0"), ([1.0], "1 finite time stamps of 1")),
        *(([1.0, 1.0], "do not rise"), ([3.0, 2.0, 1.0], "do not rise")),
        ([0.0, np.nan, np.inf], "1 finite time stamps of 3"),
        *(([0.0, 1e300], "a time stamp of 1e+300 s"), ([0, 1e-310], "1e-310 s from")),
        ([0.0, 5000.0, 10_000.0], "5e+03 s from one time stamp to the next"),
        ([10.0, 1.0, 2.0], "no two samples that follow each other"),
    ],
)
def test_time_stamps_that_give_no_rate(times_s, found):
    with pytest.raises(InputError, match=re.escape(found)) as caught:
        lay_grid(np.array(times_s, dtype=float))
    assert "; correct the time stamps" in str(caught.value)


def test_a_clock_set_anew_asks_for_no_terabytes():
    times_s = np.r_[np.arange(500), 1e11 + np.arange(500)] / 100
    with pytest.raises(InputError, match=r"1000 samples spread over 1e\+09 s"):
        lay_grid(times_s)


def test_a_pause_of_an_hour_is_a_gap():
    times_s = np.r_[np.arange(500), 360_000 + np.arange(500)] / 100
    assert lay_grid(times_s).n_times == 360_500


def test_stamps_of_unix_clocks_keep_their_rate():
    grid = lay_grid(1.7e9 + np.arange(60_000) / 500)
    assert grid.rate_hz == pytest.approx(500, rel=1e-8)
    assert grid.n_times == 60_000
