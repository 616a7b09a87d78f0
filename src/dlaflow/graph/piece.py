"""Some nodes of a model as a model of their own: their weights kept, what enters and what leaves declared.

A piece is a `Model` whose weights still lie in the file that it was cut from, so that a large model costs what its
graph costs; `whole_piece` reads those of the piece alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dlaflow.graph.inline import subgraphs
from dlaflow.graph.load import Model, lacks_values, stored_tensors
from dlaflow.graph.lower.naming import node_name
from dlaflow.graph.tensor_type import UNKNOWN, TensorType, elem_of
from dlaflow.graph.verify import outer_names
from dlaflow.reading import ONNX_BYTES

if TYPE_CHECKING:
    import numpy as np
    import onnx


@dataclass(frozen=True)
class Wires:
    """Who makes and who reads each tensor of a model, by the numbers of its nodes in order."""

    model: Model

    @cached_property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes in order."""
        return list(self.model.proto.graph.node)

    @cached_property
    def reads(self) -> list[tuple[str, ...]]:
        """The tensors that each node reads, those that its subgraphs take from around them too."""
        return [tuple(dict.fromkeys(filter(None, (*node.input, *outer_names(node))))) for node in self.nodes]

    @cached_property
    def makers(self) -> dict[str, int]:
        """Tensor → the node that makes it."""
        return {name: number for number, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """Tensor → the nodes that read it."""
        found: dict[str, list[int]] = {}
        for number, names in enumerate(self.reads):
            for name in names:
                found.setdefault(name, []).append(number)
        return found

    @cached_property
    def constant(self) -> frozenset[int]:
        """The nodes that compute with constants alone."""
        stored = {tensor.name for tensor in self.model.proto.graph.initializer}
        found: set[int] = set()
        for number, names in enumerate(self.reads):
            if all(name in stored or self.makers.get(name) in found for name in names):
                found.add(number)
        return frozenset(found)

    def named(self, name: str) -> list[int]:
        """The nodes of that name."""
        return [number for number, node in enumerate(self.nodes) if node_name(node) == name]

    def around(self, numbers: Iterable[int]) -> set[int]:
        """These nodes, and those that hand them a tensor or take one from them."""
        grown = set(numbers)
        for number in tuple(grown):
            grown.update(self.makers[name] for name in self.reads[number] if name in self.makers)
            grown.update(reader for name in self.nodes[number].output for reader in self.readers.get(name, ()))
        return grown

    def between(self, first: Iterable[str], last: Iterable[str]) -> set[int]:
        """The nodes on the ways from the tensors `first` to the tensors `last`."""
        tensors = set(first)
        ahead: set[int] = set()
        for number, names in enumerate(self.reads):
            if not tensors.isdisjoint(names):
                ahead.add(number)
                tensors.update(self.nodes[number].output)
        wanted, found = set(last), set[int]()
        for number in sorted(ahead, reverse=True):
            if not wanted.isdisjoint(self.nodes[number].output):
                found.add(number)
                wanted.update(name for name in self.reads[number] if name not in first)
        return found


def piece_of(
    wires: Wires, numbers: Iterable[int], types: Mapping[str, TensorType], values: Mapping[str, np.ndarray]
) -> Model:
    """The nodes of these numbers as a model without its large weights.

    A tensor of `values` that they would have to be fed becomes an initializer; other constants are computed as in the
    model. `types` are those of the model's tensors; an open first dimension is declared as `batch`. A node that hands
    over a tensor of unknown type comes along.
    """
    import onnx
    from onnx import numpy_helper

    graph = wires.model.proto.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    ports = {value.name: value for value in (*graph.input, *graph.output)}
    chosen = _completed(wires, set(numbers), types, values)
    nodes = [wires.nodes[number] for number in sorted(chosen)]
    made = [name for node in nodes for name in node.output if name]
    read = list(dict.fromkeys(name for number in sorted(chosen) for name in wires.reads[number]))
    fed = [name for name in read if name not in stored and wires.makers.get(name) not in chosen]
    leaving = [name for name in made if name in ports or any(one not in chosen for one in wires.readers.get(name, ()))]
    unread = [
        node.output[0] for node in nodes if not any(name in wires.readers or name in ports for name in node.output)
    ]
    proto = onnx.ModelProto(
        ir_version=wires.model.proto.ir_version,
        opset_import=wires.model.proto.opset_import,
        producer_name="dlaflow",
        graph=onnx.GraphProto(name=graph.name or "piece", node=nodes),
    )
    proto.graph.initializer.extend(stored[name] for name in read if name in stored)
    proto.graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in fed if name in values)
    proto.graph.input.extend(_declared(name, types, ports) for name in fed if name not in values)
    outputs = [name for name in dict.fromkeys([*leaving, *unread]) if name]
    proto.graph.output.extend(_declared(name, types, ports) for name in outputs)
    return replace(wires.model, proto=proto, types={}, fixed=(), tensors=dict(stored_tensors(proto.graph)))


def whole_piece(wires: Wires, piece: Model) -> onnx.ModelProto:
    """A piece with all its weights, read from where the model has them.

    Raises InputError for a weight that cannot be read, and where the file would pass protobuf's limit.
    """
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(piece.proto)
    tensors = [(tensor.name, tensor) for tensor in proto.graph.initializer]
    for node in proto.graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        tensors += [(node.output[0], value) for value in values if node.op_type == "Constant"]
    size = 0
    for name, tensor in tensors:
        if lacks_values(tensor):
            tensor.CopyFrom(wires.model.tensor(name))
        size += tensor.ByteSize()
        ONNX_BYTES.check(size, f"a piece of {piece.path}")
    # Tensors of inner graphs may share their names, and those of local functions had others: only all of it has them.
    lacking = {tuple(node.output) for node in proto.graph.node if any(map(lacks_values, _held(node)))}
    if lacking:
        found = {tuple(node.output): node for node in wires.model.whole().graph.node if tuple(node.output) in lacking}
        for node in proto.graph.node:
            node.CopyFrom(found.get(tuple(node.output), node))
    return proto


def _held(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors that a node holds, those in its subgraphs too."""
    yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
    yield from (tensor for graph in subgraphs(node) for _, tensor in stored_tensors(graph))


def _completed(
    wires: Wires, chosen: set[int], types: Mapping[str, TensorType], values: Mapping[str, np.ndarray]
) -> set[int]:
    """With the nodes that compute their constants, and those that would hand over a tensor of unknown type."""
    waiting = list(chosen)
    while waiting:
        for name in wires.reads[waiting.pop()]:
            maker = wires.makers.get(name)
            if maker is None or maker in chosen or name in values:
                continue
            if maker in wires.constant or not types.get(name, UNKNOWN).dtype:
                chosen.add(maker)
                waiting.append(maker)
    return chosen


def _declared(
    name: str, types: Mapping[str, TensorType], ports: Mapping[str, onnx.ValueInfoProto]
) -> onnx.ValueInfoProto:
    """A port of a piece. What nobody knows the type of is called float, since ONNX asks for one."""
    from onnx import helper

    known = types.get(name, UNKNOWN)
    if not known.dtype and name in ports:
        return ports[name]
    dims = None
    if known.shape is not None:
        dims = [
            ("batch" if not axis else f"{name}_{axis}") if size is None else size
            for axis, size in enumerate(known.shape)
        ]
    return helper.make_tensor_value_info(name, elem_of(known.dtype or "float32"), dims)
