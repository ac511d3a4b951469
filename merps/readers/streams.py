"""What readers of recordings return: the modalities of a file, read when asked for."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from merps.recording import Annotation, Recording
from merps.shapes import Signal

Modality: TypeAlias = Literal["eeg", "fnirs"]


@dataclass(frozen=True)
class Stream:
    """One modality of one file.

    Parameters
    ----------
    modality : str
        ``eeg`` or ``fnirs``.
    header : Recording
        All that is known before samples are read; its signal is NaN throughout and
        takes no memory (of XDF, whose time stamps lie among the samples, it is there).
    load : callable
        Returns the recording with its samples.
    notes : tuple of str
        What was assumed or put right.
    """

    modality: Modality
    header: Recording
    load: Callable[[], Recording] = field(repr=False)
    notes: tuple[str, ...] = ()


def no_signal(*shape: int) -> Signal:
    """Return a signal of some shape that is NaN throughout and takes no memory.

    Parameters
    ----------
    *shape : int
        Its shape.

    Returns
    -------
    ndarray of float32
        Read-only.
    """
    return np.broadcast_to(np.float32(np.nan), shape)


def drop_repeated(
    annotations: Sequence[Annotation],
) -> tuple[tuple[Annotation, ...], int]:
    """Sort annotations by onset, and drop those that say the same again.

    Parameters
    ----------
    annotations : sequence of Annotation
        In any order.

    Returns
    -------
    tuple of (tuple of Annotation, int)
        Each once, and how many were dropped.
    """
    seen = {(a.onset_s, a.duration_s, a.label): a for a in annotations}
    ordered = sorted(seen.values(), key=lambda a: (a.onset_s, a.label))
    return tuple(ordered), len(annotations) - len(seen)


def spacing(
    times_s: Float[np.ndarray, " time"], *, gap_s: float
) -> list[tuple[int, int]]:
    """Split time stamps where they jump.

    Parameters
    ----------
    times_s : ndarray of float64, shape (time,)
        Time stamps in seconds, in the order of the samples.
    gap_s : float
        A longer step than this is a gap; any step back is one, too.

    Returns
    -------
    list of (int, int)
        First sample and one past the last of each stretch.
    """
    steps = np.diff(times_s)
    cuts = np.flatnonzero((steps > gap_s) | (steps <= 0)) + 1
    edges = [0, *cuts.tolist(), len(times_s)]
    return list(itertools.pairwise(edges))
