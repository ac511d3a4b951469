"""Answers in the form that the challenge wants, checked against the candidates."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merps.errors import DataError, InputError
from merps.predictions import name_some
from merps.store.files import canonical, replace_file, writing
from merps.tracks.metrics import (
    TrackScore,
    score_classes,
    score_openset,
    score_preferences,
)
from merps.tracks.options import Track
from merps.tracks.tables import LABEL_COLUMNS, ClipTable
from merps.tracks.wheels import Wheels

ANSWER, ARCHIVE, MANIFEST = "answer.csv", "answer.zip", "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # archives of equal answers are equal


def format_answers(track: Track, table: ClipTable, answers: Sequence[Any]) -> bytes:
    """Write answers as a table, in the order of the candidates.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    table : ClipTable
        The candidates.
    answers : sequence
        One a row, as the track wants it.

    Returns
    -------
    bytes
        A CSV file.

    Raises
    ------
    InputError
        If they differ in number.
    """
    if len(answers) != len(table):
        raise InputError(f"{len(answers)} answers for {len(table)} rows")
    texts = ("a1", "a2") if track == "prefer" else ()
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("name", *texts, LABEL_COLUMNS[track]))
    pairs = table.pairs or ((),) * len(table)
    for name, pair, answer in zip(table.names, pairs, answers, strict=True):
        text = ",".join(answer) if track == "fg" else answer
        writer.writerow((name, *pair, text))
    return buffer.getvalue().encode()


def require_same_rows(table: ClipTable, answers: ClipTable) -> None:
    """Refuse answers for other rows than the candidates, or in another order.

    Parameters
    ----------
    table : ClipTable
        The candidates.
    answers : ClipTable
        Labels of the same rows.

    Raises
    ------
    DataError
        Naming the first rows that are missing, left over or out of place.
    """
    wanted, given = _keys(table), _keys(answers)
    if wanted == given:
        return
    missing = [key[0] for key in dict.fromkeys(wanted) if key not in set(given)]
    foreign = [key[0] for key in dict.fromkeys(given) if key not in set(wanted)]
    problems = [f"{len(wanted)} rows are asked for, {len(given)} answered"]
    if missing:
        problems.append(f"not answered: {name_some(missing)}")
    if foreign:
        problems.append(f"not asked for: {name_some(foreign)}")
    if not (missing or foreign):
        pairs = zip(wanted, given, strict=False)
        moved = [w[0] for w, g in pairs if w != g] or [
            w[0] for w in wanted[len(given) :]
        ]
        problems.append(f"out of order or repeated, from: {name_some(moved)}")
    raise DataError(
        f"{answers.path} does not fit {table.path}: {'; '.join(problems)}; make the "
        "answers again from these candidates"
    )


def write_submission(
    folder: Path,
    track: Track,
    table: ClipTable,
    answers: Sequence[Any],
    *,
    manifest: dict[str, Any],
) -> Path:
    """Write ``answer.csv``, ``answer.zip`` and ``manifest.json``.

    Parameters
    ----------
    folder : Path
        Where to.
    track : str
        ``cross``, ``fg`` or ``prefer``.
    table : ClipTable
        The candidates.
    answers : sequence
        One a row; ``same`` becomes ``a1``, as it is scored.
    manifest : dict
        How the answers were made; gets the digest of the answer.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    SpaceError
        If they cannot be written.
    """
    if track == "prefer":
        answers = ["a1" if answer == "same" else answer for answer in answers]
    data = format_answers(track, table, answers)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(ANSWER, _EPOCH), data)
    digest = hashlib.sha256(data).hexdigest()
    files = {
        MANIFEST: canonical(
            {**manifest, "answer": {"sha256": digest, "rows": len(table)}}
        ),
        ANSWER: data,
        ARCHIVE: packed.getvalue(),
    }
    for name, content in files.items():
        with writing(folder / name, needed_bytes=len(content)):
            replace_file(folder / name, content)
    return folder / ARCHIVE


def score_answers(
    track: Track,
    gold: ClipTable,
    answers: ClipTable,
    *,
    wheels: Wheels | None,
    n_resamples: int,
    seed: int,
) -> TrackScore:
    """Score answers by the official rule, over the rows that have gold labels.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    gold : ClipTable
        Labels of some or all rows.
    answers : ClipTable
        Labels of at least those rows.
    wheels : Wheels, optional
        Needed for MER-FG.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    TrackScore
        The score.

    Raises
    ------
    DataError
        If a gold row is not answered.
    InputError
        If the wheels are missing.
    """
    place: dict[Any, int] = {}
    for row, key in enumerate(_keys(answers)):
        place.setdefault(key, row)
    missing = [key[0] for key in _keys(gold) if key not in place]
    if missing:
        raise DataError(
            f"{answers.path}: {len(missing)} rows of {gold.path} are not answered: "
            f"{name_some(missing)}; score answers that hold all of them"
        )
    return score_labels(
        track,
        gold.labels,
        [answers.labels[place[key]] for key in _keys(gold)],
        groups=gold.groups,
        wheels=wheels,
        n_resamples=n_resamples,
        seed=seed,
    )


def score_labels(
    track: Track,
    gold: Sequence[Any],
    predicted: Sequence[Any],
    *,
    groups: Sequence[str],
    wheels: Wheels | None,
    n_resamples: int,
    seed: int,
) -> TrackScore:
    """Score answers that are in the order of the gold labels.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    gold, predicted : sequence
        Labels, row by row.
    groups : sequence of str
        What is drawn together in the bootstrap.
    wheels : Wheels, optional
        Needed for MER-FG.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    TrackScore
        The score.

    Raises
    ------
    InputError
        If the wheels are missing, or there is no row.
    """
    options = {"groups": groups, "n_resamples": n_resamples, "seed": seed}
    if track == "cross":
        return score_classes(gold, predicted, **options)
    if track == "prefer":
        return score_preferences(gold, predicted, **options)
    if wheels is None:
        raise InputError("MER-FG is scored on emotion wheels; give data.wheels")
    return score_openset(gold, predicted, wheels=wheels, **options)


def _keys(table: ClipTable) -> list[tuple[str, ...]]:
    """Return what tells rows apart: the name, and the texts where there are some."""
    if not table.pairs:
        return [(name,) for name in table.names]
    return [(name, *pair) for name, pair in zip(table.names, table.pairs, strict=True)]
