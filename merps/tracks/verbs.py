"""The verbs of a track that make answers: encode, fit, predict and judge."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merps.datasets.manifest import load_manifest
from merps.engine import Progress
from merps.errors import InputError, mismatch
from merps.models.persistence import DESCRIPTION, WEIGHTS, load_model, save_model
from merps.store.files import canonical
from merps.tracks.answers import score_labels
from merps.tracks.cache import SOURCE, open_store
from merps.tracks.clips import Encoded, Growing, encode_table, export_features
from merps.tracks.heads import ClipModel
from merps.tracks.judges import Judge, judge_table
from merps.tracks.media import MediaIndex
from merps.tracks.metrics import TrackScore, majority
from merps.tracks.options import StreamConfig, TrackConfig
from merps.tracks.runs import (
    provenance,
    run_folder,
    sha256_of,
    wheels_of,
    write_answers,
    write_file,
    write_missing,
)
from merps.tracks.tables import (
    ClipTable,
    read_candidates,
    read_training,
    rows_lacking_a_text,
)

logger = logging.getLogger(__name__)

#: The one class of models of the tracks, by its name in files.
MODELS = {"clips": ClipModel}

_CARD = "run.json"
_SPEAKER_DOMAIN = (
    "MER-Cross is tested on listeners; this cross-validation is over speakers and says "
    "more than is true of listeners"
)


@dataclass(frozen=True)
class Fitted:
    """What `fit_track` made.

    Parameters
    ----------
    n_rows, n_nets : int
        Rows learned from, and nets.
    score, baseline : TrackScore
        Of out-of-fold answers, and of the most frequent label or labels.
    notes : tuple of str
        What must be said beside the scores.
    """

    n_rows: int
    n_nets: int
    score: TrackScore
    baseline: TrackScore
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

        Returns
        -------
        dict
            Rows, nets, both scores and the notes.
        """
        return {
            "rows": self.n_rows,
            "nets": self.n_nets,
            "out_of_fold": self.score.as_dict(),
            "majority": self.baseline.as_dict(),
            "notes": list(self.notes),
        }


