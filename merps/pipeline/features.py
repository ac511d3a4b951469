"""From a store of filtered recordings to one row of features a second."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from merps.config import Config
from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, InputError
from merps.features.hemodynamics import SUMMARIES, summarize_hemodynamics
from merps.features.reference import standardize_within_person, subtract_rest
from merps.features.spectral import differential_entropy, log_band_power
from merps.features.temporal import smooth_in_time
from merps.recording import Recording, Trial
from merps.samples import Samples
from merps.shapes import Features
from merps.store import Store
from merps.windows import WindowGrid, gather_windows, labeled_seconds

logger = logging.getLogger(__name__)

_SPECTRAL = {"log_power": log_band_power, "differential_entropy": differential_entropy}


@dataclass(frozen=True)
class _Block:
    """Features of one modality in one trial, and of the rest before it."""

    names: tuple[str, ...]
    values: Features
    rest: Features


def extract_samples(
    store: Store,
    *,
    config: Config | None = None,
    people: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Samples:
    """Compute the features of every second in a store.

    Band power of the EEG and summaries of the fNIRS, each referred to rest as
    configured and smoothed over time inside each trial. Nothing is fitted, except that
    references use the same person's own unlabeled recordings.

    Parameters
    ----------
    store : Store
        Preprocessed people.
    config : Config, optional
        Options; the defaults if absent.
    people : sequence of str, optional
        Who; everyone if absent.
    jobs : int
        People at once.
    progress : Progress, optional
        Told of each person.

    Returns
    -------
    Samples
        Features of float32, NaN where a signal is missing; targets NaN where there are
        no labels.

    Raises
    ------
    DataError
        If a person's file is damaged, or channels differ between people.
    InputError
        If there are no people.
    """
    config, progress = config or Config(), progress or Silence()
    people = tuple(store.people if people is None else people)
    if not people:
        raise InputError(f"{store.path}: there are no people to take features from")
    progress.expect(len(people))
    tables = []
    for outcome in run_tasks(
        lambda person: _person_samples(store, person, config), people, jobs=jobs
    ):
        if outcome.error is not None:
            raise outcome.error
        tables.append(outcome.value)
        progress.done(outcome.task)
    return _stack(tables)


def align_features(samples: Samples, names: Sequence[str]) -> Samples:
    """Return samples with the named features, in that order, NaN where absent.

    Parameters
    ----------
    samples : Samples
        Any samples.
    names : sequence of str
        Features that a model was fitted on.

    Returns
    -------
    Samples
        The same rows with other columns.
    """
    column = {name: k for k, name in enumerate(samples.feature_names)}
    values = np.full((len(samples), len(names)), np.nan, np.float32)
    for k, name in enumerate(names):
        if name in column:
            values[:, k] = samples.features[:, column[name]]
    return Samples(
        people=samples.people,
        stimuli=samples.stimuli,
        seconds=samples.seconds,
        features=values,
        feature_names=tuple(names),
        targets=samples.targets,
    )


def _person_samples(store: Store, person: str, config: Config) -> Samples:
    """Return one person's samples."""
    stimuli, seconds, targets = [], [], []
    blocks: dict[str, list[_Block | None]] = {"eeg": [], "fnirs": []}
    with store.person(person) as stored:
        for trial in stored.trials():
            n = labeled_seconds(trial)
            stimuli += [trial.stimulus] * n
            seconds.append(np.arange(n))
            unknown = np.full((n, 2), np.nan)
            targets.append(unknown if trial.targets is None else trial.targets)
            blocks["eeg"].append(_eeg_block(trial, n, config))
            blocks["fnirs"].append(_fnirs_block(trial, n, config))
    lengths = [len(s) for s in seconds]
    second = np.concatenate(seconds)
    trials = np.repeat(np.arange(len(lengths)), lengths)
    names, columns = [], []
    for modality, reference in (
        ("eeg", config.features.reference),
        ("fnirs", config.features.fnirs_reference),
    ):
        known = [block for block in blocks[modality] if block is not None]
        if not known:
            continue
        if len({block.names for block in known}) > 1:
            raise DataError(
                f"{person}: {modality} channels differ between trials; preprocess "
                "recordings of one montage only"
            )
        names += known[0].names
        columns.append(_refer(blocks[modality], lengths, reference))
    values = np.hstack(columns) if columns else np.empty((len(second), 0), np.float32)
    values = smooth_in_time(values, trials, second, width_s=config.features.width_s)
    return Samples(
        people=np.full(len(second), person),
        stimuli=np.array(stimuli),
        seconds=second,
        features=values.astype(np.float32),
        feature_names=tuple(names),
        targets=np.concatenate(targets),
    )


