"""How long merps takes to start: commands and imports, against those of its peers.

Every run is a process of its own. The first call of `preprocess` compiles the loops,
as after an installation; the second one finds them.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import harness

import merps

_RUNS = 5
_VIDEO_S = (60,)


def python(code: str) -> harness.Run:
    """Run one line of Python."""
    return harness.run_command([*harness.PYTHON, "-c", code])


def merps_version() -> harness.Run:
    """Ask for the version."""
    run = harness.run_command([*harness.MERPS, "--version"])
    return _require(run, run.result == f"merps {merps.__version__}")


def merps_help() -> harness.Run:
    """Ask for help."""
    run = harness.run_command([*harness.MERPS, "--help"])
    return _require(run, "preprocess" in run.result)


def merps_preprocess(data: Path, caches: Path | None) -> harness.Run:
    """Preprocess into a new store; without `caches`, compile the loops anew."""
    with tempfile.TemporaryDirectory() as place:
        with _environment(MERPS_CACHE_DIR=str(caches or place)):
            out = Path(place) / "store"
            run = harness.run_command(
                [*harness.MERPS, "preprocess", data, "--out", out, "--json"]
            )
    return _require(run, run.result["done"] == 1 and not run.result["failed"])


def _require(run: harness.Run, right: bool) -> harness.Run:
    """Return a run whose output is right."""
    if not right:
        raise RuntimeError(f"unexpected output: {run.result}")
    return run


@contextmanager
def _environment(**changes: str | None) -> Iterator[None]:
    """Start commands with other variables; None takes one away."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    """Set or remove variables of the environment."""
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def rows(options: argparse.Namespace) -> Iterator[harness.Row]:
    """Yield the rows of the table."""
    data = harness.simulated(
        options, people=1, eeg_rate_hz=1000, compress=False, video_s=_VIDEO_S
    )
    with tempfile.TemporaryDirectory() as caches:
        # Bytecode is kept for merps as for its peers, as pip does when it installs.
        bytecode = {
            "PYTHONDONTWRITEBYTECODE": None,
            "PYTHONPYCACHEPREFIX": f"{caches}/bytecode",
        }
        sides = {
            "bare": lambda: python("pass"),
            "mne": lambda: python("import mne"),
            "braindecode": lambda: python("import braindecode"),
            "merps": lambda: python("import merps"),
            "version": merps_version,
            "help": merps_help,
            "second": lambda: merps_preprocess(data, Path(caches)),
        }
        first = {"first": lambda: merps_preprocess(data, None)}
        n_runs = max(options.runs, _RUNS)
        with _environment(**bytecode):
            harness.interleave(sides, runs=1)  # fills both caches
            done = harness.interleave(sides, runs=n_runs)
            done |= harness.interleave(first, runs=1 if options.quick else n_runs)
    took = {side: median(run.seconds for run in runs) for side, runs in done.items()}

    def row(what: str, side: str, peer: str, name: str, **facts) -> harness.Row:
        pairs = [
            (theirs.seconds, ours.seconds)
            for theirs, ours in zip(done[peer], done[side], strict=False)
        ]
        return harness.Row(what, name, took[peer], took[side], pairs=pairs, **facts)

    over = took["version"] - took["bare"]
    bare, video = "python -c pass", "one 60 s video at 1000 Hz"
    yield row(
        "merps --version", "version", "bare", bare, goal="G11 version", value=over
    )
    yield row("merps --help", "help", "bare", bare)
    yield row("import merps", "merps", "mne", "import mne")
    yield row("import merps", "merps", "braindecode", "import braindecode")
    yield row(
        f"merps preprocess, {video}, second call",
        "second",
        "mne",
        "import mne, nothing else",
        goal="G11 one video",
        value=took["second"],
        note=f"the stages took {_stages(done['second']):.2f} s of it",
    )
    yield row(
        f"merps preprocess, {video}, first call",
        "first",
        "mne",
        "import mne, nothing else",
        note="compiles the loops, as once after installation",
    )


def _stages(runs: list[harness.Run]) -> float:
    """Seconds that the command itself counts, in its median run."""
    return median(run.result["seconds"] for run in runs)


if __name__ == "__main__":
    harness.main(__doc__, rows)
