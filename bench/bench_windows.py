"""Windows in memory, in shuffled batches and as files, against NumPy, MNE, braindecode.

The EEG of two simulated people at 200 Hz, windows of 4 s every second, from a store in
the page cache. MNE and braindecode get their recordings ready made, and cut the same
windows from them. Files are synced to the disk by every side, the limit included, which
writes as many bytes from memory and computes nothing.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import floors
import harness
import numpy as np

BATCH_SIZE, WINDOW_S, STEP_S = 64, 4.0, 1.0


def rows(options) -> Iterator[harness.Row]:
    """Measure windows in memory, batches, and files."""
    import merps

    data = harness.simulated(options, people=2, eeg_rate_hz=200, compress=False)
    with tempfile.TemporaryDirectory(dir=options.data, prefix="windows-") as scratch:
        store = Path(scratch) / "store"
        merps.preprocess_dataset(data, store)
        bench = Bench(store, Path(scratch), options.runs, options.threads)
        yield from bench.in_memory()
        yield from bench.in_batches()
        yield from bench.as_files()


@dataclass(frozen=True)
class Bench:
    """What compares sides on one store."""

    store: Path
    scratch: Path
    n_runs: int
    n_threads: int

    def in_memory(self) -> Iterator[harness.Row]:
        """Stack all windows of one person."""
        signals, rate_hz = signals_of(self.store)
        signals = signals[: len(signals) // 2]
        dataset = braindecode_windows(signals, rate_hz)
        raws = [as_raw(signal, rate_hz) for signal in signals]
        sides = {
            "NumPy, copy of views": lambda: peer_views(signals, rate_hz),
            "NumPy, views by index": lambda: peer_indexed(signals, rate_hz),
            "MNE, epochs": lambda: peer_epochs(raws),
            "braindecode, stacked": lambda: peer_stacked(dataset),
        }
        for name, peer in sides.items():
            for n in (1, self.n_threads) if "copy" in name else (1,):
                pair = harness.compare(
                    peer,
                    lambda n=n: merps_gather(signals, rate_hz, n),
                    runs=self.n_runs,
                )
                yield harness.Row(
                    f"{len(pair.merps)} windows in memory, threads: {n}",
                    name,
                    pair.peer_s,
                    pair.merps_s,
                    error=harness.relative_error(pair.merps, pair.peer),
                    pairs=pair.pairs,
                )

    def in_batches(self) -> Iterator[harness.Row]:
        """Go once through all windows of one person, shuffled, so many at a time."""
        signals, rate_hz = signals_of(self.store)
        dataset = braindecode_windows(signals[: len(signals) // 2], rate_hz)
        windows = window_set(self.store, people_of(self.store)[:1])
        pair = harness.compare(
            lambda: peer_loader(dataset),
            lambda: merps_batches(windows),
            runs=self.n_runs,
        )
        yield harness.Row(
            f"{len(windows)} windows in shuffled batches",
            "braindecode, DataLoader",
            pair.peer_s,
            pair.merps_s,
            # Middle samples of every window, whatever the order.
            error=harness.relative_error(*map(np.sort, (pair.merps, pair.peer))),
            pairs=pair.pairs,
        )

    def as_files(self) -> Iterator[harness.Row]:
        """Write the windows of both people."""
        for merps, peers in (
            (merps_npy, (peer_save, floor)),
            (merps_hdf5, (peer_h5py, floor)),
        ):
            for peer in peers:
                pair = harness.compare(
                    lambda peer=peer: self.run(peer),
                    lambda merps=merps: self.run(merps),
                    runs=self.n_runs,
                )
                is_floor = peer is floor
                yield harness.Row(
                    f"{merps.__name__[6:]} files, threads: {self.n_threads}",
                    "limit: write and sync" if is_floor else peer.__name__[5:],
                    pair.peer_s,
                    pair.merps_s,
                    error=None if is_floor else error_of(pair.merps, pair.peer),
                    peer_mb=self.peak_mb(peer),
                    merps_mb=self.peak_mb(merps),
                    pairs=pair.pairs,
                )

    def run(self, side: Callable) -> harness.Run:
        """Run one side into a folder of its own, emptied before the clock starts."""
        out = self.scratch / side.__name__
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        start = time.perf_counter()
        side(self.store, out, self.n_threads)
        return harness.Run(time.perf_counter() - start, out)

    def peak_mb(self, side: Callable) -> float:
        """Return the peak memory of one side."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            keywords = {"store": self.store, "out": out, "n_threads": self.n_threads}
            alone = harness.run_function(peak_of, side=side.__name__, **keywords)
        return alone.peak_mb


