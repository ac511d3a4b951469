"""A faithful stand-in for data that nobody may pass on, with a known answer."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from merps.config import Config
from merps.datasets.arrays import EEG_CHANNELS, EEG_RATES_HZ, FNIRS_CHANNELS
from merps.datasets.simulate.backgrounds import eeg_background, fnirs_background
from merps.datasets.simulate.layout import write_json, write_person, write_side_files
from merps.datasets.simulate.oracle import score_oracle
from merps.datasets.simulate.signals import (
    FNIRS_RATE_HZ,
    PlantedEeg,
    PlantedFnirs,
    SyntheticEeg,
    SyntheticFnirs,
)
from merps.datasets.simulate.world import REST_S, VIDEO_SECONDS, World
from merps.engine import Progress, Silence, run_tasks
from merps.errors import InputError
from merps.store import require_space

logger = logging.getLogger(__name__)

_PREFIXES = {"trainval": "test_", "leaderboard": "predict"}


@dataclass(frozen=True)
class Simulation:
    """What `simulate_dataset` wrote.

    Parameters
    ----------
    path : Path
        The data folder.
    people : tuple of str
        Names of the people.
    oracle : dict of dict of float
        Metrics of a ridge regression on the true source courses, by protocol.
    """

    path: Path
    people: tuple[str, ...]
    oracle: dict[str, dict[str, float]]


def simulate_dataset(
    path: Path | str,
    *,
    people: int = 24,
    eeg_rate_hz: float = 200.0,
    coupling: float = 1.0,
    seed: int = 0,
    layout: str = "trainval",
    video_s: Sequence[int] = VIDEO_SECONDS,
    eeg_backgrounds: Sequence[Path | str] = (),
    fnirs_backgrounds: Sequence[Path | str] = (),
    compress: bool = True,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Simulation:
    """Write a folder in the layout of MER-PS with simulated people in it.

    Ratings are a course that all people share per video plus each one's slow deviation
    from it. Sources whose band power follows the *deviation* are mixed into the EEG by
    the person's own perturbation of a common mixing matrix and, through a hemodynamic
    response, into HbO and HbR. The same seed gives the same videos in both layouts,
    with different people in them.

    Parameters
    ----------
    path : Path
        Folder to write; it must not exist or be empty.
    people : int
        How many people.
    eeg_rate_hz : float
        200 or 1000.
    coupling : float
        How strongly sources follow the deviations; 0 plants none, and 1 gives the
        oracle a Pearson correlation near 0.5 on new people and videos.
    seed : int
        Same options and seed, same bytes.
    layout : str
        ``trainval`` or ``leaderboard``.
    video_s : sequence of int
        Length of each video in seconds.
    eeg_backgrounds, fnirs_backgrounds : sequence of path
        Real recordings, folders or patterns to use as the noise.
    compress : bool
        Whether variables of the .mat files are compressed.
    jobs : int
        People simulated at once.
    progress : Progress, optional
        Told of each person that is written.

    Returns
    -------
    Simulation
        Where the data are, and how well the oracle does.

    Raises
    ------
    InputError
        If an option cannot be used or the folder is not empty.
    SpaceError
        If the folder cannot be written.
    """
    path, progress = Path(path), progress or Silence()
    _check_options(people, eeg_rate_hz, coupling, seed, layout, video_s)
    world = World(seed, coupling, layout, tuple(video_s))
    names = tuple(f"{_PREFIXES[layout]}{k}" for k in range(1, people + 1))
    recorded_eeg = recorded_fnirs = None
    if eeg_backgrounds:
        recorded_eeg = eeg_background(eeg_backgrounds, EEG_CHANNELS)
    if fnirs_backgrounds:
        recorded_fnirs = fnirs_background(fnirs_backgrounds, FNIRS_CHANNELS)
    eeg_positions, fnirs_positions = _eeg_positions(), _fnirs_positions()
    n_seconds = sum(video_s) + REST_S * len(video_s)
    rates = len(EEG_CHANNELS) * eeg_rate_hz + 6 * len(FNIRS_CHANNELS) * FNIRS_RATE_HZ
    needed = int(people * n_seconds * rates * 8 * (0.65 if compress else 1))

    def write_one(person: int) -> str:
        """Simulate and write one person."""
        eeg = PlantedEeg(
            world,
            person,
            recorded_eeg or SyntheticEeg(world.person_rng(person, 3), eeg_positions),
            eeg_positions,
        )
        fnirs = PlantedFnirs(
            world,
            person,
            recorded_fnirs
            or SyntheticFnirs(world.person_rng(person, 12), len(FNIRS_CHANNELS)),
            fnirs_positions / 0.1,
            bad[names[person]],
        )
        write_person(
            folder,
            world,
            person,
            names[person],
            eeg=eeg,
            fnirs=fnirs,
            eeg_rate_hz=eeg_rate_hz,
            compress=compress,
        )
        return names[person]

    progress.expect(people)
    with _complete_or_absent(path, needed) as folder:
        bad = {name: _bad_channels(world, p) for p, name in enumerate(names)}
        write_side_files(folder, world, names, bad=bad, fnirs_positions=fnirs_positions)
        for outcome in run_tasks(write_one, range(people), jobs=jobs):
            if outcome.error is not None:
                raise outcome.error
            logger.info("simulated %s", outcome.value)
            progress.done(outcome.value)
        config = Config()
        oracle = score_oracle(
            world, names, seed=config.evaluate.seed, width_s=config.features.width_s
        )
        write_json(folder / "oracle.json", oracle)
    return Simulation(path=path, people=names, oracle=oracle)


def _check_options(
    people: int,
    eeg_rate_hz: float,
    coupling: float,
    seed: int,
    layout: str,
    video_s: Sequence[int],
) -> None:
    """Refuse options that make no data set."""
    if not 1 <= people <= 999:
        raise InputError(f"people must be between 1 and 999, got {people}")
    if eeg_rate_hz not in EEG_RATES_HZ:
        raise InputError(f"eeg_rate_hz must be 200 or 1000, got {eeg_rate_hz:g}")
    if not 0 <= coupling <= 10:
        raise InputError(f"coupling must be between 0 and 10, got {coupling:g}")
    if seed < 0:
        raise InputError(f"seed must not be negative, got {seed}")
    if layout not in _PREFIXES:
        raise InputError(f"layout must be trainval or leaderboard, got {layout!r}")
    if not 1 <= len(video_s) <= 99 or not all(4 <= s <= 999 for s in video_s):
        raise InputError(
            "video_s must name 1 to 99 videos of 4 to 999 seconds each, got "
            f"{list(video_s)}"
        )


@contextmanager
def _complete_or_absent(path: Path, needed_bytes: int) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its name once it is complete."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path} exists and is not an empty folder; choose another place or "
            "delete it first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path.parent, needed_bytes)
    folder = path.parent / f".{path.name}.{os.getpid()}.partial"
    folder.mkdir()
    try:
        yield folder
        os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bad_channels(world: World, person: int) -> list[int]:
    """Draw the fNIRS channels that see no light in one person."""
    rng = world.person_rng(person, 13)
    n_bad = int(rng.integers(4))
    return sorted(rng.choice(len(FNIRS_CHANNELS), n_bad, replace=False).tolist())


def _eeg_positions() -> Float64[np.ndarray, "channel 3"]:
    """Return electrode positions on a head of unit radius."""
    import mne

    montage = mne.channels.make_standard_montage("colin27_1005")
    placed = {k.upper(): v for k, v in montage.get_positions()["ch_pos"].items()}
    # CB1 and CB2 have no standard position; they sit below PO9 and PO10.
    placed |= {"CB1": placed["PO9"], "CB2": placed["PO10"]}
    positions = np.array([placed[name] for name in EEG_CHANNELS])
    positions -= positions.mean(axis=0) * [1, 1, 0]
    return positions / np.linalg.norm(positions, axis=1, keepdims=True)


def _fnirs_positions() -> Float64[np.ndarray, "channel 3"]:
    """Return schematic positions in meters: right, left and frontal, 17 each."""
    grid = np.array([(k % 6, k // 6) for k in range(17)]) * 0.02
    flat = np.zeros(17)
    right = np.stack([0.07 + flat, grid[:, 0] - 0.05, 0.02 + grid[:, 1]], axis=1)
    left = right * [-1, 1, 1]
    front = np.stack([grid[:, 0] - 0.05, 0.09 + flat, 0.02 + grid[:, 1]], axis=1)
    return np.concatenate([right, left, front])
