import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from merps.engine import run_tasks, worker_processes, worker_threads
from merps.errors import DataError, InputError, SpaceError

JOBS = [1, 2, 3]


def interrupt_self():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize("jobs", JOBS)
def test_outcomes_come_in_task_order(jobs):
    def slow_first(task):
        time.sleep(0.05 if task == 0 else 0)
        return task * task

    outcomes = list(run_tasks(slow_first, range(8), jobs=jobs))
    assert [o.task for o in outcomes] == list(range(8))
    assert [o.value for o in outcomes] == [n * n for n in range(8)]
    assert all(o.error is None for o in outcomes)


@pytest.mark.parametrize("jobs", JOBS)
def test_no_tasks_give_no_outcomes(jobs):
    assert list(run_tasks(str, [], jobs=jobs)) == []


@pytest.mark.parametrize("jobs", [2, 3])
def test_jobs_run_at_a_time_and_no_more(jobs):
    lock, meet = threading.Lock(), threading.Barrier(jobs)
    running, most = 0, 0

    def count(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meet.wait(timeout=5)  # only passes if `jobs` tasks run at once
        with lock:
            running -= 1

    list(run_tasks(count, range(4 * jobs), jobs=jobs))
    assert most == jobs


@pytest.mark.parametrize("jobs", JOBS)
def test_an_outcome_is_yielded_before_later_tasks_are_done(jobs):
    done = threading.Event()

    def wait_for_consumer(task):
        if task == 1:
            assert done.wait(timeout=5)
        return task

    for outcome in run_tasks(wait_for_consumer, range(2), jobs=jobs):
        assert outcome.value == outcome.task
        done.set()


@pytest.mark.parametrize("jobs", JOBS)
def test_errors_of_merps_are_carried(jobs):
    def fail_on_odd(task):
        if task % 2:
            raise DataError(f"file {task} is cut")
        return task

    outcomes = list(run_tasks(fail_on_odd, range(5), jobs=jobs))
    assert [o.value for o in outcomes] == [0, None, 2, None, 4]
    assert str(outcomes[3].error) == "file 3 is cut"


@pytest.mark.parametrize("jobs", JOBS)
def test_a_lack_of_memory_names_the_task(jobs):
    def allocate(task):
        return np.empty(2**62, np.uint8) if task == "test_2" else task

    names = ["test_1", "test_2", "test_3"]
    outcomes = list(run_tasks(allocate, names, jobs=jobs, describe=str.upper))
    assert [o.value for o in outcomes] == ["test_1", None, "test_3"]
    assert isinstance(outcomes[1].error, SpaceError)
    assert "TEST_2: not enough memory" in str(outcomes[1].error)
    assert ("fewer jobs" in str(outcomes[1].error)) == (jobs > 1)


@pytest.mark.parametrize("jobs", JOBS)
def test_a_carried_error_holds_no_arrays(jobs):
    holders = []

    class Big:
        def __del__(self):
            holders.append("freed")

    def fail(_):
        big = Big()
        raise DataError(f"{type(big).__name__} was in use")

    outcome = next(run_tasks(fail, [0], jobs=jobs))
    assert holders == ["freed"]
    assert outcome.error.__traceback__ is not None


@pytest.mark.parametrize("jobs", JOBS)
def test_other_errors_end_the_run(jobs):
    started = []

    def fail(task):
        started.append(task)
        if task == 1:
            raise RuntimeError("a bug")
        time.sleep(0.02)

    outcomes = run_tasks(fail, range(50), jobs=jobs)
    assert next(outcomes).task == 0
    with pytest.raises(RuntimeError, match="a bug"):
        next(outcomes)
    n_started = len(started)
    assert n_started < 50
    time.sleep(0.1)
    assert len(started) == n_started


@pytest.mark.parametrize("jobs", JOBS)
def test_leaving_early_finishes_what_runs_and_starts_nothing(jobs):
    started, finished = [], []

    def work(task):
        started.append(task)
        time.sleep(0.05)
        finished.append(task)

    outcomes = run_tasks(work, range(50), jobs=jobs)
    next(outcomes)
    outcomes.close()
    assert sorted(finished) == sorted(started)
    assert len(started) <= 2 * jobs


@pytest.mark.parametrize("jobs", JOBS)
def test_one_interrupt_finishes_what_runs(jobs):
    started, finished, seen = [], [], []
    running = threading.Barrier(jobs + (jobs > 1))

    def work(task):
        started.append(task)
        if task < jobs:
            running.wait(timeout=5)
        if jobs == 1:
            interrupt_self()
        time.sleep(0.1)
        finished.append(task)
        return task

    def press_once():
        running.wait(timeout=5)
        interrupt_self()

    if jobs > 1:
        threading.Thread(target=press_once).start()
    with pytest.raises(KeyboardInterrupt):
        seen.extend(o.value for o in run_tasks(work, range(50), jobs=jobs))
    assert seen == sorted(started) == sorted(finished) == list(range(jobs))


@pytest.mark.parametrize("jobs", JOBS)
def test_an_interrupt_between_outcomes_loses_none(jobs):
    seen, finished = [], []

    def work(task):
        time.sleep(0.02)
        finished.append(task)
        return task

    def consume():
        for outcome in run_tasks(work, range(50), jobs=jobs):
            if outcome.task == 0:
                interrupt_self()
            seen.append(outcome.value)

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert seen == sorted(finished)
    assert len(seen) < 50


@pytest.mark.parametrize("jobs", [1, 2])
def test_two_interrupts_end_at_once(jobs, caplog):
    release, waiting = threading.Event(), threading.Event()

    def work(_):
        waiting.set()
        for _ in range(500):  # one long wait could start just after a signal came
            if release.wait(timeout=0.01):
                break

    def press_twice():
        waiting.wait(timeout=5)
        interrupt_self()
        while not caplog.records:  # two signals at once would count as one
            time.sleep(0.01)
        interrupt_self()

    threading.Thread(target=press_twice).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(work, range(4), jobs=jobs))
    assert time.monotonic() - start < 3
    release.set()


