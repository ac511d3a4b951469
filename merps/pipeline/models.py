"""From features to a fitted model in a run folder."""

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merps.config import load_config, preset_names
from merps.engine import Progress
from merps.errors import InputError
from merps.evaluation.protocol import RUNGS, Facts, learned_facts
from merps.models.blend import FixedBlend
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.fusion import ResidualFusion
from merps.models.lags import LagSearch
from merps.models.persistence import save_model
from merps.models.regression import HuberRegressor, RidgeRegressor
from merps.models.riemannian import RiemannianRegressor
from merps.models.rows import labeled
from merps.models.signals import SignalModel
from merps.options import Config, LagConfig, ModelConfig, PreprocessConfig
from merps.pipeline.blocks import attach_blocks, count_steps, needed_blocks
from merps.pipeline.causality import filter_delays_s, require_phase
from merps.pipeline.features import extract_samples
from merps.pipeline.runs import (
    CHECKPOINTS,
    EVAL_ONLY,
    METRICS,
    describe_data,
    prepare_run,
    reopen_run,
    restore_config,
    to_json,
    write_run,
)
from merps.predictions import name_some
from merps.recording import Phase
from merps.store import Store

logger = logging.getLogger(__name__)

_PARTS = ("bandpower", "riemannian", "convolutional")  # see the signals alone
#: Models that learn from signals, in the order of tables.
SIGNAL_MODELS = (*_PARTS, "blend", "fusion")
#: Every model by name; presets of configurations that choose one are names, too.
MODELS = (*RUNGS, *SIGNAL_MODELS)
#: What is compared where nothing is asked for: all but those that take hours.
QUICK_MODELS = ("bandpower", "riemannian", "fusion")

_LAGGED = ("bandpower", "riemannian")
_REGRESSORS = {"ridge": RidgeRegressor, "huber": HuberRegressor}


def make_model(
    name: str,
    config: ModelConfig | None = None,
    *,
    seed: int = 0,
    phase: Phase = "zero",
) -> Any:
    """Make an unfitted model.

    Parameters
    ----------
    name : str
        One of `MODELS`, or a preset that chooses one.
    config : ModelConfig, optional
        Options, which win over those of a preset; the defaults if absent.
    seed : int, optional
        Of initial weights and batches, for models that draw.
    phase : {"zero", "causal"}, optional
        Of the signals; models of causal ones look back alone.

    Returns
    -------
    estimator
        With ``fit(samples)`` and ``predict(samples)``.

    Raises
    ------
    InputError
        If there is no such model, or it looks ahead and must not.
    """
    config = config or ModelConfig()
    if name in RUNGS:
        return RUNGS[name]()
    name, config = resolve_model(name, config)
    model = _signal_model(name, config, seed, phase)
    require_phase(model, phase)
    return model


def _signal_model(name: str, config: ModelConfig, seed: int, phase: Phase) -> Any:
    """Make an unfitted model that learns from signals."""
    if name == "blend":
        return FixedBlend(
            _parts(name, config, seed, phase), weights=config.blend.weights
        )
    if name == "fusion":
        parts = _parts(name, config, seed, phase)
        options = {"n_folds": config.inner_folds, "phase": phase}
        return ResidualFusion(parts, config.fusion.widths_s, config.gains, **options)
    if config.lags != LagConfig() and name not in _LAGGED:
        logger.warning(
            "%s does not search model.lags; only %s", name, " and ".join(_LAGGED)
        )
    shared = {"alphas": config.alphas, "n_folds": config.inner_folds}
    if name == "convolutional":
        return ConvolutionalRegressor(seed=seed, **config.convolutional.model_dump())
    regressor = _REGRESSORS[config.regressor](**shared)
    if name == "bandpower":
        model = SignalModel(regressor)
    else:
        options = config.riemannian.model_dump()
        model = RiemannianRegressor(regressor=regressor, phase=phase, **options)
    if config.lags == LagConfig():
        return model
    return LagSearch(
        model, eeg_lags_s=config.lags.eeg_s, fnirs_lags_s=config.lags.fnirs_s
    )


