"""What a rule may look at: the target, its limits, and who makes and takes a tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from dlaflow.graph.layer import Layer, Network, Tensor
from dlaflow.targets.limits import Limit, find_limit
from dlaflow.targets.target import Target


@dataclass(frozen=True, slots=True)
class Case:
    """One network on one target. `producers` and `consumers` are keyed by tensor name."""

    target: Target
    network: Network
    producers: Mapping[str, Layer]
    consumers: Mapping[str, tuple[Layer, ...]]
    _limits: dict[str, Limit | None] = field(default_factory=dict)

    def limit(self, id: str) -> Limit | None:
        """The bound of that id on this target; None where nothing is said."""
        if id not in self._limits:
            self._limits[id] = find_limit(id, self.target.version, self.target.dla or "v2")
        return self._limits[id]

    def neighbours(self, layer: Layer) -> tuple[Layer, ...]:
        """The layers that feed this one or take from it, constants and shape arithmetic left out."""
        before = [self.producers[tensor.name] for tensor in layer.inputs if tensor.name in self.producers]
        after = [consumer for tensor in layer.outputs for consumer in self.consumers.get(tensor.name, ())]
        return tuple(neighbour for neighbour in (*before, *after) if not neighbour.folded)

    def precision(self, layer: Layer) -> str:
        """int8, fp16 or fp32: that of the layer's types, else what the build asks for."""
        return _PRECISIONS.get(layer.precision, self.target.precision)

    def bytes_of(self, layer: Layer) -> int:
        """The bytes of one of its elements: 1 in INT8, 2 in FP16."""
        return WIDTHS[self.precision(layer)]

    @property
    def bytes_per_element(self) -> int:
        """1 in INT8, 2 in FP16, where no types say it."""
        return WIDTHS[self.target.precision]


WIDTHS = {"int8": 1, "fp16": 2, "fp32": 4}
"""Bytes per element by precision."""
_PRECISIONS = {"int8": "int8", "float16": "fp16", "float32": "fp32"}
"""What the types of a layer are called as a precision."""


def judged(network: Network, target: Target) -> Target:
    """The target in the precision that a typed network gives itself: INT8 where any layer has it."""
    if not network.typed:
        return target
    return replace(target, precision="int8" if any(layer.precision == "int8" for layer in network.layers) else "fp16")


def make_case(network: Network, target: Target) -> Case:
    """Index a network's tensors for the rules."""
    producers: dict[str, Layer] = {}
    consumers: dict[str, list[Layer]] = defaultdict(list)
    for layer in network.layers:
        for tensor in layer.outputs:
            producers[tensor.name] = layer
        for name in dict.fromkeys(tensor.name for tensor in layer.inputs):
            consumers[name].append(layer)
    return Case(target, network, producers, {name: tuple(layers) for name, layers in consumers.items()})


def data_of(layer: Layer) -> tuple[Tensor, ...]:
    """The inputs that are not known at build time, and the outputs."""
    return (*(tensor for tensor in layer.inputs if not tensor.constant), *layer.outputs)


def rank(tensor: Tensor) -> int | None:
    """The number of dimensions, None when unknown."""
    return None if tensor.shape is None else len(tensor.shape)


def effective_batch(tensor: Tensor) -> int | None:
    """The product of all dimensions before C, H, W; the first dimension for tensors of rank below 4."""
    if tensor.shape is None or not tensor.shape:
        return None
    leading = tensor.shape[:-3] if len(tensor.shape) > 3 else tensor.shape[:1]
    return prod(dim for dim in leading if dim is not None) if None not in leading else None


def channel_and_space(tensor: Tensor) -> tuple[int, ...]:
    """The known dimensions among C, H and W."""
    if tensor.shape is None:
        return ()
    dims = tensor.shape[-3:] if len(tensor.shape) > 3 else tensor.shape[1:]
    return tuple(dim for dim in dims if dim is not None)


def by(values: tuple[int, ...]) -> str:
    """`3x3`: numbers per axis as people write them."""
    return "x".join(map(str, values))


def dims(tensor: Tensor) -> str:
    """A shape as text, `?` for what is unknown."""
    if tensor.shape is None:
        return "unknown shape"
    return "x".join("?" if dim is None else str(dim) for dim in tensor.shape) or "scalar"
