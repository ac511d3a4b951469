"""What is mended in an EEG before filters run."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64

from merps.errors import DataError, InputError
from merps.options import EegConfig
from merps.pipeline.stretches import Mended, Stretches, explained_share
from merps.predictions import name_some
from merps.preprocessing.artifacts import (
    artifact_weights,
    fit_line_noise,
    regress_out,
    remove_components,
)
from merps.preprocessing.bad_channels import ChannelFaults, find_bad_channels
from merps.preprocessing.electrodes import (
    FEWEST_PLACED,
    interpolation_weights,
    place_electrodes,
)
from merps.preprocessing.filters import band_pass
from merps.preprocessing.quality import measure_quality
from merps.preprocessing.references import (
    average_weights,
    infinity_weights,
    mastoid_weights,
    rereference,
)
from merps.recording import Recording

#: Volts in one unit of an EEG.
VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "nV": 1e-9}
#: The filter that weights of blinks are taken behind.
_ORDER = 4
_PAD_S = 2.0


@dataclass(slots=True)
class _Work:
    """The EEG as far as it is mended, and what is known about its channels."""

    stretches: Stretches
    recording: Recording
    signal: Float64[np.ndarray, "channel time"]
    places: Float64[np.ndarray, "channel 3"]
    scalp: Bool[np.ndarray, " channel"]
    usable: Bool[np.ndarray, " channel"]
    columns: dict[str, Float64[np.ndarray, " channel"]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def placed(self) -> Bool[np.ndarray, " channel"]:
        """Good electrodes whose place is known."""
        return self.scalp & self.usable & np.isfinite(self.places).all(axis=1)

    @property
    def trial(self) -> Float64[np.ndarray, "channel time"]:
        """The part that is not rest."""
        return self.stretches.trial(self.signal)

    def note_channels(self, what: str, rows: Bool[np.ndarray, " channel"]) -> None:
        """Tell of some channels, if there are any."""
        if rows.any():
            names = [self.recording.channels[row] for row in np.flatnonzero(rows)]
            self.notes.append(f"EEG channels {name_some(names)} {what}")


def mend_eeg(
    recording: Recording,
    rest: Recording | None,
    section: EegConfig,
    *,
    is_joined: bool,
) -> Mended:
    """Take out mains, blinks and artifacts, mend bad channels, change the reference.

    In this order, each only if asked for; bad channels are found first, take no part in
    what follows, and are interpolated before the reference changes.

    Parameters
    ----------
    recording, rest : Recording
        The trial, and the rest before it.
    section : EegConfig
        Options.
    is_joined : bool
        Whether the rest runs into the trial.

    Returns
    -------
    Mended
        With what each step changed, measured before and after.

    Raises
    ------
    InputError
        If an option does not fit the recording.
    DataError
        If a channel that is to be the reference is bad.
    """
    steps = (section.line_fit, section.bad_channels, section.blinks, section.components)
    if not any(steps) and section.reference == "recorded":
        return Mended(recording, rest, recording, {})
    stretches = Stretches.of(recording, rest, is_joined=is_joined)
    is_missing = np.isnan(stretches.signal)
    types = recording.types or ("eeg",) * len(recording.channels)
    work = _Work(
        stretches,
        recording,
        signal=stretches.bridged(),
        places=place_electrodes(recording.channels, recording.positions),
        scalp=np.array([kind == "eeg" for kind in types]),
        usable=~is_missing.all(axis=1),
    )
    bad = np.zeros(len(is_missing), dtype=bool)
    if section.bad_channels is not None:
        bad = _find_bad(work, section)
    if section.line_fit is not None:
        _fit_line(work, section)
    if section.blinks is not None:
        _take_out_blinks(work, section)
    if section.components is not None:
        _take_out_components(work, section)
    mended = _interpolate(work, bad)
    if section.bad_channels is not None:
        after = _faults(work, section)
        work.columns["uncorrelated_after"] = after.uncorrelated
    if section.reference != "recorded":
        _change_reference(work, section, bad)
    sources = work.placed & ~mended
    gaps = is_missing[sources].all(axis=0) if mended.any() else False
    work.signal[np.where(mended[:, None], gaps, is_missing)] = np.nan
    work.signal[bad & ~mended] = np.nan
    parts = stretches.split(work.signal, recording, rest)
    return Mended(*parts, recording, work.columns, notes=tuple(work.notes))


def _faults(work: _Work, section: EegConfig) -> ChannelFaults:
    """Look for faults in the trial as far as it is mended."""
    rows = work.scalp
    found = find_bad_channels(
        work.trial[rows],
        rate_hz=work.stretches.rate_hz,
        **section.bad_channels.model_dump(),
    )
    whole = {}
    for name in ChannelFaults.__dataclass_fields__:
        column = getattr(found, name)
        whole[name] = np.zeros(len(rows), dtype=column.dtype)
        whole[name][rows] = column
    return ChannelFaults(**whole)


def _find_bad(work: _Work, section: EegConfig) -> Bool[np.ndarray, " channel"]:
    """Find bad channels, which no step may use from here on."""
    bridged = work.signal
    work.signal = work.stretches.signal  # with its gaps, which count
    faults = _faults(work, section)
    work.signal = bridged
    work.usable &= ~faults.bad
    work.columns["bad"] = faults.bad.astype(np.float64)
    work.columns["uncorrelated"] = faults.uncorrelated
    work.columns["noise_z"] = faults.noise_z
    work.columns["amplitude_z"] = faults.amplitude_z
    return faults.bad


def _fit_line(work: _Work, section: EegConfig) -> None:
    """Take out the mains."""
    rate_hz = work.stretches.rate_hz
    options = section.line_fit.model_dump()
    longest_s = options.pop("window_s")

    def fit(x: Float64[np.ndarray, "channel _"]) -> Float64[np.ndarray, "channel _"]:
        window_s = min(longest_s, x.shape[-1] / rate_hz)
        return fit_line_noise(x, rate_hz=rate_hz, window_s=window_s, **options)

    work.signal = work.stretches.along_time(work.signal, fit)
    after = measure_quality(work.trial, rate_hz=rate_hz, **section.quality.model_dump())
    column = after.values[:, after.measures.index("line_noise")]
    work.columns["line_noise_after"] = column.astype(np.float64)


def _take_out_blinks(work: _Work, section: EegConfig) -> None:
    """Subtract what channels see of the eyes."""
    names, types = work.recording.channels, work.recording.types
    wanted = section.blinks.channels
    if not wanted:
        wanted = tuple(
            n for n, kind in zip(names, types, strict=False) if kind == "eog"
        )
    absent = [name for name in wanted if name not in names]
    if absent or not wanted:
        raise InputError(
            "preprocess.eeg.blinks needs channels that saw the eyes, but "
            + (f"{', '.join(absent)} are not recorded" if absent else "none is known")
            + "; name some in preprocess.eeg.blinks.channels, such as FP1 and FP2, or "
            "leave it out"
        )
    eyes = np.isin(names, wanted)
    cleaned = work.scalp & ~eyes
    band = {"low_hz": section.blinks.low_hz, "high_hz": section.blinks.high_hz}
    band |= {"rate_hz": work.stretches.rate_hz, "order": _ORDER, "pad_s": _PAD_S}
    seen = band_pass(work.trial, **band)
    weights = artifact_weights(seen[cleaned], seen[eyes])
    predicted = np.full(work.trial.shape, np.nan)
    predicted[cleaned] = weights @ seen[eyes]
    work.columns["blink"] = explained_share(seen, predicted)
    work.signal[cleaned] = regress_out(work.signal[cleaned], work.signal[eyes], weights)
    work.columns["blink_after"] = explained_share(
        band_pass(work.trial, **band), predicted
    )


def _take_out_components(work: _Work, section: EegConfig) -> None:
    """Subtract independent components of artifacts."""
    unit_v = VOLTS.get(work.recording.unit)
    if unit_v is None:
        raise InputError(
            f"preprocess.eeg.components needs a unit of voltage, but the EEG is in "
            f"{work.recording.unit!r}; expected one of {', '.join(VOLTS)}"
        )
    rows = work.placed
    options = section.components.model_dump()
    options["n_components"] = min(options["n_components"], int(rows.sum()) - 1)
    before = work.signal[rows]
    cleaned, components = remove_components(
        before,
        rate_hz=work.stretches.rate_hz,
        positions=work.places[rows],
        unit_v=unit_v,
        **options,
    )
    artifact = np.full(work.signal.shape, np.nan)
    artifact[rows] = before - cleaned
    artifact = work.stretches.trial(artifact)
    work.columns["components"] = explained_share(work.trial, artifact)
    work.signal[rows] = cleaned
    work.columns["components_after"] = explained_share(work.trial, artifact)
    removed = np.array(components.labels)[components.removed].tolist()
    if removed:
        counts = ", ".join(f"{removed.count(n)} {n}" for n in sorted(set(removed)))
        n_all = len(components.labels)
        work.notes.append(f"of {n_all} EEG components, these are gone: {counts}")


def _interpolate(
    work: _Work, bad: Bool[np.ndarray, " channel"]
) -> Bool[np.ndarray, " channel"]:
    """Make bad channels of good ones; return those that it was done to."""
    is_placed = work.scalp & np.isfinite(work.places).all(axis=1)
    mended = bad & is_placed
    good = work.placed
    if mended.any() and good.sum() >= FEWEST_PLACED:
        rows = good | mended
        weights = interpolation_weights(work.places[rows], mended[rows])
        work.signal[mended] = weights @ work.signal[good]
        work.usable |= mended
    else:
        mended = np.zeros_like(mended)
    work.note_channels("are bad and interpolated", mended)
    work.note_channels("are bad and missing", bad & ~mended)
    return mended


def _change_reference(
    work: _Work, section: EegConfig, bad: Bool[np.ndarray, " channel"]
) -> None:
    """Measure all electrodes against something else."""
    rows = work.scalp & work.usable
    if section.reference == "mastoids":
        weights = mastoid_weights(work.recording.channels)
        if not (work.usable & ~bad)[weights != 0].all():
            raise DataError(
                "preprocess.eeg.reference is mastoids, one of which is bad or missing; "
                "choose another reference"
            )
    elif section.reference == "infinity":
        known = np.where(work.placed[:, None], work.places, np.nan)
        weights = infinity_weights(known)
    else:
        weights = average_weights(work.placed if work.placed.any() else rows)
    common = work.trial[rows].mean(axis=0)
    shares = np.full((2, len(rows)), np.nan)
    shares[0, rows] = explained_share(work.trial[rows], common)
    work.signal[work.scalp] = rereference(work.signal[work.scalp], weights[work.scalp])
    shares[1, rows] = explained_share(work.trial[rows], common)
    work.columns["common"], work.columns["common_after"] = shares
