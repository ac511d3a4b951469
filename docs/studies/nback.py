"""Show how the order of tasks passes for brain activity, on fNIRS of an n-back task.

    python docs/studies/nback.py FOLDER

FOLDER holds windows of the Tufts fNIRS2MW data set. The label is n of the n-back, 0 to
3; tasks came in the same order for everyone, so that who knows the time knows it.
"""

import gzip
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import study
from sklearn.neighbors import KNeighborsRegressor

from merps.batches import WindowSet
from merps.errors import DataError, mismatch
from merps.evaluation.protocol import evaluate
from merps.models.fusion import ResidualFusion
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.pipeline import extract_samples
from merps.recording import Recording, Trial
from merps.samples import Block, Samples
from merps.windows import WindowGrid

#: Level of the task in each block, the same in everyone.
ORDER = (2, 3, 0, 1, 3, 0, 1, 2)
SUBJECTS = ("01", "05", "13", "22", "27", "35", "48", "61")
_SIGNALS = tuple(
    f"{pair}_{part}_{kind}"
    for pair in ("AB", "CD")
    for kind in ("O", "DO")
    for part in ("I", "PHI")
)
_COLUMNS = (*_SIGNALS, "label", "chunk")
_CHANNELS = ("AB_I", "AB_PHI", "CD_I", "CD_PHI")
_LENGTH, _STRIDE = 10, 3  # samples in a window, and between windows
_RATE_HZ = 5.2
_REST_S = 5  # start of a block, which the rest of it is compared with
_APART_S = 100  # between the starts of blocks of one half; more than any average spans
_WINDOW_S = 10.0  # of covariance matrices
_RISE_S = 6.0  # time constant of a planted response
#: One level of the task on the scale 1..255 of merps, and where level 0 lies.
LEVEL, LOWEST = 64.0, 32.0
_MODELS = {
    "signals": SignalModel,
    "riemannian": partial(RiemannianRegressor, inputs=("fnirs",), reference="training"),
    "fusion": ResidualFusion,
}
_NAMES = {
    "constant": "constant",
    "video": "block position",
    "video_time": "position and second",
    "time": "time since start",
    "signals": "signals",
    "riemannian": "signals, riemannian",
    "fusion": "position + signals",
}
_BLIND = ("video", "video_time", "time")  # to signals, and so to what is planted
_FILES = "files sub_NN.csv.gz of fNIRS2MW (windows of 10 samples, stride 3)"


class Clock:
    """Predict the label that others had at the same time since the start.

    Parameters
    ----------
    block_s : int
        Seconds in a block.
    """

    def __init__(self, block_s: int) -> None:
        self._block_s = block_s

    def fit(self, samples: Samples) -> "Clock":
        """Learn which label each second has."""
        self._nearest = KNeighborsRegressor(n_neighbors=1)
        self._nearest.fit(self._time(samples), samples.require_targets())
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        """Predict each row from its time alone."""
        return self._nearest.predict(self._time(samples))

    def _time(self, samples: Samples) -> np.ndarray:
        """Return seconds since the start; pauses between blocks are not known."""
        return (self._block_s * block_numbers(samples) + samples.seconds)[:, None]


