"""Second and fourth moments of windows, from the sums of pieces that they share."""

from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from merps.errors import InputError
from merps.features.tiles import Scratch
from merps.kernels.moments import add_scatter

#: The highest power of samples that is summed.
Order: TypeAlias = Literal[2, 4]
#: Pieces summed at once, so that they stay in the cache.
_CHUNK_PIECES = 16


class WindowMoments(NamedTuple):
    """Sums over the samples of each window, about its own mean.

    Parameters
    ----------
    missing : ndarray of bool, shape (window,)
        Whether a sample is missing, so that no sum means anything.
    scatter : ndarray of float, shape (window, channel, channel)
        Sum of the products of channels.
    norm : ndarray of float64, shape (window,)
        Sum of the squares of the elements of `scatter`.
    fourth : ndarray of float64, shape (window,), optional
        Sum over moments of the squared sum of squares of all channels.
    """

    missing: Bool[np.ndarray, " window"]
    scatter: Float[np.ndarray, "window channel channel"]
    norm: Float64[np.ndarray, " window"]
    fourth: Float64[np.ndarray, " window"] | None


class _Pieces(NamedTuple):
    """Sums over the samples of pieces of a signal, each about its own mean."""

    mean_bc: Float64[np.ndarray, "piece channel"]
    scatter_bcc: Float[np.ndarray, "piece channel channel"]
    # Of the squared length of each sample: its product with the sample, its square.
    third_bc: Float64[np.ndarray, "piece channel"]
    fourth_b: Float64[np.ndarray, " piece"]


def sum_stack(
    windows: Float[np.ndarray, "window channel time"],
    *,
    order: Order,
    scratch: Scratch,
) -> WindowMoments:
    """Sum windows that were cut already.

    Parameters
    ----------
    windows : ndarray of float, shape (window, channel, time)
        NaN marks samples that are missing.
    order : {2, 4}
        Highest power that is summed.
    scratch : Scratch
        Memory that holds `scatter` until it is used again.

    Returns
    -------
    WindowMoments
        Sums in the dtype of `windows`.

    Raises
    ------
    InputError
        If a sample is infinite.
    """
    n_windows, n_channels, n_times = windows.shape
    pieces = _new_pieces(n_windows, n_channels, windows.dtype, scratch)
    _sum_blocks(windows, order, scratch, pieces)
    first = np.arange(n_windows)
    lengths = np.full(n_windows, n_times)
    return _join(pieces, lengths, first, first + 1, order, scratch)


