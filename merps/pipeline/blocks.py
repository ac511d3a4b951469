"""Windows and covariances beside the columns of samples, for models that need them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from merps.batches import WindowSet
from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, InputError
from merps.features.triangles import StoredMatrices, trial_covariances
from merps.models.joint import JointWindows, joint_series
from merps.options import Config, WindowConfig
from merps.pipeline.features import label_grid, rest_before
from merps.recording import Trial
from merps.samples import Block, Samples
from merps.shapes import Rows
from merps.store import Store
from merps.windows import WindowGrid

logger = logging.getLogger(__name__)

_MATRICES, _RESTS = "eeg_covariances", "eeg_rest_covariances"
_JOINT = "joint_windows"
_SHORTEST_REST_S = 1.0  # less tells nothing


def attach_blocks(
    samples: Samples,
    store: Store,
    names: Sequence[str],
    *,
    config: Config,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Samples:
    """Link samples to the windows and covariances of their seconds.

    Windows of a signal stay in the mapped files of the store until they are asked for;
    matrices and joint series are computed here and kept in memory.

    Parameters
    ----------
    samples : Samples
        Rows of people, who need not all be in the store.
    store : Store
        Preprocessed people.
    names : sequence of str
        Some of ``eeg_windows``, ``fnirs_windows``, ``joint_windows``,
        ``eeg_covariances`` and ``eeg_rest_covariances``.
    config : Config
        Options.
    jobs : int, optional
        Threads; changes nothing in the result.
    progress : Progress, optional
        Told of each person whose matrices are there.

    Returns
    -------
    Samples
        The same rows with these blocks; what nobody has is left out.

    Raises
    ------
    DataError
        If a person's file is damaged, or channels differ between people.
    InputError
        If an option does not fit the stored signals.
    """
    blocks: dict[str, Block] = {}
    wanted = _Wanted(samples, store.people)
    sections = {"eeg": config.windows, "fnirs": config.fnirs_windows}
    for modality, section in sections.items():
        if f"{modality}_windows" in names:
            blocks |= _window_block(wanted, store, section, modality)
    if _JOINT in names:
        blocks |= _joint_block(wanted, store, config)
    if {_MATRICES, _RESTS} & set(names):
        blocks |= _matrix_blocks(wanted, store, config, jobs, progress or Silence())
    return replace(samples, blocks=blocks)


def count_steps(names: Sequence[str], samples: Samples) -> int:
    """Count how often `attach_blocks` tells of progress.

    Parameters
    ----------
    names : sequence of str
        As for `attach_blocks`.
    samples : Samples
        Rows of people in the store.

    Returns
    -------
    int
        Number of steps.
    """
    return len(set(samples.people.tolist())) if {_MATRICES, _RESTS} & set(names) else 0


def needed_blocks(model: Any) -> tuple[str, ...]:
    """Name what a model asks of its samples beside columns.

    Parameters
    ----------
    model : estimator
        Fitted or not; names its blocks as ``needs``.

    Returns
    -------
    tuple of str
        Names for `attach_blocks`.
    """
    return getattr(model, "needs", ())


class _Wanted:
    """Rows of samples by person and stimulus, and their seconds."""

    def __init__(self, samples: Samples, known: Sequence[str]) -> None:
        self.samples = samples
        self.rows: dict[tuple[str, str], list[int]] = {}
        keys = zip(samples.people.tolist(), samples.stimuli.tolist(), strict=True)
        for row, key in enumerate(keys):
            self.rows.setdefault(key, []).append(row)
        asked = {person for person, _ in self.rows}
        self.people = tuple(name for name in known if name in asked)

    def trials(self, store: Store, person: str) -> Iterator[tuple[Trial, Rows]]:
        """Yield the trials of one person that samples belong to, with their rows."""
        with store.person(person) as stored:
            for trial in stored.trials():
                rows = self.rows.get((person, trial.stimulus))
                if rows is not None:
                    yield trial, np.array(rows)


def _window_block(
    wanted: _Wanted, store: Store, section: WindowConfig, modality: str
) -> dict[str, Block]:
    """Return the windows of one modality; none where nobody has it."""
    grid = label_grid(section)
    seconds = {
        key: int(wanted.samples.seconds[rows].max()) + 1
        for key, rows in wanted.rows.items()
    }
    try:
        windows = WindowSet(
            store, grid, modality=modality, people=wanted.people, seconds=seconds
        )
    except InputError:
        trials = (t for p in wanted.people for t, _ in wanted.trials(store, p))
        if any(getattr(trial, modality) is not None for trial in trials):
            raise
        logger.warning("%s: nobody has %s signals", store.path, modality)
        return {}
    place: dict[tuple[str, str, int], int] = {}
    keys = (windows.people, windows.stimuli, windows.seconds)
    for row, key in enumerate(zip(*(k.tolist() for k in keys), strict=True)):
        place[key] = row
    samples = wanted.samples
    asked = (samples.people, samples.stimuli, samples.seconds)
    rows = [
        place.get(key, -1) for key in zip(*(k.tolist() for k in asked), strict=True)
    ]
    return {f"{modality}_windows": Block(windows, np.array(rows, dtype=np.int64))}


def _joint_block(wanted: _Wanted, store: Store, config: Config) -> dict[str, Block]:
    """Return windows of EEG envelopes beside fNIRS; none where nobody has both."""
    features = config.features
    options = features.joint.model_dump(exclude={"window_s"})
    options |= features.filter_bank.model_dump()
    series, n_windows, places = [], [], []
    for person in wanted.people:
        for trial, rows in wanted.trials(store, person):
            seconds = wanted.samples.seconds[rows]
            series.append(
                joint_series(
                    trial, bands=_bands(config), kinds=features.kinds, **options
                )
            )
            n_windows.append(int(seconds.max()) + 1)
            places.append((rows, seconds))
    if all(one is None for one in series):
        return {}
    grid = WindowGrid(
        window_s=features.joint.window_s,
        step_s=1.0,
        lag_s=config.windows.lag_s,
        lookahead_s=config.windows.lookahead_s,
    )
    windows = JointWindows(series, n_windows, grid=grid)
    row_of = np.full(len(wanted.samples), -1, dtype=np.int64)
    firsts = np.cumsum([0, *n_windows[:-1]])
    for first, (rows, seconds) in zip(firsts, places, strict=True):
        row_of[rows] = windows.rows[first + seconds]
    return {_JOINT: Block(windows, row_of)}


class _PersonMatrices(NamedTuple):
    """Matrices of one person's seconds, and their mean over the person's rests."""

    channels: tuple[str, ...]
    rows: Int[np.ndarray, " sample"]
    values: Float32[np.ndarray, "sample band triangle"]
    rest: Float32[np.ndarray, "band triangle"]


def _matrix_blocks(
    wanted: _Wanted, store: Store, config: Config, jobs: int, progress: Progress
) -> dict[str, Block]:
    """Compute the covariances of all seconds, and those of each person's rests."""
    n_samples, bands = len(wanted.samples), tuple(_bands(config))
    row_of, rest_of = np.full((2, n_samples), -1, dtype=np.int64)
    channels: tuple[str, ...] = ()
    rests: list[np.ndarray] = []
    values = None

    def measure(person: str) -> _PersonMatrices | None:
        return _person_matrices(wanted, store, person, config)

    for outcome in run_tasks(measure, wanted.people, jobs=jobs):
        if outcome.error is not None:
            raise outcome.error
        person, found = outcome.task, outcome.value
        progress.done(f"{person}, covariances")
        if found is None:
            continue
        channels = channels or found.channels
        if found.channels != channels:
            raise DataError(
                f"{person}: EEG channels differ from those of other people; preprocess "
                "recordings of one montage only"
            )
        if values is None:
            values = np.empty((n_samples, *found.values.shape[1:]), np.float32)
        values[found.rows] = found.values
        row_of[found.rows] = found.rows
        if np.isfinite(found.rest).any():
            own = np.flatnonzero(wanted.samples.people == person)
            rest_of[own] = len(rests)
            rests.append(found.rest)
    if values is None:
        return {}
    names = {"channels": channels, "bands": bands}
    blocks = {_MATRICES: Block(StoredMatrices(values, **names), row_of)}
    if rests:
        stored = StoredMatrices(np.stack(rests), **names)
        blocks[_RESTS] = Block(stored, rest_of)
    return blocks


