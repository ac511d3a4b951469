"""Fitted estimators as what JSON holds and named arrays, and back."""

import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import jaxtyped
from sklearn.base import BaseEstimator

from merps.errors import InputError


def describe_model(
    model: Any,
    prefix: str,
    tensors: dict[str, np.ndarray],
    contains: set[str],
    classes: Mapping[str, type[BaseEstimator]],
) -> dict[str, Any]:
    """Describe an estimator for JSON.

    Parameters
    ----------
    model : estimator
        Of one of the classes; the outermost one must be fitted.
    prefix : str
        What the names of its arrays begin with; empty for the outermost one.
    tensors : dict of ndarray
        Where its arrays go.
    contains : set of str
        Where it goes what the model holds of the training data, in words.
    classes : mapping of str to type
        Those that are known, by the name each has in the description.

    Returns
    -------
    dict
        Class, parameters and fitted attributes.

    Raises
    ------
    InputError
        If the class is not known, or the model is not fitted.
    """
    name = next((key for key, kind in classes.items() if kind is type(model)), None)
    if name is None:
        raise InputError(
            f"a {type(model).__name__} cannot be saved; known are {', '.join(classes)}"
        )
    contains.add(model.contains)
    given = model.get_params(deep=False)
    for key in getattr(model, "local", ()):  # means nothing on another machine
        given[key] = type(model)().get_params(deep=False)[key]

    def described(key: str, value: Any) -> Any:
        """Describe an estimator, or several by name; None where it is neither."""
        if isinstance(value, BaseEstimator):
            return describe_model(value, f"{prefix}{key}.", tensors, contains, classes)
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


def rebuild_model(
    spec: dict,
    prefix: str,
    tensors: dict[str, np.ndarray],
    classes: Mapping[str, type[BaseEstimator]],
) -> BaseEstimator:
    """Make the estimator that a description describes.

    Parameters
    ----------
    spec : dict
        From `describe_model`.
    prefix : str
        As for `describe_model`.
    tensors : dict of ndarray
        Where its arrays are taken from; what is left belongs to nothing.
    classes : mapping of str to type
        Those that may be made.

    Returns
    -------
    estimator
        As it was described.

    Raises
    ------
    Exception
        Whatever a description that was not written here trips over.
    """
    if set(spec) != {"class", "parameters", "fitted"} or spec["class"] not in classes:
        raise ValueError(f"no class of merps: {str(spec.get('class'))[:40]!r}")
    kind = classes[spec["class"]]
    if set(spec["parameters"]) != set(kind().get_params(deep=False)):
        raise ValueError(f"other parameters than {spec['class']} has")

    def parameter(key: str, value: Any) -> Any:
        """Make what a parameter was, an estimator or several or plain values."""
        if not isinstance(value, dict):
            return _tupled(value)
        if "class" in value:  # no keyword and no name of a model can be that
            return rebuild_model(value, f"{prefix}{key}.", tensors, classes)
        return {part: parameter(f"{key}.{part}", one) for part, one in value.items()}

    model = kind(**{key: parameter(key, v) for key, v in spec["parameters"].items()})
    types, is_template = _fitted_types(kind), bool(prefix) and not spec["fitted"]
    if is_template and not any(prefix + key in tensors for key in types):
        return model  # the parameter of another estimator, never fitted itself
    fitted = dict(spec["fitted"])
    values = {
        key: _taken(key, hint, fitted, prefix, tensors, classes)
        for key, hint in types.items()
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


def classes_in(spec: Mapping[str, Any]) -> set[str]:
    """Name the class of a described estimator, and those of the estimators in it.

    Parameters
    ----------
    spec : dict
        From `describe_model`.

    Returns
    -------
    set of str
        Their names.
    """
    found = {spec["class"]} if "class" in spec else set()
    parts = [*spec.get("parameters", {}).values(), *spec.get("fitted", {}).values()]
    parts += [] if found else spec.values()  # several estimators by name
    return found.union(*(classes_in(p) for p in parts if isinstance(p, Mapping)))


def _taken(
    key: str,
    hint: Any,
    fitted: dict[str, Any],
    prefix: str,
    tensors: dict[str, np.ndarray],
    classes: Mapping[str, type[BaseEstimator]],
) -> Any:
    """Take the value of one fitted attribute from where its type says it is."""
    kind = typing.get_origin(hint) or hint
    if _holds_estimators(hint):
        return {
            name: _fitted_part(part, f"{prefix}{key}.{name}", tensors, classes)
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
        return _fitted_part(fitted.pop(key), prefix + key, tensors, classes)
    if prefix + key not in tensors:
        raise ValueError(f"tensor {prefix + key} is missing")
    return tensors.pop(prefix + key)


def _fitted_part(
    spec: dict,
    name: str,
    tensors: dict[str, np.ndarray],
    classes: Mapping[str, type[BaseEstimator]],
) -> BaseEstimator:
    """Make a fitted estimator inside another one."""
    value = rebuild_model(spec, f"{name}.", tensors, classes)
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
