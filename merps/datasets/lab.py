"""A lab's own folder: files that belong to people and stimuli by their paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merps.datasets.lab_person import OpenLab
from merps.datasets.lab_records import LabFile, LabOptions
from merps.datasets.layout import Problem, is_inside
from merps.datasets.manifest import Role, load_manifest
from merps.datasets.side_files import SAMPLE_IDS
from merps.datasets.templates import Template
from merps.datasets.words import WHOLE
from merps.errors import ConfigError, DataError, InputError, mismatch
from merps.predictions import name_some, read_sample_ids
from merps.readers.columns import read_columns
from merps.readers.files import SUFFIXES
from merps.samples import natural_order, parse_sample_id

#: Numbers of stimuli have up to three digits.
MOST_STIMULI = 999
_SOURCE = "unlisted"
_COMPANIONS = (".eeg", ".vmrk", ".fdt", ".dat")


@dataclass(frozen=True)
class LabDataset:
    """People and trials of a folder that a configuration describes.

    Parameters
    ----------
    root : Path
        The folder.
    files : mapping of str to tuple of LabFile
        Recordings by person.
    options : LabOptions
        How they are cut into trials, and where ratings are.
    settings : mapping
        The options that decide the trials besides the files.
    problems : tuple of Problem
        What was wrong so far.
    terms : str
        What the data come under.
    shared : tuple of Path
        Files that concern everyone.
    seconds : mapping of str to mapping of str to int
        By person and stimulus, the number of seconds that `sample_ids.csv` asks for.
    role, source : str
        What the data may be used for, and their key in the manifest.
    """

    root: Path
    files: Mapping[str, tuple[LabFile, ...]] = field(repr=False)
    options: LabOptions = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    terms: str = field(repr=False)
    shared: tuple[Path, ...] = ()
    seconds: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    role: Role = "train"
    source: str = _SOURCE

    @property
    def layout(self) -> str:
        """How the folder is laid out: ``lab``."""
        return "lab"

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the people, in natural order."""
        return tuple(sorted(self.files, key=natural_order))

    def input_files(self, person: str) -> tuple[Path, ...]:
        """List every file that decides this person's trials.

        Parameters
        ----------
        person : str
            Name of the person.

        Returns
        -------
        tuple of Path
            Recordings with the files beside them, tables of ratings, shared tables.
        """
        found: dict[Path, None] = {}
        for file in self.files[person]:
            found[file.path] = None
            stem = file.path.with_suffix("")
            for suffix in _COMPANIONS:
                beside = stem.with_suffix(suffix)
                if beside.is_file() and is_inside(self.root, beside):
                    found[beside] = None
            found |= dict.fromkeys(file.side_files)
        found |= dict.fromkeys(self.options.rating_files(person=person))
        return (*found, *self.shared)

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
        path = self.root / SAMPLE_IDS
        return read_sample_ids(path) if path.is_file() else None

    def open_person(self, person: str) -> OpenLab:
        """Open a person's files.

        Parameters
        ----------
        person : str
            Name of the person.

        Returns
        -------
        OpenLab
            To be used in a ``with`` block.

        Raises
        ------
        InputError
            If there is no such person.
        """
        if person not in self.files:
            raise InputError(
                f"no person {person!r} in {self.root}; there are "
                f"{name_some(self.people)}"
            )
        return OpenLab(person, self.files[person], self.options)


