import numpy as np
import pytest
from tables import make_samples
from test_signals import blanked

from merps.errors import InputError
from merps.models.blend import FixedBlend
from merps.models.priors import VideoTimePrior
from merps.models.regression import HuberRegressor
from merps.models.signals import SignalModel
from merps.options import BlendConfig
from merps.pipeline import make_model


def test_it_is_the_weighted_mean_of_prior_and_models(rng):
    samples = make_samples(rng, effect=1.0, missing=0.1)
    parts = {"ridge": SignalModel(), "huber": SignalModel(HuberRegressor())}
    blend = FixedBlend(parts, weights=(0.75, 0.5), smoothing_s=3).fit(samples)
    prior = VideoTimePrior(3).fit(samples).predict(samples)
    ridge = SignalModel().fit(samples).predict(samples)
    huber = SignalModel(HuberRegressor()).fit(samples).predict(samples)
    signals = (ridge + huber) / 2
    actual = blend.predict(samples)
    np.testing.assert_allclose(actual[:, 0], 0.75 * prior[:, 0] + 0.25 * signals[:, 0])
    np.testing.assert_allclose(actual[:, 1], 0.5 * prior[:, 1] + 0.5 * signals[:, 1])


def test_weights_of_one_leave_the_prior(rng):
    samples = make_samples(rng)
    blend = FixedBlend(weights=(1.0, 1.0)).fit(samples)
    prior = VideoTimePrior().fit(samples).predict(samples)
    np.testing.assert_array_equal(blend.predict(samples), prior)


def test_without_signals_it_answers(rng, caplog):
    samples = make_samples(rng)
    blend = FixedBlend().fit(samples)
    rows = np.arange(0, len(samples), 2)
    assert np.isfinite(blend.predict(blanked(samples, rows))).all()
    everywhere = np.arange(len(samples))
    none = FixedBlend().fit(blanked(samples, everywhere))
    assert "has no signals to learn from" in caplog.text
    prior = VideoTimePrior().fit(samples).predict(samples)
    np.testing.assert_array_equal(none.predict(samples), prior)


def test_bad_weights_are_refused(rng):
    for weights in ((0.5,), (0.5, 1.1), (-0.1, 0.5)):
        with pytest.raises(InputError, match="weights must be two numbers"):
            FixedBlend(weights=weights).fit(make_samples(rng))


def test_the_preset_has_the_published_weights():
    blend = make_model("fixed_blend")
    assert tuple(blend.weights) == BlendConfig().weights == FixedBlend().weights
    assert blend.weights == (0.99, 0.92)
    assert list(blend.models) == ["bandpower", "riemannian"]
