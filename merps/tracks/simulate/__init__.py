"""Small data sets in the layout of the sibling tracks, with planted emotions."""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from merps.engine import Progress, Silence, run_tasks
from merps.errors import InputError
from merps.store.files import replace_file, writing
from merps.tracks.simulate.encoders import write_encoders
from merps.tracks.simulate.scenes import Scene, write_scene
from merps.tracks.simulate.words import SENTENCES, WORDS, write_wheels
from merps.tracks.tables import EMOTIONS

logger = logging.getLogger(__name__)

_N_TRAIN, _N_CANDIDATES, _N_PEOPLE = 180, 90, 30
_TIES, _MISTAKES = 0.08, 0.04
# Tables with labels and of candidates, and what stands beside the names of clips.
_TABLES = {
    "cross": ("track1_train.csv", "track1_track2_candidate.csv"),
    "fg": ("track2_train_human.csv", "track1_track2_candidate.csv"),
    "prefer": ("track3_emoprefer.csv", "track3_candidate.csv"),
}
_COLUMNS = {
    "cross": ("discrete",),
    "fg": ("openset",),
    "prefer": ("a1", "a2", "preference"),
}


@dataclass(frozen=True)
class TrackSimulation:
    """What `simulate_track` wrote.

    Parameters
    ----------
    path, config : Path
        The folder, and the configuration in it.
    n_train, n_candidates : int
        Rows of the tables.
    """

    path: Path
    config: Path
    n_train: int
    n_candidates: int


def simulate_track(
    path: Path | str,
    *,
    track: str,
    n_train: int = _N_TRAIN,
    n_candidates: int = _N_CANDIDATES,
    seed: int = 0,
    jobs: int = 2,
    progress: Progress | None = None,
) -> TrackSimulation:
    """Write media, tables, tiny encoders with random weights, and a configuration.

    Faces are drawn and tones are played so that they carry an emotion. In the
    candidates of MER-Cross the face is that of a listener, and tone and text are of
    somebody else who may feel otherwise, as in the challenge. Nobody was recorded, and
    the words of the wheels are invented.

    Parameters
    ----------
    path : Path
        Folder to write; it must not exist or be empty.
    track : str
        ``cross``, ``fg`` or ``prefer``.
    n_train, n_candidates : int
        Rows of the tables.
    seed : int
        Same seed, same data.
    jobs : int
        Clips at a time.
    progress : Progress, optional
        Told of each clip.

    Returns
    -------
    TrackSimulation
        Where everything is.

    Raises
    ------
    InputError
        If the folder is not empty, or a library is not installed.
    SpaceError
        If the folder cannot be written.
    """
    path, progress = Path(path), progress or Silence()
    if track not in _TABLES:
        raise InputError(f"no track {track!r}; there are cross, fg and prefer")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is not empty; choose a new folder")
    rng = np.random.default_rng([seed, list(_TABLES).index(track)])
    scenes = _scenes(track, n_train, n_candidates, rng)
    with writing(path, needed_bytes=10**7):
        for folder in ("video", "audio", "openface_face"):
            (path / folder).mkdir(parents=True)
        progress.expect(len(scenes))
        for outcome in run_tasks(lambda s: write_scene(path, s), scenes, jobs=jobs):
            if outcome.error is not None:
                raise outcome.error
            progress.done(outcome.task.name)
        train, candidates = scenes[:n_train], scenes[n_train:]
        _write_tables(path, track, train, candidates, rng)
        write_encoders(path / "encoders", seed=seed)
        if track == "fg":
            write_wheels(path / "emotion_wheel")
        config = path / "config.yaml"
        replace_file(config, _config_text(track).encode())
    return TrackSimulation(path, config, n_train, n_candidates)


