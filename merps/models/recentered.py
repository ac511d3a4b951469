"""Tangent vectors of stored matrices, group by group and gap by gap."""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from merps.errors import InputError
from merps.features.directions import complete_matrix, rank_tolerance
from merps.features.recentering import (
    Recentering,
    mean_precision,
    recentered_matrices,
    recentered_tangents,
    recentering_at,
    turn_to_mean,
    vector_dtype,
)
from merps.features.triangles import StoredMatrices, unpack_triangles
from merps.samples import Block
from merps.shapes import Rows

logger = logging.getLogger(__name__)

#: Rows that are added up at once.
_TILE_ROWS = 128


class Groups(NamedTuple):
    """Rows of a source that are recentered together.

    Parameters
    ----------
    source : StoredMatrices
        Where the matrices are.
    rows : ndarray of int64, shape (sample,)
        Row of each sample; -1 where there is none.
    codes : ndarray of int64, shape (sample,)
        Number of the group of each sample.
    n_groups : int
        How many there are.
    """

    source: StoredMatrices
    rows: Rows
    codes: Int[np.ndarray, " sample"]
    n_groups: int


def mean_matrices(groups: Groups) -> Float64[np.ndarray, "group band channel channel"]:
    """Average the matrices of each group, passing over what is missing.

    Parameters
    ----------
    groups : Groups
        Which matrices.

    Returns
    -------
    ndarray of float64, shape (group, band, channel, channel)
        NaN where no row of the group has both channels.
    """
    source = groups.source
    shape = (groups.n_groups, *source.values.shape[1:])
    total, count = np.zeros(shape), np.zeros(shape)
    for group in range(groups.n_groups):
        rows = groups.rows[(groups.codes == group) & (groups.rows >= 0)]
        for first in range(0, len(rows), _TILE_ROWS):
            x_rbf = source.gather(rows[first : first + _TILE_ROWS])
            sum_bf = x_rbf.sum(axis=0, dtype=np.float64)
            if np.isnan(sum_bf).any():
                total[group] += np.nansum(x_rbf, axis=0, dtype=np.float64)
                count[group] += np.count_nonzero(~np.isnan(x_rbf), axis=0)
            else:
                total[group] += sum_bf
                count[group] += len(x_rbf)
    mean = total / np.where(count > 0, count, np.nan)
    n_channels = len(source.channels)
    whole = unpack_triangles(mean.reshape(-1, shape[-1]), n_channels)
    return whole.reshape(*shape[:2], n_channels, n_channels)


def as_one_group(block: Block) -> Groups:
    """Return all rows of a block as one group.

    Parameters
    ----------
    block : Block
        `StoredMatrices`.

    Returns
    -------
    Groups
        Its number is 0.
    """
    return Groups(block.source, block.rows, np.zeros(len(block.rows), np.int64), 1)


def rest_matrices(
    rest: Block, groups: Groups
) -> Float64[np.ndarray, "group band channel channel"]:
    """Return the covariance at rest of each group.

    Parameters
    ----------
    rest : Block
        One row for all samples of a person; -1 where there is none.
    groups : Groups
        Who the samples belong to.

    Returns
    -------
    ndarray of float64, shape (group, band, channel, channel)
        NaN for groups and channels without a rest.
    """
    row = np.full(groups.n_groups, -1)
    known = np.flatnonzero(rest.rows >= 0)
    row[groups.codes[known]] = rest.rows[known]
    numbers = np.arange(groups.n_groups)
    return mean_matrices(Groups(rest.source, row, numbers, groups.n_groups))


class TangentMap(NamedTuple):
    """How the matrices of groups become tangent vectors.

    Parameters
    ----------
    directions : ndarray of float64, shape (band, channel, component)
        What matrices are reduced to.
    references : ndarray of float64, shape (group, band, channel, channel)
        Where each group is recentered.
    shrinkage : float
        Towards the identity, once recentered.
    metric, method : str
        As for `TangentSpace`.
    jobs : int
        Number of threads.
    """

    directions: Float64[np.ndarray, "band channel component"]
    references: Float64[np.ndarray, "group band channel channel"]
    shrinkage: float
    metric: str
    method: str
    jobs: int


def complete_references(
    references: Float64[np.ndarray, "group band channel channel"],
    mean: Float64[np.ndarray, "band channel channel"],
) -> Float64[np.ndarray, "group band channel channel"]:
    """Complete the references of groups that lack channels from the training mean.

    Parameters
    ----------
    references : ndarray of float64, shape (group, band, channel, channel)
        NaN for missing channels.
    mean : ndarray of float64, shape (band, channel, channel)
        Of the training rows.

    Returns
    -------
    ndarray of float64, shape (group, band, channel, channel)
        See `complete_matrix`.
    """
    tolerance = rank_tolerance(mean.shape[-1], np.dtype(np.float32))
    return np.array(
        [
            [
                complete_matrix(one_cc, mean_cc, tolerance=tolerance)
                for one_cc, mean_cc in zip(reference, mean, strict=True)
            ]
            for reference in references
        ]
    )


