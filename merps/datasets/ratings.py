"""Ratings of a lab: from time stamps and any scale to one row a second."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from merps.errors import DataError, mismatch
from merps.readers.columns import parse_table, read_text
from merps.shapes import SampleTargets, Targets

#: The scale that targets are kept on.
LOW, HIGH = 1.0, 255.0
_MISSING = {"", "n/a", "nan", "na"}


@dataclass(frozen=True)
class Ratings:
    """Ratings as they were given.

    Parameters
    ----------
    times_s : ndarray of float64, shape (rating,)
        When, in seconds.
    values : ndarray of float64, shape (rating, 2)
        Valence and arousal on the scale of the file.
    """

    times_s: Float64[np.ndarray, " rating"]
    values: Float64[np.ndarray, "rating 2"]


def read_ratings(
    path: Path,
    *,
    time: str | None = "time",
    valence: str = "valence",
    arousal: str = "arousal",
    rate_hz: float | None = None,
    offset_s: float = 0.0,
    header: Sequence[str] | None = None,
) -> Ratings:
    """Read a table of ratings.

    Rows without a number for both ratings (empty, ``n/a``) are left out.

    Parameters
    ----------
    path : Path
        Text with tabs, semicolons or commas and a header, or gzip of it.
    time, valence, arousal : str
        Names of the columns; capital letters do not matter. Times are in seconds; no
        time column is looked for where `rate_hz` is given.
    rate_hz : float, optional
        Rate of the rows, where they have no times.
    offset_s : float
        Added to the times.
    header : sequence of str, optional
        Names of the columns of a file without a header.

    Returns
    -------
    Ratings
        In the order of the file.

    Raises
    ------
    DataError
        If the file lacks a column or has no ratings, or fields are no numbers.
    """
    text = read_text(path)
    if header is not None:
        text = "\t".join(header) + "\n" + text
    rows = parse_table(path, text)
    names = {name.lower(): name for name in (rows[0] if rows else ())}
    wanted = [valence, arousal] if rate_hz else [time or "time", valence, arousal]
    lacking = [name for name in wanted if name.lower() not in names]
    if lacking:
        raise mismatch(
            path,
            expected=f"columns {', '.join(wanted)} and at least one row",
            found=", ".join(names) or "no rows",
            remedy="write the table so, or name its columns in dataset.targets",
        )
    keys = [names[name.lower()] for name in wanted]
    table, numbers = [], []
    for number, row in enumerate(rows):
        fields = [row[key] for key in keys]
        if any(field.lower() in _MISSING for field in fields[-2:]):
            continue
        try:
            table.append([float(field) for field in fields])
        except ValueError as error:
            raise DataError(f"{path}, row {number + 2}: {error}; correct it") from error
        numbers.append(number)
    values = np.array(table, dtype=np.float64).reshape(len(table), len(wanted))
    if not len(values) or not np.isfinite(values).all():
        raise mismatch(
            path,
            expected="finite ratings",
            found="none" if not len(values) else "infinite ones",
            remedy="write the table again",
        )
    times_s = np.array(numbers) / rate_hz if rate_hz else values[:, 0]
    return Ratings(times_s=times_s + offset_s, values=values[:, -2:])


def per_second(where: object, ratings: Ratings) -> Targets:
    """Average ratings over each second; second t covers [t, t + 1).

    Parameters
    ----------
    where : object
        File and trial, for messages.
    ratings : Ratings
        Times in seconds after onset; earlier ones are left out.

    Returns
    -------
    ndarray of float64, shape (time, 2)
        Means from second 0 to the last one with a rating.

    Raises
    ------
    DataError
        If a second before the last has no rating.
    """
    later = ratings.times_s > -1e-6  # rounding must not lose the first one
    seconds = np.floor(ratings.times_s[later] + 1e-6).astype(int)
    values = ratings.values[later]
    if not len(seconds):
        raise mismatch(
            where,
            expected="ratings after onset",
            found="none",
            remedy="check the times, or give dataset.targets.offset_s",
        )
    count = np.bincount(seconds)
    if (count == 0).any():
        first = int(np.argmax(count == 0))
        raise mismatch(
            where,
            expected="at least one rating in each second",
            found=f"none in second {first} ({int(np.sum(count == 0))} such seconds of "
            f"{len(count)})",
            remedy="write ratings at 1 Hz or faster from onset on, or give "
            "dataset.targets.offset_s if times start elsewhere",
        )
    sums = [np.bincount(seconds, weights=column) for column in values.T]
    return np.stack(sums, axis=1) / count[:, None]


def rescale(
    where: object,
    values: SampleTargets,
    scale: tuple[float, float] | None,
) -> SampleTargets:
    """Bring ratings to the scale 1 to 255.

    Parameters
    ----------
    where : object
        File and trial, for messages.
    values : ndarray of float64, shape (sample, 2)
        Ratings.
    scale : tuple of (float, float), optional
        Lowest and highest rating that the scale allows; they become 1 and 255. None
        for ratings that are on that scale already.

    Returns
    -------
    ndarray of float64, shape (sample, 2)
        Within 1 to 255.

    Raises
    ------
    DataError
        If a rating lies outside the scale.
    """
    low, high = scale or (LOW, HIGH)
    outside = (values < low - 1e-9) | (values > high + 1e-9)
    if outside.any():
        raise mismatch(
            where,
            expected=f"ratings in {low:g} to {high:g}",
            found=f"{values.min():g} to {values.max():g}",
            remedy="state the range of the scale, as dataset.targets.scale in the "
            "configuration",
        )
    if scale is None:
        return values
    return LOW + (values - low) * ((HIGH - LOW) / (high - low))
