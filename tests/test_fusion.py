import naive
import numpy as np
import pytest
from scipy.stats import ttest_1samp
from tables import make_samples, scrambled, shuffled
from test_signals import blanked

from merps.errors import InputError
from merps.models.fusion import ResidualFusion
from merps.models.priors import VideoTimePrior
from merps.models.regression import RidgeRegressor
from merps.options import ModelConfig
from merps.scores import score


def divided(samples, *names):
    new = np.isin(samples.people, names)
    return samples.take(np.flatnonzero(~new)), samples.take(np.flatnonzero(new))


@pytest.mark.parametrize("seed", range(6))
def test_without_effect_it_is_the_prior(seed):
    samples = make_samples(np.random.default_rng(seed), n_people=10, n_features=30)
    train, test = divided(samples, "test_1", "test_2", "test_3")
    fusion = ResidualFusion().fit(train)
    prior = score(fusion.prior_.predict(test), test.targets)["mae"]
    assert score(fusion.predict(test), test.targets)["mae"] < prior + 0.1


def test_without_effect_gains_are_mostly_zero():
    gains = [
        ResidualFusion().fit(make_samples(np.random.default_rng(seed))).gain_
        for seed in range(20)
    ]
    assert np.mean(np.array(gains) == 0) >= 0.75
    assert np.max(gains) <= 1


def test_planted_effect_beats_the_prior(rng):
    samples = make_samples(rng, n_people=10, effect=1.0, missing=0.05)
    train, test = divided(samples, "test_1", "test_2", "test_3")
    fusion = ResidualFusion().fit(train)
    prior = score(fusion.prior_.predict(test), test.targets)
    fused = score(fusion.predict(test), test.targets)
    assert (fusion.gain_ > 0.5).all()
    assert (fusion.inner_mae_ < fusion.prior_inner_mae_).all()
    assert fused["mae_valence"] < prior["mae_valence"] - 1
    assert fused["mae_arousal"] < prior["mae_arousal"] - 1


def test_each_dimension_has_its_own_gain(rng):
    samples = make_samples(rng, n_people=8, effect=2.0)
    features = samples.features.copy()
    features[:, 1] = rng.normal(size=len(samples))  # arousal is told by nothing now
    only = scrambled(samples, np.arange(0), rng)
    only.features[:] = features
    gain = ResidualFusion().fit(only).gain_
    assert gain[0] > 0.5
    assert gain[1] == 0


def test_choice_equals_naive_nested_cross_validation(rng):
    samples = make_samples(
        rng, n_people=6, lengths=(9, 7), n_features=3, effect=2.0, missing=0.1
    )
    alphas, gains = (0.1, 10.0), (0.0, 0.5, 1.0)
    fusion = ResidualFusion(smoothing_s=3, alphas=alphas, gains=gains, n_folds=6)
    fusion.fit(samples)
    people, y = samples.people, samples.targets
    z = (samples.features - fusion.mean_) / fusion.scale_
    z = np.where(np.isnan(z), 0, z)

    def prior(without, rows):
        known = samples.take(np.flatnonzero(~np.isin(people, without)))
        return VideoTimePrior(3).fit(known).predict(samples.take(np.flatnonzero(rows)))

    def residual_slopes(without, k, alpha):
        kept = ~np.isin(people, without)
        residuals = np.zeros(len(y))
        for name in set(people[kept]):
            own = people == name
            residuals[own] = y[own, k] - prior([*without, name], own)[:, k]
        return naive.ridge(z[kept], residuals[kept], alpha)[0], z[kept].mean(axis=0)

    for k in range(2):
        errors = {}
        for alpha in alphas:
            for gain in gains:
                errors[alpha, gain] = []
                for name in np.unique(people):
                    rows = people == name
                    slopes, center = residual_slopes([name], k, alpha)
                    fused = prior([name], rows)[:, k]
                    fused = fused + gain * ((z[rows] - center) @ slopes)
                    error = np.abs(np.clip(fused, 1, 255) - y[rows, k])
                    errors[alpha, gain].append(error.mean())
        alpha, gain = min(errors, key=lambda pair: np.mean(errors[pair]))
        better = np.subtract(errors[alpha, 0.0], errors[alpha, gain])
        if ttest_1samp(better, 0, alternative="greater").pvalue >= 0.01:
            gain = 0.0
        assert fusion.gain_[k] == gain
        assert fusion.inner_mae_[k] == pytest.approx(np.mean(errors[alpha, gain]))
        if gain:
            assert fusion.alpha_[k] == alpha
        slopes, _ = residual_slopes([], k, fusion.alpha_[k])
        np.testing.assert_allclose(fusion.coef_[k], slopes, rtol=1e-4, atol=1e-4)


def test_rows_without_features_are_the_prior(rng):
    samples = make_samples(rng, effect=2.0)
    fusion = ResidualFusion().fit(samples)
    rows = np.arange(0, len(samples), 3)
    rest = np.setdiff1d(np.arange(len(samples)), rows)
    expected = fusion.prior_.predict(samples)
    actual = fusion.predict(blanked(samples, rows))
    np.testing.assert_array_equal(actual[rows], expected[rows])
    assert (actual[rest] != expected[rest]).any()


def test_order_of_rows_does_not_matter(rng):
    samples = make_samples(rng, effect=1.0, missing=0.1)
    expected = ResidualFusion().fit(samples).predict(samples)
    actual = ResidualFusion().fit(shuffled(samples, rng)).predict(samples)
    np.testing.assert_array_equal(actual, expected)


def test_one_person_is_tuned_on_stimuli(rng):
    samples = make_samples(rng, n_people=1, lengths=(30,) * 6, effect=3.0)
    fusion = ResidualFusion().fit(samples)
    assert np.isfinite(fusion.inner_mae_).all()
    assert np.isfinite(fusion.predict(samples)).all()


def test_too_few_groups_leave_the_prior(rng):
    samples = make_samples(rng, n_people=2, lengths=(20, 20), effect=3.0)
    fusion = ResidualFusion().fit(samples)
    np.testing.assert_array_equal(
        fusion.predict(samples), fusion.prior_.predict(samples)
    )
    assert np.isnan(fusion.inner_mae_).all()


def test_more_columns_than_rows(rng):
    samples = make_samples(rng, n_people=3, lengths=(8, 8), n_features=80, effect=3.0)
    assert np.isfinite(ResidualFusion().fit(samples).predict(samples)).all()


def test_bad_arguments_are_refused(rng):
    with pytest.raises(InputError, match="gains must not be negative"):
        ResidualFusion(gains=(-1.0,)).fit(make_samples(rng))
    with pytest.raises(InputError, match="n_folds must be at least 3, got 2"):
        ResidualFusion(n_folds=2).fit(make_samples(rng))
    with pytest.raises(InputError, match="have no features"):
        ResidualFusion().fit(make_samples(rng, n_features=0))


def test_defaults_are_those_of_the_configuration():
    config = ModelConfig()
    fusion = ResidualFusion()
    assert fusion.gains == config.gains
    assert fusion.alphas == RidgeRegressor().alphas == config.alphas
    assert fusion.n_folds == RidgeRegressor().n_folds == config.inner_folds
