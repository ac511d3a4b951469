"""Recordings whose rate is told by their ratings, which come once a second."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from merps.datasets.clocks import load_moved
from merps.datasets.cutting import Span
from merps.preprocessing.synchrony import Clock, fit_label_grid
from merps.readers.streams import Modality

#: A slope counts if it is so many times its error; else labels do not tell it.
_SURE = 3.0
_FEWEST = 3


def time_by_labels(
    spans: Mapping[str, Mapping[Modality, Span]], n_labels: Mapping[str, int]
) -> dict[str, dict[Modality, Span]]:
    """Give recordings of one person, each a stimulus, the rate that their labels tell.

    Each device has one rate in all its recordings. Where the labels do not tell it from
    the stated one, that stays; the notes say what was done.

    Parameters
    ----------
    spans : mapping of str to mapping of str to Span
        By stimulus and modality, recordings that begin with their labels.
    n_labels : mapping of str to int
        Seconds that are rated, by stimulus; those without ratings tell nothing.

    Returns
    -------
    dict of str to dict of str to Span
        The same, with their rates and notes.
    """
    moved = {name: dict(own) for name, own in spans.items()}
    for modality in ("eeg", "fnirs"):
        own = {name: spans[name][modality] for name in spans if modality in spans[name]}
        rated = [name for name in own if n_labels.get(name)]
        clock = None
        if len(rated) >= _FEWEST:
            clock = fit_label_grid(
                np.array([own[name].left_s for name in rated]),
                np.array([n_labels[name] for name in rated], dtype=float),
            )
        for name, span in own.items():
            moved[name][modality] = _time(span, clock)
    return moved


def _time(span: Span, clock: Clock | None) -> Span:
    """Give one recording its rate, and a note."""
    stream, header = span.stream, span.stream.header
    if clock is None:
        note = f"too few rated recordings to tell the rate of {stream.modality} by"
        return replace(span, stream=replace(stream, notes=(*stream.notes, note)))
    found = (
        f"{clock.slope_ppm:.0f} ppm slow (error {clock.slope_error_ppm:.0f} ppm, "
        f"residual {clock.residual_ms:.0f} ms, {clock.n_events} recordings)"
    )
    if not abs(clock.slope_ppm) > _SURE * clock.slope_error_ppm:
        note = f"labels do not tell the rate of {stream.modality} apart: {found}"
        return replace(span, stream=replace(stream, notes=(*stream.notes, note)))
    timed = clock.move(header)
    note = (
        f"the rate of {stream.modality} is {timed.rate_hz:.6g} Hz by its labels, not "
        f"{header.rate_hz:.6g}: its clock runs {found}"
    )
    stream = replace(
        stream,
        header=timed,
        load=partial(load_moved, stream.load, clock),
        notes=(*stream.notes, note),
    )
    return replace(span, stream=stream, onset_s=clock.rate * span.onset_s)
