"""Array types that are used in several rooms, and the two that kernels take."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64, Int

#: Valence and arousal, one row a second, on the scale 1..255; NaN means missing.
Targets: TypeAlias = Float64[np.ndarray, "time 2"]
#: Valence and arousal, one row a sample.
SampleTargets: TypeAlias = Float64[np.ndarray, "sample 2"]
#: One signal, or several quantities of the same channels: (kind,) channel, time.
Signal: TypeAlias = Float[np.ndarray, "*kind channel time"]
#: Windows cut from a `Signal`: window, (kind,) channel, time.
Windows: TypeAlias = Float[np.ndarray, "window *kind channel time"]
#: One row of signal features a sample; NaN means missing.
Features: TypeAlias = Float[np.ndarray, "sample feature"]
#: Row numbers.
Rows: TypeAlias = Int[np.ndarray, " row"]


def native(array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return an array of a type that kernels take.

    Parameters
    ----------
    array : ndarray
        Numbers of any type and byte order.

    Returns
    -------
    ndarray of float32 or float64
        The array itself if it is one in the byte order of the machine, else a copy in
        float64, in the same memory order.
    """
    if array.dtype in (np.float32, np.float64) and array.dtype.isnative:
        return array
    return array.astype(np.float64)
