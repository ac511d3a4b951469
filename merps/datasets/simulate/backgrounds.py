"""Real recordings as the background of simulated signals."""

import glob
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from merps.errors import DataError, InputError, mismatch
from merps.preprocessing.filters import resample
from merps.readers.neuro import SUFFIXES, read_eeg, read_hemoglobin
from merps.recording import Recording

logger = logging.getLogger(__name__)


class RecordedBackground:
    """Stretches of real recordings, cut at random and put in the layout of the data.

    A stretch longer than its recording runs back and forth over it, so that it never
    jumps. Where a recording has fewer channels than needed, its channels come again,
    shifted in time.

    Parameters
    ----------
    recordings : mapping of str to Recording
        Where stretches come from, by file.
    channels : sequence of str
        Channels of the result; same names are matched, the others go in order.
    scale : float
        Factor from the recordings' unit to that of the result.

    Attributes
    ----------
    files : tuple of str
        Names of the files, without folders.
    """

    def __init__(
        self,
        recordings: Mapping[Path, Recording],
        channels: Sequence[str],
        scale: float,
    ) -> None:
        self.files = tuple(path.name for path in recordings)
        self._recordings = list(recordings.values())
        self._scale = scale
        self._sources = [_match(r.channels, channels) for r in self._recordings]
        self._rated: dict[tuple[int, float], np.ndarray] = {}

    def draw(
        self, rng: np.random.Generator, n_times: int, rate_hz: float
    ) -> Float32[np.ndarray, "*kind channel time"]:
        """Return a random stretch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Chooses recording and start.
        n_times : int
            Number of samples.
        rate_hz : float
            Their rate in hertz.

        Returns
        -------
        ndarray of float32, shape (*kind, channel, time)
            Background without offset.
        """
        number = int(rng.integers(len(self._recordings)))
        whole = self._at_rate(number, rate_hz)
        length = whole.shape[-1]
        start = int(rng.integers(2 * length))
        rows, turns = self._sources[number]
        x_ct = np.empty((*whole.shape[:-2], len(rows), n_times), np.float32)
        for turn in np.unique(turns):
            shift = int(turn) * length // (turns.max() + 1)
            steps = (start + shift + np.arange(n_times)) % (2 * length)
            back_and_forth = np.where(steps < length, steps, 2 * length - 1 - steps)
            same = np.flatnonzero(turns == turn)
            x_ct[..., same, :] = whole[..., rows[same], :][..., back_and_forth]
        return x_ct

    def _at_rate(
        self, number: int, rate_hz: float
    ) -> Float32[np.ndarray, "*kind channel time"]:
        """Return one recording at another rate, without offset."""
        if (number, rate_hz) not in self._rated:
            recording = self._recordings[number]
            # A ratio of small numbers: time stretched by 0.1 % harms no background.
            ratio = Fraction(rate_hz / recording.rate_hz).limit_denominator(64)
            signal = recording.signal - recording.signal.mean(axis=-1, keepdims=True)
            signal = resample(
                signal,
                rate_hz=recording.rate_hz,
                to_hz=recording.rate_hz * float(ratio),
                keep_hz=None,
            )
            self._rated[number, rate_hz] = (self._scale * signal).astype(np.float32)
        return self._rated[number, rate_hz]


def eeg_background(
    paths: Sequence[Path | str], channels: Sequence[str]
) -> RecordedBackground:
    """Read recordings of EEG to serve as background, in microvolts.

    Parameters
    ----------
    paths : sequence of path
        Files, folders and patterns.
    channels : sequence of str
        Channels of the result.

    Returns
    -------
    RecordedBackground
        Draws of shape (channel, time).

    Raises
    ------
    InputError
        If none of the files can be used.
    """
    return RecordedBackground(_read_all(paths, read_eeg), channels, 1e6)


def fnirs_background(
    paths: Sequence[Path | str], channels: Sequence[str]
) -> RecordedBackground:
    """Read recordings of fNIRS to serve as background, in micromol per liter.

    Parameters
    ----------
    paths : sequence of path
        Files, folders and patterns.
    channels : sequence of str
        Channels of the result.

    Returns
    -------
    RecordedBackground
        Draws of HbO and HbR, shape (2, channel, time).

    Raises
    ------
    InputError
        If none of the files can be used.
    """
    return RecordedBackground(_read_all(paths, read_hemoglobin), channels, 1e6)


def _match(
    available: Sequence[str], wanted: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of the recording for each wanted channel, and its number of uses."""
    by_name = {name.upper(): row for row, name in enumerate(available)}
    named = [by_name.get(name.upper()) for name in wanted]
    spare = [row for row in range(len(available)) if row not in set(named)]
    spare += list(range(len(available))) * (1 + len(wanted) // len(available))
    queue = iter(spare)
    rows = [next(queue) if row is None else row for row in named]
    turns = [rows[:k].count(row) for k, row in enumerate(rows)]
    return np.array(rows), np.array(turns)


def _read_all(
    paths: Sequence[Path | str], read: Callable[[Path], Recording]
) -> dict[Path, Recording]:
    """Read every file that can be used, and name those that cannot."""
    files = list(_expand(paths))
    recordings = {}
    for file in files:
        try:
            recording = read(file)
            if not np.isfinite(recording.signal).all():
                raise mismatch(
                    file,
                    expected="a signal without gaps",
                    found="NaN or infinite samples",
                    remedy="cut or mend the recording first",
                )
            recordings[file] = recording
        except DataError as error:
            logger.warning("left out as background: %s", error)
    if not recordings:
        raise InputError(
            f"no background recording could be read from {', '.join(map(str, paths))} "
            f"({len(files)} files tried); pass files that MNE reads, such as .edf or "
            ".snirf"
        )
    return recordings


def _expand(paths: Sequence[Path | str]) -> Iterable[Path]:
    """Yield the files that files, folders and patterns stand for, in sorted order."""
    for path in map(Path, paths):
        if path.is_dir():
            files = (f for f in path.rglob("*") if f.name.lower().endswith(SUFFIXES))
            yield from sorted(files)
        elif path.exists():
            yield path
        else:
            found = sorted(map(Path, glob.glob(str(path), recursive=True)))
            if not found:
                raise InputError(f"{path}: no such file, folder or pattern")
            yield from found
