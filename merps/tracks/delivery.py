"""The verbs of a track that take answers: score and submit."""

from pathlib import Path
from typing import Any

from merps.errors import InputError, mismatch
from merps.store.files import read_sealed
from merps.tracks.answers import require_same_rows, score_answers, write_submission
from merps.tracks.metrics import TrackScore
from merps.tracks.options import TrackConfig
from merps.tracks.runs import predictions_path, provenance, sha256_of, wheels_of
from merps.tracks.tables import read_candidates, read_table

#: Who can have made answers.
MAKERS = ("model", "judge")

_REMEDY = "make the predictions again"


def score_track(
    config: TrackConfig, *, gold: Path | None = None, answers: Path
) -> TrackScore:
    """Score a file of answers by the official rule.

    Parameters
    ----------
    config : TrackConfig
        Options.
    gold : Path, optional
        Labels; those of the configuration if absent.
    answers : Path
        Such as ``answer.csv``.

    Returns
    -------
    TrackScore
        The score.

    Raises
    ------
    MerpsError
        If a file cannot be used or a gold row is not answered.
    """
    gold = gold or (config.data.gold and Path(config.data.gold))
    if not gold:
        raise InputError("there is no gold table; name it as data.gold, or pass --gold")
    track, data = config.track, config.data
    named = {"track": track, "labeled": True, "options": data}
    return score_answers(
        track,
        read_table(gold, column=data.gold_label, **named),
        read_table(answers, **named),
        wheels=wheels_of(config) if track == "fg" else None,
        n_resamples=config.bootstrap,
        seed=config.seed,
    )


def submit_track(
    config: TrackConfig, folder: Path, *, by: str | None = None
) -> dict[str, Any]:
    """Write the archive that the challenge takes.

    Parameters
    ----------
    config : TrackConfig
        Options.
    folder : Path
        Where ``answer.csv``, ``answer.zip`` and ``manifest.json`` go.
    by : str, optional
        ``model`` or ``judge``; the one that there is if absent, first the model.

    Returns
    -------
    dict
        ``rows``, ``by`` and ``path``.

    Raises
    ------
    MerpsError
        If there are no predictions, or they are not for these candidates.
    """
    if by not in (None, *MAKERS):
        raise InputError(f"answers are made by {' or '.join(MAKERS)}, not by {by!r}")
    places = {m: predictions_path(config, m) for m in ((by,) if by else MAKERS)}
    maker = next((m for m, path in places.items() if path.is_file()), None)
    if maker is None:
        raise mismatch(
            Path(config.run),
            expected="predictions of the candidates",
            found="none",
            remedy=f"make them with: merps track {config.track} "
            f"{'judge' if by == 'judge' else 'predict'} CONFIG",
        )
    path = places[maker]
    card = read_sealed(path.with_suffix(".json"), remedy=_REMEDY)
    if card["sha256"] != sha256_of(path):
        raise mismatch(
            path, expected="what was written", found="other content", remedy=_REMEDY
        )
    table = read_candidates(config.track, config.data)
    found = read_table(path, track=config.track, labeled=True, options=config.data)
    require_same_rows(table, found)
    manifest = {
        **provenance(config),
        "by": maker,
        "candidates": sha256_of(Path(config.data.candidates)),
        "predictions": {k: v for k, v in card.items() if k != "sha256"},
    }
    archive = write_submission(
        folder, config.track, table, found.labels, manifest=manifest
    )
    return {"rows": len(table), "by": maker, "path": str(archive)}
