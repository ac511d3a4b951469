"""Array types that are used in several rooms."""

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
