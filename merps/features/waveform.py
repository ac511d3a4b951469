"""Size, speed and shape of waveforms, window by window."""

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.features.sliding import count_windows, sliding_sum
from merps.features.tiles import map_tiles
from merps.kernels.waveform import average_rows, sum_steps
from merps.shapes import native

#: Names along the last axis of `hjorth`.
HJORTH = ("activity", "mobility", "complexity")
#: Blocks, and averages, that one thread looks at without a pause.
_TILE_BLOCKS = 32
_TILE_ROWS = 1024


def hjorth(
    windows: Float[np.ndarray, "window channel time"],
) -> Float[np.ndarray, "window channel 3"]:
    """Describe each window by the parameters of Hjorth.

    With s0, s1 and s2 the standard deviations of the signal, of the differences between
    neighboring samples, and of the differences between those: activity ``s0**2``,
    mobility ``s1 / s0`` and complexity ``(s2 / s1) / (s1 / s0)``.

    Parameters
    ----------
    windows : ndarray of float, shape (window, channel, time)
        Any unit; NaN marks samples that are missing.

    Returns
    -------
    ndarray of float, shape (window, channel, 3)
        In the order of `HJORTH`: activity, in the unit of `windows` squared; mobility,
        per sample; complexity, without unit. Population variance, in float64, returned
        in float32 where that is the dtype of `windows`; NaN where a window has a
        missing sample, and where a signal that does not change leaves mobility or
        complexity undefined.

    Raises
    ------
    InputError
        If windows have fewer than three samples.

    References
    ----------
    B. Hjorth, EEG analysis based on time domain properties, Electroencephalography and
    Clinical Neurophysiology 29, 1970.
    """
    windows, n_times = native(windows), windows.shape[-1]
    if n_times < 3:
        raise InputError(f"bends need windows of three samples, got {n_times}")
    described = np.empty((*windows.shape[:-1], len(HJORTH)), dtype=windows.dtype)
    for x_ct, out in zip(windows, described, strict=True):
        x_ct = x_ct.astype(np.float64)
        variances = [np.diff(x_ct, order).var(axis=-1) for order in range(3)]
        out[...] = _parameters(*variances)
    return described


def sliding_hjorth(
    signal: Float[np.ndarray, "channel time"],
    *,
    step_samples: int,
    steps: int,
    jobs: int = 1,
) -> Float[np.ndarray, "window channel 3"]:
    """Describe windows that slide over a signal by the parameters of Hjorth.

    Window w covers `steps` steps from sample ``w * step_samples`` on. Windows that
    overlap share their sums, so each sample is looked at once.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing. Quickest in Fortran order.
    step_samples : int
        Samples from one window to the next.
    steps : int
        Length of a window in steps.
    jobs : int
        Threads that share the steps; their number changes no bit of the result.

    Returns
    -------
    ndarray of float, shape (window, channel, 3)
        As `hjorth` of the windows; float64 where `signal` is not float32.

    Raises
    ------
    InputError
        If windows have fewer than three samples, or not even one fits into the signal.
    """
    n_windows = count_windows(signal.shape[-1], step_samples=step_samples, steps=steps)
    n_blocks = n_windows + steps - 1
    x_tc = native(np.ascontiguousarray(signal.T)[: n_blocks * step_samples])
    # Each block counts from its first sample on: what is flat has exact zeros, and no
    # jump elsewhere costs it digits.
    level_bc = x_tc[::step_samples].astype(np.float64)
    sums_bsc = np.empty((n_blocks, 6, x_tc.shape[1]))

    def add_up(tile: slice) -> None:
        rows = slice(tile.start * step_samples, tile.stop * step_samples)
        sum_steps(x_tc[rows], level_bc[tile], step_samples, sums_bsc[tile])

    map_tiles(add_up, n_blocks, tile_rows=_TILE_BLOCKS, jobs=jobs)
    activity_wc = _join_blocks(level_bc, sums_bsc[:, :2], step_samples, steps)
    sums_wsc = sliding_sum(sums_bsc[:, 2:], n_blocks=steps)
    # One step and two bends lead over each border between two blocks.
    borders = np.arange(1, n_blocks)[:, None] * step_samples + np.arange(-2, 2)
    near_bnc = x_tc[borders].astype(np.float64)
    step_bnc = np.diff(near_bnc[:, 1:3], axis=1)
    bend_bnc = np.diff(near_bnc, 2, axis=1)
    over = [step_bnc, step_bnc**2, bend_bnc, bend_bnc**2]
    over_bsc = np.stack([rest_bnc.sum(axis=1) for rest_bnc in over], axis=1)
    sums_wsc += sliding_sum(over_bsc, n_blocks=steps - 1)[:n_windows]
    counts_p1 = step_samples * steps - np.arange(1, 3)[:, None]
    mean_wpc = sums_wsc[:, ::2] / counts_p1
    variance_wpc = np.maximum(sums_wsc[:, 1::2] / counts_p1 - mean_wpc**2, 0)
    described = _parameters(activity_wc, *variance_wpc.transpose(1, 0, 2))
    return described.astype(x_tc.dtype, copy=False)


