"""The measurement list of a SNIRF recording: what each column of its data is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merps.errors import InputError, mismatch
from merps.readers.fields import find_group, numbered_groups, read_entries
from merps.readers.probe import Probe
from merps.readers.units import plain_unit

_AMPLITUDE, _PROCESSED = 1, 99999
#: Processed data by label: kind, quantity.
_BLOOD = {"hbo": "HbO", "hbr": "HbR", "hbt": "HbT"}
_MOLAR = {
    **{name: 1.0 for name in ("m", "mol/l", "molar", "mol")},
    **{name: 1e-3 for name in ("mm", "mmol/l", "mmol")},
    **{name: 1e-6 for name in ("um", "umol/l", "umol", "micromolar")},
    **{name: 1e-9 for name in ("nm", "nmol/l", "nmol")},
}
#: What is read of a measurement.
_FACTS = (
    *("sourceIndex", "detectorIndex", "wavelengthIndex"),
    *("dataType", "dataTypeLabel", "dataUnit"),
)


@dataclass(frozen=True)
class Measurement:
    """One column of the data.

    Parameters
    ----------
    pair : tuple of (int, int)
        Numbers of source and detector, from 1 on.
    kind : str
        What of it, such as ``760nm`` or ``HbO``.
    quantity : str
        As in a `Recording`.
    scale : float
        Factor to the unit of that quantity.
    """

    pair: tuple[int, int]
    kind: str
    quantity: str
    scale: float


def read_measurements(
    path: Path, block: Any, probe: Probe, notes: list[str]
) -> list[Measurement | None]:
    """Tell what each column of the data holds.

    Parameters
    ----------
    path : Path
        The file, for messages.
    block : h5py.Group
        The data with their measurement list, in either of its two forms.
    probe : Probe
        Knows the wavelengths.
    notes : list of str
        Gets what was assumed.

    Returns
    -------
    list of Measurement or None
        In the order of the columns; None for kinds of data that are not read.

    Raises
    ------
    DataError
        If there is nothing that can be read, or in a unit that is none.
    InputError
        If a measurement lacks what it must state.
    """
    found: list[Measurement | None] = []
    others: set[str] = set()
    for facts in _measurements(block):
        pair = (_whole(facts, "sourceIndex"), _whole(facts, "detectorIndex"))
        if min(pair) < 1:  # positions would be those of others
            raise InputError(
                f"measurement list: expected sources and detectors from 1 on, found "
                f"{pair[0]} and {pair[1]}; export the recording again"
            )
        code, label = _whole(facts, "dataType"), _text(facts, "dataTypeLabel")
        if code == _AMPLITUDE:
            kind = probe.kind(path, _whole(facts, "wavelengthIndex"))
            found.append(Measurement(pair, kind, "intensity", 1.0))
        elif code == _PROCESSED and label.lower() == "dod":
            kind = probe.kind(path, _whole(facts, "wavelengthIndex"))
            found.append(Measurement(pair, kind, "optical density", 1.0))
        elif code == _PROCESSED and label.lower() in _BLOOD:
            scale = _to_molar(path, _text(facts, "dataUnit"), notes)
            found.append(
                Measurement(pair, _BLOOD[label.lower()], "concentration", scale)
            )
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


def _to_molar(path: Path, unit: str, notes: list[str]) -> float:
    """Return the factor of a unit to mol/L, which is assumed where none is stated."""
    if not unit:
        _note_once(notes, "concentrations state no unit, mol/L is assumed")
        return 1.0
    if unit == "M":  # molar, while a small one is a prefix
        return 1.0
    plain = plain_unit(unit)
    if plain not in _MOLAR:
        raise mismatch(
            path,
            expected="concentrations in mol/L or parts of it",
            found=f"dataUnit {unit[:40]!r}",
            remedy="export them in mol/L",
        )
    return _MOLAR[plain]


def _measurements(block: Any) -> list[Mapping[str, str | float]]:
    """Return the measurement list, in either of its two forms."""
    if "measurementLists" in block:
        table = find_group(block, "measurementLists")
        columns = {name: read_entries(table, name) for name in _FACTS}
        return [
            {name: values[row] for name, values in columns.items() if len(values) > row}
            for row in range(len(columns["sourceIndex"]))
        ]
    return [
        {name: values[0] for name in _FACTS if (values := read_entries(item, name))}
        for item in numbered_groups(block, "measurementList")
    ]


def _whole(facts: Mapping[str, str | float], name: str) -> int:
    """Return a whole number of a measurement."""
    value = facts.get(name, math.nan)
    if isinstance(value, str) or not float(value).is_integer():
        raise InputError(
            f"measurement list: expected a whole number as {name}, found "
            f"{facts.get(name, 'none')!r:.40}; export the recording again"
        )
    return int(value)


def _text(facts: Mapping[str, str | float], name: str) -> str:
    """Return a text of a measurement; empty where there is none."""
    return str(facts.get(name, "")).strip()


def _note_once(notes: list[str], text: str) -> None:
    """Add a note that is not there yet."""
    if text not in notes:
        notes.append(text)
