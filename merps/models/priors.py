"""Predictions from labels alone: what any model of the signals has to beat."""

import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.rows import encode, labeled
from merps.samples import Samples
from merps.shapes import SampleTargets


class ConstantPrior(BaseEstimator):
    """Predict the training median of each dimension.

    Attributes
    ----------
    median_ : ndarray of float64, shape (2,)
        Valence and arousal.
    """

    contains: ClassVar[str] = "the medians of all training labels"

    median_: Float64[np.ndarray, "2"]

    def fit(self, samples: Samples) -> "ConstantPrior":
        """Learn from labels; rows with a missing label are passed over.

        Parameters
        ----------
        samples : Samples
            Training rows with targets.

        Returns
        -------
        ConstantPrior
            This estimator.

        Raises
        ------
        InputError
            If no row has labels.
        """
        self.median_ = np.median(labeled(samples).require_targets(), axis=0)
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row.

        Parameters
        ----------
        samples : Samples
            Rows to predict; only their number counts.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.
        """
        check_is_fitted(self)
        return np.tile(self.median_, (len(samples), 1))

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other; here none can."""


class VideoPrior(BaseEstimator):
    """Predict the training median of the same stimulus.

    A stimulus that was not trained on gets the median of all training rows.

    Attributes
    ----------
    stimuli_ : tuple of str
        Stimuli of the training rows, ascending.
    medians_ : ndarray of float64, shape (stimulus, 2)
        Their medians.
    median_ : ndarray of float64, shape (2,)
        Median of all training rows.
    """

    contains: ClassVar[str] = "the label medians of each training stimulus"

    stimuli_: tuple[str, ...]
    medians_: Float64[np.ndarray, "stimulus 2"]
    median_: Float64[np.ndarray, "2"]

    def fit(self, samples: Samples) -> "VideoPrior":
        """Learn from labels; rows with a missing label are passed over.

        Parameters
        ----------
        samples : Samples
            Training rows with targets.

        Returns
        -------
        VideoPrior
            This estimator.

        Raises
        ------
        InputError
            If no row has labels.
        """
        samples = labeled(samples)
        targets = samples.require_targets()
        self.stimuli_, codes = encode(samples.stimuli)
        self.medians_ = _medians_of_cells(targets, codes, len(self.stimuli_))
        self.median_ = np.median(targets, axis=0)
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its stimulus.

        Parameters
        ----------
        samples : Samples
            Rows to predict.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.
        """
        check_is_fitted(self)
        table = np.vstack([self.medians_, self.median_])
        return table[_look_up(samples.stimuli, self.stimuli_)]

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If names and medians differ in number or the names are not ascending.
        """
        _require_ascending(self.stimuli_)
        if len(self.stimuli_) != len(self.medians_):
            raise InputError("stimuli_ and medians_ differ in length")


