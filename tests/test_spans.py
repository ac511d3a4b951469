import naive
import numpy as np
import pytest

from merps.spans import COPIES, copy_past, copy_span


@pytest.mark.parametrize("start", [-30, -3, 0, 2, 6, 40])
def test_a_span_is_mirrored_where_it_leaves_the_signal(rng, start):
    signal = np.asfortranarray(rng.normal(size=(2, 3, 10)))
    out = np.empty((2, 3, 4), dtype=np.float32)
    copy_span(signal, start, out)
    (expected,) = naive.gather_windows(signal, [start], 4)
    np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_a_span_of_the_past_is_missing_where_it_begins_before_the_signal(rng):
    signal, out, both = rng.normal(size=(3, 10)), *np.empty((2, 3, 4))
    copy_past(signal, -1, out)
    assert np.isnan(out).all()
    for start in (0, 3, 8):  # what is mirrored at the end has been there before
        copy_past(signal, start, out)
        copy_span(signal, start, both)
        np.testing.assert_array_equal(out, both)
    assert COPIES == {"zero": copy_span, "causal": copy_past}
