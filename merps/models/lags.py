"""How long labels trail EEG and fNIRS, searched inside the training rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Int
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.rows import encode
from merps.models.signals import SignalModel
from merps.samples import Samples
from merps.shapes import SampleTargets

EEG_LAGS_S = (0, 2, 4, 6)
FNIRS_LAGS_S = (0, -2, -4, -6, 2)

# Features by the start of their names, blocks by that of theirs.
_FEATURES = {"eeg": "eeg/", "fnirs": "fnirs/"}
_BLOCKS = {"eeg": ("eeg_", "joint_"), "fnirs": ("fnirs_",)}


def shift_samples(samples: Samples, *, eeg_s: int, fnirs_s: int) -> Samples:
    """Give each row the signals of an earlier or later second of its trial.

    The row of second t takes the signals of second t - lag; where the trial has no
    such second, of the nearest one it has, of two equally near ones the earlier.
    Features move by the modality their names begin with (``eeg/``, ``fnirs/``), blocks
    likewise (``eeg_``, ``fnirs_``; ``joint_`` moves with the EEG); others stay. What is
    the same in a whole trial, such as the covariances of a rest, stays by itself.

    Parameters
    ----------
    samples : Samples
        Rows in any order, whole trials best; seconds may have gaps.
    eeg_s, fnirs_s : int
        Lags in seconds; positive ones take from earlier seconds, negative ones from
        later seconds.

    Returns
    -------
    Samples
        The same people, stimuli, seconds and targets in the same order.
    """
    features, blocks = samples.features, dict(samples.blocks)
    for modality, lag_s in (("eeg", eeg_s), ("fnirs", fnirs_s)):
        columns, names = _parts(samples, modality)
        if lag_s == 0 or not len(samples) or not (columns or names):
            continue
        rows = _rows_behind(samples, lag_s)
        if columns:
            features = features.copy() if features is samples.features else features
            features[:, columns] = samples.features[np.ix_(rows, columns)]
        for name in names:
            blocks[name] = replace(blocks[name], rows=blocks[name].rows[rows])
    return replace(samples, features=features, blocks=blocks)


def refine_lag(lags_s: Sequence[float], errors: Float64[np.ndarray, " lag"]) -> float:
    """Find the lag of the smallest error between the candidates.

    The lowest point of the parabola through the smallest error and its neighbors;
    where it lies at an end of the candidates, the parabola might end anywhere, and the
    candidate is returned.

    Parameters
    ----------
    lags_s : sequence of float
        Candidates in seconds, each once, in any order.
    errors : ndarray of float64, shape (lag,)
        Error at each of them, such as a column of ``eeg_curve_`` or its mean.

    Returns
    -------
    float
        In seconds.

    Raises
    ------
    InputError
        If there are no candidates, or errors are missing.
    """
    order = np.argsort(lags_s)
    x, y = np.asarray(lags_s, dtype=np.float64)[order], errors[order]
    if not len(x) or not np.isfinite(y).all():
        raise InputError(f"no lag can be told from errors {errors.tolist()}")
    best = int(y.argmin())
    if best in (0, len(x) - 1):
        return float(x[best])
    before, after = x[best] - x[best - 1], x[best + 1] - x[best]
    # Slopes on both sides; the parabola's is their linear interpolation.
    falls = (y[best - 1] - y[best]) / before
    rises = (y[best + 1] - y[best]) / after
    if falls + rises == 0:
        return float(x[best])
    middle = x[best] - before / 2
    return float(middle + (before + after) / 2 * falls / (falls + rises))


class LagSearch(BaseEstimator):
    """Fit any model at the lag between signals and labels that suits it best.

    A lag is by how many seconds labels trail a signal: at a lag of 2 s the label of
    second t is predicted from the signals of second t - 2. That comes on top of what a
    window reaches back by itself: the window of a second ends with that second.

    A rating follows what is felt by a few seconds, the annotation lag, which makes the
    lag of the EEG positive. Blood follows the brain by about 5 s, the hemodynamic
    delay, which counts against it: the lag of the fNIRS is the annotation lag minus the
    hemodynamic delay and may be negative, in which case labels are predicted from
    later seconds.

    Lags are chosen one after the other, those of the EEG at the first candidate for
    the fNIRS, then those of the fNIRS at the lag so chosen. Each candidate is fitted on
    all training rows and judged by ``inner_mae_``, the absolute error that the model
    itself has measured on rows it held out of them; the smallest mean over valence and
    arousal wins, of equals the lag nearest zero. Both dimensions share the lags. A
    modality that the rows do not have, or that has no part in the blocks that the model
    `needs`, is not searched, and its lag is 0. Of n and m candidates, n + m - 1 are
    fitted.

    Parameters
    ----------
    model : estimator, optional
        What is fitted, with ``fit(samples)`` and ``predict(samples)`` and, where there
        is more than one candidate, with ``inner_mae_`` after fitting; None stands for
        ``SignalModel()``.
    eeg_lags_s, fnirs_lags_s : sequence of int
        Candidates in seconds.

    Attributes
    ----------
    model_ : estimator
        The fitted model, which takes samples that `shift_samples` has shifted.
    eeg_lag_s_, fnirs_lag_s_ : int
        Chosen lags in seconds.
    eeg_curve_ : ndarray of float64, shape (eeg_lag, 2)
        Inner absolute error of valence and arousal at each candidate, in their order;
        NaN where the model could not measure it; no rows where there is no EEG.
    fnirs_curve_ : ndarray of float64, shape (fnirs_lag, 2)
        Likewise, at the chosen lag of the EEG.
    """

    contains: ClassVar[str] = "lags between signals and labels, and their inner errors"

    model_: BaseEstimator
    eeg_lag_s_: int
    fnirs_lag_s_: int
    eeg_curve_: Float64[np.ndarray, "eeg_lag 2"]
    fnirs_curve_: Float64[np.ndarray, "fnirs_lag 2"]

    def __init__(self, model=None, eeg_lags_s=EEG_LAGS_S, fnirs_lags_s=FNIRS_LAGS_S):
        self.model = model
        self.eeg_lags_s = eeg_lags_s
        self.fnirs_lags_s = fnirs_lags_s

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the blocks that the model asks of samples."""
        return getattr(self._template, "needs", ())

    @property
    def alpha_(self) -> Float64[np.ndarray, "2"]:
        """Penalty that the model has chosen for each dimension."""
        return self.model_.alpha_

    @property
    def inner_mae_(self) -> Float64[np.ndarray, "2"]:
        """Inner absolute error of each dimension at the chosen lags."""
        return self.model_.inner_mae_

    @property
    def feature_names_(self) -> tuple[str, ...]:
        """Columns of the training rows."""
        return self.model_.feature_names_

    def fit(self, samples: Samples) -> "LagSearch":
        """Choose the lags and keep the model fitted at them.

        Parameters
        ----------
        samples : Samples
            Training rows with targets; the signals of rows without labels are of use
            to their neighbors.

        Returns
        -------
        LagSearch
            This estimator.

        Raises
        ------
        InputError
            If there are no candidates or some are no whole seconds, or the model tells
            no inner error to choose by.
        """
        candidates = {name: self._candidates(samples, name) for name in _FEATURES}
        chosen = {name: (lags_s or [0])[0] for name, lags_s in candidates.items()}
        model, curves = self._fitted(samples, chosen), {}
        for name, lags_s in candidates.items():
            models, errors = {}, {}
            for lag_s in lags_s:
                known = lag_s == chosen[name]
                lags = {**chosen, name: lag_s}
                models[lag_s] = model if known else self._fitted(samples, lags)
                errors[lag_s] = _inner_error(models[lag_s], needed=len(lags_s) > 1)
            curves[name] = np.array(list(errors.values())).reshape(-1, 2)
            if errors:
                chosen[name] = _best(errors)
                model = models[chosen[name]]
        self.model_ = model
        self.eeg_lag_s_, self.fnirs_lag_s_ = chosen["eeg"], chosen["fnirs"]
        self.eeg_curve_, self.fnirs_curve_ = curves["eeg"], curves["fnirs"]
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from signals at the chosen lags.

        Parameters
        ----------
        samples : Samples
            Rows as of the model, whole trials best: at the ends of what there is of a
            trial the nearest second stands in.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.

        Raises
        ------
        InputError
            If the model refuses the rows.
        """
        check_is_fitted(self)
        return self.model_.predict(
            shift_samples(samples, eeg_s=self.eeg_lag_s_, fnirs_s=self.fnirs_lag_s_)
        )

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If a lag is no candidate, or the curve has another number of them.
        """
        self.model_.check_state()
        for name in _FEATURES:
            n_judged = len(getattr(self, f"{name}_curve_"))
            lags_s = getattr(self, f"{name}_lags_s") if n_judged else (0,)
            known = getattr(self, f"{name}_lag_s_") in lags_s
            if not known or n_judged not in (0, len(lags_s)):
                raise InputError(f"{name}_lag_s_ and {name}_curve_ do not go together")

    def _candidates(self, samples: Samples, name: str) -> list[int]:
        """Return the lags to try, none where the modality is absent."""
        lags_s = list(getattr(self, f"{name}_lags_s"))
        whole = all(lag_s == int(lag_s) for lag_s in lags_s)
        if not lags_s or not whole or len(set(lags_s)) < len(lags_s):
            raise InputError(
                f"{name}_lags_s must be distinct whole seconds, at least one, got "
                f"{lags_s}"
            )
        # A model that names its blocks takes nothing else.
        if self.needs:
            there = [own for own in self.needs if own in samples.blocks]
            used = _blocks_of(name, there)
        else:
            used = any(_parts(samples, name))
        return [int(lag_s) for lag_s in lags_s] if used else []

    @property
    def _template(self) -> Any:
        """What is fitted at each lag."""
        return SignalModel() if self.model is None else self.model

    def _fitted(self, samples: Samples, lags: Mapping[str, int]) -> Any:
        """Fit a fresh model at some lags."""
        shifted = shift_samples(samples, eeg_s=lags["eeg"], fnirs_s=lags["fnirs"])
        return clone(self._template).fit(shifted)


