"""A change of rate over pieces of a time-major signal, as if they were joined."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float64

from merps.kernels.filtering import resample_rows


def resample_pieces(
    pieces: Sequence[Float[np.ndarray, "_ channel"]],
    taps: Float64[np.ndarray, " tap"],
    factor: Fraction,
    *,
    out: Float64[np.ndarray, "new_time channel"],
) -> None:
    """Write the joined pieces at another rate, continued by odd reflection.

    Parameters
    ----------
    pieces : sequence of ndarray of float, shape (time, channel)
        C-contiguous stretches that follow each other.
    taps : ndarray of float64, shape (tap,)
        A symmetric filter with an odd number of taps, at the rate in between.
    factor : Fraction
        Rate after over rate before.
    out : ndarray of float64, shape (new_time, channel)
        Written: ``ceil(time * factor)`` rows.
    """
    up, down = factor.as_integer_ratio()
    if up == down:
        np.concatenate(pieces, out=out)
        return
    half = len(taps) // 2
    stretches = _reflected(pieces, half // up + 2)
    _convolve(stretches, taps, half, up, down, out)


def resample_behind(
    pieces: Sequence[Float[np.ndarray, "_ channel"]],
    taps: Float64[np.ndarray, " tap"],
    factor: Fraction,
    *,
    out: Float64[np.ndarray, "new_time channel"],
) -> None:
    """Write the joined pieces at another rate, from no row that comes later.

    The result is late by half of the taps. Before the first row, it is continued as a
    constant.

    Parameters
    ----------
    pieces : sequence of ndarray of float, shape (time, channel)
        C-contiguous stretches that follow each other.
    taps : ndarray of float64, shape (tap,)
        A symmetric filter with an odd number of taps, at the rate in between.
    factor : Fraction
        Rate after over rate before.
    out : ndarray of float64, shape (new_time, channel)
        Written: ``ceil(time * factor)`` rows.
    """
    up, down = factor.as_integer_ratio()
    if up == down:
        np.concatenate(pieces, out=out)
        return
    delay = len(taps) - 1
    n_edge = delay // up + 2
    edges = np.cumsum([0, *map(len, pieces)]).tolist()
    stretches = [
        (-n_edge, np.repeat(pieces[0][:1], n_edge, axis=0)),
        *zip(edges[:-1], pieces, strict=True),
        # Where taps that fill up the last phase are zero.
        (edges[-1], np.repeat(pieces[-1][-1:], 2, axis=0)),
    ]
    _convolve(stretches, taps, delay, up, down, out)


def _convolve(
    stretches: Sequence[tuple[int, Float[np.ndarray, "_ channel"]]],
    taps: Float64[np.ndarray, " tap"],
    delay: int,
    up: int,
    down: int,
    out: Float64[np.ndarray, "new_time channel"],
) -> None:
    """Write all outputs; output 0 begins `delay` fine steps before row 0."""
    n_taps = -(-len(taps) // up)
    taps_pk = np.zeros((n_taps, up))
    taps_pk.flat[: len(taps)] = taps
    taps_pk = np.ascontiguousarray(taps_pk.T)

    def write(first: int, stop: int, rows: np.ndarray, origin: int) -> None:
        """Write the outputs `first` to `stop` from rows that begin at `origin`."""
        resample_rows(rows, origin, taps_pk, delay, up, down, first, out[first:stop])

    n = 0
    for index, (origin, rows) in enumerate(stretches):
        end = origin + len(rows)
        # Outputs n with all their inputs before the end: n * down <= limit.
        inside = min(((end - n_taps) * up + delay) // down + 1, len(out))
        if inside > n:
            write(n, inside, rows, origin)
            n = inside
        across = min(((end - 1) * up + delay) // down + 1, len(out))
        if across > n:
            start = -((delay - n * down) // up)
            stop = -((delay - (across - 1) * down) // up) + n_taps
            write(n, across, _assemble(stretches[index:], start, stop), start)
            n = across


def _reflected(
    pieces: Sequence[Float[np.ndarray, "_ channel"]], n_edge: int
) -> list[tuple[int, Float[np.ndarray, "_ channel"]]]:
    """Return stretches with their first rows' numbers: pieces between odd ends."""
    edge = {"mode": "reflect", "reflect_type": "odd"}
    n_times = sum(map(len, pieces))
    if n_times <= n_edge:
        whole = np.concatenate(pieces)
        return [(-n_edge, np.pad(whole, ((n_edge, n_edge), (0, 0)), **edge))]
    inner = list(
        zip(np.cumsum([0, *map(len, pieces[:-1])]).tolist(), pieces, strict=True)
    )
    head = np.pad(_assemble(inner, 0, n_edge + 1), ((n_edge, 0), (0, 0)), **edge)
    tail = _assemble(inner, n_times - n_edge - 1, n_times)
    tail = np.pad(tail, ((0, n_edge), (0, 0)), **edge)
    return [(-n_edge, head[:n_edge]), *inner, (n_times, tail[n_edge + 1 :])]


def _assemble(
    stretches: Sequence[tuple[int, Float[np.ndarray, "_ channel"]]],
    start: int,
    stop: int,
) -> Float[np.ndarray, "_ channel"]:
    """Copy the rows `start` to `stop` from the stretches that hold them."""
    parts = [
        rows[max(start - origin, 0) : max(stop - origin, 0)]
        for origin, rows in stretches
    ]
    return np.concatenate(parts)
