"""MER-PS and REFED folders as trials."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from merps.datasets.arrays import (
    EEG_CHANNELS,
    FNIRS_CHANNELS,
    FNIRS_KINDS,
    FNIRS_QUANTITIES,
    FNIRS_RATE_HZ,
)
from merps.datasets.layout import Folder, Layout, Part, Problem, find_folder
from merps.datasets.manifest import Role, load_manifest
from merps.datasets.side_files import (
    RESERVATIONS,
    SAMPLE_IDS,
    is_simulated,
    read_reservations,
    read_sample_table,
)
from merps.datasets.survey import PersonFiles, Survey, TrialFailure, TrialPlan
from merps.errors import DataError, InputError, MerpsError, mismatch
from merps.predictions import name_some, read_sample_ids
from merps.recording import Baseline, Recording, Trial

__all__ = ["MerPsDataset", "Problem", "TrialFailure", "open_dataset"]

logger = logging.getLogger(__name__)


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
        self._require_person(person)
        with PersonFiles(self.folder, person) as files:
            return self._survey(files)

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
        self._require_person(person)
        with PersonFiles(self.folder, person) as files:
            survey = self._survey(files)
            yield from survey.failures
            silent: dict[Part, list[str]] = {}
            for plan in survey.plans:
                items = self._read(plan, files, silent)
                while items:  # hand out and forget, one trial in memory at a time
                    yield items.pop(0)
            for part, stimuli in silent.items():
                yield TrialFailure(
                    person,
                    stimuli[0] if len(stimuli) == 1 else None,
                    str(
                        mismatch(
                            files.files[part].path,
                            expected="finite samples in each video",
                            found=f"none in {name_some(stimuli)}",
                            remedy="export these recordings again, or leave them out",
                        )
                    ),
                )

    def _require_person(self, person: str) -> None:
        """Refuse a person who is not in the folder."""
        if person not in self.people:
            raise InputError(
                f"no person {person!r} in {self.root}; there are "
                f"{name_some(self.people)}"
            )

    def _survey(self, files: PersonFiles) -> Survey:
        """Plan the trials of opened files."""
        return files.survey(
            seconds=self.seconds.get(files.person, {}),
            mask=self.masks.get(files.person),
        )

    def _read(
        self, plan: TrialPlan, files: PersonFiles, silent: dict[Part, list[str]]
    ) -> list[Trial | TrialFailure]:
        """Read one trial and its failures; parts that are all NaN go to `silent`."""
        items: list[Trial | TrialFailure] = []
        mask = self.masks.get(plan.person)
        notes = list(plan.notes)
        lengths = {"eeg": plan.alignment.n_eeg, "fnirs": plan.alignment.n_fnirs}
        signals: dict[Part, np.ndarray] = {}
        for part in plan.axes:
            try:
                signal = files.read(part, plan)
            except MerpsError as error:
                items.append(TrialFailure(plan.person, plan.stimulus, str(error)))
                continue
            signal = signal[..., : lengths.get(part)]
            if mask is not None and part.startswith("fnirs"):
                signal[:, mask] = np.nan
            n_infinite = _mark_infinite(signal)
            if n_infinite:
                notes.append(f"{n_infinite} infinite samples of {part} are missing")
            if np.isnan(signal).all():
                silent.setdefault(part, []).append(plan.stimulus)
                continue
            signals[part] = signal
        if "eeg" not in signals and "fnirs" not in signals:
            return items
        wrap_fnirs = partial(_fnirs, mask=mask)
        eeg, eeg_rest = _wrap(_eeg, signals, "eeg", plan.alignment.eeg_rate_hz)
        fnirs, fnirs_rest = _wrap(wrap_fnirs, signals, "fnirs", FNIRS_RATE_HZ)
        logger.debug("%s %s: %d s", plan.person, plan.stimulus, plan.alignment.seconds)
        trial = Trial(
            person=plan.person,
            stimulus=plan.stimulus,
            eeg=eeg,
            fnirs=fnirs,
            baseline=Baseline(eeg=eeg_rest, fnirs=fnirs_rest),
            targets=plan.targets,
            notes=tuple(notes),
        )
        return [*items, trial]


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


def _eeg(
    signal: Float[np.ndarray, "channel time"], *, rate_hz: float, start_s: float
) -> Recording:
    """Wrap an EEG array; the sources state no unit, microvolts fit their values."""
    return Recording(
        signal=signal,
        rate_hz=rate_hz,
        start_s=start_s,
        channels=EEG_CHANNELS,
        quantity="voltage",
        unit="uV",
    )


def _fnirs(
    signal: Float[np.ndarray, "kind channel time"],
    *,
    rate_hz: float,
    start_s: float,
    mask: Bool[np.ndarray, " channel"] | None,
) -> Recording:
    """Wrap an fNIRS array; the sources state no unit."""
    return Recording(
        signal=signal,
        rate_hz=rate_hz,
        start_s=start_s,
        channels=FNIRS_CHANNELS,
        quantity=FNIRS_QUANTITIES,
        unit=("a.u.",) * len(FNIRS_KINDS),
        kinds=FNIRS_KINDS,
        mask=mask,
    )


def _wrap(
    wrap: Callable[..., Recording],
    signals: Mapping[Part, np.ndarray],
    part: Part,
    rate_hz: float | None,
) -> tuple[Recording | None, Recording | None]:
    """Wrap a modality, which starts at onset, and its baseline, which ends there."""
    if part not in signals:
        return None, None
    trial = wrap(signals[part], rate_hz=rate_hz, start_s=0.0)
    rest = signals.get(f"{part}_baseline")
    if rest is None:
        return trial, None
    return trial, wrap(rest, rate_hz=rate_hz, start_s=-rest.shape[-1] / rate_hz)


def _mark_infinite(signal: Float[np.ndarray, "..."]) -> int:
    """Turn infinite samples into NaN, in place, and count them."""
    infinite = np.isinf(signal)
    count = int(infinite.sum())
    if count:
        signal[infinite] = np.nan
    return count
