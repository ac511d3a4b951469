"""What is done to one trial before it is stored."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from merps.datasets.protocol import OpenedPerson, Plan
from merps.datasets.rests import REST_GAP_S
from merps.datasets.survey import TrialFailure
from merps.errors import InputError
from merps.options import EegConfig, FnirsConfig, LeadInConfig, PreprocessConfig
from merps.pipeline.eeg_repair import VOLTS, mend_eeg
from merps.pipeline.hemoglobin import mend_fnirs
from merps.preprocessing.chain import (
    ZeroPhaseFilter,
    filter_pieces,
    filter_pieces_forward,
)
from merps.preprocessing.filters import design_band_pass, design_notch
from merps.preprocessing.quality import measure_quality
from merps.preprocessing.repair import fill_gaps, follows, hold_gaps, joins
from merps.preprocessing.retiming import is_simple, simple_rate, stretch
from merps.recording import Baseline, Phase, Quality, Recording, Trial

#: Up to where resampling must keep a signal for the filter that follows, in parts of
#: that filter's upper edge: beyond, what is left of aliases is filtered away.
_SKIRT = 1.1


def preprocess_plan(
    opened: OpenedPerson, plan: Plan, config: PreprocessConfig
) -> list[Trial | TrialFailure]:
    """Read one trial and preprocess it.

    Filters look at every sample, so that the reader need not: only where they meet
    infinite samples, or an EEG without finite ones, it is asked to mend the trial.

    Parameters
    ----------
    opened : OpenedPerson
        Who has the trial.
    plan : Plan
        One of its plans.
    config : PreprocessConfig
        Options.

    Returns
    -------
    list of Trial or TrialFailure
        Parts that cannot be read, and then the trial, as from `preprocess_trial`.

    Raises
    ------
    InputError
        If an option does not fit the recordings.
    """

    def finish(items: list[Trial | TrialFailure]) -> list[Trial | TrialFailure]:
        return [
            preprocess_trial(item, config) if isinstance(item, Trial) else item
            for item in items
        ]

    try:
        with np.errstate(invalid="ignore", over="ignore"):
            done = finish(opened.view(plan))
    except InputError:
        return finish(opened.read(plan))
    if any(isinstance(item, Trial) and _is_silent(item) for item in done):
        return finish(opened.read(plan))
    return done


def _is_silent(trial: Trial) -> bool:
    """Tell that a trial has an EEG, and not one sample of it."""
    table = trial.quality.get("eeg")
    return table is not None and bool((_missing_shares(table) == 1).all())


def _missing_shares(table: Quality) -> Float32[np.ndarray, "*kind channel"]:
    """Return the share of missing samples of each row."""
    return table.values[..., table.measures.index("missing")]


def preprocess_trial(trial: Trial, config: PreprocessConfig) -> Trial:
    """Filter and resample what one person did during one stimulus.

    Where the rest before the stimulus runs into it without a jump, both are filtered
    in one piece and the signal starts with the rest; otherwise each is filtered by
    itself, and the rest is kept apart. What is causal is decided and done without a
    look at later samples, but for quality tables, which describe the whole signal.

    Parameters
    ----------
    trial : Trial
        As read.
    config : PreprocessConfig
        Options.

    Returns
    -------
    Trial
        With filtered signals, NaN where a sample is missing, and quality tables of the
        unfiltered ones.

    Raises
    ------
    InputError
        If an option does not fit the recordings.
    """
    clean = partial(
        _clean,
        lead_in=config.lead_in,
        precision=config.precision,
        phase=config.phase,
    )
    eeg = fnirs = eeg_rest = fnirs_rest = None
    notes, quality = list(trial.notes), {}
    if trial.eeg is not None:
        eeg, eeg_rest, quality["eeg"], found = clean(
            trial.eeg, trial.baseline.eeg, config.eeg
        )
        notes += found
    if trial.fnirs is not None:
        fnirs, fnirs_rest, quality["fnirs"], found = clean(
            trial.fnirs, trial.baseline.fnirs, config.fnirs
        )
        notes += found
    for name, rest in (("EEG", eeg_rest), ("fNIRS", fnirs_rest)):
        if rest is not None:
            notes.append(f"the rest before the {name} does not run into it")
    done = replace(
        trial,
        eeg=eeg,
        fnirs=fnirs,
        baseline=Baseline(eeg=eeg_rest, fnirs=fnirs_rest),
        notes=tuple(notes),
        quality=quality,
    )
    return _without_bystanders(done)


def _without_bystanders(trial: Trial) -> Trial:
    """Keep channels of EEG alone, where ECG or EOG were recorded with them."""
    if trial.eeg is None or not trial.eeg.types:
        return trial
    rows = [row for row, kind in enumerate(trial.eeg.types) if kind == "eeg"]

    def scalp(recording: Recording | None) -> Recording | None:
        if recording is None:
            return None
        return replace(recording.take(rows), types=())

    table = trial.quality["eeg"]
    return replace(
        trial,
        eeg=scalp(trial.eeg),
        baseline=replace(trial.baseline, eeg=scalp(trial.baseline.eeg)),
        quality={**trial.quality, "eeg": replace(table, values=table.values[rows])},
    )


def _clean(
    recording: Recording,
    rest: Recording | None,
    section: EegConfig | FnirsConfig,
    *,
    lead_in: LeadInConfig,
    precision: str,
    phase: Phase,
) -> tuple[Recording, Recording | None, Quality, tuple[str, ...]]:
    """Filter one modality; return it, rest apart from it, quality and notes."""
    rate_hz = recording.rate_hz
    tell = follows if phase == "causal" else joins
    is_joined = (
        rest is not None
        and rest.start_s + rest.duration_s >= recording.start_s - REST_GAP_S / 2
        and tell(rest.signal, recording.signal, rate_hz=rate_hz, **lead_in.model_dump())
    )
    if isinstance(section, FnirsConfig):
        mended = mend_fnirs(recording, rest, section, is_joined=is_joined, phase=phase)
    else:
        mended = mend_eeg(recording, rest, section, is_joined=is_joined)
    quality = measure_quality(
        mended.measured.signal,
        rate_hz=rate_hz,
        **_in_unit_of(mended.measured, section.quality.model_dump()),
    )
    if mended.recording is mended.measured:
        missing = _missing_shares(quality)
    else:
        missing = np.isnan(mended.recording.signal).mean(axis=-1)
    recording, rest = mended.recording, mended.rest
    run = partial(_filter, section=section, precision=precision, phase=phase)
    if rest is None:
        done = run([recording], [missing]), None
    else:
        rest_missing = np.isnan(rest.signal).mean(axis=-1)
        if is_joined:
            done = run([rest, recording], [rest_missing, missing]), None
        else:
            done = run([recording], [missing]), run([rest], [rest_missing])
    columns = {**mended.columns, **_measure_notch(done[0], section)}
    return *done, quality.extend(columns, mended.kinds), mended.notes


def _measure_notch(
    filtered: Recording, section: EegConfig | FnirsConfig
) -> dict[str, Float[np.ndarray, " channel"]]:
    """Measure the line noise again where a notch filter was to take it out."""
    if isinstance(section, FnirsConfig) or section.notch is None:
        return {}
    options = section.quality.model_dump()
    table = measure_quality(filtered.signal, rate_hz=filtered.rate_hz, **options)
    return {"line_noise_after": table.values[..., table.measures.index("line_noise")]}


def _in_unit_of(recording: Recording, options: dict[str, Any]) -> dict[str, Any]:
    """Return options of the quality, whose microvolts are in the recording's unit."""
    unit_v = VOLTS.get(recording.unit) if recording.quantity == "voltage" else None
    if unit_v not in (None, VOLTS["uV"]):
        options["flat_range"] *= VOLTS["uV"] / unit_v
    return options


