"""Predictions for a folder of recordings, every id answered."""

import errno
import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from merps.datasets.opening import open_data
from merps.datasets.protocol import Dataset
from merps.engine import Progress
from merps.errors import DataError
from merps.models.persistence import load_model
from merps.models.riemannian_inputs import REST
from merps.models.rows import has_features
from merps.options import Config
from merps.pipeline.blocks import attach_blocks, needed_blocks
from merps.pipeline.features import align_features, extract_samples
from merps.pipeline.montage import match_montage
from merps.pipeline.preprocess import (
    Preprocessed,
    dataset_section,
    preprocess_dataset,
)
from merps.pipeline.runs import read_fit_card, restore_config
from merps.predictions import name_some, write_predictions
from merps.recording import Phase
from merps.samples import Samples, parse_sample_id, samples_of_ids
from merps.scores import finalize
from merps.store import Store
from merps.store.files import writing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """What `predict_dataset` wrote.

    Parameters
    ----------
    ids : tuple of str
        Sample ids, in the order of the file.
    values : ndarray of int64, shape (sample, 2)
        Valence and arousal, 1..255.
    without_signals : int
        Number of samples answered without any signal.
    preprocessed : Preprocessed
        Who was preprocessed, and who failed.
    phase : {"zero", "causal"}
        Whether filters and averages look both ways in time, or back alone.
    """

    ids: tuple[str, ...] = field(repr=False)
    values: Int[np.ndarray, "sample 2"] = field(repr=False)
    without_signals: int
    preprocessed: Preprocessed
    phase: Phase = "zero"

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps predict --json`` prints."""
        return {
            "samples": len(self.ids),
            "without_signals": self.without_signals,
            "failed": self.preprocessed.as_dict()["failed"],
        }


def predict_dataset(
    run: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    config: Config | None = None,
    store: Path | str | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Predicted:
    """Predict every second of a folder of recordings with a fitted model.

    The ids of ``sample_ids.csv`` are answered, each once and in that order; without
    it, each second of each recording. A second whose signals are missing or cannot be
    read gets what the model says without signals.

    Parameters
    ----------
    run : Path
        Folder that `fit_model` wrote.
    data : Path
        Folder in the layout of MER-PS, or of a lab's own, with or without labels.
    out : Path
        The ``predictions.csv`` to write.
    config : Config, optional
        Its section ``dataset`` describes the folder, where it is not one of MER-PS or
        is laid out as the model's own; nothing else of it counts, since the model
        brings its options.
    store : Path, optional
        Keep the preprocessed signals here; else they are deleted afterwards.
    jobs : int
        People at once.
    progress : Progress, optional
        Told of each person.

    Returns
    -------
    Predicted
        Ids and values as written.

    Raises
    ------
    InputError
        If the run is no fitted model.
    DataError
        If there is nothing to predict, files of the run are damaged, or not one
        recording can be used where no ids are asked for.
    SpaceError
        If predictions or signals cannot be written.
    """
    from threadpoolctl import threadpool_limits

    run, out = Path(run), Path(out)
    read_fit_card(run)
    model, card = load_model(run)
    if "warning" in card:
        logger.warning("%s was %s", run, card["warning"])
    if "config" not in card:
        raise DataError(f"{run}: the model's options are not in it; fit it again")
    fitted = restore_config(card["config"], where=run)
    described = fitted.dataset if config is None else config.dataset
    config = fitted.model_copy(update={"dataset": described})
    dataset = open_data(data, dataset_section(config))
    ids = dataset.sample_ids()
    _tell_people(dataset, seen=card.get("data", {}).get("people", ()))
    _require_writable(out)
    with _store_folder(store) as folder:
        samples = samples_of_ids(())
        try:
            preprocessed = preprocess_dataset(
                data, folder, config=config, jobs=jobs, progress=progress
            )
        except DataError as error:
            if ids is None:
                raise
            message = str(error).removeprefix(f"{data}: ")
            preprocessed = Preprocessed((), (), failed=((str(data), message),))
        present = {*preprocessed.done, *preprocessed.skipped}
        if present:
            opened = Store.open(folder)
            samples = extract_samples(
                opened,
                config=config,
                people=[name for name in dataset.people if name in present],
                asked=dataset.seconds,
                jobs=jobs,
            )
            needed = needed_blocks(model)
            samples = attach_blocks(samples, opened, needed, config=config, jobs=jobs)
        features = getattr(model, "feature_names_", ())
        samples = align_features(match_montage(samples, features), features)
        if ids is None:
            ids = samples.ids
        if not ids:
            raise DataError(f"{data}: no recording lasts a second; nothing to predict")
        # Models see whole recordings, whichever of their seconds are asked for.
        with threadpool_limits(1):  # equal sums, whatever the machine is doing
            values, there = _answers(model, samples, ids)
    _tell_missing([text for text, known in zip(ids, there, strict=True) if not known])
    write_predictions(out, ids, values)
    return Predicted(
        ids=tuple(ids),
        values=values,
        without_signals=int(np.sum(~there)),
        preprocessed=preprocessed,
        phase=config.preprocess.phase,
    )


def _tell_people(dataset: Dataset, *, seen: Collection[str]) -> None:
    """Tell who is to be answered, and whom of them the model has learned from."""
    new = [name for name in dataset.people if name not in seen]
    old = [name for name in dataset.people if name in seen]
    for names, fact in ((new, "never seen"), (old, "seen")):
        if names:
            logger.info("%s in training: %s", fact, name_some(names))
    if dataset.layout == "input":
        logger.info("%s has no labels; none are needed", dataset.root)


def _tell_missing(ids: Sequence[str]) -> None:
    """Tell which seconds were answered without any signal, a line a trial."""
    trials = Counter(parse_sample_id(text)[:2] for text in ids)
    for (person, stimulus), n in trials.items():
        logger.info(
            "%s %s: no signal that the model uses in %d s, answered without",
            *(person, stimulus, n),
        )


def _require_writable(out: Path) -> None:
    """Refuse a place for the predictions before the work, not after it."""
    with writing(out, needed_bytes=0):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass


@contextmanager
def _store_folder(store: Path | str | None) -> Iterator[Path]:
    """Yield the folder to preprocess into; a private one is removed afterwards."""
    if store is not None:
        yield Path(store)
        return
    # After a second Ctrl-C, threads that are left behind may still write.
    with tempfile.TemporaryDirectory(
        prefix="merps-predict-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder) / "store"


def _answers(
    model: Any, samples: Samples, ids: list[str]
) -> tuple[Int[np.ndarray, "sample 2"], Bool[np.ndarray, " sample"]]:
    """Answer each id, and tell which of them have signals that the model uses."""
    place = {name: k for k, name in enumerate(samples.ids)}
    rows = np.array([place.get(text, -1) for text in ids])
    known, unknown = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    values, there = np.empty((len(ids), 2)), np.zeros(len(ids), dtype=bool)
    if len(known):
        values[known] = model.predict(samples)[rows[known]]
        there[known] = _has_signals(samples)[rows[known]]
    if len(unknown):
        names = samples.feature_names
        empty = np.full((len(unknown), len(names)), np.nan, np.float32)
        nowhere = samples_of_ids([ids[k] for k in unknown])
        nowhere = replace(nowhere, features=empty, feature_names=names)
        values[unknown] = model.predict(nowhere)
    return finalize(values), there


def _has_signals(samples: Samples) -> Bool[np.ndarray, " sample"]:
    """Tell which samples have features, or arrays of their own second."""
    there = np.zeros(len(samples), dtype=bool)
    if samples.feature_names:
        there |= has_features(samples)
    for name, block in samples.blocks.items():
        if name != REST:  # of the person, whatever was recorded later
            there |= block.rows >= 0
    return there
