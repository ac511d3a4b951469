import numpy as np
import pytest

from merps.errors import InputError
from merps.evaluation.permutation import permutation_test
from merps.scores import score


def make(rng, *, n_people=6, lengths=(12, 9, 15, 10), effect=0.0, offset=0.0):
    """Trials at different levels, and predictions that know `effect` of these."""
    n = n_people * sum(lengths)
    people = np.repeat([f"test_{p}" for p in range(n_people)], sum(lengths))
    stimuli = np.tile(
        np.repeat([f"V{k:02d}" for k in range(len(lengths))], lengths), n_people
    )
    trials = np.unique(np.char.add(people, stimuli), return_inverse=True)[1]
    levels = 40 * rng.normal(size=(trials.max() + 1, 2))[trials]
    own = offset * np.repeat(rng.normal(size=(n_people, 2)), sum(lengths), axis=0)
    targets = np.clip(
        np.rint(128 + own + levels + 10 * rng.normal(size=(n, 2))), 1, 255
    )
    noise = 40 * rng.normal(size=(trials.max() + 1, 2))[trials]
    predictions = 128 + own + effect * levels + (1 - effect) * noise
    return predictions, targets, people, stimuli


def p_values(data, **options):
    return permutation_test(*data, **{"n_permutations": 99, "seed": 0} | options)


def test_what_is_planted_is_found_and_noise_is_not(rng):
    found = p_values(make(rng, effect=0.8))
    assert found == {"mae": 0.01, "ccc": 0.01, "pearson": 0.01}
    assert min(p_values(make(rng)).values()) > 0.01


def test_p_values_of_noise_are_uniform(rng):
    found = [
        p_values(make(rng, n_people=3, offset=20.0), n_permutations=49, seed=k)["mae"]
        for k in range(150)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.09)
    for level in (0.1, 0.3):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.09)


def test_offsets_of_people_count_for_nothing(rng):
    _, targets, people, stimuli = make(rng, offset=60.0)
    names = np.unique(people, return_inverse=True)[1]
    means = np.array([targets[names == k].mean(axis=0) for k in range(6)])
    constant = means[names]
    assert score(constant, targets)["pearson"] > 0.5
    assert set(p_values((constant, targets, people, stimuli)).values()) == {1.0}


def test_it_is_the_share_of_all_deals_that_score_as_well(rng):
    predictions, targets, people, stimuli = make(
        rng, n_people=1, lengths=(6, 4), effect=0.9
    )
    stretched = [np.arange(6) * 4 // 6 + 6, np.arange(4) * 6 // 4]
    swapped = predictions[np.concatenate(stretched)]
    better = score(predictions, targets)["mae"] < score(swapped, targets)["mae"]
    found = p_values((predictions, targets, people, stimuli), n_permutations=400)
    # Half of the deals of two trials are the identity.
    assert found["mae"] == (pytest.approx(0.5, abs=0.08) if better else 1.0)


def test_bad_arguments_are_refused(rng):
    predictions, targets, people, stimuli = make(rng)
    with pytest.raises(InputError, match="nobody has two trials"):
        p_values((predictions, targets, people, np.full(len(people), "V01")))
    with pytest.raises(InputError, match="n_permutations=0"):
        p_values((predictions, targets, people, stimuli), n_permutations=0)
    with pytest.raises(InputError, match="not finite"):
        p_values((np.full_like(predictions, np.nan), targets, people, stimuli))
