"""Local functions become the nodes that they stand for, unless that would be more than anybody could look at.

Functions that call functions can double at each step, so a file of 4 kB can stand for more nodes than there is memory.
How many it would be follows from who calls whom, so it is counted before anything is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.reading import NODES

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 1 << 30
"""Bytes of those nodes: each copy of a function carries its small constants along."""
MAX_DEPTH = 100
"""Calls inside calls, which is also onnx's own limit."""
MAX_NESTING = 30
"""Subgraphs inside subgraphs: protobuf reads 100 messages deep, and each subgraph is three."""

_FAR = 1_000_000
"""A number that is so many times too large is not printed in full: it may have thousands of digits."""

_Id = tuple[str, str, str]


@dataclass(slots=True)
class _Body:
    """What a function (or the graph) holds itself, whom it calls, and what it comes to with all that inlined.

    `calls` has an entry for each call: whom, and how many subgraphs deep it stands.
    """

    nodes: int = 0
    bytes: int = 0
    depth: int = 0
    nesting: int = 0
    calls: list[tuple[_Id, int]] = field(default_factory=list)


def inline(proto: onnx.ModelProto, source: Path) -> onnx.ModelProto:
    """The model with its local functions inlined.

    Raises InputError when they call themselves, or would become too many nodes.
    """
    from onnx import inliner

    _check_size(proto, source)
    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # the C++ side raises its own ValidationError or RuntimeError
        if not is_onnx_error(error):
            raise
        raise InputError(f"the local functions of {source} cannot be inlined: {first_line(error)}") from None


def called_functions(proto: onnx.ModelProto) -> tuple[tuple[str, str], ...]:
    """The nodes that call a function of the model's own, as (name of the node, name of the function)."""
    defined = {(function.domain, function.name) for function in proto.functions}
    nodes = all_nodes(proto.graph.node) if defined else ()
    return tuple((node.name, node.op_type) for node, _ in nodes if (node.domain, node.op_type) in defined)


def is_onnx_error(error: Exception) -> bool:
    """Whether onnx itself raised this: its own classes, or those of C++ and Python for bad values."""
    return type(error).__module__.split(".")[0] in ("onnx", "builtins") and not isinstance(error, MemoryError)


def first_line(error: Exception) -> str:
    """The first line of the message of another library, or the name of the exception when it is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes: branches and bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Each node and those in its subgraphs, with how many subgraphs deep it stands."""
    waiting = [(iter(nodes), 0)]
    while waiting:
        rest, level = waiting[-1]
        node = next(rest, None)
        if node is None:
            waiting.pop()
            continue
        yield node, level
        waiting += [(iter(graph.node), level + 1) for graph in reversed(list(subgraphs(node)))]


def _check_size(proto: onnx.ModelProto, source: Path) -> None:
    """Raise InputError when the functions call themselves or come to more than the limits."""
    known = {(each.domain, each.name, _overload(each)) for each in proto.functions}
    bodies = {(each.domain, each.name, _overload(each)): _read(each.node, known) for each in proto.functions}
    for one in _callees_first(bodies, source):
        _add_up(bodies[one], bodies)
    whole = _read(proto.graph.node, known)
    _add_up(whole, bodies)
    for received, most, what in (
        (whole.nodes, NODES.most, "nodes"),
        (whole.bytes, MAX_BYTES, "bytes"),
        (whole.depth, MAX_DEPTH, "calls inside calls"),
        (whole.nesting, MAX_NESTING, "subgraphs inside subgraphs"),
    ):
        if received > most:
            raise InputError(
                f"the local functions of {source} come to too much when they are inlined",
                expected=f"at most {most:,} {what}",
                received=f"{received:,}" if received < _FAR * most else f"more than {_FAR * most:,}",
                then="Export the model without functions, or in parts"
                + (f"; {NODES.variable} raises the limit." if what == "nodes" else "."),
            )


def _overload(named: onnx.NodeProto | onnx.FunctionProto) -> str:
    return str(getattr(named, "overload", ""))  # older releases of onnx do not have it


def _read(nodes: Iterable[onnx.NodeProto], known: set[_Id]) -> _Body:
    body = _Body()
    for node, level in all_nodes(nodes):
        callee = (node.domain, node.op_type, _overload(node))
        body.nesting = max(body.nesting, level)
        if callee in known:
            body.calls.append((callee, level))
            continue
        body.nodes += 1
        body.bytes += node.ByteSize() if level == 0 else 0  # a node's size holds that of its subgraphs
    return body


def _callees_first(bodies: dict[_Id, _Body], source: Path) -> list[_Id]:
    """The functions in an order in which each stands behind those that it calls."""
    try:
        return list(
            TopologicalSorter({one: [callee for callee, _ in bodies[one].calls] for one in bodies}).static_order()
        )
    except CycleError as error:
        raise InputError(
            f"{source}: the local function {error.args[1][0][1]!r} calls itself",
            then="ONNX has no recursion; export the model again.",
        ) from None


def _add_up(body: _Body, bodies: dict[_Id, _Body]) -> None:
    """Add what the callees come to."""
    for callee, level in body.calls:
        inner = bodies[callee]
        body.nodes += inner.nodes
        body.bytes += inner.bytes
        body.depth = max(body.depth, inner.depth + 1)
        body.nesting = max(body.nesting, level + inner.nesting)
