"""MER-PS and REFED folders as trials."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from merps.datasets.layout import Folder, Layout, Part, Problem, find_folder
from merps.datasets.manifest import Role, load_manifest
from merps.datasets.person import OpenPerson
from merps.datasets.side_files import (
    RESERVATIONS,
    SAMPLE_IDS,
    is_simulated,
    read_reservations,
    read_sample_table,
)
from merps.datasets.survey import Survey, TrialFailure
from merps.errors import DataError, InputError
from merps.predictions import name_some, read_sample_ids
from merps.recording import Baseline, Recording, Trial

__all__ = ["MerPsDataset", "Problem", "TrialFailure", "open_dataset"]


@dataclass(frozen=True)
class MerPsDataset:
    """People and trials of a MER-PS or REFED folder.

    Parameters
    ----------
    folder : Folder
        Where the files are.
    role : str
        ``train``, or ``eval-only`` for evaluation people and data without labels.
    source : str
        Key of the source in the manifest.
    terms : str
        What the data come under, in sentences.
    problems : tuple of Problem
        What was wrong with the folder and the files beside the recordings. An error
        means that people or facts are lost: preprocessing says so and ends with 1.
    masks : mapping of str to ndarray of bool, shape (channel,)
        By person, True where an fNIRS channel is missing.
    seconds : mapping of str to mapping of str to int
        By person and stimulus, the number of seconds that `sample_ids.csv` asks for.
    """

    folder: Folder = field(repr=False)
    role: Role
    source: str
    terms: str = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    masks: Mapping[str, Bool[np.ndarray, " channel"]] = field(repr=False)
    seconds: Mapping[str, Mapping[str, int]] = field(repr=False)

    @property
    def root(self) -> Path:
        """Folder that holds ``data/``."""
        return self.folder.root

    @property
    def layout(self) -> Layout:
        """How the folder is laid out; ``input`` is without labels."""
        return self.folder.layout

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the people, in natural order."""
        return self.folder.people

    @property
    def settings(self) -> Mapping[str, object]:
        """Options that decide the trials besides the files: none."""
        return {}

    def input_files(self, person: str) -> tuple[Path, ...]:
        """List every file that decides this person's trials.

        Parameters
        ----------
        person : str
            Name of the person.

        Returns
        -------
        tuple of Path
            Those that are there, recordings first.

        Raises
        ------
        InputError
            If there is no such person.
        """
        self._require_person(person)
        parts: tuple[Part, ...] = (
            "eeg",
            "fnirs",
            "eeg_baseline",
            "fnirs_baseline",
            "labels",
        )
        finders = [partial(self.folder.part, person, part) for part in parts]
        for name in (RESERVATIONS, SAMPLE_IDS):
            finders.append(partial(self.folder.file, name))
        files = []
        for find in finders:
            try:
                files.append(find())
            except DataError:  # not used either: reported as a problem or a failure
                continue
        return tuple(path for path in files if path is not None)

    def sample_ids(self) -> list[str] | None:
        """Read the ids that are to be answered.

        Returns
        -------
        list of str or None
            Ids in file order; None without `sample_ids.csv`.

        Raises
        ------
        DataError
            If the file cannot be read, or ids are malformed or repeated.
        """
        path = self.folder.file(SAMPLE_IDS)
        return None if path is None else read_sample_ids(path)

    def survey(self, person: str) -> Survey:
        """Tell a person's trials from shapes and labels, without reading signals.

        Parameters
        ----------
        person : str
            Name of the person.

        Returns
        -------
        Survey
            Planned trials, failures and notes.

        Raises
        ------
        InputError
            If there is no such person.
        """
        with self.open_person(person) as opened:
            return opened.survey

    def open_person(self, person: str) -> OpenPerson:
        """Open a person's files, to read trials in any order and several at once.

        Parameters
        ----------
        person : str
            Name of the person.

        Returns
        -------
        OpenPerson
            To be used in a ``with`` block.

        Raises
        ------
        InputError
            If there is no such person.
        """
        self._require_person(person)
        return OpenPerson(
            self.folder,
            person,
            seconds=self.seconds.get(person, {}),
            mask=self.masks.get(person),
        )

    def trials(self, person: str) -> Iterator[Trial | TrialFailure]:
        """Read a person's trials, one at a time.

        Whatever cannot be used comes as a `TrialFailure`. What is only absent (a
        video, a modality, a baseline, labels) is a note of the trial. A part (EEG,
        fNIRS, a baseline, labels) that cannot be used is left out, and its trial still
        comes with the others; a trial without a usable signal, or whose lengths
        disagree by more than 1 s, does not come. So a person is whole if and only if no
        failure comes. Failures that shapes and labels tell come first, a modality
        without any finite sample comes last, once for all its trials.

        EEG and fNIRS start at 0 s and end with the trial; where labels decide its
        length they may be up to 1 s short. Baselines end at 0 s. Arrays keep their
        float type and MATLAB's memory order (Fortran). Channels that
        `fNIRS_reservations.csv` calls missing are True in the mask and NaN; infinite
        samples become NaN, with a note.

        Parameters
        ----------
        person : str
            Name of the person.

        Yields
        ------
        Trial or TrialFailure
            Trials in stimulus order.

        Raises
        ------
        InputError
            If there is no such person.
        """
        with self.open_person(person) as opened:
            yield from opened.failures
            for plan in opened.plans:
                items = opened.read(plan)
                while items:  # hand out and forget, one trial in memory at a time
                    yield _detach(items.pop(0))
                opened.release(plan)
            yield from opened.silent()

    def _require_person(self, person: str) -> None:
        """Refuse a person who is not in the folder."""
        if person not in self.people:
            raise InputError(
                f"no person {person!r} in {self.root}; there are "
                f"{name_some(self.people)}"
            )


