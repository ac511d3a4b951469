"""Every option of merps with its default, and the reading of configuration files.

Each section goes to one stage as its keywords, so that the names agree.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from merps.documents import MAX_BYTES, Document
from merps.errors import ConfigError

# YAML has lists only; everything else is taken strictly, as written.
_List: TypeAlias = Field(strict=False)
Band: TypeAlias = Annotated[tuple[NonNegativeFloat, PositiveFloat], _List]
Reference: TypeAlias = Literal["none", "trial_rest", "person_rest", "person"]
Protocol: TypeAlias = Literal["people", "videos", "both", "within"]


class Section(BaseModel):
    """Options of one stage; unknown ones are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
    )


class BandPassConfig(Section):
    """Keywords of `merps.preprocessing.filters.band_pass`."""

    low_hz: PositiveFloat | None
    high_hz: PositiveFloat | None
    order: PositiveInt
    pad_s: NonNegativeFloat

    @model_validator(mode="after")
    def _check_edges(self) -> "BandPassConfig":
        if self.low_hz is None and self.high_hz is None:
            raise ValueError("give low_hz or high_hz, or null for the whole section")
        if None not in (self.low_hz, self.high_hz) and self.low_hz >= self.high_hz:
            raise ValueError(
                f"low_hz={self.low_hz:g} must lie below high_hz={self.high_hz:g}"
            )
        return self


class EegBandPassConfig(BandPassConfig):
    """Band-pass of the EEG."""

    low_hz: PositiveFloat | None = 0.5
    high_hz: PositiveFloat | None = 45.0
    order: PositiveInt = 4
    pad_s: NonNegativeFloat = 5.0


class FnirsBandPassConfig(BandPassConfig):
    """Low-pass of the fNIRS.

    A high-pass at the usual 0.01 Hz would take away responses as slow as ratings are.
    """

    low_hz: PositiveFloat | None = None
    high_hz: PositiveFloat | None = 0.5
    order: PositiveInt = 4
    pad_s: NonNegativeFloat = 20.0


class NotchConfig(Section):
    """Keywords of `merps.preprocessing.filters.notch`."""

    line_hz: PositiveFloat = 50.0
    width_hz: PositiveFloat = 2.0
    pad_s: NonNegativeFloat = 2.0


class EegQualityConfig(Section):
    """Keywords of `merps.preprocessing.quality.measure_quality` for the EEG."""

    line_hz: PositiveFloat = 50.0
    window_s: PositiveFloat = 1.0
    flat_range: NonNegativeFloat = 0.1


class FnirsQualityConfig(Section):
    """Keywords of `merps.preprocessing.quality.measure_quality` for the fNIRS."""

    line_hz: PositiveFloat = 50.0
    window_s: PositiveFloat = 1.0
    flat_range: NonNegativeFloat = 0.0001


def _require_below_nyquist(band_pass: BandPassConfig | None, to_hz: float) -> None:
    """Refuse a pass-band that does not survive resampling."""
    if band_pass and band_pass.high_hz and band_pass.high_hz >= to_hz / 2:
        raise ValueError(
            f"band_pass.high_hz={band_pass.high_hz:g} must lie below half of "
            f"to_hz={to_hz:g}"
        )


class LeadInConfig(Section):
    """Keywords of `merps.preprocessing.repair.joins`."""

    max_jump: PositiveFloat = 3.0


class EegConfig(Section):
    """How the EEG is preprocessed."""

    to_hz: PositiveFloat = 200.0
    band_pass: EegBandPassConfig | None = EegBandPassConfig()
    notch: NotchConfig | None = None
    quality: EegQualityConfig = EegQualityConfig()

    @model_validator(mode="after")
    def _check_band(self) -> "EegConfig":
        _require_below_nyquist(self.band_pass, self.to_hz)
        return self


class FnirsConfig(Section):
    """How the fNIRS is preprocessed."""

    kinds: Annotated[tuple[str, ...], _List, Field(min_length=1)] = (
        "HbO",
        "HbR",
        "HbT",
    )
    to_hz: PositiveFloat = 10.0
    band_pass: FnirsBandPassConfig | None = FnirsBandPassConfig()
    quality: FnirsQualityConfig = FnirsQualityConfig()

    @model_validator(mode="after")
    def _check_band(self) -> "FnirsConfig":
        _require_below_nyquist(self.band_pass, self.to_hz)
        return self


class PreprocessConfig(Section):
    """What is done to the signals before they are stored."""

    eeg: EegConfig = EegConfig()
    fnirs: FnirsConfig = FnirsConfig()
    lead_in: LeadInConfig = LeadInConfig()
    precision: Literal["float32", "float64"] = "float32"


class WindowConfig(Section):
    """Fields of `merps.windows.WindowGrid`, whose step is that of the labels, 1 s."""

    window_s: PositiveFloat = 4.0
    lag_s: NonNegativeFloat = 0.0
    lookahead_s: NonNegativeFloat = 0.0


