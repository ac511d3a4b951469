"""A recording and the rest before it as one array, and stretches to work on alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.preprocessing.repair import fill_gaps
from merps.recording import Recording


@dataclass(frozen=True, slots=True)
class Mended:
    """A recording that was worked on before filters run.

    Parameters
    ----------
    recording, rest : Recording
        The trial, and the rest before it if there is one.
    measured : Recording
        What the quality of the trial is told of.
    columns : mapping of str to ndarray of float
        What more was measured of it, by name, of shape (*kind, channel) or (channel,).
    kinds : tuple of str
        Names along the first axis of that where they are not those of the recording.
    notes : tuple of str
        What is worth telling.
    """

    recording: Recording
    rest: Recording | None
    measured: Recording
    columns: Mapping[str, Float[np.ndarray, "*row"]]
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretches:
    """Rest and recording after one another, in double precision.

    Parameters
    ----------
    signal : ndarray of float64, shape (..., time)
        Rest, if there is one, and recording; NaN marks samples that are missing.
    n_rest : int
        Samples of rest.
    is_joined : bool
        Whether the rest runs into the recording, so that what is done along time may
        go over the border.
    rate_hz : float
        Sampling rate in hertz.
    """

    signal: Float64[np.ndarray, "*row time"]
    n_rest: int
    is_joined: bool
    rate_hz: float

    @classmethod
    def of(
        cls, recording: Recording, rest: Recording | None, *, is_joined: bool
    ) -> "Stretches":
        """Put a recording behind the rest before it.

        Parameters
        ----------
        recording : Recording
            The trial.
        rest : Recording or None
            What was recorded before it, of the same channels and kinds.
        is_joined : bool
            As the field.

        Returns
        -------
        Stretches
            With a copy of the signals.
        """
        parts = [] if rest is None else [rest.signal]
        joined = np.concatenate([*parts, recording.signal], axis=-1, dtype=np.float64)
        n_rest = 0 if rest is None else rest.n_times
        return cls(joined, n_rest, is_joined, recording.rate_hz)

    def split(
        self,
        signal: Float[np.ndarray, "*row time"],
        recording: Recording,
        rest: Recording | None,
    ) -> tuple[Recording, Recording | None]:
        """Return records around the parts of a signal.

        Parameters
        ----------
        signal : ndarray of float, shape (..., time)
            As long as that of the stretches.
        recording, rest : Recording
            Records to wrap the parts as.

        Returns
        -------
        recording, rest : Recording
            New records; no rest where there was none.
        """
        whole = recording.with_signal(signal[..., self.n_rest :])
        if rest is None:
            return whole, None
        return whole, rest.with_signal(signal[..., : self.n_rest])

    def along_time(
        self,
        signal: Float[np.ndarray, "*row time"],
        work: Callable[[Float64[np.ndarray, "*row _"]], np.ndarray],
    ) -> Float64[np.ndarray, "*row time"]:
        """Do something to each stretch that is continuous, with its gaps bridged.

        Parameters
        ----------
        signal : ndarray of float, shape (..., time)
            As long as that of the stretches; NaN marks samples that are missing.
        work : callable
            Takes rows without NaN, and returns as many samples of them.

        Returns
        -------
        ndarray of float64, shape (..., time)
            NaN where samples are missing.
        """
        done = self._each(signal, lambda part: work(fill_gaps(part)))
        done[np.isnan(signal)] = np.nan
        return done

    def bridged(self) -> Float64[np.ndarray, "*row time"]:
        """Return the signal with its gaps bridged, and 0 where all is missing."""
        return self._each(self.signal, fill_gaps)

    def _each(
        self,
        signal: Float[np.ndarray, "*row time"],
        work: Callable[[Float64[np.ndarray, "*row _"]], np.ndarray],
    ) -> Float64[np.ndarray, "*row time"]:
        """Do something to each stretch that is continuous."""
        borders = [] if self.is_joined or not self.n_rest else [self.n_rest]
        parts = np.split(signal, borders, axis=-1)
        return np.concatenate([work(part) for part in parts], axis=-1)

    def trial(
        self, signal: Float[np.ndarray, "*row time"]
    ) -> Float[np.ndarray, "*row _"]:
        """Return the part of a signal that is not rest.

        Parameters
        ----------
        signal : ndarray of float, shape (..., time)
            As long as that of the stretches.

        Returns
        -------
        ndarray of float, shape (..., time)
            A view.
        """
        return signal[..., self.n_rest :]


def explained_share(
    signal: Float[np.ndarray, "*row time"],
    by: Float[np.ndarray, "*other time"],
) -> Float64[np.ndarray, " *row"]:
    """Return the squared correlation of rows; NaN where one does not move.

    Parameters
    ----------
    signal, by : ndarray of float, shape (..., time)
        Rows to compare, broadcast against each other; NaN marks samples that are
        missing from the comparison.

    Returns
    -------
    ndarray of float64, shape (...,)
        From 0 to 1.
    """
    present: Bool[np.ndarray, ...] = ~(np.isnan(signal) | np.isnan(by))
    count = np.maximum(present.sum(axis=-1, keepdims=True), 1)
    rest = []
    for x in np.broadcast_arrays(signal, by):
        x = np.where(present, x, 0.0)
        mean = x.sum(axis=-1, keepdims=True) / count
        rest.append(np.where(present, x - mean, 0.0))
    shared = np.sum(rest[0] * rest[1], axis=-1)
    power = np.sum(rest[0] ** 2, axis=-1) * np.sum(rest[1] ** 2, axis=-1)
    return np.divide(
        shared**2, power, out=np.full(power.shape, np.nan), where=power > 0
    )
