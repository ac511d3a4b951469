"""What the benchmarks share: fair timing, child processes, data, one table.

A script looks like this, and `python bench/bench_x.py --quick` runs it alone::

    import harness

    def peer_mean(x): ...
    def merps_mean(x): ...

    def rows(options):                 # options.quick, .runs, .people, .data, .threads
        pair = harness.compare(lambda: peer_mean(x), lambda: merps_mean(x),
                               runs=options.runs)
        yield harness.Row("mean of 500", "pyRiemann, 1 thread", pair.peer_s,
                          pair.merps_s, goal="G8 fast", pairs=pair.pairs,
                          error=harness.relative_error(pair.merps, pair.peer),
                          tolerance=2e-4)

    if __name__ == "__main__":
        harness.main(__doc__, rows)    # parses options, prints the table, --json FILE

A row whose `error` exceeds its `tolerance` (or is NaN) prints "numbers differ", and its
ratio does not count. Data come from `simulated(options, people=2, eeg_rate_hz=1000,
compress=False)`, made by `merps simulate` once and kept. Whole commands, and functions
whose memory is to be measured, run in a process of their own, clean of what this one
holds: `run_command([*MERPS, "check", folder])`, `run_function(function, key=value)`.
Both return a `Run` with wall seconds, start-up included, peak memory and a result;
`compare` takes callables that return one like any other, and then uses its seconds.
"""

import argparse
import importlib
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recordings import simulated, warm
from results import GOALS, Row, machine, relative_error, rms_error, table

__all__ = [
    "GOALS",
    "MERPS",
    "PYTHON",
    "Comparison",
    "Row",
    "Run",
    "compare",
    "interleave",
    "machine",
    "main",
    "relative_error",
    "rms_error",
    "run_command",
    "run_function",
    "simulated",
    "table",
    "threads",
    "warm",
]

PYTHON = (sys.executable,)
MERPS = (str(Path(sys.executable).with_name("merps")),)
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A process counts the size of the one it was forked from, so a small one forks it.
_MEASURE = """
import json, os, sys, time
facts = os.dup(2)
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - start
size = 1e6 if sys.platform == "darwin" else 1e3
code = os.waitstatus_to_exitcode(status)
measures = (code, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / size)
os.write(int(sys.argv[1]), json.dumps(measures).encode())
"""


@dataclass(frozen=True)
class Run:
    """One run: wall seconds and what came out; of a process also CPU s and peak MB."""

    seconds: float
    result: Any
    cpu_s: float | None = None
    peak_mb: float | None = None
    code: int = 0


@dataclass(frozen=True)
class Comparison:
    """Medians of interleaved runs, every (peer, merps) pair, and the last results."""

    peer_s: float
    merps_s: float
    pairs: list[tuple[float, float]]
    peer: Any
    merps: Any

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes."""
        return self.peer_s / self.merps_s


def interleave(sides: Mapping[str, Callable], *, runs: int = 3) -> dict[str, list[Run]]:
    """Run all sides in turn, `runs` times over; results are kept of the last turn.

    A callable that returns a `Run` is timed by it, any other by the clock here.
    """
    done = {name: [] for name in sides}
    for _ in range(runs):
        for name, function in sides.items():
            start = time.perf_counter()
            result = function()
            seconds = time.perf_counter() - start
            is_run = isinstance(result, Run)
            done[name].append(result if is_run else Run(seconds, result))
            del result
            # Arrays of earlier turns would fill the memory.
            if not is_run and len(done[name]) > 1:
                done[name][-2] = Run(done[name][-2].seconds, None)
    return done


def compare(
    peer: Callable, merps: Callable, *, runs: int = 3, warm_up: bool = True
) -> Comparison:
    """Run both in turn, `runs` times, after a turn that does not count.

    That turn compiles and imports; processes, which import anew each time, need it of
    merps only, and what takes minutes needs none.
    """
    if warm_up and not isinstance(merps(), Run):
        peer()
    done = interleave({"peer": peer, "merps": merps}, runs=runs)
    pairs = [
        (theirs.seconds, ours.seconds)
        for theirs, ours in zip(done["peer"], done["merps"], strict=True)
    ]
    last = (done["peer"][-1], done["merps"][-1])
    results = [run.result if run.peak_mb is None else run for run in last]
    medians = map(statistics.median, zip(*pairs, strict=True))
    return Comparison(*medians, pairs, *results)


def run_command(command: Sequence[object], *, ok: Iterable[int] = (0,)) -> Run:
    """Run a command; its peak memory is that of its largest process.

    The result is what it prints, or its last line, as JSON; the text where it is none.
    """
    reading, writing = os.pipe()
    measured = [*PYTHON, "-I", "-S", "-c", _MEASURE, writing, *command]
    with os.fdopen(reading) as facts:
        try:
            done = subprocess.run(
                list(map(str, measured)),
                capture_output=True,
                text=True,
                pass_fds=[writing],
                check=False,
            )
        finally:
            os.close(writing)
        code, *measures = json.loads(facts.read() or "[-1]")
    if code not in ok:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    result = done.stdout.strip()
    for text in (result, result.rpartition("\n")[2]):
        try:
            result = json.loads(text)
            break
        except ValueError:
            continue
    wall_s, cpu_s, peak_mb = measures
    return Run(wall_s, result, cpu_s, peak_mb, code)


def run_function(function: Callable, **keywords: object) -> Run:
    """Run a module's function in a new process; it takes and returns what JSON holds.

    The seconds count the interpreter and the imports, as a lab's script has them.
    """
    source = Path(inspect.getsourcefile(function)).resolve()
    text = json.dumps(keywords, default=str)
    return run_command([*PYTHON, __file__, source, function.__name__, text])


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """Hold BLAS and OpenMP of this process, and of those it starts, to n threads."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in _POOLS}
    os.environ.update(dict.fromkeys(_POOLS, str(n_threads)))
    try:
        with threadpool_limits(n_threads):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def main(description: str, rows: Callable) -> None:
    """Run a script: read the options, measure the rows, print and write them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    add = parser.add_argument
    add("--quick", action="store_true", help="small data, to try it")
    add("--runs", type=int, default=3, help="runs of each side; medians of them")
    add("--people", type=int, help="at most so many people")
    add("--threads", type=int, default=2, help="threads of merps")
    add("--data", type=Path, default=cache / "merps" / "bench", help="made here, kept")
    add("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    done = list(rows(options))
    print(table(done))
    if options.json:
        facts = {
            "script": Path(sys.argv[0]).name,
            "options": {k: v for k, v in vars(options).items() if k != "json"},
            "machine": machine(),
            "rows": [row.as_dict() for row in done],
        }
        options.json.write_text(json.dumps(facts, indent=1, default=str) + "\n")


if __name__ == "__main__":
    source, name, text = sys.argv[1:]
    sys.path.insert(0, str(Path(source).parent))
    called = getattr(importlib.import_module(Path(source).stem), name)
    print(json.dumps(called(**json.loads(text)), default=float))
