"""SNIRF files, read by themselves: data, times and measurement list are enough."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import DataError, InputError, SpaceError, mismatch
from merps.readers.probe import Probe, read_probe, require_plausible
from merps.readers.streams import Stream, drop_repeated, no_signal
from merps.readers.timing import Grid, lay_grid, onto_grid
from merps.recording import Annotation, Recording

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "unknown": 1.0, "": 1.0}
_AMPLITUDE, _PROCESSED = 1, 99999
#: Processed data by label: kind, quantity.
_BLOOD = {"hbo": "HbO", "hbr": "HbR", "hbt": "HbT"}
_MOLAR = {
    **{name: 1.0 for name in ("m", "mol/l", "molar", "mol")},
    **{name: 1e-3 for name in ("mm", "mmol/l", "mmol")},
    **{name: 1e-6 for name in ("um", "umol/l", "umol", "µm", "µmol/l", "micromolar")},
    **{name: 1e-9 for name in ("nm", "nmol/l", "nmol")},
}
#: A larger array of samples is not read.
_MAX_BYTES = 8 * 2**30
_UNITS = {"intensity": "a.u.", "optical density": "1", "concentration": "mol/L"}
#: What is read where one file has several: the least processed.
_ORDER = ("intensity", "optical density", "concentration")


@dataclass(frozen=True)
class _Column:
    """One column of the data: which pair, what of it, and the factor to our unit."""

    pair: tuple[int, int]
    kind: str
    quantity: str
    scale: float


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

    try:
        with h5py.File(path, "r", locking=False) as file:
            return look(_group(path, file))
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise DataError(f"{path}: {error}") from error
        raise DataError(
            f"{path}: cannot be read as a recording ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); pass a whole SNIRF file"
        ) from error
    except MemoryError as error:
        raise SpaceError(f"{path}: no memory for its samples") from error


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
    return file[names[0]]


def _open(path: Path, root: Any, length_unit: str | None) -> Stream:
    """Plan the reading of one recording."""
    notes: list[str] = []
    blocks = _numbered(root, "data")
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
    columns = _columns(path, block, probe, notes)
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
        data = _numbered(root, "data")[0]["dataTimeSeries"][()]
        return data.T if is_turned else data.reshape(len(data), -1)

    x_ct = onto_grid(_reading(path, look), grid)
    signal = x_ct[rows] * scales[:, :, None]
    signal[rows < 0] = np.nan
    return header.with_signal(signal)


def _lay(path: Path, block: Any, unit_s: float, notes: list[str]) -> tuple[Grid, bool]:
    """Lay the time axis; tell whether the data are turned."""
    shape = block["dataTimeSeries"].shape
    n_bytes = 8 * block["dataTimeSeries"].size
    if n_bytes > _MAX_BYTES or block["time"].size > max(shape, default=0) + 2**20:
        raise mismatch(
            path,
            expected=f"samples of at most {_MAX_BYTES // 2**30} GiB",
            found=f"an array of shape {shape} and {block['time'].size} times",
            remedy="split the recording",
        )
    if not 1 <= len(shape) <= 2 or 0 in shape:
        raise mismatch(
            path,
            expected="data of shape (time, channel)",
            found=f"shape {shape}",
            remedy="export the recording again",
        )
    times_s = np.ravel(block["time"][()]).astype(np.float64) * unit_s
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


def _columns(
    path: Path, block: Any, probe: Probe, notes: list[str]
) -> list[_Column | None]:
    """Tell what each column holds; None for kinds of data that are not read."""
    found: list[_Column | None] = []
    others: set[str] = set()
    for facts in _measurements(block):
        pair = (int(facts["sourceIndex"]), int(facts["detectorIndex"]))
        code, label = int(facts["dataType"]), str(facts.get("dataTypeLabel", ""))
        number = int(facts.get("wavelengthIndex", 0))
        if code == _AMPLITUDE:
            found.append(_Column(pair, probe.kind(path, number), "intensity", 1.0))
        elif code == _PROCESSED and label.lower() == "dod":
            kind = probe.kind(path, number)
            found.append(_Column(pair, kind, "optical density", 1.0))
        elif code == _PROCESSED and label.lower() in _BLOOD:
            unit = str(facts.get("dataUnit", "")).strip()
            if not unit:
                _note_once(notes, "concentrations state no unit, mol/L is assumed")
            elif unit.lower() not in _MOLAR:
                raise mismatch(
                    path,
                    expected="concentrations in mol/L or parts of it",
                    found=f"dataUnit {unit[:40]!r}",
                    remedy="export them in mol/L",
                )
            scale = 1.0 if not unit else _molar(unit)
            found.append(_Column(pair, _BLOOD[label.lower()], "concentration", scale))
        else:
            others.add(f"type {code}" + (f" {label[:20]!r}" if label else ""))
            found.append(None)
    if not any(found):
        raise mismatch(
            path,
            expected="continuous-wave intensity (type 1), or processed dOD, HbO, HbR",
            found=", ".join(sorted(others)) or "no measurement list",
            remedy="export one of these",
        )
    return found


def _molar(unit: str) -> float:
    """Return the factor to mol/L; a capital M is molar, a small one a prefix."""
    return 1.0 if unit == "M" else _MOLAR[unit.lower()]


def _measurements(block: Any) -> list[Mapping[str, Any]]:
    """Return the measurement list, in either of its two forms."""
    if "measurementLists" in block:
        table = block["measurementLists"]
        columns = {name: _values(table[name]) for name in table}
        n_rows = len(columns["sourceIndex"])
        return [
            {name: values[row] for name, values in columns.items() if len(values) > row}
            for row in range(n_rows)
        ]
    return [
        {name: value[0] for name in item if len(value := _values(item[name]))}
        for item in _numbered(block, "measurementList")
    ]


def _annotations(root: Any, unit_s: float, notes: list[str]) -> tuple[Annotation, ...]:
    """Return the stimuli, each once."""
    found = []
    for group in _numbered(root, "stim"):
        if "data" not in group:
            continue
        rows = np.atleast_2d(np.asarray(group["data"][()], dtype=np.float64))
        if rows.size == 0:
            continue
        if rows.shape[1] < 3 <= rows.shape[0]:
            rows = rows.T
        names = _values(group["name"]) if "name" in group else []
        label = str(names[0]) if len(names) else group.name.rsplit("/", 1)[-1]
        for row in rows:
            duration_s = float(row[1]) * unit_s if len(row) > 1 else 0.0
            found.append(Annotation(float(row[0]) * unit_s, duration_s, label))
    annotations, n_repeated = drop_repeated(found)
    if n_repeated:
        notes.append(f"{n_repeated} stimuli are in the file twice, and count once")
    return annotations


def _time_unit(path: Path, root: Any, notes: list[str]) -> float:
    """Return the unit of time in seconds."""
    tags = root.get("metaDataTags", {})
    unit = str(_values(tags["TimeUnit"])[0]) if "TimeUnit" in tags else "unknown"
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


def _numbered(group: Any, stem: str) -> list[Any]:
    """Return the groups ``stem1``, ``stem2`` ... in the order of their numbers."""
    names = [name for name in group if re.fullmatch(rf"{stem}\d*", name)]
    names.sort(key=lambda name: (int(name[len(stem) :] or 0), name))
    return [group[name] for name in names]


def _values(dataset: Any) -> Sequence[Any]:
    """Return the entries of a dataset as plain text or numbers."""
    flat = np.ravel(dataset[()])
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in flat]


def _note_once(notes: list[str], text: str) -> None:
    """Add a note that is not there yet."""
    if text not in notes:
        notes.append(text)
