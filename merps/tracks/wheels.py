"""The five emotion wheels of MER-FG, read from the tables of MERTools."""

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merps.errors import mismatch
from merps.predictions import read_rows
from merps.tracks.extras import require_extra
from merps.tracks.tables import parse_openset

logger = logging.getLogger(__name__)

N_WHEELS = 5
_FORMS, _SYNONYMS = "format.csv", "synonym.xlsx"
_N_RUNS = 8
_LEVELS = ("level1", "level2", "level3")
_REMEDY = "point data.wheels at MER2026_Track2/emotion_wheel of a checkout of MERTools"
#: What the tables of MER2026 hold: forms, base words, words of each wheel.
OFFICIAL_COUNTS = (7356, 1255, 114, 126, 78, 102, 77)


@dataclass(frozen=True)
class Wheels:
    """How words become sectors of the wheels.

    Parameters
    ----------
    bases : mapping of str to tuple of str
        Base words by each of their forms.
    groups : mapping of str to tuple of str
        Words of wheels by base word that is a synonym of them.
    sectors : tuple of mapping of str to str
        By wheel, the name of the innermost sector of each of its words.
    digests : mapping of str to str
        Sha256 of each file that was read.
    """

    bases: Mapping[str, tuple[str, ...]] = field(repr=False)
    groups: Mapping[str, tuple[str, ...]] = field(repr=False)
    sectors: tuple[Mapping[str, str], ...] = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)
    _known: tuple[dict[str, str | None], ...] = field(
        default_factory=lambda: tuple({} for _ in range(N_WHEELS)),
        repr=False,
        compare=False,
    )

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of forms, of base words, and of words on each wheel."""
        return len(self.bases), len(self.groups), *map(len, self.sectors)

    def map_labels(self, labels: Collection[str], wheel: int) -> frozenset[str]:
        """Return the sectors of one wheel that labels fall into.

        Parameters
        ----------
        labels : collection of str
            In lower case; those on no sector are dropped.
        wheel : int
            From 0 to 4.

        Returns
        -------
        frozenset of str
            Names of sectors.
        """
        known = self._known[wheel]
        for label in labels:
            if label not in known:
                known[label] = self._sector(label, wheel)
        return frozenset(known[label] for label in labels) - {None}

    def _sector(self, label: str, wheel: int) -> str | None:
        """Return the sector of the first word in the alphabet that the wheel has."""
        sectors, bases = self.sectors[wheel], self.bases.get(label, ())
        words = sorted(word for base in bases for word in self.groups.get(base, ()))
        return next((sectors[word] for word in words if word in sectors), None)


def read_wheels(folder: Path) -> Wheels:
    """Read wheels, synonyms and forms; the pickled mapping beside them is not used.

    Parameters
    ----------
    folder : Path
        With ``format.csv``, ``synonym.xlsx`` and ``wheel1.xlsx`` to ``wheel5.xlsx``.

    Returns
    -------
    Wheels
        All five.

    Raises
    ------
    DataError
        If a file is missing or lacks a column.
    InputError
        If openpyxl is not installed.
    """
    folder = Path(folder)
    wheels = [f"wheel{number}.xlsx" for number in range(1, N_WHEELS + 1)]
    names = (_FORMS, _SYNONYMS, *wheels)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise mismatch(
            folder, expected=", ".join(names), found=f"no {missing[0]}", remedy=_REMEDY
        )
    sectors = tuple(_sectors(folder / name) for name in wheels)
    known = set().union(*sectors)
    read = Wheels(
        bases=_bases(folder / _FORMS),
        groups=_groups(folder / _SYNONYMS, known),
        sectors=sectors,
        digests={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in names
        },
    )
    if read.counts != OFFICIAL_COUNTS:
        logger.warning(
            "%s: holds %s, and in MER2026 %s; scores differ from the official ones",
            folder,
            _counted(read.counts),
            _counted(OFFICIAL_COUNTS),
        )
    return read


def _counted(counts: Sequence[int]) -> str:
    """Say how many words there are."""
    forms, bases, *words = counts
    return f"{forms} forms of {bases} words, {', '.join(map(str, words))} on the wheels"


def _bases(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the base words of each form; a base word is a form of itself."""
    bases: dict[str, list[str]] = {}
    for _, fields in read_rows(path, columns=("name", "format")):
        base = fields["name"].lower()
        for form in (*parse_openset(fields["format"]), base):
            bases.setdefault(form, []).append(base)
    return {form: tuple(dict.fromkeys(found)) for form, found in bases.items()}


def _groups(path: Path, known: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the words of wheels that each word is a synonym of, itself included."""
    pairs = [(f"word_run{k}", f"synonym_run{k}") for k in range(1, _N_RUNS + 1)]
    groups: dict[str, dict[str, None]] = {}
    columns = [column for pair in pairs for column in pair]
    for number, row in enumerate(_read_sheet(path, columns), start=2):
        for word_column, synonym_column in pairs:
            if not isinstance(row[word_column], str):
                continue
            word = row[word_column].lower().strip()
            if word not in known:
                raise mismatch(
                    f"{path}, row {number}, {word_column}",
                    expected="a word of a wheel",
                    found=repr(word)[:60],
                    remedy=_REMEDY,
                )
            for synonym in (word, *parse_openset(row[synonym_column])):
                groups.setdefault(synonym, {})[word] = None
    return {word: tuple(found) for word, found in groups.items()}


def _sectors(path: Path) -> dict[str, str]:
    """Return the innermost sector of each word; where two rows differ the last wins."""
    tree: dict[str, dict[str, list[str]]] = {}
    current = dict.fromkeys(_LEVELS, "")
    for row in _read_sheet(path, _LEVELS):
        for level in _LEVELS:  # merged cells hold their value in the first row
            if isinstance(row[level], str) and row[level].strip():
                current[level] = row[level].lower().strip()
        inner, middle, outer = (current[level] for level in _LEVELS)
        tree.setdefault(inner, {}).setdefault(middle, []).append(outer)
    sectors: dict[str, str] = {}
    for inner, middles in tree.items():
        sectors[inner] = inner
        for middle, outers in middles.items():
            sectors |= dict.fromkeys((middle, *outers), inner)
    return sectors


def _read_sheet(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read columns of the first sheet of a workbook, by the names in its first row."""
    openpyxl = require_extra("openpyxl", "av", why="to read the emotion wheels")
    try:
        book = openpyxl.load_workbook(path, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
        book.close()
    except Exception as error:  # whatever a damaged archive makes it trip over
        raise mismatch(
            path,
            expected="a workbook",
            found=f"{type(error).__name__}: {error}"[:120],
            remedy=_REMEDY,
        ) from error
    header = [str(cell).strip() for cell in (rows[0] if rows else ())]
    missing = [column for column in columns if column not in header]
    if missing:
        raise mismatch(
            path,
            expected=f"the columns {', '.join(columns)}",
            found=f"none named {missing[0]}",
            remedy=_REMEDY,
        )
    places = {column: header.index(column) for column in columns}
    found = [{c: row[place] for c, place in places.items()} for row in rows[1:]]
    return [row for row in found if any(value is not None for value in row.values())]
