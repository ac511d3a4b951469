import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import DataError, InputError, SpaceError
from merps.predictions import (
    match_predictions,
    read_predictions,
    read_rows,
    read_sample_ids,
    read_targets,
    write_predictions,
)

IDS = [f"predict{p}_V0{v}_T{t:03d}" for p in (1, 2) for v in (1, 2) for t in range(3)]


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 255), st.integers(1, 255)), min_size=1, max_size=30
    ),
    seed=st.integers(0, 99),
)
def test_reading_undoes_writing_in_any_order(tmp_path_factory, rows, seed):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    ids = [f"test_1_V01_T{t:03d}" for t in range(len(rows))]
    values = np.array(rows)
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    write_predictions(path, [ids[row] for row in shuffled], values[shuffled])
    matched = match_predictions(*read_predictions(path), expected=ids)
    np.testing.assert_array_equal(matched, values)


def test_the_file_is_what_the_challenge_asks_for(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, IDS[:2], np.array([[1.0, 255.0], [128.0, 7.0]]))
    assert path.read_bytes() == (
        b"sample_id,valence,arousal\npredict1_V01_T000,1,255\npredict1_V01_T001,128,7\n"
    )


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        (["=cmd()"], [[1, 1]], "1 ids are not of the form.*'=cmd()'"),
        (["a/b_V01_T000"], [[1, 1]], "not of the form"),
        (IDS[:1] * 2, [[1, 1], [1, 1]], "1 ids come more than once"),
        (IDS[:1], [[1, 256]], "not two numbers in 1..255: predict1_V01_T000"),
        (IDS[:1], [[0, 9]], "not two numbers in 1..255"),
        (IDS[:1], [[np.nan, 9]], r"not two numbers in 1..255.*\(nan, 9\)"),
        (IDS[:1], [[1.5, 9]], "whole numbers"),
        (IDS[:2], [[1, 9]], "2 ids for 1 rows"),
    ],
)
def test_wrong_predictions_are_not_written(tmp_path, ids, values, message):
    path = write(tmp_path / "predictions.csv", "before")
    with pytest.raises(InputError, match=message.replace("()", r"\(\)")):
        write_predictions(path, ids, np.array(values))
    assert path.read_text() == "before"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write(tmp_path / "predictions.csv", "before")

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SpaceError, match=r"predictions.csv: cannot be written: No sp"):
        write_predictions(path, IDS[:1], np.array([[1, 1]]))
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("name", ["absent/predictions.csv", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(SpaceError, match="cannot be written"):
        write_predictions(tmp_path / name, IDS[:1], np.array([[1, 1]]))


def test_all_mismatches_come_at_once(tmp_path):
    ids = [*IDS[7:], "predict9_V01_T000", IDS[8]]
    values = np.full((len(ids), 2), 128.0)
    values[0, 1] = np.inf
    values[1, 0] = 0.0
    with pytest.raises(DataError) as error:
        match_predictions(ids, values, expected=IDS, where="p.csv")
    message = str(error.value)
    assert message.startswith("p.csv: 7 ids are not answered: predict1_V01_T000, ")
    assert "predict1_V02_T001 and 2 more" in message
    assert "1 ids are not asked for: predict9_V01_T000" in message
    assert "1 ids come more than once: 'predict2_V01_T002'" in message
    assert "2 rows are not two numbers in 1..255: predict2_V01_T001 (128, inf)" in (
        message
    )


def test_byte_order_mark_blank_lines_and_more_columns_are_fine(tmp_path):
    text = "\ufeffwho, sample_id ,second\r\n\r\na,predict1_V01_T000,0\r\n,,\r\n"
    assert read_sample_ids(write(tmp_path / "s.csv", text)) == ["predict1_V01_T000"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("\n\n", "found an empty file"),
        ("sample_id\n", "found only a header"),
        ("id\nx\n", "header without sample_id: 'id'"),
        ("sample_id;v\nx;1\n", "header without sample_id: 'sample_id;v'"),
        ("sample_id,sample_id\nx,y\n", "header that repeats sample_id"),
        ("sample_id,a\nx,1\ny\n", "line 3 has 1 fields instead of 2"),
        ("sample_id\nP 1\n", "1 ids are not of the form.*'P 1'"),
        (
            f"sample_id\n{IDS[0]}\n{IDS[0]}\n=1\n",
            "not of the form.*'=1'; 1 ids come more than once",
        ),
        ('sample_id\n"unfinished', "not readable as CSV"),
        (b"sample_id\n\xff\xfe\n", "found other bytes at offset 10"),
    ],
)
def test_broken_sample_ids_give_one_message(tmp_path, text, message):
    path = write(tmp_path / "sample_ids.csv", text)
    with pytest.raises(DataError, match=message) as error:
        read_sample_ids(path)
    assert str(error.value).startswith(str(path))


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_sample_ids(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="expected a CSV file"):
        read_sample_ids(tmp_path)


def test_targets_are_numbers_on_the_scale(tmp_path):
    head = "sample_id,valence,arousal\n"
    good = write(tmp_path / "t.csv", f"{head}{IDS[0]},1,255\n{IDS[1]},3.5,4\n")
    ids, values = read_targets(good)
    assert ids == IDS[:2]
    np.testing.assert_array_equal(values, [[1, 255], [3.5, 4]])
    bad = write(tmp_path / "b.csv", f"{head}{IDS[0]},x,255\n{IDS[1]},300,4\n")
    with pytest.raises(DataError, match=r"line 2: valence is 'x'.*\(300, 4\)"):
        read_targets(bad)
    with pytest.raises(DataError, match=r"line 2: valence is .x., not a number$"):
        read_predictions(bad)


def test_rows_keep_their_line_numbers(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n\n1,2\n3,4\n")
    assert read_rows(path, columns=("b",)) == [
        (3, {"a": "1", "b": "2"}),
        (4, {"a": "3", "b": "4"}),
    ]
