"""BIDS data sets: EEG and fNIRS of one subject, session, task and run, joined."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from merps.datasets.lab_records import LabFile
from merps.datasets.layout import Problem
from merps.datasets.ratings import Ratings, read_ratings
from merps.datasets.words import WHOLE
from merps.errors import DataError, InputError, mismatch
from merps.readers.columns import Column, read_table
from merps.readers.guarding import MNE_REMEDY, quietly
from merps.readers.lengths import require_length
from merps.readers.neuro import split_raw
from merps.readers.snirf import open_snirf
from merps.readers.streams import Stream, drop_repeated
from merps.recording import Annotation

_MODALITIES = {"eeg": "eeg", "nirs": "fnirs"}
_EXTENSIONS = {
    "eeg": [".edf", ".bdf", ".vhdr", ".set", ".fif"],
    "nirs": [".snirf"],
}
_NAMED = (("session", "ses"), ("task", "task"), ("acquisition", "acq"), ("run", "run"))
_SIDE = ("events.tsv", "channels.tsv", "electrodes.tsv", "optodes.tsv", "events.json")
_NOT_RAW = ("derivatives", "sourcedata", "code", "stimuli")
_RATED = {"valence", "arousal"}


def list_bids(
    root: Path, section: Mapping[str, Any]
) -> tuple[list[LabFile], list[Problem]]:
    """List the recordings of a BIDS data set.

    Parameters
    ----------
    root : Path
        The data set, resolved.
    section : mapping
        The ``dataset`` section; ``task`` chooses one task.

    Returns
    -------
    tuple of (list of LabFile, list of Problem)
        Recordings, each with the files beside it; a stimulus is a session, task and
        run. And what was odd.

    Raises
    ------
    InputError
        If mne-bids is not installed.
    DataError
        If the folder is no BIDS data set.
    """
    try:
        import mne_bids
    except ImportError as error:
        raise InputError(
            f"{root}: reading BIDS takes mne-bids; install it with: pip install "
            "'merps[bids]'"
        ) from error
    problems = []
    if not (root / "dataset_description.json").is_file():
        text = "there is no dataset_description.json, which BIDS asks for"
        problems.append(Problem("warning", root.name, text))
    files = []
    for suffix, extensions in _EXTENSIONS.items():
        search = partial(
            mne_bids.find_matching_paths,
            root,
            tasks=section["task"],
            datatypes=[suffix],
            suffixes=[suffix],
            extensions=extensions,
            check=True,
        )
        for found in quietly(root, search, remedy="look at it with the BIDS validator"):
            path = Path(found.fpath)
            if path.relative_to(root).parts[0] in _NOT_RAW or not path.is_file():
                continue
            files.append(_file(path, found, suffix, problems))
    return files, problems


def open_bids(
    path: Path,
    *,
    bids_path: Any,
    length_unit: str | None = None,
    streams: Mapping[str, str] | None = None,
    columns: Sequence[Column] | None = None,
) -> tuple[Stream, ...]:
    """Open one recording of a BIDS data set, with what the files beside it say.

    Parameters
    ----------
    path : Path
        The recording.
    bids_path : mne_bids.BIDSPath
        The same, with its entities.
    length_unit : str, optional
        Of optode positions, where SNIRF states a wrong one.
    streams, columns : optional
        Not used: BIDS has no XDF.

    Returns
    -------
    tuple of Stream
        EEG through mne-bids, with types and bad channels of ``channels.tsv`` and
        positions of ``electrodes.tsv``; SNIRF by itself. Annotations are those of
        ``events.tsv`` where there is one.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    import mne_bids

    events = applicable(path, "events.tsv", root=bids_path.root)[-1:]
    if path.suffix == ".snirf":
        found = open_snirf(path, length_unit=length_unit)
    else:
        require_length(path)
        read = partial(mne_bids.read_raw_bids, bids_path, verbose="error")
        is_typed = bool(applicable(path, "channels.tsv", root=path.parent))
        found = split_raw(
            path, quietly(path, read, remedy=MNE_REMEDY), is_typed=is_typed
        )
        if events and events[0].parent == path.parent:
            return found  # mne-bids has read them
    return _annotated(found, _events(events[0])) if events else found


def _file(path: Path, found: Any, suffix: str, problems: list[Problem]) -> LabFile:
    """Describe one recording."""
    entities = [(short, getattr(found, name)) for name, short in _NAMED]
    stimulus = "_".join(f"{short}-{value}" for short, value in entities if value)
    person = f"sub-{found.subject}"
    side = [file for name in _SIDE for file in applicable(path, name, root=found.root)]
    side += [path.with_suffix(".json"), *_continuous(path)]
    for table in _continuous(path):
        side += applicable(table, _json_of(table), root=found.root)
    scans = _scans(path, found.root)
    times = [_acquired(path, table, problems) for table in scans]
    return LabFile(
        path=path,
        person=person,
        stimulus=stimulus or WHOLE,
        names={
            "person": person,
            "stimulus": stimulus,
            "session": found.session or "",
        },
        modality=_MODALITIES[suffix],
        side_files=tuple(file for file in (*side, *scans) if file.is_file()),
        open=partial(open_bids, bids_path=found),
        ratings=partial(_ratings, path, Path(found.root)),
        acquired=next(filter(None, times), None),
    )