# In memory


def merps_gather(signals, rate_hz: float, n_threads: int):
    """Copy the windows of all trials into one array."""
    from merps.spans import copy_span

    length, step = spans(rate_hz)
    counts = [n_windows(signal, rate_hz) for signal in signals]
    ends = np.cumsum(counts)
    out = np.empty((ends[-1], len(signals[0]), length), np.float32)

    def fill(signal, end: int, n: int) -> None:
        for k in range(n):
            copy_span(signal, k * step, out[end - n + k])

    if n_threads == 1:
        list(map(fill, signals, ends, counts))
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(fill, signals, ends, counts))
    return out


def peer_views(signals, rate_hz: float):
    """Copy strided views."""
    length, step = spans(rate_hz)
    views = np.lib.stride_tricks.sliding_window_view
    return joined(
        [views(x, length, axis=-1)[:, ::step].transpose(1, 0, 2) for x in signals]
    )


def peer_indexed(signals, rate_hz: float):
    """Copy views picked by an array of starts, as labeled seconds need not be even."""
    length, step = spans(rate_hz)
    out = []
    for signal in signals:
        views = np.lib.stride_tricks.sliding_window_view(signal, length, axis=-1)
        starts = step * np.arange(n_windows(signal, rate_hz))
        out.append(views[:, starts].transpose(1, 0, 2))
    return joined(out)


def joined(parts):
    """Join windows of many trials; NumPy alone would keep the order of their memory."""
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    return np.concatenate(parts, out=np.empty(shape, np.float32))


def peer_epochs(raws):
    """Cut recordings with MNE."""
    import mne

    parts = [
        mne.make_fixed_length_epochs(
            raw,
            duration=WINDOW_S,
            overlap=WINDOW_S - STEP_S,
            preload=True,
            verbose="error",
        ).get_data(copy=False)
        for raw in raws
    ]
    return np.concatenate(parts).astype(np.float32)


def peer_stacked(dataset):
    """Stack the windows that braindecode gives one by one."""
    return np.stack([window for window, *_ in dataset])


# In batches


def merps_batches(windows):
    """Take the middle sample of every window, from batches."""
    batches = windows.batches(batch_size=BATCH_SIZE, rng=np.random.default_rng(0))
    return np.concatenate([middle(batch.windows) for batch in batches])


def peer_loader(dataset):
    """Take the same from torch's loader, which is no faster with a worker process."""
    import torch

    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    return np.concatenate([middle(x.numpy()) for x, *_ in loader])


