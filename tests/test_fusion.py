from dataclasses import replace

import naive
import numpy as np
import pytest
from mixed import make_mixed
from scipy.stats import ttest_1samp
from tables import make_samples, scrambled, shuffled
from test_signals import blanked

from merps.datasets.simulate.oracle import score_oracle_fusion
from merps.datasets.simulate.world import World
from merps.errors import InputError
from merps.models.fusion import ResidualFusion
from merps.models.priors import VideoTimePrior
from merps.models.regression import RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.rows import has_features, inner_folds
from merps.models.signals import SignalModel
from merps.models.wording import tell_gains
from merps.options import ModelConfig
from merps.samples import Samples
from merps.scores import score
from merps.splits import folds


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


def gains_of(fusion):
    """Gains by kind of stimulus, model and dimension."""
    return np.stack([fusion.gain_known_, fusion.gain_new_])


def test_without_effect_gains_are_mostly_zero():
    gains = [
        gains_of(ResidualFusion().fit(make_samples(np.random.default_rng(seed))))
        for seed in range(12)
    ]
    assert np.mean(np.array(gains) == 0) >= 0.95  # the gate lets 1 % pass


def test_planted_effect_beats_the_prior(rng):
    samples = make_samples(rng, n_people=10, effect=1.0, missing=0.05)
    train, test = divided(samples, "test_1", "test_2", "test_3")
    fusion = ResidualFusion().fit(train)
    prior = score(fusion.prior_.predict(test), test.targets)
    fused = score(fusion.predict(test), test.targets)
    assert (fusion.gain_known_ > 0.5).all()
    assert (fusion.inner_mae_known_ < fusion.prior_inner_mae_known_).all()
    assert fused["mae_valence"] < prior["mae_valence"] - 1
    assert fused["mae_arousal"] < prior["mae_arousal"] - 1


def test_planted_effect_is_added_to_new_stimuli(rng):
    samples = make_samples(rng, n_people=10, lengths=(20,) * 12, effect=2.0)
    own = np.isin(samples.stimuli, ("V01", "V02", "V03"))
    person = np.isin(samples.people, ("test_1", "test_2", "test_3"))
    train, test = (samples.take(np.flatnonzero(r)) for r in (~own & ~person, own))
    fusion = ResidualFusion().fit(train)
    assert (fusion.gain_new_ > 0.5).all()
    median = np.tile(fusion.prior_.median_, (len(test), 1))
    np.testing.assert_array_equal(fusion.prior_.predict(test), median)
    better = score(median, test.targets)["pearson"]
    assert score(fusion.predict(test), test.targets)["pearson"] > better + 0.05


@pytest.mark.parametrize("is_told", [True, False])
def test_trials_of_one_person_are_added_if_they_tell(is_told):
    """Twelve trials with levels of their own: without effect, 1 % pass and not 3 %."""
    passed = []
    for seed in range(20 if is_told else 60):
        rng = np.random.default_rng(seed)
        samples = make_samples(rng, n_people=1, lengths=(20,) * 12, n_features=4)
        level = rng.uniform(-1, 1, size=(12, 2))
        told = rng.normal(size=(12, 4))
        if is_told:
            told[:, :2] = level + 0.05 * told[:, :2]
        samples.features[:] = told.repeat(20, axis=0) + 0.01 * samples.features
        ratings = 128 + 100 * level.repeat(20, axis=0) + 10 * rng.normal(size=(240, 2))
        fusion = ResidualFusion().fit(samples.with_targets(np.clip(ratings, 1, 255)))
        passed += [*(fusion.gain_new_[0] > 0)]
    assert np.mean(passed) > 0.5 if is_told else np.mean(passed) < 0.02


@pytest.mark.parametrize("kind", ["known", "new"])
def test_each_kind_of_stimulus_has_its_own_gain(rng, kind):
    samples = make_samples(rng, n_people=8, lengths=(20,) * 6, effect=2.0)
    fusion = ResidualFusion().fit(samples)
    names = {"known": "V01", "new": "V99"}
    row = samples.take(np.arange(20))
    setattr(fusion, f"gain_{kind}_", np.zeros((1, 2)))
    for own, name in names.items():
        asked = replace(row, stimuli=np.full(len(row), name))
        is_prior = fusion.predict(asked) == fusion.prior_.predict(asked)
        assert is_prior.all() == (own == kind)


