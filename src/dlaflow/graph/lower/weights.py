"""How many conversions an initializer costs the parser of 8.4 to 8.6: each one takes a name from the shared counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_FOREIGN = {"INT64", "UINT8", "DOUBLE"}
"""Types that those releases do not have: INT32 and FLOAT take their place."""
_WIDENED = {"FLOAT16", "INT8", "BOOL"}
"""Types that protobuf's int32_data holds four bytes wide: they are packed again."""


def conversions(tensor: onnx.TensorProto, *, elsewhere: bool) -> int:
    """How many temporary weights the parser makes of a tensor.

    `elsewhere` says that it reads the data from a file of its own, which it copies once more.
    """
    from onnx import TensorProto

    known = TensorProto.DataType.values()
    kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in known else ""
    if elsewhere:
        return 2 if kind in _FOREIGN else 1
    raw = len(tensor.raw_data) > 0 or _is_cut(tensor)
    if kind == "INT64":
        return int(raw or len(tensor.int64_data) > 0)
    if kind == "DOUBLE":
        return int(raw or len(tensor.double_data) > 0)
    if kind == "UINT8":
        return int(raw)
    return int(kind in _WIDENED and not raw)


def shared_places(tensors: Iterable[onnx.TensorProto]) -> frozenset[tuple[str, str]]:
    """Places in external files that several tensors read.

    No exporter writes that: they are placeholders in a graph that was published without its weights, and stand for
    weights that the parser found inside the model.
    """
    places = Counter(place_of(tensor) for tensor in tensors if tensor.data_location == 1)
    return frozenset(place for place, count in places.items() if count > 1)


def place_of(tensor: onnx.TensorProto) -> tuple[str, str]:
    """The file and the offset of a tensor with external data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return entries.get("location", ""), entries.get("offset", "0")


def _is_cut(tensor: onnx.TensorProto) -> bool:
    """Whether the data was left in the file when it was read: elements, but no data at all."""
    fields = (tensor.raw_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.float_data)
    return 0 not in tensor.dims and not any(len(data) for data in fields)