def test_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    list(run_tasks(str, [1], jobs=1))
    next(run_tasks(str, [1, 2], jobs=2))
    assert signal.getsignal(signal.SIGINT) is before


def test_runs_outside_the_main_thread():
    values = []

    def run():
        values.extend(o.value for o in run_tasks(str, [1, 2], jobs=2))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert values == ["1", "2"]


@pytest.mark.parametrize("jobs", JOBS)
def test_linear_algebra_has_one_thread_and_gets_its_own_back(jobs):
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info, threadpool_limits

    def n_threads(_=None):
        return {info["num_threads"] for info in threadpool_info()}

    with threadpool_limits(2):
        assert {2} == n_threads()
        assert {
            frozenset(o.value) for o in run_tasks(n_threads, range(6), jobs=jobs)
        } == {frozenset({1})}
        assert {2} == n_threads()


def test_only_libraries_that_are_asked_for_are_loaded():
    code = """
    import sys
    import numpy
    from threadpoolctl import threadpool_info
    from merps.engine import run_tasks

    def n_threads(_):
        return {info["num_threads"] for info in threadpool_info()}

    assert [o.value for o in run_tasks(n_threads, "ab", jobs=2, libraries=())] == [
        {1}, {1}
    ]
    assert not any(name.split(".")[0] == "scipy" for name in sys.modules)
    list(run_tasks(str, "ab", jobs=2))
    assert "scipy.linalg" in sys.modules
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_parts_of_several_tasks_share_threads():
    running, most, lock = 0, 0, threading.Lock()

    def part(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number * number

    with worker_threads(2) as pool:

        def whole(task):
            return sum(pool.map(part, range(task)))

        outcomes = [o.value for o in run_tasks(whole, [4, 5, 6], jobs=3)]
    assert outcomes == [14, 30, 55]
    assert most == 2


@pytest.mark.parametrize(
    ("error", "patient"), [(ValueError, 1), (KeyboardInterrupt, 0)]
)
def test_parts_are_awaited_unless_the_user_wants_out(error, patient):
    release, started, ended = threading.Event(), threading.Event(), threading.Event()
    later = []

    def part():
        started.set()
        release.wait(timeout=5)
        ended.set()

    def leave():
        with worker_threads(1) as pool:
            pool.submit(part)
            pool.submit(later.append, "never")
            started.wait(timeout=5)
            threading.Timer(0.1, release.set).start()
            raise error

    with pytest.raises(error):
        leave()
    assert ended.is_set() == patient
    assert ended.wait(timeout=5)
    assert later == []


def test_values_do_not_depend_on_jobs(rng):
    data = rng.normal(size=(6, 300, 300)).astype(np.float32)

    def solve(number):
        gram = data[number] @ data[number].T + np.eye(300, dtype=np.float32)
        return np.linalg.solve(gram, data[number]).tobytes()

    runs = [[o.value for o in run_tasks(solve, range(6), jobs=j)] for j in JOBS]
    assert runs[0] == runs[1] == runs[2]


def test_jobs_are_checked_before_anything_runs():
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"):
        run_tasks(str, [1], jobs=0)


# Processes


def answer(task):
    """What a worker process is asked; anything odd that can happen there."""
    logging.getLogger("merps.tests").warning("asked %s", task)
    if task == "data":
        raise DataError("file x is cut")
    if task == "memory":
        raise MemoryError
    if task == "dead":
        os._exit(3)
    if task == "threads":
        from threadpoolctl import threadpool_info

        return {info["num_threads"] for info in threadpool_info()}
    return task, os.getpid()


def test_processes_answer_like_threads(caplog):
    with worker_processes(2) as call:

        def run(task):
            return call(answer, task)

        tasks = ["a", "data", "b", "memory", "threads"]
        outcomes = list(run_tasks(run, tasks, jobs=2))
        assert [outcomes[k].value[0] for k in (0, 2)] == ["a", "b"]
        assert os.getpid() not in {outcomes[k].value[1] for k in (0, 2)}
        assert str(outcomes[1].error) == "file x is cut"
        assert "memory: not enough memory" in str(outcomes[3].error)
        assert outcomes[4].value == {1}
        told = {r.getMessage() for r in caplog.records if r.name == "merps.tests"}
        assert told == {f"asked {task}" for task in tasks}
        (dead,) = run_tasks(run, ["dead"], jobs=2)
        assert isinstance(dead.error, SpaceError)
        assert "run with fewer jobs" in str(dead.error)


SLEEPERS = """
import sys, time, os
from pathlib import Path
from merps.engine import run_tasks, worker_processes

