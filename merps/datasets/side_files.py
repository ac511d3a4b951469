"""The small files beside the recordings: usable channels, sample ids, origin."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from merps.datasets.arrays import FNIRS_CHANNELS
from merps.datasets.layout import Folder, Problem
from merps.errors import DataError, InputError
from merps.predictions import name_some, read_rows, sample_id_problems
from merps.samples import parse_sample_id

RESERVATIONS = "fNIRS_reservations.csv"
SAMPLE_IDS = "sample_ids.csv"
_USABLE = {"1": True, "1.0": True, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class Reservations:
    """Which fNIRS channels are missing.

    Parameters
    ----------
    masks : mapping of str to ndarray of bool, shape (channel,)
        By person, True where a channel is missing; a person who is not listed has no
        mask.
    problems : tuple of Problem
        What was wrong with the file.
    """

    masks: Mapping[str, Bool[np.ndarray, " channel"]]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleTable:
    """What `sample_ids.csv` asks for.

    Parameters
    ----------
    ids : tuple of str, optional
        All ids in file order; None without a file that can be read.
    seconds : mapping of str to mapping of str to int
        By person and stimulus, the number of seconds asked for.
    problems : tuple of Problem
        What was wrong with the file.
    """

    ids: tuple[str, ...] | None
    seconds: Mapping[str, Mapping[str, int]]
    problems: tuple[Problem, ...] = ()


def read_reservations(folder: Folder) -> Reservations:
    """Read which fNIRS channels of whom are missing.

    A field of 1 means usable. Any other field counts as missing, and so does a
    channel that two rows of one person disagree on; both are errors.

    Parameters
    ----------
    folder : Folder
        The data folder.

    Returns
    -------
    Reservations
        Masks of the people in the folder.
    """
    try:
        path = folder.file(RESERVATIONS)
        if path is None:
            if folder.layout not in ("trainval", "leaderboard"):
                return Reservations({})
            message = "absent; no fNIRS channel is marked as missing"
            return Reservations({}, (Problem("note", RESERVATIONS, message),))
        rows = read_rows(path, columns=("sub_id", *FNIRS_CHANNELS))
    except DataError as error:
        message = f"{error}; until then, no fNIRS channel is marked as missing"
        return Reservations({}, (Problem("error", RESERVATIONS, message),))
    masks: dict[str, np.ndarray] = {}
    problems = []

    def report(severity: str, message: str) -> None:
        problems.append(Problem(severity, RESERVATIONS, message))

    unknown = []
    for line, fields in rows:
        person = _match_person(fields["sub_id"], folder.people)
        if person is None:
            unknown.append(repr(fields["sub_id"][:40]))
            continue
        wrong = [name for name in FNIRS_CHANNELS if fields[name] not in _USABLE]
        if wrong:
            report(
                "error",
                f"line {line} ({person}): expected 0 or 1, found "
                f"{fields[wrong[0]][:40]!r} in {name_some(wrong)}; taken as missing",
            )
        mask = np.array([not _USABLE.get(fields[name]) for name in FNIRS_CHANNELS])
        if person in masks:
            same = np.array_equal(masks[person], mask)
            agree = "the rows agree" if same else "channels are missing if any row says"
            report("error", f"line {line}: {person} comes more than once; {agree}")
            mask = mask | masks[person]
        masks[person] = mask
    if unknown:
        names = name_some(unknown)
        report("note", f"rows for people who are not in data/: {names}")
    absent = [person for person in folder.people if person not in masks]
    if absent:
        names = name_some(absent)
        report("warning", f"no row for {names}; none of their channels is masked")
    for person, mask in masks.items():
        if mask.all():
            message = f"{person} has no usable fNIRS channel; EEG alone is used"
            report("warning", message)
    return Reservations(masks, tuple(problems))


def read_sample_table(folder: Folder) -> SampleTable:
    """Read which seconds of whom are to be answered.

    Parameters
    ----------
    folder : Folder
        The data folder.

    Returns
    -------
    SampleTable
        Ids and the number of seconds of each trial.
    """
    try:
        path = folder.file(SAMPLE_IDS)
        if path is None:
            return SampleTable(None, {})
        rows = read_rows(path, columns=("sample_id",))
    except DataError as error:
        return SampleTable(None, {}, (Problem("error", SAMPLE_IDS, str(error)),))
    ids = [fields["sample_id"] for _, fields in rows]
    messages = [("error", text) for text in sample_id_problems(ids)]
    asked: dict[str, dict[str, set[int]]] = {}
    for sample_id in ids:
        try:
            person, stimulus, second = parse_sample_id(sample_id)
        except InputError:
            continue
        asked.setdefault(person, {}).setdefault(stimulus, set()).add(second)
    gaps = [
        f"{person} {stimulus}"
        for person, trials in asked.items()
        for stimulus, seconds in trials.items()
        if len(seconds) != max(seconds) + 1
    ]
    if gaps:
        text = f"seconds do not run from 0 without a gap in {name_some(gaps)}"
        messages.append(("warning", text))
    unknown = [person for person in asked if person not in folder.people]
    if unknown:
        text = f"ids of people without a folder in data/: {name_some(unknown)}"
        messages.append(("error", text))
    forgotten = [person for person in folder.people if person not in asked]
    if forgotten:
        messages.append(("warning", f"no ids for {name_some(forgotten)}"))
    return SampleTable(
        ids=tuple(ids),
        seconds={
            person: {stimulus: max(times) + 1 for stimulus, times in trials.items()}
            for person, trials in asked.items()
        },
        problems=tuple(Problem(kind, SAMPLE_IDS, text) for kind, text in messages),
    )


def is_simulated(folder: Folder) -> tuple[bool, tuple[Problem, ...]]:
    """Tell whether the folder says of itself that merps simulated it.

    Parameters
    ----------
    folder : Folder
        The data folder.

    Returns
    -------
    tuple of (bool, tuple of Problem)
        The answer, and what is wrong with `simulation.json`.
    """
    name = "simulation.json"
    try:
        path = folder.file(name)
        if path is None:
            return False, ()
        content = json.loads(path.read_text(encoding="utf-8"))
        facts = content if isinstance(content, dict) else {}
        if lacking := {"source", "layout", "seed", "coupling"} - set(facts):
            raise ValueError(f"it lacks {name_some(sorted(lacking))}")
        if content["source"] != "simulated":
            raise ValueError(f"its source is {str(content['source'])[:40]!r}")
    except (DataError, OSError, ValueError, RecursionError) as error:
        message = f"not the mark of simulated data, so that it is ignored: {error}"
        return False, (Problem("error", name, message),)
    return True, ()


def _match_person(sub_id: str, people: tuple[str, ...]) -> str | None:
    """Find the person of a row, by name or by a bare number that ends one name."""
    if sub_id in people:
        return sub_id
    if not re.fullmatch(r"[0-9]{1,9}", sub_id):
        return None
    ends = [
        person
        for person in people
        if (digits := person[len(person.rstrip("0123456789")) :])
        and int(digits) == int(sub_id)
    ]
    return ends[0] if len(ends) == 1 else None
