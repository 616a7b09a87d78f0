"""A process that has imported what trials need, and forks one for each: that costs milliseconds instead of seconds.

`python -m dlaflow.survey.nursery` is that process: a job is a line of its stdin, the results are a line of its stdout.
Where a trial dies, its nursery tells so of the case that it was in, and forks another for the rest.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

import msgspec

from dlaflow.process import end, start
from dlaflow.survey.records import Result
from dlaflow.survey.trial import READY, ROWS, Job, prepare, result_of, work

_RETRIES = 3
_SETTLE = 60.0
"""Seconds over all bounds until a trial that does not even hear its alarm is killed."""
_LOOK = 0.5
_GOODBYE = 15.0
"""Seconds that a nursery has to put its things in order."""


class Nursery:
    """The process. It is begun with the first job, and with each that it dies in, a few times; `results` are the last.

    Its file can be read from when there is something to look at.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self, job: Job) -> None:
        """Hand over a job. Raises EnvironmentLacksError where no process can be started."""
        self._job, self._left = job, _RETRIES
        self._hand_over()

    def fileno(self) -> int:
        return self._answers.fileno()

    def over(self) -> bool:
        """Whether the results are there; waits until there is something to look at."""
        line = self._answers.readline()
        if line.endswith(b"\n"):
            self.results = msgspec.json.decode(line, type=list[Result])
            return True
        code = self.close()
        if self._left <= 0 or code == -signal.SIGALRM:
            self.results = self._job.given_up(_how(code, self._job))
            return True
        self._left -= 1
        self._hand_over()
        return False

    def close(self) -> int:
        """End it and the trial in it, which clears up after it; returns how it ended (negative: by a signal)."""
        child, self._child = self._child, None
        if child is None:
            return 0
        with suppress(BrokenPipeError):
            self._orders.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GOODBYE)
        end(child)
        return child.returncode

    def _hand_over(self) -> None:
        if self._child is None:
            # Ctrl-C is dlaflow's to hear, and a nursery that loses dlaflow has time to clear up.
            words = [sys.executable, "-m", "dlaflow.survey.nursery"]
            self._child = start(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, own_group=False)
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            self._orders, self._answers = self._child.stdin, self._child.stdout
        with suppress(BrokenPipeError):  # `over` sees that it died
            self._orders.write(msgspec.json.encode(self._job) + b"\n")
            self._orders.flush()


class Local:
    """The workers of this machine without Ray: so many trials at once, each in a nursery that is used again."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._idle: list[Nursery] = []

    def begin(self, job: Job) -> Nursery:
        """Begin a job."""
        nursery = self._idle.pop() if self._idle else Nursery()
        nursery.begin(job)
        return nursery

    def ended(self, tasks: Iterable[Nursery], seconds: float) -> list[Nursery]:
        """Those that are over, after at most so many seconds."""
        files = {nursery.fileno(): nursery for nursery in tasks}
        ready = wait(list(files), seconds)
        return [nursery for file, nursery in files.items() if file in ready and nursery.over()]

    def result(self, task: Nursery) -> list[Result]:
        """What came of a job that is over."""
        self._idle.append(task)
        return task.results

    def cancel(self, tasks: Iterable[Nursery]) -> None:
        """End them all, those too that have nothing to do."""
        for nursery in (*tasks, *self._idle):
            nursery.close()

    def machines(self) -> int:
        """This one."""
        return 1

    def room(self, cpus: float) -> int:
        """How many jobs of so many cores fit at once."""
        return max(1, int(self._cores / cpus))


@cache
def _own() -> Nursery:
    return Nursery()


def run_trial(job: Job) -> list[Result]:
    """The results of a job, from the one nursery of this process: what a worker of a cluster does."""
    nursery = _own()
    try:
        nursery.begin(job)
        # Ray interrupts a task by a flag, which nothing looks at while a read waits.
        while not (wait([nursery.fileno()], _LOOK) and nursery.over()):
            pass
    except BaseException:
        nursery.close()
        raise
    return nursery.results


def _how(code: int, job: Job, said: str = "") -> str:
    """Why nothing more comes of a process."""
    if code == -signal.SIGALRM:
        return f"it took longer than {job.seconds:g} s"
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}{said}"
    return f"its process ended with {code}{said}"


def _raised(job: Job) -> list[Result]:
    """The results of all cases, whatever becomes of the processes that work on them."""
    node = f"{socket.gethostname()}/{os.getpid()}"
    results: dict[int, Result] = {}
    if job.source.path and not Path(job.source.path).exists():
        return job.given_up(f"{node} does not see {job.source.path}: all machines must share its file system")
    with tempfile.TemporaryDirectory(prefix="dlaflow-survey-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        while len(results) < len(job.cases):
            code = _forked(job, folder, results)
            before = len(results)
            results |= {index: replace(result, node=node) for index, result in _rows(folder / ROWS).items()}
            left = [index for index in range(len(job.cases)) if index not in results]
            # The case that it died in; where it died before the first one, that is what all of them would do.
            for index in left[:1] if len(results) > before or (folder / READY).exists() else left:
                error = _how(code, job, _last_words(folder / "log"))
                results[index] = replace(result_of(job, index, status="failed", error=error), node=node)
    return [results[index] for index in sorted(results)]


def _forked(job: Job, folder: Path, begun: Mapping[int, Result]) -> int:
    """The exit code of a process of its own that works on the cases which are not begun."""
    process = get_context("fork").Process(target=_child, args=(job, folder, set(begun)))
    process.start()
    orders = sys.stdin.fileno()
    most = job.seconds * (len(job.cases) - len(begun) + 1) + _SETTLE
    try:
        ready = wait([process.sentinel, orders], most)
        if process.sentinel in ready:
            process.join()
    finally:  # before its folder goes
        process.kill()
        process.join()
    if orders in ready:
        raise SystemExit  # dlaflow is gone
    return process.exitcode or 0 if ready else -signal.SIGALRM


def _child(job: Job, folder: Path, begun: set[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with (folder / "log").open("wb") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    Thread(target=_end_with_parent, daemon=True).start()
    work(job, folder, begun)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _rows(path: Path) -> dict[int, Result]:
    """The lines that are whole."""
    found: dict[int, Result] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(msgspec.DecodeError):
            index, result = msgspec.json.decode(line, type=tuple[int, Result])
            found[index] = result
    return found


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""


def _leave(number: int, frame: object) -> None:
    raise SystemExit


def main() -> None:
    """What a nursery does, until its orders end."""
    signal.signal(signal.SIGTERM, _leave)
    os.environ["OMP_NUM_THREADS"] = "1"  # a job is work for one core
    # What an import prints must not stand among the answers, and no trial holds them open.
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        while line := sys.stdin.buffer.readline():
            job = msgspec.json.decode(line, type=Job)
            signal.setitimer(signal.ITIMER_REAL, job.seconds)  # an import may hang as a trial may
            with suppress(Exception):  # the trial tells of it
                prepare(job.source)
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.freeze()
            answers.write(msgspec.json.encode(_raised(job)) + b"\n")


if __name__ == "__main__":
    main()