def _parts(name: str, config: ModelConfig, seed: int, phase: Phase) -> dict:
    """Make the unfitted models that a fusion or a blend is made of."""
    made = {}
    for part in getattr(config, name).models:
        kind, section = resolve_model(part, config)
        if kind not in _PARTS:
            raise InputError(
                f"model.{name}.models: {part} does not learn from signals alone; take "
                f"{', '.join(_PARTS)}, or presets of them"
            )
        made[part] = make_model(kind, section, seed=seed, phase=phase)
    return made


@dataclass(frozen=True)
class Fitted:
    """A fitted model and what it has learned from.

    Parameters
    ----------
    model : estimator
        The model.
    people : tuple of str
        Whose data it has seen.
    facts : dict
        Gains, penalties, inner errors and lags, where the model has them; None for
        NaN.
    """

    model: Any
    people: tuple[str, ...]
    facts: Facts

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps fit --json`` prints."""
        return {"people": len(self.people), "facts": self.facts}


def fit_model(
    store: Path | str,
    run: Path | str,
    *,
    model: str | None = None,
    config: Config | None = None,
    hold_out: Sequence[str] = (),
    allow_eval_only: bool = False,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Fitted:
    """Fit one model on the people of a store and write it to a run folder.

    Parameters
    ----------
    store : Path
        Preprocessed people.
    run : Path
        Folder for ``model.json``, ``weights.safetensors``, ``config.yaml`` and the
        run card.
    model : str, optional
        One of `MODELS`, or a preset that chooses one; as configured if absent.
    config : Config, optional
        Options; the defaults if absent. How signals were preprocessed is taken from
        the store.
    hold_out : sequence of str
        People whose data must not be touched.
    allow_eval_only : bool
        Fit on people who are meant for evaluation only; said on the card ever after.
    jobs : int
        People whose features are computed at once.
    progress : Progress, optional
        Told of each person whose features are there.

    Returns
    -------
    Fitted
        The model.

    Raises
    ------
    InputError
        If the data are for evaluation only, people are unknown, labels are missing, or
        the folder holds other things.
    DataError
        If the store is damaged.
    SpaceError
        If the run cannot be written.
    """
    from threadpoolctl import threadpool_limits

    asked = config or Config()
    name = model or asked.model.kind
    kind, section = resolve_model(name, asked.model)
    opened, config = open_store(store, asked)
    config = config.model_copy(update={"model": section})
    unknown = sorted(set(hold_out) - set(opened.people))
    if unknown:
        raise InputError(
            f"cannot hold out {name_some(unknown)}: {opened.path} has "
            f"{name_some(opened.people)}"
        )
    if opened.role == "eval-only" and not allow_eval_only:
        raise InputError(
            f"{opened.path}: these people are for evaluation only ({opened.source}); "
            "fit on the training release, or pass --allow-eval-only, which the run "
            "card and every report on this model will say"
        )
    phase = config.preprocess.phase
    estimator = make_model(kind, section, seed=config.evaluate.seed, phase=phase)
    pretrained = digest_of_file(section.convolutional.pretrained)
    prepare_run(Path(run), "fit")
    people = tuple(name for name in opened.people if name not in set(hold_out))
    options = {"config": config, "jobs": jobs, "progress": progress}
    samples = labeled(extract_samples(opened, people=people, **options))
    needed = needed_blocks(estimator)
    if progress is not None:
        progress.expect(len(people) + count_steps(needed, samples))
    samples = attach_blocks(samples, opened, needed, **options)
    checkpoints = Path(run) / CHECKPOINTS
    resumable = isinstance(estimator, ConvolutionalRegressor)
    with threadpool_limits(1):  # equal sums, whatever the machine is doing
        estimator.fit(samples, **({"checkpoints": checkpoints} if resumable else {}))
    data = describe_data(opened, people)
    # A path is of use on this machine alone, and tells of it.
    config = config.model_copy(update={"model": _without_path(section, kind)})
    warning = {"warning": EVAL_ONLY} if opened.role == "eval-only" else {}
    card = {
        "name": name,
        "terms": opened.terms,
        "data": data,
        "config": config.model_dump(mode="json"),
        **warning,
    }
    fitted = Fitted(estimator, people, learned_facts(estimator))
    line = {"model": name, "n_samples": len(samples), **fitted.facts}
    reopen_run(Path(run))
    save_model(estimator, Path(run), card=card)
    write_run(
        Path(run),
        "fit",
        config,
        data=data,
        files={METRICS: to_json(line) + "\n"},
        facts={
            "model": name,
            **({"pretrained_sha256": pretrained} if pretrained else {}),
            "held_out": sorted(set(hold_out)),
            "learned": fitted.facts,
            "filter_delays_s": filter_delays_s(config),
            **warning,
        },
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    return fitted


def digest_of_file(path: str | None) -> str | None:
    """Digest a file that training starts from, if there is one.

    Parameters
    ----------
    path : str, optional
        The file.

    Returns
    -------
    str or None
        Its SHA-256; None where no file is named.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"model.convolutional.pretrained: {path} cannot be read: {error.strerror}"
        ) from error


