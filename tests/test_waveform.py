import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merps.errors import InputError
from merps.features.waveform import HJORTH, average_samples, hjorth, sliding_hjorth
from merps.kernels.waveform import average_rows, sum_spans, sum_steps

pytestmark = pytest.mark.loops


@given(
    length=st.integers(1, 7),
    n_blocks=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    p_missing=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)  # the first call compiles
def test_kernels_equal_naive(length, n_blocks, dtype, p_missing, seed):
    rng = np.random.default_rng(seed)
    x_tc = rng.normal(size=(length * n_blocks, 3)).astype(dtype)
    x_tc[rng.random(x_tc.shape) < p_missing] = np.nan
    mean_tc = np.empty((n_blocks, 3))
    average_rows(x_tc, length, mean_tc)
    np.testing.assert_allclose(mean_tc, naive.average_rows(x_tc, length), atol=1e-12)
    level_bc = rng.normal(size=(n_blocks, 3)) * 40
    sums_bsc = np.empty((n_blocks, 6, 3))
    sum_steps(x_tc, level_bc, length, sums_bsc)
    expected = naive.sum_steps(x_tc.astype(np.float64), level_bc, length)
    np.testing.assert_allclose(sums_bsc, expected, rtol=1e-9, atol=1e-9)


def test_a_sine_has_its_frequency_as_mobility():
    times = np.arange(4000)
    frequency = 2 * np.pi * 0.01  # per sample
    x_wct = 3 * np.sin(frequency * times + np.array([0, 1])[:, None])[:, None]
    described = hjorth(x_wct)
    assert HJORTH == ("activity", "mobility", "complexity")
    np.testing.assert_allclose(described[..., 0], 4.5, rtol=1e-2)
    np.testing.assert_allclose(described[..., 1], frequency, rtol=1e-3)
    np.testing.assert_allclose(described[..., 2], 1, rtol=1e-3)


def test_hjorth_keeps_to_units_offsets_dtype_and_layout(rng):
    x_wct = rng.normal(size=(3, 4, 200))
    expected = hjorth(x_wct)
    moved = hjorth(x_wct * -50 + 7) / np.array([2500, 1, 1])
    np.testing.assert_allclose(moved, expected, rtol=1e-9)
    reverse = hjorth(np.asfortranarray(x_wct)[::-1])
    np.testing.assert_allclose(reverse, expected[::-1], rtol=1e-12)
    single = hjorth(x_wct.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5)


def test_what_does_not_change_has_no_mobility(rng):
    x_wct = rng.normal(size=(2, 3, 50))
    x_wct[0, 1] = 4.5
    x_wct[1, 2, 49] = np.nan
    described = hjorth(x_wct)
    assert described[0, 1, 0] == 0
    assert np.isnan(described[0, 1, 1:]).all()
    assert np.isnan(described[1, 2]).all()
    assert np.isnan(described).sum() == 5


@given(
    step=st.integers(2, 9),
    steps=st.integers(1, 4),
    extra=st.integers(0, 30),
    n_channels=st.integers(1, 3),
    missing=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)
