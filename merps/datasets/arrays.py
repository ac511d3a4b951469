"""What the arrays of MER-PS hold: axes, names, and lengths that must agree."""

import math
from dataclasses import dataclass
from itertools import permutations

from merps.errors import mismatch
from merps.recording import Quantity

#: Order of the 64 EEG channels.
EEG_CHANNELS = tuple(
    """
    FP1 FPZ FP2 AF3 AF4 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8
    T7 C5 C3 C1 CZ C2 C4 C6 T8 M1 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 M2 P7 P5 P3 P1 PZ
    P2 P4 P6 P8 PO7 PO5 PO3 POZ PO4 PO6 PO8 CB1 O1 OZ O2 CB2
    """.split()
)
FNIRS_CHANNELS = tuple(f"ch-{number}" for number in range(1, 52))
#: What the first axis of an fNIRS array holds, in order.
FNIRS_KINDS = ("HbO", "HbR", "HbT", "Abs780", "Abs805", "Abs830")
FNIRS_QUANTITIES: tuple[Quantity, ...] = (
    *("concentration",) * 3,
    *("absorbance",) * 3,
)
EEG_RATES_HZ = (200.0, 1000.0)
FNIRS_RATE_HZ = 1000 / 21
BASELINE_S = 5.0
#: Lengths of the parts of a trial may differ by this much, in seconds.
TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Alignment:
    """How long a trial is, judged by the lengths of its parts.

    Parameters
    ----------
    seconds : int
        Whole seconds of the trial.
    eeg_rate_hz : float, optional
        Sampling rate of the EEG in hertz; None without EEG.
    notes : tuple of str
        Which parts are longer or shorter.
    """

    seconds: int
    eeg_rate_hz: float | None
    notes: tuple[str, ...] = ()

    @property
    def n_eeg(self) -> int:
        """Number of EEG samples in the trial."""
        return round(self.seconds * (self.eeg_rate_hz or 0))

    @property
    def n_fnirs(self) -> int:
        """Number of fNIRS samples in the trial."""
        return fnirs_length(self.seconds)


def fnirs_length(seconds: int) -> int:
    """Count the fNIRS samples that the sources give for whole seconds.

    Parameters
    ----------
    seconds : int
        Length of the trial.

    Returns
    -------
    int
        Number of samples, floor(seconds * 1000 / 21) + 1.
    """
    return seconds * 1000 // 21 + 1


