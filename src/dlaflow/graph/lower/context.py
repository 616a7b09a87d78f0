"""The network while it is being built: what each ONNX tensor is bound to, and the layers so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.errors import InputError
from dlaflow.graph.layer import Attributes, Cast, Dims, Layer, Tensor
from dlaflow.graph.lower.attributes import NodeAttributes
from dlaflow.graph.lower.draft import Draft, finished, is_constant
from dlaflow.graph.lower.naming import Names, unnamed
from dlaflow.graph.lower.release import Parser
from dlaflow.graph.lower.sizes import marked
from dlaflow.graph.lower.weights import conversions, place_of, shared_places

if TYPE_CHECKING:
    import onnx

    from dlaflow.graph.load import Model
    from dlaflow.graph.shapes import Shapes


SHAPE_CONSTANT = "ONNXTRT_ShapeTensorFromDims"


@dataclass(frozen=True, slots=True)
class Operand:
    """What an ONNX tensor is to the parser: a network tensor, or weights that have no layer yet."""

    tensor: Tensor
    weights: bool = False


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
        self.node: onnx.NodeProto = _nothing()
        self.attributes = NodeAttributes(self.node)
        self._bound: dict[str, Operand] = {}
        self._constants: dict[str, Tensor] = {}
        self.placeholders = shared_places(model.tensors.values())
        self._first_draft = 0
        self._own_shapes = False
        self.misread: set[str] = set()
        """Tensors whose shape to the parser is not the one that ONNX gives them."""
        self._nested = 0
        self.local: dict[str, Tensor] = {}
        self.local_values: dict[str, np.ndarray | None] = {}
        self.importer: Callable[[onnx.NodeProto], None]

    def start(self, node: onnx.NodeProto) -> None:
        """Begin a node: what is emitted from here on belongs to it."""
        self.node = node
        self.attributes = NodeAttributes(node)
        self._first_draft = len(self.drafts)
        self._own_shapes = self.reads_misread

    def start_nothing(self) -> None:
        """What follows belongs to no node."""
        self.start(_nothing())

    def misreads(self) -> None:
        """Say that the parser understands the node otherwise than ONNX does: its shapes are the importer's."""
        self._own_shapes = True

    @property
    def reads_misread(self) -> bool:
        """Whether an input of the node has another shape to the parser than ONNX gives it."""
        return any(name in self.misread for name in self.node.input)

    @property
    def node_name(self) -> str:
        """The node's name, or the one that the parser makes up for it."""
        if self.node.name or not self.node.output:
            return str(self.node.name)
        return f"node_of_{self.node.output[0]}"

    def bind(self, name: str, operand: Operand) -> None:
        """Say what an ONNX tensor is."""
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

    def reserve(self, base: str = "tmp_weight") -> str:
        """A unique name for weights that the parser makes up, or "" where it leaves them unnamed."""
        return self.names.tensor(base) if self.parser.names_temporaries else ""

    def converts(self, tensor: onnx.TensorProto) -> None:
        """Take the names that the parser uses up when it brings ONNX weights into a type of its own."""
        if self.parser.names_conversions:
            elsewhere = tensor.data_location == 1 and place_of(tensor) not in self.placeholders
            for _ in range(conversions(tensor, elsewhere=elsewhere)):
                self.names.tensor("tmp_weight")

    def tensor(self, index: int) -> Tensor:
        """An input as a network tensor; weights get a CONSTANT layer."""
        return self.as_tensor(self.operand(index))

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

    def rank(self, index: int) -> int | None:
        """The rank of an input, None when unknown."""
        shape = self.shape(index)
        return None if shape is None else len(shape)

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
        constant = kind == "CONSTANT" or is_constant(kind, inputs)
        own = label if self.parser.tensors_follow_layers else unnamed(index, kind)
        out = Tensor(f"{own}_output", shape, dtype or (inputs[0].dtype if inputs else ""), constant)
        self.drafts.append(
            Draft(index, label, kind, self.node.op_type, self.node_name, list(inputs), [out], attributes)
        )
        return out

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

    def reshape_output(self, made: Tensor, shape: Dims | None) -> Tensor:
        """Say what shape the output of a layer has."""
        final = replace(made, shape=shape)
        for draft in reversed(self.drafts):
            if any(out is made for out in draft.outputs):
                draft.outputs = [final if out is made else out for out in draft.outputs]
                break
        return final

    def rename_layer(self, draft: Draft, label: str) -> Tensor:
        """Name a layer after the fact, and its output with it where tensors follow their layers."""
        draft.name = label
        if self.parser.tensors_follow_layers:
            draft.outputs = [replace(draft.outputs[0], name=f"{label}_output")]
        return draft.outputs[0]

    def further(self, first: Tensor, index: int) -> str:
        """The name of another output of the layer whose first one is `first`."""
        return f"{first.name} ({index})" if self.parser.tensors_follow_layers else f"{first.name}_{index}"

    def add_outputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Give the layer that was added last more outputs."""
        self.drafts[-1].outputs.extend(tensors)
        return tensors

    def holds(self, elements: int) -> None:
        """Say how many weights the layer that was added last holds itself."""
        self.drafts[-1].weight_elements = elements

    def finish(self, *results: Tensor | Operand) -> None:
        """Bind the node's outputs; the tensors take ONNX's names, and inferred shapes where those are known.

        An output that the parser does not make becomes one more of the node's last layer, as a tensor without a maker
        would have no place in the network.
        """
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
        mine = self.drafts[self._first_draft :]
        known = self.output(index)
        self.names.tensor(known.name)
        if not any(out is result for draft in mine for out in draft.outputs):
            return result
        shape = self._settled(known, result)
        if shape != known.shape and known.shape is not None:
            self.misread.add(known.name)
        final = replace(
            result,
            name=known.name,
            shape=shape,
            dtype=known.dtype or result.dtype,
            constant=result.constant or known.constant,
        )
        for draft in mine:
            draft.inputs = [final if tensor is result else tensor for tensor in draft.inputs]
            draft.outputs = [final if tensor is result else tensor for tensor in draft.outputs]
        return final

    def _settled(self, known: Tensor, result: Tensor) -> Dims | None:
        """Inference's word on a shape, then the importer's, then what the exporter wrote down."""
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
        return finished(self.drafts)


def _nothing() -> onnx.NodeProto:
    """What layers belong to that no node asked for."""
    import onnx

    return onnx.NodeProto()
