"""Whether merps stores the numbers that SciPy computes in float64."""

import csv
import math
from pathlib import Path

import numpy as np
import peers

#: Allowed error below the edge of the pass-band: the filters that decimate differ.
TOLERANCE = 1e-3
#: Left out at both ends, where such filters continue a recording differently, which a
#: high-pass at 0.5 Hz remembers for seconds.
_EDGE_S = 5.0


def largest_error(data: Path, store: Path) -> float:
    """Return the largest relative error of first and last videos, up to 45 Hz."""
    from merps.store import Store

    opened = Store.open(store)
    errors = []
    for person in peers.people_of(data):
        videos = peers.videos_of(data, person)
        unusable = missing_channels(data, person)
        with opened.person(person) as stored:
            if len(stored.stimuli) != len(videos):
                return math.inf
            for stimulus, video in ((0, 0), (-1, -1)):
                trial = stored.trial(stored.stimuli[stimulus])
                eeg, fnirs, targets = peers.reference(data, person, videos[video])
                fnirs = fnirs.reshape(*trial.fnirs.signal.shape[:2], -1)
                fnirs[:, unusable] = np.nan
                errors += [
                    band_error(trial.eeg.signal, eeg, peers.EEG_HZ, 45.0),
                    band_error(trial.fnirs.signal, fnirs, peers.FNIRS_HZ, 0.5),
                    0.0 if np.array_equal(trial.targets, targets) else math.inf,
                ]
    return max(errors)


def band_error(actual, expected, rate_hz: float, high_hz: float) -> float:
    """Root mean square error of what lies below a frequency; NaN must meet NaN."""
    if actual.shape != expected.shape:
        return math.inf
    there = ~np.isnan(expected).any(axis=-1)
    if not np.array_equal(there, ~np.isnan(actual).any(axis=-1)):
        return math.inf
    edge = round(_EDGE_S * rate_hz)
    inner = [x[there][:, edge:-edge].astype(float) for x in (actual, expected)]
    n_kept = int(high_hz * inner[0].shape[1] / rate_hz) + 1
    actual, expected = (np.fft.rfft(x)[:, :n_kept] for x in inner)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def missing_channels(data: Path, person: str) -> list[int]:
    """List the fNIRS channels that the folder calls unusable."""
    with open(data / "fNIRS_reservations.csv", newline="") as file:
        for name, *usable in list(csv.reader(file))[1:]:
            if name == person:
                return [c for c, field in enumerate(usable) if field == "0"]
    return []
