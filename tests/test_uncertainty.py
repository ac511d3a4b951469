import numpy as np
import pytest

from merps.errors import InputError
from merps.evaluation.uncertainty import (
    bootstrap_people,
    compare_models,
    paired_difference,
)
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


# People and videos at once


def crossed(rng, *, n_people=5, n_stimuli=4, n=6):
    """Predictions, a reference, targets, people and stimuli."""
    predictions, targets, people = make(rng, n_people, n_stimuli * n, spread=5.0)
    stimuli = np.tile(np.repeat([f"V{k}" for k in range(n_stimuli)], n), n_people)
    reference = predictions + 60 * rng.normal(size=predictions.shape)
    return predictions, reference, targets, people, stimuli


def test_comparison_equals_naive(rng):
    predictions, reference, targets, people, stimuli = crossed(rng)
    kept = rng.random(len(people)) < 0.8  # trials of several lengths
    arrays = [a[kept] for a in (predictions, reference, targets, people, stimuli)]
    predictions, reference, targets, people, stimuli = arrays
    draws = np.random.default_rng(3)
    of_people = draws.multinomial(5, [0.2] * 5, size=60)
    of_stimuli = draws.multinomial(4, [0.25] * 4, size=60)
    rows_of = np.unique(people, return_inverse=True)[1]
    columns_of = np.unique(stimuli, return_inverse=True)[1]
    expected = []
    for person, stimulus in zip(of_people, of_stimuli, strict=True):
        rows = np.repeat(np.arange(len(people)), person[rows_of] * stimulus[columns_of])
        one, other = (
            score(made[rows], targets[rows]) for made in (predictions, reference)
        )
        expected.append({name: one[name] - other[name] for name in one})
    found = compare_models(*arrays, n_resamples=60, seed=3)
    first, second = score(predictions, targets), score(reference, targets)
    assert found.keys() == first.keys()
    for name, difference in found.items():
        values = [one[name] for one in expected]
        assert difference.value == first[name] - second[name]
        limits = np.percentile(values, [2.5, 97.5])
        assert (difference.low, difference.high) == pytest.approx(limits, rel=1e-8)
        beyond = min(np.sum(np.array(values) <= 0), np.sum(np.array(values) >= 0))
        assert difference.p == min(1.0, 2 * (1 + beyond) / 61)


def test_comparison_has_two_sides(rng):
    predictions, reference, *others = crossed(rng, n_people=8, n_stimuli=6)
    options = {"n_resamples": 200, "seed": 0}
    ours = compare_models(predictions, reference, *others, **options)
    theirs = compare_models(reference, predictions, *others, **options)
    assert ours["mae"].value < 0 < ours["pearson"].value
    assert ours["mae"].p == theirs["mae"].p == pytest.approx(2 / 201)
    assert ours["mae"].low == pytest.approx(-theirs["mae"].high)
    same = compare_models(predictions, predictions, *others, **options)
    assert {(d.low, d.value, d.high, d.p) for d in same.values()} == {(0, 0, 0, 1)}


def test_equal_models_are_told_apart_no_more_often_than_said(rng):
    found = []
    for seed in range(40):
        effects = [10 * rng.normal(size=(2, n, 1, 1)) for n in (24, 15)]
        noise = (
            effects[0][:, :, None]
            + effects[1][:, None]
            + 10 * rng.normal(size=(2, 24, 15, 1, 2))
        )
        one, other = 128 + noise.reshape(2, -1, 2)
        names = np.indices((24, 15, 1))
        people, stimuli = names[0].ravel().astype(str), names[1].ravel().astype(str)
        targets = np.full(one.shape, 60.0)
        compared = compare_models(
            one, other, targets, people, stimuli, n_resamples=200, seed=seed
        )
        found.append(compared["mae"].p)
    assert np.mean(np.array(found) < 0.05) <= 0.1
    assert np.median(found) > 0.25


def test_draws_without_a_sample_are_left_out(rng):
    people, stimuli = np.array(["a", "b"]), np.array(["V1", "V2"])
    predictions, targets = np.array([[1, 2], [3, 4]]), np.array([[2, 2], [5.0, 4]])
    found = compare_models(
        predictions, predictions + 1, targets, people, stimuli, n_resamples=50, seed=0
    )
    assert all(np.isfinite([d.low, d.high, d.p]).all() for d in found.values())


def test_one_person_or_one_stimulus_cannot_be_compared(rng):
    predictions, reference, targets, people, stimuli = crossed(rng)
    options = {"n_resamples": 20, "seed": 0}
    one = np.full(len(people), "x")
    with pytest.raises(InputError, match="one person has no spread"):
        compare_models(predictions, reference, targets, one, stimuli, **options)
    with pytest.raises(InputError, match="one stimulus has no spread"):
        compare_models(predictions, reference, targets, people, one, **options)
