"""The rest of a person that is in a file of its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from merps.errors import mismatch
from merps.predictions import name_some
from merps.readers.streams import Stream
from merps.recording import Recording

#: How long before the stimulus a rest of another file is said to end, in seconds: when
#: it was is not known, and it must not be taken for what runs into the stimulus.
REST_GAP_S = 60.0
#: What rates of one device may differ by: its clock may have been corrected.
_RATE_SHARE = 2e-3


def choose_rest(
    rests: Sequence[tuple[Any, Stream]], session: str | None, notes: list[str]
) -> Stream | None:
    """Choose the rest that goes with a trial: of its session, if it has one.

    Parameters
    ----------
    rests : sequence of (LabFile, Stream)
        Rests of one modality.
    session : str or None
        The session of the trial.
    notes : list of str
        Gets what was left out.

    Returns
    -------
    Stream or None
        The first of them in natural order, or of those without a session; None where
        all are of other sessions.
    """
    of_session = [pair[0].names.get("session") or None for pair in rests]
    fitting = [
        [pair for pair, own in zip(rests, of_session, strict=True) if own == wanted]
        for wanted in (session, None)
    ]
    fitting = fitting[0] or fitting[1] or ([] if session else rests)
    if not fitting:
        if rests:
            notes.append(f"no rest is of session {session}")
        return None
    if len(fitting) > 1:
        left = name_some(file.path.name for file, _ in fitting[1:])
        notes.append(f"the rest is {fitting[0][0].path.name}; {left} left out")
    return fitting[0][1]


def require_alike(rest: Recording, recording: Recording, where: str) -> None:
    """Refuse a rest that was not recorded as the trial was.

    Parameters
    ----------
    rest, recording : Recording
        Headers of rest and trial.
    where : str
        Person and modality, for messages.

    Raises
    ------
    DataError
        If channels, kinds, quantities or rates differ.
    """
    if not abs(rest.rate_hz / recording.rate_hz - 1) < _RATE_SHARE:
        found = f"{rest.rate_hz:g} Hz"
        raise _unlike(where, f"a rest at {recording.rate_hz:g} Hz, as the trial", found)
    lacking = set(recording.channels) - set(rest.channels)
    if lacking:
        raise _unlike(where, f"a rest with {name_some(sorted(lacking))}", "none")
    for name in ("kinds", "quantity", "unit"):
        facts = getattr(rest, name), getattr(recording, name)
        if facts[0] != facts[1]:
            raise _unlike(where, f"a rest of {name} {facts[1]}", str(facts[0]))


def as_rest_of(rest: Recording, recording: Recording) -> Recording:
    """Turn a recording of rest into the baseline of a trial that is like it.

    Parameters
    ----------
    rest, recording : Recording
        Rest and trial, as read.

    Returns
    -------
    Recording
        The rest with the channels of the trial, in their order, at its rate, and
        `REST_GAP_S` before it.
    """
    rest = rest.take([rest.channels.index(name) for name in recording.channels])
    signal = np.where(np.isfinite(rest.signal), rest.signal, np.nan)
    start_s = -REST_GAP_S - rest.n_times / recording.rate_hz
    rest = replace(rest, annotations=())
    return rest.with_signal(signal, rate_hz=recording.rate_hz, start_s=start_s)


def _unlike(where: str, expected: str, found: str) -> Exception:
    """Say that a rest does not fit the trial."""
    return mismatch(
        where,
        expected=expected,
        found=found,
        remedy="take the rest out of dataset.files, or record it as the trials",
    )
