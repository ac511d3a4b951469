"""What eyes, muscles and mains add to the EEG, taken out again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from merps.errors import InputError
from merps.preprocessing.electrodes import as_raw
from merps.preprocessing.silence import quiet_mne

#: What independent components are found in, and how often it is looked at, in hertz.
_COMPONENTS_HZ = (1.0, 100.0)
_COMPONENTS_RATE_HZ = 250.0


def fit_line_noise(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    line_hz: float,
    window_s: float,
    p_value: float,
) -> Float64[np.ndarray, "channel time"]:
    """Subtract sines at the line frequency and its multiples where they are there.

    In overlapping windows, amplitude and phase of each are estimated with multitapers
    by MNE-Python, and taken out where an F test finds them. Unlike a notch filter, this
    leaves what else is at those frequencies, and rings at nothing.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; without NaN.
    rate_hz : float
        Sampling rate in hertz.
    line_hz : float
        Frequency of the power line in hertz.
    window_s : float
        Length of a window in seconds; longer ones follow slower changes of amplitude
        and leave more of what is beside the line.
    p_value : float
        Level of the F test.

    Returns
    -------
    ndarray of float64, shape (channel, time)
        Unit of `signal`.

    Raises
    ------
    InputError
        If the line frequency does not lie below the Nyquist frequency, the signal is
        shorter than a window, or it is not finite.

    References
    ----------
    P. Mitra and H. Bokil, Observed Brain Dynamics, Oxford University Press, 2007.
    """
    from mne.filter import notch_filter

    _require_finite(signal)
    if not 0 < line_hz < rate_hz / 2:
        raise InputError(
            f"line_hz={line_hz:g} must lie between 0 and {rate_hz / 2:g}, the Nyquist "
            "frequency"
        )
    length = round(window_s * rate_hz)
    if not 2 <= length <= signal.shape[-1]:
        raise InputError(
            f"window_s={window_s:g} must span from 2 to the {signal.shape[-1]} samples "
            f"of the signal at rate_hz={rate_hz:g}"
        )
    with quiet_mne():
        return notch_filter(
            signal.astype(np.float64),
            rate_hz,
            np.arange(line_hz, rate_hz / 2 - 1, line_hz),
            filter_length=length,
            method="spectrum_fit",
            p_value=p_value,
        )


def artifact_weights(
    signal: Float[np.ndarray, "channel time"],
    artifact: Float[np.ndarray, "artifact time"],
) -> Float64[np.ndarray, "channel artifact"]:
    """Return how much of artifact channels each channel sees, by least squares.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; without NaN.
    artifact : ndarray of float, shape (artifact, time)
        What was recorded next to the source, such as the eyes; without NaN.

    Returns
    -------
    ndarray of float64, shape (channel, artifact)
        Weights; 0 for an artifact channel that does not move.

    Raises
    ------
    InputError
        If a sample is not finite.

    References
    ----------
    G. Gratton, M. G. H. Coles, E. Donchin, A new method for off-line removal of ocular
    artifact, Electroencephalography and Clinical Neurophysiology 55(4), 1983.
    """
    _require_finite(signal)
    _require_finite(artifact)
    seen_at = artifact - artifact.mean(axis=-1, keepdims=True, dtype=np.float64)
    x_ct = signal - signal.mean(axis=-1, keepdims=True, dtype=np.float64)
    return x_ct @ seen_at.T @ np.linalg.pinv(seen_at @ seen_at.T, hermitian=True)


def regress_out(
    signal: Float[np.ndarray, "channel time"],
    artifact: Float[np.ndarray, "artifact time"],
    weights: Float[np.ndarray, "channel artifact"],
) -> Float64[np.ndarray, "channel time"]:
    """Subtract what each channel sees of artifact channels.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Any unit; NaN marks samples that are missing.
    artifact : ndarray of float, shape (artifact, time)
        As for `artifact_weights`; its mean stays in the signal.
    weights : ndarray of float, shape (channel, artifact)
        As from `artifact_weights`, which may have seen a filtered copy.

    Returns
    -------
    ndarray of float64, shape (channel, time)
        Unit of `signal`; NaN where the channel or an artifact channel is missing.
    """
    seen_at = artifact - np.nanmean(artifact, axis=-1, keepdims=True)
    return signal - weights @ seen_at


@dataclass(frozen=True, slots=True)
class Components:
    """Independent components of an EEG, with what they are taken for.

    Parameters
    ----------
    labels : tuple of str
        Best guess for each: brain, muscle artifact, eye blink, heart beat, line noise,
        channel noise or other.
    probabilities : ndarray of float64, shape (component,)
        Of the guess.
    removed : ndarray of bool, shape (component,)
        Which ones were taken out.
    """

    labels: tuple[str, ...]
    probabilities: Float64[np.ndarray, " component"]
    removed: Bool[np.ndarray, " component"]


def remove_components(
    signal: Float[np.ndarray, "channel time"],
    *,
    rate_hz: float,
    positions: Float[np.ndarray, "channel 3"],
    unit_v: float,
    n_components: int,
    remove: Sequence[str],
    min_probability: float,
    seed: int,
) -> tuple[Float64[np.ndarray, "channel time"], Components]:
    """Take out independent components that a trained net holds for artifacts.

    Extended infomax of MNE-Python finds components in the average reference from 1 to
    100 Hz, and ICLabel (MNE-ICLabel, onnx backend) names them. What they add to all
    channels alike, which the average reference hides, is found by regression.

    Parameters
    ----------
    signal : ndarray of float, shape (channel, time)
        Good channels only; without NaN.
    rate_hz : float
        Sampling rate in hertz, above 200 for ICLabel as it was trained.
    positions : ndarray of float, shape (channel, 3)
        Meters, all of them known.
    unit_v : float
        Volts in one unit of `signal`.
    n_components : int
        Principal components that are unmixed; at most one less than channels.
    remove : sequence of str
        Labels of what is taken out.
    min_probability : float
        How sure the net must be.
    seed : int
        Of the first unmixing.

    Returns
    -------
    signal : ndarray of float64, shape (channel, time)
        Unit of `signal`.
    components : Components
        What was found.

    Raises
    ------
    InputError
        If MNE-ICLabel or onnxruntime is not installed, there are fewer than five
        channels or components than can be, or a sample is not finite.

    References
    ----------
    L. Pion-Tonachini, K. Kreutz-Delgado, S. Makeig, ICLabel: An automated
    electroencephalographic independent component classifier, dataset, and website,
    NeuroImage 198, 2019.
    """
    try:
        import onnxruntime  # noqa: F401
        from mne_icalabel.config import ICLABEL_NUMERICAL_TO_STRING
        from mne_icalabel.iclabel import iclabel_label_components
    except ImportError as error:
        raise InputError(
            f"labels of components need {error.name}, which is not installed; run "
            "pip install 'merps[ica]'"
        ) from error
    from mne.preprocessing import ICA

    _require_finite(signal)
    if not 2 <= n_components < len(signal):
        raise InputError(
            f"n_components={n_components} must lie from 2 to {len(signal) - 1}, one "
            f"less than the {len(signal)} good channels with a position"
        )
    raw = as_raw(unit_v * signal, rate_hz=rate_hz, positions=positions)
    ica = ICA(
        n_components,
        method="infomax",
        fit_params={"extended": True},
        random_state=seed,
    )
    with quiet_mne():
        whole = raw.copy().set_eeg_reference("average")
        low_hz, high_hz = _COMPONENTS_HZ
        raw.filter(low_hz, min(high_hz, 0.45 * rate_hz))
        if rate_hz > _COMPONENTS_RATE_HZ:
            raw.resample(_COMPONENTS_RATE_HZ)
        common_1t = raw.get_data().mean(axis=0, keepdims=True)
        raw.set_eeg_reference("average")
        ica.fit(raw)
        chances_nk = iclabel_label_components(raw, ica, inplace=False, backend="onnx")
        labels = [ICLABEL_NUMERICAL_TO_STRING[k] for k in chances_nk.argmax(axis=1)]
        likely_n = chances_nk.max(axis=1).astype(np.float64)
        removed_n = np.isin(labels, list(remove)) & (likely_n >= min_probability)
        seen_nt = ica.get_sources(raw).get_data()[removed_n]
        sources_nt = ica.get_sources(whole).get_data()[removed_n]
        artifact_ct = whole.get_data()
        ica.apply(whole, exclude=np.flatnonzero(removed_n).tolist())
    artifact_ct += artifact_weights(common_1t, seen_nt) @ sources_nt - whole.get_data()
    found = Components(tuple(labels), likely_n, removed_n)
    return signal - artifact_ct / unit_v, found


def _require_finite(signal: Float[np.ndarray, "channel time"]) -> None:
    """Refuse what would spread over a whole row."""
    if not np.isfinite(signal).all():
        raise InputError(
            "signal has missing or infinite samples; mark them as NaN and call "
            "merps.preprocessing.repair.fill_gaps first"
        )
