"""Reading MATLAB files against SciPy, and against touching or inflating the bytes.

One simulated person at 1000 Hz, uncompressed and compressed, warm in the page cache.
Every side brings each sample to the processor once, by a sum. `view` leaves arrays in
the mapped file where it can, `read` copies them; SciPy always copies, one variable or
one file at a time. The limit is what no reader can be faster than: touching the mapped
bytes, or inflating them without keeping the result, on the same number of threads.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import floors
import harness
import numpy as np


def rows(options) -> Iterator[harness.Row]:
    """Measure uncompressed and compressed files."""
    for compress in (False, True):
        data = harness.simulated(options, people=1, eeg_rate_hz=1000, compress=compress)
        reader = Reader(data, "1000c" if compress else "1000u", options.runs)
        error, n = largest_error(data), options.threads
        # What is compressed is read also where a view is asked for.
        for merps in (merps_view,) if compress else (merps_view, merps_read):
            yield reader.row("SciPy by variable", peer_by_variable, 1, merps, 1, error)
            yield reader.row("SciPy by variable", peer_by_variable, 1, merps, n, error)
            yield reader.row("SciPy by file", peer_by_file, 1, merps, n, error)
            for m in sorted({1, n}):
                yield reader.row(f"limit, threads: {m}", limit, m, merps, m)


@dataclass(frozen=True)
class Reader:
    """What compares two ways to read the same files."""

    data: Path
    kind: str
    n_runs: int

    def row(
        self,
        peer_name: str,
        peer: Callable,
        peer_threads: int,
        merps: Callable,
        n_threads: int,
        error: float | None = None,
    ) -> harness.Row:
        """Time both in turn, then measure the memory of each in its own process."""
        pair = harness.compare(
            lambda: peer(self.data, peer_threads),
            lambda: merps(self.data, n_threads),
            runs=self.n_runs,
        )
        return harness.Row(
            f"{self.kind} {merps.__name__[6:]}, threads: {n_threads}",
            peer_name,
            pair.peer_s,
            pair.merps_s,
            error=error,
            peer_mb=self.peak_mb(peer, peer_threads),
            merps_mb=self.peak_mb(merps, n_threads),
            pairs=pair.pairs,
        )

    @functools.cache  # noqa: B019
    def peak_mb(self, side: Callable, n_threads: int) -> float:
        """Return the peak memory of one side."""
        keywords = {"side": side.__name__, "data": self.data, "n_threads": n_threads}
        return harness.run_function(peak_of, **keywords).peak_mb


def peer_by_variable(data: Path, n_threads: int) -> float:
    """Load one variable after the other with SciPy and sum its samples."""
    from scipy.io import loadmat, whosmat

    total = 0.0
    for path in files(data):
        for name, _, _ in whosmat(path):
            total += np.sum(loadmat(path, variable_names=[name])[name])
    return total


def peer_by_file(data: Path, n_threads: int) -> float:
    """Load one file after the other with SciPy and sum its samples."""
    from scipy.io import loadmat

    total = 0.0
    for path in files(data):
        arrays = loadmat(path)
        total += sum(np.sum(x) for x in arrays.values() if isinstance(x, np.ndarray))
    return total


def merps_view(data: Path, n_threads: int) -> float:
    """Show every variable where it lies if possible, and sum its samples."""
    return merps_sum(data, n_threads, "view")


def merps_read(data: Path, n_threads: int) -> float:
    """Read every variable into an array of its own, and sum its samples."""
    return merps_sum(data, n_threads, "read")


def merps_sum(data: Path, n_threads: int, method: str) -> float:
    """Sum the samples of all variables, the largest first, and let go of each."""
    from merps.readers.mat5 import MatFile

    def add(task) -> float:
        file, name = task
        total = float(np.sum(getattr(file, method)(name)))
        file.release(name)
        return total

    opened = [MatFile(path) for path in files(data)]
    tasks = [(file, name) for file in opened for name in file.variables]
    tasks.sort(key=lambda task: -task[0].variables[task[1]].n_bytes)
    with ThreadPoolExecutor(n_threads) as pool:
        total = sum(pool.map(add, tasks))
    for file in opened:
        file.close()
    return total


def limit(data: Path, n_threads: int) -> None:
    """Touch or inflate every byte and keep nothing."""
    parts = [part for path in files(data) for part in floors.parts_of(path)]
    parts.sort(key=lambda part: part[1] - part[2])
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda part: floors.touch(*part), parts))


def largest_error(data: Path) -> float:
    """Compare every variable, viewed and read, with what SciPy loads."""
    from scipy.io import loadmat

    from merps.readers.mat5 import MatFile

    errors = []
    for path in files(data):
        with MatFile(path) as file:
            for name in file.variables:
                expected = loadmat(path, variable_names=[name])[name]
                for array in (file.view(name), file.read(name)):
                    errors.append(harness.relative_error(array, expected))
                file.release(name)
    return max(errors)


def peak_of(*, side: str, data: str, n_threads: int) -> None:
    """Run one side alone, so that its process can be measured."""
    run: Callable = globals()[side]
    run(Path(data), n_threads)


def files(data: Path) -> list[Path]:
    """List the files that hold signals."""
    return sorted((data / "data").rglob("*.mat"))


if __name__ == "__main__":
    harness.main(__doc__, rows)
