"""Write an FP16 model: weights and activations in float16, inputs and outputs left in float32.

The types of the graph change, not its structure: constants become float16, a Cast stands behind each float input and
before each float output. What ONNX wants in float32 whatever the model's type (the scales of Resize) stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError
from dlaflow.files import atomic_path
from dlaflow.quantize.model import load_onnx

if TYPE_CHECKING:
    import onnx

_FLOAT, _FLOAT16 = 1, 10
_LARGEST = float(np.finfo(np.float16).max)
_STAYS_FLOAT = {"Resize": (2,), "Upsample": (1,)}
"""Operator → positions of the inputs that are float32 by definition."""

_TYPE_ATTRIBUTES = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype"}


def write_fp16(model: Path, out: Path) -> None:
    """Write the FP16 version of `model`.

    Raises InputError when the model cannot be read, holds Q/DQ or nested graphs, or has weights beyond float16's range.
    """
    import onnx

    converted = fp16_model(load_onnx(model))
    with atomic_path(out) as temporary:
        onnx.save(converted, str(temporary))


def fp16_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP16 version of a model in memory; `model` itself is changed and returned."""
    graph = model.graph
    _refuse(graph)
    kept = {
        node.input[position]
        for node in graph.node
        for position in _STAYS_FLOAT.get(node.op_type, ())
        if position < len(node.input)
    }
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _narrow(tensor, tensor.name)
    for node in graph.node:
        _narrow_attributes(node, keep=any(name in kept for name in node.output))
    del graph.value_info[:]
    constants = {tensor.name for tensor in graph.initializer}
    _cast_inputs(graph, constants)
    _cast_outputs(graph)
    return model


def _refuse(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            raise InputError(
                "the model holds Q/DQ nodes", expected="a float32 model", then="Convert the model before quantising it."
            )
        if any(attribute.type in {5, 10} for attribute in node.attribute):
            raise InputError(
                f"node {node.name!r} ({node.op_type}) holds a graph of its own",
                expected="a model without If, Loop and Scan",
                then="Simplify it first (`dlaflow export --simplify`).",
            )


def _narrow(tensor: onnx.TensorProto, name: str) -> None:
    from onnx import numpy_helper

    if tensor.data_type != _FLOAT:
        return
    value = numpy_helper.to_array(tensor)
    finite = value[np.isfinite(value)]
    if finite.size and float(np.abs(finite).max()) > _LARGEST:
        raise InputError(
            f"constant {name!r} does not fit into FP16",
            expected=f"magnitudes up to {_LARGEST:.0f}",
            received=float(np.abs(finite).max()),
        )
    tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), tensor.name))


def _narrow_attributes(node: onnx.NodeProto, *, keep: bool) -> None:
    for attribute in node.attribute:
        if attribute.HasField("t") and not keep:
            _narrow(attribute.t, node.name)
        elif attribute.name == _TYPE_ATTRIBUTES.get(node.op_type) and attribute.i == _FLOAT and not keep:
            attribute.i = _FLOAT16
        elif node.op_type == "Constant" and attribute.name in {"value_float", "value_floats"} and not keep:
            _replace_float_constant(node)
            return


def _replace_float_constant(node: onnx.NodeProto) -> None:
    """`value_float` is float32 by definition: say the same as a float16 tensor."""
    from onnx import helper, numpy_helper

    attribute = node.attribute[0]
    value = np.float16(attribute.f) if attribute.name == "value_float" else np.asarray(attribute.floats, np.float16)
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.asarray(value))))


def _cast_inputs(graph: onnx.GraphProto, constants: set[str]) -> None:
    from onnx import helper

    for value in graph.input:
        if value.type.tensor_type.elem_type != _FLOAT or value.name in constants:
            continue
        narrow = f"{value.name}_fp16"
        for node in graph.node:
            for position, name in enumerate(node.input):
                if name == value.name:
                    node.input[position] = narrow
        cast = helper.make_node("Cast", [value.name], [narrow], name=f"{value.name}/Cast", to=_FLOAT16)
        graph.node.insert(0, cast)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    from onnx import helper

    produced = {name for node in graph.node for name in node.output}
    for value in graph.output:
        if value.type.tensor_type.elem_type != _FLOAT or value.name not in produced:
            continue
        narrow = f"{value.name}_fp16"
        for node in graph.node:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == value.name:
                        names[position] = narrow
        graph.node.append(helper.make_node("Cast", [narrow], [value.name], name=f"{value.name}/Cast", to=_FLOAT))
