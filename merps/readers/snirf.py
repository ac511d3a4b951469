"""SNIRF files, read by themselves: data, times and measurement list are enough."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import InputError, mismatch
from merps.readers.fields import (
    find_field,
    find_group,
    numbered_groups,
    read_numbers,
    read_texts,
    require_numbers,
)
from merps.readers.guarding import guarded
from merps.readers.measurements import read_measurements
from merps.readers.probe import read_probe, require_plausible
from merps.readers.streams import Stream, drop_repeated, no_signal
from merps.readers.timing import Grid, lay_grid, onto_grid
from merps.recording import Annotation, Recording

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "unknown": 1.0, "": 1.0}
#: A larger array of samples is not read.
_MAX_BYTES = 8 * 2**30
_UNITS = {"intensity": "a.u.", "optical density": "1", "concentration": "mol/L"}
#: What is read where one file has several: the least processed.
_ORDER = ("intensity", "optical density", "concentration")


def open_snirf(path: Path, *, length_unit: str | None = None) -> tuple[Stream, ...]:
    """Open a SNIRF file; samples are read when asked for.

    Data, times and measurement list are enough; positions, labels, stimuli and units
    may be absent. Continuous-wave intensity, optical density and concentrations are
    read; of a file with several of them, the least processed.

    Parameters
    ----------
    path : Path
        The file.
    length_unit : str, optional
        ``mm``, ``cm`` or ``m``: unit of the optode positions, instead of what the file
        says.

    Returns
    -------
    tuple of Stream
        One stream of fNIRS, of shape (kind, channel, time). Kinds are named by
        wavelength, such as ``760nm``, or ``HbO``, ``HbR``, ``HbT``.

    Raises
    ------
    DataError
        If the file is no such SNIRF, parts of it disagree, or the distances between
        sources and detectors cannot be those of a head in the unit that it states.
    """
    return _reading(path, lambda root: (_open(path, root, length_unit),))


def _reading(path: Path, look: Callable[[Any], Any]) -> Any:
    """Look into a file; whatever goes wrong inside becomes one message."""
    import h5py

    def open_and_look() -> Any:
        with h5py.File(path, "r", locking=False) as file:
            _require_own(file)
            return look(_group(path, file))

    return guarded(path, open_and_look, remedy="pass a whole SNIRF file")


def _require_own(file: Any) -> None:
    """Refuse links to other files, which are never followed."""
    import h5py

    def leaves(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    if name := file.visititems_links(leaves):
        raise InputError(
            f"{name} is a link to another file; export the recording again"
        )


def _group(path: Path, file: Any) -> Any:
    """Return the one group that holds the recording."""
    names = [name for name in file if re.fullmatch(r"nirs\d*", name)]
    if len(names) != 1:
        raise mismatch(
            path,
            expected="one recording, in a group nirs or nirs1",
            found=", ".join(names or sorted(file)[:5]) or "an empty file",
            remedy="save each recording in a file of its own",
        )
    return find_group(file, names[0])


def _open(path: Path, root: Any, length_unit: str | None) -> Stream:
    """Plan the reading of one recording."""
    notes: list[str] = []
    blocks = numbered_groups(root, "data")
    if not blocks:
        raise mismatch(
            path,
            expected="a group data1 with samples",
            found=", ".join(sorted(root)[:8]) or "an empty group",
            remedy="export the recording again",
        )
    if len(blocks) > 1:
        notes.append(f"only the first of its {len(blocks)} blocks of data is read")
    block = blocks[0]
    unit_s = _time_unit(path, root, notes)
    grid, is_turned = _lay(path, block, unit_s, notes)
    probe = read_probe(path, root, length_unit, notes)
    columns = read_measurements(path, block, probe, notes)
    shape = block["dataTimeSeries"].shape
    n_columns = 1 if len(shape) == 1 else shape[0 if is_turned else 1]
    if len(columns) != n_columns:
        raise mismatch(
            path,
            expected=f"{len(columns)} columns of data, one for each measurement",
            found=f"{n_columns}",
            remedy="export the recording again",
        )
    quantity = next(
        q for q in _ORDER if any(c is not None and c.quantity == q for c in columns)
    )
    chosen = [
        (k, c)
        for k, c in enumerate(columns)
        if c is not None and c.quantity == quantity
    ]
    if len(chosen) < len(columns):
        notes.append(
            f"{len(chosen)} columns of {quantity} are read, the other "
            f"{len(columns) - len(chosen)} are not"
        )
    kinds = sorted(
        {c.kind for _, c in chosen},
        key=lambda kind: (float(kind[:-2]) if kind.endswith("nm") else 0.0, kind),
    )
    pairs = list(dict.fromkeys(c.pair for _, c in chosen))
    rows = np.full((len(kinds), len(pairs)), -1)
    scales = np.ones((len(kinds), len(pairs)))
    for column, c in chosen:
        place = kinds.index(c.kind), pairs.index(c.pair)
        if rows[place] >= 0:
            raise mismatch(
                path,
                expected=f"{c.kind} of {probe.name(c.pair)} once",
                found="two columns of it",
                remedy="export the recording without copies",
            )
        rows[place], scales[place] = column, c.scale
    if (rows < 0).any():
        notes.append(f"{np.sum(rows < 0)} of {rows.size} rows are not in the file")
    optodes, distances_m = probe.geometry(pairs)
    if distances_m is not None and quantity != "concentration":
        require_plausible(path, distances_m, probe, length_unit)
    header = Recording(
        signal=no_signal(*rows.shape, grid.n_times),
        rate_hz=grid.rate_hz,
        start_s=grid.start_s,
        channels=tuple(map(probe.name, pairs)),
        quantity=(quantity,) * len(kinds),
        unit=(_UNITS[quantity],) * len(kinds),
        kinds=tuple(kinds),
        positions=None if optodes is None else optodes.mean(axis=1),
        annotations=_annotations(root, unit_s, notes),
        distances_m=distances_m,
        optodes=optodes,
    )
    load = partial(_load, path, header, grid, rows, scales, is_turned)
    return Stream("fnirs", header, load, (*notes, *grid.notes))


def _load(
    path: Path,
    header: Recording,
    grid: Grid,
    rows: np.ndarray,
    scales: np.ndarray,
    is_turned: bool,
) -> Recording:
    """Read the samples."""

    def look(root: Any) -> np.ndarray:
        data = find_field(numbered_groups(root, "data")[0], "dataTimeSeries")[()]
        if data.dtype.kind != "f":  # counts of a converter
            data = data.astype(np.float64)
        return data.T if is_turned else data.reshape(len(data), -1)

    x_ct = onto_grid(_reading(path, look), grid)
    signal = x_ct[rows] * scales[:, :, None]
    signal[rows < 0] = np.nan
    return header.with_signal(signal)


def _lay(path: Path, block: Any, unit_s: float, notes: list[str]) -> tuple[Grid, bool]:
    """Lay the time axis; tell whether the data are turned."""
    data, times = (
        require_numbers(find_field(block, name)) for name in ("dataTimeSeries", "time")
    )
    shape = data.shape
    if 8 * data.size > _MAX_BYTES or times.size > max(shape, default=0) + 2**20:
        raise mismatch(
            path,
            expected=f"samples of at most {_MAX_BYTES // 2**30} GiB",
            found=f"an array of shape {shape} and {times.size} times",
            remedy="split the recording",
        )
    if not 1 <= len(shape) <= 2 or 0 in shape:
        raise mismatch(
            path,
            expected="data of shape (time, channel)",
            found=f"shape {shape}",
            remedy="export the recording again",
        )
    times_s = np.ravel(times[()]).astype(np.float64) * unit_s
    n_times, is_turned = shape[0], False
    if len(times_s) == 2 and n_times != 2:  # the short form: start and interval
        times_s = times_s[0] + times_s[1] * np.arange(n_times)
    if len(times_s) != n_times:
        if len(shape) == 2 and len(times_s) == shape[1]:
            is_turned = True
            notes.append(f"data were transposed, they came as {shape}")
        else:
            raise mismatch(
                path,
                expected=f"{n_times} times, one for each row of data",
                found=f"{len(times_s)}, {abs(len(times_s) - n_times)} too "
                + ("many" if len(times_s) > n_times else "few"),
                remedy="export the recording again",
            )
    return lay_grid(times_s), is_turned


def _annotations(root: Any, unit_s: float, notes: list[str]) -> tuple[Annotation, ...]:
    """Return the stimuli, each once."""
    found, n_untimed = [], 0
    for group in numbered_groups(root, "stim"):
        if "data" not in group:
            continue
        rows = np.atleast_2d(read_numbers(group, "data"))
        if rows.ndim > 2:
            raise InputError(
                f"{group.name}/data: expected rows of onset, duration and value, found "
                f"shape {rows.shape}; export the recording again"
            )
        if rows.size == 0:
            continue
        if rows.shape[1] < 3 <= rows.shape[0]:
            rows = rows.T
            notes.append(f"{group.name} was transposed, a column is a stimulus")
        timed = np.isfinite(rows[:, :2]).all(axis=1)
        n_untimed += int(np.sum(~timed))
        label = (read_texts(group, "name") or [group.name.rsplit("/", 1)[-1]])[0]
        for row in rows[timed]:
            duration_s = float(row[1]) * unit_s if len(row) > 1 else 0.0
            found.append(Annotation(float(row[0]) * unit_s, duration_s, label))
    if n_untimed:
        notes.append(f"{n_untimed} stimuli without a time are left out")
    annotations, n_repeated = drop_repeated(found)
    if n_repeated:
        notes.append(f"{n_repeated} stimuli are in the file twice, and count once")
    return annotations


def _time_unit(path: Path, root: Any, notes: list[str]) -> float:
    """Return the unit of time in seconds."""
    tags = find_group(root, "metaDataTags")
    unit = (read_texts(tags, "TimeUnit") or ["unknown"])[0]
    if unit.lower() not in _SECONDS:
        raise mismatch(
            path,
            expected=f"TimeUnit {', '.join(name for name in _SECONDS if name)}",
            found=repr(unit[:40]),
            remedy="correct the file",
        )
    if unit.lower() in {"unknown", ""}:
        notes.append("the unit of time is not stated, seconds are assumed")
    return _SECONDS[unit.lower()]
