"""Preprocessing as a command and in process, against MNE, SciPy and braindecode.

Every side reads the same folder, warm in the page cache. Commands and peers run in
processes of their own, start-up included, and write beside the data; merps also syncs
what it writes to the disk, which no peer does. Its numbers are held against SciPy in
float64 with the same band-pass, up to 45 Hz: the filters that decimate differ above.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import agreement
import floors
import harness
import numpy as np
import peers

_PEOPLE = (1, 2, 4, 8)


def rows(options) -> Iterator[harness.Row]:
    """Measure everything, the main goal first."""
    options.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.data, prefix="out-") as scratch:
        bench = Bench(Path(scratch), options.threads, options.runs)

        def data(people: int, eeg_rate_hz: int = 1000, compress: bool = False) -> Path:
            return harness.simulated(
                options, people=people, eeg_rate_hz=eeg_rate_hz, compress=compress
            )

        yield from bench.plain(data(4), "1000u")
        yield from bench.compressed(data(2, compress=True), "1000c")
        yield from bench.low_rate(data(4, 200), "200u")
        counts = [n for n in _PEOPLE if n <= (options.people or n)]
        yield from bench.growth({n: data(n) for n in reversed(counts)})


@dataclass(frozen=True)
class Bench:
    """What writes to a scratch folder, with so many threads, so many times."""

    scratch: Path
    n_threads: int
    n_runs: int

    def plain(self, data: Path, kind: str) -> Iterator[harness.Row]:
        """Compare commands, and stages in process, on uncompressed files."""
        error, sizes = self.inspect(data)
        runs = self.interleave(
            {
                "merps": lambda: self.preprocess(data),
                "export": lambda: self.preprocess(data, export=True),
                "MNE": lambda: self.peer(peers.mne_fastest, data),
                "MNE FFT": lambda: self.peer(peers.mne_fft, data),
                "labs": lambda: self.peer(peers.mne_usual, data),
                "braindecode": lambda: self.peer(peers.braindecode_windows, data),
                "SciPy": lambda: self.peer(peers.scipy_poly, data),
                "FFT": lambda: self.peer(peers.scipy_fft, data),
                "inner": lambda: self.stages(data, self.n_threads),
                "inner 1": lambda: self.stages(data, 1),
                "floor": lambda: self.floor(data, sizes),
            }
        )
        what = f"{len(peers.people_of(data))} x {kind}"
        row = Rows(runs, error)
        yield row(f"{what}, continuous", "MNE, fastest", "MNE", goal="G1")
        yield row(f"{what}, continuous", "MNE, FFT resample, IIR", "MNE FFT")
        yield row(f"{what}, continuous", "MNE as usual, windows", "labs", goal="G2")
        if "export" in runs:
            windows = {"side": "export"}
            yield row(f"{what}, windows", "MNE as usual, windows", "labs", **windows)
        yield row(f"{what}, continuous", "braindecode, EEG windows", "braindecode")
        yield row(f"{what}, continuous", "SciPy, resample_poly", "SciPy")
        yield row(f"{what}, continuous", "read, write, sync", "floor", goal="G4")
        for side, n in (("inner", self.n_threads), ("inner 1", 1)):
            label = f"{what}, in process, {n} thread{'s' * (n > 1)}"
            inner = {"side": side, "of": stage_sum}
            goals = ("G3 MNE", "G3 SciPy") if side == "inner" else (None, None)
            yield row(label, "MNE, fastest", "MNE", goal=goals[0], **inner)
            yield row(label, "MNE as usual, windows", "labs", **inner)
            yield row(label, "SciPy, resample_poly", "SciPy", goal=goals[1], **inner)
            yield row(label, "SciPy, FFT resample", "FFT", **inner)
        sizes_mb = {"of": lambda run: run.peak_mb, "unit": "MB"}
        label = f"{what}, peak memory"
        yield row(label, "MNE, by variable", "MNE", **sizes_mb)
        yield row(label, "MNE as usual, by file", "labs", goal="G12 peak", **sizes_mb)

    def compressed(self, data: Path, kind: str) -> Iterator[harness.Row]:
        """Compare commands on compressed files."""
        error, sizes = self.inspect(data)
        runs = self.interleave(
            {
                "merps": lambda: self.preprocess(data),
                "MNE": lambda: self.peer(peers.mne_fastest, data),
                "floor": lambda: self.floor(data, sizes),
            }
        )
        what = f"{len(peers.people_of(data))} x {kind}, continuous"
        row = Rows(runs, error)
        yield row(what, "MNE, fastest", "MNE", goal="G5 MNE")
        library = floors.inflater()[0]
        yield row(what, f"{library} inflate, write, sync", "floor", goal="G5 inflate")

    def low_rate(self, data: Path, kind: str) -> Iterator[harness.Row]:
        """Compare commands on files of 200 Hz."""
        error, _ = self.inspect(data)
        runs = self.interleave(
            {
                "merps": lambda: self.preprocess(data),
                "MNE": lambda: self.peer(peers.mne_fastest, data),
            }
        )
        what = f"{len(peers.people_of(data))} x {kind}, continuous"
        yield Rows(runs, error)(what, "MNE, fastest", "MNE")

    def growth(self, folders: dict[int, Path]) -> Iterator[harness.Row]:
        """Tell how time and memory grow with the number of people."""
        folders = dict(sorted(folders.items()))
        runs = self.interleave(
            {n: lambda data=data: self.preprocess(data) for n, data in folders.items()}
        )
        one, most = min(folders), max(folders)
        peaks_mb = {
            n: statistics.median(run.peak_mb for run in runs[n]) for n in folders
        }
        if most > one:
            listed = ", ".join(f"{mb:.0f} MB of {n}" for n, mb in peaks_mb.items())
            yield harness.Row(
                f"peak memory, {most} people",
                f"{one} person",
                *(peaks_mb[one], peaks_mb[most]),
                goal="G12 flat",
                unit="MB",
                note=listed,
            )
        took_s = [statistics.median(run.seconds for run in runs[n]) for n in folders]
        # A line through two points says nothing.
        if len(folders) > 2:
            slope, start = np.polyfit(list(folders), took_s, 1)
            line_s = start + slope * np.array(list(folders))
            yield harness.Row(
                f"growth, {one} to {most} people",
                "straight line",
                *(float(line_s[-1]), took_s[-1]),
                goal="growth",
                value=float(np.abs(np.array(took_s) / line_s - 1).max()),
                note=f"{start:.2f} s + {slope:.2f} s a person; "
                + ", ".join(
                    f"{s:.2f} s for {n}" for n, s in zip(folders, took_s, strict=True)
                ),
            )

    def interleave(self, sides: dict) -> dict[object, list[harness.Run]]:
        """Run all sides in turn, without export where merps cannot do that yet."""
        if "export" in sides and not can_export():
            del sides["export"]
        return harness.interleave(sides, runs=self.n_runs)

    def preprocess(
        self, data: Path, look: Callable | None = None, *, export: bool = False
    ) -> harness.Run:
        """Run `merps preprocess` into a new store, and `merps export` after it."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            store = Path(out) / "store"
            jobs = ("--jobs", self.n_threads, "--quiet")
            run = harness.run_command(
                [*harness.MERPS, "preprocess", data, "--out", store, *jobs]
            )
            if export:
                windows = ("--out", f"{out}/windows", "--format", "hdf5", "--quiet")
                more = harness.run_command([*harness.MERPS, "export", store, *windows])
                run = replace(
                    run,
                    seconds=run.seconds + more.seconds,
                    cpu_s=run.cpu_s + more.cpu_s,
                    peak_mb=max(run.peak_mb, more.peak_mb),
                )
            return run if look is None else replace(run, result=look(store))

    def inspect(self, data: Path) -> tuple[float, list[int]]:
        """Return the error of what merps stores, and the sizes of its files."""

        def look(store: Path) -> tuple[float, list[int]]:
            files = (store / "people").glob("*.h5")
            return agreement.largest_error(data, store), [
                path.stat().st_size for path in files
            ]

        return self.preprocess(data, look).result

    def peer(self, function: Callable, data: Path) -> harness.Run:
        """Run a peer into a new folder."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            return harness.run_function(function, data=data, out=out)

    def stages(self, data: Path, n_threads: int) -> harness.Run:
        """Run the stages of merps in a process of their own."""
        return harness.run_function(merps_stages, data=data, n_threads=n_threads)

    def floor(self, data: Path, sizes: Sequence[int]) -> None:
        """Read or inflate every byte, then write and sync as many, on 2 threads."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            floors.read_and_write(data, Path(out), sizes)


