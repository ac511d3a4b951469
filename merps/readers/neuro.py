"""Recordings in the formats that MNE reads."""

import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import mismatch
from merps.predictions import name_some
from merps.readers.edf import read_edf_header
from merps.readers.guarding import MNE_REMEDY, guarded, quietly
from merps.readers.lengths import require_length, require_samples
from merps.readers.naming import clean_names, type_by_name
from merps.readers.raws import channel_rows, wrap_raw
from merps.readers.streams import Stream, drop_repeated, no_signal
from merps.readers.triggers import find_triggers
from merps.readers.units import volts_in
from merps.recording import Recording
from merps.shapes import Signal

#: File name endings of recordings that are looked for in a folder.
SUFFIXES = tuple(".edf .bdf .gdf .fif .fif.gz .vhdr .set .cnt .snirf".split())
# Partial pathlength factor of Beer-Lambert for a head of unstated age; concentrations
# scale with it and nothing else here depends on it.
_PATHLENGTH_FACTOR = 6.0
#: Units of EDF that MNE knows; it takes all others for volts.
_MNE_VOLTS = {
    **dict.fromkeys(("uV", "\u00b5V", "\u03bcV", "\x83\xcaV"), 1e-6),
    "mV": 1e-3,
}
#: What EEGLAB, BrainVision and MNE write where parts were cut out or joined.
_BREAK = re.compile(r"\bboundary\b|^New Segment/", re.IGNORECASE)


def open_neuro(path: Path) -> tuple[Stream, ...]:
    """Open a file that MNE reads; samples are read when asked for.

    Parameters
    ----------
    path : Path
        EDF, BDF, FIF, BrainVision (``.vhdr``), EEGLAB (``.set``) or another format of
        MNE.

    Returns
    -------
    tuple of Stream
        Voltages, fNIRS, or both; channels whose name says that they are something else
        than EEG get that type, and a note says so. Events of trigger channels are among
        the annotations.

    Raises
    ------
    DataError
        If the file is shorter or longer than its header says, cannot be read, or holds
        neither EEG nor fNIRS.
    """
    return split_raw(path, _open(path, preload=False))


def split_raw(path: Path, raw: Any, *, is_typed: bool = False) -> tuple[Stream, ...]:
    """Split an object of MNE into streams.

    Parameters
    ----------
    path : Path
        The file that it was read from.
    raw : mne.io.Raw
        Not yet loaded.
    is_typed : bool
        Somebody has stated the types of channels, so that names are not asked.

    Returns
    -------
    tuple of Stream
        Voltages, fNIRS, or both.

    Raises
    ------
    DataError
        If there is neither EEG nor fNIRS.
    """
    split = partial(_split, path, raw, is_typed)
    return guarded(path, split, remedy=MNE_REMEDY)


def read_eeg(path: Path) -> Recording:
    """Read the EEG channels of one file.

    Parameters
    ----------
    path : Path
        Any format that MNE reads.

    Returns
    -------
    Recording
        Voltage in volts, shape (channel, time); names without the ``EEG`` that EDF
        puts before them and without dots.

    Raises
    ------
    DataError
        If MNE cannot read the file, or if it has no EEG channels.
    """
    raw = _open(path)
    if "eeg" not in raw:
        raise mismatch(
            path,
            expected="EEG channels",
            found=", ".join(sorted(set(raw.get_channel_types()))),
            remedy="pass a recording of EEG",
        )
    raw.pick("eeg")
    return Recording(
        signal=raw.get_data(),
        rate_hz=float(raw.info["sfreq"]),
        start_s=0.0,
        channels=tuple(n.removeprefix("EEG ").strip(". ") for n in raw.ch_names),
        quantity="voltage",
        unit="V",
    )


