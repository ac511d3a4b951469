"""What the files of one person hold: stimuli, rests, and clocks that tie them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from merps.datasets.clocks import Tie, pair_up, tie_files
from merps.datasets.cutting import (
    Span,
    annotated_spans,
    joint_spans,
    overlap_spans,
)
from merps.datasets.lab_records import LabFile, LabOptions
from merps.datasets.montages import place_channels
from merps.errors import MerpsError, mismatch
from merps.predictions import name_some
from merps.preprocessing.synchrony import Clock
from merps.readers.streams import Modality, Stream

_Pair: TypeAlias = tuple[LabFile, Stream]
NAMES = {"eeg": "EEG", "fnirs": "fNIRS"}


@dataclass
class Gathered:
    """What was found in the files of one person.

    Parameters
    ----------
    options : LabOptions
        How recordings are cut.
    spans : dict
        By stimulus and modality, where it is.
    rests : dict
        By modality, files of rest.
    failures : list of (str or None, str)
        Number of the stimulus, or None for a file, and what is wrong with it.
    """

    options: LabOptions
    spans: dict[str, dict[Modality, Span]] = field(default_factory=dict)
    rests: dict[Modality, list[_Pair]] = field(default_factory=dict)
    failures: list[tuple[str | None, str]] = field(default_factory=list)

    def add_file(self, file: LabFile, streams: Sequence[Stream]) -> None:
        """Find the stimuli of a file that is on a clock of its own.

        Parameters
        ----------
        file : LabFile
            The file.
        streams : sequence of Stream
            What it holds.

        Raises
        ------
        DataError
            If no annotation is a stimulus, or a stimulus has no number.
        """
        options = self.options
        if options.by_annotation:
            found = annotated_spans(file, streams, options.stimuli, options.duration_s)
        else:
            onset_s = max(stream.header.start_s for stream in streams)
            found = [(file.stimulus, Span(file, s, onset_s, None)) for s in streams]
        for name, span in found:
            self._add(name, span)

    def add_pair(self, eeg: _Pair, fnirs: _Pair, tie: Tie, *, name: str) -> None:
        """Find the stimuli of two files, put on one clock.

        Parameters
        ----------
        eeg, fnirs : tuple of (LabFile, Stream)
            The files.
        tie : Tie
            How the clock of the fNIRS runs.
        name : str
            What the stimulus is called, where files are stimuli.

        Raises
        ------
        DataError
            If no annotation is a stimulus, or a stimulus has no number.
        """
        options = self.options
        moved = (fnirs[0], tie.move(fnirs[1]))
        if options.by_annotation:
            found = joint_spans(
                eeg,
                moved,
                tie,
                tolerance_s=options.synchrony["tolerance_s"],
                stimuli=options.stimuli,
                duration_s=options.duration_s,
            )
        else:
            found = [(name, span) for span in overlap_spans(eeg, moved, tie)]
        for stimulus, span in found:
            self._add(stimulus, span)

    def _add(self, name: str, span: Span) -> None:
        """Keep where a stimulus is, unless it is somewhere else, too."""
        stimuli, modality = self.options.stimuli, span.stream.modality
        if name not in stimuli:
            raise mismatch(
                span.file.path,
                expected=f"a stimulus of {name_some(stimuli)}",
                found=repr(name),
                remedy="add it to dataset.stimuli",
            )
        own = self.spans.setdefault(name, {})
        if modality in own and _is_same(own[modality], span):
            return  # a recording that goes with several of the other device
        if self._is_untied(span, *own.values()):
            text = (
                f"{span.file.path}: {NAMES[modality]} of {name!r} is on another clock "
                f"than that of {next(iter(own.values())).file.path.name}, with which "
                "it was not compared; give both one {session} and {stimulus} in "
                "dataset.files if they were made together, or leave one file out"
            )
            self.failures.append((stimuli[name], text))
            return
        if modality in own:
            text = (
                f"{span.file.path}: {NAMES[modality]} of {name!r} is in "
                f"{own[modality].file.path.name} already; name stimuli or sessions in "
                "dataset.files, or leave one file out"
            )
            self.failures.append((stimuli[name], text))
            return
        own[modality] = span

    def _is_untied(self, *spans: Span) -> bool:
        """Tell that two files with clocks of their own would become one trial."""
        if self.options.synchrony is None or len(spans) != 2:
            return False
        one, other = spans
        if one.stream.modality == other.stream.modality:
            return False
        is_tied = one.tie is not None or other.tie is not None
        return one.file.path != other.file.path and not is_tied


def gather(files: Sequence[LabFile], options: LabOptions) -> Gathered:
    """Open the files of one person, and find what they hold.

    Parameters
    ----------
    files : sequence of LabFile
        Recordings of the person.
    options : LabOptions
        How they are cut.

    Returns
    -------
    Gathered
        Stimuli, rests, and what cannot be used.
    """
    found = Gathered(options)
    opened: list[tuple[LabFile, list[Stream]]] = []
    for file in files:
        try:
            streams = _open(file, options)
        except MerpsError as error:
            found.failures.append((None, str(error)))
            continue
        if file.is_rest:
            for stream in streams:
                found.rests.setdefault(stream.modality, []).append((file, stream))
        else:
            opened.append((file, streams))
    tied = _tie(opened, found)
    for file, streams in opened:
        if (file.path, streams[0].modality) in tied:
            continue
        try:
            found.add_file(file, streams)
        except MerpsError as error:
            found.failures.append((None, str(error)))
    return found


def _tie(
    opened: Sequence[tuple[LabFile, Sequence[Stream]]], found: Gathered
) -> set[tuple[object, Modality]]:
    """Find the stimuli of files of two devices; tell which files are done with."""
    options = found.options
    alone: dict[Modality, list[_Pair]] = {"eeg": [], "fnirs": []}
    for file, streams in opened:
        if len(streams) == 1:
            alone[streams[0].modality].append((file, streams[0]))
    done: set[tuple[object, Modality]] = set()
    for eeg, fnirs in pair_up(
        alone["eeg"], alone["fnirs"], lambda pair: pair[0].stimulus
    ):
        try:
            if options.synchrony is not None:
                tie = tie_files(eeg, fnirs, options.synchrony)
            else:
                is_fixed = options.by_annotation or options.by_labels
                tie = None if is_fixed else _stated(eeg, fnirs)
            if tie is None:
                continue
            done |= {(eeg[0].path, "eeg"), (fnirs[0].path, "fnirs")}
            is_split = len(alone["fnirs"]) > len(alone["eeg"])
            name = (fnirs if is_split else eeg)[0].stimulus
            found.add_pair(eeg, fnirs, tie, name=name)
        except MerpsError as error:
            done.add((fnirs[0].path, "fnirs"))
            found.failures.append((None, str(error)))
    return done


def _stated(eeg: _Pair, fnirs: _Pair) -> Tie | None:
    """Return what the times of acquisition tell; None where they tell nothing."""
    times = eeg[0].acquired, fnirs[0].acquired
    if None in times:
        return None
    later_s = (times[1] - times[0]).total_seconds()
    headers = eeg[1].header, fnirs[1].header
    if not later_s or not -headers[1].duration_s < later_s < headers[0].duration_s:
        return None
    offset_s = later_s + headers[0].start_s - headers[1].start_s
    return Tie(Clock(offset_s, slope_ppm=0.0, residual_ms=0.0, n_events=0))


def _is_same(one: Span, other: Span) -> bool:
    """Tell that two spans are the same part of the same stream, on the same clock."""
    facts = [(s.file.path, s.stream.modality, s.onset_s, s.tie) for s in (one, other)]
    return facts[0] == facts[1]


def _open(file: LabFile, options: LabOptions) -> list[Stream]:
    """Open a file, and take what is asked for."""
    streams = file.open(file.path, **options.how)
    if file.modality is not None:
        streams = [s for s in streams if s.modality == file.modality]
        if not streams:
            raise mismatch(
                file.path,
                expected=NAMES[file.modality],
                found="none in the file",
                remedy="correct dataset.files",
            )
    return [place_channels(s, options.montage) for s in streams]
