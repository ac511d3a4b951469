"""The run folder of a track: what is kept there, and how it was made."""

import csv
import hashlib
import io
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import merps
from merps.errors import DataError, InputError
from merps.store.files import replace_file, sealed, writing
from merps.tracks.answers import format_answers
from merps.tracks.options import TrackConfig
from merps.tracks.tables import ClipTable
from merps.tracks.wheels import Wheels, read_wheels

_LIBRARIES = ("av", "numpy", "openai", "scikit-learn", "torch", "transformers")


def run_folder(config: TrackConfig) -> Path:
    """Make the folder of the run: private, and ignored by git."""
    run = Path(config.run)
    with writing(run, needed_bytes=0):
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (run / ".gitignore").exists():
            replace_file(run / ".gitignore", b"*\n")
    return run


def predictions_path(config: TrackConfig, maker: str) -> Path:
    """Return where predictions are kept."""
    return Path(config.run) / "predictions" / f"{maker}.csv"


def write_answers(
    config: TrackConfig,
    maker: str,
    table: ClipTable,
    answers: Sequence[Any],
    facts: Mapping[str, Any],
) -> Path:
    """Write answers, and beside them how they were made."""
    run_folder(config)
    path = predictions_path(config, maker)
    data = format_answers(config.track, table, answers)
    card = {**facts, "sha256": hashlib.sha256(data).hexdigest()}
    with writing(path, needed_bytes=len(data)):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, data)
        replace_file(path.with_suffix(".json"), sealed(card))
    return path


def write_missing(run: Path, missing: Sequence[tuple[str, str, str]]) -> None:
    """List streams of rows that are not there."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("stream", "name", "reason"))
    writer.writerows(missing)
    write_file(run / "missing.csv", buffer.getvalue().encode())


def write_file(path: Path, data: bytes) -> None:
    """Put a file in place."""
    with writing(path, needed_bytes=len(data)):
        replace_file(path, data)


def provenance(config: TrackConfig) -> dict[str, Any]:
    """Say with which options and versions something is made."""
    versions = {"merps": merps.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    plain = json.loads(config.model_dump_json())
    return {"config": plain, "seed": config.seed, "versions": versions}


def sha256_of(path: Path) -> str:
    """Digest a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def wheels_of(config: TrackConfig) -> Wheels:
    """Read the wheels that the options name."""
    if config.data.wheels is None:
        raise InputError(
            "MER-FG needs the emotion wheels of MERTools, which merps may not pass on; "
            "name MER2026/MER2026_Track2/emotion_wheel of a checkout as data.wheels"
        )
    return read_wheels(Path(config.data.wheels))
