import csv
import io
import json

import numpy as np
import pytest
from tables import make_samples

from merps.evaluation.protocol import RUNGS, evaluate
from merps.evaluation.uncertainty import bootstrap_people, compare_models
from merps.models.fusion import ResidualFusion
from merps.models.regression import RidgeRegressor
from merps.models.signals import SignalModel
from merps.options import EvaluateConfig
from merps.pipeline.comparison import compare, comparison_files
from merps.scores import score

OPTIONS = EvaluateConfig(bootstrap=80, seed=3)
MODELS = {
    "bandpower": SignalModel,
    "fusion": lambda: ResidualFusion(
        {"bandpower": SignalModel(RidgeRegressor((1.0, 100.0)))}, n_folds=3
    ),
}


@pytest.fixture(scope="module")
def compared():
    """Two protocols of people whose signals tell how they differ from the others."""
    samples = make_samples(np.random.default_rng(4), n_people=9, effect=1.5)
    results = evaluate(samples, MODELS, ["people", "both"], seed=0, jobs=1)
    return samples, results, {r.protocol: compare(r, samples, OPTIONS) for r in results}


def test_the_best_rung_is_what_has_the_lowest_error(compared):
    samples, results, found = compared
    assert found["people"].best_rung == "video_time"
    assert found["both"].best_rung == "constant"  # equal to the others, and the first
    for result in results:
        best = found[result.protocol].best_rung
        maes = {name: m["mae"] for name, m in result.scores(samples).items()}
        assert maes[best] == min(maes[name] for name in RUNGS)


def test_differences_are_those_to_the_best_rung(compared):
    samples, (people, _), found = compared
    assert found["people"].models["video_time"].difference == {}
    fused = found["people"].models["fusion"].difference
    expected = compare_models(
        people.predictions["fusion"],
        people.predictions["video_time"],
        samples.targets,
        samples.people,
        samples.stimuli,
        n_resamples=80,
        seed=3,
    )
    assert fused == {name: expected[name] for name in fused}
    assert fused["mae"].high < 0
    assert fused["mae"].p < 0.05
    assert found["people"].models["bandpower"].difference["mae"].value > 0


def test_a_constant_adds_nothing_and_signals_do(compared):
    _, results, found = compared
    for result in results:
        models = found[result.protocol].models
        assert models["constant"].added["pearson_added"] == 0
        assert models["fusion"].added["pearson_added"] > 0.2
        assert (
            models["fusion"].permutation["mae"] <= models["constant"].permutation["mae"]
        )
    assert found["both"].models["constant"].permutation["mae"] == 1


def test_people_and_videos_are_listed(compared):
    samples, (people, _), found = compared
    model = found["people"].models["fusion"]
    assert model.people.errors.keys() == set(samples.people.tolist())
    assert model.videos.errors.keys() == set(samples.stimuli.tolist())
    own = samples.people == model.people.worst
    error = score(people.predictions["fusion"][own], samples.targets[own])["mae"]
    assert model.people.errors[model.people.worst] == error
    assert error == max(model.people.errors.values())


def test_files_say_what_the_objects_say(compared):
    samples, results, found = compared
    scores = {r.protocol: r.scores(samples) for r in results}
    intervals = {
        r.protocol: {
            name: bootstrap_people(
                made, samples.targets, samples.people, n_resamples=80, seed=3
            )
            for name, made in r.predictions.items()
        }
        for r in results
    }
    files = comparison_files(scores, intervals, found)
    content = json.loads(files["comparison.json"], parse_constant=pytest.fail)
    assert content.keys() == {"people", "both"}
    one = content["people"]["models"]["fusion"]
    assert one["scores"]["mae"] == scores["people"]["fusion"]["mae"]
    assert one["scores"]["pearson_added"] > 0
    assert one["interval"]["mae"][0] == intervals["people"]["fusion"]["mae"].low
    assert one["difference"]["mae"].keys() == {"value", "low", "high", "p"}
    assert one["people"].keys() == {"mae", "median", "quartiles", "worst"}
    assert content["both"]["models"]["constant"]["calibration"]["valence"]["levels"]
    tables = {
        name: list(csv.DictReader(io.StringIO(text)))
        for name, text in files.items()
        if name.endswith(".csv")
    }
    lines = tables["comparison.csv"]
    assert [(line["protocol"], line["model"]) for line in lines] == [
        (protocol, name) for protocol in scores for name in (*RUNGS, *MODELS)
    ]
    assert [line["uses_signals"] for line in lines[:5]] == ["no"] * 3 + ["yes"] * 2
    assert float(lines[4]["mae"]) == scores["people"]["fusion"]["mae"]
    assert float(lines[4]["difference_p"]) == one["difference"]["mae"]["p"]
    assert lines[2]["difference"] == ""
    assert len(tables["spread.csv"]) == 2 * 5 * (9 + 5)
    counts = sum(int(line["count"]) for line in tables["calibration.csv"])
    assert counts == 2 * 5 * 2 * len(samples)


def test_one_person_or_no_draws_leave_the_tests_out(rng):
    for n_people, bootstrap in ((1, 80), (3, 0)):
        samples = make_samples(rng, n_people=n_people, lengths=(6, 7, 5))
        (result,) = evaluate(samples, {}, ["videos"], seed=0, jobs=1)
        options = EvaluateConfig(bootstrap=bootstrap)
        found = compare(result, samples, options)
        assert all(model.difference == {} for model in found.models.values())
        has_test = bootstrap > 0  # of one person's trials, too
        assert bool(found.models["video"].permutation) == has_test
        files = comparison_files(
            {"videos": result.scores(samples)}, {"videos": {}}, {"videos": found}
        )
        (line, *_) = csv.DictReader(io.StringIO(files["comparison.csv"]))
        assert (line["mae_low"], line["difference"]) == ("", "")
