import numpy as np
import pytest
from mixed import mixing
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from test_manifold import close, make

import merps
from merps.errors import InputError
from merps.features.directions import (
    complete_matrix,
    leading_directions,
    regress_missing,
)
from merps.features.manifold import riemannian_distance, tangent_vectors
from merps.features.recentering import recentered_tangents, recentering_at
from merps.models.tangent import METRICS, SpatialReduction, TangentSpace

TOLERANCE = {"exact": 1e-6, "fast": 2e-4}
EPS = 1e-6
everywhere = pytest.mark.parametrize("method", TOLERANCE)


def distances(vectors):
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=2)


@everywhere
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vectors_equal_pyriemann(rng, metric, method, dtype):
    from pyriemann.tangentspace import TangentSpace as Peer

    x = make(rng, 50, 7, spread=0.4).astype(dtype)
    peer = Peer(metric={"mean": metric, "map": "riemann"}).fit(x[:30].astype(float))
    expected = peer.transform(x.astype(float))
    actual = TangentSpace(metric, method).fit(x[:30]).transform(x)
    assert actual.dtype == (np.float64 if method == "exact" else np.float32)
    close(actual, expected, TOLERANCE[method])
    if metric == "riemann":
        close(Peer().fit(x[:30].astype(float)).transform(x.astype(float)), expected, 0)


@everywhere
@pytest.mark.parametrize("shrinkage", [0.0, 0.1])
@pytest.mark.parametrize("metric", ["riemann", "euclid"])
def test_mixing_a_group_changes_nothing_but_a_rotation(rng, method, shrinkage, metric):
    x = np.stack([make(rng, 30, 5), make(rng, 30, 5)], axis=1)
    groups = np.repeat(["a", "b"], 15)
    rest = {name: make(rng, 2, 5) for name in "ab"}
    moved, moved_rest = x.copy(), {}
    for name in "ab":
        change = rng.normal(size=(5, 5))
        moved[groups == name] = change @ x[groups == name] @ change.T
        moved_rest[name] = change @ rest[name] @ change.T
    space = TangentSpace(metric, method, shrinkage).fit(x)
    for before, after in (
        ({}, {}),
        ({"references": rest}, {"references": moved_rest}),
        ({"references": {"a": rest["a"]}}, {"references": {"a": moved_rest["a"]}}),
    ):
        expected = space.transform(x, groups=groups, **before)
        actual = space.transform(moved, groups=groups, **after)
        for name in "ab":
            rows = groups == name
            for band in (slice(0, 15), slice(15, 30)):
                np.testing.assert_allclose(
                    distances(actual[rows, band]),
                    distances(expected[rows, band]),
                    atol=30 * TOLERANCE[method],
                )
        assert np.abs(actual - expected).max() > 0.1  # there was something to undo


@everywhere
def test_a_symmetric_mixing_is_undone(rng, method):
    x = make(rng, 30, 5)
    rest = np.eye(5)
    random = rng.normal(size=(5, 5))
    change = random @ random.T + np.eye(5)
    space = TangentSpace("euclid", method, 0.05).fit(x)
    groups = np.zeros(30, dtype=int)
    expected = space.transform(x, groups=groups, references={0: rest})
    moved = change @ x @ change
    references = {0: change @ rest @ change}
    actual = space.transform(moved, groups=groups, references=references)
    close(actual, expected, 3 * TOLERANCE[method])


@everywhere
def test_groups_are_recentered_at_their_own_mean(rng, method):
    x = make(rng, 40, 4)
    groups = np.arange(40) % 3
    space = TangentSpace("riemann", method).fit(x)
    vectors = space.transform(x, groups=groups)
    for group in range(3):
        rows = groups == group
        np.testing.assert_allclose(vectors[rows].mean(axis=0), 0, atol=2e-3)
        alone = TangentSpace("riemann", method).fit(x[rows]).transform(x[rows])
        close(vectors[rows], alone, TOLERANCE[method])


