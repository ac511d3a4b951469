"""A recording as an object of MNE."""

from typing import Any

import numpy as np

from merps.errors import InputError

#: Factor from a unit to volts, and to mol/L.
VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "nV": 1e-9}
MOLAR = {"mol/L": 1.0, "mmol/L": 1e-3, "umol/L": 1e-6, "nmol/L": 1e-9}
_LIGHT = {"intensity": "fnirs_cw_amplitude", "optical density": "fnirs_od"}
_BLOOD = {"HbO": "hbo", "HbR": "hbr"}


def make_raw(recording: Any) -> Any:
    """Return a recording as an object of MNE; `Recording.to_mne` says how.

    Parameters
    ----------
    recording : merps.Recording
        Voltages, or light and blood of channels that are pairs of optodes.

    Returns
    -------
    mne.io.RawArray
        With channel types, positions, annotations and bad channels.

    Raises
    ------
    InputError
        If MNE has no type for what is recorded, or a unit is not known.
    """
    import mne

    rows = _fnirs_rows(recording) if recording.kinds else _voltage_rows(recording)
    names, types, sources, scales, wavelengths = map(list, zip(*rows, strict=True))
    flat = recording.signal.reshape(-1, recording.n_times)
    data = np.stack(
        [flat[row] * scale for row, scale in zip(sources, scales, strict=True)]
    )
    info = mne.create_info(names, recording.rate_hz, types, verbose="error")
    n_channels = len(recording.channels)
    for channel, row, wavelength in zip(info["chs"], sources, wavelengths, strict=True):
        _place(channel["loc"], recording, row % n_channels, wavelength)
    if recording.mask is not None:
        missing = [bool(recording.mask[row % n_channels]) for row in sources]
        info["bads"] = [name for name, gone in zip(names, missing, strict=True) if gone]
    raw = mne.io.RawArray(data, info, verbose="error")
    if recording.annotations:
        raw.set_annotations(
            mne.Annotations(
                [a.onset_s - recording.start_s for a in recording.annotations],
                [a.duration_s for a in recording.annotations],
                [a.label for a in recording.annotations],
            ),
            verbose="error",
        )
    return raw


def _voltage_rows(recording: Any) -> list[tuple[str, str, int, float, float]]:
    """Return name, type, row and factor of each channel of voltages."""
    if recording.quantity != "voltage" or recording.unit not in VOLTS:
        raise InputError(
            f"MNE wants voltages in volts, and this is {recording.quantity} in "
            f"{recording.unit}; units may be {', '.join(VOLTS)}"
        )
    scale = VOLTS[recording.unit]
    types = recording.types or ("eeg",) * len(recording.channels)
    return [
        (name, kind, row, scale, np.nan)
        for row, (name, kind) in enumerate(zip(recording.channels, types, strict=True))
    ]


def _fnirs_rows(recording: Any) -> list[tuple[str, str, int, float, float]]:
    """Return name, type, row and factor of each kind of each channel of fNIRS."""
    found = []
    n_kinds = len(recording.kinds)
    quantities = _per_kind(recording.quantity, n_kinds)
    units = _per_kind(recording.unit, n_kinds)
    for number, kind in enumerate(recording.kinds):
        quantity, unit = quantities[number], units[number]
        if quantity in _LIGHT and kind.endswith("nm"):
            nm = float(kind.removesuffix("nm"))
            found.append((f"{nm:g}", _LIGHT[quantity], number, 1.0, nm))
        elif quantity == "concentration" and kind in _BLOOD:
            if unit not in MOLAR:
                raise InputError(
                    f"MNE wants concentrations in mol/L, and {kind} is in {unit}; if "
                    f"you know its unit, say so, as one of {', '.join(MOLAR)}"
                )
            found.append((_BLOOD[kind], _BLOOD[kind], number, MOLAR[unit], np.nan))
    if not found:
        raise InputError(
            f"MNE has no channel type for {', '.join(recording.kinds)}; it knows HbO, "
            "HbR, and intensity or optical density by wavelength, such as 760nm"
        )
    n_channels = len(recording.channels)
    return [
        (f"{channel} {text}", kind, number * n_channels + row, scale, nm)
        for row, channel in enumerate(recording.channels)
        for text, kind, number, scale, nm in found
    ]


def _per_kind(facts: str | tuple[str, ...], n_kinds: int) -> tuple[str, ...]:
    """Return one word a kind."""
    return (facts,) * n_kinds if isinstance(facts, str) else facts


def _place(loc: np.ndarray, recording: Any, channel: int, wavelength: float) -> None:
    """Write where a channel is into MNE's twelve numbers."""
    loc[:] = np.nan
    if recording.positions is not None:
        loc[:3] = recording.positions[channel]
    if recording.kinds:
        loc[9] = wavelength
        if recording.optodes is not None:
            loc[3:9] = recording.optodes[channel].ravel()
