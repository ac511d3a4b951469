import logging
from dataclasses import replace

import numpy as np
import pytest

from merps.pipeline.features import align_features
from merps.pipeline.montage import match_montage
from merps.samples import samples_of_ids

FITTED = [f"eeg/{band}/{c}" for c in ("FCZ", "T7", "P7") for band in ("alpha", "beta")]
FITTED += [f"fnirs/HbO/ch-{c}/{summary}" for c in (1, 2) for summary in ("mean", "sd")]


def samples_with(names):
    rows = samples_of_ids(["P1_V01_T000"])
    values = np.arange(1, len(names) + 1, dtype=np.float32)[None]
    return replace(rows, features=values, feature_names=tuple(names))


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (("Fcz", "T7", "P7"), [1, 2, 3]),
        (("T3", "fcz", "t5"), [2, 1, 3]),
        (("T3", "T7", "FCz"), [3, 2, None]),  # what has the name itself has it
        (("Cz", "Oz"), [None, None, None]),
    ],
)
def test_channels_are_found_however_they_are_spelled(recorded, expected):
    names = [f"eeg/{band}/{c}" for band in ("alpha", "beta") for c in recorded]
    found = align_features(match_montage(samples_with(names), FITTED), FITTED)
    for band in range(2):
        for k, place in enumerate(expected):
            value = found.features[0, 2 * k + band]
            if place is None:
                assert np.isnan(value)
            else:
                assert value == place + band * len(recorded)


def test_a_model_of_both_names_keeps_them_apart():
    names = ["eeg/alpha/T3", "eeg/alpha/T7"]
    found = match_montage(samples_with(names[:1]), names)
    assert found.feature_names == ("eeg/alpha/T3",)


def test_channels_that_a_model_misses_are_told(caplog):
    names = ["eeg/alpha/fcz", "eeg/beta/fcz", "fnirs/HbO/S1_D1/mean"]
    with caplog.at_level(logging.WARNING):
        match_montage(samples_with(names), FITTED)
    assert caplog.messages == [
        "2 of the model's 3 EEG channels were not recorded, and count as missing: "
        "T7, P7",
        "not one of the model's 2 fNIRS channels (ch-1, ch-2) is among those recorded "
        "(S1_D1), which tell it nothing",
    ]
    caplog.clear()
    match_montage(samples_with(FITTED), FITTED)
    match_montage(samples_with(FITTED[:6]), FITTED)  # without fNIRS at all
    assert not caplog.messages
