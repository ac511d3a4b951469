"""XDF files of the Lab Streaming Layer: several streams on one time axis."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import InputError, mismatch
from merps.predictions import name_some
from merps.readers.columns import Column, column_of, pairs_and_kinds
from merps.readers.guarding import guarded, quietly
from merps.readers.naming import clean_names, distinct_names, type_by_name
from merps.readers.streams import Modality, Stream, drop_repeated
from merps.readers.timing import Grid, lay_grid, onto_grid
from merps.readers.units import volts_in
from merps.readers.xdf_chunks import measure_whole_part
from merps.readers.xdf_streams import XdfStream
from merps.recording import Annotation, Recording

_TYPES = ("eeg", "eog", "ecg", "emg")
#: Streams of markers that never differ by more than this are copies of each other.
_SAME_S = 0.010
_REMEDY = "pass a whole file"


def open_xdf(
    path: Path,
    *,
    streams: Mapping[str, str] | None = None,
    columns: Sequence[Column] | None = None,
) -> tuple[Stream, ...]:
    """Read an XDF file; a file that was cut off, up to its last good chunk.

    Clocks are synchronized by pyxdf, also across resets. Time stamps count, and stated
    rates do not: the rate is that of the stamps, and what lies between stretches is
    NaN. Seconds count from the first sample of any regular stream.

    Parameters
    ----------
    path : Path
        The file.
    streams : mapping of str to str, optional
        Names of the streams to take, by modality; else the one with most channels.
    columns : sequence of Column, optional
        What the columns of the fNIRS stream are, where the file does not say it.

    Returns
    -------
    tuple of Stream
        At most one stream of EEG and one of fNIRS; markers are their annotations.

    Raises
    ------
    DataError
        If the file cannot be read, or has no samples of EEG or fNIRS.
    InputError
        If pyxdf is not installed.
    SpaceError
        If there is no memory for it.
    """
    notes: list[str] = []
    contents = _load(path, notes)
    chosen: dict[Modality, XdfStream] = {}
    for modality in ("eeg", "fnirs"):
        stream = _choose(path, contents, modality, (streams or {}).get(modality), notes)
        if stream is not None:
            chosen[modality] = stream
    if not chosen:
        raise mismatch(
            path,
            expected="samples in a stream of type EEG or NIRS",
            found=name_some(map(str, contents)) or "no streams",
            remedy="name the stream, as dataset.streams in the configuration",
        )
    wrap = partial(_wrap, path, contents, chosen, columns, notes)
    return guarded(path, wrap, remedy=_REMEDY)


def _wrap(
    path: Path,
    contents: Sequence[XdfStream],
    chosen: Mapping[Modality, XdfStream],
    columns: Sequence[Column] | None,
    notes: list[str],
) -> tuple[Stream, ...]:
    """Bring the streams that were chosen onto one time axis, with all markers."""
    grids = {m: lay_grid(s.times_s) for m, s in chosen.items()}
    if any(stream.is_synchronized for stream in contents):
        used = [*chosen.values(), *(s for s in contents if s.has_markers)]
        alone = [repr(s.name) for s in used if s.n_samples and not s.is_synchronized]
        if alone:
            notes.append(
                f"the clock of {name_some(alone)} was never compared with the others, "
                "and is taken for that of the recorder"
            )
    origin_s = min(grid.start_s for grid in grids.values())
    annotations = _annotations(contents, origin_s, notes)
    found = []
    for modality, stream in chosen.items():
        grid, own = grids[modality], [*notes, *grids[modality].notes]
        _note_rate(stream, grid, own)
        wrap = _eeg if modality == "eeg" else partial(_fnirs, columns=columns)
        recording = wrap(path, stream, grid, own)
        whole = replace(
            recording, start_s=grid.start_s - origin_s, annotations=annotations
        )
        found.append(Stream(modality, whole, partial(_same, whole), tuple(own)))
    return tuple(found)


def _same(recording: Recording) -> Recording:
    """Return what was read already: time stamps come with the samples."""
    return recording


def _load(path: Path, notes: list[str]) -> list[XdfStream]:
    """Read all streams, with time stamps on one clock."""
    try:
        import pyxdf
    except ImportError as error:
        raise InputError(
            f"{path}: reading XDF takes pyxdf; install it with: pip install "
            "'merps[xdf]'"
        ) from error
    part = guarded(path, partial(measure_whole_part, path), remedy=_REMEDY)
    if not part.is_xdf:
        raise mismatch(
            path,
            expected="XDF",
            found="a file that does not begin with XDF:",
            remedy="pass a file of LabRecorder",
        )
    source: Any = path
    if part.note is not None:
        notes.append(part.note)
        with path.open("rb") as file:
            source = io.BytesIO(file.read(part.n_bytes))

    def load() -> list[dict]:
        logger = logging.getLogger("pyxdf")
        former = logger.level
        logger.setLevel(logging.CRITICAL)  # it repeats what we tell
        try:
            return pyxdf.load_xdf(
                source, synchronize_clocks=True, dejitter_timestamps=False
            )[0]
        finally:
            logger.setLevel(former)

    return list(map(XdfStream, quietly(path, load, remedy=_REMEDY)))


def _choose(
    path: Path,
    contents: Sequence[XdfStream],
    modality: Modality,
    name: str | None,
    notes: list[str],
) -> XdfStream | None:
    """Choose the stream of a modality: the one named, or the one with most channels."""
    if name is not None:
        named = [s for s in contents if s.name == name and s.is_numeric]
        if not named:
            raise mismatch(
                path,
                expected=f"samples of numbers in a stream {name!r}",
                found=name_some(map(str, contents)) or "no streams",
                remedy="correct dataset.streams in the configuration",
            )
        return named[0]
    fitting = [s for s in contents if s.modality == modality and s.is_regular]
    if not fitting:
        return None
    widest = max(fitting, key=lambda s: s.n_channels)
    others = [repr(s.name) for s in fitting if s is not widest]
    if others:
        notes.append(f"{widest.name!r} is read as {modality}, {name_some(others)} not")
    return widest


def _eeg(path: Path, stream: XdfStream, grid: Grid, notes: list[str]) -> Recording:
    """Wrap a stream of EEG in volts."""
    x_ct = onto_grid(stream.samples, grid)
    rows = stream.channels
    names = [row.get("label", "") or f"ch{k + 1}" for k, row in enumerate(rows)]
    if len(rows) != len(x_ct):
        names = [f"ch{k + 1}" for k in range(len(x_ct))]
        rows = [{} for _ in names]
        notes.append("its EEG channels have no names")
    stated = [row.get("type", "").lower() or "eeg" for row in rows]
    types = [
        type_by_name(name, kind if kind in _TYPES else "eeg" if kind == "exg" else kind)
        for name, kind in zip(names, stated, strict=True)
    ]
    kept = [k for k, kind in enumerate(types) if kind in _TYPES]
    if not any(types[k] == "eeg" for k in kept):
        raise mismatch(
            path,
            expected="channels of EEG",
            found=name_some(sorted(set(types))) or "none",
            remedy="name another stream, as dataset.streams in the configuration",
        )
    units = [rows[k].get("unit", "") for k in kept]
    if not all(units):
        notes.append("the unit of its EEG is not stated, microvolts are assumed")
    scales = [_to_volts(path, unit) for unit in units]
    own = tuple(types[k] for k in kept)
    if len(set(names)) < len(names):
        notes.append("channels that share a name are told apart by numbers")
    cleaned = clean_names(distinct_names(names))
    return Recording(
        signal=x_ct[kept] * np.array(scales)[:, None],
        rate_hz=grid.rate_hz,
        start_s=0.0,
        channels=tuple(cleaned[k] for k in kept),
        quantity="voltage",
        unit="V",
        types=own if set(own) != {"eeg"} else (),
    )


def _fnirs(
    path: Path,
    stream: XdfStream,
    grid: Grid,
    notes: list[str],
    *,
    columns: Sequence[Column] | None,
) -> Recording:
    """Wrap a stream of fNIRS, by pair and wavelength where these are known."""
    x_ct = onto_grid(stream.samples, grid)
    if columns is None:
        rows = stream.channels
        columns = [_column(row) for row in rows] if len(rows) == len(x_ct) else []
    elif len(columns) > len(x_ct):
        raise mismatch(
            path,
            expected=f"{len(columns)} columns, as the table of channels lists",
            found=f"{len(x_ct)} in the stream {stream.name!r}",
            remedy="correct dataset.channels in the configuration",
        )
    pairs, kinds, places = pairs_and_kinds(columns)
    if not pairs:
        notes.append(
            "its fNIRS columns state no wavelengths: all are kept as intensity; "
            "describe them in a table, as dataset.channels in the configuration"
        )
        pairs, kinds = [f"ch{k + 1}" for k in range(len(x_ct))], ["intensity"]
        places = [(k, 0, k) for k in range(len(x_ct))]
    elif len(places) < len(x_ct):
        notes.append(f"{len(x_ct) - len(places)} of its columns are no fNIRS")
    signal = np.full((len(kinds), len(pairs), x_ct.shape[1]), np.nan)
    for column, kind, pair in places:
        signal[kind, pair] = x_ct[column]
    return Recording(
        signal=signal,
        rate_hz=grid.rate_hz,
        start_s=0.0,
        channels=tuple(pairs),
        quantity=("intensity",) * len(kinds),
        unit=("a.u.",) * len(kinds),
        kinds=tuple(kinds),
    )


def _column(row: Mapping[str, str]) -> Column:
    """Describe a column by the channel's facts in the stream."""
    source, detector = row.get("source", ""), row.get("detector", "")
    return column_of(
        row.get("label", ""),
        kind=row.get("type", ""),
        unit=row.get("unit", ""),
        wavelength=row.get("wavelength", row.get("wavelen", "")),
        pair=f"{source}_{detector}" if source and detector else "",
    )


