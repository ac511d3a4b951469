"""The commands of the sibling tracks MER-Cross, MER-FG and MER-Prefer."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import typer

from merps.cli.session import Session, command

if TYPE_CHECKING:
    from merps.tracks.metrics import TrackScore
    from merps.tracks.options import TrackConfig

Track: TypeAlias = Literal["cross", "fg", "prefer"]

_HELP = {
    "cross": "MER-Cross: one of six emotions of a clip.",
    "fg": "MER-FG: all emotions of a clip, in free words.",
    "prefer": "MER-Prefer: which of two texts fits a clip better.",
}

app = typer.Typer(
    help="Work on one of the sibling tracks, from clips of media.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigPath = Annotated[
    Path, typer.Argument(help="YAML file of the track.", metavar="CONFIG")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option, as section.option=value; repeatable."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Tasks at once.")]

_MAIN = {"waf": "WAF", "ew": "EW"}


def check(
    session: Session,
    track: Track,
    config: ConfigPath,
    overrides: Overrides = None,
) -> int:
    """Look for everything that is wrong with tables, media, encoders and wheels."""
    from merps.tracks.checks import check_track

    result = check_track(_options(track, config, overrides))
    for problem in result["problems"]:
        session.say(
            f"{problem['severity']:<8} {problem['where']}: {problem['message']}"
        )
    for name, count in result["rows"].items():
        session.say(f"{name}: {count} rows")
    errors = sum(problem["severity"] == "error" for problem in result["problems"])
    session.say(f"{errors} errors, {len(result['problems']) - errors} warnings")
    session.result(result)
    if not errors:
        return 0
    return 1 if result["rows"] else 3


def encode(
    session: Session,
    track: Track,
    config: ConfigPath,
    export: Annotated[
        Path | None,
        typer.Option(help="Folder for the features in the official form, too."),
    ] = None,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> int:
    """Encode the clips of all tables; what is encoded already is skipped."""
    from merps.tracks.verbs import encode_track

    options = _options(track, config, overrides)
    with session.progress("encode") as steps:
        result = encode_track(options, export=export, jobs=jobs, progress=steps)
    session.say(
        f"{result['done']} encoded, {result['skipped']} there before, "
        f"{result['missing']} missing"
    )
    if result["missing"]:
        session.warn(f"what is missing stands in {Path(options.run) / 'missing.csv'}")
    session.result(result)
    return 1 if result["missing"] else 0


def fit(
    session: Session,
    track: Track,
    config: ConfigPath,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> None:
    """Fit the head, and score it out of fold beside the most frequent label."""
    from merps.tracks.verbs import fit_track

    options = _options(track, config, overrides)
    with session.progress("fit") as steps:
        fitted = fit_track(options, jobs=jobs, progress=steps)
    session.say(f"{fitted.n_nets} nets, one a fold, in {options.run}")
    title = f"out of fold, {fitted.score.n} rows"
    _tell(session, title, {"majority": fitted.baseline, "model": fitted.score})
    for note in fitted.notes:
        session.say(f"Note: {note}.")
    session.result(fitted.as_dict())


def predict(
    session: Session,
    track: Track,
    config: ConfigPath,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> None:
    """Answer the candidates with the fitted model."""
    from merps.tracks.verbs import predict_track

    options = _options(track, config, overrides)
    with session.progress("predict") as steps:
        result = predict_track(options, jobs=jobs, progress=steps)
    session.say(f"{result['rows']} answers in {result['path']}")
    session.result(result)


def judge(
    session: Session,
    track: Track,
    config: ConfigPath,
    train: Annotated[
        bool, typer.Option("--train", help="Ask about training rows, and score.")
    ] = False,
    allow_unparsed: Annotated[
        bool, typer.Option(help="Go on where more than 5 % of answers say nothing.")
    ] = False,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> None:
    """Let a language model behind a chat endpoint answer (MER-FG, MER-Prefer)."""
    from merps.tracks.verbs import judge_track

    options = _options(track, config, overrides)
    with session.progress("judge") as steps:
        result = judge_track(
            options,
            train=train,
            allow_unparsed=allow_unparsed,
            jobs=jobs,
            progress=steps,
        )
    session.say(
        f"{result['rows']} rows judged: {result['requests']} requests, "
        f"{result['cached']} from earlier runs, {result['input_tokens']} tokens in, "
        f"{result['output_tokens']} out, cost {result['cost']:.4f}, "
        f"{result['unparsed']} answers that say nothing"
    )
    scored = result.pop("score", None)
    if scored is not None:
        _tell(session, f"judge, {scored.n} rows", {"judge": scored})
        result["score"] = scored.as_dict()
    session.result(result)


def score(
    session: Session,
    track: Track,
    config: ConfigPath,
    gold: Annotated[
        Path | None, typer.Option(help="Labels; data.gold if absent.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="Answers; answer.csv beside the configuration if absent."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Score answers by the official rule, with intervals."""
    from merps.tracks.delivery import score_track

    options = _options(track, config, overrides)
    answers = answers or config.parent / "answer.csv"
    scored = score_track(options, gold=gold, answers=answers)
    _tell(session, f"{answers}, {scored.n} rows", {"answers": scored}, details=True)
    session.result(scored.as_dict())


