"""Two devices on one time axis: the offset and the drift of their clocks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.preprocessing.matching import (
    Events,
    choose_line,
    count_matches,
    lay_lines,
    match_events,
)
from merps.recording import Recording

#: Share of the shorter list of events that must be found in the other.
_MATCHED_SHARE = 0.5
#: Tukey's biweight: its width in standard deviations, those of a normal distribution in
#: one median absolute deviation, and the smallest width, in seconds.
_TUNE = 4.685
_DEVIATIONS = 1.4826
_LEAST_WIDTH_S = 1e-6
_ROUNDS = 50
#: Standard errors by which a slope must pass its limit to be refused.
_SURE = 3.0


@dataclass(frozen=True, slots=True)
class Clock:
    """How the time of one device runs against that of a reference.

    ``reference = offset_s + (1 + 1e-6 * slope_ppm) * time``

    Parameters
    ----------
    offset_s : float
        Time of the reference, in seconds, when the device is at 0 s.
    slope_ppm : float
        How much slower the device's clock runs, in parts per million.
    residual_ms : float
        Root mean square of what the line leaves, in milliseconds, over matched events.
    n_events : int
        How many events, or stretches of labels, were matched.
    offset_error_ms, slope_error_ppm : float
        Standard errors; NaN where two events leave none to be told.
    """

    offset_s: float
    slope_ppm: float
    residual_ms: float
    n_events: int
    offset_error_ms: float = float("nan")
    slope_error_ppm: float = float("nan")

    @property
    def rate(self) -> float:
        """Seconds of the reference that go by in one second of the device."""
        return 1 + 1e-6 * self.slope_ppm

    def to_reference(
        self, times_s: Float[np.ndarray, " time"]
    ) -> Float[np.ndarray, " time"]:
        """Return the times of the reference at times of the device.

        Parameters
        ----------
        times_s : ndarray of float, shape (time,)
            Seconds by the device's clock.

        Returns
        -------
        ndarray of float, shape (time,)
            Seconds by the clock of the reference.
        """
        return self.offset_s + self.rate * times_s

    def move(self, recording: Recording) -> Recording:
        """Put a recording of the device on the time axis of the reference.

        No sample changes: the start, the rate and the annotations do.

        Parameters
        ----------
        recording : Recording
            Timed by the device's clock.

        Returns
        -------
        Recording
            The same signal, timed by the clock of the reference.
        """
        return replace(
            recording,
            start_s=self.offset_s + self.rate * recording.start_s,
            rate_hz=recording.rate_hz / self.rate,
            annotations=tuple(
                replace(
                    annotation,
                    onset_s=self.offset_s + self.rate * annotation.onset_s,
                    duration_s=self.rate * annotation.duration_s,
                )
                for annotation in recording.annotations
            ),
        )


def fit_clock(
    reference_s: Float[np.ndarray, " event"],
    device_s: Float[np.ndarray, " other"],
    *,
    max_drift_ppm: float,
    max_offset_s: float | None,
    tolerance_s: float,
    resolution_s: float = 0.0,
    reference_labels: Sequence[str] | None = None,
    device_labels: Sequence[str] | None = None,
) -> Clock:
    """Fit the clock of a device by events that a reference saw, too.

    Either may have missed events or seen others. Lines through two events each are
    tried, and the one wins that brings most events to within the tolerance of one of
    the reference; through those, a line is fitted by least squares with Tukey's
    biweight, so that single late events count little.

    Parameters
    ----------
    reference_s, device_s : ndarray of float64, shape (event,)
        Times of events in seconds, each by its own clock, in any order.
    max_drift_ppm : float
        Largest slope, in parts per million.
    max_offset_s : float or None
        Largest offset in seconds; None for any.
    tolerance_s : float
        How far a matched event may be from the line, in seconds.
    resolution_s : float
        To what step times are rounded, in seconds; errors of that size make no event
        count less.
    reference_labels, device_labels : sequence of str, optional
        Names of the events: only those of the same name match.

    Returns
    -------
    Clock
        Offset, slope and what they leave.

    Raises
    ------
    InputError
        If fewer than two events, or less than half of the shorter list, match; if the
        slope is beyond its limit; if events are so regular that several offsets fit
        alike; or if a limit is not positive.

    References
    ----------
    M. A. Fischler and R. C. Bolles, Random sample consensus, Communications of the ACM
    24(6), 1981.
    """
    if not (max_drift_ppm > 0 and tolerance_s > 0):
        raise InputError(
            f"max_drift_ppm={max_drift_ppm:g} and tolerance_s={tolerance_s:g} must be "
            "positive"
        )
    events = Events.of(reference_s, device_s, reference_labels, device_labels)
    lines = lay_lines(events, max_drift_ppm, max_offset_s, tolerance_s)
    fewest = max(2, _MATCHED_SHARE * min(map(len, (reference_s, device_s))))
    counts = count_matches(events, lines, tolerance_s)
    most = counts.max(initial=0)
    if most < fewest:
        raise InputError(
            f"of {len(reference_s)} and {len(device_s)} events, {most} match within "
            f"{tolerance_s:g} s at up to {max_drift_ppm:g} ppm; {int(np.ceil(fewest))} "
            "must, so pass events that both devices saw, or widen tolerance_s, "
            "max_drift_ppm or max_offset_s"
        )
    best = choose_line(events, lines, counts, tolerance_s)
    rows, others = match_events(events, *lines[best], tolerance_s)
    for _ in range(_ROUNDS):
        clock = _fit_line(
            events.reference_s[rows], events.device_s[others], resolution_s
        )
        matched = match_events(events, clock.offset_s, clock.rate, tolerance_s)
        if len(matched[0]) < 2 or np.array_equal(matched, (rows, others)):
            break
        rows, others = matched
    if abs(clock.slope_ppm) - max_drift_ppm > _SURE * clock.slope_error_ppm:
        raise InputError(
            f"{clock.n_events} events match at a slope of {clock.slope_ppm:.0f} ppm, "
            f"beyond max_drift_ppm={max_drift_ppm:g}; widen it if that can be, as "
            "where a file states a rounded rate"
        )
    return clock


def fit_label_grid(
    durations_s: Float[np.ndarray, " trial"], label_s: Float[np.ndarray, " trial"]
) -> Clock:
    """Fit the rate of a clock by labels that are known to come once a second.

    Where recordings begin with their labels and there are no shared events, the seconds
    that labels span are the reference: of three and more trials of different lengths, a
    robust line is fitted, whose start takes what all trials have too much at their
    ends; else what all labels span is divided by what all samples do.

    Parameters
    ----------
    durations_s : ndarray of float64, shape (trial,)
        Number of samples over nominal rate, in seconds.
    label_s : ndarray of float64, shape (trial,)
        Number of labels over their rate, in seconds.

    Returns
    -------
    Clock
        With offset 0: labels tell nothing else. A trial's labels may miss up to one
        second, which `slope_error_ppm` shows and no fit can undo.

    Raises
    ------
    InputError
        If there is no trial or a duration is not positive.
    """
    if len(durations_s) == 0 or not (min(*durations_s, *label_s) > 0):
        raise InputError(
            f"{len(durations_s)} trials from {min([*durations_s, *label_s, 0]):g} s on "
            "tell no rate; pass positive durations of at least one trial"
        )
    if len(np.unique(durations_s)) > 2:
        return replace(_fit_line(label_s, durations_s, 1.0), offset_s=0.0)
    rate = label_s.sum() / durations_s.sum()
    residual_s = label_s - rate * durations_s
    return Clock(
        offset_s=0.0,
        slope_ppm=1e6 * (rate - 1),
        residual_ms=1e3 * float(np.sqrt(np.mean(residual_s**2))),
        n_events=len(durations_s),
        slope_error_ppm=1e6 / durations_s.sum(),
    )


def _fit_line(
    reference_s: Float64[np.ndarray, " event"],
    device_s: Float64[np.ndarray, " event"],
    resolution_s: float,
) -> Clock:
    """Fit a line by least squares with Tukey's biweight."""
    least_width_s = max(_TUNE * resolution_s / np.sqrt(12), _LEAST_WIDTH_S)
    weight_n = np.ones(len(device_s))
    for _ in range(_ROUNDS):
        total = weight_n.sum()
        middle_s = weight_n @ device_s / total
        away_n = device_s - middle_s
        power = weight_n @ away_n**2
        slope = weight_n @ (away_n * (reference_s - device_s)) / power
        level_s = weight_n @ (reference_s - device_s) / total
        rest_n = reference_s - device_s - level_s - slope * away_n
        width_s = max(_TUNE * _DEVIATIONS * np.median(np.abs(rest_n)), least_width_s)
        former_n, weight_n = weight_n, np.maximum(1 - (rest_n / width_s) ** 2, 0) ** 2
        if np.allclose(weight_n, former_n, rtol=0, atol=1e-6) or weight_n.sum() < 2:
            break
    n_events = len(device_s)
    away_n = device_s - device_s.mean()
    share_n = np.minimum((rest_n / width_s) ** 2, 1)
    # The asymptotic variance of M-estimators, Huber 1981, section 7.6.
    spread_s = np.nan
    steepness = np.sum((1 - share_n) * (1 - 5 * share_n))
    if n_events > 2 and steepness > 0:
        power_s2 = np.sum((rest_n * (1 - share_n) ** 2) ** 2)
        spread_s = n_events * np.sqrt(power_s2 / (n_events - 2)) / steepness
    lever = np.sqrt(1 / n_events + device_s.mean() ** 2 / np.sum(away_n**2))
    return Clock(
        offset_s=float(level_s - slope * middle_s),
        slope_ppm=float(1e6 * slope),
        residual_ms=1e3 * float(np.sqrt(np.mean(rest_n**2))),
        n_events=n_events,
        offset_error_ms=1e3 * float(spread_s * lever),
        slope_error_ppm=1e6 * float(spread_s / np.sqrt(np.sum(away_n**2))),
    )
