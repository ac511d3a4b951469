"""What models have in common that combine other models with the video-time prior."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator

from merps.errors import InputError
from merps.models.priors import VideoTimePrior
from merps.models.rows import has_features
from merps.models.signals import SignalModel
from merps.samples import Samples

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?!class$)[A-Za-z0-9_-]+")  # what a file of weights can hold


class CombinedModel(BaseEstimator):
    """Hold models of the signals by name, beside a prior that needs no signals.

    Parameters
    ----------
    models : mapping of str to estimator, optional
        Unfitted models of the signals; None stands for ``SignalModel()`` alone, as
        ``bandpower``.
    smoothing_s : int
        Passed to `VideoTimePrior`.

    Attributes
    ----------
    prior_ : VideoTimePrior
        Fitted on all training rows.
    models_ : dict of str to estimator
        The fitted models in the order of their names; without those that had no
        signal to learn from.
    """

    prior_: VideoTimePrior
    models_: dict[str, BaseEstimator]

    def __init__(self, models=None, smoothing_s=7):
        self.models = models
        self.smoothing_s = smoothing_s

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the blocks that the models ask of samples."""
        models = getattr(self, "models_", self._templates).values()
        return tuple(
            dict.fromkeys(n for model in models for n in getattr(model, "needs", ()))
        )

    @property
    def feature_names_(self) -> tuple[str, ...]:
        """Columns of the training rows; none where no model looks at them."""
        names = (
            getattr(model, "feature_names_", ()) for model in self.models_.values()
        )
        return next(filter(None, names), ())

    @property
    def _templates(self) -> Mapping[str, Any]:
        """The unfitted models."""
        return {"bandpower": SignalModel()} if self.models is None else self.models

    def _with_signals(self, samples: Samples) -> dict[str, Any]:
        """Return the unfitted models that have anything to learn from, by name."""
        for name in self._templates:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{name!r} cannot be the name of a model; letters, digits, - and _ "
                    "can"
                )
        if not samples.feature_names and not samples.blocks:
            has_features(samples)  # says what is missing
        chosen = dict(sorted(self._templates.items()))
        for name in [n for n, model in chosen.items() if not _sees(model, samples)]:
            logger.warning("%s has no signals to learn from and is left out", name)
            del chosen[name]
        return chosen


def _sees(model: Any, samples: Samples) -> bool:
    """Tell whether any row has signals that a model looks at."""
    needs = getattr(model, "needs", ())
    if not needs:
        return bool(samples.feature_names) and bool(has_features(samples).any())
    blocks = [samples.blocks[name] for name in needs if name in samples.blocks]
    return any((block.rows >= 0).any() for block in blocks)
