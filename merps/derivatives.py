"""Preprocessed people as a BIDS derivative, for programs that read BIDS."""

import gzip
import json
import logging
import os
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import merps
from merps.engine import Progress, Silence
from merps.errors import InputError
from merps.recording import Recording, Trial
from merps.store import Store, require_space
from merps.store.files import writing

logger = logging.getLogger(__name__)

_BIDS_VERSION = "1.10.0"
_TYPES = {"fnirs_cw_amplitude": "NIRSCWAMPLITUDE", "fnirs_od": "NIRSCWOPTICALDENSITY"}
_TYPES |= {"hbo": "NIRSCWHBO", "hbr": "NIRSCWHBR", "eeg": "EEG"}


@dataclass(frozen=True, slots=True)
class Derived:
    """What was written.

    Parameters
    ----------
    people, files, bytes : int
        How many people and recordings, and the size of everything.
    left_out : tuple of str
        Recordings that BIDS or MNE has no form for, and why.
    seconds : float
        How long it took.
    """

    people: int
    files: int
    bytes: int
    left_out: tuple[str, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps export --format bids --json`` prints."""
        return asdict(self)


def export_bids(
    store: Path | str, out: Path | str, *, progress: Progress | None = None
) -> Derived:
    """Write the preprocessed signals of a store as a BIDS derivative.

    EEG becomes BrainVision, fNIRS becomes SNIRF (total hemoglobin stays behind), each
    stimulus a task of its own; ratings become ``*_recording-rating_physio.tsv.gz``, and
    an event marks the onset. ``merps`` reads the folder back with ``layout: bids``.

    Parameters
    ----------
    store : Path
        Preprocessed people.
    out : Path
        Folder to write; absent or empty. It appears as a whole or not at all.
    progress : Progress, optional
        Told of each person.

    Returns
    -------
    Derived
        Numbers of people and files, and what was left out.

    Raises
    ------
    InputError
        If the folder holds other things, a package is missing, or two people get one
        name in BIDS, which allows letters and digits only.
    DataError
        If the store is damaged.
    SpaceError
        If the files will not fit, or cannot be written.
    """
    started = time.monotonic()
    progress = progress or Silence()
    opened, out = Store.open(Path(store)), Path(out)
    _require_packages()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; choose a new folder")
    labels = _labels(opened.people)
    require_space(out, sum(p.stat().st_size for p in opened.path.glob("people/*.h5")))
    progress.expect(len(labels))
    ready = out.with_name(f"{out.name}.{secrets.token_hex(4)}.tmp")
    left_out: list[str] = []
    n_files = 0
    try:
        with writing(out, needed_bytes=0):
            ready.mkdir(mode=0o700, parents=True)
            _write_description(ready, opened)
            for person, label in labels.items():
                with opened.person(person) as stored:
                    for trial in stored.trials():
                        n_files += _write_trial(ready, label, trial, left_out)
                progress.done(person)
            if out.exists():
                out.rmdir()
            os.replace(ready, out)
    finally:
        shutil.rmtree(ready, ignore_errors=True)
    for text in left_out:
        logger.warning("%s", text)
    return Derived(
        people=len(labels),
        files=n_files,
        bytes=sum(f.stat().st_size for f in out.rglob("*") if f.is_file()),
        left_out=tuple(left_out),
        seconds=time.monotonic() - started,
    )


def _require_packages() -> None:
    """Say what to install before any work is done."""
    try:
        import pybv  # noqa: F401
    except ImportError as error:
        raise InputError(
            "writing BIDS takes pybv; install it with: pip install 'merps[bids]'"
        ) from error


def _labels(people: Sequence[str]) -> dict[str, str]:
    """Return the BIDS name of each person."""
    labels = {
        person: re.sub(r"[^A-Za-z0-9]", "", person.removeprefix("sub-"))
        for person in people
    }
    if len(set(labels.values())) < len(labels) or "" in labels.values():
        raise InputError(
            "BIDS names people by letters and digits alone, and two people would get "
            f"one name: {', '.join(people)}; rename them in the data folder"
        )
    return labels


def _write_description(folder: Path, store: Store) -> None:
    """Write what the folder is, and under which terms it may be used."""
    _write_json(
        folder / "dataset_description.json",
        {
            "Name": "Signals preprocessed by merps",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "License": store.terms,
            "GeneratedBy": [{"Name": "merps", "Version": merps.__version__}],
        },
    )
    (folder / "README").write_text(
        "Signals preprocessed by merps, written by merps export --format bids.\n\n"
        f"Source: {store.source}\nMay be used for: {store.role}\n"
        f"Terms: {store.terms}\n\n"
        "Everything here derives from those data, and their terms hold for it.\n",
        encoding="utf-8",
    )
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _write_trial(folder: Path, label: str, trial: Trial, left_out: list[str]) -> int:
    """Write the recordings of one trial; return how many there are."""
    n_written = 0
    for suffix, recording in (("eeg", trial.eeg), ("nirs", trial.fnirs)):
        if recording is None:
            continue
        stem = f"sub-{label}_task-{trial.stimulus}"
        place = folder / f"sub-{label}" / suffix
        try:
            raw = recording.to_mne()
        except InputError as error:
            text = f"{trial.person} {trial.stimulus}: {suffix} is left out: {error}"
            left_out.append(text)
            continue
        place.mkdir(parents=True, exist_ok=True)
        _write_signal(place / f"{stem}_{suffix}", raw, suffix)
        _write_tables(place / stem, trial, recording, raw, suffix)
        n_written += 1
    return n_written


def _write_signal(stem: Path, raw: Any, suffix: str) -> None:
    """Write the samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if suffix == "eeg":
            import mne

            raw.set_annotations(None)  # events are in their table
            path = stem.with_suffix(".vhdr")
            mne.export.export_raw(path, raw, fmt="brainvision", verbose="error")
        else:
            from mne_nirs.io.snirf import write_raw_snirf

            raw.info["subject_info"] = {"his_id": "n/a"}
            raw.set_meas_date(0)
            raw.set_annotations(None)
            write_raw_snirf(raw, stem.with_suffix(".snirf"))


def _write_tables(
    stem: Path, trial: Trial, recording: Recording, raw: Any, suffix: str
) -> None:
    """Write what goes beside a recording: facts, channels, onset, ratings."""
    name = stem.name
    onset_s = max(0.0, -recording.start_s)
    length_s = recording.start_s + recording.duration_s
    _write_json(
        stem.with_name(f"{name}_{suffix}.json"),
        {
            "TaskName": trial.stimulus,
            "SamplingFrequency": recording.rate_hz,
            **(
                {"EEGReference": "n/a", "PowerLineFrequency": "n/a"}
                if suffix == "eeg"
                else {"NIRSChannelCount": len(raw.ch_names)}
            ),
            "SoftwareFilters": "n/a",
        },
    )
    rows = [
        (channel, _TYPES.get(kind, "MISC"), _unit(kind), _status(raw, channel))
        for channel, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True)
    ]
    if suffix == "eeg":
        _write_rows(
            stem.with_name(f"{name}_channels.tsv"),
            ("name", "type", "units", "status"),
            rows,
        )
    _write_rows(
        stem.with_name(f"{name}_events.tsv"),
        ("onset", "duration", "trial_type"),
        [(f"{onset_s:.6g}", f"{length_s:.6g}", trial.stimulus)],
    )
    if trial.targets is not None:
        table = stem.with_name(f"{name}_recording-rating_physio")
        lines = "".join(f"{v:.9g}\t{a:.9g}\n" for v, a in np.asarray(trial.targets))
        with gzip.GzipFile(f"{table}.tsv.gz", "wb", mtime=0) as file:
            file.write(lines.encode())
        facts = {
            "SamplingFrequency": 1.0,
            "StartTime": onset_s,
            "Columns": ["valence", "arousal"],
        }
        _write_json(table.with_name(f"{table.name}.json"), facts)


def _unit(kind: str) -> str:
    """Return the unit that MNE keeps a type of channels in."""
    return {"eeg": "V", "hbo": "mol/L", "hbr": "mol/L"}.get(kind, "n/a")


def _status(raw: Any, channel: str) -> str:
    """Tell whether a channel is missing."""
    return "bad" if channel in raw.info["bads"] else "good"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_rows(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Write a table with tabs."""
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
