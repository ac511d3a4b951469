import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import make_samples, shuffled

from merps.errors import InputError
from merps.samples import (
    Block,
    Samples,
    format_sample_id,
    natural_order,
    parse_sample_id,
    samples_of_ids,
)

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def table(n=3, **changes):
    columns = {
        "people": np.array(["test_1"] * n),
        "stimuli": np.array(["V01"] * n),
        "seconds": np.arange(n),
        "features": np.zeros((n, 2), np.float32),
        "feature_names": ("a", "b"),
        "targets": np.full((n, 2), 128.0),
    }
    return Samples(**(columns | changes))


@pytest.fixture
def unchecked():
    """Lengths as in production, where no hook compares them first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "column",
    [
        {"people": np.array(["test_1"] * 2)},
        {"stimuli": np.array(["V01"] * 2)},
        {"seconds": np.arange(2)},
        {"features": np.zeros((2, 2))},
        {"targets": np.zeros((2, 2))},
    ],
)
def test_columns_must_be_of_one_length(column):
    with pytest.raises(InputError, match=r"differ in length: \[2, 3\]"):
        table(**column)


def test_each_feature_has_a_name():
    with pytest.raises(InputError, match="1 feature names for 2 feature columns"):
        table(feature_names=("a",))


def test_there_may_be_no_features_and_no_rows():
    assert len(table(features=np.empty((3, 0)), feature_names=())) == 3
    empty = table(0)
    assert len(empty) == 0
    assert empty.ids == []


def test_taking_rows_undoes_a_permutation(rng):
    samples = make_samples(rng, missing=0.1)
    order = rng.permutation(len(samples))
    back = samples.take(order).take(np.argsort(order))
    for column in ("people", "stimuli", "seconds", "features", "targets"):
        np.testing.assert_array_equal(getattr(back, column), getattr(samples, column))
    assert back.feature_names == samples.feature_names


def test_taken_rows_are_the_rows_asked_for(rng):
    samples = make_samples(rng)
    rows = np.array([7, 7, 0])
    taken = samples.take(rows)
    assert taken.ids == [samples.ids[row] for row in rows]
    for k, row in enumerate(rows):
        np.testing.assert_array_equal(taken.features[k], samples.features[row])
        np.testing.assert_array_equal(taken.targets[k], samples.targets[row])
    assert len(samples.take(np.array([], dtype=int))) == 0


def test_rows_without_targets_can_be_taken_but_not_fitted(rng):
    unlabeled = table(targets=None).take(np.array([1]))
    assert unlabeled.targets is None
    with pytest.raises(InputError, match="no targets to fit or score on"):
        unlabeled.require_targets()


def test_other_targets_leave_the_table_alone(rng):
    samples = make_samples(rng)
    before = samples.targets.copy()
    other = samples.with_targets(samples.targets - 128)
    np.testing.assert_array_equal(other.require_targets(), before - 128)
    np.testing.assert_array_equal(samples.require_targets(), before)
    assert other.features is samples.features


@pytest.mark.usefixtures("unchecked")
def test_other_targets_must_be_as_many():
    with pytest.raises(InputError, match="differ in length"):
        table().with_targets(np.zeros((1, 2)))


def test_trials_number_person_and_stimulus_together(rng):
    samples = shuffled(make_samples(rng), rng)
    names = list(zip(samples.people, samples.stimuli, strict=True))
    number_of = dict(zip(names, samples.trials, strict=True))
    assert sorted(number_of.values()) == list(range(len(set(names))))
    assert [number_of[name] for name in names] == samples.trials.tolist()


def test_trials_do_not_mix_names_that_run_into_each_other():
    people, stimuli = np.array(["a", "aV01"]), np.array(["V01V01", "V01"])
    assert len(set(table(2, people=people, stimuli=stimuli).trials)) == 2


@given(person=NAMES, video=st.integers(0, 99), second=st.integers(0, 999))
def test_ids_can_be_read_back(person, video, second):
    text = format_sample_id(person, f"V{video:02d}", second)
    assert parse_sample_id(text) == (person, f"V{video:02d}", second)


def test_ids_are_those_of_the_challenge():
    assert format_sample_id("predict1", "V01", 0) == "predict1_V01_T000"
    assert table().ids == [f"test_1_V01_T00{k}" for k in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "predict1",
        "predict1_V1_T000",
        "predict1_V01_T00",
        "predict1_V01_T0000",
        "predict1_V01_t000",
        "predict1_V01_T000 ",
        "predict1_V01_T000\n",
        "_V01_T000",
        "../x_V01_T000",
        "é_V01_T000",
        "predict1_V\u0660\u0661_T000",
        "p" * 65 + "_V01_T000",
    ],
)
def test_other_ids_are_refused(text):
    with pytest.raises(InputError, match="is not of the form"):
        parse_sample_id(text)


def test_a_long_id_is_quoted_in_part():
    with pytest.raises(InputError) as caught:
        parse_sample_id("x" * 10_000)
    assert len(str(caught.value)) < 250


def test_people_come_in_natural_order():
    names = ["test_10", "test_2", "a", "a1", "1", "b"]
    assert sorted(names, key=natural_order) == [
        "1",
        "a",
        "a1",
        "b",
        "test_2",
        "test_10",
    ]


def test_ids_make_samples_and_back():
    ids = ["predict1_V01_T000", "a_b-3_V15_T169"]
    samples = samples_of_ids(ids)
    assert samples.ids == ids
    assert samples.features.shape == (2, 0)
    assert samples.targets is None
    assert len(samples_of_ids([])) == 0
    with pytest.raises(InputError, match="V1_T0"):
        samples_of_ids(["predict1_V1_T0"])


class StoredRows:
    """An array as the source of a block."""

    def __init__(self, values):
        self.values = values

    def gather(self, rows):
        return self.values[rows]


def test_blocks_follow_their_samples():
    source = StoredRows(np.arange(12.0).reshape(6, 2))
    block = Block(source, np.array([5, -1, 0, 2]))
    taken = table(4, blocks={"eeg": block}).take(np.array([3, 0, 1]))
    block = taken.require_block("eeg")
    assert block.source is source
    np.testing.assert_array_equal(block.rows, [2, 5, -1])
    np.testing.assert_array_equal(source.gather(block.rows[:2]), [[4, 5], [10, 11]])


@pytest.mark.usefixtures("unchecked")
def test_a_block_needs_a_row_for_each_sample():
    block = Block(StoredRows(np.ones((4, 2))), np.arange(3))
    with pytest.raises(InputError, match="differ in length"):
        table(4, blocks={"eeg": block})


def test_an_absent_block_is_told_by_name():
    block = Block(StoredRows(np.ones((4, 2))), np.arange(4))
    with pytest.raises(InputError, match="no fnirs, only eeg"):
        table(4, blocks={"eeg": block}).require_block("fnirs")
