"""Every option of merps with its default.

Each section goes to one stage as its keywords, so that the names agree.
"""

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from merps.dataset_options import DatasetConfig
from merps.recording import Phase
from merps.repair_options import (
    BadChannelConfig,
    BlinkConfig,
    ComponentsConfig,
    CouplingConfig,
    LineFitConfig,
    OpticsConfig,
    ShortChannelConfig,
    SplineConfig,
)
from merps.sections import List, Section

Band: TypeAlias = Annotated[tuple[NonNegativeFloat, PositiveFloat], List]
Reference: TypeAlias = Literal["none", "trial_rest", "person_rest", "person"]
Protocol: TypeAlias = Literal["people", "videos", "both", "within"]

# Those that take nothing of a person but what was recorded right before a trial.
_CAUSAL_REFERENCES = ("none", "trial_rest")
# Steps that learn from a trial what they then take out of it.
_WHOLE_EEG = ("line_fit", "bad_channels", "blinks", "components")
# Keeps a rounding error from costing a sample.
_GRACE = 1e-6


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
    line_fit: LineFitConfig | None = None
    bad_channels: BadChannelConfig | None = None
    blinks: BlinkConfig | None = None
    components: ComponentsConfig | None = None
    reference: Literal["recorded", "average", "mastoids", "infinity"] = "recorded"
    quality: EegQualityConfig = EegQualityConfig()

    @model_validator(mode="after")
    def _check_band(self) -> "EegConfig":
        _require_below_nyquist(self.band_pass, self.to_hz)
        return self


class FnirsConfig(Section):
    """How the fNIRS is preprocessed."""

    kinds: Annotated[tuple[str, ...], List, Field(min_length=1)] = (
        "HbO",
        "HbR",
        "HbT",
    )
    hemoglobin: Literal["given", "computed"] = "given"
    optics: OpticsConfig = OpticsConfig()
    coupling: CouplingConfig = CouplingConfig()
    motion: Literal["none", "tddr", "spline"] = "none"
    spline: SplineConfig = SplineConfig()
    short_channels: ShortChannelConfig | None = None
    to_hz: PositiveFloat = 10.0
    band_pass: FnirsBandPassConfig | None = FnirsBandPassConfig()
    quality: FnirsQualityConfig = FnirsQualityConfig()

    @model_validator(mode="after")
    def _check_band(self) -> "FnirsConfig":
        _require_below_nyquist(self.band_pass, self.to_hz)
        return self


class PreprocessConfig(Section):
    """What is done to the signals before they are stored."""

    phase: Phase = "zero"
    eeg: EegConfig = EegConfig()
    fnirs: FnirsConfig = FnirsConfig()
    lead_in: LeadInConfig = LeadInConfig()
    precision: Literal["float32", "float64"] = "float32"


class WindowConfig(Section):
    """Fields of `merps.windows.WindowGrid`, whose step is that of the labels, 1 s."""

    window_s: PositiveFloat = 4.0
    lag_s: NonNegativeFloat = 0.0
    lookahead_s: NonNegativeFloat = 0.0


class FilterBankConfig(Section):
    """Filters of the bands that covariances and envelopes are taken in."""

    order: PositiveInt = 4
    pad_s: NonNegativeFloat = 5.0


class JointConfig(Section):
    """Keywords of `merps.models.joint.joint_series`, and its windows."""

    rate_hz: PositiveFloat = 2.0
    response_s: NonNegativeFloat = 5.0
    window_s: PositiveFloat = 20.0


class FeatureConfig(Section):
    """What is measured in each window."""

    bands: dict[str, Band] = Field(
        default={
            "delta": (1.0, 4.0),
            "theta": (4.0, 8.0),
            "alpha": (8.0, 13.0),
            "beta": (13.0, 30.0),
            "gamma": (30.0, 45.0),
        }
    )
    spectrum: Literal["log_power", "differential_entropy"] = "log_power"
    reference: Reference = "person_rest"
    kinds: Annotated[tuple[str, ...], List] = ("HbO", "HbR")
    summaries: Annotated[tuple[Literal["mean", "slope", "sd"], ...], List] = (
        "mean",
        "slope",
    )
    fnirs_reference: Reference = "trial_rest"
    width_s: NonNegativeFloat = 15.0
    filter_bank: FilterBankConfig = FilterBankConfig()
    joint: JointConfig = JointConfig()

    @model_validator(mode="after")
    def _check_bands(self) -> "FeatureConfig":
        for name, (low_hz, high_hz) in self.bands.items():
            if low_hz >= high_hz:
                raise ValueError(
                    f"band {name!r} must rise, got {low_hz:g}..{high_hz:g}"
                )
        return self