def _filter(
    pieces: Sequence[Recording],
    missing_shares: Sequence[Float[np.ndarray, "*kind channel"]],
    *,
    section: EegConfig | FnirsConfig,
    precision: str,
    phase: Phase,
) -> Recording:
    """Resample and filter; missing samples are bridged for that, and missing again.

    A channel without any sample needs no bridge: filters leave it missing.
    """
    first = pieces[0]
    signals = [piece.signal for piece in pieces]
    fill, run = (
        (hold_gaps, filter_pieces_forward)
        if phase == "causal"
        else (fill_gaps, filter_pieces)
    )
    missing = None
    silent = np.min(missing_shares, axis=0) == 1
    gaps = (np.max(missing_shares, axis=0) > 0) & ~silent
    if gaps.any():
        joined = _join(signals)
        missing = np.isnan(joined[gaps])
        signals = [fill(joined)]
    rate_hz = first.rate_hz
    if phase == "zero" and not is_simple(rate_hz=rate_hz, to_hz=section.to_hz):
        near_hz = simple_rate(rate_hz=rate_hz, to_hz=section.to_hz)
        joined = signals[0] if len(signals) == 1 else _join(signals)
        signals = [stretch(joined, rate_hz=rate_hz, to_hz=near_hz)]
        rate_hz = near_hz
    x_ct = run(
        signals,
        rate_hz=rate_hz,
        to_hz=section.to_hz,
        keep_hz=keep_hz(section, rate_hz),
        filters=design_filters(section),
        dtype=precision,
    )
    if not np.isfinite(x_ct.sum(axis=-1)[~silent]).all():
        raise InputError(
            "signal has infinite samples, which a filter would spread over the whole "
            "row; mark them as NaN"
        )
    if missing is not None:
        gone = _missing_at(missing, x_ct.shape[-1], first.rate_hz, section.to_hz)
        x_ct[gaps] = np.where(gone, np.nan, x_ct[gaps])
        x_ct[silent] = np.nan  # they were filled with the others
    return first.with_signal(x_ct, rate_hz=section.to_hz)


