"""Models beside the best of what uses no signals, as objects and as files."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from merps.evaluation.diagnostics import (
    Calibration,
    Spread,
    calibrate,
    pearson_added,
    spread_of,
)
from merps.evaluation.permutation import permutation_test
from merps.evaluation.protocol import RUNGS, ProtocolResult
from merps.evaluation.uncertainty import Difference, Interval, compare_models
from merps.options import EvaluateConfig
from merps.pipeline.runs import TABLES, to_json
from merps.samples import Samples

_COMPARED = ("mae", "mae_valence", "mae_arousal", "ccc", "pearson")


@dataclass(frozen=True)
class ModelComparison:
    """How a model does beside the best rung, and where it is right and wrong.

    Parameters
    ----------
    added : dict of float
        As of `merps.evaluation.diagnostics.pearson_added`.
    difference : dict of Difference
        To the best rung, by metric, for other people and videos; none for that rung
        itself, and where there is one person or one video.
    permutation : dict of float
        As of `merps.evaluation.permutation.permutation_test`; none where everybody saw
        one video.
    calibration : dict of Calibration
        By dimension.
    people, videos : Spread
        Errors by person and by video.
    """

    added: dict[str, float]
    difference: dict[str, Difference] = field(repr=False)
    permutation: dict[str, float] = field(repr=False)
    calibration: dict[str, Calibration] = field(repr=False)
    people: Spread = field(repr=False)
    videos: Spread = field(repr=False)


@dataclass(frozen=True)
class ProtocolComparison:
    """All models of one protocol.

    Parameters
    ----------
    best_rung : str
        What uses no signals and has the lowest error; the first of equal ones.
    models : dict of ModelComparison
        By name.
    """

    best_rung: str
    models: dict[str, ModelComparison]


def compare(
    result: ProtocolResult, samples: Samples, options: EvaluateConfig
) -> ProtocolComparison:
    """Set every model of a protocol beside the best rung.

    Parameters
    ----------
    result : ProtocolResult
        Predictions by model, rungs included.
    samples : Samples
        The samples that were predicted.
    options : EvaluateConfig
        Seed and number of draws; without draws there is no difference and no test.

    Returns
    -------
    ProtocolComparison
        By model.
    """
    targets, made = samples.require_targets(), result.predictions
    scores = result.scores(samples)
    best = min(RUNGS, key=lambda name: scores[name]["mae"])
    groups = (samples.people, samples.stimuli)
    n_people, n_videos = (len(set(names.tolist())) for names in groups)
    draws, seed = options.bootstrap, options.seed
    has_trials = n_videos > 1 and draws > 0
    models = {}
    for name, predicted in made.items():
        difference, permutation = {}, {}
        if has_trials and n_people > 1 and name != best:
            difference = compare_models(
                *(predicted, made[best], targets, *groups),
                n_resamples=draws,
                seed=seed,
            )
        if has_trials:
            permutation = permutation_test(
                predicted, targets, *groups, n_permutations=draws, seed=seed
            )
        models[name] = ModelComparison(
            added=pearson_added(predicted, made["constant"], targets),
            difference={k: difference[k] for k in _COMPARED if difference},
            permutation=permutation,
            calibration=calibrate(predicted, targets),
            people=spread_of(predicted, targets, samples.people),
            videos=spread_of(predicted, targets, samples.stimuli),
        )
    return ProtocolComparison(best, models)


def comparison_files(
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    intervals: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    comparisons: Mapping[str, ProtocolComparison],
) -> dict[str, str]:
    """Write comparisons as JSON, and as tables for other programs.

    Parameters
    ----------
    scores : mapping
        Metrics by protocol and model.
    intervals : mapping
        Intervals of the same; may lack models.
    comparisons : mapping of ProtocolComparison
        By protocol.

    Returns
    -------
    dict of str
        ``comparison.json`` with everything; of that, ``comparison.csv`` has a line a
        model, ``spread.csv`` one a person and a video, ``calibration.csv`` one a level.
    """
    content: dict[str, Any] = {}
    lines, spread, levels = [], [], []
    for protocol, compared in comparisons.items():
        content[protocol] = {"best_rung": compared.best_rung, "models": {}}
        for name, model in compared.models.items():
            metrics = {**scores[protocol][name], **model.added}
            interval = intervals[protocol].get(name, {})
            content[protocol]["models"][name] = {
                "scores": metrics,
                "interval": {k: [i.low, i.high] for k, i in interval.items()},
                "difference": {k: asdict(d) for k, d in model.difference.items()},
                "permutation_p": model.permutation,
                "calibration": {k: asdict(c) for k, c in model.calibration.items()},
                "people": _spread_content(model.people),
                "videos": _spread_content(model.videos),
            }
            mae, difference = interval.get("mae"), model.difference.get("mae")
            lines.append(
                {
                    "protocol": protocol,
                    "model": name,
                    "uses_signals": "no" if name in RUNGS else "yes",
                    **metrics,
                    "mae_low": mae and mae.low,
                    "mae_high": mae and mae.high,
                    "best_rung": compared.best_rung,
                    "difference": difference and difference.value,
                    "difference_low": difference and difference.low,
                    "difference_high": difference and difference.high,
                    "difference_p": difference and difference.p,
                    "permutation_p": model.permutation.get("mae"),
                }
            )
            for by, errors in (("person", model.people), ("video", model.videos)):
                spread += [
                    {"protocol": protocol, "model": name, "by": by}
                    | {"name": one, "mae": error}
                    for one, error in errors.errors.items()
                ]
            for dimension, calibration in model.calibration.items():
                levels += [
                    {"protocol": protocol, "model": name, "dimension": dimension}
                    | asdict(level)
                    for level in calibration.levels
                ]
    texts = [_csv(lines), to_json(content, indent=1) + "\n", _csv(spread), _csv(levels)]
    return dict(zip(TABLES, texts, strict=True))


def _spread_content(spread: Spread) -> dict[str, Any]:
    """Return errors with what sums them up."""
    low, middle, high = spread.quartiles
    return {
        "mae": spread.errors,
        "median": middle,
        "quartiles": [low, high],
        "worst": spread.worst,
    }


def _csv(lines: Iterable[Mapping[str, Any]]) -> str:
    """Write lines with the same keys; nothing stands for None."""
    lines = list(lines)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
