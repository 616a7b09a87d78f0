"""Networks by name: the two of the walk-through, or a user's own as `package.module:factory`.

A factory returns a torch module that maps one image tensor [n, channels, height, width] to one tensor of logits
[n, classes]; `dlaflow.zoo.factory` tells where it may lie. What follows an @ are its arguments: `model_bn@width=0.5`,
`package.module:factory@width=2,norm=group`; without any it is called with none.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, UsageError, require, unknown_name
from dlaflow.zoo.factory import Reference, importable, load, reference, users_fault

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
    from torch import nn

    found = _reference(base_name(name))
    factory = load(found)
    with importable(found.folder):
        try:
            model = factory(**_arguments(name))
        except Exception as error:
            raise users_fault(f"{found}() failed", error) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{found}() made no network", expected="a torch.nn.Module", received=type(model).__name__)
    return model


def base_name(name: str) -> str:
    """The name without its arguments."""
    return name.partition("@")[0]


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be a model's, without importing anything."""
    base = base_name(name)
    if ":" not in base and base not in MODELS:
        raise unknown_name("model", base, [*MODELS, "package.module:factory"])
    _reference(base)
    _arguments(name)


def _reference(base: str) -> Reference:
    return reference(MODELS.get(base, base))


def _arguments(name: str) -> dict[str, float | int | str]:
    """What stands behind the @, numbers as numbers."""
    _, given, text = name.partition("@")
    found: dict[str, float | int | str] = {}
    for part in text.split(",") if given else ():
        key, equals, value = part.partition("=")
        if not (key.isidentifier() and equals and value and value.isprintable()):
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