def _scenes(
    track: str, n_train: int, n_candidates: int, rng: np.random.Generator
) -> list[Scene]:
    """Draw who feels and says what in each clip."""
    numbers = rng.permutation(10**6)[: n_train + n_candidates]
    scenes = []
    for row, number in enumerate(numbers.tolist()):
        face, other = rng.integers(len(EMOTIONS), size=2).tolist()
        if track == "cross" and row < n_train:
            other = face  # a speaker looks, sounds and talks alike
        if track == "prefer":
            other = face
        scenes.append(
            Scene(
                name=f"sample_{number:08d}",
                person=int(rng.integers(_N_PEOPLE)) + (row >= n_train) * _N_PEOPLE,
                face=EMOTIONS[face],
                voice=EMOTIONS[other],
                seed=int(rng.integers(2**31)),
            )
        )
    return scenes


def _write_tables(
    path: Path,
    track: str,
    train: Sequence[Scene],
    candidates: Sequence[Scene],
    rng: np.random.Generator,
) -> None:
    """Write tables with and without labels, subtitles, and who is in a clip."""

    def pick(words: Sequence[Any]) -> Any:
        return words[int(rng.integers(len(words)))]

    def label(scene: Scene) -> tuple[str, ...]:
        if track == "cross":
            return (scene.face,)
        if track == "fg":
            felt = dict.fromkeys((scene.face, scene.voice))
            return (",".join(pick(WORDS[emotion]) for emotion in felt),)
        wrong = pick([emotion for emotion in EMOTIONS if emotion != scene.face])
        texts = [f"The person seems {pick(WORDS[e])}." for e in (scene.face, wrong)]
        first = bool(rng.integers(2))
        said = first != bool(rng.random() < _MISTAKES)
        preference = "same" if rng.random() < _TIES else ("a2", "a1")[said]
        return (*(texts if first else texts[::-1]), preference)

    names, columns = _TABLES[track], _COLUMNS[track]
    n_known = len(columns) - 1  # what candidates have, too
    rows = [(scene.name, *label(scene)) for scene in (*train, *candidates)]
    known, asked = rows[: len(train)], rows[len(train) :]
    header = ("name", *columns)
    _write_csv(path / names[0], header, known)
    _write_csv(
        path / names[1], header[: 1 + n_known], (r[: 1 + n_known] for r in asked)
    )
    _write_csv(path / "gold.csv", header, asked)
    _write_csv(
        path / "subtitle_chieng.csv",
        ("name", "chinese", "english"),
        (
            (scene.name, *pick(SENTENCES[scene.voice]))
            for scene in (*train, *candidates)
        ),
    )
    people = ((scene.name, f"person_{scene.person}") for scene in train)
    _write_csv(path / "groups.csv", ("name", "group"), people)


def _config_text(track: str) -> str:
    """Return the configuration of a simulated track."""
    labeled, asked = _TABLES[track]
    data: dict[str, Any] = {
        "train": [labeled],
        "candidates": asked,
        "gold": "gold.csv",
        "media": ["video", "audio", "openface_face"],
        "subtitles": "subtitle_chieng.csv",
        "language": "english",
        "groups": "groups.csv",
    }
    if track == "fg":
        data["wheels"] = "emotion_wheel"
    streams: dict[str, Any] = {
        "face": {"modality": "face", "encoder": "encoders/image", "frames": 4},
        "voice": {"modality": "audio", "encoder": "encoders/audio"},
        "words": {"modality": "text", "encoder": "encoders/text"},
    }
    head: dict[str, Any] = {"hidden": 32, "epochs": 60, "patience": 15}
    if track == "cross":
        head["role"] = "listener"
    if track == "prefer":
        streams = {"face": streams["face"], "voice": streams["voice"]}
        streams["texts"] = {"modality": "answers", "encoder": "encoders/text"}
    content = {"track": track, "data": data, "streams": streams, "head": head}
    head_line = (
        f"# Simulated data of the track {track}: nobody was recorded. Paths count from "
        "this file.\n"
    )
    return head_line + yaml.safe_dump(content, sort_keys=False)


def _write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Write a table."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_file(path, buffer.getvalue().encode())
