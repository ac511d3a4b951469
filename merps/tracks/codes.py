"""Labels of the tracks as numbers for a net, and outputs of a net as answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int

from merps.errors import InputError
from merps.tracks.metrics import ew_of_overlaps, overlaps
from merps.tracks.tables import EMOTIONS
from merps.tracks.wheels import Wheels

_THRESHOLDS = tuple(k / 20 for k in range(1, 20))
_SMALLEST = 1e-6


class OutOfFold(NamedTuple):
    """What nets say of the rows that they were not trained on.

    Parameters
    ----------
    outputs : ndarray of float64, shape (row, output)
        Logits or vectors, in the order of the rows.
    folds : ndarray of int64, shape (row,)
        In which fold a row was tested; -1 for rows without a label to learn from.
    answers : list
        Labels as the track wants them; thresholds are those of the other folds.
    """

    outputs: Float64[np.ndarray, "row output"]
    folds: Int[np.ndarray, " row"]
    answers: list[Any]


@dataclass(frozen=True)
class Code:
    """What the outputs of a net stand for.

    Parameters
    ----------
    task : str
        ``cross``, ``fg`` or ``prefer``.
    labels : tuple of str
        Labels that can be answered.
    vectors : ndarray of float32, shape (label, axis)
        Unit vectors of labels where outputs are vectors; no axis otherwise.
    """

    task: str
    labels: tuple[str, ...]
    vectors: Float32[np.ndarray, "label axis"] = field(repr=False)

    @property
    def n_outputs(self) -> int:
        """How many numbers a net gives for a row."""
        if self.task == "prefer":
            return 1
        return self.vectors.shape[1] or len(self.labels)

    @property
    def loss(self) -> str:
        """Name of the loss that fits."""
        if self.vectors.shape[1]:
            return "cosine"
        return "cross_entropy" if self.task == "cross" else "binary"

    def decide(
        self,
        outputs: Float64[np.ndarray, "row output"],
        *,
        threshold: float,
        most_answers: int,
    ) -> list[Any]:
        """Turn outputs into answers.

        Parameters
        ----------
        outputs : ndarray of float64, shape (row, output)
            Logits or vectors.
        threshold : float
            For MER-FG: least probability or cosine of a label.
        most_answers : int
            For MER-FG: most labels in an answer; there is always one.

        Returns
        -------
        list
            A class; a tuple of labels, best first; or ``a1``, ``a2`` or ``same``.
        """
        if self.task == "cross":
            return [self.labels[k] for k in outputs.argmax(axis=1)]
        if self.task == "prefer":
            signs = np.sign(outputs[:, 0]).astype(int)
            return [("same", "a1", "a2")[sign] for sign in signs]
        if self.vectors.shape[1]:
            length = np.linalg.norm(outputs, axis=1, keepdims=True)
            scores = outputs @ self.vectors.T / np.maximum(length, _SMALLEST)
        else:
            scores = 1 / (1 + np.exp(-outputs))
        answers = []
        for row in scores:
            best = np.argsort(-row, kind="stable")[:most_answers]
            kept = [k for k in best if row[k] >= threshold] or best[:1]
            answers.append(tuple(self.labels[k] for k in kept))
        return answers

    def decide_apart(
        self,
        outputs: Float64[np.ndarray, "row output"],
        number: Int[np.ndarray, " row"],
        gold: Sequence[Sequence[str]],
        *,
        wheels: Wheels,
        most_answers: int,
    ) -> tuple[list[Any], float]:
        """Answer each fold of MER-FG with the threshold that is best on the others.

        Parameters
        ----------
        outputs : ndarray of float64, shape (row, output)
            Of rows that the net was not trained on.
        number : ndarray of int64, shape (row,)
            Fold of each row.
        gold : sequence of sequence of str
            Labels of each row.
        wheels : Wheels
            Of the EW score, by which a threshold is chosen.
        most_answers : int
            As for `decide`.

        Returns
        -------
        tuple of (list, float)
            Answers, and the threshold that is best on all rows.
        """
        choices = [
            self.decide(outputs, threshold=threshold, most_answers=most_answers)
            for threshold in _THRESHOLDS
        ]

        found = [overlaps(gold, answers, wheels) for answers in choices]

        def best(rows: Int[np.ndarray, " _"]) -> int:
            return int(np.argmax([ew_of_overlaps(each[:, rows]) for each in found]))

        answers = list(choices[0])
        for k in np.unique(number):
            chosen = choices[best(np.flatnonzero(number != k))]
            for row in np.flatnonzero(number == k):
                answers[row] = chosen[row]
        return answers, _THRESHOLDS[best(np.arange(len(gold)))]


def encode_classes(
    labels: Sequence[str],
) -> tuple[Code, Float64[np.ndarray, "row label"], Float64[np.ndarray, " label"]]:
    """Encode the classes of MER-Cross.

    Parameters
    ----------
    labels : sequence of str
        One class a row.

    Returns
    -------
    tuple of (Code, ndarray of shape (row, label), ndarray of shape (label,))
        The code, a one at the class of each row, and what is said without features.
    """
    targets = _marked([(label,) for label in labels], EMOTIONS)
    prior = np.log(np.clip(targets.mean(axis=0), _SMALLEST, 1))
    return Code("cross", EMOTIONS, _no_vectors(EMOTIONS)), targets, prior


def encode_preferences(
    labels: Sequence[str], *, ties: str
) -> tuple[Code, Float64[np.ndarray, "row 1"], Float64[np.ndarray, " 1"]]:
    """Encode the preferences of MER-Prefer.

    Parameters
    ----------
    labels : sequence of str
        ``a1``, ``a2`` or ``same``.
    ties : str
        ``drop`` makes NaN of them, ``half`` 0.5.

    Returns
    -------
    tuple of (Code, ndarray of shape (row, 1), ndarray of shape (1,))
        The code, one for a1 and zero for a2, and what is said without features.
    """
    values = {"a1": 1.0, "a2": 0.0, "same": 0.5 if ties == "half" else np.nan}
    code = Code("prefer", ("a1", "a2"), _no_vectors(("a1", "a2")))
    return code, np.array([[values[label]] for label in labels]), np.zeros(1)


def encode_opensets(
    labels: Sequence[Sequence[str]],
    *,
    min_count: int,
    most_labels: int,
    vectors: Mapping[str, Float32[np.ndarray, " axis"]] | None,
) -> tuple[Code, Float64[np.ndarray, "row output"], Float64[np.ndarray, " output"]]:
    """Encode the label sets of MER-FG.

    Parameters
    ----------
    labels : sequence of sequence of str
        Labels of each row.
    min_count, most_labels : int
        How often a label must occur, and how many there are at most.
    vectors : mapping of str to ndarray of float32, shape (axis,), optional
        Of each label; then a row's target is the mean of the vectors of its labels.

    Returns
    -------
    tuple of (Code, ndarray of shape (row, output), ndarray of shape (output,))
        The code, targets (NaN where a row has no frequent label and vectors are
        wanted), and what is said without features.

    Raises
    ------
    InputError
        If no label occurs often enough.
    """
    counts = Counter(label for found in labels for label in set(found))
    kept = [label for label, n in counts.items() if n >= min_count]
    kept = sorted(kept, key=lambda label: (-counts[label], label))[:most_labels]
    if not kept:
        raise InputError(f"no label occurs {min_count} times; lower head.min_count")
    marked = _marked(labels, kept)
    if vectors is None:
        share = np.clip(marked.mean(axis=0), _SMALLEST, 1 - _SMALLEST)
        code = Code("fg", tuple(kept), _no_vectors(kept))
        return code, marked, np.log(share / (1 - share))
    own = np.stack([vectors[label] for label in kept]).astype(np.float32)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), _SMALLEST)
    with np.errstate(invalid="ignore"):  # 0 / 0: no frequent label in the row
        targets = marked @ own.astype(np.float64) / marked.sum(axis=1, keepdims=True)
    return Code("fg", tuple(kept), own), targets, np.nanmean(targets, axis=0)


def _marked(
    labels: Sequence[Sequence[str]], known: Sequence[str]
) -> Float64[np.ndarray, "row label"]:
    """Mark the known labels of each row by one."""
    place = {label: k for k, label in enumerate(known)}
    marked = np.zeros((len(labels), len(known)))
    for row, found in enumerate(labels):
        marked[row, [place[label] for label in found if label in place]] = 1
    return marked


def _no_vectors(labels: Sequence[str]) -> Float32[np.ndarray, "label axis"]:
    """Return vectors without any axis."""
    return np.empty((len(labels), 0), np.float32)
