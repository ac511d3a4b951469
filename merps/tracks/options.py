"""Every option of the sibling tracks with its default; paths count from the file."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from merps.config import load_section
from merps.errors import ConfigError
from merps.options import Section

Track: TypeAlias = Literal["cross", "fg", "prefer"]
Modality: TypeAlias = Literal["face", "video", "audio", "text", "answers"]
#: Name of the encoder that is no folder: openSMILE's eGeMAPS functionals.
EGEMAPS = "egemaps"

_List: TypeAlias = Field(strict=False)
_Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
_SEES: frozenset[str] = frozenset({"face", "video"})


class DataConfig(Section):
    """Where tables and media are."""

    train: Annotated[tuple[str, ...], _List] = ()
    candidates: str | None = None
    gold: str | None = None
    gold_label: str | None = None
    media: Annotated[tuple[str, ...], _List] = ()
    subtitles: str | None = None
    language: Literal["chinese", "english"] = "chinese"
    groups: str | None = None
    wheels: str | None = None
    normalise_labels: bool = False
    empty_openset: Literal["drop", "neutral"] = "drop"
    max_missing_train: _Share = 0.0
    max_missing: _Share = 0.01


class StreamConfig(Section):
    """What is taken from each clip: an encoder, or features that are there."""

    modality: Modality
    encoder: str | None = None
    features: str | None = None
    layers: PositiveInt = 4
    frames: PositiveInt = 16
    pool: Literal["utterance", "frame"] = "utterance"
    row_s: PositiveFloat = 10.0
    batch: PositiveInt = 32
    colors: Literal["bgr", "rgb"] = "bgr"
    device: Literal["cpu", "cuda", "mps"] = "cpu"

    @model_validator(mode="after")
    def _check_source(self) -> "StreamConfig":
        if (self.encoder is None) == (self.features is None):
            raise ValueError("give either encoder or features")
        if self.encoder == EGEMAPS and self.modality != "audio":
            raise ValueError(f"{EGEMAPS} listens to audio, not to {self.modality}")
        if self.features is not None and self.modality == "answers":
            raise ValueError("answers are texts of the table and need an encoder")
        return self


class HeadConfig(Section):
    """Parameters of `merps.tracks.heads.ClipModel`, whose defaults these are."""

    role: Literal["speaker", "listener"] = "speaker"
    kind: Literal["labels", "embedding"] = "labels"
    class_weights: bool = False
    min_count: PositiveInt = 3
    most_labels: PositiveInt = 200
    most_answers: PositiveInt = 6
    ties: Literal["drop", "half"] = "drop"
    hidden: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    batch_size: PositiveInt = 32
    epochs: PositiveInt = 100
    patience: PositiveInt = 10
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-5
    clip_norm: PositiveFloat = 1.0
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    threads: PositiveInt = 1


class JudgeConfig(Section):
    """Keywords of `merps.tracks.judges.Judge`."""

    url: str = "http://127.0.0.1:8000/v1"
    model: str = "default"
    key_variable: str | None = None
    frames: NonNegativeInt = 8
    width: PositiveInt = 360
    audio: bool = False
    both_orders: bool = True
    parser: Literal["strict", "official"] = "strict"
    describe: bool = False
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 512
    timeout_s: PositiveFloat = 120.0
    retries: NonNegativeInt = 3
    input_price: NonNegativeFloat = 0.0
    output_price: NonNegativeFloat = 0.0


class TrackConfig(Section):
    """Every option of one of the tracks MER-Cross, MER-FG and MER-Prefer."""

    track: Track
    store: str = "store"
    run: str = "run"
    seed: NonNegativeInt = 0
    bootstrap: PositiveInt = 2000
    data: DataConfig = DataConfig()
    streams: Annotated[dict[str, StreamConfig], Field(default_factory=dict)]
    label_encoder: str | None = None
    head: HeadConfig = HeadConfig()
    judge: JudgeConfig = JudgeConfig()

    @model_validator(mode="after")
    def _check_streams(self) -> "TrackConfig":
        kinds = [stream.modality for stream in self.streams.values()]
        if self.streams and kinds.count("answers") != (self.track == "prefer"):
            raise ValueError(
                "streams: MER-Prefer needs one stream of the modality answers, and the "
                "other tracks have none"
            )
        if self.head.role == "listener" and not _SEES & set(kinds):
            raise ValueError("head.role: a listener is seen in face or video only")
        return self

    @property
    def used(self) -> dict[str, StreamConfig]:
        """Streams that the head takes; what a listener does not give is left out."""
        kept = _SEES if self.head.role == "listener" else {*_SEES, "audio", "text"}
        return {n: s for n, s in self.streams.items() if s.modality in kept}

    @property
    def answers(self) -> str | None:
        """Name of the stream with the two texts of each row, if there is one."""
        found = (n for n, s in self.streams.items() if s.modality == "answers")
        return next(found, None)


def load_track(
    path: Path, *, track: Track, overrides: tuple[str, ...] = ()
) -> TrackConfig:
    """Read the options of a track; paths in it become absolute.

    Parameters
    ----------
    path : Path
        A YAML file.
    track : str
        Which track it must be of.
    overrides : tuple of str
        Options that win over the file, as ``head.epochs=10``.

    Returns
    -------
    TrackConfig
        Every option.

    Raises
    ------
    ConfigError
        With every problem found.
    """
    config = load_section(TrackConfig, path, overrides)
    if config.track != track:
        raise ConfigError(
            f"{path}: track is {config.track}, not {track}; run merps track "
            f"{config.track}, or take another file"
        )
    base = Path(path).absolute().parent

    def absolute(place: str | None) -> str | None:
        return None if place is None else str(base / Path(place).expanduser())

    data, several = config.data, ("train", "media")
    single = ("candidates", "gold", "subtitles", "groups", "wheels")
    data = data.model_copy(
        update={name: absolute(getattr(data, name)) for name in single}
        | {name: tuple(map(absolute, getattr(data, name))) for name in several}
    )
    streams = {
        name: stream.model_copy(
            update={"features": absolute(stream.features)}
            | (
                {}
                if stream.encoder == EGEMAPS
                else {"encoder": absolute(stream.encoder)}
            )
        )
        for name, stream in config.streams.items()
    }
    return config.model_copy(
        update={
            "store": absolute(config.store),
            "run": absolute(config.run),
            "label_encoder": absolute(config.label_encoder),
            "data": data,
            "streams": streams,
        }
    )
