"""Results as tables for people."""

from pathlib import Path
from typing import TYPE_CHECKING

from merps.cli.session import Session

if TYPE_CHECKING:
    from rich.table import Table

    from merps.evaluation.uncertainty import Interval
    from merps.inspection import CheckResult
    from merps.pipeline import Evaluation, Preprocessed
    from merps.pipeline.comparison import ProtocolComparison
    from merps.submission import Bundle

_HELD_OUT = {
    "people": "new people, same videos (the official split)",
    "videos": "same people, new videos",
    "both": "new people and new videos",
    "within": "one person at a time, new videos",
}
#: What an estimate knows of, by phase.
WHEN = {
    "zero": "Filters and smoothing see the future of each second: these are offline "
    "estimates.",
    "causal": "Causal: second t is predicted from what was recorded before t + 1 "
    "(+ lookahead_s).",
}
_NAME_WIDTH = len("convolutional")
_WIDE, _WIDER = 100, 110
_SIGNAL_FREE = ("constant", "video", "video_time")


def tell_problems(session: Session, result: "CheckResult") -> None:
    """Print what is wrong with a folder.

    Parameters
    ----------
    session : Session
        Where to.
    result : CheckResult
        What was found.
    """
    for problem in result.problems:
        session.say(f"{problem.severity:<8} {problem.where}: {problem.message}")
    n_errors = sum(p.severity == "error" for p in result.problems)
    n_others = len(result.problems) - n_errors
    session.say(
        f"{result.people} people, {result.trials} usable trials; {n_errors} errors, "
        f"{n_others} warnings and notes"
    )


def tell_preprocessed(session: Session, done: "Preprocessed", store: Path) -> None:
    """Print who was preprocessed and who failed.

    Parameters
    ----------
    session : Session
        Where to.
    done : Preprocessed
        What was done.
    store : Path
        Where the signals are.
    """
    for person, message in done.failed:
        session.warn(f"failed: {person}: {message}")
    failures = f"; failures: {len(done.failed)}" if done.failed else ""
    if done.done:
        session.say(
            f"people preprocessed into {store}: {len(done.done)}, done before: "
            f"{len(done.skipped)}{failures}; {done.seconds:.1f} s, {done.peak_mb:.0f} "
            "MB at most"
        )
    else:
        session.say(
            f"nothing to do: all people ({len(done.skipped)}) are in {store} "
            f"already{failures}"
        )


def tell_evaluation(session: Session, evaluation: "Evaluation") -> None:
    """Print a table for each protocol, signal-free baselines first.

    Parameters
    ----------
    session : Session
        Where to.
    evaluation : Evaluation
        What was found.
    """
    if evaluation.n_reused:
        session.say(
            f"folds done before: {evaluation.n_reused} of {evaluation.n_folds}\n"
        )
    session.say(
        "Out-of-fold scores; MAE on the scale 1..255, less is better. The first three "
        "use no\nsignals."
    )
    for protocol, scores in evaluation.scores.items():
        session.say(f"\n{protocol}: {_HELD_OUT[protocol]}")
        session.show(
            comparison_table(
                scores,
                evaluation.intervals[protocol],
                evaluation.comparisons[protocol],
                width=session.width,
            )
        )
    people = len(set(evaluation.samples.people))
    session.say(
        f"\n{len(evaluation.samples)} seconds of {people} people, pooled. Beside or "
        "below a number: its 95 % interval.\n"
        "MAE: people drawn anew. vs, p: the difference to the best baseline, people "
        "and\nvideos drawn anew. added: Pearson of what is added to the training "
        f"median.\n{WHEN[evaluation.phase]}"
    )
    for title, sentences in evaluation.gains.items():
        session.say(f"\nWhat signals add to the prior ({title}):")
        for sentence in sentences:
            session.say(f"  {sentence}")
    for step in evaluation.transductive:
        session.say(f"Transductive (unlabeled data of the test person): {step}.")


