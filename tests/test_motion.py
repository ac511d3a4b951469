import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.preprocessing.motion import (
    find_end_steps,
    find_motion,
    hold_ends,
    motion_ratio,
    spline_motion,
)

OPTIONS = {
    "rate_hz": 10.0,
    "window_s": 0.5,
    "mask_s": 1.0,
    "deviations": 15.0,
    "max_change": 0.1,
}


@pytest.fixture
def moved_ct(rng):
    """A pulse with a spike, a shift, both, and nothing."""
    times_s = np.arange(1200) / 10
    pulse_t = 0.01 * np.sin(2 * np.pi * 1.1 * times_s)
    slow_t = 0.02 * np.sin(2 * np.pi * 0.05 * times_s)
    x_ct = pulse_t + slow_t + 1e-3 * rng.normal(size=(4, 1200))
    x_ct[0, 400:430] += 0.9 * np.hanning(30)
    x_ct[1] += np.clip((times_s - 60) / 3, 0, 1)
    x_ct[2] -= 0.8 * np.clip((times_s - 20) / 2, 0, 1)
    x_ct[2, 800:830] += 0.9 * np.hanning(30)
    return x_ct


@given(
    n_times=st.integers(1, 50),
    window_s=st.sampled_from([0.1, 0.3, 9.0]),
    mask_s=st.sampled_from([0.0, 0.2]),
    p_missing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**16),
)
def test_motion_is_found_as_by_naive(n_times, window_s, mask_s, p_missing, seed):
    rng = np.random.default_rng(seed)
    x_ct = rng.normal(size=(3, n_times)).cumsum(axis=1)
    x_ct[:, n_times // 2 :] += rng.integers(0, 20)
    x_ct[rng.random(x_ct.shape) < p_missing] = np.nan
    options = {"deviations": 2.0, "max_change": 6.0}
    spans = {"window_s": window_s, "mask_s": mask_s}
    found = find_motion(x_ct, rate_hz=10.0, **options, **spans)
    reach, around = max(round(10 * window_s), 1), round(10 * mask_s)
    expected = [naive.find_motion(x_t, reach, around, **options) for x_t in x_ct]
    np.testing.assert_array_equal(found, expected)
    turned = find_motion(
        np.asfortranarray(x_ct[::-1]), rate_hz=10.0, **options, **spans
    )
    np.testing.assert_array_equal(turned[::-1], found)


def test_motion_is_where_it_was_put(moved_ct):
    marked = find_motion(moved_ct, **OPTIONS)
    assert marked.any(axis=1).tolist() == [True, True, True, False]
    for row, spans in enumerate([[(380, 450)], [(580, 650)], [(180, 240), (780, 850)]]):
        allowed = np.zeros(1200, dtype=bool)
        for first, stop in spans:
            allowed[first:stop] = True
            assert marked[row, first + 30]
        assert not (marked[row] & ~allowed).any()


def test_splines_take_out_spikes_and_shifts(moved_ct):
    marked = find_motion(moved_ct, **OPTIONS)
    mended = spline_motion(moved_ct, marked, rate_hz=10.0, smoothness=0.99)
    np.testing.assert_array_equal(mended[3], moved_ct[3])
    np.testing.assert_allclose(mended.mean(axis=1), moved_ct.mean(axis=1), atol=1e-12)
    assert (
        np.abs(mended[0] - moved_ct[3] - (mended[0] - moved_ct[3]).mean()).max() < 0.1
    )
    before, after = (
        np.mean(x[1, 650:850]) - np.mean(x[1, 380:580]) for x in (moved_ct, mended)
    )
    assert before > 0.9
    assert abs(after) < 0.05
    ratio, smaller = (motion_ratio(x, rate_hz=10.0) for x in (moved_ct, mended))
    assert (ratio[:3] > 10).all()
    assert (smaller < 3).all()
    np.testing.assert_allclose(ratio[3], smaller[3])
    # Units and offsets are kept, and so is the order of rows.
    moved = spline_motion(
        1e3 * moved_ct[::-1] + 5, marked[::-1], rate_hz=10.0, smoothness=0.99
    )
    np.testing.assert_allclose(moved[::-1], 1e3 * mended + 5, rtol=1e-9)


@given(seed=st.integers(0, 2**16), density=st.sampled_from([0.02, 0.3, 0.9, 1.0]))
def test_splines_equal_naive(seed, density):
    rng = np.random.default_rng(seed)
    x_kct = rng.normal(size=(2, 2, 90)).cumsum(axis=-1)
    motion = np.repeat(rng.random((2, 2, 18)) < density, 5, axis=-1)
    found = spline_motion(x_kct, motion, rate_hz=5.0, smoothness=0.9)
    for index in np.ndindex(2, 2):
        expected = naive.spline_motion(x_kct[index], motion[index], 5.0, 0.9)
        np.testing.assert_allclose(found[index], expected, atol=1e-7)


@given(
    n_times=st.integers(1, 60),
    p_missing=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_the_ratio_equals_naive(n_times, p_missing, seed):
    rng = np.random.default_rng(seed)
    x_ct = rng.integers(0, 4, size=(3, n_times)).astype(np.float64)
    x_ct[rng.random(x_ct.shape) < p_missing] = np.nan
    found = motion_ratio(x_ct, rate_hz=5.0)
    expected = [naive.motion_ratio(x_t, 5) for x_t in x_ct]
    np.testing.assert_allclose(found, expected)


def test_motion_refuses_what_it_cannot_mend(moved_ct):
    with pytest.raises(InputError, match="max_change=0 must be positive"):
        find_motion(moved_ct, **OPTIONS | {"max_change": 0.0})
    with pytest.raises(InputError, match="mask_s must not be negative"):
        find_motion(moved_ct, **OPTIONS | {"mask_s": -1.0})
    marked = np.zeros(moved_ct.shape, dtype=bool)
    with pytest.raises(InputError, match="smoothness=1 must lie between 0 and 1"):
        spline_motion(moved_ct, marked, rate_hz=10.0, smoothness=1.0)
    moved_ct[0, 0] = np.nan
    with pytest.raises(InputError, match=r"call .*fill_gaps first"):
        spline_motion(moved_ct, marked, rate_hz=10.0, smoothness=0.99)


def test_a_device_that_settles_is_told_by_its_ends(rng):
    density_lct = 0.01 * rng.normal(size=(2, 5, 200))
    density_lct[1, 2] = np.nan
    for rows, at, expected in (
        (slice(None), 0, [0]),
        (slice(None), -1, [199]),
        (slice(2), 0, []),  # few rows: motion, as anywhere
        (slice(None), 77, []),
    ):
        moved_lct = density_lct.copy()
        moved_lct[:, rows, at] += 1.0
        steps_t = find_end_steps(moved_lct, max_step=20)
        assert np.flatnonzero(steps_t).tolist() == expected
        before_lct = moved_lct.copy()
        held_lct = hold_ends(moved_lct, steps_t)
        np.testing.assert_array_equal(moved_lct, before_lct)
        beside = [k + 1 if k == 0 else k - 1 for k in expected]
        np.testing.assert_array_equal(held_lct[..., expected], moved_lct[..., beside])
        rest = np.setdiff1d(np.arange(200), expected)
        np.testing.assert_array_equal(held_lct[..., rest], moved_lct[..., rest])
    assert find_end_steps(moved_lct * 1e-6, max_step=20).tolist() == steps_t.tolist()
    assert not find_end_steps(moved_lct[..., :2], max_step=20).any()
    assert not find_end_steps(moved_lct[:, 2:3] * np.nan, max_step=20).any()
    with pytest.raises(InputError, match="max_step must be positive, got 0"):
        find_end_steps(density_lct, max_step=0)
