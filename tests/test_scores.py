import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.scores import finalize, per_trial, score


def test_official_example():
    metrics = score(
        np.array([[10.0, 20.0], [30.0, 40.0]]), np.array([[12, 20], [30, 47]])
    )
    assert metrics["mae"] == (2 / 2 + 7 / 2) / 2
    assert metrics["mae_valence"] == 1.0
    assert metrics["mae_arousal"] == 3.5
    assert metrics["mse"] == (4 / 2 + 49 / 2) / 2


def test_finalize_rounds_half_to_even_and_clips():
    given = np.array([[0.2, 0.5], [1.5, 2.5], [254.5, 255.7], [-9.0, 300.0]])
    expected = [[1, 1], [2, 2], [254, 255], [1, 255]]
    np.testing.assert_array_equal(finalize(given), expected)


@given(n=st.integers(1, 30), seed=st.integers(0, 2**16), flat=st.sampled_from("ptnb"))
def test_score_equals_naive(n, seed, flat):
    rng = np.random.default_rng(seed)
    predictions = rng.uniform(-20, 280, size=(n, 2))
    targets = rng.uniform(1, 255, size=(n, 2))
    if flat in "pb":
        predictions[:] = predictions[0]
    if flat in "tb":
        targets[:] = targets[0]
    expected = naive.score(predictions.tolist(), targets.tolist())
    actual = score(predictions, targets)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_constant_predictions_have_no_correlation():
    targets = np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 1.0]])
    metrics = score(np.full((3, 2), 128.3), targets)
    assert metrics["ccc"] == metrics["pearson"] == 0.0


def test_score_of_finalized_is_the_same(rng):
    predictions, targets = rng.uniform(-5, 260, (50, 2)), rng.uniform(1, 255, (50, 2))
    assert score(predictions, targets) == score(finalize(predictions), targets)


def test_order_of_samples_does_not_matter(rng):
    predictions, targets = rng.uniform(1, 255, (2, 60, 2))
    order = rng.permutation(60)
    assert score(predictions[order], targets[order]) == pytest.approx(
        score(predictions, targets), rel=1e-12
    )


def test_per_trial_is_the_mean_of_trials(rng):
    predictions, targets = rng.uniform(1, 255, (2, 40, 2))
    trials = rng.permutation(np.repeat([7, -3, 100, 2], [5, 15, 1, 19]))
    each = [score(predictions[trials == k], targets[trials == k]) for k in set(trials)]
    actual = per_trial(predictions, targets, trials)
    for name, value in actual.items():
        assert value == pytest.approx(np.mean([metrics[name] for metrics in each]))


def test_numbers_that_are_not_finite_are_refused():
    bad = np.array([[1.0, 2.0], [np.nan, 3.0]])
    with pytest.raises(InputError, match=r"predictions: 1 of 2 rows .* row 1"):
        score(bad, np.ones((2, 2)))
    with pytest.raises(InputError, match="targets: 1 of 2 rows"):
        score(np.ones((2, 2)), bad)
    with pytest.raises(InputError, match="no sample"):
        score(np.ones((0, 2)), np.ones((0, 2)))
