"""Recordings in the formats that MNE reads, as voltages or concentration changes."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import DataError, mismatch
from merps.recording import Recording

#: File name endings of recordings that are looked for in a folder.
SUFFIXES = tuple(".edf .bdf .gdf .fif .fif.gz .vhdr .set .cnt .snirf".split())
# Partial pathlength factor of Beer-Lambert for a head of unstated age; concentrations
# scale with it and nothing else here depends on it.
_PATHLENGTH_FACTOR = 6.0

logger = logging.getLogger(__name__)


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


def _open(path: Path) -> Any:
    """Read a file through MNE; whatever goes wrong inside becomes one message."""
    import mne

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            raw = mne.io.read_raw(path, preload=True, verbose="error")
    except MemoryError:
        raise
    except Exception as error:  # readers of a dozen formats raise whatever they like
        raise DataError(
            f"{path}: cannot be read as a recording ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); pass a file that MNE reads"
        ) from error
    for warning in caught:
        logger.info("%s: %s", path.name, warning.message)
    return raw