def sum_windows(
    signal: Float[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    *,
    length: int,
    order: Order,
    scratch: Scratch,
) -> WindowMoments:
    """Sum windows of a signal, which is cut wherever one of them begins or ends.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        NaN marks samples that are missing.
    starts : ndarray of int, shape (window,)
        First sample of each window; all lie inside the signal.
    length : int
        Number of samples in a window.
    order : {2, 4}
        Highest power that is summed.
    scratch : Scratch
        Memory that holds `scatter` until it is used again.

    Returns
    -------
    WindowMoments
        Sums in the dtype of `signal`.

    Raises
    ------
    InputError
        If a sample of a window is infinite.
    """
    edges = np.unique(np.concatenate([starts, starts + length]))
    first, stop = np.searchsorted(edges, [starts, starts + length])
    n_channels, n_pieces = len(signal), len(edges) - 1
    pieces = _new_pieces(n_pieces, n_channels, signal.dtype, scratch)
    opened = np.bincount(first, minlength=n_pieces)
    closed = np.bincount(stop, minlength=n_pieces)[:n_pieces]
    lengths = np.where(np.cumsum(opened - closed) > 0, np.diff(edges), 0)
    # Neighbors of one length are summed together; what no window needs is not.
    borders = np.flatnonzero(np.diff(lengths, prepend=-1, append=-1))
    for a, b in pairwise(borders):
        if lengths[a]:
            x_ct = signal[:, edges[a] : edges[b]]
            x_cbt = x_ct.reshape(n_channels, b - a, lengths[a])
            part = _Pieces(*(values[a:b] for values in pieces))
            _sum_blocks(x_cbt.swapaxes(0, 1), order, scratch, part)
    return _join(pieces, lengths, first, stop, order, scratch)


def _new_pieces(
    n_pieces: int, n_channels: int, dtype: np.dtype, scratch: Scratch
) -> _Pieces:
    """Return room for the sums of pieces."""
    return _Pieces(
        np.empty((n_pieces, n_channels)),
        scratch.take("pieces", (n_pieces, n_channels, n_channels), dtype),
        np.empty((n_pieces, n_channels)),
        np.empty(n_pieces),
    )


def _sum_blocks(
    x_bct: Float[np.ndarray, "piece channel time"],
    order: Order,
    scratch: Scratch,
    out: _Pieces,
) -> None:
    """Sum the samples of pieces of one length about their means."""
    n_chunk, n_channels, n_times = len(x_bct[:_CHUNK_PIECES]), *x_bct.shape[1:]
    average_t = np.full(n_times, 1 / n_times, dtype=x_bct.dtype)
    if x_bct.strides[1] < x_bct.strides[2]:  # in the order of the signal
        shape = (n_chunk, n_times, n_channels)
        room_bct = scratch.take("centered", shape, x_bct.dtype).swapaxes(1, 2)
    else:
        room_bct = scratch.take("centered", (n_chunk, *x_bct.shape[1:]), x_bct.dtype)
    for a in range(0, len(x_bct), _CHUNK_PIECES):
        chunk = slice(a, a + _CHUNK_PIECES)
        mean_bc = x_bct[chunk] @ average_t
        if np.isinf(mean_bc).any():
            raise InputError("signal has infinite samples; mark them as NaN")
        z_bct = room_bct[: len(mean_bc)]
        np.subtract(x_bct[chunk], mean_bc[..., None], out=z_bct)
        np.matmul(z_bct, z_bct.swapaxes(1, 2), out=out.scatter_bcc[chunk])
        # What rounding left of the mean, which matters where an offset is large.
        np.add(mean_bc, z_bct @ average_t, out=out.mean_bc[chunk], dtype=np.float64)
        if order == 4:
            square_bt = np.einsum("bct,bct->bt", z_bct, z_bct).astype(np.float64)
            out.third_bc[chunk] = (z_bct @ square_bt[..., None])[..., 0]
            out.fourth_b[chunk] = (square_bt**2).sum(axis=1)


def _join(
    pieces: _Pieces,
    lengths: Int[np.ndarray, " piece"],
    first: Int[np.ndarray, " window"],
    stop: Int[np.ndarray, " window"],
    order: Order,
    scratch: Scratch,
) -> WindowMoments:
    """Add up the moments of windows from those of their pieces."""
    dtype = pieces.scatter_bcc.dtype
    n_windows, n_channels = len(first), pieces.mean_bc.shape[1]
    # The pieces of each window; those beyond its last one get no weight.
    piece_wp = first[:, None] + np.arange((stop - first).max())
    inside_wp = piece_wp < stop[:, None]
    piece_wp = np.where(inside_wp, piece_wp, first[:, None])
    weight_wp = np.where(inside_wp, lengths[piece_wp], 0).astype(np.float64)
    mean_wpc = pieces.mean_bc[piece_wp]
    mean_wc = (weight_wp[:, None] @ mean_wpc)[:, 0] / weight_wp.sum(1, keepdims=True)
    shift_wpc = mean_wpc - mean_wc[:, None]

    scatter_wcc = scratch.take("windows", (n_windows, n_channels, n_channels), dtype)
    norm_wc = np.empty((n_windows, n_channels))
    spread_wpc = (np.sqrt(weight_wp)[..., None] * shift_wpc).astype(dtype)
    add_scatter(pieces.scatter_bcc, first, stop, spread_wpc, scatter_wcc, norm_wc)
    fourth_w = (
        _join_fourth(pieces, piece_wp, weight_wp, shift_wpc) if order == 4 else None
    )
    missing_w = np.isnan(mean_wc).any(axis=1)
    return WindowMoments(missing_w, scatter_wcc, norm_wc.sum(axis=1), fourth_w)


def _join_fourth(
    pieces: _Pieces,
    piece_wp: Int[np.ndarray, "window piece"],
    weight_wp: Float64[np.ndarray, "window piece"],
    shift_wpc: Float64[np.ndarray, "window piece channel"],
) -> Float64[np.ndarray, " window"]:
    """Add up |z + d|^4, expanded, for samples z about a mean that lies d away."""
    power_b = np.trace(pieces.scatter_bcc, axis1=1, axis2=2, dtype=np.float64)
    fourth_w = np.zeros(len(piece_wp))
    for piece_w, weight_w, shift_wc in zip(
        piece_wp.T, weight_wp.T, shift_wpc.swapaxes(0, 1), strict=True
    ):
        turned_wc = (pieces.scatter_bcc[piece_w] @ shift_wc[..., None])[..., 0]
        cross_w = (shift_wc * (turned_wc + pieces.third_bc[piece_w])).sum(axis=1)
        square_w = (shift_wc**2).sum(axis=1)
        sum_w = pieces.fourth_b[piece_w] + 4 * cross_w
        sum_w += square_w * (2 * power_b[piece_w] + weight_w * square_w)
        fourth_w += np.where(weight_w > 0, sum_w, 0)
    return fourth_w
