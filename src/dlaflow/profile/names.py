"""Names of engine layers taken apart: fused names, reformats and subgraphs become the layers they are made of."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping

from dlaflow.parse.nodes import foreign_ends, split_names
from dlaflow.types import PlacedLayer, Placement

_UNNAMED = re.compile(r"\(Unnamed Layer\* \d+\) \[[^\]]*\](?:_output)?")
_REFORMAT = re.compile(r"Reformatting CopyNode for (?:Input|Output) Tensor \d+ to (.*)")
_OLD_REFORMAT = re.compile(r"(.*?) (?:input|output) reformatter \d+$")
_COPY = re.compile(r"(?:_copy_output| copy)$")
_OPERATOR = re.compile(r"([A-Z][A-Za-z]+?)(?:_\d+)?$")

GROUP_NORM = "GroupNorm"
_NORMS = {"InstanceNormalization", "GroupNormalization"}


def parts_of(name: str) -> tuple[str, ...]:
    """The layers that a name is made of: `a + b`, `a || b`, `PWN(a, PWN(b, c))`, `{a,b}`, a reformat's target.

    A `{ForeignNode[a...b]}` gives its two ends, since it does not list what lies between.
    """
    if match := _REFORMAT.match(name) or _OLD_REFORMAT.match(name):
        return parts_of(match.group(1))
    if ends := foreign_ends(name):
        return tuple(dict.fromkeys(part for end in ends for part in parts_of(end)))
    if name.startswith("{") and name.endswith("}"):
        return tuple(split_names(name[1:-1], ","))
    found: list[str] = []
    for merged in split_names(_COPY.sub("", name), " || "):
        for part in split_names(merged, " + "):
            if part.startswith("PWN(") and part.endswith(")"):
                found.extend(inner for piece in split_names(part[4:-1]) for inner in parts_of(piece))
            else:
                found.append(part)
    return tuple(dict.fromkeys(found))


def operators_of(names: Iterable[str]) -> tuple[str, ...]:
    """The ONNX operators that exporters leave in names (`/layer/Conv_1`, `Conv_12`), most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        for part in parts_of(name):
            tail = _UNNAMED.sub("", part).rstrip("/ ").rsplit("/", 1)[-1]
            if match := _OPERATOR.search(tail.split(".")[-1]):
                counts[match.group(1)] = counts.get(match.group(1), 0) + 1
    return tuple(sorted(counts, key=lambda name: -counts[name]))


def cause_of(names: Iterable[str]) -> str:
    """What a person would call the operators in `names`: GroupNorm is exported as five of them."""
    operators = operators_of(names)
    if _NORMS & set(operators):
        return GROUP_NORM
    return ", ".join(operators[:3])


def members_between(first: str, last: str, placement: Placement, on_gpu: Iterable[str]) -> tuple[PlacedLayer, ...]:
    """The layers of a subgraph that prints only its ends, by the predicted placement of the same model.

    A predicted loadable with the same ends is taken as it is. Otherwise: the layers between the two ends in network
    order that do any work and that the log does not list for the GPU. That is the best reading of a name, not a fact.
    Empty when an end is not a layer of the model.
    """
    by_name = {layer.name: place for place, layer in enumerate(placement.layers)}
    starts, ends = set(parts_of(first)), set(parts_of(last))
    for loadable in placement.loadables:
        if loadable.first in starts and loadable.last in ends:
            return tuple(placement.layers[by_name[name]] for name in loadable.layers if name in by_name)
    places = [by_name[name] for name in starts | ends if name in by_name]
    if not starts & by_name.keys() or not ends & by_name.keys():
        return ()
    gpu = {part for name in on_gpu for part in parts_of(name)}
    span = placement.layers[min(places) : max(places) + 1]
    return tuple(layer for layer in span if layer.name not in gpu and layer.device.value != "FOLDED")


def onnx_nodes_of(names: Iterable[str], layers: Mapping[str, PlacedLayer]) -> list[str]:
    """The ONNX nodes behind layer names; a name that is no layer stands for the node of that name."""
    found: deque[str] = deque()
    for name in names:
        for part in parts_of(name):
            layer = layers.get(part)
            found.extend(layer.onnx_nodes if layer is not None else [])
    return list(dict.fromkeys(found))
