"""A first look at any folder, and the configuration that it seems to need."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from merps.datasets.bids import list_bids
from merps.datasets.describing import (
    file_lines,
    quote,
    reading_lines,
    stimulus_lines,
)
from merps.datasets.doubts import tell_doubts
from merps.datasets.generalizing import find_beside, generalize
from merps.datasets.guessing import Guess, guess_distinct, name_one
from merps.datasets.kinds import propose_kinds
from merps.datasets.lab import find_recordings, name_absent
from merps.datasets.lab_records import LabFile
from merps.datasets.labels import rated_labels
from merps.datasets.layout import find_folder
from merps.datasets.looking import (
    Look,
    RatedTables,
    counted,
    find_rated,
    name_endings,
    open_one,
    tell_problems,
    tell_signals,
)
from merps.datasets.templates import Template
from merps.datasets.tying import match_people, propose_synchrony
from merps.datasets.words import WHOLE
from merps.errors import DataError, InputError, mismatch
from merps.predictions import name_some
from merps.samples import natural_order
from merps.store.files import replace_file, writing

logger = logging.getLogger(__name__)

#: Scales of ratings that are looked for, the tightest one that holds all counts.
_SCALES = (
    *((-1.0, 1.0), (0.0, 1.0), (1.0, 5.0), (1.0, 7.0), (1.0, 9.0), (0.0, 10.0)),
    *((-100.0, 100.0), (0.0, 100.0), (1.0, 255.0), (0.0, 255.0), (-1000.0, 1000.0)),
)
_BIDS = re.compile(r"sub-[^/]+/(ses-[^/]+/)?(eeg|nirs)/")
#: Most files that are opened for a look.
_OPENED = 200


@dataclass(frozen=True)
class Proposal:
    """What a folder seems to hold, and a configuration for it.

    Parameters
    ----------
    path : Path
        Where the configuration was written.
    files, people : int
        How many recordings can be read, and of how many people.
    findings : tuple of str
        What was found, in sentences.
    warnings : tuple of str
        What a person must look at.
    text : str
        The configuration.
    """

    path: Path
    files: int
    people: int
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    text: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps init --json`` prints."""
        return {**asdict(self), "path": str(self.path)}


def init_config(root: Path | str, out: Path | str) -> Proposal:
    """Look at a folder and write a configuration that fits it.

    Parameters
    ----------
    root : Path
        Any folder of recordings; nothing in it is changed.
    out : Path
        The YAML file to write; it must not be there yet.

    Returns
    -------
    Proposal
        What was found, and the configuration as written.

    Raises
    ------
    DataError
        If there is no such folder, or no recording in it that can be read.
    InputError
        If `out` is there already.
    SpaceError
        If it cannot be written.
    """
    root, out = Path(root), Path(out)
    if out.exists():
        raise InputError(f"{out} is there already; choose another --out, or remove it")
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise mismatch(root, expected="a folder", found=found, remedy="check the path")
    proposal = _known_layout(root, out) or _propose(root.resolve(), out)
    data = proposal.text.encode("utf-8", "replace")
    with writing(out, needed_bytes=len(data)):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, data)
    return proposal


def _known_layout(root: Path, out: Path) -> Proposal | None:
    """Return the short configuration of a folder of MER-PS or REFED."""
    try:
        folder = find_folder(root)
    except DataError:
        return None
    if not any((folder.root / "data" / p).glob("*.mat") for p in folder.people):
        return None
    text = (
        f"# {root}: laid out as MER-PS or REFED ({folder.layout}), which takes no\n"
        "# description. Options that differ from the defaults go here.\n\n"
        "dataset: null\n"
    )
    finding = f"the layout of MER-PS or REFED ({folder.layout})"
    n_files = sum(
        1 for p in folder.people for _ in (folder.root / "data" / p).iterdir()
    )
    return Proposal(out, n_files, len(folder.people), (finding,), (), text)


