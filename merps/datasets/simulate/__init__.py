"""A faithful stand-in for data that nobody may pass on, with a known answer."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from merps.datasets.arrays import (
    EEG_CHANNELS,
    EEG_RATES_HZ,
    FNIRS_CHANNELS,
    FNIRS_RATE_HZ,
)
from merps.datasets.simulate.backgrounds import eeg_background, fnirs_background
from merps.datasets.simulate.layout import write_json, write_person, write_side_files
from merps.datasets.simulate.oracle import score_oracle, score_oracle_fusion
from merps.datasets.simulate.signals import PlantedEeg, PlantedFnirs
from merps.datasets.simulate.synthetic import SyntheticEeg, SyntheticFnirs
from merps.datasets.simulate.world import REST_S, VIDEO_SECONDS, World
from merps.engine import Progress, Silence, run_tasks
from merps.errors import InputError, LockedError, SpaceError
from merps.options import Config
from merps.store import require_space

logger = logging.getLogger(__name__)

_PREFIXES = {"trainval": "test_", "leaderboard": "predict"}
_HEAD_RADIUS_M = 0.1


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
    oracle_fusion : dict of dict of float
        Metrics of the video-time prior with what those courses add to it.
    """

    path: Path
    people: tuple[str, ...]
    oracle: dict[str, dict[str, float]]
    oracle_fusion: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps simulate --json`` prints."""
        return {
            "people": len(self.people),
            "path": str(self.path),
            "oracle": self.oracle,
            "oracle_fusion": self.oracle_fusion,
        }


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
    LockedError
        If another process writes the folder, or was stopped while it did.
    """
    path, progress = Path(path), progress or Silence()
    _check_options(people, eeg_rate_hz, coupling, seed, layout, video_s)
    world = World(seed, coupling, layout, tuple(map(int, video_s)))
    names = tuple(f"{_PREFIXES[layout]}{k}" for k in range(1, people + 1))
    bad = {name: _bad_channels(world, p) for p, name in enumerate(names)}
    recorded_eeg = recorded_fnirs = None
    if eeg_backgrounds:
        recorded_eeg = eeg_background(eeg_backgrounds, EEG_CHANNELS)
    if fnirs_backgrounds:
        recorded_fnirs = fnirs_background(fnirs_backgrounds, FNIRS_CHANNELS)
    options = {
        "source": "simulated",
        "layout": layout,
        "seed": seed,
        "coupling": coupling,
        "people": people,
        "eeg_rate_hz": eeg_rate_hz,
        "video_s": world.video_s,
        "eeg_backgrounds": recorded_eeg.files if recorded_eeg else (),
        "fnirs_backgrounds": recorded_fnirs.files if recorded_fnirs else (),
    }
    eeg_positions, fnirs_positions = _eeg_positions(), _fnirs_positions()
    n_seconds = sum(video_s) + REST_S * len(video_s)
    rates = len(EEG_CHANNELS) * eeg_rate_hz + 6 * len(FNIRS_CHANNELS) * FNIRS_RATE_HZ
    needed = int(people * n_seconds * rates * 8 * (0.65 if compress else 1))

    with _complete_or_absent(path, needed) as folder:

        def write_one(person: int) -> None:
            """Simulate and write one person."""
            eeg = recorded_eeg or SyntheticEeg(
                world.person_rng(person, 3), eeg_positions
            )
            fnirs = recorded_fnirs or SyntheticFnirs(
                world.person_rng(person, 12), len(FNIRS_CHANNELS)
            )
            write_person(
                folder,
                world,
                person,
                names[person],
                eeg=PlantedEeg(world, person, eeg, eeg_positions),
                fnirs=PlantedFnirs(
                    world,
                    person,
                    fnirs,
                    fnirs_positions / _HEAD_RADIUS_M,
                    bad[names[person]],
                ),
                eeg_rate_hz=eeg_rate_hz,
                compress=compress,
            )

        write_json(folder / "simulation.json", options)
        write_side_files(folder, world, names, bad=bad, fnirs_positions=fnirs_positions)
        progress.expect(people)
        # Closed before the folder is removed, so that no thread writes after that.
        with closing(run_tasks(write_one, range(people), jobs=jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                logger.info("simulated %s", names[outcome.task])
                progress.done(names[outcome.task])
        config = Config()
        seen = {"seed": config.evaluate.seed, "width_s": config.features.width_s}
        oracle = score_oracle(world, names, **seen)
        oracle_fusion = score_oracle_fusion(world, names, **seen)
        write_json(folder / "oracle.json", oracle)
        write_json(folder / "oracle_fusion.json", oracle_fusion)
    return Simulation(path, names, oracle, oracle_fusion)


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
    whole = all(4 <= length <= 999 and length == int(length) for length in video_s)
    if not 1 <= len(video_s) <= 99 or not whole:
        raise InputError(
            "video_s must name 1 to 99 videos of 4 to 999 whole seconds each, got "
            f"{list(video_s)}"
        )


@contextmanager
def _complete_or_absent(path: Path, needed_bytes: int) -> Iterator[Path]:
    """Yield a folder whose content comes to be at `path` once it is complete."""
    try:
        is_there = path.is_dir()
        if path.exists() and (not is_there or any(path.iterdir())):
            raise InputError(
                f"{path} exists and is not an empty folder; choose another place or "
                "delete it first"
            )
        place = path if is_there else path.parent
        place.mkdir(parents=True, exist_ok=True)
        require_space(place, needed_bytes)
        folder = place / f".{path.name}.partial"
        try:
            folder.mkdir()
        except FileExistsError:
            raise LockedError(
                f"{folder} exists: another process writes it, or was stopped while it "
                "did; delete it if none is at work"
            ) from None
        try:
            yield folder
            if is_there:  # its entries move, since it may be a mount or a link
                for entry in sorted(folder.iterdir()):
                    os.replace(entry, path / entry.name)
            else:
                os.replace(folder, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise SpaceError(
            f"{path}: cannot be written ({error.strerror or error}); free space or "
            "choose another folder"
        ) from error


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
