"""Features of a person relative to a rest, or to all of that person's recordings."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from merps.features.reference import standardize_within_person, subtract_rest
from merps.shapes import Features

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureBlock:
    """Features of one modality in one trial, and of the rest before it.

    Parameters
    ----------
    names : tuple of str
        The features.
    values : ndarray of float, shape (sample, feature)
        One row a second.
    rest : ndarray of float, shape (rest, feature)
        One row for each window inside the rest; none where there is no rest.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "sample feature"]
    rest: Float[np.ndarray, "rest feature"]


def refer(
    person: str,
    blocks: Sequence[FeatureBlock | None],
    names: tuple[str, ...],
    lengths: Sequence[int],
    reference: str,
) -> Features:
    """Stack the trials of one person and refer them as configured.

    Parameters
    ----------
    person : str
        Whose they are.
    blocks : sequence of FeatureBlock or None
        Of each trial; None where it lacks the modality.
    names : tuple of str
        The features.
    lengths : sequence of int
        Seconds of each trial.
    reference : str
        ``none``, ``trial_rest``, ``person_rest`` or ``person``.

    Returns
    -------
    ndarray of float32, shape (sample, feature)
        NaN where a signal is missing; what stands in for a missing rest is told by
        `stand_ins`.
    """
    values, rests = _values_and_rests(blocks, len(names), lengths)
    stacked, everywhere = np.concatenate(values), np.concatenate(rests)
    if reference == "none":
        return stacked
    if reference == "person":
        return standardize_within_person(stacked, np.zeros(len(stacked), int))
    if not len(everywhere):
        logger.warning(
            "%s: no rest as long as a window was recorded, %s features are referred "
            "to their mean over all recordings of the person (transductive)",
            *(person, names[0].split("/")[0]),
        )
        return subtract_rest(stacked, stacked)
    if reference == "person_rest":
        return subtract_rest(stacked, everywhere)
    referred = [
        subtract_rest(own, rest if len(rest) else everywhere)
        for own, rest in zip(values, rests, strict=True)
    ]
    return np.concatenate(referred)


def refer_to_past(
    person: str,
    blocks: Sequence[FeatureBlock | None],
    names: tuple[str, ...],
    lengths: Sequence[int],
    reference: str,
) -> Features:
    """Stack the trials of one person and refer them to what came right before them.

    Parameters
    ----------
    person : str
        Whose they are.
    blocks : sequence of FeatureBlock or None
        Of each trial; None where it lacks the modality.
    names : tuple of str
        The features.
    lengths : sequence of int
        Seconds of each trial.
    reference : str
        ``none`` or ``trial_rest``.

    Returns
    -------
    ndarray of float32, shape (sample, feature)
        NaN where a signal is missing, and in trials that need a rest and have none.
    """
    values, rests = _values_and_rests(blocks, len(names), lengths)
    if reference == "none":
        return np.concatenate(values)
    without = sum(
        block is not None and not len(rest)
        for block, rest in zip(blocks, rests, strict=True)
    )
    if without:
        logger.warning(
            "%s: %d trials have no rest as long as a window before them, and so no %s "
            "features; another reference would look ahead",
            *(person, without, names[0].split("/")[0]),
        )
    return np.concatenate(
        [
            subtract_rest(own, rest) if len(rest) else np.full_like(own, np.nan)
            for own, rest in zip(values, rests, strict=True)
        ]
    )


def _values_and_rests(
    blocks: Sequence[FeatureBlock | None], n_features: int, lengths: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the features of each trial and of its rest, where there are any."""
    values = [
        np.full((n, n_features), np.nan, np.float32) if block is None else block.values
        for block, n in zip(blocks, lengths, strict=True)
    ]
    rests = [np.empty((0, n_features)) if b is None else b.rest for b in blocks]
    return values, rests


def stand_ins(
    modality: str, blocks: Sequence[FeatureBlock | None], reference: str
) -> Iterator[str]:
    """Say what `refer` takes for rests that a reference needs and trials do not have.

    Parameters
    ----------
    modality : str
        ``eeg`` or ``fnirs``.
    blocks : sequence of FeatureBlock or None
        Of each trial of one person.
    reference : str
        As for `refer`.

    Yields
    ------
    str
        One sentence at most.
    """
    there = [len(block.rest) > 0 for block in blocks if block is not None]
    if reference.endswith("rest") and not any(there):
        yield (
            f"{modality} features of people without any rest are relative to the mean "
            "over all their recordings"
        )
    elif reference == "trial_rest" and not all(there):
        yield (
            f"{modality} features of trials without a rest are relative to all rests "
            "of the same person"
        )
