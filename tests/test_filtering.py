import naive
import numpy as np
import pytest

from merps.kernels.filtering import filter_rows, resample_rows
from merps.preprocessing.designs import butterworth

pytestmark = pytest.mark.loops


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-12), (np.float32, 1e-3)])
@pytest.mark.parametrize("n_channels", [1, 5])
@pytest.mark.parametrize(
    ("first", "step", "count"), [(0, 1, 40), (39, -1, 40), (3, 1, 9)]
)
def test_filter_rows_equals_naive(rng, dtype, error, n_channels, first, step, count):
    sections = butterworth(rate_hz=200, low_hz=0.5, high_hz=45, order=3)
    early, late = rng.normal(size=(2, len(sections), n_channels))
    x_tc = rng.normal(size=(40, n_channels))
    x_tc[20, 0] = np.nan
    expected = naive.filter_rows(sections, first, step, count, early, late, x_tc)
    x_tgc = np.stack([np.ones_like(x_tc), x_tc, np.ones_like(x_tc)], axis=1)
    sections, early, late, x_tgc = (
        array.astype(dtype) for array in (sections, early, late, x_tgc)
    )
    filter_rows(sections, first, step, count, 1, early, late, x_tgc)
    for actual, wanted in zip((early, late, x_tgc[:, 1]), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=error, atol=error)
    assert (x_tgc[:, ::2] == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_channels", [1, 5])
@pytest.mark.parametrize(
    ("up", "down", "half"), [(1, 5, 9), (1, 2, 1), (3, 7, 20), (5, 4, 8)]
)
def test_resample_rows_equals_naive(rng, dtype, n_channels, up, down, half):
    taps = rng.normal(size=2 * half + 1)
    n_taps = -(-len(taps) // up)
    taps_pk = np.zeros((n_taps, up))
    taps_pk.flat[: len(taps)] = taps[::-1]
    first, n_out = 300 * up // down, 7
    origin = -((half - first * down) // up)  # the first input of the first output
    x_tc = rng.normal(size=(n_taps + 30, n_channels)).astype(dtype)
    out_tc = np.empty((n_out, n_channels))
    phases = np.ascontiguousarray(taps_pk.T)
    resample_rows(x_tc, origin, phases, half, up, down, first, out_tc)
    expected = naive.resample_rows(x_tc, origin, taps, up, down, first, n_out)
    np.testing.assert_allclose(out_tc, expected, rtol=1e-12, atol=1e-12)
