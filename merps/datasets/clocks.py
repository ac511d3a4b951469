"""Recordings of two devices on one clock, by the events that both saw."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from merps.datasets.words import WHOLE
from merps.errors import InputError, mismatch
from merps.preprocessing.matching import Events, match_events
from merps.preprocessing.synchrony import Clock, fit_clock
from merps.readers.streams import Stream
from merps.recording import Annotation, Recording

_WORDS = re.compile(r"[^\s_]+")
_CODE = re.compile(r"([0-9]+)(?:\.0+)?[^0-9]*$")
#: A slope that is known no better is taken for none: clocks seldom drift more.
_WORST_PPM = 100.0
#: Events are known to a sample alone if most of them are so near one, in samples.
_ON_SAMPLE = 0.01
_MOST = 0.9


@dataclass(frozen=True)
class Tie:
    """How the clock of an fNIRS recording runs against that of an EEG.

    Parameters
    ----------
    clock : Clock
        Offset, slope and what they leave; time of the EEG by that of the fNIRS.
    n_eeg, n_fnirs : int
        How many events each has; 0 where no events were asked.
    """

    clock: Clock
    n_eeg: int = 0
    n_fnirs: int = 0

    def move(self, stream: Stream) -> Stream:
        """Put a stream of the fNIRS on the time axis of the EEG.

        Parameters
        ----------
        stream : Stream
            Timed by its own clock.

        Returns
        -------
        Stream
            The same samples at their own rate, told in seconds of the EEG.
        """
        load = partial(load_moved, stream.load, self.clock)
        return replace(stream, header=self.clock.move(stream.header), load=load)

    def describe(self) -> str:
        """Say what was found.

        Returns
        -------
        str
            Offset, slope, residual and number of events.
        """
        clock = self.clock
        when = "after" if clock.offset_s >= 0 else "before"
        text = (
            f"the clock of the fNIRS starts {abs(clock.offset_s):.4f} s {when} that of "
            "the EEG"
        )
        if not self.n_eeg:
            return f"{text}, by scans.tsv"
        pace = "slow" if clock.slope_ppm >= 0 else "fast"
        return (
            f"{text} and runs {abs(clock.slope_ppm):.1f} ppm {pace}, by "
            f"{clock.n_events} events (of {self.n_eeg} in the EEG and {self.n_fnirs} "
            f"in the fNIRS) with a residual of {clock.residual_ms:.2f} ms"
        )

    def facts(self) -> dict[str, float]:
        """Return what was found as numbers.

        Returns
        -------
        dict of str to float
            ``offset_s``, ``slope_ppm``, ``residual_ms`` and ``n_events``.
        """
        names = ("offset_s", "slope_ppm", "residual_ms", "n_events")
        return {name: float(getattr(self.clock, name)) for name in names}


def tie(eeg: Recording, fnirs: Recording, options: Mapping[str, Any]) -> Tie:
    """Fit the clock of an fNIRS recording to that of an EEG, over the whole of both.

    Events are matched by name where the devices give them the same names, else by the
    end of the name (``S  1`` and ``1``), else by when they were.

    Parameters
    ----------
    eeg, fnirs : Recording
        Whose annotations are timed by their own devices.
    options : mapping
        Keywords of `merps.preprocessing.synchrony.fit_clock`, and ``events``, the names
        that count; all if there are none.

    Returns
    -------
    Tie
        The clock.

    Raises
    ------
    InputError
        If the events do not tell it.
    """
    limits = {**options}
    wanted = set(limits.pop("events"))
    ours, theirs = (
        [a for a in r.annotations if _counts(a, wanted)] for r in (eeg, fnirs)
    )
    limits["resolution_s"] = max(_step(eeg, ours), _step(fnirs, theirs))
    first_error = None
    for name in (str, _code, None):
        named = {}
        if name is not None:
            named = {
                "reference_labels": [name(a.label) for a in ours],
                "device_labels": [name(a.label) for a in theirs],
            }
            if set(named["reference_labels"]).isdisjoint(named["device_labels"]):
                continue
        try:
            clock = fit_clock(_onsets(ours), _onsets(theirs), **named, **limits)
        except InputError as error:
            first_error = first_error or error
            continue
        clock = _without_slope(clock, _onsets(theirs), limits["tolerance_s"])
        return Tie(clock, len(ours), len(theirs))
    raise first_error or InputError("there are no events")


def _without_slope(
    clock: Clock, device_s: Float64[np.ndarray, " event"], tolerance_s: float
) -> Clock:
    """Return a clock without its slope, where events do not tell that.

    Two events leave no error to be told; theirs is what the tolerance allows.
    """
    error_ppm = clock.slope_error_ppm
    if np.isnan(error_ppm):
        error_ppm = 1e6 * tolerance_s / np.ptp(device_s)
    if error_ppm <= _WORST_PPM:
        return clock
    middle_s = np.mean(device_s, keepdims=True)
    return replace(
        clock,
        offset_s=float((clock.to_reference(middle_s) - middle_s)[0]),
        slope_ppm=0.0,
        slope_error_ppm=float("nan"),
    )


def tie_files(eeg: Any, fnirs: Any, options: Mapping[str, Any]) -> Tie:
    """Fit the clocks of two files; the error says which ones.

    Parameters
    ----------
    eeg, fnirs : (LabFile, Stream)
        The files, and what they hold.
    options : mapping
        As for `tie`.

    Returns
    -------
    Tie
        The clock.

    Raises
    ------
    DataError
        If the events do not tell it.
    """
    try:
        return tie(eeg[1].header, fnirs[1].header, options)
    except InputError as error:
        raise mismatch(
            f"{fnirs[0].path} beside {eeg[0].path.name}",
            expected="events that tell how the clock of the fNIRS runs against that of "
            "the EEG",
            found=str(error),
            remedy="correct dataset.synchrony, or leave the fNIRS out; if both devices "
            "have one clock, set dataset.synchrony to null",
        ) from error


def pair_up(
    eeg: Sequence[Any], fnirs: Sequence[Any], name: Callable[[Any], str]
) -> list[tuple[Any, Any]]:
    """Tell which recordings of a person were made together.

    Those of one name are; where either device made only one recording, it goes with
    all of the other. Two that have no like must not name different things, such as two
    sessions: one name has all words of the other, or says nothing.

    Parameters
    ----------
    eeg, fnirs : sequence
        Recordings of either device.
    name : callable
        Returns the name of a recording.

    Returns
    -------
    list of tuple
        Pairs of EEG and fNIRS.
    """
    pairs = [(e, f) for e in eeg for f in fnirs if name(e) == name(f)]
    if pairs or min(len(eeg), len(fnirs)) != 1:
        return pairs
    if len(eeg) == len(fnirs):
        words = [set(_WORDS.findall(name(own))) - {WHOLE} for own in (*eeg, *fnirs)]
        if not (words[0] <= words[1] or words[1] <= words[0]):
            return []
    return [(e, f) for e in eeg for f in fnirs]


def join_events(
    eeg: Recording, fnirs: Recording, labels: set[str], *, tolerance_s: float
) -> tuple[Annotation, ...]:
    """Return the events that stimuli may begin at, as both devices saw them.

    The device tells them in whose recording any of the labels stand, and the EEG where
    both do. Times are those of the EEG where it saw an event. Labels that one device
    lacks are taken from the other; so are those of repeated stimuli (``a#2``) from when
    the EEG was not recorded, which would be counted from 1 else.

    Parameters
    ----------
    eeg, fnirs : Recording
        Both on the time axis of the EEG.
    labels : set of str
        Labels of stimuli.
    tolerance_s : float
        How far apart one event may be in both, in seconds.

    Returns
    -------
    tuple of Annotation
        In order of time.
    """
    devices = []
    for recording in (eeg, fnirs):
        ordered = sorted(recording.annotations, key=lambda a: a.onset_s)
        devices.append(ordered)
    own, other = devices
    partner_of: tuple[dict[int, int], dict[int, int]] = ({}, {})
    if own and other:
        events = Events.of(_onsets(own), _onsets(other), None, None)
        rows, others = match_events(events, 0.0, 1.0, tolerance_s)
        pairs = list(zip(rows.tolist(), others.tolist(), strict=True))
        partner_of = (dict(pairs), {other: row for row, other in pairs})
    joined, told = [], set()
    for number, marks in enumerate(devices):
        chosen = {mark.label for mark in marks} & (labels - told)
        repeated = {label for label in told if f"{label}#2" in labels}
        told |= chosen
        for k, mark in enumerate(marks):
            is_unseen = not 0 <= mark.onset_s - eeg.start_s <= eeg.duration_s
            if mark.label not in (chosen | repeated if is_unseen else chosen):
                continue
            partner = partner_of[number].get(k)
            twin = mark if partner is None else devices[1 - number][partner]
            onset_s = (twin if number else mark).onset_s
            lengths = [d for d in (mark.duration_s, twin.duration_s) if d >= 1.0]
            joined.append(Annotation(onset_s, min(lengths, default=0.0), mark.label))
    return tuple(sorted(joined, key=lambda a: a.onset_s))


def _counts(mark: Annotation, wanted: set[str]) -> bool:
    """Tell that an event is one of those that are asked for."""
    return not wanted or mark.label in wanted


def _step(recording: Recording, marks: Sequence[Annotation]) -> float:
    """Return the time between samples if events are only at samples; else 0."""
    if not marks:
        return 0.0
    places = (_onsets(marks) - recording.start_s) * recording.rate_hz
    is_rounded = np.abs(places - np.rint(places)) < _ON_SAMPLE
    return 1 / recording.rate_hz if is_rounded.mean() > _MOST else 0.0


def _onsets(marks: Sequence[Annotation]) -> Float64[np.ndarray, " event"]:
    """Return when events were, in seconds."""
    return np.array([mark.onset_s for mark in marks], dtype=np.float64)


def _code(label: str) -> str:
    """Return the last number in a label; else what is behind its last slash."""
    found = _CODE.search(label)
    return str(int(found[1])) if found else label.rpartition("/")[2].strip().lower()


def load_moved(load: Callable[[], Recording], clock: Clock) -> Recording:
    """Read a recording, and time it by another clock.

    Parameters
    ----------
    load : callable
        Reads the recording.
    clock : Clock
        The other clock.

    Returns
    -------
    Recording
        The same samples, timed by that clock.
    """
    return clock.move(load())