def middle(windows):
    """Return the middle sample of the first channel."""
    return windows[:, 0, windows.shape[-1] // 2]


# As files


def merps_npy(store: Path, out: Path, n_threads: int) -> None:
    """Export as NumPy files."""
    from merps.export import export_windows

    export_windows(store, out, modalities=["eeg"], jobs=n_threads)


def merps_hdf5(store: Path, out: Path, n_threads: int) -> None:
    """Export as HDF5."""
    from merps.export import export_windows

    export_windows(store, out, modalities=["eeg"], jobs=n_threads, file_format="hdf5")


def peer_save(store: Path, out: Path, n_threads: int) -> None:
    """Stack the windows of each person, and numpy.save them."""
    for person, windows in stacked(store):
        with open(out / f"{person}-eeg.npy", "wb") as file:
            np.save(file, windows)
            file.flush()
            os.fsync(file.fileno())


def peer_h5py(store: Path, out: Path, n_threads: int) -> None:
    """Stack the windows of each person, and create a dataset of them."""
    import h5py

    for person, windows in stacked(store):
        path = out / f"{person}-eeg.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("windows", data=windows)
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def floor(store: Path, out: Path, n_threads: int) -> None:
    """Write and sync as many bytes, one file a person."""
    windows = window_set(store)
    n_bytes = 4 * int(np.prod(windows.format.shape))
    people, counts = np.unique(windows.people, return_counts=True)
    with ThreadPoolExecutor(n_threads) as pool:
        paths = [out / str(person) for person in people]
        list(pool.map(floors.write_synced, paths, counts * n_bytes))


def stacked(store: Path):
    """Yield each person and all of the windows, stacked by NumPy."""
    signals, rate_hz = signals_of(store)
    people = people_of(store)
    n = len(signals) // len(people)
    for k, person in enumerate(people):
        yield person, peer_views(signals[k * n : (k + 1) * n], rate_hz)


def error_of(ours: Path, theirs: Path) -> float:
    """Compare the files that two sides have left."""
    return max(
        harness.relative_error(tensor(ours / path.name), tensor(path))
        for path in theirs.iterdir()
    )


def tensor(path: Path):
    """Read the windows in a file."""
    import h5py

    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    with h5py.File(path) as file:
        return file["windows"][:]


def peak_of(*, side: str, store: str, out: str, n_threads: int) -> None:
    """Run one side alone, so that its process can be measured."""
    run: Callable = globals()[side]
    run(Path(store), Path(out), n_threads)


# Shared


def spans(rate_hz: float) -> tuple[int, int]:
    """Return length of a window and distance between windows, in samples."""
    return round(WINDOW_S * rate_hz), round(STEP_S * rate_hz)


def n_windows(signal, rate_hz: float) -> int:
    """Count the windows of a signal."""
    length, step = spans(rate_hz)
    return 1 + (signal.shape[-1] - length) // step


def people_of(store: Path) -> tuple[str, ...]:
    """Name the people of a store."""
    from merps.store import Store

    return Store.open(store).people


def signals_of(store: Path):
    """Return the EEG of every trial, from the first window to the last, and its rate.

    A window that begins before the signal is completed by a mirror image of it.
    """
    from merps.store import Store

    opened, signals = Store.open(store), []
    for person in opened.people:
        with opened.person(person) as stored:
            for trial in stored.trials():
                eeg, n_seconds = trial.eeg, len(trial.targets)
                first = round((STEP_S - WINDOW_S - eeg.start_s) * eeg.rate_hz)
                last = first + round((n_seconds - 1 + WINDOW_S) * eeg.rate_hz)
                pads = (max(0, -first), max(0, last - eeg.n_times))
                signal = np.pad(eeg.signal, ((0, 0), pads), mode="symmetric")
                signals.append(signal[:, max(0, first) :][:, : last - first].copy())
    return signals, eeg.rate_hz


def window_set(store: Path, people: Sequence[str] | None = None):
    """Return the windows of a store, or of some people in it."""
    from merps.batches import WindowSet
    from merps.store import Store
    from merps.windows import WindowGrid

    grid = WindowGrid(WINDOW_S, STEP_S, lag_s=0.0, lookahead_s=0.0)
    return WindowSet(Store.open(store), grid, modality="eeg", people=people)


def as_raw(signal, rate_hz: float):
    """Return a recording as MNE holds it."""
    import mne

    info = mne.create_info(len(signal), rate_hz, "eeg", verbose="error")
    return mne.io.RawArray(signal, info, verbose="error")


def braindecode_windows(signals, rate_hz: float):
    """Cut recordings with braindecode; windows are taken when asked for."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_fixed_length_windows

    length, step = spans(rate_hz)
    recordings = [
        RawDataset(as_raw(x, rate_hz), {"trial": k}) for k, x in enumerate(signals)
    ]
    return create_fixed_length_windows(
        BaseConcatDataset(recordings),
        window_size_samples=length,
        window_stride_samples=step,
        on_last_window="drop",
        preload=True,
        verbose="error",
    )


if __name__ == "__main__":
    harness.main(__doc__, rows)