def encode_track(
    config: TrackConfig,
    *,
    export: Path | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode the clips of all tables; what is encoded already is skipped.

    Parameters
    ----------
    config : TrackConfig
        Options.
    export : Path, optional
        Folder that gets the features in the official form, too.
    jobs : int
        Clips at a time.
    progress : Progress, optional
        Told of each clip.

    Returns
    -------
    dict
        ``done``, ``skipped``, ``missing`` and ``exported``.

    Raises
    ------
    MerpsError
        As `encode_table`, or if there is no table.
    """
    tables = []
    if config.data.train:
        tables.append(read_training(config.track, config.data))
    if config.data.candidates:
        tables.append(read_candidates(config.track, config.data))
    if not tables:
        raise InputError("name data.train or data.candidates to have clips to encode")
    result = {"done": 0, "skipped": 0, "missing": 0, "exported": 0}
    missing, steps = [], Growing(progress)
    for table in tables:
        encoded = encode_table(
            table, config, streams=config.streams, jobs=jobs, progress=steps
        )
        result["done"] += encoded.done
        result["skipped"] += encoded.skipped
        missing += encoded.missing
        if export is not None:
            result["exported"] += export_features(
                table, encoded.clips, config.streams, export
            )
    result["missing"] = len(missing)
    write_missing(run_folder(config), missing)
    return result


def fit_track(
    config: TrackConfig, *, jobs: int = 2, progress: Progress | None = None
) -> Fitted:
    """Fit the head of a track, and score it out of fold beside the majority.

    Parameters
    ----------
    config : TrackConfig
        Options.
    jobs : int
        Clips encoded at a time.
    progress : Progress, optional
        Told of each clip that is encoded, and of each net.

    Returns
    -------
    Fitted
        Scores; the model is in the folder of the run.

    Raises
    ------
    MerpsError
        If tables, media, encoders or options cannot be used.
    """
    table = read_training(config.track, config.data)
    wheels = wheels_of(config) if config.track == "fg" else None
    steps = Growing(progress)
    encoded = _encode(table, config, jobs, steps)
    encoded.require(config.data.max_missing_train)
    model = _make_model(config)
    run = run_folder(config)
    vectors = _label_vectors(config, table)
    found = model.fit(encoded.clips, wheels=wheels, vectors=vectors, progress=steps)
    scoring = {
        "groups": encoded.clips.groups,
        "wheels": wheels,
        "n_resamples": config.bootstrap,
        "seed": config.seed,
    }
    baseline = [majority(config.track, table.labels)] * len(table)
    fitted = Fitted(
        n_rows=len(table),
        n_nets=model.n_nets_,
        score=score_labels(config.track, table.labels, found.answers, **scoring),
        baseline=score_labels(config.track, table.labels, baseline, **scoring),
        notes=(_SPEAKER_DOMAIN,) if config.track == "cross" else (),
    )
    card = {
        **provenance(config),
        "terms": " ".join(load_manifest().sources[SOURCE].terms),
        "tables": {path: sha256_of(Path(path)) for path in config.data.train},
        "scores": fitted.as_dict(),
    }
    save_model(model, run, card=card, classes=MODELS)
    write_file(run / _CARD, canonical(card))
    return fitted


def predict_track(
    config: TrackConfig, *, jobs: int = 2, progress: Progress | None = None
) -> dict[str, Any]:
    """Answer the candidates with the fitted model.

    Parameters
    ----------
    config : TrackConfig
        Options.
    jobs : int
        Clips encoded at a time.
    progress : Progress, optional
        Told of each clip that is encoded.

    Returns
    -------
    dict
        ``rows``, ``missing`` and ``path``.

    Raises
    ------
    MerpsError
        If there is no model, or candidates or media cannot be used.
    """
    run = Path(config.run)
    if not (run / DESCRIPTION).is_file():
        raise mismatch(
            run,
            expected="a fitted model",
            found="none",
            remedy=f"make it with: merps track {config.track} fit CONFIG",
        )
    model, _ = load_model(run, classes=MODELS)
    if model.task != config.track:
        raise InputError(f"{run}: this model is for {model.task}, not {config.track}")
    model.set_params(device=config.head.device)
    table = read_candidates(config.track, config.data)
    encoded = _encode(table, config, jobs, progress)
    if empty := rows_lacking_a_text(table):
        logger.warning("%d rows lack a text and are answered same", len(empty))
    encoded.require(config.data.max_missing)
    answers = model.predict(encoded.clips)
    facts = {"missing": len(encoded.missing), "model": sha256_of(run / WEIGHTS)}
    path = write_answers(config, "model", table, answers, facts)
    return {"rows": len(table), "missing": len(encoded.missing), "path": str(path)}


def judge_track(
    config: TrackConfig,
    *,
    train: bool = False,
    allow_unparsed: bool = False,
    jobs: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let a language model answer the candidates, or the training rows to score it.

    Parameters
    ----------
    config : TrackConfig
        Options.
    train : bool
        Ask about the training rows; nothing is learned and no predictions are kept.
    allow_unparsed : bool
        Go on where more than 5 % of the answers say nothing.
    jobs : int
        Rows at a time.
    progress : Progress, optional
        Told of each row.

    Returns
    -------
    dict
        ``rows`` and the usage; ``score``, a `TrackScore`, for training rows, else
        ``path``.

    Raises
    ------
    MerpsError
        If the endpoint does not answer, or too many answers say nothing.
    """
    if config.track == "cross":
        raise InputError("MER-Cross has no judge; fit a model instead")
    if train:
        table = read_training(config.track, config.data)
    else:
        table = read_candidates(config.track, config.data)
    index = MediaIndex([Path(root) for root in config.data.media])
    judge = Judge(open_store(Path(config.store)) / "judge", config.judge)
    verdicts = judge_table(table, judge, index, jobs=jobs, progress=progress)
    if not allow_unparsed:
        verdicts.require_parsed()
    result = {"rows": len(table), **asdict(verdicts.usage)}
    if train:
        scored = score_labels(
            config.track,
            table.labels,
            verdicts.answers,
            groups=table.groups,
            wheels=wheels_of(config) if config.track == "fg" else None,
            n_resamples=config.bootstrap,
            seed=config.seed,
        )
        return {**result, "score": scored}
    facts = {"usage": asdict(verdicts.usage), "judge": config.judge.model_dump()}
    path = write_answers(config, "judge", table, verdicts.answers, facts)
    return {**result, "path": str(path)}


def _encode(
    table: ClipTable, config: TrackConfig, jobs: int, progress: Progress | None
) -> Encoded:
    """Encode the streams that the head takes, and list what is missing."""
    streams = dict(config.used)
    if config.answers is not None:
        streams[config.answers] = config.streams[config.answers]
    encoded = encode_table(table, config, streams=streams, jobs=jobs, progress=progress)
    write_missing(run_folder(config), encoded.missing)
    return encoded


def _make_model(config: TrackConfig) -> ClipModel:
    """Return the head that the options describe."""
    options = config.head.model_dump(exclude={"role"})
    return ClipModel(task=config.track, seed=config.seed, **options)


def _label_vectors(
    config: TrackConfig, table: ClipTable
) -> Mapping[str, np.ndarray] | None:
    """Encode the labels of MER-FG as text, if the head wants that."""
    if config.track != "fg" or config.head.kind != "embedding":
        return None
    if config.label_encoder is None:
        raise InputError("head.kind embedding needs a text encoder as label_encoder")
    from merps.models.determinism import torch_settings
    from merps.tracks.encoders import load_encoder, pool_steps

    stream = StreamConfig(modality="text", encoder=config.label_encoder)
    encoder = load_encoder(stream)
    labels = sorted({label for found in table.labels for label in found})
    with torch_settings(device=stream.device, threads=1, seed=0):
        return {
            label: pool_steps(encoder.encode(label), "utterance")[0] for label in labels
        }
