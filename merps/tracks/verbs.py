"""The verbs of a track: check, encode, fit, predict, judge, score and submit."""

import csv
import hashlib
import io
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import merps
from merps.datasets.manifest import load_manifest
from merps.engine import Progress
from merps.errors import DataError, InputError, MerpsError, mismatch
from merps.models.persistence import DESCRIPTION, WEIGHTS, load_model, save_model
from merps.store.files import canonical, read_sealed, replace_file, sealed, writing
from merps.tracks.answers import (
    format_answers,
    require_same_rows,
    score_answers,
    score_labels,
    write_submission,
)
from merps.tracks.cache import SOURCE, open_store
from merps.tracks.clips import Encoded, encode_table, export_features
from merps.tracks.heads import ClipModel
from merps.tracks.judges import Judge, judge_table
from merps.tracks.media import MediaIndex
from merps.tracks.metrics import TrackScore, majority
from merps.tracks.options import EGEMAPS, StreamConfig, TrackConfig
from merps.tracks.tables import ClipTable, read_candidates, read_table, read_training
from merps.tracks.wheels import Wheels, read_wheels

logger = logging.getLogger(__name__)

#: The one class of models of the tracks, by its name in files.
MODELS = {"clips": ClipModel}
#: Who can have made the answers.
MAKERS = ("model", "judge")

_CARD, _REMEDY = "run.json", "make the predictions again"
_SPEAKER_DOMAIN = (
    "MER-Cross is tested on listeners; this cross-validation is over speakers and says "
    "more than is true of listeners"
)
_LIBRARIES = ("av", "numpy", "openai", "scikit-learn", "torch", "transformers")


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


