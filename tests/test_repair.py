import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.preprocessing.repair import fill_gaps, joins


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
    reordered = np.asfortranarray(x_kct)
    np.testing.assert_array_equal(fill_gaps(reordered), fill_gaps(x_kct))


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


@pytest.fixture
def walk_ct(rng):
    return rng.normal(size=(40, 2000)).cumsum(axis=1)


def test_a_signal_joins_its_own_continuation(walk_ct):
    before, after = walk_ct[:, :1000], walk_ct[:, 1000:]
    assert joins(before, after, rate_hz=200, max_jump=3)
    assert not joins(before, after + 20, rate_hz=200, max_jump=3)
    assert not joins(before, walk_ct[:, 1500:], rate_hz=200, max_jump=3)


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
