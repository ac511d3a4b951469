"""Recordings of a lab written byte by byte, with the faults that real ones have."""

import struct
from pathlib import Path
from xml.sax.saxutils import escape

import h5py
import numpy as np
import pytest
import scipy.io

SHARED = Path(__file__).parents[2] / "shared" / "data"


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


# SNIRF


def write_snirf(
    path,
    data_tc,
    pairs,
    *,
    wavelengths=(760.0, 850.0),
    rate_hz=10.0,
    group="nirs",
    tags=(("LengthUnit", "mm"), ("TimeUnit", "s")),
    places=True,
    labels=True,
    stimuli=(),
    measurements=None,
    change=None,
):
    """Write intensity in the order of `pairs` for each wavelength; 30 mm apart."""
    n_sources, n_detectors = (max(pair[k] for pair in pairs) for k in (0, 1))
    with h5py.File(path, "w") as file:
        file["formatVersion"] = "1.0"
        root = file.create_group(group)
        for name, value in tags:
            root[f"metaDataTags/{name}"] = value
        root["data1/dataTimeSeries"] = data_tc
        root["data1/time"] = 0.5 + np.arange(len(data_tc)) / rate_hz
        measurements = measurements or [
            {"sourceIndex": s, "detectorIndex": d, "wavelengthIndex": w, "dataType": 1}
            for w in range(1, len(wavelengths) + 1)
            for s, d in pairs
        ]
        for number, facts in enumerate(measurements, start=1):
            for name, value in facts.items():
                root[f"data1/measurementList{number}/{name}"] = value
        root["probe/wavelengths"] = wavelengths
        if places:
            at = np.arange(n_sources)[:, None] * [40.0, 0.0, 0.0]
            root["probe/sourcePos3D"] = at
            at = np.arange(n_detectors)[:, None] * [40.0, 0.0, 0.0]
            root["probe/detectorPos3D"] = np.add(at, [0.0, 30.0, 0.0])
        if labels:
            root["probe/sourceLabels"] = [f"S{k}" for k in range(1, n_sources + 1)]
            root["probe/detectorLabels"] = [f"D{k}" for k in range(1, n_detectors + 1)]
        for number, (name, rows) in enumerate(stimuli, start=1):
            root[f"stim{number}/name"] = name
            root[f"stim{number}/data"] = np.array(rows, dtype=float)
        if change is not None:
            change(root)
    return path


# XDF


def chunk(tag, content):
    length = 2 + len(content)
    return b"\x04" + struct.pack("<IH", length, tag) + content


class Xdf:
    """An XDF file in the making."""

    def __init__(self):
        self.chunks = [chunk(1, b'<?xml version="1.0"?><info></info>')]

    def header(
        self, number, *, name, kind, n_channels, rate_hz, form="float32", channels=()
    ):
        rows = "".join(
            "<channel>"
            + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in row.items())
            + "</channel>"
            for row in channels
        )
        text = (
            f'<?xml version="1.0"?><info><name>{escape(name)}</name><type>{kind}</type>'
            f"<channel_count>{n_channels}</channel_count>"
            f"<nominal_srate>{rate_hz}</nominal_srate>"
            f"<channel_format>{form}</channel_format><created_at>0</created_at>"
            f"<desc><channels>{rows}</channels></desc></info>"
        )
        self.chunks.append(chunk(2, struct.pack("<I", number) + text.encode()))

    def samples(self, number, times_s, x_tc):
        for first in range(0, len(times_s), 50):
            block = slice(first, first + 50)
            body = b"".join(
                b"\x08" + struct.pack("<d", t) + np.asarray(row, "<f4").tobytes()
                for t, row in zip(times_s[block], x_tc[block], strict=True)
            )
            n = struct.pack("<I", len(times_s[block]))
            self.chunks.append(chunk(3, struct.pack("<I", number) + b"\x04" + n + body))

    def marks(self, number, times_s, labels):
        for time_s, label in zip(times_s, labels, strict=True):
            text = label.encode()
            body = b"\x08" + struct.pack("<d", time_s)
            body += b"\x04" + struct.pack("<I", len(text)) + text
            self.chunks.append(chunk(3, struct.pack("<I", number) + b"\x01\x01" + body))

    def write(self, path):
        path.write_bytes(b"XDF:" + b"".join(self.chunks))
        return path


# EDF


def write_edf_channels(path, channels):
    """Write channels of name, unit and ten seconds, each at its own rate."""
    n = len(channels)
    names, units, signals = zip(*channels, strict=True)

    def pad(width, *values):
        return "".join(str(value).ljust(width) for value in values)

    head = pad(8, 0) + pad(80, "X X X X", "Startdate X X X X")
    head += pad(8, "01.01.11", "00.00.00", 256 * (1 + n)) + pad(44, "") + pad(8, 10, 1)
    head += pad(4, n) + pad(16, *names) + pad(80, *[""] * n) + pad(8, *units)
    for limit in (-1000, 1000, -32767, 32767):
        head += pad(8, *[limit] * n)
    head += pad(80, *[""] * n) + pad(8, *[len(x) // 10 for x in signals])
    head += pad(32, *[""] * n)
    digits = [np.rint(x * 32.767).astype("<i2").reshape(10, -1) for x in signals]
    path.write_bytes(head.encode("latin-1") + np.hstack(digits).tobytes())
    return path


# BrainVision and EEGLAB


def write_brainvision(path, signal_ct, names, *, rate_hz=200, marks=()):
    """Write microvolts as float32, multiplexed."""
    channels = "\n".join(f"Ch{k}={n},,1,\u00b5V" for k, n in enumerate(names, start=1))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\n"
        f"Codepage=UTF-8\nDataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\n"
        "DataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nSamplingInterval={1e6 / rate_hz:g}\n\n"
        "[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n"
        f"[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    lines = "".join(
        f"Mk{k}=Stimulus,{label},{at},1,0\n"
        for k, (at, label) in enumerate(marks, start=1)
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\n"
        f"Codepage=UTF-8\nDataFile={path.stem}.eeg\n\n[Marker Infos]\n{lines}",
        encoding="utf-8",
    )
    path.with_suffix(".eeg").write_bytes(signal_ct.T.astype("<f4").tobytes())
    return path


def write_set(path, signal_ct, names, *, rate_hz=200, **facts):
    """Write microvolts as EEGLAB keeps them, in one file, with other facts."""
    n_channels, n_times = signal_ct.shape
    channels = np.zeros(n_channels, dtype=[("labels", object), ("type", object)])
    channels["labels"], channels["type"] = names, "EEG"
    eeg = {
        **{"setname": "x", "nbchan": n_channels, "pnts": n_times, "trials": 1},
        **{"srate": float(rate_hz), "xmin": 0.0, "xmax": (n_times - 1) / rate_hz},
        **{"data": signal_ct, "chanlocs": channels, "event": [], "epoch": []},
        **{"icawinv": [], "icasphere": [], "icaweights": [], "icaact": []},
    } | facts
    scipy.io.savemat(path, {"EEG": eeg}, appendmat=False)
    return path
