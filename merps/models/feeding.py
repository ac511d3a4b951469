"""Batches of seconds for a net: windows gathered ahead, scaled where the net is."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from merps.batches import prepare_ahead
from merps.models.alignment import Scaling
from merps.models.inputs import BLOCK_OF_MODALITY
from merps.models.rows import encode
from merps.samples import Samples

_MOST_MISSING = 0.5


@dataclass(frozen=True, slots=True)
class Loaded:
    """The windows of some seconds, as they came from the store.

    Parameters
    ----------
    rows : ndarray of int64, shape (row,)
        Which samples these are; those without any window are left out.
    places : ndarray of int64, shape (row,)
        Where they lie in the flattened sequences.
    shape : tuple of int
        Number of sequences and their length.
    windows : dict of ndarray, shape (present, channel, time)
        By modality, those that are there; kinds folded into the channels.
    present : dict of ndarray of bool, shape (row,)
        Which rows have a window of that modality.
    groups : dict of ndarray of int64, shape (present,)
        Which scaling each window takes.
    """

    rows: Int[np.ndarray, " row"]
    places: Int[np.ndarray, " row"]
    shape: tuple[int, int]
    windows: dict[str, np.ndarray]
    present: dict[str, Bool[np.ndarray, " row"]]
    groups: dict[str, Int[np.ndarray, " _"]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a net takes, on its device.

    Parameters
    ----------
    rows : ndarray of int64, shape (row,)
        Which samples these are.
    windows, present : dict of Tensor
        As of `Loaded`; scaled, and missing samples set to the mean of their channel.
    places : Tensor of int64, shape (row,)
        As of `Loaded`.
    shape : tuple of int
        As of `Loaded`.
    """

    rows: Int[np.ndarray, " row"]
    windows: dict[str, Float[torch.Tensor, "_ _ _"]]
    present: dict[str, Bool[torch.Tensor, " row"]]
    places: Int[torch.Tensor, " row"]
    shape: tuple[int, int]


class Feed:
    """The windows of samples by modality, with what scales them.

    A window of which more than half of the samples are missing counts as missing; a
    single missing sample is set to the mean of its channel, which is zero after
    scaling.

    Parameters
    ----------
    samples : Samples
        Their blocks hold the windows.
    scalings : mapping of str to Scaling
        By modality; for one group, or for each person in ascending order.
    shapes : mapping of str to tuple of int
        Kinds, channels and samples of a window of each modality that is used; one
        whose block the samples lack is missing in every row.
    device : str
        Where batches go.
    """

    def __init__(
        self,
        samples: Samples,
        scalings: Mapping[str, Scaling],
        shapes: Mapping[str, tuple[int, int, int]],
        *,
        device: str,
    ):
        self._blocks = {m: samples.blocks.get(BLOCK_OF_MODALITY[m]) for m in shapes}
        self._people = encode(samples.people)[1]
        self._shapes = {m: (k * c, t) for m, (k, c, t) in shapes.items()}
        self._device = device
        self._scalings = {
            modality: tuple(
                torch.tensor(part, device=device) for part in (s.mean, s.gain)
            )
            for modality, s in scalings.items()
        }

    def batches(
        self, sequences: Sequence[Int[np.ndarray, "_ _"]]
    ) -> Iterator[tuple[Batch, float]]:
        """Return batches, the next one gathered in a thread while one is worked on.

        Parameters
        ----------
        sequences : sequence of ndarray of int64, shape (sequence, second)
            Row numbers of the samples of each batch; -1 where a sequence has none.

        Returns
        -------
        iterator of tuple of (Batch, float)
            The batch, and how many seconds were spent waiting for it.
        """
        start_s = time.perf_counter()
        for loaded in prepare_ahead(self._load, sequences):
            waited_s = time.perf_counter() - start_s
            yield self._move(loaded), waited_s
            del loaded  # or its memory would be held while the next is awaited
            start_s = time.perf_counter()

    def _load(self, sequences: Int[np.ndarray, "sequence second"]) -> Loaded:
        """Gather the windows of all modalities; drop rows that have none."""
        places = np.flatnonzero(sequences.ravel() >= 0)
        rows = sequences.ravel()[places]
        windows, present = {}, {}
        for modality, block in self._blocks.items():
            there = np.zeros(len(rows), dtype=bool)
            x_wct = np.empty((0, *self._shapes[modality]), dtype=np.float32)
            if block is not None and (block.rows[rows] >= 0).any():
                there = block.rows[rows] >= 0
                x_wct = block.source.gather(block.rows[rows[there]])
                x_wct = x_wct.reshape(len(x_wct), *self._shapes[modality])
                good = np.isnan(x_wct).mean(axis=(1, 2)) <= _MOST_MISSING
                if not good.all():
                    there[there], x_wct = good, x_wct[good]
            windows[modality], present[modality] = x_wct, there
        any_there = np.logical_or.reduce(list(present.values()))
        people = self._people[rows]
        return Loaded(
            rows=rows[any_there],
            places=places[any_there],
            shape=sequences.shape,
            windows=windows,
            present={m: there[any_there] for m, there in present.items()},
            groups={m: people[there] for m, there in present.items()},
        )

    def _move(self, loaded: Loaded) -> Batch:
        """Bring a batch to the device and scale it there."""

        def to(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(self._device)

        windows = {}
        for modality, x in loaded.windows.items():
            if modality not in self._scalings:  # of a block that is not there
                windows[modality] = to(x)
                continue
            mean, gain = self._scalings[modality]
            groups = to(loaded.groups[modality]) if len(mean) > 1 else 0
            windows[modality] = _scaled(
                to(x.astype(np.float32, copy=False)), mean[groups], gain[groups]
            )
        return Batch(
            rows=loaded.rows,
            windows=windows,
            present={m: to(there) for m, there in loaded.present.items()},
            places=to(loaded.places),
            shape=loaded.shape,
        )


def _scaled(
    x_wct: Float[torch.Tensor, "window channel time"],
    mean: Float[torch.Tensor, "... channel"],
    gain: Float[torch.Tensor, "..."],
) -> Float[torch.Tensor, "window channel time"]:
    """Subtract the mean, which missing samples become, and apply the gain."""
    x_wct = (x_wct - mean[..., None]).nan_to_num_(nan=0.0)
    if gain.ndim > mean.ndim:
        return gain @ x_wct
    return x_wct.mul_(gain[..., None])


def sequences_of(
    samples: Samples, rows: Int[np.ndarray, " row"], *, length: int | None
) -> list[Int[np.ndarray, " _"]]:
    """Cut trials into sequences of consecutive seconds.

    Parameters
    ----------
    samples : Samples
        Sorted by person, stimulus and second.
    rows : ndarray of int64, shape (row,)
        Which of them, ascending.
    length : int, optional
        Seconds in a sequence; whole trials if absent.

    Returns
    -------
    list of ndarray of int64, shape (second,)
        Row numbers; -1 where a second is not among the rows, and behind the last one
        of a trial up to the length.
    """
    edges = np.flatnonzero(np.diff(samples.trials[rows])) + 1
    found = []
    for own in np.split(rows, edges) if len(rows) else ():
        seconds = samples.seconds[own] - samples.seconds[own[0]]
        n_seconds = int(seconds[-1]) + 1
        each = n_seconds if length is None else length
        line = np.full(-(-n_seconds // each) * each, -1)
        line[seconds] = own
        found.extend(line.reshape(-1, each))
    return [line for line in found if (line >= 0).any()]
