"""Layer lines of the verbose log: `Layer(KIND): name, ...: inputs -> outputs`, in the notations of 7.x to 10.x."""

from __future__ import annotations

import re

from dlaflow.parse.log import DlaLayer, DlaMemory, EngineLayer, Tensor
from dlaflow.parse.text import integer

_ENGINE = re.compile(r"Layer\((\w+)\): (.+?), Tactic: (-?[0-9a-fA-Fx]+)(?: \([^)]*\))?,? ?(.*?) ?-> (.*)")
_ENGINE_BARE = re.compile(r"Layer\((\w+)\): (.+)")
_DLA = re.compile(r"Layer\((\w+)\): (.+?), Precision: (\w+), ?(.*?) ?-> (.*)")
_TENSOR = re.compile(r"(.+?)(?: \((\w+)\[([^\]]*)\]\)|'?\[(\w+)\(\[?([^\])]*)\]?\)\])(?:, |\s*$)")
_MEMORY = re.compile(r"Managed SRAM = (\d+) MiB,\s*Local DRAM = (\d+) MiB,\s*Global DRAM = (\d+) MiB")


def tensors_of(text: str) -> tuple[Tensor, ...]:
    """The tensors of one side of the arrow. What has no type keeps its name alone."""
    tensors = []
    end = 0
    for match in _TENSOR.finditer(text):
        name, dtype, dims, other_dtype, other_dims = match.groups()
        vector, dimensions = _dimensions(dims if dtype else other_dims or "")
        tensors.append(Tensor(name.strip(), dtype or other_dtype or "", dimensions, vector))
        end = match.end()
    if rest := text[end:].strip(" ,"):
        tensors.append(Tensor(rest, "", ()))
    return tuple(tensors)


def _dimensions(text: str) -> tuple[int | None, tuple[int, ...]]:
    """`1,2048:16,7,7` → (16, (1, 2048, 7, 7))."""
    vector: int | None = None
    dimensions = []
    for part in text.split(","):
        size, colon, width = part.strip().partition(":")
        if colon:
            vector = integer(width)
        value = integer(size)
        if value is not None:
            dimensions.append(value)
    return vector, tuple(dimensions)


def engine_layer(text: str) -> EngineLayer | None:
    """A line of `Engine Layer Information`, or None."""
    if text.startswith("Name: ") and ", LayerType: " in text:
        name, _, rest = text.removeprefix("Name: ").partition(", LayerType: ")
        return EngineLayer(rest.partition(",")[0], name, "", (), ())
    if not text.startswith("Layer("):
        return None
    if match := _ENGINE.match(text):
        kind, name, tactic, inputs, outputs = match.groups()
        return EngineLayer(kind, name, tactic, tensors_of(inputs), tensors_of(outputs))
    if match := _ENGINE_BARE.match(text):
        return EngineLayer(match.group(1), match.group(2).split(", Tactic: ")[0], "", (), ())
    return None


def dla_layer(text: str, loadable: str) -> DlaLayer | None:
    """A line of `DLA Network Layer Information` of the node `loadable`, or None."""
    match = _DLA.match(text)
    if match is None:
        return None
    kind, name, precision, inputs, outputs = match.groups()
    return DlaLayer(loadable, kind, name, precision, tensors_of(inputs), tensors_of(outputs))


def memory_of(text: str) -> DlaMemory | None:
    """The three pools of a `Managed SRAM = ..., Local DRAM = ..., Global DRAM = ...` text, or None."""
    match = _MEMORY.search(text)
    return DlaMemory(*map(int, match.groups())) if match else None
