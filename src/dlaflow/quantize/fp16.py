"""Write an FP16 model: weights and activations in float16, inputs and outputs left in float32.

The types of the graph change, not its structure: constants become float16, a Cast stands behind each float input and
before each float output. What ONNX wants in float32 whatever the model's type (the scales of Resize, all of Range)
stays in float32, with a Cast on each side where it meets the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.verify import replace_nodes
from dlaflow.quantize.model import QUANTISED, has_graph, index, opset_of

if TYPE_CHECKING:
    import onnx

_FLOAT, _FLOAT16 = 1, 10
_LARGEST = float(np.finfo(np.float16).max)
_TYPE_ATTRIBUTES = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype"}


def write_fp16(model: Model | Path, out: Path) -> None:
    """Write the FP16 version of `model`.

    Raises InputError when the model cannot be read, holds Q/DQ or nested graphs, or has weights beyond float16's range.
    """
    converted = fp16_model(as_model(model).whole())
    write_atomic(out, converted.SerializeToString())


def fp16_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP16 version of a model in memory; `model` itself is changed and returned."""
    graph = model.graph
    _refuse(graph)
    types = index(model).types
    ports = [_float_ports(node, opset_of(model, node.domain) or 1) for node in graph.node]
    kept = _kept(graph, ports)
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _narrow(tensor, tensor.name)
    for node in graph.node:
        _narrow_attributes(node, keep=any(name in kept for name in node.output))
    del graph.value_info[:]
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in graph.input:  # older files list their weights here too
        if value.name in stored:
            value.type.tensor_type.elem_type = stored[value.name]
    _cast_around(graph, ports, {name for name, kind in types.items() if kind == _FLOAT and name not in kept})
    _cast_ends(graph, set(stored))
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
        if node.op_type in QUANTISED:
            raise InputError(
                "the model is quantised already",
                expected="a float32 model",
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
