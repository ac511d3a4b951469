"""Looking at data before they are used: every problem at once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merps.datasets.lab import LabDataset, open_lab
from merps.datasets.lab_records import LabPlan, LabSurvey
from merps.datasets.layout import Problem
from merps.datasets.manifest import load_manifest
from merps.datasets.mer_ps import MerPsDataset, open_dataset
from merps.datasets.side_files import SAMPLE_IDS
from merps.datasets.survey import Survey, TrialPlan
from merps.datasets.words import WHOLE
from merps.errors import DataError
from merps.options import Config
from merps.predictions import name_some, read_targets
from merps.samples import format_sample_id

_TARGETS = "targets.csv"
#: Ratings that never exceed this are probably on another scale than 1 to 255.
_SMALL_SCALE = 10.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a folder of data holds and what is wrong with it.

    Parameters
    ----------
    people, trials : int
        How many people there are, and how many trials look usable.
    problems : tuple of Problem
        Everything found, in the order of folder, side files, people, videos.
    """

    people: int
    trials: int
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain objects for JSON.

        Returns
        -------
        dict
            Keys ``people``, ``trials`` and ``problems``; each problem has
            ``severity``, ``where`` and ``message``.
        """
        return {
            "people": self.people,
            "trials": self.trials,
            "problems": [asdict(problem) for problem in self.problems],
        }


def check_dataset(root: Path | str, *, config: Config | None = None) -> CheckResult:
    """Look for everything that is wrong with a folder of recordings.

    Only shapes, headers, ratings and tables are read, so that it is quick (XDF has its
    time stamps among the samples, and is read as a whole); signals that are damaged or
    without a finite sample are found when they are preprocessed.

    Parameters
    ----------
    root : Path
        Folder of MER-PS or REFED that holds ``data/``, or the folder above it; or a
        folder that ``config.dataset`` describes.
    config : Config, optional
        Only its section ``dataset`` counts.

    Returns
    -------
    CheckResult
        Counts and problems; no people and one error where there is no data folder.

    Raises
    ------
    ConfigError
        If the section ``dataset`` cannot be used.
    """
    section = None if config is None else config.dataset
    try:
        if section is not None:
            return _check_lab(open_lab(root, section.model_dump(mode="json")))
        dataset = open_dataset(root)
    except DataError as error:
        return CheckResult(0, 0, (Problem("error", str(root), str(error)),))
    surveys = {person: dataset.survey(person) for person in dataset.people}
    problems = list(dataset.problems)
    problems += _check_targets(dataset, surveys)
    for person, survey in surveys.items():
        problems += _check_person(person, survey)
    problems += _check_stimuli(dataset, surveys)
    n_trials = sum(len(survey.plans) for survey in surveys.values())
    return CheckResult(len(dataset.people), n_trials, tuple(problems))


def _check_person(person: str, survey: Survey | LabSurvey) -> list[Problem]:
    """Report what is wrong with one person's files, equal remarks together."""
    problems = [
        Problem("error", f"{person} {failure.stimulus or ''}".strip(), failure.message)
        for failure in survey.failures
    ]
    problems += [Problem("note", person, note) for note in survey.notes]
    stimuli_of: dict[str, list[str]] = {}
    for plan in survey.plans:
        for note in plan.notes:
            stimuli_of.setdefault(note, []).append(plan.stimulus)
    for note, stimuli in stimuli_of.items():
        everywhere = len(stimuli) == len(survey.plans)
        where = person if everywhere else f"{person} {name_some(stimuli)}"
        problems.append(Problem("note", where, note))
    rates = {rate for plan in survey.plans if (rate := _eeg_rate(plan)) is not None}
    if len(rates) > 1:
        text = "EEG at " + " and ".join(f"{rate:g} Hz" for rate in sorted(rates))
        problems.append(Problem("warning", person, text))
    return problems


def _eeg_rate(plan: TrialPlan | LabPlan) -> float | None:
    """Return the rate of the EEG of a trial; None without any."""
    if isinstance(plan, TrialPlan):
        return plan.alignment.eeg_rate_hz
    return plan.cuts["eeg"].stream.header.rate_hz if "eeg" in plan.cuts else None


