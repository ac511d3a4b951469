"""Where electrodes are, and signals handed to MNE-Python with that."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.errors import InputError
from merps.preprocessing.silence import quiet_mne

#: The 10-05 system, which holds the 10-20 and 10-10 systems, on a template head.
_MONTAGE = "colin27_1005"
#: Interpolation and models of the head need as many electrodes whose place is known.
FEWEST_PLACED = 4


def place_electrodes(
    channels: Sequence[str], positions: Float[np.ndarray, "channel 3"] | None = None
) -> Float64[np.ndarray, "channel 3"]:
    """Return where electrodes are: as given, or as their names tell.

    Parameters
    ----------
    channels : sequence of str
        Names of the 10-20, 10-10 or 10-05 system, in any case.
    positions : ndarray of float, shape (channel, 3), optional
        Measured positions in meters; NaN where one is unknown. If absent, or unknown
        for all, those of the template head are taken.

    Returns
    -------
    ndarray of float64, shape (channel, 3)
        Meters; NaN where nothing is known, as of CB1 and CB2, which have no standard
        position, and of channels that are no electrodes.
    """
    if positions is not None and np.isfinite(positions).any():
        return positions.astype(np.float64)
    known = _template()
    nowhere = np.full(3, np.nan)
    return np.array([known.get(name.lower(), nowhere) for name in channels])


def interpolation_weights(
    positions: Float[np.ndarray, "channel 3"], bad: Bool[np.ndarray, " channel"]
) -> Float64[np.ndarray, "bad good"]:
    """Return what bad channels are made of, from the good ones, by spherical splines.

    Computed by MNE-Python.

    Parameters
    ----------
    positions : ndarray of float, shape (channel, 3)
        Meters, all of them known.
    bad : ndarray of bool, shape (channel,)
        Channels to interpolate.

    Returns
    -------
    ndarray of float64, shape (bad, good)
        Each row sums to 1, so that offsets that all channels share stay.

    Raises
    ------
    InputError
        If fewer than four channels are good.

    References
    ----------
    F. Perrin, J. Pernier, O. Bertrand, J. F. Echallier, Spherical splines for scalp
    potential and current density mapping, Electroencephalography and Clinical
    Neurophysiology 72, 1989.
    """
    n_good = int((~bad).sum())
    if n_good < FEWEST_PLACED:
        raise InputError(
            f"{n_good} good channels with a position cannot tell what {bad.sum()} bad "
            f"ones saw; at least {FEWEST_PLACED} are needed"
        )
    if not bad.any():
        return np.empty((0, n_good))
    units = np.zeros((len(bad), n_good))
    units[~bad] = np.eye(n_good)
    with quiet_mne():
        raw = as_raw(units, rate_hz=1.0, positions=positions)
        raw.info["bads"] = [raw.ch_names[row] for row in np.flatnonzero(bad)]
        raw.interpolate_bads(reset_bads=True, origin="auto")
    return raw.get_data()[bad]


def as_raw(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    positions: Float[np.ndarray, "channel 3"] | None = None,
) -> Any:
    """Return an MNE recording of EEG channels, which are named by number.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Volts; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    positions : ndarray of float, shape (channel, 3), optional
        Meters, all of them known.

    Returns
    -------
    mne.io.RawArray
        A recording with a copy of the signal.
    """
    import mne

    names = [f"{row:03d}" for row in range(len(signal))]
    with quiet_mne():
        info = mne.create_info(names, rate_hz, "eeg")
        raw = mne.io.RawArray(signal.astype(np.float64), info)
        if positions is not None:
            places = dict(zip(names, positions, strict=True))
            montage = mne.channels.make_dig_montage(places, coord_frame="head")
            raw.set_montage(montage)
    return raw


@functools.cache
def _template() -> dict[str, Float64[np.ndarray, " 3"]]:
    """Return the positions of the template head by names in lower case."""
    import mne

    montage = mne.channels.make_standard_montage(_MONTAGE)
    return {name.lower(): at for name, at in montage.get_positions()["ch_pos"].items()}
