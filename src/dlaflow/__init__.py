"""dlaflow takes a vision model to NVIDIA's DLA and proves that it stays there.

    import dlaflow

    placement = dlaflow.check("model.onnx", board="orin-nx-16gb", jetpack="6.2")
    placement.summary.switches

The functions bear the names of the commands and stand in `dlaflow.api`. Importing dlaflow loads none of them, and no
numpy, onnx, onnxruntime or torch either: each comes when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from dlaflow.version import __version__

if TYPE_CHECKING:
    from dlaflow.api import build, build_command, calibrate, check, compare, estimate, evaluate, fix
    from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError

__all__ = [
    "DlaflowError",
    "EnvironmentLacksError",
    "InputError",
    "UsageError",
    "__version__",
    "build",
    "build_command",
    "calibrate",
    "check",
    "compare",
    "estimate",
    "evaluate",
    "fix",
]

_ERRORS = {"DlaflowError", "EnvironmentLacksError", "InputError", "UsageError"}
_PACKAGES_TOO = {"build", "estimate"}
"""Names that are a function of the API and a package of the source at once."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dlaflow' has no attribute {name!r}")
    if name in _PACKAGES_TOO:
        return importlib.import_module(f"dlaflow.{name}")
    return getattr(importlib.import_module("dlaflow.errors" if name in _ERRORS else "dlaflow.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CommandPackage(ModuleType):
    """A package that can be called like the function of its name, so that `dlaflow.build(...)` always works."""

    def __call__(self, *arguments: object, **options: object) -> object:
        function = getattr(importlib.import_module("dlaflow.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **options)


class _Dlaflow(ModuleType):
    """This package: Python stores an imported sub-package here, whoever imports it first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES_TOO and isinstance(value, ModuleType):
            value.__class__ = _CommandPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Dlaflow
