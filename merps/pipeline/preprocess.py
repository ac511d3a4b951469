"""From a folder of recordings to a store of filtered ones, one person at a time."""

import logging
import resource
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from merps.config import Config, EegConfig, FnirsConfig, PreprocessConfig
from merps.datasets.mer_ps import MerPsDataset, TrialFailure, open_dataset
from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError
from merps.preprocessing.filters import band_pass, notch, resample
from merps.preprocessing.quality import measure_quality
from merps.preprocessing.repair import fill_gaps, joins
from merps.recording import Baseline, Quality, Recording, Trial
from merps.shapes import Signal
from merps.store import (
    FileDigests,
    Store,
    has_person,
    person_key,
    publish_person,
    require_space,
)
from merps.store.units import StoredPerson, unit_path

logger = logging.getLogger(__name__)

# Raised whenever the same inputs and options give other numbers in the store.
_STEP_VERSION = 1
# More than one stored byte per input byte never happens: double in, float32 out.
_OUTPUT_SHARE = 0.5


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
    SpaceError
        If the store cannot be written.
    """
    started = time.monotonic()
    config = config or Config()
    dataset = open_dataset(Path(data))
    options = config.preprocess.model_dump(mode="json")
    filled = Store.create(
        Path(store),
        config=options,
        source=dataset.source,
        role=dataset.role,
        terms=dataset.terms,
    )
    progress = progress or Silence()
    progress.expect(len(dataset.people))
    done, skipped, failed = [], [], []
    for problem in dataset.problems:
        if problem.severity == "error":
            failed.append((problem.where, problem.message))
    with FileDigests(filled.path, root=dataset.root) as digests:

        def do_one(person: str) -> tuple[bool, tuple[str, ...]]:
            """Preprocess one person unless it is done; return whether, and failures."""
            inputs = digests.digests(dataset.input_files(person))
            key = person_key(inputs, options, _STEP_VERSION)
            if has_person(filled.path, person, key):
                with StoredPerson(unit_path(filled.path, person, key)) as stored:
                    failures = tuple(stored.sidecar["failures"])
                filled.record(person, key)
                return False, failures
            trials, failures = _preprocess_person(dataset, person, config.preprocess)
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
            publish_person(filled.path, person, key, trials, sidecar=facts)
            filled.record(person, key)
            return True, failures

        _require_room(dataset, filled)
        for outcome in run_tasks(do_one, dataset.people, jobs=jobs):
            person = outcome.task
            if outcome.error is not None:
                if not isinstance(outcome.error, DataError):
                    raise outcome.error
                failed.append((person, str(outcome.error)))
            else:
                fresh, failures = outcome.value
                (done if fresh else skipped).append(person)
                failed.extend((person, message) for message in failures)
            progress.done(person)
    if not done and not skipped:
        listed = "\n".join(f"  {person}: {message}" for person, message in failed)
        raise DataError(f"{data}: not one recording could be used:\n{listed}")
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
        With filtered signals and quality tables of the unfiltered ones.
    """
    notes, quality = list(trial.notes), {}
    eeg = fnirs = eeg_rest = fnirs_rest = None
    if trial.eeg is not None:
        eeg, eeg_rest, quality["eeg"] = _clean(
            trial.eeg, trial.baseline.eeg, config.eeg, config, notes, "EEG"
        )
    if trial.fnirs is not None:
        fnirs, fnirs_rest, quality["fnirs"] = _clean(
            _pick(trial.fnirs, config.fnirs),
            trial.baseline.fnirs and _pick(trial.baseline.fnirs, config.fnirs),
            config.fnirs,
            config,
            notes,
            "fNIRS",
        )
    return replace(
        trial,
        eeg=eeg,
        fnirs=fnirs,
        baseline=Baseline(eeg=eeg_rest, fnirs=fnirs_rest),
        notes=tuple(notes),
        quality=quality,
    )


def _preprocess_person(
    dataset: MerPsDataset, person: str, config: PreprocessConfig
) -> tuple[list[Trial], tuple[str, ...]]:
    """Return the preprocessed trials of one person, and what could not be used."""
    trials, failures = [], []
    for item in dataset.trials(person):
        if isinstance(item, TrialFailure):
            failures.append(item.message)
            logger.warning("%s: %s", person, item.message)
        else:
            trials.append(preprocess_trial(item, config))
            logger.info("%s %s preprocessed", person, item.stimulus)
    return trials, tuple(failures)


def _clean(
    recording: Recording,
    rest: Recording | None,
    section: EegConfig | FnirsConfig,
    config: PreprocessConfig,
    notes: list[str],
    name: str,
) -> tuple[Recording, Recording | None, Quality]:
    """Filter one modality; return it, rest that does not run into it, and quality."""
    quality = measure_quality(
        recording.signal, rate_hz=recording.rate_hz, **section.quality.model_dump()
    )
    joined = rest is not None and joins(
        rest.signal,
        recording.signal,
        rate_hz=recording.rate_hz,
        **config.lead_in.model_dump(),
    )
    if joined:
        whole = np.concatenate([rest.signal, recording.signal], axis=-1)
        recording = recording.with_signal(whole, start_s=rest.start_s)
        rest = None
    elif rest is not None:
        notes.append(f"the rest before the {name} does not run into it")
        rest = _filter(rest, section, config.precision)
    return _filter(recording, section, config.precision), rest, quality


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
    starts = np.minimum(np.floor(edges[:-1]).astype(int), last - 1)
    stops = np.clip(np.ceil(edges[1:]).astype(int), starts + 1, last)
    return count[..., stops] > count[..., starts]


def _pick(recording: Recording, config: FnirsConfig) -> Recording:
    """Keep the configured kinds of a recording."""
    absent = [kind for kind in config.kinds if kind not in recording.kinds]
    if absent:
        raise DataError(
            f"fNIRS has no {', '.join(absent)}, it has {', '.join(recording.kinds)}; "
            "set preprocess.fnirs.kinds to some of these"
        )
    rows = [recording.kinds.index(kind) for kind in config.kinds]
    signal: Signal = recording.signal[rows]
    return replace(
        recording,
        signal=signal,
        kinds=tuple(config.kinds),
        quantity=tuple(recording.quantity[row] for row in rows),
        unit=tuple(recording.unit[row] for row in rows),
    )


def _require_room(dataset: MerPsDataset, store: Store) -> None:
    """Refuse to start where the store surely will not fit."""
    missing = [p for p in dataset.people if p not in store.people]
    files = {path for person in missing for path in dataset.input_files(person)}
    n_bytes = sum(path.stat().st_size for path in files)
    require_space(store.path, int(_OUTPUT_SHARE * n_bytes))


def _peak_mb() -> float:
    """Return the peak resident memory of this process in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
