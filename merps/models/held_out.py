"""What models of signals say of rows that they have not learned from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from sklearn.base import clone

from merps.models.rows import divisions
from merps.samples import Samples
from merps.shapes import SampleTargets


class Plan(NamedTuple):
    """Folds of rows, and what each of them is to learn.

    Parameters
    ----------
    folds : ndarray of int64, shape (sample,) or (sample, 2)
        As of `inner_folds`.
    targets : sequence of ndarray of float64, shape (sample, 2)
        One table for each of `divisions`; only the rows that it learns from count.
    """

    folds: Int[np.ndarray, "sample ..."]
    targets: Sequence[SampleTargets]


def fit_held_out(
    model: Any, samples: Samples, plans: Sequence[Plan]
) -> list[SampleTargets]:
    """Fit a model, and tell what signals add to rows that copies have not learned from.

    A model that has a method ``fit_held_out(samples, plans)`` does this itself, and
    faster: what it learns without labels is learned once. Any other is fitted anew for
    every fold.

    Parameters
    ----------
    model : estimator
        Unfitted; fitted afterwards.
    samples : Samples
        Rows with all targets, sorted as by `in_order`.
    plans : sequence of Plan
        Which rows are held out together, and what the others are to learn.

    Returns
    -------
    list of ndarray of float64, shape (sample, 2)
        By plan what `additions` tells of each row from a copy that was fitted without
        its fold; 0 where a fold leaves nothing to learn from.
    """
    if hasattr(model, "fit_held_out"):
        return model.fit_held_out(samples, plans)
    model.fit(samples)
    answers = []
    for folds, targets in plans:
        added = np.zeros((len(samples), 2))
        for (train, test), target in zip(divisions(folds), targets, strict=True):
            if len(train):
                known = samples.take(train).with_targets(target[train])
                added[test] = additions(clone(model).fit(known), samples.take(test))
        answers.append(added)
    return answers


def additions(model: Any, samples: Samples) -> SampleTargets:
    """Tell by how much signals move the answers of a model.

    Parameters
    ----------
    model : estimator
        Fitted.
    samples : Samples
        Rows to predict.

    Returns
    -------
    ndarray of float64, shape (sample, 2)
        Predictions less what the model says of a row without any signal; so 0 where
        there is none.
    """
    silent = Samples(
        people=np.array(["nobody"]),
        stimuli=np.array(["nothing"]),
        seconds=np.zeros(1, dtype=np.int64),
        features=np.full((1, len(samples.feature_names)), np.nan, np.float32),
        feature_names=samples.feature_names,
    )
    return model.predict(samples) - model.predict(silent)
