import pytest

from merps.datasets.guessing import generalize, guess_templates
from merps.datasets.templates import Template
from merps.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "path", "names"),
    [
        (
            "{person}R{stimulus}.edf",
            "S001R03.edf",
            {"person": "S001", "stimulus": "03"},
        ),
        ("{person}/{person}_*.edf", "ab/ab_x.edf", {"person": "ab"}),
        ("{person}/{person}_*.edf", "ab/ac_x.edf", None),
        ("**/{person}.set", "a/b/P1.set", {"person": "P1"}),
        ("**/{person}.set", "P1.set", {"person": "P1"}),
        ("a?.edf", "ab.edf", {}),
        ("a.edf", "axedf", None),
        ("{person}.edf", "a/b.edf", None),
        ("{person}.edf", "a b.edf", None),
        (
            "{person}/{session}/{stimulus} (1).edf",
            "P1/day 2/öl + x (1).edf",
            {"person": "P1", "session": "day 2", "stimulus": "öl + x"},
        ),
    ],
)
def test_names_in_paths(text, path, names):
    assert Template(text).match(path) == names


@pytest.mark.parametrize("text", ["{subject}.edf", "{person.edf", "a}.edf"])
def test_names_that_are_none(text):
    with pytest.raises(ConfigError, match=r"use \{person\}, \{stimulus\}"):
        Template(text)


def test_names_that_are_known_are_put_in():
    filled = Template("{person}_{stimulus}.csv").fill({"person": "P1"})
    assert filled.match("P1_a.csv") == {"stimulus": "a"}
    assert filled.match("P2_a.csv") is None


CASES = {
    "letters before a number": (
        ["S001R03.edf", "S001R04.edf"],
        [("S001", "03"), ("S001", "04")],
    ),
    "two numbers": (
        ["Subject00_2.edf", "Subject08_1.edf", "Subject08_2.edf"],
        [("Subject00", "2"), ("Subject08", "1"), ("Subject08", "2")],
    ),
    "a folder a person": (
        ["anna/film1.edf", "anna/film2.edf", "ben/film1.edf"],
        [("anna", "1"), ("anna", "2"), ("ben", "1")],
    ),
    "the name again": (
        ["p01/p01_v1.edf", "p02/p02_v1.edf", "p02/p02_v2.edf"],
        [("p01", "1"), ("p02", "1"), ("p02", "2")],
    ),
    "folders inside": (
        ["rec/VP1/happy.bdf", "rec/VP1/sad.bdf", "rec/VP2/happy.bdf"],
        [("VP1", "happy"), ("VP1", "sad"), ("VP2", "happy")],
    ),
    "a folder a modality": (
        ["eeg/P1.edf", "eeg/P2.edf", "nirs/P1.snirf", "nirs/P2.snirf"],
        [("P1", None), ("P2", None), ("P1", None), ("P2", None)],
    ),
    "two devices": (
        ["P01_film3_eeg.vhdr", "P02_film3_eeg.vhdr", "P01_film3_nirs.snirf"],
        [("P01", "3"), ("P02", "3"), ("P01", "3")],
    ),
    "one file": (["only one.edf"], [("only-one", None)]),
    "numbers alone": (["1.edf", "2.edf"], [("1", None), ("2", None)]),
}


@pytest.mark.parametrize("name", CASES)
def test_whose_files_are_these(name):
    paths, expected = CASES[name]
    found = {}
    for guess in guess_templates(paths):
        template = Template(guess.path)
        for path in guess.files:
            names = template.match(path)
            assert names is not None, guess
            found[path] = (guess.person or names["person"], names.get("stimulus"))
    assert [found[path] for path in paths] == expected


def test_names_are_found_in_other_paths():
    owners = {
        f"P{p}_{s}": {"person": f"P{p}", "stimulus": f"{s}"}
        for p in (1, 11)
        for s in "ab"
    }
    tables = [f"ratings/P{p}-{s}.csv" for p in (1, 11) for s in "ab"]
    assert generalize(tables, owners) == "ratings/{person}-{stimulus}.csv"
    assert generalize(["x.csv"], owners) is None
