"""Sample ids, `predictions.csv` and `targets.csv`: read, written and checked."""

import csv
import io
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Real

from merps.errors import DataError, InputError, SpaceError, mismatch
from merps.samples import parse_sample_id
from merps.shapes import SampleTargets

#: Columns of `predictions.csv` and `targets.csv`, in order.
COLUMNS = ("sample_id", "valence", "arousal")
_MAX_BYTES = 2**28
_NAMED = 5


def read_rows(
    path: Path, *, columns: Sequence[str], strip: bool = True
) -> list[tuple[int, dict]]:
    """Read a CSV file as text; blank lines, further columns and a BOM are accepted.

    Parameters
    ----------
    path : Path
        The file, in UTF-8.
    columns : sequence of str
        Columns that must be there.
    strip : bool
        Whether spaces around the fields of rows are taken away.

    Returns
    -------
    list of (int, dict)
        Line number and fields by column name of each row; at least one row.

    Raises
    ------
    DataError
        If it is no CSV, lacks or repeats a column, or has odd rows or none.
    """
    rows = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    table: list[tuple[int, dict]] = []
    problems = []
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if header is None:
                header = _check_header(path, fields, columns)
            elif len(fields) != len(header):
                problems.append(
                    f"line {rows.line_num} has {len(fields)} fields instead of "
                    f"{len(header)}"
                )
            else:
                kept = fields if strip else row
                table.append((rows.line_num, dict(zip(header, kept, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}: not readable as CSV: {error}") from error
    raise_together(path, problems)
    if not table:
        raise mismatch(
            path,
            expected=f"a header {','.join(columns)} and at least one row",
            found="an empty file" if header is None else "only a header",
            remedy="write the file again",
        )
    return table


def name_some(items: Iterable[object]) -> str:
    """Name the first five items and count the rest.

    Parameters
    ----------
    items : iterable
        Names or sentences.

    Returns
    -------
    str
        Such as ``a, b and 3 more``.
    """
    texts = [str(item) for item in items]
    some = ", ".join(texts[:_NAMED])
    return f"{some} and {len(texts) - _NAMED} more" if len(texts) > _NAMED else some


def raise_together(where: object, problems: Sequence[str]) -> None:
    """Raise all problems of one file as one error; do nothing if there are none.

    Parameters
    ----------
    where : object
        The file, as path or text.
    problems : sequence of str
        What is wrong with it; the first five are named.

    Raises
    ------
    DataError
        If there is any problem.
    """
    if problems:
        some = "; ".join(problems[:_NAMED])
        rest = len(problems) - _NAMED
        raise DataError(f"{where}: {some}{f'; and {rest} more' if rest > 0 else ''}")


def sample_id_problems(ids: Sequence[str]) -> list[str]:
    """Say which sample ids have a wrong pattern or come more than once.

    Parameters
    ----------
    ids : sequence of str
        Sample ids.

    Returns
    -------
    list of str
        At most one sentence for each kind of problem.
    """
    malformed = []
    for text in dict.fromkeys(ids):
        try:
            parse_sample_id(text)
        except InputError:
            malformed.append(f"{text[:80]!r}")
    problems = []
    if malformed:
        problems.append(
            f"{len(malformed)} ids are not of the form <person>_V<2-digit video>_"
            f"T<3-digit second>, such as predict1_V01_T000: {name_some(malformed)}"
        )
    return problems + _duplicate_problems(ids)


def read_sample_ids(path: Path) -> list[str]:
    """Read the ids to be answered from `sample_ids.csv`.

    Parameters
    ----------
    path : Path
        CSV file with a column ``sample_id``; others are ignored.

    Returns
    -------
    list of str
        Ids such as ``predict1_V01_T000``, in file order, each once.

    Raises
    ------
    DataError
        If the file cannot be read, or ids are malformed or repeated; everything
        that is wrong stands in one message.
    """
    ids = [fields["sample_id"] for _, fields in read_rows(path, columns=("sample_id",))]
    raise_together(path, sample_id_problems(ids))
    return ids


def read_targets(path: Path) -> tuple[list[str], SampleTargets]:
    """Read ids and ratings from `targets.csv`.

    Parameters
    ----------
    path : Path
        CSV file with columns ``sample_id``, ``valence``, ``arousal``.

    Returns
    -------
    tuple of (list of str, ndarray of float64, shape (sample, 2))
        Ids and their valence and arousal, in file order.

    Raises
    ------
    DataError
        If the file cannot be read, ids are malformed or repeated, or ratings are
        not in 1..255; everything that is wrong stands in one message.
    """
    ids, values, problems = _read_values(path)
    raise_together(path, [*problems, *_value_problems(ids, values)])
    return ids, values


def read_predictions(path: Path) -> tuple[list[str], SampleTargets]:
    """Read ids and predictions from `predictions.csv`.

    Parameters
    ----------
    path : Path
        CSV file with columns ``sample_id``, ``valence``, ``arousal``, rows in any
        order.

    Returns
    -------
    tuple of (list of str, ndarray of float64, shape (sample, 2))
        Ids and their valence and arousal, in file order, not yet checked against
        the ids that were asked for nor against 1..255: see `match_predictions`.

    Raises
    ------
    DataError
        If the file cannot be read, ids are malformed or fields are no numbers.
    """
    ids, values, problems = _read_values(path, repeated=True)
    raise_together(path, problems)
    return ids, values


def match_predictions(
    ids: Sequence[str],
    values: Float64[np.ndarray, "given 2"],
    *,
    expected: Sequence[str],
    where: object = "predictions",
) -> SampleTargets:
    """Check predictions against the ids asked for and put them in that order.

    Parameters
    ----------
    ids : sequence of str
        Ids of the predictions, in any order.
    values : ndarray of float64, shape (given, 2)
        Valence and arousal of each.
    expected : sequence of str
        Ids asked for.
    where : object
        Name of the predictions in messages, such as their path.

    Returns
    -------
    ndarray of float64, shape (sample, 2)
        Valence and arousal in the order of `expected`.

    Raises
    ------
    DataError
        If an id is missing, unknown or repeated, or a value is not a number in
        1..255; everything that is wrong stands in one message.
    """
    row_of = {sample_id: row for row, sample_id in enumerate(ids)}
    asked = set(expected)
    missing = [sample_id for sample_id in expected if sample_id not in row_of]
    unknown = [sample_id for sample_id in row_of if sample_id not in asked]
    problems = []
    if missing:
        problems.append(f"{len(missing)} ids are not answered: {name_some(missing)}")
    if unknown:
        problems.append(f"{len(unknown)} ids are not asked for: {name_some(unknown)}")
    problems += _duplicate_problems(ids)
    raise_together(where, problems + _value_problems(ids, values))
    return values[[row_of[sample_id] for sample_id in expected]]


def write_predictions(
    path: Path, ids: Sequence[str], values: Real[np.ndarray, "sample 2"]
) -> None:
    """Write `predictions.csv`, whole or not at all.

    Parameters
    ----------
    path : Path
        The file to write; one that is there is replaced.
    ids : sequence of str
        Sample ids, each once.
    values : ndarray, shape (sample, 2)
        Valence and arousal, whole numbers in 1..255.

    Raises
    ------
    InputError
        If ids are malformed or repeated, or values are not whole numbers in
        1..255.
    SpaceError
        If the file cannot be written.
    """
    if len(ids) != len(values):
        raise InputError(f"{len(ids)} ids for {len(values)} rows of predictions")
    problems = sample_id_problems(ids)
    problems += _value_problems(ids, values.astype(np.float64))
    if not problems and np.any(values != np.round(values)):
        problems.append("predictions must be whole numbers; round them first")
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample_id, (valence, arousal) in zip(ids, values.tolist(), strict=True):
        writer.writerow((sample_id, int(valence), int(arousal)))
    _replace(path, text.getvalue().encode())


def _read_text(path: Path) -> str:
    """Return the text of a file of a sensible size."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > _MAX_BYTES:
            raise mismatch(
                path,
                expected=f"a CSV file of at most {_MAX_BYTES >> 20} MB",
                found=f"{size >> 20} MB" if path.is_file() else "something else",
                remedy="check that it is the right file",
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise mismatch(
            path,
            expected="text in UTF-8",
            found=f"other bytes at offset {error.start}",
            remedy="save it as CSV in UTF-8",
        ) from error


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> list[str]:
    """Return the header if it holds each wanted column once and none twice."""
    missing = [column for column in columns if column not in header]
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if missing or repeated:
        fault = f"without {name_some(missing)}" if missing else ""
        fault = fault or f"that repeats {name_some(repeated)}"
        raise mismatch(
            path,
            expected=f"the columns {name_some(columns)}",
            found=f"a header {fault}: {','.join(header)[:200]!r}",
            remedy="name the columns in the first line, separated by commas",
        )
    return header


def _read_values(
    path: Path, *, repeated: bool = False
) -> tuple[list[str], SampleTargets, list[str]]:
    """Read ids and two numbers each, and what is wrong with them."""
    rows = read_rows(path, columns=COLUMNS)
    ids = [fields["sample_id"] for _, fields in rows]
    values = np.full((len(rows), 2), np.nan)
    problems = sample_id_problems(list(dict.fromkeys(ids)) if repeated else ids)
    for row, (line, fields) in enumerate(rows):
        for column, name in enumerate(COLUMNS[1:]):
            try:
                values[row, column] = float(fields[name])
            except ValueError:
                problems.append(
                    f"line {line}: {name} is {fields[name][:40]!r}, not a number"
                )
    return ids, values, problems


def _duplicate_problems(ids: Sequence[str]) -> list[str]:
    """Say which ids come more than once."""
    repeated = [f"{text[:80]!r}" for text, n in Counter(ids).items() if n > 1]
    if not repeated:
        return []
    return [f"{len(repeated)} ids come more than once: {name_some(repeated)}"]


def _value_problems(ids: Sequence[str], values: SampleTargets) -> list[str]:
    """Say which rows hold a value that is not a number in 1..255."""
    wrong = ~((values >= 1) & (values <= 255)).all(axis=1)  # NaN is wrong too
    if not wrong.any():
        return []
    some = [
        f"{ids[row][:80]} ({values[row, 0]:g}, {values[row, 1]:g})"
        for row in np.flatnonzero(wrong)
    ]
    return [f"{len(some)} rows are not two numbers in 1..255: {name_some(some)}"]


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place in one step, so that readers see all of it or the old one."""
    draft = path.with_name(
        f".{path.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    )
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        try:
            with open(draft, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise SpaceError(f"{path}: cannot be written: {error.strerror}") from error
