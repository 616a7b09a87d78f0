"""How large the tensors of a model may be, checked before anything is computed from their sizes.

A few bytes can announce any size: a Range to 10^12, a list that doubles forty times, four thousand new axes. onnx's
shape inference keeps every value of a list and every axis of a shape, so such a file would take all memory there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.graph.inline import subgraphs
from dlaflow.graph.tensor_type import elem_name

if TYPE_CHECKING:
    import numpy as np
    import onnx

TENSOR_ELEMENTS = 1 << 40
"""A tensor of more elements fits no Jetson and no DRIVE board: it would be a terabyte at a byte an element."""
MAX_RANK = 1_000
"""Axes of a tensor. TensorRT takes 8; what has more is refused by its rules, but a thousand are no network's."""
LIST_LENGTH = 1_000_000
"""Values of a list that the model computes shapes with; real ones have a handful, index tables some ten thousand."""
LONG_LIST = 1 << 22
"""From this length on, inference must not keep a one-dimensional tensor value by value (about 40 bytes each)."""

_OF_UNKNOWN_RANK = 8
_KEEPS_LISTS = frozenset({"Add", "Cast", "Gather", "Identity", "Mul", "Slice", "Squeeze", "Sub", "Unsqueeze"})
"""Operators whose results inference keeps value by value when it knows those of the inputs (Concat adds them up)."""
_INTEGERS = (6, 7)  # TensorProto.INT32 and INT64


@dataclass(frozen=True, slots=True)
class _Most:
    """At most so many axes, and so many values where it is a list."""

    rank: int = _OF_UNKNOWN_RANK
    length: int = 1


def check_elements(dims: Iterable[int | None], name: str, source: Path) -> None:
    """Raise InputError for a shape with more elements than any board could hold."""
    known = [size for size in dims if size is not None]
    if 0 in known or prod(known) <= TENSOR_ELEMENTS:
        return
    raise InputError(
        f"{source}: tensor {name!r} would hold too many elements",
        expected=f"at most 2^40 ({TENSOR_ELEMENTS:,}), a terabyte at a byte each",
        received="x".join(map(str, known[:8])) + ("..." if len(known) > 8 else ""),
        then="Check the shapes and the batch.",
    )


def check_tensor(tensor: onnx.TensorProto, source: Path) -> None:
    """Raise InputError for a stored tensor whose type or dimensions cannot be."""
    if not elem_name(tensor.data_type):
        raise InputError(
            f"{source}: tensor {tensor.name!r} has an element type that ONNX does not know",
            expected="a TensorProto.DataType",
            received=tensor.data_type,
            then="The file is broken, or a newer onnx is needed.",
        )
    if min(tensor.dims, default=0) < 0:
        received = "x".join(map(str, tensor.dims))
        raise InputError(f"{source}: tensor {tensor.name!r} has a negative dimension", received=received)
    check_elements(tensor.dims, tensor.name, source)


def check_growth(graph: onnx.GraphProto, source: Path) -> None:
    """Raise InputError when lists or ranks could grow beyond what inference should be asked to keep."""
    _walk(graph, {}, source)


def _walk(graph: onnx.GraphProto, known: dict[str, _Most], source: Path) -> None:
    """Bound the rank and the length of every node's outputs by those of its inputs."""
    known |= {value.name: _Most(len(value.type.tensor_type.shape.dim) or _OF_UNKNOWN_RANK) for value in graph.input}
    for tensor in graph.initializer:
        known[tensor.name] = _of_tensor(tensor)
    for node in graph.node:
        for inner in subgraphs(node):
            _walk(inner, known, source)
        most = _most(node, [known.get(name, _Most()) for name in node.input])
        if most.rank > MAX_RANK or most.length > LIST_LENGTH:
            raise InputError(
                f"{source}: what node {_label(node)} ({node.op_type}) makes is too large for a network's shapes",
                expected=f"at most {MAX_RANK:,} axes, and {LIST_LENGTH:,} values in a list that shapes come from",
                received=f"{most.rank:,} axes" if most.rank > MAX_RANK else f"{most.length:,} values",
                then="Export the model again.",
            )
        known |= dict.fromkeys(node.output, most)


def _label(node: onnx.NodeProto) -> str:
    return repr(node.name or next(iter(node.output), ""))


