"""An EEG file and an fNIRS file of one session, each timed by its own device."""

from dataclasses import dataclass

import numpy as np
from written import write_brainvision, write_snirf

EEG_HZ, FNIRS_HZ = 500, 10.0
#: Where `write_snirf` begins its time axis, in seconds.
FNIRS_BEGIN_S = 0.5


@dataclass(frozen=True)
class Pair:
    """What was planted: time of the EEG = offset_s + (1 + 1e-6 slope_ppm) fNIRS."""

    offset_s: float
    slope_ppm: float
    events_s: np.ndarray

    def to_device(self, reference_s):
        return (np.asarray(reference_s) - self.offset_s) / (1 + 1e-6 * self.slope_ppm)

    def to_reference(self, device_s):
        return self.offset_s + (1 + 1e-6 * self.slope_ppm) * np.asarray(device_s)


def wave(times_s):
    """A slow wave that is nowhere like itself a while later."""
    rates = 0.05 * np.sqrt([1.0, 2.3, 3.7, 5.9, 8.1])
    return sum(np.sin(2 * np.pi * f * times_s + k) for k, f in enumerate(rates))


def write_pair(
    folder,
    stem,
    rng,
    *,
    offset_s=7.431,
    slope_ppm=137.0,
    seconds=600,
    n_events=14,
    labels=("happy", "sad"),
    their_labels=None,
    missing=(2,),
    theirs_missing=(5,),
    extra=2,
    grid_s=0.0,
    files=("{}.vhdr", "{}.snirf"),
):
    """Write both; every event has its label, some are missing in either or extra."""
    events_s = np.sort(rng.uniform(30, seconds - 30, n_events))
    pair = Pair(offset_s, slope_ppm, events_s)
    own, theirs = (
        [names[k % len(names)] for k in range(n_events)]
        for names in (labels, their_labels or labels)
    )
    times_s = np.arange(seconds * EEG_HZ) / EEG_HZ
    eeg = np.stack([20 * wave(40 * times_s), rng.normal(size=len(times_s))])
    marks = [
        (1 + round(t * EEG_HZ), label)
        for k, (t, label) in enumerate(zip(events_s, own, strict=True))
        if k not in missing
    ]
    marks += [(1 + int(rng.uniform(0, len(times_s))), "button") for _ in range(extra)]
    path = folder / files[0].format(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_brainvision(path, eeg, ["Cz", "Pz"], rate_hz=EEG_HZ, marks=sorted(marks))
    n_times = int((seconds - 20) * FNIRS_HZ)
    device_s = FNIRS_BEGIN_S + np.arange(n_times) / FNIRS_HZ
    density = 0.02 * wave(pair.to_reference(device_s))
    light = np.exp(-np.stack([density, 2 * density, 1.5 * density, density], axis=1))
    by_name = {}
    for k, (t, label) in enumerate(zip(events_s, theirs, strict=True)):
        onset_s = pair.to_device(t)
        if grid_s:
            onset_s = np.floor(onset_s / grid_s) * grid_s
        if k not in theirs_missing and 0 <= onset_s:
            by_name.setdefault(label, []).append([onset_s, 0.0, 1.0])
    path = folder / files[1].format(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_snirf(path, light, [(1, 1), (2, 2)], stimuli=list(by_name.items()))
    return pair


def lateness_s(signal, times_s):
    """By how many seconds a signal comes later than the wave, by least squares."""
    step = 1e-3
    slope = (wave(times_s + step) - wave(times_s - step)) / (2 * step)
    table = np.stack([wave(times_s), slope, np.ones(len(times_s))], axis=1)
    size, moved, _ = np.linalg.lstsq(table, signal, rcond=None)[0]
    return -moved / size
