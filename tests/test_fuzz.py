import math
import resource
import time
from collections import Counter

import numpy as np
import pytest
from fuzzed import FORMATS

import merps
from merps.errors import MerpsError

pytest.importorskip("pyxdf")


def read(path):
    """Read all there is, and hold it against what a recording promises."""
    for stream in merps.open_recording(path):
        recording = stream.load()
        for record in (stream.header, recording):
            assert 0 < record.rate_hz < math.inf
            assert math.isfinite(record.start_s)
            assert record.n_times > 0
            assert len(set(record.channels)) == len(record.channels)
            moments = [(mark.onset_s, mark.duration_s) for mark in record.annotations]
            assert np.isfinite(moments).all()
        assert stream.header.signal.shape == recording.signal.shape
        assert stream.header.rate_hz == recording.rate_hz
        assert stream.header.channels == recording.channels


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def spoil_and_read(folder, suffix, numbers):
    """Give recordings or one message of any damage, in seconds and little memory."""
    path = folder / f"spoiled_raw{suffix}"
    outcomes = Counter()
    for number in numbers:
        FORMATS[suffix](path, np.random.default_rng([7, number]))
        begin_s, begin_mb = time.monotonic(), memory_mb()
        try:
            read(path)
            outcomes["read"] += 1
        except MerpsError as error:  # anything else is a fault
            outcomes["refused"] += 1
            message = str(error)
            assert path.stem in message, number
            assert "; " in message, (number, message)
            assert "\n" not in message, (number, message)
        except Exception as error:
            raise AssertionError(f"{suffix}, number {number}") from error
        assert time.monotonic() - begin_s < 20, number
        assert memory_mb() - begin_mb < 500, number
    return outcomes


@pytest.mark.parametrize("suffix", FORMATS)
def test_damage_gives_a_recording_or_one_message(tmp_path, suffix):
    outcomes = spoil_and_read(tmp_path, suffix, range(60))
    assert min(outcomes["read"], outcomes["refused"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_much_damage_gives_recordings_or_one_message(tmp_path, suffix):
    spoil_and_read(tmp_path, suffix, range(100, 1100))
