"""Fitted models on disk: JSON and plain tensors, nothing that could be executed."""

import hashlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import jaxtyped
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


def save_model(model: BaseEstimator, folder: Path, *, card: Mapping[str, Any]) -> None:
    """Write a fitted model; equal models give equal bytes.

    Each file is put in place whole. ``model.json`` names the digest of
    ``weights.safetensors``, so that a pair that does not belong together is refused.

    Parameters
    ----------
    model : estimator
        A fitted object of one of the classes in `MODELS`.
    folder : Path
        Where ``model.json`` and ``weights.safetensors`` go; made if absent.
    card : mapping
        What stands beside the model, as JSON can hold it; ``terms``, the terms of the
        training data, must be in it.

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
    spec = _described(model, "", tensors, contains)
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


def load_model(folder: Path) -> tuple[BaseEstimator, dict[str, Any]]:
    """Read a model and its card; files are parsed, never executed.

    Parameters
    ----------
    folder : Path
        Where `save_model` wrote to.

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
        model = _rebuilt(description["model"], "", tensors)
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
        classes = sorted(_classes(description["model"]))
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


def _classes(spec: dict[str, Any]) -> set[str]:
    """Name the class of an estimator, and those of the estimators in it."""
    parts = (*spec["parameters"].values(), *spec["fitted"].values())
    inner = (p for p in parts if isinstance(p, dict) and "class" in p)
    return {spec["class"]}.union(*map(_classes, inner))


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


def _described(
    model: Any, prefix: str, tensors: dict[str, np.ndarray], contains: set[str]
) -> dict[str, Any]:
    """Describe an estimator for JSON; its arrays go to `tensors`."""
    name = next((key for key, kind in MODELS.items() if kind is type(model)), None)
    if name is None:
        raise InputError(
            f"a {type(model).__name__} cannot be saved; known are {', '.join(MODELS)}"
        )
    contains.add(model.contains)
    given = model.get_params(deep=False)
    for key in getattr(model, "local", ()):  # means nothing on another machine
        given[key] = type(model)().get_params(deep=False)[key]

    def described(key: str, value: Any) -> Any:
        """Describe an estimator, or several by name; None where it is neither."""
        if isinstance(value, BaseEstimator):
            return _described(value, f"{prefix}{key}.", tensors, contains)
        if isinstance(value, Mapping) and any(map(_is_estimator, value.values())):
            return {
                part: described(f"{key}.{part}", one) for part, one in value.items()
            }
        return None

    parameters = {
        key: described(key, value) or _plain(value) for key, value in given.items()
    }
    fitted, types = {}, _fitted_types(type(model))
    for key in types if _is_fitted(model) else ():
        value = getattr(model, key)
        if isinstance(value, np.ndarray):
            tensors[prefix + key] = np.asarray(value, order="C")
        elif isinstance(value, dict) and not _holds_estimators(types[key]):
            for part, array in value.items():
                tensors[f"{prefix}{key}.{part}"] = np.asarray(array, order="C")
        else:
            fitted[key] = described(key, value) or _plain(value)
    if not prefix and not _is_fitted(model):
        raise InputError(f"this {name} model is not fitted; fit it before saving")
    return {"class": name, "parameters": parameters, "fitted": fitted}


def _rebuilt(spec: dict, prefix: str, tensors: dict[str, np.ndarray]) -> BaseEstimator:
    """Make the estimator that a description describes; takes its arrays."""
    if set(spec) != {"class", "parameters", "fitted"} or spec["class"] not in MODELS:
        raise ValueError(f"no class of merps: {str(spec.get('class'))[:40]!r}")
    kind = MODELS[spec["class"]]
    if set(spec["parameters"]) != set(kind().get_params(deep=False)):
        raise ValueError(f"other parameters than {spec['class']} has")

    def parameter(key: str, value: Any) -> Any:
        """Make what a parameter was, an estimator or several or plain values."""
        if not isinstance(value, dict):
            return _tupled(value)
        if "class" in value:  # no keyword and no name of a model can be that
            return _rebuilt(value, f"{prefix}{key}.", tensors)
        return {part: parameter(f"{key}.{part}", one) for part, one in value.items()}

    model = kind(**{key: parameter(key, v) for key, v in spec["parameters"].items()})
    types, is_template = _fitted_types(kind), bool(prefix) and not spec["fitted"]
    if is_template and not any(prefix + key in tensors for key in types):
        return model  # the parameter of another estimator, never fitted itself
    fitted = dict(spec["fitted"])
    values = {
        key: _taken(key, hint, fitted, prefix, tensors) for key, hint in types.items()
    }
    with jaxtyped("context"):  # axes of one name are of one length
        for key, value in values.items():
            if not isinstance(value, typing.get_origin(types[key]) or types[key]):
                raise ValueError(f"{prefix + key} is of the wrong type or shape")
            setattr(model, key, value)
    if fitted:
        raise ValueError(f"unknown attribute {sorted(fitted)[0][:40]!r}")
    model.check_state()
    return model


def _taken(
    key: str,
    hint: Any,
    fitted: dict[str, Any],
    prefix: str,
    tensors: dict[str, np.ndarray],
) -> Any:
    """Take the value of one fitted attribute from where its type says it is."""
    kind = typing.get_origin(hint) or hint
    if _holds_estimators(hint):
        return {
            name: _fitted_part(part, f"{prefix}{key}.{name}", tensors)
            for name, part in fitted.pop(key).items()
        }
    if issubclass(kind, dict):
        start = f"{prefix}{key}."
        names = [name for name in tensors if name.startswith(start)]
        return {name.removeprefix(start): tensors.pop(name) for name in names}
    if issubclass(kind, tuple | int | float):
        value = _tupled(fitted.pop(key))
        if isinstance(value, tuple) and not all(type(item) is str for item in value):
            raise ValueError(f"{prefix + key} holds other things than names")
        return value
    if issubclass(hint, BaseEstimator):
        return _fitted_part(fitted.pop(key), prefix + key, tensors)
    if prefix + key not in tensors:
        raise ValueError(f"tensor {prefix + key} is missing")
    return tensors.pop(prefix + key)


def _fitted_part(
    spec: dict, name: str, tensors: dict[str, np.ndarray]
) -> BaseEstimator:
    """Make a fitted estimator inside another one."""
    value = _rebuilt(spec, f"{name}.", tensors)
    if not _is_fitted(value):
        raise ValueError(f"{name} is not fitted")
    return value


def _is_estimator(value: Any) -> bool:
    """Tell whether a value is described as a model of its own."""
    return isinstance(value, BaseEstimator)


def _holds_estimators(hint: Any) -> bool:
    """Tell whether the type of an attribute is several models by name."""
    return typing.get_args(hint)[1:] == (BaseEstimator,)


def _fitted_types(kind: type[BaseEstimator]) -> dict[str, Any]:
    """Return the declared types of the attributes that fitting sets."""
    hints = typing.get_type_hints(kind)
    return {key: hint for key, hint in hints.items() if key.endswith("_")}


def _is_fitted(model: BaseEstimator) -> bool:
    """Tell whether fitting has set what it sets."""
    return all(key in vars(model) for key in _fitted_types(type(model)))


def _plain(value: Any) -> Any:
    """Turn tuples and NumPy scalars into what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _tupled(value: Any) -> Any:
    """Turn the lists of JSON into tuples."""
    if isinstance(value, list):
        return tuple(_tupled(item) for item in value)
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return value


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
