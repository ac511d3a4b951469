"""What brings the channels of different people to one scale before a net sees them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int

from merps.errors import InputError
from merps.samples import Block

Alignment: TypeAlias = Literal["none", "person", "whiten"]

_PARTS = ("mean", "gain")
_ROWS_AT_ONCE = 64
_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Scaling:
    """Means and gains of the channels of several groups of windows.

    Parameters
    ----------
    mean : ndarray of float32, shape (group, channel)
        What is subtracted; zero for a channel without a sample.
    gain : ndarray of float32, shape (group, channel) or (group, channel, channel)
        What is multiplied with, or the matrix that is applied from the left; zero for
        a channel that is flat or without a sample.
    """

    mean: Float32[np.ndarray, "group channel"]
    gain: Float32[np.ndarray, "group channel ..."]


def standardize_groups(
    block: Block, groups: Int[np.ndarray, " sample"], *, n_groups: int
) -> Scaling:
    """Measure what brings each channel of each group to mean 0 and variance 1.

    Parameters
    ----------
    block : Block
        Windows (channel, time) or (kind, channel, time), whose kinds are folded into
        the channels; NaN marks missing samples, which are passed over.
    groups : ndarray of int64, shape (sample,)
        Which group each sample belongs to.
    n_groups : int
        Number of groups; one without a window has gains of zero.

    Returns
    -------
    Scaling
        One gain a channel.
    """
    moments = [_moments(block, groups == group) for group in range(n_groups)]
    n_channels = max(len(mean) for mean, _ in moments)
    mean, variance = (
        np.stack([np.resize(part, n_channels) for part in parts])
        for parts in zip(*moments, strict=True)
    )
    with np.errstate(divide="ignore"):
        gain = np.where(variance > 0, 1 / np.sqrt(variance), 0)
    return Scaling(mean.astype(np.float32), gain.astype(np.float32))


def whiten_groups(
    block: Block, groups: Int[np.ndarray, " sample"], *, n_groups: int
) -> Scaling:
    """Measure what makes the mean covariance of each group's windows the identity.

    With the windows X of a group, less the mean of each channel, and missing samples
    set to it,

        R = mean(X X' / n_times),   X <- R^-1/2 X.

    Directions in which R has no power worth mentioning (1e-10 of the largest, as after
    average referencing) are dropped instead of blown up.

    Parameters
    ----------
    block : Block
        Windows (channel, time); NaN marks missing samples.
    groups : ndarray of int64, shape (sample,)
        Which group each sample belongs to.
    n_groups : int
        Number of groups; one without a window has gains of zero.

    Returns
    -------
    Scaling
        One matrix a group.

    References
    ----------
    H. He, D. Wu, Transfer learning for brain-computer interfaces: a Euclidean space
    data alignment approach, IEEE Transactions on Biomedical Engineering 67, 2020.
    """
    plain = standardize_groups(block, groups, n_groups=n_groups)
    matrices = [
        _whitener(_covariance(block, groups == group, plain.mean[group]))
        for group in range(n_groups)
    ]
    return Scaling(plain.mean, np.stack(matrices).astype(np.float32))


def pack_scalings(scalings: Mapping[str, Scaling]) -> dict[str, np.ndarray]:
    """Return the arrays of scalings under one name each.

    Parameters
    ----------
    scalings : mapping of str to Scaling
        By modality.

    Returns
    -------
    dict of ndarray of float32
        Such as ``eeg_mean`` and ``eeg_gain``.
    """
    return {
        f"{modality}_{part}": getattr(scaling, part)
        for modality, scaling in scalings.items()
        for part in _PARTS
    }


def unpack_scalings(
    arrays: Mapping[str, np.ndarray], n_channels: Mapping[str, int]
) -> dict[str, Scaling]:
    """Return the scalings of one group that `pack_scalings` was given.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What it returned.
    n_channels : mapping of str to int
        Number of channels by modality.

    Returns
    -------
    dict of Scaling
        By modality.

    Raises
    ------
    InputError
        If an array is missing, left over, or of another type or shape.
    """
    needed = {f"{m}_{part}": n for m, n in n_channels.items() for part in _PARTS}
    for name in sorted(needed.keys() | arrays.keys()):
        if name not in arrays or name not in needed:
            raise InputError(f"scalings_ and the channels differ in {name:.80}")
        array = arrays[name]
        if (array.dtype, array.shape) != (np.float32, (1, needed[name])):
            raise InputError(
                f"scalings_ {name} is {array.dtype} {array.shape}, and (1, "
                f"{needed[name]}) of float32 is needed"
            )
    return {m: Scaling(*(arrays[f"{m}_{p}"] for p in _PARTS)) for m in n_channels}


def _windows_of(
    block: Block, mask: np.ndarray
) -> Iterator[Float64[np.ndarray, "window channel time"]]:
    """Yield the windows of some samples, kinds folded into the channels."""
    rows = block.rows[mask]
    rows = rows[rows >= 0]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        x = block.source.gather(rows[first : first + _ROWS_AT_ONCE])
        yield x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)


def _moments(
    block: Block, mask: np.ndarray
) -> tuple[Float64[np.ndarray, " channel"], Float64[np.ndarray, " channel"]]:
    """Return mean and population variance of each channel."""
    count = total = square = shift = np.zeros(1)
    for number, x_wct in enumerate(_windows_of(block, mask)):
        there = np.isfinite(x_wct)
        x_wct[~there] = 0
        n = there.sum(axis=(0, 2))
        if number == 0:  # sums of squares are taken around a value that is near
            shift = x_wct.sum(axis=(0, 2)) / np.maximum(n, 1)
        x_wct -= shift[:, None]
        x_wct[~there] = 0
        count, total = count + n, total + x_wct.sum(axis=(0, 2))
        square = square + np.einsum("wct,wct->c", x_wct, x_wct)
    mean = total / np.maximum(count, 1)
    variance = square / np.maximum(count, 1) - mean**2
    # What rounding leaves of a flat channel is no variance.
    flat = variance <= 1e-12 * (mean**2 + shift**2)
    return mean + shift, np.where(flat, 0, variance)


def _covariance(
    block: Block, mask: np.ndarray, mean: Float32[np.ndarray, " channel"]
) -> Float64[np.ndarray, "channel channel"]:
    """Return the mean covariance of windows around a mean; missing samples are it."""
    total = np.zeros((len(mean), len(mean)))
    n_samples = 0
    for x_wct in _windows_of(block, mask):
        x_wct -= mean[:, None]
        x_wct[~np.isfinite(x_wct)] = 0
        x_ct = np.concatenate(x_wct, axis=1)
        total += x_ct @ x_ct.T
        n_samples += x_ct.shape[1]
    return total / max(n_samples, 1)


def _whitener(
    covariance: Float64[np.ndarray, "channel channel"],
) -> Float64[np.ndarray, "channel channel"]:
    """Return the inverse square root on the subspace that has power."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _RANK_TOLERANCE * max(values[-1], 0)
    vectors = vectors[:, kept]
    return (vectors / np.sqrt(values[kept])) @ vectors.T