def _check_lab(dataset: LabDataset) -> CheckResult:
    """Report what is wrong with a lab's own folder."""
    problems = list(dataset.problems)
    numbers = dataset.options.stimuli
    if set(numbers) != {WHOLE} and set(numbers) != set(numbers.values()):
        named = name_some(f"{number} is {name}" for name, number in numbers.items())
        problems.append(Problem("note", "dataset.stimuli", named))
    n_trials, montages, ratings = 0, {}, []
    notes: dict[str, list[str]] = {}
    for person in dataset.people:
        with dataset.open_person(person) as opened:
            survey = opened.survey
        n_trials += len(survey.plans)
        for problem in _check_person(person, survey):
            if problem.severity == "note":
                notes.setdefault(problem.message, []).append(problem.where)
            else:
                problems.append(problem)
        for plan in survey.plans:
            if plan.targets is not None:
                ratings.append(plan.targets)
            for modality, piece in plan.cuts.items():
                header = piece.stream.header
                names = [
                    name
                    for name, kind in zip(
                        header.channels,
                        header.types or [modality] * len(header.channels),
                        strict=True,
                    )
                    if kind == modality
                ]
                own = montages.setdefault((modality, tuple(names)), [])
                own.append(person)
    for modality in ("eeg", "fnirs"):
        whose = [
            list(dict.fromkeys(v)) for k, v in montages.items() if k[0] == modality
        ]
        if len(whose) > 1:
            text = " | ".join(name_some(people) for people in whose)
            text = f"people or trials differ in their {modality} channels: {text}"
            problems.append(Problem("warning", "data", text))
    problems += [Problem("note", name_some(w), text) for text, w in notes.items()]
    problems += _check_ratings(ratings, dataset)
    return CheckResult(len(dataset.people), n_trials, tuple(problems))


def _check_ratings(ratings: list[Any], dataset: LabDataset) -> list[Problem]:
    """Report ratings that use little of the scale, and people without any."""
    if not ratings:
        text = "no trial is rated: preprocess and predict work, fit and evaluate do not"
        return [Problem("note", "dataset.targets", text)]
    values = np.concatenate(ratings)
    low, high = float(values.min()), float(values.max())
    stated = (dataset.options.targets or {}).get("scale")
    if stated is None and high <= _SMALL_SCALE:
        text = (
            f"ratings lie within {low:g} and {high:g}; if their scale is not 1 to 255, "
            "state its range as dataset.targets.scale"
        )
        return [Problem("warning", "dataset.targets", text)]
    return []


def _check_stimuli(
    dataset: MerPsDataset, surveys: Mapping[str, Survey]
) -> list[Problem]:
    """Report videos that some or all people lack, and ids of absent trials."""
    problems = []
    seen = {
        person: {plan.stimulus for plan in survey.plans}
        | {failure.stimulus for failure in survey.failures if failure.stimulus}
        for person, survey in surveys.items()
    }
    everyone = set().union(*seen.values())
    n_stimuli = load_manifest().sources[dataset.source].stimuli or 0
    expected = {f"V{number:02d}" for number in range(1, n_stimuli + 1)}
    for names, whose in (
        (expected - everyone, "everybody lacks"),
        (everyone - expected if expected else set(), "the source does not have"),
    ):
        if names:
            text = f"{whose} {name_some(sorted(names))}"
            problems.append(Problem("note", "data", text))
    for person, stimuli in seen.items():
        if stimuli and everyone - stimuli:
            text = f"lacks {name_some(sorted(everyone - stimuli))}, which others have"
            problems.append(Problem("note", person, text))
    for person, stimuli in seen.items():
        asked = dataset.seconds.get(person, {})
        if absent := set(asked) - stimuli:
            text = f"asks for {person} {name_some(sorted(absent))}: no recordings"
            problems.append(Problem("warning", SAMPLE_IDS, text))
        for plan in surveys[person].plans:
            problems += _check_seconds(plan, asked.get(plan.stimulus))
    return problems


def _check_seconds(plan: TrialPlan, asked: int | None) -> list[Problem]:
    """Report a trial with another number of labels than of sample ids."""
    if asked is None or plan.targets is None or asked == len(plan.targets):
        return []
    text = f"{plan.person} {plan.stimulus}: {asked} ids, {len(plan.targets)} labels"
    return [Problem("error", SAMPLE_IDS, text)]


def _check_targets(
    dataset: MerPsDataset, surveys: Mapping[str, Survey]
) -> list[Problem]:
    """Report where `targets.csv` disagrees with sample ids and labels."""
    try:
        path = dataset.folder.file(_TARGETS)
        if path is None:
            return []
        ids, values = read_targets(path)
    except DataError as error:
        return [Problem("error", _TARGETS, str(error))]
    problems = []
    try:
        asked = dataset.sample_ids()
    except DataError:  # reported with the folder
        asked = None
    if asked is not None and asked != ids:
        same = sorted(asked) == sorted(ids)
        what = "ids are in another order than" if same else "ids are not those of"
        problems.append(Problem("error", _TARGETS, f"{what} {SAMPLE_IDS}"))
    labels = {
        format_sample_id(plan.person, plan.stimulus, second): row
        for survey in surveys.values()
        for plan in survey.plans
        if plan.targets is not None
        for second, row in enumerate(plan.targets)
    }
    unequal = [
        sample_id
        for sample_id, row in zip(ids, values, strict=True)
        if sample_id in labels and not np.array_equal(labels[sample_id], row)
    ]
    if unequal:
        text = f"{len(unequal)} ratings are not those of the label files: "
        problems.append(Problem("error", _TARGETS, text + name_some(unequal)))
    listed = set(ids)
    if lost := [sample_id for sample_id in labels if sample_id not in listed]:
        text = f"{len(lost)} labels are not in it: {name_some(lost)}"
        problems.append(Problem("warning", _TARGETS, text))
    return problems