def test_each_dimension_has_its_own_gain(rng):
    samples = make_samples(rng, n_people=8, effect=2.0)
    features = samples.features.copy()
    features[:, 1] = rng.normal(size=len(samples))  # arousal is told by nothing now
    only = scrambled(samples, np.arange(0), rng)
    only.features[:] = features
    gain = ResidualFusion().fit(only).gain_known_[0]
    assert gain[0] > 0.5
    assert gain[1] == 0


@pytest.mark.parametrize("kind", ["known", "new"])
def test_choice_equals_naive_nested_cross_validation(rng, kind):
    samples = make_samples(
        rng, n_people=6, lengths=(9, 7, 8), n_features=5, effect=2.0, missing=0.1
    )
    gains, widths_s = (0.0, 0.5, 1.0), (1.0, 3.0)
    ridge = SignalModel(RidgeRegressor(alphas=(0.1,)))
    fusion = ResidualFusion({"ridge": ridge}, widths_s, gains, 3, n_folds=6)
    fusion.fit(samples)
    regressor = fusion.models_["ridge"].regressor_
    people, stimuli, y = samples.people, samples.stimuli, samples.targets
    assert has_features(samples).all()
    z = (samples.features - regressor.mean_) / regressor.scale_
    z = np.where(np.isnan(z), 0, z)

    def prior(known, rows):
        fitted = VideoTimePrior(3, shrunk=True).fit(samples.take(np.flatnonzero(known)))
        return fitted.predict(samples.take(np.flatnonzero(rows)))

    def fit(known, k):
        residuals = np.zeros(len(y))
        for name in set(people[known]):
            own = known & (people == name)
            residuals[own] = y[own, k] - prior(known & ~own, own)[:, k]
        slopes = naive.ridge(z[known], residuals[known], 0.1)[0]
        shift = np.median(residuals[known] - z[known] @ slopes)
        return slopes, shift - np.median(residuals[known])

    fold = inner_folds(people, n_samples=len(y), n_folds=6)
    parts = [(fold != f, fold == f, fold != f) for f in range(6)]
    if kind == "new":
        groups = np.stack([people, stimuli], axis=1)
        p, v = inner_folds(groups, n_samples=len(y), n_folds=6).T
        cells = [(a, b) for a in range(3) for b in range(3)]
        parts = [((p != a) & (v != b), (p == a) & (v == b), p != a) for a, b in cells]
    for k in range(2):
        told, course, added = np.zeros((3, len(y)))
        for known, rows, others in parts:
            slopes, shift = fit(known, k)
            told[rows] = prior(known, rows)[:, k]
            course[rows] = prior(others, rows)[:, k]
            added[rows] = z[rows] @ slopes + shift
        errors, moves = {}, {}
        for width_s in widths_s:
            smooth = naive.smooth_in_time(
                added[:, None], samples.trials, samples.seconds, width_s
            )[:, 0]
            for gain in gains:
                moves[width_s, gain] = gain * smooth
                moved = np.clip(course + gain * smooth, 1, 255)
                errors[width_s, gain] = np.abs(moved - y[:, k])
        width_s, gain = min(errors, key=lambda pair: errors[pair].mean())
        better = errors[1.0, 0.0] - errors[width_s, gain]
        better = [better[people == name].mean() for name in np.unique(people)]
        moved = np.clip(told + moves[width_s, gain], 1, 255)
        error, prior_error = (np.abs(x - y[:, k]).mean() for x in (moved, told))
        passed = ttest_1samp(better, 0, alternative="greater").pvalue < 0.01
        if not (passed and error < prior_error):
            gain, error = 0.0, prior_error
        assert getattr(fusion, f"gain_{kind}_")[0, k] == gain
        assert getattr(fusion, f"width_{kind}_s_")[k] == width_s
        inner = getattr(fusion, f"inner_mae_{kind}_")[k]
        assert inner == pytest.approx(error, rel=1e-5)
        np.testing.assert_allclose(
            regressor.coef_[k], fit(np.ones(len(y), bool), k)[0], rtol=1e-4, atol=1e-4
        )


