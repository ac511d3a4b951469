"""Events that a recording keeps in a channel of its own: Status, STI and the like."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from merps.recording import Annotation

#: Bits that trigger ports have. BioSemi keeps states of the amplifier above them.
_PORT = 0xFFFF
#: More changes in a second than this are no triggers, but a signal.
_BUSY_HZ = 20.0
#: How near a trigger an annotation is that says the same, in samples.
_NEAR = 1.5


def find_triggers(raw: Any) -> tuple[tuple[Annotation, ...], tuple[str, ...]]:
    """Find the events in the trigger channels of an object of MNE.

    The lower 16 bits count, without those that are set all the time; an event is where
    their number rises, and is called by it.

    Parameters
    ----------
    raw : mne.io.Raw
        Its trigger channels are read as a whole.

    Returns
    -------
    tuple of (tuple of Annotation, tuple of str)
        Events in seconds after the first sample, and what was found. None where there
        are no trigger channels, or annotations say the same already.
    """
    names = _stim_channels(raw)
    if not names:
        return (), ()
    found, notes = set(), []
    for name in names:
        onsets_n, codes_n, ignored = _changes(raw.get_data(picks=[name])[0])
        rate_hz = float(raw.info["sfreq"])
        if len(onsets_n) > _BUSY_HZ * raw.n_times / rate_hz:
            notes.append(f"{name} changes {len(onsets_n)} times, it holds no triggers")
            continue
        if not len(onsets_n) or _are_told(raw, onsets_n / rate_hz):
            continue
        found |= set(zip((onsets_n / rate_hz).tolist(), codes_n.tolist(), strict=True))
        bits = (
            f" without the bits {ignored:#x}, which are always set" if ignored else ""
        )
        notes.append(
            f"{len(onsets_n)} events are rises of the lower 16 bits of {name}{bits}"
        )
    marks = (Annotation(onset_s, 0.0, str(code)) for onset_s, code in sorted(found))
    return tuple(marks), tuple(notes)


def _stim_channels(raw: Any) -> Sequence[str]:
    """Name the channels of triggers: those that hold all of them, where there are such.

    Neuromag has a channel for each bit besides.
    """
    types = raw.get_channel_types()
    names = [n for n, kind in zip(raw.ch_names, types, strict=True) if kind == "stim"]
    whole = [n for n in names if n.replace(" ", "") in {"STI101", "STI014"}]
    return whole[:1] or names


def _changes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return where the number rises, to what, and which bits are always set."""
    finite = np.where(np.isfinite(values), values, 0)
    codes = np.rint(finite).astype(np.int64) & _PORT
    always = int(np.bitwise_and.reduce(codes)) if len(codes) else 0
    codes &= ~always
    onsets = np.flatnonzero(np.diff(codes) > 0) + 1
    return onsets, codes[onsets], always


def _are_told(raw: Any, onsets_s: np.ndarray) -> bool:
    """Tell that annotations are where most of the triggers are."""
    told_s = np.sort(raw.annotations.onset - raw.first_time)
    if not len(told_s):
        return False
    after = np.searchsorted(told_s, onsets_s)
    sides = np.stack([np.maximum(after - 1, 0), np.minimum(after, len(told_s) - 1)])
    near_s = np.abs(told_s[sides] - onsets_s).min(axis=0)
    return bool(np.mean(near_s <= _NEAR / raw.info["sfreq"]) >= 0.5)
