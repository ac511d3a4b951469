"""The benchmarks measure what they say; how fast merps is, no test decides."""

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from merps.options import Config

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def bench_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def load(name):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    return argparse.Namespace(
        quick=True, runs=1, people=None, threads=2, data=data, json=None
    )


@pytest.mark.parametrize(
    ("peer", "merps", "error", "verdict"),
    [
        (20.0, 1.0, 0.0, "stretch"),
        (12.0, 1.0, 1e-3, "met"),
        (9.9, 1.0, 0.0, "missed"),
        (20.0, 1.0, 2e-3, "numbers differ"),
        (20.0, 1.0, np.nan, "numbers differ"),
    ],
)
def test_a_goal_counts_only_where_numbers_agree(peer, merps, error, verdict):
    row = load("results").Row(
        "work", "peer", peer, merps, goal="G1", error=error, tolerance=1e-3
    )
    assert row.verdict == verdict


@pytest.mark.parametrize(
    ("merps", "verdict"), [(1.6, "stretch"), (2.5, "met"), (2.6, "missed")]
)
def test_a_floor_must_not_be_exceeded(merps, verdict):
    row = load("results").Row("work", "floor", 1.0, merps, goal="G4")
    assert row.verdict == verdict
    assert row.ratio == merps


def test_a_goal_without_a_ratio_takes_its_value():
    row = load("results").Row("--version", "python", 0.02, 0.1, goal="G11 version")
    assert row.verdict == "missed"
    row.value = 0.08
    assert row.verdict == "met"


def test_table_lines_up():
    results = load("results")
    rows = [
        results.Row("a", "peer", 1.0, 0.1, note="said below"),
        results.Row("longer name", "p", 123.0, 45.0, goal="G4", error=1.0, peer_mb=3.0),
    ]
    head, rule, first, second, note = results.table(rows).splitlines()
    column = head.index("ratio") + len("ratio")
    assert first[:column].endswith("10x")
    assert second[:column].endswith("0.366x")
    assert len(rule) == max(map(len, (head, first, second)))
    assert note.endswith("a: said below")


def test_errors_see_missing_samples_and_shapes():
    results = load("results")
    expected = np.array([1.0, np.nan, -4.0])
    assert results.relative_error(expected, expected) == 0
    assert results.relative_error([1.0, np.nan, -4.4], expected) == pytest.approx(0.1)
    assert results.relative_error([1.0, 0.0, -4.0], expected) == np.inf
    assert results.relative_error([np.nan, np.nan, -4.0], expected) == np.inf
    assert results.relative_error(expected[:2], expected) == np.inf
    assert results.rms_error([1.0, 1.0], [1.0, 3.0]) == pytest.approx(2 / 10**0.5)


def test_sides_take_turns_and_medians_are_compared():
    harness = load("harness")
    calls = []

    def side(name, seconds):
        def run():
            calls.append(name)
            return harness.Run(seconds.pop(0), name, peak_mb=1.0)

        return run

    pair = harness.compare(side("p", [6.0, 2.0, 4.0]), side("m", [9.0, 1.0, 2.0, 3.0]))
    assert calls == ["m", "p", "m", "p", "m", "p", "m"]
    assert pair.pairs == [(6.0, 1.0), (2.0, 2.0), (4.0, 3.0)]
    assert pair.ratio == 2.0
    assert pair.merps.result == "m"


def test_functions_in_memory_are_timed_and_return_their_results():
    pair = load("harness").compare(lambda: 1, lambda: np.zeros(3), runs=2)
    assert pair.peer == 1
    assert pair.merps.shape == (3,)
    assert all(theirs > 0 and ours > 0 for theirs, ours in pair.pairs)


def test_a_process_is_measured_without_the_memory_of_its_parent():
    harness = load("harness")
    held = np.ones(30_000_000)  # 240 MB
    run = harness.run_command([sys.executable, "-c", "print('x'); print('[1, 2]')"])
    assert run.result == [1, 2]
    assert 0 < run.seconds < 30
    assert run.peak_mb < 100
    grown = harness.run_command([sys.executable, "-c", "x = b'1' * 150_000_000"])
    assert run.peak_mb + 140 < grown.peak_mb < run.peak_mb + 200
    del held


def test_a_failed_command_says_why():
    with pytest.raises(RuntimeError, match="went wrong"):
        load("harness").run_command(
            [sys.executable, "-c", "raise SystemExit('went wrong')"]
        )


def test_a_function_runs_in_a_process_of_its_own(tmp_path):
    harness = load("harness")
    (tmp_path / "five").write_bytes(b"12345")
    run = harness.run_function(harness.warm, folder=tmp_path)
    assert run.result == 5
    assert run.peak_mb > 0


