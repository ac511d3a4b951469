"""What the main job finds in 24 simulated people, and what it does not."""

import numpy as np
import pytest

import merps

pytestmark = pytest.mark.slow

_PEOPLE = 24
_MODELS = ("bandpower", "riemannian", "fixed_blend", "fusion")


def evaluate(tmp_path, coupling):
    """Run the main job; return the evaluation and what was planted."""
    data, store = tmp_path / "data", tmp_path / "store"
    simulation = merps.simulate_dataset(data, people=_PEOPLE, coupling=coupling)
    done = merps.preprocess_dataset(data, store)
    assert len(done.done) == _PEOPLE
    assert not done.failed
    evaluation = merps.evaluate_model(
        store, models=_MODELS, protocols=["people", "both"]
    )
    return evaluation, simulation


def test_nothing_is_found_where_nothing_was_planted(tmp_path):
    evaluation, _ = evaluate(tmp_path, coupling=0.0)
    scores = evaluation.scores
    people, both = scores["people"], scores["both"]
    assert 44 <= people["constant"]["mae"] <= 49
    assert 31 <= people["video"]["mae"] <= 36
    assert 26 <= people["video_time"]["mae"] <= 31
    for name in ("bandpower", "riemannian"):
        assert both[name]["mae"] >= both["constant"]["mae"] - 0.3
    for name in ("people", "both"):
        fusion = scores[name]["fusion"]["mae"]
        assert abs(fusion - scores[name]["video_time"]["mae"]) <= 0.05
        # Both draw the prior towards the median, the blend by weights that are given.
        assert fusion <= scores[name]["fixed_blend"]["mae"] + 0.02
    for result in evaluation.results:
        gains = [
            facts[kind]["gain"][model]
            for facts in result.facts["fusion"].values()
            for kind in ("known", "new")
            for model in ("bandpower", "riemannian")
        ]
        assert np.mean(np.array(gains) == 0) > 0.9


def test_what_was_planted_is_found(tmp_path):
    evaluation, simulation = evaluate(tmp_path, coupling=1.0)
    scores, oracle = evaluation.scores, simulation.oracle
    both = scores["both"]
    assert 0.44 <= oracle["both"]["pearson"] <= 0.56
    assert both["bandpower"]["pearson"] >= 0.6 * oracle["both"]["pearson"]
    best = max(both[name]["pearson"] for name in _MODELS)
    assert best >= 0.8 * oracle["both"]["pearson"]
    assert both["riemannian"]["pearson"] > both["bandpower"]["pearson"]
    for name in ("people", "both"):
        prior = scores[name]["video_time"]["mae"]
        possible = prior - simulation.oracle_fusion[name]["mae"]
        assert prior - scores[name]["fusion"]["mae"] >= 0.6 * possible > 1
