"""The video-time prior and a little of the signals, at weights that are given."""

from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.combined import CombinedModel
from merps.models.priors import VideoTimePrior
from merps.models.rows import in_order, labeled
from merps.samples import Samples
from merps.shapes import SampleTargets

WEIGHTS = (0.99, 0.92)


class FixedBlend(CombinedModel):
    """Weigh a video-time prior against models that see signals alone.

    The prediction of each dimension is

        weight * prior + (1 - weight) * mean of the models' predictions

    with weights that are given, not learned: nothing tells whether the signals help.
    Since the models are nearly constant where they know little, most of what a blend
    does then is to draw the prior a little towards the middle of all ratings.

    Parameters
    ----------
    models : mapping of str to estimator, optional
        Unfitted models of the signals, of which each counts the same; None stands for
        ``SignalModel()`` alone.
    weights : sequence of float
        Of the prior, for valence and arousal, from 0 to 1.
    smoothing_s : int
        Passed to `VideoTimePrior`; 7 is a radius of 3 s.

    Attributes
    ----------
    prior_ : VideoTimePrior
        Fitted on all training rows.
    models_ : dict of str to estimator
        The fitted models in the order of their names; without those that had no
        signal to learn from. Without any the prior alone answers.

    References
    ----------
    The repository rudykon/Vtp-Emotion on GitHub, 2026, where the weights are from.
    """

    contains: ClassVar[str] = "the video-time prior and models of the signals"

    def __init__(self, models=None, weights=WEIGHTS, smoothing_s=7):
        super().__init__(models, smoothing_s)
        self.weights = weights

    def fit(self, samples: Samples) -> "FixedBlend":
        """Learn the prior and each model from the ratings.

        Parameters
        ----------
        samples : Samples
            Training rows with targets; those with a missing label are passed over.

        Returns
        -------
        FixedBlend
            This estimator.

        Raises
        ------
        InputError
            If a weight is not between 0 and 1, or there are no labels or no signals.
        """
        self.check_state()
        samples = in_order(labeled(samples))
        chosen = self._with_signals(samples)
        self.prior_ = VideoTimePrior(self.smoothing_s).fit(samples)
        self.models_ = {
            name: clone(model).fit(samples) for name, model in chosen.items()
        }
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its stimulus, its second and its signals.

        Parameters
        ----------
        samples : Samples
            Rows as of the models.

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
        prior = self.prior_.predict(samples)
        if not self.models_:
            return prior
        answers = [model.predict(samples) for model in self.models_.values()]
        weights = np.asarray(self.weights)
        return weights * prior + (1 - weights) * np.mean(answers, axis=0)

    def check_state(self) -> None:
        """Refuse weights that are none.

        Raises
        ------
        InputError
            If there are not two, or one is not between 0 and 1.
        """
        if len(self.weights) != 2 or not all(0 <= w <= 1 for w in self.weights):
            raise InputError(
                f"weights must be two numbers from 0 to 1, got {tuple(self.weights)}"
            )
