"""Write a Q/DQ model: the calibration as QuantizeLinear/DequantizeLinear pairs inside one plain ONNX file.

Symmetric INT8 with zero points of 0, one scale a tensor for activations and one an output channel for weights, which
are stored as INT8. Biases stay in floating point: TensorRT wants them so, and the DLA adds them in higher precision.
Every activation of four dimensions with a scale gets its pair, so that each layer of the DLA sees typed inputs and
outputs (TensorRT 11.4); equal scales in a row round only once. Tensors of other ranks get none, as the DLA has no form
for them. What is left without a pair becomes FP16: the types of the file decide, and the DLA computes no FP32.

Sources: facts on `qdq.zero_point` and TensorRT 11 (types come from the ONNX file), onnx.ai QuantizeLinear-13.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.verify import replace_nodes
from dlaflow.quantize.calibration import LEVELS, Calibration
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.fp16 import IoTypes, fp16_model
from dlaflow.quantize.model import QDQ, Graph, add_constant, drop_unused_constants, for_qdq, has_qdq, index
from dlaflow.quantize.numerics import FP16_OPS
from dlaflow.quantize.plan import LINEAR, made_in_fp16, only_float

if TYPE_CHECKING:
    import onnx

_RANK = 4
"""Dimensions of the tensors that the DLA has a form for."""


def write_qdq(
    model: Model | Path,
    calibration: Calibration,
    out: Path,
    *,
    float_nodes: Collection[str] = (),
    io_types: IoTypes = "float32",
) -> None:
    """Write the INT8 version of `model`; what is not quantised becomes FP16, inputs and outputs are `io_types`.

    `float_nodes` names nodes that stay in FP16, with what follows them alone and has no weights: weights are kept, and
    a tensor that only they touch gets no pair.

    Raises InputError when the model cannot be read, when it has Q/DQ nodes already, when the calibration knows none of
    its tensors, or when what is left does not fit into FP16.
    """
    held = as_model(model)
    ranks = index(held.proto).ranks
    fitting = tuple(tensor for tensor in calibration.tensors if ranks.get(tensor.name, _RANK) == _RANK)
    calibration = replace(calibration, tensors=fitting or calibration.tensors)
    quantised = qdq_model(held.whole(), calibration, float_nodes)
    if io_types == "float16" or _has_float_rest(quantised):
        quantised = fp16_model(quantised, io_types)
    write_atomic(out, quantised.SerializeToString())


def _has_float_rest(model: onnx.ModelProto) -> bool:
    """Whether an operator computes in FP16 between its pairs, or reads or makes an activation that has none."""
    graph = index(model)
    for node in model.graph.node:
        if node.op_type in FP16_OPS:
            return True
        if node.op_type in QDQ:
            continue
        read = [graph.producer.get(name) for name in node.input if graph.is_activation(name)]
        made = [name for name in node.output if graph.is_activation(name)]
        around = [*read, *(reader for name in made for reader in graph.consumers.get(name, ()))]
        if any(other is None or other.op_type not in QDQ for other in around) or {*made} & {*graph.outputs}:
            return True
    return False


def qdq_model(model: onnx.ModelProto, calibration: Calibration, float_nodes: Collection[str] = ()) -> onnx.ModelProto:
    """The INT8 version of a model in memory, with every scale of the calibration as a pair and the rest in float32.

    `model` itself is changed and returned.
    """
    model = for_qdq(model)
    if has_qdq(model):
        raise InputError(
            "the model holds Q/DQ nodes already",
            expected="a float32 model",
            then="See `dlaflow cache from-qdq` to take them out.",
        )
    fold_batch_norm(model)
    graph = index(model)
    scales = {
        name: scale
        for name, scale in calibration.scales.items()
        if scale > 0 and np.isfinite(scale) and graph.is_activation(name)
    }
    if not scales:
        raise InputError(
            "the calibration knows no tensor of the model",
            expected="scales of this model",
            received=f"{len(calibration.tensors)} scales of another",
            then="Calibrate this model.",
        )
    made = made_in_fp16(graph, float_nodes)
    scales = {name: scale for name, scale in scales.items() if not only_float(graph, name, made)}
    pairs = _Pairs(graph)
    for node in model.graph.node:
        if node.op_type in LINEAR and node.name not in float_nodes and node.input[0] in scales:
            pairs.quantise_weight(node)
    pairs.quantise_activations(scales)
    pairs.apply()
    drop_unused_constants(model)
    return model


def weight_axis(node: onnx.NodeProto) -> int:
    """The axis of the weight (input 1) that holds the output channels."""
    if node.op_type in {"MatMul", "ConvTranspose"}:
        return 1
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return 0


def quantise(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric INT8 per channel of `axis`: (values, scales); a channel of zeros gets the scale 1/127."""
    others = tuple(dim for dim in range(weight.ndim) if dim != axis)
    largest = np.abs(weight).max(axis=others)
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(LEVELS)
    shape = [-1 if dim == axis else 1 for dim in range(weight.ndim)]
    values = np.clip(np.rint(weight / scale.reshape(shape)), -LEVELS, LEVELS)
    return values.astype(np.int8), scale


