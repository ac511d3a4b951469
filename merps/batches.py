"""The windows of a store in batches, gathered from the mapped files when asked for."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, get_args

import numpy as np
from jaxtyping import Float, Float32, Int

from merps.errors import InputError
from merps.recording import Trial
from merps.shapes import Rows, SampleTargets, Signal
from merps.spans import COPIES
from merps.store import Store
from merps.windows import (
    Modality,
    WindowFormat,
    WindowGrid,
    index_windows,
)

Part = TypeVar("Part")
Prepared = TypeVar("Prepared")


def prepare_ahead(
    prepare: Callable[[Part], Prepared], parts: Sequence[Part]
) -> Iterator[Prepared]:
    """Yield prepared parts, the next one made in a thread while one is worked on.

    Parameters
    ----------
    prepare : callable
        Takes a part.
    parts : sequence
        What it takes, in order.

    Yields
    ------
    object
        What `prepare` returns. Closing the iterator, or dropping it, ends its thread.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="merps-batches") as pool:
        ahead = [pool.submit(prepare, part) for part in parts[:1]]
        for part in parts[1:]:
            prepared = ahead.pop().result()
            ahead.append(pool.submit(prepare, part))
            yield prepared
            del prepared  # or its memory would be held while the next is awaited
        if ahead:
            yield ahead.pop().result()


@dataclass(frozen=True, slots=True)
class Batch:
    """Some windows of a `WindowSet`, which keeps no reference to them.

    Parameters
    ----------
    rows : ndarray of int64, shape (window,)
        Which windows of the set these are.
    windows : ndarray of float32, shape (window, channel, time)
        Or (window, kind, channel, time); NaN where a sample is missing.
    targets : ndarray of float64, shape (window, 2)
        Valence and arousal; NaN where there is no label.
    """

    rows: Rows
    windows: Float32[np.ndarray, "window *kind channel time"]
    targets: SampleTargets