def read_hemoglobin(path: Path) -> Recording:
    """Read the hemoglobin changes of one fNIRS file.

    Continuous-wave intensity becomes optical density and then concentration changes
    by the modified Beer-Lambert law of MNE.

    Parameters
    ----------
    path : Path
        Any fNIRS format that MNE reads.

    Returns
    -------
    Recording
        HbO and HbR in mol/L, shape (2, channel, time); channels named by their source
        and detector.

    Raises
    ------
    DataError
        If MNE cannot read the file, if it holds no fNIRS, or if channels have one of
        HbO and HbR without the other.
    """
    from mne.preprocessing import nirs

    raw = _open(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if "fnirs_cw_amplitude" in raw:
                raw = nirs.optical_density(raw, verbose="error")
            if "fnirs_od" in raw:
                raw = nirs.beer_lambert_law(raw, ppf=_PATHLENGTH_FACTOR)
            hbo, hbr = raw.copy().pick("hbo"), raw.copy().pick("hbr")
    except (RuntimeError, ValueError) as error:
        raise mismatch(
            path,
            expected="fNIRS that turns into HbO and HbR",
            found=f"{', '.join(sorted(set(raw.get_channel_types())))} ({error})",
            remedy="pass a recording of fNIRS with two wavelengths",
        ) from error
    channels, partners = map(_pairs, (hbo, hbr))
    if channels != partners:
        raise mismatch(
            path,
            expected="HbO and HbR of the same channels in the same order",
            found=f"HbO of {', '.join(channels)} and HbR of {', '.join(partners)}",
            remedy="pass a recording of fNIRS with two wavelengths",
        )
    return Recording(
        signal=np.stack([hbo.get_data(), hbr.get_data()]),
        rate_hz=float(raw.info["sfreq"]),
        start_s=0.0,
        channels=channels,
        quantity=("concentration", "concentration"),
        unit=("mol/L", "mol/L"),
        kinds=("HbO", "HbR"),
    )


def _split(path: Path, raw: Any, is_typed: bool) -> tuple[Stream, ...]:
    """Split an object of MNE into streams."""
    rate_hz = float(raw.info["sfreq"])
    if not 0 < rate_hz < np.inf:
        raise mismatch(
            path,
            expected="a sampling rate",
            found=f"{rate_hz:g} Hz",
            remedy="correct the header",
        )
    names, stated, notes = list(raw.ch_names), raw.get_channel_types(), []
    factors, stated = _correct_units(path, raw, stated, notes)
    types = list(stated)
    if not is_typed:
        types = [type_by_name(n, t) for n, t in zip(names, stated, strict=True)]
    corrected = [
        f"{name} is {new}"
        for name, new, old in zip(names, types, stated, strict=True)
        if new != old
    ]
    if corrected:
        notes.append(f"by their names, {name_some(corrected)}; the file calls them eeg")
    breaks = [a for a in raw.annotations if _BREAK.search(a["description"])]
    n_breaks = sum(a["onset"] - raw.first_time > 0 for a in breaks)
    if n_breaks:
        notes.append(f"breaks in it: {n_breaks}, and its time runs on across them")
    cleaned = clean_names(names)
    marks, found = quietly(path, partial(find_triggers, raw), remedy=MNE_REMEDY)
    notes += found

    def wrap(modality: str, rows: list[int], samples: Signal) -> Recording:
        """Wrap the samples of one modality, with the events of trigger channels."""
        wrapped = wrap_raw(raw, modality, rows, types, cleaned, samples)
        if not marks:
            return wrapped
        joined, _ = drop_repeated((*wrapped.annotations, *marks))
        return replace(wrapped, annotations=joined)

    streams = []
    for modality in ("eeg", "fnirs"):
        rows = channel_rows(modality, types)
        if not rows:
            continue

        def load(modality: str = modality, rows: list[int] = rows) -> Recording:
            """Read the samples of one modality."""

            def read() -> Recording:
                samples = raw.get_data(picks=rows)
                if (factors[rows] != 1).any():
                    samples *= factors[rows, None]
                return wrap(modality, rows, samples)

            return guarded(path, read, remedy=MNE_REMEDY)

        samples = no_signal(len(rows), int(raw.n_times))
        header = wrap(modality, rows, samples)
        streams.append(Stream(modality, header, load, tuple(notes)))
    if not streams:
        raise mismatch(
            path,
            expected="channels of EEG or fNIRS",
            found=name_some(sorted(set(types))) or "none",
            remedy="pass a recording of one of them",
        )
    return tuple(streams)


def _correct_units(
    path: Path, raw: Any, types: list[str], notes: list[str]
) -> tuple[np.ndarray, list[str]]:
    """Return factors to volts, and types; MNE takes units of EDF it knows not for V."""
    factors = np.ones(len(types))
    header = read_edf_header(path)
    if header is None:
        return factors, types
    others = header.of_other_rates()
    rows = [k for k in header.signals if header.labels[k] not in others]
    if len(rows) != len(types):  # MNE was told to leave out something else
        others, rows = (), header.signals
    if others:
        notes.append(f"left out for another sampling rate: {name_some(others)}")
    elif len({header.sizes[k] for k in rows}) > 1:
        notes.append("its channels have several rates, and are brought to the highest")
    if len(rows) != len(types):
        return factors, types
    types, strange, is_assumed = list(types), [], False
    for k, row in enumerate(rows):
        if types[k] in ("stim", "misc"):
            continue
        name, unit = raw.ch_names[k], header.units[row]
        scale = volts_in(unit) if unit else 1e-6
        if scale is None:
            types[k] = "misc"
            strange.append(f"{name} ({unit})")
            continue
        factors[k] = scale / _MNE_VOLTS.get(unit, 1.0)
        is_assumed |= not unit and type_by_name(name, types[k]) == "eeg"
    if strange:
        notes.append(f"by their units, these are no voltages: {name_some(strange)}")
    if is_assumed:
        notes.append("the unit of its EEG is not stated, microvolts are assumed")
    return factors, types


def _pairs(raw: Any) -> tuple[str, ...]:
    """Return the channel names without the kind that MNE puts behind them."""
    return tuple(name.rsplit(" ", 1)[0] for name in raw.ch_names)


def _open(path: Path, *, preload: bool = True) -> Any:
    """Open a file through MNE, once it is seen to be whole."""
    import mne

    guarded(path, partial(require_length, path), remedy=MNE_REMEDY)
    header = read_edf_header(path)
    others = header.of_other_rates() if header else ()
    options = {"exclude": others} if others else {}  # else MNE would change the rate
    read = partial(mne.io.read_raw, path, preload=preload, verbose="error", **options)
    raw = quietly(path, read, remedy=MNE_REMEDY)
    for name in filter(None, raw.filenames):
        if name.suffix == ".fdt":
            require_samples(name, len(raw.ch_names), int(raw.n_times))
    return raw
