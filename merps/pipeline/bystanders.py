"""Channels that see no brain: what is told of them, and who stays out of the store."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from merps.options import FnirsConfig
from merps.predictions import name_some
from merps.recording import Quality, Recording, Trial
from merps.repair_options import ShortChannelConfig

#: Share of flat windows above which a channel is told of.
_FLAT = 0.5


def without_bystanders(trial: Trial, config: FnirsConfig) -> Trial:
    """Keep channels of EEG alone, without ECG and EOG, and long ones of fNIRS.

    Short channels stay where nobody asks to take them out of the others, or where the
    store is to keep them.

    Parameters
    ----------
    trial : Trial
        Preprocessed, with quality tables.
    config : FnirsConfig
        Options.

    Returns
    -------
    Trial
        With fewer channels and rows of quality tables.
    """
    if trial.eeg is not None and trial.eeg.types:
        rows = [row for row, kind in enumerate(trial.eeg.types) if kind == "eeg"]
        trial = _take(trial, "eeg", rows)
    if config.short_channels is None or config.keep_short:
        return trial
    is_short = _find_short(trial.fnirs, config.short_channels)
    if not is_short.any():
        return trial
    return _take(trial, "fnirs", np.flatnonzero(~is_short).tolist())


def tell_short(recording: Recording | None, config: FnirsConfig) -> tuple[str, ...]:
    """Say that channels are short where nothing is done about it.

    Parameters
    ----------
    recording : Recording or None
        The fNIRS.
    config : FnirsConfig
        Options.

    Returns
    -------
    tuple of str
        One note or none.
    """
    n_short = int(_find_short(recording, ShortChannelConfig()).sum())
    if config.short_channels is not None or not n_short:
        return ()
    return (
        f"{n_short} of {len(recording.channels)} fNIRS channels are short and see the "
        "scalp alone; with preprocess.fnirs.short_channels={} that is taken out of the "
        "others",
    )


def tell_flat(name: str, recording: Recording, quality: Quality) -> tuple[str, ...]:
    """Say which channels hardly ever move.

    Parameters
    ----------
    name : str
        Of the modality, for the note.
    recording : Recording
        What the quality was measured on.
    quality : Quality
        Its table.

    Returns
    -------
    tuple of str
        One note or none.
    """
    flat = quality.values[..., quality.measures.index("flat")] > _FLAT
    if recording.types:
        flat = flat & (np.array(recording.types) == "eeg")
    rows = np.flatnonzero(flat.reshape(-1, flat.shape[-1]).any(axis=0))
    if not rows.size:
        return ()
    named = name_some(recording.channels[row] for row in rows)
    return (f"{rows.size} of {flat.shape[-1]} {name} channels are flat: {named}",)


def _take(trial: Trial, modality: str, rows: Sequence[int]) -> Trial:
    """Keep some channels of one modality, in its rest and quality table, too."""

    def few(recording: Recording | None) -> Recording | None:
        return None if recording is None else replace(recording.take(rows), types=())

    rest = {modality: few(getattr(trial.baseline, modality))}
    table = trial.quality[modality]
    return replace(
        trial,
        **{modality: few(getattr(trial, modality))},
        baseline=replace(trial.baseline, **rest),
        quality={
            **trial.quality,
            modality: replace(table, values=table.values[..., rows, :]),
        },
    )


def _find_short(
    recording: Recording | None, options: ShortChannelConfig
) -> Bool[np.ndarray, " channel"]:
    """Tell which channels are short beside longer ones; none where all are."""
    distances_m = () if recording is None else recording.distances_m or ()
    is_short = np.array(distances_m, dtype=np.float64) <= options.max_short_m
    return is_short & ~is_short.all()
