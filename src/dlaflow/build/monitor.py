"""TensorRT's own progress (IProgressMonitor, from release 10) → our Progress, and Ctrl-C the other way round."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import ModuleType

from dlaflow.progress import Interruption, Progress, Task


class Phases:
    """Turns nested phases into one bar: the outermost phase is the bar, the innermost its description.

    TensorRT may report from several threads at once.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: list[str] = []
        self._bar: AbstractContextManager[Task] | None = None
        self._task: Task | None = None
        self._done = 0
        self._lock = threading.RLock()
        self.names: list[str] = []

    def start(self, name: str, steps: int) -> None:
        """A phase opens."""
        with self._lock:
            self.names.append(name)
            if not self._open:
                self._bar = self._progress(name, steps, "steps")
                self._task = self._bar.__enter__()
                self._done = 0
            elif self._task:
                self._task.describe(name)
            self._open.append(name)

    def step(self, name: str, step: int) -> None:
        """Step number `step` (from 0) of a phase is done."""
        with self._lock:
            if self._task and self._open and name == self._open[0]:
                self._task.advance(max(0, step + 1 - self._done))
                self._done = max(self._done, step + 1)

    def finish(self, name: str) -> None:
        """A phase closes; the bar goes with the outermost."""
        with self._lock:
            if name in self._open:
                self._open.remove(name)
            if not self._open:
                self.close()

    def close(self) -> None:
        """Take the bar away, also after a build that broke off inside a phase."""
        with self._lock:
            if self._bar:
                self._bar.__exit__(None, None, None)
            self._bar, self._task, self._open = None, None, []


def make_monitor(trt: ModuleType, phases: Phases, requested: Interruption | None = None) -> object | None:
    """An IProgressMonitor that feeds `phases` and stops the build when `requested` asks for it.

    None where the release has none (8.x). Keep a reference to it while the library builds.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # the base comes from the module at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return not (requested and requested.asked)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