def _person_matrices(
    wanted: _Wanted, store: Store, person: str, config: Config
) -> _PersonMatrices | None:
    """Compute one person's matrices; None where there is no EEG."""
    grid = label_grid(config.windows)
    options = {"bands": _bands(config), "estimator": "scm"}
    options |= config.features.filter_bank.model_dump()
    options["phase"] = config.preprocess.phase
    rows, values, rests, montages = [], [], [], set()
    for trial, own in wanted.trials(store, person):
        if trial.eeg is None:
            continue
        eeg, seconds = trial.eeg, wanted.samples.seconds[own]
        starts = grid.starts(eeg, int(seconds.max()) + 1)[seconds]
        values.append(
            trial_covariances(
                eeg.signal,
                starts,
                length_samples=grid.length(eeg.rate_hz),
                rate_hz=eeg.rate_hz,
                **options,
            )
        )
        rows.append(own)
        montages.add(eeg.channels)
        rest = _rest_matrices(trial, options)
        if rest is not None:
            rests.append(rest)
    if not values:
        return None
    if len(montages) > 1:
        raise DataError(
            f"{person}: channels differ between trials; preprocess recordings of one "
            "montage only"
        )
    everywhere = np.stack(rests) if rests else np.full_like(values[0][:1], np.nan)
    there = np.isfinite(everywhere)
    total = np.where(there, everywhere, 0).sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: missing in every rest
        mean = (total / there.sum(axis=0)).astype(np.float32)
    return _PersonMatrices(
        montages.pop(), np.concatenate(rows), np.concatenate(values), mean
    )


def _bands(config: Config) -> dict[str, tuple[float, float]]:
    """Return the bands from low to high: files of options do not keep an order."""
    return dict(
        sorted(config.features.bands.items(), key=lambda item: (item[1], item[0]))
    )


def _rest_matrices(
    trial: Trial, options: Mapping[str, Any]
) -> Float32[np.ndarray, "band triangle"] | None:
    """Compute the matrices of the whole rest before a trial, if there is one."""
    rest = rest_before(trial.eeg, trial.baseline.eeg)
    if rest is None or rest.duration_s < _SHORTEST_REST_S:
        return None
    goes_on = trial.eeg if trial.baseline.eeg is None else rest
    return trial_covariances(
        goes_on.signal[:, : 2 * rest.n_times],  # beyond its end, where it goes on
        np.zeros(1, dtype=np.int64),
        length_samples=rest.n_times,
        rate_hz=rest.rate_hz,
        **options,
    )[0]