def _eeg_block(trial: Trial, n: int, config: Config) -> _Block | None:
    """Return the spectral features of one trial."""
    if trial.eeg is None:
        return None
    grid = WindowGrid(step_s=1.0, **config.windows.model_dump())
    measure = _SPECTRAL[config.features.spectrum]

    def flat(recording: Recording, grid: WindowGrid, n: int) -> Features:
        windows = gather_windows(recording, grid, n_windows=n)
        values = measure(
            windows, rate_hz=recording.rate_hz, bands=config.features.bands
        )
        return values.reshape(n, -1)

    names = tuple(
        f"eeg/{band}/{channel}"
        for channel in trial.eeg.channels
        for band in config.features.bands
    )
    rest = _rest(trial.eeg, trial.baseline.eeg)
    return _Block(
        names, flat(trial.eeg, grid, n), _over_rest(rest, grid, len(names), flat)
    )


def _fnirs_block(trial: Trial, n: int, config: Config) -> _Block | None:
    """Return the hemodynamic features of one trial."""
    if trial.fnirs is None:
        return None
    grid = WindowGrid(step_s=1.0, **config.fnirs_windows.model_dump())
    kinds = [k for k in trial.fnirs.kinds if k in config.features.kinds]
    rows = [trial.fnirs.kinds.index(kind) for kind in kinds]
    picked = [SUMMARIES.index(name) for name in config.features.summaries]

    def flat(recording: Recording, grid: WindowGrid, n: int) -> Features:
        windows = gather_windows(recording, grid, n_windows=n)[:, rows]
        values = summarize_hemodynamics(windows, rate_hz=recording.rate_hz)
        return values[..., picked].reshape(n, -1)

    names = tuple(
        f"fnirs/{kind}/{channel}/{summary}"
        for kind in kinds
        for channel in trial.fnirs.channels
        for summary in config.features.summaries
    )
    rest = _over_rest(_rest(trial.fnirs, trial.baseline.fnirs), grid, len(names), flat)
    # Only a level depends on where zero is; slopes and spreads are left alone.
    level = np.array([name.endswith("/mean") for name in names])
    rest[:, ~level] = np.where(np.isnan(rest[:, ~level]), np.nan, 0)
    return _Block(names, flat(trial.fnirs, grid, n), rest)


def _rest(recording: Recording, apart: Recording | None) -> Recording | None:
    """Return the rest before the stimulus, kept apart or at the start of the signal."""
    if apart is not None:
        return apart
    n_rest = round(-recording.start_s * recording.rate_hz)
    if n_rest <= 0:
        return None
    return recording.with_signal(recording.signal[..., :n_rest])


def _over_rest(
    rest: Recording | None,
    grid: WindowGrid,
    n_features: int,
    flat: Callable[[Recording, WindowGrid, int], Features],
) -> Features:
    """Return features of windows that lie inside the rest, one a second."""
    n_windows = 0 if rest is None else int(rest.duration_s - grid.window_s + 1.5)
    if n_windows < 1:
        return np.empty((0, n_features), np.float32)
    # Window 0 ends window_s after the start of the rest, the next ones a second later.
    early = rest.with_signal(rest.signal, start_s=1.0 - grid.window_s)
    steps = WindowGrid(window_s=grid.window_s, step_s=1.0, lag_s=0.0, lookahead_s=0.0)
    return flat(early, steps, n_windows)


def _refer(
    blocks: Sequence[_Block | None], lengths: Sequence[int], reference: str
) -> Features:
    """Stack the trials of one person and refer them as configured."""
    n_features = len(next(b for b in blocks if b is not None).names)
    absent = [np.full((n, n_features), np.nan, np.float32) for n in lengths]
    values = [
        gap if block is None else block.values
        for block, gap in zip(blocks, absent, strict=True)
    ]
    rests = [np.empty((0, n_features)) if b is None else b.rest for b in blocks]
    everywhere = np.concatenate(rests)
    if reference == "trial_rest":
        values = [
            subtract_rest(v, r if len(r) else everywhere) if len(everywhere) else v
            for v, r in zip(values, rests, strict=True)
        ]
    stacked = np.concatenate(values)
    if reference == "person_rest" and len(everywhere):
        stacked = subtract_rest(stacked, everywhere)
    elif reference in ("trial_rest", "person_rest") and not len(everywhere):
        logger.warning("no rest was recorded: features are referred to their mean")
        stacked = subtract_rest(stacked, stacked)
    elif reference == "person":
        stacked = standardize_within_person(stacked, np.zeros(len(stacked), int))
    return stacked


def _stack(tables: Sequence[Samples]) -> Samples:
    """Join the samples of several people, whose features are matched by name."""
    names = max((t.feature_names for t in tables), key=len)
    unknown = sorted({n for t in tables for n in t.feature_names} - set(names))
    if unknown:
        raise DataError(
            f"people differ in their channels: {', '.join(unknown[:5])} are missing in "
            "some; preprocess recordings of one montage only"
        )
    tables = [align_features(table, names) for table in tables]
    return Samples(
        people=np.concatenate([t.people for t in tables]),
        stimuli=np.concatenate([t.stimuli for t in tables]),
        seconds=np.concatenate([t.seconds for t in tables]),
        features=np.concatenate([t.features for t in tables]),
        feature_names=names,
        targets=np.concatenate([t.targets for t in tables]),
    )