def applicable(path: Path, ending: str, *, root: Path | str) -> list[Path]:
    """List the files that describe another one, by the inheritance principle of BIDS.

    They lie in its folder or above, and name no entity that it does not have.

    Parameters
    ----------
    path : Path
        What is described.
    ending : str
        What their names end in, after the entities, such as ``events.tsv``.
    root : Path
        The highest folder that counts.

    Returns
    -------
    list of Path
        From the most general to the nearest and most specific.
    """
    own, found = _entities(path.name), []
    above = [path.parent, *path.parent.parents]
    if Path(root) in above:
        above = above[: above.index(Path(root)) + 1]
    for folder in reversed(above):
        fitting = [
            file
            for file in folder.glob(f"*{ending}")
            if _entities(file.name) <= own
            and file.name.rpartition("_")[2] == ending
            and file.is_file()
        ]
        found += sorted(
            fitting, key=lambda file: (len(_entities(file.name)), file.name)
        )
    return found


def _entities(name: str) -> set[str]:
    """Return the entities in a name, such as ``sub-01``, without what is no entity."""
    return {part for part in name.split("_")[:-1] if part}


def _scans(path: Path, root: Path | str) -> list[Path]:
    """List the tables that may say when a recording was acquired."""
    folder = path.parent.parent
    return applicable(folder / path.name, "scans.tsv", root=root)[::-1]


def _acquired(path: Path, scans: Path, problems: list[Problem]) -> datetime | None:
    """Return when a recording began, in universal time where that is known."""
    name = path.relative_to(scans.parent).with_suffix("").as_posix()
    try:
        rows = read_table(scans)
    except DataError as error:
        problem = Problem("warning", scans.name, str(error))
        if problem not in problems:
            problems.append(problem)
        return None
    for row in rows:
        listed, stated = row.get("filename", ""), row.get("acq_time", "n/a")
        if listed.rpartition(".")[0] != name:
            continue
        try:
            time = datetime.fromisoformat(stated)
        except ValueError:
            return None
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return None


def _ratings(path: Path, root: Path) -> Ratings | None:
    """Return the ratings beside a recording, on its time axis; None without any."""
    for table in _continuous(path):
        facts = _sidecar(table, root)
        names = [str(name) for name in facts.get("Columns", ())]
        if _RATED <= {name.lower() for name in names}:
            try:
                rate_hz = float(facts["SamplingFrequency"])
                offset_s = float(facts.get("StartTime", 0.0))
                if not rate_hz > 0:
                    raise ValueError("SamplingFrequency must be positive")
            except (KeyError, TypeError, ValueError) as error:
                raise mismatch(
                    table,
                    expected="SamplingFrequency and StartTime in its .json",
                    found=f"{type(error).__name__} {error}",
                    remedy="correct the .json",
                ) from error
            return read_ratings(table, header=names, rate_hz=rate_hz, offset_s=offset_s)
    for events in applicable(path, "events.tsv", root=root)[-1:]:
        rows = read_table(events)
        if rows and {*_RATED, "onset"} <= {name.lower() for name in rows[0]}:
            return read_ratings(events, time="onset")
    return None


def _continuous(path: Path) -> list[Path]:
    """List tables of continuous recordings that go with a recording."""
    folders = (path.parent, path.parent.parent / "beh")
    return [
        file
        for folder in folders
        for suffix in ("physio", "stim", "beh")
        for file in sorted(folder.glob(f"{_stem(path)}*_{suffix}.tsv.gz"))
    ]


def _json_of(table: Path) -> str:
    """Return what the names of JSON files end in that describe a table."""
    return table.name.removesuffix(".tsv.gz").rpartition("_")[2] + ".json"


def _sidecar(table: Path, root: Path) -> Mapping[str, Any]:
    """Return what JSON files say about a table; the nearest one wins."""
    facts: dict[str, Any] = {}
    for path in applicable(table, _json_of(table), root=root):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: not readable as JSON: {error}") from error
        facts |= content if isinstance(content, dict) else {}
    return facts


def _events(path: Path) -> tuple[Annotation, ...]:
    """Read the events of one recording."""
    found = []
    for row in read_table(path):
        label = next(
            (row[k] for k in ("trial_type", "value") if row.get(k, "n/a") != "n/a"), ""
        )
        try:
            onset_s = float(row["onset"])
            duration = row.get("duration", "n/a")
            duration_s = 0.0 if duration in {"n/a", ""} else float(duration)
        except (KeyError, ValueError) as error:
            raise mismatch(
                path,
                expected="columns onset and duration in seconds",
                found=f"{type(error).__name__} {error}",
                remedy="correct the file",
            ) from error
        found.append(Annotation(onset_s, duration_s, label))
    return drop_repeated(found)[0]


def _annotated(
    streams: Sequence[Stream], marks: tuple[Annotation, ...]
) -> tuple[Stream, ...]:
    """Return streams whose annotations are others.

    Events count from the first sample, as BIDS has it.
    """

    def mark(recording: Any) -> Any:
        moved = tuple(replace(a, onset_s=a.onset_s + recording.start_s) for a in marks)
        return replace(recording, annotations=moved)

    return tuple(
        replace(s, header=mark(s.header), load=partial(_load, s, mark)) for s in streams
    )


def _load(stream: Stream, mark: Any) -> Any:
    """Read the samples, and put the annotations to them."""
    return mark(stream.load())


def _stem(path: Path) -> str:
    """Return the name of a recording without suffix and ending."""
    return path.name.partition(".")[0].rpartition("_")[0]
