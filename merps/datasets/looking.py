"""A first look at a folder: what its recordings and tables are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from merps.errors import MerpsError
from merps.predictions import name_some
from merps.readers.columns import read_table
from merps.readers.files import open_recording
from merps.readers.probe import METERS, is_plausible
from merps.readers.streams import Stream

_TABLES = (".csv", ".tsv", ".tsv.gz", ".txt")
#: Files that are told of one by one.
_TOLD = 5
_TIMES = ("time", "time_s", "times", "onset", "t", "seconds", "second", "timestamp")

#: By path under the folder: names of the columns, and ratings.
RatedTables: TypeAlias = dict[
    str, tuple[dict[str, str], Float64[np.ndarray, "rating 2"]]
]


@dataclass
class Look:
    """What was seen so far.

    Parameters
    ----------
    root : Path
        The folder, resolved.
    streams : dict of str to tuple of Stream
        What each recording holds, by its path under the folder.
    findings, warnings : list of str
        What was found, and what a person must look at.
    length_units : dict of str to list of str
        Files that state an impossible unit of optode positions, by one that fits.
    unreadable : list of str
        Why files cannot be read.
    """

    root: Path
    streams: dict[str, tuple[Stream, ...]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    length_units: dict[str, list[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def of(self, modality: str) -> list[Stream]:
        """Return all streams of one modality.

        Parameters
        ----------
        modality : str
            ``eeg`` or ``fnirs``.

        Returns
        -------
        list of Stream
            In the order of the files.
        """
        return [
            s for own in self.streams.values() for s in own if s.modality == modality
        ]

    def contents(self) -> dict[str, str]:
        """Return which modalities each file holds.

        Returns
        -------
        dict of str to str
            Such as ``eeg``, by the path under the folder.
        """
        return {
            name: " ".join(sorted(stream.modality for stream in streams))
            for name, streams in self.streams.items()
        }


def open_one(
    look: Look,
    name: str,
    path: Path,
    open_file: Callable[..., tuple[Stream, ...]] = open_recording,
) -> None:
    """Open one recording; where its length unit is wrong, find the one that fits.

    Parameters
    ----------
    look : Look
        Gets the streams, or why there are none.
    name : str
        Path under the folder.
    path : Path
        The file.
    open_file : callable
        Opens it.
    """
    try:
        look.streams[name] = open_file(path)
        return
    except MerpsError as error:
        problem = str(error)
    if "LengthUnit" in problem:
        for unit in METERS:
            try:
                streams = open_file(path, length_unit=unit)
            except MerpsError:
                continue
            distances = streams[0].header.distances_m or ()
            if is_plausible(distances):
                look.streams[name] = streams
                look.length_units.setdefault(unit, []).append(name)
                return
    look.unreadable.append(problem.replace(f"{look.root}/", ""))


def tell_problems(look: Look) -> None:
    """Say which files cannot be read, and which state a wrong unit.

    Parameters
    ----------
    look : Look
        Gets the warnings.
    """
    for unit, names in look.length_units.items():
        headers = [s.header for name in names for s in look.streams[name]]
        longest_m = max(max(header.distances_m or (0.0,)) for header in headers)
        look.warnings.append(
            f"{name_some(names)}: LengthUnit cannot be right; length_unit: {unit} "
            f"would put optodes up to {1e3 * longest_m:.3g} mm apart. It counts for "
            "all SNIRF files here: make sure of it"
        )
    look.warnings += look.unreadable[:_TOLD]
    if (n_more := len(look.unreadable) - _TOLD) > 0:
        look.warnings.append(f"{n_more} more recordings cannot be read")


def tell_signals(look: Look) -> None:
    """Say what signals there are.

    Parameters
    ----------
    look : Look
        Gets the findings.
    """
    for modality, word in (("eeg", "EEG"), ("fnirs", "fNIRS")):
        kinds: Counter[tuple] = Counter()
        for stream in look.of(modality):
            header = stream.header
            what = ", ".join(header.kinds) or f"{len(header.channels)} channels"
            if header.kinds:
                what = f"{len(header.channels)} channels of {what}"
            kinds[f"{what} at {header.rate_hz:.4g} Hz"] += 1
        for text, count in kinds.most_common(5):
            look.findings.append(f"{word}: {text}, in {counted(count, 'file')}")
    lengths = [s.header.duration_s for own in look.streams.values() for s in own]
    range_s = dict.fromkeys(f"{end(lengths):.0f}" for end in (min, max))
    look.findings.append(f"recordings last {' to '.join(range_s)} s")
    notes = Counter(
        note for own in look.streams.values() for s in own for note in s.notes
    )
    look.findings += [
        f"{note} (in {counted(n, 'file')})" for note, n in notes.most_common(8)
    ]


def counted(count: int, noun: str) -> str:
    """Say how many there are of something.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        One of them, such as ``file``.

    Returns
    -------
    str
        Such as ``1 file`` or ``2 files``; people in place of persons.
    """
    several = "people" if noun == "person" else f"{noun}s"
    return f"{count} {noun if count == 1 else several}"


def name_endings(root: Path) -> str:
    """Say what a folder holds instead of recordings.

    Parameters
    ----------
    root : Path
        The folder.

    Returns
    -------
    str
        Such as `` among 8 .gz, 1 .md``, the most frequent endings first; empty if there
        are no files.
    """
    endings = Counter(
        "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
        or "without ending"
        for path in root.rglob("*")
        if path.is_file()
    )
    few = ", ".join(f"{n} {ending}" for ending, n in endings.most_common(4))
    return f" among {few}" if few else ""


def _rating_columns(path: Path) -> tuple[dict[str, str], np.ndarray] | None:
    """Return the columns of time, valence and arousal, and the ratings."""
    rows = read_table(path)
    if not rows:
        return None
    header = {name.lower(): name for name in rows[0]}
    columns = {}
    for wanted in ("valence", "arousal"):
        fitting = [name for low, name in header.items() if wanted in low]
        if not fitting:
            return None
        columns[wanted] = fitting[0]
    times = [header[name] for name in _TIMES if name in header]
    if not times:
        return None
    values = []
    for row in rows:
        try:
            values.append([float(row[columns[k]]) for k in ("valence", "arousal")])
        except ValueError:
            continue
    if not values:
        return None
    return {"time": times[0], **columns}, np.array(values)


def find_rated(root: Path) -> RatedTables:
    """Find the tables of a folder that look like ratings.

    Parameters
    ----------
    root : Path
        The folder.

    Returns
    -------
    dict of str to tuple of (dict of str to str, ndarray)
        By path under the folder: names of the columns of time, valence and arousal,
        and the ratings.
    """
    tables = {}
    for path in sorted(root.rglob("*")):
        if not path.name.lower().endswith(_TABLES) or not path.is_file():
            continue
        try:
            found = _rating_columns(path)
        except MerpsError:
            continue
        if found is not None:
            tables[path.relative_to(root).as_posix()] = found
    return tables