class Plain(SignalModel):
    """Learns anew for every fold, as models do that know nothing of plans."""

    fit_held_out = property(lambda self: (_ for _ in ()).throw(AttributeError()))


def test_any_model_will_do(rng):
    samples = make_samples(rng, n_people=6, effect=2.0)
    regressor = RidgeRegressor(alphas=(0.1,))
    fast, slow = (
        ResidualFusion({"model": kind(regressor)}).fit(samples)
        for kind in (SignalModel, Plain)
    )
    np.testing.assert_allclose(gains_of(slow), gains_of(fast), atol=0.11)
    np.testing.assert_allclose(slow.inner_mae_, fast.inner_mae_, rtol=0.02)


class Columns(SignalModel):
    """Sees some of the features."""

    def __init__(self, first=0, stop=1, regressor=None):
        super().__init__(regressor)
        self.first, self.stop = first, stop

    def seen(self, samples):
        names = samples.feature_names[self.first : self.stop]
        features = samples.features[:, self.first : self.stop]
        return replace(samples, features=features, feature_names=names)

    def fit_held_out(self, samples, plans):
        return super().fit_held_out(self.seen(samples), plans)

    def predict(self, samples):
        return super().predict(self.seen(samples))


def test_each_of_several_models_adds_what_it_knows():
    parts = {"valence": Columns(0, 1), "noise": Columns(2, 6), "arousal": Columns(1, 2)}
    others = []
    for seed in range(5):
        samples = make_samples(np.random.default_rng(seed), n_people=10, effect=2.0)
        train, test = divided(samples, "test_1", "test_2", "test_3")
        fusion = ResidualFusion(parts).fit(train)
        assert list(fusion.models_) == ["arousal", "noise", "valence"]
        arousal, noise, valence = fusion.gain_known_
        assert min(arousal[1], valence[0]) > 0.5
        others += [arousal[0], valence[1], *noise]
        alone = ResidualFusion({"valence": Columns(0, 1)}).fit(train)
        better = score(alone.predict(test), test.targets)["mae_arousal"]
        assert score(fusion.predict(test), test.targets)["mae_arousal"] < better - 1
    # What knows nothing may add a thousandth of the error now and then.
    assert np.mean(np.array(others) == 0) >= 0.9


def test_what_lasts_is_smoothed_and_what_flickers_is_not(rng):
    samples = make_samples(rng, n_people=8, lengths=(40,) * 5, effect=3.0)
    assert (ResidualFusion().fit(samples).width_known_s_ == 1).all()
    level = rng.normal(size=(samples.trials.max() + 1, 2))[samples.trials]
    noisy = samples.features.copy()
    noisy[:, :2] = level + 2 * rng.normal(size=level.shape)
    lasting = replace(
        samples,
        features=noisy,
        targets=np.clip(128 + 20 * level, 1, 255),
    )
    assert (ResidualFusion().fit(lasting).width_known_s_ >= 15).all()


def test_causal_smoothing_looks_back_alone(rng):
    samples = make_samples(rng, n_people=6, lengths=(40,) * 4, effect=1.0)
    for phase, is_changed in (("zero", True), ("causal", False)):
        fusion = ResidualFusion(phase=phase).fit(samples)
        fusion.gain_known_ = np.ones((1, 2))
        fusion.width_known_s_ = np.full(2, 15.0)
        early = samples.seconds < 20
        features = np.where(early[:, None], samples.features, np.float32(0))
        answers = [
            fusion.predict(replace(samples, features=own))[early]
            for own in (samples.features, features)
        ]
        assert (answers[0] != answers[1]).any() == is_changed
    with pytest.raises(InputError, match="phase='x' is none of zero, causal"):
        ResidualFusion(phase="x").fit(samples)


