"""Write an FP16 model: weights and activations in float16, inputs and outputs in float32 or float16.

The types of the graph change, not its structure: constants become float16, a Cast stands behind each float32 input and
before each float32 output. In a Q/DQ model the scales become float16, so that what has no pair computes in FP16; a pair
at an input or output converts by itself, and there no Cast is needed. What ONNX wants in float32 whatever the model's
type (the scales of Resize, all of Range) stays in float32, with a Cast on each side where it meets the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.graph.load import Model, as_model, stored_tensors
from dlaflow.graph.verify import replace_nodes
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.model import (
    HALF_SCALES,
    QDQ,
    QUANTISED,
    drop_unused_constants,
    for_qdq,
    has_graph,
    has_qdq,
    index,
    opset_of,
)

if TYPE_CHECKING:
    import onnx

_FLOAT, _FLOAT16 = 1, 10
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = np.float16(2.0**-24)
"""What a scale that float16 cannot hold becomes: 0 would be refused."""
_TYPE_ATTRIBUTES = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype"}


IoTypes = Literal["float32", "float16"]
"""The type of the float inputs and outputs of a model that is written."""


def write_fp16(model: Model | Path, out: Path, io_types: IoTypes = "float32") -> None:
    """Write the FP16 version of `model`; of a Q/DQ model that of what has no pairs.

    Raises InputError when the model cannot be read, holds integer operators or nested graphs, or has weights beyond
    float16's range.
    """
    converted = fp16_model(as_model(model).whole(), io_types)
    write_atomic(out, converted.SerializeToString())


def fp16_model(model: onnx.ModelProto, io_types: IoTypes = "float32") -> onnx.ModelProto:
    """The FP16 version of a model in memory; `model` itself may be changed."""
    _refuse(model.graph)
    if has_qdq(model):
        model = for_qdq(model, HALF_SCALES)
    if _norms_overflow(model):
        fold_batch_norm(model)
        drop_unused_constants(model)
    graph = model.graph
    wide, exact = _wide_ends(graph) if io_types == "float32" else (set[str](), set[str]())
    types = index(model).types
    ports = [_float_ports(node, opset_of(model, node.domain) or 1) for node in graph.node]
    kept = _kept(graph, ports)
    scales = {node.input[1] for node in graph.node if node.op_type in QDQ}
    for tensor in graph.initializer:
        if tensor.name not in kept | exact:
            _narrow(tensor, tensor.name, scale=tensor.name in scales)
    for node in graph.node:
        _narrow_attributes(node, keep=any(name in kept for name in node.output))
    del graph.value_info[:]
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in graph.input:  # older files list their weights here too
        if value.name in stored:
            value.type.tensor_type.elem_type = stored[value.name]
    _cast_around(graph, ports, {name for name, kind in types.items() if kind == _FLOAT and name not in kept | wide})
    if io_types == "float32":
        _cast_ends(graph, stored.keys() | wide)
    for value in (*graph.input, *graph.output) if io_types == "float16" else ():
        if value.type.tensor_type.elem_type == _FLOAT and value.name not in stored:
            value.type.tensor_type.elem_type = _FLOAT16
    return model


def _norms_overflow(model: onnx.ModelProto) -> bool:
    """Whether a normalization holds statistics that float16 cannot: folded into its convolution they fit."""
    from onnx import numpy_helper

    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    held = {name for node in norms for name in node.input[1:5]}
    values = (numpy_helper.to_array(tensor) for name, tensor in stored_tensors(model.graph) if name in held)
    return any(np.abs(value).max(initial=0) > _LARGEST for value in values)


def _wide_ends(graph: onnx.GraphProto) -> tuple[set[str], set[str]]:
    """The inputs that QuantizeLinear alone reads and the outputs of DequantizeLinear, and their scales in float32."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    first = {value.name for value in graph.input if value.name in readers}
    first = {name for name in first if all(node.op_type == "QuantizeLinear" for node in readers[name])}
    last = {value.name for value in graph.output if value.name not in readers}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    ends: set[str] = set()
    exact: set[str] = set()
    for node in graph.node:
        quantizes = node.op_type == "QuantizeLinear" and node.input[0] in first
        if not (quantizes or (node.op_type == "DequantizeLinear" and node.output[0] in last)):
            continue
        scale = stored.get(node.input[1])
        if scale is None or scale.data_type != _FLOAT:
            continue
        if (name := f"{scale.name}_float32") not in stored:
            stored[name] = graph.initializer.add()
            stored[name].CopyFrom(scale)
            stored[name].name = name
        node.input[1] = name
        exact.add(name)
        ends.add(node.input[0] if quantizes else node.output[0])
    return ends, exact


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float32 in place of float16, without the Casts between them; `model` is changed and returned."""
    from onnx import numpy_helper

    graph, types = model.graph, index(model).types
    floats = {_FLOAT, _FLOAT16}
    constants = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type == _FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _FLOAT16:
            value.type.tensor_type.elem_type = _FLOAT
    ends = {value.name for value in graph.output}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.name in {_TYPE_ATTRIBUTES.get(node.op_type), "output_dtype"} and attribute.i == _FLOAT16:
                attribute.i = _FLOAT
        if node.op_type != "Cast" or not {types.get(node.input[0]), types.get(node.output[0])} <= floats:
            nodes.append(node)
        elif node.output[0] not in ends:
            same[node.output[0]] = node.input[0]
        elif (source := node.input[0]) in ends or not any(source in made.output for made in nodes):
            del node.attribute[:]
            node.op_type = "Identity"
            nodes.append(node)
        else:
            same |= dict.fromkeys([source, *(old for old, new in same.items() if new == source)], node.output[0])
            for made in nodes:
                made.input[:] = [same.get(name, name) for name in made.input]
                made.output[:] = [same.get(name, name) for name in made.output]
    replace_nodes(graph, nodes)
    del graph.value_info[:]
    return model


@dataclass(frozen=True)
class _Ports:
    """Positions of a node's inputs and outputs that may be float32 but not float16."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def _float_ports(node: onnx.NodeProto, opset: int) -> _Ports:
    """What ONNX's definition of the operator says; an operator that it does not define is taken to accept float16."""
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return _Ports()

    def positions(count: int, formal: Sequence[onnx.defs.OpSchema.FormalParameter]) -> tuple[int, ...]:
        # The last formal parameter may stand for any number of tensors.
        kinds = [set(formal[min(position, len(formal) - 1)].types) for position in range(count if formal else 0)]
        return tuple(i for i, kind in enumerate(kinds) if "tensor(float)" in kind and "tensor(float16)" not in kind)

    return _Ports(positions(len(node.input), schema.inputs), positions(len(node.output), schema.outputs))