class WindowSet:
    """The windows of one modality of a store, one for each labeled second.

    A trial that lacks the modality has no windows in the set: nothing in it has to be
    skipped or filled before a net can learn from it, and `people`, `stimuli` and
    `seconds` tell what is there. Single missing samples stay NaN, and so do the targets
    of trials without labels. Windows that leave the signal are mirrored as
    `merps.gather_windows` does, or are NaN where they would begin before the signal of
    a store whose phase is causal.

    Only the index is kept in memory. A person's file is opened, which verifies it, when
    its first window is asked for, and stays mapped until `close`: the operating system
    reads what is used and takes it back when memory is short. Each opened person holds
    one file descriptor and one map until then. So there is no need to write windows to
    files before training::

        windows = WindowSet(store, grid, modality="eeg")
        rows = np.flatnonzero(np.isin(windows.people, learners))
        rng = np.random.default_rng(seed)
        for _ in range(n_epochs):
            for batch in windows.batches(batch_size=64, rng=rng, rows=rows):
                output = net(torch.from_numpy(batch.windows))
                loss = criterion(output, torch.from_numpy(batch.targets).float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    Parameters
    ----------
    store : Store
        Preprocessed people.
    grid : WindowGrid
        Which second sees which span.
    modality : str
        ``eeg`` or ``fnirs``.
    people : sequence of str, optional
        Who; everyone if absent.
    seconds : mapping of (str, str) to int, optional
        By person and stimulus, how many seconds are wanted of a trial without labels,
        where its signals end a little earlier.

    Raises
    ------
    InputError
        If there is no such modality or person, or not one window.
    DataError
        If a person's file is damaged, or channels or rates differ between trials.
    """

    def __init__(
        self,
        store: Store,
        grid: WindowGrid,
        *,
        modality: str,
        people: Sequence[str] | None = None,
        seconds: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        if modality not in get_args(Modality):
            raise InputError(
                f"no modality {modality!r}; there are {', '.join(get_args(Modality))}"
            )
        people = store.people if people is None else people

        def trials() -> Iterator[Trial]:
            for person in people:
                with store.person(person) as stored:
                    yield from stored.trials()

        index = index_windows(trials(), grid, modality=modality, seconds=seconds)
        if index is None:
            raise InputError(
                f"{store.path}: not one window of {modality} signals in the recordings "
                f"of {len(people)} people; take another modality or other people"
            )
        self._store, self._modality, self._index = store, modality, index
        self._signals: dict[str, dict[str, Signal]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def format(self) -> WindowFormat:
        """Channels, kinds, units, rate and shape of every window."""
        return self._index.format

    @property
    def people(self) -> np.ndarray:
        """Name of the person of each window."""
        return self._index.people

    @property
    def stimuli(self) -> np.ndarray:
        """Name of the stimulus of each window."""
        return self._index.stimuli

    @property
    def seconds(self) -> Int[np.ndarray, " sample"]:
        """Labeled second of each window; second t covers [t, t + 1) after onset."""
        return self._index.seconds

    @property
    def targets(self) -> SampleTargets:
        """Valence and arousal of each window; NaN where there is no label."""
        return self._index.targets

    def gather(
        self,
        rows: Rows,
        out: Float[np.ndarray, "window *kind channel time"] | None = None,
    ) -> Float[np.ndarray, "window *kind channel time"]:
        """Copy some windows.

        Threads may call this at the same time.

        Parameters
        ----------
        rows : ndarray of int, shape (window,)
            Which ones, in any order; may repeat.
        out : ndarray, shape (window, channel, time), optional
            Where to write them, such as an array of an earlier call; with an axis of
            kinds before the channels where signals have kinds.

        Returns
        -------
        ndarray of float32, shape (window, channel, time)
            In the order of `rows`, with an axis of kinds before the channels where
            signals have kinds; NaN where a sample is missing; `out` where given.

        Raises
        ------
        InputError
            If there is no such row, or `out` has another shape.
        DataError
            If a person's file is damaged.
        """
        rows = self._require_rows(rows)
        shape = (len(rows), *self.format.shape)
        if out is None:
            out = np.empty(shape, dtype=np.float32)
        elif out.shape != shape:
            raise InputError(f"out must have the shape {shape}, got {out.shape}")
        copy = COPIES[self._store.phase]
        for place in np.argsort(rows, kind="stable"):  # from file to file, forward
            row = rows[place]
            signal = self._signal(self.people[row], self.stimuli[row])
            copy(signal, int(self._index.starts[row]), out[place])
        return out

    def batches(
        self,
        *,
        batch_size: int,
        rng: np.random.Generator | None,
        rows: Rows | None = None,
    ) -> Iterator[Batch]:
        """Return windows in batches, the next one gathered while one is worked on.

        Parameters
        ----------
        batch_size : int
            Windows in a batch; the last one may have fewer.
        rng : numpy.random.Generator, optional
            Shuffles the windows, anew in each call; None keeps the order of `rows`.
        rows : ndarray of int, shape (window,), optional
            Which windows; all if absent.

        Returns
        -------
        iterator of Batch
            Each window once, in arrays of its own. Closing the iterator, or dropping
            it, ends its thread.

        Raises
        ------
        InputError
            If `batch_size` is not positive or there is no such row.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        order = np.arange(len(self)) if rows is None else self._require_rows(rows)
        if rng is not None:
            order = rng.permutation(order)
        firsts = range(0, len(order), batch_size)
        parts = [order[k : k + batch_size] for k in firsts]
        return prepare_ahead(self._batch, parts)

    def close(self) -> None:
        """Let go of the mapped files; they are opened again when asked for."""
        with self._lock:
            self._signals.clear()

    def _batch(self, rows: Rows) -> Batch:
        """Gather one batch."""
        return Batch(rows, self.gather(rows), self.targets[rows])

    def _require_rows(self, rows: Rows) -> Rows:
        """Refuse what are no row numbers of this set."""
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise InputError(
                f"rows must be row numbers, got {rows.dtype} of shape {rows.shape}; "
                "numpy.flatnonzero makes them from a mask"
            )
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise InputError(
                f"rows must lie in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}"
            )
        return rows.astype(np.int64)

    def _signal(self, person: str, stimulus: str) -> Signal:
        """Return a mapped signal; its person's file is opened once."""
        with self._lock:
            if person not in self._signals:
                with self._store.person(person) as stored:
                    self._signals[person] = {
                        trial.stimulus: recording.signal
                        for trial in stored.trials()
                        if (recording := getattr(trial, self._modality)) is not None
                    }
            return self._signals[person][stimulus]