def test_fewer_people_share_the_files_of_more(options):
    harness = load("harness")
    keywords = {"eeg_rate_hz": 200, "compress": False, "video_s": (12, 13)}
    two = harness.simulated(options, people=2, **keywords)
    one = harness.simulated(options, people=1, **keywords)
    assert two != one
    assert [path.name for path in (one / "data").iterdir()] == ["test_1"]
    name = "data/test_1/EEG_videos.mat"
    assert (one / name).samefile(two / name)


def test_peers_use_the_options_of_merps():
    peers, config = load("peers"), Config()
    eeg, fnirs = config.preprocess.eeg, config.preprocess.fnirs
    assert peers.EEG_HZ == eeg.to_hz
    assert peers.EEG_BAND_HZ == (eeg.band_pass.low_hz, eeg.band_pass.high_hz)
    assert peers.EEG_PAD_S == eeg.band_pass.pad_s
    assert eeg.notch is None
    assert peers.FNIRS_HZ == fnirs.to_hz
    assert fnirs.band_pass.low_hz is None
    assert peers.FNIRS_HIGH_HZ == fnirs.band_pass.high_hz
    assert peers.FNIRS_PAD_S == fnirs.band_pass.pad_s
    assert peers.N_KINDS == len(fnirs.kinds)
    assert eeg.band_pass.order == fnirs.band_pass.order == peers.ORDER
    assert peers.WINDOW_S == config.windows.window_s


@pytest.mark.parametrize("eeg_rate_hz", [200, 1000])
def test_agreement_is_told_from_disagreement(options, tmp_path, eeg_rate_hz):
    import merps

    agreement = load("agreement")
    data = load("harness").simulated(
        options, people=1, eeg_rate_hz=eeg_rate_hz, compress=False, video_s=(12, 13)
    )
    merps.preprocess_dataset(data, tmp_path / "store")
    assert agreement.largest_error(data, tmp_path / "store") <= agreement.TOLERANCE
    config = Config.model_validate(
        {"preprocess": {"eeg": {"band_pass": {"high_hz": 44.0}}}}
    )
    merps.preprocess_dataset(data, tmp_path / "other", config=config)
    assert agreement.largest_error(data, tmp_path / "other") > agreement.TOLERANCE


def test_floor_touches_every_variable_of_compressed_files(options, tmp_path):
    floors = load("floors")
    data = load("harness").simulated(
        options, people=1, eeg_rate_hz=200, compress=True, video_s=(10, 11, 12)
    )
    eeg = next(data.rglob("EEG_videos.mat"))
    parts = floors.parts_of(eeg)
    assert len(parts) == 3
    assert parts[-1][2] == eeg.stat().st_size
    assert all(compressed for *_, compressed in parts)
    floors.read_and_write(data, tmp_path, [10, 5_000_000])
    assert [(tmp_path / str(k)).stat().st_size for k in (0, 1)] == [10, 5_000_000]


def test_goals_are_as_good_as_their_worst_row(tmp_path):
    run_all, results = load("run_all"), load("results")
    rows = [
        results.Row("a", "peer", peer, 1.0, goal="G1").as_dict() for peer in (20, 11)
    ]
    done = {"preprocess": {"rows": rows}}
    goals = run_all.judge(done)
    assert goals["G1"]["verdict"] == "met"
    assert goals["G1"]["value"] == 11
    assert goals["G2"]["verdict"] is None
    readme = tmp_path / "README.md"
    shutil.copy(BENCH / "README.md", readme)
    everything = {"machine": results.machine(), "goals": goals, "scripts": done}
    everything = json.loads(json.dumps(everything))
    run_all.write_readme(readme, everything)
    once = readme.read_text()
    assert "bench_preprocess.py\n\n```text\nrow" in once
    run_all.write_readme(readme, everything)
    assert readme.read_text() == once


def test_all_scripts_are_run():
    names = {path.stem.removeprefix("bench_") for path in BENCH.glob("bench_*.py")}
    assert names <= set(load("run_all").ORDER)


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", sorted(BENCH.glob("bench_*.py")), ids=lambda path: path.stem
)
def test_scripts_run_alone(script, tmp_path):
    harness = load("harness")
    quick = ["--quick", "--runs", "1", "--people", "1", "--data", tmp_path / "data"]
    written = tmp_path / "rows.json"
    harness.run_command([*harness.PYTHON, script, *quick, "--json", written])
    rows = json.loads(written.read_text())["rows"]
    assert rows
    assert not [row["what"] for row in rows if row["verdict"] == "numbers differ"]
