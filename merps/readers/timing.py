"""From samples with time stamps to a regular grid; what was not recorded is NaN."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.readers.streams import spacing

#: A step between time stamps is a gap if it is longer than both: this time, and so many
#: sampling intervals. Shorter ones are jitter of the clock that gave the stamps.
GAP_S = 0.2
GAP_SAMPLES = 3
#: A stretch this near to the grid, in samples, is copied and not interpolated.
_ON_GRID = 1e-3
#: Later time stamps are none, and other intervals between them are no rate.
_MAX_S = 1e11
_INTERVALS_S = (1e-6, 1e3)
#: A grid may have so many samples, or so many times those that were recorded.
_MAX_SPARSE, _SPARSE = 2**21, 32


@dataclass(frozen=True)
class Grid:
    """A regular time axis laid through time stamps.

    Parameters
    ----------
    rate_hz, start_s : float
        Rate, and the time of the first sample.
    n_times : int
        Number of samples.
    stretches : tuple of (int, int, float, float)
        First sample and one past the last of each stretch without a gap, the time of
        its first sample, and the interval between its samples, by least squares.
    notes : tuple of str
        Gaps, steps back in time, and what else is worth telling.
    """

    rate_hz: float
    start_s: float
    n_times: int
    stretches: tuple[tuple[int, int, float, float], ...]
    notes: tuple[str, ...]


def lay_grid(times_s: Float[np.ndarray, " time"]) -> Grid:
    """Lay a regular time axis through time stamps.

    The rate is that of the time stamps, by least squares over all stretches between
    gaps; no stated rate is asked. Samples whose stamps lie before the end of what came
    earlier are left out.

    Parameters
    ----------
    times_s : ndarray of float64, shape (time,)
        Time stamps in seconds, in the order of the samples.

    Returns
    -------
    Grid
        Where each stretch lies on it.

    Raises
    ------
    InputError
        If time stamps are not finite, not two of them follow each other, or nearly all
        of the time between them is gaps.
    """
    if len(times_s) < 2 or not np.isfinite(times_s).all():
        n_finite = int(np.isfinite(times_s).sum())
        raise _no_axis(
            f"{n_finite} finite time stamps of {len(times_s)} samples, which give no "
            "rate"
        )
    if np.abs(times_s).max() > _MAX_S:
        raise _no_axis(f"a time stamp of {np.abs(times_s).max():.3g} s")
    steps = np.diff(times_s)
    if not (steps > 0).any():
        raise _no_axis("time stamps that do not rise")
    usual_s = float(np.median(steps[steps > 0]))
    if not _INTERVALS_S[0] <= usual_s <= _INTERVALS_S[1]:
        raise _no_axis(f"{usual_s:.3g} s from one time stamp to the next")
    spans = spacing(times_s, gap_s=max(GAP_S, GAP_SAMPLES * usual_s))
    spans, n_back = _forward_only(times_s, spans)
    interval_s = _interval(times_s, spans)
    placed = []
    for first, stop in spans:
        own_s = _interval(times_s, [(first, stop)]) if stop - first > 2 else interval_s
        middle_s = times_s[first:stop].mean() - own_s * (stop - first - 1) / 2
        placed.append((first, stop, float(middle_s), own_s))
    start_s = placed[0][2]
    first, stop, begin_s, own_s = placed[-1]
    end_s = begin_s + (stop - first - 1) * own_s
    n_times = (
        len(times_s)
        if len(placed) == 1 and not n_back
        else 1 + int(np.floor((end_s - start_s) / interval_s + _ON_GRID))
    )
    if n_times > max(_MAX_SPARSE, _SPARSE * len(times_s)):
        raise _no_axis(
            f"{len(times_s)} samples spread over {end_s - start_s:.3g} s, as a clock "
            "that was set anew gives them"
        )
    notes = []
    if len(placed) > 1:
        gaps_s = np.diff(
            [edge for a, b, t, s in placed for edge in (t, t + (b - a) * s)]
        )
        lost_s = gaps_s[1::2].clip(0)
        notes.append(
            f"{lost_s.sum():.3g} s in {len(placed) - 1} gaps (the longest "
            f"{lost_s.max():.3g} s) are missing samples"
        )
    if n_back:
        notes.append(f"{n_back} samples whose time stamps go back are left out")
    return Grid(
        rate_hz=round(1 / interval_s, 9),
        start_s=start_s,
        n_times=n_times,
        stretches=tuple(placed),
        notes=tuple(notes),
    )


def onto_grid(
    x_tc: Float[np.ndarray, "time channel"], grid: Grid
) -> Float64[np.ndarray, "channel new_time"]:
    """Bring samples onto a grid that `lay_grid` made of their time stamps.

    A single stretch is the grid. Of several ones, each is interpolated by a cubic
    spline, and what lies between them is NaN.

    Parameters
    ----------
    x_tc : ndarray, shape (time, channel)
        The samples.
    grid : Grid
        Where they lie.

    Returns
    -------
    ndarray of float64, shape (channel, new_time)
        NaN where nothing was recorded.
    """
    from scipy.interpolate import make_interp_spline

    out = np.full((x_tc.shape[1], grid.n_times), np.nan)
    for first, stop, begin_s, own_s in grid.stretches:
        x_st = np.asarray(x_tc[first:stop], dtype=np.float64)
        place = (begin_s - grid.start_s) * grid.rate_hz
        pace = own_s * grid.rate_hz
        n = stop - first
        drift = abs(pace - 1) * n
        if len(grid.stretches) == 1 or (
            abs(place - round(place)) < _ON_GRID and drift < _ON_GRID
        ):
            begin = round(place)
            x_st = x_st[: grid.n_times - begin]
            out[:, begin : begin + len(x_st)] = x_st.T
            continue
        rows = np.arange(
            np.ceil(place - 1e-6), np.floor(place + pace * (n - 1) + 1e-6) + 1
        )
        rows = rows[rows < grid.n_times].astype(int)
        where = (rows - place) / pace
        if n > 3:
            spline = make_interp_spline(np.arange(n), x_st, k=3)
            out[:, rows] = spline(np.clip(where, 0, n - 1)).T
        else:
            out[:, rows] = x_st[np.rint(where).astype(int).clip(0, n - 1)].T
    return out


def _no_axis(found: str) -> InputError:
    """Say why time stamps make no time axis."""
    return InputError(
        f"expected time stamps in seconds at some rate, found {found}; correct the "
        "time stamps, or leave the recording out"
    )


def _forward_only(
    times_s: np.ndarray, spans: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], int]:
    """Leave out samples that come before the end of earlier ones; count them."""
    kept, n_back, end_s = [], 0, -np.inf
    for first, stop in spans:
        late = first + int(np.sum(times_s[first:stop] <= end_s))
        n_back += late - first
        if late < stop:
            kept.append((late, stop))
            end_s = times_s[stop - 1]
    return kept, n_back


def _interval(times_s: np.ndarray, spans: list[tuple[int, int]]) -> float:
    """Return the sampling interval by least squares over some stretches."""
    above = below = 0.0
    for first, stop in spans:
        number = np.arange(stop - first) - (stop - first - 1) / 2
        above += number @ (times_s[first:stop] - times_s[first:stop].mean())
        below += number @ number
    if not above > 0:
        raise _no_axis("no two samples that follow each other without a gap")
    return float(above / below)
