import logging

import numpy as np
import pytest

from merps.errors import InputError
from merps.features import logarithm, tiles
from merps.features.manifold import (
    from_tangent,
    log_euclidean_distance,
    log_euclidean_mean,
    riemannian_distance,
    riemannian_mean,
    tangent_vectors,
)
from merps.features.matrices import (
    log_determinants,
    matrix_exp,
    matrix_inverse_sqrt,
    matrix_log,
    matrix_sqrt,
)

METHODS = {"exact": 1e-6, "fast": 2e-4}


def make(rng, n_windows, n_channels, spread=0.7):
    """Make positive definite matrices around one that is far from round."""
    turn = np.linalg.qr(rng.normal(size=(n_channels, n_channels)))[0]
    mixing = turn * np.geomspace(3, 0.3, n_channels)
    random = rng.normal(size=(n_windows, n_channels, n_channels)) * spread
    logs = (random + random.swapaxes(1, 2)) / 2
    values, vectors = np.linalg.eigh(logs)
    inner = (vectors * np.exp(values)[:, None]) @ vectors.swapaxes(1, 2)
    matrices = mixing @ inner @ mixing.T
    return (matrices + matrices.swapaxes(1, 2)) / 2


def close(actual, expected, tolerance):
    error = np.linalg.norm(np.ravel(actual - expected))
    assert error <= tolerance * np.linalg.norm(np.ravel(expected))


@pytest.fixture
def matrices(rng):
    return make(rng, 40, 6)


