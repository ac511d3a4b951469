"""Which second sees which span of a signal, and the windows cut by that rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int

from merps.errors import DataError, InputError
from merps.recording import Phase, Quantity, Recording, Trial
from merps.shapes import SampleTargets, Windows
from merps.spans import COPIES

Modality: TypeAlias = Literal["eeg", "fnirs"]

# Keeps a rounding error from costing a window.
_GRACE = 1e-6


@dataclass(frozen=True)
class WindowGrid:
    """The rule that gives each labeled second its window.

    Window i belongs to the time ``t = i * step_s`` after onset, where ``[t, t + 1)`` is
    a labeled second. It ends at ``t + 1 - lag_s + lookahead_s`` and begins `window_s`
    earlier.

    Parameters
    ----------
    window_s : float
        Length of a window in seconds.
    step_s : float
        Distance between windows in seconds; 1 gives one window per label.
    lag_s : float
        How many seconds windows are shifted into the past: the time a rating lags
        behind what the signal shows.
    lookahead_s : float
        How many seconds windows are shifted into the future.

    Raises
    ------
    InputError
        If a number is not finite, a length is not positive, or a shift is negative.
    """

    window_s: float
    step_s: float
    lag_s: float
    lookahead_s: float

    def __post_init__(self) -> None:
        for name in ("window_s", "step_s"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise InputError(f"{name} must be positive and finite, got {value:g}")
        for name in ("lag_s", "lookahead_s"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise InputError(
                    f"{name} must be finite and not negative, got {value:g}; shift "
                    "the other way with the other one of lag_s and lookahead_s"
                )

    def length(self, rate_hz: float) -> int:
        """Return the number of samples in a window.

        Parameters
        ----------
        rate_hz : float
            Sampling rate in hertz.

        Returns
        -------
        int
            Nearest whole number of samples.

        Raises
        ------
        InputError
            If a window is shorter than one sample.
        """
        length = round(self.window_s * rate_hz)
        if length < 1:
            raise InputError(
                f"window_s={self.window_s:g} must span at least one sample, "
                f"{1 / rate_hz:g} s at rate_hz={rate_hz:g}"
            )
        return length

    def starts(
        self, recording: Recording, n_windows: int
    ) -> Int[np.ndarray, " window"]:
        """Return the sample at which each window begins.

        Parameters
        ----------
        recording : Recording
            Its rate and the time of its first sample place the windows.
        n_windows : int
            Number of windows, from second 0 on.

        Returns
        -------
        ndarray of int64, shape (window,)
            Each is rounded from seconds by itself, so no error adds up; negative, or
            beyond the end, where a window leaves the signal.

        Raises
        ------
        InputError
            If the number of windows is negative.
        """
        if n_windows < 0:
            raise InputError(f"n_windows must not be negative, got {n_windows}")
        first_s = 1 - self.lag_s + self.lookahead_s - self.window_s - recording.start_s
        starts_s = first_s + np.arange(n_windows) * self.step_s
        # Halves always go up: rint would turn even steps into uneven ones.
        return np.floor(starts_s * recording.rate_hz + 0.5).astype(np.int64)


def labeled_seconds(trial: Trial) -> int:
    """Count the seconds of a trial that have a label, or would have one.

    Parameters
    ----------
    trial : Trial
        With or without targets.

    Returns
    -------
    int
        Number of targets; without targets the whole seconds from onset to the end of
        the longer signal; 0 without signals.
    """
    if trial.targets is not None:
        return len(trial.targets)
    signals = [signal for signal in (trial.eeg, trial.fnirs) if signal is not None]
    ends_s = [signal.start_s + signal.duration_s for signal in signals]
    return max(0, int(max(ends_s, default=0) + _GRACE))


def gather_windows(
    recording: Recording, grid: WindowGrid, *, n_windows: int, phase: Phase = "zero"
) -> Windows:
    """Copy the windows of the first seconds of a recording.

    Where a window leaves the signal, the signal is mirrored at its ends: the sample
    before the first is the first one again, then the second one, and so on
    (``numpy.pad`` calls this symmetric).

    Parameters
    ----------
    recording : Recording
        Its signal may have any memory order; NaN stays NaN.
    grid : WindowGrid
        Where windows lie.
    n_windows : int
        Number of windows, from second 0 on.
    phase : {"zero", "causal"}, optional
        Causal windows are NaN where they would begin before the signal, since what is
        mirrored there may come later.

    Returns
    -------
    ndarray, shape (window, channel, time) or (window, kind, channel, time)
        In the dtype of the signal, C-contiguous.

    Raises
    ------
    InputError
        If a window is shorter than one sample, the signal has no samples, or the
        number of windows is negative.
    """
    signal = recording.signal
    if signal.shape[-1] == 0:
        raise InputError("recording has no samples to cut windows from")
    length = grid.length(recording.rate_hz)
    starts = grid.starts(recording, n_windows)
    windows = np.empty((n_windows, *signal.shape[:-1], length), dtype=signal.dtype)
    copy = COPIES[phase]
    for start, window in zip(starts, windows, strict=True):
        copy(signal, int(start), window)
    return windows


def window_views(recording: Recording, grid: WindowGrid, *, n_windows: int) -> Windows:
    """View the windows of the first seconds of a recording, without a copy.

    Parameters
    ----------
    recording : Recording
        Its signal is shared with the result.
    grid : WindowGrid
        Where windows lie.
    n_windows : int
        Number of windows, from second 0 on; at least one.

    Returns
    -------
    ndarray, shape (window, channel, time) or (window, kind, channel, time)
        A read-only strided view.

    Raises
    ------
    InputError
        If a window leaves the signal, if a step is no whole number of samples, or if
        there is no window; `gather_windows` copes with the first two.
    """
    if n_windows < 1:
        raise InputError(f"n_windows must be at least 1, got {n_windows}")
    length = grid.length(recording.rate_hz)
    starts = grid.starts(recording, n_windows)
    first, last = int(starts[0]), int(starts[-1])
    if first < 0 or last + length > recording.n_times:
        raise InputError(
            f"windows span the samples {first} to {last + length} of a signal that has "
            f"{recording.n_times}; use gather_windows, which mirrors the ends"
        )
    steps = np.unique(np.diff(starts))
    if len(steps) > 1:
        raise InputError(
            f"step_s={grid.step_s:g} is no whole number of samples at "
            f"rate_hz={recording.rate_hz:g}; use gather_windows, or resample first"
        )
    step = int(steps[0]) if len(steps) else 1
    if step == 0:
        raise InputError(
            f"step_s={grid.step_s:g} is shorter than one sample at "
            f"rate_hz={recording.rate_hz:g}"
        )
    spans = np.lib.stride_tricks.sliding_window_view(recording.signal, length, axis=-1)
    return np.moveaxis(spans[..., first : last + 1 : step, :], -2, 0)


@dataclass(frozen=True)
class WindowFormat:
    """What the numbers in a window are.

    Parameters
    ----------
    channels : tuple of str
        One name per channel.
    kinds : tuple of str
        Names along the axis before the channels; empty where there is none.
    quantity, unit : str or tuple of str
        What the numbers are; one each, or one per kind.
    rate_hz : float
        Sampling rate in hertz.
    n_times : int
        Number of samples.
    """

    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    quantity: Quantity | tuple[Quantity, ...]
    unit: str | tuple[str, ...]
    rate_hz: float
    n_times: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window, (channel, time) or (kind, channel, time)."""
        n_kinds = (len(self.kinds),) if self.kinds else ()
        return (*n_kinds, len(self.channels), self.n_times)


