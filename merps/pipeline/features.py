"""From a store of filtered recordings to one row of features a second."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, InputError
from merps.features.hemodynamics import SUMMARIES, summarize_hemodynamics
from merps.features.spectral import differential_entropy, log_band_power
from merps.features.temporal import smooth_in_time, smooth_past
from merps.options import Config, FeatureConfig, WindowConfig
from merps.pipeline.references import (
    FeatureBlock,
    refer,
    refer_to_past,
    stand_ins,
)
from merps.predictions import name_some
from merps.recording import Recording, Trial
from merps.samples import Samples
from merps.shapes import Features
from merps.store import Store
from merps.windows import WindowGrid, gather_windows, labeled_seconds

# A rest this much shorter than its windows still counts; its end is mirrored.
_REST_GRACE_S = 0.5
_SPECTRAL = {"log_power": log_band_power, "differential_entropy": differential_entropy}


def extract_samples(
    store: Store,
    *,
    config: Config | None = None,
    people: Sequence[str] | None = None,
    asked: Mapping[str, Mapping[str, int]] | None = None,
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
    asked : mapping of str to mapping of str to int, optional
        By person and stimulus, how many seconds are wanted of a recording without
        labels, where its signals end a little earlier.
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
        If there are no people, or an option does not fit the stored signals.
    """
    config, progress = config or Config(), progress or Silence()
    people = tuple(store.people if people is None else people)
    if not people:
        raise InputError(f"{store.path}: there are no people to take features from")
    asked = asked or {}

    def measure(person: str) -> Samples:
        return _person_samples(store, person, config, asked.get(person, {}))

    progress.expect(len(people))
    tables = []
    for outcome in run_tasks(measure, people, jobs=jobs):
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
    return replace(samples, features=values, feature_names=tuple(names))


def _person_samples(
    store: Store, person: str, config: Config, asked: Mapping[str, int]
) -> Samples:
    """Return one person's samples."""
    phase = config.preprocess.phase
    stimuli, seconds, targets = [], [], []
    eeg: list[FeatureBlock | None] = []
    fnirs: list[FeatureBlock | None] = []
    with store.person(person) as stored:
        for trial in stored.trials():
            n = labeled_seconds(trial)
            if trial.targets is None:
                n = max(n, asked.get(trial.stimulus, 0))
            stimuli += [trial.stimulus] * n
            seconds.append(np.arange(n))
            unknown = np.full((n, 2), np.nan)
            targets.append(unknown if trial.targets is None else trial.targets)
            eeg.append(_eeg_block(trial, n, config))
            fnirs.append(_fnirs_block(trial, n, config))
    lengths = [len(s) for s in seconds]
    second = np.concatenate(seconds)
    names: tuple[str, ...] = ()
    taken: list[str] = []
    columns = [np.empty((len(second), 0), np.float32)]
    for blocks, reference in (
        (eeg, config.features.reference),
        (fnirs, config.features.fnirs_reference),
    ):
        montages = {block.names for block in blocks if block is not None}
        if len(montages) > 1:
            raise DataError(
                f"{person}: channels differ between trials; preprocess recordings of "
                "one montage only"
            )
        if montages:
            names += (own := montages.pop())
            if phase == "zero":
                taken += stand_ins(own[0].split("/")[0], blocks, reference)
            bring = refer_to_past if phase == "causal" else refer
            columns.append(bring(person, blocks, own, lengths, reference))
    trials = np.repeat(np.arange(len(lengths)), lengths)
    values = np.hstack(columns)
    smooth = smooth_past if phase == "causal" else smooth_in_time
    values = smooth(values, trials, second, width_s=config.features.width_s)
    return Samples(
        people=np.full(len(second), person),
        stimuli=np.array(stimuli, dtype=str),
        seconds=second,
        features=values.astype(np.float32),
        feature_names=names,
        targets=np.concatenate(targets),
        taken=tuple(taken),
    )


def _eeg_block(trial: Trial, n: int, config: Config) -> FeatureBlock | None:
    """Return the spectral features of one trial."""
    bands, measure = config.features.bands, _SPECTRAL[config.features.spectrum]
    phase = config.preprocess.phase
    if trial.eeg is None or not bands:
        return None
    names = tuple(f"eeg/{band}/{c}" for c in trial.eeg.channels for band in bands)

    def flat(recording: Recording, grid: WindowGrid, n: int) -> Features:
        windows = gather_windows(recording, grid, n_windows=n, phase=phase)
        values = measure(windows, rate_hz=recording.rate_hz, bands=bands)
        return values.reshape(n, len(names))

    grid = label_grid(config.windows)
    rest = _over_rest(
        rest_before(trial.eeg, trial.baseline.eeg), grid, len(names), flat
    )
    return FeatureBlock(names, flat(trial.eeg, grid, n), rest)


