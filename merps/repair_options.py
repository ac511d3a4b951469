"""Options of what is mended before filters run; all of it is off unless asked for."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from merps.sections import List, Section

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
#: Names of the tables of `merps.preprocessing.extinction`.
ExtinctionTable: TypeAlias = Literal["prahl", "moaveni", "takatani"]


class LineFitConfig(Section):
    """Keywords of `merps.preprocessing.artifacts.fit_line_noise`."""

    line_hz: PositiveFloat = 50.0
    window_s: PositiveFloat = 4.0
    p_value: Share = 0.05


class BadChannelConfig(Section):
    """Keywords of `merps.preprocessing.bad_channels.find_bad_channels`."""

    window_s: PositiveFloat = 1.0
    max_missing: Share = 0.2
    min_correlation: Share = 0.4
    max_uncorrelated: Share = 0.1
    max_noise_z: PositiveFloat = 5.0
    max_amplitude_z: PositiveFloat = 5.0


class BlinkConfig(Section):
    """Which channels saw the eyes, and the band that their weights are taken in."""

    channels: Annotated[tuple[str, ...], List] = ()
    low_hz: PositiveFloat = 1.0
    high_hz: PositiveFloat = 15.0


class ComponentsConfig(Section):
    """Keywords of `merps.preprocessing.artifacts.remove_components`."""

    n_components: Annotated[int, Field(ge=2)] = 20
    remove: Annotated[
        tuple[
            Literal[
                "muscle artifact",
                "eye blink",
                "heart beat",
                "line noise",
                "channel noise",
                "other",
            ],
            ...,
        ],
        List,
        Field(min_length=1),
    ] = ("eye blink", "muscle artifact")
    min_probability: Share = 0.8
    seed: NonNegativeInt = 0


class OpticsConfig(Section):
    """The way of the light, where the recording does not tell it."""

    extinction: ExtinctionTable = "prahl"
    age_y: NonNegativeFloat = 25.0
    pathlength_factor: PositiveFloat | None = None
    distance_m: PositiveFloat | None = None
    max_end_step: PositiveFloat | None = 20.0


class CouplingConfig(Section):
    """Keywords of `merps.preprocessing.coupling.windowed_coupling`."""

    low_hz: PositiveFloat = 0.7
    high_hz: PositiveFloat = 1.5
    window_s: PositiveFloat = 10.0


class SplineConfig(Section):
    """Keywords of `merps.preprocessing.motion.find_motion` and `spline_motion`."""

    window_s: PositiveFloat = 0.5
    mask_s: NonNegativeFloat = 1.0
    deviations: PositiveFloat = 15.0
    max_change: PositiveFloat = 0.4
    smoothness: Annotated[float, Field(gt=0, lt=1)] = 0.99


class ShortChannelConfig(Section):
    """Keywords of `merps.preprocessing.short_channels.regress_short_channels`."""

    max_short_m: PositiveFloat = 0.015
