"""What models take from the unlabeled recordings of the people they are asked about."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from merps.models.riemannian_inputs import REST
from merps.samples import Samples

# By option and its value.
_TAKEN = {
    ("reference", "person_rest"): "covariances are relative to all rests of the same "
    "person",
    ("reference", "person"): "covariances are relative to the mean over all recordings "
    "of the person",
    ("alignment", "person"): "nets see channels standardized over all recordings of "
    "the person",
    ("alignment", "whiten"): "nets see EEG whitened by its mean covariance over all "
    "recordings of the person",
}


def estimators_in(model: Any) -> Iterator[Any]:
    """Yield an estimator and all those among its parameters.

    Parameters
    ----------
    model : estimator
        Its parameters, if it tells of any, may be estimators, or mappings of them.

    Yields
    ------
    estimator
        The outer ones first.
    """
    yield model
    parts = model.get_params(deep=False) if hasattr(model, "get_params") else {}
    for part in parts.values():
        for one in part.values() if isinstance(part, Mapping) else (part,):
            if hasattr(one, "get_params"):
                yield from estimators_in(one)


def steps_of_models(models: Iterable[Any]) -> list[str]:
    """Say what the options of models ask for.

    Parameters
    ----------
    models : iterable of estimator
        Fitted or not.

    Returns
    -------
    list of str
        One sentence a step; may repeat.
    """
    steps = []
    for model in (part for one in models for part in estimators_in(one)):
        for option in ("reference", "alignment"):
            steps.append(_TAKEN.get((option, getattr(model, option, None))))
        if getattr(model, "reference", None) == "person_rest":
            if set(model.inputs) != {"eeg"}:  # the others have no rest to look at
                steps.append(_TAKEN["reference", "person"])
    return [step for step in steps if step]


def stand_ins(model: Any, samples: Samples) -> list[str]:
    """Say what stands in for rests that are asked for and are not there.

    Parameters
    ----------
    model : estimator
        Fitted or not.
    samples : Samples
        All that it learns from and is asked about.

    Returns
    -------
    list of str
        One sentence a step; none if nothing is missing.
    """
    steps = list(samples.taken)
    rest = samples.blocks.get(REST)
    if rest is None or (rest.rows < 0).any():
        asked = (getattr(part, "reference", None) for part in estimators_in(model))
        steps += [
            _TAKEN["reference", "person"] for name in asked if name == "person_rest"
        ]
    return list(dict.fromkeys(steps))
