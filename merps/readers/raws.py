"""Objects of MNE as records."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from merps.errors import InputError
from merps.predictions import name_some
from merps.readers.streams import Modality, drop_repeated, no_signal
from merps.recording import Annotation, Recording

#: Channel types of MNE that hold volts, and what its types of fNIRS are to us.
_VOLTAGES = ("eeg", "eog", "ecg", "emg", "ecog", "seeg", "dbs", "bio")
_LIGHT = {"fnirs_cw_amplitude": "intensity", "fnirs_od": "optical density"}
_BLOOD = {"hbo": "HbO", "hbr": "HbR"}
_UNITS = {"intensity": "a.u.", "optical density": "1", "concentration": "mol/L"}


def from_mne(raw: Any, *, modality: Modality | None = None) -> Recording:
    """Take a recording over from MNE.

    Time is counted from the first sample on. Bad channels become missing: masked, and
    NaN. Channels that hold neither voltages nor fNIRS, such as triggers, are left out.

    Parameters
    ----------
    raw : mne.io.Raw
        EEG with further voltages (EOG, ECG, EMG), or fNIRS as intensity, optical
        density or hemoglobin, or both.
    modality : str, optional
        ``eeg`` or ``fnirs``, where `raw` holds both.

    Returns
    -------
    Recording
        Voltages in volts, shape (channel, time), or fNIRS of shape (kind, channel,
        time): intensity and optical density by wavelength, concentrations in mol/L.

    Raises
    ------
    InputError
        If there is nothing of the modality, or both and none was chosen.
    """
    types = raw.get_channel_types()
    there = [name for name in ("eeg", "fnirs") if channel_rows(name, types)]
    if modality is None and len(there) != 1:
        raise InputError(
            f"raw holds {' and '.join(there) or 'neither EEG nor fNIRS'} "
            f"({name_some(sorted(set(types)))}); "
            + ("pass modality" if there else "pass one that does")
        )
    chosen = modality or there[0]
    if chosen not in there:
        raise InputError(f"raw holds no {chosen}, only {name_some(sorted(set(types)))}")
    rows = channel_rows(chosen, types)
    samples = raw.get_data(picks=rows)
    return wrap_raw(raw, chosen, rows, types, raw.ch_names, samples)


def channel_rows(modality: Modality, types: Sequence[str]) -> list[int]:
    """Return the channels of a modality; none where only by-standers are there."""
    wanted = (*_LIGHT, *_BLOOD) if modality == "fnirs" else _VOLTAGES
    rows = [row for row, kind in enumerate(types) if kind in wanted]
    if modality == "eeg" and not any(types[row] == "eeg" for row in rows):
        return []
    return rows


def wrap_raw(
    raw: Any,
    modality: Modality,
    rows: Sequence[int],
    types: Sequence[str],
    names: Sequence[str],
    samples: Float[np.ndarray, "channel time"],
) -> Recording:
    """Wrap the samples of some channels."""
    locs = np.array([raw.info["chs"][row]["loc"] for row in rows])
    if modality == "fnirs":
        wrapped = _fnirs(raw, rows, types, names, samples, locs)
    else:
        own = tuple(types[row] for row in rows)
        wrapped = Recording(
            signal=samples,
            rate_hz=float(raw.info["sfreq"]),
            start_s=0.0,
            channels=tuple(names[row] for row in rows),
            quantity="voltage",
            unit="V",
            positions=_known(locs[:, :3]),
            types=own if set(own) != {"eeg"} else (),
        )
    bads = {names[row] for row in rows if raw.ch_names[row] in raw.info["bads"]}
    return _mask(replace(wrapped, annotations=_annotations(raw)), bads)


def _fnirs(
    raw: Any,
    rows: Sequence[int],
    types: Sequence[str],
    names: Sequence[str],
    samples: Float[np.ndarray, "channel time"],
    locs: Float[np.ndarray, "channel 12"],
) -> Recording:
    """Wrap channels of fNIRS by pair and kind; what a pair lacks is NaN."""
    present = {types[row] for row in rows}
    wanted = next(kind for kind in (*_LIGHT, *_BLOOD) if kind in present)
    family = _BLOOD if wanted in _BLOOD else {wanted}
    kept = [k for k, row in enumerate(rows) if types[row] in family]
    quantity = _LIGHT.get(wanted, "concentration")
    kind_of = {
        k: _BLOOD.get(types[rows[k]]) or f"{_wavelength(names[rows[k]], locs[k]):g}nm"
        for k in kept
    }
    kinds = sorted(set(kind_of.values()), key=lambda kind: (len(kind), kind))
    pairs = list(dict.fromkeys(names[rows[k]].rsplit(" ", 1)[0] for k in kept))
    shape = (len(kinds), len(pairs), samples.shape[-1])
    is_header = samples.strides == (0, 0)
    signal = no_signal(*shape) if is_header else np.full(shape, np.nan)
    at = {}
    for k in kept:
        pair = pairs.index(names[rows[k]].rsplit(" ", 1)[0])
        at.setdefault(pair, k)
        if not is_header:
            signal[kinds.index(kind_of[k]), pair] = samples[k]
    places = locs[[at[pair] for pair in range(len(pairs))]]
    optodes = _known(places[:, 3:9])
    distances = None
    if optodes is not None:
        optodes = optodes.reshape(-1, 2, 3)
        distances = np.linalg.norm(optodes[:, 0] - optodes[:, 1], axis=1).tolist()
    return Recording(
        signal=signal,
        rate_hz=float(raw.info["sfreq"]),
        start_s=0.0,
        channels=tuple(pairs),
        quantity=(quantity,) * len(kinds),
        unit=(_UNITS[quantity],) * len(kinds),
        kinds=tuple(kinds),
        positions=_known(places[:, :3]),
        distances_m=None if distances is None else tuple(distances),
        optodes=optodes,
    )


def _wavelength(name: str, loc: Float[np.ndarray, " 12"]) -> float:
    """Return the wavelength of a channel, by its place or its name."""
    if np.isfinite(loc[9]) and loc[9] > 0:
        return float(loc[9])
    try:
        return float(name.rsplit(" ", 1)[1])
    except (IndexError, ValueError) as error:
        raise InputError(f"fNIRS channel {name!r} states no wavelength") from error


def _known(
    places: Float[np.ndarray, "channel axis"],
) -> Float[np.ndarray, "channel axis"] | None:
    """Return positions with NaN for those that are not known; None where none is."""
    unknown = ~np.isfinite(places).all(axis=1) | (places == 0).all(axis=1)
    if unknown.all():
        return None
    return np.where(unknown[:, None], np.nan, places)


def _annotations(raw: Any) -> tuple[Annotation, ...]:
    """Return what the file marks, in seconds after its first sample."""
    found = [
        Annotation(float(onset - raw.first_time), float(duration), str(label))
        for onset, duration, label in zip(
            raw.annotations.onset,
            raw.annotations.duration,
            raw.annotations.description,
            strict=True,
        )
    ]
    return drop_repeated(found)[0]


def _mask(recording: Recording, bads: set[str]) -> Recording:
    """Make the channels missing that are called bad."""
    if recording.kinds:
        bads = {name.rsplit(" ", 1)[0] for name in bads}
    mask = np.array([name in bads for name in recording.channels])
    if not mask.any():
        return recording
    signal = recording.signal
    if signal.flags.writeable:  # a header has no samples to lose
        signal = signal.copy()
        signal[..., mask, :] = np.nan
    return replace(recording, signal=signal, mask=mask)
