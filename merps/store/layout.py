"""How trials lie in an HDF5 image, and how they are found in a mapped one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from merps.recording import Annotation, Baseline, Quality, Recording, Trial
from merps.store.images import Image

_ANNOTATION = ("onset_s", "duration_s", "label")
_CLOCK = "clock_"


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Where an array lies in the image, and what is said about it."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    facts: Mapping[str, Any]

    def view(self, image: np.ndarray) -> np.ndarray:
        """Return the array as a view of the image's bytes."""
        n_bytes = math.prod(self.shape) * self.dtype.itemsize
        span = image[self.offset : self.offset + n_bytes]
        return span.view(self.dtype).reshape(self.shape)

    def recording(self, image: np.ndarray) -> Recording:
        """Return the record around the view."""
        facts = self.facts
        return Recording(
            self.view(image),
            rate_hz=float(facts["rate_hz"]),
            start_s=float(facts["start_s"]),
            channels=tuple(facts["channels"]),
            quantity=_text(facts["quantity"]),
            unit=_text(facts["unit"]),
            kinds=tuple(facts.get("kinds", ())),
            mask=facts.get("mask"),
            positions=facts.get("positions"),
            annotations=tuple(
                Annotation(float(onset), float(duration), label)
                for onset, duration, label in zip(
                    *(facts.get(f"annotation_{name}", ()) for name in _ANNOTATION),
                    strict=True,
                )
            ),
            types=tuple(facts.get("types", ())),
            distances_m=_numbers(facts.get("distances_m")),
            optodes=facts.get("optodes"),
        )

    def quality(self, image: np.ndarray) -> Quality:
        """Return the quality table around the view."""
        kinds = tuple(self.facts.get("kinds", ()))
        return Quality(tuple(self.facts["measures"]), self.view(image), kinds)


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """Where the parts of one trial lie in the image."""

    arrays: Mapping[str, StoredArray]
    notes: tuple[str, ...]
    clock: Mapping[str, float] = field(default_factory=dict)

    def restore(self, image: np.ndarray, *, person: str, stimulus: str) -> Trial:
        """Return the trial around views of the image."""

        def recording(name: str) -> Recording | None:
            stored = self.arrays.get(name)
            return None if stored is None else stored.recording(image)

        targets = self.arrays.get("targets")
        return Trial(
            person,
            stimulus,
            eeg=recording("eeg"),
            fnirs=recording("fnirs"),
            baseline=Baseline(recording("baseline_eeg"), recording("baseline_fnirs")),
            targets=None if targets is None else targets.view(image).astype(np.float64),
            notes=self.notes,
            quality={
                name.removesuffix("_quality"): stored.quality(image)
                for name, stored in self.arrays.items()
                if name.endswith("_quality")
            },
            clock=self.clock,
        )


def build_image(trials: Sequence[Trial]) -> Image:
    """Lay out an HDF5 file with these trials, the same for the same trials."""
    with Image() as image:
        for trial in sorted(trials, key=lambda trial: trial.stimulus):
            group = image.file.create_group(trial.stimulus)
            clock = {f"{_CLOCK}{name}": value for name, value in trial.clock.items()}
            _set(group, {"notes": trial.notes, **clock})
            for name, array, facts in _parts(trial):
                _set(
                    image.reserve(group, name, [array], array.shape, array.dtype), facts
                )
    return image


def read_layout(path: Path) -> dict[str, StoredTrial]:
    """Find the arrays of every trial in a verified file, by stimulus."""
    import h5py

    # No lock: the file never changes, and not every file system has locks.
    with h5py.File(path, "r", locking=False) as file:
        return {
            stimulus: StoredTrial(
                {name: _locate(dataset) for name, dataset in group.items()},
                tuple(group.attrs.get("notes", ())),
                {
                    name.removeprefix(_CLOCK): float(value)
                    for name, value in group.attrs.items()
                    if name.startswith(_CLOCK)
                },
            )
            for stimulus, group in file.items()
        }


def _parts(trial: Trial) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, array and facts of every part that the trial has."""
    recordings = {
        "eeg": trial.eeg,
        "fnirs": trial.fnirs,
        "baseline_eeg": trial.baseline.eeg,
        "baseline_fnirs": trial.baseline.fnirs,
    }
    parts = [
        (name, recording.signal, _facts(recording))
        for name, recording in recordings.items()
        if recording is not None
    ]
    if trial.targets is not None:
        parts.append(("targets", trial.targets.astype(np.float32), {}))
    for name, table in sorted(trial.quality.items()):
        facts = {"measures": table.measures, "kinds": table.kinds}
        parts.append((f"{name}_quality", table.values, facts))
    return parts


def _facts(recording: Recording) -> dict[str, Any]:
    """Return what an array alone does not say."""
    return {
        "rate_hz": float(recording.rate_hz),
        "start_s": float(recording.start_s),
        "channels": recording.channels,
        "quantity": recording.quantity,
        "unit": recording.unit,
        "kinds": recording.kinds,
        "mask": recording.mask,
        "positions": recording.positions,
        "types": recording.types,
        "distances_m": recording.distances_m,
        "optodes": recording.optodes,
        **{
            f"annotation_{name}": tuple(getattr(a, name) for a in recording.annotations)
            for name in _ANNOTATION
        },
    }


def _set(item: Any, facts: Mapping[str, Any]) -> None:
    """Write facts as attributes; what is None or empty is left out."""
    for name, value in facts.items():
        if value is not None and (not isinstance(value, tuple) or value):
            item.attrs.create(name, value)


def _locate(dataset: Any) -> StoredArray:
    """Where a contiguous dataset lies in its file."""
    offset = dataset.id.get_offset()
    if offset is None and dataset.size:
        raise ValueError(f"{dataset.name} is not contiguous")
    return StoredArray(offset or 0, dataset.shape, dataset.dtype, dict(dataset.attrs))


def _text(value: Any) -> str | tuple[str, ...]:
    """One word, or one a kind."""
    return value if isinstance(value, str) else tuple(value)


def _numbers(values: Any) -> tuple[float, ...] | None:
    """One number a channel, or nothing."""
    return None if values is None else tuple(map(float, values))
