"""dlaflow takes a vision model to NVIDIA's DLA and proves that it stays there.

    import dlaflow

    placement = dlaflow.check("model.onnx", board="orin-nx-16gb", jetpack="6.2")
    placement.summary.switches

The functions bear the names of the commands; `help(dlaflow.check)` tells the options of one. Importing dlaflow loads
none of them, and no numpy, onnx, onnxruntime or torch either: each comes when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from dlaflow.version import __version__

TYPE_CHECKING = False  # that of typing, which takes longer to load than everything here
if TYPE_CHECKING:
    from collections.abc import Callable

    from dlaflow.api.build import build, build_command
    from dlaflow.api.calibrate import calibrate
    from dlaflow.api.check import check
    from dlaflow.api.compare import compare
    from dlaflow.api.deploy import deploy
    from dlaflow.api.estimate import estimate
    from dlaflow.api.evaluate import evaluate
    from dlaflow.api.fix import fix
    from dlaflow.api.profile import profile
    from dlaflow.api.schedule import schedule
    from dlaflow.api.score import score
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
    "deploy",
    "estimate",
    "evaluate",
    "fix",
    "profile",
    "schedule",
    "score",
]

_ERRORS = {"DlaflowError", "EnvironmentLacksError", "InputError", "UsageError"}


def _function(name: str) -> Callable[..., object]:
    """The function of that name in `dlaflow.api`, whose module bears the name too."""
    from dlaflow.api.keywords import documented

    module = "build" if name == "build_command" else name
    function: Callable[..., object] = getattr(importlib.import_module(f"dlaflow.api.{module}"), name)
    return documented(function)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dlaflow' has no attribute {name!r}")
    return getattr(importlib.import_module("dlaflow.errors"), name) if name in _ERRORS else _function(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _FunctionAndPackage:
    """A name that is a function of the API and a package of the source at once, whoever imports the package first.

    The function is what `dlaflow.build` gives; it shares the package's attributes, so that `dlaflow.build.config` and
    `import dlaflow.build.config as config` find what they name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: ModuleType, kind: type | None = None) -> Callable[..., object]:
        function = _function(self._name)
        package = importlib.import_module(f"dlaflow.{self._name}")
        if vars(function) is not vars(package):
            vars(package).update(vars(function))
            function.__dict__ = vars(package)
        return function

    def __set__(self, owner: ModuleType, package: ModuleType) -> None:
        """Python stores an imported package here; `sys.modules` has it already."""


class _Dlaflow(ModuleType):
    build = _FunctionAndPackage("build")
    deploy = _FunctionAndPackage("deploy")
    estimate = _FunctionAndPackage("estimate")
    profile = _FunctionAndPackage("profile")


sys.modules[__name__].__class__ = _Dlaflow
