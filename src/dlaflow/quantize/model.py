"""An index over a model: who makes a tensor, who reads it, and of which type it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.graph.inference import infer_shapes
from dlaflow.graph.inline import all_nodes
from dlaflow.graph.inputs import dims_of, fed_inputs
from dlaflow.graph.load import stored_tensors, without_weights
from dlaflow.quantize.feed import NetworkInput

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_FLOAT = 1
"""onnx.TensorProto.FLOAT, without importing onnx at start-up."""

_GRAPH, _GRAPHS = 5, 10
"""onnx.AttributeProto.GRAPH and GRAPHS."""

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
QUANTISED = QDQ | {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"}
"""Operators that only quantised models hold."""


_OPSET = 13
"""The first opset whose QuantizeLinear knows an axis."""

HALF_SCALES = 19
"""The first opset whose QuantizeLinear takes float16 scales."""


@dataclass(frozen=True)
class Graph:
    """An ONNX graph with indices over it.

    `stored` are the initializers and the tensors of Constant nodes, by the names that nodes take them by.
    `types` maps a tensor to ONNX's element type where shape inference knows it, `constants` holds the names of tensors
    known before run time (initializers, Constant nodes and everything computed from them alone), `ranks` the number of
    dimensions where it is known.
    """

    proto: onnx.ModelProto
    producer: Mapping[str, onnx.NodeProto] = field(repr=False)
    consumers: Mapping[str, Sequence[onnx.NodeProto]] = field(repr=False)
    stored: Mapping[str, onnx.TensorProto] = field(repr=False)
    types: Mapping[str, int] = field(repr=False)
    constants: frozenset[str] = field(repr=False)
    ranks: Mapping[str, int] = field(repr=False)

    @property
    def inputs(self) -> list[str]:
        """Names of the network's inputs (initializers are not among them)."""
        return [value.name for value in self.proto.graph.input if value.name not in self.stored]

    @property
    def outputs(self) -> list[str]:
        """Names of the network's outputs."""
        return [value.name for value in self.proto.graph.output]

    def is_activation(self, name: str) -> bool:
        """Whether a tensor holds float values that depend on the input."""
        return bool(name) and name not in self.constants and self.types.get(name) == _FLOAT

    def read_once(self, name: str) -> bool:
        """Whether one operand alone takes a tensor, and nothing outside the network sees it."""
        return len(self.consumers.get(name, ())) == 1 and name not in self.outputs

    def value(self, name: str) -> NDArray[np.generic] | None:
        """The value of a constant that is stored in the file; None for everything else."""
        from onnx import numpy_helper

        tensor = self.stored.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)


def index(model: onnx.ModelProto) -> Graph:
    """Index a model; names that shape inference cannot type are left out of `types`."""
    graph = model.graph
    stored = dict(reversed(list(stored_tensors(graph))))  # the outer graph's come first, and hold
    producer: dict[str, onnx.NodeProto] = {}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for name in node.output:
            producer[name] = node
        for name in node.input:
            consumers.setdefault(name, []).append(node)
        known = all(name in constants or not name for name in node.input)
        if known and not node.op_type.startswith("Random") and not has_graph(node):
            constants.update(node.output)
    types, ranks = _types_and_ranks(model)
    return Graph(model, producer, consumers, stored, types, frozenset(constants), ranks)


def has_qdq(model: onnx.ModelProto) -> bool:
    """Whether a model holds scales of its own."""
    return any(node.op_type in QDQ for node in model.graph.node)


def opset_of(model: onnx.ModelProto, domain: str = "") -> int:
    """The opset of a domain that the model imports; 0 when it imports none."""
    same = {"", "ai.onnx"} if domain in {"", "ai.onnx"} else {domain}
    return max((entry.version for entry in model.opset_import if entry.domain in same), default=0)


def add_constant(model: onnx.ModelProto, name: str, value: NDArray[np.generic] | np.generic) -> str:
    """Store an initializer; its name."""
    import numpy as np
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def has_graph(node: onnx.NodeProto) -> bool:
    """Whether a node holds a graph of its own (If, Loop, Scan), which may read more than the inputs tell."""
    return any(attribute.type in {_GRAPH, _GRAPHS} for attribute in node.attribute)


def _types_and_ranks(model: onnx.ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    inferred = infer_shapes(without_weights(model), {}, Path("the model")).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    types = found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return types, {value.name: len(dims) for value in values if (dims := dims_of(value)) is not None}


def drop_unused_constants(model: onnx.ModelProto) -> None:
    """Remove the weights that no node reads any more, also from the inputs, where older files list them too."""
    used = {name for node, _ in all_nodes(model.graph.node) for name in node.input}
    used |= {value.name for value in model.graph.output}
    for node in [each for each in model.graph.node if each.op_type == "Constant" and each.output[0] not in used]:
        model.graph.node.remove(node)
    dropped = {tensor.name for tensor in model.graph.initializer} - used
    for listed in (model.graph.initializer, model.graph.input):
        for place in reversed(range(len(listed))):
            if listed[place].name in dropped:
                del listed[place]


def network_inputs(model: onnx.ModelProto) -> tuple[NetworkInput, ...]:
    """What has to be fed. Raises InputError for a model without inputs, or with one that is no tensor of numbers."""
    from onnx.helper import tensor_dtype_to_np_dtype

    found = []
    for value in fed_inputs(model.graph):
        dims = dims_of(value) or ()
        try:
            dtype = tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        except KeyError:
            raise InputError(f"input {value.name!r} cannot be fed", expected="a tensor of numbers") from None
        found.append(NetworkInput(value.name, dims[1:], dtype.name, dims[0] if dims else None))
    if not found:
        raise InputError("the model has no input", expected="one float32 input")
    return tuple(found)


def for_qdq(model: onnx.ModelProto, opset: int = _OPSET) -> onnx.ModelProto:
    """The model in an opset and a file version that Q/DQ nodes and new constants can be put into; it may be changed.

    Raises InputError when the opset cannot be raised to `opset`.
    """
    import onnx

    version = opset_of(model) or opset
    # Before file version 4 every constant had to be an input too.
    model.ir_version = max(model.ir_version, 9 if opset >= HALF_SCALES else 4)
    if version >= opset:
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model's opset cannot be raised to {opset}",
            expected=f"opset {opset} or later",
            received=f"{version}: {reason}",
        ) from None
