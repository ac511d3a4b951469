"""The fNIRS of a trial on the clock of its EEG."""

from dataclasses import replace

import numpy as np

from merps.errors import DataError, InputError
from merps.preprocessing.synchrony import Clock, fit_clock
from merps.recording import Baseline, Recording, Trial
from merps.repair_options import SynchronyConfig


def synchronize(trial: Trial, section: SynchronyConfig) -> Trial:
    """Put the fNIRS of a trial on the time axis of its EEG, by events of both.

    No sample changes: start and rate of the fNIRS do, and those of the rest before it.

    Parameters
    ----------
    trial : Trial
        Whose recordings have annotations, each timed by its own device.
    section : SynchronyConfig
        Options.

    Returns
    -------
    Trial
        With a note of what was found; as it was, with a note, where a modality or its
        events are absent.

    Raises
    ------
    DataError
        If both have events that do not match.
    """
    if trial.eeg is None or trial.fnirs is None:
        return trial
    eeg_s, eeg_labels = _events(trial.eeg, section.events)
    fnirs_s, fnirs_labels = _events(trial.fnirs, section.events)
    if not (len(eeg_s) and len(fnirs_s)):
        note = (
            f"clocks are taken as they are: {len(eeg_s)} events of the EEG and "
            f"{len(fnirs_s)} of the fNIRS"
        )
        return replace(trial, notes=(*trial.notes, note))
    options = section.model_dump(exclude={"events"})
    labels = {}
    if set(eeg_labels) & set(fnirs_labels):
        labels = {"reference_labels": eeg_labels, "device_labels": fnirs_labels}
    try:
        clock = fit_clock(eeg_s, fnirs_s, **labels, **options)
    except InputError as error:
        raise DataError(f"{trial.person} {trial.stimulus}: {error}") from error
    rest = trial.baseline.fnirs
    return replace(
        trial,
        fnirs=clock.move(trial.fnirs),
        baseline=Baseline(
            trial.baseline.eeg, None if rest is None else clock.move(rest)
        ),
        notes=(*trial.notes, _describe(clock)),
    )


def _events(
    recording: Recording, wanted: tuple[str, ...]
) -> tuple[np.ndarray, list[str]]:
    """Return times and labels of the annotations that count."""
    events = [a for a in recording.annotations if not wanted or a.label in wanted]
    return np.array([a.onset_s for a in events]), [a.label for a in events]


def _describe(clock: Clock) -> str:
    """Say what a clock is like."""
    return (
        f"the clock of the fNIRS starts {clock.offset_s:.4f} s after that of the EEG "
        f"and runs {clock.slope_ppm:.1f} ppm slow, by {clock.n_events} events with a "
        f"residual of {clock.residual_ms:.2f} ms"
    )