class _Pairs:
    """The Q/DQ nodes to come, collected first and put in place by `apply`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[str, list[onnx.NodeProto]] = {}
        self._weights: dict[tuple[str, int], str] = {}

    def quantise_weight(self, node: onnx.NodeProto) -> None:
        """Replace the weight of a linear node by INT8 values and a DequantizeLinear; shared weights only once."""
        from onnx import helper

        name = node.input[1]
        weight = self._graph.value(name)
        axis = weight_axis(node)
        if weight is None or weight.dtype != np.float32 or weight.ndim <= axis:
            return
        if (name, axis) not in self._weights:
            values, scale = quantise(np.asarray(weight, np.float32), axis)
            stem = f"{name}.axis{axis}" if any(known == name for known, _ in self._weights) else name
            stored = (("int8", values), ("scale", scale), ("zero_point", np.zeros(scale.shape, np.int8)))
            inputs = [add_constant(self._graph.proto, f"{stem}_{what}", value) for what, value in stored]
            output = f"{stem}_dequantized"
            self._nodes.setdefault("", []).append(
                helper.make_node("DequantizeLinear", inputs, [output], name=f"{stem}/DequantizeLinear", axis=axis)
            )
            self._weights[(name, axis)] = output
        node.input[1] = self._weights[(name, axis)]

    def quantise_activations(self, scales: dict[str, float]) -> None:
        """Put a pair behind every tensor of `scales`; an output of the network keeps its name behind the pair."""
        renamed = {}
        for name, scale in scales.items():
            is_output = name in self._graph.outputs
            if is_output and name not in self._graph.producer:
                continue
            before, behind = (f"{name}_unquantized", name) if is_output else (name, f"{name}_dequantized")
            renamed[name] = (before, behind)
            self._nodes.setdefault(name if not is_output else before, []).extend(self._pair(before, behind, scale))
        for node in self._graph.proto.graph.node:
            for position, name in enumerate(node.input):
                if name in renamed:
                    node.input[position] = renamed[name][1]
            for position, name in enumerate(node.output):
                if name in renamed:
                    node.output[position] = renamed[name][0]

    def apply(self) -> None:
        """Put the collected nodes behind the producers of their inputs, keeping the graph sorted."""
        ordered = self._nodes.pop("", [])
        for name in self._graph.inputs:
            ordered += self._nodes.pop(name, [])
        for node in self._graph.proto.graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += self._nodes.pop(name, [])
        replace_nodes(self._graph.proto.graph, ordered)

    def _pair(self, before: str, behind: str, scale: float) -> list[onnx.NodeProto]:
        from onnx import helper

        shared = [
            add_constant(self._graph.proto, f"{behind}_scale", np.float32(scale)),
            add_constant(self._graph.proto, f"{behind}_zero_point", np.int8(0)),
        ]
        middle = f"{behind}_int8"
        return [
            helper.make_node("QuantizeLinear", [before, *shared], [middle], name=f"{behind}/QuantizeLinear"),
            helper.make_node("DequantizeLinear", [middle, *shared], [behind], name=f"{behind}/DequantizeLinear"),
        ]
