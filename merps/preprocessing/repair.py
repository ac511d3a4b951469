"""What is done about gaps and motion, and where two signals may be joined."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.kernels.motion import weigh_steps
from merps.preprocessing.filters import band_pass

#: `joins` looks at no fewer differences than this on each side.
_MIN_STEPS = 8
#: Below it lies what motion shifts, in hertz; order of the filter that takes it out.
_SLOW_HZ = 0.5
_SLOW_ORDER = 3
#: Rows that one thread repairs at a time.
_TILE_ROWS = 8


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
    # A minimum carries NaN along and, unlike isnan, needs no array of the row's size.
    for index in map(tuple, np.argwhere(np.isnan(filled.min(axis=-1, initial=np.inf)))):
        row = np.ascontiguousarray(filled[index])
        missing = np.isnan(row)
        gaps, present = np.flatnonzero(missing), np.flatnonzero(~missing)
        if present.size:
            filled[(*index, gaps)] = np.interp(gaps, present, row[present])
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
    if not (rate_hz > 0 and max_jump > 0):
        raise InputError(
            f"rate_hz={rate_hz:g} and max_jump={max_jump:g} must be positive"
        )
    n_steps = max(round(rate_hz), _MIN_STEPS)
    if min(before.shape[-1], after.shape[-1]) <= _MIN_STEPS:
        return False
    near = (before[..., -n_steps - 1 :], after[..., : n_steps + 1])
    steps = np.concatenate([np.abs(np.diff(side)) for side in near], axis=-1)
    steps = steps.reshape(-1, steps.shape[-1])
    jumps = np.abs(after[..., 0] - before[..., -1]).ravel()
    present = ~(np.isnan(jumps) | np.isnan(steps).all(axis=1))
    typical = np.nanmedian(steps[present], axis=1)
    moving = typical > 0
    ratios = jumps[present][moving] / typical[moving]
    return bool(ratios.size and np.median(ratios) <= max_jump)


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
        the rate is not positive.

    References
    ----------
    F. A. Fishburn, R. S. Ludlum, C. J. Vaidya, A. V. Medvedev, Temporal derivative
    distribution repair (TDDR): a motion correction method for fNIRS, NeuroImage 184,
    2019.
    """
    if not rate_hz > 0:
        raise InputError(f"rate_hz must be positive, got {rate_hz:g}")
    if signal.size == 0 or signal.shape[-1] < 2:
        raise InputError(
            f"signal of shape {signal.shape} has no steps; take a longer one"
        )
    if not np.isfinite([signal.min(), signal.max()]).all():
        raise InputError(
            "signal has missing or infinite samples, which would spread over the whole "
            "row; mark them as NaN and call merps.preprocessing.repair.fill_gaps first"
        )
    repaired = np.empty_like(signal, subok=False)
    rows = list(np.ndindex(signal.shape[:-1]))

    def repair(first: int) -> None:
        tile = rows[first : first + _TILE_ROWS]
        x_rt = np.stack([signal[row] for row in tile], dtype=np.float64)
        for row, y_t in zip(tile, _repair_rows(x_rt, rate_hz), strict=True):
            repaired[row] = y_t

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(repair, range(0, len(rows), _TILE_ROWS)))
    return repaired


def _repair_rows(
    x_rt: Float64[np.ndarray, "row time"], rate_hz: float
) -> Float64[np.ndarray, "row time"]:
    """Repair the slow part of a few rows."""
    mean_r = x_rt.mean(axis=1, keepdims=True)
    slow_rt = x_rt - mean_r
    if rate_hz > 2 * _SLOW_HZ:
        options = {"low_hz": None, "high_hz": _SLOW_HZ, "order": _SLOW_ORDER}
        slow_rt = band_pass(slow_rt, rate_hz=rate_hz, pad_s=0, **options)
    mended_rt, scratch_2t = np.empty_like(slow_rt), np.empty((2, slow_rt.shape[1]))
    for slow_t, mended_t in zip(slow_rt, mended_rt, strict=True):
        weigh_steps(slow_t, *scratch_2t, mended_t)
    mended_rt += mean_r - mended_rt.mean(axis=1, keepdims=True)
    return mended_rt + (x_rt - mean_r - slow_rt)