def check_track(config: TrackConfig) -> dict[str, Any]:
    """Look at tables, media, encoders and wheels, and say all that is wrong.

    Parameters
    ----------
    config : TrackConfig
        Options.

    Returns
    -------
    dict
        ``rows`` by table, ``coverage`` by table and stream, and ``problems``, each
        with ``severity``, ``where`` and ``message``.
    """
    problems: list[dict[str, str]] = []

    def attempt(where: str, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except MerpsError as error:
            problems.append(
                {"severity": "error", "where": where, "message": str(error)}
            )
            return None

    data = config.data
    tables = {}
    if data.train:
        tables["train"] = attempt("train", read_training, config.track, data)
    if data.candidates:
        tables["candidates"] = attempt(
            "candidates", read_candidates, config.track, data
        )
    index = attempt("media", MediaIndex, [Path(root) for root in data.media])
    for name, stream in config.streams.items():
        attempt(f"stream {name}", _check_encoder, stream)
    if config.track == "fg":
        attempt("wheels", _wheels, config)
    found = {n: t for n, t in tables.items() if t is not None}
    coverage = {
        f"{table}/{name}": _coverage(rows, stream, index)
        for table, rows in found.items()
        for name, stream in config.streams.items()
    }
    for place, share in coverage.items():
        if share < 1:
            message = f"{share:.1%} of the rows have this stream"
            problems.append({"severity": "warning", "where": place, "message": message})
    return {
        "rows": {name: len(table) for name, table in found.items()},
        "coverage": coverage,
        "problems": problems,
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
    missing = []
    for table in tables:
        encoded = encode_table(
            table, config, streams=config.streams, jobs=jobs, progress=progress
        )
        result["done"] += encoded.done
        result["skipped"] += encoded.skipped
        missing += encoded.missing
        if export is not None:
            result["exported"] += export_features(
                table, encoded.clips, config.streams, export
            )
    result["missing"] = len(missing)
    _write_missing(_run_folder(config), missing)
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
        Told of each clip that is encoded.

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
    wheels = _wheels(config) if config.track == "fg" else None
    encoded = _encode(table, config, jobs, progress)
    encoded.require(config.data.max_missing_train, len(table))
    model = _make_model(config)
    run = _run_folder(config)
    found = model.fit(
        encoded.clips,
        wheels=wheels,
        vectors=_label_vectors(config, table),
    )
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
        **_provenance(config),
        "terms": " ".join(load_manifest().sources[SOURCE].terms),
        "tables": {path: _sha256(Path(path)) for path in config.data.train},
        "scores": fitted.as_dict(),
    }
    save_model(model, run, card=card, classes=MODELS)
    _write(run / _CARD, canonical(card))
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
    empty = [
        row for row, pair in enumerate(table.pairs) if not all(map(str.strip, pair))
    ]
    if empty:
        logger.warning("%d rows lack a text and are answered same", len(empty))
    encoded.require(config.data.max_missing, len(table))
    answers = model.predict(encoded.clips)
    facts = {"missing": len(encoded.missing), "model": _sha256(run / WEIGHTS)}
    path = _write_predictions(config, "model", table, answers, facts)
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
        ``rows`` and the usage; ``score`` for training rows, else ``path``.

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
            wheels=_wheels(config) if config.track == "fg" else None,
            n_resamples=config.bootstrap,
            seed=config.seed,
        )
        return {**result, "score": scored.as_dict()}
    facts = {"usage": asdict(verdicts.usage), "judge": config.judge.model_dump()}
    path = _write_predictions(config, "judge", table, verdicts.answers, facts)
    return {**result, "path": str(path)}


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
    column = config.data.gold_label
    track, options = config.track, config.data
    return score_answers(
        track,
        read_table(gold, track=track, labeled=True, options=options, column=column),
        read_table(answers, track=track, labeled=True, options=options),
        wheels=_wheels(config) if track == "fg" else None,
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
    places = {m: _predictions(config, m) for m in ((by,) if by else MAKERS)}
    maker = next((m for m, path in places.items() if path.is_file()), None)
    if maker is None:
        raise mismatch(
            Path(config.run),
            expected="predictions of the candidates",
            found="none",
            remedy=f"make them with: merps track {config.track} predict CONFIG",
        )
    path = places[maker]
    card = read_sealed(path.with_suffix(".json"), remedy=_REMEDY)
    if card["sha256"] != _sha256(path):
        raise mismatch(
            path, expected="what was written", found="other content", remedy=_REMEDY
        )
    table = read_candidates(config.track, config.data)
    found = read_table(path, track=config.track, labeled=True, options=config.data)
    require_same_rows(table, found)
    manifest = {
        **_provenance(config),
        "by": maker,
        "candidates": _sha256(Path(config.data.candidates)),
        "predictions": {k: v for k, v in card.items() if k != "sha256"},
    }
    archive = write_submission(
        folder, config.track, table, found.labels, manifest=manifest
    )
    return {"rows": len(table), "by": maker, "path": str(archive)}


def _encode(
    table: ClipTable, config: TrackConfig, jobs: int, progress: Progress | None
) -> Encoded:
    """Encode the streams that the head takes, and list what is missing."""
    streams = dict(config.used)
    if config.answers is not None:
        streams[config.answers] = config.streams[config.answers]
    encoded = encode_table(table, config, streams=streams, jobs=jobs, progress=progress)
    _write_missing(_run_folder(config), encoded.missing)
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


def _check_encoder(stream: StreamConfig) -> None:
    """Refuse an encoder that is not there."""
    from merps.tracks.encoders import describe_encoder

    if stream.encoder is not None and stream.encoder != EGEMAPS:
        describe_encoder(stream)


def _coverage(
    table: ClipTable, stream: StreamConfig, index: MediaIndex | None
) -> float:
    """Return the share of rows that have a stream, by what lies on the disk."""
    if stream.features is not None:
        folder = Path(stream.features)
        there = [(folder / f"{name}.npy").is_file() for name in table.names]
    elif stream.modality == "answers":
        there = [all(pair) for pair in table.pairs]
    elif stream.modality == "text":
        there = [bool(text.strip()) for text in table.subtitles]
    else:
        there = [
            index is not None and index.find(name, stream.modality) is not None
            for name in table.names
        ]
    return float(np.mean(there))


def _wheels(config: TrackConfig) -> Wheels:
    """Read the wheels that the options name."""
    if config.data.wheels is None:
        raise InputError(
            "MER-FG needs the emotion wheels of MERTools, which merps may not pass on; "
            "name MER2026/MER2026_Track2/emotion_wheel of a checkout as data.wheels"
        )
    return read_wheels(Path(config.data.wheels))


def _run_folder(config: TrackConfig) -> Path:
    """Make the folder of the run: private, and ignored by git."""
    run = Path(config.run)
    with writing(run, needed_bytes=0):
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (run / ".gitignore").exists():
            replace_file(run / ".gitignore", b"*\n")
    return run


def _predictions(config: TrackConfig, maker: str) -> Path:
    """Return where predictions are kept."""
    return Path(config.run) / "predictions" / f"{maker}.csv"


def _write_predictions(
    config: TrackConfig,
    maker: str,
    table: ClipTable,
    answers: Sequence[Any],
    facts: Mapping[str, Any],
) -> Path:
    """Write answers, and beside them how they were made."""
    _run_folder(config)
    path = _predictions(config, maker)
    data = format_answers(config.track, table, answers)
    card = {**facts, "sha256": hashlib.sha256(data).hexdigest()}
    with writing(path, needed_bytes=len(data)):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, data)
        replace_file(path.with_suffix(".json"), sealed(card))
    return path


def _write_missing(run: Path, missing: Sequence[tuple[str, str, str]]) -> None:
    """List streams of rows that are not there."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("stream", "name", "reason"))
    writer.writerows(missing)
    _write(run / "missing.csv", buffer.getvalue().encode())


def _write(path: Path, data: bytes) -> None:
    """Put a file in place."""
    with writing(path, needed_bytes=len(data)):
        replace_file(path, data)


def _provenance(config: TrackConfig) -> dict[str, Any]:
    """Say with which options and versions something is made."""
    versions = {"merps": merps.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    plain = json.loads(config.model_dump_json())
    return {"config": plain, "seed": config.seed, "versions": versions}


def _sha256(path: Path) -> str:
    """Digest a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
