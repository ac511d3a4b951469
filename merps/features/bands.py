"""Frequency bands of a whole signal, filtered in time-major memory."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.features.tiles import map_tiles
from merps.preprocessing.chain import (
    ZeroPhaseFilter,
    filter_both_ways,
    filter_forward,
)
from merps.recording import Phase

#: Samples of all channels that are turned at once, and by one thread in a row.
_BLOCK_TIMES, _TILE_TIMES = 256, 8192
#: How far poles must be from the unit circle, times how far from 1, for float32: its
#: rounding error over this is about the error of a covariance, 1e-4 at most.
_FINE = 3e-4


def turn_signal(
    signal: Float[np.ndarray, "channel time"], *, phase: Phase = "zero", jobs: int
) -> Float[np.ndarray, "time channel"]:
    """Copy a signal into time-major memory, each channel about its mean.

    An offset, which no band holds, would cost the precision of float32.

    Parameters
    ----------
    signal : ndarray of float32 or float64, shape (channel, time)
        Any unit; without NaN.
    phase : {"zero", "causal"}, optional
        A causal copy is about the first sample, since means know of later ones.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray, shape (time, channel)
        Unit and dtype of `signal`.

    Raises
    ------
    InputError
        If the signal is empty or not finite.
    """
    n_channels, n_times = signal.shape
    if signal.size == 0:
        raise InputError(f"signal of shape {signal.shape} is empty")
    offset_c = signal @ np.full(n_times, 1 / n_times, dtype=signal.dtype)
    if not np.isfinite(offset_c).all():
        raise InputError(
            "signal has NaN or infinite samples, which a filter would spread over the "
            "whole row; mark them as NaN and call merps.preprocessing.repair.fill_gaps "
            "first"
        )
    if phase == "causal":
        offset_c = signal[:, 0]
    out_tc = np.empty((n_times, n_channels), dtype=signal.dtype)

    def turn(tile: slice) -> None:
        for first in range(tile.start, tile.stop, _BLOCK_TIMES):  # stays in the cache
            block = slice(first, min(first + _BLOCK_TIMES, tile.stop))
            np.subtract(signal[:, block].T, offset_c, out=out_tc[block])

    map_tiles(turn, n_times, tile_rows=_TILE_TIMES, jobs=jobs)
    return out_tc


def filter_bands(
    signal_tc: Float[np.ndarray, "time channel"],
    bands: Sequence[ZeroPhaseFilter],
    *,
    rate_hz: float,
    phase: Phase = "zero",
    jobs: int,
) -> Iterator[Float[np.ndarray, "time channel"]]:
    """Filter a signal in time-major memory forward and backward, band by band.

    Computed in float32 for a signal of float32, but for bands so slow that their poles
    ask for float64. As many bands as there are threads are held in memory at a time.

    Parameters
    ----------
    signal_tc : ndarray of float32 or float64, shape (time, channel)
        As `turn_signal` returns it.
    bands : sequence of ZeroPhaseFilter
        As `design_band_pass` returns them.
    rate_hz : float
        Sampling rate in hertz.
    phase : {"zero", "causal"}, optional
        Causal filters run forward alone.
    jobs : int
        Number of threads; the result does not depend on it.

    Yields
    ------
    ndarray, shape (time, channel)
        Unit and dtype of `signal_tc`; good until the next one is asked for.
    """
    # Used again by later bands: fresh memory costs as much as a pass of the filter.
    longest = len(signal_tc) - 1
    pads = [
        0 if phase == "causal" else min(round(band.pad_s * rate_hz), longest)
        for band in bands
    ]
    n_times = len(signal_tc) + 2 * max(pads, default=0)
    shape = (min(jobs, len(bands)), n_times, signal_tc.shape[1])
    memory_btc = np.empty(shape, dtype=signal_tc.dtype)
    for first in range(0, len(bands), jobs):
        part = slice(first, first + jobs)
        yield from _filter_together(
            signal_tc, bands[part], pads[part], phase, jobs, memory_btc
        )


def _filter_together(
    signal_tc: Float[np.ndarray, "time channel"],
    bands: Sequence[ZeroPhaseFilter],
    pads: Sequence[int],
    phase: Phase,
    jobs: int,
    memory_btc: Float[np.ndarray, "_ _ channel"],
) -> list[Float[np.ndarray, "time channel"]]:
    """Filter some bands; threads beyond their number share the channels."""
    n_times, n_channels = signal_tc.shape
    padded = [
        memory_tc[: n_times + 2 * n_pad]
        if _is_fine(band.sections)
        else np.empty((n_times + 2 * n_pad, n_channels))
        for band, n_pad, memory_tc in zip(bands, pads, memory_btc, strict=False)
    ]
    inner = [x_tc[n : n + n_times] for x_tc, n in zip(padded, pads, strict=True)]
    parts = max(p for p in range(1, jobs // len(bands) + 1) if n_channels % p == 0)

    def filter_part(task: slice) -> None:
        b, part = divmod(task.start, parts)
        own = slice(part * n_channels // parts, (part + 1) * n_channels // parts)
        inner[b][:, own] = signal_tc[:, own]
        sections, shared = bands[b].sections, {"part": part, "parts": parts}
        if phase == "causal":
            filter_forward(sections, padded[b], **shared)
        else:
            filter_both_ways(sections, padded[b], pads[b], **shared)

    map_tiles(filter_part, len(bands) * parts, tile_rows=1, jobs=jobs)
    return [x_tc.astype(signal_tc.dtype, copy=False) for x_tc in inner]


def _is_fine(sections: Float64[np.ndarray, "section 6"]) -> bool:
    """Tell whether float32 resolves the poles."""
    _, _, _, _, a1_s, a2_s = sections.T  # products and sums of conjugate poles
    return bool(((1 - a2_s) * np.sqrt(1 + a1_s + a2_s)).min() >= _FINE)