class VideoTimePrior(BaseEstimator):
    """Predict the training median of the same second of the same stimulus.

    The medians over people are smoothed by a centered moving average inside the
    stimulus, over fewer seconds at its ends. Seconds beyond the last one trained on
    take that one's value; a stimulus that was not trained on gets the median of all
    training rows.

    Parameters
    ----------
    smoothing_s : int
        Width of the moving average in seconds; odd, 1 does nothing.
    shrunk : bool
        Whether the courses are drawn towards the median of all training rows, the more
        the fewer people they are from. That lessens the error by some hundredths with
        20 people and by more with few, without any signal.

    Attributes
    ----------
    stimuli_ : tuple of str
        Stimuli of the training rows, ascending.
    starts_ : ndarray of int64, shape (stimulus + 1,)
        Where in `courses_` each stimulus begins, and the end.
    courses_ : ndarray of float64, shape (second, 2)
        Smoothed medians of one stimulus after the other.
    median_ : ndarray of float64, shape (2,)
        Median of all training rows.
    shrinkage_ : ndarray of float64, shape (2,)
        Share of the way to `median_` that the courses are drawn, from 0 to 1.

    Notes
    -----
    The shrinkage is the share of the variance of courses that is due to the choice of
    people (empirical Bayes with one mean and equal variances; Efron and Morris, 1973,
    J. Am. Stat. Assoc. 68, 117-130): the variance of the median of *n* people, close
    to ``pi / 2 / (n - 1 + pi / 2)`` of the variance between people within a second,
    over the variance of the medians.
    """

    contains: ClassVar[str] = (
        "per-second label medians derived from the training labels"
    )

    stimuli_: tuple[str, ...]
    starts_: Int[np.ndarray, " edge"]
    courses_: Float64[np.ndarray, "second 2"]
    median_: Float64[np.ndarray, "2"]
    shrinkage_: Float64[np.ndarray, "2"]

    def __init__(self, smoothing_s=7, shrunk=False):
        self.smoothing_s = smoothing_s
        self.shrunk = shrunk

    def fit(self, samples: Samples) -> "VideoTimePrior":
        """Learn from labels; rows with a missing label are passed over.

        Parameters
        ----------
        samples : Samples
            Training rows with targets.

        Returns
        -------
        VideoTimePrior
            This estimator.

        Raises
        ------
        InputError
            If no row has labels, a second is negative, or `smoothing_s` is not odd.
        """
        if self.smoothing_s < 1 or self.smoothing_s % 2 == 0:
            raise InputError(
                f"smoothing_s={self.smoothing_s} must be odd and positive, so that "
                "the average is centered; 7 is the default"
            )
        samples = labeled(samples)
        targets, seconds = samples.require_targets(), samples.seconds
        if seconds.min() < 0:
            raise InputError(f"second {seconds.min()} lies before the stimulus onset")
        self.stimuli_, codes = encode(samples.stimuli)
        last = np.zeros(len(self.stimuli_), dtype=np.int64)
        np.maximum.at(last, codes, seconds)
        self.starts_ = np.concatenate([[0], np.cumsum(last + 1)])
        cells = self.starts_[codes] + seconds
        medians = _medians_of_cells(targets, cells, int(self.starts_[-1]))
        self.shrinkage_ = (
            _share_of_chance(targets, cells, medians) if self.shrunk else np.zeros(2)
        )
        medians = _fill_between(medians, self.starts_)
        courses = _moving_average(medians, self.starts_, self.smoothing_s // 2)
        self.median_ = np.median(targets, axis=0)
        self.courses_ = courses + self.shrinkage_ * (self.median_ - courses)
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its stimulus and second.

        Parameters
        ----------
        samples : Samples
            Rows to predict.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.
        """
        check_is_fitted(self)
        codes = _look_up(samples.stimuli, self.stimuli_)
        known = codes < len(self.stimuli_)
        codes = codes[known]
        cells = self.starts_[codes] + np.maximum(samples.seconds[known], 0)
        predicted = np.tile(self.median_, (len(samples), 1))
        predicted[known] = self.courses_[np.minimum(cells, self.starts_[codes + 1] - 1)]
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If the names are not ascending or the starts do not divide the courses.
        """
        _require_ascending(self.stimuli_)
        if (
            len(self.starts_) != len(self.stimuli_) + 1
            or self.starts_[0] != 0
            or self.starts_[-1] != len(self.courses_)
            or (np.diff(self.starts_) < 1).any()
        ):
            raise InputError("starts_ does not divide courses_ among stimuli_")
        if not ((self.shrinkage_ >= 0) & (self.shrinkage_ <= 1)).all():
            raise InputError(f"shrinkage_={self.shrinkage_} is not between 0 and 1")


def _look_up(names: np.ndarray, known: tuple[str, ...]) -> Int[np.ndarray, " sample"]:
    """Find names in an ascending tuple; a name not in it gets the tuple's length."""
    distinct, codes = encode(names)
    place_of = {name: place for place, name in enumerate(known)}
    places = np.array([place_of.get(name, len(known)) for name in distinct], dtype=int)
    return places[codes]


def _medians_of_cells(
    values: SampleTargets, cells: Int[np.ndarray, " sample"], n_cells: int
) -> Float64[np.ndarray, "cell 2"]:
    """Take the median of the rows of each cell; NaN where a cell has no row."""
    order = np.argsort(cells, kind="stable")
    counts = np.bincount(cells, minlength=n_cells)
    within = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n_cells, counts.max(), 2), np.inf)  # inf sorts behind all values
    table[cells[order], within] = values[order]
    table.sort(axis=1)
    middle = np.arange(n_cells)
    medians = (table[middle, (counts - 1) // 2] + table[middle, counts // 2]) / 2
    medians[counts == 0] = np.nan
    return medians


def _share_of_chance(
    values: SampleTargets,
    cells: Int[np.ndarray, " sample"],
    medians: Float64[np.ndarray, "cell 2"],
) -> Float64[np.ndarray, "2"]:
    """Return how much of the variance of medians other people would not show again."""
    counts = np.bincount(cells, minlength=len(medians))
    rated = counts > 0
    means = (
        np.stack(
            [np.bincount(cells, v, minlength=len(medians)) for v in values.T], axis=1
        )
        / np.maximum(counts, 1)[:, None]
    )
    n_free = len(values) - rated.sum()
    if n_free == 0:
        return np.zeros(2)  # one rating a second: nothing tells how people differ
    between_people = ((values - means[cells]) ** 2).sum(axis=0) / n_free
    of_medians = np.mean(np.pi / 2 / (counts[rated] - 1 + np.pi / 2)) * between_people
    spread = medians[rated].var(axis=0)
    return np.clip(of_medians / np.maximum(spread, np.finfo(float).tiny), 0, 1)


def _fill_between(
    courses: Float64[np.ndarray, "second 2"], starts: Int[np.ndarray, " edge"]
) -> Float64[np.ndarray, "second 2"]:
    """Interpolate the seconds of a stimulus that nobody rated."""
    if not np.isnan(courses).any():
        return courses
    filled = courses.copy()
    for start, end in itertools.pairwise(starts):
        known = np.flatnonzero(np.isfinite(courses[start:end, 0]))
        for column in range(2):
            filled[start:end, column] = np.interp(
                np.arange(end - start), known, courses[start + known, column]
            )
    return filled


def _moving_average(
    courses: Float64[np.ndarray, "second 2"],
    starts: Int[np.ndarray, " edge"],
    radius: int,
) -> Float64[np.ndarray, "second 2"]:
    """Average over `radius` seconds to both sides, never across stimuli."""
    lengths = np.diff(starts)
    first, end = np.repeat(starts[:-1], lengths), np.repeat(starts[1:], lengths)
    here = np.arange(len(courses))
    total, count = np.zeros_like(courses), np.zeros((len(courses), 1))
    for offset in range(-radius, radius + 1):
        there = here + offset
        inside = (there >= first) & (there < end)
        total[inside] += courses[there[inside]]
        count += inside[:, None]
    return total / count


def _require_ascending(names: tuple[str, ...]) -> None:
    """Refuse names that are not distinct and in order."""
    if sorted(set(names)) != list(names):
        raise InputError("stimuli_ is not ascending")