def test_sliding_hjorth_equals_that_of_windows(
    step, steps, extra, n_channels, missing, seed
):
    length = max(step * steps, 3)
    steps = -(-length // step)
    length = step * steps
    x_ct = np.random.default_rng(seed).normal(size=(n_channels, length + extra)) + 20
    if missing:
        x_ct[0, len(x_ct[0]) // 2] = np.nan
    starts = range(0, x_ct.shape[1] - length + 1, step)
    expected = hjorth(np.stack([x_ct[:, s : s + length] for s in starts]))
    for view in (x_ct, np.asfortranarray(x_ct), np.repeat(x_ct, 2, axis=1)[:, ::2]):
        actual = sliding_hjorth(view, step_samples=step, steps=steps, jobs=2)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)
    single = sliding_hjorth(x_ct.astype(np.float32), step_samples=step, steps=steps)
    assert single.dtype == np.float32


@pytest.mark.parametrize("where", [400, 439, 440, 441, 999])
def test_a_jump_costs_sliding_hjorth_no_precision_before_or_after(rng, where):
    x_ct = rng.normal(size=(4, 1200))
    x_ct[1:, where:] += 1e6
    x_ct[2, where:] = 1e6 + 0.1  # flat
    x_ct[3] = 0.1  # flat, jumps, is flat again
    x_ct[3, where:] = 1e6
    x_wct = np.stack([x_ct[:, s : s + 120] for s in range(0, 1081, 40)])
    expected = hjorth(x_wct)
    actual = sliding_hjorth(x_ct, step_samples=40, steps=3)
    held_w = np.arange(28) * 40 >= where  # windows after the jump
    assert (actual[..., 0] >= 0).all()
    assert (actual[held_w, 2:, 0] == 0).all()
    assert np.isnan(actual[held_w, 2:, 1:]).all()
    np.testing.assert_allclose(actual[..., 0], expected[..., 0], rtol=1e-8, atol=1e-18)
    moving = np.s_[:, :2]
    np.testing.assert_allclose(actual[moving], expected[moving], rtol=1e-6)


@pytest.mark.parametrize("dtype", [">f8", ">f4", np.float16])
def test_other_types_become_float64(rng, dtype):
    x_ct = rng.normal(size=(3, 60)).astype(dtype)
    same_ct = x_ct.astype(np.float64)
    steps = {"step_samples": 5, "steps": 3}
    described = sliding_hjorth(x_ct, **steps)
    np.testing.assert_array_equal(described, sliding_hjorth(same_ct, **steps))
    assert described.dtype == np.float64
    described = hjorth(x_ct[None])
    np.testing.assert_array_equal(described, hjorth(same_ct[None]))
    assert described.dtype == np.float64
    mean_ct = average_samples(x_ct, factor=7)
    np.testing.assert_array_equal(mean_ct, average_samples(same_ct, factor=7))


def test_averages_are_summed_in_float64():
    for dtype in (np.float32, np.float64):
        x_ct = np.full((2, 1000), 30000.1, dtype=dtype)
        expected = x_ct[:, :10].astype(np.float32)
        np.testing.assert_array_equal(average_samples(x_ct, factor=100), expected)


def test_average_samples_drops_the_rest_and_keeps_time_first_in_memory(rng):
    x_ct = rng.normal(size=(3, 23))
    x_ct[1, 7] = np.nan
    for dtype in (np.float64, np.float32):
        mean_ct = average_samples(np.asfortranarray(x_ct, dtype=dtype), factor=5)
        expected = x_ct[:, :20].reshape(3, 4, 5).mean(axis=2)
        np.testing.assert_allclose(mean_ct, expected, rtol=1e-5, atol=1e-6)
        assert mean_ct.flags.f_contiguous
        assert mean_ct.dtype == np.float32
    assert np.isnan(mean_ct).sum() == 1


def test_windows_that_cannot_be_are_refused():
    x_ct = np.zeros((1, 10))
    with pytest.raises(InputError, match="windows of three samples, got 2"):
        hjorth(x_ct[None, :, :2])
    with pytest.raises(InputError, match=r"has 10 samples, but .* 3 steps needs 12"):
        sliding_hjorth(x_ct, step_samples=4, steps=3)
    with pytest.raises(InputError, match="step_samples=1 must be at least 2"):
        sliding_hjorth(x_ct, step_samples=1, steps=5)
    with pytest.raises(InputError, match="factor must be at least 1, got 0"):
        average_samples(x_ct, factor=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sum_spans_equals_naive(rng, dtype):
    x_tr = (rng.normal(size=(30, 3)) + 50).astype(dtype)
    x_tr[12, 1] = np.nan
    starts = np.array([0, 3, 13, 22])
    for rows in (x_tr, np.ascontiguousarray(x_tr[:, :1])):
        actual = np.empty((4, 3, rows.shape[1]))
        sum_spans(rows, rows[starts].astype(np.float64), starts, 8, actual)
        expected = naive.sum_spans(rows, starts, 8)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