def test_models_without_signals_are_left_out(rng, caplog):
    samples = make_mixed(rng, n_people=4, lengths=(10,) * 4, effect=1.0)
    samples = replace(
        samples,
        features=rng.normal(size=(len(samples), 2)).astype(np.float32),
        feature_names=("a", "b"),
    )
    parts = {"bandpower": SignalModel(), "riemannian": RiemannianRegressor()}
    both = ResidualFusion(parts).fit(samples)
    assert list(both.models_) == ["bandpower", "riemannian"]
    assert both.needs == RiemannianRegressor().needs
    assert both.feature_names_ == ("a", "b")
    both.gain_known_ = both.gain_new_ = np.full((2, 2), 0.5)
    for missing in (
        {"blocks": {}},
        {"features": np.full_like(samples.features, np.nan)},
    ):
        assert np.isfinite(both.predict(replace(samples, **missing))).all()
    nothing = replace(
        samples, blocks={}, features=np.full_like(samples.features, np.nan)
    )
    np.testing.assert_array_equal(both.predict(nothing), both.prior_.predict(samples))
    assert not caplog.records
    one = ResidualFusion(parts).fit(replace(samples, blocks={}))
    assert list(one.models_) == ["bandpower"]
    assert "riemannian has no signals to learn from" in caplog.text
    none = ResidualFusion(parts).fit(nothing)
    assert not none.models_
    np.testing.assert_array_equal(none.predict(samples), none.prior_.predict(samples))


def test_trials_without_features_are_the_prior(rng):
    samples = make_samples(rng, effect=2.0)
    fusion = ResidualFusion().fit(samples)
    rows = np.flatnonzero(samples.trials % 3 == 0)
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
    assert np.isfinite(fusion.inner_mae_new_).all()
    assert np.isnan(fusion.inner_mae_known_).all()
    assert np.isfinite(fusion.predict(samples)).all()


def test_too_few_groups_leave_the_prior(rng):
    samples = make_samples(rng, n_people=2, lengths=(20, 20), effect=3.0)
    fusion = ResidualFusion().fit(samples)
    np.testing.assert_array_equal(
        fusion.predict(samples), fusion.prior_.predict(samples)
    )
    assert np.isnan(fusion.inner_mae_).all()
    assert tell_gains([fusion.facts])[0] == (
        "valence, known videos: too little to judge by, so the prior alone answers"
    )


def test_more_columns_than_rows(rng):
    samples = make_samples(rng, n_people=3, lengths=(8, 8), n_features=80, effect=3.0)
    assert np.isfinite(ResidualFusion().fit(samples).predict(samples)).all()


def test_bad_arguments_are_refused(rng):
    with pytest.raises(InputError, match="gains must not be negative"):
        ResidualFusion(gains=(-1.0,)).fit(make_samples(rng))
    with pytest.raises(InputError, match="n_folds must be at least 3, got 2"):
        ResidualFusion(n_folds=2).fit(make_samples(rng))
    with pytest.raises(InputError, match="widths_s must be seconds"):
        ResidualFusion(widths_s=(-1.0,)).fit(make_samples(rng))
    with pytest.raises(InputError, match=r"'a\.b' cannot be the name of a model"):
        ResidualFusion({"a.b": SignalModel()}).fit(make_samples(rng))
    with pytest.raises(InputError, match="have no features"):
        ResidualFusion().fit(make_samples(rng, n_features=0))


def test_defaults_are_those_of_the_configuration():
    config = ModelConfig()
    fusion = ResidualFusion()
    assert fusion.gains == config.gains
    assert fusion.widths_s == config.fusion.widths_s
    assert fusion.n_folds == RidgeRegressor().n_folds == config.inner_folds
    assert RidgeRegressor().alphas == config.alphas


# Planted courses, as if signals showed them plainly