class RiemannianConfig(Section):
    """Parameters of `merps.RiemannianRegressor`, whose defaults these are."""

    inputs: Annotated[
        tuple[Literal["eeg", "eeg_delays", "fnirs", "joint"], ...],
        List,
        Field(min_length=1),
    ] = ("eeg",)
    n_components: PositiveInt = 16
    reference: Literal["person_rest", "person", "training"] = "person_rest"
    metric: Literal["euclid", "riemann", "logeuclid"] = "euclid"
    method: Literal["fast", "exact"] = "fast"
    shrinkage: Annotated[float, Field(ge=0, lt=1)] = 0.05
    delays: Annotated[tuple[PositiveInt, ...], List] = (2, 4)
    width_s: NonNegativeFloat = 15.0


class ConvolutionalConfig(Section):
    """Parameters of `merps.ConvolutionalRegressor`, whose defaults these are."""

    net: str | None = "ShallowFBCSPNet"
    net_options: dict[str, Any] | None = None
    fnirs_net: str | None = None
    fnirs_options: dict[str, Any] | None = None
    embedding: PositiveInt = 16
    sequence_s: PositiveInt = 1
    alignment: Literal["none", "person", "whiten"] = "person"
    loss: Literal["l1", "huber", "ccc"] = "l1"
    batch_size: PositiveInt = 64
    epochs: PositiveInt = 30
    patience: PositiveInt = 5
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2
    clip_norm: PositiveFloat = 1.0
    amp: bool = False
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    threads: PositiveInt = 2
    pretrained: str | None = None


class LagConfig(Section):
    """Seconds by which labels may trail the signals, for `merps.LagSearch`."""

    eeg_s: Annotated[tuple[int, ...], List, Field(min_length=1)] = (0,)
    fnirs_s: Annotated[tuple[int, ...], List, Field(min_length=1)] = (0,)


class FusionConfig(Section):
    """Which models `merps.ResidualFusion` adds, and over what they are averaged."""

    models: Annotated[tuple[str, ...], List, Field(min_length=1)] = (
        "bandpower",
        "riemannian",
    )
    widths_s: Annotated[tuple[NonNegativeFloat, ...], List, Field(min_length=1)] = (
        *(1.0, 15.0, 30.0, 60.0),
    )


class BlendConfig(Section):
    """Which models `merps.FixedBlend` weighs against the prior, and how."""

    models: Annotated[tuple[str, ...], List, Field(min_length=1)] = (
        "bandpower",
        "riemannian",
    )
    weights: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]],
        List,
    ] = (0.99, 0.92)


class ModelConfig(Section):
    """How features become predictions; defaults are those of the estimators."""

    kind: Literal[
        "constant",
        "video",
        "video_time",
        "bandpower",
        "riemannian",
        "convolutional",
        "blend",
        "fusion",
    ] = "fusion"
    regressor: Literal["ridge", "huber"] = "ridge"
    alphas: Annotated[tuple[PositiveFloat, ...], List, Field(min_length=1)] = (
        *(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        *(100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0),
    )
    inner_folds: Annotated[int, Field(ge=3)] = 5  # what the fusion needs
    gains: Annotated[tuple[NonNegativeFloat, ...], List, Field(min_length=1)] = tuple(
        tenth / 10 for tenth in range(13)
    )
    fusion: FusionConfig = FusionConfig()
    blend: BlendConfig = BlendConfig()
    lags: LagConfig = LagConfig()
    riemannian: RiemannianConfig = RiemannianConfig()
    convolutional: ConvolutionalConfig = ConvolutionalConfig()


class EvaluateConfig(Section):
    """How models are compared."""

    protocols: Annotated[tuple[Protocol, ...], List, Field(min_length=1)] = get_args(
        Protocol
    )
    seed: NonNegativeInt = 0
    bootstrap: NonNegativeInt = 2000


class Config(Section):
    """Every option of merps."""

    dataset: DatasetConfig | None = None

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

    @model_validator(mode="after")
    def _check_phase(self) -> "Config":
        if self.preprocess.phase == "zero":
            return self
        found = [
            f"features.{name}={chosen} takes from later trials (none and trial_rest do "
            "not)"
            for name in ("reference", "fnirs_reference")
            if (chosen := getattr(self.features, name)) not in _CAUSAL_REFERENCES
        ]
        steps = self.preprocess
        chosen = {f"eeg.{name}": getattr(steps.eeg, name) for name in _WHOLE_EEG}
        chosen["fnirs.motion"] = steps.fnirs.motion != "none"
        chosen["fnirs.short_channels"] = steps.fnirs.short_channels
        on = (name for name, is_on in chosen.items() if is_on)
        found += [f"preprocess.{name} looks at the whole trial" for name in on]
        if self.dataset is not None and self.dataset.synchrony is not None:
            found.append("dataset.synchrony looks at events of the whole recording")
        for name, signal in (("windows", "eeg"), ("fnirs_windows", "fnirs")):
            to_hz = getattr(self.preprocess, signal).to_hz
            length = getattr(self, name).window_s * to_hz
            if abs(length - round(length)) > _GRACE:
                found.append(
                    f"{name}.window_s is no whole number of samples at {to_hz:g} Hz"
                )
        if found:
            raise ValueError(
                f"preprocess.phase=causal looks back alone, but {'; '.join(found)}; "
                "the preset causal changes what has to be"
            )
        return self
