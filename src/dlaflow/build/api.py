"""Reach TensorRT's Python bindings: import them late, collect what they say, show their progress, stop them."""

from __future__ import annotations

import ctypes
import importlib
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import ModuleType

from dlaflow.build.failures import explain
from dlaflow.errors import DlaflowError, EnvironmentLacksError, require
from dlaflow.progress import Interruption, Progress, Task

_KEPT_MESSAGES = 20_000


def import_tensorrt() -> ModuleType:
    """The `tensorrt` module.

    Raises EnvironmentLacksError when it is not there, with what to install.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise EnvironmentLacksError(
            "TensorRT's Python bindings are not here",
            expected="the module `tensorrt`",
            received=f"Python {version}: {error}",
            then="On a Jetson: apt-get install python3-libnvinfer, for the system's Python (JetPack 5: 3.8, "
            "JetPack 6: 3.10). Where that Python is too old for dlaflow use --via trtexec.",
        ) from None


def import_rtx() -> ModuleType:
    """The `tensorrt_rtx` module.

    Raises EnvironmentLacksError when it is not there.
    """
    require("tensorrt_rtx", extra="rtx", what_for="building for RTX GPUs")
    return importlib.import_module("tensorrt_rtx")


def load_plugins(trt: ModuleType, logger: object, libraries: Sequence[str]) -> None:
    """Register TensorRT's own plugins (InstanceNormalization is one up to 8.5) and those of the given libraries.

    Raises EnvironmentLacksError when a library cannot be loaded.
    """
    try:
        for library in libraries:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise EnvironmentLacksError(
            f"cannot load a plugin: {error}", then="Check the path and its libraries."
        ) from None
    trt.init_libnvinfer_plugins(logger, "")


def require_core(cores: int, wanted: int | None, tensorrt: str, then: str | None = None) -> None:
    """Raises EnvironmentLacksError unless DLA core `wanted` exists (None: no DLA asked for)."""
    if wanted is not None and not 0 <= wanted < cores:
        raise EnvironmentLacksError(
            f"this machine has no DLA core {wanted}",
            expected=f"a core below {cores}" if cores else "a DLA",
            received=f"{cores} DLA cores, says TensorRT {tensorrt}",
            then=then,
        )


@dataclass
class Messages:
    """The messages of the library, as the lines that trtexec would have printed."""

    lines: list[str] = field(default_factory=list)

    def add(self, level: str, text: str) -> None:
        """Keep one message; a build with verbose logging may say very much, so the list is bounded."""
        if len(self.lines) < _KEPT_MESSAGES:
            letter = _LETTERS.get(level)
            self.lines.append(f"[01/01/2000-00:00:00] [{letter}] [TRT] {text}" if letter else text)

    def failure(self) -> DlaflowError:
        """The error that these messages explain."""
        return explain(self.lines).error()


_LETTERS = {"INTERNAL_ERROR": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "VERBOSE": "V"}


def make_logger(trt: ModuleType, messages: Messages) -> object:
    """A TensorRT logger (`ILogger`) that collects into `messages`; keep a reference while the library uses it."""

    class Collector(trt.ILogger):  # type: ignore[misc, name-defined]  # the base class comes from the module at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, msg: str) -> None:
            messages.add(getattr(severity, "name", str(severity)), msg)

    return Collector()


class Phases:
    """TensorRT's own progress as one bar of ours: the outermost phase is the bar, the innermost its description.

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
