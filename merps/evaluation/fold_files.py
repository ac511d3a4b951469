"""Results of single folds as files, so that what is done is not done again."""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from merps.errors import DataError, mismatch
from merps.shapes import SampleTargets
from merps.splits import Fold
from merps.store.files import (
    canonical,
    read_sealed,
    remove_leftovers,
    replace_file,
    sealed,
    writing,
)

logger = logging.getLogger(__name__)

#: Who and what is on both sides of every fold.
MANIFEST = "manifest.json"

_SUFFIX, _CONTENT = ".safetensors", "fold"
_MOST_BYTES = 2**28
_REMEDY = "the fold is done again"


@dataclass(frozen=True, eq=False)
class FoldTask:
    """One model to be fitted and asked in one fold.

    Parameters
    ----------
    model : str
        Name of the model.
    fold : Fold
        The rows of both sides.
    entry : dict
        The fold's entry in the manifest: who and what is on both sides.
    """

    model: str
    fold: Fold
    entry: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"protocol {self.fold.protocol}, fold {self.fold.name}, {self.model}"


@dataclass(frozen=True)
class FoldResult:
    """What a model has predicted in one fold.

    Parameters
    ----------
    predictions : ndarray of float64, shape (sample, 2)
        Of the test rows, in their order, not rounded.
    facts : dict
        What the model has chosen for itself, as JSON has it.
    stand_ins : tuple of str
        What stood in for rests that are not there, in words.
    """

    predictions: SampleTargets = field(repr=False)
    facts: dict[str, Any]
    stand_ins: tuple[str, ...] = ()


class FoldFiles:
    """The finished folds of an evaluation, one file each, and checkpoints of others.

    A file is put in place whole, and says which key it belongs to: a digest of the
    data, the options and the code that made it, the model's parameters, and who and
    what was on both sides of the fold. One that is damaged, or has another key, is
    passed over and replaced.

    Parameters
    ----------
    folder : Path
        Where the files go; made if absent, and freed of unfinished ones.
    checkpoints : Path
        Where trainings keep their checkpoints, in a folder for each fold.
    basis : mapping
        All that decides the results of every model, as JSON can hold it.
    models : mapping of str to mapping
        The same for each model by itself, by name.

    Raises
    ------
    SpaceError
        If the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        checkpoints: Path,
        *,
        basis: Mapping[str, Any],
        models: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._folder, self._checkpoints = folder, checkpoints
        self._basis, self._models = dict(basis), models
        with writing(folder, needed_bytes=0):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)

    def fix(self, tasks: Iterable[FoldTask]) -> None:
        """Write down who and what is on both sides of every fold, before any starts.

        Parameters
        ----------
        tasks : iterable of FoldTask
            All that will be done.

        Raises
        ------
        SpaceError
            If it cannot be written.
        """
        path = self._folder / MANIFEST
        folds: dict[str, dict[str, Any]] = {}
        for task in tasks:
            folds.setdefault(task.fold.protocol, {})[task.fold.name] = task.entry
        data = sealed({"folds": folds})
        try:
            is_there = sealed(read_sealed(path, remedy=_REMEDY)) == data
        except DataError:
            is_there = False
        if not is_there:
            self._put(path, data)

    def read(self, task: FoldTask) -> FoldResult | None:
        """Return the result of a fold that was finished before.

        Parameters
        ----------
        task : FoldTask
            Model and fold.

        Returns
        -------
        FoldResult or None
            None where there is none of this key, or a damaged one, which is told.
        """
        path = self._path(task)
        if not path.exists():
            return None
        try:
            return self._unpack(path, task)
        except DataError as error:
            logger.warning("%s", error)
            return None

    def write(self, task: FoldTask, result: FoldResult) -> None:
        """Keep the result of a fold, and let go of its checkpoints.

        Parameters
        ----------
        task : FoldTask
            Model and fold.
        result : FoldResult
            What came out.

        Raises
        ------
        SpaceError
            If it cannot be written.
        """
        from safetensors.numpy import save

        about = sealed(
            {
                "key": self._key(task),
                "facts": json.dumps(result.facts),  # as text, it keeps its order
                "stand_ins": list(result.stand_ins),
                "predictions": _digest(result.predictions),
            }
        )
        tensors = {"predictions": np.ascontiguousarray(result.predictions)}
        self._put(self._path(task), save(tensors, metadata={_CONTENT: about.decode()}))
        shutil.rmtree(self.checkpoints(task), ignore_errors=True)

    def checkpoints(self, task: FoldTask) -> Path:
        """Return the folder for the checkpoints of a training in one fold.

        Parameters
        ----------
        task : FoldTask
            Model and fold.

        Returns
        -------
        Path
            Need not exist.
        """
        return self._checkpoints / _name(task)

    def _put(self, path: Path, data: bytes) -> None:
        """Put a file in place."""
        with writing(path, needed_bytes=len(data)):
            replace_file(path, data)

    def _path(self, task: FoldTask) -> Path:
        """Return where the result of a fold is."""
        return self._folder / f"{_name(task)}{_SUFFIX}"

    def _key(self, task: FoldTask) -> str:
        """Digest all that decides the result of a fold."""
        decides = {
            "basis": self._basis,
            "model": self._models[task.model],
            "protocol": task.fold.protocol,
            "fold": task.entry,
        }
        return xxhash.xxh3_128_hexdigest(canonical(decides))

    def _unpack(self, path: Path, task: FoldTask) -> FoldResult | None:
        """Read a file; None if it belongs to another key."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("a file larger than any fold")
            data = path.read_bytes()
            predictions = load(data)["predictions"]
            length = int.from_bytes(data[:8], "little")
            text = json.loads(data[8 : 8 + length])["__metadata__"][_CONTENT]
            about = json.loads(text)
            if sealed(about).decode() != text:
                raise ValueError("content that does not fit its digest")
            if about["key"] != self._key(task):
                return None
            shape = (len(task.fold.test), 2)
            if (predictions.dtype, predictions.shape) != (np.float64, shape):
                raise ValueError(f"{predictions.dtype} of shape {predictions.shape}")
            if about["predictions"] != _digest(predictions):
                raise ValueError("predictions that do not fit their digest")
        except (
            *(OSError, SafetensorError, ValueError, KeyError, TypeError),
            *(AttributeError, RecursionError),
        ) as error:
            raise mismatch(
                path, expected="what was written", found=str(error), remedy=_REMEDY
            ) from error
        facts, steps = json.loads(about["facts"]), about["stand_ins"]
        return FoldResult(predictions.copy(), facts, tuple(steps))


def describe_estimator(model: Any) -> dict[str, Any]:
    """Describe an unfitted estimator by its class and parameters.

    Parameters
    ----------
    model : estimator
        Its parameters may be estimators, too.

    Returns
    -------
    dict
        As JSON can hold it.
    """
    return {"class": type(model).__qualname__} | {
        name: _plain(value) for name, value in model.get_params(deep=False).items()
    }


def _plain(value: Any) -> Any:
    """Describe estimators among parameters, or in mappings and sequences of them."""
    if hasattr(value, "get_params"):
        return describe_estimator(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _digest(predictions: SampleTargets) -> str:
    """Digest the bytes of predictions."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(predictions))


def _name(task: FoldTask) -> str:
    """Return a name for files that no other fold has."""
    name = f"{task.fold.protocol}.{task.model}.{task.fold.name}"
    return name.replace(" ", ".")
