"""What a user may ask of a finished calibration: layers that stay in FP16, and unit scales before residual sums."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dlaflow.errors import unknown_name
from dlaflow.quantize.model import Graph


def without_float_nodes(graph: Graph, scales: Mapping[str, float], float_nodes: Collection[str]) -> dict[str, float]:
    """The scales but for tensors that only `float_nodes` touch: TensorRT then runs those layers in FP16.

    Raises UsageError for a node that the model does not have.
    """
    known = [node.name for node in graph.proto.graph.node]
    for name in float_nodes:
        if name not in known:
            raise unknown_name("node", name, known)
    return {name: scale for name, scale in scales.items() if not only_float(graph, name, float_nodes)}


def only_float(graph: Graph, name: str, float_nodes: Collection[str]) -> bool:
    """Whether every node that touches the tensor was chosen to stay in FP16."""
    around = list(graph.consumers.get(name, ()))
    if name in graph.producer:
        around.append(graph.producer[name])
    return bool(around) and all(node.name in float_nodes for node in around)


def with_residual_ones(graph: Graph, scales: Mapping[str, float]) -> dict[str, float]:
    """The scales with 1.0 for each convolution output that feeds nothing but a sum of two activations.

    From DLA software 3.13 on, the compiler then fuses the convolution with the sum in INT8 and the tensor never exists.
    Normalization between the two is part of the convolution. Only for the cache: in a Q/DQ model the value would round
    for real.
    """
    changed = dict(scales)
    for node in graph.proto.graph.node:
        if node.op_type != "Add" or not all(graph.is_activation(operand) for operand in node.input):
            continue
        for operand in node.input:
            changed.update({name: 1.0 for name in _private_convolution(graph, operand) if name in scales})
    return changed


def _private_convolution(graph: Graph, name: str) -> list[str]:
    """`name` and what lies between it and its convolution, when nothing else reads them; nothing otherwise."""
    names = []
    while name not in graph.outputs and len(graph.consumers.get(name, ())) == 1:
        names.append(name)
        node = graph.producer.get(name)
        if node is None or node.op_type not in {"Conv", "BatchNormalization"}:
            break
        if node.op_type == "Conv":
            return names
        name = node.input[0]
    return []
