"""What a stream of an XDF file says of itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from merps.readers.streams import Modality

_MODALITIES: dict[str, Modality] = {
    **{"eeg": "eeg", "exg": "eeg"},
    **{"nirs": "fnirs", "fnirs": "fnirs"},
}


class XdfStream:
    """A stream as pyxdf returns it.

    Parameters
    ----------
    contents : dict
        Header, samples and time stamps.
    """

    def __init__(self, contents: dict) -> None:
        self._contents = contents

    def __str__(self) -> str:
        what = "samples of text" if self._is_text else "samples"
        rate = f"{self.nominal_hz:g} Hz" if self.nominal_hz > 0 else "no stated rate"
        return (
            f"{self.name!r} of type {self.kind!r} with {self.n_samples} {what} at "
            f"{rate}"
        )

    @property
    def name(self) -> str:
        """Its name."""
        return self._fact("name")

    @property
    def kind(self) -> str:
        """Its type as written."""
        return self._fact("type")

    @property
    def nominal_hz(self) -> float:
        """The rate that it states; 0 of what comes now and then."""
        return float(self._fact("nominal_srate") or 0)

    @property
    def n_samples(self) -> int:
        """How many samples it has."""
        return len(self._contents["time_stamps"])

    @property
    def n_channels(self) -> int:
        """How many numbers a sample has; 0 of text."""
        return 0 if self._is_text else np.shape(self._contents["time_series"])[1]

    @property
    def is_numeric(self) -> bool:
        """Whether it has samples of numbers."""
        return self.n_samples > 1 and not self._is_text

    @property
    def is_regular(self) -> bool:
        """Whether it has samples of numbers at some rate."""
        return self.is_numeric and self.nominal_hz > 0

    @property
    def has_markers(self) -> bool:
        """Whether it has text, or single numbers now and then."""
        if self._is_text:
            return True
        return self.n_channels == 1 and not self.modality and not self.nominal_hz > 0

    @property
    def modality(self) -> Modality | None:
        """What it is by its type, or by the types of its channels."""
        known = _MODALITIES.get(self.kind.strip().lower())
        if known:
            return known
        types = {row.get("type", "").lower() for row in self.channels}
        return next(
            (_MODALITIES[kind] for kind in sorted(types & {*_MODALITIES})), None
        )

    @property
    def channels(self) -> list[dict[str, str]]:
        """What it says about its channels, one mapping each."""
        rows: Any = self._contents["info"].get("desc")
        for name in ("channels", "channel"):
            first = rows[0] if isinstance(rows, list) and rows else None
            rows = first.get(name) if isinstance(first, Mapping) else None
        return [
            {key: str(value[0]) for key, value in row.items() if value and value[0]}
            for row in rows or []
            if isinstance(row, Mapping)
        ]

    @property
    def times_s(self) -> Float64[np.ndarray, " time"]:
        """Time stamps in seconds, on the clock of all streams."""
        return np.asarray(self._contents["time_stamps"], dtype=np.float64)

    @property
    def samples(self) -> Float64[np.ndarray, "time channel"]:
        """Samples of numbers."""
        with np.errstate(invalid="ignore"):  # damaged numbers may be NaN of any kind
            return np.asarray(self._contents["time_series"], dtype=np.float64)

    @property
    def markers(self) -> list[tuple[float, str]]:
        """Time and first entry of each sample that has one."""
        rows = zip(self.times_s.tolist(), self._contents["time_series"], strict=True)
        return [(time_s, _label(row[0])) for time_s, row in rows if len(row)]

    @property
    def is_synchronized(self) -> bool:
        """Whether its clock was compared with that of the recorder."""
        return len(self._contents["clock_times"]) > 0

    @property
    def _is_text(self) -> bool:
        """Whether its samples are text."""
        return self._fact("channel_format") == "string"

    def _fact(self, name: str) -> str:
        """Return one fact as text."""
        value = self._contents["info"].get(name) or [""]
        return str(value[0] if isinstance(value, list) else value)


def _label(entry: Any) -> str:
    """Return an entry as text; whole numbers without a point."""
    if not isinstance(entry, str) and float(entry).is_integer():
        return str(int(entry))
    return str(entry)
