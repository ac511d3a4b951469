"""Fitted models on disk: JSON and plain tensors, nothing that could be executed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from merps.errors import DataError, InputError, SpaceError, mismatch
from merps.models.blend import FixedBlend
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.fusion import ResidualFusion
from merps.models.lags import LagSearch
from merps.models.priors import ConstantPrior, VideoPrior, VideoTimePrior
from merps.models.regression import HuberRegressor, RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.models.specs import classes_in, describe_model, rebuild_model
from merps.store.files import read_sealed, replace_file, sealed

#: Every class that can be written and read, by the name it has in a file.
MODELS: Mapping[str, type[BaseEstimator]] = {
    "constant": ConstantPrior,
    "video": VideoPrior,
    "video_time": VideoTimePrior,
    "ridge": RidgeRegressor,
    "huber": HuberRegressor,
    "bandpower": SignalModel,
    "blend": FixedBlend,
    "fusion": ResidualFusion,
    "convolutional": ConvolutionalRegressor,
    "riemannian": RiemannianRegressor,
    "lags": LagSearch,
}

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"

_FORMAT = 1
_MOST_DESCRIPTION_BYTES = 2**24
_MOST_WEIGHT_BYTES = 2**31
_REMEDY = "fit the model again, or copy the whole folder once more"
# What building a model from an edited description trips over.
_TRIPPED = (
    *(LookupError, TypeError, AttributeError, ValueError),
    *(ArithmeticError, RuntimeError),
)


def save_model(
    model: BaseEstimator,
    folder: Path,
    *,
    card: Mapping[str, Any],
    classes: Mapping[str, type[BaseEstimator]] = MODELS,
) -> None:
    """Write a fitted model; equal models give equal bytes.

    Each file is put in place whole. ``model.json`` names the digest of
    ``weights.safetensors``, so that a pair that does not belong together is refused.

    Parameters
    ----------
    model : estimator
        A fitted object of one of the classes.
    folder : Path
        Where ``model.json`` and ``weights.safetensors`` go; made if absent.
    card : mapping
        What stands beside the model, as JSON can hold it; ``terms``, the terms of the
        training data, must be in it.
    classes : mapping of str to type
        Those that may be written, by the name each has in the file.

    Raises
    ------
    InputError
        If the class is not known, the model is not fitted, or the card has no terms
        or cannot be kept as JSON.
    SpaceError
        If the files cannot be written.
    """
    from safetensors.numpy import save

    if not isinstance(card.get("terms"), str):
        raise InputError("the card of a model must state the `terms` of its data")
    tensors: dict[str, np.ndarray] = {}
    contains: set[str] = set()
    spec = describe_model(model, "", tensors, contains, classes)
    weights = save(tensors)
    description = sealed(
        {
            "format": _FORMAT,
            "model": spec,
            "contains": sorted(contains),
            "terms": card["terms"],
            "card": dict(card),
            "weights": {
                "sha256": hashlib.sha256(weights).hexdigest(),
                "n_bytes": len(weights),
            },
        }
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / WEIGHTS, weights)
        replace_file(folder / DESCRIPTION, description)
    except OSError as error:
        raise SpaceError(
            f"{folder}: the model cannot be written ({error.strerror or error}); make "
            "room or the folder writable, or choose another one"
        ) from error


def load_model(
    folder: Path, *, classes: Mapping[str, type[BaseEstimator]] = MODELS
) -> tuple[BaseEstimator, dict[str, Any]]:
    """Read a model and its card; files are parsed, never executed.

    Parameters
    ----------
    folder : Path
        Where `save_model` wrote to.
    classes : mapping of str to type
        Those that may be read, by the name each has in the file.

    Returns
    -------
    estimator
        The fitted model; it predicts as the one that was written, to the last bit.
    dict
        Its card.

    Raises
    ------
    DataError
        If a file is missing or damaged, the class is not known, or a tensor is
        missing, left over, or of the wrong precision or shape.
    """
    description = _read_description(folder)
    try:
        tensors = _read_weights(folder / WEIGHTS, description["weights"])
        model = rebuild_model(description["model"], "", tensors, classes)
        card = dict(description["card"])
    except _TRIPPED as error:
        raise _unlike_a_model(folder, error) from error
    if tensors:
        raise mismatch(
            folder / WEIGHTS,
            expected="only tensors of this model",
            found=f"also {sorted(tensors)[0][:80]!r}",
            remedy=_REMEDY,
        )
    return model, card


def describe_saved(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say what a saved model is made of, without building it.

    Parameters
    ----------
    folder : Path
        Where `save_model` wrote to.

    Returns
    -------
    tuple of str
        Sorted names, as in `MODELS`, of the classes in it.
    tuple of str
        What it holds of the training data, in words.

    Raises
    ------
    DataError
        If the description is missing or damaged.
    """
    description = _read_description(folder)
    try:
        classes = sorted(classes_in(description["model"]))
        return tuple(classes), tuple(map(str, description["contains"]))
    except _TRIPPED as error:
        raise _unlike_a_model(folder, error) from error


def _unlike_a_model(folder: Path, error: Exception) -> DataError:
    """Say that a description is not one that was written here."""
    return mismatch(
        folder / DESCRIPTION,
        expected="a model as merps writes it",
        found=str(error)[:200] or type(error).__name__,
        remedy=_REMEDY,
    )


def _read_description(folder: Path) -> dict[str, Any]:
    """Read ``model.json`` if it is of this format."""
    where = folder / DESCRIPTION
    _require_size(where, _MOST_DESCRIPTION_BYTES)
    description = read_sealed(where, remedy=_REMEDY)
    if description.get("format") != _FORMAT:
        raise mismatch(
            where,
            expected=f"format {_FORMAT}",
            found=f"{description.get('format')!r}"[:40],
            remedy="read it with the version of merps that wrote it",
        )
    return description


def _read_weights(path: Path, expected: dict[str, Any]) -> dict[str, np.ndarray]:
    """Read the tensors if the file is the one that was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    _require_size(path, _MOST_WEIGHT_BYTES)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise mismatch(
            path,
            expected=f"the file that {DESCRIPTION} names",
            found="other content",
            remedy=_REMEDY,
        )
    try:
        return dict(load(data))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise mismatch(
            path, expected="safetensors", found=str(error)[:200], remedy=_REMEDY
        ) from error


def _require_size(path: Path, most: int) -> None:
    """Refuse a file that is missing or larger than any model."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if size > most or not path.is_file():
        raise mismatch(
            path,
            expected=f"a file of at most {most >> 20} MB",
            found=f"{size >> 20} MB" if path.is_file() else "no plain file",
            remedy=_REMEDY,
        )
