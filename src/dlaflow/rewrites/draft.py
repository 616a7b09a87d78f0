"""A model under change: nodes, weights and shapes, made new by each edit and never changed in place.

Nodes are protobuf messages that nobody alters once they are in a draft, and weights are shared arrays, so that a draft
costs a list and a dictionary; a search can try a hundred of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dlaflow.errors import InputError
from dlaflow.graph.inline import subgraphs
from dlaflow.graph.load import Model
from dlaflow.graph.lower.naming import node_name
from dlaflow.graph.tensor_type import UNKNOWN, TensorType, elem_of
from dlaflow.graph.verify import in_order, outer_names

Array = NDArray[np.generic]
Value = int | float | str | list[int] | list[float]
Shape = tuple[int, ...]

_FLOATS: dict[str, type[np.floating]] = {"float32": np.float32, "float16": np.float16, "float64": np.float64}
SOFTMAX_ON_ONE_AXIS = 13
"""The first opset whose Softmax works along one axis, by default the last."""
_SMALL = 65_536
_LARGEST_FILE = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Draft:
    """One state of the model.

    `base` carries everything but nodes, weights and inner types; `weights` holds initializers and Constant nodes;
    `moved` names tensors that a rewrite's own reshape or transpose makes: only these may be moved further.
    """

    base: onnx.ModelProto = field(repr=False)
    nodes: tuple[onnx.NodeProto, ...] = field(repr=False)
    weights: Mapping[str, Array] = field(repr=False)
    types: Mapping[str, TensorType] = field(repr=False)
    opset: int
    moved: frozenset[str] = frozenset()

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs."""
        return tuple(value.name for value in self.base.graph.output)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(value.name for value in self.base.graph.input if value.name not in self.weights)

    @cached_property
    def input_shapes(self) -> dict[str, Shape]:
        """The dimensions of each input, which a proof makes numbers of; () where one is not known."""
        return {name: self.shape(name) or () for name in self.inputs}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """Tensor name → the node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Tensor name → the nodes that read it, in order, each once."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys((*node.input, *outer_names(node))):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    @cached_property
    def content(self) -> str:
        """A hash of all that the model says, weights included; no file is made for it."""
        found = hashlib.sha256(self._frame().SerializeToString(deterministic=True))
        for name, value in self.weights.items():
            found.update(f"{name!r} {value.dtype} {value.shape}".encode())
            texts = value.dtype.kind == "O"
            found.update(
                repr(value.tolist()).encode() if texts else np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
            )
        return found.hexdigest()

    def shape(self, name: str) -> Shape | None:
        """The dimensions of a tensor, None unless all are known."""
        if name in self.weights:
            return tuple(self.weights[name].shape)
        return _whole(self.types.get(name, UNKNOWN))

    def image(self, name: str) -> tuple[int, int, int, int] | None:
        """The shape of a tensor when it is N, C, H, W and not a weight."""
        shape = self.shape(name)
        if shape is None or len(shape) != 4 or name in self.weights:
            return None
        return shape[0], shape[1], shape[2], shape[3]

    def is_float(self, name: str) -> bool:
        """Whether a tensor holds floating-point numbers."""
        if name in self.weights:
            return self.weights[name].dtype.kind == "f"
        known = self.types.get(name)
        return known is not None and known.dtype in _FLOATS

    def value(self, node: onnx.NodeProto, index: int) -> Array | None:
        """A constant input of a node, None when it is absent or computed at run time."""
        if index >= len(node.input) or not node.input[index]:
            return None
        return self.weights.get(node.input[index])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor which is no output of the network; None otherwise."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    @cached_property
    def names(self) -> frozenset[str]:
        """Every tensor and node name in use."""
        used = set(self.weights) | set(self.inputs)
        for node in self.nodes:
            used.update(node.output)
            used.add(node.name)
        return frozenset(used)

    def apply(self, edits: Sequence[Edit]) -> Draft:
        """The draft after all edits whose nodes are still there; an edit that meets an earlier one is left out."""
        gone: set[int] = set()
        added: dict[int, list[onnx.NodeProto]] = {}
        weights, types, moved = dict(self.weights), dict(self.types), set(self.moved)
        renamed: dict[str, str] = {}
        for edit in edits:
            touched = {id(node) for node in edit.remove}
            taken = {*renamed, *renamed.values()}
            if touched & gone or any(old in taken or new in renamed for old, new in edit.rename):
                continue
            gone |= touched
            added.setdefault(id(edit.remove[-1]), []).extend(edit.nodes)
            weights.update(edit.weights)
            types.update(edit.types)
            moved |= edit.moved
            renamed.update(edit.rename)
        nodes: list[onnx.NodeProto] = []
        for node in self.nodes:
            nodes.extend(added.get(id(node), ()))
            if id(node) not in gone:
                nodes.append(node)
        if renamed:
            nodes = [_renamed(node, renamed) for node in nodes]
        return replace(self, nodes=tuple(_sorted(nodes)), weights=weights, types=types, moved=frozenset(moved)).swept()

    def swept(self) -> Draft:
        """Without nodes and weights that nothing needs."""
        needed = set(self.outputs)
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if any(name in needed for name in node.output):
                kept.append(node)
                needed.update(name for name in (*node.input, *outer_names(node)) if name)
        weights = {name: value for name, value in self.weights.items() if name in needed}
        return replace(self, nodes=tuple(reversed(kept)), weights=weights)

    def part(self, nodes: Iterable[onnx.NodeProto], inputs: Iterable[str], outputs: Iterable[str]) -> Draft:
        """Some of the nodes as a model of their own, from the tensors `inputs` to the tensors `outputs`."""
        base = onnx.ModelProto()
        base.CopyFrom(self.base)
        for ports, names in ((base.graph.input, inputs), (base.graph.output, outputs)):
            declared = [self._declared(name) for name in dict.fromkeys(names)]
            del ports[:]
            ports.extend(declared)
        return replace(self, base=base, nodes=tuple(nodes)).swept()

    def _declared(self, name: str) -> onnx.ValueInfoProto:
        ports = (*self.base.graph.input, *self.base.graph.output)
        found: onnx.ValueInfoProto | None = next((value for value in ports if value.name == name), None)
        if found is not None:
            return found
        known = self.types.get(name)
        return onnx.helper.make_tensor_value_info(name, elem_of(known.dtype if known else "float32"), self.shape(name))

    def model(self, path: Path) -> Model:
        """What `placement.check_model` takes: large weights are named and sized, their values left out."""
        proto = self._frame()
        tensors = {
            name: numpy_helper.from_array(value, name) for name, value in self.weights.items() if value.size <= _SMALL
        }
        for name, value in self.weights.items():
            if name in tensors:
                proto.graph.initializer.append(tensors[name])
            else:
                kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
                proto.graph.initializer.append(onnx.TensorProto(name=name, data_type=kind, dims=value.shape))
        return Model(path, "", proto, self.opset, {}, tensors, types=self.types)

    def proto(self) -> onnx.ModelProto:
        """The whole model with its weights.

        Raises InputError when it would pass protobuf's limit of 2 GiB.
        """
        size = sum(value.nbytes for value in self.weights.values())
        if size > _LARGEST_FILE:
            raise InputError(
                "the model is too large for one ONNX file", expected="under 2 GiB", received=f"{size} bytes"
            )
        proto = self._frame()
        proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.weights.items())
        return proto

    def _frame(self) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.base)
        proto.graph.node.extend(self.nodes)
        return proto


def _whole(known: TensorType) -> Shape | None:
    """The dimensions where all of them are known."""
    if known.shape is None or None in known.shape:
        return None
    return tuple(int(dim) for dim in known.shape if dim is not None)


def declare(value: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    """Write the dimensions of an input or output."""
    value.type.tensor_type.shape.CopyFrom(
        onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension(dim_value=size) for size in shape])
    )


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    if not any(name in names for name in (*node.input, *node.output, *outer_names(node))):
        return node
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    _rename(changed, names)
    return changed


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Change the names of tensors in place, in the node's graphs too, but for what they hold themselves."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs(node):
        own = {each.name for each in (*graph.input, *graph.initializer)}
        own |= {name for child in graph.node for name in child.output}
        outer = {old: new for old, new in names.items() if old not in own}
        for child in graph.node:
            _rename(child, outer)
        for value in graph.output:
            value.name = outer.get(value.name, value.name)


def _sorted(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Topological order, the given one where it is one."""
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{producer[name] for name in (*node.input, *outer_names(node)) if name in producer} for node in nodes]
    return [nodes[index] for index in in_order(needs)]


