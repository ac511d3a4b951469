"""A first look at a folder: what its recordings and tables are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from merps.errors import MerpsError
from merps.readers.columns import read_table
from merps.readers.files import open_recording
from merps.readers.probe import METERS, is_plausible
from merps.readers.streams import Stream

_TABLES = (".csv", ".tsv", ".tsv.gz", ".txt")
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
    length_unit : str, optional
        Of optode positions, where files state an impossible one.
    """

    root: Path
    streams: dict[str, tuple[Stream, ...]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    length_unit: str | None = None

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
        Gets the streams, or a warning.
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
                look.length_unit = unit
                look.warnings.append(
                    f"{name}: LengthUnit cannot be right; length_unit: {unit} would "
                    f"put its optodes up to {1e3 * max(distances):.3g} mm apart. It "
                    "counts for all SNIRF files here: make sure of it"
                )
                return
    look.warnings.append(problem.replace(f"{look.root}/", ""))


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
            look.findings.append(f"{word}: {text}, in {count} files")
    lengths = [s.header.duration_s for own in look.streams.values() for s in own]
    look.findings.append(f"recordings last {min(lengths):.0f} to {max(lengths):.0f} s")
    notes = Counter(
        note for own in look.streams.values() for s in own for note in s.notes
    )
    look.findings += [f"{note} (in {n} files)" for note, n in notes.most_common(8)]


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
