"""Is this ONNX graph whole? Every input produced once, no cycles, an opset that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.graph.inline import inline, subgraphs

if TYPE_CHECKING:
    import onnx

DEFAULT_DOMAINS = ("", "ai.onnx")
_WEIGHTS_ALONE_SINCE = 4


def verify(proto: onnx.ModelProto, source: Path) -> tuple[onnx.ModelProto, int]:
    """The model with its local functions inlined and its nodes sorted, and the opset of the default domain.

    It is of a version whose initializers need not be inputs, too: tools take them off the list in older files as well,
    and ONNX would see neither them nor their shapes. Raises InputError with a line that names the node or the tensor.
    """
    if not proto.HasField("graph") or (not proto.graph.node and not proto.graph.output):
        raise InputError(f"{source} holds no graph", expected="a ModelProto with nodes")
    opset = _opset(proto, source)
    proto.ir_version = max(proto.ir_version, _WEIGHTS_ALONE_SINCE)
    if proto.functions:
        proto = inline(proto, source)
    graph = proto.graph
    if not graph.node:
        raise InputError(f"{source} has no nodes", expected="a graph that computes something")
    weights = [*graph.initializer, *(tensor.values for tensor in graph.sparse_initializer)]
    for what, listed in (("input", graph.input), ("initializer", weights)):
        counted = Counter(each.name for each in listed).items()
        if twice := next((name for name, count in counted if count > 1), ""):
            raise InputError(f"{source}: the {what} {twice!r} is there twice", then="Export the model again.")
    available = {each.name for each in (*weights, *graph.input)}
    _sort(graph, available, source)
    produced = available | {name for node in graph.node for name in node.output}
    for output in graph.output:
        if output.name not in produced:
            raise InputError(f"{source}: nothing produces the output {output.name!r}")
    return proto, opset


def _opset(proto: onnx.ModelProto, source: Path) -> int:
    from onnx import defs

    versions = [entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAINS]
    newest = defs.onnx_opset_version()
    opset = max(versions, default=0)
    if opset == 0:
        if any(node.domain in DEFAULT_DOMAINS for node in proto.graph.node) and not proto.opset_import:
            raise InputError(f"{source} imports no opset", expected=f"an opset from 1 to {newest}")
        return 1
    if not 1 <= opset <= newest:
        raise InputError(
            f"{source} uses an opset that is not known here",
            expected=f"1 to {newest}",
            received=opset,
            then="Export the model with a lower opset, or install a newer onnx.",
        )
    return opset


def outer_names(node: onnx.NodeProto) -> Iterable[str]:
    """The tensors that the subgraphs of an If, Loop or Scan take from around them."""
    for graph in subgraphs(node):
        inner = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        for child in graph.node:
            for name in (*child.input, *outer_names(child)):
                if name and name not in inner:
                    yield name
            inner.update(child.output)
        yield from (value.name for value in graph.output if value.name not in inner)


def _sort(graph: onnx.GraphProto, available: set[str], source: Path) -> None:
    """Put the nodes in topological order, keeping the file's order where it is one already."""
    producer: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        if not node.op_type:
            raise InputError(f"{source}: node {label(node, number)} has no operator")
        for name in node.output:
            if name and (name in producer or name in available):
                raise InputError(f"{source}: tensor {name!r} is produced twice", received=label(node, number))
            if name:
                producer[name] = number
    needs: list[set[int]] = []
    for number, node in enumerate(graph.node):
        mine: set[int] = set()
        for name in (*node.input, *outer_names(node)):
            if not name or name in available:
                continue
            if name not in producer:
                raise InputError(
                    f"{source}: nothing produces {name!r}, an input of node {label(node, number)} ({node.op_type})",
                    then="The initializer or the graph input is missing; export the model again.",
                )
            mine.add(producer[name])
        needs.append(mine)
    try:
        order = in_order(needs)
    except CycleError as error:
        first = min(error.args[1])
        raise InputError(
            f"{source}: the graph has a cycle", received=f"node {label(graph.node[first], first)}"
        ) from None
    if order == list(range(len(needs))):
        return
    replace_nodes(graph, [graph.node[number] for number in order])


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put `nodes`, which may be the graph's own, in place of all that it has."""
    del graph.node[:]
    graph.node.extend(nodes)


def in_order(needs: Sequence[Collection[int]]) -> list[int]:
    """The numbers from 0 on, each behind those that it needs; the given order where that is one.

    Raises graphlib.CycleError, which lists the cycle.
    """
    if all(max(mine, default=-1) < number for number, mine in enumerate(needs)):
        return list(range(len(needs)))
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(needs)), ()))
    for number, mine in enumerate(needs):
        sorter.add(number, *mine)
    return list(sorter.static_order())


def label(node: onnx.NodeProto, number: int) -> str:
    """How an error names a node: by its name, or by its place."""
    return repr(node.name) if node.name else f"#{number} ({node.op_type or 'no operator'})"