def _join(signals: Sequence[np.ndarray]) -> np.ndarray:
    """Return the signals after one another, time-major in memory as MATLAB has it."""
    return np.concatenate([signal.T for signal in signals]).T


def design_filters(section: EegConfig | FnirsConfig) -> list[ZeroPhaseFilter]:
    """Design the filters of one modality.

    Parameters
    ----------
    section : EegConfig or FnirsConfig
        Options.

    Returns
    -------
    list of ZeroPhaseFilter
        In the order they run, at the new rate.

    Raises
    ------
    InputError
        If an option does not fit that rate.
    """
    filters = []
    if section.band_pass is not None:
        options = section.band_pass.model_dump()
        filters.append(design_band_pass(rate_hz=section.to_hz, **options))
    if isinstance(section, EegConfig) and section.notch is not None:
        options = section.notch.model_dump()
        filters.append(design_notch(rate_hz=section.to_hz, **options))
    return filters


def keep_hz(section: EegConfig | FnirsConfig, rate_hz: float) -> float | None:
    """Return up to where resampling must keep a signal.

    Parameters
    ----------
    section : EegConfig or FnirsConfig
        Options.
    rate_hz : float
        Sampling rate before, in hertz.

    Returns
    -------
    float or None
        In hertz; None for all that the new rate can hold.
    """
    if section.band_pass is None or section.band_pass.high_hz is None:
        return None
    kept_hz = _SKIRT * section.band_pass.high_hz
    return kept_hz if kept_hz < 0.4 * min(rate_hz, section.to_hz) else None


def _missing_at(
    missing: Bool[np.ndarray, "row time"],
    n_times: int,
    rate_hz: float,
    to_hz: float,
) -> Bool[np.ndarray, "row new_time"]:
    """Mark each new sample during whose interval an old one is missing."""
    count = np.cumsum(missing, axis=-1)
    count = np.concatenate([np.zeros_like(count[..., :1]), count], axis=-1)
    edges = np.arange(n_times + 1) * (rate_hz / to_hz)
    last = missing.shape[-1]
    # An edge that should meet a sample must not miss it by a rounding error.
    starts = np.minimum(np.floor(edges[:-1] + 1e-6).astype(int), last - 1)
    stops = np.clip(np.ceil(edges[1:] - 1e-6).astype(int), starts + 1, last)
    return count[..., stops] > count[..., starts]
