"""Recordings of every format, and the ways in which their bytes and fields go wrong."""

import re
import struct

import h5py
import mne
import numpy as np
from recorded import write_edf
from written import Xdf, chunk, write_brainvision, write_set, write_snirf

WORDS = [b"0", b"-1", b"nan", b"inf", b"1e9", b"99999999", b"x", b"", b"1e-9", b"1e400"]
WORDS += [b"-inf", b"\xff\xfe", b"2147483648", b"string", b"int8", b"double64", b"EEG"]
PAIRS = [(1, 1), (2, 1), (2, 2)]


def spoil(data, rng):
    """Cut bytes off, or flip, set, insert or remove some."""
    data = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(data[: rng.integers(len(data) + 1)])
    for _ in range(rng.integers(1, 6)):
        within = len(data) if rng.random() < 0.5 else min(len(data), 1280)
        at = int(rng.integers(within))
        if kind == 1:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            data[at] = rng.integers(256)
        elif kind == 3:
            word = rng.choice([0, 1, 2**32 - 1, 2**31 - 1, 2**31, 2**20])
            data[at : at + 4] = struct.pack("<I", word)
        elif kind == 4:
            number = rng.choice([np.nan, np.inf, -1, 0, 1e300, 1e-300])
            data[at : at + 8] = struct.pack("<d", number)
        elif rng.random() < 0.5:
            del data[at : at + int(rng.integers(1, 40))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
    return bytes(data)


def word(rng):
    return WORDS[rng.integers(len(WORDS))]


# EDF and BDF


def edf(path, rng):
    names = ["EEG Cz", "Fp1", "ECG", "EDF Annotations"]
    write_edf(path, 50 * rng.normal(size=(4, 400)), names, rate_hz=100)
    data = bytearray(path.read_bytes())
    data[192:197] = rng.choice([b"EDF+C", b"EDF+D"])
    for record in range(4):
        at = 256 * 5 + record * 800 + 600
        text = f"+{record}\x14\x14\x00+{record}.5\x150.25\x14happy\x14\x00"
        data[at : at + 200] = text.encode().ljust(200, b"\0")
    path.write_bytes(spoil_fields(bytes(data), 4, rng))


def bdf(path, rng):
    def pad(width, *values):
        return "".join(str(value).ljust(width) for value in values)

    head = pad(80, "X X X X", "Startdate X X X X") + pad(8, "01.01.11", "00.00.00", 768)
    head += pad(44, "24BIT") + pad(8, 3, 1) + pad(4, 2)
    head += pad(16, "A1", "Status") + pad(80, "", "")
    for field in ("uV", -262144, 262143, -8388608, 8388607):
        head += pad(8, field, field)
    head += pad(80, "", "") + pad(8, 100, 100) + pad(32, "", "")
    body = rng.bytes(3 * 600)
    data = b"\xffBIOSEMI" + head.encode("ascii") + body
    path.write_bytes(spoil_fields(data, 2, rng))


def spoil_fields(data, n_channels, rng):
    """Write nonsense into fields of the header of EDF, or spoil its bytes."""
    if rng.random() < 0.5:
        return spoil(data, rng)
    fields = [(0, 8), (168, 8), (184, 8), (192, 44), (236, 8), (244, 8), (252, 4)]
    at = 256
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        fields += [(at + width * k, width) for k in range(n_channels)]
        at += width * n_channels
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, width = fields[rng.integers(len(fields))]
        data[at : at + width] = word(rng)[:width].ljust(width)
    return bytes(data)


# Formats of which bytes are spoiled


def fif(path, rng):
    names = ["Cz", "S1_D1 760", "S1_D1 850", "STI"]
    kinds = ["eeg", "fnirs_cw_amplitude", "fnirs_cw_amplitude", "stim"]
    info = mne.create_info(names, 100.0, kinds, verbose="error")
    for row, nm in ((1, 760), (2, 850)):
        info["chs"][row]["loc"][:10] = [0, 0.015, 0, 0, 0, 0, 0, 0.03, 0, nm]
    signal = np.abs(rng.normal(size=(4, 300)))
    raw = mne.io.RawArray(signal, info, verbose="error")
    raw.set_annotations(mne.Annotations([0.5], [1.0], ["happy"]))
    raw.save(path, overwrite=True, verbose="error")
    path.write_bytes(spoil(path.read_bytes(), rng))


def eeglab(path, rng):
    write_set(path, 50 * rng.normal(size=(3, 100)), ["Cz", "Fp1", "ECG"])
    path.write_bytes(spoil(path.read_bytes(), rng))


def brainvision(path, rng):
    names, marks = ["Cz", "Fp1", "ECG"], [(100, "happy"), (200, "sad")]
    write_brainvision(path, 50 * rng.normal(size=(3, 400)), names, marks=marks)
    part = path.with_suffix(rng.choice([".vhdr", ".vhdr", ".vmrk", ".eeg"]))
    if part.suffix == ".eeg" or rng.random() < 0.3:
        part.write_bytes(spoil(part.read_bytes(), rng))
        return
    lines = part.read_bytes().split(b"\n")
    for _ in range(rng.integers(1, 3)):
        row, other = rng.integers(len(lines), size=2)
        kind = rng.integers(4)
        if kind == 0:
            del lines[min(row, other)]
        elif kind == 1:
            lines[row] = lines[other]
        elif kind == 2:
            lines[row] = word(rng)
        else:
            key, _, value = lines[row].partition(b"=")
            parts = value.split(b",")
            parts[rng.integers(len(parts))] = word(rng)
            lines[row] = key + b"=" + b",".join(parts)
    part.write_bytes(b"\n".join(lines))


# XDF


def xdf(path, rng):
    file = make_xdf(rng)
    kind = rng.integers(4)
    if kind == 0:  # what headers say
        for row in rng.integers(1, 4, size=rng.integers(1, 4)):
            head, text = file.chunks[row][7:11], file.chunks[row][11:]
            texts = list(re.finditer(rb">([^<]*)<", text))
            place = texts[rng.integers(len(texts))]
            text = text[: place.start(1)] + word(rng) + text[place.end(1) :]
            file.chunks[row] = chunk(2, head + text)
    elif kind == 1:  # chunks that are lost or come twice
        row, other = rng.integers(len(file.chunks), size=2)
        if rng.random() < 0.5:
            del file.chunks[row]
        else:
            file.chunks.insert(other, file.chunks[row])
    elif kind == 2:  # time stamps
        row = int(rng.integers(4, 7))
        at = 17 + 21 * int(rng.integers(3))
        time_s = rng.choice([np.nan, np.inf, -1, 0, 1e300, 1e12, 1e9, -1e9, 1000.01])
        data = bytearray(file.chunks[row])
        data[at : at + 8] = struct.pack("<d", time_s)
        file.chunks[row] = bytes(data)
    file.write(path)
    if kind == 3:
        path.write_bytes(spoil(path.read_bytes(), rng))


def make_xdf(rng):
    file, n = Xdf(), 150
    eeg = [{"label": name, "type": "EEG", "unit": "uV"} for name in ("Cz", "Pz", "ECG")]
    light = [{"label": f"S1_D1 {nm}", "type": "NIRS"} for nm in (760, 850)]
    facts = {"name": "amp", "kind": "EEG", "n_channels": 3, "rate_hz": 100}
    file.header(1, channels=eeg, **facts)
    facts = {"name": "m", "kind": "Markers", "n_channels": 1, "rate_hz": 0}
    file.header(2, form="string", **facts)
    facts = {"name": "lamp", "kind": "NIRS", "n_channels": 2, "rate_hz": 10}
    file.header(7, channels=light, **facts)
    file.samples(1, 1000 + np.arange(n) / 100, rng.normal(size=(n, 3)))
    file.samples(7, 1000 + np.arange(15) / 10, rng.uniform(1, 2, size=(15, 2)))
    file.marks(2, [1000.5, 1001.0], ["happy", "sad"])
    for number in (1, 2, 7):
        for time_s in (1000.0, 1001.0):
            file.chunks.append(chunk(4, struct.pack("<Idd", number, time_s, 0.01)))
        text = b"<?xml version='1.0'?><info><sample_count>150</sample_count></info>"
        file.chunks.append(chunk(6, struct.pack("<I", number) + text))
    return file


# SNIRF

FIELDS = ["data1/dataTimeSeries", "data1/time", "metaDataTags/TimeUnit"]
FIELDS += ["metaDataTags/LengthUnit", "probe/wavelengths", "stim1/data", "stim1/name"]
FIELDS += ["probe/sourcePos3D", "probe/sourceLabels"]


def strange_values(rng):
    return [
        *(0, -1, 7, 2**62, 1e300, np.nan, np.inf, "x", "", b"\xff\xfe"),
        *(np.zeros(0), np.zeros((0, 3)), np.ones(50), np.ones((2, 3, 4))),
        *(np.full((50, 6), np.nan), np.arange(50.0)[::-1], np.arange(50.0) ** 4),
        *(np.array([0.0, 1e9]), np.array([0.0, -1.0]), np.array([np.nan, 1.0])),
        *(np.array([0, 1e-310]), np.r_[np.arange(25.0), 1e9 + np.arange(25)]),
        *(np.array(["a", "b"], dtype=object), np.ones(3) + 1j, np.void(b"abc")),
        *(np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]), np.ones((50, 6), bool)),
        *(rng.normal(size=(50, 6)).astype("f2"), rng.normal(size=(6, 50))),
        *(h5py.Empty("f8"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/nirs")),
        h5py.ExternalLink("/etc/hostname", "/x"),
    ]


def snirf(path, rng):
    light = 1e3 * np.exp(0.1 * rng.normal(size=(50, 6)))
    tables = rng.random() < 0.3

    def change(root):
        if tables:
            for name in [n for n in root["data1"] if n.startswith("measurement")]:
                del root["data1"][name]
            table = root.create_group("data1/measurementLists")
            table["sourceIndex"], table["detectorIndex"] = [1, 2, 2] * 2, [1, 1, 2] * 2
            table["wavelengthIndex"], table["dataType"] = [1] * 3 + [2] * 3, [1] * 6

    marks = [("happy", [[1, 0.5, 1], [2, 0.5, 1]])]
    write_snirf(path, light, PAIRS, stimuli=marks, change=change)
    if rng.random() < 0.3:
        path.write_bytes(spoil(path.read_bytes(), rng))
        return
    with h5py.File(path, "r+") as file:
        root, every = file["nirs"], []
        root.visit(every.append)
        for _ in range(rng.integers(1, 3)):
            names = FIELDS if rng.random() < 0.6 else every
            name = names[rng.integers(len(names))]
            if name not in root or name.rpartition("/")[0] not in ("", *root):
                continue
            del root[name]
            kind = rng.integers(8)
            if kind == 0:
                root.create_group(name)
            elif kind == 1:
                shapes = [(10**9,), (10**8, 6), (2**33, 2), (50, 10**7)]
                shape = shapes[rng.integers(len(shapes))]
                root.create_dataset(name, shape=shape, dtype="f8", chunks=True)
            elif kind > 2:
                values = strange_values(rng)
                root[name] = values[rng.integers(len(values))]


FORMATS = {
    ".edf": edf,
    ".bdf": bdf,
    ".fif": fif,
    ".set": eeglab,
    ".vhdr": brainvision,
    ".xdf": xdf,
    ".snirf": snirf,
}
