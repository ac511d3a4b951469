import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.datasets.ratings import Ratings, per_second, read_ratings, rescale
from merps.errors import DataError


def write(path, rows, header="time,valence,arousal"):
    path.write_text("\n".join([header, *(",".join(map(str, r)) for r in rows)]))
    return path


def test_a_table_at_one_hertz_is_taken_as_it_is(tmp_path):
    rows = [(t, 100 + t, 50 - t) for t in range(5)]
    ratings = read_ratings(write(tmp_path / "a.csv", rows))
    np.testing.assert_array_equal(per_second("x", ratings), np.array(rows)[:, 1:])


@given(
    rate_hz=st.sampled_from([1.0, 2.0, 9.7, 60.0]),
    seconds=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_seconds_are_means_of_what_lies_in_them(rate_hz, seconds, seed):
    rng = np.random.default_rng(seed)
    times_s = np.arange(int(seconds * rate_hz)) / rate_hz
    values = rng.uniform(1, 255, size=(len(times_s), 2))
    found = per_second("x", Ratings(times_s, values))
    for second, row in enumerate(found):
        inside = np.floor(times_s + 1e-9) == second
        np.testing.assert_allclose(row, values[inside].mean(axis=0))
    # The order of the rows does not matter, and neither do earlier ones.
    order = rng.permutation(len(times_s))
    again = Ratings(
        np.append(times_s[order], -3.0), np.append(values[order], [[9, 9]], axis=0)
    )
    np.testing.assert_allclose(per_second("x", again), found)


def test_a_second_without_rating_is_told():
    with pytest.raises(DataError, match=r"none in second 1 \(2 such seconds of 5\)"):
        per_second("x", Ratings(np.array([0.0, 3.0, 4.0]), np.ones((3, 2))))
    with pytest.raises(DataError, match=r"expected ratings after onset"):
        per_second("x", Ratings(np.array([-2.0]), np.ones((1, 2))))


def test_other_columns_separators_and_missing_rows(tmp_path):
    path = tmp_path / "a.tsv.gz"
    text = "Onset\tVal\tAro\tnote\n0\t1\t2\tx\n1\tn/a\t2\tx\n1.5\t3\t4\t\n"
    path.write_bytes(gzip.compress(text.encode()))
    ratings = read_ratings(path, time="onset", valence="val", arousal="ARO", offset_s=2)
    np.testing.assert_array_equal(ratings.times_s, [2, 3.5])
    np.testing.assert_array_equal(ratings.values, [[1, 2], [3, 4]])


def test_rows_without_times_have_a_rate(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("5\t6\nn/a\tn/a\n7\t8\n")
    ratings = read_ratings(path, rate_hz=2.0, header=["valence", "arousal"], offset_s=1)
    np.testing.assert_array_equal(ratings.times_s, [1, 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,valence\n0,1", "expected columns time, valence, arousal"),
        ("", "found no rows"),
        (
            "time,valence,arousal\n0,1",
            "expected 3 fields in each row, found 2 in row 2",
        ),
        ("time,valence,arousal\n0,1,x", "row 2: could not convert"),
        ("time,valence,arousal\n0,1,inf", "infinite"),
        ("time,valence,arousal\n0,n/a,n/a", "found none"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_ratings(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x1f\x8b\x08broken"])
def test_files_that_are_no_text(tmp_path, content):
    path = tmp_path / ("a.csv.gz" if content[:1] == b"\x1f" else "a.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        read_ratings(path)


@given(low=st.floats(-100, 100), width=st.floats(0.1, 1000))
def test_the_ends_of_a_scale_become_1_and_255(low, width):
    values = np.array([[low, low + width / 2], [low + width, low]])
    found = rescale("x", values, (low, low + width))
    np.testing.assert_allclose(found, [[1, 128], [255, 1]], atol=1e-6)


def test_what_lies_outside_is_refused():
    values = np.array([[1.0, 9.0]])
    np.testing.assert_array_equal(rescale("x", values, None), values)
    with pytest.raises(DataError, match=r"in 1 to 5, found 1 to 9; .*targets\.scale"):
        rescale("x", values, (1.0, 5.0))
    with pytest.raises(DataError, match=r"in 1 to 255, found -1 to 1"):
        rescale("x", np.array([[-1.0, 1.0]]), None)
