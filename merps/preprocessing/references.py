"""What EEG potentials are measured against: the average, mastoids, or infinity."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.errors import InputError
from merps.preprocessing.electrodes import FEWEST_PLACED, as_raw
from merps.preprocessing.silence import quiet_mne

#: Names of electrodes on or near the mastoids, in pairs, best first.
_MASTOIDS = (("m1", "m2"), ("a1", "a2"), ("tp9", "tp10"))
#: Where dipoles are in the head, in millimeters: how far apart, how far below the skull
#: at least, and how far from the middle: a shell as the cortex is.
_DIPOLES = {"pos": 15.0, "mindist": 5.0, "exclude": 40.0}


def rereference(
    signal: Float[np.ndarray, "channel time"],
    weights: Float[np.ndarray, " channel"],
) -> Float[np.ndarray, "channel time"]:
    """Subtract a weighted sum of channels from every channel.

    ``x - w . x``: where the weights sum to 1, whatever the potentials were measured
    against before is gone. One direction of the signal is lost then, so that
    covariances of it have one rank less than channels.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing, and spreads from channels that
        have a weight.
    weights : ndarray of float, shape (channel,)
        As from the other functions of this module.

    Returns
    -------
    ndarray of float, shape (channel, time)
        Unit and dtype of `signal`.
    """
    used = weights != 0
    reference_t = weights[used] @ signal[used].astype(np.float64)
    return (signal - reference_t).astype(signal.dtype)


def average_weights(
    included: Bool[np.ndarray, " channel"],
) -> Float64[np.ndarray, " channel"]:
    """Return the weights of the mean over channels.

    Parameters
    ----------
    included : ndarray of bool, shape (channel,)
        Channels that take part: those that are good and on the scalp.

    Returns
    -------
    ndarray of float64, shape (channel,)
        Weights that sum to 1.

    Raises
    ------
    InputError
        If no channel takes part.
    """
    if not included.any():
        raise InputError(
            f"none of {len(included)} channels can be averaged; choose another "
            "reference"
        )
    return included / included.sum()


def mastoid_weights(channels: Sequence[str]) -> Float64[np.ndarray, " channel"]:
    """Return the weights of the mean of both mastoids, or of electrodes next to them.

    Parameters
    ----------
    channels : sequence of str
        Names, in any case.

    Returns
    -------
    ndarray of float64, shape (channel,)
        One half each for M1 and M2, else for A1 and A2, else for TP9 and TP10.

    Raises
    ------
    InputError
        If none of these pairs is there.
    """
    names = [name.lower() for name in channels]
    for pair in _MASTOIDS:
        if set(pair) <= set(names):
            return np.array([0.5 * (name in pair) for name in names])
    raise InputError(
        f"no mastoids among {', '.join(channels)}; expected M1 and M2, A1 and A2, or "
        "TP9 and TP10, so choose another reference"
    )


def infinity_weights(
    positions: Float[np.ndarray, "channel 3"],
) -> Float64[np.ndarray, " channel"]:
    """Return the weights of the reference electrode standardization technique (REST).

    Potentials against infinity differ from those against the average by one number a
    sample, which dipoles in a head of four spheres tell that explain the measured
    ones. Computed by MNE-Python.

    Parameters
    ----------
    positions : ndarray of float, shape (channel, 3)
        Meters; NaN where one is unknown: such a channel has no weight.

    Returns
    -------
    ndarray of float64, shape (channel,)
        Weights that sum to 1.

    Raises
    ------
    InputError
        If fewer than four positions are known.

    References
    ----------
    D. Yao, A method to standardize a reference of scalp EEG recordings to a point at
    infinity, Physiological Measurement 22(4), 2001.
    """
    import mne

    placed = np.isfinite(positions).all(axis=-1)
    n_placed = int(placed.sum())
    if n_placed < FEWEST_PLACED:
        raise InputError(
            f"positions of {n_placed} channels are known, but the reference at "
            f"infinity needs {FEWEST_PLACED}; choose another reference"
        )
    raw = as_raw(np.eye(n_placed), rate_hz=1.0, positions=positions[placed])
    with quiet_mne():
        head = mne.make_sphere_model("auto", "auto", raw.info)
        dipoles = mne.setup_volume_source_space(sphere=head, **_DIPOLES)
        forward = mne.make_forward_solution(
            raw.info, trans=None, src=dipoles, bem=head, meg=False
        )
        standard, _ = mne.set_eeg_reference(raw, "REST", forward=forward)
    # Each channel lost the same sum of channels.
    weights = np.zeros(len(positions))
    weights[placed] = (np.eye(n_placed) - standard.get_data()).mean(axis=0)
    return weights
