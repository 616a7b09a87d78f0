"""Local functions: the operators that a model defines itself, before they are inlined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def called_functions(proto: onnx.ModelProto) -> tuple[tuple[str, str], ...]:
    """The nodes that call a function of the model's own, as (name of the node, name of the function)."""
    defined = {(function.domain, function.name) for function in proto.functions}
    if not defined:
        return ()
    return tuple((node.name, node.op_type) for node in _nodes(proto.graph) if (node.domain, node.op_type) in defined)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