def _propose(root: Path, out: Path) -> Proposal:
    """Look at recordings and tables, and write down what they seem to be."""
    look = Look(root)
    recordings = find_recordings(root)
    names = [path.relative_to(root).as_posix() for path in recordings]
    is_bids = any(map(_BIDS.match, names))
    if is_bids:  # not what was derived from them
        names = [name for name in names if _BIDS.match(name)]
        recordings = [root / name for name in names]
    absent = name_absent(find_recordings(root, is_there=False), root)
    if absent is not None:
        look.warnings.append(absent)
    described = _bids_files(root) if is_bids else {}
    for name, path in list(zip(names, recordings, strict=True))[:_OPENED]:
        if name in described:
            open_one(look, name, path, described[name].open)
        else:
            open_one(look, name, path)
    if len(recordings) > _OPENED:
        look.findings.append(f"only the first {_OPENED} recordings were opened")
    tell_problems(look)
    if not look.streams:
        reasons = "; ".join(look.unreadable[:3])
        raise mismatch(
            root,
            expected="recordings (EDF, BDF, FIF, BrainVision, EEGLAB, SNIRF or XDF)",
            found=f"{len(recordings)} that cannot be read: {reasons}"
            if recordings
            else f"none{name_endings(root)}" + (f"; {absent}" if absent else ""),
            remedy="convert them to one of these formats; arrays in Python can become "
            "FIF with merps.Recording and its to_mne()",
        )
    readable = [n for n in names if n in look.streams or len(names) > _OPENED]
    tell_signals(look)
    guesses = [] if is_bids else guess_distinct(readable, look.contents())
    n_rests = sum(len(guess.files) for guess in guesses if guess.is_rest)
    if n_rests:
        look.findings.append(
            f"{counted(n_rests, 'file')} taken for rests, by their names"
        )
    owners = _owners(readable, guesses)
    if is_bids:
        owners = _bids_owners(look, described)
    unsure = [name for guess in guesses if guess.person for name in guess.files]
    matched = match_people(look, owners, unsure) if unsure else {}
    if matched:
        guesses = _name_apart(guesses, matched)
        owners = _owners(readable, guesses)
    people = sorted({own["person"] for own in owners.values()}, key=natural_order)
    tables = {} if is_bids else find_rated(root)
    marked = rated_labels(look, owners, tables)
    if marked:
        look.findings.append("tables of ratings are called after annotations")
    beside = None if marked else find_beside([*tables], guesses)
    targets = [] if is_bids else _find_targets(look, marked or owners, tables, beside)
    tell_doubts(look, owners)
    clocks = propose_synchrony(look, owners)
    lines = [
        f"# Written by `merps init` after a look at {root.name}.",
        "# Read it through, correct what is a guess, and then run:",
        f"#   merps check DATA --config {out.name}",
        f"#   merps preprocess DATA --config {out.name} --out STORE",
        *_comment(look.findings),
        *(f"# WARNING: {text}" for text in look.warnings),
        "",
        "dataset:",
        *file_lines(guesses, is_bids),
        *clocks,
        *stimulus_lines(look, owners, marked),
        *targets,
        *reading_lines(look),
        *propose_kinds(look),
    ]
    return Proposal(
        path=out,
        files=len(readable),
        people=len(people),
        findings=tuple(look.findings),
        warnings=tuple(look.warnings),
        text="\n".join(lines) + "\n",
    )


def _owners(
    names: Sequence[str], guesses: Sequence[Guess]
) -> dict[str, dict[str, str]]:
    """Return person and stimulus of each recording, as the guesses have it."""
    owners = {}
    for guess in guesses:
        template = Template(guess.path)
        for name in () if guess.is_rest else guess.files:
            found = template.match(name) or {}
            parts = (found.get("session"), found.get("stimulus"))
            owners[name] = {
                "person": guess.person or found.get("person") or "",
                "stimulus": " ".join(filter(None, parts)) or WHOLE,
            }
    return {name: owners[name] for name in names if name in owners}


def _name_apart(guesses: Sequence[Guess], people: Mapping[str, str]) -> list[Guess]:
    """Describe some files one by one, since it is known whose they are."""
    others = []
    for guess in guesses:
        files = tuple(name for name in guess.files if name not in people)
        if files:
            others.append(replace(guess, files=files))
    return [name_one(name, person) for name, person in people.items()] + others


def _bids_files(root: Path) -> dict[str, LabFile]:
    """Return the recordings of a BIDS data set, by path."""
    files, _ = list_bids(root, {"task": None})
    return {file.path.relative_to(root).as_posix(): file for file in files}


def _bids_owners(look: Look, files: Mapping[str, LabFile]) -> dict[str, dict[str, str]]:
    """Return person and stimulus of each recording of a BIDS data set."""
    n_rated = sum(
        file.ratings is not None and bool(file.ratings()) for file in files.values()
    )
    look.findings.append(
        f"a BIDS data set; ratings beside {counted(n_rated, 'recording')}"
    )
    return {
        name: {"person": file.person, "stimulus": file.stimulus}
        for name, file in files.items()
    }


def _comment(findings: Sequence[str]) -> list[str]:
    """Return findings as comments."""
    return ["#", "# Found:", *(f"#   {text}" for text in findings)]


def _find_targets(
    look: Look,
    owners: Mapping[str, Mapping[str, str]],
    tables: RatedTables,
    beside: str | None,
) -> list[str]:
    """Return the part that says where ratings are."""
    path = beside or generalize(tables, owners)
    if path is None:
        if tables:
            look.warnings.append(
                f"{name_some(tables)} may hold ratings, but name no person"
            )
        else:
            look.findings.append("no table with valence and arousal")
        return [
            "  targets: null       # or {path: '{person}_{stimulus}.csv'}: a table of",
            "                      # time (s), valence, arousal",
        ]
    fitting = {n: t for n, t in tables.items() if Template(path).fits(n)}
    columns = next(iter(fitting.values()))[0]
    values = np.concatenate([values for _, values in fitting.values()])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    size = counted(len(fitting), "table")
    look.findings.append(f"ratings in {size}, from {low:g} to {high:g}")
    lines = ["  targets:", f"    path: {quote(path)}"]
    lines += [f"    {name}: {quote(column)}" for name, column in columns.items()]
    if low >= 1 and 10 < high <= 255:
        return [*lines, "    scale: null       # 1 to 255, as the ratings are"]
    scale = next((s for s in _SCALES if s[0] <= low and high <= s[1]), (low, high))
    look.warnings.append(
        f"the scale of the ratings is a guess: {scale[0]:g} to {scale[1]:g}"
    )
    return [
        *lines,
        f"    scale: [{scale[0]:g}, {scale[1]:g}]     # a guess; it becomes 1 to 255",
    ]