def plain_signals(world, n_people, rng):
    """The courses of the sources beside noise, in place of features."""
    pairs = [(p, v) for p in range(n_people) for v in range(len(world.video_s))]
    lengths = [world.video_s[v] for _, v in pairs]
    courses = np.concatenate([world.courses(p, v).T for p, v in pairs])
    features = np.hstack([courses, rng.normal(size=courses.shape)])
    return Samples(
        people=np.repeat([f"test_{p + 1}" for p, _ in pairs], lengths),
        stimuli=np.repeat([world.stimuli[v] for _, v in pairs], lengths),
        seconds=np.concatenate([np.arange(n) for n in lengths]),
        features=features.astype(np.float32),
        feature_names=tuple("abcdefgh"),
        targets=np.concatenate([world.targets(p, v) for p, v in pairs]),
    )


@pytest.mark.parametrize("coupling", [0.0, 1.0])
@pytest.mark.parametrize("protocol", ["people", "videos"])
def test_what_was_planted_is_added_and_nothing_else(rng, protocol, coupling):
    world = World(0, coupling, video_s=(40,) * 10)
    samples = plain_signals(world, 10, rng)
    prior, fused = np.empty((2, *samples.targets.shape))
    for fold in folds(
        protocol, samples.people, samples.stimuli, seed=0, emotions=world.emotions
    ):
        fusion = ResidualFusion().fit(samples.take(fold.train))
        test = samples.take(fold.test)
        prior[fold.test] = fusion.prior_.predict(test)
        fused[fold.test] = fusion.predict(test)
    prior_mae, mae = (score(x, samples.targets)["mae"] for x in (prior, fused))
    if coupling == 0:
        assert abs(mae - prior_mae) <= 0.05
        return
    names = list(dict.fromkeys(samples.people.tolist()))
    options = {"seed": 0, "width_s": 0, "protocols": [protocol]}
    best = score_oracle_fusion(world, names, **options)[protocol]["mae"]
    assert prior_mae - mae >= 0.6 * (prior_mae - best) > 1


# Sentences


def told(gain, width_s=(15.0, 15.0), error=(10.0, 20.0)):
    """Facts of one fold, with the same for known and new stimuli."""
    part = {
        "gain": gain,
        "width_s": list(width_s),
        "inner_mae": list(error),
        "prior_inner_mae": [12.0, 20.0],
    }
    return {"known": part, "new": dict(part)}


def test_sentences_say_what_is_added():
    facts = told({"bandpower": [0.6, 0.0], "riemannian": [0.2, 0.0]})
    assert tell_gains([facts], kinds=["known"]) == (
        "valence, known videos: 0.6 of bandpower + 0.2 of riemannian, smoothed over "
        "15 s, MAE 12.0 -> 10.0 in held-out training data",
        "arousal, known videos: the signals add nothing, so the prior alone answers",
    )
    assert len(tell_gains([facts])) == 4


def test_sentences_say_what_needs_no_signals():
    facts = told({"bandpower": [0.0, 0.0]})
    facts["known"]["shrinkage"] = [0.02, 0.05]
    other = told({"bandpower": [0.0, 0.0]})
    other["known"]["shrinkage"] = [0.04, 0.09]
    sentences = tell_gains([facts, other], kinds=["known"])
    assert sentences[-1] == (
        "prior, known videos: drawn 3% (valence) and 7% (arousal) to the median; "
        "needs no signals"
    )
    assert len(tell_gains([facts, other], kinds=["new"])) == 2


def test_sentences_average_over_folds():
    facts = [told({"a": [1.0, 1.0]}), told({"a": [0.0, 0.5]}, width_s=(1.0, 1.0))]
    valence, arousal = tell_gains(facts, kinds=["new"])
    assert valence == (
        "valence, new videos: 0.5 of a, smoothed over 15 s, MAE 12.0 -> 10.0 in "
        "held-out training data (means of 2 folds, nothing in 1)"
    )
    assert "0.75 of a, smoothed over 1 to 15 s" in arousal


def test_other_models_have_no_sentences():
    assert tell_gains([{"alpha": [1.0, 1.0]}, {}]) == ()
