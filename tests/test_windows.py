import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.recording import Recording, Trial
from merps.windows import (
    WindowGrid,
    gather_windows,
    index_windows,
    labeled_seconds,
    window_views,
)

RATES = [200.0, 1000.0, 1000 / 21, 10.0]


def recording(signal, rate_hz, start_s=0.0):
    names = tuple(f"ch{c}" for c in range(signal.shape[-2]))
    kinds = tuple(f"kind{k}" for k in range(signal.shape[0])) * (signal.ndim == 3)
    return Recording(signal, rate_hz, start_s, names, "voltage", "uV", kinds)


def grid(window_s=4.0, step_s=1.0, lag_s=0.0, lookahead_s=0.0):
    return WindowGrid(window_s, step_s, lag_s, lookahead_s)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("start_s", [0.0, -5.0])
@pytest.mark.parametrize("extra_s", [-1, 0, 1])
def test_impulses_at_label_seconds_land_in_their_windows(rate_hz, start_s, extra_s):
    n_times = round((170 + extra_s - start_s) * rate_hz)
    n_windows = 170 + extra_s
    seconds = np.arange(n_windows)
    for inside_s in (0, 0.5):  # at the label's onset and in its middle
        signal = np.zeros((1, n_times))
        onsets = np.rint((seconds + inside_s - start_s) * rate_hz).astype(int)
        signal[0, onsets] = 1 + seconds
        windows = gather_windows(
            recording(signal, rate_hz, start_s), grid(1), n_windows=n_windows
        )
        place = np.rint(inside_s * rate_hz).astype(int)
        near = windows[:, 0, place - (place > 0) : place + 1 + (place > 0)]
        np.testing.assert_array_equal(near.max(axis=1), 1 + seconds)


@pytest.mark.parametrize("rate_hz", RATES)
def test_starts_never_stray_from_the_seconds(rate_hz):
    rule = grid(4.0, 1.0, 1.5, 0.25)
    starts = rule.starts(recording(np.zeros((1, 9)), rate_hz, -5.0), 171)
    exact = (np.arange(171) + 1 - 4 - 1.5 + 0.25 + 5) * rate_hz
    assert np.abs(starts - exact).max() <= 0.5 + 1e-9


def test_window_ends_with_its_second_minus_lag_plus_lookahead():
    signal = np.arange(200.0)[None]
    for lag_s, lookahead_s, last in ((0, 0, 59), (2, 0, 39), (0, 3, 89)):
        rule = grid(4.0, 1.0, lag_s, lookahead_s)
        windows = gather_windows(recording(signal, 10.0), rule, n_windows=6)
        assert windows[5, 0, -1] == last
        assert windows.shape == (6, 1, 40)


@given(
    n_times=st.integers(1, 30),
    window_s=st.integers(1, 12),
    start_s=st.integers(-15, 15),
    lag_s=st.integers(0, 12),
    lookahead_s=st.integers(0, 12),
    kinds=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_gather_equals_naive(
    n_times, window_s, start_s, lag_s, lookahead_s, kinds, seed
):
    rng = np.random.default_rng(seed)
    x_kct = rng.normal(size=(2, 3, n_times)).astype(np.float32)
    x_kct[rng.random(x_kct.shape) < 0.1] = np.nan
    signal = x_kct if kinds else x_kct[0]
    rule = grid(window_s, 1.0, lag_s, lookahead_s)
    source = recording(signal, 2.0, start_s)
    starts = [2 * (t + 1 - window_s - lag_s + lookahead_s - start_s) for t in range(5)]
    expected = naive.gather_windows(signal, starts, 2 * window_s)
    actual = gather_windows(source, rule, n_windows=5)
    np.testing.assert_array_equal(actual, expected)
    assert actual.flags.c_contiguous
    assert actual.dtype == np.float32
    for other in (np.asfortranarray(signal), np.repeat(signal, 2, -1)[..., ::2]):
        found = gather_windows(recording(other, 2.0, start_s), rule, n_windows=5)
        np.testing.assert_array_equal(found, expected)


def test_gather_mirrors_about_the_end_samples_and_copies():
    signal = np.array([[1.0, 2.0, 3.0]])
    source = recording(signal, 1.0)
    windows = gather_windows(source, grid(3), n_windows=5)
    expected = [[2, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 2]]
    np.testing.assert_array_equal(windows[:, 0], expected)
    windows[:] = 0
    np.testing.assert_array_equal(signal, [[1, 2, 3]])


@pytest.mark.parametrize("rate_hz", [200.0, 1000.0, 10.0])
@pytest.mark.parametrize("step_s", [1.0, 0.5])
def test_views_equal_copies_and_share_memory(rng, rate_hz, step_s):
    signal = rng.normal(size=(2, 3, round(20 * rate_hz)))
    source = recording(signal, rate_hz, -5.0)
    for n_windows in (1, 15):
        rule = grid(4, step_s)
        views = window_views(source, rule, n_windows=n_windows)
        np.testing.assert_array_equal(
            views, gather_windows(source, rule, n_windows=n_windows)
        )
        assert np.shares_memory(views, signal)
        assert not views.flags.writeable


def test_views_refuse_what_they_cannot_show():
    source = recording(np.zeros((1, 1000)), 100.0)
    with pytest.raises(InputError, match=r"samples -300 to 100 .* use gather_windows"):
        window_views(source, grid(), n_windows=1)
    with pytest.raises(InputError, match=r"to 1100 of a signal that has 1000"):
        window_views(source, grid(1), n_windows=11)
    assert len(window_views(source, grid(1), n_windows=10)) == 10
    uneven = recording(np.zeros((1, 1000)), 1000 / 21)
    with pytest.raises(InputError, match="no whole number of samples"):
        window_views(uneven, grid(1), n_windows=10)
    with pytest.raises(InputError, match="shorter than one sample"):
        window_views(source, grid(1, 0.001), n_windows=3)
    with pytest.raises(InputError, match="n_windows must be at least 1"):
        window_views(source, grid(1), n_windows=0)


def test_no_windows_are_an_empty_array_and_no_samples_an_error():
    source = recording(np.zeros((3, 100), np.float32), 10.0)
    assert gather_windows(source, grid(), n_windows=0).shape == (0, 3, 40)
    with pytest.raises(InputError, match="n_windows must not be negative"):
        gather_windows(source, grid(), n_windows=-1)
    with pytest.raises(InputError, match="no samples"):
        gather_windows(recording(np.zeros((3, 0)), 10.0), grid(), n_windows=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_s": 0}, "window_s must be positive"),
        ({"window_s": np.nan}, "window_s must be positive"),
        ({"step_s": np.inf}, "step_s must be positive and finite"),
        ({"lag_s": -1}, "lag_s must be finite and not negative"),
        ({"lookahead_s": -1}, "lookahead_s must be finite and not negative"),
    ],
)
def test_grid_refuses_what_is_no_grid(change, message):
    with pytest.raises(InputError, match=message):
        grid(**change)