def _of_tensor(tensor: onnx.TensorProto) -> _Most:
    rank = len(tensor.dims)
    return _Most(rank, prod(tensor.dims) if rank <= 1 and tensor.data_type in _INTEGERS else 1)


def _most(node: onnx.NodeProto, inputs: list[_Most]) -> _Most:
    """The bound on what the node makes."""
    rank = max((one.rank for one in inputs), default=_OF_UNKNOWN_RANK)
    length = max((one.length for one in inputs), default=1)
    match node.op_type:
        case "Constant":
            return max((_of_attribute(each) for each in node.attribute), key=lambda most: most.length, default=_Most())
        case "Shape":
            return _Most(1, rank)
        case "Concat":
            return _Most(rank, sum(one.length for one in inputs))
        case "Unsqueeze" if inputs:
            return _Most(inputs[0].rank + _listed(node, inputs, 1), length)
        case "Squeeze" if inputs:
            return _Most(max(0, inputs[0].rank - _listed(node, inputs, 1)), length)
        case "Reshape" if inputs:
            return _Most(_listed(node, inputs, 1))
        case "Expand":
            return _Most(max(rank, _listed(node, inputs, 1)))
        case "ConstantOfShape":
            return _Most(_listed(node, inputs, 0))
        case "Gather" if len(inputs) == 2:
            return _Most(max(inputs[0].rank, inputs[0].rank + inputs[1].rank - 1), inputs[1].length)
    return _Most(rank, length if node.op_type in _KEEPS_LISTS else 1)


def _listed(node: onnx.NodeProto, inputs: list[_Most], index: int) -> int:
    """How many axes or sizes a node lists, as an attribute or as the input of that index."""
    own = [len(each.ints) for each in node.attribute if each.name in {"axes", "shape"}]
    return max([*own, *(one.length for one in inputs[index : index + 1])], default=1)


def _of_attribute(attribute: onnx.AttributeProto) -> _Most:
    if attribute.HasField("t"):
        return _of_tensor(attribute.t)
    return _Most(1, max(len(attribute.ints), len(attribute.floats), 1))


def holds_long_list(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether the file itself names a one-dimensional tensor that inference must not keep value by value."""
    if any(len(tensor.dims) == 1 and tensor.dims[0] > LONG_LIST for tensor in graph.initializer):
        return True
    dims = [value.type.tensor_type.shape.dim for value in graph.input]
    if any(len(shape) == 1 and shape[0].dim_value > LONG_LIST for shape in dims):
        return True
    return any(
        _made(node, constants) > LONG_LIST or any(holds_long_list(inner, constants) for inner in subgraphs(node))
        for node in graph.node
    )


def largest_made(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """How many elements a node makes at most where constants alone decide it, and which node that is."""
    found = [(_made(node, constants), _label(node)) for node in graph.node]
    found += [largest_made(inner, constants) for node in graph.node for inner in subgraphs(node)]
    return max(found, default=(0.0, ""))


_SIZED = {
    **dict.fromkeys(("Expand", "Tile", "Reshape", "Pad"), slice(1, 2)),
    **dict.fromkeys(("Resize", "Upsample"), slice(1, 4)),
}
"""Operators with the inputs that say how much they make. The others hold values, such as the -3.4e38 that a Pad in
front of a MaxPool fills in."""
_MAKES = _SIZED.keys() | {"Range", "ConstantOfShape", "RandomNormal", "RandomUniform"}


def _made(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> float:
    """How many elements a node makes where constants alone decide it; 0 where they do not."""
    if node.op_type not in _MAKES:
        return 0.0
    told = node.input[_SIZED.get(node.op_type, slice(None))]
    lists = [constants[name].reshape(-1).tolist() for name in told if name in constants]
    values = [value for each in lists for value in each if isinstance(value, int | float) and isfinite(value)]
    if node.op_type == "Range" and len(values) == 3 and values[2]:
        return abs(float(values[1]) - float(values[0])) / abs(float(values[2]))
    if node.op_type == "ConstantOfShape":
        return abs(float(prod(values)))
    if node.op_type in _SIZED:
        return float(max((abs(value) for value in values), default=0))
    if node.op_type in {"RandomNormal", "RandomUniform"}:
        return abs(float(prod(size for each in node.attribute if each.name == "shape" for size in each.ints)))
    return 0.0
