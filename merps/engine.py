"""Runs one function over many tasks, in threads, in order, and stops when asked to."""

import importlib
import logging
import logging.handlers
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
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


@contextmanager
def worker_processes(jobs: int) -> Iterator[Callable[..., Any]]:
    """Keep processes at hand for tasks that would wait for one another as threads.

    Each thread of `run_tasks` may hand its task to one of them and wait for the value.
    Processes are started afresh, when they are first needed, and hold linear algebra to
    one thread, so that values are those of `run_tasks`. Their log lines come with the
    value. They pass over Ctrl-C, which `run_tasks` answers, and end with this process,
    however it ends.

    Parameters
    ----------
    jobs : int
        How many processes there are.

    Yields
    ------
    callable
        Takes a function of a module and its arguments, which are copied and should be
        small, and returns its value; a `MerpsError` or a lack of memory is raised as
        the function has raised it, and `SpaceError` where a process has died. Threads
        may call it at the same time, but not the main one, which listens to Ctrl-C.

    Raises
    ------
    InputError
        If `jobs` is not positive.
    """
    require_jobs(jobs)
    context = multiprocessing.get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_end_with, initargs=(alive,)
    )

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        level = logging.getLogger("merps").getEffectiveLevel()
        try:
            with _deaf_children():
                future = pool.submit(_work, function, arguments, level)
            value, error, records = future.result()
        except BrokenProcessPool as broken:
            raise SpaceError(
                "a worker process has ended by itself, perhaps for lack of memory; run "
                "with fewer jobs; a script that calls merps with several jobs must do "
                'so under if __name__ == "__main__"'
            ) from broken
        for record in records:
            logging.getLogger(record.name).handle(record)
        if error is not None:
            raise error
        return value

    patient = True
    try:
        yield call
    except KeyboardInterrupt:
        patient = False
        ours.close()  # they leave their work at once
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)
        ours.close()
        alive.close()


def _work(
    function: Callable[..., Any], arguments: tuple, level: int
) -> tuple[Any, Exception | None, list[logging.LogRecord]]:
    """Call a function in a worker process; return its value or error, and log lines."""
    from threadpoolctl import threadpool_limits

    importlib.import_module("scipy.linalg")
    told, kept = logging.getLogger("merps"), _Kept([])
    told.setLevel(level)
    told.addHandler(kept)
    try:
        with threadpool_limits(1):
            return function(*arguments), None, kept.queue
    except (MerpsError, MemoryError) as error:
        return None, error, kept.queue
    finally:
        told.removeHandler(kept)


class _Kept(logging.handlers.QueueHandler):
    """Keeps log lines in a list, in a form that another process can read."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.queue.append(record)


def _end_with(alive: Connection) -> None:
    """Let a worker process end when the other end of a pipe is closed."""

    def watch() -> None:
        wait_for([alive])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Keep Ctrl-C from processes that this thread starts."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


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