def sleep(folder, task):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(0.5 if task < 2 else 600)
    (Path(folder) / f"done-{task}").touch()

if __name__ == "__main__":
    with worker_processes(2) as call:
        list(run_tasks(lambda t: call(sleep, sys.argv[1], t), range(4), jobs=2))
"""


@pytest.mark.parametrize("how", ["kill", "twice", "once"])
def test_processes_end_with_the_one_that_started_them(tmp_path, how):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    folder = tmp_path / "found"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, script, folder],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )

    def pids():
        return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]

    def is_alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")  # Linux has it, and keeps the dead there
        return not (stat.exists() and stat.read_text().rpartition(")")[2][:2] == " Z")

    def wait_until(condition):
        for _ in range(1200):
            if condition():
                return
            time.sleep(0.05)
        pytest.fail("nothing has happened for a minute")

    n_started = 1 if how == "once" else 2
    wait_until(lambda: len(pids()) >= n_started)
    if how == "kill":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: children, too
        if how == "twice":
            assert any("press Ctrl-C again" in line for line in process.stderr)
            os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == (-signal.SIGKILL if how == "kill" else -signal.SIGINT)
    wait_until(lambda: not any(map(is_alive, pids())))
    done = {path.name for path in folder.iterdir() if not path.name.isdecimal()}
    if how == "once":
        assert done == {"done-0", "done-1"}
        assert "BrokenProcessPool" not in stderr
