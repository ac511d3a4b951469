import numpy as np
import pytest

from merps.errors import InputError
from merps.evaluation.uncertainty import bootstrap_people, paired_difference
from merps.scores import score


def make(rng, n_people=24, n=1536, spread=0.0):
    people = np.repeat([f"test_{p}" for p in range(n_people)], n)
    targets = rng.integers(1, 256, size=(n_people * n, 2)).astype(float)
    offset = np.repeat(spread * rng.normal(size=(n_people, 2)), n, axis=0)
    return (
        0.5 * targets + 60 + offset + 30 * rng.normal(size=targets.shape),
        targets,
        people,
    )


def test_value_is_the_score(rng):
    predictions, targets, people = make(rng, n=50)
    made = bootstrap_people(predictions, targets, people, n_resamples=50, seed=1)
    expected = score(predictions, targets)
    assert {name: interval.value for name, interval in made.items()} == expected


def test_replicates_equal_scores_of_resampled_people(rng):
    predictions, targets, people = make(rng, n_people=4, n=9, spread=9.0)
    targets = targets + rng.normal(size=targets.shape)
    names = np.unique(people)
    draws = np.random.default_rng(5).multinomial(4, [0.25] * 4, size=200)
    expected = []
    for draw in draws:
        rows = np.concatenate(
            [
                np.flatnonzero(people == name)
                for name, count in zip(names, draw, strict=True)
                for _ in range(count)
            ]
        )
        expected.append(score(predictions[rows], targets[rows]))
    made = bootstrap_people(predictions, targets, people, n_resamples=200, seed=5)
    for name, interval in made.items():
        low, high = np.percentile([metrics[name] for metrics in expected], [2.5, 97.5])
        assert interval.low == pytest.approx(low, rel=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9)


def test_constant_predictions_stay_at_zero(rng):
    _, targets, people = make(rng, n_people=5, n=10)
    made = bootstrap_people(
        np.full(targets.shape, 77.7), targets, people, n_resamples=30, seed=0
    )
    assert made["ccc"].low == made["ccc"].high == made["pearson"].high == 0.0


def test_interval_covers_the_truth_as_often_as_it_says(rng):
    hits = 0
    for seed in range(100):
        error = 40 + 10 * rng.normal(size=(30, 1, 1))  # people differ, seconds do not
        targets = np.full((30, 3, 2), 20.0)
        predictions = (targets + error).reshape(-1, 2)
        people = np.repeat([f"test_{p}" for p in range(30)], 3)
        made = bootstrap_people(
            predictions, targets.reshape(-1, 2), people, n_resamples=500, seed=seed
        )
        hits += made["mae"].low <= 40 <= made["mae"].high
    assert 85 <= hits <= 99


def test_paired_difference_equals_naive(rng):
    predictions, targets, people = make(rng, n_people=5, n=8)
    reference = predictions + 3 * rng.normal(size=predictions.shape)
    names = np.unique(people)
    draws = np.random.default_rng(2).multinomial(5, [0.2] * 5, size=100)
    expected = []
    for draw in draws:
        rows = np.concatenate(
            [
                np.tile(np.flatnonzero(people == name), count)
                for name, count in zip(names, draw, strict=True)
            ]
        ).astype(int)
        expected.append(
            score(predictions[rows], targets[rows])["mae"]
            - score(reference[rows], targets[rows])["mae"]
        )
    made = paired_difference(
        predictions, reference, targets, people, n_resamples=100, seed=2
    )["mae"]
    low, high = np.percentile(expected, [2.5, 97.5])
    assert (made.low, made.high) == pytest.approx((low, high), rel=1e-9)
    assert made.low < made.value < made.high


def test_a_set_does_not_differ_from_itself(rng):
    predictions, targets, people = make(rng, n_people=5, n=8)
    made = paired_difference(
        predictions, predictions, targets, people, n_resamples=20, seed=0
    )
    assert {(i.low, i.value, i.high) for i in made.values()} == {(0.0, 0.0, 0.0)}


def test_bad_arguments_are_refused(rng):
    predictions, targets, people = make(rng, n_people=1, n=8)
    with pytest.raises(InputError, match="at least two"):
        bootstrap_people(predictions, targets, people, n_resamples=20, seed=0)
    predictions, targets, people = make(rng, n_people=2, n=8)
    with pytest.raises(InputError, match="n_resamples=0"):
        bootstrap_people(predictions, targets, people, n_resamples=0, seed=0)
