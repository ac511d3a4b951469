"""Routes from recordings to signals that a laboratory writes without merps.

Each runs in a process of its own, and returns seconds a stage; "import" and "save" are
stages as well. All read the same variables, put the rest before a video in front of it,
keep HbO, HbR and HbT, and use the options of merps, which the tests compare.
"""

import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

EEG_HZ, EEG_BAND_HZ, EEG_PAD_S = 200.0, (0.5, 45.0), 5.0
FNIRS_FROM_HZ, FNIRS_HZ, FNIRS_HIGH_HZ, FNIRS_PAD_S = 1000 / 21, 10.0, 0.5, 20.0
N_KINDS, ORDER = 3, 4
WINDOW_S, STEP_S = 4.0, 1.0


class Stages(dict):
    """Seconds by stage."""

    @contextmanager
    def time(self, name: str):
        start = time.perf_counter()
        yield
        self[name] = self.get(name, 0.0) + time.perf_counter() - start


def people_of(data: str) -> list[str]:
    """Name the people of a folder."""
    return sorted(path.name for path in (Path(data) / "data").iterdir())


def videos_of(data: str, person: str) -> list[str]:
    """Name the videos of a person."""
    from scipy.io import whosmat

    listed = whosmat(Path(data) / "data" / person / "fNIRS_videos.mat")
    return [name for name, *_ in listed]


def read_trial(data: str, person: str, video: str, whole: dict | None = None):
    """Read one variable of five files: EEG, fNIRS, EEG rate and targets.

    The files' contents are kept in `whole` where one is given.
    """
    import numpy as np
    from scipy.io import loadmat

    def read(path: Path):
        if whole is None:
            return loadmat(path, variable_names=[video])[video]
        if path not in whole:
            whole[path] = loadmat(path)
        return whole[path][video]

    folder = Path(data) / "data" / person
    eeg, fnirs = (
        np.concatenate(
            [read(folder / f"{name}_{part}.mat") for part in ("baselines", "videos")],
            axis=-1,
        )
        for name in ("EEG", "fNIRS")
    )
    targets = read(Path(data) / "annotations" / f"{person}_label.mat")
    rate_hz = 200.0 if eeg.shape[1] < 400 * targets.size / 2 else 1000.0
    fnirs = fnirs[:N_KINDS].reshape(-1, fnirs.shape[-1])
    return eeg, fnirs, rate_hz, targets


def trials_of(data: str, stages: Stages, *, by_file: bool = False):
    """Read every trial, one at a time, or a person's files at once."""
    for person in people_of(data):
        whole = {} if by_file else None
        for video in videos_of(data, person):
            with stages.time("load"):
                trial = read_trial(data, person, video, whole)
            yield person, video, *trial


def mne_fastest(data: str, out: str) -> Stages:
    """Run MNE the fastest way known: resample by polyphase first, then IIR filters."""
    return _mne_continuous(data, out, method="polyphase")


def mne_fft(data: str, out: str) -> Stages:
    """Run MNE with its own way to resample, by FFT, first, then IIR filters."""
    return _mne_continuous(data, out, method="fft")


def _mne_continuous(data: str, out: str, *, method: str) -> Stages:
    stages = Stages()
    with stages.time("import"):
        import h5py
        import numpy as np
        import scipy.io  # noqa: F401

        warm_up_mne()
    butterworth = {"order": ORDER, "ftype": "butter", "output": "sos"}

    def clean(signal, rate_hz, to_hz, low_hz, high_hz, name):
        with stages.time("to raw"):
            raw = as_raw(signal, rate_hz)
        with stages.time(f"{name} resample"):
            if rate_hz != to_hz:
                raw.resample(to_hz, method=method)
        with stages.time(f"{name} filter"):
            raw.filter(low_hz, high_hz, method="iir", iir_params=butterworth)
        return raw.get_data()

    for person, video, eeg, fnirs, rate_hz, targets in trials_of(data, stages):
        eeg = clean(eeg, rate_hz, EEG_HZ, *EEG_BAND_HZ, "EEG")
        fnirs = clean(fnirs, FNIRS_FROM_HZ, FNIRS_HZ, None, FNIRS_HIGH_HZ, "fNIRS")
        with stages.time("save"), h5py.File(f"{out}/{person}.h5", "a") as file:
            file[f"{video}/eeg"] = eeg.astype(np.float32)
            file[f"{video}/fnirs"] = fnirs.astype(np.float32)
            file[f"{video}/targets"] = targets
    return stages


