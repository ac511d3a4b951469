"""The tables of the tracks: clips, labels and subtitles, read strictly."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from merps.errors import mismatch
from merps.predictions import name_some, raise_together, read_rows
from merps.tracks.options import DataConfig, Track

logger = logging.getLogger(__name__)

#: Classes of MER-Cross, in the order of the challenge.
EMOTIONS = ("neutral", "angry", "happy", "sad", "worried", "surprise")
#: Column of the labels of each track.
LABEL_COLUMNS: Mapping[Track, str] = {
    "cross": "discrete",
    "fg": "openset",
    "prefer": "preference",
}
_PREFERENCES = {"a1": "a1", "a2": "a2", "same": "same", "tie": "same"}


@dataclass(frozen=True)
class ClipTable:
    """Rows of a table of a track; the row number is the only key.

    Parameters
    ----------
    path : Path
        The file that the rows are from, or the first of several.
    names : tuple of str
        Name of the clip of each row; finds its media and is given to no model.
    labels : tuple, optional
        A word of `EMOTIONS`, a tuple of words, or ``a1``, ``a2`` or ``same``.
    pairs : tuple of (str, str)
        The two texts to compare; empty strings where the track has none.
    subtitles : tuple of str
        What is said in the clip; empty where that is not known.
    groups : tuple of str
        What must not be in both parts of a fold: the clip, or who is in it.
    """

    path: Path
    names: tuple[str, ...]
    labels: tuple[Any, ...] | None = field(default=None, repr=False)
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    subtitles: tuple[str, ...] = field(default=(), repr=False)
    groups: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int]) -> "ClipTable":
        """Return some rows, in the order given.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Returns
        -------
        ClipTable
            A new table.
        """
        columns = ("names", "labels", "pairs", "subtitles", "groups")
        taken = {
            name: tuple(values[row] for row in rows)
            for name in columns
            if (values := getattr(self, name))
        }
        return replace(self, **taken)


def parse_openset(text: Any) -> tuple[str, ...]:
    """Split a list of labels by the official rule.

    Parameters
    ----------
    text : object
        A list, or text such as ``[happy, calm]`` or ``happy,calm``; missing is empty.

    Returns
    -------
    tuple of str
        Labels in lower case, without spaces around them.
    """
    if isinstance(text, list | tuple):
        parts = [str(part) for part in text]
    elif not isinstance(text, str):
        return ()
    else:
        text = text.strip()
        text = text[1:] if text.startswith("[") else text
        text = text[:-1] if text.endswith("]") else text
        for mark in ("'", '"'):
            text = text.replace(mark, ",")
        parts = [part for part in map(str.strip, text.split(",")) if part]
    return tuple(part.lower().strip() for part in parts)


def read_table(
    path: Path,
    *,
    track: Track,
    labeled: bool,
    options: DataConfig,
    column: str | None = None,
) -> ClipTable:
    """Read one table of a track; everything that is wrong comes at once.

    Parameters
    ----------
    path : Path
        A CSV file.
    track : str
        ``cross``, ``fg`` or ``prefer``.
    labeled : bool
        Whether labels must be there.
    options : DataConfig
        How labels are taken.
    column : str, optional
        Name of the column of labels, if it is not that of the track.

    Returns
    -------
    ClipTable
        In the order of the file.

    Raises
    ------
    DataError
        If a column is missing, a label is none of the track, or a name is repeated
        where it must not be.
    """
    column = column or LABEL_COLUMNS[track]
    texts = ("a1", "a2") if track == "prefer" else ()
    columns = ("name", *texts, *((column,) if labeled else ()))
    rows = read_rows(path, columns=columns, strip=False)
    problems = _name_problems(rows, unique=track != "prefer")
    labels: list[Any] = []
    for line, fields in rows if labeled else ():
        label, problem = _label(fields[column], track, options)
        labels.append(label)
        if problem:
            problems.append(f"line {line}, {column} {fields[column][:40]!r}: {problem}")
    raise_together(path, problems)
    names = tuple(fields["name"].strip() for _, fields in rows)
    pairs = tuple((f["a1"], f["a2"]) for _, f in rows) if texts else ()
    again = [k for k, n in Counter(zip(names, pairs, strict=False)).items() if n > 1]
    if again:
        some = name_some(name for name, _ in again)
        logger.warning("%s: %d rows come more than once: %s", path, len(again), some)
    return ClipTable(
        path=Path(path),
        names=names,
        labels=tuple(labels) if labeled else None,
        pairs=pairs,
        subtitles=("",) * len(names),
        groups=names,
    )


def read_training(track: Track, options: DataConfig) -> ClipTable:
    """Read the training tables of a track and join them.

    A clip that an earlier table of MER-Cross or MER-FG has is left out of later ones.
    Rows without labels are dropped, or labeled neutral if the options say so.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    options : DataConfig
        Where the tables are, and how labels are taken.

    Returns
    -------
    ClipTable
        With subtitles and groups where the options name their files.

    Raises
    ------
    DataError
        If a table is wrong, or a text to compare is empty.
    """
    tables = [
        read_table(Path(path), track=track, labeled=True, options=options)
        for path in options.train
    ]
    if not tables:
        raise mismatch(
            "data.train",
            expected="at least one table",
            found="none",
            remedy="name it in the configuration",
        )
    kept, known = [], set()
    for table in tables:
        fresh = [
            row
            for row, name in enumerate(table.names)
            if track == "prefer" or name not in known
        ]
        known |= set(table.names)
        if len(fresh) < len(table):
            n_known = len(table) - len(fresh)
            logger.warning("%s: %d clips are known already", table.path, n_known)
        kept.append(table.take(fresh))
    joined = replace(
        kept[0],
        names=sum((t.names for t in kept), ()),
        labels=sum((t.labels for t in kept), ()),
        pairs=sum((t.pairs for t in kept), ()),
        subtitles=sum((t.subtitles for t in kept), ()),
        groups=sum((t.groups for t in kept), ()),
    )
    if track == "prefer":
        empty = rows_lacking_a_text(joined)
        some = name_some(joined.names[row] for row in empty)
        problem = f"{len(empty)} rows have an empty a1 or a2 (clips {some})"
        raise_together(joined.path, [problem] if empty else [])
    if track == "fg":
        full = [row for row, words in enumerate(joined.labels) if words]
        if len(full) < len(joined):
            n_empty = len(joined) - len(full)
            logger.warning("%d rows without labels are not learned from", n_empty)
        joined = joined.take(full)
    joined = _with_subtitles(joined, options)
    if options.groups is None:
        return joined
    who = _lookup(Path(options.groups), "group")
    absent = [name for name in joined.names if name not in who]
    problem = f"{len(absent)} clips have no group: {name_some(absent)}"
    raise_together(options.groups, [problem] if absent else [])
    return replace(joined, groups=tuple(who[name] for name in joined.names))


def rows_lacking_a_text(table: ClipTable) -> list[int]:
    """Return the rows of MER-Prefer of which a1 or a2 is empty."""
    pairs = enumerate(table.pairs)
    return [row for row, pair in pairs if not all(map(str.strip, pair))]


def read_candidates(track: Track, options: DataConfig) -> ClipTable:
    """Read the clips that are to be answered.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    options : DataConfig
        Where the table is.

    Returns
    -------
    ClipTable
        In the order of the file, with subtitles.

    Raises
    ------
    DataError
        If there is no table, or it is wrong.
    """
    if options.candidates is None:
        raise mismatch(
            "data.candidates",
            expected="a table of clips to answer",
            found="none",
            remedy="name it in the configuration",
        )
    path = Path(options.candidates)
    table = read_table(path, track=track, labeled=False, options=options)
    return _with_subtitles(table, options)


def _with_subtitles(table: ClipTable, options: DataConfig) -> ClipTable:
    """Add what is said, where the options name the file."""
    if options.subtitles is None:
        return table
    said = _lookup(Path(options.subtitles), options.language)
    return replace(table, subtitles=tuple(said.get(name, "") for name in table.names))


def _lookup(path: Path, column: str) -> dict[str, str]:
    """Read one column by the name of the clip."""
    rows = read_rows(path, columns=("name", column))
    raise_together(path, _name_problems(rows, unique=True))
    return {fields["name"]: fields[column] for _, fields in rows}


def _name_problems(rows: list[tuple[int, dict]], *, unique: bool) -> list[str]:
    """Say which names are empty, hold a path, or come twice."""
    problems, seen = [], {}
    for line, fields in rows:
        name = fields["name"].strip()
        if not name or "/" in name or "\\" in name or name.startswith("."):
            problems.append(f"line {line}, name {name[:40]!r}: not the name of a clip")
        elif unique and name in seen:
            problems.append(f"line {line}: clip {name[:40]} is in line {seen[name]}")
        seen.setdefault(name, line)
    return problems


def _label(text: str, track: Track, options: DataConfig) -> tuple[Any, str]:
    """Return a label and what is wrong with it."""
    if track == "fg":
        labels = parse_openset(text)
        if not labels and options.empty_openset == "neutral":
            labels = ("neutral",)
        return labels, ""
    known = EMOTIONS if track == "cross" else tuple(_PREFERENCES)
    word = text.strip().lower() if options.normalise_labels else text
    if word not in known:
        return word, (
            f"expected one of {', '.join(known)}; correct it, or set "
            "data.normalise_labels if only spaces and capitals differ"
        )
    return _PREFERENCES.get(word, word), ""