def submit(
    session: Session,
    track: Track,
    config: ConfigPath,
    by: Annotated[
        str | None, typer.Option(help="model or judge; what is there if absent.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Write answer.csv, answer.zip and manifest.json beside the configuration."""
    from merps.tracks.delivery import submit_track

    options = _options(track, config, overrides)
    result = submit_track(options, config.absolute().parent, by=by)
    session.say(f"{result['rows']} answers by the {result['by']} in {result['path']}")
    session.result(result)


def simulate(session: Session, out: Path, *, track: str, seed: int, jobs: int) -> None:
    """Write a small data set of a track, with a configuration.

    Parameters
    ----------
    session : Session
        Where results go.
    out : Path
        Folder to write.
    track : str
        ``cross``, ``fg`` or ``prefer``.
    seed, jobs : int
        As of the command.
    """
    from merps.tracks.simulate import simulate_track

    with session.progress("simulate") as steps:
        made = simulate_track(out, track=track, seed=seed, jobs=jobs, progress=steps)
    session.say(
        f"{made.n_train} clips to learn from and {made.n_candidates} to answer in "
        f"{made.path}; go on with\n  merps track {track} fit {made.config}"
    )
    session.result(
        {
            "track": track,
            "path": str(made.path),
            "config": str(made.config),
            "train": made.n_train,
            "candidates": made.n_candidates,
        }
    )


def _options(track: Track, config: Path, overrides: list[str] | None) -> "TrackConfig":
    """Read the options of a track."""
    from merps.tracks.options import load_track

    return load_track(config, track=track, overrides=tuple(overrides or ()))


def _tell(
    session: Session,
    title: str,
    scores: "dict[str, TrackScore]",
    *,
    details: bool = False,
) -> None:
    """Print scores with their intervals; with details also wheels or confusions."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    def table(*columns: str) -> Table:
        made = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
        made.add_column(columns[0], no_wrap=True)
        for column in columns[1:]:
            made.add_column(column, justify="right", no_wrap=True)
        return made

    session.say(title)
    names = list(next(iter(scores.values())).metrics)
    shown = table("", *(part for n in names for part in (_MAIN.get(n, n), "95 %")))
    for who, scored in scores.items():
        cells = (
            text
            for i in scored.metrics.values()
            for text in (f"{i.value:.4f}", f"{i.low:.3f}..{i.high:.3f}")
        )
        shown.add_row(who, *cells)
    session.show(shown)
    if not details:
        return
    session.say("")
    last = list(scores.values())[-1]
    if "wheels" in last.details:
        by_wheel = table("wheel", "rows", "precision", "recall", "F")
        for row in last.details["wheels"]:
            values = (f"{row[name]:.4f}" for name in ("precision", "recall", "f"))
            by_wheel.add_row(str(row["wheel"]), str(row["n"]), *values)
        session.show(by_wheel)
        return
    labels = last.details["labels"]
    confusion = table("true \\ said", *labels)
    for label, row in zip(labels, last.details["confusion"], strict=True):
        confusion.add_row(label, *map(str, row))
    session.show(confusion)


def _bound(verb: Callable[..., int | None], track: Track) -> Callable[..., int | None]:
    """Take the track out of the arguments of a verb."""

    @functools.wraps(verb)
    def run(session: Session, **options: Any) -> int | None:
        return verb(session, track, **options)

    parameters = inspect.signature(verb).parameters
    kept = [parameter for name, parameter in parameters.items() if name != "track"]
    run.__signature__ = inspect.Signature(kept)
    del run.__wrapped__
    return run


for _track in get_args(Track):
    _group = typer.Typer(
        help=_HELP[_track], no_args_is_help=True, rich_markup_mode=None
    )
    for _verb in (check, encode, fit, predict, judge, score, submit):
        if (_track, _verb) != ("cross", judge):
            _group.command(_verb.__name__)(command(_bound(_verb, _track)))
    app.add_typer(_group, name=_track)
