"""Random ONNX graphs over all operators: valid ones and such as no exporter would write. All of them are files."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, defs, helper, numpy_helper

OPSETS = (7, 11, 13, 17, 21)
TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
DIMS = st.sampled_from([1, 1, 2, 3, 3, 4, 8, 8, 16, "N", "H", None, 0, *([1, 3, 8] * 20), 1 << 33])
INTEGERS = st.one_of(st.integers(-3, 4), st.sampled_from([0, 1, 2**31 - 1, -(2**63), 2**63 - 1]))
FLOATS = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, float("inf"), float("nan")]))
WORDS = (
    "",
    "NOTSET",
    "SAME_UPPER",
    "VALID",
    "linear",
    "nearest",
    "constant",
    "reflect",
    "forward",
    "tanh",
    "add",
    "ij",
)
UNKNOWN = "NobodyKnowsThis"


@cache
def operators(opset: int) -> dict[str, defs.OpSchema]:
    """The operators of the default domain as they are in an opset."""
    names = sorted({schema.name for schema in defs.get_all_schemas_with_history() if schema.domain == ""})
    found = {}
    for name in names:
        if defs.has(name, opset, ""):
            found[name] = defs.get_schema(name, opset, "")
    return found


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A model of a few nodes with what they need, or with something else."""
    opset = draw(st.sampled_from(OPSETS))
    inputs = draw(st.lists(st.tuples(st.sampled_from(TYPES), st.lists(DIMS, max_size=5)), min_size=1, max_size=3))
    values = [helper.make_tensor_value_info(f"in{n}", kind, dims) for n, (kind, dims) in enumerate(inputs)]
    stored = [numpy_helper.from_array(array, f"c{n}") for n, array in enumerate(draw(st.lists(_arrays(), max_size=4)))]
    names = [value.name for value in values] + [tensor.name for tensor in stored]
    nodes = []
    for number in range(draw(st.integers(1, 6))):
        node = draw(_nodes(opset, tuple(names), f"n{number}", depth=1))
        nodes.append(node)
        names += [name for name in node.output if name]
    made = [name for node in nodes for name in node.output if name]
    outputs = draw(st.lists(st.sampled_from(made or names), min_size=1, max_size=3, unique=True))
    graph = helper.make_graph(nodes, "g", values, [onnx.ValueInfoProto(name=name) for name in outputs], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    kind = draw(st.sampled_from([np.float32, np.int64, np.int32, np.bool_, np.uint8]))
    first = draw(st.integers(-2, 5))
    return (np.arange(first, first + int(np.prod(shape))) % 7).reshape(shape).astype(kind)


@st.composite
def _nodes(draw: st.DrawFn, opset: int, names: tuple[str, ...], name: str, depth: int) -> onnx.NodeProto:
    known = operators(opset)
    kind = draw(st.sampled_from([*known, UNKNOWN]))
    if kind == UNKNOWN:
        return helper.make_node(kind, list(names[-1:]), [f"{name}_0"], name=name)
    schema = known[kind]
    count = draw(st.integers(schema.min_input, max(schema.min_input, min(schema.max_input, schema.min_input + 3))))
    needed = [one.option == defs.OpSchema.FormalParameterOption.Single for one in schema.inputs]
    inputs = [draw(st.sampled_from(names if at < len(needed) and needed[at] else [*names, ""])) for at in range(count)]
    if draw(st.integers(0, 19)) == 0:
        inputs = [*inputs[:-1], ""]
    least = max(1, schema.min_output)
    made = draw(st.integers(least, max(least, min(schema.max_output, 3))))
    node = helper.make_node(kind, inputs, [f"{name}_{n}" for n in range(made)], name=name)
    for attribute in schema.attributes.values():
        if draw(st.integers(0, 9)) < (9 if attribute.required else 3):
            _give(draw, node, attribute, opset, names, depth)
    return node


def _give(
    draw: st.DrawFn,
    node: onnx.NodeProto,
    attribute: defs.OpSchema.Attribute,
    opset: int,
    names: tuple[str, ...],
    depth: int,
) -> None:
    """Add a value of the attribute's type, if it is one that is drawn here."""
    kind = defs.OpSchema.AttrType
    choices = {
        kind.INT: INTEGERS,
        kind.INTS: st.lists(INTEGERS, max_size=4),
        kind.FLOAT: FLOATS,
        kind.FLOATS: st.lists(FLOATS, min_size=1, max_size=4),
        kind.STRING: st.sampled_from(WORDS),
        kind.TENSOR: _arrays().map(numpy_helper.from_array),
    }
    if attribute.type == kind.GRAPH and depth:
        value: object = draw(_bodies(opset, names, f"{node.name}_{attribute.name}", depth - 1))
    elif attribute.type in choices:
        value = draw(choices[attribute.type])
    else:
        return
    if value == []:
        node.attribute.append(onnx.AttributeProto(name=attribute.name, type=onnx.AttributeProto.INTS))
    else:
        node.attribute.append(helper.make_attribute(attribute.name, value))


@st.composite
def _bodies(draw: st.DrawFn, opset: int, names: tuple[str, ...], name: str, depth: int) -> onnx.GraphProto:
    """A branch or a body: it may have inputs of its own, and reads what is around it."""
    own = [onnx.ValueInfoProto(name=f"{name}_in{n}") for n in range(draw(st.integers(0, 3)))]
    inside = (*names, *(value.name for value in own))
    nodes = [draw(_nodes(opset, inside, f"{name}_{n}", depth)) for n in range(draw(st.integers(1, 2)))]
    made = [out for node in nodes for out in node.output if out]
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    return helper.make_graph(nodes, name, own, [onnx.ValueInfoProto(name=out) for out in outputs])
