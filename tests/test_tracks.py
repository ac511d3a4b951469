"""The sibling tracks from media to archive, as commands, on simulated clips."""

import csv
import json
import shutil
import zipfile

import numpy as np
import pytest
import yaml
from tracked import write_table
from typer.testing import CliRunner

from merps.cli.commands import app
from merps.tracks.simulate import simulate_track

for _needed in ("av", "transformers", "openpyxl"):
    pytest.importorskip(_needed)

TRACKS = ("cross", "fg", "prefer")
SIZES = {"cross": 60, "fg": 96, "prefer": 96}
BRIEF = [
    *("--set", "head.epochs=4", "--set", "head.learning_rate=0.02"),
    *("--set", "bootstrap=50"),
]
APART = [*BRIEF, "--set", "run=brief"]


def merps(*arguments, code=0):
    """Run a command in this process; nothing may look like a fault of ours."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stdout + result.stderr
    for output in (result.stdout, result.stderr):
        assert "Traceback" not in output
        assert "internal error" not in output
    return result


def content(*arguments, code=0):
    result = merps(*arguments, "--json", code=code)
    return json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.fixture(scope="module", params=TRACKS)
def made(request, tmp_path_factory):
    """A small simulated track; tests may add to the folder."""
    path = tmp_path_factory.mktemp(request.param) / "data"
    n_train = SIZES[request.param]
    simulate_track(path, track=request.param, n_train=n_train, n_candidates=24, seed=1)
    return request.param, path


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_track_runs_from_media_to_archive(made):
    track, path = made
    config = path / "config.yaml"
    checked = content("track", track, "check", config)
    assert checked["problems"] == []
    assert checked["rows"] == {"train": SIZES[track], "candidates": 24}
    encoded = content("track", track, "encode", config, "--export", path / "official")
    assert encoded["done"] > 0
    assert encoded["missing"] == 0
    assert (
        len(list((path / "official" / "face-UTT").glob("*.npy"))) == SIZES[track] + 24
    )
    again = content("track", track, "encode", config)
    assert again["done"] == 0
    fitted = content("track", track, "fit", config, *BRIEF, "--set", "head.epochs=8")
    main = fitted["out_of_fold"]["main"]
    assert main == ("ew" if track == "fg" else "waf")
    assert fitted["out_of_fold"][main] > fitted["majority"][main] + 0.02
    assert bool(fitted["notes"]) == (track == "cross")
    merps("track", track, "predict", config)
    submitted = content("track", track, "submit", config)
    assert submitted["by"] == "model"
    scored = content("track", track, "score", config)
    assert scored["intervals"][main][0] <= scored[main] <= scored["intervals"][main][1]
    assert scored[main] > fitted["majority"][main]
    with zipfile.ZipFile(path / "answer.zip") as archive:
        assert archive.read("answer.csv") == (path / "answer.csv").read_bytes()
    asked = next(path.glob("*candidate.csv"))
    answers = read(path / "answer.csv")
    assert [row["name"] for row in answers] == [row["name"] for row in read(asked)]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["config"]["track"] == track
    assert manifest["versions"].keys() >= {"merps", "torch", "transformers"}
    card = json.loads((path / "run" / "run.json").read_text())
    assert "Do not redistribute" in card["terms"]
    for folder in ("run", "store"):
        assert (path / folder / ".gitignore").read_text() == "*\n"


def test_scores_are_shown_to_people(made):
    track, path = made
    config = path / "config.yaml"
    shutil.copy(path / "gold.csv", path / "perfect.csv")
    shown = merps("track", track, "score", config, "--answers", path / "perfect.csv")
    assert "1.0000" in shown.stdout
    assert ("wheel" if track == "fg" else "true \\ said") in shown.stdout


def renamed(path, out, track, rng):
    """Copy a simulated track with other clip names and other orders of rows."""
    shutil.copytree(
        path, out, ignore=shutil.ignore_patterns("run", "brief", "store", "official")
    )
    tables = [*out.glob("track*.csv"), out / "groups.csv", out / "subtitle_chieng.csv"]
    names = sorted({row["name"] for table in tables for row in read(table)})
    fresh = [f"clip{k}" for k in rng.permutation(len(names))]
    new = dict(zip(names, fresh, strict=True))
    for kind in ("video", "audio", "openface_face"):
        for file in list((out / kind).rglob("*.*")):
            file.rename(file.with_name(new[file.stem] + file.suffix))
    for table in tables:
        rows = read(table)
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            for k in rng.permutation(len(rows)):
                writer.writerow({**rows[k], "name": new[rows[k]["name"]]})
    return new


def answers_of(path, track, config):
    merps("track", track, "fit", config, *APART)
    merps("track", track, "predict", config, *APART)
    return predictions(path, track)


def predictions(path, track):
    kind = {"cross": "discrete", "fg": "openset", "prefer": "preference"}[track]
    rows = read(path / "brief" / "predictions" / "model.csv")
    keys = [(r["name"], r.get("a1"), r.get("a2")) for r in rows]
    return dict(zip(keys, (r[kind] for r in rows), strict=True))


@pytest.fixture(scope="module")
def answered(made):
    """The answers of a model that is fitted once."""
    track, path = made
    return answers_of(path, track, path / "config.yaml")


def test_names_and_order_of_rows_change_no_answer(made, request, tmp_path, rng):
    track, path = made
    if track == "fg":
        pytest.skip("as for MER-Cross, and in the tests of heads")
    other = tmp_path / "renamed"
    new = renamed(path, other, track, rng)
    answered = request.getfixturevalue("answered")
    found = answers_of(other, track, other / "config.yaml")
    assert len(set(found.values())) > 1
    assert found == {(new[k[0]], *k[1:]): answer for k, answer in answered.items()}


def test_exchanging_the_texts_exchanges_every_answer(made, request, tmp_path):
    track, path = made
    if track != "prefer":
        pytest.skip("only MER-Prefer compares texts")
    config = path / "config.yaml"
    first = request.getfixturevalue("answered")
    rows = read(path / "track3_candidate.csv")
    swapped = tmp_path / "swapped.csv"
    exchanged = [(row["name"], row["a2"], row["a1"]) for row in rows]
    write_table(swapped, ("name", "a1", "a2"), exchanged)
    swap = ("--set", f"data.candidates={swapped}")
    merps("track", track, "predict", config, *APART, *swap)
    flip = {"a1": "a2", "a2": "a1", "same": "same"}
    for row in read(path / "brief" / "predictions" / "model.csv"):
        assert row["preference"] == flip[first[row["name"], row["a2"], row["a1"]]]
    merps("track", track, "submit", config, *APART, code=3)  # made for other candidates


def test_what_candidates_lack_is_told_and_borne(made, request, tmp_path):
    track, path = made
    if track != "prefer":
        pytest.skip("as for MER-Prefer")
    config = path / "config.yaml"
    request.getfixturevalue("answered")
    rows = [tuple(row.values()) for row in read(path / "track3_candidate.csv")]
    asked = tmp_path / "asked.csv"
    rows[0] = (rows[0][0], " ", rows[0][2])
    write_table(asked, ("name", "a1", "a2"), [*rows, ("nobody", "one", "other")])
    options = (config, *APART, "--set", f"data.candidates={asked}")
    predict = ("track", track, "predict", *options)
    told = merps(*predict, code=3).stderr
    assert "1 rows lack a text and are answered same" in told
    assert "stream face: 1 of 25 rows are missing" in told
    assert "nobody (no file)" in told
    merps(*predict, "--set", "data.max_missing=0.1")
    missing = [tuple(row.values()) for row in read(path / "brief" / "missing.csv")]
    assert missing == [(name, "nobody", "no file") for name in ("face", "voice")]
    answers = predictions(path, track)
    assert answers[rows[0]] == "same"
    merps("track", track, "submit", *options)
    assert read(path / "answer.csv")[0]["preference"] == "a1"


def test_what_is_wrong_is_told_and_nothing_half_is_written(made, tmp_path):
    track, path = made
    config = tmp_path / "config.yaml"
    options = yaml.safe_load((path / "config.yaml").read_text())
    data = options["data"]
    for name in ("candidates", "gold", "subtitles", "groups", "wheels"):
        if name in data:
            data[name] = str(path / data[name])
    data["train"] = [str(path / name) for name in data["train"]]
    data["media"] = [str(path / name) for name in data["media"]]
    for stream in options["streams"].values():
        stream["encoder"] = str(path / stream["encoder"])
    config.write_text(yaml.safe_dump(options))
    told = merps("track", track, "predict", config, code=3).stderr
    assert f"make it with: merps track {track} fit CONFIG" in told
    told = merps("track", track, "submit", config, code=3).stderr
    assert "expected predictions of the candidates, found none" in told
    told = merps("track", track, "submit", config, "--by", "judge", code=3).stderr
    assert f"merps track {track} judge CONFIG" in told
    first = next(iter(options["streams"]))
    options["streams"][first]["encoder"] = str(tmp_path / "hub-name")
    data["media"] = data["media"][:1]
    config.write_text(yaml.safe_dump(options))
    checked = content("track", track, "check", config, code=1)
    told = [problem["message"] for problem in checked["problems"]]
    assert any("hub-name: expected the folder of an encoder" in text for text in told)
    assert any("0.0% of the rows have this stream" in text for text in told)
    merps("track", track, "fit", config, code=3)
    assert not (tmp_path / "answer.csv").exists()
    if track == "cross":
        told = merps("track", track, "judge", config, code=2).stderr
        assert "No such command 'judge'" in told


def test_a_judge_answers_and_garbage_is_refused(made):
    pytest.importorskip("openai")
    from test_tracks_judges import Endpoint

    track, path = made
    if track == "cross":
        pytest.skip("MER-Cross has no judge")
    config = path / "config.yaml"
    ask = ("track", track, "judge", config, "--set", "judge.frames=0")
    with Endpoint(lambda parts: "I cannot tell what this may be") as endpoint:
        bad = (*ask, "--set", f"judge.url={endpoint.url}")
        assert "answers of the judge say nothing" in merps(*bad, code=3).stderr
        assert not (path / "run" / "predictions" / "judge.csv").exists()
        assert content(*bad, "--allow-unparsed")["unparsed"] > 0
    answer = "sunny, rainy" if track == "fg" else "a1"
    with Endpoint(lambda parts: answer) as endpoint:
        good = (*ask, "--set", f"judge.url={endpoint.url}")
        found = content(*good)
        assert found["unparsed"] == 0
        assert content(*good, "--train")["score"]["n"] > 0
    submitted = content("track", track, "submit", config, "--by", "judge")
    assert submitted["by"] == "judge"
    assert json.loads((path / "manifest.json").read_text())["by"] == "judge"


@pytest.mark.slow
@pytest.mark.parametrize("track", TRACKS)
def test_full_simulations_beat_chance_and_the_majority(track, tmp_path):
    path = tmp_path / "data"
    merps("simulate", path, "--track", track)
    config = path / "config.yaml"
    fitted = content("track", track, "fit", config)
    merps("track", track, "predict", config)
    merps("track", track, "submit", config)
    scored = content("track", track, "score", config)
    main = scored["main"]
    for found in (scored, fitted["out_of_fold"]):
        assert found["intervals"][main][0] > fitted["majority"]["intervals"][main][1]
        assert (
            found["intervals"][main][0]
            > {"cross": 1 / 6, "fg": 0, "prefer": 0.5}[track]
        )


@pytest.mark.slow
def test_known_speakers_say_nothing_about_listeners(tmp_path):
    path = tmp_path / "data"
    simulate_track(path, track="cross")
    config, found = path / "config.yaml", {}
    for role in ("speaker", "listener"):
        options = ("--set", f"head.role={role}")
        fitted = content("track", "cross", "fit", config, *options)
        merps("track", "cross", "predict", config, *options)
        merps("track", "cross", "submit", config, *options)
        scored = content("track", "cross", "score", config)
        found[role] = (fitted["out_of_fold"]["waf"], scored["waf"])
    assert found["speaker"][0] > 0.9 > 0.4 > found["speaker"][1]
    assert found["listener"][1] > found["speaker"][1] + 0.3


def test_the_same_seed_gives_the_same_data(tmp_path):
    for name in ("a", "b"):
        simulate_track(tmp_path / name, track="fg", n_train=4, n_candidates=2, seed=3)
    for file in sorted((tmp_path / "a").rglob("*")):
        if file.is_file() and file.suffix != ".xlsx":  # which hold the time
            other = tmp_path / "b" / file.relative_to(tmp_path / "a")
            assert file.read_bytes() == other.read_bytes(), file
    told = merps("simulate", tmp_path / "a", "--track", "fg", code=2).stderr
    assert "is not empty; choose a new folder" in told
    told = merps("simulate", tmp_path / "c", "--track", "ps", code=2).stderr
    assert "no track 'ps'; there are cross, fg and prefer" in told
    assert np.load(next((tmp_path / "a").rglob("*.npy"))).shape == (8, 64, 64, 3)
