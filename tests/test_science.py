"""What the main job finds in 24 simulated people, and what it does not."""

import pytest

import merps

pytestmark = pytest.mark.slow

_PEOPLE = 24


def evaluate(tmp_path, coupling):
    """Run the main job; return its scores and the oracle's."""
    data, store = tmp_path / "data", tmp_path / "store"
    simulation = merps.simulate_dataset(data, people=_PEOPLE, coupling=coupling)
    done = merps.preprocess_dataset(data, store)
    assert len(done.done) == _PEOPLE
    assert not done.failed
    evaluation = merps.evaluate_model(store, protocols=["people", "both"])
    return evaluation.scores, simulation.oracle


def test_nothing_is_found_where_nothing_was_planted(tmp_path):
    scores, _ = evaluate(tmp_path, coupling=0.0)
    people, both = scores["people"], scores["both"]
    assert 44 <= people["constant"]["mae"] <= 49
    assert 31 <= people["video"]["mae"] <= 36
    assert 26 <= people["video_time"]["mae"] <= 31
    for name in ("bandpower", "riemannian"):
        assert both[name]["mae"] >= both["constant"]["mae"] - 0.3
    for name in ("people", "both"):
        assert scores[name]["fusion"]["mae"] <= scores[name]["video_time"]["mae"] + 0.1


def test_what_was_planted_is_found(tmp_path):
    scores, oracle = evaluate(tmp_path, coupling=1.0)
    both = scores["both"]
    assert 0.44 <= oracle["both"]["pearson"] <= 0.56
    assert both["bandpower"]["pearson"] >= 0.6 * oracle["both"]["pearson"]
    assert both["riemannian"]["pearson"] >= 0.8 * oracle["both"]["pearson"]
    assert both["riemannian"]["pearson"] > both["bandpower"]["pearson"]
    for name in ("people", "both"):
        assert scores[name]["fusion"]["mae"] < scores[name]["video_time"]["mae"] - 1
