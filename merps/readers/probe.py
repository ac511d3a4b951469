"""The probe of an fNIRS recording: names, wavelengths and places of its optodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import mismatch
from merps.readers.fields import find_group, read_numbers, read_texts

METERS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
#: Distances between source and detector that a head allows: below the first no pair of
#: a probe sees the brain, above the second none sees light.
_ALLOWED_M = (0.010, 0.100)


@dataclass(frozen=True)
class Probe:
    """What a file says about its optodes.

    Parameters
    ----------
    wavelengths_nm : tuple of float
        Wavelengths by number.
    labels : tuple of (tuple of str, tuple of str)
        Names of sources and of detectors by number; empty where not named.
    places : tuple of ndarray, optional
        Positions of sources and of detectors in meters, shape (optode, 3); None where
        not known.
    length_unit : str
        Unit that the positions were taken in.
    """

    wavelengths_nm: tuple[float, ...]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    places: tuple[Float64[np.ndarray, "_ 3"], Float64[np.ndarray, "_ 3"]] | None
    length_unit: str

    def name(self, pair: tuple[int, int]) -> str:
        """Name a channel by the labels of its source and detector.

        Parameters
        ----------
        pair : tuple of (int, int)
            Numbers of source and detector, from 1 on.

        Returns
        -------
        str
            Such as ``S1_D2``.
        """
        parts = []
        for number, labels, letter in zip(pair, self.labels, "SD", strict=True):
            known = 1 <= number <= len(labels)
            parts.append(labels[number - 1] if known else f"{letter}{number}")
        return "_".join(parts)

    def kind(self, path: Path, number: int) -> str:
        """Name the light of one wavelength.

        Parameters
        ----------
        path : Path
            The file, for the message.
        number : int
            Number of the wavelength, from 1 on.

        Returns
        -------
        str
            Such as ``760nm``.

        Raises
        ------
        DataError
            If the probe has no such wavelength, or it is none in nanometers.
        """
        count = len(self.wavelengths_nm)
        if not 1 <= number <= count:
            raise mismatch(
                path,
                expected=f"a wavelength of 1 to {count}" if count else "wavelengths",
                found=f"wavelengthIndex {number}" if count else "none in the probe",
                remedy="correct the measurement list or the probe's wavelengths",
            )
        nm = self.wavelengths_nm[number - 1]
        if not 100 <= nm <= 10_000:
            raise mismatch(
                path,
                expected="wavelengths in nanometers",
                found=f"{nm:g} as number {number}",
                remedy="correct the probe's wavelengths",
            )
        return f"{nm:g}nm"

    def geometry(
        self, pairs: Sequence[tuple[int, int]]
    ) -> tuple[Float[np.ndarray, "pair 2 3"] | None, tuple[float, ...] | None]:
        """Return where sources and detectors of pairs are, and how far apart.

        Parameters
        ----------
        pairs : sequence of (int, int)
            Numbers of source and detector, from 1 on.

        Returns
        -------
        tuple of (ndarray or None, tuple of float or None)
            Positions in meters, shape (pair, 2, 3), and distances in meters; None
            where no position is known, NaN where a single one is not.
        """
        if self.places is None:
            return None, None
        optodes = np.full((len(pairs), 2, 3), np.nan)
        for row, pair in enumerate(pairs):
            for side, (number, places) in enumerate(
                zip(pair, self.places, strict=True)
            ):
                if 1 <= number <= len(places):
                    optodes[row, side] = places[number - 1]
        distances = np.linalg.norm(optodes[:, 0] - optodes[:, 1], axis=1)
        return optodes, tuple(distances.tolist())


def read_probe(
    path: Path, root: Any, length_unit: str | None, notes: list[str]
) -> Probe:
    """Read the probe of a SNIRF recording; whatever is absent is not known.

    Parameters
    ----------
    path : Path
        The file, for messages.
    root : h5py.Group
        The recording.
    length_unit : str or None
        Unit of the positions where the file is not to be believed.
    notes : list of str
        Gets what was assumed.

    Returns
    -------
    Probe
        Names, wavelengths and positions.

    Raises
    ------
    DataError
        If the unit of the positions is none.
    """
    probe, tags = find_group(root, "probe"), find_group(root, "metaDataTags")
    unit = length_unit or (read_texts(tags, "LengthUnit") or ["unknown"])[0].lower()
    places = [
        _places(probe, f"{side}Pos3D", f"{side}Pos2D")
        for side in ("source", "detector")
    ]
    if any(place is None for place in places):
        notes.append("it has no positions of optodes")
        return Probe(_wavelengths(probe), _labels(probe, notes), None, unit)
    if unit not in METERS:
        raise mismatch(
            path,
            expected=f"positions in {', '.join(METERS)}",
            found=f"LengthUnit {unit[:40]!r}",
            remedy="state it, as dataset.length_unit in the configuration",
        )
    scaled = tuple(place * METERS[unit] for place in places)
    return Probe(_wavelengths(probe), _labels(probe, notes), scaled, unit)


def require_plausible(
    path: Path,
    distances_m: Sequence[float],
    probe: Probe,
    length_unit: str | None,
) -> None:
    """Refuse distances that no head allows, unless somebody vouches for the unit.

    Parameters
    ----------
    path : Path
        The file, for the message.
    distances_m : sequence of float
        Distances between source and detector.
    probe : Probe
        Knows the unit that they were taken in.
    length_unit : str or None
        The unit as the user states it; then nothing is refused.

    Raises
    ------
    DataError
        If all distances are below 1 cm or above 10 cm.
    """
    if length_unit is not None or is_plausible(distances_m):
        return
    known = np.array(distances_m)[np.isfinite(distances_m)]
    meters = METERS[probe.length_unit]
    fitting = [u for u, m in METERS.items() if is_plausible(known * (m / meters))]
    raise mismatch(
        path,
        expected="sources and detectors 1 to 10 cm apart",
        found=f"{1e3 * known.min():.3g} to {1e3 * known.max():.3g} mm, as LengthUnit "
        f"is {probe.length_unit!r}; concentrations would be wrong by as much",
        remedy="state dataset.length_unit in the configuration"
        + (f", probably {fitting[0]}" if fitting else ""),
    )


def is_plausible(distances_m: Sequence[float] | Float[np.ndarray, " pair"]) -> bool:
    """Tell whether a head allows distances between sources and detectors.

    Parameters
    ----------
    distances_m : sequence of float
        Distances in meters; NaN where not known.

    Returns
    -------
    bool
        False if all are below 1 cm or all above 10 cm; True if none is known.
    """
    known = np.array(distances_m)[np.isfinite(distances_m)]
    low_m, high_m = _ALLOWED_M
    return not known.size or bool(known.max() >= low_m and known.min() <= high_m)


def _wavelengths(probe: Any) -> tuple[float, ...]:
    """Return the wavelengths in nanometers."""
    if "wavelengths" not in probe:
        return ()
    return tuple(np.ravel(read_numbers(probe, "wavelengths")).tolist())


def _labels(probe: Any, notes: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of sources and detectors; none where they are not unique."""
    found = []
    for name in ("sourceLabels", "detectorLabels"):
        labels = read_texts(probe, name)
        if len(set(labels)) < len(labels) or "" in labels:
            notes.append(f"{name} are not unique, numbers are used instead")
            labels = []
        found.append(tuple(labels))
    return found[0], found[1]


def _places(probe: Any, *names: str) -> Float64[np.ndarray, "_ 3"] | None:
    """Return positions in the file's unit, shape (optode, 3); flat ones get a zero."""
    for name in names:
        if name not in probe:
            continue
        values = read_numbers(probe, name)
        n_axes = int(name[-2])
        if values.size == 0 or values.size % n_axes:
            continue
        flat = values.reshape(-1, n_axes)  # a single optode may come as a row
        return np.pad(flat, ((0, 0), (0, 3 - n_axes)))
    return None
