"""The type of a tensor as a record, and between it and ONNX's own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlaflow.graph.inputs import symbol_of
from dlaflow.graph.layer import Dims

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TensorType:
    """`shape` is None when the rank is unknown; `dtype` is ONNX's lower-case name, '' when unknown."""

    shape: Dims | None
    dtype: str


UNKNOWN = TensorType(None, "")


def symbolic(type_proto: onnx.TypeProto) -> tuple[int | str | None, ...] | None:
    """The dimensions of a TypeProto, the names of open ones in their place; None when it says nothing of them."""
    tensor = type_proto.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        if which == "dim_value" and dim.dim_value >= 0:
            dims.append(dim.dim_value)
        else:
            dims.append(symbol_of(dim) or None)
    return tuple(dims)


def read_type(type_proto: onnx.TypeProto) -> TensorType:
    """A TypeProto as a record; symbolic dimensions become None."""
    tensor = type_proto.tensor_type
    dims = symbolic(type_proto)
    shape = None if dims is None else tuple(dim if isinstance(dim, int) else None for dim in dims)
    return TensorType(shape, elem_name(tensor.elem_type))


def stored_type(tensor: onnx.TensorProto) -> TensorType:
    """The type of a tensor that is stored in the file."""
    return TensorType(tuple(tensor.dims), elem_name(tensor.data_type))


def elem_name(elem_type: int) -> str:
    """ONNX's lower-case name of an element type, '' for undefined."""
    from onnx import TensorProto

    if elem_type == 0:
        return ""
    try:
        name = str(TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return ""
    return "float32" if name == "float" else "float64" if name == "double" else name


def elem_of(dtype: str) -> int:
    """ONNX's number of an element type by its lower-case name."""
    from onnx import TensorProto

    name = {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())
    return int(TensorProto.DataType.Value(name))