class Edit:
    """One change at one place: nodes that go, nodes that come, with their weights and shapes.

    New nodes are named after the first node that goes. The last one writes what the removed ones wrote, so that nobody
    downstream notices.
    """

    def __init__(self, draft: Draft, remove: Sequence[onnx.NodeProto]) -> None:
        self.draft = draft
        self.remove = tuple(remove)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.types: dict[str, TensorType] = {}
        self.moved: set[str] = set()
        self.rename: list[tuple[str, str]] = []
        self._stem = remove[0].name or remove[0].output[0]
        self._used: set[str] = set()

    @property
    def site(self) -> str:
        """The name of the place in reports."""
        return node_name(self.remove[0])

    def add(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], *, output: str = "", **attributes: Value
    ) -> str:
        """Append a node and return its output, which has `shape`, and the name `output` when one is given."""
        name = self._fresh(op)
        result = output or f"{name}_output_0"
        node = onnx.NodeProto(op_type=op, input=list(inputs), output=[result], name=name)
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        self.types[result] = TensorType(tuple(int(dim) for dim in shape), self._dtype(inputs[0] if inputs else result))
        return result

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str], shape: Sequence[int], *, output: str = "") -> str:
        """Append the operator of `node` with its attributes to other inputs."""
        result = self.add(node.op_type, inputs, shape, output=output)
        self.nodes[-1].attribute.extend(node.attribute)
        return result

    def weight(self, label: str, value: Array, like: str = "") -> str:
        """Store an initializer; floats take the type of the tensor `like`."""
        name = self._fresh(label)
        if value.dtype.kind == "f":
            value = value.astype(self._float_of(like), copy=False)
        # A stand-in for weights that were not read takes no memory, and stays one.
        self.weights[name] = np.ascontiguousarray(value) if any(value.strides) else value
        return name

    def reshape(self, x: str, shape: Sequence[int], *, output: str = "") -> str:
        """A Reshape that may be moved further down; nothing when the shape is that already and no name is asked for."""
        if not output and self.shape(x) == tuple(shape):
            return x
        result = self.add("Reshape", [x, self.weight("shape", np.array(shape, np.int64))], shape, output=output)
        self.moved.add(result)
        return result

    def finish(self, x: str, output: str) -> Edit:
        """Let `output` be what `x` is, the last tensor made, reshaped when its rank differs."""
        shape = self.draft.shape(output) or ()
        if self.shape(x) != shape:
            self.reshape(x, shape, output=output)
        else:
            self.nodes[-1].output[0] = output
            self.types[output] = self.types.pop(x)
        return self

    def shape(self, name: str) -> Shape | None:
        """The shape of an old or a new tensor."""
        return _whole(self.types[name]) if name in self.types else self.draft.shape(name)

    def image(self, name: str) -> tuple[int, int, int, int]:
        """N, C, H, W of an old or a new tensor of which that is known."""
        n, c, h, w = self.shape(name) or ()
        return n, c, h, w

    def _dtype(self, name: str) -> str:
        known = self.types.get(name) or self.draft.types.get(name)
        return known.dtype if known else "float32"

    def _float_of(self, like: str) -> type[np.floating]:
        return _FLOATS.get(self._dtype(like), np.float32) if like else np.float32

    def _fresh(self, label: str) -> str:
        stem = f"{self._stem}/{label}"
        name, number = stem, 0
        while name in self.draft.names or name in self._used:
            number += 1
            name = f"{stem}_{number}"
        self._used.add(name)
        return name


