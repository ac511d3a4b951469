import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import broken
import numpy as np
import pytest
from conftest import VIDEO_S
from rich.console import Console
from typer.testing import CliRunner

from merps.cli.commands import app
from merps.cli.session import Session
from merps.datasets.simulate import simulate_dataset
from merps.engine import Progress
from merps.errors import LockedError
from merps.pipeline import evaluate_model, fit_model
from merps.predictions import write_predictions
from merps.store import Store

COMMANDS = "demo simulate init check preprocess fit evaluate predict score submit"
COMMANDS = COMMANDS.split()
QUICK = [
    *("--set", "model.inner_folds=3", "--set", "model.alphas=[100]"),
    *("--set", "model.gains=[0.5]", "--set", "evaluate.bootstrap=50"),
]
METRICS = {
    *("mae", "mae_valence", "mae_arousal", "mse", "rmse"),
    *("ccc", "ccc_valence", "ccc_arousal"),
    *("pearson", "pearson_valence", "pearson_arousal"),
}


def merps(*arguments):
    """Run a command in this process; nothing may look like a fault of ours."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    for output in (result.stdout, result.stderr):
        assert "Traceback" not in output, output
        assert "internal error" not in output, output
        assert "\x1b" not in output, output
    return result


def content_of(result):
    """The one JSON object on standard output, as strict parsers read it."""
    return json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.fixture
def spawn():
    """Start a command in a process of its own, which ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            command = [sys.executable, "-c", "from merps.cli import main; main()"]
            process = subprocess.Popen(
                [*command, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


# What every command does


def test_help_names_every_command():
    result = merps("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        (line,) = re.findall(rf"^  {name} .*$", result.stdout, re.MULTILINE)
        assert not line.endswith("..."), line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = merps(name, "--help")
    assert result.exit_code == 0
    for option in ("--json", "--quiet", "--debug"):
        assert option in result.stdout


def test_check(noise):
    result = merps("check", noise)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout == "2 people, 6 usable trials; 0 errors, 0 warnings and notes\n"
    )
    result = merps("check", noise, "--json")
    assert content_of(result) == {"people": 2, "trials": 6, "problems": []}


def test_check_finds_problems(noise, tmp_path):
    root = broken.break_copy(noise, tmp_path / "folder", "label_nan")
    result = merps("check", root)
    assert result.exit_code == 1
    assert re.search(
        r"^error +test_2 V02: .*" + broken.MESSAGES["label_nan"], result.stdout
    )
    (problem,) = content_of(merps("check", root, "--json"))["problems"]
    assert problem.keys() == {"severity", "where", "message"}
    result = merps("check", tmp_path / "nowhere", "--json")
    assert result.exit_code == 3
    assert content_of(result)["people"] == 0


def test_preprocess(noise, tmp_path):
    arguments = ("preprocess", noise, "--out", tmp_path / "store")
    first = merps(*arguments, "--json")
    assert first.exit_code == 0
    content = content_of(first)
    assert content.keys() == {"done", "skipped", "failed", "seconds", "peak_mb"}
    assert (content["done"], content["skipped"], content["failed"]) == (2, 0, [])
    assert first.stderr == "preprocess 1/2 test_1\npreprocess 2/2 test_2\n"
    second = merps(*arguments)
    assert (second.exit_code, second.stderr) == (0, "")
    assert (
        second.stdout
        == f"nothing to do: all people (2) are in {tmp_path}/store already\n"
    )
    third = merps(*arguments, "--json", "--quiet")
    assert third.stderr == ""
    assert content_of(third)["skipped"] == 2
    assert merps(*arguments, "--quiet").output == ""


def test_preprocess_with_other_options(noise, tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text("preprocess: {eeg: {to_hz: 100}}\n")
    result = merps(
        *("preprocess", noise, "--out", tmp_path / "store", "--config", config),
        *("--set", "preprocess.eeg.band_pass.high_hz=40", "--jobs", 1, "--quiet"),
    )
    assert result.exit_code == 0, result.output
    with Store.open(tmp_path / "store").person("test_1") as stored:
        assert stored.trial("V01").eeg.rate_hz == 100
    assert Store.open(tmp_path / "store").config["eeg"]["band_pass"]["high_hz"] == 40


def test_fit(store, tmp_path):
    result = merps("fit", store, "--out", tmp_path / "run", *QUICK, "--json")
    assert result.exit_code == 0
    content = content_of(result)
    assert content["people"] == 4
    models = content["facts"]["models"]
    assert models.keys() == {"bandpower", "riemannian"}
    assert all(facts["alpha"] == [100, 100] for facts in models.values())
    assert result.stderr.splitlines()[-1] == "features 8/8 test_4, covariances"
    result = merps(
        *("fit", store, "--out", tmp_path / "run", "--model", "fusion", *QUICK),
        *("--hold-out", "test_2, test_3", "--quiet"),
    )
    assert (result.exit_code, result.output) == (0, "")
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    assert card["held_out"] == ["test_2", "test_3"]


def test_fit_on_evaluation_people_must_be_wanted(reserved, tmp_path):
    arguments = ("fit", reserved, "--out", tmp_path / "run", "--model", "video")
    result = merps(*arguments)
    assert result.exit_code == 2
    assert "--allow-eval-only" in result.stderr
    assert merps(*arguments, "--allow-eval-only").exit_code == 0


def test_evaluate_predict_and_score_agree(store, newcomers, tmp_path):
    out = tmp_path / "run"
    arguments = ("evaluate", store, "--out", out, "--model", "video,bandpower")
    result = merps(*arguments, "--protocol", "people, within", *QUICK, "--json")
    assert result.exit_code == 0
    protocols = content_of(result)["protocols"]
    assert list(protocols) == ["people", "within"]
    for models in protocols.values():
        assert list(models) == ["constant", "video", "video_time", "bandpower"]
        assert all(metrics.keys() >= METRICS for metrics in models.values())
    evaluation = evaluate_model(store, models=[], protocols=["people"])
    targets = tmp_path / "targets.csv"
    write_predictions(targets, evaluation.samples.ids, evaluation.samples.targets)
    for protocol, models in protocols.items():
        for model, metrics in models.items():
            file = out / "predictions" / protocol / f"{model}.csv"
            scored = content_of(merps("score", file, targets, "--json"))
            assert scored == {name: metrics[name] for name in METRICS}
    table = merps("score", file, targets)
    assert f"{metrics['mae']:.3f}" in table.stdout
    assert table.stdout.split()[:2] == ["120", "samples"]


def test_the_table_fits_a_terminal_and_a_pipe(store, tmp_path, monkeypatch):
    arguments = ("evaluate", store, "--out", tmp_path / "run", "--protocol", "people")
    arguments += ("--model", "bandpower", *QUICK)
    result = merps(*arguments)
    assert result.exit_code == 0
    table = result.stdout.split("\n\n")[1].splitlines()
    assert table[0] == "people: new people, same videos (the official split)"
    against = re.search(r"vs (\w+)", table[1])[1]
    assert table[1].split() == (
        f"model MAE valence arousal CCC Pearson added vs {against} p".split()
    )
    rows = [line.split() for line in table[3:] if line.strip()]
    assert [row[0] for row in rows] == ["constant", "video", "video_time", "bandpower"]
    for row in rows:
        assert len(row) == (7 + 1 if row[0] == against else 7 + 4)
    assert 80 < max(map(len, table)) <= 100
    assert "Transductive" in result.stdout
    monkeypatch.setattr(Session, "width", 80)
    monkeypatch.setattr(Session, "_out", lambda _: Console(width=80))
    again = merps(*arguments)
    assert again.stdout.startswith("folds done before: 16 of 16\n")
    table = again.stdout.split("\n\n")[2].splitlines()
    assert max(map(len, table)) <= 80
    assert table[2].split() == (
        f"model MAE valence arousal CCC Pearson added {against} p".split()
    )
    numbers = [line.split() for line in table[4:] if line.strip()]
    assert [row[0] for row in numbers[::2]] == [row[0] for row in rows]
    for one, row, below in zip(rows, numbers[::2], numbers[1::2], strict=True):
        assert sorted(part.strip("()") for part in one) == sorted(row + below)
    assert "…" not in result.stdout + again.stdout


def test_predict(run, newcomers, tmp_path):
    out = tmp_path / "predictions.csv"
    arguments = ("predict", run, newcomers, "--out", out, "--store", tmp_path / "kept")
    result = merps(*arguments, "--json")
    assert result.exit_code == 0
    assert content_of(result) == {"samples": 42, "without_signals": 0, "failed": []}
    result = merps(*arguments)
    told = f"42 predictions in {out}\nFilters and smoothing see the future of each "
    assert result.stdout == f"{told}second: these are offline estimates.\n"
    assert result.stderr == ""
    result = merps("score", out, newcomers / "targets.csv", "--json")
    assert content_of(result).keys() == METRICS


def test_predict_tells_what_it_could_not_use(run, newcomers, tmp_path):
    data = shutil.copytree(newcomers, tmp_path / "data")
    for name in ("EEG_videos.mat", "fNIRS_videos.mat"):
        (data / "data" / "predict2" / name).write_bytes(b"")
    out = tmp_path / "predictions.csv"
    result = merps("predict", run, data, "--out", out)
    assert result.exit_code == 1
    assert "42 predictions" in result.stdout
    assert "21 of them without any signal" in result.stderr
    assert re.search(
        r"^predict2: .*predict2/EEG_videos.mat: ", result.stderr, re.MULTILINE
    )


def test_predict_answers_where_nothing_can_be_read(run, newcomers, tmp_path):
    data = shutil.copytree(newcomers, tmp_path / "data")
    for path in (data / "data").rglob("*.mat"):
        path.write_bytes(b"")
    out = tmp_path / "predictions.csv"
    result = merps("predict", run, data, "--out", out)
    assert result.exit_code == 3
    assert "42 of them without any signal" in result.stderr
    assert f"{data}: not one recording could be used:" in result.stderr
    assert len(out.read_text().splitlines()) == 43
    (data / "sample_ids.csv").unlink()
    assert merps("predict", run, data, "--out", out).exit_code == 3


def test_submit(run, newcomers, tmp_path, monkeypatch):
    from merps.submission import bundle

    checked = bundle.Bundle(
        *(tmp_path / "s.zip", 7, "abc", 3, "fusion", ("medians",), "none", None),
        *(("numpy==2",), False, 42, 1.5, 99.5, "merps/__init__.py"),
    )
    asked = []

    def check(path, data, **options):
        asked.append((data, options["jobs"], options["name"]))
        return checked

    monkeypatch.setattr(bundle, "check_bundle", check)
    arguments = ("submit", run, "--out", tmp_path / "s.zip", "--data", newcomers)
    result = merps(*arguments, "--jobs", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "42 ids of your people answered in 1.5 s with 100 MB" in result.stdout
    content = content_of(merps(*arguments, "--overwrite", "--json"))
    assert content["path"] == str(tmp_path / "s.zip")
    assert content["requirements"] == ["numpy==2"]
    assert asked == [(newcomers, jobs, tmp_path / "s.zip") for jobs in (1, 2)]


def test_simulate(tmp_path, monkeypatch):
    import merps.datasets.simulate as simulate

    short = functools.partial(simulate_dataset, video_s=(6, 5))
    monkeypatch.setattr(simulate, "simulate_dataset", short)
    result = merps(
        *("simulate", tmp_path / "data", "--people", 2, "--coupling", 0.5, "--seed", 3),
        *("--no-compress", "--json"),
    )
    assert result.exit_code == 0
    content = content_of(result)
    assert (content["people"], content["path"]) == (2, f"{tmp_path}/data")
    for name in ("oracle", "oracle_fusion"):
        written = json.loads((tmp_path / f"data/{name}.json").read_text())
        assert content[name] == written
        assert all(metrics.keys() == METRICS for metrics in written.values())
    again = merps("simulate", tmp_path / "data", "--people", 2)
    assert again.exit_code == 2
    assert "is not an empty folder" in again.stderr


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--frob", "x"], "No such option"),
        (["preprocess", "{noise}"], "Missing option"),
        (["preprocess", "{noise}", "--out", "{tmp}/s", "--jobs", "0"], "--jobs"),
        (
            ["preprocess", "{noise}", "--out", "{tmp}/s", "--config", "defualt"],
            "expected a YAML file or a preset (causal, conformer, default",
        ),
        (
            ["preprocess", "{noise}", "--out", "{tmp}/s", "--set", "preproces.x=1"],
            "preproces: unknown option; did you mean preprocess?",
        ),
        (
            [
                *("preprocess", "{noise}", "--out", "{tmp}/s"),
                *("--set", "preprocess.eeg.to_hzz=1", "--set", "evaluate.seed=-1"),
            ],
            "did you mean to_hz?\n--set evaluate.seed=-1: evaluate.seed: input should",
        ),
        (["preprocess", "{noise}", "--out", "{noise}"], "is not empty and not a store"),
        (["preprocess", "{noise}", "--out", "{file}"], "is a file; choose a folder"),
        (
            ["fit", "{store}", "--out", "{tmp}/r", "--model", "forest"],
            "no model 'forest'",
        ),
        (
            ["fit", "{store}", "--out", "{tmp}/r", "--hold-out", "nobody"],
            "hold out nobody",
        ),
        (["fit", "{store}", "--out", "{noise}"], "files that are no run of merps"),
        (["fit", "{store}", "--out", "{file}"], "is a file; choose a folder"),
        (
            ["evaluate", "{store}", "--out", "{tmp}/r", "--protocol", "peple"],
            "no protocol 'peple'; there are people, videos, both, within",
        ),
        (["evaluate", "{store}", "--out", "{tmp}/r", "--model", "rf"], "no model 'rf'"),
        (["evaluate", "{store}", "--out", "{run}"], "holds a run of merps fit"),
        (["simulate", "{tmp}/d", "--people", "0"], "people must be between 1 and 999"),
        (["simulate", "{tmp}/d", "--layout", "x"], "trainval or leaderboard, got 'x'"),
        (
            ["simulate", "{tmp}/d", "--eeg-rate-hz", "250"],
            "must be 200 or 1000, got 250",
        ),
        (["submit", "{run}", "--out", "{file}"], "exists; pass --overwrite"),
        (["submit", "{run}", "--out", "{noise}"], "is a folder; name the zip file"),
        (["demo", "--people", "2"], "--people"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, message, noise, noise_store, run, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    places = {"noise": noise, "store": noise_store, "run": run}
    places |= {"tmp": tmp_path, "file": file}
    result = merps(*(text.format(**places) for text in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "{file}", "--out", "{tmp}/r"], "expected a store"),
        (["fit", "{empty}", "--out", "{tmp}/r"], "expected a store with store.json"),
        (
            ["fit", "{tmp}/none", "--out", "{tmp}/r"],
            "found no such folder; make it with",
        ),
        (["predict", "{tmp}/none", "{noise}", "--out", "{tmp}/p"], "a finished run"),
        (["predict", "{run}", "{empty}", "--out", "{tmp}/p"], "found no data/ in it"),
        (["submit", "{tmp}/none", "--out", "{tmp}/s.zip"], "a finished run"),
        (["score", "{tmp}/none.csv", "{file}"], "none.csv: no such file"),
        (["score", "{file}", "{file}"], "file: "),
        (["preprocess", "{empty}", "--out", "{tmp}/s"], "found no data/ in it"),
    ],
)
def test_bad_data_end_with_3(arguments, message, noise, run, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    places = {name: tmp_path / name for name in ("file", "empty")}
    places |= {"noise": noise, "run": run, "tmp": tmp_path}
    result = merps(*(text.format(**places) for text in arguments), "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert message in result.stderr
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["preprocess", "{noise}", "--out", "{file}/store"],
        ["fit", "{store}", "--out", "{file}/run", "--model", "constant"],
        ["evaluate", "{store}", "--out", "{file}/run", "--model", ""],
        ["predict", "{run}", "{noise}", "--out", "{file}/p.csv"],
        ["submit", "{run}", "--out", "{file}/s.zip"],
        ["simulate", "{file}/data", "--people", "1"],
    ],
)
def test_places_that_cannot_be_written_end_with_4(
    arguments, noise, noise_store, run, tmp_path
):
    file = tmp_path / "file"
    file.write_text("")
    places = {"noise": noise, "store": noise_store, "run": run, "file": file}
    result = merps(*(text.format(**places) for text in arguments))
    assert (result.exit_code, result.stdout) == (4, ""), result.output
    assert str(file) in result.stderr
    assert file.read_text() == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (LockedError("busy"), 5, "error: busy\n"),
        (MemoryError(), 4, "error: out of memory; run with fewer --jobs\n"),
        (
            OSError(28, "No space left", "x"),
            4,
            "error: [Errno 28] No space left: 'x'\n",
        ),
    ],
)
def test_errors_become_exit_codes(noise, tmp_path, monkeypatch, error, code, message):
    from merps import inspection

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(inspection, "check_dataset", fail)
    result = merps("check", noise)
    assert (result.exit_code, result.stderr) == (code, message)


def test_a_fault_of_ours_is_one_line_unless_asked_for(noise, monkeypatch):
    from merps import inspection

    monkeypatch.setattr(inspection, "check_dataset", lambda *_, **__: {}["fault"])
    result = CliRunner().invoke(app, ["check", str(noise)])
    assert result.exit_code == 70
    assert result.stderr.startswith("error: internal error: KeyError: 'fault'\n")
    assert "Traceback" not in result.stderr
    result = CliRunner().invoke(app, ["check", str(noise), "--debug"])
    assert "Traceback" in result.stderr


def test_mixed_ids_are_told_together(tmp_path):
    values = np.array([[1, 2], [3, 4]])
    write_predictions(tmp_path / "p.csv", ["a_V01_T000", "a_V01_T001"], values)
    write_predictions(tmp_path / "t.csv", ["a_V01_T001", "a_V01_T002"], values)
    result = merps("score", tmp_path / "p.csv", tmp_path / "t.csv")
    assert result.exit_code == 3
    assert "1 ids are not answered: a_V01_T002" in result.stderr
    assert "1 ids are not asked for: a_V01_T000" in result.stderr


@pytest.mark.parametrize("name", broken.MUTATIONS)
def test_broken_folders_cost_what_is_broken(noise, tmp_path, name, monkeypatch):
    from merps.pipeline import preprocess

    # Reading is what fails here; filters take most of the time.
    monkeypatch.setattr(
        preprocess, "preprocess_plan", lambda opened, plan, _: opened.read(plan)
    )
    data = broken.break_copy(noise, tmp_path / "folder", name)
    result = merps("preprocess", data, "--out", tmp_path / "store", "--json")
    lines = result.stderr.splitlines()
    told = [line for line in lines if not re.match(r"preprocess \d/\d ", line)]
    errors = [line for line in told if not line.startswith("warning: ")]
    if name != "targets_differ":  # preprocess has no use for these; check tells
        matching = [line for line in told if re.search(broken.MESSAGES[name], line)]
        assert len(matching) == 1, told
    good = broken.GOOD_PEOPLE[name]
    if not good:
        assert (result.exit_code, result.stdout, len(errors)) == (3, "", 1)
        return
    content = content_of(result)
    fails = broken.SEVERITY[name] in ("error", None) and name != "targets_differ"
    assert result.exit_code == len(content["failed"]) == len(errors) == int(fails)
    assert content["done"] >= len(good)
    assert set(good) <= set(Store.open(tmp_path / "store").people)
    for failure in content["failed"]:
        assert failure["person"] not in good
        assert failure["message"] in errors[0]


# In a process of its own


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(spawn, simulated, tmp_path):
    arguments = ("preprocess", simulated, "--out", tmp_path / "store", "--jobs", "1")
    process = spawn(*arguments)
    assert process.stderr.readline() == "preprocess 1/4 test_1\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "finishing what is under way" in stderr
    assert stderr.endswith("nothing is half written, run the same command again\n")
    kept = Store.open(tmp_path / "store").people
    assert kept[:1] == ("test_1",)
    assert len(kept) < 4
    assert not list(tmp_path.rglob("*.tmp"))
    content = content_of(merps(*arguments, "--json"))
    assert (content["skipped"], content["done"]) == (len(kept), 4 - len(kept))


def test_ctrl_c_keeps_finished_folds(spawn, store, tmp_path):
    arguments = ("evaluate", store, "--out", tmp_path / "run", "--jobs", "1", *QUICK)
    arguments += ("--protocol", "both,within", "--model", "riemannian")
    process = spawn(*arguments)
    assert any("both, test_1 videos-1" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.endswith("nothing is half written, run the same command again\n")
    kept = {path.name for path in (tmp_path / "run" / "folds").glob("*.safetensors")}
    assert len(kept) >= 4
    assert not (tmp_path / "run" / "run.json").exists()
    result = merps(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"folds done before: {len(kept)} of 96\n")


def test_two_interrupts_stop_at_once(spawn, simulated, tmp_path):
    process = spawn("preprocess", simulated, "--out", tmp_path / "store")
    assert "preprocess 1/4" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert any("press Ctrl-C again" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_output_goes_to_any_terminal_and_pipe(spawn, noise_store, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    process = spawn(
        *("evaluate", noise_store, "--out", tmp_path / "run", "--model", ""),
        *("--protocol", "videos", "--set", "evaluate.bootstrap=10"),
        env=environment,
    )
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert (stdout + stderr).isascii()
    assert "\x1b" not in stdout + stderr
    assert "..." not in stdout  # a pipe has no width to cut at
    assert stderr.splitlines()[-1] == "evaluate 3/3 videos, videos-3"


def test_a_reader_that_leaves_is_no_fault(spawn, noise):
    process = spawn("check", noise, "--json")
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(timeout=60) != 70
    assert "Traceback" not in stderr
    assert "internal error" not in stderr


@pytest.mark.slow
def test_demo(spawn, tmp_path):
    started = time.monotonic()
    process = spawn("demo", "--people", "3", "--out", tmp_path / "demo")
    stdout, stderr = process.communicate(timeout=590)
    assert process.returncode == 0, stderr
    assert time.monotonic() - started < 240
    for name in ("model/model.json", "predictions.csv", "trajectories.png"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    assert "simulated" in stdout


# Pieces of the demo and of the display


def test_the_pieces_of_the_demo(simulated, store, tmp_path, monkeypatch):
    from merps.cli import demo
    from merps.config import load_config

    out = tmp_path / "demo"
    shutil.copytree(simulated, out / "data")  # as an earlier demo left them
    shutil.copytree(store, out / "store")
    short = functools.partial(simulate_dataset, video_s=VIDEO_S)
    config = load_config(None, [*QUICK[1::2], "evaluate.protocols=[people]"])
    monkeypatch.setattr(demo, "_DRAWN", ("V01", "V03"))
    monkeypatch.setattr(demo, "simulate_dataset", short)
    for name, function in (
        ("evaluate_model", evaluate_model),
        ("fit_model", fit_model),
    ):
        monkeypatch.setattr(demo, name, functools.partial(function, config=config))
    result = merps("demo", "--out", out, "--people", 4, "--json")
    assert result.exit_code == 0, result.output
    content = content_of(result)
    assert content.keys() == {"path", "evaluation", "new_people", "gains", "seconds"}
    assert content["new_people"].keys() == {"video_time", "fusion"}
    assert content["new_people"]["fusion"].keys() == METRICS
    assert (out / "trajectories.png").read_bytes().startswith(b"\x89PNG")
    assert len((out / "predictions.csv").read_text().splitlines()) == 1 + sum(VIDEO_S)
    other = merps("demo", "--out", out, "--people", 5)
    assert other.exit_code == 2
    assert "holds another simulation" in other.stderr


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(capsys):
    def shown(**options):
        session = Session(
            **{"as_json": False, "quiet": False, "debug": False} | options
        )
        if not options:
            session.on_terminal = True
            session.err = Console(file=sys.stderr, force_terminal=True, width=100)
        with session.progress("work") as steps:
            assert isinstance(steps, Progress)
            steps.done("a")
            steps.expect(3)
            session.note("in between")
            steps.done("b [bold]")
        return capsys.readouterr().err

    bar = shown()
    assert "2/3" in bar
    assert "b [bold]" in bar
    assert "in between" in bar
    assert shown(as_json=True) == "work 1 a\nin between\nwork 2/3 b [bold]\n"
    assert shown(quiet=True) == "in between\n"


def test_a_log_of_many_steps_has_a_line_for_each_hundredth(capsys):
    session = Session(as_json=True, quiet=False, debug=False)
    with session.progress("work") as steps:
        steps.expect(1000)
        for unit in range(1000):
            steps.done(str(unit))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 100
    assert (lines[0], lines[-1]) == ("work 10/1000 9", "work 1000/1000 999")


def test_names_are_printed_as_they_are(capsys):
    session = Session(as_json=False, quiet=False, debug=False)
    session.say("[red]x[/red] :warning: 12")
    session.warn("[bold]y " + "long " * 60)
    captured = capsys.readouterr()
    assert captured.out == "[red]x[/red] :warning: 12\n"
    assert captured.err == "[bold]y " + "long " * 60 + "\n"
