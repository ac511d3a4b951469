"""The simulated folder: the files of MER-PS, with nobody's data in them."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from merps.datasets.arrays import FNIRS_CHANNELS
from merps.datasets.layout import SIGNAL_FILES
from merps.datasets.simulate.signals import PlantedEeg, PlantedFnirs
from merps.datasets.simulate.world import REST_S, World
from merps.predictions import COLUMNS
from merps.readers.mat5 import write_mat5
from merps.samples import format_sample_id

_README = """# Simulated MER-PS data ({layout} layout)

Written by `merps simulate`. Nobody was recorded: ratings and signals come from a seeded
generator, and what the signals say of the ratings was planted (coupling {coupling:g}).
No score on these data says anything about MER-PS. `simulation.json` holds the options,
`oracle.json` the best score that the planted sources allow by themselves, and
`oracle_fusion.json` the best together with the video-time prior.
"""


def write_person(
    root: Path,
    world: World,
    person: int,
    name: str,
    *,
    eeg: PlantedEeg,
    fnirs: PlantedFnirs,
    eeg_rate_hz: float,
    compress: bool,
) -> None:
    """Write the four signal files and the labels of one person.

    One trial is in memory at a time, besides the rests before all of them.

    Parameters
    ----------
    root : Path
        The data folder.
    world : World
        What the person watches and feels.
    person : int
        Number of the person.
    name : str
        Name of the person's folder.
    eeg, fnirs : PlantedEeg, PlantedFnirs
        The person's signals.
    eeg_rate_hz : float
        Sampling rate of the EEG in hertz.
    compress : bool
        Whether variables are compressed.
    """
    folder = root / "data" / name
    folder.mkdir(parents=True)
    n_videos = len(world.video_s)
    _write_signals(
        folder,
        "eeg",
        partial(eeg.trial, rate_hz=eeg_rate_hz),
        n_videos=n_videos,
        n_rest=round(REST_S * eeg_rate_hz),
        compress=compress,
    )
    _write_signals(
        folder,
        "fnirs",
        fnirs.trial,
        n_videos=n_videos,
        n_rest=fnirs.n_rest,
        compress=compress,
    )
    labels = root / "annotations" / f"{name}_label.mat"
    labels.parent.mkdir(exist_ok=True)
    ratings = ((f"video_{v + 1}", world.targets(person, v).T) for v in range(n_videos))
    write_mat5(labels, ratings, compress=compress)


def write_side_files(
    root: Path,
    world: World,
    people: Sequence[str],
    *,
    bad: Mapping[str, Sequence[int]],
    fnirs_positions: Float64[np.ndarray, "channel 3"],
) -> None:
    """Write the tables and texts beside the signals.

    Parameters
    ----------
    root : Path
        The data folder.
    world : World
        What people watch and feel.
    people : sequence of str
        Names, in order.
    bad : mapping of str to sequence of int
        Numbers of the fNIRS channels that cannot be used, by person.
    fnirs_positions : ndarray, shape (channel, 3)
        Positions in meters.
    """
    _write_text(
        root / "README.md",
        _README.format(layout=world.layout, coupling=world.coupling),
    )
    _write_text(
        root / "Targeted_emotions.txt",
        "".join(f"{v}\t{e.capitalize()}\n" for v, e in world.emotions.items()),
    )
    usable = (
        [name, *(int(c not in bad[name]) for c in range(len(FNIRS_CHANNELS)))]
        for name in people
    )
    write_table(root / "fNIRS_reservations.csv", ["sub_id", *FNIRS_CHANNELS], usable)
    places = zip(FNIRS_CHANNELS, *np.round(fnirs_positions.T, 4).tolist(), strict=True)
    write_table(root / "fNIRS_coordinates.csv", ["channel", "x", "y", "z"], places)
    if world.layout == "leaderboard":
        _write_ids(root, world, people)
    else:
        _write_questionnaires(root, world, people)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON.

    Parameters
    ----------
    path : Path
        The file.
    content : mapping
        What JSON can hold.
    """
    _write_text(path, json.dumps(content, indent=1) + "\n")


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Write a CSV file.

    Parameters
    ----------
    path : Path
        The file.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence
        Values.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    _write_text(path, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    """Write the same bytes whatever the locale."""
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_signals(
    folder: Path,
    modality: str,
    make_trial: Callable[[int], Float32[np.ndarray, "*kind channel time"]],
    *,
    n_videos: int,
    n_rest: int,
    compress: bool,
) -> None:
    """Write each trial as it is made, and then what lies before the onsets."""
    rest_of: dict[str, Float32[np.ndarray, "*kind channel time"]] = {}

    def make(video: int) -> tuple[str, Float64[np.ndarray, "*kind channel time"]]:
        """Make one trial and keep its rest."""
        name, trial = f"video_{video + 1}", make_trial(video)
        rest_of[name] = trial[..., :n_rest].copy()
        return name, trial[..., n_rest:].astype(np.float64)

    write_mat5(
        folder / SIGNAL_FILES[modality], map(make, range(n_videos)), compress=compress
    )
    kept = ((name, rest.astype(np.float64)) for name, rest in rest_of.items())
    write_mat5(folder / SIGNAL_FILES[f"{modality}_baseline"], kept, compress=compress)


def _write_ids(root: Path, world: World, people: Sequence[str]) -> None:
    """Write the ids to predict, and the labels that were released later."""
    rows = [
        (format_sample_id(name, stimulus, t), int(valence), int(arousal))
        for p, name in enumerate(people)
        for v, stimulus in enumerate(world.stimuli)
        for t, (valence, arousal) in enumerate(world.targets(p, v))
    ]
    write_table(root / "sample_ids.csv", COLUMNS[:1], (row[:1] for row in rows))
    write_table(root / "targets.csv", COLUMNS, rows)


def _write_questionnaires(root: Path, world: World, people: Sequence[str]) -> None:
    """Write who took part and what they said of each video afterwards."""
    metadata, sam, panas = [], [], []
    for p, name in enumerate(people):
        rng = world.person_rng(p, 20)
        gender = rng.choice(["female", "male"])
        metadata.append((name, gender, rng.integers(18, 35), "healthy"))
        means = [world.targets(p, v).mean(axis=0) for v in range(len(world.video_s))]
        sam.append((name, *np.rint(1 + 8 * np.ravel(means) / 255).astype(int)))
        panas.append((name, *rng.integers(10, 41, size=4)))
    write_table(root / "Metadata.csv", ["id", "gender", "age", "health"], metadata)
    scales = [
        f"Video_{v}_{scale}"
        for v in range(1, len(world.video_s) + 1)
        for scale in ("Valence", "Arousal")
    ]
    write_table(root / "SAM_score.csv", ["sub_id", *scales], sam)
    moods = [f"{sign}_{when}" for when in ("before", "after") for sign in ("PA", "NA")]
    write_table(root / "PANAS_score.csv", ["sub_id", *moods], panas)