def read_blocks(file: Path) -> list[np.ndarray]:
    """Return the time series, (time, signal), of each block of one subject."""

    def wrong(expected: str, found: str) -> DataError:
        remedy = f"pass a folder with the {_FILES}"
        return mismatch(file, expected=expected, found=found, remedy=remedy)

    if not file.is_file():
        raise wrong(f"one of the {_FILES}", "no such file")
    try:
        with gzip.open(file, "rt") as text:
            header = tuple(text.readline().strip().split(","))
            if set(header) != set(_COLUMNS):
                raise wrong(f"columns {', '.join(_COLUMNS)}", ", ".join(header))
            values = np.loadtxt(text, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise wrong("a gzipped table of numbers", str(error)) from error
    values = values[:, [header.index(name) for name in _COLUMNS]]
    if len(values) == 0 or len(values) % _LENGTH:
        raise wrong(f"windows of {_LENGTH} rows", f"{len(values)} rows")
    windows = values.reshape(-1, _LENGTH, len(_COLUMNS))
    signal, label, chunk = windows[..., :-2], windows[..., -2], windows[..., -1]
    if np.ptp(label, axis=1).any() or np.ptp(chunk, axis=1).any():
        raise wrong("one label and one chunk a window", "windows with several")
    apart = (signal[1:, :-_STRIDE] != signal[:-1, _STRIDE:]).any(axis=(1, 2))
    heads = np.flatnonzero(np.r_[True, apart])
    blocks = []
    for own in np.split(signal, heads[1:]):
        beginnings = own[:, :_STRIDE].reshape(-1, len(_SIGNALS))
        blocks.append(np.concatenate([beginnings, own[-1, _STRIDE:]]))
    levels = tuple(label[heads, 0].tolist())
    if levels != ORDER:
        raise wrong(f"blocks of the levels {ORDER}", f"{levels}")
    return blocks


def trials(person: str, blocks: Sequence[np.ndarray]) -> list[Trial]:
    """Make each block a trial, its first seconds the rest before it."""
    made = []
    for number, (level, x_tc) in enumerate(zip(ORDER, blocks, strict=True), start=1):
        n_seconds = int(len(x_tc) / _RATE_HZ) - _REST_S
        fnirs = Recording(
            x_tc.T.reshape(2, 2, 2, -1).transpose(1, 0, 2, 3).reshape(2, 4, -1),
            rate_hz=_RATE_HZ,
            start_s=-_REST_S,
            channels=_CHANNELS,
            quantity=("concentration", "concentration"),
            unit=("a.u.", "a.u."),
            kinds=("HbO", "HbR"),
        )
        targets = np.full((n_seconds, 2), LOWEST + LEVEL * level)
        made.append(Trial(person, f"B{number}", fnirs=fnirs, targets=targets))
    return made


def respond(blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Let HbO rise with the level, by one standard deviation at the highest."""
    is_hbo_c = np.array([name.endswith("_O") for name in _SIGNALS])
    size_c = is_hbo_c * np.concatenate(blocks).std(axis=0) / max(ORDER)
    made = []
    for level, x_tc in zip(ORDER, blocks, strict=True):
        course_t = 1 - np.exp(-np.arange(len(x_tc)) / _RATE_HZ / _RISE_S)
        made.append(x_tc + level * course_t[:, None] * size_c)
    return made


def measure(
    folder: Path, blocks: Mapping[str, Sequence[np.ndarray]], *, jobs: int
) -> Samples:
    """Return features of every second, relative to the start of its block, and windows.

    The windows lie in a store in `folder`, which has to stay.
    """
    store = study.keep(
        folder,
        (trials(name, own) for name, own in blocks.items()),
        source="fnirs2mw",
        terms="CC BY 4.0",
    )
    samples = extract_samples(store, jobs=jobs)
    grid = WindowGrid(window_s=_WINDOW_S, step_s=1.0, lag_s=0.0, lookahead_s=0.0)
    windows = WindowSet(store, grid, modality="fnirs")
    block = Block(windows, np.arange(len(windows)))
    return replace(samples, blocks={"fnirs_windows": block})


def run(
    folder: Path, *, subjects: Sequence[str] = SUBJECTS, jobs: int = 2
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table: as recorded, and with a planted response."""
    blocks = {f"S{s}": read_blocks(folder / f"sub_{s}.csv.gz") for s in subjects}
    planted = {name: respond(own) for name, own in blocks.items()}
    # Folds of blocks are dealt so that few lack a level, but all lack some of one.
    levels = {f"B{k}": f"{level}-back" for k, level in enumerate(ORDER, start=1)}
    options = {"seed": study.SEED, "jobs": jobs}
    seeing = {name: shown for name, shown in _NAMES.items() if name not in _BLIND}
    with tempfile.TemporaryDirectory() as scratch:
        for data, own, names in (
            ("recorded", blocks, _NAMES),
            ("planted", planted, seeing),
        ):
            samples = measure(Path(scratch) / data, own, jobs=jobs)
            timed = {"time": partial(Clock, 1 + int(samples.seconds.max())), **_MODELS}
            protocols = ("people", "both")
            results = evaluate(samples, timed, protocols, emotions=levels, **options)
            (halves,) = evaluate(halved(samples), _MODELS, ("both",), **options)
            results.append(replace(halves, protocol="halves"))
            yield from study.rows(data, results, samples, names=names, scale=LEVEL)


def halved(samples: Samples) -> Samples:
    """Hold out half a session at a time instead of blocks.

    Both halves have every level once, so that training on one of them tells nothing
    of how often levels come in the other. Blocks are kept apart in time.
    """
    number = block_numbers(samples)
    half = np.where(number <= len(ORDER) // 2, "first", "second")
    return replace(samples, stimuli=half, seconds=samples.seconds + _APART_S * number)


def block_numbers(samples: Samples) -> np.ndarray:
    """Return which block of the session each row belongs to, from 1 on."""
    return np.char.lstrip(samples.stimuli, "B").astype(int)


if __name__ == "__main__":
    study.main(__doc__, run, f"folder with the {_FILES}")