def find_turns(
    groups: Groups, tangents: TangentMap, group: int
) -> Float64[np.ndarray, "band component component"]:
    """Find what leads from the reference of one group to the mean of the metric.

    Parameters
    ----------
    groups : Groups
        Which matrices.
    tangents : TangentMap
        Its metric is not the Euclidean one.
    group : int
        Number of the group.

    Returns
    -------
    ndarray of float64, shape (band, component, component)
        See `turn_to_mean`.

    Raises
    ------
    InputError
        If there is no matrix, or shrunk ones or the reference are not positive
        definite.
    """
    turns, parts = [], list(_parts(groups, group))
    if not parts:
        raise InputError(f"group {group} has no matrix")
    method = mean_precision(tangents.metric, tangents.method)
    for band, directions_cn in enumerate(tangents.directions):
        white = [
            recentered_matrices(
                _taker(groups, samples, missing_c, band),
                len(samples),
                _recentering(tangents, group, band, missing_c),
                shrinkage=tangents.shrinkage,
                method=method,
                jobs=tangents.jobs,
            )
            for samples, missing_c in parts
        ]
        white_wnn = np.concatenate(white)
        reference_cc = np.nan_to_num(tangents.references[group, band])
        turns.append(
            turn_to_mean(
                white_wnn[np.isfinite(white_wnn[:, 0, 0])],
                directions_cn.T @ reference_cc @ directions_cn,
                metric=tangents.metric,
                method=method,
                jobs=tangents.jobs,
            )
        )
    return np.stack(turns)


def find_own_turns(
    groups: Groups, tangents: TangentMap, *, stays: Bool[np.ndarray, " group"]
) -> list[Float64[np.ndarray, "band component component"] | None]:
    """Find what leads from the reference of each group to the mean of the metric.

    A group without such a mean, such as a person without power in some direction,
    stays at its reference, with one warning for all of them.

    Parameters
    ----------
    groups : Groups
        Which matrices.
    tangents : TangentMap
        Its metric is not the Euclidean one, unless all groups stay.
    stays : ndarray of bool, shape (group,)
        Groups whose reference is no mean to be turned away from.

    Returns
    -------
    list of ndarray or None
        See `find_turns`; None for a group that stays, or has no matrix.
    """
    measured = np.bincount(groups.codes, groups.rows >= 0, groups.n_groups) > 0
    turns, n_without = [], 0
    for group in range(groups.n_groups):
        turn_bnn = None
        if measured[group] and not stays[group]:
            try:
                turn_bnn = find_turns(groups, tangents, group)
            except InputError as error:
                logger.debug("group %d: %s", group, error)
                n_without += 1
        turns.append(turn_bnn)
    if n_without:
        logger.warning(
            "%d people have no %s mean, as matrices or directions of theirs lack "
            "power; they stay at their Euclidean mean",
            *(n_without, tangents.metric),
        )
    return turns


def group_tangents(
    groups: Groups,
    tangents: TangentMap,
    turns: Callable[[int], Float64[np.ndarray, "band component component"] | None],
) -> Float[np.ndarray, "sample feature"]:
    """Map the matrices of each group to tangent vectors.

    Parameters
    ----------
    groups : Groups
        Which matrices.
    tangents : TangentMap
        How.
    turns : callable
        Takes the number of a group and returns its turn in each band, or None.

    Returns
    -------
    ndarray of float64, or float32 if fast, shape (sample, feature)
        Band after band; NaN where a sample has no matrix, or one without power.

    Raises
    ------
    InputError
        If matrices are not positive definite where nothing is shrunk.
    """
    n_bands, _, n = tangents.directions.shape
    shape = (len(groups.rows), n_bands, n * (n + 1) // 2)
    vectors_sbf = np.full(shape, np.nan, dtype=vector_dtype(tangents.method))
    for group in range(groups.n_groups):
        parts = list(_parts(groups, group))
        turn_bnn = turns(group) if parts else None
        for samples, missing_c in parts:
            for band in range(n_bands):
                recentering = _recentering(tangents, group, band, missing_c)
                if turn_bnn is not None:
                    recentering = recentering._replace(turn=turn_bnn[band])
                vectors_sbf[samples, band] = recentered_tangents(
                    _taker(groups, samples, missing_c, band),
                    len(samples),
                    recentering,
                    shrinkage=tangents.shrinkage,
                    method=tangents.method,
                    jobs=tangents.jobs,
                )
    return vectors_sbf.reshape(len(vectors_sbf), -1)


def _parts(
    groups: Groups, group: int
) -> Iterator[tuple[Rows, Bool[np.ndarray, " channel"]]]:
    """Yield the samples of a group that lack the same channels, but not all of them."""
    members = np.flatnonzero((groups.codes == group) & (groups.rows >= 0))
    missing_sc = groups.source.missing(groups.rows[members])
    if not missing_sc.any():
        if len(members):
            yield members, missing_sc[0]
        return
    patterns, code = np.unique(missing_sc, axis=0, return_inverse=True)
    for number, missing_c in enumerate(patterns):
        if not missing_c.all():
            yield members[code.ravel() == number], missing_c


def _recentering(
    tangents: TangentMap, group: int, band: int, missing_c: Bool[np.ndarray, " channel"]
) -> Recentering:
    """Prepare what is done to matrices that lack some channels."""
    return recentering_at(
        tangents.references[group, band],
        directions=tangents.directions[band],
        missing=missing_c,
        tolerance=rank_tolerance(len(missing_c), np.dtype(np.float32)),
    )


def _taker(
    groups: Groups, samples: Rows, missing_c: Bool[np.ndarray, " channel"], band: int
) -> Callable[[slice | Rows], Float32[np.ndarray, "window channel channel"]]:
    """Return what takes some of the matrices, zero where channels are missing."""
    gone = np.flatnonzero(missing_c)

    def take(windows: slice | Rows) -> Float32[np.ndarray, "window channel channel"]:
        x_wcc = groups.source.matrices(groups.rows[samples[windows]], band)
        x_wcc[:, gone] = 0
        x_wcc[:, :, gone] = 0
        return x_wcc

    return take
