"""One row per labeled second: who, which stimulus, when, measured and rated how."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from merps.errors import InputError
from merps.shapes import Features, Rows, SampleTargets

# Two and three digits are those of the challenge; recordings of a lab may need more.
_ID = re.compile(
    r"(?P<person>[A-Za-z0-9_-]{1,64})_(?P<stimulus>V(?:[0-9]{2}|[1-9][0-9]{2}))"
    r"_T(?P<second>[0-9]{3}|[1-9][0-9]{3,5})"
)


@runtime_checkable
class Gathers(Protocol):
    """What holds an array for each of many rows, and hands out those asked for."""

    def gather(self, rows: Rows) -> Float[np.ndarray, "row ..."]:
        """Return the arrays of some rows, in the order given.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Row numbers.

        Returns
        -------
        ndarray of float, shape (row, ...)
            One array a row.
        """
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """Arrays of samples that are too large for columns, such as windows of a signal.

    Parameters
    ----------
    source : Gathers
        Where the arrays are; shared by all samples that were taken from one table.
    rows : ndarray of int64, shape (sample,)
        Which row of `source` belongs to each sample; -1 where there is none.
    """

    source: Gathers = field(repr=False)
    rows: Int[np.ndarray, " sample"] = field(repr=False)


@dataclass(frozen=True)
class Samples:
    """Seconds of many people and stimuli, with their features and targets.

    Parameters
    ----------
    people, stimuli : ndarray of str, shape (sample,)
        Names such as ``test_1`` and ``V01``.
    seconds : ndarray of int64, shape (sample,)
        Second t covers [t, t + 1) after stimulus onset.
    features : ndarray, shape (sample, feature)
        Numbers taken from the signals; NaN means missing; may have no columns.
    feature_names : tuple of str
        One name per column.
    targets : ndarray of float64, shape (sample, 2), optional
        Valence and arousal on the scale 1..255; absent for people to predict.
    blocks : mapping of str to Block
        Arrays by what they are, such as ``eeg_windows``; one row for each sample.
    taken : tuple of str
        What features took from other recordings of the same person because there was
        no rest, one sentence each.

    Raises
    ------
    InputError
        If the lengths disagree.
    """

    people: np.ndarray
    stimuli: np.ndarray
    seconds: Int[np.ndarray, " sample"]
    features: Features = field(repr=False)
    feature_names: tuple[str, ...] = field(repr=False)
    targets: SampleTargets | None = field(default=None, repr=False)
    blocks: Mapping[str, Block] = field(default_factory=dict)
    taken: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        lengths = {len(self.people), len(self.stimuli), len(self.seconds)}
        lengths |= {len(self.features), *(len(b.rows) for b in self.blocks.values())}
        if self.targets is not None:
            lengths.add(len(self.targets))
        if len(lengths) != 1:
            raise InputError(f"columns of samples differ in length: {sorted(lengths)}")
        if self.features.shape[1] != len(self.feature_names):
            raise InputError(
                f"{len(self.feature_names)} feature names for "
                f"{self.features.shape[1]} feature columns"
            )

    def __len__(self) -> int:
        return len(self.people)

    def take(self, rows: Rows) -> "Samples":
        """Return some rows, in the order given.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        Samples
            A new table.
        """
        return replace(
            self,
            people=self.people[rows],
            stimuli=self.stimuli[rows],
            seconds=self.seconds[rows],
            features=self.features[rows],
            targets=None if self.targets is None else self.targets[rows],
            blocks={
                name: replace(block, rows=block.rows[rows])
                for name, block in self.blocks.items()
            },
        )

    def with_targets(self, targets: SampleTargets) -> "Samples":
        """Return the same rows with other targets.

        Parameters
        ----------
        targets : ndarray of float64, shape (sample, 2)
            Valence and arousal, or what is left of them.

        Returns
        -------
        Samples
            A new table.
        """
        return replace(self, targets=targets)

    def require_block(self, name: str) -> Block:
        """Return the arrays of one name, or say which there are.

        Parameters
        ----------
        name : str
            Such as ``eeg_windows``.

        Returns
        -------
        Block
            One row for each sample.

        Raises
        ------
        InputError
            If these samples have none of that name.
        """
        if name not in self.blocks:
            known = ", ".join(self.blocks) or "none"
            raise InputError(f"these samples have no {name}, only {known}")
        return self.blocks[name]

    def require_targets(self) -> SampleTargets:
        """Return the targets, or say that there are none.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal.

        Raises
        ------
        InputError
            If the table was made without labels.
        """
        if self.targets is None:
            raise InputError("these samples have no targets to fit or score on")
        return self.targets

    @property
    def trials(self) -> Int[np.ndarray, " sample"]:
        """Number of the trial (person and stimulus) that each row belongs to."""
        names = np.char.add(np.char.add(self.people, "/"), self.stimuli)
        return np.unique(names, return_inverse=True)[1]

    @property
    def ids(self) -> list[str]:
        """Sample ids of the challenge, such as ``predict1_V01_T000``."""
        return [
            format_sample_id(str(p), str(v), int(t))
            for p, v, t in zip(self.people, self.stimuli, self.seconds, strict=True)
        ]


def samples_of_ids(ids: Sequence[str]) -> Samples:
    """Return one row per sample id, without features and targets.

    Parameters
    ----------
    ids : sequence of str
        Such as ``predict1_V01_T000``.

    Returns
    -------
    Samples
        In the order of the ids.

    Raises
    ------
    InputError
        If an id has another form.
    """
    parts = [parse_sample_id(text) for text in ids]
    return Samples(
        people=np.array([person for person, _, _ in parts], dtype=str),
        stimuli=np.array([stimulus for _, stimulus, _ in parts], dtype=str),
        seconds=np.array([second for _, _, second in parts], dtype=np.int64),
        features=np.empty((len(parts), 0), np.float32),
        feature_names=(),
    )


def format_sample_id(person: str, stimulus: str, second: int) -> str:
    """Write the challenge's id of one second.

    Parameters
    ----------
    person, stimulus : str
        Names such as ``predict1`` and ``V01``.
    second : int
        Seconds after onset.

    Returns
    -------
    str
        Such as ``predict1_V01_T000``.
    """
    return f"{person}_{stimulus}_T{second:03d}"


def parse_sample_id(text: str) -> tuple[str, str, int]:
    """Split the challenge's id of one second.

    Parameters
    ----------
    text : str
        Such as ``predict1_V01_T000``.

    Returns
    -------
    tuple of (str, str, int)
        Person, stimulus and second.

    Raises
    ------
    InputError
        If the text has another form.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise InputError(
            f"sample id {text[:80]!r} is not of the form "
            "<person>_V<2-digit video>_T<3-digit second>, such as predict1_V01_T000"
        )
    return match["person"], match["stimulus"], int(match["second"])


def natural_order(name: str) -> tuple:
    """Return a sorting key that puts test_2 before test_10.

    Parameters
    ----------
    name : str
        A name with numbers in it.

    Returns
    -------
    tuple
        The key.
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name