def _inner_error(model: Any, *, needed: bool) -> Float64[np.ndarray, "2"]:
    """Return the inner absolute error of a fitted model, NaN where it has none."""
    error = getattr(model, "inner_mae_", None)
    if error is None and needed:
        raise InputError(
            f"a {type(model).__name__} has no inner_mae_ to choose a lag by; give one "
            "lag a modality, or choose another model"
        )
    return np.full(2, np.nan) if error is None else np.asarray(error)


def _best(errors: Mapping[int, Float64[np.ndarray, "2"]]) -> int:
    """Return the lag with the smallest mean error, of equals the one nearest zero."""

    def rank(lag_s: int) -> tuple[float, int, int]:
        mean = float(np.nan_to_num(errors[lag_s].mean(), nan=np.inf))
        return mean, abs(lag_s), lag_s

    return min(errors, key=rank)


def _parts(samples: Samples, name: str) -> tuple[list[int], list[str]]:
    """Return the feature columns and the blocks of a modality."""
    names = enumerate(samples.feature_names)
    columns = [place for place, own in names if own.startswith(_FEATURES[name])]
    return columns, _blocks_of(name, samples.blocks)


def _blocks_of(name: str, blocks: Iterable[str]) -> list[str]:
    """Return the blocks of a modality."""
    return [own for own in blocks if own.startswith(_BLOCKS[name])]


def _rows_behind(samples: Samples, lag_s: int) -> Int[np.ndarray, " sample"]:
    """Find for each row the row of its trial that is nearest to `lag_s` before it."""
    person = encode(samples.people)[1]
    stimuli, stimulus = encode(samples.stimuli)
    second = samples.seconds - samples.seconds.min()
    span_s = second.max() + 1
    # Trials lie further apart than their ends, so that the nearest row is of the trial.
    start_s = (person * len(stimuli) + stimulus) * 2 * span_s
    order = np.argsort(start_s + second)
    known_s = (start_s + second)[order]
    wanted_s = start_s + np.clip(second - lag_s, 0, span_s - 1)
    later = np.minimum(np.searchsorted(known_s, wanted_s), len(order) - 1)
    earlier = np.maximum(later - 1, 0)
    closer = wanted_s - known_s[earlier] <= np.abs(known_s[later] - wanted_s)
    return order[np.where(closer, earlier, later)]
