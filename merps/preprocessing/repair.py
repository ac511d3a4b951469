"""What is done about missing samples, and where two signals may be joined."""

import numpy as np
from jaxtyping import Float

from merps.errors import InputError

#: `joins` looks at no fewer differences than this on each side.
_MIN_STEPS = 8


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
        A copy without NaN: gaps are bridged linearly in time, the first and the last
        present sample are held to the ends, and rows without any sample become 0.
    """
    filled = signal.copy(order="C")
    # A minimum carries NaN along and, unlike isnan, needs no array of the row's size.
    for index in np.argwhere(np.isnan(filled.min(axis=-1, initial=np.inf))):
        row = filled[tuple(index)]
        missing = np.isnan(row)
        present = np.flatnonzero(~missing)
        if present.size:
            gaps = np.flatnonzero(missing)
            row[gaps] = np.interp(gaps, present, row[present])
        else:
            row[:] = 0
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
