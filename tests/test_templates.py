import pytest

from merps.datasets.generalizing import find_beside, generalize
from merps.datasets.guessing import guess_distinct, guess_templates
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
    "the film first": (
        ["V1_P01.edf", "V2_P01.edf", "V1_P10.edf"],
        [("P01", "1"), ("P01", "2"), ("P10", "1")],
    ),
    "the feeling first": (
        ["happy_anna.edf", "Sad_anna.edf", "happy_bob.edf"],
        [("anna", "happy"), ("anna", "Sad"), ("bob", "happy")],
    ),
    "a folder a feeling": (
        ["happy/P01.edf", "happy/P02.edf", "sad/P01.edf", "sad/P02.edf"],
        [("P01", "happy"), ("P02", "happy"), ("P01", "sad"), ("P02", "sad")],
    ),
    "feelings of one": (
        ["calm.edf", "fear.edf"],
        [("person1", "calm"), ("person1", "fear")],
    ),
    "the date first": (
        ["2023-05-01_VP01_clip1.edf", "2023-05-02_VP02_clip1.edf"],
        [("VP01", "1"), ("VP02", "1")],
    ),
    "folders of groups": (
        ["control/sub1/c1.edf", "control/sub2/c1.edf", "cases/sub3/c1.edf"],
        [("sub1", "1"), ("sub2", "1"), ("sub3", "1")],
    ),
    "spaces and capitals": (
        ["Proband 1/FILM 1 EEG.EDF", "Proband 2/FILM 2 EEG.EDF"],
        [("1", "1"), ("2", "2")],
    ),
    "other letters": (
        ["被试1_视频1.edf", "被试1_视频2.edf", "被试2_视频1.edf"],
        [("1", "1"), ("1", "2"), ("2", "1")],
    ),
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


def test_sessions_are_told_from_stimuli():
    paths = [f"P{p}/day{d}/film{f}.edf" for p in (1, 2) for d in (1, 2) for f in (1, 2)]
    (guess,) = guess_distinct(paths)
    assert guess.path == "{person}/day{session}/film{stimulus}.edf"
    tables = [path.replace(".edf", ".csv") for path in paths]
    assert find_beside(tables, [guess]) == guess.path.replace(".edf", ".csv")
    assert find_beside(["notes/x.csv", "y.csv", *tables[:1]], [guess]) is None


def test_people_are_spelled_out_where_a_path_cannot_hold_them():
    paths = [f"Frau_{name}/öl_{k}.edf" for name in ("Müller", "Žižek") for k in "12"]
    guesses = guess_distinct(paths)
    assert [(guess.person, guess.path) for guess in guesses] == [
        ("Muller", "Frau_Müller/öl_{stimulus}.edf"),
        ("Zizek", "Frau_Žižek/öl_{stimulus}.edf"),
    ]
    alike = [f"Frau_{name}/öl_{k}.edf" for name in ("Müller", "Muller") for k in "12"]
    people = {guess.person for guess in guess_distinct(alike)}
    assert len(people) == 4  # not known who they are: apart


def test_names_are_found_in_other_paths():
    owners = {
        f"P{p}_{s}": {"person": f"P{p}", "stimulus": f"{s}"}
        for p in (1, 11)
        for s in "ab"
    }
    tables = [f"ratings/P{p}-{s}.csv" for p in (1, 11) for s in "ab"]
    assert generalize(tables, owners) == "ratings/{person}-{stimulus}.csv"
    assert generalize(["x.csv"], owners) is None
