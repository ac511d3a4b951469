"""Power of the EEG and course of the fNIRS on one time axis, and windows of both."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int

from merps.errors import DataError, InputError
from merps.preprocessing.filters import band_pass
from merps.preprocessing.repair import fill_gaps
from merps.recording import Recording, Trial
from merps.shapes import Rows, Signal
from merps.spans import copy_span
from merps.windows import WindowFormat, WindowGrid

#: How channels of a joint series are named: ``eeg/alpha/Fz`` and ``fnirs/HbO/S1_D1``.
PREFIXES = ("eeg/", "fnirs/")
#: Keeps a rounding error of times from costing a bin, in bins.
_GRACE = 1e-6


def joint_series(
    trial: Trial,
    *,
    bands: Mapping[str, tuple[float, float]],
    kinds: Sequence[str],
    rate_hz: float,
    response_s: float,
    order: int,
    pad_s: float,
) -> Recording | None:
    """Put the band power of the EEG and the fNIRS of one trial on one slow time axis.

    Time is cut into bins of ``1 / rate_hz``. EEG becomes the natural logarithm of the
    mean square of the filtered signal in each bin, fNIRS the mean of its samples
    `response_s` later: about the time that blood takes to answer.

    Parameters
    ----------
    trial : Trial
        Preprocessed signals.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.
    kinds : sequence of str
        Which kinds of the fNIRS, such as HbO and HbR.
    rate_hz : float
        Bins a second; at most the rate of either signal.
    response_s : float
        How much later fNIRS is looked at.
    order : int
        Order of the Butterworth prototype of one pass, as for `band_pass`.
    pad_s : float
        Length of the reflection on both ends in seconds, as for `band_pass`.

    Returns
    -------
    Recording or None
        Float32 of shape (channel, time) with channels such as ``eeg/alpha/Fz`` and
        ``fnirs/HbO/S1_D1``, over the time that both signals cover; NaN in bins with a
        missing sample or without power. None where a modality is absent or they have
        no time in common.

    Raises
    ------
    InputError
        If a kind is not there, bands do not fit the rate of the EEG, or `rate_hz` is
        not between zero and the rates of the signals.
    """
    eeg, fnirs = trial.eeg, trial.fnirs
    if eeg is None or fnirs is None:
        return None
    absent = [kind for kind in kinds if kind not in fnirs.kinds]
    if absent:
        raise InputError(
            f"no kind {absent[0]!r} of fNIRS; there are {', '.join(fnirs.kinds)}"
        )
    if not 0 < rate_hz <= min(eeg.rate_hz, fnirs.rate_hz):
        raise InputError(
            f"rate_hz={rate_hz:g} must lie between zero and the rates of the signals, "
            f"{eeg.rate_hz:g} Hz and {fnirs.rate_hz:g} Hz"
        )
    start_s = max(eeg.start_s, fnirs.start_s - response_s)
    end_s = min(
        eeg.start_s + eeg.duration_s, fnirs.start_s + fnirs.duration_s - response_s
    )
    first = int(np.ceil(start_s * rate_hz - _GRACE))
    stop = int(np.floor(end_s * rate_hz + _GRACE))
    if stop <= first:
        return None
    edges_s = np.arange(first, stop + 1) / rate_hz
    picked = [fnirs.kinds.index(kind) for kind in kinds]
    rows = [_log_power(eeg, band, edges_s, order, pad_s) for band in bands.values()]
    rows += list(_bin_means(fnirs.signal[picked], fnirs, edges_s + response_s))
    names = [f"eeg/{band}/{name}" for band in bands for name in eeg.channels]
    names += [f"fnirs/{kind}/{name}" for kind in kinds for name in fnirs.channels]
    return Recording(
        signal=np.concatenate(rows).astype(np.float32),
        rate_hz=rate_hz,
        start_s=first / rate_hz,
        channels=tuple(names),
        quantity=(*_each(eeg.quantity), *_each(fnirs.quantity)),
        unit=("log power", *_each(fnirs.unit)),
    )


class JointWindows:
    """Windows of joint series, one for each labeled second, cut when asked for.

    Where a window leaves the series, it is mirrored as `merps.gather_windows` does.

    Parameters
    ----------
    series : sequence of Recording or None
        What `joint_series` returned for each trial.
    n_windows : sequence of int
        Number of labeled seconds of each trial.
    grid : WindowGrid
        Which second sees which span; its step is 1 s.

    Attributes
    ----------
    format : WindowFormat
        What the windows are.
    rows : ndarray of int64, shape (second,)
        Row of each second of each trial, in the order of the trials; -1 for those of
        a trial without a series.

    Raises
    ------
    InputError
        If there is no series at all, or lengths disagree.
    DataError
        If series differ in channels or rate.
    """

    format: WindowFormat
    rows: Int[np.ndarray, " second"]

    def __init__(
        self,
        series: Sequence[Recording | None],
        n_windows: Sequence[int],
        *,
        grid: WindowGrid,
    ) -> None:
        there = [one for one in series if one is not None]
        if not there or len(series) != len(n_windows):
            raise InputError(
                f"{len(there)} series for {len(n_windows)} trials; joint windows need "
                "one entry a trial, and at least one with both modalities"
            )
        kinds = {(one.channels, one.rate_hz) for one in there}
        if len(kinds) > 1:
            raise DataError(
                "trials differ in the channels or the rate of their joint series; take "
                "people of one montage at a time"
            )
        model = there[0]
        self.format = WindowFormat(
            channels=model.channels,
            kinds=(),
            quantity=model.quantity,
            unit=model.unit,
            rate_hz=model.rate_hz,
            n_times=grid.length(model.rate_hz),
        )
        present = np.repeat([one is not None for one in series], n_windows)
        self.rows = np.where(present, np.cumsum(present) - 1, -1)
        self._signals = [one.signal for one in there]
        pairs = [
            (one, n)
            for one, n in zip(series, n_windows, strict=True)
            if one is not None
        ]
        self._trial = np.repeat(np.arange(len(pairs)), [n for _, n in pairs])
        self._starts = np.concatenate([grid.starts(one, n) for one, n in pairs])

    def __len__(self) -> int:
        return len(self._starts)

    def gather(self, rows: Rows) -> Float32[np.ndarray, "row channel time"]:
        """Copy some windows, in the order given.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Row numbers.

        Returns
        -------
        ndarray of float32, shape (row, channel, time)
            NaN where a bin is missing.
        """
        out = np.empty((len(rows), *self.format.shape), dtype=np.float32)
        for window, row in zip(out, rows, strict=True):
            copy_span(self._signals[self._trial[row]], int(self._starts[row]), window)
        return out


def _log_power(
    eeg: Recording,
    band: tuple[float, float],
    edges_s: Float64[np.ndarray, " edge"],
    order: int,
    pad_s: float,
) -> Float64[np.ndarray, "channel bin"]:
    """Return the log power of one band in each bin; NaN where a sample is missing."""
    low_hz, high_hz = band
    filtered_ct = band_pass(
        fill_gaps(eeg.signal),
        rate_hz=eeg.rate_hz,
        low_hz=low_hz,
        high_hz=high_hz,
        order=order,
        pad_s=pad_s,
    ).astype(np.float64)
    filtered_ct[np.isnan(eeg.signal)] = np.nan
    power_ct = _bin_means(filtered_ct**2, eeg, edges_s)
    return np.log(np.where(power_ct > 0, power_ct, np.nan))


def _bin_means(
    signal: Signal, recording: Recording, edges_s: Float64[np.ndarray, " edge"]
) -> Float64[np.ndarray, "*kind channel bin"]:
    """Average the samples of each bin; NaN where one is missing."""
    edges = np.rint((edges_s - recording.start_s) * recording.rate_hz).astype(np.int64)
    edges = np.minimum(edges, signal.shape[-1])
    inside = signal[..., : edges[-1]].astype(np.float64)
    return np.add.reduceat(inside, edges[:-1], axis=-1) / np.diff(edges)


def _each(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)