def open_dataset(root: Path | str) -> MerPsDataset:
    """Open a folder of MER-PS, of its evaluation people, or of REFED.

    Only folder names and the small files beside the recordings are read.

    Parameters
    ----------
    root : Path
        Folder that holds ``data/``, or the folder above it.

    Returns
    -------
    MerPsDataset
        People and their trials; what is wrong so far stands in its `problems`.

    Raises
    ------
    DataError
        If there is no such folder, or nobody in it.
    """
    folder = find_folder(Path(root))
    reservations = read_reservations(folder)
    table = read_sample_table(folder)
    simulated, marks = is_simulated(folder)
    key = "simulated" if simulated else folder.source
    source = load_manifest().sources[key]
    problems = [*folder.problems, *marks, *reservations.problems, *table.problems]
    if folder.layout == "input" and table.ids is None and not table.problems:
        message = "neither annotations/ nor sample_ids.csv: nothing to fit or answer"
        problems.append(Problem("note", str(folder.root.name), message))
    # Evaluation people stay such, also where they are simulated or in mixed company.
    reserved = folder.source == "mer-ps-leaderboard" or folder.layout == "input"
    return MerPsDataset(
        folder=folder,
        role="eval-only" if reserved else source.role,
        source=key,
        terms=" ".join(source.terms),
        problems=tuple(problems),
        masks=reservations.masks,
        seconds=table.seconds,
    )


def _detach(item: Trial | TrialFailure) -> Trial | TrialFailure:
    """Copy what is still a view of a file, which may be changed once it is closed."""
    if isinstance(item, TrialFailure):
        return item
    rest = item.baseline
    return replace(
        item,
        eeg=_own(item.eeg),
        fnirs=_own(item.fnirs),
        baseline=Baseline(eeg=_own(rest.eeg), fnirs=_own(rest.fnirs)),
    )


def _own(recording: Recording | None) -> Recording | None:
    """Return a recording whose signal is its own."""
    if recording is None or recording.signal.flags.writeable:
        return recording
    return recording.with_signal(recording.signal.copy(order="K"))
