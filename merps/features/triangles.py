"""Covariance matrices by their upper triangles, and those of the windows of a trial."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from merps.errors import InputError
from merps.features.covariance import filter_bank_covariances
from merps.preprocessing.repair import fill_gaps, hold_gaps
from merps.recording import Phase
from merps.shapes import Rows


class StoredMatrices:
    """Symmetric matrices of many windows and bands, kept as their upper triangles.

    Parameters
    ----------
    values : ndarray of float32, shape (row, band, triangle)
        Elements of each upper triangle, row by row, as `numpy.triu_indices` orders
        them; may be mapped from a file. NaN in the rows and columns of channels that
        are missing.
    channels : sequence of str
        Names of the rows and columns.
    bands : sequence of str
        Names of the matrices of one row.

    Raises
    ------
    InputError
        If names and axes disagree.
    """

    def __init__(
        self,
        values: Float32[np.ndarray, "row band triangle"],
        *,
        channels: Sequence[str],
        bands: Sequence[str],
    ) -> None:
        n_channels, shape = len(channels), values.shape[1:]
        expected = (len(bands), n_channels * (n_channels + 1) // 2)
        if shape != expected:
            raise InputError(
                f"values of shape {values.shape} for {len(bands)} bands of "
                f"{n_channels} channels; their last two axes must be {expected}"
            )
        self.values = values
        self.channels, self.bands = tuple(channels), tuple(bands)

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, rows: Rows) -> Float32[np.ndarray, "row band triangle"]:
        """Return some triangles, in the order given.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Row numbers.

        Returns
        -------
        ndarray of float32, shape (row, band, triangle)
            A copy.
        """
        return self.values[rows]

    def matrices(
        self, rows: Rows, band: int
    ) -> Float32[np.ndarray, "row channel channel"]:
        """Return some whole matrices of one band.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Row numbers.
        band : int
            Number of the band.

        Returns
        -------
        ndarray of float32, shape (row, channel, channel)
            Symmetric; NaN where channels are missing.
        """
        return unpack_triangles(self.values[rows, band], len(self.channels))

    def missing(self, rows: Rows) -> Bool[np.ndarray, "row channel"]:
        """Tell which channels are missing in which rows.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Row numbers.

        Returns
        -------
        ndarray of bool, shape (row, channel)
            True where the variance of a channel is NaN in some band.
        """
        first, second = np.triu_indices(len(self.channels))
        diagonal = np.flatnonzero(first == second)
        missing_rc = np.zeros((len(rows), len(diagonal)), dtype=bool)
        for band in range(len(self.bands)):
            missing_rc |= np.isnan(self.values[rows[:, None], band, diagonal])
        return missing_rc


def trial_covariances(
    signal: Float[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    *,
    length_samples: int,
    rate_hz: float,
    bands: Mapping[str, tuple[float, float]],
    order: int,
    pad_s: float,
    estimator: str,
    phase: Phase = "zero",
    jobs: int = 1,
) -> Float32[np.ndarray, "window band triangle"]:
    """Estimate covariance matrices of the windows of one trial, as they are stored.

    Those of `filter_bank_covariances`, but signals may have gaps: a channel is missing
    in the windows that touch one of its gaps, and in all of them if it has no sample.
    So one bad channel costs neither the window nor the trial.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing, which are bridged for the filter.
    starts : ndarray of int, shape (window,)
        First sample of each window, as for `window_covariances`.
    length_samples : int
        Number of samples in a window.
    rate_hz : float
        Sampling rate in hertz.
    bands : mapping of str to (float, float)
        Lower and upper edge of each named band, in hertz.
    order : int
        Order of the Butterworth prototype of one pass, as for `band_pass`.
    pad_s : float
        Length of the reflection on both ends in seconds, as for `band_pass`.
    estimator : {"scm", "oas", "ledoit_wolf"}
        As for `covariances`.
    phase : {"zero", "causal"}, optional
        Causal matrices depend on no sample behind their window: filters run forward
        alone, and what would begin before the signal is missing instead of mirrored.
    jobs : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (window, band, triangle)
        Rows for `StoredMatrices`, in the unit of `signal` squared; NaN in the rows and
        columns of missing channels.

    Raises
    ------
    InputError
        As `filter_bank_covariances`, but for NaN.
    """
    n_channels = len(signal)
    n_triangle = n_channels * (n_channels + 1) // 2
    out = np.full((len(starts), len(bands), n_triangle), np.nan, np.float32)
    gaps_ct = np.isnan(signal)
    present = np.flatnonzero(~gaps_ct.all(axis=1))
    if len(present) == 0 or len(starts) == 0:
        return out
    whole = len(present) == n_channels and not gaps_ct.any()
    fill = hold_gaps if phase == "causal" else fill_gaps
    matrices_wbcc = filter_bank_covariances(
        signal if whole else fill(signal[present]),
        starts,
        length_samples=length_samples,
        rate_hz=rate_hz,
        bands=bands,
        order=order,
        pad_s=pad_s,
        estimator=estimator,
        phase=phase,
        jobs=jobs,
    )
    rows, columns = np.triu_indices(len(present))
    into = np.zeros((n_channels, n_channels), dtype=np.int64)
    into[np.triu_indices(n_channels)] = np.arange(n_triangle)
    places = into[present[rows], present[columns]]
    for band in range(len(bands)):
        flat = pick_triangles(matrices_wbcc[:, band], scale=1.0)
        if whole:
            out[:, band] = flat
        else:
            out[:, band, places] = flat
    if not whole:
        missing_wc = _touched(gaps_ct, starts, length_samples)
        rows, columns = np.triu_indices(n_channels)
        out[
            np.broadcast_to(
                (missing_wc[:, rows] | missing_wc[:, columns])[:, None], out.shape
            )
        ] = np.nan
    if phase == "causal":
        out[starts < 0] = np.nan
    return out


def unpack_triangles(
    triangles: Float[np.ndarray, "window triangle"], n_channels: int
) -> Float[np.ndarray, "window channel channel"]:
    """Make whole matrices of upper triangles.

    Parameters
    ----------
    triangles : ndarray of float, shape (window, triangle)
        Upper triangles, row by row.
    n_channels : int
        Rows of a matrix.

    Returns
    -------
    ndarray, shape (window, channel, channel)
        Symmetric, of the same dtype.
    """
    _, place_x = _places(n_channels)
    flat_wx = triangles.take(place_x, axis=1)
    return flat_wx.reshape(len(triangles), n_channels, n_channels)


def pick_triangles(
    matrices: Float[np.ndarray, "window channel channel"], *, scale: float
) -> Float[np.ndarray, "window triangle"]:
    """Take the upper triangles of symmetric matrices.

    Parameters
    ----------
    matrices : ndarray of float, shape (window, channel, channel)
        Symmetric.
    scale : float
        What elements off the diagonal are multiplied with.

    Returns
    -------
    ndarray, shape (window, triangle)
        Row by row, of the same dtype.
    """
    n_channels = matrices.shape[1]
    flat_f, _ = _places(n_channels)
    picked_wf = matrices.reshape(len(matrices), -1).take(flat_f, axis=1)
    if scale != 1:
        on_diagonal_f = flat_f % (n_channels + 1) == 0
        picked_wf *= np.where(on_diagonal_f, 1, scale).astype(matrices.dtype)
    return picked_wf


@functools.cache
def _places(
    n_channels: int,
) -> tuple[Int[np.ndarray, " triangle"], Int[np.ndarray, " element"]]:
    """Return where a triangle's elements lie in a matrix, and a matrix's in it."""
    rows, columns = np.triu_indices(n_channels)
    place = np.zeros((n_channels, n_channels), dtype=np.int64)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return rows * n_channels + columns, place.ravel()


def _touched(
    gaps_ct: Bool[np.ndarray, "channel time"],
    starts: Int[np.ndarray, " window"],
    length: int,
) -> Bool[np.ndarray, "window channel"]:
    """Tell which channels have a gap in which window, mirrored ends included."""
    n_times = gaps_ct.shape[1]
    pad = (max(0, -int(starts.min())), max(0, int(starts.max()) + length - n_times))
    gaps_ct = np.pad(gaps_ct, ((0, 0), pad), mode="symmetric")
    count_ct = np.zeros((len(gaps_ct), gaps_ct.shape[1] + 1), dtype=np.int64)
    np.cumsum(gaps_ct, axis=1, out=count_ct[:, 1:])
    first = starts + pad[0]
    return (count_ct[:, first + length] > count_ct[:, first]).T
