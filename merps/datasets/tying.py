"""A first look at the clocks of a folder: which recordings share events."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from merps.datasets.clocks import Tie, pair_up, tie
from merps.datasets.looking import Look
from merps.errors import InputError
from merps.readers.streams import Stream

#: Limits of drift that are tried: that of clocks, and that of rates which are rounded.
_DRIFTS_PPM = (1000.0, 10_000.0)
_TOLERANCE_S = 0.05
#: Fewer shared events say little: two of many are about as far apart by chance.
_FEWEST = 3
#: Tolerance in sampling intervals, where events are known to a sample of the fNIRS.
_INTERVALS = 1.5
#: Share of the time between regular events that devices may be started apart.
_SHARE = 0.45
#: Residuals that are a larger part of the tolerance are cut off by it.
_SMALL = 0.2
_TOLD = 5
#: Files that belong together by nothing but events: so many, and how well they match.
_MOST_ALONE = 12
_FEWEST_ALONE = 5
_SHARE_ALONE = 0.75


@dataclass(frozen=True)
class _Found:
    """A pair of recordings, and what ties them."""

    where: str
    tie: Tie
    max_drift_ppm: float
    tolerance_s: float
    max_offset_s: float | None


def propose_synchrony(look: Look, owners: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Say how the clocks of EEG and fNIRS can be tied.

    Parameters
    ----------
    look : Look
        Recordings; gets findings and warnings.
    owners : mapping of str to mapping of str to str
        Person and stimulus of each recording.

    Returns
    -------
    list of str
        Lines of the configuration; none where no two files of a person share events.
    """
    found, failed, silent = [], [], 0
    for where, eeg, fnirs in _pairs(look, owners):
        n_events = [len(stream.header.annotations) for stream in (eeg, fnirs)]
        if min(n_events) < _FEWEST:
            silent += 1
            continue
        try:
            found.append(_tie(where, eeg, fnirs))
        except InputError as error:
            failed.append(f"{where}: {error}")
    if silent:
        text = (
            f"in {silent} pairs of EEG and fNIRS files, too few events of both to tie "
            "their clocks by"
        )
        if found:
            look.warnings.append(text)
        else:
            look.findings.append(f"{text}: they are taken to begin together")
    look.findings += [f"{own.where}: {own.tie.describe()}" for own in found[:_TOLD]]
    if len(found) > _TOLD:
        more = [abs(own.tie.clock.slope_ppm) for own in found]
        look.findings.append(
            f"and {len(found) - _TOLD} more pairs with clocks tied by events; drift is "
            f"up to {max(more):.1f} ppm in all"
        )
    look.warnings += [
        f"the events do not tie the clocks of EEG and fNIRS. {text}"
        for text in failed[:_TOLD]
    ]
    if not found:
        return []
    if len(found) < silent + len(failed):
        look.warnings.append(
            "most pairs of EEG and fNIRS files do not share events, so that all are "
            "taken to begin together; dataset.synchrony would tie those that do"
        )
        return []
    tolerance_s = max(own.tolerance_s for own in found)
    limits = [own.max_offset_s for own in found if own.max_offset_s is not None]
    limit = f"{min(limits):.4g}" if limits else "null"
    drift_ppm = max(own.max_drift_ppm for own in found)
    if drift_ppm > _DRIFTS_PPM[0]:
        look.warnings.append(
            f"clocks differ by more than {_DRIFTS_PPM[0]:g} ppm, as where a file "
            "states a rounded rate; make sure that its rate is right"
        )
    if limits:
        look.warnings.append(
            "events are so regular that they do not tell how much later one device "
            f"was started than the other: max_offset_s takes it for less than {limit} "
            "s; make sure of it"
        )
        beyond = [o.where for o in found if abs(o.tie.clock.offset_s) > min(limits)]
        look.warnings += [f"max_offset_s is too small for {where}" for where in beyond]
    return [
        "  synchrony:          # EEG and fNIRS have a clock each; events tie them",
        "    events: []        # names of the events that count; none named: all",
        f"    max_drift_ppm: {drift_ppm:g}",
        f"    max_offset_s: {limit}"
        + ("  # a guess, since events are regular" if limits else ""),
        f"    tolerance_s: {tolerance_s:g} # how far events may be off, in seconds",
    ]