def attribute(node: onnx.NodeProto, name: str, default: Value) -> Value:
    """An attribute's value, or `default`; also where a broken file has a tensor or a graph in its place."""
    given = next((each for each in node.attribute if each.name == name), None)
    kinds = onnx.AttributeProto
    if given is None or given.type not in (kinds.INT, kinds.FLOAT, kinds.STRING, kinds.INTS, kinds.FLOATS):
        return default
    found = onnx.helper.get_attribute_value(given)
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return found if isinstance(found, (int, float)) else list(found)


def ints(node: onnx.NodeProto, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """A list of integers among the attributes."""
    found = attribute(node, name, list(default))
    return tuple(int(each) for each in found) if isinstance(found, list) else tuple(default)


def integer(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer among the attributes."""
    found = attribute(node, name, default)
    return int(found) if isinstance(found, (int, float)) else default


def softmax_axis(node: onnx.NodeProto, opset: int) -> int:
    """The axis of a Softmax; before `SOFTMAX_ON_ONE_AXIS` it means that one and all behind it together."""
    return integer(node, "axis", -1 if opset >= SOFTMAX_ON_ONE_AXIS else 1)


def number(node: onnx.NodeProto, name: str, default: float) -> float:
    """A number among the attributes."""
    found = attribute(node, name, default)
    return float(found) if isinstance(found, (int, float)) else default
