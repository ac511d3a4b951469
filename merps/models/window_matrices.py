"""Windows of signals as covariance matrices of few components."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64

from merps.errors import InputError
from merps.features.covariance import covariances
from merps.features.directions import (
    leading_directions,
    rank_tolerance,
    regress_missing,
)
from merps.features.tiles import map_tiles
from merps.features.triangles import StoredMatrices, pick_triangles
from merps.samples import Block
from merps.shapes import Rows, Windows

#: Windows that the mean covariance of the training rows is taken from, at most.
_MOST_WINDOWS = 4096
#: Windows worked on at once.
_TILE_WINDOWS = 32


def mean_covariance(block: Block) -> Float64[np.ndarray, "channel channel"]:
    """Average the covariance matrices of windows, each about its mean.

    Where there are more than 4096 windows, every second, third and so on is taken:
    neighbors overlap.

    Parameters
    ----------
    block : Block
        Windows (channel, time) or (kind, channel, time), whose kinds are folded into
        the channels. A channel that lacks a sample is passed over in that window.

    Returns
    -------
    ndarray of float64, shape (channel, channel)
        Unit of the windows squared; NaN where no window has both channels.
    """
    rows = block.rows[block.rows >= 0]
    rows = rows[:: -(-len(rows) // _MOST_WINDOWS) or 1]
    total_cc, count_cc = np.zeros((1, 1)), np.zeros((1, 1))
    for first in range(0, len(rows), _TILE_WINDOWS):
        x_wct = _folded(block, rows[first : first + _TILE_WINDOWS])
        missing_wc = _clean(x_wct)
        there_wc = (~missing_wc).astype(np.float64)
        x_wct -= x_wct.mean(axis=2, keepdims=True)
        total_cc = (
            total_cc + np.sum(x_wct @ x_wct.swapaxes(1, 2), axis=0) / (x_wct.shape[2])
        )
        count_cc = count_cc + there_wc.T @ there_wc
    return total_cc / np.where(count_cc > 0, count_cc, np.nan)


def whitening_directions(
    mean: Float64[np.ndarray, "channel channel"],
    sets: Sequence[np.ndarray],
    *,
    n_components: int | None,
) -> Float64[np.ndarray, "channel component"]:
    """Find the leading directions of sets of channels, scaled to unit variance.

    Parameters
    ----------
    mean : ndarray of float64, shape (channel, channel)
        From `mean_covariance`.
    sets : sequence of ndarray of int
        Channels that are reduced together; no direction joins two sets.
    n_components : int or None
        Directions of each set, at most as many as it has rank.

    Returns
    -------
    ndarray of float64, shape (channel, component)
        Set after set.

    Raises
    ------
    InputError
        If a set has no power.
    """
    tolerance = rank_tolerance(len(mean), np.dtype(np.float32))
    columns = []
    for own in sets:
        own_cc = mean[np.ix_(own, own)]
        directions_cn = leading_directions(
            own_cc, n_components=n_components, tolerance=tolerance
        )
        whole_cn = np.zeros((len(mean), directions_cn.shape[1]))
        reduced_nn = directions_cn.T @ np.nan_to_num(own_cc) @ directions_cn
        whole_cn[own] = directions_cn / np.sqrt(reduced_nn.diagonal())
        columns.append(whole_cn)
    return np.hstack(columns)


def reduced_matrices(
    block: Block,
    mean: Float64[np.ndarray, "channel channel"],
    directions: Float64[np.ndarray, "channel component"],
    *,
    delays: Sequence[int],
    jobs: int,
) -> Block:
    """Turn windows into shrunk covariance matrices of their components.

    A channel that lacks a sample is told from the others, as the mean covariance
    relates them. Components are joined with delayed copies of themselves, and the
    covariance is shrunk by the oracle approximating rule.

    Parameters
    ----------
    block : Block
        Windows (channel, time) or (kind, channel, time).
    mean : ndarray of float64, shape (channel, channel)
        From the training rows.
    directions : ndarray of float64, shape (channel, component)
        From the training rows.
    delays : sequence of int
        Samples by which copies are delayed; empty for no copy.
    jobs : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    Block
        `StoredMatrices` of one band, one row for each row that has a window.

    Raises
    ------
    InputError
        If windows are not longer than the delays.
    """
    rows = block.rows[block.rows >= 0]
    n = directions.shape[1] * (1 + len(delays))
    values = np.empty((len(rows), 1, n * (n + 1) // 2), dtype=np.float32)

    def fill(tile: slice) -> None:
        z_wnt = _components(_folded(block, rows[tile]), mean, directions)
        matrices_wnn = covariances(_embed(z_wnt, delays), estimator="oas")
        values[tile, 0] = pick_triangles(matrices_wnn, scale=1.0)

    map_tiles(fill, len(rows), tile_rows=_TILE_WINDOWS, jobs=jobs)
    names = tuple(f"component_{k}" for k in range(n))
    source = StoredMatrices(values, channels=names, bands=("all",))
    places = np.where(block.rows >= 0, np.cumsum(block.rows >= 0) - 1, -1)
    return Block(source, places)


def _components(
    x_wct: Float32[np.ndarray, "window channel time"],
    mean_cc: Float64[np.ndarray, "channel channel"],
    directions_cn: Float64[np.ndarray, "channel component"],
) -> Float32[np.ndarray, "window component time"]:
    """Reduce windows; NaN where no channel is there."""
    tolerance = rank_tolerance(len(mean_cc), np.dtype(np.float32))
    missing_wc = _clean(x_wct)
    z_wnt = np.empty((len(x_wct), directions_cn.shape[1], x_wct.shape[2]), np.float32)
    for missing_c in np.unique(missing_wc, axis=0):
        windows = np.flatnonzero((missing_wc == missing_c).all(axis=1))
        if missing_c.all():
            z_wnt[windows] = np.nan
            continue
        weights_cc, _ = regress_missing(mean_cc, missing_c, tolerance=tolerance)
        filters_nc = (weights_cc.T @ directions_cn).T.astype(np.float32)
        z_wnt[windows] = filters_nc @ x_wct[windows]
    return z_wnt


def _embed(
    z_wnt: Float32[np.ndarray, "window component time"], delays: Sequence[int]
) -> Float32[np.ndarray, "window delayed shorter"]:
    """Join components with delayed copies, over the time that all cover."""
    longest, n_times = max(delays, default=0), z_wnt.shape[2]
    if longest >= n_times - 1:
        raise InputError(
            f"a delay of {longest} samples leaves too little of windows of {n_times}; "
            "shorten delays, or take longer windows"
        )
    parts = [z_wnt[:, :, longest - d : n_times - d] for d in (0, *delays)]
    return np.concatenate(parts, axis=1)


def _folded(block: Block, rows: Rows) -> Float32[np.ndarray, "window channel time"]:
    """Return a copy of some windows, kinds folded into channels."""
    windows: Windows = block.source.gather(rows)
    shape = (len(rows), -1, windows.shape[-1])
    return np.array(windows.reshape(shape), dtype=np.float32, order="C")


def _clean(
    x_wct: Float32[np.ndarray, "window channel time"],
) -> Bool[np.ndarray, "window channel"]:
    """Mark channels that lack a sample, and set all of theirs to zero, in place."""
    missing_wc = np.isnan(x_wct @ np.ones(x_wct.shape[2], np.float32))
    x_wct[missing_wc] = 0
    return missing_wc