class FeatureConfig(Section):
    """What is measured in each window."""

    bands: dict[str, Band] = {
        "delta": (1.0, 4.0),
        "theta": (4.0, 8.0),
        "alpha": (8.0, 13.0),
        "beta": (13.0, 30.0),
        "gamma": (30.0, 45.0),
    }
    spectrum: Literal["log_power", "differential_entropy"] = "log_power"
    reference: Reference = "person_rest"
    kinds: Annotated[tuple[str, ...], _List] = ("HbO", "HbR")
    summaries: Annotated[tuple[Literal["mean", "slope", "sd"], ...], _List] = (
        "mean",
        "slope",
    )
    fnirs_reference: Reference = "trial_rest"
    width_s: NonNegativeFloat = 15.0

    @model_validator(mode="after")
    def _check_bands(self) -> "FeatureConfig":
        for name, (low_hz, high_hz) in self.bands.items():
            if low_hz >= high_hz:
                raise ValueError(
                    f"band {name!r} must rise, got {low_hz:g}..{high_hz:g}"
                )
        return self


class ModelConfig(Section):
    """How features become predictions; defaults are those of the estimators."""

    regressor: Literal["ridge", "huber"] = "ridge"
    alphas: Annotated[tuple[PositiveFloat, ...], _List, Field(min_length=1)] = (
        *(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        *(100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0),
    )
    inner_folds: Annotated[int, Field(ge=3)] = 5  # what the fusion needs
    gains: Annotated[tuple[NonNegativeFloat, ...], _List, Field(min_length=1)] = tuple(
        tenth / 10 for tenth in range(13)
    )


class EvaluateConfig(Section):
    """How models are compared."""

    protocols: Annotated[tuple[Protocol, ...], _List, Field(min_length=1)] = get_args(
        Protocol
    )
    seed: NonNegativeInt = 0
    bootstrap: NonNegativeInt = 2000


class Config(Section):
    """Every option of merps."""

    preprocess: PreprocessConfig = PreprocessConfig()
    windows: WindowConfig = WindowConfig()
    fnirs_windows: WindowConfig = WindowConfig()
    features: FeatureConfig = FeatureConfig()
    model: ModelConfig = ModelConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _check_bands(self) -> "Config":
        nyquist_hz = self.preprocess.eeg.to_hz / 2
        for name, (_, high_hz) in self.features.bands.items():
            if high_hz > nyquist_hz:
                raise ValueError(
                    f"features.bands.{name} ends at {high_hz:g} Hz, above the Nyquist "
                    f"frequency of preprocess.eeg.to_hz, {nyquist_hz:g} Hz"
                )
        return self


def load_config(
    source: str | Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Read a configuration, with defaults for what it does not say.

    Parameters
    ----------
    source : str or Path, optional
        A YAML file, or the name of a preset such as ``default``.
    overrides : sequence of str
        Options that win over the file, as ``preprocess.eeg.to_hz=100``; the value is
        YAML on one line.

    Returns
    -------
    Config
        Every option.

    Raises
    ------
    ConfigError
        With every problem found: where, which option, what is wrong, what was meant.
    """
    document = Document()
    if source is not None:
        document.read(*_open_source(source))
    for override in overrides:
        document.override(override)
    problems = list(document.problems)
    try:
        config = Config.model_validate(document.tree)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        trails = [detail["loc"] for detail in details]
        problems += [
            _explain(document, detail)
            for detail, trail in zip(details, trails, strict=True)
            # A list without its bad items is not too short.
            if not any(trail == other[: len(trail)] != other for other in trails)
        ]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return config


def dump_config(config: Config) -> str:
    """Write every option as YAML that `load_config` reads back.

    Parameters
    ----------
    config : Config
        The options.

    Returns
    -------
    str
        A YAML document.
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def preset_names() -> tuple[str, ...]:
    """Return the names of the configurations that come with merps.

    Returns
    -------
    tuple of str
        Sorted names.
    """
    names = (entry.name for entry in _preset_folder().iterdir())
    return tuple(sorted(n[:-5] for n in names if n.endswith(".yaml")))


def _open_source(source: str | Path) -> tuple[str, str]:
    """Return the name and the text of a file or a preset."""
    entry = path = Path(source)
    if not path.is_file() and path.name == str(source) and not path.suffix:
        entry = _preset_folder() / f"{path.name}.yaml"
    if not entry.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(
            f"{source}: expected a YAML file or a preset "
            f"({', '.join(preset_names())}), found {found}"
        )
    try:
        with entry.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as text ({error})") from error
    return str(source), text


def _preset_folder() -> Path:
    """Folder of the presets, in the wheel or in a checkout."""
    package = Path(__file__).parent
    packed = package / "configs"
    return packed if packed.is_dir() else package.parent / "configs"


def _explain(document: Document, detail: Any) -> str:
    """Say in one line what pydantic found, where, and what may have been meant."""
    trail = detail["loc"]
    where = f"{document.place(trail)}: {'.'.join(map(str, trail))}".removesuffix(": ")
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown option; {_suggest(trail)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Tuple", "List")
    message = message.replace(" after validation", "")
    if detail["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]}, got {detail['input']!r:.60}"


def _suggest(trail: tuple[str | int, ...]) -> str:
    """Name the option that was probably meant, or those that there are."""
    import difflib

    section: type[Section] = Config
    for part in trail[:-1]:
        annotation = section.model_fields[str(part)].annotation
        section = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, Section)
        )
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(trail[-1]), known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"options here are {', '.join(known)}"