def eeg_axes(where: object, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Find the order of axes that makes an EEG array (64, time).

    Parameters
    ----------
    where : object
        File and variable, for the message.
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    tuple of int
        Argument for `numpy.transpose`; ascending if the array is right as it is.

    Raises
    ------
    DataError
        If no order of axes, or more than one, makes it so.
    """
    return _order_axes(where, shape, fixed=(len(EEG_CHANNELS),))


def fnirs_axes(where: object, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Find the order of axes that makes an fNIRS array (6, 51, time).

    Parameters
    ----------
    where : object
        File and variable, for the message.
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    tuple of int
        Argument for `numpy.transpose`; ascending if the array is right as it is.

    Raises
    ------
    DataError
        If no order of axes, or more than one, makes it so.
    """
    return _order_axes(where, shape, fixed=(len(FNIRS_KINDS), len(FNIRS_CHANNELS)))


def label_axes(where: object, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Find the order of axes that makes a label array (2, time).

    Both orders are in use, so that neither is worth a note.

    Parameters
    ----------
    where : object
        File and variable, for the message.
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    tuple of int
        Argument for `numpy.transpose`.

    Raises
    ------
    DataError
        If no order of axes makes it so, or if the array is (2, 2).
    """
    if shape == (2, 2):
        raise mismatch(
            where,
            expected="labels of shape (2, time) or (time, 2)",
            found="(2, 2), which could be either",
            remedy="leave this video out",
        )
    return _order_axes(where, shape, fixed=(2,))


def align(
    where: object,
    *,
    n_eeg: int | None,
    n_fnirs: int | None,
    n_labels: int | None,
    n_ids: int | None,
    n_baseline: int | None,
) -> Alignment:
    """Tell the length of a trial and the rate of its EEG from numbers of samples.

    Labels decide where there are any, then sample ids, then fNIRS, then the EEG
    baseline, which lasts 5 s.

    Parameters
    ----------
    where : object
        Person and video, for the message.
    n_eeg, n_fnirs, n_labels, n_ids, n_baseline : int, optional
        Numbers of EEG samples, fNIRS samples, labels, sample ids and samples of the
        EEG baseline; None for what is absent. At least one signal is there.

    Returns
    -------
    Alignment
        Whole seconds, EEG rate and notes.

    Raises
    ------
    DataError
        If lengths differ by more than 1 s, fit no known EEG rate, or do not suffice
        to tell the rate.
    """
    told = n_ids if n_labels is None else n_labels
    teller = "sample ids" if n_labels is None else "labels"
    if n_fnirs is not None and told is not None:
        _require_fnirs(where, n_fnirs, told, teller)
    rate_hz = None
    if n_eeg is not None:
        if told is not None:
            rate_hz = _infer_rate(where, n_eeg, told, teller)
        elif n_fnirs is not None:
            rate_hz = _infer_rate(where, n_eeg, n_fnirs / FNIRS_RATE_HZ, "fNIRS")
        elif n_baseline is not None:
            rate_hz = _infer_rate(where, n_baseline, BASELINE_S, "rule for baselines")
        else:
            raise mismatch(
                where,
                expected="labels, sample ids, fNIRS or an EEG baseline, which tell "
                "the EEG's sampling rate",
                found="EEG alone",
                remedy="add sample_ids.csv",
            )
    if told is None:
        lengths_s = [n_eeg / rate_hz] if n_eeg is not None else []
        lengths_s += [n_fnirs / FNIRS_RATE_HZ] if n_fnirs is not None else []
        told = math.floor(min(lengths_s) + 1e-9)
    if told < 1:
        raise mismatch(
            where, expected="at least 1 s", found="less", remedy="leave this video out"
        )
    alignment = Alignment(seconds=told, eeg_rate_hz=rate_hz)
    notes = []
    if n_eeg is not None and n_eeg != alignment.n_eeg:
        notes.append(_note("EEG", n_eeg / rate_hz, n_eeg > alignment.n_eeg, told))
    if n_fnirs is not None and abs(n_fnirs - alignment.n_fnirs) > 1:
        longer = n_fnirs > alignment.n_fnirs
        notes.append(_note("fNIRS", n_fnirs / FNIRS_RATE_HZ, longer, told))
    return Alignment(seconds=told, eeg_rate_hz=rate_hz, notes=tuple(notes))


def _order_axes(
    where: object, shape: tuple[int, ...], *, fixed: tuple[int, ...]
) -> tuple[int, ...]:
    """Find the one order of axes that puts the fixed lengths first and time last."""
    as_it_is = tuple(range(len(shape)))
    if 0 not in shape and len(shape) == len(fixed) + 1:
        if shape[:-1] == fixed:
            return as_it_is
        orders = [
            axes
            for axes in permutations(as_it_is)
            if tuple(shape[axis] for axis in axes[:-1]) == fixed
        ]
        if len(orders) == 1:
            return orders[0]
    raise mismatch(
        where,
        expected=f"shape ({', '.join(map(str, fixed))}, time)",
        found=f"({', '.join(map(str, shape))})",
        remedy="save the array with these axes",
    )


def _infer_rate(where: object, n_samples: int, seconds: float, teller: str) -> float:
    """Return the known EEG rate that fits a number of samples to a length."""
    misses = {rate: abs(n_samples / rate - seconds) for rate in EEG_RATES_HZ}
    rate_hz = min(misses, key=misses.__getitem__)
    if misses[rate_hz] > TOLERANCE_S + 1 / FNIRS_RATE_HZ:
        raise mismatch(
            where,
            expected=f"EEG of {seconds:g} s (by the {teller}) to within 1 s, at "
            + " or ".join(f"{rate:g} Hz" for rate in EEG_RATES_HZ),
            found=f"{n_samples} samples, "
            + " or ".join(f"{n_samples / rate:g} s" for rate in EEG_RATES_HZ)
            + f" ({n_samples / seconds:g} Hz if it lasts {seconds:g} s)",
            remedy="check that EEG and labels belong together, and the sampling rate",
        )
    return rate_hz


def _require_fnirs(where: object, n_fnirs: int, seconds: int, teller: str) -> None:
    """Refuse fNIRS that is more than 1 s longer or shorter than it should be."""
    surplus_s = abs(n_fnirs - fnirs_length(seconds)) / FNIRS_RATE_HZ
    if surplus_s > TOLERANCE_S + 1 / FNIRS_RATE_HZ:
        raise mismatch(
            where,
            expected=f"fNIRS of {seconds} s (by the {teller}) to within 1 s",
            found=f"{n_fnirs} samples, {n_fnirs / FNIRS_RATE_HZ:.2f} s at 1000/21 Hz",
            remedy="check that fNIRS and labels belong together",
        )


def _note(name: str, length_s: float, longer: bool, seconds: int) -> str:
    """Say that a part is longer or shorter than the trial."""
    if longer:
        return f"{name} lasts {length_s:.2f} s and was cut to {seconds} s"
    return f"{name} lasts only {length_s:.2f} s of {seconds} s"