def open_lab(root: Path | str, section: Mapping[str, Any]) -> LabDataset:
    """Open a folder by the ``dataset`` section of a configuration.

    Only names are looked at, and small tables; recordings are opened person by person.

    Parameters
    ----------
    root : Path
        The folder; paths of the section are relative to it.
    section : mapping
        The options, as plain values.

    Returns
    -------
    LabDataset
        People and their trials; what is wrong so far stands in its `problems`.

    Raises
    ------
    ConfigError
        If the section cannot be used.
    DataError
        If there is no such folder, or no recording in it that the section names.
    """
    root = Path(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise mismatch(root, expected="a folder", found=found, remedy="check the path")
    root = root.resolve()
    if section["layout"] == "bids":
        from merps.datasets.bids import list_bids

        files, problems = list_bids(root, section)
    else:
        files, problems = _list_files(root, section)
    absent = name_absent(find_recordings(root, is_there=False), root)
    if absent is not None:
        problems.append(Problem("warning", root.name, absent))
    if not files:
        reasons = "".join(f"; {problem.message}" for problem in problems[:3])
        raise mismatch(
            root,
            expected="recordings that the dataset section names",
            found=f"none{reasons}",
            remedy="correct dataset.files, or write it anew with: merps init",
        )
    channels = section.get("channels")
    shared = [] if channels is None else [root / channels]
    stimuli = _number_stimuli(files, section)
    options = LabOptions.from_section(
        root,
        section,
        stimuli=stimuli,
        columns=read_columns(shared[0]) if shared else None,
    )
    if (root / SAMPLE_IDS).is_file():
        shared.append(root / SAMPLE_IDS)
    by_person: dict[str, list[LabFile]] = {}
    for file in files:
        by_person.setdefault(file.person, []).append(file)
    manifest = " ".join(load_manifest().sources[_SOURCE].terms)
    return LabDataset(
        root=root,
        files={person: tuple(own) for person, own in by_person.items()},
        options=options,
        settings={**section, "terms": None, "stimuli": stimuli},
        problems=tuple(problems),
        terms=section.get("terms") or manifest,
        shared=tuple(shared),
        seconds=_asked(root, problems),
    )


def find_recordings(root: Path, *, is_there: bool = True) -> list[Path]:
    """List the files of a folder that may be recordings, in natural order.

    Parameters
    ----------
    root : Path
        The folder, resolved; hidden entries and links that leave it do not count.
    is_there : bool
        List files; else links whose content is absent.

    Returns
    -------
    list of Path
        Entries with the ending of a known format.
    """
    found = [
        path
        for path in root.rglob("*")
        if path.name.lower().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and (path.is_file() if is_there else path.is_symlink() and not path.exists())
        and is_inside(root, path)
    ]
    return sorted(found, key=lambda path: natural_order(path.as_posix()))


def name_absent(links: Sequence[Path], root: Path) -> str | None:
    """Say that recordings are links whose content is not there.

    Parameters
    ----------
    links : sequence of Path
        Such links.
    root : Path
        The folder, resolved.

    Returns
    -------
    str or None
        None where there are none.
    """
    if not links:
        return None
    names = name_some(path.relative_to(root).as_posix() for path in links)
    return (
        f"the content of recordings that are links is not there: {names}; fetch it, as "
        "with: datalad get"
    )


def _list_files(
    root: Path, section: Mapping[str, Any]
) -> tuple[list[LabFile], list[Problem]]:
    """Tell whose each recording is, by the first template that fits."""
    rules = [(Template(entry["path"]), entry) for entry in section["files"]]
    if not rules:
        raise ConfigError(
            "dataset.files is empty; say which files are recordings, such as "
            '{path: "{person}_{stimulus}.edf"}'
        )
    files, strangers, problems = [], [], []
    for path in find_recordings(root):
        name = path.relative_to(root).as_posix()
        fitting = ((entry, template.match(name)) for template, entry in rules)
        entry, names = next(
            (fit for fit in fitting if fit[1] is not None), (None, None)
        )
        if names is None:
            strangers.append(name)
            continue
        person = entry["person"] or names.get("person")
        if person is None:
            raise ConfigError(
                f"dataset.files: {entry['path']!r} does not say whose {name} is; put "
                "{person} into the path, or give person"
            )
        parts = [names.get("session"), entry["stimulus"] or names.get("stimulus")]
        files.append(
            LabFile(
                path=path,
                person=person,
                stimulus=" ".join(part for part in parts if part) or WHOLE,
                names=names | {"person": person},
                modality=entry["modality"],
                is_rest=entry["rest"],
            )
        )
    if strangers:
        text = f"no path of dataset.files fits {name_some(strangers)}, left out"
        problems.append(Problem("note", "dataset.files", text))
    taken = [file.path.relative_to(root).as_posix() for file in files]
    for template, _ in rules:
        if not any(map(template.fits, taken)):
            text = f"no recording fits {template.text!r}"
            problems.append(Problem("warning", "dataset.files", text))
    return files, problems


def _number_stimuli(
    files: Sequence[LabFile], section: Mapping[str, Any]
) -> dict[str, str]:
    """Return the number of each stimulus by its name."""
    stated = section["stimuli"]
    if stated:
        return {name: number for number, name in stated.items()}
    if section["onsets"] == "annotations":
        raise ConfigError(
            "dataset.stimuli is empty; with onsets: annotations it says which labels "
            "are stimuli, such as {V01: happy}"
        )
    names = {file.stimulus for file in files if not file.is_rest}
    names = sorted(names, key=natural_order)
    if len(names) > MOST_STIMULI:
        raise ConfigError(
            f"the paths name {len(names)} stimuli, more than {MOST_STIMULI}; does "
            "{stimulus} stand for a person or a date?"
        )
    return {name: f"V{number:02d}" for number, name in enumerate(names, start=1)}


def _asked(root: Path, problems: list[Problem]) -> dict[str, dict[str, int]]:
    """Tell how many seconds of each trial `sample_ids.csv` asks for."""
    path = root / SAMPLE_IDS
    seconds: dict[str, dict[str, int]] = {}
    if not path.is_file():
        return seconds
    try:
        for text in read_sample_ids(path):
            person, stimulus, second = parse_sample_id(text)
            own = seconds.setdefault(person, {})
            own[stimulus] = max(own.get(stimulus, 0), second + 1)
    except DataError as error:
        problems.append(Problem("error", SAMPLE_IDS, str(error)))
    return seconds
