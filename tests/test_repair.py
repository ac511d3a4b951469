import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merps.errors import InputError
from merps.kernels.motion import weigh_steps
from merps.preprocessing.repair import fill_gaps, follows, hold_gaps, joins, tddr

pytestmark = pytest.mark.loops


@given(
    n_times=st.integers(1, 40),
    p_missing=st.sampled_from([0.0, 0.2, 0.8, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_fill_gaps_equals_naive(n_times, p_missing, seed):
    rng = np.random.default_rng(seed)
    x_kct = rng.normal(size=(2, 3, n_times))
    x_kct[rng.random(x_kct.shape) < p_missing] = np.nan
    expected = np.apply_along_axis(naive.fill_gaps, -1, x_kct)
    np.testing.assert_allclose(fill_gaps(x_kct), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(fill_gaps(x_kct[1, 2]), fill_gaps(x_kct)[1, 2])
    for view in (np.asfortranarray(x_kct), x_kct[:, ::2], x_kct[..., ::-1]):
        filled = fill_gaps(view)
        np.testing.assert_array_equal(filled, fill_gaps(view.copy()))
    expected = np.apply_along_axis(naive.hold_gaps, -1, x_kct)
    np.testing.assert_array_equal(hold_gaps(x_kct), expected)
    turned = hold_gaps(np.asfortranarray(x_kct))
    np.testing.assert_array_equal(turned, expected)
    assert turned.flags.f_contiguous or not np.isnan(x_kct).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fill_gaps_restores_a_line_and_copies(dtype):
    line = np.arange(20, dtype=dtype)
    broken = line.copy()
    broken[[3, 4, 11]] = np.nan
    filled = fill_gaps(broken)
    assert filled.dtype == dtype
    np.testing.assert_allclose(filled, line, rtol=1e-6)
    assert np.isnan(broken).sum() == 3
    assert not np.shares_memory(fill_gaps(line), line)
    turned = np.asfortranarray(np.stack([line, broken]))
    assert fill_gaps(turned).flags.f_contiguous


@pytest.fixture
def walk_ct(rng):
    return rng.normal(size=(40, 2000)).cumsum(axis=1)


def test_a_signal_joins_its_own_continuation(walk_ct):
    before, after = walk_ct[:, :1000], walk_ct[:, 1000:]
    assert joins(before, after, rate_hz=200, max_jump=3)
    assert not joins(before, after + 20, rate_hz=200, max_jump=3)
    assert not joins(before, walk_ct[:, 1500:], rate_hz=200, max_jump=3)


def test_what_follows_is_told_by_its_first_sample(walk_ct):
    before, after = walk_ct[:, :1000], walk_ct[:, 1000:]
    options = {"rate_hz": 200, "max_jump": 3}
    assert follows(before, after, **options)
    assert follows(before, after[:, :1], **options)
    wild = after.copy()
    wild[:, 1:] = np.inf
    assert follows(before, wild, **options)
    assert not follows(before, after + 20, **options)
    assert not follows(before[:, -9:], walk_ct[:, 1500:], **options)
    assert not follows(before[:, -8:], after, **options)
    assert not follows(before, after[:, :0], **options)
    assert not follows(np.full_like(before, np.nan), after, **options)
    with pytest.raises(InputError, match="must be positive"):
        follows(before, after, rate_hz=200, max_jump=0)


def test_joins_is_free_of_units_and_offsets(walk_ct):
    before, after = walk_ct[:, :1000], walk_ct[:, 1000:]
    shift = np.arange(40)[:, None] * 1e3
    scale = np.logspace(-6, 6, 40)[:, None]
    for jump in (0, 20):
        expected = joins(before, after + jump, rate_hz=200, max_jump=3)
        moved = (before + shift) * scale, (after + jump + shift) * scale
        assert joins(*moved, rate_hz=200, max_jump=3) == expected


def test_joins_measures_the_border_by_hand():
    # Steps of 2 on both sides and of 7 over the border: 3.5 typical steps.
    before = np.tile([0.0, 2.0], 10)[None]
    after = np.tile([9.0, 7.0], 10)[None]
    assert joins(before, after, rate_hz=10, max_jump=3.5)
    assert not joins(before, after, rate_hz=10, max_jump=3.49)
    # Ten steps on each side count, 2 before and 4 after: their median is 3.
    after = 9 - 2 * (after - 9)
    for longer in (before, np.concatenate([before, before], axis=1)):
        assert joins(longer, after, rate_hz=10, max_jump=7 / 3)
        assert not joins(longer, after, rate_hz=10, max_jump=2.33)


def test_joins_copes_with_missing_and_dead_channels(walk_ct):
    before, after = walk_ct[:, :1000].copy(), walk_ct[:, 1000:].copy()
    before[0], after[1] = np.nan, np.nan
    after[2, 0] = np.nan
    before[3], after[3] = 7, 7
    after[4, 5:60] = np.nan
    assert joins(before, after, rate_hz=200, max_jump=3)
    assert not joins(before, after + 20, rate_hz=200, max_jump=3)


def test_joins_says_no_where_nothing_can_be_told(walk_ct):
    before, after = walk_ct[:, :1000], walk_ct[:, 1000:]
    assert not joins(before[:, :8], after, rate_hz=200, max_jump=1e9)
    assert not joins(before, after[:, :8], rate_hz=200, max_jump=1e9)
    assert joins(before[:, -9:], after[:, :9], rate_hz=200, max_jump=1e9)
    missing = np.full_like(after, np.nan)
    assert not joins(before, missing, rate_hz=200, max_jump=1e9)
    flat = np.zeros_like(after)
    assert not joins(flat, flat, rate_hz=200, max_jump=1e9)
    with pytest.raises(InputError, match="max_jump=0"):
        joins(before, after, rate_hz=200, max_jump=0)


def test_joins_takes_kinds(walk_ct):
    x_kct = walk_ct.reshape(2, 20, 2000)
    before, after = x_kct[..., :1000], x_kct[..., 1000:]
    assert joins(before, after, rate_hz=50, max_jump=3)


@pytest.fixture
def moved_ct(rng):
    """Slow noise with spikes and shifts, and a channel that does not change."""
    x_ct = rng.normal(size=(5, 1200)).cumsum(axis=1) * 0.01 + rng.normal(size=(5, 1200))
    x_ct[0, 300] += 30
    x_ct[1, 500:] -= 20
    x_ct[2, 400:430] += 9
    x_ct[4] = 3.3
    return x_ct * 1e-6 + 1


@given(
    n_times=st.integers(2, 60),
    levels=st.sampled_from([2, 5, 10**6]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)  # the first call compiles
def test_weigh_steps_equals_naive(n_times, levels, seed):
    rng = np.random.default_rng(seed)
    x_t = rng.integers(-levels, levels, size=n_times).cumsum() / levels
    x_t[n_times // 2 :] += rng.integers(0, 30)
    step_bl = np.full((n_times // 8 + 1, 8), np.nan)
    step_t = step_bl.reshape(-1)[: n_times - 1]
    step_t[:] = np.diff(x_t)
    near_t, scratch_t, actual = np.empty((3, n_times))
    weigh_steps(step_t, step_bl, near_t, scratch_t, np.empty((2, 8)), actual)
    np.testing.assert_allclose(actual, naive.weigh_steps(x_t), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [0.9, 10.0, 47.6])
def test_tddr_equals_mne(moved_ct, rate_hz):
    from mne.preprocessing.nirs._tddr import _TDDR

    x_ct = np.concatenate([moved_ct, moved_ct[:, ::-1]])  # more than one tile
    expected = np.stack([_TDDR(x_t, rate_hz) for x_t in x_ct])
    error = tddr(x_ct, rate_hz=rate_hz) - expected
    np.testing.assert_array_less(np.abs(error[:4]), 1e-10 * np.ptp(x_ct, axis=1)[0])
    np.testing.assert_array_less(np.abs(error), 1e-14)


def test_tddr_agrees_for_any_layout_threads_and_dtype(moved_ct):
    x_ct = np.tile(moved_ct[:, 400:560], (2, 1))
    x_kct = np.stack([x_ct, x_ct[::-1]])
    expected = tddr(x_kct, rate_hz=10.0)
    for view in (x_kct, np.asfortranarray(x_kct), np.repeat(x_kct, 2, axis=1)[:, ::2]):
        for jobs in (1, 2):
            repaired = tddr(view, rate_hz=10.0, jobs=jobs)
            np.testing.assert_array_equal(repaired, expected)
            assert repaired.flags.f_contiguous == view.flags.f_contiguous
    one = tddr(x_kct[1, 0], rate_hz=10.0)
    np.testing.assert_allclose(one, expected[1, 0], rtol=0, atol=1e-18)
    single = tddr((x_kct - 1).astype(np.float32), rate_hz=10.0)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected - 1, rtol=0, atol=1e-10)


def test_tddr_mends_motion_and_leaves_mean_and_fast_signals(moved_ct):
    repaired = tddr(moved_ct, rate_hz=10.0)
    np.testing.assert_allclose(repaired.mean(axis=1), moved_ct.mean(axis=1), rtol=1e-8)
    np.testing.assert_allclose(repaired[4], 3.3e-6 + 1, rtol=1e-15)
    before = moved_ct[1, 510:700].mean() - moved_ct[1, 300:490].mean()
    after = repaired[1, 510:700].mean() - repaired[1, 300:490].mean()
    assert before < -1.9e-5
    assert abs(after) < 2e-6
    scaled = tddr((moved_ct - 1) * -2e6 + 50, rate_hz=10.0)
    expected = (repaired - 1) * -2e6 + 50
    np.testing.assert_allclose(scaled[:4], expected[:4], rtol=1e-9)
    times_s = np.arange(1200) / 10
    fast = np.sin(2 * np.pi * 3 * times_s)
    unchanged = tddr(fast, rate_hz=10.0)
    np.testing.assert_allclose(unchanged[20:-20], fast[20:-20], atol=0.01)


def test_tddr_refuses_what_it_cannot_repair():
    x_t = np.zeros(100)
    with pytest.raises(InputError, match="rate_hz must be positive, got 0"):
        tddr(x_t, rate_hz=0.0)
    with pytest.raises(InputError, match=r"shape \(1,\) has no steps"):
        tddr(x_t[:1], rate_hz=10.0)
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        tddr(x_t, rate_hz=10.0, jobs=0)
    for value in (np.nan, np.inf, -np.inf):
        x_t[7] = value
        with pytest.raises(InputError, match=r"call .*fill_gaps first"):
            tddr(x_t, rate_hz=10.0)
