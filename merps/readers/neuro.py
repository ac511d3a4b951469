"""Recordings in the formats that MNE reads."""

import logging
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from merps.errors import DataError, mismatch
from merps.predictions import name_some
from merps.readers.lengths import require_length
from merps.readers.naming import clean_names, type_by_name
from merps.readers.raws import channel_rows, wrap_raw
from merps.readers.streams import Stream, drop_repeated, no_signal
from merps.readers.triggers import find_triggers
from merps.recording import Recording
from merps.shapes import Signal

_Read = TypeVar("_Read")

#: File name endings of recordings that are looked for in a folder.
SUFFIXES = tuple(".edf .bdf .gdf .fif .fif.gz .vhdr .set .cnt .snirf".split())
# Partial pathlength factor of Beer-Lambert for a head of unstated age; concentrations
# scale with it and nothing else here depends on it.
_PATHLENGTH_FACTOR = 6.0
_LOCK = threading.Lock()

logger = logging.getLogger(__name__)


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
    require_length(path)
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
    names = list(raw.ch_names)
    stated = raw.get_channel_types()
    types = list(stated)
    if not is_typed:
        types = [type_by_name(n, t) for n, t in zip(names, stated, strict=True)]
    corrected = [
        f"{name} is {new}"
        for name, new, old in zip(names, types, stated, strict=True)
        if new != old
    ]
    notes = []
    if corrected:
        notes.append(f"by their names, {name_some(corrected)}; the file calls them eeg")
    cleaned = clean_names(names)
    marks, found = quietly(path, partial(find_triggers, raw))
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
            samples = _guard(path, partial(raw.get_data, picks=rows))
            return wrap(modality, rows, samples)

        header = wrap(modality, rows, no_signal(len(rows), int(raw.n_times)))
        streams.append(Stream(modality, header, load, tuple(notes)))
    if not streams:
        raise mismatch(
            path,
            expected="channels of EEG or fNIRS",
            found=name_some(sorted(set(types))),
            remedy="pass a recording of one of them",
        )
    return tuple(streams)


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


def _pairs(raw: Any) -> tuple[str, ...]:
    """Return the channel names without the kind that MNE puts behind them."""
    return tuple(name.rsplit(" ", 1)[0] for name in raw.ch_names)


def _open(path: Path, *, preload: bool = True) -> Any:
    """Open a file through MNE."""
    import mne

    read = partial(mne.io.read_raw, path, preload=preload, verbose="error")
    return quietly(path, read)


def quietly(path: Path, read: Callable[[], _Read]) -> _Read:
    """Call a reader of MNE, one thread at a time, and log its warnings.

    Parameters
    ----------
    path : Path
        The file, for messages.
    read : callable
        Reads it.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    DataError
        If anything goes wrong inside.
    """
    # What MNE and Python say of warnings holds for all threads.
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _guard(path, read)
    for warning in caught:
        logger.info("%s: %s", path.name, warning.message)
    return found


def _guard(path: Path, read: Callable[[], _Read]) -> _Read:
    """Call a reader of MNE; whatever goes wrong inside becomes one message."""
    try:
        return read()
    except MemoryError:
        raise
    except Exception as error:  # readers of a dozen formats raise whatever they like
        raise DataError(
            f"{path}: cannot be read as a recording ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); pass a file that MNE reads"
        ) from error
