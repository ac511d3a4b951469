"""Where the stimuli lie in recordings, and how recordings are cut there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from merps.datasets.clocks import Tie, join_events
from merps.errors import DataError, mismatch
from merps.predictions import name_some
from merps.readers.streams import Modality, Stream
from merps.recording import Annotation, Recording

#: What lengths of one trial may differ by, in seconds.
TOLERANCE_S = 1.0
_ROUNDING = 1e-6
#: Shorter annotations mark a moment: some formats give each the length of a sample.
_SHORTEST_S = 1.0
_REPEATED = re.compile(r"#[0-9]+$")


@dataclass(frozen=True)
class Span:
    """One stimulus in one modality of one file.

    Parameters
    ----------
    file : LabFile
        Where it is.
    stream : Stream
        The modality.
    onset_s : float
        Onset on the time axis of the recording.
    stated_s : float or None
        How long it lasts; None if as long as the recording, or as its ratings.
    skipped_s : float
        How long after the start of the file the stimulus begins, where it is the file.
    tie : Tie, optional
        What put the stream on the time axis of another file.
    """

    file: Any
    stream: Stream
    onset_s: float
    stated_s: float | None
    skipped_s: float = 0.0
    tie: Tie | None = None

    @property
    def left_s(self) -> float:
        """Seconds from onset to the end of the recording."""
        header = self.stream.header
        return header.start_s + header.duration_s - self.onset_s


@dataclass(frozen=True)
class Cut:
    """Samples of one modality that are one trial.

    Parameters
    ----------
    path : Path
        The file.
    stream : Stream
        The modality.
    begin, n_times, n_rest : int
        First sample at or after onset, number of samples from there on, and of those
        before it that are rest.
    start_s : float
        Time of the first sample after onset, in seconds, less than one interval.
    """

    path: Path
    stream: Stream
    begin: int
    n_times: int
    n_rest: int
    start_s: float


def annotated_spans(
    file: Any,
    streams: Sequence[Stream],
    stimuli: Mapping[str, str],
    duration_s: float | None,
) -> list[tuple[str, Span]]:
    """Find stimuli by the annotations of a file.

    The second annotation ``happy`` of a file is the stimulus ``happy#2``. A stimulus
    lasts as long as is stated for all, else as its annotation if that lasts a second,
    else to the next one of a stimulus.

    Parameters
    ----------
    file : LabFile
        The file.
    streams : sequence of Stream
        Its modalities.
    stimuli : mapping of str to str
        Names of stimuli that count.
    duration_s : float or None
        Length of all stimuli.

    Returns
    -------
    list of (str, Span)
        Name of the stimulus, and where it is.

    Raises
    ------
    DataError
        If no annotation is a stimulus.
    """
    found = []
    for stream in streams:
        for name, onset_s, stated_s in _find(
            stream.header.annotations, stimuli, duration_s
        ):
            found.append((name, Span(file, stream, onset_s, stated_s)))
    if not found:
        labels = dict.fromkeys(
            mark.label for stream in streams for mark in stream.header.annotations
        )
        raise _no_stimulus(file.path, stimuli, labels)
    return found


def joint_spans(
    eeg: tuple[Any, Stream],
    fnirs: tuple[Any, Stream],
    tie: Tie,
    *,
    tolerance_s: float,
    stimuli: Mapping[str, str],
    duration_s: float | None,
) -> list[tuple[str, Span]]:
    """Find stimuli by the annotations of two files on one clock.

    As `annotated_spans`, but an event that either file has counts for both.

    Parameters
    ----------
    eeg, fnirs : tuple of (LabFile, Stream)
        The files; the fNIRS on the time axis of the EEG.
    tie : Tie
        What put it there.
    tolerance_s : float
        How far apart one event may be in both, in seconds.
    stimuli : mapping of str to str
        Names of stimuli that count.
    duration_s : float or None
        Length of all stimuli.

    Returns
    -------
    list of (str, Span)
        Name of the stimulus, and where it is in each file that covers its onset.

    Raises
    ------
    DataError
        If no annotation is a stimulus.
    """
    labels = {_REPEATED.sub("", name) for name in stimuli} | set(stimuli)
    headers = eeg[1].header, fnirs[1].header
    events = join_events(*headers, labels, tolerance_s=tolerance_s)
    marks = _find(events, stimuli, duration_s)
    if not marks:
        seen = dict.fromkeys(a.label for h in headers for a in h.annotations)
        raise _no_stimulus(eeg[0].path, stimuli, seen)
    found = []
    for name, onset_s, stated_s in marks:
        for (file, stream), own in ((eeg, None), (fnirs, tie)):
            span = Span(file, stream, onset_s, stated_s, tie=own)
            if span.left_s > 0 and onset_s >= stream.header.start_s - TOLERANCE_S:
                found.append((name, span))
    return found


def overlap_spans(
    eeg: tuple[Any, Stream], fnirs: tuple[Any, Stream], tie: Tie
) -> list[Span]:
    """Find what two files on one clock have in common; it is one stimulus.

    It begins with the EEG where the fNIRS begins up to 1 s later, as in recordings of
    one clock, else a whole number of seconds after it, so that ratings that count from
    the start of the EEG keep their seconds.

    Parameters
    ----------
    eeg, fnirs : tuple of (LabFile, Stream)
        The files; the fNIRS on the time axis of the EEG.
    tie : Tie
        What put it there.

    Returns
    -------
    list of Span
        The stimulus in both.
    """
    headers = eeg[1].header, fnirs[1].header
    first_s = headers[0].start_s
    later_s = headers[1].start_s - first_s
    skipped_s = 0.0 if later_s <= TOLERANCE_S else float(np.ceil(later_s - _ROUNDING))
    onset_s = first_s + skipped_s
    length_s = min(h.start_s + h.duration_s for h in headers) - onset_s
    return [
        Span(*eeg, onset_s, length_s, skipped_s),
        Span(*fnirs, onset_s, length_s, skipped_s, tie),
    ]


def _find(
    annotations: Sequence[Annotation],
    stimuli: Mapping[str, str],
    duration_s: float | None,
) -> list[tuple[str, float, float | None]]:
    """Return name, onset and length of each stimulus that annotations mark."""
    marks, seen, found = [], {}, []
    for mark in annotations:
        seen[mark.label] = n = seen.get(mark.label, 0) + 1
        name = mark.label if n == 1 else f"{mark.label}#{n}"
        if name in stimuli:
            marks.append((name, mark))
    ends = [mark.onset_s for _, mark in marks[1:]]
    for number, (name, mark) in enumerate(marks):
        stated = duration_s
        if stated is None and mark.duration_s >= _SHORTEST_S:
            stated = mark.duration_s
        elif stated is None and number < len(ends):
            stated = ends[number] - mark.onset_s
        found.append((name, mark.onset_s, stated))
    return found


def _no_stimulus(
    path: Path, stimuli: Mapping[str, str], labels: Iterable[str]
) -> DataError:
    """Say that no annotation is a stimulus."""
    return mismatch(
        path,
        expected=f"annotations {name_some(stimuli)}",
        found=name_some(labels) or "no annotations",
        remedy="correct dataset.stimuli, or set dataset.onsets to file",
    )


def reconcile(
    where: str,
    spans: Mapping[Modality, Span],
    n_targets: int | None,
    *,
    is_marked: bool,
    rest_s: float,
    notes: list[str],
) -> dict[Modality, Cut]:
    """Tell which samples of each modality are the trial.

    Ratings decide its length where there are any, then what is stated, then the shorter
    signal. Signals that are up to 1 s shorter, or longer, are noted. A stimulus that is
    a whole file must fit to 1 s; a marked one may be followed by anything.

    Parameters
    ----------
    where : str
        Person and stimulus, for messages.
    spans : mapping of str to Span
        The stimulus by modality.
    n_targets : int or None
        Seconds that are rated.
    is_marked : bool
        Annotations mark the stimuli, so that files may go on after what is stated.
    rest_s : float
        Rest before onset that is kept.
    notes : list of str
        Gets what was cut or is short.

    Returns
    -------
    dict of str to Cut
        Samples by modality.

    Raises
    ------
    DataError
        If lengths differ by more than 1 s, or the trial is shorter than 1 s.
    """
    left_s = {
        modality: span.left_s
        if is_marked or span.stated_s is None
        else min(span.left_s, span.stated_s)
        for modality, span in spans.items()
    }
    stated = [span.stated_s for span in spans.values() if span.stated_s is not None]
    if n_targets is not None:
        length_s, teller = float(n_targets), "its ratings"
    elif stated:
        length_s, teller = min(stated), "its annotation"
    else:
        length_s = min(left_s.values())
        teller = "the shorter recording" if len(left_s) > 1 else "its recording"
    if length_s < _SHORTEST_S:
        raise mismatch(
            where,
            expected="at least 1 s",
            found=f"{length_s:.3g} s by {teller}",
            remedy="give dataset.duration_s, or leave it out of dataset.stimuli"
            if is_marked
            else "leave the file out, or pass the whole recording",
        )
    cuts = {}
    for modality, span in spans.items():
        surplus_s = left_s[modality] - length_s
        if surplus_s < -TOLERANCE_S or (not is_marked and surplus_s > TOLERANCE_S):
            raise mismatch(
                f"{where}: {span.file.path}",
                expected=f"{length_s:.2f} s of {modality} from onset on, by {teller}, "
                "to within 1 s",
                found=f"{left_s[modality]:.2f} s",
                remedy="cut the recordings to the stimulus, or mark its onset by an "
                "annotation and set dataset.onsets; if the stated rate is wrong, see "
                "by: labels of dataset.synchrony",
            )
        if abs(surplus_s) > 1e-3 and (not is_marked or surplus_s < 0):
            how = "was cut to" if surplus_s > 0 else "ends before"
            notes.append(
                f"{modality} lasts {left_s[modality]:.2f} s and {how} {length_s:.2f} s"
            )
        cuts[modality] = _samples(span, length_s, rest_s)
    return cuts


def cut(recording: Recording, piece: Cut) -> tuple[Recording, Recording | None, int]:
    """Cut a trial and its rest out of a recording.

    Parameters
    ----------
    recording : Recording
        The whole recording.
    piece : Cut
        Which samples.

    Returns
    -------
    tuple of (Recording, Recording or None, int)
        The trial, rest before it if there is any, both on the time axis of the trial
        and with infinite samples as NaN, and how many of those there were.
    """
    first = piece.begin - piece.n_rest
    samples = recording.signal[..., first : piece.begin + piece.n_times]
    infinite = np.isinf(samples)
    n_infinite = int(np.count_nonzero(infinite))
    samples = np.where(infinite, np.nan, samples) if n_infinite else samples.copy()
    onset_s = recording.start_s + piece.begin / recording.rate_hz - piece.start_s
    marks = tuple(
        replace(mark, onset_s=mark.onset_s - onset_s)
        for mark in recording.annotations
        if -piece.n_rest
        <= (mark.onset_s - onset_s) * recording.rate_hz
        <= piece.n_times
    )
    whole = replace(recording, annotations=marks)
    trial = whole.with_signal(samples[..., piece.n_rest :], start_s=piece.start_s)
    if not piece.n_rest:
        return trial, None, n_infinite
    start_s = piece.start_s - piece.n_rest / recording.rate_hz
    rest = replace(whole, annotations=()).with_signal(
        samples[..., : piece.n_rest], start_s=start_s
    )
    return trial, rest, n_infinite


def _samples(span: Span, length_s: float, rest_s: float) -> Cut:
    """Return the samples between onset and end."""
    header = span.stream.header
    rate_hz = header.rate_hz
    place = (span.onset_s - header.start_s) * rate_hz
    begin = max(0, int(np.ceil(place - _ROUNDING)))
    end = int(np.ceil(place + length_s * rate_hz - _ROUNDING))
    return Cut(
        path=span.file.path,
        stream=span.stream,
        begin=begin,
        n_times=min(end, header.n_times) - begin,
        n_rest=min(begin, round(rest_s * rate_hz)),
        start_s=(begin - place) / rate_hz,
    )
