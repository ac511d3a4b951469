"""From a folder of recordings to a store of filtered ones, one person at a time."""

import logging
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from merps.config import (
    Config,
    EegConfig,
    FnirsConfig,
    LeadInConfig,
    PreprocessConfig,
)
from merps.datasets.mer_ps import MerPsDataset, TrialFailure, open_dataset
from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, InputError
from merps.predictions import name_some
from merps.preprocessing.filters import band_pass, notch, resample
from merps.preprocessing.quality import measure_quality
from merps.preprocessing.repair import fill_gaps, joins
from merps.recording import Baseline, Quality, Recording, Trial
from merps.shapes import Signal
from merps.store import (
    FileDigests,
    Store,
    StoredPerson,
    person_key,
    publish_person,
    require_space,
    unit_path,
)

logger = logging.getLogger(__name__)

# Raised whenever the same inputs and options give other numbers in the store.
_STEP_VERSION = 1
# Stored bytes per input byte, where both modalities come as compressed doubles.
_OUTPUT_SHARE = {"float32": 0.5, "float64": 1.0}


@dataclass(frozen=True)
class Preprocessed:
    """What `preprocess_dataset` did.

    Parameters
    ----------
    done, skipped : tuple of str
        People preprocessed now, and people whose signals were there already.
    failed : tuple of (str, str)
        Person and message, for people who are absent from the store or lack trials.
    seconds : float
        Time taken.
    peak_mb : float
        Peak resident memory of the process in megabytes.
    """

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = field(default=())
    seconds: float = 0.0
    peak_mb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps preprocess --json`` prints."""
        failed = [{"person": p, "message": message} for p, message in self.failed]
        return {
            "done": len(self.done),
            "skipped": len(self.skipped),
            "failed": failed,
            "seconds": round(self.seconds, 3),
            "peak_mb": round(self.peak_mb, 1),
        }


def preprocess_dataset(
    data: Path | str,
    store: Path | str,
    *,
    config: Config | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Preprocessed:
    """Filter every person's recordings and publish them in a store.

    A person whose files and options have not changed is skipped. What cannot be read
    is reported; the good trials of the same person, and all other people, are done.

    Parameters
    ----------
    data : Path
        Folder in the layout of MER-PS or REFED.
    store : Path
        Folder to fill; made if absent.
    config : Config, optional
        Options; the defaults if absent.
    jobs : int
        People at once.
    progress : Progress, optional
        Told of each person.

    Returns
    -------
    Preprocessed
        Who was done, skipped and failed.

    Raises
    ------
    DataError
        If not one trial could be used.
    InputError
        If the store holds other things, or an option does not fit the recordings.
    SpaceError
        If the store cannot be written.
    """
    started = time.monotonic()
    options = (config or Config()).preprocess
    progress = progress or Silence()
    dataset = open_dataset(Path(data))
    filled = Store.create(
        Path(store),
        config=options.model_dump(mode="json"),
        source=dataset.source,
        role=dataset.role,
        terms=dataset.terms,
    )
    _require_room(dataset, filled, options)
    n_steps = len(dataset.people)
    progress.expect(n_steps)
    done, skipped = [], []
    failed = [(p.where, p.message) for p in dataset.problems if p.severity == "error"]
    for problem in dataset.problems:
        if problem.severity == "warning":
            logger.warning("%s: %s", problem.where, problem.message)
    with FileDigests(filled.path, root=dataset.root) as digests:
        bring = partial(_bring_up_to_date, dataset, filled, digests, options)
        for outcome in run_tasks(bring, dataset.people, jobs=jobs):
            person = outcome.task
            if isinstance(outcome.error, DataError):
                failed.append((person, str(outcome.error)))
            elif outcome.error is not None:
                raise outcome.error
            else:
                is_new, failures = outcome.value
                failed.extend((person, message) for message in failures)
                if not is_new:
                    skipped.append(person)
                    n_steps -= 1
                    progress.expect(n_steps)
                    continue
                done.append(person)
            progress.done(person)
    if not done and not skipped:
        listed = "\n".join(f"  {person}: {message}" for person, message in failed)
        raise DataError(f"{data}: not one recording could be used:\n{listed}")
    kept = [name for name in filled.people if name not in {*done, *skipped}]
    if kept:
        logger.warning(
            "%s still holds earlier signals of %s, who are not in %s or failed now",
            *(store, name_some(kept), data),
        )
    return Preprocessed(
        done=tuple(done),
        skipped=tuple(skipped),
        failed=tuple(failed),
        seconds=time.monotonic() - started,
        peak_mb=_peak_mb(),
    )


def preprocess_trial(trial: Trial, config: PreprocessConfig) -> Trial:
    """Filter and resample what one person did during one stimulus.

    Where the rest before the stimulus runs into it without a jump, both are filtered
    in one piece and the signal starts with the rest; otherwise each is filtered by
    itself, and the rest is kept apart.

    Parameters
    ----------
    trial : Trial
        As read.
    config : PreprocessConfig
        Options.

    Returns
    -------
    Trial
        With filtered signals, NaN where a sample is missing, and quality tables of the
        unfiltered ones.

    Raises
    ------
    InputError
        If an option does not fit the recordings.
    """
    clean = partial(_clean, lead_in=config.lead_in, precision=config.precision)
    eeg = fnirs = eeg_rest = fnirs_rest = None
    notes, quality = list(trial.notes), {}
    if trial.eeg is not None:
        eeg, eeg_rest, quality["eeg"] = clean(trial.eeg, trial.baseline.eeg, config.eeg)
    if trial.fnirs is not None:
        rest = trial.baseline.fnirs
        fnirs, fnirs_rest, quality["fnirs"] = clean(
            _pick(trial.fnirs, config.fnirs.kinds),
            None if rest is None else _pick(rest, config.fnirs.kinds),
            config.fnirs,
        )
    for name, rest in (("EEG", eeg_rest), ("fNIRS", fnirs_rest)):
        if rest is not None:
            notes.append(f"the rest before the {name} does not run into it")
    return replace(
        trial,
        eeg=eeg,
        fnirs=fnirs,
        baseline=Baseline(eeg=eeg_rest, fnirs=fnirs_rest),
        notes=tuple(notes),
        quality=quality,
    )


def _bring_up_to_date(
    dataset: MerPsDataset,
    store: Store,
    digests: FileDigests,
    config: PreprocessConfig,
    person: str,
) -> tuple[bool, tuple[str, ...]]:
    """Preprocess one person unless it is done; tell whether, and what failed."""
    inputs = digests.digests(dataset.input_files(person))
    key = person_key(inputs, store.config, _STEP_VERSION)
    failures = _failures_when_stored(store, person, key)
    if failures is not None:
        store.record(person, key)  # the last run may have ended before it did
        return False, failures
    trials, failures = _preprocess_person(dataset, person, config)
    if not trials:
        raise DataError("; ".join(failures) or f"{person}: no trials found")
    facts = {
        "source": dataset.source,
        "role": dataset.role,
        "terms": dataset.terms,
        "inputs": inputs,
        "failures": list(failures),
        "notes": {trial.stimulus: list(trial.notes) for trial in trials},
    }
    publish_person(store.path, person, key, trials, sidecar=facts)
    store.record(person, key)
    return True, failures


def _failures_when_stored(
    store: Store, person: str, key: str
) -> tuple[str, ...] | None:
    """Return what failed when a person was stored; None where none is, or damaged."""
    path = unit_path(store.path, person, key)
    if not path.exists():
        return None
    try:
        with StoredPerson(path) as stored:
            facts = stored.sidecar
    except DataError as error:
        logger.warning("%s", error)
        return None
    return tuple(facts["failures"]) if facts["key"] == key else None


def _preprocess_person(
    dataset: MerPsDataset, person: str, config: PreprocessConfig
) -> tuple[list[Trial], tuple[str, ...]]:
    """Return the preprocessed trials of one person, and what could not be used."""
    trials, failures = [], []
    stimuli_of: dict[str, list[str]] = {}
    for item in dataset.trials(person):
        if isinstance(item, TrialFailure):
            failures.append(item.message)
            continue
        trials.append(preprocess_trial(item, config))
        logger.info("%s %s preprocessed", person, item.stimulus)
        for note in item.notes:
            stimuli_of.setdefault(note, []).append(item.stimulus)
    if stimuli_of:
        notes = (f"{note} ({name_some(names)})" for note, names in stimuli_of.items())
        logger.warning("%s: %s", person, "; ".join(notes))
    return trials, tuple(failures)


def _clean(
    recording: Recording,
    rest: Recording | None,
    section: EegConfig | FnirsConfig,
    *,
    lead_in: LeadInConfig,
    precision: str,
) -> tuple[Recording, Recording | None, Quality]:
    """Filter one modality; return it, rest that does not run into it, and quality."""
    rate_hz = recording.rate_hz
    quality = measure_quality(
        recording.signal, rate_hz=rate_hz, **section.quality.model_dump()
    )
    if rest is not None and joins(
        rest.signal, recording.signal, rate_hz=rate_hz, **lead_in.model_dump()
    ):
        whole = np.concatenate([rest.signal, recording.signal], axis=-1)
        recording = recording.with_signal(whole, start_s=rest.start_s)
        rest = None
    if rest is not None:
        rest = _filter(rest, section, precision)
    return _filter(recording, section, precision), rest, quality


def _filter(
    recording: Recording, section: EegConfig | FnirsConfig, precision: str
) -> Recording:
    """Resample and filter; missing samples are bridged for that, and missing again."""
    x_ct = recording.signal.astype(np.float64)
    missing = np.isnan(x_ct)
    rate_hz = recording.rate_hz
    x_ct = resample(fill_gaps(x_ct), rate_hz=rate_hz, to_hz=section.to_hz)
    if section.band_pass is not None:
        x_ct = band_pass(x_ct, rate_hz=section.to_hz, **section.band_pass.model_dump())
    if isinstance(section, EegConfig) and section.notch is not None:
        x_ct = notch(x_ct, rate_hz=section.to_hz, **section.notch.model_dump())
    x_ct = x_ct.astype(precision)
    if missing.any():
        x_ct[_missing_at(missing, x_ct.shape[-1], rate_hz, section.to_hz)] = np.nan
    return recording.with_signal(x_ct, rate_hz=section.to_hz)


def _missing_at(
    missing: Bool[np.ndarray, "*kind channel time"],
    n_times: int,
    rate_hz: float,
    to_hz: float,
) -> Bool[np.ndarray, "*kind channel new"]:
    """Mark each new sample during whose interval an old one is missing."""
    count = np.cumsum(missing, axis=-1)
    count = np.concatenate([np.zeros_like(count[..., :1]), count], axis=-1)
    edges = np.arange(n_times + 1) * (rate_hz / to_hz)
    last = missing.shape[-1]
    # An edge that should meet a sample must not miss it by a rounding error.
    starts = np.minimum(np.floor(edges[:-1] + 1e-6).astype(int), last - 1)
    stops = np.clip(np.ceil(edges[1:] - 1e-6).astype(int), starts + 1, last)
    return count[..., stops] > count[..., starts]


def _pick(recording: Recording, kinds: Sequence[str]) -> Recording:
    """Keep some kinds of a recording."""
    absent = [kind for kind in kinds if kind not in recording.kinds]
    if absent:
        raise InputError(
            f"preprocess.fnirs.kinds asks for {', '.join(absent)}; choose from "
            f"{', '.join(recording.kinds)}"
        )
    rows = [recording.kinds.index(kind) for kind in kinds]
    signal: Signal = recording.signal[rows]
    return replace(
        recording,
        signal=signal,
        kinds=tuple(kinds),
        quantity=tuple(recording.quantity[row] for row in rows),
        unit=tuple(recording.unit[row] for row in rows),
    )


def _require_room(
    dataset: MerPsDataset, store: Store, config: PreprocessConfig
) -> None:
    """Refuse to start where the store surely will not fit."""
    missing = [p for p in dataset.people if p not in store.people]
    files = {path for person in missing for path in dataset.input_files(person)}
    n_bytes = sum(path.stat().st_size for path in files)
    require_space(store.path, int(_OUTPUT_SHARE[config.precision] * n_bytes))


def _peak_mb() -> float:
    """Return the peak resident memory of this process in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
