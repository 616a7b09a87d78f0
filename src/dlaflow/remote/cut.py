"""One layer of a model as a model of its own, or the reason why it cannot be cut out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import DlaflowError
from dlaflow.graph.layer import Layer, Network, Tensor
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.lower import lower
from dlaflow.placement.answers import signature

if TYPE_CHECKING:
    import onnx


def cut_out(model: Model, network: Network, layer: Layer, path: Path, tensorrt: str) -> str:
    """Write the ONNX nodes behind `layer`, with weights and fixed shapes, to `path`; returns why not (empty: done).

    What was cut is read back: it must hold the same layer, else a board's answer would be about something else.
    """
    import onnx
    from onnx import helper

    own = {tensor.name for tensor in layer.outputs}
    nodes = [
        node
        for node in model.proto.graph.node
        if (node.name in layer.onnx_nodes if node.name else not own.isdisjoint(node.output))
    ]
    if not nodes:
        return "no ONNX node stands behind it"
    tensors = {tensor.name: tensor for each in network.layers for tensor in (*each.inputs, *each.outputs)}
    tensors |= {tensor.name: tensor for tensor in network.inputs}
    made = {name for node in nodes for name in node.output if name}
    used = dict.fromkeys(name for node in nodes for name in node.input if name and name not in made)
    weights = [name for name in used if name in model.tensors or name in model.spans]
    try:
        inputs = [_value(name, tensors) for name in used if name not in weights]
        outputs = [_value(name, tensors) for name in made if _is_read_outside(name, nodes, model)]
        stored = [onnx.numpy_helper.from_array(model.initializer(name), name) for name in weights]
    except _UnknownShapeError as error:
        return f"the shape of {error} is not known"
    except DlaflowError as error:
        return error.what
    graph = helper.make_graph(nodes, "probe", inputs, outputs, stored)
    one = helper.make_model(graph, opset_imports=model.proto.opset_import, ir_version=model.proto.ir_version)
    onnx.save(one, path)
    try:
        again = lower(load_model(path), tensorrt=tensorrt)
    except DlaflowError as error:
        return error.what
    wanted = signature(layer)
    return "" if any(signature(found) == wanted for found in again.layers) else "alone it is another layer"


BOUNDARY = ("/Cast", "/QuantizeLinear", "/DequantizeLinear")
"""What the names of the nodes end with that `give_types` puts at the ends of a model."""
_SCALE = 1 / 16
"""Of every tensor: where a layer runs does not hang on the values."""


def give_types(path: Path, precision: str) -> str:
    """Write the types into a model that was cut out, for a TensorRT that chooses none; returns why not (empty: done).

    FP16 tensors for fp16, Q/DQ nodes with one scale for all for int8.
    """
    import onnx

    from dlaflow.quantize.calibration import Calibration, TensorScale
    from dlaflow.quantize.fp16 import fp16_model
    from dlaflow.quantize.qdq import qdq_model

    model = onnx.load(path)
    names = dict.fromkeys(name for node in model.graph.node for name in (*node.input, *node.output) if name)
    scales = tuple(TensorScale(name, _SCALE, 127 * _SCALE, "probe") for name in names)
    try:
        typed = qdq_model(model, Calibration(scales, "probe", 0, "", "")) if precision == "int8" else fp16_model(model)
    except DlaflowError as error:
        return error.what
    onnx.save(typed, path)
    return ""


class _UnknownShapeError(Exception):
    """A tensor without a complete shape; the text is its name."""


def _value(name: str, tensors: dict[str, Tensor]) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    tensor = tensors.get(name)
    if tensor is None or tensor.shape is None or None in tensor.shape:
        raise _UnknownShapeError(name)
    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}
    types |= {"int32": TensorProto.INT32, "bool": TensorProto.BOOL, "int8": TensorProto.INT8}
    if tensor.dtype not in types:
        raise _UnknownShapeError(name)
    return helper.make_tensor_value_info(name, types[tensor.dtype], tensor.shape)


def _is_read_outside(name: str, nodes: list[onnx.NodeProto], model: Model) -> bool:
    inside = {id(node) for node in nodes}
    if any(value.name == name for value in model.proto.graph.output):
        return True
    return any(name in node.input for node in model.proto.graph.node if id(node) not in inside)