def test_bands_stand_side_by_side(rng):
    x = np.stack([make(rng, 20, 4), 1e-3 * make(rng, 20, 4)], axis=1)
    vectors = TangentSpace().fit(x).transform(x)
    alone = [TangentSpace().fit(x[:, b]).transform(x[:, b]) for b in range(2)]
    np.testing.assert_array_equal(vectors, np.hstack(alone))
    view = np.asfortranarray(np.repeat(x, 2, axis=0))[::2]
    np.testing.assert_allclose(TangentSpace().fit(view).transform(view), vectors)
    several = TangentSpace(jobs=2).fit(x).transform(x)
    np.testing.assert_array_equal(several, vectors)


def test_threads_change_no_bit(rng):
    x = make(rng, 400, 3)
    for options in ({"shrinkage": 0.1, "metric": "euclid"}, {"metric": "riemann"}):
        for method in TOLERANCE:
            one, two = (
                TangentSpace(method=method, jobs=jobs, **options).fit(x).transform(x)
                for jobs in (1, 2)
            )
            np.testing.assert_array_equal(one, two)


def test_one_channel_is_a_log_ratio(rng):
    x = rng.uniform(1, 5, size=(9, 1, 1))
    expected = np.log(x[:, 0]) - np.log(x[:, 0]).mean()
    for metric in ("riemann", "logeuclid"):
        np.testing.assert_allclose(TangentSpace(metric).fit(x).transform(x), expected)
    shrunk = TangentSpace("euclid", "fast", 0.3).fit(x).transform(x)
    np.testing.assert_allclose(shrunk, np.log(x[:, 0] / x.mean()), atol=1e-5)
    one = TangentSpace(shrinkage=0.1).fit(x[:1]).transform(x[:1])
    np.testing.assert_allclose(one, 0, atol=1e-12)


def test_matrices_with_missing_elements_are_passed_over_and_stay_missing(rng):
    x = make(rng, 12, 4)
    with_gap = np.concatenate([x, x[:2]])
    with_gap[12, 1, 2] = with_gap[12, 2, 1] = np.nan
    with_gap[13] = np.nan
    for step in (
        TangentSpace(),
        TangentSpace("euclid", "fast", 0.1),
        SpatialReduction(2),
    ):
        fitted = clone(step).fit(with_gap)
        actual = fitted.transform(with_gap)
        np.testing.assert_allclose(actual[:12], step.fit(x).transform(x), rtol=1e-9)
        assert np.isnan(actual[12:]).all()
    nothing = np.full((3, 4, 4), np.nan)
    for step in (TangentSpace(), SpatialReduction()):
        with pytest.raises(InputError, match="every matrix has missing elements"):
            step.fit(nothing)
    both = np.concatenate([x, nothing])
    groups = np.repeat([0, 1], [12, 3])
    vectors = TangentSpace().fit(both).transform(both, groups=groups)
    assert np.isnan(vectors[12:]).all()
    assert np.isfinite(vectors[:12]).all()


def test_shrinkage_gives_every_matrix_a_logarithm(rng):
    few = rng.normal(size=(20, 8, 3))
    x = few @ few.swapaxes(1, 2)  # rank 3 of 8
    space = TangentSpace("euclid", "exact", shrinkage=0.05).fit(x)
    exact = space.transform(x)
    assert np.isfinite(exact).all()
    close(space.set_params(method="fast").transform(x), exact, 2e-4)
    # The fast logarithm of a matrix does not depend on the others.
    close(space.transform(x[7:8]), space.transform(x)[7:8], 1e-6)
    assert np.isnan(space.transform(0 * x)).all()  # no power, no logarithm
    with pytest.raises(InputError, match="not positive definite"):
        TangentSpace("euclid").fit(x).transform(x)
    wild = TangentSpace("euclid", "fast", shrinkage=1e-7).fit(x)
    close(wild.transform(x), wild.set_params(method="exact").transform(x), 2e-3)


