"""Positions of EEG channels whose file has none."""

from dataclasses import replace
from functools import cache

import numpy as np

from merps.errors import ConfigError
from merps.readers.streams import Stream
from merps.recording import Recording


def place_channels(stream: Stream, montage: str | None) -> Stream:
    """Give EEG channels the positions of a standard montage, where they have none.

    Parameters
    ----------
    stream : Stream
        One modality; only EEG without positions is changed.
    montage : str or None
        Name of a montage of MNE; None leaves everything as it is.

    Returns
    -------
    Stream
        With positions by name, capital letters aside; NaN where a name is not known.

    Raises
    ------
    ConfigError
        If MNE has no such montage.
    """
    header = stream.header
    if montage is None or stream.modality != "eeg" or header.positions is not None:
        return stream
    known = standard_positions(montage)
    nowhere = np.full(3, np.nan)
    positions = np.array([known.get(name.upper(), nowhere) for name in header.channels])
    if np.isnan(positions).all():
        return stream

    def load() -> Recording:
        """Read the samples, and place the channels."""
        return replace(stream.load(), positions=positions)

    return replace(stream, header=replace(header, positions=positions), load=load)


@cache
def standard_positions(montage: str) -> dict[str, np.ndarray]:
    """Return the positions of a standard montage, in meters, by name in capitals.

    Parameters
    ----------
    montage : str
        Such as ``standard_1005``.

    Returns
    -------
    dict of str to ndarray
        Positions of shape (3,).

    Raises
    ------
    ConfigError
        If MNE has no such montage.
    """
    import mne

    try:
        found = mne.channels.make_standard_montage(montage)
    except ValueError as error:
        names = mne.channels.get_builtin_montages()
        raise ConfigError(
            f"dataset.montage: no montage {montage!r}; MNE has {', '.join(names)}"
        ) from error
    places = found.get_positions()["ch_pos"]
    return {name.upper(): np.asarray(place) for name, place in places.items()}
