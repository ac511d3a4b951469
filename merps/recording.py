"""The records that carry a signal and the facts that give its numbers a meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from merps.errors import InputError
from merps.shapes import Signal, Targets

Quantity: TypeAlias = Literal[
    "voltage", "intensity", "optical density", "absorbance", "concentration"
]
#: Whether what is done to signals looks both ways in time, or back alone.
Phase: TypeAlias = Literal["zero", "causal"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A named moment or span of a recording, in seconds on its time axis."""

    onset_s: float
    duration_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A signal with the facts that give its numbers a meaning.

    Parameters
    ----------
    signal : ndarray, shape (channel, time) or (kind, channel, time)
        NaN marks what is missing, nothing else.
    rate_hz : float
        Sampling rate in hertz.
    start_s : float
        Time of the first sample in seconds after stimulus onset.
    channels : tuple of str
        One name per channel.
    quantity, unit : str or tuple of str
        What the numbers are; one each, or one per kind.
    kinds : tuple of str
        Names along the first axis of a three-axis signal, such as HbO and HbR.
    mask : ndarray of bool, shape (channel,), optional
        True where a channel is missing as a whole.
    positions : ndarray, shape (channel, 3), optional
        Where the channels are, in meters; of fNIRS, the point halfway between source
        and detector. NaN where a position is not known.
    annotations : tuple of Annotation
        Moments named by the source.
    types : tuple of str
        What each channel is, such as ``eeg``, ``eog`` or ``ecg``; empty where all are
        what the modality says.
    distances_m : tuple of float, optional
        Distance between source and detector of each fNIRS channel, in meters.
    optodes : ndarray, shape (channel, 2, 3), optional
        Where source and detector of each fNIRS channel are, in meters.

    Raises
    ------
    InputError
        If names and axes disagree.
    """

    signal: Signal
    rate_hz: float
    start_s: float
    channels: tuple[str, ...]
    quantity: Quantity | tuple[Quantity, ...]
    unit: str | tuple[str, ...]
    kinds: tuple[str, ...] = ()
    mask: Bool[np.ndarray, " channel"] | None = None
    positions: Float[np.ndarray, "channel 3"] | None = None
    annotations: tuple[Annotation, ...] = ()
    types: tuple[str, ...] = ()
    distances_m: tuple[float, ...] | None = None
    optodes: Float[np.ndarray, "channel 2 3"] | None = None

    def __post_init__(self) -> None:
        n_channels = self.signal.shape[-2]
        if len(self.channels) != n_channels:
            raise InputError(
                f"{len(self.channels)} channel names for {n_channels} channels"
            )
        n_kinds = self.signal.shape[0] if self.signal.ndim == 3 else 0
        if len(self.kinds) != n_kinds:
            raise InputError(f"{len(self.kinds)} kind names for {n_kinds} kinds")
        if not self.rate_hz > 0:
            raise InputError(f"rate_hz must be positive, got {self.rate_hz:g}")
        for name in ("types", "distances_m"):
            facts = getattr(self, name)
            if facts and len(facts) != n_channels:
                raise InputError(f"{len(facts)} {name} for {n_channels} channels")

    @property
    def n_times(self) -> int:
        """Number of samples along the time axis."""
        return self.signal.shape[-1]

    @property
    def duration_s(self) -> float:
        """Length in seconds, counting each sample for one sampling interval."""
        return self.n_times / self.rate_hz

    @property
    def times_s(self) -> Float[np.ndarray, " time"]:
        """Time of each sample in seconds after stimulus onset."""
        return self.start_s + np.arange(self.n_times) / self.rate_hz

    def with_signal(
        self,
        signal: Signal,
        *,
        rate_hz: float | None = None,
        start_s: float | None = None,
    ) -> "Recording":
        """Return this record around another signal of the same channels.

        Parameters
        ----------
        signal : ndarray, shape (channel, time) or (kind, channel, time)
            The new signal.
        rate_hz, start_s : float, optional
            Its rate and start where they changed.

        Returns
        -------
        Recording
            A new record.
        """
        return replace(
            self,
            signal=signal,
            rate_hz=self.rate_hz if rate_hz is None else rate_hz,
            start_s=self.start_s if start_s is None else start_s,
        )

    def take(self, channels: Sequence[int]) -> "Recording":
        """Return the record of some channels, in the order given.

        Parameters
        ----------
        channels : sequence of int
            Their numbers.

        Returns
        -------
        Recording
            A new record.
        """
        rows = list(channels)
        parts = {}
        for name in ("channels", "types", "distances_m"):
            facts = getattr(self, name)
            parts[name] = tuple(facts[row] for row in rows) if facts else facts
        for name in ("mask", "positions", "optodes"):
            facts = getattr(self, name)
            parts[name] = None if facts is None else facts[rows]
        return replace(self, signal=self.signal[..., rows, :], **parts)

    def to_mne(self) -> Any:
        """Return the recording as an object of MNE.

        Voltages become volts, concentrations mol/L; a fNIRS channel becomes one
        channel of MNE for each kind, named as MNE does (``S1_D1 760``). MNE has no type
        for total hemoglobin, which is left out. MNE counts time from the first sample
        on, so that annotations are shifted by `start_s`. Masked channels are its bad
        channels.

        Returns
        -------
        mne.io.RawArray
            With positions where they are known.

        Raises
        ------
        InputError
            If MNE has no type for what is recorded, or a unit is not known.
        """
        from merps.interchange import make_raw

        return make_raw(self)

    def require(self, quantity: Quantity) -> "Recording":
        """Return this recording, or say which quantity it holds instead.

        Parameters
        ----------
        quantity : str
            What the caller needs the numbers to be.

        Returns
        -------
        Recording
            This same record.

        Raises
        ------
        InputError
            If the numbers are something else.
        """
        if self.quantity != quantity:
            raise InputError(f"expected {quantity}, got {self.quantity}")
        return self


@dataclass(frozen=True, slots=True)
class Baseline:
    """Rest before a stimulus; either modality may be absent."""

    eeg: Recording | None = None
    fnirs: Recording | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """Named measures of each channel of one signal, as it was recorded.

    Parameters
    ----------
    measures : tuple of str
        Names of the columns; what ends in ``_after`` was measured again after the step
        that mends it.
    values : ndarray of float32, shape (*kind, channel, measure)
        NaN where a measure cannot be taken.
    kinds : tuple of str
        Names along the first axis where they are not those of the signal: wavelengths,
        where concentrations were computed.
    """

    measures: tuple[str, ...]
    values: Float[np.ndarray, "*kind channel measure"]
    kinds: tuple[str, ...] = ()

    def extend(
        self,
        columns: Mapping[str, Float[np.ndarray, "*row"]],
        kinds: tuple[str, ...] = (),
    ) -> "Quality":
        """Return the table with more measures.

        Parameters
        ----------
        columns : mapping of str to ndarray of float
            Measures by name, of shape (*kind, channel) or (channel,).
        kinds : tuple of str, optional
            As the field.

        Returns
        -------
        Quality
            A new table, or this one if there is nothing to add.
        """
        if not columns and kinds == self.kinds:
            return self
        rows = self.values.shape[:-1]
        more = [np.broadcast_to(column, rows)[..., None] for column in columns.values()]
        values = np.concatenate([self.values, *more], axis=-1, dtype=np.float32)
        return Quality((*self.measures, *columns), values, kinds)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one person did during one stimulus; every part of it may be absent.

    Parameters
    ----------
    person, stimulus : str
        Names, such as ``test_1`` and ``V01``.
    eeg, fnirs : Recording, optional
        Signals at their own rates on one time axis, 0 s = stimulus onset.
    baseline : Baseline
        Rest before the stimulus.
    targets : ndarray of float64, shape (time, 2), optional
        Valence and arousal; row t covers the second [t, t + 1) after onset.
    notes : tuple of str
        What the reader or a stage found worth telling.
    quality : dict of Quality
        Quality tables by modality, ``eeg`` and ``fnirs``.
    clock : mapping of str to float
        How the clock of the fNIRS ran against that of the EEG, where it was fitted:
        ``offset_s``, ``slope_ppm``, ``residual_ms`` and ``n_events``.
    """

    person: str
    stimulus: str
    eeg: Recording | None = None
    fnirs: Recording | None = None
    baseline: Baseline = field(default_factory=Baseline)
    targets: Targets | None = None
    notes: tuple[str, ...] = ()
    quality: dict[str, Quality] = field(default_factory=dict)
    clock: Mapping[str, float] = field(default_factory=dict)
