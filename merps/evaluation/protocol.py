"""Out-of-fold predictions of several models under the four protocols."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from merps.engine import run_tasks
from merps.errors import InputError
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior
from merps.samples import Samples
from merps.scores import per_trial, score
from merps.shapes import SampleTargets
from merps.splits import Fold, folds

logger = logging.getLogger(__name__)

#: What any model of the signals has to beat; always evaluated beside it.
RUNGS: Mapping[str, Callable[[], Any]] = {
    "constant": ConstantPrior,
    "video": VideoPrior,
    "video_time": VideoTimePrior,
}

#: Gains, penalties and inner errors of a model by dimension, lags and inner errors of
#: all that were tried; None where a number is undefined.
Facts: TypeAlias = dict[str, int | list]

_FACTS = (
    *("gain_", "alpha_", "inner_mae_", "prior_inner_mae_"),
    *("eeg_lag_s_", "eeg_lags_s", "eeg_curve_"),
    *("fnirs_lag_s_", "fnirs_lags_s", "fnirs_curve_"),
)


@dataclass(frozen=True)
class ProtocolResult:
    """What all models predicted under one protocol.

    Parameters
    ----------
    protocol : str
        Its name.
    predictions : dict of ndarray of float64, shape (sample, 2)
        Out-of-fold predictions by model, not rounded, in the order of the samples.
    manifest : tuple of dict
        Of each fold its name, the people and stimuli on both sides, and the number
        of rows.
    manifest_sha256 : str
        Digest of the manifest as canonical JSON.
    facts : dict
        By model and fold: gains, penalties, inner errors and lags, where a model has
        them.
    """

    protocol: str
    predictions: dict[str, SampleTargets] = field(repr=False)
    manifest: tuple[dict[str, Any], ...] = field(repr=False)
    manifest_sha256: str
    facts: dict[str, dict[str, Facts]] = field(repr=False)

    def scores(self, samples: Samples) -> dict[str, dict[str, float]]:
        """Score every model, pooled over samples.

        Parameters
        ----------
        samples : Samples
            The samples that were evaluated.

        Returns
        -------
        dict
            Metrics of `merps.scores.score` by model.
        """
        targets = samples.require_targets()
        return {name: score(made, targets) for name, made in self.predictions.items()}

    def trial_scores(self, samples: Samples) -> dict[str, dict[str, float]]:
        """Score every model in each trial and average over trials.

        Parameters
        ----------
        samples : Samples
            The samples that were evaluated.

        Returns
        -------
        dict
            Metrics of `merps.scores.per_trial` by model.
        """
        targets, trials = samples.require_targets(), samples.trials
        return {
            name: per_trial(made, targets, trials)
            for name, made in self.predictions.items()
        }


def evaluate(
    samples: Samples,
    models: Mapping[str, Callable[[], Any]],
    protocols: Sequence[str],
    *,
    seed: int,
    jobs: int,
    emotions: Mapping[str, str] | None = None,
    on_fold: Callable[[str, str], None] | None = None,
) -> list[ProtocolResult]:
    """Predict each sample by models that were fitted without its fold.

    A fresh model is made, fitted on the training rows and asked about the test rows,
    whose labels it does not get. The `RUNGS` are always evaluated too, and first.

    Parameters
    ----------
    samples : Samples
        Rows with all labels.
    models : mapping from str to callable
        Makes an unfitted model by its name.
    protocols : sequence of str
        Some of `merps.splits.PROTOCOLS`.
    seed : int
        Decides the folds.
    jobs : int
        How many folds run at a time; changes nothing in the result.
    emotions : mapping from str to str, optional
        Target emotion of stimuli, to balance folds of stimuli.
    on_fold : callable, optional
        Called with protocol and fold name when a fold is done.

    Returns
    -------
    list of ProtocolResult
        In the order of `protocols`.

    Raises
    ------
    InputError
        If labels are missing, a protocol is unknown or cannot be applied, or a model
        cannot be fitted.
    """
    if not np.isfinite(samples.require_targets()).all():
        raise InputError("some labels are missing; take only the labeled rows first")
    models = {**RUNGS, **models}
    divided = {
        protocol: folds(
            protocol, samples.people, samples.stimuli, seed=seed, emotions=emotions
        )
        for protocol in protocols
    }

    def run(
        fold: Fold,
    ) -> dict[str, tuple[SampleTargets, Facts]]:
        return _run_fold(samples, models, fold)

    tasks = [fold for parts in divided.values() for fold in parts]
    predictions = {
        protocol: {name: np.full((len(samples), 2), np.nan) for name in models}
        for protocol in divided
    }
    facts: dict = {protocol: {name: {} for name in models} for protocol in divided}
    for outcome in run_tasks(run, tasks, jobs=jobs, describe=_describe):
        fold = outcome.task
        if outcome.error is not None:
            message = f"{_describe(fold)}: {outcome.error}"
            raise type(outcome.error)(message) from outcome.error
        for name, (predicted, learned) in outcome.value.items():
            predictions[fold.protocol][name][fold.test] = predicted
            if learned:
                facts[fold.protocol][name][fold.name] = learned
        logger.info("%s: done", _describe(fold))
        if on_fold is not None:
            on_fold(fold.protocol, fold.name)
    return [
        _result(protocol, predictions[protocol], facts[protocol], parts, samples)
        for protocol, parts in divided.items()
    ]


def learned_facts(model: Any) -> Facts:
    """Return what a fitted model has chosen for itself, where it has.

    Parameters
    ----------
    model : estimator
        Any fitted model.

    Returns
    -------
    dict
        Gains, penalties and inner errors by dimension, lags with the curves they were
        chosen by, also those of fitted models inside it; None where a number is
        undefined. Plain values, as JSON has them.
    """
    facts: Facts = {}
    for name, part in vars(model).items():
        if name.endswith("_") and hasattr(part, "get_params"):
            facts |= learned_facts(part)
    found = {name: getattr(model, name, None) for name in _FACTS}
    own = {name: value for name, value in found.items() if value is not None}
    return facts | {
        name.rstrip("_"): _defined(np.asarray(value).tolist())
        for name, value in own.items()
    }


def _defined(value: Any) -> Any:
    """Replace NaN by None, in lists of lists, too."""
    if isinstance(value, list):
        return [_defined(item) for item in value]
    return None if np.isnan(value) else value


def _describe(fold: Fold) -> str:
    """Name a fold in a message."""
    return f"protocol {fold.protocol}, fold {fold.name}"


def _run_fold(
    samples: Samples, models: Mapping[str, Callable[[], Any]], fold: Fold
) -> dict[str, tuple[SampleTargets, Facts]]:
    """Fit each model on one side and predict the other, which has no labels."""
    train = samples.take(fold.train)
    test = replace(samples, targets=None).take(fold.test)
    made = {}
    for name, make in models.items():
        model = make().fit(train)
        made[name] = (model.predict(test), learned_facts(model))
    return made


def _result(
    protocol: str,
    predictions: dict[str, SampleTargets],
    facts: dict,
    parts: Sequence[Fold],
    samples: Samples,
) -> ProtocolResult:
    """Put together what belongs to one protocol."""
    manifest = tuple(_entry(fold, samples) for fold in parts)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return ProtocolResult(
        protocol=protocol,
        predictions=predictions,
        manifest=manifest,
        manifest_sha256=hashlib.sha256(text.encode()).hexdigest(),
        facts={name: learned for name, learned in facts.items() if learned},
    )


def _entry(fold: Fold, samples: Samples) -> dict[str, Any]:
    """List who and what is on either side of a fold."""
    entry: dict[str, Any] = {"fold": fold.name}
    for side, rows in (("train", fold.train), ("test", fold.test)):
        entry[f"{side}_people"] = np.unique(samples.people[rows]).tolist()
        entry[f"{side}_stimuli"] = np.unique(samples.stimuli[rows]).tolist()
        entry[f"n_{side}"] = len(rows)
    return entry