def comparison_table(
    scores: dict[str, dict[str, float]],
    intervals: dict[str, dict[str, "Interval"]],
    compared: "ProtocolComparison",
    *,
    width: int,
) -> "Table":
    """Return the table of one protocol.

    Parameters
    ----------
    scores : dict of dict of float
        Metrics by model.
    intervals : dict of dict of Interval
        Of the same metrics; none where a model is absent.
    compared : ProtocolComparison
        The models beside the best rung.
    width : int
        Columns of the terminal; intervals stand below their numbers in a narrow one.

    Returns
    -------
    rich.table.Table
        Signal-free baselines above a gap, the others below.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    between = " " if width >= _WIDE else "\n"
    padding = (0, 1, 0, 0) if width >= _WIDER else 0
    table = Table(box=SIMPLE_HEAD, padding=padding, show_edge=False)
    table.add_column("model", no_wrap=True)
    against = f"vs{between}{compared.best_rung}"
    for name in ("MAE", "valence", "arousal", "CCC", "Pearson", "added", against, "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, (name, metrics) in enumerate(scores.items()):
        if number == len(_SIGNAL_FREE):
            table.add_section()
        mae = intervals[name]["mae"] if name in intervals else None
        model = compared.models[name]
        difference = model.difference.get("mae")
        table.add_row(
            name,
            f"{metrics['mae']:.2f}" + _limits(mae, between),
            f"{metrics['mae_valence']:.2f}",
            f"{metrics['mae_arousal']:.2f}",
            f"{metrics['ccc']:.3f}",
            f"{metrics['pearson']:.3f}",
            f"{model.added['pearson_added']:.3f}",
            f"{difference.value:+.2f}{_limits(difference, between)}"
            if difference
            else "",
            f"{difference.p:.3f}" if difference else "",
        )
    return table


def _limits(interval: "Interval | None", between: str) -> str:
    """Write an interval behind its number, or below it; nothing where there is none."""
    if interval is None:
        return ""
    limits = f"{interval.low:.1f}..{interval.high:.1f}"
    return between + (f"({limits})" if between == " " else limits)


def tell_scores(
    session: Session,
    title: str,
    scores: dict[str, dict[str, float]],
    intervals: dict[str, dict[str, "Interval"]],
) -> None:
    """Print the scores of several models, narrow enough for 80 columns.

    Parameters
    ----------
    session : Session
        Where to.
    title : str
        Stands above the table.
    scores : dict of dict of float
        Metrics by model.
    intervals : dict of dict of Interval
        Of the same metrics; none where a model is absent.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("model", min_width=_NAME_WIDTH, no_wrap=True)
    table.add_column("uses", min_width=7, no_wrap=True)
    table.add_column("MAE", justify="right", min_width=6, no_wrap=True)
    table.add_column("interval", justify="right", min_width=12, no_wrap=True)
    for name in ("valence", "arousal", "CCC", "Pearson"):
        table.add_column(name, justify="right", min_width=7, no_wrap=True)
    for model, metrics in scores.items():
        mae = intervals[model]["mae"] if model in intervals else None
        table.add_row(
            model,
            "labels" if model in _SIGNAL_FREE else "signals",
            f"{metrics['mae']:.2f}",
            f"{mae.low:.1f}..{mae.high:.1f}" if mae else "",
            f"{metrics['mae_valence']:.2f}",
            f"{metrics['mae_arousal']:.2f}",
            f"{metrics['ccc']:.3f}",
            f"{metrics['pearson']:.3f}",
        )
    session.say(title)
    session.show(table)


def tell_score(session: Session, metrics: dict[str, float], n_samples: int) -> None:
    """Print the metrics of one file of predictions.

    Parameters
    ----------
    session : Session
        Where to.
    metrics : dict of float
        As from `merps.scores.score`.
    n_samples : int
        Number of samples.
    """
    from rich.table import Table

    table = Table(title=f"{n_samples} samples", title_style="")
    table.add_column("metric")
    for name in ("overall", "valence", "arousal"):
        table.add_column(name, justify="right")
    for name, text in (("mae", "MAE"), ("ccc", "CCC"), ("pearson", "Pearson")):
        values = (metrics[name], metrics[f"{name}_valence"], metrics[f"{name}_arousal"])
        table.add_row(text, *(f"{value:.3f}" for value in values))
    table.add_row("MSE", f"{metrics['mse']:.1f}")
    table.add_row("RMSE", f"{metrics['rmse']:.2f}")
    session.show(table)


def tell_bundle(session: Session, bundle: "Bundle") -> None:
    """Print what a submission is, what its check found, and its terms.

    Parameters
    ----------
    session : Session
        Where to.
    bundle : Bundle
        What was written.
    """
    people = "simulated people" if bundle.simulated else "your people"
    session.say(
        f"{bundle.path}: {bundle.model}, {bundle.files} files, "
        f"{bundle.bytes / 1e6:.2f} MB\n"
        f"  sha256     {bundle.sha256}\n"
        f"  checked    unpacked and run alone, with the merps of its {bundle.merps}:\n"
        f"             {bundle.samples} ids of {people} answered in "
        f"{bundle.seconds:.1f} s with {bundle.peak_mb:.0f} MB at most,\n"
        "             as merps predict answers them, to the last digit\n"
        f"  needs      {len(bundle.requirements)} libraries, in requirements.txt\n"
        f"  contains   {'; '.join(bundle.contains)}\n"
        f"  terms      {bundle.terms}"
    )
    if bundle.warning is not None:
        session.warn(f"the model was {bundle.warning}")