@dataclass(frozen=True)
class WindowIndex:
    """Which windows there are, one entry a window, ordered as the trials were.

    Parameters
    ----------
    format : WindowFormat
        What every one of the windows is.
    people, stimuli : ndarray of str, shape (window,)
        Whose window it is, and during which stimulus.
    seconds : ndarray of int64, shape (window,)
        The labeled second ``[t, t + 1)`` after onset that its time lies in.
    targets : ndarray of float64, shape (window, 2)
        Valence and arousal of that second; NaN where the trial has none.
    starts : ndarray of int64, shape (window,)
        Sample of the trial's signal at which it begins, as `WindowGrid.starts` says.
    """

    format: WindowFormat
    people: np.ndarray
    stimuli: np.ndarray
    seconds: Int[np.ndarray, " sample"]
    targets: SampleTargets
    starts: Int[np.ndarray, " sample"]

    def __len__(self) -> int:
        return len(self.starts)


def index_windows(
    trials: Iterable[Trial],
    grid: WindowGrid,
    *,
    modality: Modality,
    seconds: Mapping[tuple[str, str], int] | None = None,
) -> WindowIndex | None:
    """List the windows of every labeled second of some trials.

    Parameters
    ----------
    trials : iterable of Trial
        Taken one at a time; a trial without the modality, or without a sample of it,
        has no windows.
    grid : WindowGrid
        Where windows lie. With a step other than 1 s the last window still belongs to
        a time that a whole labeled second follows.
    modality : str
        ``eeg`` or ``fnirs``.
    seconds : mapping of (str, str) to int, optional
        How many are wanted of a trial without labels that ends a little earlier.

    Returns
    -------
    WindowIndex or None
        None where there is not one window.

    Raises
    ------
    InputError
        If a window is shorter than one sample.
    DataError
        If trials differ in channels, kinds, units or rate.
    """
    found: WindowFormat | None = None
    columns: list[tuple[np.ndarray, ...]] = []
    for trial in trials:
        recording: Recording | None = getattr(trial, modality)
        n_seconds = labeled_seconds(trial)
        if trial.targets is None and seconds:
            n_seconds = max(n_seconds, seconds.get((trial.person, trial.stimulus), 0))
        if recording is None or recording.n_times == 0 or n_seconds == 0:
            continue
        found = _require_same(found, _format(recording, grid), trial, modality)
        n = 1 + int((n_seconds - 1) / grid.step_s + _GRACE)
        second = np.floor(np.arange(n) * grid.step_s + _GRACE).astype(np.int64)
        unknown = np.full((n, 2), np.nan)
        columns.append(
            (
                np.full(n, trial.person),
                np.full(n, trial.stimulus),
                second,
                unknown if trial.targets is None else trial.targets[second],
                grid.starts(recording, n),
            )
        )
    if found is None:
        return None
    return WindowIndex(found, *map(np.concatenate, zip(*columns, strict=True)))


def _format(recording: Recording, grid: WindowGrid) -> WindowFormat:
    """Return what the windows of a recording are."""
    return WindowFormat(
        channels=recording.channels,
        kinds=recording.kinds,
        quantity=recording.quantity,
        unit=recording.unit,
        rate_hz=recording.rate_hz,
        n_times=grid.length(recording.rate_hz),
    )


def _require_same(
    former: WindowFormat | None, new: WindowFormat, trial: Trial, modality: str
) -> WindowFormat:
    """Refuse windows that cannot stand in one array with the former ones."""
    for field in () if former is None else fields(WindowFormat):
        before, now = getattr(former, field.name), getattr(new, field.name)
        if before != now:
            raise DataError(
                f"{trial.person}, {trial.stimulus}: {modality} {field.name} is "
                f"{now!s:.200}, and {before!s:.200} in the trials before; take people "
                "of one montage and rate at a time"
            )
    return new
