"""Which events of two devices are the same: lines through pairs of them, tried."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from merps.errors import InputError

#: Lines are laid through pairs of the first so many events of each device, through so
#: many pairs of the reference, and so many of the lines are tried, some at a time.
_MAX_EVENTS = 1_000
_MAX_PAIRS = 2_000
_MAX_LINES = 20_000
_TILE_LINES = 500
#: Share of the matches of the best line that makes another line as good.
_RIVAL_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Events:
    """Events of two devices in order of time; `groups` are numbers of names."""

    reference_s: Float64[np.ndarray, " event"]
    device_s: Float64[np.ndarray, " other"]
    reference_groups: Int[np.ndarray, " event"]
    device_groups: Int[np.ndarray, " other"]

    @classmethod
    def of(
        cls,
        reference_s: Float[np.ndarray, " event"],
        device_s: Float[np.ndarray, " other"],
        reference_labels: Sequence[str] | None,
        device_labels: Sequence[str] | None,
    ) -> "Events":
        """Sort the events; without names, all are of one group."""
        if (reference_labels is None) != (device_labels is None):
            raise InputError("name the events of both devices, or of none")
        numbers = {}
        sorted_parts = []
        for times_s, labels in (
            (reference_s, reference_labels),
            (device_s, device_labels),
        ):
            labels = [""] * len(times_s) if labels is None else labels
            if len(labels) != len(times_s) or not np.isfinite(times_s).all():
                raise InputError(
                    f"{len(labels)} names for {len(times_s)} events, "
                    f"{np.isfinite(times_s).sum()} of which have a time; each needs one"
                )
            order = np.argsort(times_s, kind="stable")
            groups = [numbers.setdefault(labels[k], len(numbers)) for k in order]
            sorted_parts.append(times_s[order].astype(np.float64))
            sorted_parts.append(np.array(groups, dtype=np.int64))
        first, first_groups, second, second_groups = sorted_parts
        return cls(first, second, first_groups, second_groups)


def lay_lines(
    events: Events,
    max_drift_ppm: float,
    max_offset_s: float | None,
    tolerance_s: float,
) -> Float64[np.ndarray, "line 2"]:
    """Return offset and rate of lines through two events of both devices."""
    pairs_p2, gap_p = _pairs(events.reference_s)
    chosen = slice(None, None, -(-len(gap_p) // _MAX_PAIRS) or 1)
    pairs_p2, gap_p = pairs_p2[chosen], gap_p[chosen]
    others_q2, other_gap_q = _pairs(events.device_s)
    order = np.argsort(other_gap_q, kind="stable")
    others_q2, other_gap_q = others_q2[order], other_gap_q[order]
    drift = 1e-6 * max_drift_ppm
    low = np.searchsorted(other_gap_q, (gap_p - 2 * tolerance_s) / (1 + drift))
    high = np.searchsorted(other_gap_q, (gap_p + 2 * tolerance_s) / (1 - drift))
    # Every pair of the device that is about as far apart as a pair of the reference.
    p_n = np.repeat(np.arange(len(gap_p)), high - low)
    q_n = np.arange(len(p_n)) - np.repeat(np.cumsum(high - low) - high, high - low)
    groups_n2 = events.reference_groups[pairs_p2[p_n]]
    same = (groups_n2 == events.device_groups[others_q2[q_n]]).all(axis=1)
    p_n, q_n = p_n[same], q_n[same]
    rate_n = np.clip(gap_p[p_n] / other_gap_q[q_n], 1 - drift, 1 + drift)
    middle_n = events.reference_s[pairs_p2[p_n]].mean(axis=1)
    offset_n = middle_n - rate_n * events.device_s[others_q2[q_n]].mean(axis=1)
    lines_n2 = np.stack([offset_n, rate_n], axis=1)
    if max_offset_s is not None:
        lines_n2 = lines_n2[np.abs(offset_n) <= max_offset_s]
    return lines_n2[:: -(-len(lines_n2) // _MAX_LINES) or 1]


def _pairs(
    times_s: Float64[np.ndarray, " event"],
) -> tuple[Int[np.ndarray, "pair 2"], Float64[np.ndarray, " pair"]]:
    """Return pairs of events at different times, and how far apart they are."""
    first, second = np.triu_indices(min(len(times_s), _MAX_EVENTS), 1)
    gaps_s = times_s[second] - times_s[first]
    kept = gaps_s > 0
    return np.stack([first, second], axis=1)[kept], gaps_s[kept]


def count_matches(
    events: Events, lines: Float64[np.ndarray, "line 2"], tolerance_s: float
) -> Int[np.ndarray, " line"]:
    """Count the events that each line brings to one of the reference."""
    counts = np.zeros(len(lines), dtype=np.int64)
    for first in range(0, len(lines), _TILE_LINES):
        tile = slice(first, first + _TILE_LINES)
        offset_n, rate_n = lines[tile, :1], lines[tile, 1:]
        for group in np.unique(events.device_groups):
            reference_s = events.reference_s[events.reference_groups == group]
            device_s = events.device_s[events.device_groups == group]
            near = _nearest(reference_s, offset_n + rate_n * device_s)
            if near is not None:
                counts[tile] += (near[1] <= tolerance_s).sum(axis=1)
    return counts


def _nearest(
    reference_s: Float64[np.ndarray, " event"], times_s: Float64[np.ndarray, "*n"]
) -> tuple[Int[np.ndarray, "*n"], Float64[np.ndarray, "*n"]] | None:
    """Return which event is nearest to each time and how far; None without events."""
    if not len(reference_s):
        return None
    after = np.searchsorted(reference_s, times_s).clip(1, max(len(reference_s) - 1, 1))
    after = np.minimum(after, len(reference_s) - 1)
    before = np.maximum(after - 1, 0)
    to_before, to_after = (
        np.abs(times_s - reference_s[index]) for index in (before, after)
    )
    return np.where(to_before <= to_after, before, after), np.minimum(
        to_before, to_after
    )


def choose_line(
    events: Events,
    lines: Float64[np.ndarray, "line 2"],
    counts: Int[np.ndarray, " line"],
    tolerance_s: float,
) -> int:
    """Return the best line, which no other line that is elsewhere may rival."""
    best = int(counts.argmax())
    ends_s = events.device_s[[0, -1]]
    there = lines[:, :1] + lines[:, 1:] * ends_s
    apart_s = np.abs(there - there[best]).min(axis=1)
    rivals = counts[apart_s > 2 * tolerance_s]
    rival = rivals.max(initial=0)
    if rival == counts[best] or rival >= max(3, _RIVAL_SHARE * counts[best]):
        other = np.flatnonzero((apart_s > 2 * tolerance_s) & (counts == rival))[0]
        raise InputError(
            f"{counts[best]} events match at an offset of {lines[best, 0]:.3f} s and "
            f"{rival} at {lines[other, 0]:.3f} s, so that the offset cannot be told; "
            "name the events, pass a smaller max_offset_s or less regular events"
        )
    return best


def match_events(
    events: Events, offset_s: float, rate: float, tolerance_s: float
) -> tuple[Int[np.ndarray, " match"], Int[np.ndarray, " match"]]:
    """Return rows of events that are each other's nearest, within the tolerance."""
    moved_s = offset_s + rate * events.device_s
    rows, others = [], []
    for group in np.unique(events.device_groups):
        here = np.flatnonzero(events.reference_groups == group)
        there = np.flatnonzero(events.device_groups == group)
        near = _nearest(events.reference_s[here], moved_s[there])
        if near is None:
            continue
        back, _ = _nearest(moved_s[there], events.reference_s[here])
        index, apart_s = near
        kept = (back[index] == np.arange(len(there))) & (apart_s <= tolerance_s)
        rows.append(here[index[kept]])
        others.append(there[kept])
    return np.concatenate(rows), np.concatenate(others)
