"""The folds of an evaluation: those done before, and the others, wherever they run."""

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import merps
from merps.engine import Progress, worker_processes
from merps.evaluation.fold_files import (
    FoldFiles,
    FoldResult,
    FoldTask,
    describe_estimator,
)
from merps.evaluation.protocol import RUNGS, fit_fold, run_folds
from merps.models.rows import labeled
from merps.options import Config
from merps.pipeline.blocks import attach_blocks, count_steps, needed_blocks
from merps.pipeline.errands import Contender, Errand, run_errand, trains_nets
from merps.pipeline.features import extract_samples
from merps.pipeline.models import digest_of_file
from merps.pipeline.runs import CHECKPOINTS, FOLDS, LIBRARIES
from merps.samples import Samples
from merps.store import Store

logger = logging.getLogger(__name__)

# What trains a net, beside the libraries of every run.
_NET_LIBRARIES = ("torch", "braindecode")


class FoldRunner:
    """Does those folds of an evaluation that are not done yet.

    Models of columns and matrices share those in memory and run in threads. Nets, whose
    settings are one for a whole process, run in processes of their own where there are
    several jobs; these get paths, and read windows from the store.

    Parameters
    ----------
    store : Store
        Preprocessed people.
    config : Config
        Every option.
    contenders : sequence of Contender
        What is evaluated beside the rungs.
    files : FoldFiles, optional
        Where results of folds are kept; nothing is kept if absent.
    jobs : int
        How many folds run at a time; changes nothing in the result.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        contenders: Sequence[Contender],
        *,
        files: FoldFiles | None,
        jobs: int,
    ) -> None:
        self._store, self._config, self._jobs = store, config, jobs
        self._files = files
        self._contenders = {one.name: one for one in contenders}
        self._models = {one.name: one.make() for one in contenders}

    def run(
        self, seconds: Samples, tasks: Sequence[FoldTask], progress: Progress
    ) -> tuple[dict[FoldTask, FoldResult], int]:
        """Do all folds, or take what was done before.

        Parameters
        ----------
        seconds : Samples
            What `read_seconds` returned.
        tasks : sequence of FoldTask
            What `plan_folds` made of it.
        progress : Progress
            Told of each person whose features are there, and of each fold.

        Returns
        -------
        tuple of (dict of FoldTask to FoldResult, int)
            One for each task, and how many were done before.

        Raises
        ------
        InputError
            If a model cannot be fitted.
        DataError
            If the store is damaged.
        SpaceError
            If a result cannot be written, or memory does not suffice.
        """
        done = {}
        if self._files is not None:
            found = ((task, self._files.read(task)) for task in tasks)
            done = {task: result for task, result in found if result is not None}
            logger.info("folds done before: %d of %d", len(done), len(tasks))
        n_reused = len(done)
        pending = [task for task in tasks if task not in done]
        left = _count_folds(pending)
        progress.expect(len(left))
        samples = self._signals(seconds, pending, len(left), progress)
        elsewhere = any(self._is_elsewhere(task.model) for task in pending)
        with worker_processes(self._jobs) if elsewhere else nullcontext() as call:
            run = functools.partial(self._run, seconds, samples, call)
            for task, result in run_folds(run, pending, jobs=self._jobs):
                done[task] = result
                fold = (task.fold.protocol, task.fold.name)
                left[fold] -= 1
                if not left[fold]:
                    progress.done(", ".join(fold))
        return done, n_reused

    def _is_elsewhere(self, model: str) -> bool:
        """Tell whether a model runs in processes of their own."""
        return (
            self._jobs > 1
            and model in self._models
            and trains_nets(self._models[model])
        )

    def _signals(
        self,
        seconds: Samples,
        pending: Sequence[FoldTask],
        n_folds: int,
        progress: Progress,
    ) -> Samples:
        """Compute what the models that run here ask of the signals."""
        here = [
            self._models[name]
            for name in dict.fromkeys(task.model for task in pending)
            if name in self._models and not self._is_elsewhere(name)
        ]
        if not here:
            return seconds
        needed = [name for model in here for name in needed_blocks(model)]
        n_steps = len(self._store.people) + count_steps(needed, seconds)
        options = {"config": self._config, "jobs": self._jobs}
        options["progress"] = _Beside(progress, n_folds + n_steps)
        samples = labeled(extract_samples(self._store, **options))
        return attach_blocks(samples, self._store, needed, **options)

    def _run(
        self,
        seconds: Samples,
        samples: Samples,
        call: Callable[..., Any] | None,
        task: FoldTask,
    ) -> FoldResult:
        """Do one fold, here or in another process, and keep the result at once."""
        checkpoints = self._files and self._files.checkpoints(task)
        if task.model in RUNGS:
            result = fit_fold(RUNGS[task.model](), seconds, task.fold)
        elif call is not None and self._is_elsewhere(task.model):
            errand = Errand(
                store=self._store.path,
                config=self._config,
                contender=self._contenders[task.model],
                protocol=task.fold.protocol,
                fold=task.fold.name,
                entry=task.entry,
                checkpoints=checkpoints,
            )
            result = call(run_errand, errand)
        else:
            model = self._contenders[task.model].make()
            result = fit_fold(model, samples, task.fold, checkpoints=checkpoints)
        if self._files is not None:
            self._files.write(task, result)
        return result


def open_fold_files(
    run: Path,
    config: Config,
    contenders: Sequence[Contender],
    *,
    data: Mapping[str, Any],
) -> FoldFiles:
    """Open the finished folds of a run folder.

    Parameters
    ----------
    run : Path
        A folder from `merps.pipeline.runs.prepare_run`.
    config : Config
        Every option.
    contenders : sequence of Contender
        What is evaluated beside the rungs.
    data : mapping
        What `merps.pipeline.runs.describe_data` returned.

    Returns
    -------
    FoldFiles
        Those of other data, options or versions are passed over.

    Raises
    ------
    InputError
        If a file that training starts from cannot be read.
    SpaceError
        If the folder cannot be made.
    """
    sections = ("windows", "fnirs_windows", "features")
    basis = {
        "code": _code_digest(),
        "versions": {name: version(name) for name in LIBRARIES},
        "source": data["source"],
        "people": data["people"],
        "seed": config.evaluate.seed,
        **{name: getattr(config, name).model_dump(mode="json") for name in sections},
    }
    models = {name: describe_estimator(make()) for name, make in RUNGS.items()}
    models |= {one.name: _describe(one) for one in contenders}
    return FoldFiles(run / FOLDS, run / CHECKPOINTS, basis=basis, models=models)


class _Beside:
    """Passes steps on, and tells of a number of them that is known already."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total

    def expect(self, total: int) -> None:
        """Tell of all steps, whatever one stage knows of."""
        self._progress.expect(self._total)

    def done(self, unit: str) -> None:
        """Pass a step on."""
        self._progress.done(unit)


def _describe(contender: Contender) -> dict[str, Any]:
    """Say all that decides what a model predicts, beside data and folds."""
    model = contender.make()
    described = _with_digests(describe_estimator(model))
    if trains_nets(model):
        described["versions"] = {name: version(name) for name in _NET_LIBRARIES}
    return described


def _with_digests(described: Mapping[str, Any]) -> dict[str, Any]:
    """Put the digests of files that training starts from in place of their names."""
    found = dict(described)
    for name, value in described.items():
        if isinstance(value, Mapping):
            found[name] = _with_digests(value)
        elif name == "pretrained":
            found[name] = digest_of_file(value)
    return found


def _count_folds(tasks: Sequence[FoldTask]) -> dict[tuple[str, str], int]:
    """Count how many models each fold waits for."""
    counts: dict[tuple[str, str], int] = {}
    for task in tasks:
        fold = (task.fold.protocol, task.fold.name)
        counts[fold] = counts.get(fold, 0) + 1
    return counts


@functools.cache
def _code_digest() -> str:
    """Digest the modules of merps, but for those that only talk to people."""
    root = Path(merps.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != "cli":
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
