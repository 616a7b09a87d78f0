"""Fold inference-mode BatchNormalization into the product or convolution before it, as TensorRT and onnxruntime do.

    y = gamma * (W x + c - mean) / sqrt(var + eps) + beta
      = (a W) x + (a c + b)      with  a = gamma / sqrt(var + eps),  b = beta - a mean  per output channel

Q/DQ between the two would round a tensor that the hardware never makes; after folding there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.quantize.model import Graph, add_constant, index

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float64]
DEFAULT_EPSILON = 1e-5


def affine_of(statistics: Sequence[NDArray[np.generic]], epsilon: float) -> tuple[Floats, Floats]:
    """a and b of a x + b, from gamma, beta, mean and variance."""
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in statistics)
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - factor * mean


def folded(
    weight: NDArray[np.generic], bias: NDArray[np.generic] | None, affine: tuple[Floats, Floats], axis: int = 0
) -> tuple[Floats, Floats]:
    """Weight and bias with `affine` behind them; `axis` of the weight holds the output channels."""
    factor, offset = affine
    shape = [-1 if dim == axis else 1 for dim in range(weight.ndim)]
    added = offset if bias is None else np.asarray(bias, np.float64).reshape(-1) * factor + offset
    return np.asarray(weight, np.float64) * factor.reshape(shape), added


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Fold in place; returns how many were folded. Outputs keep their names, results change by rounding only."""
    graph = index(model)
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    return sum(_fold(graph, norm) for norm in norms)


def _fold(graph: Graph, norm: onnx.NodeProto) -> bool:
    conv = graph.producer.get(norm.input[0])
    if conv is None or conv.op_type not in {"Conv", "ConvTranspose"} or not graph.read_once(norm.input[0]):
        return False
    axis = 0 if conv.op_type == "Conv" else 1
    if axis and any(attribute.name == "group" and attribute.i != 1 for attribute in conv.attribute):
        return False
    if any(norm.output[1:]):
        return False
    statistics = [value for name in norm.input[1:5] if (value := graph.value(name)) is not None]
    operands = [value for name in conv.input[1:] if name and (value := graph.value(name)) is not None]
    if len(statistics) < 4 or not operands or len(operands) < len([name for name in conv.input[1:] if name]):
        return False
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), DEFAULT_EPSILON)
    stem, bias = norm.output[0], operands[1] if len(operands) > 1 else None
    names = [f"{stem}.folded_weight", f"{stem}.folded_bias"]
    for name, value in zip(names, folded(operands[0], bias, affine_of(statistics, epsilon), axis), strict=True):
        add_constant(graph.proto, name, value.astype(np.float32))
    conv.input[1:] = names
    conv.output[0] = stem
    graph.proto.graph.node.remove(norm)
    return True