@everywhere
def test_what_has_no_power_in_the_reference_adds_nothing(rng, method):
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :4]
    inner = make(rng, 25, 4)
    x = basis @ inner @ basis.T
    flat = TangentSpace("euclid", method, 0.0 if method == "exact" else 1e-3).fit(x)
    inside = clone(flat).set_params(method="exact", shrinkage=0.0).fit(inner)
    lengths = np.linalg.norm(inside.transform(inner), axis=1)
    actual = np.linalg.norm(flat.transform(x), axis=1)
    np.testing.assert_allclose(actual, lengths, rtol=1e-6 if method == "exact" else 0.1)


# Spatial reduction


def test_reduction_keeps_the_directions_of_most_power(rng):
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    power = np.array([9.0, 7, 5, 1e-2, 1e-3, 1e-4])
    x = (turn * (power * rng.uniform(0.9, 1.1, size=(30, 1, 6)))) @ turn.T
    step = SpatialReduction(3)
    reduced = step.fit_transform(x)
    assert reduced.shape == (30, 3, 3)
    values = np.linalg.eigvalsh(x.mean(axis=0))[::-1]
    np.testing.assert_allclose(reduced.mean(axis=0), np.diag(values[:3]), atol=1e-12)
    np.testing.assert_allclose(
        step.directions_[0].T @ step.directions_[0], np.eye(3), atol=1e-12
    )
    stacked = SpatialReduction(3).fit_transform(np.stack([x, 2 * x], axis=1))
    np.testing.assert_allclose(stacked[:, 1], 2 * stacked[:, 0], rtol=1e-9)
    assert stacked.shape == (30, 2, 3, 3)


@pytest.mark.parametrize("n_components", [None, 7, 8, 30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_are_no_more_components_than_rank(rng, caplog, n_components, dtype):
    caplog.set_level("INFO")
    x = rng.normal(size=(20, 8, 50))
    x[:, 3] = (x[:, 2] + x[:, 4]) / 2  # an interpolated channel
    x -= x.mean(axis=1, keepdims=True)  # average reference
    x = (x @ x.swapaxes(1, 2)).astype(dtype)
    step = SpatialReduction(n_components).fit(x)
    assert step.n_components_ == 6
    assert ("rank is 6" in caplog.text) == (n_components is not None)
    vectors = TangentSpace().fit(step.transform(x)).transform(step.transform(x))
    assert np.isfinite(vectors).all()


def test_a_lab_can_put_the_steps_into_a_pipeline(rng):
    x = make(rng, 40, 6).astype(np.float32)
    y = np.log(x[:, 0, 0])
    pipe = make_pipeline(SpatialReduction(4), TangentSpace(shrinkage=0.01), Ridge())
    predicted = clone(pipe).fit(x[:30], y[:30]).predict(x[30:])
    assert predicted.shape == (10,)
    pipe.set_params(spatialreduction__n_components=2, tangentspace__method="fast").fit(
        x, y
    )
    assert pipe[0].n_components_ == 2
    for step in (SpatialReduction(), TangentSpace()):
        assert clone(step).get_params() == step.get_params()
        assert step.__sklearn_tags__().input_tags.three_d_array
        with pytest.raises(NotFittedError):
            step.transform(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: TangentSpace("angle").fit(x), "metric='angle' is none of euclid"),
        (lambda x: TangentSpace(method="quick").fit(x), "method='quick' is none of"),
        (lambda x: TangentSpace(shrinkage=1).fit(x), r"shrinkage must lie in \[0, 1\)"),
        (lambda x: TangentSpace().fit(x[0]), "expected matrices of shape"),
        (lambda x: TangentSpace().fit(x[:, :2]), "expected matrices of shape"),
        (lambda x: TangentSpace().fit(x).transform(x[:, :2, :2]), "2 channels, but"),
        (
            lambda x: TangentSpace().fit(x).transform(x, references={}),
            "references need groups",
        ),
        (
            lambda x: TangentSpace().fit(x).transform(x, groups=np.zeros(3)),
            "3 groups for 9 matrices",
        ),
        (lambda x: SpatialReduction(0).fit(x), "n_components must be at least 1"),
        (lambda x: SpatialReduction().fit(0 * x), "no power in any channel"),
        (lambda x: SpatialReduction().fit(x).transform(x[:, :2, :2]), "2 channels"),
    ],
)
def test_what_makes_no_sense_is_refused(rng, call, message):
    with pytest.raises(InputError, match=message):
        call(make(rng, 9, 3))