def _without_path(section: ModelConfig, kind: str) -> ModelConfig:
    """Return the options that made a model, without the place of a file."""
    net = section.convolutional.model_copy(update={"pretrained": None})
    return section.model_copy(update={"kind": kind, "convolutional": net})


def resolve_model(name: str, config: ModelConfig) -> tuple[str, ModelConfig]:
    """Find the model and all options behind a name.

    Parameters
    ----------
    name : str
        One of `MODELS`, or a preset that chooses one.
    config : ModelConfig
        Options; those that were given win over the preset's.

    Returns
    -------
    tuple of (str, ModelConfig)
        One of `MODELS`, and its options.

    Raises
    ------
    InputError
        If there is no such name, or the preset sets more than a model.
    """
    if name in MODELS:
        return name, config
    presets = {preset: load_config(preset) for preset in preset_names()}
    models = [n for n, p in presets.items() if "kind" in p.model.model_fields_set]
    if name not in models:
        known = ", ".join((*MODELS, *models))
        raise InputError(f"no model {name!r}; there are {known}")
    if presets[name].model_fields_set != {"model"}:
        raise InputError(
            f"the preset {name} sets more than a model, which other models beside it "
            f"would not share; use --config {name}"
        )
    section = presets[name].model
    options = _merged(
        section.model_dump(exclude_unset=True),
        config.model_dump(exclude_unset=True, exclude={"kind"}),
    )
    return section.kind, ModelConfig.model_validate(options)


def _merged(base: Mapping[str, Any], winner: Mapping[str, Any]) -> dict[str, Any]:
    """Join two trees of options."""
    joined = dict(base)
    for key, value in winner.items():
        below = joined.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        joined[key] = _merged(below, value) if both else value
    return joined


def open_store(store: Path | str, config: Config | None) -> tuple[Store, Config]:
    """Open a store; what was done to its signals wins over the configuration.

    Parameters
    ----------
    store : Path
        Its folder.
    config : Config, optional
        Options; the defaults if absent.

    Returns
    -------
    tuple of (Store, Config)
        The store, and the options with those that the store was made with.

    Raises
    ------
    InputError
        If nobody is in the store, or its options do not go with the others.
    """
    opened = Store.open(Path(store))
    if not opened.people:
        raise InputError(f"{store}: nobody is in the store; run merps preprocess again")
    config = config or Config()
    merged = restore_config(
        {**config.model_dump(), "preprocess": opened.config}, where=store
    )
    if config.preprocess not in (merged.preprocess, PreprocessConfig()):
        logger.warning(
            "%s was preprocessed with other options than the configuration asks for; "
            "the store's options are used",
            store,
        )
    return opened, merged
