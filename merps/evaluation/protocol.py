"""Out-of-fold predictions of several models under the four protocols."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from merps.engine import run_tasks
from merps.errors import InputError
from merps.evaluation.fold_files import FoldResult, FoldTask
from merps.evaluation.transduction import stand_ins
from merps.models.convolutional import ConvolutionalRegressor
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
Facts: TypeAlias = dict[str, Any]

_FACTS = (
    *("alpha_", "inner_mae_"),
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


def plan_folds(
    samples: Samples,
    models: Iterable[str],
    protocols: Iterable[str],
    *,
    seed: int,
    emotions: Mapping[str, str] | None = None,
) -> list[FoldTask]:
    """Fix which model is fitted and asked on what, before anything is.

    Parameters
    ----------
    samples : Samples
        Rows with all labels; signals are not looked at.
    models : iterable of str
        Names of models.
    protocols : iterable of str
        Some of `merps.splits.PROTOCOLS`.
    seed : int
        Decides the folds.
    emotions : mapping from str to str, optional
        Target emotion of stimuli, to balance folds of stimuli.

    Returns
    -------
    list of FoldTask
        In the order of protocols, folds and models.

    Raises
    ------
    InputError
        If labels are missing, or a protocol is unknown or cannot be applied.
    """
    if not np.isfinite(samples.require_targets()).all():
        raise InputError("some labels are missing; take only the labeled rows first")
    options = {"seed": seed, "emotions": emotions}
    models = tuple(models)
    tasks = []
    for protocol in protocols:
        for fold in folds(protocol, samples.people, samples.stimuli, **options):
            entry = _entry(fold, samples)
            tasks += [FoldTask(model, fold, entry) for model in models]
    return tasks


def evaluate(
    samples: Samples,
    models: Mapping[str, Callable[[], Any]],
    protocols: Sequence[str],
    *,
    seed: int,
    jobs: int,
    emotions: Mapping[str, str] | None = None,
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
    models = {**RUNGS, **models}
    tasks = plan_folds(samples, models, protocols, seed=seed, emotions=emotions)

    def run(task: FoldTask) -> FoldResult:
        return fit_fold(models[task.model](), samples, task.fold)

    return join_results(tasks, dict(run_folds(run, tasks, jobs=jobs)))


def run_folds(
    run: Callable[[FoldTask], FoldResult], tasks: Sequence[FoldTask], *, jobs: int
) -> Iterator[tuple[FoldTask, FoldResult]]:
    """Run tasks in threads, in order, until one fails.

    Parameters
    ----------
    run : callable
        Fits and asks a model.
    tasks : sequence of FoldTask
        What is to be done.
    jobs : int
        How many run at a time.

    Yields
    ------
    tuple of (FoldTask, FoldResult)
        In the order of the tasks.

    Raises
    ------
    MerpsError
        If a model cannot be fitted; the message names model and fold.
    """
    for outcome in run_tasks(run, tasks, jobs=jobs):
        if outcome.error is not None:
            message = f"{outcome.task}: {outcome.error}"
            raise type(outcome.error)(message) from outcome.error
        logger.info("%s: done", outcome.task)
        yield outcome.task, outcome.value


def fit_fold(
    model: Any, samples: Samples, fold: Fold, *, checkpoints: Path | None = None
) -> FoldResult:
    """Fit a model on one side of a fold and ask it about the other, without labels.

    Parameters
    ----------
    model : estimator
        Unfitted.
    samples : Samples
        Rows with all labels.
    fold : Fold
        The rows of both sides.
    checkpoints : Path, optional
        Folder for the state of a training that can be resumed; others do without.

    Returns
    -------
    FoldResult
        Predictions, and what the model has chosen.

    Raises
    ------
    MerpsError
        If the model cannot be fitted.
    """
    options = {}
    if checkpoints is not None and isinstance(model, ConvolutionalRegressor):
        options["checkpoints"] = checkpoints
    model.fit(samples.take(fold.train), **options)
    test = replace(samples, targets=None).take(fold.test)
    return FoldResult(
        model.predict(test), learned_facts(model), tuple(stand_ins(model, samples))
    )


def join_results(
    tasks: Sequence[FoldTask], done: Mapping[FoldTask, FoldResult]
) -> list[ProtocolResult]:
    """Put together what was found in each fold.

    Parameters
    ----------
    tasks : sequence of FoldTask
        All that `plan_folds` returned.
    done : mapping of FoldTask to FoldResult
        The result of each.

    Returns
    -------
    list of ProtocolResult
        In the order of the tasks.
    """
    by_protocol: dict[str, list[FoldTask]] = {}
    for task in tasks:
        by_protocol.setdefault(task.fold.protocol, []).append(task)
    return [_joined(name, own, done) for name, own in by_protocol.items()]


def learned_facts(model: Any) -> Facts:
    """Return what a fitted model has chosen for itself, where it has.

    Parameters
    ----------
    model : estimator
        Any fitted model.

    Returns
    -------
    dict
        Penalties and inner errors by dimension, lags with the curves they were chosen
        by, also those of fitted models inside it; the gains of a fusion for known and
        new stimuli, beside the facts of its models by name. None where a number is
        undefined. Plain values, as JSON has them.
    """
    facts: Facts = {}
    for name, part in vars(model).items():
        if name.endswith("_") and hasattr(part, "get_params"):
            facts |= learned_facts(part)
    if hasattr(model, "models_"):
        parts = {name: learned_facts(part) for name, part in model.models_.items()}
        return facts | {"models": parts} | getattr(model, "facts", {})
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


def _joined(
    protocol: str, tasks: Sequence[FoldTask], done: Mapping[FoldTask, FoldResult]
) -> ProtocolResult:
    """Put together what belongs to one protocol."""
    entries = {task.fold.name: task.entry for task in tasks}
    models = dict.fromkeys(task.model for task in tasks)
    n_samples = sum(entry["n_test"] for entry in entries.values())
    predictions = {name: np.full((n_samples, 2), np.nan) for name in models}
    facts: dict[str, dict[str, Facts]] = {name: {} for name in models}
    for task in tasks:
        result = done[task]
        predictions[task.model][task.fold.test] = result.predictions
        if result.facts:
            facts[task.model][task.fold.name] = result.facts
    manifest = tuple(entries.values())
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
