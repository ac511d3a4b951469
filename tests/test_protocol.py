import json

import numpy as np
import pytest
from tables import make_samples, scrambled

from merps.errors import InputError
from merps.evaluation.protocol import RUNGS, evaluate, plan_folds
from merps.models.fusion import ResidualFusion
from merps.models.priors import ConstantPrior, VideoTimePrior
from merps.models.regression import RidgeRegressor
from merps.models.signals import SignalModel
from merps.scores import per_trial, score
from merps.splits import PROTOCOLS, folds

ALPHAS = (1e-1, 1e1, 1e3)
MODELS = {
    "bandpower": SignalModel,
    "fusion": lambda: ResidualFusion(
        {"bandpower": SignalModel(RidgeRegressor(ALPHAS))}, n_folds=3
    ),
}


def run(samples, protocols=PROTOCOLS, models=MODELS, **options):
    return evaluate(samples, models, protocols, **{"seed": 0, "jobs": 1} | options)


@pytest.fixture
def samples(rng):
    return make_samples(
        rng, n_people=5, lengths=(12, 9, 10, 11), effect=1.5, missing=0.05
    )


@pytest.fixture(scope="module")
def evaluated():
    table = make_samples(np.random.default_rng(1), n_people=9, effect=1.5, missing=0.05)
    return table, run(table)


def test_every_sample_is_predicted_by_every_model(evaluated):
    _, results = evaluated
    assert [result.protocol for result in results] == list(PROTOCOLS)
    for result in results:
        assert list(result.predictions) == [*RUNGS, *MODELS]
        for predicted in result.predictions.values():
            assert np.isfinite(predicted).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_predictions_are_out_of_fold(samples, protocol):
    (result,) = run(samples, [protocol], {})
    for fold in folds(protocol, samples.people, samples.stimuli, seed=0):
        train, test = samples.take(fold.train), samples.take(fold.test)
        for name, make in RUNGS.items():
            expected = make().fit(train).predict(test)
            np.testing.assert_array_equal(result.predictions[name][fold.test], expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scrambled_test_rows_change_nothing_that_was_fitted(samples, protocol, rng):
    fold = folds(protocol, samples.people, samples.stimuli, seed=0)[1]
    (before,) = run(samples, [protocol])
    (after,) = run(scrambled(samples, fold.test, rng), [protocol])
    for name in RUNGS:  # they see neither test signals nor test labels
        np.testing.assert_array_equal(
            before.predictions[name][fold.test], after.predictions[name][fold.test]
        )
    for name in MODELS:  # fitted on the same, asked about noise
        assert before.facts[name][fold.name] == after.facts[name][fold.name]


def test_models_do_not_get_test_labels(samples):
    class Spy(ConstantPrior):
        def predict(self, test):
            assert test.targets is None
            return super().predict(test)

    run(samples, models={"spy": Spy})


def test_jobs_and_order_of_rows_change_nothing(samples, rng):
    protocols = ["people", "both"]
    expected = run(samples, protocols)
    for one, other in zip(expected, run(samples, protocols, jobs=3), strict=True):
        assert one.manifest_sha256 == other.manifest_sha256
        assert one.facts == other.facts
        for name, predicted in one.predictions.items():
            np.testing.assert_array_equal(predicted, other.predictions[name])
    order = rng.permutation(len(samples))
    again = run(samples.take(order), protocols)
    for one, other in zip(expected, again, strict=True):
        assert one.manifest_sha256 == other.manifest_sha256
        for name, predicted in one.predictions.items():
            np.testing.assert_allclose(
                predicted[order], other.predictions[name], rtol=1e-12
            )


def test_manifest_names_both_sides(samples):
    (result,) = run(samples, ["both"], {})
    assert len(result.manifest) == 5 * 4
    for entry in result.manifest:
        assert not set(entry["train_people"]) & set(entry["test_people"])
        assert not set(entry["train_stimuli"]) & set(entry["test_stimuli"])
    assert sum(entry["n_test"] for entry in result.manifest) == len(samples)
    assert json.loads(json.dumps(result.manifest)) == list(result.manifest)
    (other,) = run(samples, ["both"], {}, seed=1)
    assert other.manifest_sha256 != result.manifest_sha256


def test_facts_tell_what_was_chosen(evaluated):
    result = evaluated[1][0]
    assert result.facts.keys() == MODELS.keys()
    for facts in result.facts["fusion"].values():
        assert facts.keys() == {"models", "known", "new"}
        assert facts["models"]["bandpower"].keys() == {"alpha", "inner_mae"}
        assert len(facts["known"]["gain"]["bandpower"]) == 2


def test_scores_are_those_of_the_predictions(samples):
    (result,) = run(samples, ["people"], {})
    predicted = result.predictions["video"]
    assert result.scores(samples)["video"] == score(predicted, samples.targets)
    expected = per_trial(predicted, samples.targets, samples.trials)
    assert result.trial_scores(samples)["video"] == expected


def test_ladder_of_known_effects(evaluated):
    samples, results = evaluated
    by_protocol = {result.protocol: result.scores(samples) for result in results}
    people, both = by_protocol["people"], by_protocol["both"]
    assert (
        people["fusion"]["mae"] < people["video_time"]["mae"] < people["video"]["mae"]
    )
    assert people["video"]["mae"] < people["constant"]["mae"]
    assert both["video"] == both["video_time"] == both["constant"]


def test_the_plan_is_fixed_by_names_and_seed(samples):
    tasks = plan_folds(samples, ["a", "b"], ["people", "videos"], seed=0)
    assert [(t.fold.protocol, t.fold.name, t.model) for t in tasks] == [
        (protocol, fold.name, model)
        for protocol in ("people", "videos")
        for fold in folds(protocol, samples.people, samples.stimuli, seed=0)
        for model in ("a", "b")
    ]
    labels = samples.with_targets(256 - samples.targets)
    again = plan_folds(labels, ["a", "b"], ["people", "videos"], seed=0)
    assert [task.entry for task in again] == [task.entry for task in tasks]


def test_what_cannot_be_evaluated_is_refused(samples):
    with pytest.raises(InputError, match="unknown protocol"):
        run(samples, ["future"])
    unlabeled = samples.targets.copy()
    unlabeled[3, 1] = np.nan
    with pytest.raises(InputError, match="labels are missing"):
        run(samples.with_targets(unlabeled))
    even = {"even": lambda: VideoTimePrior(smoothing_s=2)}
    with pytest.raises(InputError, match=r"protocol people, fold .*smoothing_s=2"):
        run(samples, ["people"], even)
