"""Tasks in processes of this machine, without Ray: each in one of its own, begun again when it is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread

from dlaflow.errors import EnvironmentLacksError

_CANCEL = 15.0
"""Seconds that tasks have to put their things in order."""


class Task:
    """A call in a process; `retries` is how often it is made again when the process dies."""

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...], retries: int) -> None:
        self._function, self._arguments, self._retries = function, arguments, retries
        self.answer: object = None
        self.failure = ""
        self.process, self.pipe = self._begin()

    def over(self) -> bool:
        """Whether it is over; one that died is begun again."""
        if self.pipe.poll():
            with suppress(EOFError):
                self.answer, self.failure = self.pipe.recv()
                self.process.join()
                return True
        if self.process.is_alive() and not self.pipe.poll():
            return False
        self.process.join()
        if self._retries <= 0:
            self.failure = f"its process died ({self.process.exitcode})"
            return True
        self._retries -= 1
        self.process, self.pipe = self._begin()
        return False

    def _begin(self) -> tuple[SpawnProcess, Connection]:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_call, args=(theirs, self._function, self._arguments), daemon=False)
        # Ctrl-C while Python itself starts there would print a traceback; `_call` hears it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return process, ours


class Local:
    """So many processes of this machine."""

    def __init__(self, cores: int) -> None:
        self._cores = cores

    def submit(
        self, function: Callable[..., object], *arguments: object, cpus: float, gpus: float, retries: int
    ) -> Task:
        """Begin a call."""
        return Task(function, arguments, retries)

    def ended(self, tasks: Iterable[Task], seconds: float) -> list[Task]:
        """Those of the tasks that are over, after at most so many seconds."""
        listed = list(tasks)
        wait([*(task.pipe for task in listed), *(task.process.sentinel for task in listed)], seconds)
        return [task for task in listed if task.over()]

    def result(self, task: Task) -> object:
        """What a task that is over gives. Raises EnvironmentLacksError when its process died each time."""
        if task.failure:
            raise EnvironmentLacksError(f"it was given up ({task.failure})")
        return task.answer

    def cancel(self, tasks: Iterable[Task]) -> None:
        """Interrupt the tasks as Ctrl-C would, and wait for them."""
        listed = [task.process for task in tasks]
        for process in listed:
            if process.pid is not None and process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)
        until = time.monotonic() + _CANCEL
        for process in listed:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
            process.join()

    def machines(self) -> int:
        """This one."""
        return 1

    def room(self, cpus: float) -> int:
        """How many tasks of so many cores fit at once."""
        return max(1, int(self._cores / cpus))


def _call(pipe: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where dlaflow runs behind nohup
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        Thread(target=_end_with_parent, daemon=True).start()
        answer = function(*arguments), ""
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)  # the traceback of a worker is nobody's to read
    except Exception as error:
        answer = None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    pipe.send(answer)


def _end_with_parent() -> None:
    """Where dlaflow is killed nobody wants the answer: the work is interrupted, and takes its own programs with it."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)
