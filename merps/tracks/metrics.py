"""The official scores of the tracks, and how sure they are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64

from merps.errors import InputError
from merps.evaluation.uncertainty import Interval, draw_groups, interval_of
from merps.tracks.tables import EMOTIONS
from merps.tracks.wheels import N_WHEELS, Wheels


@dataclass(frozen=True)
class TrackScore:
    """What one set of answers scores.

    Parameters
    ----------
    main : str
        Which of the metrics ranks: ``waf`` or ``ew``.
    metrics : dict of Interval
        By name, with 95 % intervals by bootstrap over groups.
    n : int
        Rows that were scored.
    details : dict
        The confusion matrix, or a row for each wheel, as plain values.
    """

    main: str
    metrics: dict[str, Interval]
    n: int
    details: dict[str, Any] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

        Returns
        -------
        dict
            Metrics by name, their intervals, ``n`` and the details.
        """
        return {
            "main": self.main,
            **{name: found.value for name, found in self.metrics.items()},
            "intervals": {n: [i.low, i.high] for n, i in self.metrics.items()},
            "n": self.n,
            **self.details,
        }


def score_classes(
    gold: Sequence[str],
    predicted: Sequence[str],
    *,
    labels: Sequence[str] = EMOTIONS,
    groups: Sequence[str],
    n_resamples: int,
    seed: int,
) -> TrackScore:
    """Score one label a row: weighted average F1 (WAF) and accuracy.

    Parameters
    ----------
    gold, predicted : sequence of str
        Labels, row by row.
    labels : sequence of str
        All there are, in the order of the confusion matrix.
    groups : sequence of str
        What is drawn together in the bootstrap.
    n_resamples, seed : int
        Replicates, and what decides them.

    Returns
    -------
    TrackScore
        ``waf``, which ranks, and ``accuracy``, both as scikit-learn has them; the
        confusion matrix with gold labels as rows.

    Raises
    ------
    InputError
        If there is no row or a label is unknown.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    place = {label: k for k, label in enumerate(labels)}
    unknown = sorted({*gold, *predicted} - place.keys())
    if unknown or not gold:
        found = f"the label {unknown[0]!r}" if unknown else "no row"
        raise InputError(f"expected labels from {', '.join(labels)}, found {found}")
    y_true, y_pred = ([place[label] for label in side] for side in (gold, predicted))
    kept = np.arange(len(labels))
    cells = np.zeros((len(gold), len(labels), len(labels)))
    cells[np.arange(len(gold)), y_true, y_pred] = 1
    table = _drawn(cells.reshape(len(gold), -1), groups, n_resamples, seed)
    table = table.reshape(-1, len(labels), len(labels))
    values = {
        "waf": float(f1_score(y_true, y_pred, average="weighted", zero_division=0)),
        "accuracy": float(accuracy_score(y_true, y_pred)),
    }
    hit, support = np.einsum("rkk->rk", table), table.sum(axis=2)
    both = support + table.sum(axis=1)
    f1 = np.divide(2 * hit, both, out=np.zeros_like(hit), where=both > 0)
    total = support.sum(axis=1)
    replicates = {
        "waf": (f1 * support).sum(axis=1) / total,
        "accuracy": hit.sum(axis=1) / total,
    }
    return TrackScore(
        main="waf",
        metrics={n: interval_of(values[n], replicates[n]) for n in values},
        n=len(gold),
        details={
            "labels": list(labels),
            "confusion": confusion_matrix(y_true, y_pred, labels=kept).tolist(),
        },
    )


def score_preferences(
    gold: Sequence[str],
    predicted: Sequence[str],
    *,
    groups: Sequence[str],
    n_resamples: int,
    seed: int,
) -> TrackScore:
    """Score preferences: rows whose gold is ``same`` are dropped, and so said it is a1.

    Parameters
    ----------
    gold, predicted : sequence of str
        ``a1``, ``a2`` or ``same``, row by row.
    groups : sequence of str
        What is drawn together in the bootstrap.
    n_resamples, seed : int
        Replicates, and what decides them.

    Returns
    -------
    TrackScore
        As `score_classes`; the number of ties is in the details.

    Raises
    ------
    InputError
        If no row is left or a label is unknown.
    """
    rows = [row for row, label in enumerate(gold) if label != "same"]
    said = ["a1" if predicted[row] == "same" else predicted[row] for row in rows]
    scored = score_classes(
        [gold[row] for row in rows],
        said,
        labels=("a1", "a2"),
        groups=[groups[row] for row in rows],
        n_resamples=n_resamples,
        seed=seed,
    )
    scored.details["ties_in_gold"] = len(gold) - len(rows)
    scored.details["ties_in_answers"] = sum(predicted[row] == "same" for row in rows)
    return scored


def score_openset(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    *,
    wheels: Wheels,
    groups: Sequence[str],
    n_resamples: int,
    seed: int,
) -> TrackScore:
    """Score sets of labels by the mean over five wheels of F, the EW score.

    On each wheel, rows whose gold has no sector are skipped; precision and recall are
    means over the others, and F = 2 P R / (P + R) is taken of those means.

    Parameters
    ----------
    gold, predicted : sequence of sequence of str
        Labels in lower case, row by row.
    wheels : Wheels
        How labels become sectors.
    groups : sequence of str
        What is drawn together in the bootstrap.
    n_resamples, seed : int
        Replicates, and what decides them.

    Returns
    -------
    TrackScore
        ``ew``, which ranks, and means over wheels of ``precision`` and ``recall``; in
        the details a row for each wheel and the digests of the tables.

    Raises
    ------
    InputError
        If there is no row.
    """
    if not len(gold):
        raise InputError("there is no row to score")
    values, replicates, rows = [], [], []
    for number, found in enumerate(overlaps(gold, predicted, wheels), start=1):
        f, p, r = _means(found)
        values.append((f, p, r))
        count, ps, rs = _drawn(found, groups, n_resamples, seed).T
        count = np.maximum(count, 1)
        replicates.append((_harmonic(ps / count, rs / count), ps / count, rs / count))
        counted = {"wheel": number, "n": int(found[:, 0].sum())}
        rows.append(counted | {"precision": p, "recall": r, "f": f})
    means = np.mean(values, axis=0)
    spread = np.mean(replicates, axis=0)
    names = ("ew", "precision", "recall")
    return TrackScore(
        main="ew",
        metrics={
            k: interval_of(float(means[i]), spread[i]) for i, k in enumerate(names)
        },
        n=len(gold),
        details={
            "wheels": rows,
            "words": list(wheels.counts),
            "sha256": dict(wheels.digests),
        },
    )


def overlaps(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], wheels: Wheels
) -> Float64[np.ndarray, "wheel row 3"]:
    """Compare each row with its gold labels on each wheel.

    Parameters
    ----------
    gold, predicted : sequence of sequence of str
        Labels in lower case, row by row.
    wheels : Wheels
        How labels become sectors.

    Returns
    -------
    ndarray of float64, shape (wheel, row, 3)
        One where the row counts, its precision and its recall; zeros elsewhere.
    """
    found = np.zeros((N_WHEELS, len(gold), 3))
    for wheel in range(N_WHEELS):
        for row, (truth, answer) in enumerate(zip(gold, predicted, strict=True)):
            wanted = wheels.map_labels(truth, wheel)
            if not wanted:
                continue
            given = wheels.map_labels(answer, wheel)
            hit = len(wanted & given)
            precision = hit / len(given) if given else 0.0
            found[wheel, row] = 1, precision, hit / len(wanted)
    return found


def ew_of_overlaps(found: Float64[np.ndarray, "wheel row 3"]) -> float:
    """Return the EW score of rows.

    Parameters
    ----------
    found : ndarray of float64, shape (wheel, row, 3)
        As `overlaps` returns it.

    Returns
    -------
    float
        From 0 to 1.
    """
    return float(np.mean([_means(rows)[0] for rows in found]))


def majority(track: str, labels: Sequence[Any]) -> Any:
    """Return the answer that needs no clip: the most frequent label or labels.

    Parameters
    ----------
    track : str
        ``cross``, ``fg`` or ``prefer``.
    labels : sequence
        Of the rows to learn from.

    Returns
    -------
    object
        One label; for MER-FG as many of the most frequent ones as rows usually have.
    """
    if track != "fg":
        counts = Counter(label for label in labels if label != "same")
        return min(counts, key=lambda label: (-counts[label], label))
    counts = Counter(word for words in labels for word in set(words))
    n_usual = max(1, int(np.median([len(set(words)) for words in labels])))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:n_usual])


def _means(
    rows: Float64[np.ndarray, "row 3"],
) -> tuple[float, float, float]:
    """Return F, mean precision and mean recall on one wheel."""
    kept = rows[:, 0] > 0
    p, r = (float(np.mean(x)) if kept.any() else 0.0 for x in rows[kept, 1:].T)
    return float(_harmonic(p, r)), p, r


def _harmonic(p: Any, r: Any) -> Any:
    """Return the harmonic mean of two numbers or arrays, 0 where both are 0."""
    p, r = np.asarray(p), np.asarray(r)
    total = np.where(p + r == 0, 1.0, p + r)
    return 2 * (p * r) / total


def _drawn(
    values: Float64[np.ndarray, "row value"],
    groups: Sequence[str],
    n_resamples: int,
    seed: int,
) -> Float64[np.ndarray, "draw value"]:
    """Sum values over rows of groups that are drawn with replacement."""
    codes = np.unique(list(groups), return_inverse=True)[1]
    n_groups = int(codes.max()) + 1
    sums = np.zeros((n_groups, values.shape[1]))
    np.add.at(sums, codes, values)
    return draw_groups(n_groups, n_resamples, np.random.default_rng(seed)) @ sums
