"""From what an fNIRS recording holds to the kinds that are asked for."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError, MisfitError
from merps.options import FnirsConfig
from merps.pipeline.stretches import Mended, Stretches, explained_share
from merps.preprocessing.coupling import (
    TRANSITION_HZ,
    peak_power,
    scalp_coupling_index,
    windowed_coupling,
)
from merps.preprocessing.filters import band_pass
from merps.preprocessing.motion import find_motion, motion_ratio, spline_motion
from merps.preprocessing.optics import (
    FITTED_NM,
    PIGMENTS,
    absorbance_to_density,
    beer_lambert,
    density_since_start,
    extinction,
    optical_density,
    pathlength_factor,
)
from merps.preprocessing.repair import tddr
from merps.preprocessing.short_channels import regress_short_channels
from merps.recording import Phase, Quantity, Recording

#: What light may come as, best first.
_LIGHT: tuple[Quantity, ...] = ("intensity", "optical density", "absorbance")
#: Kinds that light can become: the pigments and their sum.
_COMPUTED = (*PIGMENTS, "HbT")
#: Index from which on a window counts as coupled.
_COUPLED = 0.8
#: Motion is measured below this frequency, in hertz, where it is mended and kept.
_SLOW_HZ = 0.5


def mend_fnirs(
    recording: Recording,
    rest: Recording | None,
    section: FnirsConfig,
    *,
    is_joined: bool,
    phase: Phase = "zero",
) -> Mended:
    """Turn light into hemoglobin where need be, and mend it on the way.

    Light becomes optical density, motion is taken out of that and then what short
    channels see, and the Beer-Lambert law makes concentrations of it. Kinds that the
    file has are taken as they are, unless ``hemoglobin: computed`` asks for others, and
    mended likewise.

    Parameters
    ----------
    recording, rest : Recording
        The trial, and the rest before it, both of several kinds.
    section : FnirsConfig
        Options.
    is_joined : bool
        Whether the rest runs into the trial.
    phase : str
        Where it is causal, changes of light are those since its first sample.

    Returns
    -------
    Mended
        With the kinds that the options ask for.

    Raises
    ------
    InputError
        If an option does not fit the recording.
    MisfitError
        If these kinds can be neither found nor computed.
    """
    has_all = set(section.kinds) <= {*recording.kinds, *_sums(recording)}
    if section.hemoglobin == "given" and has_all:
        pick = partial(_pick, kinds=section.kinds)
        recording, rest = pick(recording), None if rest is None else pick(rest)
        if section.motion == "none" and section.short_channels is None:
            return Mended(recording, rest, recording, {})
        stretches = Stretches.of(recording, rest, is_joined=is_joined)
        notes = []
        mended, columns = _mend(stretches, recording, section, stretches.signal, notes)
        parts = stretches.split(mended, recording, rest)
        return Mended(*parts, recording, columns, notes=tuple(notes))
    try:
        return _compute(recording, rest, section, is_joined, phase)
    except InputError as error:
        raise MisfitError(str(error)) from error


def _compute(
    recording: Recording,
    rest: Recording | None,
    section: FnirsConfig,
    is_joined: bool,
    phase: Phase,
) -> Mended:
    """Make concentrations of light."""
    light = _light_of(recording)
    possible = {*_COMPUTED} if light else {*recording.kinds, *_sums(recording)}
    absent = [kind for kind in section.kinds if kind not in possible]
    if absent:
        choices = dict.fromkeys((*recording.kinds, *(_COMPUTED if light else ())))
        raise InputError(
            f"preprocess.fnirs.kinds asks for {', '.join(absent)}; choose from "
            f"{', '.join(choices) or 'the kinds of a recording, of which it has none'}"
        )
    if not light:
        raise InputError(
            "preprocess.fnirs.hemoglobin is computed, but the recording holds no "
            f"light, only {', '.join(recording.kinds)}; take what is given"
        )
    quantity, kinds = light
    recording = _pick(recording, kinds)
    rest = None if rest is None else _pick(rest, kinds)
    wavelengths_nm, notes = _wavelengths(kinds), []
    stretches = Stretches.of(recording, rest, is_joined=is_joined)
    density = _as_density(stretches.signal, quantity, phase)
    n_dark = int(np.isnan(density).sum() - np.isnan(stretches.signal).sum())
    if n_dark:
        notes.append(f"{n_dark} samples of fNIRS without light are missing")
    seen = recording.with_signal(stretches.trial(density))
    columns = _measure_coupling(seen, section)
    mended, more = _mend(stretches, recording, section, density, notes)
    if section.optics.pathlength_factor is None:
        factor = pathlength_factor(wavelengths_nm, age_y=section.optics.age_y)
        if min(wavelengths_nm) < FITTED_NM[0] or max(wavelengths_nm) > FITTED_NM[1]:
            notes.append(
                f"pathlength factors outside {FITTED_NM[0]:g} to {FITTED_NM[1]:g} nm "
                "are extrapolated"
            )
    else:
        factor = np.full(len(wavelengths_nm), section.optics.pathlength_factor)
    distance_m = _distances(recording, section)
    unknown = int(np.isnan(distance_m).sum())
    if unknown:
        notes.append(f"{unknown} fNIRS channels without a distance are missing")
    concentration = beer_lambert(
        mended,
        extinction=extinction(wavelengths_nm),
        distance_m=distance_m,
        pathlength_factor=factor,
    )
    by_name = dict(zip(PIGMENTS, concentration, strict=True))
    by_name["HbT"] = concentration.sum(axis=0)
    signal = np.stack([by_name[kind] for kind in section.kinds])
    wrap = partial(
        replace,
        kinds=section.kinds,
        quantity=("concentration",) * len(signal),
        unit=("mol/L",) * len(signal),
    )
    whole = wrap(recording, signal=stretches.trial(signal))
    before = None
    if rest is not None:
        before = wrap(rest, signal=signal[..., : stretches.n_rest])
    return Mended(whole, before, seen, columns | more, kinds, tuple(notes))


def _mend(
    stretches: Stretches,
    recording: Recording,
    section: FnirsConfig,
    mended: Float64[np.ndarray, "kind channel time"],
    notes: list[str],
) -> tuple[
    Float64[np.ndarray, "kind channel time"], dict[str, Float[np.ndarray, "*row"]]
]:
    """Take out motion, then what short channels see; tell both before and after."""
    rate_hz, columns = stretches.rate_hz, {}
    if section.motion != "none":
        columns["motion"] = _motion(stretches, mended)
        if section.motion == "tddr":
            repair = partial(tddr, rate_hz=rate_hz)
        else:
            options = section.spline.model_dump()
            smoothness = options.pop("smoothness")

            def repair(x: Float64[np.ndarray, "*row _"]) -> np.ndarray:
                found = find_motion(x, rate_hz=rate_hz, **options)
                return spline_motion(x, found, rate_hz=rate_hz, smoothness=smoothness)

        mended = stretches.along_time(mended, repair)
        columns["motion_after"] = _motion(stretches, mended)
    if section.short_channels is not None:
        cleaned = _regress_short(mended, recording, section, notes)
        scalp = mended - cleaned
        columns["scalp"] = explained_share(*map(stretches.trial, (mended, scalp)))
        columns["scalp_after"] = explained_share(
            *map(stretches.trial, (cleaned, scalp))
        )
        mended = cleaned
    return mended, columns


def _regress_short(
    density: Float64[np.ndarray, "kind channel time"],
    recording: Recording,
    section: FnirsConfig,
    notes: list[str],
) -> Float64[np.ndarray, "kind channel time"]:
    """Take out what short channels see, where there are short and long ones."""
    options, positions = section.short_channels.model_dump(), recording.positions
    if positions is not None and recording.distances_m is not None:
        distance_m = np.array(recording.distances_m)
        is_known = np.isfinite(positions).all(axis=1) & ~np.isnan(distance_m)
        is_short = distance_m[is_known] <= options["max_short_m"]
        if is_short.any() and not is_short.all():
            return regress_short_channels(
                density, distance_m=distance_m, positions=positions, **options
            )
    notes.append("no fNIRS channels of known place are short beside longer ones")
    return density


def _motion(
    stretches: Stretches, signal: Float64[np.ndarray, "kind channel time"]
) -> Float64[np.ndarray, "kind channel"]:
    """Measure the motion in the slow part of a signal."""
    rate_hz = stretches.rate_hz

    def slow(x: Float64[np.ndarray, "*row _"]) -> np.ndarray:
        if rate_hz <= 2 * _SLOW_HZ:
            return x
        return band_pass(
            x, rate_hz=rate_hz, low_hz=None, high_hz=_SLOW_HZ, order=3, pad_s=10.0
        )

    moves = stretches.along_time(signal, slow)
    return motion_ratio(stretches.trial(moves), rate_hz=rate_hz)


def _measure_coupling(
    density: Recording, section: FnirsConfig
) -> dict[str, Float[np.ndarray, " channel"]]:
    """Tell how well optodes are coupled; nothing where no heart can be compared."""
    options = section.coupling.model_dump() | {"rate_hz": density.rate_hz}
    highest_hz = density.rate_hz / 2 - TRANSITION_HZ
    if options["high_hz"] >= highest_hz or len(density.kinds) < 2:
        return {}
    windows_cw = windowed_coupling(density.signal, **options)
    power_cw = peak_power(density.signal, **options)
    options.pop("window_s")
    present_c = ~np.isnan(windows_cw).any(axis=1)
    return {
        "coupling": scalp_coupling_index(density.signal, **options),
        "coupled": np.where(present_c, (windows_cw >= _COUPLED).mean(axis=1), np.nan),
        "peak_power": np.median(power_cw, axis=1),
    }


def _light_of(recording: Recording) -> tuple[Quantity, tuple[str, ...]] | None:
    """Return the best kind of light that a recording has, and which kinds hold it."""
    quantities = recording.quantity
    if isinstance(quantities, str):
        quantities = (quantities,) * len(recording.kinds)
    for wanted in _LIGHT:
        kinds = [
            kind
            for kind, quantity in zip(recording.kinds, quantities, strict=True)
            if quantity == wanted
        ]
        if kinds:
            return wanted, tuple(kinds)
    return None


def _as_density(
    light: Float64[np.ndarray, "kind channel time"], quantity: Quantity, phase: Phase
) -> Float64[np.ndarray, "kind channel time"]:
    """Return changes of optical density, natural logarithm."""
    if quantity == "optical density":
        return light
    if phase == "causal":
        return density_since_start(light if quantity == "intensity" else 10**-light)
    turn = optical_density if quantity == "intensity" else absorbance_to_density
    return turn(light)


def _wavelengths(kinds: Sequence[str]) -> tuple[float, ...]:
    """Read wavelengths in nanometers from names such as 780nm and Abs780."""
    found = [re.search(r"\d+(\.\d+)?", kind) for kind in kinds]
    nameless = [kind for kind, match in zip(kinds, found, strict=True) if not match]
    if nameless:
        raise InputError(
            f"kind {nameless[0]!r} names no wavelength; name kinds of light as 780nm"
        )
    return tuple(float(match.group()) for match in found)


def _distances(
    recording: Recording, section: FnirsConfig
) -> Float64[np.ndarray, " channel"]:
    """Return distances of source and detector in meters, as recorded or as stated."""
    n_channels = len(recording.channels)
    stated = section.optics.distance_m
    distance_m = np.array(recording.distances_m or [np.nan] * n_channels, np.float64)
    if stated is not None:
        distance_m[np.isnan(distance_m)] = stated
    if np.isnan(distance_m).all():
        raise InputError(
            "the recording does not tell how far sources are from detectors, which "
            "concentrations need; state preprocess.fnirs.optics.distance_m, in meters "
            "(0.03 is usual for adults)"
        )
    return distance_m


def _pick(recording: Recording, kinds: Sequence[str]) -> Recording:
    """Keep some kinds of a recording, time-major in memory as MATLAB has it."""
    if not set(kinds) <= set(recording.kinds):
        recording = _add_total(recording)
    rows = [recording.kinds.index(kind) for kind in kinds]

    def few(facts: str | tuple[str, ...]) -> tuple[str, ...]:
        facts = (facts,) * len(recording.kinds) if isinstance(facts, str) else facts
        return tuple(facts[row] for row in rows)

    return replace(
        recording,
        signal=recording.signal.T.take(rows, axis=-1).T,
        kinds=few(recording.kinds),
        quantity=few(recording.quantity),
        unit=few(recording.unit),
    )


def _sums(recording: Recording) -> tuple[str, ...]:
    """Return what can be had by adding kinds: HbT, where both pigments are there."""
    return ("HbT",) if set(PIGMENTS) <= set(recording.kinds) else ()


def _add_total(recording: Recording) -> Recording:
    """Add total hemoglobin to its parts."""
    hbo = recording.kinds.index(PIGMENTS[0])
    total = sum(recording.signal[recording.kinds.index(kind)] for kind in PIGMENTS)
    facts = {}
    for name in ("quantity", "unit"):
        fact = getattr(recording, name)
        facts[name] = fact if isinstance(fact, str) else (*fact, fact[hbo])
    return replace(
        recording,
        signal=np.concatenate([recording.signal, total[None]]),
        kinds=(*recording.kinds, "HbT"),
        **facts,
    )