def _kept(graph: onnx.GraphProto, ports: Sequence[_Ports]) -> set[str]:
    """Constants that only such inputs read: they stay as they are."""
    wanted: set[str] = set()
    others: set[str] = set()
    for node, port in zip(graph.node, ports, strict=True):
        for position, name in enumerate(node.input):
            (wanted if position in port.inputs else others).add(name)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return (wanted & constants) - others - {value.name for value in graph.output}


def _cast_around(graph: onnx.GraphProto, ports: Sequence[_Ports], narrowed: set[str]) -> None:
    """Bring the tensors in `narrowed` back to float32 for the ports that want it, and what comes out to float16."""
    nodes: list[onnx.NodeProto] = []
    widened: set[str] = set()
    for node, port in zip(graph.node, ports, strict=True):
        for position in port.inputs:
            name = node.input[position]
            if name not in narrowed:
                continue
            wide = f"{name}_fp32"
            if name not in widened:
                nodes.append(_cast(name, wide, _FLOAT))
                widened.add(name)
            node.input[position] = wide
        nodes.append(node)
        for position in port.outputs:
            name = node.output[position]
            if name not in narrowed:
                continue
            node.output[position] = f"{name}_exact"
            nodes.append(_cast(f"{name}_exact", name, _FLOAT16))
    replace_nodes(graph, nodes)


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    """A Cast to `kind`, called after its float32 side."""
    from onnx import helper

    wide = target if kind == _FLOAT else source
    return helper.make_node("Cast", [source], [target], name=f"{wide}/Cast", to=kind)


def _refuse(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type in QUANTISED - QDQ:
            raise InputError(
                "the model is quantised already",
                expected="a float32 model, or one with QuantizeLinear and DequantizeLinear",
                received=f"{node.op_type} nodes",
                then="Convert the model before quantising it.",
            )
        if "Sequence" in node.op_type:
            raise InputError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) works on a sequence of tensors",
                expected="tensors alone",
                then="Export the part of the model that takes and gives tensors.",
            )
        if has_graph(node):
            raise InputError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) holds a graph of its own",
                expected="a model without If, Loop and Scan",
                then="Simplify it first (`dlaflow export --simplify`).",
            )


def _narrow(tensor: onnx.TensorProto, name: str, *, scale: bool = False) -> None:
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
    half = np.maximum(value.astype(np.float16), _SMALLEST) if scale and (value > 0).all() else value.astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(half), tensor.name))


def _narrow_attributes(node: onnx.NodeProto, *, keep: bool) -> None:
    for attribute in node.attribute:
        if attribute.HasField("t") and not keep:
            _narrow(attribute.t, node.output[0])
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


def _cast_ends(graph: onnx.GraphProto, constants: set[str]) -> None:
    """Leave the network's float inputs and outputs in float32, with a Cast behind each and before each."""
    for value in graph.input:
        if value.type.tensor_type.elem_type == _FLOAT and value.name not in constants:
            graph.node.insert(0, _cast(value.name, _renamed(graph, value.name), _FLOAT16))
    produced = {name for node in graph.node for name in node.output}
    for value in graph.output:
        if value.type.tensor_type.elem_type == _FLOAT and value.name in produced:
            graph.node.append(_cast(_renamed(graph, value.name), value.name, _FLOAT))


def _renamed(graph: onnx.GraphProto, tensor: str) -> str:
    """Give a tensor another name wherever a node makes or reads it: the old one is for its float32 version."""
    narrow = f"{tensor}_fp16"
    for node in graph.node:
        node.input[:] = [narrow if name == tensor else name for name in node.input]
        node.output[:] = [narrow if name == tensor else name for name in node.output]
    return narrow