def test_matrix_functions_undo_each_other(matrices):
    close(matrix_exp(matrix_log(matrices)), matrices, 1e-10)
    root = matrix_sqrt(matrices)
    close(root @ root, matrices, 1e-10)
    unit = root @ matrix_inverse_sqrt(matrices)
    close(unit, np.broadcast_to(np.eye(6), unit.shape), 1e-9)
    close(matrix_log(matrices[3]), matrix_log(matrices)[3], 1e-14)
    assert matrix_log(matrices[:0], jobs=2).shape == (0, 6, 6)
    expected = np.linalg.slogdet(matrices)[1]
    actual = log_determinants(matrices, name="matrices", jobs=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mean_and_tangent_space_equal_pyriemann(rng, method, dtype):
    from pyriemann.geometry.mean import mean_riemann
    from pyriemann.geometry.tangentspace import tangent_space

    matrices = make(rng, 50, 16, spread=0.3).astype(dtype)
    weights = rng.uniform(size=50)
    double = matrices.astype(np.float64)
    expected = mean_riemann(double, sample_weight=weights)
    mean = riemannian_mean(matrices, weights=weights, method=method)
    assert mean.dtype == np.float64
    white = matrix_inverse_sqrt(expected)
    close(white @ mean @ white, np.eye(16), METHODS[method])
    vectors = tangent_vectors(matrices, expected, method=method)
    assert vectors.dtype == (np.float64 if method == "exact" else np.float32)
    close(vectors, tangent_space(double, expected), METHODS[method])


def test_distances_and_log_euclidean_mean_equal_pyriemann(rng, matrices):
    from pyriemann.geometry.distance import distance_logeuclid, distance_riemann
    from pyriemann.geometry.mean import mean_logeuclid

    reference = make(rng, 1, 6)[0]
    for ours, theirs in (
        (riemannian_distance, distance_riemann),
        (log_euclidean_distance, distance_logeuclid),
    ):
        expected = [theirs(x, reference) for x in matrices]
        np.testing.assert_allclose(ours(matrices, reference), expected, rtol=1e-9)
    weights = rng.uniform(size=40)
    expected = mean_logeuclid(matrices, sample_weight=weights)
    close(log_euclidean_mean(matrices, weights=weights), expected, 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_tangent_vectors_go_back_and_keep_the_distance(rng, matrices, method):
    reference = make(rng, 1, 6)[0]
    vectors = tangent_vectors(matrices, reference, method=method)
    assert vectors.shape == (40, 21)
    close(from_tangent(vectors, reference), matrices, 10 * METHODS[method])
    lengths = np.linalg.norm(vectors, axis=1)
    close(lengths, riemannian_distance(matrices, reference), METHODS[method])
    at_itself = tangent_vectors(reference[None], reference, method=method)
    np.testing.assert_allclose(at_itself, 0, atol=METHODS[method])


@pytest.mark.parametrize("method", METHODS)
def test_mean_and_distance_do_not_care_how_sources_are_mixed(rng, matrices, method):
    mixing = rng.normal(size=(6, 6))
    moved = mixing @ matrices @ mixing.T
    mean = riemannian_mean(matrices, method=method)
    turned = mixing @ mean @ mixing.T
    close(riemannian_mean(moved, method=method), turned, METHODS[method])
    expected = riemannian_distance(matrices, mean)
    np.testing.assert_allclose(riemannian_distance(moved, turned), expected, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_mean_of_matrices_that_commute_is_the_geometric_one(rng, method):
    values = np.exp(rng.normal(size=(9, 5)))
    vectors = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    matrices = (vectors * values[:, None]) @ vectors.T
    weights = rng.uniform(size=9)
    mean = np.exp(weights @ np.log(values) / weights.sum())
    expected = (vectors * mean) @ vectors.T
    options = {"weights": weights, "method": method}
    close(riemannian_mean(matrices, **options), expected, METHODS[method])
    close(log_euclidean_mean(matrices, weights=weights), expected, 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_inverts_with_its_matrices(matrices, method):
    mean = riemannian_mean(matrices, method=method)
    of_inverses = riemannian_mean(np.linalg.inv(matrices), method=method)
    close(mean @ of_inverses, np.eye(6), 1e-2 * METHODS[method] + 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_layout_change_no_bit(rng, method):
    matrices = make(rng, 70, 5)
    mean = riemannian_mean(matrices, method=method)
    vectors = tangent_vectors(matrices, mean, method=method)
    two = riemannian_mean(matrices, method=method, jobs=2)
    np.testing.assert_array_equal(two, mean)
    two = tangent_vectors(matrices, mean, method=method, jobs=2)
    np.testing.assert_array_equal(two, vectors)
    wide = np.repeat(np.asfortranarray(matrices), 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(tangent_vectors(wide, mean, method=method), vectors)
    reverse = tangent_vectors(matrices[::-1], mean, method=method)
    close(reverse[::-1], vectors, METHODS[method])
    for function in (riemannian_distance, log_euclidean_distance):
        one = function(matrices, mean)
        np.testing.assert_array_equal(function(matrices, mean, jobs=2), one)


@pytest.mark.parametrize("method", METHODS)
def test_one_window_and_one_channel(rng, method):
    single = make(rng, 1, 4)
    close(riemannian_mean(single, method=method), single[0], METHODS[method])
    numbers = np.array([[[0.5]], [[2.0]], [[8.0]]])
    mean = riemannian_mean(numbers, method=method)
    close(mean, np.array([[2.0]]), METHODS[method])
    vectors = tangent_vectors(numbers, mean, method=method)
    expected = np.log([0.25, 1, 4])
    np.testing.assert_allclose(vectors[:, 0], expected, atol=METHODS[method])


def test_fast_logarithm_falls_back_where_its_polynomial_does_not_hold(rng, caplog):
    matrices = make(rng, 60, 8, spread=0.1)
    mean = riemannian_mean(matrices)
    matrices[9] *= 30  # of no consequence, unlike one strong source
    matrices[9] += 1e4 * np.outer(mean[0], mean[0])
    with caplog.at_level(logging.DEBUG, logger=logarithm.__name__):
        actual = tangent_vectors(matrices, mean, method="fast")
    assert "1 matrices need their eigenvalues" in caplog.text
    exact = tangent_vectors(matrices, mean)
    for row, expected in zip(actual, exact, strict=True):
        close(row, expected, 2e-4)
    wide = make(rng, 5, 8, spread=4.0)  # beyond any polynomial
    eye = np.eye(8)
    close(tangent_vectors(wide, eye, method="fast"), tangent_vectors(wide, eye), 1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.1, 5.0), (1e-3, 1.0)])
def test_polynomial_is_the_logarithm_on_its_interval(rng, low, high):
    values = np.geomspace(low, high, 12)
    vectors = np.linalg.qr(rng.normal(size=(3, 12, 12)))[0]
    matrices = ((vectors * values) @ vectors.swapaxes(1, 2)).astype(np.float32)
    expected = (vectors * np.log(values)) @ vectors.swapaxes(1, 2)
    polynomial = logarithm.fit_log_polynomial(low=low, high=high)
    scratch = tiles.Scratch()
    actual = logarithm.apply_log_polynomial(polynomial, matrices, scratch=scratch)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
    assert logarithm.fit_log_polynomial(low=1e-8, high=1.0) is None


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_positive_definite_is_refused(rng, method):
    matrices = make(rng, 20, 4, spread=0.2)
    good = matrices[0]
    flat = rng.normal(size=(4, 3))
    for bad in (flat @ flat.T, -good, np.zeros((4, 4))):
        matrices[17] = bad
        for call in (
            lambda: riemannian_mean(matrices, method=method),
            lambda: tangent_vectors(matrices, good, method=method),
            lambda: riemannian_distance(matrices, good),
            lambda: log_euclidean_mean(matrices),
            lambda: matrix_log(matrices),
        ):
            with pytest.raises(
                InputError, match=r"matrices\[17\] is not positive .*oas"
            ):
                call()
        with pytest.raises(InputError, match="not positive definite"):
            tangent_vectors(good[None], bad, method=method)
    matrices[17] = np.nan
    with pytest.raises(InputError, match=r"matrices\[17\] has missing"):
        riemannian_mean(matrices, method=method)


def test_pairs_too_far_apart_for_float64_are_refused():
    def narrow(angle):
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        return (turn * [1, 2e-15]) @ turn.T

    matrices, reference = (
        np.stack([narrow(a) for a in np.linspace(0, 3, 40)]),
        narrow(1),
    )
    for function in (riemannian_distance, tangent_vectors):
        with pytest.raises(InputError, match="too close to singular to be compared"):
            function(matrices, reference)


def test_bad_options_are_refused(rng):
    matrices = make(rng, 3, 2)
    for message, keywords in (
        ("method must be", {"method": "quick"}),
        ("tolerance must be positive", {"tolerance": 0.0}),
        ("weights must be 3 numbers", {"weights": np.array([1.0, -1.0, 1.0])}),
        ("weights must be 3 numbers", {"weights": np.array([1.0, np.nan, 1.0])}),
        ("jobs must be at least 1", {"jobs": 0}),
    ):
        with pytest.raises(InputError, match=message):
            riemannian_mean(matrices, **keywords)
    for function in (riemannian_mean, log_euclidean_mean):
        with pytest.raises(InputError, match="empty"):
            function(matrices[:0])
    with pytest.raises(InputError, match="2 channels of the reference make 3"):
        from_tangent(np.zeros((1, 4)), matrices[0])


def test_a_mean_that_does_not_converge_is_logged(rng, caplog):
    riemannian_mean(make(rng, 10, 4), max_iterations=1)
    assert "exact Riemannian mean has a gradient" in caplog.text
