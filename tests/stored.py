"""A store of small random recordings, for tests of what is cut from it."""

import numpy as np

from merps.recording import Recording, Trial
from merps.store import Store, publish_person

ORIGIN = {"source": "mer-ps", "role": "eval-only", "terms": "CC BY-NC-SA 4.0, ask"}
#: Seconds, then which parts are missing.
TRIALS = {
    "test_2": {"V01": (6, ()), "V02": (1, ("fnirs",)), "V03": (3, ("targets",))},
    "test_10": {"V01": (5, ("eeg",)), "V02": (7, ())},
}
GRID = {"window_s": 2.0, "step_s": 1.0, "lag_s": 0.5, "lookahead_s": 0.0}


def make_signal(rng, shape, dtype=np.float32):
    signal = rng.normal(size=shape).astype(dtype)
    signal[rng.random(shape) < 0.05] = np.nan
    return signal


def make_trial(rng, person, stimulus, seconds, missing=(), *, channels=3, dtype="f4"):
    eeg = Recording(
        make_signal(rng, (channels, 20 * (seconds + 2)), dtype),
        rate_hz=20.0,
        start_s=-2.0,
        channels=tuple(f"E{c}" for c in range(channels)),
        quantity="voltage",
        unit="uV",
    )
    fnirs = Recording(
        make_signal(rng, (2, 4, 5 * seconds + 1), dtype),
        rate_hz=5.0,
        start_s=0.0,
        channels=("a", "b", "c", "d"),
        quantity=("concentration", "absorbance"),
        unit=("a.u.", "1"),
        kinds=("HbO", "Abs780"),
    )
    targets = rng.integers(1, 256, (seconds, 2)).astype(float)
    parts = {"eeg": eeg, "fnirs": fnirs, "targets": targets}
    present = {name: part for name, part in parts.items() if name not in missing}
    return Trial(person, stimulus, **present)


def make_trials(rng, **options):
    return {
        person: [
            make_trial(rng, person, stimulus, seconds, missing, **options)
            for stimulus, (seconds, missing) in stimuli.items()
        ]
        for person, stimuli in TRIALS.items()
    }


def make_store(path, trials, *, key="0" * 32):
    """Write a store and open it."""
    store = Store.create(path, config={"precision": "float32"}, **ORIGIN)
    for person, own in trials.items():
        publish_person(path, person, key, own, sidecar={})
        store.record(person, key)
    return Store.open(path)


def damage(store, person):
    """Flip one bit of a person's file."""
    (path,) = store.path.glob(f"people/{person}-*.h5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # whoever has mapped the good one keeps it
    path.write_bytes(content)
