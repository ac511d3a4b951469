import numpy as np
import pytest

from merps.evaluation.diagnostics import calibrate, pearson_added, spread_of
from merps.scores import score


def test_a_constant_adds_nothing_though_it_correlates(rng):
    targets = rng.normal(128, 40, size=(400, 2))
    fold = np.arange(400) % 4
    targets += 15 * fold[:, None]
    constants = np.array([np.median(targets[fold != k], axis=0) for k in range(4)])[
        fold
    ]
    assert score(constants, targets)["pearson"] < -0.1
    added = pearson_added(constants, constants, targets)
    assert added == dict.fromkeys(added, 0.0)
    assert added.keys() == {
        "pearson_added",
        "pearson_added_valence",
        "pearson_added_arousal",
    }
    know = constants + 0.5 * (targets - constants)
    better = pearson_added(know, constants, targets)
    assert better["pearson_added"] > 0.99
    noise = constants + 10 * rng.normal(size=targets.shape)
    assert abs(pearson_added(noise, constants, targets)["pearson_added"]) < 0.15


def test_added_pearson_is_that_of_the_remainders(rng):
    constants = rng.integers(100, 150, size=(50, 2))
    predictions, targets = rng.integers(1, 256, size=(2, 50, 2))
    found = pearson_added(predictions, constants, targets.astype(float))
    expected = [
        np.corrcoef((predictions - constants)[:, k], (targets - constants)[:, k])[0, 1]
        for k in range(2)
    ]
    assert found["pearson_added_valence"] == pytest.approx(expected[0], abs=1e-12)
    assert found["pearson_added"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_calibration_is_the_line_through_targets_and_bands_of_them(rng):
    predictions = rng.integers(1, 256, size=(500, 2))
    targets = 40 + np.array([0.5, 0.8]) * predictions + rng.normal(size=(500, 2))
    found = calibrate(predictions, targets)
    assert list(found) == ["valence", "arousal"]
    for k, one in enumerate(found.values()):
        slope, intercept = np.polyfit(predictions[:, k], targets[:, k], 1)
        assert one.slope == pytest.approx(slope)
        assert one.intercept == pytest.approx(intercept)
        bias = np.mean(predictions[:, k] - targets[:, k])
        assert one.bias == pytest.approx(bias)
        assert sum(level.count for level in one.levels) == 500
        assert [level.low for level in one.levels] == [1 + 32 * b for b in range(8)]
        assert [one.levels[0].high, one.levels[-1].high] == [32, 255]
        for level in one.levels:
            there = (predictions[:, k] >= level.low) & (predictions[:, k] <= level.high)
            assert level.count == there.sum()
            assert level.mean_target == pytest.approx(targets[there, k].mean())
            assert level.low <= level.mean_prediction <= level.high


def test_a_constant_has_no_slope(rng):
    one = calibrate(np.full((20, 2), 128.4), rng.integers(1, 256, (20, 2)))["valence"]
    assert np.isnan(one.slope)
    assert np.isnan(one.intercept)
    assert [(level.low, level.count) for level in one.levels] == [(97, 20)]


def test_spread_lists_the_best_first_and_the_worst_last(rng):
    names = np.repeat(["c", "a", "b"], [10, 20, 30])
    targets = np.full((60, 2), 100.0)
    predictions = targets + np.repeat([30, 10, 20], [10, 20, 30])[:, None]
    spread = spread_of(predictions, targets, names)
    assert spread.errors == {"a": 10.0, "b": 20.0, "c": 30.0}
    assert list(spread.errors) == ["a", "b", "c"]
    assert spread.worst == "c"
    assert spread.quartiles == (15.0, 20.0, 25.0)
    alone = spread_of(predictions[:10], targets[:10], names[:10])
    assert alone.quartiles == (30.0, 30.0, 30.0)
