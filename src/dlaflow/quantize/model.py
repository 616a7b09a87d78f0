"""The model as quantisation needs it: with its weights, checked, and with the types of its inner tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.inputs import batch_of, fed_inputs, fix_inputs

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_FLOAT = 1
"""onnx.TensorProto.FLOAT, without importing onnx at start-up."""

_GRAPH, _GRAPHS = 5, 10
"""onnx.AttributeProto.GRAPH and GRAPHS."""

QUANTISED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "ConvInteger",
        "QLinearConv",
        "QLinearMatMul",
    }
)
"""Operators that only quantised models hold."""


_OPSET = 13
"""The first opset whose QuantizeLinear knows an axis."""


@dataclass(frozen=True)
class Graph:
    """An ONNX graph with indices over it.

    `types` maps a tensor to ONNX's element type where shape inference knows it, `constants` holds the names of tensors
    known before run time (initializers, Constant nodes and everything computed from them alone).
    """

    proto: onnx.ModelProto
    producer: Mapping[str, onnx.NodeProto] = field(repr=False)
    consumers: Mapping[str, Sequence[onnx.NodeProto]] = field(repr=False)
    initializers: Mapping[str, onnx.TensorProto] = field(repr=False)
    types: Mapping[str, int] = field(repr=False)
    constants: frozenset[str] = field(repr=False)

    @property
    def inputs(self) -> list[str]:
        """Names of the network's inputs (initializers are not among them)."""
        return [value.name for value in self.proto.graph.input if value.name not in self.initializers]

    @property
    def outputs(self) -> list[str]:
        """Names of the network's outputs."""
        return [value.name for value in self.proto.graph.output]

    def is_activation(self, name: str) -> bool:
        """Whether a tensor holds float values that depend on the input."""
        return bool(name) and name not in self.constants and self.types.get(name) == _FLOAT

    def value(self, name: str) -> NDArray[np.generic] | None:
        """The value of a constant that is stored in the file; None for everything else."""
        from onnx import numpy_helper

        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producer.get(name)
        if node is None or node.op_type != "Constant":
            return None
        for attribute in node.attribute:
            if attribute.name == "value":
                return numpy_helper.to_array(attribute.t)
        return None


def load_onnx(path: str | Path, shapes: Sequence[FixedShape] = ()) -> onnx.ModelProto:
    """Read an ONNX file with its weights; `shapes` fix inputs that it leaves open, the batch too.

    Raises InputError when it cannot be read, is no ONNX file or is damaged, UsageError for a shape that does not fit.
    """
    import onnx

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", then="Check the path.") from None
    except Exception as error:  # protobuf's and the checker's errors share no base
        reason = next(iter(str(error).strip().splitlines()), "cannot be decoded")
        raise InputError(
            f"{path} is not a usable model", expected="a valid ONNX file", received=reason, then="Export it again."
        ) from None
    if not model.graph.node:
        raise InputError(f"{path} is not a usable model", expected="at least one node", received="none")
    if shapes:
        fix_inputs(model.graph, batch_of(model.graph, None, shapes), shapes)
    return model


def index(model: onnx.ModelProto) -> Graph:
    """Index a model; names that shape inference cannot type are left out of `types`."""
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    producer: dict[str, onnx.NodeProto] = {}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    constants = set(initializers)
    for node in graph.node:
        for name in node.output:
            producer[name] = node
        for name in node.input:
            consumers.setdefault(name, []).append(node)
        known = all(name in constants or not name for name in node.input)
        if known and not node.op_type.startswith("Random") and not has_graph(node):
            constants.update(node.output)
    return Graph(model, producer, consumers, initializers, _element_types(model), frozenset(constants))


def has_graph(node: onnx.NodeProto) -> bool:
    """Whether a node holds a graph of its own (If, Loop, Scan), which may read more than the inputs tell."""
    return any(attribute.type in {_GRAPH, _GRAPHS} for attribute in node.attribute)


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(_without_weights(model)).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large initializers became typed inputs: shape inference then copies kilobytes, not the model."""
    import onnx

    slim = onnx.ModelProto()
    slim.ir_version = model.ir_version
    slim.opset_import.extend(model.opset_import)
    slim.functions.extend(model.functions)
    slim.graph.name = model.graph.name
    slim.graph.node.extend(model.graph.node)
    slim.graph.output.extend(model.graph.output)
    slim.graph.value_info.extend(model.graph.value_info)
    named = {value.name for value in model.graph.input}
    slim.graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if tensor.ByteSize() < 4096:
            slim.graph.initializer.append(tensor)
        elif tensor.name not in named:
            slim.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return slim


def input_shape(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """The dimensions of the first input behind the batch; None for open ones."""
    inputs = fed_inputs(model.graph)
    if not inputs:
        raise InputError("the model has no input", expected="one float32 input")
    dims = inputs[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value or None for dim in dims[1:])


def for_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset and a file version that Q/DQ nodes and new constants can be put into; it may be changed.

    Raises InputError when the opset cannot be raised.
    """
    import onnx

    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), _OPSET)
    # Before file version 4 every constant had to be an input too.
    model.ir_version = max(model.ir_version, 4)
    if version >= _OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model's opset cannot be raised to {_OPSET}",
            expected=f"opset {_OPSET} or later",
            received=f"{version}: {reason}",
        ) from None
