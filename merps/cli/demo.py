"""The whole job on simulated data: every stage once, and what came out."""

import json
import time
from pathlib import Path

from merps.cli.session import Session
from merps.cli.tables import (
    tell_evaluation,
    tell_preprocessed,
    tell_problems,
    tell_scores,
)
from merps.datasets.simulate import simulate_dataset
from merps.errors import InputError
from merps.figures import plot_trajectories
from merps.inspection import check_dataset
from merps.models.fusion import KINDS
from merps.pipeline import (
    Evaluation,
    evaluate_model,
    fit_model,
    predict_dataset,
    preprocess_dataset,
    score_predictions,
)
from merps.predictions import read_targets
from merps.samples import samples_of_ids
from merps.scores import score

_NEW_PEOPLE = 1
_DRAWN = ("V02", "V04", "V05")


def run_demo(session: Session, out: Path, *, people: int, jobs: int) -> int:
    """Simulate, check, preprocess, evaluate, fit, predict and score.

    Parameters
    ----------
    session : Session
        Where results go.
    out : Path
        Folder for everything.
    people : int
        Simulated people to learn from.
    jobs : int
        Tasks at once.

    Returns
    -------
    int
        Exit code.
    """
    started = time.monotonic()
    data, new = out / "data", out / "new-people"
    session.say(
        "Nobody was recorded for this: ratings and signals are simulated, and what the "
        "signals know was planted.\n"
    )
    _simulate(session, data, "trainval", people, jobs)
    _simulate(session, new, "leaderboard", _NEW_PEOPLE, jobs)
    tell_problems(session, check_dataset(data))
    with session.progress("preprocess") as steps:
        done = preprocess_dataset(data, out / "store", jobs=jobs, progress=steps)
    tell_preprocessed(session, done, out / "store")
    with session.progress("evaluate") as steps:
        evaluation = evaluate_model(
            out / "store", out / "evaluation", jobs=jobs, progress=steps
        )
    tell_evaluation(session, evaluation)
    for name, what in (("oracle", ""), ("oracle_fusion", " and the video-time prior")):
        best = json.loads((data / f"{name}.json").read_text())
        session.say(
            f"An oracle that sees the planted sources themselves{what} reaches Pearson "
            + ", ".join(f"{m['pearson']:.3f} ({key})" for key, m in best.items())
            + "."
        )
    with session.progress("fit") as steps:
        fitted = fit_model(out / "store", out / "model", jobs=jobs, progress=steps)
    with session.progress("predict") as steps:
        predict_dataset(
            out / "model", new, out / "predictions.csv", jobs=jobs, progress=steps
        )
    fused, _ = score_predictions(out / "predictions.csv", new / "targets.csv")
    ids, ratings = read_targets(new / "targets.csv")
    prior = score(fitted.model.prior_.predict(samples_of_ids(ids)), ratings)
    title = f"\nsomeone new, by models fitted on all {people} people"
    tell_scores(session, title, {"video_time": prior, "fusion": fused}, {})
    figure = out / "trajectories.png"
    _draw(figure, evaluation)
    session.say(
        f"\nEverything lies in {out}:\n"
        f"  data/, new-people/   simulated recordings in the layout of MER-PS\n"
        f"  store/               filtered signals\n"
        f"  evaluation/          out-of-fold predictions, metrics.jsonl, run.json\n"
        f"  model/               the fitted model\n"
        f"  predictions.csv      its answers for the new person\n"
        f"  trajectories.png     rated and predicted, side by side\n"
        f"{time.monotonic() - started:.0f} s. With your own data: merps check DATA"
    )
    session.result(
        {
            "path": str(out),
            "evaluation": evaluation.as_dict(),
            "new_people": {"video_time": prior, "fusion": fused},
            "gains": {kind: fitted.facts[kind]["gain"] for kind in KINDS},
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    return 0


def _simulate(
    session: Session, path: Path, layout: str, people: int, jobs: int
) -> None:
    """Simulate people, unless an earlier demo left the same ones."""
    mark = path / "simulation.json"
    if mark.is_file():
        content = json.loads(mark.read_text())
        if (content.get("layout"), content.get("people")) != (layout, people):
            raise InputError(
                f"{path} holds another simulation; delete it or pass another --out"
            )
        return
    with session.progress("simulate") as steps:
        simulate_dataset(path, people=people, layout=layout, jobs=jobs, progress=steps)


def _draw(path: Path, evaluation: Evaluation) -> None:
    """Draw one held-out person's ratings beside what was predicted for them."""
    (result,) = (r for r in evaluation.results if r.protocol == "people")
    person = str(evaluation.samples.people[0])
    plot_trajectories(
        path,
        evaluation.samples,
        {
            "video-time prior (no signals)": result.predictions["video_time"],
            "fusion with EEG and fNIRS": result.predictions["fusion"],
        },
        person=person,
        stimuli=_DRAWN,
        title="Simulated data: a person held out of training, planted coupling",
    )