def mne_usual(data: str, out: str) -> Stages:
    """Run MNE as tutorials do: whole files, FIR filters, resampling, windows."""
    stages = Stages()
    with stages.time("import"):
        import h5py
        import mne
        import numpy as np
        import scipy.io  # noqa: F401

        warm_up_mne()

    def cut(signal, rate_hz, to_hz, low_hz, high_hz, name):
        with stages.time("to raw"):
            raw = as_raw(signal, rate_hz)
        with stages.time(f"{name} filter"):
            raw.filter(low_hz, high_hz)
        with stages.time(f"{name} resample"):
            raw.resample(to_hz)
        with stages.time("windows"):
            overlap_s = WINDOW_S - STEP_S
            epochs = mne.make_fixed_length_epochs(raw, WINDOW_S, overlap=overlap_s)
            return epochs.get_data().astype(np.float32)

    windows = {}
    for person, _, eeg, fnirs, rate_hz, targets in trials_of(
        data, stages, by_file=True
    ):
        kept = windows.setdefault(person, ([], [], []))
        kept[0].append(cut(eeg, rate_hz, EEG_HZ, *EEG_BAND_HZ, "EEG"))
        high_hz = FNIRS_HIGH_HZ
        kept[1].append(cut(fnirs, FNIRS_FROM_HZ, FNIRS_HZ, None, high_hz, "fNIRS"))
        kept[2].append(targets)
        if len(kept[0]) == len(videos_of(data, person)):
            with stages.time("save"), h5py.File(f"{out}/{person}.h5", "w") as file:
                file["eeg"] = np.concatenate(kept[0])
                file["fnirs"] = np.concatenate(kept[1])
                file["targets"] = np.concatenate(kept[2], axis=1)
            del windows[person]
    return stages


def scipy_poly(data: str, out: str) -> Stages:
    """Run SciPy in float32: an FIR decimation, sosfiltfilt, one .npy file a signal."""
    return _scipy(data, out, fft=False)


def scipy_fft(data: str, out: str) -> Stages:
    """Run SciPy in float32 with resampling by FFT, which takes both ends for one."""
    return _scipy(data, out, fft=True)


