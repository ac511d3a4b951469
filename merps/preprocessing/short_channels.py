"""What short fNIRS channels see of the scalp, taken out of the long ones."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from merps.errors import InputError


def regress_short_channels(
    density: Float[np.ndarray, "*kind channel time"],
    *,
    distance_m: Float[np.ndarray, " channel"],
    positions: Float[np.ndarray, "channel 3"],
    max_short_m: float,
) -> Float64[np.ndarray, "*kind channel time"]:
    """Take out of each long channel what its nearest short channel explains.

    ``x - (s . x / s . s) s`` for a long channel x and the short channel s whose middle
    is nearest to its own, kind by kind: light of a short path does not reach the brain,
    so that what both see is of the scalp.

    Parameters
    ----------
    density : ndarray of float, shape (channel, time) or (kind, channel, time)
        Changes of optical density (kinds are wavelengths) or of concentration, around
        zero; NaN marks samples that are missing.
    distance_m : ndarray of float, shape (channel,)
        Distance of source and detector in meters; NaN where it is unknown: such a
        channel is neither short nor corrected.
    positions : ndarray of float, shape (channel, 3)
        Middle between source and detector in meters; NaN where it is unknown.
    max_short_m : float
        Distance up to which a channel is short, in meters.

    Returns
    -------
    ndarray of float64, shape of `density`
        Unit of `density`; NaN where the channel or its short channel has no sample.
        Short channels, long ones without a position, and kinds of which no short
        channel has samples are as they were.

    Raises
    ------
    InputError
        If no channel with a position is short or none is long.

    References
    ----------
    R. B. Saager and A. J. Berger, Direct characterization and removal of interfering
    absorption trends in two-layer turbid media, Journal of the Optical Society of
    America A 22(9), 2005.
    F. Scholkmann, A. J. Metz, M. Wolf, Measuring tissue hemodynamics and oxygenation by
    continuous-wave functional near-infrared spectroscopy - how robust are the different
    calculation methods against movement artifacts?, Physiological Measurement 35(4),
    2014, eq. 26 and 27.
    """
    is_placed = np.isfinite(positions).all(axis=-1)
    short = np.flatnonzero(is_placed & (distance_m <= max_short_m))
    long = np.flatnonzero(is_placed & (distance_m > max_short_m))
    if not (short.size and long.size):
        raise InputError(
            f"{short.size} channels are short, up to max_short_m={max_short_m:g}, and "
            f"{long.size} are longer; regression needs some of both, with positions"
        )
    cleaned = density.astype(np.float64)
    kinds = cleaned.reshape(-1, *cleaned.shape[-2:])  # a view
    for x_ct in kinds:
        usable = short[_moves(x_ct[short])]
        if not usable.size:
            continue
        nearest = usable[_nearest(positions[long], positions[usable])]
        scalp_ct = x_ct[nearest]
        present_ct = ~(np.isnan(x_ct[long]) | np.isnan(scalp_ct))
        shared_c = np.sum(scalp_ct * x_ct[long], axis=-1, where=present_ct)
        power_c = np.sum(scalp_ct**2, axis=-1, where=present_ct)
        share_c = np.divide(
            shared_c, power_c, out=np.zeros_like(power_c), where=power_c > 0
        )
        x_ct[long] -= share_c[:, None] * scalp_ct
    return cleaned


def _moves(x_ct: Float64[np.ndarray, "channel time"]) -> Bool[np.ndarray, " channel"]:
    """Tell which channels have samples that are not zero."""
    return np.any((x_ct != 0) & ~np.isnan(x_ct), axis=-1)


def _nearest(
    here: Float[np.ndarray, "channel 3"], there: Float[np.ndarray, "other 3"]
) -> Int[np.ndarray, " channel"]:
    """Return which of the others is nearest to each; of equals, the first."""
    apart = np.linalg.norm(here[:, None] - there[None], axis=-1)
    return apart.argmin(axis=1)
