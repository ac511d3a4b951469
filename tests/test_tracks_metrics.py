"""Scores of the sibling tracks against numbers worked out by hand."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import tracked
from tracked import FORMS, SYNONYMS, WHEELS, ew_score, write_toy_wheels

from merps.errors import DataError, InputError
from merps.tracks.metrics import (
    majority,
    score_classes,
    score_openset,
    score_preferences,
)
from merps.tracks.tables import EMOTIONS, parse_openset
from merps.tracks.wheels import OFFICIAL_COUNTS, read_wheels

pytest.importorskip("openpyxl")
GOLD = [("gladly",), ("odd",), ("glum",)]
SAID = [("grin", "glum"), ("odd",), ("nonsense",)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return read_wheels(write_toy_wheels(tmp_path_factory.mktemp("wheels")))


def options(n, **more):
    return {"groups": [f"g{k}" for k in range(n)], "n_resamples": 400, "seed": 0} | more


# MER-Cross


def test_waf_and_accuracy_by_hand():
    gold = ["happy", "happy", "sad", "angry"]
    said = ["happy", "sad", "sad", "happy"]
    found = score_classes(gold, said, **options(4))
    # F1: happy 1/2 (two rows), sad 2/3, angry 0
    assert found.metrics["waf"].value == pytest.approx(2 / 4 / 2 + 1 / 4 * 2 / 3)
    assert found.metrics["accuracy"].value == 0.5
    happy = EMOTIONS.index("happy")
    assert found.details["confusion"][happy] == [0, 0, 1, 1, 0, 0]
    assert (found.main, found.n) == ("waf", 4)
    low, high = found.metrics["waf"].low, found.metrics["waf"].high
    assert 0 <= low < found.metrics["waf"].value < high <= 1


def test_replicates_of_the_bootstrap_are_scores_of_the_drawn_rows(rng):
    gold = [EMOTIONS[k] for k in rng.integers(6, size=40)]
    said = [EMOTIONS[k] for k in rng.integers(6, size=40)]
    groups = [f"g{k // 4}" for k in range(40)]
    found = score_classes(gold, said, groups=groups, n_resamples=300, seed=3)
    draws = np.random.default_rng(3).multinomial(10, np.full(10, 0.1), size=300)
    values = []
    names = np.unique(groups)
    for draw in draws:
        rows = [
            row
            for name, n in zip(names, draw, strict=True)
            for row in np.flatnonzero(np.array(groups) == name).tolist() * n
        ]
        one = score_classes(
            [gold[r] for r in rows],
            [said[r] for r in rows],
            **options(len(rows)) | {"n_resamples": 1},
        )
        values.append(one.metrics["waf"].value)
    expected = np.percentile(values, (2.5, 97.5))
    interval = found.metrics["waf"]
    np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-12)


def test_unknown_labels_and_nothing_at_all_are_refused():
    with pytest.raises(InputError, match="found the label 'anger'"):
        score_classes(["happy"], ["anger"], **options(1))
    with pytest.raises(InputError, match="found no row"):
        score_classes([], [], **options(0))


# MER-Prefer


def test_ties_are_dropped_from_gold_and_count_as_a1_when_said():
    gold, said = ["a1", "a2", "same", "a2"], ["same", "a2", "a1", "a1"]
    found = score_preferences(gold, said, **options(4))
    # left: a1 said a1, a2 said a2, a2 said a1; F1 is 2/3 for both
    assert found.metrics["waf"].value == pytest.approx(2 / 3)
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert found.n == 3
    assert found.details["ties_in_gold"] == found.details["ties_in_answers"] == 1
    assert found.details["confusion"] == [[1, 0], [1, 1]]


# MER-FG


def test_ew_by_hand(wheels):
    found = score_openset(GOLD, SAID, wheels=wheels, **options(3))
    rows = found.details["wheels"]
    # wheel 1: P (1/2 + 1 + 0) / 3, R (1 + 1 + 0) / 3, F of these means
    assert [row["n"] for row in rows] == [3, 2, 2, 2, 2]
    assert (rows[0]["precision"], rows[0]["recall"]) == pytest.approx((1 / 2, 2 / 3))
    assert rows[0]["f"] == pytest.approx(4 / 7)
    # wheels 2 to 4: the second clip is on no sector; P 1/4, R 1/2
    for row in rows[1:4]:
        assert (row["precision"], row["recall"]) == pytest.approx((1 / 4, 1 / 2))
        assert row["f"] == pytest.approx(1 / 3)
    # wheel 5: both words share a sector
    assert rows[4]["f"] == pytest.approx(1 / 2)
    assert found.metrics["ew"].value == pytest.approx(29 / 70)
    assert found.metrics["precision"].value == pytest.approx(7 / 20)
    assert found.metrics["recall"].value == pytest.approx(8 / 15)
    assert ew_score(GOLD, SAID, wheels) == found.metrics["ew"].value
    assert len(found.details["sha256"]["wheel1.xlsx"]) == 64


def test_nothing_said_scores_nothing(wheels):
    found = score_openset([("glad",)], [()], wheels=wheels, **options(1))
    assert found.metrics["ew"].value == 0


def brute_force(gold, said):
    """The rule of the challenge in plain loops over the toy tables."""
    scores = []
    for rows in WHEELS:
        sector, inner, middle = {}, None, None
        for first, second, third in rows:
            inner = first.strip().lower() if first else inner
            middle = second.strip().lower() if second else middle
            for word in (inner, middle, third.strip().lower()):
                sector[word] = inner

        def find(label, sector=sector):
            label = label.lower().strip()
            bases = [
                base
                for base, forms in FORMS.items()
                if label == base or label in parse_openset(forms)
            ]
            words = []
            for base in bases:
                for word, synonyms in SYNONYMS.items():
                    if base == word or base in parse_openset(synonyms):
                        words.append(word)
            on_wheel = [word for word in sorted(words) if word in sector]
            return sector[on_wheel[0]] if on_wheel else None

        precisions, recalls = [], []
        for truth, answer in zip(gold, said, strict=True):
            wanted = {find(label) for label in truth} - {None}
            given = {find(label) for label in answer} - {None}
            if not wanted:
                continue
            hit = len(wanted & given)
            precisions.append(hit / len(given) if given else 0)
            recalls.append(hit / len(wanted) if given else 0)
        p = sum(precisions) / len(precisions) if precisions else 0
        r = sum(recalls) / len(recalls) if recalls else 0
        scores.append(2 * p * r / (p + r) if p + r else 0)
    return sum(scores) / 5


@pytest.mark.parametrize("seed", range(5))
def test_ew_equals_brute_force(wheels, seed):
    draw = random.Random(seed)
    words = ["glad", "gladly", "gladder", "glum", "glumly", "grin", "odd", "none", "up"]
    gold, said = (
        [tuple(draw.choices(words, k=draw.randint(0, 3))) for _ in range(30)]
        for _ in range(2)
    )
    assert ew_score(gold, said, wheels) == pytest.approx(brute_force(gold, said))


def test_wheels_fill_merged_cells_and_the_last_row_wins(wheels, tmp_path, monkeypatch):
    assert wheels.sectors[0]["glad"] == wheels.sectors[0]["up high"] == "up"
    assert wheels.sectors[4] == {w: "all" for w in ("all", "some", "glad", "glum")}
    assert wheels.bases["gladder"] == ("glad",)
    assert wheels.groups == {
        "glad": ("glad",),
        "grin": ("glad",),
        "glum": ("glum",),
        "odd": ("odd",),
    }
    twice = [*WHEELS[1], ("down", "deep", "glad")]
    monkeypatch.setattr(tracked, "WHEELS", [WHEELS[0], twice, *WHEELS[2:]])
    assert read_wheels(write_toy_wheels(tmp_path)).sectors[1]["glad"] == "down"


def test_an_incomplete_or_foreign_folder_of_wheels_is_refused(tmp_path):
    folder = write_toy_wheels(tmp_path / "wheels")
    (folder / "wheel3.xlsx").rename(folder / "aside.xlsx")
    with pytest.raises(
        DataError, match=r"found no wheel3\.xlsx; point data\.wheels at"
    ):
        read_wheels(folder)
    (folder / "wheel3.xlsx").write_bytes(b"PK not a workbook")
    with pytest.raises(DataError, match=r"wheel3\.xlsx: expected a workbook"):
        read_wheels(folder)
    write_toy_wheels(folder)
    (folder / "wheel4.xlsx").write_bytes((folder / "synonym.xlsx").read_bytes())
    with pytest.raises(DataError, match=r"wheel4\.xlsx: expected the columns level1"):
        read_wheels(folder)


def test_other_counts_than_those_of_the_challenge_are_told(tmp_path, caplog):
    read_wheels(write_toy_wheels(tmp_path))
    assert "scores differ from the official ones" in caplog.text


def test_the_official_wheels_have_their_counts():
    folder = os.environ.get("MERTOOLS_WHEELS")
    if not folder:
        pytest.skip(
            "MERTOOLS_WHEELS does not name emotion_wheel of a MERTools checkout"
        )
    assert read_wheels(Path(folder)).counts == OFFICIAL_COUNTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[happy, 'calm']", ("happy", "calm")),
        (' "Sad","very  Upset" ', ("sad", "very  upset")),
        ("[]", ()),
        ("", ()),
        (None, ()),
        (float("nan"), ()),
        (["Happy", " sad "], ("happy", "sad")),
        ("a,,b", ("a", "b")),
        ("[[a]]", ("[a]",)),
    ],
)
def test_label_lists_are_split_by_the_official_rule(text, expected):
    assert parse_openset(text) == expected


def test_the_majority_needs_no_clip():
    assert majority("cross", ["sad", "happy", "sad"]) == "sad"
    assert majority("prefer", ["same", "same", "a2"]) == "a2"
    assert majority("fg", [("a", "b"), ("b", "c"), ("b", "a")]) == ("b", "a")
