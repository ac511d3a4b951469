"""What the columns of a recording are, where the file itself does not say it."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from merps.errors import DataError, InputError, mismatch
from merps.predictions import name_some

_MAX_BYTES = 2**22
#: Names such as S1_D2 760 and S1-D2 760nm.
_PAIR = re.compile(
    r"(?P<pair>.*\S)[ _:-]+(?P<nm>\d{3,4}(\.\d+)?) ?(nm)?", re.IGNORECASE
)
_MISSING = {"", "n/a", "nan"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of samples.

    Parameters
    ----------
    name : str
        Its name, without the wavelength.
    kind : str
        What it is in lower case, such as ``eeg`` or ``nirscwamplitude``; may be empty.
    unit : str
        Unit as written; may be empty.
    wavelength_nm : float, optional
        Of light.
    """

    name: str
    kind: str = ""
    unit: str = ""
    wavelength_nm: float | None = None


def column_of(
    name: str, *, kind: str = "", unit: str = "", wavelength: str = "", pair: str = ""
) -> Column:
    """Describe a column by what is written about it.

    Parameters
    ----------
    name : str
        Its name; a wavelength behind it counts where no other is given.
    kind, unit, wavelength, pair : str
        Kind, unit, wavelength in nanometers, and the names of source and detector;
        each may be empty.

    Returns
    -------
    Column
        The description.
    """
    if wavelength.lower() not in _MISSING:
        try:
            nm: float | None = float(wavelength.lower().removesuffix("nm"))
        except ValueError:
            nm = None
        if nm is not None and 100 <= nm <= 10_000:
            match = _PAIR.fullmatch(name)
            bare = match["pair"] if match and float(match["nm"]) == nm else name
            return Column(pair or bare, kind.lower(), unit, nm)
    match = _PAIR.fullmatch(name)
    if match and 600 <= float(match["nm"]) <= 1000:
        return Column(pair or match["pair"], kind.lower(), unit, float(match["nm"]))
    return Column(name, kind.lower(), unit)


def read_columns(path: Path) -> tuple[Column, ...]:
    """Read a table of columns, as BIDS writes ``*_channels.tsv``.

    Parameters
    ----------
    path : Path
        Text with tabs or commas and a header. ``name`` must be there; ``type``,
        ``units``, ``source``, ``detector`` and ``wavelength_nominal`` (or
        ``wavelength``) may be.

    Returns
    -------
    tuple of Column
        One a row.

    Raises
    ------
    DataError
        If the file cannot be read, or has no names.
    """
    rows = read_table(path)
    if not rows or "name" not in rows[0]:
        raise mismatch(
            path,
            expected="a table with a column name, one row a channel",
            found=f"columns {', '.join(rows[0])}" if rows else "no rows",
            remedy="write it as BIDS writes channels.tsv",
        )
    return tuple(
        column_of(
            row["name"],
            kind=row.get("type", ""),
            unit=row.get("units", row.get("unit", "")),
            wavelength=row.get("wavelength_nominal", row.get("wavelength", "")),
            pair=_pair(row.get("source", ""), row.get("detector", "")),
        )
        for row in rows
    )


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a small table with a header; tabs, semicolons or commas between fields.

    Parameters
    ----------
    path : Path
        UTF-8 text, or gzip of it (``.gz``).

    Returns
    -------
    list of dict of str
        Fields by column name, without spaces around them.

    Raises
    ------
    DataError
        If the file cannot be read, or a row has another length than the header.
    """
    return parse_table(path, read_text(path))


def parse_table(path: Path, text: str) -> list[dict[str, str]]:
    """Split a table that was read.

    Parameters
    ----------
    path : Path
        The file, for messages.
    text : str
        Its content.

    Returns
    -------
    list of dict of str
        As from `read_table`.

    Raises
    ------
    DataError
        If a row has another length than the header.
    """
    first = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    rows = [
        [field.strip() for field in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        if any(field.strip() for field in row)
    ]
    if not rows:
        return []
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise mismatch(
                path,
                expected=f"{len(header)} fields in each row",
                found=f"{len(row)} in row {number}",
                remedy="write the table again",
            )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def read_text(path: Path) -> str:
    """Read a small text file, compressed or not.

    Parameters
    ----------
    path : Path
        The file; gzip where the name ends in ``.gz``.

    Returns
    -------
    str
        Its content without a byte order mark.

    Raises
    ------
    DataError
        If it cannot be read as UTF-8, or is longer than a table can be.
    """
    import gzip
    import zlib

    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from error
    if len(data) > _MAX_BYTES:
        raise mismatch(
            path,
            expected=f"a table of at most {_MAX_BYTES // 2**20} MB",
            found="a longer file",
            remedy="is this a recording? write ratings at 100 Hz or less",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error


def _pair(source: str, detector: str) -> str:
    """Name a pair of optodes; nothing where one is not named."""
    if {source.lower(), detector.lower()} & _MISSING:
        return ""
    return f"{source}_{detector}"


def pairs_and_kinds(
    columns: Sequence[Column],
) -> tuple[list[str], list[str], list[tuple[int, int, int]]]:
    """Arrange columns of light by pair and wavelength.

    Parameters
    ----------
    columns : sequence of Column
        Those with a wavelength count.

    Returns
    -------
    tuple of (list of str, list of str, list of (int, int, int))
        Pairs, kinds such as ``760nm``, and for each column with a wavelength its
        number, kind and pair.

    Raises
    ------
    InputError
        If two columns are of the same pair and wavelength.
    """
    lit = [(k, c) for k, c in enumerate(columns) if c.wavelength_nm is not None]
    pairs = list(dict.fromkeys(c.name for _, c in lit))
    lengths = sorted({c.wavelength_nm for _, c in lit if c.wavelength_nm})
    places = [
        (k, lengths.index(c.wavelength_nm), pairs.index(c.name))
        for k, c in lit
        if c.wavelength_nm
    ]
    if len({(kind, pair) for _, kind, pair in places}) < len(places):
        raise InputError(
            "expected each pair of optodes once at each wavelength, found columns that "
            f"say the same among {name_some(pairs)}; correct their description"
        )
    return pairs, [f"{nm:g}nm" for nm in lengths], places
