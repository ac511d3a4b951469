"""Spans of a signal, and what stands where they leave it."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from merps.recording import Phase
from merps.shapes import Signal


def copy_span(
    signal: Signal, start: int, out: Float[np.ndarray, "*kind channel length"]
) -> None:
    """Copy one window of a signal, mirrored where it leaves the signal.

    Parameters
    ----------
    signal : ndarray, shape (channel, time) or (kind, channel, time)
        In any memory order, with at least one sample.
    start : int
        Sample at which the window begins; may lie outside the signal.
    out : ndarray, shape (channel, length) or (kind, channel, length)
        Where the window is written, converted to the dtype of this array.
    """
    n_times, length = signal.shape[-1], out.shape[-1]
    if 0 <= start <= n_times - length:
        out[...] = signal[..., start : start + length]
    else:
        place = np.arange(start, start + length) % (2 * n_times)
        out[...] = signal[..., np.minimum(place, 2 * n_times - 1 - place)]


def copy_past(
    signal: Signal, start: int, out: Float[np.ndarray, "*kind channel length"]
) -> None:
    """Copy one window of a signal as `copy_span`, NaN where it begins before it.

    Parameters
    ----------
    signal : ndarray, shape (channel, time) or (kind, channel, time)
        In any memory order, with at least one sample.
    start : int
        Sample at which the window begins; may lie outside the signal.
    out : ndarray, shape (channel, length) or (kind, channel, length)
        Where the window is written, converted to the dtype of this array.
    """
    if start < 0:
        out[...] = np.nan
    else:
        copy_span(signal, start, out)


#: How windows are copied from signals whose filters have a phase.
COPIES: Mapping[Phase, Callable[..., None]] = {"zero": copy_span, "causal": copy_past}