def test_window_length_is_rounded_and_at_least_one_sample():
    assert grid(1).length(1000 / 21) == 48
    assert grid(4).length(200) == 800
    with pytest.raises(InputError, match=r"at least one sample, 0\.1 s"):
        grid(0.01).length(10)


def test_labeled_seconds_counts_targets_or_whole_seconds():
    eeg = recording(np.zeros((1, 2799)), 200.0, -5.0)  # to 8.995 s
    fnirs = recording(np.zeros((1, 1, 30)), 10.0)  # to 3 s
    assert labeled_seconds(Trial("a", "V01", eeg, fnirs)) == 8
    assert labeled_seconds(Trial("a", "V01", fnirs=fnirs)) == 3
    assert labeled_seconds(Trial("a", "V01")) == 0
    assert labeled_seconds(Trial("a", "V01", eeg, targets=np.zeros((7, 2)))) == 7
    rest = recording(np.zeros((1, 100)), 200.0, -5.0)
    assert labeled_seconds(Trial("a", "V01", rest)) == 0
    # -4.9 + 169 / 10 is a little less than 12 to a computer.
    late = recording(np.zeros((1, 169)), 10.0, -4.9)
    assert labeled_seconds(Trial("a", "V01", late)) == 12
    # Lengths of REFED at 1000/21 Hz: one sample more than whole seconds.
    for seconds in range(60, 171):
        signal = np.zeros((1, 1, seconds * 1000 // 21 + 1))
        trial = Trial("a", "V01", fnirs=recording(signal, 1000 / 21))
        assert labeled_seconds(trial) == seconds


@pytest.mark.parametrize(
    ("step_s", "seconds"),
    [
        (1.0, [0, 1, 2, 3, 4]),
        (0.5, [0, 0, 1, 1, 2, 2, 3, 3, 4]),
        (0.1, [s for s in range(4) for _ in range(10)] + [4]),
        (2.0, [0, 2, 4]),
        (3.0, [0, 3]),
        (9.0, [0]),
    ],
)
def test_index_gives_each_window_the_label_of_its_second(rng, step_s, seconds):
    targets = rng.integers(1, 256, (5, 2)).astype(float)
    eeg = recording(np.zeros((2, 100), np.float32), 20.0)
    trial = Trial("a", "V01", eeg, targets=targets)
    rule = grid(step_s=step_s)
    index = index_windows([trial, trial], rule, modality="eeg")
    assert index.seconds.tolist() == 2 * seconds
    np.testing.assert_array_equal(index.targets, targets[index.seconds])
    starts = rule.starts(eeg, len(seconds)).tolist()
    assert index.starts.tolist() == 2 * starts
    assert starts[-1] + 80 <= 100  # no window reaches past the labels


def test_index_of_nothing_is_none():
    empty = Trial(
        "a", "V01", recording(np.zeros((2, 0)), 20.0), targets=np.ones((3, 2))
    )
    unlabeled = Trial("a", "V01", recording(np.zeros((2, 5)), 20.0))
    for trials in ([], [empty], [unlabeled], [Trial("a", "V01")]):
        assert index_windows(trials, grid(), modality="eeg") is None