def match_people(
    look: Look, owners: Mapping[str, Mapping[str, str]], unsure: Collection[str]
) -> dict[str, str]:
    """Tell whose fNIRS files are by the events that they share with an EEG.

    Only people are asked that have files of one device alone by their paths, and few.

    Parameters
    ----------
    look : Look
        Recordings; gets warnings.
    owners : mapping of str to mapping of str to str
        Person and stimulus of each recording, by their paths.
    unsure : collection of str
        Recordings whose paths do not name a person. No other is asked: events of
        different people are alike, too, where all see the same.

    Returns
    -------
    dict of str to str
        Person of the EEG by the path of the fNIRS that goes with it, and no other.
    """
    devices: dict[str, dict[str, list[str]]] = {"eeg": {}, "fnirs": {}}
    for name, streams in look.streams.items():
        for modality in {stream.modality for stream in streams}:
            if name in owners:
                own = devices[modality].setdefault(owners[name]["person"], [])
                own.append(name)
    alone = [
        [
            names[0]
            for person, names in devices[own].items()
            if person not in devices[other] and names[0] in unsure
        ]
        for own, other in (("eeg", "fnirs"), ("fnirs", "eeg"))
        if all(len(names) == 1 for names in devices[own].values())
    ]
    if len(alone) < len(devices) or max(map(len, alone)) > _MOST_ALONE:
        return {}
    shared = [(e, f) for e in alone[0] for f in alone[1] if _share(look, e, f)]
    eeg, fnirs = (Counter(pair[side] for pair in shared) for side in (0, 1))
    found = {f: e for e, f in shared if eeg[e] == fnirs[f] == 1}
    for name, other in found.items():
        look.warnings.append(
            f"{name} shares the events of {other}, so that both are taken for "
            f"{owners[other]['person']}; make sure of it"
        )
    return {name: owners[other]["person"] for name, other in found.items()}


def _share(look: Look, eeg: str, fnirs: str) -> bool:
    """Tell that most events of two files are the same."""
    streams = look.streams[eeg][0], look.streams[fnirs][0]
    try:
        own = _tie("", *streams).tie
    except InputError:
        return False
    fewer = min(own.n_eeg, own.n_fnirs)
    return own.clock.n_events >= max(_FEWEST_ALONE, _SHARE_ALONE * fewer)


def _pairs(
    look: Look, owners: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Stream, Stream]]:
    """Yield the streams of EEG and fNIRS that are in two files of one person."""
    people: dict[str, dict[str, list[tuple[str, Stream]]]] = {}
    for name, streams in look.streams.items():
        if len(streams) == 1 and name in owners:
            own = people.setdefault(owners[name]["person"], {"eeg": [], "fnirs": []})
            own[streams[0].modality].append((name, streams[0]))
    for own in people.values():
        for eeg, fnirs in pair_up(
            own["eeg"], own["fnirs"], lambda pair: owners[pair[0]]["stimulus"]
        ):
            yield f"{eeg[0]} and {fnirs[0]}", eeg[1], fnirs[1]


def _tie(where: str, eeg: Stream, fnirs: Stream) -> _Found:
    """Tie a pair; a wider limit of drift counts where it is passed and fits better."""
    first_error, found = None, []
    for drift_ppm in _DRIFTS_PPM:
        try:
            found.append(_tie_at(where, eeg, fnirs, drift_ppm))
        except InputError as error:
            first_error = first_error or error
    if not found:
        raise first_error
    near, far = found[0], found[-1]
    fits = [(own.tie.clock.n_events, -own.tie.clock.residual_ms) for own in found]
    is_passed = abs(far.tie.clock.slope_ppm) > _DRIFTS_PPM[0]
    return far if is_passed and fits[-1] > fits[0] else near


def _tie_at(where: str, eeg: Stream, fnirs: Stream, drift_ppm: float) -> _Found:
    """Tie a pair with the least tolerance that matches as many events as any."""
    first_error, found = None, []
    for tolerance_s in (_TOLERANCE_S, _INTERVALS / fnirs.header.rate_hz):
        options = {"max_drift_ppm": drift_ppm, "tolerance_s": tolerance_s}
        try:
            own, limit_s = _tie_within(eeg, fnirs, options)
        except InputError as error:
            first_error = first_error or error
            continue
        if own.clock.n_events >= _FEWEST:
            found.append(_Found(where, own, drift_ppm, round(tolerance_s, 3), limit_s))
    if not found:
        raise first_error or InputError(f"fewer than {_FEWEST} events match")
    first, *wider = found
    if 1e-3 * first.tie.clock.residual_ms < _SMALL * first.tolerance_s:
        n_events = first.tie.clock.n_events
        wider = [own for own in wider if own.tie.clock.n_events > n_events]
    return (wider or [first])[-1]


def _tie_within(
    eeg: Stream, fnirs: Stream, options: Mapping[str, Any]
) -> tuple[Tie, float | None]:
    """Tie a pair; of regular events, take the smallest offset if all match there."""
    options = {"events": (), "max_offset_s": None, **options}
    try:
        return tie(eeg.header, fnirs.header, options), None
    except InputError as error:
        onsets_s = np.unique([mark.onset_s for mark in eeg.header.annotations])
        if len(onsets_s) < _FEWEST:
            raise
        limit_s = float(f"{_SHARE * np.median(np.diff(onsets_s)):.2g}")
        if not limit_s > options["tolerance_s"]:
            raise
        try:
            own = tie(eeg.header, fnirs.header, {**options, "max_offset_s": limit_s})
        except InputError:
            raise error from None
        if own.clock.n_events < min(own.n_eeg, own.n_fnirs):
            raise
        return own, limit_s
