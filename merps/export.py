"""Windows as files: tensors by person, an index, and the terms of the data."""

import io
import logging
import math
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from merps.engine import Progress, Silence, run_tasks
from merps.errors import InputError
from merps.options import Config
from merps.shapes import Signal
from merps.spans import COPIES
from merps.store import Store, StoredPerson, remove_leftovers, require_space
from merps.store.files import (
    read_sealed,
    replace_file,
    sealed,
    sync_folder,
    temporary,
    writing,
)
from merps.store.images import Image
from merps.windows import Modality, WindowGrid, WindowIndex, index_windows

logger = logging.getLogger(__name__)

_FORMAT = 1
_CARD, _INDEX, _README, _IGNORE = "export.json", "index.csv", "README.txt", ".gitignore"
_ENDING = {"npy": ".npy", "hdf5": ".h5"}
_HOW = {"npy": 'numpy.load(path, mmap_mode="r")', "hdf5": 'h5py.File(path)["windows"]'}
# Small enough to stay in the cache from the gathering to the write.
_CHUNK_BYTES = 2**20
_REMEDY = "remove the folder and export again, or choose another one"


@dataclass(frozen=True, slots=True)
class Exported:
    """What a folder of exported windows holds.

    Parameters
    ----------
    files, windows, bytes : int
        Number of tensor files, of windows in them, and their size.
    skipped : int
        How many of the files were there already.
    seconds : float
        How long it took.
    """

    files: int
    windows: int
    bytes: int
    skipped: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps export --json`` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _File:
    """One file to be: whose windows, and where they lie."""

    name: str
    person: str
    modality: str
    key: str
    index: WindowIndex

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return (len(self.index), *self.index.format.shape)

    @property
    def n_bytes(self) -> int:
        """Size of the tensor, in bytes of float32."""
        return 4 * math.prod(self.shape)

    def facts(self, n_bytes: int) -> dict[str, Any]:
        """Return what the card says about the file of that size."""
        return {
            "person": self.person,
            "modality": self.modality,
            "key": self.key,
            "bytes": n_bytes,
            "windows": len(self.index),
            "shape": self.shape,
            "dtype": "float32",
            **asdict(self.index.format),
        }