def _to_volts(path: Path, unit: str) -> float:
    """Return the factor of a unit to volts; microvolts where none is stated."""
    scale = volts_in(unit) if unit.strip() else 1e-6
    if scale is None:
        raise mismatch(
            path,
            expected="EEG in volts, millivolts or microvolts",
            found=f"unit {unit[:40]!r}",
            remedy="name another stream, as dataset.streams in the configuration",
        )
    return scale


def _annotations(
    contents: Sequence[XdfStream], origin_s: float, notes: list[str]
) -> tuple[Annotation, ...]:
    """Return the markers of all streams; those of copies count once."""
    taken: list[tuple[list[str], np.ndarray]] = []
    found = []
    for stream in contents:
        every = stream.markers if stream.has_markers else []
        marks = [(time_s, label) for time_s, label in every if np.isfinite(time_s)]
        if len(marks) < len(every):
            n_lost = len(every) - len(marks)
            notes.append(f"{n_lost} markers of {stream.name!r} have no time")
        if not marks:
            continue
        labels = [label for _, label in marks]
        times_s = np.array([time_s for time_s, _ in marks])
        if any(
            labels == others and np.abs(times_s - stamps).max() <= _SAME_S
            for others, stamps in taken
        ):
            notes.append(
                f"{len(labels)} markers of {stream.name!r} repeat those of another "
                "stream, and count once"
            )
            continue
        taken.append((labels, times_s))
        found += [Annotation(time_s - origin_s, 0.0, label) for time_s, label in marks]
    return drop_repeated(found)[0]


def _note_rate(stream: XdfStream, grid: Grid, notes: list[str]) -> None:
    """Say so where time stamps contradict the stated rate."""
    nominal_hz = stream.nominal_hz
    if abs(grid.rate_hz - nominal_hz) > 1e-3 * nominal_hz:
        name = stream.name
        notes.append(
            f"{name!r} states {nominal_hz:.4g} Hz, but its time stamps "
            f"say {grid.rate_hz:.4g} Hz, which counts"
        )