def _scipy(data: str, out: str, *, fft: bool) -> Stages:
    """Run either SciPy route."""
    stages = Stages()
    with stages.time("import"):
        import numpy as np
        import scipy.io  # noqa: F401
        from scipy import signal as ss

    def clean(x_ct, rate_hz, to_hz, band_hz, kind, pad_s, name):
        with stages.time(f"{name} resample"):
            x_ct = np.ascontiguousarray(x_ct, np.float32)
            factor = Fraction(to_hz / rate_hz).limit_denominator(10_000)
            if fft and factor != 1:
                n_new = -(-x_ct.shape[1] * factor.numerator // factor.denominator)
                x_ct = ss.resample(x_ct, n_new, axis=1)
            elif factor != 1:
                taps = anti_alias(factor).astype(np.float32)
                x_ct = ss.resample_poly(
                    x_ct, *factor.as_integer_ratio(), axis=1, window=taps
                )
        with stages.time(f"{name} filter"):
            sections = ss.butter(ORDER, band_hz, kind, fs=to_hz, output="sos")
            n_pad = min(round(pad_s * to_hz), x_ct.shape[1] - 1)
            sections = sections.astype(np.float32)
            return ss.sosfiltfilt(sections, x_ct, axis=1, padlen=n_pad)

    for person, video, eeg, fnirs, rate_hz, targets in trials_of(data, stages):
        rest = (EEG_BAND_HZ, "bandpass", EEG_PAD_S, "EEG")
        eeg = clean(eeg, rate_hz, EEG_HZ, *rest)
        rest = (FNIRS_HIGH_HZ, "lowpass", FNIRS_PAD_S, "fNIRS")
        fnirs = clean(fnirs, FNIRS_FROM_HZ, FNIRS_HZ, *rest)
        with stages.time("save"):
            for name, array in (("eeg", eeg), ("fnirs", fnirs), ("targets", targets)):
                np.save(f"{out}/{person}-{video}-{name}.npy", array)
    return stages


def braindecode_windows(data: str, out: str) -> Stages:
    """Run braindecode's preprocessing into windows of EEG that stay in memory."""
    stages = Stages()
    with stages.time("import"):
        import scipy.io  # noqa: F401
        from braindecode.datasets import BaseConcatDataset, RawDataset
        from braindecode.preprocessing import (
            Preprocessor,
            create_fixed_length_windows,
            preprocess,
        )

        warm_up_mne()
    recordings = []
    for person, video, eeg, _, rate_hz, _ in trials_of(data, stages):
        with stages.time("to raw"):
            about = {"subject": person, "video": video}
            recordings.append(RawDataset(as_raw(eeg, rate_hz), about))
    dataset = BaseConcatDataset(recordings)
    with stages.time("preprocess"):
        steps = [
            Preprocessor("filter", l_freq=EEG_BAND_HZ[0], h_freq=EEG_BAND_HZ[1]),
            Preprocessor("resample", sfreq=EEG_HZ),
        ]
        preprocess(dataset, steps)
    with stages.time("windows"):
        windows = create_fixed_length_windows(
            dataset,
            window_size_samples=round(WINDOW_S * EEG_HZ),
            window_stride_samples=round(STEP_S * EEG_HZ),
            drop_last_window=True,
            preload=True,
        )
    with stages.time("read windows"):
        for row in range(len(windows)):
            windows[row]
    return stages


def warm_up_mne() -> None:
    """Silence MNE and make it import what it imports when first used."""
    import mne
    import numpy as np

    mne.set_log_level("ERROR")
    raw = as_raw(np.random.default_rng(0).normal(size=(2, 5000)), 1000.0)
    raw.filter(None, 45.0)
    raw.filter(None, 45.0, method="iir")
    raw.copy().resample(200.0)
    raw.resample(200.0, method="polyphase")
    mne.make_fixed_length_epochs(raw, 1.0).get_data()


def as_raw(signal, rate_hz: float):
    """Wrap an array for MNE."""
    import mne

    return mne.io.RawArray(signal, mne.create_info(len(signal), rate_hz, "eeg"))


def anti_alias(factor: Fraction):
    """Design the FIR of a rational resampling: flat to 0.8 of the Nyquist rate."""
    from scipy.signal import firwin, kaiserord

    up, down = factor.as_integer_ratio()
    nyquist = 1 / max(up, down)
    n_taps, beta = kaiserord(80.0, 0.2 * nyquist)
    return firwin(n_taps | 1, 0.9 * nyquist, window=("kaiser", beta))


def reference(data: str, person: str, video: str):
    """Return EEG, fNIRS and targets of one trial by SciPy in float64."""
    import numpy as np
    from scipy.signal import butter, resample_poly, sosfiltfilt

    eeg, fnirs, rate_hz, targets = read_trial(data, person, video)
    done = []
    for signal, from_hz, to_hz, band_hz, kind, pad_s in (
        (eeg, rate_hz, EEG_HZ, EEG_BAND_HZ, "bandpass", EEG_PAD_S),
        (fnirs, FNIRS_FROM_HZ, FNIRS_HZ, FNIRS_HIGH_HZ, "lowpass", FNIRS_PAD_S),
    ):
        x_ct = np.ascontiguousarray(signal, np.float64)
        factor = Fraction(to_hz / from_hz).limit_denominator(10_000)
        if factor != 1:
            # About 1 s is reflected on both ends, a whole number of output samples.
            turns = max(1, round(from_hz / factor.denominator))
            extra = turns * factor.denominator
            n_new = -(-x_ct.shape[1] * factor.numerator // factor.denominator)
            ends = ((0, 0), (extra, extra))
            x_ct = np.pad(x_ct, ends, mode="reflect", reflect_type="odd")
            up_down = factor.as_integer_ratio()
            x_ct = resample_poly(x_ct, *up_down, axis=1, window=anti_alias(factor))
            first = turns * factor.numerator
            x_ct = x_ct[:, first : first + n_new]
        sections = butter(ORDER, band_hz, kind, fs=to_hz, output="sos")
        n_pad = min(round(pad_s * to_hz), x_ct.shape[1] - 1)
        done.append(sosfiltfilt(sections, x_ct, axis=1, padlen=n_pad))
    return *done, targets.T
