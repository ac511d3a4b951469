"""Scores of models on people and videos that they were not fitted on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from merps.engine import Progress, Silence
from merps.errors import InputError
from merps.evaluation.protocol import RUNGS, ProtocolResult, evaluate
from merps.evaluation.uncertainty import Interval, bootstrap_people
from merps.models.riemannian_inputs import REST
from merps.models.rows import labeled
from merps.options import Config
from merps.pipeline.blocks import attach_blocks, count_steps, needed_blocks
from merps.pipeline.causality import filter_delays_s
from merps.pipeline.features import extract_samples
from merps.pipeline.models import QUICK_MODELS, make_model, open_store, resolve_model
from merps.pipeline.runs import (
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
from merps.splits import MER_PS_EMOTIONS, PROTOCOLS, folds
from merps.store import Store
from merps.store.files import writing

logger = logging.getLogger(__name__)

# What an option of a model takes from a person's unlabeled recordings.
_TAKEN = {
    ("reference", "person_rest"): "covariances are relative to all rests of the same "
    "person",
    ("reference", "person"): "covariances are relative to the mean over all recordings "
    "of the person",
    ("alignment", "person"): "nets see channels standardized over all recordings of "
    "the person",
    ("alignment", "whiten"): "nets see EEG whitened by its mean covariance over all "
    "recordings of the person",
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of several models under several protocols.

    Parameters
    ----------
    samples : Samples
        The labeled seconds.
    results : tuple of ProtocolResult
        Predictions by protocol and model.
    scores : dict
        Metrics by protocol and model, pooled over samples.
    trial_scores : dict
        The same metrics averaged over trials.
    intervals : dict
        95 % intervals of `scores`, by bootstrap over people.
    transductive : tuple of str
        What a step took from a test person's unlabeled recordings.
    phase : {"zero", "causal"}
        Whether filters and averages look both ways in time, or back alone.
    """

    samples: Samples = field(repr=False)
    results: tuple[ProtocolResult, ...] = field(repr=False)
    scores: dict[str, dict[str, dict[str, float]]]
    trial_scores: dict[str, dict[str, dict[str, float]]] = field(repr=False)
    intervals: dict[str, dict[str, dict[str, Interval]]] = field(repr=False)
    transductive: tuple[str, ...] = ()
    phase: Phase = "zero"

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps evaluate --json`` prints."""
        return {"protocols": self.scores}


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

    Parameters
    ----------
    store : Path
        Preprocessed people with labels.
    run : Path, optional
        Folder for predictions, metrics and the run card; nothing is written if absent.
    models : sequence of str, optional
        Some of `MODELS`, or presets that choose one; if absent all that are quick, and
        the configured one.
    protocols : sequence of str, optional
        Some of people, videos, both and within; as configured if absent.
    config : Config, optional
        Options; the defaults if absent.
    jobs : int
        People and folds at once; changes nothing in the result.
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
    seed = config.evaluate.seed
    chosen = {
        name: resolve_model(name, asked.model) for name in models if name not in RUNGS
    }
    makers = {
        name: partial(
            make_model, kind, section, seed=seed, phase=config.preprocess.phase
        )
        for name, (kind, section) in chosen.items()
    }
    # An unknown name is told before the work starts.
    compared = [make() for make in makers.values()]
    needed = [name for model in compared for name in needed_blocks(model)]
    protocols = tuple(dict.fromkeys(protocols or config.evaluate.protocols))
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise InputError(
            f"no protocol {unknown[0]!r}; there are {', '.join(PROTOCOLS)}"
        )
    if opened.role == "eval-only":
        logger.warning("%s: each fold is %s", store, EVAL_ONLY)
    emotions = None if opened.source == "unlisted" else MER_PS_EMOTIONS
    if run is not None:
        prepare_run(Path(run), "evaluate")
    options = {"config": config, "jobs": jobs, "progress": progress}
    samples = labeled(extract_samples(opened, **options))
    n_folds = sum(
        len(folds(p, samples.people, samples.stimuli, seed=seed, emotions=emotions))
        for p in protocols
    )
    n_steps = len(opened.people) + count_steps(needed, samples)
    progress.expect(n_steps + n_folds)
    samples = attach_blocks(samples, opened, needed, **options)
    results = evaluate(
        samples,
        makers,
        protocols,
        seed=seed,
        jobs=jobs,
        emotions=emotions,
        on_fold=lambda protocol, fold: progress.done(f"{protocol}, {fold}"),
    )
    evaluation = Evaluation(
        samples=samples,
        results=tuple(results),
        scores={r.protocol: r.scores(samples) for r in results},
        trial_scores={r.protocol: r.trial_scores(samples) for r in results},
        intervals={r.protocol: _intervals(r, samples, config) for r in results},
        transductive=transductive_steps(config, compared, samples),
        phase=config.preprocess.phase,
    )
    if run is not None:
        options = {
            name: section.model_dump(mode="json")
            for name, (kind, section) in chosen.items()
            if name != kind
        }
        _write_evaluation(Path(run), evaluation, opened, config, options)
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
    for model in (getattr(model, "model", model) for model in models):
        for option in ("reference", "alignment"):
            steps.append(_TAKEN.get((option, getattr(model, option, None))))
        if getattr(model, "reference", None) == "person_rest":
            rest = None if samples is None else samples.blocks.get(REST)
            known = samples is None or (rest is not None and (rest.rows >= 0).all())
            if set(model.inputs) != {"eeg"} or not known:  # no rest to look at
                steps.append(_TAKEN["reference", "person"])
    steps += () if samples is None else samples.taken
    return tuple(dict.fromkeys(step for step in steps if step))


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
    store: Store,
    config: Config,
    presets: Mapping[str, Any],
) -> None:
    """Write what was found, and how."""
    reopen_run(run)
    lines = []
    for result in evaluation.results:
        folder = run / PREDICTIONS / result.protocol
        with writing(folder, needed_bytes=0):
            folder.mkdir(parents=True, exist_ok=True)
        for name, predictions in result.predictions.items():
            line = {
                "protocol": result.protocol,
                "model": name,
                **evaluation.scores[result.protocol][name],
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
        data=describe_data(store, store.people),
        files={METRICS: "\n".join(lines) + "\n"},
        facts={
            "models": list(evaluation.results[0].predictions),
            "transductive": list(evaluation.transductive),
            "filter_delays_s": filter_delays_s(config),
            **({"presets": presets} if presets else {}),
            **({"warning": EVAL_ONLY} if store.role == "eval-only" else {}),
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
