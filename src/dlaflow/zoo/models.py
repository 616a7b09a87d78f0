"""Networks by name: the two of the walk-through, or a user's own as `package.module:factory`.

A factory returns a torch module that maps one image tensor [n, channels, height, width] to one tensor of logits
[n, classes]. Its module may lie in the current folder. What follows an @ are its arguments: `model_bn@width=0.5`,
`package.module:factory@width=2,norm=group`; without any it is called with none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, UsageError, require, unknown_name

if TYPE_CHECKING:
    from torch import nn

MODELS: dict[str, str] = {"model_gn": "dlaflow.zoo.networks:model_gn", "model_bn": "dlaflow.zoo.networks:model_bn"}
"""Name → factory."""


def build_model(name: str) -> nn.Module:
    """Make the network `name` with fresh weights: a key of `MODELS`, or `package.module:factory`, and its arguments.

    Raises UsageError for an unknown name, module or factory; InputError when the user's code fails or returns something
    else than a torch module; EnvironmentLacksError without torch.
    """
    check_name(name)
    require("torch", "safetensors", extra="train", what_for="a network")
    base = base_name(name)
    module_name, _, factory_name = MODELS.get(base, base).partition(":")
    with _current_folder_importable():
        return _call_factory(module_name, factory_name, _arguments(name))


def base_name(name: str) -> str:
    """The name without its arguments."""
    return name.partition("@")[0]


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be a model's, without importing anything."""
    base = base_name(name)
    if ":" not in base and base not in MODELS:
        raise unknown_name("model", base, [*MODELS, "package.module:factory"])
    _arguments(name)


def _arguments(name: str) -> dict[str, float | int | str]:
    """What stands behind the @, numbers as numbers."""
    _, given, text = name.partition("@")
    found: dict[str, float | int | str] = {}
    for part in text.split(",") if given else ():
        key, equals, value = part.partition("=")
        if not (key.isidentifier() and equals and value):
            raise UsageError(
                "the model's arguments make no sense", expected="such as model_bn@width=0.5", received=repr(name)
            )
        found[key] = _number_or_text(value)
    return found


def _number_or_text(value: str) -> float | int | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value


def _call_factory(module_name: str, factory_name: str, arguments: Mapping[str, float | int | str]) -> nn.Module:
    from torch import nn

    name = f"{module_name}:{factory_name}"
    if not module_name or not factory_name:
        raise UsageError("the model's name is incomplete", expected="package.module:factory", received=repr(name))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InputError(f"{module_name} cannot be imported: it needs the module {error.name!r}") from None
        raise UsageError(
            f"there is no Python module {error.name!r} for the model {name}",
            then=f"It is looked for in the current folder ({Path.cwd()}) and among the installed packages.",
        ) from None
    except Exception as error:
        raise _users_fault(f"{module_name} cannot be imported", error) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in {module_name}", factory_name, callables)
    try:
        model = factory(**arguments)
    except Exception as error:
        raise _users_fault(f"{name}() failed", error) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{name}() made no network", expected="a torch.nn.Module", received=type(model).__name__)
    return model


def _users_fault(what: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{what}: {type(error).__name__}: {reason}")


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Python's console scripts leave the current folder out; `python -m` does not. Be like the latter."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
