"""Reach TensorRT's Python bindings: import them late, collect what they say, turn their errors into ours."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

from dlaflow.build.failures import explain
from dlaflow.errors import DlaflowError, EnvironmentLacksError, require

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
