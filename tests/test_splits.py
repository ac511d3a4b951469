from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.splits import (
    EMOTION_SIDES,
    MER_PS_EMOTIONS,
    PROTOCOLS,
    Fold,
    check_folds,
    folds,
)


def grid(n_people, n_stimuli, n_seconds=2):
    people = np.repeat(
        [f"test_{p + 1}" for p in range(n_people)], n_stimuli * n_seconds
    )
    stimuli = np.repeat([f"V{v + 1:02d}" for v in range(n_stimuli)], n_seconds)
    return people, np.tile(stimuli, n_people)


@given(
    protocol=st.sampled_from(PROTOCOLS),
    n_people=st.integers(2, 26),
    n_stimuli=st.integers(2, 15),
    seed=st.integers(0, 99),
)
def test_sides_share_nothing_and_each_sample_is_tested_once(
    protocol, n_people, n_stimuli, seed
):
    people, stimuli = grid(n_people, n_stimuli)
    tested = Counter()
    for fold in folds(protocol, people, stimuli, seed=seed):
        tested.update(fold.test.tolist())
        who = [set(people[rows]) for rows in (fold.train, fold.test)]
        what = [set(stimuli[rows]) for rows in (fold.train, fold.test)]
        if protocol in ("people", "both"):
            assert not who[0] & who[1]
        if protocol in ("videos", "both", "within"):
            assert not what[0] & what[1]
        if protocol == "within":
            assert who[0] == who[1]
            assert len(who[0]) == 1
        if protocol == "both":  # all that is not forbidden is trained on
            new = np.isin(people, [*who[1]]) | np.isin(stimuli, [*what[1]])
            np.testing.assert_array_equal(fold.train, np.flatnonzero(~new))
    assert tested == Counter(range(len(people)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_of_rows_does_not_matter(protocol, rng):
    people, stimuli = grid(12, 15)
    order = rng.permutation(len(people))
    emotions = dict(sorted(MER_PS_EMOTIONS.items(), reverse=True))
    first = folds(protocol, people, stimuli, seed=3, emotions=MER_PS_EMOTIONS)
    second = folds(protocol, people[order], stimuli[order], seed=3, emotions=emotions)
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.test, np.sort(order[other.test]))
        np.testing.assert_array_equal(one.train, np.sort(order[other.train]))


def test_number_of_folds():
    def count(protocol, *shape):
        return len(folds(protocol, *grid(*shape), seed=0))

    assert count("people", 8, 3) == 8
    assert count("people", 9, 3) == 6
    assert count("videos", 3, 15) == 5
    assert count("videos", 3, 4) == 4
    assert count("both", 24, 15) == 30
    assert count("within", 4, 15) == 20


def test_seed_changes_who_goes_together():
    people, stimuli = grid(24, 15)

    def parts(protocol, names, seed):
        made = folds(protocol, people, stimuli, seed=seed)
        return {frozenset(names[fold.test]) for fold in made}

    assert parts("people", people, 0) != parts("people", people, 1)
    assert parts("videos", stimuli, 0) != parts("videos", stimuli, 1)


@pytest.mark.parametrize("seed", range(5))
def test_emotions_are_dealt_out_evenly(seed):
    people, stimuli = grid(2, 15)
    assert Counter(MER_PS_EMOTIONS.values()).most_common()[0][1] == 3
    lean = 0.0
    for fold in folds("videos", people, stimuli, seed=seed, emotions=MER_PS_EMOTIONS):
        names = set(stimuli[fold.test])
        assert len(names) == len({MER_PS_EMOTIONS[name] for name in names}) == 3
        sides = [EMOTION_SIDES[MER_PS_EMOTIONS[name]] for name in names]
        lean += np.abs(np.sum(sides, axis=0)).sum()
    # Only three folds can hold a neutral video between two opposite ones.
    assert lean == 4


def test_too_few_names_are_refused_with_a_way_out():
    with pytest.raises(InputError, match=r"1 person .* videos or within"):
        folds("people", *grid(1, 5), seed=0)
    with pytest.raises(InputError, match=r"1 stimulus .* protocol people"):
        folds("both", *grid(3, 1), seed=0)
    with pytest.raises(InputError, match="unknown protocol 'time'; choose from people"):
        folds("time", *grid(3, 3), seed=0)


def test_person_with_one_video_cannot_be_tested_within():
    people, stimuli = grid(3, 5)
    kept = (people != "test_2") | (stimuli == "V01")
    with pytest.raises(InputError, match=r"test_2 .*nothing is left to train on"):
        folds("within", people[kept], stimuli[kept], seed=0)


def test_folds_that_leak_are_refused():
    people, stimuli = grid(2, 2)
    rows = np.arange(len(people))
    with pytest.raises(InputError, match="test_2 is in both"):
        check_folds([Fold("people", "x", rows[3:], rows[4:])], people, stimuli)
    with pytest.raises(InputError, match="exactly once"):
        check_folds([Fold("people", "x", rows[:4], rows[4:])], people, stimuli)
