"""What signals add to the video-time prior, as far as held-out people confirm it."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64, Int
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.features.temporal import smooth_in_time, smooth_past
from merps.models.combined import CombinedModel
from merps.models.gains import Choice, choose_gains, fused
from merps.models.held_out import Plan, additions, fit_held_out
from merps.models.priors import VideoTimePrior
from merps.models.rows import (
    divisions,
    encode,
    in_order,
    inner_folds,
    labeled,
)
from merps.recording import Phase
from merps.samples import Samples
from merps.shapes import SampleTargets

logger = logging.getLogger(__name__)

GAINS = tuple(tenth / 10 for tenth in range(13))
WIDTHS_S = (1.0, 15.0, 30.0, 60.0)
#: Stimuli that training has seen, and others; decided about apart.
KINDS = ("known", "new")

_FEWEST_GROUPS = 3
_MOST_RESIDUAL_BLOCKS = 24
# Of the test over people, and over the stimuli of one or two: those hang together by
# the prior that they share, and 3 % of what is null would pass at 99 %.
_CONFIDENCE = {True: 0.99, False: 0.999}
_shrunk_prior = partial(VideoTimePrior, shrunk=True)


class ResidualFusion(CombinedModel):
    """Add to a video-time prior what models of the signals say of the rest.

    The prior is drawn to the median as far as its number of people suggests. The
    prediction of each dimension is

        clip(prior + smooth(sum over models of gain * addition), 1, 255)

    Each model is fitted on the residuals of the prior, cross-fitted: the prior of each
    person comes from the other people. Its addition is its prediction less what it
    says of a row without signals, so that a trial without signals is the prior; a
    centered moving average over the trial then takes away what flickers.

    Gains, of which each may be zero, and the width of the average are chosen on
    additions to training rows that neither model nor prior have learned from, by the
    absolute error, which is the score; see `choose_gains`. For each dimension that is
    done twice:

    - for known stimuli, on held-out people: there the prior is the course of others;
    - for new ones, on people and stimuli that are held out at once, in three folds
      each: there the prior is the training median. Tuned on known stimuli alone,
      models would be paid for recognizing them.

    Nothing is added that does not pass a test over people (a harder one over stimuli
    where there are fewer than three people). Of many gains the best looks better than
    the prior by chance alone, and residuals of one person hang together for minutes,
    so that seconds are no evidence. Where there is too little to choose on, the prior
    alone answers.

    Several models are combined by nonnegative gains that change one at a time, from
    zero: models that know the same share one gain, and a weak one gets none. Fusions by
    agreement (the smaller of two additions of one sign) do without, and add noise.

    Parameters
    ----------
    models : mapping of str to estimator, optional
        Unfitted models of the signals; None stands for ``SignalModel()`` alone, as
        ``bandpower``.
    widths_s : sequence of float
        Widths of the average in seconds to choose from; 1 and less smooth nothing.
    gains : sequence of float
        Gains to choose from; zero always is.
    smoothing_s : int
        Passed to `VideoTimePrior`.
    n_folds : int
        Number of folds of held-out people; fewer where there are fewer people.
    phase : {"zero", "causal"}
        Whether the average is centered or looks back.

    Attributes
    ----------
    prior_ : VideoTimePrior
        Fitted on all training rows.
    models_ : dict of str to estimator
        The models in the order of their names, fitted on all residuals; without those
        that had no signal to learn from.
    gain_known_, gain_new_ : ndarray of float64, shape (model, 2)
        Chosen gains.
    width_known_s_, width_new_s_ : ndarray of float64, shape (2,)
        Chosen widths in seconds.
    inner_mae_known_, inner_mae_new_ : ndarray of float64, shape (2,)
        Absolute error on the rows held out, as chosen; NaN where there were too few
        people or stimuli to choose on.
    prior_inner_mae_known_, prior_inner_mae_new_ : ndarray of float64, shape (2,)
        That of the prior.
    """

    contains: ClassVar[str] = "how much of each model is added to the prior"

    gain_known_: Float64[np.ndarray, "model 2"]
    gain_new_: Float64[np.ndarray, "model 2"]
    width_known_s_: Float64[np.ndarray, "2"]
    width_new_s_: Float64[np.ndarray, "2"]
    inner_mae_known_: Float64[np.ndarray, "2"]
    inner_mae_new_: Float64[np.ndarray, "2"]
    prior_inner_mae_known_: Float64[np.ndarray, "2"]
    prior_inner_mae_new_: Float64[np.ndarray, "2"]

    def __init__(
        self,
        models=None,
        widths_s=WIDTHS_S,
        gains=GAINS,
        smoothing_s=7,
        n_folds=5,
        phase="zero",
    ):
        super().__init__(models, smoothing_s)
        self.widths_s = widths_s
        self.gains = gains
        self.n_folds = n_folds
        self.phase = phase

    @property
    def inner_mae_(self) -> Float64[np.ndarray, "2"]:
        """Held-out absolute error of each dimension on known stimuli."""
        return self.inner_mae_known_

    @property
    def facts(self) -> dict[str, Any]:
        """What was chosen for known and for new stimuli, as JSON can hold it."""
        told = {}
        for kind in KINDS:
            gains, width_s, *errors = (
                getattr(self, name).tolist() for name in _names(kind)
            )
            error, prior_error = (
                [None if np.isnan(x) else x for x in e] for e in errors
            )
            told[kind] = {
                "gain": dict(zip(self.models_, gains, strict=True)),
                "width_s": width_s,
                "inner_mae": error,
                "prior_inner_mae": prior_error,
            }
        told["known"]["shrinkage"] = self.prior_.shrinkage_.tolist()
        return told

    def fit(self, samples: Samples) -> "ResidualFusion":
        """Learn the prior, the models of what it leaves over, and the gains.

        Parameters
        ----------
        samples : Samples
            Training rows with targets, and what the models ask for; rows with a
            missing label are passed over.

        Returns
        -------
        ResidualFusion
            This estimator.

        Raises
        ------
        InputError
            If there are no labels or no signals, a gain or a width is negative, there
            are fewer than 3 folds, or a model refuses the rows.
        """
        self._check_options()
        samples = in_order(labeled(samples))
        chosen = self._with_signals(samples)
        labels = _without_signals(samples)
        self.prior_ = _shrunk_prior(self.smoothing_s).fit(labels)
        trials = {kind: self._trial(labels, kind) for kind in KINDS}
        plans = {kind: trial.plan for kind, trial in trials.items() if trial}
        residuals = samples.with_targets(self._residuals(labels))
        self.models_, added = {}, {kind: [] for kind in plans}
        for name, model in chosen.items():
            self.models_[name] = clone(model)
            answers = fit_held_out(self.models_[name], residuals, list(plans.values()))
            for kind, answer in zip(plans, answers, strict=True):
                added[kind].append(answer)
        for kind, trial in trials.items():
            self._decide(kind, labels, trial, added.get(kind))
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its stimulus, its second and its signals.

        Parameters
        ----------
        samples : Samples
            Rows as of the models, whole trials best.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.

        Raises
        ------
        InputError
            If a model refuses the rows.
        """
        check_is_fitted(self)
        predicted = self.prior_.predict(samples)
        is_known = np.isin(samples.stimuli, self.prior_.stimuli_)
        rows = {"known": np.flatnonzero(is_known), "new": np.flatnonzero(~is_known)}
        for kind, own in rows.items():
            gains, width_s, *_ = (getattr(self, name) for name in _names(kind))
            if not len(own) or not gains.any():
                continue
            part, total = samples.take(own), np.zeros((len(own), 2))
            for model, gain in zip(self.models_.values(), gains, strict=True):
                if gain.any():
                    total += gain * additions(model, part)
            for k in range(2):
                smooth = self._smoothed(total[:, [k]], part, width_s[k])[:, 0]
                predicted[own, k] = fused(predicted[own, k], smooth)
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If there are not as many gains as models.
        """
        self._check_options()
        for kind in KINDS:
            if len(getattr(self, f"gain_{kind}_")) != len(self.models_):
                raise InputError(f"gain_{kind}_ and models_ differ in number")

    def _check_options(self) -> None:
        """Refuse options that make no sense."""
        if min(self.gains) < 0:
            raise InputError(f"gains must not be negative, got {min(self.gains):g}")
        if not len(self.widths_s) or min(self.widths_s) < 0:
            raise InputError(f"widths_s must be seconds, got {tuple(self.widths_s)}")
        if self.phase not in get_args(Phase):
            raise InputError(
                f"phase={self.phase!r} is none of {', '.join(get_args(Phase))}"
            )
        if self.n_folds < _FEWEST_GROUPS:
            raise InputError(
                f"n_folds must be at least {_FEWEST_GROUPS}, got {self.n_folds}: the "
                "prior is cross-fitted inside what an inner fold leaves over"
            )

    def _trial(self, labels: Samples, kind: str) -> "_Trial | None":
        """Hold rows out as it will be for stimuli of a kind; None if that cannot be."""
        groupings = _groupings(labels, kind)
        if not groupings:
            return None
        groups = np.stack(groupings, axis=1) if len(groupings) > 1 else groupings[0]
        folds = inner_folds(groups, n_samples=len(labels), n_folds=self.n_folds)
        prior, targets = np.full((len(labels), 2), np.nan), []
        for train, test in divisions(folds):
            residuals = np.full((len(labels), 2), np.nan)
            targets.append(residuals)
            if not len(train):
                continue  # people who did not see all stimuli may leave none
            known, asked = labels.take(train), labels.take(test)
            residuals[train] = self._residuals(known)
            own = _shrunk_prior(self.smoothing_s).fit(known)
            is_known = np.isin(asked.stimuli, own.stimuli_)
            of_kind = test[is_known == (kind == "known")]
            prior[of_kind] = own.predict(labels.take(of_kind))
        course = prior
        if len(groupings) > 1:  # others have rated the held-out stimuli
            course = np.empty_like(prior)
            for others, own in divisions(folds[:, 0]):
                rated = _shrunk_prior(self.smoothing_s).fit(labels.take(others))
                course[own] = rated.predict(labels.take(own))
        sure = _CONFIDENCE[kind == "known" or len(groupings) > 1]
        return _Trial(Plan(folds, targets), prior, course, groupings[0], sure)

    def _residuals(self, labels: Samples) -> SampleTargets:
        """Subtract from each row the prior that is fitted without its group."""
        targets = labels.require_targets()
        sets = (encode(labels.people), encode(labels.stimuli))
        groups = next((codes for names, codes in sets if len(names) > 1), None)
        if groups is None:
            return targets - np.median(targets, axis=0)
        blocks = inner_folds(
            groups, n_samples=len(labels), n_folds=_MOST_RESIDUAL_BLOCKS
        )
        residuals = np.empty_like(targets)
        for others, own in divisions(blocks):
            prior = _shrunk_prior(self.smoothing_s).fit(labels.take(others))
            residuals[own] = targets[own] - prior.predict(labels.take(own))
        return residuals

    def _decide(
        self,
        kind: str,
        labels: Samples,
        trial: "_Trial | None",
        added: Sequence[SampleTargets] | None,
    ) -> None:
        """Choose gains and widths for stimuli of a kind, and keep them."""
        nothing = Choice(np.zeros(len(self.models_)), 0, np.nan, np.nan)
        choices = [nothing, nothing]
        rows = np.flatnonzero(np.isfinite(trial.prior[:, 0])) if trial else ()
        if not len(rows):
            logger.info(
                "too few people or stimuli to decide what signals add for %s stimuli; "
                "the prior alone answers",
                kind,
            )
        elif added:
            table_wmsk = np.stack(
                [
                    [self._smoothed(own, labels, width_s)[rows] for own in added]
                    for width_s in self.widths_s
                ]
            )
            choices = [
                choose_gains(
                    trial.prior[rows, k],
                    trial.course[rows, k],
                    np.ascontiguousarray(table_wmsk[..., k]),
                    labels.require_targets()[rows, k],
                    trial.groups[rows],
                    gains=sorted({0.0, *self.gains}),
                    confidence=trial.confidence,
                )
                for k in range(2)
            ]
        values = (
            np.stack([choice.gains for choice in choices], axis=1),
            np.array([float(self.widths_s[choice.place]) for choice in choices]),
            np.array([choice.mae for choice in choices]),
            np.array([choice.prior_mae for choice in choices]),
        )
        for name, value in zip(_names(kind), values, strict=True):
            setattr(self, name, value)

    def _smoothed(
        self,
        added: Float64[np.ndarray, "sample column"],
        samples: Samples,
        width_s: float,
    ) -> Float64[np.ndarray, "sample column"]:
        """Average over neighboring seconds of the same trial."""
        smooth = smooth_past if self.phase == "causal" else smooth_in_time
        return smooth(added, samples.trials, samples.seconds, width_s=width_s)


class _Trial(NamedTuple):
    """How rows are held out, what is said of them, and who is tested over.

    The course is what other people have rated, also where the prior must not know it.
    """

    plan: Plan
    prior: SampleTargets
    course: SampleTargets
    groups: Int[np.ndarray, " sample"]
    confidence: float


def _names(kind: str) -> tuple[str, str, str, str]:
    """Return the attributes about stimuli of a kind: gains, width and both errors."""
    return (
        *(f"gain_{kind}_", f"width_{kind}_s_"),
        *(f"inner_mae_{kind}_", f"prior_inner_mae_{kind}_"),
    )


def _groupings(labels: Samples, kind: str) -> list[Int[np.ndarray, " sample"]]:
    """Return whom to hold out for stimuli of a kind: people, stimuli, or both."""
    people, person = encode(labels.people)
    stimuli, stimulus = encode(labels.stimuli)
    by_person = [person] if len(people) >= _FEWEST_GROUPS else []
    if kind == "known":
        return by_person
    return [*by_person, stimulus] if len(stimuli) >= _FEWEST_GROUPS else []


def _without_signals(samples: Samples) -> Samples:
    """Return the labels alone, which are cheap to divide."""
    none = np.empty((len(samples), 0))
    return replace(samples, features=none, feature_names=(), blocks={})