def _fnirs_block(trial: Trial, n: int, config: Config) -> FeatureBlock | None:
    """Return the hemodynamic features of one trial."""
    kinds, summaries = config.features.kinds, config.features.summaries
    phase = config.preprocess.phase
    if trial.fnirs is None or not (kinds and summaries):
        return None
    rows = _rows_of_kinds(trial.fnirs, config.features)
    picked = [SUMMARIES.index(name) for name in summaries]
    names = tuple(
        f"fnirs/{kind}/{channel}/{summary}"
        for kind in kinds
        for channel in trial.fnirs.channels
        for summary in summaries
    )

    def flat(recording: Recording, grid: WindowGrid, n: int) -> Features:
        windows = gather_windows(recording, grid, n_windows=n, phase=phase)[:, rows]
        values = summarize_hemodynamics(windows, rate_hz=recording.rate_hz)
        return values[..., picked].reshape(n, len(names))

    grid = label_grid(config.fnirs_windows)
    rest = _over_rest(
        rest_before(trial.fnirs, trial.baseline.fnirs), grid, len(names), flat
    )
    # Only a level depends on where zero is; slopes and spreads have no reference.
    level = np.array([name.endswith("/mean") for name in names], dtype=bool)
    rest = np.where(level | np.isnan(rest), rest, 0).astype(rest.dtype)
    return FeatureBlock(names, flat(trial.fnirs, grid, n), rest)


def label_grid(config: WindowConfig) -> WindowGrid:
    """Return the windows of the labeled seconds.

    Parameters
    ----------
    config : WindowConfig
        Their length and place.

    Returns
    -------
    WindowGrid
        One window a second.
    """
    return WindowGrid(step_s=1.0, **config.model_dump())


def _rows_of_kinds(recording: Recording, config: FeatureConfig) -> list[int]:
    """Find the configured kinds in a stored signal."""
    absent = [kind for kind in config.kinds if kind not in recording.kinds]
    if absent:
        raise InputError(
            f"features.kinds asks for {', '.join(absent)}, but the store holds "
            f"{', '.join(recording.kinds)}; change it, or preprocess with other "
            "preprocess.fnirs.kinds"
        )
    return [recording.kinds.index(kind) for kind in config.kinds]


def rest_before(recording: Recording, apart: Recording | None) -> Recording | None:
    """Return the rest before the stimulus, kept apart or at the start of the signal.

    Parameters
    ----------
    recording : Recording
        What was recorded during the stimulus, and perhaps before it.
    apart : Recording, optional
        The rest, where it does not run into the stimulus.

    Returns
    -------
    Recording or None
        None where there is no rest.
    """
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
    """Return features of windows inside the rest, one a second."""
    n_windows = 0
    if rest is not None:  # a rest of 5 s may be a few samples short of it
        n_windows = int(rest.duration_s - grid.window_s + 1 + _REST_GRACE_S)
    if n_windows < 1:
        return np.empty((0, n_features), np.float32)
    # Window 0 ends window_s after the start of the rest, the next ones a second later.
    early = rest.with_signal(rest.signal, start_s=1.0 - grid.window_s)
    return flat(early, replace(grid, lag_s=0.0, lookahead_s=0.0), n_windows)


def _stack(tables: Sequence[Samples]) -> Samples:
    """Join the samples of several people; who lacks a modality gets NaN for it."""
    names: tuple[str, ...] = ()
    for prefix in ("eeg/", "fnirs/"):
        sets = {
            tuple(name for name in table.feature_names if name.startswith(prefix))
            for table in tables
        } - {()}
        if len(sets) > 1:
            odd = sorted(set.union(*map(set, sets)) - set.intersection(*map(set, sets)))
            raise DataError(
                "people differ in their channels, only some have "
                f"{name_some(odd) if odd else 'them in this order'}; preprocess "
                "recordings of one montage only"
            )
        names += next(iter(sets), ())
    tables = [align_features(table, names) for table in tables]
    return Samples(
        people=np.concatenate([t.people for t in tables]),
        stimuli=np.concatenate([t.stimuli for t in tables]),
        seconds=np.concatenate([t.seconds for t in tables]),
        features=np.concatenate([t.features for t in tables]),
        feature_names=names,
        targets=np.concatenate([t.targets for t in tables]),
        taken=tuple(dict.fromkeys(step for t in tables for step in t.taken)),
    )
