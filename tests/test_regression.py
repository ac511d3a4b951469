import naive
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.utils.estimator_checks import parametrize_with_checks

from merps.errors import InputError
from merps.models.regression import ALPHAS, HuberRegressor, RidgeRegressor
from merps.models.ridge_path import RidgePath, column_moments, standardize
from merps.models.rows import inner_folds

BOTH = pytest.mark.parametrize("estimator", [RidgeRegressor(), HuberRegressor()])


def make_problem(rng, n=120, p=7, noise=1.0):
    x = rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + 5
    y = x[:, :2] * [2.0, -1.0] + x[:, 2:4] + noise * rng.standard_t(2, size=(n, 2))
    return x, y, np.repeat(np.arange(6), n // 6)


@parametrize_with_checks([RidgeRegressor(), HuberRegressor()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("shape", [(60, 5), (12, 30)])
def test_path_equals_naive(rng, shape):
    z, y = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
    folds = np.arange(shape[0]) % 3
    path = RidgePath(z, folds, (0.01, 1.0, 100.0))
    for held_out in (None, 0, 2):
        slopes, _ = path.slopes(y, held_out=held_out)
        train = np.ones(len(z), bool) if held_out is None else folds != held_out
        for a, alpha in enumerate(path.alphas):
            actual = path.rotate_back(slopes[a])
            for k in range(2):
                expected, _ = naive.ridge(z[train], y[train, k], alpha)
                np.testing.assert_allclose(
                    actual[:, k], expected, rtol=1e-9, atol=1e-11
                )


@pytest.mark.parametrize("shape", [(60, 5), (36, 50)])
def test_crossed_path_learns_from_rows_that_share_neither(rng, shape):
    z, y = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
    folds = rng.integers(0, 3, size=(shape[0], 2))
    path = RidgePath(z, folds, (0.01, 1.0, 100.0))
    cells = sorted({tuple(pair) for pair in folds.tolist()})
    assert path.n_folds == len(cells)
    for held_out, cell in enumerate(cells):
        train, test = (folds != cell).all(axis=1), (folds == cell).all(axis=1)
        np.testing.assert_array_equal(path.learned(held_out), np.flatnonzero(train))
        np.testing.assert_array_equal(path.tested(held_out), np.flatnonzero(test))
        slopes, center = path.slopes(y, held_out=held_out)
        np.testing.assert_allclose(center, path.z[train].mean(axis=0), atol=1e-12)
        for a, alpha in enumerate(path.alphas):
            expected, _ = naive.ridge(z[train], y[train, 0], alpha)
            actual = path.rotate_back(slopes[a])[:, 0]
            np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("crossed", [False, True])
def test_path_does_not_look_at_held_out_targets(rng, crossed):
    z, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
    folds = np.arange(40) // 10
    if crossed:
        folds = np.stack([folds, np.arange(40) % 4], axis=1)
    folds_sg = folds.reshape(40, -1)
    touched = (folds_sg == np.unique(folds_sg, axis=0)[1]).any(axis=1)
    other = np.where(touched[:, None], 1e6, y)
    path = RidgePath(z, folds, ALPHAS)
    expected, _ = path.slopes(y, held_out=1)
    np.testing.assert_array_equal(path.slopes(other, held_out=1)[0], expected)


@pytest.mark.parametrize("crossed", [False, True])
def test_penalty_is_chosen_by_held_out_absolute_error(rng, crossed):
    x, y, groups = make_problem(rng)
    if crossed:
        groups = np.stack([groups, np.arange(120) % 7], axis=1)
    fitted = RidgeRegressor(n_folds=6).fit(x, y, groups=groups)
    folds = inner_folds(groups, n_samples=120, n_folds=6).reshape(120, -1)
    z = (x - x.mean(0)) / x.std(0)
    for k in range(2):
        errors = []
        for alpha in ALPHAS:
            held = np.empty(len(z))
            for fold in np.unique(folds, axis=0):
                train, test = (folds != fold).all(axis=1), (folds == fold).all(axis=1)
                slopes, _ = naive.ridge(z[train], y[train, k], alpha)
                shift = np.median(y[train, k] - z[train] @ slopes)
                held[test] = z[test] @ slopes + shift
            errors.append(np.abs(held - y[:, k]).mean())
        assert fitted.alpha_[k] == ALPHAS[int(np.argmin(errors))]
        assert fitted.inner_mae_[k] == pytest.approx(min(errors), rel=1e-9)


@BOTH
def test_median_of_training_residuals_is_zero(rng, estimator):
    x, y, groups = make_problem(rng)
    residuals = y - estimator.fit(x, y, groups=groups).predict(x)
    np.testing.assert_allclose(np.median(residuals, axis=0), 0, atol=1e-9)


@BOTH
def test_infinite_penalty_leaves_the_median(rng, estimator):
    x, y, groups = make_problem(rng)
    estimator = type(estimator)(alphas=(1e14,)).fit(x, y, groups=groups)
    np.testing.assert_allclose(
        estimator.predict(x), np.tile(np.median(y, axis=0), (len(x), 1)), rtol=1e-9
    )


@BOTH
def test_scale_and_order_of_columns_do_not_matter(rng, estimator):
    x, y, groups = make_problem(rng)
    x[rng.random(x.shape) < 0.1] = np.nan
    expected = estimator.fit(x, y, groups=groups).predict(x)
    order = rng.permutation(x.shape[1])
    other = (x * 10.0 ** rng.integers(-6, 7, size=x.shape[1]) - 3)[:, order]
    actual = estimator.fit(other, y, groups=groups).predict(other)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@BOTH
def test_order_of_rows_does_not_matter(rng, estimator):
    x, y, groups = make_problem(rng)
    expected = estimator.fit(x, y, groups=groups).predict(x)
    order = rng.permutation(len(x))
    actual = estimator.fit(x[order], y[order], groups=groups[order]).predict(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


@BOTH
def test_targets_are_fitted_one_by_one(rng, estimator):
    x, y, groups = make_problem(rng)
    together = estimator.fit(x, y, groups=groups).predict(x)
    for k in range(2):
        alone = estimator.fit(x, y[:, k], groups=groups).predict(x)
        np.testing.assert_allclose(alone, together[:, k], rtol=1e-9)


@BOTH
def test_float32_agrees(rng, estimator):
    x, y, groups = make_problem(rng)
    expected = estimator.fit(x, y, groups=groups).predict(x)
    x = np.asfortranarray(x.astype(np.float32))[:, :]
    actual = estimator.fit(x, y, groups=groups).predict(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


def test_missing_numbers_count_as_the_mean(rng):
    x = rng.normal(size=(50, 4)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 2] = np.nan
    x[:, 3] = 0.1
    mean, scale = column_moments(x)
    for column in range(2):
        assert mean[column] == pytest.approx(np.nanmean(x[:, column]), rel=1e-5)
        assert scale[column] == pytest.approx(np.nanstd(x[:, column]), rel=1e-5)
    assert mean[2] == 0
    assert scale[2] == scale[3] == 1
    z = standardize(x, mean, scale)
    np.testing.assert_array_equal(z[np.isnan(x)], 0)
    np.testing.assert_allclose(z[:, 3], 0, atol=1e-7)


@pytest.mark.parametrize("shape", [(120, 4), (20, 30)])
def test_huber_minimizes_its_loss(rng, shape):
    x = rng.normal(size=shape)
    y = 3 * x[:, 0] + rng.standard_t(1.5, size=len(x))
    alpha = 0.1
    fitted = HuberRegressor(alphas=(alpha,), max_iter=500, tol=1e-10).fit(x, y)
    z = (x - fitted.mean_) / fitted.scale_
    ridge = RidgeRegressor(alphas=(alpha,)).fit(x, y)
    start = y - ridge.predict(x)
    delta = 1.345 * 1.4826 * np.median(np.abs(start - np.median(start)))

    def loss(parameters):
        size = np.abs(y - parameters[-1] - z @ parameters[:-1])
        huber = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
        return huber.mean() + alpha / 2 * (parameters[:-1] ** 2).sum()

    best = minimize(loss, np.zeros(shape[1] + 1), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(fitted.coef_, best.x[:-1], atol=1e-4)


def test_huber_resists_outliers(rng):
    x = rng.normal(size=(300, 3))
    y = x @ [10.0, 0.0, -5.0] + rng.normal(size=300)
    y[:30] += 500 * np.sign(x[:30, 1])
    clean = x[30:] @ [10.0, 0.0, -5.0]
    error = {
        kind: np.abs(kind(alphas=(1e-6,)).fit(x, y).predict(x[30:]) - clean).mean()
        for kind in (RidgeRegressor, HuberRegressor)
    }
    assert error[HuberRegressor] < 0.2 * error[RidgeRegressor]


def test_inner_folds_keep_groups_together(rng):
    groups = rng.permutation(np.repeat(["a", "b", "c", "d", "e", "f", "g"], 4))
    folds = inner_folds(groups, n_samples=28, n_folds=3)
    assert set(folds) == {0, 1, 2}
    for group in set(groups):
        assert len(set(folds[groups == group])) == 1
    blocks = inner_folds(None, n_samples=10, n_folds=3)
    assert (np.diff(blocks) >= 0).all()
    assert set(np.bincount(blocks)) == {3, 4}


def test_crossed_folds_share_neither_group(rng):
    person, stimulus = np.repeat(np.arange(7), 40), np.tile(np.arange(40) // 5, 7)
    kept = rng.random(280) < 0.8  # trials of different lengths
    groups = np.stack([person, stimulus], axis=1)[kept]
    folds = inner_folds(groups, n_samples=len(groups), n_folds=5)
    for column, names in zip(folds.T, groups.T, strict=True):
        assert set(column) == {0, 1, 2}
        for name in set(names):
            assert len(set(column[names == name])) == 1
    sizes = np.bincount(folds @ [3, 1], minlength=9)
    assert sizes.min() > 0.4 * len(groups) / 9
    order = rng.permutation(len(groups))
    again = inner_folds(groups[order], n_samples=len(groups), n_folds=5)
    np.testing.assert_array_equal(again, folds[order])


@pytest.mark.parametrize(
    "trials",
    [
        [(0, 0), (1, 1), (2, 2)],
        [(0, 2), (1, 0), (2, 1)],
        [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)],
        [(0, 0), (1, 1)],
        [(0, 1), (1, 0), (0, 0)],
    ],
)
def test_crossed_folds_bear_trials_that_are_missing(rng, trials):
    groups = np.repeat(trials, 4, axis=0)
    x, y = rng.normal(size=(len(groups), 3)), rng.normal(size=len(groups))
    fitted = RidgeRegressor().fit(x, y, groups=groups)
    assert np.isfinite(fitted.inner_mae_)


def test_weak_penalties_do_not_win_by_recognizing_stimuli(rng):
    person, stimulus = np.repeat(np.arange(10), 60), np.tile(np.arange(60) // 5, 10)
    fingerprints, levels = rng.normal(size=(12, 40)), 40 * rng.normal(size=12)
    x = fingerprints[stimulus] + 0.3 * rng.normal(size=(600, 40))
    y = levels[stimulus] + rng.normal(size=600)
    known = RidgeRegressor().fit(x, y, groups=person)
    new = RidgeRegressor().fit(x, y, groups=np.stack([person, stimulus], axis=1))
    assert known.inner_mae_ < 5
    assert new.inner_mae_ > 20
    assert new.alpha_ > 10 * known.alpha_


def test_bad_arguments_are_refused(rng):
    x, y, _ = make_problem(rng)
    with pytest.raises(InputError, match="one group"):
        RidgeRegressor().fit(x, y, groups=np.zeros(len(x)))
    with pytest.raises(InputError, match="one group"):
        RidgeRegressor().fit(x, y, groups=np.eye(120, 2, k=200))
    with pytest.raises(InputError, match="3 groupings are too many"):
        RidgeRegressor().fit(x, y, groups=np.eye(120, 3))
    with pytest.raises(InputError, match="3 groups for 120 rows"):
        RidgeRegressor().fit(x, y, groups=np.arange(3))
    with pytest.raises(InputError, match="alphas must be positive"):
        RidgeRegressor(alphas=(0.0, 1.0)).fit(x, y)
    with pytest.raises(InputError, match="n_folds=1"):
        RidgeRegressor(n_folds=1).fit(x, y)
