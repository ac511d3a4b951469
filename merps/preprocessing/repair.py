"""What is done about gaps and motion, and where two signals may be joined."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.kernels.motion import weigh_steps
from merps.preprocessing.chain import filter_both_ways
from merps.preprocessing.filters import design_band_pass

#: `joins` looks at no fewer differences than this on each side.
_MIN_STEPS = 8
#: Below it lies what motion shifts, in hertz; order of the filter that takes it out.
_SLOW_HZ = 0.5
_SLOW_ORDER = 3
#: Rows that one thread repairs at a time, and sums of a row that are kept side by side.
_TILE_ROWS = 16
_LANES = 256


def fill_gaps(
    signal: Float[np.ndarray, "*row time"],
) -> Float[np.ndarray, "*row time"]:
    """Fill missing samples by straight lines, so that filters can run.

    The filled samples carry no information: keep the mask of what was missing.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        NaN marks samples that are missing.

    Returns
    -------
    ndarray of float, shape (..., time)
        A copy without NaN, in the memory order of `signal`: gaps are bridged linearly
        in time, the first and the last present sample are held to the ends, and rows
        without any sample become 0.
    """
    filled = signal.copy(order="K")
    missing = np.isnan(filled)
    for index in map(tuple, np.argwhere(missing.any(axis=-1))):
        missing_t = missing[index]
        beside_t = np.zeros_like(missing_t)  # of the present samples, only these decide
        beside_t[1:] = missing_t[:-1]
        beside_t[:-1] |= missing_t[1:]
        gaps, present = np.flatnonzero(missing_t), np.flatnonzero(beside_t & ~missing_t)
        if present.size:
            near = filled[(*index, present)]
            filled[(*index, gaps)] = np.interp(gaps, present, near)
        else:
            filled[index] = 0
    return filled


def hold_gaps(
    signal: Float[np.ndarray, "*row time"],
) -> Float[np.ndarray, "*row time"]:
    """Fill missing samples by the last one before them, so that filters can run.

    As `fill_gaps`, without a look at what comes later, but for one: what is missing
    before the first present sample takes its value.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        NaN marks samples that are missing.

    Returns
    -------
    ndarray of float, shape (..., time)
        A copy without NaN, in the memory order of `signal`; rows without any sample
        become 0.
    """
    filled = signal.copy(order="K")
    missing = np.isnan(filled)
    for index in map(tuple, np.argwhere(missing.any(axis=-1))):
        present = np.flatnonzero(~missing[index])
        if present.size:
            last = np.searchsorted(present, np.arange(signal.shape[-1]), side="right")
            filled[index] = filled[index][present[np.maximum(last - 1, 0)]]
        else:
            filled[index] = 0
    return filled


def joins(
    before: Float[np.ndarray, "*row before"],
    after: Float[np.ndarray, "*row after"],
    *,
    rate_hz: float,
    max_jump: float,
) -> bool:
    """Tell whether one signal runs into the next without a jump.

    The step over the border, ``|after[0] - before[-1]|``, is divided row by row by the
    median absolute difference of neighboring samples within 1 s on both sides (at
    least 8 samples each); the median over rows must not exceed `max_jump`. Between
    neighbors of one continuous signal it is about 1, whatever the unit.

    Parameters
    ----------
    before, after : ndarray of float, shape (..., time)
        Two stretches of the same rows; NaN marks samples that are missing.
    rate_hz : float
        Sampling rate of both, in hertz.
    max_jump : float
        Largest step over the border, in typical steps.

    Returns
    -------
    bool
        False also where nothing can be told: a stretch is shorter than 9 samples, or
        no row has samples at the border and any motion beside it.

    Raises
    ------
    InputError
        If a rate or a jump is not positive.
    """
    _require_positive(rate_hz, max_jump)
    n_steps = max(round(rate_hz), _MIN_STEPS)
    if min(before.shape[-1], after.shape[-1]) <= _MIN_STEPS:
        return False
    near = (before[..., -n_steps - 1 :], after[..., : n_steps + 1])
    steps = np.concatenate([np.diff(side) for side in near], axis=-1)
    return _is_small(after[..., 0] - before[..., -1], steps, max_jump)


def follows(
    before: Float[np.ndarray, "*row before"],
    after: Float[np.ndarray, "*row after"],
    *,
    rate_hz: float,
    max_jump: float,
) -> bool:
    """Tell whether one signal runs into the next, by the first sample of that alone.

    As `joins`, but steps are compared with those of the last second before the border.

    Parameters
    ----------
    before, after : ndarray of float, shape (..., time)
        As for `joins`; of `after`, only the first sample is looked at.
    rate_hz : float
        Sampling rate of both, in hertz.
    max_jump : float
        Largest step over the border, in typical steps.

    Returns
    -------
    bool
        False also where nothing can be told, as by `joins`.

    Raises
    ------
    InputError
        If a rate or a jump is not positive.
    """
    _require_positive(rate_hz, max_jump)
    if before.shape[-1] <= _MIN_STEPS or after.shape[-1] == 0:
        return False
    steps = np.diff(before[..., -max(round(rate_hz), _MIN_STEPS) - 1 :])
    return _is_small(after[..., 0] - before[..., -1], steps, max_jump)


def _require_positive(rate_hz: float, max_jump: float) -> None:
    """Raise if a rate or a jump is not positive."""
    if not (rate_hz > 0 and max_jump > 0):
        raise InputError(
            f"rate_hz={rate_hz:g} and max_jump={max_jump:g} must be positive"
        )


def _is_small(
    border: Float[np.ndarray, "*row"],
    steps: Float[np.ndarray, "*row step"],
    max_jump: float,
) -> bool:
    """Tell whether steps over a border are about as large as others."""
    steps = np.abs(steps, order="C").reshape(-1, steps.shape[-1])
    jumps = np.abs(border).ravel()
    present = ~(np.isnan(jumps) | np.isnan(steps).all(axis=1))
    typical = _medians(steps[present])
    moving = typical > 0
    ratios = jumps[present][moving] / typical[moving]
    return bool(ratios.size and np.median(ratios) <= max_jump)


def _medians(x_rt: Float[np.ndarray, "row time"]) -> Float[np.ndarray, " row"]:
    """Return the median of each row without its missing samples."""
    middle = x_rt.shape[1] // 2
    sorted_rt = np.partition(x_rt, middle, axis=1)  # at one place: 6 times as quick
    low_r = high_r = sorted_rt[:, middle]
    if x_rt.shape[1] % 2 == 0:
        low_r = sorted_rt[:, :middle].max(axis=1)
    median_r = (low_r + high_r) / 2
    has_gaps = np.isnan(x_rt).any(axis=1)
    median_r[has_gaps] = np.nanmedian(x_rt[has_gaps], axis=1)
    return median_r


def tddr(
    signal: Float[np.ndarray, "*row time"], *, rate_hz: float, jobs: int = 1
) -> Float[np.ndarray, "*row time"]:
    """Take motion out of slow signals by temporal derivative distribution repair.

    The part of a row below 0.5 Hz (zero-phase Butterworth filter of order 3, without
    padding) is differenced; the steps, less their center, are weighted by Tukey's
    biweight, whose center and width are found iteratively; and the weighted steps are
    summed again. Spikes and shifts of the baseline are large steps, and lose their
    weight. What lies above 0.5 Hz is added as it was, and so is the mean of the row.

    Parameters
    ----------
    signal : ndarray of float, shape (..., time)
        Optical density or concentration, in any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz; at 1 Hz and below, the whole signal is slow.
    jobs : int
        Threads that share the rows; their number changes no bit of the result.

    Returns
    -------
    ndarray of float, shape (..., time)
        Unit, dtype and memory order of `signal`; computed in float64.

    Raises
    ------
    InputError
        If the signal has fewer than two samples or samples that are not finite, or if
        the rate or the number of threads is not positive.

    References
    ----------
    F. A. Fishburn, R. S. Ludlum, C. J. Vaidya, A. V. Medvedev, Temporal derivative
    distribution repair (TDDR): a motion correction method for fNIRS, NeuroImage 184,
    2019.
    """
    if not rate_hz > 0:
        raise InputError(f"rate_hz must be positive, got {rate_hz:g}")
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, got {jobs}")
    if signal.size == 0 or signal.shape[-1] < 2:
        raise InputError(
            f"signal of shape {signal.shape} has no steps; take a longer one"
        )
    if not np.isfinite([signal.min(), signal.max()]).all():
        raise InputError(
            "signal has missing or infinite samples, which would spread over the whole "
            "row; mark them as NaN and call merps.preprocessing.repair.fill_gaps first"
        )
    if signal.T.flags.c_contiguous:
        repaired = np.empty_like(signal, subok=False)
        x_tr, repaired_tr = (
            x.T.reshape(signal.shape[-1], -1) for x in (signal, repaired)
        )
    else:
        signal = np.ascontiguousarray(signal)
        repaired = np.empty_like(signal)
        x_tr, repaired_tr = (
            x.reshape(-1, signal.shape[-1]).T for x in (signal, repaired)
        )
    sections = None
    if rate_hz > 2 * _SLOW_HZ:
        options = {"low_hz": None, "high_hz": _SLOW_HZ, "order": _SLOW_ORDER}
        sections = design_band_pass(rate_hz=rate_hz, pad_s=0, **options).sections
    n_rows = x_tr.shape[1]
    tiles = [
        slice(r, min(r + _TILE_ROWS, n_rows)) for r in range(0, n_rows, _TILE_ROWS)
    ]

    def repair(first: int) -> None:
        _repair_tiles(x_tr, tiles[first::jobs], sections, repaired_tr)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(repair, range(min(jobs, len(tiles)))))
    return repaired


def _repair_tiles(
    x_tr: Float[np.ndarray, "time row"],
    tiles: Sequence[slice],
    sections: Float64[np.ndarray, "section 6"] | None,
    out_tr: Float[np.ndarray, "time row"],
) -> None:
    """Write tiles of repaired rows; fresh memory for each would cost as much again."""
    n_times = len(x_tr)
    memory, turned = np.empty((2, n_times * _TILE_ROWS))
    step_bl = np.empty((-(-n_times // _LANES), _LANES))
    step_t = step_bl.reshape(-1)[: n_times - 1]
    scratch_2t, sums_2l = np.empty((2, n_times)), np.empty((2, _LANES))
    mended_t = np.empty(n_times)
    for tile in tiles:
        n_rows = tile.stop - tile.start
        slow_tr = memory[: n_times * n_rows].reshape(n_times, n_rows)
        # From the first sample on, so that an offset costs no digits of the mean.
        np.subtract(x_tr[:, tile], x_tr[0, tile], out=slow_tr, dtype=np.float64)
        slow_tr -= slow_tr.mean(axis=0)
        if sections is not None:
            filter_both_ways(sections, slow_tr, 0)
        change_rt = turned[: n_times * n_rows].reshape(n_rows, n_times)
        change_rt[...] = slow_tr.T
        for slow_t in change_rt:
            np.subtract(slow_t[1:], slow_t[:-1], out=step_t)
            weigh_steps(step_t, step_bl, *scratch_2t, sums_2l, mended_t)
            np.subtract(mended_t - mended_t.mean(), slow_t, out=slow_t)
        np.add(x_tr[:, tile], change_rt.T, out=out_tr[:, tile], casting="same_kind")
