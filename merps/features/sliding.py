"""Windows that slide over a signal in whole steps, and what they share."""

import numpy as np
from jaxtyping import Float

from merps.errors import InputError


def count_windows(n_times: int, *, step_samples: int, steps: int) -> int:
    """Count the windows of a signal, or say why there are none.

    Parameters
    ----------
    n_times : int
        Samples of the signal.
    step_samples : int
        Samples from one window to the next.
    steps : int
        Length of a window in steps.

    Returns
    -------
    int
        Number of windows, at least 1.

    Raises
    ------
    InputError
        If a step is shorter than two samples, a window shorter than one step or three
        samples, or the signal shorter than a window.
    """
    if step_samples < 2 or steps < 1 or step_samples * steps < 3:
        raise InputError(
            f"step_samples={step_samples} must be at least 2, steps={steps} at least "
            "1, and a window at least 3 samples long"
        )
    if n_times < step_samples * steps:
        raise InputError(
            f"signal has {n_times} samples, but one window of {steps} steps needs "
            f"{step_samples * steps}; take shorter windows or a longer signal"
        )
    return n_times // step_samples - steps + 1


def sliding_sum(
    blocks: Float[np.ndarray, "block ..."], *, n_blocks: int
) -> Float[np.ndarray, "window ..."]:
    """Add up each `n_blocks` blocks that follow each other.

    Parameters
    ----------
    blocks : ndarray of float, shape (block, ...)
        What each block adds to a window; NaN spreads to the windows that hold it.
    n_blocks : int
        Blocks of a window; none add up to 0.

    Returns
    -------
    ndarray of float, shape (window, ...)
        One sum for each place where a window fits.
    """
    n_windows = len(blocks) - n_blocks + 1
    total = np.zeros((n_windows, *blocks.shape[1:]), dtype=blocks.dtype)
    for first in range(n_blocks):
        total += blocks[first : first + n_windows]
    return total
