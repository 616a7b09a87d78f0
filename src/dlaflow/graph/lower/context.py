"""The network while it is being built: what each ONNX tensor is bound to, and the layers so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError
from dlaflow.graph.layer import Attributes, Cast, Dims, Layer, Tensor, layer_macs
from dlaflow.graph.lower.naming import Names, conversions, node_name, place_of, shared_places, unnamed
from dlaflow.graph.lower.release import Parser
from dlaflow.graph.lower.sizes import marked, plain

if TYPE_CHECKING:
    import onnx

    from dlaflow.graph.load import Model
    from dlaflow.graph.shapes import Shapes


SHAPE_CONSTANT = "ONNXTRT_ShapeTensorFromDims"
_LOOP_KINDS = frozenset({"RECURRENCE", "ITERATOR", "TRIP_LIMIT", "LOOP_OUTPUT", "CONDITION", "CONDITIONAL_OUTPUT"})


@dataclass(frozen=True, slots=True)
class Operand:
    """What an ONNX tensor is to the parser: a network tensor, or weights that have no layer yet."""

    tensor: Tensor
    weights: bool = False


Outputs = Tensor | Operand | Sequence[Tensor | Operand]
"""What the outputs of a node are: its first one, or as many as the parser makes."""


class NodeAttributes:
    """The attributes of one node; a missing one gives the default."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._all = {attribute.name: attribute for attribute in node.attribute}

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self._all[name].i) if name in self._all else default

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self._all[name].f) if name in self._all else default

    def text(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return self._all[name].s.decode("utf-8", "replace") if name in self._all else default

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when it is absent."""
        if name not in self._all:
            return ()
        return tuple(value.decode("utf-8", "replace") for value in self._all[name].strings)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None when it is absent."""
        return tuple(int(value) for value in self._all[name].ints) if name in self._all else None

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, None when it is absent."""
        return tuple(float(value) for value in self._all[name].floats) if name in self._all else None

    def graph(self, name: str) -> onnx.GraphProto | None:
        """A subgraph, None when it is absent."""
        return self._all[name].g if name in self._all else None


@dataclass(slots=True)
class Draft:
    """A layer whose outputs may still be renamed."""

    index: int
    name: str
    kind: str
    op: str
    node: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    attributes: Attributes | None
    weight_elements: int = 0


class Context:
    """Hands importers the node's inputs and takes their layers."""

    def __init__(self, model: Model, shapes: Shapes, parsed: Shapes | None, parser: Parser) -> None:
        self.model = model
        self.shapes = shapes
        self.parsed = parsed
        self.parser = parser
        self.names = Names()
        self.drafts: list[Draft] = []
        self.unknown_ops: list[str] = []
        self.initializers = frozenset(tensor.name for tensor in model.proto.graph.initializer)
        self._bound: dict[str, Operand] = {}
        self._constants: dict[str, Tensor] = {}
        self.placeholders = shared_places(model.tensors.values())
        self.misread: set[str] = set()
        """Tensors whose shape to the parser is not the one that ONNX gives them."""
        self._nested = 0
        self.local: dict[str, Tensor] = {}
        self.local_values: dict[str, np.ndarray | None] = {}
        self.importer: Callable[[onnx.NodeProto], None]
        self.start_nothing()

    def start(self, node: onnx.NodeProto) -> None:
        """Begin a node: what is emitted from here on belongs to it."""
        self.node = node
        self.attributes = NodeAttributes(node)
        self._first_draft = len(self.drafts)
        self._own_shapes = self.reads_misread

    def start_nothing(self) -> None:
        """What follows belongs to no node."""
        import onnx

        self.start(onnx.NodeProto())

    def misreads(self) -> None:
        """Note that the parser understands the node otherwise than ONNX does: its shapes are the importer's."""
        self._own_shapes = True

    @property
    def reads_misread(self) -> bool:
        """Whether an input of the node has another shape to the parser than ONNX gives it."""
        return not self.misread.isdisjoint(self.node.input)

    @property
    def node_name(self) -> str:
        """The node's name, or the one that the parser makes up for it."""
        return node_name(self.node)

    def bind(self, name: str, operand: Operand) -> None:
        """Note what an ONNX tensor is."""
        self._bound[name] = operand

    def bound(self, name: str) -> Operand:
        """What an ONNX tensor is. Raises InputError when nothing produced it."""
        found = self._bound.get(name)
        if found is None:
            raise InputError(f"{self.model.path}: nothing produces {name!r}, used by node {self.node_name!r}")
        return found

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A subgraph: its names vanish afterwards, and the outer node goes on."""
        outer = self.node, self.attributes, self._first_draft, self._own_shapes, dict(self._bound)
        local = dict(self.local), dict(self.local_values)
        self._nested += 1
        yield
        self._nested -= 1
        self.node, self.attributes, self._first_draft, self._own_shapes, self._bound = outer
        self.local, self.local_values = local

    def is_absent(self, index: int) -> bool:
        """Whether the node lacks this optional input."""
        return index >= len(self.node.input) or not self.node.input[index]

    def operand(self, index: int) -> Operand:
        """An input of the node. Raises InputError when the node does not have that many."""
        if self.is_absent(index):
            raise InputError(
                f"{self.model.path}: node {self.node_name!r} ({self.node.op_type}) lacks its input {index}",
                then="The file is broken; export the model again.",
            )
        return self.bound(self.node.input[index])

    @property
    def further_name(self) -> str | None:
        """How a node's further layers are called: None (after the node) in the newest releases, "" (not) before."""
        return None if self.parser.names_every_layer else ""

    def reserve(self) -> str:
        """A unique name for weights that the parser makes up, or "" where it leaves them unnamed."""
        return self.names.tensor("tmp_weight") if self.parser.names_temporaries else ""

    def converts(self, tensor: onnx.TensorProto) -> None:
        """Take the names that the parser uses up when it brings ONNX weights into a type of its own."""
        if self.parser.names_conversions:
            elsewhere = tensor.data_location == 1 and place_of(tensor) not in self.placeholders
            for _ in range(conversions(tensor, elsewhere=elsewhere)):
                self.names.tensor("tmp_weight")

    def tensor(self, index: int) -> Tensor:
        """An input as a network tensor; weights get a CONSTANT layer."""
        return self.as_tensor(self.operand(index))

    def tensors(self) -> list[Tensor]:
        """All inputs that the node has, as network tensors."""
        return [self.tensor(index) for index in range(len(self.node.input)) if not self.is_absent(index)]

    def as_tensor(self, operand: Operand) -> Tensor:
        """A network tensor for an operand; weights get a CONSTANT layer named after them."""
        if not operand.weights:
            return operand.tensor
        made = self._constants.get(operand.tensor.name)
        if made is not None and self.parser.shares_constants:
            return made
        shape = operand.tensor.shape or ()
        if operand.tensor.dtype == "bool" and not self.parser.bool_constants:
            self.reserve()
            made = self.constant(shape, "int32")
            return self.emit("IDENTITY", [made], shape, Cast("bool"), name="", dtype="bool")
        made = self.constant(shape, operand.tensor.dtype, name=operand.tensor.name)
        self._constants[operand.tensor.name] = made
        return made

    def has_layer(self, operand: Operand) -> bool:
        """Whether an operand stands in the network already; weights may not."""
        return not operand.weights or operand.tensor.name in self._constants

    def shape(self, index: int) -> Dims | None:
        """The shape of an input."""
        return self.operand(index).tensor.shape

    def value(self, index: int) -> np.ndarray | None:
        """The value of an input when it is known before run time; large weights are read from the file here."""
        if self.is_absent(index):
            return None
        return self.value_of(self.node.input[index])

    def value_of(self, name: str) -> np.ndarray | None:
        """The value of an ONNX tensor when it is known before run time."""
        if name in self.local:
            return self.local_values.get(name)
        known = self.shapes.values.get(name)
        if known is not None:
            return known
        if name not in self.model.tensors:
            return None
        try:
            return self.model.initializer(name)
        except InputError:
            if self.model.tensors[name].data_location == 1:
                return None  # a graph without its weights
            raise

    def integers(self, index: int) -> tuple[int, ...] | None:
        """A known integer input as a flat tuple, None when it is absent or not known."""
        value = self.value(index)
        return None if value is None else tuple(int(entry) for entry in value.reshape(-1))

    def output(self, index: int = 0) -> Tensor:
        """The ONNX output as inference knows it."""
        name = self.node.output[index] if index < len(self.node.output) else ""
        return self.inferred(name)

    def inferred(self, name: str) -> Tensor:
        """An ONNX tensor as inference knows it, with the dimensions open that the parser did not know."""
        if name in self.local:
            return self.local[name]
        known = self.shapes.type_of(name)
        shape = known.shape if self.parsed is None else marked(known.shape, self.parsed.type_of(name).shape)
        return Tensor(name, shape, known.dtype, name in self.shapes.values)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Dims | None,
        attributes: Attributes | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> Tensor:
        """Add a layer with one output. Without `name` it is called after the node; "" leaves it unnamed."""
        index = len(self.drafts)
        base = self.node_name if name is None else name
        label = self.names.layer(base) if base else unnamed(index, kind)
        constant = kind == "CONSTANT" or _is_constant(kind, inputs)
        own = label if self.parser.tensors_follow_layers else unnamed(index, kind)
        out = Tensor(f"{own}_output", shape, dtype or (inputs[0].dtype if inputs else ""), constant)
        self.drafts.append(
            Draft(index, label, kind, self.node.op_type, self.node_name, list(inputs), [out], attributes)
        )
        return out

    def emit_last(self, kind: str, data: Tensor) -> None:
        """Add a layer without an output, which only steers a loop or compares."""
        self.emit(kind, [data], (), name="")
        self.drafts[-1].outputs.clear()

    def helper(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Dims | None,
        attributes: Attributes | None,
        name: str,
        *,
        dtype: str | None = None,
    ) -> Tensor:
        """Add a layer that the parser needs for itself: named in newer releases only."""
        label = name if self.parser.names_helpers else ""
        return self.emit(kind, inputs, shape, attributes, name=label, dtype=dtype)

    def cast(self, data: Tensor, dtype: str) -> Tensor:
        """The parser's own cast: CAST, or IDENTITY before 9.0."""
        kind = "CAST" if self.parser.cast_helpers else "IDENTITY"
        return self.helper(kind, [data], data.shape, Cast(dtype), "ONNXTRT_castHelper", dtype=dtype)

    def constant(self, shape: Dims, dtype: str = "float32", name: str = "") -> Tensor:
        """Add a CONSTANT layer; without a name it stays unnamed, though its weights use up a name."""
        if self.parser.names_temporaries and name in ("", SHAPE_CONSTANT):
            self.names.tensor("tmp_weight")
        made = self.emit("CONSTANT", (), shape, name=name, dtype=dtype)
        size = int(np.prod([extent or 0 for extent in shape])) if shape else 1
        self.drafts[-1].weight_elements = size
        return made

    def rename(self, draft: Draft, made: Tensor) -> Tensor:
        """Name a layer after the node once what it takes in has its names; hands back its output."""
        return self.rename_layer(draft, self.names.layer(self.node_name)) if draft.outputs else made

    def maker(self, tensor: Tensor) -> Draft:
        """The layer that makes a tensor."""
        return next(draft for draft in reversed(self.drafts) if any(out is tensor for out in draft.outputs))

    def replace(self, old: Tensor, new: Tensor, first: int = 0) -> Tensor:
        """Put a tensor in place of another one, in the layers from the number `first` on."""
        for draft in self.drafts[first:]:
            draft.inputs = [new if tensor is old else tensor for tensor in draft.inputs]
            draft.outputs = [new if tensor is old else tensor for tensor in draft.outputs]
        return new

    def rename_layer(self, draft: Draft, label: str) -> Tensor:
        """Name a layer after the fact, and its output with it where tensors follow their layers."""
        draft.name = label
        if self.parser.tensors_follow_layers:
            draft.outputs = [replace(draft.outputs[0], name=f"{label}_output")]
        return draft.outputs[0]

    def add_output(self, shape: Dims | None, dtype: str) -> Tensor:
        """Give the layer that was added last one more output."""
        outputs = self.drafts[-1].outputs
        number = f" ({len(outputs)})" if self.parser.tensors_follow_layers else f"_{len(outputs)}"
        outputs.append(Tensor(outputs[0].name + number, shape, dtype, outputs[0].constant))
        return outputs[-1]

    def holds(self, elements: int) -> None:
        """Note how many weights the layer that was added last holds itself."""
        self.drafts[-1].weight_elements = elements

    def finish(self, outputs: Outputs) -> None:
        """Bind the node's outputs; the tensors take ONNX's names, and inferred shapes where those are known.

        An output that the parser does not make becomes one more of the node's last layer, as a tensor without a maker
        would have no place in the network.
        """
        results = [outputs] if isinstance(outputs, (Tensor, Operand)) else outputs
        for index, name in enumerate(self.node.output):
            if not name:
                continue
            if index >= len(results):
                self._bind_extra(index)
            elif isinstance(result := results[index], Operand):
                self.bind(name, self.named(result, name))
            else:
                self.bind(name, Operand(self._rename(result, index)))

    def _bind_extra(self, index: int) -> None:
        known = self.output(index)
        if len(self.drafts) > self._first_draft:
            self.drafts[-1].outputs.append(known)
        self.bind(known.name, Operand(known))

    def named(self, operand: Operand, name: str) -> Operand:
        """Register an operand as `name`; weights are called so from here on, in a subgraph by a name of their own."""
        unique = self.names.tensor(name)
        if not operand.weights:
            return operand
        return Operand(replace(operand.tensor, name=unique if self._nested else name), weights=True)

    def _rename(self, result: Tensor, index: int) -> Tensor:
        known = self.output(index)
        self.names.tensor(known.name)
        if not any(out is result for draft in self.drafts[self._first_draft :] for out in draft.outputs):
            return result
        shape = self._best_known_shape(known, result)
        if shape != known.shape and known.shape is not None:
            self.misread.add(known.name)
        final = replace(
            result,
            name=known.name,
            shape=shape,
            dtype=known.dtype or result.dtype,
            constant=result.constant or known.constant,
        )
        return self.replace(result, final, self._first_draft)

    def _best_known_shape(self, known: Tensor, result: Tensor) -> Dims | None:
        """The shape as inference knows it, then the importer's, then what the exporter wrote down."""
        if self._own_shapes and result.shape is not None:
            return result.shape
        computed = result.shape is not None and None not in result.shape
        if known.shape is None or (computed and known.name in self.shapes.only_declared):
            return result.shape
        if result.shape is None or len(result.shape) != len(known.shape):
            return known.shape
        pairs = zip(known.shape, result.shape, strict=True)
        return tuple(inferred if inferred is not None else own for inferred, own in pairs)

    def layers(self) -> tuple[Layer, ...]:
        """The layers in network order, but each one behind what it reads."""
        return tuple(_finished(draft) for draft in _behind_what_they_read(self.drafts))


Importer = Callable[[Context], Outputs]
"""What adds the layers of one node, and hands back what its outputs are."""


def _is_constant(kind: str, inputs: Sequence[Tensor]) -> bool:
    """Whether a layer's result is known before run time."""
    if kind in _LOOP_KINDS or not inputs:
        return False
    if kind == "SHAPE":
        shape = inputs[0].shape
        return inputs[0].constant or (shape is not None and None not in shape)
    return all(tensor.constant for tensor in inputs)


def _finished(draft: Draft) -> Layer:
    layer = Layer(
        draft.index,
        draft.name,
        draft.kind,
        draft.op,
        (draft.node,) if draft.node else (),
        tuple(closed(tensor) for tensor in draft.inputs),
        tuple(closed(tensor) for tensor in draft.outputs),
        draft.attributes,
        folded=_is_folded(draft),
        weight_elements=draft.weight_elements,
    )
    return replace(layer, macs=layer_macs(layer))


def _is_folded(draft: Draft) -> bool:
    if draft.kind == "ASSERTION":
        return True  # a comparison of sizes, made before the run
    if draft.kind == "CONDITION":
        return all(tensor.constant for tensor in draft.inputs)
    return bool(draft.outputs) and all(tensor.constant for tensor in draft.outputs)


def closed(tensor: Tensor) -> Tensor:
    """The tensor with ordinary integers for dimensions."""
    return (
        tensor if all(type(size) is int for size in tensor.shape or ()) else replace(tensor, shape=plain(tensor.shape))
    )


def _behind_what_they_read(drafts: Sequence[Draft]) -> list[Draft]:
    """The parser adds a layer and then those that compute its size: these move in front of it, all else stays.

    What a loop hands back to its own start, the second input of a RECURRENCE, comes from behind.
    """
    makers = {tensor.name: draft for draft in drafts for tensor in draft.outputs}
    ordered: list[Draft] = []
    begun: set[int] = set()
    for first in drafts:
        path = [(first, _read(first))] if first.index not in begun else []
        begun.add(first.index)
        while path:
            draft, inputs = path[-1]
            found = (makers[tensor.name] for tensor in inputs if tensor.name in makers)
            maker = next((each for each in found if each.index not in begun), None)
            if maker is None:
                ordered.append(draft)
                path.pop()
            else:
                begun.add(maker.index)
                path.append((maker, _read(maker)))
    return ordered


def _read(draft: Draft) -> Iterator[Tensor]:
    return iter(draft.inputs[:1] if draft.kind == "RECURRENCE" else draft.inputs)
