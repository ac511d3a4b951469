"""The commands of merps; heavy modules load inside the command that needs them."""

from pathlib import Path
from typing import Annotated

import typer

from merps.cli import tracks
from merps.cli.folders import export, init
from merps.cli.parameters import (
    Backgrounds,
    ConfigFile,
    Data,
    Jobs,
    Overrides,
    StoreFolder,
)
from merps.cli.session import Session, command

app = typer.Typer(
    name="merps",
    help="Continuous valence and arousal from synchronized EEG and fNIRS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)
app.add_typer(tracks.app, name="track")


def _version(value: bool) -> bool:
    """Print the version and stop, if asked to."""
    if value:
        from merps import __version__

        print(f"merps {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Continuous valence and arousal from synchronized EEG and fNIRS."""


@app.command()
@command
def demo(
    session: Session,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path(
        "merps-demo"
    ),
    people: Annotated[int, typer.Option(min=3, help="Simulated people.")] = 8,
    jobs: Jobs = 2,
) -> int | None:
    """Run the whole job on simulated data, in minutes."""
    from merps.cli.demo import run_demo

    return run_demo(session, out, people=people, jobs=jobs)


@app.command()
@command
def simulate(
    session: Session,
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="OUT")],
    people: Annotated[int, typer.Option(help="How many people.")] = 24,
    eeg_rate_hz: Annotated[int, typer.Option(help="200 or 1000.")] = 200,
    coupling: Annotated[
        float, typer.Option(help="What signals know of the ratings; 0: nothing.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    layout: Annotated[
        str, typer.Option(help="trainval, or leaderboard with other people.")
    ] = "trainval",
    eeg_background: Backgrounds = None,
    fnirs_background: Backgrounds = None,
    compress: Annotated[
        bool, typer.Option("--compress/--no-compress", help="Compress .mat files.")
    ] = True,
    track: Annotated[
        str | None,
        typer.Option(help="cross, fg or prefer: clips of a sibling track instead."),
    ] = None,
    jobs: Jobs = 2,
) -> None:
    """Write a stand-in for the gated data, with a known answer."""
    from merps.datasets.simulate import simulate_dataset

    if track is not None:
        tracks.simulate(session, out, track=track, seed=seed, jobs=jobs)
        return
    with session.progress("simulate") as steps:
        simulation = simulate_dataset(
            out,
            people=people,
            eeg_rate_hz=float(eeg_rate_hz),
            coupling=coupling,
            seed=seed,
            layout=layout,
            eeg_backgrounds=eeg_background or (),
            fnirs_backgrounds=fnirs_background or (),
            compress=compress,
            jobs=jobs,
            progress=steps,
        )
    session.say(f"{len(simulation.people)} simulated people in {out}")
    for protocol, metrics in simulation.oracle.items():
        session.say(
            f"  oracle, {protocol}: Pearson {metrics['pearson']:.3f}, "
            f"MAE {metrics['mae']:.2f}; over the video-time prior "
            f"{simulation.oracle_fusion[protocol]['mae']:.2f}"
        )
    session.result(simulation.as_dict())


app.command()(init)


@app.command()
@command
def check(
    session: Session,
    data: Data,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> int:
    """Look for everything that is wrong with a folder, all at once."""
    from merps.cli.tables import tell_problems
    from merps.config import load_config
    from merps.inspection import check_dataset

    result = check_dataset(data, config=load_config(config, overrides or ()))
    tell_problems(session, result)
    session.result(result.as_dict())
    if not any(problem.severity == "error" for problem in result.problems):
        return 0
    return 1 if result.trials else 3


@app.command()
@command
def preprocess(
    session: Session,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the store.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> int:
    """Filter and resample every recording into a store.

    People whose recordings and options have not changed are skipped.
    """
    from merps.cli.tables import tell_preprocessed
    from merps.config import load_config
    from merps.pipeline import preprocess_dataset

    options = load_config(config, overrides or ())
    with session.progress("preprocess") as steps:
        done = preprocess_dataset(
            data,
            out,
            config=options,
            jobs=jobs,
            progress=steps,
        )
    tell_preprocessed(session, done, out)
    session.result(done.as_dict())
    return 1 if done.failed else 0


@app.command()
@command
def fit(
    session: Session,
    store: StoreFolder,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    model: Annotated[
        str | None,
        typer.Option(help="Name of a model or preset; as configured if absent."),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    hold_out: Annotated[
        str, typer.Option(help="People whose data must not be touched: A,B,...")
    ] = "",
    allow_eval_only: Annotated[
        bool, typer.Option(help="Fit on people meant for evaluation only.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Fit one model on the people of a store."""
    from merps.config import load_config
    from merps.models.wording import tell_gains
    from merps.pipeline import fit_model

    options = load_config(config, overrides or ())
    with session.progress("features") as steps:
        fitted = fit_model(
            store,
            out,
            model=model,
            config=options,
            hold_out=_split(hold_out),
            allow_eval_only=allow_eval_only,
            jobs=jobs,
            progress=steps,
        )
    session.say(
        f"{model or options.model.kind} fitted on {len(fitted.people)} people, in {out}"
    )
    for sentence in tell_gains([fitted.facts]):
        session.say(f"  {sentence}")
    session.result(fitted.as_dict())


@app.command()
@command
def evaluate(
    session: Session,
    store: StoreFolder,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    model: Annotated[
        str | None,
        typer.Option(help="Models or presets: A,B,...; all quick ones if absent."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="people,videos,both,within or some of them.")
    ] = "",
    config: ConfigFile = None,
    overrides: Overrides = None,
    jobs: Jobs = 2,
) -> None:
    """Score models on new people, new videos, and both.

    The signal-free baselines constant, video and video_time are always there too.
    """
    from merps.cli.tables import tell_evaluation
    from merps.config import load_config
    from merps.pipeline import evaluate_model

    options = load_config(config, overrides or ())
    with session.progress("evaluate") as steps:
        evaluation = evaluate_model(
            store,
            out,
            models=None if model is None else _split(model),
            protocols=_split(protocol) or None,
            config=options,
            jobs=jobs,
            progress=steps,
        )
    tell_evaluation(session, evaluation)
    session.say(f"predictions, metrics, comparisons and run card in {out}")
    session.result(evaluation.as_dict())


@app.command()
@command
def predict(
    session: Session,
    run: Annotated[Path, typer.Argument(help="Folder that fit wrote.", metavar="RUN")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The predictions.csv to write.")],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", help="YAML file whose dataset section describes DATA."
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep the preprocessed signals here.")
    ] = None,
    jobs: Jobs = 2,
) -> int:
    """Predict every second of a folder, with or without labels."""
    from merps.cli.tables import WHEN
    from merps.config import load_config
    from merps.pipeline import predict_dataset

    described = None if config is None else load_config(config)
    with session.progress("predict") as steps:
        predicted = predict_dataset(
            run,
            data,
            out,
            config=described,
            store=store,
            jobs=jobs,
            progress=steps,
        )
    session.say(f"{len(predicted.ids)} predictions in {out}")
    session.say(WHEN[predicted.phase])
    if predicted.without_signals:
        session.warn(
            f"{predicted.without_signals} of them without any signal, by what the "
            "model says of those"
        )
    for person, message in predicted.preprocessed.failed:
        session.warn(f"{person}: {message}")
    session.result(predicted.as_dict())
    if not predicted.preprocessed.failed:
        return 0
    return 1 if predicted.preprocessed.done or predicted.preprocessed.skipped else 3


@app.command()
@command
def score(
    session: Session,
    predictions: Annotated[Path, typer.Argument(help="predictions.csv")],
    targets: Annotated[Path, typer.Argument(help="targets.csv")],
) -> None:
    """Score predictions as the challenge does."""
    from merps.cli.tables import tell_score
    from merps.pipeline import score_predictions

    metrics, n_samples = score_predictions(predictions, targets)
    tell_score(session, metrics, n_samples)
    session.result(metrics)


@app.command()
@command
def submit(
    session: Session,
    run: Annotated[Path, typer.Argument(help="Folder that fit wrote.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Recordings to check it with; simulated ones if absent."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    jobs: Jobs = 2,
) -> None:
    """Write a model as a zip file that answers recordings on its own.

    It is unpacked and run once, alone, before it appears under its name.
    """
    from merps.cli.tables import tell_bundle
    from merps.submission import write_bundle

    with session.progress("submit") as steps:
        bundle = write_bundle(
            run, out, data=data, overwrite=overwrite, jobs=jobs, progress=steps
        )
    tell_bundle(session, bundle)
    session.result(bundle.as_dict())


app.command()(export)


def _split(text: str) -> list[str]:
    """Split a comma list, without empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]
