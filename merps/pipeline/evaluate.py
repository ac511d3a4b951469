"""Scores of models on people and videos that they were not fitted on."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merps.engine import Progress, Silence
from merps.errors import InputError
from merps.evaluation.protocol import RUNGS, ProtocolResult, join_results
from merps.evaluation.transduction import stand_ins, steps_of_models
from merps.evaluation.uncertainty import Interval, bootstrap_people
from merps.models.wording import tell_gains
from merps.options import Config
from merps.pipeline.causality import filter_delays_s
from merps.pipeline.comparison import ProtocolComparison, compare, comparison_files
from merps.pipeline.errands import Contender, plan_tasks, read_seconds
from merps.pipeline.folds import FoldRunner, open_fold_files
from merps.pipeline.models import QUICK_MODELS, open_store, resolve_model
from merps.pipeline.runs import (
    CHECKPOINTS,
    EVAL_ONLY,
    METRICS,
    PREDICTIONS,
    describe_data,
    prepare_run,
    reopen_run,
    to_json,
    write_run,
)
from merps.predictions import write_predictions
from merps.recording import Phase
from merps.samples import Samples
from merps.scores import finalize
from merps.splits import PROTOCOLS
from merps.store.files import writing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores of several models under several protocols.

    Parameters
    ----------
    samples : Samples
        The labeled seconds, without columns.
    results : tuple of ProtocolResult
        Predictions by protocol and model.
    scores : dict
        Metrics by protocol and model, pooled over samples.
    trial_scores : dict
        The same metrics averaged over trials.
    intervals : dict
        95 % intervals of `scores`, by bootstrap over people.
    comparisons : dict of ProtocolComparison
        By protocol, each model beside the best rung, and where it is right and wrong.
    transductive : tuple of str
        What a step took from a test person's unlabeled recordings.
    phase : {"zero", "causal"}
        Whether filters and averages look both ways in time, or back alone.
    n_folds, n_reused : int
        How many times a model was to be fitted, and how many of these were done by an
        earlier run in the same folder.
    """

    samples: Samples = field(repr=False)
    results: tuple[ProtocolResult, ...] = field(repr=False)
    scores: dict[str, dict[str, dict[str, float]]]
    trial_scores: dict[str, dict[str, dict[str, float]]] = field(repr=False)
    intervals: dict[str, dict[str, dict[str, Interval]]] = field(repr=False)
    comparisons: dict[str, ProtocolComparison] = field(repr=False)
    transductive: tuple[str, ...] = ()
    phase: Phase = "zero"
    n_folds: int = 0
    n_reused: int = 0

    @property
    def gains(self) -> dict[str, tuple[str, ...]]:
        """What fusions add to their prior, in words, by protocol and model."""
        return {
            f"{result.protocol}, {name}": sentences
            for result in self.results
            for name, facts in result.facts.items()
            if (sentences := tell_gains([*facts.values()], kinds=_kinds(result)))
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps evaluate --json`` prints."""
        return {
            "protocols": {
                protocol: {
                    name: metrics | self.comparisons[protocol].models[name].added
                    for name, metrics in scores.items()
                }
                for protocol, scores in self.scores.items()
            }
        }


def evaluate_model(
    store: Path | str,
    run: Path | str | None = None,
    *,
    models: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    config: Config | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Evaluation:
    """Score models on people and videos that they were not fitted on.

    The signal-free rungs `constant`, `video` and `video_time` are always there too.
    With a run folder, each model's answer in a fold is kept there as soon as it is
    finished: a run that was interrupted, or killed, goes on where it stopped and ends
    in the same files.

    Parameters
    ----------
    store : Path
        Preprocessed people with labels.
    run : Path, optional
        Folder for predictions, metrics, comparisons and the run card; nothing is
        written if absent.
    models : sequence of str, optional
        Some of `MODELS`, or presets that choose one; if absent all that are quick, and
        the configured one.
    protocols : sequence of str, optional
        Some of people, videos, both and within; as configured if absent.
    config : Config, optional
        Options; the defaults if absent.
    jobs : int
        People and folds at once; changes nothing in the result. Nets are trained in
        processes of their own where there are several.
    progress : Progress, optional
        Told of each person whose features are there, and of each fold.

    Returns
    -------
    Evaluation
        Scores and predictions.

    Raises
    ------
    InputError
        If labels are missing, there are too few people or videos, a name is unknown, or
        the folder holds other things.
    DataError
        If the store is damaged.
    SpaceError
        If the run cannot be written.
    """
    asked = config or Config()
    opened, config = open_store(store, asked)
    progress = progress or Silence()
    if models is None:
        models = tuple(dict.fromkeys((*QUICK_MODELS, config.model.kind)))
    seed, phase = config.evaluate.seed, config.preprocess.phase
    chosen = [
        Contender(name, *resolve_model(name, asked.model), seed, phase)
        for name in dict.fromkeys(models)
        if name not in RUNGS
    ]
    # An unknown name is told before the work starts.
    compared = [one.make() for one in chosen]
    protocols = tuple(dict.fromkeys(protocols or config.evaluate.protocols))
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise InputError(
            f"no protocol {unknown[0]!r}; there are {', '.join(PROTOCOLS)}"
        )
    if opened.role == "eval-only":
        logger.warning("%s: each fold is %s", store, EVAL_ONLY)
    data = describe_data(opened, opened.people)
    files = None
    if run is not None:
        prepare_run(Path(run), "evaluate")
        files = open_fold_files(Path(run), config, chosen, data=data)
    samples = read_seconds(opened, config, jobs=jobs)
    names = (*RUNGS, *(one.name for one in chosen))
    tasks = plan_tasks(opened, samples, names, protocols, seed=seed)
    if files is not None:
        files.fix(tasks)
    runner = FoldRunner(opened, config, chosen, files=files, jobs=jobs)
    done, n_reused = runner.run(samples, tasks, progress)
    results = join_results(tasks, done)
    evaluation = Evaluation(
        samples=samples,
        results=tuple(results),
        scores={r.protocol: r.scores(samples) for r in results},
        trial_scores={r.protocol: r.trial_scores(samples) for r in results},
        intervals={r.protocol: _intervals(r, samples, config) for r in results},
        comparisons={r.protocol: compare(r, samples, config.evaluate) for r in results},
        transductive=tuple(
            dict.fromkeys(
                [
                    *transductive_steps(config, compared),
                    *(step for task in tasks for step in done[task].stand_ins),
                ]
            )
        ),
        phase=phase,
        n_folds=len(tasks),
        n_reused=n_reused,
    )
    if run is not None:
        presets = {
            one.name: one.section.model_dump(mode="json")
            for one in chosen
            if one.name != one.kind
        }
        _write_evaluation(Path(run), evaluation, config, data, presets)
    return evaluation


def transductive_steps(
    config: Config, models: Sequence[Any] = (), samples: Samples | None = None
) -> tuple[str, ...]:
    """Say what features and models take from a test person's unlabeled recordings.

    Parameters
    ----------
    config : Config
        Every option.
    models : sequence of estimator, optional
        Those that are compared.
    samples : Samples, optional
        What they are compared on, where people may lack the rest that is asked for.

    Returns
    -------
    tuple of str
        One sentence a step; none if there is no such step.
    """
    told = {
        "person_rest": "{} features are relative to all rests of the same person",
        "person": "{} features are standardized over all recordings of the person",
    }
    chosen = (
        ("EEG", config.features.reference),
        ("fNIRS", config.features.fnirs_reference),
    )
    steps = [told[how].format(name) for name, how in chosen if how in told]
    steps += steps_of_models(models)
    if samples is not None:
        steps += samples.taken
        steps += [step for model in models for step in stand_ins(model, samples)]
    return tuple(dict.fromkeys(steps))


def _kinds(result: ProtocolResult) -> tuple[str]:
    """Tell whether a protocol asks about stimuli that training has seen."""
    return ("known",) if result.protocol == "people" else ("new",)


def _intervals(
    result: ProtocolResult, samples: Samples, config: Config
) -> dict[str, dict[str, Interval]]:
    """Return 95 % intervals of every metric by model; none for a single person."""
    if len(set(samples.people)) < 2 or config.evaluate.bootstrap == 0:
        return {}
    return {
        name: bootstrap_people(
            predictions,
            samples.require_targets(),
            samples.people,
            n_resamples=config.evaluate.bootstrap,
            seed=config.evaluate.seed,
        )
        for name, predictions in result.predictions.items()
    }


def _write_evaluation(
    run: Path,
    evaluation: Evaluation,
    config: Config,
    data: Mapping[str, Any],
    presets: Mapping[str, Any],
) -> None:
    """Write what was found, and how."""
    reopen_run(run)
    lines = []
    found = evaluation.as_dict()["protocols"]
    for result in evaluation.results:
        folder = run / PREDICTIONS / result.protocol
        with writing(folder, needed_bytes=0):
            folder.mkdir(parents=True, exist_ok=True)
        for name, predictions in result.predictions.items():
            line = {
                "protocol": result.protocol,
                "model": name,
                **found[result.protocol][name],
                "per_trial": evaluation.trial_scores[result.protocol][name],
                "interval": {
                    metric: [interval.low, interval.high]
                    for metric, interval in evaluation.intervals[result.protocol]
                    .get(name, {})
                    .items()
                },
            }
            lines.append(to_json(line))
            write_predictions(
                folder / f"{name}.csv", evaluation.samples.ids, finalize(predictions)
            )
    write_run(
        run,
        "evaluate",
        config,
        data=data,
        files={
            METRICS: "\n".join(lines) + "\n",
            **comparison_files(
                evaluation.scores, evaluation.intervals, evaluation.comparisons
            ),
        },
        facts={
            "models": list(evaluation.results[0].predictions),
            "transductive": list(evaluation.transductive),
            "filter_delays_s": filter_delays_s(config),
            **({"presets": presets} if presets else {}),
            **({"warning": EVAL_ONLY} if data["role"] == "eval-only" else {}),
            "folds": {
                result.protocol: {
                    "sha256": result.manifest_sha256,
                    "folds": result.manifest,
                    "facts": result.facts,
                }
                for result in evaluation.results
            },
        },
    )
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