def export_windows(
    store: Path | str,
    out: Path | str,
    *,
    file_format: str = "npy",
    modalities: Sequence[str] = get_args(Modality),
    config: Config | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Exported:
    """Write the windows of every labeled second of a store to files.

    For each person and modality there is one file, ``<person>-<modality>.npy`` or
    ``.h5``, with float32 of shape (window, channel, time), or (window, kind, channel,
    time); NaN marks missing samples. ``index.csv`` lists every window with its targets,
    ``export.json`` says what the numbers are, and ``README.txt`` under which terms. The
    folder is private to the user and ignored by git. A trial without the modality has
    no windows, and a person without any has no file.

    Windows overlap, so files are several times as large as the store; to train with
    merps or torch, `merps.WindowSet` reads the store itself.

    Parameters
    ----------
    store : Path
        Preprocessed people.
    out : Path
        Folder to write; absent, empty, or of an earlier export with the same options,
        whose finished files are then kept.
    file_format : str
        ``npy``, or ``hdf5`` with the same facts inside each file.
    modalities : sequence of str
        ``eeg``, ``fnirs`` or both.
    config : Config, optional
        Its sections ``windows`` and ``fnirs_windows`` count; the defaults if absent.
    jobs : int
        People at once.
    progress : Progress, optional
        Told of each person.

    Returns
    -------
    Exported
        Numbers of files, windows and bytes.

    Raises
    ------
    InputError
        If the folder holds other things or another export, an option is none, or there
        is not one window.
    DataError
        If the store is damaged, or channels differ between trials of a person.
    SpaceError
        If the files will not fit, or cannot be written; nothing is half written.
    """
    started = time.monotonic()
    config, progress = config or Config(), progress or Silence()
    _require_choice("file format", [file_format], _ENDING)
    _require_choice("modality", modalities, get_args(Modality))
    sections = {"eeg": config.windows, "fnirs": config.fnirs_windows}
    grids = {
        name: WindowGrid(step_s=1.0, **sections[name].model_dump())
        for name in sorted(set(modalities))
    }
    opened, out = Store.open(Path(store)), Path(out)
    card = {
        "format": _FORMAT,
        "source": opened.source,
        "role": opened.role,
        "terms": opened.terms,
        "preprocess": opened.config,
        "windows": {modality: asdict(grid) for modality, grid in grids.items()},
        "file_format": file_format,
    }
    former = _former_files(out, card)
    plans = {p: _plan(opened, p, grids, _ENDING[file_format]) for p in opened.people}
    files = [file for plan in plans.values() for file in plan]
    if not files:
        raise InputError(
            f"{opened.path}: not one window of {' or '.join(grids)} signals to export"
        )
    finished = {f.name: former[f.name] for f in files if _is_done(out, f, former)}
    n_skipped = len(finished)
    require_space(out, sum(f.n_bytes for f in files if f.name not in finished))
    _prepare(out, card, finished)

    def write(person: str) -> dict[str, Any]:
        todo = [file for file in plans[person] if file.name not in finished]
        if not todo:
            return {}
        with opened.person(person) as stored:
            return {file.name: _write(out, file, stored, card) for file in todo}

    progress.expect(len(plans))
    for outcome in run_tasks(write, tuple(plans), jobs=jobs, libraries=()):
        if outcome.error is not None:
            raise outcome.error
        finished |= outcome.value
        _replace(out / _CARD, sealed({**card, "files": finished}))
        progress.done(outcome.task)
    _replace(out / _INDEX, "".join(_index_lines(files)).encode())
    return Exported(
        files=len(files),
        windows=sum(len(file.index) for file in files),
        bytes=sum(facts["bytes"] for facts in finished.values()),
        skipped=n_skipped,
        seconds=time.monotonic() - started,
    )


def _require_choice(name: str, chosen: Sequence[str], known: Iterable[str]) -> None:
    """Refuse words that are no option."""
    for word in chosen or [""]:
        if word not in known:
            raise InputError(f"no {name} {word!r}; there are {', '.join(known)}")


def _former_files(out: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier export with the same options has finished."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a folder for the windows")
    if not (out / _CARD).exists():
        names = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
        strangers = [n for n in names - {_IGNORE} if not n.endswith(".tmp")]
        if strangers:
            raise InputError(
                f"{out} is not empty and no export (it holds {min(strangers)!r}); "
                "choose a new folder"
            )
        return {}
    former = read_sealed(out / _CARD, remedy=_REMEDY)
    for name, value in card.items():
        if former.get(name) != value:
            raise InputError(
                f"{out} holds windows exported with other options: {name} was "
                f"{former.get(name)!s:.300}, and is {value!s:.300} now; choose "
                "another folder"
            )
    return former["files"]


def _plan(
    store: Store, person: str, grids: Mapping[str, WindowGrid], ending: str
) -> list[_File]:
    """List the files of one person."""
    with store.person(person) as stored:
        key = stored.sidecar["key"]
        indexes = {
            modality: index_windows(stored.trials(), grid, modality=modality)
            for modality, grid in grids.items()
        }
    return [
        _File(f"{person}-{modality}{ending}", person, modality, key, index)
        for modality, index in indexes.items()
        if index is not None
    ]


def _is_done(out: Path, file: _File, former: Mapping[str, Any]) -> bool:
    """Tell whether an earlier export has written the same file."""
    facts = former.get(file.name, {})
    path = out / file.name
    return (
        facts.get("key") == file.key
        and path.is_file()
        and path.stat().st_size == facts["bytes"]
    )


def _prepare(out: Path, card: Mapping[str, Any], finished: Mapping[str, Any]) -> None:
    """Make the folder; what it is stands in it before any data do."""
    with writing(out, needed_bytes=0):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(out)
        (out / _INDEX).unlink(missing_ok=True)  # it comes last: files are complete
        if not (out / _IGNORE).exists():
            replace_file(out / _IGNORE, b"*\n")
    _replace(out / _CARD, sealed({**card, "files": finished}))
    _replace(out / _README, _readme(card).encode())


def _write(
    out: Path, file: _File, stored: StoredPerson, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one file, whole or not at all; return what the card says about it."""
    signals = {
        trial.stimulus: recording.signal
        for trial in stored.trials()
        if (recording := getattr(trial, file.modality)) is not None
    }
    blocks = _Blocks(file.index, signals, card["preprocess"].get("phase", "zero"))
    is_npy = card["file_format"] == "npy"
    pieces = _npy_pieces(file, blocks) if is_npy else _hdf5_pieces(file, blocks, card)
    path = out / file.name
    with writing(path, needed_bytes=file.n_bytes), temporary(path, pieces) as ready:
        n_bytes = ready.stat().st_size
        os.replace(ready, path)
        sync_folder(out)
    logger.info("%s: %d windows", path, len(file.index))
    return file.facts(n_bytes)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Windows in blocks that stay in the cache, gathered anew into one buffer."""

    index: WindowIndex
    signals: Mapping[str, Signal]
    phase: str

    def __iter__(self) -> Iterator[np.ndarray]:
        index, shape, copy = self.index, self.index.format.shape, COPIES[self.phase]
        n_at_once = max(1, _CHUNK_BYTES // (4 * math.prod(shape)))
        # Whole pages: copies from memory just off the pages of a file are slow.
        buffer = mmap.mmap(-1, 4 * n_at_once * math.prod(shape))
        windows = np.frombuffer(buffer, np.float32).reshape(n_at_once, *shape)
        for first in range(0, len(index), n_at_once):
            block = windows[: len(index) - first]
            for row, window in enumerate(block, start=first):
                copy(self.signals[index.stimuli[row]], int(index.starts[row]), window)
            yield block


def _npy_pieces(file: _File, blocks: Iterable[np.ndarray]) -> Iterator[Any]:
    """Yield the bytes of a file that numpy.load reads."""
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": file.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    yield header.getvalue()
    yield from blocks


def _hdf5_pieces(
    file: _File, blocks: Iterable[np.ndarray], card: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the bytes of a file with the windows, their index and all facts."""
    import h5py

    text, index = h5py.string_dtype(), file.index
    with Image() as image:
        image.file.attrs.update({n: card[n] for n in ("source", "role", "terms")})
        image.file.attrs.update(person=file.person, modality=file.modality)
        for name, values in (("seconds", index.seconds), ("targets", index.targets)):
            image.file.create_dataset(name, data=values, track_times=False)
        image.file.create_dataset(
            "stimuli", data=index.stimuli.tolist(), dtype=text, track_times=False
        )
        windows = image.reserve(image.file, "windows", blocks, file.shape, np.float32)
        facts = {**asdict(index.format), **card["windows"][file.modality]}
        for name, value in facts.items():
            if isinstance(value, tuple):
                windows.attrs.create(name, list(value), shape=(len(value),), dtype=text)
            else:
                windows.attrs[name] = value
    return image.pieces()


def _replace(path: Path, data: bytes) -> None:
    """Put a small file in its place, or raise a `SpaceError`."""
    with writing(path, needed_bytes=len(data)):
        replace_file(path, data)


def _index_lines(files: Sequence[_File]) -> Iterator[str]:
    """Yield the lines of the table of all windows."""
    yield "file,row,person,stimulus,second,valence,arousal\n"
    for file in files:
        index = file.index
        columns = (index.stimuli, index.seconds, index.targets)
        for row, (stimulus, second, targets) in enumerate(zip(*columns, strict=True)):
            rated = ",".join("" if np.isnan(v) else f"{v:.9g}" for v in targets)
            yield f"{file.name},{row},{file.person},{stimulus},{second},{rated}\n"


def _readme(card: Mapping[str, Any]) -> str:
    """Say what the folder is and under which terms it may be used."""
    file_format = card["file_format"]
    return f"""\
Windows of {" and ".join(card["windows"])} signals, written by merps export.

Source of the data:  {card["source"]}
May be used for:     {card["role"]}
Terms:               {card["terms"]}

Everything here derives from those data, and their terms hold for it. Pass it on only
where they allow that, and together with this file.

*{_ENDING[file_format]}
    One file a person and modality: {_HOW[file_format]}
    float32 (window, channel, time) of EEG, (window, kind, channel, time) of fNIRS;
    NaN is a missing sample.
{_INDEX}
    One line a window: file, row in it, person, stimulus, labeled second after onset,
    and the valence and arousal of that second, empty where there is no label.
{_CARD}
    Channels, kinds, units, sampling rates, spans of the windows, and how the signals
    were preprocessed.
"""
