"""What looks ahead, and by how much causal filters are late instead."""

from typing import Any

from merps.datasets.arrays import FNIRS_RATE_HZ
from merps.errors import InputError
from merps.models.lags import LagSearch
from merps.options import Config, EegConfig, FnirsConfig
from merps.pipeline.trials import design_filters, keep_hz
from merps.preprocessing.chain import resampling_delay_s
from merps.preprocessing.designs import group_delay_s
from merps.recording import Phase

#: What each option of a model must be if second t is predicted from its past alone.
_CAUSAL = {
    "reference": ("training", "takes the mean or the rests of all recordings"),
    "alignment": ("none", "takes means over all recordings of the person"),
    "sequence_s": (1, "decodes a second together with later ones"),
}


def require_phase(model: Any, phase: Phase) -> None:
    """Refuse a model that looks ahead, where signals do not.

    Parameters
    ----------
    model : estimator
        Unfitted.
    phase : {"zero", "causal"}
        Of the signals; nothing is asked of models of zero-phase ones.

    Raises
    ------
    InputError
        If the phase is causal, and an option of the model takes from later seconds or
        other recordings of the person that is predicted.
    """
    if phase == "zero":
        return
    found = []
    if isinstance(model, LagSearch):
        early = min(*model.eeg_lags_s, *model.fnirs_lags_s)
        if early < 0:
            found.append(f"a lag of {early} s takes signals of later seconds")
        model = model.model
    for name, (causal, what) in _CAUSAL.items():
        chosen = getattr(model, name, causal)
        if chosen != causal:
            found.append(f"{name}={chosen} {what} (causal: {causal})")
    if "joint" in getattr(model, "inputs", ()):
        found.append("the input joint holds fNIRS of later seconds (leave it out)")
    if found:
        raise InputError(
            f"preprocess.phase=causal looks back alone, but in {type(model).__name__} "
            f"{'; '.join(found)}; the preset causal changes what has to be"
        )


def filter_delays_s(config: Config) -> dict[str, dict[str, float]]:
    """Return by how much the filters of preprocessing delay the signals.

    Parameters
    ----------
    config : Config
        Options.

    Returns
    -------
    dict of dict of float
        None where the phase is zero. Else in seconds: for ``eeg``, the group delay in
        the middle of each band of the features; for ``fnirs``, that of a constant
        (``slow``), the change of rate included, which for EEG depends on the files
        (25 ms from 1000 to 200 Hz, 0 from 200 Hz).
    """
    if config.preprocess.phase == "zero":
        return {}
    eeg, fnirs = config.preprocess.eeg, config.preprocess.fnirs
    rates = {"rate_hz": FNIRS_RATE_HZ, "to_hz": fnirs.to_hz}
    late_s = resampling_delay_s(**rates, keep_hz=keep_hz(fnirs, FNIRS_RATE_HZ))
    bands = config.features.bands.items()
    return {
        "eeg": {name: _delay_s(eeg, (low + high) / 2) for name, (low, high) in bands},
        "fnirs": {"slow": round(late_s + _delay_s(fnirs, 0.0), 4)},
    }


def _delay_s(section: EegConfig | FnirsConfig, at_hz: float) -> float:
    """Return the group delay of all filters of one modality."""
    return round(
        sum(
            group_delay_s(chosen.sections, rate_hz=section.to_hz, at_hz=at_hz)
            for chosen in design_filters(section)
        ),
        4,
    )