def test_steps_are_on_the_menu():
    assert merps.TangentSpace is TangentSpace
    assert merps.SpatialReduction is SpatialReduction


# Missing channels


def completed_vectors(x, reference, missing, method, shrinkage=0.0):
    n = len(reference)
    recentering = recentering_at(
        reference, directions=np.eye(n), missing=missing, tolerance=EPS
    )
    x = x.copy()
    x[:, missing] = x[:, :, missing] = 0
    return recentered_tangents(
        x.__getitem__,
        len(x),
        recentering,
        shrinkage=shrinkage,
        method=method,
        jobs=1,
    )


@everywhere
@pytest.mark.parametrize("gone", [[2], [0, 4], [0, 1, 2, 3]])
def test_a_missing_channel_adds_nothing_to_the_distance(rng, method, gone):
    x, reference = make(rng, 20, 5), make(rng, 1, 5)[0]
    missing = np.isin(np.arange(5), gone)
    vectors = completed_vectors(x, reference, missing, method)
    there = np.ix_(~missing, ~missing)
    expected = riemannian_distance(x[(slice(None), *there)], reference[there])
    np.testing.assert_allclose(
        np.linalg.norm(vectors, axis=1), expected, rtol=5 * TOLERANCE[method]
    )
    at_rest = completed_vectors(reference[None], reference, missing, method)
    np.testing.assert_allclose(at_rest, 0, atol=TOLERANCE[method])
    shrunk = completed_vectors(reference[None], reference, missing, method, 0.2)
    np.testing.assert_allclose(shrunk, 0, atol=TOLERANCE[method])


@everywhere
def test_nothing_missing_is_the_plain_tangent_space(rng, method):
    x, reference = make(rng, 20, 5), make(rng, 1, 5)[0]
    vectors = completed_vectors(x, reference, np.zeros(5, dtype=bool), method)
    close(vectors, tangent_vectors(x, reference), TOLERANCE[method])


def test_a_channel_that_follows_from_others_is_recovered(rng):
    x_ct = rng.normal(size=(4, 500))
    x_ct[3] = x_ct[0] - 2 * x_ct[1]
    reference = np.cov(x_ct)
    scaled = mixing(rng, 3) @ rng.normal(size=(3, 400))
    whole = np.cov(np.vstack([scaled, scaled[0] - 2 * scaled[1]]))
    gap = whole.copy()
    gap[3] = gap[:, 3] = np.nan
    np.testing.assert_allclose(
        complete_matrix(gap, reference, tolerance=EPS), whole, rtol=1e-9
    )


def test_completed_references_are_definite_and_keep_what_is_there(rng):
    matrix, reference = make(rng, 2, 6)
    gap = matrix.copy()
    gap[[1, 4]] = gap[:, [1, 4]] = np.nan
    complete = complete_matrix(gap, reference, tolerance=EPS)
    there = np.ix_([0, 2, 3, 5], [0, 2, 3, 5])
    np.testing.assert_allclose(complete[there], matrix[there], rtol=1e-12)
    assert np.linalg.eigvalsh(complete).min() > 0
    gap[there] = 7 * reference[there]
    close(complete_matrix(gap, reference, tolerance=EPS), 7 * reference, 1e-12)
    nothing = np.full((6, 6), np.nan)
    close(complete_matrix(nothing, reference, tolerance=EPS), reference, 1e-12)
    weights, residual = regress_missing(
        reference, np.zeros(6, dtype=bool), tolerance=EPS
    )
    np.testing.assert_array_equal(weights, np.eye(6))
    np.testing.assert_array_equal(residual, 0)


def test_a_channel_nobody_has_is_left_out(rng):
    mean = make(rng, 1, 4)[0]
    mean[1] = mean[:, 1] = np.nan
    directions = leading_directions(mean, n_components=None, tolerance=EPS)
    assert directions.shape == (4, 3)
    np.testing.assert_array_equal(directions[1], 0)
