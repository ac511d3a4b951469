import numpy as np
import pytest

from merps.errors import InputError
from merps.features.reference import standardize_within_person, subtract_rest


@pytest.fixture
def features(rng):
    x_sf = rng.normal(size=(60, 4)) * [1, 1e-6, 1e6, 3] + [0, 5, -1e7, 100]
    x_sf[rng.random(x_sf.shape) < 0.1] = np.nan
    return x_sf


@pytest.fixture
def people(rng):
    return rng.permutation(np.repeat(["test_1", "test_2", "predict1"], 20))


def test_rest_minus_its_own_mean_is_zero_on_average(features):
    moved = subtract_rest(features, features)
    np.testing.assert_allclose(np.nanmean(moved, axis=0), 0, atol=1e-8)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(features))


def test_an_offset_of_a_person_cancels(features):
    rest = features[:15]
    expected = subtract_rest(features, rest)
    offset = np.array([1.0, -2.0, 3e6, 40.0])
    actual = subtract_rest(features + offset, rest + offset)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-8)


def test_rest_without_a_column_leaves_it_missing_and_without_rows_fails(features):
    rest = features[:5].copy()
    rest[:, 2] = np.nan
    moved = subtract_rest(features.astype(np.float32), rest)
    assert moved.dtype == np.float32
    assert np.isnan(moved[:, 2]).all()
    with pytest.raises(InputError, match="rest has no rows"):
        subtract_rest(features, rest[:0])


def test_each_person_has_mean_zero_and_deviation_one(features, people):
    scaled = standardize_within_person(features, people)
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(features))
    for name in set(people):
        rows = scaled[people == name]
        np.testing.assert_allclose(np.nanmean(rows, axis=0), 0, atol=1e-8)
        np.testing.assert_allclose(np.nanstd(rows, axis=0), 1, rtol=1e-8)


def test_people_do_not_touch_each_other(features, people):
    scaled = standardize_within_person(features, people)
    changed = features.copy()
    changed[people != "test_2"] *= 17
    again = standardize_within_person(changed, people)
    mine = people == "test_2"
    np.testing.assert_array_equal(again[mine], scaled[mine])
    alone = standardize_within_person(features[mine], people[mine])
    np.testing.assert_array_equal(alone, scaled[mine])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_column_without_change_becomes_zero(dtype, people):
    x_sf = np.full((60, 2), 0.1, dtype=dtype)
    x_sf[3, 0] = np.nan
    x_sf[people == "test_2", 1] = np.nan
    scaled = standardize_within_person(x_sf, people)
    assert scaled.dtype == dtype
    np.testing.assert_array_equal(scaled, np.where(np.isnan(x_sf), np.nan, 0))
    assert standardize_within_person(x_sf[:0], people[:0]).shape == (0, 2)
