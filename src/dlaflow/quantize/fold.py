"""Fold inference-mode BatchNormalization into the convolution before it, as TensorRT and onnxruntime do.

    y = gamma * (conv(x) - mean) / sqrt(var + eps) + beta
      = conv'(x)  with  W' = W * f,  b' = (b - mean) * f + beta,  f = gamma / sqrt(var + eps) per output channel

Q/DQ between the two would round a tensor that the hardware never makes; after folding there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlaflow.quantize.model import Graph, index

if TYPE_CHECKING:
    import onnx

_DEFAULT_EPSILON = 1e-5


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Fold in place; returns how many were folded. Outputs keep their names, results change by rounding only."""
    folded = 0
    graph = index(model)
    for node in list(model.graph.node):
        if node.op_type == "BatchNormalization" and _fold(graph, node):
            folded += 1
    return folded


def _fold(graph: Graph, norm: onnx.NodeProto) -> bool:
    from onnx import numpy_helper

    conv = graph.producer.get(norm.input[0])
    if conv is None or conv.op_type != "Conv" or len(graph.consumers[norm.input[0]]) != 1:
        return False
    if norm.input[0] in graph.outputs or any(norm.output[1:]):
        return False
    values = [graph.value(name) for name in norm.input[1:5]]
    weight = graph.value(conv.input[1])
    bias = graph.value(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else None
    if (
        weight is None
        or any(value is None for value in values)
        or (bias is None and len(conv.input) > 2 and conv.input[2])
    ):
        return False
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), _DEFAULT_EPSILON)
    factor = gamma / np.sqrt(variance + epsilon)
    old_bias = np.zeros_like(mean) if bias is None else np.asarray(bias, np.float64)
    new_weight = np.asarray(weight, np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
    new_bias = (old_bias - mean) * factor + beta
    stem = norm.output[0]
    for suffix, value in (("weight", new_weight), ("bias", new_bias)):
        graph.proto.graph.initializer.append(
            numpy_helper.from_array(value.astype(np.float32), f"{stem}.folded_{suffix}")
        )
    inputs = [conv.input[0], f"{stem}.folded_weight", f"{stem}.folded_bias"]
    del conv.input[:]
    conv.input.extend(inputs)
    conv.output[0] = stem
    graph.proto.graph.node.remove(norm)
    return True
