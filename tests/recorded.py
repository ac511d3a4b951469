"""Small recordings in files that MNE reads, for tests of readers and backgrounds."""

import mne
import numpy as np
from mne_nirs.io.snirf import write_raw_snirf

WAVELENGTHS_NM = (760, 850)


def write_eeg(path, signal_ct, names, *, rate_hz=160.0, kinds="eeg"):
    """Write voltages in volts, with single precision."""
    info = mne.create_info(list(names), rate_hz, kinds, verbose="error")
    raw = mne.io.RawArray(signal_ct, info, verbose="error")
    raw.save(path, overwrite=True, verbose="error")
    return path


def write_fnirs(path, intensity_lct, *, rate_hz=10.0):
    """Write intensities at two wavelengths, of pairs that are 3 cm long."""
    _, n_pairs, n_times = intensity_lct.shape
    pairs = [f"S{k}_D{k}" for k in range(1, n_pairs + 1)]
    names = [f"{pair} {nm}" for pair in pairs for nm in WAVELENGTHS_NM]
    info = mne.create_info(names, rate_hz, "fnirs_cw_amplitude", verbose="error")
    for row, channel in enumerate(info["chs"]):
        x = 0.01 * (row // 2)
        middle, source, detector = (x, 0.015, 0.0), (x, 0.0, 0.0), (x, 0.03, 0.0)
        channel["loc"][:10] = [*middle, *source, *detector, WAVELENGTHS_NM[row % 2]]
    info["subject_info"] = {"his_id": "nobody"}
    by_pair = intensity_lct.transpose(1, 0, 2).reshape(2 * n_pairs, n_times)
    raw = mne.io.RawArray(by_pair, info, verbose="error")
    raw.set_meas_date(0)
    write_raw_snirf(raw, path)
    return path


def make_intensity(rng, *, n_pairs=3, n_times=400):
    """Intensities with a heart beat and a drift, different in each pair."""
    times = np.arange(n_times) / 10
    wave_ct = np.sin(2 * np.pi * times + rng.uniform(0, 6, size=(n_pairs, 1)))
    drift_lct = 0.02 * np.cumsum(rng.normal(size=(2, n_pairs, n_times)), axis=2)
    return 1e5 * np.exp(0.03 * wave_ct + 0.1 * drift_lct)


def write_edf(path, signal_ct, names, *, rate_hz):
    """Write microvolts as plain EDF in records of one second."""
    n_channels, n_times = signal_ct.shape
    n_records, top = n_times // rate_hz, float(np.ceil(np.abs(signal_ct).max()))

    def pad(width, *values):
        return "".join(str(value).ljust(width) for value in values)

    size = 256 * (1 + n_channels)
    head = pad(8, 0) + pad(80, "X X X X", "Startdate X X X X")
    head += pad(8, "01.01.11", "00.00.00", size) + pad(44, "") + pad(8, n_records, 1)
    head += pad(4, n_channels) + pad(16, *names) + pad(80, *[""] * n_channels)
    fields = ("uV", -top, top, -32767, 32767)
    head += "".join(pad(8, *[field] * n_channels) for field in fields)
    head += pad(80, *[""] * n_channels) + pad(8, *[rate_hz] * n_channels)
    head += pad(32, *[""] * n_channels)
    digits = np.rint(signal_ct[:, : n_records * rate_hz] * 32767 / top).astype("<i2")
    records = digits.reshape(n_channels, n_records, rate_hz).swapaxes(0, 1)
    path.write_bytes(head.encode("ascii") + records.tobytes())
    return path
