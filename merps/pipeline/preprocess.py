"""From a folder of recordings to a store of filtered ones, one person at a time."""

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from merps.datasets.opening import open_data
from merps.datasets.protocol import Dataset, Plan
from merps.datasets.survey import TrialFailure
from merps.engine import (
    Progress,
    Silence,
    require_jobs,
    run_tasks,
    worker_threads,
)
from merps.errors import DataError, InputError, MisfitError
from merps.options import Config, PreprocessConfig
from merps.pipeline.trials import preprocess_plan
from merps.predictions import name_some
from merps.recording import Trial
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
_STEP_VERSION = 2
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
        Folder in the layout of MER-PS or REFED, or of a lab's own that
        ``config.dataset`` describes.
    store : Path
        Folder to fill; made if absent.
    config : Config, optional
        Options; the defaults if absent.
    jobs : int
        Trials at once, in threads; results are the same for any number.
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
        If the store holds other things, an option does not fit the recordings, or
        `jobs` is not positive.
    SpaceError
        If the store cannot be written.
    """
    require_jobs(jobs)
    started = time.monotonic()
    config = config or Config()
    options = config.preprocess
    progress = progress or Silence()
    dataset = open_data(data, dataset_section(config))
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
    digests = FileDigests(filled.path, root=dataset.root)
    with digests, worker_threads(jobs) as pool:
        each = map if jobs == 1 else pool.map
        bring = partial(_bring_up_to_date, dataset, filled, digests, options, each)
        # While one person is written to the disk, the next one is worked on.
        for outcome in run_tasks(
            bring, dataset.people, jobs=min(jobs, 2), libraries=()
        ):
            person = outcome.task
            is_option = isinstance(outcome.error, InputError)
            if isinstance(outcome.error, DataError) and not is_option:
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


def dataset_section(config: Config) -> dict[str, Any] | None:
    """Return the section that describes a lab's own folder, as plain values.

    Parameters
    ----------
    config : Config
        All options.

    Returns
    -------
    dict or None
        None where the folder is one of MER-PS or REFED.
    """
    if config.dataset is None:
        return None
    return config.dataset.model_dump(mode="json")


def _bring_up_to_date(
    dataset: Dataset,
    store: Store,
    digests: FileDigests,
    config: PreprocessConfig,
    each: Callable[..., Iterator],
    person: str,
) -> tuple[bool, tuple[str, ...]]:
    """Preprocess one person unless it is done; tell whether, and what failed."""
    inputs = digests.digests(dataset.input_files(person))
    decisive = store.config
    if dataset.settings:
        decisive = {**decisive, "dataset": dict(dataset.settings)}
    key = person_key(inputs, decisive, _STEP_VERSION)
    failures = _failures_when_stored(store, person, key)
    if failures is not None:
        store.record(person, key)  # the last run may have ended before it did
        return False, failures
    trials, failures = _preprocess_person(dataset, person, config, each)
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
    dataset: Dataset,
    person: str,
    config: PreprocessConfig,
    each: Callable[..., Iterator],
) -> tuple[list[Trial], tuple[str, ...]]:
    """Return the preprocessed trials of one person, and what could not be used."""
    with dataset.open_person(person) as opened:

        def bring(plan: Plan) -> list[Trial | TrialFailure]:
            """Read and preprocess one trial; what was read is let go of."""
            try:
                done = preprocess_plan(opened, plan, config)
            except MisfitError as error:
                if dataset.layout != "lab":  # there, all recordings are alike
                    raise
                text = f"{person} {plan.stimulus}: {error}"
                done = [TrialFailure(person, plan.stimulus, text)]
            opened.release(plan)
            logger.info("%s %s preprocessed", person, plan.stimulus)
            return done

        items = [*opened.failures, *chain.from_iterable(each(bring, opened.plans))]
        items += opened.silent()
    trials = [item for item in items if isinstance(item, Trial)]
    failures = [item.message for item in items if isinstance(item, TrialFailure)]
    stimuli_of: dict[str, list[str]] = {}
    for trial in trials:
        for note in trial.notes:
            stimuli_of.setdefault(note, []).append(trial.stimulus)
    if stimuli_of:
        notes = (f"{note} ({name_some(names)})" for note, names in stimuli_of.items())
        logger.warning("%s: %s", person, "; ".join(notes))
    return trials, tuple(failures)


def _require_room(dataset: Dataset, store: Store, config: PreprocessConfig) -> None:
    """Refuse to start where the store surely will not fit."""
    missing = [p for p in dataset.people if p not in store.people]
    files = {path for person in missing for path in dataset.input_files(person)}
    n_bytes = sum(path.stat().st_size for path in files)
    require_space(store.path, int(_OUTPUT_SHARE[config.precision] * n_bytes))


def _peak_mb() -> float:
    """Return the peak resident memory of this process in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
