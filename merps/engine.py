"""Runs one function over many tasks, in threads, in order, and stops when asked to."""

import importlib
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from merps.errors import InputError, MerpsError, SpaceError

logger = logging.getLogger(__name__)

_WAKE_S = 0.2


@runtime_checkable
class Progress(Protocol):
    """Whoever wants to know how far a piece of work is."""

    def expect(self, total: int) -> None:
        """Say how many steps there are in all; may be said again."""

    def done(self, unit: str) -> None:
        """Count one step, and name what is finished."""


class Silence:
    """Progress that nobody looks at."""

    def expect(self, total: int) -> None:
        """Pass over it."""

    def done(self, unit: str) -> None:
        """Pass over it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task.

    Parameters
    ----------
    task : object
        The task, as it was given.
    value : object
        What the function returned; None if it failed.
    error : MerpsError, optional
        Why it failed.
    """

    task: Any
    value: Any = None
    error: MerpsError | None = None


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Sequence,
    *,
    jobs: int,
    describe: Callable[[Any], str] = str,
    libraries: Sequence[str] = ("scipy.linalg",),
) -> Iterator[Outcome]:
    """Run a function over tasks in threads of this process.

    Linear algebra is held to one thread a task, so that results do not depend on
    `jobs`. On the first Ctrl-C no new task starts, those that run are finished and
    yielded, and KeyboardInterrupt is raised; on the second it is raised at once, and
    the threads are left behind. Signals are only seen from the main thread.

    Parameters
    ----------
    function : callable
        Takes one task; its value should be small, since values wait for their turn.
    tasks : sequence
        Any objects, such as names.
    jobs : int
        How many tasks run at a time; 1 runs them in the calling thread.
    describe : callable, optional
        Returns the words that name a task in a message.
    libraries : sequence of str, optional
        Modules with linear algebra of their own that tasks may use beside NumPy's.
        They are imported first, since only loaded libraries can be held to one thread.

    Returns
    -------
    iterator of Outcome
        In the order of `tasks`, each as soon as it is its turn. A `MerpsError` or a
        lack of memory is carried as the error of its task; any other exception ends
        the run. Closing the iterator lets running tasks finish and starts no other.

    Raises
    ------
    InputError
        If `jobs` is not positive.
    """
    require_jobs(jobs)

    def attempt(task: Any) -> Outcome:
        try:
            return Outcome(task, value=function(task))
        except MemoryError as error:
            _let_go(error)
            return Outcome(task, error=_no_memory(describe(task), error, jobs=jobs))
        except MerpsError as error:
            _let_go(error)
            return Outcome(task, error=error)

    return _run(attempt, tasks, jobs=jobs, libraries=libraries)


def _run(
    attempt: Callable[[Any], Outcome],
    tasks: Sequence,
    *,
    jobs: int,
    libraries: Sequence[str],
) -> Iterator[Outcome]:
    """Yield outcomes until all are done or the user asks to stop."""
    from threadpoolctl import threadpool_limits

    for library in libraries:
        importlib.import_module(library)
    with threadpool_limits(1), _Interrupt() as interrupt:
        if jobs == 1:
            yield from _in_line(attempt, tasks, interrupt)
        else:
            yield from _in_threads(attempt, tasks, interrupt, jobs=jobs)
        if interrupt.count:
            raise KeyboardInterrupt


def require_jobs(jobs: int) -> None:
    """Refuse a number of jobs that cannot be.

    Parameters
    ----------
    jobs : int
        How many tasks are to run at a time.

    Raises
    ------
    InputError
        If it is not positive.
    """
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, got {jobs}")


@contextmanager
def worker_threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Keep threads at hand for the parts of tasks, shared by all tasks of a run.

    Parameters
    ----------
    jobs : int
        How many parts run at a time.

    Yields
    ------
    ThreadPoolExecutor
        To be given parts; a part must not wait for another one. Threads that are at
        work when KeyboardInterrupt passes are left behind, and awaited otherwise.

    Raises
    ------
    InputError
        If `jobs` is not positive.
    """
    from threadpoolctl import threadpool_limits

    require_jobs(jobs)
    # OpenMP keeps its limit per thread, so each worker sets its own.
    pool = ThreadPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,))
    patient = True
    try:
        yield pool
    except KeyboardInterrupt:
        patient = False
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)


class _Interrupt:
    """Counts Ctrl-C while it is entered; the second one is let through."""

    def __init__(self) -> None:
        self.count = 0
        self._former: Any = None

    def __enter__(self) -> "_Interrupt":
        in_main = threading.current_thread() is threading.main_thread()
        # A background job is started with the signal ignored, and it stays so.
        if in_main and callable(signal.getsignal(signal.SIGINT)):
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _handle(self, *_: object) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        logger.warning("finishing what is under way; press Ctrl-C again to stop now")


def _in_line(
    attempt: Callable[[Any], Outcome], tasks: Sequence, interrupt: _Interrupt
) -> Iterator[Outcome]:
    """Run in the calling thread."""
    for task in tasks:
        if interrupt.count:
            return
        yield attempt(task)


def _in_threads(
    attempt: Callable[[Any], Outcome],
    tasks: Sequence,
    interrupt: _Interrupt,
    *,
    jobs: int,
) -> Iterator[Outcome]:
    """Run in worker threads; a task whose turn comes after an interrupt is skipped."""
    from threadpoolctl import threadpool_limits

    def attempt_unless_stopped(task: Any) -> Outcome | None:
        return None if interrupt.count else attempt(task)

    # OpenMP keeps its limit per thread, so each worker sets its own.
    pool = ThreadPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,))
    try:
        futures = [pool.submit(attempt_unless_stopped, task) for task in tasks]
        while futures:
            # A signal that reaches a worker thread does not wake a plain wait.
            while not wait(futures[:1], timeout=_WAKE_S).done:
                pass
            outcome = futures.pop(0).result()
            if outcome is not None:
                yield outcome
    finally:
        pool.shutdown(wait=interrupt.count < 2, cancel_futures=True)


def _no_memory(name: str, error: MemoryError, *, jobs: int) -> SpaceError:
    """Say which task ran out of memory."""
    detail = f" ({error})" if str(error) else ""
    hint = f"run with fewer jobs than {jobs}" if jobs > 1 else "use a larger machine"
    return SpaceError(f"{name}: not enough memory{detail}; {hint}")


def _let_go(error: BaseException) -> None:
    """Free what the frames of an error hold; its lines stay readable."""
    traceback.clear_frames(error.__traceback__)