@dataclass(frozen=True)
class Rows:
    """Makes rows of runs that share one error."""

    runs: dict[str, list[harness.Run]]
    error: float

    def __call__(
        self,
        what: str,
        peer_name: str,
        peer: str,
        *,
        side: str = "merps",
        of: Callable[[harness.Run], float] = lambda run: run.seconds,
        **more: object,
    ) -> harness.Row:
        """Compare one peer with one side of merps."""
        pairs = [
            (of(theirs), of(ours))
            for theirs, ours in zip(self.runs[peer], self.runs[side], strict=True)
        ]
        return harness.Row(
            what,
            peer_name,
            *map(statistics.median, zip(*pairs, strict=True)),
            error=self.error,
            tolerance=agreement.TOLERANCE,
            peer_mb=self.runs[peer][-1].peak_mb,
            merps_mb=self.runs[side][-1].peak_mb,
            pairs=pairs,
            **more,
        )


def stage_sum(run: harness.Run) -> float:
    """Seconds of reading and computing, without imports and saving."""
    return sum(s for name, s in run.result.items() if name not in ("import", "save"))


def merps_stages(data: str, n_threads: int) -> dict[str, float]:
    """Read and filter all people, as `merps preprocess` does before it stores."""
    from merps.datasets.mer_ps import open_dataset
    from merps.options import Config
    from merps.pipeline.trials import preprocess_plan

    config = Config().preprocess
    dataset = open_dataset(data)

    def bring(person: str, each: Callable, n_trials: int | None = None) -> None:
        with dataset.open_person(person) as opened:

            def trial(plan):
                done = preprocess_plan(opened, plan, config)
                opened.release(plan)
                return done

            list(each(trial, opened.plans[:n_trials]))

    bring(dataset.people[0], map, 1)  # imports, and loads compiled loops
    start = time.perf_counter()
    with (
        harness.threads(1),
        ThreadPoolExecutor(n_threads) as trials,
        ThreadPoolExecutor(2) as people,
    ):
        if n_threads == 1:
            for person in dataset.people:
                bring(person, map)
        else:  # the end of one person and the start of the next overlap
            list(people.map(lambda person: bring(person, trials.map), dataset.people))
    return {"work": time.perf_counter() - start}


def can_export() -> bool:
    """Tell whether this merps writes windows as files."""
    return not harness.run_command([*harness.MERPS, "export", "--help"], ok=(0, 2)).code


if __name__ == "__main__":
    harness.main(__doc__, rows)
