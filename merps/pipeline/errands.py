"""What a fold needs to be done in any process: a model by name, and a store by path."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from merps.errors import DataError
from merps.evaluation.fold_files import FoldResult, FoldTask
from merps.evaluation.protocol import fit_fold, plan_folds
from merps.evaluation.transduction import estimators_in
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.rows import labeled
from merps.options import Config, ModelConfig
from merps.pipeline.blocks import attach_blocks, needed_blocks
from merps.pipeline.features import extract_samples
from merps.pipeline.models import make_model
from merps.pipeline.runs import restore_config
from merps.recording import Phase
from merps.samples import Samples
from merps.splits import MER_PS_EMOTIONS
from merps.store import Store


@dataclass(frozen=True)
class Contender:
    """A model that is evaluated.

    Parameters
    ----------
    name : str
        As it stands in tables.
    kind : str
        One of `merps.pipeline.MODELS`.
    section : ModelConfig
        Its options.
    seed : int
        Of models that draw.
    phase : {"zero", "causal"}
        Whether averages over time may look ahead.
    """

    name: str
    kind: str
    section: ModelConfig
    seed: int
    phase: Phase

    def make(self) -> Any:
        """Make the unfitted model."""
        return make_model(self.kind, self.section, seed=self.seed, phase=self.phase)


def trains_nets(model: Any) -> bool:
    """Tell whether threads would wait for one another in a model.

    Parameters
    ----------
    model : estimator
        Its parameters may be estimators, or mappings of them.

    Returns
    -------
    bool
        Whether it is a net, or has one inside.
    """
    return any(isinstance(p, ConvolutionalRegressor) for p in estimators_in(model))


def read_seconds(store: Store, config: Config, *, jobs: int = 1) -> Samples:
    """Return the labeled seconds of a store, without anything of the signals.

    Parameters
    ----------
    store : Store
        Preprocessed people with labels.
    config : Config
        Every option.
    jobs : int
        People at once.

    Returns
    -------
    Samples
        The rows that features would have, without columns.

    Raises
    ------
    InputError
        If there are no labels.
    DataError
        If the store is damaged.
    """
    nothing = config.features.model_copy(update={"bands": {}, "kinds": ()})
    config = config.model_copy(update={"features": nothing})
    return labeled(extract_samples(store, config=config, jobs=jobs))


def plan_tasks(
    store: Store,
    seconds: Samples,
    models: Iterable[str],
    protocols: Iterable[str],
    *,
    seed: int,
) -> list[FoldTask]:
    """Fix the folds of a store's seconds; emotions are balanced where they are known.

    Parameters
    ----------
    store : Store
        Where the seconds are from.
    seconds : Samples
        Rows with all labels.
    models : iterable of str
        Names of models.
    protocols : iterable of str
        Some of `merps.splits.PROTOCOLS`.
    seed : int
        Decides the folds.

    Returns
    -------
    list of FoldTask
        In the order of protocols, folds and models.

    Raises
    ------
    InputError
        If there are too few people or videos.
    """
    emotions = None if store.source == "unlisted" else MER_PS_EMOTIONS
    return plan_folds(seconds, models, protocols, seed=seed, emotions=emotions)


class Errand(NamedTuple):
    """All that another process has to know to do a fold: small things and paths.

    Parameters
    ----------
    store : Path
        Where the signals are.
    config : Config
        Every option.
    contender : Contender
        The model.
    protocol, fold : str
        Which fold.
    entry : dict
        Who and what is on both sides of it.
    checkpoints : Path, optional
        Folder for the state of the training.
    """

    store: Path
    config: Config
    contender: Contender
    protocol: str
    fold: str
    entry: dict[str, Any]
    checkpoints: Path | None


def run_errand(errand: Errand) -> FoldResult:
    """Do a fold in a process of its own, which reads what it needs from the store.

    Parameters
    ----------
    errand : Errand
        What to do.

    Returns
    -------
    FoldResult
        Predictions, and what the model has chosen.

    Raises
    ------
    DataError
        If the store is damaged, or its people or stimuli have changed meanwhile.
    MerpsError
        If the model cannot be fitted.
    """
    model = errand.contender.make()
    options = (errand.store, errand.config.model_dump_json())
    tasks = _tasks_in_process(*options, errand.protocol)
    (task,) = (task for task in tasks if task.fold.name == errand.fold)
    if task.entry != errand.entry:
        raise DataError(
            f"{errand.store}: has changed while it is used; run the command again"
        )
    has_columns = not isinstance(model, ConvolutionalRegressor)
    samples = _samples_in_process(*options, needed_blocks(model), has_columns)
    return fit_fold(model, samples, task.fold, checkpoints=errand.checkpoints)


@functools.cache
def _opened_in_process(path: Path, text: str) -> tuple[Store, Config, Samples]:
    """Open a store once in a process that does several folds."""
    store = Store.open(path)
    config = restore_config(json.loads(text), where=path)
    return store, config, read_seconds(store, config)


@functools.cache
def _tasks_in_process(path: Path, text: str, protocol: str) -> list[FoldTask]:
    """Plan the folds of a protocol once."""
    store, config, seconds = _opened_in_process(path, text)
    return plan_tasks(store, seconds, [""], [protocol], seed=config.evaluate.seed)


@functools.cache
def _samples_in_process(
    path: Path, text: str, needed: tuple[str, ...], has_columns: bool
) -> Samples:
    """Compute once what a model asks of the signals; a net alone takes no columns."""
    store, config, samples = _opened_in_process(path, text)
    if has_columns:
        samples = labeled(extract_samples(store, config=config, jobs=1))
    return attach_blocks(samples, store, needed, config=config, jobs=1)
