"""Options that describe a folder of a lab's own."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from merps.sections import List, Section

_StimulusNumber: TypeAlias = Annotated[
    str, Field(pattern=r"^V([0-9]{2}|[1-9][0-9]{2})$")
]


class FilesConfig(Section):
    """Which files are recordings, and whose."""

    path: str
    person: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    stimulus: str | None = None
    modality: Literal["eeg", "fnirs"] | None = None
    rest: bool = False


class TargetsConfig(Section):
    """Where ratings are and what their columns and scale mean."""

    path: str | None = None
    time: str = "time"
    valence: str = "valence"
    arousal: str = "arousal"
    rate_hz: PositiveFloat | None = None
    offset_s: float = 0.0
    scale: Annotated[tuple[float, float], List] | None = None

    @model_validator(mode="after")
    def _check_scale(self) -> "TargetsConfig":
        if self.scale is not None and self.scale[0] >= self.scale[1]:
            raise ValueError(
                f"scale must rise, got {self.scale[0]:g}..{self.scale[1]:g}"
            )
        return self


class SynchronyConfig(Section):
    """By what clocks are told, and keywords of `fit_clock`; ``events`` names some."""

    by: Literal["events", "labels"] = "events"
    events: Annotated[tuple[str, ...], List] = ()
    max_drift_ppm: PositiveFloat = 1000.0
    max_offset_s: PositiveFloat | None = None
    tolerance_s: PositiveFloat = 0.05


class DatasetConfig(Section):
    """A folder of a lab's own, for `merps.datasets.lab.open_lab`."""

    layout: Literal["files", "bids"] = "files"
    files: Annotated[tuple[FilesConfig, ...], List] = ()
    targets: TargetsConfig | None = None
    synchrony: SynchronyConfig | None = None
    onsets: Literal["file", "annotations"] = "file"
    stimuli: dict[_StimulusNumber, str] | None = None
    duration_s: PositiveFloat | None = None
    rest_s: NonNegativeFloat = 5.0
    length_unit: Literal["m", "cm", "mm"] | None = None
    montage: str | None = None
    streams: dict[Literal["eeg", "fnirs"], str] | None = None
    channels: str | None = None
    task: str | None = None
    terms: str | None = None

    @model_validator(mode="after")
    def _check_stimuli(self) -> "DatasetConfig":
        names = list((self.stimuli or {}).values())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"stimuli names {', '.join(twice)} twice")
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> "DatasetConfig":
        if self.synchrony is None or self.synchrony.by != "labels":
            return self
        if self.onsets != "file" or self.targets is None or self.targets.path is None:
            raise ValueError(
                "synchrony by labels needs files that begin with their ratings: "
                "onsets: file, and targets with a path"
            )
        return self
