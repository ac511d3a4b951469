"""What a lab's own folder holds, as records: files, options, plans."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from merps.datasets.cutting import Cut
from merps.datasets.layout import is_inside
from merps.datasets.ratings import Ratings
from merps.datasets.survey import TrialFailure
from merps.datasets.templates import Template
from merps.readers.columns import Column
from merps.readers.files import open_recording
from merps.readers.streams import Modality, Stream
from merps.shapes import Targets


@dataclass(frozen=True)
class LabFile:
    """A recording and whose it is.

    Parameters
    ----------
    path : Path
        The file.
    person, stimulus : str
        Names; the stimulus as the lab calls it.
    names : mapping of str to str
        What the path says, for the paths of ratings.
    modality : str, optional
        The one modality to take; all that are in the file if absent.
    side_files : tuple of Path
        Further files that decide what is read.
    open : callable
        Opens the recording.
    ratings : callable, optional
        Returns ratings on the time axis of the recording, and None without any.
    is_rest : bool
        The recording is the rest of the person, and no stimulus.
    acquired : datetime, optional
        When its first sample was recorded, where the data set says so.
    """

    path: Path
    person: str
    stimulus: str
    names: Mapping[str, str]
    modality: str | None = None
    side_files: tuple[Path, ...] = ()
    open: Callable[..., tuple[Stream, ...]] = open_recording
    ratings: Callable[[], Ratings | None] | None = None
    is_rest: bool = False
    acquired: datetime | None = None


@dataclass(frozen=True)
class LabOptions:
    """How recordings are cut into trials, and where ratings are.

    Parameters
    ----------
    root : Path
        The data folder.
    stimuli : mapping of str to str
        Number of each stimulus, such as ``V01``, by the lab's name for it.
    by_annotation : bool
        Stimuli begin at annotations; else a file is a stimulus.
    duration_s : float, optional
        Length of each stimulus, where annotations do not say it.
    rest_s : float
        Rest before an annotated stimulus that is kept as its baseline.
    targets : mapping, optional
        Path, columns and scale of the ratings.
    how : mapping
        Keywords of `open_recording`.
    montage : str, optional
        Name of the standard montage that gives EEG channels their positions.
    synchrony : mapping, optional
        How the clocks of two files are told by events of both; None if they are one.
    by_labels : bool
        Ratings tell the rates of the recordings.
    tables : mapping of str to Path
        Every table of ratings, by its path under the folder.
    """

    root: Path
    stimuli: Mapping[str, str]
    by_annotation: bool
    duration_s: float | None
    rest_s: float
    targets: Mapping[str, Any] | None
    how: Mapping[str, Any]
    montage: str | None
    synchrony: Mapping[str, Any] | None = None
    by_labels: bool = False
    tables: Mapping[str, Path] = field(default_factory=dict)
    _own_tables: dict[str, list[str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def from_section(
        cls,
        root: Path,
        section: Mapping[str, Any],
        *,
        stimuli: Mapping[str, str],
        columns: Sequence[Column] | None,
    ) -> "LabOptions":
        """Take what concerns a person from the ``dataset`` section.

        Parameters
        ----------
        root : Path
            The data folder.
        section : mapping
            The options, as plain values.
        stimuli : mapping of str to str
            Numbers of the stimuli by name.
        columns : sequence of Column, optional
            What the columns of XDF streams are.

        Returns
        -------
        LabOptions
            The record.
        """
        synchrony = dict(section["synchrony"] or {})
        by_labels = synchrony.pop("by", None) == "labels"
        return cls(
            root=root,
            stimuli=stimuli,
            by_annotation=section["onsets"] == "annotations",
            duration_s=section["duration_s"],
            rest_s=section["rest_s"],
            targets=section["targets"],
            how={
                "length_unit": section["length_unit"],
                "streams": section["streams"],
                "columns": columns,
            },
            montage=section["montage"],
            synchrony=None if by_labels else synchrony or None,
            by_labels=by_labels,
            tables=_find_tables(root, section["targets"]),
        )

    def rating_files(self, **names: str) -> tuple[Path, ...]:
        """List the tables of ratings of a person, or of a trial.

        Parameters
        ----------
        **names : str
            Person, and perhaps stimulus and session.

        Returns
        -------
        tuple of Path
            In natural order.
        """
        if not self.tables:
            return ()
        template = Template(self.targets["path"])
        person = names["person"] if "person" in template.names else ""
        if person not in self._own_tables:  # once for all trials of a person
            self._own_tables[person] = [n for n in self.tables if person in n]
        template = template.fill(names)
        return tuple(
            self.tables[name]
            for name in self._own_tables[person]
            if template.fits(name)
        )


def _find_tables(root: Path, targets: Mapping[str, Any] | None) -> dict[str, Path]:
    """List every table of ratings; links that leave the folder do not count."""
    if targets is None or targets["path"] is None:
        return {}
    template = Template(targets["path"])
    tables = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {
        name: path
        for name, path in sorted(tables.items())
        if template.fits(name) and path.is_file() and is_inside(root, path)
    }


@dataclass(frozen=True)
class LabPlan:
    """A trial as headers and ratings announce it.

    Parameters
    ----------
    person, stimulus : str
        Names, such as ``S01`` and ``V01``.
    cuts : mapping of str to Cut
        Where each modality lies in its file.
    targets : ndarray of float64, shape (time, 2), optional
        Valence and arousal per second.
    notes : tuple of str
        What was assumed or put right.
    rests : mapping of str to Stream
        By modality, the rest that is in a file of its own.
    clock : mapping of str to float
        How the clock of the fNIRS runs against that of the EEG, where it was fitted.
    """

    person: str
    stimulus: str
    cuts: Mapping[Modality, Cut]
    targets: Targets | None = field(repr=False)
    notes: tuple[str, ...]
    rests: Mapping[Modality, Stream] = field(default_factory=dict, repr=False)
    clock: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LabSurvey:
    """All trials of one person as headers and ratings announce them.

    Parameters
    ----------
    plans : tuple of LabPlan
        Trials that can be read, in stimulus order.
    failures : tuple of TrialFailure
        What cannot.
    notes : tuple of str
        Remarks on whole files.
    """

    plans: tuple[LabPlan, ...]
    failures: tuple[TrialFailure, ...]
    notes: tuple[str, ...] = ()
