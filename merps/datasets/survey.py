"""What the files of one person promise, told from shapes and labels alone."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from merps.datasets.arrays import (
    BASELINE_S,
    FNIRS_RATE_HZ,
    TOLERANCE_S,
    Alignment,
    align,
    eeg_axes,
    fnirs_axes,
    label_axes,
)
from merps.datasets.layout import SIGNAL_FILES, Folder, Part
from merps.errors import DataError, MerpsError, mismatch
from merps.predictions import name_some
from merps.readers.mat5 import MatFile
from merps.shapes import Targets

_KEY = re.compile(r"video_([1-9][0-9]?)")
_AXES = {
    "eeg": eeg_axes,
    "fnirs": fnirs_axes,
    "eeg_baseline": eeg_axes,
    "fnirs_baseline": fnirs_axes,
}
_NAMES = {
    "eeg": "EEG",
    "fnirs": "fNIRS",
    "eeg_baseline": "EEG baseline",
    "fnirs_baseline": "fNIRS baseline",
    "labels": "labels",
}


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """Something of a person that is there and cannot be used.

    Parameters
    ----------
    person : str
        Name of the person.
    stimulus : str or None
        The one trial concerned; None if it is a file, or several trials.
    message : str
        File, variable, what was expected and found, and the way out.
    """

    person: str
    stimulus: str | None
    message: str


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """A trial as shapes and labels announce it, before any signal is read.

    Parameters
    ----------
    person, stimulus : str
        Names, such as ``test_1`` and ``V01``.
    axes : mapping of str to tuple of int
        The parts that can be read, and how to transpose each.
    alignment : Alignment
        Length of the trial and rate of its EEG.
    targets : ndarray of float64, shape (time, 2), optional
        Valence and arousal per second.
    notes : tuple of str
        What is absent or was put right.
    """

    person: str
    stimulus: str
    axes: Mapping[Part, tuple[int, ...]]
    alignment: Alignment
    targets: Targets | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """All trials of one person as their files announce them.

    Parameters
    ----------
    plans : tuple of TrialPlan
        Trials that can be read, in stimulus order.
    failures : tuple of TrialFailure
        What cannot.
    notes : tuple of str
        Remarks on whole files.
    """

    plans: tuple[TrialPlan, ...]
    failures: tuple[TrialFailure, ...]
    notes: tuple[str, ...]


class PersonFiles:
    """The files of one person, open for reading.

    Use it in a ``with`` block.

    Parameters
    ----------
    folder : Folder
        The data folder.
    person : str
        Name of the person.
    """

    def __init__(self, folder: Folder, person: str) -> None:
        self.folder = folder
        self.person = person
        self.files: dict[Part, MatFile] = {}
        self.absent: list[Part] = []
        self._failures: list[TrialFailure] = []
        self._stack = ExitStack()

    def __enter__(self) -> "PersonFiles":
        for part in (*SIGNAL_FILES, "labels"):
            try:
                path = self.folder.part(self.person, part)
                if path is None:
                    self.absent.append(part)
                    continue
                file = self._stack.enter_context(MatFile(path))
                self.files[part] = file
                if file.damage is not None:
                    self._fail(None, file.damage)
            except MerpsError as error:
                self._fail(None, str(error))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def where(self, part: Part, stimulus: str) -> str:
        """Return file and variable of a part, for messages.

        Parameters
        ----------
        part, stimulus : str
            The part and the trial.

        Returns
        -------
        str
            Such as ``.../EEG_videos.mat, variable video_1``.
        """
        return f"{self.files[part].path}, variable {_key(stimulus)}"

    def view(self, part: Part, plan: TrialPlan) -> Float[np.ndarray, "..."]:
        """Show one part of a trial where it lies in its file, or read it.

        Parameters
        ----------
        part : str
            Which part, one of ``plan.axes``.
        plan : TrialPlan
            The trial.

        Returns
        -------
        ndarray of float
            Axes in order, values and memory order as in the file; read-only if it is
            the mapped file itself.

        Raises
        ------
        DataError
            If the variable is damaged.
        SpaceError
            If there is not enough memory.
        """
        array = self.files[part].view(_key(plan.stimulus)).transpose(plan.axes[part])
        if np.issubdtype(array.dtype, np.floating):
            return array
        return array.astype(np.float64, order="K")

    def release(self, part: Part, plan: TrialPlan) -> None:
        """Let go of the mapped memory of one part of a trial.

        Parameters
        ----------
        part : str
            Which part, one of ``plan.axes``.
        plan : TrialPlan
            The trial.
        """
        self.files[part].release(_key(plan.stimulus))

    def survey(
        self,
        *,
        seconds: Mapping[str, int],
        mask: Bool[np.ndarray, " channel"] | None,
    ) -> Survey:
        """Plan every trial; only labels are read.

        Parameters
        ----------
        seconds : mapping of str to int
            By stimulus, the number of seconds that `sample_ids.csv` asks for.
        mask : ndarray of bool, shape (channel,), optional
            True where an fNIRS channel is missing.

        Returns
        -------
        Survey
            Trials and failures.
        """
        self._failures, failures = [], self._failures
        notes = self._file_notes()
        plans = []
        known = {part: self._stimuli(part) for part in self.files}
        stimuli = sorted(known.get("eeg", set()) | known.get("fnirs", set()))
        for stimulus in stimuli:
            try:
                plan = self._plan(stimulus, seconds.get(stimulus), mask)
            except DataError as error:
                self._fail(stimulus, str(error))
                continue
            if plan is not None:
                plans.append(plan)
        unseen = sorted(known.get("labels", set()) - set(stimuli))
        if unseen and stimuli:
            notes.append(f"labels but no recordings for {name_some(unseen)}")
        failures += self._failures
        if not stimuli and not failures:
            names = " nor ".join(SIGNAL_FILES[part] for part in ("eeg", "fnirs"))
            folder = self.folder.root / "data" / self.person
            message = f"{folder}: neither {names} holds a video_<number>"
            failures.append(TrialFailure(self.person, None, message))
        return Survey(tuple(plans), tuple(failures), tuple(notes))

    def _fail(self, stimulus: str | None, message: str) -> None:
        """Keep a failure for the survey."""
        self._failures.append(TrialFailure(self.person, stimulus, message))

    def _stimuli(self, part: Part) -> set[str]:
        """Name the stimuli that a file holds, whether it can be read or not."""
        file = self.files[part]
        keys = map(_KEY.fullmatch, (*file.variables, *file.skipped))
        return {f"V{int(key[1]):02d}" for key in keys if key is not None}

    def _file_notes(self) -> list[str]:
        """Say which variables are not known."""
        notes = []
        for file in self.files.values():
            strange = [
                repr(name[:40])
                for name in (*file.variables, *file.skipped)
                if not _KEY.fullmatch(name)
            ]
            if strange:
                notes.append(
                    f"{file.path.name} holds {name_some(strange)}, which is none of "
                    "video_1, video_2 ..., and is ignored"
                )
        return notes

    def _plan(
        self,
        stimulus: str,
        n_ids: int | None,
        mask: Bool[np.ndarray, " channel"] | None,
    ) -> TrialPlan | None:
        """Plan one trial; None if no signal is left."""
        notes: list[str] = []
        axes: dict[Part, tuple[int, ...]] = {}
        lengths: dict[Part, int] = {}
        n_labels, targets = self._labels(stimulus, notes)
        for part in SIGNAL_FILES:
            if (
                part.endswith("_baseline")
                and part.removesuffix("_baseline") not in axes
            ):
                continue
            if part == "fnirs" and mask is not None and mask.all():
                notes.append("no fNIRS, every channel is marked as missing")
                continue
            shape = self._shape(part, stimulus, notes)
            if shape is None:
                continue
            try:
                axes[part] = _AXES[part](self.where(part, stimulus), shape)
            except DataError as error:
                self._fail(stimulus, str(error))
                continue
            lengths[part] = shape[axes[part][-1]]
            if axes[part] != tuple(range(len(shape))):
                notes.append(f"{_NAMES[part]} was transposed, it came as {shape}")
        if "eeg" not in axes and "fnirs" not in axes:
            if not any(failure.stimulus == stimulus for failure in self._failures):
                self._fail(stimulus, f"{self.person} {stimulus}: no signal is left")
            return None
        alignment = align(
            f"{self.folder.root / 'data' / self.person}, {_key(stimulus)}",
            n_eeg=lengths.get("eeg"),
            n_fnirs=lengths.get("fnirs"),
            n_labels=n_labels,
            n_ids=n_ids,
            n_baseline=lengths.get("eeg_baseline"),
        )
        for part, rate_hz in (
            ("eeg_baseline", alignment.eeg_rate_hz),
            ("fnirs_baseline", FNIRS_RATE_HZ),
        ):
            length_s = lengths[part] / rate_hz if part in lengths else BASELINE_S
            if abs(length_s - BASELINE_S) > TOLERANCE_S:
                notes.append(f"{_NAMES[part]} lasts {length_s:.2f} s instead of 5 s")
        return TrialPlan(
            person=self.person,
            stimulus=stimulus,
            axes=axes,
            alignment=alignment,
            targets=targets,
            notes=(*notes, *alignment.notes),
        )

    def _shape(
        self, part: Part, stimulus: str, notes: list[str]
    ) -> tuple[int, ...] | None:
        """Return the shape of a part; None, with a note or failure, if it is absent."""
        file = self.files.get(part)
        key = _key(stimulus)
        if file is None:
            if part in self.absent and (part != "labels" or self._labeled):
                name = SIGNAL_FILES.get(part, f"{self.person}_label.mat")
                notes.append(f"no {_NAMES[part]}, {name} is absent")
        elif key in file.variables:
            return file.variables[key].shape
        elif key in file.skipped:
            found = file.skipped[key]
            where = self.where(part, stimulus)
            remedy = "save it from MATLAB as double"
            error = mismatch(where, expected="numbers", found=found, remedy=remedy)
            self._fail(stimulus, str(error))
        else:
            notes.append(f"no {_NAMES[part]}, {file.path.name} lacks {key}")
        return None

    @property
    def _labeled(self) -> bool:
        """Whether label files are expected in this folder."""
        return self.folder.layout != "input"

    def _labels(
        self, stimulus: str, notes: list[str]
    ) -> tuple[int | None, Targets | None]:
        """Return the number of labels, and the labels unless they are wrong."""
        shape = self._shape("labels", stimulus, notes)
        if shape is None:
            return None, None
        where = self.where("labels", stimulus)
        try:
            axes = label_axes(where, shape)
        except DataError as error:
            self._fail(stimulus, str(error))
            return None, None
        n_labels = shape[axes[-1]]
        try:
            labels = self.files["labels"].read(_key(stimulus)).transpose(axes)
            targets = np.ascontiguousarray(labels.T, dtype=np.float64)
            _require_ratings(where, targets)
        except MerpsError as error:
            self._fail(stimulus, str(error))
            return n_labels, None
        return n_labels, targets


def _key(stimulus: str) -> str:
    """Return the name of a stimulus in the files."""
    return f"video_{int(stimulus[1:])}"


def _require_ratings(where: str, targets: Targets) -> None:
    """Refuse ratings that are not numbers in 1..255."""
    wrong = ~((targets >= 1) & (targets <= 255))  # NaN is wrong too
    if wrong.any():
        second, column = np.argwhere(wrong)[0]
        raise mismatch(
            where,
            expected="ratings in 1..255",
            found=f"{wrong.sum()} of {wrong.size} others, the first in second "
            f"{second}: {targets[second, column]:g}",
            remedy="correct the label file",
        )
