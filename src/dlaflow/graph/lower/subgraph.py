"""The bodies of If, Loop and Scan: their nodes become layers of the same network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dlaflow.graph.layer import Tensor
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.tensor_type import UNKNOWN, TensorType, read_type

if TYPE_CHECKING:
    import numpy as np
    import onnx


def lower_body(
    context: Context, body: onnx.GraphProto, bound: dict[str, Operand] | None = None, *, declared: bool = True
) -> list[Operand]:
    """Lower a subgraph in place; names that it defines hide outer ones while it lasts. `bound` are its inputs.

    `declared` false says that the parser's shapes are not those that the subgraph declares.
    """
    with context.scope():
        _hide(context, body, declared=declared)
        for name, operand in (bound or {}).items():
            context.bind(name, operand)
        for tensor in body.initializer:
            context.converts(tensor)
            known = context.inferred(tensor.name)
            shape = known.shape if known.shape is not None else tuple(tensor.dims)
            weights = Operand(Tensor(tensor.name, shape, known.dtype, True), weights=True)
            context.bind(tensor.name, context.named(weights, tensor.name))
        for node in body.node:
            context.importer(node)
        return [context.bound(value.name) for value in body.output]


def _hide(context: Context, body: onnx.GraphProto, *, declared: bool) -> None:
    """Names that other graphs of the model define too: what inference said of them may be about those."""
    repeated = _repeated(context.model.proto.graph)
    mine = [name for name in _defined(body) if name in repeated or not declared]
    if not mine:
        return
    types = {value.name: read_type(value.type) for value in (*body.input, *body.value_info, *body.output)}
    tensors = dict(_constants(body))
    for name in mine:
        known = types.get(name, UNKNOWN)
        known = known if declared else TensorType(None, known.dtype)
        if name in tensors:
            known = TensorType(tuple(tensors[name].dims), known.dtype or _element(tensors[name]))
        context.local[name] = Tensor(name, known.shape, known.dtype, name in tensors)
        context.local_values[name] = _value(tensors.get(name))


def _repeated(graph: onnx.GraphProto) -> frozenset[str]:
    counts = Counter(name for one in _graphs(graph) for name in set(_defined(one)))
    return frozenset(name for name, count in counts.items() if count > 1)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    yield node.output[0], attribute.t


def _element(tensor: onnx.TensorProto) -> str:
    from dlaflow.graph.tensor_type import elem_name

    return elem_name(tensor.data_type)


def _value(tensor: onnx.TensorProto | None) -> np.ndarray | None:
    """The values of a tensor that stands in the file; large ones were left out when it was read."""
    from onnx import numpy_helper

    if tensor is None or tensor.data_location == 1:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None