def average_samples(
    signal: Float[np.ndarray, "channel time"], *, factor: int, jobs: int = 1
) -> Float[np.ndarray, "channel new_time"]:
    """Average samples that follow each other, in groups without overlap.

    A box filter and a lower rate in one: aliases are weakened, not removed. Where they
    matter, use `merps.preprocessing.filters.resample`.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing. Quickest in Fortran order.
    factor : int
        Samples in a group; what is left at the end is dropped.
    jobs : int
        Threads that share the groups; their number changes no bit of the result.

    Returns
    -------
    ndarray of float32, shape (channel, new_time)
        In the unit of `signal`, from sums in float64, in Fortran order; NaN where a
        group has a missing sample.

    Raises
    ------
    InputError
        If the factor is not positive.
    """
    if factor < 1:
        raise InputError(f"factor must be at least 1, got {factor}")
    n_channels, n_times = signal.shape
    mean_tc = np.empty((n_times // factor, n_channels), dtype=np.float32)
    x_tc = native(np.ascontiguousarray(signal.T))

    def average(tile: slice) -> None:
        rows = slice(tile.start * factor, tile.stop * factor)
        exact_tc = np.empty((tile.stop - tile.start, n_channels))
        average_rows(x_tc[rows], factor, exact_tc)
        mean_tc[tile] = exact_tc

    map_tiles(average, len(mean_tc), tile_rows=_TILE_ROWS, jobs=jobs)
    return mean_tc.T


def _join_blocks(
    level_bc: Float64[np.ndarray, "block channel"],
    sums_bsc: Float64[np.ndarray, "block 2 channel"],
    length: int,
    n_blocks: int,
) -> Float64[np.ndarray, "window channel"]:
    """Return the variance of windows from sums and squares about a level a block."""
    mean_bc = sums_bsc[:, 0] / length
    within_bc = np.maximum(sums_bsc[:, 1] / length - mean_bc**2, 0)
    mean_bc += level_bc
    n_windows = len(mean_bc) - n_blocks + 1
    total_wc, square_wc = np.zeros((2, n_windows, mean_bc.shape[1]))
    for b in range(1, n_blocks):  # how far the means lie from that of the first block
        apart_wc = mean_bc[b : b + n_windows] - mean_bc[:n_windows]
        total_wc += apart_wc
        square_wc += apart_wc**2
    between_wc = np.maximum(square_wc / n_blocks - (total_wc / n_blocks) ** 2, 0)
    return sliding_sum(within_bc, n_blocks=n_blocks) / n_blocks + between_wc


def _parameters(
    *variances: Float64[np.ndarray, "*row"],
) -> Float64[np.ndarray, "*row 3"]:
    """Return activity, mobility and complexity; NaN where they are undefined."""
    signal, step, bend = (np.where(v > 0, v, np.nan) for v in variances)
    mobility = np.sqrt(step / signal)
    return np.stack([variances[0], mobility, np.sqrt(bend / step) / mobility], axis=-1)
