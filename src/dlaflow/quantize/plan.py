"""Which tensors need a scale, which of them are observed, and which follow another tensor.

Three relations hold over the whole graph, not only between neighbours:

- *fused*: a convolution whose only consumer is a BatchNormalization or a ReLU runs as one kernel with it; its own
  output never exists in memory and takes the consumer's scale. Not observing it also keeps onnxruntime's fusion.
- *same*: pooling, reshapes, slices and their like pass values through; DLA wants pooling's two scales equal in INT8.
- *tied*: all inputs and the output of Concat, and the inputs of an element-wise operation, share one scale: the
  largest.

Sources: NvInfer.h on IConcatenationLayer, IElementWiseLayer and IPoolingLayer; NVIDIA's DLA documentation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlaflow.errors import unknown_name
from dlaflow.quantize.model import Graph

if TYPE_CHECKING:
    import onnx

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights that INT8 quantises per output channel."""

PASS_THROUGH = frozenset(
    {"MaxPool", "AveragePool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
    | {"Dropout", "Slice", "Split", "Expand", "Tile", "Gather", "DepthToSpace", "SpaceToDepth"}
)
"""Operators whose output values come from their first input, or from averages within a pooling window."""

TIED_INPUTS = frozenset({"Add", "Sub", "Max", "Min", "Sum"})
_FUSES_RELU = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add", "Sum"})


@dataclass(frozen=True)
class Plan:
    """The answer for one graph.

    `tensors` are all that need a scale, in network order; `leader` maps those that are not measured to the one that
    they copy; `tied` are groups of measured tensors that share the largest scale of the group.
    """

    tensors: tuple[str, ...]
    leader: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[tuple[str, ...], ...] = ()

    @property
    def observed(self) -> tuple[str, ...]:
        """The tensors to measure."""
        return tuple(name for name in self.tensors if name not in self.leader)

    @property
    def families(self) -> list[list[str]]:
        """The tensors that share one scale because all copy the same one."""
        found: dict[str, list[str]] = {}
        for name in self.tensors:
            found.setdefault(self.leader.get(name, name), []).append(name)
        return list(found.values())


def plan(graph: Graph) -> Plan:
    """Decide for every activation of the graph."""
    names = [*graph.inputs, *(output for node in graph.proto.graph.node for output in node.output)]
    activations = [name for name in names if graph.is_activation(name)]
    follows: dict[str, str] = {}
    for node in graph.proto.graph.node:
        if node.op_type in PASS_THROUGH and graph.is_activation(node.input[0]):
            follows.update({output: node.input[0] for output in node.output if graph.is_activation(output)})
        elif _fuses(graph, node):
            follows[node.input[0]] = node.output[0]
    leader = {name: _end(name, follows) for name in activations if name in follows}
    return Plan(tuple(activations), leader, tuple(_tied(graph, leader)))


def _end(name: str, follows: Mapping[str, str]) -> str:
    while name in follows:
        name = follows[name]
    return name


def _is_relu(graph: Graph, node: onnx.NodeProto) -> bool:
    """ReLU, or a Clip that cuts at zero (ReLU6)."""
    if node.op_type != "Clip":
        return node.op_type == "Relu"
    return clip_ends(graph, node)[0] == 0.0


def clip_ends(graph: Graph, node: onnx.NodeProto) -> tuple[float, float]:
    """The ends of a Clip; infinite where it is open, NaN for one that is computed, which no comparison holds for."""
    given = {attribute.name: attribute.f for attribute in node.attribute}
    ends = [given.get("min", -math.inf), given.get("max", math.inf)]
    for place, name in enumerate(node.input[1:3]):
        if name:
            value = graph.value(name)
            ends[place] = math.nan if value is None or value.size != 1 else float(value.reshape(()))
    return ends[0], ends[1]


def _fuses(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether `node` runs inside the kernel of its producer, which then feeds nothing else."""
    name = node.input[0] if node.input else ""
    before = graph.producer.get(name)
    if before is None or not graph.read_once(name) or not graph.is_activation(name):
        return False
    if node.op_type == "BatchNormalization":
        return before.op_type in {"Conv", "ConvTranspose"}
    return before.op_type in _FUSES_RELU and _is_relu(graph, node)


def _tied(graph: Graph, leader: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    """Groups of leaders that must share a scale, merged until they do not overlap any more."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in graph.proto.graph.node:
        if node.op_type == "Concat":
            members = [*node.input, *node.output]
        elif node.op_type in TIED_INPUTS:
            members = list(node.input)
        else:
            continue
        ends = [leader.get(name, name) for name in members if graph.is_activation(name)]
        for other in ends[1:]:
            parent[root(other)] = root(ends[0])
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return (tuple(members) for members in groups.values() if len(members) > 1)


# What a user may ask of a finished calibration: layers that stay in FP16, and unit scales before residual sums.


def without_float_nodes(graph: Graph, scales: Mapping[str, float], float_nodes: Collection[str]) -> dict[str, float]:
    """The scales but for tensors that only `float_nodes` and what follows them touch: those layers then run in FP16.

    Raises UsageError for a node that the model does not have.
    """
    known = [node.name for node in graph.proto.graph.node]
    for name in float_nodes:
        if name not in known:
            raise unknown_name("node", name, known)
    made = made_in_fp16(graph, float_nodes)
    return {name: scale for name, scale in scales.items() if not only_float(graph, name, made)}


def made_in_fp16(graph: Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """What `float_nodes` make, and behind them what has no weights and reads nothing else (ReLU, sums, pooling).

    INT8 for those would round between two layers that were chosen to be exact.
    """
    made: set[str] = set()
    for node in graph.proto.graph.node:
        read = [name for name in node.input if graph.is_activation(name)]
        follows = bool(read) and node.op_type not in LINEAR and made.issuperset(read)
        if node.name in float_nodes or follows:
            made.update(node.output)
    return frozenset(made)


def only_float(graph: Graph, name: str, made: Collection[str]) -> bool:
    """Whether every node that touches the tensor runs in FP16, by what is `made_in_fp16`."""
    around = [name] if name in graph.producer else []
    around += [node.output[0] for node in graph.consumers.get(name, ()) if node.output]
    return bool(around) and all(output in made for output in around)


def with_residual_ones(
    graph: Graph, scales: Mapping[str, float], replaced: Collection[str] | None = None
) -> dict[str, float]:
    """The scales with 1.0 for one convolution output before each sum of two activations, when nothing else reads it.

    From DLA software 3.13 on, the compiler then fuses the convolution with the sum in INT8 and the tensor never exists.
    The sum's other operand needs a scale of its own. Normalization between the two is part of the convolution. Only
    for the cache: in a Q/DQ model the value would round for real. `replaced` are the tensors that may take 1.0, by
    default those of `scales`.
    """
    changed, allowed = dict(scales), scales if replaced is None else replaced
    for node in graph.proto.graph.node:
        if node.op_type != "Add" or not all(graph.is_activation(operand) for operand in node.input):
            continue
        for operand, other in (tuple(node.input), tuple(node.input)[::-1]):
            names = [name for name in _private_convolution(graph, operand) if name in allowed]
            if names and other in scales and operand != other:
                changed.update(dict.fromkeys(names, 1.0))
                break
    return changed


def _private_convolution(graph: Graph, name: str) -> list[str]:
    """`name` and what lies between it and its convolution, when nothing else reads them; nothing otherwise."""
    names = []
    while graph.read_once(name):
        names.append(name)
        node = graph.producer.get(name)
        if node is None or node.op_type not in {"Conv", "BatchNormalization"}:
            break
        if node.op_type == "Conv":
            return names
        name = node.input[0]
    return []
